"""American options at the edges: the boundary, no time, no volatility, and garbage."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from riskenv.pricing import option_greeks
from riskenv.pricing.american import american_greeks, american_price, early_exercise_premium
from riskenv.pricing.exercise_boundary import Put, solve_boundary, workspace
from riskenv.pricing.linear_solve import factorise, substitute
from riskenv.pricing.quadrature import collocation, gauss_legendre

GOOD = (100.0, 105.0, 0.5, 0.05, 0.02, 0.25, False)


def exercise_price(strike, t, rate, dividend, vol) -> float:
    """B(t) of a put at rate >= yield, by the coarse scheme."""
    boundary = workspace(6, 7)
    assert solve_boundary(Put(t, rate, dividend, vol), collocation(6, 7, 20), 2e-3, boundary)
    return strike * float(np.exp(-boundary.s[0]))


def test_the_front_hands_american_exercise_to_this_kernel() -> None:
    columns = (np.linspace(60.0, 140.0, 9), *GOOD[1:])
    out = option_greeks(*columns, exercise="american")
    assert np.array_equal(np.array(out), american_greeks(*columns))
    assert np.array_equal(out.price, american_price(*columns))


@pytest.mark.parametrize("accurate", [False, True])
def test_at_and_beyond_the_boundary_it_is_the_underlying(accurate: bool) -> None:
    out = american_greeks([70.0, 30.0, 1.0], 100.0, 1.0, 0.05, 0.05, 0.2, False, accurate)
    assert np.array_equal(out[0], [30.0, 70.0, 99.0])
    assert np.array_equal(out[1], [-1.0] * 3)
    assert not out[2:].any()
    call = american_greeks([200.0, 400.0], 100.0, 1.0, 0.02, -0.06, 0.2, True, accurate)
    assert np.array_equal(call[:2], [[100.0, 300.0], [1.0, 1.0]])
    assert not call[2:].any()


def test_across_the_boundary_nothing_jumps_but_gamma_and_its_kin() -> None:
    """Value matching and smooth pasting; the gamma just inside is 2 (r K - q B) / (vol B)^2."""
    strike, t, rate, dividend, vol = 100.0, 1.0, 0.06, 0.01, 0.25
    edge = exercise_price(strike, t, rate, dividend, vol)
    steps = np.concatenate([-np.logspace(-1, -9, 33), np.logspace(-9, -1, 33)])
    spot = edge * (1.0 + steps)
    price, delta, gamma, theta, vega, rho, vanna, volga, charm = american_greeks(
        spot, strike, t, rate, rate - dividend, vol, False
    )
    inside = steps > 0.0
    near = np.abs(steps) < 1e-6
    assert np.array_equal(gamma == 0.0, ~inside)
    assert np.abs(price - (strike - spot))[near].max() < 1e-5 * strike
    assert np.abs(delta + 1.0)[near].max() < 2e-4
    wanted = 2.0 * (rate * strike - dividend * edge) / (vol * edge) ** 2
    assert gamma[near & inside] == pytest.approx(wanted, rel=5e-3)
    assert np.abs(theta)[near].max() < 1e-4
    assert np.abs(vega)[near].max() < 1e-3
    assert np.abs(rho)[near].max() < 1e-2
    for greek in (vanna, volga, charm):
        ours = greek[inside & (steps < 1e-3)]
        assert np.abs(ours).max() < 0.1  # no spike where the integrand has one
    # The coarse boundary is a little off: up by that much at it, and down everywhere else.
    assert (np.diff(price)[np.diff(inside)] < 1e-5 * strike).all()
    assert (np.diff(price)[~np.diff(inside)] < 0.0).all()
    assert (np.diff(delta) > -1e-6).all()


@pytest.mark.parametrize("t", [0.0, -0.5])
@pytest.mark.parametrize(
    ("call", "spot", "price", "delta"),
    [(True, 110.0, 10.0, 1.0), (True, 90.0, 0.0, 0.0), (False, 90.0, 10.0, -1.0),
     (False, 110.0, 0.0, 0.0), (False, 100.0, 0.0, 0.0)],
)  # fmt: skip
def test_without_time_it_is_the_intrinsic(t, call, spot, price, delta) -> None:
    out = american_greeks(spot, 100.0, t, 0.05, 0.0, 0.2, call)
    assert out[:2].tolist() == [price, delta]
    assert not out[2:].any()


def best_certain(spot, strike, t, rate, dividend, call) -> float:
    """Volatility 0: the best of a million moments to exercise at."""
    u = np.linspace(0.0, t, 1_000_001)
    paths = spot * np.exp(-dividend * u) - strike * np.exp(-rate * u)
    return max(float((paths if call else -paths).max()), 0.0)


@pytest.mark.parametrize("vol", [0.0, 1e-12, 1e-8, 1e-6])
@pytest.mark.parametrize("call", [False, True])
@pytest.mark.parametrize(("accurate", "allowed"), [(False, 1e-4), (True, 1e-5)])
def test_without_volatility_it_is_the_best_moment(accurate, allowed, vol, call) -> None:
    rng = np.random.default_rng(2)
    for _ in range(40):
        strike, t = 100.0 * np.exp(rng.normal(0.0, 0.1)), rng.uniform(0.1, 5.0)
        rate, dividend = rng.uniform(0.001, 0.15), rng.uniform(-0.02, 0.15)
        wanted = best_certain(100.0, strike, t, rate, dividend, call)
        out = american_greeks(100.0, strike, t, rate, rate - dividend, vol, call, accurate)
        assert np.isfinite(out).all()
        # A volatility is worth up to 0.4 spots per vol sqrt(T).
        assert float(out[0]) == pytest.approx(wanted, abs=100.0 * (allowed + 0.5 * vol * t**0.5))


def test_without_volatility_the_greeks_are_those_of_that_moment() -> None:
    """r = 2 %, q = 10 %, S = 30: the put is best exercised when S e^{b u} = K r / q."""
    contract = (30.0, 100.0, 10.0, 0.02, -0.08, 0.0, False)
    price, delta, gamma, theta, vega, rho, *_ = american_greeks(*contract)
    h = 1e-3

    def at(spot=30.0, rate=0.02) -> float:
        return float(american_price(spot, 100.0, 10.0, rate, rate - 0.10, 0.0, False))

    assert 0.0 < np.log(30.0 / 20.0) / 0.08 < 10.0
    assert float(price) > 70.0
    assert delta == pytest.approx((at(30 + h) - at(30 - h)) / (2 * h), rel=1e-6)
    assert gamma == pytest.approx((at(30 + h) - 2 * at() + at(30 - h)) / h**2, rel=1e-3)
    assert rho == pytest.approx(
        0.01 * (at(rate=0.02 + 1e-6) - at(rate=0.02 - 1e-6)) / 2e-6, rel=1e-5
    )
    assert (theta, vega) == (0.0, 0.0)


def test_low_volatility_meets_high_drift() -> None:
    """From a path that is nearly certain, the price is within vol sqrt(T) of the certain one."""
    rng = np.random.default_rng(3)
    for total_vol in (1e-2, 1e-3, 1e-4, 1e-5):
        for _ in range(40):
            t, rate, dividend = rng.uniform(0.1, 10), rng.uniform(0, 0.15), rng.uniform(-0.05, 0.15)
            strike = 100.0 * np.exp(rng.normal(0.0, 0.2 * abs(rate - dividend) * t))
            contract = (100.0, strike, t, rate, rate - dividend, total_vol / t**0.5, False)
            out = american_greeks(*contract)
            least = best_certain(100.0, strike, t, rate, dividend, False)
            assert np.isfinite(out).all()
            assert -1e-4 * 100.0 <= float(out[0]) - least <= 0.5 * total_vol * strike + 1e-2


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", range(6))
def test_garbage_is_nan_in_its_row_alone(position: int, bad: float) -> None:
    columns = [np.full(3, x) for x in GOOD[:6]]
    columns[position][1] = bad
    out = american_greeks(*columns, GOOD[6])
    assert np.isnan(out[:, 1]).all()
    assert np.array_equal(out[:, 0], american_greeks(*GOOD))
    assert np.array_equal(out[:, 2], out[:, 0])


@pytest.mark.parametrize("bad", [(0, 0.0), (0, -1.0), (1, 0.0), (1, -5.0), (5, -0.2)])
def test_what_is_no_contract_is_nan(bad) -> None:
    position, value = bad
    contract = list(GOOD)
    contract[position] = value
    assert np.isnan(american_greeks(*contract)).all()


def test_any_finite_contract_has_finite_numbers_or_none() -> None:
    """Never an exception; NaN in all nine rows or in none."""
    rng = np.random.default_rng(5)
    n = 3000
    rate, carry = rng.uniform(-0.3, 0.5, n), rng.uniform(-0.5, 0.5, n)
    call = rng.random(n) < 0.5
    out = american_greeks(
        10 ** rng.uniform(-3, 6, n), 10 ** rng.uniform(-3, 6, n), 10 ** rng.uniform(-9, 2, n),
        rate, carry, 10 ** rng.uniform(-7, 1, n), call,
    )  # fmt: skip
    unknown = np.isnan(out)
    assert np.array_equal(unknown.all(axis=0), unknown.any(axis=0))
    assert not np.isinf(out).any()
    # No tree is fine enough for a band (q < r < 0) at a volatility far below the drift.
    band = np.where(call, (rate - carry < 0.0) & (rate < rate - carry),
                    (rate < 0.0) & (rate - carry < rate))  # fmt: skip
    assert unknown.any(axis=0).mean() < 0.05
    assert unknown.any(axis=0)[~band].mean() < 0.005


def test_where_a_band_is_too_narrow_for_any_tree_the_answer_is_nan() -> None:
    assert np.isnan(american_greeks(100.0, 100.0, 1.0, -0.01, 0.05, 1e-4, False)).all()


def test_shapes_follow_the_inputs() -> None:
    assert american_greeks(*GOOD).shape == (9,)
    assert american_greeks([], *GOOD[1:]).shape == (9, 0)
    grid = american_greeks(np.array([[90.0], [100.0]]), [80.0, 100.0, 120.0], *GOOD[2:])
    assert grid.shape == (9, 2, 3)
    assert np.array_equal(grid[:, 1, 2], american_greeks(100.0, 120.0, *GOOD[2:]))
    assert early_exercise_premium(100.0, [90.0, 110.0], *GOOD[2:]).shape == (2,)


def test_neighbours_change_no_bit() -> None:
    """An option's numbers do not depend on which others are priced with it, or in which order."""
    rng = np.random.default_rng(6)
    columns = [
        np.full(200, 100.0), rng.uniform(60, 160, 200), rng.uniform(0.01, 8, 200),
        rng.uniform(-0.02, 0.1, 200), rng.uniform(-0.1, 0.1, 200), rng.uniform(0.1, 0.9, 200),
        rng.random(200) < 0.5,
    ]  # fmt: skip
    together = american_greeks(*columns)
    order = rng.permutation(200)
    shuffled = american_greeks(*(c[order] for c in columns))
    assert np.array_equal(shuffled, together[:, order], equal_nan=True)
    for i in range(0, 200, 17):
        assert np.array_equal(american_greeks(*(c[i] for c in columns)), together[:, i])


