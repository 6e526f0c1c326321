"""American options on a binomial tree: for the few that no single boundary describes, compiled.

Cox, Ross and Rubinstein's tree (1979) whose last step is the Black-Scholes price and whose
results at N and N / 2 steps are extrapolated: BBSR of Broadie and Detemple (1996). The tree gives
the premium, its American less its European price, in which most of its error cancels. It begins
two steps before now, so that three nodes of the present give delta and gamma.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from riskenv.compilation import jit
from riskenv.pricing.black_scholes import (
    DAYS_PER_YEAR,
    price_and_greeks,
    price_given_log_moneyness,
)
from riskenv.pricing.elementary import exp, log

STEPS, STEPS_WHEN_ACCURATE = 512, 4096
# A probability leaves [0, 1] with fewer steps than (b / vol)^2 T; beyond this many, no price.
MOST_STEPS = 1 << 14
# Central differences in vol and rate, in T relative to it: wide enough that the tree's own
# unevenness, about 1 / N^2, does not show.
VOL_STEP, RATE_STEP, TIME_STEP = 0.02, 0.001, 0.02


@jit
def tree(spot, strike, years, rate, carry, vol, sign, steps, american, european):  # type: ignore[no-untyped-def]
    """(premium, its delta, its gamma); the two arrays hold a level of nodes each."""
    dt = years / steps
    jump = vol * np.sqrt(dt)
    up = exp(jump)
    growth = exp(carry * dt)
    discount = exp(-rate * dt)
    probability = (growth - 1.0 / up) / (up - 1.0 / up)
    high, low = discount * probability, discount * (1.0 - probability)
    moneyness = log(spot / strike)
    last = steps - 1  # of the levels from now on; level -2 is the root
    for j in range(last + 3):
        moves = (2.0 * j - last - 2.0) * jump
        s = spot * exp(moves)
        european[j] = price_given_log_moneyness(
            moneyness + moves + carry * dt, s * growth * discount, strike * discount, jump, sign
        )
        american[j] = max(european[j], sign * (s - strike))
    for level in range(last - 1, -1, -1):
        s = spot * exp(-(level + 2.0) * jump)
        for j in range(level + 3):
            european[j] = high * european[j + 1] + low * european[j]
            american[j] = max(high * american[j + 1] + low * american[j], sign * (s - strike))
            s *= up * up
    above, below = spot * up * up, spot / (up * up)
    middle = american[1] - european[1]
    right = (american[2] - european[2] - middle) / (above - spot)
    left = (middle - american[0] + european[0]) / (spot - below)
    # The parabola through the three nodes.
    share = (spot - below) / (above - below)
    return middle, share * right + (1.0 - share) * left, 2.0 * (right - left) / (above - below)


@jit
def extrapolated(spot, strike, years, rate, carry, vol, sign, steps, levels):  # type: ignore[no-untyped-def]
    """2 x (N steps) - (N / 2 steps), which removes the error's leading term."""
    a, e = levels[0], levels[1]
    p, d, g = tree(spot, strike, years, rate, carry, vol, sign, steps, a, e)
    p2, d2, g2 = tree(spot, strike, years, rate, carry, vol, sign, steps // 2, a, e)
    return 2.0 * p - p2, 2.0 * d - d2, 2.0 * g - g2


@jit
def tree_kernel(chosen, columns, least_steps, out):  # type: ignore[no-untyped-def]
    """Price and Greeks of the options `chosen` into out (9, n); units as in `OptionGreeks`."""
    levels = np.empty((2, MOST_STEPS + 2))
    for i in chosen:
        s, k, t, r, b, v, sign = (
            columns[0][i], columns[1][i], columns[2][i], columns[3][i], columns[4][i],
            columns[5][i], columns[6][i],
        )  # fmt: skip
        out[:, i] = np.nan
        needed = 2.0 * (b / v) * (b / v) * t
        if not needed < MOST_STEPS:
            continue
        steps = max(least_steps, 2 * int(0.5 * needed + 1.0))
        whole = price_and_greeks(s, k, t, r, r - b, v, sign)
        premium, delta, gamma = extrapolated(s, k, t, r, b, v, sign, steps, levels)
        price = whole[0] + max(premium, 0.0)
        # The tree's premium is no better than this part of spot: less above the intrinsic is it.
        if price <= sign * (s - k) + 1e-9 * s:
            out[:, i] = 0.0
            out[0, i] = sign * (s - k)
            out[1, i] = sign
            continue
        h = VOL_STEP * v
        p_up, d_up, _ = extrapolated(s, k, t, r, b, v + h, sign, steps, levels)
        p_down, d_down, _ = extrapolated(s, k, t, r, b, v - h, sign, steps, levels)
        h_rate = RATE_STEP
        dear, _, _ = extrapolated(s, k, t, r + h_rate, b + h_rate, v, sign, steps, levels)
        cheap, _, _ = extrapolated(s, k, t, r - h_rate, b - h_rate, v, sign, steps, levels)
        dt = TIME_STEP * t
        _, d_longer, _ = extrapolated(s, k, t + dt, r, b, v, sign, steps, levels)
        _, d_shorter, _ = extrapolated(s, k, t - dt, r, b, v, sign, steps, levels)
        decay = r * premium - b * s * delta - 0.5 * v * v * s * s * gamma
        out[0, i] = price
        out[1, i] = whole[1] + delta  # beyond +-1 where a negative yield makes shares grow
        out[2, i] = max(whole[2] + gamma, 0.0)
        out[3, i] = whole[3] + decay / DAYS_PER_YEAR
        out[4, i] = whole[4] + 0.01 * (p_up - p_down) / (2.0 * h)
        out[5, i] = whole[5] + 0.01 * (dear - cheap) / (2.0 * h_rate)
        out[6, i] = whole[6] + 0.01 * (d_up - d_down) / (2.0 * h)
        out[7, i] = whole[7] + 1e-4 * (p_up - 2.0 * premium + p_down) / (h * h)
        out[8, i] = whole[8] - (d_longer - d_shorter) / (2.0 * dt) / DAYS_PER_YEAR


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
    tree_kernel(chosen, tuple(columns), STEPS_WHEN_ACCURATE if accurate else STEPS, out)
