"""Market data in: price history, option surfaces, exchange calendars and event calendars.

Everything here comes with the installed packages and nothing is downloaded, except by
`HttpEvents`, which asks the endpoint it is given. What the risk layer needs reaches it as plain
arrays and values.
"""

from riskenv.data.calendars import (
    exchange_sessions,
    monthly_expiries,
    session_dates,
    third_friday,
)
from riskenv.data.event_calendar import EventCalendar, UnknownSpan, gather_events
from riskenv.data.event_files import EventFileError, ListedEvents, load_events
from riskenv.data.event_http import HttpEvents
from riskenv.data.event_mapping import EventFields, EventMapping, PayloadError, parse_events
from riskenv.data.event_merge import Conflict, merge_events
from riskenv.data.event_request import HttpEventsConfig
from riskenv.data.event_rows import EventRow
from riskenv.data.event_rules import closure_events, expiry_events, rebalance_events
from riskenv.data.event_sources import (
    BuiltinEvents,
    Coverage,
    EventProvider,
    SourceDownError,
    SourceState,
)
from riskenv.data.event_tables import cpi_events, nfp_events
from riskenv.data.events import fomc_events
from riskenv.data.garch import FitError, GarchFit, fit_garch
from riskenv.data.market_config import MarketConfig
from riskenv.data.market_history import MarketHistory, build_market, load_market
from riskenv.data.price_history import PriceHistory, load_price_history
from riskenv.data.surface import surface_vol
from riskenv.data.volatility import VolatilityHistory, implied_volatilities

__all__ = [
    "BuiltinEvents",
    "Conflict",
    "Coverage",
    "EventCalendar",
    "EventFields",
    "EventFileError",
    "EventMapping",
    "EventProvider",
    "EventRow",
    "FitError",
    "GarchFit",
    "HttpEvents",
    "HttpEventsConfig",
    "ListedEvents",
    "MarketConfig",
    "MarketHistory",
    "PayloadError",
    "PriceHistory",
    "SourceDownError",
    "SourceState",
    "UnknownSpan",
    "VolatilityHistory",
    "build_market",
    "closure_events",
    "cpi_events",
    "exchange_sessions",
    "expiry_events",
    "fit_garch",
    "fomc_events",
    "gather_events",
    "implied_volatilities",
    "load_events",
    "load_market",
    "load_price_history",
    "merge_events",
    "monthly_expiries",
    "nfp_events",
    "parse_events",
    "rebalance_events",
    "session_dates",
    "surface_vol",
    "third_friday",
]
