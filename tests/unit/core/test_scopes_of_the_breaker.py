"""Each scope has its own rung: what is broken in one ticker stops that ticker, not the book."""

from __future__ import annotations

import math

import numpy as np
import pytest

from riskenv import (
    BreakerState,
    ConfigError,
    Event,
    EventPolicy,
    EventRule,
    Instrument,
    InstrumentTable,
    Market,
    Portfolio,
    PortfolioRiskManager,
    Proposal,
    RiskGate,
    RiskLimits,
    Rung,
    Sessions,
    Verdict,
    load_config,
)
from riskenv.admissibility import used_of
from riskenv.reduction_of_book import lot_cost
from riskenv.selection import evaluate

HOUR = 3_600 * 10**9
DAY = 24 * HOUR
A, B = Instrument("A"), Instrument("B")
CALL = Instrument("A", "C", 100.0, 103 * DAY + 21 * HOUR, 100.0)
TABLE = InstrumentTable.of([A, B, CALL])  # A, its call, B
SESSIONS = Sessions(np.arange(100, 160) * DAY + 14 * HOUR, np.arange(100, 160) * DAY + 21 * HOUR)
NOON = 103 * DAY + 16 * HOUR
EACH = {"caps": {"delta": 1e6}, "by_underlying": {"*": {"delta": 100}}}


def gate_of(**limits) -> RiskGate:
    return RiskGate(PortfolioRiskManager(load_config(RiskLimits, limits), SESSIONS))


def at(now: int = NOON, b: float = 100.0) -> Market:
    mid = np.array([100.0, 1.0, b])
    return Market(
        now, TABLE, np.array([100.0, b]), 0.0, np.zeros(2), mid - 0.01, mid + 0.01,
        np.array([0.0, 0.2, 0.0]),
    )  # fmt: skip


def book(lots: dict[Instrument, float], **more) -> Portfolio:
    return Portfolio.of(TABLE, lots, 1e6, **more)


def test_a_broken_ticker_is_only_reduced_and_another_one_trades_on() -> None:
    gate, held = gate_of(**EACH), book({A: 110.0})
    other = gate.check(held, at(), {B: 10.0})
    assert (other.verdict, other.rung) == (Verdict.ALLOW, Rung.WARN)
    for trades, verdict in (({A: 1.0}, Verdict.BLOCK), ({A: -5.0}, Verdict.ALLOW)):
        here = gate.check(held, at(), trades)
        assert (here.verdict, here.rung) == (verdict, Rung.BLOCK_NEW)
    mixed = gate.check(held, at(), {A: 1.0, B: 10.0})
    assert mixed.trades.tolist() == [0.0, 0.0, 10.0]
    (reason,) = (r for r in mixed.reasons if r.code == "rung_block_new")
    assert reason.measure == "underlying:A"
    assert reason.words == ("the breaker is at BLOCK_NEW in A (delta[A]): only reductions pass")
    assert ("rung_block_new", "underlying:A") in {(a.code, a.measure) for a in mixed.alerts}
    assert gate.report(held, at())["rungs"] == {"underlying:A": "BLOCK_NEW"}


def test_a_scope_is_held_for_its_dwell_across_a_restart() -> None:
    gate = gate_of(**EACH)
    gate.check(book({A: 110.0}), at(), {})
    gate = RiskGate(gate.manager, BreakerState.from_dict(gate.state.to_dict()))
    back = book({A: 10.0})
    assert gate.check(back, at(NOON + HOUR), {A: 1.0}).verdict is Verdict.BLOCK
    assert gate.check(back, at(NOON + HOUR), {B: 1.0}).verdict is Verdict.ALLOW
    assert gate.check(back, at(NOON + DAY - 1), {A: 1.0}).verdict is Verdict.BLOCK
    assert gate.check(back, at(NOON + DAY), {A: 1.0}).verdict is Verdict.ALLOW
    assert gate.state.scopes == ()


def test_an_extreme_in_one_scope_has_the_book_reduced() -> None:
    gate, held = gate_of(**EACH), book({A: 130.0, B: 50.0})
    decision = gate.check(held, at(), {B: 10.0})
    assert (decision.verdict, decision.rung) == (Verdict.REDUCE, Rung.REDUCE)
    assert decision.trades.tolist() == [-40.0, 0.0, 0.0]


