"""The reference env inside the layer, and runs of it that can be compared to the bit."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import riskenv.train  # registers the env
from riskenv.data import fomc_events
from riskenv.wrappers import RiskConstrainedEnv

assert riskenv.train

SPAN = {"start": "2008-09-02", "end": "2008-12-31"}
# Tight enough that random actions of either convention run into them.
TIGHT = {"delta": 150.0, "theta": 300.0, "vega": 200.0, "gamma": 4.0, "var_1d": 8e3, "es_1d": 1e4}
FOMC = {
    "rules": [
        {
            "event_type": "fomc",
            "sessions_before": 2,
            "cap_multiplier": 0.5,
            "reduce": True,
            "gap_log_return": 0.03,
            "gap_log_vol_change": 0.1,
        }
    ]
}


def bare_env(convention, **changes):
    arguments = {**SPAN, "config": {"random_start": False}, **changes}
    return gymnasium.make("riskenv/OptionsTrading-v0", convention=convention, **arguments)


@pytest.fixture(scope="session")
def make_bare():
    """make_bare(convention, **arguments of the env) -> the env without the layer."""
    return bare_env


@pytest.fixture(scope="session")
def make_env():
    """make_env(convention, caps, span={}, **arguments of the layer) -> the env inside it."""

    def make(convention, caps=TIGHT, span=None, **arguments):
        return RiskConstrainedEnv(bare_env(convention, **(span or {})), {"caps": caps}, **arguments)

    return make


@pytest.fixture(scope="session")
def with_events():
    """Arguments that put FOMC decisions into the layer."""
    return {"events": fomc_events(), "event_policy": FOMC}


@pytest.fixture(scope="session")
def draw():
    """draw(env, count, seed) -> random actions of its space, from a generator of their own."""

    def actions(env, count, seed=0):
        random = np.random.default_rng(seed)
        space = env.action_space
        if isinstance(space, gymnasium.spaces.Discrete):
            return [int(a) for a in random.integers(space.n, size=count) + space.start]
        if isinstance(space, gymnasium.spaces.MultiDiscrete):
            return list(random.integers(space.nvec, size=(count, *space.shape)))
        return list(random.uniform(-1.0, 1.0, (count, *space.shape)).astype(space.dtype))

    return actions
