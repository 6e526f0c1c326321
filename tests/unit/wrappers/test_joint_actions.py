"""Joint choices, bits and Dicts: what is admissible passes, masks are careful, step enforces."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import InvalidAction
from gymnasium.utils.env_checker import check_env
from riskenv.wrappers import Protection
from riskenv.wrappers.action_spaces import action_kind
from riskenv.wrappers.actions import brought_in, in_space

from riskenv.config import ConfigError

from .joint_envs import (
    DELTA,
    KINDS,
    SESSIONS,
    Bits,
    EncodingAdapter,
    JointAdapter,
    ManySlots,
    Nested,
    Parts,
    Slots,
    constrained,
)


def gross(env):
    return sum(abs(lots) for lots in env.unwrapped.held.values())


def same(one, other):
    if isinstance(one, dict):
        return set(one) == set(other) and all(same(one[key], other[key]) for key in one)
    return np.array_equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_no_joint_action_takes_the_book_outside_a_cap(kind):
    env = constrained(kind)
    env.reset(seed=0)
    env.action_space.seed(0)
    intervened = traded = 0
    for _ in range(80):
        *_, info = env.step(env.action_space.sample())
        assert gross(env) <= DELTA
        intervened += info["intervened"]
        traded += bool(env.last_decision.trades.any())
    assert intervened > 0
    assert traded > 5


@pytest.mark.parametrize("kind", KINDS)
def test_an_admissible_joint_action_is_handed_on_as_the_same_object(kind):
    env, received = constrained(kind), []
    env.reset(seed=0)
    inner = env.env.step
    env.env.step = lambda action: received.append(action) or inner(action)
    env.action_space.seed(1)
    for _ in range(40):
        action = env.action_space.sample()
        *_, info = env.step(action)
        assert (received[-1] is action) == (info["intervened"] == 0)
        assert same(received[-1], info["executed_action"])
        assert env.action_space.contains(received[-1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "bad",
    [
        None, float("nan"), "hold", [99] * 4, {}, {"side": 0}, [[1], [2, 3]],
        {"side": 1, "size": [np.nan], "qqq": [2]},
        {"side": 1, "size": [9.5], "qqq": [2]},
        {"side": 1, "size": [1.0], "qqq": [5]},
        {"spy": {"side": 1, "size": [np.inf]}, "qqq": {"lots": 0.0, "on": [1]}},
    ],
)  # fmt: skip
def test_what_is_no_joint_action_holds_and_is_flagged(kind, bad):
    env = constrained(kind)
    env.reset(seed=0)
    *_, info = env.step(bad)
    assert info["intervened"] == 1
    assert same(info["executed_action"], env.unwrapped.HOLD)
    assert gross(env) == 0.0
    assert env.audit_record()["intervened"] is True


def test_of_a_few_slots_the_nearest_of_all_combinations_is_done():
    for asked in ([6, 6], [6, 0], [5, 6], [0, 0]):
        env = constrained(Slots)
        env.reset(seed=0)
        env.step(np.array(asked))
        wanted = np.array(asked) - 3
        best = min(
            np.abs(np.array(lots) - wanted).sum()
            for lots in itertools.product(range(-3, 4), repeat=2)
            if 100.0 * np.abs(lots).sum() <= DELTA
        )
        done = np.array([env.unwrapped.held[i] / 100.0 for i in env.unwrapped.held])
        assert np.abs(done - wanted).sum() == best, asked


def test_of_many_slots_as_many_are_kept_as_fit():
    env = constrained(ManySlots)
    env.reset(seed=0)
    env.step(np.array([2] * 10))
    assert gross(env) == 400.0  # ten were asked for


def test_an_adapter_that_encodes_is_asked_first_and_checked():
    class Liar(EncodingAdapter):
        def encode(self, env, trades, proposed):
            return np.array([6, 6])  # more than anything that is asked for

    class Rude(EncodingAdapter):
        def encode(self, env, trades, proposed):
            return np.array([99, -1])

    for adapter, done in ((EncodingAdapter(), 400.0), (Liar(), 400.0), (Rude(), 400.0)):
        env = constrained(Slots, adapter)
        env.reset(seed=0)
        env.step(np.array([6, 6]))
        assert gross(env) == done, type(adapter).__name__


# --- masks ----------------------------------------------------------------------------------------


def slots_of(env, mask):
    space = env.action_space
    sizes = [2] * space.n if isinstance(space, spaces.MultiBinary) else space.nvec
    return np.split(mask, np.cumsum(sizes)[:-1])


@pytest.mark.parametrize("kind", [Slots, ManySlots, Bits])
def test_no_combination_of_what_a_mask_leaves_open_needs_correction(kind):
    env, draw, narrowed = constrained(kind), np.random.default_rng(0), 0
    env.reset(seed=0)
    traded = 0
    for _ in range(60):
        mask = env.action_masks()
        slots = slots_of(env, mask)
        assert all(flags.any() for flags in slots)
        narrowed += int((~mask).sum())
        if env.assessment.rung < 2:  # what a rung lets pass is no convex set
            for _ in range(3):
                action = np.array([draw.choice(np.flatnonzero(flags)) for flags in slots])
                *_, info = copy.deepcopy(env).step(action.astype(env.action_space.dtype))
                assert info["intervened"] == 0
        env.step(action.astype(env.action_space.dtype))
        traded += bool(env.last_decision.trades.any())
    assert narrowed > 0
    assert traded > 10


def test_a_mask_is_in_the_form_that_sb3_contrib_asks_for():
    for kind, size in ((Slots, 14), (ManySlots, 30), (Bits, 8)):
        env = constrained(kind)
        env.reset(seed=0)
        mask = env.action_masks()
        assert (mask.dtype, mask.shape) == (np.bool_, (size,))
        watched = constrained(kind, correction="none")
        watched.reset(seed=0)
        assert watched.action_masks().tolist() == [True] * size


def test_a_dict_has_a_mask_for_each_part_and_none_for_a_box():
    env = constrained(Parts)
    env.reset(seed=0)
    mask = env.action_masks()
    assert set(mask) == {"side", "size", "qqq"}
    assert mask["size"] is None
    assert mask["side"].shape == (3,)
    assert mask["qqq"].shape == (5,)
    assert mask["side"][0]
    assert mask["qqq"][2]


def test_a_dict_in_a_dict_has_masks_as_deep():
    env = constrained(Nested)
    env.reset(seed=0)
    mask = env.action_masks()
    assert mask["spy"]["size"] is None
    assert mask["qqq"]["lots"] is None
    assert mask["spy"]["side"].tolist() == [True] * 3
    assert mask["qqq"]["on"].tolist() == [True, True]


def test_a_box_stands_at_hold_while_the_choices_beside_it_are_judged():
    env = constrained(Parts)
    env.reset(seed=0)
    action = {"side": 1, "size": np.array([9.0], np.float32), "qqq": np.array([2])}
    assert env.action_masks()["side"].all()  # of size 0 every side is free
    *_, info = env.step(action)
    assert info["intervened"] == 1
    assert info["executed_action"]["side"] == 1
    assert gross(env) == 400.0  # of the 900 asked for; step cut the size
    long = {**action, "size": np.ones(1, np.float32)}
    assert env.env.HOLD["size"].tolist() == [0.0]
    env.step(long)
    assert gross(env) == 400.0


def test_boxes_of_a_dict_shrink_together_however_deep():
    kind = action_kind(Nested().action_space)
    asked = {
        "spy": {"side": 1, "size": np.array([8.0], np.float32)},
        "qqq": {"lots": np.array(-4.0), "on": np.ones(1, np.int8)},
    }
    halves = {
        "spy": {"side": 1, "size": np.array([4.0], np.float32)},
        "qqq": {"lots": np.array(-2.0), "on": np.ones(1, np.int8)},
    }
    assert any(same(row, halves) for row in kind.nearer(asked, Nested().HOLD))


def test_fewer_slots_at_once_leave_more_open():
    opened = []
    for at_once in (1, 2, 10, 99):
        env = constrained(ManySlots, mask_slots=at_once)
        env.reset(seed=0)
        opened.append(int(env.action_masks().sum()))
    # A lot in each of two slots fits, one in each of ten does not.
    assert opened == [30, 30, 10, 10]


@pytest.mark.parametrize("kind", [Slots, Bits, Parts])
def test_a_masked_action_is_replaced_or_refused_as_asked(kind):
    limits = {"caps": {"gross_delta": 50.0}}
    asked = {
        Slots: np.array([6, 3]),
        Bits: np.array([1, 0, 0, 0], dtype=np.int8),
        Parts: {"side": 1, "size": np.ones(1, np.float32), "qqq": np.array([2])},
    }[kind]
    env = constrained(kind, masked_action="raise")
    env = type(env)(env.env, limits, adapter=env.adapter, masked_action="raise")
    env.reset(seed=0)
    before = env.state
    with pytest.raises(InvalidAction, match=r"which the mask rules out: gross_delta would be"):
        env.step(asked)
    assert env.state is before
    assert env.last_decision is None
    *_, info = env.step(env.unwrapped.HOLD)  # nothing was done, and the episode goes on
    assert info["intervened"] == 0
    *_, info = env.step(None)  # no action at all still holds
    assert info["intervened"] == 1


def test_an_account_that_is_only_read_leaves_a_joint_choice_open():
    class Reads(JointAdapter):
        protection = Protection.READ

        def preview(self, env, action):
            return np.zeros(2) if np.array_equal(action, env.unwrapped.HOLD) else None

    env = constrained(Slots, Reads())
    env.reset(seed=0)
    assert env.action_masks().all()
    *_, info = env.step(np.array([6, 6]))
    assert info["intervened"] == 0
    assert not env.action_masks().all()  # 600 held of 450
    *_, info = env.step(np.array([6, 6]))
    assert info["intervened"] == 1


# --- checkers and values --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("observe_risk", [False, True])
def test_gymnasium_accepts_it(kind, observe_risk):
    check_env(constrained(kind, observe_risk=observe_risk), skip_render_check=True)


def test_a_dict_observation_gains_the_risk():
    env = constrained(Slots, observe_risk=True)
    obs, _ = env.reset(seed=0)
    assert env.observed_risk_names == ("headroom_gross_delta", "rung", "time_to_event")
    assert obs["risk"].tolist() == [1.0, 0.0, 1.0]
    obs, *_ = env.step(np.array([5, 3]))
    assert obs["risk"][0] == pytest.approx(1.0 - 200.0 / DELTA)
    assert set(obs) == {"price", "risk"}
    assert env.observation_space.contains(obs)


@pytest.mark.parametrize(
    ("space", "action", "inside"),
    [
        (spaces.MultiDiscrete([3, 3]), [2, 2], True),
        (spaces.MultiDiscrete([3, 3]), [2, 3], False),
        (spaces.MultiDiscrete([3, 3], start=[-1, -1]), [-1, 1], True),
        (spaces.MultiDiscrete([3, 3]), [1.0, 1.0], False),
        (spaces.MultiDiscrete([3, 3]), [True, False], True),
        (spaces.MultiBinary(2), [0, 1], True),
        (spaces.MultiBinary(2), [0, 256], False),  # 0 in a byte
        (spaces.MultiBinary(2), [0, 2], False),
        (spaces.Dict({"a": spaces.Discrete(2)}), {"a": 1}, True),
        (spaces.Dict({"a": spaces.Discrete(2)}), {"a": 2}, False),
        (spaces.Dict({"a": spaces.Discrete(2)}), {"a": 1, "b": 0}, False),
        (spaces.Discrete(3, start=-1), np.uint64(2**64 - 1), False),  # -1 in its type
    ],
)
def test_what_is_an_action_of_a_joint_space(space, action, inside):
    assert in_space(space, action) is inside


def test_what_encode_returns_is_cast_and_cut_or_refused():
    box = spaces.Box(-1.0, 1.0, (2,))
    brought = brought_in(box, [2.0, -0.5])
    assert (brought.dtype, brought.tolist()) == (np.float32, [1.0, -0.5])
    assert brought_in(box, [np.nan, 0.0]) is None
    assert brought_in(box, [0.0]) is None
    assert brought_in(box, ["a", "b"]) is None
    assert brought_in(box, None) is None
    parts = spaces.Dict({"box": box, "side": spaces.Discrete(2)})
    assert brought_in(parts, {"box": [2.0, 0.0], "side": 1})["box"].tolist() == [1.0, 0.0]
    assert brought_in(parts, {"box": [2.0, 0.0], "side": 2}) is None
    assert brought_in(parts, {"box": [2.0, 0.0]}) is None


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_nearer_and_every_choice_are_actions_of_the_space(kind):
    env = kind()
    space, base = env.action_space, env.HOLD
    actions = action_kind(space)
    space.seed(3)
    for _ in range(10):
        asked = space.sample()
        for action in [*actions.nearer(asked, base), *actions.choices(base), actions.rest()]:
            assert space.contains(action)
    slots = actions.choice_slots()
    assert len(slots) == len(actions.choices(base))
    assert (np.diff(slots) >= 0).all()
    assert SESSIONS is JointAdapter().sessions(env)


class Unnamed(JointAdapter):
    """Says of no action that it is safe."""

    def fallbacks(self, env):
        return []


def test_where_no_hold_is_named_an_action_that_trades_is_not_taken_for_one() -> None:
    """At the zeros of its slots this env sells three lots of each: nothing says which one holds."""
    with pytest.raises(ConfigError, match=r"fallbacks: got none, and array\(\[0, 0\]\).*allowed"):
        constrained(Slots, Unnamed()).reset()
    # Where nothing is enforced nothing is taken for a hold.
    constrained(Slots, Unnamed(), correction="none").reset()


@pytest.mark.parametrize("kind", [Bits, Nested])
def test_where_the_zeros_of_a_space_trade_nothing_they_hold(kind) -> None:
    env = constrained(kind, Unnamed())
    env.reset(seed=0)
    assert env.step("no action")[4]["intervened"] == 1
    assert not env.last_decision.trades.any()