def test_a_strategy_is_held_back_and_another_is_not() -> None:
    gate = gate_of(caps={"delta": 1e6}, by_strategy={"s": {"delta": 100}, "t": {}})
    held = book({A: 110.0}, strategies={"s": {A: 110.0}})
    for tag, trades, verdict in (
        ("s", {B: 1.0}, Verdict.BLOCK),
        ("s", {A: -1.0}, Verdict.ALLOW),
        ("t", {B: 1.0}, Verdict.ALLOW),
    ):
        assert gate.check(held, at(), trades, strategy=tag).verdict is verdict, (tag, trades)


def test_an_expiry_bucket_is_a_scope() -> None:
    gate = gate_of(caps={"delta": 1e6}, by_expiry={"0-1d": {"contracts": 10}})
    held = book({CALL: 11.0})
    assert gate.check(held, at(), {CALL: 1.0, A: 1.0}).trades.tolist() == [1.0, 0.0, 0.0]
    assert gate.check(held, at(), {CALL: -1.0}).verdict is Verdict.ALLOW


def test_what_is_unknown_in_a_ticker_stops_that_ticker_alone() -> None:
    gate, held = gate_of(**EACH), book({A: 50.0, B: 10.0})
    assert gate.check(held, at(b=math.nan), {B: 1.0}).verdict is Verdict.BLOCK
    # The account's equity is Unknown with it, and that stops the book.
    assert gate.check(held, at(b=math.nan), {A: 1.0}).rung == Rung.BLOCK_NEW


def test_the_mask_says_what_decide_does_in_a_held_scope() -> None:
    gate, held = gate_of(**EACH), book({A: 110.0})
    state, a = gate.manager.assess(BreakerState(), held, at())
    rows = np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 0, 1], [-20, 0, 1], [1, 0, 1.0]])
    mask = gate.manager.mask(a, Proposal(rows))
    for asked, allowed in enumerate(mask):
        decision = gate.manager.decide(state, a, Proposal(rows, asked))[1]
        assert (decision.verdict is Verdict.ALLOW) == allowed
    assert mask.tolist() == [True, False, True, True, True, False]


@pytest.mark.parametrize("scope", ["delta", "gross_dollar_delta"])
def test_the_whole_books_caps_stop_everything(scope: str) -> None:
    gate = gate_of(caps={scope: 100 if scope == "delta" else 1e4}, by_underlying={"*": {}})
    assert gate.check(book({A: 110.0}), at(), {B: 1.0}).rung == Rung.BLOCK_NEW


# -- what one scope is to another -----------------------------------------------------------------

TAGGED = {"caps": {"delta": 1e6}, "by_strategy": {"s": {"delta": 100}, "t": {}}}
PARTS = {"s": {A: 130.0}, "t": {B: 40.0}}


def test_a_strategy_at_reduce_closes_its_own_positions_and_no_other() -> None:
    gate, held = gate_of(**TAGGED), book({A: 130.0, B: 40.0}, strategies=PARTS)
    decision = gate.check(held, at(), {}, strategy="s")
    assert (decision.verdict, decision.rung) == (Verdict.REDUCE, Rung.REDUCE)
    assert decision.trades.tolist() == [-40.0, 0.0, 0.0]
    for tag in ("t", ""):
        other = gate.check(held, at(), {B: 1.0}, strategy=tag)
        assert (other.verdict, other.rung) == (Verdict.ALLOW, Rung.WARN)


def test_a_plan_of_a_strategy_mends_its_own_cap() -> None:
    gate, held = gate_of(**TAGGED), book({A: 130.0, B: 40.0}, strategies=PARTS)
    plan = gate.reduction_plan(held, at(), strategy="s")
    assert (plan.total.tolist(), plan.resolved) == ([-40.0, 0.0, 0.0], True)
    half = gate.reduction_plan(held, at(), {"delta[s]": 0.5}, strategy="s")
    assert (half.total.tolist(), half.resolved) == ([-65.0, 0.0, 0.0], True)
    assert not gate.reduction_plan(held, at()).resolved
    assert not gate.reduction_plan(held, at(), strategy="t").total.any()
    with pytest.raises(ValueError, match="strategy: got 'u'"):
        gate.reduction_plan(held, at(), strategy="u")


