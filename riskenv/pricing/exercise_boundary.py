"""The price below which an American put is exercised, and how it moves with the inputs, compiled.

Strike 1 throughout; r the rate, q the yield, vol the volatility, with r >= 0 and r > 0 or q < 0
(otherwise the holder never exercises, or does so in a band: not for these kernels). At time to
expiry t the put is exercised at or below B(t); B(0) = X = min(1, r / q) for q > 0, else 1. Kim
(1990): the put is worth its European price plus the interest r less the yield q S that the
exercised put collects, and at S = B(t) that is 1 - B(t). With calls in place of puts (Andersen,
Lake and Offengenden 2016, "High-performance American option pricing", equation 4.5):

    N(t) = e^{-r t} Phi(d-(t, B(t)))   + int_0^t r e^{-r u} Phi(d-(u, B(t) / B(t - u))) du
    D(t) = e^{-q t} Phi(d+(t, B(t)))   + int_0^t q e^{-q u} Phi(d+(u, B(t) / B(t - u))) du
    M(t) = N(t) - B(t) D(t) = 0,    d-+(u, z) = (ln z + (r - q -+ vol^2 / 2) u) / (vol sqrt(u))

Unknown are the log-distances s_k = ln(X / B(t_k)) >= 0 at n Chebyshev nodes in sqrt(t); in
between, s^2 is a polynomial (their section 5.2). Where they iterate, this takes Newton steps: the
derivative of M is at hand, one number phi a quadrature point, and its factors then also give the
exact derivatives of the boundary in the volatility and the rates, which the Greeks need.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from riskenv.compilation import inline, jit
from riskenv.pricing.elementary import exp, log, normal_cdf_given_pdf, normal_pdf
from riskenv.pricing.linear_solve import factorise, substitute


class Put(NamedTuple):
    """A put of strike 1, but for its spot: years to expiry, rate, yield and volatility."""

    years: float
    rate: float
    dividend: float
    vol: float


class Boundary(NamedTuple):
    """What the kernels write, for n nodes and n l pairs of node and quadrature point."""

    s: NDArray[np.float64]  # (n,) ln(X / B) at the nodes, today's first
    parts: NDArray[np.float64]  # (ROWS, n l), rows named below
    own: NDArray[np.float64]  # (6, n), rows named below
    value: NDArray[np.float64]  # (n,) M
    slope: NDArray[np.float64]  # (n, n) dM / ds, then its LU factors
    pivots: NDArray[np.int64]  # (n,) their row exchanges


def workspace(nodes: int, quadrature: int) -> Boundary:
    """Room for one boundary at a time; one a thread."""
    return Boundary(
        np.zeros(nodes),
        np.zeros((ROWS, nodes * quadrature)),
        np.zeros((6, nodes)),
        np.zeros(nodes),
        np.zeros((nodes, nodes)),
        np.zeros(nodes, dtype=np.int64),
    )


# Rows of the workspace that has a column for each pair of node and quadrature point.
ROOT, DISCOUNT, YIELD, DISTANCE, LEVEL, MINUS, UP, DOWN, PDF, PULL, UP_2, DOWN_2 = range(12)
ROWS = 12
# Rows of the workspace that has a column for each node.
OWN_MINUS, OWN_DOWN, OWN_UP, OWN_PDF, OWN_N, OWN_D = range(6)
MOST_STEPS = 24
# Below this share of N the difference M = N - B D is rounding and says nothing any more.
ROUNDING = 1e-15
# Between nodes the polynomial may dip below 0 where s rises steeply; a distance is at least this
# much of the nearest node's.
CLIP = 1e-3
PI = 3.141592653589793


@inline
def log_boundary_at_expiry(rate, dividend):  # type: ignore[no-untyped-def]
    """ln X: where the interest on the strike equals the yield on the spot, at most the strike."""
    return log(rate / dividend) if rate < dividend else 0.0


@inline
def first_guess(node_years, rate, dividend, vol):  # type: ignore[no-untyped-def]
    """ln(X / B) that starts like c vol sqrt(t) and ends at the perpetual boundary's."""
    variance = vol * vol
    drift = (rate - dividend) / variance - 0.5
    root = drift + np.sqrt(drift * drift + 2.0 * rate / variance)
    # B(infinity) = root / (1 + root), Merton (1973)
    if root > 1e-12:
        farthest = log_boundary_at_expiry(rate, dividend) + log(1.0 + 1.0 / root)
    else:
        farthest = 30.0
    scale = vol * np.sqrt(node_years)
    dear = max(rate, dividend) * node_years
    early = 16.0 * PI * dear * dear
    if rate < dividend:
        equal = scale * np.sqrt(log(17816.0 + 1.0 / (0.0035 * early)))
        least = 0.639 * scale
        excess = equal + 1.13 * log(rate / dividend) - least
        step = least + 0.5 * (excess + np.sqrt(excess * excess + 0.0038 * scale * scale))
    else:
        tilt = (rate - dividend) / vol
        apart = 8.0 * PI * node_years * tilt * tilt
        step = scale * np.sqrt(log(42.0 + 1.0 / (0.225 * apart + 0.0464 * early)))
    farthest = max(farthest, 1e-12)
    return farthest * (1.0 - exp(-step / farthest))


