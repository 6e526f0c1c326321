"""Random steps by the million inside `RiskConstrainedEnv`, each book judged by the auditor.

The layer is the demo's (events, VaR and expected shortfall among the caps), its caps scaled from
task to task, around the reference env in each of its conventions, on sessions all over its span.
Actions are random: uniform, sparse, at the bounds, drawn from the mask, holds, NaN and others that
are none. After each step `riskenv.train.auditor`, which shares no code with the layer, reads the
env's own ledger and compares every capped measure of the book before and after with its cap.

Every decision is audited. To make a million feasible, tasks replay one window of sessions many
times, so that a contract's vollib Greeks and its revaluation at a close are computed once, and not
once for each book that holds it; the sums over each book are computed every time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium import spaces
from riskenv.train.audit_trail import AuditTrail
from riskenv.train.auditor import AuditedStep, AuditResult, audit
from riskenv.train.demo_config import DemoConfig, load_demo_config
from riskenv.train.options_env import Convention, OptionsTradingEnv
from riskenv.train.task_pool import in_processes
from riskenv.wrappers import RiskConstrainedEnv

from riskenv.limits import RiskLimits
from riskenv.portfolio_risk_manager import PortfolioRiskManager

# A window of sessions, replayed until a task's steps are done.
SESSIONS = 42
STEPS_PER_TASK = 4_200
# Of what a menu is asked more passes unchanged, so its steps are cheaper: half of them are its own.
_TURNS: tuple[Convention, ...] = ("discrete", "multidiscrete", "discrete", "box")
# What differs from task to task: the caps, as a multiple of the demo's, how a request is corrected,
# and sizes of the env, (lots of a menu row, lots of a slot, shares).
_SCALES = (0.2, 0.5, 1.0, 2.0)
_METHODS = ("project", "radial")
_SIZES = ((5.0, 3, 200), (2.5, 10, 500), (20.0, 2, 50))
# Share of the actions that are drawn from the mask; that of slots is dear, and a Box has none.
_OBEYED = {"discrete": 0.25, "multidiscrete": 0.05, "box": 0.0}
_CACHE_BYTES = 256 << 20
_KEPT = 20  # findings told in full; counts are always complete


@dataclass
class ConventionTally:
    """What was seen in one convention.

    Attributes:
        steps: env steps, each audited; trades: those that changed the book.
        masked: steps whose action was drawn from the mask.
        unchanged: steps whose action reached the env as it was.
        active: active breaches of hard caps; drift: caps that a book was outside of before any
            trade; unauditable: measures that could not be computed, checks: those compared.
        failures: steps that raised.
    """

    steps: int = 0
    trades: int = 0
    masked: int = 0
    unchanged: int = 0
    active: int = 0
    drift: int = 0
    unauditable: int = 0
    checks: int = 0
    failures: int = 0

    def add(self, other: ConventionTally) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def add_audit(self, result: AuditResult) -> None:
        self.trades += result.steps_with_trade
        self.active += result.active_breaches
        self.drift += result.drift_breaches
        self.unauditable += result.unauditable.total()
        self.checks += result.checks


@dataclass
class EnvSoakTally:
    """What was seen so far, by convention; two are added with `add`.

    Example:
        >>> tally = EnvSoakTally()
        >>> tally.of("box").steps += 10
        >>> tally.steps, tally.passed
        (10, False)
    """

    conventions: dict[str, ConventionTally] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    def of(self, convention: str) -> ConventionTally:
        return self.conventions.setdefault(convention, ConventionTally())

    @property
    def steps(self) -> int:
        return sum(t.steps for t in self.conventions.values())

    @property
    def active(self) -> int:
        return sum(t.active for t in self.conventions.values())

    @property
    def passed(self) -> bool:
        """Something was audited in each convention, all of it could be, and nothing was found."""
        return bool(self.conventions) and all(
            t.checks > 0 and not (t.active or t.unauditable or t.failures)
            for t in self.conventions.values()
        )

    def found(self, words: str) -> None:
        if len(self.findings) < _KEPT:
            self.findings.append(words)

    def add(self, other: EnvSoakTally) -> None:
        for convention, tally in other.conventions.items():
            self.of(convention).add(tally)
        self.findings = (self.findings + other.findings)[:_KEPT]


def soak_env(
    steps: int,
    seed: int = 1,
    jobs: int = 1,
    told: Callable[[EnvSoakTally, float], None] | None = None,
) -> EnvSoakTally:
    """Take this many random steps in tasks of `STEPS_PER_TASK`, the conventions in turn.

    The tasks, and so every count, are the same for any number of jobs.

    Args:
        seed: of all tasks; jobs: processes.
        told: called after each task with what was seen so far and the seconds since the start.

    Raises:
        ValueError: steps or jobs below 1.
    """
    for name, value in (("steps", steps), ("jobs", jobs)):
        if not value >= 1:
            raise ValueError(f"{name}: got {value}; allowed: 1 or more")
    per_task = min(STEPS_PER_TASK, -(-steps // len(_TURNS)))
    tasks = (
        (seed, number, min(per_task, steps - number * per_task))
        for number in range(-(-steps // per_task))
    )
    tally, start = EnvSoakTally(), time.monotonic()
    for part in in_processes(soak_task, tasks, jobs):
        tally.add(part)
        if told is not None:
            told(tally, time.monotonic() - start)
    return tally


def soak_task(
    seed: int, number: int, steps: int = STEPS_PER_TASK, enforce: bool = True
) -> EnvSoakTally:
    """One window of sessions in one convention, replayed until the steps are done.

    Args:
        enforce: False lets every action through; a test shows that the auditor then objects.

    Example:
        >>> tally = soak_task(1, 0, steps=20)
        >>> tally.conventions["discrete"].steps, tally.active, tally.passed
        (20, 0, True)
    """
    from riskenv.data import fomc_events  # brings pandas: only where it is needed

    convention: Convention = _TURNS[number % len(_TURNS)]
    rng = np.random.default_rng([seed, number])
    config = _config(rng)
    env = _layered(config, convention, rng, enforce)
    base = env.unwrapped
    assert isinstance(base, OptionsTradingEnv)
    trail = AuditTrail(base, config, fomc_events())
    tally = EnvSoakTally()
    own = tally.of(convention)
    while own.steps < steps and not own.failures:
        result = AuditResult()
        try:
            result = audit(_episode(env, base, trail, rng, own, steps))
        except Exception as error:  # whatever it is, it is counted, told, and fails the soak
            own.failures += 1
            where = f"task {number}, {convention}, step {own.steps}"
            tally.found(f"{where}: {type(error).__name__}: {error}")
        own.add_audit(result)
        for kind, findings in (
            ("active breach", result.first_active),
            ("unauditable", result.first_unauditable),
        ):
            for finding in findings:
                tally.found(f"task {number}, {convention}: {kind}: {finding}")
    return tally


def _episode(
    env: RiskConstrainedEnv,
    base: OptionsTradingEnv,
    trail: AuditTrail,
    rng: np.random.Generator,
    tally: ConventionTally,
    steps: int,
) -> Iterator[AuditedStep]:
    env.reset()
    rest = env.adapter.fallbacks(env)[0]
    # Without the layer nothing keeps nonsense from the env, which raises.
    nonsense = 0.02 if env.correction == "auto" else 0.0
    done = False
    while not done and tally.steps < steps:
        obeys = rng.random() < _OBEYED[base.convention]
        if obeys:
            action = from_mask(env, rng)
        else:
            action = random_action(base.action_space, rest, rng, nonsense)
        _, _, terminated, truncated, info = env.step(action)
        done = terminated or truncated
        tally.steps += 1
        tally.masked += obeys
        tally.unchanged += not info["intervened"]
        yield trail.step(base)


def random_action(
    space: spaces.Space[Any], rest: Any, rng: np.random.Generator, nonsense: float = 0.02
) -> Any:
    """A random request; a share `nonsense` of them is no action at all.

    Args:
        rest: what slots that are not drawn are at: the action that holds.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> [random_action(spaces.Discrete(9), 0, rng) for _ in range(4)]
        [4, 2, -1, 7]
    """
    if isinstance(space, spaces.Discrete):
        if rng.random() < nonsense:
            return [-1, int(space.n), float("nan"), None][int(rng.integers(4))]
        return int(rng.integers(int(space.n)))
    kind, shape = rng.random(), space.shape
    assert shape is not None
    # All slots at once, some, or one or two: the more at once, the more have to be corrected.
    few = 1.5 / max(1, int(np.prod(shape)))
    share = rng.choice([1.0, 0.3, few], p=[0.15, 0.25, 0.6])
    chosen = rng.random(shape) < share
    if isinstance(space, spaces.MultiDiscrete):
        if kind < nonsense:
            return np.full(shape, 1_000)
        drawn = rng.integers(space.nvec)
        if kind < 0.15:
            drawn = np.where(rng.random(shape) < 0.5, 0, space.nvec - 1)
        return np.where(chosen, drawn, rest)
    size = rng.uniform(-1.0, 1.0, shape)
    if kind < 0.15:
        size = np.sign(size)
    action = np.where(chosen, size, rest).astype(np.float32)
    if kind > 1.0 - nonsense:
        action[int(rng.integers(len(action)))] = rng.choice([np.nan, np.inf, -np.inf, 5.0])
    return action


def from_mask(env: Any, rng: np.random.Generator) -> Any:
    """An action that the mask offers, each slot's choice drawn by itself."""
    mask, space = env.action_masks(), env.action_space
    if isinstance(space, spaces.Discrete):
        return int(rng.choice(np.flatnonzero(mask)))
    slots = np.split(mask, np.cumsum(space.nvec)[:-1])
    return np.array([int(rng.choice(np.flatnonzero(slot))) for slot in slots])


