"""The quadratic program behind a projection: the caps as rows, and the tails' cutting planes.

Compiled parts of `riskenv.nearest_trade.project`, which has the method and its sources. `inside` is
what the trust kernel is asked with: exposures, caps, box_low, box_high and the scenarios.
"""

from __future__ import annotations

import math

import numpy as np

from riskenv.compilation import inline, jit

LEAST_WEIGHT = 1e-12  # of the largest: the nearest trade is unique only if all moves cost
_GRID = 2.0**-40  # rounding of the displacement, in units of the trade's size
_ULPS = 2.0**-50  # rounding of a sum, relative to its terms
_TAIL = 2.0**-37  # how far above its cap an expected shortfall is aimed, relative to the cap


@inline
def _power_of_two(x):  # type: ignore[no-untyped-def]
    """The largest power of two that is no more than x > 0."""
    return math.ldexp(1.0, math.frexp(x)[1] - 1)


@jit
def linear_rows(target, weight, inside, rows, below, above, root, objective):  # type: ignore[no-untyped-def]
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
        root[i] = math.sqrt(max(weight[i], LEAST_WEIGHT * dearest) if dearest > 0.0 else 1.0)
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
def on_grid(found, target, root, box_low, box_high, trade):  # type: ignore[no-untyped-def]
    """trade = target + what the solver found, on the grid, in the box: a leg that need not move
    keeps its bits."""
    for i in range(found.size):
        grid = _GRID * _power_of_two(1.0 / root[i])
        moved = target[i] + np.rint(found[i] / root[i] / grid) * grid
        trade[i] = min(max(moved, box_low[i]), box_high[i])


@jit
def tail_cuts(trade, target, root, levels, scenarios, rows, below, above, count):  # type: ignore[no-untyped-def]
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
