"""What may change in a book without being asked for, by what an adapter's traits declare."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from riskenv.wrappers.adapter import Traits
from riskenv.wrappers.conformance_passage import SAME, Book, Passage, holdings

from riskenv.instruments import Instrument
from riskenv.market import Market
from riskenv.quote_quality import RATE

# Declared changes that only take positions towards zero.
CLOSING = frozenset({"assignment", "margin_call", "stop"})
_KNOWN = CLOSING | {"expiry", "client_flow"}
# What a size that is worked out later may be off by, besides the moves of price and equity.
LATE = 0.02
# Steps whose cash must agree before it is taken for the account's habit.
TELLING = 5


def other_kinds(traits: Traits) -> frozenset[str]:
    """Declared kinds that are the env's own, of which nothing is known here.

    Example:
        >>> other_kinds(Traits(unasked=("expiry", "restrike")))
        frozenset({'restrike'})
    """
    return frozenset(traits.unasked) - _KNOWN


@dataclass(frozen=True)
class Conduct:
    """What a run shows of an account that changes unasked.

    Attributes:
        flow: contracts that it changed by unasked, at most, where all that was asked was done.
            Client flow does not know what is asked: a request of 300 that comes out as 307 may be
            one filled beside clients who trade 7, and not where none ever traded 7.
        done: whether requests that do not show in the book were done, and undone within the step:
            on the whole cash is nearer to that than to the change of the book alone, or there are
            fewer than `TELLING` such steps to tell it by.

    Example:
        >>> Conduct.of([], Traits(unasked=("stop",)))
        Conduct(flow=0.0, done=True)
    """

    flow: float
    done: bool

    @classmethod
    def of(cls, passages: Iterable[Passage], traits: Traits) -> Conduct:
        flow, off = 0.0, []
        for p in passages:
            _, asked, left = p.changes
            if p.expected is None:
                continue
            if not set(left) & set(asked):
                flow = max(flow, *(abs(q) for q in left.values()), 0.0)
            elif any(_fell_short(p, i) for i in left):
                off.append(_off(p, traits))
        known = [pair for pair in off if not any(map(math.isnan, pair))]
        alone, undone = np.sum(known, axis=0) if known else (0.0, 0.0)
        return cls(flow, len(known) < TELLING or bool(undone <= alone))


def is_declared(p: Passage, instrument: Instrument, traits: Traits, conduct: Conduct) -> bool:
    """Whether what changed of a contract beyond its preview is of a declared kind.

    Stops, margin calls and assignments take positions towards zero, an assignment also brings the
    shares; an expiry takes away what has expired; client flow and kinds of the env's own may be
    anything. But they do not stand for a request: where less of a contract was traded than was
    asked for, the account must show that it was done and then undone; and client flow is no larger
    than where nothing was asked for.
    """
    kinds, others = frozenset(traits.unasked), other_kinds(traits)
    moved, asked, left = p.changes
    lots, gone = left[instrument], is_gone(p, instrument)
    if expired(p, instrument):
        return gone and bool(others or kinds & {"expiry", "assignment"})
    if "assignment" in kinds and abs(lots) * instrument.multiplier <= _delivered(instrument, left):
        return True
    wanted = holdings(p.before).get(instrument, 0.0) + asked.get(instrument, 0.0)
    closing = bool(others or kinds & CLOSING) and towards_zero(lots, wanted)
    flows = bool(others or "client_flow" in kinds)
    if instrument not in asked:
        return closing or flows
    if closing and (not _fell_short(p, instrument) or _was_done(p, traits, conduct, gone)):
        return True
    return flows and bool(moved) and abs(lots) <= conduct.flow * (1.0 + SAME)


def _delivered(instrument: Instrument, left: Book) -> float:
    """Shares of this that options which went away unasked are on; 0 of what is no share."""
    if instrument.is_option:
        return 0.0
    options = [i for i in left if i.is_option and i.underlying == instrument.underlying]
    return sum(abs(left[i]) * i.multiplier for i in options) * (1.0 + SAME)


def _fell_short(p: Passage, instrument: Instrument) -> bool:
    """Whether less was traded than was asked for, the same way: what a refusal looks like."""
    moved, asked, _ = p.changes
    share = moved.get(instrument, 0.0) / asked[instrument] if instrument in asked else math.inf
    return 0.0 <= share < 1.0


def _was_done(p: Passage, traits: Traits, conduct: Conduct, gone: bool) -> bool:
    """Whether a request that does not show in the book was done, and then undone."""
    moved, _, _ = p.changes
    alone, undone = _off(p, traits)
    exact = SAME * abs(p.before.cash)
    if alone <= exact and (not moved or undone > 1e3 * exact):
        return False  # nothing was paid but for what the book shows
    if abs(alone - undone) <= exact or math.isnan(undone):
        return gone  # cash cannot tell
    return conduct.done


def _off(p: Passage, traits: Traits) -> tuple[float, float]:
    """How far cash is from what the change of the book alone costs, and from what the request
    costs that is undone at the prices that followed (or is undone for nothing), spreads included;
    NaN where a price is not known. Cash may earn the market's rate, or nothing."""
    moved, asked, left = p.changes
    paid = p.before.cash - p.after.cash
    interest = p.before.cash * float(p.market.columns[RATE, 0]) * p.years
    first = p.next_market if traits.fills == "next" else p.market
    request = _cost(asked, first)

    def off(*costs: float) -> float:
        return min(abs(paid + earned - cost) for cost in costs for earned in (0.0, interest))

    undone = request + _cost(left, p.next_market)
    return off(_cost(moved, first)), off(undone, request) if math.isfinite(undone) else math.nan


