"""An endpoint's JSON is read by its mapping; what it cannot say stays unknown."""

from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from riskenv.data import EventMapping, PayloadError, parse_events

from riskenv.config import ConfigError, load_config

BASE: dict[str, Any] = {"event_type": "cpi", "fields": {"date": "d", "time": "t"}}


def mapping(**changes: Any) -> EventMapping:
    return load_config(EventMapping, BASE | changes)


def parsed(record: Any, **changes: Any) -> list[str]:
    found = parse_events(json.dumps([record]), mapping(**changes), "x")
    assert found.problems == ()
    return [str(np.datetime64(e.time, "ns"))[:16] for e in found.events]


@pytest.mark.parametrize(
    ("record", "changes", "utc"),
    [
        ({"d": "2025-10-24", "t": "08:30"}, {}, "2025-10-24T12:30"),
        ({"d": "2025-12-18", "t": "08:30"}, {}, "2025-12-18T13:30"),  # the clocks went back
        ({"d": "2025-10-24T12:30:00Z"}, {}, "2025-10-24T12:30"),
        ({"d": "2025-10-24T08:30:00-04:00"}, {}, "2025-10-24T12:30"),
        ({"d": "2025-10-24T08:30:00"}, {}, "2025-10-24T12:30"),
        ({"d": "2025-10-24T14:30:00"}, {"time_zone": "Europe/Berlin"}, "2025-10-24T12:30"),
        ({"d": 1761309000}, {"date_format": "epoch_s"}, "2025-10-24T12:30"),
        ({"d": 1761309000000}, {"date_format": "epoch_ms"}, "2025-10-24T12:30"),
        ({"d": "24.10.2025", "t": "08:30"}, {"date_format": "%d.%m.%Y"}, "2025-10-24T12:30"),
        ({"d": "24.10.2025 0830"}, {"date_format": "%d.%m.%Y %H%M"}, "2025-10-24T12:30"),
        ({"d": "2025-10-24", "t": "8:30 AM"}, {"time_format": "%I:%M %p"}, "2025-10-24T12:30"),
        ({"d": "2025-10-24"}, {"default_time": "08:30"}, "2025-10-24T12:30"),
        ({"d": "2025-10-24", "t": "TBD"}, {"default_time": "08:30"}, "2025-10-24T12:30"),
    ],
)
def test_dates_and_times_as_endpoints_send_them(
    record: dict[str, Any], changes: dict[str, Any], utc: str
) -> None:
    assert parsed(record, **changes) == [utc]


@pytest.mark.parametrize("clock", [None, "", "TBD", "All Day", "25:00"])
def test_an_hour_that_is_not_known_guards_the_whole_day(clock: str | None) -> None:
    assert parsed({"d": "2025-10-24", "t": clock}) == ["2025-10-24T13:30", "2025-10-24T20:01"]


def test_words_that_the_mapping_does_not_know_are_read_with_caution() -> None:
    fields = {"date": "d", "placement": "p", "importance": "i", "confidence": "c"}
    odd = mapping(
        fields=fields,
        placements={"bmo": "before_open"},
        importances={"*": "low"},
        confidences={"yes": "confirmed"},
    )
    answer = json.dumps([{"d": "2025-10-24", "p": "dmh", "i": "**", "c": "maybe"}])
    events = parse_events(answer, odd, "x").events
    assert [(e.placement, e.importance, e.confidence) for e in events] == [
        ("before_open", "high", "unknown"),
        ("after_close", "high", "unknown"),
    ]


def test_nested_lists_and_fields_are_found() -> None:
    nested = mapping(records="result.calendar.rows", fields={"date": "when.day", "time": "when.at"})
    rows = [{"when": {"day": "2025-10-24", "at": "08:30"}}]
    answer = json.dumps({"result": {"calendar": {"rows": rows}}})
    assert len(parse_events(answer, nested, "x").events) == 1


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({}, "record 2: d: is required and is missing"),
        ({"d": None}, "record 2: d: is required"),
        ({"d": "soon"}, "record 2: Invalid isoformat"),
        ({"d": ["2025-10-24"]}, "record 2: d: got list; allowed: a single value"),
        ("2025-10-24", "record 2: got str; allowed: an object"),
        (None, "record 2: got NoneType"),
        ({"d": "2025-03-09", "t": "02:30"}, "record 2: time: got 2025-03-09 02:30:00"),
    ],
)
def test_a_record_that_cannot_be_read_is_named_and_the_others_kept(
    record: Any, problem: str
) -> None:
    good = {"d": "2025-10-24", "t": "08:30"}
    found = parse_events(json.dumps([good, record, good]), mapping(), "x")
    assert len(found.events) == 2
    [words] = found.problems
    assert words.startswith(problem)


@pytest.mark.parametrize(
    ("answer", "records", "message"),
    [
        ("<html>", "", "not JSON"),
        ('[{"d": "2025-10-24"', "", "not JSON"),
        ("[" * 100_000, "", "not JSON"),
        ("{}", "", "got dict at ''; allowed: a list"),
        ('{"data": []}', "rows", "no 'rows' on the way to 'rows'"),
        ('{"data": null}', "data.rows", "no 'rows'"),
        ('{"data": null}', "data", "got NoneType"),
    ],
)
def test_an_answer_of_another_shape_is_refused(answer: str, records: str, message: str) -> None:
    with pytest.raises(PayloadError, match=message):
        parse_events(answer, mapping(records=records), "x")


def test_an_empty_list_is_an_answer() -> None:
    assert parse_events("[]", mapping(), "x").events == ()


def test_dates_of_no_interest_cannot_spoil_the_others() -> None:
    rows = [{"d": "9999-12-31", "t": "08:30"}, {"d": "2025-10-24", "t": "08:30"}]
    with pytest.raises(PayloadError, match="beyond the exchange calendar"):
        parse_events(json.dumps(rows), mapping(), "x")
    week = datetime.date(2025, 10, 20), datetime.date(2025, 10, 26)
    assert len(parse_events(json.dumps(rows), mapping(), "x", within=week).events) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"event_type": ""}, "says what a record is"),
        ({"fields": {"date": "d", "event_type": "k"}, "event_types": {"a": "cpi"}}, "says what"),
        ({"event_type": "CPI"}, "lower-case event types"),
        ({"date_format": "ISO"}, "date_format"),
        ({"time_zone": "Moon"}, "time_zone"),
        ({"placements": {"bmo": "early"}}, "placements.bmo: got 'early'"),
        ({"fields": {}}, "fields.date: is required"),
        ({"colour": 1}, "colour: unknown key"),
    ],
)
def test_a_mapping_that_means_nothing_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mapping(**changes)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("dt"), inner),
    max_leaves=6,
)


@given(JSON, st.sampled_from(["iso", "epoch_s", "epoch_ms", "%Y-%m-%d"]))
def test_whatever_is_sent_is_read_named_or_refused(value: Any, date_format: str) -> None:
    near = datetime.date(2020, 1, 1), datetime.date(2030, 1, 1)
    try:
        found = parse_events(json.dumps(value), mapping(date_format=date_format), "x", within=near)
    except PayloadError:
        return
    assert isinstance(value, list)
    assert len(found.problems) <= len(value)
