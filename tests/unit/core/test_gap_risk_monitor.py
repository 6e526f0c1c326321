"""The monitor over real dates: when rules begin, when sizes fall due, whom they touch, what ends
them, and what is guarded against because nobody knows it."""

from __future__ import annotations

import datetime
import pickle
from dataclasses import replace

import numpy as np
import pytest
from riskenv.data import (
    UnknownSpan,
    cpi_events,
    exchange_sessions,
    fomc_events,
    load_events,
    nfp_events,
)

from riskenv import (
    Caps,
    ConfigError,
    Event,
    EventPolicy,
    EventRule,
    PortfolioRiskManager,
    RiskLimits,
    load_bundle,
    save_bundle,
)
from riskenv.config import load_config
from riskenv.event_policy import NeededDate
from riskenv.event_values import UnknownDays
from riskenv.gap_risk_monitor import GapRiskMonitor

NS = 10**9
MINUTE, HOUR = 60 * NS, 3600 * NS
SESSIONS = exchange_sessions("2010-01-01", "2026-12-31")


def utc(text: str) -> int:
    """ns of "2018-02-01 21:00", written in UTC so that the tests need no time zone."""
    return int(np.datetime64(text.replace(" ", "T"), "ns").astype(np.int64))


def on(events, day: str) -> Event:
    (event,) = [e for e in events if str(np.datetime64(e.time, "ns"))[:10] == day]
    return event


def earnings(tmp_path, *rows: str) -> tuple[Event, ...]:
    path = tmp_path / "list.csv"
    path.write_text("event_type,symbol,date,placement,known_at\n" + "\n".join(rows) + "\n")
    return load_events(path)


def made(event_type: str, time: str, **changes) -> Event:
    return Event(event_type, utc(time), **{"known_at": utc(time) - 30 * 24 * HOUR} | changes)


def watching(*events: Event, rules=(), **changes) -> GapRiskMonitor:
    policy = EventPolicy(rules=rules, needed_dates=changes.pop("needed_dates", ()))
    return GapRiskMonitor(events, policy, SESSIONS, **changes)


def flatten(event_type: str, **changes) -> EventRule:
    return EventRule(event_type=event_type, action="flatten", **{"sessions_before": 1} | changes)


AMC = made("earnings", "2018-02-01 21:01", symbol="AAPL", placement="after_close")

# What happens, and the last close before it: 21:00 UTC in winter, 20:00 in summer.
DUE = {
    "payrolls of 2 Feb 2018, 08:30": (on(nfp_events(), "2018-02-02"), "2018-02-01 21:00"),
    "a decision at 14:00": (on(fomc_events(), "2018-03-21"), "2018-03-20 20:00"),
    "after the close: that day's": (AMC, "2018-02-01 21:00"),
    "before the open: the day before's": (made("earnings", "2018-02-02 14:30"), "2018-02-01 21:00"),
    "Good Friday: Thursday's": (on(nfp_events(), "2015-04-03"), "2015-04-02 20:00"),
    "after an early close": (made("earnings", "2018-07-03 17:01"), "2018-07-03 17:00"),
    "the open after an early close": (made("earnings", "2018-11-26 14:30"), "2018-11-23 18:00"),
    "a Saturday": (made("summit", "2018-12-01 17:00"), "2018-11-30 21:00"),
    "a Monday after clocks went forward": (made("earnings", "2018-03-12 13:30"),
                                           "2018-03-09 21:00"),
    "a Tuesday in summer time": (on(cpi_events(), "2018-03-13"), "2018-03-12 20:00"),
    "a Monday after clocks went back": (made("earnings", "2018-11-05 14:30"), "2018-11-02 20:00"),
    "the Sunday of the change": (made("summit", "2018-11-04 17:00"), "2018-11-02 20:00"),
}  # fmt: skip


