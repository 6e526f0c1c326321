"""The assessment: a book's risk at one instant, and all that a decision about it needs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from riskenv.admissibility import any_beyond, tail_risks
from riskenv.book_rows import Rows, members
from riskenv.circuit_breaker import Rung, ScopeRung
from riskenv.gap_risk_monitor import EventWindow
from riskenv.instruments import InstrumentTable
from riskenv.limits import RiskLimits
from riskenv.market import Market
from riskenv.measures import ACCOUNT, HORIZONS, INDEX, STRESS, TAIL, point
from riskenv.portfolio import Portfolio
from riskenv.quote_quality import FX, SPOT
from riskenv.reasons import Alert, Reason
from riskenv.risk_matrices import RiskMatrices
from riskenv.tails import BookTails

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


# Currency a lot of what has no known spread.
UNKNOWN_COST = 1e6


def trade_weight(market: Market, norm: str) -> FloatArray:
    """(n,) what a lot weighs in a distance, currency, above 0: half a spread, or the notional.

    What has no known weight is dear, not free.
    """
    table = market.table
    ticker = table.underlying_index
    price = market.half_spread if norm == "spread_cost" else market.tickers[SPOT][ticker]
    with np.errstate(invalid="ignore", over="ignore"):
        weight = table.multiplier * price * market.tickers[FX][ticker]
    weight[~((weight >= 0.0) & (weight < np.inf))] = UNKNOWN_COST
    # A locked market is as good as free, and still not nothing: the nearest trade is one.
    return np.asarray(np.maximum(weight, 1e-12 * weight.max(initial=1.0)))


@dataclass(frozen=True, eq=False)
class Assessment:
    """The book's risk at one instant, before any trade.

    Attributes:
        portfolio, market: what was assessed.
        names: (K,) of the measures: `riskenv.measures.MEASURES`, then the scoped ones.
        interval: (2, K) lowest and highest that each measure of the book can be, with what is
            Unknown and what working orders may do; NaN = not even bounds are known.
        low, high: (K,) caps in force, tightened by events.
        used: (K,) share of each cap in use.
        rung: the rung that all trades meet, the breaker's or that of an event's deadline;
            scopes: those above NORMAL, whose rung a trade in them meets besides; events: what the
            calendar says.
        equity, day_loss, drawdown: currency; the losses are <= 0; NaN = Unknown.
        strategy_books: tag -> its place in `rows.books`.
        rows: the sums that caps are put on; matrices: X and P; base_pnl: (S,) the book's scenario
            P&L, each scenario with the working orders at their worst.
        blocked: (n,) instruments of which something is Unknown: they are only closed.
        entry_blocked: (n,) instruments whose entries an event blocks.
        least: (n,) contracts of each position that are to be closed now, before an event;
            held_up: (n,) contracts besides, that working orders may close already.
        tails: where the tail measures lie among the scenarios.
        throttled: strategies that are off.
        limits: the limits.
        reduced: the strategy whose own positions alone are reduced; "" = the whole book is.
    """

    portfolio: Portfolio
    market: Market
    names: tuple[str, ...]
    interval: FloatArray
    low: FloatArray
    high: FloatArray
    used: FloatArray
    rung: Rung
    scopes: tuple[ScopeRung, ...]
    events: EventWindow
    equity: float
    day_loss: float
    drawdown: float
    rows: Rows
    strategy_books: dict[str, int]
    matrices: RiskMatrices
    base_pnl: FloatArray
    tails: BookTails
    blocked: BoolArray
    entry_blocked: BoolArray
    least: FloatArray
    held_up: FloatArray
    throttled: tuple[str, ...]
    limits: RiskLimits
    reduced: str = ""

    @property
    def table(self) -> InstrumentTable:
        return self.market.table

    def book_of(self, strategy: str) -> int:
        """Of `rows.books`, the one of a strategy that has caps; 0 for any other."""
        return self.strategy_books.get(strategy, 0)

    def for_strategy(self, strategy: str) -> Assessment:
        """What a strategy's trades are judged by: at REDUCE of its own scope, and above the release
        level of a cap of its own, its positions are reduced before anything else. Those of others
        are not."""
        if self.rung >= Rung.REDUCE or not self.scopes:
            return self
        own = f"strategy:{strategy}"
        if not any(s.scope == own and s.rung >= Rung.REDUCE for s in self.scopes):
            return self
        used = self.used[self.capped & (self.books == self.book_of(strategy))]
        if not self.book_of(strategy) or (used <= self.limits.release).all():
            return self
        return replace(self, rung=Rung.REDUCE, reduced=strategy)

    @cached_property
    def books(self) -> NDArray[np.int64]:
        """(K,) of `rows.books`, the one that each measure is of; 0 = the whole book."""
        books = np.zeros(len(self.names), dtype=np.int64)
        books[self.rows.net_at], books[self.rows.gross_at] = (
            self.rows.net_book,
            self.rows.gross_book,
        )
        return books

    def moved_by(self, strategy: str) -> BoolArray:
        """(K,) measures that trades of a strategy move: not those of another one."""
        return np.asarray((self.books == 0) | (self.books == self.book_of(strategy)))

    @cached_property
    def closable(self) -> FloatArray:
        """(n,) signed contracts that a reduction may close: not what working orders may close
        already, and only a strategy's own where that alone is reduced."""
        left = self.portfolio.closable
        if not self.reduced:
            return left
        own = self.portfolio.strategies.get(self.reduced, np.zeros(len(left)))
        lots = np.minimum(np.abs(own), np.abs(left))
        return np.asarray(np.where(own * left > 0.0, np.sign(left) * lots, 0.0))

    @cached_property
    def loose(self) -> bool:
        """Whether something is held whose exposure is not known."""
        held = self.matrices.rows[self.portfolio.quantity != 0.0]
        return bool(np.isnan(self.matrices.X[held, 0]).any())

    @property
    def reducing(self) -> bool:
        """Whether the layer will reduce the book by itself: the whole of it at its rung, or the
        positions whose size is due before an event."""
        return self.rung in (Rung.REDUCE, Rung.FLATTEN) or (self.due and self.rung != Rung.HALTED)

    @cached_property
    def held_back(self) -> dict[str, BoolArray]:
        """Scope -> (n,) its instruments, of each scope of tickers or expiries at BLOCK_NEW or
        above: a trade in them has to reduce, whatever the rung of the book."""
        kinds = [(s.scope, *s.scope.split(":", 1)) for s in self.scopes if s.rung > Rung.WARN]
        return {
            name: members(self.market, kind, scope)
            for name, kind, scope in kinds
            if kind != "strategy"
        }

    def met_by(self, trades: FloatArray, strategy: str = "") -> tuple[str, ...]:
        """The scopes at BLOCK_NEW or above that an (n,) trade of a strategy touches."""
        legs = trades != 0.0
        met = [name for name, within in self.held_back.items() if legs[within].any()]
        return (*met, *self._held_strategy(strategy)) if legs.any() else ()

    def must_reduce(self, trades: FloatArray, strategy: str = "") -> BoolArray:
        """(A,) trades that only pass if they reduce, by the highest rung that each touches."""
        if self.rung >= Rung.BLOCK_NEW or (self.scopes and self._held_strategy(strategy)):
            return np.ones(len(trades), dtype=np.bool_)
        held = np.zeros(len(trades), dtype=np.bool_)
        if self.scopes:
            for within in self.held_back.values():
                held |= (trades[:, within] != 0.0).any(axis=1)
        return held

    def _held_strategy(self, strategy: str) -> tuple[str, ...]:
        name = f"strategy:{strategy}"
        return tuple(s.scope for s in self.scopes if s.scope == name and s.rung > Rung.WARN)

    @cached_property
    def entries_blocked(self) -> bool:
        """Whether an event blocks entries in anything."""
        return not self.events.calm and bool(self.entry_blocked.any())

    @cached_property
    def lot_weight(self) -> FloatArray:
        """(n,) what a lot weighs in a distance between trades (`CorrectionRule.norm`)."""
        return trade_weight(self.market, self.limits.correction.norm)

    @cached_property
    def lot_cost(self) -> FloatArray:
        """(n,) half a spread and the commission of a lot."""
        return trade_weight(self.market, "spread_cost") + self.limits.correction.commission

    @cached_property
    def due(self) -> bool:
        """Whether the size of some position is due before an event."""
        return self.events.sizing and bool(self.least.any())

    @cached_property
    def breached(self) -> tuple[str, ...]:
        """Measures that are outside their cap, or Unknown, before any trade."""
        if not any_beyond(self.used, self.low, self.high, 1.0):
            return ()
        broken = self.capped & ~(self.used <= 1.0)
        return tuple(self.names[j] for j in np.flatnonzero(broken))

    @cached_property
    def alerts(self) -> tuple[Alert, ...]:
        """What an operator should see of the book itself, whatever is decided."""
        alerts = []
        if self.rung >= Rung.WARN:
            loud = self.capped & ~(self.used < self.limits.warn)
            alerts = [
                Alert("warning" if self.used[j] <= 1.0 else "critical", "cap_used", self.names[j])
                for j in np.flatnonzero(loud)
            ]
        if self.rung >= Rung.BLOCK_NEW:
            alerts.append(Alert("critical", f"rung_{self.rung.name.lower()}", ""))
        for scope in self.scopes:
            if scope.rung >= Rung.BLOCK_NEW:
                code = f"rung_{scope.rung.name.lower()}"
                alerts.append(Alert("critical", code, scope.scope))
        events = self.events
        if self.due or events.cautions or events.ex_dividends or self.portfolio.working is not None:
            alerts += self._event_alerts()
        losses = zip(ACCOUNT, (self.day_loss, self.drawdown), strict=True)
        alerts += [
            Alert("critical", "unknown_risk", name) for name, loss in losses if math.isnan(loss)
        ]
        return tuple(alerts)

    def _event_alerts(self) -> list[Alert]:
        """Sizes due, and what nobody knows of the calendar, each code once for a ticker."""
        names, alerts = self.table.underlyings, []
        if self.due:
            due = self.table.underlying_index[self.least > 0.0]
            alerts = [Alert("warning", "event_size", names[u]) for u in np.unique(due)]
        for code, symbol in dict.fromkeys((c.code, c.symbol) for c in self.events.cautions):
            level = "critical" if code == "calendar_unknown" else "warning"
            alerts.append(Alert(level, code, symbol or "MARKET"))
        told = (*self.orders_to_cancel, *self.assignment_risks)
        alerts += [Alert("warning", why.code, why.measure) for why in told]
        return alerts

    @cached_property
    def orders_to_cancel(self) -> tuple[Reason, ...]:
        """Why working orders should be cancelled before an event (`riskenv.event_orders`)."""
        if self.portfolio.working is None:
            return ()
        from riskenv.event_orders import orders_to_cancel

        return orders_to_cancel(self.portfolio, self.events, self.entry_blocked, self.held_up)

    @cached_property
    def assignment_risks(self) -> tuple[Reason, ...]:
        """Short calls that may be assigned before a dividend (`riskenv.event_assignments`)."""
        if not self.events.ex_dividends:
            return ()
        from riskenv.event_assignments import assignment_risks

        return assignment_risks(self.portfolio, self.market, self.events)

    @cached_property
    def before(self) -> FloatArray:
        """(K,) the book's measures; NaN where the two ends of the interval are not one."""
        return point(self.interval)

    @cached_property
    def book(self) -> tuple[Any, ...]:
        """What the trust kernel works on, in the order in which `judge` takes it."""
        table = self.table
        return (
            *self.rows, *self.tails, self.matrices.P, self.matrices.rows, self.interval,
            self.base_pnl, self.low, self.high, self.portfolio.quantity, self.pending, table.kind,
            table.underlying_index, self.blocked, self.portfolio.working is not None,
        )  # fmt: skip

    @cached_property
    def deciding(self) -> BoolArray:
        """(2H,) horizons that a verdict depends on, of VaR and ES and then of stress: those with a
        cap, and those that say whether a trade reduces."""
        capped = self.capped.copy()
        capped[self.tail_risks] = True
        var, stress = INDEX[TAIL[0]], INDEX[STRESS[0]]
        tails = capped[var : var + len(TAIL)].reshape(-1, 2).any(axis=1)
        return np.concatenate([tails, capped[stress : stress + len(HORIZONS)]])

    @cached_property
    def tail_risks(self) -> list[int]:
        """Measures that say how much the book may lose, capped or not."""
        return tail_risks(self.tails)

    @cached_property
    def pending(self) -> FloatArray:
        """(2, n) contracts that working orders may still sell (<= 0) and buy (>= 0)."""
        orders = self.portfolio.working
        if orders is None:
            return np.zeros((2, len(self.table)))
        return np.stack([np.minimum(orders, 0.0).sum(axis=0), np.maximum(orders, 0.0).sum(axis=0)])

    @cached_property
    def capped(self) -> BoolArray:
        """(K,) measures that have a cap."""
        return np.isfinite(self.low) | np.isfinite(self.high)

    @property
    def capped_stress(self) -> tuple[NDArray[np.int64], FloatArray]:
        """(R,) stress scenarios of horizons with a cap, (R,) lowest P&L that it allows in each."""
        first, starts = INDEX[STRESS[0]], self.tails.stress
        blocks = [np.arange(starts[h], starts[h + 1]) for h in range(len(STRESS))]
        caps = self.low[first : first + len(STRESS)]
        capped = [h for h in range(len(STRESS)) if np.isfinite(caps[h])]
        scenarios = np.concatenate([np.zeros(0, dtype=np.int64), *(blocks[h] for h in capped)])
        floors = (np.full(len(blocks[h]), caps[h]) for h in capped)
        return scenarios, np.concatenate([np.zeros(0), *floors])

    @property
    def has_tails(self) -> bool:
        """Whether there are scenarios of VaR or of a jump."""
        return bool(self.tails.blocks[-1] > 0)
