"""The shipped adapters: what each reads, previews and encodes, and what the layer makes of it."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from riskenv.wrappers import (
    AccountAdapter,
    CallableAdapter,
    LinearTrades,
    MenuAdapter,
    OldGymEnv,
    OrderListAdapter,
    Protection,
    Reader,
    RiskConstrainedEnv,
    TargetPositionAdapter,
    Traits,
    bar_sessions,
    delta_one_market,
    delta_one_table,
)
from riskenv.wrappers.adapter import Adapter

from riskenv import Instrument
from riskenv.config import ConfigError

from . import trap_envs as traps
from .trap_envs import QQQ, SPY, Shares, constrained, shares_adapter


def state(spy=0.0, qqq=0.0, **more):
    return SimpleNamespace(day=3, price=400.0, cash=1_000.0, held={SPY: spy, QQQ: qqq}, **more)


# --- protection -----------------------------------------------------------------------------------


class Minimal(Adapter):
    def snapshot(self, env, obs, info):
        return traps.READER.read(env)


class Previews(Minimal):
    def preview(self, env, action):
        return np.zeros(2)


class Encodes(Previews):
    def encode(self, env, trades, proposed):
        return None


def nothing(env, *more):
    return None


@pytest.mark.parametrize(
    ("adapter", "level"),
    [
        (Minimal(), "READ"),
        (Previews(), "PREVIEW"),
        (Encodes(), "ENCODE"),
        (CallableAdapter(nothing), "READ"),
        (CallableAdapter(nothing, preview=nothing), "PREVIEW"),
        (CallableAdapter(nothing, linear=nothing), "ENCODE"),
        (CallableAdapter(nothing, preview=nothing, encode=nothing), "ENCODE"),
        (AccountAdapter(traps.READER, hold=0), "READ"),
        (shares_adapter(), "ENCODE"),
        (TargetPositionAdapter(traps.READER, [SPY], 10.0), "ENCODE"),
        (TargetPositionAdapter(traps.READER, target=nothing), "PREVIEW"),
        (OrderListAdapter(traps.READER, nothing), "PREVIEW"),
        (OrderListAdapter(traps.READER, nothing, encode=nothing), "ENCODE"),
    ],
)
def test_protection_is_what_the_answers_give(adapter, level):
    assert adapter.protection is Protection[level]
    assert adapter.protection.words.startswith(f"{level}: ")


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Traits(fills="soon"), "fills: got 'soon'"),
        (lambda: Traits(units="lots"), "units: got 'lots'"),
        (lambda: Traits(unasked="stop"), "unasked: got 'stop'"),
        (lambda: Reader([SPY], nothing, nothing, nothing), "table: got"),
        (lambda: Reader(delta_one_table("SPY"), {}, nothing, nothing), "held: got {}"),
        (lambda: AccountAdapter(traps.READER.read), "reader: got"),
        (lambda: MenuAdapter(traps.READER, []), "menu: got no rows"),
        (lambda: MenuAdapter(traps.READER, [{}, 5]), r"menu\[1\]: got 5"),
        (lambda: TargetPositionAdapter(traps.READER), "targets, size, target"),
        (lambda: TargetPositionAdapter(traps.READER, [SPY]), "targets, size, target"),
        (lambda: TargetPositionAdapter(traps.READER, [SPY], 0.0), "size: got 0.0"),
        (lambda: TargetPositionAdapter(traps.READER, [SPY], np.nan), "size: got nan"),
        (lambda: OrderListAdapter(traps.READER, [SPY]), "orders: got"),
        (lambda: CallableAdapter(None), "snapshot: got None"),
        (lambda: CallableAdapter(nothing, preview=3), "preview: got 3"),
        (lambda: CallableAdapter(nothing, encode=nothing), "preview: got None"),
        (lambda: CallableAdapter(nothing, preview_all=nothing), "preview: got None"),
        (lambda: OldGymEnv(SimpleNamespace(step=nothing)), "has no reset"),
    ],
)
def test_what_is_refused_is_named(make, named):
    with pytest.raises(ConfigError, match=named):
        make()


@pytest.mark.parametrize(
    ("matrix", "offset"),
    [
        (np.zeros((2, 3)), np.zeros(2)),
        (np.zeros(3), np.zeros(3)),
        (np.full((1, 1), np.nan), np.zeros(1)),
        (np.zeros((1, 1)), np.full(1, np.inf)),
    ],
)
def test_a_matrix_of_trades_is_finite_and_fits(matrix, offset):
    with pytest.raises(ValueError, match="matrix, offset"):
        LinearTrades(matrix, offset)


# --- the account ----------------------------------------------------------------------------------


def test_the_snapshot_is_a_copy():
    env = state(spy=100.0)
    portfolio, market = shares_adapter().snapshot(env, None, None)
    env.held[SPY], env.price = 7.0, 1.0
    assert portfolio.positions() == {"SPY": 100.0}
    assert market.spot.tolist() == [400.0, 400.0]


def test_a_contract_that_the_table_lacks_is_named():
    env = state()
    env.held[Instrument("IWM")] = 1.0
    with pytest.raises(ValueError, match="IWM"):
        shares_adapter().snapshot(env, None, None)


def read_only(**known):
    return AccountAdapter(traps.READER, sessions=traps.SESSIONS, **known)


def breaches(env, steps=80, seed=3):
    """Share of steps that end outside the cap, by the env's own account; actions replaced."""
    draw = np.random.default_rng(seed)
    env.reset(seed=seed)
    outside = replaced = 0
    for _ in range(steps):
        action = 1 if draw.random() < 0.5 else int(draw.integers(3))  # rather buys
        *_, info = env.step(action)
        outside += abs(env.unwrapped.held[SPY]) > 900.0
        replaced += info.get("intervened", 0)
    return outside / steps, replaced


