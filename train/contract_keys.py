"""Contracts as numbers: one int64 packs (underlying, right, expiry, strike).

Sorting keys is sorting contracts canonically. A book is then two short arrays, and nothing per
contract is hashed while the env steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_UNDERLYING_SHIFT, _RIGHT_SHIFT, _EXPIRY_SHIFT = 56, 54, 36
_STRIKE_MASK, _EXPIRY_MASK = (1 << 36) - 1, (1 << 18) - 1
CENTS = 100.0
_SIGNS = np.array([0.0, 1.0, -1.0, 0.0])
CALL, PUT = 1, 2  # the order of `Instrument.sort_key`


def key_of(underlying: int, right: int, expiry: int, strike: float) -> int:
    """Pack one contract; `expiry` is its index in the market's expiries.

    Example:
        >>> call, put = key_of(0, 1, 3, 950.0), key_of(0, 2, 3, 900.0)
        >>> key_of(0, 0, 0, 0.0) < call < put < key_of(1, 0, 0, 0.0)
        True
    """
    cents = round(strike * CENTS)
    return underlying << _UNDERLYING_SHIFT | right << _RIGHT_SHIFT | expiry << _EXPIRY_SHIFT | cents


def underlying_of(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) index of each contract's ticker."""
    return keys >> _UNDERLYING_SHIFT


def strike_of(keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) strikes in points; 0 for an underlying."""
    strike: NDArray[np.float64] = (keys & _STRIKE_MASK) / CENTS
    return strike


def sign_of(keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) +1 call, -1 put, 0 underlying."""
    sign: NDArray[np.float64] = _SIGNS[(keys >> _RIGHT_SHIFT) & 3]
    return sign


def expiry_of(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) index in the market's expiries; meaningless for an underlying."""
    return (keys >> _EXPIRY_SHIFT) & _EXPIRY_MASK
