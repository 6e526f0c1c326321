"""Back-tests of VaR and ES forecasts against the P&L that came.

P&L, VaR and ES share a sign: losses are negative, VaR and ES are <= 0. An exception is a day whose
P&L is strictly below its VaR. NaN is Unknown: such a day is counted, tested by nothing, and the day
after it is not taken for the successor of the day before it. A day without a position has nothing
to forecast and passes every test; set its P&L to NaN where that would flatter the model.

The likelihood ratios are judged by their asymptotic chi-square, as is the custom, and the critical
values are approximate where few exceptions are expected: of right forecasts for 250 days at 1 %, a
nominal 5 % rejects 9.5 % by coverage, 1.3 % by independence and 0.8 % by both at once.
"""

from __future__ import annotations

import math
import operator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riskenv.canonical import number

Floats = NDArray[np.float64]

# Basel Committee (1996), "Supervisory framework for the use of backtesting", table 2: what is added
# to the multiplier of 3 for 5 ... 9 exceptions in 250 days at 99 %; the red zone adds 1.
_REGULATORY_DAYS, _REGULATORY_TAIL = 250, 0.01
_MULTIPLIER = 3.0
_PLUS_FACTORS = {5: 0.40, 6: 0.50, 7: 0.65, 8: 0.75, 9: 0.85}
_YELLOW_FROM, _RED_FROM = 0.95, 0.9999

# ES is a mean of what VaR is a quantile of; rounding may lift it above VaR by this much of VaR.
_ROUNDING = 1e-9


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


@dataclass(frozen=True)
class VarBacktest:
    """Everything a back-test found.

    Attributes:
        days: days with both P&L and VaR known; what all of the VaR tests count.
        unknown: days left out because P&L or VaR was NaN.
        exceptions: days with P&L < VaR.
        tail_probability: p, literal.
        transitions: n00, n01, n10, n11 between adjacent known days; 1 is an exception, and the
            first digit is the earlier day.
        coverage, independence, conditional_coverage: Kupiec's and Christoffersen's tests.
        traffic_light: the supervisor's zone.
        quantile_loss: mean, in P&L's units; NaN without a known day.
        shortfall: Acerbi and Székely's Z2; None where no ES was given.
        shortfall_unknown: days left out of `shortfall`, `unknown` included.
    """

    days: int
    unknown: int
    exceptions: int
    tail_probability: float
    transitions: tuple[int, int, int, int]
    coverage: HypothesisTest
    independence: HypothesisTest
    conditional_coverage: HypothesisTest
    traffic_light: TrafficLight
    quantile_loss: float
    shortfall: HypothesisTest | None
    shortfall_unknown: int | None

    def to_dict(self) -> dict[str, Any]:
        light = asdict(self.traffic_light)
        light["cumulative_probability"] = number(self.traffic_light.cumulative_probability)
        return {
            "days": self.days,
            "unknown": self.unknown,
            "exceptions": self.exceptions,
            "tail_probability": self.tail_probability,
            "transitions": dict(zip(("n00", "n01", "n10", "n11"), self.transitions, strict=True)),
            "coverage": self.coverage.to_dict(),
            "independence": self.independence.to_dict(),
            "conditional_coverage": self.conditional_coverage.to_dict(),
            "traffic_light": light,
            "quantile_loss": number(self.quantile_loss),
            "shortfall": self.shortfall.to_dict() if self.shortfall else None,
            "shortfall_unknown": self.shortfall_unknown,
        }

    def table(self) -> list[tuple[str, str, str]]:
        """(name, figure, verdict) rows for a terminal."""
        light = self.traffic_light
        zone = light.zone if light.multiplier is None else f"{light.zone}, × {light.multiplier:.2f}"
        expected = f"{self.tail_probability * self.days:.1f} expected"
        rows = [
            ("days", f"{self.days}", f"{self.unknown} unknown"),
            ("exceptions", f"{self.exceptions}", expected),
            ("coverage (Kupiec)", *_row("LR", self.coverage)),
            ("independence (Christoffersen)", *_row("LR", self.independence)),
            ("conditional coverage", *_row("LR", self.conditional_coverage)),
            ("traffic light", f"cumulative {100.0 * light.cumulative_probability:.2f} %", zone),
            ("mean quantile loss", f"{self.quantile_loss:.6g}", ""),
        ]
        if self.shortfall is not None:
            rows.append(("shortfall (Acerbi-Székely)", *_row("Z2", self.shortfall)))
        return rows


