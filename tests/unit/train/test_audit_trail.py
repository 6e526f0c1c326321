"""The audit puts caps and event rules together by itself, and comes to what the layer enforced."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import riskenv.train
from riskenv.train.audit_trail import AuditTrail
from riskenv.train.demo_config import load_demo_config
from riskenv.wrappers import RiskConstrainedEnv

from riskenv import Event

assert riskenv.train

DAY = 86_400 * 10**9


def utc(text: str) -> int:
    return int(np.datetime64(text, "ns").astype(np.int64))


def meeting(time: str, **changes) -> Event:
    return Event("fomc", utc(time), **{"known_at": utc(time) - 40 * DAY} | changes)


# Held, called off the evening before, announced two closes before, of little importance, and at
# the very close.
EVENTS = (
    meeting("2008-09-16T18:15"),
    meeting("2008-09-30T18:15", withdrawn_at=utc("2008-09-29T22:00")),
    meeting("2008-10-14T18:15", known_at=utc("2008-10-10T23:00")),
    meeting("2008-10-28T18:15", importance="low"),
    meeting("2008-11-12T21:00"),
)
RULES = (
    {"event_type": "fomc", "sessions_before": 3, "sessions_after": 2, "cap_multiplier": 0.8},
    {"event_type": "fomc", "sessions_before": 2, "importance": "medium",
     "cap_multipliers": {"vega": 0.4, "gap_loss": 0.6}, "gap_log_return": 0.03},
    {"event_type": "fomc", "sessions_before": 1, "cap_multiplier": 0.7, "reduce_to": 0.5},
)  # fmt: skip


def test_the_audit_comes_to_the_caps_that_were_enforced() -> None:
    config = load_demo_config()
    policy = config.event_policy.model_validate({"rules": RULES})
    config = config.model_copy(update={"event_policy": policy})
    env = RiskConstrainedEnv(
        gymnasium.make(
            "riskenv/OptionsTrading-v0", convention="box", start="2008-09-02", end="2008-12-05",
            config={**config.env, "random_start": False, "episode_sessions": None},
        ),
        config.limits, var=config.var, events=EVENTS, event_policy=policy,
    )  # fmt: skip
    env.reset(seed=0)
    trail = AuditTrail(env.unwrapped, config, EVENTS)
    ended, seen = False, set()
    while not ended:
        a = env.assessment
        *_, terminated, truncated, _ = env.step(np.zeros(env.action_space.shape, np.float32))
        caps = trail.step(env.unwrapped).caps
        for name, (low, high) in caps.items():
            j = a.names.index(name)
            assert (a.low[j], a.high[j]) == pytest.approx((low, high)), (name, a.market.now)
        jumps = any(rule.rule.gap_log_return > 0.0 for rule in a.events.active)
        assert ("gap_loss" in caps) == jumps
        seen.add(round(float(a.events.cap_multipliers(("vega",))[0]), 6))
        ended = terminated or truncated
    assert seen == {1.0, 0.8, 0.7, 0.4}


def test_an_event_of_one_ticker_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed: events of the whole market"):
        AuditTrail(None, load_demo_config(), [meeting("2008-09-16T18:15", symbol="SPX")])
