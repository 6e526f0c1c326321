"""American options on a binomial tree: for the few that no single boundary describes, compiled.

Cox, Ross and Rubinstein's tree (1979) whose last step is the Black-Scholes price and whose
results at N and N / 2 steps are extrapolated: BBSR of Broadie and Detemple (1996). It begins two
steps before now, so that three nodes of the present give delta and gamma.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from riskenv.compilation import jit
from riskenv.pricing.black_scholes import DAYS_PER_YEAR, price_given_log_moneyness
from riskenv.pricing.elementary import exp, log

STEPS, STEPS_WHEN_ACCURATE = 512, 4096
# A probability leaves [0, 1] with fewer steps than (b / vol)^2 T; beyond this many, no price.
MOST_STEPS = 1 << 14
# Central differences in vol and rate, in T relative to it: wide enough that the tree's own
# unevenness, about 1 / N^2, does not show.
VOL_STEP, RATE_STEP, TIME_STEP = 0.02, 0.001, 0.02


@jit
def tree(spot, strike, years, rate, carry, vol, sign, steps, values):  # type: ignore[no-untyped-def]
    """(price, delta, gamma)."""
    dt = years / steps
    jump = vol * np.sqrt(dt)
    up = exp(jump)
    growth = exp(carry * dt)
    discount = exp(-rate * dt)
    probability = (growth - 1.0 / up) / (up - 1.0 / up)
    high, low = discount * probability, discount * (1.0 - probability)
    last = steps - 1  # of the levels from now on; level -2 is the root
    for j in range(last + 3):
        moves = 2.0 * j - last - 2.0
        s = spot * exp(moves * jump)
        log_moneyness = log(spot / strike) + moves * jump + carry * dt
        european = price_given_log_moneyness(
            log_moneyness, s * growth * discount, strike * discount, jump, sign
        )
        values[j] = max(european, sign * (s - strike))
    for level in range(last - 1, -1, -1):
        s = spot * exp(-(level + 2.0) * jump)
        for j in range(level + 3):
            waiting = high * values[j + 1] + low * values[j]
            values[j] = max(waiting, sign * (s - strike))
            s *= up * up
    above, below = spot * up * up, spot / (up * up)
    right = (values[2] - values[1]) / (above - spot)
    left = (values[1] - values[0]) / (spot - below)
    # The parabola through the three nodes.
    share = (spot - below) / (above - below)
    return values[1], share * right + (1.0 - share) * left, 2.0 * (right - left) / (above - below)


@jit
def extrapolated(spot, strike, years, rate, carry, vol, sign, steps, values):  # type: ignore[no-untyped-def]
    """2 x (N steps) - (N / 2 steps), which removes the error's leading term."""
    p, d, g = tree(spot, strike, years, rate, carry, vol, sign, steps, values)
    p2, d2, g2 = tree(spot, strike, years, rate, carry, vol, sign, steps // 2, values)
    return max(2.0 * p - p2, sign * (spot - strike)), 2.0 * d - d2, 2.0 * g - g2


@jit
def tree_kernel(chosen, spot, strike, years, rate, carry, vol, sign, least_steps, out):  # type: ignore[no-untyped-def]
    """Price and Greeks of the options `chosen` into out (9, n); units as in `OptionGreeks`."""
    values = np.empty(MOST_STEPS + 2)
    for i in chosen:
        s, k, t, r, b, v = spot[i], strike[i], years[i], rate[i], carry[i], vol[i]
        # A wider bump of a small volatility would ask for more steps.
        h = VOL_STEP * v
        needed = 2.0 * (b / v) * (b / v) * t
        out[:, i] = np.nan
        if not needed < MOST_STEPS:
            continue
        steps = max(least_steps, 2 * int(0.5 * needed + 1.0))
        price, delta, gamma = extrapolated(s, k, t, r, b, v, sign[i], steps, values)
        if price <= sign[i] * (s - k):
            out[:, i] = 0.0
            out[0, i] = price
            out[1, i] = sign[i]
            continue
        price_up, delta_up, _ = extrapolated(s, k, t, r, b, v + h, sign[i], steps, values)
        price_down, delta_down, _ = extrapolated(s, k, t, r, b, v - h, sign[i], steps, values)
        richer, _, _ = extrapolated(
            s, k, t, r + RATE_STEP, b + RATE_STEP, v, sign[i], steps, values
        )
        poorer, _, _ = extrapolated(
            s, k, t, r - RATE_STEP, b - RATE_STEP, v, sign[i], steps, values
        )
        dt = TIME_STEP * t
        _, delta_longer, _ = extrapolated(s, k, t + dt, r, b, v, sign[i], steps, values)
        _, delta_shorter, _ = extrapolated(s, k, t - dt, r, b, v, sign[i], steps, values)
        decay = r * price - b * s * delta - 0.5 * v * v * s * s * gamma
        out[0, i] = price
        out[1, i] = delta
        out[2, i] = max(gamma, 0.0)
        out[3, i] = decay / DAYS_PER_YEAR
        out[4, i] = 0.01 * (price_up - price_down) / (2.0 * h)
        out[5, i] = 0.01 * (richer - poorer) / (2.0 * RATE_STEP)
        out[6, i] = 0.01 * (delta_up - delta_down) / (2.0 * h)
        out[7, i] = 1e-4 * (price_up - 2.0 * price + price_down) / (h * h)
        out[8, i] = -(delta_longer - delta_shorter) / (2.0 * dt) / DAYS_PER_YEAR


def tree_greeks(
    chosen: NDArray[np.int64],
    columns: list[NDArray[np.float64]],
    accurate: bool,
    out: NDArray[np.float64],
) -> None:
    """Price and Greeks of the options `chosen` of the columns, into out (9, n).

    NaN where even the largest tree is too coarse: vol^2 T far below the drift's square, in the
    band q < r < 0 alone.
    """
    tree_kernel(chosen, *columns, STEPS_WHEN_ACCURATE if accurate else STEPS, out)
