"""The assessment: a book's risk at one instant, and all that a decision about it needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from riskenv.book_rows import Rows
from riskenv.circuit_breaker import Rung
from riskenv.gap_risk_monitor import EventWindow
from riskenv.instruments import InstrumentTable
from riskenv.limits import RiskLimits
from riskenv.market import Market
from riskenv.measures import point
from riskenv.portfolio import Portfolio
from riskenv.risk_matrices import RiskMatrices

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Assessment:
    """The book's risk at one instant, before any trade.

    Attributes:
        portfolio, market: what was assessed.
        names: (K,) of the measures: `riskenv.measures.MEASURES`, then the scoped ones.
        interval: (2, K) lowest and highest that each measure of the book can be, with what is
            Unknown and what working orders may do; NaN = not even bounds are known.
        low, high: (K,) caps in force, tightened by events.
        used: (K,) share of each cap in use.
        rung: the rung that holds; events: what the calendar says.
        equity, day_loss, drawdown: currency; the losses are <= 0; NaN = Unknown.
        strategy_books: tag -> its place in `rows.books`.
        rows: the sums that caps are put on; matrices: X and P; base_pnl: (S,) the book's scenario
            P&L, each scenario with the working orders at their worst.
        blocked: (n,) instruments in which nothing is entered.
        bounds, counts: first scenario of each block, and the size of each horizon's tail.
        limits: the limits; tail_probability: p of the tail measures.
    """

    portfolio: Portfolio
    market: Market
    names: tuple[str, ...]
    interval: FloatArray
    low: FloatArray
    high: FloatArray
    used: FloatArray
    rung: Rung
    events: EventWindow
    equity: float
    day_loss: float
    drawdown: float
    rows: Rows
    strategy_books: dict[str, int]
    matrices: RiskMatrices
    base_pnl: FloatArray
    bounds: NDArray[np.int64]
    counts: NDArray[np.int64]
    blocked: BoolArray
    limits: RiskLimits
    tail_probability: float

    @property
    def table(self) -> InstrumentTable:
        return self.market.table

    def book_of(self, strategy: str) -> int:
        """Of `rows.books`, the one of a strategy that has caps; 0 for any other."""
        return self.strategy_books.get(strategy, 0)

    @cached_property
    def loose(self) -> bool:
        """Whether something is held whose exposure is not known."""
        held = self.matrices.rows[self.portfolio.quantity != 0.0]
        return bool(np.isnan(self.matrices.X[held, 0]).any())

    @property
    def reducing(self) -> bool:
        """Whether the layer will reduce the book by itself."""
        return self.rung in (Rung.REDUCE, Rung.FLATTEN)

    def breached(self) -> tuple[str, ...]:
        """Measures that are outside their cap, or Unknown, before any trade."""
        return tuple(
            name for j, name in enumerate(self.names) if self.capped[j] and not self.used[j] <= 1.0
        )

    @cached_property
    def before(self) -> FloatArray:
        """(K,) the book's measures; NaN where the two ends of the interval are not one."""
        return point(self.interval)

    @cached_property
    def pending(self) -> FloatArray:
        """(2, n) contracts that working orders may still sell (<= 0) and buy (>= 0)."""
        orders = self.portfolio.working
        if orders is None:
            return np.zeros((2, len(self.table)))
        return np.stack([np.minimum(orders, 0.0).sum(axis=0), np.maximum(orders, 0.0).sum(axis=0)])

    @cached_property
    def capped(self) -> BoolArray:
        """(K,) measures that have a cap."""
        return np.isfinite(self.low) | np.isfinite(self.high)

    @property
    def has_tails(self) -> bool:
        """Whether there are scenarios at all."""
        return len(self.base_pnl) > 0
