"""The breaker against a plain model: any sequence of ticks, halts, tokens, flows and restarts.

The model keeps the whole past and asks of it what the breaker must have remembered of it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from riskenv import BreakerState, Caps, RiskLimits, Rung, Sessions
from riskenv.circuit_breaker import climb, halt, mark_equity, resume

from .worlds import DAY, FAST, HOUR

TOKEN = "let it trade"
SECRET = hashlib.sha256(TOKEN.encode()).hexdigest()
SECOND = 10**9
CALENDAR = Sessions(np.arange(400) * DAY + 14 * HOUR, np.arange(400) * DAY + 21 * HOUR)
START = 15 * HOUR
CAP = 100.0

rungs = st.sampled_from(list(Rung)[:5])
# Round amounts, so that flows are exact and a loss of 130 is the same loss after any of them.
money = st.sampled_from([1000.0, 990.0, 960.0, 870.0, 700.0, 1010.0, 1140.0, 5000.0, -300.0])
unknown = st.sampled_from([math.nan, math.inf, -math.inf])
pauses = st.sampled_from([0, 1, 30 * SECOND, 60 * SECOND, HOUR, 8 * HOUR, DAY, 3 * DAY])


def open_time(start: int, end: int) -> int:
    """Session time between two instants, session by session."""
    return sum(
        max(0, min(end, int(close)) - max(start, int(opens)))
        for opens, close in zip(CALENDAR.opens, CALENDAR.closes, strict=True)
        if opens < end and close > start
    )


def gone(now: int) -> Fraction:
    """Sessions gone by since the calendar began, and the share of the present one."""
    session = int(np.searchsorted(CALENDAR.closes, now))
    opens, closes = int(CALENDAR.opens[session]), int(CALENDAR.closes[session])
    return session + Fraction(max(0, now - opens), closes - opens)


@dataclass
class Tick:
    """One observation as the model remembers it."""

    equity: float
    extreme: bool


class Breaker(RuleBasedStateMachine):
    @initialize(k=st.integers(1, 3), more=st.integers(0, 2), dwell=st.integers(0, 2))
    def policy(self, k: int, more: int, dwell: int) -> None:
        self.limits = RiskLimits(
            caps=Caps(day_loss=CAP, drawdown=2 * CAP),
            confirm={"k": k, "n": k + more, "seconds": 60},
            dwell_sessions=dwell,
            operator_token_sha256=SECRET,
        )
        self.k, self.n = k, k + more
        self.state, self.now = BreakerState(), START
        self.start = self.peak = self.last = math.nan
        self.since: int | None = None
        self.session = -1
        self.seen: list[Tick] = []
        self.observed_at: int | None = None
        self.sure_start = self.sure_peak = math.nan
        self.extremes: list[bool] = []

    # -- the model ------------------------------------------------------------------------------

    def reached(self) -> float:
        """What k of the last n observations reached, by counting."""
        last = [tick.equity for tick in self.seen[-self.n :]]
        levels = [x for x in last if sum(y >= x for y in last) >= self.k]
        return max(levels, default=math.nan)

    def extreme(self, equity: float) -> bool:
        return bool(self.sure_start - equity > 125.0 or self.sure_peak - equity > 250.0)

    def marks(self, equity: float, flow: float) -> None:
        session = CALENDAR.session_of(self.now)
        for tick in self.seen:
            tick.equity += flow
        self.start, self.peak, self.last = self.start + flow, self.peak + flow, self.last + flow
        self.sure_start, self.sure_peak = self.sure_start + flow, self.sure_peak + flow
        if session > self.session and not math.isnan(self.last):
            self.start = self.last
            self.sure_start = float(np.minimum(self.start, self.reached()))
            # A loss of yesterday alone is none of today's.
            ticks = self.seen[len(self.seen) - len(self.extremes) :]
            self.extremes = [
                was and self.extreme(tick.equity)
                for was, tick in zip(self.extremes, ticks, strict=True)
            ]
        self.session = session
        if not math.isfinite(equity):
            return
        self.start = equity if math.isnan(self.start) else self.start
        self.peak = float(np.fmax(self.peak, equity))
        self.last = equity
        extreme = self.extreme(equity)
        counts = (
            self.observed_at is None
            or open_time(self.observed_at, self.now) >= 60 * SECOND
            or (extreme and not (self.extremes and self.extremes[-1]))
        )
        if counts:
            self.observed_at = self.now
            self.seen.append(Tick(equity, extreme))
            self.extremes.append(extreme)
            self.sure_start = float(
                np.fmax(self.sure_start, np.minimum(self.start, self.reached()))
            )
            self.sure_peak = float(np.fmax(self.sure_peak, self.reached()))

    def moved(self, new: BreakerState, began: int | None) -> None:
        old, self.state = self.state, new
        if old.rung == Rung.HALTED:
            assert new.rung == Rung.HALTED
        if new.rung < old.rung:
            held = 0 if self.since is None else gone(self.now) - gone(self.since)
            assert held >= self.limits.dwell_sessions
        self.since = new.assessed_at if new.rung != old.rung else began
        assert new.entered_at == self.since

    # -- the events -----------------------------------------------------------------------------

    @rule(pause=pauses, equity=money | unknown, flow=st.sampled_from([0.0, 0.0, 0.0, 512.0, -64.0]))
    def tick(self, pause: int, equity: float, flow: float) -> None:
        self.now += pause
        self.marks(equity, flow)
        self.moved(
            mark_equity(self.state, equity, self.now, CALENDAR, self.limits, flow), self.since
        )

    @rule(demanded=rungs, band=rungs)
    def book_is_assessed(self, demanded: Rung, band: Rung) -> None:
        """Demanded by the exposures; a confirmed loss demands FLATTEN besides."""
        if self.state.losses.confirmed(self.limits):
            demanded = Rung.FLATTEN
        before, released = self.state.rung, max(demanded, band)
        if before in (Rung.NORMAL, Rung.HALTED) or self.since is not None:
            began = self.since
        else:
            began = self.state.assessed_at  # the dwell of a resumed book
        self.moved(climb(self.state, demanded, released, CALENDAR, self.limits), began)
        if before != Rung.HALTED:
            assert self.state.rung >= demanded
            assert self.state.rung <= max(before, demanded)
            assert self.state.rung >= min(before, released)

    @rule(reason=st.sampled_from(["fat finger", "news"]))
    def operator_halts(self, reason: str) -> None:
        self.state, self.since = halt(self.state, reason), self.state.assessed_at
        assert (self.state.halt_reason, self.state.resume_reason) == (reason, "")

    @rule(token=st.text(max_size=12) | st.just(SECRET), rebase=st.booleans())
    def somebody_guesses(self, token: str, rebase: bool) -> None:
        with pytest.raises(PermissionError):
            resume(self.state, token, self.limits, "let me in", rebase=rebase)

    @precondition(lambda self: self.state.rung == Rung.HALTED)
    @rule(rebase=st.booleans())
    def operator_resumes(self, rebase: bool) -> None:
        before = self.state
        self.state = resume(before, TOKEN, self.limits, "calm again", rebase=rebase)
        self.since = None
        assert (self.state.rung, self.state.resume_reason) == (Rung.BLOCK_NEW, "calm again")
        assert self.state.halt_reason == before.halt_reason
        if rebase:
            assert same(self.state.rebased_from, self.peak)
            self.peak = self.last
            self.sure_peak = float(np.minimum(self.sure_peak, self.peak))
            for tick in self.seen:
                tick.equity = min(tick.equity, self.peak)
        self.extremes = []

    @precondition(lambda self: self.state.assessed_at is not None)
    @rule(back=st.integers(1, 5 * DAY), equity=money)
    def time_does_not_go_back(self, back: int, equity: float) -> None:
        early = max(self.now - back, int(CALENDAR.opens[0]))
        if early < self.now:
            with pytest.raises(ValueError, match="time does not go back"):
                mark_equity(self.state, equity, early, CALENDAR, self.limits)

    @rule()
    def process_restarts(self) -> None:
        restored = BreakerState.from_dict(json.loads(json.dumps(self.state.to_dict())))
        assert restored == self.state
        assert restored.digest == self.state.digest
        self.state = restored

    # -- what always holds ----------------------------------------------------------------------

    @invariant()
    def nothing_is_forgotten(self) -> None:
        s = self.state
        for got, wanted in (
            (s.day_start_equity, self.start),
            (s.high_water_mark, self.peak),
            (s.last_equity, self.last),
            (s.losses.day_start, self.sure_start),
            (s.losses.high, self.sure_peak),
        ):
            assert same(got, wanted)
        assert s.losses.equities == tuple(tick.equity for tick in self.seen[-self.n :])
        assert s.losses.extreme == tuple(self.extremes[-self.n :])

    @invariant()
    def k_of_n_confirm_and_nothing_less(self) -> None:
        assert self.state.losses.confirmed(self.limits) == (sum(self.extremes[-self.n :]) >= self.k)


def same(got: float, wanted: float) -> bool:
    return got == wanted or (math.isnan(got) and math.isnan(wanted))


Breaker.TestCase.settings = settings(
    FAST,
    max_examples=int(os.environ.get("BREAKER_MODEL_EXAMPLES", "150")),
    stateful_step_count=30,
)
TestBreaker = Breaker.TestCase


# -- every path of a small world ----------------------------------------------------------------

GOOD, CRASHED, SPIKE, NOISE = 1000.0, 700.0, 5000.0, math.nan


def flattened(ticks, limits: RiskLimits) -> bool:
    """Whether losses would have closed the book at any tick, restarting before each of them.

    Two ticks a session, five hours apart.
    """
    state, ever = BreakerState(), False
    for number, equity in enumerate(ticks):
        now = START + number // 2 * DAY + number % 2 * 5 * HOUR
        state = BreakerState.from_dict(state.to_dict())
        state = mark_equity(state, equity, now, CALENDAR, limits)
        ever = ever or state.losses.confirmed(limits)
    return ever


@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 2), (2, 2), (2, 3), (3, 3), (3, 5)])
def test_every_short_path_flattens_exactly_when_k_of_n_crashed(k: int, n: int) -> None:
    """Drawdown over days and nights, from a mark that was confirmed; NaN and spikes between."""
    limits = RiskLimits(caps=Caps(drawdown=CAP), confirm={"k": k, "n": n})
    for path in product((GOOD, CRASHED, NOISE), repeat=6):
        known = [equity == CRASHED for equity in path if equity == equity]
        wanted = any(sum(known[max(0, i + 1 - n) : i + 1]) >= k for i in range(len(known)))
        assert flattened([GOOD] * k + list(path), limits) == wanted, path


@pytest.mark.parametrize(("k", "n"), [(2, 2), (2, 3), (3, 3), (3, 4)])
def test_fewer_than_k_bad_ticks_anywhere_flatten_nothing(k: int, n: int) -> None:
    """Too high or too low, first, last of a day, or first of the next one."""
    limits = RiskLimits(caps=Caps(day_loss=CAP, drawdown=CAP), confirm={"k": k, "n": n})
    for path in product((GOOD, GOOD + 3.0, CRASHED, SPIKE), repeat=6):
        bad = [equity in (CRASHED, SPIKE) for equity in path]
        if all(sum(bad[i : i + n]) < k for i in range(len(bad))):
            assert not flattened(path, limits), path


def test_the_ladder_leaves_halted_by_no_path_without_the_token() -> None:
    """Every rung, every pair of demanded and released rungs, before and after the dwell."""
    limits = RiskLimits(caps=Caps(), dwell_sessions=2, operator_token_sha256=SECRET)
    for rung, demanded, released, held in product(Rung, list(Rung)[:5], list(Rung)[:5], range(5)):
        if released < demanded:
            continue
        since, now = (int(CALENDAR.opens[10 + days]) + HOUR for days in (0, held))
        state = BreakerState(rung, since, 10 + held, halt_reason="x", assessed_at=now)
        new = climb(state, demanded, released, CALENDAR, limits).rung
        if rung == Rung.HALTED:
            wanted = Rung.HALTED
        elif demanded >= rung:
            wanted = demanded
        elif held < 2:
            wanted = rung
        else:
            wanted = max(demanded, min(released, rung))
        assert new == wanted, (rung, demanded, released, held)
