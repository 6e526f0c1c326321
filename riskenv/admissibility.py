"""The trust kernel: every verdict of the layer passes through `admissible`.

`measure` says what each candidate trade would make of the book; `admissible` says whether that
may be; `lowers_risk` says whether it lowers risk. All take arrays over A candidates and K
measures; a measure is an interval, whose ends are the same wherever all is known.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from riskenv.book_rows import Rows, gross_sum
from riskenv.compilation import inline, jit
from riskenv.measures import GAP, GREEKS, GROSS, INDEX, LINEAR, MEASURES, STRESS
from riskenv.portfolio_greeks import add_scaled, book_sums
from riskenv.tails import BookTails, book_tails_of, scratch_of

FloatArray = NDArray[np.float64]

LOW, HIGH = range(2)  # ends of an interval
_FIRST_TAIL = len(LINEAR)
_FIRST_GROSS = len(MEASURES) - len(GROSS)
_PRICED = len(GREEKS)  # beta_delta also asks for a beta, and need not be known


@jit
def measure_book(quantity, orders, rows, P, where, tails, interval, base_pnl):  # type: ignore[no-untyped-def]
    """Fill the (2, K) measures of a book and its (S,) scenario P&L, each scenario with the working
    orders (K, n) at their worst. Arguments as of `measure`."""
    nothing = np.zeros(quantity.size)
    for r in range(rows.net_at.size):
        interval[LOW, rows.net_at[r]] = rows.settled_low[r] + rows.open_low[r]
        interval[HIGH, rows.net_at[r]] = rows.settled_high[r] + rows.open_high[r]
    for r in range(rows.gross_at.size):
        interval[:, rows.gross_at[r]] = gross_sum(rows, r, nothing)
    book_sums(quantity, P, where, base_pnl)
    for k in range(orders.shape[0]):
        fill = np.empty(base_pnl.size)
        book_sums(orders[k], P, where, fill)
        for s in range(fill.size):
            if not fill[s] >= 0.0:  # a NaN stays
                base_pnl[s] += fill[s]
    every = np.ones(2 * tails.counts.size, np.bool_)
    book_tails_of(base_pnl, tails, every, scratch_of(tails), _FIRST_TAIL, interval[LOW])
    interval[HIGH, _FIRST_TAIL:_FIRST_GROSS] = interval[LOW, _FIRST_TAIL:_FIRST_GROSS]


@jit
def measure(  # type: ignore[no-untyped-def]
    rows, P, where, book, before, base_pnl, tails, wanted, trades, change, after
):
    """Fill `change` and `after`, both (A, 2, K), for each row of `trades` (A, n).

    The book's sums come first, then the trade's legs in the table's order: one fixed order of
    additions, whatever the batch, so that a mask, a step and the gate get the same bits.

    Args:
        rows: the net and gross rows (`riskenv.book_rows.Rows`).
        P: (R, S) per-contract scenario P&L; where: (n,) the row in it of each instrument.
        book: of `rows.books`, beside the whole one, that the trades belong to; 0 = none.
        before: (2, K) measures of the book; base_pnl: (S,) its scenario P&L.
        tails: where the tail measures lie among the scenarios (`riskenv.tails.BookTails`).
        wanted: (2H,) horizons to look at for VaR and ES, then for stress; the rest are NaN after
            a trade.
    """
    pnl = np.empty(base_pnl.size)
    scratch = scratch_of(tails)
    tail = np.empty(before.shape[1])
    legs = np.empty(trades.shape[1], np.int64)
    horizons = tails.counts.size
    for a in range(trades.shape[0]):
        change[a] = 0.0
        after[a] = before
        count = 0
        for i in range(trades.shape[1]):
            if trades[a, i] != 0.0:
                legs[count] = i
                count += 1
        if count == 0:
            continue
        _net(rows, book, before, trades[a], legs[:count], change[a], after[a])
        _gross(rows, book, before, trades[a], legs[:count], change[a], after[a])
        for b in range(2 * horizons + 1):
            if b <= horizons:
                looked_at = b == horizons or wanted[b]
                start, stop = tails.blocks[b], tails.blocks[b + 1]
            else:
                looked_at = wanted[b - 1]
                start, stop = tails.stress[b - horizons - 1], tails.stress[b - horizons]
            if not looked_at or start == stop:
                continue
            pnl[start:stop] = base_pnl[start:stop]
            for i in legs[:count]:
                add_scaled(P[where[i], start:stop], trades[a, i], pnl[start:stop])
        book_tails_of(pnl, tails, wanted, scratch, _FIRST_TAIL, tail)
        for j in range(_FIRST_TAIL, _FIRST_GROSS):
            after[a, LOW, j] = after[a, HIGH, j] = tail[j]
            change[a, LOW, j] = change[a, HIGH, j] = tail[j] - before[LOW, j]


@inline
def _net(rows, book, before, trade, legs, change, after):  # type: ignore[no-untyped-def]
    """Both ends of `change` and `after` of the net rows."""
    grows, loose = False, False
    sums = np.zeros(rows.net_at.size)
    for i in legs:
        add_scaled(rows.net[i], trade[i], sums)
        if rows.loose[i]:
            loose = True
            grows |= not abs(rows.books[0, i] + trade[i]) <= abs(rows.books[0, i])
    for r in range(rows.net_at.size):
        j, b = rows.net_at[r], rows.net_book[r]
        if not (b == 0 or b == book):
            continue
        known = sums[r]
        change[LOW, j] = change[HIGH, j] = known
        if not loose:
            after[LOW, j] = before[LOW, j] + known
            after[HIGH, j] = before[HIGH, j] + known
            continue
        least, most = 0.0, 0.0
        for i in range(trade.size):
            q = rows.books[b, i] + trade[i]
            if rows.loose[i] and q != 0.0:
                least += min(q * rows.low[i, r], q * rows.high[i, r])
                most += max(q * rows.low[i, r], q * rows.high[i, r])
        after[LOW, j] = (rows.settled_low[r] + known) + least
        after[HIGH, j] = (rows.settled_high[r] + known) + most
        # An end without bound that stays so is no further out, unless more of it was bought.
        if least != rows.open_low[r]:
            change[LOW, j] += least - rows.open_low[r]
        elif abs(least) == np.inf and grows:
            change[LOW, j] = -np.inf
        if most != rows.open_high[r]:
            change[HIGH, j] += most - rows.open_high[r]
        elif abs(most) == np.inf and grows:
            change[HIGH, j] = np.inf


@inline
def _gross(rows, book, before, trade, legs, change, after):  # type: ignore[no-untyped-def]
    for r in range(rows.gross_at.size):
        j, b = rows.gross_at[r], rows.gross_book[r]
        if not (b == 0 or b == book):
            continue
        c, bounded = 0.0, before[HIGH, j] < np.inf
        for i in legs:
            q = rows.books[b, i]
            held = q + trade[i]
            new, old = 0.0, 0.0
            if held != 0.0:
                new = abs(held) * rows.gross[i, 0 if held > 0.0 else 1, r]
            if q != 0.0:
                old = abs(q) * rows.gross[i, 0 if q > 0.0 else 1, r]
            # More of what has no bound is worse, less of it is not.
            if new == np.inf and old == np.inf:
                c += 0.0 if abs(held) <= abs(q) else np.inf
            elif old == np.inf:
                bounded = False
            else:
                c += new - old
        total = before[HIGH, j] + c if bounded else gross_sum(rows, r, trade)
        change[LOW, j] = change[HIGH, j] = c
        after[LOW, j] = after[HIGH, j] = total


@jit
def shrinking(quantity, pending, kind, ticker, blocked, trades, empty, shrinks, touches):  # type: ignore[no-untyped-def]
    """Of each trade: whether it is empty; whether it only moves positions towards 0 and sells no
    long that may cover a short; and whether it has a leg in what is blocked, or one that is not
    finite.

    Coarser than lot-for-lot cover, on the safe side: with a short of the same ticker and right
    held, a long of that kind is not sold; shares are not sold while a call is short, nor bought
    back while a put is short. What working orders may close already is not there to be closed.

    Args:
        pending: (2, n) contracts that working orders may still sell (<= 0) and buy (>= 0).
        blocked: (n,) instruments that are only left.
    """
    for a in range(trades.shape[0]):
        is_empty, ok, touched = True, True, False
        for i in range(trades.shape[1]):
            lots, held = trades[a, i], quantity[i]
            if lots == 0.0:
                continue
            is_empty = False
            touched |= blocked[i] or not abs(lots) < np.inf
            left = held + (pending[0, i] if held > 0.0 else pending[1, i])
            closes = lots * held < 0.0 and left * held > 0.0 and abs(lots) <= abs(left)
            if not closes:
                ok = False
                continue
            right = kind[i] if kind[i] != 0 else (1 if held > 0.0 else -1)
            if held > 0.0 or kind[i] == 0:
                for k in range(trades.shape[1]):
                    if quantity[k] < 0.0 and ticker[k] == ticker[i] and kind[k] == right:
                        ok = False
        empty[a] = is_empty
        shrinks[a] = ok
        touches[a] = touched


@inline
def inside_or_no_further(was_low, was_high, fall, rise, least, most, low, high):  # type: ignore[no-untyped-def]
    """Whether a measure of ends (least, most), which a trade moved by (fall, rise), is inside
    [low, high], or on each side that it was broken on no further out."""
    up = most <= high or (was_high > high and rise <= 0.0)
    down = low <= least or (was_low < low and fall >= 0.0)
    return up and down


@jit
def admissible(before, change, after, low, high, empty, shrinks, touches, verdict):  # type: ignore[no-untyped-def]
    """The rule. verdict[a] = may candidate a be done, as far as the caps are concerned?

    For every measure the after-book is inside its cap, or the cap was already broken and the
    after-book is no further outside and not past the other side: the higher end of an interval
    faces the upper cap, the lower end the lower one. So the empty trade always passes. Where a
    capped measure cannot be computed at all (NaN), or a leg touches what has no price, a trade
    must besides shrink the book. Every comparison is written so that a NaN fails it.

    Args:
        before: (2, K); change, after: (A, 2, K); low, high: (K,) caps, infinite where there is
            none.
        empty, shrinks, touches: (A,) of the trades, see `shrinking`.
    """
    for a in range(after.shape[0]):
        ok, known = True, True
        for j in range(low.size):
            capped = low[j] > -np.inf or high[j] < np.inf
            if not capped:
                # An exposure is finite, or has been without bound before.
                sound = abs(after[a, LOW, j]) < np.inf and abs(after[a, HIGH, j]) < np.inf
                was = abs(before[LOW, j]) < np.inf and abs(before[HIGH, j]) < np.inf
                known &= sound or not was or j >= _PRICED
                continue
            fall, rise = change[a, LOW, j], change[a, HIGH, j]
            least, most = after[a, LOW, j], after[a, HIGH, j]
            if fall != fall or rise != rise or least != least or most != most:
                known = False
                continue
            ok &= inside_or_no_further(
                before[LOW, j], before[HIGH, j], fall, rise, least, most, low[j], high[j]
            )
        verdict[a] = empty[a] or (ok and ((known and not touches[a]) or shrinks[a]))


@jit
def _nothing_left(rows, before, change, after):  # type: ignore[no-untyped-def]
    """A book with nothing in it has no risk, whatever is Unknown about what was sold: exactly 0,
    where the sums would leave a rounding residue that looks like a new loss. Not so a strategy's
    part, which may have been offset by another's: it keeps its own sums."""
    whole = np.ones(after.shape[1], dtype=np.bool_)
    for r in range(rows.net_at.size):
        whole[rows.net_at[r]] = rows.net_book[r] == 0
    for r in range(rows.gross_at.size):
        whole[rows.gross_at[r]] = rows.gross_book[r] == 0
    for j in range(whole.size):
        if whole[j]:
            after[:, j] = 0.0
            change[:, j] = -before[:, j]