def backtest(
    pnl: ArrayLike,
    var: ArrayLike,
    *,
    es: ArrayLike | None = None,
    tail_probability: float = 0.01,
    level: float = 0.05,
) -> VarBacktest:
    """Judge VaR forecasts, and ES forecasts where given, by the P&L that came.

    Args:
        pnl: (T,) P&L of each day, losses negative.
        var: (T,) VaR of that day, <= 0, forecast before it.
        es: (T,) ES of that day, <= VaR, forecast before it.
        tail_probability: p, literal.
        level: of every test.

    Raises:
        ValueError: series of different lengths, an infinity, a positive VaR, an ES above its VaR,
            or a tail probability or level that reads as a confidence.

    Example:
        >>> pnl = np.tile([1.0, -1.0], 125)
        >>> pnl[[20, 21, 90, 200]] = [-3.0, -4.0, -5.0, np.nan]
        >>> found = backtest(pnl, np.full(250, -2.5), es=np.full(250, -3.0))
        >>> found.days, found.unknown, found.exceptions, found.transitions
        (249, 1, 3, (242, 2, 2, 1))
        >>> for row in found.table(): print(f"{row[0]:30}{row[1]:37}{row[2]}".rstrip())
        days                          249                                  1 unknown
        exceptions                    3                                    2.5 expected
        coverage (Kupiec)             LR 0.10, critical 3.84, p 75.30 %    not rejected
        independence (Christoffersen) LR 5.41, critical 3.84, p 2.00 %     rejected
        conditional coverage          LR 5.51, critical 5.99, p 6.37 %     not rejected
        traffic light                 cumulative 76.03 %                   green
        mean quantile loss            0.04251
        shortfall (Acerbi-Székely)    Z2 -0.61, critical -1.12, p 16.60 %  not rejected
    """
    pnl, var, known = _pair(pnl, var)
    exception = known & (pnl < var)
    days, exceptions = int(known.sum()), int(exception.sum())
    adjacent = known[:-1] & known[1:]
    before, after = exception[:-1][adjacent], exception[1:][adjacent]
    n00, n01, n10, n11 = np.bincount(2 * before + after, minlength=4).tolist()
    coverage = kupiec(exceptions, days, tail_probability, level)
    independence = christoffersen(n00, n01, n10, n11, level)
    shortfall, shortfall_unknown = None, None
    if es is not None:
        shortfall = acerbi_szekely(pnl, var, es, tail_probability, level)
        shortfall_unknown = len(pnl) - int((known & ~np.isnan(np.asarray(es, float))).sum())
    return VarBacktest(
        days=days,
        unknown=len(pnl) - days,
        exceptions=exceptions,
        tail_probability=tail_probability,
        transitions=(n00, n01, n10, n11),
        coverage=coverage,
        independence=independence,
        conditional_coverage=conditional_coverage(coverage, independence),
        traffic_light=traffic_light(exceptions, days, tail_probability),
        quantile_loss=quantile_loss(pnl, var, tail_probability),
        shortfall=shortfall,
        shortfall_unknown=shortfall_unknown,
    )


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
    _check_tail(tail_probability)
    _check_level(level)
    x, n = _counts(exceptions, days)
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
    _check_level(level)
    n00, n01 = _count("n00", n00), _count("n01", n01)
    n10, n11 = _count("n10", n10), _count("n11", n11)
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

    Any number of days and p has a zone; only 250 days at 1 % have a multiplier.

    Example:
        >>> light = traffic_light(6)
        >>> light.zone, round(light.cumulative_probability, 4), light.multiplier
        ('yellow', 0.9863, 3.5)
        >>> traffic_light(6, days=1000).multiplier is None
        True
    """
    from scipy.special import bdtr

    _check_tail(tail_probability)
    x, n = _counts(exceptions, days)
    if n == 0:
        return TrafficLight("unknown", math.nan, None)
    cumulative = float(bdtr(x, n, tail_probability))
    zone, plus = "green", 0.0
    if cumulative >= _RED_FROM:
        zone, plus = "red", 1.0
    elif cumulative >= _YELLOW_FROM:
        zone, plus = "yellow", _PLUS_FACTORS.get(x, math.nan)
    regulatory = n == _REGULATORY_DAYS and math.isclose(tail_probability, _REGULATORY_TAIL)
    return TrafficLight(zone, cumulative, _MULTIPLIER + plus if regulatory else None)


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
    _check_tail(tail_probability)
    _check_level(level)
    pnl, var, known = _pair(pnl, var)
    es = _forecast("es", es, len(pnl))
    _refuse("es", es, es > var * (1.0 - _ROUNDING), "at most VaR of that day")
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

    _check_tail(tail_probability)
    if _count("days", days) < 1:
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


def quantile_loss(pnl: ArrayLike, var: ArrayLike, tail_probability: float = 0.01) -> float:
    """Mean of (p - [P&L < VaR]) (P&L - VaR), >= 0, in P&L's units; the lower, the better.

    Minimal in expectation at the p-quantile (Koenker and Bassett 1978). To compare two forecasts,
    give both the same days: NaN in one makes its mean one of other days.

    Returns:
        The mean over known days; NaN if there is none.

    Example:
        >>> quantile_loss([10.0, -6.0, np.nan], [-4.0, -4.0, -4.0], tail_probability=0.25)
        2.5
    """
    _check_tail(tail_probability)
    pnl, var, known = _pair(pnl, var)
    if not known.any():
        return math.nan
    above = pnl[known] - var[known]
    return float(((tail_probability - (above < 0.0)) * above).mean())


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


def _standard_es(tail_probability: float, degrees_of_freedom: float) -> float:
    """ES of a standard Student t, or normal (McNeil, Frey and Embrechts 2005, section 2.2.4)."""
    from scipy.special import beta, stdtrit

    nu, quantile = degrees_of_freedom, float(stdtrit(degrees_of_freedom, tail_probability))
    if math.isinf(nu):
        return -math.exp(-0.5 * quantile**2) / math.sqrt(2.0 * math.pi) / tail_probability
    density = (1.0 + quantile**2 / nu) ** (-0.5 * (nu + 1.0)) / math.sqrt(nu) / beta(0.5, 0.5 * nu)
    return -float(density) / tail_probability * (nu + quantile**2) / (nu - 1.0)


def _row(symbol: str, test: HypothesisTest) -> tuple[str, str]:
    figures = f"{symbol} {test.statistic:.2f}, critical {test.critical_value:.2f}"
    return f"{figures}, p {100.0 * test.p_value:.2f} %", test.verdict


def _check_tail(tail_probability: float) -> None:
    if not 0.0 < tail_probability < 0.5:
        raise ValueError(
            f"tail_probability: got {tail_probability!r}; allowed: above 0 and below 0.5 "
            "(99 % confidence is 0.01 here, never 0.99)"
        )


def _check_level(level: float) -> None:
    if not 0.0 < level < 0.5:
        raise ValueError(
            f"level: got {level!r}; allowed: above 0 and below 0.5 (the probability of rejecting a "
            "correct model: 0.05, never 0.95)"
        )


def _counts(exceptions: int, days: int) -> tuple[int, int]:
    x, n = _count("exceptions", exceptions), _count("days", days)
    if x > n:
        raise ValueError(f"exceptions: got {x}; allowed: at most the {n} days")
    return x, n


def _count(name: str, value: int) -> int:
    if operator.index(value) < 0:
        raise ValueError(f"{name}: got {value!r}; allowed: 0 or more")
    return operator.index(value)


def _pair(pnl: ArrayLike, var: ArrayLike) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """P&L, VaR, and where both are known."""
    came = _series("pnl", pnl)
    forecast = _forecast("var", var, len(came))
    return came, forecast, ~(np.isnan(came) | np.isnan(forecast))


def _forecast(name: str, values: ArrayLike, days: int) -> Floats:
    series = _series(name, values)
    if len(series) != days:
        raise ValueError(f"{name}: got {len(series)} days; allowed: the {days} of pnl")
    _refuse(name, series, series > 0.0, "at most 0 (losses are negative), or NaN for Unknown")
    return series


def _series(name: str, values: ArrayLike) -> Floats:
    series = np.asarray(values, dtype=np.float64)
    if series.ndim != 1:
        raise ValueError(f"{name}: got shape {series.shape}; allowed: (T,)")
    _refuse(name, series, np.isinf(series), "finite, or NaN for Unknown")
    return series


def _refuse(name: str, series: Floats, refused: NDArray[np.bool_], allowed: str) -> None:
    if refused.any():
        day = int(refused.argmax())
        raise ValueError(f"{name}[{day}]: got {float(series[day])!r}; allowed: {allowed}")
