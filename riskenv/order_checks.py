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

import hashlib
import hmac
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from operator import attrgetter, index
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from riskenv import canonical
from riskenv.config import Config, load_config
from riskenv.instruments import NS_PER_SECOND, Instrument
from riskenv.reasons import Reason

# Stable codes and the words for them; {…} is filled from the order's numbers.
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


def _nanoseconds(seconds: float) -> int:
    return round(seconds * NS_PER_SECOND)


class PriceCollar(Config):
    """How far an order's price may lie from the fair value, up or down: the wider of two widths.

    Attributes:
        share: width as a share of the fair value.
        half_spreads: width in half-spreads of the quote; keeps a cheap option tradable, whose
            spread is a large share of its value.
        market_orders: an order without a limit price is denied ("deny"), or judged at the quote
            that it would hit, fair value plus or minus the half-spread ("at_quote").

    Example:
        >>> PriceCollar(share=0.1, half_spreads=4).width(2.0, 0.01)
        0.2
        >>> PriceCollar(share=0.1, half_spreads=4).width(0.05, 0.01)
        0.04
    """

    share: float | None = Field(default=None, gt=0.0, le=10.0)
    half_spreads: float | None = Field(default=None, gt=0.0, le=1000.0)
    market_orders: Literal["deny", "at_quote"] = "deny"

    @model_validator(mode="after")
    def _has_a_width(self) -> Self:
        if self.share is None and self.half_spreads is None:
            raise ValueError("share, half_spreads: got neither; allowed: one or both")
        return self

    def width(self, fair_value: float, half_spread: float) -> float:
        """Currency per point; NaN where a number that it needs is Unknown."""
        share = 0.0 if self.share is None else self.share * abs(fair_value)
        spreads = 0.0 if self.half_spreads is None else self.half_spreads * half_spread
        wider = max(share, spreads)
        return wider if math.isfinite(share + spreads) else math.nan


class PeriodCollar(PriceCollar):
    """The same width around the fair value of each order sent in the contract in the last seconds.

    A model that runs away takes a collar around its own value with it; this one stays behind.

    Example:
        >>> PeriodCollar(share=0.2, seconds=60).width(10.0, 0.05)
        2.0
    """

    seconds: float = Field(ge=1e-9, le=1e9)


class OrderCaps(Config):
    """Limits of one order in one kind of instrument; a missing one means no check.

    Attributes:
        collar, period_collar: of the price.
        max_value: lots x price x multiplier in the book's currency, at the higher of order price
            and fair value: a sell below the market fills at the market.
        max_volume: contracts, or shares.

    Example:
        >>> OrderCaps(max_volume=50).max_volume
        50.0
    """

    collar: PriceCollar | None = None
    period_collar: PeriodCollar | None = None
    max_value: float | None = Field(default=None, gt=0.0)
    max_volume: float | None = Field(default=None, gt=0.0)


class MessageLimit(Config):
    """At most `max_messages` in any `seconds`: a rolling window, open at its far end.

    Example:
        >>> MessageLimit(max_messages=20, seconds=1).max_messages
        20
    """

    max_messages: int = Field(ge=1)
    seconds: float = Field(ge=1e-9, le=1e9)


class OrderLimits(Config):
    """Every control on order entry; a missing one is not applied.

    Attributes:
        options, underlyings: caps on an order in an option, and in a share, an index or a future.
        messages: how many orders and cancels may be sent.
        duplicate_seconds: how long an order equal in instrument, side, lots and price is denied.
        max_executions: executions of one strategy after which it is off.
        operator_token_sha256: sha256 (hex) of the token that re-enables a strategy; without one a
            strategy stays off.

    Example:
        >>> limits = load_config(OrderLimits, {"options": {"collar": {"share": 0.2}}})
        >>> limits.caps_of(Instrument("SPX")).collar is None
        True
        >>> load_config(OrderLimits, {"messages": {"max_messages": 5, "seconds": 0}})
        Traceback (most recent call last):
            ...
        riskenv.config.ConfigError: OrderLimits is not valid:
          messages.seconds: got 0; input should be greater than or equal to 0.000000001
    """

    options: OrderCaps = OrderCaps()
    underlyings: OrderCaps = OrderCaps()
    messages: MessageLimit | None = None
    duplicate_seconds: float | None = Field(default=None, ge=1e-9, le=1e9)
    max_executions: int | None = Field(default=None, ge=1)
    operator_token_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    def caps_of(self, instrument: Instrument) -> OrderCaps:
        return self.options if instrument.is_option else self.underlyings

    @property
    def memory(self) -> int:
        """Nanoseconds after which a message is forgotten: the longest window."""
        periods = (self.options.period_collar, self.underlyings.period_collar, self.messages)
        seconds = [part.seconds for part in periods if part is not None]
        return _nanoseconds(max([*seconds, self.duplicate_seconds or 0.0]))


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


