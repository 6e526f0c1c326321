"""Actions as values: what is one, a smaller one, and how far two of them lie apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


def in_space(space: spaces.Discrete | spaces.Box, action: Any) -> bool:
    """Whether `action` can be handed to an env with this Discrete or Box space as it is.

    NaN, infinities, another shape, a number outside the bounds and what is no number are not
    actions. No input raises.

    Example:
        >>> in_space(spaces.Discrete(3), 2), in_space(spaces.Discrete(3), 1.5)
        (True, False)
        >>> in_space(spaces.Box(-1.0, 1.0, (2,)), [0.5, float("nan")])
        False
    """
    try:
        given = np.asarray(action)
    except (TypeError, ValueError, OverflowError):  # a ragged list has no array
        return False
    if given.shape != space.shape or not np.can_cast(given.dtype, space.dtype, "same_kind"):
        return False
    # What is beyond the space's own type becomes infinite there, and is refused as such.
    with np.errstate(over="ignore"):
        typed = given.astype(space.dtype)
    if isinstance(space, spaces.Box):
        inside = (typed >= space.low) & (typed <= space.high) & np.isfinite(typed)
        return bool(inside.all())
    return bool(space.contains(typed[()]))


def scaled(space: spaces.Box, action: Any, scale: float) -> NDArray[Any]:
    """The action times `scale`, as near to that as the bounds allow; an array of its own.

    Example:
        >>> scaled(spaces.Box(-1.0, 1.0, (2,)), [0.5, -1.0], 0.5).tolist()
        [0.25, -0.5]
    """
    smaller = np.clip(np.asarray(action) * scale, space.low, space.high)
    return np.asarray(smaller.astype(space.dtype))


def squared_change(space: spaces.Space[Any], asked: Any, executed: Any) -> float:
    """In [0, 1]: mean over the dimensions of a Box of (change / width of its range)^2.

    A dimension without a finite width counts 1 where it changed at all; so does another row of a
    menu.

    Example:
        >>> squared_change(spaces.Box(-1.0, 1.0, (2,)), [1.0, 0.0], [0.0, 0.0])
        0.125
    """
    if not isinstance(space, spaces.Box):
        return 1.0
    change = np.asarray(asked, dtype=np.float64) - np.asarray(executed, dtype=np.float64)
    width = np.asarray(space.high, dtype=np.float64) - np.asarray(space.low, dtype=np.float64)
    counted = np.isfinite(width) & (width > 0.0)
    share = np.where(counted, change / np.where(counted, width, 1.0), change != 0.0)
    return float(np.mean(np.square(share)))
