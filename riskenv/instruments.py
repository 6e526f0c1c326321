"""What can be held: an underlying (a share, an index, a future) or an option on one, and tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from riskenv.arguments import NUMBER, require

NS_PER_SECOND = 1_000_000_000
NS_PER_DAY = 86_400 * NS_PER_SECOND
# The year that option pricing counts in: 365 days.
NS_PER_YEAR = 365 * NS_PER_DAY

_RIGHT_ORDER = {"": 0, "C": 1, "P": 2}


@dataclass(frozen=True, slots=True)
class Instrument:
    """One contract. Its identity is what it pays, never the slot it was traded from.

    Attributes:
        underlying: ticker of the underlying.
        right: "C", "P", or "" for the underlying itself.
        strike: in currency; 0 for the underlying.
        expiry: settlement time, int64 nanoseconds UTC; 0 for the underlying.
        multiplier: currency per point, per contract.
        currency: ISO code.
        exercise: "european" or "american"; of an underlying always the former.
        on_future: whether the underlying is a future: it costs nothing to hold, its gains are
            settled into cash, and its options are priced by Black-76. All instruments of a
            ticker agree on it.

    Raises:
        ValueError: naming the field, the value received and what is allowed.

    Example:
        >>> Instrument("SPX").symbol
        'SPX'
        >>> settlement = 1_221_854_400_000_000_000
        >>> Instrument("SPX", "C", strike=1250.0, expiry=settlement, multiplier=100.0).symbol
        'SPX 2008-09-19 1250 C'
        >>> Instrument("SPX", "call", strike=1250.0, expiry=1)
        Traceback (most recent call last):
            ...
        ValueError: right: got 'call'; allowed: 'C', 'P', or '' for the underlying itself
    """

    underlying: str
    right: str = ""
    strike: float = 0.0
    expiry: int = 0
    multiplier: float = 1.0
    currency: str = "USD"
    exercise: str = "european"
    on_future: bool = False

    def __post_init__(self) -> None:
        if not self.underlying:
            raise ValueError(f"underlying: got {self.underlying!r}; allowed: a ticker")
        if self.right not in _RIGHT_ORDER:
            raise ValueError(
                f"right: got {self.right!r}; allowed: 'C', 'P', or '' for the underlying itself"
            )
        if self.exercise not in ("european", "american"):
            raise ValueError(f"exercise: got {self.exercise!r}; allowed: 'european', 'american'")
        if not (0.0 < self.multiplier < math.inf):
            raise ValueError(f"multiplier: got {self.multiplier!r}; allowed: a number above 0")
        whole = self.expiry == self.expiry and abs(self.expiry) < 2**63
        if not (whole and int(self.expiry) == self.expiry):
            raise ValueError(f"expiry: got {self.expiry!r}; allowed: whole nanoseconds UTC")
        # Numbers of NumPy become Python's: an instrument is written to JSON, and compared.
        for name, plain in (("strike", float), ("expiry", int), ("multiplier", float)):
            object.__setattr__(self, name, plain(getattr(self, name)))
        object.__setattr__(self, "on_future", bool(self.on_future))
        if self.right:
            if not (0.0 < self.strike < math.inf):
                raise ValueError(f"strike: got {self.strike!r}; allowed: a number above 0")
            if not self.expiry > 0:
                raise ValueError(f"expiry: got {self.expiry!r}; allowed: nanoseconds UTC above 0")
        elif self.strike or self.expiry or self.exercise != "european":
            raise ValueError(
                f"strike, expiry, exercise: got {self.strike!r}, {self.expiry!r}, "
                f"{self.exercise!r}; an underlying has none"
            )

    @property
    def is_option(self) -> bool:
        return self.right != ""

    @property
    def symbol(self) -> str:
        """A readable name, not always a unique one; `InstrumentTable.symbols` are unique."""
        if not self.right:
            return self.underlying
        day = datetime.fromtimestamp(self.expiry // NS_PER_SECOND, UTC).date()
        return f"{self.underlying} {day} {self.strike:.15g} {self.right}"

    @property
    def sort_key(self) -> tuple[str, int, int, float, float, str, str, bool]:
        """Canonical order: underlyings first, then calls, then puts, by expiry and strike."""
        return (
            self.underlying,
            _RIGHT_ORDER[self.right],
            self.expiry,
            self.strike,
            self.multiplier,
            self.currency,
            self.exercise,
            self.on_future,
        )


@dataclass(frozen=True, eq=False)
class InstrumentTable:
    """Instruments in canonical order, as columns: the fixed index that books and markets share.

    Every sum over a book runs in this order, so permuting the positions that a caller lists
    changes no bit of any exposure.

    Build one with `InstrumentTable.of(instruments)`, which sorts and drops duplicates.

    Example:
        >>> table = InstrumentTable.of([Instrument("SPX", "P", 900.0, 1), Instrument("SPX")])
        >>> [i.right for i in table.instruments]
        ['', 'P']
        >>> table.index[Instrument("SPX")]
        0
    """

    instruments: tuple[Instrument, ...]

    def __post_init__(self) -> None:
        keys = [instrument.sort_key for instrument in self.instruments]
        if any(a >= b for a, b in pairwise(keys)):
            raise ValueError(
                "instruments: not in canonical order or not unique; build the table with "
                "InstrumentTable.of(instruments)"
            )
        terms: dict[str, Instrument] = {}
        for instrument in self.instruments:
            first = terms.setdefault(instrument.underlying, instrument)
            for name in ("currency", "on_future"):
                values = [getattr(first, name), getattr(instrument, name)]
                if values[0] != values[1]:
                    raise ValueError(
                        f"{name}: got {values} for {instrument.underlying}; allowed: one for all "
                        "instruments of a ticker, which has one price"
                    )

    @classmethod
    def of(cls, instruments: Iterable[Instrument]) -> InstrumentTable:
        return cls(tuple(sorted(set(instruments), key=lambda i: i.sort_key)))

    def __len__(self) -> int:
        return len(self.instruments)

    def part(self, rows: NDArray[np.int64]) -> InstrumentTable:
        """Some of the instruments, of every ticker at least one: columns are taken over, and
        nothing is checked anew.

        Args:
            rows: (k,) which, increasing.

        Raises:
            ValueError: a ticker is left out.

        Example:
            >>> table = InstrumentTable.of(
            ...     Instrument("SPX", "C", strike, 1) for strike in (900.0, 950.0, 1000.0))
            >>> table.part(np.array([0, 2])).strike.tolist()
            [900.0, 1000.0]
        """
        whole = self.whole.take(rows, axis=1)
        ticker = whole[2]
        if np.count_nonzero(ticker[1:] != ticker[:-1]) + 1 != len(self.underlyings):
            raise ValueError(f"rows: got none of some of {self.underlyings}; allowed: of each")
        part: InstrumentTable = object.__new__(InstrumentTable)
        part.__dict__.update(
            instruments=tuple(map(self.instruments.__getitem__, rows.tolist())),
            underlyings=self.underlyings,
            underlying_index=ticker,
            currency=self.currency,
            whole=whole,
            real=self.real.take(rows, axis=1),
        )
        return part

    @cached_property
    def index(self) -> dict[Instrument, int]:
        return {instrument: row for row, instrument in enumerate(self.instruments)}

    def column(self, instrument: Instrument, what: str) -> int:
        """Where the instrument stands in the table.

        Args:
            what: the argument that it came in, for the error.

        Raises:
            ValueError: the table lacks it; one of the same name is told apart.

        Example:
            >>> mini = Instrument("SPX", "C", 1250.0, 1_221_854_400_000_000_000, 10.0)
            >>> table = InstrumentTable.of([mini])
            >>> table.column(Instrument("SPX", "C", 1250.0, mini.expiry, 100.0), "order")
            Traceback (most recent call last):
                ...
            ValueError: order: SPX 2008-09-19 1250 C with multiplier 100.0 is not in the market \
