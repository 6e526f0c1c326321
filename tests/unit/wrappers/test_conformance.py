"""`check_constrained_env` finds each trap and names it, and finds none where there is none."""

from __future__ import annotations

import re
import sys

import gymnasium
import pytest
from riskenv.wrappers import (
    AccountAdapter,
    OldGymEnv,
    Protection,
    Traits,
    check_constrained_env,
)
from typer.testing import CliRunner

from riskenv.cli import build_app
from riskenv.config import ConfigError

from . import trap_envs as traps
from .trap_envs import constrained, shares_adapter

# (what is checked, the code that names the trap, words of the message)
TRAPS = {
    "re-struck slots": (
        lambda: constrained(traps.Restruck(), traps.restruck_adapter()),
        "restruck",
        "re-struck slots",
    ),
    "a list re-sorted each step": (
        lambda: constrained(traps.Resorted(), traps.resorted_adapter()),
        "other_contract",
        "re-sorted inside step",
    ),
    "an ignored open": (
        lambda: constrained(traps.IgnoresOpens()),
        "ignored",
        "silently ignored",
    ),
    "the market advancing before the fill": (
        lambda: constrained(traps.MovesFirst()),
        "fills_next",
        "market advances before the fill",
    ),
    "client flow unasked": (lambda: constrained(traps.ClientFlow()), "client_flow", "client flow"),
    "stops inside step": (lambda: constrained(traps.StopsInside()), "stop", "by a stop"),
    "sizes cut": (lambda: constrained(traps.CutsSizes()), "cut", "cuts sizes"),
    "premium booked elsewhere": (
        lambda: constrained(traps.BooksPremiumElsewhere()),
        "nav",
        "cash does not pay",
    ),
    "a shared observation buffer": (
        lambda: constrained(traps.SharedBuffer()),
        "shared_buffer",
        "shared observation buffer",
    ),
    "a 4-tuple step": (lambda: constrained(traps.FourTuple()), "four_tuple", "OldGymEnv"),
    "a seed that does not determine": (
        lambda: constrained(traps.Unseeded()),
        "unseeded",
        "unseeded",
    ),
    "infinite bounds": (
        lambda: constrained(traps.Unbounded(), traps.BoxAdapter()),
        "infinite_bounds",
        "infinite bounds",
    ),
    "an unseeded space": (
        lambda: constrained(traps.UnseededSpace()),
        "unseeded_space",
        "unseeded space",
    ),
    "a space built anew": (
        lambda: constrained(traps.NewSpaceEachTime()),
        "unseeded_space",
        "anew",
    ),
    "a preview that acts": (
        lambda: constrained(traps.Shares(), traps.Impure(traps.READER, traps.MENU,
                                                         sessions=traps.SESSIONS)),
        "impure",
        "pure",
    ),
    "a mask inconsistent with step": (
        lambda: constrained(traps.Shares(), traps.FastAndWrong(traps.READER, traps.MENU,
                                                               sessions=traps.SESSIONS)),
        "mask",
        "inconsistent with step",
    ),
    "a menu that contradicts itself": (
        lambda: constrained(traps.Shares(), traps.FastAndWrong(traps.READER, traps.MENU,
                                                               sessions=traps.SESSIONS)),
        "menu",
        "disagree",
    ),
    "an encoding that trades more": (
        lambda: constrained(traps.Shares(), traps.Greedy(traps.READER, traps.MENU,
                                                         sessions=traps.SESSIONS)),
        "encode",
        "trades more",
    ),
    "an outer wrapper that remaps": (
        lambda: traps.Reversed(constrained(traps.Shares())),
        "outer_remap",
        "mask",
    ),
    "an outer wrapper that does not say so": (
        lambda: traps.Shuffled(constrained(traps.Shares())),
        "outer_remap",
        "mask",
    ),
    "an outer wrapper with fewer rows": (
        lambda: traps.Fewer(constrained(traps.Shares())),
        "outer_remap",
        "mask",
    ),
}  # fmt: skip


@pytest.mark.parametrize("trap", TRAPS)
def test_each_trap_is_found_and_named(trap):
    make, code, words = TRAPS[trap]
    found = {finding.code: finding for finding in check_constrained_env(make()).findings}
    assert code in found
    assert words in found[code].words


@pytest.mark.parametrize("trap", [t for t in TRAPS if t != "a shared observation buffer"])
def test_each_trap_is_a_problem(trap):
    make, code, _ = TRAPS[trap]
    report = check_constrained_env(make())
    assert code in {finding.code for finding in report.problems}
    assert f"PROBLEM {code}:" in str(report)


@pytest.mark.parametrize(
    ("make", "adapter"),
    [
        (traps.Shares, shares_adapter),
        (traps.BoxShares, traps.BoxAdapter),
        (traps.MovesFirst, lambda: shares_adapter(traits=Traits(fills="next"))),
        (lambda: OldGymEnv(traps.FourTuple()), lambda: old_adapter()),
    ],
)
def test_where_there_is_no_trap_none_is_found(make, adapter):
    report = check_constrained_env(constrained(make(), adapter()))
    assert report.findings == ()
    assert report.share_matched == 1.0
    assert report.steps == report.previewed == 400
    assert "no problems" in str(report)


