"""Gymnasium wrappers that put the risk layer around an env, and adapters to read it."""

from riskenv.wrappers.account_adapter import AccountAdapter, Reader
from riskenv.wrappers.adapter import Adapter, LinearTrades, Protection, Traits
from riskenv.wrappers.callable_adapter import CallableAdapter
from riskenv.wrappers.conformance import check_constrained_env
from riskenv.wrappers.conformance_report import ConformanceReport, Finding
from riskenv.wrappers.delta_one import bar_sessions, delta_one_market, delta_one_table
from riskenv.wrappers.menu_adapter import MenuAdapter
from riskenv.wrappers.old_gym import OldGymEnv
from riskenv.wrappers.order_list_adapter import OrderListAdapter
from riskenv.wrappers.penalties import (
    PENALTIES,
    PenaltyConfig,
    correction_penalty,
    drawdown_penalty,
    utilisation_penalty,
    var_penalty,
)
from riskenv.wrappers.plain_arguments import save_table
from riskenv.wrappers.risk_constrained_env import InfeasibleStartError, RiskConstrainedEnv
from riskenv.wrappers.target_position_adapter import TargetPositionAdapter

__all__ = [
    "PENALTIES",
    "AccountAdapter",
    "Adapter",
    "CallableAdapter",
    "ConformanceReport",
    "Finding",
    "InfeasibleStartError",
    "LinearTrades",
    "MenuAdapter",
    "OldGymEnv",
    "OrderListAdapter",
    "PenaltyConfig",
    "Protection",
    "Reader",
    "RiskConstrainedEnv",
    "TargetPositionAdapter",
    "Traits",
    "bar_sessions",
    "check_constrained_env",
    "correction_penalty",
    "delta_one_market",
    "delta_one_table",
    "drawdown_penalty",
    "save_table",
    "utilisation_penalty",
    "var_penalty",
]
