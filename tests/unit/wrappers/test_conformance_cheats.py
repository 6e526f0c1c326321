"""What is declared excuses only what it is; what is not tried, or not traded, is looked at, too."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from riskenv.wrappers import AccountAdapter, Reader, check_constrained_env

from . import cheating_envs as cheats
from .cheating_envs import ToyAdapter, layered

KINDS = ("stop", "margin_call", "assignment", "expiry", "client_flow", "restrike")


def codes(env, **arguments):
    """(of the problems, of the remarks)"""
    findings = check_constrained_env(env, **{"steps": 120, **arguments}).findings
    return tuple({f.code for f in findings if f.problem is problem} for problem in (True, False))


# --- what is declared -----------------------------------------------------------------------------


@pytest.mark.parametrize("fills", ["now", "next"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("env", "code"),
    [
        (cheats.Triples, "other_size"),
        (cheats.Negates, "other_size"),
        (cheats.IgnoresPurchases, "ignored"),
    ],
)
def test_no_declaration_excuses_another_fill(env, code, kind, fills):
    adapter = ToyAdapter(unasked=(kind,), fills=fills)
    assert code in codes(layered(env(), adapter))[0]


@pytest.mark.parametrize("env", [cheats.Triples, cheats.Negates])
def test_a_late_size_is_no_other_size(env):
    adapter = ToyAdapter(fills="next", units="fraction_of_equity")
    assert "other_size" in codes(layered(env(), adapter))[0]


def test_a_size_that_moves_with_price_and_equity_is_late():
    adapter = ToyAdapter(fills="next", units="fraction_of_equity", whole_lots=False)
    problems, remarks = codes(layered(cheats.FractionLater(), adapter, cap=1e5))
    assert problems == set()
    assert remarks == {"late_size"}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("env", "kind"),
    [(cheats.Stops, "stop"), (cheats.CallsMargin, "margin_call"), (cheats.Clients, "client_flow")],
)
def test_what_a_declaration_is_for_is_no_problem(env, kind, seed):
    report = check_constrained_env(layered(env(), ToyAdapter(unasked=(kind,))), seed=seed)
    assert report.findings == ()
    assert report.declared > 0
    assert report.matched + report.declared == report.previewed


# --- cash -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "adapter"),
    [
        (cheats.PaysForHolding, ToyAdapter()),
        (cheats.SecondStore, ToyAdapter()),
        (cheats.PaysForHolding, ToyAdapter(unasked=KINDS)),
        (cheats.Toy, cheats.SeesNothing()),
    ],
)
def test_cash_that_moves_while_the_book_does_not_is_a_problem(env, adapter):
    report = check_constrained_env(layered(env(), adapter), steps=60)
    assert report.share_matched == 1.0
    assert [finding.code for finding in report.problems] == ["cash"]
    assert "with nothing traded" in report.problems[0].words


def test_with_the_account_alone_cash_is_looked_at_as_well():
    reader = Reader(
        cheats.TABLE,
        lambda env: dict(zip(cheats.TABLE.instruments, env.pos, strict=True)),
        lambda env: env.cash,
        lambda env, table: ToyAdapter().snapshot(env, None, None)[1],
    )
    adapter = AccountAdapter(reader, hold=0, sessions=cheats.SESSIONS)
    assert codes(layered(cheats.Toy(), adapter))[0] == set()
    assert codes(layered(cheats.PaysForHolding(), adapter))[0] == {"cash"}


@pytest.mark.parametrize("env", [cheats.EarnsInterest, cheats.PaysDividends])
def test_interest_and_dividends_are_no_problem(env):
    assert check_constrained_env(layered(env())).findings == ()


# --- what the caps never let through --------------------------------------------------------------


def test_actions_that_the_caps_never_let_through_are_tried_without_the_layer():
    report = check_constrained_env(layered(cheats.Triples(), cap=50.0), steps=60)
    assert [finding.code for finding in report.problems] == ["other_size"]
    assert (report.rows, report.tried, report.inside) == (5, 5, 1)
    assert "actions of the menu tried: 5 of 5, 1 of them inside the layer" in str(report)
    assert report.by_action[0][0] == report.by_action[0][1] > 60
    assert all(report.by_action[k][0] == 0 < report.by_action[k][1] for k in range(1, 5))


def test_rows_that_no_run_came_to_are_counted():
    report = check_constrained_env(layered(cheats.Toy(), cap=50.0), steps=3)
    assert {finding.code for finding in report.findings} == {"untried"}
    assert report.problems == ()
    assert report.tried == 3 or report.tried == 4  # the hold is done inside at any rate
    assert f"{5 - report.tried} never" in str(report)


def test_an_env_that_raises_without_the_layer_is_remarked_on():
    report = check_constrained_env(layered(cheats.Raises()))
    assert report.problems == ()
    words = {finding.code: finding.words for finding in report.findings}["raised"]
    assert "margin exceeded" in words
    assert report.steps > 200


# --- a menu without a hold ------------------------------------------------------------------------


def test_a_menu_in_which_nothing_does_nothing_is_a_problem():
    report = check_constrained_env(layered(cheats.NoHold(), cap=50.0))
    found = {finding.code: finding.words for finding in report.problems}
    assert "no action of the menu does nothing" in found["no_hold"]
    assert "every action of the menu trades" in found["refused"]


def test_a_cap_broken_for_want_of_a_hold_is_a_problem():
    report = check_constrained_env(layered(cheats.NoHoldHeld(), cap=50.0))
    words = {finding.code: finding.words for finding in report.problems}["active_breach"]
    assert "gross_delta" in words


def test_a_rest_that_trades_is_a_refusal_that_is_reported():
    class Target(cheats.Toy):
        def trades(self, action):
            return super().trades(action) + 1.0

    class NoFallback(ToyAdapter):
        def fallbacks(self, env):
            return []

    env = Target(spaces.Box(-1.0, 1.0, (2,), np.float32))
    report = check_constrained_env(layered(env, NoFallback()))
    assert {finding.code for finding in report.problems} == {"refused"}
    assert "adapter.fallbacks" in str(report)


# --- wrappers outside -----------------------------------------------------------------------------


class PassesMasks(gymnasium.Wrapper):
    def action_masks(self):
        return self.env.get_wrapper_attr("action_masks")()


class TurnsMasks(gymnasium.Wrapper):
    def action_masks(self):
        return self.env.get_wrapper_attr("action_masks")()[::-1]


class Turned(TurnsMasks):
    """Its rows are the layer's from the last, as the mask that it inherits has them."""

    def step(self, action):
        return self.env.step(4 - int(action))


