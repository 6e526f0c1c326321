"""Several sources make one calendar: nothing is lost, and nothing is known that was not."""

from __future__ import annotations

import datetime
import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from riskenv.data import (
    BuiltinEvents,
    Coverage,
    EventRow,
    SourceDownError,
    SourceState,
    gather_events,
    merge_events,
)
from riskenv.data.event_rows import place_row
from riskenv.data.event_times import SessionPlaces, local_date

from riskenv.events import Event, Placement
from riskenv.instruments import NS_PER_DAY, NS_PER_SECOND

D = datetime.date
HOUR = 3600 * NS_PER_SECOND
NOON = 20_000 * NS_PER_DAY + 17 * HOUR  # of a day in October 2024, in New York


def at(day: float, known: float = -30, **changes: object) -> Event:
    event = Event(
        "earnings",
        time=NOON + round(day * NS_PER_DAY),
        known_at=NOON + round(known * NS_PER_DAY),
        symbol="A",
    )
    return replace(event, **changes)  # type: ignore[arg-type]


def test_agreeing_rows_become_one_event() -> None:
    a = at(0, known=-9, source="a", importance="low", confidence="estimated")
    b = at(0, known=-5, source="b", importance="medium", known_at_assumed=True)
    [event], conflicts = merge_events({"a": [a], "b": [b]})
    assert conflicts == ()
    assert event == replace(a, source="a+b", importance="medium")


def test_the_earliest_known_at_counts_with_its_flag() -> None:
    a, b = at(0, known=-9, known_at_assumed=True), at(0, known=-5)
    [event], _ = merge_events({"a": [a], "b": [b]})
    assert (event.known_at, event.known_at_assumed) == (a.known_at, True)
    [event], _ = merge_events({"a": [replace(a, known_at=b.known_at)], "b": [b]})
    assert not event.known_at_assumed  # said by one is not assumed


def test_one_news_before_the_open_at_two_clocks_is_guarded_until_the_later() -> None:
    a = at(0, placement="before_open")
    b = replace(a, time=a.time + 2 * HOUR)
    [event], conflicts = merge_events({"a": [a], "b": [b]})
    assert (event.time, conflicts) == (b.time, ())


def test_an_hour_without_a_placement_agrees_with_its_side_of_the_session() -> None:
    table = at(-0.2, placement="before_open")  # 08:12
    [event], conflicts = merge_events({"a": [table], "b": [at(-0.2), at(-0.15)]})
    assert (event.time, event.placement, conflicts) == (at(-0.15).time, "before_open", ())


def test_a_third_source_cannot_bridge_two_times() -> None:
    off = at(0, placement="before_open", confidence="confirmed", withdrawn_at=at(-2).time)
    stands = at(0.1)
    bridge = [at(0.1, placement="before_open"), at(0)]
    events, _ = merge_events({"a": [off], "b": [stands], "c": bridge})
    assert any(e.time == stands.time and e.withdrawn_at is None for e in events)


def test_scopes_never_merge() -> None:
    rows = [
        at(0),
        at(0, symbol="B"),
        at(0, symbol=""),
        at(0, symbol="", sector="A"),
        at(0, event_type="cpi"),
    ]
    events, conflicts = merge_events({str(i): [row] for i, row in enumerate(rows)})
    assert set(events) == set(rows)
    assert conflicts == ()


def test_an_unresolved_conflict_keeps_both_dates_and_is_named() -> None:
    early, late = at(0, confidence="estimated"), at(6)
    events, [conflict] = merge_events({"x": [late], "y": [early]})
    assert events == (replace(early, confidence="unknown"), late)
    assert conflict.times == (early.time, late.time)
    assert conflict.sources == ("y", "x")
    assert conflict.resolved_to is None


@pytest.mark.parametrize("confirmed_day", [0, 6])
def test_a_confirmed_date_withdraws_the_other_from_when_it_was_known(confirmed_day: int) -> None:
    guess = at(6 - confirmed_day, known=-30)
    sure = at(confirmed_day, known=-8, confidence="confirmed")
    events, [conflict] = merge_events({"a": [guess], "b": [sure]})
    assert conflict.resolved_to == sure.time
    by_time = {event.time: event for event in events}
    assert by_time[sure.time] == sure
    assert by_time[guess.time].withdrawn_at == sure.known_at
    assert by_time[guess.time].stands_at(sure.known_at - 1)
    assert not by_time[guess.time].stands_at(sure.known_at)


