"""What went wrong between a preview and the book that followed: each trap has a name."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from riskenv.wrappers.adapter import Traits
from riskenv.wrappers.conformance_declared import (
    Conduct,
    expired,
    is_declared,
    is_gone,
    late,
    other_kinds,
    towards_zero,
)
from riskenv.wrappers.conformance_passage import (
    SAME,
    Book,
    Passage,
    difference,
    holdings,
)
from riskenv.wrappers.conformance_report import Finding

from riskenv.instruments import Instrument
from riskenv.quote_quality import UNKNOWN_REASONS

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
    "late_size": "another size was traded than previewed, as the env works sizes out at a later "
    "price ({n} steps; {example})",
    "other_size": "another size was traded than previewed ({n} steps; {example})",
    "stop": "positions were closed without being asked, as by a stop or a margin call inside step "
    "({n} steps; {example}). Declare it in Traits.unasked",
    "expiry": "contracts expired inside step ({n} steps; {example}). Declare 'expiry' in "
    "Traits.unasked",
    "client_flow": "positions were opened without being asked, as by client flow "
    "({n} steps; {example}). Declare it in Traits.unasked",
}

# Of these codes the ones that are no problem: declared, and within what prices explain.
REMARKS = frozenset({"late_size"})


def verdict_on(passage: Passage, traits: Traits, conduct: Conduct | None = None) -> tuple[str, str]:
    """(code, example) of a step: matched, declared, unknown, or a key of `MISMATCHES`.

    What is left of the change after the preview is judged by what was declared, contract by
    contract: see `is_declared`. What is not declared names the trap.

    Args:
        conduct: of the run; by default of this step.
    """
    if passage.expected is None:
        return UNKNOWN, ""
    moved, asked, left = passage.changes
    if not left:
        return MATCHED, ""
    example = f"previewed {_words(asked)}, traded {_words(moved)}"
    before = holdings(passage.before)
    conduct = Conduct.of([passage], traits) if conduct is None else conduct
    if other_kinds(traits) and _same_under_other_contracts(before, asked, moved):
        return DECLARED, example
    odd = {i: q for i, q in left.items() if not is_declared(passage, i, traits, conduct)}
    if not odd:
        return DECLARED, example
    if all(expired(passage, i) and is_gone(passage, i) for i in odd):
        return "expiry", example
    sized_later = traits.units == "fraction_of_equity" and traits.fills == "next"
    if sized_later and all(late(passage, i, traits.whole_lots) for i in odd):
        return "late_size", example
    return _mismatch(before, moved, asked, odd), example


def _mismatch(before: Book, moved: Book, asked: Book, left: Book) -> str:
    """Which trap it was."""
    if _same_under_other_contracts(before, asked, moved):
        return "restruck"
    unasked = not set(left) & set(asked)  # what was asked for was done, and more
    if unasked:
        closed = all(towards_zero(lots, before.get(i, 0.0)) for i, lots in left.items())
        return "stop" if closed else "client_flow"
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


def _words(book: Book) -> str:
    if not book:
        return "nothing"
    return ", ".join(f"{q:+.6g} {i.symbol}" for i, q in sorted(book.items(), key=_key))


def _key(item: tuple[Instrument, float]) -> tuple[str, int, int, float, float, str, str, bool]:
    return item[0].sort_key


def unknown_quotes(passages: Iterable[Passage]) -> Finding | None:
    """What is said of steps on which a contract that is held had no quote to trust.

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
        return None
    words = (
        f"what is held was Unknown on {count} steps ({example}), and blocks entries there. Is the "
        "quote that of the contract, or of the slot that it was bought from?"
    )
    return Finding("unknown_quotes", words, problem=False)
