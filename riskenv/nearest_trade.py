"""The minimal change that brings a continuous trade inside the caps, and whole lots near it.

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

import numpy as np
from numpy.typing import NDArray

from riskenv.compilation import inline, jit
from riskenv.point_measures import admissible_points, measure_points
from riskenv.tails import Tails, tails_of

FloatArray = NDArray[np.float64]

# Whole lots: so many legs are searched exhaustively, each so many lots around its size; of more
# legs so many are rounded both ways; and so many cuts towards nothing are tried.
EXHAUSTIVE_LEGS, REACH, BOTH_WAYS, CUTS = 4, 3, 10, 64

_GRID = 2.0**-40  # rounding of the displacement, in units of the trade's size
_SOLVER = 2.0**-42  # what the solver may miss a row of length 1 by
_ULPS = 2.0**-50  # rounding of a sum, relative to its terms
_TAIL = 2.0**-37  # how far above its cap an expected shortfall is aimed, relative to the cap
_LEAST_WEIGHT = 1e-12  # of the largest: the nearest trade is unique only if all moves cost


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
    count = _linear_rows(target, weight, inside, rows, below, above, root, objective)
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
        _round(found, target, root, box_low, box_high, trade)
        if _fits(trade, inside):
            return Projected(trade, "projected", iteration)
        more = _cuts(trade, target, root, levels, scenarios, rows, below, above, count)
        if more == count:
            break
        count = more
    return Projected(_scaled_down(trade, inside), "radial", iteration)


def whole_lots(
    continuous: FloatArray,
    target: FloatArray,
    weight: FloatArray,
    box_low: FloatArray,
    box_high: FloatArray,
) -> FloatArray:
    """(K, d) whole-lot trades around a continuous one, nearest to the target first.

    A leg is a dimension that the target or the continuous trade moves. Up to 4 legs: every trade
    within 3 lots of the continuous one in each leg. More: every leg rounded down and up (the 10
    legs furthest from a whole lot; the others to the nearest). Then the continuous trade scaled
    towards nothing, in whole lots, and nothing. No trade outside the box, none twice, none that
    is further from the target than doing nothing, which may always be done. Ties: first the lower
    lots, leg by leg. At most 2,466 rows; none where the box holds no whole lots.

    Args:
        continuous, target, weight, box_low, box_high: (d,), as in `project`.

    Raises:
        ValueError: shapes that do not fit each other.

    Example:
        >>> whole_lots([1.5], [2.2], [1.0], [-9.0], [9.0]).tolist()
        [[2.0], [3.0], [1.0], [4.0], [0.0]]
    """
    arrays = [_floats(each) for each in (continuous, target, weight, box_low, box_high)]
    if arrays[0].ndim != 1 or any(each.shape != arrays[0].shape for each in arrays):
        raise ValueError(
            "continuous, target, weight, box_low, box_high: got shapes "
            f"{', '.join(str(each.shape) for each in arrays)}; allowed: (d,) each"
        )
    rows: FloatArray = _lots(*arrays)
    return rows


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


@inline
def _power_of_two(x):  # type: ignore[no-untyped-def]
    """The largest power of two that is no more than x > 0."""
    return math.ldexp(1.0, math.frexp(x)[1] - 1)


@jit
def _linear_rows(target, weight, inside, rows, below, above, root, objective):  # type: ignore[no-untyped-def]
    """The program in z = root * (t - target), |z| of the order of 1: minimise |z|^2.

    below, above: (d,) bounds of z, then those of the rows. Returns the number of rows, or -1
    where something that is needed is Unknown.
    """
    exposures, caps, box_low, box_high, _ = inside
    d = target.size
    dearest, size = 0.0, 0.0
    for i in range(d):
        known = weight[i] >= 0.0 and weight[i] < np.inf and abs(target[i]) < np.inf
        if not (known and box_low[i] < np.inf and box_high[i] > -np.inf):
            return -1
        dearest = max(dearest, weight[i])
    for i in range(d):
        root[i] = math.sqrt(max(weight[i], _LEAST_WEIGHT * dearest) if dearest > 0.0 else 1.0)
        nearest = min(max(target[i], box_low[i]), box_high[i])
        size = max(size, root[i] * max(abs(target[i]), abs(nearest)))
    if not (size > 0.0 and size < np.inf):
        return -1
    objective[:] = 0.0
    for i in range(d):
        root[i] /= size
        objective[i, i] = 1.0
        below[i] = root[i] * (box_low[i] - target[i])
        above[i] = root[i] * (box_high[i] - target[i])
        if not (0.0 < root[i] < np.inf and below[i] == below[i] and above[i] == above[i]):
            return -1
    count = 0
    for j in range(exposures.shape[1]):
        b, low, high = caps[0, j], caps[1, j], caps[2, j]
        if low == -np.inf and high == np.inf:
            continue
        # A broken cap: no further outside, and not past the other side.
        change_low = 0.0 if b < low else low - b
        change_high = 0.0 if b > high else high - b
        asked, terms = 0.0, abs(b)
        for i in range(d):
            asked += exposures[i, j] * target[i]
            terms += abs(exposures[i, j] * target[i])
            rows[count, i] = exposures[i, j] / root[i]
        scale, margin = _normalise(rows[count], terms)
        if scale == 0.0:
            continue  # no trade moves it
        below[d + count] = scale * (change_low - asked) + margin
        above[d + count] = scale * (change_high - asked) - margin
        if not (below[d + count] < np.inf and above[d + count] > -np.inf):
            return -1
        count += 1
    return count


@jit
def _normalise(row, terms):  # type: ignore[no-untyped-def]
    """Scale a row to the order of 1; (the scale, how far inside its bounds the row is to stay).

    The scale is NaN where an entry is Unknown and 0 where all are 0.
    """
    length = 0.0
    for i in range(row.size):
        length += abs(row[i])
    if length == 0.0:
        return 0.0, 0.0
    scale = 1.0 / _power_of_two(length) if length < np.inf else np.nan
    for i in range(row.size):
        row[i] *= scale
    return scale, scale * (_GRID * length + _ULPS * terms)


@jit
def _round(found, target, root, box_low, box_high, trade):  # type: ignore[no-untyped-def]
    """trade = target + what the solver found, on the grid, in the box: a leg that need not move
    keeps its bits."""
    for i in range(found.size):
        grid = _GRID * _power_of_two(1.0 / root[i])
        moved = target[i] + np.rint(found[i] / root[i] / grid) * grid
        trade[i] = min(max(moved, box_low[i]), box_high[i])


@jit
def _cuts(trade, target, root, levels, scenarios, rows, below, above, count):  # type: ignore[no-untyped-def]
    """Add a row for each tail that lies below its level at `trade`; the new number of rows.

    The mean of the tail's scenarios is linear in the trade and nowhere below the shortfall.
    """
    pnl, base_pnl, blocks, counts, p = scenarios
    d, horizons = target.size, counts.size
    worst = np.empty(counts.max(), dtype=np.int64)
    total = base_pnl.copy()
    for i in range(d):
        for s in range(total.size):
            total[s] += trade[i] * pnl[i, s]
    for h in range(horizons + 1):
        if levels[h] == -np.inf:
            continue
        start = blocks[h]
        stop = blocks[h + 1] if h < horizons else total.size
        tail = counts[h] if h < horizons else 1
        if stop - start < tail:
            continue
        filled = 0
        for s in range(start, stop):
            if filled == tail and not total[s] < total[worst[tail - 1]]:
                continue
            filled = min(filled + 1, tail)
            k = filled - 1
            while k > 0 and total[worst[k - 1]] > total[s]:
                worst[k] = worst[k - 1]
                k -= 1
            worst[k] = s
        row, lost, asked, terms = rows[count], 0.0, 0.0, 0.0
        row[:] = 0.0
        for k in range(tail):
            # Equal shares of 1 / n, the last atom in part: they add up to p.
            n = stop - start
            share = 1.0 / (n * p) if k < tail - 1 else 1.0 - (tail - 1) / (n * p)
            lost += share * total[worst[k]]
            asked += share * base_pnl[worst[k]]
            terms += abs(share * base_pnl[worst[k]])
            for i in range(d):
                row[i] += share * pnl[i, worst[k]]
        for i in range(d):
            asked += row[i] * target[i]
            terms += abs(row[i] * target[i])
            row[i] /= root[i]
        scale, margin = _normalise(row, terms)
        margin += _TAIL * scale * abs(levels[h])
        # Half the margin tells a tail that is where it was aimed from one without a row yet.
        if scale * (lost - levels[h]) >= 0.5 * margin or not 0.0 < scale < np.inf:
            continue
        below[d + count] = scale * (levels[h] - asked) + margin
        above[d + count] = np.inf
        count += 1
    return count


@jit
def _scaled_down(trade, inside):  # type: ignore[no-untyped-def]
    """The largest part of the trade that fits, by bisection; nothing always fits."""
    fits, fails = 0.0, 1.0
    for _ in range(40):
        share = 0.5 * (fits + fails)
        if _fits(share * trade, inside):
            fits = share
        else:
            fails = share
    return fits * trade if fits > 0.0 else np.zeros(trade.size)


@jit
def _lots(continuous, target, weight, box_low, box_high):  # type: ignore[no-untyped-def]
    """`whole_lots`: a grid of whole numbers, the continuous trade cut down, the nearest first."""
    d, known, dearest = continuous.size, True, 0.0
    holds_nothing = True  # does the box?
    for i in range(d):
        holds_nothing &= box_low[i] <= 0.0 and box_high[i] >= 0.0
        known &= abs(continuous[i]) < np.inf and abs(target[i]) < np.inf
        known &= weight[i] >= 0.0 and weight[i] < np.inf and box_low[i] <= box_high[i]
        dearest = max(dearest, weight[i])
    if not known:
        return np.zeros((1 if holds_nothing else 0, d))

    first, size = np.zeros(d), np.ones(d, dtype=np.int64)
    count = _grid(continuous, target, box_low, box_high, first, size)
    rows = np.zeros((count + CUTS + 2, d))
    for k in range(count):
        rest = k
        for i in range(d - 1, -1, -1):
            rows[k, i] = first[i] + rest % size[i]
            rest //= size[i]
    count = _cut_down(continuous, box_low, box_high, first, size, rows, count)

    distance, of_nothing = np.zeros(count), 0.0
    for i in range(d):
        cost = max(weight[i], _LEAST_WEIGHT * dearest) if dearest > 0.0 else 1.0
        of_nothing += cost * target[i] * target[i]
        for k in range(count):
            off = rows[k, i] - target[i]
            distance[k] += cost * off * off
    order, kept = np.argsort(distance, kind="mergesort"), 0
    for k in order:
        if not (holds_nothing and distance[k] > of_nothing):
            order[kept] = k
            kept += 1
    return rows[order[:kept]]


@jit
def _grid(continuous, target, box_low, box_high, first, size):  # type: ignore[no-untyped-def]
    """Fill `size`, how many whole numbers from `first` on are tried in each dimension; the number
    of combinations."""
    d, legs, total = continuous.size, 0, 1
    is_leg, both_ways = np.zeros(d, dtype=np.bool_), np.zeros(d, dtype=np.bool_)
    for i in range(d):
        stays = continuous[i] == 0.0 and target[i] == 0.0
        is_leg[i] = not (stays and box_low[i] <= 0.0 and box_high[i] >= 0.0)
        legs += is_leg[i]
    from_half = np.abs(continuous - np.floor(continuous) - 0.5)
    both_ways[np.argsort(from_half, kind="mergesort")[:BOTH_WAYS]] = True
    for i in range(d):
        if not is_leg[i]:
            continue
        c = continuous[i]
        if legs <= EXHAUSTIVE_LEGS:
            lowest, highest = np.ceil(c - REACH), np.floor(c + REACH)
        elif both_ways[i]:
            lowest, highest = np.floor(c), np.ceil(c)
        else:
            lowest, highest = np.rint(c), np.rint(c)
        lowest = max(lowest, np.ceil(box_low[i]))
        highest = min(highest, np.floor(box_high[i]))
        first[i] = lowest
        size[i] = int(highest - lowest) + 1 if lowest <= highest else 0
        total *= size[i]
    return total


@jit
def _cut_down(continuous, box_low, box_high, first, size, rows, count):  # type: ignore[no-untyped-def]
    """Append the continuous trade cut to whole lots where it is, where its largest leg is whole,
    and at nothing; the new number of rows."""
    largest, grid = 0.0, count
    for lots in continuous:
        largest = max(largest, abs(lots))
    whole = np.floor(largest)
    cuts = int(min(float(CUTS), whole))
    for k in range(cuts + 1, -1, -1):
        share = 1.0 if k == cuts + 1 else (k * (whole / cuts) / largest if k > 0 else 0.0)
        in_box, in_grid, again = True, True, count > grid
        for i in range(continuous.size):
            # The nudge keeps share * leg from falling just below a whole number.
            lots = np.trunc(share * continuous[i] * (1.0 + 1e-12)) + 0.0
            rows[count, i] = lots
            in_box &= box_low[i] <= lots and lots <= box_high[i]
            in_grid &= first[i] <= lots and lots < first[i] + size[i]
            again = again and lots == rows[count - 1, i]
        if in_box and not in_grid and not again:
            count += 1
    return count
