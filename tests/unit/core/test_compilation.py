"""The cache of machine code never serves an edited source the old answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import riskenv
from riskenv import compilation

PACKAGE = Path(riskenv.__file__).resolve().parent
PROGRAM = """
import json, os, riskenv, numba
from riskenv.compilation import source_digest
from riskenv.pricing import black_scholes_price
print(json.dumps({
    "from": riskenv.__file__,
    "price": float(black_scholes_price(100.0, 95.0, 0.5, 0.10, 0.05, 0.20, False)),
    "cache": os.environ["NUMBA_CACHE_DIR"],
    "numba": numba.config.CACHE_DIR,
    "digest": source_digest(),
}))
"""


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, root / "riskenv", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def run(root: Path, **environment: str) -> dict:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": str(root), "NUMBA_CACHE_DIR": str(root / "cache"),
             "TMPDIR": str(root)}
        | environment,
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    out = json.loads(result.stdout)
    assert Path(out["from"]).resolve().is_relative_to(root.resolve())
    return out


def test_editing_a_called_file_changes_what_its_caller_returns(copied: Path) -> None:
    """black_scholes.py, whose kernel is cached, is not touched; elementary.py, its callee, is."""
    first, again = run(copied), run(copied)
    assert first["price"] == again["price"] == pytest.approx(2.4648, abs=5e-5)
    callee = copied / "riskenv" / "pricing" / "elementary.py"
    source = callee.read_text()
    edited = source.replace("_INV_SQRT_2PI = 0.39", "_INV_SQRT_2PI = 0.49")
    assert edited != source
    callee.write_text(edited)
    after = run(copied)
    callee.write_text(source)
    assert after["price"] != first["price"]
    assert after["digest"] != first["digest"]
    assert run(copied) == first


def test_the_cache_folder_ends_in_the_digest_of_the_sources(copied: Path) -> None:
    out = run(copied)
    assert Path(out["cache"]).name == out["digest"]
    assert out["cache"] == out["numba"]
    assert Path(out["cache"]).parent == copied / "cache"
    assert any(Path(out["cache"]).rglob("*.nbi"))


def test_a_child_process_does_not_nest_the_digest(copied: Path) -> None:
    out = run(copied)
    assert run(copied, NUMBA_CACHE_DIR=out["cache"])["cache"] == out["cache"]


@pytest.mark.parametrize("folder", [".", "pricing", "gate"])
def test_every_source_of_the_layer_counts(folder: str, copied: Path, monkeypatch) -> None:
    monkeypatch.setattr(compilation, "__file__", str(copied / "riskenv" / "compilation.py"))
    before = compilation.source_digest()
    for path in sorted((copied / "riskenv" / folder).glob("*.py")):
        source = path.read_bytes()
        path.write_bytes(source + b"\n")
        assert compilation.source_digest() != before, path
        path.write_bytes(source)
    assert compilation.source_digest() == before


def test_a_cache_that_cannot_be_written_is_no_obstacle(copied: Path) -> None:
    blocked = copied / "a_file"
    blocked.write_text("not a folder")
    assert run(copied, NUMBA_CACHE_DIR=str(blocked))["price"] == run(copied)["price"]
