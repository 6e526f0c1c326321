"""Greeks from a feed: units are converted, garbage is dropped and counted, agreement is earned."""

from __future__ import annotations

import datetime
import decimal
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from riskenv.config import ConfigError, load_config
from riskenv.feed import GREEKS, Dropped, FeedUnits, feed_greeks, feed_vol, implausible
from riskenv.feed_agreement import Band, FeedVerdict, GreeksTolerance, agrees, judge_feed
from riskenv.pricing import option_greeks

SPOT = 400.0
OURS = np.array([[0.55, 0.012, -0.11, 0.48, 0.17], [-0.40, 0.010, -0.09, 0.45, -0.14]])
SPOTS = np.full(2, SPOT)
TOLERANCE = GreeksTolerance()


def columns_of(greeks: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(GREEKS, greeks.T, strict=True))


def one(greek: str, value: object, **options: object) -> tuple[float, Dropped]:
    """What becomes of one value of one Greek; a good delta beside it keeps the row from zeros."""
    columns = {"delta": [0.5], greek: [value]}
    feed = feed_greeks(columns, FeedUnits(), [SPOT], 100.0, **options)
    j = GREEKS.index(greek)
    return float(feed.values[0, j]), Dropped(feed.reason[0, j])


# --- units ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("units", "in_the_feed"),
    [
        ({}, [1, 1, 1, 1, 1]),
        ({"theta_per": "year"}, [1, 1, 365, 1, 1]),
        ({"theta_per": "trading_day"}, [1, 1, 365 / 252, 1, 1]),
        ({"vega_per": "unit"}, [1, 1, 1, 100, 1]),
        ({"rho_per": "unit"}, [1, 1, 1, 1, 100]),
        ({"rho_per": "basis_point"}, [1, 1, 1, 1, 0.01]),
        ({"delta_in": "percent"}, [100, 100, 1, 1, 1]),
        ({"gamma_per": "percent"}, [1, SPOT / 100, 1, 1, 1]),
        ({"per": "contract"}, [50, 50, 50, 50, 50]),
        (
            {"theta_per": "year", "vega_per": "unit", "rho_per": "unit", "per": "contract"},
            [50, 50, 18250, 5000, 5000],
        ),
    ],
)
def test_every_unit_comes_back_as_the_layers_own(units, in_the_feed) -> None:
    feed = feed_greeks(columns_of(OURS * in_the_feed), FeedUnits(**units), SPOTS, 50.0, [1, 0])
    np.testing.assert_allclose(feed.values, OURS, rtol=1e-14)
    assert feed.dropped == {}


def test_the_units_are_the_derivatives_that_they_are_named_after() -> None:
    """Against differences of prices: a year, a day, a vol point, a percent."""

    def price(spot=100.0, t=0.5, rate=0.03, vol=0.2):
        return float(option_greeks(spot, 105.0, t, rate, rate, vol, True).price)

    h = 1e-5
    per_year = (price(t=0.5 - h) - price(t=0.5 + h)) / (2 * h)
    per_unit_vol = (price(vol=0.2 + h) - price(vol=0.2 - h)) / (2 * h)
    per_unit_rate = (price(rate=0.03 + h) - price(rate=0.03 - h)) / (2 * h)
    feed = feed_greeks(
        {"theta": [per_year], "vega": [per_unit_vol], "rho": [per_unit_rate]},
        FeedUnits(theta_per="year", vega_per="unit", rho_per="unit"), [100.0], 100.0,
    )  # fmt: skip
    ours = option_greeks(100.0, 105.0, 0.5, 0.03, 0.03, 0.2, True)
    np.testing.assert_allclose(feed.values[0, 2:], [ours.theta, ours.vega, ours.rho], rtol=1e-7)


def test_each_row_has_its_own_spot_and_multiplier() -> None:
    feed = feed_greeks(
        {"delta": [50.0, 5.0], "gamma": [50.0, 10.0]},
        FeedUnits(per="contract", gamma_per="percent"), [100.0, 400.0], [100.0, 10.0],
    )  # fmt: skip
    assert feed.values[:, 0].tolist() == [0.5, 0.5]
    assert feed.values[:, 1].tolist() == [0.5, 0.25]


