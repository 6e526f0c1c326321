"""Where the tail measures of a book lie among its scenarios, and what they are of a P&L vector."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from riskenv.compilation import jit
from riskenv.var_calculator import tail_of


class Tails(NamedTuple):
    """Blocks of scenarios; a plain tuple of arrays, for compiled loops.

    Attributes:
        blocks: (H + 2,) first scenario of each of the H horizons, then of the gap jumps, then S.
        counts: (H,) size of each horizon's tail.
        p: tail probability, literal.
    """

    blocks: NDArray[np.int64]
    counts: NDArray[np.int64]
    p: float


@jit
def tails_of(pnl, tails, wanted, worst, first, out):  # type: ignore[no-untyped-def]
    """out[first:] = VaR and ES of each horizon, then the worst gap (0 if none is due).

    Args:
        pnl: (S,) P&L of a book.
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
    gap = 0.0
    for s in range(tails.blocks[horizons], pnl.size):
        gap = gap if gap <= pnl[s] else pnl[s]  # a NaN P&L stays: not (gap <= nan)
        if gap != gap:
            break
    out[first + 2 * horizons] = gap
