"""How the risk layer reads and drives `OptionsTradingEnv`, in either convention."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from riskenv.train.menu import HOLD, SLOTS_PER_UNDERLYING, closing_trades
from riskenv.train.options_env import OptionsTradingEnv
from riskenv.wrappers.adapter import Adapter, Traits

from riskenv.factor_history import FactorHistory
from riskenv.market import Market
from riskenv.portfolio import Portfolio
from riskenv.sessions import Sessions

CLOSE_FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)


class OptionsEnvAdapter(Adapter):
    """Answers all the questions of the adapter protocol, exactly; it keeps no state.

    Every method takes the env, bare or wrapped, and changes nothing in it.

    Args:
        whole_lots: whether the env trades options in whole contracts; its `risk_adapter` knows.
    """

    def __init__(self, whole_lots: bool = True) -> None:
        self.traits = Traits(fills="now", unasked=("expiry", "margin_call"), whole_lots=whole_lots)

    def snapshot(self, env: Any, obs: Any = None, info: Any = None) -> tuple[Portfolio, Market]:
        """What is held and at what market, at the close of the decision."""
        return _base(env).snapshot()

    def preview(self, env: Any, action: Any) -> NDArray[np.float64]:
        """(n,) the trades of an action, in the order of the snapshot's table."""
        return _base(env).preview(action)

    def preview_all(self, env: Any) -> NDArray[np.float64] | None:
        """(A, n) the trades of every action of the menu; None for the box."""
        base = _base(env)
        return base.preview_all() if base.convention == "discrete" else None

    def encode(self, env: Any, trades: NDArray[np.float64], proposed: Any) -> Any | None:
        """An action that trades exactly this, or None where no action does.

        Args:
            env: the env.
            trades: (n,) wanted, in the order of the snapshot's table.
            proposed: the action whose closing fractions are tried first, or which is returned
                itself where it already trades this.
        """
        base = _base(env)
        wanted = np.asarray(trades, dtype=np.float64)
        if base.convention == "discrete":
            if proposed is not None and np.array_equal(base.preview(proposed), wanted):
                return proposed
            rows = np.flatnonzero((base.preview_all() == wanted).all(axis=1))
            return int(rows[0]) if len(rows) else None
        action = _encode_box(base, wanted, proposed)
        # Never trusted: what is returned trades exactly what was asked.
        if action is None or not np.array_equal(base.preview(action), wanted):
            return None
        return action

    def fallbacks(self, env: Any) -> list[Any]:
        """Known safe actions, mildest first: hold, then hedges and closes."""
        base = _base(env)
        if base.convention == "discrete":
            order = ("delta_hedge", "close_half", "close_all", "close_everything")
            menu = base.menu
            return [HOLD] + [
                row for kind in order for row, entry in enumerate(menu) if entry.kind == kind
            ]
        size, width = len(base.action_names), len(base.underlyings)
        actions = [np.zeros(size, dtype=np.float32)]
        groups = [[u] for u in range(width)] + ([list(range(width))] if width > 1 else [])
        for group in groups:
            for fraction in CLOSE_FRACTIONS[1:]:
                action = np.zeros(size, dtype=np.float32)
                action[[size - width + u for u in group]] = fraction
                actions.append(action)
        return actions

    def sessions(self, env: Any) -> Sessions:
        """The calendar, which reaches past the end of the price history."""
        return _base(env).market.future_sessions

    def factor_history(self, env: Any) -> FactorHistory:
        """Daily moves of spot and volatility over the whole history."""
        return _base(env).market.factor_history()


def _encode_box(
    base: OptionsTradingEnv, wanted: NDArray[np.float64], proposed: Any
) -> NDArray[np.float32] | None:
    """Split the trades of each ticker into a closing fraction and what its own slots can do."""
    if wanted.shape != base.quantity.shape or not (wanted == np.rint(wanted)).all():
        return None
    width = len(base.underlyings)
    action = np.zeros(len(base.action_names), dtype=np.float32)
    tickers = base.table.underlying_index
    for u in range(width):
        rows = np.flatnonzero(tickers == u)
        hint = 0.0
        if proposed is not None:
            hint = max(0.0, float(np.float32(np.asarray(proposed)[len(action) - width + u])))
        if not _encode_ticker(base, u, rows, wanted[rows], hint, action):
            return None
    return action


def _encode_ticker(
    base: OptionsTradingEnv,
    u: int,
    rows: NDArray[np.int64],
    wanted: NDArray[np.float64],
    hint: float,
    action: NDArray[np.float32],
) -> bool:
    """Write one ticker's part of the action; False where no closing fraction leaves the rest
    within reach of the slots."""
    config, held = base.config, base.quantity[rows]
    slots = base.slot_rows[u * SLOTS_PER_UNDERLYING : (u + 1) * SLOTS_PER_UNDERLYING] - rows[0]
    reach = np.bincount(slots, minlength=len(rows)) * float(config.max_lots)
    reach[0] = float(config.max_shares)  # an underlying sorts before its options
    for fraction in _fractions(held, wanted, hint):
        rest = wanted - closing_trades(held, fraction, True)
        if (np.abs(rest) > reach).any():
            continue
        for i, slot in enumerate(slots):
            # Two slots may be one contract: the first takes what it can, the next the rest.
            lots = float(np.clip(rest[slot], -config.max_lots, config.max_lots))
            rest[slot] -= lots
            action[u * SLOTS_PER_UNDERLYING + i] = lots / config.max_lots
        width = len(base.underlyings)
        action[width * SLOTS_PER_UNDERLYING + u] = rest[0] / config.max_shares
        action[len(action) - width + u] = fraction
        return True
    return False


def _fractions(held: NDArray[np.float64], wanted: NDArray[np.float64], hint: float) -> list[float]:
    """Closing fractions to try: none, the proposed one, those the trades imply, the round ones."""
    closing = held * wanted < 0.0
    implied = np.minimum(np.abs(wanted[closing] / held[closing]), 1.0)
    tried = [0.0, min(hint, 1.0), *np.unique(implied).tolist(), *CLOSE_FRACTIONS]
    # As the action will carry them, in single precision, so that rounding agrees.
    return list(dict.fromkeys(float(np.float32(fraction)) for fraction in tried))


def _base(env: Any) -> OptionsTradingEnv:
    base = env.unwrapped
    if not isinstance(base, OptionsTradingEnv):
        raise TypeError(f"env: got {type(base).__name__}; allowed: an OptionsTradingEnv")
    return base
