"""The soak finds nothing in the layer, and finds what a layer that does not guard lets through."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from riskenv.train.soak import SoakTally, soak, soak_world
from riskenv.train.soak_world import SoakWorld

from riskenv import Verdict


@pytest.fixture(scope="module")
def tally() -> SoakTally:
    return soak(3_000, seed=2)


def test_three_thousand_random_actions_breach_nothing(tally: SoakTally) -> None:
    assert tally.findings == []
    assert tally.passed
    assert tally.actions == sum(tally.verdicts.values()) == sum(tally.rungs.values()) == 3_000


def test_they_were_worth_watching(tally: SoakTally) -> None:
    assert set(tally.verdicts) == {v.name for v in Verdict} - {"VIOLATE"}
    assert {"NORMAL", "WARN", "BLOCK_NEW", "REDUCE", "HALTED"} <= set(tally.rungs)
    assert tally.trades > 200
    assert tally.garbage > 20
    assert tally.worlds == 13


class _AllowsEverything:
    """A manager that does whatever is asked."""

    def __init__(self, world) -> None:
        self.manager, self.assess = world.manager, world.manager.assess

    def decide(self, state, assessment, proposal):
        state, decision = self.manager.decide(state, assessment, proposal)
        trades = proposal.trades[proposal.asked]
        kept = {"active": (), "reasons": (), "rung": decision.rung}
        return state, SimpleNamespace(verdict=Verdict.ALLOW, trades=trades, **kept)


class _Blind(_AllowsEverything):
    """A manager that has the caps as they are and a tenth of the trade in its books."""

    def decide(self, state, assessment, proposal):
        small = replace(proposal, trades=np.trunc(0.1 * proposal.trades))
        state, decision = self.manager.decide(state, assessment, small)
        if decision.row != proposal.asked or not np.isfinite(proposal.trades).all():
            return state, decision
        return state, replace(decision, trades=proposal.trades[decision.row])


@pytest.mark.parametrize("careless", [_AllowsEverything, _Blind])
def test_a_layer_that_does_not_guard_is_found_out(careless: type) -> None:
    tally = SoakTally()
    for number in range(6):
        soak_world(2, number, tally, 120, careless)
    assert tally.breaches > 0
    assert not tally.passed
    assert any("cap [" in words for words in tally.findings)


def test_an_entry_in_what_is_unknown_is_a_breach() -> None:
    tally = SoakTally()
    for number in range(40):
        soak_world(2, number, tally, 60, _AllowsEverything)
        tally.findings = [words for words in tally.findings if "Unknown" in words]
        if tally.findings:
            return
    pytest.fail("nothing Unknown was entered in any world")


def test_a_call_that_raises_is_a_failure_that_says_where() -> None:
    def raising(world):
        return SimpleNamespace(assess=None)

    tally = SoakTally()
    soak_world(2, 7, tally, 10, raising)
    assert (tally.failures, tally.breaches, tally.passed) == (1, 0, False)
    assert tally.findings[0].startswith("world 7, action 0: TypeError")


def test_worlds_are_the_same_for_any_number_of_jobs() -> None:
    one, two = soak(480, seed=5), soak(480, seed=5, jobs=2)
    for name in ("actions", "worlds", "verdicts", "rungs", "trades", "garbage"):
        assert getattr(one, name) == getattr(two, name)


@pytest.mark.parametrize("wrong", [{"actions": 0}, {"actions": 1, "jobs": 0}])
def test_what_cannot_be_run_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="allowed: 1 or more"):
        soak(**wrong)


def test_what_is_hidden_from_the_layer_is_hidden_in_the_quotes_that_it_is_shown() -> None:
    """World 96 draws a rate that is no number in a tick of otherwise sound quotes."""
    world, hidden = SoakWorld(1, 96), 0
    for _ in range(40):
        world.step()
        tick = world.tick()
        gone = tick.truth.hidden
        hidden += int(gone.sum())
        assert (tick.shown.unknown_code[gone] != 0).all()
    assert hidden > 0
