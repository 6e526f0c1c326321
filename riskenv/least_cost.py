"""What to trade: the whole lots of least cost that bring a book where it should be.

Small books by trying everything; larger ones by branch and bound on the problem in fractions of
lots, whose optimum no plan can undercut.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from riskenv.lot_rows import TIE, closing, pnl_of, products, rows_of, steps_of, trade_of, wanted
from riskenv.lot_search import Book, Rows, Steps, judge, relax, search
from riskenv.point_measures import measure_points
from riskenv.selection import ordered_sum

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Nodes of the branch and bound: enough to finish five positions of six lots; a larger book's
# search ends here with the best plan found.
BUDGET = 100_000
_CUTS = 12
_EVERYTHING = 50_000
_NODES_OF_A_BRANCH = 500


class Relaxed(NamedTuple):
    """What `relax` found: price (V,) of a lot, constant of the bound, lots (V,) in fractions."""

    price: FloatArray
    constant: float
    lots: FloatArray
    bound: float


def judged(book: Book, trades: FloatArray) -> tuple[NDArray[np.bool_], FloatArray, FloatArray]:
    """(A,) allowed, (A, M) after and (A,) violation of (A, n) trades, by the trust kernel."""
    count = len(trades)
    allowed, violation = np.empty(count, dtype=np.bool_), np.empty(count)
    after = np.empty((count, len(book.before)))
    judge(book, trades, after, allowed, violation)
    return allowed, after, violation


def cheapest(
    book: Book, cost: FloatArray, hedges: list[int], budget: int, buys: frozenset[int] = frozenset()
) -> tuple[FloatArray, float]:
    """(n,) the best trade found and a bound on the cost of any that resolves."""
    n = len(book.quantity)
    if judged(book, np.zeros((1, n)))[2][0] <= 0.0:
        return np.zeros(n), 0.0
    steps = steps_of(book, cost, hedges, buys)
    greedy = _greedy(book, steps, steps.least)
    starts = [np.zeros(len(steps.most)), greedy, np.where(closing(book, steps), steps.most, 0.0)]
    lots, incumbent = _best(book, steps, starts)
    references = [book.base_pnl, pnl_of(book, trade_of(book, steps, greedy))]
    rows = rows_of(book, steps, references)
    everything = 1.0
    for most in steps.most:
        everything = min(everything * (np.ceil(most) + 1.0), 2.0 * _EVERYTHING)
    small = everything <= _EVERYTHING
    if small or incumbent[0] > 0.0:
        nothing = Relaxed(np.zeros(len(lots)), 0.0, lots, 0.0)
        if incumbent[0] <= 0.0:
            nothing = _relaxed(rows, steps)
        limit = 1 << 62 if small else budget
        _improve(book, rows, steps, nothing, lots, incumbent, limit)
    if incumbent[0] > 0.0:
        return trade_of(book, steps, lots), float("nan")
    bound = incumbent[1]
    if not small:
        bound = _branch(book, steps, references, {}, False, lots, incumbent, budget)
        last = np.inf
        while bound < incumbent[1] < last:
            last = incumbent[1]
            watched = _var_scenarios(book, trade_of(book, steps, lots))
            if watched or hedges:
                _branch(book, steps, references, watched, True, lots, incumbent, budget)
    return trade_of(book, steps, lots), max(0.0, bound / (1.0 + TIE))


def _relaxed(rows: Rows, steps: Steps) -> Relaxed:
    price, lots = np.empty(len(steps.most)), np.empty(len(steps.most))
    constant = relax(rows, steps, price, lots)
    gain = steps.cost - price
    least = ordered_sum(np.where(gain < 0.0, steps.most, steps.least) * gain)
    return Relaxed(price, constant, lots, constant + least)


def _branch(
    book: Book,
    steps: Steps,
    references: list[FloatArray],
    watched: dict[int, IntArray],
    strict: bool,
    lots: FloatArray,
    incumbent: FloatArray,
    budget: int,
) -> float:
    """Branch and bound on the relaxed problem, the lowest bound first; return a bound on cost.

    Improves lots and incumbent in place, by an exact search of the whole lots around the
    fractions of each node. The tails' rows are refined where the relaxed book lies.

    Args:
        watched: scenarios that may not fall below the bound of a VaR, by measure.
        strict: that, and shares that cover may not turn: more than is asked for, so that nothing
            is proved, in rows that are linear, so that much is found.
    """
    count, bound = 0, -1.0
    asked: dict[int, list[int]] = {j: [] for j in watched}
    for _ in range(_CUTS):
        rows = rows_of(book, steps, references, asked, strict)
        relaxed = _relaxed(rows, steps)
        if not relaxed.bound > bound * (1.0 + 1e-6):
            break
        bound = relaxed.bound
        pnl = pnl_of(book, trade_of(book, steps, relaxed.lots))
        references.append(pnl)
        for j, scenarios in watched.items():
            worst = scenarios[np.argsort(pnl[scenarios], kind="stable")[:4]]
            asked[j] += [int(s) for s in worst if pnl[s] < wanted(book)[0][j]]
    root, exact = bound, not strict
    nodes = [(bound, 0, steps.least, steps.most)]
    while nodes and budget > 0 and nodes[0][0] < incumbent[1] * (1.0 - 1e-9):
        bound, _, least, most = heappop(nodes)
        relaxed = _relaxed(rows, steps._replace(least=least, most=most))
        budget -= _NODES_OF_A_BRANCH
        bound = max(bound, relaxed.bound)
        if bound >= incumbent[1]:
            continue
        whole = np.where(most - relaxed.lots < 1e-6, most, np.rint(relaxed.lots))
        apart = np.abs(relaxed.lots - whole)
        parted = apart > 1e-6
        near = steps._replace(
            least=np.where(parted, np.maximum(least, np.floor(relaxed.lots) - 1.0), whole),
            most=np.where(parted, np.minimum(most, np.ceil(relaxed.lots) + 1.0), whole),
        )
        budget -= _improve(book, rows, near, relaxed, lots, incumbent, 2000)
        if parted.any():
            v = int(np.argmax(apart * steps.cost))
            lower, upper = most.copy(), least.copy()
            lower[v] = np.floor(relaxed.lots[v])
            upper[v] = min(np.ceil(relaxed.lots[v]), most[v])
            heappush(nodes, (bound, count + 1, least, lower))
            heappush(nodes, (bound, count + 2, upper, most))
            count += 2
        elif incumbent[1] > bound * (1.0 + 1e-9):
            # Whole, and yet not admissible: the tails' rows were too coarse here, or it is VaR.
            references.append(pnl_of(book, trade_of(book, steps, whole)))
            finer = rows_of(book, steps, references, asked, strict)
            value = finer.base + products(whole, finer.matrix)
            if (value < np.maximum(finer.low, finer.target_low) - finer.slack).any():
                rows, count = finer, count + 1
                heappush(nodes, (bound, count, least, most))
            else:
                exact = False
    if not exact:
        return root
    return float(min(incumbent[1], nodes[0][0] if nodes else np.inf))


def _var_scenarios(book: Book, trade: FloatArray) -> dict[int, IntArray]:
    """Scenarios of each bounded VaR that are not in the tail of the book after a trade."""
    found, linear = {}, book.X.shape[1]
    low, pnl = wanted(book)[0], pnl_of(book, trade)
    for h, count in enumerate(book.counts):
        j = linear + 2 * h
        if np.isfinite(low[j]):
            start, stop = (int(x) for x in book.blocks[h : h + 2])
            found[j] = np.sort(start + np.argsort(pnl[start:stop], kind="stable")[count - 1 :])
    return found


def _improve(
    book: Book,
    rows: Rows,
    box: Steps,
    relaxed: Relaxed,
    lots: FloatArray,
    incumbent: FloatArray,
    budget: int,
) -> int:
    """Search a box of steps exactly, improving lots and incumbent; return the nodes visited.

    What the bound is sure of comes first, then the dear steps, so that cheap lots fill up.
    """
    gain = np.abs(box.cost - relaxed.price)
    sure = np.where(gain <= 1e-9 * box.cost, 0.0, gain * (box.most - box.least))
    order = np.lexsort((-box.cost, -sure, box.most > box.least))
    found = lots[order]
    nodes = search(
        book, rows._replace(matrix=np.ascontiguousarray(rows.matrix[order])),
        _arranged(box, order), relaxed.price[order], relaxed.constant,
        relaxed.lots[order], found, incumbent, budget,
    )  # fmt: skip
    lots[order] = found
    return int(nodes)


def _arranged(steps: Steps, order: IntArray) -> Steps:
    return Steps(
        steps.instrument[order], steps.sign[order], steps.most[order], steps.least[order],
        steps.cost[order],
    )  # fmt: skip


def _best(book: Book, steps: Steps, starts: list[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """The lots of least violation, then least cost, and (2,) these two."""
    violation = judged(book, np.stack([trade_of(book, steps, lots) for lots in starts]))[2]
    spent = np.array([ordered_sum(steps.cost * lots) for lots in starts])
    best = int(np.lexsort((spent, violation))[0])
    return starts[best].copy(), np.array([violation[best], spent[best]])


def _greedy(book: Book, steps: Steps, lots: FloatArray) -> FloatArray:
    """(V,) lots that a walk by most distance removed per currency unit arrives at.

    The walk may cross caps; what it counts is how far the book is outside its targets, the caps
    and cover, each as a share of its own size.
    """
    low, high, unit = wanted(book)
    rows = rows_of(book, steps, [], strict=True)
    matrix, cover = rows.matrix[:, rows.owner < 0], rows.owner < 0
    need = np.maximum(rows.high[cover], np.max(book.multiplier, initial=1.0))
    lots, every = lots.copy(), np.arange(len(lots))

    def distance(trades: FloatArray, bare: FloatArray) -> tuple[FloatArray, FloatArray]:
        change, after = np.empty((2, len(trades), len(low)))
        measure_points(
            book.X, book.P, book.rows, at, pnl, trades, book.blocks, book.counts, book.p, change,
            after,
        )  # fmt: skip
        with np.errstate(invalid="ignore"):
            outside = np.maximum(np.maximum(low - after, after - high), 0.0) / unit
        parts = [np.nan_to_num(outside), np.maximum(bare - rows.high[cover], 0.0) / need]
        return np.cumsum(np.concatenate(parts, axis=1), axis=1)[:, -1], after

    for _ in every:
        at, pnl, start = book.before, book.base_pnl, trade_of(book, steps, lots)
        bare = rows.base[cover] + products(lots, matrix)
        left, after = distance(start[None, :], bare[None, :])
        if left[0] <= 0.0:
            break
        at, pnl = after[0], pnl_of(book, start)
        room = steps.most - lots
        sizes = [np.minimum(1.0, room), np.minimum(np.ceil(0.5 * room), room), room]
        for j in range(book.X.shape[1]):
            excess = max(low[j] - at[j], at[j] - high[j])
            if excess > 0.0:
                with np.errstate(divide="ignore", invalid="ignore"):
                    fill = np.ceil(excess / np.abs(book.X[steps.instrument, j]) - 1e-9)
                sizes.append(np.where(fill < room, fill, room))
        size, where = np.concatenate(sizes), np.tile(every, len(sizes))
        trades = np.zeros((len(size), len(start)))
        trades[np.arange(len(size)), steps.instrument[where]] = steps.sign[where] * size
        gain = left[0] - distance(trades, bare + size[:, None] * matrix[where])[0]
        gain[size <= 0.0] = -np.inf
        if not gain.max(initial=-np.inf) > 1e-12:
            break
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.where(gain > 1e-12, gain / (steps.cost[where] * size), -np.inf)
        among = np.flatnonzero(rate >= (1.0 - 1e-9) * rate.max())
        chosen = int(among[np.argmax(gain[among])])
        lots[where[chosen]] += size[chosen]
    return lots
