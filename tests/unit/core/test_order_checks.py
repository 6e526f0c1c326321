"""Each control of RTS 6 article 15 denies what it must, says so in numbers, and nothing else."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from typing import Any

import pytest

from riskenv import ConfigError, Instrument, load_config
from riskenv.order_checks import Order, check_order
from riskenv.order_limits import MessageLimit, OrderCaps, OrderLimits, PeriodCollar, PriceCollar
from riskenv.order_window import OrderWindow, re_enable, record_cancel, record_execution
from riskenv.reasons import ORDER_REASONS

SECOND = 10**9
TOKEN = "carry on"
SECRET = hashlib.sha256(TOKEN.encode()).hexdigest()
EXPIRY = 1_221_854_400_000_000_000
SHARE = Instrument("SPY")
CALL = Instrument("SPY", "C", 400.0, EXPIRY, 100.0)
FUTURE = Instrument("CL", on_future=True, multiplier=1000.0)
FRESH = OrderWindow()


def limits(**keys: Any) -> OrderLimits:
    """The same caps for both kinds of instrument."""
    both = {k: keys.pop(k) for k in list(keys) if k in OrderCaps.model_fields}
    return load_config(OrderLimits, {"options": both, "underlyings": both, **keys})


def ask(
    order: Order,
    by: OrderLimits,
    window: OrderWindow = FRESH,
    now: int = 0,
    fair: float = 10.0,
    half: float = 0.05,
    multiplier: float = 100.0,
    fx: float = 1.0,
) -> tuple[OrderWindow, list[str]]:
    window, reasons = check_order(window, order, now, fair, half, multiplier, fx, by)
    return window, [reason.code for reason in reasons]


def order(lots: float = 1.0, price: float | None = 10.0, of: Instrument = CALL) -> Order:
    return Order(of, lots, price, "condor", "a1")


COLLAR = {"collar": {"share": 0.1}}
SPREADS = {"collar": {"share": 0.1, "half_spreads": 4}}
AT_QUOTE = {"collar": {"share": 0.1, "market_orders": "at_quote"}}


@pytest.mark.parametrize(
    ("caps", "asked", "inputs", "codes"),
    [
        ({}, order(1e9, 1e9), {"fair": math.nan, "half": math.nan, "fx": math.nan}, []),
        # Article 15(1)(a): within 10 % of 10, up and down, buying and selling.
        (COLLAR, order(1, 11.0), {}, []),
        (COLLAR, order(1, 11.01), {}, ["price_collar"]),
        (COLLAR, order(-1, 9.0), {}, []),
        (COLLAR, order(-1, 8.99), {}, ["price_collar"]),
        (COLLAR, order(-1, 11.01), {}, ["price_collar"]),
        (COLLAR, order(), {"fair": math.nan}, ["collar_unknown"]),
        (COLLAR, order(), {"fair": math.inf}, ["collar_unknown"]),
        (COLLAR, order(1, 0.001), {"fair": -1.0}, ["collar_unknown"]),
        (COLLAR, order(), {"half": math.nan}, []),  # this collar needs no spread
        # A cheap option: 10 % of 0.05 is half a cent, four half-spreads are 4 cents.
        (COLLAR, order(1, 0.08), {"fair": 0.05, "half": 0.01}, ["price_collar"]),
        (SPREADS, order(1, 0.08), {"fair": 0.05, "half": 0.01}, []),
        (SPREADS, order(1, 0.10), {"fair": 0.05, "half": 0.01}, ["price_collar"]),
        (SPREADS, order(1, 0.01), {"fair": 0.0, "half": 0.01}, []),
        (SPREADS, order(), {"half": math.nan}, ["collar_unknown"]),
        (SPREADS, order(), {"half": -0.01}, ["collar_unknown"]),
        (SPREADS, order(), {"half": 1e308}, ["collar_unknown"]),  # a width that no float holds
        # A market order has no price; judged at the quote only where that was asked for.
        (COLLAR, order(1, None), {}, ["collar_market_order"]),
        (AT_QUOTE, order(1, None), {"half": 1.0}, []),
        (AT_QUOTE, order(-1, None), {"half": 1.01}, ["price_collar"]),
        (AT_QUOTE, order(1, None), {"half": math.nan}, ["collar_unknown"]),
        # A future may trade below 0.
        (COLLAR, order(1, -36.0, FUTURE), {"fair": -37.63}, []),
        (COLLAR, order(1, 36.0, FUTURE), {"fair": -37.63}, ["price_collar"]),
        # Article 15(1)(b): 5 x 10 x 100 x 1.
        ({"max_value": 5000}, order(5), {}, []),
        ({"max_value": 4999}, order(-5), {}, ["order_value"]),
        ({"max_value": 5000}, order(5), {"fx": 1.1}, ["order_value"]),
        ({"max_value": 5000}, order(5, 0.01), {"fair": 10.01}, ["order_value"]),
        ({"max_value": 5000}, order(-5, 0.01), {"fair": 10.01}, ["order_value"]),
        ({"max_value": 5000}, order(5, None), {"half": 0.0}, []),
        ({"max_value": 5000}, order(5, None), {"half": 0.05}, ["order_value"]),
        ({"max_value": 5000}, order(-5, None), {"half": 0.05}, []),
        ({"max_value": 5000}, order(5, None), {"half": math.nan}, ["value_unknown"]),
        ({"max_value": 5000}, order(5), {"half": math.nan}, []),
        ({"max_value": 5000}, order(5), {"fair": math.nan}, ["value_unknown"]),
        ({"max_value": 5000}, order(5), {"fx": math.nan}, ["value_unknown"]),
        ({"max_value": 5000}, order(5), {"fx": 0.0}, ["value_unknown"]),
        ({"max_value": 5000}, order(5), {"fx": -1.0}, ["value_unknown"]),
        ({"max_value": 5000}, order(5), {"multiplier": 0.0}, ["value_unknown"]),
        ({"max_value": 5000}, order(5), {"multiplier": math.inf}, ["value_unknown"]),
        ({"max_value": 5000}, order(1e200), {"fair": 1e200}, ["order_value"]),
        # Article 15(1)(c).
        ({"max_volume": 5}, order(-5), {}, []),
        ({"max_volume": 5}, order(-5.5), {}, ["order_volume"]),
        # All that is wrong is said at once.
        (
            {"collar": {"share": 0.1}, "max_value": 10, "max_volume": 5},
            order(6, 20.0),
            {},
            ["price_collar", "order_volume", "order_value"],
        ),
    ],
)
def test_price_value_and_volume(caps: dict, asked: Order, inputs: dict, codes: list[str]) -> None:
    assert ask(asked, limits(**caps), **inputs)[1] == codes


@pytest.mark.parametrize("lots", [0.0, -0.0, math.nan, math.inf, -math.inf, 10**400, None, "x"])
def test_what_is_no_number_of_lots_never_passes(lots: Any) -> None:
    assert ask(order(lots), OrderLimits()) == (OrderWindow(time=0), ["order_invalid"])


@pytest.mark.parametrize("price", [0.0, -1.0, math.nan, math.inf, -math.inf, 10**400, "x"])
@pytest.mark.parametrize("instrument", [CALL, SHARE, FUTURE])
def test_what_is_no_price_never_passes(price: Any, instrument: Instrument) -> None:
    fine = instrument is FUTURE and price in (0.0, -1.0)
    codes = ask(order(1, price, instrument), OrderLimits())[1]
    assert codes == ([] if fine else ["order_invalid"])


def test_options_and_underlyings_have_caps_of_their_own() -> None:
    by = OrderLimits(options=OrderCaps(max_volume=5), underlyings=OrderCaps(max_volume=500))
    assert ask(order(6, of=CALL), by)[1] == ["order_volume"]
    assert ask(order(6, of=SHARE), by)[1] == []
    assert ask(order(501, of=FUTURE), by)[1] == ["order_volume"]


# --- messages -------------------------------------------------------------------------------------

RATE = limits(messages={"max_messages": 2, "seconds": 1})


def test_the_window_rolls_and_a_message_leaves_it_after_its_full_length() -> None:
    window, passed = FRESH, []
    for now in (0, SECOND // 2, SECOND - 1, SECOND, SECOND + 1, SECOND * 3 // 2):
        window, codes = ask(order(), RATE, window, now)
        passed.append(codes)
    full = ["message_rate"]
    assert passed == [[], [], full, [], full, []]


def test_a_denied_order_is_no_message_and_no_duplicate() -> None:
    by = limits(max_volume=5, duplicate_seconds=1, messages={"max_messages": 1, "seconds": 1})
    window, codes = ask(order(6), by)
    assert (window, codes) == (OrderWindow(time=0), ["order_volume"])
    assert ask(order(6), by, window, 1)[1] == ["order_volume"]
    assert ask(order(5), by, window, 1)[1] == []


def test_cancels_count_and_are_never_denied() -> None:
    window = FRESH
    for now in range(5):
        window = record_cancel(window, now, RATE)
    assert len(window.messages) == 5
    assert ask(order(), RATE, window, 5)[1] == ["message_rate"]
    assert ask(order(), RATE, window, SECOND + 4)[1] == []


def test_what_no_control_asks_for_is_not_kept() -> None:
    window = record_cancel(ask(order(), OrderLimits())[0], 1, OrderLimits())
    assert window == OrderWindow(time=1)
    window = ask(order(), RATE)[0]
    assert ask(order(), RATE, window, SECOND)[0].messages[0].time == SECOND


# --- duplicates -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("second", "seconds", "denied"),
    [
        (order(2, 10.0), 1.999, True),
        (order(2, 10.0), 2.0, False),
        (order(2.0, 10), 1.0, True),
        (replace(order(2, 10.0), client_id="a2", strategy="other"), 1.0, True),
        (replace(order(2, 10.0), instrument=replace(CALL, multiplier=100)), 1.0, True),
        (order(-2, 10.0), 1.0, False),
        (order(3, 10.0), 1.0, False),
        (order(2, 10.01), 1.0, False),
        (order(2, None), 1.0, False),
        (order(2, 10.0, replace(CALL, strike=405.0)), 1.0, False),
        (order(2, 10.0, replace(CALL, expiry=EXPIRY + 1)), 1.0, False),
    ],
)
def test_a_duplicate_is_equal_in_instrument_side_lots_and_price(
    second: Order, seconds: float, denied: bool
) -> None:
    by = limits(duplicate_seconds=2)
    window, _ = ask(order(2, 10.0), by)
    codes = ask(second, by, window, round(seconds * SECOND))[1]
    assert codes == (["duplicate_order"] if denied else [])


def test_each_window_has_its_own_length() -> None:
    """Open at its far end, also where a longer one keeps the message."""
    by = limits(duplicate_seconds=1, messages={"max_messages": 2, "seconds": 3})
    window, _ = ask(order(), by)
    assert ask(order(), by, window, SECOND - 1)[1] == ["duplicate_order"]
    window, codes = ask(order(), by, window, SECOND)
    assert codes == []
    assert ask(order(), by, window, 3 * SECOND - 1)[1] == ["message_rate"]
    assert ask(order(), by, window, 3 * SECOND)[1] == []


def test_an_instrument_is_kept_as_text_that_does_not_depend_on_how_it_was_spelt() -> None:
    spelt = replace(CALL, strike=431, multiplier=100)
    window, _ = ask(order(of=spelt), limits(duplicate_seconds=2))
    assert window.messages[0].contract == (
        '["SPY","C",1221854400000000000,431.0,100.0,"USD","european",false]'
    )


def test_two_market_orders_are_duplicates_and_a_cancel_is_none() -> None:
    by = limits(duplicate_seconds=2)
    window, _ = ask(order(2, None), by)
    window = record_cancel(window, 1, by)
    assert ask(order(2, None), by, window, 2)[1] == ["duplicate_order"]
    assert ask(order(1, None), by, window, 2)[1] == []


# --- the collar over a period ---------------------------------------------------------------------


def test_a_model_that_runs_away_leaves_the_collar_over_the_period() -> None:
    """Each step of 4 % is inside a collar around the model's own value of the moment."""
    by = limits(collar={"share": 0.05}, period_collar={"share": 0.1, "seconds": 60})
    window, passed = FRESH, []
    for step in range(5):
        fair = 10.0 * 1.04**step
        window, codes = ask(order(1, fair), by, window, step * 10 * SECOND, fair=fair)
        passed.append(codes)
    assert passed == [[], [], [], ["period_collar"], ["period_collar"]]
    other = order(1, 12.0, replace(CALL, strike=405.0))
    assert ask(other, by, window, 50 * SECOND, fair=12.0)[1] == []
    # The first order leaves the period at 60 s; 11.5 is within 10 % of 10.816, the last one sent.
    assert ask(order(1, 11.5), by, window, 60 * SECOND, fair=11.5)[1] == ["period_collar"]
    assert ask(order(1, 11.5), by, window, 70 * SECOND, fair=11.5)[1] == []


