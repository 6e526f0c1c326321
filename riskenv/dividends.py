"""Cash dividends in option prices, and the forward and yield that quotes of an expiry imply.

A stock that pays known cash amounts before expiry is priced as if these were put aside today: the
escrowed model takes their present value off the spot and leaves the rest to move (Haug, *The
Complete Guide to Option Pricing Formulas*, 2nd ed., 2007, section 9.1; Hull, *Options, Futures, and
Other Derivatives*, the chapter on the Black-Scholes-Merton model, "Dividends"). That serves
European options. American ones are priced with the continuous yield that takes as much off the
forward, `equivalent_yield`. The dates are lost, and with them the reason to exercise a call just
before one or a put just after, so the price is too low where that matters: in the money. Against
finite differences with the dates (`tests/reference/test_dividends.py`): quarterly dividends of
0.6 % of spot, median 0.03 % and at most 0.5 % of spot; one of 1.5 % a day before expiry, calls
1.3 %, at the money 0.8 %; one of 4 %, puts 2.6 %, at the money 0.6 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riskenv.compilation import jit
from riskenv.instruments import NS_PER_YEAR, InstrumentTable
from riskenv.pricing.elementary import exp, log_ratio

FloatArray = NDArray[np.float64]

_LAST_TIME = 2**63 - 1
# What `log_ratio` takes.
_SMALLEST, _LARGEST = 1e-290, 1e290


@dataclass(frozen=True, slots=True)
class Dividend:
    """One cash dividend of a share.

    Attributes:
        ticker: of the underlying.
        ex_time: int64 nanoseconds UTC from which the share trades without it, the open of the
            ex-date. It is valued as if paid then: the weeks until it is paid are left out.
        amount: per share, in the ticker's currency, above 0.

    Raises:
        ValueError: naming the field, the value received and what is allowed.

    Example:
        >>> Dividend("KO", ex_time=1_221_831_000_000_000_000, amount=0.38).amount
        0.38
        >>> Dividend("KO", ex_time=1_221_831_000_000_000_000, amount=0.0)
        Traceback (most recent call last):
            ...
        ValueError: amount: got 0.0; allowed: currency per share above 0
    """

    ticker: str
    ex_time: int
    amount: float

    def __post_init__(self) -> None:
        if not self.ticker:
            raise ValueError(f"ticker: got {self.ticker!r}; allowed: a ticker")
        whole = isinstance(self.ex_time, (int, np.integer)) and not isinstance(self.ex_time, bool)
        if not (whole and 0 < self.ex_time <= _LAST_TIME):
            raise ValueError(f"ex_time: got {self.ex_time!r}; allowed: nanoseconds UTC above 0")
        if not (0.0 < self.amount < math.inf):
            raise ValueError(f"amount: got {self.amount!r}; allowed: currency per share above 0")


def escrowed_value(
    table: InstrumentTable, now: int, rate: ArrayLike, dividends: Iterable[Dividend]
) -> FloatArray:
    """What the cash dividends before each option's expiry are worth now, currency per share.

    The sum of amount * e^{-rate * years} over the dividends of the option's ticker that go ex after
    `now` and at or before its expiry; years = nanoseconds / (365 days). European options are then
    priced at spot less this value, and their Greeks taken there: delta and gamma are those of the
    real spot, as long as the dividends do not move with it; theta and charm in a book count that
    what is owed grows as time passes; rho holds the value of the dividends, which falls as the
    rate rises, where it is (5 % of a year's rho for 5 % of dividends).

    Args:
        table: the n instruments.
        now: int64 nanoseconds UTC.
        rate: continuous, per year: one number, (U,) in the order of `table.underlyings`, or (n,).
        dividends: in any order; of tickers outside the table as well.

    Returns:
        (n,): 0 for underlyings; NaN for options whose rate is not finite.

    Raises:
        ValueError: `rate` has another shape, or a dividend's ticker is a future.

    Source: Hull, the example of section "Dividends": a share at 40 pays 0.50 in two and in five
    months, at 9 % a year.

    Example:
        >>> from riskenv.instruments import Instrument, InstrumentTable
        >>> month = NS_PER_YEAR // 12
        >>> table = InstrumentTable.of(
        ...     [Instrument("X"), Instrument("X", "C", 40.0, 3 * month),
        ...      Instrument("X", "C", 40.0, 6 * month)])
        >>> paid = [Dividend("X", 2 * month, 0.5), Dividend("X", 5 * month, 0.5)]
        >>> escrowed_value(table, 0, 0.09, paid).round(4)
        array([0.    , 0.4926, 0.9742])
    """
    n, u = len(table), len(table.underlyings)
    rates = np.asarray(rate, dtype=np.float64)
    if rates.shape == (u,):
        rates = rates[table.underlying_index]
    elif rates.shape not in ((), (n,)):
        raise ValueError(f"rate: got shape {rates.shape}; allowed: one number, ({u},) or ({n},)")
    futures = {i.underlying for i in table.instruments if i.on_future}
    rows = {ticker: row for row, ticker in enumerate(table.underlyings)}
    # In one order, whatever the caller's: the sum has the same bits.
    due = sorted((d.ex_time, d.amount, d.ticker) for d in dividends if d.ticker in rows)
    for _, _, ticker in due:
        if ticker in futures:
            raise ValueError(f"ticker: got {ticker!r}, a future; allowed: what pays dividends")
    value = np.empty(n)
    _add_up(
        table.kind,
        table.expiry,
        table.underlying_index,
        np.broadcast_to(rates, n).copy(),
        now,
        np.array([ex_time for ex_time, _, _ in due], dtype=np.int64),
        np.array([amount for _, amount, _ in due], dtype=np.float64),
        np.array([rows[ticker] for _, _, ticker in due], dtype=np.int64),
        value,
    )
    return value


@jit
def _add_up(kind, expiry, ticker, rate, now, ex_time, amount, payer, value):  # type: ignore[no-untyped-def]
    for i in range(kind.size):
        value[i] = 0.0
        if kind[i] == 0:
            continue
        # A rate that is no number makes the value none, whether or not a dividend is due.
        total = 0.0 * rate[i]
        for d in range(ex_time.size):
            if payer[d] == ticker[i] and ex_time[d] > now and ex_time[d] <= expiry[i]:
                total += amount[d] * exp(-rate[i] * ((ex_time[d] - now) / NS_PER_YEAR))
        value[i] = total


def equivalent_yield(spot: ArrayLike, value: ArrayLike, years: ArrayLike) -> FloatArray:
    """The continuous yield that takes as much off the forward as dividends worth `value` now.

    -ln(1 - value / spot) / years, per year: spot e^{-yield years} = spot - value. Inputs broadcast.

    Args:
        spot: currency, above 0.
        value: present value of the dividends until expiry, currency, at least 0.
        years: to expiry.

    Returns:
        NaN where value is negative or not below spot, years is not above 0, or an input is no
        number.

    Example:
        >>> equivalent_yield(40.0, [0.0, 0.9742, 40.0], 0.5).round(6)
        array([0.      , 0.049313,      nan])
    """
    s, v, t = _floats(spot, value, years)
    valid = (v >= 0.0) & (s - v >= _SMALLEST) & (s <= _LARGEST) & (t > 0.0) & (t < np.inf)
    return _log_ratio_per_year(s, s - v, t, valid)


def implied_yield(
    forward: ArrayLike, spot: ArrayLike, rate: ArrayLike, years: ArrayLike
) -> FloatArray:
    """The continuous yield at which `spot` has this forward: rate - ln(forward / spot) / years.

    Per year; may be negative. It holds all that parts the forward from the spot: dividends, the
    cost of borrowing the share, and a rate that is not the one given. Inputs broadcast. NaN where
    forward, spot or years is not above 0, or an input is no number.

    Example:
        >>> implied_yield([101.0, 99.0], 100.0, 0.05, 0.5).round(4)
        array([0.0301, 0.0701])
    """
    f, s, r, t = _floats(forward, spot, rate, years)
    valid = (f >= _SMALLEST) & (f <= _LARGEST) & (s >= _SMALLEST) & (s <= _LARGEST)
    valid &= (t > 0.0) & (t < np.inf) & np.isfinite(r)
    return r - _log_ratio_per_year(f, s, t, valid)


def _floats(*values: ArrayLike) -> list[FloatArray]:
    return list(np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in values)))


def _log_ratio_per_year(
    a: FloatArray, b: FloatArray, years: FloatArray, valid: NDArray[np.bool_]
) -> FloatArray:
    out = np.empty(a.size)
    flat = [np.where(valid, x, 1.0).reshape(-1) for x in (a, b, years)]
    _log_ratios(*flat, out)
    return np.where(valid, out.reshape(a.shape), np.nan)


@jit
def _log_ratios(a, b, years, out):  # type: ignore[no-untyped-def]
    for i in range(a.size):
        out[i] = log_ratio(a[i], b[i]) / years[i]


class ImpliedForwardStatus(IntEnum):
    """What became of an expiry. Its forward is a number where this is OK, and NaN elsewhere."""

    OK = 0
    """More than half of the usable strikes agree on it."""
    INVALID_INPUT = 1
    """The rate is not finite, or years not above 0."""
    NO_PAIR = 2
    """No strike has a usable call and a usable put."""
    CONTRADICTORY = 3
    """No forward lies within the quotes of more than half of the usable strikes, or two that
    are apart do so alike."""


class ImpliedForward(NamedTuple):
    """The forward of one expiry.

    Attributes:
        forward: currency; the median of the agreeing strikes' midpoints, within [low, high].
        low, high: what the bids and asks of all the agreeing strikes allow.
        strikes: how many strikes agree.
        usable: how many strikes had two sound quotes.
        status: why the first three are NaN, where they are.
    """

    forward: float
    low: float
    high: float
    strikes: int
    usable: int
    status: ImpliedForwardStatus


def implied_forward(
    strike: ArrayLike,
    call_bid: ArrayLike,
    call_ask: ArrayLike,
    put_bid: ArrayLike,
    put_ask: ArrayLike,
    rate: float,
    years: float,
) -> ImpliedForward:
    """The forward of one expiry, from put-call parity over its strikes.

    Parity: F = K + e^{rate years} (C - P). What can be traded bounds F at each strike to
    [K + e^{rT} (C_bid - P_ask), K + e^{rT} (C_ask - P_bid)]. The answer is the range that the most
    of these intervals share (Marzullo 1984), if more than half do: a stale quote or two then moves
    nothing. Strikes with a quote that is missing, NaN, infinite, negative, crossed, or has an ask
    of 0 are left out.

    EUROPEAN QUOTES ONLY. American prices hold early-exercise premiums, which move the answer by
    e^{rT} (call's premium - put's premium): down with interest, the more the higher the strike, so
    that strikes then contradict each other; up where a dividend is due. For SPY at 3.65 % and a
    yield of 1.1 % that is, at the money, 0.02 % of spot down at one month, 0.05 % at three and
    0.12 % at six, and two or three times as much 3 % above the money. In SPY's quotes of 2021, at
    a rate near 0, it was about 0.04 % up where a dividend went ex before expiry, and 0.15 % where
    on its day, since calls are exercised the evening before. Give it the strikes next to spot: the
    middle of a chain is the least wrong.

    Args:
        strike: (k,) currency, each once, of one expiry and settlement.
        call_bid, call_ask, put_bid, put_ask: (k,) currency per point.
        rate: continuous, per year.
        years: to expiry.

    Raises:
        ValueError: columns of different lengths, or a strike that is given twice.

    Source: Stoll (1969), parity; Marzullo (1984), "Maintaining the Time in a Distributed System",
    the intersection.

    Example:
        >>> found = implied_forward(
        ...     [95., 100., 105.], [7.5, 4.6, 2.5], [7.7, 4.8, 2.7], [2.6, 4.5, 7.4],
        ...     [2.8, 4.7, 7.6], rate=0.0, years=0.25)
        >>> [round(x, 6) for x in found[:3]], found.strikes, found.status.name
        ([100.1, 99.9, 100.1], 3, 'OK')
        >>> implied_forward([100.0], [5.0], [4.0], [5.0], [6.0], 0.0, 0.25).status.name
        'NO_PAIR'
    """
    names = ("strike", "call_bid", "call_ask", "put_bid", "put_ask")
    values = (strike, call_bid, call_ask, put_bid, put_ask)
    columns = [np.asarray(value, dtype=np.float64) for value in values]
    shapes = dict(zip(names, [column.shape for column in columns], strict=True))
    if columns[0].ndim != 1 or len(set(shapes.values())) > 1:
        raise ValueError(f"quotes: got shapes {shapes}; allowed: (k,) each")
    k, c_bid, c_ask, p_bid, p_ask = columns
    levels, times = np.unique(k, return_counts=True)
    if (times > 1).any():
        raise ValueError(f"strike: got {levels[times > 1][0]} twice; allowed: each strike once")

    usable = _sound(c_bid, c_ask) & _sound(p_bid, p_ask) & (k > 0.0) & (k < np.inf)
    n = int(usable.sum())

    def nothing(status: ImpliedForwardStatus) -> ImpliedForward:
        return ImpliedForward(math.nan, math.nan, math.nan, 0, n, status)

    if not (math.isfinite(rate) and 0.0 < years < math.inf):
        return nothing(ImpliedForwardStatus.INVALID_INPUT)
    if n == 0:
        return nothing(ImpliedForwardStatus.NO_PAIR)
    growth = _exp(float(rate) * float(years))
    rounding = 1e-12 * k
    low = (k + growth * (c_bid - p_ask) - rounding)[usable]
    high = (k + growth * (c_ask - p_bid) + rounding)[usable]
    # The most shared range begins at some interval's low end and ends at some high end.
    shared = ((low[None, :] <= low[:, None]) & (low[:, None] <= high[None, :])).sum(axis=1)
    most = int(shared.max())
    begins = np.unique(low[shared == most])
    agree = (low <= begins[0]) & (begins[0] <= high)
    end = float(high[agree].min())
    if 2 * most <= n or begins[-1] > end:
        return nothing(ImpliedForwardStatus.CONTRADICTORY)
    begin = float(low[agree].max())
    middle = float(np.median(0.5 * (low[agree] + high[agree])))
    forward = min(max(middle, begin), end)
    return ImpliedForward(forward, begin, end, most, n, ImpliedForwardStatus.OK)


def _sound(bid: FloatArray, ask: FloatArray) -> NDArray[np.bool_]:
    """Two-sided quotes; written so that a NaN fails."""
    sound: NDArray[np.bool_] = (bid >= 0.0) & (bid <= ask) & (ask > 0.0) & (ask < np.inf)
    return sound


@jit
def _exp(x):  # type: ignore[no-untyped-def]
    return exp(x)
