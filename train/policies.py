"""Scripted policies: baselines and probes that need no training.

A policy is anything with `act(env, obs) -> action`; these read the env's own positions, so they
also work around wrappers that change what is observed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from riskenv.train.menu import HOLD
from riskenv.train.options_env import OptionsTradingEnv


class HoldPolicy:
    """Never trades, in any convention."""

    def act(self, env: Any, obs: NDArray[np.float32]) -> Any:
        sizes = _base(env).slot_sizes
        return HOLD if sizes is None else sizes.hold.copy()


class RandomPolicy:
    """Uniform over the menu, over each slot's choices, or over the symmetric box.

    Args:
        seed: of the policy's own generator; two policies of one seed act alike.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def act(self, env: Any, obs: NDArray[np.float32]) -> Any:
        base = _base(env)
        if base.convention == "discrete":
            return int(self._random.integers(len(base.action_names)))
        if isinstance(base.action_space, spaces.MultiDiscrete):
            return self._random.integers(base.action_space.nvec)
        return self._random.uniform(-1.0, 1.0, len(base.action_names)).astype(np.float32)


class ShortStranglePolicy:
    """Keeps a naked short strangle on each underlying, held to expiry: premium until the crash.

    Whenever the short lots of an underlying (the smaller of its short puts and short calls) are
    at least one menu size below the target, it sells a near strangle, on the ticker furthest
    below first, one action a step. It never hedges and never buys back.

    Args:
        lots: target number of strangles on each underlying; a number for all, or by ticker.
        structure: the menu row to sell, "sell_strangle" or "sell_straddle".

    Raises:
        ValueError: a negative target, or another structure.
    """

    def __init__(self, lots: float | dict[str, float], structure: str = "sell_strangle") -> None:
        if structure not in ("sell_strangle", "sell_straddle"):
            raise ValueError(
                f"structure: got {structure!r}; allowed: 'sell_strangle' or 'sell_straddle'"
            )
        targets = lots.values() if isinstance(lots, dict) else (lots,)
        if any(not target >= 0.0 for target in targets):
            raise ValueError(f"lots: got {lots!r}; allowed: numbers at or above 0")
        self._lots, self._structure = lots, structure

    def act(self, env: Any, obs: NDArray[np.float32]) -> int:
        """
        Raises:
            ValueError: the env's convention is not "discrete".
        """
        base = _base(env)
        if base.convention != "discrete":
            raise ValueError(
                f"ShortStranglePolicy: got convention {base.convention!r}; allowed: 'discrete'"
            )
        short: dict[str, dict[str, float]] = {}
        for instrument, contracts in base.positions.items():
            if instrument.is_option and contracts < 0.0:
                sides = short.setdefault(instrument.underlying, {"C": 0.0, "P": 0.0})
                sides[instrument.right] -= contracts
        choice, widest = HOLD, base.config.menu_lots - 1e-9
        for ticker in base.table.underlyings:
            target = self._lots.get(ticker, 0.0) if isinstance(self._lots, dict) else self._lots
            gap = target - min(short.get(ticker, {"": 0.0}).values())
            if gap > widest:
                choice, widest = base.action_names.index(f"{self._structure} {ticker}"), gap
        return choice


def _base(env: Any) -> OptionsTradingEnv:
    base = env.unwrapped
    if not isinstance(base, OptionsTradingEnv):
        raise TypeError(f"env: got {type(base).__name__}; allowed: an OptionsTradingEnv")
    return base
