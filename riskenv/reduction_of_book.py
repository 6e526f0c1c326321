"""The reduction plan of an assessed book, as the trust kernel confirms it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from riskenv.admissibility import used_of
from riskenv.assessment import Assessment
from riskenv.event_trades import hedge_columns
from riskenv.limits import CorrectionRule
from riskenv.market import Market
from riskenv.measures import GAP, GROSS, HORIZONS, INDEX, LINEAR, MEASURES
from riskenv.quote_quality import FX
from riskenv.reduction import (
    UNRESOLVED,
    ReductionPlan,
    fraction_target,
    plan_reduction,
    release_targets,
)
from riskenv.selection import evaluate

FloatArray = NDArray[np.float64]

# Quotes may be infinite or no number at all; what comes of them fails every cap.
_ANYTHING = np.errstate(all="ignore")


@_ANYTHING
def forced_plan(a: Assessment, strategy: str = "") -> ReductionPlan:
    """The cheapest plan of a strategy's trades that brings every broken measure to its release
    level."""
    return _verified(a, {}, strategy)


@_ANYTHING
def reduce_by(a: Assessment, shares: Mapping[str, float], strategy: str = "") -> ReductionPlan:
    """The cheapest plan that reduces measures by a share of their size: {"delta": 0.3}.

    Raises:
        ValueError: a measure that no sum of positions has, or a share outside 0 to 1.
    """
    sums = [j for j in range(len(a.names)) if j < len(LINEAR) or j >= len(MEASURES) - len(GROSS)]
    moved = a.moved_by(strategy)
    known = [a.names[j] for j in sums if moved[j]]
    for name in shares:
        if name not in known:
            raise ValueError(f"shares: got {name!r}; allowed: {', '.join(known)}")
    return _verified(a, shares, strategy)


def _verified(a: Assessment, shares: Mapping[str, float], strategy: str) -> ReductionPlan:
    """A plan as the trust kernel sees it: what it does not confirm is not resolved.

    The search works on points and on slopes; an interval, a hedge's size, working orders and the
    sums of other strategies are known to the kernel alone. What it does not let pass is no plan.
    """
    plan = _confirmed(a, shares, strategy)
    steps = plan.trades
    if not _passes(a, np.cumsum(steps, axis=0), strategy):
        steps = plan.total[None, :]  # no order of its legs passes: all at once
    resolved = plan.resolved and _holds(a, plan, shares, strategy)
    return replace(
        plan, trades=steps, resolved=resolved, reason="" if resolved else UNRESOLVED,
        bound=plan.bound if resolved else float("nan"),
    )  # fmt: skip


def _confirmed(a: Assessment, shares: Mapping[str, float], strategy: str) -> ReductionPlan:
    """Of the plans found with ever less choice, the first that the kernel lets pass and finds to
    meet every target; else, of those that pass, the one that violates least."""
    passing = []
    for plan in _ever_plainer(a, shares, strategy):
        if _holds(a, plan, shares, strategy):
            return plan
        if _passes(a, plan.total[None, :], strategy):
            passing.append(plan)
    return min(passing, key=lambda plan: plan.violation)


def _ever_plainer(
    a: Assessment, shares: Mapping[str, float], strategy: str
) -> Iterator[ReductionPlan]:
    anything, own = np.ones(len(a.table), dtype=bool), (a, shares, strategy)
    yield _plan(*own, anything, _hedges(a), _protection(a))
    yield _plan(*own, anything)
    if a.blocked.any():
        # The kernel may have doubts of what is Unknown: with all of it closed, without it, or with
        # nothing else that it might have doubts of.
        yield _plan(*own, anything, bounded=False)
        yield _plan(*own, ~a.blocked)
        yield _plan(*own, evaluate(a, np.diag(0.0 - a.closable), strategy).shrinks)
    yield _plan(*own, anything, least=np.abs(a.closable))  # everything
    yield _plan(*own, ~anything)  # nothing


def _passes(a: Assessment, trades: FloatArray, strategy: str) -> bool:
    """Whether the kernel lets each of (A, n) trades pass, of which there may be none."""
    return not len(trades) or bool(evaluate(a, trades, strategy).admissible.all())


def _holds(a: Assessment, plan: ReductionPlan, shares: Mapping[str, float], strategy: str) -> bool:
    """Whether the kernel lets the whole plan pass and finds every target met."""
    done = evaluate(a, plan.total[None, :], strategy)
    if not done.admissible[0]:
        return False
    if shares:
        at = [a.names.index(name) for name in shares]
        left = np.abs(done.interval[0][:, at]).max(axis=0)
        size = np.abs(a.interval[:, at]).max(axis=0)
        keep = 1.0 - np.array(list(shares.values()))
        return bool((left <= (keep + 1e-8) * size).all())
    used = used_of(done.interval, a.low, a.high)[0]
    broken = ~(a.used <= 1.0) & a.capped
    if strategy:  # other strategies' measures are for their own plans to mend
        broken &= a.moved_by(strategy)
    return bool((used[broken] <= a.limits.release).all())


def _plan(
    a: Assessment,
    shares: Mapping[str, float],
    strategy: str,
    movable: NDArray[np.bool_],
    hedges: Sequence[int] = (),
    buys: Sequence[int] = (),
    least: FloatArray | None = None,
    bounded: bool = True,
) -> ReductionPlan:
    """A plan in the terms that the manager's choice is judged in, so that what it finds passes.

    Args:
        movable: (n,) what may be traded; least: (n,) lots to be closed at least, by default what
            is due before an event; bounded: whether what is Unknown counts by its bounds, or as
            something that no measure may be left with.
    """
    table, rows, limits = a.table, a.rows, a.limits
    held = a.portfolio.quantity
    looked_at = a.capped | np.isin(a.names, list(shares))
    looked_at &= a.moved_by(strategy)
    net, gross = looked_at[rows.net_at], looked_at[rows.gross_at]
    at = np.concatenate([rows.net_at[net], rows.gross_at[gross]])
    # Of a position that moves towards nothing, sizes are linear, and so are the ends of what it may
    # be where it is Unknown.
    short = (held < 0.0)[:, None]
    side = np.where(short, -rows.gross[:, 1, gross], rows.gross[:, 0, gross])
    known = np.where(bounded | ~rows.loose[:, None], rows.net[:, net], np.nan)
    lowest, highest = rows.low[:, net], rows.high[:, net]
    falls, rises = np.where(short, highest, lowest), np.where(short, lowest, highest)
    exposures = np.concatenate([known + falls, side], axis=1)
    tails = slice(len(LINEAR), len(LINEAR) + 2 * len(HORIZONS) + 1)
    lowest, highest, low, high = a.interval[0, at], a.interval[1, at], a.low[at], a.high[at]
    if (lowest != highest).any():
        # An interval counts as two measures: its lower end and its higher one.
        exposures = np.concatenate([exposures, known + rises, side], axis=1)
        without = np.full(len(at), np.inf)
        lowest = np.concatenate([lowest, highest])
        low, high = np.concatenate([low, -without]), np.concatenate([without, high])
    sums = exposures.shape[1]
    stressed, floor = a.capped_stress
    exposures = np.concatenate([exposures, a.matrices.P[np.ix_(a.matrices.rows, stressed)]], axis=1)
    before = np.concatenate([lowest, a.base_pnl[stressed], a.interval[0, tails]])
    low = np.concatenate([low, floor, a.low[tails]])
    high = np.concatenate([high, np.full(len(floor), np.inf), a.high[tails]])
    if shares:
        index = {name: j for j, name in enumerate(a.names)}
        target_low, target_high = np.full_like(before, -np.inf), np.full_like(before, np.inf)
        for name, share in shares.items():
            for k in np.flatnonzero(np.resize(at, sums) == index[name]):
                down, up = fraction_target(before, int(k), share)
                target_low[k], target_high[k] = down[k], up[k]
    else:
        target_low, target_high = release_targets(before, low, high, limits.release)
    # No measure may end above the share of its cap that it uses now or the warn level, on either
    # side of it, and no tail may fall at all.
    level = np.where(a.used[at] > 1.0, limits.release, np.fmax(a.used[at], limits.warn))
    level = np.resize(level, sums)
    level = np.concatenate([level, np.full(len(before) - sums, limits.warn)])
    reach_low = np.minimum(level * low, before)
    reach_high = np.maximum(level * high, before)
    reach_low = np.where(np.isfinite(low), reach_low, low)
    reach_high = np.where(np.isfinite(high), reach_high, high)
    broken = ~((low <= before) & (before <= high))
    reach_low, reach_high = np.where(broken, low, reach_low), np.where(broken, high, reach_high)
    if a.has_tails:
        for name in ("es_1d", GAP[0]):
            k = exposures.shape[1] + INDEX[name] - len(LINEAR)
            if not broken[k]:
                reach_low[k] = before[k]
    end = a.tails.blocks[-1]
    pnl = np.ascontiguousarray(a.matrices.P[:, :end][a.matrices.rows]) if a.has_tails else None
    cost = lot_cost(a.market, limits.correction)
    return plan_reduction(
        held, exposures, pnl, before=before, base_pnl=a.base_pnl[:end], low=reach_low,
        high=reach_high, target_low=target_low, target_high=target_high,
        cost=np.where(movable, cost, np.inf), kind=table.kind,
        ticker=table.underlying_index, expiry=table.expiry, multiplier=table.multiplier,
        blocks=a.tails.blocks, counts=a.tails.counts, tail_probability=a.tails.p,
        hedges=hedges, buys=buys, least=a.least if least is None else least,
        closable=np.abs(a.closable),
        orders=a.portfolio.working is not None,
    )  # fmt: skip


def lot_cost(market: Market, rule: CorrectionRule) -> FloatArray:
    """(n,) half a spread and commission a lot, in the book's currency; NaN where Unknown."""
    fx = market.tickers[FX][market.table.underlying_index]
    return np.asarray(market.table.multiplier * market.half_spread * fx + rule.commission)


def _hedges(a: Assessment) -> list[int]:
    """Columns that a reduction may trade in any direction: what the limits name, and the shares
    that an event asks its gap to be hedged with."""
    usable = np.zeros(len(a.table), dtype=bool)
    usable[hedge_columns(a.events, a.market)] = True
    if a.limits.correction.hedges == "underlyings":
        usable[:] = True
    return [int(i) for i in np.flatnonzero(usable & ~a.blocked & (a.table.kind == 0))]


def _protection(a: Assessment) -> list[int]:
    """Options that a reduction may buy, where an event asks its gap to be hedged."""
    usable = hedge_columns(a.events, a.market)
    return [int(i) for i in usable if a.table.kind[i] != 0 and not a.blocked[i]]
