"""The trust kernel: every verdict of the layer passes through `admissible`.

`measure` says what each candidate trade would make of the book; `admissible` says whether that
may be; `lowers_risk` says whether it lowers risk. All take arrays over A candidates and M
measures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from riskenv.compilation import jit
from riskenv.measures import GAP, INDEX, MEASURES, utilisation
from riskenv.var_calculator import tail_of


@jit
def measure(X, P, rows, before, base_pnl, trades, blocks, counts, p, change, after):  # type: ignore[no-untyped-def]
    """Fill `change` and `after` for each row of `trades`.

    The book's sums come first, then the trade's legs in the table's order: one fixed order of
    additions, whatever the batch, so that a mask, a step and the gate get the same bits.

    Args:
        X: (rows, 6) and P: (rows, S), per-contract exposures and scenario P&L; rows: (n,) where
            each instrument's lie.
        before: (M,) measures of the book; base_pnl: (S,) its scenario P&L.
        blocks: (4,) first scenario of each horizon, then of the gap jumps; P.shape[1] ends them.
        counts: (3,) size of each horizon's tail; p: tail probability.
    """
    scenarios = base_pnl.size
    pnl = np.empty(scenarios)
    worst = np.empty(max(1, counts.max()))
    for a in range(trades.shape[0]):
        change[a, :] = 0.0
        pnl[:] = base_pnl
        traded = False
        for i in range(trades.shape[1]):
            lots = trades[a, i]
            if lots == 0.0:
                continue
            traded = True
            row = rows[i]
            for j in range(X.shape[1]):
                change[a, j] += lots * X[row, j]
            for s in range(scenarios):
                pnl[s] += lots * P[row, s]
        if not traded:
            after[a, :] = before
            continue
        for j in range(X.shape[1]):
            after[a, j] = before[j] + change[a, j]
        tails_of(pnl, blocks, counts, p, worst, X.shape[1], after[a])
        for j in range(X.shape[1], before.size):
            change[a, j] = after[a, j] - before[j]


@jit
def tails_of(pnl, blocks, counts, p, worst, first, out):  # type: ignore[no-untyped-def]
    """out[first:] = VaR and ES of each horizon, then the worst gap (0 if none is due)."""
    for h in range(counts.size):
        var, shortfall = tail_of(pnl, blocks[h], blocks[h + 1], counts[h], p, worst)
        out[first + 2 * h] = var
        out[first + 2 * h + 1] = shortfall
    gap = 0.0
    for s in range(blocks[counts.size], pnl.size):
        gap = gap if gap <= pnl[s] else pnl[s]  # a NaN P&L stays: not (gap <= nan)
        if gap != gap:
            break
    out[first + 2 * counts.size] = gap


@jit
def shrinking(quantity, kind, ticker, trades, empty, shrinks):  # type: ignore[no-untyped-def]
    """Which trades only move positions towards 0 and sell no long that may cover a short.

    Coarser than lot-for-lot cover, on the safe side: with a short of the same ticker and right
    held, a long of that kind is not sold; shares are not sold while a call is short, nor bought
    back while a put is short.
    """
    for a in range(trades.shape[0]):
        is_empty, ok = True, True
        for i in range(trades.shape[1]):
            lots, held = trades[a, i], quantity[i]
            if lots == 0.0:
                continue
            is_empty = False
            if not (lots * held < 0.0 and abs(lots) <= abs(held)):
                ok = False
                break
            right = kind[i] if kind[i] != 0 else (1 if held > 0.0 else -1)
            if held > 0.0 or kind[i] == 0:
                for k in range(trades.shape[1]):
                    if quantity[k] < 0.0 and ticker[k] == ticker[i] and kind[k] == right:
                        ok = False
        empty[a] = is_empty
        shrinks[a] = ok


@jit
def admissible(before, change, after, low, high, empty, shrinks, linear, verdict):  # type: ignore[no-untyped-def]
    """The rule. verdict[a] = may candidate a be done, as far as the caps are concerned?

    For every measure the after-book is inside its cap, or the cap was already broken and the
    after-book is no further outside and not past the other side. So the empty trade always
    passes. Where a measure is Unknown (NaN, or too large for a float) a trade must besides shrink
    the book. Every comparison is written so that a NaN fails it.

    Args:
        before: (M,); change, after: (A, M); low, high: (M,) caps, infinite where there is none.
        empty, shrinks: (A,) of the trades.
        linear: the first so many measures must be known even where they are not capped, so that
            an instrument without a price is never entered.
    """
    for a in range(after.shape[0]):
        ok, known = True, True
        for j in range(before.size):
            b, c, x = before[j], change[a, j], after[a, j]
            capped = low[j] > -np.inf or high[j] < np.inf
            if not (abs(b) < np.inf and abs(c) < np.inf and abs(x) < np.inf):
                known &= not (capped or j < linear)
                continue
            if not capped or (low[j] <= x and x <= high[j]):
                continue
            no_further_up = b > high[j] and c <= 0.0 and x >= low[j]
            no_further_down = b < low[j] and c >= 0.0 and x <= high[j]
            ok &= no_further_up or no_further_down
        verdict[a] = empty[a] or (ok and (known or shrinks[a]))


# Rows of `MEASURES` that say how much a book may lose, capped or not.
TAIL_RISKS = [INDEX["es_1d"], INDEX["gap_loss"]]


def lowers_risk(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    warn: float,
    has_tails: bool,
) -> NDArray[np.bool_]:
    """(A,) whether going from `before` to `after` lowers risk: by risk, not by side of a trade.

    Neither the expected shortfall nor the worst gap loss rises, no capped measure ends above
    max(before, warn) of its cap, and one of these strictly falls. Anything Unknown: False.

    Args:
        before: (M,) or (A, M); after: (A, M).
        has_tails: whether there are scenarios; without them only the caps are looked at.
    """
    capped = np.isfinite(low) | np.isfinite(high)
    # An uncapped measure that nothing computes (VaR without a history) is no obstacle.
    used_before = utilisation(before[..., capped], low[capped], high[capped])
    used_after = utilisation(after[:, capped], low[capped], high[capped])
    quiet = np.asarray((used_after <= np.maximum(used_before, warn)).all(axis=1))
    lower = (used_after < used_before).any(axis=1)
    if has_tails:
        tail_before, tail_after = before[..., TAIL_RISKS], after[:, TAIL_RISKS]
        quiet &= (tail_after >= tail_before).all(axis=1)
        lower |= (tail_after > tail_before).any(axis=1)
    return quiet & lower


assert MEASURES[-1] == GAP[0]  # tails_of writes the gap last
