"""What a source of events is, and what it says about itself: how fresh, and complete for what."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from riskenv.data.event_rules import (
    RUSSELL_SINCE,
    closure_events,
    expiry_events,
    rebalance_events,
)
from riskenv.data.event_tables import (
    CPI_COVERAGE,
    NFP_COVERAGE,
    TABLES_AS_OF,
    cpi_events,
    nfp_events,
)
from riskenv.data.event_times import end_of_day_ns, local_date
from riskenv.data.events import FOMC_COVERAGE, fomc_events

from riskenv.events import Event

Status = Literal["fresh", "stale", "partial", "down"]


@dataclass(frozen=True, slots=True)
class Coverage:
    """A span in which a source lists every event of a type: no row there means no event there.

    Attributes:
        event_type: as in `Event.event_type`.
        first, last: local dates, both included.
        symbols: the underlyings it holds for; () = every one, or the whole market.

    Raises:
        ValueError: `last` before `first`.
    """

    event_type: str
    first: datetime.date
    last: datetime.date
    symbols: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.first <= self.last:
            raise ValueError(
                f"first, last: got {self.first}, {self.last}; allowed: first at or before last"
            )

    def covers(self, event_type: str, symbol: str, day: datetime.date) -> bool:
        """Whether the source would list an event of this type on that day."""
        return (
            event_type == self.event_type
            and (not self.symbols or symbol in self.symbols)
            and self.first <= day <= self.last
        )


@dataclass(frozen=True, slots=True)
class SourceState:
    """How much a source's last answer is worth.

    Attributes:
        name: the source.
        status: "fresh"; "stale" (an older answer, inside its limit); "partial" (some rows could
            not be read: those that could are kept, but nothing counts as covered); "down".
        as_of: when the answer was true, ns UTC; None = there is none.
        coverage: where no row means no event; empty when partial or down.
        down_since: when the source first failed to answer, ns UTC; None = it answers.
        reason: why it is not fresh, in words.
    """

    name: str
    status: Status
    as_of: int | None = None
    coverage: tuple[Coverage, ...] = ()
    down_since: int | None = None
    reason: str = ""

    def __str__(self) -> str:
        since = "" if self.down_since is None else f" since {_utc(self.down_since)}"
        as_of = "" if self.as_of is None else f", as of {_utc(self.as_of)}"
        reason = f": {self.reason}" if self.reason else ""
        return f"source {self.name} {self.status}{since}{as_of}{reason}"


class SourceDownError(RuntimeError):
    """A source gave no usable answer; `state` says since when and why."""

    def __init__(self, state: SourceState) -> None:
        super().__init__(str(state))
        self.state = state


@runtime_checkable
class EventProvider(Protocol):
    """A source of events.

    `name` must differ between the sources of one calendar: agreement is counted by it.
    """

    @property
    def name(self) -> str:
        """The source, as it appears in states and conflicts."""

    def events(self, first: datetime.date, last: datetime.date) -> tuple[Event, ...]:
        """Events from the first to the last local day, both included.

        Raises:
            SourceDownError: there is no usable answer.
        """

    def state(self) -> SourceState:
        """What the last call of `events` was worth."""


class BuiltinEvents:
    """The calendars that come with the package, as a provider; needs no network.

    Rules hold for any date; the tables say how far they go, and past that the state does not claim
    coverage: Unknown, not "no event".

    Args:
        event_types: which to give; None = all.
        exchange: whose sessions, expiries and closures.

    Raises:
        ValueError: an unknown type.

    Example:
        >>> source = BuiltinEvents(["cpi", "fomc"])
        >>> [e.event_type for e in source.events(datetime.date(2018, 2, 1),
        ...                                      datetime.date(2018, 3, 31))]
        ['cpi', 'cpi', 'fomc']
        >>> cpi = source.state().coverage[0]
        >>> str(cpi.first), str(cpi.last)
        ('2018-02-01', '2018-03-31')
    """

    name = "built-in"

    def __init__(self, event_types: Iterable[str] | None = None, exchange: str = "XNYS") -> None:
        chosen = tuple(_BUILTIN) if event_types is None else tuple(event_types)
        for event_type in chosen:
            if event_type not in _BUILTIN:
                raise ValueError(f"event_types: got {event_type!r}; allowed: {', '.join(_BUILTIN)}")
        self.event_types = chosen
        self.exchange = exchange
        self._coverage: tuple[Coverage, ...] = ()

    def events(self, first: datetime.date, last: datetime.date) -> tuple[Event, ...]:
        """Events of the chosen types from the first to the last New York day, in order."""
        makers = dict.fromkeys(_BUILTIN[event_type][0] for event_type in self.event_types)
        found = [
            event
            for make in makers
            for event in make(first, last, self.exchange)
            if event.event_type in self.event_types and first <= local_date(event.time) <= last
        ]
        self._coverage = tuple(
            Coverage(event_type, max(first, start), min(last, end))
            for event_type in self.event_types
            for start, end in [_BUILTIN[event_type][1]]
            if max(first, start) <= min(last, end)
        )
        return tuple(sorted(found, key=lambda event: event.order))

    def state(self) -> SourceState:
        """Fresh, as of the day the tables were last compared with their sources."""
        return SourceState(self.name, "fresh", end_of_day_ns(TABLES_AS_OF), self._coverage)


_Make = Callable[[datetime.date, datetime.date, str], tuple[Event, ...]]


def _cpi(first: datetime.date, last: datetime.date, exchange: str) -> tuple[Event, ...]:
    return cpi_events()


def _nfp(first: datetime.date, last: datetime.date, exchange: str) -> tuple[Event, ...]:
    return nfp_events()


def _fomc(first: datetime.date, last: datetime.date, exchange: str) -> tuple[Event, ...]:
    return fomc_events()


# The holidays of later years are rules of today; the rules themselves change now and then.
_ALWAYS = (datetime.date(1999, 1, 1), TABLES_AS_OF + datetime.timedelta(days=3 * 365))
_BUILTIN: dict[str, tuple[_Make, tuple[datetime.date, datetime.date]]] = {
    "cpi": (_cpi, CPI_COVERAGE),
    "nfp": (_nfp, NFP_COVERAGE),
    "fomc": (_fomc, FOMC_COVERAGE),
    "monthly_expiry": (expiry_events, _ALWAYS),
    "quarterly_expiry": (expiry_events, _ALWAYS),
    "vix_expiry": (expiry_events, (datetime.date(2004, 6, 1), _ALWAYS[1])),
    "holiday": (closure_events, _ALWAYS),
    "half_day": (closure_events, _ALWAYS),
    "index_rebalance": (rebalance_events, (RUSSELL_SINCE, _ALWAYS[1])),
}


def _utc(ns: int) -> str:
    instant = datetime.datetime.fromtimestamp(ns // 1_000_000_000, datetime.UTC)
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")