def test_masks_and_decisions_agree_on_a_strategy_at_reduce() -> None:
    gate, held = gate_of(**TAGGED), book({A: 130.0, B: 40.0}, strategies=PARTS)
    state, a = gate.manager.assess(BreakerState(), held, at())
    rows = np.array([[0, 0, 0], [-30, 0, 0], [-40, 0, 0], [0, 0, -40], [-40, 0, 1.0]])
    for tag, passing in (("s", [0, 0, 1, 1, 0]), ("t", [1, 1, 1, 1, 1]), ("", [1, 1, 1, 1, 1])):
        mask = gate.manager.mask(a, Proposal(rows, strategy=tag))
        assert mask.tolist() == [bool(flag) for flag in passing], tag
        for asked, allowed in enumerate(mask):
            decision = gate.manager.decide(state, a, Proposal(rows, asked, strategy=tag))[1]
            assert (decision.row == asked) == allowed


def test_what_was_brought_back_holds_nobody_else_for_its_dwell() -> None:
    gate = gate_of(**EACH)
    assert gate.check(book({A: 130.0}), at(), {}).verdict is Verdict.REDUCE
    held = book({A: 90.0})
    assert gate.check(held, at(NOON + 1), {B: 5.0}).verdict is Verdict.ALLOW
    here = gate.check(held, at(NOON + 2), {A: 1.0})
    assert (here.verdict, here.rung) == (Verdict.BLOCK, Rung.BLOCK_NEW)
    assert gate.check(book({A: 95.0}), at(NOON + 3), {B: 5.0}).verdict is Verdict.REDUCE


def test_an_event_of_one_ticker_reduces_nothing_in_another() -> None:
    event = Event("earnings", NOON + DAY, NOON - 30 * DAY, symbol="A")
    rule = EventRule(event_type="earnings", sessions_before=3, cap_multiplier=0.9, reduce=True)
    gate = RiskGate(
        PortfolioRiskManager(
            load_config(RiskLimits, EACH), SESSIONS, events=[event],
            event_policy=EventPolicy(rules=(rule,)),
        )
    )  # fmt: skip
    decision = gate.check(book({A: 10.0, B: 110.0}), at(), {})
    assert (decision.verdict, gate.state.scopes[0].rung) == (Verdict.ALLOW, Rung.BLOCK_NEW)
    assert gate.check(book({A: 95.0}), at(), {}).trades.tolist() == [-14.0, 0.0, 0.0]


def test_two_scopes_of_one_name_are_refused() -> None:
    gate = gate_of(**EACH, by_strategy={"A": {"delta": 50}})
    with pytest.raises(ConfigError, match=r"delta\[A\] is a cap of two scopes called 'A'"):
        gate.check(book({A: 1.0}), at(), {})


@pytest.mark.parametrize("scope", ["bogus", "expiry:foo", "strategy:", "desk:one"])
def test_a_saved_rung_of_no_scope_is_refused(scope: str) -> None:
    saved = {**BreakerState().to_dict()}
    saved["scopes"] = [{"scope": scope, "rung": "WARN", "entered_at": NOON}]
    with pytest.raises(ConfigError, match="scopes"):
        BreakerState.from_dict(saved)


# -- orders that work, and what is Unknown --------------------------------------------------------


def test_a_reduction_closes_nothing_that_a_working_order_may_close_already() -> None:
    gate = gate_of(caps={"contracts": 1})
    held = book({CALL: 3.0}, working=[{CALL: -2.0}])
    assert gate.check(held, at(), {}).trades.tolist() == [0.0, -1.0, 0.0]
    assert gate.reduction_plan(held, at()).total.tolist() == [0.0, -1.0, 0.0]


def test_an_unknown_leg_is_closed_with_as_much_of_the_known_as_it_takes() -> None:
    mid = np.array([100.0, 1.0, 100.0])
    market = Market(
        NOON, TABLE, np.array([100.0, 100.0]), 0.0, np.zeros(2), mid - 0.01, mid + 0.01,
        np.array([0.0, math.nan, 0.0]),
    )  # fmt: skip
    gate, held = gate_of(caps={"delta": 100}), book({A: 130.0, CALL: 2.0})
    plan = gate.reduction_plan(held, market)
    assert plan.resolved
    _, a = gate.manager.assess(BreakerState(), held, market)
    rows = np.array([[-lots, -calls, 0.0] for lots in range(131) for calls in range(3)])
    done = evaluate(a, rows)
    reached = done.admissible & (used_of(done.interval, a.low, a.high)[:, 0] <= 0.9)
    assert plan.cost == pytest.approx(
        (np.abs(rows) @ lot_cost(market, a.limits.correction))[reached].min()
    )
