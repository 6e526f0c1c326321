"""Whatever is asked for, no decision leaves the book outside a cap, or further outside.

The books are read off the env's own ledger and priced by `riskenv.train.auditor` (vollib's Greeks,
its own revaluation), which shares no code with the layer; scenarios are put together here.
"""

from __future__ import annotations

import math

import gymnasium
import numpy as np
import pytest
import riskenv.train
from riskenv.data import fomc_events
from riskenv.train.auditor import GAP, AuditedContract, AuditedStep, HorizonShocks, audit
from riskenv.wrappers import RiskConstrainedEnv

from riskenv.measures import MEASURES

assert riskenv.train

YEAR_NS = 365 * 86_400 * 10**9
SPANS = {"2008": ("2008-09-02", "2008-12-31"), "2018": ("2018-02-01", "2018-02-28")}
CAPS = {"delta": 150.0, "gamma": 4.0, "theta": 300.0, "vega": 200.0, "var_1d": 8e3, "es_1d": 1e4}
CAPS["gap_loss"] = 3e3
ONE_SIDED = ("theta", "var_1d", "es_1d", "gap_loss")
EVENTS = fomc_events()
SESSIONS_BEFORE, TIGHTENED = 2, 0.6
RULE = {"sessions_before": SESSIONS_BEFORE, "cap_multiplier": TIGHTENED, "reduce": True}
JUMP, VOL_JUMP = 0.03, 0.1
GAP_RULE = {"gap_log_return": JUMP, "gap_log_vol_change": VOL_JUMP}
POLICY = {"rules": [{"event_type": "fomc", **RULE, **GAP_RULE}]}
WINDOW = 500  # sessions that scenarios are drawn from: the layer's default


class Ledger:
    """Turns the steps of an env into what the auditor walks over."""

    def __init__(self, env):
        self.env, self.steps = env, []
        market = env.unwrapped.market
        self.closes, self.history = market.future_sessions.closes, market.factor_history()

    def step(self, action):
        _, market = self.env.unwrapped.snapshot()
        outcome = self.env.step(action)
        report = self.env.unwrapped.last_trade
        rows = market.table.index
        contracts = [
            AuditedContract(
                i.underlying, i.right, i.strike, (i.expiry - market.now) / YEAR_NS,
                i.multiplier, market.vol[rows[i]],
                report.before.get(i, 0.0), report.after_trade.get(i, 0.0),
            )
            for i in {**report.before, **report.after_trade}
        ]  # fmt: skip
        tickers = market.table.underlyings
        self.steps.append(
            AuditedStep(
                str(np.datetime64(market.now, "ns"))[:10],
                dict(zip(tickers, market.spot, strict=True)),
                float(market.rate[0]),
                dict(zip(tickers, market.dividend_yield[market.table.kind == 0], strict=True)),
                tuple(contracts),
                self.caps(market.now),
                {1: self.shocks(market.now), GAP: self.jumps(market.now)},
            )
        )
        return outcome

    def caps(self, now):
        """The caps in force, by the calendar alone."""
        factor = TIGHTENED if self.is_event_near(now) else 1.0
        return {
            name: (-factor * cap, math.inf if name in ONE_SIDED else factor * cap)
            for name, cap in CAPS.items()
        }

    def is_event_near(self, now):
        ahead = [event.time for event in EVENTS if event.known_at <= now < event.time]
        left = [((self.closes > now) & (self.closes < time)).sum() for time in ahead]
        return min(left, default=SESSIONS_BEFORE) < SESSIONS_BEFORE

    def jumps(self, now):
        """Up and down with rising volatility before an event; no move where none is near."""
        near = 1.0 if self.is_event_near(now) else 0.0
        tickers = self.history.underlyings
        moves, vols = near * np.array([-JUMP, JUMP]), near * np.array([VOL_JUMP, VOL_JUMP])
        return HorizonShocks(dict.fromkeys(tickers, moves), dict.fromkeys(tickers, vols), 0.0)

    def shocks(self, now):
        history = self.history
        known = history.times <= now
        used = slice(max(0, known.sum() - WINDOW), known.sum())
        row = int(np.searchsorted(self.closes, now))
        columns = {t: u for u, t in enumerate(history.underlyings)}
        return HorizonShocks(
            {t: history.log_return[used, u] for t, u in columns.items()},
            {t: history.log_vol_change[used, u] for t, u in columns.items()},
            (self.closes[row + 1] - self.closes[row]) / YEAR_NS,
        )


def random_box(env, random):
    return random.uniform(-1.0, 1.0, env.action_space.shape).astype(np.float32)


