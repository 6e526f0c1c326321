"""Alerts reach each sink as they are, and no sink changes or stops a decision."""

from __future__ import annotations

import hashlib
import logging
import math
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import parser

from riskenv import (
    Alert,
    Caps,
    Decision,
    Instrument,
    InstrumentTable,
    Market,
    Portfolio,
    PortfolioRiskManager,
    RiskGate,
    RiskLimits,
    ScopeCaps,
    Sessions,
    Verdict,
)
from riskenv.alert_sinks import LoggingSink, MetricsSink, dispatch
from riskenv.measures import INDEX, MEASURES

HOUR = 3_600 * 10**9
DAYS = np.arange(10) * 24 * HOUR
SPY = Instrument("SPY")
TABLE = InstrumentTable.of([SPY])


def decide(held: float, trade: float) -> Decision:
    """A book of shares under a cap of 100 deltas."""
    sessions = Sessions(DAYS + 14 * HOUR, DAYS + 21 * HOUR)
    gate = RiskGate(PortfolioRiskManager(RiskLimits(caps=Caps(delta=100)), sessions))
    market = Market(
        15 * HOUR, TABLE, np.array([400.0]), 0.02, np.zeros(1), np.array([399.99]),
        np.array([400.01]), np.zeros(1),
    )  # fmt: skip
    return gate.check(Portfolio.of(TABLE, {SPY: held}, cash=1e5), market, {SPY: trade})


def decide_by_ticker(held: float) -> Decision:
    """A book of shares under a cap of 100 deltas in each ticker."""
    sessions = Sessions(DAYS + 14 * HOUR, DAYS + 21 * HOUR)
    limits = RiskLimits(caps=Caps(), by_underlying={"*": ScopeCaps(delta=100)})
    market = Market(
        15 * HOUR, TABLE, np.array([400.0]), 0.02, np.zeros(1), np.array([399.99]),
        np.array([400.01]), np.zeros(1),
    )  # fmt: skip
    gate = RiskGate(PortfolioRiskManager(limits, sessions))
    return gate.check(Portfolio.of(TABLE, {SPY: held}, cash=1e5), market, {})


QUIET = decide(10, 20)  # ALLOW, no alerts
WARNED = decide(90, 50)  # RESIZE at WARN, one warning
BROKEN = decide(110, 50)  # BLOCK at BLOCK_NEW, two critical alerts


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class Raises:
    def receive(self, decision: Decision) -> None:
        raise OSError("disk full")


class Bytes:
    def __init__(self) -> None:
        self.received: list[bytes] = []

    def receive(self, decision: Decision) -> None:
        self.received.append(decision.to_bytes())


@pytest.fixture
def desk() -> tuple[logging.Logger, list[logging.LogRecord]]:
    """A logger of its own and what is written to it."""
    logger, handler = logging.Logger("desk"), Records()
    logger.addHandler(handler)
    return logger, handler.records


# --- the log --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decision", "logged"),
    [
        (QUIET, []),
        (WARNED, [(logging.WARNING, "cap_used delta at rung WARN: RESIZE")]),
        (
            BROKEN,
            [
                (logging.CRITICAL, "cap_used delta at rung BLOCK_NEW: BLOCK"),
                (logging.CRITICAL, "rung_block_new at rung BLOCK_NEW: BLOCK"),
            ],
        ),
    ],
)
def test_each_alert_is_one_record_at_its_level(decision, logged, desk) -> None:
    logger, records = desk
    assert len(decision.alerts) == len(logged)
    assert dispatch(decision, [LoggingSink(logger)]) == ()
    assert [(r.levelno, r.getMessage()) for r in records] == logged


