"""The live gate: the risk layer as it was exported, in front of an execution engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riskenv import circuit_breaker, order_window
from riskenv.alert_sinks import AlertSink, dispatch
from riskenv.arguments import WHOLE_NUMBER, require
from riskenv.assessment import Assessment
from riskenv.circuit_breaker import BreakerState, Rung
from riskenv.decision import Decision
from riskenv.gate.bundle import load_bundle
from riskenv.instruments import Instrument
from riskenv.market import Market
from riskenv.operator_token import check_token
from riskenv.order_checks import Order
from riskenv.order_decision import beside_nothing, proposal_for_order
from riskenv.order_window import OrderWindow
from riskenv.portfolio import Portfolio
from riskenv.portfolio_risk_manager import PortfolioRiskManager
from riskenv.projection import Proposal
from riskenv.reasons import Alert, Reason
from riskenv.reduction import ReductionPlan


class RiskGate:
    """Filters trades by the very function that training used.

    Needs the core installation alone: no gymnasium, torch or pandas. Keeps the breaker's state
    between checks, in which the orders sent are; nothing else is remembered.

    Args:
        manager: the risk layer.
        state: where to go on from; a fresh state by default.
        digest: of the bundle it was loaded from.
        sinks: each is handed every decision; none changes or stops one
            (`riskenv.alert_sinks.dispatch`).

    Raises:
        TypeError: an argument of another type, here and of every method.

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
        >>> before = gate.state
        >>> gate.what_if(book, market, {spy: 5.0}).verdict.value, gate.state is before
        ('ALLOW', True)
    """

    def __init__(
        self,
        manager: PortfolioRiskManager,
        state: BreakerState | None = None,
        digest: str = "",
        sinks: Iterable[AlertSink] = (),
    ) -> None:
        require(PortfolioRiskManager, manager=manager)
        require((BreakerState, type(None)), state=state)
        require(str, digest=digest)
        self.manager = manager
        self.state = state or BreakerState()
        self.digest = digest
        self.sinks = tuple(sinks)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        state: BreakerState | None = None,
        sinks: Iterable[AlertSink] = (),
    ) -> RiskGate:
        """From a bundle.

        Args:
            state: where the last run ended, `BreakerState.from_dict` of what it saved; without it
                the day's start, the high-water mark and a halt are forgotten.

        Raises:
            BundleError: the bundle is damaged, or not one.
        """
        require((str, Path), path=path)
        manager, digest = load_bundle(path)
        return cls(manager, state, digest, sinks)

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
        # The state moves on only with the decision: a call that raises can be made again, and a
        # flow is not counted twice.
        self.state, decision = self._checked(portfolio, market, trades, external_flow, strategy)
        dispatch(decision, self.sinks)
        return decision

    def what_if(
        self,
        portfolio: Portfolio,
        market: Market,
        trades: Mapping[Instrument, float] | NDArray[np.float64],
        external_flow: float = 0.0,
        strategy: str = "",
    ) -> Decision:
        """What `check` would decide; nothing is remembered, and no sink is told."""
        return self._checked(portfolio, market, trades, external_flow, strategy)[1]

    def _checked(
        self,
        portfolio: Portfolio,
        market: Market,
        trades: Mapping[Instrument, float] | NDArray[np.float64],
        external_flow: float,
        strategy: str,
    ) -> tuple[BreakerState, Decision]:
        require(Market, market=market)
        state, assessment = self.manager.assess(self.state, portfolio, market, external_flow)
        return self._decided(state, assessment, trades, strategy)

    def _decided(
        self,
        state: BreakerState,
        assessment: Assessment,
        trades: Mapping[Instrument, float] | NDArray[np.float64],
        strategy: str,
    ) -> tuple[BreakerState, Decision]:
        if isinstance(trades, Mapping):
            trades = assessment.table.vector(trades, "trades")
        proposal = self.manager.propose(assessment, trades, strategy)
        if strategy in state.orders.throttled:  # what is denied gives way to what is due
            proposal = beside_nothing(assessment, proposal.trades[:1], strategy)
        return self.manager.decide(state, assessment, proposal)

    def decide(
        self, portfolio: Portfolio, market: Market, proposal: Proposal, external_flow: float = 0.0
    ) -> Decision:
        """The same for a caller who lists the trades that may stand in for the request."""
        state, assessment = self.manager.assess(self.state, portfolio, market, external_flow)
        self.state, decision = self.manager.decide(state, assessment, proposal)
        dispatch(decision, self.sinks)
        return decision

    def check_order(
        self, portfolio: Portfolio, market: Market, order: Order, external_flow: float = 0.0
    ) -> Decision:
        """Put one order to the caps and to the controls on orders (`RiskLimits.orders`).

        `decision.order` is what may be sent, cut to size where the caps want it, and counts as
        sent; None = nothing is. `decision.trades` may then be a reduction of the layer's own.

        Raises:
            ValueError: the market does not cover the instrument, the lots are no number other than
                0, or the market is older than the last one.
        """
        return self.check_orders(portfolio, market, [order], external_flow)[0]

    def check_orders(
        self,
        portfolio: Portfolio,
        market: Market,
        orders: Sequence[Order],
        external_flow: float = 0.0,
    ) -> tuple[Decision, ...]:
        """The same for orders that are sent together, each judged with those accepted before it.

        An accepted order counts as a working order of the book, which may be filled in any part.
        Where the layer reduces the book, one decision carries the reduction, and no other.

        Raises:
            ValueError: see `check_order`; nothing counts as sent then.
        """
        require(Sequence, orders=orders)
        for place, order in enumerate(orders):
            require(Order, **{f"orders[{place}]": order})
        state, decisions, reduced = self.state, [], False
        if not orders:  # a flow is no loss, whether or not anything is ordered
            state, _ = self.manager.assess(state, portfolio, market, external_flow)
        for order in orders:
            state, assessment = self.manager.assess(state, portfolio, market, external_flow)
            external_flow = 0.0  # counted once
            proposal = proposal_for_order(assessment, order, reductions=not reduced)
            state, decision = self.manager.decide(state, assessment, proposal)
            decisions.append(decision)
            if decision.trades.any():
                working = np.concatenate([portfolio.orders, decision.trades[None, :]])
                portfolio = replace(portfolio, working=working)
                reduced = reduced or decision.order is None
        self.state = state
        for decision in decisions:
            dispatch(decision, self.sinks)
        return tuple(decisions)

    def executed(self, strategy: str, now: int) -> None:
        """An order of the strategy was executed; `OrderLimits.max_executions` of them put it off.

        Args:
            now: nanoseconds UTC. An instant before the last one seen counts as that one; no market
                from before it is decided on afterwards.
        """
        require(str, strategy=strategy)
        self._orders(
            order_window.record_execution(
                self.state.orders, strategy, self._not_before(now), self.manager.limits.orders
            )
        )

    def cancelled(self, now: int) -> None:
        """A cancel is sent: it counts as a message, and is never denied. `now` as in `executed`."""
        window = self.state.orders
        limits = self.manager.limits.orders
        self._orders(order_window.record_cancel(window, self._not_before(now), limits))

    def re_enable(self, strategy: str, token: str, reason: str) -> None:
        """Put a strategy on again with the operator's token.

        Args:
            reason: why; kept in the state.

        Raises:
            PermissionError: the strategy is not off, no token is configured, or it is the wrong
                one.
            ValueError: no reason given.
        """
        require(str, strategy=strategy, token=token, reason=reason)
        limits = self.manager.limits
        self._orders(
            order_window.re_enable(
                self.state.orders, strategy, token, limits.orders, reason,
                limits.operator_token_sha256,
            )
        )  # fmt: skip

    def _not_before(self, now: int) -> int:
        require(WHOLE_NUMBER, now=now)
        last = self.state.orders.time
        return now if last is None else max(now, last)

    def _orders(self, window: OrderWindow) -> None:
        self.state = replace(self.state, orders=window)

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

    def reduce_while_halted(
        self,
        portfolio: Portfolio,
        market: Market,
        trades: Mapping[Instrument, float] | NDArray[np.float64],
        token: str,
        reason: str,
        external_flow: float = 0.0,
        strategy: str = "",
    ) -> Decision:
        """What `check` decides at BLOCK_NEW, where only reductions pass, this once and with the
        operator's token; the halt goes on.

        Args:
            reason: why the book is reduced; among the reasons of the decision.

        Raises:
            PermissionError: no halt, no token configured, or the wrong one.
            ValueError: no reason given, or as of `check`.

        Example:
            >>> import hashlib
            >>> from riskenv import Caps, Instrument, InstrumentTable, RiskLimits, Sessions
            >>> hour, spy = 3_600_000_000_000, Instrument("SPY")
            >>> days = np.arange(10) * 24 * hour
            >>> limits = RiskLimits(
            ...     caps=Caps(delta=100), operator_token_sha256=hashlib.sha256(b"mine").hexdigest())
            >>> gate = RiskGate(PortfolioRiskManager(
            ...     limits, Sessions(days + 14 * hour, days + 21 * hour)))
            >>> table = InstrumentTable.of([spy])
            >>> market = Market(15 * hour, table, np.array([400.0]), 0.02, np.zeros(1),
            ...                 np.array([399.99]), np.array([400.01]), np.zeros(1))
            >>> book = Portfolio.of(table, {spy: 50.0}, cash=1e5)
            >>> gate.halt("feed is down")
            >>> gate.check(book, market, {spy: -50.0}).verdict.value
            'BLOCK'
            >>> d = gate.reduce_while_halted(book, market, {spy: -50.0}, "mine", "close by hand")
            >>> d.verdict.value, d.trades.tolist(), d.reasons[0].code, gate.state.rung.name
            ('ALLOW', [-50.0], 'operator_approved', 'HALTED')
        """
        require(str, token=token, reason=reason)
        if self.state.rung != Rung.HALTED:
            raise PermissionError(f"rung: got {self.state.rung.name}; only HALTED needs it")
        check_token(token, self.manager.limits.operator_token_sha256, "this halt")
        if not reason.strip():
            raise ValueError(f"reason: got {reason!r}; allowed: why the book is reduced")
        state, assessment = self.manager.assess(self.state, portfolio, market, external_flow)
        # What else is due was not approved, and waits for the end of the halt.
        nothing = np.zeros_like(assessment.least)
        assessment = replace(assessment, rung=Rung.BLOCK_NEW, scopes=(), least=nothing)
        state, decision = self._decided(
            replace(state, rung=Rung.BLOCK_NEW), assessment, trades, strategy
        )
        self.state = replace(state, rung=Rung.HALTED)
        approved = Reason.of("operator_approved", reason=reason)
        alerts = (alert for alert in decision.alerts if alert.code != "rung_block_new")
        decision = replace(
            decision, state=self.state, rung=Rung.HALTED, reasons=(approved, *decision.reasons),
            alerts=(Alert("critical", "rung_halted", ""), *alerts),
        )  # fmt: skip
        dispatch(decision, self.sinks)
        return decision

    def reduction_plan(
        self,
        portfolio: Portfolio,
        market: Market,
        shares: Mapping[str, float] | None = None,
        strategy: str = "",
    ) -> ReductionPlan:
        """The cheapest plan that brings what is broken back inside, or takes a share off measures:
        {"delta": 0.3} is "reduce delta by 30 %". Advice; changes no state.

        Args:
            strategy: as of `PortfolioRiskManager.reduction_plan`.

        Raises:
            ValueError: as of `PortfolioRiskManager.reduction_plan`.
        """
        _, assessment = self.manager.assess(self.state, portfolio, market)
        return self.manager.reduction_plan(assessment, shares, strategy)

    def report(
        self, portfolio: Portfolio, market: Market, recorded_pnl: ArrayLike | None = None
    ) -> dict[str, Any]:
        """Greeks, VaR, events and rung of a book, as JSON; changes no state.

        Args:
            recorded_pnl: (N,) recorded P&L of the portfolio a session, oldest first, whose VaR
                stands beside that of the book.
        """
        _, assessment = self.manager.assess(self.state, portfolio, market)
        return self.manager.report(assessment, recorded_pnl)