@pytest.mark.parametrize("what", DUE)
def test_a_flatten_falls_due_before_the_last_close_at_which_it_can_be_traded(what: str) -> None:
    event, close = DUE[what][0], utc(DUE[what][1])
    assert close in SESSIONS.closes
    monitor = watching(event, rules=[flatten(event.event_type)])
    assert monitor.last_close_before(event) == close
    ticker = event.symbol or "AAPL"
    sizes = {
        "half an hour before": (close - 30 * MINUTE - 1, 1.0),
        "from then on": (close - 30 * MINUTE, 0.0),
        "at the close": (close, 0.0),
        "at the news": (event.time, 0.0),
        "after it": (event.time + 1, 1.0),
    }
    for when, (now, size) in sizes.items():
        window = monitor.window(now)
        assert window.size_fraction(ticker) == size, when
        assert window.blocked([ticker]).tolist() == [size == 0.0], when
    session = SESSIONS.session_of(close - 30 * MINUTE)
    assert SESSIONS.opens[session] <= close - 30 * MINUTE <= SESSIONS.closes[session] == close


@pytest.mark.parametrize(
    "doing", [{"block_new": True}, {"cap_multiplier": 0.5}, {"hedge_gap": True}], ids=str
)
@pytest.mark.parametrize("what", DUE)
def test_a_rule_holds_from_the_open_of_its_first_session(what: str, doing: dict) -> None:
    """Were it only from the close, nothing of it could be done within the session it names."""
    event, close = DUE[what][0], utc(DUE[what][1])
    session = SESSIONS.session_of(close)
    for count in (1, 2):
        opened = int(SESSIONS.opens[session + 1 - count])
        rule = EventRule(
            event_type=event.event_type, sessions_before=count, gap_log_return=0.1, **doing
        )
        monitor = watching(event, rules=[rule])
        for now, holds in ((opened - 1, 0), (opened, 1), (event.time, 1), (event.time + 1, 0)):
            window = monitor.window(now)
            assert len(window.active) == holds, (count, np.datetime64(now, "ns"))
            assert window.block_new == (holds and "block_new" in doing)


def test_lists_place_earnings_so_that_the_deadline_is_the_right_close(tmp_path) -> None:
    after, before = earnings(
        tmp_path,
        "earnings,AAPL,2018-02-01,after_close,2018-01-09",
        "earnings,XOM,2018-02-02,before_open,2018-01-09",
    )
    monitor = watching(after, before, rules=[flatten("earnings")])
    assert monitor.last_close_before(after) == utc("2018-02-01 21:00")
    assert monitor.last_close_before(before) == utc("2018-02-01 21:00")
    evening = monitor.window(utc("2018-02-01 22:00"))
    assert (evening.size_fraction("AAPL"), evening.size_fraction("XOM")) == (1.0, 0.0)


def test_a_size_is_spread_over_the_closes_before_the_event() -> None:
    rule = EventRule(event_type="earnings", sessions_before=4, reduce_to=0.25, steps=3)
    monitor = watching(AMC, rules=[rule])
    due = {
        "2018-01-29 21:00": 1.0,  # three closes left: the rule holds, nothing is due
        "2018-01-30 20:29": 1.0,
        "2018-01-30 20:30": 0.75,
        "2018-01-31 20:29": 0.75,
        "2018-01-31 20:30": 0.5,
        "2018-02-01 20:30": 0.25,
        "2018-02-01 21:01": 0.25,
        "2018-02-01 21:02": 1.0,
    }
    assert {now: monitor.window(utc(now)).size_fraction("AAPL") for now in due} == due
    assert monitor.window(utc("2018-02-01 21:00")).size_fraction("MSFT") == 1.0
    assert monitor.window(utc("2018-01-29 21:00")).active[0].action == "reduce_size"


def test_news_announced_after_the_last_close_is_due_at_once() -> None:
    event = replace(AMC, time=utc("2018-02-05 13:00"), known_at=utc("2018-02-03 17:00"))
    monitor = watching(event, rules=[flatten("earnings", sessions_before=3, steps=3)])
    assert monitor.window(event.known_at - 1).size_fraction("AAPL") == 1.0
    assert monitor.window(event.known_at).size_fraction("AAPL") == 0.0


