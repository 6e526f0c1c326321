"""At-the-money 30-day volatilities of each session, using nothing that came after it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from riskenv.data.calendars import session_dates
from riskenv.data.garch import rolling_forecast
from riskenv.data.market_config import MarketConfig
from riskenv.data.price_history import PriceHistory

# Variance per session -> per year; index options are quoted on this day count.
SESSIONS_PER_YEAR = 252.0

_VIX_UNDERLYING = "SPX"


@dataclass(frozen=True, eq=False)
class VolatilityHistory:
    """Implied volatilities at each close.

    Attributes:
        vol_30d: (D, U) at-the-money, 30 calendar days, per year.
        long_run_vol: (D, U) root of the mean implied variance up to and including that day.
        from_vix: (D,) True where `vol_30d` rests on VIX, False where on the model.
        first_tradable: row from which volatilities are strictly causal. Rows before it are
            burn-in: filtered with parameters fitted on the burn-in itself, so they were known
            only at `first_tradable`. They serve as history, never as a day to trade.
    """

    vol_30d: NDArray[np.float64]
    long_run_vol: NDArray[np.float64]
    from_vix: NDArray[np.bool_]
    first_tradable: int


def implied_volatilities(prices: PriceHistory, config: MarketConfig) -> VolatilityHistory:
    """At-the-money volatilities from VIX where it is known, else from the model.

    Model: variance = (1 + premium) * 252 * mean forecast variance over the next sessions,
    refitted at each January's first session on the returns before it, the new parameters phased
    in over a quarter. VIX, where known that day:
    `vix_to_atm * VIX / 100` for SPX, and for every other underlying that times the ratio of its
    model volatility to that of SPX.

    Raises:
        ValueError: the history lacks SPX, or ends before its first tradable session.
        FitError: a fit did not converge.
    """
    if _VIX_UNDERLYING not in prices.underlyings:
        raise ValueError(
            f"underlyings: got {prices.underlyings}; allowed: with {_VIX_UNDERLYING!r}, "
            "whose volatility VIX measures"
        )
    refit_rows = _january_rows(prices, config.first_tradable_year)
    log_return = log_returns(prices.close)
    forecast = np.column_stack(
        [
            rolling_forecast(
                log_return[:, column],
                refit_rows,
                config.forecast_sessions,
                config.refit_blend_sessions,
                config.volatility_model,
                config.innovations,
            )
            for column in range(len(prices.underlyings))
        ]
    )
    vol = np.sqrt((1.0 + config.variance_premium) * SESSIONS_PER_YEAR * forecast)
    # No return ends at row 0, so no forecast does either: the next row's stands in.
    vol[0] = vol[1]
    from_vix = ~np.isnan(prices.vix)
    ratio = vol / vol[:, [prices.underlyings.index(_VIX_UNDERLYING)]]
    at_the_money = config.vix_to_atm * prices.vix / 100.0
    vol[from_vix] = at_the_money[from_vix, None] * ratio[from_vix]
    days = np.arange(1, len(vol) + 1)
    # cumsum adds from the first day on, so that later days cannot change a bit of earlier ones.
    long_run = np.sqrt(np.cumsum(vol**2, axis=0) / days[:, None])
    return VolatilityHistory(vol, long_run, from_vix, refit_rows[0])


def log_returns(close: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D, U) ln of each close over the one before; row 0 is NaN.

    Example:
        >>> log_returns(np.array([[100.0], [110.0]])).round(4).tolist()
        [[nan], [0.0953]]
    """
    out = np.full(close.shape, np.nan)
    out[1:] = np.log(close[1:] / close[:-1])
    return out


def _january_rows(prices: PriceHistory, first_year: int) -> list[int]:
    """The row of the first session of each year from `first_year` on."""
    years = session_dates(prices.sessions).astype("datetime64[Y]")
    starts = np.flatnonzero(np.diff(years.astype(np.int64)) > 0) + 1
    rows = [int(row) for row in starts if years[row] >= np.datetime64(str(first_year))]
    if not rows or years[rows[0]] != np.datetime64(str(first_year)):
        raise ValueError(
            f"prices: got sessions from {years[0]} to {years[-1]}; allowed: a history that "
            f"begins before {first_year}, the first tradable year, and reaches it"
        )
    return rows
