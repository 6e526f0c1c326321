"""The options env on a small synthetic market: accounting, conventions, read side, Gymnasium."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from riskenv.train import OptionsTradingEnv, RandomPolicy
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from riskenv.config import ConfigError
from riskenv.instruments import NS_PER_DAY, NS_PER_SECOND, Instrument

CONVENTIONS = ("discrete", "multidiscrete", "box")
SMALL = {"max_lots": 2, "max_shares": 50, "menu_lots": 2}  # keeps random books off margin calls


def lots(env, name, quantity=1.0):
    """A box action that trades this much in one named dimension."""
    action = np.zeros(len(env.action_names), dtype=np.float32)
    scale = env.config.max_shares if name in env.underlyings else env.config.max_lots
    action[env.action_names.index(name)] = quantity / scale
    return action


def held(env):
    return {instrument.symbol: lots for instrument, lots in env.positions.items()}


def trajectory(env, actions):
    return [(obs.tobytes(), reward, info) for obs, reward, _, _, info in map(env.step, actions)]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_gymnasium_and_stable_baselines_accept_it(market, convention):
    check_env(OptionsTradingEnv(convention, market=market), skip_render_check=True)
    sb3_check_env(OptionsTradingEnv(convention, market=market), warn=True)


def test_importing_the_room_registers_the_env_and_brings_no_torch(tmp_path):
    code = (
        "import sys, gymnasium, riskenv.train;"
        "assert 'riskenv/OptionsTrading-v0' in gymnasium.registry;"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    # Not from the repository's root, where the folder riskenv/ hides the installed package.
    run = subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path)
    assert run.returncode == 0


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("config", [SMALL, {}, {"menu_lots": 0.7}])
def test_every_step_reconciles_with_fills_at_bid_and_ask_done_by_hand(market, convention, config):
    """Cash, settlement, dividends and equity, recomputed from the snapshots alone."""
    env = OptionsTradingEnv(convention, market=market, config=config)
    policy = RandomPolicy(11)
    obs, info = env.reset(seed=5)
    settled = calls = 0
    for _ in range(250):
        portfolio, quotes = env.snapshot()
        equity = portfolio.cash + (quotes.mid * portfolio.quantity * quotes.table.multiplier).sum()
        assert equity == pytest.approx(info["equity"], rel=1e-12)
        action = policy.act(env, obs)
        if convention != "discrete":
            action[-2:] = 0.0  # random closes would leave nothing to settle
        trades = env.preview(action)
        obs, reward, _, truncated, info = env.step(action)
        report = env.last_trade
        assert report.fills == {
            quotes.table.instruments[row]: trades[row] for row in np.flatnonzero(trades)
        }
        price = np.where(trades > 0.0, quotes.ask, quotes.bid)
        option = quotes.table.kind != 0
        fee = np.where(option, 0.65, 0.005) * np.abs(trades)
        cash = portfolio.cash - (trades * price * quotes.table.multiplier + fee).sum()
        after = portfolio.quantity + trades
        after_portfolio, next_quotes = env.snapshot()
        years = (next_quotes.now - quotes.now) / NS_PER_SECOND / (365 * 86_400)
        cash *= np.exp(quotes.rate[0] * years)
        paid = np.expm1(quotes.dividend_yield[~option] * years) * quotes.spot
        cash += (after[~option] * paid).sum()
        expired = option & (quotes.table.expiry <= next_quotes.now)
        spot = next_quotes.spot[quotes.table.underlying_index]
        intrinsic = np.maximum(quotes.table.kind * (spot - quotes.table.strike), 0.0)
        cash += (after * intrinsic * quotes.table.multiplier)[expired].sum()
        settled += int((expired & (np.abs(after) > 1e-9)).sum())
        if not info["margin_call"]:
            assert after_portfolio.cash == pytest.approx(cash, rel=1e-10)
            kept = {
                quotes.table.instruments[row]: after[row]
                for row in np.flatnonzero(~expired & (np.abs(after) > 1e-9))
            }
            assert env.positions == pytest.approx(kept)
        calls += info["margin_call"]
        assert reward == pytest.approx((info["equity"] - equity) / 1e6 * 100.0, abs=1e-9)
        if truncated:
            break
    if config == SMALL:  # a full-size random book is called before anything expires
        assert settled > 0
        assert calls == 0 or convention == "multidiscrete"  # whose ends are drawn more often


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_read_side_changes_nothing(market, convention):
    plain, read = (OptionsTradingEnv(convention, market=market, config=SMALL) for _ in range(2))
    plain.reset(seed=3)
    read.reset(seed=3)
    policy = RandomPolicy(2)
    for _ in range(60):
        action = policy.act(plain, None)
        for _ in range(2):
            read.snapshot(), read.table, read.positions, read.quantity, read.preview(action)
            if convention == "discrete":
                read.preview_all()
        # What is handed out is the caller's: writing to it does not reach the env.
        read.quantity[:] = 99.0
        read.preview(action)[:] = 99.0
        read.snapshot()[0].quantity[:] = 99.0
        assert trajectory(plain, [action]) == trajectory(read, [action])


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_copies_continue_alike_and_independently(market, convention, copy_of):
    env = OptionsTradingEnv(convention, market=market, config=SMALL)
    policy = RandomPolicy(4)
    env.reset(seed=1)
    trajectory(env, [policy.act(env, None) for _ in range(40)])
    twin = copy_of(env)
    actions = [policy.act(env, None) for _ in range(40)]
    assert trajectory(twin, actions) == trajectory(env, actions)
    trajectory(twin, actions[:1])
    assert env.step(actions[1])[4]["day"] == twin.step(actions[1])[4]["day"] - 1
    assert env.reset(seed=9)[1] == twin.reset(seed=9)[1]


def test_what_other_envs_did_to_the_shared_quotes_changes_no_bit(make_market):
    """The cache is filled by two histories of use; the third env must not notice."""
    actions = [RandomPolicy(8).act(OptionsTradingEnv("box", market=make_market()), None)] * 3
    outcomes = []
    for warm in (False, True):
        market = make_market(seed=1)
        if warm:
            other = OptionsTradingEnv("box", market=market)
            for seed in range(4):
                other.reset(seed=seed)
                policy = RandomPolicy(seed)
                trajectory(other, [policy.act(other, None) for _ in range(100)])
        env = OptionsTradingEnv("box", market=market, config=SMALL)
        env.reset(seed=7)
        policy = RandomPolicy(6)
        outcomes.append(trajectory(env, [policy.act(env, None) for _ in range(150)] + actions))
    assert outcomes[0] == outcomes[1]


def test_a_cache_too_small_for_the_episode_gives_the_same_numbers(make_market):
    outcomes = []
    for days in (2, 8_192):
        env = OptionsTradingEnv(
            "box", market=make_market(), config={**SMALL, "listing": {"cached_days": days}}
        )
        env.reset(seed=7)
        policy = RandomPolicy(6)
        outcomes.append(trajectory(env, [policy.act(env, None) for _ in range(60)]))
        assert len(env._listing._sheets) <= days
    assert outcomes[0] == outcomes[1]


def test_seeds_decide_the_start_and_nothing_else(market):
    env = OptionsTradingEnv(market=market, config={"episode_sessions": 20})
    days = [env.reset(seed=seed)[1]["day"] for seed in range(30)]
    assert days == [env.reset(seed=seed)[1]["day"] for seed in range(30)]
    assert len(set(days)) > 10
    fixed = OptionsTradingEnv(market=market, config={"random_start": False})
    assert {fixed.reset(seed=seed)[1]["day"] for seed in range(5)} == {market.first_tradable}


def test_an_episode_has_the_length_it_was_given_and_ends_truncated(market):
    env = OptionsTradingEnv(market=market, config={"episode_sessions": 7})
    env.reset(seed=0)
    ends = [env.step(0)[2:4] for _ in range(7)]
    assert ends == [(False, False)] * 6 + [(False, True)]
    env.snapshot()  # the final book can still be read
    with pytest.raises(ResetNeeded):
        env.step(0)
    env.reset(options={"start": "2003-03-03"})
    assert env.step(0)[4]["date"] == 20030304


def test_the_whole_span_is_replayed_when_no_length_is_given(market):
    env = OptionsTradingEnv(
        market=market, start="2003-03-01", end="2003-03-31", config={"episode_sessions": None}
    )
    assert env.reset(seed=1)[1]["date"] == 20030303
    while not (step := env.step(0))[3]:
        pass
    assert step[4]["date"] == 20030331


def test_strikes_follow_spot_and_expiries_roll(market):
    env = OptionsTradingEnv("box", market=market, config={"random_start": False})
    env.reset()
    nearest, moved = set(), 0
    for _ in range(150):
        table, spot = env.table, env.snapshot()[1].spot
        assert len(table) == len({*table.instruments})
        slots = [table.instruments[row] for row in env.slot_rows]
        for name, slot in zip(env.action_names, slots, strict=False):
            ticker, term, right, moneyness = name.split()
            s = spot[env.underlyings.index(ticker)]
            assert (slot.underlying, slot.right) == (ticker, right)
            assert slot.strike == pytest.approx(float(moneyness) * s, rel=0.02)
            days = (slot.expiry - env.snapshot()[1].now) / NS_PER_DAY
            assert 20 <= days <= 56 if term == "near" else 47 <= days <= 90
        strikes = np.array([slot.strike for slot in slots])
        assert (strikes % 5 == 0).all()  # 1 % of spot lists steps of 10 or 25 here
        nearest.add(slots[0].expiry)
        moved += len(nearest)
        env.step(np.zeros(len(env.action_names)))
    assert len(nearest) >= 6


def test_two_slots_on_one_contract_add_their_lots(market):
    """With steps of about 12 % of spot the slots of a right collapse onto few strikes."""
    env = OptionsTradingEnv("box", market=market, config={"listing": {"strike_step_of_spot": 0.12}})
    env.reset(seed=0)
    rows = env.slot_rows[:3]
    assert len(set(rows.tolist())) < 3
    action = np.zeros(len(env.action_names))
    action[:3] = (0.1, 0.2, 0.4)  # 1, 2 and 4 lots
    trades = env.preview(action)
    assert trades.sum() == 7.0
    assert set(np.flatnonzero(trades)) == set(rows.tolist())
    assert env.risk_adapter.encode(env, 2.0 * trades, None) is not None


def test_the_bid_is_never_negative_and_the_ask_always_above_nothing(market):
    env = OptionsTradingEnv("box", market=market, config={"random_start": False})
    env.reset()
    env.step(lots(env, "SPX near C 1.08"))
    worthless = 0
    for _ in range(30):
        _, quotes = env.snapshot()
        assert (quotes.bid >= 0.0).all()
        assert (quotes.ask >= 0.05).all()
        assert (quotes.bid < quotes.ask).all()
        assert not quotes.unknown
        worthless += int((quotes.bid == 0.0).any())
        env.step(np.zeros(len(env.action_names)))
    assert worthless > 0


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("hold", {}),
        ("sell_strangle SPX", {"P 0.96": -5.0, "C 1.04": -5.0}),
        ("buy_strangle SPX", {"P 0.96": 5.0, "C 1.04": 5.0}),
        ("sell_straddle SPX", {"P 1.00": -5.0, "C 1.00": -5.0}),
        ("buy_straddle SPX", {"P 1.00": 5.0, "C 1.00": 5.0}),
        ("buy_put_spread SPX", {"P 1.00": 5.0, "P 0.92": -5.0}),
        ("sell_put_spread SPX", {"P 1.00": -5.0, "P 0.92": 5.0}),
    ],
)
def test_the_menu_trades_what_it_says(market, row, expected):
    env = OptionsTradingEnv(market=market)
    env.reset(seed=0)
    slots = OptionsTradingEnv("box", market=market).action_names
    trades = env.preview(env.action_names.index(row))
    wanted = np.zeros(len(trades))
    for name, quantity in expected.items():
        wanted[env.slot_rows[slots.index(f"SPX near {name}")]] = quantity
    assert np.array_equal(trades, wanted)


def test_the_ways_out_of_the_menu_do_what_they_say(market):
    env = OptionsTradingEnv(market=market, config={"menu_lots": 5})
    env.reset(seed=0)
    name = env.action_names.index
    for row in ("buy_straddle SPX", "sell_strangle IXIC", "delta_hedge SPX"):
        env.step(name(row))
    half = env.preview(name("close_half SPX"))
    spx = env.table.underlying_index == 1
    assert (np.abs(half + 0.5 * env.quantity)[spx] <= 0.5).all()
    assert (half[~spx] == 0.0).all()
    assert np.array_equal(env.preview(name("close_all SPX")), np.where(spx, -env.quantity, 0.0))
    env.step(name("close_everything"))
    assert env.positions == {}


def test_the_delta_hedge_leaves_less_than_half_a_share(market):
    env = OptionsTradingEnv(market=market)
    env.reset(seed=0)
    for row in ("sell_put_spread SPX", "buy_strangle SPX", "sell_straddle SPX"):
        env.step(env.action_names.index(row))
        shares = env.preview(env.action_names.index("delta_hedge SPX"))
        assert np.count_nonzero(shares) <= 1
        table, quotes = env.table, env.snapshot()[1]
        # Delta by bumping the layer's own price, not by the env's own Greek.
        assert abs(_bumped_delta(env, "SPX") + shares.sum()) <= 0.5 + 1e-3
        assert table is quotes.table
        env.step(env.action_names.index("delta_hedge SPX"))


def _bumped_delta(env, ticker, bump=1e-4):
    from riskenv.pricing import black_scholes_price

    portfolio, quotes = env.snapshot()
    total = 0.0
    for row in np.flatnonzero(portfolio.quantity):
        instrument = quotes.table.instruments[row]
        if instrument.underlying != ticker:
            continue
        u = quotes.table.underlying_index[row]
        if not instrument.is_option:
            total += portfolio.quantity[row]
            continue
        years = (instrument.expiry - quotes.now) / NS_PER_SECOND / (365 * 86_400)
        up, down = (
            black_scholes_price(
                quotes.spot[u] * (1.0 + sign * bump),
                instrument.strike,
                years,
                quotes.rate[row],
                quotes.dividend_yield[row],
                quotes.vol[row],
                instrument.right == "C",
            )
            for sign in (1.0, -1.0)
        )
        delta = float(up - down) / (2.0 * bump * quotes.spot[u])
        total += portfolio.quantity[row] * instrument.multiplier * delta
    return total


def test_fractional_menu_lots_scale_a_policy_down_and_leave_no_dust(market):
    env = OptionsTradingEnv(market=market, config={"menu_lots": 0.1})
    env.reset(seed=0)
    sell, buy = (env.action_names.index(f"{side}_strangle SPX") for side in ("sell", "buy"))
    for action in (sell, sell, sell):
        env.step(action)
    strikes = {i.strike for i in env.positions}
    env.step(env.action_names.index("close_half SPX"))
    assert sum(held(env).values()) == pytest.approx(-0.3)
    env.step(env.action_names.index("close_all SPX"))
    assert env.positions == {}
    env.step(buy)
    assert all(q == 0.1 for q in env.positions.values())
    assert strikes


def test_repeated_fractions_leave_no_dust_and_shares_stay_whole(market):
    """0.1 three times and back is not exactly 0 in binary; such a residue is no position."""
    env = OptionsTradingEnv(
        market=market,
        config={
            "menu_lots": 0.1,
            "random_start": False,
            "listing": {"strike_step_of_spot": 0.2},  # so wide that the strikes stay
        },
    )
    env.reset(options={"start": "2003-02-05"})  # the near expiry rolled two sessions before
    for side in ("sell", "sell", "sell", "buy", "buy", "buy"):
        env.step(env.action_names.index(f"{side}_straddle SPX"))
    assert env.positions == {}
    config = {"menu_lots": 7.1, "random_start": False}
    env = OptionsTradingEnv(market=market, config=config)
    env.reset()
    for row in ("buy_strangle SPX", "sell_put_spread SPX", "delta_hedge SPX", "close_half SPX"):
        shares = env.positions.get(Instrument("SPX"), 0.0)
        env.step(env.action_names.index(row))
    assert shares % 2 == 1.0, "half of an even number is whole anyway"
    assert env.positions[Instrument("SPX")].is_integer()


def test_an_option_is_held_past_its_slot_and_settles_at_intrinsic(market):
    env = OptionsTradingEnv("box", market=market, config={"random_start": False})
    env.reset()
    env.step(lots(env, "SPX near C 1.00", 3))
    (option,) = env.positions
    off_the_slots = False
    while option in env.positions:
        off_the_slots |= option not in [env.table.instruments[row] for row in env.slot_rows]
        cash = env.snapshot()[0].cash
        *_, info = env.step(np.zeros(len(env.action_names)))
    assert off_the_slots
    assert env.last_trade.settled == {option: 3.0}
    day = info["day"]
    spot = market.spot[day, 1]
    years = (market.sessions.closes[day] - market.sessions.closes[day - 1]) / 1e9 / (365 * 86_400)
    paid = 3 * 10 * max(spot - option.strike, 0.0)
    assert info["cash"] == pytest.approx(cash * np.exp(market.rate * years) + paid)
    assert market.sessions.closes[day] == option.expiry


def test_a_margin_call_closes_everything_and_is_reported(make_market):
    env = OptionsTradingEnv(
        market=make_market(crash=-0.15), config={"menu_lots": 280, "random_start": False}
    )
    env.reset()
    sell = env.action_names.index("sell_straddle SPX")
    called = None
    for step in range(45):
        *_, terminated, _, info = env.step(sell if step == 37 else 0)
        if info["margin_call"]:
            called = info
            break
    assert called is not None
    assert env.positions == {}
    held = env.last_trade.after_trade
    assert len(held) == 2
    assert env.last_trade.liquidated == {i: -q for i, q in held.items()}
    assert env.last_trade.costs == info["trading_costs"] > 0.0
    assert info["equity"] == info["cash"] < 950_000.0
    assert not terminated


def test_a_bankrupt_account_terminates(make_market):
    env = OptionsTradingEnv(
        market=make_market(crash=-0.35),
        config={
            "menu_lots": 400,
            "random_start": False,
            "listing": {"margin_of_spot": 0.0, "margin_floor": 0.0},
        },
    )
    env.reset()
    sell = env.action_names.index("sell_straddle SPX")
    outcome = []
    while not (outcome and (outcome[-1][2] or outcome[-1][3])):
        outcome.append(env.step(sell if len(outcome) == 35 else 0))
    assert outcome[-1][2]
    assert outcome[-1][4]["equity"] <= 0.0
    assert np.isfinite(outcome[-1][0]).all()


@pytest.mark.parametrize("of_spot", [0.20, 0.05], ids=["the rate binds", "the floor binds"])
@pytest.mark.parametrize("name", ["SPX near P 0.92", "SPX near C 1.08"])
def test_requirement_is_the_rule_for_each_short(market, name, of_spot):
    env = OptionsTradingEnv("box", market=market, config={"listing": {"margin_of_spot": of_spot}})
    env.reset(seed=0)
    env.step(lots(env, name, -2))
    (option,) = env.positions
    _, quotes = env.snapshot()
    spot = quotes.spot[1]
    call = option.right == "C"
    out = max(option.strike - spot if call else spot - option.strike, 0.0)
    floor = 0.1 * (spot if call else option.strike)
    assert (floor > of_spot * spot - out) == (of_spot == 0.05)
    wanted = 2 * 10 * max(of_spot * spot - out, floor)
    assert env.margin_requirement == pytest.approx(wanted)


@pytest.mark.parametrize("shares", [40, -40])
def test_requirement_of_shares_is_half_the_notional(market, shares):
    env = OptionsTradingEnv("box", market=market)
    env.reset(seed=0)
    env.step(lots(env, "SPX", shares))
    assert env.margin_requirement == pytest.approx(0.5 * 40 * env.snapshot()[1].spot[1])


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_observations_are_fresh_finite_named_and_inside_their_bounds(market, convention):
    env = OptionsTradingEnv(convention, market=market)
    policy = RandomPolicy(0)
    seen = [env.reset(seed=0)[0]]
    for _ in range(250):
        obs, _, terminated, truncated, info = env.step(policy.act(env, None))
        assert obs is not seen[-1]
        assert not np.shares_memory(obs, seen[-1])
        assert env.observation_space.contains(obs)
        assert np.isfinite(list(info.values())).all()
        seen.append(obs)
        if terminated or truncated:
            break
    assert len(env.observation_names) == len(set(env.observation_names)) == len(seen[0])
    varied = np.ptp(np.array(seen), axis=0) > 0.0
    quiet = [n for n, v in zip(env.observation_names, varied, strict=True) if not v]
    flat_vol = {name for name in quiet if "vol 30d" in name}  # flat in this market
    untraded = {name for name in quiet if " far " in name and convention == "discrete"}
    assert set(quiet) == flat_vol | untraded


def test_the_observed_book_is_the_book(market):
    env = OptionsTradingEnv("box", market=market, config={"random_start": False})
    env.reset()
    env.step(lots(env, "SPX far P 0.96", 10) + lots(env, "IXIC", -300))
    obs, *_ = env.step(np.zeros(len(env.action_names)))
    seen = dict(zip(env.observation_names, obs.tolist(), strict=True))
    portfolio, quotes = env.snapshot()
    assert seen["IXIC shares"] == pytest.approx(-0.3)
    assert seen["equity over initial cash"] == pytest.approx(env.equity / 1e6)
    assert seen["cash over initial cash"] == pytest.approx(portfolio.cash / 1e6)
    assert seen["IXIC dollar delta over initial cash"] == pytest.approx(-300 * quotes.spot[0] / 1e6)
    assert seen["SPX vega, % of initial cash"] > 0.0 > seen["SPX theta, % of initial cash"]
    spx = _bumped_delta(env, "SPX") * quotes.spot[1] / 1e6
    assert seen["SPX dollar delta over initial cash"] == pytest.approx(spx, rel=1e-4)


def test_what_has_left_the_slots_is_observed_as_one_number(market):
    env = OptionsTradingEnv("box", market=market, config={"random_start": False})
    env.reset()
    obs, *_ = env.step(lots(env, "SPX near P 0.96", -4) + lots(env, "SPX far C 1.08", 3))
    off = env.observation_names.index("SPX contracts off the slots")
    seen = set()
    for _ in range(25):
        slots = {env.table.instruments[row] for row in env.slot_rows}
        left = sum(abs(q) for i, q in env.positions.items() if i not in slots)
        assert obs[off] == pytest.approx(left / 50.0)
        seen.add(left)
        obs, *_ = env.step(np.zeros(len(env.action_names)))
    assert {0.0, 7.0} <= seen


def test_closing_fractions_close_every_position_of_a_ticker(market):
    env = OptionsTradingEnv("box", market=market, config={"random_start": False})
    env.reset()
    env.step(lots(env, "SPX near P 0.96", 9) + lots(env, "SPX", -77) + lots(env, "IXIC", 50))
    before = env.positions
    action = np.zeros(len(env.action_names), dtype=np.float32)
    action[env.action_names.index("SPX close")] = 0.25
    action[env.action_names.index("IXIC close")] = -1.0  # a negative fraction closes nothing
    env.step(action)
    assert env.last_trade.fills == {
        i: {9.0: -2.0, -77.0: 19.0}[q] for i, q in before.items() if i.underlying == "SPX"
    }
    assert env.positions[Instrument("IXIC")] == 50.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"convention": "boxes"}, "convention: got 'boxes'; allowed"),
        ({"render_mode": "human"}, "render_mode: got 'human'"),
        ({"start": "03/01/2003"}, "start: got '03/01/2003'; allowed: an ISO date"),
        ({"start": "2040-01-01"}, "two sessions or more between"),
        ({"config": {"menu_lotz": 1.0}}, "menu_lotz: unknown key"),
        ({"config": {"menu_lots": 0.0}}, "menu_lots: got 0.0"),
        ({"config": {"listing": {"put_moneyness": [1.0, 0.9, 1.1]}}}, "three increasing"),
        ({"config": {"listing": {"strike_steps": [0.001]}}}, "whole number of cents"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(market, change, words):
    with pytest.raises((ValueError, ConfigError), match=words):
        OptionsTradingEnv(**{"market": market, **change})


@pytest.mark.parametrize(
    ("convention", "action"),
    [
        ("discrete", 20),
        ("discrete", -1),
        ("discrete", 1.5),
        ("box", np.full(28, np.nan)),
        ("box", np.zeros(27)),
        ("box", np.full(28, np.inf)),
    ],
)
def test_an_action_outside_the_space_is_refused_and_changes_nothing(market, convention, action):
    env = OptionsTradingEnv(convention, market=market)
    env.reset(seed=0)
    before = env.snapshot()[0].cash, env.positions
    with pytest.raises(ValueError, match="action: got"):
        env.step(action)
    assert (env.snapshot()[0].cash, env.positions) == before


def test_reading_or_stepping_before_a_reset_is_refused(market):
    env = OptionsTradingEnv(market=market)
    for read in (env.snapshot, lambda: env.positions, lambda: env.preview(0), lambda: env.step(0)):
        with pytest.raises(ResetNeeded):
            read()
    env.reset(seed=0)
    with pytest.raises(ResetNeeded, match="no step"):
        _ = env.last_trade
    with pytest.raises(ValueError, match="allowed: 'start'"):
        env.reset(options={"begin": "2003-03-03"})
