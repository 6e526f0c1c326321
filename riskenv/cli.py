"""The `riskenv` command: gathers the commands that each room registers, and words its errors."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points, version
from importlib.util import find_spec

import typer

from riskenv.config import ConfigError

COMMAND_GROUP = "riskenv.commands"

# Import names of what each extra of pyproject.toml brings; a test compares the two. Only these may
# be missing without it being a defect.
PACKAGES_OF_EXTRA: dict[str, tuple[str, ...]] = {
    "wrappers": ("gymnasium",),
    "data": ("pandas", "arch", "exchange_calendars", "httpx", "vollib"),
    "train": (
        "gymnasium",
        "pandas",
        "arch",
        "exchange_calendars",
        "httpx",
        "vollib",
        "scipy",
        "torch",
        "stable_baselines3",
        "sb3_contrib",
        "tensorboard",
        "plotly",
        "jinja2",
        "rich",
    ),
}


class UserError(Exception):
    """Something the person at the keyboard can mend; shown as one message, exit code 2."""


def main() -> None:
    """Run the command line.

    Expected errors (a refused configuration, a file that is not there) end with one message on
    stderr and exit code 2. Anything else is a defect and keeps its traceback.
    """
    try:
        build_app(entry_points(group=COMMAND_GROUP))()
    except (ConfigError, UserError) as error:
        _refuse(str(error))
    except OSError as error:
        if error.filename is None:  # no file of the user's: not expected
            raise
        _refuse(f"{error.filename}: {error.strerror}")


def build_app(commands: Iterable[EntryPoint]) -> typer.Typer:
    """The command-line application.

    Args:
        commands: entry points, each a function `register(app: typer.Typer) -> None`. The name of
            an entry point is the name of the command (or group of commands) that it adds.

    A command whose room lacks its packages (`pip install riskenv` without the extra) is listed as
    unavailable, with what to install; every other failure to load propagates.
    """
    app = typer.Typer(
        help="The portfolio risk layer for options trading.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # in rich's markup, [train] would vanish from a help text
    )
    for command in sorted(commands, key=lambda entry: entry.name):
        extra = _extra_of(command)
        missing = missing_packages(extra)
        if not missing:
            try:
                command.load()(app)
            except ModuleNotFoundError as error:
                # `find_spec` saw the package and its import failed: half an installation.
                if error.name not in PACKAGES_OF_EXTRA.get(extra, ()):
                    raise
                missing = [str(error.name)]
        if missing:
            _register_unavailable(app, command.name, extra, missing)
    return app


def missing_packages(extra: str) -> list[str]:
    """Import names of the packages of an extra that are not installed; none for the core ("").

    Nothing is imported, so that a room may import its packages late and is refused early.
    """
    return [name for name in PACKAGES_OF_EXTRA.get(extra, ()) if find_spec(name) is None]


def register(app: typer.Typer) -> None:
    """Add the core's own commands: `version` and `warmup`."""

    @app.command("version")
    def show_version() -> None:
        """Print the version."""
        typer.echo(f"riskenv {version('riskenv')}")

    @app.command()
    def warmup() -> None:
        """Compile the numeric kernels now, so that the first decision does not wait for them."""
        from riskenv.warmup import warmup as compile_kernels  # imports numba

        compile_kernels()
        typer.echo("kernels compiled")


def _extra_of(command: EntryPoint) -> str:
    """`riskenv.train.commands` belongs to the room, and extra, "train"; the core's to ""."""
    room = command.module.removeprefix("riskenv.").partition(".")[0]
    return room if room in PACKAGES_OF_EXTRA else ""


def _register_unavailable(app: typer.Typer, name: str, extra: str, missing: list[str]) -> None:
    install = f"pip install 'riskenv[{extra}]'"

    # Whatever follows on the command line, the answer is the same.
    @app.command(
        name,
        help=f"Unavailable: needs {install}",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        add_help_option=False,
    )
    def unavailable() -> None:
        packages = ", ".join(missing)
        raise UserError(f"`{name}` needs packages that are not installed ({packages}): {install}")


def _refuse(message: str) -> None:
    typer.echo(f"riskenv: {message}", err=True)
    sys.exit(2)
