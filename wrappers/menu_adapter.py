"""A menu of actions: each row a table of legs, or a function of the env."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from riskenv.wrappers.account_adapter import AccountAdapter, Reader, bare, vector
from riskenv.wrappers.adapter import Protection, Traits

from riskenv.config import ConfigError
from riskenv.factor_history import FactorHistory
from riskenv.instruments import Instrument, InstrumentTable
from riskenv.sessions import Sessions

Legs = Mapping[Any, float]
Row = Legs | Callable[[Any], Mapping[Instrument, float]]


class MenuAdapter(AccountAdapter):
    """A Discrete env whose every action is known by the trades it makes: protection ENCODE.

    Args:
        reader: how the account is read.
        menu: a row for each action, in the order of the action space. A table of legs says
            contract -> signed contracts, an empty one holds; where what a row trades depends on
            what is held (close, hedge, an open that a full book ignores) it is a function of the
            bare env that returns such a table.
        slots: env -> the contract that each slot stands for now. A leg may then be named by its
            slot, which is looked up at every step: slots are struck anew.
        fallbacks: actions known to be safe, mildest first; by default the empty rows.
        sessions, history, traits: as in `Adapter`.

    Raises:
        ConfigError: the menu has no rows, or a row is neither legs nor a function.

    Example:
        >>> from types import SimpleNamespace
        >>> from riskenv.wrappers import delta_one_market, delta_one_table
        >>> spy = Instrument("SPY")
        >>> adapter = MenuAdapter(
        ...     Reader(
        ...         table=delta_one_table("SPY"),
        ...         held=lambda env: {spy: env.shares},
        ...         cash=lambda env: env.cash,
        ...         market=lambda env, table: delta_one_market(
        ...             table, 0, [env.price], half_spread=0.01)),
        ...     menu=[
        ...         {},                                  # 0 holds
        ...         {spy: 100.0},                        # 1 buys a lot
        ...         lambda env: {spy: -env.shares}])     # 2 closes
        >>> env = SimpleNamespace(shares=250.0, cash=0.0, price=400.0)
        >>> adapter.preview_all(env).ravel().tolist(), adapter.fallbacks(env)
        ([0.0, 100.0, -250.0], [0])
    """

    def __init__(
        self,
        reader: Reader,
        menu: Sequence[Row],
        *,
        slots: Callable[[Any], Mapping[Hashable, Instrument]] | None = None,
        fallbacks: Sequence[int] | None = None,
        sessions: Sessions | None = None,
        history: FactorHistory | None = None,
        traits: Traits | None = None,
    ) -> None:
        super().__init__(reader, sessions=sessions, history=history, traits=traits)
        if not menu:
            raise ConfigError("menu: got no rows; allowed: one for each action")
        for k, row in enumerate(menu):
            if not isinstance(row, Mapping) and not callable(row):
                raise ConfigError(f"menu[{k}]: got {row!r}; allowed: legs, or a function")
        self.menu = tuple(menu)
        self.slots = slots
        self._fallbacks = fallbacks
        # The rows that are legs, for the contracts they were last worked out for.
        self._known: tuple[InstrumentTable, Mapping[Hashable, Instrument], NDArray[np.float64]]
        self._known = (InstrumentTable(()), {}, np.zeros((len(self.menu), 0)))

    @property
    def protection(self) -> Protection:
        return Protection.ENCODE

    def preview(self, env: Any, action: Any) -> NDArray[np.float64]:
        """(n,) what the row trades."""
        k = int(action) - _start(env)
        if not 0 <= k < len(self.menu):
            raise ValueError(f"action: got {action!r}; the menu has {len(self.menu)} rows")
        table = self.reader.table_of(env)
        return self._row(env, table, self.menu[k], self._slots(env))

    def preview_all(self, env: Any) -> NDArray[np.float64]:
        """(A, n) what each row trades."""
        table, slots = self.reader.table_of(env), self._slots(env)
        trades = self._legs(env, table, slots).copy()
        for k, row in enumerate(self.menu):
            if callable(row):
                trades[k] = self._row(env, table, row, slots)
        return trades

    def encode(self, env: Any, trades: NDArray[np.float64], proposed: Any) -> int | None:
        """The row that trades exactly this, the proposed one first; None where none does."""
        rows = np.flatnonzero((self.preview_all(env) == trades).all(axis=1)) + _start(env)
        if not len(rows):
            return None
        return int(proposed) if proposed is not None and proposed in rows else int(rows[0])

    def fallbacks(self, env: Any) -> list[Any]:
        if self._fallbacks is not None:
            return list(self._fallbacks)
        empty = [k for k, row in enumerate(self.menu) if not callable(row) and not row]
        return [k + _start(env) for k in empty]

    def _slots(self, env: Any) -> Mapping[Hashable, Instrument]:
        return {} if self.slots is None else self.slots(bare(env))

    def _row(
        self, env: Any, table: InstrumentTable, row: Row, slots: Mapping[Hashable, Instrument]
    ) -> NDArray[np.float64]:
        legs = row(bare(env)) if callable(row) else row
        return vector(table, [(slots.get(leg, leg), lots) for leg, lots in legs.items()])

    def _legs(
        self, env: Any, table: InstrumentTable, slots: Mapping[Hashable, Instrument]
    ) -> NDArray[np.float64]:
        """(A, n) the rows that are tables of legs; zeros in place of functions."""
        known_table, known_slots, trades = self._known
        if known_table is not table or known_slots != slots:
            rows = [{} if callable(row) else row for row in self.menu]
            trades = np.stack([self._row(env, table, row, slots) for row in rows])
            self._known = (table, dict(slots), trades)
        return trades


def _start(env: Any) -> int:
    return int(getattr(getattr(env, "action_space", None), "start", 0))
