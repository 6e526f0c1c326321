"""Reduction plans against trying everything, and what holds for every plan whatever the book."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskenv.reduction import (
    ReductionPlan,
    fraction_target,
    plan_reduction,
    release_targets,
    size_reduction,
    uncovered,
)

from .oracle import tail
from .worlds import FAST

L, H = 3, 3
M = L + 2 * H + 1
DAYS, JUMPS = 20, 2
S = H * DAYS + JUMPS
P = 0.12  # of 20 outcomes: two and a part of the third
BLOCKS, COUNTS = np.array([0, 20, 40, 60]), np.array([3, 3, 3])
INF = np.inf

FEW = settings(FAST, max_examples=60)


@dataclass(frozen=True)
class Book:
    """A book with its caps and targets; `plan` plans it, `verdicts` tries trades on it."""

    quantity: np.ndarray
    X: np.ndarray
    pnl: np.ndarray
    cost: np.ndarray
    kind: np.ndarray
    ticker: np.ndarray
    expiry: np.ndarray
    multiplier: np.ndarray
    low: np.ndarray
    high: np.ndarray
    target_low: np.ndarray
    target_high: np.ndarray
    hedges: tuple[int, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def before(self) -> np.ndarray:
        return measures(self, self.quantity)

    def plan(self) -> ReductionPlan:
        held = self.quantity != 0.0
        return plan_reduction(
            self.quantity, self.X, self.pnl, before=self.before,
            base_pnl=self.quantity[held] @ self.pnl[held], low=self.low, high=self.high,
            target_low=self.target_low, target_high=self.target_high, cost=self.cost,
            kind=self.kind, ticker=self.ticker, expiry=self.expiry, multiplier=self.multiplier,
            blocks=BLOCKS, counts=COUNTS, tail_probability=P, hedges=self.hedges, **self.options,
        )  # fmt: skip


def measures(book: Book, quantity: np.ndarray) -> np.ndarray:
    """(M,) from the definitions."""
    held = quantity != 0.0
    pnl = quantity[held] @ book.pnl[held]
    tails: list[float] = []
    for h in range(H):
        block = pnl[h * DAYS : (h + 1) * DAYS]
        tails += (np.nan, np.nan) if np.isnan(block).any() else tail(block, P)
    gap = pnl[H * DAYS :]
    gap_loss = np.nan if np.isnan(gap).any() else min(0.0, gap.min())
    return np.array([*(quantity[held] @ book.X[held]), *tails, gap_loss])


def cover_missing(book: Book, quantity: np.ndarray) -> dict[tuple[int, int], float]:
    """(ticker, right) -> units short without cover, matched one by one, latest short first."""
    missing: dict[tuple[int, int], float] = {}
    for right in (1, -1):
        for ticker in set(book.ticker.tolist()):
            mine = (book.ticker == ticker) & (book.kind == right)
            units = quantity * book.multiplier
            shares = max(0.0, right * units[(book.ticker == ticker) & (book.kind == 0)].sum())
            longs = [[book.expiry[i], units[i]] for i in np.flatnonzero(mine & (quantity > 0))]
            bare = 0.0
            shorts = np.flatnonzero(mine & (quantity < 0))
            for i in sorted(shorts, key=lambda i: -book.expiry[i]):
                need = -units[i]
                # Any long that lives long enough will do: what is still to come expires sooner.
                for long in longs:
                    if long[0] >= book.expiry[i]:
                        used = min(need, long[1])
                        long[1] -= used
                        need -= used
                bare += need
            missing[ticker, right] = max(0.0, bare - shares)
    return missing


def broken_rules(book: Book, trade: np.ndarray, slack: float = 1e-9) -> list[str]:
    """Why a trade may not be done: cap by cap, cover, steps away from zero. [] = it may."""
    before, after = book.before, measures(book, book.quantity + trade)
    wrong = []
    for j in range(M):
        b, x, low, high, room = (
            before[j],
            after[j],
            book.low[j],
            book.high[j],
            slack * (1 + abs(before[j])),
        )
        if np.isnan(b) or (low == -INF and high == INF):
            continue
        if not (min(low, b) - room <= x <= max(high, b) + room):
            wrong.append(f"measure {j}: {b} -> {x}, cap [{low}, {high}]")
    had, has = cover_missing(book, book.quantity), cover_missing(book, book.quantity + trade)
    wrong += [
        f"cover of {key}: {had[key]} -> {has[key]}" for key in had if has[key] > had[key] + 1e-6
    ]
    for i in set(range(len(trade))) - set(book.hedges):
        if not (trade[i] * book.quantity[i] <= 0.0 and abs(trade[i]) <= abs(book.quantity[i])):
            wrong.append(f"instrument {i}: {book.quantity[i]} traded {trade[i]}")
        if trade[i] != np.trunc(trade[i]) and trade[i] != -book.quantity[i]:
            wrong.append(f"instrument {i}: {trade[i]} is no whole lot and not all of it")
    return wrong


def shortfall(book: Book, trade: np.ndarray, slack: float = 0.0) -> float:
    """Sum over targets of the distance still outside as a share of that at the start."""
    before, after = book.before, measures(book, book.quantity + trade)
    total = 0.0
    for b, x, low, high in zip(before, after, book.target_low, book.target_high, strict=True):
        if low == -INF and high == INF:
            continue
        start, end = max(low - b, b - high, 0.0), max(low - x, x - high, 0.0)
        if end > slack * (1.0 + abs(b)):
            total += end / start if start > 0.0 else INF
    return total


def everything(book: Book, reach: int = 4) -> tuple[float, float]:
    """(least violation, least cost at that) over every whole-lot trade; hedges within `reach`."""
    levels = []
    for i, q in enumerate(book.quantity):
        if i in book.hedges:
            levels.append(np.arange(-reach, reach + 1.0))
        else:
            lots = np.unique([*np.arange(np.floor(abs(q)) + 1.0), abs(q)])
            levels.append(-np.sign(q) * lots)
    best = (INF, INF)
    trades = np.array(list(product(*levels)))
    costs = np.abs(trades) @ book.cost
    for k in np.argsort(costs, kind="stable"):
        if best[0] == 0.0:
            break
        violation = shortfall(book, trades[k], 1e-9)
        if violation < best[0] - 1e-9 and not broken_rules(book, trades[k]):
            best = (violation, costs[k])
    return best


def random_book(rng: np.random.Generator, n: int, lots: int, tails: bool, hedge: bool) -> Book:
    kind = rng.choice([1, -1], n)
    kind[0] = 0
    quantity = rng.integers(-lots, lots + 1, n).astype(float)
    if rng.random() < 0.2:
        quantity[-1] += 0.5
    multiplier = np.where(kind == 0, 1.0, 2.0)
    X = rng.normal(0.0, 10.0, (n, L)) * multiplier[:, None]
    X[0] = [10.0, 0.0, 0.0]
    pnl = 4.0 * rng.normal(0.0, 1.0, (n, S)) + rng.normal(0.0, 5.0, S)
    cost = np.round(rng.uniform(0.2, 3.0, n), 2)
    book = Book(
        quantity, X, pnl, cost, kind, rng.integers(0, 2, n), rng.integers(1, 4, n), multiplier,
        np.full(M, -INF), np.full(M, INF), np.full(M, -INF), np.full(M, INF),
        (0,) if hedge else (),
    )  # fmt: skip
    before, caps = np.abs(book.before), rng.uniform(0.4, 1.6, M)
    capped = rng.random(M) < 0.5
    capped[L:] &= tails
    cap = np.where(capped, caps * before + 0.1, INF)
    low, high = -cap, np.where(np.arange(M) < L, cap, INF)
    targets = release_targets(book.before, low, high, 0.9)
    return replace(book, low=low, high=high, target_low=targets[0], target_high=targets[1])


@st.composite
def books(draw: st.DrawFn, hedge: bool = False, most: int = 4, lots: int = 4) -> Book:
    rng = np.random.default_rng(draw(st.integers(0, 100_000)))
    return random_book(
        rng, draw(st.integers(2, most)), draw(st.integers(1, lots)), draw(st.booleans()), hedge
    )


def prefixes(plan: ReductionPlan) -> np.ndarray:
    return np.cumsum(plan.trades, axis=0)


def check_plan(book: Book, plan: ReductionPlan) -> None:
    """What holds for every plan."""
    assert broken_rules(book, plan.total) == []
    np.testing.assert_array_equal(plan.trades.sum(axis=0), plan.total)
    freely = replace(book, hedges=tuple(range(len(book.quantity))))
    for prefix in prefixes(plan):
        assert broken_rules(freely, prefix) == []
    assert plan.cost == pytest.approx(np.abs(plan.total) @ book.cost)
    np.testing.assert_allclose(plan.after, measures(book, book.quantity + plan.total), atol=1e-6)
    assert plan.reason == ("" if plan.resolved else "flatten_unresolved")
    assert plan.resolved == (shortfall(book, plan.total, 1e-9) == 0.0)
    if plan.resolved:
        assert plan.bound <= plan.cost * (1.0 + 1e-9)


def check_against_everything(book: Book) -> None:
    plan = book.plan()
    violation, cost = everything(book)
    check_plan(book, plan)
    assert plan.resolved == (violation == 0.0)
    assert plan.violation <= violation + 1e-7
    if plan.resolved:
        assert plan.cost <= 1.02 * cost + 1e-9


@FEW
@given(books(most=5))
def test_a_small_books_plan_costs_what_the_best_of_all_trades_costs(book: Book) -> None:
    check_against_everything(book)


@FEW
@given(books(hedge=True))
def test_a_small_books_plan_with_a_hedge_costs_no_more_than_the_best_within_reach(
    book: Book,
) -> None:
    check_against_everything(book)


@pytest.mark.slow
@settings(FAST, max_examples=1000)
@given(books(most=5, lots=6))
def test_five_positions_of_six_lots(book: Book) -> None:
    check_against_everything(book)


@FEW
@given(books(most=4), st.integers(0, M - 1), st.floats(0.05, 0.5))
def test_what_cannot_be_reached_is_flagged_and_missed_by_least(
    book: Book, measure: int, by: float
) -> None:
    """A target away from zero on one measure may ask for more than closing can do."""
    low, high = book.target_low.copy(), book.target_high.copy()
    b = book.before[measure]
    low[measure], high[measure] = sorted((b * (1.0 + by) + 0.1, b * (1.0 + 3.0 * by) + 0.2))
    check_against_everything(replace(book, target_low=low, target_high=high))


@FEW
@given(books(most=4), st.integers(0, 3))
def test_what_may_not_be_traded_stays_and_the_rest_does_what_it_can(book: Book, i: int) -> None:
    i %= len(book.quantity)
    cost = book.cost.copy()
    cost[i] = INF
    plan = replace(book, cost=cost).plan()
    without = replace(book, quantity=book.quantity.copy())
    assert plan.total[i] == 0.0
    assert broken_rules(without, plan.total) == []
    assert plan.violation <= max(shortfall(book, np.zeros(len(cost))), 0.0) + 1e-9


@FEW
@given(books(hedge=True, most=12, lots=30))
def test_a_larger_books_plan_keeps_every_rule(book: Book) -> None:
    check_plan(book, book.plan())


@FEW
@given(books(most=6))
def test_a_book_inside_its_targets_is_left_alone(book: Book) -> None:
    before = book.before
    inside = replace(
        book, target_low=np.minimum(book.target_low, before),
        target_high=np.maximum(book.target_high, before),
    )  # fmt: skip
    plan = inside.plan()
    assert plan.trades.shape == (0, len(book.quantity))
    assert not plan.total.any()
    assert (plan.cost, plan.resolved, plan.reason, plan.bound) == (0.0, True, "", 0.0)


@FEW
@given(books(most=4), st.integers(0, 1000))
def test_the_order_of_the_positions_changes_no_cost(book: Book, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(book.quantity))
    columns = ("quantity", "X", "pnl", "cost", "kind", "ticker", "expiry", "multiplier")
    other = replace(book, **{name: getattr(book, name)[order] for name in columns})
    first, second = book.plan(), other.plan()
    assert first.resolved == second.resolved
    assert first.violation == pytest.approx(second.violation, abs=1e-7)
    assert first.cost == pytest.approx(second.cost, rel=1e-7)


@FEW
@given(books(most=4), st.integers(-8, 8))
def test_the_unit_of_the_measures_changes_nothing(book: Book, power: int) -> None:
    unit = 2.0**power
    columns = ("X", "pnl", "low", "high", "target_low", "target_high")
    scaled = replace(book, **{name: unit * getattr(book, name) for name in columns})
    np.testing.assert_array_equal(book.plan().total, scaled.plan().total)


@FEW
@given(books(most=6, lots=9), st.floats(0.0, 1.0))
def test_a_size_reduction_closes_at_least_its_share(book: Book, fraction: float) -> None:
    least = size_reduction(book.quantity, book.ticker, 0, fraction)
    plan = replace(book, options={"least": least}).plan()
    check_order_only = replace(book, hedges=tuple(range(len(book.quantity))))
    for prefix in prefixes(plan):
        assert broken_rules(check_order_only, prefix) == []
    if plan.resolved:
        assert (np.abs(plan.total) >= least).all()


# -- by hand ------------------------------------------------------------------------------------


def by_hand(**changes: Any) -> Book:
    """Three calls, delta 50 each and 10 lots long: 1,500 of delta under a cap of 1,000."""
    n = len(changes.get("quantity", [0, 0, 0]))
    high = np.full(M, INF)
    high[0] = 1000.0
    base: dict[str, Any] = {
        "quantity": [10.0] * n, "X": np.tile([50.0, 0.0, 0.0], (n, 1)), "pnl": np.zeros((n, S)),
        "cost": [1.0] * n, "kind": [1] * n, "ticker": [0] * n, "expiry": [9] * n,
        "multiplier": [100.0] * n, "low": -high, "high": high, "target_low": -high,
        "target_high": high,
    }  # fmt: skip
    base.update(changes)
    arrays = {k: np.asarray(v) if k not in ("hedges", "options") else v for k, v in base.items()}
    return Book(**arrays)


def test_ties_go_to_the_lowest_index() -> None:
    assert by_hand().plan().total.tolist() == [-10.0, 0.0, 0.0]


def test_the_cheapest_per_delta_goes_first() -> None:
    assert by_hand(cost=[2.0, 1.0, 3.0]).plan().total.tolist() == [0.0, -10.0, 0.0]


@pytest.mark.parametrize(
    ("share_cost", "total"),
    [(0.001, [-500.0, 0.0, 0.0]), (0.02, [0.0, -10.0, 0.0]), (1.0, [0.0, -10.0, 0.0])],
)
def test_a_hedge_is_used_only_where_it_is_cheaper(share_cost: float, total: list[float]) -> None:
    """500 shares cost 0.5, 10 and 500; ten lots of the call cost 10: a tie goes to the position."""
    book = by_hand(
        quantity=[0.0, 20.0, 10.0], X=[[1.0, 0, 0], [50.0, 0, 0], [50.0, 0, 0]], kind=[0, 1, 1],
        multiplier=[1.0, 100.0, 100.0], cost=[share_cost, 1.0, 2.0], hedges=(0,),
    )  # fmt: skip
    assert book.plan().total.tolist() == total


def test_a_hedge_makes_possible_what_positions_cannot() -> None:
    book = by_hand(
        quantity=[0.0, 30.0], X=[[1.0, 0, 0], [50.0, 0, 0]], kind=[0, 1], cost=[0.01, INF],
        multiplier=[1.0, 100.0],
    )  # fmt: skip
    alone, hedged = book.plan(), replace(book, hedges=(0,)).plan()
    assert (alone.resolved, alone.reason, alone.trades.shape) == (
        False,
        "flatten_unresolved",
        (0, 2),
    )
    assert (hedged.resolved, hedged.total.tolist()) == (True, [-500.0, 0.0])


# A short call of expiry 5 beside what may cover it, which is cheap to sell and long in delta.
COVERS = [
    ("a long call of the same expiry", 1, 5, 0, 100.0, True),
    ("a longer one", 1, 9, 0, 100.0, True),
    ("a shorter one", 1, 4, 0, 100.0, False),
    ("a put", -1, 9, 0, 100.0, False),
    ("a call on another ticker", 1, 9, 1, 100.0, False),
    ("a smaller contract", 1, 9, 0, 10.0, True),
    ("shares", 0, 0, 0, 100.0, True),
    ("shares of another ticker", 0, 0, 1, 100.0, False),
]


@pytest.mark.parametrize(
    ("kind", "expiry", "ticker", "multiplier", "covers"),
    [case[1:] for case in COVERS], ids=[case[0] for case in COVERS],
)  # fmt: skip
def test_what_covers_a_short_is_not_sold_before_it(
    kind, expiry, ticker, multiplier, covers
) -> None:
    """Row 0 is sold cheaply unless it covers row 1's short; row 2 is the dear alternative."""
    book = by_hand(
        quantity=[4.0, -4.0, 10.0], X=[[100.0, 0, 0], [0.0, 0, 0], [100.0, 0, 0]],
        kind=[kind, 1, -1], expiry=[expiry, 5, 9], ticker=[ticker, 0, 0],
        multiplier=[multiplier, 100.0, 100.0], cost=[0.1, 50.0, 5.0],
    )  # fmt: skip
    plan = book.plan()
    assert plan.resolved
    assert (plan.total[0] == 0.0) == covers
    assert cover_missing(book, book.quantity + plan.total) == cover_missing(book, book.quantity)


