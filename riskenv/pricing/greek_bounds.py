"""Where the Greeks of an option lie while its volatility is known only to lie in a range.

An option without a quote that can be trusted is still held. Its exposures are then intervals.

European. As functions of the volatility the Greeks are smooth, so each is extreme at an end of the
range or where its derivative is 0, and `option_greeks` at all of these gives the interval. With
x = ln(F/K), w = vol^2 T, y = 2 x, beta = (r - q) T, kappa = q T, and by d(d1)/d(vol) = -d2 / vol,
d(d2)/d(vol) = -d1 / vol, d1 vol sqrt(T) = (y + w) / 2 and d2 vol sqrt(T) = (y - w) / 2, the
derivatives of the formulas in Haug (2007), sections 2.2 to 2.8, are 0 where

    delta  d2 = 0                                     w = y
    gamma  d1 d2 = 1                                  w^2 + 4 w - y^2 = 0
    theta  1 + d1 d2 = 2 T (r d1 - q d2) / sqrt(w)    w^2 - 4 (1 - (r+q) T) w - y (y - 4 beta) = 0
    vega   d1 d2 = 0                                  w = |y|
    rho    d1 = 0                                     w = -y
    vanna  d1 d2^2 = d1 + d2                          (y - w)^2 (y + w) - 8 y w = 0
    volga  P^2 - P = 2 sqrt(P^2 + x^2), P = d1 d2     (y^2 - w^2)^2 - 12 y^2 w - 4 w^3 = 0
    charm  d1 d2 (beta - (y - w) / 4) = beta - (y + w) / 4 - kappa (y - w) / 2, a cubic times 1/w

The roots of the last three are found by halving between points that part them. For vanna and volga
|y| does: by Descartes' rule vanna's cubic has one positive root where y < 0, and one on each side
of y where y > 0; volga's P is once above 3 and once below -1, and falls through 0 at w = |y|.
Charm's cubic is parted by its turning points. A halving where there is no root ends at some other
volatility of the range, which does no harm: what the Greek is there, it can be.

American. The value V is the sup over stopping times u <= T of E[(s (S e^{-qu} M - K e^{-ru}))^+],
M = exp(vol W - vol^2 u / 2), s = +1 for a call. A sup of functions that are convex, or that grow
no faster than L, is so too. Let R = max(1, e^{-qT}), D = max(1, e^{-rT}), h = 1 / sqrt(2 pi), and
note E[M (W - vol u)^+] <= h sqrt(T), a submartingale's mean under the measure M. Then, at each vol,

    delta  0 to R (call), -R to 0 (put); not below -1 for a put at r >= 0, for then V(0) = K, and a
           convex V >= K - S falls no faster. A call is the put with (S, q) and (K, r) exchanged
           (McDonald and Schroder, 1998): its delta is the intercept of a tangent, at most R.
    gamma  >= 0: V is convex in S. From above by the Black-Scholes equation while it is held:
           (vol S)^2 gamma / 2 = r (V - S delta) + q S delta + dV/dT, 0 <= s (S delta - V) <= K D
    theta  <= 0: more time admits more stopping times. With u = T k, dV/dT is at most
           S R vol h / (2 sqrt(T)), and |r| K D where the rate rewards waiting (r > 0 for a call,
           r < 0 for a put), and |q| S R where the yield does (q < 0, q > 0)
    vega   >= 0: a convex V grows with the variance of M (El Karoui, Jeanblanc-Picque and Shreve,
           1998). At most S R h sqrt(T), from d(M)/d(vol) = M (W - vol u)
    rho    between 0 and s K max(u e^{-ru}), which is at u = 1 / r, or T if that is less

Of vanna, volga and charm nothing is claimed. A call at q <= 0 and q <= r, and a put at r <= 0 and
r <= q, are never exercised early: these have the European bounds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riskenv.compilation import jit
from riskenv.pricing.black_scholes import DAYS_PER_YEAR, SHORTEST_YEARS
from riskenv.pricing.elementary import log_ratio
from riskenv.pricing.option_greeks import contract_columns, option_greeks

Array = NDArray[np.float64]

DELTA, GAMMA, THETA, VEGA, RHO, VANNA, VOLGA, CHARM = range(8)
# From far below to far above any volatility; w and the polynomials in it stay within floats.
LOWEST_VOL, HIGHEST_VOL = 1e-20, 1e20
# Largest |ln(F/K)|. Up to here the formulas' cutoff of d1 and d2 at 40 is none: one is beyond it
# only where phi of the other, at least 38.6 away from 0, underflows.
FARTHEST = 50.0
# With |y| <= 2 FARTHEST and |rate T|, |yield T| <= 700, what `option_greeks` takes, no root lies
# above this: 1 + the largest coefficient (Cauchy).
_LARGEST_ROOT = 1e9
# log w spans less than 200; a 2^-64 of that is below its rounding.
_HALVINGS = 64
# Relative error of a computed Greek: phi(d1) magnifies that of d1, three roundings, by d1^2, and
# |d1| <= 38 or phi underflows.
_ROUNDING = 2e-12
# Below this a float has lost digits to underflow somewhere.
_UNDERFLOW = 1e-200


def greek_bounds(
    spot: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    rate: ArrayLike,
    dividend_yield: ArrayLike,
    is_call: ArrayLike,
    vol_low: ArrayLike,
    vol_high: ArrayLike,
    american: ArrayLike = False,
) -> tuple[Array, Array]:
    """The least and the largest each Greek can be, over all volatilities in a range.

    Inputs broadcast against each other. Each bound has shape (8, *shape), (8, n) for columns: rows
    delta, gamma, theta, vega, rho, vanna, volga, charm, in the units of `option_greeks`, for a
    multiplier of 1. The Greeks that `option_greeks` computes lie inside, rounding included.

    European bounds are attained; American ones (module docstring) hold for every exercise policy's
    best, are wide, and are infinite for vanna, volga and charm. Never NaN.

    Args:
        spot: of the underlying, currency.
        strike: currency.
        years: years to settlement, seconds / (365 * 86400).
        rate: continuous, per year, of any sign.
        dividend_yield: continuous, per year, of any sign; the rate for an option on a future.
        is_call: True (or 1) for a call, False (or 0) for a put.
        vol_low: least volatility per year, 1e-20 or more.
        vol_high: largest volatility per year, vol_low to 1e20.
        american: True where the option may be exercised early.

    Edges:
        - years at or below 0: expired, exercised or not. Delta 0 to 1 for a call, -1 to 0 for a
          put, the rest 0.
        - any other input for which `option_greeks` gives NaN, or a forward beyond e^50 strikes or
          below e^-50: -inf to inf.

    Raises:
        ValueError: a volatility that is NaN or outside what is allowed, `american` holds no
            booleans, or as `option_greeks`.

    Example:
        >>> low, high = greek_bounds(100.0, [95.0, 105.0], 0.25, 0.04, 0.01, True, 0.1, 0.4)
        >>> low[0].round(4), high[0].round(4)  # delta, of either call
        (array([0.6516, 0.2111]), array([0.8829, 0.4565]))
        >>> low, high = greek_bounds(100.0, 95.0, 0.25, 0.04, 0.0, False, 0.1, 0.4, american=True)
        >>> low[:3].round(4), high[:3].round(4)  # delta, gamma, theta
        (array([-1.    ,  0.    , -0.0437]), array([0.    , 0.1558, 0.    ]))
        >>> greek_bounds(100.0, 95.0, 0.25, 0.04, 0.0, False, 0.0, 0.4)
        Traceback (most recent call last):
            ...
        ValueError: vol_low: got 0.0; allowed: 1e-20 to 1e+20
    """
    vol_low, vol_high = checked_range(vol_low, vol_high)
    early = np.asarray(american)
    if early.dtype.kind != "b":
        raise ValueError(f"american: got {american!r}; allowed: booleans")
    columns, shape = contract_columns(
        spot, strike, years, rate, dividend_yield, vol_low, vol_high, early, is_call=is_call
    )
    S, K, T, r, q, lowest, highest, flag, sign = columns
    right = 0.5 * (1.0 + sign)  # 1 for a call, 0 for a put, NaN for neither
    with np.errstate(invalid="ignore"):
        carry = r - q
    ends = option_greeks(S, K, T, r, carry, [lowest, highest], right)
    known = np.isfinite(ends.price).all(axis=0)
    expired = known & (T <= SHORTEST_YEARS)
    x = np.full(S.size, np.inf)
    log_moneyness(np.flatnonzero(known), S, K, T, r, q, x)
    alive = known & ~expired & (np.abs(x) <= FARTHEST)
    contract = np.array([S, K, T, r, q, x, lowest, highest, sign])
    may_wait = np.where(sign > 0.0, (q <= 0.0) & (q <= r), (r <= 0.0) & (r <= q))
    exercisable = (flag != 0.0) & ~may_wait

    low = np.full((8, S.size), -np.inf)
    high = np.full((8, S.size), np.inf)
    low[:, expired] = high[:, expired] = 0.0
    low[DELTA, expired] = np.minimum(sign[expired], 0.0)
    high[DELTA, expired] = np.maximum(sign[expired], 0.0)
    # What overflows here becomes unbounded below.
    with np.errstate(over="ignore", invalid="ignore"):
        for chosen, bounds in (
            (alive & ~exercisable, european_bounds),
            (alive & exercisable, american_bounds),
        ):
            low[:, chosen], high[:, chosen] = bounds(*contract[:, chosen])
    low[np.isnan(low)] = -np.inf
    high[np.isnan(high)] = np.inf
    return low.reshape(8, *shape), high.reshape(8, *shape)


def checked_range(vol_low: ArrayLike, vol_high: ArrayLike) -> tuple[Array, Array]:
    """Both ends as arrays, of their common shape.

    Raises:
        ValueError: an end is NaN or outside what is allowed; names the first such.
    """
    low, high = np.broadcast_arrays(
        np.asarray(vol_low, dtype=np.float64), np.asarray(vol_high, dtype=np.float64)
    )
    outside = ~((low >= LOWEST_VOL) & (low <= HIGHEST_VOL))
    if outside.any():
        raise ValueError(
            f"vol_low: got {float(low[outside][0])}; allowed: {LOWEST_VOL:g} to {HIGHEST_VOL:g}"
        )
    outside = ~((high >= low) & (high <= HIGHEST_VOL))
    if outside.any():
        raise ValueError(
            f"vol_high: got {float(high[outside][0])}; allowed: vol_low "
            f"({float(low[outside][0])}) to {HIGHEST_VOL:g}"
        )
    return low, high


@jit
def log_moneyness(chosen, spot, strike, years, rate, dividend_yield, out):  # type: ignore[no-untyped-def]
    """out[i] = ln(F/K) of the options `chosen`, to the bit what `option_greeks` takes it to be.

    Near 0 it is what the rounding of its two terms leaves, and d1 divides it by vol sqrt(T).
    """
    for i in chosen:
        carry = rate[i] - (rate[i] - (rate[i] - dividend_yield[i]))
        out[i] = log_ratio(spot[i], strike[i]) + carry * years[i]


def european_bounds(
    S: Array, K: Array, T: Array, r: Array, q: Array, x: Array, low: Array, high: Array, sign: Array
) -> tuple[Array, Array]:
    """Bounds (8, n) of n European contracts, columns (n,): the Greeks where they can be extreme."""
    b, root = r - q, np.sqrt(T)
    w = stationary_points(
        2.0 * x,
        b * T,
        q * T,
        np.minimum((low * root) ** 2, _LARGEST_ROOT),
        np.minimum((high * root) ** 2, _LARGEST_ROOT),
    )
    vol = np.vstack([low, high, np.clip(np.sqrt(w) / root, low, high)])
    greeks = np.array(option_greeks(S, K, T, r, b, vol, sign > 0.0)[1:])

    # Rounding is relative to the terms of a sum, not to what they leave.
    size = np.abs(greeks)
    gamma, vega = size[GAMMA], size[VEGA]
    moneyness = np.abs(x) / (vol * root) + vol * root  # at least |d1| and |d2|
    interest = np.abs(q) * S * size[DELTA] + 100.0 * np.abs(r) / T * size[RHO]
    size[THETA] = (interest + 0.5 * (vol * S) ** 2 * gamma) / DAYS_PER_YEAR
    size[VANNA] = 0.01 * S * root * gamma * moneyness
    size[VOLGA] = 0.01 * vega / vol * moneyness**2
    drift = S * gamma * (np.abs(b) + 0.5 * vol / root * moneyness)
    size[CHARM] = (np.abs(q) * size[DELTA] + drift) / DAYS_PER_YEAR
    margin = _ROUNDING * size + _UNDERFLOW
    lows, highs = (greeks - margin).min(axis=1), (greeks + margin).max(axis=1)

    lows[[GAMMA, VEGA]] = np.maximum(lows[[GAMMA, VEGA]], 0.0)
    signed = [DELTA, RHO]
    lows[signed] = np.maximum(lows[signed], np.where(sign > 0.0, 0.0, -np.inf))
    highs[signed] = np.minimum(highs[signed], np.where(sign > 0.0, np.inf, 0.0))
    return lows, highs


def stationary_points(y: Array, beta: Array, kappa: Array, low: Array, high: Array) -> Array:
    """Each w in [low, high] where a Greek's derivative is 0, and more of the range, (14, n).

    Args:
        y: 2 ln(F/K), (n,), as are all.
        beta: (r - q) T.
        kappa: q T.
        low: least w = vol^2 T, above 0.
        high: largest w.
    """

    def vanna(w: Array) -> Array:
        return (y - w) ** 2 * (y + w) - 8.0 * y * w

    def volga(w: Array) -> Array:
        return (y * y - w * w) ** 2 - 4.0 * w * (3.0 * y * y + w * w)

    def charm(w: Array) -> Array:
        bend = 16.0 * beta - 4.0 * (y + w) - 8.0 * kappa * (y - w)
        return w * bend - (y * y - w * w) * (4.0 * beta - y + w)

    gamma_points = quadratic_roots(np.full_like(y, 2.0), -y * y)
    theta_points = quadratic_roots(-2.0 * (1.0 - 2.0 * kappa - beta), -y * (y - 4.0 * beta))
    # Of charm's cubic w^3 + a w^2 + b w + c: 3 w^2 + 2 a w + b = 0.
    a = 4.0 * beta - y + 8.0 * kappa - 4.0
    b = 16.0 * beta - 4.0 * y - y * y - 8.0 * kappa * y
    turning_points = quadratic_roots(a / 3.0, b / 3.0)
    zero = np.abs(y)[None]
    found = [
        zero,
        gamma_points,
        theta_points,
        turning_points,
        roots_between(vanna, zero, low, high),
        roots_between(volga, zero, low, high),
        roots_between(charm, turning_points, low, high),
    ]
    points: Array = np.clip(np.vstack(found), low, high)
    return points


def quadratic_roots(half: Array, constant: Array) -> Array:
    """Both roots of w^2 + 2 half w + constant, (2, n), neither by a difference of near equals.

    Where there are none, two other numbers.
    """
    root = np.sqrt(np.maximum(half * half - constant, 0.0))
    far = -half - np.copysign(root, half)
    near = np.divide(constant, far, out=np.zeros_like(far), where=far != 0.0)
    return np.stack([far, near])


def roots_between(
    polynomial: Callable[[Array], Array], cuts: Array, low: Array, high: Array
) -> Array:
    """The root of the polynomial in each part of [low, high], (k + 1, n), or a point of that part.

    Args:
        polynomial: of w, elementwise.
        cuts: (k, n), in any order; at most one root lies between neighbours.
        low: (n,), above 0.
        high: (n,).
    """
    edges = np.sort(np.vstack([low, high, np.clip(cuts, low, high)]), axis=0)
    left, right = edges[:-1], edges[1:]
    below = polynomial(left) < 0.0
    for _ in range(_HALVINGS):
        middle = np.sqrt(left) * np.sqrt(right)
        same = (polynomial(middle) < 0.0) == below
        left, right = np.where(same, middle, left), np.where(same, right, middle)
    return right


def american_bounds(
    S: Array, K: Array, T: Array, r: Array, q: Array, x: Array, low: Array, high: Array, sign: Array
) -> tuple[Array, Array]:
    """Bounds (8, n) of n American contracts, columns (n,), by the module docstring."""
    call, root, h = sign > 0.0, np.sqrt(T), 1.0 / np.sqrt(2.0 * np.pi)
    growth = np.maximum(np.exp(-q * T), 1.0)  # R
    paid = K * np.maximum(np.exp(-r * T), 1.0)  # K D
    received = S * growth  # S R
    waiting = np.maximum(sign * r, 0.0) * paid + np.maximum(-sign * q, 0.0) * received
    best_time = np.where(r * T > 1.0, 1.0 / np.where(r * T > 1.0, r, 1.0), T)
    by_rate = 0.01 * K * best_time * np.exp(-r * best_time)

    lows = np.full((8, S.size), -np.inf)
    highs = np.full((8, S.size), np.inf)
    lows[DELTA] = np.where(call, 0.0, np.where(r >= 0.0, -1.0, -growth))
    highs[DELTA] = np.where(call, growth, 0.0)
    lows[GAMMA] = 0.0
    interest = np.abs(r) * paid + np.abs(q) * received
    highs[GAMMA] = growth * h / (S * low * root) + 2.0 * interest / (low * S) ** 2
    lows[THETA] = -(received * high * h / (2.0 * root) + waiting) / DAYS_PER_YEAR
    highs[THETA] = 0.0
    lows[VEGA] = 0.0
    highs[VEGA] = 0.01 * received * h * root
    lows[RHO] = np.where(call, 0.0, -by_rate)
    highs[RHO] = np.where(call, by_rate, 0.0)
    return lows * (1.0 + _ROUNDING), highs * (1.0 + _ROUNDING)
