"""The breaker's state around an episode: fresh at a reset, or carried over; a halt ends it."""

from __future__ import annotations

import numpy as np
import pytest

from riskenv import BreakerState, Rung
from riskenv.circuit_breaker import halt

CONVENTIONS = ("discrete", "multidiscrete", "box")


def halted(env):
    """As an operator would, behind the agent's back."""
    env._state = halt(env.state, "fat finger")
    return env


def hold(env):
    return env.adapter.fallbacks(env)[0]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_halt_truncates_the_episode(make_env, convention):
    env = make_env(convention)
    env.reset(seed=0)
    assert env.step(hold(env))[3] is False
    _, _, terminated, truncated, info = halted(env).step(hold(env))
    assert (terminated, truncated) == (False, True)
    assert info["rung"] == Rung.HALTED == 5


def test_a_halt_leaves_nothing_but_holding_open(make_env):
    env = make_env("discrete", {"delta": 1e9})
    env.reset(seed=0)
    assert env.action_masks().sum() > 1
    mask = halted(env).action_masks()
    trades = [env.adapter.preview(env, a).any() for a in np.flatnonzero(mask)]
    assert trades == [False] * mask.sum() != []


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_halt_holds_from_the_very_next_step(make_env, draw, convention):
    env = make_env(convention, {"delta": 1e9})
    env.reset(seed=0)
    traded = next(a for a in draw(env, 5, seed=4) if env.adapter.preview(env, a).any())
    halted(env).step(traded)
    assert env.unwrapped.last_trade.fills == {}


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_nothing_trades_while_halted(make_env, draw, convention):
    env = make_env(convention)
    env.reset(seed=0)
    for action in draw(env, 5, seed=4):
        env.step(action)
    halted(env).step(hold(env))
    for action in draw(env, 10, seed=5):
        *_, truncated, _ = env.step(action)
        assert truncated
        assert env.unwrapped.last_trade.fills == {}
    if convention == "discrete":
        held = env.unwrapped.preview_all().any(axis=1)
        assert (env.action_masks() == ~held).all()


def test_a_reset_starts_the_breaker_afresh(make_env):
    env = make_env("box")
    env.reset(seed=0)
    halted(env).step(hold(env))
    env.reset(seed=0)
    assert env.state.rung is Rung.NORMAL
    assert env.state.session >= 0
    assert env.step(hold(env))[3] is False


def test_a_carried_state_survives_the_reset(make_env):
    env = make_env("box", span={"start": "2008-01-02"}, carry_state=True)
    env.reset(seed=0, options={"start": "2008-09-02"})
    halted(env).step(hold(env))
    before = env.state
    env.reset(options={"start": "2008-10-01"})
    assert env.state.rung is Rung.HALTED
    assert env.state.halt_reason == "fat finger"
    assert env.state.high_water_mark >= before.high_water_mark
    assert env.step(hold(env))[3] is True
    fresh = make_env("box", span={"start": "2008-01-02"})
    fresh.reset(options={"start": "2008-09-02"})
    halted(fresh).step(hold(fresh))
    fresh.reset(options={"start": "2008-10-01"})
    assert fresh.state.rung is Rung.NORMAL


def test_a_carried_state_does_not_go_back_in_time(make_env):
    env = make_env("box", span={"start": "2008-01-02"}, carry_state=True)
    env.reset(options={"start": "2008-10-01"})
    with pytest.raises(ValueError, match=r"session: got .* time does not go back"):
        env.reset(options={"start": "2008-09-02"})


def test_losses_of_the_account_climb_the_ladder_and_close_the_book(make_env):
    env = make_env("box", {"delta": 500.0, "day_loss": 2e3, "drawdown": 1e4})
    env.reset(seed=0)
    action = np.zeros(28, dtype=np.float32)
    action[env.unwrapped.action_names.index("SPX")] = 0.4
    flattened = False
    for _ in range(40):
        env.step(action)
        if env.state.rung is Rung.FLATTEN:
            env.step(action)
            assert env.unwrapped.last_trade.after_trade == {}
            flattened = True
            break
    assert flattened
    assert env.state != BreakerState()