def test_a_moved_date_holds_until_it_is_withdrawn_and_then_at_the_new_one() -> None:
    """CPI of September 2025: due on 15 October, moved on 10 October to the 24th."""
    rule = EventRule(event_type="cpi", sessions_before=3, cap_multiplier=0.5)
    monitor = watching(*cpi_events(), rules=[rule])
    announced = on(cpi_events(), "2025-10-24").known_at
    assert str(np.datetime64(announced, "ns"))[:16] == "2025-10-11T03:59"
    multipliers = {
        utc("2025-10-10 13:29"): 1.0,
        utc("2025-10-10 13:30"): 0.5,
        announced - 1: 0.5,
        announced: 1.0,
        utc("2025-10-15 12:30"): 1.0,
        utc("2025-10-21 13:29"): 1.0,
        utc("2025-10-21 13:30"): 0.5,
        utc("2025-10-24 12:30"): 0.5,
        utc("2025-10-24 12:31"): 1.0,
    }
    for now, multiplier in multipliers.items():
        assert monitor.window(now).cap_multiplier == multiplier, np.datetime64(now, "ns")
    listed = [[e.time for e in monitor.window(now).upcoming] for now in (announced - 1, announced)]
    assert utc("2025-10-15 12:30") in listed[0]
    assert utc("2025-10-15 12:30") not in listed[1]


def test_the_meeting_that_was_replaced_in_march_2020_is_gone_from_then_on() -> None:
    rule = EventRule(event_type="fomc", sessions_before=3, block_new=True, sessions_after=1)
    monitor = watching(*fomc_events(), rules=[rule])
    sunday = utc("2020-03-15 21:00")  # the statement, 17:00 in New York
    (scheduled,) = monitor.window(sunday - 1).active
    assert scheduled.event.withdrawn_at == sunday
    (surprise,) = monitor.window(sunday).active
    assert surprise.event.known_at == surprise.event.time == sunday
    assert monitor.window(utc("2020-03-16 20:00")).block_new  # its cool-down, to Monday's close
    assert not monitor.window(utc("2020-03-16 20:01")).block_new
    assert not monitor.window(utc("2020-03-18 17:00")).block_new


def test_of_two_events_that_overlap_the_stricter_holds_and_each_ends_by_itself() -> None:
    rules = [
        EventRule(event_type="earnings", sessions_before=2, cap_multiplier=0.8, reduce_to=0.5),
        EventRule(event_type="nfp", sessions_before=2, cap_multipliers={"gap_loss": 0.5}),
    ]
    monitor = watching(AMC, on(nfp_events(), "2018-02-02"), rules=rules)
    names = ("delta", "gap_loss")
    seen = {
        "2018-01-31 14:29": [1.0, 1.0],
        "2018-01-31 14:30": [1.0, 0.5],  # the open
        "2018-01-31 20:29": [1.0, 0.5],
        "2018-01-31 20:30": [0.8, 0.5],  # the earnings' lead
        "2018-02-01 21:01": [0.8, 0.5],
        "2018-02-01 21:02": [1.0, 0.5],
        "2018-02-02 13:30": [1.0, 0.5],
        "2018-02-02 13:31": [1.0, 1.0],
    }
    got = {now: monitor.window(utc(now)).cap_multipliers(names).tolist() for now in seen}
    assert got == seen
    one, both = monitor.window(utc("2018-02-01 21:02")), monitor.window(utc("2018-02-01 21:00"))
    assert (one.cap_multiplier, both.cap_multiplier) == (1.0, 0.8)
    assert (one.size_fraction("AAPL"), both.size_fraction("AAPL")) == (1.0, 0.5)


