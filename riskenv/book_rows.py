"""The sums that caps are put on, as rows over instruments: of the whole book and of its scopes.

A net row adds quantity times exposure; a gross row adds sizes, weighted by side. A scope (a ticker,
an expiry bucket) keeps the instruments in it and drops the rest; a strategy keeps its own part of
the positions. All rows together are what `riskenv.admissibility.measure` works on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from riskenv.compilation import jit
from riskenv.config import ConfigError
from riskenv.expiry_buckets import EXPIRY_BUCKETS, expiry_bucket
from riskenv.limits import EACH, RiskLimits, ScopeCaps
from riskenv.market import Market
from riskenv.measures import GROSS, LINEAR, MEASURES, ONE_SIDED, SCOPED
from riskenv.portfolio import Portfolio

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ScopedCap:
    """One cap on one measure within one scope: kind "underlying", "expiry" or "strategy".

    `cap` is an amount and `share` of the equity; infinite where there is none.
    """

    measure: str
    kind: str
    scope: str
    cap: float
    share: float = np.inf

    @property
    def name(self) -> str:
        """As decisions list it: "vega[SPX]"."""
        return f"{self.measure}[{self.scope}]"

    @property
    def of(self) -> str:
        """The scope with its kind: "underlying:SPX"."""
        return f"{self.kind}:{self.scope}"


def scoped_caps(limits: RiskLimits, underlyings: Sequence[str]) -> tuple[ScopedCap, ...]:
    """Every scoped cap that bears on a book over these tickers, in a fixed order."""
    out: list[ScopedCap] = []

    def add(kind: str, scope: str, caps: ScopeCaps) -> None:
        for measure in SCOPED:
            cap, share = getattr(caps, measure), getattr(caps.of_equity, measure)
            if cap is not None or share is not None:
                # A cap is above 0, or None.
                out.append(ScopedCap(measure, kind, scope, cap or np.inf, share or np.inf))

    each = limits.by_underlying.get(EACH)
    for ticker in underlyings:
        caps = limits.by_underlying.get(ticker, each)
        if caps is not None:
            add("underlying", ticker, caps)
    for bucket in EXPIRY_BUCKETS:
        if bucket in limits.by_expiry:
            add("expiry", bucket, limits.by_expiry[bucket])
    for tag in sorted(limits.by_strategy):
        add("strategy", tag, limits.by_strategy[tag])
    return tuple(out)


@dataclass(frozen=True, eq=False)
class Layout:
    """Which rows there are over one set of tickers, whatever the market.

    Attributes:
        scoped: the scoped caps, in the order of their rows; names: of all K measures;
            measures: what each of them measures, whatever the scope; tickers: of each scoped
            cap, the ticker that it is for, or "".
        scopes: the scopes themselves, "underlying:SPX"; scope_at: (K,) of each measure, the place
            of its scope in `scopes` plus one, 0 where it is the whole book's.
        strategies: tag -> its place in `Rows.books`, of each strategy that has caps.
        net_at, gross_at, net_book, gross_book: as of `Rows`.
        beta_capped: whether anything asks for betas.
        margin: (4,) as `riskenv.margin.MarginRule.shares_asked`.
    """

    scoped: tuple[ScopedCap, ...]
    names: tuple[str, ...]
    measures: tuple[str, ...]
    tickers: tuple[str, ...]
    scopes: tuple[str, ...]
    scope_at: NDArray[np.int64]
    strategies: dict[str, int]
    net_at: NDArray[np.int64]
    gross_at: NDArray[np.int64]
    net_book: NDArray[np.int64]
    gross_book: NDArray[np.int64]
    beta_capped: bool
    margin: FloatArray

    @classmethod
    def of(cls, limits: RiskLimits, underlyings: Sequence[str]) -> Layout:
        scoped = scoped_caps(limits, underlyings)
        tags = dict.fromkeys(cap.scope for cap in scoped if cap.kind == "strategy")
        strategies = {tag: place for place, tag in enumerate(tags, start=1)}
        first = len(MEASURES)
        net = [(j, 0) for j in range(len(LINEAR))]
        gross = [(j, 0) for j in range(first - len(GROSS), first)]
        for place, cap in enumerate(scoped, start=first):
            book = strategies[cap.scope] if cap.kind == "strategy" else 0
            (gross if cap.measure in GROSS else net).append((place, book))
        (net_at, net_book), (gross_at, gross_book) = np.array(net).T, np.array(gross).T
        beta = any("beta_delta" in cap.measure for cap in scoped)
        for caps in (limits.caps, limits.of_equity):
            beta |= caps.beta_delta is not None
        names = (*MEASURES, *(cap.name for cap in scoped))
        twice = next((cap for cap in scoped if names.count(cap.name) > 1), None)
        if twice is not None:
            raise ConfigError(
                f"limits: {twice.name} is a cap of two scopes called {twice.scope!r}; allowed: a "
                "name for each ticker, expiry bucket and strategy that has caps"
            )
        measures = (*MEASURES, *(cap.measure for cap in scoped))
        tickers = tuple(cap.scope if cap.kind == "underlying" else "" for cap in scoped)
        scopes = tuple(dict.fromkeys(cap.of for cap in scoped))
        scope_at = np.zeros(len(names), dtype=np.int64)
        scope_at[first:] = [1 + scopes.index(cap.of) for cap in scoped]
        return cls(
            scoped, names, measures, tickers, scopes, scope_at, strategies, net_at.copy(),
            gross_at.copy(), net_book.copy(), gross_book.copy(), beta, limits.margin.shares_asked(),
        )  # fmt: skip


def surely_gross(rows: Rows, known: NDArray[np.bool_]) -> FloatArray:
    """(G,) gross sums over what is known and held: the least that they can be, where what is
    Unknown weighs as much as it may, and working orders count as filled, in the sums themselves.

    Args:
        known: (n,) instruments whose exposures are known.
    """
    out = np.zeros(len(rows.gross_at))
    for r, book in enumerate(rows.gross_book.tolist()):
        for i in np.flatnonzero(known & (rows.books[book] != 0.0)).tolist():
            lots = rows.books[book, i]
            out[r] += abs(lots) * rows.gross[i, 0 if lots > 0.0 else 1, r]
    return out


class Rows(NamedTuple):
    """A net rows and G gross rows over n instruments; a plain tuple of arrays, for compiled loops.

    Attributes:
        net: (n, A) exposures, 0 where they are Unknown or outside the row's scope.
        low, high: (n, A) bounds where they are Unknown, else 0.
        gross: (n, 2, G) weights of a long and of a short contract.
        net_at, gross_at: (A,), (G,) the row's place among the K measures.
        books: (B, n) signed positions: of the whole book, then of each capped strategy.
        net_book, gross_book: (A,), (G,) the book that a row adds up.
        loose: (n,) instruments of which some number is Unknown.
        settled_low, settled_high: (A,) sums over what is known, with working orders' ends.
        open_low, open_high: (A,) ends of the sums over what is Unknown.
        pending: (G,) what working orders may add to a gross row.
    """

    net: FloatArray
    low: FloatArray
    high: FloatArray
    gross: FloatArray
    net_at: NDArray[np.int64]
    gross_at: NDArray[np.int64]
    books: FloatArray
    net_book: NDArray[np.int64]
    gross_book: NDArray[np.int64]
    loose: NDArray[np.bool_]
    settled_low: FloatArray
    settled_high: FloatArray
    open_low: FloatArray
    open_high: FloatArray
    pending: FloatArray


def cap_bounds(
    limits: RiskLimits, scoped: Sequence[ScopedCap], equity: float
) -> tuple[FloatArray, FloatArray]:
    """(K,) lowest and (K,) highest allowed value of each measure, the scoped ones last."""
    low, high = limits.bounds(equity)
    if not scoped:
        return low, high
    money = equity if equity > 0.0 else 0.0  # NaN, too, is none
    caps = [s.cap if s.share == np.inf else min(s.cap, s.share * money) for s in scoped]
    scoped_low = [-np.inf if s.measure in GROSS else -c for s, c in zip(scoped, caps, strict=True)]
    scoped_high = [
        np.inf if s.measure in ONE_SIDED else c for s, c in zip(scoped, caps, strict=True)
    ]
    return np.append(low, scoped_low), np.append(high, scoped_high)


def rows_of(
    portfolio: Portfolio,
    market: Market,
    X: FloatArray,
    bounds: tuple[FloatArray, FloatArray],
    weights: FloatArray,
    layout: Layout,
) -> Rows:
    """The rows of a book at a market.

    Args:
        X: (n, 11) exposures, NaN where Unknown; bounds: their (low, high) there.
        weights: (n, 2, 5) of `riskenv.gross_measures`.
    """
    net, low, high, loose = _net_rows(X, bounds, layout.beta_capped)
    nets, grosses = [], []
    for cap in layout.scoped:
        member = members(market, cap.kind, cap.scope)
        if cap.measure in GROSS:
            part = weights[:, :, GROSS.index(cap.measure)]
            grosses.append(np.where(member[:, None], part, 0.0))
        else:
            nets.append((LINEAR.index(cap.measure), member))
    if nets:
        net, low, high = (
            np.column_stack([m, *(np.where(member, m[:, j], 0.0) for j, member in nets)])
            for m in (net, low, high)
        )
    if grosses:
        weights = np.concatenate([weights, np.stack(grosses, axis=2)], axis=2)
    nothing = np.zeros(len(market.table))
    books = [portfolio.strategies.get(tag, nothing) for tag in layout.strategies]
    settled_low, settled_high, open_low, open_high = np.zeros((4, net.shape[1]))
    rows = Rows(
        net, low, high, weights, layout.net_at, layout.gross_at,
        np.stack([portfolio.quantity, *books]), layout.net_book, layout.gross_book, loose,
        settled_low, settled_high, open_low, open_high, np.zeros(weights.shape[2]),
    )  # fmt: skip
    tickers = market.table.underlying_index, len(market.table.underlyings)
    add_up(rows, *tickers, portfolio.orders)
    return rows


def _net_rows(
    X: FloatArray, bounds: tuple[FloatArray, FloatArray], beta_capped: bool
) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.bool_]]:
    """(net, low, high, loose) of the book's own rows.

    Where betas are asked for, an instrument without one may have any beta delta; where they are
    not, nothing is made to depend on it: the measure is NaN.
    """
    asked = len(LINEAR) if beta_capped else len(LINEAR) - 1
    missing = np.isnan(X)
    missing[:, asked:] = False
    loose = np.asarray(missing.any(axis=1))
    if not loose.any():
        nothing = np.zeros_like(X)
        return X, nothing, nothing, loose
    low, high = (np.where(missing, bound, 0.0) for bound in bounds)
    if beta_capped:
        bare = missing[:, -1] & ~missing[:, 0]
        low[bare, -1], high[bare, -1] = -np.inf, np.inf
    return np.where(missing, 0.0, X), low, high, loose


def members(market: Market, kind: str, scope: str) -> NDArray[np.bool_]:
    """(n,) instruments that a scope holds; a strategy may hold any.

    Example:
        >>> from riskenv.instruments import Instrument, InstrumentTable
        >>> table = InstrumentTable.of([Instrument("QQQ"), Instrument("SPY")])
        >>> one = np.ones(2)
        >>> market = Market(0, table, one, 0.0, np.zeros(2), one, one, np.zeros(2))
        >>> members(market, "underlying", "SPY").tolist()
        [False, True]
    """
    table = market.table
    if kind == "underlying":
        if scope not in table.underlyings:
            return np.zeros(len(table), dtype=bool)
        return np.asarray(table.underlying_index == table.underlyings.index(scope))
    if kind == "expiry":
        return np.asarray(expiry_bucket(table, market.now) == EXPIRY_BUCKETS.index(scope))
    return np.ones(len(table), dtype=bool)


@jit
def add_up(rows, ticker, tickers, orders):  # type: ignore[no-untyped-def]
    """Fill the sums of `rows`, first within each ticker and then over tickers, in order."""
    n, a = rows.net.shape
    within = np.zeros((tickers, a))
    for i in range(n):
        for r in range(a):
            q = rows.books[rows.net_book[r], i]
            if q != 0.0:
                within[ticker[i], r] += q * rows.net[i, r]
                if rows.loose[i]:
                    rows.open_low[r] += min(q * rows.low[i, r], q * rows.high[i, r])
                    rows.open_high[r] += max(q * rows.low[i, r], q * rows.high[i, r])
    for u in range(tickers):
        for r in range(a):
            rows.settled_low[r] += within[u, r]
            rows.settled_high[r] += within[u, r]
    for k in range(orders.shape[0]):
        for r in range(a):
            # A working order has no strategy, so it counts in each.
            least, most = 0.0, 0.0
            for i in range(n):
                q = orders[k, i]
                if q != 0.0:
                    low, high = rows.net[i, r], rows.net[i, r]
                    if rows.loose[i]:
                        low, high = low + rows.low[i, r], high + rows.high[i, r]
                    least += min(q * low, q * high)
                    most += max(q * low, q * high)
            rows.settled_low[r] += min(least, 0.0)
            rows.settled_high[r] += max(most, 0.0)
        for r in range(rows.pending.size):
            for i in range(n):
                q = orders[k, i]
                if q != 0.0:
                    rows.pending[r] += abs(q) * rows.gross[i, 0 if q > 0.0 else 1, r]


@jit
def gross_sum(rows, r, trades):  # type: ignore[no-untyped-def]
    """Gross row r of its book with `trades` (n,) done, working orders filled."""
    total = rows.pending[r]
    for i in range(trades.size):
        q = rows.books[rows.gross_book[r], i] + trades[i]
        if q != 0.0:
            total += abs(q) * rows.gross[i, 0 if q > 0.0 else 1, r]
    return total
