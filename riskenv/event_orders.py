"""Working orders that an event makes unwise: those that would enter what it blocks, and those that
hold up what is to be closed before it.

The layer sees that an order rests in a book somewhere, and neither its limit nor when it fills: it
counts every fill against the caps, cancels nothing itself, and says which orders to cancel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from riskenv.event_trades import only_closes
from riskenv.event_window import EventWindow
from riskenv.portfolio import Portfolio
from riskenv.reasons import Reason


def orders_to_cancel(
    portfolio: Portfolio,
    window: EventWindow,
    entry_blocked: NDArray[np.bool_],
    held_up: NDArray[np.float64],
) -> tuple[Reason, ...]:
    """A reason to cancel an order, for each ticker: "event_order_enters", then
    "event_order_holds_up", in order of `Portfolio.working`.

    An order enters if, after what the other orders may close, some leg of it does not merely
    close a position, or takes cover from a short. A hedge at work is such an order too: whether it
    fills before the event is not known, so the word is the trader's.

    Args:
        entry_blocked: (n,) instruments whose entries an event blocks.
        held_up: (n,) contracts due that orders may close already (`riskenv.event_reductions`).

    Example:
        >>> from riskenv import Event, EventRule, Instrument, InstrumentTable
        >>> from riskenv.event_values import ActiveRule
        >>> share = Instrument("AAPL")
        >>> table, working = InstrumentTable.of([share]), [{share: -5.0}, {share: 2.0}]
        >>> book = Portfolio.of(table, {share: 8.0}, 0.0, working=working)
        >>> rule = EventRule(event_type="earnings", sessions_before=1, action="flatten")
        >>> event = Event("earnings", 86_400 * 10**9, 0, symbol="AAPL")
        >>> window = EventWindow((ActiveRule(event, rule, 0, 0.0),))
        >>> for why in orders_to_cancel(book, window, np.array([True]), np.array([5.0])):
        ...     print(why.code, "|", why.words)
        event_order_holds_up | working[0] (-5 AAPL): cancel it, it holds up the closing of 5 \
contracts of AAPL before earnings of AAPL at 1970-01-02T00:00:00Z
        event_order_enters | working[1] (+2 AAPL): cancel it, it would enter AAPL, which is \
blocked by earnings of AAPL at 1970-01-02T00:00:00Z
    """
    if portfolio.working is None or not (entry_blocked.any() or held_up.any()):
        return ()
    orders, of = portfolio.orders, portfolio.table.underlying_index
    sold, bought = np.minimum(orders, 0.0), np.maximum(orders, 0.0)
    found = []
    for k, order in enumerate(orders):
        others = np.stack([np.delete(some, k, axis=0).sum(axis=0) for some in (sold, bought)])
        entering = np.where(entry_blocked, order, 0.0)
        if only_closes(portfolio, others, entering[None])[0]:
            entering[:] = 0.0
        holding = (held_up > 0.0) & (order * portfolio.quantity < 0.0)
        for code, legs, why in (
            ("event_order_enters", entering != 0.0, window.blockers),
            ("event_order_holds_up", holding, window.deadlines),
        ):
            for u in np.unique(of[legs]):
                name, symbol = _name(portfolio, k), portfolio.table.underlyings[u]
                contracts = float(np.cumsum(held_up[legs & (of == u)])[-1])
                event = ", ".join(why(symbol))
                found.append(
                    Reason.of(
                        code, name, order=name, symbol=symbol, contracts=contracts, event=event
                    )
                )
    return tuple(found)


def _name(portfolio: Portfolio, k: int) -> str:
    """An order by its place and its legs."""
    legs = portfolio.orders[k]
    words = (f"{legs[i]:+g} {portfolio.table.symbols[i]}" for i in np.flatnonzero(legs))
    return f"working[{k}] ({', '.join(words)})"
