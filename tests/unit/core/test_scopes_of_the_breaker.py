"""Each scope has its own rung: what is broken in one ticker stops that ticker, not the book."""

from __future__ import annotations

import math

import numpy as np
import pytest

from riskenv import (
    BreakerState,
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
