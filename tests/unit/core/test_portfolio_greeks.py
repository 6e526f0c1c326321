"""What a book's Greeks are: units, dividends, currencies, parts and wholes, and what is Unknown."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import mpmath
import numpy as np
import pytest

from riskenv import (
    Caps,
    Dividend,
    Instrument,
    InstrumentTable,
    Market,
    Portfolio,
    PortfolioRiskManager,
    QuoteRules,
    RiskGate,
    RiskLimits,
    Verdict,
    aggregate_greeks,
    escrowed_value,
)
from riskenv.circuit_breaker import Rung
from riskenv.dividends import equivalent_yield
from riskenv.measures import LINEAR
from riskenv.pricing import option_greeks
from riskenv.pricing.american import american_price
from riskenv.quote_quality import UNKNOWN_REASONS

from ...property.worlds import DAY, FRESH, HOUR, SESSIONS, YEAR
from ...property.worlds import NOW as CLOSE

NOW = CLOSE
PM = NOW + 90 * DAY
SECOND = 10**9
SPOT, RATE, YIELD, VOL = 100.0, 0.04, 0.015, 0.25
SHARES = ("delta", "gamma", "vanna", "charm")  # not money: no exchange rate


def market_of(table: InstrumentTable, **changes) -> Market:
    """Quotes so wide that nothing is below its intrinsic: what counts is the volatility."""
    n, u = len(table), len(table.underlyings)
    values = {
        "spot": np.full(u, SPOT), "rate": RATE, "dividend_yield": np.full(u, YIELD),
        "bid": np.zeros(n), "ask": np.full(n, 1e6), "vol": np.full(n, VOL),
    } | changes  # fmt: skip
    return Market(values.pop("now", NOW), table, **values)


def greeks_of(*instruments: Instrument, quantity: float = 1.0, **changes) -> dict:
    table = InstrumentTable.of(instruments)
    book = Portfolio.of(table, dict.fromkeys(instruments, quantity), cash=0.0)
    return aggregate_greeks(book, market_of(table, **changes)).to_dict()


# --- units ----------------------------------------------------------------------------------------


def per_point(option: Instrument, spot: float = SPOT, now: int = NOW) -> dict[str, float]:
    """Derivatives of the textbook price in 30 digits, in the layer's units."""
    sign = {"C": 1, "P": -1}[option.right]

    def price(s, t, r, vol):
        forward = s if option.on_future else s * mpmath.exp((r - mpmath.mpf(YIELD)) * t)
        d1 = mpmath.log(forward / option.strike) / (vol * mpmath.sqrt(t))
        d1 += vol * mpmath.sqrt(t) / 2
        legs = (
            forward * mpmath.ncdf(sign * d1),
            option.strike * mpmath.ncdf(sign * (d1 - vol * mpmath.sqrt(t))),
        )
        return mpmath.exp(-r * t) * sign * (legs[0] - legs[1])

    with mpmath.workdps(30):
        at = [mpmath.mpf(x) for x in (spot, mpmath.mpf(option.expiry - now) / YEAR, RATE, VOL)]
        of = {
            "delta": ((1, 0, 0, 0), 1.0), "gamma": ((2, 0, 0, 0), 1.0),
            "theta": ((0, 1, 0, 0), -1.0 / 365.0), "vega": ((0, 0, 0, 1), 0.01),
            "rho": ((0, 0, 1, 0), 0.01), "vanna": ((1, 0, 0, 1), 0.01),
            "volga": ((0, 0, 0, 2), 1e-4), "charm": ((1, 1, 0, 0), -1.0 / 365.0),
        }  # fmt: skip
        found = {name: float(mpmath.diff(price, at, n)) * unit for name, (n, unit) in of.items()}
        return found | {"value": float(price(*at))}


def in_book_units(point: dict[str, float], multiplier: float, fx: float) -> dict[str, float]:
    """For a beta of 1.2 and an index at 4,000."""
    dollars = point["delta"] * SPOT
    measures = point | {
        "dollar_delta": dollars,
        "dollar_gamma": point["gamma"] * SPOT**2 / 100.0,
        "beta_delta": dollars * 1.2 / 4000.0,
    }
    return {name: measures[name] * multiplier * (1.0 if name in SHARES else fx) for name in LINEAR}


EUROPEAN = [
    Instrument("A", "C", 105.0, PM, 100.0),
    Instrument("A", "P", 105.0, PM, 10.0),
    Instrument("A", "P", 80.0, NOW + 6 * HOUR + 90 * DAY, 37.5),
    Instrument("A", "C", 98.0, NOW + 6 * HOUR, 100.0),
    Instrument("A", "C", 105.0, PM, 50.0, on_future=True),
    Instrument("A", "P", 90.0, PM, 1000.0, on_future=True),
]
BOOKS = [({}, 1.0), ({"currency": "EUR", "fx": {"USD": 0.9}}, 0.9)]
BETA = {"beta": np.array([1.2]), "beta_as_of": np.array([NOW]), "index_spot": 4000.0}


