"""Scheduled events as values: what happens, when, to whom, and since when that was known."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """A scheduled event.

    Attributes:
        event_type: "fomc", "cpi", "nfp", "earnings", ... (lower case).
        time: int64 nanoseconds UTC at which the news is out.
        known_at: int64 nanoseconds UTC since when the date was public; the layer sees no event
            before it.
        symbol: the underlying it touches; "" for the whole market.
        known_at_assumed: True when the source gives no announcement date and one was assumed.
        source: where the row came from.

    Raises:
        ValueError: an empty or upper-case type, or known_at after time.
    """

    event_type: str
    time: int
    known_at: int
    symbol: str = ""
    known_at_assumed: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        if not self.event_type or self.event_type != self.event_type.lower():
            raise ValueError(f"event_type: got {self.event_type!r}; allowed: a lower-case name")
        if self.known_at > self.time:
            raise ValueError(
                f"known_at: got {self.known_at}; allowed: at or before time {self.time}"
            )
