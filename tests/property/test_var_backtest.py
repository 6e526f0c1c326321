"""What the back-tests say of right and wrong forecasts, and what must not change their verdict."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from riskenv.coverage_backtest import kupiec, traffic_light
from riskenv.shortfall_backtest import acerbi_szekely
from riskenv.var_backtest import VarBacktest, backtest, quantile_loss

FAST = settings(max_examples=120, deadline=None, database=None, derandomize=True)
WORLDS = 400
# The standard deviation of a rejection rate of 5 % over 400 worlds is 1.1 %.
NOMINAL, SPREAD = 0.05, 4 * 0.011


def normal_forecasts(days: int, p: float) -> tuple[np.ndarray, np.ndarray]:
    """VaR and ES of a standard normal P&L, right by construction."""
    var = norm.ppf(p)
    return np.full(days, var), np.full(days, -norm.pdf(var) / p)


def rejections(found: list[VarBacktest], test: str) -> float:
    return float(np.mean([getattr(one, test).verdict == "rejected" for one in found]))


@pytest.fixture(scope="module")
def right() -> list[VarBacktest]:
    """Back-tests of right forecasts whose scale moves from day to day.

    The chi-square holds where every kind of transition is frequent: 2000 x 0.2 x 0.2 = 80.
    """
    rng = np.random.default_rng(21)
    var, _ = normal_forecasts(2000, 0.2)
    scale = np.exp(rng.normal(0.0, 0.5, (WORLDS, 2000)))
    return [backtest(s * rng.standard_normal(2000), s * var, tail_probability=0.2) for s in scale]


@pytest.mark.parametrize("test", ["coverage", "independence", "conditional_coverage"])
def test_right_forecasts_are_rejected_as_often_as_the_level_says(right, test: str) -> None:
    assert rejections(right, test) == pytest.approx(NOMINAL, abs=SPREAD)


def test_right_forecasts_are_yellow_as_often_as_the_zone_says(right) -> None:
    zones = [one.traffic_light.zone for one in right]
    assert zones.count("yellow") / WORLDS == pytest.approx(0.05, abs=SPREAD)
    assert zones.count("red") == 0


def test_right_shortfalls_are_rejected_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(27)
    var, es = normal_forecasts(250, 0.01)
    scale = np.exp(rng.normal(0.0, 0.5, (WORLDS, 250)))
    found = [acerbi_szekely(s * rng.standard_normal(250), s * var, s * es) for s in scale]
    assert np.mean([x.verdict == "rejected" for x in found]) == pytest.approx(NOMINAL, abs=SPREAD)
    # The critical value of 250 days at 2.5 % would reject far more often here.
    published = np.mean([x.statistic < -0.70 for x in found])
    assert published == pytest.approx(0.127, abs=4 * 0.017)


def test_twice_the_exceptions_are_found_out() -> None:
    rng = np.random.default_rng(22)
    var, es = normal_forecasts(1000, 0.05)
    too_tight = norm.ppf(0.10) / norm.ppf(0.05)
    found = [
        backtest(rng.standard_normal(1000), too_tight * var, es=too_tight * es,
                 tail_probability=0.05)
        for _ in range(60)
    ]  # fmt: skip
    for test in ("coverage", "conditional_coverage", "shortfall"):
        assert rejections(found, test) > 0.95
    assert rejections(found, "independence") < 0.2
    assert all(one.traffic_light.zone != "green" for one in found)


def test_too_much_caution_fails_coverage_and_no_test_of_shortfall() -> None:
    rng = np.random.default_rng(23)
    var, es = normal_forecasts(1000, 0.05)
    found = [
        backtest(rng.standard_normal(1000), 2 * var, es=2 * es, tail_probability=0.05)
        for _ in range(30)
    ]
    assert rejections(found, "coverage") == 1.0
    assert rejections(found, "shortfall") == 0.0
    assert all(one.traffic_light.zone == "green" for one in found)


def test_half_of_the_shortfall_is_found_out_where_var_is_right() -> None:
    rng = np.random.default_rng(24)
    var, _ = normal_forecasts(1000, 0.05)
    # Exceptions come as often as they should, and reach four times VaR on average.
    es = 4.0 * var
    right, half = [], []
    for _ in range(100):
        pnl = rng.standard_normal(1000)
        pnl = np.where(pnl < var, var + 3.0 * var * rng.exponential(1.0, 1000), pnl)
        right.append(acerbi_szekely(pnl, var, es, 0.05).statistic)
        half.append(acerbi_szekely(pnl, var, 0.5 * es, 0.05))
    error = np.std(right) / math.sqrt(100)
    assert np.mean(right) == pytest.approx(0.0, abs=4 * error)
    # E[Z2] = 1 - ES / (ES / 2).
    assert np.mean([test.statistic for test in half]) == pytest.approx(-1.0, abs=8 * error)
    assert np.mean([test.verdict == "rejected" for test in half]) > 0.98


def test_exceptions_in_a_row_fail_independence_alone() -> None:
    rng = np.random.default_rng(25)
    found = []
    for _ in range(60):
        # A chain with half of the exceptions followed by one, and 5 % of days in all.
        hit, draws = [False], rng.random(1000)
        for draw in draws[1:]:
            hit.append(bool(draw < (0.5 if hit[-1] else 0.05 * 0.5 / 0.95)))
        pnl = np.where(hit, -2.0, 0.0)
        found.append(backtest(pnl, np.full(1000, -1.0), tail_probability=0.05))
    assert rejections(found, "independence") > 0.95
    assert rejections(found, "independence") > rejections(found, "coverage") + 0.3


value = st.sampled_from([-8.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 4.0]) | st.just(math.nan)
day = st.tuples(
    value,
    st.sampled_from([-4.0, -3.0, -2.0, -1.0, 0.0, math.nan]),
    st.sampled_from([1.0, 1.25, 2.0, math.nan]),
)
days = st.lists(day, min_size=1, max_size=80)


def judged(rows, factor: float = 1.0) -> VarBacktest:
    pnl, var, multiple = np.array(rows).T
    return backtest(factor * pnl, factor * var, es=factor * var * multiple, tail_probability=0.05)


def verdicts(found: VarBacktest) -> tuple[str, ...]:
    tests = (found.coverage, found.independence, found.conditional_coverage, found.shortfall)
    return (*(test.verdict for test in tests), found.traffic_light.zone)


def same(first: float | None, second: float | None) -> bool:
    return first == second or first == pytest.approx(second, rel=1e-9, abs=1e-12, nan_ok=True)


@FAST
@given(days)
def test_the_counts_are_those_of_a_loop(rows) -> None:
    found = judged(rows)
    known = [not (math.isnan(pnl) or math.isnan(var)) for pnl, var, _ in rows]
    hits = [pnl < var for pnl, var, _ in rows]
    assert found.days + found.unknown == len(rows)
    assert found.days == sum(known)
    assert found.exceptions == sum(hits)  # NaN compares as false
    counted = dict.fromkeys([(0, 0), (0, 1), (1, 0), (1, 1)], 0)
    for i in range(1, len(rows)):
        if known[i - 1] and known[i]:
            counted[int(hits[i - 1]), int(hits[i])] += 1
    assert found.transitions == tuple(counted.values())
    assert found.shortfall_unknown == len(rows) - sum(
        k and not math.isnan(multiple) for k, (_, _, multiple) in zip(known, rows, strict=True)
    )


@FAST
@given(days, st.sampled_from([0.125, 2.0, 3.0, 1000.0]))
def test_the_unit_of_money_changes_no_verdict(rows, factor: float) -> None:
    plain, scaled = judged(rows), judged(rows, factor)
    assert verdicts(scaled) == verdicts(plain)
    assert scaled.transitions == plain.transitions
    assert same(scaled.quantile_loss, factor * plain.quantile_loss)
    assert same(scaled.shortfall.statistic, plain.shortfall.statistic)


@FAST
@given(days, st.randoms(use_true_random=False))
def test_the_order_of_days_matters_to_independence_alone(rows, random) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    first, second = judged(rows), judged(shuffled)
    assert second.coverage == first.coverage or math.isnan(first.coverage.statistic)
    assert repr(second.traffic_light) == repr(first.traffic_light)
    assert same(second.quantile_loss, first.quantile_loss)
    assert same(second.shortfall.statistic, first.shortfall.statistic)


def test_ten_exceptions_in_a_row_are_a_cluster_and_ten_scattered_are_none() -> None:
    spread, row = np.zeros(200), np.zeros(200)
    spread[::20], row[100:110] = -2.0, -2.0
    var = np.full(200, -1.0)
    scattered, clustered = (backtest(pnl, var, tail_probability=0.05) for pnl in (spread, row))
    assert scattered.coverage == clustered.coverage
    assert scattered.independence.verdict == "not rejected"
    assert clustered.independence.verdict == "rejected"


@FAST
@given(days, st.integers(0, 80), st.sampled_from([(math.nan, -1.0), (-9.0, math.nan)]))
def test_an_unknown_day_adds_to_the_unknown_and_nothing_else(rows, place, unknown) -> None:
    place = min(place, len(rows))
    more = [*rows[:place], (*unknown, 1.0), *rows[place:]]
    before, after = judged(rows), judged(more)
    assert (after.days, after.unknown) == (before.days, before.unknown + 1)
    assert repr(after.coverage) == repr(before.coverage)
    assert repr(after.shortfall) == repr(before.shortfall)
    assert same(after.quantile_loss, before.quantile_loss)
    lost = sum(before.transitions) - sum(after.transitions)
    assert lost in (0, 1)
    assert all(b >= a for a, b in zip(after.transitions, before.transitions, strict=True))


@FAST
@given(st.integers(1, 2000), st.floats(0.001, 0.2))
def test_a_verdict_is_its_critical_value_and_its_p_value(total: int, p: float) -> None:
    for exceptions in {0, total // 100, total // 20, total}:
        test = kupiec(exceptions, total, p)
        assert test.statistic >= 0.0
        if abs(test.statistic - test.critical_value) > 1e-9:
            assert (test.statistic > test.critical_value) == (test.verdict == "rejected")
    cumulative = [traffic_light(x, total, p).cumulative_probability for x in range(min(total, 30))]
    assert cumulative == sorted(cumulative)


@FAST
@given(st.integers(1, 400), st.sampled_from([0.01, 0.025, 0.05]), st.integers(0, 10**6))
def test_z2s_verdict_is_its_critical_value_too(total: int, p: float, seed: int) -> None:
    var, es = normal_forecasts(total, p)
    pnl = 1.3 * np.random.default_rng(seed).standard_normal(total)
    test = acerbi_szekely(pnl, var, es, p)
    assert 0.0 <= test.p_value <= 1.0
    if abs(test.p_value - test.level) > 1e-6:
        assert (test.statistic < test.critical_value) == (test.verdict == "rejected")


@pytest.mark.parametrize("p", [0.01, 0.05])
def test_the_quantile_loss_is_least_at_the_quantile(p: float) -> None:
    pnl = np.random.default_rng(26).standard_normal(200_000)
    loss = {
        shift: quantile_loss(pnl, np.full(len(pnl), norm.ppf(p) + shift), p)
        for shift in (-0.5, -0.2, 0.0, 0.2, 0.5)
    }
    assert min(loss, key=lambda shift: loss[shift]) == 0.0
    assert loss[-0.5] > loss[-0.2]
    assert loss[0.5] > loss[0.2]
