"""The VaR study: no look-ahead, the layer's own scenarios, P&L that is a full revaluation."""

from __future__ import annotations

import csv
import datetime
import io
from dataclasses import replace

import numpy as np
import pytest
from riskenv.data import load_price_history
from riskenv.data.calendars import session_dates
from riskenv.data.price_history import PriceHistory
from riskenv.train.var_books import holdings, values
from riskenv.train.var_config import SHIPPED_STUDY, VarStudyConfig
from riskenv.train.var_market import (
    VixFileError,
    read_vix,
    study_market,
    until,
    with_vix,
)
from riskenv.train.var_results import COLUMNS, CONTROL, csv_text, judge
from riskenv.train.var_study import METHODS, forecast_moves, revalue, run_study
from scipy.special import ndtr

from riskenv import BreakerState, Caps, Market, Portfolio, PortfolioRiskManager, RiskLimits
from riskenv.config import ConfigError, load_config
from riskenv.instruments import NS_PER_YEAR, InstrumentTable
from riskenv.measures import INDEX

LAST = datetime.date(2001, 6, 29)


@pytest.fixture(scope="module")
def config() -> VarStudyConfig:
    return load_config(VarStudyConfig, SHIPPED_STUDY)


@pytest.fixture(scope="module")
def prices() -> PriceHistory:
    """Real closes of 1999 to 2002, and a made-up VIX: these tests need none that is real."""
    real = until(load_price_history(), datetime.date(2002, 12, 31))
    level = 20.0 * np.exp(np.cumsum(np.random.default_rng(1).normal(0.0, 0.02, len(real.vix))))
    return PriceHistory(real.underlyings, real.sessions, real.close, level)


@pytest.fixture(scope="module")
def days(prices, config):
    return run_study(prices, config, LAST)


def shuffled_after(prices: PriceHistory, last: datetime.date, seed: int) -> PriceHistory:
    """The same days up to `last`, and the later ones' closes and VIX in another order."""
    known = int((session_dates(prices.sessions) <= np.datetime64(last)).sum())
    order = np.arange(len(prices.vix))
    order[known:] = np.random.default_rng(seed).permutation(order[known:])
    return PriceHistory(prices.underlyings, prices.sessions, prices.close[order], prices.vix[order])


def test_what_comes_later_changes_no_forecast(prices, config, days):
    """Closes and VIX after a day are shuffled: all forecasts up to the next day stay, to the bit;
    the P&L up to that day as well."""
    cut = datetime.date(2001, 3, 30)
    other = run_study(shuffled_after(prices, cut, seed=2), config, LAST)
    known = int((days.dates <= np.datetime64(cut)).sum())
    np.testing.assert_array_equal(other.var[: known + 1], days.var[: known + 1])
    np.testing.assert_array_equal(other.es[: known + 1], days.es[: known + 1])
    np.testing.assert_array_equal(other.pnl[:known], days.pnl[:known])
    assert not np.array_equal(other.var[known + 1 :], days.var[known + 1 :])
    assert not np.array_equal(other.pnl[known:], days.pnl[known:])


def test_a_run_sees_nothing_after_its_last_day(prices, config, days):
    """Closes after it may be anything, even absurd."""
    known = int((session_dates(prices.sessions) <= np.datetime64(LAST)).sum())
    close = prices.close.copy()
    close[known:] *= 1e6
    other = run_study(replace(prices, close=close), config, LAST)
    assert other.dates[-1] == np.datetime64(LAST)
    np.testing.assert_array_equal(other.pnl, days.pnl)
    np.testing.assert_array_equal(other.var, days.var)


def test_hs_is_the_var_of_the_layer_itself(prices, config, days):
    market = study_market(until(prices, LAST), config)
    history = market.factor_history()
    manager = PortfolioRiskManager(
        RiskLimits(caps=Caps()), market.future_sessions, history=history, var=config.var.layer
    )
    k = 40
    day = market.first_tradable + k
    for u, ticker in enumerate(market.underlyings):
        for j, book in enumerate(config.books):
            held = holdings(market, u, book, config.strike_step[ticker])[day]
            table = InstrumentTable.of(held.contracts)
            worth = values(market, day, list(table.instruments))
            now = int(market.sessions.closes[day])
            vol = market.implied_vol(day, u, table.strike, (table.expiry - now) / NS_PER_YEAR)
            quotes = Market(
                now, table, market.spot[day, [u]], market.rate, market.dividend_yield[[u]],
                worth, worth, vol,
            )  # fmt: skip
            book_now = Portfolio.of(table, held.contracts, cash=1e5)
            _, a = manager.assess(BreakerState(), book_now, quotes)
            scale = 1e4 / market.spot[day, u]
            column = u * len(config.books) + j
            assert days.var[k, column, 0] == pytest.approx(
                a.before[INDEX["var_1d"]] * scale, abs=2e-6
            )
            assert days.es[k, column, 0] == pytest.approx(
                a.before[INDEX["es_1d"]] * scale, abs=2e-6
            )


