"""The smile is positive and free of static arbitrage, on calm days and in a crisis."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from riskenv.data import MarketConfig, surface_vol
from riskenv.data.surface import REFERENCE_YEARS
from scipy.stats import norm

CONFIG = MarketConfig()
MATURITIES = [1 / 365, 7 / 365, 30 / 365, 0.25, 1.0, 2.0]
# (30-day volatility, long-run volatility): 2017-11, an average day, 2008-11, NASDAQ 2001-01.
DAYS = [(0.08, 0.21), (0.17, 0.20), (0.82, 0.22), (0.69, 0.41)]


def undiscounted_calls(
    vol: NDArray[np.float64], k: NDArray[np.float64], years: float
) -> NDArray[np.float64]:
    """Black (1976) prices of calls on a forward of 1."""
    total = vol * np.sqrt(years)
    d1 = -k / total + total / 2
    return norm.cdf(d1) - np.exp(k) * norm.cdf(d1 - total)


@pytest.mark.parametrize("years", MATURITIES)
@pytest.mark.parametrize(("vol_30d", "long_run"), DAYS)
def test_there_is_no_butterfly_arbitrage(vol_30d: float, long_run: float, years: float) -> None:
    spread = surface_vol(vol_30d, long_run, 0.0, years, CONFIG) * np.sqrt(years)
    k = np.linspace(-8, 6, 1401) * spread
    vol = surface_vol(vol_30d, long_run, k, years, CONFIG)
    assert (vol > 0.0).all()
    price, strike = undiscounted_calls(vol, k, years), np.exp(k)
    slope = np.diff(price) / np.diff(strike)
    # Calls fall with the strike, by no more than it rises, and convexly.
    assert (slope <= 1e-12).all()
    assert (slope >= -1 - 1e-12).all()
    assert (np.diff(slope) >= -1e-9).all()
    # Where prices have digits left, the density is strictly positive and integrates to one.
    density = np.diff(slope) / (0.5 * (strike[2:] - strike[:-2]))
    assert (density[300:-100] > 0.0).all()
    assert slope[-1] - slope[0] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(("vol_30d", "long_run"), DAYS)
def test_total_variance_rises_with_maturity_at_every_moneyness(
    vol_30d: float, long_run: float
) -> None:
    years = np.linspace(1 / 365, 3.0, 600)[:, None]
    k = np.linspace(-1.5, 1.0, 101)[None, :]
    total = surface_vol(vol_30d, long_run, k, years, CONFIG) ** 2 * years
    assert (np.diff(total, axis=0) > 0.0).all()


@pytest.mark.parametrize(("vol_30d", "long_run"), DAYS)
def test_the_thirty_day_volatility_is_returned_at_thirty_days(
    vol_30d: float, long_run: float
) -> None:
    at_the_money = surface_vol(vol_30d, long_run, 0.0, REFERENCE_YEARS, CONFIG)
    assert at_the_money == pytest.approx(vol_30d, rel=1e-12)


def test_volatility_returns_to_its_long_run_level() -> None:
    years = np.array([0.02, 0.1, 0.5, 2.0, 50.0])
    falling = surface_vol(0.80, 0.20, 0.0, years, CONFIG)
    rising = surface_vol(0.15, 0.20, 0.0, years, CONFIG)
    assert (np.diff(falling) < 0.0).all()
    assert (np.diff(rising) > 0.0).all()
    assert (falling[-1], rising[-1]) == pytest.approx((0.20, 0.20), rel=0.05)


def test_short_variance_keeps_above_its_floor_on_the_calmest_day() -> None:
    shortest = surface_vol(0.05, 0.40, 0.0, 1e-9, CONFIG)
    assert shortest**2 == pytest.approx(CONFIG.short_variance_floor * 0.05**2, rel=1e-6)


def test_vix_to_atm_is_what_the_smile_itself_implies() -> None:
    # Fair variance of a swap: 2 e^{rT}/T times the integral of out-of-the-money prices over
    # strike squared (Demeterfi, Derman, Kamal and Zou 1999, eq. 26).
    vol, years = 0.20, REFERENCE_YEARS
    k = np.linspace(-12, 8, 20_001) * vol * np.sqrt(years)
    calls = undiscounted_calls(surface_vol(vol, vol, k, years, CONFIG), k, years)
    otm = np.where(k < 0, calls - 1.0 + np.exp(k), calls)
    variance = 2 / years * np.trapezoid(otm * np.exp(-k), k)
    assert CONFIG.vix_to_atm == pytest.approx(vol / np.sqrt(variance), abs=0.002)


@pytest.mark.parametrize(
    ("vol_30d", "long_run", "log_moneyness", "years"),
    [
        (0.2, 0.2, 0.0, 0.0),
        (0.2, 0.2, 0.0, -0.1),
        (0.0, 0.2, 0.0, 0.1),
        (np.nan, 0.2, 0.0, 0.1),
        (0.2, np.nan, 0.0, 0.1),
        (0.2, 0.2, np.nan, 0.1),
        (0.2, 0.2, -np.inf, 0.1),
        (0.2, 0.2, 0.0, np.nan),
    ],
)
def test_garbage_in_is_nan_out(
    vol_30d: float, long_run: float, log_moneyness: float, years: float
) -> None:
    assert np.isnan(surface_vol(vol_30d, long_run, log_moneyness, years, CONFIG))
