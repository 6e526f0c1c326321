"""Where the alerts of a decision go: a log, metrics, or what else has a `receive`.

Sinks stand outside the pure core: they are handed a decision that was already made, and nothing
that they do or fail to do changes it.

    state, decision = manager.decide(state, assessment, proposal)
    dispatch(decision, [LoggingSink(logging.getLogger("desk")), metrics])
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np

from riskenv import canonical
from riskenv.decision import Decision, Verdict
from riskenv.portfolio_greeks import timestamp

_LOG = logging.getLogger(__name__)

_LEVELS = {"warning": logging.WARNING, "critical": logging.CRITICAL}


class AlertSink(Protocol):
    """Takes note of a decision.

    Example:
        >>> class Bell:
        ...     def receive(self, decision: Decision) -> None:
        ...         self.rings = len(decision.alerts)
        >>> sinks: list[AlertSink] = [Bell(), MetricsSink()]
    """

    def receive(self, decision: Decision) -> None:
        """Take note of one decision, with or without alerts. Its arrays are read-only copies."""


@dataclass(frozen=True, eq=False, slots=True)
class SinkFailure:
    """A sink that raised, and what.

    Example:
        >>> SinkFailure(MetricsSink(), OSError("disk full")).error
        OSError('disk full')
    """

    sink: AlertSink
    error: Exception


def dispatch(decision: Decision, sinks: Iterable[AlertSink]) -> tuple[SinkFailure, ...]:
    """Hand a decision to each sink; one that fails stops neither the others nor the decision.

    A failing sink costs one ERROR record with its traceback on the logger `riskenv.alert_sinks`,
    each time that it fails, and stands in what is returned: () if all went well. Nothing is
    raised, not even where that record cannot be written. (KeyboardInterrupt and SystemExit are no
    failures, and pass.) Sinks get a copy of the decision with arrays of its own, so that none of
    them can change what is done.

    Example:
        >>> import numpy as np
        >>> from riskenv import Caps, Instrument, InstrumentTable, Market, Portfolio, RiskGate
        >>> from riskenv import PortfolioRiskManager, RiskLimits, Sessions
        >>> hour = 3_600_000_000_000
        >>> days = np.arange(10) * 24 * hour
        >>> sessions = Sessions(days + 14 * hour, days + 21 * hour)
        >>> gate = RiskGate(PortfolioRiskManager(RiskLimits(caps=Caps(delta=100)), sessions))
        >>> spy = Instrument("SPY")
        >>> table = InstrumentTable.of([spy])
        >>> market = Market(15 * hour, table, np.array([400.0]), 0.02, np.array([0.0]),
        ...                 np.array([399.99]), np.array([400.01]), np.array([0.0]))
        >>> decision = gate.check(Portfolio.of(table, {spy: 90.0}, cash=1e5), market, {spy: 50.0})
        >>> metrics = MetricsSink()
        >>> dispatch(decision, [metrics])
        ()
        >>> print(metrics.render().partition("# HELP riskenv_alerts")[0], end="")
        # HELP riskenv_decisions_total Decisions made, by verdict.
        # TYPE riskenv_decisions_total counter
        riskenv_decisions_total{verdict="ALLOW"} 0
        riskenv_decisions_total{verdict="RESIZE"} 1
        riskenv_decisions_total{verdict="BLOCK"} 0
        riskenv_decisions_total{verdict="REDUCE"} 0
        riskenv_decisions_total{verdict="VIOLATE"} 0
    """
    failures = []
    sealed = None
    for sink in sinks:
        try:
            sealed = sealed or _sealed(decision)
            sink.receive(sealed)
        except Exception as error:
            failures.append(SinkFailure(sink, error))
            try:
                _LOG.exception("alert sink %s failed", type(sink).__name__)
            except Exception as unlogged:  # a handler of the log raised: returned all the same
                failures.append(SinkFailure(sink, unlogged))
    return tuple(failures)


def _sealed(decision: Decision) -> Decision:
    copies: dict[str, Any] = {}
    for field in fields(decision):
        value = getattr(decision, field.name)
        if isinstance(value, np.ndarray):
            copies[field.name] = value.copy()
            copies[field.name].flags.writeable = False
    return replace(decision, **copies)


class LoggingSink:
    """One log record for each alert.

    Alerts of level "warning" are logged as WARNING, all others as CRITICAL. For handlers that
    write structured logs each record carries `alert_level`, `alert_code`, `alert_measure`,
    `verdict`, `rung`, `decision_time` (ISO 8601), `decision_now` (nanoseconds UTC), `used` (share
    of the measure's cap before the decision; None where there is none or it is Unknown),
    `decision_digest` (sha256 of the decision's `to_bytes`), `state_digest` and `config_digest`.

    Args:
        logger: where to.

    Example:
        >>> LoggingSink(logging.getLogger("desk")).logger.name
        'desk'
    """

    def __init__(self, logger: logging.Logger) -> None:
        self.logger = logger

    def receive(self, decision: Decision) -> None:
        if not decision.alerts:
            return
        shared: dict[str, object] = {
            "verdict": decision.verdict.value,
            "rung": decision.rung.name,
            "decision_time": timestamp(decision.now),
            "decision_now": decision.now,
            "decision_digest": canonical.digest(decision.to_dict()),
            "state_digest": decision.state.digest,
            "config_digest": decision.config_digest,
        }
        for alert in decision.alerts:
            used = None
            if alert.measure in decision.names:
                used = canonical.number(decision.used_before[decision.names.index(alert.measure)])
            extra = {
                "alert_level": alert.level,
                "alert_code": alert.code,
                "alert_measure": alert.measure,
                "used": used,
            }
            self.logger.log(
                _LEVELS.get(alert.level, logging.CRITICAL),
                "%s%s at rung %s: %s",
                alert.code,
                f" {alert.measure}" if alert.measure else "",
                decision.rung.name,
                decision.verdict.value,
                extra=shared | extra,
            )


class MetricsSink:
    """Counts decisions and alerts, and keeps how far the last decision used each cap.

    `render` gives them in the Prometheus text exposition format, version 0.0.4
    (https://prometheus.io/docs/instrumenting/exposition_formats/), to be served as
    `CONTENT_TYPE`. Counters begin at 0 with the object. A measure without a cap has no gauge; one
    that is Unknown is NaN, as unknown is not zero.

    Example:
        >>> print(MetricsSink().render().splitlines()[-1])
        # TYPE riskenv_used_share gauge
    """

    CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self.decisions = {verdict.value: 0 for verdict in Verdict}
        self.alerts: dict[tuple[str, str, str], int] = {}
        self.used: dict[tuple[str, str], float] = {}

    def receive(self, decision: Decision) -> None:
        self.decisions[decision.verdict.value] += 1
        for alert in decision.alerts:
            key = (alert.level, alert.code, alert.measure)
            self.alerts[key] = self.alerts.get(key, 0) + 1
        capped = np.isfinite(decision.low) | np.isfinite(decision.high)
        # A new dict in one assignment: who renders meanwhile sees the old one or the new one.
        self.used = {
            (when, decision.names[j]): float(used[j])
            for when, used in (("before", decision.used_before), ("after", decision.used_after))
            for j in np.flatnonzero(capped)
        }

    def render(self) -> str:
        """All metrics as text; the same counts give the same bytes, whatever came first."""
        return "".join(
            (
                _family(
                    "riskenv_decisions_total", "counter", "Decisions made, by verdict.",
                    ("verdict",), {(verdict,): n for verdict, n in self.decisions.items()},
                ),
                _family(
                    "riskenv_alerts_total", "counter",
                    "Alerts raised, by level, code and measure (empty: of none).",
                    ("level", "code", "measure"), dict(sorted(self.alerts.copy().items())),
                ),
                _family(
                    "riskenv_used_share", "gauge",
                    "Share of each cap in use before and after the last decision; 1 is on the cap.",
                    ("when", "measure"), self.used,
                ),
            )
        )  # fmt: skip


def _family(
    name: str,
    kind: str,
    help_text: str,
    labels: tuple[str, ...],
    samples: Mapping[Any, float],
) -> str:
    """One metric; `samples` by the values of its labels, a tuple as long as `labels`."""
    lines = [f"# HELP {name} {_escape(help_text)}", f"# TYPE {name} {kind}"]
    for values, sample in samples.items():
        pairs = ",".join(
            '{}="{}"'.format(label, _escape(value).replace('"', '\\"'))
            for label, value in zip(labels, values, strict=True)
        )
        lines.append(f"{name}{{{pairs}}} {_sample(sample)}")
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _sample(value: float) -> str:
    """A number as the format spells it."""
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0.0 else "-Inf"
