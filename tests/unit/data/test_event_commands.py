"""`riskenv events`: the table says what is known, by whom and since when, and what nobody knows."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest
import typer
from riskenv.data.commands import register
from typer.testing import CliRunner

from riskenv.cli import COMMAND_GROUP, UserError

LIST = """event_type,date,time,placement,symbol,sector,known_at,source
earnings,2018-02-01,,after_close,AAPL,,2018-01-09,company
earnings,2018-02-01,,after_close,MSFT,,,company
hearing,2018-02-02,10:00,,,banks,,me
"""


def run(*arguments: str):
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, list(arguments))


def table(*arguments: str) -> list[str]:
    result = run("events", *arguments)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text(LIST)
    return path


def test_the_command_is_registered() -> None:
    commands = {entry.name: entry.value for entry in entry_points(group=COMMAND_GROUP)}
    assert commands["events"] == "riskenv.data.commands:register"


def test_an_event_is_a_line_with_source_confidence_and_known_at() -> None:
    lines = table("--from", "2018-02-02", "--to", "2018-02-02")
    assert lines[0].split() == [
        "date", "time", "event", "touches", "importance", "confidence", "known_at", "source",
    ]  # fmt: skip
    assert lines[1].split() == [
        "2018-02-02", "08:30", "nfp", "MARKET", "high", "confirmed", "~2017-12-04", "08:30",
        "bls.gov",
    ]  # fmt: skip
    assert lines[2] == "1 event"
    assert lines[-1].startswith("source built-in fresh, as of ")


def test_columns_are_aligned() -> None:
    lines = table("--from", "2018-02-01", "--to", "2018-03-31")
    header, rows = lines[0], lines[1 : lines.index(next(x for x in lines if x.endswith("events")))]
    assert len(rows) > 5
    for column in header.split()[1:]:
        at = header.index(column)
        assert {row[at - 1] for row in rows} == {" "}
        assert " " not in {row[at] for row in rows}


def test_a_withdrawn_date_says_so() -> None:
    (line,) = [x for x in table("--from", "2025-10-15", "--to", "2025-10-15") if " cpi " in x]
    assert line.endswith("bls.gov, withdrawn 2025-10-10 23:59")


def test_a_list_joins_the_tables(listed: Path) -> None:
    lines = table("--from", "2018-02-01", "--to", "2018-02-02", "--file", str(listed))
    events = [line.split()[2:4] for line in lines[1:5]]
    assert sorted(events) == [
        ["earnings", "AAPL"], ["earnings", "MSFT"], ["hearing", "sector"], ["nfp", "MARKET"],
    ]  # fmt: skip
    assert "2018-01-09 23:59   company" in "\n".join(lines)


def test_symbols_keep_their_own_events_and_those_of_the_market(listed: Path) -> None:
    span = ("--from", "2018-02-01", "--to", "2018-02-02", "--file", str(listed))
    lines = table(*span, "--symbols", "AAPL, XOM")
    assert sorted(line.split()[3] for line in lines[1:4]) == ["AAPL", "MARKET", "sector"]
    # Nobody said that the list is complete, and nobody listed XOM at all.
    unknown = [line for line in lines if line.startswith("unknown: earnings")]
    assert [line.split()[2] for line in unknown] == ["AAPL", "XOM"]


def test_sources_that_disagree_are_named(tmp_path: Path) -> None:
    files = []
    for name, day in (("a", "2018-02-01"), ("b", "2018-02-05")):
        path = tmp_path / f"{name}.csv"
        path.write_text(f"event_type,date,placement,symbol\nearnings,{day},before_open,AAPL\n")
        files += ["--file", str(path)]
    lines = table("--from", "2018-02-01", "--to", "2018-02-05", *files)
    (conflict,) = [line for line in lines if line.startswith("conflict")]
    assert "earnings AAPL: 2018-02-01 09:30" in conflict
    assert "or 2018-02-05 09:30" in conflict


def test_past_the_tables_end_nothing_is_claimed() -> None:
    lines = table("--from", "2026-12-30", "--to", "2027-01-02")
    assert "unknown: cpi from 2027-01-01 to 2027-01-02: no source covers it" in lines
    assert not [line for line in lines if line.startswith("unknown: monthly_expiry")]


def test_a_list_that_cannot_be_read_is_down_and_the_exit_code_says_so(tmp_path: Path) -> None:
    span = ("--from", "2018-02-02", "--to", "2018-02-02")
    result = run("events", *span, "--file", str(tmp_path / "absent.csv"))
    assert result.exit_code == 1
    assert "absent.csv down" in result.output
    assert " nfp " in result.output  # what is known is still shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--from and --to are required"),
        (["--from", "2018-02-02"], "--from and --to are required"),
        (["--from", "2018-02-02", "--to", "2018-02-01"], "--to: got 2018-02-01; allowed"),
    ],
)
def test_a_span_that_is_none_is_refused(arguments: list[str], words: str) -> None:
    result = run("events", *arguments)
    assert isinstance(result.exception, UserError)
    assert words in str(result.exception)


@pytest.mark.parametrize("day", ["tomorrow", "2018-02-30", "02/02/2018"])
def test_a_day_that_is_none_is_refused(day: str) -> None:
    result = run("events", "--from", day, "--to", "2018-02-02")
    assert result.exit_code == 2
    assert day in result.output


def test_a_good_list_is_counted(listed: Path) -> None:
    result = run("events", "check", str(listed))
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"{listed}: 3 events, 2018-02-01 to 2018-02-02",
        "2 without known_at: they count as known ten sessions before",
    ]


@pytest.mark.parametrize("suffix", [".csv", ".yaml"])
def test_every_bad_row_of_a_list_is_named_with_its_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mine{suffix}"
    path.write_text(
        "event_type,date,time\ncpi,2018-02-14,08:30\nCPI,2018-02-14,08:30\ncpi,2018-02-32,8h\n"
        if suffix == ".csv"
        else "- {event_type: cpi, date: 2018-02-14, time: '08:30'}\n"
        "- {event_type: cpi, date: 2018-02-14, hour: 8}\n\n"
        "- {event_type: cpi}\n"
    )
    result = run("events", "check", str(path))
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0] == f"{path}: 2 bad rows:"
    bad = ["line 3:", "line 4:"] if suffix == ".csv" else ["line 2:", "line 4:"]
    assert [" ".join(line.split()[:2]) for line in lines[1:]] == bad


def test_a_list_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    result = run("events", "check", str(tmp_path / "absent.yaml"))
    assert result.exit_code == 1
    assert "absent.yaml" in result.output
