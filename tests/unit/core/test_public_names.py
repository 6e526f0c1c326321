"""Every public name is what it says, whatever was imported before it."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

import riskenv
from riskenv import PortfolioRiskManager, RiskGate

assert PortfolioRiskManager  # these pull in every module of the layer
assert RiskGate


@pytest.mark.parametrize("name", [n for n in riskenv.__all__ if n != "__version__"])
def test_a_public_name_is_no_module(name: str) -> None:
    """A module of the same name would take its place on the package once it is imported."""
    assert not isinstance(getattr(riskenv, name), types.ModuleType)
    assert f"riskenv.{name}" not in sys.modules


def test_the_list_is_sorted_and_complete() -> None:
    assert len(set(riskenv.__all__)) == len(riskenv.__all__)
    assert dir(riskenv) == sorted(riskenv.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        riskenv.nothing  # noqa: B018


def test_importing_the_package_compiles_nothing() -> None:
    program = "import sys, riskenv; print([m for m in ('numba', 'numpy') if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
