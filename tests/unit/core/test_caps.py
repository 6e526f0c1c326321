"""Caps by scope, on sums of sizes and with orders working: against sums done by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskenv import (
    BreakerState,
    Caps,
    MarginRule,
    Portfolio,
    PortfolioRiskManager,
    Proposal,
    RiskGate,
    RiskLimits,
    ScopeCaps,
    Verdict,
)
from riskenv.exposures import exposures
from riskenv.measures import GROSS, LINEAR, MEASURES

from ...property.worlds import DAY, FAST, NOW, SESSIONS, world

FRESH = BreakerState()


def manager(**limits) -> PortfolioRiskManager:
    return PortfolioRiskManager(RiskLimits(**({"caps": Caps()} | limits)), SESSIONS)


def book_of(w, rows: dict[int, float], **more) -> Portfolio:
    quantity = np.zeros(len(w.table))
    for row, lots in rows.items():
        quantity[row] = lots
    return Portfolio(w.table, quantity, 1e6, **more)


def vector(w, rows: dict[int, float]) -> np.ndarray:
    return book_of(w, rows).quantity


def of_ticker(w, ticker: str) -> np.ndarray:
    return w.table.underlying_index == w.table.underlyings.index(ticker)


def decide(m, book, market, trade, strategy=""):
    state, a = m.assess(FRESH, book, market)
    return m.decide(state, a, Proposal(np.stack([trade, 0.0 * trade]), strategy=strategy))[1]


def options(w, ticker: str, days: int | None = None) -> list[int]:
    rows = of_ticker(w, ticker) & (w.table.kind != 0)
    if days is not None:
        rows &= w.table.expiry == NOW + days * DAY
    return np.flatnonzero(rows).tolist()


def test_a_cap_on_one_ticker_is_deaf_to_the_other() -> None:
    w = world(1, held=0)
    a, b = options(w, "A", 20)[0], options(w, "B", 20)[0]
    vega = exposures(w.market).X[:, LINEAR.index("vega")]
    m = manager(by_underlying={"A": ScopeCaps(vega=3.5 * vega[a])})
    book = book_of(w, {})
    assert decide(m, book, w.market, vector(w, {a: 3.0, b: 50.0})).verdict is Verdict.ALLOW
    d = decide(m, book, w.market, vector(w, {a: 4.0}))
    assert d.verdict is Verdict.BLOCK
    assert [(r.code, r.measure) for r in d.reasons] == [("cap_exceeded", "vega[A]")]
    assert d.to_dict()["measures"]["vega[A]"]["cap_high"] == pytest.approx(3.5 * vega[a])


def test_each_ticker_without_caps_of_its_own_has_those_of_each() -> None:
    w = world(1, held=0)
    limits = {"*": ScopeCaps(delta=100.0), "B": ScopeCaps(delta=1000.0)}
    m = manager(by_underlying=limits)
    book = book_of(w, {})
    share = {t: int(np.flatnonzero(of_ticker(w, t) & (w.table.kind == 0))[0]) for t in "AB"}
    assert decide(m, book, w.market, vector(w, {share["A"]: 101.0})).verdict is Verdict.BLOCK
    assert decide(m, book, w.market, vector(w, {share["B"]: 999.0})).verdict is Verdict.ALLOW
    # Two tickers may add up to more than either may have.
    both = vector(w, {share["A"]: 100.0, share["B"]: 1000.0})
    assert decide(m, book, w.market, both).verdict is Verdict.ALLOW


def test_a_cap_on_an_expiry_bucket_counts_what_expires_in_it() -> None:
    w = world(1, held=0)
    soon, later = options(w, "A", 2)[0], options(w, "A", 20)[0]
    gamma = exposures(w.market).X[:, LINEAR.index("gamma")]
    m = manager(by_expiry={"1-7d": ScopeCaps(gamma=1.5 * gamma[soon])})
    book = book_of(w, {})
    assert decide(m, book, w.market, vector(w, {soon: -1.0, later: -30.0})).verdict is Verdict.ALLOW
    assert decide(m, book, w.market, vector(w, {soon: -2.0})).verdict is Verdict.BLOCK


def test_a_strategy_is_held_to_its_caps_by_its_own_positions_and_trades() -> None:
    w = world(1, held=0)
    a = options(w, "A", 20)[0]
    m = manager(by_strategy={"short vol": ScopeCaps(contracts=10.0), "another": ScopeCaps()})
    part = vector(w, {a: -8.0})
    book = replace(book_of(w, {a: -20.0}), strategies={"short vol": part})
    sell, more = vector(w, {a: -2.0}), vector(w, {a: -3.0})
    assert decide(m, book, w.market, sell, "short vol").verdict is Verdict.ALLOW
    assert decide(m, book, w.market, more, "short vol").verdict is Verdict.BLOCK
    assert decide(m, book, w.market, more, "another").verdict is Verdict.ALLOW
    assert decide(m, book, w.market, more).verdict is Verdict.ALLOW
    gate = RiskGate(m)
    d = gate.check(book, w.market, more, strategy="short vol")
    assert (d.verdict, d.trades[a]) == (Verdict.RESIZE, -2.0)


def test_closing_the_whole_book_in_the_name_of_one_strategy_does_not_empty_its_part() -> None:
    """Two strategies that offset each other: the book is small, the parts are not."""
    w = world(1, held=0)
    a = options(w, "A", 20)[0]
    m = manager(by_strategy={"one": ScopeCaps(contracts=10.0), "other": ScopeCaps()})
    parts = {"one": vector(w, {a: 10.0}), "other": vector(w, {a: -13.0})}
    book = replace(book_of(w, {a: -3.0}), strategies=parts)
    close = vector(w, {a: 3.0})
    d = decide(m, book, w.market, close, "one")
    assert d.verdict is Verdict.BLOCK
    assert [r.measure for r in d.reasons] == ["contracts[one]"]
    d = decide(m, book, w.market, close, "other")
    assert d.verdict is Verdict.ALLOW
    assert d.after[d.names.index("contracts[one]")] == 10.0
    assert d.after[d.names.index("contracts")] == 0.0


def test_sums_of_sizes_do_not_net() -> None:
    w = world(1, held=0)
    call, put = options(w, "A", 20)[:2]
    m = manager(caps=Caps(contracts=10.0))
    book = book_of(w, {call: 5.0})
    assert decide(m, book, w.market, vector(w, {put: -5.0})).verdict is Verdict.ALLOW
    assert decide(m, book, w.market, vector(w, {put: -6.0})).verdict is Verdict.BLOCK
    assert decide(m, book, w.market, vector(w, {call: -15.0})).verdict is Verdict.ALLOW  # 10 short
    assert decide(m, book, w.market, vector(w, {call: -16.0})).verdict is Verdict.BLOCK


def test_margin_is_the_rule_done_by_hand() -> None:
    w = world(1, held=0)
    share = int(np.flatnonzero(w.table.kind == 0)[0])
    call = next(i for i in options(w, "A") if w.table.kind[i] > 0)
    spot, mid = w.market.spot[0], w.market.mid
    out = max(w.table.strike[call] - spot, 0.0)
    short = 100.0 * (mid[call] + max(0.2 * spot - out, 0.1 * spot))
    book = book_of(w, {share: 10.0, call: -3.0})
    _, a = manager().assess(FRESH, book, w.market)
    got = a.before[MEASURES.index("margin")]
    assert got == pytest.approx(10.0 * spot * 0.5 + 3.0 * short)
    _, a = manager(margin=MarginRule(shares=1.0)).assess(FRESH, book, w.market)
    assert a.before[MEASURES.index("margin")] == pytest.approx(10.0 * spot + 3.0 * short)
    _, a = manager().assess(FRESH, book_of(w, {call: 3.0}), w.market)
    assert a.before[MEASURES.index("margin")] == 0.0


def test_working_orders_count_as_if_the_worst_of_them_were_filled() -> None:
    w = world(1, held=0)
    share = int(np.flatnonzero(w.table.kind == 0)[0])
    m = manager(caps=Caps(delta=100.0))
    orders = np.stack([vector(w, {share: 30.0}), vector(w, {share: -50.0})])
    book = book_of(w, {share: 60.0}, working=orders)
    _, a = m.assess(FRESH, book, w.market)
    assert a.interval[:, 0].tolist() == [10.0, 90.0]
    assert np.isnan(a.before[0])
    assert decide(m, book, w.market, vector(w, {share: 10.0})).verdict is Verdict.ALLOW
    assert decide(m, book, w.market, vector(w, {share: 11.0})).verdict is Verdict.BLOCK
    assert decide(m, book, w.market, vector(w, {share: -110.0})).verdict is Verdict.ALLOW
    assert decide(m, book, w.market, vector(w, {share: -111.0})).verdict is Verdict.BLOCK


def test_an_unknown_position_blocks_what_it_may_break_and_is_no_reason_to_sell() -> None:
    w = world(1, held=0)
    a, b = options(w, "A", 20)[0], options(w, "A", 2)[0]
    share = int(np.flatnonzero(of_ticker(w, "B") & (w.table.kind == 0))[0])
    vol = w.market.vol.copy()
    vol[a] = np.nan
    market = replace(w.market, vol=vol)
    m = manager(caps=Caps(delta=1_000.0))
    book = book_of(w, {a: 5.0})
    sign = float(w.table.kind[a])
    _, before = m.assess(FRESH, book, market)
    low, high = sorted((0.0, 500.0 * sign))
    assert low <= before.interval[0, 0] < before.interval[1, 0] <= high
    room = 500.0  # at least this much is left on the side that the option is on
    assert decide(m, book, market, vector(w, {share: sign * room})).verdict is Verdict.ALLOW
    assert decide(m, book, market, vector(w, {share: sign * 1_000.0})).verdict is Verdict.BLOCK
    for lots, verdict in ((1.0, Verdict.BLOCK), (-2.0, Verdict.ALLOW), (-6.0, Verdict.BLOCK)):
        assert decide(m, book, market, vector(w, {a: lots})).verdict is verdict
    # Beside it, in the same expiry, nothing is entered either; in another it is.
    beside = next(i for i in options(w, "A", 20) if i != a)
    d = decide(m, book, market, vector(w, {beside: 1.0}))
    assert [r.code for r in d.reasons] == ["unknown_instrument"]
    assert decide(m, book, market, vector(w, {b: 1.0})).verdict is Verdict.ALLOW
    # Too much for its cap at worst: blocked, and not sold.
    tight = manager(caps=Caps(delta=1.0))
    _, after = tight.assess(FRESH, book, market)
    assert after.rung.name == "BLOCK_NEW"


@FAST
@given(st.integers(0, 60), st.data())
def test_every_row_is_the_sum_that_its_name_says(seed: int, data: st.DataObject) -> None:
    w = world(seed)
    n = len(w.table)
    rng = np.random.default_rng(seed)
    lots = st.lists(st.integers(-6, 6), min_size=n, max_size=n)
    trade = np.array(data.draw(lots), float)
    part = np.where(rng.random(n) < 0.5, w.portfolio.quantity, 0.0)
    book = replace(w.portfolio, strategies={"s": part})
    everything = ScopeCaps(**dict.fromkeys((*LINEAR, *GROSS), 1e12))
    m = manager(
        by_underlying={"A": everything}, by_expiry={"7-30d": everything},
        by_strategy={"s": everything},
    )  # fmt: skip
    state, a = m.assess(FRESH, book, w.market)
    d = m.decide(state, a, Proposal(np.stack([trade, 0 * trade]), strategy="s"))[1]
    X = exposures(w.market).X
    spot = w.market.spot[w.table.underlying_index]
    option = w.table.kind != 0
    out = np.maximum(w.table.kind * (w.table.strike - spot), 0.0)
    least = 0.1 * np.where(w.table.kind > 0, spot, w.table.strike)
    sold = np.where(option, w.market.mid + np.maximum(0.2 * spot - out, least), 0.5 * spot)
    margin = w.table.multiplier * np.stack([np.where(option, 0.0, 0.5 * spot), sold])
    size = np.stack([np.abs(X[:, 0]), np.abs(X[:, 1]), w.table.multiplier * spot, option * 1.0])
    members = {
        "": np.ones(n, bool),
        "[A]": of_ticker(w, "A"),
        "[7-30d]": option & (w.table.expiry == NOW + 20 * DAY),
        "[s]": np.ones(n, bool),
    }
    for scope, member in members.items():
        held = part if scope == "[s]" else book.quantity
        for q, got in ((held, d.before), (held + trade, d.after)):
            q = np.where(member, q, 0.0)
            wanted = dict(zip(LINEAR, q @ X, strict=True))
            long, short = np.maximum(q, 0.0), np.maximum(-q, 0.0)
            gross = [*(size @ np.abs(q)), long @ margin[0] + short @ margin[1]]
            wanted |= dict(zip(GROSS, gross, strict=True))
            for name, value in wanted.items():
                scale = np.abs(X).max() * (np.abs(held) + np.abs(trade)).sum() + 1.0
                place = d.names.index(name + scope)
                assert got[place] == pytest.approx(value, rel=1e-9, abs=1e-9 * scale), name + scope
