"""What a step of the reference env costs more with the layer around it, and what training pays.

The bare env takes the same actions beside it, in the same run. Both replay days whose matrices are
cached: they play the same actions twice, with books that differ from one pass over the days to the
next, and the second time counts. Figures are printed, and no time is asserted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray
from riskenv.train import OptionsTradingEnv
from riskenv.wrappers import RiskConstrainedEnv

from riskenv import Caps, PortfolioRiskManager, RiskLimits, Rung, VarConfig
from riskenv.measures import GREEKS, GROSS

SPAN = ("2004-01-02", "2005-12-30")
SCENARIOS = 500
ROUNDS = 4_500
# Far above what the books below use, but for delta and vega, which they reach now and then. The
# env has no betas.
CAPS = {
    **dict.fromkeys((*GREEKS, *GROSS), 1e9), "delta": 1_500.0, "vega": 2_500.0,
    "day_loss": 1e9, "drawdown": 1e9,
}  # fmt: skip
TAILS = {"var_1d": 2e5, "es_1d": 3e5}
CASES = {
    "all caps but VaR": (CAPS, "60 us"),
    f"all caps, VaR at {SCENARIOS} scenarios": ({**CAPS, **TAILS}, "150 us"),
}


def bare_env(replay: bool) -> OptionsTradingEnv:
    whole = {"random_start": False, "episode_sessions": None} if replay else {}
    return OptionsTradingEnv("discrete", *SPAN, config={"menu_lots": 5.0, **whole})


def manager_over(env: OptionsTradingEnv, caps: dict[str, float]) -> PortfolioRiskManager:
    market = env.market
    past: dict[str, Any] = {}
    if "var_1d" in caps:
        past = {"history": market.factor_history(), "var": VarConfig(window=SCENARIOS)}
    return PortfolioRiskManager(
        RiskLimits(caps=Caps(**caps)), market.future_sessions, cache_bytes=4 << 30, **past
    )


class Player:
    """Steps an env for ever, with actions drawn anew for each pass over the days."""

    def __init__(self, env: gymnasium.Env[Any, Any], openings: NDArray[np.int64]) -> None:
        self.env, self.openings = env, openings
        self.rng = np.random.default_rng(4)
        self.sizes: list[int] = []
        self.corrected: list[int] = []
        env.reset(seed=0)

    def __call__(self) -> None:
        # Nine times in ten something is opened, so that about sixty instruments are held or
        # listed; else anything is done, closing included.
        names = self.openings if self.rng.random() < 0.9 else self.env.action_space.n
        step = self.env.step(int(self.rng.choice(names)))
        self.sizes.append(len(self.env.unwrapped.quantity))
        self.corrected.append(step[4].get("intervened", 0))
        if step[2] or step[3]:
            self.env.reset()


@pytest.mark.parametrize("case", CASES)
def test_a_step_inside_the_layer(case: str, race: Callable, figure: Callable) -> None:
    caps, target = CASES[case]
    bare, inner = bare_env(replay=True), bare_env(replay=True)
    layered = RiskConstrainedEnv(inner, manager_over(inner, caps))
    opening = np.array([k for k, row in enumerate(bare.menu) if row.is_static and k])

    def players() -> dict[str, Player]:
        return {"bare": Player(bare, opening), "layered": Player(layered, opening)}

    for player in players().values():
        for _ in range(ROUNDS + 1):
            player()
    playing = players()
    ran = race({name: (player, 1) for name, player in playing.items()}, ROUNDS)
    assert layered.state.rung < Rung.HALTED
    own = 1e6 * (ran.seconds["layered"] - ran.seconds["bare"])
    sizes, corrected = playing["layered"].sizes, np.mean(playing["layered"].corrected)
    figure(
        f"Step, {case}: the layer's own time {np.median(own):.0f} us (p99 "
        f"{np.quantile(own, 0.99):.0f}; target <= {target}); bare "
        f"{1e6 * ran.median('bare'):.0f} us (p99 {1e6 * ran.p99('bare'):.0f}), layered "
        f"{1e6 * ran.median('layered'):.0f} us (p99 {1e6 * ran.p99('layered'):.0f}); "
        f"{np.median(sizes):.0f} instruments ({min(sizes)} to {max(sizes)}), "
        f"{100.0 * corrected:.0f} % of the actions corrected"
    )


class Unmasked(gymnasium.Wrapper):
    """The bare env for the same algorithm: nothing is ever ruled out."""

    def action_masks(self) -> NDArray[np.bool_]:
        return np.ones(self.action_space.n, dtype=bool)


# What a trainer learns of each step it takes: the less, the more of its time is the env's.
LEARNS = {"as it comes": {}, "learning little": {"batch_size": 256, "n_epochs": 4}}


@pytest.mark.slow
@pytest.mark.parametrize("how", LEARNS)
def test_training_inside_the_layer(how: str, figure: Callable) -> None:
    from sb3_contrib import MaskablePPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    envs, rollout, rounds = 8, 256, 5
    bare = bare_env(replay=False)
    makes: dict[str, Callable[[], Any]] = {"bare": lambda: Unmasked(bare_env(replay=False))}
    for case, (caps, _) in CASES.items():
        manager = manager_over(bare, caps)
        makes[case] = lambda manager=manager: RiskConstrainedEnv(bare_env(replay=False), manager)
    models = {
        name: MaskablePPO(
            "MlpPolicy", DummyVecEnv([make] * envs), n_steps=rollout, seed=1, device="cpu",
            **LEARNS[how],
        )
        for name, make in makes.items()
    }  # fmt: skip
    fps: dict[str, list[float]] = {name: [] for name in models}
    for lap in range(rounds + 2):
        for name, model in models.items():
            start = time.perf_counter()
            model.learn(envs * rollout, reset_num_timesteps=False)
            if lap >= 2:  # the first days are priced, the first kernels compiled
                fps[name].append(envs * rollout / (time.perf_counter() - start))
    for (case, _), target in zip(CASES.items(), (80, 70), strict=True):
        share = np.median(np.array(fps[case]) / np.array(fps["bare"]))
        figure(
            f"MaskablePPO {how} on {envs} envs, {case}: {np.median(fps[case]):.0f} steps a second, "
            f"{100.0 * share:.0f} % (target >= {target} %) of the bare {np.median(fps['bare']):.0f}"
        )
    assert all(model.num_timesteps == (rounds + 2) * envs * rollout for model in models.values())
