"""`riskenv gate ...`: look into a bundle, and re-decide a record from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the `gate` group."""
    gate = typer.Typer(help="The exported gate.", no_args_is_help=True)
    app.add_typer(gate, name="gate")

    @gate.command("inspect")
    def inspect_bundle(bundle: Annotated[Path, typer.Argument(help="a gate bundle")]) -> None:
        """Verify a bundle's digests and print what it holds."""
        from riskenv.cli import UserError
        from riskenv.gate.bundle import BundleError, load_bundle

        try:
            manager, digest = load_bundle(bundle)
        except BundleError as error:
            raise UserError(str(error)) from None
        caps = manager.limits.caps.model_dump(exclude_none=True)
        typer.echo(f"digest   {digest}")
        typer.echo("caps     " + ", ".join(f"{name} {cap:g}" for name, cap in caps.items()))
        typer.echo(f"events   {len(manager.monitor.events)}")
        typer.echo(f"sessions {len(manager.sessions.closes)}")
        typer.echo(f"history  {0 if manager.history is None else len(manager.history.times)} days")

    @gate.command("replay")
    def replay_record(
        bundle: Annotated[Path, typer.Argument(help="a gate bundle")],
        inputs: Annotated[Path, typer.Argument(help="a record of decision inputs (.npz)")],
        expect: Annotated[Path, typer.Option(help="decisions made at the time (.jsonl.gz)")],
    ) -> None:
        """Re-decide every entry of a record and count the decisions equal to the byte.

        Exit code 1 if any differs; the first that does is named, with the key and both values.
        """
        from riskenv.cli import UserError
        from riskenv.gate.bundle import BundleError
        from riskenv.gate.input_record import InputRecord
        from riskenv.gate.replay import compare, read_decisions
        from riskenv.gate.risk_gate import RiskGate

        try:
            record = InputRecord.load(inputs)
            result = compare(RiskGate.load(bundle), record, read_decisions(expect))
        except (BundleError, ValueError) as error:
            raise UserError(str(error)) from None
        typer.echo(f"{result.identical} of {result.decisions} decisions identical to the byte")
        if result.first is not None:
            typer.echo(f"first difference: {result.first}")
            raise typer.Exit(1)
