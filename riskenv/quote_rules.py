"""When a quote may be trusted, and what is assumed of one that may not."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from riskenv.config import Config
from riskenv.feed_agreement import GreeksTolerance
from riskenv.instruments import NS_PER_DAY, NS_PER_SECOND

NO_LIMIT = 2**63 - 1


class QuoteRules(Config):
    """Rules for a market's numbers.

    Attributes:
        max_quote_age_seconds: an option's or a share's quote, and a spot, older than this, or
            without a time, is Unknown. None: age is not looked at.
        clock_skew_seconds: a quote from further ahead of `now` than this is Unknown: nobody has it.
        max_beta_age_days: a beta estimated longer ago than this is Unknown.
        unknown_vol_low, unknown_vol_high: the volatilities, per year, between which the exposure
            of an option lies whose own volatility is Unknown.
        feed_tolerance: how far Greeks from a feed may lie from the computed ones.

    Example:
        >>> QuoteRules(max_quote_age_seconds=30).max_quote_age
        30000000000
    """

    max_quote_age_seconds: float | None = Field(default=None, gt=0.0, le=1e9)
    clock_skew_seconds: float = Field(default=1.0, ge=0.0, le=3600.0)
    max_beta_age_days: float = Field(default=366.0, gt=0.0, le=36_600.0)
    unknown_vol_low: float = Field(default=0.01, gt=0.0, lt=1.0)
    unknown_vol_high: float = Field(default=5.0, ge=1.0, le=10.0)
    feed_tolerance: GreeksTolerance = GreeksTolerance()

    @cached_property
    def max_quote_age(self) -> int:
        """Nanoseconds."""
        age = self.max_quote_age_seconds
        return NO_LIMIT if age is None else round(age * NS_PER_SECOND)

    @cached_property
    def ages(self) -> NDArray[np.int64]:
        """(2,) nanoseconds that a quote may be old, and ahead."""
        skew = round(self.clock_skew_seconds * NS_PER_SECOND)
        return np.array([self.max_quote_age, skew], dtype=np.int64)

    @cached_property
    def max_beta_age(self) -> int:
        """Nanoseconds."""
        return round(self.max_beta_age_days * NS_PER_DAY)

    @cached_property
    def tolerance(self) -> NDArray[np.float64]:
        """(2, 5) absolute and relative tolerance of each Greek of a feed."""
        return np.stack([self.feed_tolerance.absolute(), self.feed_tolerance.relative()])


# Of all markets that name no others: to make them anew costs as much as to judge fifty quotes.
DEFAULT_RULES = QuoteRules()
