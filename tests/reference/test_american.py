"""American prices and Greeks against QuantLib, a plain tree, published figures and limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import QuantLib as ql  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from riskenv.pricing import american_kernel, option_greeks
from riskenv.pricing.american import american_greeks, american_price, early_exercise_premium
from riskenv.pricing.numpy_reference import american_tree_price

NAMES = ("price", "delta", "gamma", "theta", "vega", "rho", "vanna", "volga", "charm")
TODAY = ql.Date(15, 6, 2026)
CLOCK = ql.Actual365Fixed()


def binomial_price(spot, strike, t, rate, carry, vol, call, steps) -> float:
    """The oracle: Cox, Ross and Rubinstein (1979), as a textbook has it."""
    dt = t / steps
    up = math.exp(vol * math.sqrt(dt))
    down = 1.0 / up
    p = (math.exp(carry * dt) - down) / (up - down)
    assert 0.0 < p < 1.0
    sign = 1.0 if call else -1.0
    powers = np.arange(-steps, steps + 1)
    payoff = np.maximum(sign * (spot * up**powers - strike), 0.0)
    value = payoff[::2]
    for level in range(steps - 1, -1, -1):
        value = math.exp(-rate * dt) * (p * value[1:] + (1.0 - p) * value[:-1])
        value = np.maximum(value, payoff[steps - level : steps + level + 1 : 2])
    return float(value[0])


def quantlib_prices(columns, engine) -> np.ndarray:
    """engine(process) prices each row; T must be whole days."""
    ql.Settings.instance().evaluationDate = TODAY

    def one(spot, strike, t, rate, carry, vol, call) -> float:
        days = round(t * 365)
        assert abs(days / 365 - t) < 1e-12

        def flat(x: float) -> ql.YieldTermStructureHandle:
            return ql.YieldTermStructureHandle(ql.FlatForward(TODAY, float(x), CLOCK))

        process = ql.BlackScholesMertonProcess(
            ql.QuoteHandle(ql.SimpleQuote(float(spot))), flat(rate - carry), flat(rate),
            ql.BlackVolTermStructureHandle(
                ql.BlackConstantVol(TODAY, ql.NullCalendar(), float(vol), CLOCK)
            ),
        )  # fmt: skip
        kind = ql.Option.Call if call else ql.Option.Put
        option = ql.VanillaOption(
            ql.PlainVanillaPayoff(kind, float(strike)), ql.AmericanExercise(TODAY, TODAY + days)
        )
        option.setPricingEngine(engine(process))
        return option.NPV()

    return np.array([one(*row) for row in zip(*columns, strict=True)])


def precise(process) -> ql.QdFpAmericanEngine:
    return ql.QdFpAmericanEngine(process, ql.QdFpAmericanEngine.highPrecisionScheme())


def contracts(n: int, seed: int) -> list[np.ndarray]:
    """Spot 100; three days to five years, vol 5 to 90 %, rates 0 to 12 %, yields -2 to 12 %."""
    rng = np.random.default_rng(seed)
    t = np.round(10 ** rng.uniform(math.log10(3), math.log10(5 * 365), n)) / 365.0
    vol, rate = rng.uniform(0.05, 0.9, n), rng.uniform(0.0, 0.12, n)
    dividend = np.where(rng.random(n) < 0.3, 0.0, rng.uniform(-0.02, 0.12, n))
    dividend = np.where(rng.random(n) < 0.1, rate, dividend)  # carry 0: futures
    width = np.minimum(1.5 * vol * np.sqrt(t), 1.0)
    strike = 100.0 * np.exp(rng.normal(0.0, 1.0, n) * width)
    return [np.full(n, 100.0), strike, t, rate, rate - dividend, vol, rng.random(n) < 0.5]


@pytest.fixture(scope="module")
def grid() -> tuple[list[np.ndarray], np.ndarray]:
    columns = contracts(1500, seed=20)
    return columns, quantlib_prices(columns, precise)


@pytest.mark.parametrize(("accurate", "allowed"), [(False, 1e-4), (True, 1e-6)])
def test_a_random_grid_is_quantlibs_fixed_point_engine(grid, accurate, allowed) -> None:
    columns, wanted = grid
    error = np.abs(american_price(*columns, accurate=accurate) - wanted) / columns[0]
    figures = np.quantile(error, [0.5, 0.99, 1.0])
    print(f"accurate={accurate}: error in spots, median, p99 and largest: {figures}")
    assert error.max() <= allowed


@pytest.mark.slow
@pytest.mark.parametrize(("accurate", "allowed"), [(False, 1e-4), (True, 1e-6)])
def test_ten_thousand_contracts_are_quantlibs(accurate, allowed) -> None:
    columns = contracts(10_000, seed=4)
    error = np.abs(american_price(*columns, accurate=accurate) - quantlib_prices(columns, precise))
    error /= columns[0]
    figures = np.quantile(error, [0.5, 0.99, 1.0])
    print(f"accurate={accurate}: error in spots, median, p99 and largest: {figures}")
    assert error.max() <= allowed


def test_extremes_agree_with_the_finest_scheme(monkeypatch) -> None:
    """Five minutes to 30 years, vol 0.5 to 250 %, rates to 30 %: beyond what QuantLib can check."""
    rng = np.random.default_rng(3)
    n = 3000
    t, vol = 10 ** rng.uniform(-5, 1.5, n), 10 ** rng.uniform(-2.3, 0.4, n)
    rate = np.where(rng.random(n) < 0.5, rng.uniform(0, 0.3, n), 10 ** rng.uniform(-5, -1, n))
    dividend = np.choose(
        rng.integers(0, 4, n),
        [np.zeros(n), rng.uniform(-0.1, 0.3, n), rate, rate * rng.uniform(0.9, 1.1, n)],
    )
    spread = np.minimum(1.5 * vol * np.sqrt(t), 1.0)
    strike = 100.0 * np.exp(rng.normal(0, 1, n) * spread + (rate - dividend) * t * rng.random(n))
    columns = (100.0, strike, t, rate, rate - dividend, vol, False)
    coarse, fine = american_price(*columns), american_price(*columns, accurate=True)
    monkeypatch.setitem(american_kernel.LADDERS, True, (american_kernel.FINEST,))
    finest = american_price(*columns, accurate=True)
    for name, got, allowed in (("fast", coarse, 1e-4), ("accurate", fine, 1e-6)):
        error = np.abs(got - finest) / 100.0
        figures = np.quantile(error, [0.5, 0.99, 1.0])
        print(f"{name}: error in spots, median, p99 and largest: {figures}")
        assert error.max() <= allowed


LS = "Longstaff and Schwartz (2001) RFS 14(1) Table 1, finite differences, 50 exercise dates a year"
QL = "QuantLib americanoption.cpp, testQdAmericanEngines, edge cases"
# (source, (call?, S, K, T, r, q, vol), published, tolerance, converged value, its tolerance)
PUBLISHED = [
    (LS, (False, 44.0, 40.0, 1.0, 0.06, 0.0, 0.2), 1.11, 0.01, 1.1129621252797537, 5e-5),
    (LS, (False, 40.0, 40.0, 1.0, 0.06, 0.0, 0.2), 2.314, 0.01, 2.319574263870029, 5e-5),
    (LS, (False, 36.0, 40.0, 1.0, 0.06, 0.0, 0.2), 4.478, 0.01, 4.4866744190271275, 5e-5),
    (LS, (False, 44.0, 40.0, 2.0, 0.06, 0.0, 0.4), 5.647, 0.01, 5.646731344379199, 5e-5),
    (f"{QL}, volatility 0", (False, 100.0, 120.0, 1.0, 0.05, 0.01, 0.0), 20.0, 1e-9, None, None),
    (f"{QL}, a day left", (False, 100.0, 120.0, 1 / 365, 0.05, 0.0, 0.25), 20.0, 1e-9, None, None),
    (f"{QL}; expected: QdFp, high precision", (True, 100.0, 100.0, 170.0, 0.01, 0.002, 0.25),
     80.39024996703972, 1e-3, None, None),
    # Approximations by name in the sources; what is tested is the true value of their inputs.
    ("Haug (1998) p. 24, Barone-Adesi and Whaley: 15.5689; QuantLib QdFp",
     (True, 110.0, 100.0, 0.5, 0.10, 0.10, 0.35), 15.539093, 1e-5, None, None),
    ("Haug (1998) p. 24, Barone-Adesi and Whaley: 6.8015; QuantLib QdFp",
     (True, 100.0, 100.0, 0.5, 0.10, 0.10, 0.25), 6.775281, 1e-5, None, None),
    ("Haug's VBA, Bjerksund and Stensland (1993): 4.4531; QuantLib QdFp",
     (False, 36.0, 40.0, 1.0, 0.06, 0.0, 0.2), 4.486674, 1e-5, None, None),
    ("Ju (1999) J. Derivatives, Exhibits 3 and 6: 37.177; QuantLib QdFp",
     (True, 120.0, 100.0, 3.0, 0.07, 0.03, 0.3), 37.103345, 1e-5, None, None),
]  # fmt: skip


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: f"{case[0]}: {case[1]}")
def test_published_prices(case) -> None:
    _, (call, spot, strike, t, rate, dividend, vol), published, width, converged, close = case
    for accurate in (False, True):
        price = float(
            american_price(spot, strike, t, rate, rate - dividend, vol, call, accurate=accurate)
        )
        # A coarse price may be 1e-4 of spot off, and never is nearly.
        slack = 0.0 if accurate else 1e-5 * spot
        assert price == pytest.approx(published, abs=width + slack)
        if converged is not None:
            assert price == pytest.approx(converged, abs=close + slack)


def test_the_premium_of_andersen_lake_and_offengenden() -> None:
    """K = S = 100, r = q = 5 %, vol 25 %, a year: 0.1069527027 (2016, high-precision example)."""
    premium = float(early_exercise_premium(100.0, 100.0, 1.0, 0.05, 0.0, 0.25, False, True))
    assert premium == pytest.approx(0.1069527027, abs=2e-8)


@pytest.mark.parametrize("call", [False, True])
def test_the_plain_tree_agrees(call: bool) -> None:
    rng = np.random.default_rng(8)
    for _ in range(12):
        strike, t = rng.uniform(80, 125), rng.uniform(0.05, 2.0)
        rate, dividend = rng.uniform(0.0, 0.1), rng.uniform(0.0, 0.1)
        contract = (100.0, strike, t, rate, rate - dividend, rng.uniform(0.15, 0.6), call)
        tree = 0.5 * (binomial_price(*contract, 2000) + binomial_price(*contract, 2001))
        assert float(american_price(*contract, accurate=True)) == pytest.approx(tree, abs=5e-3)


def test_where_the_holder_exercises_within_a_band_a_tree_is_right() -> None:
    """Rates below 0 and yields below them: QuantLib's finite differences."""
    rng = np.random.default_rng(9)
    n = 12
    rate = rng.uniform(-0.03, -0.005, n)
    columns = [
        np.full(n, 100.0), rng.uniform(85, 120, n), rng.integers(60, 900, n) / 365.0, rate,
        rng.uniform(0.01, 0.06, n), rng.uniform(0.1, 0.4, n), np.zeros(n, dtype=bool),
    ]  # fmt: skip
    wanted = quantlib_prices(
        columns, lambda process: ql.FdBlackScholesVanillaEngine(process, 800, 1600)
    )
    got = american_greeks(*columns)
    assert np.abs(got[0] - wanted).max() <= 1e-4 * 100.0
    european = option_greeks(*columns)
    assert (got[0] >= european.price).all()
    assert (got[0] - european.price).max() > 1e-3
    # The call that is this put with spot and strike, rate and yield exchanged.
    spot, strike, t, rate, carry, vol, _ = columns
    call = american_greeks(strike, spot, t, rate - carry, -carry, vol, True)
    np.testing.assert_allclose(call[0], got[0], rtol=0.0, atol=2e-3)


