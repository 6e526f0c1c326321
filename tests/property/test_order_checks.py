"""Over any sequence of orders, cancels, executions, tokens and restarts the controls hold."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from riskenv import Instrument, load_config
from riskenv.order_checks import Order, check_order
from riskenv.order_limits import OrderLimits
from riskenv.order_window import OrderWindow, re_enable, record_cancel, record_execution

from .worlds import FAST

SECOND = 10**9
TOKEN = "carry on"
SECRET = hashlib.sha256(TOKEN.encode()).hexdigest()
EXPIRY = 1_221_854_400_000_000_000
SHARE = Instrument("SPY")
CALL = Instrument("SPY", "C", 400.0, EXPIRY, 100.0)
CAPS = {
    "collar": {"share": 0.1, "half_spreads": 4, "market_orders": "at_quote"},
    "period_collar": {"share": 0.15, "seconds": 3, "market_orders": "at_quote"},
    "max_value": 5000,
    "max_volume": 10,
}
RATE, RATE_WINDOW, DUPLICATE_WINDOW, EXECUTIONS = 3, 2 * SECOND, SECOND, 2
LIMITS = load_config(
    OrderLimits,
    {
        "options": CAPS,
        "underlyings": CAPS,
        "messages": {"max_messages": RATE, "seconds": RATE_WINDOW / SECOND},
        "duplicate_seconds": DUPLICATE_WINDOW / SECOND,
        "max_executions": EXECUTIONS,
    },
)

strategies = st.sampled_from(["", "condor", "wheel"])
orders = st.builds(
    Order,
    st.sampled_from([SHARE, CALL]),
    st.sampled_from([-11, -5, -1, 1, 2, 12]),
    st.sampled_from([None, 8.0, 9.5, 10.0, 11.0]),
    strategies,
)
steps = st.sampled_from([0, 1, SECOND // 2, SECOND - 1, SECOND, 2 * SECOND, 10 * SECOND])


class Desk(RuleBasedStateMachine):
    """The controls beside a history that forgets nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.window = OrderWindow()
        self.now = 0
        self.sent: list[tuple[int, Order | None, float]] = []  # time, order or cancel, fair value
        self.executions: dict[str, int] = {}
        self.off: set[str] = set()

    def within(self, span: int) -> list[tuple[int, Order | None, float]]:
        return [sent for sent in self.sent if self.now - span < sent[0]]

    @rule(
        order=orders,
        later=steps,
        fair=st.sampled_from([9.0, 10.0, 10.5, math.nan]),
        multiplier=st.sampled_from([1.0, 100.0]),
    )
    def somebody_orders(self, order: Order, later: int, fair: float, multiplier: float) -> None:
        self.now += later
        half = 0.1
        before = self.window
        digest = before.digest
        asked = (before, order, self.now, fair, half, multiplier, 1.0, LIMITS)
        self.window, reasons = check_order(*asked)
        assert check_order(*asked) == (self.window, reasons)
        assert before.digest == digest
        price = fair + math.copysign(half, order.lots)
        price = price if order.limit_price is None else order.limit_price
        wanted = {
            "price_collar": abs(price - fair) > max(0.1 * fair, 4 * half),
            "period_collar": not math.isnan(fair)
            and any(
                past is not None
                and past.instrument == order.instrument
                and abs(price - reference) > 0.15 * reference
                for _, past, reference in self.within(3 * SECOND)
            ),
            "collar_unknown": math.isnan(fair),
            "value_unknown": math.isnan(fair),
            "order_value": not math.isnan(fair)
            and abs(order.lots) * max(price, fair) * multiplier > 5000,
            "order_volume": abs(order.lots) > 10,
            "message_rate": len(self.within(RATE_WINDOW)) >= RATE,
            "duplicate_order": any(
                past is not None
                and (past.instrument, past.lots, past.limit_price)
                == (order.instrument, order.lots, order.limit_price)
                for _, past, _ in self.within(DUPLICATE_WINDOW)
            ),
            "throttled": order.strategy in self.off,
        }
        assert sorted(r.code for r in reasons) == sorted(c for c, is_so in wanted.items() if is_so)
        if not reasons:
            self.sent.append((self.now, order, fair))
            assert len(self.within(RATE_WINDOW)) <= RATE

    @rule(later=steps)
    def somebody_cancels(self, later: int) -> None:
        self.now += later
        self.window = record_cancel(self.window, self.now, LIMITS)
        self.sent.append((self.now, None, math.nan))

    @rule(strategy=strategies, later=steps)
    def a_strategy_is_executed(self, strategy: str, later: int) -> None:
        self.now += later
        self.window = record_execution(self.window, strategy, self.now, LIMITS)
        self.executions[strategy] = self.executions.get(strategy, 0) + 1
        if self.executions[strategy] >= EXECUTIONS:
            self.off.add(strategy)

    @rule(strategy=strategies, token=st.text(max_size=12) | st.just(SECRET))
    def somebody_guesses(self, strategy: str, token: str) -> None:
        try:
            self.window = re_enable(self.window, strategy, token, LIMITS, "please", SECRET)
        except PermissionError:
            return
        raise AssertionError(f"{token!r} put {strategy!r} on")

    @precondition(lambda self: self.off)
    @rule(data=st.data())
    def the_operator_re_enables(self, data: st.DataObject) -> None:
        strategy = data.draw(st.sampled_from(sorted(self.off)))
        self.window = re_enable(self.window, strategy, TOKEN, LIMITS, "roll day", SECRET)
        self.off.remove(strategy)
        del self.executions[strategy]

    @rule()
    def process_restarts(self) -> None:
        saved = json.dumps(self.window.to_dict())
        restored = OrderWindow.from_dict(json.loads(saved))
        assert restored == self.window
        assert json.dumps(restored.to_dict()) == saved
        self.window = restored

    @invariant()
    def the_window_holds_what_the_history_does(self) -> None:
        assert dict(self.window.executions) == self.executions
        assert set(self.window.throttled) == self.off
        assert len(self.window.messages) <= len(self.within(3 * SECOND))


