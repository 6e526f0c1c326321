"""Filtered historical simulation: shocks of the past at the volatility of today."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskenv import ConfigError, FactorHistory, load_config
from riskenv.bootstrap import bootstrap_days
from riskenv.filtered_history import (
    FilterConfig,
    FilteredHistory,
    VarianceFilter,
    age_weights,
    filter_history,
)

FAST = settings(max_examples=60, deadline=None, database=None, derandomize=True)
TICKERS = ("A", "B")
GJR = VarianceFilter(
    mean=np.array([3e-4, 2e-4, 0.0, 0.0]),
    omega=np.array([2e-6, 3e-6, 4e-5, 5e-5]),
    alpha=np.array([0.02, 0.03, 0.05, 0.05]),
    gamma=np.array([0.12, 0.10, 0.0, -0.02]),
    beta=np.array([0.90, 0.88, 0.90, 0.91]),
    first_variance=np.array([1e-4, 2e-4, 1e-3, 1e-3]),
)
EWMA = VarianceFilter.ewma(4)


def a_history(days: int = 400, seed: int = 0) -> FactorHistory:
    random = np.random.default_rng(seed)
    returns = 0.01 * random.standard_t(5, (days, 2))
    vols = -4.0 * returns + 0.02 * random.standard_normal((days, 2))
    return FactorHistory(TICKERS, np.arange(1, days + 1), returns, vols)


def columns(history: FactorHistory) -> np.ndarray:
    return np.concatenate([history.log_return, history.log_vol_change], axis=1)


def with_moves(history: FactorHistory, moves: np.ndarray) -> FactorHistory:
    return FactorHistory(TICKERS, history.times, moves[:, :2], moves[:, 2:])


def plain_recursion(
    moves: np.ndarray, variance_filter: VarianceFilter, warm_up: int
) -> tuple[np.ndarray, np.ndarray]:
    """Shocks and forecasts, written a second time: vectors over factors, history without gaps."""
    f = variance_filter
    e = moves - f.mean
    h = f.first_variance.copy()
    seeded = np.isnan(h)
    z = np.full(moves.shape, np.nan)
    for t, now in enumerate(e):
        if t == warm_up:
            h[seeded] = np.mean(e[:warm_up, seeded] ** 2, axis=0)
        if t >= warm_up:
            z[t] = now / np.sqrt(h)
        h = f.omega + (f.alpha + np.where(now < 0.0, f.gamma, 0.0)) * now**2 + f.beta * h
    return z, h


@pytest.mark.parametrize("variance_filter", [EWMA, GJR, VarianceFilter.ewma(4, 0.97)])
def test_shocks_and_forecast_are_those_of_the_recursion(variance_filter) -> None:
    history = a_history()
    filtered = filter_history(history, 400, variance_filter, warm_up=60)
    z, variance = plain_recursion(columns(history), variance_filter, 60)
    assert filtered.shocks == pytest.approx(z, rel=1e-12, nan_ok=True)
    assert filtered.variance == pytest.approx(variance, rel=1e-12)
    assert filtered.usable.tolist() == [False] * 60 + [True] * 340


def test_one_day_is_hull_and_whites_ratio_of_volatilities() -> None:
    """A move times today's volatility over the day's own."""
    history = a_history()
    filtered = filter_history(history, 400, EWMA)
    rows = filtered.windows(horizon=1, window=100)
    deviation = columns(history)[300:] / filtered.shocks[300:]
    want = columns(history)[300:] * np.sqrt(filtered.variance) / deviation
    assert rows[:, 0].tolist() == [*range(300, 400)]
    assert filtered.moves(rows) == pytest.approx(want.T, rel=1e-12)


@pytest.mark.parametrize("path", ["updated", "held"])
@pytest.mark.parametrize("horizon", [1, 3, 5])
def test_doubling_todays_volatility_doubles_the_moves(path: str, horizon: int) -> None:
    filtered = filter_history(a_history(), 400, EWMA)
    loud = dataclasses.replace(filtered, variance=4.0 * filtered.variance)
    rows = filtered.windows(horizon, 250)
    assert (loud.moves(rows, path) == 2.0 * filtered.moves(rows, path)).all()


def test_a_quiet_past_is_scaled_up_to_a_loud_today_and_the_reverse() -> None:
    random = np.random.default_rng(1)
    shocks = random.standard_normal((600, 4))
    for before, after in ((0.005, 0.02), (0.02, 0.005)):
        level = np.where(np.arange(600) < 450, before, after)[:, None]
        history = with_moves(a_history(600), level * shocks)
        filtered = filter_history(history, 600, VarianceFilter.ewma(4, 0.97))
        # Only days of the old level, yet at the volatility of the new one.
        moves = filtered.moves(np.arange(100, 440)[:, None])
        raw = columns(history)[100:440].std(axis=0)
        assert raw == pytest.approx(np.full(4, before), rel=0.15)
        assert moves.std(axis=1) == pytest.approx(np.full(4, after), rel=0.25)


def test_a_constant_volatility_leaves_history_as_it_is() -> None:
    """With alpha = gamma = 0 and beta = 1 there is nothing to filter."""
    flat = np.full(4, 1e-4)
    zero = np.zeros(4)
    constant = VarianceFilter(zero, zero, zero, zero, np.ones(4), flat)
    history = a_history()
    filtered = filter_history(history, 400, constant, warm_up=10)
    for path in ("updated", "held"):
        rows = filtered.windows(3, 200)
        sums = np.stack([columns(history)[row].sum(axis=0) for row in rows], axis=1)
        assert filtered.moves(rows, path) == pytest.approx(sums, rel=1e-12, abs=1e-15)


def test_the_dates_of_all_factors_stay_together() -> None:
    """Where B is A at another scale, it still is in every scenario."""
    history = a_history()
    moves = columns(history)
    moves[:, 1] = -2.0 * moves[:, 0]
    moves[:, 3] = 0.5 * moves[:, 0]
    filtered = filter_history(with_moves(history, moves), 400, EWMA)
    out = filtered.moves(filtered.windows(5, 300))
    assert out[1] == pytest.approx(-2.0 * out[0], rel=1e-10)
    assert out[3] == pytest.approx(0.5 * out[0], rel=1e-10)


def test_an_updated_path_is_the_recursion_fed_with_its_own_moves() -> None:
    filtered = filter_history(a_history(), 400, GJR)
    rows = filtered.windows(5, 50)
    want = np.empty((4, len(rows)))
    for k, row in enumerate(rows):
        h, total = filtered.variance, np.zeros(4)
        for day in row:
            e = filtered.shocks[day] * np.sqrt(h)
            total += GJR.mean + e
            h = GJR.omega + (GJR.alpha + np.where(e < 0.0, GJR.gamma, 0.0)) * e**2 + GJR.beta * h
        want[:, k] = total
    assert filtered.moves(rows, "updated") == pytest.approx(want, rel=1e-12)
    held = 5 * GJR.mean[:, None] + np.sqrt(filtered.variance)[:, None] * np.stack(
        [filtered.shocks[row].sum(axis=0) for row in rows], axis=1
    )
    assert filtered.moves(rows, "held") == pytest.approx(held, rel=1e-11)


def test_an_updated_garch_path_returns_to_the_long_run_variance() -> None:
    """Twenty sessions after a crash: the variance of the sum is that of the model's forecast."""
    omega, alpha, beta = 4e-6, 0.08, 0.90
    one = np.ones(2)
    garch = VarianceFilter(0 * one, omega * one, alpha * one, 0 * one, beta * one, 2e-4 * one)
    shocks = np.random.default_rng(3).standard_normal((4000, 2))
    shocks /= np.sqrt((shocks**2).mean(axis=0))
    filtered = FilteredHistory(shocks, np.ones(4000, dtype=bool), np.full(2, 16e-4), garch)
    source = np.random.default_rng(4)
    rows = bootstrap_days(4000, 20, 40_000, mean_block=1.0, source=source)
    h, total = 16e-4, 0.0
    for _ in range(20):
        total += h
        h = omega + (alpha + beta) * h
    updated, held = filtered.moves(rows, "updated"), filtered.moves(rows, "held")
    assert updated.var(axis=1) == pytest.approx([total] * 2, rel=0.03)
    assert held.var(axis=1) == pytest.approx([20 * 16e-4] * 2, rel=0.03)
    assert total < 0.9 * 20 * 16e-4


