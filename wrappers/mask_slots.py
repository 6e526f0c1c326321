"""Masks of every kind of space as flags for each slot, and actions as a choice in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Flags = NDArray[np.bool_]


def slot_flags(space: spaces.Space[Any], mask: Any) -> list[Flags]:
    """A mask as one array of flags for each slot that is chosen in; a Box has none.

    Args:
        mask: (A,) of a Discrete; slot after slot of a MultiDiscrete or MultiBinary, as sb3-contrib
            asks for it; a mapping of these of a Dict, None for a Box.

    Raises:
        ValueError: another form, with what it should be.

    Example:
        >>> slot_flags(spaces.MultiDiscrete([2, 3]), np.array([1, 1, 1, 0, 0], dtype=bool))
        [array([ True,  True]), array([ True, False, False])]
    """
    if isinstance(space, spaces.Dict):
        if not isinstance(mask, Mapping) or set(mask) != set(space.spaces):
            raise ValueError(f"got {_form(mask)} for {space}; allowed: a mask for each key")
        return [
            flags for key, part in space.spaces.items() for flags in slot_flags(part, mask[key])
        ]
    if isinstance(space, spaces.Box):
        if mask is not None:
            raise ValueError(f"got {_form(mask)} for {space}; allowed: None")
        return []
    sizes = _sizes(space)
    flags = np.asarray(mask)
    if flags.shape != (sum(sizes),) or not np.isin(flags, (0, 1)).all():
        raise ValueError(f"got {_form(mask)} for {space}; allowed: {sum(sizes)} flags")
    return np.split(flags.astype(bool), np.cumsum(sizes)[:-1])


def chosen(space: spaces.Space[Any], action: Any) -> list[int]:
    """What an action chooses in each slot, counted from 0.

    Example:
        >>> chosen(spaces.Dict({"lots": spaces.Box(0, 1, (1,)), "what": spaces.Discrete(3)}),
        ...        {"lots": [0.5], "what": 2})
        [2]
    """
    if isinstance(space, spaces.Dict):
        parts = space.spaces.items()
        return [choice for key, part in parts for choice in chosen(part, action[key])]
    if isinstance(space, spaces.Box):
        return []
    counted = np.asarray(action).ravel() - np.asarray(getattr(space, "start", 0)).ravel()
    return [int(choice) for choice in counted]


def with_choices(space: spaces.Space[Any], action: Any, choices: Sequence[int]) -> Any:
    """The action with other choices, and with its own numbers in a Box.

    Example:
        >>> with_choices(spaces.MultiBinary(2), [0, 0], [1, 0]).tolist()
        [1, 0]
    """
    if isinstance(space, spaces.Dict):
        changed, at = {}, 0
        for key, part in space.spaces.items():
            width = len(_sizes(part))
            changed[key] = with_choices(part, action[key], choices[at : at + width])
            at += width
        return changed
    if isinstance(space, spaces.Box):
        return action
    if isinstance(space, spaces.Discrete):
        return choices[0] + int(space.start)
    assert space.shape is not None
    start = np.asarray(getattr(space, "start", 0))
    return (np.reshape(choices, space.shape) + start).astype(space.dtype)


def _sizes(space: spaces.Space[Any]) -> list[int]:
    """How many choices each slot has."""
    if isinstance(space, spaces.Dict):
        return [size for part in space.spaces.values() for size in _sizes(part)]
    if isinstance(space, spaces.Discrete):
        return [int(space.n)]
    if isinstance(space, spaces.MultiDiscrete):
        return [int(size) for size in space.nvec.ravel()]
    if isinstance(space, spaces.MultiBinary):
        return [2] * int(np.prod(space.shape))
    return []


def _form(mask: Any) -> str:
    if isinstance(mask, Mapping):
        return f"masks for {', '.join(map(str, mask))}"
    return "no mask" if mask is None else f"a mask of shape {np.shape(mask)}"