def test_of_the_factor_for_all_caps_and_that_for_one_the_smaller_holds() -> None:
    rule = EventRule(
        event_type="earnings", sessions_before=1, cap_multiplier=0.5,
        cap_multipliers={"vega": 0.8, "gap_loss": 0.25},
    )  # fmt: skip
    window = watching(AMC, rules=[rule]).window(AMC.time)
    factors = window.cap_multipliers(("delta", "vega", "gap_loss"))
    assert factors.tolist() == [0.5, 0.5, 0.25]
    with pytest.raises(ValueError, match="read-only"):
        factors[0] = 1.0


def test_rules_for_one_event_hold_side_by_side() -> None:
    early = EventRule(event_type="earnings", sessions_before=3, cap_multiplier=0.6)
    monitor = watching(AMC, rules=[early, flatten("earnings")])
    actions = {
        now: [rule.action for rule in monitor.window(utc(now)).active]
        for now in ("2018-01-30 21:00", "2018-02-01 20:00", "2018-02-01 21:00")
    }
    assert list(actions.values()) == [["tighten"], ["tighten"], ["tighten", "flatten"]]
    report = monitor.report(utc("2018-02-01 21:00"), 0.0, 1.0, 0.8, 1.25, np.zeros(0), [])
    assert report["upcoming_events"][0]["action"] == "flatten"


@pytest.mark.parametrize(
    ("importance", "kinds"),
    [("low", ["tighten"]), ("medium", ["tighten"]), ("high", ["tighten", "block_new"])],
)
def test_a_rule_asks_for_a_least_importance(importance, kinds) -> None:
    rules = [
        EventRule(event_type="cpi", sessions_before=1, cap_multiplier=0.9),
        EventRule(event_type="cpi", importance="high", sessions_before=1, block_new=True),
    ]
    event = made("cpi", "2018-02-14 13:30", importance=importance)
    window = watching(event, rules=rules).window(event.time)
    assert [active.action for active in window.active] == kinds


def test_after_the_event_caps_and_blocks_last_through_the_cool_down() -> None:
    rule = EventRule(
        event_type="earnings", sessions_before=1, sessions_after=2, cap_multiplier=0.5,
        reduce_to=0.5, gap_log_return=0.1,
    )  # fmt: skip
    monitor = watching(AMC, rules=[rule])
    before, after = monitor.window(AMC.time), monitor.window(AMC.time + 1)
    assert (before.cap_multiplier, after.cap_multiplier) == (0.5, 0.5)
    assert before.block_new
    assert after.block_new
    # The jump is past, and so is its deadline.
    assert (len(before.jumps), len(after.jumps)) == (2, 0)
    assert (before.size_fraction("AAPL"), after.size_fraction("AAPL")) == (0.5, 1.0)
    assert (len(before.active), len(after.active), len(after.cooling)) == (1, 0, 1)
    assert monitor.window(utc("2018-02-05 21:00")).cap_multiplier == 0.5  # the second close
    assert monitor.window(utc("2018-02-05 21:00") + 1).cap_multiplier == 1.0


def test_an_event_of_one_ticker_blocks_that_ticker_alone() -> None:
    rule = EventRule(event_type="earnings", sessions_before=1, block_new=True)
    window = watching(AMC, rules=[rule]).window(AMC.time)
    assert window.blocked(("AAPL", "MSFT")).tolist() == [True, False]
    everything = watching(replace(AMC, symbol=""), rules=[rule]).window(AMC.time)
    assert everything.blocked(("AAPL", "MSFT")).tolist() == [True, True]


SECTORS = {"AAPL": "technology", "MSFT": "technology", "XOM": "energy"}


