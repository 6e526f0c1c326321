"""The ladder: which rung the use of caps, the account's losses and events call for, by scope."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from riskenv.admissibility import use_of_caps
from riskenv.book_measures import BookMeasures
from riskenv.book_rows import Layout, cap_bounds, surely_gross
from riskenv.circuit_breaker import BreakerState, Rung, climb, climb_scopes
from riskenv.event_window import EventWindow
from riskenv.limits import RiskLimits
from riskenv.loss_confirmation import LossWindow
from riskenv.measures import INDEX
from riskenv.portfolio import Portfolio
from riskenv.risk_matrices import RiskMatrices
from riskenv.sessions import Sessions

FloatArray = NDArray[np.float64]


class Use(NamedTuple):
    """How much of the caps a book uses.

    Attributes:
        used: (K,) share of each cap in use, NaN where Unknown.
        most: (1 + C,) the largest share in use among the caps on the whole book, and on each scope
            of `Layout.scopes`; NaN where one is Unknown.
        sure: (1 + C,) the largest share that is surely in use, whatever the Unknown turns out to
            be, whichever working orders are filled, and however wrong the last equity is.
    """

    used: FloatArray
    most: FloatArray
    sure: FloatArray


def caps_in_force(
    limits: RiskLimits, layout: Layout, equity: float, tighter: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """(K,) lowest and (K,) highest allowed value of each measure, tightened by events."""
    low, high = cap_bounds(limits, layout.scoped, equity)
    return (low, high) if tighter is None else (low * tighter, high * tighter)


def use_of(
    measured: BookMeasures,
    matrices: RiskMatrices,
    portfolio: Portfolio,
    layout: Layout,
    limits: RiskLimits,
    losses: LossWindow,
    low: FloatArray,
    high: FloatArray,
    tighter: FloatArray | None,
) -> Use:
    """The use of the caps `low` and `high` by a book.

    Args:
        losses: with the observations that confirm an equity; tighter: as of `caps_in_force`.
    """
    interval, equity = measured.interval, measured.equity
    used = np.empty(len(layout.names))
    most, sure = np.empty((2, 1 + len(layout.scopes)))
    surely = use_of_caps(interval, low, high, layout.scope_at, used, most, sure)
    if surely <= limits.release:  # nothing is reduced for it
        return Use(used, most, sure)
    known = ~np.isnan(matrices.X[matrices.rows, 0])
    if portfolio.working is not None or not known.all():
        # What is Unknown, or may not be filled, blocks, and is no reason to sell.
        interval = interval.copy()
        interval[0, layout.gross_at] = surely_gross(measured.rows, known)
    # Nor is a cap that is a share of an equity which is Unknown, or which a single tick tells of.
    enough = math.inf if math.isnan(equity) else max(equity, losses.confirmed_equity(limits))
    if enough != equity:
        low, high = caps_in_force(limits, layout, enough, tighter)
    unread = np.empty_like(used), np.empty_like(most)
    use_of_caps(interval, low, high, layout.scope_at, *unread, sure)
    return Use(used, most, sure)


def climbed(
    state: BreakerState,
    use: Use,
    account: float,
    window: EventWindow,
    portfolio: Portfolio,
    matrices: RiskMatrices,
    layout: Layout,
    sessions: Sessions,
    limits: RiskLimits,
) -> BreakerState:
    """The state after its rungs moved to where a book's use of caps calls for.

    Args:
        account: the largest share in use of a cap on the account's losses, NaN where Unknown;
            window: what the calendar says.
    """
    calm = state.rung == Rung.NORMAL and not state.scopes and not any(state.losses.extreme)
    if calm and account < limits.warn and (use.most < limits.warn).all():
        return state
    most, sure, levels = use.most.tolist(), use.sure.tolist(), (1.0, limits.release)
    gap = float(use.used[INDEX["gap_loss"]]) if window.hedge_gap else 0.0
    # The book is closed only for losses that were confirmed, and kept closed until they are below
    # the release level.
    confirmed = state.losses.confirmed(limits)
    closing = confirmed, confirmed or account > limits.extreme * limits.release
    demanded, released = (
        _rung_of_book(most[0], sure[0], gap, account, window.reduce, limits, level, close)
        for level, close in zip(levels, closing, strict=True)
    )
    unknown = np.isnan(matrices.X[matrices.rows[portfolio.quantity != 0.0], 0]).any()
    if demanded > Rung.NORMAL or state.rung > Rung.NORMAL:
        if unknown or math.isnan(most[0]) or math.isnan(account):
            released = max(released, state.rung)  # a missing quote is no recovery
        state = climb(state, demanded, released, sessions, limits)
    standing = {scope.scope: scope.rung for scope in state.scopes}
    # A scope that the market does not cover holds nothing.
    calls = dict.fromkeys(standing, (Rung.NORMAL, Rung.NORMAL))
    for name, share, surely in zip(layout.scopes, most[1:], sure[1:], strict=True):
        kind, scope = name.split(":", 1)
        # What happens to one ticker is nothing to another; other scopes may hold it.
        reduce = window.reduces(scope) if kind == "underlying" else window.reduce
        demanded, released = (
            _rung_of_scope(share, surely, reduce, limits, level) for level in levels
        )
        if unknown or math.isnan(share):
            released = max(released, standing.get(name, Rung.NORMAL))
        calls[name] = demanded, released
    return climb_scopes(state, calls, sessions, limits)


def rung_of_all(state: BreakerState, use: Use, layout: Layout, limits: RiskLimits) -> Rung:
    """The rung that all trades meet. A ticker or an expiry at REDUCE has the book reduced until its
    caps are back at the release level; a scope above NORMAL is else a warning to whoever trades
    elsewhere."""
    rung = state.rung
    for scope in state.scopes:
        rung = max(rung, Rung.WARN)
        # What a strategy holds is reduced in its own name (`Assessment.for_strategy`).
        if scope.rung < Rung.REDUCE or scope.scope.startswith("strategy:"):
            continue
        if scope.scope in layout.scopes:
            used = use.most[1 + layout.scopes.index(scope.scope)]
            if not used <= limits.release:
                rung = max(rung, Rung.REDUCE)
    return rung


def _rung_of_book(
    most: float,
    sure: float,
    gap: float,
    account: float,
    reduce: bool,
    limits: RiskLimits,
    level: float,
    close: bool,
) -> Rung:
    """The rung called for by the whole book, every threshold scaled by `level`. NaN fails each
    comparison.

    Args:
        gap: share in use of the cap on the worst gap, where that is to be hedged.
        reduce: whether an event has what is outside its caps reduced at once.
        close: whether the account's losses call for closing the book.
    """
    if close:
        return Rung.FLATTEN
    if gap > level:
        return Rung.REDUCE
    rung = _rung_of_scope(most, sure, reduce, limits, level)
    if rung == Rung.REDUCE:
        return rung
    if not account <= level:
        return Rung.BLOCK_NEW
    return max(rung, Rung.WARN) if account >= limits.warn * level else rung


def _rung_of_scope(
    most: float, sure: float, reduce: bool, limits: RiskLimits, level: float
) -> Rung:
    """The rung called for by caps of which `most` is in use, and `sure` surely is."""
    if sure > limits.extreme * level or (reduce and sure > level):
        return Rung.REDUCE
    if not most <= level:
        return Rung.BLOCK_NEW
    return Rung.WARN if most >= limits.warn * level else Rung.NORMAL
