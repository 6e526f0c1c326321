"""FOMC decisions are timed in New York and seen no earlier than they could be."""

from __future__ import annotations

import numpy as np
import pytest
from riskenv.data import exchange_sessions, fomc_events
from riskenv.data.events import KNOWN_BEFORE_DAYS

from riskenv.events import Event
from riskenv.instruments import NS_PER_DAY


def utc(event: Event) -> str:
    return str(np.datetime64(event.time, "ns"))[:16]


@pytest.fixture(scope="module")
def by_date() -> dict[str, Event]:
    return {utc(event)[:10]: event for event in fomc_events()}


@pytest.mark.parametrize(
    "time",
    [
        "1999-02-03T19:15",  # 14:15, winter
        "2008-09-16T18:15",  # 14:15, summer
        "2011-04-27T16:30",  # 12:30, the first press conference
        "2011-08-09T18:15",  # 14:15 between two of them
        "2012-12-12T17:30",
        "2013-01-30T19:15",  # the last at 14:15
        "2013-03-20T18:00",  # the first at 14:00
        "2018-12-19T19:00",
        "2026-12-09T19:00",
    ],
)
def test_the_hour_follows_the_practice_of_its_years(by_date: dict[str, Event], time: str) -> None:
    assert utc(by_date[time[:10]]) == time


UNSCHEDULED = [
    "2001-01-03",
    "2001-04-18",
    "2001-09-17",
    "2007-08-17",
    "2008-01-22",
    "2008-10-08",
    "2020-03-03",
    "2020-03-15",
]


def test_unscheduled_decisions_are_unknown_until_they_happen(by_date: dict[str, Event]) -> None:
    found = [date for date, event in by_date.items() if event.known_at == event.time]
    assert found == UNSCHEDULED
    assert not any(by_date[date].known_at_assumed for date in UNSCHEDULED)


def test_scheduled_decisions_are_known_ninety_days_ahead_by_assumption(
    by_date: dict[str, Event],
) -> None:
    for date, event in by_date.items():
        if date not in UNSCHEDULED:
            assert event.time - event.known_at == KNOWN_BEFORE_DAYS * NS_PER_DAY
            assert event.known_at_assumed


def test_eight_scheduled_meetings_a_year(by_date: dict[str, Event]) -> None:
    years = [date[:4] for date in by_date if date not in UNSCHEDULED]
    assert {year: years.count(year) for year in years} == {str(y): 8 for y in range(1999, 2027)}


def test_the_cancelled_meeting_was_still_ahead_before_it_was_cancelled(
    by_date: dict[str, Event],
) -> None:
    assert by_date["2020-03-18"].known_at < by_date["2020-03-15"].time


def test_events_are_ordered_and_cut_to_the_sessions() -> None:
    times = [event.time for event in fomc_events()]
    assert times == sorted(set(times))
    inside = [
        utc(event)[:10] for event in fomc_events(exchange_sessions("2007-07-01", "2007-09-30"))
    ]
    assert inside == ["2007-08-07", "2007-08-17", "2007-09-18"]
