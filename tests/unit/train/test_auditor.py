"""The auditor against hand-worked books, textbook values and its own definitions."""

import ast
import math
from pathlib import Path

import numpy as np
import pytest
import riskenv.train.auditor as auditor
from riskenv.train.auditor import (
    GAP,
    TAILS,
    AuditedContract,
    AuditedStep,
    HorizonShocks,
    audit,
    black_scholes_merton,
    expected_shortfall,
    has_trade,
    value_at_risk,
    worst_loss,
)
from scipy.stats import norm
from vollib.black_scholes_merton import black_scholes_merton as vollib_price

INF, NAN = math.inf, math.nan


def shares(before, after, ticker="SPX", multiplier=1.0):
    return AuditedContract(ticker, "", 0.0, 0.0, multiplier, 0.0, before, after)


def step(contracts, caps, spot=100.0, **kwargs):
    tickers = {c.underlying for c in contracts} | {"SPX"}
    spots = dict.fromkeys(tickers, spot)
    return AuditedStep(
        "t", spots, kwargs.pop("rate", 0.0), dict.fromkeys(tickers, 0.0), tuple(contracts), caps,
        **kwargs,
    )  # fmt: skip


def shocks(returns, vol_changes=None, years=0.0, ticker="SPX"):
    returns = np.asarray(returns, dtype=float)
    changes = np.zeros_like(returns) if vol_changes is None else np.asarray(vol_changes, float)
    return HorizonShocks({ticker: returns}, {ticker: changes}, years)


def test_the_auditor_shares_no_code_with_the_risk_layer():
    tree = ast.parse(Path(auditor.__file__).read_text(encoding="utf-8"))
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    imported |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    rooms = {name.split(".")[0] for name in imported}
    allowed = {"__future__", "math", "collections", "dataclasses", "functools"}
    allowed |= {"numpy", "scipy", "vollib"}
    assert rooms <= allowed
    assert not any(n.level for n in ast.walk(tree) if isinstance(n, ast.ImportFrom))


@pytest.mark.parametrize(
    ("before", "after", "cap", "active", "drift"),
    [
        (0, 0, (-100, 100), 0, 0),
        (90, 100, (-100, 100), 0, 0),  # to the cap is inside
        (90, 101, (-100, 100), 1, 0),  # out through the top
        (-90, -101, (-100, 100), 1, 0),  # out through the bottom
        (120, 120, (-100, 100), 0, 1),  # no trade: drift
        (120, 110, (-100, 100), 0, 1),  # still outside, but nearer
        (120, 121, (-100, 100), 1, 1),  # outside and further out
        (120, -105, (-100, 100), 1, 1),  # less far out, but past the other side
        (120, 50, (-100, 100), 0, 1),  # repaired
        (120, -100, (-100, 100), 0, 1),  # to the opposite cap is inside
        (5, 6, (0, 0), 1, 1),  # a cap of nothing
        (0, 0, (0, 0), 0, 0),
        (-500, -600, (-INF, 100), 0, 0),  # one-sided caps have one side
        (500, 600, (-100, INF), 0, 0),
    ],
)
def test_active_is_outside_and_further_out_after_a_trade(before, after, cap, active, drift):
    result = audit([step([shares(before, after)], {"delta": cap})])
    assert (result.active_breaches, result.drift_breaches) == (active, drift)
    assert result.steps_with_trade == (before != after)
    assert result.passed == (active == 0)


def test_findings_name_the_time_the_measure_and_the_numbers():
    result = audit([step([shares(90, 150)], {"delta": (-100.0, 100.0)})])
    (found,) = result.first_active
    assert (found.time, found.measure) == ("t", "delta")
    assert (found.before, found.after, found.cap) == (90.0, 150.0, (-100.0, 100.0))


def test_counts_stay_complete_when_the_findings_kept_are_few():
    result = audit(step([shares(0, 200)], {"delta": (-100.0, 100.0)}) for _ in range(50))
    assert result.active == {"delta": 50}
    assert 0 < len(result.first_active) < 50


def test_rounding_is_no_breach_and_anything_larger_is():
    # A dollar-neutral pair: its contributions of 1e6 leave a rounding error of about 1e-10.
    def pair(extra):
        contracts = [shares(0, 1e6 / 3), shares(0, -1e6 / 3 + extra, "NDX")]
        return audit([step(contracts, {"delta": (0.0, 0.0)})]).active_breaches

    assert pair(1e-10) == 0
    assert pair(1e-2) == 1


