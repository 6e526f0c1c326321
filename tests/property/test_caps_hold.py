"""No decision that leaves the layer puts a measure outside its cap, or further outside.

Measured from outside: the book before and after the decision's trades, the caps as configured,
the event's multiplier as configured, all in plain NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskenv import (
    Amounts,
    BreakerState,
    Caps,
    CorrectionRule,
    Event,
    EventPolicy,
    EventRule,
    Portfolio,
    Proposal,
    RiskGate,
    RiskLimits,
    Rung,
    ScopeCaps,
    VarConfig,
    Verdict,
)
from riskenv.projection import closing_trades
from riskenv.selection import evaluate

from .oracle import MEASURES, SIZES, SUMS, Oracle
from .worlds import DAY, FAST, NOW, SLOW, TODAY, VAR, World, world

GAP = 0.15
MONEY = {
    "dollar_delta", "dollar_gamma", "theta", "vega", "rho", "volga", "gross_dollar_delta",
    "notional", "margin",
}  # fmt: skip


TAGS = ("wheel", "condor")
ONE_SIDED = {"theta", *MEASURES[len(SUMS) :]}


@dataclass(frozen=True)
class Case:
    """caps: of each capped measure, in force but for the event's `multiplier`; strategy: of every
    trade."""

    world: World
    oracle: Oracle
    caps: dict[str, float]
    multiplier: float
    strategy: str = ""

    def scale(self, *trades: np.ndarray) -> dict[str, float]:
        book = self.world.portfolio
        return self.oracle.scale(book.quantity, *book.strategies.values(), *book.orders, *trades)


@st.composite
def cases(draw: st.DrawFn, plain: bool = False, var: VarConfig = VAR) -> Case:
    """A book, caps from a third to three times what it uses, an event or none, any rung.

    Unless plain, besides: working orders, strategies, caps on sums of sizes and within scopes,
    some a share of an equity that may be lost, and hedges.
    """
    seed = draw(st.integers(0, 10_000))
    multiplier = draw(st.sampled_from([None, 1.0, 0.75, 0.5]))
    w = world(seed, held=draw(st.integers(0, 10)))
    event = Event("cpi", NOW + DAY, NOW - 9 * DAY)
    rule = EventRule(
        event_type="cpi", sessions_before=2, cap_multiplier=multiplier or 1.0, gap_log_return=GAP,
        gap_log_vol_change=0.1, reduce=draw(st.booleans()), block_new=draw(st.booleans()),
        reduce_to=draw(st.sampled_from([1.0, 0.5, 0.0])),
    )  # fmt: skip
    jumps = [("", -GAP, 0.1), ("", GAP, 0.1)] if multiplier else []
    oracle = Oracle(w.market, w.manager.history, var, jumps)
    used, scale = oracle.measures(w.portfolio.quantity), oracle.scale(np.ones(len(w.table)))
    caps = {
        name: draw(st.floats(0.3, 3.0)) * abs(used[name]) + 1e-3 * scale[name] + 1e-6
        for name in MEASURES
        if draw(st.booleans())
    }
    rung = draw(st.sampled_from(list(Rung)))
    portfolio, more, strategy = w.portfolio, {}, ""
    if not plain:
        portfolio = draw(accounts(w.portfolio, oracle))
        more = draw(scoped_limits(portfolio, oracle, caps))
        strategy = draw(st.sampled_from(["", *portfolio.strategies]))
    limits = RiskLimits(**{"caps": Caps(**caps)} | more)
    return Case(
        World(
            world(
                seed,
                limits=limits,
                events=(event,) if multiplier else (),
                policy=EventPolicy(rules=(rule,)),
                var=var,
            ).manager,
            portfolio,
            w.market,
            BreakerState(rung, NOW, TODAY, 1e6, 1e6, 1e6, "x" if rung == Rung.HALTED else ""),
        ),
        oracle,
        caps if plain else caps_in_force(limits, oracle.equity(portfolio)),
        multiplier or 1.0,
        strategy,
    )


@st.composite
def accounts(draw: st.DrawFn, book: Portfolio, oracle: Oracle) -> Portfolio:
    """The book with parts of two strategies, up to two working orders, and more or less equity."""
    rng, n = np.random.default_rng(draw(st.integers(0, 10_000))), len(book.table)
    parts = {tag: rng.integers(-3, 8, n) * np.sign(book.quantity) for tag in TAGS}
    orders = trade_rows(rng, n, 3)[: draw(st.integers(0, 2))]
    lost = oracle.equity(book) - draw(st.sampled_from([1e6, 1e5, 1e4, -1e4]))
    return replace(
        book, cash=book.cash - lost, working=orders,
        strategies=parts if draw(st.booleans()) else {},
    )  # fmt: skip


@st.composite
def scoped_limits(
    draw: st.DrawFn, book: Portfolio, oracle: Oracle, caps: dict[str, float]
) -> dict[str, Any]:
    """Fields of `RiskLimits`: caps, with sizes, and caps within scopes, absolute or a share of the
    equity; hedges or none."""
    rng, ends = np.random.default_rng(draw(st.integers(0, 10_000))), oracle.ends(book)
    scale = oracle.scale(np.ones(len(book.table)))

    def amounts(names: list[str], mark: str) -> tuple[dict[str, float], Amounts]:
        """Of a third of the measures, caps in currency and as a share of an equity of 1e5."""
        drawn = [name for name in names if rng.random() < 0.3]
        room = {n: rng.uniform(0.3, 3.0) * max(map(abs, ends[n + mark])) for n in drawn}
        room = {name: cap + 1e-3 * scale[name] + 1e-6 for name, cap in room.items()}
        shares = {n: cap / 1e5 for n, cap in room.items() if n in MONEY and rng.random() < 0.5}
        kept = {n: cap for n, cap in room.items() if n not in shares or rng.random() < 0.3}
        return kept, Amounts(**shares)

    sizes, shares = amounts([*SIZES], "")
    out: dict[str, Any] = {
        "caps": Caps(**caps, **sizes), "of_equity": Caps(**shares.model_dump()),
        "correction": CorrectionRule(hedges=draw(st.sampled_from(["none", "underlyings"]))),
    }  # fmt: skip
    scopes = {"by_underlying": ["A", "B"], "by_expiry": ["1-7d", "7-30d"]}
    for field, names in (scopes | {"by_strategy": [*book.strategies]}).items():
        if names and draw(st.booleans()):
            within = {scope: amounts([*SUMS, *SIZES], f"[{scope}]") for scope in names}
            out[field] = {s: ScopeCaps(**c, of_equity=e) for s, (c, e) in within.items()}
    return out


def caps_in_force(limits: RiskLimits, equity: float) -> dict[str, float]:
    """Name -> the lower of an amount and a share of the equity, of which there may be none."""
    scopes = limits.by_underlying | limits.by_expiry | limits.by_strategy
    levels = [("", limits.caps, limits.of_equity)]
    levels += [(f"[{scope}]", caps, caps.of_equity) for scope, caps in scopes.items()]
    out: dict[str, float] = {}
    for mark, caps, shares in levels:
        for name in (*MEASURES, *SIZES):
            cap, share = getattr(caps, name, None), getattr(shares, name, None)
            given = [] if cap is None else [cap]
            given += [] if share is None else [share * max(equity, 0.0)]
            if given:
                out[name + mark] = min(given)
    return out


def worsened(case: Case, trades: np.ndarray) -> list[str]:
    """Measures that the trades leave outside their cap and further out, or past its other side:
    the higher end of each faces the upper cap, the lower end the lower."""
    book, scale = case.world.portfolio, case.scale(trades)
    before = case.oracle.ends(book)
    after = case.oracle.ends(book, trades, case.strategy)
    bad = []
    for name, cap in case.caps.items():
        measure, cap = name.partition("[")[0], cap * case.multiplier
        (b_low, b_high), (x_low, x_high) = before[name], after[name]
        slack = 1e-8 * scale[measure]
        low, high = -cap, np.inf if measure in ONE_SIDED else cap
        up = x_high <= high + slack or (b_high > high - slack and x_high <= b_high + slack)
        down = x_low >= low - slack or (b_low < low + slack and x_low >= b_low - slack)
        if not (up and (down or measure in SIZES)):
            bad.append(f"{name}: {before[name]} -> {after[name]}, cap [{low}, {high}]")
    return bad


def trade_rows(rng: np.random.Generator, n: int, rows: int) -> np.ndarray:
    """Sparse whole-lot trades from one lot to far beyond any cap; the last one is nothing."""
    lots = rng.integers(-40, 41, (rows, n)) * 10.0 ** rng.integers(-1, 3, (rows, 1))
    trades = np.trunc(np.where(rng.random((rows, n)) < 0.3, lots, 0.0)) + 0.0
    trades[-1] = 0.0
    return trades


def check_any_proposal(case: Case, seed: int) -> None:
    w, rng = case.world, np.random.default_rng(seed)
    state, a = w.assess()
    n = len(w.table)
    trades = trade_rows(rng, n, 8)
    closes = closing_trades(w.portfolio.quantity, w.market)[rng.integers(0, 4, 4)]
    forced = np.concatenate([np.zeros_like(trades), closes, closes])
    rows = np.concatenate([trades, closes, closes + trades[:4]])
    for asked in range(len(rows)):
        d = w.manager.decide(state, a, Proposal(rows, asked, forced, case.strategy))[1]
        codes = {r.code for r in d.reasons}
        assert "least_violating" not in codes  # there is a row that does nothing
        assert not worsened(case, d.trades)
        assert d.active == ()
        assert (d.verdict is Verdict.ALLOW) == (d.row == asked and not codes)
        if d.rung == Rung.HALTED:
            assert not d.trades.any()


def check_the_gate(case: Case, seed: int) -> None:
    w = case.world
    gate = RiskGate(w.manager, w.state)
    asked = trade_rows(np.random.default_rng(seed), len(w.table), 2)[0]
    d = gate.check(w.portfolio, w.market, asked, strategy=case.strategy)
    assert not worsened(case, d.trades)


def check_the_plan(case: Case, shares: dict[str, float] | None) -> None:
    """The book may stop after any step: it has worsened nothing, and moved past nothing but in a
    hedge; where the plan says so, it has brought back what was broken."""
    w = case.world
    a = w.assess()[1]
    untagged, book = replace(case, strategy=""), w.portfolio
    plan = w.manager.reduction_plan(a, shares)
    prefixes = np.cumsum(plan.trades, axis=0)
    np.testing.assert_array_equal(plan.trades.sum(axis=0), plan.total)
    for prefix in prefixes:
        assert not worsened(untagged, prefix)
    if len(prefixes):
        assert evaluate(a, prefixes).admissible.all()
    positions = w.table.kind != 0
    if w.manager.limits.correction.hedges == "none":
        positions[:] = True
    towards = (plan.total * book.quantity <= 0.0) & (np.abs(plan.total) <= np.abs(book.quantity))
    assert towards[positions].all()
    if not plan.resolved:
        assert plan.reason == "flatten_unresolved"
        return
    before, after = case.oracle.ends(book), case.oracle.ends(book, plan.total)
    scale = case.scale(plan.total)
    if shares:
        left = {name: (1.0 - share) * max(map(abs, before[name])) for name, share in shares.items()}
    else:
        release = w.manager.limits.release
        left = {n: release * case.multiplier * cap for n, cap in case.caps.items()
                if beyond(n, before[n], case.multiplier * cap) > 0.0}  # fmt: skip
    for name, cap in left.items():
        slack = 1e-8 * scale[name.partition("[")[0]]
        assert beyond(name, after[name], cap, two_sided=bool(shares)) <= slack, name


def beyond(name: str, ends: tuple[float, float], cap: float, two_sided: bool = False) -> float:
    """How far a measure is outside its cap; below 0 inside."""
    measure = name.partition("[")[0]
    rise = -np.inf if measure in ONE_SIDED and not two_sided else ends[1] - cap
    return max(rise, -np.inf if measure in SIZES else -cap - ends[0])


@FAST
@given(cases(), st.integers(0, 10_000))
def test_no_decision_puts_a_measure_outside_its_cap_or_further_out(case: Case, seed: int) -> None:
    check_any_proposal(case, seed)


@FAST
@given(cases(), st.integers(0, 10_000))
def test_nor_does_the_gate_with_its_own_cuts_and_reductions(case: Case, seed: int) -> None:
    check_the_gate(case, seed)


@FAST
@given(cases(), st.sampled_from([None, {"delta": 0.3}, {"vega": 0.5, "gross_delta": 0.2}]))
def test_a_plan_may_stop_after_any_of_its_steps(
    case: Case, shares: dict[str, float] | None
) -> None:
    check_the_plan(case, shares)


@pytest.mark.slow
@SLOW
@given(cases(), st.integers(0, 10_000))
def test_no_decision_in_ten_thousand(case: Case, seed: int) -> None:
    check_any_proposal(case, seed)
    if seed % 4 == 0:  # each may search for the cheapest plan, which takes ten times as long
        check_the_gate(case, seed)
    elif seed % 4 == 1:
        check_the_plan(case, None)


@FAST
@given(cases())
def test_the_layer_measures_what_the_definitions_say(case: Case) -> None:
    """So that the caps above are held against the right numbers."""
    _, a = case.world.assess()
    wanted, scale = case.oracle.ends(case.world.portfolio), case.scale()
    assert {n for n, capped in zip(a.names, a.capped, strict=True) if capped} == set(case.caps)
    for j, name in enumerate(a.names):
        if name in wanted:  # all but the stress, of which there is none
            room = 1e-9 * scale[name.partition("[")[0]] + 1e-9
            assert np.abs(a.interval[:, j] - wanted[name]).max() <= room, name
        if name in case.caps:
            cap = case.caps[name] * case.multiplier
            # Of a share of what is left after all is lost, rounding is a larger part.
            assert min(-a.low[j], a.high[j]) == pytest.approx(cap, rel=1e-7), name


@FAST
@given(cases(), st.integers(0, 10_000))
def test_a_denial_has_a_reason_that_is_so(case: Case, seed: int) -> None:
    """`cap_exceeded` names only measures that the request would leave outside their cap."""
    w = case.world
    state, a = w.assess()
    asked = trade_rows(np.random.default_rng(seed), len(w.table), 2)[0]
    d = w.manager.decide(state, a, w.manager.propose(a, asked, case.strategy))[1]
    if d.verdict is Verdict.ALLOW:
        assert d.reasons == ()
        return
    assert d.reasons
    after, scale = case.oracle.ends(w.portfolio, asked, case.strategy), case.scale(asked)
    for reason in d.reasons:
        if reason.code == "cap_exceeded":
            name, cap = reason.measure, case.caps[reason.measure] * case.multiplier
            assert beyond(name, after[name], cap) >= -1e-8 * scale[name.partition("[")[0]]