def test_volatilities_in_percent_or_not() -> None:
    assert feed_vol([20.0], FeedUnits(vol_in="percent"))[0].tolist() == [0.2]
    assert feed_vol(["0.2"], FeedUnits())[0].tolist() == [0.2]
    for nothing in (0.0, -0.2, None, "n/a", math.inf, math.nan):
        vol, reason = feed_vol([nothing], FeedUnits())
        assert np.isnan(vol).all()
        assert reason[0] != Dropped.KEPT


# --- garbage --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, Dropped.NOT_GIVEN),
        (math.nan, Dropped.NOT_GIVEN),
        ("", Dropped.NOT_GIVEN),
        ("  ", Dropped.NOT_GIVEN),
        ("NaN", Dropped.NOT_GIVEN),
        (pd.NA, Dropped.NOT_GIVEN),
        (pd.NaT, Dropped.NOT_GIVEN),
        ("n/a", Dropped.NOT_A_NUMBER),
        ("1_0", Dropped.NOT_A_NUMBER),
        ("0,5", Dropped.NOT_A_NUMBER),
        (True, Dropped.NOT_A_NUMBER),
        (1j, Dropped.NOT_A_NUMBER),
        ({}, Dropped.NOT_A_NUMBER),
        (datetime.date(2024, 1, 2), Dropped.NOT_A_NUMBER),
        (decimal.Decimal("sNaN"), Dropped.NOT_GIVEN),
        (math.inf, Dropped.INFINITE),
        ("-inf", Dropped.INFINITE),
        ("1e999", Dropped.INFINITE),
        (10**400, Dropped.INFINITE),
        (1e300, Dropped.IMPLAUSIBLE),
    ],
)
def test_a_bad_value_is_dropped_with_its_reason(value, why) -> None:
    column = np.empty(2, dtype=object)
    column[:] = [value, None]
    feed = feed_greeks({"delta": [0.5, 0.5], "vega": column}, FeedUnits(), SPOTS, 100.0)
    assert np.isnan(feed.values[0, 3])
    assert Dropped(feed.reason[0, 3]) is why
    assert feed.values[0, 0] == 0.5


@pytest.mark.parametrize(
    "column",
    [
        ["0.5", b"0.25"],
        [decimal.Decimal("0.5"), np.float32(0.25)],
        np.array([0.5, 0.25], dtype=np.float16),
        np.array([0.5, 0.25], dtype=np.longdouble),
        pd.Series([0.5, 0.25], dtype="Float64"),
        pd.Series([0.5, 0.25], dtype=object),
        [" 0.5 ", "2.5e-1"],
    ],
    ids=lambda column: type(column).__name__,
)
def test_numbers_are_read_however_they_are_held(column) -> None:
    feed = feed_greeks({"delta": column}, FeedUnits(), SPOTS, 100.0)
    assert feed.values[:, 0].tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    "column",
    [
        np.ma.array([0.5, 7.0], mask=[False, True]),
        np.ma.array([0.5, 7.0], mask=[False, True], dtype=object),
        pd.Series([0.5, None], dtype="Float64"),
        pd.Series([0.5, None]),
    ],
    ids=["masked", "masked objects", "nullable", "float"],
)
def test_what_is_masked_is_not_given(column) -> None:
    feed = feed_greeks({"delta": column}, FeedUnits(), SPOTS, 100.0)
    assert feed.values[0, 0] == 0.5
    assert Dropped(feed.reason[1, 0]) is Dropped.NOT_GIVEN


