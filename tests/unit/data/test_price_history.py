"""Prices sit on exchange sessions, are positive and finite, and agree with other sources."""

from __future__ import annotations

import csv
import datetime
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from riskenv.data import PriceHistory, load_price_history, session_dates
from riskenv.data.price_history import refuse_other_dates


@pytest.fixture(scope="module")
def prices() -> PriceHistory:
    return load_price_history()


def test_twenty_years_of_two_indices_on_every_session(prices: PriceHistory) -> None:
    dates = session_dates(prices.sessions)
    assert prices.underlyings == ("IXIC", "SPX")
    assert prices.close.shape == (5031, 2)
    assert (str(dates[0]), str(dates[-1])) == ("1999-01-04", "2018-12-31")
    assert prices.close[0].round(2).tolist() == [2208.05, 1228.10]
    assert prices.close[-1].round(2).tolist() == [6635.28, 2506.85]


def test_vix_is_known_only_where_it_was_published(prices: PriceHistory) -> None:
    known = session_dates(prices.sessions)[~np.isnan(prices.vix)]
    # A value carried onto 2014-01-02 or onto a holiday would change the count.
    assert (str(known[0]), str(known[-1]), len(known)) == ("2014-01-03", "2018-12-31", 1257)


def test_closes_agree_with_an_independent_file(prices: PriceHistory, shared_data: Path) -> None:
    with (shared_data / "prices" / "sp500_close_1990_2019.csv").open() as file:
        other = {row["Date"]: float(row["SP500"]) for row in csv.DictReader(file)}
    dates = session_dates(prices.sessions).astype(str)
    compared = np.array([other[date] for date in dates])
    np.testing.assert_allclose(prices.close[:, 1], compared, rtol=1e-6)


def test_vix_agrees_with_an_independent_file(prices: PriceHistory, shared_data: Path) -> None:
    with (shared_data / "prices" / "vix_close_1993_2019.csv").open() as file:
        other = {
            datetime.datetime.strptime(row["Date"], "%m/%d/%Y").date(): float(row["Close"])
            for row in csv.DictReader(file)
        }
    known = ~np.isnan(prices.vix)
    dates = session_dates(prices.sessions)[known].astype(datetime.date)
    np.testing.assert_allclose(prices.vix[known], [other[date] for date in dates], atol=0.005)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_a_price_that_is_none_is_refused_with_its_date(prices: PriceHistory, bad: float) -> None:
    close = prices.close.copy()
    close[10, 1] = bad
    with pytest.raises(ValueError, match=r"close: .* on 1999-01-19"):
        replace(prices, close=close)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.inf])
def test_a_vix_that_is_none_is_refused(prices: PriceHistory, bad: float) -> None:
    vix = prices.vix.copy()
    vix[10] = bad
    with pytest.raises(ValueError, match=r"vix: .* on 1999-01-19"):
        replace(prices, vix=vix)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (["2018-12-24", "2018-12-27"], "1 sessions without a price .first 2018-12-26"),
        (["2018-12-24", "2018-12-25", "2018-12-26", "2018-12-27"], "1 prices without a session"),
        (["2018-12-24", "2018-12-24", "2018-12-26", "2018-12-27"], "none may come twice"),
    ],
)
def test_dates_other_than_the_sessions_are_refused(found: list[str], message: str) -> None:
    sessions = pd.DatetimeIndex(["2018-12-24", "2018-12-26", "2018-12-27"])
    with pytest.raises(ValueError, match=f"SPX: .*{message}"):
        refuse_other_dates("SPX", pd.DatetimeIndex(found), sessions)
    refuse_other_dates("SPX", sessions, sessions)


def test_a_shorter_history_is_a_prefix(prices: PriceHistory) -> None:
    short = prices.first(100)
    assert len(short.sessions.closes) == 100
    assert short.close.tobytes() == prices.close[:100].tobytes()
