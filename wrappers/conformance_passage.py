"""One step of an env as its account shows it: what was held, what was asked, what changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from riskenv.instruments import NS_PER_YEAR, Instrument
from riskenv.market import Market
from riskenv.portfolio import Portfolio

Book = Mapping[Instrument, float]

# What counts as the same number of contracts, as a share of what is held or traded of it: envs add
# lots up in floating point, and a lot may be a share or a hundred-thousandth of a coin.
SAME = 1e-8


@dataclass(frozen=True, eq=False)
class Passage:
    """One step of the env as the layer drove it: before, asked, after.

    Attributes:
        before, market: the book and the market of the decision.
        expected: the previewed trades; None where they could not be known.
        after, next_market: the book and the market that followed.
    """

    before: Portfolio
    market: Market
    expected: Book | None
    after: Portfolio
    next_market: Market

    @cached_property
    def changes(self) -> tuple[Book, Book, Book]:
        """(traded, previewed, the first less the second), rounding left out."""
        before, after, expected = holdings(self.before), holdings(self.after), self.expected or {}
        size = sizes(before, after, expected)
        moved, asked = difference(after, before, size), difference(expected, {}, size)
        return moved, asked, difference(moved, asked, size)

    @property
    def years(self) -> float:
        """How long the step takes."""
        return (self.next_market.now - self.market.now) / NS_PER_YEAR


def holdings(portfolio: Portfolio) -> dict[Instrument, float]:
    """Contract -> signed contracts, of what is held.

    Example:
        >>> from riskenv.instruments import InstrumentTable
        >>> spy = Instrument("SPY")
        >>> table = InstrumentTable.of([spy, Instrument("QQQ")])
        >>> {i.symbol: q for i, q in holdings(Portfolio.of(table, {spy: 3.0}, 0.0)).items()}
        {'SPY': 3.0}
    """
    rows = np.flatnonzero(portfolio.quantity)
    return {portfolio.table.instruments[r]: float(portfolio.quantity[r]) for r in rows}


def difference(book: Book, other: Book, size: Book | None = None) -> dict[Instrument, float]:
    """`book` less `other`, what is the same but for rounding left out.

    Args:
        size: what rounding is judged by, of each contract; by default the larger of the two.

    Example:
        >>> spy, qqq = Instrument("SPY"), Instrument("QQQ")
        >>> left = difference({spy: 3.0, qqq: 1e-5}, {spy: 3.0 + 1e-12})
        >>> {i.symbol: q for i, q in left.items()}
        {'QQQ': 1e-05}
    """
    size = sizes(book, other) if size is None else size
    left = {i: book.get(i, 0.0) - other.get(i, 0.0) for i in dict.fromkeys([*book, *other])}
    return {i: q for i, q in left.items() if not abs(q) <= SAME * size[i]}


def sizes(*books: Book) -> dict[Instrument, float]:
    keys = dict.fromkeys(i for book in books for i in book)
    return {i: max(abs(book.get(i, 0.0)) for book in books) for i in keys}
