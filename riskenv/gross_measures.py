"""Gross measures: sums of sizes, per contract held long and held short.

    gross_delta         |delta|, share-equivalents
    gross_dollar_delta  |dollar delta|
    notional            multiplier * spot, of an option as of its underlying
    contracts           1 of an option or a future, 0 of shares
    margin              `riskenv.margin.MarginRule`; the only one in which the side counts

Money is in the book's currency. An Unknown instrument counts at the most that its exposure can be.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from riskenv.compilation import jit
from riskenv.margin import MarginRule
from riskenv.market import Market
from riskenv.measures import GROSS
from riskenv.quote_quality import FX, KIND, MULTIPLIER, ON_FUTURE, SPOT, STRIKE, TICKER

FloatArray = NDArray[np.float64]


@jit
def write_weights(whole, real, tickers, mid, X, rule, out):  # type: ignore[no-untyped-def]
    """The compiled part of `gross_weights`: what X has of an instrument is its exposure."""
    for i in range(X.shape[0]):
        u, kind, m = whole[TICKER, i], whole[KIND, i], real[MULTIPLIER, i]
        spot, fx, strike = tickers[SPOT, u], tickers[FX, u], real[STRIKE, i]
        notional = m * spot * fx
        long, short = 0.0, 0.0
        if kind != 0:
            otm = max(kind * (strike - spot), 0.0)
            least = rule[1] * (spot if kind > 0 else strike)
            short = m * fx * (mid[i] + max(rule[0] * spot - otm, least))
        else:
            long = short = notional * (rule[3] if whole[ON_FUTURE, i] else rule[2])
        # Nothing costs nothing or less but a future, whose price may be what it likes.
        if not (notional > 0.0 or whole[ON_FUTURE, i]):
            notional = np.inf
        notional = abs(notional)
        if not notional < np.inf:
            short = np.inf
        for side in range(2):
            out[i, side, 0] = abs(X[i, 0])
            out[i, side, 1] = abs(X[i, 1])
            out[i, side, 2] = notional
            out[i, side, 3] = 1.0 if kind != 0 or whole[ON_FUTURE, i] else 0.0
            out[i, side, 4] = short if side else long
            for j in range(out.shape[2]):
                if not abs(out[i, side, j]) < np.inf:
                    out[i, side, j] = np.inf


def gross_weights(
    market: Market, X: FloatArray, rule: MarginRule, bounds: tuple[FloatArray, FloatArray]
) -> FloatArray:
    """(n, 2, 5) what one contract adds to each measure of `GROSS`: [:, 0] held long, [:, 1] short.

    Args:
        X: (n, 11) exposures, NaN where Unknown.
        bounds: (low, high) of `riskenv.exposure_bounds`, (n, 11), for what is Unknown.

    What cannot be computed, a margin without a price or a notional without a spot, is infinite.
    """
    out = np.empty((len(market.table), 2, len(GROSS)))
    write_weights(
        market.table.whole,
        market.table.real,
        market.tickers,
        market.mid,
        X,
        rule.shares_asked(),
        out,
    )
    unknown = np.isnan(X[:, 0])
    if unknown.any():
        size = np.maximum(np.abs(bounds[0]), np.abs(bounds[1]))[unknown, :2]
        size[~(size < np.inf)] = np.inf
        out[unknown, 0, :2] = out[unknown, 1, :2] = size
    return out
