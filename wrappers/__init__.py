"""Gymnasium wrappers that put the risk layer around an env, and adapters to read it."""

from riskenv.wrappers.adapter import Adapter, Traits
from riskenv.wrappers.penalties import PenaltyConfig, correction_penalty, var_penalty
from riskenv.wrappers.risk_constrained_env import RiskConstrainedEnv

__all__ = [
    "Adapter",
    "PenaltyConfig",
    "RiskConstrainedEnv",
    "Traits",
    "correction_penalty",
    "var_penalty",
]
