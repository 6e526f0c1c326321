"""What went wrong between a preview and the book that followed: each trap has a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from riskenv.wrappers.adapter import Traits

from riskenv.instruments import Instrument
from riskenv.market import Market
from riskenv.portfolio import Portfolio
from riskenv.quote_quality import UNKNOWN_REASONS

Book = Mapping[Instrument, float]

# What counts as the same number of contracts, as a share of what is held or traded of it: envs add
# lots up in floating point, and a lot may be a share or a hundred-thousandth of a coin.
SAME = 1e-8

MATCHED, DECLARED, UNKNOWN = "matched", "declared", "unknown"

# Code -> what is said of it. `{n}` is the number of steps, `{example}` the first of them.
MISMATCHES = {
    "restruck": "re-struck slots: quantities stayed and contracts changed ({n} steps; {example}). "
    "Read positions by contract, and declare the change in Traits.unasked",
    "ignored": "an action was silently ignored: its preview trades, the account did not move "
    "({n} steps; {example}). Preview what the env refuses as nothing",
    "other_contract": "another contract was traded than previewed: a list re-sorted inside step, "
    "or the nearest listed contract chosen there ({n} steps; {example})",
    "cut": "less was traded than previewed: the env cuts sizes, as to cash at hand "
    "({n} steps; {example})",
    "other_size": "another size was traded than previewed ({n} steps; {example})",
    "stop": "positions were closed without being asked, as by a stop or a margin call inside step "
    "({n} steps; {example}). Declare it in Traits.unasked",
    "expiry": "contracts expired inside step ({n} steps; {example}). Declare 'expiry' in "
    "Traits.unasked",
    "client_flow": "positions were opened without being asked, as by client flow "
    "({n} steps; {example}). Declare it in Traits.unasked",
}


@dataclass(frozen=True, eq=False)
class Passage:
    """One step of the env as the layer drove it: before, asked, after.

    Attributes:
        before, market: the book and the market of the decision.
        expected: the previewed trades; None where they could not be known.
        after, next_market: the book and the market that followed.
    """

    before: Portfolio
    market: Market
    expected: Book | None
    after: Portfolio
    next_market: Market


def holdings(portfolio: Portfolio) -> dict[Instrument, float]:
    """Contract -> signed contracts, of what is held.

    Example:
        >>> from riskenv.instruments import InstrumentTable
        >>> spy = Instrument("SPY")
        >>> table = InstrumentTable.of([spy, Instrument("QQQ")])
        >>> {i.symbol: q for i, q in holdings(Portfolio.of(table, {spy: 3.0}, 0.0)).items()}
        {'SPY': 3.0}
    """
    rows = np.flatnonzero(portfolio.quantity)
    return {portfolio.table.instruments[r]: float(portfolio.quantity[r]) for r in rows}


def verdict_on(passage: Passage, traits: Traits) -> tuple[str, str]:
    """(code, example) of a step: matched, declared, unknown, or a key of `MISMATCHES`."""
    if passage.expected is None:
        return UNKNOWN, ""
    before, after = holdings(passage.before), holdings(passage.after)
    size = _sizes(before, after, passage.expected)
    moved, asked = difference(after, before, size), difference(passage.expected, {}, size)
    left = difference(moved, asked, size)
    if not left:
        return MATCHED, ""
    example = f"previewed {_words(asked)}, traded {_words(moved)}"
    expired = all(0 < instrument.expiry <= passage.next_market.now for instrument in left)
    if expired:
        return (DECLARED if "expiry" in traits.unasked else "expiry"), example
    if set(traits.unasked) - {"expiry"}:
        return DECLARED, example
    return _mismatch(before, moved, asked, left), example


def _mismatch(before: Book, moved: Book, asked: Book, left: Book) -> str:
    """Which trap it was."""
    if _same_under_other_contracts(before, asked, moved):
        return "restruck"
    unasked = not set(left) & set(asked)  # what was asked for was done, and more
    if unasked:
        towards_zero = all(
            before.get(i, 0.0) * lots < 0.0 and abs(lots) <= abs(before.get(i, 0.0)) * (1.0 + SAME)
            for i, lots in left.items()
        )
        return "stop" if towards_zero else "client_flow"
    if not moved:
        return "ignored"
    if not set(moved) & set(asked):
        return "other_contract"
    if set(moved) <= set(asked) and all(
        asked[i] * lots > 0.0 and abs(lots) <= abs(asked[i]) * (1.0 + SAME)
        for i, lots in moved.items()
    ):
        return "cut"
    return "other_size"


def _same_under_other_contracts(before: Book, asked: Book, moved: Book) -> bool:
    """Whether what was to be held is held, in contracts that differ by strike or expiry alone."""
    wanted = difference(before, {i: -lots for i, lots in asked.items()})
    held = difference(before, {i: -lots for i, lots in moved.items()})
    gone = {i: q for i, q in wanted.items() if i not in held}
    new = {i: q for i, q in held.items() if i not in wanted}
    if not gone or not set(gone) <= set(before):
        return False

    def kinds(book: Book) -> list[tuple[str, str, float]]:
        return sorted((i.underlying, i.right, float(f"{q:.7g}")) for i, q in book.items())

    return kinds(gone) == kinds(new)


def difference(book: Book, other: Book, size: Book | None = None) -> dict[Instrument, float]:
    """`book` less `other`, what is the same but for rounding left out.

    Args:
        size: what rounding is judged by, of each contract; by default the larger of the two.

    Example:
        >>> spy, qqq = Instrument("SPY"), Instrument("QQQ")
        >>> left = difference({spy: 3.0, qqq: 1e-5}, {spy: 3.0 + 1e-12})
        >>> {i.symbol: q for i, q in left.items()}
        {'QQQ': 1e-05}
    """
    size = _sizes(book, other) if size is None else size
    left = {i: book.get(i, 0.0) - other.get(i, 0.0) for i in dict.fromkeys([*book, *other])}
    return {i: q for i, q in left.items() if not abs(q) <= SAME * size[i]}


def _sizes(*books: Book) -> dict[Instrument, float]:
    keys = dict.fromkeys(i for book in books for i in book)
    return {i: max(abs(book.get(i, 0.0)) for book in books) for i in keys}


def _words(book: Book) -> str:
    if not book:
        return "nothing"
    return ", ".join(f"{q:+.6g} {i.symbol}" for i, q in sorted(book.items(), key=_key))


def _key(item: tuple[Instrument, float]) -> tuple[str, int, int, float, float, str, str, bool]:
    return item[0].sort_key


def payments(passages: list[Passage], traits: Traits) -> tuple[str, str] | None:
    """Whether the account paid for what it traded, at the prices of the decision.

    Returns:
        None where it did, or where nothing can be said; else (code, words): "fills_next" where
        the prices that followed explain the payments, "nav" where neither do. Interest, fees and
        spreads are allowed for: 1 % of what was traded, besides the quoted spread.
    """
    now = later = size = spread = 0.0
    for p in passages:
        before, after, expected = holdings(p.before), holdings(p.after), p.expected or {}
        size_of = _sizes(before, after, expected)
        moved = difference(after, before, size_of)
        odd = difference(moved, expected, size_of)
        if not moved or odd or any(i.on_future for i in moved):
            continue
        rows = [p.market.table.index[i] for i in moved]
        later_rows = [p.next_market.table.index.get(i, -1) for i in moved]
        if -1 in later_rows:
            continue
        lots = np.array(list(moved.values())) * p.market.table.multiplier[rows]
        mid, next_mid = p.market.mid[rows], p.next_market.mid[later_rows]
        if not (np.isfinite(mid).all() and np.isfinite(next_mid).all()):
            continue
        paid = p.before.cash - p.after.cash
        now += abs(paid - float(lots @ mid))
        later += abs(paid - float(lots @ next_mid))
        size += float(np.abs(lots) @ mid)
        spread += float(np.abs(lots) @ p.market.half_spread[rows])
    allowed = 0.01 * size + 1.5 * spread
    tight = 1e-6 * size + 1.5 * spread
    if traits.fills == "now" and now > tight and later < 0.5 * now:
        return "fills_next", (
            "the market advances before the fill: trades were paid at the prices that followed "
            f"the decision (off by {now:.6g} at the decision's prices, by {later:.6g} at the next "
            "ones). Declare Traits(fills='next')"
        )
    if min(now, later) > allowed:
        return "nav", (
            f"cash does not pay for what is traded: off by {min(now, later):.6g} on trades of "
            f"{size:.6g}. Is the multiplier right, is a premium booked elsewhere?"
        )
    return None


def unknown_quotes(passages: list[Passage]) -> str:
    """What is said of steps on which a contract that is held had no quote to trust; "" if none.

    A slot that is taken for a contract shows itself here: the quote moves on to another strike.
    """
    count, example = 0, ""
    for p in passages:
        code = p.market.unknown_code
        rows = np.flatnonzero((p.before.quantity != 0.0) & (code != 0))
        if len(rows):
            count += 1
            symbol = p.market.table.symbols[rows[0]]
            example = example or f"{symbol}: {UNKNOWN_REASONS[code[rows[0]]]}"
    if not count:
        return ""
    return (
        f"what is held was Unknown on {count} steps ({example}), and blocks entries there. Is the "
        "quote that of the contract, or of the slot that it was bought from?"
    )
