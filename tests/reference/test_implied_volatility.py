"""Implied volatility against 60-digit prices, vollib, textbooks and real quotes.

A miss is a volatility that is reported as OK and is further off than `FEW` times what rounding the
inputs to doubles does to it. That limit is computed here, from 60-digit arithmetic.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import NamedTuple

import mpmath as mp
import numpy as np
import pandas as pd
import pytest
from vollib.black_scholes_merton.implied_volatility import implied_volatility as vollib_implied

from riskenv.pricing import ImpliedVolatilityStatus as Status
from riskenv.pricing import black_scholes_price, implied_volatility
from riskenv.pricing.numpy_reference import bisected_volatility, european_option_greeks

DIGITS = 60
HALF_ULP = 2.0**-53
FEW = 6.0


class Quote(NamedTuple):
    spot: float
    strike: float
    t: float
    rate: float
    carry: float
    is_call: bool
    vol: float
    """What the price was computed from, exactly."""
    price: float
    """Rounded to a double from 60 digits."""
    limit: float
    """What rounding may do to the volatility: price and discounted legs, ln(F/K), 2 ulp of it."""


def quote(spot, strike, t, rate, carry, vol, is_call) -> Quote:
    with mp.workdps(DIGITS):
        s, k, years, r, b, sigma = map(mp.mpf, (spot, strike, t, rate, carry, vol))
        spot_leg, strike_leg = s * mp.exp((b - r) * years), k * mp.exp(-r * years)
        total = sigma * mp.sqrt(years)
        x = mp.log(s / k) + b * years
        d1 = x / total + total / 2
        sign = 1 if is_call else -1
        cdf = lambda z: mp.erfc(-z / mp.sqrt(2)) / 2  # noqa: E731
        price = sign * (spot_leg * cdf(sign * d1) - strike_leg * cdf(sign * (d1 - total)))
        in_the_money = sign * x > 0
        vega = spot_leg * mp.npdf(d1) * mp.sqrt(years)
        money_delta = spot_leg * cdf(-sign * d1 if in_the_money else sign * d1)
        of_price = price + (spot_leg + strike_leg if in_the_money else 0)
        of_price *= HALF_ULP * (3 + abs(r * years) + abs(b * years))
        of_x = HALF_ULP * (abs(mp.log(s / k)) + abs(b * years)) * money_delta
        limit = (of_price + of_x + 5e-324) / vega + 4 * HALF_ULP * sigma if vega > 0 else 1e300
        return Quote(
            spot, strike, t, rate, carry, is_call, vol, float(price), min(float(limit), 1e300)
        )


REGIMES = {  # t, rate, carry
    "undiscounted year": (1.0, 0.0, 0.0),
    "quarter on a stock": (0.25, 0.05, 0.03),
    "future": (0.5, 0.04, 0.0),
    "an hour, negative rate": (1 / 8760, -0.01, 0.02),
    "30 years, negative rate": (30.0, -0.005, 0.01),
    "half a minute": (1e-6, 0.03, 0.03),
}
LOG_MONEYNESS = [
    0.0, 1e-12, 1e-8, 1e-6, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.3, 0.45, 0.499, 0.501, 0.55,
    0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0,
]  # fmt: skip


def stress_grid(log_moneyness, total_vols, regimes) -> list[Quote]:
    return [
        quote(float(100.0 * np.exp(side * m - b * t)), 100.0, t, r, b, float(s / np.sqrt(t)), call)
        for m, s, (t, r, b), side, call in itertools.product(
            log_moneyness, total_vols, regimes, (1, -1), (True, False)
        )
        if m > 0.0 or side > 0
    ]


def judge(quotes: list[Quote]) -> str:
    """Solve and assert; returns a line of figures."""
    columns = Quote(*(np.array(column) for column in zip(*quotes, strict=True)))
    *contract, call, exact, price, limit = columns
    vol, status = implied_volatility(price, *contract, call)
    ok = status == Status.OK
    np.testing.assert_array_equal(np.isfinite(vol), ok)
    error = np.abs(vol - exact)
    missed = ok & ~(error <= FEW * limit)
    assert not missed.any(), [(quotes[i], vol[i]) for i in np.flatnonzero(missed)[:5]]
    # And none is flagged that could have been solved.
    assert set(np.unique(status[~ok])) <= {Status.AT_INTRINSIC, Status.LOW_VEGA, Status.AT_MAXIMUM}
    solvable = ~ok & (limit < 1e-4 * exact) & (price > 0.0)
    assert not solvable.any(), [quotes[i] for i in np.flatnonzero(solvable)[:5]]
    well = ok & (limit < 1e-15 * exact)
    counts = {Status(s).name: int((status == s).sum()) for s in np.unique(status)}
    relative = np.max((error / exact)[well])
    return (
        f"{len(quotes):,} quotes, {counts}, misses {int(missed.sum())}, largest error "
        f"{np.max(error[ok] / limit[ok]):.2f} times the limit of rounding; relative error where "
        f"that limit is below 1e-15: {relative:.1e} ({int(well.sum()):,} quotes)"
    )


@pytest.mark.parametrize("regime", REGIMES)
def test_no_silent_miss_on_a_grid_of_extremes(regime: str) -> None:
    """ln F/K to +-8, total volatility 1e-6 to 6, calls and puts, in and out of the money."""
    quotes = stress_grid(LOG_MONEYNESS[::3], np.geomspace(1e-6, 6.0, 24), [REGIMES[regime]])
    print(f"\n{regime}: {judge(quotes)}")


@pytest.mark.slow
def test_no_silent_miss_on_the_full_grid_of_extremes() -> None:
    quotes = stress_grid(LOG_MONEYNESS, np.geomspace(1e-6, 6.0, 120), REGIMES.values())
    print(f"\nfull grid: {judge(quotes)}")


def random_quotes(n: int, seed: int, widest: float) -> list[Quote]:
    """Anything: hours to 50 years, rates -5 % to 15 %, ln F/K to `widest`, half in each wing."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        t = float(np.exp(rng.uniform(np.log(1e-5), np.log(50.0))))
        rate, carry = rng.uniform(-0.05, 0.15, 2)
        x = float(np.exp(rng.uniform(np.log(1e-9), np.log(widest))))
        low = np.exp(rng.uniform(np.log(x / 37.0), 0.5 * np.log(2.0 * x)))
        s = low if rng.random() < 0.5 else np.sqrt(2.0 * x) + rng.uniform(0.0, 6.0)
        strike = float(np.exp(rng.normal(4.0, 2.0)))
        spot = float(strike * np.exp(rng.choice([-1.0, 1.0]) * x - carry * t))
        call = bool(rng.random() < 0.5)
        found.append(quote(spot, strike, t, float(rate), float(carry), float(s / np.sqrt(t)), call))
    return found


