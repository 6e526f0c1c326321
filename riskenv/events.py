"""Scheduled events as values: what happens, when, to whom, and since when that was known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Importance = Literal["low", "medium", "high"]
Confidence = Literal["confirmed", "estimated", "unknown"]
Placement = Literal["before_open", "after_close", ""]

_WORDS = {
    "importance": ("low", "medium", "high"),
    "confidence": ("confirmed", "estimated", "unknown"),
    "placement": ("before_open", "after_close", ""),
}


@dataclass(frozen=True, slots=True)
class Event:
    """A scheduled event. It touches one underlying, one sector or the whole market.

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
        ValueError: an empty or upper-case type, a word that is none of those above, both a symbol
            and a sector, known_at after time, or withdrawn_at outside [known_at, time].

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
