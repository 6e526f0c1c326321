"""Real trainers inside the layer: small runs, which must end and stay inside the caps."""

from __future__ import annotations

import copy
import functools

import gymnasium
import numpy as np
import pytest
import riskenv.train
import torch
from gymnasium import spaces
from riskenv.train import ExecutedActionReplayBuffer, LagrangianCallback
from riskenv.wrappers import RiskConstrainedEnv
from sb3_contrib import TQC, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import (
    CallbackList,
    CheckpointCallback,
    ConvertCallback,
    EvalCallback,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from riskenv.config import ConfigError

assert riskenv.train


@pytest.fixture(autouse=True)
def one_thread():
    """Nets this small are slower on many."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


CAPS = {"delta": 150.0, "vega": 200.0, "gamma": 4.0}
SMALL = {"policy_kwargs": {"net_arch": [16]}, "device": "cpu", "seed": 0}
ON_POLICY = {"n_steps": 32, **copy.deepcopy(SMALL)}
OFF_POLICY = {"learning_starts": 20, "batch_size": 16, "buffer_size": 200, **SMALL}
RECURRENT = {"n_steps": 32, "device": "cpu", "seed": 0,
             "policy_kwargs": {"net_arch": [16], "lstm_hidden_size": 8}}  # fmt: skip
TRAINERS = {
    "PPO box": (PPO, "MlpPolicy", "box", {**ON_POLICY, "batch_size": 16, "n_epochs": 1}),
    "PPO multidiscrete": (PPO, "MlpPolicy", "multidiscrete", {**ON_POLICY, "batch_size": 16}),
    "A2C discrete": (A2C, "MlpPolicy", "discrete", ON_POLICY),
    "SAC box": (SAC, "MlpPolicy", "box", OFF_POLICY),
    "TD3 box": (TD3, "MlpPolicy", "box", OFF_POLICY),
    "DQN discrete": (DQN, "MlpPolicy", "discrete", OFF_POLICY),
    "MaskablePPO discrete": (MaskablePPO, "MlpPolicy", "discrete", {**ON_POLICY, "batch_size": 16}),
    "MaskablePPO multidiscrete": (MaskablePPO, "MlpPolicy", "multidiscrete",
                                  {**ON_POLICY, "batch_size": 16}),
    "RecurrentPPO box": (RecurrentPPO, "MlpLstmPolicy", "box", {**RECURRENT, "batch_size": 16}),
    "TQC box": (TQC, "MlpPolicy", "box", OFF_POLICY),
}  # fmt: skip


def make(convention, monitor=True, caps=CAPS, **arguments):
    env = RiskConstrainedEnv(
        gymnasium.make(
            "riskenv/OptionsTrading-v0",
            convention=convention,
            start="2008-09-02",
            end="2008-12-31",
            config={"random_start": False, "episode_sessions": 20, "max_lots": 3},
        ),
        {"caps": caps},
        observe_risk=True,
        **arguments,
    )
    return Monitor(env) if monitor else env


class Watch:
    """A callback: what every step's info says, and whether any decision broke a cap."""

    def __init__(self):
        self.steps = self.intervened = 0
        self.active = []

    def __call__(self, locals_, _globals):
        for info in locals_["infos"]:
            self.steps += 1
            self.intervened += info["intervened"]
            assert set(info) >= {"cost", "costs", "penalties", "executed_action"}
        for decision in locals_["env"].get_attr("last_decision"):
            self.active += [] if decision is None else decision.active
        return True


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_learns_inside_the_caps_and_its_policy_is_evaluated_there(name):
    algorithm, policy, convention, settings = TRAINERS[name]
    # A copy: A2C writes its optimizer into it.
    settings = copy.deepcopy(settings)
    model = algorithm(policy, DummyVecEnv([lambda: make(convention)]), **settings)
    watch = Watch()
    model.learn(64, callback=watch)
    assert watch.steps >= 64
    # Who samples from the mask is never corrected; the others are.
    assert (watch.intervened == 0) == (algorithm is MaskablePPO)
    assert watch.active == []
    # predict() of a masked trainer ignores the mask here: the layer does not.
    mean, _ = evaluate_policy(model, make(convention), n_eval_episodes=1, warn=False)
    assert np.isfinite(mean)


@pytest.mark.slow
def test_processes_normalisation_evaluation_and_checkpoints(tmp_path):
    # A spec is all that another process needs.
    thunk = functools.partial(gymnasium.make, make("box", monitor=False).spec)
    envs = VecNormalize(SubprocVecEnv([thunk] * 2, start_method="spawn"))
    judge = VecNormalize(DummyVecEnv([lambda: make("box")]), training=False, norm_reward=False)
    try:
        model = PPO("MlpPolicy", envs, batch_size=16, n_epochs=1, **ON_POLICY)
        evaluation = EvalCallback(judge, n_eval_episodes=1, eval_freq=32, verbose=0)
        checkpoints = CheckpointCallback(32, str(tmp_path), save_vecnormalize=True)
        model.learn(64, callback=[evaluation, checkpoints, LagrangianCallback(0.0, steps=32)])
        assert np.isfinite(evaluation.last_mean_reward)
        assert len(list(tmp_path.glob("*.zip"))) == 1
        assert len(envs.get_attr("penalty")) == 2
    finally:
        envs.close()


@pytest.mark.slow
@pytest.mark.parametrize("convention", ["discrete", "multidiscrete", "box"])
def test_torchrl_s_wrapper_finds_its_specs_kept(convention):
    # Seconds to import, for this test alone.
    from torchrl.envs.libs.gym import GymWrapper
    from torchrl.envs.utils import check_env_specs

    env = GymWrapper(make(convention, monitor=False), device="cpu")
    env.set_seed(0)
    check_env_specs(env)
    assert env.rollout(10).batch_size == (10,)


class _CtrlC:
    """Interrupts, as a user would, in the middle of a rollout."""

    def __init__(self, at):
        self.at = at

    def __call__(self, locals_, _globals):
        if locals_["self"].num_timesteps == self.at:
            raise KeyboardInterrupt
        return True


@pytest.mark.slow
def test_training_goes_on_from_a_checkpoint_after_ctrl_c(tmp_path):
    settings = {"batch_size": 16, "n_epochs": 1, **copy.deepcopy(ON_POLICY)}
    env = make("box", carry_state=False)
    model = PPO("MlpPolicy", DummyVecEnv([lambda: env]), **settings)
    with pytest.raises(KeyboardInterrupt):
        model.learn(96, callback=_CtrlC(at=50))
    env.get_wrapper_attr("set_cost_weight")(0.4)
    model.save(tmp_path / "model.zip")
    saved = env.get_wrapper_attr("state_dict")()

    fresh = make("box")
    fresh.get_wrapper_attr("load_state_dict")(saved)
    again = PPO.load(tmp_path / "model.zip", env=DummyVecEnv([lambda: fresh]), device="cpu")
    callback = LagrangianCallback(0.5, steps=10_000)
    again.learn(32, reset_num_timesteps=False, callback=callback)
    assert again.num_timesteps >= 82
    assert callback.multiplier == 0.4  # what was learned of the price is not forgotten


# --- what belongs to trainers ---------------------------------------------------------------------


def test_the_buffer_stores_what_was_executed_and_its_own_reward():
    env = make("box", penalty={"correction_weight": 0.5})
    model = SAC(
        "MlpPolicy",
        DummyVecEnv([lambda: env]),
        replay_buffer_class=ExecutedActionReplayBuffer,
        **{**OFF_POLICY, "learning_starts": 100},
    )
    seen = []

    def keep(locals_, _globals):
        seen.append((locals_["buffer_actions"].copy(), locals_["infos"][0]))
        return True

    model.learn(30, callback=keep)
    corrected = 0
    for k, (asked, info) in enumerate(seen):
        executed = info["executed_action"]  # the box is [-1, 1]: nothing to scale
        assert np.allclose(model.replay_buffer.actions[k, 0], executed, atol=1e-6)
        taken = info["penalties"].sum() - info["penalties"][1]
        assert model.replay_buffer.rewards[k, 0] == pytest.approx(info["reward_raw"] - taken, 1e-5)
        corrected += not np.allclose(asked, executed)
    assert corrected > 5


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.Box(-np.inf, np.inf, (2,))])
def test_the_buffer_is_for_bounded_boxes(space):
    with pytest.raises(ValueError, match=r"action_space: got .*; allowed: a bounded Box"):
        ExecutedActionReplayBuffer(10, spaces.Box(-1.0, 1.0, (2,)), space)


