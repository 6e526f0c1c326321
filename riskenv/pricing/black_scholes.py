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
from riskenv.pricing.elementary import exp, log, mills_ratio, normal_pdf

DAYS_PER_YEAR = 365.0

# A time left shorter than this (0.03 ns; the clock of the risk layer counts nanoseconds) is none,
# and a standard deviation of the log price below this is none: their reciprocals stay finite.
SHORTEST_YEARS = 1e-18
SMALLEST_TOTAL_VOL = 1e-100
# |d1|, |d2| beyond this are this: phi is 0 from 39 on, and 0 times this is 0, where 0 * inf is NaN.
_FAR = 1e9
_SMALLEST_RATIO, _LARGEST_RATIO = 2.3e-308, 1.7e308  # what `log` takes


@inline
def price_given_log_moneyness(forward_log, spot_discounted, strike_discounted, total_vol, sign):  # type: ignore[no-untyped-def]
    """Price from x = ln(forward / strike), S e^{(b-r) tau}, K e^{-r tau}, vol sqrt(tau) > 0.

    The three must agree: S e^{(b-r) tau} = K e^{-r tau} e^x to rounding.
    """
    d1 = forward_log / total_vol + 0.5 * total_vol
    d2 = d1 - total_vol
    density = spot_discounted * normal_pdf(d1)
    tail1 = density * mills_ratio(min(abs(d1), 40.0))
    tail2 = density * mills_ratio(min(abs(d2), 40.0))
    up = tail1 if sign * d1 < 0.0 else spot_discounted - tail1
    down = tail2 if sign * d2 < 0.0 else strike_discounted - tail2
    return max(sign * (up - down), 0.0)


@inline
def price_and_greeks(spot, strike, years, rate, dividend_yield, vol, sign):  # type: ignore[no-untyped-def]
    """(price, delta, gamma, theta, vega, rho, vanna, volga, charm) of one option.

    Units and edges are those of `riskenv.pricing.option_greeks`; what is not used costs nothing
    once compiled. The cost of carry is rate - dividend_yield; for a future the two are equal.
    """
    alive = years > SHORTEST_YEARS
    t = years if alive else 0.0
    root = np.sqrt(t)
    total_vol = vol * root
    carry = rate - dividend_yield
    ratio = min(max(spot / strike, _SMALLEST_RATIO), _LARGEST_RATIO)
    forward_log = log(ratio) + carry * t

    # Without any uncertainty left d1 and d2 are infinite: in the money on the forward, or not.
    moving = total_vol > SMALLEST_TOTAL_VOL
    per_total_vol = 1.0 / total_vol if moving else 0.0
    certain = sign * _FAR if sign * forward_log > 0.0 else -sign * _FAR
    d1 = forward_log * per_total_vol + 0.5 * total_vol if moving else certain
    d2 = d1 - total_vol if moving else certain
    d1 = min(max(d1, -_FAR), _FAR)
    d2 = min(max(d2, -_FAR), _FAR)

    yield_factor = exp(-dividend_yield * t)
    spot_discounted = spot * yield_factor
    strike_discounted = strike * exp(-rate * t)
    pdf = normal_pdf(d1)
    density = spot_discounted * pdf
    tail1 = pdf * mills_ratio(min(abs(d1), 40.0))
    tail2 = density * mills_ratio(min(abs(d2), 40.0))
    cdf1 = tail1 if sign * d1 < 0.0 else 1.0 - tail1  # Phi(s d1)
    up = spot_discounted * cdf1
    down = tail2 if sign * d2 < 0.0 else strike_discounted - tail2  # K e^{-r tau} Phi(s d2)

    per_year = 1.0 / t if alive else 0.0
    per_day = 1.0 / DAYS_PER_YEAR if alive else 0.0
    per_vol = root * per_total_vol
    delta_density = yield_factor * pdf
    price = max(sign * (up - down), 0.0)
    delta = sign * yield_factor * cdf1
    gamma = delta_density * per_total_vol / spot
    decay = sign * (dividend_yield * up - rate * down) - 0.5 * density * total_vol * per_year
    vega = 0.01 * density * root
    rho = 0.01 * sign * t * down
    vanna = -0.01 * delta_density * d2 * per_vol
    volga = 0.01 * vega * (d1 * d2 * per_vol)
    # d(d1)/d(tau) = b / (vol sqrt(tau)) - d2 / (2 tau)
    drift = carry * per_total_vol - 0.5 * d2 * per_year
    charm = dividend_yield * delta - delta_density * drift
    return price, delta, gamma, decay * per_day, vega, rho, vanna, volga, charm * per_day


@inline
def greeks(spot, strike, years, rate, dividend_yield, vol, sign):  # type: ignore[no-untyped-def]
    """(delta, gamma, theta, vega) of one option, as in `price_and_greeks`."""
    _, delta, gamma, theta, vega, _, _, _, _ = price_and_greeks(
        spot, strike, years, rate, dividend_yield, vol, sign
    )
    return delta, gamma, theta, vega


@inline
def is_contract(spot, strike, years, rate, dividend_yield, vol, sign):  # type: ignore[no-untyped-def]
    """Whether the formulas apply: finite numbers, spot and strike above 0, vol not below 0."""
    return (
        (spot > 0.0)
        & (spot < np.inf)
        & (strike > 0.0)
        & (strike < np.inf)
        & (vol >= 0.0)
        & (vol < np.inf)
        & (abs(years) < np.inf)
        & (abs(rate) < np.inf)
        & (abs(dividend_yield) < np.inf)
        & (sign * sign == 1.0)
    )


@jit
def european_prices(spot, strike, years, rate, dividend_yield, vol, sign, out):  # type: ignore[no-untyped-def]
    """out[i] = price, or NaN where the input is no contract; (n,) contiguous float64 columns."""
    for i in range(spot.size):
        price, _, _, _, _, _, _, _, _ = price_and_greeks(
            spot[i], strike[i], years[i], rate[i], dividend_yield[i], vol[i], sign[i]
        )
        valid = is_contract(
            spot[i], strike[i], years[i], rate[i], dividend_yield[i], vol[i], sign[i]
        )
        out[i] = price + (0.0 * price if valid else np.nan)


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
        valid = is_contract(spot[i], strike[i], years[i], rate[i], dividend_yield, vol[i], sign[i])
        # 0 for finite numbers, else NaN: a contract has all its nine numbers or none.
        total = price + delta + gamma + theta + vega + rho + vanna + volga + charm
        taint = 0.0 * abs(total) if valid else np.nan
        out[0, i] = price + taint
        out[1, i] = delta + taint
        out[2, i] = gamma + taint
        out[3, i] = theta + taint
        out[4, i] = vega + taint
        out[5, i] = rho + taint
        out[6, i] = vanna + taint
        out[7, i] = volga + taint
        out[8, i] = charm + taint
