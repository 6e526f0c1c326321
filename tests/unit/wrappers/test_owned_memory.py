"""What the agent is handed stays as it was, whatever the env does with its buffers afterwards."""

from __future__ import annotations

import logging
from collections import namedtuple

import numpy as np
import pytest
from gymnasium import spaces
from riskenv.wrappers import AccountAdapter, RiskConstrainedEnv, TargetPositionAdapter
from riskenv.wrappers.observations import copied, same
from riskenv.wrappers.step_info import StepInfo

from .trap_envs import LIMITS, READER, SESSIONS, SPY, Shares, shares_adapter

SHAPES = {
    "array": lambda buffer: buffer,
    "dict": lambda buffer: {"book": buffer, "nested": {"deep": buffer}},
    "tuple": lambda buffer: (buffer, buffer),
}


class OneBuffer(Shares):
    """One array in every observation and info, in one dict for ever."""

    def __init__(self, shape="array"):
        super().__init__()
        self.buffer, self.box = np.zeros(2, np.float64), self.observation_space
        self.shape = SHAPES[shape]
        self.observation_space = {
            "array": self.box,
            "dict": spaces.Dict({"book": self.box, "nested": spaces.Dict({"deep": self.box})}),
            "tuple": spaces.Tuple((self.box, self.box)),
        }[shape]
        self.info = {"buffer": self.buffer, "rows": [{"buffer": self.buffer}]}

    def observation(self):
        self.buffer[:] = self.price, self.held[SPY]
        return self.shape(self.buffer)

    def reset(self, **arguments):
        return super().reset(**arguments)[0], self.info

    def step(self, action):
        return *super().step(action)[:4], self.info


@pytest.mark.parametrize(
    ("shape", "observe_risk"),
    [("array", False), ("array", True), ("dict", False), ("dict", True), ("tuple", False)],
)
def test_observations_and_infos_outlive_the_next_step(shape, observe_risk):
    bare = OneBuffer(shape)
    env = RiskConstrainedEnv(bare, LIMITS, adapter=shares_adapter(), observe_risk=observe_risk)
    given = [env.reset(seed=0)]
    kept = [copied(given[0])]
    for action in (1, 1, 2, 1, 3, 0):
        obs, _, _, _, info = env.step(action)
        given.append((obs, info))
        kept.append(copied((obs, info)))
    assert same(given, kept)
    assert not same(kept[0], kept[1])
    bare.buffer[:] = 7.0
    assert same(given, kept)
    assert set(bare.info) == {"buffer", "rows"}  # the layer writes into a dict of its own


def test_every_array_of_the_layer_in_info_owns_its_memory_and_no_two_share_it():
    env = RiskConstrainedEnv(OneBuffer(), LIMITS, adapter=shares_adapter())
    env.reset(seed=0)
    infos = [env.step(action)[4] for action in (1, 2, 0)]
    arrays = [a for info in infos for a in info.values() if isinstance(a, np.ndarray)]
    assert len(arrays) == 3 * 5
    assert all(a.flags.owndata and a.flags.writeable for a in arrays)
    assert set(infos[0]) == {*StepInfo.KEYS, "buffer", "rows"}
    record = env.audit_record()
    for array in arrays:
        array[...] = 99
    assert env.audit_record() == record
    assert infos[0]["costs"].dtype == infos[0]["risk"].dtype == np.float64


class ScalesInPlace(Shares):
    """Turns the very action that it is handed into shares."""

    def __init__(self):
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def lots(self, action):
        action *= 1_000.0
        return {SPY: float(np.rint(action[1])) - self.held[SPY]}


def test_an_env_that_scales_actions_in_place_spoils_neither_info_nor_record():
    """The second component, of the table's QQQ and SPY, is the target of SPY."""
    targets = sorted(READER.held(_reset(ScalesInPlace())), key=lambda i: i.symbol)
    adapter = TargetPositionAdapter(READER, targets, 1_000.0, sessions=SESSIONS)
    env = RiskConstrainedEnv(ScalesInPlace(), LIMITS, adapter=adapter)
    env.reset(seed=0)
    for asked, executed in ((0.5, 0.5), (1.0, 0.9)):
        *_, info = env.step(np.array([0.0, asked], dtype=np.float32))
        assert info["executed_action"].tolist() == pytest.approx([0.0, executed])
        record = env.audit_record()
        assert record["proposed_action"] == [0.0, asked]
        assert record["executed_action"] == pytest.approx([0.0, executed])


def _reset(env):
    env.reset(seed=0)
    return env


def test_an_env_that_scales_in_place_spoils_no_fallback():
    class Keeps(TargetPositionAdapter):
        """Offers the same array at every step."""

        KEEP = np.array([0.0, 0.25], dtype=np.float32)

        def encode(self, env, trades, proposed):
            return None

        def fallbacks(self, env):
            return [self.KEEP]

    targets = sorted(READER.held(_reset(ScalesInPlace())), key=lambda i: i.symbol)
    adapter = Keeps(READER, targets, 1_000.0, sessions=SESSIONS)
    env = RiskConstrainedEnv(ScalesInPlace(), {"caps": {"delta": 250.0}}, adapter=adapter)
    env.reset(seed=0)
    for _ in range(3):
        *_, info = env.step(None)
        assert info["executed_action"].tolist() == [0.0, 0.25]
        assert env.unwrapped.held[SPY] == 250.0
    assert Keeps.KEEP.tolist() == [0.0, 0.25]


def test_a_named_tuple_stays_one():
    Point = namedtuple("Point", "at size")
    point = copied(Point(np.zeros(1), 2))
    assert (type(point), point.size) == (Point, 2)


# --- the level of protection ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adapter", "level", "logged"),
    [
        (shares_adapter(), "ENCODE", logging.INFO),
        (AccountAdapter(READER, hold=0, flatten=3, sessions=SESSIONS), "READ", logging.WARNING),
    ],
)
def test_the_level_of_protection_is_said_at_construction_and_in_every_report(
    adapter, level, logged, caplog
):
    with caplog.at_level(logging.INFO, "riskenv.wrappers"):
        env = RiskConstrainedEnv(Shares(), LIMITS, adapter=adapter)
    (line,) = caplog.records
    assert line.levelno == logged
    assert f"protection {level}: " in line.getMessage()
    env.reset(seed=0)
    assert env.risk_report()["protection"] == level
