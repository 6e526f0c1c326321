"""The reference options env, scripted policies, training and evaluation.

Importing this registers `riskenv/OptionsTrading-v0`; everything heavy loads on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import gymnasium

if TYPE_CHECKING:
    from riskenv.train.adapter import OptionsEnvAdapter
    from riskenv.train.book import TradeReport
    from riskenv.train.env_config import EnvConfig
    from riskenv.train.lagrangian import LagrangianCallback
    from riskenv.train.off_policy import ExecutedActionReplayBuffer
    from riskenv.train.options_env import OptionsTradingEnv
    from riskenv.train.policies import HoldPolicy, RandomPolicy, ShortStranglePolicy

__all__ = [
    "EnvConfig",
    "ExecutedActionReplayBuffer",
    "HoldPolicy",
    "LagrangianCallback",
    "OptionsEnvAdapter",
    "OptionsTradingEnv",
    "RandomPolicy",
    "ShortStranglePolicy",
    "TradeReport",
]

_HOME = {
    "EnvConfig": "env_config",
    "ExecutedActionReplayBuffer": "off_policy",
    "HoldPolicy": "policies",
    "LagrangianCallback": "lagrangian",
    "OptionsEnvAdapter": "adapter",
    "OptionsTradingEnv": "options_env",
    "RandomPolicy": "policies",
    "ShortStranglePolicy": "policies",
    "TradeReport": "book",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'riskenv.train' has no attribute {name!r}")
    return getattr(import_module(f"riskenv.train.{_HOME[name]}"), name)


gymnasium.register(
    id="riskenv/OptionsTrading-v0",
    entry_point="riskenv.train.options_env:OptionsTradingEnv",
)
