"""Constructor arguments in plain form: what `env.spec` can carry as JSON, and what becomes of it.

Configurations are mappings, events are lists of mappings, an adapter is "module:Class", and a big
table is {"path": ..., "sha256": ...} of a file that `save_table` wrote. Each argument may also be
given as the object itself.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from riskenv import canonical
from riskenv.config import Config, ConfigError
from riskenv.events import Event
from riskenv.factor_history import FactorHistory
from riskenv.sessions import Sessions

Table = Sessions | FactorHistory | tuple[Event, ...]
TableT = TypeVar("TableT", Sessions, FactorHistory)

_REFERENCE = {"path", "sha256"}


def save_table(
    table: Sessions | FactorHistory | Iterable[Event], path: str | Path
) -> dict[str, str]:
    """Write sessions or a factor history (.npz) or events (.json); {"path", "sha256"} of it.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> sessions = Sessions(np.array([10, 20]), np.array([15, 25]))
        >>> reference = save_table(sessions, Path(folder.name) / "sessions.npz")
        >>> table_of("sessions", Sessions, reference).closes.tolist()
        [15, 25]
        >>> folder.cleanup()
    """
    if isinstance(table, Sessions | FactorHistory):
        buffer = io.BytesIO()
        columns = {field.name: getattr(table, field.name) for field in fields(table)}
        known: Any = {k: np.asarray(v) for k, v in columns.items() if v is not None}
        np.savez(buffer, **known)
        body = buffer.getvalue()
    else:
        body = canonical.to_bytes([asdict(event) for event in table])
    Path(path).write_bytes(body)
    return {"path": str(path), "sha256": hashlib.sha256(body).hexdigest()}


def plain(value: Any) -> Any:
    """An argument as JSON can hold it, where it can; else the object itself.

    Example:
        >>> plain((Event("fomc", time=20, known_at=10),))[0]["event_type"]
        'fomc'
    """
    if isinstance(value, Config):
        return value.model_dump(mode="json")
    if isinstance(value, Event):
        return plain(asdict(value))
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value


def table_of(name: str, kind: type[TableT], value: Any) -> TableT | None:
    """The table given as itself or by reference.

    Raises:
        ConfigError: neither of these; or the file is missing, was changed, or is no such table.
    """
    if value is None or isinstance(value, kind):
        return value
    body = _referenced(name, kind.__name__, value)
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
            columns: dict[str, Any] = dict(arrays)
        if "underlyings" in columns:
            columns["underlyings"] = tuple(columns["underlyings"].tolist())
        return kind(**columns)
    except (ValueError, TypeError, EOFError, OSError) as error:
        raise ConfigError(f"{name}: {value['path']} holds no {kind.__name__}: {error}") from None


def events_of(value: Any) -> tuple[Event, ...]:
    """The calendar given as events, as mappings, or by reference.

    Raises:
        ConfigError: none of these; or the file is missing, was changed, or holds no events.
    """
    given = value
    if isinstance(value, Mapping):
        body = _referenced("events", "list of Event", value)
        try:
            given = json.loads(body)
        except ValueError as error:
            raise ConfigError(f"events: {value['path']} is not JSON: {error}") from None
    out = []
    for event in given:
        if isinstance(event, Mapping):
            try:
                event = Event(**plain(event))
            except (TypeError, ValueError) as error:
                raise ConfigError(f"events: got {dict(event)}; {error}") from None
        if not isinstance(event, Event):
            raise ConfigError(f"events: got {event!r}; allowed: an Event, or its mapping")
        out.append(event)
    return tuple(out)


def adapter_of(value: Any) -> Any:
    """The adapter given as itself; as "module:Class", which is called without arguments; or as
    "module:NAME" of one that is ready made.

    Raises:
        ConfigError: no such module or name, or it does not do without arguments.

    Example:
        >>> adapter_of("riskenv.wrappers:Nobody")
        Traceback (most recent call last):
            ...
        riskenv.config.ConfigError: adapter: got 'riskenv.wrappers:Nobody'; allowed: "module:...
    """
    if not isinstance(value, str):
        return value
    module, _, name = value.partition(":")
    try:
        found = getattr(import_module(module), name)
        return found() if callable(found) else found
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigError(
            f'adapter: got {value!r}; allowed: "module:Class" of a riskenv.wrappers.Adapter, '
            f'which takes no arguments, or "module:NAME" of one ({error})'
        ) from None


def _referenced(name: str, kind: str, value: Any) -> bytes:
    if not isinstance(value, Mapping) or set(value) != _REFERENCE:
        raise ConfigError(
            f'{name}: got {value!r}; allowed: a {kind}, or {{"path", "sha256"}} of a saved one'
        )
    try:
        body = Path(value["path"]).read_bytes()
    except OSError as error:
        raise ConfigError(f"{name}: {error}") from None
    digest = hashlib.sha256(body).hexdigest()
    if digest != value["sha256"]:
        raise ConfigError(
            f"{name}: {value['path']} was changed: its sha256 is {digest}, not {value['sha256']}"
        )
    return body
