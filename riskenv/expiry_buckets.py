"""Expiry buckets: how long an option has to live, in calendar days to its settlement."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from riskenv.instruments import NS_PER_DAY, InstrumentTable

_DAYS = (0.0, 1.0, 7.0, 30.0, 90.0, 365.0)

# "underlying" holds what never expires; each other bucket its upper end, and not its lower.
EXPIRY_BUCKETS = (
    "underlying",
    "expired",
    *(f"{a:g}-{z:g}d" for a, z in pairwise(_DAYS)),
    f"{_DAYS[-1]:g}d+",
)


def expiry_bucket(table: InstrumentTable, now: int) -> NDArray[np.int64]:
    """(n,) index into `EXPIRY_BUCKETS` of each instrument.

    Example:
        >>> from riskenv.instruments import Instrument
        >>> table = InstrumentTable.of([Instrument("A"), Instrument("A", "C", 1.0, NS_PER_DAY)])
        >>> [EXPIRY_BUCKETS[b] for b in expiry_bucket(table, now=0)]
        ['underlying', '0-1d']
    """
    left = (table.expiry - now) / NS_PER_DAY
    bucket = 1 + np.searchsorted(np.array(_DAYS), left, side="left")
    return np.where(table.kind == 0, 0, bucket).astype(np.int64)
