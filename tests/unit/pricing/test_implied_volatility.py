"""A status for every quote, a number exactly where it is OK, and the parts of the solver."""

from __future__ import annotations

import hashlib
import importlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest
from scipy.special import erfcx

from riskenv.compilation import jit
from riskenv.pricing import ImpliedVolatilityStatus as Status
from riskenv.pricing import black_scholes_price, implied_volatility, normalised_black

# The package has the function under the name of the module.
solver = importlib.import_module("riskenv.pricing.implied_volatility")

NAN, INF = np.nan, np.inf
RESOLUTION = solver.RESOLUTION
# price, spot, strike, t, rate, carry, is_call
CALL = (7.0, 100.0, 95.0, 0.5, 0.0, 0.0, True)


def status_of(*quote) -> Status:
    vol, status = implied_volatility(*quote)
    assert np.isfinite(vol) == (status == Status.OK)
    return Status(int(status))


@pytest.mark.parametrize(
    ("quote", "wanted"),
    [
        (CALL, Status.OK),
        ((NAN, *CALL[1:]), Status.INVALID_INPUT),
        ((INF, *CALL[1:]), Status.INVALID_INPUT),
        ((-INF, *CALL[1:]), Status.INVALID_INPUT),
        ((7.0, 0.0, 95.0, 0.5, 0.0, 0.0, True), Status.INVALID_INPUT),
        ((7.0, -100.0, 95.0, 0.5, 0.0, 0.0, True), Status.INVALID_INPUT),
        ((7.0, 100.0, 0.0, 0.5, 0.0, 0.0, True), Status.INVALID_INPUT),
        ((7.0, 100.0, -95.0, 0.5, 0.0, 0.0, False), Status.INVALID_INPUT),
        ((7.0, 100.0, 95.0, NAN, 0.0, 0.0, True), Status.INVALID_INPUT),
        ((7.0, 100.0, 95.0, INF, 0.0, 0.0, True), Status.INVALID_INPUT),
        ((7.0, 100.0, 95.0, 0.5, NAN, 0.0, True), Status.INVALID_INPUT),
        ((7.0, 100.0, 95.0, 0.5, 0.0, -INF, True), Status.INVALID_INPUT),
        ((7.0, 100.0, 95.0, 0.5, 0.0, 0.0, NAN), Status.INVALID_INPUT),
        ((7.0, 100.0, 95.0, 0.5, 0.0, 0.0, 2), Status.INVALID_INPUT),
        ((7.0, 100.0, 95.0, 1.0, 5000.0, 0.0, True), Status.INVALID_INPUT),
        ((7.0, 1e-200, 1e200, 1.0, 0.0, 0.0, True), Status.INVALID_INPUT),
        ((7.0, 100.0, 95.0, 0.0, 0.0, 0.0, True), Status.EXPIRED),
        ((7.0, 100.0, 95.0, -0.1, 0.0, 0.0, True), Status.EXPIRED),
        ((5.0, 100.0, 95.0, 0.0, 0.0, 0.0, True), Status.EXPIRED),
        ((4.9, 100.0, 95.0, 0.5, 0.0, 0.0, True), Status.BELOW_INTRINSIC),
        ((5.0 - 1e-12, 100.0, 95.0, 0.5, 0.0, 0.0, True), Status.BELOW_INTRINSIC),
        ((-0.01, 100.0, 105.0, 0.5, 0.0, 0.0, True), Status.BELOW_INTRINSIC),
        ((-1e-300, 100.0, 105.0, 0.5, 0.0, 0.0, True), Status.BELOW_INTRINSIC),
        # The forward's intrinsic, not the spot's: 5 is too little while the strike bears interest.
        ((5.0, 100.0, 95.0, 0.5, 0.05, 0.05, True), Status.BELOW_INTRINSIC),
        ((4.9, 100.0, 95.0, 0.5, 0.0, -0.05, True), Status.OK),
        ((5.0, 100.0, 95.0, 0.5, 0.0, 0.0, True), Status.AT_INTRINSIC),
        ((5.0, 95.0, 100.0, 0.5, 0.0, 0.0, False), Status.AT_INTRINSIC),
        ((0.0, 100.0, 105.0, 0.5, 0.0, 0.0, True), Status.AT_INTRINSIC),
        ((0.0, 100.0, 100.0, 0.5, 0.0, 0.0, True), Status.AT_INTRINSIC),
        ((-0.0, 100.0, 105.0, 0.5, 0.0, 0.0, True), Status.AT_INTRINSIC),
        ((5e-324, 100.0, 100.0, 0.5, 0.0, 0.0, True), Status.AT_INTRINSIC),
        ((5e-324, 100.0, 105.0, 0.5, 0.0, 0.0, True), Status.OK),
        ((1e-310, 100.0, 105.0, 0.5, 0.0, 0.0, True), Status.OK),
        ((5.0 + 1e-11, 100.0, 95.0, 0.5, 0.0, 0.0, True), Status.OK),
        ((5.0 + 5e-13, 100.0, 95.0, 0.5, 0.0, 0.0, True), Status.LOW_VEGA),
        ((100.0, 100.0, 95.0, 0.5, 0.0, 0.0, True), Status.AT_MAXIMUM),
        ((95.0, 100.0, 95.0, 0.5, 0.0, 0.0, False), Status.AT_MAXIMUM),
        ((100.0 - 1e-4, 100.0, 95.0, 0.5, 0.0, 0.0, True), Status.OK),
        ((100.1, 100.0, 95.0, 0.5, 0.0, 0.0, True), Status.ABOVE_MAXIMUM),
        ((95.1, 100.0, 95.0, 0.5, 0.0, 0.0, False), Status.ABOVE_MAXIMUM),
        ((1e308, 100.0, 95.0, 0.5, 0.0, 0.0, False), Status.ABOVE_MAXIMUM),
        # Discounted: the most a put is worth is less than its strike.
        ((94.0, 100.0, 95.0, 0.5, 0.05, 0.05, False), Status.ABOVE_MAXIMUM),
    ],
)  # fmt: skip
def test_what_becomes_of_a_quote(quote, wanted) -> None:
    assert status_of(*quote) == wanted


