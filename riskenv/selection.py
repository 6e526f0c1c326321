"""Which of a proposal's rows may be done, and which one is done where the request may not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from riskenv.admissibility import (
    ADMISSIBLE,
    CLOSES,
    EMPTY,
    SHRINKS,
    TOUCHES,
    judge,
    lowers_risk,
    used_of,
)
from riskenv.assessment import UNKNOWN_COST, Assessment
from riskenv.circuit_breaker import Rung
from riskenv.compilation import jit
from riskenv.event_trades import only_closes, share_still_due, still_due
from riskenv.measures import GREEKS, HORIZONS, STRESS, point
from riskenv.projection import Proposal

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

EVERY_HORIZON = np.ones(len(HORIZONS) + len(STRESS), dtype=np.bool_)


class Candidates(NamedTuple):
    """What A candidate trades make of the book.

    Attributes:
        interval: (A, 2, K) ends of each measure with the trade done.
        admissible: (A,) verdict of the trust kernel.
        empty: (A,) the trade is nothing; shrinks: (A,) it only moves positions towards 0.
        closes: (A,) it closes the whole book; touches: (A,) a leg is in what is Unknown or blocked.
        dutiful: (A,) it only closes what it touches, and some of what is due before an event.
    """

    interval: FloatArray
    admissible: BoolArray
    empty: BoolArray
    shrinks: BoolArray
    closes: BoolArray
    touches: BoolArray
    dutiful: BoolArray

    @property
    def after(self) -> FloatArray:
        """(A, K) measures with the trade done; NaN where the two ends are not one."""
        return point(self.interval)

    @property
    def unsound(self) -> BoolArray:
        """(A,) rows whose exposures are not even bounded."""
        exposures = self.interval[:, :, : len(GREEKS)]
        return np.asarray(np.isnan(exposures).any(axis=(1, 2)))


def evaluate(
    a: Assessment, trades: FloatArray, strategy: str = "", *, all_tails: bool = True
) -> Candidates:
    """Measure (A, n) trades against the assessed book and put them to the trust kernel.

    Args:
        strategy: the tag that the trades belong to; "" = none.
        all_tails: also measure the tails that no verdict depends on, which are NaN otherwise.

    Raises:
        ValueError: the trades have not one column per instrument of the market's table.
    """
    if trades.shape[1] != len(a.table):
        raise ValueError(
            f"trades: got {trades.shape[1]} columns; allowed: {len(a.table)}, one per "
            "instrument of the market's table"
        )
    count = len(trades)
    after = np.empty((count, 2, len(a.names)))
    flags = np.empty((5, count), dtype=np.bool_)
    wanted = EVERY_HORIZON if all_tails else a.deciding
    dutiful = _dutiful(a, trades)
    judge(*a.book, a.book_of(strategy), wanted, trades, dutiful, after, flags)
    return Candidates(
        after, flags[ADMISSIBLE], flags[EMPTY], flags[SHRINKS], flags[CLOSES], flags[TOUCHES],
        dutiful,
    )  # fmt: skip


def _dutiful(a: Assessment, trades: FloatArray) -> BoolArray:
    """(A,) trades that only close, in tickers in which something is due, and some of that."""
    if not a.due:
        return np.zeros(len(trades), dtype=bool)
    ticker = a.table.underlying_index
    idle = ~np.isin(ticker, ticker[a.least > 0.0])
    nothing = still_due(a.portfolio, a.least, np.zeros((1, len(a.table))))
    some = (still_due(a.portfolio, a.least, trades) < nothing).any(axis=1)
    stays = ~(trades[:, idle] != 0.0).any(axis=1)
    return np.asarray(some & stays & only_closes(a.portfolio, a.pending, trades))


def allowed_rows(a: Assessment, proposal: Proposal, candidates: Candidates) -> BoolArray:
    """(A,) rows that may be done as they are, at the rung that holds.

    NORMAL, WARN: what is admissible. BLOCK_NEW, of the book or of a scope that the row touches: of
    that, what is empty or reduces. REDUCE,
    FLATTEN: of that, what brings the book to where the rung wants it. HALTED: nothing but empty.
    At any of them but the last, what is due before an event is closed, and nothing is entered in
    what an event blocks. Where no reduction is due a row with a forced part is not allowed: the
    layer closes nothing unasked.
    """
    if a.rung == Rung.HALTED:
        return candidates.empty.copy()
    passing = _passing(a, proposal, candidates)
    if not a.reducing:
        return passing if proposal.forced is None else passing & ~proposal.forced.any(axis=1)
    return np.asarray(passing & (_shortfall(a, proposal, candidates) <= 0.0))


def replacement(
    a: Assessment, proposal: Proposal, candidates: Candidates, allowed: BoolArray
) -> tuple[int, str]:
    """(row to do instead, code of what is wrong with it or "").

    The allowed row nearest to the request (`CorrectionRule.norm`), or where the book is reduced
    the one that costs least to get to from it; where none is allowed and a reduction is due, the
    row that comes closest to it ("flatten_unresolved"); else the row that violates the caps
    least ("least_violating"), at HALTED an admissible reduction before any other: what a halt
    cannot prevent must not enter. These two go by the least cost of the trade itself, so that they
    are the same whatever was asked for. Ties go to the lowest row.
    """
    if allowed.any():
        asked = proposal.trades[proposal.asked]
        if not _finite(asked):  # near nothing at all, then
            asked = np.zeros_like(asked)
        # What is ordered goes by its cost, what is corrected by how near it is to the request.
        distance = np.empty(len(allowed))
        weight = a.lot_cost if a.reducing else a.lot_weight
        _apart(proposal.trades, asked, weight, not a.reducing, distance)
        return _first_least(distance, allowed), ""
    distance = np.empty(len(allowed))
    _apart(proposal.trades, np.zeros(len(a.table)), a.lot_cost, False, distance)
    if a.reducing:
        passing = _passing(a, proposal, candidates)
        if passing.any():
            shortfall = _shortfall(a, proposal, candidates)
            best = shortfall <= np.min(shortfall[passing])
            return _first_least(distance, passing & best), "flatten_unresolved"
    among = np.ones(len(proposal.trades), dtype=bool)
    if a.rung == Rung.HALTED:
        passing = _passing(a, proposal, candidates)
        among = passing if passing.any() else among
    violation = np.empty(len(proposal.trades))
    _beyond(_used_of_any(a, candidates.interval), 1.0, a.capped, violation)
    unknown = candidates.touches | candidates.unsound
    unknown |= entering(a, proposal.trades, proposal.strategy)
    violation[np.isnan(violation) | (unknown & ~candidates.shrinks)] = np.inf
    best = among & (violation <= np.min(violation[among]))
    return _first_least(distance, best), "least_violating"


def _reduces(a: Assessment, candidates: Candidates, before: FloatArray) -> BoolArray:
    """(A,) non-empty rows that lower risk from `before`, close the book, or close what is due;
    where risk is Unknown, or nothing says how much there is, rows that shrink."""
    lowers = lowers_risk(before, candidates.interval, a.low, a.high, a.limits.warn, a.tail_risks)
    seen = a.capped.copy()
    judged = bool(a.tail_risks) or bool(seen.any())
    seen[a.tail_risks] = True
    unknown = ~np.isfinite(candidates.interval[..., seen]).all(axis=(1, 2)) | (not judged)
    unknown |= ~np.isfinite(before[..., seen]).all(axis=(-2, -1)) | a.loose
    reduces = candidates.closes | candidates.dutiful | np.where(unknown, candidates.shrinks, lowers)
    return np.asarray(~candidates.empty & reduces)


def _passing(a: Assessment, proposal: Proposal, candidates: Candidates) -> BoolArray:
    """(A,) admissible rows that enter nothing blocked and, where they touch a scope that is at
    BLOCK_NEW or above, are empty or reduce.

    A forced part must reduce by itself, and what follows it in such a scope must reduce what it
    leaves.
    """
    passing = candidates.admissible
    if a.entries_blocked:
        passing = passing & ~entering(a, proposal.trades, proposal.strategy)
    held_back = None
    if a.rung >= Rung.BLOCK_NEW or a.scopes:
        held_back = a.must_reduce(proposal.trades, proposal.strategy)
        reduces = candidates.empty | _reduces(a, candidates, a.interval)
        passing = passing & (~held_back | reduces)
    if proposal.forced is None or not a.reducing:
        return passing
    first = evaluate(a, proposal.forced, proposal.strategy)
    passing = passing & (first.empty | (first.admissible & _reduces(a, first, a.interval)))
    if held_back is not None:
        held_back = a.must_reduce(proposal.trades - proposal.forced, proposal.strategy)
        alone = (proposal.trades == proposal.forced).all(axis=1)
        passing &= ~held_back | first.empty | alone | _reduces(a, candidates, first.interval)
    return passing


def entering(a: Assessment, trades: FloatArray, strategy: str = "") -> BoolArray:
    """(A,) rows that enter what an event blocks: their legs in it do not merely close positions,
    nor do they reduce risk by themselves."""
    if not a.entries_blocked:
        return np.zeros(len(trades), dtype=bool)
    legs = np.where(a.entry_blocked, trades, 0.0)
    enters = ~only_closes(a.portfolio, a.pending, legs)
    rows = np.flatnonzero(enters)
    if rows.size:
        enters[rows] = ~_reduces(a, evaluate(a, legs[rows], strategy), a.interval)
    return enters


def _shortfall(a: Assessment, proposal: Proposal, candidates: Candidates) -> FloatArray:
    """(A,) how far each row leaves the book from where the rung wants it; 0 = there."""
    if a.rung == Rung.FLATTEN:
        spot = a.market.spot[a.table.underlying_index]
        # What has no price is dear, not free: it counts as something left.
        notional = a.table.multiplier * np.where((spot > 0.0) & (spot < np.inf), spot, UNKNOWN_COST)
        left = np.empty(len(proposal.trades))
        _apart(proposal.trades, -a.portfolio.quantity, notional, False, left)
        return left
    late = share_still_due(a.portfolio, a.least, proposal.trades)
    if a.rung < Rung.REDUCE:
        return late
    # An Unknown measure cannot be brought anywhere by a target; what is broken and known can.
    over, broken = np.empty(len(proposal.trades)), (a.used > 1.0) & a.moved_by(proposal.strategy)
    _beyond(_used_of_any(a, candidates.interval), a.limits.release, broken, over)
    return np.asarray(late + over)


def _used_of_any(a: Assessment, interval: FloatArray) -> FloatArray:
    """(A, K) `used_of`, and of a cap of nothing (a share of lost equity) the size itself: infinite
    shares of it would make every row as bad as any other."""
    low, high = np.where(a.low == 0.0, -1.0, a.low), np.where(a.high == 0.0, 1.0, a.high)
    return used_of(interval, low, high)


@jit
def _apart(trades, wanted, weight, squared, out):  # type: ignore[no-untyped-def]
    """Sums over legs, in order: of weighted sizes of the difference to what is wanted, or of its
    squares less those of the latter alone. What is not finite is infinitely far from everything."""
    for row in range(out.size):
        total = 0.0
        for i in range(wanted.size):
            lots = abs(trades[row, i] - wanted[i])
            if lots != lots:
                lots = np.inf
            traded = trades[row, i]
            if squared:
                # Less the request's own square, beside which a far one's rounding hides all else.
                if traded != 0.0:
                    total += traded * (traded - 2.0 * wanted[i]) * weight[i]
            elif lots != 0.0:
                total += lots * weight[i]
        out[row] = total


@jit
def _beyond(used, level, among, out):  # type: ignore[no-untyped-def]
    """Sums over measures, in order, of what is used beyond a level; NaN where any is."""
    for row in range(out.size):
        total = 0.0
        for j in range(among.size):
            over = used[row, j] - level
            if among[j] and not over <= 0.0:
                total += over
        out[row] = total


def ordered_sum(values: FloatArray) -> float:
    """Sum from left to right: np.sum adds in an order that depends on the CPU.

    Example:
        >>> ordered_sum(np.array([0.1, 0.2, 0.3]))
        0.6000000000000001
    """
    return float(_in_order(values))


@jit
def _in_order(values):  # type: ignore[no-untyped-def]
    total = 0.0
    for value in values:
        total += value
    return total


@jit
def _finite(trade):  # type: ignore[no-untyped-def]
    finite = True
    for lots in trade:
        finite &= abs(lots) < np.inf
    return finite


@jit
def _first_least(values, among):  # type: ignore[no-untyped-def]
    """The row of `among`, never another, whose value is least; NaN is the largest value."""
    first, least = -1, np.inf
    for row in range(values.size):
        if among[row] and (first < 0 or values[row] < least):
            first = row
            least = values[row] if values[row] == values[row] else np.inf
    return first
