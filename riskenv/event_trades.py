"""Which trades an event lets pass: those that close what is due, those that enter nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from riskenv.circuit_breaker import Rung
from riskenv.event_window import EventWindow
from riskenv.market import Market
from riskenv.portfolio import Portfolio

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def only_closes(portfolio: Portfolio, pending: FloatArray, trades: FloatArray) -> BoolArray:
    """(A,) trades that move every position they touch towards 0 and never past it, and leave no
    short with less cover than it had (`riskenv.reduction.uncovered`). Nothing at all does.

    Args:
        pending: (2, n) contracts that working orders may still sell (<= 0) and buy (>= 0): what
            they may close already is not there to be closed.
        trades: (A, n) signed contracts.

    Example:
        >>> from riskenv import Instrument, InstrumentTable
        >>> table = InstrumentTable.of(
        ...     Instrument("AAPL", "P", strike, 86_400 * 10**9, 100.0) for strike in (90.0, 95.0))
        >>> spread = Portfolio(table, np.array([4.0, -4.0]), 0.0)
        >>> trades = np.array([[-2.0, 0.0], [-2.0, 2.0], [0.0, 4.0], [0.0, 5.0]])
        >>> only_closes(spread, np.zeros((2, 2)), trades).tolist()
        [False, True, True, False]
    """
    held, table = portfolio.quantity, portfolio.table
    left = held + np.where(held > 0.0, pending[0], pending[1])
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite closes nothing
        towards = (trades * held < 0.0) & (left * held > 0.0) & (np.abs(trades) <= np.abs(left))
    closes = np.asarray(((trades == 0.0) | towards).all(axis=1))
    rows = np.flatnonzero(closes & (trades != 0.0).any(axis=1))
    if rows.size and (held < 0.0).any():
        # Machine code that few books need.
        from riskenv.lot_search import keep_cover
        from riskenv.reduction import uncovered

        terms = (table.kind, table.underlying_index, table.expiry, table.multiplier)
        keep_cover(held, trades, rows, uncovered(held, *terms), *terms, closes)
    return closes


def still_due(portfolio: Portfolio, least: FloatArray, trades: FloatArray) -> FloatArray:
    """(A, n) contracts of what is due that each trade leaves unclosed; a position turned round
    counts by its size.

    Example:
        >>> from riskenv import Instrument, InstrumentTable
        >>> book = Portfolio(InstrumentTable.of([Instrument("AAPL")]), np.array([8.0]), 0.0)
        >>> still_due(book, np.array([6.0]), np.array([[0.0], [-4.0], [-7.0], [-16.0]])).tolist()
        [[6.0], [2.0], [0.0], [6.0]]
    """
    held = portfolio.quantity
    after = np.abs(held + trades) - (np.abs(held) - least)
    short = np.where(least > 0.0, np.maximum(after, 0.0), 0.0)
    short[np.isnan(short)] = np.inf  # a trade that is not finite closes nothing
    return np.asarray(short)


def share_still_due(portfolio: Portfolio, least: FloatArray, trades: FloatArray) -> FloatArray:
    """(A,) mean over the positions in which something is due of the share of it left unclosed;
    0 = all is done."""
    due = np.flatnonzero(least > 0.0)
    if not due.size:
        return np.zeros(len(trades))
    left = still_due(portfolio, least, trades)[:, due] / least[due]
    # One fixed order of additions: np.mean adds in an order that depends on the CPU.
    return np.asarray(np.cumsum(left, axis=1)[:, -1] / due.size)


def rung_due(window: EventWindow, portfolio: Portfolio, least: FloatArray) -> Rung:
    """The rung at which a deadline is met: FLATTEN or REDUCE where it is one of the whole market,
    NORMAL where it is that of a ticker, whose positions alone are reduced.

    It holds while something is due, and is no state of the breaker: there is no dwell.

    Example:
        >>> from riskenv import Instrument, InstrumentTable
        >>> book = Portfolio(InstrumentTable.of([Instrument("AAPL")]), np.array([8.0]), 0.0)
        >>> rung_due(EventWindow(), book, np.array([8.0])).name
        'NORMAL'
    """
    if not (window.market_share < 1.0 and least.any()):
        return Rung.NORMAL
    flat = window.market_share == 0.0 and (least == np.abs(portfolio.quantity)).all()
    return Rung.FLATTEN if flat else Rung.REDUCE


def hedge_columns(window: EventWindow, market: Market) -> NDArray[np.int64]:
    """Instruments in which protection may be bought (`EventRule.hedge_gap`): the underlying and
    the options, with known quotes, of every ticker that an event to be hedged touches.

    For `riskenv.reduction.plan_reduction(hedges=...)`. Empty where nothing is to be hedged.

    Example:
        >>> from riskenv import Event, EventRule, Instrument, InstrumentTable
        >>> from riskenv.event_values import ActiveRule
        >>> table = InstrumentTable.of([Instrument("AAPL"), Instrument("MSFT")])
        >>> prices = np.array([150.0, 300.0])
        >>> market = Market(0, table, prices, 0.0, np.zeros(2), prices, prices, np.zeros(2))
        >>> rule = EventRule(event_type="earnings", sessions_before=1, action="hedge_gap",
        ...                  gap_log_return=0.1)
        >>> event = Event("earnings", 9, 0, symbol="MSFT")
        >>> hedge_columns(EventWindow((ActiveRule(event, rule, 0),)), market).tolist()
        [1]
    """
    if not window.hedge_gap:
        return np.zeros(0, dtype=np.int64)
    touched = window.hedged(market.table.underlyings)[market.table.underlying_index]
    return np.flatnonzero(touched & (market.unknown_code == 0))
