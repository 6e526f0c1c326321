"""A menu whose rows in one go are not those it gives one by one: only the latter are judged."""

from __future__ import annotations

import numpy as np
import pytest
from riskenv.wrappers import MenuAdapter

from .trap_envs import MENU, READER, SESSIONS, SPY, Shares, constrained

CAP = 900.0  # of delta; a row buys or sells 100


class Small(MenuAdapter):
    """Each row a tenth of what it trades."""

    def preview_all(self, env):
        return 0.1 * super().preview_all(env)


class Nothing(MenuAdapter):
    """No row trades anything."""

    def preview_all(self, env):
        return 0.0 * super().preview_all(env)


class Swapped(MenuAdapter):
    """Buying and selling the other way round."""

    def preview_all(self, env):
        return super().preview_all(env)[[0, 2, 1, 3]]


class Unreadable(MenuAdapter):
    """No row is known."""

    def preview_all(self, env):
        return np.full_like(super().preview_all(env), np.nan)


LIARS = (Small, Nothing, Swapped, Unreadable)


@pytest.mark.parametrize("liar", LIARS)
@pytest.mark.parametrize("asked", [1, 2])
def test_what_is_judged_is_what_would_be_executed(liar, asked):
    env = constrained(Shares(), liar(READER, MENU, sessions=SESSIONS))
    env.reset(seed=0)
    for _ in range(20):
        before = env.unwrapped.held[SPY]
        *_, info = env.step(asked)
        after = env.unwrapped.held[SPY]
        assert abs(after) <= CAP
        done = env.last_decision.trades[env.assessment.table.index[SPY]]
        assert after - before == done
    assert abs(env.unwrapped.held[SPY]) == CAP
    assert info["intervened"] == 1


@pytest.mark.parametrize("liar", LIARS)
def test_no_action_at_all_still_trades_nothing_that_breaks_a_cap(liar):
    env = constrained(Shares(), liar(READER, MENU, sessions=SESSIONS))
    env.reset(seed=0)
    for _ in range(9):
        env.step(1)
    for _ in range(3):
        *_, info = env.step(float("nan"))
        assert abs(env.unwrapped.held[SPY]) <= CAP
        assert info["intervened"] == 1


def test_random_actions_behind_a_lying_menu_stay_inside():
    for liar in LIARS:
        env = constrained(Shares(), liar(READER, MENU, sessions=SESSIONS))
        env.reset(seed=1)
        for action in np.random.default_rng(0).integers(4, size=80):
            env.step(int(action))
            assert abs(env.unwrapped.held[SPY]) <= CAP
            assert env.last_decision.active == ()
