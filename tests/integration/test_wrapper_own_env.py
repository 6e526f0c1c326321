"""An env of your own inside the risk layer: everything that it takes, from the first line.

The env below knows nothing of riskenv. Its adapter says what is held, at what market, and what an
action would trade; `RiskConstrainedEnv` does the rest.
"""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from riskenv.data import exchange_sessions
from riskenv.wrappers import Adapter, RiskConstrainedEnv
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from riskenv import Instrument, InstrumentTable, Market, Portfolio

# --- an env ---------------------------------------------------------------------------------------

SESSIONS = exchange_sessions("2019-01-02", "2020-06-30")
EXPIRY = int(SESSIONS.closes[-1])
STRIKES = np.array([100.0, 50.0])


class TwoTickers(gymnasium.Env):
    """A share and a call on each of two tickers; 10 lots of either call a step at |action| = 1."""

    observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.day, self.spot = 0, np.array([100.0, 50.0])
        self.calls, self.cash = np.zeros(2), 100_000.0
        return self.observation(), {}

    def observation(self):
        return np.r_[self.spot / 100.0, self.calls / 100.0].astype(np.float32)

    def lots(self, action):
        return np.rint(10.0 * np.asarray(action, dtype=float))

    def step(self, action):
        before = self.cash + self.calls @ self.call_price() * 100.0
        self.calls += self.lots(action)
        self.cash -= self.lots(action) @ self.call_price() * 100.0
        self.spot = self.spot * np.exp(0.01 * self.np_random.standard_normal(2))
        self.day += 1
        after = self.cash + self.calls @ self.call_price() * 100.0
        return self.observation(), float(after - before), False, self.day == 100, {}

    def call_price(self):
        # A crude rule will do for an example, but not one below the intrinsic value.
        return np.maximum(self.spot - STRIKES, 0.0) + 0.1 * self.spot


# --- its adapter ----------------------------------------------------------------------------------

SHARES = [Instrument("AAA"), Instrument("BBB")]
CALLS = [
    Instrument(ticker, "C", strike, EXPIRY, multiplier=100.0)
    for ticker, strike in zip(("AAA", "BBB"), STRIKES, strict=True)
]
TABLE = InstrumentTable.of([*SHARES, *CALLS])  # canonical order: AAA, its call, BBB, its call


class TwoTickersAdapter(Adapter):
    def snapshot(self, env, obs, info):
        base = env.unwrapped
        price = np.stack([base.spot, base.call_price()], axis=1).ravel()
        market = Market(
            now=int(SESSIONS.closes[base.day]),
            table=TABLE,
            spot=base.spot,
            rate=0.02,
            dividend_yield=np.zeros(2),
            bid=0.99 * price,
            ask=1.01 * price,
            vol=np.array([0.0, 0.25, 0.0, 0.25]),
        )
        held = dict(zip(CALLS, base.calls, strict=True))
        return Portfolio.of(TABLE, held, base.cash), market

    def preview(self, env, action):
        trades = np.zeros(4)
        trades[[1, 3]] = env.unwrapped.lots(action)
        return trades


# --- inside the layer -----------------------------------------------------------------------------


def make(**arguments):
    limits = {"caps": {"delta": 1_500.0, "vega": 400.0}}
    return RiskConstrainedEnv(
        TwoTickers(), limits, adapter=TwoTickersAdapter(), sessions=SESSIONS, **arguments
    )


def test_a_policy_that_always_buys_stops_at_the_cap():
    env = make()
    env.reset(seed=0)
    everything, intervened = np.ones(2, dtype=np.float32), 0
    for _ in range(50):
        *_, info = env.step(everything)
        intervened += info["intervened"]
        assert abs(env.last_decision.after[0]) <= 1_500.0 or not env.last_decision.trades.any()
        assert env.last_decision.active == ()
    assert intervened > 30
    assert env.unwrapped.calls.sum() > 0.0  # it was let buy something
    assert env.last_decision.reasons[0].words.startswith("delta would be")