@jit
def evaluate(put, tables, boundary, sloping):  # type: ignore[no-untyped-def]
    """M at each node (value) and, if `sloping`, dM / ds (slope); the parts stay in `boundary`."""
    years, rate, dividend, vol = put
    s, work, node, value, slope, _ = boundary
    root_time, weight, basis = tables.root_time, tables.weight, tables.basis
    n, points = basis.shape
    per = points // n
    log_x = log_boundary_at_expiry(rate, dividend)
    x = exp(log_x)
    half = 0.5 * vol * vol
    minus_drift = rate - dividend - half
    # One row an array, and few rows a loop: what the compiler needs to see to vectorise.
    distance, root, minus = work[DISTANCE], work[ROOT], work[MINUS]
    up, down, pdf, pull = work[UP], work[DOWN], work[PDF], work[PULL]
    level, discount, lag = work[LEVEL], work[DISCOUNT], work[YIELD]
    distance[:] = 0.0
    floor = CLIP * s[n - 1]
    for k in range(n):
        square = s[k] * s[k]
        row = basis[k]
        for p in range(points):
            distance[p] += square * row[p]
    for i in range(n):
        own = s[i]
        for p in range(i * per, i * per + per):
            minus[p] = own
    for p in range(points):
        far = np.sqrt(max(distance[p], floor * floor))
        distance[p] = far
        v = vol * root[p]
        minus[p] = ((far - minus[p]) + minus_drift * root[p] * root[p]) / v
    for p in range(points):
        pdf[p] = normal_pdf(minus[p])
        down[p] = normal_cdf_given_pdf(minus[p], pdf[p])
    for p in range(points):
        plus = minus[p] + vol * root[p]
        up[p] = normal_cdf_given_pdf(plus, normal_pdf(plus))
    for p in range(points):
        level[p] = x * exp(-distance[p])
    for p in range(points):
        pdf[p] *= discount[p]
    for p in range(points):
        pull[p] = years * weight[p] * pdf[p] * (rate - dividend * level[p]) / (vol * root[p])
    for i in range(n):
        t = years * root_time[i] * root_time[i]
        v = vol * np.sqrt(t)
        y = log_x - s[i]
        minus_own = (y + minus_drift * t) / v
        pdf_own = normal_pdf(minus_own)
        n_part = exp(-rate * t) * normal_cdf_given_pdf(minus_own, pdf_own)
        plus = minus_own + v
        d_part = exp(-dividend * t) * normal_cdf_given_pdf(plus, normal_pdf(plus))
        node[OWN_MINUS, i] = minus_own
        node[OWN_DOWN, i] = n_part
        node[OWN_UP, i] = d_part
        node[OWN_PDF, i] = exp(-rate * t) * pdf_own
        pulled = interest = yielded = 0.0
        for p in range(i * per, i * per + per):
            interest += weight[p] * discount[p] * down[p]
            yielded += weight[p] * lag[p] * up[p]
            pulled += pull[p]
        n_part += years * rate * interest
        d_part += years * dividend * yielded
        own = exp(y)
        node[OWN_N, i] = n_part
        node[OWN_D, i] = d_part
        value[i] = n_part - own * d_part
        for k in range(n):
            slope[i, k] = 0.0
        slope[i, i] = own * d_part - pulled
    if not sloping:
        return
    for p in range(points):
        pull[p] = pull[p] / distance[p] if distance[p] > floor else 0.0
    for k in range(n):
        row = basis[k]
        for i in range(n):
            total = 0.0
            for p in range(i * per, i * per + per):
                total += pull[p] * row[p]
            slope[i, k] += s[k] * total