def test_a_short_is_bought_back_before_its_cover_is_sold() -> None:
    book = by_hand(
        quantity=[10.0, -10.0], X=[[120.0, 0, 0], [0.0, 0, 0]], expiry=[9, 5],
        low=np.full(M, -INF), target_low=np.full(M, -INF),
    )  # fmt: skip
    plan = replace(book, target_high=np.where(np.arange(M) == 0, 650.0, INF)).plan()
    assert plan.resolved
    assert plan.trades[:, 1].tolist() == [-plan.total[0], 0.0]


def test_legs_that_only_pass_together_are_one_step() -> None:
    """Vega leaves in pairs: each leg alone would break gamma's cap, from one side or the other."""
    high = np.array([100.0, 10.0, *(M - 2) * [INF]])
    book = by_hand(
        quantity=[5.0, 5.0], X=[[50.0, 20.0, 0], [50.0, -20.0, 0]], high=high, low=-high,
        target_high=high, target_low=-high,
    )  # fmt: skip
    plan = book.plan()
    assert plan.resolved
    assert plan.trades.tolist() == [[-4.0, -4.0]]


def test_a_fraction_of_a_lot_goes_only_with_the_whole() -> None:
    high = np.where(np.arange(M) == 0, 60.0, INF)
    plan = by_hand(quantity=[2.5], target_high=high).plan()
    assert plan.total.tolist() == [-2.0]
    plan = by_hand(quantity=[2.5], target_high=np.where(np.arange(M) == 0, 20.0, INF)).plan()
    assert plan.total.tolist() == [-2.5]


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5, 1.0])
def test_delta_is_reduced_by_a_fraction(fraction: float) -> None:
    book = by_hand()
    low, high = fraction_target(book.before, 0, fraction)
    plan = replace(book, target_low=low, target_high=high).plan()
    assert plan.resolved
    assert plan.after[0] == pytest.approx((1.0 - fraction) * 1500.0)


