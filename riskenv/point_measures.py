"""The kernel's arithmetic where every measure is one number: what plans and projections search on.

They look for a trade among thousands, on plain arrays with any number of linear measures. What they
find is a candidate: the manager puts it to `riskenv.admissibility` like any other.
"""

from __future__ import annotations

import numpy as np

from riskenv.admissibility import inside_or_no_further, shrinking
from riskenv.compilation import jit
from riskenv.tails import Tails, tails_of


@jit
def measure_points(X, P, rows, before, base_pnl, trades, blocks, counts, p, change, after):  # type: ignore[no-untyped-def]
    """Fill `change` and `after` for each row of `trades`.

    The book's sums come first, then the trade's legs in the table's order: one fixed order of
    additions, whatever the batch, so that a mask, a step and the gate get the same bits.

    Args:
        X: (rows, L) and P: (rows, S), per-contract exposures and scenario P&L; rows: (n,) where
            each instrument's lie.
        before: (M,) measures of the book; base_pnl: (S,) its scenario P&L.
        blocks: (4,) first scenario of each horizon, then of the gap jumps; P.shape[1] ends them.
        counts: (3,) size of each horizon's tail; p: tail probability.
    """
    scenarios = base_pnl.size
    pnl = np.empty(scenarios)
    worst = np.empty(max(1, counts.max()))
    tails, every = Tails(blocks, counts, p), np.ones(counts.size, np.bool_)
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
        tails_of(pnl, tails, every, worst, X.shape[1], after[a])
        for j in range(X.shape[1], before.size):
            change[a, j] = after[a, j] - before[j]


@jit
def shrinking_points(quantity, kind, ticker, trades, empty, shrinks):  # type: ignore[no-untyped-def]
    """`riskenv.admissibility.shrinking` where no order works and nothing is blocked."""
    blocked, touches = np.zeros(quantity.size, np.bool_), np.empty(empty.size, np.bool_)
    pending = np.zeros((2, quantity.size))
    shrinking(quantity, pending, kind, ticker, blocked, trades, empty, shrinks, touches)


@jit
def admissible_points(before, change, after, low, high, empty, shrinks, linear, verdict):  # type: ignore[no-untyped-def]
    """`riskenv.admissibility.admissible` for points. A measure that is Unknown (NaN, or too large
    for a float) lets only a trade pass that shrinks the book.

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
            if not capped:
                continue
            ok &= inside_or_no_further(b, b, c, c, x, x, low[j], high[j])
        verdict[a] = empty[a] or (ok and (known or shrinks[a]))