def test_every_status_but_unconverged_is_in_the_table_above() -> None:
    (mark,) = (m for m in test_what_becomes_of_a_quote.pytestmark if m.name == "parametrize")
    assert {wanted for _, wanted in mark.args[1]} == set(Status) - {Status.UNCONVERGED}


def test_no_combination_of_garbage_gives_a_nan_that_is_ok_or_a_number_that_is_not() -> None:
    odd = [NAN, INF, -INF, 0.0, -0.0, -1.0, 5e-324, 1e-300, 1e300, 1.7e308, 100.0]
    few = [NAN, INF, 0.0, -1.0, 1e-300, 1e300, 0.05]
    grid = np.array(list(itertools.product(odd, odd, odd, few, few, few, (0.0, 1.0)))).T
    with np.errstate(all="raise"):
        vol, status = implied_volatility(*grid)
    assert ((status >= 0) & (status <= max(Status))).all()
    np.testing.assert_array_equal(np.isfinite(vol), status == Status.OK)
    assert (vol[status == Status.OK] > 0.0).all()
    assert not (status == Status.UNCONVERGED).any()
    finite = np.isfinite(grid).all(axis=0)
    assert (status[~finite] == Status.INVALID_INPUT).all()


@pytest.mark.parametrize("vol", [1e-9, 1e-6, 1e-3, 0.2, 5.0, 10.0, 14.0])
def test_nothing_is_capped(vol: float) -> None:
    """At the money, where every total volatility up to about 14 leaves its mark on the price."""
    price = float(100 * mp.erf(mp.mpf(vol) / mp.sqrt(8)))
    got, status = implied_volatility(price, 100.0, 100.0, 1.0, 0.0, 0.0, True)
    assert status == Status.OK
    assert float(got) == pytest.approx(vol, rel=4e-16 if vol < 1.0 else RESOLUTION)


def test_in_the_money_a_quote_fades_from_ok_to_low_vega_to_at_intrinsic() -> None:
    """As the time value sinks into the rounding of the price; and what is OK is right."""
    seen = []
    for vol in np.linspace(0.30, 0.04, 80):
        with mp.workdps(50):
            s, x = mp.mpf(vol), mp.log(mp.mpf(100) / 70)
            up, down = (mp.ncdf(x / s + h * s / 2) for h in (1, -1))
            price = float(100 * up - 70 * down)
        got, status = implied_volatility(price, 100.0, 70.0, 1.0, 0.0, 0.0, True)
        seen.append(int(status))
        if status == Status.OK:
            assert float(got) == pytest.approx(vol, rel=2.0 * RESOLUTION)
    order = [Status.OK, Status.LOW_VEGA, Status.AT_INTRINSIC]
    assert [k for k, _ in itertools.groupby(seen)] == order


