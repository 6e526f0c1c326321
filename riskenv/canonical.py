"""One spelling of a value as bytes: what is hashed, compared and written to a bundle."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any


def number(value: float) -> float | None:
    """A float as canonical JSON can hold it: no negative zero; None for NaN and infinities."""
    value = float(value)
    return value + 0.0 if math.isfinite(value) else None


def to_bytes(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8, shortest round-trip floats.

    Raises:
        ValueError: a NaN or an infinity; pass it through `number` first.

    Example:
        >>> to_bytes({"b": 1.0, "a": [number(-0.0), number(float("nan"))]})
        b'{"a":[0.0,null],"b":1.0}'
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode()


def digest(value: Any) -> str:
    """sha256 of `to_bytes(value)`, hex."""
    return hashlib.sha256(to_bytes(value)).hexdigest()
