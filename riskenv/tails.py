"""Where the tail measures of a book lie among its scenarios, and what they are of a P&L vector."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from riskenv.compilation import jit
from riskenv.var_calculator import tail_of
from riskenv.weighted_tail import weighted_tail_of


class Tails(NamedTuple):
    """Blocks of scenarios; a plain tuple of arrays, for compiled loops.

    Attributes:
        blocks: (H + 1,) first scenario of each of the H horizons, then of the gap jumps; what
            follows, such as where these end, is not looked at.
        counts: (H,) size of each horizon's tail.
        p: tail probability, literal.
    """

    blocks: NDArray[np.int64]
    counts: NDArray[np.int64]
    p: float


class BookTails(NamedTuple):
    """All blocks of scenarios of a book, and their weights; a plain tuple, for compiled loops.

    Attributes:
        blocks: (H + 2,) first scenario of each of the H horizons, of the gap jumps, then their end.
        counts, p: as of `Tails`.
        stress: (H + 1,) first stress scenario of each horizon, then S.
        history: weights of the scenarios of all horizons, which add up to 1 in each; none = equal.
        mixed: for each horizon the weights of its scenarios and then of the gap jumps, where VaR
            and ES are the worse of the horizon alone and of the two together; none = alone.
        known: whether there is a history that moves and jumps could come from.
    """

    blocks: NDArray[np.int64]
    counts: NDArray[np.int64]
    p: float
    stress: NDArray[np.int64]
    history: NDArray[np.float64]
    mixed: NDArray[np.float64]
    known: bool


@jit
def tails_of(pnl, tails, wanted, worst, first, out):  # type: ignore[no-untyped-def]
    """out[first:] = VaR and ES of each horizon, then the worst gap (0 if none is due).

    Args:
        pnl: (S,) P&L of a book; the gap jumps come last.
        wanted: (H,) horizons to look at; the rest get NaN.
        worst: scratch of at least max(counts) floats.
    """
    horizons = tails.counts.size
    for h in range(horizons):
        var, shortfall = np.nan, np.nan
        if wanted[h]:
            var, shortfall = tail_of(
                pnl, tails.blocks[h], tails.blocks[h + 1], tails.counts[h], tails.p, worst
            )
        out[first + 2 * h] = var
        out[first + 2 * h + 1] = shortfall
    out[first + 2 * horizons] = worst_of(pnl, tails.blocks[horizons], pnl.size)


@jit
def worst_of(pnl, start, stop):  # type: ignore[no-untyped-def]
    """The smallest of pnl[start:stop], at most 0; NaN if any is."""
    worst = 0.0
    for s in range(start, stop):
        worst = worst if worst <= pnl[s] else pnl[s]  # a NaN P&L stays: not (worst <= nan)
        if worst != worst:
            break
    return worst


class Scratch(NamedTuple):
    """Memory of `book_tails_of`.

    Attributes:
        worst, order: of the estimators; pnl: of a horizon's scenarios and the gap jumps.
    """

    worst: NDArray[np.float64]
    order: NDArray[np.int64]
    pnl: NDArray[np.float64]


@jit
def scratch_of(tails):  # type: ignore[no-untyped-def]
    """As much as the tails need: where nothing is weighted, next to nothing."""
    size, weighted = max(1, tails.counts.max()), 0
    if tails.history.size > 0 or tails.mixed.size > 0:
        horizons = tails.counts.size
        jumps = tails.blocks[horizons + 1] - tails.blocks[horizons]
        for h in range(horizons):
            weighted = max(weighted, tails.blocks[h + 1] - tails.blocks[h] + jumps)
    size = max(size, weighted)
    return Scratch(np.empty(size), np.empty(weighted, np.int64), np.empty(weighted))


@jit
def _worse(a, b):  # type: ignore[no-untyped-def]
    """The lower of two numbers; NaN if either is."""
    if a != a or b != b:
        return np.nan
    return min(a, b)


@jit
def _horizon(pnl, tails, h, at, scratch):  # type: ignore[no-untyped-def]
    """(VaR, ES) of a horizon: the worse of its scenarios alone and of these with the gap jumps,
    each by itself; NaN if either is. at: first of its weights among `tails.mixed`."""
    start, stop = tails.blocks[h], tails.blocks[h + 1]
    if tails.history.size > 0:
        var, shortfall = weighted_tail_of(
            pnl, tails.history, start, stop, tails.p, scratch.order, scratch.worst
        )
    else:
        var, shortfall = tail_of(pnl, start, stop, tails.counts[h], tails.p, scratch.worst)
    if tails.mixed.size > 0:
        horizons = tails.counts.size
        first, last = tails.blocks[horizons], tails.blocks[horizons + 1]
        n, size = stop - start, stop - start + last - first
        scratch.pnl[:n] = pnl[start:stop]
        scratch.pnl[n:size] = pnl[first:last]
        mixed_var, mixed_shortfall = weighted_tail_of(
            scratch.pnl, tails.mixed[at : at + size], 0, size, tails.p, scratch.order,
            scratch.worst,
        )  # fmt: skip
        var, shortfall = _worse(var, mixed_var), _worse(shortfall, mixed_shortfall)
    return var, shortfall


def samples_of(
    tails: BookTails, horizon: int
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """The samples whose worse VaR and ES are those of a horizon: the scenarios of each, and their
    weights. The horizon alone comes first, and with the gap jumps, if these are mixed in, second.

    Args:
        horizon: 0 for the first.

    Example:
        >>> tails = BookTails(np.array([0, 2, 3]), np.array([1]), 0.01, np.array([3, 3]),
        ...                   np.empty(0), np.array([0.4, 0.4, 0.2]), True)
        >>> [(which.tolist(), weights.tolist()) for which, weights in samples_of(tails, 0)]
        [([0, 1], [0.5, 0.5]), ([0, 1, 2], [0.4, 0.4, 0.2])]
    """
    start, stop = tails.blocks[horizon : horizon + 2].tolist()
    first, last = tails.blocks[-2:].tolist()
    alone = np.arange(start, stop)
    weights = np.full(len(alone), 1.0 / max(len(alone), 1))
    samples = [(alone, tails.history[start:stop] if len(tails.history) else weights)]
    if len(tails.mixed):
        at = start + horizon * (last - first)
        size = stop - start + last - first
        samples.append(
            (np.concatenate([alone, np.arange(first, last)]), tails.mixed[at : at + size])
        )
    return samples


@jit
def book_tails_of(pnl, tails, wanted, scratch, first, out):  # type: ignore[no-untyped-def]
    """out[first:] = VaR and ES of each horizon, the worst gap, the worst stress of each horizon.

    The worst gap is 0 if none is due, the worst stress NaN if there is no scenario.

    Args:
        pnl: (S,) P&L of a book.
        wanted: (2H,) horizons to look at for VaR and ES, then for stress; the rest get NaN.
        scratch: from `scratch_of`.
    """
    horizons = tails.counts.size
    at = 0
    for h in range(horizons):
        var, shortfall = np.nan, np.nan
        if wanted[h]:
            var, shortfall = _horizon(pnl, tails, h, at, scratch)
        out[first + 2 * h] = var
        out[first + 2 * h + 1] = shortfall
        jumps = tails.blocks[horizons + 1] - tails.blocks[horizons]
        at += tails.blocks[h + 1] - tails.blocks[h] + jumps
    gap = worst_of(pnl, tails.blocks[horizons], tails.blocks[horizons + 1])
    out[first + 2 * horizons] = gap if tails.known else np.nan
    for h in range(horizons):
        start, stop = tails.stress[h], tails.stress[h + 1]
        worst = np.nan
        if wanted[horizons + h] and start < stop:
            worst = worst_of(pnl, start, stop)
        out[first + 2 * horizons + 1 + h] = worst