def chain(n: int, seed: int = 3) -> list[np.ndarray]:
    """price, spot, strike, t, rate, carry, is_call of ordinary quotes, and their volatility."""
    rng = np.random.default_rng(seed)
    spot = rng.uniform(50.0, 200.0, n)
    t, vol = rng.uniform(0.01, 2.0, n), rng.uniform(0.1, 0.9, n)
    strike = spot * np.exp(rng.normal(0.0, 0.5, n) * vol * np.sqrt(t))
    rate, carry = rng.uniform(-0.01, 0.08, n), rng.uniform(-0.05, 0.08, n)
    call = rng.random(n) < 0.5
    price = black_scholes_price(spot, strike, t, rate, rate - carry, vol, call)
    return [price, spot, strike, t, rate, carry, call, vol]


def test_ordinary_quotes_come_back() -> None:
    *quotes, wanted = chain(5000)
    vol, status = implied_volatility(*quotes)
    assert (status == Status.OK).all()
    np.testing.assert_allclose(vol, wanted, rtol=1e-12)


def by_bisection(price, spot, strike, t, rate, carry, is_call) -> np.ndarray:
    """The readable oracle: halve an interval of volatilities until it is a double wide."""
    sign = np.where(is_call, 1.0, -1.0)
    spot_leg, strike_leg = spot * np.exp((carry - rate) * t), strike * np.exp(-rate * t)
    value = price - np.maximum(sign * (spot_leg - strike_leg), 0.0)
    x, root = np.abs(np.log(spot / strike) + carry * t), np.sqrt(spot_leg * strike_leg)

    def out_of_the_money(s: np.ndarray) -> np.ndarray:
        tails = erfcx((x / s - s / 2) / np.sqrt(2)), erfcx((x / s + s / 2) / np.sqrt(2))
        return 0.5 * np.exp(-0.5 * ((x / s) ** 2 + s * s / 4)) * (tails[0] - tails[1]) * root

    low, high = np.full_like(x, 1e-3), np.full_like(x, 8.0)
    for _ in range(80):
        middle = 0.5 * (low + high)
        below = out_of_the_money(middle) < value
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 0.5 * (low + high) / np.sqrt(t)


def test_the_solver_is_bisection() -> None:
    *quotes, _ = chain(2000, seed=5)
    np.testing.assert_allclose(implied_volatility(*quotes).vol, by_bisection(*quotes), rtol=1e-11)


def test_a_call_and_the_put_that_parity_gives_have_one_volatility() -> None:
    call, _ = implied_volatility(9.0, 100.0, 100.0, 0.5, 0.04, 0.0, True)
    put, _ = implied_volatility(9.0, 100.0, 100.0, 0.5, 0.04, 0.0, False)
    assert call == put


def test_inputs_broadcast_and_the_shape_is_kept() -> None:
    quotes = implied_volatility([[8.0], [9.0]], 100.0, [95.0, 100.0, 105.0], 0.5, 0.0, 0.0, True)
    assert quotes.vol.shape == quotes.status.shape == (2, 3)
    assert (quotes.vol.dtype, quotes.status.dtype) == (np.float64, np.int8)
    one = implied_volatility(9.0, 100.0, 105.0, 0.5, 0.0, 0.0, True)
    assert one.vol.shape == ()
    assert one.vol == quotes.vol[1, 2]
    assert implied_volatility([], 100.0, 95.0, 0.5, 0.0, 0.0, True).vol.shape == (0,)


@pytest.mark.parametrize(
    ("quote", "words"),
    [
        (((1.0, 2.0), (1.0, 2.0, 3.0), 1.0, 1.0, 0.0, 0.0, True), "broadcast"),
        ((7.0, 100.0, 95.0, 0.5, 0.0, 0.0, "call"), "is_call"),
    ],
)
def test_inputs_that_are_no_quotes_raise(quote, words) -> None:
    with pytest.raises(ValueError, match=words):
        implied_volatility(*quote)


def test_a_quote_has_the_same_bits_alone_and_anywhere_in_a_column() -> None:
    """Block edges and lengths that do not fill a vector register; and any order."""
    *quotes, _ = chain(700)
    whole = implied_volatility(*quotes).vol
    for i in (0, 1, 7, 8, 254, 255, 256, 257, 511, 512, 699):
        assert implied_volatility(*(c[i] for c in quotes)).vol.tobytes() == whole[i].tobytes()
    for count in (1, 3, 8, 13, 255, 256, 257):
        assert implied_volatility(*(c[:count] for c in quotes)).vol.tobytes() == (
            whole[:count].tobytes()
        )
    order = np.random.default_rng(0).permutation(700)
    assert implied_volatility(*(c[order] for c in quotes)).vol.tobytes() == whole[order].tobytes()


