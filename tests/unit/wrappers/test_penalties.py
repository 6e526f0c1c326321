"""What is taken off the reward, and what is told about it in info."""

from __future__ import annotations

import json
import math

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from riskenv.wrappers import (
    PenaltyConfig,
    RiskConstrainedEnv,
    correction_penalty,
    drawdown_penalty,
    utilisation_penalty,
    var_penalty,
)

from riskenv.config import ConfigError
from riskenv.measures import INDEX

from .joint_envs import JointAdapter, Slots, constrained

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


# --- the vectors of info --------------------------------------------------------------------------


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_info_s_vectors_are_the_assessment_s_numbers_and_never_nan(make_env, draw, convention):
    caps = {"delta": 20.0, "vega": 100.0, "var_1d": 2e3, "drawdown": 5e3}
    env = make_env(convention, caps, correction="none")
    env.reset(seed=0)
    assert env.cost_names == ("delta", "vega", "var_1d", "account")
    outside = 0
    hold = env.adapter.fallbacks(env)[0]
    for action in [hold, *draw(env, 39, seed=5)]:
        *_, info = env.step(action)
        a = env.assessment
        risk = dict(zip(env.risk_names, info["risk"].tolist(), strict=True))
        for name in ("delta", "gamma", "theta", "vega", "var_1d", "var_3d", "var_5d"):
            assert risk[name] == a.before[INDEX[name]]
        assert risk["current_exposure"] == a.day_loss
        assert risk["var_1d"] == env.risk_report()["var"]["var_1d"]
        costs = dict(zip(env.cost_names, info["costs"].tolist(), strict=True))
        for name in ("delta", "vega", "var_1d"):
            assert costs[name] == min(max(0.0, a.used[INDEX[name]] - 1.0), 10.0)
        assert info["cost"] == float(any(costs.values()))
        assert (info["cost"] == 0.0) == (not a.breached and costs["account"] == 0.0)
        for key in ("costs", "penalties", "risk"):
            assert not np.isnan(info[key]).any()
            assert info[key].flags.owndata
            assert info[key].dtype == np.float64
        outside += info["cost"]
    assert 0 < outside < 40


def test_an_unknown_cap_costs_the_most_and_an_unknown_figure_is_infinite():
    env = RiskConstrainedEnv(Slots(), {"caps": {"dollar_delta": 1e6}}, adapter=JointAdapter())
    env.reset(seed=0)
    env.env.advance = lambda: setattr(env.unwrapped, "price", float("nan"))
    *_, info = env.step(np.array([5, 3]))
    assert info["costs"].tolist() == [10.0]
    assert info["cost"] == 1.0
    risk = dict(zip(env.risk_names, info["risk"].tolist(), strict=True))
    assert risk["var_1d"] == -math.inf  # no history, no VaR
    assert risk["current_exposure"] == -math.inf


@pytest.mark.parametrize(
    "vector", [gymnasium.vector.SyncVectorEnv, gymnasium.vector.AsyncVectorEnv]
)
def test_vector_envs_stack_it(make_env, draw, vector):
    envs = vector([lambda: make_env("box") for _ in range(2)])
    single = make_env("box")
    try:
        _, info = envs.reset(seed=[0, 0])
        assert "executed_action" not in info
        single.reset(seed=0)
        for action in draw(single, 5, seed=5):
            *_, info = envs.step(np.stack([action, action]))
            *_, alone = single.step(action)
            for key in KEYS:
                assert np.array_equal(info[key], np.stack([alone[key]] * 2)), key
                assert info[f"_{key}"].all()
    finally:
        envs.close()


def test_what_an_env_itself_says_under_a_key_of_the_layer_is_kept():
    class Speaks(Slots):
        def step(self, action):
            *rest, _ = super().step(action)
            return *rest, {"cost": "2.50", "day": 3}

    env = constrained(Speaks)
    env.reset(seed=0)
    *_, info = env.step(np.array([3, 3]))
    assert (info["cost"], info["env_cost"], info["day"]) == (0.0, "2.50", 3)


