"""The Event value: new fields have defaults, and none can hold what it does not mean."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from riskenv.events import Event

PLAIN = Event("cpi", 30, 10)


def test_the_three_fields_of_old_still_make_an_event() -> None:
    assert asdict(PLAIN) == {
        "event_type": "cpi",
        "time": 30,
        "known_at": 10,
        "symbol": "",
        "known_at_assumed": False,
        "source": "",
        "sector": "",
        "importance": "high",  # what nobody rated is not unimportant
        "confidence": "unknown",
        "placement": "",
        "withdrawn_at": None,
    }


def test_an_event_survives_json() -> None:
    event = replace(PLAIN, sector="banks", confidence="confirmed", withdrawn_at=20)
    assert Event(**json.loads(json.dumps(asdict(event)))) == event


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"importance": "urgent"}, "importance: got 'urgent'; allowed: 'low', 'medium', 'high'"),
        ({"confidence": 0.9}, "confidence: got 0.9"),
        ({"placement": "lunch"}, "placement: got 'lunch'"),
        ({"symbol": "JPM", "sector": "banks"}, "symbol, sector: got 'JPM', 'banks'"),
        ({"withdrawn_at": 31}, "withdrawn_at: got 31"),
        ({"withdrawn_at": 9}, "withdrawn_at: got 9"),
        ({"known_at": 31}, "known_at: got 31"),
    ],
)
def test_what_means_nothing_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message):
        replace(PLAIN, **changes)


@pytest.mark.parametrize(
    ("now", "stands"), [(9, False), (10, True), (19, True), (20, False), (30, False)]
)
def test_an_event_stands_from_known_to_withdrawn(now: int, stands: bool) -> None:
    assert replace(PLAIN, withdrawn_at=20).stands_at(now) is stands


def test_order_tells_any_two_different_events_apart() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"symbol": "A"},
        {"sector": "A"},
        {"source": "A"},
        {"importance": "low"},
        {"confidence": "confirmed"},
        {"placement": "before_open"},
        {"withdrawn_at": 20},
        {"withdrawn_at": 30},
        {"known_at_assumed": True},
        {"known_at": 11},
        {"time": 31},
        {"event_type": "nfp"},
    ]
    events = [replace(PLAIN, **change) for change in changes]
    for one, other in itertools.combinations(events, 2):
        assert one.order != other.order
    listings = (sorted(order, key=lambda e: e.order) for order in (events, list(reversed(events))))
    assert next(listings) == next(listings)
