"""Releases of the Bureau of Labor Statistics, as they could be seen at the time: CPI and payrolls.

A date that was scheduled and then not kept stays in the calendar with `withdrawn_at`: leaving it
out would tell a trader of the week before that nothing was due.
"""

from __future__ import annotations

import csv
import datetime
from importlib import resources

from riskenv.data.event_times import NEW_YORK, end_of_day_ns, local_ns

from riskenv.events import Event
from riskenv.instruments import NS_PER_DAY
from riskenv.sessions import Sessions

_HOUR = datetime.time(8, 30)  # of both releases, on every date here
_SOURCE = "bls.gov"

# The dates of a year are published in the autumn before (OMB, schedule of release dates for
# principal federal economic indicators): 60 days is later than any of them became public.
KNOWN_BEFORE_DAYS = 60

# First and last day for which a table is complete. Outside it nothing is known.
CPI_COVERAGE = (datetime.date(2007, 1, 1), datetime.date(2026, 12, 31))
NFP_COVERAGE = (datetime.date(2000, 1, 1), datetime.date(2026, 12, 31))
# Dates after this one are as scheduled then, and may yet be moved: "estimated", not "confirmed".
TABLES_AS_OF = datetime.date(2026, 9, 11)


def cpi_events(sessions: Sessions | None = None) -> tuple[Event, ...]:
    """Consumer Price Index releases of 2007 to 2026, 08:30 in New York, in order of time.

    Dates: bls.gov/bls/news-release/cpi.htm (archive), bls.gov/schedule/news_release/cpi.htm and
    the release dates of FRED (release 10). Moved in the lapses of appropriations of 2013, 2025 and
    2026; the index for October 2025 was never published, so November 2025 has no release.

    Args:
        sessions: keep only events from the first open to the last close; None keeps all.

    Example:
        >>> import numpy as np
        >>> kept = [event.time for event in cpi_events() if event.withdrawn_at is None]
        >>> autumn = [str(np.datetime64(time, "ns"))[:10] for time in kept]
        >>> [day for day in autumn if "2025-10" <= day < "2026"]
        ['2025-10-24', '2025-12-18']
    """
    return _between([_event("cpi", row) for row in _rows("cpi.csv")], sessions)


def nfp_events(sessions: Sessions | None = None) -> tuple[Event, ...]:
    """Employment Situation releases (non-farm payrolls) of 2000 to 2026, 08:30 in New York.

    Dates follow from the rule of `nfp_rule_date`; those the lapses of appropriations of 2013, 2025
    and 2026 moved are listed apart. The data of October 2025 came out with those of November.

    Args:
        sessions: keep only events from the first open to the last close; None keeps all. A release
            on a day without a session (Good Friday 2015) lies between two sessions and is kept.

    Example:
        >>> len([e for e in nfp_events() if e.withdrawn_at is None])
        323
    """
    exceptions = {row["date"]: row for row in _rows("nfp_exceptions.csv")}
    first, last = NFP_COVERAGE
    by_rule = (
        nfp_rule_date(year, month)
        for year in range(first.year - 1, last.year + 1)
        for month in range(1, 13)
    )
    rows = {
        day.isoformat(): {"date": day.isoformat(), "status": "scheduled", "announced": ""}
        for day in by_rule
        if first <= day <= last
    }
    return _between([_event("nfp", row) for row in (rows | exceptions).values()], sessions)


def nfp_rule_date(year: int, month: int) -> datetime.date:
    """When the Employment Situation of a reference month is due, by the rule of the BLS.

    The third Friday after the end of the week (Sunday to Saturday) that includes the 12th of the
    reference month (bls.gov, Current Employment Statistics, "release dates"). Two adjustments,
    found here to hold on every release of 2000 to 2026: a date of 1 to 3 January moves a week on,
    and one on Independence Day, or on the Friday on which it is observed, moves to the Thursday.

    Example:
        >>> nfp_rule_date(2018, 1), nfp_rule_date(2024, 12), nfp_rule_date(2025, 6)
        (datetime.date(2018, 2, 2), datetime.date(2025, 1, 10), datetime.date(2025, 7, 3))
    """
    twelfth = datetime.date(year, month, 12)
    saturday = twelfth + datetime.timedelta(days=(5 - twelfth.weekday()) % 7)
    friday = saturday + datetime.timedelta(days=20)
    if friday.month == 1 and friday.day <= 3:
        return friday + datetime.timedelta(days=7)
    if friday.month == 7 and friday.day in (3, 4):
        return friday - datetime.timedelta(days=1)
    return friday


def _rows(name: str) -> list[dict[str, str]]:
    with resources.files("riskenv.data.tables").joinpath(name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _event(event_type: str, row: dict[str, str]) -> Event:
    if row["status"] not in ("scheduled", "moved", "withdrawn"):
        raise ValueError(
            f"status: got {row['status']!r} on {row['date']}; allowed: scheduled, moved, withdrawn"
        )
    day = datetime.date.fromisoformat(row["date"])
    time = local_ns(day, _HOUR, NEW_YORK)
    announced = row["announced"] and end_of_day_ns(datetime.date.fromisoformat(row["announced"]))
    moved_here = row["status"] == "moved"
    return Event(
        event_type=event_type,
        time=time,
        known_at=int(announced) if moved_here else time - KNOWN_BEFORE_DAYS * NS_PER_DAY,
        known_at_assumed=not moved_here,
        source=_SOURCE,
        importance="high",
        confidence="confirmed" if day <= TABLES_AS_OF else "estimated",
        placement="before_open",
        # A withdrawal whose day is not on record counts from the hour itself.
        withdrawn_at=int(announced or time) if row["status"] == "withdrawn" else None,
    )


def _between(events: list[Event], sessions: Sessions | None) -> tuple[Event, ...]:
    if sessions is not None:
        first, last = sessions.opens[0], sessions.closes[-1]
        events = [event for event in events if first <= event.time <= last]
    return tuple(sorted(events, key=lambda event: event.order))
