"""Scheduled events as values: what happens, when, to whom, and since when that was known."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Literal

import numpy as np

Importance = Literal["low", "medium", "high"]
Confidence = Literal["confirmed", "estimated", "unknown"]
Placement = Literal["before_open", "after_close", ""]

_WORDS = {
    "importance": ("low", "medium", "high"),
    "confidence": ("confirmed", "estimated", "unknown"),
    "placement": ("before_open", "after_close", ""),
}
_TEXTS = ("event_type", "symbol", "source", "sector")
_INT64 = np.iinfo(np.int64)


@dataclass(frozen=True, slots=True)
class Event:
    """A scheduled event. It touches one underlying, one sector or the whole market.

    NumPy integers, booleans and texts are taken and kept as Python's own, so that an event goes
    through JSON wherever its row came from. A time that is a float is refused: today's nanoseconds
    are more than its 53 bits hold, and NaN is after nothing.

    Attributes:
        event_type: "fomc", "cpi", "nfp", "earnings", ... (lower case).
        time: int64 nanoseconds UTC at which the news is out.
        known_at: int64 nanoseconds UTC since when the date was public; the layer sees no event
            before it.
        symbol: the underlying it touches; "" for a sector or the whole market.
        known_at_assumed: True when the source gives no announcement date and one was assumed.
        source: where the row came from; several are joined by "+".
        sector: the sector it touches; "" for an underlying or the whole market.
        importance: "low", "medium" or "high". Not stated counts as high.
        confidence: "confirmed" by whoever sets the date, "estimated" by the source, or "unknown".
        placement: "before_open" or "after_close" of the exchange session; "" = neither or not said.
        withdrawn_at: int64 nanoseconds UTC since when it was public that nothing happens at `time`
            (cancelled, or moved to another date, which is an event of its own); None = it stands.
            Reading it later than that is hindsight; not reading it at all is only cautious.

    Raises:
        ValueError: a value of another kind than its attribute, an empty or upper-case type, a word
            that is none of those above, both a symbol and a sector, known_at after time, or
            withdrawn_at outside [known_at, time].

    Example:
        >>> moved = Event("cpi", time=30, known_at=10, withdrawn_at=20)
        >>> moved.stands_at(15), moved.stands_at(20)
        (True, False)
        >>> Event("cpi", time=30, known_at=10, importance="huge")
        Traceback (most recent call last):
            ...
        ValueError: importance: got 'huge'; allowed: 'low', 'medium', 'high'
    """

    event_type: str
    time: int
    known_at: int
    symbol: str = ""
    known_at_assumed: bool = False
    source: str = ""
    sector: str = ""
    importance: Importance = "high"
    confidence: Confidence = "unknown"
    placement: Placement = ""
    withdrawn_at: int | None = None

    def __post_init__(self) -> None:
        for name in ("time", "known_at"):
            object.__setattr__(self, name, _nanoseconds(name, getattr(self, name)))
        if self.withdrawn_at is not None:
            withdrawn = _nanoseconds("withdrawn_at", self.withdrawn_at)
            object.__setattr__(self, "withdrawn_at", withdrawn)
        for name in _TEXTS:
            object.__setattr__(self, name, _text(name, getattr(self, name)))
        if not isinstance(self.known_at_assumed, bool | np.bool_):
            raise ValueError(
                f"known_at_assumed: got {self.known_at_assumed!r}; allowed: True, False"
            )
        object.__setattr__(self, "known_at_assumed", bool(self.known_at_assumed))
        if not self.event_type or self.event_type != self.event_type.lower():
            raise ValueError(f"event_type: got {self.event_type!r}; allowed: a lower-case name")
        if self.known_at > self.time:
            raise ValueError(
                f"known_at: got {self.known_at}; allowed: at or before time {self.time}"
            )
        for name, words in _WORDS.items():
            if getattr(self, name) not in words:
                allowed = ", ".join(map(repr, words))
                raise ValueError(f"{name}: got {getattr(self, name)!r}; allowed: {allowed}")
            object.__setattr__(self, name, str(getattr(self, name)))
        if self.symbol and self.sector:
            raise ValueError(
                f"symbol, sector: got {self.symbol!r}, {self.sector!r}; allowed: one of them"
            )
        if self.withdrawn_at is not None and not self.known_at <= self.withdrawn_at <= self.time:
            raise ValueError(
                f"withdrawn_at: got {self.withdrawn_at}; allowed: None, or from known_at "
                f"{self.known_at} to time {self.time}"
            )

    def stands_at(self, now: int) -> bool:
        """Whether, at `now` (ns UTC), the event is public and not withdrawn."""
        return self.known_at <= now and (self.withdrawn_at is None or now < self.withdrawn_at)

    @property
    def order(self) -> tuple[int | str | bool, ...]:
        """Sorts a calendar the same way however it was listed: by time, then every attribute."""
        return (
            self.time,
            self.event_type,
            self.symbol,
            self.known_at,
            self.known_at_assumed,
            self.source,
            self.sector,
            self.importance,
            self.confidence,
            self.placement,
            self.withdrawn_at is not None,
            self.withdrawn_at or 0,
        )


def _nanoseconds(name: str, value: object) -> int:
    if isinstance(value, Integral) and not isinstance(value, bool):
        whole = int(value)
        if _INT64.min <= whole <= _INT64.max:
            return whole
    raise ValueError(f"{name}: got {value!r}; allowed: a whole number of nanoseconds (int64)")


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name}: got {value!r}; allowed: a text")
    return str(value)