# --- what is known, and when ----------------------------------------------------------------------


@FAST
@given(st.integers(100, 399), st.integers(0, 2**32 - 1))
def test_nothing_after_now_changes_anything(now: int, seed: int) -> None:
    history = a_history()
    later = columns(history)
    later[now:] = np.random.default_rng(seed).standard_cauchy(later[now:].shape)
    later[now:][::3] = np.nan
    for variance_filter in (EWMA, GJR):
        got = filter_history(with_moves(history, later), now, variance_filter)
        want = filter_history(history, now, variance_filter)
        assert got.shocks.tobytes() == want.shocks.tobytes()
        assert got.variance.tobytes() == want.variance.tobytes()
        assert len(got.shocks) == now


@FAST
@given(st.integers(61, 398))
def test_a_days_shock_knows_no_later_day_and_not_its_own_volatility(day: int) -> None:
    history = a_history()
    changed = columns(history)
    changed[day] *= 10.0
    got = filter_history(with_moves(history, changed), 400, EWMA)
    want = filter_history(history, 400, EWMA)
    assert got.shocks[:day].tobytes() == want.shocks[:day].tobytes()
    assert got.shocks[day] == pytest.approx(10.0 * want.shocks[day], rel=1e-12)
    assert (np.abs(got.shocks[day + 1]) < np.abs(want.shocks[day + 1])).all()


