"""An order that the caps let pass is still put to the controls on orders, and counts once sent."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from riskenv import (
    BreakerState,
    Caps,
    Decision,
    Instrument,
    InstrumentTable,
    Market,
    Order,
    OrderLimits,
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
from riskenv.order_decision import fair_value, proposal_for_order
from riskenv.pricing import black_scholes_price, implied_volatility
from riskenv.pricing.american import american_price

SECOND = 10**9
HOUR = 3_600 * SECOND
DAYS = np.arange(40) * 24 * HOUR
SESSIONS = Sessions(DAYS + 14 * HOUR, DAYS + 21 * HOUR)
NOW = 15 * HOUR
SPY, XLF = Instrument("SPY"), Instrument("XLF")
CALL = Instrument("SPY", "C", 400.0, 24 * HOUR * 30, 100.0)
TABLE = InstrumentTable((SPY, CALL, XLF))
TOKEN = "carry on"
SECRET = hashlib.sha256(TOKEN.encode()).hexdigest()
# At which the call is worth 10.2, the middle of its quote.
VOL = float(implied_volatility(10.2, 400.0, 400.0, (24 * 30 - 15) / 8760, 0.02, 0.02, True).vol)
COLLAR = {"collar": {"share": 0.01}}


def gate(state: BreakerState | None = None, caps: dict | None = None, **orders: Any) -> RiskGate:
    both = {k: orders.pop(k) for k in list(orders) if k in ("collar", "max_volume", "max_value")}
    if both:
        orders |= {"options": both, "underlyings": both}
    limits = RiskLimits(
        caps=Caps(**(caps or {"delta": 100.0})),
        orders=load_config(OrderLimits, orders),
        operator_token_sha256=SECRET,
    )
    return RiskGate(PortfolioRiskManager(limits, SESSIONS), state)


def market(now: int = NOW, **changes: Any) -> Market:
    quotes = Market(
        now, TABLE, np.array([400.0, 300.0]), 0.02, np.zeros(2),
        np.array([399.9, 10.0, 299.9]), np.array([400.1, 10.4, 300.1]), np.array([0.0, VOL, 0.0]),
    )  # fmt: skip
    return replace(quotes, **changes)


def book(spy: float = 0.0, **other: Any) -> Portfolio:
    return Portfolio.of(TABLE, {SPY: spy}, cash=1e6, **other)


def ask(
    by: RiskGate, order: Order, now: int = NOW, spy: float = 0.0, **changes: Any
) -> tuple[Verdict, list[str]]:
    decision = by.check_order(book(spy), market(now, **changes), order)
    return decision.verdict, codes(decision)


def codes(decision: Decision) -> list[str]:
    return [reason.code for reason in decision.reasons]


def buy(lots: float = 10.0, price: float | None = 400.0, of: Instrument = SPY, **tags) -> Order:
    return Order(of, lots, price, **tags)


# --- each control blocks in the gate --------------------------------------------------------------


@pytest.mark.parametrize(
    ("controls", "order", "changes", "denied"),
    [
        (COLLAR, buy(10, 404.0), {}, []),
        (COLLAR, buy(10, 404.01), {}, ["price_collar"]),
        (COLLAR, buy(-10, 395.99), {}, ["price_collar"]),
        (COLLAR, buy(10, None), {}, ["collar_market_order"]),
        # The mid of the call is 10.2; its half-spread 0.2.
        (COLLAR, buy(1, 10.31, CALL), {}, ["price_collar"]),
        ({"collar": {"half_spreads": 2}}, buy(1, 10.599, CALL), {}, []),
        ({"collar": {"half_spreads": 2}}, buy(1, 10.601, CALL), {}, ["price_collar"]),
        ({"max_volume": 10}, buy(10), {}, []),
        ({"max_volume": 9}, buy(10), {}, ["order_volume"]),
        ({"max_value": 4000}, buy(10), {}, []),
        ({"max_value": 3999}, buy(10), {}, ["order_value"]),
        ({"max_value": 1020}, buy(1, 10.2, CALL), {}, []),
        ({"max_value": 1019}, buy(1, 10.2, CALL), {}, ["order_value"]),
        ({}, buy(10, math.nan), {}, ["order_invalid"]),
        ({}, buy(10, -1.0), {}, ["order_invalid"]),
    ],
)
def test_a_breach_of_a_control_blocks_with_its_code(controls, order, changes, denied) -> None:
    by = gate(**controls)
    decision = by.check_order(book(), market(**changes), order)
    assert codes(decision) == denied
    assert decision.verdict == (Verdict.BLOCK if denied else Verdict.ALLOW)
    sent = None if denied else order
    assert decision.order == sent
    assert decision.trades.any() == (sent is not None)
    assert decision.to_dict()["order"] == (sent and sent.to_dict())
    json.loads(decision.to_bytes())


def test_an_options_price_is_held_against_the_models_value_at_the_markets_volatility() -> None:
    """A volatility of another source than the quote, as a model's own or a feed's."""
    vol = np.array([0.0, 0.3, 0.0])
    worth = float(black_scholes_price(400.0, 400.0, (24 * 30 - 15) / 8760, 0.02, 0.0, 0.3, True))
    assert worth > 13.5
    by = gate(**COLLAR)
    assert ask(by, buy(1, 10.2, CALL), vol=vol)[1] == ["price_collar"]
    assert ask(by, buy(1, worth * 1.009, CALL), vol=vol)[1] == []
    assert ask(by, buy(1, worth * 1.011, CALL), vol=vol)[1] == ["price_collar"]
    # A market order fills at the quote, which is not where the model has it.
    market_orders = {"collar": {"share": 0.01, "market_orders": "at_quote"}}
    assert ask(gate(**market_orders), buy(1, None, CALL), vol=vol)[1] == ["price_collar"]
    assert ask(gate(**market_orders), buy(1, None, CALL))[1] == ["price_collar"]  # 10.4
    wide = {"collar": {"share": 0.02, "market_orders": "at_quote"}}
    assert ask(gate(**wide), buy(1, None, CALL))[1] == []


@pytest.mark.parametrize("exercise", ["european", "american"])
def test_the_value_is_that_of_the_contracts_exercise(exercise: str) -> None:
    put = Instrument("SPY", "P", 420.0, 24 * HOUR * 200, 100.0, exercise=exercise)
    table = InstrumentTable.of([put])
    quote = np.array([25.0])
    it = Market(NOW, table, np.array([400.0]), 0.06, np.zeros(1), quote, quote + 1.0,
                np.array([0.2]))  # fmt: skip
    years = (24 * 200 - 15) / 8760
    worth = {
        "american": american_price(400.0, 420.0, years, 0.06, 0.06, 0.2, False),
        "european": black_scholes_price(400.0, 420.0, years, 0.06, 0.0, 0.2, False),
    }
    assert fair_value(it, 0) == pytest.approx(float(worth[exercise]), rel=1e-12)
    assert worth["american"] > worth["european"] + 0.5
    # Without a volatility the quote is what there is.
    assert fair_value(replace(it, vol=np.array([np.nan])), 0) == 25.5


def test_the_same_order_twice_is_a_duplicate_until_its_time_is_over() -> None:
    by = gate(duplicate_seconds=2)
    assert ask(by, buy()) == (Verdict.ALLOW, [])
    assert ask(by, buy(), NOW + 2 * SECOND - 1) == (Verdict.BLOCK, ["duplicate_order"])
    assert ask(by, buy(price=399.0), NOW + 2 * SECOND - 1) == (Verdict.ALLOW, [])
    assert ask(by, buy(), NOW + 2 * SECOND) == (Verdict.ALLOW, [])


def test_orders_and_cancels_share_a_rate_and_what_is_not_sent_takes_no_room() -> None:
    by = gate(messages={"max_messages": 2, "seconds": 1}, **COLLAR)
    assert ask(by, buy(10, 500.0))[1] == ["price_collar"]
    assert ask(by, buy(1000), spy=100.0) == (Verdict.BLOCK, ["cap_exceeded"])
    assert ask(by, buy(1))[1] == []
    by.cancelled(NOW)
    assert ask(by, buy(2), NOW + SECOND - 1) == (Verdict.BLOCK, ["message_rate"])
    by.cancelled(NOW)  # reported late: counts at the last instant seen, and is never denied
    assert ask(by, buy(2), NOW + SECOND)[1] == []
    assert ask(by, buy(3), NOW + SECOND)[1] == ["message_rate"]


def test_where_a_quote_is_none_an_order_is_denied_and_where_a_rate_is_none_its_value_is() -> None:
    empty = market().bid.copy()
    empty[0] = np.nan
    closing = buy(-10)
    assert ask(gate(**COLLAR), closing, spy=10.0, bid=empty)[1][-1] == "collar_unknown"
    in_euros = {"currency": "EUR", "fx": {"USD": math.nan}}
    decision = gate(max_value=1e9).check_order(book(10.0), market(**in_euros), closing)
    assert codes(decision)[-1:] == ["value_unknown"]
    assert decision.order is None


def test_a_rate_of_exchange_counts_in_an_orders_value() -> None:
    in_euros = {"currency": "EUR", "fx": {"USD": 0.5}}
    assert ask(gate(max_value=2000), buy(10), **in_euros)[1] == []
    assert ask(gate(max_value=1999), buy(10), **in_euros)[1] == ["order_value"]


# --- beside the caps ------------------------------------------------------------------------------


def test_an_order_that_a_cap_cuts_is_judged_and_counted_with_the_lots_left() -> None:
    """60 of 100 deltas are held: 40 of 50 shares remain."""
    by = gate(max_volume=50, duplicate_seconds=5)
    decision = by.check_order(book(60.0), market(), buy(50, client_id="a7"))
    assert (decision.verdict, codes(decision)) == (Verdict.RESIZE, ["cap_exceeded"])
    assert decision.order == buy(40, client_id="a7")
    assert [message.lots for message in by.state.orders.messages] == [40.0]
    assert ask(by, buy(40)) == (Verdict.BLOCK, ["duplicate_order"])


def test_an_order_too_large_as_asked_for_is_a_mistake_of_which_no_part_is_sent() -> None:
    """40 of 50 shares remain, which would pass by themselves."""
    by = gate(max_volume=49)
    assert ask(by, buy(50), spy=60.0) == (Verdict.BLOCK, ["cap_exceeded", "order_volume"])
    assert by.state.orders.messages == ()
    assert ask(by, buy(40), spy=60.0) == (Verdict.ALLOW, [])


def test_what_the_caps_stop_is_never_sent_and_no_message() -> None:
    by = gate(duplicate_seconds=5)
    for _ in range(3):
        decision = by.check_order(book(100.0), market(), buy(1))
        assert (decision.verdict, codes(decision)) == (Verdict.BLOCK, ["cap_exceeded"])
        assert decision.order is None
    assert by.state.orders.messages == ()


def test_orders_that_fit_one_by_one_and_not_together_are_cut() -> None:
    orders = [buy(60), buy(60, 399.0), buy(-60, 401.0), buy(30, 398.0)]
    first, second, third, fourth = gate().check_orders(book(), market(), orders)
    assert [d.verdict for d in (first, second, third, fourth)] == [
        Verdict.ALLOW, Verdict.RESIZE, Verdict.ALLOW, Verdict.BLOCK,
    ]  # fmt: skip
    # The sale may not be filled: it makes no room for the last one.
    assert [d.order and d.order.lots for d in (first, second, third, fourth)] == [60, 40, -60, None]
    assert fourth.after_interval[:, 0].tolist() == [-60.0, 100.0]


def test_one_order_is_a_batch_of_one_and_a_batch_counts_a_flow_once() -> None:
    orders = [buy(5), buy(6)]
    one, many = gate(), gate()
    for by in (one, many):
        by.check(book(), market(), {})
    together = many.check_orders(book(), market(), orders, external_flow=-500.0)
    singly = one.check_order(book(), market(), orders[0], external_flow=-500.0)
    assert singly.to_bytes() == together[0].to_bytes()
    assert many.state.day_start_equity == 1e6 - 500.0 == together[1].state.day_start_equity
    assert gate().check_orders(book(), market(), []) == ()


def test_an_order_that_cannot_be_one_leaves_nothing_of_its_batch_behind() -> None:
    by = gate(duplicate_seconds=5)
    for bad, words in (
        (buy(of=Instrument("IWM")), "IWM is not in the market"),
        (buy(None), "None lots"),
        (buy("x"), "'x' lots"),
        (buy(0.0), "got 0 lots"),
        (buy(10, "x"), "limit_price 'x'"),
    ):
        with pytest.raises(ValueError, match=words):
            by.check_orders(book(), market(), [buy(), bad])
    assert by.state == BreakerState()
    assert ask(by, buy(math.nan))[0] == Verdict.BLOCK


# --- where the layer acts by itself ---------------------------------------------------------------


def test_a_forced_reduction_takes_an_orders_place_and_is_ordered_once() -> None:
    """Rung REDUCE from 125 deltas; the reduction is no order of the client's, and no message."""
    by = gate(duplicate_seconds=5)
    first, second = by.check_orders(book(200.0), market(), [buy(5), buy(6)])
    assert (first.rung, first.verdict) == (Rung.REDUCE, Verdict.REDUCE)
    assert codes(first) == ["rung_reduce", "cap_exceeded", "order_replaced"]
    assert first.trades[0] <= -110.0
    assert (first.order, second.order) == (None, None)
    assert not second.trades.any()
    assert by.state.orders.messages == ()