@pytest.mark.parametrize(("book", "fx"), BOOKS)
@pytest.mark.parametrize("option", EUROPEAN, ids=lambda i: f"{i.symbol} x{i.multiplier:g}")
def test_each_measure_of_a_european_option_is_its_definition(option, book, fx) -> None:
    got = greeks_of(option, **BETA, **book)
    for name, expected in in_book_units(per_point(option), option.multiplier, fx).items():
        assert got[name] == pytest.approx(expected, rel=1e-9, abs=1e-12), name


@pytest.mark.parametrize("option", [i for i in EUROPEAN if i.on_future])
def test_rho_of_an_option_on_a_future_is_the_discounting_alone(option) -> None:
    years, value = (option.expiry - NOW) / YEAR, per_point(option)["value"]
    expected = -years * value / 100.0 * option.multiplier
    assert greeks_of(option)["rho"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("book", "fx"), BOOKS)
@pytest.mark.parametrize("on_future", [False, True])
@pytest.mark.parametrize("multiplier", [1.0, 50.0, 2.5])
def test_an_underlying_has_delta_and_nothing_else(multiplier, on_future, book, fx) -> None:
    share = Instrument("A", multiplier=multiplier, on_future=on_future)
    got = greeks_of(share, quantity=-3.0, **BETA, **book)
    expected = dict.fromkeys(LINEAR, 0.0) | {
        "delta": -3.0 * multiplier,
        "dollar_delta": -3.0 * multiplier * 100.0 * fx,
        "beta_delta": -3.0 * multiplier * 100.0 * fx * 1.2 / 4000.0,
    }
    assert {name: got[name] for name in LINEAR} == pytest.approx(expected, rel=1e-15)


AMERICAN = [
    Instrument("A", "P", 105.0, PM, 100.0, exercise="american"),
    Instrument("A", "P", 85.0, NOW + 300 * DAY, 10.0, exercise="american"),
    Instrument("A", "C", 90.0, NOW + 300 * DAY, 37.5, exercise="american"),
    Instrument("A", "C", 95.0, PM, 50.0, exercise="american", on_future=True),
    Instrument("A", "P", 110.0, NOW + 200 * DAY, 50.0, exercise="american", on_future=True),
]


@pytest.mark.parametrize(("book", "fx"), BOOKS)
@pytest.mark.parametrize("option", AMERICAN, ids=lambda i: f"{i.symbol} x{i.multiplier:g}")
def test_american_measures_are_differences_of_american_prices(option, book, fx) -> None:
    """Moved: spot, time, volatility, rate; of an option on a future the rate alone."""
    y = (option.expiry - NOW) / YEAR

    def price(ds=0.0, dt=0.0, dr=0.0, dv=0.0):
        carry = 0.0 if option.on_future else RATE + dr - 0.05
        moved = SPOT + ds, option.strike, y + dt, RATE + dr, carry, VOL + dv
        return float(american_price(*moved, option.right == "C", accurate=True))

    base, s, t, r, v = price(), 0.5, 1.0 / 365.0, 1e-3, 2e-3
    point = {
        "delta": (price(ds=s) - price(ds=-s)) / (2 * s),
        "gamma": (price(ds=s) - 2 * base + price(ds=-s)) / s**2,
        "theta": (price(dt=-t) - price(dt=t)) / 2,
        "vega": 0.01 * (price(dv=v) - price(dv=-v)) / (2 * v),
        "rho": 0.01 * (price(dr=r) - price(dr=-r)) / (2 * r),
        "vanna": 0.01 * (price(s, dv=v) - price(-s, dv=v) - price(s, dv=-v) + price(-s, dv=-v))
        / (4 * s * v),
        "charm": (price(s, -t) - price(-s, -t) - price(s, t) + price(-s, t)) / (4 * s),
    }  # fmt: skip
    got = greeks_of(option, dividend_yield=np.array([0.05]), **BETA, **book)
    expected = in_book_units(point | {"volga": math.nan}, option.multiplier, fx)
    for name, wanted in expected.items():
        if name != "volga":
            assert got[name] == pytest.approx(wanted, rel=2e-3, abs=2e-5 * option.multiplier), name
    european = replace(option, exercise="european")
    assert got != greeks_of(european, dividend_yield=np.array([0.05]), **BETA, **book)