# Rows of what `judge` says of each trade.
EMPTY, SHRINKS, TOUCHES, CLOSES, ADMISSIBLE = range(5)


@jit
def judge(  # type: ignore[no-untyped-def]
    net, net_low, net_high, gross, net_at, gross_at, books, net_book, gross_book, loose,
    settled_low, settled_high, open_low, open_high, unfilled,
    blocks, counts, p, stress, history, mixed, known,
    P, where, interval, base_pnl, low, high, quantity, pending, kind, ticker, blocked, orders,
    strategy, wanted, trades, closing, after, flags,
):  # fmt: skip
    """Measure the trades (A, n) and put them to `admissible`: fills after (A, 2, K), flags (5, A).

    The book comes as `riskenv.assessment.Assessment.book` has it, one array after the other: to
    take tuples apart costs a call more than all it computes for one trade.

    Args:
        net to unfilled: `riskenv.book_rows.Rows`; blocks to known: `riskenv.tails.BookTails`.
        P, where, interval, base_pnl: as `measure` has them, `interval` as `before`.
        low, high: (K,) caps.
        quantity, pending, kind, ticker, blocked: (n,), as `shrinking` has them.
        orders: whether any order works.
        strategy: of `books`, the one that the trades belong to; wanted: see `measure`.
        closing: (A,) trades that shrink by a finer test of cover than that of `shrinking`.
    """
    rows = Rows(
        net, net_low, net_high, gross, net_at, gross_at, books, net_book, gross_book, loose,
        settled_low, settled_high, open_low, open_high, unfilled,
    )  # fmt: skip
    tails = BookTails(blocks, counts, p, stress, history, mixed, known)
    change = np.empty_like(after)
    measure(
        rows, P, where, strategy, interval, base_pnl, tails, wanted, trades, change, after,
    )  # fmt: skip
    shrinking(
        quantity, pending, kind, ticker, blocked, trades, flags[EMPTY], flags[SHRINKS],
        flags[TOUCHES],
    )  # fmt: skip
    for a in range(trades.shape[0]):
        closes = not flags[EMPTY, a]
        for i in range(trades.shape[1]):
            closes &= trades[a, i] == -quantity[i]
        flags[CLOSES, a] = closes
        flags[SHRINKS, a] |= closing[a]
        if closes and not orders:
            _nothing_left(rows, interval, change[a], after[a])
            flags[SHRINKS, a] = True
    admissible(
        interval, change, after, low, high, flags[EMPTY], flags[SHRINKS], flags[TOUCHES],
        flags[ADMISSIBLE],
    )  # fmt: skip