@pytest.mark.parametrize(
    ("sectors", "blocked"),
    [
        (SECTORS, [True, True, False, True]),  # SPX has no sector: it may hold any of them
        ({**SECTORS, "SPX": "index"}, [True, True, False, False]),
        ({}, [True] * 4),
        (None, [True] * 4),
    ],
)
def test_an_event_of_a_sector_touches_its_tickers_and_those_of_no_known_sector(
    sectors, blocked
) -> None:
    event = made("hearing", "2018-02-01 16:00", sector="technology")
    rule = flatten("hearing", gap_log_return=0.1)
    window = watching(event, rules=[rule], sectors=sectors).window(event.time)
    tickers = ("AAPL", "MSFT", "XOM", "SPX")
    assert window.blocked(tickers).tolist() == blocked
    assert [window.size_fraction(t) == 0.0 for t in tickers] == blocked
    members = {t for t, own in (sectors or {}).items() if own == "technology"}
    # Nobody said which tickers there are: the jump of a sector is one of the whole market.
    assert {jump.symbols for jump in window.jumps} == {(), *((t,) for t in members)}
    known = watching(event, rules=[rule], sectors=sectors).window(event.time, tickers)
    at_once = tuple(t for t, touched in zip(tickers, blocked, strict=True) if touched)
    assert {jump.symbols for jump in known.jumps} == {at_once, *((t,) for t in at_once)}


def test_tickers_leave_out_what_does_not_touch_them() -> None:
    rule = EventRule(event_type="earnings", sessions_before=1, cap_multiplier=0.5, block_new=True)
    sector = made("earnings", "2018-02-01 21:01", sector="energy")
    monitor = watching(AMC, sector, rules=[rule], sectors=SECTORS)
    counts = {("AAPL",): 1, ("XOM",): 1, ("MSFT",): 0, ("AAPL", "XOM"): 2, ("SPX",): 1, None: 2}
    got = {tickers: len(monitor.window(AMC.time, tickers).active) for tickers in counts}
    assert got == counts
    assert monitor.window(AMC.time, ("MSFT",)).cap_multiplier == 1.0


@pytest.mark.parametrize("symbol", ["", "AAPL"])
def test_days_that_no_source_covers_block_entries_and_say_why(symbol: str) -> None:
    """From where the rule would begin for the first of them: three sessions before 5 February."""
    days = UnknownSpan(
        "earnings", symbol, datetime.date(2018, 2, 5), datetime.date(2018, 2, 6), "source x down"
    )
    rule = EventRule(event_type="earnings", sessions_before=3, cap_multiplier=0.5)
    later = EventRule(event_type="earnings", sessions_before=1)
    monitor = watching(rules=[later, rule], unknown=[days])
    for now, blocked in {
        utc("2018-01-31 14:30") - 1: False,
        utc("2018-01-31 14:30"): True,
        utc("2018-02-07 04:59"): True,
        utc("2018-02-07 05:00"): False,
    }.items():
        window = monitor.window(now)
        assert window.block_new == blocked
        assert window.blocked(("AAPL", "MSFT")).tolist() == [blocked, blocked and not symbol]
        assert [c.code for c in window.cautions] == ["events_unknown"] * blocked
        assert window.cap_multiplier == 1.0
        report = monitor.report(now, 0.0, np.inf, 0.8, 1.25, np.zeros(0), [])
        assert report["risk_level"] == ("high" if blocked else "normal")
        assert report["recommended_action"] == ("block_new" if blocked else "none")
        assert [c["symbol"] for c in report["cautions"]] == [symbol or "MARKET"] * blocked
    assert "source x down" in monitor.window(utc("2018-02-05 15:00")).cautions[0].words
    assert bool(monitor.window(utc("2018-02-05 15:00"), ("MSFT",)).unknown) == (not symbol)