@pytest.mark.parametrize("widest", [0.5, 8.0, 600.0])
def test_no_silent_miss_on_random_quotes(widest: float) -> None:
    """Up to ln F/K = 600, where some quotes are solved only from Let's Be Rational's answer."""
    print(f"\nrandom, |ln F/K| to {widest}: {judge(random_quotes(1000, 7, widest))}")


@pytest.mark.slow
def test_no_silent_miss_on_many_random_quotes() -> None:
    print(f"\nrandom: {judge(random_quotes(40_000, 8, 30.0))}")


# From the reference cases (ids iv_std, iv_near_atm_tiny, iv_atm_tiny_vol, iv_deep_otm_1e-57):
# 40-digit arithmetic, in the style of the extreme regions of Jaeckel (2015), "Let's be rational".
@pytest.mark.parametrize(
    ("call", "forward", "strike", "t", "price", "vol", "tolerance"),
    [
        (False, 100.0, 95.0, 0.5, 3.3531802247620055, 0.2, 8.0e-16),
        (True, 100.0, 100.0001, 0.0027397260273972603, 0.020831641640776697, 0.01, 8.8e-15),
        (True, 100.0, 100.0, 1.0, 3.98942280401416e-05, 1e-6, 4e-21),
        (True, 100.0, 500.0, 1.0, 1.923547961922654e-58, 0.1, 4e-16),
    ],
)
def test_reference_cases(call, forward, strike, t, price, vol, tolerance) -> None:
    got, status = implied_volatility(price, forward, strike, t, 0.0, 0.0, call)
    assert status == Status.OK
    assert abs(float(got) - vol) <= tolerance


