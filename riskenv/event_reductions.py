"""Sizes due before an event: what was held before the first step, and what has to be closed by now.

A share of a size that is due is a share of the size before the first step, so that size is
remembered from the first assessment at which a share is due until none is: 0.75, then 0.5, of the
same whole, however often the book is looked at. Events that overlap share that whole: half before
each of two of them is half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from riskenv.compilation import jit
from riskenv.instruments import Instrument, InstrumentTable
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


class SizesDue:
    """What has to be closed by now, and the sizes that this is counted from.

    What was looked up for one table and one set of sizes is kept for the next call; no answer
    depends on it.

    Example:
        >>> from riskenv.instruments import InstrumentTable
        >>> share = Instrument("AAPL")
        >>> table = InstrumentTable.of([share])
        >>> nine, six = (Portfolio.of(table, {share: -lots}, 0.0) for lots in (9.0, 6.0))
        >>> sizes_due = SizesDue()
        >>> sizes, least, _ = sizes_due((), np.array([0.75]), nine)
        >>> sizes[0].contracts, least.tolist()
        (9.0, [3.0])
        >>> sizes, least, _ = sizes_due(sizes, np.array([0.5]), six)
        >>> sizes[0].contracts, least.tolist()
        (9.0, [2.0])
        >>> sizes_due(sizes, np.array([1.0]), six)[0]
        ()
    """

    def __init__(self) -> None:
        self._seen: _Seen | None = None

    def __call__(
        self, sizes: tuple[SizeBefore, ...], shares: FloatArray, portfolio: Portfolio
    ) -> tuple[tuple[SizeBefore, ...], FloatArray, FloatArray]:
        """(the sizes to go on with, (n,) contracts of each position to be closed at least, (n,)
        contracts due besides that working orders hold up).

        What may stay is the share due of the size before, in whole lots rounded down; parts of a
        lot may go with the whole. A position that is new meanwhile (a hedge, shares from an
        exercise) counts from when it is first seen; a ticker of which nothing is due any more, or
        that is not in the table, is forgotten. What working orders may close already is not there
        to be closed.

        Args:
            sizes: from the call before; () at first.
            shares: (U,) share due of each ticker's size (`EventWindow.size_fractions`); 1 = all.
        """
        table, quantity = portfolio.table, portfolio.quantity
        seen = self._seen
        if seen is None or seen.sizes is not sizes or seen.table is not table:
            seen = _Seen.of(sizes, table)
        if (seen.ticker < 0).any() or not (shares[seen.ticker] < 1.0).all():
            known = zip(seen.sizes, seen.ticker, strict=True)
            seen = _Seen.of(tuple(s for s, u in known if u >= 0 and shares[u] < 1.0), table)
        free = np.abs(quantity)
        least, held_up = np.zeros(len(table)), np.zeros(len(table))
        terms = (seen.before, shares, table.underlying_index, quantity, free, least, held_up)
        if portfolio.working is not None:
            sold = np.minimum(portfolio.working, 0.0).sum(axis=0)
            bought = np.maximum(portfolio.working, 0.0).sum(axis=0)
            free[:] = np.where(quantity > 0.0, quantity + sold, -(quantity + bought))
        if _fill_least(*terms):
            seen = seen.joined_by(quantity, shares)
            _fill_least(seen.before, *terms[1:])
        self._seen = seen
        return seen.sizes, least, held_up


@dataclass(frozen=True, eq=False)
class _Seen:
    """Sizes looked up in a table, whose tickers have these rows: (k,) row of the ticker of each,
    -1 where it has none; (n,) size of each instrument, NaN where there is none."""

    sizes: tuple[SizeBefore, ...]
    table: InstrumentTable
    rows: dict[str, int]
    ticker: NDArray[np.int64]
    before: FloatArray

    @classmethod
    def of(cls, sizes: tuple[SizeBefore, ...], table: InstrumentTable) -> _Seen:
        rows = {name: u for u, name in enumerate(table.underlyings)}
        before = np.full(len(table), np.nan)
        for size in sizes:
            i = table.index.get(size.instrument)
            if i is not None:
                before[i] = size.contracts
        return cls(sizes, table, rows, _tickers(sizes, rows), before)

    def joined_by(self, quantity: FloatArray, shares: FloatArray) -> _Seen:
        """With the positions, in tickers of which a share is due, that are not in it yet."""
        table = self.table
        due = (shares < 1.0)[table.underlying_index]
        new = np.flatnonzero(due & (quantity != 0.0) & np.isnan(self.before))
        added = [SizeBefore(table.instruments[i], abs(float(quantity[i]))) for i in new]
        sizes = tuple(sorted((*self.sizes, *added), key=lambda s: s.instrument.sort_key))
        before = self.before.copy()
        before[new] = np.abs(quantity[new])
        return _Seen(sizes, table, self.rows, _tickers(sizes, self.rows), before)


def _tickers(sizes: tuple[SizeBefore, ...], rows: dict[str, int]) -> NDArray[np.int64]:
    return np.array([rows.get(s.instrument.underlying, -1) for s in sizes], dtype=np.int64)


@jit
def _fill_least(before, shares, ticker, quantity, free, least, held_up):  # type: ignore[no-untyped-def]
    """Fill least and held_up (n,); True where a position's size before is not known yet."""
    new = False
    for i in range(quantity.size):
        least[i] = held_up[i] = 0.0
        share = shares[ticker[i]]
        if share >= 1.0 or quantity[i] == 0.0:
            continue
        if before[i] != before[i]:
            new = True
            continue
        # The nudge keeps 0.1 * 30, which is a hair above 3, from asking for a lot more.
        size, nudge = abs(quantity[i]), 1e-9 * before[i]
        lots = min(max(np.ceil(size - share * before[i] - nudge), 0.0), size)
        least[i] = max(min(lots, free[i]), 0.0)
        held_up[i] = lots - least[i]
    return new