def test_a_band_of_exercise_at_a_millionth_of_spot() -> None:
    contract = (100.0, 105.0, 1.0, -0.01, 0.03, 0.2, False)
    trees = [binomial_price(*contract, steps) for steps in (9999, 10000)]
    got = float(american_price(*contract, accurate=True))
    assert got == pytest.approx(np.mean(trees), abs=3e-4)  # what the plain tree itself is good for


def test_greeks_are_the_derivatives_of_the_price() -> None:
    """Central differences of the own price in the accurate mode, in the documented units."""
    spot, strike, t, rate, carry, vol, call = contracts(400, seed=31)

    def at(s=0.0, years=0.0, r=0.0, v=0.0):
        return american_greeks(
            spot + s, strike, t + years, rate + r, carry + r, vol + v, call, accurate=True
        )

    h, day, point = 0.02 * vol * np.sqrt(t), 2e-3 * t, 2e-3 * vol
    up, down = at(s=h), at(s=-h)
    longer, shorter, riskier, safer = at(years=day), at(years=-day), at(v=point), at(v=-point)
    dear, cheap = at(r=1e-4), at(r=-1e-4)
    wanted = {
        "delta": (up[0] - down[0]) / (2 * h),
        "gamma": (up[1] - down[1]) / (2 * h),
        "theta": -(longer[0] - shorter[0]) / (2 * day) / 365,
        "vega": 0.01 * (riskier[0] - safer[0]) / (2 * point),
        "rho": 0.01 * (dear[0] - cheap[0]) / 2e-4,
        "vanna": 0.01 * (riskier[1] - safer[1]) / (2 * point),
        "volga": 0.01 * (riskier[4] - safer[4]) / (2 * point),
        "charm": -(longer[1] - shorter[1]) / (2 * day) / 365,
    }
    bumped = [up, down, longer, shorter, riskier, safer, dear, cheap]
    # A boundary between two bumps is a kink of the Greeks: differences mean nothing there.
    whole = np.all([(b[2] == 0.0) == (up[2] == 0.0) for b in bumped], axis=0)
    assert whole.sum() > 380
    allowed = {"delta": 2e-5, "gamma": 2e-5, "theta": 1e-4, "vega": 2e-5, "rho": 5e-4,
               "vanna": 2e-5, "volga": 5e-5, "charm": 5e-5}  # fmt: skip
    for accurate, slack in ((True, 1.0), (False, 10.0)):
        got = dict(zip(NAMES, at() if accurate else american_greeks(
            spot, strike, t, rate, carry, vol, call), strict=True))  # fmt: skip
        for name, value in wanted.items():
            error = np.abs(got[name] - value)[whole]
            print(f"accurate={accurate} {name}: p99 {np.quantile(error, 0.99):.1e}, "
                  f"largest {error.max():.1e}")  # fmt: skip
            assert np.quantile(error, 0.98) <= slack * allowed[name], name


