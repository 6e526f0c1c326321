"""What a book did, told from what was previewed: each rule by hand, and each trap read right."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from riskenv.wrappers import MenuAdapter, OldGymEnv, Reader, Traits, check_constrained_env
from riskenv.wrappers.conformance_cash import payments
from riskenv.wrappers.conformance_passage import Passage
from riskenv.wrappers.conformance_rules import verdict_on

from riskenv import Instrument, InstrumentTable, Market, Portfolio

from . import trap_envs as traps
from .trap_envs import QQQ, SPY, constrained

SOON, LATE = 1_000, 2_000
OLD, NEW = (Instrument("SPY", "C", k, LATE, 100.0) for k in (400.0, 405.0))
PUT = Instrument("SPY", "P", 400.0, LATE, 100.0)
DYING = Instrument("SPY", "C", 390.0, SOON, 100.0)
FUTURE = Instrument("ES", multiplier=50.0, on_future=True)
TABLE = InstrumentTable.of([SPY, QQQ, OLD, NEW, PUT, DYING, FUTURE])


def market(now, prices=None, half=0.0):
    price = np.array([(prices or {}).get(i, 10.0) for i in TABLE.instruments])
    return Market(
        now=now,
        table=TABLE,
        spot=np.array([100.0, 400.0, 400.0]),
        rate=0.0,
        dividend_yield=np.zeros(3),
        bid=price - half,
        ask=price + half,
        vol=np.full(len(TABLE), 0.2),
    )


def passage(before, asked, after, cash=(0.0, 0.0), markets=None, now=SOON + 1):
    first, then = markets or (market(0), market(now))
    book, later = Portfolio.of(TABLE, before, cash[0]), Portfolio.of(TABLE, after, cash[1])
    return Passage(book, first, asked, later, then)


@pytest.mark.parametrize(
    ("before", "asked", "after", "code"),
    [
        ({}, {}, {}, "matched"),
        ({SPY: 1.0}, {SPY: 2.0}, {SPY: 3.0}, "matched"),
        ({SPY: 1.0}, {SPY: 2.0}, {SPY: 3.0 + 1e-9}, "matched"),
        ({}, {SPY: 2e-5}, {SPY: 2e-5}, "matched"),
        ({}, {SPY: 2e-5}, {SPY: 1e-5}, "cut"),
        ({SPY: 2.5}, {SPY: 1e-14}, {SPY: 2.5}, "matched"),  # a target already reached
        ({SPY: 1e6}, {SPY: 1.0}, {SPY: 1e6}, "ignored"),
        ({SPY: 1.0}, None, {SPY: 7.0}, "unknown"),
        ({}, {SPY: 2.0}, {}, "ignored"),
        ({}, {SPY: 2.0}, {SPY: 1.0}, "cut"),
        ({}, {SPY: 2.0}, {SPY: 3.0}, "other_size"),
        ({}, {SPY: 2.0}, {SPY: -2.0}, "other_size"),
        ({}, {SPY: 2.0}, {QQQ: 2.0}, "other_contract"),
        ({}, {OLD: 2.0}, {NEW: 2.0}, "other_contract"),  # no slot held that could be struck anew
        ({OLD: 3.0}, {}, {NEW: 3.0}, "restruck"),
        ({OLD: 3.0}, {OLD: -1.0}, {NEW: 2.0}, "restruck"),
        ({OLD: 3.0}, {}, {PUT: 3.0}, "client_flow"),  # another right is no re-strike
        ({OLD: 3.0}, {}, {}, "stop"),
        ({OLD: 3.0}, {}, {OLD: 1.0}, "stop"),
        ({OLD: 3.0}, {SPY: 1.0}, {SPY: 1.0}, "stop"),
        ({OLD: 3.0}, {}, {OLD: 4.0}, "client_flow"),
        ({OLD: 3.0}, {}, {OLD: -1.0}, "client_flow"),
        ({}, {SPY: 1.0}, {SPY: 1.0, QQQ: 7.0}, "client_flow"),
        ({DYING: 3.0}, {SPY: 1.0}, {SPY: 1.0}, "expiry"),
    ],
)
def test_each_step_has_its_name(before, asked, after, code):
    assert verdict_on(passage(before, asked, after), Traits())[0] == code


@pytest.mark.parametrize(
    ("before", "asked", "after", "unasked", "code"),
    [
        ({DYING: 3.0}, {}, {}, ("expiry",), "declared"),
        ({DYING: 3.0, OLD: 1.0}, {}, {}, ("expiry",), "stop"),  # more than what expired
        ({OLD: 3.0}, {}, {}, ("expiry",), "stop"),  # that has not expired
        ({DYING: 3.0}, {}, {}, ("stop",), "expiry"),
        ({OLD: 3.0}, {}, {}, ("stop",), "declared"),
        ({}, {SPY: 1.0}, {SPY: 1.0, QQQ: 7.0}, ("client_flow",), "declared"),
        ({}, {SPY: 1.0}, {SPY: 1.0}, ("client_flow",), "matched"),
    ],
)
def test_a_declared_change_is_none_of_the_traps(before, asked, after, unasked, code):
    assert verdict_on(passage(before, asked, after), Traits(unasked=unasked))[0] == code


def test_no_preview_with_a_nan_matches():
    for after, code in (({}, "ignored"), ({SPY: 1.0}, "other_size")):
        assert verdict_on(passage({}, {SPY: float("nan")}, after), Traits())[0] == code


# --- payments -------------------------------------------------------------------------------------

NOW, NEXT = market(0, {SPY: 100.0, OLD: 10.0}, 0.05), market(1, {SPY: 103.0, OLD: 12.0}, 0.05)


@pytest.mark.parametrize(
    ("bought", "paid", "fills", "code"),
    [
        ({SPY: 10.0}, 1_000.0, "now", None),
        ({SPY: 10.0}, 1_000.5, "now", None),  # the quoted spread
        ({SPY: 10.0}, 1_030.0, "now", "fills_next"),
        ({SPY: 10.0}, 1_030.0, "next", None),
        ({SPY: -10.0}, -1_000.0, "now", None),
        ({SPY: 10.0}, 0.0, "now", "nav"),
        ({SPY: 10.0}, 0.0, "next", "nav"),
        ({OLD: 1.0}, 1_000.0, "now", None),
        ({OLD: 1.0}, 10.0, "now", "nav"),  # the multiplier forgotten
        ({OLD: 1.0}, 1_200.0, "now", "fills_next"),
        ({FUTURE: 1.0}, 0.0, "now", None),  # nothing is paid for a future
    ],
)
def test_what_is_traded_is_paid_for(bought, paid, fills, code):
    held = passage({}, bought, bought, cash=(5_000.0, 5_000.0 - paid), markets=(NOW, NEXT))
    found = payments([held], Traits(fills=fills))
    assert (found and found.code) == code


def test_what_was_not_previewed_is_not_held_against_the_cash():
    odd = passage({}, {SPY: 1.0}, {SPY: 1.0, QQQ: 5.0}, cash=(0.0, -100.0), markets=(NOW, NEXT))
    assert payments([odd], Traits()) is None
    assert payments([dataclasses.replace(odd, expected=None)], Traits()) is None


# --- the traps, read right ------------------------------------------------------------------------


def reads_right(env, menu, **arguments):
    adapter = MenuAdapter(traps.READER, menu, sessions=traps.SESSIONS, **arguments)
    return constrained(env, adapter)


def ignoring(lots):
    return lambda env: {} if any(env.held.values()) else {SPY: lots}


def cut(lots):
    return lambda env: {SPY: min(lots(env), max(env.cash, 0.0) // env.price)}


def resorted():
    """Sorts a list of its own as the env will."""

    def close(place):
        def legs(env):
            key = lambda leg: (leg[0].right == "C") == (env.price > 400.0)  # noqa: E731
            ordered = sorted(env.legs, key=key)
            return {ordered[place][0]: -ordered[place][1]} if len(ordered) > place else {}

        return legs

    naive = traps.resorted_adapter()
    menu = [*naive.menu[:3], close(0), close(1)]
    adapter = MenuAdapter(naive.reader, menu, sessions=traps.SESSIONS)
    return constrained(traps.Resorted(), adapter)


def four_values():
    reader = traps.READER
    through = Reader(
        reader.table,
        lambda env: reader.held(env.old),
        lambda env: reader.cash(env.old),
        lambda env, table: reader.market(env.old, table),
    )
    menu = [*traps.MENU[:3], lambda env: {SPY: -env.old.held[SPY]}]
    adapter = MenuAdapter(through, menu, sessions=traps.SESSIONS)
    return constrained(OldGymEnv(traps.FourTuple()), adapter)


RIGHT = {
    "re-struck slots": lambda: constrained(
        traps.Restruck(), traps.restruck_adapter(traits=Traits(unasked=("restrike",)))
    ),
    "a list re-sorted each step": resorted,
    "an ignored open": lambda: reads_right(
        traps.IgnoresOpens(), [{}, ignoring(100.0), ignoring(-100.0), {}]
    ),
    "the market advancing before the fill": lambda: reads_right(
        traps.MovesFirst(), traps.MENU, traits=Traits(fills="next")
    ),
    "client flow unasked": lambda: reads_right(
        traps.ClientFlow(), traps.MENU, traits=Traits(unasked=("client_flow",))
    ),
    "stops inside step": lambda: reads_right(
        traps.StopsInside(), traps.MENU, traits=Traits(unasked=("stop",))
    ),
    "sizes cut": lambda: reads_right(
        traps.CutsSizes(),
        [{}, cut(lambda env: 100.0), cut(lambda env: -100.0), cut(lambda env: -env.held[SPY])],
    ),
    "a 4-tuple step": four_values,
}


@pytest.mark.parametrize("trap", RIGHT)
def test_a_trap_that_is_read_right_is_no_problem(trap):
    report = check_constrained_env(RIGHT[trap]())
    assert report.problems == ()
    assert report.matched + report.declared == report.previewed == 400


@pytest.mark.parametrize("trap", RIGHT)
def test_behind_a_trap_read_right_no_action_breaks_a_cap(trap):
    env = RIGHT[trap]()
    env.reset(seed=4)
    env.action_space.seed(4)
    replaced = 0
    for _ in range(85):
        *_, terminated, truncated, info = env.step(env.action_space.sample())
        replaced += info["intervened"]
        assert env.last_decision.active == ()
        assert (terminated, truncated) == (False, False)
    assert replaced < 85
