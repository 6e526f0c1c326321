"""The checker holds masks of every kind of space against `step`, and names what is wrong."""

from __future__ import annotations

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from riskenv.wrappers import RiskConstrainedEnv, check_constrained_env
from riskenv.wrappers.mask_slots import chosen, slot_flags, with_choices

from riskenv.decision import Verdict

from . import trap_envs as traps
from .joint_envs import KINDS, Bits, JointAdapter, ManySlots, Parts, Slots, constrained


def found(env, **arguments):
    report = check_constrained_env(env, **arguments)
    return {finding.code: finding.words for finding in report.problems}


# --- where there is no fault ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at_once", [None, 1, 2])
def test_masks_that_step_keeps_are_no_problem(kind, at_once):
    report = check_constrained_env(constrained(kind, mask_slots=at_once), steps=300)
    assert report.findings == ()
    assert report.joint == report.joint_unchanged
    assert report.joint > 0 or at_once == 1


def test_the_share_of_combinations_done_unchanged_is_printed():
    report = check_constrained_env(constrained(Slots), steps=100)
    words = f"done unchanged: {report.joint_unchanged:,} of {report.joint:,}"
    assert words in str(report)


@pytest.mark.parametrize("kind", [Slots, Bits, Parts])
def test_an_env_that_raises_on_masked_actions_can_be_checked(kind):
    report = check_constrained_env(constrained(kind, masked_action="raise"), steps=150)
    assert report.findings == ()
    assert 150 < report.steps < 300  # those that raised did nothing


def test_a_menu_that_raises_on_masked_actions_can_be_checked():
    env = RiskConstrainedEnv(
        traps.Shares(),
        {"caps": {"delta": 150.0}},
        adapter=traps.shares_adapter(),
        masked_action="raise",
    )
    report = check_constrained_env(env)
    assert report.findings == ()
    assert 200 < report.steps < 400


class Relabelled(gymnasium.ActionWrapper):
    """Its rows are the layer's from the last, and so is its mask."""

    def action(self, action):
        return 3 - action

    def action_masks(self):
        return self.env.get_wrapper_attr("action_masks")()[::-1]


def test_a_wrapper_that_remaps_its_mask_too_is_no_problem():
    assert found(Relabelled(traps.constrained(traps.Shares()))) == {}


# --- layers whose masks are not what they do ------------------------------------------------------


class AllOpen(RiskConstrainedEnv):
    """Offers everything."""

    def action_masks(self):
        mask = super().action_masks()
        if isinstance(mask, dict):
            return {k: None if m is None else np.ones_like(m) for k, m in mask.items()}
        return np.ones_like(mask)


class AllClosed(RiskConstrainedEnv):
    """Offers nothing but to hold."""

    def action_masks(self):
        flags = slot_flags(self.action_space, super().action_masks())
        hold = chosen(self.action_space, self.unwrapped.HOLD)
        closed = [np.arange(len(f)) == choice for f, choice in zip(flags, hold, strict=True)]
        return np.concatenate(closed)


class Empty(RiskConstrainedEnv):
    """Closes a whole slot."""

    def action_masks(self):
        mask = super().action_masks().copy()
        mask[-2:] = False
        return mask


class Joint(RiskConstrainedEnv):
    """A flag for each combination."""

    def action_masks(self):
        return np.ones(49, dtype=bool)


class Stale(RiskConstrainedEnv):
    """Works its mask out at the reset alone."""

    def reset(self, **arguments):
        result = super().reset(**arguments)
        self.kept = super().action_masks()
        return result

    def action_masks(self):
        return self.kept


class NotByKey(RiskConstrainedEnv):
    """One flat mask for a Dict."""

    def action_masks(self):
        return np.ones(8, dtype=bool)


class ReducedBefore(AllOpen):
    """Offers everything, and its last decision was a reduction."""

    def step(self, action):
        self.last_decision = SimpleNamespace(verdict=Verdict.REDUCE)
        return super().step(action)


def layer(cls, kind, **arguments):
    limits = {"caps": {"gross_delta": 450.0}}
    return cls(kind(), limits, adapter=JointAdapter(), **arguments)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: layer(AllOpen, Slots), "inconsistent with step"),
        (lambda: layer(AllOpen, Bits), "inconsistent with step"),
        (lambda: layer(AllOpen, Parts), "inconsistent with step"),
        (lambda: layer(AllOpen, ManySlots), "inconsistent with step"),
        (lambda: layer(AllClosed, Slots, mask_slots=1), "masked out and done unchanged"),
        (lambda: layer(Empty, Bits), "the mask is empty in slot 3"),
        (lambda: layer(Joint, Slots), "shape (49,)"),
        (lambda: layer(Stale, Slots), "inconsistent with step"),
        (lambda: layer(NotByKey, Parts), "a mask for each key"),
    ],
)
def test_a_mask_that_step_does_not_keep_is_a_problem(make, words):
    problems = found(make(), steps=400)
    assert words in problems["mask"]


