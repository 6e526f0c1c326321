"""The exported gate makes the decisions of training again, to the byte, in both conventions."""

from __future__ import annotations

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import riskenv.train
from riskenv.data import fomc_events
from riskenv.wrappers import RiskConstrainedEnv

from riskenv import RiskGate
from riskenv.gate.input_record import InputRecord, Recording
from riskenv.gate.replay import compare, write_decisions

assert riskenv.train

CAPS = {"delta": 150.0, "theta": 300.0, "vega": 200.0, "var_1d": 8e3, "day_loss": 2e4}
RULE = {"event_type": "fomc", "sessions_before": 2, "cap_multiplier": 0.5, "reduce": True}


def make(convention, **arguments):
    return RiskConstrainedEnv(
        gymnasium.make(
            "riskenv/OptionsTrading-v0",
            convention=convention,
            start="2008-09-02",
            end="2008-10-31",
            config={"random_start": False},
        ),
        {"caps": CAPS},
        events=fomc_events(),
        event_policy={"rules": [{**RULE, "gap_log_return": 0.03}]},
        **arguments,
    )


def action_of(env, random):
    if env.unwrapped.convention == "discrete":
        # 99 is no action: what stands in for garbage is recorded like anything else.
        return 99 if random.random() < 0.05 else int(random.integers(env.action_space.n))
    action = random.uniform(-1.0, 1.0, env.action_space.shape).astype(np.float32)
    return action if random.random() < 0.9 else action * np.nan


def recorded(env, episodes=2, steps=40):
    recording = Recording()
    env.record_to(recording, name="autumn 2008")
    random = np.random.default_rng(1)
    kinds = set()
    for seed in range(episodes):
        env.reset(seed=seed)
        for _ in range(steps):
            _, _, terminated, truncated, _ = env.step(action_of(env, random))
            kinds.add(env.last_decision.verdict.value)
            if terminated or truncated:
                break
    return recording, kinds


@pytest.mark.parametrize("convention", ["discrete", "box"])
def test_the_gate_replays_a_run_to_the_byte(tmp_path, convention):
    env = make(convention)
    recording, kinds = recorded(env)
    digest = env.export_gate(tmp_path / "gate.zip")
    recording.inputs.save(tmp_path / "inputs.npz")
    gate = RiskGate.load(tmp_path / "gate.zip")
    record = InputRecord.load(tmp_path / "inputs.npz")
    result = compare(gate, record, recording.decisions)
    assert result.first is None
    assert result.identical == result.decisions == len(recording.decisions) >= 80
    assert gate.digest == digest
    assert {"ALLOW", "BLOCK"} <= kinds or {"ALLOW", "RESIZE"} <= kinds
    assert record.episodes == ("autumn 2008 0", "autumn 2008 1")


def test_a_fresh_process_without_gymnasium_torch_or_pandas_does_so_too(tmp_path):
    env = make("box")
    recording, _ = recorded(env, episodes=1, steps=15)
    env.export_gate(tmp_path / "gate.zip")
    recording.inputs.save(tmp_path / "inputs.npz")
    write_decisions(tmp_path / "decisions.jsonl.gz", recording.decisions)
    arguments = ["gate.zip", "inputs.npz", "--expect", "decisions.jsonl.gz"]
    # Not from the repository's root, where the folder riskenv/ hides the installed package.
    run = subprocess.run(
        [sys.executable, "-m", "riskenv.gate.replay", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert '"identical": 15' in run.stdout


def test_one_changed_quote_is_noticed(tmp_path):
    env = make("box")
    recording, _ = recorded(env, episodes=1, steps=10)
    env.export_gate(tmp_path / "gate.zip")
    recording.inputs.save(tmp_path / "inputs.npz")
    record = InputRecord.load(tmp_path / "inputs.npz")
    spot = record.arrays["spot"].copy()
    spot[0] = np.nextafter(spot[0], np.inf)
    changed = InputRecord(
        record.episodes,
        record.instruments,
        record.currencies,
        record.tags,
        {**record.arrays, "spot": spot},
    )
    result = compare(RiskGate.load(tmp_path / "gate.zip"), changed, recording.decisions)
    assert result.identical < result.decisions


def test_recording_starts_from_a_fresh_state_or_not_at_all():
    env = make("discrete")
    env.reset(seed=0)
    env.record_to(Recording())  # right after a reset nothing has been decided
    env.step(1)
    with pytest.raises(RuntimeError, match="an episode is under way"):
        env.record_to(Recording())
    env.record_to(None)
    with pytest.raises(RuntimeError, match="carry_state is on"):
        make("discrete", carry_state=True).record_to(Recording())


def test_recording_stops_when_told():
    env, recording = make("discrete"), Recording()
    env.record_to(recording)
    env.reset(seed=0)
    env.step(0)
    env.record_to(None)
    env.step(0)
    assert len(recording.decisions) == len(recording.inputs) == 1