@pytest.mark.parametrize("fair", [math.nan, math.inf, -1.0])
def test_the_collar_over_a_period_needs_the_fair_value_too(fair: float) -> None:
    by = limits(period_collar={"share": 0.1, "seconds": 60})
    assert ask(order(), by, fair=fair)[1] == ["collar_unknown"]


def test_one_reason_is_given_once() -> None:
    by = limits(collar={"share": 0.1}, period_collar={"share": 0.1, "seconds": 60})
    assert ask(order(), by, fair=math.nan)[1] == ["collar_unknown"]


# --- the throttle ---------------------------------------------------------------------------------

THROTTLE = OrderLimits(max_executions=2)


def executed(times: int, by: OrderLimits = THROTTLE, strategy: str = "condor") -> OrderWindow:
    window = FRESH
    for now in range(times):
        window = record_execution(window, strategy, now, by)
    return window


def test_after_n_executions_a_strategy_is_off_however_long_and_the_others_are_not() -> None:
    assert ask(order(), THROTTLE, executed(1), 10)[1] == []
    off = executed(2)
    for now in (10, 10**12, 10**18):
        assert ask(order(), THROTTLE, off, now)[1] == ["throttled"]
    assert ask(replace(order(), strategy="operator"), THROTTLE, off, 10)[1] == []
    assert ask(replace(order(), strategy=""), THROTTLE, executed(2, strategy=""), 10)[1] == [
        "throttled"
    ]


