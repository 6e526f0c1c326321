"""Envs of the time before Gymnasium: `step` of four values, `reset` of one, a `seed` method."""

from __future__ import annotations

import inspect
from typing import Any

import gymnasium
from gymnasium import spaces
from riskenv.wrappers.observations import copied

from riskenv.config import ConfigError


class OldGymEnv(gymnasium.Env[Any, Any]):
    """Gives an env of the old Gym interface the present one.

    `done` becomes `terminated`, or `truncated` where the info says "TimeLimit.truncated".
    Observations are copied: old envs often hand out one buffer for ever. An adapter's readers find
    the env itself as `env.old`.

    Args:
        env: an object with `reset()`, `step(action)`, `action_space` and `observation_space`;
            spaces of the old Gym are taken over where they are a Discrete, MultiDiscrete,
            MultiBinary or Box.

    Raises:
        ConfigError: a method is missing, or a space is of another kind.

    Example:
        >>> import numpy as np
        >>> from types import SimpleNamespace
        >>> old = SimpleNamespace(
        ...     action_space=spaces.Discrete(2), observation_space=spaces.Box(0.0, 1.0, (1,)),
        ...     reset=lambda: np.zeros(1, np.float32),
        ...     step=lambda action: (np.ones(1, np.float32), 1.0, True, {}))
        >>> env = OldGymEnv(old)
        >>> env.reset(seed=3)
        (array([0.], dtype=float32), {})
        >>> env.step(1)
        (array([1.], dtype=float32), 1.0, True, False, {})
    """

    def __init__(self, env: Any) -> None:
        for name in ("reset", "step", "action_space", "observation_space"):
            if not hasattr(env, name):
                raise ConfigError(f"env: {type(env).__name__} has no {name}; allowed: a Gym env")
        self.old = env
        self.action_space = _space("action_space", env.action_space)
        self.observation_space = _space("observation_space", env.observation_space)
        self.metadata = dict(getattr(env, "metadata", {}))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None and hasattr(self.old, "seed"):
            self.old.seed(seed)
        # The last of the old ones took a seed here, too.
        takes_seed = "seed" in inspect.signature(self.old.reset).parameters
        result = self.old.reset(seed=seed) if takes_seed else self.old.reset()
        if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict):
            return copied(result[0]), dict(result[1])
        return copied(result), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, reward, done, info = self.old.step(action)
        cut = bool(info.get("TimeLimit.truncated", False))
        return copied(obs), float(reward), bool(done) and not cut, bool(done) and cut, dict(info)

    def render(self) -> Any:
        return self.old.render()

    def close(self) -> None:
        if hasattr(self.old, "close"):
            self.old.close()


def _space(name: str, space: Any) -> spaces.Space[Any]:
    """The space itself, or its twin: told by its name, so that the old Gym is not imported."""
    if isinstance(space, spaces.Space):
        return space
    kind = type(space).__name__
    if kind == "Discrete":
        return spaces.Discrete(int(space.n), start=int(getattr(space, "start", 0)))
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(space.nvec)
    if kind == "MultiBinary":
        return spaces.MultiBinary(space.n)
    if kind == "Box":
        return spaces.Box(space.low, space.high, dtype=space.dtype.type)
    raise ConfigError(
        f"{name}: got a {type(space).__module__}.{kind}; allowed: a space of Gymnasium, or an old "
        "Discrete, MultiDiscrete, MultiBinary or Box"
    )