def test_a_gap_in_one_factor_skips_the_day_for_all_and_leaves_its_variance() -> None:
    history = a_history()
    gap = columns(history)
    gap[200, 3] = np.nan
    got = filter_history(with_moves(history, gap), 400, EWMA)
    whole = filter_history(history, 400, EWMA)
    assert np.flatnonzero(~got.usable[60:]).tolist() == [140]
    assert got.shocks[:, :3].tobytes() == whole.shocks[:, :3].tobytes(), "the others still learn"
    without = FactorHistory(
        TICKERS,
        np.arange(1, 400),
        np.delete(history.log_return, 200, axis=0),
        np.delete(history.log_vol_change, 200, axis=0),
    )
    removed = filter_history(without, 399, EWMA)
    assert got.variance[3] == removed.variance[3]
    assert got.shocks[201:, 3].tobytes() == removed.shocks[200:, 3].tobytes()
    for horizon in (1, 3, 5):
        rows = got.windows(horizon, 300)
        assert 200 not in rows
        assert len(rows) == 300 - horizon
        assert (np.diff(rows, axis=1) == 1).all()
        assert np.isfinite(got.moves(rows)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_move_that_is_no_number_is_a_gap(bad: float) -> None:
    moves = columns(a_history())
    moves[250, 1] = bad
    filtered = filter_history(with_moves(a_history(), moves), 400, EWMA)
    assert not filtered.usable[250]
    assert np.isfinite(filtered.variance).all()


@pytest.mark.parametrize("days", [0, 1, 59, 60])
def test_no_more_than_the_warm_up_gives_no_scenario(days: int) -> None:
    filtered = filter_history(a_history(days), 400, EWMA, warm_up=60)
    for horizon in (1, 5):
        rows = filtered.windows(horizon, 500)
        assert rows.shape == (0, horizon)
        assert filtered.moves(rows).shape == (4, 0)
    assert np.isfinite(filtered.variance).all() == (days == 60)


@pytest.mark.parametrize("first", [np.nan, 1e-4])
def test_what_never_moved_is_unknown_and_not_without_risk(first: float) -> None:
    """EWMA of no moves is 0, or decays to it: neither may make a scenario of 0."""
    moves = columns(a_history(400))
    moves[:, 2] = 0.0
    variance_filter = dataclasses.replace(
        VarianceFilter.ewma(4, 0.1), first_variance=np.full(4, first)
    )
    filtered = filter_history(with_moves(a_history(400), moves), 400, variance_filter)
    assert np.isnan(filtered.variance[2])
    assert len(filtered.windows(1, 300)) == 0


def test_the_window_counts_days_as_history_does() -> None:
    filtered = filter_history(a_history(), 400, EWMA)
    assert filtered.windows(1, 100)[[0, -1], 0].tolist() == [300, 399]
    assert filtered.windows(3, 100)[0].tolist() == [298, 299, 300]
    assert len(filtered.windows(3, 500)) == 338


# --- filters --------------------------------------------------------------------------------------


def test_fits_on_percent_returns_are_turned_into_log_units() -> None:
    fit = SimpleNamespace(
        mean=0.05, omega=0.02, alpha=0.01, gamma=0.1, beta=0.9, first_variance=1.5
    )
    returns = VarianceFilter.from_percent_fits([fit, fit])
    percent = VarianceFilter(
        *(np.full(2, getattr(fit, name)) for name in vars(fit)),
    )
    history = a_history()
    hundredfold = with_moves(history, 100.0 * columns(history))
    vols = VarianceFilter.ewma(2)
    got = filter_history(history, 400, returns.followed_by(vols))
    want = filter_history(hundredfold, 400, percent.followed_by(vols))
    assert got.shocks == pytest.approx(want.shocks, rel=1e-11, nan_ok=True)
    assert 1e4 * got.variance == pytest.approx(want.variance, rel=1e-11)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("omega", [-1e-9, 0.0]),
        ("alpha", [0.1, -0.1]),
        ("gamma", [-0.2, 0.0]),
        ("beta", [0.9, np.nan]),
        ("mean", [np.inf, 0.0]),
        ("first_variance", [0.0, 1.0]),
        ("first_variance", [np.inf, 1.0]),
        ("alpha", [0.1]),
    ],
)
def test_a_filter_that_could_make_a_negative_variance_is_refused(name: str, value) -> None:
    with pytest.raises(ValueError, match=name):
        dataclasses.replace(VarianceFilter.ewma(2), **{name: np.array(value)})