def test_an_order_that_is_the_reduction_is_sent_and_denied_it_gives_way_to_one() -> None:
    closing = buy(-150)
    sent = gate().check_order(book(200.0), market(), closing)
    assert (sent.verdict, sent.order) == (Verdict.ALLOW, closing)
    denied = gate(max_volume=100).check_order(book(200.0), market(), closing)
    assert denied.verdict == Verdict.REDUCE
    assert denied.order is None
    assert codes(denied)[-1] == "order_volume"
    assert denied.trades[0] == -110.0  # to the release level, 90
    assert denied.row != denied.asked


def test_a_halted_gate_sends_nothing() -> None:
    by = gate()
    by.halt("news")
    assert ask(by, buy()) == (Verdict.BLOCK, ["rung_halted"])


# --- the throttle ---------------------------------------------------------------------------------


def test_a_strategy_that_is_off_stays_off_over_restarts_until_the_operators_token() -> None:
    by = gate(max_executions=2)
    for second in (1, 2):
        by.executed("condor", NOW + second * SECOND)
    mine, other = buy(strategy="condor"), buy(strategy="wheel")
    for day in range(3):
        by = gate(
            BreakerState.from_dict(json.loads(json.dumps(by.state.to_dict()))), max_executions=2
        )
        decision = by.check_order(book(), market(NOW + HOUR + int(DAYS[day])), mine)
        assert (decision.verdict, codes(decision)) == (Verdict.BLOCK, ["throttled"])
        assert [(alert.level, alert.code) for alert in decision.alerts] == [
            ("critical", "throttled")
        ]
        assert ask(by, other, NOW + HOUR + int(DAYS[day]))[1] == []
        with pytest.raises(PermissionError, match="not the operator's"):
            by.re_enable("condor", "please", "roll day")
        with pytest.raises(ValueError, match="reason"):
            by.re_enable("condor", TOKEN, " ")
    by.re_enable("condor", TOKEN, "roll day")
    assert by.state.orders.re_enabled == (("condor", "roll day"),)
    assert ask(by, mine, NOW + HOUR + int(DAYS[3])) == (Verdict.ALLOW, [])