@jit
def solve_boundary(put, tables, tolerance, boundary):  # type: ignore[no-untyped-def]
    """Find s; whether M and the last step came below tolerance^2 and tolerance.

    From a rough start N / D, the iteration of the paper, is the surer step and Newton's the
    quicker one: every sixth step is of the former kind. The error left is about the square of
    the last step's. `work`, `node` and the factors in `slope` and `pivots` stay for the
    derivatives.
    """
    years, rate, dividend, vol = put
    s, work, node, value, slope, pivots = boundary
    root_time, elapsed_root = tables.root_time, tables.elapsed_root
    n = root_time.size
    root_years = np.sqrt(years)
    for p in range(elapsed_root.size):
        root = root_years * elapsed_root[p]
        work[ROOT, p] = root
        work[DISCOUNT, p] = exp(-rate * root * root)
        work[YIELD, p] = exp(-dividend * root * root)
    for i in range(n):
        s[i] = first_guess(years * root_time[i] * root_time[i], rate, dividend, vol)
    log_x = log_boundary_at_expiry(rate, dividend)
    for step in range(MOST_STEPS):
        newton = step % 6 != 0
        evaluate(put, tables, boundary, newton)
        if not newton:
            for i in range(n):
                ratio = min(max(node[OWN_N, i] / node[OWN_D, i], 1e-300), 1e300)
                s[i] = min(max(log_x - log(ratio), 0.25 * s[i]), 4.0 * s[i])
            continue
        worst = relative = 0.0
        for i in range(n):
            size = abs(value[i]) if value[i] == value[i] else np.inf
            worst = max(worst, size)
            relative = max(relative, size / node[OWN_N, i] if size < node[OWN_N, i] else np.inf)
        factorise(slope, pivots)
        substitute(slope, pivots, value)
        # Below the strike (X < 1) the put gains r (s + O(s^2)) by waiting at a distance s: what a
        # step changes is the product of the two.
        step_matters = abs(value[0]) * (min(s[0] / tolerance, 1.0) if rate < dividend else 1.0)
        arrived = worst <= tolerance * tolerance and step_matters <= tolerance * s[0]
        arrived = arrived or relative <= ROUNDING
        for i in range(n):
            s[i] = min(max(s[i] - value[i], 0.5 * s[i]), 2.0 * s[i])
        if arrived:
            return True
    return False


