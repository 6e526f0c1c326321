"""Where an event lies in time: local clock to UTC, and a place before or after a session."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
from riskenv.data.calendars import exchange_sessions, session_dates

from riskenv.events import Placement
from riskenv.instruments import NS_PER_SECOND
from riskenv.sessions import CalendarRangeError, Sessions

NEW_YORK = ZoneInfo("America/New_York")

# News "after the close" is out a minute after it: the close itself is still a chance to act.
AFTER_CLOSE_NS = 60 * NS_PER_SECOND

# A row that does not say since when it was public counts as known this many sessions before.
ASSUMED_SESSIONS = 10


def local_ns(day: datetime.date, clock: datetime.time, zone: ZoneInfo = NEW_YORK) -> int:
    """A local wall-clock time as int64 nanoseconds UTC; of an hour that occurs twice, the first.

    Raises:
        ValueError: a time that the clocks skip on that day.

    Example:
        >>> eight_thirty = datetime.time(8, 30)
        >>> winter, summer = datetime.date(2018, 3, 9), datetime.date(2018, 3, 13)
        >>> [str(np.datetime64(local_ns(d, eight_thirty), "ns"))[:16] for d in (winter, summer)]
        ['2018-03-09T13:30', '2018-03-13T12:30']
    """
    local = datetime.datetime.combine(day, clock, tzinfo=zone)
    utc = local.astimezone(datetime.UTC)
    if utc.astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None):
        raise ValueError(f"time: got {local.replace(tzinfo=None)}; {zone.key} skips it that day")
    return round(utc.timestamp()) * NS_PER_SECOND


def end_of_day_ns(day: datetime.date, zone: ZoneInfo = NEW_YORK) -> int:
    """The last second of a local day, ns UTC: news of that day is public by then at the latest."""
    return local_ns(day, datetime.time(23, 59, 59), zone)


def local_date(ns: int, zone: ZoneInfo = NEW_YORK) -> datetime.date:
    """The local date of an instant (ns UTC)."""
    return (
        datetime.datetime.fromtimestamp(ns // NS_PER_SECOND, datetime.UTC).astimezone(zone).date()
    )


@dataclass(frozen=True, eq=False)
class SessionPlaces:
    """Puts dates before, after or into the sessions of an exchange.

    Args:
        sessions: the exchange's calendar.
    """

    sessions: Sessions

    @classmethod
    def around(
        cls, first: datetime.date, last: datetime.date, exchange: str = "XNYS"
    ) -> SessionPlaces:
        """Wide enough to place events from `first` to `last` and to count back from them."""
        margin = datetime.timedelta(days=30)
        return cls(exchange_sessions(first - margin, last + margin, exchange))

    def _next(self, day: datetime.date) -> int:
        dates = session_dates(self.sessions)
        row = int(np.searchsorted(dates, np.datetime64(day, "D"), side="left"))
        if row == len(dates) or np.datetime64(day, "D") < dates[0]:
            raise CalendarRangeError(f"date: got {day}; the calendar has {dates[0]} to {dates[-1]}")
        return row

    def is_session(self, day: datetime.date) -> bool:
        """Whether the exchange opens that day."""
        return bool(session_dates(self.sessions)[self._next(day)] == np.datetime64(day, "D"))

    def open_ns(self, day: datetime.date) -> int:
        """The open of that day's session, or of the next one, ns UTC."""
        return int(self.sessions.opens[self._next(day)])

    def after_close_ns(self, day: datetime.date) -> int:
        """A minute after that day's close, ns UTC; without a session that day, the next open."""
        row = self._next(day)
        if not self.is_session(day):
            return int(self.sessions.opens[row])
        return int(self.sessions.closes[row]) + AFTER_CLOSE_NS

    def placement(self, ns: int, day: datetime.date) -> Placement:
        """Where an instant of a local day lies relative to that day's session."""
        row = self._next(day)
        if not self.is_session(day):
            return ""
        if ns <= self.sessions.opens[row]:
            return "before_open"
        return "after_close" if ns > self.sessions.closes[row] else ""

    def assumed_known_at(self, day: datetime.date) -> int:
        """The close of the tenth session before a day: when a row without `known_at` was known."""
        row = self._next(day) - ASSUMED_SESSIONS
        if row < 0:
            raise CalendarRangeError(f"date: got {day}; fewer than ten sessions lie before it")
        return int(self.sessions.closes[row])
