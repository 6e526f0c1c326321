"""The demo's env, bare or inside the layer, built from one configuration."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from riskenv.train.demo_config import DemoConfig, Span
from riskenv.train.listing import MarketLike
from riskenv.train.options_env import Convention, OptionsTradingEnv
from riskenv.wrappers import RiskConstrainedEnv

from riskenv.gap_risk_monitor import EventPolicy
from riskenv.limits import RiskLimits
from riskenv.portfolio_risk_manager import PortfolioRiskManager
from riskenv.var_config import VarConfig


def layered_env(
    config: DemoConfig,
    convention: Convention,
    span: Span,
    *,
    enforce: bool = True,
    replay: bool = False,
    env_changes: dict[str, Any] | None = None,
) -> RiskConstrainedEnv:
    """The reference env inside the risk layer.

    Args:
        enforce: False lets every action through and only watches.
        replay: one episode over the whole span, from its first session, in place of episodes of a
            year from random starts.
        env_changes: keys of the env's configuration to change further.
    """
    whole = {"random_start": False, "episode_sessions": None} if replay else {}
    bare = OptionsTradingEnv(
        convention, span[0], span[1], {**config.env, **whole, **(env_changes or {})}
    )
    return RiskConstrainedEnv(
        bare,
        _shared_manager(config.limits, config.var, config.event_policy, bare.market),
        penalty=config.penalty,
        observe_risk=True,
        correction="auto" if enforce else "none",
    )


# Six years of days at 500 scenarios of three horizons take about 1.2 GB.
_CACHE_BYTES = 2 << 30


@lru_cache(maxsize=4)
def _shared_manager(
    limits: RiskLimits, var: VarConfig, event_policy: EventPolicy, market: MarketLike
) -> PortfolioRiskManager:
    """One layer for all envs of a process: a replayed day's matrices are computed once."""
    from riskenv.data import fomc_events

    return PortfolioRiskManager(
        limits,
        market.future_sessions,
        history=market.factor_history(),
        var=var,
        events=fomc_events(),
        event_policy=event_policy,
        cache_bytes=_CACHE_BYTES,
    )