def test_a_record_says_which_decision_it_is_of(desk) -> None:
    logger, records = desk
    LoggingSink(logger).receive(BROKEN)
    record, rung = (vars(r) for r in records)
    wanted = {
        "alert_level": "critical",
        "alert_code": "cap_used",
        "alert_measure": "delta",
        "used": 1.1,
        "verdict": "BLOCK",
        "rung": "BLOCK_NEW",
        "decision_time": "1970-01-01T15:00:00Z",
        "decision_now": 15 * HOUR,
        "decision_digest": hashlib.sha256(BROKEN.to_bytes()).hexdigest(),
        "state_digest": BROKEN.state.digest,
        "config_digest": BROKEN.config_digest,
    }
    assert {key: record[key] for key in wanted} == wanted
    assert (rung["alert_measure"], rung["used"]) == ("", None)


@pytest.mark.parametrize(
    ("alert", "level"),
    [
        (Alert("warning", "x", ""), logging.WARNING),
        (Alert("critical", "x", "day_loss"), logging.CRITICAL),
        (Alert("louder than that", "x", ""), logging.CRITICAL),
    ],
)
def test_a_level_that_is_not_known_is_critical(alert: Alert, level: int, desk) -> None:
    logger, records = desk
    LoggingSink(logger).receive(replace(QUIET, alerts=(alert,)))
    assert [r.levelno for r in records] == [level]


# --- metrics --------------------------------------------------------------------------------------


def used(decision: Decision, **changes: float) -> Decision:
    """The decision with other shares of the delta cap in use."""
    arrays = {name: getattr(decision, name).copy() for name in changes}
    for name, value in changes.items():
        arrays[name][INDEX["delta"]] = value
    other = replace(decision)
    other.__dict__.update(arrays)  # shares after a trade are worked out from the measures
    return other


def test_decisions_alerts_and_shares_are_counted_as_they_come() -> None:
    metrics = MetricsSink()
    for decision in (BROKEN, QUIET, WARNED, BROKEN, used(WARNED, used_after=math.nan)):
        metrics.receive(decision)
    assert metrics.render() == (
        "# HELP riskenv_decisions_total Decisions made, by verdict.\n"
        "# TYPE riskenv_decisions_total counter\n"
        'riskenv_decisions_total{verdict="ALLOW"} 1\n'
        'riskenv_decisions_total{verdict="RESIZE"} 2\n'
        'riskenv_decisions_total{verdict="BLOCK"} 2\n'
        'riskenv_decisions_total{verdict="REDUCE"} 0\n'
        'riskenv_decisions_total{verdict="VIOLATE"} 0\n'
        "# HELP riskenv_alerts_total Alerts raised, by level, code and measure (empty: of none).\n"
        "# TYPE riskenv_alerts_total counter\n"
        'riskenv_alerts_total{level="critical",code="cap_used",measure="delta"} 2\n'
        'riskenv_alerts_total{level="critical",code="rung_block_new",measure=""} 2\n'
        'riskenv_alerts_total{level="warning",code="cap_used",measure="delta"} 2\n'
        "# HELP riskenv_used_share Share of each cap in use before and after the last decision; "
        "1 is on the cap.\n"
        "# TYPE riskenv_used_share gauge\n"
        'riskenv_used_share{when="before",measure="delta"} 0.9\n'
        'riskenv_used_share{when="after",measure="delta"} NaN\n'
    )


def test_the_order_in_which_alerts_came_does_not_show() -> None:
    texts = set()
    for decisions in ((WARNED, BROKEN, QUIET), (BROKEN, WARNED, QUIET)):
        metrics = MetricsSink()
        for decision in decisions:
            metrics.receive(decision)
        texts.add(metrics.render())
    assert len(texts) == 1


def test_a_cap_on_a_ticker_is_told_like_one_on_the_book(
    desk: tuple[logging.Logger, list[logging.LogRecord]],
) -> None:
    logger, records = desk
    decision, metrics = decide_by_ticker(90.0), MetricsSink()
    (alert,) = decision.alerts
    dispatch(decision, [LoggingSink(logger), metrics])
    assert (records[0].alert_measure, records[0].used) == (alert.measure, 0.9)
    assert alert.measure not in MEASURES
    assert f'riskenv_used_share{{when="after",measure="{alert.measure}"}} 0.9' in metrics.render()


