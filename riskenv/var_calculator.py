"""Ultra-short VaR and expected shortfall of a book from its P&L in scenarios.

One estimator everywhere. With n equally likely P&Ls and tail probability p (literal, 0.01),
VaR = min(0, the smallest P&L whose cumulative weight reaches p), and
ES = min(0, the mean of the worst weight-p of outcomes, the last atom counted in part)
(Acerbi and Tasche 2002, definition 2.6). Losses are negative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riskenv.canonical import number
from riskenv.compilation import jit

if TYPE_CHECKING:
    from riskenv.risk_contributions import RiskContributions

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


def recorded_var(
    pnl: ArrayLike, tail_probability: float = 0.01, window: int = 500, least: int = 250
) -> float:
    """VaR of a recorded series of P&L, such as a portfolio's by session, <= 0.

    It says what the positions of the past have lost, whatever is held now: no trade changes it, so
    it is reported beside the VaR of the book and never stands behind a verdict.

    Args:
        pnl: (N,) P&L, currency, oldest first; losses are negative. NaN = not known.
        window: of which so many are looked at, the latest.
        least: fewer than this make it Unknown.

    Returns:
        NaN where too few are recorded or one of those looked at is NaN.

    Raises:
        ValueError: a series that is no (N,) array, an infinity, or what `historical_var` refuses.

    Example:
        >>> recorded_var(np.arange(-250.0, 250.0))
        -246.0
        >>> recorded_var(np.arange(-120.0, 0.0))   # too few
        nan
    """
    series = np.asarray(pnl, dtype=np.float64)
    if series.ndim != 1:
        raise ValueError(f"pnl: got shape {series.shape}; allowed: (N,), a P&L a session")
    if np.isinf(series).any():
        raise ValueError("pnl: got an infinite P&L; allowed: finite, or NaN where it is not known")
    latest = series[max(0, len(series) - window) :]
    if len(latest) < least:
        return math.nan
    return historical_var(latest, tail_probability)[0]


@dataclass(frozen=True, eq=False)
class VarReport:
    """VaR of the held book against its limits.

    Attributes:
        var, es: (3,) for horizons of 1, 3 and 5 sessions, <= 0; NaN = Unknown.
        limit: (3,) highest loss allowed, inf = none.
        warn: share of a limit that makes the status a warning.
        tail_probability: p.
        current_exposure: min(0, equity - day-start equity - external flows), <= 0.
        stress: (3,) worst stress with the decay of each horizon, <= 0; NaN = Unknown, or no grid.
        worst_stress: name of the scenario of the worst of these; None = none loses.
        recorded: 1-session VaR of a recorded series of P&L, <= 0, NaN = Unknown; None = no series.
        contributions: which positions VaR and ES come from; None = there are no scenarios.
        scenarios: (3,) how many each horizon has.
        pnl_error: how far the book's P&L in any scenario, and so each of these measures, can be
            from that of full revaluation (`VarConfig.revaluation`), >= 0; NaN = Unknown.
    """

    var: NDArray[np.float64]
    es: NDArray[np.float64]
    limit: NDArray[np.float64]
    warn: float
    tail_probability: float
    current_exposure: float
    stress: NDArray[np.float64] = field(default_factory=lambda: np.full(3, np.nan))
    worst_stress: str | None = None
    recorded: float | None = None
    contributions: RiskContributions | None = None
    scenarios: NDArray[np.int64] = field(default_factory=lambda: np.zeros(3, dtype=np.int64))
    pnl_error: float = math.nan

    @property
    def status(self) -> str:
        """ "unknown", "breached", "warning" or "within_limits", worst first: of the VaR of the
        book, of the recorded one, and of what is lost today already."""
        one_session = [self.current_exposure]
        if self.recorded is not None:
            one_session.append(self.recorded)
        losses = -np.append(self.var, one_session)
        limits = np.append(self.limit, [self.limit[0]] * len(one_session))
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
            **{f"stress_{key}": number(x) for key, x in zip(keys, self.stress, strict=True)},
            "worst_stress": self.worst_stress,
            "recorded_var_1d": None if self.recorded is None else number(self.recorded),
            "scenarios": self.scenarios.tolist(),
            "pnl_error": number(self.pnl_error),
            "contributions": None if self.contributions is None else self.contributions.to_dict(),
        }
