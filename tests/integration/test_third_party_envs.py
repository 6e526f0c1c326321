"""Envs from the package registry inside the layer, judged by their own accounts.

Each module beside is all that it takes to adapt one. What is held and at what price is read here
from the env itself, not through the adapter that is on trial.
"""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path

import numpy as np
import pytest
from riskenv.wrappers import RiskConstrainedEnv, check_constrained_env

FOLDER = Path(__file__).parent / "third_party"
NAMES = ("anytrading", "trading_env", "qtrade_env")


def account(name, env):
    """(shares, price, equity) by the env's own books."""
    base = env.unwrapped
    if name == "anytrading":
        return 100.0 * (base._position.name == "Long"), float(base.prices[base._current_tick]), None
    if name == "trading_env":
        price = float(base.df["close"].iloc[base._idx])
        return base._portfolio.asset, price, base._portfolio.valorisation(price)
    return base._broker.position.size, float(base._data["Close"].iloc[base.current_step]), None


def use(name, shares, price, equity):
    """How much of the cap a book uses, said here in other words than the limits'."""
    if name == "anytrading":
        return abs(shares) * price / 30_000.0
    if name == "trading_env":
        return abs(shares) * price / (1.2 * equity)
    return abs(shares) / 60.0


def load(name):
    # One of the three turns every warning into an error when it is imported.
    with warnings.catch_warnings():
        return importlib.import_module(f".third_party.{name}", __package__)


@pytest.fixture(params=NAMES)
def third_party(request):
    return request.param, load(request.param)


def run(name, env, steps, seed):
    """Random actions; (share of steps that end in breach, those that an action caused, unchanged).

    By action: the account changed, and at the prices of the decision the new book is outside its
    cap and further out than the old one.
    """
    draw = np.random.default_rng(seed)
    env.reset(seed=seed)
    outside = by_action = unchanged = count = 0
    for _ in range(steps):
        shares, price, equity = account(name, env)
        *_, terminated, truncated, info = env.step(int(draw.integers(env.action_space.n)))
        if terminated or truncated:
            break
        count += 1
        after = account(name, env)
        outside += use(name, *after) > 1.0
        acted, before = use(name, after[0], price, equity), use(name, shares, price, equity)
        by_action += after[0] != shares and acted > 1.0 + 1e-9 and acted > before
        unchanged += not info.get("intervened", 0)
    return outside / count, by_action, unchanged / count, count


@pytest.mark.parametrize("seed", [1, 2])
def test_the_layer_holds_what_the_bare_env_breaks(third_party, seed):
    name, module = third_party
    bare_share, bare_actions, _, steps = run(name, module.make(), 1_500, seed)
    env = RiskConstrainedEnv(module.make(), module.LIMITS, adapter=module.ADAPTER)
    share, by_action, unchanged, layered_steps = run(name, env, 1_500, seed)
    print(
        f"\n{name}: bare {bare_share:.1%}, by action {bare_actions} of {steps}; layered "
        f"{share:.1%}, by action {by_action} of {layered_steps}, unchanged {unchanged:.1%}"
    )
    assert steps > 900
    assert layered_steps > 900
    assert bare_share >= 0.10
    assert bare_actions > 0
    assert by_action == 0
    assert unchanged >= 0.30


def test_previews_are_what_the_account_then_shows(third_party):
    name, module = third_party
    env = module.make()
    env.reset(seed=0)
    draw = np.random.default_rng(0)
    traded = 0
    for _ in range(300):
        action = int(draw.integers(env.action_space.n))
        expected = module.ADAPTER.preview(env, action)
        shares = account(name, env)[0]
        env.step(action)
        np.testing.assert_allclose(account(name, env)[0] - shares, expected[0], atol=1e-9)
        traded += expected.any()
    assert traded > 50


def test_the_check_finds_no_problem(third_party):
    _, module = third_party
    env = RiskConstrainedEnv(module.make(), module.LIMITS, adapter=module.ADAPTER)
    report = check_constrained_env(env, steps=120)
    assert report.problems == ()
    assert report.share_matched == 1.0


def test_a_seed_that_does_not_reach_an_env_is_found():
    module = load("trading_env")
    bare = module.make()
    bare.initial_position = "random"  # its default: from NumPy's global generator
    env = RiskConstrainedEnv(bare, module.LIMITS, adapter=module.ADAPTER)
    report = check_constrained_env(env, steps=120)
    assert {finding.code for finding in report.problems} == {"unseeded"}


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_of_a_real_env_fits_on_a_page(name):
    lines = (FOLDER / f"{name}.py").read_text("utf-8").splitlines()
    assert sum(bool(line.strip()) for line in lines) < 40
