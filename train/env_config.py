"""The configuration of the options env: `configs/env.yaml`, and changes to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field
from riskenv.train.listing import ListingConfig

from riskenv.config import Config, load_config

_DEFAULTS = Path(__file__).parent / "configs" / "env.yaml"


class EnvConfig(Config):
    """The env's configuration; `configs/env.yaml` holds the defaults and explains each key."""

    initial_cash: float = Field(gt=0.0)
    reward_scale: float = Field(gt=0.0)
    episode_sessions: int | None = Field(ge=1)
    random_start: bool
    menu_lots: float = Field(gt=0.0)
    max_lots: int = Field(ge=1)
    max_shares: int = Field(ge=1)
    observation_lots: float = Field(gt=0.0)
    observation_shares: float = Field(gt=0.0)
    listing: ListingConfig

    @classmethod
    def default(cls, changes: Mapping[str, Any] | None = None) -> EnvConfig:
        """`configs/env.yaml`, with the keys of `changes` in place of its own.

        Raises:
            ConfigError: as `load_config`.

        Example:
            >>> config = EnvConfig.default({"menu_lots": 2.5, "listing": {"multiplier": 100.0}})
            >>> config.menu_lots, config.listing.multiplier, config.listing.margin_of_spot
            (2.5, 100.0, 0.15)
        """
        values = yaml.safe_load(_DEFAULTS.read_text(encoding="utf-8"))
        for key, value in (changes or {}).items():
            nested = isinstance(value, Mapping) and isinstance(values.get(key), dict)
            values[key] = {**values[key], **value} if nested else value
        return load_config(cls, values)
