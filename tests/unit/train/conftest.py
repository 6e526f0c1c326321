"""A small synthetic market: two indices under Black and Scholes's own assumptions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from riskenv.factor_history import FactorHistory
from riskenv.sessions import Sessions

HOUR = 3_600 * 10**9


@dataclass(frozen=True, eq=False)
class SyntheticMarket:
    """What the env reads of a market history: flat volatility, lognormal spots without premium."""

    underlyings: tuple[str, ...]
    sessions: Sessions
    expiries: NDArray[np.int64]
    spot: NDArray[np.float64]
    vol_30d: NDArray[np.float64]
    rate: float
    dividend_yield: NDArray[np.float64]
    first_tradable: int
    future_sessions: Sessions

    def factor_history(self):
        moves = np.diff(np.log(self.spot), axis=0)
        return FactorHistory(
            self.underlyings, self.sessions.closes[1:], moves, np.zeros_like(moves)
        )

    def implied_vol(self, day, underlying, strike, years):
        return np.full(np.shape(strike), self.vol_30d[day, underlying])


def synthetic_market(days: int = 320, seed: int = 0, crash: float = 0.0) -> SyntheticMarket:
    """Weekday sessions from 2003; one expiry a month; `crash` is the log move of session 60."""
    first = np.datetime64("2003-01-02")
    dates = first + np.arange(2 * days + 200)
    dates = dates[np.is_busday(dates)][: days + 90]
    closes = dates.astype("datetime64[ns]").astype(np.int64) + 21 * HOUR
    months = dates.astype("datetime64[M]")
    expiries = np.array([closes[months == month][-6] for month in np.unique(months)[:-1]])
    vol, rate, dividend = np.array([0.25, 0.18]), 0.03, np.array([0.01, 0.02])
    years = np.diff(closes[:days]) / 1e9 / (365 * 86_400)
    noise = np.random.default_rng(seed).standard_normal((days - 1, 2))
    moves = (rate - dividend - 0.5 * vol**2) * years[:, None] + vol * np.sqrt(years)[
        :, None
    ] * noise
    moves[59] += crash
    path = np.concatenate((np.zeros((1, 2)), np.cumsum(moves, axis=0)))
    return SyntheticMarket(
        underlyings=("IXIC", "SPX"),
        sessions=Sessions(closes[:days] - 6 * HOUR, closes[:days]),
        expiries=expiries,
        spot=np.array([2_000.0, 1_100.0]) * np.exp(path),
        vol_30d=np.tile(vol, (days, 1)),
        rate=rate,
        dividend_yield=dividend,
        first_tradable=21,
        future_sessions=Sessions(closes - 6 * HOUR, closes),
    )


@pytest.fixture(scope="session")
def market() -> SyntheticMarket:
    return synthetic_market()


@pytest.fixture(scope="session")
def make_market() -> Callable[..., SyntheticMarket]:
    return synthetic_market
