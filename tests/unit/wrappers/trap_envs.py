"""Small envs, each with one trap that real ones have, and the adapter a hasty user would write.

All trade one or two things whose price walks, so that a test can say by hand what is right.
"""

from __future__ import annotations

import dataclasses

import gymnasium
import numpy as np
from gymnasium import spaces
from riskenv.wrappers import (
    Adapter,
    MenuAdapter,
    Reader,
    RiskConstrainedEnv,
    TargetPositionAdapter,
    Traits,
    bar_sessions,
    delta_one_market,
    delta_one_table,
)

from riskenv import Instrument, InstrumentTable, Market

DAY = 86_400_000_000_000
START = 1_577_980_800_000_000_000
SESSIONS = bar_sessions(START + DAY * np.arange(400))
SPY, QQQ = Instrument("SPY"), Instrument("QQQ")
LIMITS = {"caps": {"delta": 900.0}}


class Shares(gymnasium.Env):
    """No trap: 0 holds, 1 buys 100 SPY, 2 sells 100, 3 closes; trades fill at the price shown."""

    action_space = spaces.Discrete(4)
    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)

    def __init__(self):
        self.action_space = spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.day, self.price, self.cash = 0, 400.0, 100_000.0
        self.held = {SPY: 0.0, QQQ: 0.0}
        return self.observation(), {}

    def observation(self):
        return np.array([self.price, self.held[SPY]])

    def lots(self, action):
        return {SPY: (0.0, 100.0, -100.0, -self.held[SPY])[action]}

    def fill(self, lots):
        for instrument, quantity in lots.items():
            self.held[instrument] += quantity
            self.cash -= quantity * self.price

    def advance(self):
        self.day += 1
        self.price *= float(np.exp(0.02 * self.np_random.standard_normal()))

    def step(self, action):
        self.fill(self.lots(action))
        self.advance()
        return self.observation(), 0.0, False, self.day == 90, {}


def market(env, table):
    return delta_one_market(table, SESSIONS.closes[env.day], [env.price] * len(table), 0.0)


READER = Reader(
    table=delta_one_table("SPY", "QQQ"),
    held=lambda env: env.held,
    cash=lambda env: env.cash,
    market=market,
)
MENU = [{}, {SPY: 100.0}, {SPY: -100.0}, lambda env: {SPY: -env.held[SPY]}]


def shares_adapter(**arguments):
    return MenuAdapter(READER, MENU, sessions=SESSIONS, **arguments)


def constrained(env, adapter=None, limits=LIMITS):
    return RiskConstrainedEnv(env, limits, adapter=adapter or shares_adapter())


# --- the account does what no action asked, or not what one did -----------------------------------


class IgnoresOpens(Shares):
    """An open is silently ignored while a position is held."""

    def fill(self, lots):
        if not (any(self.held.values()) and any(lots.values())):
            super().fill(lots)


class ClientFlow(Shares):
    """Clients trade with the book at any time."""

    def step(self, action):
        if self.np_random.random() < 0.3:
            self.held[QQQ] += 7.0
        return super().step(action)


class StopsInside(Shares):
    """A stop closes the position inside `step` once the price has moved against it."""

    def step(self, action):
        before = self.price
        result = super().step(action)
        if self.held[SPY] * (self.price - before) < -50.0:
            self.fill({SPY: -self.held[SPY]})
        return result


