"""Whatever the volatility in its range, the Greeks lie inside their bounds, and reach them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskenv.pricing import OptionGreeks, option_greeks
from riskenv.pricing.american import american_greeks, american_price
from riskenv.pricing.greek_bounds import greek_bounds

from .worlds import FAST

NAN, INF = np.nan, np.inf
NAMES = OptionGreeks._fields[1:]
DELTA, GAMMA, THETA, VEGA, RHO, VANNA, VOLGA, CHARM = range(8)
# Spot, strike, years, rate, yield, call, least and largest volatility.
GOOD = (100.0, 105.0, 0.5, 0.05, 0.02, True, 0.1, 0.5)

seeds = st.integers(0, 2**32 - 1)
LIVES = {"a few years": (-2.0, 0.7), "minutes and below": (-8.0, -4.0), "decades": (0.7, 1.6)}


def contracts(seed: int, life: str, n: int = 40) -> tuple[np.ndarray, ...]:
    """Arguments of `greek_bounds`, (n,) each: at the forward to 38 deviations away from it."""
    g = np.random.default_rng(seed)
    spot, years = np.exp(g.uniform(-3.0, 8.0, n)), 10.0 ** g.uniform(*LIVES[life], n)
    rate, dividend = g.uniform(-0.15, 0.15, (2, n)) * (g.random((2, n)) < 0.8)
    low = 10.0 ** g.uniform(-2.5, 0.0, n)
    high = low * 10.0 ** (g.uniform(0.0, 1.5, n) * (g.random(n) < 0.9))
    deviations = g.choice([0.0, 1.0, 4.0, 12.0], n) * g.normal(size=n)
    away = np.clip(deviations * low * np.sqrt(years), -40.0, 40.0)
    strike = spot * np.exp((rate - dividend) * years - away)
    return spot, strike, years, rate, dividend, g.random(n) < 0.5, low, high


def greeks_at(contract, vol: np.ndarray) -> np.ndarray:
    """The Greeks without the price at each volatility, (8, k, n) for (k, n)."""
    spot, strike, years, rate, dividend, is_call, *_ = contract
    return np.array(option_greeks(spot, strike, years, rate, rate - dividend, vol, is_call)[1:])


def share_of_range(contract, share: np.ndarray) -> np.ndarray:
    """Volatilities at these shares (k, 1) or (k, n) of the logarithmic range, (k, n)."""
    low, high = contract[-2:]
    return np.clip(low * (high / low) ** share, low, high)


@pytest.mark.parametrize("life", LIVES)
@FAST
@given(seed=seeds)
def test_no_volatility_of_the_range_has_a_greek_outside(life: str, seed: int) -> None:
    contract = contracts(seed, life)
    low, high = greek_bounds(*contract)
    vol = share_of_range(contract, np.random.default_rng(seed + 1).random((250, low.shape[1])))
    true = greeks_at(contract, vol)
    assert np.isfinite(true).all()
    outside = (true < low[:, None]) | (true > high[:, None])
    assert not outside.any(), [NAMES[i] for i in np.flatnonzero(outside.any(axis=(1, 2)))]


@pytest.mark.parametrize("life", LIVES)
@FAST
@given(seed=seeds)
def test_every_bound_is_reached(life: str, seed: int) -> None:
    """By one of 1,001 volatilities; a bound much smaller than the other, to that scale."""
    contract = contracts(seed, life)
    low, high = greek_bounds(*contract)
    true = greeks_at(contract, share_of_range(contract, np.linspace(0.0, 1.0, 1_001)[:, None]))
    larger = np.maximum(np.abs(low), np.abs(high))
    slack = np.maximum(true.min(axis=1) - low, high - true.max(axis=1))
    assert (slack <= 1e-3 * larger + 1e-190).all()


@FAST
@given(seed=seeds)
def test_one_volatility_leaves_only_rounding(seed: int) -> None:
    *contract, vol, _ = contracts(seed, "a few years")
    low, high = greek_bounds(*contract, vol, vol)
    true = greeks_at((*contract, vol, vol), vol[None])[:, 0]
    products = [DELTA, GAMMA, VEGA, RHO]
    assert (low <= true).all()
    assert (true <= high).all()
    assert ((high - low)[products] <= 5e-12 * np.abs(true[products]) + 1e-190).all()


# An inner extreme: Greek, spot over strike, rate and yield, and the condition on d1 and d2 there.
INNER = [
    (DELTA, 120.0, 0.0, 0.0, lambda d1, d2: d2),
    (RHO, 80.0, 0.0, 0.0, lambda d1, d2: d1),
    (GAMMA, 80.0, 0.03, 0.01, lambda d1, d2: d1 * d2 - 1.0),
    (VEGA, 120.0, 0.03, 0.01, lambda d1, d2: d1 * d2),
    (THETA, 120.0, 0.0, 0.0, lambda d1, d2: d1 * d2 + 1.0),
    (VANNA, 120.0, 0.03, 0.01, lambda d1, d2: d1 * d2**2 - d1 - d2),
    (VANNA, 80.0, 0.03, 0.01, lambda d1, d2: d1 * d2**2 - d1 - d2),
    (VOLGA, 80.0, 0.03, 0.01, lambda d1, d2: (p := d1 * d2) ** 2 - p - d1**2 - d2**2),
    (CHARM, 80.0, 0.0, 0.0, lambda d1, d2: d1 * d2**2 - d1),
]


@pytest.mark.parametrize(("greek", "spot", "rate", "dividend", "condition"), INNER)
def test_an_extreme_inside_the_range_is_where_its_condition_says(
    greek: int, spot: float, rate: float, dividend: float, condition
) -> None:
    """Between the volatilities where the condition changes sign the bound is attained."""
    years, vol = 1.0, np.geomspace(0.005, 20.0, 200_001)
    forward = np.log(spot / 100.0) + (rate - dividend) * years
    d1 = forward / vol + 0.5 * vol
    turns = np.flatnonzero(np.diff(np.sign(condition(d1, d1 - vol))))
    assert turns.size
    for at in turns:
        around = (spot, 100.0, years, rate, dividend, True, 0.999 * vol[at], 1.001 * vol[at])
        low, high = (bound[greek] for bound in greek_bounds(*around))
        inside = greeks_at(around, vol[at : at + 1])[greek, 0]
        ends = greeks_at(around, np.array(around[-2:]))[greek]
        # A turning point: the least or the largest is at neither end.
        assert min(high - ends.max(), ends.min() - low) <= 1e-11 * abs(inside)
        assert max(high - ends.max(), ends.min() - low) >= 1e-7 * abs(inside)
        assert min(abs(high - inside), abs(low - inside)) <= 1e-8 * abs(inside)


def american_contracts(seed: int, n: int, band: bool) -> tuple[np.ndarray, ...]:
    """Contracts worth exercising early; `band`: those with two exercise boundaries."""
    g = np.random.default_rng(seed)
    is_call, spot, strike = g.random(n) < 0.5, np.full(n, 100.0), g.uniform(70.0, 140.0, n)
    # Rate and yield of the put: those of a call are exchanged.
    rate, dividend = g.uniform(0.0, 0.1, n), g.uniform(-0.05, 0.1, n)
    if band:
        rate = -g.uniform(0.005, 0.02, n)
        dividend = rate - g.uniform(0.005, 0.03, n)
    rates = np.where(is_call, (dividend, rate), (rate, dividend))
    low = g.uniform(0.08, 0.4, n)
    return spot, strike, g.uniform(0.02, 2.0, n), *rates, is_call, low, low * g.uniform(1.0, 3.0, n)


@pytest.mark.parametrize(("band", "n"), [(False, 120), (True, 4)])
def test_american_greeks_lie_inside_too(band: bool, n: int) -> None:
    contract = american_contracts(7, n, band)
    low, high = greek_bounds(*contract, american=True)
    assert np.isfinite(high[:VANNA]).all()
    assert np.isfinite(low[:VANNA]).all()
    assert (low[VANNA:] == -INF).all()
    assert (high[VANNA:] == INF).all()
    spot, strike, years, rate, dividend, is_call, *_ = contract
    vol = share_of_range(contract, np.linspace(0.0, 1.0, 5)[:, None])
    true = american_greeks(spot, strike, years, rate, rate - dividend, vol, is_call)[1:]
    # What the American prices are off by; and between two boundaries a tree reads theta off an
    # equation that does not hold where one exercises: there it keeps a day's interest.
    tolerance = np.full(8, 1e-4)
    tolerance[THETA] = 0.1 * 100.0 / 365.0 if band else 1e-3
    outside = np.maximum(low[:, None] - true, true - high[:, None]).max(axis=(1, 2))
    assert (outside <= tolerance).all(), dict(zip(NAMES, outside, strict=True))


NEGATIVE_YIELD = (200.0, 100.0, 1.0, 0.02, -0.05, True, 0.1, 0.2)


def test_the_delta_of_an_american_call_on_a_negative_yield_passes_1() -> None:
    """Nobody exercises it early, and its delta is that of the European: up to e^{0.05}."""
    delta = american_greeks(200.0, 100.0, 1.0, 0.02, 0.07, 0.15, True)[1]
    low, high = greek_bounds(*NEGATIVE_YIELD, american=True)
    assert 1.0 < low[DELTA] <= delta <= high[DELTA] <= np.exp(0.05) * (1 + 1e-11)


@pytest.mark.parametrize(
    ("spot", "rate", "dividend", "is_call"),
    [(1000.0, -0.06, -0.02, True), (10.0, -0.02, -0.06, False)],
)
def test_deep_in_the_money_waiting_on_a_negative_rate_takes_delta_past_1(
    spot: float, rate: float, dividend: float, is_call: bool
) -> None:
    """Options that may be worth exercising; here their prices move by more than the spot."""
    ends = american_price(
        spot * np.array([0.99, 1.01]), 100.0, 1.0, rate, rate - dividend, 0.15, is_call
    )
    delta = (ends[1] - ends[0]) / (0.02 * spot)
    low, high = greek_bounds(spot, 100.0, 1.0, rate, dividend, is_call, 0.1, 0.2, american=True)
    assert abs(delta) > 1.01
    assert low[DELTA] - 1e-6 <= delta <= high[DELTA] + 1e-6


@pytest.mark.parametrize(
    ("is_call", "rate", "dividend", "european"),
    [
        (True, 0.05, 0.0, True),
        (True, 0.0, 0.0, True),
        (True, 0.02, -0.03, True),
        (True, 0.05, 0.01, False),
        (True, -0.03, -0.01, False),
        (False, 0.0, 0.02, True),
        (False, -0.02, -0.01, True),
        (False, 0.05, 0.0, False),
        (False, 0.0, -0.01, False),
    ],
)
def test_what_is_never_exercised_early_has_european_bounds(
    is_call: bool, rate: float, dividend: float, european: bool
) -> None:
    contract = (100.0, 105.0, 0.5, rate, dividend, is_call, 0.1, 0.5)
    may_wait = np.array_equal(greek_bounds(*contract, american=True), greek_bounds(*contract))
    assert may_wait == european
    exact = np.array_equal(
        option_greeks(100.0, 105.0, 0.5, rate, rate - dividend, 0.3, is_call),
        american_greeks(100.0, 105.0, 0.5, rate, rate - dividend, 0.3, is_call),
    )
    assert exact == european


@pytest.mark.parametrize("american", [False, True])
@pytest.mark.parametrize("years", [0.0, -0.0, -1.0, 1e-19])
def test_an_expired_option_was_exercised_or_not(years: float, american: bool) -> None:
    low, high = greek_bounds(100.0, 105.0, years, 0.05, 0.02, [True, False], 0.1, 0.5, american)
    assert np.array_equal(low[DELTA], [0.0, -1.0])
    assert np.array_equal(high[DELTA], [1.0, 0.0])
    assert not low[GAMMA:].any()
    assert not high[GAMMA:].any()


@pytest.mark.parametrize("american", [False, True])
@pytest.mark.parametrize(
    ("argument", "values"),
    [
        (0, [NAN, INF, -INF, 0.0, -100.0, 1e101]),
        (1, [NAN, INF, -INF, 0.0, -100.0, 1e-101]),
        (2, [NAN, INF, -INF]),
        (3, [NAN, INF, -INF, 1e300]),
        (4, [NAN, INF, -INF, 1e300]),
        (5, [NAN, 2.0, -1.0]),
    ],
)
@pytest.mark.parametrize("years", [0.5, 0.0])
def test_of_what_is_no_contract_nothing_is_known(argument, values, years, american) -> None:
    for value in values:
        contract = list(GOOD)
        contract[2] = years
        contract[argument] = value
        if years == 0.0 and value == 1e300:
            continue  # a rate of which no time is left does not matter
        low, high = greek_bounds(*contract, american=american)
        assert (low == -INF).all(), value
        assert (high == INF).all(), value


def test_a_forward_out_of_all_proportion_has_no_bounds() -> None:
    strikes = 100.0 * np.exp([-51.0, -49.0, 49.0, 51.0])
    low, high = greek_bounds(100.0, strikes, 1.0, 0.0, 0.0, True, 0.1, 0.5)
    assert np.array_equal(np.isfinite(low), np.tile([False, True, True, False], (8, 1)))
    assert np.array_equal(np.isfinite(high), np.isfinite(low))


@FAST
@given(
    numbers=st.lists(st.floats(), min_size=5, max_size=5),
    is_call=st.booleans(),
    american=st.booleans(),
)
def test_bounds_are_never_nan_nor_crossed(numbers, is_call, american) -> None:
    low, high = greek_bounds(*numbers, is_call, 1e-3, 20.0, american)
    assert (low <= high).all()


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (0.0, 0.5, "vol_low: got 0.0; allowed: 1e-20 to 1e+20"),
        (-0.1, 0.5, "vol_low: got -0.1; "),
        (NAN, 0.5, "vol_low: got nan; "),
        (INF, INF, "vol_low: got inf; "),
        (0.2, 0.1, "vol_high: got 0.1; allowed: vol_low (0.2) to 1e+20"),
        (0.2, NAN, "vol_high: got nan; "),
        (0.2, INF, "vol_high: got inf; "),
        ([0.1, 0.3], [0.2, 0.2], "vol_high: got 0.2; allowed: vol_low (0.3) to 1e+20"),
    ],
)
def test_a_range_that_is_none_is_refused(low, high, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        greek_bounds(*GOOD[:-2], low, high)
    assert str(error.value).startswith(message)


def test_who_may_exercise_early_is_said_in_booleans() -> None:
    with pytest.raises(ValueError, match="american: got 'yes'; allowed: booleans"):
        greek_bounds(*GOOD, american="yes")


def test_each_option_keeps_its_own_bounds_in_the_shape_of_the_inputs() -> None:
    contract = contracts(3, "a few years", n=6)
    american = np.arange(6) % 2 == 0
    low, high = greek_bounds(*(c.reshape(2, 3) for c in contract), american.reshape(2, 3))
    assert low.shape == high.shape == (8, 2, 3)
    for i in range(6):
        alone = greek_bounds(*(c[i] for c in contract), american[i])
        assert alone[0].shape == (8,)
        assert np.array_equal(alone[0], low.reshape(8, 6)[:, i])
        assert np.array_equal(alone[1], high.reshape(8, 6)[:, i])