def test_of_the_account_alone_a_breach_is_undone_after_the_fact():
    bare, _ = breaches(Shares())
    # Caps are broken before anything is known of it; extreme levels are flattened.
    limits = {"caps": {"delta": 900.0}, "extreme": 1.05}
    layered, replaced = breaches(constrained(Shares(), read_only(hold=0, flatten=3), limits))
    previewed, _ = breaches(constrained(Shares()))
    assert bare > 0.5
    assert 0.0 < layered < 0.2 * bare
    assert replaced > 0
    assert previewed == 0.0


def test_with_no_known_action_the_account_is_only_watched():
    env = constrained(Shares(), read_only())
    bare, _ = breaches(Shares())
    layered, replaced = breaches(env)
    assert (layered, replaced) == (bare, 0)
    assert env.assessment.breached == ("delta",)


def test_once_a_cap_is_broken_hold_replaces_what_is_not_known():
    env = constrained(Shares(), read_only(hold=0, flatten=3))
    env.reset(seed=0)
    for _ in range(10):
        env.step(1)
    assert env.unwrapped.held[SPY] == 1_000.0
    assert env.action_masks().tolist() == [True, False, False, True]
    *_, info = env.step(2)  # would reduce, and that is not known
    assert int(info["executed_action"]) == 0
    assert info["intervened"] == 1
    *_, info = env.step(3)
    assert info["intervened"] == 0
    assert env.unwrapped.held[SPY] == 0.0


# --- menus ----------------------------------------------------------------------------------------


def test_a_menu_in_one_go_is_the_menu_row_by_row():
    adapter, env = shares_adapter(), state(spy=300.0, qqq=5.0)
    rows = adapter.preview_all(env)
    assert rows.tolist() == [[0.0, 0.0], [0.0, 100.0], [0.0, -100.0], [0.0, -300.0]]
    for k, row in enumerate(rows):
        assert adapter.preview(env, k).tolist() == row.tolist()
    rows[:] = 7.0
    assert adapter.preview_all(env)[1].tolist() == [0.0, 100.0]


def test_a_slot_is_looked_up_at_every_step():
    table = delta_one_table("SPY", "QQQ")
    adapter = MenuAdapter(
        Reader(table, lambda e: e.held, lambda e: e.cash, traps.market),
        [{}, {"near": 2.0, SPY: 1.0}],
        slots=lambda e: {"near": e.near},
    )
    assert adapter.preview(state(near=QQQ), 1).tolist() == [2.0, 1.0]
    assert adapter.preview(state(near=SPY), 1).tolist() == [0.0, 3.0]
    for near, row in ((QQQ, [2.0, 1.0]), (SPY, [0.0, 3.0]), (QQQ, [2.0, 1.0])):
        assert adapter.preview_all(state(near=near))[1].tolist() == row


