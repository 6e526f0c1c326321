"""`riskenv events ...`: print the event calendar of a span, and check a list written by hand."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from riskenv.events import Event

_DAY = ["%Y-%m-%d"]
_HEADER = ("date", "time", "event", "touches", "importance", "confidence", "known_at", "source")


def register(app: typer.Typer) -> None:
    """Add the `events` group; what it needs is imported when it runs."""
    events = typer.Typer(help="The event calendar.")
    app.add_typer(events, name="events")

    @events.callback(invoke_without_command=True)
    def show(
        context: typer.Context,
        first: Annotated[
            datetime.datetime | None, typer.Option("--from", formats=_DAY, help="first day")
        ] = None,
        last: Annotated[
            datetime.datetime | None, typer.Option("--to", formats=_DAY, help="last day, included")
        ] = None,
        symbols: Annotated[
            str, typer.Option(help="tickers, as A,B: their events and the market's; empty = all")
        ] = "",
        file: Annotated[
            list[Path] | None, typer.Option(help="a list of events (.csv, .yaml); repeatable")
        ] = None,
    ) -> None:
        """Print the events of the built-in tables and of lists, in New York time.

        `~` before known_at: assumed, the source does not say. Below the table: what sources
        disagree on, and what no source covers. Exit code 1 if a list cannot be read.
        """
        from riskenv.cli import UserError

        if context.invoked_subcommand is not None:
            return
        if first is None or last is None:
            raise UserError("events: --from and --to are required, as YYYY-MM-DD")
        if last < first:
            raise UserError(f"--to: got {last.date()}; allowed: --from, {first.date()}, or later")
        wanted = tuple(dict.fromkeys(s.strip() for s in symbols.split(",") if s.strip()))
        if not _show(first.date(), last.date(), wanted, file or []):
            raise typer.Exit(1)

    @events.command()
    def check(file: Annotated[Path, typer.Argument(help="a list of events (.csv, .yaml)")]) -> None:
        """Check a list written by hand. Exit code 1 if a row is bad; each is named by line."""
        from riskenv.data.event_files import EventFileError, load_events
        from riskenv.data.event_times import local_date

        try:
            events = load_events(file)
        except EventFileError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from None
        span = f", {local_date(events[0].time)} to {local_date(events[-1].time)}" if events else ""
        typer.echo(f"{file}: {len(events)} event{'' if len(events) == 1 else 's'}{span}")
        assumed = sum(event.known_at_assumed for event in events)
        if assumed:
            typer.echo(f"{assumed} without known_at: they count as known ten sessions before")


def _show(
    first: datetime.date, last: datetime.date, symbols: Sequence[str], files: Sequence[Path]
) -> bool:
    """Print the calendar; False where a source is down."""
    from riskenv.data.event_calendar import gather_events
    from riskenv.data.event_files import ListedEvents
    from riskenv.data.event_sources import BuiltinEvents, EventProvider

    from riskenv.cli import UserError

    builtin = BuiltinEvents()
    lists = [ListedEvents(file, name=str(file)) for file in dict.fromkeys(files)]
    providers: list[EventProvider] = [builtin, *lists]
    needed: list[str | tuple[str, str]] = [*builtin.event_types]
    needed += [("earnings", symbol) for symbol in symbols]
    try:
        calendar = gather_events(providers, first, last, needed)
    except ValueError as error:
        raise UserError(f"events: {error}") from None
    kept = [
        event
        for event in calendar.events
        if not symbols or not event.symbol or event.symbol in symbols
    ]
    rows = [_HEADER, *map(_row, kept)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
    typer.echo(f"{len(kept)} event{'' if len(kept) == 1 else 's'}")
    for conflict in calendar.conflicts:
        if not symbols or not conflict.symbol or conflict.symbol in symbols:
            touches = _touches(conflict.symbol, conflict.sector)
            one, other = (
                f"{_minute(time)} ({source})"
                for time, source in zip(conflict.times, conflict.sources, strict=True)
            )
            typer.echo(f"conflict: {conflict.event_type} {touches}: {one} or {other}")
    for span in calendar.unknown:
        what = f"{span.event_type} {span.symbol}".rstrip()
        typer.echo(f"unknown: {what} from {span.first} to {span.last}: no source covers it")
    down = [state for state in calendar.states if state.status == "down"]
    for state in calendar.states:
        typer.echo(str(state), err=state.status == "down")
    return not down


def _row(event: Event) -> tuple[str, ...]:
    day, clock = _minute(event.time).split(" ")
    source = event.source
    if event.withdrawn_at is not None:
        source += f", withdrawn {_minute(event.withdrawn_at)}"
    return (
        day,
        clock,
        event.event_type,
        _touches(event.symbol, event.sector),
        event.importance,
        event.confidence,
        ("~" if event.known_at_assumed else "") + _minute(event.known_at),
        source,
    )


def _touches(symbol: str, sector: str) -> str:
    return symbol or (f"sector {sector}" if sector else "MARKET")


def _minute(ns: int) -> str:
    """Local date and wall clock in New York, to the minute."""
    from riskenv.data.event_times import NEW_YORK

    local = datetime.datetime.fromtimestamp(ns // 1_000_000_000, NEW_YORK)
    return local.strftime("%Y-%m-%d %H:%M")
