"""Ultra-short VaR and expected shortfall of a book from its P&L in scenarios.

One estimator everywhere. With n equally likely P&Ls and tail probability p (literal, 0.01),
VaR = min(0, the smallest P&L whose cumulative weight reaches p), and
ES = min(0, the mean of the worst weight-p of outcomes, the last atom counted in part)
(Acerbi and Tasche 2002, definition 2.6). Losses are negative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from riskenv.canonical import number
from riskenv.compilation import jit
from riskenv.config import Config


class VarConfig(Config):
    """How VaR is computed.

    Attributes:
        window: sessions of history that scenarios are drawn from.
        min_scenarios: fewer usable scenarios than this make VaR Unknown; a tail of 1 % needs 100
            to hold a single observation.
        tail_probability: p, literal.
    """

    window: int = Field(default=500, ge=100, le=5000)
    min_scenarios: int = Field(default=250, ge=100)
    tail_probability: float = Field(default=0.01, gt=0.0, lt=0.5)


# The slack keeps 5 of 500 from becoming 6 when 5 / 500 rounds to just below 0.01.
_WEIGHT_SLACK = 1e-9


def tail_count(scenarios: int, tail_probability: float) -> int:
    """Number of worst outcomes that the tail touches, the last one perhaps in part.

    Example:
        >>> tail_count(500, 0.01), tail_count(501, 0.01), tail_count(250, 0.01)
        (5, 6, 3)
    """
    return max(1, math.ceil((tail_probability - _WEIGHT_SLACK) * scenarios))


@jit
def tail_of(pnl, start, stop, count, tail_probability, worst):  # type: ignore[no-untyped-def]
    """(VaR, ES) of pnl[start:stop]; NaN if any is NaN. `worst` is scratch of >= count floats."""
    n = stop - start
    for k in range(count):
        worst[k] = np.inf
    poisoned = False
    for s in range(start, stop):  # by itself, so that it vectorises
        poisoned |= pnl[s] != pnl[s]
    bar = np.inf
    for s in range(start, stop):
        value = pnl[s]
        if value < bar:
            k = count - 1
            while k > 0 and worst[k - 1] > value:
                worst[k] = worst[k - 1]
                k -= 1
            worst[k] = value
            bar = worst[count - 1]
    if poisoned or n == 0:
        return np.nan, np.nan
    total = 0.0
    for k in range(count - 1):
        total += worst[k]
    last = worst[count - 1]
    shortfall = (total / n + (tail_probability - (count - 1) / n) * last) / tail_probability
    # Of infinite P&Ls on both sides there is no mean: Unknown, which min(0, nan) would make 0.
    return min(0.0, last), shortfall if shortfall != shortfall else min(0.0, shortfall)


def historical_var(pnl: NDArray[np.float64], tail_probability: float = 0.01) -> tuple[float, float]:
    """(VaR, ES) of equally likely P&Ls, both <= 0; NaN if any P&L is NaN or there is none.

    Raises:
        ValueError: a tail probability outside (0, 0.5): 99 % confidence is 0.01 here, never 0.99.

    Example:
        >>> historical_var(np.arange(-250.0, 250.0))   # the five worst: -250 ... -246
        (-246.0, -248.0)
        >>> historical_var(np.array([1.0, np.nan]))
        (nan, nan)
    """
    if not 0.0 < tail_probability < 0.5:
        raise ValueError(
            f"tail_probability: got {tail_probability!r}; allowed: above 0 and below 0.5"
        )
    pnl = np.ascontiguousarray(pnl, dtype=np.float64)
    count = tail_count(len(pnl), tail_probability)
    var, shortfall = tail_of(pnl, 0, len(pnl), count, tail_probability, np.empty(count))
    return float(var), float(shortfall)


@dataclass(frozen=True, eq=False)
class VarReport:
    """VaR of the held book against its limits.

    Attributes:
        var, es: (3,) for horizons of 1, 3 and 5 sessions, <= 0; NaN = Unknown.
        limit: (3,) highest loss allowed, inf = none.
        warn: share of a limit that makes the status a warning.
        tail_probability: p.
        current_exposure: min(0, equity - day-start equity - external flows), <= 0.
    """

    var: NDArray[np.float64]
    es: NDArray[np.float64]
    limit: NDArray[np.float64]
    warn: float
    tail_probability: float
    current_exposure: float

    @property
    def status(self) -> str:
        """ "unknown", "breached", "warning" or "within_limits", worst first."""
        losses = np.append(-self.var, -self.current_exposure)
        limits = np.append(self.limit, self.limit[0])
        if np.isnan(losses).any():
            return "unknown"
        if not (losses <= limits).all():
            return "breached"
        if not (losses <= self.warn * limits).all():
            return "warning"
        return "within_limits"

    def to_dict(self) -> dict[str, Any]:
        keys = ("1d", "3d", "5d")
        return {
            **{f"var_{key}": number(value) for key, value in zip(keys, self.var, strict=True)},
            "confidence": round(1.0 - self.tail_probability, 12),
            "current_exposure": number(self.current_exposure),
            "status": self.status,
            **{f"es_{key}": number(value) for key, value in zip(keys, self.es, strict=True)},
        }
