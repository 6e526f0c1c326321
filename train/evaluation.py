"""Judging policies with and without the layer: one pass over a span, recorded and audited."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from riskenv.train.audit_trail import AuditTrail
from riskenv.train.auditor import AuditedStep, AuditResult, audit
from riskenv.train.demo_config import DemoConfig, Span
from riskenv.train.layered_env import layered_env
from riskenv.train.options_env import Convention, OptionsTradingEnv
from riskenv.train.performance import EvaluationRun
from riskenv.wrappers import RiskConstrainedEnv

from riskenv.assessment import Assessment
from riskenv.gate.input_record import Recording
from riskenv.measures import MEASURES
from riskenv.projection import Proposal

Progress = Callable[[int], None]


class Policy(Protocol):
    """Anything that acts."""

    def act(self, env: Any, obs: NDArray[np.float32]) -> Any: ...


@dataclass(frozen=True)
class Case:
    """One policy over one span.

    Attributes:
        name: of the policy, for the reader.
        convention: of the env it acts in.
        make_policy: a fresh policy, so that no run inherits another's random numbers.
        span: first and last date.
        layered: whether the layer enforces; else it only watches.
        env_changes: keys of the env's configuration to change.
    """

    name: str
    convention: Convention
    make_policy: Callable[[], Policy]
    span: Span
    layered: bool
    env_changes: dict[str, Any] = field(default_factory=dict)

    @property
    def span_name(self) -> str:
        first, last = self.span[0][:4], self.span[1][:4]
        return first if first == last else f"{first}-{last}"


@dataclass(frozen=True, eq=False)
class Outcome:
    """A run with what the auditor found in it."""

    case: Case
    run: EvaluationRun
    audit: AuditResult


class _Trace:
    """Columns of a run: a row a decision, and a last one for the book that is left at the end."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.equity: list[float] = []
        self.after: list[NDArray[np.float64]] = []
        self.low: list[NDArray[np.float64]] = []
        self.high: list[NDArray[np.float64]] = []
        self.verdicts: list[str] = []
        self.rungs: list[str] = []

    def add(self, a: Assessment, after: NDArray[np.float64], verdict: str, layered: bool) -> None:
        self.times.append(a.market.now)
        self.equity.append(a.equity)
        self.after.append(after)
        self.low.append(a.low)
        self.high.append(a.high)
        self.verdicts.append(verdict)
        self.rungs.append(a.rung.name if layered else "NORMAL")


def evaluate(
    case: Case, config: DemoConfig, trail: AuditTrail, recording: Recording, progress: Progress
) -> Outcome:
    """Run a policy over its span, once.

    Args:
        recording: where the inputs and decisions of an enforced run are kept.
        progress: called after each step.
    """
    env = layered_env(
        config,
        case.convention,
        case.span,
        enforce=case.layered,
        replay=True,
        env_changes=case.env_changes,
    )
    if case.layered:
        env.record_to(recording, f"{case.name}, {case.span_name},")
    trace = _Trace()
    result = audit(_steps(env, case, config.seed, trail, trace, progress))
    low, high = np.stack(trace.low), np.stack(trace.high)
    capped = [j for j in range(len(MEASURES)) if np.isfinite([low[0, j], high[0, j]]).any()]
    after = np.stack(trace.after)
    run = EvaluationRun(
        name=case.name,
        layered=case.layered,
        span=case.span_name,
        times=np.array(trace.times, dtype="datetime64[ns]"),
        equity=np.array(trace.equity),
        measures={MEASURES[j]: after[:, j] for j in range(len(MEASURES))},
        caps={MEASURES[j]: np.stack([low[:, j], high[:, j]], axis=1) for j in capped},
        verdicts=trace.verdicts,
        rungs=trace.rungs,
        active_breaches=sum(result.active.values()),
        drift_breaches=sum(result.drift.values()),
    )
    return Outcome(case, run, result)


def _steps(
    env: RiskConstrainedEnv,
    case: Case,
    seed: int,
    trail: AuditTrail,
    trace: _Trace,
    progress: Progress,
) -> Iterator[AuditedStep]:
    """Drive the episode; each step is traced as the layer saw it and handed to the auditor."""
    base = env.unwrapped
    assert isinstance(base, OptionsTradingEnv)
    policy = case.make_policy()
    obs, _ = env.reset(seed=seed)
    done = False
    while not done:
        a = env.assessment
        action = policy.act(env, obs)
        if not case.layered:
            # What the layer measures of the book that this action makes; it changes nothing.
            trades = env.adapter.preview(env, action)
            assert trades is not None, "the reference env's adapter previews every action"
            wish = Proposal(trades[None, :])
            watched = env.manager.what_if(env.state, a, wish)
        obs, _, terminated, truncated, _ = env.step(action)
        done = terminated or truncated
        decision = env.last_decision if case.layered else watched
        assert decision is not None
        verdict = decision.verdict.value if case.layered else "ALLOW"
        trace.add(a, decision.after, verdict, case.layered)
        progress(1)
        yield trail.step(base)
    trace.add(env.assessment, env.assessment.before, "ALLOW", case.layered)
