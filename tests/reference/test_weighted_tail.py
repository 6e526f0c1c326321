"""Weighted tails against closed forms, an independent walk and the equally weighted estimator."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from riskenv import historical_var
from riskenv.weighted_tail import (
    incremental_tail,
    tail_components,
    weighted_tail,
    weighted_tail_of,
    worst_outcomes,
)

FAST = settings(max_examples=150, deadline=None, database=None, derandomize=True)
SIGMA = 1_700.0


def unequal_grid(cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Mid-point probabilities of cells of unequal weight, finest at the lower end, and weights."""
    edges = np.linspace(0.0, 1.0, cells + 1) ** 2
    return 0.5 * (edges[1:] + edges[:-1]), np.diff(edges)


def shuffled(pnl: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(5).permutation(len(pnl))
    return pnl[order], weights[order]


@pytest.mark.parametrize(
    ("p", "var", "es"),
    # ES = phi(z) / p: the constants of the normal distribution, by any table.
    [(0.01, 2.326348, 2.665214), (0.025, 1.959964, 2.337803), (0.05, 1.644854, 2.062713)],
)
def test_normal_tails(p: float, var: float, es: float) -> None:
    probabilities, weights = unequal_grid(20_000)
    pnl, weights = shuffled(SIGMA * stats.norm.ppf(probabilities), weights)
    got = weighted_tail(pnl, weights, p)
    assert got[0] == pytest.approx(-var * SIGMA, rel=5e-4)
    assert got[1] == pytest.approx(-es * SIGMA, rel=5e-5)


@pytest.mark.parametrize("nu", [3, 4, 6, 30])
@pytest.mark.parametrize("p", [0.01, 0.025])
def test_students_tails_scaled_to_unit_variance(nu: int, p: float) -> None:
    """ES of Student's t: t(q) / p * (nu + q^2) / (nu - 1) (McNeil, Frey and Embrechts, 2.2.4)."""
    scale = SIGMA * math.sqrt((nu - 2) / nu)
    q = stats.t.ppf(p, nu)
    es = stats.t.pdf(q, nu) / p * (nu + q * q) / (nu - 1)
    probabilities, weights = unequal_grid(40_000)
    got = weighted_tail(*shuffled(scale * stats.t.ppf(probabilities, nu), weights), p)
    assert got[0] == pytest.approx(scale * q, rel=1e-3)
    assert got[1] == pytest.approx(-scale * es, rel=5e-4)


@pytest.mark.parametrize(
    ("pnl", "weights", "p", "var", "es"),
    [
        ([-30, 5, -10, 1], [0.04, 0.4, 0.16, 0.4], 0.10, -10, -(0.04 * 30 + 0.06 * 10) / 0.1),
        # The worst outcome alone reaches p.
        ([-30, 5], [0.2, 0.8], 0.10, -30, -30),
        # It reaches p to the last bit, and not one outcome further.
        ([-30, -20, 5], [0.1, 0.2, 0.7], 0.10, -30, -30),
        # 0.1 + 0.2 is above 0.3, and 0.01 + 0.02 + 0.29 below 0.32: neither takes one more.
        ([-3, -2, -1, 9], [0.1, 0.2, 0.4, 0.3], 0.30, -2, -(0.3 + 0.4) / 0.3),
        ([-3, -2, -1, 9], [0.01, 0.02, 0.29, 0.68], 0.32, -1, -(0.03 + 0.04 + 0.29) / 0.32),
        # An outcome without weight is none.
        ([-99, -30, 5], [0.0, 0.2, 0.8], 0.10, -30, -30),
        ([-30, -20, 5], [0.05, 0.0, 0.95], 0.10, 0, -(0.05 * 30 - 0.05 * 5) / 0.1),
        # A tail that gains is no negative risk; VaR gains while the tail still loses.
        ([1, 2, 3], [0.2, 0.3, 0.5], 0.10, 0, 0),
        ([-9, 1], [0.05, 0.95], 0.10, 0, -(0.45 - 0.05) / 0.1),
        ([-np.inf, 1, 2], [0.05, 0.05, 0.9], 0.10, 0, -np.inf),
        ([-np.inf, np.inf, 2], [0.05, 0.6, 0.35], 0.45, 0, -np.inf),
        # Ruin stays ruin where a gain without bound is in the tail as well.
        ([-np.inf, np.inf, np.inf], [0.05, 0.6, 0.35], 0.45, 0, -np.inf),
        ([-np.inf, *[np.inf] * 7], [0.125] * 8, 0.25, 0, -np.inf),
    ],
)
def test_tails_by_hand(pnl, weights, p, var, es) -> None:
    for order in ([*range(len(pnl))], [*range(len(pnl))][::-1]):
        got = weighted_tail(np.array(pnl, float)[order], np.array(weights)[order], p)
        assert got == pytest.approx((var, es), rel=1e-14)


def walk(pnl: list[float], weights: list[float], p: float) -> tuple[float, float]:
    """The definition in rational arithmetic; VaR where the weight reaches p - 1e-9."""
    mass, mean = Fraction(0), Fraction(0)
    for value, weight in sorted(zip(pnl, weights, strict=True), key=lambda pair: pair[0]):
        w, x = Fraction(weight), Fraction(value)
        if mass + w >= Fraction(p) - Fraction(1, 10**9):
            mean += (Fraction(p) - mass) * x
            return min(0.0, value), min(0.0, float(mean / Fraction(p)))
        mass, mean = mass + w, mean + w * x
    raise AssertionError("the weights do not reach p")


values = st.floats(-1e9, 1e9) | st.sampled_from([-1.0, 0.0, 1.0])


@st.composite
def weighted_outcomes(draw: st.DrawFn) -> tuple[list[float], np.ndarray]:
    size = draw(st.integers(1, 80))
    pnl = draw(st.lists(values, min_size=size, max_size=size))
    raw = draw(st.lists(st.floats(0.0, 1.0) | st.just(0.5), min_size=size, max_size=size))
    raw[0] += 1e-3
    return pnl, np.array(raw) / math.fsum(raw)


@FAST
@given(weighted_outcomes(), st.sampled_from([0.01, 0.025, 0.1, 0.3, 0.49]))
def test_any_weights_as_an_independent_walk_has_them(outcomes, p) -> None:
    pnl, weights = outcomes
    got = weighted_tail(np.array(pnl), weights, p)
    want = walk(pnl, weights.tolist(), p)
    assert got[0] == want[0]
    assert got[1] == pytest.approx(want[1], rel=1e-12, abs=1e-9 * max(map(abs, pnl)))


@pytest.mark.parametrize("n", [1, 3, 99, 100, 250, 300, 499, 500, 501, 2000])
@pytest.mark.parametrize("p", [0.001, 0.01, 0.025, 0.07, 0.3])
def test_equal_weights_have_the_bits_of_the_unweighted_estimator(n: int, p: float) -> None:
    pnl = np.round(np.random.default_rng(n).standard_t(3, n), 2)
    assert weighted_tail(pnl, np.full(n, 1.0 / n), p) == historical_var(pnl, p)


@pytest.mark.parametrize("n", [99, 250, 500, 501])
def test_nearly_equal_weights_are_close_to_equal_ones(n: int) -> None:
    pnl = np.random.default_rng(n).standard_t(3, n)
    weights = np.full(n, 1.0 / n)
    weights[:2] += (1e-14, -1e-14)
    assert weighted_tail(pnl, weights) == pytest.approx(historical_var(pnl), rel=1e-11)


def test_integer_weights_are_repeated_outcomes() -> None:
    random = np.random.default_rng(2)
    pnl, times = random.standard_normal(120), random.integers(0, 6, 120)
    weights = times / times.sum()
    for p in (0.01, 0.05, 0.2):
        repeated = historical_var(np.repeat(pnl, times), p)
        assert weighted_tail(pnl, weights, p) == pytest.approx(repeated, rel=1e-12)


@FAST
@given(weighted_outcomes(), st.sampled_from([0.01, 0.1, 0.4]))
def test_the_order_of_the_outcomes_changes_no_more_than_the_last_bits(outcomes, p) -> None:
    pnl, weights = np.array(outcomes[0]), outcomes[1]
    got = weighted_tail(pnl[::-1], weights[::-1], p)
    want = weighted_tail(pnl, weights, p)
    assert got[0] == want[0]
    assert got[1] == pytest.approx(want[1], rel=1e-12, abs=1e-9 * np.abs(pnl).max())


@pytest.mark.parametrize("weights", [np.full(100, 0.01), np.arange(1, 101) / 5050])
@pytest.mark.parametrize("at", [0, 50, 99])
def test_one_unknown_outcome_makes_the_tail_unknown(weights, at: int) -> None:
    pnl = np.arange(-20.0, 80.0)
    pnl[at] = np.nan
    assert np.isnan(weighted_tail(pnl, weights)).all()
    without = np.where(np.arange(100) == at, 0.0, weights)
    assert np.isnan(weighted_tail(pnl, without / without.sum())).all(), "even without weight"


def test_no_outcomes_are_unknown_not_zero() -> None:
    assert np.isnan(weighted_tail(np.zeros(0), np.zeros(0))).all()
    parts = tail_components(np.zeros((2, 0)), np.ones(2), np.zeros(0))
    assert np.isnan([parts.var, parts.es, *parts.component_es]).all()
    assert parts.atom == -1


@pytest.mark.parametrize(
    ("pnl", "weights", "p", "named"),
    [
        (np.zeros(3), np.full(3, 0.3), 0.01, "weights"),
        (np.zeros(3), np.array([1.5, -0.5, 0.0]), 0.01, "weights"),
        (np.zeros(3), np.array([np.nan, 0.5, 0.5]), 0.01, "weights"),
        (np.zeros(3), np.full(4, 0.25), 0.01, "pnl, weights"),
        (np.zeros((2, 2)), np.full((2, 2), 0.25), 0.01, "pnl, weights"),
        (np.zeros(4), np.full(4, 0.25), 0.99, "p: "),
        (np.zeros(4), np.full(4, 0.25), np.nan, "p: "),
    ],
)
def test_what_is_no_distribution_is_refused(pnl, weights, p, named) -> None:
    with pytest.raises(ValueError, match=named):
        weighted_tail(pnl, weights, p)


# --- where the risk comes from --------------------------------------------------------------------


def book(seed: int, n: int = 12, scenarios: int = 400) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    P = 50.0 * random.standard_t(4, (n, scenarios)) + 20.0 * random.standard_normal(scenarios)
    quantity = random.integers(-5, 6, n).astype(float)
    weights = 0.99 ** np.arange(scenarios)[::-1]
    return P, quantity, weights / weights.sum()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("p", [0.01, 0.05])
def test_components_add_up_to_the_books_tail(seed: int, p: float) -> None:
    P, quantity, weights = book(seed)
    for w in (weights, np.full(len(weights), 1.0 / len(weights))):
        parts = tail_components(P, quantity, w, p)
        pnl = np.zeros(P.shape[1])
        for lots, row in zip(quantity, P, strict=True):
            if lots:
                pnl += lots * row
        assert (parts.var, parts.es) == weighted_tail(pnl, w, p)
        assert sum(parts.component_var.tolist()) == parts.var == pnl[parts.atom]
        bound = 500 * 2.0**-53 * np.abs(quantity) @ np.abs(P) @ parts.tail_weights
        assert abs(sum(parts.component_es.tolist()) - parts.es) <= bound
        assert parts.tail_weights.sum() == pytest.approx(1.0, abs=1e-14)
        assert (parts.component_es == quantity * parts.marginal_es).all()


@pytest.mark.parametrize("seed", range(5))
def test_a_marginal_is_the_derivative(seed: int) -> None:
    """By finite differences: the same tail on both sides, so the measures are linear there."""
    P, quantity, weights = book(seed)
    parts = tail_components(P, quantity, weights, 0.05)
    for i in range(len(P)):
        step = np.zeros(len(P))
        step[i] = 1e-6
        up = weighted_tail((quantity + step) @ P, weights, 0.05)
        down = weighted_tail((quantity - step) @ P, weights, 0.05)
        slopes = (np.array(up) - np.array(down)) / 2e-6
        want = (parts.marginal_var[i], parts.marginal_es[i])
        assert slopes == pytest.approx(want, rel=1e-5, abs=1e-3)


def test_by_group_adds_up_to_the_same() -> None:
    P, quantity, weights = book(3)
    parts = tail_components(P, quantity, weights)
    by_var, by_es = parts.by_group(np.arange(12) % 3, 3)
    assert by_var.sum() == pytest.approx(parts.var, rel=1e-12)
    assert by_es == pytest.approx([parts.component_es[k::3].sum() for k in range(3)], rel=1e-12)


def test_an_unknown_row_matters_only_where_it_is_held() -> None:
    P, quantity, weights = book(4)
    quantity[:2] = (0.0, 3.0)
    known = tail_components(P, quantity, weights)
    P[0, 17] = P[0, known.atom] = np.nan
    parts = tail_components(P, quantity, weights)
    assert (parts.component_es == known.component_es).all()
    assert np.isnan([parts.marginal_var[0], parts.marginal_es[0]]).all()
    assert parts.component_es[0] == 0.0
    P[1, 17] = np.nan
    parts = tail_components(P, quantity, weights)
    assert np.isnan([parts.var, parts.es]).all()
    assert np.isnan(np.concatenate([parts.marginal_es, parts.component_var])).all()


def test_a_book_that_only_gains_has_no_risk_to_share_out() -> None:
    parts = tail_components(np.array([[1.0, 2.0]]), np.array([3.0]), np.array([0.4, 0.6]))
    assert (parts.var, parts.es, parts.component_es[0], parts.component_var[0]) == (0, 0, 0, 0)


def test_ties_go_to_the_first_scenario() -> None:
    P = np.array([[-1.0, 0.0, 5.0], [0.0, -1.0, 5.0]])
    parts = tail_components(P, np.ones(2), np.array([0.3, 0.3, 0.4]), 0.2)
    assert parts.atom == 0
    assert parts.component_var.tolist() == [-1.0, 0.0]
    later = tail_components(P, np.ones(2), np.array([0.1, 0.11, 0.79]), 0.2)
    assert later.atom == 1
    assert later.tail_weights == pytest.approx([0.5, 0.5, 0.0])


@FAST
@given(st.lists(st.sampled_from([-2.0, -1.0, 0.0]), min_size=1, max_size=60), st.randoms())
def test_outcomes_are_taken_worst_first_and_ties_as_they_come(values, random) -> None:
    pnl = np.array([9.0, *values, 9.0])
    weights = np.array([random.uniform(0.5, 1.5) for _ in pnl])
    weights /= weights[1:-1].sum()
    order = np.empty(len(values), dtype=np.int64)
    kept = worst_outcomes(pnl, weights, 1, len(pnl) - 1, 0.4, order)
    assert order[:kept].tolist() == (1 + np.argsort(values, kind="stable"))[:kept].tolist()
    assert weights[order[: kept - 1]].sum() < 0.4 <= weights[order[:kept]].sum() + 1e-9


def test_weights_that_never_reach_the_tail_are_unknown() -> None:
    pnl, weights = np.array([-3.0, -2.0, 1.0]), np.array([0.1, 0.05, 0.1])
    order, worst = np.empty(3, dtype=np.int64), np.empty(3)
    assert np.isnan(weighted_tail_of(pnl, weights, 0, 3, 0.3, order, worst)).all()
    assert weighted_tail_of(pnl, weights, 0, 3, 0.2, order, worst)[0] == 0.0


def test_an_incremental_tail_is_the_book_with_the_trade_less_the_book() -> None:
    P, quantity, weights = book(6)
    base, trade = quantity @ P, 2.0 * P[3]
    want = np.subtract(weighted_tail(base + trade, weights), weighted_tail(base, weights))
    assert incremental_tail(base, trade, weights) == tuple(want)
    assert incremental_tail(base, np.zeros(400), weights) == (0.0, 0.0)
    assert incremental_tail(base, -base, weights) == tuple(-np.array(weighted_tail(base, weights)))
    assert np.isnan(incremental_tail(base, np.full(400, np.nan), weights)).all()
