"""Black's formula in normalised form, and the Householder step that inverts it, compiled.

An option out of the money, divided by its discount factor and by sqrt(F K), depends on two numbers
only: x = -|ln(F/K)| and the total volatility s = vol sqrt(T) (Jaeckel 2015, "Let's be rational",
equation 2.1). With a = |x| / s, t = s / 2, the Mills ratio R = (1 - Phi) / phi, and the derivative
in s, v = exp(-(a^2 + t^2) / 2) / sqrt(2 pi),

    price           b     = v (R(a - t) - R(a + t))             rises from 0
    what is missing b' - b = v (R(t - a) + R(t + a)),  b' = e^{x/2}   falls to 0

Each is a sum of v times Mills ratios of arguments >= 0 on its own side of the inflection
s_c = sqrt(2 |x|), where a = t. The unknown s is solved from the one that lies on the quote's side,
in logarithms, so that the exponential never has to be taken and nothing underflows:

    f(s) = ln((R -+ R) / target) - (a^2 + t^2) / 2 = 0,   target = sqrt(2 pi) times b or b' - b

Why no digit is lost where the difference R(a - t) - R(a + t) cancels: a relative error e of b moves
s by e b / v = e (R(a - t) - R(a + t)), so an error of one unit in R moves s by one unit. That is
harmless unless s itself is small, and there the difference is taken from its Taylor series.
"""

from __future__ import annotations

import math

import numpy as np

from riskenv.compilation import inline
from riskenv.pricing.elementary import bits_to_float, float_to_bits, fma, log, mills_ratio

_LN2_HIGH = 0.6931471803691238  # as in elementary.log: k * high is exact
_LN2_LOW = 1.9082149292705877e-10
SQRT_2PI = 2.5066282746310002
_SQRT_HALF_PI = 1.2533141373155003
_SMALLEST_NORMAL = 2.2250738585072014e-308

# Where the Taylor series in t is used: |x| at most this, and a first guess at most that.
_NEAR_MONEYNESS = 0.5
_NEAR_TOTAL_VOL = 0.5


@inline
def log_ratio(a, b):  # type: ignore[no-untyped-def]
    """ln(a / b) of normal positive numbers, to 1 ulp also where they are nearly equal.

    `log(a / b)` rounds the ratio first, which near 1 costs every digit of the logarithm. Here
    b is scaled by a power of two until a - b is exact (Sterbenz); then as `elementary.log`.
    """
    ratio = a / b
    exponent = (float_to_bits(ratio) - 0x3FE6A09E667F3BCD) >> 52
    # 2**e in two factors, since e alone may lie outside the exponents of a double.
    half = exponent >> 1
    scaled = b * bits_to_float((half + 1023) << 52)
    scaled = scaled * bits_to_float((exponent - half + 1023) << 52)
    e = float(exponent)
    difference = a - scaled
    f = difference / scaled
    s = difference / (a + scaled)
    w = s * s
    p = fma(0.13086626147840102138, w, 0.13268773138656885185)
    p = fma(p, w, 0.15386239702814658188)
    p = fma(p, w, 0.18181795640132906276)
    p = fma(p, w, 0.22222222391713917442)
    p = fma(p, w, 0.28571428570803611811)
    p = fma(p, w, 0.40000000000000876983)
    p = fma(p, w, 0.66666666666666666465)
    tail = fma(s * w, p, fma(e, _LN2_LOW, -s * f))
    return fma(e, _LN2_HIGH, f + tail)


@inline
def series_of_difference(a, t, mills):  # type: ignore[no-untyped-def]
    """R(a - t) - R(a + t) for a t <= 1/4 and t <= 0.27, given R(a).

    It is the integral over u > 0 of 2 sinh(t u) exp(-a u - u^2 / 2), hence 2 t times the sum of
    M_{2k+1} t^{2k} / (2k+1)! over the odd moments M of exp(-a u - u^2 / 2). By parts,
    M_1 = 1 - a R(a), M_3 = (3 + a^2) M_1 - 1 and
    M_{2k+3} = (4k + 3 + a^2) M_{2k+1} - 2k (2k + 1) M_{2k-1}.
    """
    w = t * t
    y = fma(a * a, w, 3.0 * w)  # w (3 + a^2)
    n0 = fma(-a, mills, 1.0)
    n1 = fma(y, n0, -w) * (1.0 / 6.0)
    w2 = w * w
    n2 = fma(fma(4.0, w, y), n1, -w2 * n0) * (1.0 / 20.0)
    n3 = fma(fma(8.0, w, y), n2, -w2 * n1) * (1.0 / 42.0)
    n4 = fma(fma(12.0, w, y), n3, -w2 * n2) * (1.0 / 72.0)
    n5 = fma(fma(16.0, w, y), n4, -w2 * n3) * (1.0 / 110.0)
    n6 = fma(fma(20.0, w, y), n5, -w2 * n4) * (1.0 / 156.0)
    n7 = fma(fma(24.0, w, y), n6, -w2 * n5) * (1.0 / 210.0)
    return 2.0 * t * (n0 + (n1 + (n2 + (n3 + (n4 + (n5 + (n6 + n7)))))))