# (beta, as of, index level, beta_delta of 10 shares at 100), by hand
BETAS = [
    (1.2, NOW, 4000.0, 0.3),
    (-0.5, NOW - 366 * DAY, 4000.0, -0.125),
    (0.0, NOW, 4000.0, 0.0),
    (1.2, NOW - 366 * DAY - 1, 4000.0, None),
    (1.2, NOW + 1, 4000.0, None),
    (1.2, None, 4000.0, None),
    (None, NOW, 4000.0, None),
    (math.nan, NOW, 4000.0, None),
    (math.inf, NOW, 4000.0, None),
    (1.2, NOW, math.nan, None),
    (1.2, NOW, math.inf, None),
    (1.2, NOW, 0.0, None),
    (1.2, NOW, -4000.0, None),
    (1e308, NOW, 1e-300, None),
]


@pytest.mark.parametrize(("beta", "as_of", "index_spot", "expected"), BETAS)
def test_beta_delta_is_a_number_or_unknown_and_nothing_else_is(
    beta, as_of, index_spot, expected
) -> None:
    share, other = Instrument("A"), Instrument("B")
    table = InstrumentTable.of([share, other])
    got = aggregate_greeks(
        Portfolio.of(table, {share: 10.0}, 0.0),
        market_of(
            table,
            beta=None if beta is None else np.array([beta, 1.0]),
            beta_as_of=None if as_of is None else np.array([as_of, NOW]),
            index_spot=index_spot,
        ),
    ).to_dict()
    known = expected is not None
    assert got["beta_delta"] == (pytest.approx(expected, rel=1e-14) if known else None)
    assert (got["interval"]["beta_delta"] == [None, None]) == (not known)
    assert (got["delta"], got["dollar_delta"], got["unknown"]) == (10.0, 1000.0, {})


def test_two_infinite_betas_on_either_side_do_not_cancel_to_a_number() -> None:
    long, short = Instrument("A"), Instrument("B")
    table = InstrumentTable.of([long, short])
    market = market_of(table, beta=np.full(2, np.inf), beta_as_of=np.full(2, NOW), index_spot=1.0)
    greeks = aggregate_greeks(Portfolio.of(table, {long: 1.0, short: -1.0}, 0.0), market)
    assert np.isnan(greeks.total[-1])
    assert (greeks.interval[0][-1], greeks.interval[1][-1]) == (-np.inf, np.inf)


# --- dividends ------------------------------------------------------------------------------------


def test_a_european_call_on_a_share_that_pays_cash_is_hulls() -> None:
    """Hull, "Dividends": S = K = 40, 9 %, vol 30 %, six months, 0.50 in two and five: 3.67."""
    month = YEAR // 12
    call = Instrument("X", "C", 40.0, NOW + 6 * month)
    table = InstrumentTable.of([Instrument("X"), call])
    paid = [Dividend("X", NOW + 2 * month, 0.5), Dividend("X", NOW + 5 * month, 0.5)]
    cash = escrowed_value(table, NOW, 0.09, paid)
    market = market_of(
        table, spot=np.array([40.0]), rate=0.09, dividend_yield=np.zeros(1),
        vol=np.full(2, 0.3), dividends=cash,
    )  # fmt: skip
    got = aggregate_greeks(Portfolio.of(table, {call: 1.0}, 0.0), market).to_dict()
    priced = option_greeks(40.0 - cash[1], 40.0, 0.5, 0.09, 0.09, 0.3, True)
    assert float(priced.price) == pytest.approx(3.67, abs=0.005)
    for name in ("delta", "gamma", "vega", "rho", "vanna", "volga"):
        assert got[name] == pytest.approx(float(getattr(priced, name)), rel=1e-12)
    # An hour on, the dividends owed are worth a little more.
    hour = DAY // 24
    later = escrowed_value(table, NOW + hour, 0.09, paid)[1]
    moved = option_greeks(40.0 - later, 40.0, 0.5 - hour / YEAR, 0.09, 0.09, 0.3, True)
    per_day = 24.0
    assert got["theta"] == pytest.approx(per_day * float(moved.price - priced.price), rel=1e-3)
    assert got["charm"] == pytest.approx(per_day * float(moved.delta - priced.delta), rel=1e-3)
    # The shares that hedge it cost the whole 40.
    assert got["dollar_delta"] == pytest.approx(40.0 * float(priced.delta), rel=1e-12)
    assert got["dollar_gamma"] == pytest.approx(16.0 * float(priced.gamma), rel=1e-12)


@pytest.mark.parametrize("right", ["C", "P"])
def test_an_american_option_has_the_yield_that_takes_the_cash_off_the_forward(right) -> None:
    option = Instrument("X", right, 100.0, NOW + 73 * DAY, exercise="american")
    cash, years = 1.75, 0.2
    by_cash = greeks_of(option, dividends=np.array([cash]))
    more = float(equivalent_yield(SPOT, cash, years))
    assert more == pytest.approx(-math.log(1.0 - cash / SPOT) / years, rel=1e-13)
    by_yield = greeks_of(option, dividend_yield=np.array([YIELD + more]))
    for name in LINEAR[:-1]:
        assert by_cash[name] == pytest.approx(by_yield[name], rel=1e-9, abs=1e-12)
    assert by_cash["delta"] != greeks_of(option)["delta"]