snapshot, which has it with multiplier 10.0; whatever is held or traded needs a quote
        """
        column = self.index.get(instrument)
        if column is not None:
            return column
        mine, has = "", ""
        for other in self.instruments:
            if other.symbol == instrument.symbol:
                names = [f.name for f in fields(other)]
                names = [n for n in names if getattr(other, n) != getattr(instrument, n)]
                mine = " with " + ", ".join(f"{n} {getattr(instrument, n)}" for n in names)
                has = ", which has it with " + ", ".join(f"{n} {getattr(other, n)}" for n in names)
        raise ValueError(
            f"{what}: {instrument.symbol}{mine} is not in the market snapshot{has}; "
            "whatever is held or traded needs a quote"
        )

    def vector(self, lots: Mapping[Instrument, float], what: str) -> NDArray[np.float64]:
        """(n,) signed contracts in the order of the table; raises as `column` does.

        Raises:
            TypeError: what is no instrument, or no number.

        Example:
            >>> spx, spy = Instrument("SPX"), Instrument("SPY")
            >>> InstrumentTable.of([spx, spy]).vector({spy: -2.0}, "trades").tolist()
            [0.0, -2.0]
        """
        out = np.zeros(len(self))
        for instrument, number in lots.items():
            require(Instrument, instrument=instrument)
            require(NUMBER, **{f"{what}[{instrument.symbol}]": number})
            out[self.column(instrument, what)] = number
        return out

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """A name for each instrument, no two alike: where a day has two settlements, or a ticker
        two multipliers, the name says which.

        Example:
            >>> morning, close = 1_221_831_000_000_000_000, 1_221_854_400_000_000_000
            >>> table = InstrumentTable.of(
            ...     Instrument("SPX", "C", 1250.0, time, 100.0) for time in (morning, close))
            >>> table.symbols[0]
            'SPX 2008-09-19 1250 C (1250.0, 1221831000000000000, 100.0)'
        """
        count = Counter(instrument.symbol for instrument in self.instruments)
        return tuple(
            i.symbol if count[i.symbol] == 1 else f"{i.symbol} {_terms(i)}"
            for i in self.instruments
        )

    @cached_property
    def underlyings(self) -> tuple[str, ...]:
        """Tickers in sorted order, (U,)."""
        return tuple(sorted({instrument.underlying for instrument in self.instruments}))

    @cached_property
    def underlying_index(self) -> NDArray[np.int64]:
        """Row of each instrument's ticker in `underlyings`, (n,). Never falls: the canonical
        order keeps the instruments of a ticker together."""
        rows = {ticker: u for u, ticker in enumerate(self.underlyings)}
        return np.array([rows[i.underlying] for i in self.instruments], dtype=np.int64)

    @cached_property
    def own_rows(self) -> NDArray[np.int64]:
        """0 to n - 1: where each instrument lies in arrays over this very table, (n,)."""
        return np.arange(len(self), dtype=np.int64)

    @cached_property
    def currency(self) -> tuple[str, ...]:
        """Currency of each ticker of `underlyings`, (U,)."""
        of = {instrument.underlying: instrument.currency for instrument in self.instruments}
        return tuple(of[ticker] for ticker in self.underlyings)

    @cached_property
    def whole(self) -> NDArray[np.int64]:
        """(5, n) for compiled loops: kind, expiry, underlying_index, american, on_future."""
        american = [i.exercise == "american" for i in self.instruments]
        future = [i.on_future for i in self.instruments]
        sign = {"": 0, "C": 1, "P": -1}
        return np.array(
            [
                [sign[i.right] for i in self.instruments],
                [i.expiry for i in self.instruments],
                self.underlying_index,
                american,
                future,
            ],
            dtype=np.int64,
        ).reshape(5, len(self))

    @cached_property
    def real(self) -> NDArray[np.float64]:
        """(2, n) for compiled loops: strike, multiplier."""
        columns = [[i.strike for i in self.instruments], [i.multiplier for i in self.instruments]]
        return np.array(columns, dtype=np.float64).reshape(2, len(self))

    @property
    def kind(self) -> NDArray[np.int64]:
        """+1 call, -1 put, 0 the underlying itself, (n,)."""
        column: NDArray[np.int64] = self.whole[0]
        return column

    @property
    def expiry(self) -> NDArray[np.int64]:
        column: NDArray[np.int64] = self.whole[1]
        return column

    @property
    def strike(self) -> NDArray[np.float64]:
        column: NDArray[np.float64] = self.real[0]
        return column

    @property
    def multiplier(self) -> NDArray[np.float64]:
        column: NDArray[np.float64] = self.real[1]
        return column

    @cached_property
    def american(self) -> NDArray[np.bool_]:
        """(n,) options that may be exercised early."""
        return np.asarray(self.whole[3] != 0)

    @cached_property
    def on_future(self) -> NDArray[np.bool_]:
        """(n,) futures, and options on them."""
        return np.asarray(self.whole[4] != 0)


def _terms(i: Instrument) -> tuple[float | str, ...]:
    """What tells two instruments of one readable name apart."""
    more = ("american",) if i.exercise == "american" else ()
    return (i.strike, i.expiry, i.multiplier, *more)
