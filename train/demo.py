"""The main job: train inside the layer, judge with and without it, export the gate, re-decide.

Everything is written into one folder:

    report.html           what an expert would read
    summary.json          the figures, for programs
    gate.zip              the exported layer
    inputs.npz            inputs of every decision of the evaluation, and nothing else
    decisions.jsonl.gz    the decisions made from them
    ppo_*.zip, tensorboard/   the agents and their training logs
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from riskenv.train.audit_trail import AuditTrail
from riskenv.train.demo_config import DemoConfig
from riskenv.train.evaluation import Case, Outcome, evaluate
from riskenv.train.layered_env import layered_env
from riskenv.train.options_env import OptionsTradingEnv
from riskenv.train.report import write_report
from riskenv.train.study import breaches_table, cases, scaled_down, strangle_table
from riskenv.train.training import train

from riskenv.config import ConfigError
from riskenv.gate.input_record import Recording
from riskenv.gate.replay import FORBIDDEN, write_decisions

ARTIFACTS = (
    "report.html",
    "summary.json",
    "gate.zip",
    "inputs.npz",
    "decisions.jsonl.gz",
    "ppo_discrete.zip",
    "ppo_box.zip",
)

# (work units done, units in all, what is being done)
Progress = Callable[[int, int, str], None]

# A work unit is about a millisecond; these weigh the kinds of step for the time left.
_TRAIN_UNITS, _EVALUATE_UNITS, _REPLAY_UNITS = 3, 7, 3


@dataclass(frozen=True)
class Replayed:
    """A replay in a fresh process: which process, and what it printed."""

    process: str
    decisions: int
    identical: int
    first_difference: str | None


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    Attributes:
        outcomes: every run, audited.
        replays: of the exported gate.
        unchanged: share of the random policies' proposals that passed unchanged, by convention.
        seconds: wall time of each phase.
    """

    outcomes: tuple[Outcome, ...]
    replays: tuple[Replayed, ...]
    unchanged: dict[str, float]
    seconds: dict[str, float]

    @property
    def passed(self) -> bool:
        """No active breach with the layer on and some without it, everything audited, most random
        proposals unchanged, every decision identical."""
        layered = [o for o in self.outcomes if o.run.layered]
        without = sum(o.run.active_breaches for o in self.outcomes if not o.run.layered)
        return (
            all(o.audit.passed for o in layered)
            and without > 0
            and min(self.unchanged.values()) >= 0.5
            and all(r.decisions > 0 and r.identical == r.decisions for r in self.replays)
        )


