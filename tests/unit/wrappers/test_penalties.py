"""What is taken off the reward, and what is told about it in info."""

from __future__ import annotations

import math

import numpy as np
import pytest
from riskenv.wrappers import PenaltyConfig, correction_penalty, var_penalty

from riskenv.config import ConfigError
from riskenv.measures import INDEX

CONVENTIONS = ("discrete", "multidiscrete", "box")
KEYS = {"cost", "costs", "penalties", "reward_raw", "risk", "intervened", "rung", "executed_action"}


@pytest.mark.parametrize(
    ("var_1d", "limit", "config", "penalty"),
    [
        (0.0, 1000.0, {}, 0.0),
        (-800.0, 1000.0, {}, 0.0),  # at the warn level
        (-900.0, 1000.0, {}, 0.01),  # (0.9 - 0.8)^2
        (-900.0, 1000.0, {"var_weight": 3.0}, 0.03),
        (-900.0, 1000.0, {"var_warn": 0.5}, 0.16),
        (-900.0, 1000.0, {"var_warn": 0.0, "var_weight": 0.5}, 0.405),
        (-9000.0, 1000.0, {}, 1.0),  # clipped
        (-9000.0, 1000.0, {"var_clip": 0.2}, 0.2),
        (math.nan, 1000.0, {"var_clip": 0.2}, 0.2),  # unknown is not zero
        (-9000.0, math.inf, {}, 0.0),  # no limit
        (-9000.0, 1000.0, {"var_weight": 0.0}, 0.0),
        (math.nan, 1000.0, {"var_weight": 0.0}, 0.0),
    ],
)
def test_the_var_penalty_is_a_clipped_square_of_what_exceeds_warn(var_1d, limit, config, penalty):
    assert var_penalty(var_1d, limit, PenaltyConfig(**config)) == pytest.approx(penalty, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "config", "penalty"),
    [
        (0.0, {}, 0.0),
        (0.25, {}, 0.075),
        (1.0, {}, 0.3),
        (0.25, {"correction_weight": 2.0}, 0.5),
        (0.25, {"correction_clip": 0.1}, 0.03),
        (1.0, {"correction_weight": 0.0}, 0.0),
    ],
)
def test_the_correction_penalty_is_a_clipped_share_of_the_change(change, config, penalty):
    assert correction_penalty(change, PenaltyConfig(**config)) == pytest.approx(penalty)


@pytest.mark.parametrize(
    "wrong", [{"var_weight": -1.0}, {"var_clip": 0.0}, {"correction_weight": math.nan}]
)
def test_a_penalty_that_would_be_a_bonus_is_refused(make_env, wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        make_env("box", penalty=wrong)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_reward_is_the_raw_one_less_both_penalties(make_env, draw, convention):
    limit = 4e3
    weights = {"var_weight": 2.0, "var_warn": 0.1, "correction_weight": 0.5}
    env = make_env(convention, {"delta": 60.0, "var_1d": limit}, penalty=weights)
    env.reset(seed=0)
    seen = {"var": 0, "correction": 0, "one of none": 0}
    for action in draw(env, 60, seed=5):
        _, reward, _, _, info = env.step(action)
        decision = env.last_decision
        taken = dict(zip(env.penalty_names, info["penalties"].tolist(), strict=True))
        assert reward == info["reward_raw"] - sum(taken.values())
        share = -decision.after[INDEX["var_1d"]] / limit
        var = min(2.0 * max(0.0, share - 0.1) ** 2, 1.0)
        assert taken["var"] == pytest.approx(var, abs=1e-11)
        if not info["intervened"] or decision.verdict.value == "REDUCE":
            change = 0.0
        elif convention == "discrete":
            change = 1.0
        elif convention == "multidiscrete":
            change = np.mean(action != info["executed_action"])
        else:
            change = np.mean(((action - info["executed_action"]) / 2.0) ** 2)
        assert taken["correction"] == pytest.approx(0.5 * change)
        seen["var"] += var > 0.0
        seen["correction"] += change > 0.0
        seen["one of none"] += var == 0.0 or change == 0.0
    assert all(seen.values())


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_weights_of_zero_give_the_raw_reward_to_the_bit(make_env, make_bare, draw, convention):
    caps = {"delta": 60.0, "var_1d": 4e3}
    env = make_env(convention, caps, penalty={"var_weight": 0.0, "correction_weight": 0.0})
    bare = make_bare(convention)
    env.reset(seed=0), bare.reset(seed=0)
    intervened = 0
    for action in draw(env, 40, seed=5):
        _, reward, _, _, info = env.step(action)
        assert reward == info["reward_raw"] == bare.step(info["executed_action"])[1]
        assert not info["penalties"].any()
        intervened += info["intervened"]
    assert intervened > 0


@pytest.mark.parametrize("correction", ["auto", "none"])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_layer_s_keys_are_in_every_step_and_in_no_reset(make_env, draw, convention, correction):
    env = make_env(convention, correction=correction)
    for seed in range(2):
        _, info = env.reset(seed=seed)
        assert not KEYS & set(info)
        for action in draw(env, 10, seed):
            *_, info = env.step(action)
            assert set(info) >= KEYS
            assert info["intervened"] in (0, 1)
            assert type(info["rung"]) is int
            assert 0 <= info["rung"] <= 5


def test_the_executed_action_owns_its_memory(make_env):
    env = make_env("box")
    env.reset(seed=0)
    buffer = np.zeros(28, dtype=np.float32)
    *_, info = env.step(buffer)
    buffer[:] = 1.0  # as a policy that reuses its buffer does
    assert info["executed_action"].flags.owndata
    assert (info["executed_action"] == 0.0).all()
