"""What may be done in place of a request, as actions of the env: each previewed, none trusted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from riskenv.wrappers.action_spaces import ActionKind, BoxActions, MenuActions, distinct
from riskenv.wrappers.actions import brought_in
from riskenv.wrappers.adapter import Adapter, Protection
from riskenv.wrappers.observations import copied

from riskenv.assessment import Assessment
from riskenv.circuit_breaker import BreakerState, Rung
from riskenv.config import ConfigError
from riskenv.decision import Decision
from riskenv.portfolio_risk_manager import PortfolioRiskManager
from riskenv.projection import Proposal

FloatArray = NDArray[np.float64]

# Trades of the layer's own choice that are put to `encode` before known actions are taken.
ENCODE_ATTEMPTS = 3
# What a decision says where nothing that it was offered would do.
_FLAWS = frozenset(("least_violating", "flatten_unresolved"))


class Choice(NamedTuple):
    """A decision with the actions that its rows stand for.

    Example:
        >>> from types import SimpleNamespace
        >>> Choice(["buy", "hold"], None, None, SimpleNamespace(row=1, reasons=())).action
        'hold'
    """

    actions: list[Any]
    proposal: Proposal
    state: BreakerState
    decision: Decision

    @property
    def action(self) -> Any:
        """The action to do."""
        return self.actions[self.decision.row]

    @property
    def flawed(self) -> bool:
        return any(reason.code in _FLAWS for reason in self.decision.reasons)


class Alternatives:
    """Finds the action to do where the request may not pass.

    In this order: of a menu, the nearest row that may; else the trade nearest to the request that
    the layer can find (reductions that are due first), where the adapter can put it into an
    action; else, of the request on its way to nothing and the actions known to be safe, the one
    nearest to it. An action is judged by its own preview, whatever it was made for.

    Args:
        manager: the layer; adapter: how to read the env; kind: its actions.

    Example:
        >>> import gymnasium, riskenv.train
        >>> from riskenv.wrappers import RiskConstrainedEnv
        >>> from riskenv.wrappers.action_spaces import action_kind
        >>> bare = gymnasium.make("riskenv/OptionsTrading-v0", convention="discrete")
        >>> env = RiskConstrainedEnv(bare, {"caps": {"vega": 100}})
        >>> _ = env.reset(seed=0)
        >>> choose = Alternatives(env.manager, env.adapter, action_kind(env.action_space))
        >>> choose.as_asked(bare, env.state, env.assessment, 1).flawed   # sells a strangle
        True
        >>> instead = choose.instead_of(bare, env.state, env.assessment, 1)
        >>> instead.decision.verdict.value, bare.unwrapped.action_names[instead.action]
        ('BLOCK', 'hold')
    """

    def __init__(self, manager: PortfolioRiskManager, adapter: Adapter, kind: ActionKind) -> None:
        self.manager, self.adapter, self.kind = manager, adapter, kind

    def as_asked(self, env: Any, state: BreakerState, a: Assessment, action: Any) -> Choice:
        """The request by itself."""
        return self._decide(state, a, [action], Proposal(self.preview(env, a, action)[None, :]))

    def instead_of(
        self, env: Any, state: BreakerState, a: Assessment, action: Any | None
    ) -> Choice:
        """The best there is in place of the request; of nothing, where it is None.

        Raises:
            ConfigError: there is no request, and no action is known to do nothing.
        """
        if isinstance(self.kind, MenuActions):
            return self._of_menu(env, state, a, action)
        if action is None:
            self._check_hold(env, a)
        fallbacks = self._fallbacks(env)
        asked = fallbacks[0] if action is None else action
        return self._encoded(env, state, a, asked) or self._known(env, state, a, asked, fallbacks)

    def preview(self, env: Any, a: Assessment, action: Any) -> FloatArray:
        """(n,) the trades of an action, or what they are judged as where they cannot be known."""
        trades = self._known_trades(env, a, action)
        if trades is not None:
            return trades
        # The account is all that can be read: let be while no cap is broken and no event blocks
        # anything, and then refused, since NaN is inside no cap.
        held = any(scope.rung >= Rung.BLOCK_NEW for scope in a.scopes)
        free = a.rung < Rung.BLOCK_NEW and not held and not a.entry_blocked.any()
        return np.full(len(a.table), 0.0 if free else np.nan)

    def _known_trades(self, env: Any, a: Assessment, action: Any) -> FloatArray | None:
        """(n,) what the adapter says that an action trades.

        It is handed a copy, and what it returns is copied: an env may scale an action in place, or
        fill one buffer for ever, and neither must change what was judged.
        """
        trades = self.adapter.preview(env, copied(action))
        return None if trades is None else _numbers("preview", trades, (len(a.table),))

    def menu(self, env: Any, a: Assessment) -> FloatArray:
        """(A, n) the trades of every action of a menu."""
        trades = self._all_rows(env, a)
        return self._row_by_row(env, a) if trades is None else trades

    def _all_rows(self, env: Any, a: Assessment) -> FloatArray | None:
        assert isinstance(self.kind, MenuActions)
        trades = self.adapter.preview_all(env)
        shape = len(self.kind.every), len(a.table)
        return None if trades is None else _numbers("preview_all", trades, shape)

    def mask(self, env: Any, a: Assessment, at_once: int | None) -> Any:
        """Which choices are open, in the form that the space's kind has (`ActionKind.shaped`).

        Of a menu exactly the rows that would pass. Of slots that act together a mask cannot say
        which combinations would, and so is careful: with m slots in which anything but nothing is
        open, a choice is open where, done m times over, it would pass. The admissible trades are a
        convex set, VaR and rungs aside, and a joint trade is the mean of its slots' trades each
        done m times: so where trades of slots add up, every combination of open choices is inside
        the caps. Of m = 1, 2, 4, ... up to the number of slots the one that leaves most open is
        taken; slots beyond m are closed, those with fewest open choices first.

        A Box in a Dict has no mask. It stands where the first fallback has it while the choices
        beside it are judged: what it adds is for `step` to correct.

        Args:
            at_once: how many slots are reckoned with instead, none being closed: combinations of
                more than so many may need correction. While the layer reduces the book each
                choice is judged by itself.

        Doing nothing is always open.
        """
        if isinstance(self.kind, MenuActions):
            return self.manager.mask(a, Proposal(self.menu(env, a)))
        base = self._fallbacks(env)[0]
        choices = self.kind.choices(base)
        still = self.preview(env, a, base)
        change = np.stack([self.preview(env, a, choice) for choice in choices]) - still
        nothing = np.array([not self.kind.change(base, choice) for choice in choices])
        slots = self.kind.choice_slots()
        if a.reducing:
            at_once = 1
        times = (
            _powers(int(slots[-1]) + 1) if at_once is None else [min(at_once, int(slots[-1]) + 1)]
        )
        rows = np.concatenate([still + m * change for m in times])
        flags = self.manager.mask(a, Proposal(rows)).reshape(len(times), -1) & ~nothing
        if at_once is None:
            flags = np.stack([_of_slots(f, slots, m) for f, m in zip(flags, times, strict=True)])
        return self.kind.shaped(flags[np.argmax(flags.sum(axis=1))] | nothing)

    def _fallbacks(self, env: Any) -> list[Any]:
        """The actions known to be safe, as far as they are actions; else the one that rests:
        without a hold among the alternatives nothing could be blocked."""
        known = [
            action if self.kind.contains(action) else brought_in(self.kind.space, action)
            for action in self.adapter.fallbacks(env)
        ]
        return [action for action in known if action is not None] or [self.kind.rest()]

    def check_rest(self, env: Any, a: Assessment) -> None:
        """Refuse to take an action that trades for one that does nothing.

        What is held may be closed by it: so it is only judged where nothing is held.

        Raises:
            ConfigError: the adapter names no fallback, and the space's own rest trades.
        """
        if a.portfolio.quantity.any():
            return
        if not isinstance(self.kind, MenuActions):
            self._check_hold(env, a)
            return
        menu = self.menu(env, a)
        if self.adapter.protection is not Protection.READ and (abs(menu) > 0.0).any(axis=1).all():
            raise ConfigError(
                "action_space: every action of the menu trades, with nothing held; allowed: a menu "
                "with an action that does nothing, without which nothing could be blocked"
            )

    def _check_hold(self, env: Any, a: Assessment) -> None:
        """Refuse the space's own rest as a hold where it trades."""
        if self.adapter.fallbacks(env):
            return
        rest = self.kind.rest()
        trades = self._known_trades(env, a, rest)
        if trades is not None and trades.any():
            raise ConfigError(
                f"adapter.fallbacks: got none, and {rest!r}, which would stand for doing nothing, "
                f"trades {trades}; allowed: actions known to be safe, first one that holds"
            )

    # -- rows of a menu -------------------------------------------------------------------------

    def _of_menu(self, env: Any, state: BreakerState, a: Assessment, action: Any | None) -> Choice:
        """The nearest row that may be done."""
        menu = self._all_rows(env, a)
        if menu is not None:
            choice = self._row(state, a, menu, action)
            if self._bears_out(env, a, choice):
                return choice
            # All rows at once are not those that are given one by one, and only of the latter is
            # it known what would be executed.
        return self._row(state, a, self._row_by_row(env, a), action)

    def _row(
        self, state: BreakerState, a: Assessment, menu: FloatArray, action: Any | None
    ) -> Choice:
        assert isinstance(self.kind, MenuActions)
        asked = _hold_row(menu) if action is None else int(action) - self.kind.every.start
        return self._decide(state, a, list(self.kind.every), Proposal(menu, asked))

    def _bears_out(self, env: Any, a: Assessment, choice: Choice) -> bool:
        """Whether the request and what is done instead trade what the menu says."""
        rows, asked = choice.proposal.trades, choice.proposal.asked
        return all(
            np.array_equal(self.preview(env, a, choice.actions[row]), rows[row], equal_nan=True)
            for row in {asked, choice.decision.row}
        )

    def _row_by_row(self, env: Any, a: Assessment) -> FloatArray:
        assert isinstance(self.kind, MenuActions)
        return np.stack([self.preview(env, a, action) for action in self.kind.every])

    # -- trades of the layer's choice, as actions -----------------------------------------------

    def _encoded(self, env: Any, state: BreakerState, a: Assessment, asked: Any) -> Choice | None:
        """The layer's best trade as an action; None where no action does it."""
        if self.adapter.protection is not Protection.ENCODE:
            return None
        trades = self._known_trades(env, a, asked)
        if trades is None:
            return None
        wanted = self.manager.propose(a, trades)
        nothing = np.zeros_like(trades)
        for attempt in range(ENCODE_ATTEMPTS):
            if attempt == 0 and not a.reducing and len(wanted.trades) > 1:
                row = 1  # the nearest that was found; whether it may pass is seen below
            else:
                row = self.manager.what_if(state, a, wanted).row
            if row == wanted.asked:  # passes by itself, or nothing else is known
                choice = self._decide(state, a, [asked], Proposal(trades[None, :]))
                return None if choice.flawed else choice
            trade = wanted.trades[row]
            forced = nothing if wanted.forced is None else wanted.forced[row]
            action = self._encode(env, trade, asked)
            if action is not None:
                done = self.preview(env, a, action)
                # A part that was forced is known only of the very trade that it was part of.
                if not forced.any() or np.array_equal(done, trade):
                    rows = Proposal(np.stack([trades, done]), 0, np.stack([nothing, forced]))
                    choice = self._decide(state, a, [asked, action], rows)
                    if not choice.flawed:
                        return choice
            wanted = _without(wanted, row)
        return None

    def _known(
        self, env: Any, state: BreakerState, a: Assessment, asked: Any, fallbacks: list[Any]
    ) -> Choice:
        """Of the request, what lies between it and nothing, and known actions."""
        actions = list(distinct([asked, *self.kind.nearer(asked, fallbacks[0])]))
        scaled = len(actions)
        trades = [self.preview(env, a, choice) for choice in actions]
        # A fallback that trades is a reduction, and wholly the layer's doing.
        closing = [self.preview(env, a, choice) for choice in fallbacks]
        forced = [np.zeros_like(trades[0]) for _ in trades] + closing
        actions, trades = actions + fallbacks, trades + closing
        if a.reducing:
            reduction = self.manager.what_if(state, a, Proposal(np.stack(closing))).trades
            for action in self._after(env, reduction, trades[0], asked):
                actions.append(action)
                trades.append(self.preview(env, a, action))
                forced.append(reduction)
        choice = self._decide(state, a, actions, Proposal(np.stack(trades), 0, np.stack(forced)))
        row = choice.decision.row
        if a.reducing or not 0 < row <= scaled or not isinstance(self.kind, BoxActions):
            return choice
        # Between the scale that passed and the one above it, as finely once more.
        between = self.kind.nearer(actions[row - 1], actions[row])
        actions = [asked, *distinct(between), actions[row]]
        rows = [trades[0], *(self.preview(env, a, finer) for finer in actions[1:-1]), trades[row]]
        parts = [forced[0]] * (len(rows) - 1) + [forced[row]]
        return self._decide(state, a, actions, Proposal(np.stack(rows), 0, np.stack(parts)))

    def _after(
        self, env: Any, reduction: FloatArray, request: FloatArray, asked: Any
    ) -> Iterator[Any]:
        """Actions that do a reduction and then the request, or half of it."""
        if np.isfinite(request).all():
            for rest in (request, np.trunc(0.5 * request)):
                action = self._encode(env, reduction + rest, asked)
                if action is not None:
                    yield action

    def _encode(self, env: Any, trades: FloatArray, asked: Any) -> Any | None:
        """An action of the space that is said to trade this, or None."""
        encoded = self.adapter.encode(env, trades.copy(), copied(asked))
        return brought_in(self.kind.space, encoded)

    def _decide(
        self, state: BreakerState, a: Assessment, actions: list[Any], proposal: Proposal
    ) -> Choice:
        return Choice(actions, proposal, *self.manager.decide(state, a, proposal))