@inline
def price_over_vega(x, s, side):  # type: ignore[no-untyped-def]
    """b / v where side >= 0 (2: by the series), (b' - b) / v where side < 0. x is |ln(F/K)|."""
    a = x / s
    t = 0.5 * s
    near = side > 1.5
    first = mills_ratio(a if near else abs(a - t))
    second = mills_ratio(a + t)
    apart = first - second if side > 0.0 else first + second
    return series_of_difference(a, t, first) if near else apart


@inline
def householder_step(x, s, side, target, offset):  # type: ignore[no-untyped-def]
    """(step / s, b / v or (b' - b) / v) of the fourth-order iteration for ln b or ln(b' - b).

    Householder (1970), with f'' / f' and f''' / f' of f = ln c from those of c (Jaeckel 2015,
    equations 2.17 and 4.7 give them for b): s b''/b' = a^2 - t^2, and so on. `target` may come
    multiplied by a constant whose logarithm is `offset`.
    """
    a = x / s
    t = 0.5 * s
    ratio = price_over_vega(x, s, side)
    a2 = a * a
    t2 = t * t
    f = log(ratio / target) + offset - 0.5 * (a2 + t2)
    q = s / ratio if side > 0.0 else -s / ratio
    newton = -f / q
    b2 = a2 - t2
    b3 = b2 * b2 - 3.0 * a2 - t2
    h2 = b2 - q
    h3 = b3 - 3.0 * q * b2 + 2.0 * q * q
    step = newton * (1.0 + 0.5 * h2 * newton) / (1.0 + newton * (h2 + h3 * newton * (1.0 / 6.0)))
    return step, ratio


@inline
def first_guess(x, price, room):  # type: ignore[no-untyped-def]
    """(s, side) within 20 % of the solution; x = |ln(F/K)|, price = b, room = b' - b.

    Below the inflection Bachelier's model is close, and there s is a function of one number,
    sqrt(pi/2) (2 b + |x|) sqrt(eta p(eta)), eta = u / atanh(u), u = |x| / (2 b + |x|). The form is
    that of Choi, Kim and Kwak (2009), "Numerical approximation of the implied volatility under
    arithmetic Brownian motion"; the cubic p is a least-squares fit, within 0.7 %. Above it,
    ln(b' - b) is followed from the inflection by its slope there and the curvature -1/4 that it
    tends to.
    """
    straddle = fma(2.0, price, x)
    odds = min(x / max(price, _SMALLEST_NORMAL), 1e300)
    u = x / straddle
    eta = 2.0 * u / log(1.0 + odds) if odds > 1e-5 else 1.0
    p = fma(fma(fma(-0.12110677, eta, 0.31934665), eta, 0.64367445), eta, 0.16072331)
    low = _SQRT_HALF_PI * straddle * np.sqrt(eta * p)
    inflection = np.sqrt(2.0 * x)
    # In units of b' / 2: the price at the inflection is 1 - tail, what is missing 1 + tail.
    tail = mills_ratio(inflection) * (1.0 / _SQRT_HALF_PI)
    missing = room / (price + room)
    below = missing > 0.5 * (1.0 + tail)
    near = x <= _NEAR_MONEYNESS and low <= _NEAR_TOTAL_VOL
    slope = 1.0 / (_SQRT_HALF_PI * (1.0 + tail))
    depth = log(0.5 * (1.0 + tail) / max(missing, _SMALLEST_NORMAL))
    high = inflection + (np.sqrt(slope * slope + 0.5 * max(depth, 0.0)) - slope) * 4.0
    s = low if near else (min(low, inflection) if below else high)
    return s, (2.0 if near else (1.0 if below else -1.0))


def lets_be_rational(
    price: float, spot: float, strike: float, t: float, rate: float, carry: float, sign: float
) -> float:
    """vol sqrt(t) by the package of that name (Jaeckel 2015), one scalar call; NaN where it fails.

    It calls libm, so that its last bits differ between systems: a starting point, not an answer.
    """
    # Imported here because hardly anybody ever gets here.
    from lets_be_rational import implied_volatility_from_a_transformed_rational_guess
    from lets_be_rational.exceptions import VolatilityValueException

    try:
        undiscounted, forward = price * math.exp(rate * t), spot * math.exp(carry * t)
        return float(
            implied_volatility_from_a_transformed_rational_guess(
                undiscounted, forward, strike, 1.0, sign
            )
        )
    except (ArithmeticError, ValueError, VolatilityValueException):
        return math.nan
