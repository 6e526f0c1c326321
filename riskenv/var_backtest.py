"""Back-tests of VaR and ES forecasts against the P&L that came.

P&L, VaR and ES share a sign: losses are negative, VaR and ES are <= 0. An exception is a day whose
P&L is strictly below its VaR. NaN is Unknown: such a day is counted, tested by nothing, and the day
after it is not taken for the successor of the day before it. A day without a position has nothing
to forecast and passes every test; set its P&L to NaN where that would flatter the model.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from riskenv.backtest_inputs import check_tail, known_pair
from riskenv.canonical import number
from riskenv.coverage_backtest import (
    HypothesisTest,
    TrafficLight,
    christoffersen,
    conditional_coverage,
    kupiec,
    traffic_light,
)
from riskenv.shortfall_backtest import acerbi_szekely


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
    pnl, var, known = known_pair(pnl, var)
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
    check_tail(tail_probability)
    pnl, var, known = known_pair(pnl, var)
    if not known.any():
        return math.nan
    above = pnl[known] - var[known]
    return float(((tail_probability - (above < 0.0)) * above).mean())


def _row(symbol: str, test: HypothesisTest) -> tuple[str, str]:
    figures = f"{symbol} {test.statistic:.2f}, critical {test.critical_value:.2f}"
    return f"{figures}, p {100.0 * test.p_value:.2f} %", test.verdict
