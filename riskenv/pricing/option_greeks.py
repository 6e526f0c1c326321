"""Arrays in, arrays out: prices and Greeks of whole columns of options."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riskenv.pricing.black_scholes import european_greeks, european_prices

EXERCISES = ("european", "american")


class OptionGreeks(NamedTuple):
    """Price and Greeks, each an array of the shape that the inputs broadcast to.

    Attributes:
        price: currency per point.
        delta: change of price per 1 currency unit of spot.
        gamma: change of delta per 1 currency unit of spot.
        theta: change of price per calendar day that passes, (-d/dT) / 365.
        vega: change of price per vol point (0.01).
        rho: change of price per 1 % (0.01) of rate, at a fixed yield rate - carry.
        vanna: change of delta per vol point.
        volga: change of vega per vol point.
        charm: change of delta per calendar day that passes.
    """

    price: NDArray[np.float64]
    delta: NDArray[np.float64]
    gamma: NDArray[np.float64]
    theta: NDArray[np.float64]
    vega: NDArray[np.float64]
    rho: NDArray[np.float64]
    vanna: NDArray[np.float64]
    volga: NDArray[np.float64]
    charm: NDArray[np.float64]


def option_greeks(
    spot: ArrayLike,
    strike: ArrayLike,
    t: ArrayLike,
    rate: ArrayLike,
    carry: ArrayLike,
    vol: ArrayLike,
    is_call: ArrayLike,
    exercise: str = "european",
) -> OptionGreeks:
    """Price, delta, gamma, theta, vega, rho, vanna, volga and charm in one pass.

    `carry` IS THE COST OF CARRY b (Haug's argument order S, X, T, r, b, v), NOT A YIELD:

    - stock or index with a continuous yield q: carry = rate - q (no dividends: carry = rate);
    - future (Black-76): carry = 0, and spot is the futures price;
    - currency with foreign rate f: carry = rate - f.

    Inputs broadcast against each other.

    Args:
        spot: price of the underlying, or of the future, in currency; 1e-100 to 1e100.
        strike: in currency; 1e-100 to 1e100.
        t: years to settlement, seconds / (365 * 86400).
        rate: continuous, per year.
        carry: cost of carry b, continuous, per year.
        vol: per year (0.2 is 20 vol points); 0 or more.
        is_call: True (or 1) for a call, False (or 0) for a put.
        exercise: "european", or "american" (`riskenv.pricing.american`).

    rho moves the rate and holds the yield, rate - carry, so the forward moves along. A future's
    price does not move with the rate: there the sensitivity to the rate is -t * price / 100 of
    the option instead, for carry = 0 and European exercise.

    Edges:
        - t at or below 0: the intrinsic, its delta (+1, -1, or 0; 0 at the strike), the rest 0.
        - vol 0: the discounted intrinsic of the forward and its derivatives; 0 at the strike.
        - an input that is NaN, infinite, or outside what is allowed above, a rate or a yield that
          grows by more than e^700 over t, or a result that no float holds: NaN in all nine. Never
          an exception, and never a number.

    Raises:
        ValueError: `exercise` is not one of the above, `is_call` holds no booleans or numbers,
            or the shapes do not broadcast.

    Source: Haug (2007), sections 1.1.6 and 2.2 to 2.8; the doctest is his stock index put.

    Example:
        >>> greeks = option_greeks(100.0, 95.0, 0.5, 0.10, carry=0.10 - 0.05, vol=0.20,
        ...                        is_call=False)
        >>> round(float(greeks.price), 4)
        2.4648
        >>> chain = option_greeks(100.0, [95.0, 100.0, 105.0], 0.5, 0.05, 0.05, 0.2, True)
        >>> chain.delta.round(4)
        array([0.7291, 0.5977, 0.4612])
        >>> option_greeks(100.0, 95.0, 0.5, 0.1, 0.1, 0.2, True, exercise="asian")
        Traceback (most recent call last):
            ...
        ValueError: exercise: got 'asian'; allowed: 'european', 'american'
    """
    if exercise not in EXERCISES:
        allowed = ", ".join(map(repr, EXERCISES))
        raise ValueError(f"exercise: got {exercise!r}; allowed: {allowed}")
    if exercise == "american":
        # Here, for it imports this module; and European prices do not need its machine code.
        from riskenv.pricing.american import american_greeks

        return OptionGreeks(*american_greeks(spot, strike, t, rate, carry, vol, is_call))
    columns, shape = contract_columns(spot, strike, t, rate, carry, vol, is_call=is_call)
    out = np.empty((len(OptionGreeks._fields), columns[0].size))
    european_greeks(*columns, out)
    return OptionGreeks(*out.reshape(len(out), *shape))


def black_scholes_price(
    spot: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    rate: ArrayLike,
    dividend_yield: ArrayLike,
    vol: ArrayLike,
    is_call: ArrayLike,
) -> NDArray[np.float64]:
    """European option prices from a dividend yield, currency per point; inputs broadcast.

    `option_greeks` with carry = rate - dividend_yield has the same prices, edges and errors.

    Example:
        >>> float(black_scholes_price(100.0, 95.0, 0.5, 0.10, 0.05, 0.20, False)[()].round(4))
        2.4648
    """
    columns, shape = contract_columns(
        spot, strike, years, rate, dividend_yield, vol, is_call=is_call
    )
    out = np.empty(columns[0].size)
    european_prices(*columns, out)
    return out.reshape(shape)


def contract_columns(
    *numbers: ArrayLike, is_call: ArrayLike
) -> tuple[list[NDArray[np.float64]], tuple[int, ...]]:
    """Inputs as contiguous (n,) float64 columns, the last one +1 call, -1 put; and their shape.

    A flag other than 0, 1, True and False becomes NaN: an option of unknown right has no price.

    Raises:
        ValueError: `is_call` holds something else than booleans or numbers.
    """
    flag = np.asarray(is_call)
    if flag.dtype.kind not in "biuf":
        raise ValueError(f"is_call: got {is_call!r}; allowed: booleans, True for calls")
    sign = np.where(flag == 1, 1.0, np.where(flag == 0, -1.0, np.nan))
    arrays = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in numbers), sign)
    return [np.ascontiguousarray(array).reshape(-1) for array in arrays], arrays[0].shape
