"""American options: prices and Greeks, from the European ones and the early-exercise premium.

A put is its European price plus the premium of `riskenv.pricing.exercise_premium`; a call is a put
with spot and strike, and rate and yield, exchanged (McDonald and Schroder 1998). With r the rate,
q = rate - carry the yield of the option (for a call: exchanged):

- r <= 0 and r <= q: waiting costs nothing, nobody exercises early, and the European numbers stand
  to the bit (a call with q <= 0 and q <= r; a put at rate 0 without a negative yield);
- r > 0, or r = 0 with q < 0: one boundary, found by collocation;
- q < r < 0: the holder exercises within a band ("double continuation", Andersen and Lake 2021),
  which one boundary cannot describe: `riskenv.pricing.american_tree` prices these, slower.

At or beyond the boundary the value is the intrinsic, delta is +1 or -1 and the rest is 0.

Theta and charm are the Black-Scholes equation's own: -dV/dT = r V - b S V_S - vol^2 S^2 V_SS / 2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from riskenv.compilation import inline, jit
from riskenv.pricing.american_tree import tree_greeks
from riskenv.pricing.black_scholes import DAYS_PER_YEAR, price_and_greeks
from riskenv.pricing.certain_exercise import certain_put
from riskenv.pricing.elementary import log
from riskenv.pricing.exercise_boundary import (
    Put,
    first_guess,
    first_order,
    log_boundary_at_expiry,
    second_order,
    solve_boundary,
    workspace,
)
from riskenv.pricing.exercise_premium import (
    RATE,
    ROWS,
    VALUE,
    VOL,
    VOL2,
    X1,
    X1_VOL,
    X2,
    X3,
    premium_near_boundary,
)
from riskenv.pricing.quadrature import collocation


class Scheme(NamedTuple):
    """How finely to solve: numbers of boundary nodes and points, and when Newton's steps end."""

    nodes: int
    quadrature: int
    premium: int
    tolerance: float
    most_spread: float  # largest max(vol^2, |r|, |q|) T that it is good for
    most_drift: float  # largest |r - q| sqrt(T) / vol, the spot's drift in standard deviations


# Errors against QuantLib and against each other: tests/reference/test_american.py.
COARSE = Scheme(6, 7, 20, 2e-3, 2.0, 3.0)
FINE = Scheme(12, 20, 48, 1e-5, 1.0, 8.5)
FINEST = Scheme(20, 32, 96, 1e-6, np.inf, np.inf)
LADDERS = {
    False: (COARSE, FINE._replace(most_spread=20.0, most_drift=30.0), FINEST),
    True: (FINE, FINEST),
}

DONE, FINER, BAND = range(3)
# What exercising early can bring, in strikes, is at most the interest on the strike, and the yield
# on the spot where it is negative; this much is none.
NEGLIGIBLE = 1e-13
# A put whose spot drifts up this many standard deviations by T is decided long before: the rest
# of its life is worth less than exp(-8^2 / 2).
DECIDED = 8.0
# Below this vol sqrt(T) the spot's path is as good as known.
SMALLEST_TOTAL_VOL = 1e-6


@inline
def as_put(spot, strike, rate, carry, sign):  # type: ignore[no-untyped-def]
    """(ln of spot over strike, rate, yield) of the put of the same value."""
    dividend = rate - carry
    if sign < 0.0:
        return log(spot / strike), rate, dividend
    return log(strike / spot), dividend, rate


@jit
def write_premium(i, spot, strike, rate, dividend, vol, sign, sums, out):  # type: ignore[no-untyped-def]
    """Add the premium of a put of strike 1 to the European numbers of option i."""
    p, p1, p2, p3 = sums[VALUE], sums[X1], sums[X2], sums[X3]
    diffusion, drift = 0.5 * vol * vol, rate - dividend
    by_time = diffusion * (p2 - p1) + drift * p1 - rate * p
    by_time1 = diffusion * (p3 - p2) + drift * p2 - rate * p1
    if sign < 0.0:
        unit, per = strike, strike / spot
        delta, vanna, charm = per * p1, per * sums[X1_VOL], per * by_time1
    else:
        unit, per = spot, 1.0
        delta, vanna, charm = p - p1, sums[VOL] - sums[X1_VOL], by_time - by_time1
    out[0, i] = max(out[0, i] + unit * max(p, 0.0), sign * (spot - strike))
    out[1, i] = sign * min(sign * (out[1, i] + delta), 1.0)
    out[2, i] = max(out[2, i] + per / spot * (p2 - p1), 0.0)
    out[3, i] -= unit * by_time / DAYS_PER_YEAR
    out[4, i] += 0.01 * unit * sums[VOL]
    out[5, i] += 0.01 * unit * sums[RATE]
    out[6, i] += 0.01 * vanna
    out[7, i] += 1e-4 * unit * sums[VOL2]
    out[8, i] -= charm / DAYS_PER_YEAR


