"""The circuit breaker: a ladder of rungs, and the small state that decides which one holds."""

from __future__ import annotations

import enum
import hashlib
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from riskenv.canonical import digest
from riskenv.limits import RiskLimits


class Rung(enum.IntEnum):
    """What may pass. From BLOCK_NEW up only reductions do; HALTED lets nothing through."""

    NORMAL = 0
    WARN = 1
    BLOCK_NEW = 2
    REDUCE = 3
    FLATTEN = 4
    HALTED = 5


@dataclass(frozen=True, slots=True)
class BreakerState:
    """All that a decision remembers. A value: saved, restored, hashed and compared.

    Attributes:
        rung: the rung that holds; since_session: index of the session in which it was entered.
        session: index of the last session assessed, -1 before the first.
        day_start_equity: equity at the end of the session before, or at the first assessment.
        high_water_mark, last_equity: currency. NaN before the first known equity.
        halt_reason: why an operator halted; "" if not.
    """

    rung: Rung = Rung.NORMAL
    since_session: int = -1
    session: int = -1
    day_start_equity: float = math.nan
    high_water_mark: float = math.nan
    last_equity: float = math.nan
    halt_reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        values["rung"] = self.rung.name
        return {k: None if v != v else v for k, v in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BreakerState:
        """Inverse of `to_dict`.

        Example:
            >>> state = BreakerState(rung=Rung.WARN, session=3, last_equity=10.0)
            >>> BreakerState.from_dict(state.to_dict()).digest == state.digest
            True
        """
        restored: dict[str, Any] = {k: math.nan if v is None else v for k, v in values.items()}
        restored["rung"] = Rung[values["rung"]]
        return cls(**restored)

    @property
    def digest(self) -> str:
        return digest(self.to_dict())


def mark_equity(
    state: BreakerState, equity: float, session: int, external_flow: float = 0.0
) -> BreakerState:
    """Roll the day where a new session began, and raise the high-water mark.

    Money paid in or out since the last call (`external_flow`, in > 0) is neither gain nor loss:
    it moves the day's start, the high-water mark and the last known equity with it.

    Raises:
        ValueError: the session lies before the last one assessed, or the flow is not finite, which
            would wipe out the marks that losses are counted from.
    """
    if not math.isfinite(external_flow):
        raise ValueError(f"external_flow: got {external_flow!r}; allowed: a finite amount")
    if session < state.session:
        raise ValueError(
            f"session: got {session}; allowed: {state.session} or later - time does not go back"
        )
    day_start, high = state.day_start_equity, state.high_water_mark
    if session > state.session and not math.isnan(state.last_equity):
        day_start = state.last_equity
    day_start, high = day_start + external_flow, high + external_flow
    if not math.isfinite(equity):  # Unknown: an infinite mark would never be forgotten
        last = state.last_equity + external_flow
        return replace(
            state,
            session=session,
            day_start_equity=day_start,
            high_water_mark=high,
            last_equity=last,
        )
    return replace(
        state,
        session=session,
        day_start_equity=equity if math.isnan(day_start) else day_start,
        high_water_mark=equity if math.isnan(high) else max(high, equity),
        last_equity=equity,
    )


def climb(state: BreakerState, demanded: Rung, released: Rung, limits: RiskLimits) -> BreakerState:
    """Move to a higher rung at once; to a lower one only after the dwell time.

    Args:
        demanded: the rung the book calls for now.
        released: the rung it calls for when every level is lowered to the release level; what
            lies between the two is the band in which the present rung is kept.
    """
    if state.rung == Rung.HALTED:
        return state
    if demanded > state.rung:
        return replace(state, rung=demanded, since_session=state.session)
    target = max(demanded, min(released, state.rung))
    if target < state.rung and state.session - state.since_session >= limits.dwell_sessions:
        return replace(state, rung=target, since_session=state.session)
    return state


def halt(state: BreakerState, reason: str) -> BreakerState:
    """An operator stops everything.

    Raises:
        ValueError: no reason given.
    """
    if not reason:
        raise ValueError("reason: got ''; allowed: why the book is halted")
    return replace(state, rung=Rung.HALTED, since_session=state.session, halt_reason=reason)


def resume(state: BreakerState, token: str, limits: RiskLimits) -> BreakerState:
    """Leave HALTED for BLOCK_NEW; the next assessment decides how far down from there.

    Raises:
        PermissionError: not halted, no token configured, or the wrong token.

    Example:
        >>> from riskenv.limits import Caps
        >>> secret = hashlib.sha256(b"open sesame").hexdigest()
        >>> limits = RiskLimits(caps=Caps(), operator_token_sha256=secret)
        >>> resume(halt(BreakerState(), "fat finger"), "open sesame", limits).rung.name
        'BLOCK_NEW'
        >>> resume(halt(BreakerState(), "fat finger"), "please", limits)
        Traceback (most recent call last):
            ...
        PermissionError: token: not the operator's
    """
    if state.rung != Rung.HALTED:
        raise PermissionError(f"rung: got {state.rung.name}; only HALTED is resumed")
    if limits.operator_token_sha256 is None:
        raise PermissionError("operator_token_sha256: none configured; this halt is final")
    if hashlib.sha256(token.encode()).hexdigest() != limits.operator_token_sha256:
        raise PermissionError("token: not the operator's")
    return replace(state, rung=Rung.BLOCK_NEW, since_session=state.session, halt_reason="")
