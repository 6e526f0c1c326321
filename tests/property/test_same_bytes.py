"""Same inputs, same bytes: in other processes, with other hash seeds, on other CPUs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from .decide_all import DISPATCHED, FEATURES

ROOT = Path(__file__).resolve().parents[2]
# Every vector extension that NumPy would choose at run time on this machine.
FOUND = [name for name in DISPATCHED if FEATURES[name]]
WORLDS = 120


@cache
def decided(**environment: str) -> dict:
    """What `decide_all` prints in a fresh process."""
    own = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "PYTHONHASHSEED", "OPENBLAS_CORETYPE")
    inherited = {name: value for name, value in os.environ.items() if name not in own}
    # The installed package, not the one in the current folder, whose kernels are not cached yet.
    program = (
        f"import runpy, sys; sys.path.append({str(ROOT)!r}); sys.argv[1:] = ['{WORLDS}']; "
        "runpy.run_module('tests.property.decide_all', run_name='__main__')"
    )
    result = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env={**inherited, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_the_worlds_are_worth_deciding() -> None:
    verdicts = decided()["verdicts"]
    assert set(verdicts) == {"ALLOW", "RESIZE", "BLOCK", "REDUCE"}
    assert min(verdicts.values()) >= 5
    assert min(decided()["seen"].values()) >= 5


@pytest.mark.parametrize("cpu", ["haswell", "generic"])
def test_the_compilers_target_changes_no_bit(cpu: str) -> None:
    """With and without AVX-512, and without fused multiply-add in hardware."""
    there = decided(NUMBA_CPU_NAME=cpu, PYTHONHASHSEED="7")
    assert there["cpu"] == cpu
    assert there["digest"] == decided()["digest"]


def test_hash_seeds_blas_kernels_and_numpys_vector_extensions_change_no_bit() -> None:
    if not FOUND:
        pytest.skip("NumPy dispatches to no vector extension on this machine")
    there = decided(
        PYTHONHASHSEED="1234",
        OPENBLAS_CORETYPE="Nehalem",
        NPY_DISABLE_CPU_FEATURES=" ".join(FOUND),
    )
    assert there["numpy_features"] == []
    assert there["hash"] != decided()["hash"]
    assert there["digest"] == decided()["digest"]
