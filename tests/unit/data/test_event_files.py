"""Lists written by hand: what is meant is read, and what is wrong is all said at once."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest
from riskenv.data import (
    BuiltinEvents,
    EventFileError,
    EventProvider,
    ListedEvents,
    SourceDownError,
    exchange_sessions,
    load_events,
)

from riskenv.events import Event

D = datetime.date

CSV = """event_type,date,time,placement,symbol,sector,importance,confidence,known_at
cpi,2025-10-24,08:30,,,,high,confirmed,2025-10-10
earnings,2025-10-30,,after_close,AAPL,,medium,estimated,
earnings,2025-11-28,,after_close,XYZ,,,,
earnings,2025-11-02,,,ABC,,,,
stress_test,2025-10-31,16:30,,,banks,,,
"""

YAML = """
as_of: 2025-10-01
covers:
  - {event_type: earnings, first: 2025-10-01, last: 2025-12-31, symbols: [AAPL, XYZ]}
events:
  - {event_type: cpi, date: 2025-10-24, time: 08:30, confidence: confirmed, known_at: 2025-10-10}
  - event_type: earnings
    date: 2025-10-30
    placement: after_close
    symbol: AAPL
    importance: medium
    confidence: estimated
  - {event_type: earnings, date: 2025-11-28, placement: after_close, symbol: XYZ}
  - {event_type: earnings, date: 2025-11-02, symbol: ABC}
  - {event_type: stress_test, date: 2025-10-31, time: "16:30", sector: banks}
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def utc(ns: int) -> str:
    return str(np.datetime64(ns, "ns"))[:16]


def test_csv_and_yaml_say_the_same(tmp_path: Path) -> None:
    of_csv = load_events(write(tmp_path, "list.csv", CSV))
    of_yaml = load_events(write(tmp_path, "list.yaml", YAML))
    assert [e.order[:5] for e in of_csv] == [e.order[:5] for e in of_yaml]
    assert {e.source for e in of_csv} == {"list.csv"}
    assert [(e.event_type, e.symbol or e.sector, e.placement, utc(e.time)) for e in of_csv] == [
        ("cpi", "", "before_open", "2025-10-24T12:30"),
        ("earnings", "AAPL", "after_close", "2025-10-30T20:01"),
        ("stress_test", "banks", "after_close", "2025-10-31T20:30"),
        ("earnings", "ABC", "before_open", "2025-11-03T14:30"),  # a Sunday: before Monday's open
        ("earnings", "XYZ", "after_close", "2025-11-28T18:01"),  # a half day, after Thanksgiving
    ]


def test_a_date_without_an_hour_guards_both_closes_and_is_never_confirmed(tmp_path: Path) -> None:
    text = "event_type,date,symbol,confidence\nearnings,2025-10-30,AAPL,confirmed\n"
    before, after = load_events(write(tmp_path, "a.csv", text))
    sessions = exchange_sessions("2025-10-27", "2025-11-03")
    wednesday, thursday = (int(close) for close in sessions.closes[2:4])
    assert sessions.closes_between(wednesday, before.time) == 0  # the close before is a last chance
    assert before.time < thursday < after.time
    assert sessions.closes_between(thursday, after.time) == 0  # and so is its own
    assert {before.confidence, after.confidence} == {"estimated"}


def test_known_at_is_assumed_ten_sessions_before_and_flagged(tmp_path: Path) -> None:
    events = load_events(write(tmp_path, "list.csv", CSV))
    cpi, aapl = events[0], events[1]
    assert not cpi.known_at_assumed
    assert utc(cpi.known_at) == "2025-10-11T03:59"  # the end of the day, in New York
    assert aapl.known_at_assumed
    sessions = exchange_sessions("2025-10-01", "2025-10-31")
    between = sessions.closes[(sessions.closes > aapl.known_at) & (sessions.closes < aapl.time)]
    assert len(between) == 10  # nine sessions, and the close of the date itself


