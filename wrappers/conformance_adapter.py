"""What an adapter says of one state of an env, held against itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from riskenv.wrappers.adapter import Adapter
from riskenv.wrappers.conformance_answers import Answers
from riskenv.wrappers.conformance_report import Finding
from riskenv.wrappers.observations import copied, same

# Rounding of sizes that are added up in floating point.
SLACK = 1e-6


def adapter_findings(
    adapter: Adapter, env: Any, space: spaces.Space[Any], size: int, flat: bool
) -> Iterator[Finding]:
    """Where answers have no use or contradict one another: the menu and its rows, a menu without
    a hold, the matrix and the preview, fallbacks that are not known, encodings that trade more
    than was asked for, arguments changed in place, one buffer for all answers.

    Args:
        adapter: the adapter.
        env: the env that it reads, in a state that an action can be chosen in.
        space: of the actions; some are drawn from it.
        size: number of instruments in the snapshot's table.
        flat: whether nothing is held.

    Raises:
        UnusableError: an answer has a form that the layer refuses.

    Example:
        >>> from types import SimpleNamespace
        >>> from riskenv.wrappers import CallableAdapter
        >>> adapter = CallableAdapter(
        ...     lambda env, obs, info: None, preview=lambda env, action: None, fallbacks=[9])
        >>> env, space = SimpleNamespace(), spaces.Discrete(2)
        >>> [f.words for f in adapter_findings(adapter, env, space, size=1, flat=True)]
        ['fallbacks: 9 is not in Discrete(2)']
    """
    found: list[Finding] = []
    answers = Answers(adapter, found.append)
    if isinstance(space, spaces.Discrete):
        yield from _menu(answers, env, space, size, flat)
    for action in adapter.fallbacks(env):
        if not space.contains(action):
            yield Finding("fallback", f"fallbacks: {action!r} is not in {space}")
        elif answers.preview(env, action, size) is None:
            yield Finding("fallback", f"fallbacks: {action!r} has no preview; each must be known")
    if _is_filled_again(adapter, env, space):
        yield Finding(
            "preview_buffer",
            "preview fills one buffer: the answer for one action changed when another was asked "
            "about. The layer copies it; who else asks must do so, too",
            problem=False,
        )
    action = space.sample()
    trades = answers.preview(env, action, size)
    if trades is not None:
        linear = adapter.linear(env)
        if linear is not None:
            # Each component may be rounded by itself.
            allowed = SLACK + (0.5 * len(linear.matrix) if adapter.traits.whole_lots else 0.0)
            if not (np.abs(linear.of(action) - trades) <= allowed).all():
                yield Finding("linear", f"linear and preview disagree on the action {action!r}")
        yield from _encoding(answers, env, space, trades, action)
    yield from found


def _menu(
    answers: Answers, env: Any, space: spaces.Discrete, size: int, flat: bool
) -> Iterator[Finding]:
    """Whether rows at once are the rows one by one, and one of them does nothing."""
    every = range(int(space.start), int(space.start + space.n))
    rows = [answers.preview(env, k, size) for k in every]
    menu = answers.preview_all(env, len(every), size)
    if menu is not None and not same(list(menu), rows):
        yield Finding("menu", "preview_all and preview disagree on a row of the menu")
    if flat and all(row is not None and (np.abs(row) > 0.0).any() for row in rows):
        yield Finding(
            "no_hold",
            "no action of the menu does nothing: each trades with nothing held, so that none can "
            "be blocked. Add a hold",
        )


def _is_filled_again(adapter: Adapter, env: Any, space: spaces.Space[Any]) -> bool:
    """Whether the answer for one action changes while another is asked about."""
    first = adapter.preview(env, space.sample())
    kept = copied(first)
    adapter.preview(env, space.sample())
    return not same(first, kept)


def _encoding(
    answers: Answers,
    env: Any,
    space: spaces.Space[Any],
    trades: NDArray[np.float64],
    action: Any,
) -> Iterator[Finding]:
    """Whether an encoding trades what was asked for, or less, and settles."""
    encoded = answers.encode(env, trades, action)
    if encoded is None:
        return
    if not space.contains(encoded):
        yield Finding("encode", f"encode: {encoded!r} is not in {space}")
        return
    back = answers.preview(env, encoded, len(trades))
    within = back is not None and (np.abs(back) <= np.abs(trades) + SLACK).all()
    if back is None or not within or (back * trades < 0.0).any():
        yield Finding("encode", "encode returned an action that trades more than it was asked for")
        return
    again = answers.encode(env, back, encoded)
    if again is None or not same(answers.preview(env, again, len(trades)), back):
        yield Finding("encode", "encode and preview do not settle: encoding a preview changes it")