def test_the_buffer_refuses_what_no_layer_executed():
    box = spaces.Box(-1.0, 1.0, (2,))
    buffer = ExecutedActionReplayBuffer(10, box, box, device="cpu")
    row = np.zeros((1, 2), dtype=np.float32)
    with pytest.raises(ValueError, match="infos: got no executed_action and no penalties and no"):
        buffer.add(row, row, row, np.zeros(1), np.zeros(1), [{}])


def _transition(executed, asked=0.5, reward=-0.3, **info):
    """Added to a buffer of one env whose actions are in [-2, 2]."""
    box = spaces.Box(-2.0, 2.0, (1,), np.float32)
    buffer = ExecutedActionReplayBuffer(10, box, box, device="cpu")
    row = np.zeros((1, 1), dtype=np.float32)
    told = {
        "executed_action": executed,
        "penalties": np.array([0.0, 0.3, 0.0, 0.0, 0.0]),
        "intervened": 1,
        "reward_raw": 0.0,
        **info,
    }
    buffer.add(row, row, np.full((1, 1), asked), np.array([reward]), np.zeros(1), [told])
    return buffer


def test_a_corrected_action_of_the_agents_own_box_is_stored():
    buffer = _transition(np.array([-2.0], dtype=np.float32))
    assert buffer.actions[0].tolist() == [[-1.0]]
    assert buffer.rewards[0, 0] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("executed", "info", "words"),
    [
        (7, {}, "of another form"),  # the row of a menu
        (np.array([1, 0, 2]), {}, "of another form"),
        ({"size": np.array([1.0])}, {}, "of another form"),
        (np.array([True]), {}, "of another form"),
        (np.array([3.0]), {}, "outside it"),  # a wider Box inside
        (np.array([np.nan]), {}, "outside it"),
        (np.array([0.5]), {"intervened": 0}, r"not corrected, and the agent asked for \[1\.\]"),
    ],
)
def test_the_buffer_refuses_what_is_no_action_of_the_agents_own(executed, info, words):
    with pytest.raises(ValueError, match=f"{words}; allowed: actions of the agent's own Box"):
        _transition(executed, **info)


