"""American options, arrays in and arrays out. How: `riskenv.pricing.american_kernel`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riskenv.pricing.american_kernel import exercise_early
from riskenv.pricing.black_scholes import european_greeks
from riskenv.pricing.option_greeks import contract_columns


def american_greeks(
    spot: ArrayLike,
    strike: ArrayLike,
    t: ArrayLike,
    rate: ArrayLike,
    carry: ArrayLike,
    vol: ArrayLike,
    is_call: ArrayLike,
    accurate: bool = False,
) -> NDArray[np.float64]:
    """Price and Greeks of American options: (9, *shape), rows and units as in `OptionGreeks`.

    Arguments, shapes and edges (t at or below 0, vol 0, NaN) are those of
    `riskenv.pricing.option_greeks`; `carry` is the cost of carry b = r - q, 0 for a future.

    Args:
        accurate: price error about 1e-7 of spot instead of about 1e-5, at four times the time.

    Source: Kim (1990), Andersen, Lake and Offengenden (2016); see the modules named above.

    Example:
        >>> price, delta, gamma, *_ = american_greeks(36.0, 40.0, 1.0, 0.06, 0.06, 0.2, False)
        >>> round(float(price), 4)  # 4.478 in Longstaff and Schwartz (2001), table 1
        4.4867
        >>> american_greeks(30.0, 40.0, 1.0, 0.06, 0.06, 0.2, False)[:3]  # beyond the boundary
        array([10., -1.,  0.])
    """
    columns, shape = contract_columns(spot, strike, t, rate, carry, vol, is_call=is_call)
    out = np.empty((9, columns[0].size))
    european_greeks(*columns, out)
    exercise_early(columns, accurate, out)
    return out.reshape(9, *shape)


def american_price(
    spot: ArrayLike,
    strike: ArrayLike,
    t: ArrayLike,
    rate: ArrayLike,
    carry: ArrayLike,
    vol: ArrayLike,
    is_call: ArrayLike,
    accurate: bool = False,
) -> NDArray[np.float64]:
    """Prices of American options, currency per point: the first row of `american_greeks`."""
    price: NDArray[np.float64] = american_greeks(
        spot, strike, t, rate, carry, vol, is_call, accurate
    )[0]
    return price


def early_exercise_premium(
    spot: ArrayLike,
    strike: ArrayLike,
    t: ArrayLike,
    rate: ArrayLike,
    carry: ArrayLike,
    vol: ArrayLike,
    is_call: ArrayLike,
    accurate: bool = False,
) -> NDArray[np.float64]:
    """American less European price, currency per point, at least 0.

    Example:
        >>> round(float(early_exercise_premium(100., 100., 1., 0.05, 0., 0.25, False, True)), 8)
        0.1069527
    """
    columns, shape = contract_columns(spot, strike, t, rate, carry, vol, is_call=is_call)
    out = np.empty((9, columns[0].size))
    european_greeks(*columns, out)
    european = out[0].copy()
    exercise_early(columns, accurate, out)
    premium: NDArray[np.float64] = (out[0] - european).reshape(shape)
    return premium