@pytest.mark.parametrize(
    "column",
    [
        np.array(["2024-01-02", "NaT"], dtype="datetime64[ns]"),
        np.array([1, 2], dtype="timedelta64[ns]"),
        np.array([True, False]),
        np.array([(1.0,), (2.0,)], dtype=[("x", float)]),
        [[0.1], [0.2, 0.3]],
    ],
    ids=["times", "spans", "booleans", "records", "lists"],
)
def test_a_column_of_something_else_gives_nothing(column) -> None:
    feed = feed_greeks({"delta": column}, FeedUnits(), SPOTS, 100.0)
    assert np.isnan(feed.values).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": {"Delta": [0.5, 0.5]}}, "columns: got 'Delta'; allowed: delta, gamma"),
        ({"columns": {"delta": [0.5]}}, r"delta: got shape \(1,\); allowed: \(2,\)"),
        ({"columns": {"rho": 0.5}}, r"rho: got shape \(\); allowed: \(2,\)"),
        ({"columns": {"vega": [[0.5, 0.5]]}}, r"vega: got shape \(1, 2\)"),
        ({"spot": 100.0}, r"spot: got shape \(\); allowed: \(n,\)"),
        ({"multiplier": [1.0] * 3}, r"multiplier: got shape \(3,\); allowed: \(2,\)"),
        ({"is_call": [True]}, r"is_call: got bool \(1,\); allowed: \(2,\)"),
        ({"is_call": ["C", "P"]}, "is_call: got <U1"),
    ],
)
def test_a_wrong_shape_or_name_is_an_error_that_names_it(arguments, message) -> None:
    good = {"columns": {"delta": [0.5, 0.5]}, "units": FeedUnits(), "spot": SPOTS, "multiplier": 1}
    with pytest.raises(ValueError, match=message):
        feed_greeks(**{**good, **arguments})


@pytest.mark.parametrize("multiplier", [0.0, -100.0, math.nan, math.inf, None, "x"])
def test_without_a_multiplier_nothing_per_contract_is_used(multiplier) -> None:
    feed = feed_greeks({"delta": [50.0, 50.0]}, FeedUnits(per="contract"), SPOTS, multiplier)
    assert feed.dropped["delta"] == {"no_multiplier": 2}
    shares = feed_greeks({"delta": [0.5, 0.5]}, FeedUnits(), SPOTS, multiplier)
    assert shares.values[:, 0].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("spot", [0.0, -1.0, math.nan, math.inf])
def test_without_a_spot_only_delta_is_used(spot) -> None:
    feed = feed_greeks(columns_of(OURS), FeedUnits(), [spot, SPOT], 100.0)
    assert [Dropped(r).name for r in feed.reason[0]] == ["KEPT"] + ["NO_SPOT"] * 4
    np.testing.assert_array_equal(feed.values[1], OURS[1])


def test_zeros_throughout_are_nothing_and_a_single_zero_is_a_number() -> None:
    feed = feed_greeks(
        {"delta": [0.0, 1.0], "gamma": [0.0, 0.0], "vega": ["0", 0.0], "rho": [None, 0.0]},
        FeedUnits(), SPOTS, 100.0,
    )  # fmt: skip
    assert np.isnan(feed.values[0]).all()
    assert feed.dropped["gamma"] == {"all_zero": 1}
    assert feed.values[1, [0, 1, 3, 4]].tolist() == [1.0, 0.0, 0.0, 0.0]


def test_every_missing_number_is_counted_once() -> None:
    columns = {"delta": [0.5, None, "x", 7.0], "theta": [-0.1, math.inf, 0.0, -0.1]}
    feed = feed_greeks(columns, FeedUnits(), np.full(4, SPOT), 100.0)
    assert feed.dropped == {
        "delta": {"not_given": 1, "not_a_number": 1, "implausible": 1},
        "gamma": {"not_given": 4},
        "theta": {"infinite": 1, "all_zero": 1},
        "vega": {"not_given": 4},
        "rho": {"not_given": 4},
    }
    assert sum(sum(c.values()) for c in feed.dropped.values()) == np.isnan(feed.values).sum()
    np.testing.assert_array_equal(np.isnan(feed.values), feed.reason != Dropped.KEPT)


