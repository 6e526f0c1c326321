"""What an agent is shown of the layer, so that caps do not seem to move by themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from riskenv.wrappers.cap_use import CapUse
from riskenv.wrappers.observations import copied

from riskenv.assessment import Assessment
from riskenv.circuit_breaker import Rung
from riskenv.config import ConfigError
from riskenv.limits import RiskLimits
from riskenv.measures import INDEX

# The headroom shown is cut here, and this is shown of what is Unknown: four caps in use.
LEAST_HEADROOM = -3.0
# An event farther away than this many session closes shows as 1.
FARTHEST_EVENT = 20
# The key that a Dict observation gains.
KEY = "risk"


class RiskObservation:
    """Appends the layer's state to a flat Box of floats, or adds it to a Dict as "risk".

    Numbers, all finite: for each cap (`riskenv.wrappers.cap_use.CapUse`) its headroom as a share
    of the cap, in [-3, 1]; where one-day VaR is capped, VaR / limit in [0, 4]; the rung in [0, 1];
    and the closes before the next event in force, as a share of 20, 1 where there is none.
    What is Unknown shows as the worst there is: headroom -3, VaR 4 limits, an event at once.

    Args:
        space: the env's observation space.
        limits: the caps.

    Raises:
        ConfigError: the space is neither a flat Box of floats nor a Dict without a "risk".

    Example:
        >>> from riskenv.limits import Caps
        >>> limits = RiskLimits(caps=Caps(delta=500.0, var_1d=1e4))
        >>> RiskObservation(spaces.Box(-1.0, 1.0, (3,)), limits).names
        ('headroom_delta', 'headroom_var_1d', 'var_to_limit', 'rung', 'time_to_event')
    """

    def __init__(self, space: spaces.Space[Any], limits: RiskLimits) -> None:
        self._caps = CapUse(limits)
        self._has_var = "var_1d" in self._caps.names
        headroom = tuple(f"headroom_{name}" for name in self._caps.names)
        var = ("var_to_limit",) if self._has_var else ()
        self.names: tuple[str, ...] = (*headroom, *var, "rung", "time_to_event")
        count, high = len(headroom), np.ones(len(self.names))
        low = np.zeros(len(self.names))
        low[:count] = LEAST_HEADROOM
        if self._has_var:
            high[count] = 1.0 - LEAST_HEADROOM
        self.space = self._extended(space, low, high)

    def _extended(
        self, space: spaces.Space[Any], low: NDArray[np.float64], high: NDArray[np.float64]
    ) -> spaces.Box | spaces.Dict:
        if isinstance(space, spaces.Dict) and KEY not in space.spaces:
            risk = spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
            return spaces.Dict({**space.spaces, KEY: risk})
        floats = np.issubdtype(space.dtype or object, np.floating)
        if not isinstance(space, spaces.Box) or len(space.shape) != 1 or not floats:
            raise ConfigError(
                f"observe_risk: the observation space is {space}; allowed: a flat Box of floats, "
                f"or a Dict without a key {KEY!r}"
            )
        return spaces.Box(
            np.concatenate([space.low, low.astype(space.dtype)]),
            np.concatenate([space.high, high.astype(space.dtype)]),
            dtype=space.dtype.type,
        )

    def of(self, obs: Any, a: Assessment) -> Any:
        """The observation with the layer's numbers; a copy."""
        risk = self.numbers(a)
        if isinstance(self.space, spaces.Dict):
            return {**copied(obs), KEY: risk.astype(np.float32)}
        return np.concatenate([obs, risk], dtype=self.space.dtype, casting="same_kind")

    def numbers(self, a: Assessment) -> NDArray[np.float64]:
        """(R,) the numbers, as `names` names them."""
        used = np.nan_to_num(self._caps.of(a), nan=np.inf, posinf=np.inf)
        headroom = np.maximum(1.0 - used, LEAST_HEADROOM)
        left = [active.closes_before for active in a.events.active]
        out = np.empty(len(self.names))
        out[: len(headroom)] = headroom
        if self._has_var:
            loss = np.nan_to_num(a.used[INDEX["var_1d"]], nan=np.inf, posinf=np.inf)
            out[-3] = min(loss, 1.0 - LEAST_HEADROOM)
        out[-2] = a.rung / Rung.HALTED
        unknown = a.events.calendar_unknown or a.events.unknown or a.events.undated
        out[-1] = 0.0 if unknown else min(left, default=FARTHEST_EVENT) / FARTHEST_EVENT
        return out
