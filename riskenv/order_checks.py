"""Pre-trade controls on one order: price collar, value, volume, messages, duplicates, throttle.

They are the controls that Commission Delegated Regulation (EU) 2017/589 (RTS 6), article 15, lists
for order entry; duplicates are added. What that article leaves open is read as follows:

- Paragraph 2 counts the orders that are *sent*. A denied order never reaches the venue: it is no
  message, and the same order is no duplicate of it. A client that keeps asking for what it cannot
  have thus takes no room from orders that reduce risk. Cancels count (paragraph 1 d) but are never
  denied: a limit that held back cancels would keep risk in the market.
- Paragraph 1 a asks for a collar by order and over a period: `PriceCollar` and `PeriodCollar`.
- Paragraph 3 switches the *strategy* off, so its closing orders stop with the others: what it
  takes for closing may be what is wrong with it. Its positions are closed under another tag, and
  cancels pass. No order is exempt from the other controls either, closing or not.

Everything is pure: `now` is an argument, what is remembered is an `OrderWindow`, and a number that
a configured control needs and that is Unknown denies the order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from operator import index
from typing import Any

from riskenv import canonical
from riskenv.instruments import Instrument
from riskenv.order_limits import OrderCaps, OrderLimits, PriceCollar
from riskenv.order_window import Message, OrderWindow
from riskenv.reasons import Reason


@dataclass(frozen=True, slots=True)
class Order:
    """An order as it would be sent; a changed order is the new one that it becomes.

    Attributes:
        lots: signed contracts, buy > 0.
        limit_price: currency per point; None for a market order.
        strategy: tag that executions are counted under; "" is a strategy like any other.
        client_id: names the order in words; "" for the instrument's symbol.

    Example:
        >>> Order(Instrument("SPY"), -10, limit_price=400.0, client_id="a7").name
        'a7'
    """

    instrument: Instrument
    lots: float
    limit_price: float | None = None
    strategy: str = ""
    client_id: str = ""

    @property
    def name(self) -> str:
        return self.client_id or self.instrument.symbol

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, of an order that may be sent: its numbers are finite."""
        return {
            "client_id": self.client_id,
            "symbol": self.instrument.symbol,
            "lots": canonical.number(self.lots),
            "limit_price": None if self.limit_price is None else canonical.number(self.limit_price),
            "strategy": self.strategy,
        }


def check_order(
    window: OrderWindow,
    order: Order,
    now: int,
    fair_value: float,
    half_spread: float,
    multiplier: float,
    fx: float,
    limits: OrderLimits,
    mid: float | None = None,
) -> tuple[OrderWindow, tuple[Reason, ...]]:
    """The window after the question, and why the order is denied: () if it may be sent.

    An order that passes counts as sent at `now`; one that is denied leaves no trace but the time.

    Args:
        now: nanoseconds, of the clock or of session time; the same one in every call.
        fair_value: that prices are held against: the model's value, or the mid; currency per point,
            NaN = Unknown.
        half_spread: currency per point; NaN = Unknown.
        multiplier: currency per point, per contract; fx: the book's currency for one of the
            instrument's.
        mid: of the quote, which a market order fills half a spread away from; None = the fair
            value.

    Raises:
        ValueError: `now` lies before the last call.
        TypeError: `now` is no integer.

    Example:
        >>> from riskenv.order_limits import OrderCaps, OrderLimits, PriceCollar
        >>> limits = OrderLimits(underlyings=OrderCaps(collar=PriceCollar(share=0.01)),
        ...                      duplicate_seconds=2)
        >>> buy = Order(Instrument("SPY"), 10, limit_price=401.0, client_id="a7")
        >>> window, reasons = check_order(OrderWindow(), buy, 0, 400.0, 0.01, 1.0, 1.0, limits)
        >>> reasons
        ()
        >>> window, reasons = check_order(window, buy, 10**9, 390.0, 0.01, 1.0, 1.0, limits)
        >>> for reason in reasons:
        ...     print(reason.code, "-", reason.words)
        price_collar - a7: price 401 is further than 3.9 from the fair value 390
        duplicate_order - a7: the same order was sent 1 s before; it may be repeated after 2 s
        >>> check_order(window, buy, 3 * 10**9, float("nan"), 0.01, 1.0, 1.0, limits)[1][0].code
        'collar_unknown'
    """
    window = window.at(now, limits)
    invalid = tuple(_invalid(order))
    if invalid:
        return window, invalid
    lots = float(order.lots)
    fair = _known(fair_value, negative=_is_future(order.instrument))
    half = _known(half_spread)
    # A market order fills at the quote; NaN where that is Unknown.
    middle = fair if mid is None else _known(mid, negative=_is_future(order.instrument))
    price = middle + math.copysign(half, lots)
    if order.limit_price is not None:
        price = float(order.limit_price)
    caps, contract = limits.caps_of(order.instrument), _contract(order.instrument)
    reasons = (
        *_outside_collars(caps, order, price, fair, half, window, contract),
        *_too_large(caps, order, price, fair, _factor(multiplier), _factor(fx)),
        *_too_many_messages(limits, order, window),
        *_duplicate(limits, order, window, contract),
        *throttled(order.strategy, window, order.name),
    )
    if reasons:
        return window, tuple(dict.fromkeys(reasons))
    limit = None if order.limit_price is None else canonical.number(price)
    sent = Message(index(now), contract, lots, limit, canonical.number(fair))
    return window.sending(sent, limits), ()


# --- the controls ---------------------------------------------------------------------------------


def _reason(code: str, order: Order, **numbers: object) -> Reason:
    return Reason.of(code, order=order.name, **numbers)