def test_a_future_pays_no_dividends_and_has_no_yield() -> None:
    book = [Instrument("F", r, 100.0, PM, exercise=e, on_future=True)
            for r in "CP" for e in ("european", "american")]  # fmt: skip
    expected = greeks_of(*book)
    assert expected == greeks_of(*book, dividends=np.full(4, 3.0))
    assert expected == greeks_of(*book, dividend_yield=np.array([math.nan]))
    assert expected != greeks_of(*[replace(i, on_future=False) for i in book])


@pytest.mark.parametrize("cash", [-0.01, SPOT, SPOT + 1.0, math.nan, math.inf])
def test_dividends_that_cannot_be_make_their_option_unknown(cash) -> None:
    option = Instrument("A", "C", 100.0, PM)
    got = greeks_of(option, dividends=np.array([cash]))
    assert got["unknown"] == {option.symbol: "spot_rate_or_yield_invalid"}
    assert got["delta"] is None


# --- currencies -----------------------------------------------------------------------------------

EUROS = Instrument("DAX", "C", 100.0, PM, 5.0, currency="EUR")
YEN = Instrument("N225", multiplier=2.0, currency="JPY")
DOLLARS = Instrument("SPY")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"currency: got none for instruments in \['EUR', 'JPY', 'USD'\]"),
        ({"fx": {"EUR": 1.1, "JPY": 0.007}}, "currency: got none"),
        ({"currency": "USD"}, "fx: no rate for EUR, JPY; allowed: the value in USD"),
        ({"currency": "USD", "fx": {"EUR": 1.1}}, "fx: no rate for JPY"),
        ({"currency": "CHF", "fx": {"EUR": 0.9, "JPY": 0.006}}, "fx: no rate for USD"),
    ],
)
def test_currencies_never_mix_without_a_rate(changes, message) -> None:
    table = InstrumentTable.of([EUROS, YEN, DOLLARS])
    with pytest.raises(ValueError, match=message):
        market_of(table, **changes)


def test_one_foreign_currency_needs_a_rate_too() -> None:
    with pytest.raises(ValueError, match="fx: no rate for USD"):
        market_of(InstrumentTable.of([DOLLARS]), currency="EUR")
    market_of(InstrumentTable.of([DOLLARS]), currency="USD")
    market_of(InstrumentTable.of([DOLLARS]))


def test_a_book_in_three_currencies_adds_up_in_its_own() -> None:
    table = InstrumentTable.of([EUROS, YEN, DOLLARS])
    rates = {"EUR": 1.1, "JPY": 0.007}
    market = market_of(table, currency="USD", fx=rates)
    book = Portfolio.of(table, {EUROS: 4.0, YEN: -10.0, DOLLARS: 7.0}, 0.0)
    got = aggregate_greeks(book, market).to_dict()
    delta = 4.0 * 5.0 * per_point(EUROS)["delta"]
    assert got["delta"] == pytest.approx(delta - 20.0 + 7.0, rel=1e-12)
    dollars = 100.0 * (delta * 1.1 - 20.0 * 0.007 + 7.0)
    assert got["dollar_delta"] == pytest.approx(dollars, rel=1e-12)
    assert got["vega"] == pytest.approx(20.0 * 1.1 * per_point(EUROS)["vega"], rel=1e-9)
    quoted = replace(market, bid=market.bid + 9.0, ask=np.full(3, 11.0))  # mid 10
    of = dict(zip(table.underlyings, quoted.value, strict=True))
    assert of == pytest.approx({"DAX": 55.0, "N225": 0.14, "SPY": 10.0}, rel=1e-15)


@pytest.mark.parametrize("rate", [math.nan, 0.0, -1.1, math.inf])
def test_an_exchange_rate_that_is_none_leaves_only_its_money_unknown(rate) -> None:
    table = InstrumentTable.of([EUROS, DOLLARS])
    market = market_of(table, currency="USD", fx={"EUR": rate})
    assert market.unknown == {EUROS.symbol: "fx_invalid"}
    book = Portfolio.of(table, {EUROS: 4.0, DOLLARS: 7.0}, 0.0)
    greeks = aggregate_greeks(book, market)
    got = greeks.to_dict()
    assert got["by_underlying"]["SPY"]["dollar_delta"] == 700.0
    low, high = got["interval"]["delta"]
    assert 7.0 <= low <= 7.0 + 20.0 * per_point(EUROS)["delta"] <= high <= 27.0
    assert got["interval"]["dollar_delta"][1] is None  # money at an unknown rate
    assert got["interval"]["dollar_delta"][0] == pytest.approx(700.0)


# --- parts and wholes -----------------------------------------------------------------------------

