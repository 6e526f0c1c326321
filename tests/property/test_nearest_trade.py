"""The nearest trade: against an independent solver, brute force, and the exact estimators.

The independent solver is the least distance program of Lawson and Hanson (1974, Solving Least
Squares Problems, chapter 23), by non-negative least squares from scipy.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

from riskenv.nearest_trade import Projected, TailBlocks, project
from riskenv.var_calculator import historical_var, tail_count
from riskenv.whole_lots import whole_lots

from .worlds import FAST

NAN, INF = np.nan, np.inf
seeds = st.integers(0, 2**32 - 1)


class Problem(NamedTuple):
    """The arguments of `project`, in its order."""

    target: np.ndarray
    exposures: np.ndarray
    before: np.ndarray
    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray
    box_low: np.ndarray
    box_high: np.ndarray
    tail: TailBlocks | None = None


def problem(seed: int, d: int, measures: int, broken: float = 0.2) -> Problem:
    """Caps of which so many are broken, some measures uncapped on a side or both, some legs that
    do nothing to a measure, some without bounds."""
    rng = np.random.default_rng(seed)
    exposures = rng.normal(size=(d, measures)) * 10.0 ** rng.uniform(-3, 3, measures)
    exposures[rng.random((d, measures)) < 0.2] = 0.0
    size = np.abs(exposures).sum(axis=0) + 1.0
    high, low = size * rng.uniform(0.1, 2.0, measures), -size * rng.uniform(0.1, 2.0, measures)
    share = rng.uniform(-0.99, 0.99, measures)
    outside = rng.random(measures) < broken
    share[outside] = rng.choice([-1.0, 1.0], outside.sum()) * rng.uniform(1.0, 2.0, outside.sum())
    before = np.where(share < 0.0, -share * low, share * high)
    low[rng.random(measures) < 0.15], high[rng.random(measures) < 0.15] = -INF, INF
    box = rng.uniform(0.2, 5.0, (2, d))
    box[rng.random((2, d)) < 0.2] = INF
    target = 3.0 * rng.normal(size=d)
    return Problem(target, exposures, before, low, high, rng.uniform(0.1, 5.0, d), -box[0], box[1])


def with_tail(p: Problem, seed: int, horizons: int, scenarios: int, count: int) -> Problem:
    """Scenarios with common factors and fat tails, caps on ES that the book may have broken."""
    rng = np.random.default_rng(seed + 1)
    factors = rng.normal(size=(3, horizons * scenarios))
    own = 0.5 * rng.standard_t(4, size=(len(p.target), horizons * scenarios))
    pnl = rng.normal(size=(len(p.target), 3)) @ factors + own
    base = rng.choice([0.0, 1.0]) * (rng.normal(size=3) @ factors)
    tail_probability = (count - 0.4) / scenarios  # the last atom counts in part
    low = -rng.uniform(0.5, 6.0, horizons)
    blocks = scenarios * np.arange(horizons + 1)
    assert tail_count(scenarios, tail_probability) == count
    counts = np.full(horizons, count)
    return p._replace(tail=TailBlocks(pnl, base, blocks, counts, tail_probability, low))


def half_spaces(p: Problem) -> tuple[np.ndarray, np.ndarray]:
    """G t >= h for every cap, bound and, of at most two scenarios, every possible tail."""
    d = len(p.target)
    fall = np.where(p.before < p.low, 0.0, p.low - p.before)
    rise = np.where(p.before > p.high, 0.0, p.high - p.before)
    G = [p.exposures.T, -p.exposures.T, np.eye(d), -np.eye(d)]
    h = [fall, -rise, p.box_low, -p.box_high]
    if p.tail is not None:
        for k, level in enumerate(least_shortfall(p)):
            block = np.arange(p.tail.blocks[k], p.tail.blocks[k + 1])
            share = 1.0 / (len(block) * p.tail.p)
            for a, b in itertools.permutations(block, 2):
                G.append(share * p.tail.pnl[:, [a]].T + (1.0 - share) * p.tail.pnl[:, [b]].T)
                base = share * p.tail.base_pnl[a] + (1.0 - share) * p.tail.base_pnl[b]
                h.append(np.array([level - base]))
    return np.concatenate(G), np.concatenate(h)


def independent(p: Problem) -> np.ndarray:
    """The nearest trade by the least distance program; nothing where only nothing is allowed."""
    G, h = half_spaces(p)
    row = np.isfinite(h) & G.any(axis=1)
    root = np.sqrt(p.weight)
    G, h = G[row] / root, h[row] - G[row] @ p.target
    length = np.linalg.norm(G, axis=1)
    G, h = G / length[:, None], h / length
    size = np.abs(h).max()
    system, unit = np.vstack([G.T, h / size]), np.eye(len(root) + 1)[-1]
    residual = system @ nnls(system, unit, maxiter=100_000)[0] - unit
    if abs(residual[-1]) < 1e-10:
        return np.zeros(len(root))
    return p.target - size * residual[:-1] / residual[-1] / root


def shortfalls(p: Problem, trade: np.ndarray) -> list[tuple[float, float]]:
    """(VaR, ES) of each horizon, and (worst, worst) of the jumps if there are any, exactly."""
    tail, pnl = p.tail, p.tail.base_pnl.copy()
    for lots, row in zip(trade, tail.pnl, strict=True):
        pnl = pnl + lots * row if lots else pnl
    ends = tail.blocks[: len(tail.counts) + 1]
    found = [historical_var(pnl[a:b], tail.p) for a, b in itertools.pairwise(ends)]
    worst = min(0.0, pnl[ends[-1] :].min(initial=0.0))
    return [*found, (worst, worst)]


def least_shortfall(p: Problem) -> np.ndarray:
    """(H,) what the shortfall of each horizon must not fall below: its cap, or what it is now."""
    now = [shortfall for _, shortfall in shortfalls(p, 0.0 * p.target)]
    return np.minimum(p.tail.low, now[:-1])


def allowed(p: Problem, trade: np.ndarray) -> bool:
    """The rule of DESIGN section 6, in plain Python, exactly."""
    change = np.zeros(len(p.before))
    for lots, row in zip(trade, p.exposures, strict=True):
        change = change + lots * row if lots else change
    for b, c, low, high in zip(p.before, change, p.low, p.high, strict=True):
        down = b > high and c <= 0.0 and b + c >= low
        up = b < low and c >= 0.0 and b + c <= high
        if not (low <= b + c <= high or down or up):
            return False
    in_box = bool(((p.box_low <= trade) & (trade <= p.box_high)).all())
    if p.tail is None or not in_box:
        return in_box
    before, after = shortfalls(p, 0.0 * trade), shortfalls(p, trade)
    nothing = np.full(len(p.tail.low), -INF)
    var_low = nothing if p.tail.var_low is None else p.tail.var_low
    caps = [*zip(var_low, p.tail.low, strict=True), (p.tail.gap_low, p.tail.gap_low)]
    for was, now, cap in zip(before, after, caps, strict=True):
        for b, x, low in zip(was, now, cap, strict=True):
            if not (x >= low or (b < low and x >= b)):
                return False
    return True


def off(p: Problem, a: np.ndarray, b: np.ndarray) -> float:
    """Distance in the norm of the problem, relative to the target's size in it."""
    size = math.sqrt((p.weight * p.target**2).sum())
    return math.sqrt((p.weight * (a - b) ** 2).sum()) / size


