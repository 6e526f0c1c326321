"""OCC option symbols: 21 characters padded, or unpadded as brokers send them.

Format: root (up to 6 characters, padded with blanks), date as yymmdd, "C" or "P", strike times
1,000 in 8 digits. Source: The Options Clearing Corporation, Options Symbology Initiative (2010).
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

import numpy as np

from riskenv.instruments import NS_PER_DAY, Instrument
from riskenv.sessions import CalendarRangeError, Sessions

_SYMBOL = re.compile(
    r"(?P<root>[A-Z0-9]{1,6}) {0,5}(?P<date>\d{6})(?P<right>[CP])(?P<strike>\d{8})"
)
_UNIX_EPOCH = datetime.date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class OccSymbol:
    """What an OCC symbol says. The root is not always the ticker: an adjusted contract after a
    split or merger has a digit at its end, weekly index options a root of their own (SPXW).

    Raises:
        ValueError: naming the field, the value received and what is allowed.

    Example:
        >>> OccSymbol.parse("AAPL231103C00170000")
        OccSymbol(root='AAPL', date=datetime.date(2023, 11, 3), right='C', strike=170.0)
        >>> OccSymbol.parse("SPXW  230818P04375500").padded
        'SPXW  230818P04375500'
        >>> OccSymbol.parse("AAPL 2023-11-03 170 C")
        Traceback (most recent call last):
            ...
        ValueError: symbol: got 'AAPL 2023-11-03 170 C'; allowed: an OCC symbol such as \
'AAPL  231103C00170000', padded or not
    """

    root: str
    date: datetime.date
    right: str
    strike: float

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Z0-9]{1,6}", self.root):
            raise ValueError(f"root: got {self.root!r}; allowed: 1 to 6 capital letters or digits")
        if not 2000 <= self.date.year <= 2099:
            raise ValueError(f"date: got {self.date}; allowed: years 2000 to 2099, two digits tell")
        if self.right not in ("C", "P"):
            raise ValueError(f"right: got {self.right!r}; allowed: 'C', 'P'")
        if not (0.0 < self.strike < 1e5 and self.strike == round(self.strike, 3)):
            raise ValueError(
                f"strike: got {self.strike!r}; allowed: above 0, below 100,000, in thousandths"
            )

    @classmethod
    def parse(cls, symbol: str) -> OccSymbol:
        found = _SYMBOL.fullmatch(symbol.strip())
        try:
            if found is None or (" " in symbol.strip() and len(symbol.strip()) != 21):
                raise ValueError
            day = datetime.datetime.strptime("20" + found["date"], "%Y%m%d").date()
        except ValueError:
            raise ValueError(
                f"symbol: got {symbol!r}; allowed: an OCC symbol such as "
                "'AAPL  231103C00170000', padded or not"
            ) from None
        return cls(found["root"], day, found["right"], int(found["strike"]) / 1000.0)

    @property
    def padded(self) -> str:
        """21 characters."""
        return f"{self.root:<6}{self._tail}"

    @property
    def unpadded(self) -> str:
        return f"{self.root}{self._tail}"

    @property
    def _tail(self) -> str:
        return f"{self.date:%y%m%d}{self.right}{round(self.strike * 1000):08d}"


def settlement_time(date: datetime.date, sessions: Sessions, am: bool = False) -> int:
    """When an option dated `date` settles, int64 nanoseconds UTC.

    On the last session on or before the date: a Saturday (as monthly options were dated until
    2015) or a holiday is no session. At that session's close, or for AM-settled index options
    (SPX monthlies, not SPXW) at its open.

    Raises:
        CalendarRangeError: the date lies outside the calendar.

    Example:
        >>> hour, day = 3_600 * 10**9, 86_400 * 10**9
        >>> friday = 17_424 * day           # 2017-09-15
        >>> sessions = Sessions(np.array([friday]) + 13 * hour, np.array([friday]) + 20 * hour)
        >>> settlement_time(datetime.date(2017, 9, 15), sessions) == friday + 20 * hour
        True
    """
    midnight = (date - _UNIX_EPOCH).days * NS_PER_DAY
    row = int(np.searchsorted(sessions.closes, midnight + NS_PER_DAY, side="left")) - 1
    beyond = row == len(sessions.closes) - 1 and sessions.closes[row] < midnight
    if row < 0 or beyond:
        raise CalendarRangeError(
            f"date: got {date}; the calendar covers {sessions.opens[0]} to "
            f"{sessions.closes[-1]} (nanoseconds UTC)"
        )
    return int(sessions.opens[row] if am else sessions.closes[row])


def instrument_from_occ(
    symbol: str,
    sessions: Sessions,
    *,
    underlying: str | None = None,
    multiplier: float = 100.0,
    am: bool = False,
    exercise: str,
    currency: str = "USD",
) -> Instrument:
    """The contract of an OCC symbol.

    Args:
        exercise: "american", as options on shares and funds (SPY) are, or "european", as SPX and
            most other index options: the symbol does not say, and so it must be.
        underlying: the ticker, where it is not the root (SPXW is on SPX).
        multiplier: currency per point: 100, 10 for minis, other numbers after an adjustment (a
            7-for-1 split of a standard contract leaves seven contracts of 100).
        am: settled at the open.
        currency: ISO code.

    Raises:
        ValueError: not an OCC symbol, or another exercise.
        CalendarRangeError: its date lies outside the calendar.

    Example:
        >>> hour, day = 3_600 * 10**9, 86_400 * 10**9
        >>> friday = 17_424 * day           # 2017-09-15
        >>> sessions = Sessions(np.array([friday]) + 13 * hour, np.array([friday]) + 20 * hour)
        >>> standard = instrument_from_occ("SPX   170915C02500000", sessions, am=True,
        ...                                exercise="european")
        >>> (standard.expiry - friday) // hour, standard.multiplier
        (13, 100.0)
    """
    parsed = OccSymbol.parse(symbol)
    return Instrument(
        underlying or parsed.root,
        parsed.right,
        parsed.strike,
        settlement_time(parsed.date, sessions, am),
        multiplier,
        exercise=exercise,
        currency=currency,
    )
