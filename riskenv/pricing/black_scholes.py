"""Generalised Black-Scholes-Merton: prices and Greeks of European options, compiled.

Formulas: Haug, *The Complete Guide to Option Pricing Formulas*, 2nd ed. (2007), sections 1.1.6
(price) and 2.2 to 2.8 (Greeks); vanna, volga and charm are his DdeltaDvol, DvegaDvol and
DdeltaDtime. With sign s = +1 for a call and -1 for a put, tau in years, cost of carry b = r - q
(q the dividend yield; b = 0 prices an option on a future: Black 1976),

    d1 = (ln(S/K) + (b + vol^2 / 2) tau) / (vol sqrt(tau)),  d2 = d1 - vol sqrt(tau)
    price = s (S e^{(b-r) tau} Phi(s d1) - K e^{-r tau} Phi(s d2))

The two normal densities are one: S e^{(b-r) tau} phi(d1) = K e^{-r tau} phi(d2) (Haug 2007,
appendix 2.A). So a price costs one exponential and two Mills ratios, and every Greek is a few
products more. All is branch-free, so that a loop over options becomes vector code.

The functions here are building blocks of compiled loops; `riskenv.pricing.option_greeks` is the
way in for arrays, and `riskenv.pricing.numpy_reference` says the same readably.
"""

from __future__ import annotations

import numpy as np

from riskenv.compilation import inline, jit
from riskenv.pricing.elementary import (
    exp_within_700,
    log_ratio,
    mills_fraction,
    normal_pdf,
    normal_pdf_within_40,
)

DAYS_PER_YEAR = 365.0

# A time left shorter than this (0.03 ns; the clock of the risk layer counts nanoseconds) is none,
# and a standard deviation of the log price below this is none: their reciprocals stay finite.
SHORTEST_YEARS = 1e-18
SMALLEST_TOTAL_VOL = 1e-100
# Currency amounts outside these are garbage; inside, no product below leaves the floats.
SMALLEST_PRICE, LARGEST_PRICE = 1e-100, 1e100
# |rate * t| and |yield * t| up to this: what `exp_within_700` takes.
LARGEST_EXPONENT = 700.0
# |d1|, |d2| beyond this are this: phi is 0 there, and 0 times this is 0, where 0 * inf is NaN.
_FAR = 40.0


@inline
def two_mills_ratios(z1, z2):  # type: ignore[no-untyped-def]
    """Mills ratios of z1 and z2 in [0, 40] with one division, the dearest operation here."""
    p1, q1 = mills_fraction(z1)
    p2, q2 = mills_fraction(z2)
    inverse = 1.0 / (q1 * q2)
    return p1 * (q2 * inverse), p2 * (q1 * inverse)


@inline
def price_given_log_moneyness(forward_log, spot_discounted, strike_discounted, total_vol, sign):  # type: ignore[no-untyped-def]
    """Price from x = ln(forward / strike), S e^{(b-r) tau}, K e^{-r tau}, vol sqrt(tau) > 0.

    The three must agree: S e^{(b-r) tau} = K e^{-r tau} e^x to rounding.
    """
    d1 = forward_log / total_vol + 0.5 * total_vol
    d2 = d1 - total_vol
    density = spot_discounted * normal_pdf(d1)
    mills1, mills2 = two_mills_ratios(min(abs(d1), _FAR), min(abs(d2), _FAR))
    tail1, tail2 = density * mills1, density * mills2
    up = tail1 if sign * d1 < 0.0 else spot_discounted - tail1
    down = tail2 if sign * d2 < 0.0 else strike_discounted - tail2
    return max(sign * (up - down), 0.0)