def test_a_date_confirmed_from_the_start_leaves_the_other_out() -> None:
    sure = at(6, known=-30, confidence="confirmed")
    assert merge_events({"a": [at(0, known=-20)], "b": [sure]})[0] == (sure,)


def test_a_date_confirmed_too_late_changes_nothing_before() -> None:
    guess, sure = at(0), at(6, known=1, confidence="confirmed")
    assert merge_events({"a": [guess], "b": [sure]})[0] == (guess, sure)


def test_two_confirmed_dates_are_unresolved() -> None:
    rows = [at(0, confidence="confirmed"), at(6, confidence="confirmed")]
    events, [conflict] = merge_events({"a": rows[:1], "b": rows[1:]})
    assert [event.confidence for event in events] == ["unknown", "unknown"]
    assert conflict.resolved_to is None


def test_two_dates_of_one_source_are_two_events() -> None:
    one, two = at(0), at(6)
    events, conflicts = merge_events({"a": [one, two], "b": [replace(one, confidence="confirmed")]})
    assert [event.time for event in events] == [one.time, two.time]
    assert conflicts == ()
    assert events[1].withdrawn_at is None


def test_dates_a_quarter_apart_are_two_events() -> None:
    one, two = at(0), at(91, confidence="confirmed", known=-60)
    assert merge_events({"a": [one], "b": [two]}) == ((one, two), ())


def test_a_confirmed_hour_settles_a_day_whose_hour_was_not_known() -> None:
    places = SessionPlaces.around(D(2024, 10, 31), D(2024, 10, 31))

    def placed(placement: Placement, known_at: str) -> tuple[Event, ...]:
        row = EventRow(
            event_type="earnings",
            symbol="A",
            date=D(2024, 10, 31),
            placement=placement,
            confidence="confirmed" if placement else "unknown",
            known_at=D.fromisoformat(known_at),
        )
        return place_row(row, places)

    vague, sure = placed("", "2024-10-01"), placed("after_close", "2024-10-10")
    (before, after), [conflict] = merge_events({"a": vague, "b": sure})
    assert before.withdrawn_at == sure[0].known_at
    assert (after.withdrawn_at, after.confidence) == (None, "confirmed")
    assert conflict.resolved_to == after.time
    # Without the confirmation both hold, and that is no conflict.
    assert merge_events({"a": vague, "b": [replace(sure[0], confidence="unknown")]})[1] == ()


@pytest.mark.parametrize(
    ("withdrawer", "other", "withdrawn"),
    [
        ("confirmed", "estimated", True),
        ("confirmed", "confirmed", False),
        ("estimated", "estimated", False),
        ("estimated", None, True),
    ],
)
def test_who_may_withdraw_a_date(withdrawer: str, other: str | None, withdrawn: bool) -> None:
    off = at(0, withdrawn_at=at(-2).time, confidence=withdrawer)
    sources = {"a": [off]}
    if other is not None:
        sources["b"] = [at(0, confidence=other)]
    [event], _ = merge_events(sources)
    assert (event.withdrawn_at is not None) is withdrawn


def test_a_withdrawn_date_and_its_successor_are_no_conflict() -> None:
    off = at(0, withdrawn_at=at(-2).time, confidence="confirmed")
    new = at(9, known=-2, confidence="confirmed")
    events, conflicts = merge_events({"table": [off, new], "feed": [at(9, known=-1)]})
    assert [event.withdrawn_at is None for event in events] == [False, True]
    assert conflicts == ()


# --- any sources ----------------------------------------------------------------------------------

ROWS = st.builds(
    lambda day, known, confidence, placement, off: at(
        day,
        known=-known,
        confidence=confidence,
        placement=placement,
        withdrawn_at=NOON - round(known * NS_PER_DAY) if off else None,
    ),
    st.sampled_from([0, 0.002, 0.2, 1, 6, 20, 40]),
    st.sampled_from([1, 5, 30]),
    st.sampled_from(["confirmed", "estimated", "unknown"]),
    st.sampled_from(["before_open", "after_close", ""]),
    st.booleans(),
)
SOURCES = st.dictionaries(st.sampled_from("abcd"), st.lists(ROWS, max_size=3), max_size=3)


@given(SOURCES, st.randoms())
def test_the_order_of_sources_and_rows_changes_nothing(
    sources: dict[str, list[Event]], random: object
) -> None:
    shuffled = {name: rows[::-1] for name, rows in reversed(sources.items())}
    assert merge_events(shuffled) == merge_events(sources)


