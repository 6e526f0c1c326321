"""Same seed, same actions: the same decisions, to the byte, in every kind of copy."""

from __future__ import annotations

import copy
import pickle

import gymnasium
import numpy as np
import pytest
from riskenv.wrappers import RiskConstrainedEnv

CONVENTIONS = ("discrete", "multidiscrete", "box")
COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda env: pickle.loads(pickle.dumps(env))}


def steps(env, actions):
    """Everything that can be seen of a run, as bytes."""
    seen = []
    for action in actions:
        obs, reward, terminated, truncated, info = env.step(action)
        info = {key: np.asarray(value).tobytes() for key, value in info.items()}
        decision = env.last_decision.to_bytes()
        seen.append((obs.tobytes(), reward, terminated, truncated, info, decision))
    return seen


def run(env, actions, seed=0):
    obs, _ = env.reset(seed=seed)
    return [obs.tobytes(), *steps(env, actions)]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_two_runs_of_one_seed_are_the_same_bytes(make_env, with_events, draw, convention):
    span = {"config": {"random_start": True, "episode_sessions": 30}}
    one, two = (make_env(convention, span=span, observe_risk=True, **with_events) for _ in range(2))
    actions = draw(one, 30, seed=1)
    first = run(one, actions, seed=3)
    assert first == run(two, actions, seed=3)
    assert first == run(one, actions, seed=3)  # and again in the same env, whose cache is warm
    assert first != run(one, actions, seed=4)


@pytest.mark.parametrize("copy_of", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_copy_in_the_middle_of_an_episode_goes_on_alike_and_by_itself(
    make_env, with_events, draw, convention, copy_of
):
    env = make_env(convention, observe_risk=True, **with_events)
    actions = draw(env, 40, seed=6)
    run(env, actions[:20])
    twin, third = copy_of(env), copy_of(env)
    assert twin.state == env.state
    assert twin.risk_report() == env.risk_report()
    going_on = steps(env, actions[20:])
    assert going_on == steps(twin, actions[20:])
    assert going_on == steps(third, actions[20:])


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_spec_rebuilds_an_env_that_behaves_the_same(make_env, with_events, draw, convention):
    arguments = {"observe_risk": True, "penalty": {"var_warn": 0.1}, **with_events}
    env = make_env(convention, **arguments)
    again = gymnasium.make(env.spec)
    assert isinstance(again, RiskConstrainedEnv)
    assert again.observation_space == env.observation_space
    assert again.manager.config_digest == env.manager.config_digest
    actions = draw(env, 25, seed=2)
    assert run(env, actions) == run(again, actions)


def test_making_a_spec_shares_nothing_that_can_change(make_env):
    caps = {"delta": 150.0}
    env = make_env("box", caps)
    caps["delta"] = 1.0  # the caller's mapping is the caller's
    assert env.manager.limits.caps.delta == 150.0
    assert gymnasium.make(env.spec).manager.limits.caps.delta == 150.0


def test_a_shared_manager_stays_shared_and_the_mappings_beside_it_do_not(make_env, make_bare):
    manager, penalty = make_env("box").manager, {"var_weight": 2.0}
    env = RiskConstrainedEnv(make_bare("box"), manager, penalty=penalty)
    penalty["var_weight"] = 9.0
    assert env.manager is manager
    assert env._saved_kwargs["limits"] is manager
    assert env.penalty.var_weight == 2.0
    assert env._saved_kwargs["penalty"] == {"var_weight": 2.0}
