"""One row of a calendar, as a person writes it or an endpoint sends it, as events."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, Field, field_validator
from riskenv.data.event_times import AFTER_CLOSE_NS, SessionPlaces, end_of_day_ns, local_ns

from riskenv.config import Config
from riskenv.events import Confidence, Event, Importance, Placement
from riskenv.instruments import NS_PER_SECOND

# Blanks around a ticker would make it another one, which nothing that is held would match.
_NAME = r"^(\S(.*\S)?)?$"
_CLOCK = r"^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$"

When = AwareDatetime | datetime.date


class EventRow(Config):
    """A row of an event list.

    Attributes:
        event_type: lower case: "earnings", "cpi", ...
        date: the local date.
        time: local wall clock, "08:30"; "" = not said.
        time_zone: of `date` and `time`.
        placement: "before_open" or "after_close"; a time given as well must agree with it.
        symbol, sector: what it touches; neither = the whole market.
        importance, confidence: as in `Event`.
        known_at: since when it was public: an instant with its zone, or a date, which counts from
            the end of that day; None = assumed, ten sessions before.
        withdrawn_at: since when it was public that nothing happens then; None = it stands.
        source: where the row came from; "" = the list's name.
    """

    event_type: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    date: datetime.date
    time: Annotated[str, Field(pattern=rf"{_CLOCK}|^$")] = ""
    time_zone: str = "America/New_York"
    placement: Placement = ""
    symbol: str = Field(default="", pattern=_NAME)
    sector: str = Field(default="", pattern=_NAME)
    importance: Importance = "high"
    confidence: Confidence = "unknown"
    known_at: When | None = None
    withdrawn_at: When | None = None
    source: str = ""

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ValueError, OSError, KeyError):  # not found is a KeyError
            raise ValueError("an IANA time zone, such as America/New_York") from None
        return name


def place_row(row: EventRow, places: SessionPlaces, source: str = "") -> tuple[Event, ...]:
    """A row as events: one, or two where the date is known and the hour is not.

    - With a time: at that time; where it lies outside the day's session, the placement follows.
      The very close, said to be "after_close", is after it.
    - "before_open": at the open, so that the close before is the last chance to act.
    - "after_close": a minute after the close, so that this close is the last chance to act.
    - Neither: an hour that is not known may be either. Both are given, never as "confirmed": the
      book is guarded from the close before the date to the close of the date.
    - A date without a session lies between two closes: before the next open.

    Args:
        row: the row.
        places: the exchange's sessions, from ten before the date on.
        source: the list's name, for rows without a source.

    Raises:
        ValueError: a time the clocks skip, or that lies on the other side of the session than the
            placement says, or known or withdrawn after it happened.
        CalendarRangeError: the sessions do not reach.

    Example:
        >>> places = SessionPlaces.around(datetime.date(2018, 2, 1), datetime.date(2018, 2, 1))
        >>> row = EventRow(event_type="earnings", symbol="AAPL", date=datetime.date(2018, 2, 1))
        >>> [event.placement for event in place_row(row, places)]
        ['before_open', 'after_close']
    """
    zone = ZoneInfo(row.time_zone)
    if row.time:
        time = local_ns(row.date, datetime.time.fromisoformat(row.time), zone)
        placed = places.placement(time, row.date)
        if row.placement and places.is_session(row.date) and placed != row.placement:
            past_close = places.after_close_ns(row.date)
            if row.placement != "after_close" or time != past_close - AFTER_CLOSE_NS:
                raise ValueError(
                    f"time, placement: got {row.time!r} in {row.time_zone}, {row.placement!r}; "
                    f"that time is {placed or 'within the session'}; allowed: one of them"
                )
            time, placed = past_close, "after_close"
        return (_event(row, time, placed, places, source),)
    before: tuple[int, Placement] = places.open_ns(row.date), "before_open"
    after: tuple[int, Placement] = places.after_close_ns(row.date), "after_close"
    if not places.is_session(row.date):
        return (_event(row, *before, places, source),)
    if row.placement:
        chosen = before if row.placement == "before_open" else after
        return (_event(row, *chosen, places, source),)
    events = (_event(row, *either, places, source) for either in (before, after))
    return tuple(
        replace(event, confidence="estimated") if event.confidence == "confirmed" else event
        for event in events
    )


def places_for(rows: Iterable[EventRow], exchange: str) -> SessionPlaces:
    """Sessions wide enough for every row.

    Raises:
        ValueError: no row, or dates beyond what the exchange calendar can know.
    """
    dates = [row.date for row in rows]
    return SessionPlaces.around(min(dates), max(dates), exchange)


def _event(
    row: EventRow, time: int, placement: Placement, places: SessionPlaces, source: str
) -> Event:
    if row.known_at is None:
        # An unscheduled event of the very first sessions cannot be known after it happened.
        known_at = min(places.assumed_known_at(row.date), time)
    else:
        known_at = _instant("known_at", row.known_at, time, row)
    withdrawn_at = None
    if row.withdrawn_at is not None:
        withdrawn_at = max(known_at, _instant("withdrawn_at", row.withdrawn_at, time, row))
    return Event(
        event_type=row.event_type,
        time=time,
        known_at=known_at,
        symbol=row.symbol,
        known_at_assumed=row.known_at is None,
        source=row.source or source,
        sector=row.sector,
        importance=row.importance,
        confidence=row.confidence,
        placement=placement,
        withdrawn_at=withdrawn_at,
    )


def _instant(name: str, when: When, time: int, row: EventRow) -> int:
    """ns UTC, at the latest `time`: a date stands for its end, or for the event if on that day."""
    if isinstance(when, datetime.datetime):
        return round(when.timestamp()) * NS_PER_SECOND
    if when > row.date:
        raise ValueError(f"{name}: got {when}; allowed: at or before the date {row.date}")
    return min(time, end_of_day_ns(when, ZoneInfo(row.time_zone)))
