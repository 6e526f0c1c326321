"""Implied volatility of European options, compiled, with a status for every quote.

Haug's generalised Black-Scholes model (*The Complete Guide to Option Pricing Formulas*, 2nd ed.,
2007, section 1.1.6): cost of carry b, forward F = S e^{bT}. A quote is reduced to its time value,
which is the price of the option out of the money at the same strike, that to Black's normalised
form, and there inverted: a guess and three steps of fourth order (`normalised_black`).

What limits the answer is the price: rounding it to a double moves the volatility by
2^-53 price / vega, and in the money by 2^-53 (S e^{(b-r)T} + K e^{-rT}) / vega, since the time
value is then a small difference of large numbers. The solver is accurate to a few times that.
Where that is more than `RESOLUTION` of the volatility itself, it says so instead.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riskenv.compilation import inline, jit
from riskenv.pricing.elementary import exp, fma
from riskenv.pricing.normalised_black import (
    SQRT_2PI,
    first_guess,
    householder_step,
    lets_be_rational,
    log_ratio,
)
from riskenv.pricing.option_greeks import contract_columns


class ImpliedVolatilityStatus(IntEnum):
    """What became of a quote. Its volatility is a number where this is OK, and NaN elsewhere."""

    OK = 0
    """Solved to the accuracy that the rounding of the inputs allows."""
    INVALID_INPUT = 1
    """A NaN or infinite input; a spot or strike not above 0; a right that is neither call nor put;
    or spot, strike, either discounted, or their ratio, outside 1e-290 to 1e290."""
    EXPIRED = 2
    """t <= 0: the price holds no volatility."""
    BELOW_INTRINSIC = 3
    """Below the least that a European option is worth, max(+-(S e^{(b-r)T} - K e^{-rT}), 0); so
    every negative price."""
    AT_INTRINSIC = 4
    """The time value is 0 or within rounding of it: every volatility from 0 to some level fits."""
    AT_MAXIMUM = 5
    """Within rounding of the most that it is worth: every volatility above some level fits."""
    ABOVE_MAXIMUM = 6
    """Above the most that it is worth: S e^{(b-r)T} for a call, K e^{-rT} for a put."""
    LOW_VEGA = 7
    """Rounding of the inputs alone may move the volatility by more than `RESOLUTION` of itself."""
    UNCONVERGED = 8
    """Neither the fast solver nor Let's Be Rational found it; no quote is known to end here."""


class ImpliedVolatility(NamedTuple):
    """Arrays of the shape that the inputs broadcast to.

    Attributes:
        vol: per year; NaN unless the status is OK.
        status: values of `ImpliedVolatilityStatus`, int8.
    """

    vol: NDArray[np.float64]
    status: NDArray[np.int8]


# The largest part of a volatility that may be rounding noise.
RESOLUTION = 1e-3

# As floats, since a status shares vector registers with the numbers that decide it.
_OK, _INVALID, _EXPIRED, _BELOW, _AT_INTRINSIC, _AT_MAXIMUM, _ABOVE, _LOW_VEGA, _UNCONVERGED = (
    float(status) for status in ImpliedVolatilityStatus
)
_LARGEST = 1.7976931348623157e308
_HALF_ULP = 2.0**-53
_SMALLEST = 5e-324
# A price below this part of sqrt(F K) is multiplied by 2**200, so that its ratios do not overflow.
_TINY = 2.0**-800
_MAGNIFIER = 2.0**200
_MAGNIFIER_LOG = 138.62943611198907
# Twice the last step, relative to s. One more would be about the fourth power of that.
_CONVERGED = 6e-5
_STEPS = 3
# Of a total volatility; the largest that a price can show is about 55.
_LARGEST_S = 1e3

# Quotes are solved in blocks that stay in the cache. The workspace of a block is one flat array
# whose rows begin at these constants: so the compiler can prove that they do not overlap.
_BLOCK = 256
_PRICE, _SPOT, _STRIKE, _T, _RATE, _CARRY, _SIGN = (_BLOCK * row for row in range(7))
_STATUS, _X, _VALUE, _ROOM, _NOISE, _SHIFT = (_BLOCK * row for row in range(7, 13))
_TARGET, _OFFSET, _S, _SIDE, _STEP, _RATIO = (_BLOCK * row for row in range(13, 19))
_WORKSPACE = _BLOCK * 19


@inline
def _finite(x):  # type: ignore[no-untyped-def]
    return abs(x) <= _LARGEST


@inline
def _representable(x):  # type: ignore[no-untyped-def]
    return (x > 1e-290) & (x < 1e290)


