"""Sessions open and close when the exchange did; expiries fall on the third Friday or before."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from riskenv.data import exchange_sessions, monthly_expiries, session_dates, third_friday


def utc(time: int) -> str:
    return str(np.datetime64(int(time), "ns"))[:16]


@pytest.mark.parametrize(
    ("date", "opens", "closes"),
    [
        ("2008-01-22", "14:30", "21:00"),  # winter time
        ("2008-07-22", "13:30", "20:00"),  # summer time
        ("2007-03-12", "13:30", "20:00"),  # first session under the 2007 daylight-saving rule
        ("1999-11-26", "14:30", "18:00"),  # half days
        ("2003-12-26", "14:30", "18:00"),
        ("2013-07-03", "13:30", "17:00"),
        ("2018-12-24", "14:30", "18:00"),
    ],
)
def test_opens_and_closes_are_those_of_the_day(date: str, opens: str, closes: str) -> None:
    session = exchange_sessions(date, date)
    assert [utc(t) for t in (*session.opens, *session.closes)] == [
        f"{date}T{opens}",
        f"{date}T{closes}",
    ]


@pytest.mark.parametrize(
    ("start", "end", "held"),
    [
        ("2001-09-10", "2001-09-17", ["2001-09-10", "2001-09-17"]),
        ("2004-06-10", "2004-06-14", ["2004-06-10", "2004-06-14"]),  # Reagan's funeral
        ("2012-10-26", "2012-10-31", ["2012-10-26", "2012-10-31"]),  # hurricane Sandy
        ("2018-12-04", "2018-12-06", ["2018-12-04", "2018-12-06"]),  # G. H. W. Bush's funeral
    ],
)
def test_unplanned_closures_have_no_session(start: str, end: str, held: list[str]) -> None:
    assert session_dates(exchange_sessions(start, end)).astype(str).tolist() == held


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("2018-12-25", "2018-12-25", "no session in between"),
        ("2018-12-26", "2018-12-24", "start at or before end"),
    ],
)
def test_a_range_without_sessions_is_refused(start: str, end: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        exchange_sessions(start, end)


def test_shared_arrays_cannot_be_changed_by_a_caller() -> None:
    with pytest.raises(ValueError, match="read-only"):
        exchange_sessions("2018-12-24", "2018-12-26").closes[0] = 0


@pytest.mark.parametrize(
    ("friday", "settles"),
    [
        ("2000-04-21", "2000-04-20"),  # Good Fridays
        ("2003-04-18", "2003-04-17"),
        ("2008-03-21", "2008-03-20"),
        ("2014-04-18", "2014-04-17"),
        ("2019-04-19", "2019-04-18"),
        ("2026-06-19", "2026-06-18"),  # Juneteenth
        ("2008-09-19", "2008-09-19"),
        ("2018-12-21", "2018-12-21"),
    ],
)
def test_an_expiry_is_the_third_friday_or_the_session_before_a_holiday(
    friday: str, settles: str
) -> None:
    day = datetime.date.fromisoformat(friday)
    assert third_friday(day.year, day.month) == day
    sessions = exchange_sessions(friday[:8] + "01", friday[:8] + "28")
    (expiry,) = monthly_expiries(sessions)
    assert utc(expiry)[:10] == settles
    assert expiry in sessions.closes


def test_each_month_of_the_history_has_exactly_one_expiry() -> None:
    expiries = monthly_expiries(exchange_sessions("1999-01-01", "2021-12-31"))
    months = (expiries.astype("datetime64[ns]")).astype("datetime64[M]")
    assert len(months) == 12 * 23
    assert (np.diff(months.astype(np.int64)) == 1).all()


def test_a_third_friday_beyond_the_calendar_is_unknown() -> None:
    # The Thursday before Good Friday is the last session: whether it settles cannot be known.
    assert len(monthly_expiries(exchange_sessions("2014-04-01", "2014-04-17"))) == 0
