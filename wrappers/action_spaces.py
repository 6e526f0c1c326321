"""Kinds of action spaces: what stands for nothing, what lies nearer to it, what a mask lists.

One small class for each kind of space. They know actions and nothing of trades; which of the
actions may be done is for `riskenv.wrappers.alternatives` and the layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from riskenv.wrappers.actions import in_space, owned, scaled, squared_change

from riskenv.config import ConfigError

# Radial clip of a continuous action: scales tried, from nearly all of it down to a sixteenth.
RADIAL_SCALES = tuple(k / 16.0 for k in range(15, 0, -1))
# A joint choice of slots with no more combinations than this is a menu: all of them are tried.
SMALL_MENU = 64


class ActionKind(ABC):
    """What the layer does with the actions of one kind of space.

    Attributes:
        space: the env's action space.
        maskable: whether its actions are choices, of which a mask can rule some out.
    """

    maskable = True

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.space: Any = space

    def contains(self, action: Any) -> bool:
        """Whether the env takes it as it is; NaN, infinities and other shapes it does not."""
        return in_space(self.space, action)

    def change(self, asked: Any, executed: Any) -> float:
        """In [0, 1]: see `riskenv.wrappers.actions.squared_change`."""
        return squared_change(self.space, asked, executed)

    @abstractmethod
    def rest(self) -> Any:
        """The action that stands for nothing where the adapter names none that is known safe."""

    @abstractmethod
    def nearer(self, action: Any, base: Any) -> list[Any]:
        """Actions between `action` and `base`, without these two."""

    def shrunk(self, action: Any, base: Any, scale: float) -> Any:
        """The action with all that is continuous in it that much of the way from `base`."""
        return action

    @abstractmethod
    def choices(self, base: Any) -> list[Any]:
        """Each entry of a mask as an action: `base` but for one choice."""

    @abstractmethod
    def choice_slots(self) -> NDArray[np.int64]:
        """(C,) which of the choices made at once each of `choices` is one of, counted from 0."""

    @abstractmethod
    def shaped(self, flags: NDArray[np.bool_]) -> Any:
        """The mask in its usual form, of one flag for each of `choices`."""


class MenuActions(ActionKind):
    """Discrete: a menu, whose rows are all known."""

    def __init__(self, space: spaces.Discrete) -> None:
        super().__init__(space)
        start = int(space.start)
        # All actions.
        self.every = range(start, start + int(space.n))

    def contains(self, action: Any) -> bool:
        if isinstance(action, int | np.integer):
            return int(action) in self.every
        return super().contains(action)

    def rest(self) -> int:
        return int(self.space.start)

    def nearer(self, action: Any, base: Any) -> list[Any]:
        return []

    def choices(self, base: Any) -> list[Any]:
        return list(self.every)

    def choice_slots(self) -> NDArray[np.int64]:
        return np.zeros(int(self.space.n), dtype=np.int64)

    def shaped(self, flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return flags


class BoxActions(ActionKind):
    """Box: the radial clip, the same action on the way to `base`."""

    maskable = False

    def rest(self) -> NDArray[Any]:
        return scaled(self.space, np.zeros(self.space.shape), 0.0)

    def nearer(self, action: Any, base: Any) -> list[Any]:
        return [self.shrunk(action, base, scale) for scale in RADIAL_SCALES]

    def shrunk(self, action: Any, base: Any, scale: float) -> NDArray[Any]:
        return scaled(self.space, action, scale, base)

    def choices(self, base: Any) -> list[Any]:
        return []

    def choice_slots(self) -> NDArray[np.int64]:
        return np.zeros(0, dtype=np.int64)

    def shaped(self, flags: NDArray[np.bool_]) -> None:
        """No mask."""


class SlotActions(ActionKind):
    """MultiDiscrete and MultiBinary: independent slots, each with its own choices."""

    def __init__(self, space: spaces.MultiDiscrete | spaces.MultiBinary) -> None:
        super().__init__(space)
        if isinstance(space, spaces.MultiBinary):
            self._sizes = np.full(space.shape, 2)
            self._start = np.zeros(space.shape, dtype=np.int64)
        else:
            self._sizes, self._start = np.asarray(space.nvec), np.asarray(space.start)

    def rest(self) -> NDArray[Any]:
        return np.asarray(self._start.astype(self.space.dtype))

    def nearer(self, action: Any, base: Any) -> list[Any]:
        """Every combination where there are few; else each slot by itself at `base`, then only it
        as asked, then slots one after the other at `base`, then all slots part of the way."""
        asked, start = np.asarray(action), np.asarray(base)
        if float(np.prod(self._sizes.astype(np.float64))) <= SMALL_MENU:
            every = np.indices(tuple(self._sizes.ravel())).reshape(self._sizes.size, -1).T
            joint = every.reshape(-1, *self.space.shape) + self._start
            return [row.astype(self.space.dtype) for row in joint]
        moved = np.argwhere(asked != start)
        rows: list[Any] = []
        dropped = asked.copy()
        for slot in map(tuple, moved):
            without, only = asked.copy(), start.copy()
            without[slot], only[slot] = start[slot], asked[slot]
            dropped[slot] = start[slot]
            rows += [without, only, dropped.copy()]
        largest = int(np.abs(asked.astype(np.int64) - start).max(initial=0))
        for k in range(largest - 1, 0, -1):
            step = np.trunc((asked.astype(np.float64) - start) * (k / largest))
            rows.append(start + step.astype(np.int64))
        return [np.asarray(row).astype(self.space.dtype) for row in rows]

    def choices(self, base: Any) -> list[Any]:
        rows = []
        for slot in np.ndindex(self._sizes.shape):
            for value in range(int(self._sizes[slot])):
                row = np.array(base, dtype=self.space.dtype)
                row[slot] = self._start[slot] + value
                rows.append(row)
        return rows

    def choice_slots(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(self._sizes.size), self._sizes.ravel())

    def shaped(self, flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(sum of the slots' sizes,), slot after slot, as sb3-contrib asks for it."""
        return flags


