"""Proposals: what was asked for, beside everything that may be done instead.

The layer never invents a trade that the other side cannot express. It is handed the asked-for
trade together with the trades that could replace it, and chooses one of them: a menu's other
rows, a continuous action scaled down towards hold, reductions that come first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from riskenv.arguments import WHOLE_NUMBER, require
from riskenv.market import Market
from riskenv.order_checks import Order

FloatArray = NDArray[np.float64]

# Shares of a held position that a reduction may close.
CLOSE_FRACTIONS = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, eq=False)
class Proposal:
    """A asked-for trade among A that could be done.

    Attributes:
        trades: (A, n) signed contracts, in the order of the market's table.
        asked: row that was asked for.
        forced: (A, n) the part of each row that is a reduction put before the rest; None = none.
        strategy: the tag that the trades belong to; "" = none.
        order: what the asked row would be sent as, which then has to keep to `OrderLimits`; None =
            the trades are no order. Of such a proposal one row is empty, each row is in the
            order's instrument alone, or wholly a reduction (`forced`), and the tag is the order's.

    Raises:
        TypeError: `asked` is no whole number, the strategy no text, or the order none.
        ValueError: shapes that do not match, `asked` outside the rows, or an order that is not
            what the asked row says.

    A row that is not finite is no error: it fails every cap.
    """

    trades: FloatArray
    asked: int = 0
    forced: FloatArray | None = None
    strategy: str = ""
    order: Order | None = None

    def __post_init__(self) -> None:
        require(WHOLE_NUMBER, asked=self.asked)
        require(str, strategy=self.strategy)
        require((Order, type(None)), order=self.order)
        trades = np.array(self.trades, dtype=np.float64)
        if trades.ndim != 2 or not len(trades):
            raise ValueError(f"trades: got shape {trades.shape}; allowed: (A, n) with A >= 1")
        if not 0 <= self.asked < len(trades):
            raise ValueError(f"asked: got {self.asked}; allowed: 0 to {len(trades) - 1}")
        object.__setattr__(self, "trades", trades)
        if self.forced is not None:
            forced = np.array(self.forced, dtype=np.float64)
            if forced.shape != trades.shape:
                raise ValueError(f"forced: got shape {forced.shape}; allowed: {trades.shape}")
            object.__setattr__(self, "forced", forced)
        if self.order is not None:
            object.__setattr__(self, "order", self._checked(self.order))

    def _checked(self, order: Order) -> Order:
        """The order, its numbers as Python's floats."""
        try:
            price = None if order.limit_price is None else float(order.limit_price)
            order = replace(order, lots=float(order.lots), limit_price=price)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(
                f"order: got lots {order.lots!r}, limit_price {order.limit_price!r}; "
                "allowed: numbers"
            ) from None
        asked = self.trades[self.asked]
        (columns,) = np.nonzero(asked)
        if len(columns) != 1 or not np.array_equal(asked[columns], [order.lots], equal_nan=True):
            raise ValueError(
                f"order: got {order.lots:g} lots; allowed: the asked row's, which is "
                f"{asked.tolist()}, in one instrument"
            )
        if order.strategy != self.strategy:
            raise ValueError(
                f"order.strategy: got {order.strategy!r}; allowed: the proposal's {self.strategy!r}"
            )
        others = np.delete(self.trades, columns, axis=1).any(axis=1)
        if self.forced is not None:
            with_it = self.forced.any(axis=1)
            others = np.where(with_it, (self.trades != self.forced).any(axis=1), others)
        if others.any():
            raise ValueError(
                f"trades: got row {int(np.argmax(others))} beside an order; allowed: rows in its "
                "instrument alone, or wholly forced"
            )
        if self.trades.any(axis=1).all():
            raise ValueError("trades: got no empty row beside an order, which may be denied")
        return order


def radial(trades: FloatArray) -> FloatArray:
    """(K, n) the trade and every smaller whole-lot version of it, largest first, nothing last.

    Scaling towards hold by s in [0, 1] and cutting each leg to whole lots changes only where
    s times a leg's size crosses a whole number; those are the rows. A trade of more than 200 lots
    in its largest leg is cut at 200 evenly spaced scales.

    Example:
        >>> radial(np.array([2.0, -1.0, 0.0])).tolist()
        [[2.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    size = np.abs(trades)
    if not np.isfinite(size).all():
        return np.stack([trades, np.zeros_like(trades)])
    largest = float(size.max(initial=0.0))
    legs = size[size > 0.0]
    steps = np.arange(1.0, min(largest, 200.0) + 1.0)
    exact = len(legs) <= 8 and largest <= 200.0
    scales = (steps[None, :] / legs[:, None]).ravel() if exact else steps / len(steps)
    scales = np.unique(scales[scales < 1.0])[::-1]
    # The nudge keeps s * leg from falling just below the whole number it was built from.
    cut = np.trunc(scales[:, None] * trades[None, :] * (1.0 + 1e-12)) + 0.0  # no -0.0
    rows = [trades, *cut, np.zeros_like(trades)]
    keep = [row for k, row in enumerate(rows) if k == 0 or not np.array_equal(row, rows[k - 1])]
    return np.stack(keep)


def closing_trades(closable: FloatArray, market: Market) -> FloatArray:
    """(R, n) reductions of a book in whole lots: a quarter, half, three quarters or all of
    everything, of each ticker's positions, and of each position by itself.

    Parts of a lot are rounded up, so that a quarter of one lot closes it.

    Args:
        closable: (n,) signed contracts that may be closed (`Portfolio.closable`).
    """
    quantity = closable
    groups: list[NDArray[np.bool_]] = [np.ones(len(quantity), dtype=bool)]
    groups += [market.table.underlying_index == u for u in range(len(market.table.underlyings))]
    groups += [np.arange(len(quantity)) == row for row in np.flatnonzero(quantity)]
    rows = []
    for group in groups:
        for fraction in CLOSE_FRACTIONS:
            held = np.where(group, quantity, 0.0)
            lots = np.minimum(np.ceil(fraction * np.abs(held)), np.abs(held))
            rows.append(0.0 - np.sign(held) * lots)  # no -0.0
    return np.stack(rows)
