"""Our release calendars against independently collected ones. Figures: pytest -s."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from riskenv.data import EventRow, cpi_events, nfp_events
from riskenv.data.event_rows import place_row
from riskenv.data.event_times import SessionPlaces, local_date

from riskenv.events import Event


def dates(events: Iterable[Event]) -> set[str]:
    return {local_date(e.time).isoformat() for e in events if e.withdrawn_at is None}


@pytest.mark.parametrize(
    ("name", "ours", "spans"),
    [
        (
            "us_cpi_release_dates_2010_2015-2026.csv",
            cpi_events(),
            [("2010-02-01", "2011-01-31"), ("2015-01-01", "2026-07-31")],
        ),
        ("us_nfp_release_dates_2000_2025-01.csv", nfp_events(), [("2000-01-01", "2025-01-31")]),
    ],
)
def test_every_release_of_two_independent_calendars_agrees(
    shared_data: Path, name: str, ours: tuple[Event, ...], spans: list[tuple[str, str]]
) -> None:
    with (shared_data / "events" / name).open() as file:
        theirs = {row["release_date"]: row["time_et"] for row in csv.DictReader(file)}
    inside = {day for day in dates(ours) if any(first <= day <= last for first, last in spans)}
    print(f"\n{name}: {len(inside & set(theirs))} agree of {len(theirs)} there, {len(inside)} here")
    assert inside == set(theirs)
    assert set(theirs.values()) == {"08:30"}


def test_reported_hours_of_earnings_lie_on_the_right_side_of_a_close(shared_data: Path) -> None:
    path = shared_data / "events" / "earnings_us_2012-07_2019-08_pre_post.parquet"
    rows = pd.read_parquet(path, columns=["symbol", "date", "release_time"])
    rows = rows[(rows["date"] >= "2018-01-01") & (rows["date"] < "2018-04-01")]
    days = [day.date() for day in rows["date"]]
    places = SessionPlaces.around(min(days), max(days))
    placements = {"pre": "before_open", "post": "after_close"}
    counted: dict[str, int] = {}
    for symbol, day, hour in zip(rows["symbol"], days, rows["release_time"], strict=True):
        said = placements.get(str(hour), "")
        row = EventRow(event_type="earnings", symbol=symbol, date=day, placement=said)
        events = place_row(row, places)
        if not places.is_session(day):
            said, expected = "no session", ["before_open"]
        else:
            expected = [said] if said else ["before_open", "after_close"]
        counted[said or "hour unknown"] = counted.get(said or "hour unknown", 0) + 1
        assert [event.placement for event in events] == expected
        # Closes from the evening before the date on: none before an open, the date's own after it.
        evening = int(
            places.sessions.closes[np.searchsorted(places.sessions.closes, events[0].time) - 1]
        )
        before = {"before_open": 0, "after_close": 1}
        if events[0].placement == "before_open":
            closes = [places.sessions.closes_between(evening, e.time) for e in events]
            assert closes == [before[e.placement] for e in events]
        else:
            assert evening == places.after_close_ns(day) - 60 * 10**9
    print(f"\nearnings of the first quarter of 2018: {counted}")
    assert counted["before_open"] > 1000
    assert counted["after_close"] > 1000
