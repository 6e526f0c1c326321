"""`riskenv check-env`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from riskenv.cli import UserError


def register(app: typer.Typer) -> None:
    """Add the command; what it needs is imported when it runs."""

    @app.command("check-env")
    def check_env(
        factory: Annotated[
            str,
            typer.Argument(
                metavar="MODULE:FACTORY",
                help="a function of no arguments that returns a RiskConstrainedEnv",
            ),
        ],
        steps: Annotated[int, typer.Option(min=1, help="env steps of one run")] = 200,
        seed: Annotated[int, typer.Option(min=0, help="of the resets and the actions")] = 0,
    ) -> None:
        """Check that the layer sees what an env does: previews, masks, purity, seeds, payments.

        Prints the level of protection, the share of actions whose preview matched, and what was
        found. Exit code 1 if there are problems.
        """
        from riskenv.wrappers.conformance import check_constrained_env

        report = check_constrained_env(_made_by(factory), steps=steps, seed=seed)
        typer.echo(str(report))
        if report.problems:
            raise typer.Exit(1)


def _made_by(factory: str) -> Any:
    """What MODULE:FACTORY returns; a module of the present folder is found, too."""
    module, _, name = factory.partition(":")
    if not module or not name:
        raise UserError(f"{factory}: allowed: MODULE:FACTORY, such as my_envs:make_constrained")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise
        raise UserError(f"{factory}: there is no module {error.name}") from error
    make = getattr(found, name, None)
    if not callable(make):
        raise UserError(f"{factory}: {module} has no function {name}")
    return make()
