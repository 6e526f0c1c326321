"""No decision that leaves the layer puts a measure outside its cap, or further outside.

Measured from outside: the book before and after the decision's trades, the caps as configured,
the event's multiplier as configured, all in plain NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskenv import (
    BreakerState,
    Caps,
    Event,
    EventPolicy,
    EventRule,
    Proposal,
    RiskGate,
    RiskLimits,
    Rung,
    Verdict,
)
from riskenv.projection import closing_trades

from .oracle import MEASURES, Oracle
from .worlds import DAY, FAST, NOW, SLOW, TODAY, VAR, World, world

GAP = 0.15


@dataclass(frozen=True)
class Case:
    world: World
    oracle: Oracle
    caps: dict[str, float]
    multiplier: float


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A book, caps from a third to three times what it uses, an event or none, any rung."""
    seed = draw(st.integers(0, 10_000))
    multiplier = draw(st.sampled_from([None, 1.0, 0.75, 0.5]))
    w = world(seed, held=draw(st.integers(0, 10)))
    event = Event("cpi", NOW + DAY, NOW - 9 * DAY)
    rule = EventRule(
        event_type="cpi", sessions_before=2, cap_multiplier=multiplier or 1.0, gap_log_return=GAP,
        gap_log_vol_change=0.1, reduce=draw(st.booleans()), block_new=draw(st.booleans()),
        reduce_to=draw(st.sampled_from([1.0, 0.5, 0.0])),
    )  # fmt: skip
    jumps = [("", -GAP, 0.1), ("", GAP, 0.1)] if multiplier else []
    oracle = Oracle(w.market, w.manager.history, VAR, jumps)
    used, scale = oracle.measures(w.portfolio.quantity), oracle.scale(np.ones(len(w.table)))
    caps = {
        name: draw(st.floats(0.3, 3.0)) * abs(used[name]) + 1e-3 * scale[name] + 1e-6
        for name in MEASURES
        if draw(st.booleans())
    }
    rung = draw(st.sampled_from(list(Rung)))
    return Case(
        World(
            world(
                seed,
                limits=RiskLimits(caps=Caps(**caps)),
                events=(event,) if multiplier else (),
                policy=EventPolicy(rules=(rule,)),
            ).manager,
            w.portfolio,
            w.market,
            BreakerState(rung, TODAY, TODAY, 1e6, 1e6, 1e6, "x" if rung == Rung.HALTED else ""),
        ),
        oracle,
        caps,
        multiplier or 1.0,
    )


def worsened(case: Case, trades: np.ndarray) -> list[str]:
    """Measures that the trades leave outside their cap and further out, or past its other side."""
    book = case.world.portfolio.quantity
    before, after = case.oracle.measures(book), case.oracle.measures(book + trades)
    scale = case.oracle.scale(book, trades)
    bad = []
    for name, cap in case.caps.items():
        cap *= case.multiplier
        b, x, slack = before[name], after[name], 1e-8 * scale[name]
        low, high = -cap, np.inf if name == "theta" or name in MEASURES[6:] else cap
        inside = low - slack <= x <= high + slack
        from_above = b > high - slack and x <= b + slack and x >= low - slack
        from_below = b < low + slack and x >= b - slack and x <= high + slack
        if not (inside or from_above or from_below):
            bad.append(f"{name}: {b} -> {x}, cap [{low}, {high}]")
    return bad


def trade_rows(rng: np.random.Generator, n: int, rows: int) -> np.ndarray:
    """Sparse whole-lot trades from one lot to far beyond any cap; the last one is nothing."""
    lots = rng.integers(-40, 41, (rows, n)) * 10.0 ** rng.integers(-1, 3, (rows, 1))
    trades = np.trunc(np.where(rng.random((rows, n)) < 0.3, lots, 0.0)) + 0.0
    trades[-1] = 0.0
    return trades


def check_any_proposal(case: Case, seed: int) -> None:
    w, rng = case.world, np.random.default_rng(seed)
    state, a = w.assess()
    n = len(w.table)
    trades = trade_rows(rng, n, 8)
    closes = closing_trades(w.portfolio, w.market)[rng.integers(0, 4, 4)]
    forced = np.concatenate([np.zeros_like(trades), closes, closes])
    rows = np.concatenate([trades, closes, closes + trades[:4]])
    for asked in range(len(rows)):
        d = w.manager.decide(state, a, Proposal(rows, asked, forced))[1]
        codes = {r.code for r in d.reasons}
        assert "least_violating" not in codes  # there is a row that does nothing
        assert not worsened(case, d.trades)
        assert d.active == ()
        assert (d.verdict is Verdict.ALLOW) == (d.row == asked and not codes)
        if d.rung == Rung.HALTED:
            assert not d.trades.any()


def check_the_gate(case: Case, seed: int) -> None:
    w = case.world
    gate = RiskGate(w.manager, w.state)
    d = gate.check(
        w.portfolio, w.market, trade_rows(np.random.default_rng(seed), len(w.table), 2)[0]
    )
    assert not worsened(case, d.trades)


@FAST
@given(cases(), st.integers(0, 10_000))
def test_no_decision_puts_a_measure_outside_its_cap_or_further_out(case: Case, seed: int) -> None:
    check_any_proposal(case, seed)


@FAST
@given(cases(), st.integers(0, 10_000))
def test_nor_does_the_gate_with_its_own_cuts_and_reductions(case: Case, seed: int) -> None:
    check_the_gate(case, seed)


@pytest.mark.slow
@SLOW
@given(cases(), st.integers(0, 10_000))
def test_no_decision_in_ten_thousand(case: Case, seed: int) -> None:
    check_any_proposal(case, seed)
    if seed % 4 == 0:  # each may search for the cheapest plan, which takes ten times as long
        check_the_gate(case, seed)


@FAST
@given(cases())
def test_the_layer_measures_what_the_definitions_say(case: Case) -> None:
    """So that the caps above are held against the right numbers."""
    _, a = case.world.assess()
    book = case.world.portfolio.quantity
    wanted, scale = case.oracle.measures(book), case.oracle.scale(book)
    for j, name in enumerate(MEASURES):
        assert abs(a.before[j] - wanted[name]) <= 1e-9 * scale[name] + 1e-9, name


@FAST
@given(cases(), st.integers(0, 10_000))
def test_a_denial_has_a_reason_that_is_so(case: Case, seed: int) -> None:
    """`cap_exceeded` names only measures that the request would leave outside their cap."""
    w = case.world
    state, a = w.assess()
    asked = trade_rows(np.random.default_rng(seed), len(w.table), 2)[0]
    d = w.manager.decide(state, a, w.manager.propose(a, asked))[1]
    if d.verdict is Verdict.ALLOW:
        assert d.reasons == ()
        return
    assert d.reasons
    after = case.oracle.measures(w.portfolio.quantity + asked)
    scale = case.oracle.scale(w.portfolio.quantity, asked)
    for reason in d.reasons:
        if reason.code == "cap_exceeded":
            cap = case.caps[reason.measure] * case.multiplier
            assert abs(after[reason.measure]) >= cap - 1e-8 * scale[reason.measure]
