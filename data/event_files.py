"""Event lists written by hand: YAML or CSV, with every bad line reported at once."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, model_validator
from riskenv.data.event_rows import EventRow, place_row, places_for
from riskenv.data.event_sources import Coverage, SourceDownError, SourceState
from riskenv.data.event_times import end_of_day_ns, local_date

from riskenv.config import Config, ConfigError, load_config
from riskenv.events import Event
from riskenv.sessions import CalendarRangeError
from riskenv.yaml_reader import YamlError, read_yaml


class EventFileError(ValueError):
    """An event list was refused; the message names every bad line at once."""


class _Covers(Config):
    event_type: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    first: datetime.date
    last: datetime.date
    symbols: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.first <= self.last:
            raise ValueError("first at or before last")
        return self


class _Head(Config):
    as_of: datetime.date | None = None
    covers: tuple[_Covers, ...] = ()
    events: tuple[Any, ...] = ()


def load_events(path: str | Path, exchange: str = "XNYS") -> tuple[Event, ...]:
    """Events from a list written by hand, in order of time.

    CSV: a header with the keys of `EventRow`, an event a line; an empty cell is a key not given.
    YAML: a list of mappings with those keys, or a mapping with `events` (the list), `as_of` (a
    date) and `covers` (spans in which the list is complete: event_type, first, last, symbols).

    Args:
        path: a file ending in .csv, .yaml or .yml.
        exchange: whose sessions "before_open" and "after_close" mean.

    Raises:
        EventFileError: the file cannot be read, or a row is not valid. The message has one line
            for each bad row: its line number, the key, the value received and what is allowed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "events.csv"
        >>> _ = path.write_text('''event_type,date,time,placement,symbol
        ... cpi,2025-10-24,08:30,,
        ... earnings,2025-10-30,,after_close,AAPL
        ... ''')
        >>> [(e.event_type, e.symbol, e.placement) for e in load_events(path)]
        [('cpi', '', 'before_open'), ('earnings', 'AAPL', 'after_close')]
        >>> _ = path.write_text('''event_type,date,time
        ... CPI,2025-10-24,08:30
        ... cpi,2025-10-32,8h
        ... ''')
        >>> load_events(path)   # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        riskenv.data.event_files.EventFileError: ...events.csv: 2 bad rows:
          line 2: event_type: got 'CPI'; string should match pattern '^[a-z][a-z0-9_]*$'
          line 3: date: got '2025-10-32'; ...; time: got '8h'; ...
    """
    return _load(Path(path), exchange)[0]


class ListedEvents:
    """A list written by hand, as a provider; the file is read anew at each call.

    It claims coverage only where the file says `covers`: a list of a few dates does not say that
    nothing else happens. It never grows stale by itself; `as_of` is for its reader.

    Args:
        path, exchange: as for `load_events`.
        name: the source's name; "" = the file's.
    """

    def __init__(self, path: str | Path, exchange: str = "XNYS", name: str = "") -> None:
        self.path = Path(path)
        self.exchange = exchange
        self._name = name or self.path.name
        self._state = SourceState(self._name, "down", reason="not read yet")

    @property
    def name(self) -> str:
        """The source's name."""
        return self._name

    def events(self, first: datetime.date, last: datetime.date) -> tuple[Event, ...]:
        """The list's events from the first to the last New York day.

        Raises:
            SourceDownError: the file cannot be read, or has a bad row.
        """
        try:
            events, head = _load(self.path, self.exchange)
        except EventFileError as error:
            self._state = SourceState(self._name, "down", reason=str(error))
            raise SourceDownError(self._state) from error
        self._state = SourceState(
            self._name,
            "fresh",
            None if head.as_of is None else end_of_day_ns(head.as_of),
            tuple(Coverage(c.event_type, c.first, c.last, c.symbols) for c in head.covers),
        )
        return tuple(event for event in events if first <= local_date(event.time) <= last)

    def state(self) -> SourceState:
        """What the last call of `events` was worth."""
        return self._state


def _load(path: Path, exchange: str) -> tuple[tuple[Event, ...], _Head]:
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".yaml", ".yml"):
        raise EventFileError(f"{path}: got a file ending in {suffix!r}; allowed: .csv, .yaml, .yml")
    head, lines = _csv_rows(path) if suffix == ".csv" else _yaml_rows(path)
    bad: list[str] = []
    rows: list[tuple[int, EventRow]] = []
    for line, values in lines:
        try:
            rows.append((line, load_config(EventRow, _mapping(values))))
        except ConfigError as error:
            words = str(error).splitlines()
            bad.append(f"line {line}: {'; '.join(w.strip() for w in words[1:]) or words[0]}")
    events: list[Event] = []
    if rows:
        try:
            places = places_for((row for _, row in rows), exchange)
        except ValueError as error:
            raise EventFileError(f"{path}: {error}") from error
        for line, row in rows:
            try:
                events += place_row(row, places, source=path.name)
            except (ValueError, CalendarRangeError) as error:
                bad.append(f"line {line}: {error}")
    if bad:
        bad.sort(key=lambda words: int(words.split(":")[0].removeprefix("line ")))
        count = f"{len(bad)} bad row{'s' if len(bad) > 1 else ''}"
        raise EventFileError("\n  ".join([f"{path}: {count}:", *bad]))
    return tuple(sorted(events, key=lambda event: event.order)), head


def _mapping(values: Any) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise ConfigError(f"got {values!r}; allowed: a mapping of keys")
    return {str(key): value for key, value in values.items()}


def _csv_rows(path: Path) -> tuple[_Head, Iterator[tuple[int, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise EventFileError(f"{path}: cannot be read: {error}") from None
    reader = csv.DictReader(
        io.StringIO(text, newline=""), restkey="(beyond the header)", strict=True
    )
    if not reader.fieldnames:
        raise EventFileError(f"{path}: got no header; allowed: a first line with the keys")
    if len(set(reader.fieldnames)) != len(reader.fieldnames):
        raise EventFileError(f"{path}: line 1: a key is written twice; keep one")

    def rows() -> Iterator[tuple[int, Any]]:
        try:
            for row in reader:
                yield reader.line_num, {key: cell for key, cell in row.items() if cell}
        except csv.Error as error:
            raise EventFileError(f"{path}: after line {reader.line_num}: {error}") from None

    return _Head(), rows()


def _yaml_rows(path: Path) -> tuple[_Head, Iterator[tuple[int, Any]]]:
    try:
        document = read_yaml(path)
        values = {"events": document} if isinstance(document, list) else document
        head = load_config(_Head, _mapping(values))
    except YamlError as error:
        raise EventFileError(str(error)) from None  # it names the file itself
    except ConfigError as error:
        raise EventFileError(f"{path}: {error}") from None
    # The reader above gives values; the lines come from the same text, composed once more.
    root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    if isinstance(root, yaml.MappingNode):
        root = next((value for key, value in root.value if key.value == "events"), None)
    nodes = root.value if isinstance(root, yaml.SequenceNode) else []
    numbers = [node.start_mark.line + 1 for node in nodes]
    return head, zip(numbers, head.events, strict=True)
