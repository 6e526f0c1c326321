"""Portfolio Greeks: the exposures of a whole book, net and gross, and by what it is made of.

Units are those of `riskenv.exposures`. Sums run in the table's canonical order, first within a
ticker and then over tickers, so that listing positions in another order changes no bit, and one
ticker's sums can be renewed without the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from riskenv.canonical import number
from riskenv.compilation import jit
from riskenv.expiry_buckets import EXPIRY_BUCKETS, expiry_bucket
from riskenv.exposure_bounds import exposure_bounds
from riskenv.exposures import ExposureRows, exposures
from riskenv.instruments import NS_PER_SECOND
from riskenv.market import Market
from riskenv.measures import LINEAR
from riskenv.portfolio import Portfolio
from riskenv.quote_quality import UNKNOWN_REASONS

FloatArray = NDArray[np.float64]


@jit
def add_scaled(row, lots, out):  # type: ignore[no-untyped-def]
    """out += lots * row. A function of its own, so that the loop vectorises wherever it is used."""
    for j in range(out.size):
        out[j] += lots * row[j]


@jit
def book_sums(quantity, matrix, rows, out):  # type: ignore[no-untyped-def]
    """out[j] = sum over held i of quantity[i] * matrix[rows[i], j], in order of i.

    What is not held is skipped, so that an Unknown instrument nobody owns taints nothing.
    """
    out[:] = 0.0
    for i in range(quantity.size):
        if quantity[i] != 0.0:
            add_scaled(matrix[rows[i]], quantity[i], out)


@jit
def group_sums(quantity, matrix, rows, group, start, stop, net, gross):  # type: ignore[no-untyped-def]
    """Add quantity[i] * matrix[rows[i]] to net[group[i]] and its size to gross[group[i]], in order
    of i, start <= i < stop. Both are (G, M) and start out as they come."""
    for i in range(start, stop):
        q = quantity[i]
        if q != 0.0:
            g, row = group[i], rows[i]
            for j in range(net.shape[1]):
                part = q * matrix[row, j]
                net[g, j] += part
                gross[g, j] += abs(part)


@jit
def column_sums(matrix, out):  # type: ignore[no-untyped-def]
    """out[j] = sum of matrix[:, j], in order."""
    out[:] = 0.0
    for i in range(matrix.shape[0]):
        for j in range(out.size):
            out[j] += matrix[i, j]


@jit
def renew_sums(quantity, matrix, rows, group, g, start, stop, net, gross, total):  # type: ignore[no-untyped-def]
    """Add up group g anew, which is start <= i < stop, and then the groups: one call a tick."""
    net[g, :] = 0.0
    gross[g, :] = 0.0
    group_sums(quantity, matrix, rows, group, start, stop, net, gross)
    column_sums(net, total)


def timestamp(now: int) -> str:
    """ISO 8601 in UTC of int64 nanoseconds, to the second.

    Example:
        >>> timestamp(1_765_708_200_000_000_000)
        '2025-12-14T10:30:00Z'
    """
    return datetime.fromtimestamp(now // NS_PER_SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, eq=False)
class PortfolioGreeks:
    """The book's exposures at one instant; arrays over measures are in the order of `LINEAR`.

    Attributes:
        portfolio, market: the book and what it was valued at.
        X: (n, 11) exposures of one contract of each instrument; NaN where it is Unknown.
        code: (n,) why, as an index into `riskenv.quote_quality.UNKNOWN_REASONS`.
        net, gross: (U, 11) sum, and sum of sizes, over the positions in each ticker.
        total: (11,) net over all tickers; NaN where a held instrument is Unknown. The sum of share
            deltas over tickers is the plan's figure; what a trader means is `dollar_delta` or
            `beta_delta`.
    """

    portfolio: Portfolio
    market: Market
    X: FloatArray
    code: NDArray[np.int64]
    net: FloatArray
    gross: FloatArray
    total: FloatArray

    @cached_property
    def total_gross(self) -> FloatArray:
        """(11,) sum of the sizes of all positions' exposures; NaN as in `total`."""
        out = np.empty(len(LINEAR))
        column_sums(self.gross, out)
        return out

    @property
    def positions_count(self) -> int:
        """Instruments held."""
        return int(np.count_nonzero(self.portfolio.quantity))

    @property
    def unknown(self) -> dict[str, str]:
        """Symbol -> reason, of what is held or ordered."""
        rows = np.flatnonzero(self._touched & (self.code != 0))
        symbols = self.market.table.symbols
        return {symbols[row]: UNKNOWN_REASONS[self.code[row]] for row in rows}

    @property
    def unknown_measures(self) -> dict[str, str]:
        """Measure -> reason, where a total is Unknown though every instrument held is known."""
        if (self.code[self.portfolio.quantity != 0.0] != 0).any():
            return {}
        why = {}
        for name, value in zip(LINEAR, self.total, strict=True):
            if not np.isfinite(value):
                missing = name == "beta_delta" and np.isnan(value)
                why[name] = "beta_or_index_missing" if missing else "beyond_any_float"
        return why

    @cached_property
    def _touched(self) -> NDArray[np.bool_]:
        """(n,) instruments held, by the book or one of its strategies, or ordered."""
        book = self.portfolio
        touched: NDArray[np.bool_] = book.quantity != 0.0
        for part in book.strategies.values():
            touched |= part != 0.0
        if book.working is not None:
            touched |= book.working.any(axis=0)
        return touched

    @cached_property
    def interval(self) -> tuple[FloatArray, FloatArray]:
        """(low, high), each (11,): where the exposure lies, whatever becomes of what is open.

        Unknown positions add their bounds (`riskenv.exposure_bounds`), a working order anything
        between nothing and all of itself. Without either, both ends are `total`. Never NaN: what no
        float holds has no bound.
        """
        quantity, orders = self.portfolio.quantity, self.portfolio.working
        if orders is None and np.isfinite(self.total).all():
            return self.total, self.total
        low, high = exposure_bounds(self.market, np.where(self._touched, self.code, 0))
        known = self.code == 0
        low[known], high[known] = self.X[known], self.X[known]
        without_beta = known & np.isnan(self.X[:, -1])
        low[without_beta, -1], high[without_beta, -1] = -np.inf, np.inf
        with np.errstate(over="ignore", invalid="ignore"):
            ticker = self.market.table.underlying_index
            least, most = _interval_sum(quantity, low, high, ticker)
            for order in () if orders is None else orders:
                a, z = _interval_sum(order, low, high, ticker)
                least, most = least + np.minimum(a, 0.0), most + np.maximum(z, 0.0)
        return np.where(np.isnan(least), -np.inf, least), np.where(np.isnan(most), np.inf, most)

    def by_underlying(self) -> dict[str, FloatArray]:
        """Ticker -> (11,) net."""
        return dict(zip(self.market.table.underlyings, self.net, strict=True))

    def by_expiry(self) -> dict[str, FloatArray]:
        """Bucket of `riskenv.expiry_buckets` -> (11,) net, where anything is held."""
        return self._by(expiry_bucket(self.market.table, self.market.now), EXPIRY_BUCKETS)

    def by_strategy(self) -> dict[str, FloatArray]:
        """Tag -> (11,) net, and "" for what belongs to no strategy, if there is any."""
        book = self.portfolio
        parts = {**book.strategies, "": book.untagged}
        out = {}
        for tag, quantity in parts.items():
            if tag or quantity.any():
                out[tag] = np.empty(len(LINEAR))
                book_sums(quantity, self.X, np.arange(len(quantity)), out[tag])
        return out

    def _by(self, group: NDArray[np.int64], names: Sequence[str]) -> dict[str, FloatArray]:
        n, quantity = len(group), self.portfolio.quantity
        net = np.zeros((len(names), len(LINEAR)))
        group_sums(quantity, self.X, np.arange(n), group, 0, n, net, np.zeros_like(net))
        held = set(group[quantity != 0.0].tolist())
        return {name: net[g] for g, name in enumerate(names) if g in held}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: delta, gamma, theta, vega, timestamp, positions_count, and more keys.

        An Unknown exposure is None, with its reason under "unknown" and its bounds under
        "interval"; it is never 0. An end of an interval that is None has no bound.
        """
        total = _named(self.total)
        low, high = self.interval
        return {
            **{name: total[name] for name in ("delta", "gamma", "theta", "vega")},
            "timestamp": timestamp(self.market.now),
            "positions_count": self.positions_count,
            **{name: total[name] for name in LINEAR if name not in _PLAN},
            "gross": _named(self.total_gross),
            "interval": {
                name: [number(a), number(z)] for name, a, z in zip(LINEAR, low, high, strict=True)
            },
            "by_underlying": {key: _named(row) for key, row in self.by_underlying().items()},
            "by_expiry": {key: _named(row) for key, row in self.by_expiry().items()},
            "by_strategy": {key: _named(row) for key, row in self.by_strategy().items()},
            "cash": self.portfolio.cash,
            "working_orders": 0 if self.portfolio.working is None else len(self.portfolio.working),
            "unknown": self.unknown,
            "unknown_measures": self.unknown_measures,
        }


_PLAN = ("delta", "gamma", "theta", "vega")


def _named(values: FloatArray) -> dict[str, float | None]:
    return dict(zip(LINEAR, map(number, values), strict=True))


def _interval_sum(
    quantity: FloatArray, low: FloatArray, high: FloatArray, ticker: NDArray[np.int64]
) -> tuple[FloatArray, FloatArray]:
    """(11,) ends of the sum of quantity[i] * [low[i], high[i]] over what is held, in the order of
    `PortfolioGreeks.total`: what is known has its very bits at both ends."""
    least, most = np.zeros(len(LINEAR)), np.zeros(len(LINEAR))
    held = np.flatnonzero(quantity)
    for u in np.unique(ticker[held]):
        within = np.zeros((2, len(LINEAR)))
        for i in held[ticker[held] == u]:
            a, z = quantity[i] * low[i], quantity[i] * high[i]
            within += np.minimum(a, z), np.maximum(a, z)
        least += within[0]
        most += within[1]
    return least, most


def aggregate_greeks(portfolio: Portfolio, market: Market) -> PortfolioGreeks:
    """Aggregate the Greeks of a book.

    Raises:
        ValueError: the book and the market are not over the same instrument table.

    Example:
        >>> from riskenv.instruments import NS_PER_YEAR, Instrument, InstrumentTable
        >>> spy = Instrument("SPY")
        >>> call = Instrument("SPY", "C", 100.0, expiry=NS_PER_YEAR // 2, multiplier=100.0)
        >>> table = InstrumentTable.of([spy, call])
        >>> market = Market(0, table, np.array([100.0]), 0.05, np.array([0.0]),
        ...                 np.array([99.99, 6.8]), np.array([100.01, 7.0]), np.array([0.0, 0.2]))
        >>> book = Portfolio.of(table, {spy: -50.0, call: 1.0}, cash=0.0)
        >>> greeks = aggregate_greeks(book, market).to_dict()
        >>> {k: round(greeks[k], 4) for k in ("delta", "gamma", "theta", "vega")}
        {'delta': 9.7734, 'gamma': 2.7359, 'theta': -2.2236, 'vega': 27.3587}
    """
    if portfolio.table is not market.table:
        raise ValueError("portfolio, market: must be over the same InstrumentTable object")
    return sum_exposures(portfolio, market, exposures(market))


def sum_exposures(portfolio: Portfolio, market: Market, rows: ExposureRows) -> PortfolioGreeks:
    """The book's Greeks from X as it was computed for this market."""
    table, n = market.table, len(market.table)
    net = np.zeros((len(table.underlyings), len(LINEAR)))
    gross, total = np.zeros_like(net), np.empty(len(LINEAR))
    group_sums(portfolio.quantity, rows.X, table.own_rows, table.underlying_index, 0, n, net, gross)
    column_sums(net, total)
    return PortfolioGreeks(portfolio, market, rows.X, rows.code, net, gross, total)