@pytest.mark.parametrize(
    ("drawdown", "limit", "config", "penalty"),
    [
        (-500.0, 1000.0, {}, 0.0),  # off
        (-500.0, 1000.0, {"drawdown_weight": 1.0}, 0.0),  # at the warn level
        (-800.0, 1000.0, {"drawdown_weight": 1.0}, 0.09),
        (-800.0, 1000.0, {"drawdown_weight": 2.0, "drawdown_warn": 0.7}, 0.02),
        (-9e9, 1000.0, {"drawdown_weight": 1.0, "drawdown_clip": 0.4}, 0.4),
        (math.nan, 1000.0, {"drawdown_weight": 1.0, "drawdown_clip": 0.4}, 0.4),
        (0.0, 0.0, {"drawdown_weight": 1.0}, 0.0),
        (-1.0, 0.0, {"drawdown_weight": 1.0}, 1.0),  # a cap of equity below zero is zero
    ],
)
def test_the_drawdown_penalty_is_a_clipped_square_too(drawdown, limit, config, penalty):
    got = drawdown_penalty(drawdown, limit, PenaltyConfig(**config))
    assert got == pytest.approx(penalty, abs=1e-12)


@pytest.mark.parametrize(
    ("used", "config", "penalty"),
    [
        (0.9, {}, 0.0),
        (0.9, {"utilisation_weight": 1.0}, 0.01),
        (0.9, {"utilisation_weight": 1.0, "utilisation_warn": 0.5}, 0.16),
        (math.inf, {"utilisation_weight": 1.0, "utilisation_clip": 0.3}, 0.3),
        (math.nan, {"utilisation_weight": 1.0, "utilisation_clip": 0.3}, 0.3),
    ],
)
def test_the_utilisation_penalty_too(used, config, penalty):
    assert utilisation_penalty(used, PenaltyConfig(**config)) == pytest.approx(penalty, abs=1e-12)


def test_each_penalty_is_in_its_place_and_taken_off(make_env, draw):
    caps = {"delta": 60.0, "var_1d": 4e3, "drawdown": 2e4}
    weights = {"drawdown_weight": 1.0, "drawdown_warn": 0.0, "utilisation_weight": 1.0,
               "utilisation_warn": 0.1, "cost_weight": 0.25, "var_warn": 0.1}  # fmt: skip
    env = make_env("box", caps, penalty=weights)
    env.reset(seed=0)
    seen = dict.fromkeys(env.penalty_names, 0)
    for action in draw(env, 60, seed=5):
        _, reward, _, _, info = env.step(action)
        penalties = dict(zip(env.penalty_names, info["penalties"].tolist(), strict=True))
        assert reward == info["reward_raw"] - info["penalties"].sum()
        assert penalties["cost"] == 0.25 * info["cost"]
        drawdown = -env.assessment.drawdown / 2e4
        assert penalties["drawdown"] == pytest.approx(min(drawdown**2, 1.0), abs=1e-11)
        decision = env.last_decision
        most = decision.used_after[[INDEX["delta"], INDEX["var_1d"]]].max()
        expected = min(max(0.0, most - 0.1) ** 2, 1.0)
        assert penalties["utilisation"] == pytest.approx(expected, abs=1e-11)
        for name, penalty in penalties.items():
            seen[name] += penalty > 0.0
    assert all(seen.values()), seen


def test_the_audit_record_has_the_action_proposed_and_what_came_of_it(make_env, draw):
    env = make_env("box")
    env.reset(seed=0)
    with pytest.raises(ResetNeeded, match="no step has been taken"):
        env.audit_record()
    for action in draw(env, 20, seed=5):
        *_, info = env.step(action)
        record = json.loads(json.dumps(env.audit_record()))
        assert record["proposed_action"] == [float(x) for x in action]
        assert record["executed_action"] == [float(x) for x in info["executed_action"]]
        assert record["intervened"] == bool(info["intervened"])
        assert list(record["penalties"].values()) == info["penalties"].tolist()
        assert record["decision"] == json.loads(env.last_decision.to_bytes())
        assert record["state"]["rung"] == env.state.rung.name
