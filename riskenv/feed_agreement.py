"""Whether a feed's Greeks agree with the computed ones: how far apart they may be, and a verdict.

The layer holds every market with a feed to this, compiled, in `riskenv.exposures`; here it is said
readably, and over whole columns, for whoever wants to know a feed before trusting it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from riskenv.config import Config
from riskenv.feed import GREEKS, Dropped, FeedGreeks

FloatArray = NDArray[np.float64]


class Band(Config):
    """|feed - computed| <= absolute + relative * |computed|.

    Attributes:
        absolute: in the layer's unit of that Greek, per point, on an underlying at 100.
        relative: a part of the computed number.
    """

    absolute: Annotated[float, Field(ge=0.0)]
    relative: Annotated[float, Field(ge=0.0)]


# The absolute parts are for an underlying at 100 and go with this power of spot / 100, for a gamma
# of 0.002 is noise on a stock of 10 and more than the whole of it on an index of 5,000.
SPOT_POWER = np.array([0.0, -1.0, 1.0, 1.0, 1.0])
SPOT_POWER.setflags(write=False)


class GreeksTolerance(Config):
    """How far a feed may be from the computed Greeks before the instrument is Unknown.

    The defaults let through 99.8 % of a feed whose model differs from ours as vendors' models do,
    and hold up one in other units. Measured on 5,040 end-of-day SPY options of 2021, a vendor's
    Black-Scholes Greeks without dividends against American ones at the volatility of the mid and a
    yield of 1.3 %; median, 90 %, 99 % and 99.9 % quantiles of the distance on a spot of 100:

    ========  =======  =======  =======  =======
    delta     0.0066   0.012    0.019    0.047
    gamma     0.0015   0.0044   0.0079   0.012
    theta     0.0006   0.0014   0.0018   0.0020
    vega      0.0005   0.0019   0.0042   0.017
    ========  =======  =======  =======  =======

    rho was in no feed worth measuring; its numbers allow for a rate that differs by a tenth. theta
    of a feed that counts an index's dividends as cash may differ by 10 % and more from one under a
    yield: no band tells that from a session's theta, so give the market its dividends instead.

    Example:
        >>> GreeksTolerance().absolute()
        array([0.02 , 0.002, 0.001, 0.002, 0.005])
        >>> GreeksTolerance().absolute([400.0]).tolist()  # gamma is smaller there, vega larger
        [[0.02, 0.0005, 0.004, 0.008, 0.02]]
        >>> GreeksTolerance(delta=Band(absolute=0.01, relative=0.0)).relative()
        array([0.  , 0.1 , 0.1 , 0.1 , 0.15])
    """

    delta: Band = Band(absolute=0.02, relative=0.03)
    gamma: Band = Band(absolute=0.002, relative=0.10)
    theta: Band = Band(absolute=0.001, relative=0.10)
    vega: Band = Band(absolute=0.002, relative=0.10)
    rho: Band = Band(absolute=0.005, relative=0.15)

    def absolute(self, spot: ArrayLike | None = None) -> FloatArray:
        """(5,) absolute parts on an underlying at 100; with spots (n,), (n, 5) on each of them.

        Where a spot is not above 0 all but delta's, which needs none, are NaN: nothing is within.
        """
        parts = np.array([getattr(self, greek).absolute for greek in GREEKS])
        if spot is None:
            return parts
        level = np.asarray(spot, dtype=np.float64)[:, None] / 100.0
        with np.errstate(all="ignore"):
            level[~((level > 0.0) & (level < np.inf))] = np.nan
            scaled: FloatArray = parts * level**SPOT_POWER
        return scaled

    def relative(self) -> FloatArray:
        """(5,) relative parts."""
        return np.array([getattr(self, greek).relative for greek in GREEKS])


def agrees(
    feed: ArrayLike,
    computed: ArrayLike,
    tolerance: GreeksTolerance,
    spot: ArrayLike | None = None,
) -> NDArray[np.bool_]:
    """(n,) True where all that the feed gives lies within tolerance of what was computed.

    A Greek that the feed does not give (NaN) is skipped; a row that gives none agrees with
    nothing. A computed NaN or infinity never agrees, whether the feed gives that Greek or not.

    Args:
        feed, computed: (n, 5) in the layer's units per point.
        tolerance: |feed - computed| <= absolute + relative * |computed|.
        spot: (n,) to scale the absolute parts by; None = as for an underlying at 100.

    Raises:
        ValueError: a shape is not (n, 5), or spot not (n,).

    Example:
        >>> computed = [[0.6, 0.02, -0.02, 0.38, 0.5]] * 3
        >>> feed = [[0.61, np.nan, -0.02, 0.38, np.nan],
        ...         [0.61, np.nan, -0.02 * 365 / 252, 0.38, np.nan], [np.nan] * 5]
        >>> agrees(feed, computed, GreeksTolerance(), spot=[100.0] * 3).tolist()
        [True, False, False]
    """
    given, ours = np.asarray(feed, dtype=np.float64), np.asarray(computed, dtype=np.float64)
    if ours.ndim != 2 or ours.shape[1] != 5:
        raise ValueError(f"computed: got shape {ours.shape}; allowed: (n, 5)")
    if given.shape != ours.shape:
        raise ValueError(f"feed: got shape {given.shape}; allowed: {ours.shape}, as computed")
    if spot is not None and np.shape(spot) != ours.shape[:1]:
        raise ValueError(f"spot: got shape {np.shape(spot)}; allowed: {ours.shape[:1]}")
    missing = np.isnan(given)
    with np.errstate(all="ignore"):
        limit = tolerance.absolute(spot) + tolerance.relative() * np.abs(ours)
        # An infinite limit would let anything in.
        inside = (np.abs(given - ours) <= limit) & (limit < np.inf)
    trusted = (inside | missing) & np.isfinite(ours)
    return np.asarray(trusted.all(axis=1) & ~missing.all(axis=1))


class FeedVerdict(IntEnum):
    """What became of a row of a feed; all but AGREES leave it unused."""

    AGREES = 0
    NOT_GIVEN = 1
    """No Greek, or 0 in each."""
    INVALID = 2
    """At least one Greek is garbage: `Dropped` says how."""
    NOT_COMPUTED = 3
    """There is nothing to compare it with."""
    DISAGREES = 4


def judge_feed(
    feed: FeedGreeks,
    computed: ArrayLike,
    tolerance: GreeksTolerance,
    spot: ArrayLike | None = None,
) -> NDArray[np.int8]:
    """(n,) values of `FeedVerdict`: one for every row, and never an agreement by default.

    Arguments and errors are those of `agrees`. One garbage number discredits its whole row.

    Example:
        >>> from riskenv.feed import FeedUnits, feed_greeks
        >>> feed = feed_greeks({"delta": [0.6, None, 7.0, 0.2]}, FeedUnits(), [100.0] * 4, 100.0)
        >>> computed = [[0.6, 0.02, -0.02, 0.38, 0.5]] * 4
        >>> [FeedVerdict(v).name for v in judge_feed(feed, computed, GreeksTolerance())]
        ['AGREES', 'NOT_GIVEN', 'INVALID', 'DISAGREES']
    """
    same = agrees(feed.values, computed, tolerance, spot)
    known = np.isfinite(np.asarray(computed, dtype=np.float64)).all(axis=1)
    verdict = np.full(len(same), FeedVerdict.DISAGREES, dtype=np.int8)
    verdict[same] = FeedVerdict.AGREES
    verdict[~known] = FeedVerdict.NOT_COMPUTED
    absent = np.isin(feed.reason, (Dropped.NOT_GIVEN, Dropped.ALL_ZERO))
    garbage = ~absent & (feed.reason != Dropped.KEPT)
    verdict[garbage.any(axis=1)] = FeedVerdict.INVALID
    verdict[absent.all(axis=1)] = FeedVerdict.NOT_GIVEN
    return verdict
