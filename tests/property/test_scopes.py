"""Each scope has its own rung: what is broken in one holds back what touches it, and no more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from riskenv import BreakerState, Caps, PortfolioRiskManager, Proposal, RiskLimits, Rung
from riskenv.admissibility import used_of
from riskenv.assessment import Assessment
from riskenv.selection import evaluate

from .test_caps_hold import Case, cases, trade_rows
from .worlds import DAY, FAST

BUCKETS = {"0-1d": (0, 1), "1-7d": (1, 7), "7-30d": (7, 30), "30-90d": (30, 90)}


def touches(a: Assessment, scope: str, row: np.ndarray, strategy: str) -> bool:
    """Leg by leg, from the instruments' own terms."""
    kind, name = scope.split(":", 1)
    if kind == "strategy":
        return strategy == name
    legs = [a.table.instruments[i] for i in np.flatnonzero(row)]
    if kind == "underlying":
        return any(leg.underlying == name for leg in legs)
    first, last = BUCKETS[name]
    ages = [(leg.expiry - a.market.now) / DAY for leg in legs if leg.is_option]
    return any(first < age <= last for age in ages)


@FAST
@given(cases(), st.integers(0, 10_000))
def test_a_broken_scope_holds_back_what_touches_it_and_nothing_else(case: Case, seed: int) -> None:
    """From a fresh state, without caps on the whole book and without a level that reduces it."""
    drawn, rng = case.world.manager.limits, np.random.default_rng(seed)
    scoped = (drawn.by_underlying, drawn.by_expiry, drawn.by_strategy)
    assume(any(caps for scope in scoped for caps in scope.values()))
    limits = RiskLimits(
        caps=Caps(), extreme=1e9, by_underlying=drawn.by_underlying, by_expiry=drawn.by_expiry,
        by_strategy=drawn.by_strategy,
    )  # fmt: skip
    manager = PortfolioRiskManager(limits, case.world.manager.sessions)
    w = replace(case.world, manager=manager, state=BreakerState())
    _, a = w.assess()
    with np.errstate(invalid="ignore"):
        broken = a.capped & ~(a.used <= 1.0)
    scopes = {s.scope for s in a.scopes if s.rung >= Rung.BLOCK_NEW}
    within = {name.split("[", 1)[1][:-1] for name in np.array(a.names)[broken] if "[" in name}
    assert {scope.split(":", 1)[1] for scope in scopes} == within
    assume(a.rung <= Rung.WARN)
    rows = trade_rows(rng, len(w.table), 12)
    rows[:4] = np.trunc(rows[:4] / 40.0) + 0.0
    seen = evaluate(a, rows, case.strategy)
    mask = w.manager.mask(a, Proposal(rows, strategy=case.strategy))
    used = used_of(seen.interval, a.low, a.high)
    for row, allowed, admissible, after in zip(rows, mask, seen.admissible, used, strict=True):
        if not any(touches(a, scope, row, case.strategy) for scope in scopes):
            assert allowed == admissible
        elif row.any() and allowed:
            assert admissible
            most = np.maximum(a.used, a.limits.warn)
            known = ~np.isnan(after) & ~np.isnan(a.used) & a.capped
            assert (after[known] <= most[known]).all()