def test_a_table_that_changes_changes_the_rows():
    tables = {"two": delta_one_table("SPY", "QQQ"), "one": delta_one_table("SPY")}
    adapter = MenuAdapter(
        Reader(lambda e: tables[e.now], lambda e: {}, lambda e: 0.0, traps.market), [{}, {SPY: 1.0}]
    )
    for now, row in (("two", [0.0, 1.0]), ("one", [1.0]), ("two", [0.0, 1.0])):
        assert adapter.preview_all(state(now=now))[1].tolist() == row


@pytest.mark.parametrize(
    ("trades", "proposed", "row"),
    [
        ([0.0, 100.0], None, 1),
        ([0.0, -100.0], 2, 2),
        ([0.0, -100.0], 3, 3),  # of two rows alike, the proposed one
        ([0.0, -100.0], None, 2),
        ([0.0, 50.0], 1, None),
        ([1.0, 100.0], 1, None),
    ],
)
def test_a_menu_encodes_what_a_row_trades_exactly(trades, proposed, row):
    assert shares_adapter().encode(state(spy=100.0), np.array(trades), proposed) == row


def test_a_menu_may_start_elsewhere():
    adapter = shares_adapter()
    env = state(spy=100.0, action_space=spaces.Discrete(4, start=-2))
    assert adapter.preview(env, -1).tolist() == [0.0, 100.0]
    assert adapter.encode(env, np.array([0.0, 100.0]), None) == -1
    assert adapter.fallbacks(env) == [-2]
    with pytest.raises(ValueError, match="action: got 3"):
        adapter.preview(env, 3)


# --- target positions -----------------------------------------------------------------------------


def targets(size=(1_000.0, 50.0), **more):
    return TargetPositionAdapter(traps.READER, [SPY, QQQ], size, **more)


@pytest.mark.parametrize(
    ("action", "trades"),
    [
        ([0.0, 0.0], [-7.0, -300.0]),
        ([0.3, 0.14], [0.0, 0.0]),
        ([1.0, -1.0], [-57.0, 700.0]),
        ([0.3001, 0.15], [1.0, 0.0]),  # 300.1 rounds to 300, 7.5 to 8
    ],
)
def test_the_way_to_a_target_is_what_is_traded(action, trades):
    assert targets().preview(state(spy=300.0, qqq=7.0), action).tolist() == trades


