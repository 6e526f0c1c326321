"""A day's volatility surface: mean-reverting variance along expiry, a standardised skew across.

Term structure. If variance returns to a level L at speed kappa, its mean over (0, T) is
L + (v0 - L) g(kappa T), g(x) = (1 - exp(-x)) / x (the expected integrated variance of Heston
1993). v0 follows from the 30-day volatility. Total variance rises with T while v0 and L are
positive, so there is no calendar arbitrage at the money; a floor keeps v0 positive when a calm
30-day volatility lies far below L.

Skew. With y = ln(K/F) / (sigma(T) sqrt(T)) and z = wing * tanh(y / wing),
volatility = sigma(T) * (1 + slope z + curvature z^2). Standardised moneyness makes the skew in
strike flatten as 1/sqrt(T), as index smiles do; tanh flattens the wings, so that far strikes are
lognormal and total variance grows slower than |ln K/F| (Lee 2004).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from riskenv.data.market_config import MarketConfig

from riskenv.compilation import jit

# The maturity that the 30-day volatility speaks of, in years of 365 days.
REFERENCE_YEARS = 30.0 / 365.0


def surface_vol(
    vol_30d: ArrayLike,
    long_run_vol: ArrayLike,
    log_moneyness: ArrayLike,
    years: ArrayLike,
    config: MarketConfig,
) -> NDArray[np.float64]:
    """Implied volatility per year; the arguments broadcast against each other.

    Args:
        vol_30d: at-the-money 30-day volatility per year.
        long_run_vol: level that variance returns to, as a volatility per year.
        log_moneyness: ln(K / F), F the forward to the expiry.
        years: time to settlement, seconds / (365 * 86400).
        config: speed, floor and skew.

    Returns:
        An array of the broadcast shape; NaN where `years` or a volatility is not above 0, or the
        log-moneyness is not finite.

    Example:
        >>> config = MarketConfig()
        >>> surface_vol(0.20, 0.20, 0.0, [0.1, 1.0], config)
        array([0.2, 0.2])
        >>> low, high = surface_vol(0.20, 0.20, [-0.1, 0.1], 0.1, config)
        >>> bool(low > 0.2 > high)
        True
        >>> calm = surface_vol(0.10, 0.20, 0.0, [0.02, 0.5], config)
        >>> bool(calm[0] < 0.10 < calm[1] < 0.20)
        True
    """
    arrays = np.broadcast_arrays(
        np.asarray(vol_30d, dtype=np.float64),
        np.asarray(long_run_vol, dtype=np.float64),
        np.asarray(log_moneyness, dtype=np.float64),
        np.asarray(years, dtype=np.float64),
    )
    out = np.empty(arrays[0].size)
    flat = [np.ascontiguousarray(array).ravel() for array in arrays]
    _surface(flat[0], flat[1], flat[2], flat[3], *surface_parameters(config), out)
    return out.reshape(arrays[0].shape)


def surface_parameters(config: MarketConfig) -> tuple[float, float, float, float, float]:
    """The surface's numbers in the order the kernels take them."""
    return (
        config.mean_reversion,
        config.short_variance_floor,
        config.skew_slope,
        config.skew_curvature,
        config.skew_wing,
    )


@jit
def _point(
    vol_30d: float,
    long_run_vol: float,
    log_moneyness: float,
    years: float,
    speed: float,
    floor: float,
    slope: float,
    curvature: float,
    wing: float,
) -> float:
    # Also refuses a strike of 0 or infinity, whose logarithm would look like a flat far wing.
    if not (years > 0.0 and vol_30d > 0.0 and long_run_vol > 0.0 and abs(log_moneyness) < math.inf):
        return math.nan
    reference = speed * REFERENCE_YEARS
    g_reference = -math.expm1(-reference) / reference
    v = vol_30d * vol_30d
    # v0 = L + (v - L) / g_reference >= floor * v, solved for the level L.
    level = min(long_run_vol * long_run_vol, v * (1.0 - floor * g_reference) / (1.0 - g_reference))
    decay = -math.expm1(-speed * years) / (speed * years)
    sigma = math.sqrt(level + (v - level) * (decay / g_reference))
    z = wing * math.tanh(log_moneyness / (sigma * math.sqrt(years) * wing))
    return sigma * (1.0 + z * (slope + curvature * z))


@jit
def _surface(vol_30d, long_run_vol, log_moneyness, years, speed, floor, slope, curv, wing, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = _point(
            vol_30d[i],
            long_run_vol[i],
            log_moneyness[i],
            years[i],
            speed,
            floor,
            slope,
            curv,
            wing,
        )


@jit
def day_surface(  # type: ignore[no-untyped-def]
    vol_30d, long_run_vol, spot, carry, strike, years, speed, floor, slope, curv, wing, out
):
    """`surface_vol` for one day and underlying, from strikes: ln(K/F) = ln(K/S) - carry * T."""
    for i in range(out.size):
        log_moneyness = math.log(strike[i] / spot) - carry * years[i]
        out[i] = _point(
            vol_30d, long_run_vol, log_moneyness, years[i], speed, floor, slope, curv, wing
        )
