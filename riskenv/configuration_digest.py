"""One digest of all that a decision follows from besides the state, the book and the market."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from riskenv.canonical import digest
from riskenv.factor_history import FactorHistory
from riskenv.gap_risk_monitor import GapRiskMonitor
from riskenv.limits import RiskLimits
from riskenv.sessions import Sessions
from riskenv.var_config import VarConfig


def configuration_digest(
    limits: RiskLimits,
    var: VarConfig,
    monitor: GapRiskMonitor,
    sessions: Sessions,
    history: FactorHistory | None,
) -> str:
    """sha256 over limits, VaR, event policy, calendar, sectors, sessions and history, hex.

    Two layers that differ in any of it differ in it; the order in which events were listed does
    not count.

    Example:
        >>> from riskenv import Caps, Event, EventPolicy
        >>> days = Sessions(np.array([10, 20]), np.array([15, 25]))
        >>> def of(*events, limits=RiskLimits(caps=Caps())):
        ...     monitor = GapRiskMonitor(events, EventPolicy(), days)
        ...     return configuration_digest(limits, VarConfig(), monitor, days, None)
        >>> len(of()), of() == of(Event("cpi", 22, 5))
        (64, False)
    """
    return digest(
        {
            "limits": limits.model_dump(mode="json"),
            "var": var.model_dump(mode="json"),
            "event_policy": monitor.policy.model_dump(mode="json"),
            "events": [event.order for event in monitor.events],
            "sectors": monitor.sectors,
            "unknown_days": [
                (d.event_type, d.symbol, d.first.isoformat(), d.last.isoformat(), d.reason)
                for d in monitor.unknown
            ],
            "sessions": [_of_array(sessions.opens), _of_array(sessions.closes)],
            "history": None if history is None else [
                history.underlyings, _of_array(history.times), _of_array(history.log_return),
                _of_array(history.log_vol_change),
                None if history.overnight is None else _of_array(history.overnight),
            ],
        }
    )  # fmt: skip


def _of_array(values: NDArray[Any]) -> list[Any]:
    """Shape and sha256 of the little-endian bytes."""
    plain = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return [str(plain.dtype), values.shape, hashlib.sha256(plain.tobytes()).hexdigest()]
