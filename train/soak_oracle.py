"""A second opinion on every decision of a soak: the book's measures in plain NumPy, and the caps.

It shares no arithmetic with the risk layer: exposures from the Black-Scholes-Merton formulas and
the pricing equation (Hull 2018, chapters 15 and 19), tails by sorting, caps as they were
configured. What a quote hides from the layer it is told: it holds the hidden number against the
caps, which whatever bounds the layer used must have covered. Of American options it takes the
layer's per-contract numbers, which are checked against other pricers elsewhere; all that follows
from them is its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr  # type: ignore[import-untyped, unused-ignore]

from riskenv import InstrumentTable

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

DAY = 86_400 * 10**9
YEAR = 365 * DAY
NET = (
    "delta", "dollar_delta", "gamma", "dollar_gamma", "theta", "vega",
    "rho", "vanna", "volga", "charm", "beta_delta",
)  # fmt: skip
GROSS = ("gross_delta", "gross_dollar_delta", "notional", "contracts", "margin")
TAILS = ("var_1d", "es_1d", "var_3d", "es_3d", "var_5d", "es_5d", "gap_loss")
HORIZONS = (1, 3, 5)
BUCKETS = {
    "0-1d": (0, 1), "1-7d": (1, 7), "7-30d": (7, 30), "30-90d": (30, 90), "90-365d": (90, 365),
}  # fmt: skip

# Relative to the sum of sizes, which is what rounding in a sum scales with.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class SoakCap:
    """One cap as it was configured: kind "" (whole book), "underlying", "expiry" or "strategy"."""

    measure: str
    kind: str
    scope: str
    amount: float
    of_equity: bool = False


@dataclass(frozen=True, eq=False)
class Truth:
    """What is so at one instant, whatever the quotes say.

    Attributes:
        spot, carry, beta: (U,) price, dividend yield, beta; vol: (n,); rate: per year.
        american: rows of American options -> their eleven exposures, None where there are none.
        mid: (n,) what is quoted where nothing is garbage, for margin.
        hidden: (n,) instruments whose quote shows none of it; hidden_beta: (U,) likewise.
    """

    now: int
    table: InstrumentTable
    spot: FloatArray
    vol: FloatArray
    rate: float
    carry: FloatArray
    beta: FloatArray
    index_spot: float
    american: FloatArray | None
    mid: FloatArray
    hidden: BoolArray
    hidden_beta: BoolArray


def option_values(
    spot: FloatArray, strike: FloatArray, years: FloatArray, rate: float, carry: FloatArray,
    vol: FloatArray, kind: NDArray[np.int64],
) -> FloatArray:  # fmt: skip
    """Of one point: the Black-Scholes-Merton price, intrinsic at and after expiry, spot for kind 0.

    Example:
        >>> one = np.ones(1)
        >>> price = option_values(100 * one, 100 * one, one, 0.0, 0 * one, 0.2 * one, np.array([1]))
        >>> round(float(price[0]), 4)
        7.9656
    """
    left = np.maximum(years, 1e-9)  # what is over is overwritten below
    sd = np.where(kind == 0, 1.0, vol) * np.sqrt(left)
    d1 = (np.log(spot / strike) + (rate - carry) * left) / sd + 0.5 * sd
    paid = strike * np.exp(-rate * years) * ndtr(kind * (d1 - sd))
    value = kind * (spot * np.exp(-carry * years) * ndtr(kind * d1) - paid)
    value = np.where(years > 0.0, value, np.maximum(kind * (spot - strike), 0.0))
    return np.asarray(np.where(kind == 0, spot, value))


def exposures_of(truth: Truth) -> FloatArray:
    """(n, 11) of one contract in the order of `NET`; what has expired has none."""
    table, kind = truth.table, truth.table.kind
    u = table.underlying_index
    spot, r = truth.spot[u], truth.rate
    q = np.where(table.on_future, r, truth.carry[u])
    years = (table.expiry - truth.now) / YEAR
    option = (kind != 0) & (years > 0.0)
    strike = np.where(option, table.strike, 1.0)
    years, vol = np.where(option, years, 1.0), np.where(option, truth.vol, 1.0)
    sd = vol * np.sqrt(years)
    d1 = (np.log(spot / strike) + (r - q + vol**2 / 2) * years) / sd
    held, owed = np.exp(-q * years), np.exp(-r * years)
    density = np.exp(-(d1**2) / 2) / np.sqrt(2 * np.pi)
    delta = held * kind * ndtr(kind * d1)
    gamma = held * density / (spot * sd)
    vega = spot * held * density * np.sqrt(years)
    value = spot * delta - kind * strike * owed * ndtr(kind * (d1 - sd))
    theta = r * value - (r - q) * spot * delta - vol**2 * spot**2 * gamma / 2
    rho = kind * strike * years * owed * ndtr(kind * (d1 - sd))
    rho = np.where(table.on_future, -years * value, rho)
    vanna, volga = vega / spot * (1.0 - d1 / sd), vega * d1 * (d1 - sd) / vol
    speed = -gamma / spot * (d1 / sd + 1.0)
    charm = q * delta - (r - q + vol**2) * spot * gamma - vol**2 * spot**2 * speed / 2
    X = np.column_stack(
        [delta, delta * spot, gamma, gamma * spot**2 / 100, theta / 365, vega / 100, rho / 100,
         vanna / 100, volga / 100**2, charm / 365, delta * spot]
    )  # fmt: skip
    X[~option] = 0.0
    X[kind == 0, 0] = 1.0
    X[kind == 0, 1] = X[kind == 0, 10] = spot[kind == 0]
    X[:, 10] *= truth.beta[u] / truth.index_spot
    X *= table.multiplier[:, None]
    if truth.american is not None:
        rows = table.american & option
        X[rows] = truth.american[rows]
        X[rows, 10] = X[rows, 1] * (truth.beta[u] / truth.index_spot)[rows]
    return np.asarray(X)


def gross_of(truth: Truth, X: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(n, 5) what a long and what a short contract adds to each measure of `GROSS`.

    Margin by the defaults of `MarginRule`: half of shares, a tenth of futures, of a short option
    its price and a fifth of the spot less what it is out of the money, a tenth at least.
    """
    table, kind = truth.table, truth.table.kind
    spot = truth.spot[table.underlying_index]
    option = kind != 0
    long = np.zeros((len(table), len(GROSS)))
    long[:, 0], long[:, 1] = np.abs(X[:, 0]), np.abs(X[:, 1])
    long[:, 2] = table.multiplier * spot
    long[:, 3] = option | table.on_future
    long[:, 4] = np.where(option, 0.0, long[:, 2] * np.where(table.on_future, 0.1, 0.5))
    short = long.copy()
    out = np.maximum(kind * (table.strike - spot), 0.0)
    least = 0.1 * np.where(kind > 0, spot, table.strike)
    asked = table.multiplier * (truth.mid + np.maximum(0.2 * spot - out, least))
    short[option, 4] = asked[option]
    return long, short