@given(SOURCES, st.lists(ROWS, max_size=3))
def test_an_unconfirmed_source_only_adds_caution(
    sources: dict[str, list[Event]], rows: list[Event]
) -> None:
    added = [
        replace(row, confidence="estimated" if row.confidence == "confirmed" else row.confidence)
        for row in rows
    ]
    before, _ = merge_events(sources)
    after, _ = merge_events(sources | {"e": added})
    instants = sorted({t for e in (*before, *after) for t in (e.known_at, e.time)})
    for event, now in itertools.product(before, instants):
        if event.stands_at(now) and now <= event.time:
            assert any(
                other.stands_at(now)
                and other.time >= event.time
                and local_date(other.time) == local_date(event.time)
                for other in after
            ), (event, now)


@given(SOURCES)
def test_merging_the_merged_changes_no_time(sources: dict[str, list[Event]]) -> None:
    merged, _ = merge_events(sources)
    again, conflicts = merge_events({"all": merged})
    assert {event.time for event in again} <= {event.time for event in merged}
    assert all(local_date(c.times[0]) == local_date(c.times[1]) for c in conflicts)


# --- gathering ------------------------------------------------------------------------------------


class Fixed:
    """A provider for tests."""

    def __init__(self, name: str, events: object, *claims: Coverage, status: str = "fresh") -> None:
        self.name = name
        self._events = events
        self._state = SourceState(name, status, 0, claims, None, "")  # type: ignore[arg-type]

    def events(self, first: D, last: D) -> tuple[Event, ...]:
        if isinstance(self._events, Exception):
            raise self._events
        return self._events  # type: ignore[return-value]

    def state(self) -> SourceState:
        return self._state


WEEK = D(2024, 10, 7), D(2024, 10, 11)
CLAIM = Coverage("earnings", D(2024, 10, 1), D(2024, 10, 9), ("A",))
DOWN = SourceDownError(SourceState("feed", "down", None, (CLAIM,), 0, "answered 500"))


@pytest.mark.parametrize(
    ("provider", "words"),
    [
        (Fixed("feed", DOWN), "feed down since 1970-01-01T00:00:00Z: answered 500"),
        (Fixed("feed", KeyError("x")), "feed down: KeyError: 'x'"),
        (Fixed("feed", ("2024-10-08",), CLAIM), "feed down: TypeError: events: got str"),
        (Fixed("feed", (), CLAIM, status="partial"), "feed partial"),
        (Fixed("feed", ()), "feed fresh"),
    ],
)
def test_what_no_source_covers_is_unknown_and_says_why(provider: Fixed, words: str) -> None:
    calendar = gather_events([provider], *WEEK, needed=[("earnings", "A")])
    [span] = calendar.unknown
    assert (span.first, span.last) == WEEK
    assert words in str(span)
    assert calendar.unknown_on(D(2024, 10, 8)) == (span,)
    assert calendar.unknown_on(D(2024, 10, 12)) == ()


@pytest.mark.parametrize("status", ["fresh", "stale"])
def test_only_the_uncovered_days_are_unknown(status: str) -> None:
    feed = Fixed("feed", (at(0),), CLAIM, status=status)
    calendar = gather_events([feed], *WEEK, needed=[("earnings", "A"), ("earnings", "B")])
    assert [(s.symbol, s.first, s.last) for s in calendar.unknown] == [
        ("A", D(2024, 10, 10), WEEK[1]),
        ("B", *WEEK),
    ]
    assert calendar.events == (at(0),)
    assert calendar.states[0].status == status


def test_a_source_that_is_down_takes_nothing_from_the_others() -> None:
    tables = BuiltinEvents(["cpi"])
    alone = gather_events([tables], *WEEK, needed=["cpi"])
    both = gather_events([Fixed("feed", DOWN), tables], *WEEK, needed=["cpi"])
    assert both.events == alone.events != ()
    assert both.unknown == ()
    assert [state.status for state in both.states] == ["down", "fresh"]


def test_names_must_differ_and_days_be_in_order() -> None:
    with pytest.raises(ValueError, match="each name once"):
        gather_events([Fixed("a", ()), Fixed("a", ())], *WEEK)
    with pytest.raises(ValueError, match="first at or before last"):
        gather_events([], WEEK[1], WEEK[0])
