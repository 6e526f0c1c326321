"""What all sources together say, and what nobody can say."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from riskenv.data.event_merge import Conflict, merge_events
from riskenv.data.event_sources import EventProvider, SourceDownError, SourceState

from riskenv.event_values import UnknownDays
from riskenv.events import Event

_log = logging.getLogger(__name__)


# What a calendar does not know is what the monitor is to be told of: one type, two rooms.
UnknownSpan = UnknownDays


@dataclass(frozen=True, slots=True)
class EventCalendar:
    """What all sources together say.

    Attributes:
        events: in order of time, each once.
        conflicts: where sources disagree.
        unknown: spans asked for that no source covers.
        states: of every source, in the order given.
    """

    events: tuple[Event, ...]
    conflicts: tuple[Conflict, ...]
    unknown: tuple[UnknownSpan, ...]
    states: tuple[SourceState, ...]

    def unknown_on(self, day: datetime.date) -> tuple[UnknownSpan, ...]:
        """What nobody knows about a day."""
        return tuple(span for span in self.unknown if span.first <= day <= span.last)


def gather_events(
    providers: Sequence[EventProvider],
    first: datetime.date,
    last: datetime.date,
    needed: Iterable[str | tuple[str, str]] = (),
) -> EventCalendar:
    """Ask every source, merge what they answer, and say what nobody can answer.

    A source that fails, in whatever way, is down: its events are missing, and days that only it
    covers are Unknown. Nothing is raised for it, so that the caller fails towards caution instead
    of not at all.

    Args:
        providers: the sources.
        first, last: local dates, both included.
        needed: event types, or (type, symbol) pairs, that must be known on every one of the days.

    Raises:
        ValueError: two sources of one name, or `last` before `first`.

    Example:
        >>> from riskenv.data import BuiltinEvents
        >>> calendar = gather_events([BuiltinEvents(["cpi"])], datetime.date(2026, 12, 1),
        ...                          datetime.date(2027, 1, 31), needed=["cpi"])
        >>> len(calendar.events)
        1
        >>> print(calendar.unknown[0])   # doctest: +ELLIPSIS
        unknown: cpi from 2027-01-01 to 2027-01-31: source built-in fresh, as of 2026-09-...
    """
    names = [provider.name for provider in providers]
    if len(set(names)) != len(names):
        raise ValueError(f"providers: got the names {names}; allowed: each name once")
    if not first <= last:
        raise ValueError(f"first, last: got {first}, {last}; allowed: first at or before last")
    found: dict[str, tuple[Event, ...]] = {}
    states = []
    for provider in providers:
        try:
            found[provider.name] = tuple(provider.events(first, last))
            _check_events(found[provider.name])
            states.append(provider.state())
        except SourceDownError as error:
            states.append(error.state)
        except Exception as error:
            # A provider is other people's code; whatever it raises, its days are not known.
            _log.exception("event source %s failed", provider.name)
            found.pop(provider.name, None)
            reason = f"{type(error).__name__}: {error}"
            states.append(SourceState(provider.name, "down", reason=reason))
    events, conflicts = merge_events(found)
    wanted = [need if isinstance(need, tuple) else (need, "") for need in needed]
    unknown = [span for need in wanted for span in _uncovered(*need, first, last, states)]
    return EventCalendar(events, conflicts, tuple(unknown), tuple(states))


def _check_events(events: tuple[Event, ...]) -> None:
    for event in events:
        if not isinstance(event, Event):
            raise TypeError(f"events: got {type(event).__name__}; allowed: Event")


def _uncovered(
    event_type: str,
    symbol: str,
    first: datetime.date,
    last: datetime.date,
    states: Sequence[SourceState],
) -> list[UnknownSpan]:
    one_day = datetime.timedelta(days=1)
    claimed = [c for s in states if s.status in ("fresh", "stale") for c in s.coverage]
    days = [first + one_day * n for n in range((last - first).days + 1)]
    gaps = [day for day in days if not any(c.covers(event_type, symbol, day) for c in claimed)]
    reason = "; ".join(map(str, states)) or "no source"
    spans: list[UnknownSpan] = []
    for day in gaps:
        if spans and day - spans[-1].last == one_day:
            spans[-1] = replace(spans[-1], last=day)
        else:
            spans.append(UnknownSpan(event_type, symbol, day, day, reason))
    return spans
