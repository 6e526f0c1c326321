"""What cannot work is refused at once, with the thing, the value and what is allowed."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from riskenv.train import OptionsEnvAdapter
from riskenv.wrappers import Adapter, RiskConstrainedEnv

from riskenv.config import ConfigError

CAPS = {"caps": {"delta": 100.0}}


class Silent(gymnasium.Env):
    """An env that says nothing of itself."""

    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = spaces.Discrete(2)


class Mute(Adapter):
    """Answers what it must, and knows neither calendar nor history."""

    def snapshot(self, env, obs, info):
        raise NotImplementedError

    def preview(self, env, action):
        raise NotImplementedError


def silent(**spaces_):
    env = Silent()
    for name, space in spaces_.items():
        setattr(env, name, space)
    return env


def test_an_env_that_nobody_can_read_needs_an_adapter():
    with pytest.raises(ConfigError, match=r"Silent does not say how it is read .*pass adapter="):
        RiskConstrainedEnv(Silent(), CAPS)


@pytest.mark.parametrize("wrong", [Mute, "mute", object()])
def test_an_adapter_is_an_adapter(wrong):
    with pytest.raises(ConfigError, match=r"adapter: got .*; allowed: .*riskenv.wrappers.Adapter"):
        RiskConstrainedEnv(Silent(), CAPS, adapter=wrong)


def test_an_adapter_answers_at_least_what_is_held():
    class Mute(Adapter):
        def preview(self, env, action):
            return None

    with pytest.raises(TypeError, match="snapshot"):
        Mute()


def test_the_reference_adapter_reads_the_reference_env_only(make_bare):
    env = RiskConstrainedEnv(make_bare("box"), CAPS, adapter=OptionsEnvAdapter())
    env.adapter.snapshot(env.reset(seed=0) and env)
    with pytest.raises(TypeError, match="env: got Silent; allowed: an OptionsTradingEnv"):
        RiskConstrainedEnv(Silent(), CAPS, adapter=OptionsEnvAdapter())


@pytest.mark.parametrize(
    "space",
    [
        spaces.Tuple((spaces.Discrete(2),)),
        spaces.Text(3),
        spaces.Sequence(spaces.Discrete(2)),
    ],
    ids=lambda space: type(space).__name__,
)
def test_other_action_spaces_are_refused_by_name(space):
    with pytest.raises(ConfigError, match="allowed: Discrete, MultiDiscrete, ") as refused:
        RiskConstrainedEnv(silent(action_space=space), CAPS, adapter=Mute())
    assert f"action_space: got {space}" in str(refused.value)


def test_an_env_without_a_calendar_needs_one():
    with pytest.raises(ConfigError, match=r"sessions: .*exchange_sessions"):
        RiskConstrainedEnv(Silent(), CAPS, adapter=Mute())


@pytest.mark.parametrize("cap", ["var_1d", "es_5d", "gap_loss"])
def test_a_tail_cap_needs_a_history(make_bare, cap):
    sessions = OptionsEnvAdapter().sessions(make_bare("box"))
    with pytest.raises(ConfigError, match=rf"caps\.{cap}: got 5\.0; a tail cap needs a factor"):
        RiskConstrainedEnv(Silent(), {"caps": {cap: 5.0}}, adapter=Mute(), sessions=sessions)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"limits": {"caps": {"detla": 1.0}}}, r"caps\.detla: unknown key"),
        ({"limits": {"caps": {"delta": -1.0}}}, r"caps\.delta: got -1\.0"),
        ({"limits": {"caps": {"delta": float("nan")}}}, r"caps\.delta: got nan"),
        ({"limits": {"cap": {}}}, "cap: unknown key"),
        ({"limits": None}, "limits: got None; allowed: a RiskLimits, a mapping or a YAML file"),
        ({"limits": "no_such_file.yaml"}, r"no_such_file\.yaml"),
        ({"var": {"window": 5}}, "window: got 5"),
        ({"var": 0.99}, r"var: got 0\.99; allowed: a VarConfig"),
        ({"penalty": {"lambda": 1.0}}, "lambda: unknown key"),
        ({"penalty": 0.5}, r"penalty: got 0\.5; allowed: a PenaltyConfig"),
        ({"event_policy": {"rules": [{"event_type": "FOMC"}]}}, "event_type: got 'FOMC'"),
        ({"event_policy": []}, r"event_policy: got \[\]; allowed: an? EventPolicy"),
        ({"correction": "clip"}, "correction: got 'clip'; allowed: 'auto', 'none'"),
        ({"masked_action": "drop"}, "masked_action: got 'drop'; allowed: 'replace', 'raise'"),
        ({"unsafe_start": "hope"}, "unsafe_start: got 'hope'; allowed: 'keep', 'reject', 'reduce'"),
        ({"mask_slots": 0}, "mask_slots: got 0; allowed: 1 or more"),
        ({"mask_slots": 2.5}, "mask_slots: got 2.5; allowed: 1 or more"),
        ({"penalty": {"drawdown_weight": 1.0}}, "drawdown_weight: got 1.0; allowed: 0, as no"),
    ],
)
def test_a_wrong_configuration_names_the_key_and_the_value(make_bare, arguments, words):
    with pytest.raises(ConfigError, match=words):
        RiskConstrainedEnv(make_bare("box"), **{"limits": CAPS, **arguments})


@pytest.mark.parametrize(
    "space",
    [
        spaces.Dict({"risk": spaces.Box(-1.0, 1.0, (2,))}),
        spaces.Box(-1.0, 1.0, (2, 2)),
        spaces.Box(0, 9, (2,), np.int64),
        spaces.Discrete(3),
    ],
    ids=str,
)
def test_risk_is_added_to_a_flat_box_of_floats_or_a_dict_only(make_bare, space):
    sessions = OptionsEnvAdapter().sessions(make_bare("box"))
    env = silent(observation_space=space)
    RiskConstrainedEnv(env, CAPS, adapter=Mute(), sessions=sessions)  # fine without
    with pytest.raises(ConfigError, match="allowed: a flat Box of floats") as refused:
        RiskConstrainedEnv(env, CAPS, adapter=Mute(), sessions=sessions, observe_risk=True)
    assert f"observe_risk: the observation space is {space}" in str(refused.value)


def test_an_action_wrapper_below_the_layer_is_refused(make_bare):
    half = gymnasium.wrappers.RescaleAction(make_bare("box"), -0.5, 0.5)
    outer = gymnasium.wrappers.TimeLimit(half, 5)
    with pytest.raises(ConfigError, match=r"got a RescaleAction inside.* put it around"):
        RiskConstrainedEnv(outer, CAPS)
    RiskConstrainedEnv(outer, CAPS, adapter=OptionsEnvAdapter())  # whoever passes one answers
    gymnasium.wrappers.RescaleAction(RiskConstrainedEnv(make_bare("box"), CAPS), -0.5, 0.5)


@pytest.mark.parametrize("convention", ["discrete", "box"])
def test_nothing_can_be_asked_before_the_first_reset(make_env, convention):
    env = make_env(convention)
    for ask in (
        lambda: env.step(env.action_space.sample()),
        lambda: env.step(float("nan")),
        env.risk_report,
        lambda: env.assessment,
    ):
        with pytest.raises(ResetNeeded, match=r"call reset\(\) before"):
            ask()
    if convention == "discrete":
        with pytest.raises(ResetNeeded):
            env.action_masks()


def test_a_box_has_no_mask(make_env):
    env = make_env("box")
    env.reset(seed=0)
    with pytest.raises(TypeError, match=r"action_masks: got Box.*; allowed: Discrete"):
        env.action_masks()
