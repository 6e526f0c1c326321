"""A calendar laid out in time: when events are seen, rules begin and end, and what holds at an
instant.

Every span is half open: from its start up to, and without, its end. Between two moments at which
something changes every instant has the same window, which is kept.
"""

from __future__ import annotations

import bisect
import datetime
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from riskenv.event_policy import EventPolicy, EventRule, NeededDate
from riskenv.event_values import ActiveRule, UndatedTicker, UnknownDays
from riskenv.event_window import EventWindow
from riskenv.events import Event
from riskenv.instruments import NS_PER_SECOND
from riskenv.sessions import Sessions

IntArray = NDArray[np.int64]

_EVER, _NEVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max
_NS_PER_MINUTE = 60 * NS_PER_SECOND
# Twenty sessions, the longest rule, span at most this many calendar days.
_FARTHEST_DAYS = 35


class EventTimeline:
    """Windows by instant.

    Args:
        events: in order of `Event.order`.
        policy, sessions, sectors, unknown: as for `riskenv.GapRiskMonitor`.
    """

    def __init__(
        self,
        events: tuple[Event, ...],
        policy: EventPolicy,
        sessions: Sessions,
        sectors: Mapping[str, str],
        unknown: tuple[UnknownDays, ...],
    ) -> None:
        self.events = events
        self.policy = policy
        self.sessions = sessions
        self.sectors = sectors
        self.unknown = unknown
        self._zone = ZoneInfo(policy.time_zone)
        self._lay_out()
        self._windows = lru_cache(maxsize=4096)(self._window_between)
        self._touched = lru_cache(maxsize=64)(self._touching)

    def window(self, now: int, tickers: tuple[str, ...] | None) -> EventWindow:
        """What is known and near at `now` (ns UTC), as `GapRiskMonitor.window`."""
        return self._windows(bisect.bisect_right(self._changes, now), tickers)

    def local_date(self, ns: int) -> datetime.date:
        """The date of an instant in the policy's time zone."""
        instant = datetime.datetime.fromtimestamp(ns // NS_PER_SECOND, datetime.UTC)
        return instant.astimezone(self._zone).date()

    # -- the calendar laid out in time ---------------------------------------------------------

    def _lay_out(self) -> None:
        """When each event is seen, each rule begins and ends, and hence all moments of change."""
        events, closes, policy = self.events, self.sessions.closes, self.policy
        self._times = _int64(event.time for event in events)
        self._dates = [self.local_date(event.time) for event in events]
        # Few scopes, many events: what touches a ticker is asked of each scope once.
        self._scopes = list(dict.fromkeys((event.symbol, event.sector) for event in events))
        number = {scope: n for n, scope in enumerate(self._scopes)}
        self._scope_of = _int64(number[event.symbol, event.sector] for event in events)
        self._known = _int64(event.known_at for event in events)
        # The moment of the news itself still counts as before it.
        gone = _int64(_NEVER if e.withdrawn_at is None else e.withdrawn_at for e in events)
        self._gone = np.minimum(self._times + 1, gone)
        self._beyond = self._times > closes[-1]
        self._closes_before = np.searchsorted(closes, self._times, side="left")
        self._listed = self._days_ahead(policy.report_days)

        self._leads = [_lead(rule) for rule in policy.rules]
        self._sized = [rule.share < 1.0 for rule in policy.rules]
        # One row for each event and rule that it matches, in order of the events.
        pairs = [
            (i, r)
            for i, event in enumerate(events)
            for r, rule in enumerate(policy.rules)
            if rule.applies_to(event)
        ]
        self._row_event = _int64(i for i, _ in pairs)
        self._row_rule = _int64(r for _, r in pairs)
        start = self._begin(
            self._closes_before[self._row_event], [policy.rules[r] for _, r in pairs]
        )
        far = self._days_ahead(max(policy.report_days, _FARTHEST_DAYS))[self._row_event]
        start = np.where(self._beyond[self._row_event], far, start)
        self._row_start = np.maximum(start, self._known[self._row_event])
        self._row_end = self._gone[self._row_event]
        self._row_cool = self._cool_down(pairs)

        self._dated = [
            (need, index, np.maximum(self._known, self._days_ahead(need.within_days))[index])
            for need in policy.needed_dates
            for index in [
                _int64(
                    i for i, e in enumerate(events) if e.symbol and e.event_type == need.event_type
                )
            ]
        ]
        self._spans = [self._span(days) for days in self.unknown]
        changes = np.concatenate(
            [
                self._known, self._gone, self._listed, self._row_start, self._row_cool,
                *(closes - lead for lead in {0, *self._leads}),
                *(start for _, _, start in self._dated),
                _int64(edge for span in self._spans for edge in span),
            ]
        )  # fmt: skip
        self._changes: list[int] = np.unique(changes).tolist()

    def _cool_down(self, pairs: Sequence[tuple[int, int]]) -> IntArray:
        """(R,) end of the rule of each row after its event; the last of its closes is inside."""
        closes, rules = self.sessions.closes, self.policy.rules
        after = _int64(rules[r].sessions_after for _, r in pairs)
        last = np.searchsorted(closes, self._times[self._row_event], side="right") + after - 1
        # Past the calendar's end nobody knows when it ends.
        end = np.where(last < len(closes), closes[np.minimum(last, len(closes) - 1)], _NEVER - 1)
        withdrawn = self._gone[self._row_event] <= self._times[self._row_event]
        return np.where((after == 0) | withdrawn, self._row_end, end + 1)

    def _begin(self, closes_before: IntArray, rules: Sequence[EventRule]) -> IntArray:
        """(R,) where rules begin: at the open of the first of their sessions, and what has a size
        due, so long ahead of its close; from ever where the calendar does not reach."""
        row = closes_before - _int64(rule.sessions_before for rule in rules)
        inside = np.clip(row, 0, len(self.sessions.closes) - 1)
        due = self.sessions.closes[inside] - _int64(map(_lead, rules))
        sized = np.array([rule.share < 1.0 for rule in rules], dtype=bool)
        return np.where(row < 0, _EVER, np.where(sized, due, self.sessions.opens[inside]))

    def _days_ahead(self, days: int) -> IntArray:
        """(E,) local midnight so many days before each event's."""
        back = datetime.timedelta(days=days)
        start = {day: self._midnight(day - back) for day in set(self._dates)}
        return _int64(start[day] for day in self._dates)

    def _span(self, days: UnknownDays) -> tuple[int, int]:
        """From where a rule of the type begins before the first of these days, to their end."""
        rules = [rule for rule in self.policy.rules if rule.event_type == days.event_type]
        rules = rules or [EventRule(event_type=days.event_type, sessions_before=1)]
        first = self._midnight(days.first)
        end = self._midnight(days.last + datetime.timedelta(days=1))
        if first > self.sessions.closes[-1]:
            return self._midnight(days.first - datetime.timedelta(days=_FARTHEST_DAYS)), end
        before = int(np.searchsorted(self.sessions.closes, first, side="left"))
        return int(self._begin(_int64([before] * len(rules)), rules).min()), end

    def _midnight(self, day: datetime.date) -> int:
        midnight = datetime.datetime.combine(day, datetime.time(), tzinfo=self._zone)
        return math.floor(midnight.timestamp()) * NS_PER_SECOND

    # -- one instant ---------------------------------------------------------------------------

    def _window_between(self, index: int, tickers: tuple[str, ...] | None) -> EventWindow:
        """The window from one change to the next; `index` changes lie at or before it."""
        if not self._changes:
            return EventWindow(sectors=self.sectors, tickers=tickers)
        now = self._changes[index - 1] if index else self._changes[0] - 1
        touched = self._touched(tickers)
        known = (self._known <= now) & (now < self._gone) & touched
        seen = np.flatnonzero(known & (self._listed <= now))
        row_known = (self._row_start <= now) & touched[self._row_event]
        ahead = row_known & (now < self._row_end)
        beyond = self._beyond[self._row_event]
        after = row_known & (self._row_end <= now) & (now < self._row_cool)
        needs = tuple(
            (need, frozenset(self.events[i].symbol for i in rows[known_dates]))
            for need, rows, start in self._dated
            for known_dates in [(start <= now) & (now < self._gone[rows])]
        )
        return EventWindow(
            active=self._rules_in_force(np.flatnonzero(ahead & ~beyond), now),
            upcoming=tuple(self.events[i] for i in seen),
            calendar_unknown=bool((ahead & beyond).any()),
            cooling=self._rules_in_force(np.flatnonzero(after), now),
            unknown=tuple(
                days
                for days, (start, end) in zip(self.unknown, self._spans, strict=True)
                if start <= now < end and (not days.symbol or not tickers or days.symbol in tickers)
            ),
            undated=tuple(self._undated(needs, tickers)),
            needs=needs,
            sectors=self.sectors,
            tickers=tickers,
        )

    def _touching(self, tickers: tuple[str, ...] | None) -> NDArray[np.bool_]:
        """(E,) events that touch one of the tickers."""
        if tickers is None:
            return np.ones(len(self.events), dtype=bool)
        names = frozenset(tickers)
        sectors = {self.sectors.get(ticker) for ticker in names}
        touched = [
            symbol in names if symbol else not sector or sector in sectors or None in sectors
            for symbol, sector in self._scopes
        ]
        return np.array(touched, dtype=bool)[self._scope_of]

    def _rules_in_force(self, rows: IntArray, now: int) -> tuple[ActiveRule, ...]:
        closes, policy = self.sessions.closes, self.policy
        past = {
            lead: int(np.searchsorted(closes, now + lead, side="right"))
            for lead in {0, *self._leads}
        }
        events, numbers = self._row_event[rows], self._row_rule[rows].tolist()
        before = self._closes_before[events]
        left = np.maximum(before - past[0], 0).tolist()
        known = self.events
        active = []
        for i, r, count, closes_left in zip(
            events.tolist(), numbers, before.tolist(), left, strict=True
        ):
            share = 1.0
            if self._sized[r]:
                share = policy.rules[r].share_due(count - past[self._leads[r]])
            active.append(ActiveRule(known[i], policy.rules[r], closes_left, share))
        return tuple(active)

    def _undated(
        self, needs: Sequence[tuple[NeededDate, frozenset[str]]], tickers: tuple[str, ...] | None
    ) -> Iterable[UndatedTicker]:
        for need, dated in needs:
            rules = tuple(r for r in self.policy.rules if r.event_type == need.event_type)
            asked = tickers if tickers is not None else need.tickers or tuple(self.sectors)
            for ticker in dict.fromkeys(asked):
                if need.asks_for(ticker) and ticker not in dated:
                    yield UndatedTicker(ticker, need, rules)


def _int64(values: Iterable[int]) -> IntArray:
    return np.array(list(values), dtype=np.int64)


def _lead(rule: EventRule) -> int:
    """ns by which a size falls due ahead of its close; no other rule waits for a close."""
    return rule.lead_minutes * _NS_PER_MINUTE if rule.share < 1.0 else 0
