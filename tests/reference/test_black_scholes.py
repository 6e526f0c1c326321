"""Prices and Greeks against textbooks and vollib."""

from __future__ import annotations

import math

import numpy as np
import pytest
from vollib.black_scholes_merton import black_scholes_merton
from vollib.black_scholes_merton.greeks import analytical

from riskenv import Instrument, InstrumentTable, Market, Portfolio, aggregate_greeks
from riskenv.pricing import black_scholes_price

YEAR = 365 * 86_400 * 10**9

ESCROWED = 40.0 - 0.5 * math.exp(-0.09 / 6) - 0.5 * math.exp(-0.09 * 5 / 12)
QL = "as in QuantLib's europeanoption.cpp"
HULL = "Hull, Options, Futures and Other Derivatives"
# (source, (call?, S, K, T, r, q, vol), published, half width of its digits, converged value)
PRICES = [
    (f"Haug (1998) p. 2-8, {QL}", (False, 19.0, 19.0, 0.75, 0.10, 0.10, 0.28),
     1.7011, 1e-4, 1.7010507252362672),
    (f"Haug (1998) p. 24, {QL}", (True, 1.56, 1.60, 0.50, 0.06, 0.08, 0.12),
     0.0291, 1e-4, 0.02909925314943967),
    (f"Haug (1998) p. 24, put, {QL}", (False, 90.0, 100.0, 0.5, 0.10, 0.10, 0.15),
     10.3192, 1e-4, 10.319186658683074),
    (f"Haug (1998) p. 27, {QL}", (True, 42.0, 40.0, 0.75, 0.04, 0.08, 0.35),
     5.0975, 1e-4, 5.097547717726159),
    ("Haug (2007) 1.1.6, stock index", (False, 100.0, 95.0, 0.5, 0.10, 0.05, 0.20),
     2.4648, 5e-5, None),
    ("Haug (2007) 1.1.1", (True, 60.0, 65.0, 0.25, 0.08, 0.0, 0.30), 2.1334, 5e-5, None),
    (f"{HULL}, example 15.6, call", (True, 42.0, 40.0, 0.5, 0.10, 0.0, 0.20), 4.76, 5e-3, None),
    (f"{HULL}, example 15.6, put", (False, 42.0, 40.0, 0.5, 0.10, 0.0, 0.20), 0.81, 5e-3, None),
    # S less the present value of dividends of 0.50 in 2 and in 5 months.
    ("Hull, 5th ed., p. 253", (True, ESCROWED, 40.0, 0.5, 0.09, 0.0, 0.30),
     3.67, 5e-3, 3.6712332090476805),
]  # fmt: skip


@pytest.mark.parametrize("case", PRICES, ids=lambda case: case[0])
def test_published_prices(case) -> None:
    _, (call, *inputs), published, width, converged = case
    price = float(black_scholes_price(*inputs, call))
    assert price == pytest.approx(published, abs=width)
    if converged is not None:
        assert price == pytest.approx(converged, rel=2e-14, abs=1e-14)


def greeks_of(call, spot, strike, years, rate, carry, vol) -> dict:
    """Through the public way: one contract of multiplier 1 in a book."""
    option = Instrument("X", "C" if call else "P", strike, expiry=round(years * YEAR))
    table = InstrumentTable.of([option])
    market = Market(
        0, table, np.array([spot]), rate, np.array([carry]), np.zeros(1),
        np.array([spot + strike]), np.array([vol]),
    )  # fmt: skip
    return aggregate_greeks(Portfolio.of(table, {option: 1.0}, 0.0), market).to_dict()


HAUG_PUT = (False, 430.0, 405.0, 1 / 12, 0.07, 0.05, 0.20)
HULL_CALL = (True, 49.0, 50.0, 20 / 52, 0.05, 0.0, 0.20)


