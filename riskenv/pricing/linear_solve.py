"""Small dense linear systems, compiled: LAPACK's last bits differ between systems, these do not."""

from __future__ import annotations

from riskenv.compilation import jit


@jit
def factorise(matrix, pivots):  # type: ignore[no-untyped-def]
    """LU factors in place, rows swapped for the largest pivot (Golub and Van Loan, 3.4.1)."""
    n = pivots.size
    for k in range(n):
        best = k
        for i in range(k + 1, n):
            if abs(matrix[i, k]) > abs(matrix[best, k]):
                best = i
        pivots[k] = best
        if best != k:
            for j in range(k, n):
                matrix[k, j], matrix[best, j] = matrix[best, j], matrix[k, j]
        inverse = 1.0 / matrix[k, k]
        for i in range(k + 1, n):
            factor = matrix[i, k] * inverse
            matrix[i, k] = factor
            for j in range(k + 1, n):
                matrix[i, j] -= factor * matrix[k, j]


@jit
def substitute(matrix, pivots, x):  # type: ignore[no-untyped-def]
    """Solve with the factors of `factorise`; x holds the right side and becomes the answer."""
    n = pivots.size
    for k in range(n):
        best = pivots[k]
        x[k], x[best] = x[best], x[k]
        for i in range(k + 1, n):
            x[i] -= matrix[i, k] * x[k]
    for k in range(n - 1, -1, -1):
        for j in range(k + 1, n):
            x[k] -= matrix[k, j] * x[j]
        x[k] /= matrix[k, k]
