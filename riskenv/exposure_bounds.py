"""What an Unknown instrument can at most add to each measure: bounds in place of a number.

A position whose quote cannot be trusted is still held. Its exposure then lies in an interval: the
right is known, so a call's delta is between 0 and 1 whatever its quote; with the spot known, every
Greek is bounded over the volatilities between `QuoteRules.unknown_vol_low` and `_high`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from riskenv.exposures import RATE_STEP, pricing_columns
from riskenv.market import Market
from riskenv.measures import LINEAR
from riskenv.pricing.black_scholes import LARGEST_EXPONENT
from riskenv.pricing.greek_bounds import CHARM, RHO, THETA, greek_bounds
from riskenv.pricing.option_greeks import option_greeks
from riskenv.quote_quality import (
    BETA,
    DIVIDENDS,
    FX,
    FX_INVALID,
    MARKET_INVALID,
    SPOT,
    timely_spots,
)
from riskenv.quote_rules import QuoteRules

FloatArray = NDArray[np.float64]

# Relative error of a computed price and of the product with it.
_ROUNDING = 1e-12


def exposure_bounds(market: Market, code: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """(low, high), each (n, 11): what one contract adds to each measure of `LINEAR` lies between.

    Never NaN; where nothing bounds a number, it is infinite.

    Args:
        code: (n,) why each instrument is Unknown; the rows of what is known stay 0.

    Raises:
        ValueError: `code` has another shape than the market's table.
    """
    table, rules = market.table, market.rules
    n = len(table)
    if code.shape != (n,):
        raise ValueError(f"code: got shape {code.shape}; allowed: ({n},)")
    low, high = np.zeros((n, len(LINEAR))), np.zeros((n, len(LINEAR)))
    rows = np.flatnonzero(code)
    if not rows.size:
        return low, high
    columns = np.empty((7, n))
    pricing_columns(
        table.whole, table.real, market.columns, market.tickers, market.now, 0, n, columns
    )
    spot_paid, strike, years, rate, carry, _, sign = columns[:, rows]
    spot, beta, fx = market.tickers[:, table.underlying_index[rows]][[SPOT, BETA, FX]]
    # By the spot's own marks: another reason may have been told in its place.
    timely = np.empty(len(table.underlyings), dtype=np.bool_)
    timely_spots(market.spot_time, market.now, rules.ages, timely)
    trusted = (
        timely[table.underlying_index[rows]]
        & (code[rows] != MARKET_INVALID)
        & (spot > 0.0)
        & (spot < np.inf)
    )
    share = table.kind[rows] == 0
    with np.errstate(invalid="ignore"):
        held_at = rate - carry
    least, most = greek_bounds(
        np.where(trusted, spot_paid, np.nan), strike, years, rate, held_at, sign > 0.0,
        rules.unknown_vol_low, rules.unknown_vol_high, american=table.american[rows],
    )  # fmt: skip
    # The right alone bounds delta, by the discounting of a negative yield, if that is known.
    with np.errstate(over="ignore", invalid="ignore"):
        growth = np.exp(np.maximum(-held_at * np.maximum(years, 0.0), 0.0))
        sound = np.abs(rate * years) <= LARGEST_EXPONENT
        sound &= np.abs(held_at * years) <= LARGEST_EXPONENT
    largest = np.where(sound, growth, np.inf)
    least[0] = np.maximum(least[0], np.where(sign > 0.0, 0.0, -largest))
    most[0] = np.minimum(most[0], np.where(sign > 0.0, largest, 0.0))
    f = table.on_future[rows]
    least[RHO, f], most[RHO, f] = _rho_on_future(
        np.where(trusted, spot_paid, np.nan)[f], strike[f], years[f], rate[f], sign[f] > 0.0,
        table.american[rows][f], rules,
    )  # fmt: skip
    # A European option's cash dividends: what they are owed grows as time passes.
    cash = np.where(table.american[rows], 0.0, market.columns[DIVIDENDS][rows])
    owed = _times(cash, rate / 365.0)
    for greek, by in ((THETA, 0), (CHARM, 1)):
        ends = _times(owed, least[by]), _times(owed, most[by])
        least[greek] -= np.maximum(*ends)
        most[greek] -= np.minimum(*ends)
    least[:, share], most[:, share] = 0.0, 0.0
    least[0, share], most[0, share] = 1.0, 1.0

    # Factors that turn a Greek into currency. What is Unknown is positive, but for a future's
    # price, which has been negative.
    known_fx = (code[rows] != FX_INVALID) & (fx > 0.0) & (fx < np.inf)
    money = np.where(known_fx, fx, 0.0), np.where(known_fx, fx, np.inf)
    price = np.where(trusted, spot, 0.0), np.where(trusted, spot, np.inf)
    squares = tuple(_times(_times(a, b), b) / 100.0 for a, b in zip(money, price, strict=True))
    price = np.where(table.on_future[rows] & ~trusted, -np.inf, price[0]), price[1]
    dollars = _product(money, price)
    one = np.ones(len(rows)), np.ones(len(rows))
    m = table.multiplier[rows]
    # Each measure of LINEAR but the last: row of `greek_bounds`, factor.
    for j, (greek, factor) in enumerate(
        ((0, one), (0, dollars), (1, one), (1, squares), (2, money), (3, money), (4, money),
         (5, one), (6, money), (7, one))
    ):  # fmt: skip
        a, z = least[greek], most[greek]
        ends = _product((m * a, m * z), factor)
        # Outward by more than the rounding of what came here by another order of products.
        apart = np.where((ends[0] == ends[1]) | (factor is one), 0.0, _ROUNDING)
        low[rows, j] = ends[0] - _times(apart, np.abs(ends[0]))
        high[rows, j] = ends[1] + _times(apart, np.abs(ends[1]))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        per_index = beta / market.index_spot
    for j, per in enumerate(per_index):
        ends = low[rows[j], 1], high[rows[j], 1]
        if abs(per) < np.inf and 0.0 < market.index_spot < np.inf:
            ends = _times(ends[0], per), _times(ends[1], per)
        elif ends != (0.0, 0.0):
            ends = -np.inf, np.inf
        low[rows[j], -1] = min(ends) - _ROUNDING * abs(min(ends))
        high[rows[j], -1] = max(ends) + _ROUNDING * abs(max(ends))
    return low, high


def _rho_on_future(
    future: FloatArray, strike: FloatArray, years: FloatArray, rate: FloatArray,
    is_call: NDArray[np.bool_], american: NDArray[np.bool_], rules: QuoteRules,
) -> tuple[FloatArray, FloatArray]:  # fmt: skip
    """Bounds of rho where the future's price stays while the rate moves: the discounting alone.

    rho = -E[u e^{-ru} payoff] / 100 for the time u of exercise. European: u = T, -T V / 100, and V
    grows with the volatility. American: u <= T, and V is at most e^{max(rT, 0)} times the European
    one, because the payoff of a martingale, convex, is worth the more the later it is. Its rho is a
    difference between rates `RATE_STEP` to either side, where V grows by e^{T RATE_STEP} at most.
    """
    worth = [
        option_greeks(future, strike, years, rate, 0.0, vol, is_call).price
        for vol in (rules.unknown_vol_low, rules.unknown_vol_high)
    ]
    left = np.maximum(years, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        growth = np.where(american, np.exp(np.maximum(rate * left, 0.0) + RATE_STEP * left), 1.0)
        least = -0.01 * left * growth * worth[1] * (1.0 + _ROUNDING)
        most = np.where(american, 0.0, -0.01 * left * worth[0] * (1.0 - _ROUNDING))
    return np.where(np.isnan(least), -np.inf, least), np.where(np.isnan(most), 0.0, most)


def _product(
    a: tuple[FloatArray, FloatArray], b: tuple[FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Ends of the product of two intervals."""
    corners = np.stack([_times(x, y) for x in a for y in b])
    return corners.min(axis=0), corners.max(axis=0)


def _times(a, b):  # type: ignore[no-untyped-def]
    """a * b, where nothing of something without bound is nothing."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where((np.asarray(a) == 0.0) | (np.asarray(b) == 0.0), 0.0, a * b)
