"""Hard cases, each of which once ended in a wrong decision."""

from __future__ import annotations

import json

import numpy as np
import pytest

from riskenv import (
    BreakerState,
    Caps,
    CorrectionRule,
    Instrument,
    InstrumentTable,
    Market,
    Portfolio,
    PortfolioRiskManager,
    Proposal,
    RiskGate,
    RiskLimits,
    Rung,
    ScopeCaps,
    Sessions,
    Verdict,
)

HOUR = 3_600 * 10**9
DAYS = np.arange(20) * 24 * HOUR
SESSIONS = Sessions(DAYS + 14 * HOUR, DAYS + 21 * HOUR)
SPY, QQQ = Instrument("SPY"), Instrument("QQQ")
TABLE = InstrumentTable.of([QQQ, SPY])
NOW = 15 * HOUR


def market(qqq: float = 400.0, spy: float = 300.0, now: int = NOW, half=(0.02, 0.05)) -> Market:
    prices = np.array([qqq, spy])
    spot = np.where(np.isnan(prices), [400.0, 300.0], prices)
    half = np.array(half)
    return Market(now, TABLE, spot, 0.0, np.zeros(2), prices - half, prices + half, np.zeros(2))


def book(qqq: float, spy: float, cash: float = 0.0, **parts) -> Portfolio:
    return Portfolio.of(TABLE, {QQQ: qqq, SPY: spy}, cash, **parts)


def gate(**limits) -> RiskGate:
    return RiskGate(PortfolioRiskManager(RiskLimits(**limits), SESSIONS))


@pytest.mark.parametrize(
    "caps",
    [
        {"caps": Caps(), "of_equity": Caps(day_loss=0.02, drawdown=0.08)},
        {"caps": Caps(day_loss=2000.0, drawdown=8000.0)},
    ],
)
def test_a_loss_beyond_extreme_is_confirmed_whatever_its_cap_is_given_as(caps) -> None:
    g = gate(**caps)
    held = book(100.0, 0.0, cash=60_000.0)
    for k, price in enumerate((400.0, 400.0, 300.0, 300.0, 300.0)):
        decision = g.check(held, market(price, now=NOW + k * 120 * 10**9), {})
    assert decision.rung is Rung.FLATTEN
    assert decision.trades.tolist() == [-100.0, 0.0]


def test_a_quote_that_is_missing_sells_nothing_under_a_cap_that_is_a_share_of_equity() -> None:
    g = gate(caps=Caps(), of_equity=Caps(dollar_delta=1.0))
    held = book(1.0, 50.0, cash=100_000.0)
    assert g.check(held, market(), {}).rung is Rung.NORMAL
    decision = g.check(held, market(np.nan, now=NOW + HOUR), {SPY: 1.0})
    assert decision.rung is Rung.BLOCK_NEW
    assert not decision.trades.any()


@pytest.mark.parametrize("held", [60.0, 100.0])
def test_a_hedge_is_no_cure_for_a_sum_of_sizes(held: float) -> None:
    g = gate(caps=Caps(gross_delta=50.0), correction=CorrectionRule(hedges="underlyings"))
    plan = g.reduction_plan(book(0.0, held), market())
    assert plan.resolved
    assert plan.total.tolist() == [0.0, -(held - 45.0)]


def test_a_plan_does_not_call_a_strategys_broken_cap_resolved() -> None:
    g = gate(caps=Caps(), by_strategy={"condor": ScopeCaps(dollar_delta=10_000.0)})
    held = book(0.0, 100.0, strategies={"condor": {SPY: 100.0}})
    plan = g.reduction_plan(held, market())
    assert not plan.resolved
    assert plan.reason == "flatten_unresolved"
    with pytest.raises(ValueError, match=r"dollar_delta\[condor\]"):
        g.reduction_plan(held, market(), {"dollar_delta[condor]": 0.3})


def test_what_is_unknown_in_a_strategy_is_unknown_to_it_though_another_offsets_it() -> None:
    g = gate(caps=Caps(), by_strategy={"condor": ScopeCaps(delta=50.0), "hedge": ScopeCaps()})
    parts = {"condor": {SPY: 40.0, QQQ: 8.0}, "hedge": {SPY: -40.0}}
    held = book(8.0, 0.0, cash=1e6, strategies=parts)
    for snapshot in (market(), market(spy=np.nan, now=NOW + HOUR)):
        decision = g.check(held, snapshot, {QQQ: 10.0}, strategy="condor")
        assert 48.0 + decision.trades[0] <= 50.0