def test_lots_of_one_contract_that_net_to_nothing_are_no_trade():
    assert not has_trade([shares(0, 1), shares(1, 0)])
    assert has_trade([shares(0, 1), shares(1, 0, "NDX")])
    assert has_trade([shares(0, NAN)])
    swap = [shares(150, 151), shares(1, 0)]
    assert audit([step(swap, {"delta": (-100.0, 100.0)})]).steps_with_trade == 0


@pytest.mark.parametrize(
    ("measure", "textbook", "within"),
    # Hull, Options, Futures, and Other Derivatives (8th ed., 2012), examples 18.1, 18.2, 18.4
    # and 18.6: S = 49, K = 50, r = 5 %, vol = 20 %, T = 0.3846. Theta there is -4.31 a year,
    # vega 12.1 per 1.00 of volatility.
    [
        ("delta", 0.522, 5e-4),
        ("gamma", 0.066, 5e-4),
        ("theta", -4.31 / 365, 2e-5),
        ("vega", 0.121, 5e-4),
        ("dollar_delta", 0.522 * 49, 0.03),
        ("dollar_gamma", 0.0655 * 49**2 / 100, 2e-3),
    ],
)
@pytest.mark.parametrize("contracts", [1.0, -3.0])
def test_greeks_match_the_textbook(measure, textbook, within, contracts):
    call = AuditedContract("SPX", "C", 50.0, 0.3846, 100.0, 0.20, 0.0, contracts)
    result = audit([step([call], {measure: (0.0, 0.0)}, spot=49.0, rate=0.05)])
    (found,) = result.first_active
    assert found.after == pytest.approx(textbook * 100 * contracts, abs=within * 300)
    assert found.before == 0.0


def test_theta_is_the_price_change_of_one_calendar_day_and_vega_of_one_vol_point():
    put = AuditedContract("SPX", "P", 95.0, 0.5, 1.0, 0.25, 0.0, 1.0)
    arguments = ("p", 100.0, 95.0)
    day = vollib_price(*arguments, 0.5 - 1 / 365, 0.04, 0.25, 0.0) - vollib_price(
        *arguments, 0.5, 0.04, 0.25, 0.0
    )
    point = vollib_price(*arguments, 0.5, 0.04, 0.26, 0.0) - vollib_price(
        *arguments, 0.5, 0.04, 0.25, 0.0
    )
    caps = {"theta": (0.0, 0.0), "vega": (0.0, 0.0)}
    theta, vega = audit([step([put], caps, rate=0.04)]).first_active
    assert theta.after == pytest.approx(day, rel=0.01)
    assert vega.after == pytest.approx(point, rel=0.01)


def test_measures_add_over_tickers_and_the_underlying_has_only_delta():
    book = [shares(0, 3, multiplier=10.0), shares(0, 4, "NDX")]
    caps = dict.fromkeys(("delta", "dollar_delta", "gamma", "theta", "vega"), (0.0, 0.0))
    found = {f.measure: f.after for f in audit([step(book, caps, spot=50.0)]).first_active}
    assert found == {"delta": 34.0, "dollar_delta": 1700.0}


@pytest.mark.parametrize("right", ["C", "P"])
@pytest.mark.parametrize(
    ("spot", "strike", "years", "vol"), [(100, 90, 0.5, 0.2), (100, 130, 0.02, 0.6), (3, 4, 2, 1)]
)
def test_the_scenario_price_is_vollibs_price(right, spot, strike, years, vol):
    ours = black_scholes_merton(
        right, np.array([float(spot)]), strike, years, 0.03, np.array([vol]), 0.01
    )
    theirs = vollib_price(right.lower(), spot, strike, years, 0.03, vol, 0.01)
    assert ours[0] == pytest.approx(theirs, rel=1e-11, abs=1e-13)


def test_an_option_that_expires_inside_the_horizon_is_worth_its_intrinsic_value():
    returns = np.log([0.9, 1.0, 1.2])
    call = AuditedContract("SPX", "C", 100.0, 1 / 365, 10.0, 0.3, 0.0, -1.0)
    caps = {"es_3d": (0.0, INF)}
    found = audit([step([call], caps, shocks={3: shocks(returns, years=3 / 365)})]).first_active[0]
    premium = 100.0 * (2 * norm.cdf(0.15 * math.sqrt(1 / 365)) - 1)  # at the money, r = q = 0
    assert found.after == pytest.approx(-10.0 * (20.0 - premium), rel=1e-12)
    # Whoever owns it loses the premium and no more, however far spot falls.
    owned = AuditedContract("SPX", "C", 100.0, 1 / 365, 10.0, 0.3, 0.0, 1.0)
    found = audit([step([owned], caps, shocks={3: shocks(returns, years=3 / 365)})]).first_active[0]
    assert found.after == pytest.approx(-10.0 * premium, rel=1e-12)


