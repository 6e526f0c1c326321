"""The stationary bootstrap: new paths of several sessions from blocks of joint history.

Politis and Romano (1994), "The Stationary Bootstrap", section 2: a path starts on a day drawn
uniformly; each next day is, with probability 1 / L, drawn anew, and otherwise the day that
followed in history, the first day following the last. Blocks so have geometric lengths of mean L,
and the path is stationary. All factors of a day are taken together, so that their correlation is
kept; what lasts for about L sessions, such as calm and turmoil, is kept too.

It makes more h-session paths than history has windows. It makes no day worse than the worst.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from riskenv.compilation import jit
from riskenv.config import Config
from riskenv.factor_history import FactorHistory


class UniformSource(Protocol):
    """What draws the numbers: NumPy's `Generator` is one."""

    def random(self, size: tuple[int, int, int], /) -> NDArray[np.float64]:
        """Independent uniforms of [0, 1)."""
        ...


class BootstrapConfig(Config):
    """How many paths, from how much history, in how long blocks.

    Attributes:
        paths: number of paths drawn for each horizon.
        mean_block: L, the expected block length in sessions; 1 draws every day on its own.
        seed: of `SeededUniforms`, where the layer draws the paths itself: the same at every
            instant, so that VaR moves with the market and not with the draw.
    """

    paths: int = Field(default=2000, ge=100, le=100_000)
    mean_block: float = Field(default=10.0, ge=1.0, le=250.0)
    seed: int = Field(default=0, ge=0, lt=1 << 63)


class SeededUniforms:
    """Uniforms that follow from a seed alone, to the bit, on any system: SplitMix64.

    Steele, Lea and Flood (2014), "Fast splittable pseudorandom number generators", figure 17, with
    the constants of its `mix64` variant 13.

    Example:
        >>> SeededUniforms(1).random((1, 1, 3)).round(4).tolist()
        [[[0.5666, 0.7458, 0.971]]]
    """

    def __init__(self, seed: int) -> None:
        self._seed, self._drawn = seed, 0

    def words(self, count: int) -> NDArray[np.uint64]:
        """The next (count,) words of 64 bits."""
        at = np.arange(self._drawn + 1, self._drawn + count + 1, dtype=np.uint64)
        self._drawn += count
        # Products and sums of unsigned integers are taken modulo 2^64.
        z = np.uint64(self._seed) + at * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)))

    def random(self, size: tuple[int, int, int], /) -> NDArray[np.float64]:
        """Uniforms of [0, 1): the upper 53 bits of a word each."""
        words = self.words(size[0] * size[1] * size[2])
        return ((words >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(size)


@jit
def _walk(starts, restarts, days):  # type: ignore[no-untyped-def]
    """starts[k, j] becomes the day of path k, step j: kept where it restarts, else the next."""
    for k in range(starts.shape[0]):
        for j in range(1, starts.shape[1]):
            if not restarts[k, j]:
                following = starts[k, j - 1] + 1
                starts[k, j] = following if following < days else 0


@jit
def sum_rows(moves, rows, out):  # type: ignore[no-untyped-def]
    """out[u, k] = sum over j of moves[rows[k, j], u], in order of j."""
    for k in range(rows.shape[0]):
        for u in range(moves.shape[1]):
            total = 0.0
            for j in range(rows.shape[1]):
                total += moves[rows[k, j], u]
            out[u, k] = total


def bootstrap_days(
    days: int, horizon: int, paths: int, mean_block: float, source: UniformSource
) -> NDArray[np.int64]:
    """Paths of days drawn by the stationary bootstrap.

    Always takes 2 * paths * horizon numbers from `source`, so that the same state of it gives the
    same paths, and what is drawn next does not depend on them.

    Args:
        days: number of days to draw from; horizon: sessions of a path; paths: K of them.
        mean_block: expected block length L >= 1, in sessions.

    Returns:
        (K, horizon) indices of [0, days).

    Raises:
        ValueError: a number below 1.

    Example:
        >>> drawn = bootstrap_days(100, 5, 3, mean_block=250.0, source=np.random.default_rng(1))
        >>> drawn.tolist()
        [[51, 52, 53, 54, 55], [42, 43, 44, 45, 46], [75, 76, 77, 78, 79]]
    """
    for name, value in (("days", days), ("horizon", horizon), ("paths", paths)):
        if value < 1:
            raise ValueError(f"{name}: got {value}; allowed: 1 and above")
    if not mean_block >= 1.0:
        raise ValueError(f"mean_block: got {mean_block}; allowed: 1 and above")
    where, whether = source.random((2, paths, horizon))
    # A product may round up to the number of days itself.
    rows: NDArray[np.int64] = np.minimum((where * days).astype(np.int64), days - 1)
    _walk(rows, whether < 1.0 / mean_block, days)
    return rows


def bootstrap_moves(
    history: FactorHistory,
    now: int,
    horizon: int,
    config: BootstrapConfig,
    source: UniformSource,
    window: int = 500,
    min_days: int = 250,
) -> NDArray[np.float64]:
    """Factor moves over bootstrapped paths as of `now`: nothing dated after it is looked at.

    Days with a NaN in any factor are left out for all; the days around such a gap then follow
    each other, as the last and the first do.

    Args:
        horizon: sessions of a path.
        source: numbers are drawn from it, 2 * paths * horizon, unless history is too short.
        window: sessions of history that days are drawn from.
        min_days: fewer usable days than this give no paths, which makes VaR Unknown.

    Returns:
        (2 U, K) summed log returns, then summed log volatility changes, of the U underlyings;
        K = 0 where there are fewer usable days than `min_days`.
    """
    known = int(np.searchsorted(history.times, now, side="right"))
    recent = slice(max(0, known - window), known)
    moves = np.concatenate([history.log_return[recent], history.log_vol_change[recent]], axis=1)
    moves = moves[np.isfinite(moves).all(axis=1)]
    if len(moves) < min_days:
        return np.empty((moves.shape[1], 0))
    rows = bootstrap_days(len(moves), horizon, config.paths, config.mean_block, source)
    out = np.empty((moves.shape[1], config.paths))
    sum_rows(moves, rows, out)
    return out
