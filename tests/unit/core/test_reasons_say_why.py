"""A denial is understood from its reasons alone, and an error names what is different."""

from __future__ import annotations

import numpy as np
import pytest

from riskenv import (
    Caps,
    Instrument,
    InstrumentTable,
    Market,
    Order,
    Portfolio,
    PortfolioRiskManager,
    RiskGate,
    RiskLimits,
    Sessions,
)

HOUR = 3_600 * 10**9
DAYS = np.arange(40) * 24 * HOUR
SESSIONS = Sessions(DAYS + 14 * HOUR, DAYS + 21 * HOUR)
SPY = Instrument("SPY")
CALL = Instrument("SPY", "C", 400.0, 24 * HOUR * 30, 100.0)
PUT = Instrument("SPY", "P", 400.0, 24 * HOUR * 30, 100.0)
TABLE = InstrumentTable.of([SPY, CALL, PUT])


def gate(**caps: float) -> RiskGate:
    return RiskGate(PortfolioRiskManager(RiskLimits(caps=Caps(**caps)), SESSIONS))


def market(now: int = 15 * HOUR, **call: float) -> Market:
    numbers = {"bid": 12.0, "ask": 12.1, "vol": 0.2} | call
    rows = [TABLE.index[SPY], TABLE.index[CALL], TABLE.index[PUT]]
    columns = {}
    for name, spy, put in (("bid", 399.99, 11.0), ("ask", 400.01, 11.1), ("vol", 0.0, 0.2)):
        columns[name] = np.empty(3)
        columns[name][rows] = spy, numbers[name], put
    return Market(now, TABLE, np.array([400.0]), 0.02, np.zeros(1), **columns)


def words(book: dict, trades: dict, at: Market, by: RiskGate | None = None) -> list[str]:
    by = by or gate(delta=500.0)
    decision = by.check(Portfolio.of(TABLE, book, 1e6), at, trades)
    return [reason.words for reason in decision.reasons]


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ({"bid": 99.0}, "quote crossed"),
        ({"bid": np.nan}, "quote missing"),
        ({"vol": np.nan}, "vol invalid"),
    ],
)
def test_an_unknown_instrument_is_denied_with_what_is_wrong_with_it(call, why) -> None:
    said = words({}, {CALL: 1.0}, market(**call))[0]
    assert said.startswith(f"SPY 1970-01-31 400 C: is Unknown ({why})")


def test_what_expires_with_an_unknown_position_names_it() -> None:
    said = words({CALL: 1.0}, {PUT: 1.0}, market(vol=np.nan))[0]
    assert "P: expires with SPY 1970-01-31 400 C, which is Unknown (vol invalid)" in said


def test_lots_that_are_no_number_do_not_accuse_the_quote() -> None:
    said = words({}, {CALL: np.nan}, market())[0]
    assert said.startswith("SPY 1970-01-31 400 C: nan contracts is no size")


def test_a_rung_says_what_holds_it() -> None:
    by = gate(delta=100.0)
    assert "BLOCK_NEW (delta)" in words({SPY: 110.0}, {SPY: 1.0}, market(), by)[0]
    # Back inside on the same day, the rung is kept.
    assert "BLOCK_NEW (kept" in words({SPY: 95.0}, {SPY: 1.0}, market(16 * HOUR), by)[0]


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (Instrument("SPY", "C", 400.0, CALL.expiry, 10.0), "multiplier 10.0 .* multiplier 100.0"),
        (Instrument("SPY", currency="EUR"), "currency EUR .* currency USD"),
        (Instrument("QQQ"), "order: QQQ is not in the market snapshot; "),
    ],
)
def test_an_order_in_another_contract_says_what_differs(order, said) -> None:
    with pytest.raises(ValueError, match=said):
        gate(delta=1.0).check_order(Portfolio.of(TABLE, {}, 0.0), market(), Order(order, 1, 1.0))


def test_an_order_of_nothing_is_no_order() -> None:
    with pytest.raises(ValueError, match=r"^order: got 0 lots; allowed: a number other than 0$"):
        gate(delta=1.0).check_order(Portfolio.of(TABLE, {}, 0.0), market(), Order(SPY, 0, 400.0))
