"""Market data in: price history, option surfaces, exchange calendars and event calendars.

Everything here comes with the installed packages; nothing is downloaded. What the risk layer
needs from it reaches it as plain arrays and values.
"""

from riskenv.data.calendars import (
    exchange_sessions,
    monthly_expiries,
    session_dates,
    third_friday,
)
from riskenv.data.events import fomc_events
from riskenv.data.garch import FitError, GarchFit, fit_garch
from riskenv.data.market_config import MarketConfig
from riskenv.data.market_history import MarketHistory, build_market, load_market
from riskenv.data.price_history import PriceHistory, load_price_history
from riskenv.data.surface import surface_vol
from riskenv.data.volatility import VolatilityHistory, implied_volatilities

__all__ = [
    "FitError",
    "GarchFit",
    "MarketConfig",
    "MarketHistory",
    "PriceHistory",
    "VolatilityHistory",
    "build_market",
    "exchange_sessions",
    "fit_garch",
    "fomc_events",
    "implied_volatilities",
    "load_market",
    "load_price_history",
    "monthly_expiries",
    "session_dates",
    "surface_vol",
    "third_friday",
]
