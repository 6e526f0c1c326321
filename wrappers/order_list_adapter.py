"""Actions that are orders: lines of what to buy and sell, or whatever an env turns into them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from riskenv.wrappers.account_adapter import AccountAdapter, Reader, bare, vector
from riskenv.wrappers.adapter import Protection, Traits

from riskenv.config import ConfigError
from riskenv.factor_history import FactorHistory
from riskenv.instruments import Instrument
from riskenv.sessions import Sessions

Orders = Iterable[tuple[Instrument, float]]


class OrderListAdapter(AccountAdapter):
    """An env that makes orders of an action before it sends them: the hook the layer needs.

    Args:
        reader: how the account is read.
        orders: (env, action) -> (contract, signed contracts) of each order that would be *filled*:
            what the env itself would refuse or cut is refused and cut here too. The env is bare.
        encode: (env, orders, proposed) -> the action that sends these orders, or None. With it
            protection is ENCODE, else PREVIEW.
        fallbacks: actions known to be safe, mildest first, or a function of the bare env.
        sessions, history, traits: as in `Adapter`.

    Example:
        >>> from types import SimpleNamespace
        >>> from riskenv.wrappers import delta_one_market, delta_one_table
        >>> spy = Instrument("SPY")
        >>> adapter = OrderListAdapter(
        ...     Reader(
        ...         table=delta_one_table("SPY"),
        ...         held=lambda env: {spy: env.shares},
        ...         cash=lambda env: env.cash,
        ...         market=lambda env, table: delta_one_market(
        ...             table, 0, [env.price], half_spread=0.01)),
        ...     orders=lambda env, action: [(spy, line["shares"]) for line in action],
        ...     encode=lambda env, orders, proposed: [{"shares": lots} for _, lots in orders],
        ...     fallbacks=[[]])
        >>> env = SimpleNamespace(shares=0.0, cash=1e5, price=400.0)
        >>> adapter.preview(env, [{"shares": 30.0}, {"shares": -10.0}])
        array([20.])
        >>> adapter.encode(env, np.array([15.0]), None)
        [{'shares': 15.0}]
    """

    def __init__(
        self,
        reader: Reader,
        orders: Callable[[Any, Any], Orders],
        *,
        encode: Callable[[Any, list[tuple[Instrument, float]], Any], Any | None] | None = None,
        fallbacks: Sequence[Any] | Callable[[Any], Sequence[Any]] = (),
        sessions: Sessions | None = None,
        history: FactorHistory | None = None,
        traits: Traits | None = None,
    ) -> None:
        super().__init__(reader, sessions=sessions, history=history, traits=traits)
        if not callable(orders):
            raise ConfigError(f"orders: got {orders!r}; allowed: a function (env, action)")
        self.orders = orders
        self._encode = encode
        self._fallbacks = fallbacks

    @property
    def protection(self) -> Protection:
        return Protection.PREVIEW if self._encode is None else Protection.ENCODE

    def preview(self, env: Any, action: Any) -> NDArray[np.float64]:
        """(n,) the orders of each contract added up."""
        return vector(self.reader.table_of(env), self.orders(bare(env), action))

    def encode(self, env: Any, trades: NDArray[np.float64], proposed: Any) -> Any | None:
        """The action that sends one order for each contract that is traded."""
        if self._encode is None:
            return None
        table = self.reader.table_of(env)
        lines = [(table.instruments[row], float(trades[row])) for row in np.flatnonzero(trades)]
        return self._encode(bare(env), lines, proposed)

    def fallbacks(self, env: Any) -> list[Any]:
        if callable(self._fallbacks):
            return list(self._fallbacks(bare(env)))
        return list(self._fallbacks)
