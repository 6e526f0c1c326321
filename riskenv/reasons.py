"""Why a decision is what it is: stable codes and their words, and what an operator should see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

# Stable codes and the words for them; {…} is filled from what a reason is given.
REASONS = {
    "cap_exceeded": "{measure} would be {asked:.{digits}g}, outside its cap {cap:.{digits}g}",
    "unknown_risk": "{measure} cannot be computed, and unknown is not zero",
    "unknown_instrument": "{symbol}: {why}; positions in it are only closed",
    "event_block": "{symbol}: nothing is entered because of {event}",
    "event_size": "{symbol}: {contracts:g} contracts are to be closed before {event}",
    "event_order_enters": "{order}: cancel it, it would enter {symbol}, which is blocked by "
    "{event}",
    "event_order_holds_up": "{order}: cancel it, it holds up the closing of {contracts:g} contracts"
    " of {symbol} before {event}",
    "assignment_risk": "{contract}: {contracts:g} short may be assigned before {event}: time value "
    "{time_value:.6g}, dividends {dividends:.6g}",
    "rung_block_new": "the breaker is at {rung} ({cause}): only reductions pass",
    "rung_reduce": "the breaker is at {rung} ({cause}): the book is reduced first",
    "rung_flatten": "the breaker is at {rung} ({cause}): the book is closed",
    "rung_halted": "the breaker is at {rung}: nothing passes until an operator resumes",
    "operator_approved": "an operator lets reductions pass this once: {reason}",
    "flatten_unresolved": "no available trade brings the book to where it must be",
    "order_replaced": "{order}: not sent; a reduction of the book is done in its place",
    "least_violating": "no available trade is admissible; the least violating one was taken",
}

# The same of the controls on orders.
ORDER_REASONS = {
    "order_invalid": "{order}: {what} is {value!r}; allowed: {allowed}",
    "collar_unknown": "{order}: the price collar needs the {missing}, and unknown is not zero",
    "collar_market_order": "{order}: a market order has no price that a collar could bound",
    "price_collar": "{order}: price {price:.6g} is further than {width:.6g} from the fair value "
    "{fair:.6g}",
    "period_collar": "{order}: price {price:.6g} is further than {width:.6g} from {fair:.6g}, the "
    "fair value of an order sent {age:.6g} s before",
    "value_unknown": "{order}: the order's value needs the {missing}, and unknown is not zero",
    "order_value": "{order}: a value of {value:.6g}, above the cap {cap:.6g}",
    "order_volume": "{order}: a volume of {volume:.6g}, above the cap {cap:.6g}",
    "message_rate": "{order}: {sent} messages in the last {seconds:.6g} s, of {cap} allowed",
    "duplicate_order": "{order}: the same order was sent {age:.6g} s before; it may be repeated "
    "after {seconds:.6g} s",
    "throttled": "{order}: strategy {strategy!r} is off after {executions} executions, until an "
    "operator re-enables it",
}


_WORDS = REASONS | ORDER_REASONS


class Reason(NamedTuple):
    """One reason: a stable code, the measure it is about ("" for none), and what its words are
    filled from, which most readers of a decision never ask for.

    Example:
        >>> reason = Reason.of("cap_exceeded", "delta", asked=140.0, cap=100.0)
        >>> reason.code, reason.words
        ('cap_exceeded', 'delta would be 140, outside its cap 100')
    """

    code: str
    measure: str = ""
    given: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, code: str, measure: str = "", /, **given: Any) -> Self:
        return cls(code, measure, tuple(given.items()))

    @property
    def words(self) -> str:
        given: dict[str, Any] = {"measure": self.measure, **dict(self.given)}
        if self.code == "cap_exceeded":  # as many digits as tell the two apart
            asked, cap = given["asked"], given["cap"]
            apart = (d for d in range(6, 17) if f"{asked:.{d}g}" != f"{cap:.{d}g}")
            given["digits"] = next(apart, 17)
        return _WORDS[self.code].format(**given)


@dataclass(frozen=True, slots=True)
class Alert:
    """Something an operator should see: level "warning" or "critical", a code, a measure.

    Example:
        >>> Alert("critical", "rung_halted", "").level
        'critical'
    """

    level: str
    code: str
    measure: str
