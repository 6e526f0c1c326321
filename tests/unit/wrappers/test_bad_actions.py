"""What is no action holds, is flagged, and never reaches the env; nothing raises."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from gymnasium import spaces
from riskenv.wrappers.actions import in_space, scaled, squared_change

NAN, INF = float("nan"), float("inf")
N = 28
ON_A_MENU = {
    "None": None,
    "nan": NAN,
    "inf": INF,
    "single-precision nan": np.float32(NAN),
    "below": -1,
    "above": 20,
    "far above": 2**70,
    "a fraction": 1.7,
    "a whole number as a float": 1.0,
    "a text": "3",
    "another text": "hold",
    "a shape": [1],
    "two": np.array([1, 2]),
    "ragged": [[1], [2, 3]],
    "a mapping": {},
    "complex": 1j,
}
IN_A_BOX = {
    "None": None,
    "all nan": np.full(N, NAN),
    "one nan": np.r_[NAN, np.zeros(N - 1)],
    "inf": np.full(N, INF),
    "-inf": np.full(N, -INF),
    "too long": np.zeros(N + 1),
    "a column": np.zeros((N, 1)),
    "a scalar": 0.5,
    "out of bounds": np.full(N, 1.5),
    "beyond single precision": np.full(N, 1e300),
    "ragged": [[1.0], [2.0, 3.0]],
    "texts": np.array(["0.1"] * N),
    "objects": np.zeros(N, dtype=object),
    "complex": np.zeros(N, dtype=complex),
    "a mapping": {},
}
CASES = [("discrete", name, bad) for name, bad in ON_A_MENU.items()]
CASES += [("box", name, bad) for name, bad in IN_A_BOX.items()]


@pytest.mark.parametrize("convention", ["discrete", "box"])
def test_no_action_at_all_holds_and_is_flagged(make_env, draw, convention):
    env = make_env(convention)
    env.reset(seed=0)
    for action in draw(env, 5, seed=4):
        env.step(action)
    for name, bad in (ON_A_MENU if convention == "discrete" else IN_A_BOX).items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            *_, info = env.step(bad)
        report = env.unwrapped.last_trade
        assert info["intervened"] == 1, name
        assert info["penalties"][env.penalty_names.index("correction")] == 0.0, name
        assert env.action_space.contains(info["executed_action"][()]), name
        if env.last_decision.verdict.value != "REDUCE":
            assert report.fills == {}, name


def test_garbage_spends_no_randomness_of_the_action_space(make_env):
    env, twin = make_env("box"), make_env("box")
    for one in (env, twin):
        one.reset(seed=0)
        one.action_space.seed(5)
    env.step(np.full(N, NAN))
    assert np.array_equal(env.action_space.sample(), twin.action_space.sample())


@pytest.mark.parametrize(("convention", "name", "bad"), CASES)
def test_garbage_is_in_no_space(convention, name, bad):
    space = spaces.Discrete(20) if convention == "discrete" else spaces.Box(-1.0, 1.0, (N,))
    assert not in_space(space, bad)


@pytest.mark.parametrize(
    ("space", "action"),
    [
        (spaces.Discrete(3), 2),
        (spaces.Discrete(3), np.int8(0)),
        (spaces.Discrete(3), np.array(1)),
        (spaces.Discrete(3, start=-1), -1),
        (spaces.Box(-1.0, 1.0, (2,)), [1.0, -1.0]),
        (spaces.Box(-1.0, 1.0, (2,)), np.array([0.1, 0.2])),
        (spaces.Box(-1.0, 1.0, (2,)), np.array([0, 1])),
        (spaces.Box(-INF, INF, (1,)), [1e30]),
        (spaces.Box(0, 9, (2,), dtype=np.int64), np.array([3, 4])),
    ],
)
def test_actions_in_any_usual_form_are_in_their_space(space, action):
    assert in_space(space, action)


def test_an_infinity_is_no_action_of_an_unbounded_box_either():
    unbounded = spaces.Box(-INF, INF, (1,))
    assert not in_space(unbounded, [INF])
    assert not in_space(unbounded, [1e300])  # infinite in the space's own precision
    assert not in_space(spaces.Box(0, 9, (1,), dtype=np.int64), [1.5])


def test_scaling_stays_inside_the_space_and_changes_no_argument():
    space, action = spaces.Box(0.25, 1.0, (2,)), np.array([0.5, 1.0], dtype=np.float32)
    assert scaled(space, action, 0.25).tolist() == [0.25, 0.25]
    assert action.tolist() == [0.5, 1.0]
    assert scaled(space, action, 1.0).dtype == np.float32


@pytest.mark.parametrize(
    ("space", "asked", "executed", "change"),
    [
        (spaces.Discrete(5), 1, 2, 1.0),
        (spaces.Box(-1.0, 1.0, (2,)), [1.0, 1.0], [-1.0, -1.0], 1.0),
        (spaces.Box(-1.0, 1.0, (2,)), [0.5, 0.0], [0.0, 0.0], 0.03125),
        (spaces.Box(0.0, 10.0, (1,)), [10.0], [5.0], 0.25),
        (spaces.Box(np.array([0.0, -1.0]), np.array([0.0, 1.0])), [0.0, 1.0], [0.0, 0.0], 0.125),
        (spaces.Box(-INF, INF, (2,)), [7.0, 3.0], [7.0, 0.0], 0.5),
    ],
)
def test_the_change_of_an_action_is_a_share_of_its_range(space, asked, executed, change):
    assert squared_change(space, asked, executed) == pytest.approx(change)