@given(
    st.lists(
        st.one_of(
            st.none(), st.floats(), st.text(max_size=6), st.booleans(), st.integers(),
            st.binary(max_size=3), st.complex_numbers(), st.lists(st.floats(), max_size=2),
            st.decimals(), st.dates(),
        ),
        min_size=1, max_size=5,
    ),
    st.sampled_from(GREEKS),
)  # fmt: skip
def test_no_value_is_an_exception_and_none_that_is_kept_is_infinite(values, greek) -> None:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    feed = feed_greeks({greek: column}, FeedUnits(), np.full(len(values), SPOT), 100.0)
    kept = feed.reason == Dropped.KEPT
    assert np.isfinite(feed.values[kept]).all()
    assert np.isnan(feed.values[~kept]).all()


# --- plausibility ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("greek", "value", "right", "bad"),
    [
        ("delta", 0.6, 1, False),
        ("delta", 1.02, 1, False),
        ("delta", 1.06, 1, True),
        ("delta", -0.02, 1, False),
        ("delta", -0.06, 1, True),
        ("delta", -0.6, 0, False),
        ("delta", 0.6, 0, True),
        ("delta", -1.06, 0, True),
        ("delta", -0.6, math.nan, False),
        ("delta", 1.06, math.nan, True),
        ("gamma", -1e-14, 1, False),
        ("gamma", -0.01, 1, True),
        ("gamma", 300.0, 1, True),
        ("vega", -1e-11, 0, False),
        ("vega", -0.1, 0, True),
        ("vega", 48.0, 1, True),
        ("theta", 0.5, 0, False),
        ("theta", 3.0, 0, True),
        ("theta", -401.0, 1, True),
        ("rho", -50.0, 1, False),
        ("rho", 201.0, 1, True),
    ],
)
def test_what_no_option_has_is_implausible(greek, value, right, bad) -> None:
    greeks = np.full((1, 5), np.nan)
    greeks[0, GREEKS.index(greek)] = value
    verdict = implausible(greeks, [SPOT], [right])
    assert verdict[0, GREEKS.index(greek)] == bad
    assert verdict.sum() == bad


def test_a_delta_that_moves_with_the_volatility_has_a_vega() -> None:
    inner = feed_greeks({"delta": [0.8, 0.95], "vega": [0.0, 0.0]}, FeedUnits(), SPOTS, 100.0)
    assert np.isnan(inner.values[0]).all()
    assert inner.values[1, [0, 3]].tolist() == [0.95, 0.0]


def test_a_calls_delta_on_a_puts_row_is_refused() -> None:
    assert one("delta", 0.45, is_call=[False])[1] is Dropped.IMPLAUSIBLE
    assert one("delta", 0.45, is_call=[True]) == (0.45, Dropped.KEPT)


@given(
    st.floats(0.1, 1e5),
    st.floats(-1.5, 1.5),
    st.floats(1e-5, 10.0),
    st.floats(0.0, 0.15),
    # A stock that costs 0.48 % a year to hold takes a ten-year call's delta to exp(0.048) = 1.049,
    # which is what the rule's room of 0.05 leaves.
    st.floats(-0.0048, 0.1),
    st.floats(0.03, 3.0),
    st.booleans(),
)
@example(1.0, -1.5, 10.0, 0.0, -0.0048, 0.3, True)
def test_no_option_of_the_model_is_implausible(spot, moneyness, t, rate, q, vol, is_call) -> None:
    """A rule that refused honest Greeks would leave traders with fewer instruments."""
    ours = option_greeks(spot, spot * math.exp(moneyness), t, rate, rate - q, vol, is_call)
    greeks = np.array([[getattr(ours, greek) for greek in GREEKS]])
    # Far from the money every Greek but delta may underflow: the rule on vega looks inside only.
    assert not implausible(greeks, [spot], [is_call]).any()


# --- agreement ------------------------------------------------------------------------------------


def test_agreement_is_the_documented_formula_in_five_numbers() -> None:
    rng = np.random.default_rng(3)
    computed = rng.normal(size=(300, 5))
    feed = computed + rng.normal(size=(300, 5)) * 0.02
    absolute, relative = TOLERANCE.absolute(), TOLERANCE.relative()
    assert absolute.shape == relative.shape == (5,)
    expected = [
        all(abs(f[j] - c[j]) <= absolute[j] + relative[j] * abs(c[j]) for j in range(5))
        for f, c in zip(feed, computed, strict=True)
    ]
    assert 0 < sum(expected) < 300
    assert agrees(feed, computed, TOLERANCE).tolist() == expected