@pytest.mark.parametrize(
    ("source", "arguments", "name", "published", "width"),
    [
        ("Haug (1998) p. 11-16", HAUG_PUT, "theta", -0.0855, 1e-4),
        ("the same, converged", HAUG_PUT, "theta", -0.0854584939843029, 1e-10),
        ("Hull, example 19.1", HULL_CALL, "delta", 0.522, 5e-4),
        ("Hull, example 19.4", HULL_CALL, "gamma", 0.066, 5e-4),
        ("Hull, example 19.2", HULL_CALL, "theta", -4.31 / 365, 5e-3 / 365),
        ("Hull, example 19.6", HULL_CALL, "vega", 0.121, 5e-4),
    ],
)  # fmt: skip
def test_published_greeks(source, arguments, name, published, width) -> None:
    assert greeks_of(*arguments)[name] == pytest.approx(published, abs=width), source


GRID = [
    (call, 100.0, 100.0 * moneyness, years, rate, carry, vol)
    for call in (True, False)
    for moneyness in (0.5, 0.8, 0.95, 1.0, 1.05, 1.25, 2.0)
    for years in (1 / 365, 7 / 365, 0.25, 2.0)
    for rate, carry in ((0.0, 0.0), (0.05, 0.0), (0.01, 0.08), (-0.01, 0.02))
    for vol in (0.05, 0.2, 0.8)
]


def test_prices_are_vollibs() -> None:
    """vollib's last digits are those of its own cancellation: absolute, in units of the spot."""
    columns = np.array([case[1:] for case in GRID]).T
    got = black_scholes_price(*columns, [case[0] for case in GRID])
    wanted = [
        black_scholes_merton("c" if c else "p", s, k, t, r, v, q) for c, s, k, t, r, q, v in GRID
    ]
    np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "function", "factor"),
    [
        ("delta", analytical.delta, 1.0),
        ("gamma", analytical.gamma, 1.0),
        ("theta", analytical.theta, 1.0),  # vollib's is per day of 365, too
        ("vega", analytical.vega, 1.0),  # and per vol point
    ],
)
def test_greeks_are_vollibs(name, function, factor) -> None:
    for call, spot, strike, years, rate, carry, vol in GRID:
        years = round(years * YEAR) / YEAR
        wanted = function("c" if call else "p", spot, strike, years, rate, vol, carry)
        got = greeks_of(call, spot, strike, years, rate, carry, vol)[name]
        assert got == pytest.approx(factor * wanted, rel=1e-9, abs=1e-12)


def test_put_call_parity_to_rounding() -> None:
    rng = np.random.default_rng(0)
    n = 5000
    spot, strike = rng.uniform(10, 500, n), rng.uniform(10, 500, n)
    years, vol = rng.uniform(0.002, 3, n), rng.uniform(0.03, 1.5, n)
    rate, carry = rng.uniform(-0.02, 0.1, n), rng.uniform(0, 0.1, n)
    call, put = (black_scholes_price(spot, strike, years, rate, carry, vol, c) for c in (1, 0))
    forward = spot * np.exp(-carry * years) - strike * np.exp(-rate * years)
    assert (np.abs(call - put - forward) / (spot + strike)).max() < 1e-15 * 3


def test_the_far_wing_is_accurate_in_relative_terms() -> None:
    """A price of 2e-58, from 40-digit arithmetic (F = 100, K = 500, one year at 10 %)."""
    price = float(black_scholes_price(100.0, 500.0, 1.0, 0.0, 0.0, 0.1, True))
    assert price == pytest.approx(1.923547961922654e-58, rel=5e-13)


@pytest.mark.parametrize(
    ("call", "spot", "wanted"),
    [(True, 105.0, 5.0), (True, 95.0, 0.0), (False, 95.0, 5.0), (False, 105.0, 0.0)],
)
@pytest.mark.parametrize("years", [0.0, -0.1])
def test_at_and_after_expiry_the_value_is_the_intrinsic(call, spot, wanted, years) -> None:
    assert float(black_scholes_price(spot, 100.0, years, 0.05, 0.02, 0.2, call)) == wanted


