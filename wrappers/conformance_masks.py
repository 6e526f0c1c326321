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
from riskenv.wrappers.mask_slots import Flags, chosen, slot_flags, with_choices
from riskenv.wrappers.observations import same
from riskenv.wrappers.risk_constrained_env import RiskConstrainedEnv

from riskenv.decision import Verdict

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
        self._own_masks = any("action_masks" in vars(type(wrapper)) for wrapper in outside)
        self._flags: list[Flags] | None = None
        self._base: Any = None
        self._reach, self._additive = 0, True
        self.joint = self.joint_unchanged = 0

    def action(self, rng: np.random.Generator) -> Any:
        """The next action to take: half of them drawn from the mask, where it can be read."""
        space = self._env.action_space
        action = space.sample()
        self._flags = self._offered()
        if self._flags is None or rng.random() >= 0.5:
            return action
        drawn = [int(rng.choice(np.flatnonzero(flags))) for flags in self._flags]
        if self._menu:
            return with_choices(space, action, drawn)
        base = chosen(space, self._base)
        slot = int(rng.integers(len(drawn)))
        if rng.random() < 0.5:  # one choice by itself, in or out
            one = list(base)
            every = rng.random() < 0.3
            one[slot] = int(rng.integers(len(self._flags[slot]))) if every else drawn[slot]
            drawn = one
        action = with_choices(space, self._base, drawn)
        self._additive = self._adds_up(action, base, drawn)
        return action

    def judge(self, action: Any, intervened: bool, reached: Any) -> None:
        """What came of the action since `action` was called.

        Args:
            intervened: whether the layer replaced it; reached: what came to the layer.
        """
        if self._flags is None:
            return
        if not same(reached, action):
            if not self._own_masks:
                self._found(
                    "outer_remap",
                    f"the agent chose {action!r} and {reached!r} reached the layer: its mask is "
                    "of no use outside",
                )
                return
            if not self._menu:
                return  # the base of the agent's slots is not known
        choices = chosen(self._env.action_space, action)
        offered = [bool(f[choice]) for f, choice in zip(self._flags, choices, strict=True)]
        if self._menu:
            if offered[0] == intervened:
                self._inconsistent(action, offered[0], intervened)
            return
        base = chosen(self._env.action_space, self._base)
        moved = [k for k, (a, b) in enumerate(zip(choices, base, strict=True)) if a != b]
        if not same(with_choices(self._env.action_space, action, base), self._base):
            return  # a mask is of the choices with each Box at rest
        decision = self._layer.last_decision
        if not moved or (decision is not None and decision.verdict is Verdict.REDUCE):
            return  # a reduction is the layer's own doing, whatever was asked for
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
            if space != layer.action_space:
                return None
            fallbacks = layer.adapter.fallbacks(layer.env)
            self._base = fallbacks[0] if fallbacks else self._kind.rest()
            every = len(flags) if layer._mask_slots is None else layer._mask_slots
            self._reach = 1 if layer.assessment.reducing else every
        return flags

    def _adds_up(self, action: Any, base: list[int], drawn: list[int]) -> bool:
        """Whether the trades of slots add up to the trades of them all."""
        adapter, env, space = self._layer.adapter, self._layer.env, self._env.action_space

        def trades(choices: list[int]) -> NDArray[np.float64] | None:
            return adapter.preview(env, with_choices(space, self._base, choices))

        still, done = trades(base), adapter.preview(env, action)
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