@pytest.mark.parametrize("j", range(5))
def test_each_greek_is_held_to_its_own_band(j) -> None:
    band = Band(absolute=0.25, relative=0.5)
    loose = Band(absolute=1e9, relative=0.0)
    tolerance = GreeksTolerance(**{g: band if GREEKS[j] == g else loose for g in GREEKS})
    computed = np.full((2, 5), -2.0)
    feed = computed.copy()
    feed[:, j] = [-3.25, -3.2500001]  # 0.25 + 0.5 * 2 = 1.25: the band itself is inside
    assert agrees(feed, computed, tolerance).tolist() == [True, False]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("j", range(5))
def test_what_is_not_computed_never_agrees(bad, j) -> None:
    computed = OURS.copy()
    computed[0, j] = bad
    for feed in (OURS, computed, np.where(np.arange(5) == j, np.nan, OURS)):
        assert agrees(feed, computed, TOLERANCE, SPOTS).tolist() == [False, True]


def test_what_is_not_given_is_skipped_but_nothing_at_all_is_no_agreement() -> None:
    for j in range(5):
        feed = np.full((2, 5), np.nan)
        feed[:, j] = OURS[:, j] * [1.0, 3.0]
        assert agrees(feed, OURS, TOLERANCE, SPOTS).tolist() == [True, False]
    assert not agrees(np.full((2, 5), np.nan), OURS, TOLERANCE, SPOTS).any()
    assert not agrees(np.full((2, 5), math.inf), OURS, TOLERANCE, SPOTS).any()


@pytest.mark.parametrize("spot", [5.0, 40.0, 400.0, 5000.0])
def test_the_verdict_does_not_depend_on_the_price_level(spot) -> None:
    """A split changes neither how good a feed is nor what is held against it."""
    scale = np.array([1.0, 100.0 / spot, spot / 100.0, spot / 100.0, spot / 100.0])
    at_100 = np.array([[0.5, 0.05, -0.05, 0.12, 0.04]])
    for factor, expected in ((1.05, True), (1.45, False), (0.0, False)):
        feed = at_100 * [1.0, 1.0, factor, factor, 1.0]
        verdict = agrees(feed * scale, at_100 * scale, TOLERANCE, [spot])
        assert verdict.tolist() == [expected]


@pytest.mark.parametrize("spot", [math.nan, -0.01, 0.0, 1e-310, math.inf])
@pytest.mark.parametrize("j", range(1, 5))
def test_a_spot_that_is_none_sets_no_band(spot, j) -> None:
    """Far off, so that only a band without end would take it; or close, but without a band."""
    feed = np.full((2, 5), np.nan)
    feed[:, j] = OURS[:, j] * (1e9 if spot == 1e-310 else 1.01)
    assert not agrees(feed, OURS, TOLERANCE, [spot, spot]).any()


@given(
    arrays.arrays(np.float64, (3, 5), elements=st.floats()),
    arrays.arrays(np.float64, (3, 5), elements=st.floats()),
)
def test_agreement_needs_a_finite_pair(feed, computed) -> None:
    agreed = agrees(feed, computed, TOLERANCE)
    assert np.isfinite(computed[agreed]).all()
    assert not np.isinf(feed[agreed]).any()
    assert not np.isnan(feed[agreed]).all(axis=1).any()


@pytest.mark.parametrize(
    ("feed", "computed", "spot", "message"),
    [
        (OURS[0], OURS, None, r"feed: got shape \(5,\); allowed: \(2, 5\)"),
        (OURS, OURS[:, :4], None, r"computed: got shape \(2, 4\); allowed: \(n, 5\)"),
        (OURS, 1.0, None, r"computed: got shape \(\)"),
        (OURS, OURS, 100.0, r"spot: got shape \(\); allowed: \(2,\)"),
    ],
)
def test_agreement_refuses_other_shapes(feed, computed, spot, message) -> None:
    with pytest.raises(ValueError, match=message):
        agrees(feed, computed, TOLERANCE, spot)


