"""Quotes of options on stocks that report: the demo's surface plus the variance of the news."""

from __future__ import annotations

import math

import numpy as np
from riskenv.data.market_config import MarketConfig
from riskenv.data.surface import surface_vol
from riskenv.train.stock_history import StockHistory, StudyConfig
from scipy.special import ndtr

from riskenv.instruments import NS_PER_YEAR, InstrumentTable
from riskenv.market import Market

_SURFACE = MarketConfig()


class Quotes:
    """The market of a close: volatilities of the surface plus what the news ahead adds."""

    def __init__(self, history: StockHistory, config: StudyConfig, size: float) -> None:
        self._history, self._config, self._size = history, config, size
        self._news = {
            ticker: np.array([e.time for e in history.news if e.symbol == ticker], dtype=np.int64)
            for ticker in history.tickers
        }

    def market(self, row: int, table: InstrumentTable) -> Market:
        """Quotes of options, none of them expired, without interest and dividends."""
        history, config = self._history, self._config
        now = int(history.sessions.closes[row])
        at = np.array([history.tickers.index(name) for name in table.underlyings], dtype=np.int64)
        column = at[table.underlying_index]
        spot, strike = history.close[row, column], table.strike
        expiry = np.array([leg.expiry for leg in table.instruments], dtype=np.int64)
        sign = np.array([1.0 if leg.right == "C" else -1.0 for leg in table.instruments])
        years = (expiry - now) / NS_PER_YEAR
        base = surface_vol(
            history.vol[row, column], history.long_run_vol[row, column],
            np.log(strike / spot), years, _SURFACE,
        )  # fmt: skip
        jumps = np.array([
            np.searchsorted(self._news[history.tickers[u]], last, side="right")
            - np.searchsorted(self._news[history.tickers[u]], now, side="right")
            for u, last in zip(column, expiry, strict=True)
        ])  # fmt: skip
        vol = np.sqrt(base**2 + self._size * history.jump[row, column] * jumps / years)
        total = vol * np.sqrt(years)
        d1 = np.log(spot / strike) / total + total / 2.0
        mid = sign * (spot * ndtr(sign * d1) - strike * ndtr(sign * (d1 - total)))
        vega = spot * np.exp(-d1 * d1 / 2.0) * np.sqrt(years / (2.0 * math.pi)) / 100.0
        half = np.maximum(
            config.min_half_spread_of_spot * spot,
            config.half_spread_of_price * mid + config.half_spread_vol_points * vega,
        )
        # Where the bid would be below 0 the spread is narrower, so that mid stays the model's.
        half = np.where(mid > 0.0, np.minimum(half, mid), half)
        none = np.zeros(len(at))
        return Market(now, table, history.close[row, at], 0.0, none, mid - half, mid + half, vol)
