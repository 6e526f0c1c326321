"""What an action of the reference env trades, in the convention that it is written in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from riskenv.train.book import Book
from riskenv.train.contract_keys import underlying_of
from riskenv.train.env_config import EnvConfig
from riskenv.train.listing import DELTA
from riskenv.train.menu import CLOSING, Entry, closing_trades, hedge_shares
from riskenv.train.slot_sizes import SlotSizes

FloatArray = NDArray[np.float64]


class ActionTrades:
    """Gives an action its meaning; the one place that does.

    Args:
        config: of the env, for `menu_lots`.
        menu: the rows that an action chooses from where it is no sizes of slots.
        slot_sizes: how an action writes the sizes of slots; None where it is a row of the menu.

    Attributes:
        whole_lots: whether options trade in whole lots only.
    """

    def __init__(
        self, config: EnvConfig, menu: tuple[Entry, ...], slot_sizes: SlotSizes | None
    ) -> None:
        self.config, self.menu, self.slot_sizes = config, menu, slot_sizes
        self.whole_lots = slot_sizes is not None or float(config.menu_lots).is_integer()

    def trades(self, book: Book, action: Any) -> FloatArray:
        """(n,) the trades of an action, signed contracts in the order of the book's table.

        Raises:
            ValueError: an action outside the space.
        """
        if self.slot_sizes is not None:
            return self._slot_trades(book, *self.slot_sizes.sizes(action))
        row = int(action)
        if not 0 <= row < len(self.menu) or row != action:
            raise ValueError(
                f"action: got {action!r}; allowed: a whole number from 0 to {len(self.menu) - 1}"
            )
        entry = self.menu[row]
        trades = np.zeros(len(book.keys))
        if entry.is_static:
            trades[book.listed_rows] = self.config.menu_lots * book.sheet.unit_menu[row]
            return trades
        fraction = CLOSING.get(entry.kind)
        closing = {} if fraction is None else {fraction: self._closing(book, fraction)}
        self._fill_dynamic(trades, book, entry, closing)
        return trades

    def every_row(self, book: Book) -> FloatArray:
        """(A, n) the trades of every row of the menu, signed contracts."""
        trades = np.zeros((len(self.menu), len(book.keys)))
        trades[:, book.listed_rows] = self.config.menu_lots * book.sheet.unit_menu
        closing = {fraction: self._closing(book, fraction) for fraction in CLOSING.values()}
        for row, entry in enumerate(self.menu):
            if not entry.is_static:
                self._fill_dynamic(trades[row], book, entry, closing)
        return trades

    def _closing(self, book: Book, fraction: float) -> FloatArray:
        """(n,) the trades that close a fraction of every position."""
        trades = closing_trades(book.quantity, fraction, self.whole_lots)
        if not self.whole_lots:  # shares are whole even where lots are not
            shares = book.underlying_rows
            trades[shares] = closing_trades(book.quantity[shares], fraction, True)
        return trades

    @staticmethod
    def _fill_dynamic(
        trades: FloatArray, book: Book, entry: Entry, closing: Mapping[float, FloatArray]
    ) -> None:
        """Put the trades of a row that depends on what is held into zeros."""
        block = slice(None) if entry.underlying < 0 else book.block(entry.underlying)
        fraction = CLOSING.get(entry.kind)
        if fraction is not None:
            trades[block] = closing[fraction][block]
        else:
            delta = float((book.quantity[block] * book.quotes[DELTA, block]).sum())
            trades[block.start] = hedge_shares(delta)

    @staticmethod
    def _slot_trades(
        book: Book, lots: FloatArray, shares: FloatArray, fraction: FloatArray
    ) -> FloatArray:
        # Two slots may be one contract: their lots add.
        trades: FloatArray = np.bincount(
            book.slot_rows, weights=lots, minlength=len(book.keys)
        ).astype(np.float64, copy=False)
        trades[book.underlying_rows] += shares
        if fraction.any():
            by_row = fraction[underlying_of(book.keys)]
            trades = trades + closing_trades(book.quantity, by_row, True)
        return trades + 0.0  # -0.0 becomes 0.0: equal trades, equal bytes
