"""The policies that come with the package: valid, and as strict as their names say."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest

from riskenv import RiskLimits, load_config

POLICIES = ("conservative", "index_income")


def policy(name: str) -> RiskLimits:
    with resources.as_file(resources.files("riskenv.policies") / f"{name}.yaml") as path:
        return load_config(RiskLimits, path)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_loads_and_caps_what_may_ruin_an_account(name: str) -> None:
    limits = policy(name)
    for measure in ("es_1d", "gap_loss", "day_loss", "drawdown", "margin", "vega"):
        assert getattr(limits.of_equity, measure) is not None, measure
    low, _ = limits.bounds(equity=0.0)
    assert (np.isinf(low) | (low == 0.0) | (low <= -100.0)).all()  # shares of nothing are nothing


def test_the_conservative_one_allows_less() -> None:
    cautious, bold = (policy(name).of_equity for name in POLICIES)
    for measure in ("vega", "margin", "es_1d", "gap_loss", "day_loss", "drawdown", "notional"):
        assert getattr(cautious, measure) < getattr(bold, measure), measure


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_sets_every_control_on_orders(name: str) -> None:
    orders = policy(name).orders
    for control in ("messages", "duplicate_seconds", "max_executions"):
        assert getattr(orders, control) is not None, control
    for caps in (orders.options, orders.underlyings):
        assert caps.collar is not None
        assert caps.max_value is not None
        assert caps.max_volume is not None
    assert orders.options.collar.market_orders == "deny"


def test_the_conservative_one_sends_less() -> None:
    cautious, bold = (policy(name).orders for name in POLICIES)
    assert cautious.max_executions < bold.max_executions
    assert cautious.messages.max_messages < bold.messages.max_messages
    for mine, other in ((cautious.options, bold.options), (cautious.underlyings, bold.underlyings)):
        assert mine.max_value < other.max_value
        assert mine.max_volume < other.max_volume