def corners(env, random):
    return random.choice([-1.0, 1.0], env.action_space.shape).astype(np.float32)


def sell_everything(env, random):
    return np.full(env.action_space.shape, -1.0, dtype=np.float32)


def sell_options_buy_shares(env, random):
    action = np.full(env.action_space.shape, -1.0, dtype=np.float32)
    action[24:26] = 1.0
    return action


def trade_and_close_at_once(env, random):
    action = corners(env, random)
    action[26:] = random.uniform(0.0, 1.0, 2)
    return action


def random_slots(env, random):
    return random.integers(env.action_space.nvec)


def unmasked_slots(env, random):
    """Any combination of what the mask leaves open."""
    ends = np.cumsum(env.action_space.nvec)[:-1]
    slots = np.split(env.action_masks(), ends)
    return np.array([random.choice(np.flatnonzero(flags)) for flags in slots])


def random_row(env, random):
    return int(random.integers(env.action_space.n))


def masked_row(env, random):
    closed = np.flatnonzero(~env.action_masks())
    return int(random.choice(closed)) if len(closed) else random_row(env, random)


def sell_straddles(env, random):
    return int(env.unwrapped.action_names.index("sell_straddle SPX"))


def hedge_and_sell(env, random):
    names = ("sell_strangle IXIC", "delta_hedge IXIC", "sell_put_spread SPX", "delta_hedge SPX")
    return env.unwrapped.action_names.index(names[int(random.integers(4))])


ADVERSARIES = [
    *(("box", ask) for ask in (random_box, corners, sell_everything)),
    *(("box", ask) for ask in (sell_options_buy_shares, trade_and_close_at_once)),
    *(("multidiscrete", ask) for ask in (random_slots,)),
    *(("discrete", ask) for ask in (random_row, masked_row, sell_straddles, hedge_and_sell)),
]


def run(convention, ask, span, correction="auto"):
    start, end = SPANS[span]
    env = RiskConstrainedEnv(
        gymnasium.make(
            "riskenv/OptionsTrading-v0",
            convention=convention,
            start=start,
            end=end,
            config={"random_start": False, "max_lots": 3, "max_shares": 100},
        ),
        {"caps": CAPS},
        events=EVENTS,
        event_policy=POLICY,
        correction=correction,
    )
    env.reset(seed=0)
    ledger, random, ended, intervened = Ledger(env), np.random.default_rng(7), False, 0
    flagged = []
    while not ended:
        _, _, terminated, truncated, info = ledger.step(ask(env, random))
        intervened += info["intervened"]
        if env.last_decision is not None:
            flagged += env.last_decision.active
        ended = terminated or truncated
    return audit(ledger.steps, tolerance=1e-7), intervened, flagged


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize(
    ("convention", "ask"), ADVERSARIES, ids=lambda x: x if isinstance(x, str) else x.__name__
)
def test_no_decision_actively_breaches_a_cap(convention, ask, span):
    result, intervened, flagged = run(convention, ask, span)
    assert result.first_active == []
    assert result.first_unauditable == []
    assert result.passed
    assert flagged == []
    assert intervened > 0  # the layer was needed
    # And it did not just forbid everything; a book taken to its caps waits after a crash.
    assert result.steps_with_trade >= 2


@pytest.mark.parametrize(("convention", "ask"), [("box", random_box), ("discrete", sell_straddles)])
def test_the_same_audit_finds_breaches_where_the_layer_only_watches(convention, ask):
    result, intervened, _ = run(convention, ask, "2008", correction="none")
    assert intervened == 0
    assert result.active_breaches > 10
    assert not result.passed


def test_the_layer_s_measures_are_the_auditor_s():
    """Not only the verdicts: the numbers, after every trade of a random run."""
    start, end = SPANS["2008"]
    env = RiskConstrainedEnv(
        gymnasium.make("riskenv/OptionsTrading-v0", convention="box", start=start, end=end),
        {"caps": CAPS},
        events=EVENTS,
        event_policy=POLICY,
    )
    env.reset(seed=0)
    ledger, random = Ledger(env), np.random.default_rng(3)
    for _ in range(15):
        ledger.step(random_box(env, random))
        last = audit(ledger.steps[-1:])
        after = dict(zip(MEASURES, env.last_decision.after.tolist(), strict=True))
        for name, (low, high) in ledger.steps[-1].caps.items():
            used = after[name] / (high if after[name] >= 0.0 else low)
            assert last.max_utilisation[name] == pytest.approx(used, rel=1e-7, abs=1e-9), name
