"""Cutting the future off the price history changes no digit of a decision before the cut."""

from __future__ import annotations

import json

import pytest
from riskenv.data import MarketConfig, build_market, fomc_events, load_price_history
from riskenv.train import OptionsTradingEnv, RandomPolicy
from riskenv.train.demo_config import load_demo_config
from riskenv.wrappers import RiskConstrainedEnv

from riskenv.gate.input_record import Recording

FIRST, CUT, LAST = "2008-09-02", "2008-10-15", "2008-11-14"


def decisions(market, last):
    """Every decision of a random box policy inside the demo's layer."""
    config = load_demo_config()
    changes = {**config.env, "random_start": False, "episode_sessions": None}
    env = RiskConstrainedEnv(
        OptionsTradingEnv("box", FIRST, last, changes, market=market),
        config.limits,
        var=config.var,
        events=fomc_events(),
        event_policy=config.event_policy,
        penalty=config.penalty,
    )
    recording, policy, done = Recording(), RandomPolicy(3), False
    env.record_to(recording)
    obs, _ = env.reset(seed=1)
    while not done:
        obs, _, terminated, truncated, _ = env.step(policy.act(env, obs))
        done = terminated or truncated
    # What follows from the configuration, not its digest, which covers the whole history.
    return [{**json.loads(made), "config_digest": ""} for made in recording.decisions]


@pytest.fixture(scope="module")
def prices():
    return load_price_history()


def test_a_truncated_future_leaves_every_earlier_decision_as_it_was(prices):
    whole = build_market(prices, MarketConfig())
    short = build_market(prices.first(whole.day_of(CUT) + 1), MarketConfig())
    before_cut = decisions(short, CUT)
    assert len(before_cut) > 25
    assert decisions(whole, LAST)[: len(before_cut)] == before_cut
