"""The stationary bootstrap: lengths of blocks, frequencies of days, same state same paths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskenv import ConfigError, FactorHistory, load_config
from riskenv.bootstrap import BootstrapConfig, bootstrap_days, bootstrap_moves, sum_rows

FAST = settings(max_examples=60, deadline=None, database=None, derandomize=True)


def a_history(days: int = 400, seed: int = 0) -> FactorHistory:
    random = np.random.default_rng(seed)
    returns = 0.01 * random.standard_normal((days, 2))
    vols = random.standard_normal((days, 2)) / 30.0
    return FactorHistory(("A", "B"), np.arange(1, days + 1), returns, vols)


def block_lengths(path: np.ndarray, days: int) -> np.ndarray:
    """Runs of days that follow each other, the first day following the last."""
    breaks = np.flatnonzero(np.diff(path) % days != 1) + 1
    return np.diff(np.concatenate([[0], breaks, [len(path)]]))


@pytest.mark.parametrize("mean_block", [1.0, 2.0, 5.0, 20.0])
def test_blocks_have_geometric_lengths_of_the_mean_asked_for(mean_block: float) -> None:
    days = 10_007
    path = bootstrap_days(days, 200_000, 1, mean_block, np.random.default_rng(7))[0]
    lengths = block_lengths(path, days)
    standard_error = np.sqrt(mean_block * (mean_block - 1.0) / len(lengths)) + 1e-3
    assert abs(lengths.mean() - mean_block) < 4.0 * standard_error
    # P(length > k) = (1 - 1 / L)^k
    for k in (1, 3, 10):
        share, want = (lengths > k).mean(), (1.0 - 1.0 / mean_block) ** k
        assert abs(share - want) < 4.0 * np.sqrt(want * (1.0 - want) / len(lengths)) + 1e-3


@pytest.mark.parametrize("mean_block", [1.0, 10.0, 250.0])
def test_every_day_is_as_likely_at_every_step(mean_block: float) -> None:
    """Stationarity: with wrap-around, no day is rarer for lying at an end of history."""
    paths, days = 60_000, 20
    rows = bootstrap_days(days, 5, paths, mean_block, np.random.default_rng(3))
    expected = paths / days
    for step in range(5):
        counts = np.bincount(rows[:, step], minlength=days)
        assert len(counts) == days
        # Chi-square of 19 degrees of freedom: beyond 52.4 once in 20,000 draws.
        assert ((counts - expected) ** 2 / expected).sum() < 52.4


def test_a_path_keeps_the_serial_correlation_of_history_by_its_block_length() -> None:
    """Politis and Romano (1994), Lemma 1: (1 - 1/L)^k of the circular autocovariance at lag k."""
    random = np.random.default_rng(11)
    x = np.empty(2000)
    x[0] = 0.0
    for t in range(1, 2000):
        x[t] = 0.6 * x[t - 1] + random.standard_normal()
    x -= x.mean()
    rows = bootstrap_days(2000, 4, 200_000, 5.0, np.random.default_rng(12))
    drawn = x[rows]
    for lag in (1, 2, 3):
        circular = np.mean(x * np.roll(x, -lag))
        got = np.mean(drawn[:, 0] * drawn[:, lag])
        assert got == pytest.approx(0.8**lag * circular, abs=4.0 * x.var() / np.sqrt(200_000))


def test_long_blocks_are_windows_of_history_and_wrap_around() -> None:
    rows = bootstrap_days(50, 5, 2000, 1e12, np.random.default_rng(1))
    assert ((np.diff(rows, axis=1) % 50) == 1).all()
    assert [48, 49, 0, 1, 2] in rows.tolist()


def test_a_mean_block_of_one_draws_every_day_on_its_own() -> None:
    rows = bootstrap_days(1000, 5, 4000, 1.0, np.random.default_rng(1))
    assert (np.diff(rows, axis=1) == 1).mean() < 0.003


def test_the_same_state_gives_the_same_paths_and_takes_the_same_numbers() -> None:
    one, two = np.random.default_rng(9), np.random.default_rng(9)
    first = bootstrap_days(300, 5, 200, 10.0, one)
    assert first.tobytes() == bootstrap_days(300, 5, 200, 10.0, two).tobytes()
    assert one.bit_generator.state == two.bit_generator.state
    assert first.tobytes() != bootstrap_days(300, 5, 200, 10.0, one).tobytes(), "the state moved on"
    # How many numbers are taken depends on the shape alone.
    other = np.random.default_rng(9)
    bootstrap_days(77, 5, 200, 1.0, other)
    bootstrap_days(77, 5, 200, 1.0, other)
    assert one.bit_generator.state == other.bit_generator.state


class Fixed:
    """Uniforms that are given, for the ends of what may be drawn."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self, size: tuple[int, int, int], /) -> np.ndarray:
        return np.full(size, self.value)