def test_an_execution_that_is_reported_late_counts_all_the_same() -> None:
    by = gate(max_executions=1)
    assert ask(by, buy(strategy="condor"), NOW)[1] == []
    by.executed("condor", NOW - HOUR)
    assert ask(by, buy(strategy="condor"), NOW)[1] == ["throttled"]


# --- the state ------------------------------------------------------------------------------------


def test_what_was_sent_is_in_the_state_and_its_digest() -> None:
    sent, idle = gate(duplicate_seconds=5), gate(duplicate_seconds=5)
    for by in (sent, idle):
        by.check(book(), market(), {})
    assert sent.state.digest == idle.state.digest
    decision = sent.check_order(book(), market(), buy())
    idle.check(book(), market(), {SPY: 10.0})
    assert sent.state.digest == decision.state.digest != idle.state.digest
    assert replace(sent.state, orders=idle.state.orders) == idle.state


def test_a_what_if_sends_nothing_and_a_mask_has_no_orders() -> None:
    by = gate(duplicate_seconds=5, max_volume=5)
    state, assessment = by.manager.assess(by.state, book(), market())
    for order, verdict in ((buy(5), Verdict.ALLOW), (buy(6), Verdict.BLOCK)):
        proposal = proposal_for_order(assessment, order)
        for _ in range(2):
            assert by.manager.what_if(state, assessment, proposal).verdict == verdict
        with pytest.raises(ValueError, match="has an order"):
            by.manager.mask(assessment, proposal)
    assert state.orders == BreakerState().orders == by.state.orders