def test_what_is_raised_on_is_not_judged_by_the_decision_before_it():
    env = layer(ReducedBefore, Slots, masked_action="raise")
    assert "inconsistent with step" in found(env, steps=300)["mask"]


def test_a_careful_mask_that_rules_out_what_would_pass_is_no_problem():
    # With several slots at once a choice may be closed that would pass alone.
    assert found(layer(AllClosed, Slots), steps=200) == {}


# --- slots that act on one another ----------------------------------------------------------------


class Interacting(Slots):
    """Both slots together trade three times what they do by themselves."""

    def sizes(self, action):
        spy, qqq = super().sizes(action)
        return (3.0 * spy, 3.0 * qqq) if spy and qqq else (spy, qqq)


def test_slots_that_do_not_add_up_are_remarked_on():
    report = check_constrained_env(constrained(Interacting), steps=400)
    words = {finding.code: finding for finding in report.findings}["mask_joint"]
    assert "do not add up" in words.words
    assert not words.problem
    assert report.joint_unchanged < report.joint


# --- wrappers outside -----------------------------------------------------------------------------


class Swapped(gymnasium.Wrapper):
    """Hands the slots on in another order, and says nothing of it."""

    def step(self, action):
        return self.env.step(np.asarray(action)[::-1])


class SwappedAction(gymnasium.ActionWrapper):
    def action(self, action):
        return np.asarray(action)[::-1]


class AsMenu(gymnasium.ActionWrapper):
    """Lists all combinations of the slots."""

    def __init__(self, env):
        super().__init__(env)
        self.action_space = spaces.Discrete(49)

    def action(self, action):
        return np.array(divmod(int(action), 7))


class OldMask(Relabelled):
    """Turns the actions round, and not the mask."""

    def action_masks(self):
        return self.env.get_wrapper_attr("action_masks")()


@pytest.mark.parametrize("wrapper", [Swapped, SwappedAction, AsMenu])
def test_a_wrapper_that_remaps_slots_is_a_problem(wrapper):
    assert "mask" in found(wrapper(constrained(Slots)), steps=60)["outer_remap"]


def test_a_wrapper_whose_own_mask_is_of_other_rows_is_a_problem():
    env = OldMask(traps.constrained(traps.Shares(), limits={"caps": {"delta": 150.0}}))
    assert "inconsistent with step" in found(env)["mask"]


# --- spaces ---------------------------------------------------------------------------------------


class UnboundedPart(Parts):
    def __init__(self):
        super().__init__()
        self.action_space = spaces.Dict(
            {**self.action_space.spaces, "size": spaces.Box(0.0, np.inf, (1,), np.float32)}
        )


class UnseededPart(Parts):
    def __init__(self):
        super().__init__()
        self.action_space = spaces.Dict({**self.action_space.spaces, "side": traps.OwnSpace(3)})


@pytest.mark.parametrize(
    ("kind", "code"), [(UnboundedPart, "infinite_bounds"), (UnseededPart, "unseeded_space")]
)
def test_a_part_of_a_dict_is_looked_at_like_a_space(kind, code):
    env = RiskConstrainedEnv(kind(), {"caps": {"gross_delta": 450.0}}, adapter=JointAdapter())
    assert code in found(env, steps=40)


# --- masks as flags of slots ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_action_is_its_choices(kind):
    space = kind().action_space
    space.seed(0)
    for _ in range(20):
        action = space.sample()
        again = with_choices(space, action, chosen(space, action))
        assert space.contains(again)
        assert chosen(space, again) == chosen(space, action)


def test_choices_are_counted_from_the_start_of_a_space():
    space = spaces.Discrete(3, start=5)
    assert chosen(space, 6) == [1]
    assert with_choices(space, 5, [2]) == 7
    slots = spaces.MultiDiscrete([3, 3], start=[1, 2])
    assert chosen(slots, [1, 4]) == [0, 2]
    assert with_choices(slots, None, [0, 2]).tolist() == [1, 4]


@pytest.mark.parametrize(
    "mask", [None, np.ones(5), np.full(4, 0.5), np.full(4, np.nan), {"a": 1}, "all"]
)
def test_what_is_no_mask_is_refused(mask):
    with pytest.raises(ValueError, match="allowed: 4 flags"):
        slot_flags(spaces.MultiBinary(2), mask)
