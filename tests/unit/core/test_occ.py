"""OCC symbols and the time at which their contracts settle."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from riskenv.data import exchange_sessions

from riskenv.occ import OccSymbol, instrument_from_occ, settlement_time
from riskenv.sessions import CalendarRangeError

SYMBOLS = st.builds(
    OccSymbol,
    root=st.from_regex(r"[A-Z]{1,5}[0-9]?", fullmatch=True),
    date=st.dates(datetime.date(2000, 1, 1), datetime.date(2099, 12, 31)),
    right=st.sampled_from("CP"),
    strike=st.integers(1, 99_999_999).map(lambda thousandths: thousandths / 1000.0),
)


@given(SYMBOLS)
def test_padded_and_unpadded_come_back_as_they_went(symbol):
    assert len(symbol.padded) == 21
    assert OccSymbol.parse(symbol.padded) == symbol
    assert OccSymbol.parse(symbol.unpadded) == symbol


@pytest.mark.parametrize(
    "symbol",
    [
        "",
        "AAPL",
        "AAPL231103X00170000",
        "AAPL231303C00170000",
        "AAPL230230C00170000",
        "AAPL231103C0017000",
        "AAPL231103C00000000",
        "TOOLONGX231103C00170000",
        "AAPL 231103C00170000",
        "aapl231103C00170000",
    ],
)
def test_what_is_no_symbol_is_refused_by_name(symbol):
    with pytest.raises(ValueError, match="got"):
        OccSymbol.parse(symbol)


@pytest.mark.parametrize(
    ("date", "am", "utc"),
    [
        ("2018-02-16", False, "2018-02-16T21:00"),  # a Friday in winter
        ("2018-08-17", False, "2018-08-17T20:00"),  # and in summer
        ("2018-08-17", True, "2018-08-17T13:30"),  # AM settlement: the open
        ("2014-04-19", False, "2014-04-17T20:00"),  # a Saturday after Good Friday
        ("2019-04-19", False, "2019-04-18T20:00"),  # Good Friday
        ("2018-11-23", False, "2018-11-23T18:00"),  # a half day
    ],
)
def test_settlement_is_on_the_last_session_on_or_before_the_date(date, am, utc):
    sessions = exchange_sessions("2014-01-02", "2020-12-31")
    time = settlement_time(datetime.date.fromisoformat(date), sessions, am)
    assert str(np.datetime64(time, "ns").astype("datetime64[m]")) == utc


@pytest.mark.parametrize("date", ["2013-12-31", "2021-01-02"])
def test_a_date_outside_the_calendar_is_unknown(date):
    sessions = exchange_sessions("2014-01-02", "2020-12-31")
    with pytest.raises(CalendarRangeError, match=date):
        settlement_time(datetime.date.fromisoformat(date), sessions)


EUROPEAN = {"exercise": "european"}


def test_an_instrument_knows_its_ticker_and_multiplier():
    sessions = exchange_sessions("2018-01-02", "2020-12-31")
    weekly = instrument_from_occ(
        "SPXW  180817C02850000", sessions, underlying="SPX", exercise="european"
    )
    assert (weekly.underlying, weekly.right, weekly.strike) == ("SPX", "C", 2850.0)
    assert weekly.symbol == "SPX 2018-08-17 2850 C"
    monthly = instrument_from_occ("SPX180817C02850000", sessions, am=True, **EUROPEAN)
    assert monthly.expiry < weekly.expiry
    assert monthly != weekly
    mini = instrument_from_occ(
        "AAPL7180817C00200000", sessions, underlying="AAPL", multiplier=10.0, exercise="american"
    )
    assert mini.multiplier == 10.0
    share = instrument_from_occ("AAPL180817C00200000", sessions, exercise="american")
    assert (share.exercise, weekly.exercise) == ("american", "european")
