"""Expiries, closures and rebalances fall where the exchanges put them."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from riskenv.data import (
    closure_events,
    exchange_sessions,
    expiry_events,
    monthly_expiries,
    rebalance_events,
)
from riskenv.data.event_times import local_date

from riskenv.events import Event

D = datetime.date


def listed(events: tuple[Event, ...]) -> list[tuple[str, str]]:
    return [(e.event_type, str(np.datetime64(e.time, "ns"))[:16]) for e in events]


@pytest.mark.parametrize(
    ("first", "last", "event_type", "utc"),
    [
        (D(2008, 3, 1), D(2008, 3, 31), "quarterly_expiry", "2008-03-20T20:00"),  # Good Friday
        (D(2018, 2, 1), D(2018, 2, 28), "monthly_expiry", "2018-02-16T21:00"),
        (D(2018, 2, 1), D(2018, 2, 28), "vix_expiry", "2018-02-14T14:30"),
        # Cboe moved these two to a Tuesday: Good Friday 30 days on, and Juneteenth.
        (D(2019, 3, 1), D(2019, 3, 31), "vix_expiry", "2019-03-19T13:30"),
        (D(2024, 6, 1), D(2024, 6, 30), "vix_expiry", "2024-06-18T13:30"),
        (D(2020, 12, 1), D(2020, 12, 31), "vix_expiry", "2020-12-16T14:30"),  # into January
    ],
)
def test_expiries_of_record(first: D, last: D, event_type: str, utc: str) -> None:
    assert (event_type, utc) in listed(expiry_events(first, last))
    assert [kind for kind, _ in listed(expiry_events(first, last))].count(event_type) == 1


def test_monthly_expiries_are_those_of_the_session_calendar() -> None:
    events = expiry_events(D(2000, 1, 1), D(2025, 12, 31))
    ours = [event.time for event in events if event.event_type == "monthly_expiry"]
    assert ours == monthly_expiries(exchange_sessions("2000-01-01", "2025-12-31")).tolist()
    assert len(ours) == 26 * 12


def test_a_quarterly_expiry_is_a_monthly_one_four_times_a_year() -> None:
    events = expiry_events(D(2010, 1, 1), D(2019, 12, 31))
    monthly = {event.time for event in events if event.event_type == "monthly_expiry"}
    quarterly = [event for event in events if event.event_type == "quarterly_expiry"]
    assert len(quarterly) == 40
    assert {event.time for event in quarterly} < monthly
    assert {local_date(event.time).month for event in quarterly} == {3, 6, 9, 12}


def test_closures_around_the_end_of_2018() -> None:
    assert listed(closure_events(D(2018, 11, 20), D(2019, 1, 2))) == [
        ("holiday", "2018-11-22T14:30"),
        ("half_day", "2018-11-23T18:00"),
        ("holiday", "2018-12-05T14:30"),
        ("half_day", "2018-12-24T18:00"),
        ("holiday", "2018-12-25T14:30"),
        ("holiday", "2019-01-01T14:30"),
    ]


@pytest.mark.parametrize(
    ("date", "foreseen"),
    [
        (D(2001, 9, 11), False),
        (D(2012, 10, 29), False),  # a hurricane
        (D(2018, 12, 5), False),  # a day of mourning
        (D(2025, 1, 9), False),
        (D(2015, 4, 3), True),
        (D(2022, 6, 20), True),
    ],
)
def test_nobody_knew_of_a_closure_that_follows_no_rule(date: D, foreseen: bool) -> None:
    [event] = closure_events(date, date)
    assert (event.known_at < event.time) is foreseen


@pytest.mark.parametrize(
    ("year", "dates"),
    [
        (2006, {"S&P": 4}),
        (2007, {"S&P": 4, "Russell": ["2007-06-22"]}),  # the 29th: a week before
        (2018, {"S&P": 4, "Russell": ["2018-06-22"]}),
        (2024, {"S&P": 4, "Russell": ["2024-06-28"]}),
        (2026, {"S&P": 4, "Russell": ["2026-06-26", "2026-11-13"]}),  # twice a year from here on
    ],
)
def test_rebalances_of_record(year: int, dates: dict[str, int | list[str]]) -> None:
    events = rebalance_events(D(year, 1, 1), D(year, 12, 31))
    for source, expected in dates.items():
        days = [local_date(e.time).isoformat() for e in events if e.source == source]
        assert days == expected or len(days) == expected
    assert {event.source for event in events} == set(dates)


def test_a_span_within_a_month_gives_only_its_own_days() -> None:
    assert listed(expiry_events(D(2018, 2, 15), D(2018, 2, 16))) == [
        ("monthly_expiry", "2018-02-16T21:00")
    ]
    assert expiry_events(D(2018, 2, 17), D(2018, 2, 28)) == ()
    with pytest.raises(ValueError, match="first at or before last"):
        expiry_events(D(2018, 2, 17), D(2018, 2, 16))
