"""A book as a problem in lots: the steps that may be taken, and what is linear in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from riskenv.lot_search import Book, Rows, Steps
from riskenv.selection import ordered_sum

FloatArray = NDArray[np.float64]

# Added to a lot's cost, times its rank: equal plans are told apart by it and dearer ones never.
TIE = 1e-9


def steps_of(
    book: Book, cost: FloatArray, hedges: list[int], buys: frozenset[int] = frozenset()
) -> Steps:
    """Closing each position; then, of each hedge, going on from there, and the other way; of those
    in `buys` only the one that buys."""
    known = np.array([np.isfinite(x).all() for x in book.X])
    known &= np.array([np.isfinite(x).all() for x in book.P])
    priced = cost[np.isfinite(cost)]
    dearest = float(priced.max(initial=1.0))
    price = np.where(np.isnan(cost), 1e6 * dearest, cost)
    held = [int(i) for i in np.flatnonzero(book.closable) if price[i] < np.inf]
    entries = [(i, -np.sign(book.quantity[i]), book.closable[i], book.least[i]) for i in held]
    terms = np.where(book.quantity[:, None] != 0.0, book.X * book.quantity[:, None], 0.0)
    gross = np.abs(np.nan_to_num(terms)).sum(axis=0)
    low, high, _ = wanted(book)
    bounded = np.isfinite(np.stack([low, high]))[:, : book.X.shape[1]].any(axis=0)
    bounded |= not bounded.any()
    for i in hedges:
        if not known[i] or not price[i] < np.inf:
            continue
        # No more is ever of use than what outweighs all that is held in some measure.
        moved = bounded & (np.abs(book.X[i]) > 0.0)
        most = np.ceil(np.max(gross[moved] / np.abs(book.X[i][moved]), initial=1.0))
        way = np.sign(book.quantity[i]) or 1.0
        ways = (1.0,) if i in buys else (-way, way)
        entries += [(i, sign, most, 0.0) for sign in ways]
    where = np.array([e[0] for e in entries], dtype=np.int64)
    sign, most, least = (np.array([e[k] for e in entries], dtype=np.float64) for k in (1, 2, 3))
    rank = (1.0 + np.arange(len(entries))) / max(1, len(entries))
    smallest = float(priced[priced > 0.0].min(initial=np.inf))
    smallest = smallest if smallest < np.inf else 1.0
    return Steps(where, sign, most, least, price[where] + TIE * smallest * rank)


def closing(book: Book, steps: Steps) -> NDArray[np.bool_]:
    """(V,) the steps that together close all that can be closed."""
    first = np.zeros(len(steps.most), dtype=bool)
    first[: int(np.isin(np.flatnonzero(book.closable), steps.instrument).sum())] = True
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


def rows_of(
    book: Book,
    steps: Steps,
    references: list[FloatArray],
    asked: Mapping[int, Sequence[int]] | None = None,
    strict: bool = False,
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
            weights = tail_weights(book, j - linear, reference)
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
        if (shares & trades_both_ways).any() and not strict:
            continue  # shares cover up to the point where they turn: a row would ask for more
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


def wanted(book: Book) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(M,) lowest and highest value a measure should end at, and what its distance counts in.

    The kernel lets a broken measure stay where it is; one inside its target stays there.
    """
    low, high = np.minimum(book.low, book.before), np.maximum(book.high, book.before)
    low, high = np.fmax(low, book.target_low), np.fmin(high, book.target_high)
    size = np.fmin(np.abs(low), np.abs(high))
    unit = np.where(book.scale > 0.0, book.scale, np.where(size > 0.0, size, 1.0))
    return low, high, unit


def tail_weights(book: Book, tail: int, pnl: FloatArray) -> FloatArray | None:
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


def products(lots: FloatArray, matrix: FloatArray) -> FloatArray:
    """(R,) lots @ matrix, added in the order of the steps: a matrix product's order of additions
    depends on the machine."""
    terms = np.zeros((len(lots) + 1, matrix.shape[1]))
    terms[1:] = lots[:, None] * matrix
    return np.asarray(np.cumsum(terms, axis=0)[-1])
