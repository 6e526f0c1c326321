"""What the tests find in a VaR study, one result a book, index and method; as a table and a CSV."""

from __future__ import annotations

import csv
import datetime
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from riskenv.train.var_config import VarStudyConfig
from riskenv.train.var_study import METHODS, StudyDays

from riskenv.coverage_backtest import TrafficLight, traffic_light
from riskenv.var_backtest import VarBacktest, backtest
from riskenv.var_calculator import historical_var

FloatArray = NDArray[np.float64]

CONTROL = "constant"
_SUPERVISED_DAYS = 250


@dataclass(frozen=True)
class StudyResult:
    """One book on one index by one method, over a span.

    Attributes:
        underlying, book, method: of what; the method "constant" is the control, a VaR that never
            changes: that of the book's own P&L up to the day on which the study was fixed.
        tests: all tests of the P&L that came.
        factor_tests: the same of what the scenario rule makes of each day's own moves: where only
            the former rejects, the moves were forecast and the revaluation was off.
        at_var: days that lost VaR to the last digit: all that the book could lose. They are no
            exceptions, and so leave fewer of them than VaR's probability says.
        worst_250: most exceptions in 250 known days in a row, and the zone and multiplier of that.
        worst_year, worst_year_exceptions: the calendar year with the most.
    """

    underlying: str
    book: str
    method: str
    tests: VarBacktest
    factor_tests: VarBacktest
    at_var: int
    worst_250: int
    worst_light: TrafficLight
    worst_year: int
    worst_year_exceptions: int

    @property
    def verdict(self) -> str:
        """ "fail" where conditional coverage or the shortfall is rejected, else "pass"; "unknown"
        without a day to test."""
        return verdict_of(self.tests)

    @property
    def diagnosis(self) -> str:
        """What rejected, and where it comes from, in words; "" of a result that did not fail."""
        if self.verdict != "fail":
            return ""
        tests, expected = self.tests, self.tests.tail_probability * self.tests.days
        found = []
        if tests.coverage.verdict == "rejected":
            found.append("too many exceptions" if tests.exceptions > expected else "too few")
        if tests.independence.verdict == "rejected":
            found.append("they cluster")
        if tests.shortfall is not None and tests.shortfall.verdict == "rejected":
            found.append("losses beyond ES")
        if not found:
            found.append("number and clustering together")
        if tests.exceptions > expected:
            found.append(f"{self.worst_year_exceptions} in {self.worst_year}")
        elif self.at_var:
            days = "day" if self.at_var == 1 else "days"
            found.append(f"{self.at_var} {days} at VaR itself, no more to lose")
        if verdict_of(self.factor_tests) == "pass":
            found.append("P&L by the scenarios' own rule passes")
        return "; ".join(found)


def verdict_of(tests: VarBacktest) -> str:
    """ "pass", "fail" or "unknown", by conditional coverage and the shortfall test together.

    Example:
        >>> calm = np.tile([1.0, -1.0], 500)
        >>> verdict_of(backtest(calm, np.full(1000, -2.0)))     # no exception where ten are due
        'fail'
        >>> verdict_of(backtest(calm * np.nan, np.full(1000, -2.0)))
        'unknown'
    """
    verdicts = [tests.conditional_coverage.verdict]
    if tests.shortfall is not None:
        verdicts.append(tests.shortfall.verdict)
    if "rejected" in verdicts:
        return "fail"
    return "unknown" if "unknown" in verdicts else "pass"


