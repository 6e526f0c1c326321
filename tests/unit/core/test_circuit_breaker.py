"""The breaker: up at once, down after a dwell, out of a halt only with the token."""

from __future__ import annotations

import hashlib
import json
import math
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from riskenv import BreakerState, Caps, RiskLimits, Rung
from riskenv.circuit_breaker import climb, halt, mark_equity, resume

from ...property.worlds import FAST

TOKEN = "let it trade"
SECRET = hashlib.sha256(TOKEN.encode()).hexdigest()
DWELL = 2
LIMITS = RiskLimits(caps=Caps(), dwell_sessions=DWELL, operator_token_sha256=SECRET)

rungs = st.sampled_from(list(Rung)[:5])
money = st.floats(-1e6, 1e6) | st.just(math.nan)


class Breaker(RuleBasedStateMachine):
    """Any sequence of assessments, halts, tokens, restarts and flows, beside a plain model."""

    def __init__(self) -> None:
        super().__init__()
        self.state = BreakerState()
        self.peak = self.start = self.last = math.nan
        self.since = self.session = -1

    def step(self, new: BreakerState) -> None:
        old, self.state = self.state, new
        if old.rung == Rung.HALTED:
            assert new.rung == Rung.HALTED
        if new.rung < old.rung:
            assert new.session - self.since >= DWELL
        if new.rung != old.rung:
            self.since = new.session

    @rule(later=st.integers(0, 3), equity=money, flow=st.floats(-1e5, 1e5) | st.just(0.0))
    def time_passes(self, later: int, equity: float, flow: float) -> None:
        session = max(0, self.session) + later
        if session > self.session and not math.isnan(self.last):
            self.start = self.last
        self.session = session
        # Paid in or out: every mark moves with it.
        self.start, self.peak, self.last = self.start + flow, self.peak + flow, self.last + flow
        if not math.isnan(equity):
            self.last = equity
            self.start = equity if math.isnan(self.start) else self.start
            self.peak = equity if math.isnan(self.peak) else max(self.peak, equity)
        self.step(mark_equity(self.state, equity, session, flow))

    @rule(demanded=rungs, band=rungs)
    def book_is_assessed(self, demanded: Rung, band: Rung) -> None:
        before = self.state.rung
        released = max(demanded, band)
        self.step(climb(self.state, demanded, released, LIMITS))
        if before != Rung.HALTED:
            assert self.state.rung >= demanded
            assert self.state.rung <= max(before, demanded)
            assert self.state.rung >= min(before, released)

    @rule(reason=st.sampled_from(["fat finger", "news"]))
    def operator_halts(self, reason: str) -> None:
        self.state, self.since = halt(self.state, reason), self.state.session
        assert self.state.halt_reason == reason

    @rule(token=st.text(max_size=12) | st.just(SECRET))
    def somebody_guesses(self, token: str) -> None:
        with pytest.raises(PermissionError):
            resume(self.state, token, LIMITS)

    @precondition(lambda self: self.state.rung == Rung.HALTED)
    @rule()
    def operator_resumes(self) -> None:
        self.state, self.since = resume(self.state, TOKEN, LIMITS), self.state.session
        assert (self.state.rung, self.state.halt_reason) == (Rung.BLOCK_NEW, "")

    @rule(back=st.integers(1, 5), equity=money)
    def time_does_not_go_back(self, back: int, equity: float) -> None:
        with pytest.raises(ValueError, match="time does not go back"):
            mark_equity(self.state, equity, self.state.session - back)

    @rule()
    def process_restarts(self) -> None:
        restored = BreakerState.from_dict(json.loads(json.dumps(self.state.to_dict())))
        assert restored.digest == self.state.digest
        assert json.dumps(restored.to_dict()) == json.dumps(self.state.to_dict())
        self.state = restored

    @invariant()
    def marks_are_the_models(self) -> None:
        s = self.state
        for got, wanted in (
            (s.day_start_equity, self.start),
            (s.high_water_mark, self.peak),
            (s.last_equity, self.last),
        ):
            assert got == wanted or (math.isnan(got) and math.isnan(wanted))


Breaker.TestCase.settings = settings(FAST, max_examples=60, stateful_step_count=25)
TestBreaker = Breaker.TestCase


