"""What the right to exercise a put early is worth, with derivatives, compiled.

Strike 1, x = ln S, above ln B(T); years, rate r, yield q and vol as in
`riskenv.pricing.exercise_boundary`, which finds B. Kim (1990), equation 12:

    premium = int_0^T [r e^{-r u} Phi(-d-) - q S e^{-q u} Phi(-d+)] du,
    d-+ = (ln(S / B(T - u)) + (r - q -+ vol^2 / 2) u) / (vol sqrt(u))

The derivatives are those of the integrand. With the boundary's own derivatives in hand they are
exact: nothing is bumped, and all of them belong to the same price.
"""

from __future__ import annotations

import numpy as np

from riskenv.compilation import jit
from riskenv.pricing.elementary import exp, log, normal_cdf_given_pdf, normal_pdf
from riskenv.pricing.exercise_boundary import CLIP, log_boundary_at_expiry

# Rows of `sums`: the premium, its first three derivatives in x, in vol, in x and vol, twice in vol,
# and in the direction (d_rate, d_dividend).
VALUE, X1, X2, X3, VOL, X1_VOL, VOL2, RATE = range(8)
# Rows of the workspace, which has a column for each quadrature point, after those of VALUE to RATE.
ROOT, WEIGHT, ARGUMENT, FAR, FAR_VOL, FAR_RATE, FAR_VOL2, MINUS, PDF, DOWN, UP, NOW, BEFORE = range(
    8, 21
)
ROWS = 21
CLOSE = 2e-3


