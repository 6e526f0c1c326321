"""Envs and adapters that do other than they say, in ways that a check must not be talked out of.

A toy of two shares, A at 100 and B at 50, for which anything is declared that could excuse it.
"""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces
from riskenv.wrappers import (
    Adapter,
    RiskConstrainedEnv,
    Traits,
    bar_sessions,
    delta_one_market,
    delta_one_table,
)

from riskenv import Portfolio

TABLE = delta_one_table("A", "B")
SESSIONS = bar_sessions(86_400_000_000_000 * np.arange(1, 600))
MENU = np.array([(0, 0), (100, 0), (-100, 0), (0, 200), (0, -200)], dtype=float)


class Toy(gymnasium.Env):
    """Trades at the price shown, then the price moves."""

    observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float64)
    rows = MENU
    start = (0.0, 0.0)

    def __init__(self, space=None):
        self.action_space = spaces.Discrete(len(self.rows)) if space is None else space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.day, self.cash, self.price = 3, 1e6, np.array([100.0, 50.0])
        self.pos = np.array(self.start)
        return self.observation(), {}

    def observation(self):
        return np.concatenate((self.pos, self.price))

    def trades(self, action):
        if isinstance(self.action_space, spaces.Discrete):
            return self.rows[action]
        if isinstance(self.action_space, spaces.MultiDiscrete):
            return 100.0 * (np.asarray(action) - 3.0)
        return np.rint(1000.0 * np.asarray(action, dtype=float))

    def fill(self, trades):
        self.cash -= float(trades @ self.price)
        self.pos = self.pos + trades

    def after_fill(self):
        """What happens unasked."""

    def step(self, action):
        self.fill(self.trades(action))
        self.price = self.price * np.exp(0.01 * self.np_random.standard_normal(2))
        self.after_fill()
        self.day += 1
        return self.observation(), 0.0, False, self.day == 400, {}


class ToyAdapter(Adapter):
    """What the toy does, if it does what it says."""

    def __init__(self, **traits):
        self.traits = Traits(**traits)

    def snapshot(self, env, obs, info):
        e = env.unwrapped
        now = int(SESSIONS.closes[e.day])
        return Portfolio(TABLE, e.pos, e.cash), delta_one_market(TABLE, now, e.price, 0.01)

    def preview(self, env, action):
        return env.unwrapped.trades(action)

    def fallbacks(self, env):
        if isinstance(env.action_space, spaces.MultiDiscrete):
            return [np.array([3, 3])]
        return [] if isinstance(env.action_space, spaces.Discrete) else [np.zeros(2, np.float32)]


def layered(env, adapter=None, cap=800.0, **arguments):
    limits = {"caps": {"gross_delta": cap}}
    adapter = ToyAdapter() if adapter is None else adapter
    return RiskConstrainedEnv(env, limits, adapter=adapter, sessions=SESSIONS, **arguments)


# --- fills that are not the preview ---------------------------------------------------------------


class Triples(Toy):
    def fill(self, trades):
        super().fill(3.0 * trades)


class Negates(Toy):
    def fill(self, trades):
        super().fill(-trades)


class IgnoresPurchases(Toy):
    def fill(self, trades):
        super().fill(np.minimum(trades, 0.0))


class Stops(Toy):
    """Honest: closes what has lost, also what was opened within the step."""

    def step(self, action):
        self.shown = self.price
        return super().step(action)

    def after_fill(self):
        lost = self.pos * (self.price - self.shown) < -60.0
        self.fill(-self.pos * lost)


class CallsMargin(Toy):
    """Honest: half of everything is sold once there is much of it."""

    def after_fill(self):
        if np.abs(self.pos) @ self.price > 60_000.0:
            self.fill(-np.rint(self.pos / 2.0))


class Clients(Toy):
    """Honest: clients trade a few of the shares that are asked for."""

    def after_fill(self):
        self.fill(np.array([float(self.np_random.integers(-7, 8)), 0.0]))


class FractionLater(Toy):
    """Honest: targets as a fraction of the equity, worked out once the price has moved."""

    def __init__(self):
        super().__init__(spaces.Box(-1.0, 1.0, (2,), np.float32))

    def trades(self, action):
        equity = self.cash + float(self.pos @ self.price)
        return np.asarray(action, dtype=float) * equity / self.price - self.pos

    def step(self, action):
        self.price = self.price * np.exp(0.01 * self.np_random.standard_normal(2))
        self.fill(self.trades(action))
        self.day += 1
        return self.observation(), 0.0, False, self.day == 400, {}


# --- cash that moves by itself --------------------------------------------------------------------


class PaysForHolding(Toy):
    def step(self, action):
        self.cash += 5e4 * (action == 0)
        return super().step(action)


class SecondStore(Toy):
    """Its last row sells something that the account does not show."""

    rows = np.concatenate((MENU[:-1], np.zeros((1, 2))))

    def step(self, action):
        self.cash += 1e5 * (action == 4)
        return super().step(action)


class EarnsInterest(Toy):
    """Honest."""

    def after_fill(self):
        self.cash *= 1.0 + 0.05 / 365.0


class PaysDividends(Toy):
    """Honest: 1 % of the shares of A now and then."""

    def after_fill(self):
        if self.day % 20 == 0:
            self.cash += 0.01 * float(self.pos[0] * self.price[0])


class SeesNothing(ToyAdapter):
    """Shows no position, ever, and previews none."""

    def snapshot(self, env, obs, info):
        book, market = super().snapshot(env, obs, info)
        return Portfolio(TABLE, np.zeros(2), book.cash), market

    def preview(self, env, action):
        return np.zeros(2)


# --- menus without a hold -------------------------------------------------------------------------


class NoHold(Toy):
    rows = MENU[1:]


class NoHoldHeld(NoHold):
    """Starts with shares, so that the layer does not refuse it at once."""

    start = (40.0, 0.0)


class Raises(Toy):
    """Takes no more than the caps let through."""

    def fill(self, trades):
        super().fill(trades)
        if np.abs(self.pos).sum() > 800.0:
            raise RuntimeError("margin exceeded")


# --- answers of the wrong form --------------------------------------------------------------------


class ThreeRows(ToyAdapter):
    def preview_all(self, env):
        return np.zeros((3, 2))


class Lists(ToyAdapter):
    def preview(self, env, action):
        return super().preview(env, action).tolist()


class Scalars(ToyAdapter):
    def preview(self, env, action):
        return 0.0


class Clipping(ToyAdapter):
    """Clips the action that it is given in place, as its env does, too."""

    def preview(self, env, action):
        np.clip(action, -0.2, 0.2, out=action)
        return super().preview(env, action)


class OneBuffer(ToyAdapter):
    def __init__(self):
        super().__init__()
        self.buffer = np.zeros(2)

    def preview(self, env, action):
        self.buffer[:] = super().preview(env, action)
        return self.buffer


class ClippedToy(Toy):
    def trades(self, action):
        return super().trades(np.clip(action, -0.2, 0.2))
