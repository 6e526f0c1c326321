"""Gap-risk monitor: scheduled events that tighten caps, block entries and force reductions.

Time to an event is counted in session closes that come strictly before it: 0 closes means that
this is the last chance to act. An event is invisible before its `known_at`, and gone once it is
withdrawn. What nobody knows counts against the book: see `EventWindow.cautions`.
"""

from __future__ import annotations

import bisect
import datetime
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from riskenv.event_policy import ACTIONS, EventPolicy, EventRule, NeededDate
from riskenv.event_window import ActiveRule, EventWindow, UndatedTicker, UnknownDays
from riskenv.events import Event
from riskenv.instruments import NS_PER_SECOND
from riskenv.portfolio_greeks import timestamp
from riskenv.sessions import Sessions

__all__ = [
    "ActiveRule",
    "EventPolicy",
    "EventRule",
    "EventWindow",
    "GapRiskMonitor",
    "NeededDate",
    "UnknownDays",
    "recommended_action",
]

IntArray = NDArray[np.int64]

_EVER, _NEVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max
_NS_PER_MINUTE = 60 * NS_PER_SECOND
# Twenty sessions, the longest rule, span at most this many calendar days.
_FARTHEST_DAYS = 35


class Unknowable(Protocol):
    """Days that no source covers: `riskenv.data.UnknownSpan`, or the like of it."""

    @property
    def event_type(self) -> str: ...
    @property
    def symbol(self) -> str: ...
    @property
    def first(self) -> datetime.date: ...
    @property
    def last(self) -> datetime.date: ...
    @property
    def reason(self) -> str: ...


