"""Gymnasium wrappers that put the risk layer around an env, and adapters to read it."""

from riskenv.wrappers.adapter import Adapter, LinearTrades, Protection, Traits
from riskenv.wrappers.penalties import PenaltyConfig, correction_penalty, var_penalty
from riskenv.wrappers.risk_constrained_env import RiskConstrainedEnv

__all__ = [
    "Adapter",
    "LinearTrades",
    "PenaltyConfig",
    "Protection",
    "RiskConstrainedEnv",
    "Traits",
    "correction_penalty",
    "var_penalty",
]
