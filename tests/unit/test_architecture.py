"""The arrows of the house run one way: train -> wrappers -> riskenv <- data."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {
    "riskenv": "riskenv",
    "wrappers": "riskenv.wrappers",
    "data": "riskenv.data",
    "train": "riskenv.train",
}

ROOMS_A_ROOM_MAY_IMPORT = {
    "riskenv": {"riskenv"},
    "wrappers": {"riskenv", "wrappers"},
    "data": {"riskenv", "data"},
    "train": {"riskenv", "wrappers", "data", "train"},
}

_CORE = {"numpy", "scipy", "numba", "pydantic", "yaml", "typer", "daqp", "lets_be_rational"}
_CORE |= {"llvmlite", "pydantic_core"}  # the lower halves of numba and pydantic
_DATA = {"pandas", "arch", "exchange_calendars", "httpx", "vollib"}
_TRAIN = {"torch", "stable_baselines3", "sb3_contrib", "tensorboard", "plotly", "jinja2", "rich"}
PACKAGES_A_ROOM_MAY_IMPORT = {
    "riskenv": _CORE,
    "wrappers": _CORE | {"gymnasium"},
    "data": _CORE | _DATA,
    "train": _CORE | {"gymnasium"} | _DATA | _TRAIN,
}

# What meets the world: commands, the gate's files, configuration files, the compiler's disk cache.
IMPURE = ("gate/", "cli.py", "__main__.py", "config.py", "yaml_reader.py", "compilation.py")
MODULES_OF_THE_WORLD = {
    "time", "random", "secrets", "uuid", "socket", "http", "urllib", "subprocess", "threading",
    "multiprocessing", "asyncio", "tempfile", "shutil", "sqlite3", "typer", "numpy.random",
}  # fmt: skip
CALLS_OF_THE_WORLD = {
    "open", "print", "input", "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
}  # fmt: skip
METHODS_OF_THE_WORLD = {"read_text", "write_text", "read_bytes", "write_bytes"}


def modules_of(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(source: str, package: str) -> Iterator[str]:
    """Dotted names that a module imports, at any depth of nesting.

    `from a import b` yields "a.b", whether b is a module or a name in one; a relative import is
    resolved against `package`; `import_module("a.b")` counts where its name is written out.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            called = ast.unparse(node.func).rpartition(".")[2]
            name = node.args[0]
            if called in {"import_module", "__import__"} and isinstance(name, ast.Constant):
                yield str(name.value)


def package_of(path: Path) -> str:
    folder = path.relative_to(ROOT).parent
    return ".".join([ROOMS[folder.parts[0]], *folder.parts[1:]])


def room_of(name: str) -> str:
    second = name.split(".")[1] if "." in name else ""
    return second if second in ROOMS else "riskenv"


def forbidden_imports(source: str, package: str, room: str) -> list[str]:
    found = []
    for name in imports(source, package):
        top = name.split(".")[0]
        if top == "riskenv":
            allowed = room_of(name) in ROOMS_A_ROOM_MAY_IMPORT[room]
        else:
            allowed = top in sys.stdlib_module_names or top in PACKAGES_A_ROOM_MAY_IMPORT[room]
        if not allowed:
            found.append(name)
    return found


def worldly(source: str) -> list[str]:
    """Where a module could read a clock, draw a random number, or read and write."""
    found = [
        name
        for name in imports(source, "riskenv")
        if any(f"{name}.".startswith(f"{module}.") for module in MODULES_OF_THE_WORLD)
    ]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {"np.random", "numpy.random"}:
            found.append(ast.unparse(node))
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            short = ".".join(called.split(".")[-2:])
            if {called, short} & CALLS_OF_THE_WORLD or called.split(".")[
                -1
            ] in METHODS_OF_THE_WORLD:
                found.append(called)
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    modules = modules_of(room)
    assert modules, f"no module found in {room}/"
    broken = {
        str(path.relative_to(ROOT)): found
        for path in modules
        if (found := forbidden_imports(path.read_text("utf-8"), package_of(path), room))
    }
    assert not broken


def test_the_layer_reads_no_clock_draws_no_number_and_does_no_io() -> None:
    broken = {
        str(path.relative_to(ROOT)): found
        for path in modules_of("riskenv")
        if not str(path.relative_to(ROOT / "riskenv")).startswith(IMPURE)
        and (found := worldly(path.read_text("utf-8")))
    }
    assert not broken


