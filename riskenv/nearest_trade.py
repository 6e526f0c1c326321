"""The minimal change that brings a continuous trade inside the caps.

Pure functions on plain arrays. What they return is a candidate: the trust kernel judges it like
any other. A trade has d dimensions (contracts of d instruments, or d directions of an action) and
is as far from the target as sum(weight * (trade - target)^2) says; a weight is what a lot costs,
say, in any unit.

The solver sees everything in units of the trade's own size, so that books, caps and trades 2^j
times as large give the same bits, 2^j times as large. Its arithmetic may differ in the last bits
between CPUs: its answer is rounded to 2^-40 of the trade's size, which hides nearly all of that,
and no cap is approached closer than the rounding can reach.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from riskenv.compilation import jit
from riskenv.point_measures import admissible_points, measure_points
from riskenv.projection_program import linear_rows, on_grid, tail_cuts
from riskenv.tails import Tails, tails_of

FloatArray = NDArray[np.float64]

_SOLVER = 2.0**-42  # what the solver may miss a row of length 1 by


@dataclass(frozen=True, eq=False)
class TailBlocks:
    """Scenario P&L of the book and of one unit of each dimension, and what it may lose.

    The scenarios lie as everywhere in the layer: one block a horizon, then the gap jumps.

    Attributes:
        pnl: (d, S) P&L of one unit of each dimension, currency.
        base_pnl: (S,) P&L of the book as it stands.
        blocks: (>= H + 1,) first scenario of each horizon, then of the jumps.
        counts: (H,) size of each horizon's tail.
        p: tail probability, literal.
        low: (H,) lowest expected shortfall allowed, <= 0, -inf = no cap.
        var_low: (H,) the same for VaR; None = no caps.
        gap_low: the same for the worst jump.

    Raises:
        ValueError: shapes that do not fit each other.
    """

    pnl: FloatArray
    base_pnl: FloatArray
    blocks: NDArray[np.int64]
    counts: NDArray[np.int64]
    p: float
    low: FloatArray
    var_low: FloatArray | None = None
    gap_low: float = -math.inf

    def __post_init__(self) -> None:
        for name in ("pnl", "base_pnl", "low", "var_low"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _floats(getattr(self, name)))
        for name in ("blocks", "counts"):
            object.__setattr__(self, name, np.array(getattr(self, name), dtype=np.int64))
        (scenarios,), (horizons,) = self.base_pnl.shape, self.counts.shape
        starts = np.concatenate([[0], self.blocks, [scenarios]])
        for name, ok, allowed in (
            ("pnl", self.pnl.shape[1:] == (scenarios,), "(d, S), a column a base_pnl"),
            ("counts", horizons > 0 and (self.counts > 0).all(), "one or more, each >= 1"),
            ("low", self.low.shape == (horizons,), "(H,), one a count"),
            ("var_low", self.var_low is None or self.var_low.shape == (horizons,), "(H,) or None"),
            ("blocks", len(self.blocks) > horizons and (np.diff(starts) >= 0).all(),
             f"H + 1 or more, never falling, from 0 to {scenarios}"),
        ):  # fmt: skip
            if not ok:
                raise ValueError(f"{name}: got {getattr(self, name)}; allowed: {allowed}")


@dataclass(frozen=True, eq=False)
class Projected:
    """The nearest trade found.

    Attributes:
        trade: (d,) finite; nothing (zeros) where no better is known.
        status: "feasible": the target itself, bit for bit; "projected": the nearest trade inside;
            "radial": the last trade of tails that did not settle (in the iterations, or because
            a VaR that the shortfall cannot bound is broken), scaled down until it is inside;
            "infeasible": nothing but a scaled-down target was found inside (perhaps nothing at
            all); "unknown": an input is not a number.
        iterations: quadratic programs solved.
    """

    trade: FloatArray
    status: str
    iterations: int


def project(
    target: FloatArray,
    exposures: FloatArray,
    before: FloatArray,
    low: FloatArray,
    high: FloatArray,
    weight: FloatArray,
    box_low: FloatArray,
    box_high: FloatArray,
    tail: TailBlocks | None = None,
    max_iterations: int = 50,
) -> Projected:
    """The trade nearest to `target` that the caps and the box allow.

    Minimises sum(weight * (t - target)^2) subject to low <= before + exposures^T t <= high and
    box_low <= t <= box_high; a cap already broken asks for no further outside, and not past the
    other side, as in `riskenv.admissibility.admissible`, which is asked about every trade
    returned. Quadratic program: the dual active-set method of Arnstrom, Bemporad and Axehill
    (2022, IEEE TAC 67:8). Expected shortfall is concave in the trade, so each violated cap adds
    the half-space of its tail scenarios (Kelley 1960, cutting planes) until none is violated. A
    VaR cap is kept by keeping the expected shortfall, which is lower, above it.

    Args:
        target: (d,); exposures: (d, L) of one unit; before: (L,); low, high: (L,) caps, infinite
            where there is none: such a measure is not looked at.
        weight: (d,) >= 0; a weight far below the largest counts as 1e-12 of it.
        box_low, box_high: (d,) bounds of the trade itself, infinite where there is none.
        tail: what scenarios add to it.
        max_iterations: quadratic programs at most.

    Raises:
        ValueError: shapes that do not fit each other.

    Example:
        >>> two = np.ones(2)
        >>> found = project(
        ...     target=[3.0, 2.0], exposures=[[1.0], [1.0]], before=[0.0], low=[-2.0], high=[2.0],
        ...     weight=two, box_low=-9 * two, box_high=9 * two)
        >>> found.trade.round(9).tolist(), found.status
        ([1.5, 0.5], 'projected')
    """
    target, exposures, before = _floats(target), _floats(exposures), _floats(before)
    low, high, weight = _floats(low), _floats(high), _floats(weight)
    box_low, box_high = _floats(box_low), _floats(box_high)
    d, linear = target.size, before.size
    one_each = (d,) == target.shape == weight.shape == box_low.shape == box_high.shape
    if not one_each or exposures.shape != (d, linear) or not low.shape == high.shape == (linear,):
        raise ValueError(
            f"target, weight, box_low, box_high: got shapes {target.shape}, {weight.shape}, "
            f"{box_low.shape}, {box_high.shape}; exposures, low, high: got {exposures.shape}, "
            f"{low.shape}, {high.shape}; allowed: (d,) each; (d, L), (L,), (L,), with before (L,)"
        )
    scenarios, tail_low = (np.empty((d, 0)), *_NO_TAIL), np.full(3, -np.inf)
    if tail is not None:
        if len(tail.pnl) != d:
            raise ValueError(f"tail.pnl: got {len(tail.pnl)} rows; allowed: {d}, one a dimension")
        scenarios = tail.pnl, tail.base_pnl, tail.blocks, tail.counts, tail.p
        tail_low = np.full(2 * tail.counts.size + 1, -np.inf)
        tail_low[1:-1:2] = tail.low
        tail_low[-1] = tail.gap_low
        if tail.var_low is not None:
            tail_low[:-1:2] = tail.var_low
    caps, levels = np.empty((3, linear + tail_low.size)), np.empty(tail_low.size // 2 + 1)
    known = _all_measures(before, low, high, tail_low, scenarios, caps, levels)
    inside = exposures, caps, box_low, box_high, scenarios
    if known and _fits(target, inside):
        return Projected(target, "feasible", 0)

    capacity = linear + (max_iterations * levels.size if np.isfinite(levels).any() else 0)
    rows, below, above = np.empty((capacity, d)), np.empty(d + capacity), np.empty(d + capacity)
    root, objective = np.empty(d), np.empty((d, d))
    count = linear_rows(target, weight, inside, rows, below, above, root, objective)
    if not known or count < 0:
        return Projected(np.zeros(d), "unknown", 0)

    import daqp  # only where a trade has to be corrected

    slope, trade, iteration = np.zeros(d), np.zeros(d), 0
    for iteration in range(1, max_iterations + 1):
        bounds = d + count
        found, _, flag, _ = daqp.solve(
            objective, slope, rows[:count], above[:bounds], below[:bounds], None,
            primal_tol=_SOLVER,
        )  # fmt: skip
        if flag != 1:
            return Projected(_scaled_down(target, inside), "infeasible", iteration)
        on_grid(found, target, root, box_low, box_high, trade)
        if _fits(trade, inside):
            return Projected(trade, "projected", iteration)
        more = tail_cuts(trade, target, root, levels, scenarios, rows, below, above, count)
        if more == count:
            break
        count = more
    return Projected(_scaled_down(trade, inside), "radial", iteration)


def _floats(values: object) -> FloatArray:
    # A copy is writable and in order: each kernel is compiled once, not once a kind of array.
    return np.array(values, dtype=np.float64, order="C")


# Scenario P&L of the book, blocks, counts and p of no scenarios at all.
_NO_TAIL = np.empty(0), np.zeros(2, dtype=np.int64), np.ones(1, dtype=np.int64), 0.5


@jit
def _all_measures(before, low, high, tail_low, scenarios, caps, levels):  # type: ignore[no-untyped-def]
    """caps = before, low, high of linear and tail measures; levels = (H + 1,) what the expected
    shortfall of each horizon, then the worst jump, is kept above.

    False where a cap, or what a capped tail is made of, is Unknown.
    """
    pnl, base_pnl, blocks, counts, p = scenarios
    first, horizons = before.size, counts.size
    caps[0, :first], caps[1, :first], caps[2, :first] = before, low, high
    caps[1, first:], caps[2, first:] = tail_low, np.inf
    every, worst = np.ones(horizons, np.bool_), np.empty(counts.max())
    tails_of(base_pnl, Tails(blocks, counts, p), every, worst, first, caps[0])
    known, capped = True, False
    for h in range(horizons + 1):
        # VaR is no lower than the expected shortfall of its horizon, so that a level for the
        # shortfall keeps both; where it is broken already, it may not fall.
        last = first + min(2 * h + 1, 2 * horizons)
        asked = max(caps[1, last], caps[1, last - 1]) if h < horizons else caps[1, last]
        now = caps[0, last]
        levels[h] = asked if asked == -np.inf or asked <= now else now
        known &= levels[h] == levels[h]
        capped |= asked > -np.inf
    if capped:
        known &= np.isfinite(base_pnl).all() and np.isfinite(pnl).all()
    for j in range(caps.shape[1]):
        known &= caps[1, j] < np.inf and caps[2, j] > -np.inf
    return known


@jit
def _fits(trade, inside):  # type: ignore[no-untyped-def]
    """Whether the trade lies in the box and the trust kernel lets it pass."""
    exposures, caps, box_low, box_high, (pnl, base_pnl, blocks, counts, p) = inside
    for i in range(trade.size):
        in_box = abs(trade[i]) < np.inf and box_low[i] <= trade[i] <= box_high[i]
        if not in_box:
            return False
    change, after = np.empty((1, caps.shape[1])), np.empty((1, caps.shape[1]))
    no, verdict = np.zeros(1, dtype=np.bool_), np.zeros(1, dtype=np.bool_)
    measure_points(
        exposures, pnl, np.arange(trade.size), caps[0], base_pnl, trade.reshape(1, -1), blocks,
        counts, p, change, after,
    )  # fmt: skip
    admissible_points(caps[0], change, after, caps[1], caps[2], no, no, 0, verdict)
    return verdict[0]


def _scaled_down(trade: FloatArray, inside: Any) -> FloatArray:
    """The largest part of the trade that fits, by bisection; nothing always fits."""
    fits, fails = 0.0, 1.0
    for _ in range(40):
        share = 0.5 * (fits + fails)
        if _fits(share * trade, inside):
            fits = share
        else:
            fails = share
    return fits * trade if fits > 0.0 else np.zeros(trade.size)
