"""Cash dividends against Hull, QuantLib's engines and SPY's quotes.

What the equivalent yield costs American options is measured, printed (-s) and bounded; so is what
early exercise does to a forward implied from American quotes.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import QuantLib as ql  # noqa: N813

from riskenv.dividends import (
    Dividend,
    ImpliedForwardStatus,
    equivalent_yield,
    escrowed_value,
    implied_forward,
    implied_yield,
)
from riskenv.instruments import NS_PER_DAY, NS_PER_YEAR, Instrument, InstrumentTable
from riskenv.pricing import option_greeks
from riskenv.pricing.american import american_price, early_exercise_premium

TODAY = ql.Date(15, 6, 2026)
CLOCK = ql.Actual365Fixed()


def option_table(strikes, days: int, exercise: str = "european") -> InstrumentTable:
    return InstrumentTable.of(
        Instrument("X", right, float(k), days * NS_PER_DAY, exercise=exercise)
        for right in "CP"
        for k in strikes
    )


def test_hulls_european_call_on_two_dividends() -> None:
    """Hull, example of "Dividends" in the Black-Scholes-Merton chapter: 0.9742 and 3.67.

    A share at 40, strike 40, 9 % a year, vol 30 %, six months, 0.50 in two and in five months.
    """
    month = NS_PER_YEAR // 12
    table = InstrumentTable.of([Instrument("X", "C", 40.0, 6 * month)])
    paid = [Dividend("X", 2 * month, 0.5), Dividend("X", 5 * month, 0.5)]
    value = escrowed_value(table, 0, 0.09, paid)
    assert value[0] == pytest.approx(0.9742, abs=5e-5)
    got = option_greeks(40.0 - value, 40.0, 0.5, 0.09, 0.09, 0.3, True).price[0]
    assert got == pytest.approx(3.67, abs=5e-3)


SCHEDULES = {
    "quarterly": [(20, 0.6), (111, 0.6), (202, 0.6), (293, 0.6)],
    "one large": [(60, 4.0)],
    "the day before expiry": [(119, 1.5)],
    "after expiry": [(121, 2.0)],
}


def quantlib_price(contract, schedule, engine, exercise) -> float:
    spot, strike, days, rate, vol, call = contract
    ql.Settings.instance().evaluationDate = TODAY

    def flat(x: float) -> ql.YieldTermStructureHandle:
        return ql.YieldTermStructureHandle(ql.FlatForward(TODAY, x, CLOCK))

    process = ql.BlackScholesMertonProcess(
        ql.QuoteHandle(ql.SimpleQuote(spot)), flat(0.0), flat(rate),
        ql.BlackVolTermStructureHandle(ql.BlackConstantVol(TODAY, ql.NullCalendar(), vol, CLOCK)),
    )  # fmt: skip
    paid = ql.DividendSchedule(
        [ql.FixedDividend(amount, TODAY + day) for day, amount in schedule if day <= days]
    )
    payoff = ql.PlainVanillaPayoff(ql.Option.Call if call else ql.Option.Put, strike)
    option = ql.VanillaOption(payoff, exercise(TODAY + days))
    option.setPricingEngine(engine(process, paid))
    return option.NPV()


@pytest.mark.parametrize("name", SCHEDULES)
def test_european_prices_are_quantlibs_escrowed_ones(name: str) -> None:
    days, rate, vol = 120, 0.05, 0.3
    table = option_table([80.0, 100.0, 125.0], days)
    schedule = SCHEDULES[name]
    paid = [Dividend("X", day * NS_PER_DAY, amount) for day, amount in schedule]
    value = escrowed_value(table, 0, rate, paid)
    got = option_greeks(
        100.0 - value, table.strike, days / 365, rate, rate, vol, table.kind > 0
    ).price
    wanted = [
        quantlib_price(
            (100.0, float(k), days, rate, vol, bool(kind > 0)), schedule,
            ql.AnalyticDividendEuropeanEngine, ql.EuropeanExercise,
        )
        for k, kind in zip(table.strike, table.kind, strict=True)
    ]  # fmt: skip
    np.testing.assert_allclose(got, wanted, rtol=0.0, atol=1e-11)
    assert (value > 0.0).all() == (name != "after expiry")


# Measured: the largest error, as a share of spot, of the American price with the equivalent yield.
# A call before a large dividend is the worst: there the date is what exercise is about.
CASH_MODELS = {
    "escrowed": ql.FdBlackScholesVanillaEngine.Escrowed,
    "spot": ql.FdBlackScholesVanillaEngine.Spot,
}
# (in the money, at and out of it)
ALLOWED = {
    ("quarterly", "put"): (0.005, 0.0025),
    ("quarterly", "call"): (0.007, 0.0025),
    ("one large", "put"): (0.03, 0.01),
    ("one large", "call"): (0.015, 0.005),
    ("the day before expiry", "put"): (0.006, 0.003),
    ("the day before expiry", "call"): (0.018, 0.012),
}


@pytest.mark.parametrize("model", CASH_MODELS)
@pytest.mark.parametrize(("name", "right"), ALLOWED)
def test_what_the_equivalent_yield_costs_american_options(name, right, model) -> None:
    def engine(process, paid):
        scheme = ql.FdmSchemeDesc.Douglas()
        return ql.FdBlackScholesVanillaEngine(
            process, paid, 150, 300, 0, scheme, False, -1e300, CASH_MODELS[model]
        )

    schedule, call, rate = SCHEDULES[name], right == "call", 0.05
    errors, inside = [], []
    for days in (45, 120, 365):
        for vol in (0.2, 0.4):
            for strike in (80.0, 90.0, 100.0, 110.0, 125.0):
                contract = (100.0, strike, days, rate, vol, call)
                wanted = quantlib_price(
                    contract, schedule, engine, lambda end: ql.AmericanExercise(TODAY, end)
                )
                table = option_table([strike], days, "american")
                paid = [Dividend("X", day * NS_PER_DAY, amount) for day, amount in schedule]
                value = escrowed_value(table, 0, rate, paid)[0]
                years = days / 365
                dividend = equivalent_yield(100.0, value, years)
                got = american_price(100.0, strike, years, rate, rate - dividend, vol, call)
                errors.append((float(got) - wanted) / 100.0)
                inside.append((strike < 100.0) == call and strike != 100.0)
    error, deep = np.abs(errors), np.array(inside)
    print(
        f"\n{name}, {right}, {model} model: error in spots, median {np.median(error):.5f}, "
        f"largest in the money {error[deep].max():.5f}, else {error[~deep].max():.5f}; "
        f"from {min(errors):+.5f} to {max(errors):+.5f}"
    )
    in_the_money, elsewhere = ALLOWED[name, right]
    assert error[deep].max() <= in_the_money
    assert error[~deep].max() <= elsewhere


def options_file(shared_data: Path, name: str) -> pd.DataFrame:
    path = shared_data / "options" / name
    if not path.is_file():
        pytest.skip(f"the reference data is not here: {path} does not exist")
    pytest.importorskip("pyarrow", reason="reading parquet needs pyarrow")
    return pd.read_parquet(path)


def forward_of(pairs: pd.DataFrame, rate: float, years: float):
    """pairs: strikes in the index, columns (bid or ask, call or put)."""
    return implied_forward(
        pairs.index.to_numpy(), pairs["bid"]["call"], pairs["ask"]["call"],
        pairs["bid"]["put"], pairs["ask"]["put"], rate, years,
    )  # fmt: skip


# SPY's ex-dates of 2021 and what it paid, as the fund announced.
SPY_PAID = {"2021-03-19": 1.2778, "2021-06-18": 1.3759, "2021-09-17": 1.4280, "2021-12-17": 1.6364}


@pytest.fixture(scope="module")
def spy_2021(shared_data: Path) -> pd.DataFrame:
    """One row for each day and expiry that has pairs; at the rate of Treasury bills, 0.05 %."""
    table = options_file(shared_data, "spy_eod_2021.parquet")
    pairs = table.pivot_table(
        index=["quotedate", "expiration", "strike"], columns="type", values=["bid", "ask"]
    ).dropna()
    spots = table.groupby("quotedate")["underlying_last"].first()
    rows = []
    for (day, expiry), chain in pairs.groupby(level=[0, 1]):
        years = (expiry - day).days / 365.0
        found = forward_of(chain.droplevel([0, 1]), 0.0005, years)
        spot = float(spots[day])
        ex_dates = [(pd.Timestamp(x), amount) for x, amount in SPY_PAID.items()]
        due = [amount for ex_date, amount in ex_dates if day < ex_date <= expiry]
        on_the_day = any(ex_date == expiry for ex_date, _ in ex_dates)
        dividend = float(implied_yield(found.forward, spot, 0.0005, years))
        rows.append((spot, years, sum(due), on_the_day, dividend, len(chain), *found))
    names = ["spot", "years", "due", "on_the_day", "dividend", "pairs"]
    names += ["forward", "low", "high", "strikes", "usable", "status"]
    return pd.DataFrame(rows, columns=names)


def test_spys_forwards_of_2021_are_consistent_across_strikes(spy_2021: pd.DataFrame) -> None:
    counts = spy_2021["status"].map(lambda s: ImpliedForwardStatus(s).name).value_counts()
    several = spy_2021[spy_2021["pairs"] > 1]
    ok = several["status"] == ImpliedForwardStatus.OK
    width = (several["high"] - several["low"])[ok] / several["spot"][ok]
    print(f"\nSPY 2021: {counts.to_dict()}; range in spots, median {width.median():.1e}")
    solved = spy_2021["status"] == ImpliedForwardStatus.OK
    np.testing.assert_array_equal(np.isfinite(spy_2021["forward"]), solved)
    assert ok.mean() > 0.7  # American quotes: some do contradict each other
    assert width.median() < 3e-4
    assert (several["strikes"][ok] * 2 > several["usable"][ok]).all()


def test_spys_forwards_of_2021_are_spot_less_dividends(spy_2021: pd.DataFrame) -> None:
    """Within 0.1 % at the median; 0.75 % each, but for a day of bad quotes: their spot is not of
    their second. Yields are near 0 without a dividend due, and of a plausible size with one."""
    known = spy_2021[spy_2021["status"] == ImpliedForwardStatus.OK]
    off = (known["forward"] - known["spot"] + known["due"]) / known["spot"]
    kinds = {
        "none due": known["due"] == 0.0,
        "one due": (known["due"] > 0.0) & ~known["on_the_day"],
        "one due on the day of expiry": known["on_the_day"],
    }
    middle = {}
    for name, chosen in kinds.items():
        middle[name] = off[chosen].median()
        print(
            f"\nSPY 2021, {name}: {int(chosen.sum())} expiries, forward less (spot less dividends) "
            f"in spots: median {middle[name]:+.5f}, deviation {off[chosen].std():.5f}; "
            f"implied yield, median {known['dividend'][chosen].median():+.4f}"
        )
        assert chosen.sum() > 30
    assert (off.abs() < 0.0075).all()
    assert abs(middle["none due"]) < 0.0005
    # What early exercise of calls does, where nothing else than a dividend makes it pay.
    assert 0.0 < middle["one due"] - middle["none due"] < 0.001
    assert 0.0005 < middle["one due on the day of expiry"] - middle["none due"] < 0.003
    assert known["dividend"][kinds["none due"]].abs().median() < 0.01
    assert 0.01 < known["dividend"][kinds["one due"]].median() < 0.05


def test_how_far_early_exercise_moves_a_forward_from_american_quotes(shared_data: Path) -> None:
    """SPY in February 2026, 92 days: the forward falls with the strike, as the model says."""
    table = options_file(shared_data, "us7_chains_3_snapshots_2026-02.parquet")
    table = table[(table["underlying"] == "SPY") & (table["snapshot"] == 3)]
    chain = table[table["expirationDate"].astype(str).str.startswith("2026-05-15")]
    spot, years, rate = float(chain["underlyingPrice"].iloc[0]), 92 / 365.0, 0.0365
    pairs = chain.pivot_table(index="strike", columns="optionType", values=["bid", "ask"]).dropna()
    bands = {}
    for low, high in ((0.95, 0.97), (0.97, 0.985), (1.05, 1.10)):
        chosen = pairs[(pairs.index >= low * spot) & (pairs.index < high * spot)]
        found = forward_of(chosen, rate, years)
        strike = 0.5 * (low + high) * spot
        call, put = (
            early_exercise_premium(spot, strike, years, rate, rate - 0.011, 0.16, right)
            for right in (True, False)
        )
        bias = math.exp(rate * years) * float(call - put)
        bands[low] = (found.forward, bias)
        print(
            f"\nSPY, strikes {low:.0%} to {high:.1%} of spot: {found.strikes} of {found.usable} "
            f"agree on spot {found.forward - spot:+.2f}; the model's bias {bias:+.2f}"
        )
        assert found.status == ImpliedForwardStatus.OK
    below, above = bands[0.95], bands[1.05]
    assert below[0] - above[0] == pytest.approx(below[1] - above[1], rel=0.5)
    # Put right by the model's premiums, the forward has the yield of SPY, about 1.1 %.
    assert float(implied_yield(below[0] - below[1], spot, rate, years)) == pytest.approx(
        0.011, abs=0.004
    )
