"""The portfolio risk layer for options trading: arrays in, decisions out.

Every public name is importable from here; what needs compiled kernels is loaded on first use, so
that `import riskenv` stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from riskenv.version import __version__

if TYPE_CHECKING:
    from riskenv.alert_sinks import LoggingSink, MetricsSink
    from riskenv.assessment import Assessment
    from riskenv.circuit_breaker import BreakerState, Rung
    from riskenv.config import ConfigError, load_config
    from riskenv.decision import Decision, Verdict
    from riskenv.dividends import Dividend, escrowed_value, implied_forward, implied_yield
    from riskenv.event_policy import NeededDate
    from riskenv.event_values import UnknownDays
    from riskenv.event_window import EventWindow
    from riskenv.events import Event
    from riskenv.factor_history import FactorHistory
    from riskenv.feed import FeedUnits, feed_greeks
    from riskenv.feed_agreement import GreeksTolerance
    from riskenv.gap_risk_monitor import EventPolicy, EventRule, GapRiskMonitor
    from riskenv.gap_scenarios import implied_jump
    from riskenv.gate.bundle import BundleError, load_bundle, save_bundle
    from riskenv.gate.risk_gate import RiskGate
    from riskenv.instruments import Instrument, InstrumentTable
    from riskenv.limits import Amounts, Caps, ConfirmRule, CorrectionRule, RiskLimits, ScopeCaps
    from riskenv.live_greeks import LiveGreeks, Quotes
    from riskenv.margin import MarginRule
    from riskenv.market import Market
    from riskenv.occ import OccSymbol, instrument_from_occ, settlement_time
    from riskenv.order_checks import Order
    from riskenv.order_limits import OrderLimits
    from riskenv.portfolio import Portfolio
    from riskenv.portfolio_greeks import PortfolioGreeks, aggregate_greeks
    from riskenv.portfolio_risk_manager import PortfolioRiskManager
    from riskenv.projection import Proposal
    from riskenv.quote_rules import QuoteRules
    from riskenv.quote_vols import implied_vols, with_implied_vols
    from riskenv.reasons import Alert, Reason
    from riskenv.reduction import ReductionPlan
    from riskenv.sessions import CalendarRangeError, Sessions
    from riskenv.stress_scenarios import StressConfig
    from riskenv.var_calculator import VarReport, historical_var, recorded_var
    from riskenv.var_config import VarConfig

_HOME = {
    "Alert": "reasons",
    "Assessment": "assessment",
    "BreakerState": "circuit_breaker",
    "BundleError": "gate.bundle",
    "CalendarRangeError": "sessions",
    "Caps": "limits",
    "ConfigError": "config",
    "ConfirmRule": "limits",
    "CorrectionRule": "limits",
    "Decision": "decision",
    "Dividend": "dividends",
    "Event": "events",
    "EventPolicy": "gap_risk_monitor",
    "EventRule": "gap_risk_monitor",
    "EventWindow": "event_window",
    "FactorHistory": "factor_history",
    "FeedUnits": "feed",
    "GapRiskMonitor": "gap_risk_monitor",
    "GreeksTolerance": "feed_agreement",
    "Instrument": "instruments",
    "InstrumentTable": "instruments",
    "LiveGreeks": "live_greeks",
    "LoggingSink": "alert_sinks",
    "MarginRule": "margin",
    "Market": "market",
    "MetricsSink": "alert_sinks",
    "NeededDate": "event_policy",
    "OccSymbol": "occ",
    "Order": "order_checks",
    "OrderLimits": "order_limits",
    "Portfolio": "portfolio",
    "PortfolioGreeks": "portfolio_greeks",
    "PortfolioRiskManager": "portfolio_risk_manager",
    "Proposal": "projection",
    "QuoteRules": "quote_rules",
    "Quotes": "live_greeks",
    "Reason": "reasons",
    "ReductionPlan": "reduction",
    "RiskGate": "gate.risk_gate",
    "RiskLimits": "limits",
    "Rung": "circuit_breaker",
    "ScopeCaps": "limits",
    "Amounts": "limits",
    "Sessions": "sessions",
    "StressConfig": "stress_scenarios",
    "UnknownDays": "event_values",
    "VarConfig": "var_config",
    "VarReport": "var_calculator",
    "Verdict": "decision",
    "aggregate_greeks": "portfolio_greeks",
    "escrowed_value": "dividends",
    "feed_greeks": "feed",
    "historical_var": "var_calculator",
    "implied_forward": "dividends",
    "implied_jump": "gap_scenarios",
    "implied_vols": "quote_vols",
    "implied_yield": "dividends",
    "instrument_from_occ": "occ",
    "load_bundle": "gate.bundle",
    "load_config": "config",
    "recorded_var": "var_calculator",
    "save_bundle": "gate.bundle",
    "settlement_time": "occ",
    "with_implied_vols": "quote_vols",
}

__all__ = [
    "Alert",
    "Amounts",
    "Assessment",
    "BreakerState",
    "BundleError",
    "CalendarRangeError",
    "Caps",
    "ConfigError",
    "ConfirmRule",
    "CorrectionRule",
    "Decision",
    "Dividend",
    "Event",
    "EventPolicy",
    "EventRule",
    "EventWindow",
    "FactorHistory",
    "FeedUnits",
    "GapRiskMonitor",
    "GreeksTolerance",
    "Instrument",
    "InstrumentTable",
    "LiveGreeks",
    "LoggingSink",
    "MarginRule",
    "Market",
    "MetricsSink",
    "NeededDate",
    "OccSymbol",
    "Order",
    "OrderLimits",
    "Portfolio",
    "PortfolioGreeks",
    "PortfolioRiskManager",
    "Proposal",
    "QuoteRules",
    "Quotes",
    "Reason",
    "ReductionPlan",
    "RiskGate",
    "RiskLimits",
    "Rung",
    "ScopeCaps",
    "Sessions",
    "StressConfig",
    "UnknownDays",
    "VarConfig",
    "VarReport",
    "Verdict",
    "__version__",
    "aggregate_greeks",
    "escrowed_value",
    "feed_greeks",
    "historical_var",
    "implied_forward",
    "implied_jump",
    "implied_vols",
    "implied_yield",
    "instrument_from_occ",
    "load_bundle",
    "load_config",
    "recorded_var",
    "save_bundle",
    "settlement_time",
    "with_implied_vols",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'riskenv' has no attribute {name!r}")
    value = getattr(import_module(f"riskenv.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
