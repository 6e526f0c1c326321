"""What the compiled kernels compute, as a textbook prints it, in NumPy: their oracle.

Slow and meant to be read. Source: Haug (2007), sections 1.1.6 (price), 2.2 to 2.8 (Greeks), with
cost of carry b and yield q = r - b. Units and edges are those of `riskenv.pricing.option_greeks`;
input that is no contract is the caller's to leave out.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riskenv.pricing.option_greeks import OptionGreeks

DAYS = 365.0  # calendar days in a year
POINT = 0.01  # a vol point, and one per cent of rate

_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def normal_pdf(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """phi(x), elementwise."""
    return np.asarray(np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi))


def normal_cdf(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Phi(x), elementwise; by erfc, so that the left tail keeps its relative accuracy."""
    return np.asarray(0.5 * _erfc(-x / math.sqrt(2.0)))


def european_option_greeks(
    spot: ArrayLike,
    strike: ArrayLike,
    t: ArrayLike,
    rate: ArrayLike,
    carry: ArrayLike,
    vol: ArrayLike,
    is_call: ArrayLike,
) -> OptionGreeks:
    """Price and Greeks as `option_greeks` gives them, arguments and units alike.

    Example:
        >>> put = european_option_greeks(100.0, 95.0, 0.5, 0.10, 0.05, 0.20, False)
        >>> round(float(put.price), 4)
        2.4648
    """
    S, K, T, r, b, v, call = np.broadcast_arrays(
        *(np.asarray(x, dtype=np.float64) for x in (spot, strike, t, rate, carry, vol)),
        np.asarray(is_call, dtype=bool),
    )
    s = np.where(call, 1.0, -1.0)
    q = r - b
    T = np.maximum(T, 0.0)
    growth, discount = np.exp(-q * T), np.exp(-r * T)
    x = np.log(S / K) + b * T
    certain = v * np.sqrt(T) == 0.0

    # Stand-ins where nothing is uncertain: those entries are overwritten below.
    sigma, tau = np.where(certain, 1.0, v), np.where(certain, 1.0, T)
    root = np.sqrt(tau)
    d1 = (x + 0.5 * sigma**2 * tau) / (sigma * root)
    d2 = d1 - sigma * root
    N1, N2, n1 = normal_cdf(s * d1), normal_cdf(s * d2), normal_pdf(d1)
    vega = S * growth * n1 * root
    uncertain = OptionGreeks(
        price=np.maximum(s * (S * growth * N1 - K * discount * N2), 0.0),
        delta=s * growth * N1,
        gamma=growth * n1 / (S * sigma * root),
        theta=-S * growth * n1 * sigma / (2.0 * root)
        + s * q * S * growth * N1
        - s * r * K * discount * N2,
        vega=vega,
        rho=s * tau * K * discount * N2,
        vanna=-growth * n1 * d2 / sigma,
        volga=vega * d1 * d2 / sigma,
        charm=s * q * growth * N1 - growth * n1 * (b / (sigma * root) - d2 / (2.0 * tau)),
    )

    # The discounted intrinsic of the forward; once settled nothing decays.
    paid = np.where(s * x > 0.0, s, 0.0)
    ahead = np.where(T > 0.0, 1.0, 0.0)
    none = np.zeros_like(S)
    intrinsic = OptionGreeks(
        price=np.abs(paid) * np.maximum(s * (S * growth - K * discount), 0.0),
        delta=paid * growth,
        gamma=none,
        theta=ahead * paid * (q * S * growth - r * K * discount),
        vega=none,
        rho=paid * T * K * discount,
        vanna=none,
        volga=none,
        charm=ahead * paid * q * growth,
    )
    units = (1.0, 1.0, 1.0, 1.0 / DAYS, POINT, POINT, POINT, POINT**2, 1.0 / DAYS)
    return OptionGreeks(
        *(
            unit * np.where(certain, at_the_end, before)
            for unit, at_the_end, before in zip(units, intrinsic, uncertain, strict=True)
        )
    )


def american_tree_price(
    spot: float,
    strike: float,
    t: float,
    rate: float,
    carry: float,
    vol: float,
    is_call: bool,
    steps: int = 1001,
) -> float:
    """Price of one American option by the binomial tree of Leisen and Reimer (1996), t, vol > 0.

    `steps` is an odd number. The error falls with 1 / steps: at most about 3e-5 of spot at 1,001.

    Example:
        >>> round(american_tree_price(36.0, 40.0, 1.0, 0.06, 0.06, 0.2, False), 3)
        4.486
    """
    sign, dt = (1.0 if is_call else -1.0), t / steps
    d1 = (math.log(spot / strike) + (carry + 0.5 * vol**2) * t) / (vol * math.sqrt(t))
    d2 = d1 - vol * math.sqrt(t)

    def probability(z: float) -> float:
        """Of a binomial that comes near Phi(z): Peizer and Pratt's second inversion."""
        scaled = z / (steps + 1.0 / 3.0 + 0.1 / (steps + 1.0))
        width = 0.5 * math.sqrt(1.0 - math.exp(-(scaled**2) * (steps + 1.0 / 6.0)))
        return 0.5 + math.copysign(width, z)

    p = probability(d2)
    up = math.exp(carry * dt) * probability(d1) / p
    down = (math.exp(carry * dt) - p * up) / (1.0 - p)
    level = np.arange(steps + 1)
    price = spot * up**level * down ** (steps - level)
    value = np.maximum(sign * (price - strike), 0.0)
    for _ in range(steps):
        price = price[1:] / up
        kept = math.exp(-rate * dt) * (p * value[1:] + (1.0 - p) * value[:-1])
        value = np.maximum(kept, sign * (price - strike))
    return float(value[0])


def bisected_volatility(
    price: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    t: ArrayLike,
    rate: ArrayLike,
    carry: ArrayLike,
    is_call: ArrayLike,
    highest: float = 20.0,
) -> NDArray[np.float64]:
    """Implied volatilities of European options by halving [0, highest]; NaN outside its prices.

    Example:
        >>> price = european_option_greeks(100.0, 110.0, 0.5, 0.05, 0.03, 0.25, True).price
        >>> bisected_volatility(price, 100.0, 110.0, 0.5, 0.05, 0.03, True).round(12)
        np.float64(0.25)
    """
    shape = np.broadcast_shapes(*map(np.shape, (price, spot, strike, t, rate, carry, is_call)))
    low, high = np.zeros(shape), np.full(shape, highest)

    def worth(vol: NDArray[np.float64]) -> NDArray[np.float64]:
        return european_option_greeks(spot, strike, t, rate, carry, vol, is_call).price

    wanted = np.asarray(price, dtype=np.float64)
    outside = (wanted < worth(low)) | (wanted > worth(high))
    for _ in range(100):
        middle = 0.5 * (low + high)
        below = worth(middle) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.where(outside, np.nan, 0.5 * (low + high))