def test_a_throttled_strategy_may_cancel_and_not_close() -> None:
    off = executed(2)
    assert ask(order(-1), THROTTLE, off, 10)[1] == ["throttled"]
    assert record_cancel(off, 10, THROTTLE).throttled == ("condor",)


def test_only_the_operators_token_re_enables_and_the_reason_is_kept() -> None:
    off = executed(3)
    for token in ("", "please", SECRET):
        with pytest.raises(PermissionError, match="not the operator's"):
            re_enable(off, "condor", token, THROTTLE, "roll day", SECRET)
    on = re_enable(off, "condor", TOKEN, THROTTLE, "roll day", SECRET)
    assert (on.executions, on.throttled) == ((), ())
    assert on.re_enabled == (("condor", "roll day"),)
    assert ask(order(), THROTTLE, on, 10)[1] == []
    again = record_execution(record_execution(on, "condor", 10, THROTTLE), "condor", 11, THROTTLE)
    assert again.throttled == ("condor",)
    assert off.throttled == ("condor",)


@pytest.mark.parametrize(
    ("times", "secret", "reason", "error", "words"),
    [
        (2, SECRET, "", ValueError, "reason"),
        (2, SECRET, " ", ValueError, "reason"),
        (1, SECRET, "x", PermissionError, "off are"),
        (2, None, "x", PermissionError, "final"),
    ],
)
def test_what_else_does_not_re_enable(times, secret, reason, error, words) -> None:
    with pytest.raises(error, match=words):
        re_enable(executed(times), "condor", TOKEN, THROTTLE, reason, secret)