@pytest.mark.parametrize("whole_lots", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_encoding_a_preview_gives_it_back(whole_lots, dtype):
    adapter = targets(traits=Traits(whole_lots=whole_lots))
    env = state(spy=300.0, qqq=7.0, action_space=spaces.Box(-1.0, 1.0, (2,), dtype))
    draw = np.random.default_rng(0)
    for _ in range(50):
        action = draw.uniform(-1.0, 1.0, 2).astype(dtype)
        trades = adapter.preview(env, action)
        encoded = adapter.encode(env, trades, action)
        assert encoded.dtype == dtype
        np.testing.assert_allclose(adapter.preview(env, encoded), trades, atol=1e-3)
        linear = adapter.linear(env).of(action)
        np.testing.assert_allclose(linear, trades, atol=0.5 if whole_lots else 1e-9)


def test_a_target_beyond_the_box_is_not_expressible():
    env = state(action_space=spaces.Box(-1.0, 1.0, (2,), np.float64))
    assert targets().encode(env, np.array([0.0, 1_001.0]), None) is None
    assert targets().encode(env, np.array([0.0, 1_000.0]), None).tolist() == [1.0, 0.0]


def test_fallbacks_hold_halve_and_flatten():
    env = state(spy=300.0, qqq=7.0, action_space=spaces.Box(-1.0, 1.0, (2,), np.float64))
    adapter = targets()
    trades = [adapter.preview(env, action).tolist() for action in adapter.fallbacks(env)]
    assert trades == [[0.0, 0.0], [-3.0, -150.0], [-7.0, -300.0]]


def test_what_is_outside_the_slots_is_left_alone():
    adapter = TargetPositionAdapter(traps.READER, lambda env: [SPY], 10.0)
    assert adapter.preview(state(spy=3.0, qqq=7.0), [1.0]).tolist() == [0.0, 7.0]
    assert adapter.encode(state(qqq=7.0), np.array([-7.0, 0.0]), None) is None


def test_two_slots_on_one_contract_add_up():
    adapter = TargetPositionAdapter(traps.READER, [SPY, SPY], 10.0)
    assert adapter.preview(state(spy=3.0), [1.0, 0.5]).tolist() == [0.0, 12.0]
    assert adapter.encode(state(spy=3.0), np.array([0.0, 1.0]), None) is None
    assert adapter.linear(state(spy=3.0)).of([1.0, 0.5]).tolist() == [0.0, 12.0]


def test_any_function_may_say_the_target():
    adapter = TargetPositionAdapter(
        traps.READER, target=lambda env, action: {SPY: action * env.cash / env.price}
    )
    assert adapter.preview(state(spy=1.0), 0.8).tolist() == [0.0, 1.0]
    assert adapter.linear(state()) is None
    assert adapter.encode(state(), np.zeros(2), 0.5) is None


class Targets(traps.Shares):
    """Trades to a target of up to 1,500 SPY either way."""

    def __init__(self):
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def lots(self, action):
        return {SPY: float(np.rint(1_500.0 * float(action[0]))) - self.held[SPY]}


def test_the_layer_keeps_a_target_env_inside_its_cap():
    adapter = TargetPositionAdapter(traps.READER, [SPY], 1_500.0, sessions=traps.SESSIONS)
    env = constrained(Targets(), adapter)
    env.reset(seed=0)
    draw = np.random.default_rng(0)
    unchanged = bare_outside = 0
    for _ in range(60):
        action = draw.uniform(-1.0, 1.0, 1).astype(np.float32)
        bare_outside += abs(1_500.0 * action[0]) > 900.5
        *_, info = env.step(action)
        unchanged += not info["intervened"]
        assert abs(env.unwrapped.held[SPY]) <= 900.0
    assert bare_outside > 10
    assert unchanged > 18


# --- order lists ----------------------------------------------------------------------------------


def test_orders_of_one_contract_add_up():
    adapter = OrderListAdapter(traps.READER, lambda env, action: action)
    trades = adapter.preview(state(), [(SPY, 5.0), (QQQ, 1.0), (SPY, -2.0)])
    assert trades.tolist() == [1.0, 3.0]
    with pytest.raises(ValueError, match="IWM"):
        adapter.preview(state(), [(Instrument("IWM"), 1.0)])


def test_encoding_sends_one_order_for_each_contract_traded():
    adapter = OrderListAdapter(
        traps.READER, lambda env, action: action, encode=lambda env, lines, proposed: lines
    )
    assert adapter.encode(state(), np.array([0.0, -2.0]), None) == [(SPY, -2.0)]
    assert adapter.encode(state(), np.zeros(2), None) == []


def test_fallbacks_may_depend_on_the_env():
    adapter = OrderListAdapter(
        traps.READER, nothing, fallbacks=lambda env: [[], [(SPY, -env.held[SPY])]]
    )
    assert adapter.fallbacks(state(spy=2.0)) == [[], [(SPY, -2.0)]]


# --- plain functions ------------------------------------------------------------------------------


def test_a_linear_env_needs_a_matrix_alone():
    adapter = CallableAdapter(
        lambda env, obs, info: traps.READER.read(env),
        linear=lambda env: LinearTrades(np.array([[0.0, 100.0]]), np.zeros(2)),
        fallbacks=[np.zeros(1)],
        sessions=traps.SESSIONS,
    )
    assert adapter.preview(None, [0.256]).tolist() == [0.0, 26.0]
    assert adapter.preview(None, [-0.001]).tolist() == [0.0, 0.0]
    env = constrained(traps.BoxShares(), adapter)
    env.reset(seed=0)
    for _ in range(30):
        env.step(np.array([3.0]))
    assert 600.0 <= env.unwrapped.held[SPY] <= 900.0


# --- delta one ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((delta_one_table("SPY"), 0, [1.0, 2.0], 0.0), "spot: got shape"),
        ((traps.resorted_adapter().reader.table, 0, [1.0], 0.0), "underlyings alone"),
    ],
)
def test_a_market_of_shares_refuses_what_is_none(arguments, named):
    with pytest.raises(ValueError, match=named):
        delta_one_market(*arguments)


def test_a_price_that_is_none_is_unknown():
    market = delta_one_market(delta_one_table("SPY", "QQQ"), 0, [np.nan, 400.0], 0.01)
    assert list(market.unknown) == ["QQQ"]


