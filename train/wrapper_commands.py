"""`riskenv soak-env`."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add the command; what it needs is imported when it runs."""

    @app.command("soak-env")
    def soak_env(
        steps: Annotated[
            int, typer.Option(min=1, help="how many, over all conventions")
        ] = 1_000_000,
        seed: Annotated[int, typer.Option(min=0, help="of all tasks")] = 1,
        jobs: Annotated[int, typer.Option(min=1, help="processes")] = 1,
        task: Annotated[int, typer.Option(min=-1, help="run this one alone; -1: all")] = -1,
    ) -> None:
        """Random steps inside the layer in every action convention, each book audited.

        The auditor shares no code with the layer. Exit code 1 if an action caused an active breach
        of a hard cap, a measure could not be audited, or a step raised. What was found names its
        task: run it alone with --task, and the same seed.
        """
        import time

        from rich.console import Console
        from rich.markup import escape
        from rich.progress import Progress
        from riskenv.train.env_soak import EnvSoakTally, soak_task
        from riskenv.train.env_soak import soak_env as run_soak

        start = time.monotonic()
        if task >= 0:
            tally = soak_task(seed, task)
        else:
            with Progress(console=Console(stderr=True)) as bar:
                row = bar.add_task("0 active breaches", total=steps)

                def told(tally: EnvSoakTally, seconds: float) -> None:
                    words = f"{tally.active:,} active breaches"
                    bar.update(row, completed=tally.steps, description=words)

                tally = run_soak(steps, seed, jobs, told)
        console = Console()
        for words in tally.findings:
            console.print(escape(words), style="red", soft_wrap=True)
        console.print(_soak_table(tally))
        seconds = time.monotonic() - start
        console.print(
            f"{tally.steps:,} steps in {seconds:,.0f} s by {jobs} processes: "
            f"{tally.active:,} active breaches of hard caps"
        )
        if not tally.passed:
            raise typer.Exit(1)


def _soak_table(tally: Any) -> Any:
    """One column a convention."""
    from rich import box
    from rich.table import Table

    table = Table(title="random steps inside the layer", box=box.SIMPLE)
    table.add_column("")
    for convention in tally.conventions:
        table.add_column(convention, justify="right")
    columns = tally.conventions.values()
    for words, name in (
        ("steps", "steps"),
        ("that traded", "trades"),
        ("active breaches", "active"),
        ("drift breaches", "drift"),
        ("caps compared", "checks"),
        ("not auditable", "unauditable"),
        ("steps that raised", "failures"),
        ("drawn from the mask", "masked"),
    ):
        table.add_row(words, *(f"{getattr(t, name):,}" for t in columns))
    shares = (f"{t.unchanged / t.steps:.1%}" if t.steps else "-" for t in columns)
    table.add_row("passed unchanged", *shares)
    return table
