"""5,000 events and 500 positions: what the monitor costs on a day's first step, and after it."""

from __future__ import annotations

import datetime
import gc
import time

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
# A step every ten seconds of a session.
STEPS = 2_340


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
    """All that a day's steps ask of a monitor; sizes are handed on, as the state does."""

    def __init__(self, monitor: GapRiskMonitor) -> None:
        self.monitor, self.sizes_due = monitor, SizesDue()
        self.sizes: tuple[SizeBefore, ...] = ()

    def __call__(self, now: int) -> object:
        window = self.monitor.window(now, TICKERS)
        least = None
        if window.sizing or self.sizes:
            self.sizes, least = self.sizes_due(self.sizes, window.size_fractions(TICKERS), BOOK)
        return (
            window.jumps, window.cap_multipliers(MEASURES), window.blocked(TICKERS), window.reduce,
            window.market_blocked, window.hedge_gap, least,
        )  # fmt: skip


def count_plainly(monitor: GapRiskMonitor, now: int) -> list[object]:
    """The peer: every event and rule looked at, closes counted by search."""
    active = []
    for event in monitor.events:
        if event.stands_at(now) and now <= event.time < now + 40 * DAY:
            left = SESSIONS.closes_between(now, event.time)
            active += [
                (event, rule)
                for rule in monitor.policy.rules
                if rule.applies_to(event) and left < rule.sessions_before
            ]
    return active


def timed(function, *arguments: object) -> float:
    start = time.perf_counter_ns()
    function(*arguments)
    return (time.perf_counter_ns() - start) * 1e-9


def test_a_window_of_five_thousand_events(figure) -> None:
    events = calendar()
    assert len(events) == EVENTS
    policy = EventPolicy(rules=tuple(RULES))
    laid_out = min(timed(GapRiskMonitor, events, policy, SESSIONS) for _ in range(3))
    monitor = GapRiskMonitor(events, policy, SESSIONS)
    read = Steps(monitor)
    days = range(260, 760)
    read(int(SESSIONS.opens[259]))
    gc.disable()
    try:
        cold = np.array([timed(read, int(SESSIONS.opens[day]) + 1) for day in days])
        plain = np.array([timed(count_plainly, monitor, int(SESSIONS.opens[d])) for d in days[:50]])
        # The other processes of a busy machine show in a tail of single readings: the day with the
        # most rules in force is read by several monitors, and the least is what it takes.
        busiest = max(days, key=lambda d: len(monitor.window(int(SESSIONS.opens[d]) + 1).active))
        others = [Steps(GapRiskMonitor(events, policy, SESSIONS)) for _ in range(24)]
        for other in others:
            other(int(SESSIONS.opens[busiest - 1]))  # the day before
        peak = min(timed(other, int(SESSIONS.opens[busiest]) + 1) for other in others)
        most = len(monitor.window(int(SESSIONS.opens[busiest]) + 1, TICKERS).active)
        steps: list[float] = []
        for day in (270, 300, 330):
            first, last = int(SESSIONS.opens[day]) + 2, int(CLOSES[day]) - 1
            instants = np.linspace(first, last, STEPS).astype(np.int64).tolist()
            steps += [timed(read, now) for now in instants]
    finally:
        gc.enable()
    warm = np.array(steps)
    figure(
        f"event window, {EVENTS:,} events, {len(TICKERS)} positions: a day's first step p50 "
        f"{np.median(cold) * 1e6:.0f} us, p90 {np.quantile(cold, 0.9) * 1e6:.0f} us, with {most} "
        f"rules in force {peak * 1e6:.0f} us; a step after p50 {np.median(warm) * 1e6:.1f} us, p99 "
        f"{np.quantile(warm, 0.99) * 1e6:.1f} us; plain count {np.median(plain) * 1e6:.0f} us; "
        f"laid out once in {laid_out * 1e3:.0f} ms"
    )
    assert most > 50  # a season of earnings
    assert np.median(cold) <= 1e-3
    assert peak <= 1e-3
    assert np.median(warm) <= 20e-6
