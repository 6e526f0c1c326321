"""What the events of a calendar do to the caps: rules by type, importance and time to the event."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from riskenv.config import Config
from riskenv.events import Event, Importance
from riskenv.measures import MEASURES

Action = Literal["watch", "tighten", "block_new", "hedge_gap", "reduce_size", "flatten"]

# From the mildest to the strictest.
ACTIONS: tuple[Action, ...] = (
    "watch",
    "tighten",
    "block_new",
    "hedge_gap",
    "reduce_size",
    "flatten",
)
_LEVELS: tuple[Importance, ...] = ("low", "medium", "high")

_TYPE = r"^[a-z][a-z0-9_]*$"


class EventRule(Config):
    """What the events of one type do, from how long before them.

    All rules that an event matches hold side by side, the strictest of each kind counting: tighten
    five closes before, flatten one close before, is two rules.

    Attributes:
        event_type: the type it applies to, as in `Event.event_type`.
        importance: the least importance of an event that it applies to.
        action: what the other keys amount to, or "flatten", "hedge_gap" and "block_new" in place
            of them; a word that they do not amount to is refused. None = as they say.
        sessions_before: the rule holds in the last this many sessions that close before the event,
            from the open of the first of them; one with `reduce_to` or "flatten" from
            `lead_minutes` ahead of its close.
        sessions_after: closes after the event up to which caps stay tightened and entries blocked.
        cap_multiplier: factor on every exposure and tail cap meanwhile.
        cap_multipliers: measure -> factor on its cap; the smaller of the two factors holds.
        block_new: only reductions pass meanwhile, in what the event touches.
        hedge_gap: a gap loss outside its tightened cap is brought inside at once, by buying
            protection in what the event touches where that costs least. Asks for a jump.
        reduce: a book outside the tightened caps is reduced at once, not merely kept from growing.
        reduce_to: share of the size to be left by the last close before the event; 1 = all of it,
            0 = flatten. Below 1 entries are blocked too.
        steps: closes over which that is spread evenly, the last one before the event included.
        lead_minutes: how long ahead of its close a reduction falls due, while there is a market.
        gap_log_return: size of the jump, tried up and down, as a log return; 0 = none.
        gap_log_vol_change: log change of implied volatility that comes with the jump.
        gap_history_days: calendar days back over which the moves at past events of this type, of
            the same ticker or sector or of the market, are jumps too (`riskenv.event_jumps`); 0 =
            none. Asks for a jump, for want of any.
        gap_implied: how many standard deviations of the jump that quotes imply count as a jump too,
            where that is larger (`riskenv.event_implied`); 0 = none, 2.3 is exceeded, on one side,
            once in a hundred. Asks for a jump, for want of quotes: the report says where that is.

    Example:
        >>> rule = EventRule(event_type="earnings", sessions_before=3, reduce_to=0.25, steps=3)
        >>> rule.kind, [rule.share_due(closes) for closes in (3, 2, 1, 0)]
        ('reduce_size', [1.0, 0.75, 0.5, 0.25])
        >>> EventRule(event_type="earnings", sessions_before=1, action="flatten").share_due(0)
        0.0
    """

    event_type: str = Field(pattern=_TYPE)
    importance: Importance = "low"
    action: Action | None = None
    sessions_before: int = Field(ge=1, le=20)
    sessions_after: int = Field(default=0, ge=0, le=20)
    cap_multiplier: float = Field(default=1.0, gt=0.0, le=1.0)
    cap_multipliers: dict[str, float] = Field(default={})
    block_new: bool = False
    hedge_gap: bool = False
    reduce: bool = False
    reduce_to: float = Field(default=1.0, ge=0.0, le=1.0)
    steps: int = Field(default=1, ge=1, le=20)
    lead_minutes: int = Field(default=30, ge=0, le=180)
    gap_log_return: float = Field(default=0.0, ge=0.0, lt=1.0)
    gap_log_vol_change: float = Field(default=0.0, ge=-1.0, le=2.0)
    gap_history_days: int = Field(default=0, ge=0, le=36_600)
    gap_implied: float = Field(default=0.0, ge=0.0, le=10.0)

    def __hash__(self) -> int:
        # A mapping has no hash of its own; equal rules have equal keys.
        return hash(self.key)

    @field_validator("cap_multipliers")
    @classmethod
    def _known_measures(cls, factors: dict[str, float]) -> dict[str, float]:
        for name, factor in factors.items():
            if name not in MEASURES:
                raise ValueError(f"{name!r} is no measure; allowed: {', '.join(MEASURES)}")
            if not 0.0 < factor <= 1.0:
                raise ValueError(f"{name}: got {factor}; allowed: above 0, up to 1")
        return factors

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> EventRule:
        if self.action is not None and self.action != self.kind:
            raise ValueError(
                f"action: got {self.action!r}; the other keys amount to {self.kind!r}: write that, "
                "change them, or leave action out"
            )
        if self.action == "flatten" and 0.0 < self.reduce_to < 1.0:
            raise ValueError(f"reduce_to: got {self.reduce_to}; allowed with flatten: 0")
        asking = {
            "hedge_gap": self.hedges,
            "gap_history_days": self.gap_history_days,
            "gap_implied": self.gap_implied,
        }
        for name, asks in asking.items():
            if asks and not self.gap_log_return > 0.0:
                raise ValueError(
                    f"gap_log_return: got {self.gap_log_return}; allowed with {name}: the jump to "
                    "count with, above 0"
                )
        if self.steps > self.sessions_before:
            raise ValueError(
                f"steps: got {self.steps}; allowed: up to sessions_before, {self.sessions_before}"
            )
        return self

    @property
    def key(self) -> tuple[str, str, int]:
        """What no other rule of a policy may share: type, importance and time to the event."""
        return self.event_type, self.importance, self.sessions_before

    @property
    def kind(self) -> Action:
        """What the rule does at most."""
        if self.share == 0.0:
            return "flatten"
        if self.share < 1.0 or self.reduce:
            return "reduce_size"
        if self.hedges:
            return "hedge_gap"
        if self.blocks:
            return "block_new"
        factors = (self.cap_multiplier, *self.cap_multipliers.values())
        return "tighten" if min(factors) < 1.0 else "watch"

    @property
    def share(self) -> float:
        """Share of the size to be left at the event."""
        return 0.0 if self.action == "flatten" else self.reduce_to

    @property
    def blocks(self) -> bool:
        """Whether entries are blocked while it holds."""
        return self.block_new or self.action == "block_new" or self.share < 1.0

    @property
    def hedges(self) -> bool:
        """Whether a gap loss outside its cap is hedged while the event is ahead."""
        return self.hedge_gap or self.action == "hedge_gap"

    def share_due(self, closes_before: int) -> float:
        """Share of the size to be left when so many closes still come before the event."""
        if closes_before <= 0:
            return self.share
        return 1.0 - (1.0 - self.share) * max(self.steps - closes_before, 0) / self.steps

    def factor(self, measure: str) -> float:
        """Factor on the cap of a measure."""
        return min(self.cap_multiplier, self.cap_multipliers.get(measure, 1.0))

    def applies_to(self, event: Event) -> bool:
        """Whether the event is of its type, and important enough."""
        return event.event_type == self.event_type and _LEVELS.index(
            event.importance
        ) >= _LEVELS.index(self.importance)


class NeededDate(Config):
    """Tickers that must have a known date ahead: without one they count as inside the window.

    A ticker without it gets no entries, and the rules of the type hold for it, but for reductions
    by a deadline, of which there is none. What is unknown forces no trade by a date.

    Attributes:
        event_type: the type whose date is needed.
        tickers: which; empty = every ticker but `not_for`.
        not_for: indexes and funds, which have no such events.
        within_days: calendar days ahead within which the date must lie. Earnings come four times
            a year, some of them late.

    Example:
        >>> stocks = NeededDate(not_for=("SPX", "SPY"))
        >>> stocks.asks_for("AAPL"), stocks.asks_for("SPY")
        (True, False)
    """

    event_type: str = Field(default="earnings", pattern=_TYPE)
    tickers: tuple[str, ...] = ()
    not_for: tuple[str, ...] = ()
    within_days: int = Field(default=100, ge=1, le=400)

    @model_validator(mode="after")
    def _one_list(self) -> NeededDate:
        if self.tickers and self.not_for:
            raise ValueError("tickers, not_for: got both; allowed: one of them")
        return self

    def asks_for(self, ticker: str) -> bool:
        """Whether the ticker needs a date."""
        return ticker in self.tickers if self.tickers else ticker not in self.not_for


class EventPolicy(Config):
    """Rules, the dates that must be known, and how far ahead the report looks.

    Attributes:
        rules: one for each type, importance and time to the event.
        needed_dates: tickers whose next event must be known.
        report_days: calendar days ahead that the report lists.
        time_zone: in which days are counted.

    Example:
        >>> from riskenv.config import load_config
        >>> rule = {"event_type": "cpi", "sessions_before": 2}
        >>> load_config(EventPolicy, {"rules": [rule, {**rule, "importance": "high"}]}).rules[1].key
        ('cpi', 'high', 2)
    """

    rules: tuple[EventRule, ...] = ()
    needed_dates: tuple[NeededDate, ...] = ()
    report_days: int = Field(default=10, ge=1, le=60)
    time_zone: str = "America/New_York"

    @model_validator(mode="after")
    def _one_rule_each(self) -> EventPolicy:
        keys = [rule.key for rule in self.rules]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(
                    f"rules: {key} has two rules; allowed: one for each event_type, importance "
                    "and sessions_before"
                )
        return self
