"""Forecasts follow the recursion that was fitted, and never look ahead."""

from __future__ import annotations

import numpy as np
import pytest
from arch import arch_model
from numpy.typing import NDArray
from riskenv.data import FitError, GarchFit, fit_garch
from riskenv.data.garch import rolling_forecast


@pytest.fixture(scope="module")
def returns() -> NDArray[np.float64]:
    """Returns of a GJR process with known parameters."""
    rng = np.random.default_rng(7)
    h, out = 1.0, []
    for z in rng.standard_t(8, size=6000) * np.sqrt(6 / 8):
        e = np.sqrt(h) * z
        out.append(e)
        h = 0.03 + (0.03 + 0.12 * (e < 0)) * e * e + 0.88 * h
    return np.array(out) / 100.0


FLAT = GarchFit(
    mean=0.0,
    omega=0.1,
    alpha=0.05,
    gamma=0.1,
    beta=0.8,
    downside=0.5,
    first_variance=1.0,
    degrees_of_freedom=8.0,
    skewness=0.0,
)


def test_a_fit_recovers_the_process_that_made_the_returns(returns: NDArray[np.float64]) -> None:
    fit = fit_garch(returns)
    found = [fit.alpha, fit.gamma, fit.beta, fit.persistence, fit.degrees_of_freedom]
    errors = np.abs(np.subtract(found, [0.03, 0.12, 0.88, 0.97, 8.0]))
    assert (errors < [0.03, 0.04, 0.03, 0.02, 2.0]).all(), found


@pytest.mark.parametrize("model", ["gjr", "garch"])
@pytest.mark.parametrize("innovations", ["skewt", "t"])
def test_the_filter_is_the_one_that_was_fitted(
    returns: NDArray[np.float64], model: str, innovations: str
) -> None:
    fit = fit_garch(returns, model, innovations)  # type: ignore[arg-type]
    peer = arch_model(
        100 * returns, vol="GARCH", o=int(model == "gjr"), dist=innovations, rescale=False
    ).fit(disp="off")
    # The variance after session t is arch's conditional variance of session t + 1.
    ours = fit.next_variances(returns)[:-1]
    np.testing.assert_allclose(ours, peer.conditional_volatility[1:] ** 2, rtol=1e-10)


def test_the_forecast_is_the_mean_of_simulated_variances() -> None:
    rng = np.random.default_rng(3)
    h = np.full(200_000, 2.0)
    total = np.zeros_like(h)
    for _ in range(5):
        total += h
        e = np.sqrt(h) * rng.standard_normal(len(h))
        h = FLAT.omega + (FLAT.alpha + FLAT.gamma * (e < 0)) * e * e + FLAT.beta * h
    forecast = FLAT.mean_forecast(np.array([2.0]), 5)[0]
    assert forecast == pytest.approx((total / 5).mean(), rel=0.005)


def test_a_fall_raises_variance_more_than_a_rise() -> None:
    fall, rise = FLAT.next_variances(np.array([-0.02]))[0], FLAT.next_variances(np.array([0.02]))[0]
    assert (fall, rise) == pytest.approx((0.1 + 0.15 * 4 + 0.8, 0.1 + 0.05 * 4 + 0.8))


def test_the_downside_moment_is_that_of_a_skewed_density(returns: NDArray[np.float64]) -> None:
    assert fit_garch(returns, innovations="t").downside == pytest.approx(0.5, abs=1e-9)
    # Mirrored returns swap the halves of E[z^2] = 1.
    skewed = np.random.default_rng(5).gamma(4.0, size=3000)
    skewed = 0.01 * (skewed - skewed.mean())
    right, left = fit_garch(skewed, "garch"), fit_garch(-skewed, "garch")
    assert right.downside < 0.45
    assert right.downside + left.downside == pytest.approx(1.0, abs=0.01)


def test_forecasts_do_not_change_when_later_returns_do(returns: NDArray[np.float64]) -> None:
    before = rolling_forecast(returns[:2000], [800, 1400], 21, blend=60)
    changed = returns[:2000].copy()
    changed[1700:] *= 3.0
    after = rolling_forecast(changed, [800, 1400], 21, blend=60)
    assert before[:1700].tobytes() == after[:1700].tobytes()
    assert (before[1700:] != after[1700:]).all()


def test_a_refit_uses_only_the_returns_before_it(returns: NDArray[np.float64]) -> None:
    forecast = rolling_forecast(returns[:2000], [800, 1400], 21, blend=0)
    fit = fit_garch(returns[1:1400])
    wanted = fit.mean_forecast(fit.next_variances(returns[1:2000])[1399:], 21) / 1e4
    np.testing.assert_array_equal(forecast[1400:], wanted)


def test_new_parameters_are_phased_in(returns: NDArray[np.float64]) -> None:
    # The first 800 returns are doubled, so that the two fits disagree.
    returns = np.where(np.arange(2000) < 800, 2.0, 1.0) * returns[:2000]
    blended = rolling_forecast(returns, [800, 1400], 21, blend=4)
    new = rolling_forecast(returns, [800, 1400], 21, blend=0)
    old = rolling_forecast(returns, [800], 21, blend=0)
    share = (blended - old)[1400:1406] / (new - old)[1400:1406]
    np.testing.assert_allclose(share, [0.2, 0.4, 0.6, 0.8, 1.0, 1.0], rtol=1e-6)
    assert blended[:1400].tobytes() == old[:1400].tobytes()


@pytest.mark.parametrize("rows", [[], [200]])
def test_too_short_a_past_is_refused(returns: NDArray[np.float64], rows: list[int]) -> None:
    with pytest.raises(ValueError, match="at least 250 returns"):
        rolling_forecast(returns, rows, 21, blend=0)


def test_a_missing_return_is_refused(returns: NDArray[np.float64]) -> None:
    with_gap = returns.copy()
    with_gap[5] = np.nan
    with pytest.raises(ValueError, match="finite"):
        fit_garch(with_gap)


# arch divides by the variance of constant returns.
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_fit_that_does_not_converge_is_an_error() -> None:
    with pytest.raises(FitError, match="did not converge"):
        fit_garch(np.zeros(500))