def digest_of_many() -> str:
    """Over easy quotes and hard ones, some of which Let's Be Rational starts."""
    rng = np.random.default_rng(9)
    x = np.exp(rng.uniform(-8.0, 6.0, 2000))
    price = rng.random(2000) * np.exp(-0.5 * x)
    vol, status = implied_volatility(price, np.exp(-0.5 * x), np.exp(0.5 * x), 1.0, 0, 0, True)
    assert (status == Status.OK).mean() > 0.99
    return hashlib.sha256(vol.tobytes()).hexdigest()


def test_another_cpu_gives_the_same_bits(tmp_path: Path) -> None:
    """Compiled for a plain x86-64 (no vectors beyond SSE2), without NumPy's own vector code."""
    program = (
        "import importlib.util as u, sys; s = u.spec_from_file_location('t', sys.argv[1]); "
        "m = u.module_from_spec(s); s.loader.exec_module(m); print(m.digest_of_many())"
    )
    other = {
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CACHE_DIR": str(tmp_path),
        "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX2 FMA3",
    }
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, __file__],
        env={**os.environ, **other}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[-1] == digest_of_many()


# What the fast solver leaves over.


def test_ordinary_quotes_never_reach_lets_be_rational(monkeypatch) -> None:
    def refuse(*quote: float) -> float:
        raise AssertionError(f"asked for {quote}")

    monkeypatch.setattr(solver, "lets_be_rational", refuse)
    *quotes, _ = chain(5000, seed=8)
    assert (implied_volatility(*quotes).status == Status.OK).all()


@pytest.mark.parametrize("steps", [1, 2])
def test_what_is_left_over_starts_again_from_lets_be_rational(monkeypatch, steps: int) -> None:
    """Cut short, the fast solver leaves quotes over; they come back with the same answers."""
    *quotes, _ = chain(2000, seed=6)
    quotes[2] = quotes[1] * np.exp(np.linspace(-6.0, 6.0, 2000))  # some |ln(F/K)| need three
    quotes[0] = 0.4 * np.where(quotes[6], quotes[1], quotes[2]) * np.exp(-0.08 * quotes[3])
    whole = implied_volatility(*quotes)
    asked = []

    def counted(*quote: float) -> float:
        asked.append(quote)
        return normalised_black.lets_be_rational(*quote)

    monkeypatch.setattr(solver, "_STEPS", steps)
    monkeypatch.setattr(solver, "lets_be_rational", counted)
    again = implied_volatility(*quotes)
    assert 0 < len(asked) < 2000
    np.testing.assert_array_equal(again.status, whole.status)
    np.testing.assert_allclose(again.vol, whole.vol, rtol=1e-14)


@pytest.mark.parametrize("answer", [NAN, INF, 0.0, -1.0, 1e-300, 1e300, 3.0])
def test_a_wrong_answer_of_lets_be_rational_is_not_taken_over(monkeypatch, answer: float) -> None:
    """It is a start; unless one step from there confirms it, the quote stays UNCONVERGED."""
    quote = (0.3, 1.0, np.exp(200.0), 1.0, 0.0, 0.0, True)  # not settled in three steps
    assert status_of(*quote) == Status.OK
    monkeypatch.setattr(solver, "lets_be_rational", lambda *quote: answer)
    vol, status = implied_volatility(*quote)
    assert (Status(int(status)), str(float(vol))) == (Status.UNCONVERGED, "nan")


def test_lets_be_rational_gives_nan_where_it_refuses() -> None:
    assert np.isnan(normalised_black.lets_be_rational(101.0, 100.0, 95.0, 1.0, 0.0, 0.0, 1.0))
    assert np.isnan(normalised_black.lets_be_rational(1.0, 100.0, 95.0, 1.0, 0.0, 0.0, 1.0))
    assert np.isnan(normalised_black.lets_be_rational(7.0, 100.0, 95.0, 1.0, 1e6, 0.0, 1.0))