def _cost(book: Book, market: Market) -> float:
    """What trades cost at a market's bids and asks; NaN where a quote is missing."""
    table = market.table
    rows = [table.index.get(i, -1) for i in book]
    if -1 in rows:
        return math.nan
    lots = np.array(list(book.values()))
    crossing = np.abs(lots) * table.multiplier[rows] * market.half_spread[rows]
    return float((lots * market.value[rows] + crossing).sum())


def late(p: Passage, instrument: Instrument, whole_lots: bool) -> bool:
    """Whether a size is what the preview becomes as price and equity move before the fill.

    A fraction of the equity goes with equity / price; half as much again is allowed, and `LATE`.
    """
    _, asked, left = p.changes
    row, later = (m.table.index.get(instrument, -1) for m in (p.market, p.next_market))
    if instrument not in asked or -1 in (row, later):
        return False
    worth = [
        b.cash + float(np.nansum(b.quantity * m.value))
        for b, m in ((p.before, p.market), (p.after, p.next_market))
    ]
    if not worth[0] > 0.0:
        return False
    price = abs(p.next_market.mid[later] / p.market.mid[row] - 1.0)
    allowed = LATE + 1.5 * (price + abs(worth[1] / worth[0] - 1.0))
    wanted = holdings(p.before).get(instrument, 0.0) + asked[instrument]
    if wanted * holdings(p.after).get(instrument, 0.0) < 0.0:
        return False  # a sign is never late
    size = max(abs(asked[instrument]), abs(wanted))
    return bool(abs(left[instrument]) <= allowed * size + whole_lots)


def is_gone(p: Passage, instrument: Instrument) -> bool:
    """Whether nothing is held of it afterwards."""
    return holdings(p.after).get(instrument, 0.0) == 0.0


def expired(p: Passage, instrument: Instrument) -> bool:
    """Whether the contract ended within the step."""
    return 0 < instrument.expiry <= p.next_market.now


def towards_zero(lots: float, held: float) -> bool:
    """Whether lots reduce what is held, and do not turn it round."""
    return lots * held < 0.0 and abs(lots) <= abs(held) * (1.0 + SAME)
