"""A restart under another calendar, quotes that are missing, equity that is lost: nothing is
forgotten, sold without a reason, or left alone."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest

from riskenv import (
    BreakerState,
    Instrument,
    InstrumentTable,
    Market,
    MetricsSink,
    Portfolio,
    PortfolioRiskManager,
    Proposal,
    RiskGate,
    RiskLimits,
    Rung,
    Sessions,
    Verdict,
    load_config,
)
from riskenv.gate.bundle import save_bundle
from riskenv.selection import evaluate
from riskenv.sessions import CalendarRangeError

HOUR = 3_600 * 10**9
DAY = 24 * HOUR
SPY = Instrument("SPY")
CALL = Instrument("SPY", "C", 440.0, 130 * DAY, 100.0)
PUT = Instrument("SPY", "P", 400.0, 115 * DAY, 100.0)
LATER = Instrument("SPY", "C", 460.0, 130 * DAY, 100.0)
TABLE = InstrumentTable.of([SPY, CALL])


def sessions_from(day: int) -> Sessions:
    days = np.arange(day, day + 60) * DAY
    return Sessions(days + 14 * HOUR, days + 21 * HOUR)


def market_at(now: int, spot: float = 400.0, vol: float = 0.2, call: float = 5.0) -> Market:
    mid = np.array([spot, call])
    return Market(
        now, TABLE, np.array([spot]), 0.02, np.zeros(1), mid - 0.01, mid + 0.01,
        np.array([0.0, vol]),
    )  # fmt: skip


def limits_of(**values) -> RiskLimits:
    return load_config(RiskLimits, values)


def gate_of(limits: RiskLimits, first_day: int = 100, state: BreakerState | None = None):
    return RiskGate(PortfolioRiskManager(limits, sessions_from(first_day)), state)


LOSS = limits_of(caps={"day_loss": 1_000, "delta": 5_000})
NOON = 103 * DAY + 16 * HOUR


@pytest.mark.parametrize("first_day", [98, 100, 102, 103])
def test_a_restart_with_a_calendar_that_begins_elsewhere_forgets_no_loss(first_day: int) -> None:
    book = Portfolio.of(TABLE, {SPY: 100.0}, 1e6)
    gate = gate_of(LOSS)
    gate.check(book, market_at(NOON - HOUR), {})
    assert gate.check(book, market_at(NOON, 380.0), {SPY: 10.0}).verdict is Verdict.BLOCK
    state = BreakerState.from_dict(gate.state.to_dict())
    again = gate_of(LOSS, first_day, state)
    decision = again.check(book, market_at(NOON + HOUR // 60, 380.0), {SPY: 10.0})
    assert (decision.verdict, decision.rung) == (Verdict.BLOCK, Rung.BLOCK_NEW)
    assert again.state.day_start_equity == 1_040_000.0
    assert BreakerState.from_dict(again.state.to_dict()) == again.state
    # The next session begins a day, and ends the dwell, as it would have without the restart.
    tomorrow = market_at(NOON + DAY, 380.0)
    for of in (gate, again):
        of.check(book, tomorrow, {SPY: 10.0})
        assert of.state.day_start_equity == 1_038_000.0
    assert gate.state.rung == again.state.rung == Rung.NORMAL


def test_what_if_decides_as_check_would_and_remembers_nothing() -> None:
    told = MetricsSink()
    gate = RiskGate(PortfolioRiskManager(LOSS, sessions_from(100)), sinks=[told])
    book, before = Portfolio.of(TABLE, {SPY: 100.0}, 1e6), gate.state
    for market in (market_at(NOON - HOUR), market_at(NOON, 380.0)):
        for trades in ({SPY: 10.0}, {SPY: 6_000.0}, {}):
            count = sum(told.decisions.values())
            asked = gate.what_if(book, market, trades)
            assert gate.state is before
            assert sum(told.decisions.values()) == count
            assert asked.to_bytes() == gate.check(book, market, trades).to_bytes()
            assert sum(told.decisions.values()) == count + 1
            gate.state = before


def test_a_bundle_is_loaded_with_the_state_that_was_saved(tmp_path) -> None:
    gate, book = gate_of(LOSS), Portfolio.of(TABLE, {SPY: 100.0}, 1e6)
    gate.check(book, market_at(NOON - HOUR), {})
    gate.check(book, market_at(NOON, 380.0), {})
    save_bundle(gate.manager, tmp_path / "gate.zip")
    state = BreakerState.from_dict(gate.state.to_dict())
    for saved, verdict in ((state, Verdict.BLOCK), (None, Verdict.ALLOW)):
        again = RiskGate.load(tmp_path / "gate.zip", state=saved)
        assert again.check(book, market_at(NOON + 1, 380.0), {SPY: 1.0}).verdict is verdict


def test_a_calendar_that_begins_after_the_last_assessment_is_refused() -> None:
    gate = gate_of(LOSS)
    gate.check(Portfolio.of(TABLE, {}, 1e6), market_at(NOON), {})
    later = gate_of(LOSS, 104, gate.state)
    with pytest.raises(CalendarRangeError):
        later.check(Portfolio.of(TABLE, {}, 1e6), market_at(NOON + DAY), {})


@pytest.mark.parametrize("cap", ["gross_delta", "gross_dollar_delta", "margin", "notional"])
@pytest.mark.parametrize("missing", [{"vol": math.nan}, {"spot": math.nan}, {"call": math.nan}])
def test_what_is_unknown_blocks_and_sells_nothing(cap: str, missing: dict[str, float]) -> None:
    """A short call whose exposures may be anything up to their bound is not surely too much."""
    caps = {"gross_delta": 100, "gross_dollar_delta": 5e4, "margin": 4e4, "notional": 2e5}
    gate = gate_of(limits_of(caps={cap: caps[cap]}))
    book = Portfolio.of(TABLE, {CALL: -3.0}, 1e6)
    assert gate.check(book, market_at(NOON), {}).rung == Rung.NORMAL
    decision = gate.check(book, market_at(NOON + HOUR, **missing), {CALL: -1.0})
    assert not decision.trades.any()
    assert decision.verdict is Verdict.BLOCK
    assert decision.rung <= Rung.BLOCK_NEW


def test_what_is_known_to_be_too_much_is_reduced_whatever_else_is_unknown() -> None:
    gate = gate_of(limits_of(caps={"gross_delta": 100.0}))
    book = Portfolio.of(TABLE, {SPY: 200.0, CALL: 1.0}, 1e6)
    decision = gate.check(book, market_at(NOON, vol=math.nan), {})
    assert decision.rung == Rung.REDUCE
    assert decision.trades[TABLE.index[SPY]] < 0.0


def test_an_order_that_may_never_fill_is_no_reason_to_sell() -> None:
    gate = gate_of(limits_of(caps={"gross_delta": 100.0}))
    book = Portfolio.of(TABLE, {SPY: 90.0}, 1e6, working=[{SPY: 60.0}])
    decision = gate.check(book, market_at(NOON), {SPY: 10.0})
    assert decision.rung == Rung.BLOCK_NEW
    assert decision.verdict is Verdict.BLOCK
    assert not decision.trades.any()


@pytest.mark.parametrize("asked", [0.0, -50.0, -100.0])
def test_a_book_of_lost_equity_is_closed_beside_a_working_order(asked: float) -> None:
    """Every size is an infinite share of a cap of nothing, and some are smaller than others."""
    limits = limits_of(of_equity={"dollar_delta": 1.0}, caps={"delta": 1e5})
    book = Portfolio.of(TABLE, {SPY: 100.0}, -50_000.0, working=[{SPY: 5.0}])
    decision = gate_of(limits).check(book, market_at(NOON), {SPY: asked} if asked else {})
    assert decision.rung == Rung.REDUCE
    assert decision.trades.tolist() == [-100.0, 0.0]


def test_a_flow_counts_where_nothing_is_ordered() -> None:
    gate, book = gate_of(LOSS), Portfolio.of(TABLE, {}, 1e6)
    assert gate.check_orders(book, market_at(NOON - HOUR), []) == ()
    assert gate.check_orders(replace(book, cash=9.5e5), market_at(NOON), [], -5e4) == ()
    decision = gate.check(replace(book, cash=9.5e5), market_at(NOON + 1), {SPY: 1.0})
    assert decision.verdict is Verdict.ALLOW
    assert gate.state.day_start_equity == 9.5e5


def test_one_bad_tick_shrinks_no_cap_into_a_reduction_and_two_do() -> None:
    """Caps that are shares of equity, and an option's quote that is wrong once, or stays so."""
    limits = limits_of(of_equity={"dollar_delta": 1.0}, caps={"delta": 5_000})
    book = Portfolio.of(TABLE, {SPY: 150.0, CALL: -2.0}, 30_000.0)  # a dollar delta of some 50,000
    for wrong, rungs in (
        (1, ["NORMAL", "NORMAL", "BLOCK_NEW", "BLOCK_NEW"]),
        (2, ["NORMAL", "NORMAL", "BLOCK_NEW", "REDUCE"]),
    ):
        gate, told = gate_of(limits), []
        for tick in range(4):
            bad = 2 <= tick < 2 + wrong
            market = market_at(NOON + tick * 120 * 10**9, call=300.0 if bad else 5.0)
            told.append(gate.check(book, market, {}).rung.name)
        assert told == rungs