def test_the_buffer_refuses_a_reward_that_it_cannot_take_the_penalty_out_of():
    with pytest.raises(ValueError, match=r"reward: got -3.0 where the layer gave -0.3; allowed"):
        _transition(np.array([0.0]), reward=-3.0)
    unpriced = {"penalties": np.zeros(5), "reward_raw": 0.1}
    assert _transition(np.array([0.0]), reward=-3.0, **unpriced).rewards[0, 0] == -3.0


class _Menu(gymnasium.ActionWrapper):
    """A Box for the agent, in front of the rows of the layer's menu."""

    def __init__(self, env):
        super().__init__(env)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def action(self, action):
        return int((float(action[0]) + 1.0) / 2.0 * 0.999 * self.env.action_space.n)


@pytest.mark.parametrize(
    "env",
    [
        lambda: _Menu(make("discrete")),
        lambda: gymnasium.wrappers.RescaleAction(make("box"), np.float32(-0.5), np.float32(0.5)),
        lambda: gymnasium.wrappers.TransformReward(
            make("box", penalty={"correction_weight": 0.5}), lambda reward: 10.0 * reward
        ),
    ],
    ids=["a menu behind a Box", "a rescaled Box", "a scaled reward"],
)
def test_a_trainer_with_the_buffer_stops_where_a_wrapper_is_in_the_way(env):
    model = SAC(
        "MlpPolicy",
        DummyVecEnv([env]),
        replay_buffer_class=ExecutedActionReplayBuffer,
        **{**OFF_POLICY, "learning_starts": 100},
    )
    with pytest.raises(ValueError, match=r"executed_action: got|reward: got"):
        model.learn(30)


def test_the_price_rises_while_too_many_steps_end_outside_and_falls_after():
    # Watched and not enforced there is no penalty; so the caps are broken by the market alone.
    envs = DummyVecEnv([lambda: make("discrete", caps={"delta": 5.0}) for _ in range(2)])
    callback = LagrangianCallback(0.01, learning_rate=2.0, steps=20, maximum=5.0)
    model = A2C("MlpPolicy", envs, **copy.deepcopy(ON_POLICY))
    prices, costs = [], []

    def watch(locals_, _globals):
        costs.extend(info["cost"] for info in locals_["infos"])
        prices.append(callback.multiplier)
        assert {p.cost_weight for p in envs.get_attr("penalty")} == {callback.multiplier}
        return True

    model.learn(80, callback=CallbackList([callback, ConvertCallback(watch)]))
    assert 0.0 < np.mean(costs) < 1.0
    expected = 0.0
    for first in range(0, len(costs) - 19, 20):
        expected = min(max(0.0, expected + 2.0 * (np.mean(costs[first : first + 20]) - 0.01)), 5.0)
        assert prices[(first + 20) // 2 - 1] == pytest.approx(expected)
    assert max(prices) > 0.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"budget": -0.1}, "budget: got -0.1"),
        ({"budget": 1.0}, "budget: got 1.0"),
        ({"budget": 0.1, "learning_rate": 0.0}, "learning_rate: got 0.0"),
        ({"budget": 0.1, "steps": 0}, "steps: got 0"),
        ({"budget": 0.1, "initial": 20.0}, "initial: got 20.0"),
        ({"budget": float("nan")}, "budget: got nan"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(arguments, words):
    with pytest.raises(ConfigError, match=words):
        LagrangianCallback(**arguments)
