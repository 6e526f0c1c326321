"""Event calendars that ship with the package: decisions of the Federal Open Market Committee."""

from __future__ import annotations

import csv
import datetime
from importlib import resources

from riskenv.data.event_tables import TABLES_AS_OF
from riskenv.data.event_times import local_ns

from riskenv.events import Event
from riskenv.instruments import NS_PER_DAY
from riskenv.sessions import Sessions

_SOURCE = "federalreserve.gov"

# First and last day for which the table is complete. Outside it nothing is known.
FOMC_COVERAGE = (datetime.date(1999, 1, 1), datetime.date(2026, 12, 31))

# The Fed publishes its tentative schedule at least half a year before the year begins; 90 days
# is later than any scheduled date became public, so no meeting is seen too early.
KNOWN_BEFORE_DAYS = 90


def fomc_events(sessions: Sessions | None = None) -> tuple[Event, ...]:
    """FOMC decisions 1999 to 2026, in order of time, as they could be seen at the time.

    The date is the meeting's last day, when the statement comes out. Its hour in New York, by the
    Fed's press releases: 14:15 up to January 2013; 12:30 on the eight days of 2011 and 2012 with a
    press conference; 14:00 from March 2013 on. Unscheduled decisions have their own hour, to about
    five minutes.

    - Scheduled: the source gives no announcement date, so `known_at` is 90 days before, flagged
      `known_at_assumed`.
    - Unscheduled: `known_at` equals `time`; nobody can see them ahead.
    - Announced and then cancelled (18 March 2020): kept, with `withdrawn_at`. Leaving it out would
      tell a trader of 1 March that the meeting would not be held.

    Args:
        sessions: keep only events from the first open to the last close; None keeps all.

    Example:
        >>> import numpy as np
        >>> crisis = [e for e in fomc_events() if e.time == e.known_at][4]
        >>> str(np.datetime64(crisis.time, "ns"))[:16], crisis.known_at_assumed
        ('2008-01-22T13:20', False)
    """
    with resources.files("riskenv.data.tables").joinpath("fomc.csv").open(encoding="utf-8") as file:
        events = [_event(row) for row in csv.DictReader(file)]
    events.sort(key=lambda event: event.time)
    if sessions is not None:
        first, last = sessions.opens[0], sessions.closes[-1]
        events = [event for event in events if first <= event.time <= last]
    return tuple(events)


def _event(row: dict[str, str]) -> Event:
    if row["status"] not in ("scheduled", "cancelled", "unscheduled"):
        raise ValueError(
            f"status: got {row['status']!r} on {row['date']}; allowed: scheduled, cancelled, "
            "unscheduled"
        )
    day = datetime.date.fromisoformat(row["date"])
    time = local_ns(day, datetime.time.fromisoformat(row["time_et"]))
    ahead = row["status"] != "unscheduled"
    return Event(
        event_type="fomc",
        time=time,
        known_at=time - KNOWN_BEFORE_DAYS * NS_PER_DAY if ahead else time,
        known_at_assumed=ahead,
        source=_SOURCE,
        importance="high",
        confidence="confirmed" if day <= TABLES_AS_OF else "estimated",
        withdrawn_at=_CANCELLED_AT[row["date"]] if row["status"] == "cancelled" else None,
    )


# The statement of Sunday, 15 March 2020 took the place of the meeting of 17 and 18 March.
_CANCELLED_AT = {"2020-03-18": local_ns(datetime.date(2020, 3, 15), datetime.time(17, 0))}
