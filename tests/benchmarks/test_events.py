"""5,000 events and 500 positions: what the monitor costs on a day's first step, and after it.

The peer says only which rules hold for which events, by NumPy's search over arrays: no cool-down,
no unknown dates, no jumps, no factors on caps, no sizes, and none of the book. Figures are printed,
and no time is asserted.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from itertools import cycle

import numpy as np
from riskenv.data import closure_events, exchange_sessions, expiry_events, fomc_events, nfp_events

from riskenv import Event, EventPolicy, EventRule, Instrument, InstrumentTable, Portfolio
from riskenv.event_reductions import SizeBefore, SizesDue
from riskenv.gap_risk_monitor import GapRiskMonitor
from riskenv.measures import MEASURES

SESSIONS = exchange_sessions("2014-01-01", "2019-12-31")
CLOSES = SESSIONS.closes
DAY = 86_400 * 10**9
TICKERS = tuple(f"T{i:03d}" for i in range(500))
EVENTS = 5_000
# A step every ten seconds of each of three sessions.
STEPS, STEPPED = 2_340, (270, 300, 330)
DAYS = range(260, 760)


def calendar() -> list[Event]:
    """Two years of what the tables hold, and quarterly earnings in four seasons to fill up."""
    rng = np.random.default_rng(1)
    span = datetime.date(2015, 1, 1), datetime.date(2019, 12, 31)
    tables = [*expiry_events(*span), *closure_events(*span)]
    tables += [e for e in (*fomc_events(), *nfp_events()) if CLOSES[0] < e.time < CLOSES[-1]]
    events = tables[:500]
    quarter = 252
    while len(events) < EVENTS:
        n = len(events)
        season = quarter + 63 * (n // len(TICKERS))
        close = int(CLOSES[season + int(rng.integers(0, 25))])
        at = close + (60 * 10**9 if rng.random() < 0.5 else 17 * 3_600 * 10**9)
        events.append(Event("earnings", at, at - 30 * DAY, symbol=TICKERS[n % len(TICKERS)]))
    return events


RULES = [
    EventRule(
        event_type="earnings",
        sessions_before=5,
        cap_multipliers={"gap_loss": 0.5},
        gap_log_return=0.08,
    ),
    EventRule(event_type="earnings", sessions_before=3, reduce_to=0.25, steps=3, sessions_after=1),
    EventRule(event_type="fomc", sessions_before=2, cap_multiplier=0.75, gap_log_return=0.03),
    EventRule(event_type="nfp", importance="high", sessions_before=1, block_new=True),
    EventRule(event_type="monthly_expiry", sessions_before=1, cap_multiplier=0.9),
]


BOOK = Portfolio.of(
    InstrumentTable.of([Instrument(ticker) for ticker in TICKERS]),
    {Instrument(ticker): 100.0 for ticker in TICKERS},
    0.0,
)


class Steps:
    """All that a day's steps ask of a monitor; sizes are handed on, as a state does."""

    def __init__(self, monitor: GapRiskMonitor) -> None:
        self.monitor, self.sizes_due = monitor, SizesDue()
        self.sizes: tuple[SizeBefore, ...] = ()

    def __call__(self, now: int) -> object:
        window = self.monitor.window(now, TICKERS)
        least = None
        if window.sizing or self.sizes:
            self.sizes, least, _ = self.sizes_due(self.sizes, window.size_fractions(TICKERS), BOOK)
        return (
            window.jumps, window.cap_multipliers(MEASURES), window.blocked(TICKERS), window.reduce,
            window.market_blocked, window.hedge_gap, least,
        )  # fmt: skip


