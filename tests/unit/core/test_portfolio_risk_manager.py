"""Assess and decide: which rung, from what, and nothing else remembered."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from riskenv import BreakerState, Caps, Proposal, RiskGate, RiskLimits, Rung, Verdict
from riskenv.circuit_breaker import halt
from riskenv.measures import MEASURES

from ...property.worlds import DAY, NOW, TODAY, World, world


def long_shares(lots: float, **changes) -> World:
    w = world(2, held=0, **changes)
    book = np.zeros(len(w.table))
    book[0] = lots
    assert w.table.symbols[0] == "A"
    return w.with_book(book)


@pytest.mark.parametrize(
    ("delta", "rung"),
    [(79.0, Rung.NORMAL), (80.0, Rung.WARN), (100.0, Rung.WARN), (101.0, Rung.BLOCK_NEW),
     (125.0, Rung.BLOCK_NEW), (126.0, Rung.REDUCE), (-126.0, Rung.REDUCE)],
)  # fmt: skip
def test_the_rung_of_an_exposure(delta: float, rung: Rung) -> None:
    _, a = long_shares(delta, caps=Caps(delta=100.0)).assess()
    assert a.rung == rung


@pytest.mark.parametrize(
    ("loss", "rung"),
    [(79.0, Rung.NORMAL), (81.0, Rung.WARN), (101.0, Rung.BLOCK_NEW), (126.0, Rung.FLATTEN)],
)
@pytest.mark.parametrize("name", ["day_loss", "drawdown"])
def test_the_rung_of_a_loss(name: str, loss: float, rung: Rung) -> None:
    limits = RiskLimits(caps=Caps(**{name: 100.0}), confirm={"k": 1, "n": 1})
    w = world(2, held=0, limits=limits, cash=1e6 - loss)
    marks = {"day_loss": (1e6, 0.0), "drawdown": (0.0, 1e6)}[name]
    _, a = replace(w, state=BreakerState(Rung.NORMAL, NOW, TODAY, *marks, 1e6)).assess()
    assert a.rung == rung
    assert (a.day_loss, a.drawdown) == ((-loss, 0.0) if name == "day_loss" else (0.0, -loss))


def test_the_band_keeps_a_rung_until_the_release_level() -> None:
    """Up at 126 of 100; 112 would call for no reduction, but 1.25 of 0.9 is 112.5."""
    w, rungs = long_shares(126.0, caps=Caps(delta=100.0)), []
    state = w.state
    for day, delta in enumerate([126.0, 113.0, 112.0, 95.0, 89.0, 73.0, 71.0]):
        now = NOW + day * DAY
        step = long_shares(delta, caps=Caps(delta=100.0)).with_market(now=now)
        state, a = replace(step, state=state).assess()
        rungs.append(a.rung.name)
    assert rungs == ["REDUCE", "REDUCE", "BLOCK_NEW", "BLOCK_NEW", "WARN", "WARN", "NORMAL"]


def test_assessing_and_deciding_change_no_argument() -> None:
    w = long_shares(200.0, caps=Caps(delta=100.0))
    state, a = w.assess()
    kept = {name: getattr(a, name).copy() for name in ("before", "low", "high", "used", "base_pnl")}
    rows = np.array([w.portfolio.quantity, -w.portfolio.quantity])
    proposal = Proposal(rows)
    w.manager.decide(state, a, proposal)
    w.manager.mask(a, proposal)
    w.manager.report(a)
    for name, value in kept.items():
        assert getattr(a, name).tobytes() == value.tobytes(), name
    assert (proposal.trades == rows).all()
    assert w.state == BreakerState()


def test_a_what_if_is_the_decision() -> None:
    w = long_shares(90.0, caps=Caps(delta=100.0))
    state, a = w.assess()
    rows = np.zeros((2, len(w.table)))
    rows[0, 0] = 20.0
    asked = Proposal(rows)
    assert (
        w.manager.what_if(state, a, asked).to_bytes()
        == w.manager.decide(state, a, asked)[1].to_bytes()
    )


def test_a_pickled_manager_decides_alike() -> None:
    w = long_shares(90.0, caps=Caps(delta=100.0, es_1d=5e3))
    copy = replace(w, manager=pickle.loads(pickle.dumps(w.manager)))
    trades = np.zeros(len(w.table))
    trades[0] = 20.0
    bytes_ = {
        RiskGate(v.manager).check(v.portfolio, v.market, trades).to_bytes() for v in (w, copy)
    }
    assert len(bytes_) == 1


def test_equal_limits_are_the_same_limits_however_often_both_were_used() -> None:
    w = long_shares(90.0, caps=Caps(delta=100.0))
    state, a = w.assess()
    other = pickle.loads(pickle.dumps(w.manager))
    other.assess(w.state, w.portfolio, replace(w.market, rules=other.limits.quotes))
    proposal = Proposal(np.eye(len(w.table))[:1] * 20.0)
    decisions = [m.decide(state, a, proposal)[1].to_bytes() for m in (w.manager, other)]
    assert decisions[0] == decisions[1]


@pytest.mark.parametrize(
    "change",
    [{"caps": Caps(delta=101.0)}, {"warn": 0.7}, {"extreme": 1.3}, {"release": 0.95},
     {"dwell_sessions": 2}],
)  # fmt: skip
def test_every_limit_is_in_the_configurations_digest(change) -> None:
    limits = RiskLimits(caps=Caps(delta=100.0))
    digests = {
        long_shares(1.0, limits=x).manager.config_digest
        for x in (limits, limits.model_copy(update=change))
    }
    assert len(digests) == 2


def test_a_passive_breach_is_no_active_one() -> None:
    """The market moved a book outside its cap; doing nothing is not what put it there."""
    w = long_shares(90.0, caps=Caps(dollar_delta=9e3))
    w = w.with_market(spot=np.array([110.0, w.market.spot[1]]))
    d = w.decide(Proposal(np.zeros((1, len(w.table)))))
    assert d.verdict is Verdict.ALLOW
    assert d.passive == ("dollar_delta",)
    assert d.active == ()


def test_money_paid_in_hides_no_loss_from_the_gate() -> None:
    limits = RiskLimits(caps=Caps(day_loss=100.0), confirm={"k": 1, "n": 1})
    w = world(2, held=0, limits=limits, cash=1000.0)
    gate = RiskGate(w.manager)
    gate.check(w.portfolio, w.market, {})
    lost = w.with_book(w.portfolio.quantity, cash=870.0)
    paid = w.with_book(w.portfolio.quantity, cash=1370.0)
    rungs = [
        RiskGate(w.manager, gate.state).check(book.portfolio, w.market, {}, flow).rung
        for book, flow in ((lost, 0.0), (paid, 500.0), (paid, 0.0))
    ]
    assert rungs == [Rung.FLATTEN, Rung.FLATTEN, Rung.NORMAL]


@pytest.mark.parametrize("rung", [Rung.REDUCE, Rung.FLATTEN])
def test_a_rung_is_not_left_because_a_quote_is_missing(rung: Rung) -> None:
    w = long_shares(1000.0, caps=Caps(delta=100.0, day_loss=10.0))
    day_before = BreakerState(rung, NOW - 5 * DAY, TODAY - 1, 1e6, 1e6, 1e6)
    bid = w.market.bid.copy()
    bid[0] = np.nan
    _, a = replace(w.with_market(bid=bid), state=day_before).assess()
    assert a.rung == rung


def test_a_halt_between_assessing_and_deciding_holds() -> None:
    w = long_shares(10.0, caps=Caps(delta=100.0))
    state, a = w.assess()
    rows = np.zeros((2, len(w.table)))
    rows[0, 0] = 5.0
    d = w.manager.decide(halt(state, "stop"), a, Proposal(rows))[1]
    assert not d.trades.any()


def test_an_equity_beyond_any_float_is_unknown() -> None:
    w = long_shares(1e10, caps=Caps(day_loss=100.0))
    ask = w.market.ask.copy()
    ask[0] = 1e307
    _, a = w.with_market(ask=ask).assess()
    assert np.isnan(a.equity)
    assert a.rung == Rung.BLOCK_NEW


def test_measures_are_listed_once() -> None:
    assert len(set(MEASURES)) == len(MEASURES) == 26
