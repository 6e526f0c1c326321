"""The circuit breaker: a ladder of rungs, and the small state that decides which one holds."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from operator import index
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from riskenv.arguments import require
from riskenv.canonical import digest, number
from riskenv.config import Config, load_config
from riskenv.event_reductions import SizeBefore
from riskenv.expiry_buckets import EXPIRY_BUCKETS
from riskenv.instruments import Instrument
from riskenv.limits import RiskLimits
from riskenv.loss_confirmation import LossWindow
from riskenv.operator_token import check_token
from riskenv.order_window import OrderWindow, SavedWindow
from riskenv.sessions import Sessions


class Rung(enum.IntEnum):
    """What may pass. From BLOCK_NEW up only reductions do; HALTED lets nothing through."""

    NORMAL = 0
    WARN = 1
    BLOCK_NEW = 2
    REDUCE = 3
    FLATTEN = 4
    HALTED = 5


@dataclass(frozen=True, slots=True)
class ScopeRung:
    """The rung of one scope that has caps of its own.

    Attributes:
        scope: "underlying:SPX", "expiry:0-1d", "strategy:condor".
        rung: from WARN to REDUCE; entered_at: instant it was entered, nanoseconds UTC.

    Example:
        >>> ScopeRung("underlying:SPX", Rung.WARN, 0).rung.name
        'WARN'
    """

    scope: str
    rung: Rung
    entered_at: int


# What may have caps of its own, and with them a rung.
SCOPES = ("underlying", "expiry", "strategy")
_NOTHING_OBSERVED = LossWindow()
_TERMS = tuple(field.name for field in fields(Instrument))
_NOTHING_SENT = OrderWindow()


@dataclass(frozen=True, slots=True, eq=False)
class BreakerState:
    """All that a decision remembers. A value: saved, restored, hashed and compared.

    Attributes:
        rung: the rung of the whole book; entered_at: instant it was entered, nanoseconds UTC; None
            = by the next assessment, with which its dwell begins.
        session: index of the last session assessed, -1 before the first.
        day_start_equity: equity at the end of the session before, or at the first assessment.
        high_water_mark, last_equity: currency. NaN before the first known equity. The mark is the
            highest equity ever assessed, be it of one tick: a false one stops what adds risk until
            an operator re-bases it (`resume`), and closes nothing, since `losses` has marks that
            were confirmed. Those given here before the first assessment count as confirmed.
        halt_reason: why an operator last halted; "" if none ever did.
        resume_reason: why that halt was left; "" if it was not.
        rebased_from: the high-water mark that the last re-basing gave up; NaN if none did.
        assessed_at: instant of the last assessment, nanoseconds UTC; None before the first.
        losses: the observations that confirm an extreme loss.
        event_sizes: positions before the first step of a size that is due before an event.
        orders: what was sent, and which strategies are off.
        scopes: of the scopes with caps of their own those that are above NORMAL, by name.
    """

    rung: Rung = Rung.NORMAL
    entered_at: int | None = None
    session: int = -1
    day_start_equity: float = math.nan
    high_water_mark: float = math.nan
    last_equity: float = math.nan
    halt_reason: str = ""
    resume_reason: str = ""
    rebased_from: float = math.nan
    assessed_at: int | None = None
    losses: LossWindow = _NOTHING_OBSERVED
    event_sizes: tuple[SizeBefore, ...] = ()
    orders: OrderWindow = _NOTHING_SENT
    scopes: tuple[ScopeRung, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; null for NaN."""
        values = _plain(self)
        return {
            **values,
            "rung": self.rung.name,
            "losses": _plain(self.losses),
            "event_sizes": [
                {**{name: getattr(b.instrument, name) for name in _TERMS}, "contracts": b.contracts}
                for b in self.event_sizes
            ],
            "orders": self.orders.to_dict(),
            "scopes": [
                {"scope": s.scope, "rung": s.rung.name, "entered_at": s.entered_at}
                for s in self.scopes
            ],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BreakerState:
        """Inverse of `to_dict`.

        Raises:
            ConfigError: a key is unknown, missing or of a wrong type; a number is NaN or infinite;
                some but not all of the three equities are known.

        Example:
            >>> state = BreakerState(Rung.WARN, 0, 3, 10.0, 12.0, 11.0)
            >>> BreakerState.from_dict(state.to_dict()) == state
            True
            >>> BreakerState.from_dict({**state.to_dict(), "rung": "CALM"})
            Traceback (most recent call last):
                ...
            riskenv.config.ConfigError: SavedBreakerState is not valid:
              rung: got 'CALM'; input should be 'NORMAL', 'WARN', 'BLOCK_NEW', ... or 'HALTED'
        """
        saved = load_config(SavedBreakerState, values)
        losses = LossWindow(**_known(saved.losses))
        sizes = tuple(before.size for before in saved.event_sizes)
        scopes = tuple(ScopeRung(s.scope, Rung[s.rung], s.entered_at) for s in saved.scopes)
        known = {**_known(saved), "rung": Rung[saved.rung], "losses": losses, "event_sizes": sizes}
        orders = OrderWindow.restored(saved.orders)
        return cls(**{**known, "orders": orders, "scopes": scopes})

    # By what is saved, because a NaN differs from itself.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, BreakerState) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def digest(self) -> str:
        return digest(self.to_dict())


def _plain(value: BreakerState | LossWindow) -> dict[str, Any]:
    items = {field.name: getattr(value, field.name) for field in fields(value)}
    return {k: number(v) if isinstance(v, float) else v for k, v in items.items()}


def _known(saved: Config) -> dict[str, Any]:
    """The fields, with NaN for the amounts that are null."""
    return {k: math.nan if v is None and k in _MONEY else v for k, v in dict(saved).items()}


class _SavedLosses(Config):
    observed_at: int | None
    equities: tuple[float, ...]
    extreme: tuple[bool, ...]
    day_start: float | None
    high: float | None


class _SavedSize(Config):
    underlying: str
    right: str
    strike: float
    expiry: int
    multiplier: float
    currency: str
    exercise: str
    on_future: bool
    contracts: float

    @property
    def size(self) -> SizeBefore:
        terms = self.model_dump(exclude={"contracts"})
        return SizeBefore(Instrument(**terms), self.contracts)

    @model_validator(mode="after")
    def _is_one(self) -> _SavedSize:
        _ = self.size
        return self


class _SavedScope(Config):
    scope: str = Field(min_length=1)
    rung: Literal["WARN", "BLOCK_NEW", "REDUCE"]
    entered_at: int

    @field_validator("scope")
    @classmethod
    def _is_one(cls, scope: str) -> str:
        kind, _, name = scope.partition(":")
        if not name or kind not in SCOPES or (kind == "expiry" and name not in EXPIRY_BUCKETS):
            allowed = f"one of {', '.join(SCOPES)}, a colon and its name"
            raise ValueError(f"allowed: {allowed}; an expiry's is one of {EXPIRY_BUCKETS}")
        return scope


class SavedBreakerState(Config):
    """What `BreakerState.to_dict` writes: every key is there, and null is Unknown."""

    rung: Literal["NORMAL", "WARN", "BLOCK_NEW", "REDUCE", "FLATTEN", "HALTED"]
    entered_at: int | None
    session: int = Field(ge=-1)
    day_start_equity: float | None
    high_water_mark: float | None
    last_equity: float | None
    halt_reason: str
    resume_reason: str
    rebased_from: float | None
    assessed_at: int | None
    losses: _SavedLosses
    event_sizes: tuple[_SavedSize, ...]
    orders: SavedWindow
    scopes: tuple[_SavedScope, ...]

    @field_validator("scopes")
    @classmethod
    def _each_once(cls, scopes: tuple[_SavedScope, ...]) -> tuple[_SavedScope, ...]:
        names = [scope.scope for scope in scopes]
        if names != sorted(set(names)):
            raise ValueError(f"allowed: each scope once, by name; got {names}")
        return scopes

    @model_validator(mode="after")
    def _no_mark_lost(self) -> SavedBreakerState:
        marks = (self.day_start_equity, self.high_water_mark, self.last_equity)
        if len({mark is None for mark in marks}) > 1:
            raise ValueError(
                f"day_start_equity, high_water_mark, last_equity: got {marks}; "
                "allowed: three amounts or three nulls"
            )
        return self


_MONEY = frozenset(
    ("day_start_equity", "high_water_mark", "last_equity", "rebased_from", "day_start", "high")
)


# -- what moves it ------------------------------------------------------------------------------


def mark_equity(
    state: BreakerState,
    equity: float,
    now: int,
    sessions: Sessions,
    limits: RiskLimits,
    external_flow: float = 0.0,
) -> BreakerState:
    """Roll the day where a new session began, raise the high-water mark, and observe the losses.

    Money paid in or out since the last call (`external_flow`, in > 0) is neither gain nor loss:
    it moves the day's start, the high-water mark and every equity remembered with it. An equity
    that is not finite is Unknown and sets no mark.

    Raises:
        ValueError: `now` lies before the last assessment, or the flow is not finite, which would
            wipe out the marks that losses are counted from.
        CalendarRangeError: `now`, or the last assessment, lies outside the calendar.
    """
    if not math.isfinite(external_flow):
        raise ValueError(f"external_flow: got {external_flow!r}; allowed: a finite amount")
    now = index(now)
    state = _placed_in(state, sessions)
    session = sessions.session_of(now)
    if session < state.session:
        raise ValueError(
            f"session: got {session}; allowed: {state.session} or later - time does not go back"
        )
    if state.assessed_at is not None and now < state.assessed_at:
        raise ValueError(
            f"now: got {now}; allowed: {state.assessed_at} or later - time does not go back"
        )
    day_start = state.day_start_equity + external_flow
    high = state.high_water_mark + external_flow
    last = state.last_equity + external_flow
    if math.isinf(day_start) or math.isinf(high) or math.isinf(last):
        raise ValueError(f"external_flow: got {external_flow!r}; allowed: what a float can add up")
    losses = state.losses.moved(external_flow) if external_flow else state.losses
    if session > state.session and not math.isnan(last):
        day_start = last
        losses = losses.rolled(day_start, limits)
    if not losses.equities:  # marks without an observation were set by hand
        losses = losses.taking(day_start, high)
    if math.isfinite(equity):  # an infinite mark would never be forgotten
        day_start = equity if math.isnan(day_start) else day_start
        high = equity if math.isnan(high) else max(high, equity)
        last = equity
        losses = losses.observed(equity, now, sessions, day_start, limits)
    return replace(
        state,
        session=session,
        day_start_equity=day_start,
        high_water_mark=high,
        last_equity=last,
        assessed_at=now,
        losses=losses,
    )


def _placed_in(state: BreakerState, sessions: Sessions) -> BreakerState:
    """The state with its sessions counted as this calendar counts them: by the last assessment,
    which was in one session whatever calendar told of it. A restart may bring one that begins on
    another day.

    Raises:
        CalendarRangeError: the calendar does not reach back to the last assessment.
    """
    if state.assessed_at is None or state.session < 0:
        return state
    moved = sessions.session_of(state.assessed_at) - state.session
    return replace(state, session=state.session + moved) if moved else state


def climb(
    state: BreakerState, demanded: Rung, released: Rung, sessions: Sessions, limits: RiskLimits
) -> BreakerState:
    """Move the whole book to a higher rung at once; to a lower one only after the dwell time.

    Args:
        demanded: the rung the book calls for now.
        released: the rung it calls for when every level is lowered to the release level; what
            lies between the two is the band in which the present rung is kept.
    """
    if state.rung == Rung.HALTED:
        return state
    now, calls = state.assessed_at, (demanded, released)
    rung, entered_at = _moved(state.rung, state.entered_at, *calls, now, sessions, limits)
    if (rung, entered_at) == (state.rung, state.entered_at):
        return state
    return replace(state, rung=rung, entered_at=entered_at)


def climb_scopes(
    state: BreakerState,
    calls: Mapping[str, tuple[Rung, Rung]],
    sessions: Sessions,
    limits: RiskLimits,
) -> BreakerState:
    """The same of every scope by itself, halted or not.

    Args:
        calls: scope -> (demanded, released). Another one keeps its rung.
    """
    now, held = state.assessed_at, {scope.scope: scope for scope in state.scopes}
    for name, (demanded, released) in calls.items():
        was = held.get(name)
        rung, entered_at = (Rung.NORMAL, None) if was is None else (was.rung, was.entered_at)
        rung, entered_at = _moved(rung, entered_at, demanded, released, now, sessions, limits)
        if rung == Rung.NORMAL:
            held.pop(name, None)
        elif was is None or rung != was.rung:
            assert entered_at is not None
            held[name] = ScopeRung(name, rung, entered_at)
    scopes = tuple(held[name] for name in sorted(held))
    return state if scopes == state.scopes else replace(state, scopes=scopes)


def _moved(
    rung: Rung,
    entered_at: int | None,
    demanded: Rung,
    released: Rung,
    now: int | None,
    sessions: Sessions,
    limits: RiskLimits,
) -> tuple[Rung, int | None]:
    """(rung, instant it was entered) after the rungs that are called for at `now`."""
    if demanded > rung:
        return demanded, now
    target = max(demanded, min(released, rung))
    if target < rung and _held_long_enough(entered_at, now, sessions, limits):
        return target, now
    return rung, now if entered_at is None and rung > Rung.NORMAL else entered_at


def _held_long_enough(
    entered_at: int | None, now: int | None, sessions: Sessions, limits: RiskLimits
) -> bool:
    """Whether the dwell time is over."""
    if entered_at is None or now is None:
        return limits.dwell_sessions == 0
    # What lies before the calendar is as long ago as its beginning; what lies ahead has just begun.
    since = min(max(entered_at, int(sessions.opens[0])), now)
    return sessions.whole_sessions_between(since, now) >= limits.dwell_sessions


def halt(state: BreakerState, reason: str) -> BreakerState:
    """An operator stops everything.

    Raises:
        ValueError: no reason given.
        TypeError: the reason is no text.
    """
    require(str, reason=reason)
    if not reason.strip():
        raise ValueError(f"reason: got {reason!r}; allowed: why the book is halted")
    return replace(
        state,
        rung=Rung.HALTED,
        entered_at=state.assessed_at,
        halt_reason=reason,
        resume_reason="",
    )


def resume(
    state: BreakerState, token: str, limits: RiskLimits, reason: str, *, rebase: bool = False
) -> BreakerState:
    """Leave HALTED for BLOCK_NEW; the next assessment decides how far down from there.

    Extreme losses seen before are forgotten, so that what still stands has to be confirmed anew.

    Args:
        token: the operator's.
        reason: why trading may go on; kept in the state.
        rebase: whether drawdown is counted from the last known equity from now on, without which a
            drawdown beyond its cap could never be left. The mark given up is kept in the state.
            The day's loss is not: it ends with the day.

    Raises:
        PermissionError: not halted, no token configured, or the wrong token.
        ValueError: no reason given.
        TypeError: the token or the reason is no text.

    Example:
        >>> from riskenv.limits import Caps
        >>> import hashlib
        >>> secret = hashlib.sha256(b"open sesame").hexdigest()
        >>> limits = RiskLimits(caps=Caps(), operator_token_sha256=secret)
        >>> halted = halt(BreakerState(), "fat finger")
        >>> resume(halted, "open sesame", limits, "order cancelled").rung.name
        'BLOCK_NEW'
        >>> resume(halted, "please", limits, "order cancelled")
        Traceback (most recent call last):
            ...
        PermissionError: token: not the operator's
    """
    require(str, token=token, reason=reason)
    if state.rung != Rung.HALTED:
        raise PermissionError(f"rung: got {state.rung.name}; only HALTED is resumed")
    check_token(token, limits.operator_token_sha256, "this halt")
    if not reason.strip():
        raise ValueError(f"reason: got {reason!r}; allowed: why trading may go on")
    high = state.last_equity if rebase else state.high_water_mark
    return replace(
        state,
        rung=Rung.BLOCK_NEW,
        entered_at=None,  # by the next assessment, however long ago the last one was
        resume_reason=reason,
        high_water_mark=high,
        rebased_from=state.high_water_mark if rebase else state.rebased_from,
        losses=state.losses.forgiven(high),
    )