CHAIN = [
    Instrument("A"),
    Instrument("A", "C", 100.0, NOW + DAY, 100.0),
    Instrument("A", "P", 95.0, NOW + 30 * DAY, 100.0),
    Instrument("A", "P", 120.0, NOW + 400 * DAY, 100.0),
    Instrument("B"),
    Instrument("B", "C", 110.0, NOW + 30 * DAY, 10.0),
]


def chain_book(**more) -> tuple[Portfolio, Market]:
    table = InstrumentTable.of(CHAIN)
    held = dict(zip(CHAIN, [-120.0, 3.0, -2.0, 5.0, 40.0, -7.0], strict=True))
    u = len(table.underlyings)
    market = market_of(
        table, spot=np.array([100.0, 108.0]), beta=np.linspace(0.8, 1.2, u),
        beta_as_of=np.full(u, NOW), index_spot=4000.0,
    )  # fmt: skip
    return Portfolio.of(table, held, 1234.5, **more), market


def test_the_plans_keys_come_first() -> None:
    table = InstrumentTable.of([Instrument("A")])
    stamp = 1_765_708_200_999_999_999
    market = market_of(table, now=stamp)
    got = aggregate_greeks(Portfolio(table, np.array([420.0]), 0.0), market).to_dict()
    keys = ["delta", "gamma", "theta", "vega", "timestamp", "positions_count"]
    assert list(got)[:6] == keys
    assert json.dumps({k: got[k] for k in keys}) == (
        '{"delta": 420.0, "gamma": 0.0, "theta": 0.0, "vega": 0.0, '
        '"timestamp": "2025-12-14T10:30:00Z", "positions_count": 1}'
    )
    assert set(LINEAR) < set(got)


def test_parts_add_up_to_the_whole() -> None:
    tags = {"a": {CHAIN[0]: -100.0, CHAIN[1]: 3.0}, "b": {CHAIN[2]: -2.0, CHAIN[4]: 50.0}}
    book, market = chain_book(strategies=tags)
    greeks = aggregate_greeks(book, market)
    size = np.abs(book.quantity) @ np.abs(greeks.X)
    np.testing.assert_allclose(greeks.total, book.quantity @ greeks.X, atol=1e-14 * size.max())
    np.testing.assert_allclose(greeks.total_gross, size, rtol=1e-13)
    assert (greeks.total_gross >= np.abs(greeks.total)).all()
    assert (greeks.gross >= np.abs(greeks.net)).all()
    for parts in (greeks.by_underlying(), greeks.by_expiry(), greeks.by_strategy()):
        total = np.sum(list(parts.values()), axis=0)
        np.testing.assert_allclose(total, greeks.total, rtol=1e-12, atol=1e-14 * size.max())
    got = greeks.to_dict()
    assert set(got["by_underlying"]) == {"A", "B"}
    assert set(got["by_expiry"]) == {"underlying", "0-1d", "7-30d", "365d+"}
    assert set(got["by_strategy"]) == {"a", "b", ""}
    assert (got["positions_count"], got["cash"], got["working_orders"]) == (6, 1234.5, 0)


def test_a_strategy_is_its_part_of_the_book_and_the_rest_is_untagged() -> None:
    book, market = chain_book(strategies={"hedge": {CHAIN[0]: -150.0}, "empty": {}})
    parts = aggregate_greeks(book, market).by_strategy()
    delta = {tag: float(row[0]) for tag, row in parts.items()}
    others = book.quantity.copy()
    others[book.table.index[CHAIN[0]]] += 150.0
    rest = Portfolio(book.table, others, 0.0)
    assert delta["hedge"] == -150.0
    assert delta["empty"] == 0.0
    assert delta[""] == float(aggregate_greeks(rest, market).total[0])
    whole = dict(zip(CHAIN, book.quantity[[book.table.index[i] for i in CHAIN]], strict=True))
    book, market = chain_book(strategies={"all": whole})
    assert set(aggregate_greeks(book, market).by_strategy()) == {"all"}


LIVES = [
    # (left to settlement in ns, bucket)
    (-DAY, "expired"), (-1, "expired"), (0, "expired"), (1, "0-1d"), (6 * HOUR, "0-1d"),
    (DAY, "0-1d"), (DAY + 1, "1-7d"), (7 * DAY, "1-7d"), (7 * DAY + 1, "7-30d"),
    (30 * DAY, "7-30d"), (90 * DAY, "30-90d"), (365 * DAY, "90-365d"),
    (365 * DAY + SECOND, "365d+"),
]  # fmt: skip


