"""What passes between the layer and the env under it, step by step, as it is driven."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
from riskenv.wrappers.adapter import Adapter
from riskenv.wrappers.conformance_answers import Answers, UnusableError
from riskenv.wrappers.conformance_passage import Passage
from riskenv.wrappers.conformance_report import Finding
from riskenv.wrappers.observations import copied, same

from riskenv.market import Market
from riskenv.portfolio import Portfolio

_OLD_GYM = "Wrap the env in riskenv.wrappers.OldGymEnv first"


class Watch:
    """Notes what each step of an env does to the book, and what the adapter had said of it.

    Args:
        adapter: how to read the env; env: the one that the layer drives; add: takes each finding.

    Attributes:
        passages: of each step; executed: its action, before the env had it.
        error: what the env raised last; None = nothing.
    """

    def __init__(
        self, adapter: Adapter, env: gymnasium.Env[Any, Any], add: Callable[[Finding], None]
    ) -> None:
        self.adapter, self.env, self._add = adapter, env, add
        self._answers = Answers(adapter, add)
        self._seen: tuple[Any, Any] = (None, {})
        self.passages: list[Passage] = []
        self.executed: list[Any] = []
        self.error: Exception | None = None

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch for as long as this is open."""
        with replaced(self.env, "reset", self._reset), replaced(self.env, "step", self._step):
            yield

    def book(self) -> tuple[Portfolio, Market]:
        """What is held and at what market; asked for twice, which must be the same."""
        book, market = self.adapter.snapshot(self.env, *self._seen)
        other, other_market = self.adapter.snapshot(self.env, *self._seen)
        twins = same(
            [book.quantity, book.cash, market.columns, market.tickers, market.now],
            [other.quantity, other.cash, other_market.columns, other_market.tickers,
             other_market.now],
        )  # fmt: skip
        if not twins or book.table.instruments != other.table.instruments:
            self._add(Finding("impure", "snapshot: two in a row differ; it must be pure"))
        return book, market

    def shared_buffer(self, consequence: str, problem: bool) -> None:
        """Note that an observation was filled again."""
        words = (
            "shared observation buffer: the observation of a step changed when the next was "
            f"taken. {consequence}"
        )
        self._add(Finding("shared_buffer", words, problem))

    def _reset(self, reset: Callable[..., Any], **arguments: Any) -> Any:
        result = reset(**arguments)
        if not (isinstance(result, tuple) and len(result) == 2):
            raise UnusableError(
                Finding("four_tuple", f"reset returns no (observation, info). {_OLD_GYM}")
            )
        self._seen = result
        return result

    def _step(self, step: Callable[..., Any], action: Any) -> Any:
        before, market = self.book()
        expected = self._answers.preview(self.env, action, len(market.table))
        kept, done = copied(self._seen[0]), copied(action)
        try:
            result = step(action)
        except Exception as error:
            self.error = error
            raise
        if len(result) != 5:
            raise UnusableError(
                Finding("four_tuple", f"4-tuple step: it returns {len(result)} values. {_OLD_GYM}")
            )
        if not same(self._seen[0], kept):
            self.shared_buffer("The layer copies it, and the agent is safe", False)
        self._seen = result[0], result[4]
        after, next_market = self.adapter.snapshot(self.env, *self._seen)
        trades = None
        if expected is not None:
            trades = dict(zip(market.table.instruments, expected.tolist(), strict=True))
        self.passages.append(Passage(before, market, trades, after, next_market))
        self.executed.append(done)
        return result


@contextmanager
def replaced(owner: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Call `function(original, ...)` in place of a method of this one object.

    Example:
        >>> from types import SimpleNamespace
        >>> env = SimpleNamespace(step=lambda action: action)
        >>> with replaced(env, "step", lambda step, action: step(action) + 1):
        ...     env.step(1)
        2
        >>> env.step(1)
        1
    """
    original, own = getattr(owner, name), vars(owner).get(name)
    setattr(owner, name, lambda *args, **kwargs: function(original, *args, **kwargs))
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)
