"""What is admissible passes untouched: the same object, the same trajectory to the bit."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from riskenv.wrappers import RiskConstrainedEnv

CONVENTIONS = ("discrete", "multidiscrete", "box")
CAPS = ("delta", "dollar_delta", "gamma", "dollar_gamma", "theta", "vega", "var_1d", "es_1d")
CAPS += ("var_3d", "es_3d", "var_5d", "es_5d", "gap_loss", "day_loss", "drawdown")
WIDE = dict.fromkeys(CAPS, 1e9)


class Witness(gymnasium.Wrapper):
    """Keeps the very objects that reach the env."""

    def __init__(self, env):
        super().__init__(env)
        self.received = []

    def step(self, action):
        self.received.append(action)
        return self.env.step(action)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_an_admissible_action_is_handed_on_as_the_same_object(
    make_bare, make_env, draw, convention
):
    witness = Witness(make_bare(convention))
    env = RiskConstrainedEnv(witness, {"caps": {"delta": 150.0, "vega": 200.0}})
    env.reset(seed=0)
    unchanged = 0
    for action in draw(env, 40, seed=2):
        given = np.int64(action) if convention == "discrete" else action
        *_, info = env.step(given)
        assert (witness.received[-1] is given) == (info["intervened"] == 0)
        unchanged += witness.received[-1] is given
    assert 0 < unchanged < 40


@pytest.mark.parametrize("correction", ["auto", "none"])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_caps_that_bind_nothing_leave_the_trajectory_alone_to_the_bit(
    make_bare, make_env, with_events, draw, convention, correction
):
    # Caps too tight for anything, watched without correction, must not show either.
    caps = WIDE if correction == "auto" else dict.fromkeys(CAPS, 1.0)
    bare = make_bare(convention)
    env = make_env(convention, caps, correction=correction, **with_events)
    for seed in range(2):
        first, inner = bare.reset(seed=seed), env.reset(seed=seed)
        assert first[0].tobytes() == inner[0].tobytes()
        assert first[1] == inner[1]
        for action in draw(bare, 60, seed):
            there, here = bare.step(action), env.step(action)
            assert there[0].tobytes() == here[0].tobytes()
            assert there[1] == here[4]["reward_raw"] == here[1]
            assert there[2:4] == here[2:4]
            assert {key: here[4][key] for key in there[4]} == there[4]
            assert here[4]["intervened"] == 0


def test_watching_only_still_reports_the_rung_and_takes_no_decision(make_env, draw):
    env = make_env("box", dict.fromkeys(CAPS, 1.0), correction="none")
    env.reset(seed=0)
    rungs = {env.step(action)[4]["rung"] for action in draw(env, 10)}
    assert max(rungs) > 0
    assert env.last_decision is None
