"""The market that training and evaluation run on: real closes, causal option surfaces."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from riskenv.data.calendars import exchange_sessions, monthly_expiries, session_dates
from riskenv.data.market_config import SHIPPED_MARKET, MarketConfig
from riskenv.data.price_history import PriceHistory, load_price_history
from riskenv.data.surface import day_surface, surface_parameters
from riskenv.data.volatility import implied_volatilities, log_returns

from riskenv.config import load_config
from riskenv.factor_history import FactorHistory
from riskenv.sessions import Sessions


@dataclass(frozen=True, eq=False)
class MarketHistory:
    """Spots and volatility surfaces at the closes of D sessions, for U underlyings.

    Arrays are read-only: one history is shared by every env of a process.

    Attributes:
        underlyings: tickers, sorted.
        sessions: the D sessions.
        future_sessions: the same sessions and `future_years` more, for expiries and horizons
            beyond the end. Which days an exchange opens is published ahead: not look-ahead.
        expiries: (E,) monthly settlement times over `future_sessions`, int64 nanoseconds UTC.
        spot: (D, U) closes, index points.
        vol_30d: (D, U) at-the-money 30-day implied volatility per year.
        long_run_vol: (D, U) level that variance returns to, as a volatility per year.
        from_vix: (D,) True where `vol_30d` rests on VIX rather than on the model.
        rate: continuous risk-free rate per year.
        dividend_yield: (U,) continuous yield per year.
        first_tradable: first row to trade on; the rows before it are history only.
        config: what it was built from.
    """

    underlyings: tuple[str, ...]
    sessions: Sessions
    future_sessions: Sessions
    expiries: NDArray[np.int64]
    spot: NDArray[np.float64]
    vol_30d: NDArray[np.float64]
    long_run_vol: NDArray[np.float64]
    from_vix: NDArray[np.bool_]
    rate: float
    dividend_yield: NDArray[np.float64]
    first_tradable: int
    config: MarketConfig

    def __post_init__(self) -> None:
        for name in ("spot", "vol_30d", "long_run_vol", "from_vix", "dividend_yield"):
            getattr(self, name).flags.writeable = False

    def implied_vol(
        self, day: int, underlying: int, strike: ArrayLike, years: ArrayLike
    ) -> NDArray[np.float64]:
        """The day's surface at its close.

        Args:
            day: row, in [0, D); negative rows are refused, they would read the end of history.
            underlying: column.
            strike: (n,) in index points.
            years: (n,) time to settlement, seconds / (365 * 86400).

        Returns:
            (n,) implied volatility per year; NaN where a strike or a time is not above 0.

        Raises:
            IndexError: a row or a column outside the history.
            ValueError: shapes that differ.
        """
        strike = np.ascontiguousarray(strike, dtype=np.float64)
        years = np.ascontiguousarray(years, dtype=np.float64)
        if strike.ndim != 1 or strike.shape != years.shape:
            raise ValueError(
                f"strike, years: got shapes {strike.shape}, {years.shape}; allowed: equal (n,)"
            )
        if day < 0 or underlying < 0:
            raise IndexError(f"day, underlying: got {day}, {underlying}; allowed: 0 and above")
        out = np.empty(len(strike))
        day_surface(
            self.vol_30d[day, underlying],
            self.long_run_vol[day, underlying],
            self.spot[day, underlying],
            self._carry[underlying],
            strike,
            years,
            *self._surface,
            out,
        )
        return out

    def factor_history(self) -> FactorHistory:
        """Daily log returns and log changes of the 30-day volatility.

        A NaN is a gap: row 0, and volatility on the days when its source switches between VIX
        and the model, where the difference is no market move.
        """
        vol_change = log_returns(self.vol_30d)
        vol_change[1:][self.from_vix[1:] != self.from_vix[:-1]] = np.nan
        return FactorHistory(
            self.underlyings, self.sessions.closes, log_returns(self.spot), vol_change
        )

    def day_of(self, date: datetime.date | str) -> int:
        """The row of a date.

        Raises:
            LookupError: no session of this history has that date.
        """
        wanted = np.datetime64(date, "D")
        row = int(np.searchsorted(self._dates, wanted))
        if row == len(self._dates) or self._dates[row] != wanted:
            raise LookupError(
                f"date: got {date}; allowed: a session from {self._dates[0]} to {self._dates[-1]}"
            )
        return row

    @cached_property
    def _dates(self) -> NDArray[np.datetime64]:
        return session_dates(self.sessions)

    @cached_property
    def _carry(self) -> NDArray[np.float64]:
        return self.rate - self.dividend_yield

    @cached_property
    def _surface(self) -> tuple[float, float, float, float, float]:
        return surface_parameters(self.config)


def load_market(
    config: MarketConfig | Mapping[str, Any] | str | Path | None = None,
) -> MarketHistory:
    """The bundled history, 1999 to 2018; built once a process for each configuration.

    Args:
        config: a `MarketConfig`, a mapping of the keys to change, or a YAML file; None is the
            shipped `market.yaml`.

    Raises:
        riskenv.config.ConfigError: the configuration is not valid.

    Example:
        >>> market = load_market()
        >>> day = market.day_of("2008-10-15")
        >>> spx = market.underlyings.index("SPX")
        >>> market.spot[day, spx].round(2)
        np.float64(907.84)
        >>> low, high = market.implied_vol(day, spx, [850.0, 950.0], [0.1, 0.1])
        >>> bool(low > high > 0.3)
        True
    """
    if not isinstance(config, MarketConfig):
        config = load_config(MarketConfig, SHIPPED_MARKET if config is None else config)
    return _bundled(config.model_dump_json())


@functools.lru_cache(maxsize=8)
def _bundled(config_json: str) -> MarketHistory:
    # Keyed by JSON because a configuration that holds a dict has no hash.
    return build_market(load_price_history(), MarketConfig.model_validate_json(config_json))


def build_market(prices: PriceHistory, config: MarketConfig) -> MarketHistory:
    """The market over any price history; later days never change earlier volatilities.

    Raises:
        ValueError: an underlying without a dividend yield, or a history that is too short.
    """
    missing = sorted(set(prices.underlyings) - set(config.dividend_yield))
    if missing:
        raise ValueError(
            f"dividend_yield: got {sorted(config.dividend_yield)}; missing: {', '.join(missing)}"
        )
    volatility = implied_volatilities(prices, config)
    dates = session_dates(prices.sessions)
    last_year = int(str(dates[-1].astype("datetime64[Y]")))
    future = exchange_sessions(str(dates[0]), f"{last_year + config.future_years}-12-31")
    return MarketHistory(
        underlyings=prices.underlyings,
        sessions=prices.sessions,
        future_sessions=future,
        expiries=monthly_expiries(future),
        spot=prices.close,
        vol_30d=volatility.vol_30d,
        long_run_vol=volatility.long_run_vol,
        from_vix=volatility.from_vix,
        rate=config.rate,
        dividend_yield=np.array([config.dividend_yield[name] for name in prices.underlyings]),
        first_tradable=volatility.first_tradable,
        config=config,
    )
