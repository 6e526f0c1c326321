"""Portfolio Greeks: each instrument's exposures as a matrix, the book's as one product.

Units are those of `riskenv.measures`: delta in share-equivalents, theta per calendar day, vega
per vol point. Sums run in the table's canonical order, so that listing positions in another
order changes no bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from riskenv.canonical import number
from riskenv.compilation import jit
from riskenv.instruments import NS_PER_DAY, NS_PER_SECOND
from riskenv.market import Market
from riskenv.measures import LINEAR
from riskenv.portfolio import Portfolio
from riskenv.pricing.black_scholes import DAYS_PER_YEAR, greeks

NS_PER_YEAR = int(DAYS_PER_YEAR) * NS_PER_DAY


@jit
def _exposures(kind, spot, strike, years, rate, dividend_yield, vol, multiplier, known, out):  # type: ignore[no-untyped-def]
    for i in range(kind.size):
        if not known[i]:
            out[i, :] = np.nan
            continue
        if kind[i] == 0:
            delta, gamma, theta, vega = 1.0, 0.0, 0.0, 0.0
        else:
            delta, gamma, theta, vega = greeks(
                spot[i], strike[i], years[i], rate, dividend_yield[i], vol[i], float(kind[i])
            )
        m = multiplier[i]
        out[i, 0] = m * delta
        out[i, 1] = m * delta * spot[i]
        out[i, 2] = m * gamma
        out[i, 3] = m * gamma * spot[i] * spot[i] / 100.0
        out[i, 4] = m * theta
        out[i, 5] = m * vega


@jit
def book_sums(quantity, matrix, rows, out):  # type: ignore[no-untyped-def]
    """out[j] = sum over held i of quantity[i] * matrix[rows[i], j], in order of i.

    What is not held is skipped, so that an Unknown instrument nobody owns taints nothing.
    """
    out[:] = 0.0
    for i in range(quantity.size):
        if quantity[i] != 0.0:
            for j in range(out.size):
                out[j] += quantity[i] * matrix[rows[i], j]


def exposure_matrix(market: Market) -> NDArray[np.float64]:
    """(n, 6) exposure of one contract of each instrument to each measure of `LINEAR`.

    A row of NaN marks an instrument that is Unknown.
    """
    table = market.table
    out = np.empty((len(table), len(LINEAR)))
    _exposures(
        table.kind,
        market.spot[table.underlying_index],
        table.strike,
        (table.expiry - market.now) / NS_PER_YEAR,
        market.rate,
        market.dividend_yield[table.underlying_index],
        market.vol,
        table.multiplier,
        market.unknown_code == 0,
        out,
    )
    return out


def timestamp(now: int) -> str:
    """ISO 8601 in UTC of int64 nanoseconds, to the second.

    Example:
        >>> timestamp(1_765_708_200_000_000_000)
        '2025-12-14T10:30:00Z'
    """
    return datetime.fromtimestamp(now // NS_PER_SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, eq=False)
class PortfolioGreeks:
    """The book's exposures at one instant.

    Attributes:
        now: int64 nanoseconds UTC.
        total: (6,) in the order of `riskenv.measures.LINEAR`; NaN where a held instrument is
            Unknown.
        by_underlying: ticker -> (6,).
        positions_count: instruments held.
        unknown: symbol -> reason, of what is held.
    """

    now: int
    total: NDArray[np.float64]
    by_underlying: dict[str, NDArray[np.float64]]
    positions_count: int
    unknown: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: delta, gamma, theta, vega, timestamp, positions_count, and more keys.

        An Unknown exposure is None, with its reason under "unknown"; it is never 0.
        """
        total = dict(zip(LINEAR, map(number, self.total), strict=True))
        return {
            **{name: total[name] for name in ("delta", "gamma", "theta", "vega")},
            "timestamp": timestamp(self.now),
            "positions_count": self.positions_count,
            "dollar_delta": total["dollar_delta"],
            "dollar_gamma": total["dollar_gamma"],
            "by_underlying": {
                ticker: dict(zip(LINEAR, map(number, values), strict=True))
                for ticker, values in self.by_underlying.items()
            },
            "unknown": self.unknown,
        }


def aggregate_greeks(portfolio: Portfolio, market: Market) -> PortfolioGreeks:
    """Aggregate the Greeks of a book.

    Raises:
        ValueError: the book and the market are not over the same instrument table.

    Example:
        >>> from riskenv.instruments import Instrument, InstrumentTable
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
    table, quantity = market.table, portfolio.quantity
    matrix = exposure_matrix(market)
    rows = np.arange(len(table))
    total = np.empty(len(LINEAR))
    book_sums(quantity, matrix, rows, total)
    by_underlying = {}
    for u, ticker in enumerate(table.underlyings):
        values = np.empty(len(LINEAR))
        book_sums(np.where(table.underlying_index == u, quantity, 0.0), matrix, rows, values)
        by_underlying[ticker] = values
    held = portfolio.positions()
    return PortfolioGreeks(
        now=market.now,
        total=total,
        by_underlying=by_underlying,
        positions_count=len(held),
        unknown={symbol: why for symbol, why in market.unknown.items() if symbol in held},
    )
