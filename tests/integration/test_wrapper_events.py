"""Before a scheduled decision the layer reduces the book by itself, within the one step."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import riskenv.train
from riskenv.data import fomc_events
from riskenv.wrappers import RiskConstrainedEnv

from riskenv.measures import INDEX

assert riskenv.train

# FOMC decisions of 2008: 16 September, 29 October, 16 December. The rule holds at the last two
# closes before each.
SPAN = {"start": "2008-09-02", "end": "2008-12-31"}
VEGA = 400.0
RULE = {"event_type": "fomc", "sessions_before": 2, "cap_multiplier": 0.5, "reduce": True}
CONVENTIONS = ("discrete", "box")


def make(convention, caps=None, **rule):
    env = RiskConstrainedEnv(
        gymnasium.make(
            "riskenv/OptionsTrading-v0",
            convention=convention,
            config={"random_start": False, "menu_lots": 2, "max_lots": 2},
            **SPAN,
        ),
        {"caps": caps or {"vega": VEGA}},
        events=fomc_events(),
        event_policy={"rules": [{**RULE, **rule}]},
    )
    env.reset(seed=0)
    return env


def hold(env):
    return 0 if env.unwrapped.convention == "discrete" else np.zeros(28, dtype=np.float32)


def ask(env, name, size=1.0):
    """Sell straddles on a menu; trade one named dimension of a box."""
    names = env.unwrapped.action_names
    if env.unwrapped.convention == "discrete":
        return names.index(name)
    action = hold(env)
    action[names.index(name)] = size
    return action


def walk_to_the_window(env):
    """Buy volatility up to the untightened cap, then stop at the first close of a window."""
    name = "buy_straddle SPX" if env.unwrapped.convention == "discrete" else "SPX far C 1.00"
    while not env.assessment.events.active:
        vega = env.assessment.before[INDEX["vega"]]
        env.step(ask(env, name) if vega < 0.8 * VEGA else hold(env))
    return env.assessment


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_book_above_the_tightened_cap_is_reduced_in_one_step_without_being_asked(convention):
    env = make(convention)
    a = walk_to_the_window(env)
    vega = a.before[INDEX["vega"]]
    assert 0.5 * VEGA < vega <= VEGA  # inside the cap, outside the tightened one
    assert a.high[INDEX["vega"]] == 0.5 * VEGA
    held = sum(abs(q) for q in env.unwrapped.positions.values())
    _, reward, _, _, info = env.step(hold(env))
    decision = env.last_decision
    assert decision.verdict.value == "REDUCE"
    assert info["intervened"] == 1
    after = env.unwrapped.last_trade.after_trade
    assert sum(abs(q) for q in after.values()) < held
    # Back to the release level, 0.9 of the cap in force, before the event is out.
    assert decision.after[INDEX["vega"]] <= 0.9 * 0.5 * VEGA
    assert decision.active == ()
    # A reduction that the layer orders costs the agent nothing but the trade itself.
    penalties = dict(zip(env.penalty_names, info["penalties"].tolist(), strict=True))
    assert penalties["correction"] == 0.0
    assert reward == info["reward_raw"] - penalties["var"]
    assert decision.reasons[0].code == "rung_reduce"


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_book_inside_the_tightened_cap_is_left_alone(convention):
    env = make(convention, {"vega": 10.0 * VEGA})
    walk_to_the_window(env)
    assert env.assessment.before[INDEX["vega"]] > 0.5 * VEGA
    env.step(hold(env))
    assert env.last_decision.verdict.value == "ALLOW"


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_without_reduce_the_same_book_is_kept_from_growing_and_not_touched(convention):
    # 0.75: outside the cap, and below its extreme level, from where any book is reduced.
    env = make(convention, reduce=False, cap_multiplier=0.75)
    walk_to_the_window(env)
    assert "vega" in env.assessment.breached
    held = env.unwrapped.positions
    *_, info = env.step(hold(env))
    assert info["intervened"] == 0
    assert env.unwrapped.last_trade.after_trade == held
    name = "buy_straddle SPX" if convention == "discrete" else "SPX far C 1.00"
    *_, info = env.step(ask(env, name))
    assert info["intervened"] == 1
    assert env.last_decision.verdict.value == "BLOCK"


def test_a_box_combines_the_reduction_with_what_remains_admissible_of_the_request():
    env = make("box")
    walk_to_the_window(env)
    # Long calls: selling a few shares against them lowers risk whatever is left of them.
    asked = ask(env, "SPX", -0.02)
    by_itself = env.manager.what_if(
        env.state, env.assessment, proposal_of(env, env.adapter.fallbacks(env))
    )
    requested = env.adapter.preview(env, asked)
    *_, info = env.step(asked)
    decision = env.last_decision
    assert decision.verdict.value == "REDUCE"
    assert np.array_equal(decision.trades, by_itself.trades + requested)
    assert np.array_equal(decision.trades, env_fills(env, decision))
    assert info["intervened"] == 1


def test_a_request_that_adds_risk_is_dropped_from_the_combination():
    env = make("box")
    walk_to_the_window(env)
    by_itself = env.manager.what_if(
        env.state, env.assessment, proposal_of(env, env.adapter.fallbacks(env))
    )
    env.step(ask(env, "SPX near P 1.00", 1.0))
    assert np.array_equal(env.last_decision.trades, by_itself.trades)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_after_the_event_the_caps_and_the_book_are_released(convention):
    env = make(convention)
    walk_to_the_window(env)
    name = "buy_straddle SPX" if convention == "discrete" else "SPX far C 1.00"
    env.step(hold(env))
    before = env.last_decision.after[INDEX["vega"]]
    while env.assessment.events.active:
        env.step(hold(env))
    assert env.assessment.high[INDEX["vega"]] == VEGA
    rungs, allowed = [], False
    for _ in range(5):
        rungs.append(env.state.rung.name)
        *_, info = env.step(ask(env, name))
        allowed |= not info["intervened"] and env.last_decision.after[INDEX["vega"]] > before
    assert "REDUCE" not in rungs[1:]
    assert env.state.rung.name in ("NORMAL", "WARN")
    assert allowed


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_every_window_of_the_span_ends_inside_the_tightened_cap(convention):
    env = make(convention)
    name = "buy_straddle SPX" if convention == "discrete" else "SPX far C 1.00"
    ended, windows = False, set()
    while not ended:
        active = env.assessment.events.active
        _, _, terminated, truncated, _ = env.step(ask(env, name))
        if active:
            windows.add(active[0].event.time)
            assert env.last_decision.after[INDEX["vega"]] <= 0.5 * VEGA
        ended = terminated or truncated
    assert len(windows) == 3


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(("reduce_to", "steps"), [(0.0, 1), (0.5, 2)])
def test_a_size_is_brought_down_by_the_close_before_each_decision(convention, reduce_to, steps):
    env = make(convention, reduce=False, cap_multiplier=1.0, reduce_to=reduce_to, steps=steps)
    name = "buy_straddle SPX" if convention == "discrete" else "SPX far C 1.00"
    ended, books = False, {}
    while not ended:
        active, held = env.assessment.events.active, dict(env.unwrapped.positions)
        *_, terminated, truncated, _ = env.step(ask(env, name))
        if active:
            after = dict(env.unwrapped.last_trade.after_trade)
            books.setdefault(active[0].event.time, [held]).append(after)
        ended = terminated or truncated
    assert len(books) == 3
    for first, *after in books.values():
        assert first
        # Of each position that was there before the first step; one that lowers risk may be added.
        left = [[abs(book.get(i, 0.0)) for i in first] for book in after]
        assert all(
            lots <= reduce_to * abs(size)
            for lots, size in zip(left[-1], first.values(), strict=True)
        )
        assert all(b <= a for a, b in zip(left[0], left[-1], strict=True))


def proposal_of(env, actions):
    from riskenv import Proposal

    return Proposal(np.stack([env.adapter.preview(env, action) for action in actions]))


def env_fills(env, decision):
    """(n,) what the env's own ledger says was traded, in the decision's columns."""
    fills = np.zeros(len(decision.table))
    for instrument, lots in env.unwrapped.last_trade.fills.items():
        fills[decision.table.index[instrument]] = lots
    return fills
