"""The back-tests against published counts and tables, other implementations, and by hand."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import vartests
from scipy.stats import binom, norm, t

from riskenv.coverage_backtest import christoffersen, conditional_coverage, kupiec, traffic_light
from riskenv.shortfall_backtest import acerbi_szekely, z2_law
from riskenv.var_backtest import backtest, quantile_loss

NAN, INF = math.nan, math.inf


# Kupiec (1995), "Techniques for verifying the accuracy of risk measurement models", table 3, as
# printed in Jorion (2007), "Value at risk", table 6-2: non-rejection regions at 95 %. Both print
# the first cell as N < 7, though no exception at all has LR 5.13 and is rejected.
@pytest.mark.parametrize(("tail_probability", "days", "fewest", "most"), [
    (0.01, 255, 1, 6), (0.01, 510, 2, 10), (0.01, 1000, 5, 16),
    (0.025, 255, 3, 11), (0.025, 510, 7, 20), (0.025, 1000, 16, 35),
    (0.05, 255, 7, 20), (0.05, 510, 17, 35), (0.05, 1000, 38, 64),
    (0.075, 255, 12, 27), (0.075, 510, 28, 50), (0.075, 1000, 60, 91),
    (0.10, 255, 17, 35), (0.10, 510, 39, 64), (0.10, 1000, 82, 119),
])  # fmt: skip
def test_kupiecs_regions(tail_probability: float, days: int, fewest: int, most: int) -> None:
    kept = [
        x for x in range(days + 1) if kupiec(x, days, tail_probability).verdict == "not rejected"
    ]
    assert kept == list(range(fewest, most + 1))


def test_no_exception_in_255_days_is_too_few() -> None:
    test = kupiec(0, 255, 0.01)
    assert test.statistic == pytest.approx(-2 * 255 * math.log(0.99), rel=1e-14)
    assert test.statistic == pytest.approx(5.13, abs=0.005)
    assert test.verdict == "rejected"


def test_a_published_backtest_of_1043_days() -> None:
    # MathWorks, Risk Management Toolbox, varbacktest/cc, example of EquityIndex and Normal95:
    # LRatioPOF 0.46147 (p 0.49694), LRatioCCI 0.25866 (p 0.61104), LRatioCC 0.72013 (p 0.69763).
    coverage = kupiec(57, 1043, 0.05)
    independence = christoffersen(n00=932, n10=53, n01=53, n11=4)
    both = conditional_coverage(coverage, independence)
    figures = [(x.statistic, x.p_value) for x in (coverage, independence, both)]
    expected = [(0.46147, 0.49694), (0.25866, 0.61104), (0.72013, 0.69763)]
    assert np.array(figures) == pytest.approx(np.array(expected), abs=5e-6)
    assert [x.degrees_of_freedom for x in (coverage, independence, both)] == [1, 1, 2]
    assert {x.verdict for x in (coverage, independence, both)} == {"not rejected"}


def test_a_published_backtest_of_252_days() -> None:
    # 252 days at 1 %, 6 exceptions, 4 of them in a row after another: LR_uc 3.4988 passes and
    # LR_ind 25.8374 fails. The four counts as printed are 244, 2, 2, 4.
    coverage = kupiec(6, 252, 0.01)
    independence = christoffersen(n00=244, n01=2, n10=2, n11=4)
    assert coverage.statistic == pytest.approx(3.4988, abs=5e-5)
    assert independence.statistic == pytest.approx(25.8374, abs=5e-5)
    assert (coverage.verdict, independence.verdict) == ("not rejected", "rejected")
    assert conditional_coverage(coverage, independence).verdict == "rejected"


def test_critical_values_are_the_chi_squares() -> None:
    # Any table of the chi-square: 95 % and 99 % with one and two degrees of freedom.
    at = {level: kupiec(3, 250, 0.01, level) for level in (0.05, 0.01)}
    both = {
        level: conditional_coverage(test, christoffersen(245, 2, 2, 0, level))
        for level, test in at.items()
    }
    got = [x.critical_value for x in (at[0.05], at[0.01], both[0.05], both[0.01])]
    assert got == pytest.approx([3.841459, 6.634897, 5.991465, 9.210340], abs=5e-7)


@pytest.mark.parametrize(("counts", "statistic"), [
    # A chain that never leaves, never repeats, or has nothing to repeat: 0 log 0 = 0.
    ((10, 0, 0, 0), 0.0),
    ((0, 0, 0, 10), 0.0),
    ((9, 1, 0, 0), 0.0),
    # Exceptions every second day: the chain is certain, so LR = -2 log-likelihood of coins.
    ((0, 5, 5, 0), 20 * math.log(2)),
    # Two blocks, five quiet days and five of exceptions.
    ((4, 1, 0, 4), -2 * (9 * math.log(1 / 9) + 4 * math.log(4) + 5 * math.log(5)
                         - (4 * math.log(4 / 5) + math.log(1 / 5)))),
])  # fmt: skip
def test_independence_with_empty_cells(counts: tuple[int, ...], statistic: float) -> None:
    assert christoffersen(*counts).statistic == pytest.approx(statistic, rel=1e-13, abs=1e-13)


# Basel Committee (1996), "Supervisory framework for the use of backtesting in conjunction with the
# internal models approach to market risk capital requirements", table 2: 250 days at 99 %.
@pytest.mark.parametrize(("exceptions", "percent", "zone", "multiplier"), [
    (0, 8.11, "green", 3.00), (1, 28.58, "green", 3.00), (2, 54.32, "green", 3.00),
    (3, 75.81, "green", 3.00), (4, 89.22, "green", 3.00),
    (5, 95.88, "yellow", 3.40), (6, 98.63, "yellow", 3.50), (7, 99.60, "yellow", 3.65),
    (8, 99.89, "yellow", 3.75), (9, 99.97, "yellow", 3.85),
    (10, 99.99, "red", 4.00), (11, 100.0, "red", 4.00), (250, 100.0, "red", 4.00),
])  # fmt: skip
def test_the_supervisors_table(exceptions, percent, zone, multiplier) -> None:
    light = traffic_light(exceptions)
    # The table's last digits are cut or rounded: 99.9946 is printed as 99.99.
    assert 100 * light.cumulative_probability == pytest.approx(percent, abs=0.0051)
    assert (light.zone, light.multiplier) == (zone, multiplier)


@pytest.mark.parametrize(("days", "p"), [(500, 0.01), (250, 0.025), (100, 0.05), (1000, 0.001)])
def test_other_lights_follow_the_binomial_and_have_no_multiplier(days: int, p: float) -> None:
    for x in range(60):
        light = traffic_light(x, days, p)
        cumulative = binom.cdf(x, days, p)
        assert light.cumulative_probability == pytest.approx(cumulative, rel=1e-12)
        zone = "green" if cumulative < 0.95 else "yellow" if cumulative < 0.9999 else "red"
        assert (light.zone, light.multiplier) == (zone, None)


@pytest.mark.parametrize(("exceptions", "days", "p", "zone"), [
    (12, 310, 0.025, "green"),  # cumulative 0.94975
    (32, 970, 0.025, "yellow"),  # 0.95003
    (60, 750, 0.05, "yellow"),  # 0.99983
    (61, 750, 0.05, "red"),  # 0.9999002
])  # fmt: skip
def test_the_edges_of_the_zones(exceptions: int, days: int, p: float, zone: str) -> None:
    assert traffic_light(exceptions, days, p).zone == zone


def test_one_minus_confidence_is_still_the_regulatory_test() -> None:
    assert 1 - 0.99 != 0.01
    assert traffic_light(5, 250, 1 - 0.99).multiplier == 3.40


@pytest.mark.parametrize("p", [0.01, 0.025, 0.05])
def test_coverage_agrees_with_vartests(p: float) -> None:
    rng = np.random.default_rng(3)
    for days in (60, 250, 1000):
        for rate in (0.0, 0.5 * p, p, 3 * p):
            pnl = np.where(rng.random(days) < rate, -2.0, 1.0)
            found = backtest(pnl, np.full(days, -1.0), tail_probability=p)
            theirs = vartests.kupiec_test((pnl < -1.0).astype(int), risk_conf_level=1 - p)
            ours = found.coverage
            figures = [theirs[key] for key in ("statistic", "critical value", "p-value")]
            got = [ours.statistic, ours.critical_value, ours.p_value]
            assert got == pytest.approx(figures, rel=1e-9, abs=1e-12)
            more = vartests.binomial_test(
                x=found.exceptions + 1, n=days, risk_conf_level=1 - p, alternative="greater"
            )
            light = found.traffic_light
            assert light.cumulative_probability == pytest.approx(1 - more["p-value"], abs=1e-9)


@pytest.mark.parametrize(("days", "p", "level", "nu", "critical", "tolerance"), [
    # Acerbi and Szekely (2014), "Backtesting expected shortfall": for 250 days and 2.5 %, the
    # thresholds -0.70 at 5 % and -1.8 at 0.01 % hold from the normal to all but the heaviest tails.
    (250, 0.025, 0.05, INF, -0.70, 0.005), (250, 0.025, 0.05, 100, -0.70, 0.005),
    (250, 0.025, 0.05, 10, -0.70, 0.015), (250, 0.025, 1e-4, INF, -1.8, 0.05),
    # MathWorks, esbacktest/unconditionalNormal and unconditionalT: 1966 days, 2.5 %, at 1 %, by
    # simulation and interpolation in a table.
    (1966, 0.025, 0.01, INF, -0.34639, 0.002), (1966, 0.025, 0.01, 3, -0.42986, 0.002),
    # MathWorks, esbacktestbysim/unconditional, t with 10 degrees of freedom: a quantile of 1000
    # simulations, whose standard error is a third of the tolerance.
    (1966, 0.05, 0.05, 10, -0.16252, 0.02), (1966, 0.025, 0.05, 10, -0.2268, 0.03),
])  # fmt: skip
def test_published_critical_values_of_z2(days, p, level, nu, critical, tolerance) -> None:
    z, cumulative = z2_law(days, p, nu)
    assert np.interp(level, cumulative, z) == pytest.approx(critical, abs=tolerance)


def test_published_p_values_of_z2() -> None:
    # As above: Z2 = -0.38265 in 1966 days has p 0.0054099 (normal) and 0.018566 (t, 3).
    got = [np.interp(-0.38265, *z2_law(1966, 0.025, nu)) for nu in (INF, 3)]
    assert got == pytest.approx([0.0054099, 0.018566], rel=0.1)


@pytest.mark.parametrize(("days", "p", "nu"), [
    (250, 0.01, INF), (250, 0.025, 4.0), (20, 0.01, INF), (600, 0.05, 10.0),
])  # fmt: skip
def test_the_law_of_z2_is_what_simulation_gives(days: int, p: float, nu: float) -> None:
    rng = np.random.default_rng(11)
    worlds = 20_000
    normal = math.isinf(nu)
    tail = t(1e9 if normal else nu)
    var = tail.ppf(p)
    es = tail.expect(ub=var, epsabs=1e-12) / p  # by quadrature
    pnl = rng.standard_normal((worlds, days)) if normal else rng.standard_t(nu, (worlds, days))
    simulated = 1 - np.where(pnl < var, pnl / es, 0.0).sum(axis=1) / (days * p)
    # E[Z2] = 0, within four standard errors.
    assert abs(simulated.mean()) < 4 * simulated.std() / math.sqrt(worlds)
    z, cumulative = z2_law(days, p, nu)
    for point in np.quantile(simulated[simulated < 1.0], [0.001, 0.01, 0.05, 0.2, 0.5, 0.8]):
        share = (simulated <= point).mean()
        error = math.sqrt(share * (1 - share) / worlds)
        assert np.interp(point, z, cumulative) == pytest.approx(share, abs=4.5 * error + 1e-4)
    # A world without an exception has Z2 = 1.
    assert 1 - cumulative[-2] == pytest.approx((1 - p) ** days, rel=1e-2, abs=1e-4)


@pytest.mark.parametrize("p", [0.01, 0.025, 0.05])
def test_the_law_of_z2_has_the_moments_of_its_sum(p: float) -> None:
    days, var = 2000, norm.ppf(p)
    z, cumulative = z2_law(days, p)
    # For u = 1 - Z2 >= 0: E[u] is the integral of P(u >= x), E[u^2] that of 2 x P(u >= x).
    mean = np.trapezoid(cumulative, z)
    square = np.trapezoid(2 * (1 - z) * cumulative, z)
    assert mean == pytest.approx(1.0, abs=5e-6)
    # A truncated normal has E[X^2 | X < v] = 1 - v pdf(v) / p, and ES = -pdf(v) / p.
    severity_squared = (1 - var * norm.pdf(var) / p) / (norm.pdf(var) / p) ** 2
    variance = severity_squared / (days * p) - 1 / days
    assert square - mean**2 == pytest.approx(variance, rel=1e-4)


def test_z2_by_hand() -> None:
    pnl = [-6.0, 2.0, -4.0, -3.0, 1.0, -1.0, 0.5, 0.5]
    var = [-3.0, -3.0, -2.0, -3.0, -3.0, 0.0, -1.0, -1.0]
    es = [-4.0, -4.0, -2.5, -4.0, -4.0, -2.0, -1.0, -1.0]
    # Exceptions: -6/-4, -4/-2.5 and -1/-2; the fourth day's P&L is its VaR, which is none.
    expected = 1 - (1.5 + 1.6 + 0.5) / (8 * 0.25)
    test = acerbi_szekely(pnl, var, es, tail_probability=0.25)
    assert test.statistic == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(("loss", "var", "es"), [
    (-1.0, 0.0, 0.0), (-1.0, -0.0, -0.0), (-1.0, 0.0, -0.0), (-1e300, -1e-301, -1e-300),
])  # fmt: skip
def test_a_loss_that_es_calls_impossible_refutes_it(loss: float, var: float, es: float) -> None:
    test = acerbi_szekely([1.0, loss, 0.0], [0.0, var, 0.0], [0.0, es, 0.0])
    assert (test.statistic, test.verdict) == (-INF, "rejected")
    assert test.to_dict()["statistic"] is None


def test_quantile_loss_by_hand() -> None:
    # Above VaR by 8: 0.1 x 8; below by 3: 0.9 x 3; on it: 0.
    assert quantile_loss([3, -8, -5], [-5, -5, -5], 0.1) == pytest.approx((0.8 + 2.7) / 3)


def test_unknown_days_are_counted_and_not_bridged() -> None:
    #        e     e     ?     e     q     ?     q     e     e     q
    pnl = [-2.0, -2.0, NAN, -2.0, 1.0, -2.0, 1.0, -2.0, -3.0, 1.0]
    var = [-1.0, -1.0, -1.0, -1.0, -1.0, NAN, -1.0, -1.0, -1.0, -1.0]
    es = [-2.0, NAN, -2.0, -2.0, -2.0, NAN, -2.0, -2.0, -2.0, -2.0]
    found = backtest(pnl, var, es=es, tail_probability=0.1)
    assert (found.days, found.unknown, found.exceptions) == (8, 2, 5)
    # ee | eq | qe ee eq: five transitions, not the seven of the eight days joined up.
    assert found.transitions == (0, 1, 2, 2)
    assert found.coverage == kupiec(5, 8, 0.1)
    assert found.independence == christoffersen(0, 1, 2, 2)
    assert found.shortfall_unknown == 3
    assert found.shortfall is not None
    assert found.shortfall.statistic == pytest.approx(1 - (1 + 1 + 1.5 + 1) / 0.7)


@pytest.mark.parametrize("days", [0, 3])
def test_nothing_known_is_unknown_and_no_pass(days: int) -> None:
    unknown = np.full(days, NAN)
    found = backtest(np.zeros(days), unknown, es=unknown)
    assert (found.days, found.unknown) == (0, days)
    tests = (found.coverage, found.independence, found.conditional_coverage, found.shortfall)
    assert [test and test.verdict for test in tests] == ["unknown"] * 4
    assert found.traffic_light.zone == "unknown"
    assert math.isnan(found.quantile_loss)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == found.to_dict()
    # A single day has no transition: coverage has a figure, independence none.
    one = backtest([1.0, NAN], [-1.0, -1.0])
    verdicts = one.coverage.verdict, one.independence.verdict, one.conditional_coverage.verdict
    assert verdicts == ("not rejected", "unknown", "unknown")


def test_the_report_is_json_and_a_table() -> None:
    pnl = np.where(np.arange(250) % 40 == 0, -3.0, 1.0)
    found = backtest(pnl, np.full(250, -2.0), es=np.full(250, -2.5))
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert read == found.to_dict()
    assert read["exceptions"] == 7
    assert read["transitions"] == {"n00": 236, "n01": 6, "n10": 7, "n11": 0}
    assert read["traffic_light"]["zone"] == "yellow"
    assert read["coverage"]["verdict"] == "rejected"
    rows = {name: (figure, verdict) for name, figure, verdict in found.table()}
    assert rows["traffic light"] == ("cumulative 99.60 %", "yellow, × 3.65")
    assert rows["exceptions"] == ("7", "2.5 expected")
    assert rows["shortfall (Acerbi-Székely)"][1] == "rejected"
    without = backtest(pnl, np.full(250, -2.0))
    assert without.shortfall is None
    assert without.shortfall_unknown is None
    assert without.to_dict()["shortfall"] is None
    assert len(without.table()) == len(rows) - 1


@pytest.mark.parametrize(("call", "message"), [
    (lambda: kupiec(3, 250, 0.99), r"tail_probability: got 0\.99; .* 0\.01 here, never 0\.99"),
    (lambda: backtest([0.0], [0.0], tail_probability=0.99), "tail_probability: got 0.99"),
    (lambda: backtest([0.0], [0.0], tail_probability=NAN), "tail_probability: got nan"),
    (lambda: quantile_loss([0.0], [0.0], 0.0), "tail_probability: got 0.0"),
    (lambda: traffic_light(3, 250, 0.99), "tail_probability: got 0.99"),
    (lambda: kupiec(3, 250, 0.01, 0.95), r"level: got 0\.95; .* 0\.05, never 0\.95"),
    (lambda: christoffersen(1, 1, 1, 1, level=0.95), "level: got 0.95"),
    (lambda: backtest([0.0], [0.0], level=0.95), "level: got 0.95"),
    (lambda: kupiec(4, 3, 0.01), "exceptions: got 4; allowed: at most the 3 days"),
    (lambda: traffic_light(4, 3), "exceptions: got 4; allowed: at most the 3 days"),
    (lambda: kupiec(-1, 3, 0.01), "exceptions: got -1; allowed: 0 or more"),
    (lambda: christoffersen(1, 1, -1, 1), "n10: got -1; allowed: 0 or more"),
    (lambda: backtest([0.0, 0.0], [0.0]), "var: got 1 days; allowed: the 2 of pnl"),
    (lambda: backtest([0.0], [0.0], es=[0.0, 0.0]), "es: got 2 days; allowed: the 1 of pnl"),
    (lambda: backtest([[0.0]], [0.0]), r"pnl: got shape \(1, 1\); allowed: \(T,\)"),
    (lambda: backtest([0.0, INF], [0.0, 0.0]), r"pnl\[1\]: got inf; allowed: finite"),
    (lambda: backtest([0.0], [-INF]), r"var\[0\]: got -inf; allowed: finite"),
    (lambda: backtest([0.0, 0.0], [-1.0, 2.0]), r"var\[1\]: got 2\.0; allowed: at most 0"),
    (lambda: backtest([0.0], [-2.0], es=[-1.0]), r"es\[0\]: got -1\.0; allowed: at most VaR"),
    (lambda: conditional_coverage(kupiec(1, 9, 0.01, 0.01), christoffersen(7, 0, 1, 0)),
     r"level: got 0\.01 and 0\.05; allowed: the same"),
    (lambda: z2_law(0, 0.01), "days: got 0; allowed: 1 or more"),
    (lambda: z2_law(250, 0.01, 2.0), r"tail_degrees_of_freedom: got 2\.0; allowed: above 2"),
])  # fmt: skip
def test_what_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_an_es_of_its_var_but_for_rounding_is_no_contradiction() -> None:
    var = np.full(250, -3.0)
    es = var * (1.0 - 1e-12)
    assert acerbi_szekely(np.zeros(250), var, es).statistic == 1.0


def test_scipy_is_imported_late() -> None:
    code = "import sys, riskenv.var_backtest; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
