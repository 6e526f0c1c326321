"""Gap-risk monitor: scheduled events that tighten caps, block entries and force reductions.

Time to an event is counted in session closes that come strictly before it: 0 closes means that
this is the last chance to act. An event is invisible before its `known_at`.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from riskenv.config import Config
from riskenv.events import Event
from riskenv.instruments import NS_PER_SECOND
from riskenv.scenarios import GapJump
from riskenv.sessions import CalendarRangeError, Sessions


class EventRule(Config):
    """What one type of event does to the caps.

    Attributes:
        event_type: the type it applies to, as in `Event.event_type`.
        sessions_before: the rule holds at the last this many closes before the event, and from
            the moment that leaves no more of them.
        cap_multiplier: factor on every exposure and tail cap meanwhile.
        block_new: only reductions pass meanwhile.
        reduce: a book outside the tightened caps is reduced at once, not merely kept from growing.
        gap_log_return: size of the jump, tried up and down, as a log return; 0 = none.
        gap_log_vol_change: log change of implied volatility that comes with the jump.
    """

    event_type: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    sessions_before: int = Field(ge=1, le=20)
    cap_multiplier: float = Field(default=1.0, gt=0.0, le=1.0)
    block_new: bool = False
    reduce: bool = False
    gap_log_return: float = Field(default=0.0, ge=0.0, lt=1.0)
    gap_log_vol_change: float = Field(default=0.0, ge=-1.0, le=2.0)


class EventPolicy(Config):
    """Rules by event type, and how far ahead the report looks."""

    rules: tuple[EventRule, ...] = ()
    report_days: int = Field(default=10, ge=1, le=60)
    time_zone: str = "America/New_York"


@dataclass(frozen=True, slots=True)
class ActiveRule:
    """A rule in force, for one event, with the closes left before it."""

    event: Event
    rule: EventRule
    closes_before: int

    @property
    def action(self) -> str:
        if self.rule.reduce:
            return "reduce_size"
        if self.rule.block_new:
            return "block_new"
        return "tighten" if self.rule.cap_multiplier < 1.0 else "watch"


@dataclass(frozen=True)
class EventWindow:
    """What the calendar says at one instant.

    Attributes:
        active: rules in force.
        upcoming: known events within the policy's report window, each with its rule if it has one.
        calendar_unknown: the session calendar ends before an event's time can be counted: fail
            towards caution, entries are blocked.
    """

    active: tuple[ActiveRule, ...] = ()
    upcoming: tuple[tuple[Event, EventRule | None], ...] = ()
    calendar_unknown: bool = False

    @property
    def cap_multiplier(self) -> float:
        return min((a.rule.cap_multiplier for a in self.active), default=1.0)

    @property
    def block_new(self) -> bool:
        return self.calendar_unknown or any(a.rule.block_new for a in self.active)

    @property
    def reduce(self) -> bool:
        return any(a.rule.reduce for a in self.active)

    @property
    def jumps(self) -> tuple[GapJump, ...]:
        """Up and down jump of every active event, each once."""
        return tuple(
            dict.fromkeys(
                GapJump(a.event.symbol, sign * a.rule.gap_log_return, a.rule.gap_log_vol_change)
                for a in self.active
                if a.rule.gap_log_return > 0.0
                for sign in (-1.0, 1.0)
            )
        )


class GapRiskMonitor:
    """Looks up what is scheduled around an instant; pure in `now`.

    Args:
        events: the calendar, in any order.
        policy: the rules.
        sessions: the exchange calendar.
    """

    def __init__(self, events: Iterable[Event], policy: EventPolicy, sessions: Sessions) -> None:
        self.policy = policy
        self.sessions = sessions
        self.events = tuple(sorted(events, key=_LISTING))
        self._times = [event.time for event in self.events]
        self._zone = ZoneInfo(policy.time_zone)
        self._rules: dict[str, EventRule] = {}
        for rule in policy.rules:
            if rule.event_type in self._rules:
                raise ValueError(f"rules: {rule.event_type!r} has two rules; allowed: one each")
            self._rules[rule.event_type] = rule
        self.window = lru_cache(maxsize=4096)(self._window)

    def __reduce__(self) -> tuple[Any, ...]:
        return GapRiskMonitor, (self.events, self.policy, self.sessions)

    def _window(self, now: int) -> EventWindow:
        """What is known and near at `now`."""
        active, upcoming, unknown = [], [], False
        today = self._local_date(now)
        for event in self.events[bisect.bisect_left(self._times, now) :]:
            days = (self._local_date(event.time) - today).days
            if days > max(self.policy.report_days, _FARTHEST_DAYS):
                break
            if event.known_at > now:
                continue
            rule = self._rules.get(event.event_type)
            if days <= self.policy.report_days:
                upcoming.append((event, rule))
            if rule is None:
                continue
            try:
                left = self.sessions.closes_between(now, event.time)
            except CalendarRangeError:
                unknown = True
                continue
            if left < rule.sessions_before:
                active.append(ActiveRule(event, rule, left))
        return EventWindow(tuple(active), tuple(upcoming), unknown)

    def _local_date(self, ns: int) -> Any:
        return datetime.fromtimestamp(ns // NS_PER_SECOND, UTC).astimezone(self._zone).date()

    def report(
        self,
        now: int,
        gap_loss: float,
        gap_cap: float,
        warn: float,
        extreme: float,
        gap_pnl: NDArray[np.float64],
        hedges: Sequence[NDArray[np.float64]],
    ) -> dict[str, Any]:
        """The monitor's output: upcoming events, risk level and recommended action.

        Args:
            gap_loss: worst P&L over the scheduled jumps, <= 0; NaN = Unknown.
            gap_cap: highest loss allowed (currency, inf = none); warn, extreme: shares of it.
            gap_pnl: (G,) P&L of the book under each jump.
            hedges: per ticker touched, (G,) P&L of selling its whole delta in shares.
        """
        window = self.window(now)
        today = self._local_date(now)
        held = {a.event: a for a in window.active}
        upcoming = [
            {
                "symbol": event.symbol or "MARKET",
                "event_type": event.event_type,
                "date": self._local_date(event.time).isoformat(),
                "days_until": (self._local_date(event.time) - today).days,
                "action": held[event].action if event in held else "watch",
            }
            for event, _ in window.upcoming
        ]
        return {
            "upcoming_events": upcoming,
            "risk_level": self._risk_level(window, gap_loss, gap_cap, warn, extreme),
            "recommended_action": recommended_action(window, gap_loss, gap_cap, gap_pnl, hedges),
            "gap_loss": None if math.isnan(gap_loss) else gap_loss,
        }

    @staticmethod
    def _risk_level(
        window: EventWindow, gap_loss: float, gap_cap: float, warn: float, extreme: float
    ) -> str:
        if not window.active and not window.calendar_unknown:
            return "normal"
        if window.calendar_unknown or math.isnan(gap_loss):
            return "critical"
        if not -gap_loss <= extreme * gap_cap:
            return "critical"
        if not -gap_loss <= gap_cap:
            return "high"
        return "normal" if -gap_loss <= warn * gap_cap else "elevated"


# Every attribute, so that the order in which a calendar lists its events changes nothing.
_LISTING = attrgetter("time", "event_type", "symbol", "known_at", "known_at_assumed", "source")
# Twenty sessions, the longest rule, span at most this many calendar days.
_FARTHEST_DAYS = 35


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