# -- what is Unknown ------------------------------------------------------------------------------


def test_an_unknown_measure_is_no_target_and_is_named() -> None:
    X = np.tile([50.0, 1.0, 0.0], (3, 1))
    X[2] = np.nan
    plan = by_hand(X=X).plan()
    assert plan.unknown == (0,)
    assert (plan.resolved, plan.reason) == (False, "flatten_unresolved")


def test_an_instrument_that_is_unknown_and_not_held_is_never_used() -> None:
    book = by_hand(
        quantity=[0.0, 30.0], X=[[np.nan] * 3, [50.0, 0, 0]], kind=[0, 1], cost=[0.0, 1.0],
        hedges=(0,),
    )  # fmt: skip
    plan = book.plan()
    assert (plan.resolved, plan.total.tolist()) == (True, [0.0, -10.0])


@FEW
@given(books(hedge=True, most=4), st.integers(0, 1000))
def test_with_anything_unknown_a_plan_only_moves_towards_zero(book: Book, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, pnl = book.X.copy(), book.pnl.copy()
    held = np.flatnonzero(book.quantity)
    if not len(held):
        return
    i = rng.choice(held)
    X[i, rng.random(L) < 0.5] = np.nan
    pnl[i, rng.random(S) < 0.02] = np.nan
    book = replace(book, X=X, pnl=pnl)
    plan, linear = book.plan(), np.isnan(book.before[:L]).any()
    targeted = np.isfinite(book.target_low) | np.isfinite(book.target_high)
    assert set(plan.unknown) == set(np.flatnonzero(targeted & np.isnan(book.before)))
    assert plan.resolved <= (not plan.unknown)
    if linear:
        assert broken_rules(replace(book, hedges=()), plan.total) == []
    assert plan.total[i] * book.quantity[i] <= 0.0


def test_a_cost_that_is_not_known_is_the_last_resort() -> None:
    plan = by_hand(cost=[np.nan, 1.0, 1.0]).plan()
    assert plan.total.tolist() == [0.0, -10.0, 0.0]
    only = by_hand(cost=[np.nan, INF, INF]).plan()
    assert (only.resolved, only.total.tolist()) == (True, [-10.0, 0.0, 0.0])
    assert np.isnan(only.cost)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cost": [1.0, -2.0, 1.0]}, r"cost: got -2.0; allowed: 0 or more"),
        ({"kind": [1, 1]}, r"kind: got shape \(2,\); allowed: \(3,\)"),
        ({"low": [1.0]}, r"low: got shape \(1,\); allowed: \(10,\)"),
        ({"options": {"least": [1.0]}}, r"least: got shape \(1,\); allowed: \(3,\)"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    book = by_hand()
    with pytest.raises(ValueError, match=message):
        plan_reduction(
            book.quantity, book.X, book.pnl, before=book.before, base_pnl=np.zeros(S),
            blocks=BLOCKS, counts=COUNTS, tail_probability=P,
            **{
                name: getattr(book, name)
                for name in ("low", "high", "target_low", "target_high", "cost", "kind",
                             "ticker", "expiry", "multiplier")
            } | {k: v for k, v in change.items() if k != "options"} | change.get("options", {}),
        )  # fmt: skip


@FEW
@given(books(most=8))
def test_cover_counted_by_expiry_is_cover_matched_one_by_one(book: Book) -> None:
    rows = (book.kind, book.ticker, book.expiry, book.multiplier)
    counted = uncovered(book.quantity, *rows)
    matched = cover_missing(book, book.quantity)
    for i in np.flatnonzero(book.kind):
        assert counted[i] == pytest.approx(matched[int(book.ticker[i]), int(book.kind[i])])
