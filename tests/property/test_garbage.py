"""What is not a number, or no price, never lets a trade in; nothing is, always passes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskenv import Caps, Event, EventPolicy, EventRule, Proposal, RiskGate, Rung, Verdict

from .test_caps_hold import Case, cases, trade_rows, worsened
from .worlds import DAY, FAST, NOW, SLOW, World, world

NAN, INF = np.nan, np.inf
# What no field of a quote may hold, by field; an option's and an underlying's.
GARBAGE = {
    "bid": (NAN, INF, -INF, -1.0, 1e300),  # the last one is crossed
    "ask": (NAN, INF, -INF, -1.0, 0.0),
    "vol": (NAN, INF, -INF, -0.2, 0.0, 1e300),
    "spot": (NAN, INF, -INF, -100.0, 0.0),
    "dividend_yield": (NAN, INF, -INF),
    "rate": (NAN, INF, -INF),
}
KINDS = [(name, value) for name, values in GARBAGE.items() for value in values]


def spoiled(w: World, name: str, value: float, at: int) -> tuple[World, np.ndarray]:
    """The world with one input spoiled, and the instruments that it makes Unknown, (n,)."""
    m, n = w.market, len(w.table)
    if name == "rate":
        return w.with_market(rate=value), np.ones(n, dtype=bool)
    column = getattr(m, name).copy()
    if name == "dividend_yield":
        touched = m.table.underlying_index == at % len(w.table.underlyings)
        column[touched] = value
        return w.with_market(dividend_yield=column), touched
    row = at % len(column)
    column[row] = value
    if name == "spot":
        return w.with_market(spot=column), m.table.underlying_index == row
    touched = np.arange(n) == row
    return w.with_market(**{name: column}), touched & ((name != "vol") | (m.table.kind != 0))


def adds(quantity: np.ndarray, trades: np.ndarray) -> np.ndarray:
    """(n,) legs that do anything but move a position towards 0."""
    return (trades != 0.0) & ~((trades * quantity < 0.0) & (np.abs(trades) <= np.abs(quantity)))


def check_unknown_is_never_entered(case: Case, kind, at: int, seed: int) -> None:
    w, touched = spoiled(case.world, *kind, at)
    book, n = w.portfolio.quantity, len(w.table)
    assert set(w.market.unknown) == {w.table.symbols[i] for i in np.flatnonzero(touched)}
    state, a = w.assess()
    rows = trade_rows(np.random.default_rng(seed), n, 6)
    held_unknown = (touched & (book != 0.0)).any()
    for asked in range(len(rows)):
        d = w.manager.decide(state, a, Proposal(rows, asked))[1]
        assert not adds(book, d.trades)[touched].any()
        if held_unknown:  # nothing is known about the whole: only what shrinks it passes
            assert not adds(book, d.trades).any()
        else:
            assert not worsened(case, d.trades)
    gate = RiskGate(w.manager, w.state)
    d = gate.check(w.portfolio, w.market, rows[0])
    assert not adds(book, d.trades)[touched].any()


@FAST
@given(cases(plain=True), st.sampled_from(KINDS), st.integers(0, 9), st.integers(0, 10_000))
def test_an_unknown_instrument_is_never_entered(case, kind, at, seed) -> None:
    check_unknown_is_never_entered(case, kind, at, seed)


@pytest.mark.slow
@SLOW
@given(cases(plain=True), st.sampled_from(KINDS), st.integers(0, 9), st.integers(0, 10_000))
def test_an_unknown_instrument_is_never_entered_in_ten_thousand(case, kind, at, seed) -> None:
    check_unknown_is_never_entered(case, kind, at, seed)


@FAST
@given(
    cases(plain=True),
    st.sampled_from([NAN, INF, -INF, 1e308, -1e308]),
    st.integers(0, 9),
    st.integers(0, 9),
    st.booleans(),
)
def test_a_trade_that_is_not_finite_is_never_done(case, bad, at, other, no_caps) -> None:
    w = world(len(case.caps), caps=Caps()) if no_caps else case.world
    trades = np.zeros(len(w.table))
    trades[other] = 3.0
    trades[at] = bad
    hold = np.zeros_like(trades)
    state, a = w.assess()
    for asked, rows in ((0, [trades, hold]), (1, [hold, trades]), (0, [trades, trades, hold])):
        d = w.manager.decide(state, a, Proposal(np.array(rows), asked))[1]
        if not np.isfinite(bad) or not np.isfinite(d.after[:6]).all():
            assert d.verdict is not Verdict.ALLOW
            assert not d.trades.any()
        d.to_bytes()
    gate = RiskGate(w.manager, w.state)
    done = gate.check(w.portfolio, w.market, trades).trades
    assert np.isfinite(done).all()
    if not np.isfinite(bad):
        assert not adds(w.portfolio.quantity, done).any()


@pytest.mark.parametrize("caps", [Caps(), Caps(theta=100.0), Caps(day_loss=1e5), Caps(delta=1e9)])
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("with_history", [True, False])
@pytest.mark.parametrize("at", range(10))
def test_a_trade_that_is_not_finite_is_blocked_whatever_is_capped(caps, bad, with_history, at):
    """One-sided and missing caps are infinite, and inf <= inf."""
    w = world(4, caps=caps, with_history=with_history)
    trades = np.zeros(len(w.table))
    trades[at] = bad
    d = RiskGate(w.manager).check(w.portfolio, w.market, trades)
    assert d.verdict is Verdict.BLOCK
    assert not d.trades.any()
    assert d.reasons


@FAST
@given(cases(plain=True), st.sampled_from(KINDS), st.integers(0, 9))
def test_doing_nothing_is_always_admissible(case, kind, at) -> None:
    w, _ = spoiled(case.world, *kind, at)
    state, a = w.assess()
    rows = np.zeros((2, len(w.table)))
    rows[1, 0] = 1.0
    d = w.manager.decide(state, a, Proposal(rows, 0))[1]
    assert "least_violating" not in {r.code for r in d.reasons}
    if not a.reducing:
        assert d.verdict is Verdict.ALLOW
        assert not d.trades.any()


@FAST
@given(cases(plain=True), st.sampled_from(KINDS[:-3]), st.integers(0, 9), st.integers(0, 10_000))
def test_garbage_in_what_nobody_holds_or_trades_taints_nothing(case, kind, at, seed) -> None:
    w, touched = spoiled(case.world, *kind, at)
    book = np.where(touched, 0.0, w.portfolio.quantity)
    rows = np.where(touched, 0.0, trade_rows(np.random.default_rng(seed), len(w.table), 5))
    outcomes = set()
    for market in (case.world.market, w.market):
        here = replace(w, market=market).with_book(book)
        state, a = here.assess()
        assert np.isfinite(a.equity)
        for asked in range(len(rows)):
            d = here.manager.decide(state, a, Proposal(rows, asked))[1]
            outcomes.add((asked, d.to_bytes()))
    assert len(outcomes) == len(rows)


def test_nor_does_it_taint_the_recommended_action() -> None:
    """Short straddles on A before an event that moves all; B has no spot and nobody holds it."""
    rule = EventRule(event_type="cpi", sessions_before=2, gap_log_return=0.2)
    w = world(
        5, caps=Caps(gap_loss=15e3), held=0, events=(Event("cpi", NOW + DAY, NOW - DAY),),
        policy=EventPolicy(rules=(rule,)),
    )  # fmt: skip
    share = w.table.underlying_index == 0
    w = w.with_book(np.where(share & (w.table.kind == 0), 1000.0, 0.0))
    blind = w.with_market(spot=np.array([w.market.spot[0], np.nan]))
    reports = [v.manager.report(v.assess()[1])["events"] for v in (w, blind)]
    assert reports[0]["recommended_action"].startswith("reduce_delta_by_")
    assert reports[0] == reports[1]


def test_the_worst_case_that_was_found() -> None:
    """FLATTEN, a spread on a ticker whose spot is gone, and a request to buy something else.

    With the distances of every row Unknown, the first row was taken: the request.
    """
    w = world(3, caps=Caps(delta=1e6, day_loss=10.0), held=0)
    calls = np.flatnonzero((w.table.kind == 1) & (w.table.underlying_index == 0))
    book = np.zeros(len(w.table))
    book[calls] = 1.0, -1.0
    state, _ = w.with_book(book).assess()
    state = replace(state, rung=Rung.FLATTEN, entered_at=state.assessed_at)
    w = replace(w.with_book(book), state=state)
    w = w.with_market(spot=np.array([np.nan, w.market.spot[1]]))
    buy = np.zeros(len(w.table))
    buy[np.flatnonzero((w.table.kind == 0) & (w.table.underlying_index == 1))] = 500.0
    d = RiskGate(w.manager, w.state).check(w.portfolio, w.market, buy)
    assert d.rung == Rung.FLATTEN
    assert (d.trades == -book).all()
