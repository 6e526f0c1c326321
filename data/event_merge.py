"""Events of several sources as one list: agreement counted, conflicts kept and named."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from riskenv.data.event_times import NEW_YORK, local_date

from riskenv.events import Event, Importance
from riskenv.instruments import NS_PER_SECOND

# News within a session is the same if in the same five minutes: clocks are read differently.
SAME_NEWS_NS = 5 * 60 * NS_PER_SECOND
# Where a row does not say on which side of the session it lies, by the usual hours in New York.
_OPEN, _CLOSE = datetime.time(9, 30), datetime.time(16, 0)

# How far apart two dates for one event may lie: below half the time between two of its kind.
NEAR_DAYS: Mapping[str, int] = {"earnings": 21, "cpi": 12, "nfp": 12}
NEAR_DAYS_DEFAULT = 2

_LEVELS: tuple[Importance, ...] = ("low", "medium", "high")


@dataclass(frozen=True, slots=True)
class Conflict:
    """Sources that give one event different times.

    Attributes:
        event_type, symbol, sector: which event.
        times: the times, ns UTC, in order.
        sources: for each time, who gives it.
        resolved_to: the time a source confirmed, against one that did not; None = unresolved.
    """

    event_type: str
    symbol: str
    sector: str
    times: tuple[int, int]
    sources: tuple[str, str]
    resolved_to: int | None


def merge_events(
    by_source: Mapping[str, Iterable[Event]],
) -> tuple[tuple[Event, ...], tuple[Conflict, ...]]:
    """One calendar from several, whatever the order in which they are given.

    **The same news** are rows of one type and scope on one New York date, both before the open,
    both after the close, or in the same five minutes in between. They become one event with the
    earliest `known_at` (flagged if that one was assumed), the highest importance and the best
    confidence; its time is the latest of theirs, between which there is no close: the guard holds
    until the last of them. It is withdrawn only if every source that gives it says so, or one says
    so with "confirmed" and none confirms that it stands; then from the latest of their times.

    **A conflict** is two times near each other (`NEAR_DAYS`) that no source lists both of. It is
    resolved where one side is "confirmed" and the other is not: the other is withdrawn from when
    the confirmed row was known, so that no decision of before then changes; and is left out where
    the confirmed row was known no later. Else both dates stand, as "unknown": with the earlier one
    alone, the guard would be down when the news came on the later. The two places of a day whose
    hour is not known (`place_row`) are resolved by a confirmed one in the same way.

    So an unconfirmed source can only add caution: it never removes or postpones an event.

    Args:
        by_source: name of the source -> its events.

    Returns:
        Events in order, and the conflicts, the same.

    Example:
        >>> day = 86_400 * NS_PER_SECOND
        >>> a = Event("earnings", time=20 * day, known_at=0, symbol="A", confidence="estimated")
        >>> b = Event("earnings", time=25 * day, known_at=9 * day, symbol="A")
        >>> [e.confidence for e in merge_events({"a": [a], "b": [b]})[0]]
        ['unknown', 'unknown']
        >>> b = replace(b, confidence="confirmed")
        >>> [e.withdrawn_at for e in merge_events({"a": [a], "b": [b]})[0]]   # 9 days
        [777600000000000, None]
    """
    pools: dict[tuple[str, str, str], list[tuple[Event, str]]] = {}
    for source in sorted(by_source):
        for event in by_source[source]:
            scope = event.event_type, event.symbol, event.sector
            pools.setdefault(scope, []).append((event, source))
    events: list[Event] = []
    conflicts: list[Conflict] = []
    for scope in sorted(pools):
        news = _same_news(sorted(pools[scope], key=lambda row: (row[0].order, row[1])))
        settled, found = _settle(news, NEAR_DAYS.get(scope[0], NEAR_DAYS_DEFAULT))
        events += settled
        conflicts += found
    conflicts.sort(key=lambda c: (c.times, c.event_type, c.symbol, c.sector, c.sources))
    return tuple(sorted(events, key=lambda event: event.order)), tuple(conflicts)


@dataclass(frozen=True, slots=True)
class _News:
    """One time of an event, who gives it, and since when (ns UTC) it is confirmed, if it is."""

    event: Event
    sources: frozenset[str]
    confirmed_at: int | None


def _same_news(rows: list[tuple[Event, str]]) -> list[_News]:
    clusters: dict[tuple[datetime.date, str, int], list[tuple[Event, str]]] = {}
    for event, source in rows:
        clusters.setdefault(_slot(event), []).append((event, source))
    return sorted(map(_news, clusters.values()), key=lambda item: item.event.order)


def _slot(event: Event) -> tuple[datetime.date, str, int]:
    """Rows in one slot are the same news.

    A slot depends on its row alone: were nearness measured from row to row, a new source could
    bridge two times that others keep apart.
    """
    local = datetime.datetime.fromtimestamp(event.time // NS_PER_SECOND, NEW_YORK)
    placement: str = event.placement
    if not placement and local.time() <= _OPEN:
        placement = "before_open"
    elif not placement and local.time() >= _CLOSE:
        placement = "after_close"
    return local.date(), placement, 0 if placement else event.time // SAME_NEWS_NS


def _news(rows: list[tuple[Event, str]]) -> _News:
    confirmed = [event.known_at for event, _ in rows if event.confidence == "confirmed"]
    return _News(
        _joined([event for event, _ in rows]),
        frozenset(source for _, source in rows),
        min(confirmed, default=None),
    )


def _joined(events: list[Event]) -> Event:
    known = min(events, key=lambda event: (event.known_at, event.known_at_assumed))
    placements = {event.placement for event in events}
    confidences = {event.confidence for event in events}
    stands = [event for event in events if event.withdrawn_at is None]
    withdrawn = [event for event in events if event.withdrawn_at is not None]
    if stands and not (_confirmed(withdrawn) and not _confirmed(stands)):
        withdrawn = []
    time = max(event.time for event in events)
    withdrawn_at = max((event.withdrawn_at or 0 for event in withdrawn), default=None)
    return Event(
        event_type=events[0].event_type,
        time=time,
        known_at=known.known_at,
        symbol=events[0].symbol,
        known_at_assumed=known.known_at_assumed,
        source="+".join(sorted({part for e in events for part in e.source.split("+") if part})),
        sector=events[0].sector,
        importance=max((event.importance for event in events), key=_LEVELS.index),
        confidence=next(c for c in ("confirmed", "estimated", "unknown") if c in confidences),
        placement=max(placements),  # of one slot: "" or its own
        withdrawn_at=withdrawn_at,
    )


def _confirmed(events: list[Event]) -> bool:
    return any(event.confidence == "confirmed" for event in events)


def _settle(news: list[_News], near_days: int) -> tuple[list[Event], list[Conflict]]:
    """The events of one scope after their conflicts, and these."""
    events = {index: item.event for index, item in enumerate(news)}
    conflicts = []
    for i, one in enumerate(news):
        for j in range(i + 1, len(news)):
            other = news[j]
            if (local_date(other.event.time) - local_date(one.event.time)).days > near_days:
                break
            sure = [item for item in (one, other) if item.confirmed_at is not None]
            winner = sure[0] if len(sure) == 1 else None
            if _hour_unknown(one.event, other.event):
                if winner is None:
                    continue  # both hold until somebody knows the hour
            elif one.sources & other.sources:
                continue  # a source that lists both means two events
            if one.event.withdrawn_at is not None or other.event.withdrawn_at is not None:
                continue  # withdrawn is an answer of its own
            conflicts.append(_conflict(one, other, winner))
            if winner is None:
                for index in {i, j} & set(events):
                    events[index] = replace(events[index], confidence="unknown")
                continue
            loser = j if winner is one else i
            if loser in events:
                _withdraw(events, loser, winner.confirmed_at)
    return list(events.values()), conflicts


def _hour_unknown(one: Event, other: Event) -> bool:
    """Whether these are the two places of a day whose hour is not known."""
    return (one.placement, other.placement) == ("before_open", "after_close") and local_date(
        one.time
    ) == local_date(other.time)


def _withdraw(events: dict[int, Event], index: int, since: int | None) -> None:
    """Withdraws an event from `since`, so that no decision of before then changes."""
    event = events[index]
    if since is None or since >= event.time:
        return  # confirmed too late to change anything
    if since <= event.known_at:
        del events[index]
        return
    earlier = since if event.withdrawn_at is None else event.withdrawn_at
    events[index] = replace(event, withdrawn_at=min(earlier, since))


def _conflict(one: _News, other: _News, winner: _News | None) -> Conflict:
    return Conflict(
        one.event.event_type,
        one.event.symbol,
        one.event.sector,
        (one.event.time, other.event.time),
        ("+".join(sorted(one.sources)), "+".join(sorted(other.sources))),
        None if winner is None else winner.event.time,
    )
