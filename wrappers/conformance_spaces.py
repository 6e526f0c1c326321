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
        if "action_masks" in vars(type(wrapper)):
            return  # from here on the mask is the wrapper's own; what comes of it is seen
        remaps = isinstance(wrapper, gymnasium.ActionWrapper)
        if remaps or wrapper.action_space != wrapper.env.action_space:
            yield Finding(
                "outer_remap",
                f"{type(wrapper).__name__} outside the layer changes actions: the mask speaks of "
                "the layer's rows, not of the agent's. Put it inside, with adapter=... that reads "
                "through it",
            )


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