@pytest.mark.parametrize(
    ("known_at", "instant"),
    [
        ("2025-10-24", "2025-10-24T12:30"),  # of the day itself: known when it happens
        ("2025-10-23", "2025-10-24T03:59"),
        ("2025-10-23T12:00:00Z", "2025-10-23T12:00"),
        ("2025-10-23T12:00:00-04:00", "2025-10-23T16:00"),
    ],
)
def test_known_at_is_a_day_or_an_instant(tmp_path: Path, known_at: str, instant: str) -> None:
    text = f"event_type,date,time,known_at\ncpi,2025-10-24,08:30,{known_at}\n"
    [event] = load_events(write(tmp_path, "a.csv", text))
    assert utc(event.known_at) == instant


@pytest.mark.parametrize(
    ("row", "refused"),
    [
        ("AAPL,2018-02-01,09:00,after_close", "is before_open"),
        ("AAPL,2018-02-01,16:30,before_open", "is after_close"),
        ("AAPL,2018-02-01,12:00,after_close", "is within the session"),
        ("AAPL,2018-02-01,16:00,before_open", "is within the session"),
        (" AAPL,2018-02-01,,after_close", "symbol: got ' AAPL'"),
    ],
)
def test_a_row_that_would_guard_the_wrong_close_or_nothing_is_refused(
    tmp_path: Path, row: str, refused: str
) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"event_type,symbol,date,time,placement\nearnings,{row}\n")
    with pytest.raises(EventFileError, match=f"line 2: .*{refused}"):
        load_events(path)


@pytest.mark.parametrize(
    ("row", "time"),
    [
        ("2018-02-01,16:00,after_close", "2018-02-01T21:01"),  # the close itself is after it
        ("2018-07-03,13:00,after_close", "2018-07-03T17:01"),  # an early close
        ("2018-02-01,16:30,after_close", "2018-02-01T21:30"),
        ("2018-02-01,07:00,before_open", "2018-02-01T12:00"),
        ("2018-11-22,16:00,after_close", "2018-11-22T21:00"),  # no session that day
    ],
)
def test_a_time_that_agrees_with_its_placement_is_kept(tmp_path: Path, row: str, time: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"event_type,symbol,date,time,placement\nearnings,AAPL,{row}\n")
    (event,) = load_events(path)
    assert str(np.datetime64(event.time, "ns"))[:16] == time


def test_a_withdrawn_date_is_kept_with_its_withdrawal(tmp_path: Path) -> None:
    text = (
        "event_type,date,time,known_at,withdrawn_at\ncpi,2025-10-15,08:30,2025-01-02,2025-10-10\n"
    )
    [event] = load_events(write(tmp_path, "a.csv", text))
    assert event.withdrawn_at is not None
    assert utc(event.withdrawn_at) == "2025-10-11T03:59"


BAD_CSV = """event_type,date,time,placement,symbol,sector,time_zone,known_at
cpi,2025-10-24,08:30,,,,,
CPI,2025-10-24,08:30,,,,,
cpi,24/10/2025,25:00,,,,,
earnings,2025-10-30,,noon,AAPL,,,
earnings,2025-10-30,,,AAPL,tech,,
cpi,2025-03-09,02:30,,,,,
cpi,2025-10-24,08:30,,,,Mars/Olympus,
cpi,2025-10-24,08:30,,,,,2025-10-25
cpi,2025-10-24,08:30,,,,,,more
"""


def test_every_bad_line_is_reported_at_once_with_its_number(tmp_path: Path) -> None:
    path = write(tmp_path, "bad.csv", BAD_CSV)
    with pytest.raises(EventFileError) as caught:
        load_events(path)
    first, *lines = str(caught.value).splitlines()
    assert first.endswith("bad.csv: 8 bad rows:")
    for line, words in zip(
        lines,
        [
            "  line 3: event_type: got 'CPI'",
            "  line 4: date: got '24/10/2025'",
            "  line 5: placement: got 'noon'",
            "  line 6: symbol, sector: got 'AAPL', 'tech'",
            "  line 7: time: got 2025-03-09 02:30:00; America/New_York skips it",
            "  line 8: time_zone: got 'Mars/Olympus'",
            "  line 9: known_at: got 2025-10-25; allowed: at or before the date 2025-10-24",
            "  line 10: (beyond the header): unknown key",
        ],
        strict=True,
    ):
        assert line.startswith(words)
    assert "time: got '25:00'" in lines[1]  # both of the row's mistakes


