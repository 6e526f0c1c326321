"""`riskenv demo`, `riskenv soak` and `riskenv study-events`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add the commands; what they need is imported when they run."""

    @app.command("demo")
    def demo(
        out: Annotated[Path, typer.Option(help="folder for what is produced")] = Path("runs/demo"),
        config: Annotated[
            Path | None, typer.Option(help="YAML in place of the shipped demo.yaml")
        ] = None,
        quick: Annotated[
            bool, typer.Option("--quick", help="a short form, with spans and steps of its own")
        ] = False,
    ) -> None:
        """Train inside the risk layer, judge with and without it, export the gate, re-decide.

        Exit code 1 if an action breached a hard cap with the layer on, or a decision made again
        from the exported gate differs.
        """
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from riskenv.train.demo_config import load_demo_config

        settings = load_demo_config(config)
        if quick:
            settings = settings.quick()
        console = Console()
        if not console.is_terminal:
            console = Console(width=100)
        columns = (
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("elapsed"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("loading the market")

            def advance(done: int, total: int, what: str) -> None:
                bar.update(task, completed=done, total=total, description=what)

            from riskenv.train.demo import run_demo

            result = run_demo(settings, out, advance)
        _print(console, settings, result, out)
        if not result.passed:
            raise typer.Exit(1)

    @app.command("soak")
    def soak(
        actions: Annotated[int, typer.Option(min=1, help="how many")] = 1_000_000,
        seed: Annotated[int, typer.Option(min=0, help="of all worlds")] = 1,
        jobs: Annotated[int, typer.Option(min=1, help="processes")] = 1,
        every: Annotated[float, typer.Option(min=0.0, help="seconds between lines")] = 30.0,
        world: Annotated[int, typer.Option(min=-1, help="run this one alone; -1: all")] = -1,
    ) -> None:
        """Random actions on random markets with garbage quotes, judged by a second opinion.

        Exit code 1 if a decision breached a hard cap or entered what is Unknown, or a call failed.
        What was found names its world: run it alone with --world, and the same seed.
        """
        import time

        from rich.console import Console
        from rich.markup import escape
        from riskenv.train.soak import SoakTally, soak_world
        from riskenv.train.soak import soak as run_soak

        errors, start = Console(stderr=True), time.monotonic()

        seen = 0

        def told(tally: SoakTally, seconds: float) -> None:
            nonlocal seen
            for words in tally.findings[seen:]:
                errors.print(escape(words), soft_wrap=True)
            seen = len(tally.findings)
            errors.print(
                f"{seconds:,.0f} s: {tally.actions:,} actions, {tally.breaches:,} breaches, "
                f"{tally.failures:,} failures"
            )

        if world >= 0:
            tally = SoakTally()
            soak_world(seed, world, tally)
        else:
            tally = run_soak(actions, seed, jobs, every, told)
        _print_soak(Console(), tally, time.monotonic() - start)
        if not tally.passed:
            errors.print(f"run one world again: riskenv soak --seed {seed} --world K")
            raise typer.Exit(1)

    @app.command("study-events")
    def study_events(
        prices: Annotated[Path, typer.Option(help="parquet or CSV: ticker, Date, Close")],
        earnings: Annotated[Path, typer.Option(help="parquet or CSV: symbol, date, release_time")],
        out: Annotated[Path, typer.Option(help="CSV to write")] = Path("runs/study_events.csv"),
        config: Annotated[
            Path | None, typer.Option(help="YAML in place of the shipped study_events.yaml")
        ] = None,
    ) -> None:
        """Short strangles on single stocks: reduced before earnings, not at all, on other days."""
        from rich.console import Console
        from rich.progress import Progress
        from riskenv.train.stock_history import STUDY_YAML, StudyConfig, read_table, stock_history
        from riskenv.train.study_events import study, write_csv

        from riskenv.config import load_config

        settings = load_config(StudyConfig, STUDY_YAML if config is None else config)
        console = Console()
        if not console.is_terminal:
            console = Console(width=120)
        with Progress(console=console) as bar:
            task = bar.add_task("volatilities")

            def advance(done: int, total: int, what: str) -> None:
                bar.update(task, completed=done, total=total, description=what)

            history = stock_history(
                read_table(prices, ("ticker", "Date", "Close")),
                read_table(earnings, ("symbol", "date", "release_time")),
                settings,
            )
            rows = study(history, settings, advance)
            bar.update(task, completed=bar.tasks[0].total, description="done")
        write_csv(rows, out)
        _print_study(console, settings, history, rows)
        console.print(f"written: {out}", soft_wrap=True)


def _print_study(console: Any, config: Any, history: Any, rows: Any) -> None:
    """The table of the events study."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=f"earnings study: {len(history.tickers)} stocks, {config.span[0]} to "
        f"{config.span[1]}, {len(history.news):,} announcements",
        box=box.SIMPLE,
        caption="% of the capital. 'without': no events. 'placebo': the layer reduces on shuffled "
        f"dates, mean of {config.placebos} calendars; jumps stay on the true ones. "
        "'net sold': time value sold less bought back, a year; 'forgone': what of it 'without' had "
        "more; 'a unit': ES cut over forgone.",
    )
    names = ("premium size", "layer", "return", "worst day", "99 % ES", "forced", "their cost",
             "costs", "net sold", "forgone", "ES cut", "a unit")  # fmt: skip
    for name in names:
        table.add_column(name, justify="left" if name == "layer" else "right")
    for row in rows:
        ratio = row.es_cut_per_premium
        table.add_row(
            f"{row.premium_size:g}",
            row.arm,
            f"{row.total_return:.1%}",
            *(f"{x:.2%}" for x in (row.worst_day, row.es_99)),
            f"{row.forced_trades:,.0f}",
            *(f"{x:.2%}" for x in (row.forced_cost, row.cost, row.premium, row.premium_forgone)),
            f"{row.es_cut:.3%}",
            f"{ratio:.3f}" if ratio == ratio else "-",
        )
    console.print(table)


def _print_soak(console: Any, tally: Any, seconds: float) -> None:
    """What was found, and the table."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    for words in tally.findings:
        console.print(escape(words), style="red", soft_wrap=True)
    table = Table(title="soak", box=box.SIMPLE, show_header=False)
    table.add_column("", no_wrap=True)
    table.add_column("", justify="right")
    for name, value in (
        ("actions", tally.actions),
        ("worlds", tally.worlds),
        ("active hard-cap breaches", tally.breaches),
        ("failures", tally.failures),
        ("actions that traded", tally.trades),
        ("of which in what is Unknown", tally.not_judged),
        ("garbage quotes", tally.garbage),
        *((f"verdict {name}", n) for name, n in sorted(tally.verdicts.items())),
        *((f"rung {name}", n) for name, n in sorted(tally.rungs.items())),
    ):
        table.add_row(name, f"{value:,}")
    for name, times in (("assess", tally.assess_times), ("decide", tally.decide_times)):
        for q in (0.5, 0.99):
            table.add_row(f"{name} p{100 * q:.0f}, us", f"{tally.quantile(times, q):,.0f}")
    table.add_row("wall time, s", f"{seconds:,.0f}")
    table.add_row("wall time per action, us", f"{1e6 * seconds / max(tally.actions, 1):,.0f}")
    console.print(table)


def _print(console: Any, config: Any, result: Any, out: Path) -> None:
    """The tables and, last, what was produced and where."""
    from riskenv.train.demo import ARTIFACTS
    from riskenv.train.study import strangle_table

    for span in dict.fromkeys(o.run.span for o in result.outcomes):
        console.print(_policies([o for o in result.outcomes if o.run.span == span], span))
    console.print(_transposed(strangle_table(config, result.outcomes)))

    console.print(
        "The agents were trained inside the layer: their rows without it say what taking it away "
        "does, not what training without it would have given."
    )
    for convention, share in result.unchanged.items():
        console.print(f"random proposals passed unchanged, {convention}: {share:.1%}")
    for replay in result.replays:
        console.print(
            f"{replay.process}, without torch, gymnasium and pandas: {replay.identical:,} of "
            f"{replay.decisions:,} decisions identical to the byte"
        )
        if replay.first_difference:
            console.print(f"  first difference: {replay.first_difference}")
    times = ", ".join(f"{phase} {seconds:.0f} s" for phase, seconds in result.seconds.items())
    console.print(f"wall time: {times}, in all {sum(result.seconds.values()):.0f} s")
    active = sum(o.run.active_breaches for o in result.outcomes if o.run.layered)
    without = sum(o.run.active_breaches for o in result.outcomes if not o.run.layered)
    console.print(f"active breaches of hard caps: {active:,} with the layer, {without:,} without")
    console.print("produced:")
    for name in ARTIFACTS:
        console.print(f"  {out / name}", soft_wrap=True)


def _policies(outcomes: Any, span: str) -> Any:
    """One row a run of one span."""
    from rich import box
    from rich.table import Table
    from riskenv.train.performance import (
        daily_pnl,
        expected_shortfall,
        max_drawdown,
        total_return,
    )

    table = Table(title=f"{span}: policies with and without the layer", box=box.SIMPLE)
    table.add_column("policy", no_wrap=True)
    table.add_column("layer", no_wrap=True)
    for name in ("return", "drawdown", "ES/day", "changed", "active", "drift"):
        table.add_column(name, justify="right", no_wrap=True)
    for outcome in outcomes:
        run = outcome.run
        loss = expected_shortfall(daily_pnl(run.times, run.equity)) / float(run.equity[0])
        table.add_row(
            run.name,
            "with" if run.layered else "without",
            f"{total_return(run.equity):.1%}",
            f"{max_drawdown(run.equity):.1%}",
            f"{loss:.2%}",
            _changed(run.name, run.verdicts) if run.layered else "",
            f"{run.active_breaches:,}",
            f"{run.drift_breaches:,}",
        )
    return table


def _changed(name: str, verdicts: Any) -> str:
    """Share of requests that were replaced; a masked agent is only ever offered what passes."""
    from riskenv.train.performance import intervention_rate
    from riskenv.train.study import MASKED

    return "masked" if name == MASKED else f"{intervention_rate(verdicts):.0%}"


def _transposed(source: Any) -> Any:
    """A report table with its rows as columns, which a terminal has the width for."""
    from rich import box
    from rich.table import Table

    table = Table(title=source.title, box=box.SIMPLE)
    table.add_column("", no_wrap=True)
    for row in source.rows:
        table.add_column(f"{row[0]}\n{row[1]}", justify="right")
    for k, name in enumerate(source.columns[2:], start=2):
        percent = name in source.percent
        table.add_row(name, *(_cell(row[k], percent) for row in source.rows))
    return table


def _cell(value: Any, percent: bool) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.1%}" if percent else f"{value:,.0f}"
