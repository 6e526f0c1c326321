"""The configuration of the main job: `configs/demo.yaml`."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator
from riskenv.train.env_config import EnvConfig
from riskenv.wrappers.penalties import PenaltyConfig

from riskenv.config import Config, load_config
from riskenv.gap_risk_monitor import EventPolicy
from riskenv.limits import RiskLimits
from riskenv.var_config import VarConfig

DEMO_YAML = Path(__file__).parent / "configs" / "demo.yaml"


def _iso(value: str) -> str:
    datetime.date.fromisoformat(value)
    return value


Date = Annotated[str, AfterValidator(_iso)]
Span = tuple[Date, Date]


class TrainingConfig(Config):
    """How the two agents are trained; `riskenv.train.training` names the algorithms."""

    discrete_steps: int = Field(ge=1)
    box_steps: int = Field(ge=1)
    envs: int = Field(ge=1)
    rollout: int = Field(ge=2)
    batch: int = Field(ge=2)
    epochs: int = Field(ge=1)
    learning_rate: float = Field(gt=0.0)


def _env_changes(value: dict[str, Any]) -> dict[str, Any]:
    EnvConfig.default(value)
    return value


class DemoConfig(Config):
    """The main job. Each key is explained in `configs/demo.yaml`.

    Example:
        >>> config = load_config(DemoConfig, DEMO_YAML)
        >>> config.limits.caps.delta, config.training.discrete_steps
        (500.0, 24576)
    """

    seed: int = Field(ge=0)
    train_span: Span
    evaluation_spans: tuple[Span, ...] = Field(min_length=1)
    env: Annotated[dict[str, Any], AfterValidator(_env_changes)]
    limits: RiskLimits
    var: VarConfig
    event_policy: EventPolicy
    penalty: PenaltyConfig
    training: TrainingConfig
    short_strangle_lots: float = Field(gt=0.0)

    @model_validator(mode="after")
    def _spans_in_order(self) -> DemoConfig:
        for span in (self.train_span, *self.evaluation_spans):
            if not span[0] < span[1]:
                raise ValueError(f"spans: got {list(span)}; allowed: a first date before a last")
        if len(set(self.evaluation_spans)) < len(self.evaluation_spans):
            raise ValueError("evaluation_spans: got one twice; allowed: each once")
        earliest = min(span[0] for span in self.evaluation_spans)
        if not self.train_span[1] < earliest:
            raise ValueError(
                f"train_span: ends on {self.train_span[1]}; allowed: before {earliest}, when the "
                "evaluation begins - an agent is not judged on what it learned from"
            )
        return self

    def quick(self) -> DemoConfig:
        """The same job on less, with spans and step counts of its own: does everything run?"""
        return self.model_copy(
            update={
                "evaluation_spans": (("2008-09-02", "2008-11-28"), ("2018-01-02", "2018-03-29")),
                "training": self.training.model_copy(
                    update={"discrete_steps": 2048, "box_steps": 2048, "envs": 4}
                ),
            }
        )


def load_demo_config(source: Mapping[str, Any] | str | Path | None = None) -> DemoConfig:
    """From a file or mapping; the shipped `configs/demo.yaml` for None.

    Raises:
        ConfigError: as `riskenv.config.load_config`.
    """
    return load_config(DemoConfig, DEMO_YAML if source is None else source)