def test_both_checkers_accept_it():
    check_env(make(observe_risk=True), skip_render_check=True)
    sb3_check_env(make(observe_risk=True), warn=False)


def test_without_fallbacks_hold_is_what_blocks():
    env = make()
    env.reset(seed=0)
    env.unwrapped.calls[:] = 40.0  # far outside every cap, behind the layer's back
    env._assess(*_read(env))
    *_, info = env.step(np.ones(2, dtype=np.float32))
    assert env.last_decision.trades.tolist() == [0.0] * 4
    assert info["executed_action"].tolist() == [0.0, 0.0]
    assert env.last_decision.active == ()


def test_without_fallbacks_or_encode_the_request_itself_may_reduce():
    env = make()
    env.reset(seed=0)
    env.unwrapped.calls[:] = 12.0
    env._assess(*_read(env))
    assert env.assessment.breached
    *_, info = env.step(np.full(2, -0.5, dtype=np.float32))
    assert info["intervened"] == 0
    assert env.unwrapped.calls.tolist() == [7.0, 7.0]


def _read(env):
    return env.unwrapped.observation(), {}


# --- the same on a menu, whose first row is not 0 and does not hold -------------------------------


class MenuOfTwo(TwoTickers):
    """-2 sells five lots of both calls, -1 buys five of AAA, 0 holds, 1 buys five of BBB."""

    action_space = spaces.Discrete(4, start=-2)
    ROWS = {-2: (-0.5, -0.5), -1: (0.5, 0.0), 0: (0.0, 0.0), 1: (0.0, 0.5)}

    def lots(self, action):
        if action not in self.ROWS:
            raise ValueError(f"action: got {action!r}")
        return super().lots(self.ROWS[action])


def menu(**arguments):
    limits = {"caps": {"delta": 1_500.0}}
    return RiskConstrainedEnv(
        MenuOfTwo(), limits, adapter=TwoTickersAdapter(), sessions=SESSIONS, **arguments
    )


def test_a_menu_may_start_below_zero_and_be_previewed_row_by_row():
    env = menu()
    env.reset(seed=0)
    closed = 0
    for step in range(40):
        mask = env.action_masks()
        assert mask.shape == (4,)
        assert mask[2]  # hold
        asked = (-1, 1, -1)[step % 3]
        *_, info = env.step(asked)
        assert info["intervened"] == (not mask[asked + 2])
        assert int(info["executed_action"]) in MenuOfTwo.ROWS
        closed += int((~mask).sum())
    assert closed > 0


@pytest.mark.parametrize("garbage", [2, -3, float("nan"), None, "hold", 0.5])
def test_hold_is_the_row_that_trades_nothing_not_the_first_one(garbage):
    env = menu()
    env.reset(seed=0)
    *_, info = env.step(garbage)
    assert int(info["executed_action"]) == 0
    assert info["intervened"] == 1
    assert env.unwrapped.calls.tolist() == [0.0, 0.0]


def test_a_mask_stays_exact_where_no_row_is_good_enough():
    # Far above the extreme level: no row of this menu brings the book back in one step.
    for calls in ([60.0, 60.0], [60.0, 0.0], [-60.0, -60.0]):
        env = menu()
        env.reset(seed=0)
        env.unwrapped.calls[:] = calls
        env._assess(*_read(env))
        mask = env.action_masks()
        assert mask.any()
        executed = []
        for choice in range(-2, 2):
            twin = menu()
            twin.reset(seed=0)
            twin.unwrapped.calls[:] = calls
            twin._assess(*_read(twin))
            *_, info = twin.step(choice)
            assert info["intervened"] == (not mask[choice + 2])
            executed.append(int(info["executed_action"]))
            assert twin.last_decision.active == ()
        assert mask[np.array(executed) + 2].all()