def same_bytes(a: Projected, b: Projected, scale: float = 1.0) -> bool:
    same = (scale * a.trade).tobytes() == b.trade.tobytes()
    return same and (a.status, a.iterations) == (b.status, b.iterations)


ONE = np.ones(2)
SUM = Problem(
    np.array([3.0, 2.0]), np.ones((2, 1)), np.zeros(1), np.array([-2.0]), np.array([2.0]),
    ONE, -9.0 * ONE, 9.0 * ONE,
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "trade", "status"),
    [
        ({}, [1.5, 0.5], "projected"),
        ({"weight": [1.0, 4.0]}, [0.6, 1.4], "projected"),
        ({"weight": [1.0, 0.0]}, [3.0, -1.0], "projected"),  # what costs nothing moves
        ({"weight": [0.0, 0.0]}, [1.5, 0.5], "projected"),
        ({"box_high": [9.0, 0.25]}, [1.75, 0.25], "projected"),
        ({"box_low": [2.0, -9.0]}, [2.0, 0.0], "projected"),  # 0 is not in the box
        ({"target": [1.0, 1.0]}, [1.0, 1.0], "feasible"),  # on the cap
        ({"before": [5.0], "target": [1.0, 0.0]}, [0.5, -0.5], "projected"),  # no further outside
        ({"before": [5.0], "target": [-9.0, 0.0]}, [-8.0, 1.0], "projected"),  # nor past the other
        ({"before": [5.0], "target": [-1.0, 0.0]}, [-1.0, 0.0], "feasible"),  # better, not good
        ({"before": [-5.0], "target": [-1.0, 0.0]}, [-0.5, 0.5], "projected"),
        ({"high": [INF], "low": [-INF], "before": [NAN]}, [3.0, 2.0], "feasible"),
        ({"exposures": [[0.0], [0.0]], "before": [5.0]}, [3.0, 2.0], "feasible"),
        ({"exposures": [[1.0], [0.0]]}, [2.0, 2.0], "projected"),
        ({"box_low": [9.5, 0.0]}, [0.0, 0.0], "infeasible"),  # an empty box: nothing
        ({"box_low": [8.0, 0.0]}, [0.0, 0.0], "infeasible"),  # a box outside the caps: nothing
        # Up and down both forbidden, exactly: what fits by its own arithmetic is nothing.
        ({"low": [0.0], "high": [0.0], "target": [0.1, 0.7]}, [0.0, 0.0], "infeasible"),
    ],
)
def test_cases_worked_by_hand(change: dict, trade: list, status: str) -> None:
    p = SUM._replace(**{name: np.array(value) for name, value in change.items()})
    found = project(*p)
    assert found.status == status
    np.testing.assert_allclose(found.trade, trade, rtol=0.0, atol=1e-9 if min(p.weight) else 1e-5)