def _invalid(order: Order) -> Iterator[Reason]:
    """An order that is none: no number of lots, or no price."""
    lots, price = _number(order.lots), _number(order.limit_price)
    future = _is_future(order.instrument)
    if not (math.isfinite(lots) and lots != 0.0):
        allowed = "a finite number other than 0"
        yield _reason("order_invalid", order, what="lots", value=lots, allowed=allowed)
    if order.limit_price is not None and not (math.isfinite(price) and (future or price > 0.0)):
        allowed = "a finite number" if future else "a finite number above 0"
        yield _reason("order_invalid", order, what="limit_price", value=price, allowed=allowed)


def _outside_collars(
    caps: OrderCaps,
    order: Order,
    price: float,
    fair: float,
    half: float,
    window: OrderWindow,
    contract: str,
) -> Iterator[Reason]:
    """Article 15(1)(a), by order and over a period."""
    if caps.collar is not None:
        yield from _outside("price_collar", caps.collar, order, price, fair, half, [(fair, 0.0)])
    if caps.period_collar is not None:
        past = [
            (message.fair_value, window.age(message))
            for message in window.recent(caps.period_collar.seconds)
            if message.contract == contract and message.fair_value is not None
        ]
        yield from _outside("period_collar", caps.period_collar, order, price, fair, half, past)


def _outside(
    code: str,
    collar: PriceCollar,
    order: Order,
    price: float,
    fair: float,
    half: float,
    references: list[tuple[float, float]],
) -> Iterator[Reason]:
    """The first reference, (fair value, its age in seconds), that the price is too far from."""
    market_order = order.limit_price is None
    if market_order and collar.market_orders == "deny":
        yield _reason("collar_market_order", order)
        return
    if not (math.isfinite(collar.width(fair, half)) and math.isfinite(price - fair)):
        needs_half = market_order or collar.half_spreads is not None
        missing = _missing(fair_value=fair, half_spread=half if needs_half else 0.0)
        yield _reason("collar_unknown", order, missing=missing)
        return
    for reference, age in references:
        width = collar.width(reference, half)
        if not (abs(price - reference) <= width):
            numbers = {"price": price, "width": width, "fair": reference}
            yield _reason(code, order, age=age, **numbers)
            return


def _too_large(
    caps: OrderCaps, order: Order, price: float, fair: float, multiplier: float, fx: float
) -> Iterator[Reason]:
    """Article 15(1)(b) and (c)."""
    volume = abs(float(order.lots))
    if caps.max_volume is not None and not (volume <= caps.max_volume):
        yield _reason("order_volume", order, volume=volume, cap=caps.max_volume)
    if caps.max_value is not None:
        # Each number on its own: Python's max() may drop a NaN.
        if not all(math.isfinite(number) for number in (price, fair, multiplier, fx)):
            half = 0.0 if math.isfinite(price) or not math.isfinite(fair) else math.nan
            missing = _missing(fair_value=fair, half_spread=half, multiplier=multiplier, fx=fx)
            yield _reason("value_unknown", order, missing=missing)
            return
        value = volume * max(abs(price), abs(fair)) * multiplier * fx
        if not (value <= caps.max_value):
            yield _reason("order_value", order, value=value, cap=caps.max_value)


def _too_many_messages(limits: OrderLimits, order: Order, window: OrderWindow) -> Iterator[Reason]:
    """Article 15(1)(d)."""
    if limits.messages is not None:
        seconds, cap = limits.messages.seconds, limits.messages.max_messages
        sent = len(window.recent(seconds))
        if not (sent + 1 <= cap):
            yield _reason("message_rate", order, sent=sent, seconds=seconds, cap=cap)


def _duplicate(
    limits: OrderLimits, order: Order, window: OrderWindow, contract: str
) -> Iterator[Reason]:
    seconds = limits.duplicate_seconds
    if seconds is not None:
        asked = (contract, order.lots, order.limit_price)
        for message in reversed(window.recent(seconds)):
            if (message.contract, message.lots, message.price) == asked:
                yield _reason("duplicate_order", order, age=window.age(message), seconds=seconds)
                return


def throttled(strategy: str, window: OrderWindow, name: str) -> Iterator[Reason]:
    """Article 15(3): why nothing of a strategy that is off is sent, of what is called `name`. What
    the limits say now does not switch a strategy on.

    Example:
        >>> window = OrderWindow(executions=(("condor", 2),), throttled=("condor",))
        >>> [reason.words for reason in throttled("condor", window, "a7")]
        ["a7: strategy 'condor' is off after 2 executions, until an operator re-enables it"]
    """
    if strategy in window.throttled:
        executions = dict(window.executions).get(strategy, 0)
        yield Reason.of("throttled", order=name, strategy=strategy, executions=executions)


# --- numbers --------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _contract(instrument: Instrument) -> str:
    """What the instrument is, as text: the same for equal instruments, however they are spelt."""
    i = instrument
    terms = [i.underlying, i.right, int(i.expiry), float(i.strike), float(i.multiplier)]
    return canonical.to_bytes([*terms, i.currency, i.exercise, bool(i.on_future)]).decode()


def _is_future(instrument: Instrument) -> bool:
    """Whether a price may be 0 or below."""
    return instrument.on_future and not instrument.is_option


def _number(value: object) -> float:
    """NaN for what no float holds."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _known(value: float, *, negative: bool = False) -> float:
    """NaN for what is no price or spread: not finite, or below 0 where none can be."""
    value = _number(value)
    return value if math.isfinite(value) and (negative or value >= 0.0) else math.nan


def _factor(value: float) -> float:
    """NaN for what is no multiplier or rate: a 0 would make any order worth nothing."""
    return _known(value) or math.nan


def _missing(**numbers: float) -> str:
    unknown = [name.replace("_", " ") for name, n in numbers.items() if not math.isfinite(n)]
    return ", ".join(unknown) or "price's distance"
