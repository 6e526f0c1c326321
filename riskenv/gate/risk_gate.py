"""The live gate: the risk layer as it was exported, in front of an execution engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from riskenv import circuit_breaker
from riskenv.circuit_breaker import BreakerState
from riskenv.decision import Decision
from riskenv.gate.bundle import load_bundle
from riskenv.instruments import Instrument
from riskenv.market import Market
from riskenv.portfolio import Portfolio
from riskenv.portfolio_risk_manager import PortfolioRiskManager
from riskenv.projection import Proposal
from riskenv.reduction import ReductionPlan


class RiskGate:
    """Filters trades by the very function that training used.

    Needs the core installation alone: no gymnasium, torch or pandas. Keeps the breaker's state
    between checks; nothing else is remembered.

    Args:
        manager: the risk layer.
        state: where to go on from; a fresh state by default.
        digest: of the bundle it was loaded from.

    Example:
        >>> import numpy as np
        >>> from riskenv import Caps, Instrument, InstrumentTable, Market, Portfolio, RiskLimits
        >>> from riskenv import PortfolioRiskManager, Sessions
        >>> hour = 3_600_000_000_000
        >>> days = np.arange(10) * 24 * hour
        >>> sessions = Sessions(days + 14 * hour, days + 21 * hour)
        >>> gate = RiskGate(PortfolioRiskManager(RiskLimits(caps=Caps(delta=100)), sessions))
        >>> spy = Instrument("SPY")
        >>> table = InstrumentTable.of([spy])
        >>> market = Market(15 * hour, table, np.array([400.0]), 0.02, np.array([0.0]),
        ...                 np.array([399.99]), np.array([400.01]), np.array([0.0]))
        >>> book = Portfolio.of(table, {spy: 90.0}, cash=1e5)
        >>> decision = gate.check(book, market, {spy: 50.0})
        >>> decision.verdict.value, decision.trades.tolist(), decision.reasons[0].words
        ('RESIZE', [10.0], 'delta would be 140, outside its cap 100')
    """

    def __init__(
        self,
        manager: PortfolioRiskManager,
        state: BreakerState | None = None,
        digest: str = "",
    ) -> None:
        self.manager = manager
        self.state = state or BreakerState()
        self.digest = digest

    @classmethod
    def load(cls, path: str | Path) -> RiskGate:
        """From a bundle.

        Raises:
            BundleError: the bundle is damaged, or not one.
        """
        manager, digest = load_bundle(path)
        return cls(manager, digest=digest)

    def check(
        self,
        portfolio: Portfolio,
        market: Market,
        trades: Mapping[Instrument, float] | NDArray[np.float64],
        external_flow: float = 0.0,
        strategy: str = "",
    ) -> Decision:
        """Assess the book and decide on the trades; `decision.trades` is what may be sent.

        Args:
            trades: signed contracts per instrument, or (n,) in the order of the market's table.
            strategy: the tag that they belong to, for caps on strategies.

        Raises:
            ValueError: a trade in an instrument that the market snapshot does not cover.
        """
        if isinstance(trades, Mapping):
            trades = _columns(market, trades)
        # The state moves on only with the decision: a call that raises can be made again, and a
        # flow is not counted twice.
        state, assessment = self.manager.assess(self.state, portfolio, market, external_flow)
        proposal = self.manager.propose(assessment, trades, strategy)
        self.state, decision = self.manager.decide(state, assessment, proposal)
        return decision

    def decide(
        self, portfolio: Portfolio, market: Market, proposal: Proposal, external_flow: float = 0.0
    ) -> Decision:
        """The same for a caller who lists the trades that may stand in for the request."""
        state, assessment = self.manager.assess(self.state, portfolio, market, external_flow)
        self.state, decision = self.manager.decide(state, assessment, proposal)
        return decision

    def halt(self, reason: str) -> None:
        """Stop everything until an operator resumes."""
        self.state = circuit_breaker.halt(self.state, reason)

    def resume(self, token: str, reason: str, *, rebase: bool = False) -> None:
        """Leave a halt with the operator's token.

        Args:
            reason: why trading may go on; kept in the state.
            rebase: count drawdown from the last known equity from now on.

        Raises:
            PermissionError: no halt, no token configured, or the wrong one.
            ValueError: no reason given.
        """
        self.state = circuit_breaker.resume(
            self.state, token, self.manager.limits, reason, rebase=rebase
        )

    def reduction_plan(
        self, portfolio: Portfolio, market: Market, shares: Mapping[str, float] | None = None
    ) -> ReductionPlan:
        """The cheapest plan that brings what is broken back inside, or takes a share off measures:
        {"delta": 0.3} is "reduce delta by 30 %". Advice; changes no state.

        Raises:
            ValueError: a measure that no sum of positions has, or a share outside 0 to 1.
        """
        _, assessment = self.manager.assess(self.state, portfolio, market)
        return self.manager.reduction_plan(assessment, shares)

    def report(self, portfolio: Portfolio, market: Market) -> dict[str, Any]:
        """Greeks, VaR, events and rung of a book, as JSON; changes no state."""
        _, assessment = self.manager.assess(self.state, portfolio, market)
        return self.manager.report(assessment)


def _columns(market: Market, trades: Mapping[Instrument, float]) -> NDArray[np.float64]:
    columns = np.zeros(len(market.table))
    for instrument, lots in trades.items():
        row = market.table.index.get(instrument)
        if row is None:
            raise ValueError(
                f"trades: {instrument.symbol} is not in the market snapshot; every instrument "
                "that is traded needs a quote"
            )
        columns[row] = lots
    return columns