def test_a_textbook_case() -> None:
    """Hull, Options, Futures and Other Derivatives, section 15.11: 23.5 % a year."""
    vol, _ = implied_volatility(1.875, 21.0, 20.0, 0.25, 0.10, 0.10, True)
    assert float(vol) == pytest.approx(0.235, abs=5e-4)


ORDINARY = [
    (call, 100.0, 100.0 * moneyness, t, rate, dividend, vol)
    for call in (True, False)
    for moneyness in (0.8, 0.9, 0.97, 1.0, 1.03, 1.1, 1.25)
    for t in (7 / 365, 0.25, 1.0, 2.0)
    for rate, dividend in ((0.0, 0.0), (0.05, 0.0), (0.01, 0.04), (-0.01, 0.02))
    for vol in (0.15, 0.3, 0.8)
]


def test_ordinary_quotes_are_vollibs_and_round_trips() -> None:
    """Out to where a quote in the money has lost its digits; vollib's error is added to ours."""
    calls, spot, strike, t, rate, dividend, vol = np.array(ORDINARY, dtype=float).T
    price = black_scholes_price(spot, strike, t, rate, dividend, vol, calls)
    got, status = implied_volatility(price, spot, strike, t, rate, rate - dividend, calls)
    limits = np.array(
        [quote(s, k, y, r, r - d, v, bool(c)).limit for c, s, k, y, r, d, v in ORDINARY]
    )
    solved = status == Status.OK
    assert solved.mean() > 0.98
    np.testing.assert_array_equal(status[~solved], Status.AT_INTRINSIC)
    peer = np.full(len(vol), np.nan)
    for i in np.flatnonzero(solved):
        flag = "c" if calls[i] else "p"
        peer[i] = vollib_implied(
            float(price[i]), *map(float, (spot[i], strike[i], t[i], rate[i], dividend[i])), flag
        )
    # The price that is inverted is our own kernel's: its rounding counts too.
    allowed = 1e-12 + 20.0 * limits
    assert (np.abs(got - vol) <= allowed)[solved].all()
    assert (np.abs(got - peer) <= 2.0 * allowed)[solved].all()
    precise = solved & (limits < 1e-14)
    ours, vollibs = (np.abs(got - other)[precise].max() for other in (vol, peer))
    print(
        f"\n{int(solved.sum())} ordinary quotes; where rounding allows 1e-14 "
        f"({int(precise.sum())}): round trip within {ours:.1e}, vollib within {vollibs:.1e}"
    )
    assert precise.sum() > 400
    assert max(ours, vollibs) < 1e-12


def options_file(shared_data: Path, name: str) -> pd.DataFrame:
    path = shared_data / "options" / name
    if not path.is_file():
        pytest.skip(f"the reference data is not here: {path} does not exist")
    pytest.importorskip("pyarrow", reason="reading parquet needs pyarrow")
    return pd.read_parquet(path)