@jit
def american_kernel(chosen, columns, tables, scheme, boundary, work, status, out):  # type: ignore[no-untyped-def]
    """Turn the European numbers in out (9, n) into American ones, for the options `chosen`."""
    spot, strike, years, rate, carry, vol, sign = columns
    tangents, points, sums = work
    s = boundary.s
    for i in chosen:
        status[i] = DONE
        t, sigma = years[i], vol[i]
        if not (t > 0.0 and out[0, i] == out[0, i]):
            continue
        x, r, q = as_put(spot[i], strike[i], rate[i], carry[i], sign[i])
        if r <= 0.0 and r <= q:
            continue
        most = (max(r, 0.0) + max(-q, 0.0)) * t
        if most < NEGLIGIBLE:
            out[0, i] = max(out[0, i], sign[i] * (spot[i] - strike[i]))
            continue
        if sigma * np.sqrt(t) < SMALLEST_TOTAL_VOL:
            certain_put(i, x, spot[i], strike[i], t, r, q, sign[i], out)
            continue
        if r < 0.0:
            status[i] = BAND
            continue
        if (r - q) * np.sqrt(t) > DECIDED * sigma:
            root = DECIDED * sigma / (r - q)
            t = root * root
            out[:, i] = price_and_greeks(
                spot[i], strike[i], t, rate[i], rate[i] - carry[i], sigma, sign[i]
            )
        spread = max(sigma * sigma, r, abs(q)) * t
        if spread > scheme.most_spread or abs(r - q) * np.sqrt(t) > scheme.most_drift * sigma:
            status[i] = FINER
            continue
        put = Put(t, r, q, sigma)
        found = solve_boundary(put, tables, scheme.tolerance, boundary)
        drifting = (q - r) * np.sqrt(t) > DECIDED * sigma
        if not found:
            if not drifting:
                status[i] = FINER
                continue
            # The boundary is the perpetual one, at a distance of about vol^2 / (q - r).
            for k in range(s.size):
                s[k] = first_guess(t * tables.root_time[k] * tables.root_time[k], r, q, sigma)
        if x <= log_boundary_at_expiry(r, q) - s[0]:
            out[:, i] = 0.0
            out[0, i] = sign[i] * (spot[i] - strike[i])
            out[1, i] = sign[i]
            continue
        d_r, d_q = (1.0, 0.0) if sign[i] < 0.0 else (0.0, 1.0)
        if found:
            first_order(put, 1.0, 0.0, 0.0, tables, boundary, tangents[0])
            first_order(put, 0.0, d_r, d_q, tables, boundary, tangents[1])
            second_order(put, tangents[0], tables, boundary, tangents[2])
        else:
            tangents[:] = 0.0
        premium_near_boundary(x, put, d_r, d_q, tables, s, tangents, points, sums)
        finite = True
        for k in range(sums.size):
            finite = finite and abs(sums[k]) < np.inf
        if not (finite and sums[VALUE] <= most * (1.0 + 1e-6) and sums[VALUE] > -1e-3):
            status[i] = FINER
            continue
        write_premium(i, spot[i], strike[i], r, q, sigma, sign[i], sums, out)


def exercise_early(
    columns: list[NDArray[np.float64]], accurate: bool, out: NDArray[np.float64]
) -> None:
    """Turn European prices and Greeks, out (9, n), into American ones, in place.

    Args:
        columns: spot, strike, years, rate, carry, sign (+1 call, -1 put), (n,) each and contiguous.
        accurate: which ladder of schemes.
        out: as `riskenv.pricing.black_scholes.european_greeks` leaves it for the same columns.
    """
    european = out[0].copy()
    status = np.zeros(out.shape[1], dtype=np.int64)
    chosen = np.arange(out.shape[1])
    for scheme in LADDERS[accurate]:
        tables = collocation(scheme.nodes, scheme.quadrature, scheme.premium)
        work = (np.empty((3, scheme.nodes)), np.empty((ROWS, scheme.premium)), np.empty(8))
        boundary = workspace(scheme.nodes, scheme.quadrature)
        american_kernel(chosen, tuple(columns), tables, scheme, boundary, work, status, out)
        chosen = np.flatnonzero(status == FINER)
        if not chosen.size:
            break
    rest = np.flatnonzero(status != DONE)
    if rest.size:
        tree_greeks(rest, columns, accurate, out)
    # Far out of the money the European of the whole life can be worth more than the American of the
    # part of it that decides: 1e-71 more, but a bound is a bound.
    np.maximum(out[0], european, out=out[0])
