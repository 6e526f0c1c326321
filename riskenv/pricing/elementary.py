"""exp, log and the normal distribution, branch-free and the same to the bit on every CPU.

libm and NumPy give other last bits on other systems, and a call into either stops a loop from
vectorising. These are written in +, -, *, /, comparisons, explicit fused multiply-adds and casts
of float bits, so that a loop over them becomes vector code whose every lane computes what the
scalar would. Coefficients: tests/reference/fit_coefficients.py; accuracy against mpmath:
tests/reference/test_elementary.py.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from riskenv.compilation import inline


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once. Explicit, so that the bits do not depend on the compiler."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return types.float64(types.float64, types.float64, types.float64), codegen


@intrinsic
def float_to_bits(typingctx: Any, x: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@intrinsic
def bits_to_float(typingctx: Any, x: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


_LOG2_E = 1.4426950408889634
# ln 2 in two parts: the high one has 21 trailing zero bits, so k * high is exact for |k| < 2^20.
_LN2_HIGH = 0.6931471803691238
_LN2_LOW = 1.9082149292705877e-10
# Adding and subtracting 1.5 * 2^52 rounds to the nearest integer and leaves it in the low bits.
_ROUND = 6755399441055744.0
_INV_SQRT_2PI = 0.3989422804014327


@inline
def exp_mantissa(x):  # type: ignore[no-untyped-def]
    """(m, bits) with e**x = m 2**k, m in [0.7, 1.42]: bits, less those of `_ROUND`, are k.

    For |x| <= 2**19; beyond, k no longer fits its place.
    """
    shifted = x * _LOG2_E + _ROUND
    k = shifted - _ROUND
    r = fma(-k, _LN2_LOW, fma(-k, _LN2_HIGH, x))
    p = fma(2.5100375832561233664e-8, r, 2.7620075879983366586e-7)
    p = fma(p, r, 2.7557268480310025526e-6)
    p = fma(p, r, 0.000024801521322368693266)
    p = fma(p, r, 0.00019841269863040545271)
    p = fma(p, r, 0.0013888888917196719077)
    p = fma(p, r, 0.0083333333333300644495)
    p = fma(p, r, 0.041666666666624161903)
    p = fma(p, r, 0.16666666666666667452)
    p = fma(p, r, 0.50000000000000010211)
    return 1.0 + fma(p, r * r, r), float_to_bits(shifted)


@inline
def exp_to_zero(x):  # type: ignore[no-untyped-def]
    """e**x for -2000 <= x <= 709, with the bits of `exp`: it leaves out the bounds alone.

    2**k in two factors, so that results below 2**-1022 underflow gradually and not to garbage.
    """
    mantissa, bits = exp_mantissa(x)
    integer = bits - float_to_bits(_ROUND)
    half = integer >> 1
    first = bits_to_float((half + 1023) << 52)
    second = bits_to_float((integer - half + 1023) << 52)
    return mantissa * first * second


@inline
def exp(x):  # type: ignore[no-untyped-def]
    """e**x; 0 below -745.13, inf above 709.79, NaN for NaN. Relative error below 2**-52."""
    return exp_to_zero(min(max(x, -746.0), 710.0) if x == x else x)


@inline
def exp_within_700(x):  # type: ignore[no-untyped-def]
    """e**x for |x| <= 700, garbage beyond: k is added to the exponent in place."""
    mantissa, bits = exp_mantissa(x)
    return bits_to_float(float_to_bits(mantissa) + (bits << 52))


@inline
def atanh_series(w):  # type: ignore[no-untyped-def]
    """(2 atanh(s) - 2 s) / s**3 for w = s**2 <= 0.04: 2 atanh(s) within 8e-17 of the truth."""
    p = fma(0.13086626147840102138, w, 0.13268773138656885185)
    p = fma(p, w, 0.15386239702814658188)
    p = fma(p, w, 0.18181795640132906276)
    p = fma(p, w, 0.22222222391713917442)
    p = fma(p, w, 0.28571428570803611811)
    p = fma(p, w, 0.40000000000000876983)
    return fma(p, w, 0.66666666666666666465)


@inline
def log(x):  # type: ignore[no-untyped-def]
    """ln x for a normal positive x (2.2e-308 to 1.8e308). Absolute error below 1 ulp.

    x = m 2**e with m in [sqrt(1/2), sqrt(2)); ln m = 2 atanh(s), s = (m - 1) / (m + 1).
    """
    bits = float_to_bits(x)
    # Shift the exponent boundary from 1 to sqrt(1/2).
    offset = bits - 0x3FE6A09E667F3BCD
    exponent = offset >> 52
    m = bits_to_float(bits - (exponent << 52))
    e = float(exponent)
    f = m - 1.0
    s = f / (2.0 + f)
    w = s * s
    p = atanh_series(w)
    # 2 s = f - s f, so that the leading term f is exact.
    tail = fma(s * w, p, fma(e, _LN2_LOW, -s * f))
    return fma(e, _LN2_HIGH, f + tail)


@inline
def log_ratio(a, b):  # type: ignore[no-untyped-def]
    """ln(a / b) for normal positive a and b, without the division, nor its rounding near 1.

    a = m 2**e b with m in [2/3, 3/2], e by rounding the difference of the bits, which is close to
    that of the logarithms; ln m = 2 atanh(s), s = (a' - b) / (a' + b), a' = a 2**-e.
    """
    exponent = (float_to_bits(a) - float_to_bits(b) + 0x8000000000000) >> 52
    scaled = bits_to_float(float_to_bits(a) - (exponent << 52))
    e = float(exponent)
    s = (scaled - b) / (scaled + b)
    w = s * s
    tail = fma(s * w, atanh_series(w), e * _LN2_LOW)
    return fma(e, _LN2_HIGH, 2.0 * s + tail)


@inline
def normal_pdf_within_40(x):  # type: ignore[no-untyped-def]
    """phi(x) = exp(-x^2 / 2) / sqrt(2 pi) for |x| <= 40, with a small relative error.

    The rounding error of x^2 is x x - square exactly, by one fused multiply-add. It is below
    1.2e-13, so its exponential is 1 - error / 2; left out, it would be multiplied by x^2 / 2.
    """
    square = x * x
    error = fma(x, x, -square)
    bulk = exp_to_zero(-0.5 * square)
    return _INV_SQRT_2PI * fma(bulk, -0.5 * error, bulk)


@inline
def normal_pdf(x):  # type: ignore[no-untyped-def]
    """phi(x) for every x; NaN for NaN. phi(40) is already 0, which keeps inf - inf away."""
    return normal_pdf_within_40(min(max(x, -40.0), 40.0) if x == x else x)


@inline
def mills_fraction(z):  # type: ignore[no-untyped-def]
    """Numerator and denominator of `mills_ratio`: two ratios can share one division."""
    p = fma(5.4607536844514639774e-7, z, 0.000017070766590779909791)
    p = fma(p, z, 0.00026178151600635052514)
    p = fma(p, z, 0.0025622715166911987702)
    p = fma(p, z, 0.017604454451898522258)
    p = fma(p, z, 0.088385454657024292827)
    p = fma(p, z, 0.32800375496720969672)
    p = fma(p, z, 0.88966480800051224388)
    p = fma(p, z, 1.6956989876355741223)
    p = fma(p, z, 2.0703065653127307432)
    p = fma(p, z, 1.2533141373155002519)
    q = fma(5.4607536844499253069e-7, z, 0.000017070766590815151945)
    q = fma(q, z, 0.00026232759137111321194)
    q = fma(q, z, 0.002579342283516124426)
    q = fma(q, z, 0.017865143806963834497)
    q = fma(q, z, 0.09091358496623342008)
    q = fma(q, z, 0.34509009919306788442)
    q = fma(q, z, 0.97309658009337403764)
    q = fma(q, z, 1.9910688733904809893)
    q = fma(q, z, 2.8075899087115491077)
    q = fma(q, z, 2.4497502053947023486)
    q = fma(q, z, 1.0)
    return p, q


@inline
def mills_ratio(z):  # type: ignore[no-untyped-def]
    """(1 - Phi(z)) / phi(z) for z >= 0, relative error below 8e-16 up to z = 39.

    One rational function with positive coefficients: no cancellation, no branch.
    """
    p, q = mills_fraction(z)
    return p / q


@inline
def normal_cdf_given_pdf(x, pdf):  # type: ignore[no-untyped-def]
    """Phi(x), given phi(x); each tail from its own Mills ratio, so neither cancels."""
    z = min(abs(x), 40.0)
    tail = pdf * mills_ratio(z)
    return tail if x < 0.0 else 1.0 - tail
