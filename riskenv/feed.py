"""Greeks that a feed or a database gives: its units, and what of it is garbage.

Vendors name the same five Greeks and mean different numbers. What is known of some of them:

- QuantLib, so every database that was filled from it: vega and rho per 1.00, theta per year.
- Interactive Brokers' model ticks and Alpha Vantage's end-of-day chains: theta per calendar day,
  vega per vol point, per share. Measured, in tests/reference/test_vendor_greeks.py. The former's
  theta holds the dividends to come as cash, not as a yield: on an index 2 to 20 % apart.
- Longbridge's calculated indexes: vega and rho per 1.00; theta per year until September 2026, and
  per day since (longbridge/openapi, pull requests 528 and 586). Its own client divided the old one
  by 252: a unit can change under a running system, so what a feed says is compared all the same.
- Saxo and ICE: gamma per 1 % move of the underlying.
- ORATS, and so Tradier: one row for both rights, with the call's delta. On a put it is refused
  here as implausible; take 1 off first.
- Deribit: theta of an option with less than a day to live is what is left of its life, not a day.
- Several write 0 in every column where they could not solve for a volatility.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riskenv.config import Config

FloatArray = NDArray[np.float64]

GREEKS = ("delta", "gamma", "theta", "vega", "rho")

# A trading year of 252 sessions, a calendar year of 365 days: what decays over one session, spread
# over the days that it stands for.
TRADING_DAYS, CALENDAR_DAYS = 252.0, 365.0

_DELTA = {"unit": 1.0, "percent": 0.01}
_THETA = {
    "calendar_day": 1.0,
    "trading_day": TRADING_DAYS / CALENDAR_DAYS,
    "year": 1.0 / CALENDAR_DAYS,
}
_VEGA = {"vol_point": 1.0, "unit": 0.01}
_RHO = {"percent": 1.0, "basis_point": 100.0, "unit": 0.01}
_VOL = {"unit": 1.0, "percent": 0.01}


class FeedUnits(Config):
    """The units of a feed; the defaults are the layer's own.

    Attributes:
        delta_in: "unit" (0.45), or "percent" (45, and gamma is the change of that number).
        gamma_per: change of delta per "dollar", 1 currency unit of spot, or per "percent", a 1 %
            move, which takes the spot to convert.
        theta_per: "calendar_day", "trading_day" (a year has 252; times 252/365), or "year" (a year
            has 365 days). The sign is the layer's: a long option's decay is negative.
        vega_per: "vol_point" (0.01 of volatility), or "unit" (1.00).
        rho_per: "percent" (0.01 of rate), "basis_point" (0.0001), or "unit" (1.00).
        vol_in: "unit" (0.2) or "percent" (20) per year.
        per: "share", or "contract" where the multiplier is in the numbers already.

    Example:
        >>> quantlib = FeedUnits(theta_per="year", vega_per="unit", rho_per="unit")
        >>> raw = [[0.6, 0.02, -7.3, 38.0, 50.0]]
        >>> quantlib.convert(raw, spot=[100.0], multiplier=100.0).tolist()
        [[0.6, 0.02, -0.02, 0.38, 0.5]]
        >>> FeedUnits(theta_per="hour")
        Traceback (most recent call last):
            ...
        riskenv.config.ConfigError: FeedUnits is not valid:
          theta_per: got 'hour'; input should be 'calendar_day', 'trading_day' or 'year'
    """

    delta_in: Literal["unit", "percent"] = "unit"
    gamma_per: Literal["dollar", "percent"] = "dollar"
    theta_per: Literal["calendar_day", "trading_day", "year"] = "calendar_day"
    vega_per: Literal["vol_point", "unit"] = "vol_point"
    rho_per: Literal["percent", "basis_point", "unit"] = "percent"
    vol_in: Literal["unit", "percent"] = "unit"
    per: Literal["share", "contract"] = "share"

    def convert(self, greeks: ArrayLike, spot: ArrayLike, multiplier: ArrayLike) -> FloatArray:
        """(n, 5) numbers of the feed in the layer's units per point; arithmetic only.

        Args:
            greeks: (n, 5) delta, gamma, theta, vega, rho.
            spot: (n,) or one number, currency; used where gamma is per percent.
            multiplier: (n,) or one number; used where the numbers are per contract.
        """
        delta = _DELTA[self.delta_in]
        factors = [delta, delta, _THETA[self.theta_per], _VEGA[self.vega_per], _RHO[self.rho_per]]
        with np.errstate(all="ignore"):
            converted = np.asarray(greeks, dtype=np.float64) * factors
            if self.gamma_per == "percent":
                converted[:, 1] *= 100.0 / np.asarray(spot, dtype=np.float64)
            if self.per == "contract":
                converted /= np.reshape(np.asarray(multiplier, dtype=np.float64), (-1, 1))
        return converted


class Dropped(IntEnum):
    """Why a number of a feed is not used: `FeedGreeks.reason`."""

    KEPT = 0
    NOT_GIVEN = 1
    """No such column, None, an empty text, NaN."""
    NOT_A_NUMBER = 2
    """A text that is no number, a boolean, a date, any other object."""
    INFINITE = 3
    """Infinite, or too large for a float."""
    NO_SPOT = 4
    """There is no spot above 0 to convert it with or to judge its size by."""
    NO_MULTIPLIER = 5
    """It is per contract, and there is no multiplier above 0."""
    IMPLAUSIBLE = 6
    """No option has such a number: see `implausible`. A volatility that is not above 0."""
    ALL_ZERO = 7
    """Everything that the row gives is exactly 0: how vendors write that they have nothing."""


@dataclass(frozen=True, eq=False)
class FeedGreeks:
    """What a feed gives, in the layer's units.

    Attributes:
        values: (n, 5) delta, gamma, theta, vega, rho per point; NaN where it is not used.
        reason: (n, 5) int8, values of `Dropped`.
    """

    values: FloatArray
    reason: NDArray[np.int8]

    @property
    def for_market(self) -> FloatArray:
        """(n, 5) for `riskenv.Market.feed`: as `values`, and infinite where the feed gave garbage,
        so that its instrument is Unknown and not quietly computed."""
        garbage = ~np.isin(self.reason, (Dropped.KEPT, Dropped.NOT_GIVEN, Dropped.ALL_ZERO))
        return np.where(garbage, np.inf, self.values)

    @property
    def dropped(self) -> dict[str, dict[str, int]]:
        """Greek -> reason -> number of rows; only what occurs, and nothing of what was kept."""
        return {
            greek: counts
            for greek, column in zip(GREEKS, self.reason.T, strict=True)
            if (counts := _counts(column))
        }


def feed_greeks(
    columns: Mapping[str, ArrayLike],
    units: FeedUnits,
    spot: ArrayLike,
    multiplier: ArrayLike,
    is_call: ArrayLike | None = None,
) -> FeedGreeks:
    """A feed's columns as (n, 5) Greeks per point in the layer's units, garbage dropped.

    A bad value is never an exception: it becomes NaN, which is "not given", with its reason.

    Args:
        columns: any of "delta", "gamma", "theta", "vega", "rho" -> (n,) values as they came:
            numbers, texts, None. A Greek without a column is not given.
        units: what they are measured in.
        spot: (n,) price of each row's underlying, currency.
        multiplier: (n,) or one number, currency per point.
        is_call: (n,) True or 1 for a call, False or 0 for a put, NaN where the row is neither;
            None = not known, and then only the size of delta is judged.

    Raises:
        ValueError: a column is of another name or another length.

    Example:
        >>> feed = feed_greeks(
        ...     {"delta": [0.6, 0.4, 0.0], "vega": ["38", "n/a", 0.0]},
        ...     FeedUnits(vega_per="unit"), spot=[100.0] * 3, multiplier=100.0,
        ...     is_call=[True, False, True],
        ... )
        >>> feed.values[:, [0, 3]].tolist()
        [[0.6, 0.38], [nan, nan], [nan, nan]]
        >>> feed.dropped["delta"], feed.dropped["vega"]
        ({'implausible': 1, 'all_zero': 1}, {'not_a_number': 1, 'all_zero': 1})
    """
    if unknown := sorted(set(columns) - set(GREEKS)):
        raise ValueError(
            f"columns: got {', '.join(map(repr, unknown))}; allowed: {', '.join(GREEKS)}"
        )
    spots, _ = _numbers("spot", spot, None)
    n = len(spots)
    multipliers, _ = _numbers(
        "multiplier", np.full(n, multiplier) if np.ndim(multiplier) == 0 else multiplier, n
    )
    right = np.full(n, np.nan) if is_call is None else _right(is_call, n)

    raw = np.full((n, 5), np.nan)
    reason = np.full((n, 5), Dropped.NOT_GIVEN, dtype=np.int8)
    for j, greek in enumerate(GREEKS):
        if greek in columns:
            raw[:, j], reason[:, j] = _numbers(greek, columns[greek], n)
    values = units.convert(raw, spots, multipliers)

    def drop(where: NDArray[np.bool_], why: Dropped) -> None:
        reason[where & (reason == Dropped.KEPT)] = why

    with np.errstate(invalid="ignore"):
        nothing = ((raw == 0.0) | np.isnan(raw)).all(axis=1)
        drop(nothing[:, None] & (raw == 0.0), Dropped.ALL_ZERO)
        if units.per == "contract":
            drop(~_positive(multipliers)[:, None], Dropped.NO_MULTIPLIER)
        # All but delta scale with the spot.
        drop(~_positive(spots)[:, None] & (np.arange(5) > 0), Dropped.NO_SPOT)
    drop(~np.isfinite(values), Dropped.INFINITE)
    drop(implausible(values, spots, right), Dropped.IMPLAUSIBLE)
    values[reason != Dropped.KEPT] = np.nan
    return FeedGreeks(values, reason)


def feed_vol(column: ArrayLike, units: FeedUnits) -> tuple[FloatArray, NDArray[np.int8]]:
    """A feed's implied volatilities per year, and why one is not used (`Dropped`); both (n,).

    A volatility of 0 is what vendors write where they found none: implausible, hence NaN.

    Raises:
        ValueError: the column is not (n,).

    Example:
        >>> vol, reason = feed_vol([20.0, 0.0, None], FeedUnits(vol_in="percent"))
        >>> vol.tolist(), [Dropped(r).name for r in reason]
        ([0.2, nan, nan], ['KEPT', 'IMPLAUSIBLE', 'NOT_GIVEN'])
    """
    raw, reason = _numbers("vol", column, None)
    vol = raw * _VOL[units.vol_in]
    reason[(reason == Dropped.KEPT) & ~(vol > 0.0)] = Dropped.IMPLAUSIBLE
    vol[reason != Dropped.KEPT] = np.nan
    return vol, reason


# --- what no option has ---------------------------------------------------------------------------

# Delta reaches e^{-qT}, a little above 1 where the yield is negative.
_DELTA_SLACK = 0.05
# Vendors' rounding noise: -1e-11 for a vega or -1e-14 for a gamma of 0 are common.
_NOISE = 1e-6
# gamma * spot = phi(d1) / (vol sqrt T): a second before expiry, at a volatility of 10 %, 2e4.
_GAMMA_SIZE = 1e5
# In a day an option gains r K / 365 at most, with r = 20 % and K = 5 spot 0.003 of spot; and loses
# no more than it may be worth.
_THETA_GAIN, _THETA_LOSS = 0.005, 1.0
# vega = S e^{-qT} phi(d1) sqrt(T) / 100, at most 0.004 S sqrt(T): 25 years.
_VEGA_SIZE = 0.02
# |rho| <= T K / 100: 10 years at K = 5 spot. No sign: a call on a future has a negative one.
_RHO_SIZE = 0.5
# A delta this far from 0 and 1 moves with the volatility.
_INNER_DELTA = 0.1, 0.9


def implausible(greeks: FloatArray, spot: ArrayLike, is_call: ArrayLike) -> NDArray[np.bool_]:
    """(n, 5) True where no long option on that spot has such a Greek; NaN Greeks never are.

    Signs: a call's delta lies in 0..1 and a put's in -1..0, gamma and vega are not negative, all
    with room for noise. Sizes: in the layer's units per point, relative to spot. A delta between
    0.1 and 0.9 beside a vega of exactly 0 was computed at no volatility, so its whole row is.

    Args:
        greeks: (n, 5) in the layer's units per point.
        spot: (n,) currency.
        is_call: (n,) 1, 0, or NaN = neither, so that delta may be in -1..1.

    Example:
        >>> greeks = np.array([[-0.4, 0.01, -0.05, 0.2, np.nan], [0.5, -0.01, -0.05, 20.0, 0.1]])
        >>> implausible(greeks, [100.0, 100.0], [True, True]).tolist()
        [[True, False, False, False, False], [False, True, False, True, False]]
    """
    right = np.asarray(is_call, dtype=np.float64)
    delta, gamma, theta, vega, rho = greeks.T
    given = ~np.isnan(greeks)
    with np.errstate(all="ignore"):
        s = np.asarray(spot, dtype=np.float64)
        low = np.where(right == 1.0, 0.0, -1.0) - _DELTA_SLACK
        high = np.where(right == 0.0, 0.0, 1.0) + _DELTA_SLACK
        possible = np.stack(
            (
                (delta >= low) & (delta <= high),
                (gamma * s >= -_NOISE) & (gamma * s <= _GAMMA_SIZE),
                (theta >= -_THETA_LOSS * s) & (theta <= _THETA_GAIN * s),
                (vega >= -_NOISE * s) & (vega <= _VEGA_SIZE * s),
                np.abs(rho) <= _RHO_SIZE * s,
            ),
            axis=1,
        )
        inner = (np.abs(delta) > _INNER_DELTA[0]) & (np.abs(delta) < _INNER_DELTA[1])
        no_volatility = inner & (vega == 0.0)
    bad: NDArray[np.bool_] = given & (~possible | no_volatility[:, None])
    return bad


# --- reading --------------------------------------------------------------------------------------


def _positive(x: FloatArray) -> NDArray[np.bool_]:
    return (x > 0.0) & (x < np.inf)


def _counts(reasons: NDArray[np.int8]) -> dict[str, int]:
    counts = np.bincount(reasons, minlength=len(Dropped))
    return {r.name.lower(): int(counts[r]) for r in Dropped if r != Dropped.KEPT and counts[r]}


def _right(is_call: ArrayLike, n: int) -> FloatArray:
    right = np.asarray(is_call)
    if right.shape != (n,) or right.dtype.kind not in "biuf":
        raise ValueError(
            f"is_call: got {right.dtype} {right.shape}; allowed: ({n},) booleans or numbers"
        )
    return right.astype(np.float64)


def _numbers(name: str, column: Any, n: int | None) -> tuple[FloatArray, NDArray[np.int8]]:
    """(n,) floats, NaN where there is none, and why (`Dropped`).

    Raises:
        ValueError: not one-dimensional, or not of length n.
    """
    if isinstance(column, np.ma.MaskedArray):
        column = column.tolist()  # None where it is masked
    try:
        array = np.asarray(column)
    except ValueError:  # lists of several lengths among the values
        array = np.asarray(column, dtype=object)
    if array.ndim != 1 or (n is not None and len(array) != n):
        wanted = "(n,)" if n is None else f"({n},)"
        raise ValueError(f"{name}: got shape {array.shape}; allowed: {wanted}")
    if array.dtype.kind in "fiu":
        with np.errstate(over="ignore"):
            values = array.astype(np.float64)
        reason = np.where(np.isnan(values), Dropped.NOT_GIVEN, Dropped.KEPT).astype(np.int8)
    else:
        # A time's tolist() is a plain integer.
        items = array.astype(str) if array.dtype.kind in "mM" else array
        pairs = [_number(value) for value in items.tolist()]
        values = np.array([value for value, _ in pairs], dtype=np.float64)
        reason = np.array([why for _, why in pairs], dtype=np.int8)
    reason[np.isinf(values)] = Dropped.INFINITE
    values[reason != Dropped.KEPT] = np.nan
    return values, reason


def _number(value: Any) -> tuple[float, Dropped]:
    if value is None or (isinstance(value, str | bytes) and not value.strip()):
        return np.nan, Dropped.NOT_GIVEN
    # float() reads "1_000" as 1000 and True as 1: neither is a Greek.
    if isinstance(value, bool | np.bool_) or (isinstance(value, str) and "_" in value):
        return np.nan, Dropped.NOT_A_NUMBER
    try:
        if not bool(value == value):
            return np.nan, Dropped.NOT_GIVEN
    except (TypeError, ValueError, ArithmeticError):  # pandas.NA and sNaN do not say
        return np.nan, Dropped.NOT_GIVEN
    try:
        number = float(value)
    except OverflowError:
        return np.nan, Dropped.INFINITE
    except (TypeError, ValueError):
        return np.nan, Dropped.NOT_A_NUMBER
    return number, Dropped.NOT_GIVEN if np.isnan(number) else Dropped.KEPT
