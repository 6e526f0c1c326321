"""How the risk layer reads and drives `OptionsTradingEnv`, in any convention."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from riskenv.train.menu import HOLD, SLOTS_PER_UNDERLYING, closing_trades
from riskenv.train.options_env import OptionsTradingEnv
from riskenv.train.slot_sizes import CLOSE_FRACTIONS, SlotSizes
from riskenv.wrappers.adapter import Adapter, Traits

from riskenv.factor_history import FactorHistory
from riskenv.market import Market
from riskenv.portfolio import Portfolio
from riskenv.sessions import Sessions


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
        """(A, n) the trades of every action of the menu; None where each slot is sized."""
        base = _base(env)
        return base.preview_all() if base.convention == "discrete" else None

    def encode(self, env: Any, trades: NDArray[np.float64], proposed: Any) -> Any | None:
        """An action that trades exactly this, or None where no action does; of shares, which a
        joint choice has in steps, it may trade fewer.

        Args:
            env: the env.
            trades: (n,) wanted, in the order of the snapshot's table.
            proposed: the action whose closing fractions are tried first, or which is returned
                itself where it already trades this.
        """
        base = _base(env)
        wanted = np.asarray(trades, dtype=np.float64)
        if base.slot_sizes is None:
            if proposed is not None and np.array_equal(base.preview(proposed), wanted):
                return proposed
            rows = np.flatnonzero((base.preview_all() == wanted).all(axis=1))
            return int(rows[0]) if len(rows) else None
        action = _encode_slots(base, base.slot_sizes, wanted, proposed)
        # Never trusted: what is returned trades what was asked, or fewer shares.
        if action is None or not _is_it_or_fewer_shares(base, base.preview(action), wanted):
            return None
        return action

    def fallbacks(self, env: Any) -> list[Any]:
        """Known safe actions, mildest first: hold, then hedges and closes."""
        base = _base(env)
        sizes = base.slot_sizes
        if sizes is None:
            order = ("delta_hedge", "close_half", "close_all", "close_everything")
            menu = base.menu
            return [HOLD] + [
                row for kind in order for row, entry in enumerate(menu) if entry.kind == kind
            ]
        width = sizes.tickers
        actions = [sizes.hold.copy()]
        groups = [[u] for u in range(width)] + ([list(range(width))] if width > 1 else [])
        for group in groups:
            for close in CLOSE_FRACTIONS[1:]:
                fraction = np.zeros(width)
                fraction[group] = close
                actions.append(sizes.action(np.zeros(sizes.slots), np.zeros(width), fraction))
        return actions

    def sessions(self, env: Any) -> Sessions:
        """The calendar, which reaches past the end of the price history."""
        return _base(env).market.future_sessions

    def factor_history(self, env: Any) -> FactorHistory:
        """Daily moves of spot and volatility over the whole history."""
        return _base(env).market.factor_history()


def _encode_slots(
    base: OptionsTradingEnv, sizes: SlotSizes, wanted: NDArray[np.float64], proposed: Any
) -> NDArray[Any] | None:
    """Split the trades of each ticker into a closing fraction and what its own slots can do."""
    if wanted.shape != base.quantity.shape or not (wanted == np.rint(wanted)).all():
        return None
    hints = np.zeros(sizes.tickers) if proposed is None else sizes.sizes(proposed)[2]
    lots, shares, fraction = np.zeros(sizes.slots), np.zeros(sizes.tickers), np.zeros(sizes.tickers)
    tickers = base.table.underlying_index
    for u in range(sizes.tickers):
        rows = np.flatnonzero(tickers == u)
        split = _split(base, sizes, u, rows, wanted[rows], float(hints[u]))
        if split is None:
            return None
        shares[u], fraction[u], of_ticker = split
        lots[u * SLOTS_PER_UNDERLYING : (u + 1) * SLOTS_PER_UNDERLYING] = of_ticker
    return sizes.action(lots, shares, fraction)


def _is_it_or_fewer_shares(
    base: OptionsTradingEnv, trades: NDArray[np.float64], wanted: NDArray[np.float64]
) -> bool:
    fewer = (trades * wanted >= 0.0) & (np.abs(trades) <= np.abs(wanted)) & (base.table.kind == 0)
    return bool(((trades == wanted) | fewer).all())


def _split(
    base: OptionsTradingEnv,
    sizes: SlotSizes,
    u: int,
    rows: NDArray[np.int64],
    wanted: NDArray[np.float64],
    hint: float,
) -> tuple[float, float, NDArray[np.float64]] | None:
    """(one ticker's shares, its closing fraction, the lots of its slots), or None where no fraction
    leaves the rest within reach of the slots."""
    held = base.quantity[rows]
    slots = base.slot_rows[u * SLOTS_PER_UNDERLYING : (u + 1) * SLOTS_PER_UNDERLYING] - rows[0]
    reach = np.bincount(slots, minlength=len(rows)) * float(sizes.max_lots)
    reach[0] = np.inf  # an underlying sorts before its options
    smaller: tuple[float, float] | None = None
    for fraction in _fractions(sizes, held, wanted, hint):
        rest = wanted - closing_trades(held, fraction, True)
        shares = sizes.writable_shares(float(rest[0]))
        if (np.abs(rest) > reach).any() or shares is None:
            continue
        if shares == rest[0]:
            return shares, fraction, _by_slot(sizes, slots, rest)
        smaller = smaller or (shares, fraction)
    if smaller is None:
        return None
    rest = wanted - closing_trades(held, smaller[1], True)
    return *smaller, _by_slot(sizes, slots, rest)


def _by_slot(
    sizes: SlotSizes, slots: NDArray[np.int64], rest: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(12,) lots of each slot: of two slots of one contract the first takes what it can."""
    lots, left = np.zeros(len(slots)), rest.copy()
    for i, slot in enumerate(slots):
        lots[i] = np.clip(left[slot], -sizes.max_lots, sizes.max_lots)
        left[slot] -= lots[i]
    return lots


def _fractions(
    sizes: SlotSizes, held: NDArray[np.float64], wanted: NDArray[np.float64], hint: float
) -> list[float]:
    """Closing fractions to try: none, the proposed one, those the trades imply, the round ones."""
    closing = held * wanted < 0.0
    implied = np.minimum(np.abs(wanted[closing] / held[closing]), 1.0)
    tried = [0.0, min(hint, 1.0), *np.unique(implied).tolist(), *CLOSE_FRACTIONS]
    # As the action will carry them, so that rounding agrees.
    written = [sizes.writable(fraction) for fraction in tried]
    return list(dict.fromkeys(fraction for fraction in written if fraction is not None))


def _base(env: Any) -> OptionsTradingEnv:
    base = env.unwrapped
    if not isinstance(base, OptionsTradingEnv):
        raise TypeError(f"env: got {type(base).__name__}; allowed: an OptionsTradingEnv")
    return base
