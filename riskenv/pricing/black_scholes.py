"""Black-Scholes-Merton prices and Greeks of European options, compiled.

Formulas: Merton (1973), as in Haug, *The Complete Guide to Option Pricing Formulas* (2007),
chapters 1.1.6 and 2. With sign s = +1 for a call and -1 for a put, tau in years,

    d1 = (ln(S/K) + (r - q + vol^2 / 2) tau) / (vol sqrt(tau)),  d2 = d1 - vol sqrt(tau)
    price = s (S e^{-q tau} Phi(s d1) - K e^{-r tau} Phi(s d2))

At or past expiry the value is the intrinsic max(s (S - K), 0). A volatility must be above 0:
`Market` turns anything else into Unknown before it gets here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riskenv.compilation import inline, jit
from riskenv.pricing.elementary import exp, log, normal_cdf_given_pdf, normal_pdf

DAYS_PER_YEAR = 365.0


@inline
def price_given_log_moneyness(forward_log, spot_discounted, strike_discounted, total_vol, sign):  # type: ignore[no-untyped-def]
    """Price from ln(forward / strike), S e^{-q tau}, K e^{-r tau} and vol sqrt(tau) > 0."""
    d1 = forward_log / total_vol + 0.5 * total_vol
    d2 = d1 - total_vol
    pdf1 = normal_pdf(d1)
    pdf2 = normal_pdf(d2)
    up = normal_cdf_given_pdf(sign * d1, pdf1)
    down = normal_cdf_given_pdf(sign * d2, pdf2)
    return max(sign * (spot_discounted * up - strike_discounted * down), 0.0)


@jit
def _prices(spot, strike, years, rate, dividend_yield, vol, sign, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        if years[i] <= 0.0:
            out[i] = max(sign[i] * (spot[i] - strike[i]), 0.0)
        else:
            out[i] = price_given_log_moneyness(
                log(spot[i] / strike[i]) + (rate[i] - dividend_yield[i]) * years[i],
                spot[i] * exp(-dividend_yield[i] * years[i]),
                strike[i] * exp(-rate[i] * years[i]),
                vol[i] * np.sqrt(years[i]),
                sign[i],
            )


@inline
def greeks(spot, strike, years, rate, dividend_yield, vol, sign):  # type: ignore[no-untyped-def]
    """(delta, gamma, theta, vega) of one option, in the units of `option_greeks`.

    At or past expiry: delta is that of the intrinsic, the others are 0.
    """
    if years <= 0.0:
        return (sign if sign * (spot - strike) > 0.0 else 0.0), 0.0, 0.0, 0.0
    root = np.sqrt(years)
    total_vol = vol * root
    d1 = (log(spot / strike) + (rate - dividend_yield) * years) / total_vol + 0.5 * total_vol
    d2 = d1 - total_vol
    pdf1 = normal_pdf(d1)
    spot_discounted = spot * exp(-dividend_yield * years)
    strike_discounted = strike * exp(-rate * years)
    up = normal_cdf_given_pdf(sign * d1, pdf1)
    down = normal_cdf_given_pdf(sign * d2, normal_pdf(d2))
    delta = sign * exp(-dividend_yield * years) * up
    gamma = spot_discounted * pdf1 / (spot * spot * total_vol)
    decay = (
        -0.5 * spot_discounted * pdf1 * vol / root
        - sign * rate * strike_discounted * down
        + sign * dividend_yield * spot_discounted * up
    )
    vega = spot_discounted * pdf1 * root
    return delta, gamma, decay / DAYS_PER_YEAR, 0.01 * vega


def black_scholes_price(
    spot: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    rate: ArrayLike,
    dividend_yield: ArrayLike,
    vol: ArrayLike,
    is_call: ArrayLike,
) -> NDArray[np.float64]:
    """European option prices, currency per point; inputs broadcast to one shape.

    Args:
        spot, strike: in currency, above 0.
        years: to settlement, seconds / (365 * 86400); at or below 0 gives the intrinsic.
        rate, dividend_yield: continuous, per year.
        vol: per year, above 0.
        is_call: True for calls.

    Source: Haug (2007), section 1.1.6, whose example the doctest is.

    Example:
        >>> float(black_scholes_price(100.0, 95.0, 0.5, 0.10, 0.05, 0.20, False)[()].round(4))
        2.4648
    """
    columns = np.broadcast_arrays(
        *(
            np.asarray(x, dtype=np.float64)
            for x in (spot, strike, years, rate, dividend_yield, vol)
        ),
        np.where(np.asarray(is_call, dtype=bool), 1.0, -1.0),
    )
    out = np.empty(columns[0].shape)
    _prices(*(np.ascontiguousarray(c).ravel() for c in columns), out.reshape(-1))
    return out
