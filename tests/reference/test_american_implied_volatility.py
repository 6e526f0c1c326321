"""Volatilities of American quotes: round trips, QuantLib, and a reason for every quote without."""

from __future__ import annotations

import importlib
import math
import time

import numpy as np
import pytest
import QuantLib as ql  # noqa: N813
from scipy.optimize import brentq

from riskenv.pricing import ImpliedVolatilityStatus as Status
from riskenv.pricing import implied_volatility, option_greeks
from riskenv.pricing.american import american_greeks, american_price
from riskenv.pricing.american_implied_volatility import american_implied_volatility
from riskenv.pricing.implied_volatility import RESOLUTION

# The package's name of it is the function's.
module = importlib.import_module("riskenv.pricing.american_implied_volatility")

TODAY = ql.Date(15, 6, 2026)
CLOCK = ql.Actual365Fixed()
# What the documentation allows the engine to move an answer by, relative to it.
ALLOWED = 2.0 * RESOLUTION


def contracts(n: int, seed: int) -> list[np.ndarray]:
    """Spot 100, strikes 60 to 160, a day to three years, rates -1 to 10 %, yields 0 to 8 %."""
    rng = np.random.default_rng(seed)
    days = np.round(np.exp(rng.uniform(0.0, math.log(3 * 365), n)))
    rate, dividend = rng.uniform(-0.01, 0.10, n), rng.uniform(0.0, 0.08, n)
    dividend = np.where(rng.random(n) < 0.2, 0.0, dividend)
    spot, strike = np.full(n, 100.0), rng.uniform(60.0, 160.0, n)
    vol = rng.uniform(0.05, 1.2, n)
    return [spot, strike, days / 365.0, rate, rate - dividend, vol, rng.random(n) < 0.5]


def names(status: np.ndarray) -> dict[str, int]:
    return {Status(s).name: int((status == s).sum()) for s in np.unique(status)}


@pytest.fixture
def evaluations(monkeypatch) -> list[tuple[int, bool]]:
    """(options, accurate) of each call of the engine with volatilities above 0."""
    calls, engine = [], module._engine

    def counted(quotes, vol, accurate):
        if vol.any():
            calls.append((vol.size, accurate))
        return engine(quotes, vol, accurate)

    monkeypatch.setattr(module, "_engine", counted)
    return calls


@pytest.mark.parametrize("accurate", [False, True])
def test_two_thousand_round_trips(accurate: bool, evaluations) -> None:
    *contract, vol, call = contracts(2000, seed=1)
    price = american_price(*contract, vol, call, accurate=accurate)
    american_implied_volatility(price[:3], *(x[:3] for x in contract), call[:3])
    evaluations.clear()
    began = time.perf_counter()
    found, status = american_implied_volatility(price, *contract, call)
    micro = (time.perf_counter() - began) / price.size * 1e6
    ok = status == Status.OK
    np.testing.assert_array_equal(np.isfinite(found), ok)

    error = np.abs(found - vol)[ok] / vol[ok]
    quick, fine = (
        sum(n for n, scheme in evaluations if scheme is kind) / price.size for kind in (False, True)
    )
    print(
        f"\naccurate={accurate}: {names(status)}; error of the volatility, median "
        f"{np.median(error):.1e}, p99 {np.quantile(error, 0.99):.1e}, largest {error.max():.1e}; "
        f"{quick:.2f} quick and {fine:.2f} accurate evaluations a quote, {micro:.0f} us a quote"
    )
    assert error.max() <= ALLOWED
    assert np.quantile(error, 0.9) <= 1e-5
    assert quick < 4.0
    assert fine < 0.3
    # The engine that solved it has the quote's price.
    off = [american_price(*contract, found, call, accurate=kind) - price for kind in (False, True)]
    assert (np.minimum(*np.abs(off)) <= 1.01e-10 * price + 1e-12)[ok].all()

    # None goes without for no reason: at once exercised, or a tick is many points.
    least = american_price(*contract, 0.0, call)
    vega = 100.0 * american_greeks(*contract, vol, call, accurate=True)[4]
    at, low = status == Status.AT_INTRINSIC, status == Status.LOW_VEGA
    assert (ok | at | low).all()
    assert ok.mean() > 0.8
    assert (price[at] <= least[at] + 1e-11).all()
    assert (vega[low] * vol[low] < 0.03).all()
    assert not (ok & (price <= least)).any()


