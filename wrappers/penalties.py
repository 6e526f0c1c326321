"""What is taken off the reward: plain functions of numbers, each configurable and reported."""

from __future__ import annotations

import math

from pydantic import Field

from riskenv.config import Config

# The order of `penalties` in a step's info.
PENALTIES = ("var", "correction", "drawdown", "utilisation", "cost")


class PenaltyConfig(Config):
    """Weights of the penalties; 0 switches one off, and all at 0 leave the raw reward.

    Attributes:
        var_weight: lambda of `var_penalty`.
        var_warn: share of the VaR limit from which it counts.
        var_clip: highest VaR penalty a step.
        correction_weight: alpha of `correction_penalty`; `riskenv study-penalty` picked its
            default (see `riskenv.train.penalty_study`, and how little it shows for a Box).
        correction_clip: highest squared correction that counts.
        drawdown_weight, drawdown_warn, drawdown_clip: of `drawdown_penalty`.
        utilisation_weight, utilisation_warn, utilisation_clip: of `utilisation_penalty`.
        cost_weight: price of a step that ends outside a cap (`cost` in info): the multiplier that
            `riskenv.train.LagrangianCallback` learns.

    Example:
        >>> raw = PenaltyConfig(var_weight=0.0, correction_weight=0.0)
        >>> var_penalty(-5_000.0, 1_000.0, raw), correction_penalty(1.0, raw)
        (0.0, 0.0)
    """

    var_weight: float = Field(default=1.0, ge=0.0)
    var_warn: float = Field(default=0.8, ge=0.0)
    var_clip: float = Field(default=1.0, gt=0.0)
    correction_weight: float = Field(default=0.3, ge=0.0)
    correction_clip: float = Field(default=1.0, gt=0.0)
    drawdown_weight: float = Field(default=0.0, ge=0.0)
    drawdown_warn: float = Field(default=0.5, ge=0.0)
    drawdown_clip: float = Field(default=1.0, gt=0.0)
    utilisation_weight: float = Field(default=0.0, ge=0.0)
    utilisation_warn: float = Field(default=0.8, ge=0.0)
    utilisation_clip: float = Field(default=1.0, gt=0.0)
    cost_weight: float = Field(default=0.0, ge=0.0)


def var_penalty(var_1d: float, limit: float, config: PenaltyConfig) -> float:
    """lambda max(0, -VaR / limit - warn)^2, at most `var_clip`.

    Args:
        var_1d: one-day VaR of the book after the trade, at the market of the decision, <= 0;
            NaN = Unknown, which costs the most there is.
        limit: highest loss allowed, >= 0, infinite = none.

    Example:
        >>> var_penalty(-1100.0, 1000.0, PenaltyConfig(var_weight=2.0))
        0.18
    """
    return _beyond(_share(var_1d, limit), config.var_weight, config.var_warn, config.var_clip)


def drawdown_penalty(drawdown: float, limit: float, config: PenaltyConfig) -> float:
    """lambda max(0, -drawdown / limit - warn)^2, at most `drawdown_clip`.

    Args:
        drawdown: equity less its high-water mark after the step, <= 0; NaN = Unknown, which costs
            the most there is.
        limit: the cap on it, >= 0, infinite = none.

    Example:
        >>> drawdown_penalty(-900.0, 1000.0, PenaltyConfig(drawdown_weight=1.0))
        0.16
    """
    weight, warn = config.drawdown_weight, config.drawdown_warn
    return _beyond(_share(drawdown, limit), weight, warn, config.drawdown_clip)


def utilisation_penalty(used: float, config: PenaltyConfig) -> float:
    """lambda max(0, used - warn)^2, at most `utilisation_clip`.

    Args:
        used: the largest share of a cap in use after the trade, at the market of the decision;
            NaN = Unknown, which costs the most there is.

    Example:
        >>> utilisation_penalty(1.3, PenaltyConfig(utilisation_weight=1.0))
        0.25
    """
    weight, warn = config.utilisation_weight, config.utilisation_warn
    return _beyond(used, weight, warn, config.utilisation_clip)


def correction_penalty(squared_change: float, config: PenaltyConfig) -> float:
    """alpha min(|change|^2, clip) for an action that was replaced.

    Args:
        squared_change: mean over the dimensions of (asked - executed)^2 for a Box, each divided
            by the width of its range; 1 for a menu, the share of slots that changed for slots.

    Small and bounded on purpose: storing the executed action, or a large penalty, both wreck
    learning.

    Example:
        >>> correction_penalty(1.0, PenaltyConfig(correction_weight=0.3))
        0.3
    """
    return config.correction_weight * min(squared_change, config.correction_clip)


def _share(loss: float, limit: float) -> float:
    """How much of a limit a loss (<= 0) uses; NaN where the loss is Unknown and there is one."""
    if math.isinf(limit) or loss == 0.0:
        return 0.0
    return -loss / limit if limit > 0.0 else math.inf


def _beyond(share: float, weight: float, warn: float, clip: float) -> float:
    if weight == 0.0:
        return 0.0
    if math.isnan(share):
        return clip
    excess = max(0.0, share - warn)
    return round(min(weight * excess * excess, clip), 12)
