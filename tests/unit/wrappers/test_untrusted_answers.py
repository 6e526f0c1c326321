"""What an adapter answers is checked and owned; an env that does not come back is not trusted."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import InvalidAction, ResetNeeded
from riskenv.wrappers import (
    AccountAdapter,
    Adapter,
    CallableAdapter,
    LinearTrades,
    RiskConstrainedEnv,
    TargetPositionAdapter,
)

from riskenv import Verdict
from riskenv.config import ConfigError

from .joint_envs import Slots
from .trap_envs import QQQ, READER, SESSIONS, SPY, Shares, constrained, shares_adapter

CAPS = {"caps": {"gross_delta": 500.0}}


class Sizes(Shares):
    """A Box: up to a thousand shares of each, bought or sold."""

    def __init__(self, dtype=np.float32, low=-1.0):
        self.action_space = spaces.Box(low, 1.0, (2,), dtype)

    def shares(self, action):
        return np.rint(np.asarray(action, float) * 1_000.0)

    def lots(self, action):
        return dict(zip((QQQ, SPY), self.shares(action), strict=True))


class Previews(Adapter):
    """What the env itself says of an action, and the table's order is the env's."""

    def snapshot(self, env, obs, info):
        return READER.read(env)

    def preview(self, env, action):
        return env.unwrapped.shares(action)

    def sessions(self, env):
        return SESSIONS


class OneBuffer(Sizes):
    """Works out all sizes in one array for ever."""

    def __init__(self):
        super().__init__()
        self.buffer = np.zeros(2)

    def shares(self, action):
        np.rint(np.multiply(action, 1_000.0), out=self.buffer)
        return self.buffer


class ScalesTheAction(Sizes):
    """Works out sizes in the action itself, whoever asks."""

    def shares(self, action):
        action *= np.float32(2.0)
        return np.rint(np.asarray(action, float) * 1_000.0)


@pytest.mark.parametrize("env", [Sizes, OneBuffer, ScalesTheAction])
def test_answers_in_shared_memory_let_nothing_past_a_cap(env):
    env = RiskConstrainedEnv(env(), CAPS, adapter=Previews())
    env.reset(seed=0)
    for action in ([0.9, 0.9], [-0.9, 0.2], [0.0, 0.0]):
        asked = np.array(action, np.float32)
        env.step(asked)
        assert sum(map(abs, env.unwrapped.held.values())) <= 500.0
        assert env.audit_record()["proposed_action"] == pytest.approx(action)
    assert env.last_decision.verdict is Verdict.ALLOW


class Fails(Shares):
    """Fills the order, and then loses its connection, or the operator's patience."""

    error = TimeoutError

    def step(self, action):
        result = super().step(action)
        if self.day == 1:
            raise self.error
        return result


class Interrupted(Fails):
    error = KeyboardInterrupt


@pytest.mark.parametrize("kind", [Fails, Interrupted])
def test_after_a_step_that_did_not_end_nothing_is_judged_by_the_book_before_it(kind):
    env = constrained(kind(), limits={"caps": {"delta": 150.0}})
    env.reset(seed=0)
    with pytest.raises(kind.error):
        env.step(1)
    assert env.unwrapped.held[SPY] == 100.0
    for ask in (lambda: env.step(1), env.action_masks, env.risk_report):
        with pytest.raises(ResetNeeded, match="did not finish"):
            ask()
    env.reset(seed=0)
    assert env.action_masks().all()


def test_a_reduction_that_the_layer_orders_is_no_invalid_action():
    class Reads(Adapter):
        def snapshot(self, env, obs, info):
            return READER.read(env)

        def preview(self, env, action):
            lots = env.unwrapped.lots(action)
            return np.array([lots[QQQ], lots[SPY]])

        def encode(self, env, trades, proposed):
            return np.rint(trades[::-1] / 100.0).astype(np.int64) + 3

        def fallbacks(self, env):
            return [Slots.HOLD]

        def sessions(self, env):
            return SESSIONS

    limits = {"caps": {"gross_delta": 800.0}, "extreme": 1.1}
    env = RiskConstrainedEnv(Slots(start=1_300.0), limits, adapter=Reads(), masked_action="raise")
    env.reset(seed=0)
    verdicts = []
    for _ in range(3):
        mask = env.action_masks().reshape(2, 7)
        env.step(np.array([slot.nonzero()[0][-1] for slot in mask]))  # nothing ruled out is asked
        verdicts.append(env.last_decision.verdict)
    assert verdicts[:2] == [Verdict.REDUCE, Verdict.REDUCE]
    assert env.unwrapped.held[SPY] <= 800.0
    with pytest.raises(InvalidAction, match="rules out"):
        env.step(np.array([6, 6]))


LINEAR = CallableAdapter(
    lambda env, obs, info: READER.read(env),
    linear=lambda env: LinearTrades(1_000.0 * np.eye(2), np.zeros(2)),
    fallbacks=[np.zeros(2, np.float32)],
    sessions=SESSIONS,
)


def test_a_matrix_is_enough_for_the_projection_and_for_reductions():
    env = RiskConstrainedEnv(Sizes(), {"caps": {"gross_delta": 30.0}}, adapter=LINEAR)
    env.reset(seed=0)
    env.step(np.array([0.9, 0.0], np.float32))
    assert env.unwrapped.held == {QQQ: 30.0, SPY: 0.0}
    env.reset(seed=0)
    env.unwrapped.held[SPY], env.unwrapped.cash = 900.0, -300_000.0
    env.step(np.array([0.0, 0.001], np.float32))  # within the cap as it was seen last
    env.step(np.zeros(2, np.float32))
    assert env.last_decision.verdict is Verdict.REDUCE
    assert sum(map(abs, env.unwrapped.held.values())) <= 30.0


