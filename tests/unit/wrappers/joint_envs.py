"""Two shares traded through each kind of joint action space, and one adapter for them all."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces
from riskenv.wrappers import Adapter, RiskConstrainedEnv

from .trap_envs import QQQ, READER, SESSIONS, SPY, Shares

# The order of the table.
ORDER = (QQQ, SPY)


class Joint(Shares):
    """Subclasses say what an action trades: `sizes(action) -> (lots of SPY, lots of QQQ)`."""

    def __init__(self, start=0.0):
        self.start = start
        self.observation_space = spaces.Dict({"price": spaces.Box(0.0, np.inf, (1,), np.float64)})

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.start == "drawn":
            self.held[SPY] = 100.0 * float(self.np_random.integers(0, 30))
        else:
            self.held[SPY] = float(self.start)
        return self.observation(), {}

    def observation(self):
        return {"price": np.array([self.price])}

    def lots(self, action):
        return {i: 100.0 * float(n) for i, n in zip((SPY, QQQ), self.sizes(action), strict=True)}


class Slots(Joint):
    """Each from -3 to +3."""

    HOLD = np.array([3, 3])

    def __init__(self, start=0.0):
        super().__init__(start)
        self.action_space = spaces.MultiDiscrete([7, 7])

    def sizes(self, action):
        return np.asarray(action) - 3.0


class ManySlots(Joint):
    """Ten slots of SPY, each from -1 to +1 lot."""

    HOLD = np.ones(10, dtype=np.int64)

    def __init__(self, start=0.0):
        super().__init__(start)
        self.action_space = spaces.MultiDiscrete([3] * 10)

    def sizes(self, action):
        return np.sum(action) - 10.0, 0.0


class Bits(Joint):
    """Buy and sell one lot of each."""

    HOLD = np.zeros(4, dtype=np.int8)

    def __init__(self, start=0.0):
        super().__init__(start)
        self.action_space = spaces.MultiBinary(4)

    def sizes(self, action):
        bits = np.asarray(action, dtype=float)
        return bits[0] - bits[1], bits[2] - bits[3]


class Parts(Joint):
    """A side for SPY with a size, and lots of QQQ by themselves."""

    def __init__(self, start=0.0):
        super().__init__(start)
        self.action_space = spaces.Dict(
            {
                "side": spaces.Discrete(3),
                "size": spaces.Box(0.0, 9.0, (1,), np.float32),
                "qqq": spaces.MultiDiscrete([5]),
            }
        )
        self.HOLD = {
            "side": 0,
            "size": np.zeros(1, dtype=np.float32),
            "qqq": np.array([2]),
        }

    def sizes(self, action):
        side = (0.0, 1.0, -1.0)[int(action["side"])]
        return side * np.rint(float(action["size"][0])), float(action["qqq"][0]) - 2.0


class Nested(Joint):
    """A Dict in a Dict, with a Box in each: a side and size of SPY, lots of QQQ and a fraction."""

    def __init__(self, start=0.0):
        super().__init__(start)
        order = {"side": spaces.Discrete(3), "size": spaces.Box(0.0, 9.0, (1,), np.float32)}
        hedge = {"lots": spaces.Box(-5.0, 5.0, (), np.float64), "on": spaces.MultiBinary(1)}
        self.action_space = spaces.Dict({"spy": spaces.Dict(order), "qqq": spaces.Dict(hedge)})
        self.HOLD = {
            "spy": {"side": 0, "size": np.zeros(1, dtype=np.float32)},
            "qqq": {"lots": np.array(0.0), "on": np.zeros(1, dtype=np.int8)},
        }

    def sizes(self, action):
        side = (0.0, 1.0, -1.0)[int(action["spy"]["side"])]
        hedge = float(action["qqq"]["on"][0]) * np.rint(float(action["qqq"]["lots"]))
        return side * np.rint(float(action["spy"]["size"][0])), hedge


class JointAdapter(Adapter):
    """Previews; `encodes` says whether it can also be told what to trade."""

    def snapshot(self, env, obs, info):
        return READER.read(env)

    def preview(self, env, action):
        lots = env.unwrapped.lots(action)
        return np.array([lots[i] for i in ORDER])

    def fallbacks(self, env):
        return [env.unwrapped.HOLD]

    def sessions(self, env):
        return SESSIONS


class EncodingAdapter(JointAdapter):
    """Of slots only."""

    def encode(self, env, trades, proposed):
        lots = dict(zip(ORDER, np.asarray(trades) / 100.0, strict=True))
        return np.array([lots[SPY], lots[QQQ]]).astype(int) + 3


KINDS = (Slots, ManySlots, Bits, Parts, Nested)
DELTA = 450.0


def constrained(kind, adapter=None, start=0.0, **arguments):
    limits = {"caps": {"gross_delta": DELTA}}
    env = kind(start)
    return RiskConstrainedEnv(env, limits, adapter=adapter or JointAdapter(), **arguments)
