"""What a back-test refuses: probabilities that read as confidences, and P&L or forecasts of a wrong
sign, shape or length."""

from __future__ import annotations

import operator

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def check_tail(tail_probability: float) -> None:
    """Refuse what is no tail probability, such as a confidence.

    Example:
        >>> check_tail(0.99)   # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: tail_probability: got 0.99; allowed: above 0 and below 0.5 (99 % ...
    """
    if not 0.0 < tail_probability < 0.5:
        raise ValueError(
            f"tail_probability: got {tail_probability!r}; allowed: above 0 and below 0.5 "
            "(99 % confidence is 0.01 here, never 0.99)"
        )


def check_level(level: float) -> None:
    """Refuse what is no level of a test, such as a confidence.

    Example:
        >>> check_level(0.95)   # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: level: got 0.95; allowed: above 0 and below 0.5 (the probability of ...
    """
    if not 0.0 < level < 0.5:
        raise ValueError(
            f"level: got {level!r}; allowed: above 0 and below 0.5 (the probability of rejecting a "
            "correct model: 0.05, never 0.95)"
        )


def checked_counts(exceptions: int, days: int) -> tuple[int, int]:
    """Both as Python's own integers, none below 0, no more exceptions than days.

    Example:
        >>> checked_counts(np.int64(3), 250)
        (3, 250)
    """
    x, n = checked_count("exceptions", exceptions), checked_count("days", days)
    if x > n:
        raise ValueError(f"exceptions: got {x}; allowed: at most the {n} days")
    return x, n


def checked_count(name: str, value: int) -> int:
    """The number as Python's own integer, not below 0.

    Raises:
        TypeError: no integer. ValueError: below 0.

    Example:
        >>> checked_count("days", -1)
        Traceback (most recent call last):
            ...
        ValueError: days: got -1; allowed: 0 or more
    """
    if operator.index(value) < 0:
        raise ValueError(f"{name}: got {value!r}; allowed: 0 or more")
    return operator.index(value)


def known_pair(pnl: ArrayLike, var: ArrayLike) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """(T,) P&L, (T,) VaR, and (T,) where both are known.

    Raises:
        ValueError: no (T,), different lengths, an infinity, or a positive VaR.

    Example:
        >>> known_pair([1.0, np.nan, -3.0], [-2.0, -2.0, -2.0])[2].tolist()
        [True, False, True]
    """
    came = _series("pnl", pnl)
    forecast = forecast_series("var", var, len(came))
    return came, forecast, ~(np.isnan(came) | np.isnan(forecast))


def forecast_series(name: str, values: ArrayLike, days: int) -> Floats:
    """(T,) VaR or ES, <= 0 or NaN, one for each day of P&L.

    Example:
        >>> forecast_series("es", [-3, -2], days=2).tolist()
        [-3.0, -2.0]
    """
    series = _series(name, values)
    if len(series) != days:
        raise ValueError(f"{name}: got {len(series)} days; allowed: the {days} of pnl")
    refuse_days(name, series, series > 0.0, "at most 0 (losses are negative), or NaN for Unknown")
    return series


def _series(name: str, values: ArrayLike) -> Floats:
    series = np.asarray(values, dtype=np.float64)
    if series.ndim != 1:
        raise ValueError(f"{name}: got shape {series.shape}; allowed: (T,)")
    refuse_days(name, series, np.isinf(series), "finite, or NaN for Unknown")
    return series


def refuse_days(name: str, series: Floats, refused: NDArray[np.bool_], allowed: str) -> None:
    """Name the first day that is refused, if there is one.

    Example:
        >>> refuse_days("es", np.array([-1.0, 2.0]), np.array([False, True]), "at most 0")
        Traceback (most recent call last):
            ...
        ValueError: es[1]: got 2.0; allowed: at most 0
    """
    if refused.any():
        day = int(refused.argmax())
        raise ValueError(f"{name}[{day}]: got {float(series[day])!r}; allowed: {allowed}")
