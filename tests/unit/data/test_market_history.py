"""The market history is one read-only value, with a surface for each of its days."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from riskenv.data import (
    MarketConfig,
    MarketHistory,
    build_market,
    load_market,
    load_price_history,
    session_dates,
    surface_vol,
)
from riskenv.data.market_config import SHIPPED_MARKET

from riskenv.config import ConfigError, load_config


@pytest.fixture(scope="module")
def market() -> MarketHistory:
    return load_market()


def test_shapes_agree(market: MarketHistory) -> None:
    assert market.underlyings == ("IXIC", "SPX")
    for array in (market.spot, market.vol_30d, market.long_run_vol):
        assert array.shape == (len(market.sessions.closes), 2)
    assert market.dividend_yield.tolist() == [0.008, 0.018]


def test_the_calendar_reaches_two_years_beyond_the_last_close(market: MarketHistory) -> None:
    days = len(market.sessions.closes)
    assert market.future_sessions.closes[:days].tobytes() == market.sessions.closes.tobytes()
    assert str(session_dates(market.future_sessions)[-1]) == "2021-12-31"
    assert np.isin(market.expiries, market.future_sessions.closes).all()


def test_the_fast_surface_is_the_public_one(market: MarketHistory) -> None:
    day, years = market.day_of("2008-10-15"), np.linspace(0.01, 1.0, 30)
    for column in range(2):
        strike = market.spot[day, column] * np.linspace(0.6, 1.4, 30)
        carry = (market.rate - market.dividend_yield[column]) * years
        wanted = surface_vol(
            market.vol_30d[day, column],
            market.long_run_vol[day, column],
            np.log(strike / market.spot[day, column]) - carry,
            years,
            market.config,
        )
        found = market.implied_vol(day, column, strike, years)
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize("strike", [0.0, -5.0, np.nan, np.inf])
def test_a_strike_that_is_none_has_no_volatility(market: MarketHistory, strike: float) -> None:
    known, unknown = market.implied_vol(5000, 1, [2500.0, strike], [0.1, 0.1])
    assert known > 0.0
    assert np.isnan(unknown)


@pytest.mark.parametrize(
    ("day", "column", "strike", "years", "error"),
    [
        (-1, 0, [100.0], [0.1], IndexError),
        (0, -1, [100.0], [0.1], IndexError),
        (10_000, 0, [100.0], [0.1], IndexError),
        (0, 2, [100.0], [0.1], IndexError),
        (0, 0, [100.0, 101.0], [0.1], ValueError),
        (0, 0, [[100.0]], [[0.1]], ValueError),
    ],
)
def test_questions_outside_the_history_are_refused(
    market: MarketHistory,
    day: int,
    column: int,
    strike: list[float],
    years: list[float],
    error: type[Exception],
) -> None:
    with pytest.raises(error):
        market.implied_vol(day, column, strike, years)


def test_factor_moves_have_gaps_only_where_no_move_is_known(market: MarketHistory) -> None:
    history = market.factor_history()
    assert history.underlyings == market.underlyings
    assert np.isnan(history.log_return).any(axis=1).nonzero()[0].tolist() == [0]
    # The day VIX first becomes known, volatility changes its source, which is no market move.
    switch = market.day_of("2014-01-03")
    assert np.isnan(history.log_vol_change).any(axis=1).nonzero()[0].tolist() == [0, switch]
    crash = market.day_of("2008-10-15")
    move = np.log(market.spot[crash, 1] / market.spot[crash - 1, 1])
    assert history.log_return[crash, 1] == pytest.approx(move)
    assert move == pytest.approx(np.log(907.84 / 998.01), abs=1e-5)


@pytest.mark.parametrize("date", ["2008-09-15", datetime.date(2008, 9, 15)])
def test_a_date_is_found(market: MarketHistory, date: str | datetime.date) -> None:
    assert str(session_dates(market.sessions)[market.day_of(date)]) == "2008-09-15"


@pytest.mark.parametrize("date", ["2008-09-14", "1998-12-31", "2019-01-02"])
def test_a_date_without_a_session_is_refused(market: MarketHistory, date: str) -> None:
    with pytest.raises(LookupError, match="1999-01-04 to 2018-12-31"):
        market.day_of(date)


@pytest.mark.parametrize("name", ["spot", "vol_30d", "long_run_vol", "dividend_yield"])
def test_the_shared_history_cannot_be_changed(market: MarketHistory, name: str) -> None:
    with pytest.raises(ValueError, match="read-only"):
        getattr(market, name)[0] = 0.0


def test_one_configuration_is_built_once(market: MarketHistory) -> None:
    assert load_market(MarketConfig()) is market
    assert load_market({}) is market
    assert load_market(SHIPPED_MARKET) is market


def test_the_shipped_file_states_every_default() -> None:
    shipped = load_config(MarketConfig, SHIPPED_MARKET)
    assert shipped == MarketConfig()
    assert shipped.model_fields_set == set(MarketConfig.model_fields)


def test_a_mapping_changes_only_its_keys(market: MarketHistory) -> None:
    dearer = load_market({"variance_premium": 0.3})
    day = market.day_of("2005-06-15")
    ratio = dearer.vol_30d[day] / market.vol_30d[day]
    np.testing.assert_allclose(ratio, np.sqrt(1.3 / (1 + market.config.variance_premium)))
    assert dearer.rate == market.rate


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("variance_premium", -1.0),
        ("mean_reversion", 0.0),
        ("future_years", 1),
        ("first_tradable_year", 1999),
        ("volatility_model", "egarch"),
        ("rate", float("nan")),
        ("rate", "2%"),
        ("dividend_yield", {"SPX": 2.0}),
        ("vix_to_atmm", 0.9),
    ],
)
def test_a_bad_configuration_names_its_key(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        load_market({key: value})


def test_a_smile_that_could_reach_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="lowest point of the smile"):
        load_market({"skew_slope": -0.3, "skew_curvature": 0.0, "skew_wing": 6.0})


def test_an_underlying_without_a_yield_is_refused() -> None:
    config = MarketConfig(dividend_yield={"SPX": 0.02})
    with pytest.raises(ValueError, match="missing: IXIC"):
        build_market(load_price_history(), config)
