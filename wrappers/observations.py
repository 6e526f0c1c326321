"""Observations as values, nested or not: copied, and compared to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np


def same(a: Any, b: Any) -> bool:
    """Equal to the bit, NaN and containers included.

    Example:
        >>> same({"x": [np.nan, 1.0]}, {"x": (np.nan, 1.0)}), same([1.0], [2.0])
        (True, False)
    """
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    one, other = np.asarray(a), np.asarray(b)
    if one.dtype.kind in "fc" and other.dtype.kind in "fc":
        return np.array_equal(one, other, equal_nan=True)
    return np.array_equal(one, other)


def copied(obs: Any) -> Any:
    """The same in memory of its own: arrays in dicts, lists and tuples are copied, other values
    kept.

    Example:
        >>> shared = np.zeros(1)
        >>> mine = copied({"x": shared})
        >>> shared[0] = 7.0
        >>> mine
        {'x': array([0.])}
    """
    if isinstance(obs, dict):
        return {key: copied(value) for key, value in obs.items()}
    if isinstance(obs, tuple):
        values = [copied(value) for value in obs]
        return type(obs)(*values) if hasattr(obs, "_fields") else tuple(values)
    if isinstance(obs, list):
        return [copied(value) for value in obs]
    return np.array(obs) if isinstance(obs, np.ndarray) else obs
