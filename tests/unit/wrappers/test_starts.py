"""An episode that would begin outside a cap: kept, drawn again, or reduced first."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from riskenv.wrappers import InfeasibleStartError, RiskConstrainedEnv

from .joint_envs import DELTA, JointAdapter, ManySlots, Slots, constrained


def held(env):
    return sum(abs(lots) for lots in env.unwrapped.held.values())


def test_a_start_outside_a_cap_is_kept_unless_told_otherwise():
    env = constrained(Slots, start=1000.0)
    env.reset(seed=0)
    assert held(env) == 1000.0
    assert "gross_delta" in env.assessment.breached


def test_a_start_outside_a_cap_is_drawn_again_and_the_seed_still_decides():
    starts = []
    for _ in range(2):
        env = constrained(Slots, start="drawn", unsafe_start="reject")
        row = []
        for seed in range(12):
            env.reset(seed=seed)
            assert held(env) <= DELTA
            row.append(held(env))
        starts.append(row)
    assert starts[0] == starts[1]
    assert len(set(starts[0])) > 1
    kept = constrained(Slots, start="drawn")
    kept.reset(seed=0)
    assert held(kept) > DELTA  # that seed was one to draw again


def test_where_every_start_is_outside_it_says_so():
    env = constrained(Slots, start=1000.0, unsafe_start="reject")
    with pytest.raises(InfeasibleStartError, match="still outside gross_delta"):
        env.reset(seed=0)


def test_a_start_outside_a_cap_is_reduced_before_the_agent_acts():
    env = constrained(Slots, start=900.0, unsafe_start="reduce")
    _, info = env.reset(seed=0)
    assert held(env) <= DELTA
    assert env.unwrapped.day > 0
    assert "executed_action" not in info
    assert env.last_decision is None
    assert env.state.rung < 2
    env.step(np.array([3, 3]))
    inside = constrained(Slots, start=200.0, unsafe_start="reduce")
    inside.reset(seed=0)
    assert (held(inside), inside.unwrapped.day) == (200.0, 0)


def test_a_start_that_no_action_reduces_says_so():
    env = constrained(ManySlots, start=90_000.0, unsafe_start="reduce")
    with pytest.raises(InfeasibleStartError, match="'reduce', and after 100 attempts"):
        env.reset(seed=0)


class LaterEachTime(Slots):
    """Begins each episode, drawn or not, a day after the one before."""

    first = -1

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        self.first += 1
        self.day = self.first
        return obs, info


def test_a_start_that_was_rejected_leaves_no_trace_in_a_state_that_is_carried():
    rejected = constrained(LaterEachTime, start="drawn", unsafe_start="reject", carry_state=True)
    rejected.reset(seed=0)
    assert rejected.unwrapped.first > 0  # that seed was one to draw again
    assert rejected.state.rung < 2
    cash = rejected.assessment.equity
    assert rejected.state.high_water_mark == cash


class PriceGone(Slots):
    """Begins without a price, every other time."""

    resets = 0

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        self.resets += 1
        if self.resets % 2:
            self.price = float("nan")
        return obs, info


def test_a_start_of_which_a_capped_measure_is_unknown_is_no_safe_one():
    limits = {"caps": {"dollar_delta": 1e6}}
    bare = PriceGone(100.0)
    env = RiskConstrainedEnv(bare, limits, adapter=JointAdapter(), unsafe_start="reject")
    env.reset(seed=0)
    assert env.unwrapped.resets == 2
    assert np.isfinite(env.unwrapped.price)


@pytest.mark.parametrize("where", ["reset", "step"])
def test_an_account_that_could_not_be_read_leaves_nothing_to_judge_by(where):
    class Fails(JointAdapter):
        fails = False

        def snapshot(self, env, obs, info):
            if self.fails:
                raise ConnectionError("no account")
            return super().snapshot(env, obs, info)

    env = constrained(Slots, Fails())
    env.reset(seed=0)
    env.adapter.fails = True
    with pytest.raises(ConnectionError):
        env.reset() if where == "reset" else env.step(np.array([3, 3]))
    env.adapter.fails = False
    with pytest.raises(ResetNeeded):
        env.step(np.array([6, 6]))
    assert held(env) == 0.0
    env.reset(seed=0)
    env.step(np.array([3, 3]))
