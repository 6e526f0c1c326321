"""What one evaluation run did, and the handful of figures that say how well and how safely."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Times = NDArray[np.datetime64]


@dataclass(frozen=True, eq=False)
class EvaluationRun:
    """One policy over one span of dates, with or without the risk layer.

    Attributes:
        name: the policy, e.g. "short strangle".
        layered: whether the risk layer filtered its actions.
        span: the dates, e.g. "2007-2009"; runs of one span are compared with each other.
        times: (N,) datetime64 UTC of the decisions, strictly increasing.
        equity: (N,) in currency, at those times.
        measures: measure -> (N,) values of the book after the decision; NaN is Unknown.
        caps: measure -> (N, 2) lowest and highest allowed, events included; infinity is no cap.
        verdicts: (N,) "ALLOW", "RESIZE", "BLOCK", "REDUCE", ...
        rungs: (N,) name of the highest rung in force.
        active_breaches, drift_breaches: as counted by the independent auditor.

    Raises:
        ValueError: naming the field whose shape does not match `times`, or unordered times.
    """

    name: str
    layered: bool
    span: str
    times: Times
    equity: Floats
    measures: Mapping[str, Floats]
    caps: Mapping[str, Floats]
    verdicts: Sequence[str]
    rungs: Sequence[str]
    active_breaches: int
    drift_breaches: int

    def __post_init__(self) -> None:
        steps = len(self.times)
        if steps < 2 or not (np.diff(self.times) > np.timedelta64(0)).all():
            raise ValueError(f"times: got {steps} steps; allowed: 2 or more, strictly increasing")
        wanted: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
            "equity": (np.shape(self.equity), (steps,)),
            "verdicts": ((len(self.verdicts),), (steps,)),
            "rungs": ((len(self.rungs),), (steps,)),
        }
        wanted |= {f"measures[{m!r}]": (np.shape(v), (steps,)) for m, v in self.measures.items()}
        wanted |= {f"caps[{m!r}]": (np.shape(v), (steps, 2)) for m, v in self.caps.items()}
        for field, (got, allowed) in wanted.items():
            if got != allowed:
                raise ValueError(f"{field}: got shape {got}; allowed: {allowed}")

    @property
    def capped(self) -> tuple[str, ...]:
        """Measures that have a finite cap at some step, in the order of `caps`."""
        return tuple(
            m for m, cap in self.caps.items() if m in self.measures and np.isfinite(cap).any()
        )


def total_return(equity: Floats) -> float:
    """Last over first equity, minus 1; NaN where the first is not positive.

    Example:
        >>> total_return(np.array([100.0, 90.0, 125.0]))
        0.25
    """
    return float(equity[-1] / equity[0] - 1.0) if equity[0] > 0.0 else math.nan


def drawdown(equity: Floats) -> Floats:
    """(N,) equity over its highest value so far, minus 1; 0 at a high, negative below it.

    Example:
        >>> drawdown(np.array([100.0, 80.0, 110.0, 99.0])).round(3)
        array([ 0. , -0.2,  0. , -0.1])
    """
    peak = np.maximum.accumulate(equity)
    ratio: Floats = np.full(len(equity), math.nan)
    np.divide(equity, peak, out=ratio, where=peak > 0.0)
    return ratio - 1.0


def max_drawdown(equity: Floats) -> float:
    """The deepest drawdown, a negative share of the high before it.

    Example:
        >>> max_drawdown(np.array([100.0, 80.0, 110.0, 55.0]))
        -0.5
    """
    return float(drawdown(equity).min())


def daily_closes(times: Times) -> NDArray[np.int64]:
    """Rows of the last step of each UTC date. (A New York session lies within one UTC date.)

    Example:
        >>> daily_closes(np.array(["2018-02-05T15", "2018-02-05T20", "2018-02-06T15"], "M8[h]"))
        array([1, 2])
    """
    dates = times.astype("datetime64[D]")
    return np.append(np.flatnonzero(dates[1:] != dates[:-1]), len(dates) - 1)


def daily_pnl(times: Times, equity: Floats) -> Floats:
    """P&L of each date, close to close; the first date counts from the first step.

    Example:
        >>> daily_pnl(np.array(["2018-02-05", "2018-02-06"], "M8[D]"), np.array([100.0, 97.0]))
        array([-3.])
    """
    rows = daily_closes(times)
    start = [] if rows[0] == 0 else [0]
    return np.diff(equity[np.append(np.array(start, dtype=np.int64), rows)])


def expected_shortfall(pnl: Floats, p: float = 0.01) -> float:
    """min(0, mean of the worst share `p` of equally weighted P&Ls, the last one in part).

    Args:
        pnl: (D,) losses negative.
        p: tail probability, 0 < p <= 1; 0.01 is what is called 99 %.

    Returns:
        A loss as a negative number; NaN where there is no P&L or one is NaN.

    Example:
        >>> expected_shortfall(np.array([-9.0, -3.0, 1.0, 2.0, 5.0]), p=0.3)   # (-9 - 3 / 2) / 1.5
        -7.0
    """
    if not 0.0 < p <= 1.0:
        raise ValueError(f"p: got {p!r}; allowed: above 0 and at most 1, the weight of the tail")
    if len(pnl) == 0 or not np.isfinite(pnl).all():
        return math.nan
    atoms = p * len(pnl)
    weights = np.clip(atoms - np.arange(len(pnl)), 0.0, 1.0)
    return min(0.0, float((weights * np.sort(pnl)).sum() / atoms))


def intervention_rate(verdicts: Sequence[str]) -> float:
    """Share of steps whose verdict is not "ALLOW".

    Example:
        >>> intervention_rate(["ALLOW", "RESIZE", "ALLOW", "BLOCK"])
        0.5
    """
    return sum(verdict != "ALLOW" for verdict in verdicts) / len(verdicts)


def cap_use(values: Floats, cap: Floats) -> Floats:
    """(N,) share of the cap on its own side that each value uses; 1.0 is at the cap.

    Use of an infinite cap is 0, any use of a cap of 0 is inf, and NaN stays NaN.

    Example:
        >>> cap_use(np.array([50.0, -120.0]), np.array([[-100.0, 100.0], [-100.0, np.inf]]))
        array([0.5, 1.2])
    """
    bound = np.where(values >= 0.0, cap[:, 1], cap[:, 0])
    empty = np.where(values == 0.0, 0.0, np.where(np.isnan(values), math.nan, math.inf))
    return np.divide(values, bound, out=empty, where=bound != 0.0)