def run_demo(config: DemoConfig, out: Path, progress: Progress) -> DemoResult:
    """Do the main job and write its artifacts into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # networks this small lose more to threads than they gain
    for name in ARTIFACTS:
        (out / name).unlink(missing_ok=True)  # a failed run must not leave an older run's files
    shutil.rmtree(out / "tensorboard", ignore_errors=True)
    _check_spans(config)
    clock = _Clock(config, progress)
    seconds: dict[str, float] = {}

    with clock.phase("training on the menu", seconds, "train"):
        menu = train(config, "discrete", out, clock.step(_TRAIN_UNITS))
    with clock.phase("training in the box", seconds, "train"):
        box = train(config, "box", out, clock.step(_TRAIN_UNITS))

    from riskenv.data import fomc_events

    recording = Recording()
    probe = layered_env(config, "discrete", config.evaluation_spans[0], replay=True)
    base = probe.unwrapped
    assert isinstance(base, OptionsTradingEnv)
    trail = AuditTrail(base, config, fomc_events())

    def run(case: Case) -> Outcome:
        what = f"{case.name}, {case.span_name}, {'with' if case.layered else 'without'}"
        with clock.phase(f"evaluating {what}", seconds, "evaluate"):
            return evaluate(case, config, trail, recording, clock.step(_EVALUATE_UNITS))

    outcomes = [run(case) for case in cases(config, lambda: menu, lambda: box)]
    outcomes += scaled_down(config, outcomes, run)

    with clock.phase("writing the report and the gate", seconds, "write"):
        digest = probe.export_gate(out / "gate.zip")
        recording.inputs.save(out / "inputs.npz")
        write_decisions(out / "decisions.jsonl.gz", recording.decisions)
    with clock.phase("re-deciding in fresh processes", seconds, "replay"):
        replays = _replays(out)
        clock.step(_REPLAY_UNITS)(len(recording.decisions))
    unchanged = _unchanged(outcomes)
    result = DemoResult(tuple(outcomes), replays, unchanged, seconds)
    with clock.phase("writing the report and the gate", seconds, "write"):
        _write_report(out / "report.html", config, result, digest)
        (out / "summary.json").write_text(json.dumps(_summary(result, digest), indent=1) + "\n")
    clock.finish()
    return result


def _check_spans(config: DemoConfig) -> None:
    """Refuse a span that the market history does not hold, before anything is trained."""
    for span in (config.train_span, *config.evaluation_spans):
        try:
            layered_env(config, "discrete", span)
        except ValueError as error:
            raise ConfigError(f"spans: got {list(span)}: {error}") from None


class _Clock:
    """Counts work units for the progress bar and seconds for the summary."""

    def __init__(self, config: DemoConfig, progress: Progress) -> None:
        days = sum(_sessions_of(span) for span in config.evaluation_spans)
        runs = 12  # five policies with and without, and one scaled down in about two tries
        self._total = (
            (config.training.discrete_steps + config.training.box_steps) * _TRAIN_UNITS
            + runs * days * _EVALUATE_UNITS
            + 5 * days * _REPLAY_UNITS
        )
        self._done, self._what, self._progress = 0, "", progress
        self._seconds: dict[str, float] = {}
        self._key, self._start = "", 0.0

    def phase(self, what: str, seconds: dict[str, float], key: str) -> _Clock:
        self._what, self._seconds, self._key = what, seconds, key
        self._progress(self._done, self._total, what)
        return self

    def __enter__(self) -> _Clock:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        spent = time.perf_counter() - self._start
        self._seconds[self._key] = round(self._seconds.get(self._key, 0.0) + spent, 1)

    def step(self, units: int) -> Callable[[int], None]:
        def advance(steps: int) -> None:
            self._done += steps * units
            self._progress(min(self._done, self._total - 1), self._total, self._what)

        return advance

    def finish(self) -> None:
        self._progress(self._total, self._total, "done")


def _sessions_of(span: tuple[str, str]) -> int:
    return int(np.busday_count(span[0], span[1]))


def _replays(out: Path) -> tuple[Replayed, ...]:
    """Re-decide the record from the bundle in two fresh processes side by side.

    Neither can import torch, gymnasium or pandas. The second has another hash seed and its
    kernels compiled for another CPU.
    """
    blocked = f"import sys; sys.modules.update(dict.fromkeys({FORBIDDEN!r}));"
    code = blocked + "from riskenv.gate.replay import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "gate.zip", "inputs.npz"]
    command += ["--expect", "decisions.jsonl.gz"]
    processes = {
        "fresh process": {"PYTHONHASHSEED": "1"},
        "fresh process, other hash seed, NUMBA_CPU_NAME=haswell": {
            "PYTHONHASHSEED": "2",
            "NUMBA_CPU_NAME": "haswell",
        },
    }
    running = {
        name: subprocess.Popen(
            command,
            cwd=out,
            env={**os.environ, **changes},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, changes in processes.items()
    }
    results = []
    for name, process in running.items():
        printed, errors = process.communicate()
        try:
            said = json.loads(printed)
            loaded = said["loaded"]
        except (ValueError, KeyError):
            status = process.returncode
            raise RuntimeError(f"{name}: the replay ended with {status}: {errors}") from None
        if loaded:
            raise RuntimeError(f"{name}: the gate loaded {', '.join(loaded)}")
        results.append(
            Replayed(name, said["decisions"], said["identical"], said["first_difference"])
        )
    return tuple(results)


def _unchanged(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Share of the random policies' proposals that the layer passed unchanged, by convention."""
    shares = {}
    for convention in ("discrete", "box"):
        verdicts = [
            verdict
            for o in outcomes
            if o.case.name.startswith("random") and o.case.convention == convention
            if o.run.layered
            for verdict in o.run.verdicts
        ]
        shares[convention] = verdicts.count("ALLOW") / len(verdicts)
    return shares


def _write_report(path: Path, config: DemoConfig, result: DemoResult, digest: str) -> None:
    from riskenv.data import fomc_events

    caps = config.limits.caps.model_dump(exclude_none=True)
    replayed = "; ".join(f"{r.process}: {r.identical:,} of {r.decisions:,}" for r in result.replays)
    unchanged = ", ".join(f"{name} {share:.0%}" for name, share in result.unchanged.items())
    notes = {
        "Trained over": " to ".join(config.train_span),
        "Evaluated over": "; ".join(" to ".join(span) for span in config.evaluation_spans),
        "Hard caps": ", ".join(f"{name} {cap:,.0f}" for name, cap in caps.items()),
        "Gate": f"sha256 {digest}",
        "Decisions identical to the byte": replayed,
        "Random proposals unchanged": unchanged,
        "Versions": ", ".join(f"{name} {version(name)}" for name in ("riskenv", "numpy", "numba")),
    }
    first, last = config.evaluation_spans[0][0], config.evaluation_spans[-1][1]
    times = np.array([event.time for event in fomc_events()], dtype="datetime64[ns]")
    shown = times[(times >= np.datetime64(first)) & (times <= np.datetime64(last))]
    write_report(
        path,
        "riskenv: policies with and without the risk layer",
        [outcome.run for outcome in result.outcomes],
        [strangle_table(config, result.outcomes), breaches_table(result.outcomes)],
        notes,
        {"FOMC": shown},
    )


def _summary(result: DemoResult, digest: str) -> dict[str, Any]:
    return {
        "passed": result.passed,
        "gate_digest": digest,
        "runs": [
            {
                "policy": o.run.name,
                "span": o.run.span,
                "layered": o.run.layered,
                "steps": o.audit.steps,
                "steps_with_trade": o.audit.steps_with_trade,
                "active_breaches": dict(o.audit.active),
                "drift_breaches": dict(o.audit.drift),
                "unauditable": dict(o.audit.unauditable),
                "max_utilisation": {
                    name: round(used, 6) for name, used in o.audit.max_utilisation.items()
                },
                "final_equity": round(float(o.run.equity[-1]), 2),
            }
            for o in result.outcomes
        ],
        "replays": [vars(r) for r in result.replays],
        "unchanged_random_proposals": result.unchanged,
        "seconds": result.seconds,
        "python": platform.python_version(),
    }
