"""Scripted policies on the synthetic market."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit
from riskenv.train import HoldPolicy, OptionsTradingEnv, RandomPolicy, ShortStranglePolicy


@pytest.mark.parametrize("convention", ["discrete", "multidiscrete", "box"])
def test_hold_earns_the_riskless_rate_and_nothing_else(market, convention):
    env = OptionsTradingEnv(convention, market=market, config={"random_start": False})
    obs, info = env.reset()
    first = market.sessions.closes[info["day"]]
    for _ in range(50):
        obs, *_, info = env.step(HoldPolicy().act(env, obs))
    years = (market.sessions.closes[info["day"]] - first) / 1e9 / (365 * 86_400)
    assert info["equity"] == pytest.approx(1e6 * np.exp(market.rate * years))
    assert env.positions == {}


@pytest.mark.parametrize("convention", ["discrete", "multidiscrete", "box"])
def test_random_policies_of_one_seed_act_alike_inside_the_space(market, convention):
    env = OptionsTradingEnv(convention, market=market)
    one, same, other = (RandomPolicy(seed) for seed in (1, 1, 2))
    acts = [[policy.act(env, None) for _ in range(200)] for policy in (one, same, other)]
    assert np.array_equal(acts[0], acts[1])
    assert not np.array_equal(acts[0], acts[2])
    assert all(env.action_space.contains(action) for action in acts[0])
    if convention == "box":
        assert abs(np.mean(acts[0])) < 0.03  # symmetric


@pytest.mark.parametrize("structure", ["sell_strangle", "sell_straddle"])
def test_the_short_strangle_reaches_its_target_holds_to_expiry_and_refills(market, structure):
    env = TimeLimit(
        OptionsTradingEnv(market=market, config={"menu_lots": 5, "random_start": False}), 200
    )
    policy = ShortStranglePolicy({"IXIC": 10, "SPX": 20}, structure)
    obs, _ = env.reset()
    smallest, settled = [], 0
    for step in range(100):
        action = policy.act(env, obs)
        fills = env.unwrapped.preview(action)
        assert (fills <= 0.0).all()  # it never buys back
        obs, *_ = env.step(action)
        settled += len(env.unwrapped.last_trade.settled)
        short = {
            (ticker, right): -sum(
                q
                for i, q in env.unwrapped.positions.items()
                if (i.underlying, i.right) == (ticker, right)
            )
            for ticker in ("IXIC", "SPX")
            for right in "CP"
        }
        assert all(short["IXIC", right] <= 10 and short["SPX", right] <= 20 for right in "CP")
        if step == 5:
            smallest = short
    assert set(smallest.values()) == {10.0, 20.0}
    assert settled > 0
    assert min(short.values()) > 0


def test_a_policy_names_what_it_cannot_do(market):
    with pytest.raises(ValueError, match="structure: got 'condor'"):
        ShortStranglePolicy(1, "condor")
    with pytest.raises(ValueError, match="lots: got -1"):
        ShortStranglePolicy(-1)
    env = OptionsTradingEnv("box", market=market)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="allowed: 'discrete'"):
        ShortStranglePolicy(1).act(env, None)