@pytest.mark.parametrize("n", [2, 7, 24, 96])
def test_quadrature_is_numpys_to_rounding(n: int) -> None:
    nodes, weights = gauss_legendre(n)
    wanted, wanted_weights = np.polynomial.legendre.leggauss(n)
    np.testing.assert_allclose(nodes, 0.5 * (1.0 + wanted), rtol=0.0, atol=3e-16)
    np.testing.assert_allclose(weights, 0.5 * wanted_weights, rtol=2e-12)


def test_the_small_solver_solves() -> None:
    rng = np.random.default_rng(7)
    matrix, x = rng.normal(size=(12, 12)), rng.normal(size=12)
    matrix[0, 0] = 0.0  # needs an exchange of rows
    right, factors, pivots = matrix @ x, matrix.copy(), np.zeros(12, dtype=np.int64)
    factorise(factors, pivots)
    substitute(factors, pivots, right)
    np.testing.assert_allclose(right, x, rtol=1e-10)


PROGRAM = """
import hashlib, numpy as np
from riskenv.pricing.american import american_greeks
rng = np.random.default_rng(1)
n = 400
columns = [
    np.full(n, 100.0), rng.uniform(60, 160, n), rng.uniform(0.01, 8, n), rng.uniform(0, 0.1, n),
    rng.uniform(-0.1, 0.1, n), rng.uniform(0.1, 0.9, n), rng.random(n) < 0.5,
]
band = american_greeks(100.0, 105.0, 1.0, -0.01, 0.03, 0.2, False)
print(hashlib.sha256(american_greeks(*columns).tobytes() + band.tobytes()).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.parametrize("cpu", ["haswell", "generic"])
def test_the_compilers_target_changes_no_bit(cpu: str) -> None:
    """With and without AVX-512, and without fused multiply-add in hardware."""

    def digest(**environment: str) -> str:
        command = [sys.executable, "-P", "-c", PROGRAM]
        return subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, check=True
        ).stdout

    assert digest(NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES="") == digest()
