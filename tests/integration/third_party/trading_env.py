"""gym-trading-env: a menu of fractions of the equity, fees and leverage in its own account."""

from gym_anytrading.datasets import STOCKS_GOOGL
from gym_trading_env.environments import TradingEnv
from riskenv.wrappers import (
    MenuAdapter,
    Reader,
    Traits,
    bar_sessions,
    delta_one_market,
    delta_one_table,
)

from riskenv import Instrument

GOOGL, FEE = Instrument("GOOGL"), 0.0005
FRACTIONS = [-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0]
PRICES = STOCKS_GOOGL.rename(columns=str.lower).assign(feature_close=lambda df: df.close)
SESSIONS = bar_sessions(STOCKS_GOOGL.index)
LIMITS = {"caps": {}, "of_equity": {"dollar_delta": 1.2}}


def make():  # a random first position comes from NumPy's global generator: no seed reaches it
    return TradingEnv(PRICES, FRACTIONS, trading_fees=FEE, initial_position=0.0, verbose=0)


def to(fraction):
    def trades(env):  # it trades only where the fraction that is *named* changes
        price, book = env._get_price(), env._portfolio
        bought = fraction * book.valorisation(price) / price - book.asset
        keeps = (1 - FEE) / (1 - FEE + FEE * fraction) if bought > 0 else 1 / (1 - FEE * fraction)
        return {GOOGL: 0.0 if fraction == env._position else bought * keeps}

    return trades


def market(env, table):
    return delta_one_market(table, SESSIONS.closes[env._idx], [env._get_price()], half_spread=0.05)


ADAPTER = MenuAdapter(
    Reader(delta_one_table("GOOGL"), lambda env: {GOOGL: env._portfolio.asset},
           lambda env: env._portfolio.fiat, market),
    menu=[to(fraction) for fraction in FRACTIONS],
    sessions=SESSIONS,
    traits=Traits(units="fraction_of_equity", whole_lots=False),
)  # fmt: skip
