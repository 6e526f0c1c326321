"""An env of which only the account can be read, and the reading that all shipped adapters share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from riskenv.wrappers.adapter import Adapter, Protection, Traits

from riskenv.config import ConfigError
from riskenv.factor_history import FactorHistory
from riskenv.instruments import Instrument, InstrumentTable
from riskenv.market import Market
from riskenv.portfolio import Portfolio
from riskenv.sessions import Sessions


@dataclass(frozen=True)
class Reader:
    """How the account of an env is read: four small functions of the bare env.

    Each is handed `env.unwrapped`, and must change nothing in it. What is held is said by
    contract, never by slot: slots are struck anew, contracts are not.

    Attributes:
        table: the instruments that are held or tradable now, or a function of the env where they
            change.
        held: env -> signed contracts of each instrument that is held.
        cash: env -> cash.
        market: (env, table) -> the market of these instruments.

    Example:
        >>> from types import SimpleNamespace
        >>> from riskenv.wrappers import delta_one_market, delta_one_table
        >>> spy = Instrument("SPY")
        >>> reader = Reader(
        ...     table=delta_one_table("SPY"),
        ...     held=lambda env: {spy: env.shares},
        ...     cash=lambda env: env.cash,
        ...     market=lambda env, table: delta_one_market(table, 0, [env.price], half_spread=0.01))
        >>> portfolio, market = reader.read(SimpleNamespace(shares=3, cash=50.0, price=400.0))
        >>> portfolio.positions(), portfolio.cash, float(market.ask[0])
        ({'SPY': 3.0}, 50.0, 400.01)
    """

    table: InstrumentTable | Callable[[Any], InstrumentTable]
    held: Callable[[Any], Mapping[Instrument, float]]
    cash: Callable[[Any], float]
    market: Callable[[Any, InstrumentTable], Market]

    def __post_init__(self) -> None:
        if not isinstance(self.table, InstrumentTable) and not callable(self.table):
            raise ConfigError(
                f"table: got {self.table!r}; allowed: an InstrumentTable, or a function of the env"
            )
        for name in ("held", "cash", "market"):
            if not callable(getattr(self, name)):
                raise ConfigError(f"{name}: got {getattr(self, name)!r}; allowed: a function")

    def table_of(self, env: Any) -> InstrumentTable:
        """The instruments of the present decision."""
        if isinstance(self.table, InstrumentTable):
            return self.table
        return self.table(bare(env))

    def held_in(self, env: Any) -> NDArray[np.float64]:
        """(n,) signed contracts held, in the order of the table."""
        return vector(self.table_of(env), self.held(bare(env)))

    def read(self, env: Any) -> tuple[Portfolio, Market]:
        """What is held, and at what market."""
        inner, table = bare(env), self.table_of(env)
        quantity = vector(table, self.held(inner))
        return Portfolio(table, quantity, self.cash(inner)), self.market(inner, table)


class AccountAdapter(Adapter):
    """An env whose account is an open book while its actions are not: protection READ.

    What an action would trade is not known, so it is done while no cap is broken. Once one is,
    only actions whose trades are known pass: hold, which replaces the others, and the one that
    flattens the book, which the layer takes by itself where a reduction is due. Where neither is
    known the layer watches and reports, and replaces nothing.

    Args:
        reader: how the account is read.
        hold: an action known to trade nothing.
        flatten: an action known to close everything.
        sessions, history, traits: as in `Adapter`.

    Example:
        >>> from types import SimpleNamespace
        >>> from riskenv.wrappers import delta_one_market, delta_one_table
        >>> spy = Instrument("SPY")
        >>> adapter = AccountAdapter(
        ...     Reader(
        ...         table=delta_one_table("SPY"),
        ...         held=lambda env: {spy: env.broker.shares},
        ...         cash=lambda env: env.broker.cash,
        ...         market=lambda env, table: delta_one_market(
        ...             table, 0, [env.broker.price], half_spread=0.01)),
        ...     hold=0, flatten=2)
        >>> env = SimpleNamespace(broker=SimpleNamespace(shares=3, cash=50.0, price=400.0))
        >>> adapter.protection.name, adapter.preview(env, 1), adapter.preview(env, 2)
        ('READ', None, array([-3.]))
    """

    def __init__(
        self,
        reader: Reader,
        *,
        hold: Any = None,
        flatten: Any = None,
        sessions: Sessions | None = None,
        history: FactorHistory | None = None,
        traits: Traits | None = None,
    ) -> None:
        if not isinstance(reader, Reader):
            raise ConfigError(f"reader: got {reader!r}; allowed: a riskenv.wrappers.Reader")
        self.reader = reader
        self.hold = hold
        self.flatten = flatten
        self.traits = Traits() if traits is None else traits
        self._sessions = sessions
        self._history = history

    @property
    def protection(self) -> Protection:
        # A subclass may know what an action trades after all.
        known = type(self).preview is not AccountAdapter.preview
        return super().protection if known else Protection.READ

    def snapshot(self, env: Any, obs: Any, info: Any) -> tuple[Portfolio, Market]:
        return self.reader.read(env)

    def preview(self, env: Any, action: Any) -> NDArray[np.float64] | None:
        """(n,) the trades of holding and of flattening; None for every other action."""
        if self.hold is not None and np.array_equal(action, self.hold):
            return np.zeros(len(self.reader.table_of(env)))
        if self.flatten is not None and np.array_equal(action, self.flatten):
            return 0.0 - self.reader.held_in(env)
        return None

    def fallbacks(self, env: Any) -> list[Any]:
        """Hold, then flatten, as far as they are known."""
        return [action for action in (self.hold, self.flatten) if action is not None]

    def sessions(self, env: Any) -> Sessions | None:
        return self._sessions

    def factor_history(self, env: Any) -> FactorHistory | None:
        return self._history


def bare(env: Any) -> Any:
    """The env under its wrappers; an object that is no env stands for itself."""
    return getattr(env, "unwrapped", env)


def vector(
    table: InstrumentTable,
    trades: Mapping[Instrument, float] | Iterable[tuple[Instrument, float]],
) -> NDArray[np.float64]:
    """(n,) signed contracts, those of one instrument added up.

    Raises:
        ValueError: an instrument that the table lacks.

    Example:
        >>> spy = Instrument("SPY")
        >>> vector(InstrumentTable.of([spy]), [(spy, 2.0), (spy, -5.0)]).tolist()
        [-3.0]
    """
    quantity = np.zeros(len(table))
    for instrument, contracts in trades.items() if isinstance(trades, Mapping) else trades:
        row = table.index.get(instrument)
        if row is None:
            raise ValueError(
                f"table: lacks {instrument!r}; a snapshot's table covers whatever is held or can "
                "be traded now"
            )
        quantity[row] += contracts
    return quantity