@pytest.mark.parametrize(
    ("needed", "inside"),
    [
        (NeededDate(tickers=("MSFT",)), [False, True, False, False]),
        (NeededDate(not_for=("SPX",)), [False, True, True, False]),
        (NeededDate(not_for=("SPX",), within_days=9), [True, True, True, False]),
        (NeededDate(event_type="dividend", tickers=("AAPL",)), [True, False, False, False]),
    ],
)
def test_a_ticker_without_the_date_it_needs_counts_as_inside_the_window(needed, inside) -> None:
    rule = EventRule(
        event_type="earnings", sessions_before=2, cap_multiplier=0.5, gap_log_return=0.2,
        reduce_to=0.0,
    )  # fmt: skip
    monitor = watching(AMC, rules=[rule], needed_dates=[needed], sectors=SECTORS)
    now = utc("2018-01-22 21:00")  # ten days before the earnings of AAPL
    tickers = ("AAPL", "MSFT", "GE", "SPX")
    window = monitor.window(now, tickers)
    assert window.blocked(tickers).tolist() == inside
    assert [c.symbol for c in window.cautions] == [
        t for t, is_inside in zip(tickers, inside, strict=True) if is_inside
    ]
    of_earnings = needed.event_type == "earnings"
    assert window.cap_multiplier == (0.5 if of_earnings else 1.0)
    jumping = {t for t, is_inside in zip(tickers, inside, strict=True) if is_inside and of_earnings}
    assert {jump.symbols for jump in window.jumps} == {(ticker,) for ticker in jumping}
    # No date, no deadline: what is unknown forces no trade.
    assert [window.size_fraction(t) for t in tickers] == [1.0] * 4
    # Asked of no tickers in particular, the window still knows who lacks a date.
    assert monitor.window(now).blocked(tickers).tolist() == inside
    level = monitor.report(now, 0.0, 1.0, 0.8, 1.25, np.zeros(0), [], tickers)["risk_level"]
    assert level == "elevated"


def test_a_needed_date_is_none_once_it_is_past_withdrawn_or_not_yet_public() -> None:
    withdrawn = replace(AMC, withdrawn_at=utc("2018-01-25 12:00"))
    for event, now, inside in [
        (AMC, AMC.known_at - 1, True),
        (AMC, AMC.known_at, False),
        (AMC, AMC.time, False),
        (AMC, AMC.time + 1, True),
        (withdrawn, utc("2018-01-25 11:59"), False),
        (withdrawn, utc("2018-01-25 12:00"), True),
    ]:
        monitor = watching(event, needed_dates=[NeededDate(tickers=("AAPL",))])
        assert monitor.window(now).block_new == inside


def test_the_report_says_when_the_last_chance_is_and_who_says_so() -> None:
    event = replace(AMC, source="a list", confidence="estimated")
    (row,) = watching(event).report(
        utc("2018-01-30 21:00"), 0.0, np.inf, 0.8, 1.25, np.zeros(0), []
    )["upcoming_events"]
    assert row == {
        "symbol": "AAPL", "event_type": "earnings", "date": "2018-02-01", "days_until": 2,
        "action": "watch", "sector": "", "importance": "high", "confidence": "estimated",
        "source": "a list", "deadline": "2018-02-01T21:00:00Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({}, "watch"),
        ({"gap_log_return": 0.1}, "watch"),
        ({"cap_multiplier": 0.9}, "tighten"),
        ({"cap_multipliers": {"vega": 0.5}}, "tighten"),
        ({"block_new": True}, "block_new"),
        ({"action": "block_new"}, "block_new"),
        ({"reduce": True}, "reduce_size"),
        ({"reduce_to": 0.5}, "reduce_size"),
        ({"action": "reduce_size", "reduce_to": 0.5}, "reduce_size"),
        ({"reduce_to": 0.0}, "flatten"),
        ({"action": "flatten"}, "flatten"),
    ],
)
def test_a_rule_names_what_it_does(values, kind) -> None:
    rule = load_config(EventRule, {"event_type": "cpi", "sessions_before": 1, **values})
    assert rule.kind == kind
    assert rule.blocks == (kind in ("block_new", "flatten") or "reduce_to" in values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"action": "hedge"}, "action: got 'hedge'"),
        ({"action": "hedge_gap"}, "gap_log_return: got 0.0; allowed with hedge_gap"),
        ({"hedge_gap": True}, "gap_log_return: got 0.0; allowed with hedge_gap"),
        ({"gap_history_days": 90}, "gap_log_return: got 0.0; allowed with gap_history_days"),
        ({"action": "tighten"}, "the other keys amount to 'watch'"),
        ({"action": "watch", "block_new": True}, "the other keys amount to 'block_new'"),
        ({"action": "reduce_size"}, "the other keys amount to 'watch'"),
        ({"action": "flatten", "reduce_to": 0.5}, "allowed with flatten: 0"),
        ({"cap_multipliers": {"vegas": 0.5}}, "'vegas' is no measure; allowed: delta,"),
        ({"cap_multipliers": {"vega": 0.0}}, "vega: got 0.0; allowed: above 0, up to 1"),
        ({"cap_multipliers": {"vega": 1.5}}, "vega: got 1.5"),
        ({"reduce_to": 0.5, "steps": 2}, "steps: got 2; allowed: up to sessions_before, 1"),
        ({"reduce_to": -0.1}, "reduce_to: got -0.1"),
        ({"importance": "huge"}, "importance: got 'huge'"),
        ({"sessions_after": 21}, "sessions_after: got 21"),
    ],
)
def test_a_rule_that_contradicts_itself_is_refused(values, words) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(EventRule, {"event_type": "cpi", "sessions_before": 1, **values})