@jit
def _normalise(work, n):  # type: ignore[no-untyped-def]
    """Time value, room to the maximum and |ln(F/K)|, in units of sqrt(F K); or a status."""
    for i in range(n):
        price, spot, strike = work[_PRICE + i], work[_SPOT + i], work[_STRIKE + i]
        t, rate, carry, sign = work[_T + i], work[_RATE + i], work[_CARRY + i], work[_SIGN + i]
        spot_leg = spot * exp((carry - rate) * t)
        strike_leg = strike * exp(-rate * t)
        ln_spot = log_ratio(spot, strike)
        valid = (
            _finite(price) & _finite(t) & _finite(rate) & _finite(carry) & _finite(sign)
            & _representable(spot) & _representable(strike)
            & _representable(spot_leg) & _representable(strike_leg)
            & _representable(spot / strike) & _representable(spot_leg / strike_leg)
        )  # fmt: skip
        spot_leg = spot_leg if valid else 1.0
        strike_leg = strike_leg if valid else 1.0
        both = spot_leg + strike_leg
        most = spot_leg if sign > 0.0 else strike_leg
        forward_value = sign * (spot_leg - strike_leg)
        value = price - max(forward_value, 0.0)
        room = most - price
        # The legs and the price carry relative errors of this size from their own rounding.
        error = _HALF_ULP * (3.0 + abs(rate * t) + abs(carry * t))
        noise = error * (price + (both if forward_value > -error * both else 0.0))
        near_intrinsic = 2.0 * noise if forward_value > 0.0 else 0.0
        near_maximum = 2.0 * error * most
        status = _AT_MAXIMUM if room <= near_maximum else _OK
        status = _ABOVE if room < -near_maximum else status
        x = abs(fma(carry, t, ln_spot))
        root = np.sqrt(spot_leg) * np.sqrt(strike_leg)
        status = _AT_INTRINSIC if value <= near_intrinsic else status
        # At the forward, volatility is in proportion to the price and may be no normal double.
        status = _AT_INTRINSIC if (x < 1e-290) & (value < 1e-290 * root) else status
        status = _BELOW if value < -near_intrinsic else status
        status = _EXPIRED if t <= 0.0 else status
        status = status if valid else _INVALID
        work[_STATUS + i] = status
        solvable = status == _OK
        tiny = value < _TINY * root
        # What cannot be solved goes along as an ordinary quote, so that the loop has no branch.
        work[_X + i] = x if solvable else 0.1
        work[_VALUE + i] = max(value / root, _SMALLEST) if solvable else 0.1
        work[_ROOM + i] = room / root if solvable else 0.9
        work[_NOISE + i] = (noise + _SMALLEST) / value if solvable else 0.0
        work[_SHIFT + i] = _HALF_ULP * (abs(ln_spot) + abs(carry * t))
        work[_TARGET + i] = value * (_MAGNIFIER if tiny else 1.0) / root if solvable else 0.1
        work[_OFFSET + i] = _MAGNIFIER_LOG if tiny & solvable else 0.0


@jit
def _guess(work, n):  # type: ignore[no-untyped-def]
    for i in range(n):
        value, room = work[_VALUE + i], work[_ROOM + i]
        s, side = first_guess(work[_X + i], value, room)
        work[_S + i] = s
        work[_SIDE + i] = side
        low = side > 0.0
        work[_TARGET + i] = SQRT_2PI * (work[_TARGET + i] if low else room)
        work[_OFFSET + i] = work[_OFFSET + i] if low else 0.0
        work[_NOISE + i] = work[_NOISE + i] * (1.0 if low else value / room)


@jit
def _improve(work, n):  # type: ignore[no-untyped-def]
    """One step of every quote, kept on its own side of the inflection."""
    for i in range(n):
        x, s, side = work[_X + i], work[_S + i], work[_SIDE + i]
        step, ratio = householder_step(x, s, side, work[_TARGET + i], work[_OFFSET + i])
        inflection = np.sqrt(2.0 * x)
        highest = 0.55 if side > 1.5 else (inflection if side > 0.0 else _LARGEST_S)
        lowest = 0.0 if side > 0.0 else max(inflection, 0.45)
        bounded = min(max(step, -0.75), 3.0)
        moved = min(max(fma(s, bounded, s), lowest), highest)
        work[_S + i] = moved
        # The step that was wanted and the one that was taken: neither alone shows convergence.
        work[_STEP + i] = abs(step * s) + abs(moved - s)
        work[_RATIO + i] = ratio


@jit
def _judge(work, n):  # type: ignore[no-untyped-def]
    """The volatility where the last step was small and rounding leaves enough of it."""
    for i in range(n):
        s = work[_S + i]
        # d ln(price) moves s by ratio, d ln(F/K) by half the sum of two Mills ratios.
        noise = work[_NOISE + i] * work[_RATIO + i] + 1.26 * work[_SHIFT + i]
        step = work[_STEP + i]
        solved = _OK if step <= _CONVERGED * s else _UNCONVERGED
        # Noise also moves the steps: there a step counts as the last if noise explains it.
        lost = (noise > RESOLUTION * s) & (step <= max(_CONVERGED * s, 20.0 * noise))
        solved = _LOW_VEGA if lost else solved
        status = work[_STATUS + i]
        status = solved if status == _OK else status
        work[_STATUS + i] = status
        work[_S + i] = s / np.sqrt(work[_T + i]) if status == _OK else np.nan


