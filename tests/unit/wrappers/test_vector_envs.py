"""Gymnasium's vector envs stack what the layer says, whichever way they begin a new episode."""

from __future__ import annotations

import functools
import pickle

import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from riskenv.wrappers import RiskConstrainedEnv
from riskenv.wrappers.observations import copied, same
from riskenv.wrappers.step_info import StepInfo

from .joint_envs import Bits, JointAdapter, Nested, Parts, Slots
from .trap_envs import BoxAdapter, BoxShares, Shares, shares_adapter

VECTORS = (SyncVectorEnv, AsyncVectorEnv)
EPISODE = 5


class Short:
    """Ends an episode after a few steps; that of the first env of two at another time."""

    def step(self, action):
        obs, reward, terminated, _, info = super().step(action)
        return obs, reward, terminated, self.day >= EPISODE + self.late, info


def kinds():
    for base, adapter in (
        (Shares, shares_adapter), (BoxShares, BoxAdapter), (Slots, JointAdapter),
        (Bits, JointAdapter), (Parts, JointAdapter), (Nested, JointAdapter),
    ):  # fmt: skip
        yield type(f"Short{base.__name__}", (Short, base), {"__module__": __name__}), adapter


KINDS = {kind.__name__: (kind, adapter) for kind, adapter in kinds()}
globals().update({name: kind for name, (kind, _) in KINDS.items()})  # so that they are pickled


def make(name, late=0):
    kind, adapter = KINDS[name]
    env = kind()
    env.late = late
    return RiskConstrainedEnv(env, {"caps": {"gross_delta": 150.0}}, adapter=adapter())


def part(values, row):
    """What one env of a batch was handed or said; info's flags, "_key", left out."""
    if isinstance(values, dict):
        return {k: part(v, row) for k, v in values.items() if not k.startswith("_")}
    return values[row]


CASES = [(SyncVectorEnv, name) for name in KINDS]
CASES += [(AsyncVectorEnv, name) for name in ("ShortShares", "ShortNested")]  # processes are slow


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize(("vector", "name"), CASES)
def test_a_vector_of_layers_says_what_each_says_alone(vector, name, mode):
    thunks = [functools.partial(make, name, late) for late in range(2)]
    envs, alone = vector(thunks, autoreset_mode=mode), [thunk() for thunk in thunks]
    envs.action_space.seed(2)
    try:
        _, info = envs.reset(seed=[0, 1])
        for row, env in enumerate(alone):
            env.reset(seed=row)
        assert not set(StepInfo.KEYS) & set(info)
        ended, intervened, episodes = [False, False], 0, 0
        for _ in range(3 * EPISODE):
            actions = copied(envs.action_space.sample())
            if mode is AutoresetMode.DISABLED and any(ended):
                _, info = envs.reset(options={"reset_mask": np.array(ended)})
                assert not set(StepInfo.KEYS) & set(info)
                for row in np.flatnonzero(ended):
                    alone[row].reset()
                ended = [False, False]
            *_, terminated, truncated, info = envs.step(actions)
            for row, env in enumerate(alone):
                if mode is AutoresetMode.NEXT_STEP and ended[row]:
                    env.reset()
                    ended[row] = False
                    for key in StepInfo.KEYS:
                        assert not info.get(f"_{key}", np.zeros(2))[row]  # no step, no keys
                    continue
                *_, done_alone, expected = env.step(_action(envs, actions, row))
                ended[row] = bool(terminated[row] or truncated[row])
                assert ended[row] == done_alone
                said = info
                if mode is AutoresetMode.SAME_STEP and ended[row]:
                    env.reset()
                    said = info["final_info"]
                    ended[row] = False
                    episodes += 1
                episodes += ended[row]
                intervened += expected["intervened"]
                for key in StepInfo.KEYS:
                    assert said[f"_{key}"][row], key
                    assert same(part(said[key], row), expected[key]), key
                    assert not _has_nan(said[key]), key
        assert intervened > 0
        assert episodes >= 4
    finally:
        envs.close()


def _action(envs, actions, row):
    space = envs.single_action_space
    one = part(actions, row)
    return int(one) if space.shape == () and space.dtype.kind == "i" else copied(one)


def _has_nan(values):
    if isinstance(values, dict):
        return any(_has_nan(value) for key, value in values.items() if not key.startswith("_"))
    return bool(np.isnan(values).any())


@pytest.mark.parametrize("name", KINDS)
def test_an_info_survives_pickling(name):
    env = make(name)
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(3):
        info = env.step(env.action_space.sample())[-1]
        assert same(pickle.loads(pickle.dumps(info)), info)


@pytest.mark.parametrize("vector", VECTORS)
def test_names_of_the_vectors_and_masks_are_asked_for_through_the_vector(vector):
    envs = vector([functools.partial(make, "ShortShares")] * 2)
    try:
        envs.reset(seed=0)
        *_, info = envs.step(np.array([1, 1]))
        for vector_of, names in (
            ("costs", "cost_names"), ("penalties", "penalty_names"), ("risk", "risk_names"),
        ):  # fmt: skip
            for own in envs.get_attr(names):
                assert info[vector_of].shape == (2, len(own))
        assert [mask.tolist() for mask in envs.call("action_masks")] == [
            [True, False, True, True]
        ] * 2
    finally:
        envs.close()
