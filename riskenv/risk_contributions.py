"""Which positions a book's VaR and ES come from, and what a trade would add to them.

VaR and ES are homogeneous of degree one in the book, so by Euler's theorem each is the sum over
positions of quantity times its derivative (Tasche 1999, "Risk contributions and performance
measurement", section 5): a position's component. VaR is the book's P&L in one scenario, and a
position's component of it is its own P&L there; of scenarios with the same P&L the earliest counts
as the worse, and near a tie the components of VaR jump where those of ES do not. A component of ES
is the position's mean P&L over the tail, the last scenario counted in part.

All of it is read off the scenario matrix that the assessment holds: nothing is priced again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riskenv.assessment import Assessment
from riskenv.canonical import number
from riskenv.measures import HORIZONS
from riskenv.portfolio_greeks import add_scaled
from riskenv.tails import book_tails_of, samples_of, scratch_of
from riskenv.weighted_tail import TailComponents, tail_components

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RiskContributions:
    """VaR and ES of a book taken apart, over each of the H horizons.

    Working orders count as in the book's own VaR: each at its worst in every scenario, which
    belongs to the component of the instruments that it would trade.

    Attributes:
        symbols: of the n instruments; tickers: of the U underlyings.
        ticker: (n,) row of each instrument's underlying.
        shown: (n,) instruments that are held or that a working order would trade.
        var, es: (H,) of the book, currency, <= 0; NaN = Unknown, and so is all the rest.
        component_var, component_es: (H, n) currency; below 0 adds to the risk, above 0 takes away
            from it. A row adds up to its measure.
        marginal_var, marginal_es: (H, n) change per contract, the derivative. An instrument that
            is not held has one as well: what a first small lot of it would do; NaN = Unknown.

    Example:
        >>> from riskenv import (BreakerState, Caps, FactorHistory, Instrument, InstrumentTable,
        ...     Market, Portfolio, PortfolioRiskManager, RiskLimits, Sessions)
        >>> days = np.arange(320, dtype=np.int64) * 86_400_000_000_000
        >>> moves = np.stack([np.arange(300) % 7 - 3.0, np.arange(300) % 5 - 2.0], axis=1) / 100.0
        >>> sessions = Sessions(days + 10, days + 20)
        >>> history = FactorHistory(("A", "B"), sessions.closes[:300], moves, 0.0 * moves)
        >>> manager = PortfolioRiskManager(RiskLimits(caps=Caps()), sessions, history=history)
        >>> a, b = Instrument("A"), Instrument("B")
        >>> table, price = InstrumentTable.of([a, b]), np.array([100.0, 50.0])
        >>> book = Portfolio.of(table, {a: 10.0, b: -10.0}, cash=0.0)
        >>> market = Market(int(days[299]) + 20, table, price, 0.0, np.zeros(2), price, price,
        ...                 np.zeros(2))
        >>> _, assessment = manager.assess(BreakerState(), book, market)
        >>> found = risk_contributions(assessment)
        >>> found.var[0].round(2), found.component_var[0].round(2).tolist()
        (np.float64(-39.66), [-29.55, -10.1])
        >>> found.by_underlying()[1][0].round(2).tolist()
        [-29.55, -10.1]
        >>> change = incremental_risk(assessment, [0.0, 10.0])      # buys the short leg back
        >>> change.var[0].round(2)
        np.float64(10.1)
    """

    symbols: tuple[str, ...]
    tickers: tuple[str, ...]
    ticker: NDArray[np.int64]
    shown: NDArray[np.bool_]
    var: FloatArray
    es: FloatArray
    component_var: FloatArray
    component_es: FloatArray
    marginal_var: FloatArray
    marginal_es: FloatArray

    def by_underlying(self) -> tuple[FloatArray, FloatArray]:
        """(H, U) components of VaR and (H, U) of ES, each underlying's positions added up.

        A component is also the underlying's marginal: the change of the measure per one whole
        book in it more, so that a hundredth of it is what 1 % more would add.
        """
        totals = np.zeros((2, len(self.var), len(self.tickers)))
        for i in np.flatnonzero(self.shown):
            totals[0, :, self.ticker[i]] += self.component_var[:, i]
            totals[1, :, self.ticker[i]] += self.component_es[:, i]
        if not self.shown.any():
            totals[:, np.isnan(self.var)] = np.nan
        return totals[0], totals[1]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, by horizon: "1d", "3d", "5d"; None = Unknown."""
        by_var, by_es = self.by_underlying()
        out: dict[str, Any] = {}
        for h, sessions in enumerate(HORIZONS):
            out[f"{sessions}d"] = {
                "var": number(self.var[h]),
                "es": number(self.es[h]),
                "positions": {
                    self.symbols[i]: {
                        name: number(getattr(self, name)[h, i])
                        for name in ("component_var", "component_es", "marginal_var", "marginal_es")
                    }
                    for i in np.flatnonzero(self.shown)
                },
                "underlyings": {
                    self.tickers[u]: {
                        "component_var": number(by_var[h, u]),
                        "component_es": number(by_es[h, u]),
                    }
                    for u in np.unique(self.ticker[self.shown])
                },
            }
        return out