@FAST
@given(seeds, st.integers(1, 10), st.integers(1, 16), st.sampled_from([0.0, 0.2, 0.6]))
def test_the_projection_is_that_of_an_independent_solver(
    seed: int, d: int, measures: int, broken: float
) -> None:
    p = problem(seed, d, measures, broken)
    found, wanted = project(*p), independent(p)
    assert allowed(p, found.trade)
    assert found.status in ("feasible", "projected", "infeasible")
    # Where no trade but nothing is allowed there is no inside to aim at.
    nearest = np.zeros(d) if found.status == "infeasible" else found.trade
    assert off(p, nearest, wanted) <= 1e-8


@FAST
@given(seeds, st.integers(1, 4), st.integers(1, 2), st.integers(4, 14))
def test_with_tails_it_is_that_of_every_possible_tail(
    seed: int, d: int, horizons: int, scenarios: int
) -> None:
    p = with_tail(problem(seed, d, 2), seed, horizons, scenarios, 2)
    found, wanted = project(*p), independent(p)
    assert allowed(p, found.trade)
    assert found.status in ("feasible", "projected", "infeasible")
    nearest = np.zeros(d) if found.status == "infeasible" else found.trade
    assert off(p, nearest, wanted) <= 1e-8


@FAST
@given(seeds, st.integers(1, 10), st.integers(1, 3))
def test_with_many_scenarios_the_exact_shortfall_is_inside(
    seed: int, d: int, horizons: int
) -> None:
    p = with_tail(problem(seed, d, 6), seed, horizons, 200, 3)
    found = project(*p)
    assert found.status in ("feasible", "projected", "infeasible")
    assert allowed(p, found.trade)
    exact = [shortfall for _, shortfall in shortfalls(p, found.trade)][:-1]
    assert (np.array(exact) >= least_shortfall(p)).all()


@FAST
@given(seeds, st.integers(1, 6), st.integers(1, 8))
def test_var_and_the_worst_jump_are_kept_exactly(seed: int, d: int, jumps: int) -> None:
    p = with_tail(problem(seed, d, 4), seed, 1, 100, 2)
    rng = np.random.default_rng(seed)
    low = -rng.uniform(0.5, 4.0, 3)
    low[rng.random(3) < 0.3] = -INF
    pnl = np.hstack([p.tail.pnl, 3.0 * rng.normal(size=(d, jumps))])
    base = np.append(p.tail.base_pnl, rng.normal(size=jumps))
    tail = replace(
        p.tail, pnl=pnl, base_pnl=base, low=low[:1], var_low=low[1:2], gap_low=float(low[2])
    )
    p = p._replace(tail=tail)
    found = project(*p)
    assert found.status != "unknown"
    assert allowed(p, found.trade)


def test_a_request_inside_its_var_cap_is_not_cut_for_its_shortfall() -> None:
    """VaR -1, ES -5: a VaR cap of 2 allows it, though the way there bounds the shortfall."""
    pnl = np.r_[-9.0, -1.0, np.zeros(98)][None]
    tail = TailBlocks(pnl, np.zeros(100), [0, 100], [2], 0.02, [-INF], var_low=[-2.0])
    p = Problem(*(a[:1] for a in SUM[:-1]), tail)._replace(high=np.array([5.0]))
    ask = p._replace(target=np.array([1.0]))
    assert same_bytes(project(*ask), Projected(ask.target, "feasible", 0))
    # Three lots do not pass; the shortfall of -2 that is aimed at allows 0.4.
    found = project(*p)
    assert found.status == "projected"
    assert found.trade == pytest.approx([0.4], abs=1e-9)


