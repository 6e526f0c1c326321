"""How an endpoint's JSON becomes events: a mapping, so that no endpoint needs code of its own."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator
from riskenv.data.event_rows import EventRow, place_row, places_for

from riskenv.config import Config, ConfigError, load_config
from riskenv.events import Confidence, Event, Importance, Placement
from riskenv.sessions import CalendarRangeError

_EPOCHS = {"epoch_s": 1, "epoch_ms": 1000}


class PayloadError(ValueError):
    """An answer that is not what the mapping describes."""


class EventFields(Config):
    """Where in a record each value lies: keys, with dots into nested ones; "" = not sent.

    Attributes:
        date: the date, or the date and time together (see `EventMapping.date_format`).
        time, symbol, sector, event_type, placement, importance, confidence: as in `EventRow`.
        known_at: since when it is public, as a date or an instant in ISO 8601.
    """

    date: str = Field(min_length=1)
    time: str = ""
    symbol: str = ""
    sector: str = ""
    event_type: str = ""
    placement: str = ""
    importance: str = ""
    confidence: str = ""
    known_at: str = ""


class EventMapping(Config):
    """An endpoint's answer in terms of ours.

    Attributes:
        records: keys, with dots between them, to the list of records; "" = the answer is the list.
        fields: where in a record each value lies.
        event_type: the type of every record; "" = it is sent, and `event_types` translates it.
        event_types: what is sent -> type. A record of any other is of no interest and left out.
        symbol: of every record that sends none.
        date_format: "iso", "epoch_s", "epoch_ms" or a strptime pattern. An ISO instant, an epoch
            or a pattern with an hour gives the time too.
        time_format: strptime pattern of `fields.time`; what does not fit it is an unknown hour.
        time_zone: of dates and times sent without one, and for what is sent with one the zone
            whose date counts.
        default_time: of records that send no time, "08:30"; "" = unknown.
        placements, importances, confidences: what is sent -> our word. Anything else is "", "high"
            and "unknown": the cautious ones.

    Example:
        An earnings calendar:

        >>> earnings = load_config(EventMapping, {
        ...     "records": "data.earnings",
        ...     "event_type": "earnings",
        ...     "fields": {"date": "reportDate", "symbol": "ticker", "placement": "hour",
        ...                "confidence": "dateConfirmed"},
        ...     "placements": {"bmo": "before_open", "amc": "after_close"},
        ...     "confidences": {"1": "confirmed", "0": "estimated"},
        ... })
        >>> answer = '''{"data": {"earnings": [
        ...     {"reportDate": "2018-02-01", "ticker": "AAPL", "hour": "amc", "dateConfirmed": 1},
        ...     {"reportDate": "2018-02-02", "ticker": "XOM", "hour": "", "dateConfirmed": 0}]}}'''
        >>> for e in parse_events(answer, earnings, source="example").events:
        ...     print(e.symbol, e.placement, e.confidence)
        AAPL after_close confirmed
        XOM before_open estimated
        XOM after_close estimated

        An economic calendar:

        >>> releases = load_config(EventMapping, {
        ...     "fields": {"date": "when", "event_type": "title", "importance": "impact"},
        ...     "event_types": {"CPI m/m": "cpi", "Non-Farm Employment Change": "nfp"},
        ...     "date_format": "%m/%d/%Y %I:%M%p",
        ...     "importances": {"High": "high", "Medium": "medium", "Low": "low"},
        ... })
        >>> answer = '''[
        ...     {"title": "CPI m/m", "when": "10/24/2025 08:30AM", "impact": "High"},
        ...     {"title": "Bank holiday", "when": "n/a", "impact": "Low"}]'''
        >>> [e] = parse_events(answer, releases, source="example").events
        >>> import numpy as np
        >>> e.event_type, e.importance, str(np.datetime64(e.time, "ns"))[:16]
        ('cpi', 'high', '2025-10-24T12:30')
    """

    records: str = ""
    fields: EventFields
    event_type: str = ""
    event_types: dict[str, str] = {}
    symbol: str = ""
    date_format: str = "iso"
    time_format: str = "%H:%M"
    time_zone: str = "America/New_York"
    default_time: str = Field(default="", pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9])?$")
    placements: dict[str, Placement] = {}
    importances: dict[str, Importance] = {}
    confidences: dict[str, Confidence] = {}

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if bool(self.event_type) == bool(self.fields.event_type and self.event_types):
            raise ValueError(
                "either event_type, or fields.event_type with event_types, says what a record is"
            )
        for name in (self.event_type, *self.event_types.values()):
            if name and not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                raise ValueError(f"lower-case event types, not {name!r}")
        if self.date_format not in ("iso", *_EPOCHS) and "%" not in self.date_format:
            raise ValueError('date_format "iso", "epoch_s", "epoch_ms" or a strptime pattern')
        try:
            ZoneInfo(self.time_zone)
        except (ValueError, OSError, KeyError):  # not found is a KeyError
            raise ValueError("time_zone an IANA name, such as America/New_York") from None
        return self


@dataclass(frozen=True, slots=True)
class ParsedEvents:
    """What an answer holds.

    Attributes:
        events: in order of time.
        problems: one line for each record that could not be read.
    """

    events: tuple[Event, ...]
    problems: tuple[str, ...]


def parse_events(
    answer: str,
    mapping: EventMapping,
    source: str,
    exchange: str = "XNYS",
    within: tuple[datetime.date, datetime.date] = (datetime.date.min, datetime.date.max),
) -> ParsedEvents:
    """Read an endpoint's answer.

    Args:
        answer: the JSON text.
        mapping: how to read it.
        source: the endpoint's name, for `Event.source`.
        exchange: whose sessions "before_open" and "after_close" mean.
        within: first and last date of interest; a record of any other is left out.

    Raises:
        PayloadError: not JSON, or no list of records where the mapping says.
    """
    rows: list[tuple[int, EventRow]] = []
    problems: list[str] = []
    for number, record in enumerate(_records(answer, mapping.records), start=1):
        try:
            row = _row(record, mapping)
        except (ConfigError, ValueError, OverflowError, OSError) as error:
            words = [line.strip() for line in str(error).splitlines()]
            problems.append(f"record {number}: {'; '.join(words[1:] or words)}")
            continue
        if row is not None and within[0] <= row.date <= within[1]:
            rows.append((number, row))
    events: list[Event] = []
    if rows:
        try:
            places = places_for((row for _, row in rows), exchange)
        except (ValueError, OverflowError) as error:
            raise PayloadError(f"dates beyond the exchange calendar: {error}") from error
        for number, row in rows:
            try:
                events += place_row(row, places, source)
            except (ValueError, CalendarRangeError) as error:
                problems.append(f"record {number}: {error}")
    return ParsedEvents(tuple(sorted(events, key=lambda e: e.order)), tuple(problems))


def _records(answer: str, path: str) -> Iterator[Any]:
    try:
        found: Any = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"not JSON: {error}") from None
    for key in filter(None, path.split(".")):
        if not isinstance(found, Mapping) or key not in found:
            raise PayloadError(f"records: no {key!r} on the way to {path!r}")
        found = found[key]
    if not isinstance(found, list):
        raise PayloadError(f"records: got {type(found).__name__} at {path!r}; allowed: a list")
    return iter(found)


def _value(record: Any, path: str) -> str:
    """A value as text; "" where it is not sent, null or empty."""
    if not path:
        return ""
    for key in path.split("."):
        if not isinstance(record, Mapping):
            return ""
        record = record.get(key)
    if isinstance(record, Mapping | list):
        raise ValueError(f"{path}: got {type(record).__name__}; allowed: a single value")
    return "" if record is None else str(record).strip()


def _row(record: Any, mapping: EventMapping) -> EventRow | None:
    """A record as a row; None where its type is of no interest."""
    if not isinstance(record, Mapping):
        raise ValueError(f"got {type(record).__name__}; allowed: an object")
    fields = mapping.fields
    event_type = mapping.event_type
    if not event_type:
        sent = mapping.event_types.get(_value(record, fields.event_type))
        if sent is None:
            return None
        event_type = sent
    day, clock = _day_and_clock(_value(record, fields.date), mapping)
    values: dict[str, Any] = {
        "event_type": event_type,
        "date": day,
        "time": clock or _clock(_value(record, fields.time), mapping) or mapping.default_time,
        "time_zone": mapping.time_zone,
        "placement": mapping.placements.get(_value(record, fields.placement), ""),
        "symbol": _value(record, fields.symbol) or mapping.symbol,
        "sector": _value(record, fields.sector),
        "importance": mapping.importances.get(_value(record, fields.importance), "high"),
        "confidence": mapping.confidences.get(_value(record, fields.confidence), "unknown"),
    }
    if fields.symbol and not values["symbol"]:
        raise ValueError(f"{fields.symbol}: is required and is missing")
    if known_at := _value(record, fields.known_at):
        values["known_at"] = known_at
    return load_config(EventRow, values)


def _day_and_clock(sent: str, mapping: EventMapping) -> tuple[datetime.date, str]:
    """The local date, and the local time where it was sent with the date."""
    if not sent:
        raise ValueError(f"{mapping.fields.date}: is required and is missing")
    zone = ZoneInfo(mapping.time_zone)
    if mapping.date_format in _EPOCHS:
        seconds = float(sent) / _EPOCHS[mapping.date_format]
        local = datetime.datetime.fromtimestamp(seconds, datetime.UTC).astimezone(zone)
        return local.date(), local.strftime("%H:%M:%S")
    if mapping.date_format == "iso":
        if len(sent) <= len("2025-10-24"):
            return datetime.date.fromisoformat(sent), ""
        local = datetime.datetime.fromisoformat(sent)
        has_clock = True
    else:
        local = datetime.datetime.strptime(sent, mapping.date_format)
        has_clock = any(part in mapping.date_format for part in ("%H", "%I", "%T", "%X", "%c"))
    if local.tzinfo is not None:
        local = local.astimezone(zone)
    return local.date(), local.strftime("%H:%M:%S") if has_clock else ""


def _clock(sent: str, mapping: EventMapping) -> str:
    try:
        return datetime.datetime.strptime(sent, mapping.time_format).strftime("%H:%M:%S")
    except ValueError:
        # "TBD", "All day": the hour is unknown, which place_row treats with caution.
        return ""
