"""Whole lots around a continuous trade: candidates, the nearest to the request first.

What `riskenv.nearest_trade.project` finds is in fractions of lots; each row here is put to the
trust kernel like any other candidate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from riskenv.compilation import jit
from riskenv.projection_program import LEAST_WEIGHT

FloatArray = NDArray[np.float64]

# So many legs are searched exhaustively, each so many lots around its size; of more
# legs so many are rounded both ways; and so many cuts towards nothing are tried.
EXHAUSTIVE_LEGS, REACH, BOTH_WAYS, CUTS = 4, 3, 10, 64


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
    arrays = [
        np.array(each, dtype=np.float64, order="C")
        for each in (continuous, target, weight, box_low, box_high)
    ]
    if arrays[0].ndim != 1 or any(each.shape != arrays[0].shape for each in arrays):
        raise ValueError(
            "continuous, target, weight, box_low, box_high: got shapes "
            f"{', '.join(str(each.shape) for each in arrays)}; allowed: (d,) each"
        )
    rows: FloatArray = _lots(*arrays)
    return rows


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
        cost = max(weight[i], LEAST_WEIGHT * dearest) if dearest > 0.0 else 1.0
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
