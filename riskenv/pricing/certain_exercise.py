"""American options on a spot whose path is known: the limit of volatility 0, compiled."""

from __future__ import annotations

from riskenv.compilation import jit
from riskenv.pricing.elementary import exp, log


@jit
def certain_put(i, x, spot, strike, years, rate, dividend, sign, out):  # type: ignore[no-untyped-def]
    """Price and Greeks of option i into out (9, n), which holds the European ones.

    Exercised at time u the put of strike 1 on S = e^x is worth e^{-r u} - S e^{-q u}; the holder
    takes the largest over 0 <= u <= T, if above 0. Inside, that is where the interest on the
    strike equals the yield on the spot, r e^{-r u} = q S e^{-q u}. A call is the put with spot
    and strike, rate and yield exchanged, as elsewhere.
    """
    at_once = 1.0 - exp(x)
    at_last = exp(-rate * years) - exp(x - dividend * years)
    best, inside = max(at_once, at_last, 0.0), -1.0
    if rate * dividend > 0.0 and rate != dividend:
        u = (log(dividend / rate) + x) / (dividend - rate)
        if 0.0 < u < years:
            worth = exp(-rate * u) - exp(x - dividend * u)
            if worth > best:
                best, inside = worth, u
    if inside < 0.0 and best > at_once:
        return  # at the last moment, or never: the European numbers
    out[:, i] = 0.0
    if inside < 0.0:
        out[0, i] = max(sign * (spot - strike), 0.0)
        out[1, i] = sign if best > 0.0 else 0.0
        return
    strike_part, spot_part = exp(-rate * inside), exp(x - dividend * inside)
    # d/dx of -spot_part, with d(inside)/dx = 1 / (dividend - rate)
    bend = spot_part * rate / (dividend - rate)
    if sign < 0.0:
        out[0, i] = strike * best
        out[1, i] = -strike * spot_part / spot
        out[2, i] = strike * (bend + spot_part) / (spot * spot)
        out[5, i] = -0.01 * strike * inside * strike_part
    else:
        out[0, i] = spot * best
        out[1, i] = strike_part
        out[2, i] = (bend + spot_part) / spot
        out[5, i] = 0.01 * spot * inside * spot_part