def worth_of(market, day, u, instrument) -> float:
    """Black-Scholes-Merton from the textbook, on the day's surface; the payoff at expiry."""
    years = (instrument.expiry - int(market.sessions.closes[day])) / NS_PER_YEAR
    spot, strike, carry = market.spot[day, u], instrument.strike, market.dividend_yield[u]
    sign = 1.0 if instrument.right == "C" else -1.0
    if years <= 0.0:
        return max(0.0, sign * (spot - strike))
    vol = market.implied_vol(day, u, [strike], [years])[0]
    total = vol * years**0.5
    d1 = (np.log(spot / strike) + (market.rate - carry) * years) / total + total / 2
    return sign * (
        spot * np.exp(-carry * years) * ndtr(sign * d1)
        - strike * np.exp(-market.rate * years) * ndtr(sign * (d1 - total))
    )


def test_pnl_is_the_same_contracts_at_the_next_close(prices, config, days):
    market = study_market(until(prices, LAST), config)
    expired = 0
    for column in range(len(days.books)):
        u, book = divmod(column, len(config.books))
        step = config.strike_step[market.underlyings[u]]
        held = holdings(market, u, config.books[book], step)
        for k in range(len(days.dates)):
            day = market.first_tradable + k
            gain = sum(
                lots * (worth_of(market, day + 1, u, i) - worth_of(market, day, u, i))
                for i, lots in held[day].contracts.items()
            )
            assert days.pnl[k, column] == pytest.approx(gain * 1e4 / market.spot[day, u], abs=2e-6)
            expired += held[day].expiry == market.sessions.closes[day + 1]
    assert expired >= 5 * len(days.books)


def test_books_are_refilled_as_they_expire_and_only_then(prices, config):
    market = study_market(until(prices, LAST), config)
    for book in config.books:
        held = holdings(market, 1, book, config.strike_step["SPX"])
        assert all(h is None for h in held[: market.first_tradable])
        for day in range(market.first_tradable + 1, len(held)):
            expired = held[day - 1].expiry <= market.sessions.closes[day]
            assert (held[day] is not held[day - 1]) == expired
            assert held[day].expiry > market.sessions.closes[day]


def test_a_scenario_of_no_move_is_decay_alone_and_gaps_hit_every_index(prices, config):
    market = study_market(until(prices, LAST), config)
    day = market.first_tradable + 3
    held = holdings(market, 1, config.books[0], 5.0)[day]
    table = InstrumentTable.of(held.contracts)
    still = np.zeros((len(market.underlyings), 1))
    assert (revalue(market, day, table, still, still) < 0.0).all()
    moves = forecast_moves(market, market.factor_history(), day, config)
    assert moves["gaps"].log_return.shape == (2, len(config.gaps))
    assert (moves["gaps"].log_return[:, 0] == config.gaps[0].log_return).all()
    # The filter's own warm-up is no scenario; the volatility ratio's is none for either.
    assert 250 <= moves["fhs"].log_return.shape[1] <= moves["hs"].log_return.shape[1] <= 500


def test_a_day_without_vix_is_unknown_and_never_carried_forward(prices, config, days):
    vix = prices.vix.copy()
    dates = session_dates(prices.sessions)
    hole = int(np.flatnonzero(dates == np.datetime64("2001-03-08"))[0])
    vix[hole] = np.nan
    other = run_study(replace(prices, vix=vix), config, LAST)
    k = int(np.flatnonzero(days.dates == np.datetime64("2001-03-08"))[0])
    assert np.isnan(other.pnl[k : k + 2]).all()
    assert np.isfinite(other.pnl[np.r_[0:k, k + 2 : len(other.pnl)]]).all()
    assert np.isnan(other.var[k + 1]).all()
    assert np.isfinite(other.var[k]).all()
    results = judge(other, config, datetime.date(2001, 1, 2), LAST)
    assert {r.tests.unknown for r in results if r.method != CONTROL} == {2}


