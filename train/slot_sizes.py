"""Actions of the conventions that size each slot: `box` and `multidiscrete`.

Both trade, by ticker, 12 slots in lots, then the underlyings in shares, then a closing fraction of
every position of each ticker, on top. They differ only in how an action writes these sizes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from riskenv.train.env_config import EnvConfig
from riskenv.train.menu import SLOTS_PER_UNDERLYING

FloatArray = NDArray[np.float64]

CLOSE_FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)


class SlotSizes(ABC):
    """How actions of one convention write sizes.

    Args:
        config: of the env, for `max_lots` and `max_shares`.
        tickers: how many there are.

    Attributes:
        space: the action space; hold: the action that trades nothing.
    """

    space: spaces.Box | spaces.MultiDiscrete
    hold: NDArray[Any]

    def __init__(self, config: EnvConfig, tickers: int) -> None:
        self.max_lots, self.max_shares = config.max_lots, config.max_shares
        self.tickers, self.slots = tickers, tickers * SLOTS_PER_UNDERLYING

    @abstractmethod
    def sizes(self, action: Any) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(whole lots of each slot, whole shares of each underlying, fraction of each ticker).

        Raises:
            ValueError: an action that is none.
        """

    @abstractmethod
    def action(self, lots: FloatArray, shares: FloatArray, fraction: FloatArray) -> NDArray[Any]:
        """The action that trades this, or the nearest there is."""

    @abstractmethod
    def writable(self, fraction: float) -> float | None:
        """The closing fraction as an action carries it; None where none does."""

    @abstractmethod
    def writable_shares(self, shares: float) -> float | None:
        """Shares of an underlying as an action carries them, or fewer; None where none does."""

    def _refuse(self, action: Any, allowed: str) -> ValueError:
        return ValueError(f"action: got {action!r}; allowed: {allowed} of shape {self.space.shape}")


class BoxSizes(SlotSizes):
    """Numbers in [-1, 1]: shares of the largest sizes; values beyond are clipped, NaN refused.

    Example:
        >>> sizes = BoxSizes(EnvConfig.default({"max_lots": 4, "max_shares": 100}), 1)
        >>> lots, shares, fraction = sizes.sizes([0.5] + [0.0] * 11 + [-0.25, -1.0])
        >>> lots[0].item(), shares.tolist(), fraction.tolist()
        (2.0, [-25.0], [0.0])
    """

    def __init__(self, config: EnvConfig, tickers: int) -> None:
        super().__init__(config, tickers)
        self.space = spaces.Box(-1.0, 1.0, (self.slots + 2 * tickers,), np.float32)
        self.hold = np.zeros(self.space.shape, dtype=np.float32)

    def sizes(self, action: Any) -> tuple[FloatArray, FloatArray, FloatArray]:
        values = np.asarray(action, dtype=np.float64)
        if values.shape != self.space.shape or not np.isfinite(values).all():
            raise self._refuse(action, "finite numbers")
        values = np.minimum(np.maximum(values, -1.0), 1.0)
        last = self.slots + self.tickers
        return (
            np.rint(values[: self.slots] * self.max_lots),
            np.rint(values[self.slots : last] * self.max_shares),
            np.maximum(values[last:], 0.0),
        )

    def action(self, lots: FloatArray, shares: FloatArray, fraction: FloatArray) -> NDArray[Any]:
        parts = (lots / self.max_lots, shares / self.max_shares, fraction)
        return np.concatenate(parts).astype(np.float32)

    def writable(self, fraction: float) -> float | None:
        return float(np.float32(fraction))

    def writable_shares(self, shares: float) -> float | None:
        return shares if abs(shares) <= self.max_shares else None


class MultiDiscreteSizes(SlotSizes):
    """Choices: 0 to 2k of a slot are -k to +k lots, k = max_lots; of an underlying as many even
    steps of max_shares; and 0 to 4 close none, a quarter, half, three quarters or all.

    Example:
        >>> sizes = MultiDiscreteSizes(EnvConfig.default({"max_lots": 4, "max_shares": 100}), 1)
        >>> lots, shares, fraction = sizes.sizes([6] + [4] * 11 + [3, 2])
        >>> lots[0].item(), shares.tolist(), fraction.tolist()
        (2.0, [-25.0], [0.5])
    """

    space: spaces.MultiDiscrete

    def __init__(self, config: EnvConfig, tickers: int) -> None:
        super().__init__(config, tickers)
        sided = self.slots + tickers
        self.space = spaces.MultiDiscrete(
            [2 * self.max_lots + 1] * sided + [len(CLOSE_FRACTIONS)] * tickers
        )
        self.hold = np.array([self.max_lots] * sided + [0] * tickers)

    def sizes(self, action: Any) -> tuple[FloatArray, FloatArray, FloatArray]:
        values = np.asarray(action)
        if values.dtype.kind not in "iu" or not self.space.contains(values.astype(np.int64)):
            raise self._refuse(action, f"whole numbers from 0 to {self.space.nvec.tolist()} - 1")
        last = self.slots + self.tickers
        steps = values[:last].astype(np.float64) - self.max_lots
        return (
            steps[: self.slots],
            np.rint(steps[self.slots :] * (self.max_shares / self.max_lots)),
            np.asarray(CLOSE_FRACTIONS)[values[last:]],
        )

    def action(self, lots: FloatArray, shares: FloatArray, fraction: FloatArray) -> NDArray[Any]:
        steps = np.rint(shares * (self.max_lots / self.max_shares))
        closes = np.rint(fraction * (len(CLOSE_FRACTIONS) - 1))
        sided = np.concatenate((lots, steps)) + self.max_lots
        return np.concatenate((sided, closes)).astype(np.int64)

    def writable(self, fraction: float) -> float | None:
        return fraction if fraction in CLOSE_FRACTIONS else None

    def writable_shares(self, shares: float) -> float | None:
        sizes = np.rint(np.arange(self.max_lots + 1) * (self.max_shares / self.max_lots))
        fewer = sizes[np.searchsorted(sizes, abs(shares), side="right") - 1]
        return float(np.copysign(fewer, shares))
