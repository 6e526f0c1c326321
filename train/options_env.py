"""The reference options-trading environment: two indices, rolling listings, margin, settlement."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date as Date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import gymnasium
import numpy as np
import yaml
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray
from pydantic import Field

from riskenv.config import Config, ConfigError, load_config
from riskenv.instruments import Instrument, InstrumentTable
from riskenv.market import Market
from riskenv.portfolio import Portfolio
from riskenv.train.listing import (
    ASK,
    BID,
    COST,
    DELTA,
    GREEK_ROWS,
    VALUE,
    VOL,
    DaySheet,
    Listing,
    ListingConfig,
    MarketLike,
    expiry_of,
    listing_for,
    requirement,
    sign_of,
    strike_of,
    underlying_of,
)
from riskenv.train.menu import SLOTS_PER_UNDERLYING, Entry, closing_trades, hedge_shares

if TYPE_CHECKING:
    from riskenv.train.adapter import OptionsEnvAdapter

Convention = Literal["discrete", "box"]
CONVENTIONS: tuple[str, ...] = ("discrete", "box")

OBSERVATION_BOUND = 20.0
DUST = 1e-9  # a position below this many contracts is a rounding residue of fractional lots

_CONFIG_FILE = Path(__file__).parent / "configs" / "env.yaml"


class EnvConfig(Config):
    """The env's configuration; `configs/env.yaml` holds the defaults and explains each key."""

    initial_cash: float = Field(gt=0.0)
    reward_scale: float = Field(gt=0.0)
    episode_sessions: int | None = Field(ge=1)
    random_start: bool
    menu_lots: float = Field(gt=0.0)
    max_lots: int = Field(ge=1)
    max_shares: int = Field(ge=1)
    observation_lots: float = Field(gt=0.0)
    observation_shares: float = Field(gt=0.0)
    listing: ListingConfig

    @classmethod
    def default(cls, changes: Mapping[str, Any] | None = None) -> EnvConfig:
        """`configs/env.yaml`, with the keys of `changes` in place of its own.

        Raises:
            ConfigError: as `load_config`.

        Example:
            >>> EnvConfig.default({"menu_lots": 2.5, "listing": {"multiplier": 100.0}}).menu_lots
            2.5
        """
        values = yaml.safe_load(_CONFIG_FILE.read_text(encoding="utf-8"))
        for key, value in (changes or {}).items():
            nested = isinstance(value, Mapping) and isinstance(values.get(key), dict)
            values[key] = {**values[key], **value} if nested else value
        return load_config(cls, values)


@dataclass(frozen=True)
class TradeReport:
    """What one step did to the book; every mapping is contract -> signed contracts.

    Attributes:
        now: the close at which the trades filled, int64 nanoseconds UTC.
        before: held before the trades.
        fills: traded, as the action asked.
        after_trade: held right after, at the market of the decision.
        settled: held to its settlement at the next close, and gone.
        liquidated: traded by the broker at the next close, on a margin call.
        costs: half-spreads and commissions of both, in currency.
    """

    now: int
    before: Mapping[Instrument, float]
    fills: Mapping[Instrument, float]
    after_trade: Mapping[Instrument, float]
    settled: Mapping[Instrument, float]
    liquidated: Mapping[Instrument, float]
    costs: float


_Book = tuple[NDArray[np.int64], NDArray[np.float64]]  # keys, contracts


@lru_cache(maxsize=4)
def _load_market(config: str) -> MarketLike:
    """One history per configuration and process, so that all its envs share their quotes."""
    from riskenv.data import load_market

    market: MarketLike = load_market(json.loads(config))
    return market


