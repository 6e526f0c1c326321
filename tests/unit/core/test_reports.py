"""The plan's JSON, key for key; Unknown is null, never 0."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from riskenv import (
    BreakerState,
    Caps,
    Event,
    EventPolicy,
    EventRule,
    FactorHistory,
    Instrument,
    Portfolio,
    PortfolioRiskManager,
    RiskGate,
    RiskLimits,
    VarConfig,
    VarReport,
    canonical,
)
from riskenv.gap_risk_monitor import EventWindow, GapRiskMonitor, recommended_action
from riskenv.measures import MEASURES

from ...property.worlds import DAY, HOUR, NOW, SESSIONS, TODAY, VAR, World, world

CPI = EventRule(event_type="cpi", sessions_before=2, cap_multiplier=0.5, gap_log_return=0.1)
EARNINGS = EventRule(event_type="earnings", sessions_before=3, reduce=True, gap_log_return=0.15)


def reported(w: World) -> dict:
    """Through JSON, as a client reads it."""
    report = RiskGate(w.manager, w.state).report(w.portfolio, w.market)
    return json.loads(json.dumps(report, allow_nan=False))


def test_var_is_taken_apart_by_position_and_underlying() -> None:
    var = reported(full_world())["var"]
    for horizon in ("1d", "3d", "5d"):
        parts = var["contributions"][horizon]
        for name in ("var", "es"):
            assert parts[name] == var[f"{name}_{horizon}"]
            for of in ("positions", "underlyings"):
                components = [part[f"component_{name}"] for part in parts[of].values()]
                assert sum(components) == pytest.approx(parts[name], rel=1e-9)
    assert reported(full_world(with_history=False, caps=Caps()))["var"]["contributions"] is None


def full_world(**changes) -> World:
    events = (
        Event("cpi", NOW + DAY, NOW - DAY),
        Event("earnings", NOW + 3 * DAY, NOW - DAY, symbol="A"),
        Event("dividend", NOW + 4 * DAY, NOW - DAY, symbol="B"),
    )
    caps = Caps(var_1d=9e4, var_3d=9e4, gap_loss=1e4, delta=1e4)
    return world(5, **{"caps": caps, "events": events,
                       "policy": EventPolicy(rules=(CPI, EARNINGS))} | changes)  # fmt: skip


def is_number(x) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)


def test_portfolio_greeks() -> None:
    greeks = reported(full_world())["greeks"]
    first = ["delta", "gamma", "theta", "vega", "timestamp", "positions_count"]
    assert list(greeks)[:6] == first
    assert all(is_number(greeks[name]) for name in first[:4])
    assert greeks["timestamp"] == "1970-10-27T21:00:00Z"
    assert type(greeks["positions_count"]) is int
    assert greeks["positions_count"] == len(full_world().portfolio.positions())


def test_value_at_risk() -> None:
    w = full_world()
    equity = float(w.assess()[1].equity)
    lost = BreakerState(session=TODAY, day_start_equity=equity + 1800.0, high_water_mark=equity,
                        last_equity=equity)  # fmt: skip
    var = reported(replace(w, state=lost))["var"]
    names = ["var_1d", "var_3d", "var_5d", "confidence", "current_exposure", "status"]
    assert list(var)[:6] == names
    assert all(is_number(var[name]) for name in names[:5])
    assert var["var_1d"] <= 0.0
    assert var["confidence"] == 1.0 - 0.03
    assert var["current_exposure"] == pytest.approx(-1800.0)
    assert var["status"] == "within_limits"
    gained = reported(replace(w, state=replace(lost, day_start_equity=equity - 1.0)))["var"]
    assert gained["current_exposure"] == 0.0


def test_gap_risk() -> None:
    events = reported(full_world())["events"]
    assert list(events)[:3] == ["upcoming_events", "risk_level", "recommended_action"]
    plans_keys = ["symbol", "event_type", "date", "days_until", "action"]
    assert [list(row)[:5] for row in events["upcoming_events"]] == [plans_keys] * 3
    assert [{key: row[key] for key in plans_keys} for row in events["upcoming_events"]] == [
        {"symbol": "MARKET", "event_type": "cpi", "date": "1970-10-28", "days_until": 1,
         "action": "tighten"},
        {"symbol": "A", "event_type": "earnings", "date": "1970-10-30", "days_until": 3,
         "action": "reduce_size"},
        {"symbol": "B", "event_type": "dividend", "date": "1970-10-31", "days_until": 4,
         "action": "watch"},
    ]  # fmt: skip
    assert events["risk_level"] in ("normal", "elevated", "high", "critical")


def test_a_decision_explains_every_measure() -> None:
    w = full_world()
    d = json.loads(RiskGate(w.manager).check(w.portfolio, w.market, {}).to_bytes())
    assert list(d["measures"]) == sorted(MEASURES)
    for measure in d["measures"].values():
        assert set(measure) == {
            "before", "after", "cap_low", "cap_high", "headroom", "used_before", "used_after",
            "verdict",
        }  # fmt: skip
    assert d["measures"]["delta"]["cap_high"] == 5e3  # halved by the event
    assert d["measures"]["vega"]["cap_high"] is None
    assert {d["measures"][n]["verdict"] for n in ("vega", "delta")} == {"uncapped", "inside"}
    assert d["measures"]["delta"]["headroom"] == 5e3 - abs(d["measures"]["delta"]["after"])


def test_a_decisions_bytes_are_canonical_json() -> None:
    w = full_world()
    body = RiskGate(w.manager).check(w.portfolio, w.market, {}).to_bytes()
    assert canonical.to_bytes(json.loads(body)) == body
    assert b"NaN" not in body
    assert b"Infinity" not in body
    assert b"-0.0" not in body


@pytest.mark.parametrize("field", ["bid", "vol"])
def test_unknown_is_null_with_its_reason_not_zero(field: str) -> None:
    w = full_world()
    held = int(np.flatnonzero(w.portfolio.quantity * w.table.kind)[0])
    column = getattr(w.market, field).copy()
    column[held] = np.nan
    report = reported(w.with_market(**{field: column}))
    for name in ("delta", "gamma", "theta", "vega", "dollar_delta", "dollar_gamma"):
        assert report["greeks"][name] is None
    reason = {"bid": "quote_missing", "vol": "vol_invalid"}[field]
    assert report["greeks"]["unknown"] == {w.table.symbols[held]: reason}
    other = next(t for t in ("A", "B") if t != w.table.instruments[held].underlying)
    assert is_number(report["greeks"]["by_underlying"][other]["delta"])
    for name in ("var_1d", "es_1d", "var_3d", "var_5d"):
        assert report["var"][name] is None
    # What the account has lost is known where the quote is one.
    assert (report["var"]["current_exposure"] is None) == (field == "bid")
    assert report["var"]["status"] == "unknown"
    assert report["events"]["gap_loss"] is None
    assert report["events"]["risk_level"] == "critical"
    assert report["events"]["recommended_action"] == "flatten"
    assert report["rung"] == "BLOCK_NEW"


def test_without_a_history_var_is_unknown_not_zero() -> None:
    w = world(5, caps=Caps(delta=1e9), with_history=False)
    var = reported(w)["var"]
    assert (var["var_1d"], var["es_5d"], var["status"]) == (None, None, "unknown")


def test_a_ticker_without_history_is_unknown_and_the_other_is_not() -> None:
    w = world(5, caps=Caps(es_1d=1e9), held=0)
    history = w.manager.history
    short = FactorHistory(("B",), history.times, history.log_return[:, 1:],
                          history.log_vol_change[:, 1:])  # fmt: skip
    manager = type(w.manager)(w.manager.limits, SESSIONS, history=short, var=w.manager.var)
    for ticker, known in (("A", False), ("B", True)):
        rows = w.table.underlying_index == w.table.underlyings.index(ticker)
        book = replace(w, manager=manager).with_book(np.where(rows, 1.0, 0.0))
        assert (reported(book)["var"]["var_1d"] is not None) == known


def test_too_short_a_history_is_unknown() -> None:
    w = world(5, caps=Caps(es_1d=1e9))
    h = w.manager.history
    for days, known in ((99, False), (100, True)):
        last = slice(len(h.times) - days, None)
        short = FactorHistory(h.underlyings, h.times[last], h.log_return[last],
                              h.log_vol_change[last])  # fmt: skip
        manager = type(w.manager)(w.manager.limits, SESSIONS, history=short, var=w.manager.var)
        report = reported(replace(w, manager=manager))
        assert (report["var"]["var_1d"] is not None) == known
        assert (report["rung"] == "BLOCK_NEW") == (not known)
        assert report["var"]["var_5d"] is None  # 96 windows of five sessions


@pytest.mark.parametrize(
    ("var", "exposure", "status"),
    [
        ((-2500.0, -4200.0, -5800.0), -1800.0, "within_limits"),
        ((-3000.0, -4200.0, -5800.0), -1800.0, "warning"),  # 0.8 of 3,500 is 2,800
        ((-2500.0, -4200.0, -5800.0), -2801.0, "warning"),
        ((-2500.0, -4200.0, -5800.0), -2800.0, "within_limits"),
        ((-2500.0, -6001.0, -5800.0), -1800.0, "breached"),
        ((-2500.0, -6000.0, -5800.0), -1800.0, "warning"),
        ((-2500.0, -4200.0, -1e9), -1800.0, "within_limits"),  # no limit on five days
        ((-2500.0, -4200.0, -5800.0), -3501.0, "breached"),
        ((-9e9, np.nan, -5800.0), -1800.0, "unknown"),
        ((-2500.0, -4200.0, -5800.0), np.nan, "unknown"),
        ((0.0, 0.0, 0.0), 0.0, "within_limits"),
    ],
)
def test_status(var, exposure, status) -> None:
    limits = np.array([3500.0, 6000.0, np.inf])
    report = VarReport(np.array(var), np.array(var), limits, 0.8, 0.01, exposure)
    assert report.status == report.to_dict()["status"] == status


@pytest.mark.parametrize(
    ("recorded", "status"),
    [
        (None, "within_limits"), (-2799.0, "within_limits"), (-2801.0, "warning"),
        (-3501.0, "breached"), (np.nan, "unknown"), (0.0, "within_limits"),
    ],
)  # fmt: skip
def test_status_takes_the_worse_of_the_book_and_of_what_was_recorded(recorded, status) -> None:
    var = np.array([-2500.0, -4200.0, -5800.0])
    report = VarReport(var, var, np.array([3500.0, 9e9, 9e9]), 0.8, 0.01, 0.0,
                       recorded=recorded)  # fmt: skip
    told = report.to_dict()
    assert told["status"] == status
    assert told["var_1d"] == -2500.0
    want = None if recorded is None or np.isnan(recorded) else recorded
    assert told["recorded_var_1d"] == want


def test_a_recorded_series_counts_in_the_report_and_in_no_verdict() -> None:
    w = world(3, caps=Caps(var_1d=9e4))
    _, a = w.assess()
    plain = w.manager.report(a)["var"]
    losing = np.concatenate([np.full(500, -2e5), np.full(110, 1.0), np.full(10, -1e5)])
    told = w.manager.report(a, losing)["var"]
    assert (plain["status"], plain["recorded_var_1d"]) == ("within_limits", None)
    assert (told["status"], told["recorded_var_1d"]) == ("breached", -1e5)
    assert told["var_1d"] == plain["var_1d"]
    assert w.manager.report(a, losing[-99:])["var"]["status"] == "unknown"  # too few
    assert w.manager.report(a, [*losing[1:], np.nan])["var"]["status"] == "unknown"
    assert RiskGate(w.manager, w.state).report(w.portfolio, w.market, losing)["var"] == told
    with pytest.raises(ValueError, match="a P&L a session"):
        w.manager.report(a, losing[None])


def test_the_worst_stress_is_reported_with_its_name() -> None:
    w = world(3, held=0)
    book = np.zeros(len(w.table))
    book[w.table.index[Instrument("A")]] = 10.0
    stressed = VarConfig(**{**VAR.model_dump(), "stress": {"crises": True}})
    manager = PortfolioRiskManager(
        RiskLimits(caps=Caps()), SESSIONS, history=w.manager.history, var=stressed
    )
    told = replace(w, manager=manager).with_book(book)
    report = manager.report(told.assess()[1])["var"]
    assert report["worst_stress"] == "1987-10-19 2d"
    fall = 224.84 / 298.08 - 1.0
    assert report["stress_3d"] == pytest.approx(10.0 * w.market.spot[0] * fall)
    assert report["stress_1d"] > report["stress_3d"] == report["stress_5d"]
    flat = manager.report(replace(w, manager=manager).assess()[1])["var"]
    assert (flat["worst_stress"], flat["stress_1d"]) == (None, 0.0)
    none = w.manager.report(w.assess()[1])["var"]
    assert (none["worst_stress"], none["stress_1d"]) == (None, None)


J = np.array


@pytest.mark.parametrize(
    ("pnl", "cap", "hedges", "action"),
    [
        ([-1000.0, 400.0], 1000.0, [], "none"),
        ([-1000.0, 400.0], np.inf, [], "none"),
        ([-1000.0, 400.0], 700.0, [], "reduce_size_by_30pct"),
        ([-1000.0, 400.0], 699.0, [], "reduce_size_by_31pct"),
        ([-1000.0, 400.0], 1e-9, [], "reduce_size_by_100pct"),
        ([-1000.0, 400.0], 1000.0 - 1e-12, [], "reduce_size_by_1pct"),
        # Selling the delta repairs the fall; each hedge is the whole delta of one ticker.
        ([-1000.0, 900.0], 700.0, [J([1000.0, -1000.0])], "reduce_delta_by_30pct"),
        ([-1000.0, 900.0], 700.0, [J([500.0, -500.0])] * 2, "reduce_delta_by_30pct"),
        # A short straddle loses both ways: no delta to sell.
        ([-1000.0, -1000.0], 700.0, [J([100.0, -100.0])], "reduce_size_by_30pct"),
        # Selling enough for the fall breaks the rise.
        ([-1000.0, -650.0], 700.0, [J([500.0, -500.0])], "reduce_size_by_30pct"),
        ([np.nan, 400.0], 700.0, [], "flatten"),
    ],
)
def test_recommended_action(pnl, cap, hedges, action) -> None:
    pnl = np.array(pnl)
    assert recommended_action(EventWindow(), float(np.min(pnl)), cap, pnl, hedges) == action


def test_what_is_recommended_suffices() -> None:
    """The number in the recommendation is tried on the book."""
    for seed in range(30):
        w = full_world(caps=Caps(gap_loss=2500.0 + 100.0 * seed))
        w = w.with_book(world(seed).portfolio.quantity)
        _, a = w.assess()
        action = w.manager.report(a)["events"]["recommended_action"]
        if not action.startswith("reduce"):
            assert a.before[-1] >= a.low[-1]
            continue
        percent = float(action.removesuffix("pct").rsplit("_", 1)[1]) / 100.0
        book = w.portfolio.quantity
        if action.startswith("reduce_size"):
            after = book * (1.0 - percent)
        else:
            after = book.copy()
            for u in range(2):
                on = w.table.underlying_index == u
                rows = a.matrices.X[a.matrices.rows][:, 0]
                share = np.flatnonzero(on & (w.table.kind == 0))[0]
                after[share] -= percent * (book[on] @ rows[on])
        _, b = w.with_book(after).assess()
        assert b.before[-1] >= a.low[-1] - 1e-6 * abs(a.before[-1]), (seed, action)


EVENT = Event("fomc", time=int(SESSIONS.closes[50]) - 2 * HOUR, known_at=int(SESSIONS.opens[30]))


@pytest.mark.parametrize(
    ("now", "active", "listed"),
    [
        (EVENT.known_at - 1, False, False),  # not yet public
        (EVENT.known_at, False, False),  # public, beyond the report
        (int(SESSIONS.closes[46]), False, True),
        (int(SESSIONS.opens[47]) - 1, False, True),  # three sessions left
        (int(SESSIONS.opens[47]), True, True),  # the first of them has begun
        (int(SESSIONS.closes[47]), True, True),
        (int(SESSIONS.closes[49]), True, True),
        (EVENT.time, True, True),  # the very moment
        (EVENT.time + 1, False, False),
    ],
)
def test_a_rule_holds_in_the_last_sessions_before_an_event_that_is_known(now, active, listed):
    rule = EventRule(event_type="fomc", sessions_before=3)
    monitor = GapRiskMonitor([EVENT], EventPolicy(rules=(rule,)), SESSIONS)
    window = monitor.window(now)
    assert (bool(window.active), bool(window.upcoming)) == (active, listed)


@pytest.mark.parametrize("before", [0, 1, HOUR])
def test_an_event_is_invisible_until_it_is_public(before: int) -> None:
    """An unscheduled meeting, announced in the last session before it."""
    known_at = int(SESSIONS.closes[49]) + HOUR
    rule = EventRule(event_type="fomc", sessions_before=3, block_new=True)
    monitor = GapRiskMonitor(
        [replace(EVENT, known_at=known_at)], EventPolicy(rules=(rule,)), SESSIONS
    )
    window = monitor.window(known_at - before)
    assert bool(window.active) == bool(window.upcoming) == window.block_new == (before == 0)


def test_an_event_beyond_the_calendar_blocks_entries() -> None:
    end = int(SESSIONS.closes[-1])
    event = Event("fomc", end + HOUR, 0)
    policy = EventPolicy(rules=(EventRule(event_type="fomc", sessions_before=1),))
    window = GapRiskMonitor([event], policy, SESSIONS).window(end - 2 * HOUR)
    assert window.calendar_unknown
    assert window.block_new


def test_days_until_are_counted_on_the_exchanges_calendar() -> None:
    """20:30 in New York is half past midnight in UTC: tomorrow's news is a day ahead there."""
    now = 1_765_758_600_000_000_000  # 2025-12-15T00:30Z, the evening of the 14th in New York
    event = Event("cpi", 1_765_805_400_000_000_000, 0)  # 2025-12-15T13:30Z
    monitor = GapRiskMonitor([event], EventPolicy(), SESSIONS)
    report = monitor.report(now, 0.0, np.inf, 0.8, 1.25, np.zeros(0), [])
    assert report["upcoming_events"][0]["days_until"] == 1
    assert report["upcoming_events"][0]["date"] == "2025-12-15"


def test_two_rules_for_one_type_are_refused() -> None:
    with pytest.raises(ValueError, match="two rules"):
        GapRiskMonitor([], EventPolicy(rules=(CPI, CPI)), SESSIONS)


def test_a_report_changes_no_state() -> None:
    w = full_world()
    gate = RiskGate(w.manager, BreakerState(last_equity=5.0, day_start_equity=5.0, session=3))
    before = gate.state.digest
    gate.report(w.portfolio, w.market)
    assert gate.state.digest == before


def test_a_book_over_another_table_is_refused() -> None:
    w, other = full_world(), full_world()
    with pytest.raises(ValueError, match="same InstrumentTable"):
        w.manager.assess(w.state, other.portfolio, w.market)
    with pytest.raises(ValueError, match="same InstrumentTable"):
        w.manager.assess(w.state, Portfolio(other.table, other.portfolio.quantity, 0.0), w.market)