def test_what_does_not_fit_the_history_is_refused() -> None:
    with pytest.raises(ValueError, match="variance_filter: got 2 factors; allowed: 4"):
        filter_history(a_history(), 400, VarianceFilter.ewma(2))
    with pytest.raises(ValueError, match="warm_up"):
        filter_history(a_history(), 400, EWMA, warm_up=0)
    filtered = filter_history(a_history(), 400, EWMA)
    with pytest.raises(ValueError, match="path"):
        filtered.moves(filtered.windows(1, 10), "propagated")


@pytest.mark.parametrize(
    "given_value", [{"ewma_decay": 1.0}, {"ewma_decay": 0.0}, {"warm_up": 1}, {"variance_path": ""}]
)
def test_a_configuration_outside_what_can_be_is_refused(given_value) -> None:
    with pytest.raises(ConfigError, match=next(iter(given_value))):
        load_config(FilterConfig, given_value)


# --- weights by age -------------------------------------------------------------------------------


def test_weights_by_age_are_boudoukh_richardson_and_whitelaws() -> None:
    """Their formula for K observations, i = 1 the newest: (1 - L) / (1 - L^K) L^(i - 1)."""
    for decay in (0.97, 0.99):
        i = np.arange(250, 0, -1)
        want = (1.0 - decay) / (1.0 - decay**250) * decay ** (i - 1.0)
        assert age_weights(i - 1, decay) == pytest.approx(want, rel=1e-12)


def test_a_decay_of_one_is_no_decay_to_the_bit() -> None:
    assert (age_weights(np.arange(500), 1.0) == 1.0 / 500).all()


@FAST
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=300), st.floats(0.01, 1.0))
def test_weights_add_up_to_one_and_depend_on_differences_of_age(ages, decay) -> None:
    age = np.array(ages)
    weights = age_weights(age, decay)
    assert abs(weights.sum() - 1.0) < 1e-12
    assert (weights[np.argsort(age)][:-1] >= weights[np.argsort(age)][1:]).all()
    assert (age_weights(age + 17, decay) == weights).all()


def test_ages_and_decays_that_cannot_be_are_refused() -> None:
    assert age_weights(np.zeros(0, dtype=np.int64), 0.9).shape == (0,)
    for decay in (0.0, 1.01, -0.5, np.nan):
        with pytest.raises(ValueError, match="decay"):
            age_weights(np.arange(3), decay)
    with pytest.raises(ValueError, match="age"):
        age_weights(np.array([0, -1]), 0.9)
