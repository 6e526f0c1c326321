"""Any env, any action: what may pass reaches the env as it is, and what replaces it may be done as
cast, rounded and clipped. Judged by the env's own book, with sums of its own."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from riskenv.wrappers import (
    CallableAdapter,
    LinearTrades,
    RiskConstrainedEnv,
    TargetPositionAdapter,
    Traits,
)

from .joint_envs import KINDS, ORDER, EncodingAdapter, Joint, JointAdapter, Slots
from .trap_envs import QQQ, READER, SESSIONS, SPY, Shares, shares_adapter

SIZE = 1_000.0


class Targets(Joint):
    """A Box of the shares to hold, in thousands; whole shares, or any fraction of one."""

    def __init__(self, start, dtype, whole, low=-1.0, high=1.0):
        super().__init__(start)
        self.whole = whole
        self.action_space = spaces.Box(low, high, (2,), dtype)

    def lots(self, action):
        wanted = SIZE * np.asarray(action, dtype=np.float64)
        wanted = np.rint(wanted) if self.whole else wanted
        return {i: float(w) - self.held[i] for i, w in zip(ORDER, wanted, strict=True)}


class Sizes(Joint):
    """A Box of what to trade: whole tens of shares a component, some of both."""

    MATRIX = np.array([[0.0, 10.0], [30.0, -10.0], [-10.0, 20.0]])  # of QQQ and SPY

    def __init__(self, start, dtype):
        super().__init__(start)
        kind = (np.float32(-20.5), np.float32(20.5)) if dtype != np.int64 else (-20, 20)
        self.action_space = spaces.Box(*kind, (3,), dtype)

    def lots(self, action):
        traded = np.rint(np.asarray(action, dtype=np.float64) @ self.MATRIX)
        return dict(zip(ORDER, traded.tolist(), strict=True))


def targets(dtype, whole, **bounds):
    adapter = TargetPositionAdapter(
        READER, ORDER, SIZE, sessions=SESSIONS, traits=Traits(whole_lots=whole)
    )
    return lambda start: Targets(start, dtype, whole, **bounds), adapter


def sizes(dtype):
    adapter = CallableAdapter(
        lambda env, obs, info: READER.read(env),
        linear=lambda env: LinearTrades(Sizes.MATRIX, np.zeros(2)),
        sessions=SESSIONS,
    )
    return lambda start: Sizes(start, dtype), adapter


class MenuOfShares(Shares):
    def __init__(self, start):
        super().__init__()
        self.start = start

    def reset(self, **arguments):
        obs, info = super().reset(**arguments)
        self.held[SPY] = self.start
        return obs, info


CONVENTIONS = {
    "Discrete": (MenuOfShares, shares_adapter()),
    **{kind.__name__: (kind, JointAdapter()) for kind in KINDS},
    "MultiDiscrete, encoding": (Slots, EncodingAdapter()),
    "Box32 of whole targets": targets(np.float32, True),
    "Box32 of any targets": targets(np.float32, False),
    "Box64 of whole targets": targets(np.float64, True),
    "Box64 of any targets": targets(np.float64, False),
    "Box32 of targets on one side": targets(np.float32, True, low=-0.1, high=0.9),
    "Box32 of sizes": sizes(np.float32),
    "Box64 of sizes": sizes(np.float64),
    "Box of whole sizes": sizes(np.int64),
}
SLACK = 1e-9


def gross(held):
    return abs(held[SPY]) + abs(held[QQQ])


def copy_of(value):
    if isinstance(value, dict):
        return {key: copy_of(part) for key, part in value.items()}
    return np.array(value)


def same_bits(one, other):
    if isinstance(one, dict):
        return all(same_bits(one[key], other[key]) for key in one)
    return np.array(one).tobytes() == np.array(other).tobytes()


@pytest.mark.parametrize("convention", CONVENTIONS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**31 - 1),
    cap=st.floats(40.0, 1_200.0),
    start=st.sampled_from([0.0, 0.0, 100.0, 400.0, 900.0]),
)
def test_what_may_pass_is_the_same_object_and_what_replaces_it_may_pass(
    convention, seed, cap, start
):
    make, adapter = CONVENTIONS[convention]
    env = RiskConstrainedEnv(make(start), {"caps": {"gross_delta": cap}}, adapter=adapter)
    received, inner = [], env.env.step
    env.env.step = lambda action: received.append((action, copy_of(action))) or inner(action)
    env.reset(seed=0)
    env.action_space.seed(seed)
    for _ in range(8):
        before = dict(env.unwrapped.held)
        action = env.action_space.sample()
        kept, rung = copy_of(action), env.assessment.rung
        traded = env.unwrapped.lots(action)
        after = {i: before[i] + traded.get(i, 0.0) for i in before}
        *_, info = env.step(action)
        reached, as_it_was = received[-1]
        assert env.action_space.contains(reached)
        if rung < 2 and gross(after) <= cap:
            assert reached is action
        if info["intervened"] == 0:
            assert reached is action
            assert same_bits(as_it_was, kept)
        assert same_bits(info["executed_action"], as_it_was)
        # Inside, or where it was outside already no further.
        done = gross(env.unwrapped.held)
        assert done <= max(cap, gross(before)) + SLACK, (convention, kept, reached)


def test_the_cases_above_are_corrected_and_let_pass():
    """Neither of the two claims is empty, in any convention."""
    for name, (make, adapter) in CONVENTIONS.items():
        intervened = unchanged = 0
        for cap in (150.0, 900.0):
            env = RiskConstrainedEnv(make(0.0), {"caps": {"gross_delta": cap}}, adapter=adapter)
            env.reset(seed=0)
            env.action_space.seed(3)
            for _ in range(40):
                *_, info = env.step(env.action_space.sample())
                intervened += info["intervened"]
                unchanged += not info["intervened"]
        assert min(intervened, unchanged) > 2, (name, intervened, unchanged)