@jit
def premium(x, put, d_rate, d_dividend, tables, s, tangents, work, sums):  # type: ignore[no-untyped-def]
    """sums = the premium and its derivatives, in the order of the rows above.

    `s` are the log-distances of the boundary at the nodes, the rows of `tangents` (3, n) their
    derivatives in vol, in the direction (d_rate, d_dividend), and twice in vol.
    """
    years, rate, dividend, vol = put
    s_vol, s_rate, s_vol2 = tangents[0], tangents[1], tangents[2]
    to_chebyshev = tables.to_chebyshev
    half_angle, half_weight = tables.half_angle, tables.half_weight
    n, points = s.size, half_angle.size
    log_x = log_boundary_at_expiry(rate, dividend)
    d_log_x = d_rate / rate - d_dividend / dividend if rate < dividend else 0.0

    # The integrand changes within sqrt(u) ~ ln(S / B) / vol: points spread like sinh, linearly
    # up to there and logarithmically beyond, so that the Greeks stay right next to the boundary.
    root_years = np.sqrt(years)
    gap = x - (log_x - s[0])
    near = min(0.5 * gap / (vol * root_years), 8.0)
    inverse = 1.0 / near
    width = log(inverse + np.sqrt(inverse * inverse + 1.0))
    root, weight, argument = work[ROOT], work[WEIGHT], work[ARGUMENT]
    for p in range(points):
        grown = exp(width * half_angle[p])
        w = 0.5 * near * (grown - 1.0 / grown)
        slope = 0.5 * near * (grown + 1.0 / grown) * width
        below = 1.0 / (1.0 + w * w)
        left = (1.0 - w * w) * below  # sqrt of the time left, as a share of the whole
        root[p] = root_years * 2.0 * w * below
        weight[p] = half_weight[p] * slope * 4.0 * root[p] * root_years * left * below
        argument[p] = 2.0 * left - 1.0

    # s^2 and its derivatives, from their values at the nodes by way of Chebyshev polynomials.
    square, by_vol, by_rate, by_vol2 = work[FAR], work[FAR_VOL], work[FAR_RATE], work[FAR_VOL2]
    now, before = work[NOW], work[BEFORE]
    now[:] = 1.0
    before[:] = argument
    square[:] = 0.0
    by_vol[:] = 0.0
    by_rate[:] = 0.0
    by_vol2[:] = 0.0
    for j in range(n + 1):
        c0 = c1 = c2 = c3 = 0.0
        for k in range(n):
            to = to_chebyshev[j, k]
            c0 += to * s[k] * s[k]
            c1 += to * s[k] * s_vol[k]
            c2 += to * s[k] * s_rate[k]
            c3 += to * (s_vol[k] * s_vol[k] + s[k] * s_vol2[k])
        for p in range(points):
            square[p] += c0 * now[p]
            by_vol[p] += c1 * now[p]
        for p in range(points):
            by_rate[p] += c2 * now[p]
            by_vol2[p] += c3 * now[p]
        for p in range(points):
            after = 2.0 * argument[p] * now[p] - before[p]
            before[p] = now[p]
            now[p] = after

    minus_drift = rate - dividend - 0.5 * vol * vol
    minus, pdf, down, up = work[MINUS], work[PDF], work[DOWN], work[UP]
    floor = CLIP * s[n - 1]
    for p in range(points):
        far = np.sqrt(max(square[p], floor * floor))
        per = 1.0 / far if far > floor else 0.0
        square[p] = far
        by_vol[p] *= per
        by_rate[p] = by_rate[p] * per - d_log_x
        by_vol2[p] = (by_vol2[p] - by_vol[p] * by_vol[p]) * per
    for p in range(points):
        v = vol * root[p]
        minus[p] = (x - log_x + square[p] + minus_drift * root[p] * root[p]) / v
        pdf[p] = normal_pdf(minus[p])
        down[p] = normal_cdf_given_pdf(-minus[p], pdf[p])
    spot = exp(x)
    for p in range(points):
        plus = minus[p] + vol * root[p]
        up[p] = normal_cdf_given_pdf(-plus, normal_pdf(plus))
        up[p] *= spot * exp(-dividend * root[p] * root[p])
    for p in range(points):
        discount = exp(-rate * root[p] * root[p])
        pdf[p] *= discount
        down[p] *= discount
        now[p] = dividend * exp(log_x - square[p])  # what the yield on the boundary's spot is
    tilt = (d_rate - d_dividend) / vol
    for p in range(points):
        v = vol * root[p]
        u = root[p] * root[p]
        d = minus[p]
        q_part = now[p] * pdf[p]
        g_part = rate * pdf[p] - q_part
        per = 1.0 / v
        paid = dividend * up[p]
        work[VALUE, p] = rate * down[p] - paid
        work[X1, p] = -paid - g_part * per
        work[X2, p] = -paid + per * (q_part + g_part * d * per)
        work[X3, p] = -paid + per * (q_part + per * (-q_part * d + g_part * (1.0 - d * d) * per))
        d_rates = by_rate[p] * per + tilt * root[p]
        work[RATE, p] = (
            d_rate * (1.0 - rate * u) * down[p]
            - d_dividend * (1.0 - dividend * u) * up[p]
            - g_part * d_rates
        )
    for p in range(points):
        v = vol * root[p]
        d = minus[p]
        per = 1.0 / v
        q_part = now[p] * pdf[p]
        g_part = rate * pdf[p] - q_part
        far_vol = by_vol[p]
        d_vol = far_vol * per - (d + v) / vol
        d_vol2 = (by_vol2[p] - 2.0 * far_vol / vol) * per + 2.0 * (d + 0.5 * v) / (vol * vol)
        g_vol = q_part * far_vol - d * d_vol * g_part
        q_vol = -q_part * far_vol - d * d_vol * q_part
        work[VOL, p] = q_part * root[p] - g_part * d_vol
        work[X1_VOL, p] = q_part * (d_vol + root[p]) - (g_vol - g_part / vol) * per
        work[VOL2, p] = q_vol * root[p] - g_vol * d_vol - g_part * d_vol2
    for j in range(8):
        sums[j] = 0.0
    for p in range(points):
        for j in range(8):
            sums[j] += weight[p] * work[j, p]


@jit
def premium_near_boundary(x, put, d_rate, d_dividend, tables, s, tangents, work, sums):  # type: ignore[no-untyped-def]
    """`premium`, but within CLOSE standard deviations of the boundary continued from there.

    Nearer, the integrand of the third derivative is a spike that the points resolve ever worse.
    What has a derivative in x here follows Taylor's series, the rest stays.
    """
    gap = x - (log_boundary_at_expiry(put.rate, put.dividend) - s[0])
    shift = max(CLOSE * put.vol * np.sqrt(put.years) - gap, 0.0)
    premium(x + shift, put, d_rate, d_dividend, tables, s, tangents, work, sums)
    sums[VALUE] -= shift * (sums[X1] - 0.5 * shift * sums[X2])
    sums[X1] -= shift * sums[X2]
    sums[VOL] -= shift * sums[X1_VOL]
