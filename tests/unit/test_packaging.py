"""What is declared is what is in the folders, what is imported, and what is pinned."""

from __future__ import annotations

import ast
import fnmatch
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from riskenv.cli import COMMAND_GROUP, PACKAGES_OF_EXTRA

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]
ROOMS = ("riskenv", "wrappers", "data", "train")
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]


def package_of(folder: Path) -> str:
    first, *rest = folder.relative_to(ROOT).parts
    return ".".join(["riskenv", *([] if first == "riskenv" else [first]), *rest])


def shipped_files() -> list[Path]:
    return sorted(
        path
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )


def requirements(extra: str) -> dict[str, Requirement]:
    """Direct requirements of an extra ("": the core), with those of the extras it includes."""
    found: dict[str, Requirement] = {}
    for line in EXTRAS[extra] if extra else PROJECT["project"]["dependencies"]:
        requirement = Requirement(line)
        if canonicalize_name(requirement.name) == "riskenv":
            for other in requirement.extras:
                found |= requirements(other)
        else:
            found[canonicalize_name(requirement.name)] = requirement
    return found


def closure(names: list[str]) -> set[str]:
    """Distributions that installing `names` brings, by the metadata of what is installed here."""
    todo, found = [Requirement(name) for name in names], set[str]()
    seen: set[str] = set()
    while todo:
        requirement = todo.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        found.add(canonicalize_name(requirement.name))
        for line in importlib.metadata.requires(requirement.name) or []:
            below = Requirement(line)
            if below.marker is None or any(
                below.marker.evaluate({"extra": extra}) for extra in ({""} | requirement.extras)
            ):
                todo.append(below)
    return found - {"riskenv"}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pin) == 2 for pin in found), "constraints.txt: allowed: name==version"
    counts = Counter(canonicalize_name(name) for name, _ in found)
    assert max(counts.values()) == 1, "constraints.txt: a name is pinned twice"
    return {canonicalize_name(name): version for name, version in found}


def test_every_folder_of_modules_is_a_listed_package() -> None:
    folders = {path.parent for path in shipped_files()}
    assert sorted(SETUPTOOLS["packages"]) == sorted(package_of(folder) for folder in folders)
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


def test_every_file_of_a_room_is_shipped() -> None:
    patterns = SETUPTOOLS["package-data"]
    left_behind = [
        str(path.relative_to(ROOT))
        for path in shipped_files()
        if path.suffix != ".py"
        and not any(
            fnmatch.fnmatch(path.name, pattern)
            for pattern in patterns.get(package_of(path.parent), [])
        )
    ]
    assert not left_behind


def test_a_wheel_holds_every_file_and_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for room in ROOMS:
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-I", "-m", "pip", "wheel", "--quiet", "--no-deps"]
    build += ["--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)]
    run = subprocess.run(build, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    (wheel,) = tmp_path.glob("riskenv-*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == {
        f"{package_of(path.parent).replace('.', '/')}/{path.name}" for path in shipped_files()
    }


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_pins_lie_inside_the_declared_ranges(extra: str) -> None:
    pinned = pins()
    outside = {
        name: pinned.get(name)
        for name, requirement in requirements(extra).items()
        if name not in pinned or not requirement.specifier.contains(pinned[name])
    }
    assert not outside


@pytest.mark.skipif(sys.platform != "linux", reason="the pins are the closure on Linux")
def test_the_pins_are_the_whole_closure_and_nothing_more() -> None:
    build = {canonicalize_name(Requirement(r).name) for r in PROJECT["build-system"]["requires"]}
    assert closure(["riskenv[dev]"]) | build == set(pins())


def test_the_core_brings_no_heavy_package() -> None:
    brought = closure(["riskenv"])
    assert {"numpy", "numba", "pydantic"} <= brought
    assert not brought & {"torch", "gymnasium", "pandas", "stable-baselines3", "vollib"}


def test_the_asked_for_extras_exist() -> None:
    assert {"wrappers", "data", "train", "gate", "dev"} <= set(EXTRAS)


@pytest.mark.parametrize(
    ("folder", "extra"),
    [
        ("riskenv", ""),
        ("wrappers", "wrappers"),
        ("data", "data"),
        ("train", "train"),
        ("tests", "dev"),
    ],
)
def test_what_a_folder_imports_is_declared_for_it(folder: str, extra: str) -> None:
    declared = set(requirements("")) | set(requirements(extra))
    # The lower halves of two packages, of which each pins its own.
    companions = {"llvmlite": "numba", "pydantic-core": "pydantic"}
    distributions = importlib.metadata.packages_distributions()
    imported = {
        name.split(".")[0]
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
    } - {"riskenv", *sys.stdlib_module_names}
    sources = {
        name: {canonicalize_name(source) for source in distributions.get(name, [])}
        for name in imported
    }
    undeclared = {
        name
        for name, names in sources.items()
        if not {companions.get(source, source) for source in names} & declared
    }
    assert not undeclared


def test_the_command_line_knows_what_each_extra_brings() -> None:
    for extra, packages in PACKAGES_OF_EXTRA.items():
        names = {name.replace("-", "_") for name in requirements(extra)}
        assert set(packages) == names, f"PACKAGES_OF_EXTRA[{extra!r}]"
    assert set(PACKAGES_OF_EXTRA) == set(EXTRAS) - {"gate", "dev"}


def test_every_declared_command_can_be_loaded() -> None:
    declared = PROJECT["project"]["entry-points"][COMMAND_GROUP]
    installed = {e.name: e for e in importlib.metadata.entry_points(group=COMMAND_GROUP)}
    assert {name: entry.value for name, entry in installed.items()} == declared
    assert all(callable(entry.load()) for entry in installed.values())


def test_every_make_target_that_a_reader_is_told_of_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    told = set()
    for name in ("README.md", ".ci/run"):
        text = (ROOT / name).read_text("utf-8")
        told |= set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE))
    assert {"demo", "test"} <= told
    assert told <= targets
    assert os.access(ROOT / ".ci/run", os.X_OK)
