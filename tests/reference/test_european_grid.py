"""European prices and Greeks: random contracts against QuantLib, vollib, mpmath and NumPy.

Errors are measured in each number's natural scale: a price in spots, a gamma in 1 / (S vol
sqrt(T)), and so on, because a Greek that crosses zero has no relative error.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import mpmath
import numpy as np
import pytest
import QuantLib as ql  # noqa: N813
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from vollib.black_scholes_merton import black_scholes_merton as vollib_price
from vollib.black_scholes_merton.greeks import analytical as vollib

from riskenv.compilation import jit
from riskenv.pricing import OptionGreeks, black_scholes_price, option_greeks
from riskenv.pricing.american import american_greeks
from riskenv.pricing.elementary import exp_within_700, log_ratio
from riskenv.pricing.numpy_reference import european_option_greeks

NAMES = OptionGreeks._fields


class Contracts(NamedTuple):
    """Columns in the argument order of `option_greeks`."""

    spot: NDArray[np.float64]
    strike: NDArray[np.float64]
    t: NDArray[np.float64]
    rate: NDArray[np.float64]
    carry: NDArray[np.float64]
    vol: NDArray[np.float64]
    is_call: NDArray[np.bool_]

    def first(self, n: int) -> Contracts:
        return Contracts(*(column[:n] for column in self))


def random_contracts(n: int, seed: int = 20) -> Contracts:
    """A day to five years in whole days (QuantLib's clock), wings of 5 standard deviations.

    Strikes stay within a tenth and ten times the spot: a price's rounding error is a part in 1e16
    of spot *and* strike, and the claim is in spots.
    """
    rng = np.random.default_rng(seed)
    days = np.exp(rng.uniform(0.0, np.log(5 * 365), n)).round()
    t = days / 365.0
    vol = np.exp(rng.uniform(np.log(0.03), np.log(1.5), n))
    spot = np.exp(rng.uniform(np.log(0.5), np.log(5000.0), n))
    rate = rng.uniform(-0.02, 0.12, n)
    carry = np.where(rng.random(n) < 0.25, 0.0, rate - rng.uniform(0.0, 0.10, n))
    moneyness = carry * t + vol * np.sqrt(t) * rng.uniform(-5.0, 5.0, n)
    strike = spot * np.exp(np.clip(moneyness, -np.log(10.0), np.log(10.0)))
    return Contracts(spot, strike, t, rate, carry, vol, rng.random(n) < 0.5)


def scales(c: Contracts) -> OptionGreeks:
    """The natural size of each number of each contract, in the units of `option_greeks`."""
    growth, root = np.exp((c.carry - c.rate) * c.t), np.sqrt(c.t)
    total_vol, spot = c.vol * root, c.spot * growth
    paid = c.strike * np.exp(-c.rate * c.t)
    decay = np.abs(c.rate) * paid + np.abs(c.rate - c.carry) * spot
    return OptionGreeks(
        price=c.spot,
        delta=growth,
        gamma=growth / (c.spot * total_vol),
        theta=(0.5 * spot * c.vol / root + decay) / 365.0,
        vega=0.01 * spot * root,
        rho=0.01 * c.t * paid,
        vanna=0.01 * growth / c.vol,
        volga=1e-4 * spot * root / c.vol,
        charm=growth * (np.abs(c.carry) / total_vol + 1.0 / c.t + np.abs(c.rate - c.carry)) / 365,
    )


def worst(got: NDArray[np.float64], wanted: NDArray[np.float64], scale) -> float:
    """Largest error in units of `scale`; NaN, which passes no bound, if either holds one."""
    return float(np.max(np.abs(got - wanted) / scale))


def quantlib_greeks(contracts: Contracts) -> dict[str, NDArray[np.float64]]:
    """AnalyticEuropeanEngine for what it has, BlackCalculator for vanna and volga.

    BlackCalculator.volga of QuantLib 1.44 is vega d1 d2 / (vol sqrt(T)): it is d(vega)/d(vol),
    vega d1 d2 / vol, at T = 1 alone, hence the sqrt(T). Ours is held to mpmath below.
    """
    today = ql.Date(15, 6, 2026)
    ql.Settings.instance().evaluationDate = today
    days_365 = ql.Actual365Fixed()
    spot, rate, dividend, vol = (ql.SimpleQuote(0.1) for _ in range(4))
    process = ql.BlackScholesMertonProcess(
        ql.QuoteHandle(spot),
        ql.YieldTermStructureHandle(ql.FlatForward(today, ql.QuoteHandle(dividend), days_365)),
        ql.YieldTermStructureHandle(ql.FlatForward(today, ql.QuoteHandle(rate), days_365)),
        ql.BlackVolTermStructureHandle(
            ql.BlackConstantVol(today, ql.NullCalendar(), ql.QuoteHandle(vol), days_365)
        ),
    )
    engine = ql.AnalyticEuropeanEngine(process)
    rows = []
    for s, k, t, r, b, v, call in zip(*map(np.ndarray.tolist, contracts), strict=True):
        spot.setValue(s)
        rate.setValue(r)
        dividend.setValue(r - b)
        vol.setValue(v)
        payoff = ql.PlainVanillaPayoff(ql.Option.Call if call else ql.Option.Put, k)
        option = ql.EuropeanOption(payoff, ql.EuropeanExercise(today + round(t * 365)))
        option.setPricingEngine(engine)
        black = ql.BlackCalculator(payoff, s * np.exp(b * t), v * np.sqrt(t), float(np.exp(-r * t)))
        rows.append(
            (
                option.NPV(),
                option.delta(),
                option.gamma(),
                option.theta() / 365.0,
                option.vega() / 100.0,
                option.rho() / 100.0,
                black.vanna(s, t) / 100.0,
                black.volga(t) * np.sqrt(t) / 1e4,
            )
        )
    return dict(zip(NAMES, np.array(rows).T, strict=False))


def test_ten_thousand_contracts_are_quantlibs() -> None:
    contracts = random_contracts(10_000)
    got, wanted, scale = option_greeks(*contracts), quantlib_greeks(contracts), scales(contracts)
    errors = {n: worst(getattr(got, n), wanted[n], getattr(scale, n)) for n in wanted}
    assert errors.pop("price") < 1e-12
    assert len(errors) == 7
    assert max(errors.values()) < 1e-8, errors


def test_prices_from_a_yield_are_those_from_a_carry() -> None:
    c = random_contracts(2000)
    price = black_scholes_price(*c[:4], c.rate - c.carry, c.vol, c.is_call)
    assert worst(price, option_greeks(*c).price, c.spot) < 1e-13


def test_a_subset_is_vollibs_in_its_units() -> None:
    """vollib's theta is per day, its vega per vol point, its rho per 1 %: ours as they are."""
    contracts = random_contracts(300, seed=3)
    got, scale = option_greeks(*contracts), scales(contracts)
    functions = {
        "price": vollib_price,
        "delta": vollib.delta,
        "gamma": vollib.gamma,
        "theta": vollib.theta,
        "vega": vollib.vega,
        "rho": vollib.rho,
    }
    for name, function in functions.items():
        wanted = np.array(
            [
                function("c" if call else "p", s, k, t, r, v, r - b)
                for s, k, t, r, b, v, call in zip(*contracts, strict=True)
            ]
        )
        assert worst(getattr(got, name), wanted, getattr(scale, name)) < 1e-10, name


def exact_price(s, k, t, r, q, v, sign):
    root = v * mpmath.sqrt(t)
    d1 = (mpmath.log(s / k) + (r - q) * t) / root + root / 2
    forward, paid = s * mpmath.exp(-q * t), k * mpmath.exp(-r * t)
    return sign * (forward * mpmath.ncdf(sign * d1) - paid * mpmath.ncdf(sign * (d1 - root)))


# name -> (order of differentiation in S, T, r, vol; factor to the documented unit)
DERIVATIVES = {
    "price": ((0, 0, 0, 0), 1),
    "delta": ((1, 0, 0, 0), 1),
    "gamma": ((2, 0, 0, 0), 1),
    "theta": ((0, 1, 0, 0), mpmath.mpf(-1) / 365),
    "vega": ((0, 0, 0, 1), mpmath.mpf(1) / 100),
    "rho": ((0, 0, 1, 0), mpmath.mpf(1) / 100),
    "vanna": ((1, 0, 0, 1), mpmath.mpf(1) / 100),
    "volga": ((0, 0, 0, 2), mpmath.mpf(1) / 10_000),
    "charm": ((1, 1, 0, 0), mpmath.mpf(-1) / 365),
}


@pytest.mark.parametrize("name", NAMES)
def test_each_greek_is_the_central_difference_of_the_price_at_60_digits(name) -> None:
    """rho's difference moves the rate at a fixed yield: the yield is the function's argument."""
    contracts = random_contracts(60, seed=7)
    order, factor = DERIVATIVES[name]
    wanted = []
    with mpmath.workdps(60):
        for s, k, t, r, b, v, call in zip(*map(np.ndarray.tolist, contracts), strict=True):
            s, k, t, r, v = (mpmath.mpf(x) for x in (s, k, t, r, v))
            q, sign = r - mpmath.mpf(b), 1 if call else -1

            def price(s, t, r, v, k=k, q=q, sign=sign):
                return exact_price(s, k, t, r, q, v, sign)

            value = mpmath.diff(price, (s, t, r, v), order) if any(order) else price(s, t, r, v)
            wanted.append(float(factor * value))
    got = getattr(option_greeks(*contracts), name)
    assert worst(got, np.array(wanted), getattr(scales(contracts), name)) < 1e-12


def test_the_numpy_version_is_the_same_function() -> None:
    contracts = random_contracts(3000, seed=5)
    got, wanted = option_greeks(*contracts), european_option_greeks(*contracts)
    for name, scale in zip(NAMES, scales(contracts), strict=True):
        assert worst(getattr(got, name), getattr(wanted, name), scale) < 1e-12, name


EDGES = [
    (s, k, t, r, b, v, call)
    for s, k in ((105.0, 100.0), (100.0, 100.0), (95.0, 100.0))
    for t in (-1.0, 0.0, 1.0)
    for r, b in ((0.05, 0.03), (0.0, 0.0), (-0.01, 0.02))
    for v in (0.0, 0.2)
    for call in (True, False)
    if t <= 0.0 or v == 0.0
]


@pytest.mark.parametrize("case", EDGES, ids=str)
def test_settled_or_certain_options_are_worth_the_discounted_intrinsic(case) -> None:
    got, wanted = option_greeks(*case), european_option_greeks(*case)
    np.testing.assert_allclose(np.array(got), np.array(wanted), rtol=2e-15, atol=1e-15)


@pytest.mark.parametrize(
    ("spot", "call", "delta"),
    [(105, 1, 1.0), (100, 1, 0.0), (95, 1, 0.0), (105, 0, 0.0), (100, 0, 0.0), (95, 0, -1.0)],
)
@pytest.mark.parametrize("t", [0.0, -3.0, 1e-19])
def test_at_and_after_settlement_only_price_and_delta_are_left(spot, call, delta, t) -> None:
    got = option_greeks(spot, 100.0, t, 0.05, 0.03, 0.2, call)
    assert [float(x) for x in got] == [abs(delta) * 5.0, delta, *[0.0] * 7]


def test_a_vanishing_vol_or_time_tends_to_the_edge() -> None:
    for vol, t in ((1e-12, 1.0), (1e-99, 1.0), (1e-101, 1.0), (5e-324, 1.0)):
        got = np.array(option_greeks(105.0, 100.0, t, 0.05, 0.03, vol, True))
        edge = np.array(option_greeks(105.0, 100.0, t, 0.05, 0.03, 0.0, True))
        np.testing.assert_allclose(got, edge, rtol=1e-14, atol=1e-300)
    got = option_greeks([95.0, 105.0], 100.0, 1e-15, 0.05, 0.03, 0.2, True)
    np.testing.assert_allclose(got.price, [0.0, 5.0], atol=1e-12)
    np.testing.assert_array_equal(got.gamma, [0.0, 0.0])


def test_a_huge_vol_makes_a_call_worth_the_spot_and_a_put_the_strike() -> None:
    for vol in (50.0, 1e4, 1e100, 1e308):
        call, put = (option_greeks(100.0, 90.0, 2.0, 0.05, 0.03, vol, c) for c in (1, 0))
        assert float(call.price) == pytest.approx(100 * np.exp(-0.04), rel=1e-15)
        assert float(put.price) == pytest.approx(90 * np.exp(-0.1), rel=1e-15)
        assert 0.0 <= float(call.vega) < 1e-250


WILD = (0.0, -1.0, 5e-324, 1e-300, 1e-15, 0.2, 100.0, 1e15, 1e300, np.inf, -np.inf, np.nan)


def test_garbage_gives_nine_nans_and_a_contract_never_a_partial_row() -> None:
    rng = np.random.default_rng(0)
    columns = [rng.choice(WILD, 100_000) for _ in range(6)]
    got = np.array(option_greeks(*columns, rng.integers(0, 2, 100_000)))
    spot, strike, _, _, _, vol = columns
    valid = (spot > 0) & (strike > 0) & (vol >= 0) & np.isfinite(columns).all(axis=0)
    assert np.isnan(got[:, ~valid]).all()
    assert (np.isnan(got).all(axis=0) | np.isfinite(got).all(axis=0)).all()
    assert valid.sum() > 1000
    ordinary = valid & (np.abs(columns[2:5]) <= 100.0).all(axis=0)
    ordinary &= (np.maximum(spot, strike) < 1e300) & (np.minimum(spot, strike) > 1e-300)
    ordinary &= np.prod(np.abs(np.where(ordinary, columns[2:4], 0.0)), axis=0) < 300.0
    ordinary &= np.prod(np.abs(np.where(ordinary, columns[2:5:2], 0.0)), axis=0) < 300.0
    assert ordinary.sum() > 300
    assert np.isfinite(got[:, ordinary]).all()


positive = st.floats(1e-3, 1e4)
rates = st.floats(-0.1, 0.3)


@settings(deadline=None, max_examples=300)
@given(
    spot=positive,
    moneyness=st.floats(-20.0, 20.0),
    t=st.floats(1e-9, 30.0),
    rate=rates,
    carry=rates,
    vol=st.floats(0.0, 5.0),
)
@example(spot=100.0, moneyness=0.0, t=1.0, rate=0.0, carry=0.0, vol=0.0)
def test_put_call_parity(spot, moneyness, t, rate, carry, vol) -> None:
    """C - P = S e^{(b-r)T} - K e^{-rT}, and its derivatives, whatever the vol."""
    strike = float(spot * np.exp(moneyness))
    growth, discount = np.exp((carry - rate) * t), np.exp(-rate * t)
    call, put = (option_greeks(spot, strike, t, rate, carry, vol, c) for c in (True, False))
    size = spot * growth + strike * discount
    at_the_kink = abs(np.log(spot / strike) + carry * t) < 1e-15 and vol * np.sqrt(t) < 1e-100
    assert abs(call.price - put.price - (spot * growth - strike * discount)) <= 1e-14 * size
    assert at_the_kink or abs(call.delta - put.delta - growth) <= 1e-14 * growth
    for name in ("gamma", "vega", "vanna", "volga"):
        assert getattr(call, name) == getattr(put, name), name


def test_a_call_is_a_put_with_spot_and_strike_changing_places() -> None:
    """Put-call symmetry: C(S, K, r, b) = P(K, S, r - b, -b). Haug (2007), section 1.2.3."""
    c = random_contracts(2000, seed=9)
    call = option_greeks(*c[:6], True).price
    put = option_greeks(c.strike, c.spot, c.t, c.rate - c.carry, -c.carry, c.vol, False).price
    assert worst(call, put, c.spot + c.strike) < 1e-14


def test_a_future_has_no_carry_and_its_price_feels_the_rate_by_discounting_alone() -> None:
    price = lambda r: option_greeks(100.0, 95.0, 0.5, r, 0.0, 0.3, True).price  # noqa: E731
    difference = (price(0.04 + 1e-5) - price(0.04 - 1e-5)) / 2e-5
    assert 0.01 * difference == pytest.approx(-0.5 * price(0.04) / 100.0, rel=1e-8)


def test_one_by_one_and_in_columns_are_the_same_bits() -> None:
    """Vector lanes, the loop's remainder, scalars: an option's price does not depend on company."""
    contracts = random_contracts(203)
    together = np.array(option_greeks(*contracts))
    alone = [option_greeks(*(column[i] for column in contracts)) for i in range(203)]
    assert np.array(alone).T.tobytes() == together.tobytes()
    for n in (1, 7, 8, 9, 64):
        assert np.array(option_greeks(*contracts.first(n))).tobytes() == together[:, :n].tobytes()


@jit
def log_ratios(a, b, out):
    for i in range(a.size):
        out[i] = log_ratio(a[i], b[i])


@jit
def exps_within_700(x, out):
    for i in range(x.size):
        out[i] = exp_within_700(x[i])


def test_the_logarithm_of_a_ratio_is_accurate_and_more_so_near_one() -> None:
    """To an ulp of 1 anywhere; next to a ratio of 1 relatively, where ln(a / b) would cancel."""
    rng = np.random.default_rng(2)
    b = np.exp(rng.uniform(-200.0, 200.0, 4000))
    a = np.concatenate([b[:2000] * np.exp(rng.uniform(-3.0, 3.0, 2000)), b[2000:] * (1 + 1e-9)])
    a[:9] = b[:9] * 2.0 ** np.array([-300, -2, -1, -0.5, 0, 0.5, 1, 2, 300])
    got = np.empty(4000)
    log_ratios(a, b, got)
    with mpmath.workdps(40):
        exact = [mpmath.log(mpmath.mpf(x) / mpmath.mpf(y)) for x, y in zip(a, b, strict=True)]
        errors = np.array([float(abs(x - y)) for x, y in zip(got, exact, strict=True)])
    size = np.abs(got)
    assert (errors[:2000] <= 2.0**-52 * np.maximum(size[:2000], 1.0)).all()
    assert (errors[2000:] <= 2.0**-51 * size[2000:]).all()


def test_the_exponential_of_the_discounts_is_within_an_ulp() -> None:
    x = np.random.default_rng(3).uniform(-700.0, 700.0, 10_000)
    got, wanted = np.empty(x.size), np.array([mpmath.exp(mpmath.mpf(v)) for v in x], dtype=float)
    exps_within_700(x, got)
    assert (np.abs(got - wanted) <= 2.0**-52 * wanted).all()


def test_inputs_broadcast_and_scalars_give_scalars() -> None:
    grid = option_greeks(np.array([[90.0], [110.0]]), [95, 100, 105], 0.5, 0.03, 0.03, 0.2, True)
    assert {x.shape for x in grid} == {(2, 3)}
    one = option_greeks(110.0, 105.0, 0.5, 0.03, 0.03, 0.2, True)
    assert {np.shape(x) for x in one} == {()}
    assert [float(x) for x in one] == [float(x[1, 2]) for x in grid]
    mixed = option_greeks(100.0, 100.0, 0.5, 0.03, 0.03, 0.2, [True, False])
    assert mixed.delta[0] > 0.0 > mixed.delta[1]
    assert option_greeks([], 1.0, 1.0, 0.0, 0.0, 0.2, True).price.shape == (0,)


@pytest.mark.parametrize(
    "broken",
    [
        {"rate": 1000.0}, {"carry": -1000.0}, {"spot": 1e-101}, {"strike": 1e101}, {"vol": -0.2},
        {"t": np.inf}, {"t": -np.inf}, {"t": np.nan}, {"rate": np.nan, "t": 0.0}, {"spot": 0.0},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("is_call", [True, False])
def test_what_the_formulas_do_not_reach_is_nan_in_prices_and_greeks(broken, is_call) -> None:
    good = {"spot": 100.0, "strike": 100.0, "t": 1.0, "rate": 0.05, "carry": 0.03, "vol": 0.2}
    case = good | broken
    assert np.isnan(np.array(option_greeks(**case, is_call=is_call))).all()
    rate, carry = case.pop("rate"), case.pop("carry")
    price = black_scholes_price(
        **{"years" if k == "t" else k: v for k, v in case.items()},
        rate=rate, dividend_yield=rate - carry, is_call=is_call,
    )  # fmt: skip
    assert np.isnan(price)
    assert np.isfinite(np.array(option_greeks(**good, is_call=is_call))).all()


@pytest.mark.parametrize("flag", [-1, 2, 0.5, np.nan])
def test_a_flag_that_is_neither_call_nor_put_has_no_price(flag) -> None:
    assert np.isnan(np.array(option_greeks(100.0, 100.0, 0.5, 0.03, 0.03, 0.2, flag))).all()


@pytest.mark.parametrize("flag", ["P", ["C", "P"], None])
def test_letters_are_refused_as_flags(flag) -> None:
    with pytest.raises(ValueError, match=r"is_call: got .*; allowed: booleans"):
        option_greeks(100.0, 100.0, 0.5, 0.03, 0.03, 0.2, flag)


@pytest.mark.parametrize("exercise", ["bermudan", "European", "", None])
def test_an_unknown_exercise_is_named(exercise) -> None:
    with pytest.raises(
        ValueError, match=rf"exercise: got {exercise!r}; allowed: 'european', 'american'"
    ):
        option_greeks(100.0, 100.0, 0.5, 0.03, 0.03, 0.2, True, exercise)


def test_american_exercise_goes_to_the_american_solver_with_the_same_shapes() -> None:
    spot = np.array([[90.0], [100.0]])
    arguments = (spot, [95.0, 105.0], 0.5, 0.08, 0.08, 0.2, False)
    american, european = option_greeks(*arguments, "american"), option_greeks(*arguments)
    np.testing.assert_array_equal(np.array(american), american_greeks(*arguments))
    assert {x.shape for x in american} == {(2, 2)}
    assert (american.price > european.price).all()


def test_shapes_that_do_not_broadcast_are_an_error() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        option_greeks([1.0, 2.0], [1.0, 2.0, 3.0], 0.5, 0.03, 0.03, 0.2, True)


def test_every_greek_keeps_its_sign_over_strikes_and_times() -> None:
    """Long options: price, gamma, vega >= 0; calls: delta, rho >= 0; puts: delta, rho <= 0."""
    for t, call in itertools.product((1e-6, 0.1, 3.0), (True, False)):
        got = option_greeks(100.0, np.linspace(1.0, 400.0, 500), t, 0.03, 0.01, 0.25, call)
        side = 1.0 if call else -1.0
        assert (got.price >= 0.0).all()
        assert (got.gamma >= 0.0).all()
        assert (got.vega >= 0.0).all()
        assert (side * got.delta >= 0.0).all()
        assert (side * got.rho >= 0.0).all()
