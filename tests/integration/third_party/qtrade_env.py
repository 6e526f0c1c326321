"""qtrade: an action scheme makes orders, which a broker on margin fills after the bar has moved."""

from gym_anytrading.datasets import STOCKS_GOOGL
from gymnasium import spaces
from qtrade.core import Order
from qtrade.env import ActionScheme, TradingEnv
from riskenv.wrappers import (
    OrderListAdapter,
    Reader,
    Traits,
    bar_sessions,
    delta_one_market,
    delta_one_table,
)

from riskenv import Instrument

GOOGL, SIZES = Instrument("GOOGL"), (0, 10, -10, 25, -25)
PRICES = STOCKS_GOOGL.assign(change=STOCKS_GOOGL.Close.pct_change().fillna(0.0))
SESSIONS = bar_sessions(PRICES.index)
LIMITS = {"caps": {"delta": 60.0}}


class Sizes(ActionScheme):
    action_space = spaces.Discrete(len(SIZES))

    def get_orders(self, action, env):
        return [Order(size=SIZES[action])] if SIZES[action] else []


def make():
    return TradingEnv(PRICES, cash=1e6, margin_ratio=0.5, max_steps=1_000, action_scheme=Sizes())


def market(env, table):
    price = PRICES.Close.iloc[env.current_step]
    return delta_one_market(table, SESSIONS.closes[env.current_step], [price], half_spread=0.05)


def cash(env):  # its broker keeps what is unrealised apart, and pays nothing for what is held
    return env._broker.equity - env.position.size * PRICES.Close.iloc[env.current_step]


ADAPTER = OrderListAdapter(
    Reader(delta_one_table("GOOGL"), lambda env: {GOOGL: env.position.size}, cash, market),
    orders=lambda env, action: [(GOOGL, o.size) for o in env.action_scheme.get_orders(action, env)],
    fallbacks=[0], sessions=SESSIONS, traits=Traits(fills="next"),
)  # fmt: skip