@pytest.mark.parametrize("dwell", [0, 1, 3])
@pytest.mark.parametrize("high", list(Rung)[1:5])
def test_a_book_that_dithers_around_a_level_changes_rung_once_a_dwell(dwell: int, high: Rung):
    """Above, below, above, below, ... within each session."""
    limits = RiskLimits(caps=Caps(), dwell_sessions=dwell)
    state, falls = BreakerState(), []
    for session in range(12):
        for demanded in (high, Rung.NORMAL, high, Rung.NORMAL):
            state = mark_equity(state, 1.0, session)
            new = climb(state, demanded, demanded, limits)
            falls += [session] if new.rung < state.rung else []
            state = new
    if dwell:
        assert all(later - earlier >= dwell for earlier, later in pairwise(falls))
        assert len(set(falls)) == len(falls)


def test_within_the_band_the_rung_is_kept_however_long() -> None:
    state = climb(mark_equity(BreakerState(), 1.0, 0), Rung.REDUCE, Rung.REDUCE, LIMITS)
    for session in range(1, 50):
        state = climb(mark_equity(state, 1.0, session), Rung.WARN, Rung.REDUCE, LIMITS)
        assert state.rung == Rung.REDUCE
    state = climb(mark_equity(state, 1.0, 51), Rung.WARN, Rung.WARN, LIMITS)
    assert state.rung == Rung.WARN


def test_a_day_starts_where_the_last_one_ended_and_the_peak_is_kept() -> None:
    state = BreakerState()
    marks = []
    for session, equity in [(0, 100.0), (0, 130.0), (0, 90.0), (1, 80.0), (3, 95.0)]:
        state = mark_equity(state, equity, session)
        marks.append((state.day_start_equity, state.high_water_mark))
    assert marks == [(100.0, 100.0), (100.0, 130.0), (100.0, 130.0), (90.0, 130.0), (80.0, 130.0)]


@pytest.mark.parametrize("unknown_first", [False, True])
@pytest.mark.parametrize("flow", [50.0, -50.0])
def test_money_paid_in_or_out_is_neither_gain_nor_loss(flow: float, unknown_first: bool) -> None:
    """Also where the equity was Unknown when it came, and a day begins after it."""
    state = mark_equity(BreakerState(), 100.0, 0)
    if unknown_first:
        state = mark_equity(state, math.nan, 0, flow)
        state = mark_equity(state, 100.0 + flow, 1)
    else:
        state = mark_equity(state, 100.0 + flow, 0, flow)
    assert state.day_start_equity == state.high_water_mark == 100.0 + flow


@pytest.mark.parametrize("flow", [math.nan, math.inf, -math.inf])
def test_a_flow_that_is_no_amount_is_refused_rather_than_wiping_out_the_marks(flow: float) -> None:
    with pytest.raises(ValueError, match="external_flow"):
        mark_equity(mark_equity(BreakerState(), 100.0, 0), 100.0, 0, flow)


@pytest.mark.parametrize("equity", [math.nan, math.inf, -math.inf])
def test_an_unknown_equity_sets_no_mark(equity: float) -> None:
    state = mark_equity(mark_equity(BreakerState(), 100.0, 0), equity, 1)
    marks = (state.day_start_equity, state.high_water_mark, state.last_equity)
    assert marks == (100.0, 100.0, 100.0)


def test_a_halt_without_a_configured_token_is_final() -> None:
    limits = RiskLimits(caps=Caps())
    for token in ("", TOKEN, "None"):
        with pytest.raises(PermissionError, match="final"):
            resume(halt(BreakerState(), "x"), token, limits)


def test_the_secret_is_not_the_token() -> None:
    with pytest.raises(PermissionError, match="not the operator's"):
        resume(halt(BreakerState(), "x"), SECRET, LIMITS)


def test_a_halt_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="reason"):
        halt(BreakerState(), "")


@pytest.mark.parametrize("token", ["", "f" * 63, "F" * 64, "z" * 64])
def test_only_a_sha256_is_taken_for_the_tokens_digest(token: str) -> None:
    with pytest.raises(ValueError, match="operator_token_sha256"):
        RiskLimits(caps=Caps(), operator_token_sha256=token)
