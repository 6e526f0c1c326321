"""What is listed and quoted at each close: strikes that follow spot, expiries that roll.

Everything about a close depends on the market alone, and training replays closes: a `DaySheet`
is built once and shared by every env on the same market history.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from functools import cached_property, lru_cache
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from riskenv.train.contract_keys import (
    CALL,
    CENTS,
    PUT,
    expiry_of,
    key_of,
    sign_of,
    strike_of,
    underlying_of,
)
from riskenv.train.menu import Entry, menu_of, unit_trades

from riskenv.compilation import jit
from riskenv.config import Config
from riskenv.factor_history import FactorHistory
from riskenv.instruments import NS_PER_DAY, NS_PER_SECOND, Instrument, InstrumentTable
from riskenv.market import Market
from riskenv.pricing import black_scholes_price
from riskenv.pricing.black_scholes import greeks
from riskenv.sessions import Sessions

SECONDS_PER_YEAR = 365.0 * 86_400.0

# Rows of a quote matrix (rows, n). Points are per unit; the rest is currency per contract.
BID, ASK, VOL, VALUE, COST, LONG_MARGIN, SHORT_MARGIN = range(7)
DOLLAR_DELTA, DOLLAR_GAMMA, THETA, VEGA, DELTA = range(7, 12)
QUOTE_ROWS = 12
GREEK_ROWS = slice(DOLLAR_DELTA, VEGA + 1)

_EXTRAS_PER_SHEET = 4096


class MarketLike(Hashable, Protocol):
    """What the env reads of a `riskenv.data.MarketHistory`; hashed by identity."""

    @property
    def underlyings(self) -> tuple[str, ...]: ...
    @property
    def sessions(self) -> Sessions: ...
    @property
    def future_sessions(self) -> Sessions: ...
    @property
    def expiries(self) -> NDArray[np.int64]: ...
    @property
    def spot(self) -> NDArray[np.float64]: ...
    @property
    def vol_30d(self) -> NDArray[np.float64]: ...
    @property
    def rate(self) -> Any: ...
    @property
    def dividend_yield(self) -> NDArray[np.float64]: ...
    @property
    def first_tradable(self) -> int: ...
    def implied_vol(
        self, day: int, underlying: int, strike: Any, years: Any, /
    ) -> NDArray[np.float64]: ...
    def factor_history(self) -> FactorHistory: ...


class ListingConfig(Config):
    """Contracts, spreads, commissions and margin; `configs/env.yaml` explains each key."""

    multiplier: float = Field(gt=0.0)
    strike_steps: tuple[float, ...] = Field(min_length=1)
    strike_step_of_spot: float = Field(gt=0.0, lt=1.0)
    put_moneyness: tuple[float, float, float]
    call_moneyness: tuple[float, float, float]
    min_days_to_expiry: int = Field(ge=1)
    min_half_spread: float = Field(ge=0.0)
    half_spread_of_price: float = Field(ge=0.0)
    half_spread_vol_points: float = Field(ge=0.0)
    underlying_half_spread: float = Field(ge=0.0, lt=1.0)
    option_commission: float = Field(ge=0.0)
    share_commission: float = Field(ge=0.0)
    margin_of_spot: float = Field(ge=0.0)
    margin_floor: float = Field(ge=0.0)
    underlying_margin: float = Field(ge=0.0)
    cached_days: int = Field(ge=2)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(s <= 0.0 or round(s * CENTS) != s * CENTS for s in self.strike_steps):
            raise ValueError("strike_steps: each is above 0 and a whole number of cents")
        for name in ("put_moneyness", "call_moneyness"):
            grid = getattr(self, name)
            if not (0.0 < grid[0] < grid[1] < grid[2]):
                raise ValueError(f"{name}: three increasing numbers above 0")
        return self


@jit
def _greeks_into(spot, strike, years, rate, dividend_yield, vol, sign, out):  # type: ignore[no-untyped-def]  # numba
    for i in range(strike.size):
        delta, gamma, theta, vega = greeks(
            spot, strike[i], years[i], rate, dividend_yield, vol[i], sign[i]
        )
        out[0, i], out[1, i], out[2, i], out[3, i] = delta, gamma, theta, vega


class DaySheet:
    """The quotes of one close: the listed contracts, and on request any other that is held.

    Attributes:
        day: index of the session.
        now: its close, int64 nanoseconds UTC.
        keys: (K,) listed today (slots and underlyings), sorted and unique.
        quotes: (QUOTE_ROWS, K).
        slot_rows: (U * 12,) column of each slot's contract in `keys`.
        underlying_rows: (U,) column of each underlying in `keys`.
    """

    def __init__(self, listing: Listing, day: int) -> None:
        self._listing = listing
        self.day = day
        self.now = int(listing.closes[day])
        slots = listing.slot_keys(day)
        self.keys = np.unique(np.concatenate((listing.underlying_keys, slots)))
        self.quotes = listing.quote(day, self.keys)
        for shared in (self.keys, self.quotes):
            shared.setflags(write=False)
        self.slot_rows = np.searchsorted(self.keys, slots)
        self.underlying_rows = np.searchsorted(self.keys, listing.underlying_keys)
        self._extra_rows: dict[int, int] = {}
        self._extras = np.empty((0, QUOTE_ROWS))
        # What any book of this close was ever asked about, the listed contracts at first.
        self._seen_keys = self.keys
        self._seen: Market | None = None

    @cached_property
    def market(self) -> Market:
        """The market of the listed contracts."""
        whole = self._market_of(self.keys, self.quotes)
        return whole.part(whole.table.own_rows)

    def market_with(self, keys: NDArray[np.int64]) -> Market:
        """The market of sorted contracts, the listed ones and others: a part of one that all the
        books of this close share, so that what a layer works out of it is worked out once."""
        rows = np.searchsorted(self._seen_keys, keys)
        found = self._seen_keys.take(rows, mode="clip")
        if self._seen is None or np.count_nonzero(found == keys) < len(keys):
            known = self._seen_keys if len(self._seen_keys) < _EXTRAS_PER_SHEET else self.keys
            self._seen_keys = np.union1d(known, keys)
            extra = self._seen_keys[~np.isin(self._seen_keys, self.keys)]
            order = np.argsort(np.concatenate((self.keys, extra)))
            every = np.concatenate((self.quotes, self.extra_quotes(extra)), axis=1)[:, order]
            self._seen = self._market_of(self._seen_keys, every)
            rows = np.searchsorted(self._seen_keys, keys)
        return self._seen.part(rows)

    def _market_of(self, keys: NDArray[np.int64], quotes: NDArray[np.float64]) -> Market:
        listing, day = self._listing, self.day
        return Market(
            now=self.now,
            table=listing.table(keys),
            spot=listing.spot[day],
            rate=float(listing.rate[day]),
            dividend_yield=listing.dividend_yield[day],
            bid=quotes[BID],
            ask=quotes[ASK],
            vol=quotes[VOL],
        )

    @cached_property
    def unit_menu(self) -> NDArray[np.float64]:
        """(A, K) the static menu rows, in lots of one."""
        return unit_trades(self._listing.menu, self.slot_rows, len(self.keys))

    def __deepcopy__(self, memo: dict[int, Any]) -> DaySheet:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Listing.sheet, (self._listing, self.day)

    def extra_quotes(self, keys: NDArray[np.int64]) -> NDArray[np.float64]:
        """(QUOTE_ROWS, e) quotes of held contracts that are not listed in a slot today."""
        wanted = keys.tolist()
        try:
            rows = [self._extra_rows[key] for key in wanted]
        except KeyError:
            rows = self._price_extras(wanted)
        return self._extras[rows].T

    def _price_extras(self, wanted: list[int]) -> list[int]:
        if len(self._extra_rows) + len(wanted) > _EXTRAS_PER_SHEET:
            self._extra_rows, self._extras = {}, np.empty((0, QUOTE_ROWS))
        new = [key for key in wanted if key not in self._extra_rows]
        quotes = self._listing.quote(self.day, np.array(new, dtype=np.int64))
        for row, key in enumerate(new, start=len(self._extras)):
            self._extra_rows[key] = row
        self._extras = np.concatenate((self._extras, quotes.T))
        return [self._extra_rows[key] for key in wanted]


class Listing:
    """Every close of one market history under one set of contract rules.

    Use `listing_for(market, config)`, which shares it between envs. Copies and pickles carry the
    market and the rules, not the cached sheets; a deep copy is the same object, because nothing
    that can be observed ever changes in it. It is not safe to share between threads.

    Attributes:
        market: the history.
        closes: (D,) int64 nanoseconds UTC.
        dates: (D,) yyyymmdd of each close (UTC).
        growth: (D,) factor on cash from this close to the next.
        payout: (D, U) dividends per share from this close to the next, as part of spot.
        features: (D, U * F) what is observed of the market at each close.
        first_day, last_day: sessions between which an episode can run.

    Raises:
        ValueError: no session has both expiries listed, or a spot, volatility, rate or yield
            between the first and the last usable day is missing.
    """

    def __init__(self, market: MarketLike, config: ListingConfig) -> None:
        self.market = market
        self.config = config
        self.menu: tuple[Entry, ...] = menu_of(market.underlyings)
        self.expiries = np.asarray(market.expiries, dtype=np.int64)
        self.closes = market.sessions.closes
        days, width = len(self.closes), len(market.underlyings)
        self.underlying_keys = np.array([key_of(u, 0, 0, 0.0) for u in range(width)])
        self.spot = np.asarray(market.spot, dtype=np.float64)
        self.rate = np.broadcast_to(np.asarray(market.rate, dtype=np.float64), (days,))
        self.dividend_yield = np.broadcast_to(
            np.asarray(market.dividend_yield, dtype=np.float64), (days, width)
        )
        # The near expiry is the first at least `min_days_to_expiry` calendar days away; the half
        # day keeps a change of daylight saving time from moving a session's expiry.
        away = int((config.min_days_to_expiry - 0.5) * NS_PER_DAY)
        self.near = np.searchsorted(self.expiries, self.closes + away)
        listed = np.flatnonzero(self.near + 1 < len(self.expiries))
        self.first_day = int(market.first_tradable)
        self.last_day = int(listed[-1]) if len(listed) else -1
        if not self.first_day < self.last_day:
            raise ValueError(
                f"expiries: got {len(self.expiries)} for {days} sessions; allowed: at least two "
                f"beyond {config.min_days_to_expiry} days from a session after the first tradable"
            )
        self._check_inputs()
        years = np.diff(self.closes, append=self.closes[-1]) / NS_PER_SECOND / SECONDS_PER_YEAR
        self.growth = np.exp(self.rate * years)
        self.payout = np.expm1(self.dividend_yield * years[:, None])
        dates = self.closes.astype("datetime64[ns]").astype("datetime64[D]")
        self.dates = np.array([int(str(d).replace("-", "")) for d in dates], dtype=np.int64)
        self.feature_names, self.features = self._market_features()
        self._sheets: OrderedDict[int, DaySheet] = OrderedDict()
        self._instruments: dict[int, Instrument] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Listing:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return listing_for, (self.market, self.config)

    def sheet(self, day: int) -> DaySheet:
        """The quotes of one close, from the cache where it holds them."""
        sheet = self._sheets.get(day)
        if sheet is None:
            sheet = self._sheets[day] = DaySheet(self, day)
            if len(self._sheets) > self.config.cached_days:
                self._sheets.popitem(last=False)
        elif len(self._sheets) >= self.config.cached_days:
            self._sheets.move_to_end(day)
        return sheet

    def slot_keys(self, day: int) -> NDArray[np.int64]:
        """(U * 12,) the contract in each slot: by ticker, near then far, puts then calls."""
        keys = []
        for u in range(len(self.market.underlyings)):
            step = self._strike_step(self.spot[day, u])
            carry = self.rate[day] - self.dividend_yield[day, u]
            for expiry in (self.near[day], self.near[day] + 1):
                forward = self.spot[day, u] * np.exp(carry * self._years(day, expiry))
                for right, grid in (
                    (PUT, self.config.put_moneyness),
                    (CALL, self.config.call_moneyness),
                ):
                    for moneyness in grid:
                        strike = max(1.0, np.rint(moneyness * forward / step)) * step
                        keys.append(key_of(u, right, int(expiry), strike))
        return np.array(keys, dtype=np.int64)

    def slot_names(self) -> list[str]:
        """Names of the slots, such as "SPX near P 0.96"."""
        return [
            f"{ticker} {term} {right} {moneyness:.2f}"
            for ticker in self.market.underlyings
            for term in ("near", "far")
            for right, grid in (
                ("P", self.config.put_moneyness),
                ("C", self.config.call_moneyness),
            )
            for moneyness in grid
        ]

    def quote(self, day: int, keys: NDArray[np.int64]) -> NDArray[np.float64]:
        """(QUOTE_ROWS, n) the quotes of any contracts at one close.

        Raises:
            ValueError: the market gives an option a volatility that is not above 0.
        """
        out = np.zeros((QUOTE_ROWS, len(keys)))
        tickers, kinds = underlying_of(keys), sign_of(keys)
        for u in range(len(self.market.underlyings)):
            spot = self.spot[day, u]
            shares = np.flatnonzero((tickers == u) & (kinds == 0.0))
            out[:, shares] = self._quote_underlying(spot)[:, None]
            rows = np.flatnonzero((tickers == u) & (kinds != 0.0))
            if len(rows):
                out[:, rows] = self._quote_options(day, u, keys[rows])
        return out

    def instrument(self, key: int) -> Instrument:
        """The contract behind a key."""
        found = self._instruments.get(key)
        if found is None:
            one = np.array([key], dtype=np.int64)
            ticker = self.market.underlyings[int(underlying_of(one)[0])]
            right = {0.0: "", 1.0: "C", -1.0: "P"}[float(sign_of(one)[0])]
            found = Instrument(ticker)
            if right:
                found = Instrument(
                    ticker,
                    right,
                    float(strike_of(one)[0]),
                    int(self.expiries[expiry_of(one)[0]]),
                    self.config.multiplier,
                )
            self._instruments[key] = found
        return found

    def table(self, keys: NDArray[np.int64]) -> InstrumentTable:
        """Sorted keys as an `InstrumentTable`, in the same order."""
        return InstrumentTable(tuple(self.instrument(key) for key in keys.tolist()))

    def _years(self, day: int, expiry: Any) -> Any:
        left = self.expiries[expiry] - self.closes[day]
        return left / NS_PER_SECOND / SECONDS_PER_YEAR

    def _strike_step(self, spot: float) -> float:
        """The listed step nearest in ratio to the wanted part of spot."""
        wanted = self.config.strike_step_of_spot * spot
        return min(self.config.strike_steps, key=lambda step: abs(np.log(step / wanted)))

    def _quote_underlying(self, spot: float) -> NDArray[np.float64]:
        config = self.config
        half = config.underlying_half_spread * spot
        out = np.zeros(QUOTE_ROWS)
        out[BID], out[ASK], out[VOL] = spot - half, spot + half, np.nan
        out[VALUE] = 0.5 * (out[BID] + out[ASK])
        out[COST] = (out[ASK] - out[VALUE]) + config.share_commission
        out[LONG_MARGIN] = out[SHORT_MARGIN] = config.underlying_margin * spot
        out[DELTA], out[DOLLAR_DELTA] = 1.0, spot
        return out

    def _quote_options(self, day: int, u: int, keys: NDArray[np.int64]) -> NDArray[np.float64]:
        config, spot = self.config, float(self.spot[day, u])
        rate, carry = float(self.rate[day]), float(self.dividend_yield[day, u])
        strike, sign = strike_of(keys), sign_of(keys)
        years = self._years(day, expiry_of(keys))
        vol = np.asarray(self.market.implied_vol(day, u, strike, years), dtype=np.float64)
        if not (vol > 0.0).all():
            raise ValueError(
                f"implied_vol: got {vol[~(vol > 0.0)][0]!r} for {self.market.underlyings[u]} on "
                f"{self.dates[day]}; allowed: a number above 0"
            )
        price = black_scholes_price(spot, strike, years, rate, carry, vol, sign > 0.0)
        delta, gamma, theta, vega = sensitivities = np.empty((4, len(keys)))
        _greeks_into(spot, strike, years, rate, carry, vol, sign, sensitivities)
        half = np.maximum(
            config.min_half_spread,
            config.half_spread_of_price * price + config.half_spread_vol_points * vega,
        )
        out = np.zeros((QUOTE_ROWS, len(keys)))
        # A worthless option is bid at nothing and still offered: it cannot be sold for a gain.
        out[BID] = np.maximum(price - half, 0.0)
        out[ASK] = np.maximum(price + half, config.min_half_spread)
        out[VOL] = vol
        mid = 0.5 * (out[BID] + out[ASK])  # as `Market.mid`, so that equity reconciles
        size = config.multiplier
        out[VALUE] = size * mid
        out[COST] = size * (out[ASK] - mid) + config.option_commission
        out_of_the_money = np.maximum(sign * (strike - spot), 0.0)
        floor = config.margin_floor * np.where(sign < 0.0, strike, spot)
        out[SHORT_MARGIN] = size * np.maximum(
            config.margin_of_spot * spot - out_of_the_money, floor
        )
        out[DELTA] = size * delta
        out[DOLLAR_DELTA] = size * delta * spot
        out[DOLLAR_GAMMA] = size * gamma * spot * spot / 100.0
        out[THETA], out[VEGA] = size * theta, size * vega
        return out

    def _check_inputs(self) -> None:
        used = slice(self.first_day, self.last_day + 1)
        for name, array in (
            ("spot", self.spot),
            ("vol_30d", np.asarray(self.market.vol_30d)),
        ):
            bad = ~((array[used] > 0.0) & np.isfinite(array[used]))
            if bad.any():
                day, u = np.argwhere(bad)[0]
                raise ValueError(
                    f"{name}: got {array[used][day, u]!r} for {self.market.underlyings[u]} in "
                    f"session {day + self.first_day}; allowed: a finite number above 0"
                )
        for name, array in (("rate", self.rate), ("dividend_yield", self.dividend_yield)):
            if not np.isfinite(array[used]).all():
                raise ValueError(f"{name}: a value is missing; allowed: finite numbers")

    def _market_features(self) -> tuple[list[str], NDArray[np.float64]]:
        """What is observed of the market: only what was known at each close."""
        names: list[str] = []
        columns: list[NDArray[np.float64]] = []
        days = np.arange(len(self.closes))
        last = np.minimum(self.near + 1, len(self.expiries) - 1)
        vols = np.asarray(self.market.vol_30d, dtype=np.float64)
        for u, ticker in enumerate(self.market.underlyings):
            log_spot = np.log(self.spot[:, u])
            for horizon in (1, 5, 21):
                names.append(f"{ticker} 10 x log return {horizon}d")
                columns.append(10.0 * (log_spot - log_spot[np.maximum(days - horizon, 0)]))
            long_run = _trailing_mean(vols[:, u], 252)
            names += [f"{ticker} vol 30d", f"{ticker} vol 30d over its 252-session mean"]
            columns += [vols[:, u], vols[:, u] / long_run]
            for term, expiry in (("near", np.minimum(self.near, last)), ("far", last)):
                names.append(f"{ticker} days to {term} expiry over 30")
                columns.append((self.expiries[expiry] - self.closes) / NS_PER_DAY / 30.0)
        return names, np.nan_to_num(np.column_stack(columns))


def _trailing_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """(D,) mean of up to `window` values ending at each; NaN values are left out."""
    known = np.isfinite(values)
    total = np.concatenate(([0.0], np.cumsum(np.where(known, values, 0.0))))
    count = np.concatenate(([0], np.cumsum(known)))
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - window, 0)
    mean: NDArray[np.float64] = (total[end] - total[start]) / np.maximum(
        count[end] - count[start], 1
    )
    return mean


@lru_cache(maxsize=8)
def listing_for(market: MarketLike, config: ListingConfig) -> Listing:
    """The shared listing of a market history (by identity) under these rules."""
    return Listing(market, config)


def requirement(quotes: NDArray[np.float64], quantity: NDArray[np.float64]) -> float:
    """Margin requirement of a book in currency: every short by itself, longs not counted.

    Args:
        quotes: (QUOTE_ROWS, n).
        quantity: (n,) signed contracts.

    The rule asks for the option's price besides, of an equity in which options count nothing. It
    is held here against equity at mid, which has the price of each short taken off already.

    Source: FINRA rule 4210(f)(2)(E) for options, Regulation T (12 CFR 220.12) for shares.
    """
    long = np.maximum(quantity, 0.0)
    short = long - quantity
    return float((long * quotes[LONG_MARGIN] + short * quotes[SHORT_MARGIN]).sum())
