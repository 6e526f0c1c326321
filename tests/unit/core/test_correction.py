"""What stands in for a request that may not pass: the nearest trade that may, in whole lots."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskenv import (
    Caps,
    CorrectionRule,
    PortfolioRiskManager,
    RiskGate,
    RiskLimits,
    Rung,
    VarConfig,
    Verdict,
)
from riskenv.admissibility import used_of
from riskenv.assessment import trade_weight
from riskenv.correction import nearest_admissible
from riskenv.selection import evaluate

from ...property.worlds import FAST, World, world

# Each of them binds in about half of the worlds below.
TIGHT = {
    "delta": 150.0, "gamma": 15.0, "vega": 15.0, "theta": 30.0, "var_1d": 700.0, "es_1d": 900.0,
    "gross_delta": 400.0, "contracts": 6.0, "notional": 6e4,
}  # fmt: skip


RULES = CorrectionRule(), CorrectionRule(norm="notional"), CorrectionRule(commission=1.0)


def tight_world(seed: int, names: frozenset[str], **limits: object) -> World:
    caps = Caps(**{name: TIGHT[name] for name in names})
    return world(seed, limits=RiskLimits(caps=caps, **limits), held=0)


@FAST
@given(
    seed=st.integers(0, 10_000),
    names=st.frozensets(st.sampled_from(sorted(TIGHT)), min_size=1, max_size=5),
    lots=st.lists(st.integers(-3, 3), min_size=4, max_size=4),
    norm=st.sampled_from(["spread_cost", "notional"]),
)
def test_up_to_four_legs_of_three_lots_no_admissible_trade_is_nearer(seed, names, lots, norm):
    """Against all trades between nothing and the request."""
    w = tight_world(seed, names, correction={"norm": norm})
    rng = np.random.default_rng(seed)
    legs = rng.choice(len(w.table), 4, replace=False)
    asked = np.zeros(len(w.table))
    asked[legs] = lots
    state, a = w.assess()
    if a.rung > Rung.WARN:
        return
    every = np.array(list(itertools.product(*(range(min(k, 0), max(k, 0) + 1) for k in lots))))
    rows = np.zeros((len(every), len(asked)))
    rows[:, legs] = every
    weight = trade_weight(w.market, norm)
    away = ((rows - asked) ** 2 * weight).sum(axis=1)
    nearest = away[evaluate(a, rows).admissible].min()
    decision = w.manager.decide(state, a, w.manager.propose(a, asked))[1]
    got = ((decision.trades - asked) ** 2 * weight).sum()
    assert got == pytest.approx(nearest, rel=1e-12)


def test_a_request_inside_the_caps_is_left_as_it_is_to_the_bit() -> None:
    w = tight_world(3, frozenset({"delta"}))
    row = int(np.flatnonzero(w.table.kind == 0)[0])
    asked = np.zeros(len(w.table))
    asked[row] = 0.1 + 0.2
    decision = RiskGate(w.manager).check(w.portfolio, w.market, asked)
    assert decision.verdict is Verdict.ALLOW
    assert decision.trades.tobytes() == asked.tobytes()


def test_a_projection_is_nearer_than_the_cut_towards_nothing() -> None:
    """Delta binds, and the put takes from it: shares give way, the put stays."""
    found = {}
    for method in ("project", "radial"):
        w = tight_world(5, frozenset({"delta"}), correction={"method": method})
        share = int(np.flatnonzero(w.table.kind == 0)[0])
        put = int(np.flatnonzero((w.table.kind == -1) & (w.table.underlying_index == 0))[0])
        asked = np.zeros(len(w.table))
        asked[share], asked[put] = 300.0, 1.0
        found[method] = RiskGate(w.manager).check(w.portfolio, w.market, asked).trades[[share, put]]
    assert found["project"][1] == 1.0
    assert found["radial"][1] == 0.0
    assert found["project"][0] > found["radial"][0]


def test_a_leg_in_what_is_unknown_is_left_out_and_the_rest_is_done() -> None:
    w = tight_world(4, frozenset({"delta"}))
    shares = np.flatnonzero(w.table.kind == 0)
    bid = w.market.bid.copy()
    option = int(np.flatnonzero(w.table.kind != 0)[0])
    bid[option] = np.nan
    w = w.with_market(bid=bid)
    asked = np.zeros(len(w.table))
    asked[shares[0]], asked[option] = 10.0, 1.0
    decision = RiskGate(w.manager).check(w.portfolio, w.market, asked)
    assert decision.trades[option] == 0.0
    assert decision.trades[shares[0]] == 10.0
    assert decision.verdict is Verdict.RESIZE


def test_bounds_may_allow_more_than_was_asked_for() -> None:
    """A hedge that nobody asked for may be part of the nearest trade, where the box holds it."""
    w = tight_world(5, frozenset({"delta"}), correction={"norm": "notional"})
    _, a = w.assess()
    share, other = np.flatnonzero(w.table.kind == 0)[:2]
    asked = np.zeros(len(w.table))
    asked[share] = 300.0
    box = np.zeros(len(w.table))
    box[[share, other]] = 300.0
    alone = nearest_admissible(a, asked)
    hedged = nearest_admissible(a, asked, "", -box, box)
    assert alone[other] == 0.0
    assert hedged[other] < 0.0
    assert hedged[share] > alone[share]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_plan_takes_the_share_asked_for_off_a_measure_and_worsens_no_cap(share: float) -> None:
    w = world(9, limits=RiskLimits(caps=Caps(vega=1e4, delta=1e5)), held=6)
    _, a = w.assess()
    before = a.before[a.names.index("delta")]
    plan = w.manager.reduction_plan(a, {"delta": share})
    after = evaluate(a, plan.total[None, :])
    assert plan.resolved
    assert abs(after.after[0, a.names.index("delta")]) <= (1.0 - share + 1e-8) * abs(before)
    used = used_of(after.interval[0], a.low, a.high)
    assert (used <= np.maximum(a.used, 0.8))[a.capped].all()
    assert (plan.total * w.portfolio.quantity <= 0.0).all()
    assert plan.total.any() == (share > 0.0)


def test_every_step_of_a_plan_may_be_the_last() -> None:
    w = world(9, limits=RiskLimits(caps=Caps(delta=1e5, gamma=1e5, theta=1e5)), held=6)
    _, a = w.assess()
    plan = w.manager.reduction_plan(a, {"delta": 0.9, "gamma": 0.9})
    steps = np.cumsum(plan.trades, axis=0)
    assert len(steps) > 1
    assert evaluate(a, steps).admissible.all()


@pytest.mark.parametrize(
    ("shares", "words"),
    [({"alpha": 0.3}, "'alpha'; allowed: delta"), ({"delta": 1.5}, "fraction: got 1.5")],
)
def test_a_share_of_what_is_no_sum_or_no_share_is_refused(shares, words) -> None:
    w = world(9, limits=RiskLimits(caps=Caps(delta=1e5)), held=6)
    with pytest.raises(ValueError, match=words):
        w.manager.reduction_plan(w.assess()[1], shares)


def test_what_a_correction_is_measured_by_is_part_of_the_configuration() -> None:
    digests = {
        RiskGate(
            world(1, limits=RiskLimits(caps=Caps(delta=1.0), correction=rule)).manager
        ).manager.config_digest
        for rule in (
            CorrectionRule(),
            CorrectionRule(norm="notional"),
            CorrectionRule(commission=1),
        )
    }
    assert len(digests) == 3


@pytest.mark.parametrize(("held", "asked", "left"), [(0.0, 90.0, 50.0), (100.0, 0.0, 45.0)])
def test_a_cap_on_the_worst_stress_is_corrected_and_reduced_to_like_any_other(held, asked, left):
    """A cap that 50 shares keep: no more are bought, and from 100 the release level is met."""
    var = VarConfig(window=120, min_scenarios=100, stress={"grid": {}})
    w = world(5, held=0)
    share = int(np.flatnonzero(w.table.kind == 0)[0])

    def capped(cap: float) -> PortfolioRiskManager:
        limits = RiskLimits(caps=Caps(stress_1d=cap))
        return PortfolioRiskManager(limits, w.manager.sessions, history=w.manager.history, var=var)

    def lots(size: float) -> np.ndarray:
        return np.where(np.arange(len(w.table)) == share, size, 0.0)

    one = capped(1e9).assess(w.state, w.with_book(lots(1.0)).portfolio, w.market)[1]
    loss = -one.before[one.names.index("stress_1d")]
    assert loss > 0.0
    gate = RiskGate(capped(50.5 * loss))
    decision = gate.check(w.with_book(lots(held)).portfolio, w.market, lots(asked))
    assert held + decision.trades[share] == left