@jit
def first_order(put, d_vol, d_rate, d_dividend, tables, boundary, out):  # type: ignore[no-untyped-def]
    """out = ds/dh where vol, rate and dividend move at (d_vol, d_rate, d_dividend) per unit of h.

    By the implicit function theorem on M = 0, with the parts that `evaluate` left.
    """
    years, rate, dividend, vol = put
    s, work, node, _, slope, pivots = boundary
    root_time, weight, basis = tables.root_time, tables.weight, tables.basis
    n, points = basis.shape
    per = points // n
    tilt = (d_rate - d_dividend) / vol
    log_x = log_boundary_at_expiry(rate, dividend)
    d_log_x = d_rate / rate - d_dividend / dividend if rate < dividend else 0.0
    for i in range(n):
        t = years * root_time[i] * root_time[i]
        own = exp(log_x - s[i])
        total = 0.0
        for p in range(i * per, i * per + per):
            root = work[ROOT, p]
            u = root * root
            minus = work[MINUS, p]
            paid = dividend * work[LEVEL, p]
            d_minus = -(minus + vol * root) / vol * d_vol + tilt * root
            total += weight[p] * (
                d_rate * (1.0 - rate * u) * work[DISCOUNT, p] * work[DOWN, p]
                - (d_dividend * (1.0 - dividend * u) + dividend * d_log_x)
                * own
                * work[YIELD, p]
                * work[UP, p]
                + work[PDF, p] * ((rate - paid) * d_minus - paid * root * d_vol)
            )
        out[i] = -(
            years * total
            - d_rate * t * node[OWN_DOWN, i]
            + (d_dividend * t - d_log_x) * own * node[OWN_UP, i]
            - node[OWN_PDF, i] * np.sqrt(t) * d_vol
        )
    substitute(slope, pivots, out)


@jit
def second_order(put, first, tables, boundary, out):  # type: ignore[no-untyped-def]
    """out = d2s/dvol2, given first = ds/dvol."""
    years, rate, dividend, vol = put
    s, work, node, _, slope, pivots = boundary
    root_time, weight, basis = tables.root_time, tables.weight, tables.basis
    n, points = basis.shape
    per = points // n
    log_x = log_boundary_at_expiry(rate, dividend)
    floor = CLIP * s[n - 1]
    d_distance, d2_distance = work[UP_2], work[DOWN_2]
    d_distance[:] = 0.0
    d2_distance[:] = 0.0
    for k in range(n):
        a, b = s[k] * first[k], first[k] * first[k]
        row = basis[k]
        for p in range(points):
            d_distance[p] += a * row[p]
            d2_distance[p] += b * row[p]
    for i in range(n):
        t = years * root_time[i] * root_time[i]
        own = exp(log_x - s[i])
        d_y = -first[i]
        total = 0.0
        for p in range(i * per, i * per + per):
            root = work[ROOT, p]
            v = vol * root
            far = work[DISTANCE, p]
            d_far, d2_far = d_distance[p], d2_distance[p]
            if far > floor:
                d_far /= far
                d2_far = (d2_far - d_far * d_far) / far
            else:
                d_far = d2_far = 0.0
            minus = work[MINUS, p]
            d_log = d_far + d_y
            d_minus = d_log / v - (minus + v) / vol
            d2_minus = (d2_far - 2.0 * d_log / vol) / v + 2.0 * (minus + 0.5 * v) / (vol * vol)
            q_part = dividend * work[LEVEL, p] * work[PDF, p]
            g_part = rate * work[PDF, p] - q_part
            d_g = q_part * d_far - minus * d_minus * g_part
            d_q = -q_part * d_far - minus * d_minus * q_part
            total += weight[p] * (
                d_g * d_minus
                + g_part * d2_minus
                - d_q * root
                - d_y * q_part * (d_minus + root)
                - dividend * own * work[YIELD, p] * work[UP, p] * d_y * d_y
            )
        root = np.sqrt(t)
        v = vol * root
        minus = node[OWN_MINUS, i]
        d_minus = d_y / v - (minus + v) / vol
        density = node[OWN_PDF, i]
        out[i] = -(
            years * total
            - own * node[OWN_UP, i] * d_y * d_y
            - d_y * density * (d_minus + root)
            + minus * d_minus * density * root
        )
    substitute(slope, pivots, out)
