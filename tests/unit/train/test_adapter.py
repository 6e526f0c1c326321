"""The env's adapter: what it previews happens, and what it encodes trades exactly that."""

from __future__ import annotations

import numpy as np
import pytest
from riskenv.train import OptionsTradingEnv, RandomPolicy

CONFIG = {"max_lots": 3, "max_shares": 100, "menu_lots": 3}


def rollout(market, convention, steps=120):
    env = OptionsTradingEnv(convention, market=market, config=CONFIG)
    env.reset(seed=2)
    policy = RandomPolicy(5)
    for _ in range(steps):
        yield env, env.risk_adapter, policy.act(env, None)


@pytest.mark.parametrize("convention", ["discrete", "multidiscrete", "box"])
def test_every_previewed_action_can_be_encoded_back(market, convention):
    for env, adapter, action in rollout(market, convention):
        trades = adapter.preview(env, action)
        for proposed in (action, None):
            encoded = adapter.encode(env, trades, proposed)
            if proposed is not None:
                assert encoded is not None
            if encoded is not None:
                assert env.action_space.contains(encoded)
                assert np.array_equal(adapter.preview(env, encoded), trades)
        env.step(action)


@pytest.mark.parametrize("convention", ["multidiscrete", "box"])
def test_any_whole_trade_in_the_slots_can_be_encoded(market, convention):
    random = np.random.default_rng(0)
    # Of shares a joint choice has seven sizes, a box every whole number.
    shares = np.arange(-100, 101) if convention == "box" else np.array([-100, -33, 0, 67, 100])
    for env, adapter, action in rollout(market, convention):
        trades = np.zeros(len(env.table))
        for row in env.slot_rows:
            trades[row] = random.integers(-3, 4)
        trades[env.table.kind == 0] = random.choice(shares, 2)
        assert adapter.encode(env, trades, action) is not None
        env.step(action)


@pytest.mark.parametrize("convention", ["multidiscrete", "box"])
def test_full_and_partial_closes_of_what_left_the_slots_can_be_encoded(market, convention):
    closed = 0
    for env, adapter, action in rollout(market, convention):
        for fraction in (0.25, 0.5, 0.75, 1.0):
            trades = -np.rint(fraction * env.quantity) + 0.0
            assert adapter.encode(env, trades, None) is not None
        off = np.ones(len(env.table), dtype=bool)
        off[env.slot_rows] = False
        closed += np.count_nonzero(env.quantity[off & (env.table.kind != 0)])
        env.step(action)
    assert closed > 0


def test_what_no_action_trades_is_none(market):
    for env, _, action in rollout(market, "box", steps=40):
        env.step(action)
    adapter, n = env.risk_adapter, len(env.table)
    off = np.setdiff1d(np.flatnonzero(env.table.kind != 0), env.slot_rows)
    wider = np.zeros(n)
    wider[off[0]] = np.sign(env.quantity[off[0]])  # adds to a position that has left the slots
    for trades in (np.full(n, 0.5), np.full(n, 1e6), np.full(n, np.nan), np.zeros(n + 1), wider):
        assert adapter.encode(env, trades, action) is None
    menu = OptionsTradingEnv("discrete", market=market)
    menu.reset(seed=0)
    assert menu.risk_adapter.encode(menu, np.ones(len(menu.table)), 0) is None


@pytest.mark.parametrize(("shares", "done"), [(34, 33), (66, 33), (-99, -67), (20, 0), (900, 100)])
def test_between_its_steps_a_joint_choice_trades_fewer_shares(market, shares, done):
    env = OptionsTradingEnv("multidiscrete", market=market, config=CONFIG)
    env.reset(seed=0)
    trades = np.zeros(len(env.table))
    row = np.flatnonzero(env.table.kind == 0)[0]
    trades[row] = shares
    encoded = env.risk_adapter.encode(env, trades, None)
    trades[row] = done
    assert np.array_equal(env.preview(encoded), trades)


@pytest.mark.parametrize("wrong", [[0.5] * 28, [7] * 28, [0] * 27, [-1] + [0] * 27, ["1"] * 28])
def test_what_is_no_joint_choice_is_refused(market, wrong):
    env = OptionsTradingEnv("multidiscrete", market=market, config=CONFIG)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action: got .*; allowed: whole numbers"):
        env.preview(wrong)


def test_preview_all_is_preview_of_each_row(market):
    for env, adapter, action in rollout(market, "discrete"):
        every = adapter.preview_all(env)
        for row in range(len(env.action_names)):
            assert np.array_equal(every[row], adapter.preview(env, row))
        env.step(action)
    box = OptionsTradingEnv("box", market=market)
    box.reset(seed=0)
    assert box.risk_adapter.preview_all(box) is None
    with pytest.raises(TypeError, match="'discrete'"):
        box.preview_all()


@pytest.mark.parametrize("convention", ["discrete", "multidiscrete", "box"])
def test_fallbacks_hold_first_and_then_only_hedge_or_close(market, convention):
    for env, adapter, action in rollout(market, convention, steps=60):
        trades = [adapter.preview(env, fallback) for fallback in adapter.fallbacks(env)]
        assert not trades[0].any()
        for trade in trades[1:]:
            option = env.table.kind != 0
            assert (np.abs(env.quantity + trade) <= np.abs(env.quantity))[option].all()
        assert not (env.quantity + trades[-1]).any()  # the last one closes everything
        env.step(action)


@pytest.mark.parametrize(
    ("convention", "menu_lots", "whole"),
    [
        ("discrete", 5.0, True),
        ("discrete", 2.5, False),
        ("box", 2.5, True),
        ("multidiscrete", 2.5, True),
    ],
)
def test_traits_say_what_happens_unasked_and_whether_lots_are_whole(
    market, convention, menu_lots, whole
):
    env = OptionsTradingEnv(convention, market=market, config={"menu_lots": menu_lots})
    traits = env.risk_adapter.traits
    assert traits.fills == "now"
    assert set(traits.unasked) == {"expiry", "margin_call"}
    assert traits.whole_lots is whole


def test_the_adapter_knows_the_calendar_and_the_factor_moves(market):
    env = OptionsTradingEnv("box", market=market)
    assert env.risk_adapter.sessions(env) is market.future_sessions
    assert env.risk_adapter.factor_history(env).underlyings == market.underlyings
