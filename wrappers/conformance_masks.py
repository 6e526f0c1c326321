"""Masks held against what `step` does: is what they offer done, and what they rule out replaced?

A mask of a menu is exact, row by row. One of slots that act together is careful: each combination
of what it offers is to be done unchanged (`Alternatives.mask`), and what it rules out may still be
done by itself, but for a mask that reckons with one slot at a time (`mask_slots=1`, and while the
layer reduces the book), which is exact for one choice with all else at rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from riskenv.wrappers.action_spaces import action_kind
from riskenv.wrappers.conformance_report import Finding
from riskenv.wrappers.conformance_spaces import has_box, has_own_masks
from riskenv.wrappers.mask_slots import Flags, chosen, slot_flags, with_choices
from riskenv.wrappers.observations import copied, same
from riskenv.wrappers.risk_constrained_env import RiskConstrainedEnv

from riskenv.decision import Decision, Verdict

# Rounding of sizes that are added up in floating point.
_SLACK = 1e-6


class MaskWatch:
    """Draws actions with and without the mask, and notes where `step` does not keep to it.

    Args:
        env: the layer, or wrappers around it; the agent's mask and actions are those of `env`.
        layer: the layer.
        outside: the wrappers between them.
        add: takes each finding.

    Attributes:
        joint, joint_unchanged: combinations of two and more offered choices that were tried, and
            how many of them were done unchanged.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        layer: RiskConstrainedEnv,
        outside: Sequence[gymnasium.Wrapper[Any, Any, Any, Any]],
        add: Callable[[Finding], None],
    ) -> None:
        self._env, self._layer, self._add = env, layer, add
        self._kind = action_kind(layer.action_space)
        self._menu = isinstance(layer.action_space, spaces.Discrete)
        self._own_masks = any(map(has_own_masks, outside))
        self._flags: list[Flags] | None = None
        self._base: Any = None  # the agent's action that does nothing; None = not known
        self._reach, self._additive = 0, True
        self._reached: list[Any] = []
        self._all_offered = False
        self.joint = self.joint_unchanged = 0

    def action(self, rng: np.random.Generator) -> Any:
        """The next action to take: half of them drawn from the mask, where it can be read."""
        action = self._env.action_space.sample()
        self._flags, self._reached = self._offered(), []
        if self._flags is not None and rng.random() < 0.5:
            action = self._drawn(action, self._flags, rng)
        self._all_offered = self._flags is not None and all(self._choices_offered(action))
        return action

    def _drawn(self, action: Any, flags: list[Flags], rng: np.random.Generator) -> Any:
        """An action that the mask offers, or one choice by itself."""
        space = self._env.action_space
        drawn = [int(rng.choice(np.flatnonzero(of_slot))) for of_slot in flags]
        if self._menu or self._base is None:
            return with_choices(space, action, drawn)
        slot = int(rng.integers(len(drawn)))
        if rng.random() < 0.5:  # one choice by itself, in or out
            one = chosen(space, self._base)
            every = rng.random() < 0.3
            one[slot] = int(rng.integers(len(flags[slot]))) if every else drawn[slot]
            drawn = one
        return with_choices(space, self._base, drawn)

    def _choices_offered(self, action: Any) -> list[bool]:
        """Whether the mask offers what the action chooses, slot by slot."""
        choices = chosen(self._env.action_space, action)
        return [bool(f[choice]) for f, choice in zip(self._flags or [], choices, strict=True)]

    def reaches(self, action: Any) -> None:
        """The action that reaches the layer, which has yet to do it."""
        self._reached.append(copied(action))
        if self._all_offered and not self._menu:
            self._additive = self._adds_up(action)

    def judge(self, action: Any, intervened: bool, decision: Decision | None) -> None:
        """What came of the action since `action` was called.

        Args:
            intervened: whether the layer replaced it; decision: how it decided, None where it
                raised instead.
        """
        if self._flags is None or len(self._reached) != 1:
            return
        remapped = not same(self._reached[0], action)
        if remapped and not self._own_masks:
            self._found(
                "outer_remap",
                f"the agent chose {action!r} and {self._reached[0]!r} reached the layer: its mask "
                "is of no use outside",
            )
            return
        space = self._env.action_space
        choices, offered = chosen(space, action), self._choices_offered(action)
        if self._menu:
            if offered[0] == intervened:
                self._inconsistent(action, offered[0], intervened)
            return
        base = None if self._base is None else chosen(space, self._base)
        if base is not None and not same(with_choices(space, action, base), self._base):
            return  # a mask is of the choices with each Box at rest
        if decision is not None and decision.verdict is Verdict.REDUCE:
            return  # a reduction is the layer's own doing, whatever was asked for
        if base is None or remapped:
            # Which of the agent's choices rest is not known: they are judged all together.
            if all(offered) and intervened and self._reach >= len(choices):
                self._combined(action)
            return
        moved = [k for k, (a, b) in enumerate(zip(choices, base, strict=True)) if a != b]
        if not moved:
            return
        if all(offered):
            if len(moved) > self._reach:
                return
            self.joint += len(moved) > 1
            self.joint_unchanged += len(moved) > 1 and not intervened
            if intervened and len(moved) == 1:
                self._inconsistent(action, True, True)
            elif intervened:
                self._combined(action)
        elif self._reach == len(moved) == 1 and not intervened:
            self._inconsistent(action, False, False)

    # -- the mask -------------------------------------------------------------------------------

    def _offered(self) -> list[Flags] | None:
        """The flags of the agent's mask now; None where there is none, or it fits no action."""
        layer, space = self._layer, self._env.action_space
        if not self._kind.maskable:
            return None
        mask = self._env.get_wrapper_attr("action_masks")()
        try:
            flags = slot_flags(space, mask)
        except ValueError as error:
            remapped = space != layer.action_space and not self._own_masks
            self._found("outer_remap" if remapped else "mask", f"the mask is of no use: {error}")
            return None
        for slot, of_slot in enumerate(flags):
            if not of_slot.any():
                where = f" in slot {slot}" if len(flags) > 1 else ""
                self._found("mask", f"the mask is empty{where}: nothing is offered there")
                return None
        if not self._menu:
            own = space == layer.action_space
            if not own and (not self._own_masks or has_box(space)):
                return None
            self._base = self._rest() if own else None
            every = len(flags) if layer._mask_slots is None else layer._mask_slots
            self._reach = 1 if layer.assessment.reducing else every
        return flags

    def _rest(self) -> Any:
        """The layer's action that does nothing."""
        fallbacks = self._layer.adapter.fallbacks(self._layer.env)
        return fallbacks[0] if fallbacks else self._kind.rest()

    def _adds_up(self, action: Any) -> bool:
        """Whether the trades of slots add up to the trades of them all, in the layer's action."""
        adapter, env, space = self._layer.adapter, self._layer.env, self._layer.action_space
        if not space.contains(action):
            return True
        rest = self._rest()
        base, drawn = chosen(space, rest), chosen(space, action)

        def trades(choices: list[int]) -> NDArray[np.float64] | None:
            answer = adapter.preview(env, with_choices(space, rest, choices))
            return None if answer is None else np.array(answer, dtype=np.float64)

        still, done = trades(base), trades(drawn)
        if still is None or done is None:
            return False
        total = still.copy()
        for slot, choice in enumerate(drawn):
            if choice != base[slot]:
                one = trades([*base[:slot], choice, *base[slot + 1 :]])
                if one is None:
                    return False
                total += one - still
        return bool((np.abs(total - done) <= _SLACK).all())

    # -- findings -------------------------------------------------------------------------------

    def _combined(self, action: Any) -> None:
        caps = self._layer.manager.limits.caps
        if not self._additive:
            why = "the trades of its slots do not add up to its own"
        elif caps.var_1d or caps.var_3d or caps.var_5d:
            why = "VaR, which is capped, may be larger of a sum than of its parts"
        else:
            self._found(
                "mask",
                f"the mask is inconsistent with step: {action!r}, a combination of choices that "
                "were offered together, was replaced. Do preview and step agree?",
            )
            return
        self._add(
            Finding(
                "mask_joint",
                f"a combination of choices that were offered together, {action!r}, was replaced: "
                f"{why}. A trainer that obeys the mask is corrected there",
                problem=False,
            )
        )

    def _inconsistent(self, action: Any, offered: bool, replaced: bool) -> None:
        self._found(
            "mask",
            f"the mask is inconsistent with step: action {action!r} was "
            f"{'offered' if offered else 'masked out'} and "
            f"{'replaced' if replaced else 'done unchanged'}. Do preview and preview_all agree?",
        )

    def _found(self, code: str, words: str) -> None:
        self._add(Finding(code, words))