@inline
def price_and_greeks(spot, strike, years, rate, dividend_yield, vol, sign):  # type: ignore[no-untyped-def]
    """(price, delta, gamma, theta, vega, rho, vanna, volga, charm) of one option.

    Units and edges are those of `riskenv.pricing.option_greeks`, except that input which is no
    contract gives garbage: `taint` tells. What is not used costs nothing once compiled. The cost
    of carry is rate - dividend_yield; for a future the two are equal.
    """
    alive = years > SHORTEST_YEARS
    t = years if alive else 0.0
    root = np.sqrt(t)
    total_vol = vol * root
    carry = rate - dividend_yield
    forward_log = log_ratio(spot, strike) + carry * t

    # Without any uncertainty left d1 and d2 are infinite: in the money on the forward, or not.
    moving = total_vol > SMALLEST_TOTAL_VOL
    per_spot_vol = 1.0 / (spot * total_vol) if moving else 0.0
    per_total_vol = spot * per_spot_vol
    certain = sign * _FAR if sign * forward_log > 0.0 else -sign * _FAR
    centre = forward_log * per_total_vol if moving else certain
    d1 = min(max(centre + 0.5 * total_vol, -_FAR), _FAR)
    d2 = min(max(centre - 0.5 * total_vol, -_FAR), _FAR)

    yield_factor = exp_within_700(-dividend_yield * t)
    spot_discounted = spot * yield_factor
    strike_discounted = strike * exp_within_700(-rate * t)
    pdf = normal_pdf_within_40(d1)
    density = spot_discounted * pdf
    mills1, mills2 = two_mills_ratios(abs(d1), abs(d2))
    tail1, tail2 = pdf * mills1, density * mills2
    cdf1 = tail1 if sign * d1 < 0.0 else 1.0 - tail1  # Phi(s d1)
    up = spot_discounted * cdf1
    down = tail2 if sign * d2 < 0.0 else strike_discounted - tail2  # K e^{-r tau} Phi(s d2)

    per_root = vol * per_total_vol  # 1 / sqrt(tau)
    per_vol = root * per_total_vol
    per_day = 1.0 / DAYS_PER_YEAR if alive else 0.0
    delta_density = yield_factor * pdf
    price = max(sign * (up - down), 0.0)
    delta = sign * yield_factor * cdf1
    gamma = delta_density * per_spot_vol
    decay = sign * (dividend_yield * up - rate * down) - 0.5 * density * vol * per_root
    vega = 0.01 * density * root
    rho = 0.01 * sign * t * down
    vanna = -0.01 * delta_density * d2 * per_vol
    volga = 0.01 * vega * (d1 * d2 * per_vol)
    # d(d1)/d(tau) = b / (vol sqrt(tau)) - d2 / (2 tau)
    drift = carry * per_total_vol - 0.5 * d2 * (per_root * per_root)
    charm = dividend_yield * delta - delta_density * drift
    return price, delta, gamma, decay * per_day, vega, rho, vanna, volga, charm * per_day


@inline
def taint(spot, strike, years, rate, dividend_yield, vol, sign, total):  # type: ignore[no-untyped-def]
    """0 where the formulas apply to these inputs and gave finite numbers, of sum `total`; else NaN.

    Added to each result, so that a contract has all its numbers or none.
    """
    t = max(years, 0.0)
    valid = (
        (spot >= SMALLEST_PRICE)
        & (spot <= LARGEST_PRICE)
        & (strike >= SMALLEST_PRICE)
        & (strike <= LARGEST_PRICE)
        & (vol >= 0.0)
        & (abs(rate * t) <= LARGEST_EXPONENT)
        & (abs(dividend_yield * t) <= LARGEST_EXPONENT)
        & (sign * sign == 1.0)
    )
    # 0 times an infinity is NaN, too; abs, because adding -0 would let a result be -0.
    return 0.0 * abs(total + (years + rate + dividend_yield + vol)) if valid else np.nan


@inline
def greeks(spot, strike, years, rate, dividend_yield, vol, sign):  # type: ignore[no-untyped-def]
    """(delta, gamma, theta, vega) of one option, as `option_greeks` has them: NaN where it has."""
    price, delta, gamma, theta, vega, _, _, _, _ = price_and_greeks(
        spot, strike, years, rate, dividend_yield, vol, sign
    )
    total = price + delta + gamma + theta + vega
    nothing = taint(spot, strike, years, rate, dividend_yield, vol, sign, total)
    return delta + nothing, gamma + nothing, theta + nothing, vega + nothing


@jit
def european_prices(spot, strike, years, rate, dividend_yield, vol, sign, out):  # type: ignore[no-untyped-def]
    """out[i] = price, or NaN where the input is no contract; (n,) contiguous float64 columns."""
    for i in range(spot.size):
        price, _, _, _, _, _, _, _, _ = price_and_greeks(
            spot[i], strike[i], years[i], rate[i], dividend_yield[i], vol[i], sign[i]
        )
        out[i] = price + taint(
            spot[i], strike[i], years[i], rate[i], dividend_yield[i], vol[i], sign[i], price
        )


@jit
def european_greeks(spot, strike, years, rate, carry, vol, sign, out):  # type: ignore[no-untyped-def]
    """out[:, i] = price and eight Greeks in the order of `OptionGreeks`; out is (9, n).

    Columns are (n,) contiguous float64; `carry` is the cost of carry b, `sign` +1 or -1.
    """
    for i in range(spot.size):
        dividend_yield = rate[i] - carry[i]
        price, delta, gamma, theta, vega, rho, vanna, volga, charm = price_and_greeks(
            spot[i], strike[i], years[i], rate[i], dividend_yield, vol[i], sign[i]
        )
        total = price + delta + gamma + theta + vega + rho + vanna + volga + charm
        nothing = taint(
            spot[i], strike[i], years[i], rate[i], dividend_yield, vol[i], sign[i], total
        )
        out[0, i] = price + nothing
        out[1, i] = delta + nothing
        out[2, i] = gamma + nothing
        out[3, i] = theta + nothing
        out[4, i] = vega + nothing
        out[5, i] = rho + nothing
        out[6, i] = vanna + nothing
        out[7, i] = volga + nothing
        out[8, i] = charm + nothing
