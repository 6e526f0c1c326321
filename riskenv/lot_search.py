"""The exact search under a reduction plan: whole lots, least violation first, then least cost.

A trade is a vector of steps, each one contract of one instrument in one direction. Whatever is
linear in it is a row: book + steps @ row lies between two bounds. Depth-first branch and bound on
the rows, with a Lagrangian bound on the cost; what is not linear (VaR, the exact ES, cover) is
judged where a trade is complete, by the trust kernel itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from riskenv.compilation import jit
from riskenv.point_measures import admissible_points, measure_points, shrinking_points

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Book(NamedTuple):
    """What a trade is judged against; arrays as in `riskenv.reduction.plan_reduction`.

    scale: (M,) how far each measure is outside its target, 0 = inside (it must stay there), NaN =
        Unknown or no target. least, closable: (n,) lots of each position to be closed at least and
        at most. uncovered: (n,) of the book.
    orders: whether any order works: what it may fill is left when every position is closed.
    """

    quantity: FloatArray
    X: FloatArray
    P: FloatArray
    rows: IntArray
    before: FloatArray
    base_pnl: FloatArray
    blocks: IntArray
    counts: IntArray
    p: float
    low: FloatArray
    high: FloatArray
    target_low: FloatArray
    target_high: FloatArray
    scale: FloatArray
    least: FloatArray
    closable: FloatArray
    kind: IntArray
    ticker: IntArray
    expiry: IntArray
    multiplier: FloatArray
    uncovered: FloatArray
    orders: bool


class Rows(NamedTuple):
    """R linear conditions on V steps: base + steps @ matrix.

    matrix: (V, R); base: (R,) value of the book; low, high: (R,) what no trade may leave;
    target_low, target_high: (R,) where it should end; scale: (R,) violation per unit of distance
    to the target is 1 / scale; owner: (R,) measure a row bounds (rows of one are neighbours);
    slack: (R,) rounding that is let pass here, to be judged exactly later.
    """

    matrix: FloatArray
    base: FloatArray
    low: FloatArray
    high: FloatArray
    target_low: FloatArray
    target_high: FloatArray
    scale: FloatArray
    owner: IntArray
    slack: FloatArray


class Steps(NamedTuple):
    """V directions to trade in: instrument, sign, how far, how far at least, cost per lot.

    A step is taken in whole lots or to its very end (`most`), which may be a fraction.
    """

    instrument: IntArray
    sign: FloatArray
    most: FloatArray
    least: FloatArray
    cost: FloatArray


@jit
def short_of_cover(quantity, i, kind, ticker, expiry, multiplier):  # type: ignore[no-untyped-def]
    """Units sold at or after the expiry of option i, in its right, less those that cover them."""
    units = 0.0
    for k in range(quantity.size):
        if ticker[k] != ticker[i]:
            continue
        held = quantity[k] * multiplier[k]
        if kind[k] == 0:
            units -= max(0.0, held * kind[i])
        elif kind[k] == kind[i] and expiry[k] >= expiry[i]:
            units -= held
    return units


@jit
def keep_cover(quantity, trades, rows, bare, kind, ticker, expiry, multiplier, kept):  # type: ignore[no-untyped-def]
    """Clear kept (A,) at those of `rows` of `trades` (A, n) that leave a short option with less
    cover than it had; bare: (n,) of the book, from `riskenv.reduction.uncovered`."""
    after = np.empty(quantity.size)
    for row in rows:
        for i in range(quantity.size):
            after[i] = quantity[i] + trades[row, i]
        for i in range(quantity.size):
            if not kept[row]:
                break
            if after[i] < 0.0 and kind[i] != 0:
                units = short_of_cover(after, i, kind, ticker, expiry, multiplier)
                kept[row] = max(units, 0.0) <= bare[i]


@jit
def judge(book, trades, after, allowed, violation):  # type: ignore[no-untyped-def]
    """Judge each row of `trades` (A, n) exactly.

    Fills after (A, M), allowed (A,): the trust kernel's verdict and cover kept, and violation
    (A,): sum over targeted measures of distance / scale, plus the share of `least` not traded;
    infinite where not allowed or where a measure leaves its target that was inside.
    """
    count, n, m = trades.shape[0], book.quantity.size, book.before.size
    change = np.empty((count, m))
    empty, shrinks = np.empty(count, dtype=np.bool_), np.empty(count, dtype=np.bool_)
    measure_points(
        book.X, book.P, book.rows, book.before, book.base_pnl, trades, book.blocks, book.counts,
        book.p, change, after,
    )  # fmt: skip
    shrinking_points(book.quantity, book.kind, book.ticker, trades, empty, shrinks)
    for a in range(count):
        if not book.orders and not empty[a] and (trades[a] == -book.quantity).all():
            shrinks[a] = True
            after[a] = 0.0  # exactly nothing is left, whatever the sums leave as a residue
    admissible_points(
        book.before, change, after, book.low, book.high, empty, shrinks, book.X.shape[1], allowed
    )
    for a in range(count):
        left = book.quantity + trades[a]
        for i in range(n):
            if not allowed[a]:
                break
            if left[i] < 0.0 and book.kind[i] != 0 and not empty[a]:
                units = short_of_cover(
                    left, i, book.kind, book.ticker, book.expiry, book.multiplier
                )
                allowed[a] = units <= book.uncovered[i] + 1e-9 * book.multiplier[i]
        violation[a] = 0.0 if allowed[a] else np.inf
        for j in range(m):
            if book.scale[j] != book.scale[j]:
                continue
            x = after[a, j]
            if not (x >= book.target_low[j] and x <= book.target_high[j]):
                distance = max(book.target_low[j] - x, x - book.target_high[j])
                violation[a] += distance / book.scale[j] if book.scale[j] > 0.0 else np.inf
        for i in range(n):
            lacking = book.least[i] - abs(trades[a, i])
            if lacking > 0.0:
                violation[a] += lacking / book.least[i]
        if violation[a] != violation[a]:
            violation[a] = np.inf


@jit
def relax(rows, steps, price, lots):  # type: ignore[no-untyped-def]
    """Solve the problem in fractions of lots: the dual simplex method with bounds on all variables.

    A row's value is a variable of its own. At first these are basic and every step is at its
    least, which no cost above 0 contradicts; each pivot then repairs the row that is furthest
    outside (Lemke 1954, "The dual method of solving the linear programming problem").

    Fills lots (V,) and price (V,), what a lot is worth towards the rows, and returns the constant
    of the bound: cost >= constant + sum over steps of the least of (cost - price) lots. That
    holds wherever the method stops. Infinite: there is no solution.
    """
    V, R = rows.matrix.shape
    low, high = np.empty(V + R), np.empty(V + R)
    low[:V], high[:V] = steps.least, steps.most
    low[V:] = np.maximum(rows.low, rows.target_low) - rows.base - rows.slack
    high[V:] = np.minimum(rows.high, rows.target_high) - rows.base + rows.slack
    table, size = np.empty((R, V)), np.full(R, 1e-300)
    for r in range(R):
        for v in range(V):
            table[r, v] = rows.matrix[v, r]
            size[r] += abs(rows.matrix[v, r]) * steps.most[v]
    basic, free = np.arange(V, V + R), np.arange(V)
    at, reduced, value = steps.least.copy(), steps.cost.copy(), np.zeros(R)
    price[:], lots[:] = 0.0, steps.least
    unit = np.ones(V + R)
    unit[:V], unit[V:] = np.maximum(steps.most, 1.0), size
    for _ in range(20 * (V + R)):
        leaving, worst = -1, 1e-9
        for r in range(R):
            value[r] = 0.0
            for k in range(V):
                value[r] += table[r, k] * at[k]
            b = basic[r]
            outside = max(low[b] - value[r], value[r] - high[b]) / unit[b]
            if outside > worst:
                leaving, worst = r, outside
        if leaving < 0:
            break
        out = basic[leaving]
        up = value[leaving] < low[out]
        entering, least = -1, np.inf
        for k in range(V):
            slope = table[leaving, k] if up else -table[leaving, k]
            j = free[k]
            if low[j] == high[j] or abs(slope) * unit[j] <= 1e-10 * unit[out]:
                continue
            if (slope > 0.0 and at[k] == low[j]) or (slope < 0.0 and at[k] == high[j]):
                ratio = abs(reduced[k]) / abs(slope)
                if ratio < least:
                    entering, least = k, ratio
        if entering < 0:
            return np.inf  # the row cannot be repaired by anything
        pivot = table[leaving, entering]
        for k in range(V):
            table[leaving, k] = 1.0 / pivot if k == entering else -table[leaving, k] / pivot
        for r in range(R):
            factor = table[r, entering]
            if r == leaving or factor == 0.0:
                continue
            for k in range(V):
                if k == entering:
                    table[r, k] = factor * table[leaving, k]
                else:
                    table[r, k] += factor * table[leaving, k]
        factor = reduced[entering]
        for k in range(V):
            if k == entering:
                reduced[k] = factor * table[leaving, k]
            else:
                reduced[k] += factor * table[leaving, k]
        at[entering] = low[out] if up else high[out]
        basic[leaving], free[entering] = free[entering], out
    constant = 0.0
    for k in range(V):
        j = free[k]
        if j < V:
            lots[j] = at[k]
        elif reduced[k] != 0.0:
            # Rounding may leave a price on a side that a row does not have.
            bound = low[j] if reduced[k] > 0.0 else high[j]
            if abs(bound) < np.inf:
                constant += reduced[k] * bound
                for v in range(V):
                    price[v] += reduced[k] * rows.matrix[v, j - V]
    for r in range(R):
        if basic[r] < V:
            lots[basic[r]] = min(max(value[r], low[basic[r]]), high[basic[r]])
    return constant


@jit
def search(book, rows, steps, price, constant, around, lots, incumbent, budget):  # type: ignore[no-untyped-def]
    """Improve lots (V,) and incumbent (violation, cost) in place; return the nodes visited.

    Complete when fewer than `budget` nodes were visited. Steps come in the order given; a step's
    cheapest count by cost - price is tried first, and where all are equal, the one nearest to
    `around` (V,), so that the first dive rounds the optimum of the bound.
    """
    V, R = rows.matrix.shape
    rest_low, rest_high = np.zeros((V + 1, R)), np.zeros((V + 1, R))
    rest = np.zeros(V + 1)
    for v in range(V - 1, -1, -1):
        gain = steps.cost[v] - price[v]
        rest[v] = rest[v + 1] + gain * (steps.most[v] if gain < 0.0 else steps.least[v])
        for r in range(R):
            a, b = rows.matrix[v, r] * steps.least[v], rows.matrix[v, r] * steps.most[v]
            rest_low[v, r] = rest_low[v + 1, r] + min(a, b)
            rest_high[v, r] = rest_high[v + 1, r] + max(a, b)
    value, spent, paid = np.empty((V + 1, R)), np.zeros(V + 1), np.zeros(V + 1)
    value[0], spent[0] = rows.base, constant
    taken, first, last = np.zeros(V), np.zeros(V + 1, np.int64), np.zeros(V + 1, np.int64)
    down, up = np.zeros(V + 1, np.int64), np.zeros(V + 1, np.int64)
    n, m = book.quantity.size, book.before.size
    trade, after = np.zeros((1, n)), np.empty((1, m))
    allowed, violation = np.empty(1, dtype=np.bool_), np.empty(1)
    depth, nodes, entered = 0, 0, True
    while depth >= 0:
        solved = incumbent[0] <= 0.0
        if depth == V:
            trade[:] = 0.0
            for v in range(V):
                trade[0, steps.instrument[v]] += steps.sign[v] * taken[v]
            judge(book, trade, after, allowed, violation)
            nodes += 20  # an exact judgement costs about as much as so many nodes
            better = violation[0] < incumbent[0] - 1e-9
            if better or (violation[0] <= incumbent[0] and paid[V] < incumbent[1]):
                incumbent[0], incumbent[1] = violation[0], paid[V]
                lots[:] = taken
            depth, entered = depth - 1, False
            continue
        most, gain = steps.most[depth], steps.cost[depth] - price[depth]
        if entered:
            least, top = steps.least[depth], most
            for r in range(R):
                a = rows.matrix[depth, r]
                low, high = rows.low[r], rows.high[r]
                if solved:
                    low, high = max(low, rows.target_low[r]), min(high, rows.target_high[r])
                low -= rows.slack[r] + value[depth, r] + rest_high[depth + 1, r]
                high += rows.slack[r] - value[depth, r] - rest_low[depth + 1, r]
                if a == 0.0:
                    if low > 0.0 or high < 0.0:
                        top = -1.0
                elif a > 0.0:
                    least, top = max(least, low / a), min(top, high / a)
                else:
                    least, top = max(least, high / a), min(top, low / a)
            end = int(np.ceil(most))
            ceiling = top + 1e-9 * (1.0 + abs(top))
            first[depth] = max(0, int(np.ceil(least - 1e-9 * (1.0 + abs(least)))))
            last[depth] = end if ceiling >= most else int(np.floor(ceiling)) if top >= 0.0 else -1
            if least > most + 1e-9 * (1.0 + most):
                last[depth] = -1
            elif first[depth] > end:
                first[depth] = end
            entered = False
            start = min(max(int(np.rint(around[depth])), first[depth]), last[depth])
            if abs(gain) > 1e-9 * steps.cost[depth]:
                start = first[depth] if gain > 0.0 else last[depth]
            down[depth], up[depth] = start, start + 1
        if down[depth] < first[depth] and up[depth] > last[depth]:
            depth -= 1
            continue
        nearer = around[depth] - down[depth] <= up[depth] - around[depth]
        if up[depth] > last[depth] or (nearer and down[depth] >= first[depth]):
            count = down[depth]
            down[depth] -= 1
        else:
            count = up[depth]
            up[depth] += 1
        nodes += 1
        if nodes > budget:
            break
        took = min(float(count), most)
        spend = spent[depth] + gain * took
        pay = paid[depth] + steps.cost[depth] * took
        if solved and spend + rest[depth + 1] >= incumbent[1]:
            depth -= 1  # no later count of this step costs less
            continue
        worst, owned, owner = 0.0, 0.0, -1
        for r in range(R):
            x = value[depth, r] + rows.matrix[depth, r] * took
            value[depth + 1, r] = x
            if not solved:
                reach_low = x + rest_low[depth + 1, r] - rows.slack[r]
                reach_high = x + rest_high[depth + 1, r] + rows.slack[r]
                short = max(rows.target_low[r] - reach_high, reach_low - rows.target_high[r])
                if rows.owner[r] != owner:
                    owner, owned = rows.owner[r], 0.0
                if short > owned * rows.scale[r]:
                    worst += short / rows.scale[r] - owned
                    owned = short / rows.scale[r]
        if (
            not solved
            and worst > incumbent[0] - 1e-9
            and not (worst <= incumbent[0] and pay < incumbent[1])
        ):
            continue
        taken[depth], spent[depth + 1], paid[depth + 1] = took, spend, pay
        depth, entered = depth + 1, True
    return nodes