class Counted:
    """The peer: which rules hold for which events, by search over arrays laid out beforehand."""

    def __init__(self, events: list[Event], policy: EventPolicy) -> None:
        self.events = sorted(events, key=lambda event: event.order)
        self.times = np.array([event.time for event in self.events])
        self.known = np.array([event.known_at for event in self.events])
        self.before = np.searchsorted(CLOSES, self.times)
        self.rules = [
            (
                rule,
                np.array([rule.applies_to(event) for event in self.events]),
                (CLOSES - rule.lead_minutes * 60 * 10**9 if rule.share < 1.0 else SESSIONS.opens),
            )
            for rule in policy.rules
        ]

    def __call__(self, now: int) -> list[tuple[int, EventRule, int]]:
        near = slice(*np.searchsorted(self.times, (now, now + 40 * DAY)))
        public = self.known[near] <= now
        left = self.before[near] - np.searchsorted(CLOSES, now, side="right")
        active = []
        for rule, applies, begins in self.rules:
            ahead = self.before[near] - np.searchsorted(begins, now, side="right")
            holds = np.flatnonzero(public & applies[near] & (ahead < rule.sessions_before))
            active += [(near.start + i, rule, left[i]) for i in holds.tolist()]
        return active


def test_a_step_among_five_thousand_events(race: Callable, figure: Callable) -> None:
    events, policy = calendar(), EventPolicy(rules=tuple(RULES))
    assert len(events) == EVENTS
    monitor, peer = GapRiskMonitor(events, policy, SESSIONS), Counted(events, policy)
    opens = [int(SESSIONS.opens[day]) + 1 for day in DAYS]
    in_force = []
    for now in opens[:60]:
        active = {(a.event, a.rule, a.closes_before) for a in monitor.window(now).active}
        assert active == {(peer.events[i], rule, left) for i, rule, left in peer(now)}
        in_force.append(len(active))
    assert max(in_force) > 50  # a season of earnings

    def us(ran: object, name: str) -> str:
        return f"{1e6 * ran.median(name):.1f} us (p99 {1e6 * ran.p99(name):.0f})"

    cold = Steps(GapRiskMonitor(events, policy, SESSIONS))
    firsts, peers = cycle(opens), cycle(opens)
    cold(next(firsts))
    ran = race(
        {
            "first": (lambda: cold(next(firsts)), 1),
            "NumPy": (lambda: peer(next(peers)), 1),
        },
        len(DAYS) - 2,  # never the same day twice: nothing of it is kept
    )
    figure(
        f"Events, {EVENTS:,} of them and {len(TICKERS)} positions, a day's first step "
        f"{us(ran, 'first')} (target <= 1000 us); counted in NumPy {us(ran, 'NumPy')}, ratio "
        f"{ran.ratio('first', 'NumPy'):.2f}"
    )

    # The day with the most rules in force, each time by a monitor that has not seen it.
    busiest = opens[int(np.argmax([len(monitor.window(now).active) for now in opens]))]
    most = len(monitor.window(busiest).active)
    others = [Steps(GapRiskMonitor(events, policy, SESSIONS)) for _ in range(41)]
    for other in others:
        other(busiest - DAY)
    turn = iter(others)
    ran = race(
        {
            "first": (lambda: next(turn)(busiest), 1),
            "NumPy": (lambda: peer(busiest), 1),
        },
        len(others) - 1,
    )
    figure(
        f"Events, the first step of the busiest day, {most} rules in force {us(ran, 'first')} "
        f"(target <= 1000 us); counted in NumPy {us(ran, 'NumPy')}, ratio "
        f"{ran.ratio('first', 'NumPy'):.2f}"
    )

    later = Steps(monitor)
    steps = [
        now
        for day in STEPPED
        for now in np.linspace(SESSIONS.opens[day] + 2, CLOSES[day] - 1, STEPS)
        .astype(np.int64)
        .tolist()
    ]
    for day in STEPPED:
        later(int(SESSIONS.opens[day]) + 1)
    nows, peers = cycle(steps), cycle(steps[:: len(steps) // 64])
    ran = race(
        {
            "step": (lambda: later(next(nows)), 1),
            "NumPy": (lambda: peer(next(peers)), 1),
        },
        1_500,
    )
    figure(
        f"Events, a step after the first {us(ran, 'step')} (target <= 20 us); counted in NumPy "
        f"{us(ran, 'NumPy')}, ratio {ran.ratio('step', 'NumPy'):.3f}"
    )
