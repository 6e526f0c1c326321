"""What an adapter says of one state of an env, held against itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from riskenv.wrappers.adapter import Adapter
from riskenv.wrappers.conformance_report import Finding
from riskenv.wrappers.observations import same

# Rounding of sizes that are added up in floating point.
SLACK = 1e-6


def adapter_findings(adapter: Adapter, env: Any, space: spaces.Space[Any]) -> Iterator[Finding]:
    """Where answers contradict one another: the menu and its rows, the matrix and the preview,
    fallbacks that are not known, encodings that trade more than was asked for.

    Args:
        adapter: the adapter.
        env: the env that it reads, in a state that an action can be chosen in.
        space: of the actions; one is drawn from it.

    Example:
        >>> from types import SimpleNamespace
        >>> from riskenv.wrappers import CallableAdapter
        >>> adapter = CallableAdapter(
        ...     lambda env, obs, info: None, preview=lambda env, action: None, fallbacks=[9])
        >>> [f.words for f in adapter_findings(adapter, SimpleNamespace(), spaces.Discrete(2))]
        ['fallbacks: 9 is not in Discrete(2)']
    """
    menu = adapter.preview_all(env)
    if menu is not None and isinstance(space, spaces.Discrete):
        rows = [adapter.preview(env, k) for k in range(space.start, space.start + space.n)]
        if not same(list(menu), rows):
            yield Finding("menu", "preview_all and preview disagree on a row of the menu")
    for action in adapter.fallbacks(env):
        if not space.contains(action):
            yield Finding("fallback", f"fallbacks: {action!r} is not in {space}")
        elif adapter.preview(env, action) is None:
            yield Finding("fallback", f"fallbacks: {action!r} has no preview; each must be known")
    action = space.sample()
    trades = adapter.preview(env, action)
    if trades is None:
        return
    linear = adapter.linear(env)
    if linear is not None:
        # Each component may be rounded by itself.
        allowed = SLACK + (0.5 * len(linear.matrix) if adapter.traits.whole_lots else 0.0)
        if not (np.abs(linear.of(action) - trades) <= allowed).all():
            yield Finding("linear", f"linear and preview disagree on the action {action!r}")
    yield from _encoding(adapter, env, space, trades, action)


def _encoding(
    adapter: Adapter,
    env: Any,
    space: spaces.Space[Any],
    trades: NDArray[np.float64],
    action: Any,
) -> Iterator[Finding]:
    """Whether an encoding trades what was asked for, or less, and settles."""
    encoded = adapter.encode(env, trades, action)
    if encoded is None:
        return
    if not space.contains(encoded):
        yield Finding("encode", f"encode: {encoded!r} is not in {space}")
        return
    back = adapter.preview(env, encoded)
    within = back is not None and (np.abs(back) <= np.abs(trades) + SLACK).all()
    if back is None or not within or (back * trades < 0.0).any():
        yield Finding("encode", "encode returned an action that trades more than it was asked for")
        return
    again = adapter.encode(env, back, encoded)
    if again is None or not same(adapter.preview(env, again), back):
        yield Finding("encode", "encode and preview do not settle: encoding a preview changes it")
