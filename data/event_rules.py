"""Events that follow from a rule and the exchange's calendar: expiries, holidays, rebalances.

Each function takes the first and last day wanted, both included. A rule's dates are public years
ahead, so `known_at` is a year before, not flagged; a closure nobody could foresee (a day of
mourning, a hurricane) is known only when it happens.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterator

import exchange_calendars
import pandas as pd
from riskenv.data.calendars import exchange_sessions, session_dates, third_friday
from riskenv.data.event_times import NEW_YORK, local_ns

from riskenv.events import Event, Importance
from riskenv.instruments import NS_PER_DAY
from riskenv.sessions import Sessions

_KNOWN_BEFORE_NS = 365 * NS_PER_DAY
_WEEK = datetime.timedelta(days=7)
# Enough to step back from any holiday, and ahead to the Friday a VIX expiry is counted from.
_MARGIN = datetime.timedelta(days=45)

# Since 2007 "the last Friday of June, or the one before it where that is the 29th or 30th", which
# is the fourth Friday (Russell, Construction and Methodology); November was added in 2026.
RUSSELL_SINCE = datetime.date(2007, 1, 1)
_RUSSELL_NOVEMBER_SINCE = 2026


def expiry_events(
    first: datetime.date, last: datetime.date, exchange: str = "XNYS"
) -> tuple[Event, ...]:
    """Expiries of listed equity options and futures.

    - "monthly_expiry": the close of the third Friday, or of the session before a holiday;
    - "quarterly_expiry": the same close in March, June, September and December, when index
      futures expire too (triple witching), importance "high";
    - "vix_expiry": the open of the Wednesday 30 days before the third Friday of the month after.
      Where that Wednesday or that Friday is a holiday, of the session before the Wednesday (Cboe,
      VX futures contract specifications).

    Example:
        >>> import numpy as np
        >>> spring = expiry_events(datetime.date(2019, 3, 1), datetime.date(2019, 4, 30))
        >>> for event in spring:   # 19 April 2019 is Good Friday
        ...     print(event.event_type, np.datetime64(event.time, "ns").astype("M8[m]"))
        monthly_expiry 2019-03-15T20:00
        quarterly_expiry 2019-03-15T20:00
        vix_expiry 2019-03-19T13:30
        vix_expiry 2019-04-17T13:30
        monthly_expiry 2019-04-18T20:00
    """
    days = _Days.of(first, last, exchange)
    events = []
    for year, month in _months(first, last):
        close = days.close(days.on_or_before(third_friday(year, month)))
        events.append(_event("monthly_expiry", close, exchange, "medium"))
        if month % 3 == 0:
            events.append(_event("quarterly_expiry", close, exchange, "high"))
        following = third_friday(year + month // 12, month % 12 + 1)
        wednesday = following - datetime.timedelta(days=30)
        moved = not (days.is_session(wednesday) and days.is_session(following))
        day = days.on_or_before(wednesday - datetime.timedelta(days=1) if moved else wednesday)
        events.append(_event("vix_expiry", days.open(day), "cboe.com", "medium"))
    return _inside(events, first, last)


def closure_events(
    first: datetime.date, last: datetime.date, exchange: str = "XNYS"
) -> tuple[Event, ...]:
    """Weekdays without a session ("holiday") and sessions that close early ("half_day").

    A holiday lies at 09:30 New York time of its day, a half day at its early close. A closure that
    follows no rule has `known_at` equal to `time`.

    Example:
        >>> import numpy as np
        >>> week = closure_events(datetime.date(2018, 12, 3), datetime.date(2018, 12, 26))
        >>> for event in week:   # the funeral of a president; Christmas Eve; Christmas Day
        ...     day = np.datetime64(event.time, "ns").astype("M8[D]")
        ...     print(event.event_type, day, event.known_at == event.time)
        holiday 2018-12-05 True
        half_day 2018-12-24 False
        holiday 2018-12-25 False
    """
    days = _Days.of(first, last, exchange)
    calendar = _calendar(exchange)
    unforeseen = {day.date() for day in calendar.adhoc_holidays}
    early_unforeseen = {day.date() for _, dates in calendar.special_closes_adhoc for day in dates}
    events = []
    day = first
    while day <= last:
        if not days.is_session(day):
            if day.weekday() < 5:
                time = local_ns(day, datetime.time(9, 30))
                events.append(_event("holiday", time, exchange, "low", day not in unforeseen))
        elif days.close(day) < local_ns(day, calendar.close_times[-1][1], calendar.tz):
            close = days.close(day)
            events.append(_event("half_day", close, exchange, "low", day not in early_unforeseen))
        day += datetime.timedelta(days=1)
    return _inside(events, first, last)


def rebalance_events(
    first: datetime.date, last: datetime.date, exchange: str = "XNYS"
) -> tuple[Event, ...]:
    """Closes at which index funds trade into new weights ("index_rebalance").

    - S&P: the third Friday of March, June, September and December (S&P Dow Jones Indices, U.S.
      Indices Methodology: effective before the open of the Monday after).
    - Russell: the fourth Friday of June from 2007 on, and from 2026 on the second Friday of
      November (FTSE Russell, notice of 2025 on the semi-annual reconstitution).

    Example:
        >>> import numpy as np
        >>> june = rebalance_events(datetime.date(2024, 6, 1), datetime.date(2024, 6, 30))
        >>> [(event.source, str(np.datetime64(event.time, "ns"))[:10]) for event in june]
        [('S&P', '2024-06-21'), ('Russell', '2024-06-28')]
    """
    days = _Days.of(first, last, exchange)
    events = []
    for year, month in _months(first, last):
        third = third_friday(year, month)
        fridays = {"S&P": third} if month % 3 == 0 else {}
        if month == 6 and year >= RUSSELL_SINCE.year:
            fridays["Russell"] = third + _WEEK
        if month == 11 and year >= _RUSSELL_NOVEMBER_SINCE:
            fridays["Russell"] = third - _WEEK
        for source, friday in fridays.items():
            close = days.close(days.on_or_before(friday))
            events.append(_event("index_rebalance", close, source, "medium"))
    return _inside(events, first, last)


def _event(
    event_type: str, time: int, source: str, importance: Importance, foreseen: bool = True
) -> Event:
    return Event(
        event_type=event_type,
        time=time,
        known_at=time - _KNOWN_BEFORE_NS if foreseen else time,
        source=source,
        importance=importance,
        confidence="confirmed",
    )


def _inside(events: list[Event], first: datetime.date, last: datetime.date) -> tuple[Event, ...]:
    start = local_ns(first, datetime.time(0), NEW_YORK)
    end = local_ns(last + datetime.timedelta(days=1), datetime.time(0), NEW_YORK)
    inside = [event for event in events if start <= event.time < end]
    return tuple(sorted(inside, key=lambda event: event.order))


def _months(first: datetime.date, last: datetime.date) -> Iterator[tuple[int, int]]:
    for number in range(first.year * 12 + first.month - 1, last.year * 12 + last.month):
        yield number // 12, number % 12 + 1


@functools.lru_cache(maxsize=8)
def _calendar(exchange: str) -> exchange_calendars.ExchangeCalendar:
    return exchange_calendars.get_calendar(exchange)


class _Days:
    """Opens and closes by local date."""

    def __init__(self, sessions: Sessions) -> None:
        dates = session_dates(sessions).astype(datetime.date)
        self._rows = {day: row for row, day in enumerate(dates)}
        self._sessions = sessions

    @classmethod
    def of(cls, first: datetime.date, last: datetime.date, exchange: str) -> _Days:
        if not first <= last:
            raise ValueError(f"first, last: got {first}, {last}; allowed: first at or before last")
        month_end = (pd.Timestamp(last) + pd.offsets.MonthEnd(0)).date()
        return cls(exchange_sessions(first.replace(day=1) - _WEEK, month_end + _MARGIN, exchange))

    def is_session(self, day: datetime.date) -> bool:
        return day in self._rows

    def on_or_before(self, day: datetime.date) -> datetime.date:
        while day not in self._rows:
            day -= datetime.timedelta(days=1)
        return day

    def open(self, day: datetime.date) -> int:
        return int(self._sessions.opens[self._rows[day]])

    def close(self, day: datetime.date) -> int:
        return int(self._sessions.closes[self._rows[day]])