@pytest.mark.parametrize("share", [0.0, 0.1 + 0.2, 1e-300, math.inf, -math.inf, math.nan])
def test_prometheus_own_parser_reads_what_was_written(share: float) -> None:
    odd = Alert("warning", 'quote " slash \\ line \n end \\n', "Δ, {x}=1")
    metrics = MetricsSink()
    for decision in (BROKEN, replace(QUIET, alerts=(odd, odd)), used(QUIET, used_after=share)):
        metrics.receive(decision)
    families = {f.name: f for f in parser.text_string_to_metric_families(metrics.render())}
    assert {name: f.type for name, f in families.items()} == {
        "riskenv_decisions": "counter",
        "riskenv_alerts": "counter",
        "riskenv_used_share": "gauge",
    }
    assert all(f.documentation for f in families.values())
    read = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families.values()
        for sample in family.samples
    }
    after = read.pop(("riskenv_used_share", "after", "delta"))
    assert after == share or (math.isnan(after) and math.isnan(share))
    assert read == {
        ("riskenv_decisions_total", "ALLOW"): 2.0,
        ("riskenv_decisions_total", "RESIZE"): 0.0,
        ("riskenv_decisions_total", "BLOCK"): 1.0,
        ("riskenv_decisions_total", "VIOLATE"): 0.0,
        ("riskenv_decisions_total", "REDUCE"): 0.0,
        ("riskenv_alerts_total", "critical", "cap_used", "delta"): 1.0,
        ("riskenv_alerts_total", "critical", "rung_block_new", ""): 1.0,
        ("riskenv_alerts_total", odd.level, odd.code, odd.measure): 2.0,
        ("riskenv_used_share", "before", "delta"): 0.1,
    }


# --- dispatch -------------------------------------------------------------------------------------


def test_a_failing_sink_is_logged_once_and_the_others_get_the_decision(caplog) -> None:
    first, last, broken = Bytes(), Bytes(), Raises()
    before = BROKEN.to_bytes()
    with caplog.at_level(logging.ERROR, "riskenv.alert_sinks"):
        failures = dispatch(BROKEN, [first, broken, last])
    assert first.received == last.received == [before]
    assert BROKEN.to_bytes() == before
    assert [(f.sink, repr(f.error)) for f in failures] == [(broken, "OSError('disk full')")]
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "alert sink Raises failed")
    assert record.exc_info is not None
    assert record.exc_info[1] is failures[0].error


def test_a_log_that_fails_too_stops_nothing() -> None:
    class Full(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("log full")

    log, handler, last = logging.getLogger("riskenv.alert_sinks"), Full(), Bytes()
    log.addHandler(handler)
    try:
        failures = dispatch(BROKEN, [Raises(), LoggingSink(log), last])
    finally:
        log.removeHandler(handler)
    said = [str(f.error) for f in failures]
    assert said == ["disk full", "log full", "log full", "log full"]
    assert last.received == [BROKEN.to_bytes()]


def test_a_sink_cannot_change_what_is_done() -> None:
    class Vandal:
        """Writes into every array, also into those that say that they are read-only."""

        def receive(self, decision: Decision) -> None:
            for name in ("trades", "after_interval", "low"):
                array = getattr(decision, name)
                with pytest.raises(ValueError, match="read-only"):
                    array[:] = 7.0
                array.flags.writeable = True
                array[:] = 7.0

    decision = decide(90, 50)
    before = decision.to_bytes()
    assert dispatch(decision, [Vandal()]) == ()
    assert decision.to_bytes() == before == WARNED.to_bytes()
    assert decision.trades.flags.writeable == WARNED.trades.flags.writeable


def test_an_operators_interrupt_is_no_failure_of_a_sink() -> None:
    class Interrupted:
        def receive(self, decision: Decision) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dispatch(QUIET, [Interrupted()])


def test_every_verdict_has_its_counter_from_the_start() -> None:
    text = MetricsSink().render()
    for verdict in Verdict:
        assert f'riskenv_decisions_total{{verdict="{verdict.value}"}} 0\n' in text