def test_delta_and_gamma_are_quantlibs_by_differences() -> None:
    spot, strike, t, rate, carry, vol, call = contracts(150, seed=77)
    h = 0.05 * spot * vol * np.sqrt(t)
    prices = [
        quantlib_prices([spot + k * h, strike, t, rate, carry, vol, call], precise)
        for k in (-2, -1, 0, 1, 2)
    ]
    delta = (prices[0] - 8 * prices[1] + 8 * prices[3] - prices[4]) / (12 * h)
    gamma = (-prices[0] + 16 * prices[1] - 30 * prices[2] + 16 * prices[3] - prices[4]) / (
        12 * h * h
    )
    for accurate, allowed in ((False, 3e-4), (True, 1e-4)):
        got = american_greeks(spot, strike, t, rate, carry, vol, call, accurate)
        edge = [
            american_greeks(spot + k * h, strike, t, rate, carry, vol, call, accurate)[2] == 0.0
            for k in (-2, 2)
        ]
        whole = edge[0] == edge[1]
        assert whole.sum() > 120
        assert np.abs(got[1] - delta)[whole].max() <= allowed
        assert (np.abs(got[2] - gamma) * h)[whole].max() <= allowed


@pytest.mark.parametrize("accurate", [False, True])
def test_the_perpetual_put_is_mertons(accurate: bool) -> None:
    """Merton (1973): V = (K - B) (S / B)^beta, B = K beta / (beta - 1), beta < 0."""
    for rate, dividend, vol in ((0.06, 0.0, 0.2), (0.08, 0.03, 0.35), (0.05, 0.07, 0.25)):
        half = (rate - dividend) / vol**2 - 0.5
        beta = -half - math.sqrt(half * half + 2 * rate / vol**2)
        boundary = 100.0 * beta / (beta - 1.0)
        for spot in (1.05 * boundary, 100.0, 150.0):
            wanted = (100.0 - boundary) * (spot / boundary) ** beta
            got = american_price(spot, 100.0, 300.0, rate, rate - dividend, vol, False, accurate)
            assert float(got) == pytest.approx(wanted, abs=1e-4 * spot)


