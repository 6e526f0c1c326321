"""Why a decision is what it is: stable codes and their words, and what an operator should see."""

from __future__ import annotations

from dataclasses import dataclass

# Stable codes and the words for them; {…} is filled from the measure's numbers.
REASONS = {
    "cap_exceeded": "{measure} would be {asked:.6g}, outside its cap {cap:.6g}",
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


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason: a stable code, the measure it is about ("" for none), and words.

    Example:
        >>> Reason("unknown_risk", "es_1d", "es_1d cannot be computed").code
        'unknown_risk'
    """

    code: str
    measure: str
    words: str


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
