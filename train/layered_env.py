"""The demo's env, bare or inside the layer, built from one configuration."""

from __future__ import annotations

from typing import Any

from riskenv.train.demo_config import DemoConfig, Span
from riskenv.train.options_env import Convention, OptionsTradingEnv
from riskenv.wrappers import RiskConstrainedEnv


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
    from riskenv.data import fomc_events

    whole = {"random_start": False, "episode_sessions": None} if replay else {}
    bare = OptionsTradingEnv(
        convention, span[0], span[1], {**config.env, **whole, **(env_changes or {})}
    )
    return RiskConstrainedEnv(
        bare,
        config.limits,
        var=config.var,
        events=fomc_events(),
        event_policy=config.event_policy,
        penalty=config.penalty,
        observe_risk=True,
        correction="auto" if enforce else "none",
    )