def tail_risks(tails: BookTails) -> list[int]:
    """Rows of `MEASURES` that say how much a book may lose, capped or not: the expected shortfall
    and the worst gap, where there is a history, and the worst stress, where there is a grid."""
    rows = [INDEX["es_1d"], INDEX[GAP[0]]] if tails.blocks[-1] > 0 else []
    return rows + [INDEX[name] for name in _stress_in_use(tails)[:1]]


def _stress_in_use(tails: BookTails) -> list[str]:
    return [name for name, size in zip(STRESS, np.diff(tails.stress), strict=True) if size]


def lowers_risk(
    before: FloatArray,
    after: FloatArray,
    low: FloatArray,
    high: FloatArray,
    warn: float,
    risks: list[int],
) -> NDArray[np.bool_]:
    """(A,) whether going from `before` to `after` lowers risk: by risk, not by side of a trade.

    None of `risks` rises, no capped measure ends above max(before, warn) of its cap, and one of
    these strictly falls. Anything Unknown: False.

    Args:
        before: (2, K) or (A, 2, K); after: (A, 2, K).
        risks: measures that say how much the book may lose, capped or not (`tail_risks`); without
            any only the caps are looked at.
    """
    capped = np.isfinite(low) | np.isfinite(high)
    # An uncapped measure that nothing computes (VaR without a history) is no obstacle.
    used_before = used_of(before[..., capped], low[capped], high[capped])
    used_after = used_of(after[..., capped], low[capped], high[capped])
    quiet = np.asarray((used_after <= np.maximum(used_before, warn)).all(axis=1))
    lower = (used_after < used_before).any(axis=1)
    if risks:
        tail_before, tail_after = before[..., LOW, risks], after[:, LOW, risks]
        quiet &= (tail_after >= tail_before).all(axis=1)
        lower |= (tail_after > tail_before).any(axis=1)
    return quiet & lower