@pytest.mark.parametrize(
    ("rate", "carry", "call"),
    [(0.05, 0.05, True), (0.05, 0.08, True), (0.0, 0.0, False), (0.0, -0.03, False),
     (-0.01, -0.02, False), (0.0, 0.0, True), (-0.02, 0.0, False)],
)  # fmt: skip
def test_where_waiting_costs_nothing_the_price_is_european_to_the_bit(rate, carry, call) -> None:
    strike = np.linspace(50.0, 200.0, 61)
    european = option_greeks(100.0, strike, 0.75, rate, carry, 0.3, call)
    american = american_greeks(100.0, strike, 0.75, rate, carry, 0.3, call)
    assert np.array_equal(american, np.array(european))
    assert not early_exercise_premium(100.0, strike, 0.75, rate, carry, 0.3, call).any()


def test_paying_the_strike_early_pays_where_cash_costs() -> None:
    """A call on a stock without dividends at a rate below 0: b = r, and early exercise is right."""
    contract = (100.0, 90.0, 1.0, -0.05, -0.05, 0.2, True)
    tree = 0.5 * (binomial_price(*contract, 2000) + binomial_price(*contract, 2001))
    assert float(american_price(*contract, accurate=True)) == pytest.approx(tree, abs=2e-3)
    assert float(early_exercise_premium(*contract)) > 0.5


