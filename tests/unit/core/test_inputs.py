"""What comes in: what is refused, and what is Unknown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskenv import (
    CalendarRangeError,
    Caps,
    ConfigError,
    Event,
    Instrument,
    InstrumentTable,
    Market,
    Portfolio,
    PortfolioRiskManager,
    Proposal,
    RiskGate,
    RiskLimits,
    Sessions,
    aggregate_greeks,
    load_config,
)
from riskenv.measures import GAP, GROSS, MEASURES, STRESS, TAIL, utilisation
from riskenv.projection import closing_trades, radial
from riskenv.var_config import VarConfig

from ...property.worlds import DAY, FAST, HOUR, NOW, SESSIONS, world

AM, PM = NOW + 20 * DAY - 7 * HOUR, NOW + 20 * DAY


@pytest.mark.parametrize(
    "twins",
    [
        (Instrument("SPX", "C", 1250.0, AM, 100.0), Instrument("SPX", "C", 1250.0, PM, 100.0)),
        (Instrument("SPX", "C", 1250.0, PM, 100.0), Instrument("SPX", "C", 1250.0, PM, 10.0)),
        (Instrument("BTC", "P", 1234567.5, PM), Instrument("BTC", "P", 1234567.0, PM)),
        (Instrument("ES", multiplier=50.0), Instrument("ES", multiplier=5.0)),
    ],
)
def test_no_two_contracts_share_a_name(twins) -> None:
    """Morning and afternoon settlement, minis, long strikes: a decision must not lose a leg."""
    table = InstrumentTable.of(twins)
    assert len(set(table.symbols)) == 2
    book = Portfolio.of(table, {twins[0]: 3.0, twins[1]: -2.0}, 0.0)
    assert sorted(book.positions().values()) == [-2.0, 3.0]
    market = Market(NOW, table, np.array([1200.0]), 0.0, np.zeros(1), np.ones(2), 2e6 * np.ones(2),
                    np.full(2, 0.2))  # fmt: skip
    assert aggregate_greeks(book, market).positions_count == 2
    gate = RiskGate(PortfolioRiskManager(RiskLimits(caps=Caps()), SESSIONS))
    d = gate.check(book, market, {twins[0]: -1.0, twins[1]: 1.0}).to_dict()
    assert sorted(d["trades"].values()) == [-1.0, 1.0]


def test_a_table_in_another_order_or_with_two_prices_of_a_ticker_is_refused() -> None:
    a, b = Instrument("A"), Instrument("B")
    with pytest.raises(ValueError, match="canonical order"):
        InstrumentTable((b, a))
    with pytest.raises(ValueError, match=r"currency: got \['EUR', 'USD'\] for A"):
        InstrumentTable.of([a, Instrument("A", currency="EUR")])
    with pytest.raises(ValueError, match=r"on_future: got \[False, True\] for A"):
        InstrumentTable.of([a, Instrument("A", "C", 1.0, PM, on_future=True)])


@pytest.mark.parametrize(
    "field",
    [{"strike": np.nan}, {"strike": 0.0}, {"expiry": 0}, {"multiplier": 0.0}, {"right": "c"},
     {"multiplier": np.inf}, {"underlying": ""}, {"strike": -5.0}, {"exercise": "bermudan"},
     {"exercise": "american", "right": "", "strike": 0.0, "expiry": 0}, {"expiry": 2**63},
     {"expiry": np.inf}, {"expiry": np.nan}, {"expiry": 1.5}],
)  # fmt: skip
def test_a_contract_that_cannot_be_is_refused_by_field(field) -> None:
    values = {"underlying": "A", "right": "C", "strike": 1.0, "expiry": 1} | field
    with pytest.raises(ValueError, match=next(iter(field))):
        Instrument(**values)


QUOTES = [
    # (what is wrong, reason of the option, reason of the share)
    ({"ask": 9.99, "bid": 9.0}, "quote_below_intrinsic", None),
    ({"ask": 10.0, "bid": 9.0}, None, None),  # all intrinsic
    ({"spot": 0.0}, "spot_rate_or_yield_invalid", "spot_rate_or_yield_invalid"),
    ({"spot": np.inf}, "spot_rate_or_yield_invalid", "spot_rate_or_yield_invalid"),
    ({"rate": np.nan}, "spot_rate_or_yield_invalid", "spot_rate_or_yield_invalid"),
    ({"dividend_yield": -np.inf}, "spot_rate_or_yield_invalid", "spot_rate_or_yield_invalid"),
    ({"bid": np.nan}, "quote_missing", "quote_missing"),
    ({"ask": np.nan}, "quote_missing", "quote_missing"),
    ({"bid": -0.01}, "quote_not_positive", "quote_not_positive"),
    ({"ask": 0.0, "bid": 0.0}, "quote_not_positive", "quote_not_positive"),
    ({"ask": np.inf}, "quote_not_positive", "quote_not_positive"),
    ({"bid": 101.5}, "quote_crossed", "quote_crossed"),
    ({"vol": 0.0}, "vol_invalid", None),
    ({"vol": np.nan}, "vol_invalid", None),
    ({"vol": 10.0}, "vol_invalid", None),
    ({"bid": 0.0}, None, None),
    ({"bid": 99.5, "ask": 99.5}, None, None),  # locked
    ({"bid": 100.5}, "quote_above_maximum", None),
    ({"now": PM}, "expired", None),
    ({"now": PM - 1}, None, None),
]


@pytest.mark.parametrize(("wrong", "option", "share"), QUOTES)
def test_a_quote_that_is_no_quote_is_unknown_with_a_reason(wrong, option, share) -> None:
    table = InstrumentTable.of([Instrument("A"), Instrument("A", "C", 90.0, PM, 100.0)])
    values = {"now": NOW, "spot": 100.0, "rate": 0.0, "dividend_yield": 0.0, "bid": 99.0,
              "ask": 101.0, "vol": 0.2} | wrong  # fmt: skip
    u = {k: np.array([values[k]]) for k in ("spot", "dividend_yield")}
    q = {k: np.full(2, values[k]) for k in ("bid", "ask", "vol")}
    market = Market(values["now"], table, rate=values["rate"], **u, **q)
    wanted = {s: r for s, r in zip(table.symbols, (share, option), strict=True) if r}
    assert market.unknown == wanted
    # A quote that is one has a midpoint, whatever else about its instrument is not known.
    elsewhere = ("spot_rate_or_yield_invalid", "vol_invalid")
    priceless = [reason is not None and reason not in elsewhere for reason in (share, option)]
    assert (np.isnan(market.mid) == priceless).all()
    assert (np.isnan(market.half_spread) == priceless).all()


def test_infinite_quotes_are_looked_at_without_a_warning() -> None:
    """Warnings from the layer are errors in this suite."""
    w = world(1)
    inf = np.full(len(w.table), np.inf)
    market = replace(w.market, bid=inf, ask=inf)
    assert np.isnan(market.mid).all()
    assert np.isnan(market.half_spread).all()


@pytest.mark.parametrize("name", ["spot", "dividend_yield", "bid", "ask", "vol"])
def test_a_wrong_shape_is_an_error_that_names_the_array(name: str) -> None:
    w = world(1)
    with pytest.raises(ValueError, match=f"{name}: got shape"):
        replace(w.market, **{name: np.ones(3)})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_unknown_holding_or_cash_is_refused_at_the_door(bad: float) -> None:
    w = world(1)
    quantity = w.portfolio.quantity.copy()
    quantity[3] = bad
    with pytest.raises(ValueError, match="finite number of contracts"):
        Portfolio(w.table, quantity, 0.0)
    with pytest.raises(ValueError, match="cash"):
        Portfolio(w.table, w.portfolio.quantity, bad)


def test_what_is_held_or_traded_must_be_quoted() -> None:
    w, stranger = world(1), Instrument("Z")
    with pytest.raises(ValueError, match="positions: Z is not in the market snapshot"):
        Portfolio.of(w.table, {stranger: 1.0}, 0.0)
    with pytest.raises(ValueError, match="Z is not in the market snapshot"):
        RiskGate(w.manager).check(w.portfolio, w.market, {stranger: 1.0})


@pytest.mark.parametrize(
    ("limits", "key"),
    [
        ({"caps": {"delta": 0.0}}, "caps.delta"),
        ({"caps": {"delta": -5.0}}, "caps.delta"),
        ({"caps": {"delta": float("nan")}}, "caps.delta"),
        ({"caps": {"delta": float("inf")}}, "caps.delta"),
        ({"caps": {"delta": "500"}}, "caps.delta"),
        ({"caps": {"dleta": 500}}, "caps.dleta"),
        ({"caps": {}, "warn": 1.0}, "warn"),
        ({"caps": {}, "extreme": 1.0}, "extreme"),
        ({"caps": {}, "release": 0.7}, "release"),
        ({"caps": {}, "dwell_sessions": -1}, "dwell_sessions"),
        ({}, "caps"),
        ({"caps": {}, "of_equity": {"delta": 0.1}}, "of_equity.delta"),
        ({"caps": {}, "by_underlying": {"SPX": {"var_1d": 5.0}}}, "by_underlying.SPX.var_1d"),
        ({"caps": {}, "by_expiry": {"2d": {"vega": 5.0}}}, "by_expiry"),
        ({"caps": {}, "by_strategy": {"": {"vega": 5.0}}}, "by_strategy"),
        ({"caps": {}, "by_underlying": {"*": {"vega": -5.0}}}, "by_underlying"),
    ],
)
def test_a_degenerate_limit_is_refused_by_key(limits, key) -> None:
    with pytest.raises(ConfigError, match=key):
        load_config(RiskLimits, limits)


@pytest.mark.parametrize("name", [*TAIL, *GAP])
def test_a_tail_cap_without_a_history_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"caps.{name}"):
        PortfolioRiskManager(RiskLimits(caps=Caps(**{name: 1.0})), SESSIONS)


@pytest.mark.parametrize("name", MEASURES)
def test_which_side_of_a_measure_a_cap_is_on(name: str) -> None:
    low, high = RiskLimits(caps=Caps(**{name: 7.0})).bounds(equity=1.0)
    j = MEASURES.index(name)
    down = -np.inf if name in GROSS else -7.0
    up = np.inf if name in ("theta", *TAIL, *GAP, *STRESS) else 7.0
    assert (low[j], high[j]) == (down, up)
    others = np.arange(len(MEASURES)) != j
    assert np.isinf(low[others]).all()
    assert np.isinf(high[others]).all()


@pytest.mark.parametrize(
    ("equity", "vega"), [(1e6, 5_000.0), (1e5, 1_000.0), (0.0, 0.0), (-5.0, 0.0), (np.nan, 0.0)]
)
def test_a_cap_that_is_a_share_of_equity_falls_with_it_to_nothing(equity, vega) -> None:
    limits = RiskLimits(caps=Caps(vega=5_000.0), of_equity=Caps(vega=0.01))
    low, high = limits.bounds(equity)
    j = MEASURES.index("vega")
    assert (low[j], high[j]) == (-vega, vega)


def test_utilisation_at_the_edges() -> None:
    value = np.array([0.0, 5.0, -5.0, 5.0, 0.0, 1.0, np.nan, np.inf])
    low = np.array([-1.0, -10.0, -10.0, -10.0, 0.0, 0.0, -1.0, -1.0])
    high = np.array([1.0, 10.0, 10.0, np.inf, 0.0, 0.0, 1.0, 1.0])
    np.testing.assert_array_equal(
        utilisation(value, low, high), [0.0, 0.5, 0.5, 0.0, 0.0, np.inf, np.nan, np.inf]
    )


@FAST
@given(st.lists(st.integers(-300, 300), min_size=1, max_size=12))
def test_radial_cuts_run_from_the_trade_to_nothing(lots) -> None:
    trades = np.array(lots, dtype=float)
    rows = radial(trades)
    assert (rows[0] == trades).all()
    assert not rows[-1].any()
    assert (rows == np.trunc(rows)).all()
    assert (rows * trades >= 0.0).all()
    size = np.abs(rows)
    assert (size[1:] <= size[:-1]).all()  # every leg shrinks
    assert ((size[1:] < size[:-1]).any(axis=1)).all() or not trades.any()
    # No large step is left out: the largest leg goes down by 1 in 200 of itself at a time.
    leg = size[:, np.argmax(size[0])]
    assert (leg[:-1] - leg[1:] <= np.ceil(size[0].max() / 200) + 1).all()


@pytest.mark.parametrize("size", [1.0, 199.0, 200.0, 201.0, 1000.0, 12345.0])
def test_one_leg_is_cut_finely_up_to_its_whole_size(size: float) -> None:
    rows = radial(np.array([size, 0.0]))[:, 0]
    assert rows[1] >= size * 0.995 - 1.0
    if size <= 200.0:
        assert rows.tolist() == list(np.arange(size, -1.0, -1.0))


@FAST
@given(st.integers(0, 10_000))
def test_closing_trades_only_close_and_one_of_them_closes_all(seed: int) -> None:
    w = world(seed)
    book, rows = w.portfolio.quantity, closing_trades(w.portfolio.quantity, w.market)
    assert (rows * book <= 0.0).all()
    assert (np.abs(rows) <= np.abs(book)).all()
    assert (rows == -book).all(axis=1).any()
    assert (rows == np.trunc(rows)).all()
    assert not np.signbit(rows[rows == 0.0]).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(3),), "trades: got shape"),
        ((np.zeros((0, 3)),), "trades: got shape"),
        ((np.zeros((2, 3)), 2), "asked: got 2"),
        ((np.zeros((2, 3)), -1), "asked: got -1"),
        ((np.zeros((2, 3)), 0, np.zeros((1, 3))), "forced: got shape"),
    ],
)
def test_a_proposal_of_another_shape_is_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        Proposal(*arguments)


def test_a_proposal_over_another_table_is_refused() -> None:
    w = world(1)
    with pytest.raises(ValueError, match="trades: got 3 columns; allowed: 10"):
        w.decide(Proposal(np.zeros((1, 3))))


def test_time_beyond_the_calendar_is_an_error_not_a_guess() -> None:
    w = world(1)
    for now in (int(SESSIONS.closes[-1]) + 1, int(SESSIONS.opens[0]) - 1):
        with pytest.raises(CalendarRangeError):
            w.with_market(now=now).assess()


def test_a_horizon_beyond_the_calendar_is_unknown() -> None:
    w = world(1, caps=Caps(es_3d=1e9, var_1d=1e9))
    short = Sessions(SESSIONS.opens[:302], SESSIONS.closes[:302])  # two sessions are left
    m = w.manager
    manager = PortfolioRiskManager(m.limits, short, history=m.history, var=m.var)
    _, a = replace(w, manager=manager).assess()
    known = ~np.isnan(a.before)
    assert known[MEASURES.index("var_1d")]
    assert not known[MEASURES.index("es_3d")]
    assert "es_3d" in a.breached
    assert a.rung.name == "BLOCK_NEW"


@pytest.mark.parametrize(
    "window", [{"window": 50}, {"min_scenarios": 99}, {"tail_probability": 0.99}]
)
def test_a_window_that_holds_no_tail_is_refused(window) -> None:
    with pytest.raises(ConfigError, match=next(iter(window))):
        load_config(VarConfig, window)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"event_type": ""}, "event_type"),
        ({"event_type": "FOMC"}, "event_type"),
        ({"known_at": 11}, "known_at"),
    ],
)
def test_an_event_that_cannot_be_is_refused(values, message) -> None:
    with pytest.raises(ValueError, match=message):
        Event(**{"event_type": "cpi", "time": 10, "known_at": 9} | values)


def test_history_after_now_is_never_looked_at() -> None:
    """A crash from today on changes no number of yesterday."""
    w = world(6)
    w = w.with_book(np.where(w.table.kind == 0, 100.0, 0.0))
    h, yesterday = w.manager.history, NOW - DAY
    crash = replace(h, log_return=np.where((h.times > yesterday)[:, None], -0.5, h.log_return))
    manager = PortfolioRiskManager(w.manager.limits, SESSIONS, history=crash, var=w.manager.var)
    for now, same in ((yesterday, True), (NOW, False)):
        here = w.with_market(now=now)
        tails = [v.assess()[1].before[6:] for v in (here, replace(here, manager=manager))]
        assert (tails[0].tobytes() == tails[1].tobytes()) == same
