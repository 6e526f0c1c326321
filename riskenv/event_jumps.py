"""Jumps as they were: the joint moves over past events of a kind, for those still to come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from riskenv.event_window import EventWindow
from riskenv.events import Event
from riskenv.factor_history import FactorHistory
from riskenv.instruments import NS_PER_DAY

# The close after an event lies at most this far behind it, over the longest of holidays.
_FARTHEST = 7 * NS_PER_DAY

Scope = tuple[str, str, str]


def by_scope(events: Iterable[Event]) -> dict[Scope, tuple[Event, ...]]:
    """Events that took place, in order of time, by (type, symbol, sector).

    Example:
        >>> held, called_off = Event("cpi", 30, 10), Event("cpi", 40, 10, withdrawn_at=20)
        >>> by_scope([held, called_off]) == {("cpi", "", ""): (held,)}
        True
    """
    found: dict[Scope, list[Event]] = {}
    for event in sorted(events, key=lambda e: e.order):
        if event.withdrawn_at is None:
            scope = (event.event_type, event.symbol, event.sector)
            found.setdefault(scope, []).append(event)
    return {scope: tuple(some) for scope, some in found.items()}


def past_moves(
    window: EventWindow,
    past: Mapping[Scope, Sequence[Event]],
    history: FactorHistory,
    now: int,
) -> NDArray[np.float64]:
    """(2U, J) log spot and then log volatility moves, as a block of scenarios.

    For each rule in force that asks for them (`EventRule.gap_history_days`): the moves from the
    last close before to the first close after each past event of its type and scope, of all that
    such an event touches at once, and their mirror images in spot. Dates on which one of these
    has no move are skipped. Nothing dated after `now` is looked at.

    Args:
        past: from `by_scope`.
    """
    tickers, known = history.underlyings, int(np.searchsorted(history.times, now, side="right"))
    columns: list[NDArray[np.float64]] = []
    for symbol, sector, rule in window.looking_back:
        touched = np.array([window.touches(symbol, sector, ticker) for ticker in tickers])
        if not touched.any():
            continue  # no past move of it is known; the jump of the rule counts alone
        earliest = now - rule.gap_history_days * NS_PER_DAY
        times = [
            event.time
            for event in past.get((rule.event_type, symbol, sector), ())
            if earliest <= event.time <= now and rule.applies_to(event)
        ]
        rows = np.searchsorted(history.times, times, side="left")
        for row, time in zip(rows.tolist(), times, strict=True):
            if row >= known or history.times[row] - time > _FARTHEST:
                continue
            spot, vol = history.log_return[row], history.log_vol_change[row]
            if not (np.isfinite(spot) & np.isfinite(vol))[touched].all():
                continue
            spot, vol = np.where(touched, spot, 0.0), np.where(touched, vol, 0.0)
            columns += [np.concatenate([spot, vol]), np.concatenate([0.0 - spot, vol])]
    if not columns:
        return np.zeros((2 * len(tickers), 0))
    return np.stack(columns, axis=1)
