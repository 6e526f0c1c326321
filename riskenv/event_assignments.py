"""Short calls that may be assigned before a share goes ex dividend.

Who holds an American call gets the dividend only by exercising before the ex date, and gives up the
call's time value for it: so a call in the money whose time value is not above the dividend will be
exercised (Hull, "Options, Futures, and Other Derivatives", the section on American calls on
dividend-paying stocks), and who is short of it delivers the shares and owes the dividend.
"""

from __future__ import annotations

import numpy as np

from riskenv.event_values import words_of
from riskenv.event_window import EventWindow
from riskenv.market import Market
from riskenv.portfolio import Portfolio
from riskenv.quote_quality import DIVIDENDS, SPOT
from riskenv.reasons import Reason


def assignment_risks(
    portfolio: Portfolio, market: Market, window: EventWindow
) -> tuple[Reason, ...]:
    """A reason "assignment_risk" for each short American call in the money that outlives an
    ex-dividend date ahead, unless its time value is known to be above the dividends to come.

    The dividends are those of `Market.dividends`; where none are given, or there is no quote, what
    is not known is no comfort.

    Example:
        >>> from riskenv import Event, Instrument, InstrumentTable
        >>> day = 86_400 * 10**9
        >>> call = Instrument("KO", "C", 50.0, 30 * day, 100.0, exercise="american")
        >>> table = InstrumentTable.of([call])
        >>> market = Market(0, table, np.array([60.0]), 0.02, np.zeros(1), np.array([10.0]),
        ...                 np.array([10.4]), np.array([0.2]), dividends=np.array([0.46]))
        >>> book = Portfolio.of(table, {call: -3.0}, 0.0)
        >>> window = EventWindow(upcoming=(Event("ex_dividend", 2 * day, 0, symbol="KO"),))
        >>> print(assignment_risks(book, market, window)[0].words)
        KO 1970-01-31 50 C: 3 short may be assigned before ex_dividend of KO at \
1970-01-03T00:00:00Z: time value 0.2, dividends 0.46
    """
    table, found = portfolio.table, []
    short = table.american & (table.kind > 0) & (portfolio.quantity < 0.0)
    if not short.any():
        return ()
    intrinsic = market.tickers[SPOT][table.underlying_index] - table.strike
    time_value = market.mid - intrinsic
    dividends = market.columns[DIVIDENDS]
    kept = (dividends > 0.0) & (time_value > dividends)
    for event in window.ex_dividends:
        for i in np.flatnonzero(short & ~(intrinsic <= 0.0) & ~kept & (table.expiry > event.time)):
            ticker = table.underlyings[table.underlying_index[i]]
            if not window.touches(event.symbol, event.sector, ticker):
                continue
            found.append(Reason.of(
                "assignment_risk", table.symbols[i], contract=table.symbols[i],
                contracts=-portfolio.quantity[i], event=words_of(event),
                time_value=time_value[i], dividends=dividends[i],
            ))  # fmt: skip
    return tuple(found)