@FAST
@given(seeds, st.integers(1, 8), st.booleans())
def test_a_feasible_target_comes_back_bit_for_bit(seed: int, d: int, tailed: bool) -> None:
    p = problem(seed, d, 5)
    p = with_tail(p, seed, 1, 20, 2) if tailed else p
    inside = project(*p).trade
    for target in (inside, 0.0 * inside, -0.0 * inside):
        again = project(*p._replace(target=target))
        assert again.status == "feasible"
        assert again.iterations == 0
        assert again.trade.tobytes() == target.tobytes()
        assert not np.shares_memory(again.trade, target)


@FAST
@given(seeds, st.integers(1, 4), st.integers(1, 4))
def test_a_leg_that_need_not_move_keeps_its_bits(seed: int, moved: int, still: int) -> None:
    p = problem(seed, moved + still, 5)
    p.exposures[moved:] = 0.0
    p.box_low[moved:], p.box_high[moved:] = -INF, INF
    found = project(*p)
    if found.status == "projected":
        assert found.trade[moved:].tobytes() == p.target[moved:].tobytes()


@FAST
@given(seeds, st.integers(1, 8), st.integers(-60, 60), st.booleans())
def test_powers_of_two_change_no_bit(seed: int, d: int, j: int, tailed: bool) -> None:
    p = problem(seed, d, 5)
    p = with_tail(p, seed, 2, 20, 2) if tailed else p
    found, scale = project(*p), 2.0**j
    tail = p.tail and replace(p.tail, base_pnl=scale * p.tail.base_pnl, low=scale * p.tail.low)
    larger = p._replace(
        target=scale * p.target, before=scale * p.before, low=scale * p.low, high=scale * p.high,
        box_low=scale * p.box_low, box_high=scale * p.box_high, tail=tail,
    )  # fmt: skip
    assert same_bytes(found, project(*larger), scale)
    # Dearer legs, and another unit of the measures.
    dearer = p._replace(weight=4.0**j * p.weight)
    assert same_bytes(found, project(*dearer))
    units = p._replace(
        exposures=scale * p.exposures, before=scale * p.before,
        low=scale * p.low, high=scale * p.high,
    )  # fmt: skip
    assert same_bytes(found, project(*units))


@FAST
@given(seeds, st.integers(2, 8))
def test_the_order_of_legs_and_measures_does_not_matter(seed: int, d: int) -> None:
    p = problem(seed, d, 5)
    rng = np.random.default_rng(seed)
    legs, measures = rng.permutation(d), rng.permutation(5)
    turned = Problem(
        p.target[legs], p.exposures[legs][:, measures], p.before[measures], p.low[measures],
        p.high[measures], p.weight[legs], p.box_low[legs], p.box_high[legs],
    )  # fmt: skip
    found, there = project(*p), project(*turned)
    if "infeasible" not in (found.status, there.status):
        assert off(turned, there.trade, found.trade[legs]) <= 1e-8


@FAST
@given(seeds, st.integers(1, 5))
def test_how_the_arrays_lie_in_memory_does_not_matter(seed: int, d: int) -> None:
    p = with_tail(problem(seed, d, 4), seed, 1, 20, 2)
    for array in p[:-1]:
        array.flags.writeable = False
    other = [np.asfortranarray(array) for array in p[:-1]]
    assert same_bytes(project(*p), project(*other, p.tail))
    assert same_bytes(project(*p), project(*(array.tolist() for array in p[:-1]), p.tail))


