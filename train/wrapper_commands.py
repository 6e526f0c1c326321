"""`riskenv soak-env` and `riskenv study-penalty`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add the commands; what they need is imported when they run."""

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
            errors, last = Console(stderr=True), 0.0
            with Progress(console=errors) as bar:
                row = bar.add_task("0 active breaches", total=steps)

                def told(tally: EnvSoakTally, seconds: float) -> None:
                    nonlocal last
                    words = f"{tally.active:,} active breaches"
                    bar.update(row, completed=tally.steps, description=words)
                    # Where no bar can move, a line now and then stands in for it.
                    if not errors.is_terminal and seconds - last >= 30.0:
                        last = seconds
                        errors.print(f"{seconds:,.0f} s: {tally.steps:,} steps, {words}")

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

    @app.command("study-penalty")
    def study_penalty(
        config: Annotated[
            Path | None, typer.Option(help="YAML in place of the shipped study_penalty.yaml")
        ] = None,
        jobs: Annotated[int, typer.Option(min=1, help="processes")] = 1,
    ) -> None:
        """Agents trained under several correction penalties; which alpha the rule picks.

        The rule is in riskenv.train.penalty_study, and was stated before the run.
        """
        from rich.console import Console
        from rich.progress import Progress
        from riskenv.train.penalty_study import (
            STUDIED,
            PenaltyRun,
            choice,
            load_penalty_study,
        )
        from riskenv.train.penalty_study import study_penalty as run_study

        settings = load_penalty_study(config)
        with Progress(console=Console(stderr=True)) as bar:
            runs_in_all = len(STUDIED) * len(settings.alphas) * len(settings.seeds)
            row = bar.add_task("agents", total=runs_in_all)

            def told(run: PenaltyRun) -> None:
                bar.advance(row)

            runs = run_study(settings, jobs, told)
        console = Console()
        console.print(_penalty_table(settings, runs))
        console.print(f"the rule picks {choice(runs):g}")


def _penalty_table(config: Any, runs: Any) -> Any:
    """One row a convention and alpha: means over the seeds, and their spread."""
    import numpy as np
    from rich import box
    from rich.table import Table
    from riskenv.train.penalty_study import STUDIED, hurts

    title = f"{config.train_steps:,} steps of PPO, {len(config.seeds)} seeds, judged without it"
    table = Table(title=title, box=box.SIMPLE)
    for name in ("convention", "alpha", "reward, 1e-4", "+-", "corrected", "changed", "size", ""):
        table.add_column(name, justify="left" if name == "convention" else "right")
    for convention in STUDIED:
        of_convention = [run for run in runs if run.convention == convention]
        for alpha in config.alphas:
            own = [run for run in of_convention if run.alpha == alpha]
            rewards = np.array([run.reward for run in own])
            table.add_row(
                convention,
                f"{alpha:g}",
                f"{1e4 * rewards.mean():.1f}",
                f"{1e4 * rewards.std(ddof=1):.1f}",
                *(
                    f"{np.mean([getattr(run, name) for run in own]):.1%}"
                    for name in ("corrected", "changed")
                ),
                f"{np.mean([run.size for run in own]):.3f}",
                "hurts" if hurts(of_convention, alpha) else "",
            )
    return table


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