def test_the_limits_on_orders_are_in_the_configurations_digest() -> None:
    plain, other = gate(), gate(max_volume=5)
    assert plain.manager.config_digest != other.manager.config_digest


def test_trades_that_are_no_order_are_put_to_no_control() -> None:
    by = gate(max_volume=1)
    assert by.check(book(), market(), {SPY: 10.0}).verdict == Verdict.ALLOW


# --- proposals ------------------------------------------------------------------------------------

ROWS = np.array([[10.0, 0.0, 0.0], [5.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
CLOSE = np.array([[-5.0, 3.0, 0.0]])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"order": buy(np.float32(10), np.int64(400))}, None),
        ({"order": buy(9)}, "got 9 lots; allowed: the asked row's"),
        ({"asked": 2}, "got 10 lots"),
        ({"asked": 2, "order": buy(0)}, "got 0 lots"),
        ({"trades": ROWS + np.array([0.0, 1.0, 0.0])}, "in one instrument"),
        ({"trades": ROWS[:2]}, "no empty row"),
        ({"trades": np.vstack([ROWS, CLOSE])}, "got row 3 beside an order"),
        ({"trades": np.vstack([ROWS, CLOSE]), "forced": np.vstack([0 * ROWS, CLOSE])}, None),
        (
            {"trades": np.vstack([ROWS, CLOSE + ROWS[0]]), "forced": np.vstack([0 * ROWS, CLOSE])},
            "got row 3 beside an order",
        ),
        ({"strategy": "wheel"}, "order.strategy: got ''; allowed: the proposal's 'wheel'"),
        ({"order": buy("ten")}, "lots 'ten'"),
    ],
)
def test_an_order_is_what_the_asked_row_says(changes: dict, words: str | None) -> None:
    given = {"trades": ROWS, "order": buy(10)} | changes
    if words is None:
        order = Proposal(**given).order
        assert order is not None
        assert (order.lots, type(order.lots), type(order.limit_price)) == (10.0, float, float)
        return
    with pytest.raises(ValueError, match=words):
        Proposal(**given)


