"""Reduction plans: bring every breached measure inside its target at least cost, in whole lots.

Positions first, each towards zero; instruments named as hedges in any direction. The plan's steps
are ordered so that the book may stop after each of them, and every step is put to the trust
kernel; where no plan reaches the targets, the one that comes closest says `flatten_unresolved`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riskenv.lot_search import Book, Rows, Steps, judge, multipliers, search, short_of_cover
from riskenv.selection import ordered_sum

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

UNRESOLVED = "flatten_unresolved"

# Nodes of the branch and bound: enough to finish five positions of six lots; a larger book's
# search ends here with the best plan found.
BUDGET = 100_000
_ROUNDS = 300
# Added to a lot's cost, times its rank: equal plans are told apart by it and dearer ones never.
_TIE = 1e-9


@dataclass(frozen=True, eq=False)
class ReductionPlan:
    """Trades that reduce a book's risk, in the order they should be done.

    Attributes:
        trades: (k, n) steps, signed contracts; the book may stop after any of them. A step is
            one instrument, or several where no order of single ones is admissible.
        total: (n,) their sum.
        cost: currency; NaN where a traded instrument's cost is not known.
        resolved: the book ends inside every target.
        reason: "" or "flatten_unresolved".
        after: (M,) measures of the book with `total` done.
        unknown: measures with a target that are Unknown: no trade can be told to reach it.
        violation: what is left: sum over targets of the distance still outside, as a share of
            the distance at the start.
        bound: no plan costs less than this, in currency; NaN where unresolved.
    """

    trades: FloatArray
    total: FloatArray
    cost: float
    resolved: bool
    reason: str
    after: FloatArray
    unknown: tuple[int, ...]
    violation: float
    bound: float


def release_targets(
    before: ArrayLike, low: ArrayLike, high: ArrayLike, release: float
) -> tuple[FloatArray, FloatArray]:
    """(M,) lowest and highest target: `release` times the cap of each broken measure, else none.

    An Unknown measure with a cap has its target, so that a plan says it cannot reach it.

    Example:
        >>> low, high = release_targets([130.0, 5.0], [-100.0, -10.0], [100.0, 10.0], 0.9)
        >>> low.tolist(), high.tolist()
        ([-90.0, -inf], [90.0, inf])
    """
    before, low, high = (np.asarray(x, dtype=np.float64) for x in (before, low, high))
    broken = ~((low <= before) & (before <= high))
    return np.where(broken, release * low, -np.inf), np.where(broken, release * high, np.inf)


def fraction_target(
    before: ArrayLike, measure: int, fraction: float
) -> tuple[FloatArray, FloatArray]:
    """(M,) lowest and highest target that reduce one measure by a fraction of its size.

    "Reduce delta by 30 %" is `fraction_target(before, INDEX["delta"], 0.3)`; the sign may turn,
    the size may not stay above. A billionth of the size is left as room for rounding.

    Raises:
        ValueError: a fraction outside 0 to 1.

    Example:
        >>> low, high = fraction_target([-200.0, 7.0], 0, 0.25)
        >>> [round(float(x), 3) for x in (low[0], high[0])], float(high[1])
        ([-150.0, 150.0], inf)
    """
    if not 0.0 <= fraction <= 1.0:
        raise ValueError(f"fraction: got {fraction!r}; allowed: 0 to 1")
    values = np.asarray(before, dtype=np.float64)
    high = np.full(len(values), np.inf)
    high[measure] = (1.0 - fraction + 1e-9) * abs(values[measure])
    return -high, high


def size_reduction(
    quantity: ArrayLike, ticker: ArrayLike, which: int, fraction: float
) -> FloatArray:
    """(n,) lots to close at least so that each position of a ticker loses `fraction` of its size.

    Parts of a lot are rounded up. To be handed to `plan_reduction` as `least`, which closes more
    where cover or another cap asks for it.

    Raises:
        ValueError: a fraction outside 0 to 1.

    Example:
        >>> size_reduction([-3.0, 2.0, 8.0], [0, 0, 1], which=0, fraction=0.5).tolist()
        [2.0, 1.0, 0.0]
    """
    if not 0.0 <= fraction <= 1.0:
        raise ValueError(f"fraction: got {fraction!r}; allowed: 0 to 1")
    size = np.abs(np.asarray(quantity, dtype=np.float64))
    size = np.where(np.asarray(ticker) == which, size, 0.0)
    return np.minimum(np.ceil(fraction * size - 1e-9), size)


def uncovered(
    quantity: FloatArray,
    kind: IntArray,
    ticker: IntArray,
    expiry: IntArray,
    multiplier: FloatArray,
) -> FloatArray:
    """(n,) units of the underlying sold and not covered, in the ticker and right of each option.

    A short call is covered by shares or by a long call of the ticker that expires no earlier; a
    short put by short shares or such a put; lot for lot, in units of the multiplier. What the
    best assignment leaves is the largest excess of sold over covering units among all that
    expires at or after some date (Hall's theorem; longs that expire later cover more).

    Example:
        >>> kind, ticker = np.array([0, 1, 1]), np.zeros(3, dtype=np.int64)
        >>> expiry, multiplier = np.array([0, 30, 60]), np.array([1.0, 100.0, 100.0])
        >>> uncovered(np.array([150.0, -3.0, 1.0]), kind, ticker, expiry, multiplier).tolist()
        [0.0, 50.0, 50.0]
    """
    out = np.zeros(len(quantity))
    for i in np.flatnonzero((quantity < 0.0) & (kind != 0)):
        units = short_of_cover(quantity, i, kind, ticker, expiry, multiplier)
        group = (ticker == ticker[i]) & (kind == kind[i])
        out[group] = np.maximum(out[group], units)
    return out


def plan_reduction(
    quantity: ArrayLike,
    exposures: ArrayLike,
    pnl: ArrayLike | None,
    *,
    before: ArrayLike,
    base_pnl: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    target_low: ArrayLike,
    target_high: ArrayLike,
    cost: ArrayLike,
    kind: ArrayLike,
    ticker: ArrayLike,
    expiry: ArrayLike,
    multiplier: ArrayLike,
    blocks: ArrayLike = (0, 0, 0, 0),
    counts: ArrayLike = (1, 1, 1),
    tail_probability: float = 0.01,
    hedges: Sequence[int] = (),
    least: ArrayLike | None = None,
    budget: int = BUDGET,
) -> ReductionPlan:
    """The cheapest whole-lot trade that ends inside every target, cut into admissible steps.

    A position moves towards zero and never past it; a remainder of a lot may go with the whole.
    No short is left with less cover than it had, no other measure is worsened past its cap or
    leaves its target. Ties go to positions before hedges, then to the lowest index. What is
    Unknown may only be closed; what costs infinitely much cannot be traded.

    Args:
        quantity: (n,) signed contracts.
        exposures: (n, L) of one contract; pnl: (n, S) of one contract in each scenario, or None.
        before: (M,) measures of the book, L linear ones and then VaR and ES of each horizon and
            the worst gap: M = L + 2 len(counts) + 1. base_pnl: (S,) of the book.
        low, high: (M,) caps; target_low, target_high: (M,) where the book should end; infinite
            where there is none (`release_targets`, `fraction_target`).
        cost: (n,) currency a lot, half a spread and commission; NaN is dearer than all known.
        kind: (n,) 1 call, -1 put, 0 underlying; ticker: (n,) number; expiry: (n,) nanoseconds;
            multiplier: (n,) units of the underlying a lot stands for.
        blocks, counts, tail_probability: of the scenarios, as in `riskenv.admissibility.measure`.
        hedges: rows that may be traded in any direction.
        least: (n,) lots of positions to close at least (`size_reduction`).
        budget: nodes of the search; it is exhaustive where that suffices.

    Raises:
        ValueError: shapes that do not match, or a negative cost.

    Example:
        Two long calls, delta 60 and 50 a lot; the first is cheap to sell. Delta has to fall from
        270 to 150: two of the first, 120 of delta, cost least.

        >>> x, cap = np.array([[60.0], [50.0]]), np.array([200.0, *7 * [np.inf]])
        >>> before = [270.0, *7 * [0.0]]
        >>> low, high = fraction_target(before, measure=0, fraction=0.44)
        >>> plan = plan_reduction(
        ...     [2.0, 3.0], x, None, before=before, base_pnl=[], low=-cap, high=cap,
        ...     target_low=low, target_high=high, cost=[1.0, 2.0], kind=[1, 1], ticker=[0, 0],
        ...     expiry=[9, 9], multiplier=[100.0, 100.0])
        >>> plan.trades.tolist(), plan.cost, plan.resolved, float(plan.after[0])
        ([[-2.0, 0.0]], 2.0, True, 150.0)
    """
    held = np.array(quantity, dtype=np.float64)
    n, values = len(held), np.array(before, dtype=np.float64)
    price = np.array(cost, dtype=np.float64)
    scenarios = np.zeros((n, 0)) if pnl is None else np.ascontiguousarray(pnl, dtype=np.float64)
    caps = [np.array(x, dtype=np.float64) for x in (low, high, target_low, target_high)]
    contract = [np.array(x, dtype=np.int64) for x in (kind, ticker, expiry)]
    units = np.array(multiplier, dtype=np.float64)
    floor = np.zeros(n) if least is None else np.array(least, dtype=np.float64)
    book = Book(
        held, np.ascontiguousarray(exposures, dtype=np.float64), scenarios, np.arange(n), values,
        np.array(base_pnl, dtype=np.float64), np.array(blocks, dtype=np.int64),
        np.array(counts, dtype=np.int64), float(tail_probability), *caps,
        _distances(values, *caps[2:]), np.minimum(floor, np.abs(held)), *contract, units,
        uncovered(held, *contract, units),
    )  # fmt: skip
    _check(book, price)
    targeted = np.isfinite(book.target_low) | np.isfinite(book.target_high)
    unknown = tuple(int(j) for j in np.flatnonzero(targeted & ~np.isfinite(values)))
    total, bound = _cheapest(book, price, sorted({int(i) for i in hedges}), budget)
    _, after, violation = _judged(book, total[None, :])
    resolved = bool(violation[0] <= 0.0) and not unknown
    if pnl is None:
        after[:, book.X.shape[1] :] = np.nan
    return ReductionPlan(
        trades=_ordered(book, total),
        total=total,
        cost=ordered_sum((np.abs(total) * price)[total != 0.0]),
        resolved=resolved,
        reason="" if resolved else UNRESOLVED,
        after=after[0],
        unknown=unknown,
        violation=float(violation[0]),
        bound=bound if resolved else float("nan"),
    )


def _check(book: Book, cost: FloatArray) -> None:
    n, m = len(book.quantity), book.X.shape[1] + 2 * len(book.counts) + 1
    scenarios = (len(book.base_pnl),)
    shapes = {
        "exposures": (book.X.shape[:1], (n,)), "pnl": (book.P.shape, (n, *scenarios)),
        "cost": (cost.shape, (n,)), "kind": (book.kind.shape, (n,)),
        "ticker": (book.ticker.shape, (n,)), "expiry": (book.expiry.shape, (n,)),
        "multiplier": (book.multiplier.shape, (n,)), "least": (book.least.shape, (n,)),
        "blocks": (book.blocks[: len(book.counts) + 1].shape, (len(book.counts) + 1,)),
        "before": (book.before.shape, (m,)), "low": (book.low.shape, (m,)),
        "high": (book.high.shape, (m,)), "target_low": (book.target_low.shape, (m,)),
        "target_high": (book.target_high.shape, (m,)),
    }  # fmt: skip
    for name, (got, allowed) in shapes.items():
        if got != allowed:
            raise ValueError(f"{name}: got shape {got}; allowed: {allowed}")
    if (cost < 0.0).any():
        raise ValueError(f"cost: got {cost[cost < 0.0][0]}; allowed: 0 or more")


def _distances(before: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """(M,) how far each measure is outside its target, 0 inside; NaN where Unknown or none."""
    targeted = (np.isfinite(low) | np.isfinite(high)) & np.isfinite(before)
    outside = np.maximum(np.maximum(low - before, before - high), 0.0)
    return np.where(targeted, outside, np.nan)


def _judged(
    book: Book, trades: FloatArray, start: FloatArray | None = None
) -> tuple[NDArray[np.bool_], FloatArray, FloatArray]:
    """(A,) allowed, (A, M) after and (A,) violation of trades on top of `start`."""
    count, m = len(trades), len(book.before)
    allowed, violation = np.empty(count, dtype=np.bool_), np.empty(count)
    after = np.empty((count, m))
    nothing = np.zeros(len(book.quantity))
    if start is None or not start.any():
        judge(book, nothing, book.before, book.base_pnl, trades, after, allowed, violation)
        return allowed, after, violation
    at = np.empty((1, m))
    judge(book, nothing, book.before, book.base_pnl, start[None, :], at, allowed[:1], violation[:1])
    pnl = book.base_pnl.copy()
    for i in np.flatnonzero(start):
        pnl += start[i] * book.P[i]
    judge(book, start, at[0], pnl, trades, after, allowed, violation)
    return allowed, after, violation


# -- what to trade ------------------------------------------------------------------------------


def _cheapest(
    book: Book, cost: FloatArray, hedges: list[int], budget: int
) -> tuple[FloatArray, float]:
    """(n,) the best trade found and a bound on the cost of any that resolves."""
    n = len(book.quantity)
    if _judged(book, np.zeros((1, n)))[2][0] <= 0.0:
        return np.zeros(n), 0.0
    steps = _steps(book, cost, hedges)
    greedy = _greedy(book, steps, steps.least.copy())
    starts = [np.zeros(len(steps.most)), greedy, np.where(_closing(book, steps), steps.most, 0.0)]
    trades = np.stack([_trade(book, steps, lots) for lots in starts])
    violation = _judged(book, trades)[2]
    spent = np.array([ordered_sum(steps.cost * lots) for lots in starts])
    best = int(np.lexsort((spent, violation))[0])
    lots = starts[best].copy()
    incumbent = np.array([violation[best], spent[best]])
    references = [book.base_pnl] + [_pnl_of(book, t) for t in trades[1:2]]
    rows = _rows(book, steps, references)
    worth = np.zeros(len(steps.most))
    if incumbent[0] > 0.0:
        search(book, rows, steps, worth, 0.0, lots, incumbent, budget)
    if incumbent[0] > 0.0:
        return _trade(book, steps, lots), float("nan")
    constant = multipliers(rows, steps, incumbent[1], _ROUNDS, worth)
    gain = steps.cost - worth
    order = np.argsort(-np.abs(gain) * (steps.most - steps.least), kind="stable")
    arranged = Steps(*(column[order] for column in steps))
    rows = rows._replace(matrix=np.ascontiguousarray(rows.matrix[order]))
    found = lots[order]
    # Trades of equal cost are found too: the tie decides which of them stays.
    search(book, rows, arranged, worth[order], constant, found, incumbent, budget)
    lots[order] = found
    bound = constant + ordered_sum(np.where(gain < 0.0, steps.most, steps.least) * gain)
    return _trade(book, steps, lots), max(0.0, bound / (1.0 + _TIE))


def _steps(book: Book, cost: FloatArray, hedges: list[int]) -> Steps:
    """Closing each position; then, of each hedge, going on from there, and the other way."""
    known = np.isfinite(book.X).all(axis=1) & np.isfinite(book.P).all(axis=1)
    priced = cost[np.isfinite(cost)]
    dearest = float(priced.max(initial=1.0))
    price = np.where(np.isnan(cost), 1e6 * dearest, cost)
    held = [int(i) for i in np.flatnonzero(book.quantity) if price[i] < np.inf]
    entries = [(i, -np.sign(book.quantity[i]), abs(book.quantity[i]), book.least[i]) for i in held]
    gross = np.abs(np.where(book.quantity[:, None] != 0.0, book.X * book.quantity[:, None], 0.0))
    gross = np.nansum(gross, axis=0)
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


def _trade(book: Book, steps: Steps, lots: FloatArray) -> FloatArray:
    trade = np.zeros(len(book.quantity))
    for v in np.flatnonzero(lots):
        trade[steps.instrument[v]] += steps.sign[v] * lots[v]
    return trade


def _pnl_of(book: Book, trade: FloatArray) -> FloatArray:
    pnl = book.base_pnl.copy()
    for i in np.flatnonzero(trade):
        pnl += trade[i] * book.P[i]
    return pnl


def _rows(book: Book, steps: Steps, references: list[FloatArray]) -> Rows:
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
        # Where the kernel lets a broken measure go; a measure stays in its target if it was there.
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
    """(V,) lots that a walk by most violation removed per currency unit arrives at."""
    count, n = len(lots), len(book.quantity)
    every = np.arange(count)
    for _ in range(4 * count):
        start = _trade(book, steps, lots)
        _, after, violation = _judged(book, start[None, :])
        if not 0.0 < violation[0] < np.inf:
            break
        room = steps.most - lots
        sizes = [np.minimum(1.0, room), np.minimum(np.ceil(0.5 * room), room), room]
        for j in np.flatnonzero(book.scale[: book.X.shape[1]] > 0.0):
            x = after[0, j]
            excess = max(book.target_low[j] - x, x - book.target_high[j])
            with np.errstate(divide="ignore", invalid="ignore"):
                fill = np.ceil(excess / np.abs(book.X[steps.instrument, j]) - 1e-9)
            if excess > 0.0:
                sizes.append(np.where(fill < room, fill, room))
        size = np.concatenate(sizes)
        trades = np.zeros((len(size), n))
        where = np.tile(every, len(sizes))
        trades[np.arange(len(size)), steps.instrument[where]] = steps.sign[where] * size
        gain = violation[0] - _judged(book, trades, start)[2]
        gain[size <= 0.0] = -np.inf
        if not gain.max(initial=-np.inf) > 1e-12:
            break
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.where(gain > 1e-12, gain / (steps.cost[where] * size), -np.inf)
        among = np.flatnonzero(rate >= (1.0 - 1e-9) * rate.max())
        chosen = int(among[np.argmax(gain[among])])
        lots[where[chosen]] += size[chosen]
    return lots


# -- in which order -----------------------------------------------------------------------------


def _ordered(book: Book, total: FloatArray) -> FloatArray:
    """(k, n) steps that sum to total, every prefix admissible; positions before hedges, then the
    one that leaves the least violation.

    Legs that no order makes admissible one by one go together.
    """
    closes = (total * book.quantity < 0.0) & (np.abs(total) <= np.abs(book.quantity))
    left = [int(i) for i in np.flatnonzero(total)]
    done, steps = np.zeros(len(total)), []
    while left:
        groups = [[i] for i in left]
        for candidates in (groups, [[i, k] for i in left for k in left if i < k], [left]):
            legs = np.zeros((len(candidates), len(total)))
            for row, group in zip(legs, candidates, strict=True):
                row[group] = total[group]
            allowed, _, violation = _judged(book, done + legs)
            if allowed.any():
                break
        hedging = np.array([not closes[group].all() for group in candidates])
        chosen = int(np.lexsort((violation, hedging, ~allowed))[0])
        steps.append(legs[chosen])
        done = done + legs[chosen]
        left = [i for i in left if i not in candidates[chosen]]
    return np.array(steps).reshape(len(steps), len(total))