@dataclass(frozen=True, slots=True)
class Message:
    """An order that was sent, or a cancel, which has no contract.

    Attributes:
        time: nanoseconds; contract: the instrument's identity as text; "" for a cancel.
        lots, price: of the order; fair_value: when it was sent, None where it was Unknown.

    Example:
        >>> Message(time=5).contract
        ''
    """

    time: int
    contract: str = ""
    lots: float = 0.0
    price: float | None = None
    fair_value: float | None = None


@dataclass(frozen=True, slots=True)
class OrderWindow:
    """All that the controls remember. A value: saved, restored, hashed and compared.

    Attributes:
        time: nanoseconds of the last call; None before the first.
        messages: sent within the longest window, oldest first.
        executions: (strategy, count since it was last enabled), sorted; counts above 0.
        throttled: strategies that are off, sorted.
        re_enabled: (strategy, the reason an operator last gave), sorted.

    Example:
        >>> window = OrderWindow(time=7, messages=(Message(5),), executions=(("condor", 2),))
        >>> OrderWindow.from_dict(window.to_dict()) == window
        True
        >>> OrderWindow.from_dict(window.to_dict() | {"time": 3})
        Traceback (most recent call last):
            ...
        riskenv.config.ConfigError: _SavedWindow is not valid:
          (whole): got {'executions': {'condor': 2}, 'messages': [{...}], 're_enabled': {}, \
'throttled': [], 'time': 3}; messages: got times [5]; allowed: ascending, up to time 3
    """

    time: int | None = None
    messages: tuple[Message, ...] = ()
    executions: tuple[tuple[str, int], ...] = ()
    throttled: tuple[str, ...] = ()
    re_enabled: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "time": self.time,
            "messages": [asdict(message) for message in self.messages],
            "executions": dict(self.executions),
            "throttled": list(self.throttled),
            "re_enabled": dict(self.re_enabled),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OrderWindow:
        """Inverse of `to_dict`.

        Raises:
            ConfigError: a key is missing or unknown, or a value could not have been saved. A lost
                window is not an empty one.
        """
        saved = load_config(_SavedWindow, values)
        return cls(
            saved.time,
            tuple(Message(**dict(message)) for message in saved.messages),
            tuple(sorted(saved.executions.items())),
            tuple(sorted(saved.throttled)),
            tuple(sorted(saved.re_enabled.items())),
        )

    @property
    def digest(self) -> str:
        return canonical.digest(self.to_dict())


class _SavedMessage(Config):
    time: int
    contract: str
    lots: float
    price: float | None
    fair_value: float | None


class _SavedWindow(Config):
    time: int | None
    messages: tuple[_SavedMessage, ...]
    executions: dict[str, int]
    throttled: tuple[str, ...]
    re_enabled: dict[str, str]

    @model_validator(mode="after")
    def _could_have_been_saved(self) -> Self:
        times = [message.time for message in self.messages]
        if times and (self.time is None or times != sorted(times) or times[-1] > self.time):
            raise ValueError(
                f"messages: got times {times}; allowed: ascending, up to time {self.time}"
            )
        if any(count < 1 for count in self.executions.values()):
            raise ValueError(f"executions: got {self.executions}; allowed: counts above 0")
        if len(set(self.throttled)) < len(self.throttled):
            raise ValueError(f"throttled: got {self.throttled}; allowed: each strategy once")
        return self