def _config(rng: np.random.Generator) -> DemoConfig:
    """The demo's configuration with other caps, another correction and other sizes."""
    config = load_demo_config()
    scale, method = float(rng.choice(_SCALES)), str(rng.choice(_METHODS))
    menu_lots, max_lots, max_shares = _SIZES[int(rng.integers(len(_SIZES)))]
    limits = config.limits.model_dump()
    caps = {name: cap and scale * cap for name, cap in limits["caps"].items()}
    correction = {**limits["correction"], "method": method}
    sizes = {"menu_lots": menu_lots, "max_lots": max_lots, "max_shares": max_shares}
    return config.model_copy(
        update={
            "limits": RiskLimits(**{**limits, "caps": caps, "correction": correction}),
            "env": {**config.env, **sizes},
        }
    )


def _layered(
    config: DemoConfig, convention: Convention, rng: np.random.Generator, enforce: bool
) -> RiskConstrainedEnv:
    """The env inside the layer, its episodes on a window of sessions from the demo's spans."""
    from riskenv.data import fomc_events

    spans = (config.train_span, *config.evaluation_spans)
    first = np.datetime64(min(span[0] for span in spans))
    last = np.datetime64(max(span[1] for span in spans))
    # SESSIONS and their holidays before the end.
    latest = int((last - first).astype(int)) - 2 * SESSIONS
    start = str(first + int(rng.integers(latest)))
    window = {"random_start": False, "episode_sessions": SESSIONS}
    bare = OptionsTradingEnv(convention, start, str(last), {**config.env, **window})
    manager = PortfolioRiskManager(
        config.limits,
        bare.market.future_sessions,
        history=bare.market.factor_history(),
        var=config.var,
        events=fomc_events(),
        event_policy=config.event_policy,
        cache_bytes=_CACHE_BYTES,
    )
    correction = "auto" if enforce else "none"
    return RiskConstrainedEnv(bare, manager, penalty=config.penalty, correction=correction)
