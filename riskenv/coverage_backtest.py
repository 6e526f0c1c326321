"""Tests of how often, and when, losses exceeded VaR.

The likelihood ratios are judged by their asymptotic chi-square, as is the custom, and the critical
values are approximate where few exceptions are expected: of right forecasts for 250 days at 1 %, a
nominal 5 % rejects 9.5 % by coverage, 1.3 % by independence and 0.8 % by both at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from riskenv.backtest_inputs import check_level, check_tail, checked_count, checked_counts
from riskenv.canonical import number

# Basel Committee (1996), "Supervisory framework for the use of backtesting", table 2: what is added
# to the multiplier of 3 for 5 ... 9 exceptions in 250 days at 99 %; the red zone adds 1.
_REGULATORY_DAYS, _REGULATORY_TAIL = 250, 0.01
_MULTIPLIER = 3.0
_PLUS_FACTORS = {5: 0.40, 6: 0.50, 7: 0.65, 8: 0.75, 9: 0.85}
_YELLOW_FROM, _RED_FROM = 0.95, 0.9999


@dataclass(frozen=True)
class HypothesisTest:
    """A test of "the forecasts are right".

    Attributes:
        statistic: a likelihood ratio (rejects above `critical_value`) or Z2 (rejects below).
        critical_value: what a correct model's statistic passes with probability `level`.
        p_value: probability that a correct model's statistic is as extreme or more.
        level: highest accepted probability of rejecting a correct model.
        degrees_of_freedom: of the chi-square; None for a statistic that has none.

    All figures are NaN where there was nothing to test.

    Example:
        >>> kupiec(exceptions=7, days=250, tail_probability=0.01).verdict
        'rejected'
        >>> kupiec(exceptions=0, days=0, tail_probability=0.01).verdict
        'unknown'
    """

    statistic: float
    critical_value: float
    p_value: float
    level: float
    degrees_of_freedom: int | None = None

    @property
    def verdict(self) -> str:
        """ "rejected", "not rejected", or "unknown" without a single usable day."""
        if math.isnan(self.p_value):
            return "unknown"
        return "rejected" if self.p_value < self.level else "not rejected"

    def to_dict(self) -> dict[str, Any]:
        return {
            "statistic": number(self.statistic),
            "degrees_of_freedom": self.degrees_of_freedom,
            "critical_value": number(self.critical_value),
            "p_value": number(self.p_value),
            "level": self.level,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class TrafficLight:
    """The supervisor's reading of a number of exceptions.

    Attributes:
        zone: "green", "yellow", "red"; "unknown" without a single day.
        cumulative_probability: that a correct model has this many exceptions or fewer.
        multiplier: of the capital charge; None unless the test is the regulatory one.
    """

    zone: str
    cumulative_probability: float
    multiplier: float | None


def kupiec(
    exceptions: int, days: int, tail_probability: float, level: float = 0.05
) -> HypothesisTest:
    """Unconditional coverage: exceptions come with probability p (Kupiec 1995, proportion of
    failures; Christoffersen 1998, LR_uc). Two-sided: too few are rejected as well.

    Example:
        >>> test = kupiec(exceptions=6, days=252, tail_probability=0.01)
        >>> round(test.statistic, 4), round(test.critical_value, 4), test.verdict
        (3.4988, 3.8415, 'not rejected')
    """
    check_tail(tail_probability)
    check_level(level)
    x, n = checked_counts(exceptions, days)
    under_null = x * math.log(tail_probability) + (n - x) * math.log1p(-tail_probability)
    ratio = 2.0 * (_log_likelihood(n - x, x) - under_null)
    return _chi_square(ratio if n else math.nan, 1, level)


def christoffersen(n00: int, n01: int, n10: int, n11: int, level: float = 0.05) -> HypothesisTest:
    """Independence of exceptions against a first-order Markov chain (Christoffersen 1998, LR_ind).

    Args:
        n00, n01, n10, n11: days that follow a day; 1 is an exception, and the first digit is the
            earlier day. T days have T - 1 transitions.
        level: of the test.

    Example:
        >>> test = christoffersen(n00=932, n01=53, n10=53, n11=4)
        >>> round(test.statistic, 5), test.verdict
        (0.25866, 'not rejected')
    """
    check_level(level)
    n00, n01 = checked_count("n00", n00), checked_count("n01", n01)
    n10, n11 = checked_count("n10", n10), checked_count("n11", n11)
    chain = _log_likelihood(n00, n01) + _log_likelihood(n10, n11)
    ratio = 2.0 * (chain - _log_likelihood(n00 + n10, n01 + n11))
    return _chi_square(ratio if n00 + n01 + n10 + n11 else math.nan, 1, level)


def conditional_coverage(coverage: HypothesisTest, independence: HypothesisTest) -> HypothesisTest:
    """Both at once: LR_cc = LR_uc + LR_ind, two degrees of freedom (Christoffersen 1998).

    Example:
        >>> test = conditional_coverage(kupiec(57, 1043, 0.05), christoffersen(932, 53, 53, 4))
        >>> round(test.statistic, 5), round(test.critical_value, 4), test.verdict
        (0.72013, 5.9915, 'not rejected')
    """
    if coverage.level != independence.level:
        raise ValueError(f"level: got {coverage.level} and {independence.level}; allowed: the same")
    return _chi_square(coverage.statistic + independence.statistic, 2, coverage.level)


def traffic_light(
    exceptions: int, days: int = _REGULATORY_DAYS, tail_probability: float = _REGULATORY_TAIL
) -> TrafficLight:
    """Basel's zones: yellow from a cumulative probability of 95 %, red from 99.99 % (1996).

    Any number of days and p has a zone, and no exception at all is green, however few the days;
    only 250 days at 1 % have a multiplier.

    Example:
        >>> light = traffic_light(6)
        >>> light.zone, round(light.cumulative_probability, 4), light.multiplier
        ('yellow', 0.9863, 3.5)
        >>> traffic_light(6, days=1000).multiplier is None
        True
    """
    from scipy.special import bdtr

    check_tail(tail_probability)
    x, n = checked_counts(exceptions, days)
    if n == 0:
        return TrafficLight("unknown", math.nan, None)
    cumulative = float(bdtr(x, n, tail_probability))
    zone, plus = "green", 0.0
    if x > 0 and cumulative >= _RED_FROM:
        zone, plus = "red", 1.0
    elif x > 0 and cumulative >= _YELLOW_FROM:
        zone, plus = "yellow", _PLUS_FACTORS.get(x, math.nan)
    regulatory = n == _REGULATORY_DAYS and math.isclose(tail_probability, _REGULATORY_TAIL)
    return TrafficLight(zone, cumulative, _MULTIPLIER + plus if regulatory else None)


def _log_likelihood(none: int, some: int) -> float:
    """Of a Bernoulli sample at its own frequency; 0 log 0 = 0."""
    total = none + some
    return sum(count * math.log(count / total) for count in (none, some) if count)


def _chi_square(ratio: float, degrees_of_freedom: int, level: float) -> HypothesisTest:
    from scipy.special import chdtrc, chdtri

    ratio = max(ratio, 0.0) if not math.isnan(ratio) else ratio  # rounding may go below 0
    return HypothesisTest(
        statistic=ratio,
        critical_value=float(chdtri(degrees_of_freedom, level)),
        p_value=float(chdtrc(degrees_of_freedom, ratio)),
        level=level,
        degrees_of_freedom=degrees_of_freedom,
    )