def test_a_type_has_one_rule_for_each_importance_and_time() -> None:
    rule = {"event_type": "cpi", "sessions_before": 1}
    load_config(EventPolicy, {"rules": [rule, {**rule, "importance": "high"},
                                        {**rule, "sessions_before": 2}]})  # fmt: skip
    with pytest.raises(ConfigError, match=r"'cpi', 'low', 1.* has two rules"):
        load_config(EventPolicy, {"rules": [rule, {**rule, "block_new": True}]})
    with pytest.raises(ConfigError, match="tickers, not_for: got both"):
        load_config(EventPolicy, {"needed_dates": [{"tickers": ["A"], "not_for": ["B"]}]})


def test_a_policy_with_factors_has_a_hash_and_goes_through_json() -> None:
    rule = EventRule(event_type="cpi", sessions_before=1, cap_multipliers={"vega": 0.5})
    policy = EventPolicy(rules=(rule,), needed_dates=(NeededDate(),))
    again = load_config(EventPolicy, policy.model_dump(mode="json"))
    assert again == policy
    assert hash(again) == hash(policy)


UNKNOWN = (
    UnknownDays("earnings", "AAPL", datetime.date(2018, 2, 5), datetime.date(2018, 2, 9), "down"),
)


BLOCKING = EventRule(event_type="earnings", sessions_before=1, block_new=True)


def test_copies_and_bundles_carry_sectors_and_unknown_days(tmp_path) -> None:
    manager = PortfolioRiskManager(
        RiskLimits(caps=Caps(delta=1.0)), SESSIONS, events=[AMC], sectors=SECTORS,
        unknown_days=UNKNOWN, event_policy=EventPolicy(rules=(BLOCKING,)),
    )  # fmt: skip
    save_bundle(manager, tmp_path / "gate.zip")
    for copy in (pickle.loads(pickle.dumps(manager)), load_bundle(tmp_path / "gate.zip")[0]):
        assert copy.monitor.sectors == SECTORS
        assert copy.monitor.unknown == UNKNOWN
        for now in (AMC.time, utc("2018-02-06 15:00")):
            assert copy.monitor.window(now) == manager.monitor.window(now)
            assert copy.monitor.window(now).block_new
    monitor = pickle.loads(pickle.dumps(manager.monitor))
    assert (monitor.sectors, monitor.unknown) == (SECTORS, UNKNOWN)


def test_days_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="first, last: got 2018-02-06, 2018-02-05"):
        UnknownDays("cpi", "", datetime.date(2018, 2, 6), datetime.date(2018, 2, 5))
