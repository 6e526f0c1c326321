"""Confirmation of losses: one bad tick is not a crash, and one bad tick is not a peak either."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from riskenv.limits import RiskLimits
from riskenv.sessions import Sessions

_NS_PER_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LossWindow:
    """The last observations of the account's equity, and which of them were extreme losses.

    Not every assessment is an observation. One counts if its equity is known and the last one is
    at least `limits.confirm.seconds` of session time old, so that a second question at the same
    instant, a hundred ticks within one second, or a night of them, confirm nothing. Only the first
    extreme loss after an observation that was none counts at once. Two extreme ones hence always
    lie `seconds` apart. An Unknown equity is no observation: it neither confirms nor clears.

    Losses are counted from marks that were confirmed themselves: the highest equity that k of the
    last n observations reached. Or else a single tick far too high, taken for the high-water mark
    or the day's start, would make extreme losses of all the true ones after it.

    Attributes:
        observed_at: instant of the last observation, nanoseconds UTC; None before the first.
        equities: currency, the last n observations, oldest first.
        extreme: which of them were extreme losses; shorter after a resume, which forgets them.
        day_start, high: the confirmed parts of the day's start and of the high-water mark,
            currency; NaN while nothing is confirmed.
    """

    observed_at: int | None = None
    equities: tuple[float, ...] = ()
    extreme: tuple[bool, ...] = ()
    day_start: float = math.nan
    high: float = math.nan

    def confirmed(self, limits: RiskLimits) -> bool:
        """Whether k of the last n observations were extreme losses.

        Example:
            >>> from riskenv.limits import Caps
            >>> limits = RiskLimits(caps=Caps())  # 2 of 3
            >>> LossWindow(extreme=(True, False, True)).confirmed(limits)
            True
            >>> LossWindow(extreme=(True, True, False, True)).confirmed(limits)
            True
            >>> LossWindow(extreme=(True, False, False, True)).confirmed(limits)
            False
        """
        return sum(self.extreme[-limits.confirm.n :]) >= limits.confirm.k

    def confirmed_equity(self, limits: RiskLimits) -> float:
        """The least equity that k of the last n observations did not exceed; of fewer, the highest
        of them; NaN if there is none. A cap that is a share of equity has shrunk to a share of
        this one, whatever a single tick says.

        Example:
            >>> from riskenv.limits import Caps
            >>> limits = RiskLimits(caps=Caps())  # 2 of 3
            >>> [LossWindow(equities=e).confirmed_equity(limits) for e in ((9.0, 9.0, 2.0), (2.0,))]
            [9.0, 2.0]
            >>> LossWindow(equities=(9.0, 2.0, 3.0)).confirmed_equity(limits)
            3.0
        """
        seen = sorted(self.equities[-limits.confirm.n :])
        return seen[min(limits.confirm.k, len(seen)) - 1] if seen else math.nan

    def moved(self, flow: float) -> LossWindow:
        """After money was paid in (> 0) or out."""
        return replace(
            self,
            equities=tuple(equity + flow for equity in self.equities),
            day_start=self.day_start + flow,
            high=self.high + flow,
        )

    def rolled(self, day_start: float, limits: RiskLimits) -> LossWindow:
        """On a new day, whose start counts as far as yesterday's observations reached it. A loss of
        yesterday alone is none of this day's: what stays extreme is so by today's marks."""
        day_start = _lower(day_start, _reached(self.equities, limits))
        today = replace(self, day_start=day_start)
        if not any(self.extreme):
            return today
        seen = self.equities[len(self.equities) - len(self.extreme) :]
        extreme = (today._extreme(equity, limits) for equity in seen)
        flags = tuple(was and still for was, still in zip(self.extreme, extreme, strict=True))
        return replace(today, extreme=flags)

    def taking(self, day_start: float, high: float) -> LossWindow:
        """With both marks confirmed, as they are when an operator sets them."""
        return replace(self, day_start=day_start, high=high)

    def observed(
        self, equity: float, now: int, sessions: Sessions, day_start: float, limits: RiskLimits
    ) -> LossWindow:
        """After an assessment at `now` that found `equity`, of a day that began at `day_start`."""
        extreme = self._extreme(equity, limits)
        if self.observed_at is not None:
            since = sessions.open_time(self.observed_at, now)
            first = extreme and self.extreme[-1:] != (True,)
            if since < limits.confirm.seconds * _NS_PER_SECOND and not first:
                return self
        n = limits.confirm.n
        equities = (*self.equities, equity)[-n:]
        reached = _reached(equities, limits)
        return LossWindow(
            observed_at=now,
            equities=equities,
            extreme=(*self.extreme, extreme)[-n:],
            day_start=_higher(self.day_start, _lower(day_start, reached)),
            high=_higher(self.high, reached),
        )

    def _extreme(self, equity: float, limits: RiskLimits) -> bool:
        caps = limits.account_caps(equity)
        marks = (self.day_start, self.high)
        return any(
            mark - equity > limits.extreme * cap for mark, cap in zip(marks, caps, strict=True)
        )

    def forgiven(self, high: float) -> LossWindow:
        """After a resume: no extreme loss is remembered, and no equity above the mark `high`."""
        return replace(
            self,
            equities=tuple(min(equity, high) for equity in self.equities),
            extreme=(),
            high=_lower(self.high, high),
        )


def _reached(equities: tuple[float, ...], limits: RiskLimits) -> float:
    """The highest equity that k of the observations reached; NaN if they are fewer."""
    k = limits.confirm.k
    return sorted(equities)[-k] if len(equities) >= k else math.nan


def _lower(mark: float, other: float) -> float:
    """The lower one; NaN if either is."""
    return math.nan if math.isnan(mark) or math.isnan(other) else min(mark, other)


def _higher(mark: float, other: float) -> float:
    """The higher one; if one is NaN, the other."""
    if math.isnan(mark) or math.isnan(other):
        return other if math.isnan(mark) else mark
    return max(mark, other)
