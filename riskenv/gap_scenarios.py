"""Jumps: those of history, and what the term structure of volatility says of one to come."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from riskenv.compilation import jit
from riskenv.config import Config, ConfigError
from riskenv.factor_history import FactorHistory


class HistoryJumps(Config):
    """Which days of history count as jumps.

    Attributes:
        of: "overnight" moves, from a close to the next open, of a history that has them; or "day":
            a day's whole move stands in for them. On days of a gap they are the larger part of it,
            and the opens published of an index are often but its last close. Volatility is known at
            closes only: it moves as over the whole day.
        sigmas: it is a jump of all tickers, as they moved together, where the log return of one of
            them is further from 0 than so many of its own standard deviations.
        window: sessions of history that are looked at.
        min_days: of these, days on which a ticker's return is known. With fewer its jumps are
            Unknown. So is what a jump of another ticker did to one that has no move on that day,
            such as one listed later: give it a proxy.
    """

    of: Literal["day", "overnight"] = "day"
    sigmas: float = Field(default=4.0, ge=2.0, le=50.0)
    window: int = Field(default=2500, ge=100, le=20_000)
    min_days: int = Field(default=100, ge=20, le=20_000)

    @model_validator(mode="after")
    def _days_lie_in_the_window(self) -> HistoryJumps:
        if self.min_days > self.window:
            raise ValueError(
                f"min_days: got {self.min_days}; allowed: at most window {self.window}"
            )
        return self


def jump_returns(history: FactorHistory, rule: HistoryJumps) -> NDArray[np.float64]:
    """(D, U) the log returns that the rule looks for jumps in.

    Raises:
        ConfigError: overnight moves, of a history without them.
    """
    if rule.of == "day":
        return history.log_return
    if history.overnight is None:
        raise ConfigError(
            "history_jumps.of: got 'overnight', and the history has no overnight moves "
            "(FactorHistory.overnight); allowed: 'day'"
        )
    return history.overnight


@jit
def _root_mean_squares(moves, out):  # type: ignore[no-untyped-def]
    """out[u] of the finite moves of column u, summed in order; NaN where there is none."""
    for u in range(moves.shape[1]):
        total, count = 0.0, 0
        for t in range(moves.shape[0]):
            if abs(moves[t, u]) < np.inf:
                total += moves[t, u] * moves[t, u]
                count += 1
        out[u] = np.sqrt(total / count) if count else np.nan


def history_jumps(
    log_return: NDArray[np.float64], log_vol_change: NDArray[np.float64], rule: HistoryJumps
) -> NDArray[np.float64]:
    """The joint moves on days of a jump.

    A deviation is that of moves around 0, the jumps among them.

    Args:
        log_return, log_vol_change: (D, U) moves known by now, oldest first; the returns of those
            parts of days that the rule is about.

    Returns:
        (2U, J) log spot and then log volatility moves, oldest first. NaN is Unknown: of a ticker of
        which one of the two is missing on a day of a jump, and everywhere of one that has too few
        days (`HistoryJumps.min_days`), for which a last column stands in where there is no jump.

    Example:
        >>> quiet = np.full((99, 1), 0.01)
        >>> moves = np.concatenate([quiet, [[-0.2]]])
        >>> history_jumps(moves, 2.0 * moves, HistoryJumps()).tolist()
        [[-0.2], [-0.4]]
        >>> history_jumps(moves[1:], 2.0 * moves[1:], HistoryJumps()).tolist()   # of 99 days
        [[nan], [nan]]
    """
    spot, vol = log_return[-rule.window :], log_vol_change[-rule.window :]
    deviation = np.empty(spot.shape[1])
    _root_mean_squares(np.ascontiguousarray(spot), deviation)
    known = np.isfinite(spot)
    few = known.sum(axis=0) < rule.min_days
    days = np.flatnonzero((known & (np.abs(spot) > rule.sigmas * deviation)).any(axis=1))
    if few.any() and not days.size:
        return np.tile(np.where(few, np.nan, 0.0), 2)[:, None]
    unknown = ~(known[days] & np.isfinite(vol[days])) | few
    moves = [np.where(unknown, np.nan, part[days]) for part in (spot, vol)]
    return np.ascontiguousarray(np.concatenate(moves, axis=1).T)


def implied_jump(vol_1: float, years_1: float, vol_2: float, years_2: float) -> float:
    """The standard deviation of the log jump that two implied volatilities put before the first
    expiry: j^2 = (vol_1^2 - vol_2^2) / (1 / years_1 - 1 / years_2).

    Both expiries hold the jump, and the volatility beside it is the same for both:
    vol^2 years = sigma^2 years + j^2 (Dubinsky and Johannes 2006, "Earnings announcements and
    equity options", section 2.2, the term structure estimator). What a rule of an event takes as
    its jump (`EventRule.gap_log_return`) is a multiple of it: of a normal jump 2.3 j is exceeded
    once in a hundred, on the side of the loss.

    Args:
        vol_1, vol_2: implied volatilities at the money, a year; years_1 < years_2: to expiry, both
            after the event.

    Returns:
        j, a log move; NaN where the first volatility is not the higher one: what the jump adds
        cannot be told from a term structure that rises.

    Raises:
        ValueError: a volatility that is not above 0, or times out of order.

    Example:
        >>> sigma, jump = 0.2, 0.08
        >>> def vol(years): return (sigma**2 + jump**2 / years) ** 0.5
        >>> round(implied_jump(vol(0.02), 0.02, vol(0.1), 0.1), 12)
        0.08
        >>> implied_jump(0.2, 0.02, 0.3, 0.1)
        nan
    """
    for name, vol in (("vol_1", vol_1), ("vol_2", vol_2)):
        if not 0.0 < vol < math.inf:
            raise ValueError(f"{name}: got {vol}; allowed: finite and above 0")
    if not 0.0 < years_1 < years_2 < math.inf:
        raise ValueError(
            f"years_1, years_2: got {years_1} and {years_2}; allowed: above 0, the first lower"
        )
    extra = vol_1 * vol_1 - vol_2 * vol_2
    return math.sqrt(extra / (1.0 / years_1 - 1.0 / years_2)) if extra > 0.0 else math.nan
