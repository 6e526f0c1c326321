"""Exchange calendars as arrays: session opens and closes, and monthly option expiries."""

from __future__ import annotations

import datetime
import functools

import exchange_calendars
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from riskenv.instruments import NS_PER_DAY
from riskenv.sessions import Sessions

_FRIDAY = 4


@functools.lru_cache(maxsize=32)
def exchange_sessions(
    start: datetime.date | str, end: datetime.date | str, exchange: str = "XNYS"
) -> Sessions:
    """Opens and closes of every session of `exchange` from `start` to `end`, both included.

    Half days close early, as they did. The arrays are shared between callers and read-only.

    Args:
        start, end: dates, or "YYYY-MM-DD".
        exchange: an ISO 10383 code that the exchange_calendars package knows.

    Raises:
        ValueError: `end` before `start`, a range without a session, or beyond what the calendar
            can know.
        exchange_calendars.errors.InvalidCalendarName: an unknown exchange.

    Example:
        >>> sessions = exchange_sessions("2018-12-24", "2018-12-26")   # a half day, and a holiday
        >>> [str(np.datetime64(int(close), "ns"))[:16] for close in sessions.closes]
        ['2018-12-24T18:00', '2018-12-26T21:00']
    """
    first, last = pd.Timestamp(start), pd.Timestamp(end)
    if not first <= last:
        raise ValueError(f"start, end: got {start}, {end}; allowed: start at or before end")
    # A calendar must begin and end on distinct sessions: take it wider, then cut.
    week = pd.Timedelta(days=7)
    calendar = exchange_calendars.get_calendar(exchange, start=first - week, end=last + week)
    inside = (calendar.sessions >= first) & (calendar.sessions <= last)
    if not inside.any():
        raise ValueError(f"start, end: got {start}, {end}; {exchange} has no session in between")
    sessions = Sessions(_nanoseconds(calendar.opens)[inside], _nanoseconds(calendar.closes)[inside])
    sessions.opens.flags.writeable = False
    sessions.closes.flags.writeable = False
    return sessions


def session_dates(sessions: Sessions) -> NDArray[np.datetime64]:
    """(D,) datetime64[D], the exchange-local date of each session, read off its close.

    Good for exchanges that close between 00:00 UTC and midnight of their own date, which is all
    of them from Sydney to New York.
    """
    return (sessions.closes // NS_PER_DAY).astype("datetime64[D]")


def third_friday(year: int, month: int) -> datetime.date:
    """The third Friday of a month, holiday or not.

    Example:
        >>> third_friday(2008, 3)
        datetime.date(2008, 3, 21)
    """
    first = datetime.date(year, month, 1)
    return first + datetime.timedelta(days=(_FRIDAY - first.weekday()) % 7 + 14)


def monthly_expiries(sessions: Sessions) -> NDArray[np.int64]:
    """Settlement times of the standard monthly options, (E,) int64 nanoseconds UTC.

    The close of the third Friday's session, or of the last session before it when that Friday is
    a holiday. (Listed SPX monthlies settle on that Friday's open; the close is a simplification,
    so that an expiry coincides with a daily close.) A month whose third Friday lies outside the
    sessions is left out: past the calendar's end an expiry is unknown.

    Example:
        >>> spring = exchange_sessions("2008-02-01", "2008-04-30")   # Good Friday: 21 March
        >>> [str(np.datetime64(int(t), "ns"))[:10] for t in monthly_expiries(spring)]
        ['2008-02-15', '2008-03-20', '2008-04-18']
    """
    dates = session_dates(sessions)
    months = np.arange(dates[0].astype("datetime64[M]"), dates[-1].astype("datetime64[M]") + 1)
    fridays = np.array(
        [third_friday(month.year, month.month) for month in months.astype(datetime.date)],
        dtype="datetime64[D]",
    )
    fridays = fridays[(fridays >= dates[0]) & (fridays <= dates[-1])]
    expiries: NDArray[np.int64] = sessions.closes[np.searchsorted(dates, fridays, side="right") - 1]
    expiries.flags.writeable = False
    return expiries


def _nanoseconds(times: pd.Series[pd.Timestamp]) -> NDArray[np.int64]:
    # The unit is named because pandas may hold timestamps in microseconds.
    return times.dt.tz_convert(None).to_numpy().astype("datetime64[ns]").astype(np.int64)
