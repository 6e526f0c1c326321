"""Learn what leaving the caps must cost, so that it happens no more often than allowed."""

from __future__ import annotations

import math

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from riskenv.config import ConfigError


class LagrangianCallback(BaseCallback):
    """Raises the price of a step outside the caps while too many are, and lowers it while few are.

    After every `steps` env steps, the multiplier moves by learning_rate * (mean cost - budget)
    and is kept in [0, maximum]: dual ascent on the constraint that the mean of `cost` is at most
    the budget (Ray, Achiam and Amodei 2019, "Benchmarking Safe Exploration in Deep Reinforcement
    Learning", section 5). It becomes `penalty.cost_weight` of every env, which takes it off the
    reward of each step that ends outside a cap.

    Args:
        budget: share of steps allowed outside, in [0, 1).
        learning_rate: of the multiplier, > 0.
        steps: env steps, over all envs, between updates.
        initial: of the multiplier; None goes on from what the envs have, as after a restart.
        maximum: of the multiplier.

    Raises:
        ConfigError: an argument is outside what is allowed.

    Example:
        >>> callback = LagrangianCallback(budget=0.05, learning_rate=2.0, maximum=1.0)
        >>> callback.after(0.3, multiplier=0.1)
        0.6
        >>> callback.after(0.0, multiplier=0.05)
        0.0
    """

    def __init__(
        self,
        budget: float,
        *,
        learning_rate: float = 0.5,
        steps: int = 1024,
        initial: float | None = None,
        maximum: float = 10.0,
    ) -> None:
        super().__init__()
        for name, value, fine, allowed in (
            ("budget", budget, 0.0 <= budget < 1.0, "0 to below 1"),
            ("learning_rate", learning_rate, 0.0 < learning_rate < math.inf, "above 0"),
            ("steps", steps, steps >= 1, "1 or more"),
            ("maximum", maximum, 0.0 < maximum < math.inf, "above 0"),
            ("initial", initial, initial is None or 0.0 <= initial <= maximum, "0 to maximum"),
        ):
            if not fine:
                raise ConfigError(f"{name}: got {value}; allowed: {allowed}")
        self.budget, self.learning_rate, self.steps = budget, learning_rate, steps
        self.maximum, self._initial = maximum, initial
        self.multiplier = initial or 0.0
        self._costs: list[float] = []

    def after(self, mean_cost: float, multiplier: float) -> float:
        """The multiplier after steps whose cost had this mean."""
        moved = multiplier + self.learning_rate * (mean_cost - self.budget)
        return min(max(0.0, moved), self.maximum)

    def _on_training_start(self) -> None:
        if self._initial is None:
            first, *_ = self.training_env.get_attr("penalty")
            self.multiplier = first.cost_weight
        self._set()

    def _on_step(self) -> bool:
        self._costs += [float(info["cost"]) for info in self.locals["infos"]]
        if len(self._costs) >= self.steps:
            mean_cost = float(np.mean(self._costs))
            self._costs.clear()
            self.multiplier = self.after(mean_cost, self.multiplier)
            self._set()
            self.logger.record("risk/mean_cost", mean_cost)
            self.logger.record("risk/multiplier", self.multiplier)
        return True

    def _set(self) -> None:
        self.training_env.env_method("set_cost_weight", self.multiplier)