@pytest.mark.parametrize("years", [1e-9, 1e-6, 1e-4])
@pytest.mark.parametrize("spot", [90.0, 100.0, 110.0])
def test_just_before_expiry_nothing_blows_up(years: float, spot: float) -> None:
    price = float(black_scholes_price(spot, 100.0, years, 0.05, 0.0, 0.2, True))
    assert max(spot - 100.0, 0.0) <= price <= max(spot - 100.0, 0.0) + 100 * 0.2 * math.sqrt(years)


def test_a_book_adds_up_in_the_units_that_are_documented() -> None:
    """Two tickers, long and short, multipliers 1, 100 and 50; every Greek by hand from vollib."""
    now = 1_765_708_200_000_000_000
    expiry = now + YEAR // 4
    a, b = Instrument("A"), Instrument("B")
    call = Instrument("A", "C", 105.0, expiry, 100.0)
    put = Instrument("B", "P", 38.0, now + YEAR // 12, 50.0)
    table = InstrumentTable.of([put, b, call, a])
    spot, carry = {"A": 100.0, "B": 40.0}, {"A": 0.01, "B": 0.0}
    vol = np.array([{a: 0.0, b: 0.0, call: 0.25, put: 0.4}[i] for i in table.instruments])
    ones = np.ones(4)
    market = Market(now, table, np.array([100.0, 40.0]), 0.03, np.array([0.01, 0.0]), ones,
                    2 * ones, vol)  # fmt: skip
    lots = {a: -70.0, b: 15.0, call: 3.0, put: -8.0}
    got = aggregate_greeks(Portfolio.of(table, lots, 0.0), market)
    out = got.to_dict()

    total = dict.fromkeys(("delta", "dollar_delta", "gamma", "dollar_gamma", "theta", "vega"), 0.0)
    for leg, sigma in ((a, 0.0), (b, 0.0), (call, 0.25), (put, 0.4)):
        s, size = spot[leg.underlying], lots[leg] * leg.multiplier
        if leg.is_option:
            arguments = (leg.right.lower(), s, leg.strike, (leg.expiry - now) / YEAR, 0.03, sigma,
                         carry[leg.underlying])  # fmt: skip
            one = {
                n: getattr(analytical, n)(*arguments) for n in ("delta", "gamma", "theta", "vega")
            }
        else:
            one = {"delta": 1.0, "gamma": 0.0, "theta": 0.0, "vega": 0.0}
        for name, value in one.items():
            total[name] += size * value
        total["dollar_delta"] += size * one["delta"] * s
        total["dollar_gamma"] += size * one["gamma"] * s * s / 100.0
    for name, wanted in total.items():
        assert out[name] == pytest.approx(wanted, rel=1e-11), name
        parts = [out["by_underlying"][ticker][name] for ticker in ("A", "B")]
        assert sum(parts) == pytest.approx(wanted, rel=1e-12)
    assert (out["timestamp"], out["positions_count"]) == ("2025-12-14T10:30:00Z", 4)


def test_greeks_are_the_derivatives_of_the_price() -> None:
    """Central differences, in the documented units: a day, a vol point, one currency unit."""
    call, spot, strike, years, rate, carry, vol = True, 100.0, 104.0, 0.5, 0.04, 0.02, 0.3
    price = lambda s, t, v: float(black_scholes_price(s, strike, t, rate, carry, v, call))  # noqa: E731
    h = 1e-4
    got = greeks_of(call, spot, strike, years, rate, carry, vol)
    base = price(spot, years, vol)
    up, down = price(spot + h, years, vol), price(spot - h, years, vol)
    assert got["delta"] == pytest.approx((up - down) / (2 * h), rel=1e-6)
    wide_up, wide_down = price(spot + 0.05, years, vol), price(spot - 0.05, years, vol)
    assert got["gamma"] == pytest.approx((wide_up - 2 * base + wide_down) / 0.05**2, rel=1e-4)
    later = price(spot, years - h, vol) - price(spot, years + h, vol)
    assert got["theta"] == pytest.approx(later / (2 * h) / 365, rel=1e-6)
    more = price(spot, years, vol + h) - price(spot, years, vol - h)
    assert got["vega"] == pytest.approx(0.01 * more / (2 * h), rel=1e-6)
