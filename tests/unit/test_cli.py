"""The command line: rooms add commands, a missing room says what to install, errors are words."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from riskenv import cli

ROOT = Path(__file__).resolve().parents[2]

COMMANDS = """
from pathlib import Path
from typing import Annotated
import typer
from riskenv.cli import UserError
from riskenv.config import Config, load_config

class Window(Config):
    days: int

def register(app):
    @app.command("load")
    def load(path: Path): typer.echo(load_config(Window, path).days)
    @app.command("user")
    def user(): raise UserError("the gate is shut")
    @app.command("disk")
    def disk(): raise OSError("no file was named")
    @app.command("bug")
    def bug(): raise ValueError("a defect")
"""


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> object:
    """Run `riskenv` in this process, with one registered command module."""

    def run(
        *arguments: str, source: str = COMMANDS, room: str = "", missing: tuple[str, ...] = ()
    ) -> tuple[int, str, str]:
        module = f"riskenv.{room}.commands_of_a_test" if room else "commands_of_a_test"
        spec = importlib.util.spec_from_loader(module, loader=None)
        assert spec is not None
        loaded = importlib.util.module_from_spec(spec)

        class Entry(EntryPoint):
            def load(self) -> object:
                exec(source, loaded.__dict__)
                return loaded.register

        entries = [
            Entry(name="demo", value=f"{module}:register", group=cli.COMMAND_GROUP),
            EntryPoint(name="core", value="riskenv.cli:register", group=cli.COMMAND_GROUP),
        ]
        monkeypatch.setattr(cli, "entry_points", lambda group: entries)
        monkeypatch.setattr(cli, "find_spec", lambda name: None if name in missing else True)
        monkeypatch.setattr(sys, "argv", ["riskenv", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return run


def test_version(run) -> None:
    code, out, _ = run("version")
    assert (code, out.split()[0]) == (0, "riskenv")


def test_a_room_adds_its_commands(run, tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text("days: 5\n")
    assert run("load", str(tmp_path / "w.yaml")) == (0, "5\n", "")


def test_an_expected_error_is_one_message_and_code_2(run, tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text("days: five\n")
    code, out, err = run("load", str(tmp_path / "w.yaml"))
    assert (code, out) == (2, "")
    assert err.startswith(f"riskenv: Window ({tmp_path / 'w.yaml'}) is not valid:\n  days: got")
    assert run("user") == (2, "", "riskenv: the gate is shut\n")


def test_a_file_that_is_not_there_is_an_expected_error(run, tmp_path: Path) -> None:
    source = f"def register(app):\n  @app.command('x')\n  def x(): open({str(tmp_path / 'no')!r})"
    code, _, err = run("x", source=source)
    assert (code, err) == (2, f"riskenv: {tmp_path / 'no'}: No such file or directory\n")


@pytest.mark.parametrize(("command", "error"), [("bug", ValueError), ("disk", OSError)])
def test_a_defect_keeps_its_traceback(run, command: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        run(command)


def test_a_wrong_option_is_code_2(run) -> None:
    assert run("version", "--colour")[0] == 2
    assert run("nothing")[0] == 2


def test_a_room_without_its_packages_is_listed_with_what_to_install(run) -> None:
    missing = ("torch", "plotly")
    code, out, _ = run("--help", room="train", missing=missing)
    assert code == 0
    assert "Unavailable: needs pip install 'riskenv[train]'" in " ".join(out.split())
    assert "version" in out


@pytest.mark.parametrize("arguments", [(), ("--quick", "--out", "x"), ("--help",), ("a", "b")])
def test_calling_it_says_what_to_install(run, arguments: tuple[str, ...]) -> None:
    code, out, err = run("demo", *arguments, room="train", missing=("torch", "plotly"))
    assert (code, out) == (2, "")
    assert err == (
        "riskenv: `demo` needs packages that are not installed (torch, plotly): "
        "pip install 'riskenv[train]'\n"
    )


def test_a_half_installed_package_counts_as_missing(run) -> None:
    source = "raise ModuleNotFoundError('no torch', name='torch')"
    code, _, err = run("demo", room="train", source=source)
    assert code == 2
    assert "(torch)" in err


@pytest.mark.parametrize(
    ("room", "name"), [("train", "riskenv.train.nope"), ("data", "torch"), ("", "torch")]
)
def test_a_module_that_no_extra_brings_is_a_defect(run, room: str, name: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        run("demo", room=room, source=f"raise ModuleNotFoundError('none', name={name!r})")


def test_python_m_riskenv_works_from_the_root_of_a_checkout() -> None:
    for arguments, code in ((["version"], 0), (["no-such-command"], 2)):
        done = subprocess.run(
            [sys.executable, "-m", "riskenv", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