def quantlib_process(spot, rate, carry, vol: ql.SimpleQuote) -> ql.BlackScholesMertonProcess:
    def flat(x: float) -> ql.YieldTermStructureHandle:
        return ql.YieldTermStructureHandle(ql.FlatForward(TODAY, float(x), CLOCK))

    surface = ql.BlackConstantVol(TODAY, ql.NullCalendar(), ql.QuoteHandle(vol), CLOCK)
    return ql.BlackScholesMertonProcess(
        ql.QuoteHandle(ql.SimpleQuote(float(spot))), flat(rate - carry), flat(rate),
        ql.BlackVolTermStructureHandle(surface),
    )  # fmt: skip


def quantlib_option(strike, t, call) -> ql.VanillaOption:
    days = round(float(t) * 365)
    payoff = ql.PlainVanillaPayoff(ql.Option.Call if call else ql.Option.Put, float(strike))
    return ql.VanillaOption(payoff, ql.AmericanExercise(TODAY, TODAY + days))


def test_a_sample_is_quantlibs_inverted() -> None:
    """Prices of QuantLib's fixed-point engine, and its inverse by Brent's method."""
    ql.Settings.instance().evaluationDate = TODAY
    *contract, vol, call = contracts(120, seed=6)
    price = np.empty(vol.size)
    invert = []
    for i, (spot, strike, t, rate, carry) in enumerate(zip(*contract, strict=True)):
        quote = ql.SimpleQuote(float(vol[i]))
        option = quantlib_option(strike, t, call[i])
        option.setPricingEngine(
            ql.QdFpAmericanEngine(
                quantlib_process(spot, rate, carry, quote),
                ql.QdFpAmericanEngine.highPrecisionScheme(),
            )
        )
        price[i] = option.NPV()

        def gap(v: float, quote=quote, option=option, wanted=float(price[i])) -> float:
            quote.setValue(v)
            return option.NPV() - wanted

        invert.append(gap)
    found, status = american_implied_volatility(price, *contract, call)
    # QuantLib's tails of the normal distribution are none for prices far below this.
    ok = (status == Status.OK) & (price > 1e-9)
    assert ok.sum() > 80
    errors = []
    for i in np.flatnonzero(ok):
        theirs = brentq(invert[i], 0.3 * vol[i], 2.0 * vol[i], xtol=1e-12)
        errors.append(abs(found[i] - theirs) / theirs)
    print(f"\nQdFp by Brent: {names(status)}, median {np.median(errors):.1e}, {max(errors):.1e}")
    assert max(errors) <= ALLOWED
    assert np.median(errors) <= 1e-6


def test_a_sample_is_quantlibs_implied_volatility() -> None:
    """Its own function solves on finite differences of 100 x 100 points: good for 0.2 % or so."""
    ql.Settings.instance().evaluationDate = TODAY
    *contract, vol, call = contracts(300, seed=8)
    moderate = (np.abs(np.log(contract[1] / 100.0)) < 1.0 * vol * np.sqrt(contract[2])) & (
        contract[2] > 0.05
    )
    chosen = np.flatnonzero(moderate)[:40]
    price = american_price(*contract, vol, call, accurate=True)
    found, status = american_implied_volatility(price, *contract, call)
    errors = []
    for i in chosen:
        spot, strike, t, rate, carry = (float(x[i]) for x in contract)
        process = quantlib_process(spot, rate, carry, ql.SimpleQuote(0.3))
        option = quantlib_option(strike, t, call[i])
        theirs = option.impliedVolatility(float(price[i]), process, 1e-8, 200, 0.01, 4.0)
        assert status[i] == Status.OK
        errors.append(abs(found[i] - theirs) / theirs)
    print(f"\nQuantLib's impliedVolatility: median {np.median(errors):.1e}, {max(errors):.1e}")
    assert len(errors) == 40
    assert max(errors) <= 1e-2
    assert np.median(errors) <= 1e-3