def test_the_lines_of_yaml_are_those_of_the_file(tmp_path: Path) -> None:
    text = YAML.replace("symbol: XYZ}", "symbool: XYZ}").replace('"16:30"', "990")
    with pytest.raises(EventFileError) as caught:
        load_events(write(tmp_path, "bad.yml", text))
    [line_13, line_15] = str(caught.value).splitlines()[1:]
    assert line_13.startswith("  line 13: symbool: unknown key")
    assert line_15.startswith("  line 15: time: got 990")
    assert "symbool" in text.splitlines()[12]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "allowed: .csv, .yaml, .yml"),
        ("a.csv", "", "no header"),
        ("a.csv", "date,date\n", "written twice"),
        ("a.csv", 'event_type,date\n"cpi,2025-10-24\n', "after line 1"),
        ("a.yaml", "events: {a: 1}", "events: got"),
        ("a.yaml", "- [1, 2]", r"line 1: got \[1, 2\]; allowed: a mapping"),
        ("a.yaml", "cpi", "allowed: a mapping"),
        ("a.yaml", "a: [", "not valid YAML"),
        ("a.yaml", "covers: [{event_type: cpi, first: 2025-02-01, last: 2025-01-01}]", "first at"),
        ("a.csv", "event_type,date\ncpi,9999-10-24\n", "a.csv"),
    ],
)
def test_a_file_that_is_no_list_is_refused(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(EventFileError, match=message):
        load_events(write(tmp_path, name, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EventFileError, match="cannot be read"):
        load_events(tmp_path / "none.csv")


def test_a_list_claims_only_what_it_says_it_covers(tmp_path: Path) -> None:
    source = ListedEvents(write(tmp_path, "list.yaml", YAML))
    assert len(source.events(D(2025, 10, 25), D(2025, 11, 10))) == 3
    [claim] = source.state().coverage
    assert claim.covers("earnings", "AAPL", D(2025, 12, 31))
    assert not claim.covers("earnings", "MSFT", D(2025, 12, 31))
    assert not claim.covers("earnings", "AAPL", D(2026, 1, 1))
    assert not claim.covers("cpi", "", D(2025, 10, 24))
    bare = ListedEvents(write(tmp_path, "list.csv", CSV))
    bare.events(D(2025, 10, 25), D(2025, 11, 10))
    assert bare.state().coverage == ()


def test_a_list_that_breaks_is_down_and_says_why(tmp_path: Path) -> None:
    path = write(tmp_path, "list.csv", CSV)
    source = ListedEvents(path)
    source.events(D(2025, 10, 1), D(2025, 12, 1))
    write(tmp_path, "list.csv", BAD_CSV)
    with pytest.raises(SourceDownError, match="8 bad rows"):
        source.events(D(2025, 10, 1), D(2025, 12, 1))
    assert source.state().status == "down"


def test_the_built_in_calendars_say_how_far_they_go() -> None:
    source = BuiltinEvents(["cpi", "monthly_expiry", "fomc"])
    assert isinstance(source, EventProvider)
    events = source.events(D(2026, 11, 1), D(2027, 2, 28))
    assert [e.event_type for e in events] == [
        "cpi",
        "monthly_expiry",
        "fomc",
        "cpi",
        "monthly_expiry",
        "monthly_expiry",
        "monthly_expiry",
    ]
    ends = {claim.event_type: claim.last for claim in source.state().coverage}
    assert ends == {
        "cpi": D(2026, 12, 31),
        "fomc": D(2026, 12, 31),
        "monthly_expiry": D(2027, 2, 28),
    }
    with pytest.raises(ValueError, match="event_types: got 'ppi'; allowed: cpi, nfp, fomc"):
        BuiltinEvents(["ppi"])


def test_every_built_in_type_has_events() -> None:
    source = BuiltinEvents()
    events: tuple[Event, ...] = source.events(D(2018, 1, 1), D(2018, 12, 31))
    assert {event.event_type for event in events} == set(source.event_types)
    assert list(events) == sorted(events, key=lambda event: event.order)