def judge(
    days: StudyDays, config: VarStudyConfig, first: datetime.date, last: datetime.date
) -> list[StudyResult]:
    """Every test of every book and method over the days from `first` to `last`.

    The control's constant comes from the days up to `config.fixed_until`: of a span after that it
    is a forecast, of those years themselves it is not.

    Raises:
        ValueError: no day in the span.
    """
    span = (days.dates >= np.datetime64(first)) & (days.dates <= np.datetime64(last))
    if not span.any():
        raise ValueError(
            f"span: got {first} to {last}; allowed: days from {days.dates[0]} to {days.dates[-1]}"
        )
    before = days.dates <= np.datetime64(config.fixed_until)
    years = days.dates[span].astype("datetime64[Y]").astype(int) + 1970
    found = []
    for b in range(days.pnl.shape[1]):
        pnl, factor_pnl = days.pnl[span, b], days.factor_pnl[span, b]
        constant = constant_tail(days.pnl[before, b], config.var.tail_probability, len(pnl))
        forecasts = [(days.var[span, b, m], days.es[span, b, m]) for m in range(len(METHODS))]
        for method, (var, es) in zip((*METHODS, CONTROL), (*forecasts, constant), strict=True):
            tests, factor_tests = (
                backtest(
                    came,
                    var,
                    es=es,
                    tail_probability=config.var.tail_probability,
                    level=config.level,
                )
                for came in (pnl, factor_pnl)
            )
            known = np.isfinite(pnl) & np.isfinite(var)
            exception = known & (pnl < var)
            worst = worst_stretch(exception[known])
            counts = {int(y): int(exception[years == y].sum()) for y in np.unique(years)}
            year = max(counts, key=lambda y: (counts[y], -y))
            found.append(
                StudyResult(
                    underlying=days.underlyings[b],
                    book=days.books[b],
                    method=method,
                    tests=tests,
                    factor_tests=factor_tests,
                    at_var=int((pnl[known] == var[known]).sum()),
                    worst_250=worst,
                    worst_light=traffic_light(
                        worst, min(_SUPERVISED_DAYS, int(known.sum())), config.var.tail_probability
                    ),
                    worst_year=year,
                    worst_year_exceptions=counts[year],
                )
            )
    return found


def constant_tail(
    pnl: FloatArray, tail_probability: float, days: int
) -> tuple[FloatArray, FloatArray]:
    """((days,), (days,)) VaR and ES of the known of these P&Ls, every day the same.

    Example:
        >>> var, es = constant_tail(np.arange(-100.0, 100.0), 0.01, days=2)
        >>> var.tolist(), es.tolist()
        ([-99.0, -99.0], [-99.5, -99.5])
    """
    var, es = historical_var(pnl[np.isfinite(pnl)], tail_probability)
    return np.full(days, var), np.full(days, es)


def worst_stretch(exception: NDArray[np.bool_], days: int = _SUPERVISED_DAYS) -> int:
    """Most exceptions in so many days in a row.

    Example:
        >>> worst_stretch(np.array([True, False, True, True, False]), days=3)
        2
    """
    total = np.concatenate([[0], np.cumsum(exception)])
    if len(total) <= days:
        return int(total[-1])
    return int((total[days:] - total[:-days]).max())


COLUMNS = (
    "underlying", "book", "method", "days", "unknown", "exceptions", "expected", "at_var",
    "kupiec_p", "independence_p", "conditional_coverage_p", "z2", "z2_p", "worst_250", "zone",
    "multiplier", "quantile_loss_bp", "factor_exceptions", "factor_conditional_coverage_p",
    "factor_z2_p", "verdict", "diagnosis",
)  # fmt: skip


def csv_text(
    results: list[StudyResult], config: VarStudyConfig, first: datetime.date, last: datetime.date
) -> str:
    """The table as it is filed: a comment with the configuration's digest, a header, the rows."""
    out = io.StringIO()
    out.write(f"# P&L of {first} to {last}, configuration sha256 {config.digest}\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for r in results:
        t, f = r.tests, r.factor_tests
        if t.shortfall is None or f.shortfall is None:
            raise ValueError(f"results: {r.method} of {r.book} has no ES; allowed: with one")
        writer.writerow(
            [
                r.underlying, r.book, r.method, t.days, t.unknown, t.exceptions,
                f"{t.tail_probability * t.days:.1f}", r.at_var, f"{t.coverage.p_value:.4f}",
                f"{t.independence.p_value:.4f}", f"{t.conditional_coverage.p_value:.4f}",
                f"{t.shortfall.statistic:.3f}", f"{t.shortfall.p_value:.4f}", r.worst_250,
                r.worst_light.zone,
                "" if r.worst_light.multiplier is None else f"{r.worst_light.multiplier:.2f}",
                f"{t.quantile_loss:.4f}", f.exceptions, f"{f.conditional_coverage.p_value:.4f}",
                f"{f.shortfall.p_value:.4f}", r.verdict, r.diagnosis,
            ]
        )  # fmt: skip
    return out.getvalue()