Desk.TestCase.settings = settings(FAST, max_examples=80, stateful_step_count=30)
TestDesk = Desk.TestCase


# --- garbage --------------------------------------------------------------------------------------

garbage = st.sampled_from([math.nan, math.inf, -math.inf, -1e308, -1.0, 10**400, None, "x"])
FINE = {
    "lots": 1.0, "limit_price": 10.0, "fair_value": 10.0, "half_spread": 0.1,
    "multiplier": 100.0, "fx": 1.0,
}  # fmt: skip
SPOILT = sorted(set(FINE) - {"lots", "limit_price"})


def passes(numbers: dict[str, Any]) -> bool:
    order = Order(CALL, numbers["lots"], numbers["limit_price"], "condor")
    inputs = [numbers[name] for name in ("fair_value", "half_spread", "multiplier", "fx")]
    window, reasons = check_order(OrderWindow(), order, 0, *inputs, LIMITS)
    assert (not reasons) == (len(window.messages) == 1)
    return not reasons


@FAST
@given(st.dictionaries(st.sampled_from(SPOILT), garbage, min_size=1), st.booleans())
def test_garbage_in_the_markets_numbers_never_passes(spoilt: dict[str, Any], limit: bool) -> None:
    fine = FINE if limit else {**FINE, "limit_price": None}
    assert passes(fine)
    assert not passes({**fine, **spoilt})


@FAST
@given(garbage, garbage.filter(lambda value: value is not None))
def test_garbage_in_the_order_never_passes(lots: Any, price: Any) -> None:
    if lots != -1.0:  # which is a sale
        assert not passes({**FINE, "lots": lots})
    assert not passes({**FINE, "limit_price": price})


numbers = st.floats(allow_nan=True, allow_infinity=True)


@settings(FAST, max_examples=400)
@given(numbers, st.none() | numbers, numbers, numbers, numbers, numbers)
def test_whatever_the_numbers_what_passes_is_inside_every_cap(
    lots: float, price: float | None, fair: float, half: float, multiplier: float, fx: float
) -> None:
    inside_if_passed(lots, price, fair, half, multiplier, fx)


def inside_if_passed(
    lots: float, price: float | None, fair: float, half: float, multiplier: float, fx: float
) -> None:
    order = Order(SHARE, lots, price)
    if not check_order(OrderWindow(), order, 0, fair, half, multiplier, fx, LIMITS)[1]:
        at = fair + math.copysign(half, lots) if price is None else price
        assert abs(at - fair) <= max(0.1 * fair, 4 * half) < math.inf
        assert 0.0 < abs(lots) <= 10
        assert abs(lots) * max(abs(at), fair) * multiplier * fx <= 5000


@settings(FAST, max_examples=400)
@given(
    st.floats(-20, 20), st.none() | st.floats(5, 15), st.floats(5, 15), st.floats(0, 0.5),
    st.floats(0.1, 100), st.floats(0.5, 2),
)  # fmt: skip
def test_near_the_caps_too_and_a_tighter_one_never_lets_more_pass(
    lots: float, price: float | None, fair: float, half: float, multiplier: float, fx: float
) -> None:
    inside_if_passed(lots, price, fair, half, multiplier, fx)
    order = Order(SHARE, lots, price)
    asked = (OrderWindow(), order, 0, fair, half, multiplier, fx)
    denied = {reason.code for reason in check_order(*asked, LIMITS)[1]}
    for key, value in (
        ("collar", {**CAPS["collar"], "share": 0.01, "half_spreads": 1}),
        ("max_value", 500),
        ("max_volume", 1),
    ):
        tight = LIMITS.model_copy(update={"underlyings": {**CAPS, key: value}})
        assert denied <= {reason.code for reason in check_order(*asked, tight)[1]}


# --- same bytes -----------------------------------------------------------------------------------


def test_another_hash_seed_gives_the_same_bytes() -> None:
    program = (
        "from riskenv import Instrument\n"
        "from riskenv.order_checks import Order, check_order\n"
        "from riskenv.order_limits import OrderLimits\n"
        "from riskenv.order_window import OrderWindow, record_execution\n"
        "limits = OrderLimits(max_executions=2, duplicate_seconds=5)\n"
        "window = OrderWindow()\n"
        "for i, name in enumerate(['wheel', 'condor', '', 'a', 'b'] * 2):\n"
        "    order = Order(Instrument('SPY'), i + 1, 400.0, name)\n"
        "    window, _ = check_order(window, order, i, 400.0, 0.01, 1.0, 1.0, limits)\n"
        "    window = record_execution(window, name, i, limits)\n"
        "print(window.digest, len(window.messages), len(window.throttled))"
    )
    said = set()
    for seed in ("0", "1", "4711"):
        run = subprocess.run(
            [sys.executable, "-P", "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        said.add(run.stdout)
    assert [text.split()[1:] for text in said] == [["10", "5"]]


def test_equal_instruments_and_numbers_leave_equal_bytes() -> None:
    """Whichever spelling comes first."""
    spelt = [
        Order(replace(CALL, strike=430, multiplier=100), 1, 10),
        Order(replace(CALL, strike=430.0, multiplier=100.0), 1.0, 10.0),
    ]
    digests = {
        check_order(OrderWindow(), order, 0, 10, 0.1, 100, 1, LIMITS)[0].digest
        for order in (*spelt, *reversed(spelt))
    }
    assert len(digests) == 1