@pytest.mark.parametrize(
    "wrong",
    [
        {"theta_per": "year"},
        {"theta_per": "trading_day"},
        {"vega_per": "unit"},
        {"rho_per": "unit"},
        {"rho_per": "basis_point"},
        {"delta_in": "percent"},
        {"gamma_per": "percent"},
        {"per": "contract"},
    ],
)
@pytest.mark.parametrize("spot", [20.0, 400.0, 5000.0])
def test_a_feed_read_in_other_units_is_never_used(wrong, spot) -> None:
    """Both ways: read as what it is not, and given in what it is not read as."""
    strikes = spot * np.array([0.95, 1.0, 1.05])
    ours = option_greeks(spot, strikes, 30 / 365, 0.04, 0.03, 0.25, [True, False, True])
    greeks = np.column_stack([getattr(ours, greek) for greek in GREEKS])
    spots, is_call = np.full(3, spot), [True, False, True]
    units = FeedUnits(**wrong)
    given_as = greeks / units.convert(np.ones((3, 5)), spots, 100.0)
    for columns, read in ((columns_of(greeks), units), (columns_of(given_as), FeedUnits())):
        feed = feed_greeks(columns, read, spots, 100.0, is_call)
        verdict = judge_feed(feed, greeks, TOLERANCE, spots)
        assert not (verdict == FeedVerdict.AGREES).any()
    right = feed_greeks(columns_of(given_as), units, spots, 100.0, is_call)
    assert (judge_feed(right, greeks, TOLERANCE, spots) == FeedVerdict.AGREES).all()


@pytest.mark.parametrize(
    ("feed", "computed", "verdict"),
    [
        (OURS[0], OURS[0], FeedVerdict.AGREES),
        ([None] * 5, OURS[0], FeedVerdict.NOT_GIVEN),
        ([0.0] * 5, OURS[0], FeedVerdict.NOT_GIVEN),
        ([0.0] * 5, [0.0] * 5, FeedVerdict.NOT_GIVEN),
        ([None] * 5, [math.nan] * 5, FeedVerdict.NOT_GIVEN),
        ([0.55, 0.012, "x", None, None], OURS[0], FeedVerdict.INVALID),
        ([0.55, -0.012, -0.11, 0.48, 0.17], OURS[0], FeedVerdict.INVALID),
        (OURS[0], [math.nan] * 5, FeedVerdict.NOT_COMPUTED),
        ([0.55, 0.012, -0.16, 0.48, 0.17], OURS[0], FeedVerdict.DISAGREES),
        ([0.55, None, None, None, None], OURS[0], FeedVerdict.AGREES),
    ],
)
def test_every_row_has_one_verdict(feed, computed, verdict) -> None:
    columns = {greek: [value] for greek, value in zip(GREEKS, feed, strict=True)}
    read = feed_greeks(columns, FeedUnits(), [SPOT], 100.0)
    assert judge_feed(read, [computed], TOLERANCE, [SPOT]).tolist() == [verdict]


def test_no_rows_are_no_rows() -> None:
    feed = feed_greeks({"delta": []}, FeedUnits(), [], 100.0)
    assert feed.values.shape == (0, 5)
    assert judge_feed(feed, np.empty((0, 5)), TOLERANCE, []).tolist() == []


# --- configuration --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "source", "message"),
    [
        (FeedUnits, {"theta_per": "hour"}, "theta_per: got 'hour'"),
        (FeedUnits, {"theta": "year"}, "theta: unknown key"),
        (GreeksTolerance, {"delta": {"absolute": -1, "relative": 0}}, "delta.absolute: got -1"),
        (GreeksTolerance, {"vega": {"absolute": 0.1}}, "vega.relative: is required"),
        (GreeksTolerance, {"vega": {"absolute": math.nan, "relative": 0}}, "absolute: got nan"),
        (GreeksTolerance, {"vanna": {"absolute": 1, "relative": 0}}, "vanna: unknown key"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_is_refused_by_name(model, source, message) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(model, source)
