"""What can be held: an underlying or a European option on one, and tables of them in columns."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

NS_PER_SECOND = 1_000_000_000
NS_PER_DAY = 86_400 * NS_PER_SECOND

_RIGHT_ORDER = {"": 0, "C": 1, "P": 2}


@dataclass(frozen=True, slots=True)
class Instrument:
    """One contract. Its identity is what it pays, never the slot it was traded from.

    Attributes:
        underlying: ticker of the underlying.
        right: "C", "P", or "" for the underlying itself.
        strike: in currency; 0 for the underlying.
        expiry: settlement time, int64 nanoseconds UTC; 0 for the underlying.
        multiplier: currency per point, per contract.
        currency: ISO code.

    Raises:
        ValueError: naming the field, the value received and what is allowed.

    Example:
        >>> Instrument("SPX").symbol
        'SPX'
        >>> settlement = 1_221_854_400_000_000_000
        >>> Instrument("SPX", "C", strike=1250.0, expiry=settlement, multiplier=100.0).symbol
        'SPX 2008-09-19 1250 C'
        >>> Instrument("SPX", "call", strike=1250.0, expiry=1)
        Traceback (most recent call last):
            ...
        ValueError: right: got 'call'; allowed: 'C', 'P', or '' for the underlying itself
    """

    underlying: str
    right: str = ""
    strike: float = 0.0
    expiry: int = 0
    multiplier: float = 1.0
    currency: str = "USD"

    def __post_init__(self) -> None:
        if not self.underlying:
            raise ValueError(f"underlying: got {self.underlying!r}; allowed: a ticker")
        if self.right not in _RIGHT_ORDER:
            raise ValueError(
                f"right: got {self.right!r}; allowed: 'C', 'P', or '' for the underlying itself"
            )
        if not (0.0 < self.multiplier < math.inf):
            raise ValueError(f"multiplier: got {self.multiplier!r}; allowed: a number above 0")
        if self.right:
            if not (0.0 < self.strike < math.inf):
                raise ValueError(f"strike: got {self.strike!r}; allowed: a number above 0")
            if not self.expiry > 0:
                raise ValueError(f"expiry: got {self.expiry!r}; allowed: nanoseconds UTC above 0")
        elif self.strike or self.expiry:
            raise ValueError(
                f"strike, expiry: got {self.strike!r}, {self.expiry!r}; an underlying has neither"
            )

    @property
    def is_option(self) -> bool:
        return self.right != ""

    @property
    def symbol(self) -> str:
        """A readable name, not always a unique one; `InstrumentTable.symbols` are unique."""
        if not self.right:
            return self.underlying
        day = datetime.fromtimestamp(self.expiry // NS_PER_SECOND, UTC).date()
        return f"{self.underlying} {day} {self.strike:.15g} {self.right}"

    @property
    def sort_key(self) -> tuple[str, int, int, float, float, str]:
        """Canonical order: underlyings first, then calls, then puts, by expiry and strike."""
        return (
            self.underlying,
            _RIGHT_ORDER[self.right],
            self.expiry,
            self.strike,
            self.multiplier,
            self.currency,
        )


@dataclass(frozen=True, eq=False)
class InstrumentTable:
    """Instruments in canonical order, as columns: the fixed index that books and markets share.

    Every sum over a book runs in this order, so permuting the positions that a caller lists
    changes no bit of any exposure.

    Build one with `InstrumentTable.of(instruments)`, which sorts and drops duplicates.

    Example:
        >>> table = InstrumentTable.of([Instrument("SPX", "P", 900.0, 1), Instrument("SPX")])
        >>> [i.right for i in table.instruments]
        ['', 'P']
        >>> table.index[Instrument("SPX")]
        0
    """

    instruments: tuple[Instrument, ...]

    def __post_init__(self) -> None:
        keys = [instrument.sort_key for instrument in self.instruments]
        if any(a >= b for a, b in pairwise(keys)):
            raise ValueError(
                "instruments: not in canonical order or not unique; build the table with "
                "InstrumentTable.of(instruments)"
            )
        currencies = {instrument.currency for instrument in self.instruments}
        if len(currencies) > 1:
            raise ValueError(
                f"currency: got {sorted(currencies)}; one book holds one currency, because "
                "exposures in different currencies do not add up without a rate"
            )

    @classmethod
    def of(cls, instruments: Iterable[Instrument]) -> InstrumentTable:
        return cls(tuple(sorted(set(instruments), key=lambda i: i.sort_key)))

    def __len__(self) -> int:
        return len(self.instruments)

    @cached_property
    def index(self) -> dict[Instrument, int]:
        return {instrument: row for row, instrument in enumerate(self.instruments)}

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """A name for each instrument, no two alike: where a day has two settlements, or a ticker
        two multipliers, the name says which.

        Example:
            >>> morning, close = 1_221_831_000_000_000_000, 1_221_854_400_000_000_000
            >>> table = InstrumentTable.of(
            ...     Instrument("SPX", "C", 1250.0, time, 100.0) for time in (morning, close))
            >>> table.symbols[0]
            'SPX 2008-09-19 1250 C (1250.0, 1221831000000000000, 100.0)'
        """
        count = Counter(instrument.symbol for instrument in self.instruments)
        return tuple(
            i.symbol if count[i.symbol] == 1 else f"{i.symbol} {i.strike, i.expiry, i.multiplier}"
            for i in self.instruments
        )

    @cached_property
    def underlyings(self) -> tuple[str, ...]:
        """Tickers in sorted order, (U,)."""
        return tuple(sorted({instrument.underlying for instrument in self.instruments}))

    @cached_property
    def underlying_index(self) -> NDArray[np.int64]:
        """Row of each instrument's ticker in `underlyings`, (n,)."""
        rows = {ticker: u for u, ticker in enumerate(self.underlyings)}
        return np.array([rows[i.underlying] for i in self.instruments], dtype=np.int64)

    @cached_property
    def kind(self) -> NDArray[np.int64]:
        """+1 call, -1 put, 0 the underlying itself, (n,)."""
        sign = {"": 0, "C": 1, "P": -1}
        return np.array([sign[i.right] for i in self.instruments], dtype=np.int64)

    @cached_property
    def strike(self) -> NDArray[np.float64]:
        return np.array([i.strike for i in self.instruments], dtype=np.float64)

    @cached_property
    def expiry(self) -> NDArray[np.int64]:
        return np.array([i.expiry for i in self.instruments], dtype=np.int64)

    @cached_property
    def multiplier(self) -> NDArray[np.float64]:
        return np.array([i.multiplier for i in self.instruments], dtype=np.float64)