def test_bars_become_sessions_of_any_unit():
    days = np.array(["2020-01-02", "2020-01-03", "2020-01-06"], "datetime64[D]")
    sessions = bar_sessions(days)
    assert sessions.closes.tolist() == days.astype("datetime64[ns]").astype(np.int64).tolist()
    assert sessions.opens[1:].tolist() == sessions.closes[:-1].tolist()
    assert sessions.session_of(int(sessions.closes[0])) == 0
    with pytest.raises(ValueError, match="times: got shape"):
        bar_sessions(days[:1])


# --- old Gym --------------------------------------------------------------------------------------


class Old:
    """The interface of Gym before 0.26, one buffer for its observations."""

    def __init__(self, done_after=3, info=None):
        kinds = {"n": 4, "shape": (), "dtype": np.int64}
        self.action_space = type("Discrete", (), kinds)()
        box = {"low": np.zeros(2, np.float32), "high": np.ones(2, np.float32)}
        self.observation_space = type("Box", (), box | {"dtype": np.dtype(np.float32)})()
        self.buffer, self.done_after = np.zeros(2, np.float32), done_after
        self.info, self.seeds = info or {}, []

    def seed(self, seed):
        self.seeds.append(seed)

    def reset(self):
        self.count = 0
        self.buffer[:] = 0.0
        return self.buffer

    def step(self, action):
        self.count += 1
        self.buffer += 0.1
        return self.buffer, 1, self.count == self.done_after, self.info


@pytest.mark.parametrize(
    ("info", "ends"),
    [({}, (True, False)), ({"TimeLimit.truncated": True}, (False, True))],
)
def test_an_old_env_gets_the_present_interface(info, ends):
    old = Old(info=info)
    env = OldGymEnv(old)
    assert env.action_space == spaces.Discrete(4)
    first, _ = env.reset(seed=5)
    env.reset()
    assert old.seeds == [5]
    second = env.step(0)
    assert second[2:4] == (False, False)
    env.step(0)
    assert env.step(0)[2:4] == ends
    assert first.tolist() == [0.0, 0.0]
    np.testing.assert_allclose(second[0], 0.1)
    assert env.observation_space.contains(second[0])


def test_an_old_space_of_another_kind_is_refused():
    old = Old()
    old.action_space = type("Graph", (), {})()
    with pytest.raises(ConfigError, match="Graph; allowed: a space of Gymnasium"):
        OldGymEnv(old)


# --- all of them ---------------------------------------------------------------------------------

SHIPPED = (AccountAdapter, CallableAdapter, MenuAdapter, OrderListAdapter, TargetPositionAdapter)


@pytest.mark.parametrize("adapter", SHIPPED)
def test_each_has_an_example_short_enough_to_read(adapter):
    lines = [
        line for line in adapter.__doc__.splitlines() if line.strip().startswith((">>>", "..."))
    ]
    assert 0 < len(lines) < 25  # it runs with the docstrings


def test_adapters_made_of_module_functions_are_pickled():
    adapter = TargetPositionAdapter(
        Reader(delta_one_table("SPY", "QQQ"), held_of, cash_of, traps.market), [SPY], 10.0
    )
    again = pickle.loads(pickle.dumps(adapter))
    assert again.preview(state(spy=3.0), [1.0]).tolist() == [0.0, 7.0]


def held_of(env):
    return env.held


def cash_of(env):
    return env.cash


def test_an_adapter_is_shared_by_envs_and_keeps_none_of_them():
    adapter = shares_adapter()
    one, other = (constrained(Shares(), adapter) for _ in range(2))
    one.reset(seed=0)
    other.reset(seed=0)
    for _ in range(8):
        one.step(1)
    assert not one.action_masks()[1] or one.unwrapped.held[SPY] < 900.0
    assert other.action_masks().all()
    assert adapter.preview(other.env, 3).tolist() == [0.0, 0.0]
    assert adapter.preview(one.env, 3).tolist() == [0.0, -800.0]


def test_readers_see_through_inner_wrappers():
    env = RiskConstrainedEnv(
        gymnasium.wrappers.TimeLimit(Shares(), 5), traps.LIMITS, adapter=shares_adapter()
    )
    env.reset(seed=0)
    for _ in range(5):
        *_, truncated, _ = env.step(1)
    assert truncated
    assert env.assessment.portfolio.positions() == {"SPY": 500.0}
