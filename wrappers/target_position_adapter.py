"""A Box whose components are the positions that the env then trades to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from riskenv.wrappers.account_adapter import AccountAdapter, Reader, bare, vector
from riskenv.wrappers.actions import brought_in
from riskenv.wrappers.adapter import LinearTrades, Protection, Traits

from riskenv.config import ConfigError
from riskenv.factor_history import FactorHistory
from riskenv.instruments import Instrument, InstrumentTable
from riskenv.sessions import Sessions

# Shares of what is held that a fallback keeps: hold, half, nothing.
KEPT = (1.0, 0.5, 0.0)


class TargetPositionAdapter(AccountAdapter):
    """A Box env that trades from what it holds to what the action names: protection ENCODE.

    What is held outside the named contracts is left alone, as by an env whose slots are struck
    anew while the old contracts live on; an env that sells those too is a `CallableAdapter`.

    Args:
        reader: how the account is read.
        targets: the contract that each component of the flattened action stands for, or a
            function of the bare env where slots are struck anew.
        size: contracts at a component of 1, for all or for each. With `Traits.whole_lots` the
            target is rounded (half to even) before what is held is taken off.
        target: in place of targets and size, any function (env, action) -> the contracts to hold
            afterwards, as for fractions of the equity; protection is then PREVIEW.
        sessions, history, traits: as in `Adapter`.

    Raises:
        ConfigError: neither of the two ways is given, or both.

    Example:
        >>> from types import SimpleNamespace
        >>> from riskenv.wrappers import delta_one_market, delta_one_table
        >>> spy = Instrument("SPY")
        >>> adapter = TargetPositionAdapter(
        ...     Reader(
        ...         table=delta_one_table("SPY"),
        ...         held=lambda env: {spy: env.shares},
        ...         cash=lambda env: env.cash,
        ...         market=lambda env, table: delta_one_market(
        ...             table, 0, [env.price], half_spread=0.01)),
        ...     targets=[spy], size=1_000.0)
        >>> env = SimpleNamespace(shares=300.0, cash=0.0, price=400.0)
        >>> adapter.preview(env, [0.5]), adapter.encode(env, np.array([-100.0]), [0.5])
        (array([200.]), array([0.2]))
    """

    def __init__(
        self,
        reader: Reader,
        targets: Sequence[Instrument] | Callable[[Any], Sequence[Instrument]] | None = None,
        size: ArrayLike | None = None,
        *,
        target: Callable[[Any, Any], Mapping[Instrument, float]] | None = None,
        sessions: Sessions | None = None,
        history: FactorHistory | None = None,
        traits: Traits | None = None,
    ) -> None:
        super().__init__(reader, sessions=sessions, history=history, traits=traits)
        if (target is None) == (targets is None) or (targets is None) != (size is None):
            raise ConfigError("targets, size, target: allowed: targets with size, or target alone")
        sizes = np.asarray(1.0 if size is None else size, dtype=np.float64)
        if not (np.isfinite(sizes).all() and (sizes != 0.0).all()):
            raise ConfigError(f"size: got {size!r}; allowed: finite numbers other than 0")
        self.targets = targets
        self.size = sizes
        self.target = target

    @property
    def protection(self) -> Protection:
        return Protection.PREVIEW if self.target is not None else Protection.ENCODE

    def preview(self, env: Any, action: Any) -> NDArray[np.float64]:
        """(n,) the way from what is held to what the action names."""
        table, held = self.reader.table_of(env), self.reader.held_in(env)
        if self.target is not None:
            wanted = self.target(bare(env), action)
            rows = [table.index[instrument] for instrument in wanted]
            goal = vector(table, wanted)
        else:
            rows, lots = self._rows(env, table), self._lots(action)
            goal = np.zeros(len(table))
            np.add.at(goal, rows, lots)
        trades = np.zeros(len(table))
        trades[rows] = goal[rows] - held[rows]
        return trades

    def linear(self, env: Any) -> LinearTrades | None:
        """Contracts per unit of each component, less what is held; before whole lots are cut."""
        if self.target is not None:
            return None
        table, held = self.reader.table_of(env), self.reader.held_in(env)
        rows = self._rows(env, table)
        matrix = np.zeros((len(rows), len(table)))
        matrix[np.arange(len(rows)), rows] = self.size
        offset = np.zeros(len(table))
        offset[rows] = 0.0 - held[rows]
        return LinearTrades(matrix, offset)

    def encode(
        self, env: Any, trades: NDArray[np.float64], proposed: Any
    ) -> NDArray[np.floating[Any]] | None:
        """The action that ends where these trades lead; None where it is none of the env's."""
        if self.target is not None:
            return None
        table, held = self.reader.table_of(env), self.reader.held_in(env)
        rows = self._rows(env, table)
        outside = np.ones(len(table), dtype=bool)
        outside[rows] = False
        # Two slots on one contract: which of them holds what is not said.
        if np.any(trades[outside]) or len(set(rows)) < len(rows):
            return None
        space = getattr(env, "action_space", None)
        wanted = ((held + trades)[rows] / self.size).astype(getattr(space, "dtype", np.float64))
        action = wanted.reshape(getattr(space, "shape", wanted.shape))
        return action if space is None or space.contains(action) else None

    def fallbacks(self, env: Any) -> list[Any]:
        """Keep everything, or of it as much as the Box reaches; keep half; keep nothing: as far as
        the env has such an action."""
        held = self.reader.held_in(env)
        parts = [np.rint(k * held) if self.traits.whole_lots else k * held for k in KEPT]
        actions = [self.encode(env, part - held, None) for part in [held, *parts[1:]]]
        if self.target is None and actions[0] is None and hasattr(env, "action_space"):
            rows = self._rows(env, self.reader.table_of(env))
            if len(set(rows)) == len(rows):
                kept = (held[rows] / self.size).reshape(env.action_space.shape)
                actions[0] = brought_in(env.action_space, kept)
        return [action for action in actions if action is not None]

    def _rows(self, env: Any, table: InstrumentTable) -> list[int]:
        targets = self.targets(bare(env)) if callable(self.targets) else self.targets
        assert targets is not None
        for instrument in targets:
            if instrument not in table.index:
                raise ValueError(f"targets: {instrument!r} is not in the instrument table")
        return [table.index[instrument] for instrument in targets]

    def _lots(self, action: Any) -> NDArray[np.float64]:
        lots = np.asarray(action, dtype=np.float64).ravel() * self.size
        return np.rint(lots) + 0.0 if self.traits.whole_lots else lots
