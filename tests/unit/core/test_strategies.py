"""Caps on strategies cannot be passed by under another name; scoped caps may be of the equity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from riskenv import Amounts, Caps, PortfolioRiskManager, Proposal, RiskGate, RiskLimits, ScopeCaps

from ...property.worlds import SESSIONS, world

CAPPED = RiskLimits(caps=Caps(), by_strategy={"condor": ScopeCaps(vega=5.0), "wheel": ScopeCaps()})


@pytest.mark.parametrize("tag", ["", "condor", "wheel"])
def test_a_listed_strategy_and_none_at_all_are_taken(tag: str) -> None:
    w, gate = world(3), RiskGate(PortfolioRiskManager(CAPPED, SESSIONS))
    assert gate.check(w.portfolio, w.market, {}, strategy=tag).verdict.value == "ALLOW"


def test_a_tag_that_no_cap_knows_is_refused_wherever_it_comes_in() -> None:
    w, manager = world(3), PortfolioRiskManager(CAPPED, SESSIONS)
    gate = RiskGate(manager)
    state, a = manager.assess(w.state, w.portfolio, w.market)
    nothing = np.zeros((1, len(w.table)))
    tagged = replace(w.portfolio, strategies={"condro": w.portfolio.quantity})
    for call in (
        lambda: gate.check(w.portfolio, w.market, {}, strategy="condro"),
        lambda: manager.propose(a, nothing[0], "condro"),
        lambda: manager.decide(state, a, Proposal(nothing, strategy="condro")),
        lambda: manager.mask(a, Proposal(nothing, strategy="condro")),
        lambda: manager.assess(w.state, tagged, w.market),
    ):
        with pytest.raises(ValueError, match=r"strategy: got 'condro'; allowed: condor, wheel"):
            call()


def test_without_caps_on_strategies_every_tag_is_taken() -> None:
    w, gate = world(3), RiskGate(PortfolioRiskManager(RiskLimits(caps=Caps()), SESSIONS))
    assert gate.check(w.portfolio, w.market, {}, strategy="any").verdict.value == "ALLOW"


@pytest.mark.parametrize(
    ("caps", "cap"),
    [
        (ScopeCaps(of_equity=Amounts(notional=0.5)), 0.5),
        (ScopeCaps(notional=1.0, of_equity=Amounts(notional=0.5)), 0.5),
        (ScopeCaps(notional=1e12, of_equity=Amounts(notional=0.5)), 0.5),
    ],
)
@pytest.mark.parametrize("scope", ["by_underlying", "by_expiry", "by_strategy"])
def test_a_scoped_cap_may_be_a_share_of_the_equity(scope: str, caps: ScopeCaps, cap: float) -> None:
    """The lower of the two holds; without equity it is 0."""
    name = {"by_underlying": "A", "by_expiry": "1-7d", "by_strategy": "condor"}[scope]
    manager = PortfolioRiskManager(RiskLimits(caps=Caps(), **{scope: {name: caps}}), SESSIONS)
    w = world(3)
    for cash in (1e6, -1e9):
        _, a = manager.assess(w.state, replace(w.portfolio, cash=cash), w.market)
        j = a.names.index(f"notional[{name}]")
        share = cap * max(a.equity, 0.0)
        wanted = min(share, caps.notional) if caps.notional else share
        assert a.high[j] == wanted
        assert a.low[j] == -np.inf