class OptionsTradingEnv(gymnasium.Env[NDArray[np.float32], Any]):
    """Trade listed options on each index of a market history, one decision per session close.

    A step: the action fills at once at this close's quotes (buys at ask, sells at bid, plus
    commission); the market moves to the next close; cash earns the riskless rate over the
    calendar time, shares their dividend yield, options that expire there settle at intrinsic;
    if equity is then below the margin requirement, the broker closes every position at that
    close's quotes. No order is refused at entry.

    Reward: change of equity (at mid) / initial_cash * reward_scale. An episode terminates when
    equity is at or below 0 and is truncated after `episode_sessions` or at the end of the span.

    Actions, by `convention`:
        "discrete": an index into the menu (`riskenv.train.menu`); 0 holds.
        "box": (d,) in [-1, 1]: by ticker 12 slots (lots = rint(a * max_lots)); by ticker the
            underlying (shares = rint(a * max_shares)); by ticker the fraction max(0, a) of every
            position of that ticker to close, on top. Values outside [-1, 1] are clipped.
    `action_names` names them all, `observation_names` each entry of the observation.

    Args:
        convention: "discrete" or "box".
        start, end: ISO dates of the first and last session; the whole usable history if None.
        config: keys of `EnvConfig` to change.
        market: a configuration for `riskenv.data.load_market` (None: its default), or a history.
        render_mode: must be None.

    Raises:
        ValueError: an unknown convention or render mode, or a span without two usable sessions.
        ConfigError: a configuration that is not valid.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own declaration

    def __init__(
        self,
        convention: Convention = "discrete",
        start: str | None = None,
        end: str | None = None,
        config: Mapping[str, Any] | None = None,
        market: Mapping[str, Any] | MarketLike | None = None,
        render_mode: str | None = None,
    ) -> None:
        if convention not in CONVENTIONS:
            raise ValueError(f"convention: got {convention!r}; allowed: 'discrete' or 'box'")
        if render_mode is not None:
            raise ValueError(f"render_mode: got {render_mode!r}; allowed: None")
        if config is not None and not isinstance(config, Mapping):
            raise ConfigError(f"config: got {config!r}; allowed: a mapping of EnvConfig keys")
        self.convention: Convention = convention
        self.render_mode = None
        self.config = EnvConfig.default(config)
        if market is None or isinstance(market, Mapping):
            market = _load_market(json.dumps(market, sort_keys=True))
        self._listing: Listing = listing_for(market, self.config.listing)
        self._set_span(start, end)
        self._set_spaces()
        self._started, self._done = False, True
        self._empty: _Book = (np.empty(0, dtype=np.int64), np.empty(0))

    # ------------------------------------------------------------------ construction

    def _set_span(self, start: str | None, end: str | None) -> None:
        listing = self._listing
        first, last = listing.first_day, listing.last_day
        if start is not None:
            first = max(first, int(np.searchsorted(listing.dates, _yyyymmdd("start", start))))
        if end is not None:
            after = int(np.searchsorted(listing.dates, _yyyymmdd("end", end), side="right"))
            last = min(last, after - 1)
        if not first < last:
            raise ValueError(
                f"start, end: got {start!r}, {end!r}; allowed: two sessions or more between "
                f"{listing.dates[listing.first_day]} and {listing.dates[listing.last_day]}"
            )
        self._first, self._last = first, last

    def _set_spaces(self) -> None:
        tickers, slots = self._listing.market.underlyings, self._listing.slot_names()
        menu = self._listing.menu
        self._whole_lots = self.convention == "box" or float(self.config.menu_lots).is_integer()
        if self.convention == "discrete":
            self.action_names: tuple[str, ...] = tuple(entry.name for entry in menu)
            self.action_space = spaces.Discrete(len(menu))
        else:
            closes = [f"{ticker} close" for ticker in tickers]
            self.action_names = (*slots, *tickers, *closes)
            self.action_space = spaces.Box(-1.0, 1.0, (len(self.action_names),), np.float32)
        per_ticker = (
            "shares",
            "contracts off the slots",
            "dollar delta over initial cash",
            "dollar gamma over initial cash",
            "theta, % of initial cash",
            "vega, % of initial cash",
        )
        self.observation_names: tuple[str, ...] = (
            *self._listing.feature_names,
            "cash over initial cash",
            "equity over initial cash",
            "margin requirement over equity",
            *(f"contracts in {name}" for name in slots),
            *(f"{ticker} {name}" for name in per_ticker for ticker in tickers),
        )
        bound, size = OBSERVATION_BOUND, len(self.observation_names)
        self.observation_space = spaces.Box(-bound, bound, (size,), np.float32)

    # ------------------------------------------------------------------ Gymnasium

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode with cash only.

        Args:
            seed: of the start's draw, the env's only randomness.
            options: {"start": ISO date} starts at the first session at or after it.

        Raises:
            ValueError: an unknown option, or a start outside the span.
        """
        super().reset(seed=seed)
        start = self._start_day(options or {})
        length = self.config.episode_sessions
        self._end = self._last if length is None else min(self._last, start + length)
        self._cash = self.config.initial_cash
        self._last_trade: tuple[Any, ...] | None = None
        self._costs = 0.0
        self._margin_call = False
        self._lay_out(start, *self._empty)
        self._mark()
        self._started, self._done = True, False
        return self._observe(), self._info()

    def _start_day(self, options: dict[str, Any]) -> int:
        unknown = set(options) - {"start"}
        if unknown:
            raise ValueError(f"options: got {sorted(unknown)}; allowed: 'start'")
        if options.get("start") is not None:
            wanted = _yyyymmdd("options['start']", options["start"])
            day = int(np.searchsorted(self._listing.dates, wanted))
            if not self._first <= day < self._last:
                dates = self._listing.dates
                raise ValueError(
                    f"options['start']: got {options['start']!r}; allowed: a date from "
                    f"{dates[self._first]} to before {dates[self._last]} (yyyymmdd)"
                )
            return day
        length = self.config.episode_sessions
        if not self.config.random_start or length is None:
            return self._first
        latest = max(self._first, self._last - length)
        return int(self.np_random.integers(self._first, latest + 1))

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Trade at this close, then move to the next one.

        Raises:
            ResetNeeded: no episode is running.
            ValueError: an action outside the space (a box action is clipped, a NaN refused).
        """
        if self._done:
            raise ResetNeeded("no episode is running; call reset() first")
        trades = self._trades(action)
        listing, day, equity = self._listing, self._day, self._equity
        keys, before = self._keys, self._quantity
        after = before + trades
        if not self._whole_lots:
            after[np.abs(after) < DUST] = 0.0
        costs = float((np.abs(trades) * self._quotes[COST]).sum())
        cash = self._cash - float((trades * self._quotes[VALUE]).sum()) - costs

        cash *= float(listing.growth[day])
        shares = after[self._underlying_rows]
        cash += float((shares * listing.spot[day] * listing.payout[day]).sum())
        held = np.flatnonzero(after)
        held_keys, held_quantity = keys[held], after[held]
        held_keys, held_quantity, settled, paid = self._settle(day + 1, held_keys, held_quantity)
        self._cash = cash + paid
        self._lay_out(day + 1, held_keys, held_quantity)
        self._mark()

        liquidated = self._empty
        self._margin_call = not (self._equity >= self._requirement)
        if self._margin_call:
            liquidated, charge = self._liquidate()
            costs += charge
        self._costs = costs
        self._last_trade = (day, keys, before, trades, after, settled, liquidated, costs)
        terminated = not self._equity > 0.0
        truncated = self._day >= self._end
        self._done = terminated or truncated
        reward = (self._equity - equity) / self.config.initial_cash * self.config.reward_scale
        return self._observe(), float(reward), terminated, truncated, self._info()

    # ------------------------------------------------------------------ the read side

    @property
    def table(self) -> InstrumentTable:
        """What is tradable now: today's slots, the underlyings, and whatever is held."""
        self._need_reset()
        if self._table is None:
            same = len(self._keys) == len(self._sheet.keys)
            self._table = self._sheet.table if same else self._listing.table(self._keys)
        return self._table

    @property
    def positions(self) -> dict[Instrument, float]:
        """Contract -> signed contracts, for what is held."""
        self._need_reset()
        return self._named(self._keys, self._quantity)

    @property
    def underlyings(self) -> tuple[str, ...]:
        """Tickers, in the order of `table.underlyings`, (U,)."""
        return self._listing.market.underlyings

    @property
    def menu(self) -> tuple[Entry, ...]:
        """The rows of the `discrete` convention."""
        return self._listing.menu

    @property
    def quantity(self) -> NDArray[np.float64]:
        """(n,) signed contracts in the order of `table`; a copy."""
        self._need_reset()
        return self._quantity.copy()

    @property
    def slot_rows(self) -> NDArray[np.int64]:
        """(U * 12,) row in `table` of the contract in each slot of the grid; a copy."""
        self._need_reset()
        return self._slot_rows.copy()

    @property
    def equity(self) -> float:
        """Cash and positions at mid, in currency."""
        self._need_reset()
        return self._equity

    @property
    def margin_requirement(self) -> float:
        """What the broker asks to be held against the positions, in currency."""
        self._need_reset()
        return self._requirement

    def snapshot(self) -> tuple[Portfolio, Market]:
        """The book and its market at the close of the decision; changes nothing."""
        table, quotes, day = self.table, self._quotes, self._day
        market = Market(
            now=self._sheet.now,
            table=table,
            spot=self._listing.spot[day],
            rate=float(self._listing.rate[day]),
            dividend_yield=self._listing.dividend_yield[day],
            bid=quotes[BID],
            ask=quotes[ASK],
            vol=quotes[VOL],
        )
        return Portfolio(table, self._quantity, self._cash), market

    def preview(self, action: Any) -> NDArray[np.float64]:
        """(n,) the exact trades of an action, in the order of `table`; changes nothing."""
        return self._trades(action)

    def preview_all(self) -> NDArray[np.float64]:
        """(A, n) the trades of every menu row.

        Raises:
            TypeError: the convention is "box", whose actions cannot be listed.
        """
        self._need_reset()
        if self.convention != "discrete":
            raise TypeError("preview_all: only the 'discrete' convention has a list of actions")
        trades = np.zeros((len(self._listing.menu), len(self._keys)))
        trades[:, self._listed_rows] = self.config.menu_lots * self._sheet.unit_menu
        for row, entry in enumerate(self._listing.menu):
            if not entry.is_static:
                trades[row] = self._dynamic_trades(entry)
        return trades

    @property
    def last_trade(self) -> TradeReport:
        """What the last step traded, settled and liquidated.

        Raises:
            ResetNeeded: no step has been taken since the reset.
        """
        self._need_reset()
        if self._last_trade is None:
            raise ResetNeeded("last_trade: no step has been taken since reset()")
        day, keys, before, trades, after, settled, liquidated, costs = self._last_trade
        return TradeReport(
            now=int(self._listing.closes[day]),
            before=self._named(keys, before),
            fills=self._named(keys, trades),
            after_trade=self._named(keys, after),
            settled=self._named(*settled),
            liquidated=self._named(*liquidated),
            costs=costs,
        )

    @property
    def risk_adapter(self) -> OptionsEnvAdapter:
        """How the risk layer reads and drives this env."""
        from riskenv.train.adapter import OptionsEnvAdapter

        return OptionsEnvAdapter()

    # ------------------------------------------------------------------ actions to trades

    def _trades(self, action: Any) -> NDArray[np.float64]:
        """(n,) the trades of an action: the one place that gives an action its meaning."""
        self._need_reset()
        if self.convention == "box":
            return self._box_trades(action)
        row = int(action)
        if not 0 <= row < len(self._listing.menu) or row != action:
            raise ValueError(
                f"action: got {action!r}; allowed: a whole number from 0 to "
                f"{len(self._listing.menu) - 1}"
            )
        entry = self._listing.menu[row]
        if not entry.is_static:
            return self._dynamic_trades(entry)
        trades = np.zeros(len(self._keys))
        trades[self._listed_rows] = self.config.menu_lots * self._sheet.unit_menu[row]
        return trades

    def _dynamic_trades(self, entry: Entry) -> NDArray[np.float64]:
        if entry.kind == "close_everything":
            return closing_trades(self._quantity, 1.0, self._whole_lots)
        trades = np.zeros(len(self._keys))
        begin, end = self._block(entry.underlying)
        held = self._quantity[begin:end]
        if entry.kind == "delta_hedge":
            trades[begin] = hedge_shares(float((held * self._quotes[DELTA, begin:end]).sum()))
        else:
            fraction = 1.0 if entry.kind == "close_all" else 0.5
            trades[begin:end] = closing_trades(held, fraction, self._whole_lots)
            # Shares are whole even where lots are not.
            trades[begin] = closing_trades(held[:1], fraction, True)[0]
        return trades

    def _box_trades(self, action: Any) -> NDArray[np.float64]:
        values = np.asarray(action, dtype=np.float64)
        if values.shape != self.action_space.shape or not np.isfinite(values).all():
            raise ValueError(
                f"action: got {action!r}; allowed: finite numbers of shape "
                f"{self.action_space.shape}"
            )
        values = np.clip(values, -1.0, 1.0)
        width = len(self._listing.underlying_keys)
        slots = width * SLOTS_PER_UNDERLYING
        lots = np.rint(values[:slots] * self.config.max_lots)
        trades = np.bincount(self._slot_rows, weights=lots, minlength=len(self._keys))
        trades[self._underlying_rows] += np.rint(
            values[slots : slots + width] * self.config.max_shares
        )
        fraction = values[slots + width :]
        if (fraction > 0.0).any() and self._quantity.any():
            by_row = np.maximum(fraction, 0.0)[underlying_of(self._keys)]
            trades += closing_trades(self._quantity, by_row, True)
        return trades + 0.0  # -0.0 and 0.0 are one trade

    # ------------------------------------------------------------------ the book

    def _lay_out(self, day: int, held: NDArray[np.int64], contracts: NDArray[np.float64]) -> None:
        """Set the book's columns for a day: its listed contracts and whatever else is held."""
        sheet: DaySheet = self._listing.sheet(day)
        listed = sheet.keys
        place = np.minimum(np.searchsorted(listed, held), len(listed) - 1)
        extra = held[listed[place] != held]
        self._day, self._sheet, self._table = day, sheet, None
        if len(extra) == 0:
            self._keys, self._quotes = listed, sheet.quotes
            self._listed_rows: Any = slice(None)
            self._slot_rows, self._underlying_rows = sheet.slot_rows, sheet.underlying_rows
        else:
            keys = np.concatenate((listed, extra))
            order = np.argsort(keys)
            keys = keys[order]
            quotes = np.concatenate((sheet.quotes, sheet.extra_quotes(extra)), axis=1)
            self._keys, self._quotes = keys, quotes[:, order]
            self._listed_rows = np.searchsorted(keys, listed)
            self._slot_rows = self._listed_rows[sheet.slot_rows]
            self._underlying_rows = self._listed_rows[sheet.underlying_rows]
            place = np.searchsorted(keys, held)
        self._quantity = np.zeros(len(self._keys))
        self._quantity[place] = contracts

    def _mark(self) -> None:
        value = self._quantity * self._quotes[VALUE]
        self._equity = self._cash + float(value.sum())
        self._requirement = requirement(self._quotes, self._quantity)

    def _settle(
        self, day: int, keys: NDArray[np.int64], contracts: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], _Book, float]:
        """Pay the intrinsic of options that expire at this close; what is left, and what went."""
        if len(keys) == 0:
            return keys, contracts, self._empty, 0.0
        sign = sign_of(keys)
        due = (sign != 0.0) & (self._listing.expiries[expiry_of(keys)] <= self._listing.closes[day])
        if not due.any():
            return keys, contracts, self._empty, 0.0
        gone, lots = keys[due], contracts[due]
        spot = self._listing.spot[day][underlying_of(gone)]
        intrinsic = np.maximum(sign[due] * (spot - strike_of(gone)), 0.0)
        paid = float((lots * intrinsic).sum()) * self.config.listing.multiplier
        return keys[~due], contracts[~due], (gone, lots), paid

    def _liquidate(self) -> tuple[_Book, float]:
        """The broker closes everything at bid and ask; what it traded, and what that cost."""
        held = np.flatnonzero(self._quantity)
        keys, trades = self._keys[held], -self._quantity[held]
        charge = float((np.abs(trades) * self._quotes[COST, held]).sum())
        self._cash -= float((trades * self._quotes[VALUE, held]).sum()) + charge
        self._lay_out(self._day, *self._empty)
        self._mark()
        return (keys, trades), charge

    def _block(self, u: int) -> tuple[int, int]:
        """Columns of one ticker: keys sort by ticker, the underlying first."""
        rows = self._underlying_rows
        return int(rows[u]), int(rows[u + 1]) if u + 1 < len(rows) else len(self._keys)

    def _named(
        self, keys: NDArray[np.int64], contracts: NDArray[np.float64]
    ) -> dict[Instrument, float]:
        rows = np.flatnonzero(contracts)
        instrument = self._listing.instrument
        return {
            instrument(key): lots
            for key, lots in zip(keys[rows].tolist(), contracts[rows].tolist(), strict=True)
        }

    def _need_reset(self) -> None:
        if not self._started:
            raise ResetNeeded("nothing to read yet; call reset() first")

    # ------------------------------------------------------------------ what the agent sees

    def _observe(self) -> NDArray[np.float32]:
        config, quantity = self.config, self._quantity
        starts = self._underlying_rows
        cash = config.initial_cash
        size = np.abs(quantity)
        size[self._listed_rows] = 0.0
        off = np.add.reduceat(size, starts)
        greeks = np.add.reduceat(self._quotes[GREEK_ROWS] * quantity, starts, axis=1) / cash
        greeks[2:] *= 100.0
        use = self._requirement / self._equity if self._equity > 0.0 else OBSERVATION_BOUND
        observation = np.concatenate(
            (
                self._listing.features[self._day],
                (self._cash / cash, self._equity / cash, use),
                quantity[self._slot_rows] / config.observation_lots,
                quantity[starts] / config.observation_shares,
                off / config.observation_lots,
                greeks.ravel(),
            )
        )
        bound = OBSERVATION_BOUND
        return np.minimum(np.maximum(observation, -bound), bound).astype(np.float32)

    def _info(self) -> dict[str, Any]:
        """Numbers of this close: `date` is yyyymmdd, the rest is in currency; flags are 0 or 1."""
        return {
            "day": self._day,
            "date": int(self._listing.dates[self._day]),
            "equity": self._equity,
            "cash": self._cash,
            "costs": self._costs,
            "margin_requirement": self._requirement,
            "margin_call": int(self._margin_call),
        }


def _yyyymmdd(name: str, value: object) -> int:
    try:
        return int(Date.fromisoformat(str(value)).strftime("%Y%m%d"))
    except ValueError:
        raise ValueError(f"{name}: got {value!r}; allowed: an ISO date, yyyy-mm-dd") from None
