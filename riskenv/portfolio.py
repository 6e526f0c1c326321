"""What is held: signed contracts per instrument, and cash."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from riskenv.instruments import Instrument, InstrumentTable


@dataclass(frozen=True, eq=False)
class Portfolio:
    """A book as a vector over an `InstrumentTable`.

    Attributes:
        table: the n instruments.
        quantity: (n,) signed contracts, long > 0.
        cash: in the book's currency.

    Raises:
        ValueError: a wrong shape, a NaN or infinite quantity or cash. An unknown *holding* has no
            bounds at all, so unlike a bad quote it is refused at the door.

    Example:
        >>> spx = Instrument("SPX")
        >>> table = InstrumentTable.of([spx])
        >>> Portfolio.of(table, {spx: 10.0}, cash=1_000.0).positions()
        {'SPX': 10.0}
    """

    table: InstrumentTable
    quantity: NDArray[np.float64]
    cash: float

    def __post_init__(self) -> None:
        quantity = np.array(self.quantity, dtype=np.float64)
        if quantity.shape != (len(self.table),):
            raise ValueError(f"quantity: got shape {quantity.shape}; allowed: ({len(self.table)},)")
        if not np.isfinite(quantity).all():
            row = int(np.flatnonzero(~np.isfinite(quantity))[0])
            raise ValueError(
                f"quantity: got {quantity[row]!r} of {self.table.symbols[row]}; "
                "allowed: a finite number of contracts"
            )
        if not math.isfinite(self.cash):
            raise ValueError(f"cash: got {self.cash!r}; allowed: a finite amount")
        object.__setattr__(self, "quantity", quantity)

    @classmethod
    def of(
        cls, table: InstrumentTable, positions: Mapping[Instrument, float], cash: float
    ) -> Portfolio:
        """From signed contracts per instrument; a position that the table lacks is an error."""
        quantity = np.zeros(len(table))
        for instrument, contracts in positions.items():
            row = table.index.get(instrument)
            if row is None:
                raise ValueError(
                    f"positions: {instrument.symbol} is held and not in the instrument table; "
                    "a market snapshot must cover every position"
                )
            quantity[row] = contracts
        return cls(table, quantity, cash)

    def positions(self) -> dict[str, float]:
        """Symbol -> signed contracts, for what is held."""
        return {
            self.table.symbols[row]: float(self.quantity[row])
            for row in np.flatnonzero(self.quantity)
        }
