"""Gap-risk monitor: scheduled events that tighten caps, block entries and force reductions.

Time to an event is counted in sessions that close strictly before it: a rule holds from the open
of the first of its sessions, and a size falls due before their closes. An event is invisible before
its `known_at`, and gone once it is withdrawn. What nobody knows counts against the book: see
`EventWindow.cautions`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from riskenv.event_implied import implied_moves
from riskenv.event_jumps import Scope, by_scope, past_moves
from riskenv.event_policy import ACTIONS, EventPolicy, EventRule, NeededDate
from riskenv.event_timeline import EventTimeline
from riskenv.event_values import ActiveRule, Caution, UnknownDays
from riskenv.event_window import EventWindow
from riskenv.events import Event
from riskenv.factor_history import FactorHistory
from riskenv.market import Market
from riskenv.portfolio_greeks import timestamp
from riskenv.reasons import Reason
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
        unknown: Iterable[UnknownDays] = (),
    ) -> None:
        self.policy = policy
        self.sessions = sessions
        self.events = tuple(sorted(events, key=lambda event: event.order))
        self.sectors = dict(sorted((sectors or {}).items()))
        self.unknown = tuple(unknown)
        self._timeline = EventTimeline(self.events, policy, sessions, self.sectors, self.unknown)

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
        return self._timeline.window(now, tickers)

    def past_moves(self, now: int, history: FactorHistory) -> NDArray[np.float64]:
        """(2U, J) moves at past events, as jumps of those ahead (`riskenv.event_jumps`)."""
        window = self.window(now, history.underlyings)
        if not window.looking_back:
            return np.zeros((2 * len(history.underlyings), 0))
        return past_moves(window, self._past, history, now)

    def implied_moves(
        self, market: Market, tickers: tuple[str, ...]
    ) -> tuple[NDArray[np.float64], tuple[Caution, ...]]:
        """(2U, J) jumps that quotes imply, and where they do not (`riskenv.event_implied`)."""
        if not self.asks_quotes:
            return np.zeros((2 * len(tickers), 0)), ()
        return implied_moves(self.window(market.now, tickers), market, tickers)

    @cached_property
    def asks_quotes(self) -> bool:
        """Whether any rule takes a jump from quotes."""
        return any(rule.gap_implied > 0.0 for rule in self.policy.rules)

    @cached_property
    def _past(self) -> dict[Scope, tuple[Event, ...]]:
        return by_scope(self.events)

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
        held: Sequence[str] = (),
        orders: Sequence[Reason] = (),
        assignments: Sequence[Reason] = (),
        cautions: Sequence[Caution] = (),
    ) -> dict[str, Any]:
        """The monitor's output: upcoming events, risk level and recommended action.

        Args:
            gap_loss: worst P&L over the scheduled jumps, <= 0; NaN = Unknown.
            gap_cap: highest loss allowed (currency, inf = none); warn, extreme: shares of it.
            gap_pnl: (G,) P&L of the book under each jump.
            hedges: per ticker touched, (G,) P&L of selling its whole delta in shares.
            tickers: as for `window`; held: of them, those in which there is a position.
            orders: why working orders should be cancelled (`riskenv.event_orders`).
            assignments: short calls that may be assigned (`riskenv.event_assignments`).
            cautions: those of `implied_moves`.
        """
        window = self.window(now, tickers)
        actions: dict[Event, str] = {}
        for active in (*window.active, *window.cooling):
            strictest = max(actions.get(active.event, "watch"), active.action, key=_strictness)
            actions[active.event] = strictest
        return {
            "upcoming_events": [
                self._row(event, now, actions.get(event, "watch")) for event in window.upcoming
            ],
            "risk_level": _risk_level(window, gap_loss, gap_cap, warn, extreme),
            "recommended_action": recommended_action(
                window, gap_loss, gap_cap, gap_pnl, hedges, held
            ),
            "gap_loss": None if math.isnan(gap_loss) else gap_loss,
            "cautions": [
                {"code": c.code, "symbol": c.symbol or "MARKET", "words": c.words}
                for c in (*window.cautions, *cautions)
            ],
            "orders_to_cancel": [
                {"code": why.code, "order": why.measure, "words": why.words} for why in orders
            ],
            "assignment_risks": [
                {"contract": why.measure, "words": why.words} for why in assignments
            ],
        }

    def _row(self, event: Event, now: int, action: str) -> dict[str, Any]:
        day = self._timeline.local_date(event.time)
        last_close = self.last_close_before(event)
        return {
            "symbol": event.symbol or "MARKET",
            "event_type": event.event_type,
            "date": day.isoformat(),
            "days_until": (day - self._timeline.local_date(now)).days,
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
    held: Sequence[str] = (),
) -> str:
    """What to do before the event, with a number that follows from the gap loss.

    n = ceil(100 (1 - cap / loss)) of the size of what is touched brings the loss inside, the P&L
    of a jump being linear in the size. Selling n % of the delta is recommended instead only where
    it does so for every jump, fully repriced. What is not known, and a ticker held that has to be
    flat by now, is a case for "flatten".

    Args:
        window: from `GapRiskMonitor.window`.
        gap_loss, gap_cap, gap_pnl, hedges, held: as in `GapRiskMonitor.report`.

    Example:
        >>> window = EventWindow()
        >>> recommended_action(window, -1000.0, 700.0, np.array([-1000.0, 900.0]), [])
        'reduce_size_by_30pct'
        >>> recommended_action(window, -1000.0, 700.0, np.array([-1000.0, 900.0]),
        ...                    [np.array([1000.0, -1000.0])])
        'reduce_delta_by_30pct'
    """
    if math.isnan(gap_loss) or any(window.size_fraction(ticker) == 0.0 for ticker in held):
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
