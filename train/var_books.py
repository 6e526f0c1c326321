"""The option books of the VaR study: what each holds at each close, and what that is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from riskenv.data.market_history import MarketHistory
from riskenv.train.var_config import BookConfig

from riskenv.instruments import NS_PER_DAY, NS_PER_YEAR, Instrument
from riskenv.pricing.black_scholes import european_prices

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Holding:
    """A book from one refill to the next: contracts by instrument, and when the first expires."""

    contracts: dict[Instrument, float]
    expiry: int


def open_book(
    market: MarketHistory, day: int, underlying: int, book: BookConfig, strike_step: float
) -> Holding | None:
    """The book as it is opened at a close, or None where the day has no volatility."""
    now, spot = int(market.sessions.closes[day]), float(market.spot[day, underlying])
    carry = market.rate - float(market.dividend_yield[underlying])
    first = int(np.searchsorted(market.expiries, now + book.min_days * NS_PER_DAY))
    contracts: dict[Instrument, float] = {}
    for leg in book.legs:
        expiry = int(market.expiries[first + leg.expiry - 1])
        years = (expiry - now) / NS_PER_YEAR
        forward = spot * np.exp(carry * years)
        vol = float(market.implied_vol(day, underlying, [forward], [years])[0])
        if not vol > 0.0:
            return None
        strike = forward * np.exp(leg.moneyness * vol * np.sqrt(years))
        rounded = strike_step * max(1.0, np.rint(strike / strike_step))
        ticker = market.underlyings[underlying]
        instrument = Instrument(ticker, leg.right, float(rounded), expiry)
        contracts[instrument] = contracts.get(instrument, 0.0) + leg.contracts
    return Holding(contracts, min(instrument.expiry for instrument in contracts))


def holdings(
    market: MarketHistory, underlying: int, book: BookConfig, strike_step: float
) -> list[Holding | None]:
    """What the book holds from each close to the next: (D - 1) of them, None = nothing yet.

    It is opened at the first tradable close, and anew at each close at or after which its first
    leg has expired; what is left of it is sold then. Where that close has no volatility, it is
    opened at the next that has one. Nothing after a close decides what is held from it.
    """
    held: list[Holding | None] = []
    current: Holding | None = None
    for day in range(len(market.sessions.closes) - 1):
        if current is not None and current.expiry <= market.sessions.closes[day]:
            current = None
        if current is None and day >= market.first_tradable:
            current = open_book(market, day, underlying, book, strike_step)
        held.append(current)
    return held


def values(market: MarketHistory, day: int, instruments: list[Instrument]) -> FloatArray:
    """(n,) worth of one contract at a close: its payoff where it expires then, else its price on
    the day's surface; NaN where there is no volatility."""
    n, now = len(instruments), int(market.sessions.closes[day])
    row = [market.underlyings.index(i.underlying) for i in instruments]
    years = np.array([max(0, i.expiry - now) / NS_PER_YEAR for i in instruments])
    strike = np.array([i.strike for i in instruments])
    vol = vols(market, day, instruments)
    vol[years <= 0.0] = 0.0
    sign = np.array([1.0 if i.right == "C" else -1.0 for i in instruments])
    out = np.empty(n)
    european_prices(
        market.spot[day, row], strike, years, np.full(n, market.rate),
        market.dividend_yield[row], vol, sign, out,
    )  # fmt: skip
    return out


def vols(market: MarketHistory, day: int, instruments: list[Instrument]) -> FloatArray:
    """(n,) implied volatility on the day's surface; NaN at and after expiry."""
    now = int(market.sessions.closes[day])
    out = np.full(len(instruments), np.nan)
    for u, ticker in enumerate(market.underlyings):
        mine = [k for k, i in enumerate(instruments) if i.underlying == ticker]
        if mine:
            strike = np.array([instruments[k].strike for k in mine])
            years = np.array([(instruments[k].expiry - now) / NS_PER_YEAR for k in mine])
            out[mine] = market.implied_vol(day, u, strike, years)
    return out
