"""What may stand in for a request: the nearest admissible trade, smaller ones, what must go first.

Everything here is a candidate: the manager's `decide` puts each row to the trust kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from riskenv.assessment import Assessment
from riskenv.circuit_breaker import Rung
from riskenv.measures import GAP, INDEX
from riskenv.nearest_trade import TailBlocks, project
from riskenv.projection import Proposal, closing_trades, radial
from riskenv.reduction_of_book import forced_plan
from riskenv.selection import allowed_rows, evaluate
from riskenv.whole_lots import whole_lots

FloatArray = NDArray[np.float64]

# Requests and quotes may be infinite or no number at all; what comes of them fails every cap.
_ANYTHING = np.errstate(all="ignore")

# Rows put to the kernel at once while looking for the first that passes.
_BATCH = 64


@_ANYTHING
def propose(
    a: Assessment,
    trades: Sequence[float] | FloatArray,
    strategy: str = "",
    box_low: FloatArray | None = None,
    box_high: FloatArray | None = None,
) -> Proposal:
    """A request with all that may be done in its place, for a caller with free choice of trades.

    Rows: the request, and nothing; where it may not pass, the nearest whole-lot trade that may
    (`CorrectionRule`), and the request's radial cuts, besides. Where the layer reduces the book,
    too: the cheapest reduction plan by itself, before the request, and before half of it; and
    plain closing trades, should the plan not do.

    Args:
        trades: (n,) signed contracts in the order of the market's table.
        strategy: the tag that they belong to; "" = none.
        box_low, box_high: (n,) bounds of what may be traded instead of a request that may not
            pass, where nothing is reduced first; by default nothing beyond it, leg by leg.

    Raises:
        ValueError: a shape that does not fit the market's table, or a bound that is NaN.
    """
    asked = np.asarray(trades, dtype=np.float64)
    if asked.shape != a.portfolio.quantity.shape:
        raise ValueError(
            f"trades: got shape {asked.shape}; allowed: {a.portfolio.quantity.shape}, signed "
            "contracts in the order of the market's table"
        )
    for name, bound in (("box_low", box_low), ("box_high", box_high)):
        if bound is not None and (np.shape(bound) != asked.shape or np.isnan(bound).any()):
            raise ValueError(f"{name}: got {bound!r}; allowed: {asked.shape}, without NaN")
    alone = Proposal(asked[None, :], strategy=strategy)
    if allowed_rows(a, alone, evaluate(a, alone.trades, strategy, all_tails=False))[0]:
        # Nothing besides, for what is denied for other reasons than the caps.
        nothing = np.zeros_like(alone.trades)
        beside = alone.trades if not asked.any() else np.concatenate([alone.trades, nothing])
        return Proposal(beside, strategy=strategy)
    cuts = radial(asked)
    if not a.reducing:
        nearest = nearest_admissible(a, asked, strategy, box_low, box_high)
        inside = np.ones(len(cuts), dtype=bool)
        if box_low is not None:
            inside &= (cuts >= box_low).all(axis=1)
        if box_high is not None:
            inside &= (cuts <= box_high).all(axis=1)
        inside[[0, -1]] = True  # the request itself, and nothing
        others = cuts[inside][1:]
        rows = [asked, *others] if nearest is None else [asked, nearest, *others]
        return Proposal(np.stack(rows), strategy=strategy)
    return _after_reduction(a, asked, cuts, strategy)


@_ANYTHING
def nearest_admissible(
    a: Assessment,
    asked: FloatArray,
    strategy: str = "",
    box_low: FloatArray | None = None,
    box_high: FloatArray | None = None,
) -> FloatArray | None:
    """(n,) the whole-lot trade nearest to the request that may pass; None where none was found.

    The continuous projection first, then the whole lots around it (`riskenv.whole_lots`), each
    put to the trust kernel. Legs in what is Unknown, blocked or held back are left out. A gross
    measure is bounded by its chord from nothing to the request, which is exact or too careful.
    """
    rule = a.limits.correction
    held = a.must_reduce(np.zeros((1, len(asked))), strategy)[0]
    if rule.method != "project" or held or not np.isfinite(asked).all():
        return None
    low = np.minimum(asked, 0.0) if box_low is None else np.asarray(box_low, dtype=np.float64)
    high = np.maximum(asked, 0.0) if box_high is None else np.asarray(box_high, dtype=np.float64)
    entered = a.entry_blocked & (asked * a.portfolio.quantity >= 0.0)
    movable = (low < 0.0) | (high > 0.0)
    for within in a.held_back.values():
        movable &= ~within
    legs = np.flatnonzero(movable & ~a.blocked & ~entered)
    if not legs.size:
        return None
    exposures, before, cap_low, cap_high = _rows_of_legs(a, legs, asked[legs], strategy)
    weight = a.lot_weight[legs]
    found = project(
        asked[legs], exposures, before, cap_low, cap_high, weight, low[legs], high[legs],
        _tails_of_legs(a, legs),
    )  # fmt: skip
    lots = whole_lots(found.trade, asked[legs], weight, low[legs], high[legs])
    lots = lots[_plausible(lots, exposures, before, cap_low, cap_high)]
    for first in range(0, len(lots), _BATCH):
        rows = np.zeros((len(lots[first : first + _BATCH]), len(asked)))
        rows[:, legs] = lots[first : first + _BATCH]
        candidates = evaluate(a, rows, strategy, all_tails=False)
        passing = allowed_rows(a, Proposal(rows, strategy=strategy), candidates)
        if passing.any():
            return np.asarray(rows[np.argmax(passing)])
    return None


def _plausible(
    lots: FloatArray, exposures: FloatArray, before: FloatArray, low: FloatArray, high: FloatArray
) -> NDArray[np.bool_]:
    """(K,) rows that the linear caps do not plainly rule out: the kernel need not look at the rest.

    A broken cap counts where the book stands; what rounding might turn is left in.
    """
    slack = 1e-6 * (np.abs(lots) @ np.abs(exposures) + np.abs(before))
    with np.errstate(invalid="ignore"):
        after = before + lots @ exposures
        out = (after > np.maximum(high, before) + slack) | (after < np.minimum(low, before) - slack)
    return np.asarray(~out.any(axis=1))


def _rows_of_legs(
    a: Assessment, legs: NDArray[np.int64], asked: FloatArray, strategy: str
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """(d, L) exposures, (L,) measures, (L,) and (L,) caps: the linear rows that bind these legs.

    A measure that is an interval is two rows: its higher end faces the upper cap, its lower end
    the lower one.
    """
    rows, book = a.rows, a.book_of(strategy)
    net = a.capped[rows.net_at] & ((rows.net_book == 0) | (rows.net_book == book))
    gross = a.capped[rows.gross_at] & ((rows.gross_book == 0) | (rows.gross_book == book))
    net_at, gross_at = rows.net_at[net], rows.gross_at[gross]
    exposures = [rows.net[np.ix_(legs, net)], rows.net[np.ix_(legs, net)]]
    held = rows.books[rows.gross_book[gross]][:, legs]  # (G, d)
    # A leg that asks for nothing has the slope of what is held, or of a purchase.
    end = np.where(asked == 0.0, np.where(held < 0.0, -1.0, 1.0), asked)
    weights = rows.gross[legs][:, :, gross]  # (d, 2, G)

    def size(lots: FloatArray) -> FloatArray:
        by_side = np.where(lots > 0.0, weights[:, 0].T, weights[:, 1].T)
        with np.errstate(invalid="ignore"):
            return np.where(lots == 0.0, 0.0, np.abs(lots) * by_side)

    with np.errstate(invalid="ignore"):
        exposures.append(((size(held + end) - size(held)) / end).T)
    stressed, floor = a.capped_stress
    exposures.append(a.matrices.P[np.ix_(a.matrices.rows[legs], stressed)])
    ends = a.interval
    sums = ends[1, net_at], ends[0, net_at], ends[1, gross_at]
    before = np.concatenate([*sums, a.base_pnl[stressed]])
    none = np.full(len(net_at), np.inf)
    low = np.concatenate([-none, a.low[net_at], np.full(len(gross_at), -np.inf), floor])
    high = np.concatenate([a.high[net_at], none, a.high[gross_at], np.full(len(floor), np.inf)])
    binding = np.isfinite(low) | np.isfinite(high)
    return (
        np.concatenate(exposures, axis=1)[:, binding],
        before[binding],
        low[binding],
        high[binding],
    )


def _tails_of_legs(a: Assessment, legs: NDArray[np.int64]) -> TailBlocks | None:
    """Scenario P&L of the legs, where a tail is capped."""
    var, es = INDEX["var_1d"], INDEX["es_1d"]
    low = a.low[var : INDEX[GAP[0]]]
    gap = float(a.low[INDEX[GAP[0]]])
    if not a.has_tails or not (np.isfinite(low).any() or np.isfinite(gap)):
        return None
    end = a.tails.blocks[-1]
    return TailBlocks(
        pnl=np.ascontiguousarray(a.matrices.P[:, :end][a.matrices.rows[legs]]),
        base_pnl=a.base_pnl[:end],
        blocks=a.tails.blocks,
        counts=a.tails.counts,
        p=a.tails.p,
        low=low[es - var :: 2],
        var_low=low[::2],
        gap_low=gap,
    )


def _after_reduction(a: Assessment, asked: FloatArray, cuts: FloatArray, strategy: str) -> Proposal:
    """Rows for a book that the layer reduces: what goes first, alone and before the request."""
    first = list(closing_trades(a.closable, a.market))
    if a.due:
        first.insert(0, 0.0 - np.sign(a.portfolio.quantity) * a.least)
    plan = forced_plan(a, strategy) if a.rung != Rung.FLATTEN else None
    if plan is not None and plan.total.any():
        first.insert(0, plan.total)
    reductions = np.stack(first)
    rows, forced = [cuts, reductions], [np.zeros_like(cuts), reductions]
    if asked.any() and np.isfinite(asked).all():
        for rest in (asked, np.trunc(0.5 * asked)):
            rows.append(reductions + rest)
            forced.append(reductions)
    return Proposal(np.concatenate(rows), forced=np.concatenate(forced), strategy=strategy)
