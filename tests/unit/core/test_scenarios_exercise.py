"""Scenario P&L of all that can be held: every cell is a difference of two prices."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import QuantLib as ql  # noqa: N813
from vollib.black_scholes_merton import black_scholes_merton

from riskenv import (
    Caps,
    FactorHistory,
    Instrument,
    InstrumentTable,
    Market,
    Portfolio,
    PortfolioRiskManager,
    RiskLimits,
)
from riskenv.measures import MEASURES
from riskenv.pricing.american import american_price
from riskenv.scenario_set import scenario_set
from riskenv.scenarios import GapJump, ScenarioSet, pnl_matrix

from ...property.oracle import tail
from ...property.worlds import DAY, FRESH, HISTORY, NOW, SESSIONS, VAR, YEAR

RATE, FX = 0.05, {"EUR": 1.1}
SPOT = {"A": 100.0, "E": 40.0, "F": 1000.0}
INCOME = {"A": 0.0, "E": 0.03, "F": 0.02}  # what a future does not pay
CASH = {"A": 1.25, "E": 0.0, "F": 0.0}
HORIZONS = (1, 3, 5, 0)  # days; the last block is jumps


def legs(days=(2, 4, 60)) -> list[Instrument]:
    found = [
        Instrument("A", multiplier=2.0),
        Instrument("E", currency="EUR"),
        Instrument("F", multiplier=50.0, on_future=True),
    ]
    for ticker, multiplier in (("A", 100.0), ("E", 10.0), ("F", 50.0)):
        terms = {"currency": "EUR" if ticker == "E" else "USD", "on_future": ticker == "F"}
        for exercise in ("european", "american"):
            for right, level in (("C", 0.97), ("P", 1.04)):
                for left in days:
                    option = Instrument(
                        ticker, right, level * SPOT[ticker], NOW + left * DAY, multiplier,
                        exercise=exercise, **terms,
                    )  # fmt: skip
                    found.append(option)
    return found


def market_of(table: InstrumentTable, **changes) -> Market:
    n = len(table)
    ticker = [table.underlyings[u] for u in table.underlying_index]
    option = table.kind != 0
    values = {
        "spot": np.array([SPOT[t] for t in table.underlyings]),
        "rate": RATE,
        "dividend_yield": np.array([INCOME[t] for t in table.underlyings]),
        "bid": np.zeros(n), "ask": np.full(n, 1e6),
        "vol": np.where(option, np.linspace(0.15, 0.45, n), 0.0),
        "dividends": np.where(option, [CASH[t] for t in ticker], 0.0),
        "currency": "USD", "fx": FX,
    } | changes  # fmt: skip
    return Market(NOW, table, **values)


def scenarios(tickers=("F", "A", "E"), seed: int = 3, each: int = 6) -> ScenarioSet:
    """Blocks of 1, 3 and 5 days and of jumps, the tickers in an order of their own."""
    rng = np.random.default_rng(seed)
    count = each * len(HORIZONS)
    moves = rng.normal(scale=0.05, size=(len(tickers), count))
    moves[:, ::each] = 0.0  # nothing moves
    moves[:, -1], moves[:, -2] = -0.6, 0.5
    vols = rng.normal(scale=0.2, size=moves.shape)
    return ScenarioSet(
        tickers, moves, np.exp(moves), np.exp(vols), each * np.arange(len(HORIZONS) + 1),
        np.array(HORIZONS) * DAY / YEAR,
    )  # fmt: skip


def intrinsic(option: Instrument, spot: float) -> float:
    return max((spot - option.strike) * (1.0 if option.right == "C" else -1.0), 0.0)


def value(option: Instrument, spot: float, days: float, vol: float, american=american_price):
    """One price per point, dividends owed off the forward, by the definitions."""
    cash, on_future = CASH[option.underlying], option.on_future
    held, years = RATE if on_future else INCOME[option.underlying], days / 365
    if option.exercise == "european":
        left = max(spot - cash, 1e-12 * spot)
        if days <= 0:
            return intrinsic(option, spot - cash)
        right = option.right.lower()
        return black_scholes_merton(right, left, option.strike, years, RATE, vol, held)
    if days <= 0:
        return intrinsic(option, spot)
    carry = RATE - held + math.log(max(spot - cash, 1e-12 * spot) / spot) / years
    return float(american(spot, option.strike, years, RATE, carry, vol, option.right == "C"))


def brute_force(market: Market, drawn: ScenarioSet, american=american_price) -> np.ndarray:
    """(n, S), a cell at a time."""
    table = market.table
    out = np.full((len(table), drawn.size), np.nan)
    for i, one in enumerate(table.instruments):
        u, spot = drawn.underlyings.index(one.underlying), SPOT[one.underlying]
        scale = one.multiplier * (FX["EUR"] if one.currency == "EUR" else 1.0)
        days, vol = (one.expiry - NOW) / DAY, float(market.vol[i])
        now = value(one, spot, days, vol, american) if one.is_option else spot
        for block, elapsed in enumerate(HORIZONS):
            for s in range(drawn.bounds[block], drawn.bounds[block + 1]):
                moved, wild = spot * drawn.spot_factor[u, s], vol * drawn.vol_factor[u, s]
                later = moved
                if one.is_option:
                    later = value(one, moved, days - elapsed, wild, american)
                out[i, s] = scale * (later - now)
    return out


def test_every_cell_is_a_revaluation() -> None:
    """Shares, futures and options on them, early exercise, cash, and euros; some expire on the
    way, and some prices fall below the dividends owed."""
    table = InstrumentTable.of(legs())
    market, drawn = market_of(table), scenarios()
    assert market.unknown == {}
    got, expected = pnl_matrix(market, drawn), brute_force(market, drawn)
    size = np.array([SPOT[i.underlying] * i.multiplier for i in table.instruments])[:, None]
    wrong = np.abs(got - expected) / size
    assert wrong[~table.american].max() < 1e-12
    assert wrong[table.american].max() < 1e-7
    assert (np.abs(got[:, 1:6]) > 0.0).all()  # it moves, or decays


def test_american_cells_agree_with_quantlib() -> None:
    def quantlib(spot, strike, years, rate, carry, vol, is_call):
        today, days = ql.Date(15, 6, 2020), round(years * 365)
        assert days == pytest.approx(years * 365)
        ql.Settings.instance().evaluationDate = today
        flat = ql.Actual365Fixed()
        curve = [
            ql.YieldTermStructureHandle(ql.FlatForward(today, x, flat))
            for x in (rate - carry, rate)
        ]
        wild = ql.BlackVolTermStructureHandle(
            ql.BlackConstantVol(today, ql.NullCalendar(), vol, flat)
        )
        process = ql.BlackScholesMertonProcess(
            ql.QuoteHandle(ql.SimpleQuote(float(spot))), *curve, wild
        )
        option = ql.VanillaOption(
            ql.PlainVanillaPayoff(ql.Option.Call if is_call else ql.Option.Put, strike),
            ql.AmericanExercise(today, today + days),
        )
        option.setPricingEngine(ql.QdFpAmericanEngine(process))
        return option.NPV()

    table = InstrumentTable.of([i for i in legs((60,)) if i.exercise == "american"])
    market, drawn = market_of(table), scenarios(each=3)
    got, expected = pnl_matrix(market, drawn), brute_force(market, drawn, quantlib)
    size = np.array([SPOT[i.underlying] * i.multiplier for i in table.instruments])[:, None]
    assert (np.abs(got - expected) / size).max() < 3e-5


@pytest.mark.parametrize("right", ["C", "P"])
@pytest.mark.parametrize("days", [6, 10, 60])
def test_time_alone_pays_nobody_a_dividend(days: int, right: str) -> None:
    """An option that nobody exercises early decays like its European twin, whose cash is owed.

    At a rate of 0 a put is never exercised early, and a call far below its strike hardly.
    """
    strike = 100.0 if right == "P" else 112.0
    pair = [Instrument("A", right, strike, NOW + days * DAY, 100.0, exercise=e)
            for e in ("european", "american")]  # fmt: skip
    table = InstrumentTable.of(pair)
    still = np.zeros((1, 4))
    quiet = ScenarioSet(("A",), still, np.exp(still), np.exp(still), np.arange(5),
                        np.array(HORIZONS) * DAY / YEAR)  # fmt: skip
    market = market_of(table, rate=0.0, currency="", vol=np.full(2, 0.2))
    american, european = pnl_matrix(market, quiet)
    assert [i.exercise for i in table.instruments] == ["american", "european"]
    assert (european[:3] < 0.0).all()
    assert european[3] == american[3] == 0.0
    np.testing.assert_allclose(american, european, rtol=1e-9 if right == "P" else 0.05)


@pytest.mark.parametrize("exercise", ["european", "american"])
@pytest.mark.parametrize("rate", [-0.02, 0.0, 0.05])
@pytest.mark.parametrize("days", [2, 30, 365])
def test_a_share_that_falls_below_its_dividends_leaves_finite_losses(days, rate, exercise) -> None:
    chain = [Instrument("A", right, strike, NOW + days * DAY, exercise=exercise)
             for right in "CP" for strike in (60.0, 100.0, 150.0)]  # fmt: skip
    table = InstrumentTable.of(chain)
    factor = np.tile([1e-6, 0.012, 0.0125, 0.0126, 0.02, 1.0, 30.0], 2)[None, :]
    drawn = ScenarioSet(("A",), np.log(factor), factor, np.ones_like(factor), np.array([0, 7, 14]),
                        np.array([0.0, 1.999 * DAY / YEAR]))  # fmt: skip
    market = market_of(table, rate=rate, currency="")
    assert market.unknown == {}
    got = pnl_matrix(market, drawn)
    assert np.isfinite(got).all()
    call = table.kind > 0
    ends = got[:, [0, 7]]  # the share is worth nothing
    assert (ends[call] <= 0.0).all()
    assert (ends[~call] > 0.0).all()
    assert (np.diff(got[call][:, :7]) >= -1e-9).all()
    assert (np.diff(got[~call][:, :7]) <= 1e-9).all()
    assert (got[~call] <= table.strike[~call][:, None] * math.exp(0.02)).all()


def test_rows_of_what_is_unknown_or_has_no_history_are_nan_and_no_other() -> None:
    table = InstrumentTable.of(legs((60,)))
    market, whole = market_of(table), scenarios()
    expected = pnl_matrix(market, whole)
    vol = market.vol.copy()
    american = int(np.flatnonzero(table.american)[0])
    vol[american] = math.nan
    got = pnl_matrix(replace(market, vol=vol), whole)
    rows = np.arange(len(table)) != american
    assert np.isnan(got[american]).all()
    assert got[rows].tobytes() == expected[rows].tobytes()

    chosen = np.arange(len(table)) % 2 == 0
    got = pnl_matrix(market, whole, chosen)
    assert (np.isnan(got).all(axis=1) == ~chosen).all()
    assert got[chosen].tobytes() == expected[chosen].tobytes()

    pick = [whole.underlyings.index(t) for t in ("E", "A")]
    rows_of = ("log_return", "spot_factor", "vol_factor")
    picked = {name: getattr(whole, name)[pick] for name in rows_of}
    part = replace(whole, underlyings=("E", "A"), **picked)
    got = pnl_matrix(market, part)
    gone = table.on_future
    assert (np.isnan(got).all(axis=1) == gone).all()
    assert got[~gone].tobytes() == expected[~gone].tobytes()


def test_exchange_rates_scale_the_money_and_nothing_else() -> None:
    table = InstrumentTable.of(legs((60,)))
    first = pnl_matrix(market_of(table), scenarios())
    other = pnl_matrix(market_of(table, fx={"EUR": 2.2}), scenarios())
    euros = np.array([i.currency == "EUR" for i in table.instruments])
    assert other[~euros].tobytes() == first[~euros].tobytes()
    np.testing.assert_allclose(other[euros], 2.0 * first[euros], rtol=1e-14)
    blind = pnl_matrix(market_of(table, fx={"EUR": math.nan}), scenarios())
    assert (np.isnan(blind).all(axis=1) == euros).all()


def test_the_tails_of_a_mixed_book_are_those_of_the_brute_force() -> None:
    """From a history, through the manager: VaR and ES of options that may be exercised early."""
    rng = np.random.default_rng(11)
    tickers = ("A", "E", "F")
    moves = 0.012 * rng.standard_t(5, size=(HISTORY, 3))
    history = FactorHistory(
        tickers,
        SESSIONS.closes[:HISTORY],
        moves,
        -1.5 * moves + 0.02 * rng.normal(size=(HISTORY, 3)),
    )
    held = legs((60,))
    table = InstrumentTable.of(held)
    market = market_of(table)
    quantity = rng.integers(-9, 10, len(table)).astype(float)
    book = Portfolio(table, quantity, 1e6)
    manager = PortfolioRiskManager(
        RiskLimits(caps=Caps(es_1d=1e9)), SESSIONS, history=history, var=VAR
    )
    _, a = manager.assess(FRESH, book, market)
    drawn = scenario_set(history, SESSIONS, NOW, VAR, [GapJump((), 0.0, 0.0)])
    assert drawn.years.tolist() == [days * DAY / YEAR for days in HORIZONS]
    pnl = quantity @ brute_force(market, drawn)
    for block, horizon in enumerate((1, 3, 5)):
        part = pnl[drawn.bounds[block] : drawn.bounds[block + 1]]
        var, es = tail(part, VAR.tail_probability)
        for name, wanted in ((f"var_{horizon}d", var), (f"es_{horizon}d", es)):
            assert a.before[MEASURES.index(name)] == pytest.approx(wanted, rel=1e-5), name
