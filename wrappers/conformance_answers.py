"""An adapter asked as the layer asks it, and what is wrong with the form of its answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from riskenv.wrappers.adapter import Adapter
from riskenv.wrappers.conformance_report import Finding
from riskenv.wrappers.observations import copied, same


class UnusableError(Exception):
    """The layer cannot work with this: nothing more can be checked.

    Attributes:
        finding: why.

    Example:
        >>> str(UnusableError(Finding("four_tuple", "step returns 4 values")).finding)
        'PROBLEM four_tuple: step returns 4 values'
    """

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.words)
        self.finding = finding


class Answers:
    """Previews as the layer asks for them: of a copy of the action, and copied.

    Args:
        adapter: the adapter; add: takes each finding.

    Example:
        >>> from riskenv.wrappers import CallableAdapter
        >>> def clipping(env, action):
        ...     return np.clip(action, -0.2, 0.2, out=action)
        >>> adapter = CallableAdapter(lambda env, obs, info: None, preview=clipping)
        >>> found = []
        >>> Answers(adapter, found.append).preview(None, np.array([0.5]), 1)
        array([0.2])
        >>> [finding.code for finding in found]
        ['impure']
    """

    def __init__(self, adapter: Adapter, add: Callable[[Finding], None]) -> None:
        self._adapter, self._add = adapter, add

    def preview(self, env: Any, action: Any, size: int) -> NDArray[np.float64] | None:
        """(size,) the trades of an action, or None.

        Raises:
            UnusableError: it is an answer of another form.
        """
        given = copied(action)
        trades = self._adapter.preview(env, given)
        self.kept("preview", "the action", given, action)
        return None if trades is None else self._numbers("preview", trades, (size,))

    def preview_all(self, env: Any, rows: int, size: int) -> NDArray[np.float64] | None:
        """(rows, size) the trades of every action, or None.

        Raises:
            UnusableError: it is an answer of another form.
        """
        trades = self._adapter.preview_all(env)
        return None if trades is None else self._numbers("preview_all", trades, (rows, size))

    def encode(self, env: Any, trades: NDArray[np.float64], proposed: Any) -> Any | None:
        """The action that is said to trade this, or None."""
        wanted, given = trades.copy(), copied(proposed)
        encoded = self._adapter.encode(env, wanted, given)
        self.kept("encode", "the trades", wanted, trades)
        self.kept("encode", "the action", given, proposed)
        return copied(encoded)

    def kept(self, name: str, what: str, given: Any, before: Any) -> None:
        """Note an argument that was changed in place."""
        if not same(given, before):
            self._add(
                Finding(
                    "impure",
                    f"{name} changes {what} that it is given in place, from {before!r} to "
                    f"{given!r}; it must be pure",
                )
            )

    def _numbers(self, name: str, answer: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
        try:
            array = np.array(answer, dtype=np.float64)
        except (TypeError, ValueError):
            array = None
        if array is None or array.shape != shape:
            got = f"{answer!r}" if array is None or array.ndim == 0 else f"shape {array.shape}"
            of = "a row for each action, " if len(shape) == 2 else ""
            words = (
                f"{name} returns {got}; allowed: an array of shape {shape}, {of}a signed number of "
                "contracts for each instrument of the snapshot's table"
            )
            raise UnusableError(Finding("answer", words))
        if not isinstance(answer, np.ndarray):
            words = (
                f"{name} returns a {type(answer).__name__}, which is read anew at each decision; "
                "return a NumPy array of float64"
            )
            self._add(Finding("not_array", words, problem=False))
        return array
