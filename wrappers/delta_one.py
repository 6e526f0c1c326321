"""Tables, markets and calendars of shares: the options layer around an env that trades none."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riskenv.instruments import Instrument, InstrumentTable
from riskenv.market import Market
from riskenv.sessions import Sessions


def delta_one_table(*tickers: str, currency: str = "USD") -> InstrumentTable:
    """The shares (coins, units of an index) themselves, in canonical order.

    Example:
        >>> [instrument.symbol for instrument in delta_one_table("QQQ", "AAPL").instruments]
        ['AAPL', 'QQQ']
    """
    return InstrumentTable.of(Instrument(ticker, currency=currency) for ticker in tickers)


def delta_one_market(
    table: InstrumentTable,
    now: int,
    spot: ArrayLike,
    half_spread: ArrayLike,
    rate: float = 0.0,
) -> Market:
    """The market of a table of shares, from the prices that an env shows.

    Args:
        table: underlyings alone.
        now: int64 nanoseconds UTC.
        spot: (n,) prices, in the order of the table.
        half_spread: cost of crossing per share in currency, one number or (n,). An env seldom
            shows it, and without one every trade would look free: there is no default.
        rate: continuous, per year.

    Raises:
        ValueError: the table holds an option, or a shape does not match.

    Example:
        >>> market = delta_one_market(delta_one_table("SPY"), 0, [400.0], half_spread=0.02)
        >>> float(market.bid[0]), float(market.ask[0])
        (399.98, 400.02)
    """
    options = [i.symbol for i in table.instruments if i.is_option]
    if options:
        raise ValueError(f"table: got {options[0]}; allowed: underlyings alone")
    price = np.asarray(spot, dtype=np.float64)
    n = len(table)
    if price.shape != (n,):
        raise ValueError(f"spot: got shape {price.shape}; allowed: ({n},)")
    half = np.broadcast_to(np.asarray(half_spread, dtype=np.float64), (n,))
    return Market(
        now=int(now),
        table=table,
        spot=price,
        rate=rate,
        dividend_yield=np.zeros(n),
        bid=price - half,
        ask=price + half,
        vol=np.zeros(n),
    )


def bar_sessions(times: Any) -> Sessions:
    """A calendar in which every bar of a price history is one session, and closes at its time.

    For envs that replay bars of no exchange in particular. A session opens where the one before
    closed; the first is as long as the second. Past the last bar nothing is known, so that limits
    which look ahead (VaR over 5 sessions, events) want more bars than the env plays.

    Args:
        times: (D,) increasing times with D >= 2: datetime64, or int64 nanoseconds UTC.

    Example:
        >>> bar_sessions(np.array(["2020-01-02", "2020-01-03"], dtype="datetime64[D]")).opens
        array([1577836800000000000, 1577923200000000000])
    """
    given = np.asarray(times)
    if given.dtype.kind == "M":
        given = given.astype("datetime64[ns]")
    closes: NDArray[np.int64] = given.astype(np.int64)
    if closes.ndim != 1 or len(closes) < 2:
        raise ValueError(f"times: got shape {closes.shape}; allowed: (D,) with D >= 2")
    opens = np.concatenate([[2 * closes[0] - closes[1]], closes[:-1]])
    return Sessions(opens, closes)
