"""Exchange sessions as arrays: the only calendar the layer ever sees."""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

# Sessions between two instants from which arrays are faster than a loop.
_MANY = 16


class CalendarRangeError(LookupError):
    """A session beyond the calendar's first or last one was asked for: Unknown, never guessed."""


@dataclass(frozen=True, eq=False)
class Sessions:
    """Opens and closes of consecutive exchange sessions.

    Attributes:
        opens, closes: (D,) int64 nanoseconds UTC, strictly increasing, opens[i] < closes[i].

    Example:
        >>> s = Sessions(np.array([10, 20, 30]), np.array([15, 25, 35]))
        >>> s.closes_between(15, 32)   # closes strictly after 15 and strictly before 32
        1
        >>> s.close_after(25, sessions=1)
        35
        >>> s.session_of(22), s.session_of(15), s.session_of(16)
        (1, 0, 1)
    """

    opens: NDArray[np.int64]
    closes: NDArray[np.int64]

    def __post_init__(self) -> None:
        opens = np.array(self.opens, dtype=np.int64)
        closes = np.array(self.closes, dtype=np.int64)
        if opens.ndim != 1 or opens.shape != closes.shape or len(opens) == 0:
            raise ValueError(
                f"opens, closes: got shapes {opens.shape}, {closes.shape}; "
                "allowed: two equal (D,) arrays with D >= 1"
            )
        if not ((opens < closes).all() and (closes[:-1] <= opens[1:]).all()):
            raise ValueError("opens, closes: sessions must be in order and must not overlap")
        object.__setattr__(self, "opens", opens)
        object.__setattr__(self, "closes", closes)

    def session_of(self, now: int) -> int:
        """Index of the first session that closes at or after `now`.

        Raises:
            CalendarRangeError: `now` lies before the first open or after the last close.
        """
        row = bisect.bisect_left(self._closes, now)
        if row == len(self.closes) or (row == 0 and now < self.opens[0]):
            raise CalendarRangeError(
                f"now: got {now}; the calendar covers {self.opens[0]} to {self.closes[-1]} "
                "(nanoseconds UTC)"
            )
        return row

    @cached_property
    def _opens(self) -> list[int]:
        opens: list[int] = self.opens.tolist()
        return opens

    @cached_property
    def _closes(self) -> list[int]:
        closes: list[int] = self.closes.tolist()
        return closes

    def open_time(self, start: int, end: int) -> int:
        """Nanoseconds between two instants during which the exchange was open.

        Example:
            >>> Sessions(np.array([10, 20, 30]), np.array([15, 25, 35])).open_time(12, 32)
            10
        """
        first = bisect.bisect_right(self._closes, start)
        last = bisect.bisect_left(self._opens, end)
        if last - first < _MANY:
            sessions = zip(self._opens[first:last], self._closes[first:last], strict=True)
            return sum(min(closed, end) - max(opened, start) for opened, closed in sessions)
        opened = np.maximum(self.opens[first:last], start)
        closed = np.minimum(self.closes[first:last], end)
        return int((closed - opened).sum())

    def whole_sessions_between(self, start: int, end: int) -> int:
        """Whole sessions of exchange time between two instants, by the share of a session gone.

        Half a session that begins at noon ends at noon of the next one, or where that one is
        shorter, as far into it. The night between two sessions is no time.

        Raises:
            CalendarRangeError: an instant lies outside the calendar.

        Example:
            >>> s = Sessions(np.array([10, 20, 30]), np.array([15, 25, 35]))
            >>> [s.whole_sessions_between(14, end) for end in (15, 20, 23, 24, 33, 34)]
            [0, 0, 0, 1, 1, 2]
            >>> s.whole_sessions_between(10, 15)   # from an open to its close
            1
        """
        first, last = self.session_of(start), self.session_of(end)
        # Shares of sessions of unequal length, as products of whole numbers.
        gone = max(0, start - self._opens[first]) * (self._closes[last] - self._opens[last])
        reached = max(0, end - self._opens[last]) * (self._closes[first] - self._opens[first])
        whole = (self._closes[first] - self._opens[first]) * (
            self._closes[last] - self._opens[last]
        )
        return last - first + (reached - gone) // whole

    def closes_between(self, start: int, end: int) -> int:
        """Number of closes strictly after `start` and strictly before `end`; 0 if end <= start.

        Raises:
            CalendarRangeError: `end` lies beyond the last close.
        """
        if end > self.closes[-1]:
            raise CalendarRangeError(f"end: got {end}; the calendar ends at {self.closes[-1]}")
        first = int(np.searchsorted(self.closes, start, side="right"))
        last = int(np.searchsorted(self.closes, end, side="left"))
        return max(0, last - first)

    def close_after(self, now: int, sessions: int) -> int:
        """The same clock position `sessions` sessions on, as the close of that session.

        Raises:
            CalendarRangeError: that session lies beyond the calendar.
        """
        row = self.session_of(now) + sessions
        if row >= len(self.closes):
            raise CalendarRangeError(
                f"sessions: got {sessions} after {now}; the calendar ends at {self.closes[-1]}"
            )
        return int(self.closes[row])
