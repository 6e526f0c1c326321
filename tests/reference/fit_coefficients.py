"""Fits the coefficients in riskenv/pricing/elementary.py to 40 digits and prints them.

Run it by hand: `python tests/reference/fit_coefficients.py`. The accuracy of what it prints is
asserted in tests/reference/test_elementary.py against mpmath.
"""

from collections.abc import Callable

import mpmath as mp

mp.mp.dps = 40


def mills(z: mp.mpf) -> mp.mpf:
    """(1 - Phi(z)) / phi(z), the Mills ratio."""
    return mp.sqrt(mp.pi / 2) * mp.exp(z * z / 2) * mp.erfc(z / mp.sqrt(2))


def rational_mills(
    m: int, n: int, nodes: int = 160, rounds: int = 6
) -> tuple[list[mp.mpf], list[mp.mpf]]:
    """P/Q of degrees m/n in z for the Mills ratio on [0, 39], least relative error.

    Linearised least squares, reweighted by the last denominator (Sanathanan and Koerner 1963).
    """
    t = [mp.cos(mp.pi * (2 * i + 1) / (2 * nodes)) for i in range(nodes)]
    # Chebyshev nodes carried from [-1, 1] to [0, 39] with half of them below 3.5.
    z = sorted({min(mp.mpf("3.5") * (1 + x) / (1 - x), mp.mpf(39)) for x in t} | {mp.mpf(0)})
    y = [mills(x) for x in z]
    scale = mp.mpf(4)  # powers of z / scale keep the normal matrix well conditioned
    weight = [1 / (v * (1 + x) ** n) for x, v in zip(z, y, strict=True)]
    for _ in range(rounds):
        rows, rhs = [], []
        for x, v, w in zip(z, y, weight, strict=True):
            u = x / scale
            rows.append([w * u**j for j in range(m + 1)] + [-w * v * u**j for j in range(1, n + 1)])
            rhs.append(w * v)
        solution = mp.lu_solve(mp.matrix(rows), mp.matrix(rhs))
        p = [solution[j] for j in range(m + 1)]
        q = [mp.mpf(1)] + [solution[m + j] for j in range(1, n + 1)]
        weight = [1 / (v * abs(mp.polyval(q[::-1], x / scale))) for x, v in zip(z, y, strict=True)]
    p = [c / scale**j for j, c in enumerate(p)]
    q = [c / scale**j for j, c in enumerate(q)]
    return p, q


def chebyshev_polynomial(
    f: Callable[[mp.mpf], mp.mpf], degree: int, low: mp.mpf, high: mp.mpf
) -> list[mp.mpf]:
    """Monomial coefficients, lowest first, of the Chebyshev interpolant of f on [low, high]."""
    return list(reversed(mp.chebyfit(f, [low, high], degree + 1)))


def main() -> None:
    p, q = rational_mills(10, 11)
    worst = max(
        abs(mp.polyval(p[::-1], x) / mp.polyval(q[::-1], x) / mills(x) - 1)
        for x in (mp.mpf(i) / 50 for i in range(1951))
    )
    print("mills P", [mp.nstr(c, 20) for c in p])
    print("mills Q", [mp.nstr(c, 20) for c in q])
    print("mills worst relative error", mp.nstr(worst, 3))
    half = mp.log(2) / 2

    def exp_tail(r: mp.mpf) -> mp.mpf:
        return mp.mpf(1) / 2 + r / 6 if abs(r) < 1e-14 else (mp.exp(r) - 1 - r) / r**2

    print("exp", [mp.nstr(c, 20) for c in chebyshev_polynomial(exp_tail, 9, -half, half)])
    top = ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2

    def log_tail(w: mp.mpf) -> mp.mpf:
        if w < 1e-14:
            return mp.mpf(2) / 3 + 2 * w / 5
        s = mp.sqrt(w)
        return (2 * mp.atanh(s) - 2 * s) / s**3

    print("log", [mp.nstr(c, 20) for c in chebyshev_polynomial(log_tail, 7, mp.mpf(0), top)])


if __name__ == "__main__":
    main()