def pnl_of(
    truth: Truth, log_return: FloatArray, log_vol: FloatArray, elapsed: int
) -> FloatArray:  # fmt: skip
    """(n, S) P&L of one contract when each ticker moves by (U, S) and `elapsed` ns pass."""
    table, u = truth.table, truth.table.underlying_index
    kind, strike = table.kind[:, None], np.where(table.kind == 0, 1.0, table.strike)[:, None]
    spot, vol = truth.spot[u][:, None], truth.vol[:, None]
    carry = np.where(table.on_future, truth.rate, truth.carry[u])[:, None]
    years = np.where(table.kind == 0, 1.0, (table.expiry - truth.now) / YEAR)[:, None]
    now = option_values(spot, strike, years, truth.rate, carry, vol, kind)
    moved, vols = spot * np.exp(log_return[u]), vol * np.exp(log_vol[u])
    later = option_values(moved, strike, years - elapsed / YEAR, truth.rate, carry, vols, kind)
    return np.asarray((later - now) * table.multiplier[:, None])


def tail_of(pnl: FloatArray, p: float) -> tuple[float, float]:
    """(VaR, ES) of equally likely P&Ls: the worst outcomes until weight p is used up.

    Example:
        >>> tail_of(np.arange(-10.0, 90.0), 0.025)   # (-10 - 9 - 8 / 2) / 2.5
        (-8.0, -9.2)
    """
    size = len(pnl)
    count = int(np.ceil(p * size - 1e-7))
    worst = np.sort(np.partition(pnl, count - 1)[:count])
    weight = np.full(count, 1.0 / size)
    weight[-1] = p - (count - 1) / size
    return min(0.0, float(worst[-1])), min(0.0, float(weight @ worst) / p)


