"""What training libraries ask of an env: checkers, spaces, masks."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

CONVENTIONS = ("discrete", "multidiscrete", "box")


@pytest.mark.parametrize("observe_risk", [False, True])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_gymnasium_and_stable_baselines_accept_it(make_env, with_events, convention, observe_risk):
    env = make_env(convention, observe_risk=observe_risk, **with_events)
    check_env(env, skip_render_check=True)
    sb3_check_env(env, warn=True)


def test_the_observed_risk_is_named_inside_its_bounds_and_the_assessment_s_own(
    make_env, with_events, draw
):
    env = make_env("box", observe_risk=True, **with_events)
    obs, _ = env.reset(seed=0)
    plain = make_env("box", **with_events)
    plain_obs, _ = plain.reset(seed=0)
    names = env.observed_risk_names
    assert names[-2:] == ("rung", "time_to_event")
    assert set(names[:-3]) == {f"headroom_{cap}" for cap in TIGHT_NAMES}
    assert names[-3] == "var_to_limit"
    seen = []
    for action in draw(env, 60):
        assert env.observation_space.contains(obs)
        assert np.array_equal(obs[: -len(names)], plain_obs)
        risk = dict(zip(names, obs[-len(names) :].tolist(), strict=True))
        a = env.assessment
        assert risk["rung"] == pytest.approx(a.rung / 5)
        used = {name: a.used[j] for j, name in enumerate(a.names)}
        for name in TIGHT_NAMES:
            headroom = max(1.0 - used[name], -3.0)
            assert risk[f"headroom_{name}"] == pytest.approx(headroom, rel=1e-5, abs=1e-6)
        assert risk["var_to_limit"] == pytest.approx(min(used["var_1d"], 4.0), rel=1e-6)
        left = [active.closes_before / 20 for active in a.events.active]
        assert risk["time_to_event"] == pytest.approx(min(left, default=1.0))
        seen.append(list(risk.values()))
        obs, *_ = env.step(action)
        plain_obs, *_ = plain.step(action)
    assert (np.ptp(np.array(seen), axis=0) > 0.0).all()  # every number moved


TIGHT_NAMES = ("delta", "theta", "vega", "gamma", "var_1d", "es_1d")


def replayed_to(make, arguments, actions):
    env = make("discrete", **arguments)
    env.reset(seed=0)
    for action in actions:
        env.step(action)
    return env


def test_a_mask_says_exactly_which_actions_reach_the_env_unchanged(make_env, with_events, draw):
    env = make_env("discrete", **with_events)
    env.reset(seed=0)
    masked = 0
    for step, action in enumerate(draw(env, 40, seed=3)):
        mask = env.action_masks()
        assert (mask.shape, mask.dtype) == ((env.action_space.n,), np.bool_)
        assert mask.any()
        if step % 4 == 0:
            for choice in range(env.action_space.n):
                twin = copy.deepcopy(env)
                *_, info = twin.step(choice)
                assert bool(mask[choice]) == (info["intervened"] == 0)
                assert (info["executed_action"] == choice) == bool(mask[choice])
        masked += int((~mask).sum())
        env.step(action)
    assert masked > 20


def test_a_copy_and_a_replay_agree_on_what_a_mask_allows(make_env, with_events, draw):
    env = make_env("discrete", **with_events)
    env.reset(seed=0)
    actions = draw(env, 20, seed=3)
    for action in actions:
        env.step(action)
    mask = env.action_masks()
    for choice in (int(np.argmin(mask)), int(np.argmax(mask))):
        again = replayed_to(make_env, with_events, actions)
        *_, info = again.step(choice)
        *_, copied = copy.deepcopy(env).step(choice)
        assert (info["intervened"], info["equity"]) == (copied["intervened"], copied["equity"])
        assert info["intervened"] == (not mask[choice])


def test_asking_for_a_mask_changes_nothing(make_env, draw):
    asked, plain = make_env("discrete"), make_env("discrete")
    asked.reset(seed=0), plain.reset(seed=0)
    for action in draw(plain, 25, seed=1):
        assert asked.action_masks().tolist() == asked.action_masks().tolist()
        asked.step(action), plain.step(action)
        assert asked.last_decision.to_bytes() == plain.last_decision.to_bytes()


def test_without_correction_every_action_is_open(make_env):
    env = make_env("discrete", correction="none")
    env.reset(seed=0)
    assert env.action_masks().all()


def test_masks_reach_sb3_contrib_through_monitor_and_a_vector_env(make_env, draw):
    vector = DummyVecEnv([lambda: Monitor(make_env("discrete")) for _ in range(2)])
    single = make_env("discrete")
    single.reset(seed=0)
    vector.seed(0)
    vector.reset()
    assert is_masking_supported(vector)
    closed = 0
    for action in draw(single, 25, seed=3):
        masks = get_action_masks(vector)
        assert masks.shape == (2, single.action_space.n)
        assert masks.dtype == np.bool_
        assert (masks == single.action_masks()).all()
        closed += int((~masks).sum())
        vector.step(np.array([action, action]))
        single.step(action)
    assert closed > 0
