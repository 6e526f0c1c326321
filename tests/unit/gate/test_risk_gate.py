"""The gate: one state, one function, nothing else remembered."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from riskenv import BreakerState, Caps, Proposal, RiskGate, RiskLimits, Rung, Verdict

from ...property.worlds import world

TOKEN = "an operator"
LIMITS = RiskLimits(
    caps=Caps(delta=300.0, day_loss=1e5),
    operator_token_sha256=hashlib.sha256(TOKEN.encode()).hexdigest(),
)


@pytest.mark.parametrize("seed", range(6))
def test_the_gate_is_the_manager_with_a_state(seed: int) -> None:
    w = world(seed, limits=LIMITS)
    gate, state = RiskGate(w.manager), BreakerState()
    rng = np.random.default_rng(seed)
    for _ in range(4):
        trades = rng.integers(-20, 20, len(w.table)).astype(float)
        state, a = w.manager.assess(state, w.portfolio, w.market)
        proposal = w.manager.propose(a, trades)
        state, wanted = w.manager.decide(state, a, proposal)
        twin = RiskGate(w.manager, gate.state)
        assert gate.check(w.portfolio, w.market, trades).to_bytes() == wanted.to_bytes()
        assert twin.decide(w.portfolio, w.market, proposal).to_bytes() == wanted.to_bytes()
        assert gate.state == twin.state == state
        w = w.with_book(w.portfolio.quantity + wanted.trades)


def test_trades_by_name_and_by_column_are_the_same() -> None:
    w = world(3, limits=LIMITS)
    columns = np.zeros(len(w.table))
    columns[[1, 4]] = 2.0, -3.0
    named = {w.table.instruments[1]: 2.0, w.table.instruments[4]: -3.0}
    answers = {
        RiskGate(w.manager).check(w.portfolio, w.market, t).to_bytes() for t in (columns, named)
    }
    assert len(answers) == 1


@pytest.mark.parametrize(
    "trades", [np.zeros(3), np.zeros((2, 10)), np.zeros(0)], ids=["short", "two rows", "none"]
)
def test_a_call_that_raises_leaves_the_state_so_that_no_flow_counts_twice(trades) -> None:
    w = world(3, limits=LIMITS)
    gate = RiskGate(w.manager)
    gate.check(w.portfolio, w.market, {})
    before = gate.state
    with pytest.raises(ValueError, match="trades"):
        gate.check(w.portfolio, w.market, trades, external_flow=500.0)
    if trades.ndim == 1:
        with pytest.raises(ValueError, match="trades"):
            gate.decide(w.portfolio, w.market, Proposal(trades[None, :]), external_flow=500.0)
    assert gate.state == before


def test_a_halt_holds_over_checks_and_restarts_until_the_token() -> None:
    w = world(3, limits=LIMITS, held=0)
    gate = RiskGate(w.manager)
    buy = np.zeros(len(w.table))
    buy[0] = 1.0
    gate.halt("news")
    for _ in range(3):
        gate = RiskGate(w.manager, BreakerState.from_dict(gate.state.to_dict()))
        d = gate.check(w.portfolio, w.market, buy)
        assert (d.rung, d.verdict) == (Rung.HALTED, Verdict.BLOCK)
        with pytest.raises(PermissionError):
            gate.resume("somebody else", "calm again")
    gate.resume(TOKEN, "calm again")
    assert gate.check(w.portfolio, w.market, buy).rung == Rung.BLOCK_NEW


def test_a_what_if_of_the_manager_leaves_the_gate_alone() -> None:
    w = world(3, limits=LIMITS)
    gate = RiskGate(w.manager)
    state, a = w.manager.assess(gate.state, w.portfolio, w.market)
    w.manager.what_if(state, a, Proposal(np.zeros((1, len(w.table)))))
    w.manager.mask(a, Proposal(np.zeros((1, len(w.table)))))
    assert gate.state == BreakerState()
