"""How the layer comes around an env: which adapter reads it, which manager decides for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
from riskenv.wrappers.adapter import Adapter
from riskenv.wrappers.plain_arguments import adapter_of, events_of, table_of

from riskenv.config import ConfigError, ConfigT, load_config
from riskenv.events import Event
from riskenv.factor_history import FactorHistory
from riskenv.gap_risk_monitor import EventPolicy
from riskenv.limits import RiskLimits
from riskenv.portfolio_risk_manager import PortfolioRiskManager
from riskenv.sessions import Sessions
from riskenv.var_config import VarConfig

Source = Mapping[str, Any] | str | Path


def config_of(name: str, model: type[ConfigT], source: ConfigT | Source | None) -> ConfigT:
    """A configuration given as itself, a mapping, a YAML file, or not at all.

    Raises:
        ConfigError: none of these, or it is not valid.
    """
    if isinstance(source, model):
        return source
    if source is None:
        source = {}
    if not isinstance(source, Mapping | str | Path):
        raise ConfigError(
            f"{name}: got {source!r}; allowed: a {model.__name__}, a mapping or a YAML file"
        )
    return load_config(model, source)


def read_now(name: str, model: type[ConfigT], source: Any) -> Any:
    """The configuration, where it is given as a file; else what is given.

    Raises:
        ConfigError: the file is missing, or not valid.
    """
    return config_of(name, model, source) if isinstance(source, str | Path) else source


def reader_of(env: gymnasium.Env[Any, Any], adapter: Adapter | str | None) -> Adapter:
    """The adapter that was given, or the env's own.

    Raises:
        ConfigError: there is none; or an action wrapper lies between it and the layer.
    """
    if adapter is None:
        _refuse_action_wrappers(env)
        found = getattr(env.unwrapped, "risk_adapter", None)
    else:
        found = adapter_of(adapter)
    if found is None:
        raise ConfigError(
            f"adapter: {type(env.unwrapped).__name__} does not say how it is read (no "
            "risk_adapter attribute); pass adapter=..., a riskenv.wrappers.Adapter"
        )
    if not isinstance(found, Adapter):
        raise ConfigError(
            f"adapter: got {type(found).__name__}; allowed: a riskenv.wrappers.Adapter"
        )
    return found


def manager_of(
    env: gymnasium.Env[Any, Any],
    adapter: Adapter,
    limits: RiskLimits | Source | PortfolioRiskManager,
    *,
    sessions: Sessions | Mapping[str, str] | None,
    history: FactorHistory | Mapping[str, str] | None,
    var: VarConfig | Source | None,
    events: Iterable[Event | Mapping[str, Any]] | Mapping[str, str],
    event_policy: EventPolicy | Source | None,
) -> PortfolioRiskManager:
    """The manager that was given, or one of what was given and what the adapter knows.

    Raises:
        ConfigError: a configuration is refused, there is no calendar, or something is given beside
            a manager.
    """
    if isinstance(limits, PortfolioRiskManager):
        given: dict[str, Any] = {"sessions": sessions, "history": history, "var": var}
        given |= {"events": events or None, "event_policy": event_policy}
        for name, value in given.items():
            if value is not None:
                raise ConfigError(f"{name}: limits is a PortfolioRiskManager, which has its own")
        return limits
    if limits is None:
        raise ConfigError("limits: got None; allowed: a RiskLimits, a mapping or a YAML file")
    calendar = table_of("sessions", Sessions, sessions) or adapter.sessions(env)
    if calendar is None:
        raise ConfigError(
            "sessions: the adapter knows no exchange calendar; pass sessions=..., for example "
            "riskenv.data.exchange_sessions('2015-01-01', '2026-12-31')"
        )
    moves = table_of("history", FactorHistory, history)
    return PortfolioRiskManager(
        config_of("limits", RiskLimits, limits),
        calendar,
        history=moves if moves is not None else adapter.factor_history(env),
        var=config_of("var", VarConfig, var),
        events=events_of(events),
        event_policy=config_of("event_policy", EventPolicy, event_policy),
    )


def _refuse_action_wrappers(env: gymnasium.Env[Any, Any]) -> None:
    """An env's own adapter reads the bare env, and would preview another action than is done."""
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, gymnasium.ActionWrapper):
            raise ConfigError(
                f"env: got a {type(env).__name__} inside, which changes actions after they were "
                "judged; put it around RiskConstrainedEnv, or pass adapter=... that reads through "
                "it"
            )
        env = env.env