def test_a_plan_that_working_orders_undo_is_not_resolved() -> None:
    g = gate(caps=Caps(delta=40.0))
    plan = g.reduction_plan(book(0.0, 60.0, working=[{SPY: 60.0}]), market())
    assert not plan.resolved


def test_an_instant_may_be_of_numpys_own() -> None:
    g = gate(caps=Caps(delta=40.0))
    decision = g.check(book(0.0, 10.0), market(now=SESSIONS.opens[0] + HOUR), {SPY: 1.0})
    assert json.loads(decision.to_bytes())["verdict"] == "ALLOW"
    assert BreakerState.from_dict(g.state.to_dict()) == g.state


def test_a_request_that_is_no_number_ends_in_nothing_and_a_far_one_in_what_is_nearest() -> None:
    g = gate(caps=Caps(delta=100.0))
    menu = np.array([[np.nan, 0.0], [20.0, 0.0], [0.0, 0.0]])
    assert not g.decide(book(0.0, 0.0), market(), Proposal(menu)).trades.any()
    for asked, left in ((-1e15, -100.0), (1e15, 100.0)):
        menu = np.array([[0.0, asked], [0.0, -150.0], [0.0, -3.0], [0.0, 3.0], [0.0, 50.0]])
        decision = g.decide(book(0.0, 50.0), market(now=NOW + HOUR), Proposal(menu))
        assert decision.verdict is Verdict.RESIZE
        assert 50.0 + decision.trades[1] == left


def test_an_assessment_under_other_limits_is_not_decided_on() -> None:
    loose, tight = gate(caps=Caps(delta=1e9)), gate(caps=Caps(delta=1.0))
    state, a = loose.manager.assess(loose.state, book(0.0, 0.0), market())
    with pytest.raises(ValueError, match="other limits"):
        tight.manager.decide(state, a, Proposal(np.array([[0.0, 100.0]])))


def test_a_box_bounds_every_trade_that_stands_in_for_a_request() -> None:
    g = gate(caps=Caps(delta=50.0))
    _, a = g.manager.assess(g.state, book(0.0, 0.0), market())
    low, high = np.array([0.0, -5.0]), np.array([0.0, 5.0])
    proposal = g.manager.propose(a, [0.0, 90.0], box_low=low, box_high=high)
    assert (proposal.trades[1:] <= high).all()
    assert g.manager.decide(g.state, a, proposal)[1].trades.tolist() == [0.0, 5.0]
    for wrong in (np.zeros(3), np.array([np.nan, 0.0])):
        with pytest.raises(ValueError, match="box_low"):
            g.manager.propose(a, [0.0, 90.0], box_low=wrong, box_high=high)


def test_limits_that_say_the_same_have_one_digest() -> None:
    ones = [RiskLimits(caps=Caps(delta=x)).digest for x in (1.0, 1, 2.0)]
    assert ones[0] == ones[1] != ones[2]


def test_a_book_whose_orders_work_is_not_empty_when_its_positions_are_closed() -> None:
    """Short 100 and 300 to be bought: between -100 and 200. Closing makes it 0 to 300."""
    g = gate(caps=Caps(delta=150.0))
    plan = g.reduction_plan(book(-100.0, 0.0, working=[{SPY: 300.0}]), market())
    assert (plan.total.tolist(), plan.resolved) == ([0.0, 0.0], False)


def test_a_plan_that_cannot_do_all_does_nothing_that_may_not_be_done() -> None:
    """No plan moves a strategy's sums; a short sale of QQQ, though cheap, would break its cap."""
    g = gate(
        caps=Caps(dollar_delta=10_000.0), correction=CorrectionRule(hedges="underlyings"),
        by_underlying={"QQQ": ScopeCaps(gross_delta=5.0)},
        by_strategy={"wheel": ScopeCaps(gross_delta=1.0)},
    )  # fmt: skip
    plan = g.reduction_plan(book(0.0, 60.0, strategies={"wheel": {SPY: 60.0}}), market())
    assert (plan.total.tolist(), plan.resolved) == ([0.0, -30.0], False)