@pytest.mark.parametrize(
    ("env", "unasked"),
    [
        (traps.ClientFlow, "client_flow"),
        (traps.StopsInside, "stop"),
    ],
)
def test_what_is_declared_is_counted_and_no_problem(env, unasked):
    adapter = shares_adapter(traits=Traits(unasked=(unasked,)))
    report = check_constrained_env(constrained(env(), adapter))
    assert report.problems == ()
    assert report.declared > 0
    assert report.matched + report.declared == report.previewed == 400
    assert f"{report.declared:,} more with declared changes" in str(report)


def test_slots_taken_for_contracts_show_in_their_quotes():
    report = check_constrained_env(constrained(traps.Restruck(), traps.by_slot_adapter()))
    assert report.share_matched == 1.0  # by slot everything fits
    words = {finding.code: finding.words for finding in report.findings}["unknown_quotes"]
    assert "or of the slot" in words
    assert "note unknown_quotes" in str(report)


def test_an_example_says_what_was_previewed_and_what_was_traded():
    report = check_constrained_env(constrained(traps.IgnoresOpens()))
    words = {finding.code: finding.words for finding in report.findings}["ignored"]
    assert "previewed +100 SPY, traded nothing" in words or "previewed -100 SPY" in words
    matched, tried = report.by_action[1]
    assert matched < tried
    assert f"action 1: {matched} of {tried}" in str(report)


def old_adapter():
    """The shares of an env inside `OldGymEnv`: readers are handed the new env."""

    class Through(traps.MenuAdapter):
        def snapshot(self, env, obs, info):
            return super().snapshot(env.unwrapped.old, obs, info)

        def preview(self, env, action):
            return super().preview(env.unwrapped.old, action)

        def preview_all(self, env):
            return super().preview_all(env.unwrapped.old)

    return Through(traps.READER, traps.MENU, sessions=traps.SESSIONS)


def test_with_the_account_alone_nothing_is_previewed_and_the_level_says_so():
    adapter = AccountAdapter(traps.READER, hold=0, flatten=3, sessions=traps.SESSIONS)
    report = check_constrained_env(constrained(traps.Shares(), adapter))
    assert report.protection is Protection.READ
    assert report.problems == ()
    assert report.matched == report.previewed < 400
    assert str(report).startswith("protection READ")


def test_an_env_without_a_layer_is_refused():
    with pytest.raises(ConfigError, match="no RiskConstrainedEnv inside"):
        check_constrained_env(traps.Shares())


def test_a_harmless_wrapper_outside_is_looked_through():
    env = gymnasium.wrappers.RecordEpisodeStatistics(constrained(traps.Shares()))
    assert check_constrained_env(env, steps=50).findings == ()


def test_what_the_check_put_in_place_is_taken_out():
    env = constrained(traps.Shares())
    before = dict(vars(env)), set(vars(env.env))
    check_constrained_env(env, steps=20)
    assert "step" not in vars(env)
    assert not {"step", "reset"} & set(vars(env.env))
    assert set(before[0]) == set(vars(env))


def test_an_error_of_the_adapter_goes_through():
    class Broken(traps.MenuAdapter):
        def preview(self, env, action):
            raise KeyError("no such leg")

    env = constrained(traps.Shares(), Broken(traps.READER, traps.MENU, sessions=traps.SESSIONS))
    with pytest.raises(KeyError, match="no such leg"):
        check_constrained_env(env)
    assert "step" not in vars(env.env)


# --- the command ----------------------------------------------------------------------------------

MODULE = """
import numpy as np, riskenv.train, gymnasium
from riskenv.wrappers import RiskConstrainedEnv
def good():
    bare = gymnasium.make("riskenv/OptionsTrading-v0", convention="discrete")
    return RiskConstrainedEnv(bare, {"caps": {"delta": 500.0}})
def bad():
    return good().env
number = 7
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    from importlib.metadata import entry_points

    (tmp_path / "my_envs.py").write_text(MODULE, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_envs", raising=False)
    app = build_app([e for e in entry_points(group="riskenv.commands") if e.name == "check-env"])

    def call(*arguments):
        return CliRunner().invoke(app, list(arguments))

    yield call
    sys.modules.pop("my_envs", None)


def test_the_command_prints_the_level_and_the_share(run):
    result = run("my_envs:good", "--steps", "30")
    assert result.exit_code == 0
    assert "protection ENCODE" in result.output
    assert re.search(
        r"preview matched: 9\d\.\d% of 60 actions, 1 more with declared", result.output
    )
    assert "no problems" in result.output


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("my_envs", "MODULE:FACTORY"),
        ("nowhere:make", "no module nowhere"),
        ("my_envs:missing", "no function missing"),
        ("my_envs:number", "no function number"),
        ("my_envs:bad", "no RiskConstrainedEnv inside"),
    ],
)
def test_the_command_says_what_is_wrong_with_its_argument(run, factory, words):
    result = run(factory)
    assert result.exit_code != 0
    assert words in str(result.exception)