def _numbers(name: str, values: Any, shape: tuple[int, ...]) -> FloatArray:
    """What an adapter answered as an array of the layer's own.

    Raises:
        ValueError: it is none, or of another shape.
    """
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        array = None
    if array is None or array.shape != shape:
        got = repr(values) if array is None else f"shape {array.shape}"
        rows = "a row for each action, " if len(shape) == 2 else ""
        raise ValueError(
            f"adapter.{name}: got {got}; allowed: numbers of shape {shape}, {rows}one for each "
            "instrument of the snapshot's table"
        )
    return array


def _without(proposal: Proposal, row: int) -> Proposal:
    """The proposal without a row that is not the request."""
    forced = None if proposal.forced is None else np.delete(proposal.forced, row, axis=0)
    trades = np.delete(proposal.trades, row, axis=0)
    return Proposal(trades, proposal.asked, forced, proposal.strategy)


def _hold_row(menu: FloatArray) -> int:
    """The first row that trades nothing; where every row trades, the one that trades least."""
    return int(np.argmin(np.nan_to_num(np.abs(menu), nan=np.inf).sum(axis=1)))


def _powers(most: int) -> list[int]:
    """1, 2, 4, ... and `most`."""
    return sorted({2**k for k in range(most.bit_length()) if 2**k <= most} | {most})


def _of_slots(flags: NDArray[np.bool_], slots: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """The flags of the `count` slots with the most of them; ties to the lowest slot."""
    open_choices = np.bincount(slots, weights=flags)
    kept = np.argsort(-open_choices, kind="stable")[:count]
    return flags & np.isin(slots, kept)