class Oracle:
    """The caps of one instant, and whether a trade keeps them.

    Args:
        truth: what is so; caps: as configured; factor: of events, on every cap.
        equity: the account's, NaN = nobody knows; working: (K, n) orders.
        P: blocks (n, S) of the three horizons and the jumps; None where there is no history.
        p: tail probability.
        unseen: (n,) instruments that the layer calls Unknown: of a trade in them, and of tails
            of a book with them, it need only be so that positions shrink.
    """

    def __init__(
        self,
        truth: Truth,
        caps: Sequence[SoakCap],
        factor: float,
        equity: float,
        working: FloatArray | None,
        P: Sequence[FloatArray] | None,
        p: float,
        unseen: BoolArray,
    ) -> None:
        self.truth, self.P, self.p = truth, P, p
        self.unseen = unseen | truth.hidden
        orders = np.zeros((0, len(truth.table))) if working is None else working
        self.orders = orders
        X = exposures_of(truth)
        long, short = gross_of(truth, X)
        columns: dict[str, FloatArray] = {m: X[:, j] for j, m in enumerate(NET)}
        longs, shorts = (dict(zip(GROSS, side.T, strict=True)) for side in (long, short))
        money = equity if equity > 0.0 else 0.0
        self.caps = [cap for cap in caps if P is not None or cap.measure not in TAILS]
        self.limit = np.array([c.amount * (money if c.of_equity else 1.0) for c in self.caps])
        self.limit *= factor
        # Books -> the rows of caps on them, as (n, R) weights of a long and of a short contract.
        self.rows: dict[str, tuple[list[int], FloatArray, FloatArray]] = {}
        self.tails: list[tuple[int, int]] = []
        parts: dict[str, list[tuple[int, FloatArray, FloatArray]]] = {}
        for k, cap in enumerate(self.caps):
            if cap.measure in TAILS:
                self.tails.append((k, TAILS.index(cap.measure)))
                continue
            member = self._members(cap)
            if cap.measure in GROSS:
                up, down = longs[cap.measure] * member, shorts[cap.measure] * member
            else:
                up = columns[cap.measure] * member
                down = -up
            book = cap.scope if cap.kind == "strategy" else ""
            parts.setdefault(book, []).append((k, up, down))
        for book, rows in parts.items():
            self.rows[book] = (
                [row[0] for row in rows],
                np.column_stack([row[1] for row in rows]),
                np.column_stack([row[2] for row in rows]),
            )
        self.one_sided = np.array([c.measure in ("theta", *TAILS) for c in self.caps], dtype=bool)
        self.low, self.high = -self.limit, np.where(self.one_sided, np.inf, self.limit)
        gross = np.array([c.measure in GROSS for c in self.caps], dtype=bool)
        self.low[gross] = -np.inf
        self.pending = np.zeros((2, len(self.caps)))
        for at, up, down in self.rows.values():
            for order in orders:
                fill = _sum(order, up, down)
                self.pending[0, at] += np.minimum(fill, 0.0)
                self.pending[1, at] += np.maximum(fill, 0.0)
        self.pending[0, gross] = self.pending[1, gross]
        self.worst_fills = (
            [] if P is None else [np.minimum(orders @ block, 0.0).sum(axis=0) for block in P]
        )

    def _members(self, cap: SoakCap) -> BoolArray:
        table = self.truth.table
        if cap.kind == "underlying":
            return np.array([i.underlying == cap.scope for i in table.instruments])
        if cap.kind == "expiry":
            low, high = BUCKETS[cap.scope]
            left = (table.expiry - self.truth.now) / DAY
            return np.asarray((table.kind != 0) & (left > low) & (left <= high))
        return np.ones(len(table), dtype=bool)

    def measures(self, books: Mapping[str, FloatArray], tails: bool) -> FloatArray:
        """(2, R) ends of each capped measure; NaN for tails that are not asked for."""
        ends = np.full((2, len(self.caps)), np.nan)
        for book, (at, up, down) in self.rows.items():
            q = books.get(book)
            ends[:, at] = (0.0 if q is None else _sum(q, up, down)) + self.pending[:, at]
        if tails and self.P is not None:
            pnl = [
                books[""] @ block + fill
                for block, fill in zip(self.P, self.worst_fills, strict=True)
            ]
            found: dict[int, tuple[float, float]] = {}
            for k, j in self.tails:
                if j == len(TAILS) - 1:
                    ends[:, k] = min(0.0, float(pnl[3].min(initial=0.0)))
                    continue
                if j // 2 not in found:
                    found[j // 2] = tail_of(pnl[j // 2], self.p)
                ends[:, k] = found[j // 2][j % 2]
        return ends

    def breaches(
        self, books: Mapping[str, FloatArray], trade: FloatArray, strategy: str
    ) -> Iterator[str]:
        """What a non-empty trade of a strategy ("" = none) does that it must not, in words."""
        q, legs = books[""], trade != 0.0
        if not np.isfinite(trade).all():
            yield f"a trade of {trade}"
            return
        yield from self._entries(q, trade)
        if (self.unseen & legs).any():
            return  # shrinking it is all that was asked
        in_use = (q != 0.0) | legs | (self.orders != 0.0).any(axis=0)
        tails = bool(self.tails) and not (self.unseen & in_use).any()
        after = {**books, "": q + trade}
        if strategy:
            after[strategy] = books.get(strategy, 0.0) + trade
        b, x = self.measures(books, tails), self.measures(after, tails)
        judged = np.array([tails or cap.measure not in TAILS for cap in self.caps], dtype=bool)
        if self._beta_hidden(legs):  # judged as an entry above
            judged &= np.array([cap.measure != "beta_delta" for cap in self.caps], dtype=bool)
        if not (self._kept(b, x, np.zeros(len(judged))) | ~judged).all():
            slack = TOLERANCE * self.scale(books, after, tails)
            for k in np.flatnonzero(~self._kept(b, x, slack) & judged):
                cap = self.caps[k]
                yield (
                    f"{cap.measure}[{cap.scope}]: {b[:, k]} -> {x[:, k]}, "
                    f"cap [{self.low[k]}, {self.high[k]}]"
                )

    def _entries(self, q: FloatArray, trade: FloatArray) -> Iterator[str]:
        """Legs that grow or turn a position in what is Unknown, or beside what is and is held."""
        after = q + trade
        if not after.any():
            return
        table = self.truth.table
        grows = (trade != 0.0) & ((np.abs(after) > np.abs(q)) | (after * q < 0.0))
        closed = self.unseen.copy()
        in_use = (q != 0.0) | (self.orders != 0.0).any(axis=0)
        for i in np.flatnonzero(self.truth.hidden & in_use):
            same = table.underlying_index == table.underlying_index[i]
            closed |= same & (table.expiry == table.expiry[i])
        for i in np.flatnonzero(grows & closed):
            yield f"entry in the Unknown {table.symbols[i]}: {q[i]} -> {after[i]}"
        hidden = self.truth.hidden_beta[table.underlying_index]
        for cap in self.caps:
            if cap.measure == "beta_delta" and cap.kind != "strategy":
                for i in np.flatnonzero(grows & hidden & self._members(cap)):
                    yield f"entry without a beta in {table.symbols[i]}: {q[i]} -> {after[i]}"

    def _beta_hidden(self, legs: BoolArray) -> bool:
        return bool((legs & self.truth.hidden_beta[self.truth.table.underlying_index]).any())

    def _kept(self, b: FloatArray, x: FloatArray, slack: FloatArray) -> BoolArray:
        """(R,) inside, or outside before and no further out; NaN is not."""
        above = (b[1] > self.high - slack) & (x[1] <= b[1] + slack)
        below = (b[0] < self.low + slack) & (x[0] >= b[0] - slack)
        up = (x[1] <= self.high + slack) | above
        return np.asarray(up & ((x[0] >= self.low - slack) | below))

    def scale(
        self, books: Mapping[str, FloatArray], after: Mapping[str, FloatArray], tails: bool
    ) -> FloatArray:
        """(R,) the sizes of what was added up."""
        scale = np.abs(self.pending).max(axis=0)
        for book, (at, up, down) in self.rows.items():
            held = np.abs(books.get(book, 0.0)) + np.abs(after.get(book, 0.0))
            scale[at] += held @ np.maximum(np.abs(up), np.abs(down))
        if tails and self.P is not None:
            held = np.abs(books[""]) + np.abs(after[""])
            for k, j in self.tails:
                block = j // 2
                sizes = held @ np.abs(self.P[block]) - self.worst_fills[block]
                scale[k] += float(sizes.max(initial=0.0))
        return np.asarray(scale)


def _sum(q: FloatArray, up: FloatArray, down: FloatArray) -> FloatArray:
    """Longs by their weights and shorts by theirs."""
    return np.asarray(np.maximum(q, 0.0) @ up + np.maximum(-q, 0.0) @ down)