@pytest.mark.parametrize("instrument", [XLF, Instrument("IWM")])
def test_an_order_in_another_instrument_than_its_row_is_refused(instrument: Instrument) -> None:
    proposal = Proposal(ROWS, order=buy(10, of=instrument))
    with pytest.raises(ValueError, match=f"got {instrument.symbol}, which is not what"):
        gate().decide(book(), market(), proposal)


def test_an_order_leaves_the_verdict_of_the_caps_as_it_is() -> None:
    """Without a control, an order and its trade differ in nothing but the order."""
    rng = np.random.default_rng(0)
    for held, lots in rng.integers(-150, 150, (40, 2)).tolist():
        if not lots:
            continue
        plain, ordered = gate(), gate()
        trade = plain.check(book(held), market(), {SPY: lots})
        order = ordered.check_order(book(held), market(), buy(lots))
        if trade.rung >= Rung.REDUCE:
            continue  # an order is replaced by a reduction there, not added to it
        assert (order.verdict, codes(order)) == (trade.verdict, codes(trade))
        assert order.trades.tolist() == trade.trades.tolist()


def test_a_proposal_without_an_order_has_none() -> None:
    assert Proposal(ROWS).order is None


# --- sinks ----------------------------------------------------------------------------------------


def test_every_decision_of_the_gate_reaches_its_sinks() -> None:
    class Seen:
        def __init__(self) -> None:
            self.bytes: list[bytes] = []

        def receive(self, decision: Decision) -> None:
            self.bytes.append(decision.to_bytes())

    class Broken:
        def receive(self, decision: Decision) -> None:
            raise OSError("disk full")

    seen = Seen()
    by = RiskGate(gate().manager, sinks=[Broken(), seen])
    made = [
        by.check(book(), market(), {SPY: 1.0}),
        by.decide(book(), market(), Proposal(ROWS)),
        by.check_order(book(), market(), buy(1)),
        *by.check_orders(book(), market(), [buy(2), buy(3)]),
    ]
    assert seen.bytes == [decision.to_bytes() for decision in made]