def test_lets_be_rational_is_imported_only_when_needed() -> None:
    program = (
        "import sys; from riskenv.pricing import implied_volatility as f\n"
        f"f(*{CALL!r}); print('lets_be_rational' in sys.modules, 'pandas' in sys.modules)\n"
        "f(0.3, 1.0, 1e87, 1.0, 0.0, 0.0, True)\n"
        "print('lets_be_rational' in sys.modules, 'pandas' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["False", "False", "True", "False"]


# The parts, against 40 digits.


@jit
def log_ratios(a, b, out):
    for i in range(out.size):
        out[i] = normalised_black.log_ratio(a[i], b[i])


@jit
def prices_over_vega(x, s, side, out):
    for i in range(out.size):
        out[i] = normalised_black.price_over_vega(x[i], s[i], side[i])


@jit
def guesses(x, price, room, out):
    for i in range(out.size):
        out[i], _ = normalised_black.first_guess(x[i], price[i], room[i])


def test_the_log_of_a_ratio_keeps_its_digits_near_1_and_far_from_it() -> None:
    rng = np.random.default_rng(2)
    b = np.exp(rng.uniform(-300.0, 300.0, 4000))
    near = b * (1.0 + np.exp(rng.uniform(-36.0, 0.0, 4000)) * rng.choice([-0.5, 1.0], 4000))
    far = np.exp(rng.uniform(-300.0, 300.0, 4000))
    for a in (near, far):
        got = np.empty(4000)
        log_ratios(a, b, got)
        with mp.workdps(40):
            exact = [mp.log(mp.mpf(p) / mp.mpf(q)) for p, q in zip(a, b, strict=True)]
            worst = max(abs(g - e) / abs(e) for g, e in zip(got, exact, strict=True) if e)
        assert worst < 2.0**-51
    same = np.empty(4000)
    log_ratios(b, b, same)
    assert (same == 0.0).all()


def over_vega(x: float, s: float, side: float) -> mp.mpf:
    with mp.workdps(60):
        a, t = mp.mpf(x) / s, mp.mpf(s) / 2
        mills = lambda z: mp.erfc(z / mp.sqrt(2)) / 2 / mp.npdf(z)  # noqa: E731
        return mills(a - t) - mills(a + t) if side > 0 else mills(t - a) + mills(t + a)


@pytest.mark.parametrize(
    ("side", "moneyness", "lowest", "highest"),
    [
        (2.0, (1e-9, 0.5), lambda x: np.maximum(x / 37.0, 1e-7), lambda x: 0.54),
        (1.0, (0.5, 30.0), lambda x: x / 37.0, lambda x: np.sqrt(2.0 * x)),
        (-1.0, (1e-9, 30.0), lambda x: np.maximum(np.sqrt(2.0 * x), 0.45), lambda x: 14.0),
    ],
)
def test_an_error_of_price_over_vega_moves_no_total_volatility(
    side, moneyness, lowest, highest
) -> None:
    """On the lower side its absolute error is that of s, and on the upper one its relative error
    that of what is missing to the maximum: both below 16 half ulps."""
    rng = np.random.default_rng(4)
    x = np.exp(rng.uniform(*np.log(moneyness), 3000))
    low, high = lowest(x), highest(x)
    s = np.exp(rng.uniform(np.log(low), np.log(high)))
    got = np.empty(3000)
    prices_over_vega(x, s, np.full(3000, side), got)
    exact = [over_vega(p, q, side) for p, q in zip(x, s, strict=True)]
    error = np.array([float(abs(g - e)) for g, e in zip(got, exact, strict=True)])
    size = s if side > 0.0 else np.array([float(e) for e in exact])
    assert (error / size).max() < 16 * 2.0**-53


def test_the_cubic_of_the_first_guess_is_bacheliers_volatility_within_07_percent() -> None:
    """s = 1, |x| = a: b = phi(a) - a (1 - Phi(a)), far below |x| = 1 where the models agree."""
    with mp.workdps(60):
        a = [mp.mpf(k) / 8 for k in range(1, 8 * 36)]
        b = [float(mp.npdf(z) - z * mp.erfc(z / mp.sqrt(2)) / 2) for z in a]
    scale = 2.0**-20
    x, price = scale * np.array(a, dtype=float), scale * np.array(b)
    got = np.empty(len(a))
    guesses(x, price, 1.0 - price, got)
    assert np.abs(got / scale - 1.0).max() < 0.007


def test_the_first_guess_is_within_a_fifth() -> None:
    """For |ln(F/K)| to 8 and every total volatility from the deep wing to 6."""
    rng = np.random.default_rng(1)
    x = np.exp(rng.uniform(np.log(1e-9), np.log(8.0), 4000))
    s = np.exp(rng.uniform(np.log(np.maximum(x / 37.0, 1e-6)), np.log(6.0)))
    price, room = np.empty(4000), np.empty(4000)
    with mp.workdps(60):
        for i in range(4000):
            d1 = -mp.mpf(x[i]) / s[i] + mp.mpf(s[i]) / 2
            up, half = mp.ncdf(d1), mp.exp(-mp.mpf(x[i]) / 2)
            b = half * up - mp.ncdf(d1 - s[i]) / half
            price[i], room[i] = float(b), float(half - b)
    got = np.empty(4000)
    guesses(x, price, room, got)
    print(f"\nfirst guess within {np.abs(got / s - 1.0).max():.3f} of the solution")
    assert np.abs(got / s - 1.0).max() < 0.2
