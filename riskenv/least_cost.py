"""What to trade: the whole lots of least cost that bring a book where it should be.

Small books by trying everything; larger ones by branch and bound on the problem in fractions of
lots, whose optimum no plan can undercut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from riskenv.admissibility import measure
from riskenv.lot_search import Book, Rows, Steps, judge, relax, search
from riskenv.selection import ordered_sum

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Nodes of the branch and bound: enough to finish five positions of six lots; a larger book's
# search ends here with the best plan found.
BUDGET = 100_000
_CUTS = 12
_EVERYTHING = 50_000
_NODES_OF_A_BRANCH = 500
# Added to a lot's cost, times its rank: equal plans are told apart by it and dearer ones never.
_TIE = 1e-9


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
    book: Book, cost: FloatArray, hedges: list[int], budget: int
) -> tuple[FloatArray, float]:
    """(n,) the best trade found and a bound on the cost of any that resolves."""
    n = len(book.quantity)
    if judged(book, np.zeros((1, n)))[2][0] <= 0.0:
        return np.zeros(n), 0.0
    steps = _steps(book, cost, hedges)
    greedy = _greedy(book, steps, steps.least)
    starts = [np.zeros(len(steps.most)), greedy, np.where(_closing(book, steps), steps.most, 0.0)]
    lots, incumbent = _best(book, steps, starts)
    references = [book.base_pnl, pnl_of(book, trade_of(book, steps, greedy))]
    rows = _rows(book, steps, references)
    everything = np.prod(np.ceil(steps.most) + 1.0)
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
        bound = _branch(book, steps, references, {}, lots, incumbent, budget)
        last = np.inf
        while bound < incumbent[1] < last:
            last = incumbent[1]
            watched = _var_scenarios(book, trade_of(book, steps, lots))
            if watched:
                _branch(book, steps, references, watched, lots, incumbent, budget)
    return trade_of(book, steps, lots), max(0.0, bound / (1.0 + _TIE))


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
    lots: FloatArray,
    incumbent: FloatArray,
    budget: int,
) -> float:
    """Branch and bound on the relaxed problem, the lowest bound first; return a bound on cost.

    Improves lots and incumbent in place, by an exact search of the whole lots around the
    fractions of each node. The tails' rows are refined where the relaxed book lies.

    Args:
        watched: scenarios that may not fall below the bound of a VaR, by measure: more than VaR
            asks for, so that nothing is proved with them.
    """
    count, bound = 0, -1.0
    asked: dict[int, list[int]] = {j: [] for j in watched}
    for _ in range(_CUTS):
        rows = _rows(book, steps, references, asked)
        relaxed = _relaxed(rows, steps)
        if not relaxed.bound > bound * (1.0 + 1e-6):
            break
        bound = relaxed.bound
        pnl = pnl_of(book, trade_of(book, steps, relaxed.lots))
        references.append(pnl)
        for j, scenarios in watched.items():
            worst = scenarios[np.argsort(pnl[scenarios], kind="stable")[:4]]
            asked[j] += [int(s) for s in worst if pnl[s] < _wanted(book)[0][j]]
    root, exact = bound, not watched
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
            finer = _rows(book, steps, references, asked)
            value = finer.base + _products(whole, finer.matrix)
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
    wanted, pnl = _wanted(book)[0], pnl_of(book, trade)
    for h, count in enumerate(book.counts):
        j = linear + 2 * h
        if np.isfinite(wanted[j]):
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
        Steps(*(column[order] for column in box)), relaxed.price[order], relaxed.constant,
        relaxed.lots[order], found, incumbent, budget,
    )  # fmt: skip
    lots[order] = found
    return int(nodes)


def _best(book: Book, steps: Steps, starts: list[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """The lots of least violation, then least cost, and (2,) these two."""
    violation = judged(book, np.stack([trade_of(book, steps, lots) for lots in starts]))[2]
    spent = np.array([ordered_sum(steps.cost * lots) for lots in starts])
    best = int(np.lexsort((spent, violation))[0])
    return starts[best].copy(), np.array([violation[best], spent[best]])


def _steps(book: Book, cost: FloatArray, hedges: list[int]) -> Steps:
    """Closing each position; then, of each hedge, going on from there, and the other way."""
    known = np.isfinite(book.X).all(axis=1) & np.isfinite(book.P).all(axis=1)
    priced = cost[np.isfinite(cost)]
    dearest = float(priced.max(initial=1.0))
    price = np.where(np.isnan(cost), 1e6 * dearest, cost)
    held = [int(i) for i in np.flatnonzero(book.quantity) if price[i] < np.inf]
    entries = [(i, -np.sign(book.quantity[i]), abs(book.quantity[i]), book.least[i]) for i in held]
    gross = np.abs(np.where(book.quantity[:, None] != 0.0, book.X * book.quantity[:, None], 0.0))
    gross = np.cumsum(np.nan_to_num(gross), axis=0)[-1]
    for i in hedges:
        if not known[i] or not price[i] < np.inf:
            continue
        # No more is ever of use than what outweighs all that is held in some measure.
        moved = np.abs(book.X[i]) > 0.0
        most = np.ceil(np.max(gross[moved] / np.abs(book.X[i][moved]), initial=1.0))
        way = np.sign(book.quantity[i]) or 1.0
        entries += [(i, -way, most, 0.0), (i, way, most, 0.0)]
    where = np.array([e[0] for e in entries], dtype=np.int64)
    sign, most, least = (np.array([e[k] for e in entries], dtype=np.float64) for k in (1, 2, 3))
    rank = (1.0 + np.arange(len(entries))) / max(1, len(entries))
    smallest = float(priced[priced > 0.0].min(initial=np.inf))
    smallest = smallest if smallest < np.inf else 1.0
    return Steps(where, sign, most, least, price[where] + _TIE * smallest * rank)


def _closing(book: Book, steps: Steps) -> NDArray[np.bool_]:
    """(V,) the steps that together close all that can be closed."""
    first = np.zeros(len(steps.most), dtype=bool)
    first[: int(np.isin(np.flatnonzero(book.quantity), steps.instrument).sum())] = True
    return first


def trade_of(book: Book, steps: Steps, lots: FloatArray) -> FloatArray:
    trade = np.zeros(len(book.quantity))
    for v in np.flatnonzero(lots):
        trade[steps.instrument[v]] += steps.sign[v] * lots[v]
    return trade


def pnl_of(book: Book, trade: FloatArray) -> FloatArray:
    pnl = book.base_pnl.copy()
    for i in np.flatnonzero(trade):
        pnl += trade[i] * book.P[i]
    return pnl


def _rows(
    book: Book,
    steps: Steps,
    references: list[FloatArray],
    asked: Mapping[int, Sequence[int]] | None = None,
) -> Rows:
    """What holds for every admissible trade, as linear rows.

    The linear measures themselves; for ES and the gap, the tail scenarios of a few reference
    books (ES is at most the mean of any such set); cover, where the hedges do not change it.
    """
    linear = book.X.shape[1]
    columns: list[FloatArray] = []
    table: list[tuple[float, ...]] = []
    owners: list[int] = []

    def add(column: FloatArray, base: float, bounds: tuple[float, ...], owner: int) -> None:
        """bounds: low, high, target_low, target_high, scale."""
        column = steps.sign * column[steps.instrument]
        if np.isfinite(column).all() and np.isfinite(base):
            size = abs(base) + ordered_sum(np.abs(column) * steps.most)
            columns.append(column)
            table.append((base, *bounds, 1e-12 * size))
            owners.append(owner)

    for j, b in enumerate(book.before):
        low, high = min(book.low[j], b), max(book.high[j], b)
        target_low, target_high, scale = book.target_low[j], book.target_high[j], book.scale[j]
        if scale == 0.0:
            low, high = max(low, target_low), min(high, target_high)
        if not scale > 0.0:
            target_low, target_high, scale = -np.inf, np.inf, 1.0
        if not np.isfinite([low, high, target_low, target_high]).any() or not np.isfinite(b):
            continue
        if j < linear:
            add(book.X[:, j], b, (low, high, target_low, target_high, scale), j)
            continue
        for reference in references:
            weights = _tail_weights(book, j - linear, reference)
            if weights is not None:
                column = np.array([ordered_sum(weights * row) for row in book.P])
                base = ordered_sum(weights * book.base_pnl)
                add(column, base, (low, np.inf, target_low, np.inf, scale), j)
        for s in (asked or {}).get(j, ()):
            add(book.P[:, s], book.base_pnl[s], (low, np.inf, target_low, np.inf, scale), j)
    trades_both_ways = np.bincount(steps.instrument, minlength=len(book.quantity)) > 1
    for i in np.flatnonzero((book.quantity < 0.0) & (book.kind != 0)):
        same = (book.kind == book.kind[i]) & (book.expiry >= book.expiry[i])
        shares = (book.kind == 0) & (book.ticker == book.ticker[i])
        if (shares & trades_both_ways).any():
            continue  # shares cover up to the point where they turn: not a linear row
        covering = shares & (book.quantity * book.kind[i] > 0.0)
        group = covering | (same & (book.ticker == book.ticker[i]))
        column = np.where(group, -book.multiplier, 0.0) * np.where(covering, book.kind[i], 1.0)
        base = ordered_sum(column * book.quantity)
        add(column, base, (-np.inf, book.uncovered[i], -np.inf, np.inf, 1.0), -1)
    packed = np.array(table, dtype=np.float64).reshape(len(table), 7).T
    matrix = np.array(columns, dtype=np.float64).reshape(len(columns), len(steps.most)).T
    base_, low_, high_, target_low_, target_high_, scale_, slack_ = np.ascontiguousarray(packed)
    return Rows(
        np.ascontiguousarray(matrix), base_, low_, high_, target_low_, target_high_, scale_,
        np.array(owners, dtype=np.int64), slack_,
    )  # fmt: skip


def _wanted(book: Book) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(M,) lowest and highest value a measure should end at, and what its distance counts in.

    The kernel lets a broken measure stay where it is; one inside its target stays there.
    """
    low, high = np.minimum(book.low, book.before), np.maximum(book.high, book.before)
    low, high = np.fmax(low, book.target_low), np.fmin(high, book.target_high)
    size = np.fmin(np.abs(low), np.abs(high))
    unit = np.where(book.scale > 0.0, book.scale, np.where(size > 0.0, size, 1.0))
    return low, high, unit