def test_scenarios_move_spot_volatility_and_time_together():
    put = AuditedContract("SPX", "P", 95.0, 0.25, 100.0, 0.2, 0.0, 2.0)
    shock = shocks([math.log(1.05)], [math.log(0.8)], years=7 / 365)
    found = audit([step([put], {"var_5d": (0.0, INF)}, rate=0.02, shocks={5: shock})])
    after = vollib_price("p", 105.0, 95.0, 0.25 - 7 / 365, 0.02, 0.16, 0.0)
    now = vollib_price("p", 100.0, 95.0, 0.25, 0.02, 0.2, 0.0)
    assert found.first_active[0].after == pytest.approx(200.0 * (after - now), rel=1e-11)


def test_gap_loss_is_the_worst_jump_of_the_book_with_no_time_passing():
    straddle = [
        AuditedContract("SPX", right, 100.0, 0.1, 100.0, 0.2, 0.0, -1.0) for right in ("C", "P")
    ]
    jumps = shocks(np.log([0.9, 1.0, 1.1]))
    caps = {"gap_loss": (0.0, INF)}
    (found,) = audit([step(straddle, caps, shocks={GAP: jumps})]).first_active

    def worth(spot):
        return sum(vollib_price(right, spot, 100.0, 0.1, 0.0, 0.2, 0.0) for right in "cp")

    losses = [-100.0 * (worth(spot) - worth(100.0)) for spot in (90.0, 110.0)]
    assert found.before == 0.0
    assert found.after == pytest.approx(min(losses), rel=1e-10)


def test_var_of_shares_is_the_fifth_worst_of_five_hundred():
    returns = np.linspace(-0.10, 0.10, 500)
    caps = {"var_1d": (-50.0, INF), "es_1d": (-50.0, INF)}
    result = audit([step([shares(1, 10)], caps, shocks={1: shocks(returns)})])
    pnl = np.sort(10 * 100.0 * (np.exp(returns) - 1.0))
    var, es = result.first_active
    assert var.after == pytest.approx(pnl[4])
    assert es.after == pytest.approx(pnl[:5].mean())
    assert var.before == pytest.approx(pnl[4] / 10)
    assert result.max_utilisation["var_1d"] == pytest.approx(-pnl[4] / 50.0)


def test_a_hedge_that_lowers_the_tail_is_no_breach_of_it():
    returns = np.linspace(-0.10, 0.10, 500)
    caps = dict.fromkeys(TAILS, (-50.0, INF))
    by_horizon = dict.fromkeys((GAP, 1, 3, 5), shocks(returns))
    result = audit([step([shares(10, 9)], caps, shocks=by_horizon)])
    assert result.active_breaches == 0
    assert result.drift_breaches == len(TAILS)


@pytest.mark.parametrize(
    ("pnl", "worst"),
    [([3.0, -2.0, -1.0], -2.0), ([1.0, 2.0], 0.0), ([], NAN), ([-1.0, NAN], NAN)],
)
def test_worst_loss(pnl, worst):
    assert worst_loss(np.array(pnl)) == pytest.approx(worst, nan_ok=True)


@pytest.mark.parametrize(
    ("pnl", "var", "es"),
    [
        (np.arange(-3.0, 97.0), -3.0, -3.0),  # 100 scenarios: the worst one
        (np.arange(-3.0, 47.0), -3.0, -3.0),  # 50: half of the worst one
        (np.arange(-4.0, 146.0), -3.0, (-4.0 - 3.0 / 2) / 1.5),  # 150: one and a half
        (np.arange(1.0, 501.0), 0.0, 0.0),  # a sure gain is no negative loss
        (np.array([]), NAN, NAN),  # no scenarios is not "no risk"
        (np.array([NAN, *range(499)]), NAN, NAN),
    ],
)
def test_tail_estimators(pnl, var, es):
    assert value_at_risk(pnl) == pytest.approx(var, nan_ok=True)
    assert expected_shortfall(pnl) == pytest.approx(es, nan_ok=True)


