"""What a book's measures are at a market: the rows that caps are put on, added up, in one pass."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from riskenv.admissibility import measure_book
from riskenv.book_rows import Layout, Rows, add_up, rows_of
from riskenv.compilation import jit
from riskenv.exposure_bounds import exposure_bounds
from riskenv.gross_measures import gross_weights, write_weights
from riskenv.limits import RiskLimits
from riskenv.market import Market
from riskenv.measures import GROSS, LINEAR
from riskenv.portfolio import Portfolio
from riskenv.portfolio_greeks import book_sums
from riskenv.quote_quality import NOT_COMPUTABLE
from riskenv.risk_matrices import RiskMatrices
from riskenv.tails import BookTails

FloatArray = NDArray[np.float64]


class BookMeasures(NamedTuple):
    """A book at a market, before any trade.

    Attributes:
        rows: the sums that caps are put on.
        interval: (2, K) ends of each measure.
        base_pnl: (S,) scenario P&L, each scenario with the working orders at their worst.
        blocked: (n,) instruments of which something is Unknown: nothing is entered in them.
        equity: cash plus positions at mid; NaN where a held instrument is Unknown, or no float
            holds it.
    """

    rows: Rows
    interval: FloatArray
    base_pnl: FloatArray
    blocked: NDArray[np.bool_]
    equity: float


def book_measures(
    portfolio: Portfolio,
    market: Market,
    matrices: RiskMatrices,
    tails: BookTails,
    layout: Layout,
    limits: RiskLimits,
) -> BookMeasures:
    """The measures of a book, in the order of `layout.names`.

    A book of which all is known, without orders and with caps on the whole alone, as there are
    millions in training, takes a single compiled call; any other is put together piece by piece.
    The additions are the same, in the same order.
    """
    n, quantity = len(market.table), portfolio.quantity
    interval = np.empty((2, len(layout.names)))
    base_pnl = np.empty(matrices.P.shape[1])
    if not layout.scoped and portfolio.working is None:
        net, gross = np.empty((n, len(LINEAR))), np.empty((n, 2, len(GROSS)))
        sums, nothing = np.zeros((4, len(LINEAR))), np.zeros((n, len(LINEAR)))
        unfilled, none = np.zeros(len(GROSS)), np.zeros(n, dtype=np.bool_)
        books = quantity[None, :]
        table = market.table
        known, value = _whole_book(
            quantity, table.whole, table.real, market.tickers, market.mid, market.value,
            layout.margin, matrices.X, matrices.P, matrices.rows, *tails,
            layout.net_at, layout.gross_at, layout.net_book, layout.gross_book,
            layout.beta_capped, books, net, nothing, gross, none, sums, unfilled, interval,
            base_pnl,
        )  # fmt: skip
        if known:
            rows = Rows(
                net, nothing, nothing, gross, layout.net_at, layout.gross_at, books,
                layout.net_book, layout.gross_book, none, sums[0], sums[1], sums[2], sums[3],
                unfilled,
            )  # fmt: skip
            return BookMeasures(rows, interval, base_pnl, none, _finite(portfolio.cash + value))
    X = matrices.X[matrices.rows]
    rows, blocked = _rows(portfolio, market, X, layout, limits)
    measure_book(
        quantity, portfolio.orders, rows, matrices.P, matrices.rows, tails, interval, base_pnl
    )
    worth = np.empty(1)
    book_sums(quantity, market.value[:, None], market.table.own_rows, worth)
    return BookMeasures(
        rows, interval, base_pnl, blocked, _finite(portfolio.cash + float(worth[0]))
    )


def _finite(equity: float) -> float:
    return equity if math.isfinite(equity) else math.nan


@jit
def _whole_book(  # type: ignore[no-untyped-def]
    quantity, whole, real, tickers, mid, value, margin, X, P, where,
    blocks, counts, p, stress, history, mixed, known,
    net_at, gross_at, net_book, gross_book, beta_capped, books, net, nothing, gross, none, sums,
    unfilled, interval, base_pnl,
):  # fmt: skip
    """(whether all is known, what is held is worth); fills net, gross, sums, interval, base_pnl.

    Args:
        beta_capped: whether betas must be known, too.
        nothing, none: zeros, as of `Rows.low` and `Rows.loose`.
    """
    last = net.shape[1] - 1
    for i in range(quantity.size):
        for j in range(net.shape[1]):
            net[i, j] = X[where[i], j]
        if net[i, 0] != net[i, 0] or (beta_capped and net[i, last] != net[i, last]):
            return False, np.nan
    write_weights(whole, real, tickers, mid, net, margin, gross)
    rows = Rows(
        net, nothing, nothing, gross, net_at, gross_at, books, net_book, gross_book, none,
        sums[0], sums[1], sums[2], sums[3], unfilled,
    )  # fmt: skip
    orders = np.zeros((0, quantity.size))
    add_up(rows, whole[2], tickers.shape[1], orders)
    tails = BookTails(blocks, counts, p, stress, history, mixed, known)
    measure_book(quantity, orders, rows, P, where, tails, interval, base_pnl)
    worth = 0.0
    for i in range(quantity.size):
        if quantity[i] != 0.0:
            worth += quantity[i] * value[i]
    return True, worth


def _rows(
    portfolio: Portfolio, market: Market, X: FloatArray, layout: Layout, limits: RiskLimits
) -> tuple[Rows, NDArray[np.bool_]]:
    """The sums of the book, and the instruments in which nothing may be entered."""
    table = market.table
    unknown = np.isnan(X[:, 0])
    blocked = unknown
    ends = (X, X)
    if unknown.any():
        held = portfolio.exposed
        # A quote can be one while the Greeks of it cannot be computed, or disagree.
        code = np.where(market.unknown_code == 0, NOT_COMPUTABLE, market.unknown_code)
        ends = exposure_bounds(market, np.where(unknown & held, code, 0))
        blocked = unknown.copy()
        for i in np.flatnonzero(unknown & held):
            blocked |= (table.underlying_index == table.underlying_index[i]) & (
                table.expiry == table.expiry[i]
            )
    weights = gross_weights(market, X, limits.margin, ends)
    return rows_of(portfolio, market, X, ends, weights, layout), blocked
