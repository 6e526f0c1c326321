"""What is told of an assessed book: the plan's figures of Greeks, VaR and events, JSON-ready."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riskenv.assessment import Assessment
from riskenv.event_values import Caution
from riskenv.gap_risk_monitor import GapRiskMonitor
from riskenv.limits import RiskLimits
from riskenv.measures import HORIZONS, INDEX, STRESS
from riskenv.portfolio_greeks import aggregate_greeks, book_sums
from riskenv.risk_contributions import risk_contributions
from riskenv.scenarios import ScenarioSet
from riskenv.selection import ordered_sum
from riskenv.var_calculator import VarReport, recorded_var
from riskenv.var_config import VarConfig

FloatArray = NDArray[np.float64]


def var_report(
    limits: RiskLimits,
    var: VarConfig,
    scenarios: ScenarioSet | None,
    a: Assessment,
    recorded_pnl: ArrayLike | None = None,
) -> VarReport:
    """VaR of the held book against its limits (before any event tightening).

    Args:
        scenarios: that the book was assessed with.
        recorded_pnl: (N,) recorded P&L of the portfolio a session, oldest first; its VaR is
            reported beside that of the book, and the status is that of the worse.
    """
    at = [INDEX[f"var_{h}d"] for h in HORIZONS]
    recorded = None
    if recorded_pnl is not None:
        recorded = recorded_var(recorded_pnl, var.tail_probability, var.window, var.min_scenarios)
    return VarReport(
        a.before[at], a.before[[INDEX[f"es_{h}d"] for h in HORIZONS]],
        -limits.bounds(a.equity)[0][at], limits.warn, var.tail_probability, a.day_loss,
        a.before[[INDEX[name] for name in STRESS]], _worst_stress(scenarios, a), recorded,
        risk_contributions(a) if a.has_tails else None,
        np.diff(a.tails.blocks)[: len(HORIZONS)], _pnl_error(a),
    )  # fmt: skip


def _pnl_error(a: Assessment) -> float:
    """How far the P&L of the book, its working orders filled or not, can be from full revaluation:
    the sum of sizes times the errors of one contract; NaN where something in it is Unknown."""
    lots = np.abs(a.portfolio.quantity) + np.abs(a.portfolio.orders).sum(axis=0)
    held = np.flatnonzero(lots)
    return ordered_sum(lots[held] * a.matrices.error[a.matrices.rows[held]])


def risk_report(
    limits: RiskLimits,
    var: VarConfig,
    monitor: GapRiskMonitor,
    scenarios: ScenarioSet | None,
    cautions: tuple[Caution, ...],
    a: Assessment,
    recorded_pnl: ArrayLike | None = None,
) -> dict[str, Any]:
    """The four systems' output: "greeks", "var", "events", the rung, and under "rungs" those of the
    scopes above NORMAL.

    Under "var", "contributions" say which positions it comes from, by horizon
    (`riskenv.risk_contributions`).

    Args:
        cautions: where quotes imply no jump; the rest as of `var_report`.
    """
    gap = INDEX["gap_loss"]
    tickers = a.table.underlyings
    held = a.table.underlying_index[a.portfolio.quantity != 0.0]
    return {
        "greeks": aggregate_greeks(a.portfolio, a.market).to_dict(),
        "var": var_report(limits, var, scenarios, a, recorded_pnl).to_dict(),
        "events": monitor.report(
            a.market.now,
            # The worst that it may be, whatever working orders fill.
            float(a.interval[0, gap]),
            float(-a.low[gap]),
            limits.warn,
            limits.extreme,
            a.base_pnl[a.tails.blocks[-2] : a.tails.blocks[-1]],
            _delta_hedges(scenarios, a),
            tickers,
            tuple(tickers[u] for u in np.unique(held)),
            a.orders_to_cancel,
            a.assignment_risks,
            cautions,
        ),
        "rung": a.rung.name,
        "rungs": {scope.scope: scope.rung.name for scope in a.scopes},
    }


def _worst_stress(scenarios: ScenarioSet | None, a: Assessment) -> str | None:
    """The name of the stress scenario in which the book loses most; None where none does."""
    pnl = a.base_pnl[a.tails.stress[0] :]
    if scenarios is None or not len(pnl) or not pnl.min() < 0.0:
        return None
    return scenarios.stress[int(pnl.argmin())]


def _delta_hedges(scenarios: ScenarioSet | None, a: Assessment) -> list[FloatArray]:
    """Per ticker: P&L under each jump of selling the ticker's whole delta in shares."""
    if scenarios is None:
        return []
    hedges, table = [], a.table
    for u, ticker in enumerate(table.underlyings):
        delta = np.empty(1)
        held = np.where(table.underlying_index == u, a.portfolio.quantity, 0.0)
        book_sums(held, a.matrices.X, a.matrices.rows, delta)
        if held.any() and ticker in scenarios.underlyings:
            row = scenarios.underlyings.index(ticker)
            factor = scenarios.spot_factor[row, slice(*a.tails.blocks[-2:])]
            hedges.append(-delta[0] * a.market.spot[u] * (factor - 1.0))
    return hedges