def test_a_scaled_down_trade_is_inside_where_tails_do_not_settle() -> None:
    cut = 0
    for seed in range(40):
        p = with_tail(problem(seed, 8, 4, broken=0.0), seed, 1, 200, 3)
        whole, early = project(*p), project(*p, max_iterations=2)
        assert allowed(p, early.trade)
        if early.status == "radial":
            cut += 1
            assert early.iterations == 2
            assert off(p, early.trade, p.target) >= off(p, whole.trade, p.target) - 1e-8
            # A flat book has room for some of any trade.
            assert early.trade.any() or p.tail.base_pnl.any()
    assert cut >= 10
    assert same_bytes(project(*p, max_iterations=0), Projected(np.zeros(8), "radial", 0))


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("name", [*Problem._fields[:-1], "pnl", "base_pnl", "low of ES"])
def test_what_is_not_finite_gives_nothing(name: str, value: float) -> None:
    # Infinite caps and bounds say that there is none; they are no garbage, but on their own side.
    own_side = {"low": -INF, "box_low": -INF, "high": INF, "box_high": INF, "low of ES": -INF}
    if own_side.get(name) == value:
        return
    for seed in range(20):
        rng = np.random.default_rng(seed)
        p = problem(seed, 4, 3, broken=0.0)
        p = p._replace(low=-np.abs(p.before) - 0.1, high=np.abs(p.before) + 0.1)
        p = with_tail(p, seed, 1, 20, 2)
        if name == "pnl" or name == "base_pnl":
            array = getattr(p.tail, name)
        else:
            array = p.tail.low if name == "low of ES" else getattr(p, name)
        array.flat[rng.integers(array.size)] = value
        found = project(*p)
        assert not found.trade.any()
        assert found.status == "unknown"
        if name in ("target", "weight", "box_low", "box_high"):
            lots = whole_lots(p.target, p.target, p.weight, p.box_low, p.box_high)
            assert not lots.any()


@FAST
@given(st.data())
def test_nothing_ever_makes_a_trade_that_is_not_finite(data: st.DataObject) -> None:
    number = st.floats() | st.sampled_from([0.0, 1.0, -1.0, 1e-300, 1e300, 5e-324])
    d, measures = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))

    def drawn(*shape: int) -> np.ndarray:
        size = math.prod(shape)
        return np.reshape(data.draw(st.lists(number, min_size=size, max_size=size)), shape)

    tail = TailBlocks(drawn(d, 3), drawn(3), [0, 3], [1], 0.3, drawn(1))
    p = Problem(
        drawn(d), drawn(d, measures), drawn(measures), drawn(measures), drawn(measures), drawn(d),
        drawn(d), drawn(d), tail,
    )  # fmt: skip
    found = project(*p)
    assert np.isfinite(found.trade).all()
    lots = whole_lots(p.target, found.trade, p.weight, p.box_low, p.box_high)
    assert np.isfinite(lots).all()
    assert (lots == np.trunc(lots)).all()


# -- whole lots -------------------------------------------------------------------------------


def first_allowed(p: Problem, rows: np.ndarray) -> np.ndarray:
    return next(row for row in rows if allowed(p, row))


def distance(p: Problem, row: np.ndarray) -> float:
    return float((p.weight * (row - p.target) ** 2).sum())


def lots_of(p: Problem) -> np.ndarray:
    return whole_lots(project(*p).trade, p.target, p.weight, p.box_low, p.box_high)


@FAST
@given(seeds, st.integers(1, 12))
def test_rows_are_whole_inside_the_box_ordered_and_different(seed: int, d: int) -> None:
    p = problem(seed, d, 5)
    rows = lots_of(p)
    assert len(rows) <= 2466
    assert (rows == np.trunc(rows)).all()
    assert not np.signbit(rows[rows == 0.0]).any()
    assert ((p.box_low <= rows) & (rows <= p.box_high)).all()
    assert len(np.unique(rows, axis=0)) == len(rows)
    far = np.array([distance(p, row) for row in rows])
    assert (np.diff(far) >= -1e-12 * far[1:]).all()
    assert far[-1] == pytest.approx(distance(p, 0.0 * p.target))
    assert any(not row.any() for row in rows)
    assert np.array_equal(rows, lots_of(p))


def test_up_to_four_legs_every_row_within_three_lots_is_there() -> None:
    target, ten = np.array([9.4, -3.0, 0.0, 0.7, 0.0]), np.full(5, 100.0)
    rows = {tuple(row) for row in whole_lots(target, target, ten, -ten, ten)}
    legs = [range(7, 13), range(-6, 1), [0], range(-2, 4), [0]]
    # All of these, being as near as nothing, or nearer.
    nothing = float(target @ target)
    near = {row for row in itertools.product(*legs) if sum((row - target) ** 2) <= nothing}
    assert near <= rows


