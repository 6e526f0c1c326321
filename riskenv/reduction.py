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

from riskenv.least_cost import BUDGET, cheapest, judged
from riskenv.lot_search import Book, short_of_cover
from riskenv.selection import ordered_sum

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

UNRESOLVED = "flatten_unresolved"


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
    buys: Sequence[int] = (),
    least: ArrayLike | None = None,
    closable: ArrayLike | None = None,
    orders: bool = False,
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
        hedges: rows that may be traded in any direction; buys: rows that may also be bought.
        least: (n,) lots of positions to close at least (`size_reduction`); closable: (n,) at most,
            what is not held counting for nothing; None = all of it.
        orders: whether `before` and `base_pnl` count working orders, whose fills would be left
            when every position is closed.
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
    to_low, to_high = (np.array(x, dtype=np.float64) for x in (target_low, target_high))
    right, of, until = (np.array(x, dtype=np.int64) for x in (kind, ticker, expiry))
    units = np.array(multiplier, dtype=np.float64)
    floor = np.zeros(n) if least is None else np.array(least, dtype=np.float64)
    most = np.abs(held) if closable is None else np.array(closable, dtype=np.float64)
    if floor.shape == most.shape == held.shape:  # other shapes are refused below
        most = np.minimum(most, np.abs(held))
        floor = np.minimum(floor, most)
    book = Book(
        quantity=held,
        X=np.ascontiguousarray(exposures, dtype=np.float64),
        P=scenarios,
        rows=np.arange(n),
        before=values,
        base_pnl=np.array(base_pnl, dtype=np.float64),
        blocks=np.array(blocks, dtype=np.int64),
        counts=np.array(counts, dtype=np.int64),
        p=float(tail_probability),
        low=np.array(low, dtype=np.float64),
        high=np.array(high, dtype=np.float64),
        target_low=to_low,
        target_high=to_high,
        scale=np.zeros(0),
        least=floor,
        closable=most,
        kind=right,
        ticker=of,
        expiry=until,
        multiplier=units,
        uncovered=np.zeros(0),
        orders=orders,
    )
    _check(book, price)
    book = book._replace(
        scale=_distances(values, to_low, to_high),
        uncovered=uncovered(held, right, of, until, units),
    )
    targeted = np.isfinite(book.target_low) | np.isfinite(book.target_high)
    unknown = tuple(int(j) for j in np.flatnonzero(targeted & ~np.isfinite(values)))
    either, bought = {int(i) for i in hedges}, {int(i) for i in buys}
    total, bound = cheapest(
        book, price, sorted(either | bought), budget, frozenset(bought - either)
    )
    _, after, violation = judged(book, total[None, :])
    resolved = bool(violation[0] <= 0.0) and not unknown
    traded = np.flatnonzero(total)
    if pnl is None:
        after[:, book.X.shape[1] :] = np.nan
    return ReductionPlan(
        trades=ordered(book, total),
        total=total,
        cost=ordered_sum(np.abs(total[traded]) * price[traded]),
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
        "closable": (book.closable.shape, (n,)),
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


def ordered(book: Book, total: FloatArray) -> FloatArray:
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
            allowed, _, violation = judged(book, done + legs)
            if allowed.any():
                break
        hedging = np.array([not closes[group].all() for group in candidates])
        chosen = int(np.lexsort((violation, hedging, ~allowed))[0])
        steps.append(legs[chosen])
        done = done + legs[chosen]
        left = [i for i in left if i not in candidates[chosen]]
    return np.array(steps).reshape(len(steps), len(total))
