"""exp, log and the normal distribution against mpmath at 50 digits, and at the edges."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from riskenv.compilation import jit
from riskenv.pricing import elementary

mpmath.mp.dps = 50
NAN, INF = np.nan, np.inf


@jit
def exps(x, out):
    for i in range(x.size):
        out[i] = elementary.exp(x[i])


@jit
def logs(x, out):
    for i in range(x.size):
        out[i] = elementary.log(x[i])


@jit
def pdfs(x, out):
    for i in range(x.size):
        out[i] = elementary.normal_pdf(x[i])


@jit
def cdfs(x, out):
    for i in range(x.size):
        out[i] = elementary.normal_cdf_given_pdf(x[i], elementary.normal_pdf(x[i]))


@jit
def mills(x, out):
    for i in range(x.size):
        out[i] = elementary.mills_ratio(x[i])


def of(kernel, x) -> np.ndarray:
    x = np.atleast_1d(np.asarray(x, dtype=np.float64))
    out = np.empty_like(x)
    kernel(x, out)
    return out


def relative(kernel, exact, x) -> float:
    """Largest relative error over x."""
    got = of(kernel, x)
    errors = []
    for a, b in zip(x, got, strict=True):
        e = exact(mpmath.mpf(float(a)))
        errors.append(abs((mpmath.mpf(float(b)) - e) / e))
    return float(max(errors))


def grid(low: float, high: float, count: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).uniform(low, high, count)
    return np.concatenate([x, np.linspace(low, high, 101)])


EPS = 2.0**-52


@pytest.mark.parametrize(
    ("low", "high"), [(-708.0, 709.0), (-40.0, 40.0), (-1.0, 1.0), (-1e-8, 1e-8)]
)
def test_exp_is_within_an_ulp(low: float, high: float) -> None:
    assert relative(exps, mpmath.exp, grid(low, high, 4000)) < EPS


def test_exp_below_the_normal_numbers_underflows_gradually() -> None:
    x = grid(-745.0, -709.0, 500)
    exact = [float(mpmath.exp(mpmath.mpf(float(a)))) for a in x]
    assert np.abs(of(exps, x) - exact).max() <= 5e-324


@pytest.mark.parametrize(
    ("x", "wanted"),
    [(0.0, 1.0), (-0.0, 1.0), (-INF, 0.0), (INF, INF), (NAN, NAN), (710.0, INF), (1e308, INF),
     (-746.0, 0.0), (-1e308, 0.0), (5e-324, 1.0)],
)  # fmt: skip
def test_exp_at_the_edges(x: float, wanted: float) -> None:
    np.testing.assert_array_equal(of(exps, x), [wanted])


def test_log_is_within_an_ulp_of_its_terms() -> None:
    """Relative to |ln x| or, around 1, to |x - 1|; absolutely below 1 ulp of the result."""
    exponents = np.random.default_rng(0).uniform(-707, 709, 4000)
    for x in (np.exp(exponents), grid(0.5, 2.0, 4000), 1.0 + grid(-1e-6, 1e-6, 2000)):
        x = x[x != 1.0]
        assert relative(logs, mpmath.log, x) < 1.5 * EPS


@pytest.mark.parametrize(("x", "wanted"), [(1.0, 0.0), (np.finfo(float).tiny, -708.3964185322641)])
def test_log_at_the_edges(x: float, wanted: float) -> None:
    assert of(logs, x)[0] == wanted


@pytest.mark.parametrize("x", [np.finfo(float).max, 2.0**1000, 2.0**-1000])
def test_log_of_very_large_and_small(x: float) -> None:
    assert relative(logs, mpmath.log, np.array([x])) < EPS


def test_the_normal_density_is_relatively_accurate_far_out() -> None:
    assert relative(pdfs, mpmath.npdf, grid(-37.0, 37.0, 4000)) < 4 * EPS


@pytest.mark.parametrize(
    ("low", "high", "ulps"), [(-37.0, -5.0, 6), (-5.0, 0.0, 6), (0.0, 8.5, 2), (8.5, 40.0, 1)]
)
def test_the_normal_distribution_is_relatively_accurate_down_to_minus_37(low, high, ulps) -> None:
    """1e-299 to the same number of digits as 0.5: the price of a wing is not noise."""
    assert relative(cdfs, mpmath.ncdf, grid(low, high, 3000)) < ulps * EPS


def test_mills_ratio() -> None:
    exact = lambda z: mpmath.erfc(z / mpmath.sqrt(2)) / 2 / mpmath.npdf(z)  # noqa: E731
    assert relative(mills, exact, np.concatenate([grid(0.0, 39.0, 3000), [0.0, 1e-300]])) < 8e-16


@pytest.mark.parametrize(
    ("kernel", "x", "wanted"),
    [
        (pdfs, NAN, NAN), (pdfs, INF, 0.0), (pdfs, -INF, 0.0), (pdfs, 1e200, 0.0),
        (cdfs, NAN, NAN), (cdfs, INF, 1.0), (cdfs, -INF, 0.0), (cdfs, 1e200, 1.0),
        (cdfs, -1e200, 0.0),
    ],
)  # fmt: skip
def test_the_normal_distribution_at_the_edges(kernel, x: float, wanted: float) -> None:
    np.testing.assert_array_equal(of(kernel, x), [wanted])


def test_half_of_the_normal_distribution_lies_below_zero() -> None:
    assert np.abs(of(cdfs, [0.0, -0.0]) - 0.5).max() <= EPS / 2


def test_the_normal_distribution_never_decreases_and_its_tails_mirror() -> None:
    x = np.linspace(-38.0, 9.0, 20001)
    values = of(cdfs, x)
    steps = np.diff(values)
    assert (steps >= -4 * EPS * values[1:]).all()
    assert ((values >= 0.0) & (values <= 1.0)).all()
    np.testing.assert_array_equal(of(cdfs, -x[x < 0]), 1.0 - values[x < 0])


def test_a_vector_loop_gives_the_bits_of_a_single_call() -> None:
    """Lengths that do and do not fill a vector register."""
    x = np.random.default_rng(3).uniform(-30.0, 30.0, 37)
    for kernel, arguments in ((exps, x), (logs, np.abs(x)), (cdfs, x)):
        alone = np.array([of(kernel, value)[0] for value in arguments])
        for count in (1, 2, 3, 4, 7, 8, 9, 16, 31, 37):
            assert of(kernel, arguments[:count]).tobytes() == alone[:count].tobytes()