@pytest.mark.parametrize(
    ("rate", "carry", "call"),
    [(0.05, 0.05, True), (0.05, 0.08, True), (0.0, 0.0, False), (0.0, -0.03, False),
     (-0.01, -0.02, False), (0.0, 0.0, True), (-0.02, 0.0, False)],
)  # fmt: skip
def test_where_exercise_has_no_value_the_answer_is_european_to_the_bit(rate, carry, call) -> None:
    rng = np.random.default_rng(4)
    strike = np.linspace(50.0, 200.0, 301)
    price = option_greeks(100.0, strike, 0.75, rate, carry, 0.3, call).price
    price[::7] *= rng.uniform(0.5, 1.5, price[::7].size)  # what no volatility explains, too
    european = implied_volatility(price, 100.0, strike, 0.75, rate, carry, call)
    american = american_implied_volatility(price, 100.0, strike, 0.75, rate, carry, call)
    assert american.vol.tobytes() == european.vol.tobytes()
    assert np.array_equal(american.status, european.status)
    assert len(np.unique(american.status)) > 1


nan, inf = math.nan, math.inf
PUT = {"spot": 30.0, "strike": 40.0, "t": 1.0, "rate": 0.06, "carry": 0.06, "is_call": False}
CALL = {"spot": 50.0, "strike": 40.0, "t": 1.0, "rate": 0.03, "carry": -0.02, "is_call": True}
AMERICAN_ONLY = {"spot": 100.0, "strike": 100.0, "t": 3.0, "rate": 0.02, "carry": -0.06,
                 "is_call": True}  # fmt: skip
BAD = [
    ("exercise value", PUT, {}, 10.0, "AT_INTRINSIC"),
    ("a hair above it", PUT, {}, 10.0 + 1e-14, "AT_INTRINSIC"),
    ("a billionth above it", PUT, {}, 10.0 + 1e-9, "LOW_VEGA"),
    ("below it, above the European least", PUT, {}, 9.0, "BELOW_INTRINSIC"),
    ("a cent below it", PUT, {}, 9.99, "BELOW_INTRINSIC"),
    ("below the European least", PUT, {}, 5.0, "BELOW_INTRINSIC"),
    ("call at exercise value", CALL, {}, 10.0, "AT_INTRINSIC"),
    ("call below it", CALL, {}, 9.999, "BELOW_INTRINSIC"),
    ("out of the money for nothing", PUT, {"spot": 60.0}, 0.0, "AT_INTRINSIC"),
    ("negative price", PUT, {"spot": 60.0}, -0.01, "BELOW_INTRINSIC"),
    ("negative price in the money", PUT, {}, -1.0, "BELOW_INTRINSIC"),
    ("above the strike", PUT, {}, 40.5, "ABOVE_MAXIMUM"),
    ("the strike", PUT, {}, 40.0, "AT_MAXIMUM"),
    ("above spot", CALL, {}, 50.5, "ABOVE_MAXIMUM"),
    ("spot", CALL, {}, 50.0, "AT_MAXIMUM"),
    ("all but spot", AMERICAN_ONLY, {}, 100.0 - 1e-4, "UNCONVERGED"),
    ("expired", PUT, {"t": 0.0}, 10.5, "EXPIRED"),
    ("long expired", PUT, {"t": -1.0}, 10.5, "EXPIRED"),
    ("no price", PUT, {}, nan, "INVALID_INPUT"),
    ("infinite price", PUT, {}, inf, "INVALID_INPUT"),
    ("no spot", PUT, {"spot": nan}, 10.5, "INVALID_INPUT"),
    ("spot 0", PUT, {"spot": 0.0}, 10.5, "INVALID_INPUT"),
    ("negative strike", PUT, {"strike": -40.0}, 10.5, "INVALID_INPUT"),
    ("no time", PUT, {"t": nan}, 10.5, "INVALID_INPUT"),
    ("no rate", PUT, {"rate": nan}, 10.5, "INVALID_INPUT"),
    ("infinite carry", PUT, {"carry": inf}, 10.5, "INVALID_INPUT"),
    ("unknown right", PUT, {"is_call": 2}, 10.5, "INVALID_INPUT"),
    ("a spot that the engine has no price for", PUT, {"spot": 1e-150}, 39.0, "INVALID_INPUT"),
]  # fmt: skip


