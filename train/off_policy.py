"""A replay buffer that stores what was executed, for off-policy trainers inside the layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from riskenv.wrappers.penalties import PENALTIES
from stable_baselines3.common.buffers import ReplayBuffer

_CORRECTION = PENALTIES.index("correction")


class ExecutedActionReplayBuffer(ReplayBuffer):
    """Stores the action that the layer executed in place of the one that was asked for.

    An off-policy trainer may learn from any transition that is true, and this one is: executed
    action, its reward without the penalty on the correction (which belongs to the action that was
    not done), next observation. Meant for the projection (`limits.correction.method: project`),
    whose executed action is a function of the book and the request alone; and never for on-policy
    trainers, whose log-probabilities belong to the raw action.

    Args:
        as `stable_baselines3.common.buffers.ReplayBuffer`.

    Raises:
        ValueError: the actions are not a bounded Box, or a transition comes from an env outside the
            layer.

    Example:
        >>> buffer = ExecutedActionReplayBuffer(
        ...     8, spaces.Box(-1.0, 1.0, (1,)), spaces.Box(0.0, 10.0, (1,)), device="cpu"
        ... )
        >>> obs, asked, nobody = np.zeros((1, 1)), np.ones((1, 1)), np.zeros(1)
        >>> info = {"executed_action": np.array([5.0]), "penalties": np.array([0.0, 0.3, 0, 0, 0])}
        >>> buffer.add(obs, obs, asked, nobody, nobody, [info])
        >>> buffer.actions[0].tolist(), round(float(buffer.rewards[0, 0]), 6)
        ([[0.0]], 0.3)
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if not isinstance(action_space, spaces.Box) or not action_space.is_bounded():
            raise ValueError(f"action_space: got {action_space}; allowed: a bounded Box")
        super().__init__(buffer_size, observation_space, action_space, *args, **kwargs)
        self._low, self._high = action_space.low, action_space.high

    def add(
        self,
        obs: NDArray[Any],
        next_obs: NDArray[Any],
        action: NDArray[Any],
        reward: NDArray[Any],
        done: NDArray[Any],
        infos: list[dict[str, Any]],
    ) -> None:
        missing = [key for key in ("executed_action", "penalties") if key not in infos[0]]
        if missing:
            raise ValueError(
                f"infos: got no {' and no '.join(missing)}; allowed: those of a RiskConstrainedEnv"
            )
        executed = np.stack([info["executed_action"] for info in infos])
        # In [-1, 1], as the trainers store actions.
        scaled = 2.0 * (executed - self._low) / (self._high - self._low) - 1.0
        correction = np.array([info["penalties"][_CORRECTION] for info in infos])
        super().add(obs, next_obs, scaled.astype(action.dtype), reward + correction, done, infos)
