"""The breaker: up at once, down after a dwell, out of a halt only with the token."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from riskenv import BreakerState, Caps, Instrument, RiskGate, RiskLimits, Rung
from riskenv.circuit_breaker import ScopeRung, climb, climb_scopes, halt, mark_equity, resume
from riskenv.config import ConfigError, load_config
from riskenv.event_reductions import SizeBefore
from riskenv.order_window import Message, OrderWindow

from ...property.worlds import DAY, HOUR, NOW, SESSIONS, World, world

TOKEN = "let it trade"
SECRET = hashlib.sha256(TOKEN.encode()).hexdigest()
LIMITS = RiskLimits(caps=Caps(), dwell_sessions=2, operator_token_sha256=SECRET)
SECOND = 10**9
OPEN = int(SESSIONS.opens[0])


def marked(
    state: BreakerState, equity: float, day: int = 0, seconds: float = 0.0,
    limits: RiskLimits = LIMITS, flow: float = 0.0,
) -> BreakerState:  # fmt: skip
    now = OPEN + day * DAY + int(seconds * SECOND)
    return mark_equity(state, equity, now, SESSIONS, limits, flow)


def checked(gate: RiskGate, w: World, cash: float, now: int) -> Rung:
    """The rung of an empty book with so much cash."""
    at = w.with_book(w.portfolio.quantity, cash=cash).with_market(now=now)
    return gate.check(at.portfolio, at.market, {}).rung


# -- the ladder ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dwell", [0, 1, 3])
@pytest.mark.parametrize("high", list(Rung)[1:5])
def test_a_book_that_dithers_around_a_level_changes_rung_once_a_dwell(dwell: int, high: Rung):
    """Above, below, above, below, ... within each session."""
    limits = RiskLimits(caps=Caps(), dwell_sessions=dwell)
    state, falls = BreakerState(), []
    for session in range(12):
        for demanded in (high, Rung.NORMAL, high, Rung.NORMAL):
            state = marked(state, 1.0, session)
            new = climb(state, demanded, demanded, SESSIONS, limits)
            falls += [session] if new.rung < state.rung else []
            state = new
    if dwell:
        assert all(later - earlier >= dwell for earlier, later in pairwise(falls))
        assert len(set(falls)) == len(falls)


def test_within_the_band_the_rung_is_kept_however_long() -> None:
    state = climb(marked(BreakerState(), 1.0), Rung.REDUCE, Rung.REDUCE, SESSIONS, LIMITS)
    for session in range(1, 50):
        state = climb(marked(state, 1.0, session), Rung.WARN, Rung.REDUCE, SESSIONS, LIMITS)
        assert state.rung == Rung.REDUCE
    state = climb(marked(state, 1.0, 51), Rung.WARN, Rung.WARN, SESSIONS, LIMITS)
    assert state.rung == Rung.WARN


@pytest.mark.parametrize(("entered", "left"), [(1, 1), (9_000, 9_000), (23_399, 23_399)])
def test_the_dwell_is_as_much_exchange_time_wherever_in_a_session_it_begins(
    entered: int, left: int
) -> None:
    """A second before the close does not count as a session."""
    limits = RiskLimits(caps=Caps(), dwell_sessions=1)
    state = climb(marked(BreakerState(), 1.0, 0, entered), *2 * [Rung.REDUCE], SESSIONS, limits)
    for seconds, rung in ((left - 1, Rung.REDUCE), (left, Rung.NORMAL)):
        later = marked(state, 1.0, 1, seconds)
        assert climb(later, Rung.NORMAL, Rung.NORMAL, SESSIONS, limits).rung == rung


def test_each_scope_climbs_by_itself_and_one_that_is_not_called_keeps_its_rung() -> None:
    state, calm = marked(BreakerState(), 1.0), (Rung.NORMAL, Rung.NORMAL)
    state = climb_scopes(
        state, {"expiry:0-1d": 2 * (Rung.WARN,), "underlying:A": 2 * (Rung.REDUCE,),
                "underlying:B": calm}, SESSIONS, LIMITS,
    )  # fmt: skip
    assert [(s.scope, s.rung) for s in state.scopes] == [
        ("expiry:0-1d", Rung.WARN), ("underlying:A", Rung.REDUCE),
    ]  # fmt: skip
    later = marked(state, 1.0, 2)
    assert climb_scopes(later, {}, SESSIONS, LIMITS).scopes == state.scopes
    left = climb_scopes(later, {"underlying:A": calm}, SESSIONS, LIMITS)
    assert [s.scope for s in left.scopes] == ["expiry:0-1d"]
    assert BreakerState.from_dict(left.to_dict()) == left


# -- the marks ----------------------------------------------------------------------------------


def test_a_day_starts_where_the_last_one_ended_and_the_peak_is_kept() -> None:
    state = BreakerState()
    marks = []
    for session, equity in [(0, 100.0), (0, 130.0), (0, 90.0), (1, 80.0), (3, 95.0)]:
        state = marked(state, equity, session)
        marks.append((state.day_start_equity, state.high_water_mark))
    assert marks == [(100.0, 100.0), (100.0, 130.0), (100.0, 130.0), (90.0, 130.0), (80.0, 130.0)]


@pytest.mark.parametrize("unknown_first", [False, True])
@pytest.mark.parametrize("flow", [50.0, -50.0])
def test_money_paid_in_or_out_is_neither_gain_nor_loss(flow: float, unknown_first: bool) -> None:
    """Also where the equity was Unknown when it came, and a day begins after it."""
    state = marked(BreakerState(), 100.0)
    if unknown_first:
        state = marked(state, math.nan, flow=flow)
        state = marked(state, 100.0 + flow, 1)
    else:
        state = marked(state, 100.0 + flow, flow=flow)
    assert state.day_start_equity == state.high_water_mark == 100.0 + flow


@pytest.mark.parametrize("flow", [math.nan, math.inf, -math.inf])
def test_a_flow_that_is_no_amount_is_refused_rather_than_wiping_out_the_marks(flow: float) -> None:
    with pytest.raises(ValueError, match="external_flow"):
        marked(marked(BreakerState(), 100.0), 100.0, flow=flow)


@pytest.mark.parametrize("equity", [math.nan, math.inf, -math.inf])
def test_an_unknown_equity_sets_no_mark(equity: float) -> None:
    state = marked(marked(BreakerState(), 100.0), equity, 1)
    marks = (state.day_start_equity, state.high_water_mark, state.last_equity)
    assert marks == (100.0, 100.0, 100.0)


def test_time_does_not_go_back_within_a_session_either() -> None:
    state = marked(BreakerState(), 100.0, seconds=10)
    marked(state, 100.0, seconds=10)
    with pytest.raises(ValueError, match=r"now: got .* time does not go back"):
        marked(state, 100.0, seconds=9)


# -- confirmation -------------------------------------------------------------------------------

CLOSING = RiskLimits(caps=Caps(day_loss=100.0))  # 2 of 3, 60 seconds apart; extreme beyond 125
FINE, LOST = 1000.0, 870.0


def closes_at(ticks, limits: RiskLimits = CLOSING) -> list[float]:
    """The (day, second)s at which losses call for closing the book."""
    state, found = BreakerState(), []
    for day, second, equity in ticks:
        state = marked(state, equity, day, second, limits)
        if state.losses.confirmed(limits):
            found.append((day, second))
    return found


@pytest.mark.parametrize(
    ("losses", "closes"),
    [
        ([(0, 120)], []),
        ([(0, 120), (0, 120), (0, 120)], []),
        ([(0, 120), (0, 179.9)], []),
        ([(0, 120), (0, 180)], [(0, 180)]),
        ([(0, 120 + i) for i in range(0, 60)], []),
        ([(0, 120 + i) for i in range(0, 61, 20)], [(0, 180)]),
        # At once after an observation that was no loss, however young that is.
        ([(0, 61), (0, 121)], [(0, 121)]),
    ],
)
def test_a_loss_confirms_once_a_minute(losses, closes) -> None:
    fine = [(0, 0, FINE), (0, 60, FINE)]
    assert closes_at([*fine, *((day, second, LOST) for day, second in losses)]) == closes


def test_a_night_confirms_nothing() -> None:
    """The exchange opens at 14:30 and closes at 21:00; 18 hours of quotes lie between."""
    limits = RiskLimits(caps=Caps(drawdown=100.0))
    evening = 6.5 * 3600
    ticks = [(0, 0, FINE), (0, 60, FINE), (0, evening, LOST)]
    night = [(0, evening + hour * 3600, LOST) for hour in range(1, 18)]
    assert closes_at([*ticks, *night, (1, 0, LOST), (1, 59, LOST)], limits) == []
    assert closes_at([*ticks, *night, (1, 60, LOST)], limits) == [(1, 60)]


@pytest.mark.parametrize("equity", [math.nan, math.inf, -math.inf])
def test_an_unknown_equity_neither_confirms_nor_clears(equity: float) -> None:
    fine = [(0, 0, FINE), (0, 60, FINE)]
    gap = [(0, 180 + i * 60, equity) for i in range(5)]
    assert closes_at([*fine, (0, 120, LOST), *gap]) == []
    assert closes_at([*fine, (0, 120, LOST), *gap, (0, 480, LOST)]) == [(0, 480)]


@pytest.mark.parametrize("bad", [40.0, 5000.0])
@pytest.mark.parametrize("at", range(5))
def test_one_bad_tick_closes_nothing_wherever_it_comes(at: int, bad: float) -> None:
    """The first of all, the last of a day, which begins the next one, or any other."""
    limits = RiskLimits(caps=Caps(day_loss=100.0, drawdown=100.0))
    times = [(0, 0), (0, 60), (0, 120), (1, 0), (1, 60), (1, 120), (1, 180), (2, 0), (2, 60)]
    ticks = [(*time, bad if i == at else FINE) for i, time in enumerate(times)]
    assert closes_at(ticks, limits) == []


def test_a_bad_tick_too_high_still_blocks_until_an_operator_rebases() -> None:
    """Caution first: what was seen once counts for blocking, not for closing."""
    limits = RiskLimits(caps=Caps(drawdown=100.0), operator_token_sha256=SECRET)
    w = world(2, held=0, limits=limits)
    gate = RiskGate(w.manager)
    rungs = [
        checked(gate, w, cash, NOW - HOUR + minute * 60 * SECOND)
        for minute, cash in enumerate([FINE, FINE, 5000.0, FINE, FINE, FINE])
    ]
    assert rungs == [Rung.NORMAL] * 3 + [Rung.BLOCK_NEW] * 3
    gate.halt("a tick of 5000")
    gate.resume(TOKEN, "the vendor took it back", rebase=True)
    assert (gate.state.high_water_mark, gate.state.rebased_from) == (FINE, 5000.0)
    after = [checked(gate, w, FINE, NOW + day * DAY) for day in (1, 2)]
    assert after == [Rung.BLOCK_NEW, Rung.NORMAL]  # the dwell of the resumed book


def test_an_extreme_loss_blocks_at_once_and_closes_when_it_is_confirmed() -> None:
    w = world(2, held=0, limits=CLOSING)
    gate = RiskGate(w.manager)
    ticks = [(0, FINE), (60, FINE), (61, LOST), (62, LOST), (120, LOST), (121, LOST), (122, FINE)]
    rungs = [checked(gate, w, cash, NOW - HOUR + second * SECOND) for second, cash in ticks]
    assert rungs == [Rung.NORMAL] * 2 + [Rung.BLOCK_NEW] * 3 + [Rung.FLATTEN] * 2


def test_an_exposure_needs_no_confirmation_and_an_unknown_equity_hides_none() -> None:
    """Cash and shares beyond what a float holds: the delta is known, the equity is not."""
    w = world(2, held=0, limits=RiskLimits(caps=Caps(delta=100.0)))
    book = np.zeros(len(w.table))
    book[0] = 1e307
    _, a = w.with_book(book, cash=1.7e308).assess()
    assert math.isnan(a.equity)
    assert a.rung == Rung.REDUCE


@pytest.mark.parametrize("marks", [{}, {"k": 1, "n": 1}])
def test_marks_that_are_set_by_hand_are_taken_as_confirmed(marks) -> None:
    limits = RiskLimits(caps=Caps(drawdown=100.0), confirm=marks)
    state = BreakerState(Rung.NORMAL, None, 0, LOST, FINE, LOST)
    for minute in range(limits.confirm.k):
        assert not state.losses.confirmed(limits)
        state = marked(state, LOST, 0, minute * 60, limits)
    assert state.losses.confirmed(limits)


@pytest.mark.parametrize(
    ("confirm", "key"),
    [({"k": 0}, "confirm.k"), ({"k": 4, "n": 3}, "confirm"), ({"n": 0, "k": 0}, "confirm.n"),
     ({"k": 2, "n": 1}, "at least k"), ({"seconds": 0}, "confirm.seconds"),
     ({"seconds": -60}, "confirm.seconds"), ({"k": 1.5}, "confirm.k"), ({"of": 3}, "confirm.of")],
)  # fmt: skip
def test_a_confirmation_that_cannot_be_or_is_none_is_refused(confirm, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        load_config(RiskLimits, {"caps": {}, "confirm": confirm})


# -- the operator -------------------------------------------------------------------------------


def test_a_halt_without_a_configured_token_is_final() -> None:
    limits = RiskLimits(caps=Caps())
    for token in ("", TOKEN, "None"):
        with pytest.raises(PermissionError, match="final"):
            resume(halt(BreakerState(), "x"), token, limits, "because")


@pytest.mark.parametrize("token", ["", "Let it trade", SECRET, TOKEN + " ", "\ud83d\ude00"])
def test_the_secret_and_all_else_is_not_the_token(token: str) -> None:
    token = token.encode("utf-16", "surrogatepass").decode("utf-16")
    with pytest.raises(PermissionError, match="not the operator's"):
        resume(halt(BreakerState(), "x"), token, LIMITS, "because")


@pytest.mark.parametrize("reason", ["", "  ", "\n"])
def test_a_halt_and_a_resume_need_a_reason(reason: str) -> None:
    with pytest.raises(ValueError, match="reason"):
        halt(BreakerState(), reason)
    with pytest.raises(ValueError, match="reason"):
        resume(halt(BreakerState(), "x"), TOKEN, LIMITS, reason)


def test_both_reasons_are_kept_until_the_next_halt() -> None:
    state = resume(halt(BreakerState(), "fat finger"), TOKEN, LIMITS, "order cancelled")
    assert (state.halt_reason, state.resume_reason) == ("fat finger", "order cancelled")
    state = halt(BreakerState.from_dict(state.to_dict()), "news")
    assert (state.halt_reason, state.resume_reason) == ("news", "")


@pytest.mark.parametrize("rebase", [False, True])
def test_a_drawdown_is_final_unless_the_operator_rebases(rebase: bool) -> None:
    limits = RiskLimits(caps=Caps(drawdown=100.0), dwell_sessions=1, operator_token_sha256=SECRET)
    w = world(2, held=0, limits=limits)
    gate, rungs = RiskGate(w.manager), []
    for day, cash in enumerate([FINE, FINE, LOST, LOST, LOST, LOST, LOST, LOST]):
        if day == 5:
            gate.halt("the strategy is broken")
            gate.resume(TOKEN, "repaired", rebase=rebase)
        rungs.append(checked(gate, w, cash, NOW + day * DAY).name)
    before = ["NORMAL", "NORMAL", "BLOCK_NEW", "FLATTEN", "FLATTEN"]
    assert rungs == before + (
        ["BLOCK_NEW", "NORMAL", "NORMAL"] if rebase else ["BLOCK_NEW", "FLATTEN", "FLATTEN"]
    )
    assert gate.state.high_water_mark == (LOST if rebase else FINE)


def test_the_dwell_of_a_resumed_book_begins_at_the_resume() -> None:
    state = marked(halt(marked(BreakerState(), 1.0), "x"), 1.0, 5)
    state = resume(state, TOKEN, LIMITS, "calm again")
    rungs = []
    for day in (5, 6, 7):
        state = climb(marked(state, 1.0, day), Rung.NORMAL, Rung.NORMAL, SESSIONS, LIMITS)
        rungs.append(state.rung)
    assert rungs == [Rung.BLOCK_NEW, Rung.BLOCK_NEW, Rung.NORMAL]


def test_a_halt_of_many_days_is_no_dwell() -> None:
    """Nothing was assessed between the halt and the resume: the book was watched by nobody."""
    state = resume(halt(marked(BreakerState(), 1.0), "x"), TOKEN, LIMITS, "calm again")
    assert BreakerState.from_dict(state.to_dict()) == state
    rungs = []
    for day in (5, 6, 7):
        state = climb(marked(state, 1.0, day), Rung.NORMAL, Rung.NORMAL, SESSIONS, LIMITS)
        rungs.append(state.rung)
    assert rungs == [Rung.BLOCK_NEW, Rung.BLOCK_NEW, Rung.NORMAL]


def test_a_loss_of_yesterday_does_not_close_the_book_today() -> None:
    limits = RiskLimits(caps=Caps(day_loss=100.0), dwell_sessions=0)
    w = world(2, held=0, limits=limits)
    gate = RiskGate(w.manager)
    minute, ticks = 60 * SECOND, [FINE, FINE, FINE - 130.0, FINE - 130.0]
    start = NOW - HOUR
    day = [checked(gate, w, cash, start + k * minute) for k, cash in enumerate(ticks)]
    assert day == [Rung.NORMAL, Rung.NORMAL, Rung.BLOCK_NEW, Rung.FLATTEN]
    assert checked(gate, w, FINE - 130.0, start + DAY) == Rung.NORMAL
    lost = [checked(gate, w, FINE - 260.0, start + DAY + k * minute) for k in (1, 2)]
    assert lost == [Rung.BLOCK_NEW, Rung.FLATTEN]


def test_a_closed_book_stays_closed_until_the_loss_is_below_the_release_level() -> None:
    """Extreme at 125 of 100, released at 0.9 of that: 112.5."""
    limits = RiskLimits(caps=Caps(drawdown=100.0), confirm={"k": 1, "n": 1})
    w = world(2, held=0, limits=limits)
    gate = RiskGate(w.manager)
    cash = [FINE, FINE - 126.0, FINE - 113.0, FINE - 112.0]
    rungs = [checked(gate, w, amount, NOW + day * DAY) for day, amount in enumerate(cash)]
    assert rungs == [Rung.NORMAL, Rung.FLATTEN, Rung.FLATTEN, Rung.BLOCK_NEW]


@pytest.mark.parametrize("token", ["", "f" * 63, "F" * 64, "z" * 64])
def test_only_a_sha256_is_taken_for_the_tokens_digest(token: str) -> None:
    with pytest.raises(ValueError, match="operator_token_sha256"):
        RiskLimits(caps=Caps(), operator_token_sha256=token)


# -- saved and restored -------------------------------------------------------------------------

USED = marked(marked(BreakerState(Rung.WARN), 100.0), 90.0, 1)
SENT = OrderWindow(time=5, messages=(Message(5),), throttled=("condor",))
WITHOUT = object()
SIZE = replace(USED, event_sizes=(SizeBefore(Instrument("SPX"), 3.0),)).to_dict()["event_sizes"][0]


def test_a_state_is_its_content_also_where_a_mark_is_unknown() -> None:
    fresh = marked(BreakerState(), math.nan, flow=0.0)
    for state in (fresh, USED, BreakerState(), replace(USED, orders=SENT)):
        restored = BreakerState.from_dict(state.to_dict())
        assert restored == state
        assert hash(restored) == hash(state)
    assert fresh != BreakerState()
    changes = {
        "rung": Rung.HALTED, "entered_at": 0, "session": 2, "day_start_equity": 101.0,
        "high_water_mark": 101.0, "last_equity": 91.0, "halt_reason": "x", "resume_reason": "x",
        "rebased_from": 1.0, "assessed_at": USED.assessed_at + 1,
        "losses": replace(USED.losses, extreme=(True, False)),
        "event_sizes": (SizeBefore(Instrument("SPX"), 3.0),), "orders": SENT,
        "scopes": (ScopeRung("underlying:SPX", Rung.WARN, 5),),
    }  # fmt: skip
    restored = BreakerState.from_dict(replace(USED, event_sizes=changes["event_sizes"]).to_dict())
    assert restored.event_sizes == changes["event_sizes"]
    assert set(changes) == set(BreakerState.__dataclass_fields__)
    digests = {replace(USED, **{key: value}).digest for key, value in changes.items()}
    assert len(digests | {USED.digest}) == len(changes) + 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, WITHOUT) for key in USED.to_dict()),
        *((key, []) for key in USED.to_dict() if key not in ("event_sizes", "scopes")),
        ("event_sizes", None), ("event_sizes", [{"underlying": "SPX", "contracts": 1.0}]),
        ("event_sizes", [{**SIZE, "contracts": 0.0}]), ("event_sizes", [{**SIZE, "right": "call"}]),
        ("rung", "CALM"), ("rung", 3), ("session", 1.0), ("session", -2), ("session", True),
        ("entered_at", 0.5), ("scopes", [{"scope": "expiry:0-1d"}]),
        ("scopes", [{"scope": "", "rung": "WARN", "entered_at": 1}]),
        ("scopes", [{"scope": "expiry:0-1d", "rung": "FLATTEN", "entered_at": 1}]),
        ("scopes", [{"scope": "expiry:0-1d", "rung": "WARN", "entered_at": 1}] * 2),
        ("day_start_equity", math.nan), ("high_water_mark", math.inf),
        ("last_equity", "90"), ("halt_reason", None), ("assessed_at", 1.5), ("mood", "calm"),
        ("high_water_mark", None), ("last_equity", None), ("rebased_from", math.nan),
    ],
)  # fmt: skip
def test_a_damaged_state_is_refused_by_the_name_of_its_key(key: str, value) -> None:
    saved = {**USED.to_dict(), key: value}
    if value is WITHOUT:
        del saved[key]
    with pytest.raises(ConfigError, match=key):
        BreakerState.from_dict(saved)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, WITHOUT) for key in USED.to_dict()["losses"]),
        ("equities", [1.0, math.nan]), ("equities", [None]), ("equities", 3.0),
        ("extreme", [0, 1]), ("observed_at", 0.5), ("day_start", "x"), ("high", math.inf),
        ("low", 1.0),
    ],
)  # fmt: skip
def test_a_damaged_window_is_refused_by_the_name_of_its_key(key: str, value) -> None:
    saved = USED.to_dict()
    saved["losses"] = {**saved["losses"], key: value}
    if value is WITHOUT:
        del saved["losses"][key]
    with pytest.raises(ConfigError, match=rf"losses\.{key}"):
        BreakerState.from_dict(saved)


def test_a_state_with_numpy_numbers_is_the_same_state() -> None:
    twin = replace(USED, last_equity=np.float64(USED.last_equity))
    assert twin.digest == USED.digest
