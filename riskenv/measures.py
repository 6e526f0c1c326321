"""The measures that caps can be put on: their names, their order, and how far each cap is used.

Every array over measures in the layer runs in this order. Linear measures are sums of quantity
times a per-contract number; tail measures are functions of the book's P&L in scenarios and are
zero or negative (a loss is negative). Gross measures are sums of sizes. Where the book holds what
is Unknown or has working orders, a linear measure is an interval.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# What an instrument's price says of it. Known of everything that is traded, capped or not.
GREEKS = (
    "delta",
    "dollar_delta",
    "gamma",
    "dollar_gamma",
    "theta",
    "vega",
    "rho",
    "vanna",
    "volga",
    "charm",
)
# beta_delta also asks for a beta, and so is Unknown of many: known only where it is capped.
LINEAR = (*GREEKS, "beta_delta")
TAIL = ("var_1d", "es_1d", "var_3d", "es_3d", "var_5d", "es_5d")
GAP = ("gap_loss",)
# The worst over the stress grids in use, with the decay of a horizon: as TAIL, by horizon.
STRESS = ("stress_1d", "stress_3d", "stress_5d")
# Sums of sizes, whatever the side: convex in the book, and capped from above only.
GROSS = ("gross_delta", "gross_dollar_delta", "notional", "contracts", "margin")
# What the account already lost: no trade changes these, so they drive the rung and never a verdict.
ACCOUNT = ("day_loss", "drawdown")

MEASURES = LINEAR + TAIL + GAP + STRESS + GROSS
# Measures that may be capped within a scope: a ticker, an expiry bucket, a strategy.
SCOPED = LINEAR + GROSS
INDEX = {name: j for j, name in enumerate(MEASURES)}
HORIZONS = (1, 3, 5)

# Measures whose bad side is only the negative one.
ONE_SIDED = frozenset(("theta", *TAIL, *GAP, *STRESS, *ACCOUNT))


def utilisation(
    value: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share of each cap in use: 1.0 sits on the cap, above it is outside; NaN stays NaN.

    A measure without a cap uses 0. A cap of 0 is used without end by any value but 0.

    Args:
        value: (..., M) exposures.
        low, high: (M,) caps, low <= 0 <= high, infinite where there is none.

    Example:
        >>> low, high = np.array([-10.0, -3.0]), np.array([10.0, np.inf])
        >>> utilisation(np.array([-5.0, 7.0]), low, high).tolist()
        [0.5, 0.0]
    """
    bound = np.where(value < 0.0, low, high)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        used = value / bound
    return np.where((value == 0.0) & (bound == 0.0), 0.0, np.abs(used))


def point(interval: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., K) the number where both ends of (..., 2, K) are one, else NaN.

    Example:
        >>> point(np.array([[1.0, -2.0], [1.0, 3.0]])).tolist()
        [1.0, nan]
    """
    low, high = interval[..., 0, :], interval[..., 1, :]
    return np.where(low == high, low, np.nan)
