"""The portfolio risk manager: assess the book, then decide on a proposal. One function for all.

    state, assessment = manager.assess(state, portfolio, market)
    state, decision = manager.decide(state, assessment, proposal)

Both are pure: what they return depends on their arguments and the configuration alone. Training,
evaluation and the live gate call exactly these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riskenv.arguments import NUMBER, WHOLE_NUMBER, require
from riskenv.assessment import Assessment
from riskenv.book_measures import book_measures
from riskenv.book_rows import Layout
from riskenv.circuit_breaker import BreakerState, Rung, mark_equity
from riskenv.config import ConfigError
from riskenv.configuration_digest import configuration_digest
from riskenv.correction import propose
from riskenv.decision import Decision
from riskenv.event_reductions import SizesDue
from riskenv.event_trades import rung_due
from riskenv.event_values import Caution
from riskenv.events import Event
from riskenv.explanation import explain
from riskenv.factor_history import FactorHistory
from riskenv.gap_risk_monitor import EventPolicy, GapRiskMonitor, UnknownDays
from riskenv.ladder import caps_in_force, climbed, rung_of_all, use_of
from riskenv.limits import RiskLimits
from riskenv.market import Market
from riskenv.measures import GAP, STRESS, TAIL
from riskenv.order_decision import send, stays_off, without_the_request
from riskenv.portfolio import Portfolio
from riskenv.projection import Proposal
from riskenv.proxies import with_proxies
from riskenv.reduction import ReductionPlan
from riskenv.reduction_of_book import forced_plan, reduce_by
from riskenv.risk_matrices import NO_JUMPS, JumpsOfMarket, MatrixCache
from riskenv.risk_report import risk_report, var_report
from riskenv.scenario_set import (
    book_tails,
    refuse_missing_factors,
    scenario_set,
    unknown_beyond,
)
from riskenv.scenarios import ScenarioSet
from riskenv.selection import allowed_rows, evaluate, replacement
from riskenv.sessions import Sessions
from riskenv.tails import BookTails
from riskenv.var_calculator import VarReport
from riskenv.var_config import VarConfig

FloatArray = NDArray[np.float64]


class PortfolioRiskManager:
    """Sits above every trading decision: caps, breaker, VaR and events in one place.

    Args:
        limits: caps and breaker levels.
        sessions: the exchange calendar, reaching past the last horizon and event.
        history: factor moves that scenarios are drawn from; without it no tail measure may be
            capped.
        var: how VaR is computed.
        events: the event calendar; event_policy: what it does to the caps.
        sectors: ticker -> sector; unknown_days: days that no event source covers
            (`GapRiskMonitor`).
        cache_bytes: memory for the matrices of past instants.

    Raises:
        ConfigError: a tail measure is capped and there is no history, a stress and there is no grid
            of its horizon; a proxy, a GARCH parameter or overnight moves are missing; or an event
            rule hedges the gap and there is no cap on it.
        TypeError: an argument of another type, as of every public method here.
    """

    def __init__(
        self,
        limits: RiskLimits,
        sessions: Sessions,
        *,
        history: FactorHistory | None = None,
        var: VarConfig | None = None,
        events: Iterable[Event] = (),
        event_policy: EventPolicy | None = None,
        sectors: Mapping[str, str] | None = None,
        unknown_days: Iterable[UnknownDays] = (),
        cache_bytes: int = 1 << 30,
    ) -> None:
        require(RiskLimits, limits=limits)
        require(Sessions, sessions=sessions)
        require((FactorHistory, type(None)), history=history)
        require((VarConfig, type(None)), var=var)
        require((EventPolicy, type(None)), event_policy=event_policy)
        require(WHOLE_NUMBER, cache_bytes=cache_bytes)
        self.limits = limits
        self.sessions = sessions
        self.history = history
        self.var = var or VarConfig()
        # What scenarios are drawn from; the history itself is what is told and saved.
        self._factors = None
        if history is not None:
            self._factors = with_proxies(history, self.var.proxies).on(sessions)
        self.monitor = GapRiskMonitor(
            events, event_policy or EventPolicy(), sessions, sectors, unknown_days
        )
        self._layouts: dict[tuple[str, ...], Layout] = {}
        self._beyond_history: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._tails_of: WeakKeyDictionary[Any, BookTails] = WeakKeyDictionary()
        self._refuse_unknowable_caps()
        if self._factors is not None:
            refuse_missing_factors(self.var, self._factors)
        for rule in self.monitor.policy.rules:
            if rule.hedges and limits.caps.gap_loss is None and limits.of_equity.gap_loss is None:
                raise ConfigError(
                    f"event_policy: the rule of {rule.event_type!r} hedges a gap loss outside its "
                    "cap, and there is none; allowed: with a cap on gap_loss"
                )
        self._sizes_due = SizesDue()
        self._cache_bytes = cache_bytes
        self._cache = MatrixCache(self._scenarios_at, cache_bytes, self.var.revaluation)

    def _refuse_unknowable_caps(self) -> None:
        """Refuse caps on what nothing given can tell."""
        stressed = dict(zip(STRESS, self.var.stress.horizons, strict=True))
        for where in ("caps", "of_equity"):
            for name in (*TAIL, *GAP, *STRESS):
                cap = getattr(getattr(self.limits, where), name)
                if cap is not None and not stressed.get(name, self.history is not None):
                    needs = (
                        "a stress cap needs a grid with a scenario of that horizon "
                        "(var.stress: span, grid or crises)"
                        if name in STRESS
                        else "a tail cap needs a factor history to compute the measure from "
                        "(history=...)"
                    )
                    raise ConfigError(f"{where}.{name}: got {cap}; {needs}")

    @cached_property
    def config_digest(self) -> str:
        """sha256 of all that a decision follows from besides its arguments, hex."""
        return configuration_digest(
            self.limits, self.var, self.monitor, self.sessions, self.history
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the cache: it is rebuilt where the copy lives.
        return _rebuild, (
            self.limits,
            self.sessions,
            self.history,
            self.var,
            self.monitor.events,
            self.monitor.policy,
            self.monitor.sectors,
            self.monitor.unknown,
            self._cache_bytes,
        )

    def _jumps_of(self, market: Market) -> tuple[JumpsOfMarket, tuple[Caution, ...]]:
        """What jumps by the market alone, and where quotes imply no jump though they should."""
        if self._factors is None:
            return NO_JUMPS, ()
        tickers = market.table.underlyings
        lacking = self._beyond_history.get(tickers)
        if lacking is None:
            known = self._factors.underlyings
            lacking = tuple(ticker for ticker in tickers if ticker not in known)
            self._beyond_history[tickers] = lacking
        if not self.monitor.asks_quotes:
            return (JumpsOfMarket(lacking) if lacking else NO_JUMPS), ()
        moves, cautions = self.monitor.implied_moves(market, (*self._factors.underlyings, *lacking))
        return JumpsOfMarket(lacking, moves if moves.size else None), cautions

    def _scenarios_at(self, now: int, of_market: JumpsOfMarket) -> ScenarioSet | None:
        history, (lacking, implied) = self._factors, of_market
        if history is None:
            if not any(self.var.stress.horizons):
                return None
            return scenario_set(None, self.sessions, now, self.var)
        jumps = self.monitor.window(now, (*history.underlyings, *lacking)).jumps
        past = unknown_beyond(self.monitor.past_moves(now, history), lacking)
        if implied is not None:
            past = np.concatenate([past, implied], axis=1)
        return scenario_set(history, self.sessions, now, self.var, jumps, past, lacking)

    # -- assess ---------------------------------------------------------------------------------

    def assess(
        self,
        state: BreakerState,
        portfolio: Portfolio,
        market: Market,
        external_flow: float = 0.0,
    ) -> tuple[BreakerState, Assessment]:
        """Greeks, VaR, events and the rung of the book as it stands.

        Args:
            external_flow: money paid in (> 0) or out since the last call.

        Raises:
            ValueError: the portfolio and the market are over different tables, time went back, or
                a strategy of the portfolio is none of `RiskLimits.by_strategy`, where that lists
                any.
            CalendarRangeError: `market.now` lies outside the session calendar.
        """
        require(BreakerState, state=state)
        require(Portfolio, portfolio=portfolio)
        require(Market, market=market)
        require(NUMBER, external_flow=external_flow)
        for tag in portfolio.strategies:
            self._refuse_unknown(tag)
        if portfolio.table is not market.table:
            raise ValueError("portfolio, market: must be over the same InstrumentTable object")
        market = market.under(self.limits.quotes)
        limits, tickers = self.limits, market.table.underlyings
        jumps, _ = self._jumps_of(market)
        matrices = self._cache.matrices(market, jumps)
        tails = self._tails(self._cache.scenarios(market.now, jumps))
        layout = self._layout(tickers)
        measured = book_measures(portfolio, market, matrices, tails, layout, limits)
        interval, equity = measured.interval, measured.equity
        state = mark_equity(state, equity, market.now, self.sessions, limits, external_flow)
        orders = state.orders.latched(limits.orders)
        if orders is not state.orders:  # the limit was lowered since
            state = replace(state, orders=orders)
        day_loss = _loss(equity, state.day_start_equity)
        drawdown = _loss(equity, state.high_water_mark)

        window = self.monitor.window(market.now, tickers)
        least = held_up = np.zeros(len(market.table))
        entry_blocked = np.zeros(len(market.table), dtype=np.bool_)
        tighter = None
        if not window.calm:
            tighter = window.cap_multipliers(layout.measures, layout.tickers)
            entry_blocked = window.blocked(tickers)[market.table.underlying_index]
        if window.sizing or state.event_sizes:
            shares = window.size_fractions(tickers)
            sizes, least, held_up = self._sizes_due(state.event_sizes, shares, portfolio)
            if sizes is not state.event_sizes:
                state = replace(state, event_sizes=sizes)
        low, high = caps_in_force(limits, layout, equity, tighter)
        use = use_of(
            measured, matrices, portfolio, layout, limits, state.losses, low, high, tighter
        )
        account = limits.account_used(day_loss, drawdown, equity)
        state = climbed(
            state, use, account, window, portfolio, matrices, layout, self.sessions, limits
        )
        rung = rung_of_all(state, use, layout, limits)
        # What the calendar asks for ends with it, and is no state of the breaker.
        if window.market_blocked:
            rung = max(rung, Rung.BLOCK_NEW)
        if window.sizing:
            rung = max(rung, rung_due(window, portfolio, least))
        return state, Assessment(
            portfolio, market, layout.names, interval, low, high, use.used, rung, state.scopes,
            window, equity, day_loss, drawdown, measured.rows, layout.strategies, matrices,
            measured.base_pnl, tails, measured.blocked, entry_blocked, least, held_up,
            state.orders.throttled, limits,
        )  # fmt: skip

    def _tails(self, scenarios: ScenarioSet | None) -> BookTails:
        """`book_tails`, kept as long as the scenarios are."""
        if scenarios is None:
            return self._no_tails
        tails = self._tails_of.get(scenarios)
        if tails is None:
            tails = book_tails(scenarios, self.var, self.history is not None)
            self._tails_of[scenarios] = tails
        return tails

    @cached_property
    def _no_tails(self) -> BookTails:
        return book_tails(None, self.var, self.history is not None)

    def _layout(self, underlyings: tuple[str, ...]) -> Layout:
        if underlyings not in self._layouts:
            self._layouts[underlyings] = Layout.of(self.limits, underlyings)
        return self._layouts[underlyings]

    def _refuse_unknown(self, strategy: str) -> None:
        """A tag that no cap knows, where strategies have caps, would be a way past them."""
        listed = self.limits.by_strategy
        if strategy and listed and strategy not in listed:
            raise ValueError(
                f"strategy: got {strategy!r}; allowed: {', '.join(listed)}, as listed in "
                "RiskLimits.by_strategy (one without caps is {tag: {}})"
            )

    # -- decide ---------------------------------------------------------------------------------

    def propose(
        self,
        assessment: Assessment,
        trades: Sequence[float] | FloatArray,
        strategy: str = "",
        *,
        box_low: FloatArray | None = None,
        box_high: FloatArray | None = None,
    ) -> Proposal:
        """A request with all that may be done in its place, for a caller with free choice of
        trades: `riskenv.correction.propose`."""
        require(Assessment, assessment=assessment)
        require(str, strategy=strategy)
        self._refuse_unknown(strategy)
        return propose(assessment.for_strategy(strategy), trades, strategy, box_low, box_high)

    def reduction_plan(
        self,
        assessment: Assessment,
        shares: Mapping[str, float] | None = None,
        strategy: str = "",
    ) -> ReductionPlan:
        """The cheapest whole-lot plan that brings every broken measure to its release level, or
        that reduces the measures named by a share of their size: {"delta": 0.3}.

        Its steps are in an order that the book may stop after. It is advice: hand what is to be
        done to `decide`, as any other request.

        Args:
            strategy: the tag of the trades, which may close the strategy's positions alone, and
                move its measures; "" = anything held is closed, and no strategy's measures move:
                one of them outside its cap leaves such a plan unresolved.

        Raises:
            ValueError: a measure that no sum of these positions has, a share outside 0 to 1, or a
                strategy that is none of `RiskLimits.by_strategy`, where that lists any.
        """
        require(Assessment, assessment=assessment)
        require(str, strategy=strategy)
        self._refuse_unknown(strategy)
        if strategy:
            assessment = replace(assessment, reduced=strategy)
        require((Mapping, type(None)), shares=shares)
        for name, share in (shares or {}).items():
            require(NUMBER, **{f"shares[{name!r}]": share})
        if shares:
            return reduce_by(assessment, shares, strategy)
        return forced_plan(assessment, strategy)

    def decide(
        self, state: BreakerState, assessment: Assessment, proposal: Proposal
    ) -> tuple[BreakerState, Decision]:
        """Choose what is done: the request if it may pass, else the nearest row that may.

        Nearest: by `CorrectionRule.norm` of the difference to the request, ties to the lowest
        row. Where a reduction is due, only rows that bring every broken measure back to its
        release level may pass; if none does, the row that comes closest, and a reason says so.
        What the proposal's order would then be is put to the controls on orders; a request without
        one is denied if its strategy is off.

        A proposal whose rows are all trades leaves no way to do nothing: what is done then, where
        no row may pass (at HALTED only an empty one may), is the row that violates the caps least,
        a reduction first, with the verdict VIOLATE and the reason and critical alert
        "least_violating". Whoever can do nothing lists the empty row.

        Raises:
            ValueError: the assessment is of other limits or instruments, or the strategy is none of
                `RiskLimits.by_strategy`, where that lists any.
        """
        require(BreakerState, state=state)
        assessment = self._at_rung_of(state, assessment, proposal)
        candidates = evaluate(assessment, proposal.trades, proposal.strategy)
        allowed = allowed_rows(assessment, proposal, candidates)
        row, flaw = proposal.asked, ""
        if not allowed[row]:
            row, flaw = replacement(assessment, proposal, candidates, allowed)
        sending = send(state, assessment, proposal, row, flaw)
        decision = explain(assessment, proposal, candidates, sending, self.config_digest)
        return sending.state, decision

    def _at_rung_of(
        self, state: BreakerState | None, assessment: Assessment, proposal: Proposal
    ) -> Assessment:
        """The assessment at the rung that the strategy meets now: the book may have been halted
        since, or the strategy put off."""
        require(Assessment, assessment=assessment)
        require(Proposal, proposal=proposal)
        self._refuse_unknown(proposal.strategy)
        if assessment.limits is not self.limits and assessment.limits != self.limits:
            raise ValueError("assessment: made under other limits than these; assess again")
        if state is not None:
            if state.rung > assessment.rung:
                assessment = replace(assessment, rung=state.rung)
            if state.orders.throttled != assessment.throttled:
                assessment = replace(assessment, throttled=state.orders.throttled)
        return assessment.for_strategy(proposal.strategy)

    def mask(
        self, assessment: Assessment, proposal: Proposal, state: BreakerState | None = None
    ) -> NDArray[np.bool_]:
        """(A,) rows that `decide` would do unchanged if they were asked for; never all False.

        True is where `decide` says ALLOW, or at a rung that reduces, REDUCE with the row itself.
        Where it would do so of no row, the one True row is what it does in place of any of them,
        the one that comes closest ("flatten_unresolved") or is "least_violating".

        Args:
            state: as `decide` would be given it; None = nothing happened since the assessment.

        Raises:
            ValueError: as of `decide`, or the proposal has an order.
        """
        require((BreakerState, type(None)), state=state)
        assessment = self._at_rung_of(state, assessment, proposal)
        if proposal.order is not None:
            raise ValueError("proposal: has an order, whose controls no mask knows; ask decide")
        candidates = evaluate(assessment, proposal.trades, proposal.strategy, all_tails=False)
        allowed = allowed_rows(assessment, proposal, candidates)
        off = proposal.strategy in assessment.throttled
        if off:
            allowed &= stays_off(proposal)
        if not allowed.any():
            if off:
                row, _ = without_the_request(assessment, proposal)
            else:
                row, _ = replacement(assessment, proposal, candidates, allowed)
            allowed[row] = True
        return allowed

    def what_if(self, state: BreakerState, assessment: Assessment, proposal: Proposal) -> Decision:
        """The decision, with the new state thrown away."""
        return self.decide(state, assessment, proposal)[1]

    # -- reports --------------------------------------------------------------------------------

    def _scenarios(self, market: Market) -> ScenarioSet | None:
        return self._cache.scenarios(market.now, self._jumps_of(market)[0])

    def var_report(self, a: Assessment, recorded_pnl: ArrayLike | None = None) -> VarReport:
        """VaR of the held book against its limits: `riskenv.risk_report.var_report`."""
        require(Assessment, assessment=a)
        return var_report(self.limits, self.var, self._scenarios(a.market), a, recorded_pnl)

    def report(self, a: Assessment, recorded_pnl: ArrayLike | None = None) -> dict[str, Any]:
        """The four systems' output: "greeks", "var", "events", and the rung; JSON-ready:
        `riskenv.risk_report.risk_report`.

        Args:
            recorded_pnl: as of `riskenv.risk_report.var_report`.
        """
        require(Assessment, assessment=a)
        cautions = self._jumps_of(a.market)[1]
        scenarios = self._scenarios(a.market)
        return risk_report(
            self.limits, self.var, self.monitor, scenarios, cautions, a, recorded_pnl
        )


def _rebuild(  # type: ignore[no-untyped-def]
    limits, sessions, history, var, events, policy, sectors, unknown_days, cache_bytes
):
    return PortfolioRiskManager(
        limits,
        sessions,
        history=history,
        var=var,
        events=events,
        event_policy=policy,
        sectors=sectors,
        unknown_days=unknown_days,
        cache_bytes=cache_bytes,
    )


def _loss(equity: float, mark: float) -> float:
    """min(0, equity - mark), NaN kept."""
    change = equity - mark
    return change if not (change >= 0.0) else 0.0
