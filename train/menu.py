"""The menu of the `discrete` convention: option structures, the delta hedge, and ways out.

A menu entry is either *static*, a fixed number of lots in the day's slots, or *dynamic*, a
function of what is held. Static entries are rows of one matrix per day (in lots of one), so that
previewing all of them is a multiplication.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SLOTS_PER_EXPIRY = 6
SLOTS_PER_UNDERLYING = 2 * SLOTS_PER_EXPIRY

# Places in the near expiry, in the order of the slots: three puts from far out of the money to
# at the money, then three calls from at the money to far out of the money.
WING_PUT, OTM_PUT, ATM_PUT, ATM_CALL, OTM_CALL, WING_CALL = range(SLOTS_PER_EXPIRY)

# Structure -> its legs as (slot, lots) for one unit of the menu.
STRUCTURES: dict[str, tuple[tuple[int, float], ...]] = {
    "sell_strangle": ((OTM_PUT, -1.0), (OTM_CALL, -1.0)),
    "buy_strangle": ((OTM_PUT, 1.0), (OTM_CALL, 1.0)),
    "sell_straddle": ((ATM_PUT, -1.0), (ATM_CALL, -1.0)),
    "buy_straddle": ((ATM_PUT, 1.0), (ATM_CALL, 1.0)),
    "buy_put_spread": ((ATM_PUT, 1.0), (WING_PUT, -1.0)),
    "sell_put_spread": ((ATM_PUT, -1.0), (WING_PUT, 1.0)),
}
DYNAMIC = ("delta_hedge", "close_half", "close_all")
# Row that closes positions -> the fraction of each that it closes.
CLOSING = {"close_half": 0.5, "close_all": 1.0, "close_everything": 1.0}

HOLD = 0


@dataclass(frozen=True)
class Entry:
    """One row of the menu.

    Attributes:
        name: such as "sell_strangle SPX"; "hold" and "close_everything" name no ticker.
        kind: a structure's name, or one of "hold", "delta_hedge", "close_half", "close_all",
            "close_everything".
        underlying: index of the ticker in the market's order; -1 where the row names none.
    """

    name: str
    kind: str
    underlying: int

    @property
    def is_static(self) -> bool:
        return self.kind == "hold" or self.kind in STRUCTURES


def menu_of(underlyings: tuple[str, ...]) -> tuple[Entry, ...]:
    """The menu for these tickers: hold, nine rows for each ticker, close everything.

    Example:
        >>> [entry.name for entry in menu_of(("SPX",))]  # doctest: +NORMALIZE_WHITESPACE
        ['hold', 'sell_strangle SPX', 'buy_strangle SPX', 'sell_straddle SPX', 'buy_straddle SPX',
         'buy_put_spread SPX', 'sell_put_spread SPX', 'delta_hedge SPX', 'close_half SPX',
         'close_all SPX', 'close_everything']
    """
    rows = [Entry("hold", "hold", -1)]
    for u, ticker in enumerate(underlyings):
        rows += [Entry(f"{kind} {ticker}", kind, u) for kind in (*STRUCTURES, *DYNAMIC)]
    rows.append(Entry("close_everything", "close_everything", -1))
    return tuple(rows)


def unit_trades(
    menu: tuple[Entry, ...], slot_rows: NDArray[np.int64], n: int
) -> NDArray[np.float64]:
    """(A, n) lots that each row trades with a menu size of one; dynamic rows are zero.

    Args:
        menu: A rows, from `menu_of`.
        slot_rows: (U * 12,) column of each slot's contract. Two slots may share a contract, and
            then their lots add.
        n: number of columns.
    """
    trades = np.zeros((len(menu), n))
    for row, entry in enumerate(menu):
        for slot, lots in STRUCTURES.get(entry.kind, ()):
            trades[row, slot_rows[entry.underlying * SLOTS_PER_UNDERLYING + slot]] += lots
    return trades


def closing_trades(
    quantity: NDArray[np.float64], fraction: NDArray[np.float64] | float, whole: bool
) -> NDArray[np.float64]:
    """(n,) trades that close a fraction of each position.

    Args:
        quantity: (n,) signed contracts held.
        fraction: in [0, 1], for all or for each position.
        whole: round to whole contracts (half to even, as `np.rint`); closing all of a position
            closes it exactly either way.

    Example:
        >>> closing_trades(np.array([5.0, -3.0, 0.0]), 0.5, whole=True).tolist()
        [-2.0, 2.0, 0.0]
        >>> closing_trades(np.array([2.5, -3.0]), 0.5, whole=False).tolist()
        [-1.25, 1.5]
    """
    part = fraction * quantity
    # Adding 0.0 turns the -0.0 of an untouched position into 0.0: equal trades, equal bytes.
    return (0.0 - np.rint(part)) + 0.0 if whole else (0.0 - part) + 0.0


def hedge_shares(delta: float) -> float:
    """The whole number of shares whose trade brings a delta (in shares) nearest to zero.

    Example:
        >>> hedge_shares(-42.7), hedge_shares(0.2)
        (43.0, 0.0)
    """
    return float(0.0 - np.rint(delta)) + 0.0