def test_without_one_a_continuous_action_is_scaled_to_the_256th_part():
    env = RiskConstrainedEnv(Sizes(), {"caps": {"gross_delta": 30.0}}, adapter=Previews())
    env.reset(seed=0)
    env.step(np.array([0.9, 0.0], np.float32))
    assert env.unwrapped.held == {QQQ: 28.0, SPY: 0.0}  # 8 of 256 parts of 900


@pytest.mark.parametrize(
    "answer", [[1.0], 1.0, {SPY: 1.0}, np.zeros((1, 2)), "two", np.zeros(3)], ids=str
)
def test_an_answer_of_another_shape_is_refused_by_name(answer):
    adapter = CallableAdapter(
        lambda env, obs, info: READER.read(env),
        preview=lambda env, action: answer,
        fallbacks=[np.zeros(2, np.float32)],
        sessions=SESSIONS,
    )
    env = RiskConstrainedEnv(Sizes(), CAPS, adapter=adapter)
    env.reset(seed=0)
    with pytest.raises(
        ValueError, match=r"adapter\.preview: got .*; allowed: numbers of shape \(2"
    ):
        env.step(np.zeros(2, np.float32))


def test_a_menu_of_another_length_is_refused_by_name():
    class Short(type(shares_adapter())):
        def preview_all(self, env):
            return super().preview_all(env)[:3]

    adapter = shares_adapter()
    adapter.__class__ = Short
    with pytest.raises(ValueError, match=r"adapter\.preview_all: got .*shape \(4, 2\)"):
        constrained(Shares(), adapter).reset(seed=0)


def test_an_env_of_the_old_gym_is_told_what_lifts_it():
    class OldReset(Shares):
        def reset(self, **arguments):
            return super().reset(**arguments)[0]

    class OldStep(Shares):
        def step(self, action):
            obs, reward, terminated, _, info = super().step(action)
            return obs, reward, terminated, info

    with pytest.raises(TypeError, match=r"env\.reset: got ndarray; .*OldGymEnv"):
        constrained(OldReset()).reset(seed=0)
    env = constrained(OldStep())
    env.reset(seed=0)
    with pytest.raises(TypeError, match=r"env\.step: got 4 values; .*OldGymEnv"):
        env.step(0)


class Targets(Sizes):
    """A Box of the positions that are traded to."""

    def shares(self, action):
        return np.rint(np.asarray(action, float) * 1_000.0) - [self.held[QQQ], self.held[SPY]]


NOTHING = np.array([np.nan, 0.0], np.float32)


def test_no_action_closes_no_book_of_which_no_hold_is_known():
    env = RiskConstrainedEnv(Targets(), CAPS, adapter=Previews())
    env.reset(seed=0)
    env.step(NOTHING)  # the zeros of the space hold what is nothing
    env.step(np.array([0.2, 0.1], np.float32))
    held = dict(env.unwrapped.held)
    with pytest.raises(ConfigError, match=r"fallbacks: got none, .*would stand for doing nothing"):
        env.step(NOTHING)
    assert env.unwrapped.held == held


def test_a_target_beyond_the_box_is_held_as_far_as_it_reaches():
    adapter = TargetPositionAdapter(READER, targets=[QQQ, SPY], size=1_000.0, sessions=SESSIONS)
    env = RiskConstrainedEnv(Targets(), {"caps": {"gross_delta": 5_000.0}}, adapter=adapter)
    env.reset(seed=0)
    env.step(np.array([0.2, 1.0], np.float32))
    env.unwrapped.held[SPY] = 1_200.0  # assigned
    env.step(np.array([0.2, 1.0], np.float32))
    env.unwrapped.held[SPY] = 1_200.0
    env.step(np.array([0.2, 1.0], np.float32))
    assert adapter.fallbacks(env.unwrapped)[0].tolist() == pytest.approx([0.2, 1.0])
    env.unwrapped.held[SPY] = 1_200.0
    env.step(NOTHING)
    assert env.unwrapped.held[SPY] == 1_000.0


def test_a_menu_in_which_every_row_trades_is_refused():
    class Restless(Shares):
        def lots(self, action):
            return {SPY: (100.0, 200.0, -100.0, -200.0)[action]}

        def shares(self, action):
            return np.array([0.0, self.lots(action)[SPY]])

    with pytest.raises(ConfigError, match="every action of the menu trades"):
        RiskConstrainedEnv(Restless(), CAPS, adapter=Previews()).reset(seed=0)


def test_an_account_adapter_that_also_previews_protects():
    class Knows(AccountAdapter):
        def preview(self, env, action):
            return np.array([0.0, env.unwrapped.lots(action)[SPY]])

    env = constrained(Shares(), Knows(READER, hold=0, sessions=SESSIONS), {"caps": {"delta": 50}})
    assert env.adapter.protection.name == "PREVIEW"
    env.reset(seed=0)
    env.step(1)
    assert env.unwrapped.held[SPY] == 0.0


def test_a_layer_that_only_watches_reduces_no_start():
    with pytest.raises(ConfigError, match='unsafe_start: got "reduce" beside correction="none"'):
        RiskConstrainedEnv(
            Shares(), CAPS, adapter=shares_adapter(), correction="none", unsafe_start="reduce"
        )