numbers = {
    "spot": st.floats(20.0, 500.0),
    "strike": st.floats(20.0, 500.0),
    "t": st.floats(0.003, 5.0),
    "rate": st.floats(0.0, 0.15),
    "dividend": st.floats(0.0, 0.15),
    "vol": st.floats(0.03, 1.5),
    "call": st.booleans(),
}
QUICK = settings(max_examples=300, deadline=None, derandomize=True)


@QUICK
@given(**numbers)
def test_a_call_is_a_put_with_all_exchanged(spot, strike, t, rate, dividend, vol, call) -> None:
    """McDonald and Schroder (1998)."""
    one = american_price(spot, strike, t, rate, rate - dividend, vol, call)
    other = american_price(strike, spot, t, dividend, dividend - rate, vol, not call)
    assert float(one) == pytest.approx(float(other), abs=1e-12 * (spot + strike))


@QUICK
@given(**numbers)
def test_bounds_that_need_no_model(spot, strike, t, rate, dividend, vol, call) -> None:
    contract = (spot, strike, t, rate, rate - dividend, vol, call)
    out = american_greeks(*contract)
    sign = 1.0 if call else -1.0
    european = float(option_greeks(*contract).price)
    assert np.isfinite(out).all()
    assert out[0] >= max(sign * (spot - strike), european)
    assert out[0] <= (spot if call else strike) * (1.0 + 1e-12)
    assert 0.0 <= sign * out[1] <= 1.0 + 1e-12
    assert out[2] >= 0.0
    assert float(early_exercise_premium(*contract)) >= 0.0


@QUICK
@given(**numbers, longer=st.floats(1.0, 3.0))
def test_more_time_is_worth_no_less(spot, strike, t, rate, dividend, vol, call, longer) -> None:
    times = np.array([t, t * longer])
    short, long = american_price(
        spot, strike, times, rate, rate - dividend, vol, call, accurate=True
    )
    assert long >= short - 1e-6 * spot


@QUICK
@given(**numbers, width=st.floats(0.002, 0.5))
def test_the_price_is_convex_in_the_strike(
    spot, strike, t, rate, dividend, vol, call, width
) -> None:
    strikes = strike * np.array([1.0 - width, 1.0, 1.0 + width])
    low, middle, high = american_price(
        spot, strikes, t, rate, rate - dividend, vol, call, accurate=True
    )
    assert low - 2.0 * middle + high >= -2e-6 * spot


@pytest.mark.parametrize(
    ("case", "delta"),
    [
        ((1000.0, 100.0, 1.0, -0.06, -0.04, 0.2, True), 1.0202),
        ((10.0, 100.0, 1.0, -0.02, 0.04, 0.2, False), -1.0618),
    ],
)
def test_a_held_option_on_a_share_that_grows_moves_more_than_the_share(case, delta) -> None:
    """Negative rates in the band that is exercised from both sides: delta by prices."""
    spot, *rest = case
    up, down = (float(american_price(spot * (1.0 + h), *rest)) for h in (1e-3, -1e-3))
    assert (up - down) / (2e-3 * spot) == pytest.approx(delta, abs=2e-4)
    assert float(american_greeks(*case)[1]) == pytest.approx(delta, abs=2e-4)


def test_prices_are_those_of_a_tree_that_one_can_read() -> None:
    rng = np.random.default_rng(5)
    for _ in range(60):
        case = (
            100.0, rng.uniform(70.0, 140.0), rng.uniform(0.02, 2.0), rng.uniform(0.0, 0.1),
            rng.uniform(-0.05, 0.1), rng.uniform(0.1, 0.6), bool(rng.integers(2)),
        )  # fmt: skip
        # The tree's error falls with 1 / steps: two sizes of it say where it goes.
        tree = 2.0 * american_tree_price(*case, steps=401) - american_tree_price(*case, steps=201)
        assert float(american_price(*case, accurate=True)) == pytest.approx(tree, abs=5e-3), case