@pytest.mark.parametrize("case", BAD, ids=lambda case: case[0])
def test_a_bad_quote_has_a_reason_and_no_number(case) -> None:
    _, contract, change, price, wanted = case
    vol, status = american_implied_volatility(price, **(contract | change))
    assert Status(int(status)).name == wanted
    assert np.isnan(vol)


def test_bad_quotes_leave_their_neighbours_alone_to_the_bit() -> None:
    *contract, vol, call = contracts(60, seed=9)
    price = american_price(*contract, vol, call)
    alone = [
        american_implied_volatility(price[i], *(x[i] for x in contract), call[i])
        for i in range(price.size)
    ]
    price[::5] = np.resize([nan, -1.0, 1e9, 0.0, inf], price[::5].size)
    found, status = american_implied_volatility(price, *contract, call)
    for i in range(price.size):
        if i % 5:
            assert found[i].tobytes() == alone[i].vol.tobytes()
            assert status[i] == alone[i].status
        else:
            assert np.isnan(found[i])
            assert status[i] != Status.OK


def test_shapes_broadcast_and_nothing_in_is_nothing_out() -> None:
    vol, status = american_implied_volatility([[5.0], [6.0]], 100.0, [95.0, 100.0, 105.0], 0.5,
                                              0.05, 0.02, False)  # fmt: skip
    assert vol.shape == status.shape == (2, 3)
    assert status.dtype == np.int8
    assert american_implied_volatility([], 100.0, [], 0.5, 0.05, 0.02, False).vol.shape == (0,)
    with pytest.raises(ValueError, match="is_call: got"):
        american_implied_volatility(5.0, 100.0, 100.0, 0.5, 0.05, 0.02, "put")


@pytest.mark.parametrize("vol", [1.5, 2.0, 4.0, 5.0])
def test_prices_that_no_european_option_can_have_are_solved(vol: float) -> None:
    contract = {key: value for key, value in AMERICAN_ONLY.items() if key != "is_call"}
    price = american_price(*contract.values(), vol, True)
    found, status = american_implied_volatility(price, **AMERICAN_ONLY)
    assert status == Status.OK
    assert float(found) == pytest.approx(vol, rel=1e-6)
    if vol > 1.9:
        assert implied_volatility(price, **AMERICAN_ONLY).status == Status.ABOVE_MAXIMUM


def test_from_the_boundary_up_a_quote_is_solved_or_says_low_vega() -> None:
    """Puts ever deeper in the money, until exercise at once is best; 20 % at every one."""
    spot = np.linspace(30.0, 40.0, 201)
    contract = (spot, 40.0, 1.0, 0.06, 0.06)
    price = american_price(*contract, 0.2, False, accurate=True)
    vol, status = american_implied_volatility(price, *contract, False)
    # As spot rises: exercised, then a few that mean nothing, then all solved.
    stage = np.select(
        [status == Status.AT_INTRINSIC, status == Status.LOW_VEGA, status == Status.OK], [0, 1, 2]
    )
    assert (np.diff(stage) >= 0).all()
    assert (stage == 0).sum() > 10
    assert (stage == 1).sum() < 10
    ok = status == Status.OK
    assert np.abs(vol[ok] / 0.2 - 1.0).max() <= ALLOWED


def test_in_the_band_of_exercise_the_tree_is_inverted() -> None:
    """Rates below 0 and yields below them."""
    contract = (100.0, np.array([85.0, 95.0, 100.0, 110.0]), 1.0, -0.01, 0.03)
    price = american_price(*contract, 0.25, False)
    vol, status = american_implied_volatility(price, *contract, False)
    ok = status == Status.OK
    assert set(names(status)) <= {"OK", "LOW_VEGA"}
    assert ok.sum() >= 2
    np.testing.assert_allclose(vol[ok], 0.25, rtol=1e-8)


def test_the_european_volatility_is_never_below() -> None:
    *contract, vol, call = contracts(500, seed=12)
    price = american_price(*contract, vol, call)
    american = american_implied_volatility(price, *contract, call)
    european = implied_volatility(price, *contract, call)
    both = (american.status == Status.OK) & (european.status == Status.OK)
    assert both.sum() > 300
    assert (american.vol <= european.vol * (1.0 + 1e-9))[both].all()
    assert (american.vol < european.vol - 1e-3)[both].sum() > 50