# -- halted, and off ----------------------------------------------------------------------------

KEY = "close by hand"
HALTING = limits_of(
    caps={"delta": 100}, operator_token_sha256=hashlib.sha256(KEY.encode()).hexdigest(),
    orders={"max_executions": 1},
)  # fmt: skip


def test_at_a_halt_only_reductions_pass_with_the_token_and_the_halt_goes_on() -> None:
    gate, book, now = gate_of(HALTING), Portfolio.of(TABLE, {SPY: 50.0}, 1e6), market_at(NOON)
    with pytest.raises(PermissionError, match="NORMAL; only HALTED"):
        gate.reduce_while_halted(book, now, {SPY: -50.0}, KEY, "out")
    gate.halt("feed is down")
    for token, reason, error in (
        ("guess", "out", PermissionError), (KEY, " ", ValueError), (3, "out", TypeError),
    ):  # fmt: skip
        with pytest.raises(error):
            gate.reduce_while_halted(book, now, {SPY: -50.0}, token, reason)
    halted = gate.state
    assert gate.check(book, now, {SPY: -50.0}).verdict is Verdict.BLOCK
    assert replace(gate.state, assessed_at=None, session=-1).rung == halted.rung
    for lots, done in ((-50.0, -50.0), (10.0, 0.0), (-200.0, -50.0)):
        decision = gate.reduce_while_halted(book, now, {SPY: lots}, KEY, "out")
        assert -100.0 <= decision.trades[0] <= 0.0
        assert lots != done or decision.trades[0] == done
        assert decision.reasons[0].words.endswith("this once: out")
        assert (gate.state.rung, gate.state.halt_reason) == (Rung.HALTED, "feed is down")