def test_a_change_of_limits_switches_off_and_never_on() -> None:
    off = executed(2)
    for by in (OrderLimits(), OrderLimits(max_executions=100)):
        assert ask(order(), by, off, 10)[1] == ["throttled"]
    # Counted before there was a limit, and more than the new one allows: off, and stays so.
    window = executed(3, OrderLimits())
    assert window.throttled == ()
    window, codes = ask(order(), THROTTLE, window, 10)
    assert codes == ["throttled"]
    assert ask(order(), OrderLimits(max_executions=100), window, 11)[1] == ["throttled"]


# --- the window as a value ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda window, now: ask(order(), RATE, window, now),
        lambda window, now: record_cancel(window, now, RATE),
        lambda window, now: record_execution(window, "condor", now, THROTTLE),
    ],
)
def test_time_does_not_go_back(call: Any) -> None:
    window = OrderWindow(time=5)
    call(window, 5)
    with pytest.raises(ValueError, match="time does not go back"):
        call(window, 4)
    for garbage in (math.nan, 6.0, "6", None):
        with pytest.raises(TypeError):
            call(window, garbage)


FULL = replace(
    record_cancel(ask(order(), limits(duplicate_seconds=2))[0], 1, limits(duplicate_seconds=2)),
    executions=(("a", 1), ("b", 7)),
    throttled=("b", "c"),
    re_enabled=(("c", "roll day"),),
)