def _tail_weights(book: Book, tail: int, pnl: FloatArray) -> FloatArray | None:
    """(S,) weights whose mean P&L no tail measure of any book exceeds; None for VaR.

    tail: 0 VaR, 1 ES of the first horizon, and so on; the gap last. Those of a book that `pnl`
    belongs to: there they give the measure itself.
    """
    weights = np.zeros(len(pnl))
    horizon, is_shortfall = divmod(tail, 2)
    if horizon == len(book.counts):
        first = int(book.blocks[horizon])
        if first == len(pnl):
            return None
        weights[first + int(np.argmin(pnl[first:]))] = 1.0
        return weights
    start, stop = (int(x) for x in book.blocks[horizon : horizon + 2])
    if not is_shortfall or start == stop:
        return None
    count, size, p = int(book.counts[horizon]), stop - start, book.p
    worst = start + np.argsort(pnl[start:stop], kind="stable")[:count]
    weights[worst] = 1.0 / (size * p)
    weights[worst[-1]] = (p - (count - 1) / size) / p
    return weights


def _greedy(book: Book, steps: Steps, lots: FloatArray) -> FloatArray:
    """(V,) lots that a walk by most distance removed per currency unit arrives at.

    The walk may cross caps; what it counts is how far the book is outside its targets, the caps
    and cover, each as a share of its own size.
    """
    low, high, unit = _wanted(book)
    rows = _rows(book, steps, [])
    matrix, cover = rows.matrix[:, rows.owner < 0], rows.owner < 0
    need = np.maximum(rows.high[cover], np.max(book.multiplier, initial=1.0))
    lots, every = lots.copy(), np.arange(len(lots))

    def distance(trades: FloatArray, bare: FloatArray) -> tuple[FloatArray, FloatArray]:
        change, after = np.empty((2, len(trades), len(low)))
        measure(
            book.X, book.P, book.rows, at, pnl, trades, book.blocks, book.counts, book.p, change,
            after,
        )  # fmt: skip
        with np.errstate(invalid="ignore"):
            outside = np.maximum(np.maximum(low - after, after - high), 0.0) / unit
        parts = [np.nan_to_num(outside), np.maximum(bare - rows.high[cover], 0.0) / need]
        return np.cumsum(np.concatenate(parts, axis=1), axis=1)[:, -1], after

    for _ in every:
        at, pnl, start = book.before, book.base_pnl, trade_of(book, steps, lots)
        bare = rows.base[cover] + _products(lots, matrix)
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


def _products(lots: FloatArray, matrix: FloatArray) -> FloatArray:
    """lots @ matrix, added in the order of the steps."""
    return np.cumsum(np.concatenate([np.zeros((1, matrix.shape[1])), lots[:, None] * matrix]), 0)[
        -1
    ]
