"""The table of FOMC decisions against an independently transcribed calendar, 2000 to 2026."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from riskenv.data import fomc_events

# In our table and not in the other, with the reason.
ONLY_OURS = {
    "2020-03-18": "announced and then cancelled: the other calendar lists meetings that were held",
}


def test_every_decision_of_two_independent_calendars_agrees(shared_data: Path) -> None:
    with (shared_data / "events" / "fomc_decision_dates_2000_2026.csv").open() as file:
        other = {
            row["decision_date"]: row["type"].startswith("unscheduled")
            for row in csv.DictReader(file)
        }
    ours = {
        str(np.datetime64(event.time, "ns"))[:10]: event.known_at == event.time
        for event in fomc_events()
    }
    since_2000 = {date: unscheduled for date, unscheduled in ours.items() if date >= "2000"}
    assert set(since_2000) - set(other) == set(ONLY_OURS)
    assert set(other) - set(since_2000) == set()
    assert {date: since_2000[date] for date in other} == other
