"""Working orders that an event makes unwise are named, with what to do; none is cancelled."""

from __future__ import annotations

import numpy as np
import pytest

from riskenv import (
    BreakerState,
    Caps,
    Event,
    EventPolicy,
    EventRule,
    FactorHistory,
    Instrument,
    InstrumentTable,
    Market,
    Portfolio,
    PortfolioRiskManager,
    RiskLimits,
    Sessions,
    VarConfig,
)
from riskenv.projection import Proposal

DAY = 86_400 * 10**9
CLOSES = (np.arange(200) + 1) * DAY
SESSIONS = Sessions(CLOSES - DAY // 4, CLOSES)
NOW = int(CLOSES[149]) - 10**9
AAPL, MSFT = Instrument("AAPL"), Instrument("MSFT")
CALL = Instrument("AAPL", "C", 100.0, 190 * DAY, 100.0)
TABLE = InstrumentTable.of([AAPL, MSFT, CALL])
EARNINGS = Event("earnings", int(CLOSES[149]) + 10**9, 0, symbol="AAPL")
BLOCK = EventRule(event_type="earnings", sessions_before=2, block_new=True, gap_log_return=0.1)
FLATTEN = EventRule(event_type="earnings", sessions_before=1, action="flatten", gap_log_return=0.1)
ENTERS, HOLDS = "event_order_enters", "event_order_holds_up"


def market() -> Market:
    option = TABLE.kind != 0
    mid = np.where(option, 8.0, 100.0)
    spot = np.full(2, 100.0)
    vol = np.where(option, 0.3, 0.0)
    return Market(NOW, TABLE, spot, 0.0, np.zeros(2), mid - 0.05, mid + 0.05, vol)


def manager(rule: EventRule, events=(EARNINGS,)) -> PortfolioRiskManager:
    rng = np.random.default_rng(1)
    moves = 0.01 * rng.standard_normal((149, 2))
    return PortfolioRiskManager(
        RiskLimits(caps=Caps(gap_loss=1e5)),
        SESSIONS,
        history=FactorHistory(("AAPL", "MSFT"), CLOSES[:149], moves, -moves),
        var=VarConfig(window=120, min_scenarios=100),
        events=events,
        event_policy=EventPolicy(rules=(rule,)),
    )


def assessed(rule: EventRule, held, working, **given):
    layer = manager(rule, **given)
    book = Portfolio.of(TABLE, held, 1e6, working=working)
    state, a = layer.assess(BreakerState(), book, market())
    return layer, state, a


@pytest.mark.parametrize(
    ("rule", "held", "working", "named"),
    [
        (BLOCK, {}, [{AAPL: 5.0}], [(ENTERS, "working[0] (+5 AAPL)")]),
        (BLOCK, {}, [{MSFT: 5.0}], []),
        (BLOCK, {AAPL: 5.0}, [{AAPL: -5.0}], []),  # it only closes
        (BLOCK, {AAPL: 5.0}, [{AAPL: -6.0}], [(ENTERS, "working[0] (-6 AAPL)")]),
        # Each closes; both together turn the position round.
        (
            BLOCK,
            {AAPL: 5.0},
            [{AAPL: -3.0}, {AAPL: -3.0}],
            [(ENTERS, "working[0] (-3 AAPL)"), (ENTERS, "working[1] (-3 AAPL)")],
        ),
        # It closes shares, and takes the cover from a short call.
        (BLOCK, {AAPL: 100.0, CALL: -1.0}, [{AAPL: -50.0}], [(ENTERS, "working[0] (-50 AAPL)")]),
        (
            BLOCK,
            {},
            [{MSFT: 2.0}, {AAPL: -1.0, MSFT: 1.0}],
            [(ENTERS, "working[1] (-1 AAPL, +1 MSFT)")],
        ),
        (FLATTEN, {AAPL: 8.0}, [{AAPL: -5.0}], [(HOLDS, "working[0] (-5 AAPL)")]),
        (FLATTEN, {AAPL: 8.0, MSFT: 3.0}, [{MSFT: -3.0}], []),
        (
            FLATTEN,
            {AAPL: 8.0},
            [{AAPL: -5.0}, {AAPL: 2.0}],
            [(HOLDS, "working[0] (-5 AAPL)"), (ENTERS, "working[1] (+2 AAPL)")],
        ),
        (FLATTEN, {AAPL: 8.0}, [], []),
    ],
)
def test_orders_to_cancel_are_named(rule, held, working, named) -> None:
    layer, state, a = assessed(rule, held, working)
    assert [(why.code, why.measure) for why in a.orders_to_cancel] == named
    alerts = [(x.code, x.measure) for x in a.alerts if x.code in (ENTERS, HOLDS)]
    assert alerts == named
    rows = layer.report(a)["events"]["orders_to_cancel"]
    assert [(row["code"], row["order"]) for row in rows] == named
    assert all("cancel it" in row["words"] and "earnings of AAPL" in row["words"] for row in rows)
    # A trader reads it whatever is asked for, nothing included.
    decision = layer.decide(state, a, Proposal(np.zeros((1, len(TABLE)))))[1]
    assert [(x.code, x.measure) for x in decision.alerts if x.code in (ENTERS, HOLDS)] == named


def test_no_order_is_named_where_no_event_blocks() -> None:
    _, _, a = assessed(BLOCK, {AAPL: 5.0}, [{AAPL: 5.0}], events=())
    assert a.orders_to_cancel == ()


def test_the_gap_loss_counts_an_order_that_may_fill() -> None:
    """Ten shares, and ten more at work: a fall of 10 % takes twice as much, and is known."""
    reports = {}
    for lots in (0.0, 10.0):
        layer, _, a = assessed(BLOCK, {AAPL: 10.0}, [{AAPL: lots}] if lots else [])
        reports[lots] = layer.report(a)["events"]
    one_fall = 10.0 * 100.0 * (np.exp(-0.1) - 1.0)
    assert reports[0.0]["gap_loss"] == pytest.approx(one_fall)
    assert reports[10.0]["gap_loss"] == pytest.approx(2.0 * one_fall)
    assert reports[10.0]["risk_level"] == "normal"
