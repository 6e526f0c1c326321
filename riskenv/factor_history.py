"""The history of factor moves that scenarios are drawn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from riskenv.sessions import Sessions


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

    A NaN is a gap in the history and is kept: scenarios skip the dates that touch it. A session of
    the exchange that has no row is one too (`on`).

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

    def on(self, sessions: Sessions) -> FactorHistory:
        """With a day of NaN for each session that is missing between two days of the history.

        Without it, windows of several sessions would reach over the gap as if it were not there.

        Example:
            >>> closes = np.arange(1, 6) * 10
            >>> moves = np.array([[0.01], [0.02], [0.05]])
            >>> history = FactorHistory(("A",), closes[[0, 1, 4]], moves, moves)
            >>> history.on(Sessions(closes - 5, closes)).log_return[:, 0].tolist()
            [0.01, 0.02, nan, nan, 0.05]
        """
        opens, closes = sessions.opens, sessions.closes
        inside = (self.times >= opens[0]) & (self.times <= closes[-1])
        of = np.searchsorted(closes, self.times)
        missing = [
            closes[a + 1 : b]
            for a, b, known in zip(of[:-1], of[1:], inside[:-1] & inside[1:], strict=True)
            if known and b > a + 1
        ]
        if not missing:
            return self
        gaps = np.concatenate(missing)
        at = np.searchsorted(self.times, gaps)

        def with_gaps(moves: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.insert(moves, at, np.nan, axis=0)

        return FactorHistory(
            self.underlyings, np.insert(self.times, at, gaps), with_gaps(self.log_return),
            with_gaps(self.log_vol_change),
            None if self.overnight is None else with_gaps(self.overnight),
        )  # fmt: skip
