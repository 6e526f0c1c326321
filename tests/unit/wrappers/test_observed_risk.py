"""`observe_risk`: numbers in finite bounds, of the observation's own kind, never NaN."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from riskenv.wrappers import RiskConstrainedEnv
from riskenv.wrappers.risk_observation import LEAST_HEADROOM, RiskObservation
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from riskenv import RiskLimits
from riskenv.config import ConfigError, load_config

from .joint_envs import JointAdapter, Slots, constrained
from .trap_envs import LIMITS, Shares, shares_adapter

CAPS = load_config(
    RiskLimits,
    {
        "caps": {"delta": 500.0, "gross_delta": 500.0, "var_1d": 1e4, "day_loss": 1e3},
        "by_underlying": {"*": {"vega": 100.0}},
    },
)


class FlatShares(Shares):
    """Observes in a type of choice, whatever it then hands out."""

    def __init__(self, dtype=np.float32, handed_out=None):
        super().__init__()
        self.observation_space = spaces.Box(-1e6, 1e6, (2,), dtype)
        self.handed_out = handed_out or dtype

    def observation(self):
        return super().observation().astype(self.handed_out)


@pytest.mark.parametrize(
    ("dtype", "handed_out"),
    [(np.float32, None), (np.float64, None), (np.float32, np.float64)],
)
def test_a_box_keeps_its_bounds_and_type(dtype, handed_out):
    bare = FlatShares(dtype, handed_out)
    env = RiskConstrainedEnv(bare, LIMITS, adapter=shares_adapter(), observe_risk=True)
    space, count = env.observation_space, len(env.observed_risk_names)
    assert space.dtype == dtype
    assert np.isfinite(space.low).all()
    assert np.isfinite(space.high).all()
    assert space.low[:2].tolist() == bare.observation_space.low.tolist()
    obs, _ = env.reset(seed=0)
    for action in (1, 1, 1, 2, 3, None):
        assert obs.dtype == dtype
        assert obs.shape == (2 + count,)
        assert space.contains(obs)
        obs, *_ = env.step(action)
    if handed_out is None:
        check_env(env, skip_render_check=True)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1.0, 1.0, (2, 2), np.float32),
        spaces.Box(0, 255, (4,), np.uint8),
        spaces.Discrete(3),
        spaces.Tuple((spaces.Box(-1.0, 1.0, (1,)),)),
        spaces.Dict({"risk": spaces.Box(-1.0, 1.0, (1,))}),
    ],
    ids=str,
)
def test_other_observations_are_refused_by_name(space):
    with pytest.raises(ConfigError, match="observe_risk: the observation space is") as refused:
        RiskObservation(space, CAPS)
    assert str(space) in str(refused.value)


def test_what_is_unknown_shows_as_the_worst_there_is():
    limits = {"caps": {"dollar_delta": 1e6}}
    env = RiskConstrainedEnv(Slots(), limits, adapter=JointAdapter(), observe_risk=True)
    env.reset(seed=0)
    env.env.advance = lambda: setattr(env.unwrapped, "price", float("nan"))
    obs, *_ = env.step(np.array([5, 3]))
    shown = dict(zip(env.observed_risk_names, obs["risk"].tolist(), strict=True))
    assert shown["headroom_dollar_delta"] == LEAST_HEADROOM
    assert env.observation_space["risk"].contains(obs["risk"])


@pytest.mark.parametrize("used", [np.nan, np.inf, -0.0, 0.0, 0.3, 1.0, 3.9, 4.0, 1e300], ids=repr)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_whatever_is_used_the_numbers_are_inside_their_bounds(used, dtype):
    env = constrained(Slots)
    env.reset(seed=0)
    observation = RiskObservation(spaces.Box(-1.0, 1.0, (1,), dtype), CAPS)
    a = env.assessment
    a = dataclasses.replace(a, used=np.full_like(a.used, used), day_loss=-used * 1e3)
    obs = observation.of(np.zeros(1, dtype), a)
    assert observation.space.contains(obs)
    assert np.isfinite(obs).all()
    shown = dict(zip(observation.names, obs[1:].tolist(), strict=True))
    worst = not used < 4.0
    assert (shown["headroom_delta"] == LEAST_HEADROOM) == worst
    assert (shown["var_to_limit"] == 4.0) == worst


@pytest.mark.parametrize("unknown", ["calendar_unknown", "unknown", "undated"])
def test_an_event_of_an_unknown_date_may_come_at_once(unknown):
    env = constrained(Slots)
    env.reset(seed=0)
    observation = RiskObservation(spaces.Box(-1.0, 1.0, (1,)), CAPS)
    a = env.assessment
    assert observation.numbers(a)[-1] == 1.0
    events = dataclasses.replace(a.events, **{unknown: (object(),)})
    assert observation.numbers(dataclasses.replace(a, events=events))[-1] == 0.0


@pytest.mark.parametrize("kind", ["box", "dict"])
def test_normalisation_takes_it(kind):
    def make():
        if kind == "dict":
            return constrained(Slots, observe_risk=True)
        return RiskConstrainedEnv(FlatShares(), LIMITS, adapter=shares_adapter(), observe_risk=True)

    keys = {"norm_obs_keys": ["price", "risk"]} if kind == "dict" else {}
    envs = VecNormalize(DummyVecEnv([make, make]), **keys)
    envs.reset()
    for _ in range(20):
        obs, rewards, *_ = envs.step(np.array([make().action_space.sample() for _ in range(2)]))
        for part in obs.values() if kind == "dict" else [obs]:
            assert np.isfinite(part).all()
        assert np.isfinite(rewards).all()
