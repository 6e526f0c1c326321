"""What a window holds: rules in force, days and dates that nobody knows, and words for them."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import NamedTuple

from riskenv.event_policy import EventRule, NeededDate
from riskenv.events import Event
from riskenv.portfolio_greeks import timestamp


def words_of(event: Event) -> str:
    """An event in words.

    Example:
        >>> words_of(Event("earnings", 86_400 * 10**9, 0, symbol="AAPL"))
        'earnings of AAPL at 1970-01-02T00:00:00Z'
    """
    of = event.symbol or event.sector or "the market"
    return f"{event.event_type} of {of} at {timestamp(event.time)}"


@dataclass(frozen=True, slots=True)
class UnknownDays:
    """Days on which nobody can say whether there is an event.

    Attributes:
        event_type: what is not known.
        symbol: of which underlying; "" = of all, or of the whole market.
        first, last: local dates, both included.
        reason: why, in words.

    Raises:
        ValueError: `last` before `first`.

    Example:
        >>> day = datetime.date(2025, 10, 1)
        >>> print(UnknownDays("nfp", "", day, day, "no source"))
        unknown: nfp from 2025-10-01 to 2025-10-01: no source
    """

    event_type: str
    symbol: str
    first: datetime.date
    last: datetime.date
    reason: str = ""

    def __post_init__(self) -> None:
        if not self.first <= self.last:
            raise ValueError(
                f"first, last: got {self.first}, {self.last}; allowed: first at or before last"
            )

    def __str__(self) -> str:
        what = f"{self.event_type} {self.symbol}".strip()
        return f"unknown: {what} from {self.first} to {self.last}: {self.reason}"


# In a season of earnings there are hundreds of these a day: a tuple is made in half the time.
class ActiveRule(NamedTuple):
    """A rule in force for one event.

    Attributes:
        event, rule: which.
        closes_before: closes still to come before the event; 0 once it is out.
        share_due: share of the size to be left by now.
    """

    event: Event
    rule: EventRule
    closes_before: int
    share_due: float = 1.0

    @property
    def action(self) -> str:
        """What the rule does at most, as in `EventRule.action`."""
        return self.rule.kind


@dataclass(frozen=True, slots=True)
class UndatedTicker:
    """A ticker without the known date that the policy needs, and the rules it is under."""

    ticker: str
    need: NeededDate
    rules: tuple[EventRule, ...]


@dataclass(frozen=True, slots=True)
class Caution:
    """Why the window is more careful than the known events ask for: a stable code, the ticker
    ("" = the whole market) and words."""

    code: str
    symbol: str
    words: str
