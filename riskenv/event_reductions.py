"""Sizes due before an event: what was held before the first step, and what has to be closed by now.

A share of a size that is due is a share of the size before the first step, so that size is
remembered from the first assessment at which a share is due until none is: 0.75, then 0.5, of the
same whole, however often the book is looked at. Events that overlap share that whole: half before
each of two of them is half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from riskenv.instruments import Instrument
from riskenv.portfolio import Portfolio

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SizeBefore:
    """A position when its size first fell due, or when it was first seen after that: contracts
    (without sign) of an instrument.

    Raises:
        ValueError: not a finite number above 0.
    """

    instrument: Instrument
    contracts: float

    def __post_init__(self) -> None:
        if not 0.0 < self.contracts < np.inf:
            raise ValueError(f"contracts: got {self.contracts!r}; allowed: a number above 0")


def sizes_before(
    kept: Sequence[SizeBefore], shares: FloatArray, portfolio: Portfolio
) -> tuple[SizeBefore, ...]:
    """The sizes to go on with: of tickers of which a share is due, the others forgotten.

    A position that is new meanwhile (a hedge, shares from an exercise) counts from when it is
    first seen. A ticker that is not in the table is forgotten with what was held of it.

    Args:
        shares: (U,) share due of each ticker's size (`EventWindow.size_fractions`); 1 = none is.

    Example:
        >>> from riskenv.instruments import InstrumentTable
        >>> share = Instrument("AAPL")
        >>> table = InstrumentTable.of([share])
        >>> first = sizes_before((), np.array([0.75]), Portfolio.of(table, {share: -8.0}, 0.0))
        >>> later = sizes_before(first, np.array([0.5]), Portfolio.of(table, {share: -6.0}, 0.0))
        >>> later[0].contracts, sizes_before(later, np.array([1.0]), Portfolio.of(table, {}, 0.0))
        (8.0, ())
    """
    if not (shares < 1.0).any():
        return ()
    table = portfolio.table
    tickers = {t for t, share in zip(table.underlyings, shares, strict=True) if share < 1.0}
    sizes = {s.instrument: s for s in kept if s.instrument.underlying in tickers}
    for i in np.flatnonzero(portfolio.quantity):
        instrument = table.instruments[i]
        if instrument.underlying in tickers and instrument not in sizes:
            sizes[instrument] = SizeBefore(instrument, abs(float(portfolio.quantity[i])))
    return tuple(sorted(sizes.values(), key=lambda s: s.instrument.sort_key))


def least_lots(sizes: Sequence[SizeBefore], shares: FloatArray, portfolio: Portfolio) -> FloatArray:
    """(n,) contracts of each position to be closed by now at least, 0 where none is due.

    What may stay is the share due of the size before, in whole lots rounded down; parts of a lot
    may go with the whole. What working orders may close already is not there to be closed.

    Args:
        sizes: from `sizes_before` of this very book.
        shares: (U,) as there.

    Example:
        >>> from riskenv.instruments import InstrumentTable
        >>> share = Instrument("AAPL")
        >>> book = Portfolio.of(InstrumentTable.of([share]), {share: -7.0}, 0.0)
        >>> before = (SizeBefore(share, 9.0),)
        >>> [least_lots(before, np.array([s]), book).tolist() for s in (0.75, 0.5, 0.0)]
        [[1.0], [3.0], [7.0]]
    """
    table, quantity = portfolio.table, portfolio.quantity
    least = np.zeros(len(table))
    if not sizes:
        return least
    for before in sizes:
        i = table.index.get(before.instrument)
        if i is None:
            continue
        held = abs(float(quantity[i]))
        left = shares[table.underlying_index[i]] * before.contracts
        # The nudge keeps 0.1 * 30, which is a hair above 3, from leaving 3.0000000000000004 less.
        least[i] = min(max(np.ceil(held - left - 1e-9 * before.contracts), 0.0), held)
    if portfolio.working is not None:
        sold = np.minimum(portfolio.working, 0.0).sum(axis=0)
        bought = np.maximum(portfolio.working, 0.0).sum(axis=0)
        free = np.where(quantity > 0.0, quantity + sold, -(quantity + bought))
        least = np.minimum(least, np.maximum(free, 0.0))
    return least