def test_spy_quotes_have_the_vendors_volatility(shared_data: Path) -> None:
    """5,040 end-of-day quotes of 2021; the manifest states a median difference of 0.26 vol points.

    The vendor's own volatilities fit a rate and a dividend yield of 0 best.
    """
    table = options_file(shared_data, "spy_eod_2021.parquet")
    t = (table["expiration"] - table["quotedate"]).dt.days.to_numpy() / 365.0
    mid = 0.5 * (table["bid"] + table["ask"]).to_numpy()
    call = (table["type"] == "call").to_numpy()
    spot, strike = table["underlying_last"].to_numpy(), table["strike"].to_numpy()
    vol, status = implied_volatility(mid, spot, strike, t, 0.0, 0.0, call)
    points = 100.0 * np.abs(vol - table["impliedvol"].to_numpy())
    counts = {Status(s).name: int((status == s).sum()) for s in np.unique(status)}
    print(
        f"\nSPY 2021: {counts}, |IV - vendor| median {np.nanmedian(points):.3f} vol points, "
        f"90 % {np.nanquantile(points, 0.9):.3f}, largest {np.nanmax(points):.3f}"
    )
    np.testing.assert_array_equal(np.isfinite(vol), status == Status.OK)
    assert (status == Status.OK).mean() > 0.999
    assert (status[status != Status.OK] == Status.BELOW_INTRINSIC).all()
    assert np.nanmedian(points) <= 0.27
    assert np.nanmax(points) < 1.0


def test_dirty_vendor_quotes_each_have_a_status(shared_data: Path) -> None:
    """Forward-filled prices, missing underlyings, expired contracts: no NaN passes for a number."""
    table = options_file(shared_data, "bad_vendor_iv_greeks.parquet")
    days = pd.to_datetime(table["expiry"], format="%Y%m%d") - pd.to_datetime(
        table["file_date"].astype(str), format="%Y%m%d"
    )
    t = days.dt.days.to_numpy() / 365.0
    rate = 0.01
    price, spot, strike = (
        table[name].to_numpy(dtype=float) for name in ("close", "underlying_close", "strike")
    )
    call = (table["right"] == "C").to_numpy()
    vol, status = implied_volatility(price, spot, strike, t, rate, rate, call)
    counts = {Status(s).name: int((status == s).sum()) for s in np.unique(status)}
    print(f"\ndirty vendor file, {len(vol):,} quotes: {counts}")
    ok = status == Status.OK
    np.testing.assert_array_equal(np.isfinite(vol), ok)
    paid = strike * np.exp(-rate * t)
    least = np.maximum(np.where(call, spot - paid, paid - spot), 0.0)
    most = np.where(call, spot, paid)
    known = np.isfinite(spot) & np.isfinite(price) & (spot > 0.0)
    alive = known & (t > 0.0)
    slack = 1e-12 * np.where(known, spot, 1.0)
    np.testing.assert_array_equal(status == Status.INVALID_INPUT, ~known)
    np.testing.assert_array_equal(status == Status.EXPIRED, known & (t <= 0.0))
    below, above = alive & (price < least - slack), alive & (price > most + slack)
    np.testing.assert_array_equal(status == Status.BELOW_INTRINSIC, below)
    np.testing.assert_array_equal(status == Status.ABOVE_MAXIMUM, above)
    assert (status[alive & (price == 0.0) & (least == 0.0)] == Status.AT_INTRINSIC).all()
    assert min(counts["OK"], counts["BELOW_INTRINSIC"], counts["INVALID_INPUT"]) > 100
    again = black_scholes_price(spot[ok], strike[ok], t[ok], rate, 0.0, vol[ok], call[ok])
    assert (np.abs(again - price[ok]) <= 1e-12 * (spot[ok] + strike[ok])).all()


def test_volatilities_are_those_of_halving_the_textbook_formula() -> None:
    rng = np.random.default_rng(6)
    n = 500
    columns = (
        np.full(n, 100.0), rng.uniform(80.0, 125.0, n), rng.uniform(0.05, 2.0, n),
        rng.uniform(-0.01, 0.08, n), rng.uniform(-0.03, 0.08, n),
    )  # fmt: skip
    call, vol = rng.integers(0, 2, n) > 0, rng.uniform(0.1, 0.8, n)
    price = european_option_greeks(*columns, vol, call).price
    solved = implied_volatility(price, *columns, call)
    halved = bisected_volatility(price, *columns, call)
    known = solved.status == Status.OK
    assert known.mean() > 0.98
    np.testing.assert_allclose(solved.vol[known], halved[known], rtol=1e-7)