def test_results_count_exceptions_and_the_table_holds_them(config, days):
    first = datetime.date(2001, 1, 3)
    results = judge(days, config, first, LAST)
    assert len(results) == 6 * (len(METHODS) + 1)
    for r in results:
        b = next(
            b for b in range(6) if (days.underlyings[b], days.books[b]) == (r.underlying, r.book)
        )
        if r.method != CONTROL:
            m = METHODS.index(r.method)
            assert r.tests.exceptions == int((days.pnl[:, b] < days.var[:, b, m]).sum())
            assert r.worst_250 == r.tests.exceptions, "fewer than 250 days"
    text = csv_text(results, config, first, LAST)
    assert config.digest in text.splitlines()[0]
    rows = list(csv.DictReader(io.StringIO("\n".join(text.splitlines()[1:]))))
    assert tuple(rows[0]) == COLUMNS
    assert [int(row["exceptions"]) for row in rows] == [r.tests.exceptions for r in results]
    with pytest.raises(ValueError, match="allowed: days from 2001-01-03 to 2001-06-29"):
        judge(days, config, datetime.date(1999, 1, 1), datetime.date(1999, 2, 1))


def test_a_var_that_never_changes_is_rejected_when_the_times_change(config, days):
    """Two calm years and then a turmoil: the control was fixed on the calm."""
    rng = np.random.default_rng(5)
    dates = np.arange(np.datetime64("2005-01-03"), np.datetime64("2009-01-01"))
    calm = dates <= np.datetime64(config.fixed_until)
    sigma = np.where(calm, 1.0, 2.0)
    pnl = sigma[:, None] * rng.normal(size=(len(dates), 6))
    quantile, es = -2.3263 * sigma, -2.6652 * sigma
    shape = (len(dates), 6, len(METHODS))
    made = replace(
        days,
        dates=dates,
        pnl=pnl,
        factor_pnl=pnl,
        var=np.broadcast_to(quantile[:, None, None], shape).copy(),
        es=np.broadcast_to(es[:, None, None], shape).copy(),
    )
    results = judge(made, config, config.judged_from, datetime.date(2008, 12, 31))
    controls = [r for r in results if r.method == CONTROL]
    assert all(r.verdict == "fail" and "too many" in r.diagnosis for r in controls)
    assert sum(r.verdict == "pass" for r in results if r.method != CONTROL) >= 3 * 5


def test_without_a_day_before_the_span_the_control_is_unknown_and_not_rejected(config, days):
    early = replace(days, pnl=np.where(np.isnan(days.pnl), 0.0, np.nan))
    results = judge(early, config, datetime.date(2001, 1, 3), LAST)
    assert {(r.verdict, r.diagnosis) for r in results} == {("unknown", "")}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("day,close\n", "line 1: got the columns day, close"),
        ("date,close\n2001-01-02,abc\n", "line 2: close: got 'abc'"),
        ("date,close\n2001-01-02,-3\n", "line 2: close: got '-3'; allowed: vol points above 0"),
        ("date,close\n2001-13-02,20\n", "line 2: date: got '2001-13-02'"),
        ("date,close\n2001-01-02,20\n2001-01-02,21\n", "line 3: got 2001-01-02 a second time"),
        ("date,open,close\n2001-01-02,20\n", "line 2: got 2 cells"),
    ],
)
def test_a_vix_file_that_does_not_read_says_where(tmp_path, text, words):
    path = tmp_path / "vix.csv"
    path.write_text(text)
    with pytest.raises(VixFileError, match=r"vix\.csv") as refusal:
        read_vix(path)
    assert words in str(refusal.value)


def test_a_file_takes_the_place_of_the_bundled_vix(prices):
    one = with_vix(prices, {datetime.date(2001, 1, 2): 29.99})
    assert np.isfinite(one.vix).sum() == 1
    assert np.nanmax(one.vix) == 29.99


@pytest.mark.parametrize(
    "change",
    [
        {"fixed_until": "2007-06-30"},
        {"level": 0.95},
        {"books": []},
        {"gaps": [{"log_return": -0.1, "log_vol_change": 0.1, "probability": 0.2}]},
    ],
)
def test_a_study_that_makes_no_sense_is_refused(config, change):
    with pytest.raises(ConfigError):
        load_config(VarStudyConfig, {**config.model_dump(mode="json"), **change})