class GapRiskMonitor:
    """Looks up what is scheduled around an instant; pure in `now`.

    Between two moments at which something changes (an event becomes known or passes, a rule
    begins, a session closes) every instant has the same window, which is kept.

    Args:
        events: the calendar, in any order.
        policy: the rules.
        sessions: the exchange calendar.
        sectors: ticker -> sector, in the words of the events' sectors. A ticker that is not in it
            is touched by the events of every sector.
        unknown: days on which nobody can say whether there is an event (`EventCalendar.unknown`).
            Entries are blocked from where a rule of the type would begin, had the first of them
            an event, to the end of the last.
    """

    def __init__(
        self,
        events: Iterable[Event],
        policy: EventPolicy,
        sessions: Sessions,
        sectors: Mapping[str, str] | None = None,
        unknown: Iterable[Unknowable] = (),
    ) -> None:
        self.policy = policy
        self.sessions = sessions
        self.events = tuple(sorted(events, key=lambda event: event.order))
        self.sectors = dict(sorted((sectors or {}).items()))
        self.unknown = tuple(
            UnknownDays(days.event_type, days.symbol, days.first, days.last, days.reason)
            for days in unknown
        )
        self._zone = ZoneInfo(policy.time_zone)
        self._lay_out()
        self._windows = lru_cache(maxsize=4096)(self._window_between)
        self._touched = lru_cache(maxsize=64)(self._touching)

    def __reduce__(self) -> tuple[Any, ...]:
        return GapRiskMonitor, (
            self.events, self.policy, self.sessions, self.sectors, self.unknown,
        )  # fmt: skip

    def window(self, now: int, tickers: tuple[str, ...] | None = None) -> EventWindow:
        """What is known and near at `now` (ns UTC).

        Args:
            tickers: leave out what touches none of them; None = leave out nothing. Where a policy
                needs dates of every ticker, None stands for those that have a sector.
        """
        return self._windows(bisect.bisect_right(self._changes, now), tickers)

    # -- the calendar laid out in time ---------------------------------------------------------

    def _lay_out(self) -> None:
        """When each event is seen, each rule begins and ends, and hence all moments of change.

        Every span is half open: from its start up to, and without, its end.
        """
        events, closes, policy = self.events, self.sessions.closes, self.policy
        self._times = _int64(event.time for event in events)
        self._dates = [self._local_date(event.time) for event in events]
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
        self._listed = np.maximum(self._known, self._days_ahead(policy.report_days))

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
        start = self._from_close(
            self._closes_before[self._row_event],
            _int64(policy.rules[r].sessions_before for _, r in pairs),
            _int64(self._leads[r] for _, r in pairs),
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

    def _from_close(self, closes_before: IntArray, count: IntArray, lead: IntArray) -> IntArray:
        """Where the last `count` of so many closes begin; from ever where there are not as many."""
        row = closes_before - count
        start = self.sessions.closes[np.clip(row, 0, len(self.sessions.closes) - 1)] - lead
        return np.where(row < 0, _EVER, start)

    def _days_ahead(self, days: int) -> IntArray:
        """(E,) local midnight so many days before each event's."""
        back = datetime.timedelta(days=days)
        start = {day: self._midnight(day - back) for day in set(self._dates)}
        return _int64(start[day] for day in self._dates)

    def _span(self, days: UnknownDays) -> tuple[int, int]:
        """From where a rule of the type begins before the first of these days, to their end."""
        rules = [rule for rule in self.policy.rules if rule.event_type == days.event_type]
        count = max((rule.sessions_before for rule in rules), default=1)
        lead = max((_lead(rule) for rule in rules), default=0)
        first = self._midnight(days.first)
        end = self._midnight(days.last + datetime.timedelta(days=1))
        if first > self.sessions.closes[-1]:
            return self._midnight(days.first - datetime.timedelta(days=_FARTHEST_DAYS)), end
        before = int(np.searchsorted(self.sessions.closes, first, side="left"))
        return int(self._from_close(_int64([before]), _int64([count]), _int64([lead]))[0]), end

    def _midnight(self, day: datetime.date) -> int:
        midnight = datetime.datetime.combine(day, datetime.time(), tzinfo=self._zone)
        return math.floor(midnight.timestamp()) * NS_PER_SECOND

    def _local_date(self, ns: int) -> datetime.date:
        instant = datetime.datetime.fromtimestamp(ns // NS_PER_SECOND, datetime.UTC)
        return instant.astimezone(self._zone).date()

    # -- one instant ---------------------------------------------------------------------------

    def _window_between(self, index: int, tickers: tuple[str, ...] | None) -> EventWindow:
        """The window from one change to the next; `index` changes lie at or before it."""
        if not self._changes:
            return EventWindow(sectors=self.sectors)
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
        events, numbers = self._row_event[rows], self._row_rule[rows]
        before = self._closes_before[events]
        left = np.maximum(before - past[0], 0).tolist()
        active = []
        for n, (i, r) in enumerate(zip(events.tolist(), numbers.tolist(), strict=True)):
            rule, share = policy.rules[r], 1.0
            if self._sized[r]:
                share = rule.share_due(int(before[n]) - past[self._leads[r]])
            active.append(ActiveRule(self.events[i], rule, left[n], share))
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

    # -- the report ----------------------------------------------------------------------------

    def report(
        self,
        now: int,
        gap_loss: float,
        gap_cap: float,
        warn: float,
        extreme: float,
        gap_pnl: NDArray[np.float64],
        hedges: Sequence[NDArray[np.float64]],
        tickers: tuple[str, ...] | None = None,
    ) -> dict[str, Any]:
        """The monitor's output: upcoming events, risk level and recommended action.

        Args:
            gap_loss: worst P&L over the scheduled jumps, <= 0; NaN = Unknown.
            gap_cap: highest loss allowed (currency, inf = none); warn, extreme: shares of it.
            gap_pnl: (G,) P&L of the book under each jump.
            hedges: per ticker touched, (G,) P&L of selling its whole delta in shares.
            tickers: as for `window`.
        """
        window = self.window(now, tickers)
        actions: dict[Event, str] = {}
        for held in (*window.active, *window.cooling):
            strictest = max(actions.get(held.event, "watch"), held.action, key=_strictness)
            actions[held.event] = strictest
        return {
            "upcoming_events": [
                self._row(event, now, actions.get(event, "watch")) for event in window.upcoming
            ],
            "risk_level": _risk_level(window, gap_loss, gap_cap, warn, extreme),
            "recommended_action": recommended_action(window, gap_loss, gap_cap, gap_pnl, hedges),
            "gap_loss": None if math.isnan(gap_loss) else gap_loss,
            "cautions": [
                {"code": c.code, "symbol": c.symbol or "MARKET", "words": c.words}
                for c in window.cautions
            ],
        }

    def _row(self, event: Event, now: int, action: str) -> dict[str, Any]:
        day = self._local_date(event.time)
        last_close = self.last_close_before(event)
        return {
            "symbol": event.symbol or "MARKET",
            "event_type": event.event_type,
            "date": day.isoformat(),
            "days_until": (day - self._local_date(now)).days,
            "action": action,
            "sector": event.sector,
            "importance": event.importance,
            "confidence": event.confidence,
            "source": event.source,
            "deadline": None if last_close is None else timestamp(last_close),
        }

    def last_close_before(self, event: Event) -> int | None:
        """The last chance to act before an event, ns UTC; None beyond the session calendar."""
        closes = self.sessions.closes
        row = int(np.searchsorted(closes, event.time, side="left")) - 1
        return None if row < 0 or event.time > closes[-1] else int(closes[row])


def _int64(values: Iterable[int]) -> IntArray:
    return np.array(list(values), dtype=np.int64)


def _lead(rule: EventRule) -> int:
    """ns by which a rule runs ahead of the closes: only what has to be traded needs that."""
    return rule.lead_minutes * _NS_PER_MINUTE if rule.share < 1.0 else 0


def _strictness(action: str) -> int:
    return [str(known) for known in ACTIONS].index(action)


_RISK_LEVELS = ("normal", "elevated", "high", "critical")


def _risk_level(
    window: EventWindow, gap_loss: float, gap_cap: float, warn: float, extreme: float
) -> str:
    """By the book's own gap loss; what nobody knows has a level of its own at the least."""
    level = 0
    if window.active or window.undated:
        level = _level_of_loss(gap_loss, gap_cap, warn, extreme)
    if window.undated:
        level = max(level, 1)
    if window.unknown:
        level = max(level, 2)
    return "critical" if window.calendar_unknown else _RISK_LEVELS[level]


def _level_of_loss(gap_loss: float, gap_cap: float, warn: float, extreme: float) -> int:
    if math.isnan(gap_loss) or not -gap_loss <= extreme * gap_cap:
        return 3
    if not -gap_loss <= gap_cap:
        return 2
    return 0 if -gap_loss <= warn * gap_cap else 1


def recommended_action(
    window: EventWindow,
    gap_loss: float,
    gap_cap: float,
    gap_pnl: NDArray[np.float64],
    hedges: Sequence[NDArray[np.float64]],
) -> str:
    """What to do before the event, with a number that follows from the gap loss.

    n = ceil(100 (1 - cap / loss)) of the size of what is touched brings the loss inside, the P&L
    of a jump being linear in the size. Selling n % of the delta is recommended instead only where
    it does so for every jump, fully repriced.

    Example:
        >>> window = EventWindow()
        >>> recommended_action(window, -1000.0, 700.0, np.array([-1000.0, 900.0]), [])
        'reduce_size_by_30pct'
        >>> recommended_action(window, -1000.0, 700.0, np.array([-1000.0, 900.0]),
        ...                    [np.array([1000.0, -1000.0])])
        'reduce_delta_by_30pct'
    """
    if math.isnan(gap_loss):
        return "flatten"
    if -gap_loss <= gap_cap:
        return "block_new" if window.block_new else "none"
    total_hedge = np.sum(hedges, axis=0) if hedges else np.zeros_like(gap_pnl)
    for percent in range(1, 101):
        hedged = gap_pnl + percent / 100.0 * total_hedge
        if (hedged >= -gap_cap).all():
            return f"reduce_delta_by_{percent}pct"
    # The slack keeps 30.000000000000004 from becoming 31; outside by a hair still is 1 %.
    percent = max(1, math.ceil(100.0 * (1.0 - gap_cap / -gap_loss) - 1e-9))
    return f"reduce_size_by_{percent}pct"
