"""What the market says now about each instrument, with the reason where it cannot be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from riskenv.instruments import InstrumentTable
from riskenv.quote_quality import (
    ASK,
    BETA,
    BID,
    DIVIDENDS,
    FX,
    NO_TIME,
    RATE,
    SPOT,
    UNKNOWN_REASONS,
    VOL,
    YIELD,
    judge_quotes,
)
from riskenv.quote_rules import DEFAULT_RULES, QuoteRules

FloatArray = NDArray[np.float64]

# Greeks that a feed may give, in this order.
FEED = ("delta", "gamma", "theta", "vega", "rho")


@dataclass(frozen=True, eq=False)
class Market:
    """Quotes at one instant, in the columns of an `InstrumentTable`.

    A wrong shape is an error. A wrong *value* is not: a quote that is missing, crossed, stale,
    below intrinsic, or without a volatility makes its instrument Unknown, with a reason in
    `unknown`.

    Attributes:
        now: int64 nanoseconds UTC; the layer reads no clock.
        table: the n instruments.
        spot: (U,) price of each underlying, in the order of `table.underlyings`.
        rate: continuous risk-free rate per year: one number, (U,), or (n,); kept as (n,).
        dividend_yield: continuous yield per year, (U,), or (n,), as where each expiry has the
            yield that its parity-implied forward says; kept as (n,). Of futures it is 0.
        bid, ask: (n,) quotes in currency per point; NaN where there is none.
        vol: (n,) implied volatility per year of each option; ignored for underlyings. Where only
            quotes are at hand, `riskenv.with_implied_vols` solves for it.
        dividends: (n,) present value of the cash dividends that go ex before each option expires
            (`riskenv.escrowed_value`); None = none. European options are priced at spot
            less this, American ones with the yield that takes as much off the forward. Of futures
            it is 0.
        beta: (U,) sensitivity of each underlying's return to the index's; NaN = Unknown.
        beta_as_of: (U,) int64 nanoseconds when beta was estimated; a beta without one is Unknown.
        index_spot: level of the index that betas refer to, in the book's currency.
        quote_time, spot_time: (n,) and (U,) int64 nanoseconds of the quotes; see
            `QuoteRules.max_quote_age_seconds`.
        feed: (n, 5) Greeks from a feed (`FeedGreeks.for_market`), per point in the layer's units:
            delta, gamma, theta, vega, rho; NaN = not given, and computed. One that lies too far
            from the computed number, as an infinite one does, makes the instrument Unknown.
            (0, 5) = no feed.
        currency: the book's currency; "" where all instruments have one, which then it is.
        fx: ISO code -> units of the book's currency for one of that currency.
        rules: when a quote may be trusted.

    Raises:
        ValueError: an array has the wrong shape, or a currency has no rate in `fx`.
    """

    now: int
    table: InstrumentTable
    spot: FloatArray
    rate: float | FloatArray
    dividend_yield: FloatArray
    bid: FloatArray
    ask: FloatArray
    vol: FloatArray
    dividends: FloatArray | None = None
    beta: FloatArray | None = None
    beta_as_of: NDArray[np.int64] | None = None
    index_spot: float = float("nan")
    quote_time: NDArray[np.int64] | None = None
    spot_time: NDArray[np.int64] | None = None
    feed: FloatArray = field(default_factory=lambda: np.empty((0, len(FEED))))
    currency: str = ""
    fx: Mapping[str, float] = field(default_factory=dict)
    rules: QuoteRules = DEFAULT_RULES
    # The same numbers as rows of a few arrays, which is what compiled loops take: see
    # `riskenv.quote_quality` for the rows.
    columns: FloatArray = field(init=False, repr=False)
    tickers: FloatArray = field(init=False, repr=False)
    # The market that this one is a part of, and its rows there.
    whole: tuple[Market, NDArray[np.int64]] | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "now", index(self.now))  # NumPy's are no JSON
        # Private copies: an env that reuses its buffers must not change a past decision.
        n, u = len(self.table), len(self.table.underlyings)
        columns, tickers = np.empty((6, n)), np.empty((3, u))
        for row, name in ((RATE, "rate"), (YIELD, "dividend_yield")):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.shape == (u,):
                values = values[self.table.underlying_index]
            elif values.shape not in ((), (n,)):
                raise ValueError(
                    f"{name}: got shape {values.shape}; allowed: one number, ({u},) or ({n},)"
                )
            columns[row] = values
        for row, name in ((BID, "bid"), (ASK, "ask"), (VOL, "vol")):
            columns[row] = _shaped(name, getattr(self, name), n)
        columns[DIVIDENDS] = (
            0.0 if self.dividends is None else _shaped("dividends", self.dividends, n)
        )
        # A future pays nothing to its holder, whatever its underlying does.
        columns[YIELD, self.table.on_future] = columns[DIVIDENDS, self.table.on_future] = 0.0
        tickers[SPOT] = _shaped("spot", self.spot, u)
        beta = np.full(u, np.nan) if self.beta is None else _shaped("beta", self.beta, u)
        tickers[FX] = self._currency_rates()
        quote_time, spot_time, beta_as_of = (
            np.full(size, NO_TIME) if value is None else _shaped(name, value, size, np.int64)
            for name, value, size in (
                ("quote_time", self.quote_time, n),
                ("spot_time", self.spot_time, u),
                ("beta_as_of", self.beta_as_of, u),
            )
        )
        fresh = np.isfinite(beta) & (beta_as_of != NO_TIME) & (beta_as_of <= self.now)
        fresh &= self.now - self.rules.max_beta_age <= beta_as_of
        tickers[BETA] = np.where(fresh, beta, np.nan)
        feed = np.array(self.feed, dtype=np.float64)
        if feed.shape not in ((0, len(FEED)), (n, len(FEED))):
            raise ValueError(f"feed: got shape {feed.shape}; allowed: ({n}, {len(FEED)})")
        for name, array in {
            "rate": columns[RATE],
            "dividend_yield": columns[YIELD],
            "dividends": columns[DIVIDENDS],
            "bid": columns[BID],
            "ask": columns[ASK],
            "vol": columns[VOL],
            "spot": tickers[SPOT],
            "beta": beta,
            "spot_time": spot_time,
            "beta_as_of": beta_as_of,
            "quote_time": quote_time,
            "feed": feed,
            "fx": dict(self.fx),
            "columns": columns,
            "tickers": tickers,
        }.items():
            object.__setattr__(self, name, array)

    def _currency_rates(self) -> FloatArray | float:
        """(U,) units of the book's currency for one of each ticker's."""
        used = self.table.currency
        if len(set(used)) <= 1 and self.currency in ("", *used):
            return 1.0
        if not self.currency:
            raise ValueError(
                f"currency: got none for instruments in {sorted(set(used))}; allowed: the book's "
                "own currency, with a rate in fx for each other one"
            )
        missing = sorted(set(used) - {self.currency, *self.fx})
        if missing:
            raise ValueError(
                f"fx: no rate for {', '.join(missing)}; allowed: the value in {self.currency} of "
                "one unit of each currency that is traded"
            )
        return np.array([1.0 if c == self.currency else self.fx[c] for c in used])

    def under(self, rules: QuoteRules) -> Market:
        """The same market, its quotes trusted by other rules."""
        return self if rules is self.rules or rules == self.rules else replace(self, rules=rules)

    def part(self, rows: NDArray[np.int64]) -> Market:
        """The same market, of some of the instruments only (`InstrumentTable.part`).

        What is worked out of a whole market is looked up for its parts, so that many books on one
        day share it. From now on the arrays of the whole are read-only.

        Args:
            rows: (k,) which, increasing; of every ticker at least one.

        Example:
            >>> from riskenv.instruments import Instrument
            >>> table = InstrumentTable.of(
            ...     Instrument("SPX", right, 900.0, 10**18, 100.0) for right in "CP")
            >>> market = Market(0, table, np.array([900.0]), 0.0, np.zeros(1), np.array([9.0, 8.0]),
            ...                 np.array([11.0, 9.0]), np.full(2, 0.2))
            >>> market.part(np.array([1])).mid.tolist()
            [8.5]
        """
        if self.columns.flags.writeable:
            for array in vars(self).values():
                if isinstance(array, np.ndarray):
                    array.flags.writeable = False
        columns = self.columns.take(rows, axis=1)
        quote_time = np.asarray(self.quote_time).take(rows)
        feed = self.feed.take(rows, axis=0) if len(self.feed) else self.feed
        part: Market = object.__new__(Market)
        part.__dict__.update(
            now=self.now, table=self.table.part(rows), spot=self.spot, rate=columns[RATE],
            dividend_yield=columns[YIELD], dividends=columns[DIVIDENDS], bid=columns[BID],
            ask=columns[ASK], vol=columns[VOL], beta=self.beta, beta_as_of=self.beta_as_of,
            index_spot=self.index_spot, quote_time=quote_time, spot_time=self.spot_time,
            feed=feed, currency=self.currency, fx=self.fx, rules=self.rules, columns=columns,
            tickers=self.tickers, whole=(self, rows),
        )  # fmt: skip
        return part

    @cached_property
    def _judged(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        if self.whole is not None:
            whole, rows = self.whole
            return whole._judged[0].take(rows), whole._judged[1].take(rows)
        n = len(self.table)
        code, quoted = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.bool_)
        judge_quotes(
            self.table.whole, self.table.real, self.columns, self.tickers, self.quote_time,
            self.spot_time, self.now, self.rules.ages, 0, n, code, quoted,
        )  # fmt: skip
        return code, quoted

    @property
    def unknown_code(self) -> NDArray[np.int64]:
        """(n,) index into `riskenv.quote_quality.UNKNOWN_REASONS`; 0 = known, as far as quotes
        tell: `riskenv.exposures.exposures` finds more where Greeks come from a feed."""
        return self._judged[0]

    @cached_property
    def mid(self) -> FloatArray:
        """(n,) midpoint; NaN where the quote is none. It needs no volatility."""
        if self.whole is not None:
            return self.whole[0].mid.take(self.whole[1])
        with np.errstate(invalid="ignore", over="ignore"):
            mid = 0.5 * (self.bid + self.ask)
        mid[~self._judged[1]] = np.nan
        return mid

    @cached_property
    def half_spread(self) -> FloatArray:
        """(n,) cost of crossing, currency per point; NaN where the quote is none."""
        if self.whole is not None:
            return self.whole[0].half_spread.take(self.whole[1])
        with np.errstate(invalid="ignore", over="ignore"):
            half = 0.5 * (self.ask - self.bid)
        half[~self._judged[1]] = np.nan
        return half

    @cached_property
    def value(self) -> FloatArray:
        """(n,) what one contract is worth at mid, in the book's currency; NaN where the quote is
        none. A future is worth 0: its gains are in cash already."""
        if self.whole is not None:
            return self.whole[0].value.take(self.whole[1])
        u = self.table.underlying_index
        with np.errstate(invalid="ignore", over="ignore"):
            value: FloatArray = self.table.multiplier * self.mid * self.tickers[FX][u]
        value[self.table.on_future & (self.table.kind == 0)] = 0.0
        return value

    @property
    def unknown(self) -> dict[str, str]:
        """Symbol -> reason, for each instrument that cannot be trusted."""
        return {
            self.table.symbols[row]: UNKNOWN_REASONS[self.unknown_code[row]]
            for row in np.flatnonzero(self.unknown_code)
        }


def _shaped(name: str, value: Any, size: int, dtype: Any = np.float64) -> NDArray[Any]:
    array = np.array(value, dtype=dtype)
    if array.shape != (size,):
        raise ValueError(f"{name}: got shape {array.shape}; allowed: ({size},)")
    return array
