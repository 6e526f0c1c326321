"""Whether cash moves by what is traded, at about the quoted prices, and by nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from riskenv.wrappers.adapter import Traits
from riskenv.wrappers.conformance_passage import Passage
from riskenv.wrappers.conformance_report import Finding

from riskenv.instruments import Instrument
from riskenv.market import Market
from riskenv.quote_quality import FX

# What cash may change by while the book does not, each as a share of what it is paid on.
CARRY = 0.10  # a year, of cash and of what is held: interest, financing, borrowing, management fees
DIVIDEND = 0.02  # a step, of the shares held
ROUNDING = 1e-6  # of cash and of what is held: accounts in single precision


def payments(passages: Sequence[Passage], traits: Traits) -> Finding | None:
    """Whether the account paid for what it traded, at the prices of the decision.

    Steps whose change of the book was the preview are judged, all together. Allowed for are fees
    of 1 % of what was traded, half as much again as the quoted spread, and what cash may change by
    on a step without trades (`unexplained_cash`).

    Returns:
        None where it did, or where nothing can be said; else "fills_next" where the prices that
        followed explain the payments, "nav" where neither do.
    """
    now = later = size = spread = carry = 0.0
    for p in passages:
        moved, _, odd = p.changes
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
        carry += _carry(p)
        size += float(np.abs(lots) @ mid)
        spread += float(np.abs(lots) @ p.market.half_spread[rows])
    allowed = 0.01 * size + 1.5 * spread + carry
    tight = 1e-6 * size + 1.5 * spread
    if traits.fills == "now" and now > tight and later < 0.5 * now:
        words = (
            "the market advances before the fill: trades were paid at the prices that followed "
            f"the decision (off by {now:.6g} at the decision's prices, by {later:.6g} at the next "
            "ones). Declare Traits(fills='next')"
        )
        return Finding("fills_next", words)
    if min(now, later) > allowed:
        words = (
            f"cash does not pay for what is traded: off by {min(now, later):.6g} on trades of "
            f"{size:.6g}. Is the multiplier right, is a premium booked elsewhere?"
        )
        return Finding("nav", words)
    return None


def unexplained_cash(passages: Sequence[Passage]) -> Finding | None:
    """Whether cash moved on steps on which the book did not, or did as no preview says.

    Allowed on a step:

    - 10 % a year of cash and of what is held, for the time the step takes: interest, financing,
      borrowed shares, fees on what is managed;
    - 2 % of the shares held: a dividend;
    - of futures and their options what the future's price moved by;
    - of contracts that changed without being asked, or were asked for, what they are contracts on
      (the larger of spot and strike): settlement, assignment, stops;
    - 10⁻⁶ of all that for rounding.

    Steps that trade just what was previewed are for `payments`.
    """
    count, example = 0, ""
    for p in passages:
        moved, asked, odd = p.changes
        if moved and not odd:
            continue
        change = p.after.cash - p.before.cash
        turned = dict.fromkeys([*moved, *asked])
        allowed = _carry(p) + sum(
            (abs(moved.get(i, 0.0)) + abs(asked.get(i, 0.0))) * _notional(p, i) for i in turned
        )
        if not abs(change) <= allowed:
            count += 1
            example = example or f"by {change:+,.6g}" + ("" if turned else " with nothing traded")
    if not count:
        return None
    words = (
        f"cash moved for no reason that the book shows ({count} steps; first {example}): neither "
        "trades nor interest and dividends explain it. Does the snapshot leave out a position, is "
        "a premium or a payment booked elsewhere?"
    )
    return Finding("cash", words)


def _carry(p: Passage) -> float:
    """What cash may change by while positions stay, in currency."""
    market, then, table = p.market, p.next_market, p.market.table
    held, worth, on = np.abs(p.before.quantity), market.value, _on(market)
    values = held * np.where(np.isfinite(worth), np.abs(worth), on)
    shares = (table.kind == 0) & ~table.on_future
    later = dict(zip(then.table.underlyings, then.spot.tolist(), strict=True))
    moves = np.array(
        [
            abs(later.get(u, s) / s - 1.0)
            for u, s in zip(table.underlyings, market.spot.tolist(), strict=True)
        ]
    )
    variation = (held * on * moves[table.underlying_index])[table.on_future]
    return float(
        (CARRY * abs(p.years) + ROUNDING) * (abs(p.before.cash) + values.sum())
        + DIVIDEND * values[shares].sum()
        + (1.0 + DIVIDEND) * variation.sum()
    )


def _on(market: Market) -> NDArray[np.float64]:
    """(n,) what each contract is on, at spot, in the book's currency."""
    u = market.table.underlying_index
    points: NDArray[np.float64] = market.table.multiplier * market.spot[u] * market.tickers[FX][u]
    return points


def _notional(p: Passage, instrument: Instrument) -> float:
    """The largest of what a contract was on, is on, and is exercised at, with 2 % for costs."""
    most = 0.0
    for market in (p.market, p.next_market):
        row = market.table.index.get(instrument)
        if row is not None:
            u = market.table.underlying_index[row]
            strike = instrument.multiplier * instrument.strike * float(market.tickers[FX][u])
            most = max(most, float(_on(market)[row]), strike)
    return 1.02 * most
