"""What is taken off the reward: plain functions of numbers, each configurable and reported."""

from __future__ import annotations

import math

from pydantic import Field

from riskenv.config import Config


class PenaltyConfig(Config):
    """Weights of the penalties; 0 switches one off and restores the raw reward.

    Attributes:
        var_weight: lambda of `var_penalty`.
        var_warn: share of the VaR limit from which it counts.
        var_clip: highest VaR penalty a step.
        correction_weight: alpha of `correction_penalty`.
        correction_clip: highest squared correction that counts.
    """

    var_weight: float = Field(default=1.0, ge=0.0)
    var_warn: float = Field(default=0.8, ge=0.0)
    var_clip: float = Field(default=1.0, gt=0.0)
    correction_weight: float = Field(default=0.3, ge=0.0)
    correction_clip: float = Field(default=1.0, gt=0.0)


def var_penalty(var_1d: float, limit: float, config: PenaltyConfig) -> float:
    """lambda max(0, -VaR / limit - warn)^2, at most `var_clip`.

    Args:
        var_1d: one-day VaR of the book after the trade, at the market of the decision, <= 0;
            NaN = Unknown, which costs the most there is.
        limit: highest loss allowed, > 0, infinite = none.

    Example:
        >>> var_penalty(-1100.0, 1000.0, PenaltyConfig(var_weight=2.0))
        0.18
    """
    if config.var_weight == 0.0 or math.isinf(limit):
        return 0.0
    if math.isnan(var_1d):
        return config.var_clip
    excess = max(0.0, -var_1d / limit - config.var_warn)
    return round(min(config.var_weight * excess * excess, config.var_clip), 12)


def correction_penalty(squared_change: float, config: PenaltyConfig) -> float:
    """alpha min(|change|^2, clip) for an action that was replaced.

    Args:
        squared_change: mean over the dimensions of (asked - executed)^2 for a Box, each divided
            by the width of its range; 1 for a menu.

    Small and bounded on purpose: storing the executed action, or a large penalty, both wreck
    learning.

    Example:
        >>> correction_penalty(1.0, PenaltyConfig(correction_weight=0.3))
        0.3
    """
    return config.correction_weight * min(squared_change, config.correction_clip)
