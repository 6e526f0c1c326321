"""The history of factor moves that scenarios are drawn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class FactorHistory:
    """Jointly dated daily moves of every underlying's spot and volatility.

    Attributes:
        underlyings: tickers, in sorted order.
        times: (D,) int64 nanoseconds UTC, the session close at which the move was complete.
        log_return: (D, U) ln of spot over the previous session's close.
        log_vol_change: (D, U) ln of the 30-day implied volatility over the previous session's.
        overnight: (D, U) ln of the session's open over the previous session's close; None = opens
            are not known.

    A NaN is a gap in the history and is kept: scenarios skip the dates that touch it, and count.

    Raises:
        ValueError: shapes that do not match, times not strictly increasing, tickers not sorted.
    """

    underlyings: tuple[str, ...]
    times: NDArray[np.int64]
    log_return: NDArray[np.float64]
    log_vol_change: NDArray[np.float64]
    overnight: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if list(self.underlyings) != sorted(set(self.underlyings)):
            raise ValueError(f"underlyings: got {self.underlyings}; allowed: sorted and unique")
        times = np.array(self.times, dtype=np.int64)
        if times.ndim != 1 or (np.diff(times) <= 0).any():
            raise ValueError("times: must be a (D,) array that strictly increases")
        object.__setattr__(self, "times", times)
        wanted = (len(times), len(self.underlyings))
        for name in ("log_return", "log_vol_change", "overnight"):
            if getattr(self, name) is None:
                continue
            array = np.array(getattr(self, name), dtype=np.float64)
            if array.shape != wanted:
                raise ValueError(f"{name}: got shape {array.shape}; allowed: {wanted}")
            object.__setattr__(self, name, array)