def test_a_window_is_saved_restored_and_hashed() -> None:
    restored = OrderWindow.from_dict(json.loads(json.dumps(FULL.to_dict())))
    assert restored == FULL
    assert restored.digest == FULL.digest
    assert hash(restored) == hash(FULL)
    for field in ("time", "messages", "executions", "throttled", "re_enabled"):
        changed = replace(FULL, **{field: getattr(OrderWindow(time=9), field)})
        assert changed.digest != FULL.digest, field


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time": 0.0}, "time: got 0.0"),
        ({"time": None}, "ascending, up to time None"),
        ({"time": 0}, "ascending, up to time 0"),
        ({"messages": FULL.to_dict()["messages"][::-1]}, r"got times \[1, 0\]; allowed: ascending"),
        ({"messages": [{"time": 1}]}, r"messages.0.contract: is required"),
        ({"messages": [{"time": 1, "x": 1}]}, "unknown key"),
        ({"executions": {"a": 0}}, "counts above 0"),
        ({"executions": {"a": True}}, "executions.a: got True"),
        ({"throttled": ["b", "b"]}, "each strategy once"),
        ({"throttled": "bc"}, "throttled: got 'bc'"),
        ({"operator": 1}, "operator: unknown key"),
    ],
)
def test_a_window_that_could_not_have_been_saved_is_refused(change: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        OrderWindow.from_dict({**FULL.to_dict(), **change})


def test_a_missing_part_is_not_an_empty_one() -> None:
    for key in FULL.to_dict():
        values = FULL.to_dict()
        del values[key]
        with pytest.raises(ConfigError, match=f"{key}: is required"):
            OrderWindow.from_dict(values)


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"messages": {"max_messages": 0, "seconds": 1}}, "messages.max_messages: got 0"),
        ({"messages": {"max_messages": 1, "seconds": 0}}, "messages.seconds: got 0"),
        ({"messages": {"max_messages": 1, "seconds": -1}}, "messages.seconds: got -1"),
        ({"messages": {"max_messages": 1}}, "messages.seconds: is required"),
        ({"messages": {"max_messages": 1.5, "seconds": 1}}, "messages.max_messages: got 1.5"),
        ({"duplicate_seconds": 0}, "duplicate_seconds: got 0"),
        ({"duplicate_seconds": math.inf}, "duplicate_seconds: got inf"),
        ({"duplicate_seconds": 1e300}, "duplicate_seconds: got 1e[+]300"),
        ({"max_executions": 0}, "max_executions: got 0"),
        ({"options": {"max_value": 0}}, "options.max_value: got 0"),
        ({"options": {"max_volume": -1}}, "options.max_volume: got -1"),
        ({"options": {"max_volume": math.nan}}, "options.max_volume: got nan"),
        ({"options": {"collar": {}}}, "share, half_spreads: got neither"),
        ({"options": {"collar": {"share": 0}}}, "options.collar.share: got 0"),
        ({"options": {"collar": {"half_spreads": -4}}}, "options.collar.half_spreads: got -4"),
        ({"options": {"collar": {"share": 0.1, "market_orders": "allow"}}}, "market_orders"),
        ({"options": {"period_collar": {"share": 0.1}}}, "period_collar.seconds: is required"),
        ({"operator_token_sha256": SECRET}, "operator_token_sha256: unknown key"),
        ({"throttle": 5}, "throttle: unknown key"),
    ],
)
def test_degenerate_limits_cannot_be_built(keys: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(OrderLimits, keys)


def test_limits_in_code_are_those_in_a_mapping() -> None:
    built = OrderLimits(
        options=OrderCaps(
            collar=PriceCollar(share=0.2, half_spreads=4),
            period_collar=PeriodCollar(share=0.5, seconds=60),
        ),
        messages=MessageLimit(max_messages=20, seconds=1),
    )
    assert load_config(OrderLimits, built.model_dump(mode="json")) == built
    assert built.memory == 60 * SECOND
    assert OrderLimits().memory == 0


def test_every_reason_says_its_numbers() -> None:
    by = limits(
        collar={"share": 0.1},
        period_collar={"share": 0.1, "seconds": 60},
        max_value=100,
        max_volume=5,
        messages={"max_messages": 1, "seconds": 1},
        duplicate_seconds=2,
        max_executions=1,
    )
    late = SECOND // 2
    sent, _ = check_order(FRESH, order(), 0, 10.0, 0.05, 1.0, 1.0, by)
    off = record_execution(sent, "condor", late, by)
    said = {
        reason.code: reason.words
        for window, asked, fair, fx in (
            (off, order(), 12.0, 1.0),
            (FRESH, order(6, 20.0), 10.0, 1.0),
            (FRESH, order(1, 10.0), math.nan, 0.0),
            (FRESH, order(1, None), 10.0, 1.0),
            (FRESH, order(math.nan), 10.0, 1.0),
            (off, order(1, 11.5), 11.5, 1.0),
        )
        for reason in check_order(window, asked, late, fair, 0.05, 1.0, fx, by)[1]
    }
    assert said == {
        "order_invalid": "a1: lots is nan; allowed: a finite number other than 0",
        "collar_unknown": "a1: the price collar needs the fair value, and unknown is not zero",
        "collar_market_order": "a1: a market order has no price that a collar could bound",
        "price_collar": "a1: price 20 is further than 1 from the fair value 10",
        "period_collar": "a1: price 11.5 is further than 1 from 10, the fair value of an order "
        "sent 0.5 s before",
        "value_unknown": "a1: the order's value needs the fair value, fx, and unknown is not zero",
        "order_value": "a1: a value of 120, above the cap 100",
        "order_volume": "a1: a volume of 6, above the cap 5",
        "message_rate": "a1: 1 messages in the last 1 s, of 1 allowed",
        "duplicate_order": "a1: the same order was sent 0.5 s before; it may be repeated after 2 s",
        "throttled": "a1: strategy 'condor' is off after 1 executions, until an operator "
        "re-enables it",
    }
    assert set(said) == set(ORDER_REASONS)
