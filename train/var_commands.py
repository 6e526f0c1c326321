"""`riskenv var backtest`: judge VaR forecasts, a user's own or those of the study on history."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from riskenv.train.var_results import StudyResult
    from riskenv.train.var_study import StudyDays

_SUPERVISED_DAYS = 250


def register(app: typer.Typer) -> None:
    """Add the `var` group; what it needs is imported when it runs."""
    group = typer.Typer(help="Value at risk.", no_args_is_help=True)
    app.add_typer(group, name="var")

    @group.callback()
    def var() -> None:
        """Value at risk: back-tests."""

    @group.command("backtest")
    def backtest(
        pnl: Annotated[
            Path | None, typer.Option(help="a CSV with the columns date, pnl, var and, if any, es")
        ] = None,
        study: Annotated[
            bool, typer.Option("--study", help="three option books on real history, 2007 to 2018")
        ] = False,
        out: Annotated[Path, typer.Option(help="folder for what is produced")] = Path("runs/var"),
        tail: Annotated[
            float | None,
            typer.Option(help="of --pnl: tail probability, 0.01 for 99 % VaR (default: 0.01)"),
        ] = None,
        level: Annotated[
            float | None, typer.Option(help="of --pnl: level of each test (default: 0.05)")
        ] = None,
        vix: Annotated[
            Path | None,
            typer.Option(help="of --study: VIX closes, a CSV as Cboe or FRED writes it"),
        ] = None,
        config: Annotated[
            Path | None, typer.Option(help="of --study: YAML in place of var_study.yaml")
        ] = None,
        fixing: Annotated[
            bool,
            typer.Option(
                "--fixing",
                help="of --study: only the years that its parameters were fixed on; no later "
                "price is looked at",
            ),
        ] = False,
    ) -> None:
        """Exceptions, Kupiec, Christoffersen, traffic light, shortfall and loss of VaR forecasts.

        Prints a table and draws P&L against VaR. Without --vix the study has VIX from 2014 on only,
        and says what it leaves out. A rejection is a finding: the exit code is 0.
        """
        from riskenv.cli import UserError

        if (pnl is None) != study:
            raise UserError("var backtest: give either --pnl FILE or --study")
        of_study = {"--vix": vix, "--config": config, "--fixing": fixing or None}
        of_pnl = {"--tail": tail, "--level": level}
        for name, value in (of_study if pnl is not None else of_pnl).items():
            if value is not None:
                raise UserError(f"{name}: is of {'--study' if pnl is not None else '--pnl'}")
        if pnl is not None:
            _own(pnl, out, 0.01 if tail is None else tail, 0.05 if level is None else level)
        else:
            _study(out, vix, config, fixing)


def _own(path: Path, out: Path, tail: float, level: float) -> None:
    from rich.table import Table
    from riskenv.train.var_csv import PnlFileError, read_pnl
    from riskenv.train.var_figures import Panel, write_backtest_page

    from riskenv.cli import UserError
    from riskenv.var_backtest import backtest

    for name, value in (("--tail", tail), ("--level", level)):
        if not 0.0 < value < 0.5:
            raise UserError(
                f"{name}: got {value}; allowed: above 0 and below 0.5 (99 % confidence is 0.01)"
            )
    try:
        history = read_pnl(path)
    except PnlFileError as error:
        raise UserError(str(error)) from None
    found = backtest(history.pnl, history.var, es=history.es, tail_probability=tail, level=level)
    table = Table(title=f"{path.name}: {history.dates[0]} to {history.dates[-1]}", box=_box())
    for name in ("", "found", "verdict"):
        table.add_column(name)
    for row in found.table():
        table.add_row(*row)
    last = history.pnl[-_SUPERVISED_DAYS:], history.var[-_SUPERVISED_DAYS:]
    if len(history.dates) > _SUPERVISED_DAYS:
        recent = backtest(*last, tail_probability=tail, level=level)
        _, figure, zone = next(row for row in recent.table() if row[0] == "traffic light")
        table.add_row(f"traffic light, last {_SUPERVISED_DAYS} days", figure, zone)
    console = _console()
    console.print(table)
    out.mkdir(parents=True, exist_ok=True)
    page = out / "backtest.html"
    panel = Panel("P&L and VaR", history.dates, history.pnl, {"VaR": history.var}, "P&L")
    write_backtest_page(page, path.name, [panel])
    console.print(f"produced:\n  {page}", soft_wrap=True, highlight=False)


def _study(out: Path, vix: Path | None, path: Path | None, fixing: bool) -> None:
    import time

    from rich.progress import Progress
    from riskenv.data.price_history import load_price_history
    from riskenv.train.var_config import SHIPPED_STUDY, VarStudyConfig
    from riskenv.train.var_figures import write_backtest_page
    from riskenv.train.var_market import VixFileError, read_vix, with_vix
    from riskenv.train.var_results import csv_text, judge
    from riskenv.train.var_study import run_study

    from riskenv.cli import UserError
    from riskenv.config import load_config

    config = load_config(VarStudyConfig, path or SHIPPED_STUDY)
    prices = load_price_history()
    if vix is not None:
        try:
            prices = with_vix(prices, read_vix(vix))
        except VixFileError as error:
            raise UserError(str(error)) from None
    first, last = config.judged_from, config.judged_to
    if fixing:
        first, last = config.first_forecast, config.fixed_until
    console, start = _console(), time.perf_counter()
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("forecasting")
        days = run_study(
            prices, config, last, lambda done, total: bar.update(task, completed=done, total=total)
        )
    results = judge(days, config, first, last)
    if not any(r.tests.days for r in results):
        raise UserError(
            f"--vix: no day of {first} to {last} has VIX and a window of it behind it; give a file "
            "that covers it"
        )
    console.print(
        f"P&L of {first} to {last}, configuration {config.digest[:12]}, "
        f"{config.var.tail_probability:.0%} tail, tests at {config.level:.0%}",
        highlight=False,
    )
    for ticker in dict.fromkeys(days.underlyings):
        console.print(_results_table(ticker, [r for r in results if r.underlying == ticker]))
    _print_findings(console, results, days, first, fixing)
    out.mkdir(parents=True, exist_ok=True)
    table, series, page = (out / f"var_study.{end}" for end in ("csv", "days.csv", "html"))
    table.write_text(csv_text(results, config, first, last), encoding="utf-8")
    series.write_text(_days_text(days), encoding="utf-8")
    write_backtest_page(page, f"One-session VaR, {first} to {last}", _panels(days, first, last))
    console.print(f"wall time: {time.perf_counter() - start:.0f} s", highlight=False)
    console.print("produced:")
    for file in (table, series, page):
        console.print(f"  {file}", soft_wrap=True, highlight=False)


def _print_findings(
    console: Any,
    results: list[StudyResult],
    days: StudyDays,
    first: datetime.date,
    fixing: bool,
) -> None:
    """Why each failure failed, whether the control was rejected, and what was left out."""
    from riskenv.train.var_results import CONTROL

    judged = [r for r in results if r.method != CONTROL]
    controls = [r for r in results if r.method == CONTROL]
    passed = sum(r.verdict == "pass" for r in judged)
    console.print(f"{passed} of {len(judged)} results pass", highlight=False)
    for r in judged:
        if r.verdict == "fail":
            console.print(
                f"  {r.underlying} {r.book}, {r.method}: {r.diagnosis}",
                soft_wrap=True,
                highlight=False,
            )
    rest = [f"{r.underlying} {r.book} ({r.verdict})" for r in controls if r.verdict != "fail"]
    which = ", in sample" if fixing else ""
    console.print(
        f"control, a VaR that never changes{which}: rejected in {len(controls) - len(rest)} of "
        f"{len(controls)}" + (f"; not for {', '.join(rest)}" if rest else ""),
        soft_wrap=True,
        highlight=False,
    )
    missing = int(max(r.tests.unknown for r in judged))
    if missing:
        import numpy as np

        known = np.isfinite(days.var).all(axis=(1, 2)) & np.isfinite(days.pnl).all(axis=1)
        begin = str(days.dates[known][0]) if known.any() else "none"
        console.print(
            f"left out: {missing} days without VIX, or without a window of it behind them; first "
            f"day judged: {begin if begin > str(first) else first}. --vix FILE fills the gap.",
            soft_wrap=True,
            highlight=False,
        )


def _results_table(ticker: str, results: list[StudyResult]) -> Any:
    from rich.table import Table
    from riskenv.train.report_figures import number

    table = Table(title=ticker, box=_box(), padding=(0, 0))
    table.add_column("book", no_wrap=True)
    table.add_column("method", no_wrap=True)
    for name in ("hits", "of", "Kupiec", "indep.", "joint", "Z2", "p(Z2)", "worst 250", "loss"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for r in results:
        t, light = r.tests, r.worst_light
        times = "" if light.multiplier is None else f" ×{light.multiplier:.2f}"
        shortfall = t.shortfall
        table.add_row(
            r.book,
            r.method,
            f"{t.exceptions}",
            f"{t.days}",
            number(t.coverage.p_value, 1, percent=True),
            number(t.independence.p_value, 1, percent=True),
            number(t.conditional_coverage.p_value, 1, percent=True),
            "" if shortfall is None else number(shortfall.statistic, 2),
            "" if shortfall is None else number(shortfall.p_value, 1, percent=True),
            f"{r.worst_250} {light.zone}{times}",
            number(t.quantile_loss, 2),
            r.verdict,
        )
    return table


def _panels(days: StudyDays, first: datetime.date, last: datetime.date) -> list[Any]:
    import numpy as np
    from riskenv.train.var_figures import Panel
    from riskenv.train.var_study import METHODS

    span = (days.dates >= np.datetime64(first)) & (days.dates <= np.datetime64(last))
    return [
        Panel(
            f"{days.underlyings[b]} {days.books[b].replace('_', ' ')}",
            days.dates[span],
            days.pnl[span, b],
            {method: days.var[span, b, m] for m, method in enumerate(METHODS)},
            "bp of the index",
        )
        for b in range(len(days.books))
    ]


def _days_text(days: StudyDays) -> str:
    """Every forecast and what came, a line a day and book; an empty cell is Unknown."""
    from riskenv.train.var_study import METHODS

    tails = [f"{name}_{method}" for name in ("var", "es") for method in METHODS]
    lines = [",".join(["date", "underlying", "book", "pnl", "factor_pnl", *tails])]
    for k, date in enumerate(days.dates):
        for b, (ticker, book) in enumerate(zip(days.underlyings, days.books, strict=True)):
            figures = [days.pnl[k, b], days.factor_pnl[k, b], *days.var[k, b], *days.es[k, b]]
            cells = ("" if value != value else f"{value:.6f}" for value in figures)
            lines.append(",".join([str(date), ticker, book, *cells]))
    return "\n".join(lines) + "\n"


def _console() -> Any:
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=110)


def _box() -> Any:
    from rich import box

    return box.SIMPLE
