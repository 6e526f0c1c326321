"""The VaR and ES estimator against hand-computed tails and NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskenv import ConfigError, VarConfig, historical_var, load_config
from riskenv.var_calculator import tail_count


@pytest.mark.parametrize(
    ("pnl", "p", "var", "es"),
    [
        # 500 outcomes, 1 %: the tail is exactly the five worst; VaR is the fifth.
        (np.arange(-250.0, 250.0), 0.01, -246.0, -248.0),
        # 501 outcomes: 5/501 < 1 % <= 6/501, so VaR is the sixth worst; the sixth counts by
        # 0.01 - 5/501 of weight: (-(250+249+248+247+246)/501 - 245 (0.01 - 5/501)) / 0.01.
        (np.arange(-250.0, 251.0), 0.01, -245.0, -(1240 / 501 + 245 * (0.01 - 5 / 501)) / 0.01),
        # 250 outcomes: 2.5 observations; the third worst counts by half.
        (np.arange(-125.0, 125.0), 0.01, -123.0, -(125 + 124 + 0.5 * 123) / 2.5),
        # 100 outcomes hold a single one; fewer hold a part of one.
        (np.arange(-50.0, 50.0), 0.01, -50.0, -50.0),
        (np.array([-7.0, 1.0, 2.0]), 0.01, -7.0, -7.0),
        (np.array([-7.0]), 0.01, -7.0, -7.0),
        # Ties are as many outcomes as they are.
        (np.array([-3.0] * 5 + [1.0] * 95), 0.03, -3.0, -3.0),
        (np.array([-3.0, -3.0, -1.0] + [1.0] * 97), 0.03, -1.0, -(3.0 + 3.0 + 1.0) / 3),
        # A tail that gains is no negative risk.
        (np.arange(1.0, 101.0), 0.05, 0.0, 0.0),
        # VaR gains, the tail still loses on average.
        (np.array([-9.0, 1.0] + [5.0] * 98), 0.02, 0.0, -4.0),
    ],
)
def test_tails_by_hand(pnl, p, var, es) -> None:
    got = historical_var(np.random.default_rng(1).permutation(pnl), p)
    assert got == pytest.approx((var, es), rel=1e-14)


@pytest.mark.parametrize("p", [0.01, 0.025, 0.03, 0.05, 0.1, 0.001])
@pytest.mark.parametrize("n", [100, 250, 499, 500, 501, 1000])
def test_var_is_numpys_inverted_distribution_function(p: float, n: int) -> None:
    pnl = np.random.default_rng(n).standard_t(3, n)
    var, es = historical_var(pnl, p)
    # NumPy's has no slack for 5 / 500 against 0.01; a hair less than p has.
    assert var == min(0.0, np.quantile(pnl, p - 1e-9, method="inverted_cdf"))
    tail = np.sort(pnl)[: math.ceil((p - 1e-9) * n)]
    weights = np.full(len(tail), 1.0 / n)
    weights[-1] = p - (len(tail) - 1) / n
    assert es == pytest.approx(min(0.0, np.average(tail, weights=weights)), rel=1e-12)
    assert es <= var


@pytest.mark.parametrize(("n", "p", "count"), [
    (500, 0.01, 5), (300, 0.01, 3), (700, 0.01, 7), (1000, 0.001, 1), (250, 0.01, 3),
    (10, 0.3, 3), (100, 0.29, 29), (1, 0.01, 1), (0, 0.01, 1), (300, 0.07, 21),
])  # fmt: skip
def test_a_whole_tail_is_not_rounded_up_by_a_binary_fraction(n: int, p: float, count: int) -> None:
    assert tail_count(n, p) == count


finite = st.floats(-1e9, 1e9)
FAST = settings(max_examples=150, deadline=None, database=None, derandomize=True)


@FAST
@given(st.lists(finite, min_size=1, max_size=200), st.sampled_from([0.01, 0.05, 0.25]))
def test_es_is_coherent_where_var_is_not(values, p) -> None:
    """Translation, scale, monotonicity, and ES beyond VaR; subadditivity of ES."""
    pnl = np.array(values)
    var, es = historical_var(pnl, p)
    assert pnl.min() - 1e-6 <= es <= var <= 0.0 or es == pytest.approx(var, rel=1e-9)
    assert historical_var(4.0 * pnl, p) == (4.0 * var, 4.0 * es)
    worse = historical_var(pnl - 1.0, p)
    assert worse[0] <= var
    assert worse[1] <= es + 1e-6
    other = np.random.default_rng(0).permutation(pnl)[::-1]
    together = historical_var(pnl + other, p)[1]
    assert together >= es + historical_var(other, p)[1] - 1e-9 * (1.0 + np.abs(pnl).max())


@pytest.mark.parametrize("bad", [np.nan])
@pytest.mark.parametrize("at", [0, 57, 499])
def test_one_unknown_outcome_makes_the_tail_unknown(bad: float, at: int) -> None:
    pnl = np.arange(-250.0, 250.0)
    pnl[at] = bad
    assert np.isnan(historical_var(pnl)).all()


def test_no_outcomes_are_unknown_not_zero() -> None:
    assert np.isnan(historical_var(np.zeros(0))).all()


def test_infinite_outcomes_are_lost_or_gained() -> None:
    assert historical_var(np.array([-np.inf, *range(99)]), 0.01) == (-np.inf, -np.inf)
    assert historical_var(np.full(100, np.inf), 0.01) == (0.0, 0.0)


@pytest.mark.parametrize("p", [0.0, -0.01, 0.5, 0.99, 99.0, 1.0, np.nan])
def test_a_confidence_level_is_not_taken_for_a_tail_probability(p: float) -> None:
    with pytest.raises(ValueError, match="tail_probability"):
        historical_var(np.arange(100.0), p)
    with pytest.raises(ConfigError, match="tail_probability"):
        load_config(VarConfig, {"tail_probability": p})


def test_infinite_outcomes_on_both_sides_have_no_mean_and_it_is_not_zero() -> None:
    var, shortfall = historical_var(np.array([-np.inf, *[np.inf] * 7]), 0.25)
    assert shortfall != 0.0
    assert np.isnan(shortfall) or shortfall == -np.inf
    assert var <= 0.0
