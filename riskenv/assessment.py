"""The assessment: a book's risk at one instant, and all that a decision about it needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from riskenv.circuit_breaker import Rung
from riskenv.gap_risk_monitor import EventWindow
from riskenv.instruments import InstrumentTable
from riskenv.limits import RiskLimits
from riskenv.market import Market
from riskenv.measures import MEASURES
from riskenv.portfolio import Portfolio
from riskenv.risk_matrices import RiskMatrices

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Assessment:
    """The book's risk at one instant, before any trade.

    Attributes:
        portfolio, market: what was assessed.
        before: (M,) the book's measures; NaN = Unknown.
        low, high: (M,) caps in force, tightened by events.
        used: (M,) share of each cap in use.
        rung: the rung that holds; events: what the calendar says.
        equity, day_loss, drawdown: currency; the losses are <= 0; NaN = Unknown.
        matrices, base_pnl: X, P and the book's scenario P&L, for candidates.
        bounds, counts: first scenario of each block, and the size of each horizon's tail.
        limits: the limits; tail_probability: p of the tail measures.
    """

    portfolio: Portfolio
    market: Market
    before: FloatArray
    low: FloatArray
    high: FloatArray
    used: FloatArray
    rung: Rung
    events: EventWindow
    equity: float
    day_loss: float
    drawdown: float
    matrices: RiskMatrices
    base_pnl: FloatArray
    bounds: NDArray[np.int64]
    counts: NDArray[np.int64]
    limits: RiskLimits
    tail_probability: float

    @property
    def table(self) -> InstrumentTable:
        return self.market.table

    @property
    def reducing(self) -> bool:
        """Whether the layer will reduce the book by itself."""
        return self.rung in (Rung.REDUCE, Rung.FLATTEN)

    def breached(self) -> tuple[str, ...]:
        """Measures that are outside their cap, or Unknown, before any trade."""
        return tuple(
            name for j, name in enumerate(MEASURES) if self.capped[j] and not self.used[j] <= 1.0
        )

    @cached_property
    def capped(self) -> BoolArray:
        """(M,) measures that have a cap."""
        return np.isfinite(self.low) | np.isfinite(self.high)

    @property
    def has_tails(self) -> bool:
        """Whether there are scenarios at all."""
        return len(self.base_pnl) > 0
