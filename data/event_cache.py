"""The last good answer of an endpoint, on disk: whole or not at all."""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: its text, when it came (ns UTC), and the days it was asked for."""

    text: str
    fetched_at: int
    first: datetime.date
    last: datetime.date


class AnswerCache:
    """One file with one answer; it holds no key, and another asks another file.

    Args:
        path: the file; its folder is made when the first answer is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Answer | None:
        """The cached answer; None where there is none that is whole."""
        try:
            stored: Any = json.loads(self.path.read_text(encoding="utf-8"))
            text = stored["answer"]
            if stored["sha256"] != hashlib.sha256(text.encode()).hexdigest():
                raise ValueError("sha256 differs")
            return Answer(
                text,
                int(stored["fetched_at"]),
                datetime.date.fromisoformat(stored["first"]),
                datetime.date.fromisoformat(stored["last"]),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("event cache %s cannot be used: %s", self.path.name, error)
            return None

    def write(self, answer: Answer) -> None:
        stored = {
            "fetched_at": answer.fetched_at,
            "first": answer.first.isoformat(),
            "last": answer.last.isoformat(),
            "sha256": hashlib.sha256(answer.text.encode()).hexdigest(),
            "answer": answer.text,
        }
        try:
            _write_whole(self.path, json.dumps(stored))
        except OSError as error:
            # The answer is good all the same; the next failure will find an older cache.
            _log.warning("event cache %s cannot be written: %s", self.path.name, error)


def _write_whole(path: Path, text: str) -> None:
    """A reader finds the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
