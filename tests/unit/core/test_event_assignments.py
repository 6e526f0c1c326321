"""Short calls that an ex-dividend date puts at risk of assignment are named."""

from __future__ import annotations

import numpy as np
import pytest

from riskenv import (
    BreakerState,
    Caps,
    Event,
    Instrument,
    InstrumentTable,
    Market,
    Portfolio,
    PortfolioRiskManager,
    Proposal,
    RiskLimits,
    Sessions,
)

DAY = 86_400 * 10**9
OPENS = np.arange(40) * DAY + DAY // 2
SESSIONS = Sessions(OPENS, OPENS + DAY // 4)
NOW = 5 * DAY + DAY * 5 // 8
EX_DATE = Event("ex_dividend", 8 * DAY, 0, symbol="KO")


def call(strike: float = 50.0, expiry: int = 30 * DAY, right="C", exercise="american"):
    return Instrument("KO", right, strike, expiry, 100.0, exercise=exercise)


def named(contract: Instrument, lots: float, mid=10.2, dividend=0.46, events=(EX_DATE,)):
    table = InstrumentTable.of([contract])
    market = Market(
        NOW, table, np.array([60.0]), 0.02, np.zeros(1), np.array([mid - 0.1]),
        np.array([mid + 0.1]), np.array([0.2]), dividends=np.array([dividend]),
    )  # fmt: skip
    manager = PortfolioRiskManager(RiskLimits(caps=Caps()), SESSIONS, events=events)
    state, a = manager.assess(
        BreakerState(), Portfolio.of(table, {contract: lots}, cash=1e6), market
    )
    decision = manager.decide(state, a, Proposal(np.zeros((1, 1))))[1]
    told = [alert.measure for alert in decision.alerts if alert.code == "assignment_risk"]
    rows = manager.report(a)["events"]["assignment_risks"]
    assert [row["contract"] for row in rows] == told
    return rows


def test_a_short_call_worth_exercising_for_the_dividend_is_named() -> None:
    (row,) = named(call(), -3.0)
    assert row["words"] == (
        "KO 1970-01-31 50 C: 3 short may be assigned before ex_dividend of KO at "
        "1970-01-09T00:00:00Z: time value 0.2, dividends 0.46"
    )


@pytest.mark.parametrize(
    ("contract", "lots", "changes"),
    [
        (call(), 3.0, {}),  # long
        (call(), -3.0, {"mid": 10.6}),  # 0.6 of time value is more than the dividend
        (call(strike=65.0), -3.0, {"mid": 0.3}),  # out of the money
        (call(expiry=7 * DAY), -3.0, {}),  # expires before
        (call(exercise="european"), -3.0, {}),
        (call(right="P", strike=70.0), -3.0, {}),
        (call(), -3.0, {"events": ()}),
        (call(), -3.0, {"events": (Event("ex_dividend", 8 * DAY, 0, symbol="PEP"),)}),
        (call(), -3.0, {"events": (Event("earnings", 8 * DAY, 0, symbol="KO"),)}),
    ],
)
def test_what_would_not_be_exercised_is_not(contract, lots, changes) -> None:
    assert named(contract, lots, **changes) == []


@pytest.mark.parametrize("changes", [{"dividend": 0.0, "mid": 10.6}, {"mid": np.nan}])
def test_what_is_not_known_is_no_comfort(changes) -> None:
    assert len(named(call(), -1.0, **changes)) == 1
