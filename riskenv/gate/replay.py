"""Re-decide a record of inputs from a bundle, and compare with the decisions made at the time.

Run as a program it is the proof in a fresh process:

    python -m riskenv.gate.replay gate.zip inputs.npz --expect decisions.jsonl.gz
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from riskenv.decision import Decision
from riskenv.gate.input_record import InputRecord
from riskenv.gate.risk_gate import RiskGate

# What the gate must do without.
FORBIDDEN = ("torch", "gymnasium", "pandas")


@dataclass(frozen=True)
class Difference:
    """The first decision that came out differently, and what in it."""

    step: int
    episode: str
    timestamp: str
    key: str
    expected: Any
    got: Any

    def __str__(self) -> str:
        return (
            f"decision {self.step} ({self.episode}, {self.timestamp}): {self.key}: "
            f"expected {self.expected!r}, got {self.got!r}"
        )


@dataclass(frozen=True)
class Replay:
    """How many decisions were made again to the byte.

    Attributes:
        decisions: number compared; identical: of them, equal to the byte.
        first: the first that differs, None if none does.
    """

    decisions: int
    identical: int
    first: Difference | None


def replay(gate: RiskGate, record: InputRecord) -> Iterator[Decision]:
    """Decide on every entry of a record, in order; each episode starts from a fresh state."""
    fresh, episode = gate.state, -1
    for inputs in record:
        if inputs.episode != episode:
            episode, gate.state = inputs.episode, fresh
        yield gate.decide(inputs.portfolio, inputs.market, inputs.proposal, inputs.external_flow)


def compare(gate: RiskGate, record: InputRecord, expected: Iterable[bytes]) -> Replay:
    """Re-decide a record and compare with the decisions' bytes.

    Raises:
        ValueError: there are not as many expected decisions as entries in the record.
    """
    identical, first, step = 0, None, -1
    pairs = zip(replay(gate, record), expected, strict=True)
    for step, (decision, wanted) in enumerate(pairs):
        got = decision.to_bytes()
        if got == wanted:
            identical += 1
        elif first is None:
            episode = record.episodes[int(record.arrays["episode"][step])]
            first = _difference(step, episode, json.loads(wanted), json.loads(got))
    return Replay(step + 1, identical, first)


def _difference(step: int, episode: str, wanted: Any, got: Any) -> Difference:
    key, a, b = _first_difference(wanted, got, "")
    return Difference(step, episode, str(got.get("timestamp")), key, a, b)


def _first_difference(a: Any, b: Any, path: str) -> tuple[str, Any, Any]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}):
            if a.get(key) != b.get(key) or (key in a) != (key in b):
                return _first_difference(a.get(key), b.get(key), f"{path}.{key}".lstrip("."))
    return path or "(bytes)", a, b


def write_decisions(path: str | Path, decisions: Iterable[bytes]) -> None:
    """One decision a line, gzip without a time stamp, so that the file is the same every time."""
    with Path(path).open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as out:
        for line in decisions:
            out.write(line + b"\n")


def read_decisions(path: str | Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") as lines:
        for line in lines:
            yield line.rstrip(b"\n")


def main(arguments: list[str] | None = None) -> int:
    """Program entry: prints one line of JSON; exit 0 if all decisions are identical, else 1."""
    parser = argparse.ArgumentParser(prog="python -m riskenv.gate.replay", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("--expect", type=Path, required=True, metavar="DECISIONS")
    options = parser.parse_args(arguments)
    gate, record = RiskGate.load(options.bundle), InputRecord.load(options.inputs)
    result = compare(gate, record, read_decisions(options.expect))
    summary = {
        "decisions": result.decisions,
        "identical": result.identical,
        "first_difference": str(result.first) if result.first else None,
        "loaded": [name for name in FORBIDDEN if sys.modules.get(name) is not None],
    }
    sys.stdout.write(json.dumps(summary) + "\n")
    return 0 if result.identical == result.decisions and not summary["loaded"] else 1


if __name__ == "__main__":
    sys.exit(main())