# --- what is asked, and what happens --------------------------------------------------------------


def check_order(
    window: OrderWindow,
    order: Order,
    now: int,
    fair_value: float,
    half_spread: float,
    multiplier: float,
    fx: float,
    limits: OrderLimits,
) -> tuple[OrderWindow, tuple[Reason, ...]]:
    """The window after the question, and why the order is denied: () if it may be sent.

    An order that passes counts as sent at `now`; one that is denied leaves no trace but the time.

    Args:
        now: nanoseconds, of the clock or of session time; the same one in every call.
        fair_value: the model's value, or the mid, in currency per point; NaN = Unknown.
        half_spread: currency per point; NaN = Unknown.
        multiplier: currency per point, per contract; fx: the book's currency for one of the
            instrument's.

    Raises:
        ValueError: `now` lies before the last call.
        TypeError: `now` is no integer.

    Example:
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
    window = _at(window, now, limits)
    invalid = tuple(_invalid(order))
    if invalid:
        return window, invalid
    lots = float(order.lots)
    fair = _known(fair_value, negative=_is_future(order.instrument))
    half = _known(half_spread)
    # A market order fills at the quote; NaN where that is Unknown.
    price = fair + math.copysign(half, lots)
    if order.limit_price is not None:
        price = float(order.limit_price)
    caps, contract = limits.caps_of(order.instrument), _contract(order.instrument)
    reasons = (
        *_outside_collars(caps, order, price, fair, half, window, contract),
        *_too_large(caps, order, price, fair, _factor(multiplier), _factor(fx)),
        *_too_many_messages(limits, order, window),
        *_duplicate(limits, order, window, contract),
        *_throttled(order, window),
    )
    if reasons:
        return window, tuple(dict.fromkeys(reasons))
    limit = None if order.limit_price is None else canonical.number(price)
    sent = Message(index(now), contract, lots, limit, canonical.number(fair))
    return _sent(window, sent, limits), ()


def record_cancel(window: OrderWindow, now: int, limits: OrderLimits) -> OrderWindow:
    """A cancel is sent: it counts as a message, and is never denied.

    Raises:
        ValueError: `now` lies before the last call.

    Example:
        >>> limits = OrderLimits(messages=MessageLimit(max_messages=1, seconds=1))
        >>> window = record_cancel(OrderWindow(), 0, limits)
        >>> order = Order(Instrument("SPY"), 1)
        >>> check_order(window, order, 5, 400.0, 0.01, 1.0, 1.0, limits)[1][0].words
        'SPY: 1 messages in the last 1 s, of 1 allowed'
    """
    window = _at(window, now, limits)
    return _sent(window, Message(index(now)), limits)


def record_execution(
    window: OrderWindow, strategy: str, now: int, limits: OrderLimits
) -> OrderWindow:
    """The strategy was executed once more; after `max_executions` it is off.

    Executions are counted since the strategy was last enabled, however far apart, and whether or
    not it is off already. Who must bound what is sent before fills come back, calls this when an
    order is sent.

    Raises:
        ValueError: `now` lies before the last call.

    Example:
        >>> window = record_execution(OrderWindow(), "condor", 0, OrderLimits(max_executions=1))
        >>> window.executions, window.throttled
        ((('condor', 1),), ('condor',))
    """
    window = _at(window, now, limits)
    counts = dict(window.executions)
    counts[strategy] = counts.get(strategy, 0) + 1
    return _latched(replace(window, executions=tuple(sorted(counts.items()))), limits)


def re_enable(
    window: OrderWindow, strategy: str, token: str, limits: OrderLimits, reason: str
) -> OrderWindow:
    """An operator puts a strategy on again; its executions count from 0, the reason is kept.

    Raises:
        ValueError: no reason given.
        PermissionError: the strategy is not off, no token is configured, or it is the wrong one.

    Example:
        >>> secret = hashlib.sha256(b"go on").hexdigest()
        >>> limits = OrderLimits(max_executions=1, operator_token_sha256=secret)
        >>> window = record_execution(OrderWindow(), "condor", 0, limits)
        >>> re_enable(window, "condor", "go on", limits, "roll day").throttled
        ()
        >>> re_enable(window, "condor", "please", limits, "roll day")
        Traceback (most recent call last):
            ...
        PermissionError: token: not the operator's
    """
    window = _latched(window, limits)
    if not reason:
        raise ValueError("reason: got ''; allowed: why the strategy is enabled again")
    if strategy not in window.throttled:
        raise PermissionError(f"strategy: got {strategy!r}; off are {list(window.throttled)}")
    if limits.operator_token_sha256 is None:
        raise PermissionError("operator_token_sha256: none configured; this throttle is final")
    given = hashlib.sha256(token.encode()).hexdigest()
    if not hmac.compare_digest(given, limits.operator_token_sha256):
        raise PermissionError("token: not the operator's")
    return replace(
        window,
        executions=tuple(pair for pair in window.executions if pair[0] != strategy),
        throttled=tuple(name for name in window.throttled if name != strategy),
        re_enabled=tuple(sorted((dict(window.re_enabled) | {strategy: reason}).items())),
    )


# --- the controls ---------------------------------------------------------------------------------


def _reason(code: str, order: Order, **numbers: object) -> Reason:
    return Reason(code, "", ORDER_REASONS[code].format(order=order.name, **numbers))


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
            (message.fair_value, _age(message, window))
            for message in _recent(window, caps.period_collar.seconds)
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
        sent = len(_recent(window, seconds))
        if not (sent + 1 <= cap):
            yield _reason("message_rate", order, sent=sent, seconds=seconds, cap=cap)


def _duplicate(
    limits: OrderLimits, order: Order, window: OrderWindow, contract: str
) -> Iterator[Reason]:
    seconds = limits.duplicate_seconds
    if seconds is not None:
        asked = (contract, order.lots, order.limit_price)
        for message in reversed(_recent(window, seconds)):
            if (message.contract, message.lots, message.price) == asked:
                yield _reason("duplicate_order", order, age=_age(message, window), seconds=seconds)
                return


def _throttled(order: Order, window: OrderWindow) -> Iterator[Reason]:
    """Article 15(3); what the limits say now does not switch a strategy on."""
    if order.strategy in window.throttled:
        executions = dict(window.executions).get(order.strategy, 0)
        yield _reason("throttled", order, strategy=order.strategy, executions=executions)


# --- the window and the numbers -------------------------------------------------------------------


def _at(window: OrderWindow, now: int, limits: OrderLimits) -> OrderWindow:
    """The window at `now`: forgotten is what no control asks for any more."""
    now = index(now)
    if window.time is not None and now < window.time:
        raise ValueError(f"now: got {now}; allowed: {window.time} or later - time does not go back")
    kept = _after(window.messages, now - limits.memory)
    return _latched(replace(window, time=now, messages=kept), limits)


def _sent(window: OrderWindow, message: Message, limits: OrderLimits) -> OrderWindow:
    return replace(window, messages=(*window.messages, message)) if limits.memory else window


def _latched(window: OrderWindow, limits: OrderLimits) -> OrderWindow:
    """Off is every strategy that was, and each that has reached the limit as it is now."""
    if limits.max_executions is None:
        return window
    reached = {name for name, count in window.executions if not (count < limits.max_executions)}
    return replace(window, throttled=tuple(sorted(reached.union(window.throttled))))


def _recent(window: OrderWindow, seconds: float) -> tuple[Message, ...]:
    """Messages of the last `seconds`, oldest first."""
    return _after(window.messages, (window.time or 0) - _nanoseconds(seconds))


def _after(messages: tuple[Message, ...], time: int) -> tuple[Message, ...]:
    return messages[bisect_right(messages, time, key=attrgetter("time")) :]


def _age(message: Message, window: OrderWindow) -> float:
    """Seconds."""
    return ((window.time or 0) - message.time) / NS_PER_SECOND


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
