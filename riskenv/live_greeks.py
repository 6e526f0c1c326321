"""Portfolio Greeks in real time: a tick renews what depends on the ticker that moved, and no more.

The numbers are those of `riskenv.portfolio_greeks.aggregate_greeks` to the bit, because the
exposures of a ticker's instruments depend on that ticker's quotes alone, and the book's sums run
within each ticker before they run over tickers. Time moves by `advance`, which renews everything,
and takes the level of the index, rates and dividends: between two calls these stand still, and
theta and charm have not been at work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riskenv.exposures import ExposureRows
from riskenv.market import FEED, Market
from riskenv.measures import LINEAR
from riskenv.portfolio import Portfolio
from riskenv.portfolio_greeks import PortfolioGreeks, renew_sums, sum_exposures
from riskenv.quote_quality import BID, DIVIDENDS, NO_TIME, SPOT, VOL
from riskenv.quote_vols import implied_vols

FloatArray = NDArray[np.float64]

# What changes more slowly than a quote.
_BETWEEN_TICKS = frozenset(
    ("beta", "beta_as_of", "dividend_yield", "dividends", "fx", "index_spot", "rate")
)


@dataclass(frozen=True, eq=False, slots=True)
class Quotes:
    """New quotes of a ticker and of every instrument on it.

    Attributes:
        underlying: the ticker.
        spot: its price.
        bid, ask, vol: (k,) in the order that its k instruments have in the table; a NaN volatility
            of an option is solved for, at this tick and whenever time advances.
        time: int64 nanoseconds UTC of the quotes.
        feed: (k, 5) Greeks from a feed at these quotes, as in `Market.feed`; None = all are
            computed. What the feed said at the tick before is not used again.
    """

    underlying: str
    spot: float
    bid: ArrayLike
    ask: ArrayLike
    vol: ArrayLike
    time: int = NO_TIME
    feed: ArrayLike | None = None


class LiveGreeks:
    """The Greeks of a book whose market ticks.

    Args:
        portfolio: the book; `hold` changes it.
        market: quotes of everything, to start from.

    Raises:
        ValueError: the book and the market are not over the same instrument table.

    Example:
        >>> from riskenv import Instrument, InstrumentTable
        >>> spy, qqq = Instrument("SPY"), Instrument("QQQ")
        >>> table = InstrumentTable.of([spy, qqq])
        >>> price, none = np.array([300.0, 400.0]), np.zeros(2)
        >>> market = Market(0, table, price, 0.02, none, price - 0.01, price + 0.01, none)
        >>> live = LiveGreeks(Portfolio.of(table, {spy: 10.0, qqq: -5.0}, cash=0.0), market)
        >>> total = live.update(Quotes("SPY", 410.0, [409.9], [410.1], [np.nan]))
        >>> dict(zip(LINEAR, total.tolist()))["dollar_delta"]
        2600.0
    """

    def __init__(self, portfolio: Portfolio, market: Market) -> None:
        if portfolio.table is not market.table:
            raise ValueError("portfolio, market: must be over the same InstrumentTable object")
        table = market.table
        # A market of our own, whose arrays are written to; what is handed out is a copy.
        self._market = replace(market)
        self._portfolio = portfolio
        ends = np.searchsorted(table.underlying_index, np.arange(len(table.underlyings) + 1))
        self._rows_of = {
            ticker: (u, int(ends[u]), int(ends[u + 1]))
            for u, ticker in enumerate(table.underlyings)
        }
        # Options whose volatility is solved for, at every tick.
        self._solve = np.isnan(market.vol) & (table.kind != 0)
        self._rows = ExposureRows(len(table))
        self._net = np.zeros((len(table.underlyings), len(LINEAR)))
        self._gross = np.zeros_like(self._net)
        self._total = np.empty(len(LINEAR))
        self._renew_all()

    def update(self, quotes: Quotes) -> FloatArray:
        """Take in a tick; returns the book's net exposures, (11,) in the order of `LINEAR`.

        A quote that cannot be trusted is no error: it makes its instrument Unknown, and so the
        sums of a book that holds it NaN; `greeks()` has the reasons and the bounds.

        Raises:
            ValueError: a ticker that the table lacks, or a wrong number of quotes; nothing has
                changed then, nor where a spot or a time is no number at all.
        """
        where = self._rows_of.get(quotes.underlying)
        if where is None:
            raise ValueError(
                f"underlying: got {quotes.underlying!r}; allowed: a ticker of the table"
            )
        u, start, stop = where
        market = self._market
        fresh = np.array((quotes.bid, quotes.ask, quotes.vol), dtype=np.float64)
        if fresh.shape != (3, stop - start):
            raise ValueError(
                f"bid, ask, vol: got shape {fresh.shape[1:]}; allowed: ({stop - start},), one for "
                f"each instrument on {quotes.underlying}"
            )
        allowed = (stop - start, len(FEED)) if len(market.feed) else "None, as the market has none"
        given = None if quotes.feed is None else np.array(quotes.feed, dtype=np.float64)
        if given is not None and given.shape != allowed:
            raise ValueError(f"feed: got shape {given.shape}; allowed: {allowed}")
        spot, time = float(quotes.spot), np.int64(quotes.time)
        # All that can be refused was, before anything is written.
        market.columns[BID : VOL + 1, start:stop] = fresh
        market.tickers[SPOT, u] = spot
        times: tuple[Any, Any] = (market.quote_time, market.spot_time)  # arrays, once in a Market
        times[0][start:stop] = time
        times[1][u] = time
        if len(market.feed):
            market.feed[start:stop] = np.nan if given is None else given
        self._solve[start:stop] = np.isnan(fresh[2]) & (market.table.kind[start:stop] != 0)
        self._renew(u, start, stop)
        return self._total.copy()

    def advance(self, now: int, **changes: Any) -> FloatArray:
        """Let time pass to `now`, with the quotes as they are; returns as `update` does.

        Args:
            changes: fields of `Market` that a tick does not bring: index_spot, rate,
                dividend_yield, dividends, beta, beta_as_of, fx. The present value of dividends
                changes as time passes, so where there are any they must be given.

        Raises:
            ValueError: time would go back, or the dividends are not given anew.
        """
        if now < self._market.now:
            raise ValueError(f"now: got {now}; allowed: at or after {self._market.now}")
        odd = sorted(set(changes) - _BETWEEN_TICKS)
        if odd:
            raise ValueError(f"{odd[0]}: not changed here; allowed: {', '.join(_BETWEEN_TICKS)}")
        owed = now > self._market.now and self._market.columns[DIVIDENDS].any()
        if owed and "dividends" not in changes:
            raise ValueError(
                "dividends: got none; allowed: their present value as of the new time "
                "(riskenv.escrowed_value)"
            )
        self._market = replace(self._market, now=now, **changes)
        self._renew_all()
        return self._total.copy()

    def hold(self, portfolio: Portfolio) -> FloatArray:
        """Take another book over the same table, as after a fill; returns as `update` does.

        Raises:
            ValueError: the book is over another table.
        """
        if portfolio.table is not self._market.table:
            raise ValueError("portfolio: must be over the same InstrumentTable object")
        self._portfolio = portfolio
        for u, start, stop in self._rows_of.values():
            self._sum(u, start, stop)
        return self._total.copy()

    def greeks(self) -> PortfolioGreeks:
        """All there is to know, as of now; what comes later does not change it."""
        rows = ExposureRows(len(self._market.table))
        rows.X[:], rows.code[:], rows.quoted[:] = self._rows.X, self._rows.code, self._rows.quoted
        return sum_exposures(self._portfolio, replace(self._market), rows)

    def _renew_all(self) -> None:
        for where in self._rows_of.values():
            self._renew(*where)

    def _renew(self, u: int, start: int, stop: int) -> None:
        market, wanting = self._market, self._solve[start:stop]
        if wanting.any():
            solved = implied_vols(market, start, stop).vol
            market.vol[start:stop][wanting] = solved[wanting]
        self._rows.write(market, start, stop)
        self._sum(u, start, stop)

    def _sum(self, u: int, start: int, stop: int) -> None:
        table = self._market.table
        renew_sums(
            self._portfolio.quantity, self._rows.X, table.own_rows, table.underlying_index, u,
            start, stop, self._net, self._gross, self._total,
        )  # fmt: skip
