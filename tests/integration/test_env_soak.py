"""Random steps inside the layer breach nothing; without it the auditor finds what they do."""

from __future__ import annotations

import numpy as np
import pytest
import riskenv.train.env_soak as module
from gymnasium import spaces
from riskenv.train.env_soak import EnvSoakTally, random_action, soak_env, soak_task
from riskenv.wrappers.actions import in_space
from typer.testing import CliRunner

from riskenv.cli import build_app

STEPS = 240


@pytest.fixture(scope="module")
def tally() -> EnvSoakTally:
    return soak_env(STEPS, seed=4)


def test_random_steps_of_every_convention_cause_no_active_breach(tally: EnvSoakTally) -> None:
    assert tally.findings == []
    assert tally.passed
    assert tally.steps == STEPS
    assert set(tally.conventions) == {"discrete", "multidiscrete", "box"}


def test_they_were_worth_auditing(tally: EnvSoakTally) -> None:
    for seen in tally.conventions.values():
        assert seen.checks >= 6 * seen.steps  # Greeks, VaR and expected shortfall of each book
        assert seen.trades > 0.2 * seen.steps
        assert 0 < seen.unchanged <= seen.steps
    assert tally.of("box").unchanged < tally.of("box").steps
    assert tally.of("discrete").masked > 0 == tally.of("box").masked


@pytest.mark.parametrize("number", [0, 1, 3])
def test_without_the_layer_the_auditor_finds_active_breaches(number: int) -> None:
    tally = soak_task(4, number, 120, enforce=False)
    assert tally.active > 0
    assert not tally.passed
    assert "active breach" in tally.findings[0]


def test_a_step_that_raises_is_counted_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(space, rest, rng, nonsense):
        raise KeyError("no such leg")

    monkeypatch.setattr(module, "random_action", broken)
    tally = soak_task(4, 3, 50)
    assert tally.of("box").failures == 1
    assert not tally.passed
    assert tally.findings == ["task 3, box, step 0: KeyError: 'no such leg'"]


def test_nothing_audited_is_no_pass() -> None:
    assert not EnvSoakTally().passed


@pytest.mark.parametrize(
    "space", [spaces.Discrete(9), spaces.MultiDiscrete([7] * 5), spaces.Box(-1.0, 1.0, (5,))]
)
def test_some_requests_are_no_actions_and_most_are(space) -> None:
    rng = np.random.default_rng(0)
    inside = [in_space(space, random_action(space, 0, rng)) for _ in range(1_000)]
    assert 0.95 < np.mean(inside) < 1.0


@pytest.mark.slow
def test_jobs_do_not_change_what_is_found() -> None:
    assert soak_env(80, seed=5) == soak_env(80, seed=5, jobs=2)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 10, "jobs": 0}])
def test_nonsense_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"got 0; allowed: 1 or more"):
        soak_env(**wrong)


def test_the_command_prints_what_was_found() -> None:
    from importlib.metadata import entry_points

    app = build_app([e for e in entry_points(group="riskenv.commands") if e.name == "soak-env"])
    result = CliRunner().invoke(app, ["soak-env", "--steps", "40"])
    if result.exit_code == 2:  # alone in its app, a command has no name of its own
        result = CliRunner().invoke(app, ["--steps", "40"])
    assert result.exit_code == 0
    assert "active breaches" in result.output
    assert "multidiscrete" in result.output
    assert "40 steps in" in result.output
