"""State goes through JSON and back; so does the env's spec, with tables beside it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from riskenv.data import fomc_events
from riskenv.train import OptionsEnvAdapter
from riskenv.wrappers import PenaltyConfig, RiskConstrainedEnv, save_table
from riskenv.wrappers.plain_arguments import events_of

from riskenv import BreakerState, RiskLimits, Rung
from riskenv.circuit_breaker import halt
from riskenv.config import ConfigError, load_config
from riskenv.events import Event

CONVENTIONS = ("discrete", "multidiscrete", "box")
CAPS = {"delta": 150.0, "vega": 200.0, "var_1d": 8e3}
FOMC = {"rules": [{"event_type": "fomc", "sessions_before": 2, "cap_multiplier": 0.5}]}


def through_json(spec):
    return gymnasium.make(EnvSpec.from_json(spec.to_json()))


def decisions(env, actions, seed=0):
    env.reset(seed=seed)
    out = []
    for action in actions:
        _, reward, *_ = env.step(action)
        out.append((reward, env.last_decision.to_bytes()))
    return out


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_spec_goes_through_json_and_makes_the_same_env(make_bare, draw, convention):
    env = RiskConstrainedEnv(
        make_bare(convention),
        load_config(RiskLimits, {"caps": CAPS}),
        events=fomc_events(),
        event_policy=FOMC,
        penalty=PenaltyConfig(var_warn=0.1),
        observe_risk=True,
        mask_slots=3,
        unsafe_start="reject",
    )
    again = through_json(env.spec)
    assert isinstance(again, RiskConstrainedEnv)
    assert again.manager.config_digest == env.manager.config_digest
    assert again.penalty == env.penalty
    actions = draw(env, 25, seed=2)
    assert decisions(env, actions) == decisions(again, actions)


def test_tables_and_adapters_in_a_spec_are_references(make_bare, draw, tmp_path):
    bare = make_bare("box")
    adapter = OptionsEnvAdapter()
    references = {
        "sessions": save_table(adapter.sessions(bare), tmp_path / "sessions.npz"),
        "history": save_table(adapter.factor_history(bare), tmp_path / "moves.npz"),
        "events": save_table(fomc_events(), tmp_path / "fomc.json"),
    }
    arguments = {
        "limits": {"caps": CAPS},
        "adapter": "riskenv.train:OptionsEnvAdapter",
        "event_policy": FOMC,
        **references,
    }
    env = RiskConstrainedEnv(bare, **arguments)
    plain = RiskConstrainedEnv(
        make_bare("box"), {"caps": CAPS}, events=fomc_events(), event_policy=FOMC
    )
    assert isinstance(env.adapter, OptionsEnvAdapter)
    assert env.manager.config_digest == plain.manager.config_digest
    again = through_json(env.spec)
    assert len(env.spec.to_json()) < 5_000
    actions = draw(env, 10, seed=2)
    assert decisions(again, actions) == decisions(plain, actions)


@pytest.mark.parametrize("name", ["sessions", "history", "events"])
def test_a_table_that_was_changed_or_is_gone_is_refused(make_bare, tmp_path, name):
    bare, path = make_bare("box"), tmp_path / "table"
    adapter = OptionsEnvAdapter()
    tables = {
        "sessions": adapter.sessions(bare),
        "history": adapter.factor_history(bare),
        "events": fomc_events(),
    }
    reference = save_table(tables[name], path)
    RiskConstrainedEnv(bare, {"caps": CAPS}, **{name: reference})
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ConfigError, match=rf"{name}: .* was changed: its sha256 is"):
        RiskConstrainedEnv(bare, {"caps": CAPS}, **{name: reference})
    path.unlink()
    with pytest.raises(ConfigError, match=rf"{name}: .*No such file"):
        RiskConstrainedEnv(bare, {"caps": CAPS}, **{name: reference})


@pytest.mark.parametrize("name", ["sessions", "history"])
def test_a_file_of_something_else_is_no_table(make_bare, tmp_path, name):
    reference = save_table(fomc_events(), tmp_path / "events.json")
    with pytest.raises(ConfigError, match=rf"{name}: .*events\.json holds no"):
        RiskConstrainedEnv(make_bare("box"), {"caps": CAPS}, **{name: reference})
    with pytest.raises(ConfigError, match=rf"{name}: got .*; allowed: "):
        RiskConstrainedEnv(make_bare("box"), {"caps": CAPS}, **{name: "events.json"})


def test_events_are_given_as_events_or_as_mappings():
    event = Event("fomc", time=20, known_at=10)
    assert events_of([event, {"event_type": "fomc", "time": 20, "known_at": 10}]) == (event, event)
    for wrong, words in (
        ([{"event_type": "fomc"}], "known_at"),
        ([{"event_type": "FOMC", "time": 20, "known_at": 10}], "lower-case"),
        (["fomc"], "allowed: an Event, or its mapping"),
    ):
        with pytest.raises(ConfigError, match=words):
            events_of(wrong)


READY = OptionsEnvAdapter()


def test_an_adapter_that_takes_arguments_is_named_ready_made(make_bare, monkeypatch):
    monkeypatch.setattr("riskenv.train.READY", READY, raising=False)
    env = RiskConstrainedEnv(make_bare("box"), {"caps": CAPS}, adapter="riskenv.train:READY")
    assert env.adapter is READY
    assert through_json(env.spec).adapter is READY


def test_numbers_of_numpy_go_through_json_too(make_bare):
    env = RiskConstrainedEnv(
        make_bare("discrete"),
        {"caps": {"delta": np.float64(150.0)}},
        events=[{"event_type": "fomc", "time": np.int64(10**18), "known_at": np.int64(0)}],
        penalty={"var_weight": np.float32(0.5)},
        observe_risk=np.bool_(True),
        mask_slots=np.int64(3),
        carry_state=np.bool_(False),
    )
    again = through_json(env.spec)
    assert again.manager.config_digest == env.manager.config_digest
    assert again.observed_risk_names == env.observed_risk_names != ()


def test_a_spec_holds_what_its_files_said_and_not_where_they_were(make_bare, tmp_path):
    files = {
        "limits": (tmp_path / "limits.yaml", "caps: {delta: 150.0, var_1d: 8000.0}"),
        "penalty": (str(tmp_path / "penalty.yaml"), "var_weight: 0.5"),
        "event_policy": (tmp_path / "events.yaml", json.dumps(FOMC)),
        "var": (tmp_path / "var.yaml", "window: 300"),
    }
    for path, text in files.values():
        Path(path).write_text(text, encoding="utf-8")
    given = {name: path for name, (path, _) in files.items()}
    env = RiskConstrainedEnv(make_bare("discrete"), events=fomc_events(), **given)
    for path, _ in files.values():
        Path(path).unlink()
    again = through_json(env.spec)
    assert str(tmp_path) not in env.spec.to_json()
    assert again.manager.config_digest == env.manager.config_digest
    assert again.penalty == env.penalty == PenaltyConfig(var_weight=0.5)


@pytest.mark.parametrize("wrong", ["riskenv.train", "riskenv.train:Nobody", "nowhere:X", ":", ""])
def test_an_adapter_by_name_that_is_none_is_refused(make_bare, wrong):
    with pytest.raises(ConfigError, match=r'allowed: "module:Class" of a riskenv.wrappers.Adapter'):
        RiskConstrainedEnv(make_bare("box"), {"caps": CAPS}, adapter=wrong)


# --- the layer's state ----------------------------------------------------------------------------


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_state_saved_in_an_episode_goes_on_in_a_copy_of_the_env(make_env, draw, convention):
    env = make_env(convention, carry_state=True)
    actions = draw(env, 40, seed=6)
    decisions(env, actions[:20])
    saved = json.loads(json.dumps(env.state_dict()))
    twin = pickle.loads(pickle.dumps(env))
    twin._state = BreakerState()  # as if only the env had been kept
    twin.load_state_dict(saved)
    assert twin.state == env.state
    for action in actions[20:]:
        assert env.step(action)[1] == twin.step(action)[1]
        assert env.last_decision.to_bytes() == twin.last_decision.to_bytes()


def test_a_halt_survives_a_restart_and_a_reset_where_the_state_is_carried(make_env):
    env = make_env("box", carry_state=True)
    env.reset(seed=0)
    env._state = halt(env.state, "fat finger")
    env.set_cost_weight(0.7)
    saved = env.state_dict()
    fresh = make_env("box", carry_state=True)
    fresh.load_state_dict(saved)
    fresh.reset(seed=0)
    assert fresh.state.rung is Rung.HALTED
    assert fresh.penalty.cost_weight == 0.7
    forgets = make_env("box")
    forgets.load_state_dict(saved)
    forgets.reset(seed=0)
    assert forgets.state.rung is Rung.NORMAL


def test_a_state_that_is_none_or_of_a_later_time_changes_nothing(make_env):
    env, ahead = (make_env("box", carry_state=True) for _ in range(2))
    env.reset(seed=0), ahead.reset(seed=0)
    hold = env.adapter.fallbacks(env)[0]
    for _ in range(3):
        ahead.step(hold)
    before = env.state_dict()
    for wrong, error in (
        ({}, ConfigError),
        ({**before, "cost_weight": -1.0}, ConfigError),
        ({**before, "breaker": {"rung": "CALM"}}, ConfigError),
        (ahead.state_dict(), ValueError),
    ):
        with pytest.raises(error):
            env.load_state_dict(wrong)
        assert env.state_dict() == before


def test_a_saved_table_is_the_same_file_twice(tmp_path):
    one = save_table(fomc_events(), tmp_path / "one.json")
    two = save_table(fomc_events(), str(tmp_path / "two.json"))
    assert one["sha256"] == two["sha256"]
    assert Path(one["path"]).read_bytes() == Path(two["path"]).read_bytes()
    assert np.array_equal(list(one), ["path", "sha256"])


def test_events_of_numpy_times_go_through_a_spec_and_a_file(make_bare, tmp_path):
    columns = np.array([[10, 30], [20, 40]], dtype=np.int64)
    calendar = tuple(Event("fomc", time, known_at) for known_at, time in columns)
    reference = save_table(calendar, tmp_path / "events.json")
    for events in (calendar, reference):
        env = RiskConstrainedEnv(
            make_bare("discrete"), load_config(RiskLimits, {"caps": CAPS}), events=events
        )
        again = through_json(env.spec)
        assert events_of(again.spec.additional_wrappers[-1].kwargs["events"]) == calendar