@pytest.mark.parametrize(
    ("source", "package", "room", "found"),
    [
        ("import torch", "riskenv", "riskenv", ["torch"]),
        ("def f():\n    import pandas as pd", "riskenv.gate", "riskenv", ["pandas"]),
        ("if TYPE_CHECKING:\n    import gymnasium", "riskenv", "riskenv", ["gymnasium"]),
        ("from riskenv.data import x", "riskenv", "riskenv", ["riskenv.data.x"]),
        ("from riskenv import train", "riskenv", "riskenv", ["riskenv.train"]),
        ("import riskenv.wrappers as w", "riskenv", "riskenv", ["riskenv.wrappers"]),
        ("from . import wrappers", "riskenv", "riskenv", ["riskenv.wrappers"]),
        ("from ..train.menu import x", "riskenv.gate", "riskenv", ["riskenv.train.menu.x"]),
        ("importlib.import_module('torch.nn')", "riskenv", "riskenv", ["torch.nn"]),
        ("from riskenv.market import Market", "riskenv", "riskenv", []),
        ("import os, json, numpy.random", "riskenv", "riskenv", []),
        ("import riskenv.data.garch", "riskenv.wrappers", "wrappers", ["riskenv.data.garch"]),
        ("import gymnasium, riskenv.market", "riskenv.wrappers", "wrappers", []),
        ("from riskenv.wrappers import x", "riskenv.data", "data", ["riskenv.wrappers.x"]),
        ("import gymnasium", "riskenv.data", "data", ["gymnasium"]),
        ("import riskenv.wrappers, riskenv.data, torch", "riskenv.train", "train", []),
        ("import requests", "riskenv.train", "train", ["requests"]),
    ],
)
def test_the_check_sees_every_form_of_import(
    source: str, package: str, room: str, found: list[str]
) -> None:
    assert forbidden_imports(source, package, room) == found


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from time import monotonic",
        "from numpy.random import default_rng",
        "rng = np.random.default_rng(0)",
        "now = datetime.now(UTC)",
        "now = datetime.datetime.now(UTC)",
        "print(1)",
        "text = path.read_text()",
        "with open('x') as f: pass",
    ],
)
def test_the_check_sees_the_world(source: str) -> None:
    assert worldly(source)


def test_the_check_lets_a_pure_module_pass() -> None:
    source = "import datetime\nx = market.now + np.exp(1)\ny = datetime.datetime.fromtimestamp(x)"
    assert not worldly(source)


def modules_after(statement: str, folder: Path) -> tuple[set[str], float]:
    """Top-level and riskenv modules in a fresh interpreter after a statement, and its seconds."""
    code = (
        "import json, sys, time; began = time.perf_counter()\n"
        f"{statement}\n"
        "print(json.dumps([time.perf_counter() - began, sorted(sys.modules)]))"
    )
    # -I: neither the working directory nor the environment can add or hide a package.
    run = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    seconds, names = json.loads(run.stdout.splitlines()[-1])
    return set(names), seconds


def test_importing_riskenv_is_light(tmp_path: Path) -> None:
    loaded, _ = modules_after("import riskenv", tmp_path)
    assert not loaded & {"torch", "gymnasium", "pandas", "scipy", "numba", "llvmlite"}
    seconds = min(modules_after("import riskenv", tmp_path)[1] for _ in range(3))
    print(f"import riskenv: {seconds:.3f} s (at most 0.5 s is wanted)")


def test_the_command_line_is_light(tmp_path: Path) -> None:
    loaded, _ = modules_after("import riskenv.cli", tmp_path)
    assert not loaded & {"torch", "gymnasium", "pandas", "scipy", "numba"}


def test_the_whole_core_runs_without_the_other_rooms(tmp_path: Path) -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in modules_of("riskenv")
        if path.name != "__main__.py"
    ]
    loaded, _ = modules_after("\n".join(f"import {name}" for name in names), tmp_path)
    assert set(names) <= loaded
    assert not loaded & {"torch", "gymnasium", "pandas", "stable_baselines3"}
    assert not loaded & {"riskenv.wrappers", "riskenv.data", "riskenv.train"}
