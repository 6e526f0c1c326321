"""CPI and payroll releases: at 08:30 in New York, seen when they could be, moved when they were."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from riskenv.data import cpi_events, exchange_sessions, fomc_events, nfp_events, session_dates
from riskenv.data.event_tables import (
    CPI_COVERAGE,
    KNOWN_BEFORE_DAYS,
    NFP_COVERAGE,
    TABLES_AS_OF,
    nfp_rule_date,
)
from riskenv.data.event_times import NEW_YORK, local_date, local_ns

from riskenv.events import Event
from riskenv.instruments import NS_PER_DAY

CALENDARS = {"cpi": cpi_events(), "nfp": nfp_events()}


def on(event_type: str, date: str) -> Event:
    [found] = [e for e in CALENDARS[event_type] if local_date(e.time).isoformat() == date]
    return found


def kept(event_type: str, month: str) -> list[str]:
    return [
        date
        for event in CALENDARS[event_type]
        if event.withdrawn_at is None
        and (date := local_date(event.time).isoformat()).startswith(month)
    ]


@pytest.mark.parametrize(
    ("event_type", "utc"),
    [
        ("nfp", "2018-02-02T13:30"),  # winter: the sell-off of February 2018 began here
        ("nfp", "2018-03-09T13:30"),  # the Friday before the clocks go forward
        ("cpi", "2018-03-13T12:30"),  # the Tuesday after
        ("nfp", "2018-11-02T12:30"),  # the Friday before they go back
        ("cpi", "2018-11-14T13:30"),
        ("nfp", "2015-04-03T12:30"),  # Good Friday
        ("cpi", "2025-10-24T12:30"),
        ("cpi", "2025-12-18T13:30"),
    ],
)
def test_a_release_is_out_at_half_past_eight_in_new_york(event_type: str, utc: str) -> None:
    event = on(event_type, utc[:10])
    assert str(np.datetime64(event.time, "ns"))[:16] == utc
    assert event.placement == "before_open"


def test_a_payroll_report_on_good_friday_lies_between_two_sessions() -> None:
    sessions = exchange_sessions("2015-03-30", "2015-04-10")
    event = on("nfp", "2015-04-03")
    assert np.datetime64("2015-04-03") not in session_dates(sessions)
    assert event in nfp_events(sessions)
    thursday, monday = sessions.closes[3], sessions.closes[4]
    assert thursday < event.time < sessions.opens[4]
    assert sessions.closes_between(int(thursday), event.time) == 0  # Thursday is the last chance
    assert sessions.closes_between(int(monday), event.time) == 0


@pytest.mark.parametrize(
    ("event_type", "was", "known_off", "is_", "known_on"),
    [
        ("nfp", "2013-10-04", "2013-10-03", "2013-10-22", "2013-10-18"),
        ("nfp", "2013-11-01", "2013-10-18", "2013-11-08", "2013-10-18"),
        ("cpi", "2013-10-16", "2013-10-16", "2013-10-30", "2013-10-18"),
        ("cpi", "2025-10-15", "2025-10-10", "2025-10-24", "2025-10-10"),
        ("nfp", "2025-10-03", "2025-10-03", "2025-11-20", "2025-11-14"),
        ("cpi", "2025-12-10", "2025-11-21", "2025-12-18", "2025-11-21"),
        ("nfp", "2025-12-05", "2025-11-19", "2025-12-16", "2025-11-19"),
        ("nfp", "2026-02-06", "2026-02-02", "2026-02-11", "2026-02-04"),
        ("cpi", "2026-02-11", "2026-02-04", "2026-02-13", "2026-02-04"),
    ],
)
def test_a_moved_release_is_seen_at_its_old_date_until_it_was_moved(
    event_type: str, was: str, known_off: str, is_: str, known_on: str
) -> None:
    old, new = on(event_type, was), on(event_type, is_)
    assert old.withdrawn_at is not None
    assert new.withdrawn_at is None
    assert local_date(old.withdrawn_at).isoformat() == known_off
    assert local_date(new.known_at).isoformat() == known_on
    assert not new.known_at_assumed
    day_before = old.withdrawn_at - NS_PER_DAY
    assert old.stands_at(day_before)
    assert not new.stands_at(day_before)


def test_november_2025_has_no_cpi_but_one_was_due() -> None:
    assert kept("cpi", "2025-11") == []
    assert on("cpi", "2025-11-13").withdrawn_at == on("cpi", "2025-11-13").time
    assert kept("cpi", "2025-1") == ["2025-10-24", "2025-12-18"]


@pytest.mark.parametrize("event_type", ["cpi", "nfp"])
def test_there_is_one_release_a_month_but_for_the_lapses(event_type: str) -> None:
    first, last = CPI_COVERAGE if event_type == "cpi" else NFP_COVERAGE
    months = [f"{y}-{m:02}" for y in range(first.year, last.year + 1) for m in range(1, 13)]
    odd = {month: len(kept(event_type, month)) for month in months}
    odd = {month: count for month, count in odd.items() if count != 1}
    assert odd == ({"2025-11": 0} if event_type == "cpi" else {"2025-10": 0})


@pytest.mark.parametrize("event_type", ["cpi", "nfp"])
def test_nothing_lies_outside_the_coverage_and_the_future_is_not_confirmed(event_type: str) -> None:
    first, last = CPI_COVERAGE if event_type == "cpi" else NFP_COVERAGE
    for event in CALENDARS[event_type]:
        day = local_date(event.time)
        assert first <= day <= last
        assert (event.confidence == "confirmed") == (day <= TABLES_AS_OF)
        if event.known_at_assumed:
            assert event.time - event.known_at == KNOWN_BEFORE_DAYS * NS_PER_DAY


@pytest.mark.parametrize(
    ("reference", "date"),
    [
        ((2018, 1), "2018-02-02"),
        ((2018, 2), "2018-03-09"),  # the second Friday
        ((2012, 12), "2013-01-04"),
        ((2013, 12), "2014-01-10"),  # 3 January, moved a week
        ((2015, 12), "2016-01-08"),
        ((2003, 6), "2003-07-03"),  # Independence Day
        ((2009, 6), "2009-07-02"),  # Independence Day, observed
    ],
)
def test_the_rule_for_payrolls(reference: tuple[int, int], date: str) -> None:
    assert nfp_rule_date(*reference).isoformat() == date


def test_a_time_that_the_clocks_skip_is_refused() -> None:
    day = datetime.date(2018, 3, 11)
    with pytest.raises(ValueError, match="skips it"):
        local_ns(day, datetime.time(2, 30), NEW_YORK)
    hour = local_ns(day, datetime.time(3, 0)) - local_ns(day, datetime.time(1, 0))
    assert hour == 3600 * 10**9


def test_the_meeting_that_was_replaced_in_march_2020_is_withdrawn_from_then() -> None:
    meetings = {local_date(event.time).isoformat(): event for event in fomc_events()}
    assert meetings["2020-03-18"].withdrawn_at == meetings["2020-03-15"].time
    assert [day for day, event in meetings.items() if event.withdrawn_at is not None] == [
        "2020-03-18"
    ]
