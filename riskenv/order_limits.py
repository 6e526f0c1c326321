"""Limits on what is sent: price collars, value, volume, messages, duplicates, executions.

What each of them means is said in `riskenv.order_checks`, which applies them.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from riskenv.config import Config
from riskenv.instruments import NS_PER_SECOND, Instrument


def nanoseconds(seconds: float) -> int:
    """Seconds as the whole nanoseconds that windows are counted in.

    Example:
        >>> nanoseconds(0.25)
        250000000
    """
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

    @field_validator("half_spreads")
    @classmethod
    def _has_a_width(cls, half_spreads: float | None, so_far: ValidationInfo) -> float | None:
        # A share that is itself refused is missing, and no reason to complain twice.
        if half_spreads is None and so_far.data.get("share", 0.0) is None:
            raise ValueError("share, half_spreads: got neither; allowed: one or both")
        return half_spreads

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
        max_executions: executions of one strategy after which it is off until an operator
            re-enables it.

    Example:
        >>> from riskenv.config import load_config
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

    def caps_of(self, instrument: Instrument) -> OrderCaps:
        """Those of the instrument's kind."""
        return self.options if instrument.is_option else self.underlyings

    @property
    def memory(self) -> int:
        """Nanoseconds after which a message is forgotten: the longest window."""
        periods = (self.options.period_collar, self.underlyings.period_collar, self.messages)
        seconds = [part.seconds for part in periods if part is not None]
        return nanoseconds(max([*seconds, self.duplicate_seconds or 0.0]))