class Permuted(PassesMasks):
    """Hands slots on in another order than its mask has them."""

    def step(self, action):
        return self.env.step(np.asarray(action)[::-1])


class PermutedRight(Permuted):
    def action_masks(self):
        mask = super().action_masks()
        return np.concatenate((mask[7:], mask[:7]))


class DropsInfo(gymnasium.Wrapper):
    def step(self, action):
        *values, _ = self.env.step(action)
        return *values, {}


def slots():
    return cheats.Toy(spaces.MultiDiscrete([7, 7]))


@pytest.mark.parametrize(
    ("make", "problems"),
    [
        (lambda: Turned(layered(cheats.Toy())), set()),
        (lambda: PermutedRight(layered(slots())), set()),
        (lambda: PassesMasks(layered(slots())), set()),
        (lambda: Permuted(layered(slots())), {"mask"}),
        (lambda: DropsInfo(layered(cheats.Toy())), {"info"}),
    ],
)
def test_wrappers_outside_are_judged_by_what_comes_of_their_masks(make, problems):
    assert codes(make(), steps=300)[0] == problems


# --- answers --------------------------------------------------------------------------------------


def box():
    return cheats.ClippedToy(spaces.Box(-1.0, 1.0, (2,), np.float32))


@pytest.mark.parametrize(
    ("env", "adapter", "code", "words", "problem"),
    [
        (cheats.Toy, cheats.ThreeRows, "answer", "shape (3, 2); allowed: an array of shape (5, 2)",
         True),
        (cheats.Toy, cheats.Scalars, "answer", "preview returns 0.0; allowed: an array of shape "
         "(2,)", True),
        (cheats.Toy, cheats.Lists, "not_array", "preview returns a list", False),
        (box, cheats.Clipping, "impure", "preview changes the action", True),
        (cheats.Toy, cheats.OneBuffer, "preview_buffer", "one buffer", False),
    ],
)  # fmt: skip
def test_an_answer_of_the_wrong_form_is_a_finding(env, adapter, code, words, problem):
    report = check_constrained_env(layered(env(), adapter()), steps=60)
    (finding,) = report.findings
    assert (finding.code, finding.problem) == (code, problem)
    assert words in finding.words
