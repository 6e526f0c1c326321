"""What the market says now about each instrument, with the reason where it cannot be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from riskenv.instruments import InstrumentTable


@dataclass(frozen=True, eq=False)
class Market:
    """Quotes at one instant, in the columns of an `InstrumentTable`.

    Attributes:
        now: int64 nanoseconds UTC; the layer reads no clock.
        table: the n instruments.
        spot: (U,) price of each underlying, in the order of `table.underlyings`.
        rate: continuous risk-free rate per year.
        dividend_yield: (U,) continuous yield per year.
        bid, ask: (n,) quotes in currency per point; NaN where there is none.
        vol: (n,) implied volatility per year of each option; ignored for underlyings.

    A wrong shape is an error. A wrong *value* is not: a quote that is missing, crossed, negative
    or without a volatility makes its instrument Unknown, with a reason in `unknown`.

    Raises:
        ValueError: an array has the wrong shape.
    """

    now: int
    table: InstrumentTable
    spot: NDArray[np.float64]
    rate: float
    dividend_yield: NDArray[np.float64]
    bid: NDArray[np.float64]
    ask: NDArray[np.float64]
    vol: NDArray[np.float64]

    def __post_init__(self) -> None:
        n, u = len(self.table), len(self.table.underlyings)
        wanted = {
            "spot": u,
            "dividend_yield": u,
            "bid": n,
            "ask": n,
            "vol": n,
        }
        for name, size in wanted.items():
            # A private copy: an env that reuses its buffers must not change a past decision.
            array = np.array(getattr(self, name), dtype=np.float64)
            if array.shape != (size,):
                raise ValueError(f"{name}: got shape {array.shape}; allowed: ({size},)")
            object.__setattr__(self, name, array)

    @cached_property
    def mid(self) -> NDArray[np.float64]:
        """(n,) midpoint; NaN where the instrument is Unknown."""
        with np.errstate(invalid="ignore", over="ignore"):
            mid = 0.5 * (self.bid + self.ask)
        mid[self.unknown_code != 0] = np.nan
        return mid

    @cached_property
    def half_spread(self) -> NDArray[np.float64]:
        """(n,) cost of crossing, currency per point; NaN where the instrument is Unknown."""
        with np.errstate(invalid="ignore", over="ignore"):
            half = 0.5 * (self.ask - self.bid)
        half[self.unknown_code != 0] = np.nan
        return half

    @cached_property
    def unknown_code(self) -> NDArray[np.int64]:
        """(n,) index into `UNKNOWN_REASONS`; 0 = known."""
        spot = self.spot[self.table.underlying_index]
        carry = self.dividend_yield[self.table.underlying_index]
        option = self.table.kind != 0
        # Ordered from the least to the most basic, so that the last one written is the one told.
        code = np.zeros(len(self.table), dtype=np.int64)
        code[option & ~((self.vol > 0.0) & (self.vol < MAX_VOL))] = 5
        code[~(self.bid <= self.ask)] = 4
        code[~((self.bid >= 0.0) & (self.ask > 0.0) & (self.ask < np.inf))] = 3
        code[np.isnan(self.bid) | np.isnan(self.ask)] = 2
        bad_carry = ~(np.abs(carry) < np.inf) | (not abs(self.rate) < np.inf)
        code[~((spot > 0.0) & (spot < np.inf)) | bad_carry] = 1
        code[option & (self.table.expiry <= self.now)] = 6
        return code

    @property
    def unknown(self) -> dict[str, str]:
        """Symbol -> reason, for each instrument that cannot be trusted."""
        return {
            self.table.symbols[row]: UNKNOWN_REASONS[self.unknown_code[row]]
            for row in np.flatnonzero(self.unknown_code)
        }


UNKNOWN_REASONS = (
    "known",
    "spot_rate_or_yield_invalid",
    "quote_missing",
    "quote_not_positive",
    "quote_crossed",
    "vol_invalid",
    "expired",
)

# An implied volatility of 1,000 % a year is beyond any quote; above it a number is garbage.
MAX_VOL = 10.0