@dataclass(frozen=True, eq=False)
class IncrementalRisk:
    """What a trade adds: the measures of the book with it less those of the book without.

    Attributes:
        var, es: (H,) currency; below 0 = the trade adds risk; NaN = one of the two is Unknown.
        var_after, es_after: (H,) of the book with the trade, <= 0.

    Example:
        >>> adds = IncrementalRisk(np.array([-5.0]), np.array([-6.0]), np.array([-9.0]),
        ...                        np.array([-11.0]))
        >>> bool(adds.es[0] < 0.0)      # it adds risk
        True
    """

    var: FloatArray
    es: FloatArray
    var_after: FloatArray
    es_after: FloatArray


def risk_contributions(assessment: Assessment) -> RiskContributions:
    """Components and marginals of VaR and ES of an assessed book; see `RiskContributions`.

    Raises:
        ValueError: the assessment was made without a history of factors, so there is no VaR.
    """
    a = assessment
    _refuse_without_scenarios(a)
    n, horizons = len(a.table), len(a.tails.counts)
    shown = a.portfolio.quantity != 0.0
    shown |= (a.portfolio.orders != 0.0).any(axis=0)
    var, es = np.full((2, horizons), np.nan)
    component, marginal = np.full((2, 2, horizons, n), np.nan)
    for h in range(horizons):
        samples = samples_of(a.tails, h)
        if not len(samples[0][0]):
            continue  # Unknown, whatever jumps there are
        parts = [
            (which, _parts_of(a.base_pnl[which], weights, a.tails.p)) for which, weights in samples
        ]
        for row, (values, name) in enumerate(((var, "var"), (es, "es"))):
            # The measure is the worse of those of its samples, and NaN if one of them is.
            found = [getattr(tail, name) for _, tail in parts]
            values[h] = np.min(found)
            if np.isnan(values[h]):
                continue
            which, tail = parts[int(np.argmin(found))]
            weights = tail.tail_weights if name == "es" else np.zeros(len(which))
            if name == "var":
                weights[tail.atom] = 1.0
            # A measure that min(0, .) holds at zero does not move with a position.
            moving = weights if values[h] < 0.0 else np.zeros(len(which))
            component[row, h], marginal[row, h] = _weighted(a, which, moving)
    return RiskContributions(
        a.table.symbols, a.table.underlyings, a.table.underlying_index, shown, var, es,
        component[0], component[1], marginal[0], marginal[1],
    )  # fmt: skip


def _parts_of(pnl: FloatArray, weights: FloatArray, p: float) -> TailComponents:
    """The book's own P&L vector as one instrument: its VaR and ES to the bit, and where they are
    found."""
    return tail_components(pnl[None, :], np.ones(1), weights, p)


def _weighted(
    a: Assessment, which: NDArray[np.int64], weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """(n,) what each instrument's holding made, and (n,) what one contract made, on average over
    these scenarios with these weights, the working orders at their worst."""
    component, marginal = np.zeros((2, len(a.table)))
    held = a.portfolio.quantity != 0.0
    P, rows = a.matrices.P, a.matrices.rows
    for s in np.flatnonzero(weights):
        contract = P[rows, which[s]]
        marginal += weights[s] * contract
        holding = np.zeros(len(contract))
        holding[held] = a.portfolio.quantity[held] * contract[held]
        for order in a.portfolio.orders:
            legs = np.flatnonzero(order)
            fill = order[legs] * contract[legs]
            if not fill.sum() >= 0.0:  # as the book's own P&L has it: a NaN stays
                holding[legs] += fill
        component += weights[s] * holding
    return component, marginal


def incremental_risk(assessment: Assessment, trade: ArrayLike) -> IncrementalRisk:
    """What a candidate trade would add to VaR and ES, from the cached matrix.

    The book with the trade is what `decide` judges, to the bit.

    Args:
        trade: (n,) signed contracts, in the order of the assessment's table.

    Raises:
        ValueError: another shape, a NaN or infinite number of contracts, or no history of factors.
    """
    a = assessment
    _refuse_without_scenarios(a)
    lots = np.array(trade, dtype=np.float64)
    if lots.shape != (len(a.table),) or not np.isfinite(lots).all():
        raise ValueError(
            f"trade: got {lots.tolist()}; allowed: {len(a.table)} finite numbers of contracts"
        )
    pnl = a.base_pnl.copy()
    for i in np.flatnonzero(lots):
        add_scaled(a.matrices.P[a.matrices.rows[i]], lots[i], pnl)
    horizons = len(a.tails.counts)
    before, after = np.empty((2, 3 * horizons + 1))
    scratch, every = scratch_of(a.tails), np.ones(2 * horizons, dtype=bool)
    book_tails_of(a.base_pnl, a.tails, every, scratch, 0, before)
    book_tails_of(pnl, a.tails, every, scratch, 0, after)
    change, last = after - before, 2 * horizons
    return IncrementalRisk(change[0:last:2], change[1:last:2], after[0:last:2], after[1:last:2])


def _refuse_without_scenarios(a: Assessment) -> None:
    if not a.has_tails:
        raise ValueError(
            "assessment: got one without scenarios; allowed: one of a manager with a history"
        )