@pytest.mark.parametrize(("left", "bucket"), LIVES)
def test_an_option_is_in_the_first_bucket_that_it_does_not_outlive(left, bucket) -> None:
    option = Instrument("A", "C", 100.0, NOW + left, 100.0)
    got = greeks_of(option, quantity=2.0)
    assert set(got["by_expiry"]) == {bucket}
    assert (got["by_expiry"][bucket]["delta"] is None) == (bucket == "expired")
    assert got["by_expiry"][bucket]["delta"] == got["delta"]
    assert got["unknown"] == ({option.symbol: "expired"} if bucket == "expired" else {})


def test_at_ten_on_the_day_of_settlement_theta_is_still_per_calendar_day() -> None:
    """Six hours are left: the decay of a day is about that of four such lives' rate."""
    option = Instrument("A", "C", 100.0, NOW + 6 * HOUR, 100.0)
    got = greeks_of(option)
    point = per_point(option)
    assert got["theta"] == pytest.approx(100.0 * point["theta"], rel=1e-9)
    assert -got["theta"] > 100.0 * point["value"]  # a day would cost more than all there is
    later = per_point(option, now=NOW + HOUR // 60)["value"]
    assert (later - point["value"]) * 24 * 60 == pytest.approx(point["theta"], rel=3e-3)


def test_futures_add_nothing_to_equity_and_options_on_them_do() -> None:
    future = Instrument("ES", multiplier=50.0, on_future=True)
    option = Instrument("ES", "C", 100.0, PM, 50.0, on_future=True)
    table = InstrumentTable.of([future, option])
    market = market_of(table, bid=np.array([99.0, 5.0]), ask=np.array([101.0, 7.0]))
    assert market.value.tolist() == [0.0, 300.0]
    assert market.mid.tolist() == [100.0, 6.0]
    manager = PortfolioRiskManager(RiskLimits(caps=Caps(delta=1e9)), SESSIONS)
    for held, equity in (({future: 10.0}, 1e5), ({future: -3.0, option: 2.0}, 100_600.0)):
        _, a = manager.assess(FRESH, Portfolio.of(table, held, 1e5), market)
        assert a.equity == equity
    blind = replace(market, bid=np.array([math.nan, 5.0]))
    assert blind.value.tolist() == [0.0, 300.0]


# --- working orders -------------------------------------------------------------------------------


def test_working_orders_widen_the_interval_by_what_each_may_still_do() -> None:
    a, b = Instrument("A"), Instrument("B")
    table = InstrumentTable.of([a, b])
    orders = [{a: 5.0}, {a: -8.0}, {a: 10.0, b: -12.0}, {}]
    book = Portfolio.of(table, {a: 100.0}, 0.0, working=orders)
    got = aggregate_greeks(book, market_of(table)).to_dict()
    assert got["delta"] == 100.0
    # The pair stays one: -2 together, not 10 and -12 apart.
    assert got["interval"]["delta"] == [100.0 - 8.0 - 2.0, 100.0 + 5.0]
    assert got["interval"]["dollar_delta"] == [9_000.0, 10_500.0]
    assert got["working_orders"] == 4
    apart = replace(book, working=np.array([[10.0, 0.0], [0.0, -12.0]]))
    interval = aggregate_greeks(apart, market_of(table)).to_dict()["interval"]
    assert interval["delta"] == [88.0, 110.0]


def test_a_working_order_in_what_is_unknown_adds_its_bounds() -> None:
    a, call = Instrument("A"), Instrument("A", "C", 100.0, PM, 100.0)
    table = InstrumentTable.of([a, call])
    book = Portfolio.of(table, {a: 10.0}, 0.0, working=[{call: 3.0}])
    got = aggregate_greeks(book, market_of(table, vol=np.array([0.0, math.nan]))).to_dict()
    assert got["delta"] == 10.0  # what is held is known
    low, high = got["interval"]["delta"]
    assert low == 10.0
    assert 10.0 + 300.0 * per_point(call)["delta"] < high <= 310.0


def test_caps_are_judged_with_the_orders_that_work() -> None:
    book, market = chain_book(working=[{CHAIN[0]: 1.0}, {CHAIN[1]: 1.0}])
    _, a = PortfolioRiskManager(RiskLimits(caps=Caps(delta=1e9)), SESSIONS).assess(
        FRESH, book, market
    )
    low, high = aggregate_greeks(book, market).interval
    np.testing.assert_allclose(a.interval[:, : len(LINEAR)], [low, high], rtol=1e-12)
    assert (high > low).any()


# --- unknown --------------------------------------------------------------------------------------

CALL = Instrument("A", "C", 90.0, PM, 100.0)
AGED = QuoteRules(max_quote_age_seconds=60.0)
FEED = np.full((1, 5), math.nan)

REASONS = [
    ({"spot": np.array([math.nan])}, "spot_rate_or_yield_invalid"),
    ({"rate": math.inf}, "spot_rate_or_yield_invalid"),
    ({"dividend_yield": np.array([math.nan])}, "spot_rate_or_yield_invalid"),
    ({"bid": np.array([math.nan])}, "quote_missing"),
    ({"ask": np.array([-1.0])}, "quote_not_positive"),
    ({"bid": np.array([1e300])}, "quote_crossed"),
    ({"vol": np.array([math.nan])}, "vol_invalid"),
    ({"now": PM}, "expired"),
    ({"ask": np.array([9.0])}, "quote_below_intrinsic"),
    ({"rules": AGED, "spot_time": np.array([NOW])}, "quote_stale"),
    ({"rules": AGED, "quote_time": np.array([NOW])}, "spot_stale"),
    ({"currency": "EUR", "fx": {"USD": math.nan}}, "fx_invalid"),
    ({"bid": np.array([101.0]), "ask": np.array([102.0])}, "quote_above_maximum"),
    ({"feed": np.where(np.arange(5) == 0, 0.3, FEED)}, "feed_disagrees"),
    ({"feed": np.where(np.arange(5) == 3, math.inf, FEED)}, "feed_disagrees"),
]


@pytest.mark.parametrize(("changes", "reason"), REASONS)
def test_what_cannot_be_trusted_is_unknown_with_its_reason(changes, reason) -> None:
    got = greeks_of(CALL, quantity=-2.0, **changes)
    assert got["unknown"] == {CALL.symbol: reason}
    assert {got[name] for name in LINEAR} == {None}
    low, high = got["interval"]["delta"]
    # A call's delta is at most what the yield grows to, and without a rate or a yield unbounded.
    if "rate" in changes or "dividend_yield" in changes:
        assert low is None
    else:
        assert -200.0 <= low < high
    assert high <= 0.0
    json.dumps(got, allow_nan=False)


def test_what_no_float_holds_is_not_computable() -> None:
    huge = Instrument("A", multiplier=1e307)
    got = greeks_of(huge)
    assert got["unknown"] == {"A": "not_computable"}
    assert got["interval"]["delta"] == [1e307, 1e307]
    assert got["interval"]["dollar_delta"] == [None, None]


def test_every_reason_has_its_case() -> None:
    told = {reason for _, reason in REASONS} | {"known", "not_computable"}
    assert told == set(UNKNOWN_REASONS)


# (age of the option's quote, age of the spot, in ns or None for no time; reason)
AGES = [
    (0, 0, None),
    (60 * SECOND, 60 * SECOND, None),
    (60 * SECOND + 1, 0, "quote_stale"),
    (0, 60 * SECOND + 1, "spot_stale"),
    (-SECOND, -SECOND, None),  # a clock that runs a little ahead
    (-SECOND - 1, 0, "quote_stale"),
    (0, -61 * SECOND, "spot_stale"),
    (None, 0, "quote_stale"),
    (0, None, "spot_stale"),
    (None, None, "spot_stale"),
    (10 * DAY, 0, "quote_stale"),
]


@pytest.mark.parametrize(("quote", "spot", "reason"), AGES)
def test_a_quote_may_be_old_but_not_from_the_future(quote, spot, reason) -> None:
    times = {
        name: None if age is None else np.array([NOW - age])
        for name, age in (("quote_time", quote), ("spot_time", spot))
    }
    expected = {} if reason is None else {CALL.symbol: reason}
    assert greeks_of(CALL, rules=AGED, **times)["unknown"] == expected
    # Without a rule a quote may be as old as it likes, and never from the future.
    ahead = min(age for age in (quote or 0, spot or 0)) < -SECOND
    assert bool(greeks_of(CALL, **times)["unknown"]) == ahead


def test_a_manager_applies_its_own_rules_to_any_market() -> None:
    table = InstrumentTable.of([CALL])
    market, book = market_of(table), Portfolio.of(table, {CALL: 1.0}, 0.0)
    strict = RiskLimits(caps=Caps(delta=1e9), quotes=AGED)
    for limits, unknown in ((RiskLimits(caps=Caps(delta=1e9)), False), (strict, True)):
        _, a = PortfolioRiskManager(limits, SESSIONS).assess(FRESH, book, market)
        assert np.isnan(a.before[0]) == unknown
        assert (a.rung >= Rung.BLOCK_NEW) == unknown


def test_an_expired_option_may_have_been_exercised_or_not() -> None:
    got = greeks_of(replace(CALL, right="P"), quantity=3.0, now=PM + 5)
    assert got["interval"]["delta"] == [-300.0, 0.0]
    for name in LINEAR:
        if name not in ("delta", "dollar_delta", "beta_delta"):
            assert got["interval"][name] == [0.0, 0.0], name


def test_more_that_is_wrong_never_makes_bounds_narrower() -> None:
    """A spot of yesterday bounds nothing, also where another reason is told in its place."""
    stale = {"rules": AGED, "quote_time": np.array([NOW]), "spot_time": np.array([NOW - DAY])}
    one = greeks_of(CALL, **stale)
    assert one["unknown"] == {CALL.symbol: "spot_stale"}
    for more in ({"currency": "EUR", "fx": {"USD": math.nan}}, {"now": PM + DAY}):
        two = greeks_of(CALL, **(stale | more))
        assert two["unknown"] != one["unknown"]
        assert two["interval"]["delta"] == [0.0, 100.0]
        assert two["interval"]["dollar_delta"] == [0.0, None]


def test_a_futures_price_may_have_been_negative() -> None:
    future = Instrument("CL", multiplier=1000.0, on_future=True)
    got = greeks_of(future, spot=np.array([-37.63]))
    assert got["unknown"] == {"CL": "spot_rate_or_yield_invalid"}
    assert got["interval"]["delta"] == [1000.0, 1000.0]
    assert got["interval"]["dollar_delta"] == [None, None]


def test_a_missing_beta_moves_no_bit_of_the_other_measures() -> None:
    book, market = chain_book()
    greeks = aggregate_greeks(book, replace(market, beta=None))
    low, high = greeks.interval
    assert low[:-1].tobytes() == high[:-1].tobytes() == greeks.total[:-1].tobytes()
    assert greeks.unknown == {}
    assert greeks.unknown_measures == {"beta_delta": "beta_or_index_missing"}


def test_the_bounds_are_those_of_the_volatilities_that_the_rules_name() -> None:
    narrow = QuoteRules(unknown_vol_low=0.2, unknown_vol_high=1.0)
    nan = np.array([math.nan])
    got = greeks_of(CALL, vol=nan, rules=narrow)["interval"]
    wide = greeks_of(CALL, vol=nan)["interval"]
    vegas = [greeks_of(CALL, vol=np.array([v]))["vega"] for v in np.linspace(0.2, 1.0, 401)]
    assert vegas.index(max(vegas)) not in (0, 400)  # between the ends
    assert got["vega"] == pytest.approx([min(vegas), max(vegas)], rel=1e-5)
    for name in LINEAR[:-1]:
        assert wide[name][0] <= got[name][0] <= got[name][1] <= wide[name][1], name


@pytest.mark.parametrize("exercise", ["european", "american"])
@pytest.mark.parametrize("right", ["C", "P"])
@pytest.mark.parametrize("rate", [-0.02, 0.0, 0.05])
def test_an_unknown_option_on_a_future_has_rho_at_a_fixed_future(rate, right, exercise) -> None:
    """Its discounting alone: negative where it is held, for calls as for puts."""
    option = Instrument("F", right, 95.0, PM, 50.0, exercise=exercise, on_future=True)
    low, high = greeks_of(option, rate=rate, vol=np.array([math.nan]))["interval"]["rho"]
    for vol in (0.02, 0.1, 0.25, 1.0, 4.9):
        assert low <= greeks_of(option, rate=rate, vol=np.array([vol]))["rho"] <= high
    assert high <= 0.0
    assert low >= -50.0 * 0.01 * 90 / 365 * max(SPOT, 95.0) * 1.02


# --- one bad quote does not switch the caps off --------------------------------------------------


@pytest.mark.parametrize("bad", ["the option is held", "the option is sold", "nobody has it"])
@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize("reason", ["quote_below_intrinsic", "vol_invalid"])
def test_one_bad_quote_does_not_switch_the_caps_off(reason, bad, side) -> None:
    """NaN in a sum is not inside a cap: abs(nan) > cap is False, and so must not be the test."""
    share, other = Instrument("A"), Instrument("B")
    table = InstrumentTable.of([share, other, CALL])
    lots = {"the option is held": 1.0, "the option is sold": -1.0, "nobody has it": 0.0}[bad]
    low = reason == "quote_below_intrinsic"
    market = market_of(table, ask=np.where(table.kind == 0, 101.0, 9.9 if low else 11.9))
    market = replace(market, bid=np.where(table.kind == 0, 99.0, 9.8))
    if not low:  # a price that is one, so that the account's worth is known and only Greeks are not
        market = replace(market, vol=np.where(table.kind == 0, 0.0, math.nan))
    assert market.unknown == {CALL.symbol: reason}
    assert np.isnan(market.value).any() == low
    book = Portfolio.of(table, {other: side * 1100.0, CALL: lots}, 1e6)
    gate = RiskGate(PortfolioRiskManager(RiskLimits(caps=Caps(delta=1000.0)), SESSIONS))
    for traded in (share, other):
        denied = gate.check(book, market, {traded: side})
        assert denied.rung >= Rung.BLOCK_NEW
        assert denied.verdict is not Verdict.ALLOW
        assert not (denied.trades * side > 0.0).any()
    greeks = aggregate_greeks(book, market).to_dict()
    assert greeks["by_underlying"]["B"]["delta"] == side * 1100.0
    assert (greeks["delta"] is None) == (lots != 0.0)