class CutsSizes(Shares):
    """Buys what the cash is good for, without a word."""

    def fill(self, lots):
        super().fill({i: min(q, max(self.cash, 0.0) // self.price) for i, q in lots.items()})


class MovesFirst(Shares):
    """The market advances before the trade fills."""

    def step(self, action):
        lots = self.lots(action)
        self.advance()
        self.fill(lots)
        return self.observation(), 0.0, False, self.day == 90, {}


class BooksPremiumElsewhere(Shares):
    """What is sold is booked as reward, and not as cash."""

    def fill(self, lots):
        for instrument, quantity in lots.items():
            self.held[instrument] += quantity


# --- options, by slot and by place in a list ------------------------------------------------------


class Restruck(gymnasium.Env):
    """Targets for two calls, at the money and above; the slots are struck anew every day while
    the quantities in them stay."""

    def __init__(self):
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float64)
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.day, self.price, self.cash, self.lots = 0, 400.0, 0.0, np.zeros(2)
        return np.array([self.price]), {}

    def contracts(self):
        strikes = 5.0 * np.round(self.price / 5.0) + np.array([0.0, 10.0])
        expiry = int(SESSIONS.closes[self.day + 30])
        return [Instrument("SPY", "C", strike, expiry, 100.0) for strike in strikes]

    def step(self, action):
        lots = np.rint(10.0 * np.asarray(action))
        self.pay(dict(zip(self.contracts(), lots - self.lots, strict=True)))
        self.lots = lots
        return self.advance()

    def pay(self, trades):
        self.cash -= 100.0 * sum(lots * fair(self, i) for i, lots in trades.items())

    def advance(self):
        self.day += 1
        self.price *= float(np.exp(0.02 * self.np_random.standard_normal()))
        return np.array([self.price]), 0.0, False, self.day == 90, {}


def fair(env, instrument):
    sign = {"": 0.0, "C": 1.0, "P": -1.0}[instrument.right]
    return max(sign * (env.price - instrument.strike), 0.0) + 10.0 if sign else env.price


def option_market(env, table):
    price = np.array([fair(env, instrument) for instrument in table.instruments])
    return Market(
        now=int(SESSIONS.closes[env.day]),
        table=table,
        spot=np.array([env.price]),
        rate=0.0,
        dividend_yield=np.zeros(1),
        bid=0.99 * price,
        ask=1.01 * price,
        vol=np.full(len(table), 0.2),
    )


def restruck_adapter(**arguments):
    return TargetPositionAdapter(
        Reader(
            table=lambda env: InstrumentTable.of([SPY, *env.contracts()]),
            held=lambda env: dict(zip(env.contracts(), env.lots, strict=True)),
            cash=lambda env: env.cash,
            market=option_market,
        ),
        targets=lambda env: env.contracts(),
        size=10.0,
        sessions=SESSIONS,
        **arguments,
    )


def by_slot_adapter():
    """Takes the two slots for two contracts, those of the first day."""
    expiry = int(SESSIONS.closes[200])
    slots = [Instrument("SPY", "C", strike, expiry, 100.0) for strike in (400.0, 410.0)]

    def market_of_slots(env, table):
        shown = option_market(env, InstrumentTable.of([SPY, *env.contracts()]))
        return dataclasses.replace(shown, table=table)

    return TargetPositionAdapter(
        Reader(
            table=InstrumentTable.of([SPY, *slots]),
            held=lambda env: dict(zip(slots, env.lots, strict=True)),
            cash=lambda env: env.cash,
            market=market_of_slots,
        ),
        targets=slots,
        size=10.0,
        sessions=SESSIONS,
    )


class Resorted(Restruck):
    """0 holds, 1 buys the call, 2 the put, 3 and 4 close the first and the second position: of a
    list that `step` sorts by profit before it looks."""

    OPEN = tuple(
        Instrument("SPY", right, 400.0, int(SESSIONS.closes[200]), 100.0) for right in "CP"
    )

    def __init__(self):
        super().__init__()
        self.action_space = spaces.Discrete(5)

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        self.legs = []
        return obs, info

    def step(self, action):
        self.legs.sort(key=lambda leg: (leg[0].right == "C") == (self.price > 400.0))
        if action in (1, 2):
            self.legs.append((self.OPEN[action - 1], float(action)))
            self.pay(dict(self.legs[-1:]))
        elif action in (3, 4) and len(self.legs) > action - 3:
            instrument, lots = self.legs.pop(action - 3)
            self.pay({instrument: -lots})
        return self.advance()


def resorted_held(env):
    held = {}
    for instrument, lots in env.legs:
        held[instrument] = held.get(instrument, 0.0) + lots
    return held


def closes(place):
    return lambda env: {env.legs[place][0]: -env.legs[place][1]} if len(env.legs) > place else {}


def resorted_adapter():
    call, put = Resorted.OPEN
    return MenuAdapter(
        Reader(
            table=InstrumentTable.of([SPY, call, put]),
            held=resorted_held,
            cash=lambda env: env.cash,
            market=option_market,
        ),
        menu=[{}, {call: 1.0}, {put: 2.0}, closes(0), closes(1)],
        sessions=SESSIONS,
    )


# --- interfaces -----------------------------------------------------------------------------------


class SharedBuffer(Shares):
    """One observation array for ever."""

    def reset(self, *, seed=None, options=None):
        self.buffer = np.zeros(2)
        return super().reset(seed=seed)

    def observation(self):
        self.buffer[:] = super().observation()
        return self.buffer


class FourTuple(Shares):
    """`step` as before Gymnasium."""

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, terminated or truncated, info


class Unseeded(Shares):
    """Draws from NumPy's global generator."""

    def advance(self):
        super().advance()
        self.price *= float(np.exp(0.01 * np.random.standard_normal()))  # noqa: NPY002


class Unbounded(Shares):
    """Any number of shares, in a Box without bounds."""

    def __init__(self):
        self.action_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)

    def lots(self, action):
        return {SPY: 100.0 * float(np.rint(action[0]))}


class OwnSpace(spaces.Discrete):
    """Draws from NumPy's global generator."""

    def sample(self, *args, **kwargs):
        return int(np.random.randint(self.n))  # noqa: NPY002


class UnseededSpace(Shares):
    def __init__(self):
        self.action_space = OwnSpace(4)


class NewSpaceEachTime(Shares):
    action_space = property(lambda self: spaces.Discrete(4))

    def __init__(self):
        pass


# --- adapters that are wrong ----------------------------------------------------------------------


class Impure(MenuAdapter):
    """Its preview does what it should only say."""

    def preview(self, env, action):
        env.unwrapped.price *= 1.0001
        return super().preview(env, action)


class FastAndWrong(MenuAdapter):
    """Its rows in one go are ten times those it gives one by one."""

    def preview_all(self, env):
        return 10.0 * super().preview_all(env)


class Greedy(MenuAdapter):
    """Encodes a purchase as a larger one."""

    def encode(self, env, trades, proposed):
        return 1 if trades[0] == trades[1] == 0.0 else super().encode(env, trades, proposed)


class BoxShares(Unbounded):
    """The same, with bounds."""

    def __init__(self):
        self.action_space = spaces.Box(-3.0, 3.0, (1,), np.float64)


class BoxAdapter(Adapter):
    """What a Box of shares needs at least: it scales down, and cannot be told to reduce."""

    traits = Traits()

    def snapshot(self, env, obs, info):
        return READER.read(env)

    def preview(self, env, action):
        return np.array([0.0, 100.0 * np.rint(action[0])])

    def sessions(self, env):
        return SESSIONS


# --- wrappers outside the layer -------------------------------------------------------------------


class Reversed(gymnasium.ActionWrapper):
    """The agent's last row is the layer's first."""

    def action(self, action):
        return 3 - action


class Shuffled(gymnasium.Wrapper):
    """Says nothing of being an ActionWrapper."""

    def step(self, action):
        return self.env.step((action + 1) % 4)


class Fewer(gymnasium.ActionWrapper):
    def __init__(self, env):
        super().__init__(env)
        self.action_space = spaces.Discrete(2)

    def action(self, action):
        return action
