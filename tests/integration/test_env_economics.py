"""Does the env's market teach the right lesson? No free lunch, a premium for short volatility,
and 2008. Run with -s for the figures; every test has fixed seeds. The size of the short-vol book
was chosen on the very spans it is tested on: these tests describe the market, they are no
out-of-sample evidence.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from riskenv.data import MarketConfig, load_market
from riskenv.train import OptionsTradingEnv, RandomPolicy, ShortStranglePolicy

from riskenv.instruments import NS_PER_SECOND

# Strangles kept sold on each index: about half of the equity as margin in 2003.
LOTS = {"IXIC": 60.0, "SPX": 100.0}
CALM, CRISIS = ("2003-01-02", "2006-12-29"), ("2008-08-29", "2008-11-28")


@pytest.fixture(scope="module")
def market():
    return load_market()


def years_to_next(market, day):
    closes = market.sessions.closes
    return (closes[day + 1] - closes[day]) / NS_PER_SECOND / (365 * 86_400)


def excess_before_costs(env, market, info, actions):
    """Each step's P&L before costs and beyond the riskless rate, (steps,), its costs, (steps,),
    and the number of margin calls.

    The account's value after the fills, (equity - costs), would have grown by g at the riskless
    rate; what it did beyond that is what the positions earned. Interest drops out, and so do the
    costs, whatever they were financed by.
    """
    earned, costs, calls = [], [], 0
    for action in actions:
        day, before = info["day"], info["equity"]
        *_, terminated, truncated, info = env.step(action)
        g = math.exp(market.rate * years_to_next(market, day))
        earned.append(info["equity"] - (before - info["trading_costs"]) * g)
        costs.append(info["trading_costs"])
        calls += info["margin_call"]
        if terminated or truncated:
            break
    return np.array(earned), np.array(costs), calls


def test_the_registered_env_is_rebuilt_from_its_spec(market):
    env = gymnasium.make(
        "riskenv/OptionsTrading-v0",
        convention="box",
        start="2004-01-02",
        end="2005-12-30",
        config={"menu_lots": 2.5, "listing": {"multiplier": 100.0}},
        market={"variance_premium": 0.1},
    )
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert json.loads(env.spec.to_json()) == json.loads(again.spec.to_json())
    for one, two in zip(env.reset(seed=3)[1].items(), again.reset(seed=3)[1].items(), strict=True):
        assert one == two
    action = np.full(len(env.unwrapped.action_names), 0.4, dtype=np.float32)
    assert env.step(action)[1] == again.step(action)[1]


@pytest.mark.parametrize(
    ("cash", "most_called"),
    [(1e6, 400), (1e8, 0)],
    ids=["the default account", "an account too large for margin calls"],
)
def test_symmetric_random_trades_earn_minus_the_costs(market, cash, most_called):
    """Mean P&L before costs, over 400 episodes, is within 2 standard errors of 0."""
    env = OptionsTradingEnv("box", config={"episode_sessions": 21, "initial_cash": cash})
    earned, paid, called = [], [], 0
    for seed in range(400):
        policy = RandomPolicy(10_000 + seed)
        actions = [policy.act(env, None) for _ in range(21)]
        x, costs, calls = excess_before_costs(env, market, env.reset(seed=seed)[1], actions)
        earned.append(x.sum())
        paid.append(costs.sum())
        called += calls > 0
    mean, error = np.mean(earned), np.std(earned, ddof=1) / math.sqrt(len(earned))
    net = mean - np.mean(paid)
    print(
        f"\nrandom box trades, 400 episodes of 21 sessions: P&L before costs {mean:,.0f} "
        f"(standard error {error:,.0f}, z {mean / error:+.2f}), costs {np.mean(paid):,.0f}, "
        f"net {net:,.0f} an episode; episodes with a margin call: {called}"
    )
    assert called <= most_called
    assert np.mean(paid) > 4.0 * error, "the test could not tell the costs from noise"
    assert abs(mean) <= 2.0 * error


def test_the_marks_take_no_side(market):
    """Opposite trades earn exactly opposite P&L before costs: nothing in a mark favours a side."""
    config = {"episode_sessions": 42, "initial_cash": 1e8}  # far from any margin call
    env = OptionsTradingEnv("box", config=config)
    for seed in range(10):
        policy = RandomPolicy(seed)
        actions = [policy.act(env, None) for _ in range(42)]
        flipped = [np.concatenate((-a[:-2], a[-2:])) for a in actions]  # closes stay closes
        there, back = (
            excess_before_costs(env, market, env.reset(seed=seed)[1], side)
            for side in (actions, flipped)
        )
        assert there[2] == back[2] == 0
        assert there[0] == pytest.approx(-back[0], abs=1e-3)
        assert np.abs(there[0]).max() > 1_000.0


@pytest.fixture(scope="module")
def fair(market):
    """The same calendar and listings, with spots drawn from the very model that prices."""
    config = MarketConfig(skew_slope=0.0, skew_curvature=0.0)
    vol = np.array([0.25, 0.18])
    days = len(market.spot)
    years = np.array([years_to_next(market, day) for day in range(days - 1)])
    noise = np.random.default_rng(2024).standard_normal((days - 1, 2))
    drift = market.rate - market.dividend_yield - 0.5 * vol**2
    moves = drift * years[:, None] + vol * np.sqrt(years)[:, None] * noise
    path = np.concatenate((np.zeros((1, 2)), np.cumsum(moves, axis=0)))
    flat = np.tile(vol, (days, 1))
    return replace(
        market,
        spot=np.array([2_000.0, 1_200.0]) * np.exp(path),
        vol_30d=flat.copy(),
        long_run_vol=flat.copy(),
        config=config,
    )


@pytest.mark.parametrize(
    "slots",
    [
        ("near P 0.92",),
        ("near P 1.00", "near C 1.00"),
        ("near C 1.08",),
        ("far P 0.96", "far C 1.04"),
        ("",),
    ],
    ids=lambda slots: " + ".join(slots) or "underlying",
)
def test_no_position_earns_anything_where_the_model_is_true(fair, slots):
    """Bought every day and held to expiry, each kind of position earns the riskless rate.

    This tests what symmetric trades cannot: prices, settlement, dividends and interest agree.
    """
    env = OptionsTradingEnv(
        "box",
        market=fair,
        config={"initial_cash": 1e9, "random_start": False, "episode_sessions": None},
    )
    _, info = env.reset()
    action = np.zeros(len(env.action_names), dtype=np.float32)
    for ticker in env.underlyings:
        for slot in slots:
            action[env.action_names.index(f"{ticker} {slot}".strip())] = 0.1
    if slots == ("",):  # bought every other day and sold in between
        actions = [action if day % 2 == 0 else -action for day in range(len(fair.spot))]
    else:
        actions = [action] * len(fair.spot)
    x, _, calls = excess_before_costs(env, fair, info, actions)
    z = x.mean() / (x.std(ddof=1) / math.sqrt(len(x)))
    print(f"\n{slots}: {x.mean():+.1f} a day over {len(x)} days, sd {x.std():.0f}, z {z:+.2f}")
    assert calls == 0
    assert abs(z) <= 2.5


def run_short_vol(structure, span, lots, **listing):
    """Equity path and the dates of margin calls of the naked short-vol policy."""
    start, end = span
    env = OptionsTradingEnv(
        "discrete",
        start=start,
        end=end,
        config={"menu_lots": 20, "episode_sessions": None, "listing": listing},
    )
    policy = ShortStranglePolicy(lots, structure)
    obs, info = env.reset(seed=0)
    equity, calls, ended = [info["equity"]], [], False
    while not ended:
        obs, _, terminated, truncated, info = env.step(policy.act(env, obs))
        equity.append(info["equity"])
        if info["margin_call"]:
            calls.append(info["date"])
        ended = terminated or truncated
    return np.array(equity) / env.config.initial_cash, calls


def worst_drawdown(equity):
    return float((equity / np.maximum.accumulate(equity)).min() - 1.0)


@pytest.mark.parametrize("structure", ["sell_strangle", "sell_straddle"])
def test_naked_short_volatility_earns_a_premium_and_blows_up_in_2008(market, structure):
    calm, calm_calls = run_short_vol(structure, CALM, LOTS)
    crisis, calls = run_short_vol(structure, CRISIS, LOTS)
    years = len(calm) / 252
    premium = (calm[-1] - 1.0) / years - market.rate
    steps = np.diff(calm)
    t = (steps.mean() - market.rate / 252) / (steps.std(ddof=1) / math.sqrt(len(steps)))
    print(
        f"\n{structure}: 2003-2006 {premium:+.1%} of initial cash a year beyond the riskless "
        f"rate (t {t:+.1f}), worst drawdown {worst_drawdown(calm):.1%}; 2008-09 to 2008-11 "
        f"{crisis[-1] - 1.0:+.1%}, worst drawdown {worst_drawdown(crisis):.1%}, "
        f"margin calls {calls}"
    )
    assert premium > 0.05
    assert t > 2.0
    assert calm_calls == []
    # From its peak it loses more than half of all money, and in sum more than a year's premium.
    assert worst_drawdown(crisis) < -0.50
    assert crisis[-1] - 1.0 < -premium
    if structure == "sell_straddle":
        assert calls, "the broker should close the larger short gamma"
        assert crisis[-1] < 0.5
