"""The test of ES by the size of the losses beyond VaR, with the exact law of its statistic."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riskenv.backtest_inputs import (
    check_level,
    check_tail,
    checked_count,
    forecast_series,
    known_pair,
    refuse_days,
)
from riskenv.coverage_backtest import HypothesisTest

Floats = NDArray[np.float64]

# ES is a mean of what VaR is a quantile of; rounding may lift it above VaR by this much of VaR.
_ROUNDING = 1e-9


def acerbi_szekely(
    pnl: ArrayLike,
    var: ArrayLike,
    es: ArrayLike,
    tail_probability: float = 0.01,
    level: float = 0.05,
    tail_degrees_of_freedom: float = math.inf,
) -> HypothesisTest:
    """The second test of Acerbi and Székely (2014), "Backtesting expected shortfall", of ES.

    Z2 = 1 - sum of P&L / ES over the exceptions / (T p). Right forecasts make the mean of P&L over
    all days, exceptions only, p ES, so that E[Z2] = 0; losses larger or more frequent than forecast
    make it negative, and ES of half the truth makes it -1. One-sided: too much ES is not rejected.

    Critical value and p-value come from the exact law of Z2 (`z2_law`), since the published -0.70
    belongs to 250 days and p = 2.5 %: at p = 1 % it would reject 12.7 % of correct models.

    Args:
        pnl, var, es: (T,) as in `backtest`; a day with any NaN is left out.
        tail_probability, level: as in `backtest`.
        tail_degrees_of_freedom: of the Student t whose tail the P&L is taken to have; infinite is
            the normal's, whose critical value is the nearest to zero.

    Returns:
        The test; its statistic is -inf where a day whose ES is 0 has lost.

    Example:
        >>> pnl = np.tile([1.0, -1.0], 125)
        >>> pnl[[20, 90]] = [-3.0, -4.5]
        >>> test = acerbi_szekely(pnl, np.full(250, -2.5), np.full(250, -3.0))
        >>> test.statistic, round(test.critical_value, 2), test.verdict
        (0.0, -1.12, 'not rejected')
    """
    check_tail(tail_probability)
    check_level(level)
    pnl, var, known = known_pair(pnl, var)
    es = forecast_series("es", es, len(pnl))
    refuse_days("es", es, es > var * (1.0 - _ROUNDING), "at most VaR of that day")
    known &= ~np.isnan(es)
    days = int(known.sum())
    if not days:
        return HypothesisTest(math.nan, math.nan, math.nan, level)
    exception = known & (pnl < var)
    with np.errstate(divide="ignore", over="ignore"):
        # A loss where ES says that none is possible is +inf, for either sign of that zero.
        severity = float((pnl[exception] / -np.abs(es[exception])).sum())
    statistic = 1.0 - severity / (days * tail_probability)
    z, cumulative = z2_law(days, tail_probability, tail_degrees_of_freedom)
    p_value = float(np.interp(statistic, z, cumulative))
    return HypothesisTest(statistic, float(np.interp(level, cumulative, z)), p_value, level)


def z2_law(
    days: int, tail_probability: float, tail_degrees_of_freedom: float = math.inf
) -> tuple[Floats, Floats]:
    """Distribution function of Z2 under right forecasts, as (z, P(Z2 <= z)), z rising.

    The sum in Z2 is compound binomial: each day is an exception with probability p, and then adds a
    severity P&L / ES, whose law depends on the tail's shape alone where P&L has zero mean. Its
    characteristic function on a lattice is raised to the power T. Below the first z, the first
    probability is an upper bound.

    Raises:
        ValueError: no day, or 2 degrees of freedom or fewer (no finite variance).

    Example:
        >>> z, cumulative = z2_law(250, 0.025)   # Acerbi and Székely's -0.70
        >>> round(float(np.interp(0.05, cumulative, z)), 2)
        -0.7
    """
    from scipy.special import stdtr

    check_tail(tail_probability)
    if checked_count("days", days) < 1:
        raise ValueError(f"days: got {days}; allowed: 1 or more")
    if not tail_degrees_of_freedom > 2.0:
        raise ValueError(
            f"tail_degrees_of_freedom: got {tail_degrees_of_freedom!r}; allowed: above 2"
        )
    expected = days * tail_probability
    # The lattice holds the sum up to about 15 standard deviations, so that next to nothing wraps
    # around, in steps of at most 1/200 of the mean severity.
    reach = expected + 15.0 * math.sqrt(2.0 * expected) + 40.0
    size = 1 << math.ceil(math.log2(200.0 * reach))
    step = reach / size
    es = _standard_es(tail_probability, tail_degrees_of_freedom)
    edges = (np.arange(size + 1) - 0.5) * step
    beyond = np.minimum(stdtr(tail_degrees_of_freedom, edges * es), tail_probability)
    of_day = beyond[:-1] - beyond[1:]
    of_day[0] += 1.0 - tail_probability
    of_sum = np.fft.irfft(np.fft.rfft(of_day) ** days, size)
    at_least = 1.0 - np.cumsum(of_sum) + 0.5 * of_sum
    at_least[0] = 1.0
    # Rounding leaves ripples of 1e-12 in the far tail; a distribution function has none.
    at_least = np.minimum.accumulate(np.clip(at_least, 0.0, 1.0))
    z = 1.0 - np.arange(size, dtype=np.float64) * (step / expected)
    return z[::-1], at_least[::-1]


def _standard_es(tail_probability: float, degrees_of_freedom: float) -> float:
    """ES of a standard Student t, or normal (McNeil, Frey and Embrechts 2005, section 2.2.4)."""
    from scipy.special import beta, stdtrit

    nu, quantile = degrees_of_freedom, float(stdtrit(degrees_of_freedom, tail_probability))
    if math.isinf(nu):
        return -math.exp(-0.5 * quantile**2) / math.sqrt(2.0 * math.pi) / tail_probability
    density = (1.0 + quantile**2 / nu) ** (-0.5 * (nu + 1.0)) / math.sqrt(nu) / beta(0.5, 0.5 * nu)
    return -float(density) / tail_probability * (nu + quantile**2) / (nu - 1.0)
