"""Caps hold where history decays and jumps are mixed into VaR and ES; what the layer itself finds
is not denied when it is asked for.

The projection and the search for a plan take all outcomes of a horizon for equally likely. The
kernel, which has the last word on what they find, does not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from riskenv import (
    Caps,
    Event,
    EventPolicy,
    EventRule,
    Proposal,
    Rung,
    VarConfig,
    Verdict,
    load_config,
)
from riskenv.correction import nearest_admissible
from riskenv.measures import INDEX

from .test_caps_hold import (
    Case,
    cases,
    check_any_proposal,
    check_the_gate,
    check_the_plan,
    trade_rows,
)
from .worlds import DAY, FAST, FRESH, NOW, VAR, World, world

FEW = settings(FAST, max_examples=40)
SEEDS = st.integers(0, 10_000)
SHARES = st.sampled_from([None, {"delta": 0.3}, {"vega": 0.5, "gross_delta": 0.2}])


def weighted(decay_half_life: float | None, gap_weight: float) -> VarConfig:
    changes = {"decay_half_life": decay_half_life, "gap_weight": gap_weight}
    return load_config(VarConfig, VAR.model_dump() | changes)


# With 0.1 the two jumps of an event are worse than the tail of 3 % that they are mixed into.
CONFIGS = [weighted(15.0, 0.0), weighted(None, 0.1), weighted(15.0, 0.1), weighted(60.0, 0.01)]
CASES = st.sampled_from(CONFIGS).flatmap(lambda var: cases(var=var))
TAILS = ("var_1d", "es_1d", "var_3d", "es_3d", "var_5d", "es_5d", "gap_loss")


def roomy(seed: int, var: VarConfig) -> tuple[World, np.ndarray]:
    """A book inside its caps, most of them on tails, and a request of a few legs that is not."""
    rng = np.random.default_rng(seed)
    event = Event("cpi", NOW + DAY, NOW - 9 * DAY)
    jumps = EventPolicy(
        rules=(EventRule(event_type="cpi", sessions_before=2, gap_log_return=0.15),)
    )
    parts = {"held": 6, "events": (event,), "policy": jumps, "var": var}
    a = world(seed, **parts).assess()[1]
    names = [*rng.choice(TAILS, 4, replace=False), "dollar_delta", "vega"]
    caps = {str(n): rng.uniform(1.3, 2.5) * abs(a.before[INDEX[n]]) + 1e3 for n in names}
    w = world(seed, caps=Caps(**caps), **parts)
    asked = np.zeros(len(w.table))
    legs = rng.choice(len(asked), 3, replace=False)
    asked[legs] = rng.integers(1, 60, 3) * rng.choice([-1.0, 1.0], 3)
    return w, asked * np.where(w.table.kind == 0, 20.0, 1.0)


def asked_again(w: World, state, a, trade: np.ndarray, strategy: str = ""):
    """The decision on a trade that may be done or left."""
    rows = np.stack([trade, np.zeros_like(trade)])
    return w.manager.decide(state, a, Proposal(rows, strategy=strategy))[1]


@FEW
@given(SEEDS, st.sampled_from(CONFIGS))
def test_what_the_projection_finds_is_allowed_when_it_is_asked_for(
    seed: int, var: VarConfig
) -> None:
    w, asked = roomy(seed, var)
    state, a = w.assess()
    nearest = nearest_admissible(a, asked)
    assert nearest is not None  # nothing at all, if no more
    d = asked_again(w, state, a, nearest)
    assert (d.verdict, d.reasons) == (Verdict.ALLOW, ())
    assert (d.trades == nearest).all()
    assert w.manager.propose(a, nearest).trades.tolist() == [nearest.tolist(), [0.0] * len(nearest)]


@FEW
@given(CASES, SEEDS)
def test_what_is_done_instead_is_done_when_it_is_asked_for(case: Case, seed: int) -> None:
    w = case.world
    state, a = w.assess()
    asked = trade_rows(np.random.default_rng(seed), len(w.table), 2)[0]
    proposal = w.manager.propose(a, asked, case.strategy)
    state, first = w.manager.decide(state, a, proposal)
    second = asked_again(w, state, a, first.trades, case.strategy)
    assert (second.trades == first.trades).all()
    if not a.reducing:
        assert second.verdict is Verdict.ALLOW


@FEW
@given(CASES, SHARES)
def test_no_step_of_a_plan_is_denied(case: Case, shares: dict[str, float] | None) -> None:
    """At NORMAL and with no size due, where the kernel is asked and nobody else."""
    w = case.world
    a = w.assess()[1]
    plan = w.manager.reduction_plan(a, shares)
    a = replace(a, rung=Rung.NORMAL, least=0.0 * a.least)
    for prefix in np.cumsum(plan.trades, axis=0):
        d = asked_again(w, FRESH, a, prefix)
        assert (d.verdict, [r.code for r in d.reasons]) == (Verdict.ALLOW, [])


@FEW
@given(CASES)
def test_a_plan_that_resolves_is_carried_out_where_the_book_is_reduced(case: Case) -> None:
    w = case.world
    state, a = w.assess()
    plan = w.manager.reduction_plan(a)
    if a.rung is Rung.REDUCE and plan.resolved and plan.total.any():
        rows = np.stack([plan.total, np.zeros_like(plan.total)])
        d = w.manager.decide(state, a, Proposal(rows, forced=rows))[1]
        assert d.row == 0
        assert "flatten_unresolved" not in {r.code for r in d.reasons}


@FEW
@given(CASES, SEEDS, SHARES)
def test_no_cap_is_broken_whatever_the_weights(case: Case, seed: int, shares) -> None:
    check_any_proposal(case, seed)
    check_the_gate(case, seed)
    check_the_plan(case, shares)
