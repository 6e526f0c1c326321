"""gym-anytrading's stocks: a menu of two, where the market moves before the trade fills."""

from gym_anytrading.datasets import STOCKS_GOOGL
from gym_anytrading.envs import StocksEnv
from gym_anytrading.envs.trading_env import Positions
from riskenv.wrappers import (
    MenuAdapter,
    Reader,
    Traits,
    bar_sessions,
    delta_one_market,
    delta_one_table,
)

from riskenv import Instrument

GOOGL, SHARES, WINDOW = Instrument("GOOGL"), 100.0, 10
SESSIONS = bar_sessions(STOCKS_GOOGL.index)
LIMITS = {"caps": {"dollar_delta": 30_000.0}}


def make():
    return StocksEnv(STOCKS_GOOGL, window_size=WINDOW, frame_bound=(WINDOW, len(STOCKS_GOOGL)))


def shares(env):  # its "short" is flat: it earns nothing while prices fall
    return SHARES if env._position is Positions.Long else 0.0


def cash(env):  # it counts profit per share of closed trades alone
    return 100_000.0 + SHARES * env._total_reward - shares(env) * env.prices[env._last_trade_tick]


def market(env, table):
    now = SESSIONS.closes[env._current_tick]
    return delta_one_market(table, now, [env.prices[env._current_tick]], half_spread=0.05)


ADAPTER = MenuAdapter(
    Reader(delta_one_table("GOOGL"), lambda env: {GOOGL: shares(env)}, cash, market),
    menu=[lambda env: {GOOGL: -shares(env)}, lambda env: {GOOGL: SHARES - shares(env)}],
    sessions=SESSIONS,
    traits=Traits(fills="next"),
)