@FAST
@given(st.integers(1, 10**6), st.sampled_from([0.0, 0.5, np.nextafter(1.0, 0.0)]))
def test_no_draw_leaves_history(days: int, uniform: float) -> None:
    rows = bootstrap_days(days, 5, 3, 10.0, Fixed(uniform))
    assert rows.min() >= 0
    assert rows.max() < days


@pytest.mark.parametrize(
    ("given_value", "named"),
    [
        ((0, 5, 10, 2.0), "days"),
        ((9, 0, 10, 2.0), "horizon"),
        ((9, 5, 0, 2.0), "paths"),
        ((9, 5, 10, 0.5), "mean_block"),
        ((9, 5, 10, np.nan), "mean_block"),
    ],
)
def test_what_cannot_be_drawn_is_refused(given_value, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        bootstrap_days(*given_value, np.random.default_rng(0))


@pytest.mark.parametrize(("key", "value"), [("paths", 1), ("mean_block", 0.9), ("seed", -1)])
def test_a_configuration_outside_what_can_be_is_refused(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=key):
        load_config(BootstrapConfig, {key: value})


# --- of a factor history --------------------------------------------------------------------------

CONFIG = BootstrapConfig(paths=500, mean_block=5.0)
DAYS = {"window": 300, "min_days": 200}


@pytest.mark.parametrize("horizon", [1, 3, 5])
def test_moves_are_sums_over_jointly_drawn_days_of_the_window(horizon: int) -> None:
    history = a_history()
    moves = bootstrap_moves(history, 400, horizon, CONFIG, np.random.default_rng(5), **DAYS)
    rows = bootstrap_days(300, horizon, 500, 5.0, np.random.default_rng(5))
    recent = np.concatenate([history.log_return, history.log_vol_change], axis=1)[100:]
    assert moves == pytest.approx(recent[rows].sum(axis=1).T, rel=1e-12, abs=1e-15)
    assert moves.shape == (4, 500)


def test_nothing_after_now_changes_anything() -> None:
    history = a_history()
    returns, vols = history.log_return.copy(), history.log_vol_change.copy()
    returns[350:], vols[350:] = 9.0, np.nan
    later = FactorHistory(("A", "B"), history.times, returns, vols)
    got = bootstrap_moves(later, 350, 3, CONFIG, np.random.default_rng(5), **DAYS)
    want = bootstrap_moves(history, 350, 3, CONFIG, np.random.default_rng(5), **DAYS)
    assert got.tobytes() == want.tobytes()
    assert np.abs(got).max() < 1.0


def test_a_day_with_a_gap_in_one_factor_is_drawn_for_none() -> None:
    history = a_history()
    returns, vols = history.log_return.copy(), history.log_vol_change.copy()
    returns[200] = 5.0
    vols[200, 1] = np.nan
    gap = FactorHistory(("A", "B"), history.times, returns, vols)
    moves = bootstrap_moves(gap, 400, 5, CONFIG, np.random.default_rng(5), **DAYS)
    assert np.isfinite(moves).all()
    assert np.abs(moves).max() < 1.0
    without = FactorHistory(
        ("A", "B"), np.arange(1, 400), np.delete(returns, 200, axis=0), np.delete(vols, 200, axis=0)
    )
    want = bootstrap_moves(without, 399, 5, CONFIG, np.random.default_rng(5), 299, 200)
    assert moves.tobytes() == want.tobytes()


def test_too_little_history_gives_no_paths_and_draws_nothing() -> None:
    source = np.random.default_rng(5)
    before = source.bit_generator.state
    assert bootstrap_moves(a_history(), 199, 3, CONFIG, source, **DAYS).shape == (4, 0)
    assert source.bit_generator.state == before
    assert bootstrap_moves(a_history(), 200, 3, CONFIG, source, **DAYS).shape == (4, 500)


def test_sums_run_in_the_paths_order() -> None:
    moves = np.array([[1e16], [1.0], [-1e16]])
    out = np.empty((1, 2))
    sum_rows(moves, np.array([[0, 1, 2], [0, 2, 1]]), out)
    assert out.tolist() == [[0.0, 1.0]]
