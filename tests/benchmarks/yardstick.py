"""The yardstick: what a careful user writes in NumPy and scipy, the same in every race."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

FloatArray = NDArray[np.float64]


def price_and_five_greeks(
    spot: FloatArray, strike: FloatArray, t: FloatArray, rate: FloatArray, carry: FloatArray,
    vol: FloatArray, sign: FloatArray,
) -> Callable[[], tuple[FloatArray, ...]]:  # fmt: skip
    """A function that computes price, delta, gamma, theta a day, vega a point and rho a percent
    of European options, (n,) each; sign +1 call, -1 put."""

    def computed() -> tuple[FloatArray, ...]:
        root = np.sqrt(t)
        total_vol = vol * root
        d1 = (np.log(spot / strike) + (carry + 0.5 * vol * vol) * t) / total_vol
        forward = spot * np.exp((carry - rate) * t)
        paid = strike * np.exp(-rate * t)
        up, down = ndtr(sign * d1), ndtr(sign * (d1 - total_vol))
        density = forward * np.exp(-0.5 * d1 * d1) / np.sqrt(2.0 * np.pi)
        decay = sign * ((rate - carry) * forward * up - rate * paid * down)
        return (
            sign * (forward * up - paid * down),
            sign * forward / spot * up,
            density / (spot * spot * total_vol),
            (decay - 0.5 * density * vol / root) / 365.0,
            0.01 * density * root,
            0.01 * sign * t * paid * down,
        )

    return computed
