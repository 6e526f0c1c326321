"""What is held: signed contracts per instrument, cash, and orders that may still be filled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from riskenv.instruments import Instrument, InstrumentTable


@dataclass(frozen=True, eq=False)
class Portfolio:
    """A book as a vector over an `InstrumentTable`.

    Attributes:
        table: the n instruments.
        quantity: (n,) signed contracts, long > 0.
        cash: in the book's currency. A broker that keeps the open variation of futures apart must
            have it added here.
        strategies: tag -> (n,) the part of `quantity` that belongs to a strategy. What belongs to
            none is the rest; see `untagged`.
        working: (K, n) signed contracts that each of K working orders may still fill, in any part.

    Raises:
        ValueError: a wrong shape, a NaN or infinite quantity or cash, or an empty tag. An unknown
            *holding* has no bounds at all, so unlike a bad quote it is refused at the door.

    Example:
        >>> spx = Instrument("SPX")
        >>> table = InstrumentTable.of([spx])
        >>> book = Portfolio.of(table, {spx: 10.0}, cash=1_000.0, strategies={"hedge": {spx: 4.0}})
        >>> book.positions()
        {'SPX': 10.0}
        >>> book.untagged.tolist()
        [6.0]
    """

    table: InstrumentTable
    quantity: NDArray[np.float64]
    cash: float
    strategies: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    working: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        n = len(self.table)
        object.__setattr__(self, "quantity", self._checked("quantity", self.quantity, (n,)))
        if not math.isfinite(self.cash):
            raise ValueError(f"cash: got {self.cash!r}; allowed: a finite amount")
        object.__setattr__(self, "cash", float(self.cash))
        strategies = {}
        for tag, quantity in self.strategies.items():
            if not tag:
                raise ValueError(f"strategies: got the tag {tag!r}; allowed: a name")
            strategies[tag] = self._checked(f"strategies[{tag!r}]", quantity, (n,))
        object.__setattr__(self, "strategies", strategies)
        if self.working is not None:
            orders = self._checked("working", self.working, (len(self.working), n))
            object.__setattr__(self, "working", orders if len(orders) else None)

    def _checked(
        self, name: str, value: NDArray[np.float64], shape: tuple[int, ...]
    ) -> NDArray[np.float64]:
        array = np.array(value, dtype=np.float64)
        if array.shape != shape:
            raise ValueError(f"{name}: got shape {array.shape}; allowed: {shape}")
        finite = np.isfinite(array)
        if np.count_nonzero(finite) < finite.size:
            where = np.argwhere(~finite)[0]
            raise ValueError(
                f"{name}: got {float(array[tuple(where)])!r} of {self.table.symbols[where[-1]]}; "
                "allowed: a finite number of contracts"
            )
        return array

    @classmethod
    def of(
        cls,
        table: InstrumentTable,
        positions: Mapping[Instrument, float],
        cash: float,
        *,
        strategies: Mapping[str, Mapping[Instrument, float]] | None = None,
        working: Sequence[Mapping[Instrument, float]] = (),
    ) -> Portfolio:
        """From signed contracts per instrument; one that the table lacks is an error.

        Args:
            strategies: tag -> its part of the positions.
            working: the legs of each working order.
        """
        tagged = {tag: table.vector(part, "positions") for tag, part in (strategies or {}).items()}
        orders = np.stack([table.vector(o, "working") for o in working]) if working else None
        return cls(table, table.vector(positions, "positions"), cash, tagged, orders)

    @cached_property
    def orders(self) -> NDArray[np.float64]:
        """(K, n) working orders, of which there may be none."""
        return np.zeros((0, len(self.table))) if self.working is None else self.working

    @cached_property
    def closable(self) -> NDArray[np.float64]:
        """(n,) signed contracts of each position that no working order may close already.

        Example:
            >>> spx = Instrument("SPX")
            >>> table = InstrumentTable.of([spx])
            >>> Portfolio.of(table, {spx: 3.0}, 0.0, working=[{spx: -2.0}]).closable.tolist()
            [1.0]
        """
        if self.working is None:
            return self.quantity
        sold, bought = np.minimum(self.orders, 0.0), np.maximum(self.orders, 0.0)
        against = np.where(self.quantity > 0.0, sold.sum(axis=0), bought.sum(axis=0))
        left = self.quantity + against
        return np.asarray(np.where(left * self.quantity > 0.0, left, 0.0))

    @cached_property
    def exposed(self) -> NDArray[np.bool_]:
        """(n,) instruments that the book, a part of it or a working order may hold: parts of two
        strategies that cancel are a risk to each."""
        parts = (self.quantity, *self.strategies.values(), *self.orders)
        return np.asarray(np.stack(parts).any(axis=0))

    @property
    def untagged(self) -> NDArray[np.float64]:
        """(n,) what belongs to no strategy, in the order that tags were given."""
        rest = self.quantity.copy()
        for quantity in self.strategies.values():
            rest -= quantity
        # 0.3 less 0.1 less 0.2 is nothing.
        rest[np.abs(rest) <= 1e-12 * np.abs(self.quantity)] = 0.0
        return rest

    def positions(self) -> dict[str, float]:
        """Symbol -> signed contracts, for what is held."""
        return {
            self.table.symbols[row]: float(self.quantity[row])
            for row in np.flatnonzero(self.quantity)
        }
