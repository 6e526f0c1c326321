"""For any calendar and policy: an event only ever adds caution, nothing is seen before it is
public, and the windows that are kept are those that a plain count of sessions gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskenv import Caps, Event, EventPolicy, EventRule, RiskLimits
from riskenv.event_policy import NeededDate
from riskenv.gap_risk_monitor import GapRiskMonitor
from riskenv.measures import INDEX, MEASURES
from riskenv.projection import Proposal, closing_trades
from riskenv.selection import evaluate

from .worlds import DAY, FAST, HOUR, NOW, SESSIONS, SLOW, TODAY, world

MINUTE = HOUR // 60
TYPES = ("cpi", "earnings")
TICKERS = ("A", "B")
SECTORS = {"A": "x", "B": "y"}
FIRST, LAST = int(SESSIONS.closes[TODAY - 30]), int(SESSIONS.closes[TODAY + 30])

# Closes, opens, and the moments around them, are where something changes.
instants = st.builds(
    lambda day, offset: int(SESSIONS.closes[TODAY + day]) + offset,
    st.integers(-30, 30),
    st.sampled_from((0, 1, -1, MINUTE, -30 * MINUTE, -30 * MINUTE - 1, 17 * HOUR, 5 * HOUR)),
)


@st.composite
def events(draw, known=None) -> Event:
    known_at, time = sorted((draw(instants), draw(instants)))
    if known is not None and not known(known_at):
        known_at = time = max(time, NOW + 1)
    scope = draw(st.sampled_from(("", "A", "B", "x", "y")))
    withdrawn_at = draw(st.none() | st.integers(known_at, time))
    return Event(
        draw(st.sampled_from(TYPES)), time, known_at,
        symbol=scope if scope in TICKERS else "", sector=scope if scope in ("x", "y") else "",
        importance=draw(st.sampled_from(("low", "medium", "high"))), withdrawn_at=withdrawn_at,
    )  # fmt: skip


@st.composite
def rules(draw) -> EventRule:
    before = draw(st.integers(1, 4))
    jump = draw(st.sampled_from((0.0, 0.1)))
    return EventRule(
        event_type=draw(st.sampled_from(TYPES)),
        importance=draw(st.sampled_from(("low", "medium", "high"))),
        sessions_before=before,
        sessions_after=draw(st.integers(0, 2)),
        cap_multiplier=draw(st.sampled_from((0.5, 0.8, 1.0))),
        cap_multipliers=draw(
            st.dictionaries(st.sampled_from(("delta", "vega", "gap_loss")), st.just(0.6))
        ),
        block_new=draw(st.booleans()),
        reduce=draw(st.booleans()),
        reduce_to=draw(st.sampled_from((0.0, 0.4, 1.0))),
        steps=draw(st.integers(1, before)),
        gap_log_return=jump,
        hedge_gap=jump > 0.0 and draw(st.booleans()),
        gap_history_days=draw(st.sampled_from((0, 12, 300))) if jump > 0.0 else 0,
    )


policies = st.lists(rules(), max_size=4, unique_by=lambda rule: rule.key).map(
    lambda chosen: EventPolicy(rules=tuple(chosen))
)
calendars = st.lists(events(), max_size=8)


def seen(window) -> tuple:
    """All that a manager reads off a window."""
    return (
        window.cap_multipliers(MEASURES).tolist(), window.blocked((*TICKERS, "C")).tolist(),
        [window.size_fraction(t) for t in (*TICKERS, "C")], window.reduce, window.block_new,
        window.jumps, window.market_blocked, window.hedge_gap,
    )  # fmt: skip


@FAST
@given(calendars, events(), policies, st.lists(instants, min_size=1), st.booleans())
def test_adding_an_event_never_loosens_anything(calendar, event, policy, times, sectors) -> None:
    given_sectors = SECTORS if sectors else None
    without = GapRiskMonitor(calendar, policy, SESSIONS, given_sectors)
    with_it = GapRiskMonitor([*calendar, event], policy, SESSIONS, given_sectors)
    for now in times:
        for tickers in (None, TICKERS, ("B",)):
            a, b = without.window(now, tickers), with_it.window(now, tickers)
            assert (b.cap_multipliers(MEASURES) <= a.cap_multipliers(MEASURES)).all()
            assert b.cap_multiplier <= a.cap_multiplier
            assert (b.blocked(TICKERS) >= a.blocked(TICKERS)).all()
            assert b.block_new >= a.block_new
            assert b.market_blocked >= a.market_blocked
            assert b.hedge_gap >= a.hedge_gap
            assert (b.hedged(TICKERS) >= a.hedged(TICKERS)).all()
            assert b.sizing >= a.sizing
            assert b.reduce >= a.reduce
            assert b.calendar_unknown >= a.calendar_unknown
            assert all(b.size_fraction(t) <= a.size_fraction(t) for t in (*TICKERS, "C"))
            assert set(b.jumps) >= set(a.jumps)


@FAST
@given(events(), policies, instants)
def test_an_event_that_gives_no_needed_date_leaves_who_lacks_one(event, policy, now) -> None:
    """The one thing an event may end: being without the date that it is."""
    needs = NeededDate(event_type="earnings", within_days=20)
    policy = policy.model_copy(update={"needed_dates": (needs,)})
    window = GapRiskMonitor([event], policy, SESSIONS, SECTORS).window(now, TICKERS)
    dated = (
        event.event_type == "earnings" and event.stands_at(now) and now <= event.time
        and (event.time // DAY - now // DAY) <= 21
    )  # fmt: skip
    undated = {u.ticker for u in window.undated}
    assert undated >= set(TICKERS) - ({event.symbol} if dated else set())
    assert window.blocked(sorted(undated)).all()


@FAST
@given(calendars, policies, instants, st.randoms(use_true_random=False))
def test_nothing_announced_later_changes_a_window(calendar, policy, cut, random) -> None:
    """Announced after `cut`: moved anywhere, given to another, withdrawn, doubled or left out."""
    public = [event for event in calendar if event.known_at <= cut]
    later = [event for event in calendar if event.known_at > cut]
    other = []
    for event in later * 2:
        time = event.time + random.choice((0, DAY, 9 * DAY))
        known_at = random.randint(cut + 1, time)
        other.append(
            replace(
                event,
                time=time,
                known_at=known_at,
                symbol=random.choice(("", *TICKERS)),
                sector="",
                event_type=random.choice(TYPES),
                withdrawn_at=None,
            )
        )
    # Of what was public, only a withdrawal may come later.
    news = [
        replace(event, withdrawn_at=random.choice((None, event.time)))
        if event.withdrawn_at is None or event.withdrawn_at > max(cut, event.known_at)
        else event
        for event in public
        if event.time > cut
    ] + [event for event in public if event.time <= cut]
    random.shuffle(news)
    needs = NeededDate(event_type="earnings", within_days=15)
    policy = policy.model_copy(update={"needed_dates": (needs,)})
    one = GapRiskMonitor(calendar, policy, SESSIONS, SECTORS)
    two = GapRiskMonitor([*other, *news], policy, SESSIONS, SECTORS)
    for now in (FIRST, cut - 9 * DAY, cut - DAY, cut - 1, cut):
        for tickers in (None, TICKERS):
            assert seen(one.window(now, tickers)) == seen(two.window(now, tickers))
            listed = [[(e.time, e.event_type) for e in m.window(now).upcoming] for m in (one, two)]
            assert sorted(listed[0]) == sorted(listed[1])


@FAST
@given(calendars, policies, instants)
def test_a_kept_window_is_what_a_plain_count_of_sessions_says(calendar, policy, now) -> None:
    monitor = GapRiskMonitor(calendar, policy, SESSIONS, SECTORS)
    edges = [
        edge
        for event in calendar[:1]
        for days in (SESSIONS.opens, SESSIONS.closes)
        for edge in days[days < event.time][-5:].tolist()
    ]
    for instant in (now, *edges, *(edge - 1 for edge in edges)):
        _check_against_a_count(monitor.window(instant), calendar, policy, instant)


def _check_against_a_count(window, calendar, policy, now) -> None:
    near = slice(TODAY - 70, TODAY + 70)
    opens, closes = SESSIONS.opens[near].tolist(), SESSIONS.closes[near].tolist()
    expected, shares = [], dict.fromkeys(TICKERS, 1.0)
    for event in sorted(calendar, key=lambda e: e.order):
        if not event.stands_at(now) or now > event.time:
            continue
        before = [(o, c) for o, c in zip(opens, closes, strict=True) if c < event.time]
        for rule in policy.rules:
            order = ("low", "medium", "high")
            if rule.event_type != event.event_type:
                continue
            if order.index(event.importance) < order.index(rule.importance):
                continue
            due = sum(1 for _, c in before if now < c - rule.lead_minutes * MINUTE)
            unopened = sum(1 for o, _ in before if now < o)
            if (due if rule.reduce_to < 1.0 else unopened) >= rule.sessions_before:
                continue
            expected.append((event, rule, sum(1 for _, c in before if now < c)))
            share = 1.0 - (1.0 - rule.reduce_to) * max(0, rule.steps - due) / rule.steps
            for ticker in TICKERS:
                if event.symbol in ("", ticker) and event.sector in ("", SECTORS[ticker]):
                    shares[ticker] = min(shares[ticker], share)
    assert [(a.event, a.rule, a.closes_before) for a in window.active] == expected
    for ticker in TICKERS:
        assert window.size_fraction(ticker) == pytest.approx(shares[ticker], abs=1e-12)


@FAST
@given(calendars, policies, st.lists(instants, min_size=2), st.randoms(use_true_random=False))
def test_the_order_of_questions_and_of_the_list_changes_no_answer(
    calendar, policy, times, random
) -> None:
    one = GapRiskMonitor(calendar, policy, SESSIONS, SECTORS)
    shuffled = list(calendar)
    random.shuffle(shuffled)
    two = GapRiskMonitor(shuffled, policy, SESSIONS, SECTORS)
    first = [one.window(now) for now in times]
    assert [two.window(now) for now in reversed(times)] == first[::-1]


CAPS = Caps(delta=800.0, vega=60.0, es_1d=9e3, gap_loss=6e3)
LIMITS = RiskLimits(caps=CAPS, by_underlying={"*": {"delta": 500.0}, "B": {"gamma": 50.0}})


@FAST
@given(st.integers(0, 40), calendars, events(), policies)
def test_adding_an_event_never_loosens_what_a_book_is_held_to(seed, calendar, event, policy):
    without = world(seed, limits=LIMITS, events=tuple(calendar), policy=policy)
    with_it = world(seed, limits=LIMITS, events=(*calendar, event), policy=policy)
    (_, a), (_, b) = without.assess(), with_it.assess()
    assert (b.high <= a.high).all()
    assert (b.low >= a.low).all()
    assert b.before[INDEX["gap_loss"]] <= a.before[INDEX["gap_loss"]]
    assert (b.entry_blocked >= a.entry_blocked).all()
    assert (b.least >= a.least).all()
    assert b.rung >= a.rung
    assert b.reducing >= a.reducing


@FAST
@given(st.integers(0, 400), calendars, policies, st.integers(0, 9))
def test_what_is_due_is_closed_and_nothing_is_entered_where_that_is_blocked(
    seed, calendar, policy, asked
) -> None:
    w = world(seed, caps=Caps(contracts=500.0, gap_loss=1e6), events=tuple(calendar), policy=policy)
    state, a = w.assess()
    trade = np.random.default_rng(asked).integers(-9, 10, len(w.table)).astype(float)
    closes = closing_trades(w.portfolio.quantity, w.market)
    due = 0.0 - np.sign(w.portfolio.quantity) * a.least
    rows = np.stack([trade, np.zeros(len(trade)), due, *closes, *(closes + trade)])
    forced = np.stack([0 * trade, 0 * trade, due, *closes, *closes])
    _, decision = w.manager.decide(state, a, Proposal(rows, 0, forced))
    held, left = np.abs(w.portfolio.quantity), np.abs(w.portfolio.quantity + decision.trades)
    unresolved = any(r.code == "flatten_unresolved" for r in decision.reasons)
    assert unresolved or (left <= held - a.least)[a.least > 0.0].all()
    entered = a.entry_blocked & (left > held)
    if entered.any():  # by what lowers the worst gap or the expected shortfall alone
        part = np.where(a.entry_blocked, decision.trades, 0.0)
        after = evaluate(a, part[None]).interval[0, 0]
        tails = [INDEX["es_1d"], INDEX["gap_loss"]]
        assert (after[tails] >= a.interval[0, tails]).all()


def decisions(w) -> list[dict]:
    """A few questions: hold, sell and buy each instrument; all but what they are configured by."""
    n = len(w.table)
    asked = [np.zeros(n), *(sign * row for sign in (-5.0, 5.0) for row in np.eye(n))]
    state, a = w.assess()
    closes = closing_trades(w.portfolio.quantity, w.market)
    decided = []
    for trade in asked:
        rows = np.stack([trade, np.zeros(n), *closes])
        forced = np.stack([np.zeros(n), np.zeros(n), *closes])
        decision = w.manager.decide(state, a, Proposal(rows, 0, forced))[1].to_dict()
        decided.append({**decision, "config_digest": ""})
    return decided


def check_manager(seed, public, later, policy) -> None:
    one = world(seed, caps=CAPS, events=tuple(public), policy=policy)
    two = world(seed, caps=CAPS, events=(*later, *public), policy=policy)
    assert decisions(one) == decisions(two)


publics = events().filter(lambda event: event.known_at <= NOW)
futures = events(known=lambda known_at: known_at > NOW)


@FAST
@given(
    st.integers(0, 40), st.lists(publics, max_size=4), st.lists(futures, max_size=6), policies
)  # fmt: skip
def test_nothing_announced_later_changes_a_decision(seed, public, later, policy) -> None:
    check_manager(seed, public, later, policy)


@pytest.mark.slow
@settings(SLOW, max_examples=1_500)  # two managers each
@given(
    st.integers(0, 400), st.lists(publics, max_size=4), st.lists(futures, max_size=6), policies
)  # fmt: skip
def test_nothing_announced_later_changes_a_decision_at_length(seed, public, later, policy) -> None:
    check_manager(seed, public, later, policy)


def test_the_decisions_compared_are_not_all_alike() -> None:
    """What the test above compares does depend on what is public."""
    event = Event("cpi", NOW + HOUR, NOW)
    rule = EventRule(event_type="cpi", sessions_before=1, cap_multiplier=0.5, block_new=True)
    policy = EventPolicy(rules=(rule,))
    with pytest.raises(AssertionError):
        check_manager(3, [], [event], policy)