@jit
def _solve(price, spot, strike, t, rate, carry, sign, start, steps, vol, status):  # type: ignore[no-untyped-def]
    """Columns of one size. `start` (total volatilities; may be empty) replaces the first guess."""
    work = np.empty(_WORKSPACE)
    for first in range(0, vol.size, _BLOCK):
        n = min(_BLOCK, vol.size - first)
        for i in range(n):
            work[_PRICE + i] = price[first + i]
            work[_SPOT + i] = spot[first + i]
            work[_STRIKE + i] = strike[first + i]
            work[_T + i] = t[first + i]
            work[_RATE + i] = rate[first + i]
            work[_CARRY + i] = carry[first + i]
            work[_SIGN + i] = sign[first + i]
        _normalise(work, n)
        _guess(work, n)
        if start.size > 0:
            for i in range(n):
                work[_S + i] = start[first + i]
        for _ in range(steps):
            _improve(work, n)
        _judge(work, n)
        for i in range(n):
            vol[first + i] = work[_S + i]
            status[first + i] = int(work[_STATUS + i])


_OWN_GUESS = np.empty(0)


def implied_volatility(
    price: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    t: ArrayLike,
    rate: ArrayLike,
    carry: ArrayLike,
    is_call: ArrayLike,
) -> ImpliedVolatility:
    """Black-Scholes volatilities of European option prices, and a status for every one.

    `carry` IS THE COST OF CARRY b, NOT A YIELD: rate - q for a stock or index with yield q, 0 for a
    future whose price is `spot` (Black-76), rate - f for a currency. Inputs broadcast.

    A volatility is a number exactly where its status is OK; nothing is capped, floored or guessed.
    Its error is at most a few times what rounding the inputs to doubles does to it. A quote that
    the compiled solver has not settled after three steps starts again from the answer of Let's Be
    Rational (Jaeckel 2015) and must pass the same test. The same inputs give the same bits,
    alone or in a column, on every CPU.

    Args:
        price: of the option, currency per point.
        spot: price of the underlying, or of the future, in currency; above 0.
        strike: in currency; above 0.
        t: years to settlement, seconds / (365 * 86400).
        rate: continuous, per year; may be negative.
        carry: cost of carry b, continuous, per year.
        is_call: True (or 1) for a call, False (or 0) for a put.

    Raises:
        ValueError: `is_call` holds no booleans or numbers, or the shapes do not broadcast. A bad
            number is no error: its quote has a status.

    Example:
        >>> vol, status = implied_volatility(2.4648, 100.0, 95.0, 0.5, 0.10, 0.05, False)
        >>> round(float(vol), 4), ImpliedVolatilityStatus(status).name
        (0.2, 'OK')
        >>> quotes = implied_volatility([5.0, 4.0, 101.0, 7.0], 100.0, 95.0, 0.5, 0.0, 0.0, True)
        >>> quotes.vol.round(4)
        array([   nan,    nan,    nan, 0.1461])
        >>> [ImpliedVolatilityStatus(code).name for code in quotes.status]
        ['AT_INTRINSIC', 'BELOW_INTRINSIC', 'ABOVE_MAXIMUM', 'OK']
    """
    columns, shape = contract_columns(price, spot, strike, t, rate, carry, is_call=is_call)
    vol = np.empty(columns[0].size)
    status = np.empty(vol.size, dtype=np.int8)
    _solve(*columns, _OWN_GUESS, _STEPS, vol, status)
    left = np.flatnonzero(status == ImpliedVolatilityStatus.UNCONVERGED)
    if left.size:
        _start_again(columns, left, vol, status)
    return ImpliedVolatility(vol.reshape(shape), status.reshape(shape))


def _start_again(
    columns: list[NDArray[np.float64]],
    left: NDArray[np.intp],
    vol: NDArray[np.float64],
    status: NDArray[np.int8],
) -> None:
    """Solve the quotes `left` from the answers of Let's Be Rational; one own step judges them."""
    quotes = [np.ascontiguousarray(column[left]) for column in columns]
    found = np.array([lets_be_rational(*quote) for quote in zip(*quotes, strict=True)])
    found = np.where((found > 0.0) & (found < _LARGEST_S), found, np.nan)
    # Rounded, because its last bits are libm's; the step from there restores all of ours.
    start = found.astype(np.float32).astype(np.float64)
    again, verdict = np.empty(left.size), np.empty(left.size, dtype=np.int8)
    _solve(*quotes, start, 1, again, verdict)
    vol[left], status[left] = again, verdict
