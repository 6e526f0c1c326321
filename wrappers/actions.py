"""Actions as values: what is one, a copy, one brought into its space, and how far two lie apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


def in_space(space: spaces.Space[Any], action: Any) -> bool:
    """Whether `action` can be handed to an env with this space as it is.

    NaN, infinities, another shape, a number outside the bounds and what is no number are not
    actions. No input raises.

    Example:
        >>> in_space(spaces.Discrete(3), 2), in_space(spaces.Discrete(3), 1.5)
        (True, False)
        >>> in_space(spaces.Box(-1.0, 1.0, (2,)), [0.5, float("nan")])
        False
        >>> in_space(spaces.Dict({"lots": spaces.MultiDiscrete([3, 3])}), {"lots": [2, 3]})
        False
    """
    if isinstance(space, spaces.Dict):
        if not isinstance(action, Mapping) or set(action) != set(space.spaces):
            return False
        return all(in_space(part, action[key]) for key, part in space.spaces.items())
    try:
        given = np.asarray(action)
    except (TypeError, ValueError, OverflowError):  # a ragged list has no array
        return False
    kind = space.dtype
    if kind is None or given.shape != space.shape:
        return False
    if not np.can_cast(given.dtype, kind, "same_kind"):
        return False
    # What is beyond the space's own type becomes infinite there, and is refused as such.
    with np.errstate(over="ignore"):
        typed = given.astype(kind)
    if isinstance(space, spaces.Box):
        inside = (typed >= space.low) & (typed <= space.high) & np.isfinite(typed)
        return bool(inside.all())
    # 256 would be 0 in a byte.
    return bool((typed == given).all() and space.contains(typed[()]))


def owned(action: Any) -> Any:
    """A copy that shares no memory: an array, or a mapping of them.

    Example:
        >>> owned({"lots": [1, 0]})
        {'lots': array([1, 0])}
    """
    if isinstance(action, Mapping):
        return {key: owned(part) for key, part in action.items()}
    return np.array(action)


def brought_in(space: spaces.Space[Any], action: Any) -> Any | None:
    """The action as the space's own type has it, numbers of a Box cut to its bounds; None where
    it still is no action of the space.

    Example:
        >>> brought_in(spaces.Box(-1.0, 1.0, (2,)), [0.5, 1.5]).tolist()
        [0.5, 1.0]
        >>> brought_in(spaces.Discrete(3), 7)
    """
    if isinstance(space, spaces.Dict) and isinstance(action, Mapping):
        if set(action) != set(space.spaces):
            return None
        parts = {key: brought_in(part, action[key]) for key, part in space.spaces.items()}
        return None if any(part is None for part in parts.values()) else parts
    if isinstance(space, spaces.Box):
        try:
            given = np.asarray(action, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            return None
        if given.shape != space.shape:
            return None
        action = np.asarray(np.clip(given, space.low, space.high).astype(space.dtype))
    return action if in_space(space, action) else None


def scaled(
    space: spaces.Box, action: Any, scale: float, base: NDArray[Any] | float = 0.0
) -> NDArray[Any]:
    """The action that much of the way from `base`, as near as the bounds allow; its own array.

    Example:
        >>> scaled(spaces.Box(-1.0, 1.0, (2,)), [0.5, -1.0], 0.5).tolist()
        [0.25, -0.5]
    """
    start = np.asarray(base)
    smaller = np.clip(start + (np.asarray(action) - start) * scale, space.low, space.high)
    return np.asarray(smaller.astype(space.dtype))


def squared_change(space: spaces.Space[Any], asked: Any, executed: Any) -> float:
    """In [0, 1]: mean over the dimensions of a Box of (change / width of its range)^2.

    A dimension without a finite width counts 1 where it changed at all; so does another row of a
    menu. Of slots it is the share that changed, of a Dict the mean over its parts.

    Example:
        >>> squared_change(spaces.Box(-1.0, 1.0, (2,)), [1.0, 0.0], [0.0, 0.0])
        0.125
        >>> squared_change(spaces.MultiDiscrete([3, 3]), [1, 2], [1, 0])
        0.5
    """
    if isinstance(space, spaces.Dict):
        parts = space.spaces.items()
        changes = [squared_change(part, asked[key], executed[key]) for key, part in parts]
        return float(np.mean(changes)) if changes else 0.0
    if not isinstance(space, spaces.Box):
        return float(np.mean(np.asarray(asked) != np.asarray(executed)))
    change = np.asarray(asked, dtype=np.float64) - np.asarray(executed, dtype=np.float64)
    width = np.asarray(space.high, dtype=np.float64) - np.asarray(space.low, dtype=np.float64)
    counted = np.isfinite(width) & (width > 0.0)
    share = np.where(counted, change / np.where(counted, width, 1.0), change != 0.0)
    return float(np.mean(np.square(share)))
