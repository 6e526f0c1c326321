"""An argument of another type is refused by name, with what was received and what is allowed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from riskenv import (
    BreakerState,
    Caps,
    ConfigError,
    Order,
    PortfolioRiskManager,
    Proposal,
    RiskGate,
    RiskLimits,
)

from ...property.worlds import SESSIONS, world


@pytest.fixture(scope="module")
def it() -> SimpleNamespace:
    w = world(3)
    state, a = w.assess()
    trade = np.zeros((1, len(w.table)))
    return SimpleNamespace(
        m=w.manager, gate=RiskGate(w.manager), a=a, state=state, book=w.portfolio, market=w.market,
        row=trade, hold=Proposal(trade), spot=w.table.instruments[0],
    )  # fmt: skip


REFUSED = [
    (lambda i: PortfolioRiskManager({"caps": {}}, SESSIONS), "limits: got {.*}; .*RiskLimits"),
    (lambda i: PortfolioRiskManager(i.m.limits, None), "sessions: got None; .*Sessions"),
    (lambda i: PortfolioRiskManager(i.m.limits, SESSIONS, history=5), "history: got 5"),
    (lambda i: PortfolioRiskManager(i.m.limits, SESSIONS, var={}), "var: got {}"),
    (lambda i: PortfolioRiskManager(i.m.limits, SESSIONS, event_policy={}), "event_policy: got"),
    (lambda i: PortfolioRiskManager(i.m.limits, SESSIONS, cache_bytes=0.5), "cache_bytes: got 0.5"),
    (lambda i: i.m.assess(None, i.book, i.market), "state: got None; .*BreakerState"),
    (lambda i: i.m.assess(i.state, None, i.market), "portfolio: got None"),
    (lambda i: i.m.assess(i.state, i.book, None), "market: got None"),
    (lambda i: i.m.assess(i.state, i.book, i.market, "5"), "external_flow: got '5'; .*a number"),
    (lambda i: i.m.decide(None, i.a, i.hold), "state: got None"),
    (lambda i: i.m.decide(i.state, None, i.hold), "assessment: got None"),
    (lambda i: i.m.decide(i.state, i.a, i.row), "proposal: got .*allowed: Proposal"),
    (lambda i: i.m.what_if(i.state, i.a, None), "proposal: got None"),
    (lambda i: i.m.mask(i.a, None), "proposal: got None"),
    (lambda i: i.m.mask(i.a, i.hold, "HALTED"), "state: got 'HALTED'; .*BreakerState or None"),
    (lambda i: i.m.propose(None, i.row[0]), "assessment: got None"),
    (lambda i: i.m.propose(i.a, i.row[0], None), "strategy: got None; allowed: a text"),
    (lambda i: i.m.reduction_plan(i.a, {"delta": "0.3"}), r"shares\['delta'\]: got '0.3'"),
    (lambda i: i.m.reduction_plan(i.a, 0.3), "shares: got 0.3; allowed: Mapping or None"),
    (lambda i: i.m.var_report(None), "assessment: got None"),
    (lambda i: i.m.report({}), "assessment: got {}"),
    (lambda i: Proposal(i.row, asked=0.5), "asked: got 0.5; allowed: a whole number"),
    (lambda i: Proposal(i.row, strategy=None), "strategy: got None"),
    (lambda i: Proposal(i.row, order="buy"), "order: got 'buy'; allowed: Order or None"),
    (lambda i: RiskGate(i.m.limits), "manager: got RiskLimits.*; allowed: PortfolioRiskManager"),
    (lambda i: RiskGate(i.m, {"rung": "WARN"}), "state: got {"),
    (lambda i: RiskGate.load(None), "path: got None"),
    (lambda i: i.gate.check(i.book, None, {}), "market: got None"),
    (lambda i: i.gate.check({}, i.market, {}), "portfolio: got {}"),
    (lambda i: i.gate.check(i.book, i.market, {"A": 1}), "instrument: got 'A'"),
    (lambda i: i.gate.check(i.book, i.market, {i.spot: "3"}), "trades.*: got '3'; .*a number"),
    (lambda i: i.gate.check(i.book, i.market, {}, 0.0, 7), "strategy: got 7"),
    (lambda i: i.gate.decide(i.book, i.market, i.row), "proposal: got"),
    (lambda i: i.gate.check_order(i.book, i.market, None), r"orders\[0\]: got None"),
    (lambda i: i.gate.check_orders(i.book, i.market, Order(i.spot, 1)), "orders: got Order"),
    (lambda i: i.gate.executed(None, 1), "strategy: got None"),
    (lambda i: i.gate.executed("", 0.5), "now: got 0.5; allowed: a whole number"),
    (lambda i: i.gate.cancelled(None), "now: got None"),
    (lambda i: i.gate.re_enable("", None, "calm"), "token: got None; allowed: a text"),
    (lambda i: i.gate.halt(None), "reason: got None; allowed: a text"),
    (lambda i: i.gate.resume(5, "calm"), "token: got 5"),
    (lambda i: i.gate.resume("5", None), "reason: got None"),
    (lambda i: i.gate.reduction_plan(i.book, i.market, {"delta": "0.3"}), r"shares\['delta'\]"),
    (lambda i: i.gate.report(i.book, "today"), "market: got 'today'"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "words"), REFUSED)
def test_a_wrong_type_is_refused_in_words(it: SimpleNamespace, call, words: str) -> None:
    before = it.gate.state
    with pytest.raises(TypeError, match=words):
        call(it)
    assert it.gate.state is before


@pytest.mark.parametrize("saved", [None, 5, ["WARN"]])
def test_a_saved_state_that_is_no_mapping_is_refused(saved) -> None:
    with pytest.raises(ConfigError, match=r"SavedBreakerState: got .*; allowed: a mapping"):
        BreakerState.from_dict(saved)


def test_limits_say_all_that_is_wrong_with_them_at_once() -> None:
    """Wrong fields, unknown keys and rules between fields, from code as from a mapping."""
    wrong = {
        "caps": {"delta": -1.0, "dleta": 5.0},
        "of_equity": {"gamma": 0.1},
        "by_underlying": {"": {}},
        "by_expiry": {"2d": {}},
        "by_strategy": {"condor": {"of_equity": {"contracts": 0.1}}},
        "warn": 0.95,
        "release": 0.9,
        "extreme": 1.0,
        "confirm": {"k": 4, "n": 3, "seconds": 0},
        "orders": {"options": {"collar": {"market_orders": "hit"}}},
    }
    with pytest.raises(ConfigError) as raised:
        RiskLimits(**wrong)
    for key in (
        "caps.delta: got -1.0", "caps.dleta: unknown key", "of_equity.gamma", "by_underlying: got",
        "by_expiry: got", "by_strategy.condor.of_equity: got", "release: got 0.9", "extreme: got",
        "confirm.n: got 3", "confirm.seconds: got 0", "options.collar.half_spreads: got None",
        "options.collar.market_orders: got 'hit'",
    ):  # fmt: skip
        assert key in str(raised.value), key


def test_a_cap_alone_is_refused_by_the_same_error() -> None:
    with pytest.raises(ConfigError, match=r"Caps is not valid:\n  vega: got -1; .*greater than 0"):
        Caps(vega=-1)