CALL = AuditedContract("SPX", "C", 100.0, 0.1, 1.0, 0.2, 0.0, 1.0)


def altered(**changes):
    return AuditedContract(**{**CALL.__dict__, **changes})


@pytest.mark.parametrize(
    "unauditable",
    [
        step([shares(0, NAN)], {"delta": (-1.0, 1.0)}),
        step([shares(NAN, 0)], {"delta": (-1.0, 1.0)}),
        step([shares(0, 1)], {"delta": (-1.0, NAN)}),
        step([shares(0, 1)], {"delta": (NAN, 1.0)}),
        step([shares(0, 1)], {"delta": (2.0, 3.0)}),  # a cap that forbids the empty book
        step([shares(0, 1)], {"delta": (-9.0, 9.0)}, spot=NAN),
        step([shares(0, 1)], {"delta": (-9.0, 9.0)}, spot=0.0),
        step([shares(0, INF)], {"delta": (-9.0, INF)}),
        step([altered(vol=NAN)], {"delta": (-9.0, 9.0)}),
        step([altered(vol=0.0)], {"vega": (-9.0, 9.0)}),
        step([altered(years=0.0)], {"gamma": (-9.0, 9.0)}),
        step([altered(strike=-5.0)], {"theta": (-9.0, 9.0)}),
        step([CALL], {"delta": (-9.0, 9.0)}, rate=NAN),
        AuditedStep("t", {}, 0.0, {}, (CALL,), {"delta": (-9.0, 9.0)}),
        step([shares(0, 1)], {"var_1d": (-9.0, INF)}),  # no scenarios at all
        step([shares(0, 1)], {"var_1d": (-9.0, INF)}, shocks={3: shocks([0.0])}),
        step([shares(0, 1)], {"es_1d": (-9.0, INF)}, shocks={1: shocks([0.0, NAN])}),
        step([CALL], {"var_1d": (-9.0, INF)}, shocks={1: shocks([0.0], [NAN])}),
        step([CALL], {"var_1d": (-9.0, INF)}, shocks={1: shocks([0.0], [-INF])}, rate=NAN),
        step([CALL], {"var_1d": (-9.0, INF)}, shocks={1: shocks([0.0], years=NAN)}),
        step([CALL], {"var_1d": (-9.0, INF)}, shocks={1: shocks([800.0])}),
        step([CALL], {"var_1d": (-9.0, INF)}, shocks={1: shocks([0.0], ticker="NDX")}),
    ],
)
def test_what_cannot_be_computed_is_unauditable_and_never_fine(unauditable):
    result = audit([unauditable])
    assert result.unauditable.total() == 1
    assert not result.passed
    assert len(result.first_unauditable) == 1
    assert all(math.isnan(x) for x in result.max_utilisation.values())


def test_a_contract_held_neither_before_nor_after_needs_no_market():
    gone = altered(vol=NAN, after=0.0)
    assert audit([step([gone, shares(0, 1)], {"delta": (-9.0, 9.0)})]).passed


def test_an_audit_of_nothing_does_not_pass():
    assert not audit([]).passed
    assert not audit([step([shares(0, 1)], {})]).passed


def test_the_largest_utilisation_is_that_of_the_book_after_the_trade():
    cap = {"delta": (-50.0, 100.0)}
    steps = [step([shares(200, 20)], cap), step([shares(20, -40)], cap)]
    assert audit(steps).max_utilisation == {"delta": pytest.approx(0.8)}
    above = [step([shares(0, 90)], cap), step([shares(90, -20)], cap)]
    assert audit(above).max_utilisation == {"delta": pytest.approx(0.9)}
    none = audit([step([shares(0, 1)], {"delta": (0.0, 0.0)})])
    assert none.max_utilisation == {"delta": INF}


def test_wrong_inputs_are_refused_by_name():
    with pytest.raises(ValueError, match=r"right: got 'call'"):
        altered(right="call")
    with pytest.raises(ValueError, match=r"caps: got \['rho'\]"):
        step([CALL], {"rho": (-1.0, 1.0)})
    with pytest.raises(ValueError, match=r"allowed: one \(S,\)"):
        HorizonShocks({"SPX": np.zeros(500), "NDX": np.zeros(1)}, {"SPX": np.zeros(500)}, 0.0)
    with pytest.raises(ValueError, match=r"allowed: one \(S,\)"):
        shocks([])
