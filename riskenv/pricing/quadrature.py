"""Quadrature and interpolation tables, computed in decimal so that every CPU gets the same bits.

NumPy's `leggauss` asks LAPACK for eigenvalues and `cos` asks libm: both give other last bits on
other systems. Here each number is computed to 40 digits and rounded once.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_DIGITS = 40
_PI = Decimal("3.1415926535897932384626433832795028841971693993751")


def _cos(x: Decimal) -> Decimal:
    """cos x for 0 <= x <= pi, by its power series."""
    term = total = Decimal(1)
    k = 0
    while abs(term) > Decimal(10) ** -_DIGITS:
        k += 2
        term *= -x * x / (k * (k - 1))
        total += term
    return total


@cache
def gauss_legendre(n: int) -> tuple[Array, Array]:
    """Nodes and weights on [0, 1], each of shape (n,), ascending.

    Newton's method on the Legendre polynomial from Tricomi's estimate of its roots (Hale and
    Townsend, 2013, equation 3.3).

    Example:
        >>> nodes, weights = gauss_legendre(4)
        >>> round(float(weights @ nodes**7), 15)  # exact for polynomials up to degree 7
        0.125
    """
    nodes, weights = np.empty(n), np.empty(n)
    with localcontext() as context:
        context.prec = _DIGITS + 10
        for i in range(n):
            x = _cos(_PI * (Decimal(i) + Decimal("0.75")) / (n + Decimal("0.5")))
            step = Decimal(1)
            while abs(step) > Decimal(10) ** (-_DIGITS // 2 - 2):  # the next step squares it
                before, value = Decimal(1), x
                for k in range(2, n + 1):
                    before, value = value, ((2 * k - 1) * x * value - (k - 1) * before) / k
                slope = n * (x * value - before) / (x * x - 1)
                step = value / slope
                x -= step
            before, value = Decimal(1), x
            for k in range(2, n + 1):
                before, value = value, ((2 * k - 1) * x * value - (k - 1) * before) / k
            slope = n * (x * value - before) / (x * x - 1)
            nodes[n - 1 - i] = float((1 + x) / 2)
            weights[n - 1 - i] = float(1 / ((1 - x * x) * slope * slope))
    return nodes, weights


class Collocation(NamedTuple):
    """What solving for an exercise boundary with n nodes and l quadrature points needs.

    Everything is in units of the time to expiry T; a boundary node k is at time to expiry
    T root_time[k]^2, and the pair of node k and point j has column k l + j.
    """

    root_time: Array  # (n,) sqrt of each node's time to expiry, descending from 1
    elapsed_root: Array  # (n l,) sqrt(u), u: time from the node's date to the quadrature point
    weight: Array  # (n l,) du
    basis: Array  # (n, n l) interpolates squared log-distances from nodes to quadrature points
    to_chebyshev: Array  # (n + 1, n) from nodes to coefficients of Chebyshev polynomials
    half_angle: Array  # (p,) Gauss-Legendre nodes of the premium integral
    half_weight: Array  # (p,)


@cache
def collocation(nodes: int, quadrature: int, premium: int) -> Collocation:
    """Chebyshev nodes in the square root of time (Andersen, Lake and Offengenden, 2016, section 5).

    An integral over u in [0, t] is taken over w in [0, 1] with sqrt(u) = sqrt(t) 2w / (1 + w^2),
    so that sqrt(t - u) = sqrt(t) (1 - w^2) / (1 + w^2): both square roots that the integrand is
    made of are smooth in w.
    """
    w, dw = gauss_legendre(quadrature)
    with localcontext() as context:
        context.prec = _DIGITS
        exact = [_cos(_PI * k / nodes) for k in range(nodes + 1)]
        cosines = np.array([float(c) for c in exact])
        root_time = np.array([float((1 + c) / 2) for c in exact[:-1]])
    below = 1.0 + w * w
    sine, cosine = 2.0 * w / below, (1.0 - w * w) / below
    squeeze = 4.0 * sine * cosine / below  # d(u / t) = 2 sine d(sine), d(sine) = 2 cosine / below
    elapsed_root = np.outer(root_time, sine).ravel()
    weight = np.outer(root_time * root_time, squeeze * dw).ravel()
    points = np.outer(root_time, cosine).ravel()
    basis = np.ones((nodes, points.size))
    every = np.append(root_time, 0.0)  # at expiry the distance is 0: that node adds nothing
    for k in range(nodes):
        for other in range(nodes + 1):
            if other != k:
                basis[k] *= (points - every[other]) / (every[k] - every[other])
    halves = np.ones(nodes + 1)
    halves[[0, -1]] = 0.5
    angle = np.array(
        [[cosines[_fold(j * k, nodes)] for k in range(nodes)] for j in range(nodes + 1)]
    )
    to_chebyshev = angle * halves[:, None] * halves[None, :-1] * (2.0 / nodes)
    return Collocation(
        root_time, elapsed_root, weight, basis, to_chebyshev, *gauss_legendre(premium)
    )


def _fold(k: int, n: int) -> int:
    """The index in 0..n whose cos(pi index / n) is cos(pi k / n)."""
    k %= 2 * n
    return 2 * n - k if k > n else k
