"""What a step says of risk in its info: vectors of fixed length, whose names are on the env.

Few keys and small arrays: vector envs copy each of them into an array of their own every step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from riskenv.wrappers.cap_use import CapUse

from riskenv.assessment import Assessment
from riskenv.compilation import jit
from riskenv.limits import RiskLimits
from riskenv.measures import INDEX, ONE_SIDED

FloatArray = NDArray[np.float64]

# How far beyond a cap still counts, in caps; what is Unknown counts as this much.
COST_CLIP = 10.0
_FIGURES = ("delta", "gamma", "theta", "vega", "var_1d", "var_3d", "var_5d")
RISK_NAMES = (*_FIGURES, "current_exposure")
_UNKNOWN = np.array([-np.inf if name in ONE_SIDED else np.inf for name in _FIGURES] + [-np.inf])


class StepInfo:
    """Builds the keys that the layer adds to a step's info.

    Keys:
        cost: 1.0 where any cap is exceeded, or Unknown, after the step, market's move included;
            else 0.0: its mean is the share of steps outside, as safe-RL libraries count.
        costs: (C,) by how much each is, as a share of it, in [0, 10]; never NaN.
        penalties: (5,) what was taken off the reward (`riskenv.wrappers.penalties.PENALTIES`).
        reward_raw: the env's own reward, of what was executed.
        risk: (8,) the plan's figures of the book as it now stands: delta, gamma, theta, vega,
            VaR over 1, 3 and 5 days, and today's loss; infinite = Unknown, on the bad side for
            losses (a NaN is unequal to itself, and env checkers compare).
        intervened: 1 where something other than the action was executed, else 0.
        rung: 0 (NORMAL) to 5 (HALTED).
        executed_action: what reached the env.

    An env's own entry under one of these keys is kept under "env_" and the key.

    Args:
        limits: whose caps cost something.

    Example:
        >>> from riskenv.limits import Caps
        >>> info = StepInfo(RiskLimits(caps=Caps(delta=500.0, vega=900.0)))
        >>> info.cost_names, info.costs(np.array([0.9, 1.25])).tolist()
        (('delta', 'vega'), [0.0, 0.25])
    """

    KEYS = (
        "cost", "costs", "penalties", "reward_raw", "risk", "intervened", "rung", "executed_action",
    )  # fmt: skip

    _own = frozenset(KEYS)

    def __init__(self, limits: RiskLimits) -> None:
        self.caps = CapUse(limits)
        self._figures = np.array([INDEX[name] for name in _FIGURES])

    @property
    def cost_names(self) -> tuple[str, ...]:
        return self.caps.names

    def costs(self, used: FloatArray) -> FloatArray:
        """(C,) excess over each cap of the shares used; a new array."""
        excess = np.empty(len(used))
        _excess(used, excess)
        return excess

    def of(
        self,
        info: dict[str, Any],
        a: Assessment,
        costs: FloatArray,
        penalties: FloatArray,
        reward: float,
        executed: Any,
        intervened: bool,
    ) -> dict[str, Any]:
        """The env's `info`, to which the layer's keys are added; nothing is copied."""
        risk = np.empty(len(RISK_NAMES))
        _figures_of(a.interval, self._figures, a.day_loss, _UNKNOWN, risk)
        if not self._own.isdisjoint(info):
            # An env that speaks of costs itself is still heard.
            info.update({f"env_{key}": info[key] for key in self.KEYS if key in info})
        info.update(
            cost=1.0 if np.count_nonzero(costs) else 0.0,
            costs=costs,
            penalties=penalties,
            reward_raw=reward,
            risk=risk,
            intervened=int(intervened),
            rung=int(a.rung),
            executed_action=executed,
        )
        return info


@jit
def _excess(used, excess):  # type: ignore[no-untyped-def]
    for j in range(used.size):
        beyond = used[j] - 1.0
        if not beyond <= COST_CLIP:  # NaN too
            beyond = COST_CLIP
        excess[j] = max(beyond, 0.0)


@jit
def _figures_of(interval, figures, day_loss, unknown, risk):  # type: ignore[no-untyped-def]
    """risk = the measures whose two ends are one, then the loss of the day; else `unknown`."""
    last = figures.size
    for k in range(last):
        low, high = interval[0, figures[k]], interval[1, figures[k]]
        risk[k] = low if low == high else unknown[k]
    risk[last] = day_loss if day_loss == day_loss else unknown[last]
