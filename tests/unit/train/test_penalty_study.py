"""The rule that picks the correction penalty, and a study small enough to run."""

from __future__ import annotations

import pytest
from riskenv.train.penalty_study import (
    STUDIED,
    PenaltyRun,
    choice,
    hurts,
    load_penalty_study,
    study_penalty,
)
from riskenv.wrappers.penalties import PenaltyConfig

from riskenv.config import ConfigError


def runs(convention, alpha, rewards, shares):
    return [
        PenaltyRun(convention, alpha, seed, reward, share, share, 0.1)
        for seed, (reward, share) in enumerate(zip(rewards, shares, strict=True))
    ]


BASE = runs("box", 0.0, (1.0, 2.0, 3.0), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("rewards", "worse"),
    [
        ((1.0, 2.0, 3.0), False),
        ((1.1, 2.1, 3.1), False),
        ((0.9, 1.9, 2.9), True),  # a little, and for every seed
        ((0.2, 2.3, 3.3), False),  # by chance
        ((float("nan"), 2.0, 3.0), True),
    ],
)
def test_what_hurts_is_judged_seed_by_seed(rewards, worse):
    assert hurts(BASE + runs("box", 0.1, rewards, (0.5, 0.5, 0.5)), 0.1) is worse


def test_hurting_in_one_convention_is_enough():
    both = BASE + runs("discrete", 0.0, (1.0, 2.0, 3.0), (0.5, 0.5, 0.5))
    both += runs("box", 0.1, (1.0, 2.0, 3.0), (0.4, 0.4, 0.4))
    both += runs("discrete", 0.1, (0.5, 1.5, 2.5), (0.4, 0.4, 0.4))
    assert hurts(both, 0.1)
    assert choice(both) == 0.0


@pytest.mark.parametrize(
    ("shares_of_small", "shares_of_large", "picked"),
    [
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 0.1),  # nothing is shown: the smallest
        ((0.5, 0.5, 0.5), (0.3, 0.3, 0.4), 0.3),
        ((0.3, 0.3, 0.4), (0.5, 0.5, 0.5), 0.1),
        ((0.5, 0.5, 0.5), (0.4, 0.7, 0.3), 0.1),  # by chance
    ],
)
def test_a_larger_one_is_taken_only_for_fewer_corrections(shares_of_small, shares_of_large, picked):
    same = (1.0, 2.0, 3.0)
    small, large = runs("box", 0.1, same, shares_of_small), runs("box", 0.3, same, shares_of_large)
    assert choice(BASE + small + large) == picked


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alphas": [0.1, 0.3]}, "rising from 0"),
        ({"alphas": [0.0, 0.3, 0.1]}, "rising from 0"),
        ({"seeds": [1]}, "seeds"),
        ({"env": {"lots": 3}}, "lots"),
    ],
)
def test_a_study_that_cannot_say_anything_is_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        load_penalty_study({**load_penalty_study().model_dump(mode="json"), **change})


def test_the_default_is_one_of_the_alphas_that_were_studied():
    assert PenaltyConfig().correction_weight in load_penalty_study().alphas


@pytest.mark.slow
def test_a_small_study_runs_and_says_the_same_twice():
    settings = load_penalty_study()
    small = settings.model_copy(
        update={
            "alphas": (0.0, 0.3),
            "seeds": (1, 2),
            "train_steps": 64,
            "evaluation_steps": 20,
            "ppo": settings.ppo.model_copy(update={"envs": 2, "rollout": 32, "batch": 32}),
        }
    )
    first = study_penalty(small)
    assert first == study_penalty(small)
    assert len(first) == len(STUDIED) * 4
    assert choice(first) in (0.0, 0.3)
    assert all(0.0 <= run.corrected <= run.changed <= 1.0 for run in first)