class DictActions(ActionKind):
    """Dict of any of these."""

    def __init__(self, space: spaces.Dict) -> None:
        super().__init__(space)
        self.parts = {key: action_kind(part) for key, part in space.spaces.items()}
        self.maskable = any(part.maskable for part in self.parts.values())

    def rest(self) -> dict[str, Any]:
        return {key: part.rest() for key, part in self.parts.items()}

    def nearer(self, action: Any, base: Any) -> list[Any]:
        """Each part by itself nearer to its base, or at it; then only that part as asked; then all
        that is continuous, however deep, part of the way."""
        rows = []
        for key, part in self.parts.items():
            for smaller in (*part.nearer(action[key], base[key]), base[key]):
                rows.append({**action, key: smaller})
                rows.append({**base, key: smaller})
            rows.append({**base, key: action[key]})
        return rows + [self.shrunk(action, base, scale) for scale in RADIAL_SCALES]

    def shrunk(self, action: Any, base: Any, scale: float) -> dict[str, Any]:
        return {k: part.shrunk(action[k], base[k], scale) for k, part in self.parts.items()}

    def choices(self, base: Any) -> list[Any]:
        return [
            {**base, key: choice}
            for key, part in self.parts.items()
            for choice in part.choices(base[key])
        ]

    def choice_slots(self) -> NDArray[np.int64]:
        slots, first = [], 0
        for part in self.parts.values():
            own = part.choice_slots() + first
            slots.append(own)
            first = int(own.max(initial=first - 1)) + 1
        return np.concatenate(slots)

    def shaped(self, flags: NDArray[np.bool_]) -> dict[str, Any]:
        """A mask for each part; None for a Box."""
        masks, at = {}, 0
        rest = self.rest()
        for key, part in self.parts.items():
            size = len(part.choices(rest[key]))
            masks[key] = part.shaped(flags[at : at + size])
            at += size
        return masks


def action_kind(space: spaces.Space[Any]) -> ActionKind:
    """How the layer handles the actions of a space.

    Raises:
        ConfigError: a space that is none of Discrete, MultiDiscrete, MultiBinary, Box, or a Dict
            of these.

    Example:
        >>> kind = action_kind(spaces.MultiDiscrete([3, 2]))
        >>> [choice.tolist() for choice in kind.choices([1, 0])]
        [[0, 0], [1, 0], [2, 0], [1, 0], [1, 1]]
        >>> action_kind(spaces.Text(3))
        Traceback (most recent call last):
            ...
        riskenv.config.ConfigError: action_space: got Text(1, 3, ...); allowed: ...
    """
    if isinstance(space, spaces.Discrete):
        return MenuActions(space)
    if isinstance(space, spaces.Box):
        return BoxActions(space)
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        return SlotActions(space)
    if isinstance(space, spaces.Dict):
        return DictActions(space)
    raise ConfigError(
        f"action_space: got {space}; allowed: Discrete, MultiDiscrete, MultiBinary, Box, or a Dict "
        "of these"
    )


def distinct(actions: list[Any]) -> Iterator[Any]:
    """The actions, each once; the first of each stays.

    Example:
        >>> list(distinct([1, 2, 1]))
        [1, 2]
    """
    seen = set()
    for action in actions:
        key = _bytes_of(owned(action))
        if key not in seen:
            seen.add(key)
            yield action


def _bytes_of(action: Any) -> Any:
    if isinstance(action, dict):
        return tuple((key, _bytes_of(part)) for key, part in sorted(action.items()))
    return action.tobytes()