def test_more_legs_are_rounded_both_ways_then_scaled_down() -> None:
    target, wide = np.full(6, 2.5), np.full(6, 100.0)
    rows = {tuple(row) for row in whole_lots(target, target, wide, -wide, wide)}
    assert rows == {*itertools.product([2.0, 3.0], repeat=6), (1.0,) * 6, (0.0,) * 6}
    many = np.full(30, 2.6)
    rows = whole_lots(many, many, np.ones(30), np.full(30, -9.0), np.full(30, 9.0))
    # The others are rounded to 3, so that 2 of each is a cut like 1 of each and nothing.
    assert len(rows) == 2**10 + 3


def test_a_cut_lists_every_whole_number_down_to_nothing() -> None:
    # 49 * (1 / 49) is below 1 in floating point.
    rows = whole_lots([49.0], [60.0], [1.0], [-99.0], [99.0])
    assert rows.ravel().tolist() == [float(lots) for lots in range(52, -1, -1)]


def test_ties_go_to_the_lower_lots() -> None:
    half, five = np.array([0.5, 0.5]), np.full(2, 5.0)
    rows = whole_lots(half, half, np.ones(2), -five, five)
    assert rows[:4].tolist() == [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]


@pytest.mark.parametrize("low", [0.2, 7.0])
def test_a_box_without_whole_lots_or_without_nothing(low: float) -> None:
    rows = whole_lots([low + 0.5], [low + 0.5], [1.0], [low], [low + 0.7])
    assert rows.shape == (0, 1) if low == 0.2 else rows.tolist() == [[7.0]]


def test_the_first_allowed_row_is_the_nearest_of_all_whole_lots() -> None:
    """Against every whole-lot trade of a box of 13 lots a leg (7 where there are four); the gap
    is printed where there is one: a nearer trade more than 3 lots from the continuous one."""
    gaps, tried = [], 0
    for seed in range(900):
        d = 1 + seed % 4
        p = problem(seed, d, 6)
        widest = 6.0 if d < 4 else 3.0
        p = p._replace(
            target=1.5 * p.target, box_low=np.full(d, -widest), box_high=np.full(d, widest)
        )
        p = with_tail(p, seed, 1, 20, 2) if seed % 3 == 0 else p
        every = np.array(list(itertools.product(np.arange(-widest, widest + 1.0), repeat=d)))
        far = (every - p.target) ** 2 @ p.weight
        best = first_allowed(p, every[np.argsort(far, kind="stable")])
        ours = first_allowed(p, lots_of(p))
        assert distance(p, ours) >= distance(p, best) * (1.0 - 1e-12)
        tried += 1
        if distance(p, ours) > distance(p, best) * (1.0 + 1e-12):
            gaps.append(math.sqrt(distance(p, ours) / distance(p, best)) - 1.0)
    print(f"whole lots: {tried - len(gaps)} of {tried} the nearest of all", end="")
    print(f", else up to {max(gaps):.1%} further away" if gaps else "")
    assert len(gaps) <= 0.02 * tried


# -- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", Problem._fields[:-1])
def test_a_shape_that_does_not_fit_is_refused_by_name(name: str) -> None:
    wrong = SUM._replace(**{name: np.ones((3, 3))})
    with pytest.raises(ValueError, match="got shape"):
        project(*wrong)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"pnl": np.ones((2, 4))}, "pnl"),
        ({"counts": [0]}, "counts"),
        ({"counts": []}, "counts"),
        ({"low": [-1.0, -1.0]}, "low"),
        ({"var_low": [-1.0, -1.0]}, "var_low"),
        ({"blocks": [0]}, "blocks"),
        ({"blocks": [0, 6]}, "blocks"),
        ({"blocks": [3, 0]}, "blocks"),
        ({"blocks": [-1, 5]}, "blocks"),
    ],
)
def test_scenarios_that_do_not_fit_are_refused_by_name(change: dict, name: str) -> None:
    fine = {
        "pnl": np.ones((2, 5)), "base_pnl": np.ones(5), "blocks": [0, 5], "counts": [1],
        "p": 0.1, "low": [-1.0],
    }  # fmt: skip
    TailBlocks(**fine)
    with pytest.raises(ValueError, match=f"^{name}: got"):
        TailBlocks(**{**fine, **change})


def test_scenarios_of_other_legs_are_refused() -> None:
    tail = TailBlocks(np.ones((3, 5)), np.ones(5), [0, 5], [1], 0.1, [-1.0])
    with pytest.raises(ValueError, match=r"tail\.pnl: got 3 rows; allowed: 2"):
        project(*SUM._replace(tail=tail))
    with pytest.raises(ValueError, match="got shapes"):
        whole_lots([1.0], [1.0, 2.0], [1.0], [0.0], [1.0])