def used_of(interval: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """(..., K) share of each cap in use, of intervals (..., 2, K), by the end that uses more.

    `riskenv.measures.utilisation` of each end; NaN where that of either is.

    Example:
        >>> ends = np.array([[-9.0, 1.0], [2.0, np.nan]])
        >>> used_of(ends, np.array([-10.0, -5.0]), np.array([10.0, 5.0])).tolist()
        [0.9, nan]
    """
    *batch, _, measures = interval.shape
    flat = np.ascontiguousarray(interval).reshape(math.prod(batch), 2, measures)
    out = np.empty((len(flat), measures))
    _used(flat, np.ascontiguousarray(low), np.ascontiguousarray(high), out)
    return out.reshape((*batch, measures))


@inline
def _share(value, low, high):  # type: ignore[no-untyped-def]
    bound = low if value < 0.0 else high
    return 0.0 if value == 0.0 and bound == 0.0 else abs(value / bound)


@jit
def _used(interval, low, high, out):  # type: ignore[no-untyped-def]
    for a in range(interval.shape[0]):
        for j in range(low.size):
            most = 0.0
            for end in range(2):
                used = _share(interval[a, end, j], low[j], high[j])
                if not used <= most and most == most:
                    most = used
            out[a, j] = most


@jit
def any_beyond(used, low, high, level):  # type: ignore[no-untyped-def]
    """Whether the share in use of any cap is above a level, or Unknown."""
    beyond = False
    for j in range(used.size):
        beyond |= (low[j] > -np.inf or high[j] < np.inf) and not used[j] <= level
    return beyond


@jit
def outside_caps(before, interval, low, high, at, ends):  # type: ignore[no-untyped-def]
    """How many capped measures of (2, K) ends are Unknown, or outside their cap and further out
    than `before`; fills at (K,) with their places, and ends (2, K) with the end that is and the cap
    that it is outside of, NaN where it is Unknown. A `before` of NaN is no excuse."""
    count = 0
    for j in range(low.size):
        if not (low[j] > -np.inf or high[j] < np.inf):
            continue
        least, most = interval[LOW, j], interval[HIGH, j]
        below, above = _share(least, low[j], high[j]), _share(most, low[j], high[j])
        if below <= 1.0 and above <= 1.0:
            continue
        fell = least < low[j] and not (before[LOW, j] < low[j] and least >= before[LOW, j])
        rose = most > high[j] and not (before[HIGH, j] > high[j] and most <= before[HIGH, j])
        if below != below or above != above:
            ends[0, count], ends[1, count] = np.nan, np.nan
        elif fell:
            ends[0, count], ends[1, count] = least, low[j]
        elif rose:
            ends[0, count], ends[1, count] = most, high[j]
        else:
            continue
        at[count] = j
        count += 1
    return count


@jit
def use_of_caps(interval, low, high, scope, used, most, sure):  # type: ignore[no-untyped-def]
    """Of (2, K) measures: fills used (K,) as `used_of` does, and by scope the largest share of a
    cap in use, most (C,), and the largest that is surely in use, sure (C,).

    The first is NaN if any capped measure of the scope is. The second takes each interval at its
    end nearest to 0, and passes over what is NaN: what is Unknown blocks, and is no reason to sell.
    Returns the largest of these.

    Args:
        scope: (K,) which of the C scopes a measure belongs to.
    """
    most[:] = 0.0
    sure[:] = 0.0
    for j in range(low.size):
        c = scope[j]
        least, top = interval[LOW, j], interval[HIGH, j]
        share = 0.0
        for end in range(2):
            of_end = _share(interval[end, j], low[j], high[j])
            if not of_end <= share and share == share:
                share = of_end
        used[j] = share
        if not (low[j] > -np.inf or high[j] < np.inf):
            continue
        if least != least or top != top:
            most[c] = np.nan
            continue
        both = max(_share(least, low[j], high[j]), _share(top, low[j], high[j]))
        if not both <= most[c] and most[c] == most[c]:
            most[c] = both
        nearest = min(max(0.0, least), top)
        sure[c] = max(sure[c], _share(nearest, low[j], high[j]))
    return sure.max()


# book_tails_of writes the gap and then the stress.
assert MEASURES[_FIRST_TAIL + 6 : _FIRST_GROSS] == GAP + STRESS
