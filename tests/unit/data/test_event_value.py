"""The Event value: new fields have defaults, and none can hold what it does not mean."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
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


def test_an_event_of_numpy_values_is_the_event_of_pythons_own() -> None:
    given = Event(
        np.str_("cpi"),
        np.int64(30),
        np.int32(10),
        symbol=np.str_("SPY"),
        known_at_assumed=np.bool_(True),  # type: ignore[arg-type]
        importance=np.str_("low"),  # type: ignore[arg-type]
        withdrawn_at=np.uint64(20),
    )
    own = Event(
        "cpi", 30, 10, symbol="SPY", known_at_assumed=True, importance="low", withdrawn_at=20
    )
    assert given == own
    assert [type(v) for v in asdict(given).values()] == [type(v) for v in asdict(own).values()]
    assert Event(**json.loads(json.dumps(asdict(given)))) == own


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
        ({"time": 30.0}, "time: got 30.0; allowed: a whole number of nanoseconds"),
        ({"time": np.float64("nan")}, r"time: got np.float64\(nan\)"),  # is before nothing
        ({"known_at": "10"}, "known_at: got '10'"),
        ({"time": True, "known_at": 0}, "time: got True"),
        ({"time": 2**63}, "time: got 9223372036854775808"),
        ({"withdrawn_at": 20.0}, "withdrawn_at: got 20.0"),
        ({"known_at_assumed": float("nan")}, "known_at_assumed: got nan; allowed: True, False"),
        ({"symbol": float("nan")}, "symbol: got nan; allowed: a text"),  # pandas' empty cell
        ({"event_type": 7}, "event_type: got 7; allowed: a text"),
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
