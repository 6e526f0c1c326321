"""The reference options-trading environment: two indices, rolling listings, margin, settlement."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray
from riskenv.train.action_trades import ActionTrades
from riskenv.train.book import NOTHING, Book, TradeReport
from riskenv.train.env_config import EnvConfig
from riskenv.train.listing import Listing, MarketLike, listing_for
from riskenv.train.menu import Entry
from riskenv.train.observation import OBSERVATION_BOUND, observation, observation_names
from riskenv.train.slot_sizes import BoxSizes, MultiDiscreteSizes, SlotSizes

from riskenv.config import ConfigError
from riskenv.instruments import Instrument, InstrumentTable
from riskenv.market import Market
from riskenv.portfolio import Portfolio

if TYPE_CHECKING:
    from riskenv.train.adapter import OptionsEnvAdapter

Convention = Literal["discrete", "multidiscrete", "box"]
CONVENTIONS: tuple[str, ...] = ("discrete", "multidiscrete", "box")


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
        "multidiscrete": the same d sizes as choices: 0 to 2k for -k to +k lots of a slot, k =
            max_lots, or as many even steps of max_shares; 0 to 4 for quarters to close. The middle
            of each slot, with 0 of each close, holds (`riskenv.train.slot_sizes`).
    `action_names` names them all, `observation_names` each entry of the observation.

    Args:
        convention: "discrete", "multidiscrete" or "box".
        start, end: ISO dates of the first and last session; the whole usable history if None.
        config: keys of `EnvConfig` to change.
        market: a configuration for `riskenv.data.load_market` (None: its default), or a history.
        render_mode: must be None.

    Raises:
        ValueError: an unknown convention or render mode, or a span without two usable sessions.
        ConfigError: a configuration that is not valid.
    """

    metadata: dict[str, Any] = {"render_modes": []}

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
            allowed = ", ".join(map(repr, CONVENTIONS))
            raise ValueError(f"convention: got {convention!r}; allowed: {allowed}")
        if render_mode is not None:
            raise ValueError(f"render_mode: got {render_mode!r}; allowed: None")
        if config is not None and not isinstance(config, Mapping):
            raise ConfigError(f"config: got {config!r}; allowed: a mapping of EnvConfig keys")
        self.convention: Convention = convention
        self.render_mode = None
        self.config = EnvConfig.default(config)
        if market is None or isinstance(market, Mapping):
            from riskenv.data import load_market  # brings pandas: only where it is needed

            # One history per configuration and process, so that its envs share their quotes.
            market = load_market(market)
        self._listing: Listing = listing_for(market, self.config.listing)
        self._set_span(start, end)
        self._set_spaces()
        self._episode: Book | None = None
        self._done = True

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
        self.slot_sizes: SlotSizes | None = None
        if self.convention == "discrete":
            self.action_names: tuple[str, ...] = tuple(entry.name for entry in menu)
            self.action_space = spaces.Discrete(len(menu))
        else:
            kind = BoxSizes if self.convention == "box" else MultiDiscreteSizes
            self.slot_sizes = kind(self.config, len(tickers))
            closes = [f"{ticker} close" for ticker in tickers]
            self.action_names = (*slots, *tickers, *closes)
            self.action_space = self.slot_sizes.space
        self._actions = ActionTrades(self.config, menu, self.slot_sizes)
        self.observation_names: tuple[str, ...] = observation_names(self._listing)
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
        book = self._episode = Book(self._listing, start, self.config.initial_cash)
        self._last_trade: tuple[Any, ...] | None = None
        self._costs = 0.0
        self._margin_call = False
        self._done = False
        return observation(self._listing, self.config, book), self._info(book)

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
        book = self._book
        trades = self._actions.trades(self._book, action)
        day, keys, before, equity = book.day, book.keys, book.quantity, book.equity
        costs = book.trade(trades, self._actions.whole_lots)
        after = book.quantity
        settled = book.advance()
        liquidated = NOTHING
        self._margin_call = not book.equity >= book.requirement
        if self._margin_call:
            liquidated, charge = book.liquidate()
            costs += charge
        self._costs = costs
        self._last_trade = (day, keys, before, trades, after, settled, liquidated, costs)
        terminated = not book.equity > 0.0
        truncated = book.day >= self._end
        self._done = terminated or truncated
        reward = (book.equity - equity) / self.config.initial_cash * self.config.reward_scale
        return (
            observation(self._listing, self.config, book),
            float(reward),
            terminated,
            truncated,
            self._info(book),
        )

    # ------------------------------------------------------------------ the read side

    @property
    def table(self) -> InstrumentTable:
        """What is tradable now: today's slots, the underlyings, and whatever is held."""
        return self._book.table()

    @property
    def market(self) -> MarketLike:
        """The market history that is replayed."""
        return self._listing.market

    @property
    def underlyings(self) -> tuple[str, ...]:
        """Tickers, in the order of `table.underlyings`, (U,)."""
        return self._listing.market.underlyings

    @property
    def menu(self) -> tuple[Entry, ...]:
        """The rows of the `discrete` convention."""
        return self._listing.menu

    @property
    def positions(self) -> dict[Instrument, float]:
        """Contract -> signed contracts, for what is held."""
        return self._book.positions()

    @property
    def quantity(self) -> NDArray[np.float64]:
        """(n,) signed contracts in the order of `table`; a copy."""
        return self._book.quantity.copy()

    @property
    def slot_rows(self) -> NDArray[np.int64]:
        """(U * 12,) row in `table` of the contract in each slot of the grid; a copy."""
        return self._book.slot_rows.copy()

    @property
    def equity(self) -> float:
        """Cash and positions at mid, in currency."""
        return self._book.equity

    @property
    def margin_requirement(self) -> float:
        """What the broker asks to be held against the positions, in currency."""
        return self._book.requirement

    def snapshot(self) -> tuple[Portfolio, Market]:
        """The book and its market at the close of the decision; changes nothing."""
        book = self._book
        market = book.market()
        return Portfolio(market.table, book.quantity, book.cash), market

    def preview(self, action: Any) -> NDArray[np.float64]:
        """(n,) the exact trades of an action, in the order of `table`; changes nothing."""
        return self._actions.trades(self._book, action)

    def preview_all(self) -> NDArray[np.float64]:
        """(A, n) the trades of every menu row; changes nothing.

        Raises:
            TypeError: the convention is another, whose actions cannot be listed.
        """
        if self.convention != "discrete":
            raise TypeError("preview_all: only the 'discrete' convention has a list of actions")
        return self._actions.every_row(self._book)

    @property
    def last_trade(self) -> TradeReport:
        """What the last step traded, settled and liquidated.

        Raises:
            ResetNeeded: no step has been taken since the reset.
        """
        book = self._book
        if self._last_trade is None:
            raise ResetNeeded("last_trade: no step has been taken since reset()")
        day, keys, before, trades, after, settled, liquidated, costs = self._last_trade
        return TradeReport(
            now=int(self._listing.closes[day]),
            before=book.named(keys, before),
            fills=book.named(keys, trades),
            after_trade=book.named(keys, after),
            settled=book.named(*settled),
            liquidated=book.named(*liquidated),
            costs=costs,
        )

    @property
    def risk_adapter(self) -> OptionsEnvAdapter:
        """How the risk layer reads and drives this env."""
        from riskenv.train.adapter import OptionsEnvAdapter

        return OptionsEnvAdapter(whole_lots=self._actions.whole_lots)

    @property
    def _book(self) -> Book:
        if self._episode is None:
            raise ResetNeeded("nothing to read yet; call reset() first")
        return self._episode

    def _info(self, book: Book) -> dict[str, Any]:
        """Numbers of this close: `date` is yyyymmdd, the rest is in currency; flags are 0 or 1."""
        return {
            "day": book.day,
            "date": int(self._listing.dates[book.day]),
            "equity": book.equity,
            "cash": book.cash,
            "trading_costs": self._costs,
            "margin_requirement": book.requirement,
            "margin_call": int(self._margin_call),
        }


def _yyyymmdd(name: str, value: object) -> int:
    try:
        return int(datetime.date.fromisoformat(str(value)).strftime("%Y%m%d"))
    except ValueError:
        raise ValueError(f"{name}: got {value!r}; allowed: an ISO date, yyyy-mm-dd") from None
