"""What is seen of an env's spaces, and of wrappers outside the layer, before a step is taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from riskenv.wrappers.conformance_report import Finding
from riskenv.wrappers.observations import same


def space_findings(env: gymnasium.Env[Any, Any]) -> Iterator[Finding]:
    """Bounds that are infinite, and draws that a seed does not determine.

    Example:
        >>> from types import SimpleNamespace
        >>> unbounded = SimpleNamespace(action_space=spaces.Box(-np.inf, np.inf, (1,)))
        >>> [finding.code for finding in space_findings(unbounded)]
        ['infinite_bounds']
    """
    space = env.action_space
    for box in _boxes(space):
        if not (np.isfinite(box.low).all() and np.isfinite(box.high).all()):
            yield Finding(
                "infinite_bounds",
                f"infinite bounds: the action space holds {box}; a request cannot be scaled or "
                "projected there. Bound it by what the env can trade",
            )
    if env.action_space is not space:
        yield Finding(
            "unseeded_space", "the action space is built anew at each look: a seed is lost"
        )
    drawn = []
    for _ in range(2):
        space.seed(0)
        drawn.append([space.sample() for _ in range(5)])
    if not same(*drawn):
        yield Finding("unseeded_space", f"unseeded space: {space} draws other actions on one seed")


def remap_findings(
    outside: Sequence[gymnasium.Wrapper[Any, Any, Any, Any]],
) -> Iterator[Finding]:
    """Wrappers around a layer with masks that change what its rows mean.

    Args:
        outside: the wrappers between the agent and the layer, the outermost first.
    """
    for wrapper in outside:
        if has_own_masks(wrapper):
            return  # from here on the mask is the wrapper's own; what comes of it is seen
        remaps = isinstance(wrapper, gymnasium.ActionWrapper)
        if remaps or wrapper.action_space != wrapper.env.action_space:
            yield Finding(
                "outer_remap",
                f"{type(wrapper).__name__} outside the layer changes actions: the mask speaks of "
                "the layer's rows, not of the agent's. Put it inside, with adapter=... that reads "
                "through it",
            )


def has_own_masks(wrapper: gymnasium.Wrapper[Any, Any, Any, Any]) -> bool:
    """Whether a wrapper says itself which actions are offered, by its class or one it is made of.

    Example:
        >>> class Turned(gymnasium.Wrapper):
        ...     def action_masks(self):
        ...         return self.env.get_wrapper_attr("action_masks")()[::-1]
        >>> class Named(Turned):
        ...     pass
        >>> has_own_masks(Named(gymnasium.Env())), has_own_masks(gymnasium.Wrapper(gymnasium.Env()))
        (True, False)
    """
    return any("action_masks" in vars(owner) for owner in (wrapper, *type(wrapper).__mro__))


def has_box(space: spaces.Space[Any]) -> bool:
    """Whether a part of the space is continuous.

    Example:
        >>> has_box(spaces.Dict({"side": spaces.Discrete(2), "size": spaces.Box(0, 1)}))
        True
    """
    return any(True for _ in _boxes(space))


def _boxes(space: spaces.Space[Any]) -> Iterator[spaces.Box]:
    """The Boxes in a space, however deep."""
    if isinstance(space, spaces.Box):
        yield space
    elif isinstance(space, spaces.Dict):
        for part in space.spaces.values():
            yield from _boxes(part)
    elif isinstance(space, spaces.Tuple):
        for part in space.spaces:
            yield from _boxes(part)
