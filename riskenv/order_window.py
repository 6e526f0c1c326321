"""What the controls on orders remember: a value, and how it moves."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from operator import attrgetter, index
from typing import Any, Self

from pydantic import model_validator

from riskenv import canonical
from riskenv.config import Config, load_config
from riskenv.instruments import NS_PER_SECOND
from riskenv.operator_token import check_token
from riskenv.order_limits import OrderLimits, nanoseconds


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
        riskenv.config.ConfigError: SavedWindow is not valid:
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
        return cls.restored(load_config(SavedWindow, values))

    @classmethod
    def restored(cls, saved: SavedWindow) -> OrderWindow:
        """From what was validated already.

        Example:
            >>> OrderWindow.restored(SavedWindow.model_validate(OrderWindow().to_dict()))
            OrderWindow(time=None, messages=(), executions=(), throttled=(), re_enabled=())
        """
        return cls(
            saved.time,
            tuple(Message(**dict(message)) for message in saved.messages),
            tuple(sorted(saved.executions.items())),
            tuple(sorted(saved.throttled)),
            tuple(sorted(saved.re_enabled.items())),
        )

    def at(self, now: int, limits: OrderLimits) -> OrderWindow:
        """The window at `now`: forgotten is what no control asks for any more.

        Raises:
            ValueError: `now` lies before the last call.
            TypeError: `now` is no integer.

        Example:
            >>> OrderWindow(messages=(Message(5),)).at(6, OrderLimits(duplicate_seconds=1)).messages
            (Message(time=5, contract='', lots=0.0, price=None, fair_value=None),)
            >>> OrderWindow(messages=(Message(5),)).at(6, OrderLimits()).messages
            ()
        """
        now = index(now)
        if self.time is not None and now < self.time:
            raise ValueError(
                f"now: got {now}; allowed: {self.time} or later - time does not go back"
            )
        kept = _after(self.messages, now - limits.memory)
        return replace(self, time=now, messages=kept).latched(limits)

    def latched(self, limits: OrderLimits) -> OrderWindow:
        """Off is every strategy that was, and each that has reached the limit as it is now.

        Example:
            >>> window = OrderWindow(executions=(("condor", 2),))
            >>> window.latched(OrderLimits(max_executions=2)).throttled
            ('condor',)
        """
        if limits.max_executions is None:
            return self
        reached = {name for name, count in self.executions if not (count < limits.max_executions)}
        if reached <= set(self.throttled):
            return self
        return replace(self, throttled=tuple(sorted(reached.union(self.throttled))))

    def sending(self, message: Message, limits: OrderLimits) -> OrderWindow:
        """The window with one message more, if any control looks at messages.

        Example:
            >>> len(OrderWindow().sending(Message(5), OrderLimits(duplicate_seconds=1)).messages)
            1
        """
        return replace(self, messages=(*self.messages, message)) if limits.memory else self

    def recent(self, seconds: float) -> tuple[Message, ...]:
        """Messages of the last `seconds`, oldest first; open at the far end.

        Example:
            >>> OrderWindow(time=10**9, messages=(Message(0), Message(1))).recent(1.0)[0].time
            1
        """
        return _after(self.messages, (self.time or 0) - nanoseconds(seconds))

    def age(self, message: Message) -> float:
        """Seconds since a message was sent.

        Example:
            >>> OrderWindow(time=10**9).age(Message(0))
            1.0
        """
        return ((self.time or 0) - message.time) / NS_PER_SECOND

    @property
    def digest(self) -> str:
        return canonical.digest(self.to_dict())


class SavedMessage(Config):
    """What is written of a `Message`: every key is there.

    Example:
        >>> SavedMessage.model_validate(asdict(Message(5))).time
        5
    """

    time: int
    contract: str
    lots: float
    price: float | None
    fair_value: float | None


class SavedWindow(Config):
    """What `OrderWindow.to_dict` writes: every key is there.

    Example:
        >>> SavedWindow.model_validate(OrderWindow().to_dict()).throttled
        ()
    """

    time: int | None
    messages: tuple[SavedMessage, ...]
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


def _after(messages: tuple[Message, ...], time: int) -> tuple[Message, ...]:
    return messages[bisect_right(messages, time, key=attrgetter("time")) :]


# --- what moves it --------------------------------------------------------------------------------


def record_cancel(window: OrderWindow, now: int, limits: OrderLimits) -> OrderWindow:
    """A cancel is sent: it counts as a message, and is never denied.

    Raises:
        ValueError: `now` lies before the last call.

    Example:
        >>> from riskenv.instruments import Instrument
        >>> from riskenv.order_checks import Order, check_order
        >>> from riskenv.order_limits import MessageLimit
        >>> from riskenv.instruments import Instrument
        >>> from riskenv.order_checks import Order, check_order
        >>> from riskenv.order_limits import MessageLimit
        >>> limits = OrderLimits(messages=MessageLimit(max_messages=1, seconds=1))
        >>> window = record_cancel(OrderWindow(), 0, limits)
        >>> order = Order(Instrument("SPY"), 1)
        >>> check_order(window, order, 5, 400.0, 0.01, 1.0, 1.0, limits)[1][0].words
        'SPY: 1 messages in the last 1 s, of 1 allowed'
    """
    window = window.at(now, limits)
    return window.sending(Message(index(now)), limits)


def record_execution(
    window: OrderWindow, strategy: str, now: int, limits: OrderLimits
) -> OrderWindow:
    """The strategy was executed once more; after `max_executions` it is off.

    Executions are counted since the strategy was last enabled, however far apart, and whether or
    not it is off already. Who must bound what is sent before fills come back, calls this when an
    order is sent.

    Raises:
        ValueError: `now` lies before the last call.
        TypeError: a strategy that is no text.

    Example:
        >>> window = record_execution(OrderWindow(), "condor", 0, OrderLimits(max_executions=1))
        >>> window.executions, window.throttled
        ((('condor', 1),), ('condor',))
    """
    if not isinstance(strategy, str):
        raise TypeError(f"strategy: got {strategy!r}; allowed: text")
    window = window.at(now, limits)
    counts = dict(window.executions)
    counts[strategy] = counts.get(strategy, 0) + 1
    return replace(window, executions=tuple(sorted(counts.items()))).latched(limits)


def re_enable(
    window: OrderWindow,
    strategy: str,
    token: str,
    limits: OrderLimits,
    reason: str,
    token_sha256: str | None,
) -> OrderWindow:
    """An operator puts a strategy on again; its executions count from 0, the reason is kept.

    Args:
        token: the operator's; token_sha256: its hash, `RiskLimits.operator_token_sha256`.
        reason: why the strategy is enabled again.

    Raises:
        ValueError: no reason given.
        PermissionError: the strategy is not off, no token is configured, or it is the wrong one.

    Example:
        >>> import hashlib
        >>> secret = hashlib.sha256(b"go on").hexdigest()
        >>> limits = OrderLimits(max_executions=1)
        >>> window = record_execution(OrderWindow(), "condor", 0, limits)
        >>> re_enable(window, "condor", "go on", limits, "roll day", secret).throttled
        ()
        >>> re_enable(window, "condor", "please", limits, "roll day", secret)
        Traceback (most recent call last):
            ...
        PermissionError: token: not the operator's
    """
    window = window.latched(limits)
    if not reason.strip():
        raise ValueError(f"reason: got {reason!r}; allowed: why the strategy is enabled again")
    if strategy not in window.throttled:
        raise PermissionError(f"strategy: got {strategy!r}; off are {list(window.throttled)}")
    check_token(token, token_sha256, "this throttle")
    return replace(
        window,
        executions=tuple(pair for pair in window.executions if pair[0] != strategy),
        throttled=tuple(name for name in window.throttled if name != strategy),
        re_enabled=tuple(sorted((dict(window.re_enabled) | {strategy: reason}).items())),
    )
