"""A replay buffer that stores what was executed, for off-policy trainers inside the layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from riskenv.wrappers.penalties import PENALTIES
from stable_baselines3.common.buffers import ReplayBuffer

_CORRECTION = PENALTIES.index("correction")
_KEYS = ("executed_action", "penalties", "intervened", "reward_raw")
# Trainers carry actions and rewards in single precision.
_SLACK = 1e-4


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
        ValueError: the actions are not a bounded Box; a transition comes from an env outside the
            layer; what was executed is no action of the agent's own, as where a wrapper outside the
            layer turns a Box into rows of a menu or rescales it; or a wrapper there changed the
            reward, so that the correction's part cannot be taken out of it.

    Example:
        >>> buffer = ExecutedActionReplayBuffer(
        ...     8, spaces.Box(-1.0, 1.0, (1,)), spaces.Box(0.0, 10.0, (1,)), device="cpu"
        ... )
        >>> obs, asked, nobody = np.zeros((1, 1)), np.ones((1, 1)), np.zeros(1)
        >>> info = {"executed_action": np.array([5.0]), "penalties": np.array([0.0, 0.3, 0, 0, 0]),
        ...         "intervened": 1, "reward_raw": 0.0}
        >>> buffer.add(obs, obs, asked, np.array([-0.3]), nobody, [info])
        >>> buffer.actions[0].tolist(), round(float(buffer.rewards[0, 0]), 6)
        ([[0.0]], 0.0)
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
        missing = [key for key in _KEYS if key not in infos[0]]
        if missing:
            raise ValueError(
                f"infos: got no {' and no '.join(missing)}; allowed: those of a RiskConstrainedEnv"
            )
        executed = self._executed(action, infos)
        self._check_reward(reward, infos)
        # In [-1, 1], as the trainers store actions.
        scaled = 2.0 * (executed - self._low) / (self._high - self._low) - 1.0
        correction = np.array([info["penalties"][_CORRECTION] for info in infos])
        super().add(obs, next_obs, scaled.astype(action.dtype), reward + correction, done, infos)

    def _executed(self, action: NDArray[Any], infos: list[dict[str, Any]]) -> NDArray[np.float64]:
        """(n_envs, ...) executed actions, which must be the agent's own."""
        width = np.asarray(self._high, dtype=np.float64) - self._low
        asked = self._low + 0.5 * (np.asarray(action, dtype=np.float64) + 1.0) * width
        rows = []
        for k, info in enumerate(infos):
            given = info["executed_action"]
            if np.shape(given) != np.shape(self._low) or np.asarray(given).dtype.kind not in "fiu":
                self._refuse(given, "of another form")
            row = np.asarray(given, dtype=np.float64)
            slack = _SLACK * width
            if not ((row >= self._low - slack) & (row <= self._high + slack)).all():
                self._refuse(given, "outside it")
            wanted = np.reshape(asked[k], row.shape)
            if not info["intervened"] and not (np.abs(row - wanted) <= slack).all():
                self._refuse(given, f"not corrected, and the agent asked for {wanted}")
            rows.append(row)
        return np.stack(rows)

    def _refuse(self, executed: Any, why: str) -> None:
        raise ValueError(
            f"executed_action: got {executed!r}, which is {why}; allowed: actions of the agent's "
            f"own {self.action_space}. A wrapper outside the layer changes actions: put it inside, "
            "or use the trainer's own replay buffer"
        )

    def _check_reward(self, reward: NDArray[Any], infos: list[dict[str, Any]]) -> None:
        for given, info in zip(np.ravel(reward), infos, strict=True):
            if info["penalties"][_CORRECTION] == 0.0:
                continue  # nothing to take out, whatever the reward is
            own = info["reward_raw"] - float(np.sum(info["penalties"]))
            if not abs(float(given) - own) <= _SLACK * max(1.0, abs(own)):
                raise ValueError(
                    f"reward: got {float(given)} where the layer gave {own}; allowed: the layer's, "
                    "as the penalty on the correction is taken out of it. Put what changes rewards "
                    "inside the layer, or set penalty.correction_weight to 0"
                )
