"""Implied volatility of American options, by the kernel of `american_greeks`, with a status.

An American option is worth at least the European one, so the European volatility of a quote is at
or above its American one: the search starts there. Each step takes price, vega and volga from one
pass of the kernel (Halley's method: third order), inside a bracket that every step narrows; what
would leave the bracket halves it instead.

What limits the answer is the engine. The European part of a price is exact to rounding. The error
of the early-exercise premium is taken to be the smaller of a share of the premium and a share of
spot or strike (the larger):

    quick scheme                         5 %      1e-5
    accurate scheme                      0.5 %    1e-7
    tree (band, see `american_kernel`)   5 %      2e-5

Against the finest scheme 99.95 % of 3,700 ordinary contracts stay within it and 99 % of 4,900
extreme ones (five minutes to 30 years); the others move the volatility by less than 1e-3 of itself.
A quote where that is more than `RESOLUTION` of its volatility is solved again by the accurate
scheme; where it still is, the quote is LOW_VEGA. So it is next to the level at which exercise at
once is best: there vega is 0, and a tick of price is many vol points.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riskenv.pricing.american_kernel import NEGLIGIBLE, exercise_early
from riskenv.pricing.black_scholes import european_greeks
from riskenv.pricing.implied_volatility import (
    RESOLUTION,
    ImpliedVolatility,
    ImpliedVolatilityStatus,
    implied_volatility,
)
from riskenv.pricing.option_greeks import contract_columns

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Status = ImpliedVolatilityStatus

# A price is met when it is within this part of the quote, or within rounding of it.
CLOSE_ENOUGH = 1e-10
# A bracket this narrow, relative to the volatility, ends the search: the engine's price has small
# steps where its schemes meet, and a quote may lie within one.
NARROWEST = 1e-12
MOST_STEPS = 100
# No volatility beyond this many standard deviations until expiry is looked for.
LARGEST_TOTAL_VOL = 10.0
ERROR_OF_PREMIUM = {False: 0.05, True: 0.005}
ERROR_OF_PRICE = {False: 1e-5, True: 1e-7}
ERROR_OF_TREE = 2e-5
_HALF_ULP = 2.0**-53


class Quotes(NamedTuple):
    """Columns, (n,) each; sign is +1 for calls and -1 for puts."""

    price: Floats
    spot: Floats
    strike: Floats
    years: Floats
    rate: Floats
    carry: Floats
    sign: Floats

    def take(self, chosen: NDArray[np.intp]) -> Quotes:
        return Quotes(*(column[chosen] for column in self))

    def interest(self) -> tuple[Floats, Floats]:
        """What the leg that exercise receives and the leg that it gives away earn, per year.

        The rate and the yield for a put; for a call exchanged.
        """
        dividend = self.rate - self.carry
        call = self.sign > 0.0
        return np.where(call, dividend, self.rate), np.where(call, self.rate, dividend)

    def rounding(self, least: Floats) -> Floats:
        """What the rounding of the legs does to a price; out of the money it is a part of that."""
        share = 3.0 + np.abs(self.rate * self.years) + np.abs(self.carry * self.years)
        return np.where(least > 0.0, 2.0 * _HALF_ULP * share * (self.spot + self.strike), 0.0)


def american_implied_volatility(
    price: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    t: ArrayLike,
    rate: ArrayLike,
    carry: ArrayLike,
    is_call: ArrayLike,
) -> ImpliedVolatility:
    """Volatilities that give American options their prices, and a status for every quote.

    Arguments, shapes and errors are those of `implied_volatility`; `carry` is the cost of carry b,
    r - q. A volatility is a number exactly where its status is OK; nothing is capped or guessed.

    OK: `american_greeks` at that volatility has the quote's price, to 1e-10 of it or to rounding,
    in its quick scheme or, for a few quotes in a hundred, its accurate one; and what the engine may
    be off moves the volatility by at most 2e-3 of itself.

    Where no early exercise has value (a call without dividends, a put at rate 0), volatility and
    status are those of `implied_volatility`, to the bit. Elsewhere the statuses read:

    - BELOW_INTRINSIC, AT_INTRINSIC: below, or within rounding of, the least that the option is
      worth, which is its price at volatility 0: the value of immediate exercise, or more.
    - AT_MAXIMUM, ABOVE_MAXIMUM: the most is max(S, S e^{-qT}) for a call, max(K, K e^{-rT}) for
      a put.
    - LOW_VEGA: what the engine may be off moves the volatility by more than that.
    - UNCONVERGED: the price asks for more than vol sqrt(T) = 10, or for where there is no engine
      (yield below rate below 0 with a drift of many standard deviations).
    - INVALID_INPUT: also what `american_greeks` has no price for.

    Example:
        >>> vol, status = american_implied_volatility(4.4867, 36.0, 40.0, 1.0, 0.06, 0.06, False)
        >>> round(float(vol), 4), ImpliedVolatilityStatus(status).name
        (0.2, 'OK')
        >>> quotes = american_implied_volatility(
        ...     [10.5, 10.0, 9.0, 41.0], 30.0, 40.0, 1.0, 0.06, 0.06, False)
        >>> quotes.vol.round(4)
        array([0.3646,    nan,    nan,    nan])
        >>> [ImpliedVolatilityStatus(code).name for code in quotes.status]
        ['OK', 'AT_INTRINSIC', 'BELOW_INTRINSIC', 'ABOVE_MAXIMUM']
    """
    columns, shape = contract_columns(price, spot, strike, t, rate, carry, is_call=is_call)
    quotes = Quotes(*columns)
    european = implied_volatility(price, spot, strike, t, rate, carry, is_call)
    vol, status = european.vol.reshape(-1).copy(), european.status.reshape(-1).copy()
    alive = (status != Status.INVALID_INPUT) & (status != Status.EXPIRED)
    chosen = np.flatnonzero(alive & _exercise_may_pay(quotes))
    if chosen.size:
        vol[chosen], status[chosen] = _solve(quotes.take(chosen), vol[chosen], status[chosen])
    return ImpliedVolatility(vol.reshape(shape), status.reshape(shape))


def _exercise_may_pay(quotes: Quotes) -> Flags:
    """Where the kernel gives early exercise a value, at some volatility."""
    received, given = quotes.interest()
    most = (np.maximum(received, 0.0) + np.maximum(-given, 0.0)) * quotes.years
    return ~((received <= 0.0) & (received <= given)) & ~(most < NEGLIGIBLE)


def _solve(
    quotes: Quotes, upper: Floats, european: NDArray[np.int8]
) -> tuple[Floats, NDArray[np.int8]]:
    """(vol, status) from the European volatilities (NaN where there is none) and statuses."""
    vol = np.full(upper.shape, np.nan)
    least, _, _ = _engine(quotes, np.zeros(vol.size), accurate=False)
    rounding = quotes.rounding(least)
    status = _off_bounds(quotes, least, rounding, european)
    bounded = np.isfinite(upper)
    start = np.where(bounded, upper, 1.0 / np.sqrt(quotes.years))
    upper = np.where(bounded, upper, np.inf)
    received, given = quotes.interest()
    on_tree = (given < received) & (received < 0.0)
    for accurate in (False, True):
        left = status == Status.OK if not accurate else (status == Status.LOW_VEGA) & ~on_tree
        chosen = np.flatnonzero(left)
        if chosen.size:
            found, status[chosen] = _search(
                quotes.take(chosen),
                rounding[chosen],
                on_tree[chosen],
                (start[chosen], upper[chosen]),
                accurate,
            )
            start[chosen] = np.where(np.isfinite(found), found, start[chosen])
            vol[chosen] = found
    return np.where(status == Status.OK, vol, np.nan), status


def _off_bounds(
    quotes: Quotes, least: Floats, near: Floats, european: NDArray[np.int8]
) -> NDArray[np.int8]:
    """The status of quotes that no volatility explains; OK for the rest."""
    # Waiting gains nothing where the leg received earns interest; else the bounds are European.
    leg = np.where(quotes.sign > 0.0, quotes.spot, quotes.strike)
    room = leg - quotes.price
    beyond = european == Status.ABOVE_MAXIMUM
    status = np.full(quotes.price.size, Status.OK, dtype=np.int8)
    status[(beyond | (european == Status.AT_MAXIMUM)) & (room <= near)] = Status.AT_MAXIMUM
    status[beyond & (room < -near)] = Status.ABOVE_MAXIMUM
    status[quotes.price <= least + near] = Status.AT_INTRINSIC
    status[quotes.price < least - near] = Status.BELOW_INTRINSIC
    status[~np.isfinite(least)] = Status.INVALID_INPUT
    return status


def _engine(quotes: Quotes, vol: Floats, accurate: bool) -> tuple[Floats, Floats, Floats]:
    """(price, premium over the European price, (9, n) Greeks) at these volatilities."""
    columns = [*quotes[1:6], vol, quotes.sign]
    out = np.empty((9, vol.size))
    european_greeks(*columns, out)
    european = out[0].copy()
    exercise_early(columns, accurate, out)
    return out[0], out[0] - european, out


def _search(
    quotes: Quotes,
    rounding: Floats,
    on_tree: Flags,
    guess: tuple[Floats, Floats],
    accurate: bool,
) -> tuple[Floats, NDArray[np.int8]]:
    """(vol, status) from guess = (start, upper bound).

    LOW_VEGA comes with a volatility, too, for the next scheme to start from.
    """
    vol, high = guess
    low = np.zeros(vol.size)
    result = np.full(vol.size, np.nan)
    status = np.full(vol.size, Status.UNCONVERGED, dtype=np.int8)
    left = np.arange(vol.size)
    for _ in range(MOST_STEPS):
        price, premium, greeks = _engine(quotes, vol, accurate)
        gap, vega, volga = price - quotes.price, 100.0 * greeks[4], 1e4 * greeks[7]
        high = np.where(gap > 0.0, vol, high)
        low = np.where(gap < 0.0, vol, low)
        met = np.abs(gap) <= np.maximum(CLOSE_ENOUGH * quotes.price, rounding)
        met |= high - low <= NARROWEST * vol
        error = np.minimum(
            ERROR_OF_PREMIUM[accurate] * premium,
            np.where(on_tree, ERROR_OF_TREE, ERROR_OF_PRICE[accurate])
            * np.maximum(quotes.spot, quotes.strike),
        )
        error += rounding + np.abs(gap)
        sure = error <= RESOLUTION * vol * vega
        result[left[met]] = vol[met]
        status[left[met]] = np.where(sure, Status.OK, Status.LOW_VEGA)[met]

        with np.errstate(divide="ignore", invalid="ignore"):
            newton = gap / vega
            moved = vol - newton / np.clip(1.0 - 0.5 * newton * volga / vega, 0.5, 2.0)
        halved = np.where(high < np.inf, 0.5 * (low + high), 2.0 * vol)
        vol = np.where((moved > low) & (moved < high), moved, halved)
        # A NaN price ends here, too: it is not met, and no other volatility will do.
        lost = ~(np.abs(gap) < np.inf) | (vol * np.sqrt(quotes.years) > LARGEST_TOTAL_VOL)
        on = np.flatnonzero(~(met | lost))
        if not on.size:
            break
        left, quotes, on_tree, rounding = left[on], quotes.take(on), on_tree[on], rounding[on]
        vol, low, high = vol[on], low[on], high[on]
    return result, status
