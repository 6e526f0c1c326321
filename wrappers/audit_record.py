"""One step for the record: what was proposed, what was done, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from riskenv.wrappers.penalties import PENALTIES

from riskenv.canonical import number
from riskenv.circuit_breaker import BreakerState
from riskenv.decision import Decision


@dataclass(frozen=True, eq=False)
class AuditRecord:
    """A step, in memory of its own.

    Attributes:
        proposed, executed: actions.
        intervened: whether something other than the proposed action was executed.
        penalties: (5,) as `riskenv.wrappers.penalties.PENALTIES` names them.
        reward: the env's own.
        state: the breaker's, after the step.
    """

    proposed: Any
    executed: Any
    intervened: bool
    penalties: NDArray[np.float64]
    reward: float
    state: BreakerState

    def to_dict(self, decision: Decision | None) -> dict[str, Any]:
        """JSON-ready; what is no number (NaN, infinite) is None, and what no JSON can hold is its
        text.

        Example:
            >>> record = AuditRecord([np.nan, 1.0], 0, True, np.zeros(5), 0.5, BreakerState())
            >>> record.to_dict(None)["proposed_action"]
            [None, 1.0]
        """
        return {
            "proposed_action": jsonable(self.proposed),
            "executed_action": jsonable(self.executed),
            "intervened": self.intervened,
            "penalties": dict(zip(PENALTIES, self.penalties.tolist(), strict=True)),
            "reward_raw": number(self.reward),
            "decision": None if decision is None else decision.to_dict(),
            "state": self.state.to_dict(),
        }


def jsonable(action: Any) -> Any:
    """An action as JSON can hold it.

    Example:
        >>> jsonable({"lots": np.array([1, 2]), "note": 1j})
        {'lots': [1, 2], 'note': '1j'}
    """
    if isinstance(action, np.ndarray | np.generic):
        action = action.tolist()
    if isinstance(action, Mapping):
        return {str(key): jsonable(part) for key, part in action.items()}
    if isinstance(action, list | tuple):
        return [jsonable(part) for part in action]
    if isinstance(action, float):
        return number(action)
    return action if action is None or isinstance(action, str | int) else str(action)