def test_a_strategy_that_is_off_trades_in_no_way_and_a_due_reduction_is_still_done() -> None:
    gate, now = gate_of(HALTING), market_at(NOON)
    calm = Portfolio.of(TABLE, {SPY: 50.0}, 1e6)
    gate.executed("condor", NOON - 1)
    for trades in ({SPY: 1.0}, {SPY: -1.0}):
        decision = gate.check(calm, now, trades, strategy="condor")
        assert (decision.verdict, decision.trades.any()) == (Verdict.BLOCK, False)
        assert [reason.code for reason in decision.reasons] == ["throttled"]
        assert ("critical", "throttled") in {(a.level, a.code) for a in decision.alerts}
        assert gate.check(calm, now, trades, strategy="wheel").verdict is Verdict.ALLOW
    state, a = gate.manager.assess(gate.state, calm, now)
    rows = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    for tag, allowed in (("condor", [True, False, False]), ("wheel", [True, True, True])):
        assert gate.manager.mask(a, Proposal(rows, strategy=tag), state).tolist() == allowed
    none = gate.manager.decide(state, a, Proposal(rows[1:], strategy="condor"))[1]
    assert none.verdict is Verdict.VIOLATE
    wild = Portfolio.of(TABLE, {SPY: 130.0}, 1e6)
    decision = gate.check(wild, now, {SPY: -70.0}, strategy="condor")
    assert (decision.verdict, decision.trades[0]) == (Verdict.REDUCE, -40.0)
    gate.re_enable("condor", KEY, "roll day")
    calm_again = gate_of(HALTING, state=replace(gate.state, rung=Rung.NORMAL))
    assert calm_again.check(calm, now, {SPY: 1.0}, strategy="condor").verdict is Verdict.ALLOW


# -- plans of a book with something Unknown in it -----------------------------------------------


@pytest.mark.parametrize(
    ("held", "caps"),
    [
        ({CALL: -1.0, PUT: 2.0}, {"vega": 12.1}),
        ({CALL: -1.0, PUT: 2.0}, {"vega": 12.1, "delta": 255.9}),
        ({SPY: 200.0, CALL: -2.0, PUT: -1.0, LATER: 4.0}, {"contracts": 5, "delta": 114}),
    ],
)
def test_what_closing_everything_would_mend_is_never_unresolved(held, caps) -> None:
    price = {SPY: 400.0, CALL: 5.0, PUT: 20.0, LATER: 0.5}
    deep = replace(CALL, strike=380.0)  # below its intrinsic value, and so Unknown
    held = {deep if i is CALL else i: lots for i, lots in held.items()}
    table = InstrumentTable.of([SPY, deep, PUT, LATER])
    mid = np.array([price.get(i, 5.0) for i in table.instruments])
    vol = np.where(table.kind == 0, 0.0, 0.2)
    market = Market(NOON, table, np.array([400.0]), 0.02, np.zeros(1), mid - 0.01, mid + 0.01, vol)
    manager = PortfolioRiskManager(limits_of(caps=caps), sessions_from(100))
    _, a = manager.assess(BreakerState(), Portfolio.of(table, held, 1e6), market)
    assert a.blocked.any()
    plan = manager.reduction_plan(a)
    assert plan.resolved
    assert evaluate(a, np.cumsum(plan.trades, axis=0)).admissible.all()
