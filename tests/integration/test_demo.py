"""The main job on a small scale: what it writes, what the audit finds, and whether the exported
gate decides the same."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from riskenv.train.demo import ARTIFACTS, run_demo
from riskenv.train.demo_config import load_demo_config
from typer.testing import CliRunner

from riskenv.cli import build_app
from riskenv.config import ConfigError
from riskenv.gate.input_record import InputRecord
from riskenv.gate.replay import compare, read_decisions
from riskenv.gate.risk_gate import RiskGate
from riskenv.portfolio_risk_manager import PortfolioRiskManager


@pytest.fixture(scope="module")
def small():
    config = load_demo_config().quick()
    training = config.training.model_copy(
        update={"discrete_steps": 64, "box_steps": 64, "envs": 2, "rollout": 32, "batch": 32}
    )
    spans = (("2008-09-15", "2008-10-10"), ("2018-01-29", "2018-02-16"))
    return config.model_copy(update={"training": training, "evaluation_spans": spans})


@pytest.fixture(scope="module")
def demo(small, tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    progress = []
    result = run_demo(small, out, lambda *update: progress.append(update))
    return result, out, progress


def test_everything_it_promises_is_written(demo):
    _, out, progress = demo
    for name in ARTIFACTS:
        assert (out / name).stat().st_size > 0, name
    assert any((out / "tensorboard").rglob("events.*"))
    done, total, what = progress[-1]
    assert (done, what) == (total, "done")
    assert all(a <= b for (a, *_), (b, *_) in pairwise(progress))


def test_no_action_breaches_a_hard_cap_with_the_layer_and_many_do_without(demo):
    result, _, _ = demo
    with_layer = [o for o in result.outcomes if o.run.layered]
    without = [o for o in result.outcomes if not o.run.layered]
    assert len(with_layer) == 10
    assert len(without) == 12
    for outcome in with_layer:
        assert outcome.audit.checks > 0
        assert outcome.run.active_breaches == 0, outcome.audit.first_active
        assert not outcome.audit.unauditable
    assert sum(o.run.active_breaches for o in without) > 50


def test_the_layer_does_not_just_say_no(demo):
    result, _, _ = demo
    assert result.unchanged["discrete"] >= 0.5
    assert result.unchanged["box"] >= 0.5


def test_every_decision_is_made_again_to_the_byte_in_fresh_processes(demo):
    result, _, _ = demo
    assert len(result.replays) == 2
    for replay in result.replays:
        assert replay.decisions > 100
        assert replay.identical == replay.decisions, replay.first_difference
    assert result.passed


def test_the_record_holds_inputs_only(demo):
    _, out, _ = demo
    names = set(InputRecord.load(out / "inputs.npz").arrays)
    for output in ("delta", "var", "verdict", "row_chosen", "after", "equity"):
        assert not any(output == name for name in names)


def middle_of_a_held_book(record):
    """(step, position in the columns) of a held option about halfway through."""
    arrays = record.arrays
    for step in range(len(record) // 2, len(record)):
        first = int(arrays["instruments_offset"][step])
        inputs = record[step]
        held = np.flatnonzero((inputs.portfolio.quantity != 0.0) & (inputs.market.table.kind != 0))
        if len(held):
            return step, first + int(held[0])
    raise AssertionError("no held option in the record")


def test_one_perturbed_quote_changes_decisions_and_the_first_is_named(demo):
    _, out, _ = demo
    record = InputRecord.load(out / "inputs.npz")
    step, column = middle_of_a_held_book(record)
    record.arrays["ask"][column] += 0.05
    expected = read_decisions(out / "decisions.jsonl.gz")
    found = compare(RiskGate.load(out / "gate.zip"), record, expected)
    assert found.identical < found.decisions
    assert found.first.step == step
    assert found.first.key == "equity"
    print(f"\none ask + 0.05: {found.first}")


def test_one_changed_cap_changes_decisions_and_the_first_is_named(demo):
    _, out, _ = demo
    gate = RiskGate.load(out / "gate.zip")
    was = gate.manager
    caps = was.limits.caps.model_copy(update={"vega": was.limits.caps.vega * 0.5})
    gate.manager = PortfolioRiskManager(
        was.limits.model_copy(update={"caps": caps}),
        was.sessions,
        history=was.history,
        var=was.var,
        events=was.monitor.events,
        event_policy=was.monitor.policy,
    )
    gate.manager.config_digest = was.config_digest  # so that only what follows from the cap differs
    record = InputRecord.load(out / "inputs.npz")
    found = compare(gate, record, read_decisions(out / "decisions.jsonl.gz"))
    assert found.identical < found.decisions
    assert found.first.key.startswith("measures.vega")
    print(f"\nvega cap halved: {found.first}")


def test_the_replay_process_cannot_import_what_the_gate_does_without(demo):
    _, out, _ = demo
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'gymnasium', 'pandas')));"
        "from riskenv.gate.replay import main;"
        "status = main(['gate.zip', 'inputs.npz', '--expect', 'decisions.jsonl.gz']);"
        "import importlib\n"
        "try: importlib.import_module('pandas')\n"
        "except ModuleNotFoundError: sys.exit(status)\n"
        "sys.exit(3)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=out, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["loaded"] == []


def test_the_gate_commands_say_what_they_find(demo):
    from importlib.metadata import entry_points

    _, out, _ = demo
    app, runner = build_app(entry_points(group="riskenv.commands")), CliRunner()
    files = [str(out / name) for name in ("gate.zip", "inputs.npz")]
    replayed = runner.invoke(
        app, ["gate", "replay", *files, "--expect", str(out / "decisions.jsonl.gz")]
    )
    assert replayed.exit_code == 0
    count = len(InputRecord.load(out / "inputs.npz"))
    assert f"{count} of {count} decisions identical to the byte" in replayed.output
    inspected = runner.invoke(app, ["gate", "inspect", files[0]])
    assert "delta 500" in inspected.output
    assert "events   232" in inspected.output


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("sede: 7", "sede: unknown key (value 7)"),
        ("seed: -1", "seed: got -1"),
        ("short_strangle_lots: many", "short_strangle_lots: got 'many'"),
        ("limits: {caps: {delta: -500}}", "limits.caps.delta: got -500"),
        ("limits: {caps: {delat: 500}}", "limits.caps.delat: unknown key (value 500)"),
        ("train_span: ['2001-13-01', '2006-12-29']", "train_span"),
        ("env: {menu_lost: 5}", "menu_lost"),
        ("evaluation_spans: [['2009-12-31', '2007-01-03']]", "a first date before a last"),
        ("train_span: ['2001-01-02', '2018-12-31']", "train_span: ends on 2018-12-31"),
    ],
)
def test_a_bad_configuration_is_refused_by_key_value_and_what_is_allowed(tmp_path, change, said):
    from riskenv.train.demo_config import DEMO_YAML

    key = change.split(":")[0]
    kept, skipping = [], False
    for line in DEMO_YAML.read_text().splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            skipping = line.split(":")[0] == key
        if not skipping:
            kept.append(line)
    path = tmp_path / "demo.yaml"
    path.write_text("\n".join([*kept, change]))
    with pytest.raises(ConfigError) as refused:
        load_demo_config(path)
    assert said in str(refused.value)
