"""Training inside the layer: MaskablePPO on the masked menu, PPO on the box."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from riskenv.train.demo_config import DemoConfig
from riskenv.train.layered_env import layered_env
from riskenv.train.options_env import Convention
from riskenv.wrappers.penalties import PENALTIES
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

Progress = Callable[[int], None]


class ModelPolicy:
    """A trained agent as a policy: `act(env, obs)`, deterministic, masked where the env has masks.

    Args:
        model: a stable-baselines3 model.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def act(self, env: Any, obs: NDArray[np.float32]) -> Any:
        if isinstance(self._model, MaskablePPO):
            masks = env.get_wrapper_attr("action_masks")()
            action, _ = self._model.predict(obs, action_masks=masks, deterministic=True)
            return int(action)
        action, _ = self._model.predict(obs, deterministic=True)
        return action


class _ReportSteps(BaseCallback):
    """Tells a progress bar of every step taken; logs what the layer did."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def _on_step(self) -> bool:
        infos = self.locals["infos"]
        self._progress(len(infos))
        for key in ("intervened", "cost", "rung"):
            self.logger.record_mean(f"risk/{key}", float(np.mean([i[key] for i in infos])))
        penalties = np.mean([i["penalties"] for i in infos], axis=0)
        for name, penalty in zip(PENALTIES, penalties.tolist(), strict=True):
            self.logger.record_mean(f"risk/penalty_{name}", penalty)
        return True


def train(config: DemoConfig, convention: Convention, out: Path, progress: Progress) -> ModelPolicy:
    """Train one agent inside the layer and save it.

    Args:
        convention: "discrete" trains MaskablePPO, "box" PPO.
        out: folder for `ppo_<convention>.zip` and `tensorboard/`.
        progress: called with the number of env steps just taken.
    """
    settings = config.training
    steps = settings.discrete_steps if convention == "discrete" else settings.box_steps
    torch.manual_seed(config.seed)

    def make() -> Monitor[Any, Any]:
        return Monitor(layered_env(config, convention, config.train_span))

    envs = DummyVecEnv([make] * settings.envs)
    algorithm = MaskablePPO if convention == "discrete" else PPO
    model = algorithm(
        "MlpPolicy",
        envs,
        n_steps=settings.rollout,
        batch_size=settings.batch,
        n_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        seed=config.seed,
        tensorboard_log=str(out / "tensorboard"),
        device="cpu",
    )
    model.learn(steps, callback=_ReportSteps(progress), tb_log_name=convention)
    model.save(out / f"ppo_{convention}.zip")
    envs.close()
    return ModelPolicy(model)
