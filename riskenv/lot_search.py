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

from riskenv.admissibility import admissible, measure, shrinking
from riskenv.compilation import jit

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Book(NamedTuple):
    """What a trade is judged against; arrays as in `riskenv.reduction.plan_reduction`.

    scale: (M,) how far each measure is outside its target, 0 = inside (it must stay there), NaN =
        Unknown or no target. least: (n,) lots to be traded at least. uncovered: (n,) of the book.
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
    kind: IntArray
    ticker: IntArray
    expiry: IntArray
    multiplier: FloatArray
    uncovered: FloatArray


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
def judge(book, start, start_after, start_pnl, trades, after, allowed, violation):  # type: ignore[no-untyped-def]
    """Judge start + each row of `trades`, exactly where start is nothing.

    Fills after (A, M), allowed (A,): the trust kernel's verdict and cover kept, and violation
    (A,): sum over targeted measures of distance / scale, plus the share of `least` not traded;
    infinite where not allowed or where a measure leaves its target that was inside.
    """
    count, n, m = trades.shape[0], book.quantity.size, book.before.size
    change, total = np.empty((count, m)), np.empty((count, n))
    empty, shrinks = np.empty(count, dtype=np.bool_), np.empty(count, dtype=np.bool_)
    measure(
        book.X, book.P, book.rows, start_after, start_pnl, trades, book.blocks, book.counts,
        book.p, change, after,
    )  # fmt: skip
    for a in range(count):
        closes, nothing = True, True
        for i in range(n):
            total[a, i] = start[i] + trades[a, i]
            closes &= total[a, i] == -book.quantity[i]
            nothing &= total[a, i] == 0.0
        for j in range(m):
            if nothing:
                after[a, j] = book.before[j]
            elif closes:  # exactly nothing is left, whatever the sums leave as a residue
                after[a, j] = 0.0
            change[a, j] += start_after[j] - book.before[j]
    shrinking(book.quantity, book.kind, book.ticker, total, empty, shrinks)
    for a in range(count):
        if not empty[a] and (total[a] == -book.quantity).all():
            shrinks[a] = True
    admissible(
        book.before, change, after, book.low, book.high, empty, shrinks, book.X.shape[1], allowed
    )
    for a in range(count):
        left = book.quantity + total[a]
        for i in range(n):
            if not allowed[a]:
                break
            if left[i] < 0.0 and book.kind[i] != 0 and total[a].any():
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
            lacking = book.least[i] - abs(total[a, i])
            if lacking > 0.0:
                violation[a] += lacking / book.least[i]
        if violation[a] != violation[a]:
            violation[a] = np.inf


@jit
def multipliers(rows, steps, upper, rounds, price):  # type: ignore[no-untyped-def]
    """Fill price (V,), what a step is worth towards the rows; return the part of the bound
    that does not depend on the steps.

    Subgradient ascent of the Lagrangian dual with Polyak's step (Polyak 1969, "Minimization of
    unsmooth functionals", eq. 3), the length halved after ten rounds without gain. Any price
    gives a valid bound: sum over steps of min over lots of (cost - price) lots, plus the constant.

    Args:
        upper: cost of a known trade.
    """
    V, R = rows.matrix.shape
    low = np.maximum(rows.low, rows.target_low) - rows.base
    high = np.minimum(rows.high, rows.target_high) - rows.base
    size = np.zeros(R)
    for v in range(V):
        for r in range(R):
            size[r] += abs(rows.matrix[v, r]) * steps.most[v]
    y, best_y, gradient, worth = np.zeros(R), np.zeros(R), np.empty(R), np.empty(V)
    best, best_constant, length, idle = -np.inf, 0.0, 1.0, 0
    price[:] = 0.0
    for _ in range(rounds):
        constant = 0.0
        for r in range(R):
            gradient[r] = 0.0
            if y[r] != 0.0:
                constant += y[r] * (low[r] if y[r] > 0.0 else high[r])
        total = constant
        for v in range(V):
            worth[v] = 0.0
            for r in range(R):
                worth[v] += y[r] * rows.matrix[v, r]
            gain = steps.cost[v] - worth[v]
            lots = steps.most[v] if gain < 0.0 else steps.least[v]
            total += gain * lots
            if lots != 0.0:
                for r in range(R):
                    gradient[r] += rows.matrix[v, r] * lots
        if total > best:
            idle = 0 if total > best + 1e-4 * abs(best) else idle + 1
            best, best_constant = total, constant
            best_y[:], price[:] = y, worth
        else:
            idle += 1
        if idle >= 10:
            length, idle = 0.5 * length, 0
            y[:] = best_y
            if length < 1e-3:
                break
            continue
        norm = 0.0
        for r in range(R):
            reached = gradient[r]
            if y[r] > 0.0 or (y[r] == 0.0 and reached < low[r]):
                gradient[r] = low[r] - reached
            elif y[r] < 0.0 or reached > high[r]:
                gradient[r] = high[r] - reached
            else:
                gradient[r] = 0.0
            if size[r] > 0.0:
                norm += (gradient[r] / size[r]) ** 2
        if norm == 0.0:
            break
        move = length * max(upper - total, 1e-6 * abs(upper)) / norm
        for r in range(R):
            if size[r] > 0.0:
                to = y[r] + move * gradient[r] / size[r] ** 2
                # Zero is where the row changes sides; each side is entered from there.
                y[r] = 0.0 if to * y[r] < 0.0 else to
    return best_constant


@jit
def search(book, rows, steps, price, constant, lots, incumbent, budget):  # type: ignore[no-untyped-def]
    """Improve lots (V,) and incumbent (violation, cost) in place; return the nodes visited.

    Complete when fewer than `budget` nodes were visited. Steps come in the order given; a step's
    cheapest count by cost - price is tried first, so that the first dive is the rounded optimum
    of the bound.
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
    n, m = book.quantity.size, book.before.size
    trade, after, nothing = np.zeros((1, n)), np.empty((1, m)), np.zeros(n)
    allowed, violation = np.empty(1, dtype=np.bool_), np.empty(1)
    depth, nodes, entered = 0, 0, True
    while depth >= 0:
        solved = incumbent[0] <= 0.0
        if depth == V:
            trade[:] = 0.0
            for v in range(V):
                trade[0, steps.instrument[v]] += steps.sign[v] * taken[v]
            judge(book, nothing, book.before, book.base_pnl, trade, after, allowed, violation)
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
        if first[depth] > last[depth]:
            depth -= 1
            continue
        if gain >= 0.0:
            count = first[depth]
            first[depth] += 1
        else:
            count = last[depth]
            last[depth] -= 1
        nodes += 1
        if nodes > budget:
            break
        took = min(float(count), most)
        spend = spent[depth] + gain * took
        pay = paid[depth] + steps.cost[depth] * took
        if solved and spend + rest[depth + 1] >= incumbent[1]:
            depth -= 1  # every later count of this step costs more
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
