"""The decision and its reasons, as a value that says itself in words, in codes and in bytes."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from riskenv import canonical
from riskenv.admissibility import used_of
from riskenv.canonical import number
from riskenv.circuit_breaker import BreakerState, Rung
from riskenv.instruments import InstrumentTable
from riskenv.measures import point
from riskenv.order_checks import Order
from riskenv.portfolio_greeks import timestamp
from riskenv.reasons import Alert, Reason

FloatArray = NDArray[np.float64]


class Verdict(enum.StrEnum):
    """ALLOW: as asked. RESIZE: another admissible trade in its place. BLOCK: nothing is done.
    REDUCE: a reduction ordered by the layer, with what remained admissible of the request.
    VIOLATE: no row may pass and none is empty; the one named violates the caps least. Whoever can
    do nothing does nothing then."""

    ALLOW = "ALLOW"
    RESIZE = "RESIZE"
    BLOCK = "BLOCK"
    REDUCE = "REDUCE"
    VIOLATE = "VIOLATE"


@dataclass(frozen=True, eq=False)
class Decision:
    """What is to be done, and why.

    Attributes:
        now: int64 nanoseconds UTC.
        verdict: see `Verdict`.
        row: row of the proposal that is to be done; asked: the one asked for.
        table: instruments of the columns.
        trades: (n,) signed contracts to be done.
        names: (K,) of the measures: `riskenv.measures.MEASURES`, then the scoped ones.
        before_interval, after_interval: (2, K) ends of each measure without and with them.
        low, high: (K,) caps in force.
        used_before: (K,) share of each cap in use without the trades.
        rung: the rung that held.
        reasons, alerts: () when the request passed unchanged.
        passive: measures that were outside their cap before it.
        equity: currency; NaN = Unknown.
        state: of the breaker, that it was made with.
        config_digest: of the configuration.
        order: to be sent, which is what the trades are then; None = none is.
    """

    now: int
    verdict: Verdict
    row: int
    asked: int
    table: InstrumentTable
    trades: FloatArray
    names: tuple[str, ...]
    before_interval: FloatArray
    after_interval: FloatArray
    low: FloatArray
    high: FloatArray
    used_before: FloatArray
    rung: Rung
    reasons: tuple[Reason, ...]
    alerts: tuple[Alert, ...]
    passive: tuple[str, ...]
    equity: float
    state: BreakerState
    config_digest: str
    order: Order | None = None

    @property
    def before(self) -> FloatArray:
        """(K,) measures of the book without the trades; NaN where the ends are not one."""
        return point(self.before_interval)

    @property
    def after(self) -> FloatArray:
        """(K,) measures of the book with the trades; NaN where the ends are not one."""
        return point(self.after_interval)

    @cached_property
    def used_after(self) -> FloatArray:
        """(K,) share of each cap in use with the trades."""
        return used_of(self.after_interval, self.low, self.high)

    @cached_property
    def active(self) -> tuple[str, ...]:
        """Measures that this decision itself leaves further outside their cap.

        Always empty but for `least_violating`. What was Unknown before and after is not judged.
        """
        if not self.trades.any():
            return ()
        before, after = self.used_before, self.used_after
        worse = np.isfinite(self.low) | np.isfinite(self.high)
        worse &= ~(after <= 1.0) & ~(after <= before) & ~(np.isnan(before) & np.isnan(after))
        return tuple(self.names[j] for j in np.flatnonzero(worse))

    @property
    def changed(self) -> bool:
        """Whether something other than the request is done."""
        return self.row != self.asked

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready. A measure that is Unknown, and a cap that does not exist, are None.

        A measure that is an interval has its ends under "before_interval" or "after_interval".
        """
        before, after = self.before, self.after
        return {
            "timestamp": timestamp(self.now),
            "now": self.now,
            "verdict": self.verdict.value,
            "row": self.row,
            "asked": self.asked,
            "trades": {
                self.table.symbols[i]: number(self.trades[i]) for i in np.flatnonzero(self.trades)
            },
            "measures": {
                name: {
                    "before": number(before[j]),
                    "after": number(after[j]),
                    **_ends("before_interval", self.before_interval[:, j]),
                    **_ends("after_interval", self.after_interval[:, j]),
                    "cap_low": number(self.low[j]),
                    "cap_high": number(self.high[j]),
                    "headroom": number(self._headroom(j)),
                    "used_before": number(self.used_before[j]),
                    "used_after": number(self.used_after[j]),
                    "verdict": self._measure_verdict(j),
                }
                for j, name in enumerate(self.names)
            },
            "rung": self.rung.name,
            "reasons": [
                {"code": r.code, "measure": r.measure, "words": r.words} for r in self.reasons
            ],
            "alerts": [
                {"level": a.level, "code": a.code, "measure": a.measure} for a in self.alerts
            ],
            "active_breaches": list(self.active),
            "passive_breaches": list(self.passive),
            "equity": number(self.equity),
            "state_digest": self.state.digest,
            "config_digest": self.config_digest,
            "order": None if self.order is None else self.order.to_dict(),
        }

    def _headroom(self, j: int) -> float:
        """What is left to the nearer cap; infinite where there is none."""
        least, most = self.after_interval[:, j]
        up = self.high[j] - most if np.isfinite(self.high[j]) else np.inf
        down = least - self.low[j] if np.isfinite(self.low[j]) else np.inf
        return float(min(up, down))

    def _measure_verdict(self, j: int) -> str:
        if np.isinf(self.low[j]) and np.isinf(self.high[j]):
            return "uncapped"
        least, most = self.after_interval[:, j]
        if np.isnan(least) or np.isnan(most):
            return "unknown"
        return "inside" if self.low[j] <= least and most <= self.high[j] else "outside"

    def to_bytes(self) -> bytes:
        """Canonical JSON: the same inputs give the same bytes, in training and live."""
        return canonical.to_bytes(self.to_dict())


def _ends(key: str, ends: FloatArray) -> dict[str, Any]:
    """{key: [low, high]} of an interval; nothing where its ends are one, or not known."""
    if ends[0] == ends[1] or np.isnan(ends).any():
        return {}
    return {key: [number(ends[0]), number(ends[1])]}
