"""Daily closes of two indices, 1999 to 2018, and VIX where it is known: real, and no download."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from arch.data import nasdaq, sp500, vix
from numpy.typing import ArrayLike, NDArray
from riskenv.data.calendars import exchange_sessions, session_dates

from riskenv.sessions import Sessions


@dataclass(frozen=True, eq=False)
class PriceHistory:
    """Closes on consecutive exchange sessions.

    Attributes:
        underlyings: tickers, sorted.
        sessions: the D sessions.
        close: (D, U) index points, positive and finite.
        vix: (D,) VIX close in vol points; NaN where it is not known, never carried forward. Cboe
            computes it until 15 minutes after the stock close, so a row is complete 15 minutes
            late.

    Raises:
        ValueError: a wrong shape, or a price that is not positive and finite, naming its date.
    """

    underlyings: tuple[str, ...]
    sessions: Sessions
    close: NDArray[np.float64]
    vix: NDArray[np.float64]

    def __post_init__(self) -> None:
        if list(self.underlyings) != sorted(set(self.underlyings)):
            raise ValueError(f"underlyings: got {self.underlyings}; allowed: sorted and unique")
        days = len(self.sessions.closes)
        for name, shape in (("close", (days, len(self.underlyings))), ("vix", (days,))):
            array = np.array(getattr(self, name), dtype=np.float64)
            if array.shape != shape:
                raise ValueError(f"{name}: got shape {array.shape}; allowed: {shape}")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        self._check("close", ((self.close > 0.0) & (self.close < np.inf)).all(axis=1))
        self._check("vix", np.isnan(self.vix) | ((self.vix > 0.0) & (self.vix < np.inf)))

    def _check(self, name: str, good: ArrayLike) -> None:
        bad_rows = np.flatnonzero(~np.asarray(good))
        if len(bad_rows):
            row = int(bad_rows[0])
            raise ValueError(
                f"{name}: got {getattr(self, name)[row]} on {session_dates(self.sessions)[row]}; "
                "allowed: positive and finite" + (" or NaN" if name == "vix" else "")
            )

    def first(self, days: int) -> PriceHistory:
        """The history as it stood after its first `days` sessions."""
        sessions = Sessions(self.sessions.opens[:days], self.sessions.closes[:days])
        return PriceHistory(self.underlyings, sessions, self.close[:days], self.vix[:days])


def load_price_history() -> PriceHistory:
    """S&P 500 ("SPX") and NASDAQ composite ("IXIC") closes and VIX, as bundled with `arch`.

    Closes run from 1999-01-04 to 2018-12-31, VIX from 2014-01-03. They are index levels without
    dividends; both series come from Yahoo Finance, VIX from FRED (arch documentation, "Data").

    Raises:
        ValueError: the dates are not exactly the sessions of XNYS, or a price is invalid.
    """
    spx, ixic = sp500.load()["Close"], nasdaq.load()["Close"]
    sessions = exchange_sessions(spx.index[0].date(), spx.index[-1].date(), "XNYS")
    dates = pd.DatetimeIndex(session_dates(sessions))
    for name, series in (("SPX", spx), ("IXIC", ixic)):
        refuse_other_dates(name, pd.DatetimeIndex(series.index), dates)
    # VIX has rows on holidays, without values, and starts later: reindexing leaves NaN.
    known = vix.load()["vix"].reindex(dates)
    return PriceHistory(
        underlyings=("IXIC", "SPX"),
        sessions=sessions,
        close=np.column_stack([ixic.to_numpy(), spx.to_numpy()]),
        vix=known.to_numpy(),
    )


def refuse_other_dates(name: str, found: pd.DatetimeIndex, sessions: pd.DatetimeIndex) -> None:
    """Raise ValueError unless `found` is exactly `sessions`, naming the first difference."""
    if len(found) == len(sessions) and (found == sessions).all():
        return
    if not (found.is_monotonic_increasing and found.is_unique):
        raise ValueError(f"{name}: dates must increase and none may come twice")
    missing, extra = sessions.difference(found), found.difference(sessions)
    raise ValueError(
        f"{name}: got {len(missing)} sessions without a price"
        + (f" (first {missing[0].date()})" if len(missing) else "")
        + f" and {len(extra)} prices without a session"
        + (f" (first {extra[0].date()})" if len(extra) else "")
        + "; allowed: exactly the exchange's sessions"
    )
