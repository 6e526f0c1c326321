"""The portfolio risk manager: assess the book, then decide on a proposal. One function for all.

    state, assessment = manager.assess(state, portfolio, market)
    state, decision = manager.decide(state, assessment, proposal)

Both are pure: what they return depends on their arguments and the configuration alone. Training,
evaluation and the live gate call exactly these.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from riskenv.admissibility import admissible, lowers_risk, measure, shrinking, tails_of
from riskenv.canonical import digest
from riskenv.circuit_breaker import BreakerState, Rung, climb, mark_equity
from riskenv.config import ConfigError
from riskenv.decision import REASONS, Alert, Decision, Reason, Verdict
from riskenv.events import Event
from riskenv.factor_history import FactorHistory
from riskenv.gap_risk_monitor import EventPolicy, EventWindow, GapRiskMonitor
from riskenv.instruments import InstrumentTable
from riskenv.limits import RiskLimits
from riskenv.market import Market
from riskenv.measures import ACCOUNT, GAP, HORIZONS, INDEX, LINEAR, MEASURES, TAIL, utilisation
from riskenv.portfolio import Portfolio
from riskenv.portfolio_greeks import book_sums, portfolio_greeks
from riskenv.projection import Proposal
from riskenv.risk_matrices import MatrixCache, RiskMatrices
from riskenv.scenarios import ScenarioSet, historical_scenarios
from riskenv.sessions import Sessions
from riskenv.var_calculator import VarConfig, VarReport, tail_count

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Assessment:
    """The book's risk at one instant, before any trade.

    Attributes:
        portfolio, market: what was assessed.
        before: (M,) the book's measures; NaN = Unknown.
        low, high: (M,) caps in force, tightened by events.
        used: (M,) share of each cap in use.
        rung: the rung that holds; events: what the calendar says.
        equity, day_loss, drawdown: currency; the losses are <= 0; NaN = Unknown.
        matrices, base_pnl: X, P and the book's scenario P&L, for candidates.
    """

    portfolio: Portfolio
    market: Market
    before: FloatArray
    low: FloatArray
    high: FloatArray
    used: FloatArray
    rung: Rung
    events: EventWindow
    equity: float
    day_loss: float
    drawdown: float
    matrices: RiskMatrices
    base_pnl: FloatArray
    bounds: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def table(self) -> InstrumentTable:
        return self.market.table

    @property
    def reducing(self) -> bool:
        """Whether the layer will reduce the book by itself."""
        return self.rung in (Rung.REDUCE, Rung.FLATTEN)

    def breached(self) -> tuple[str, ...]:
        """Measures that are outside their cap, or Unknown, before any trade."""
        return tuple(
            name for j, name in enumerate(MEASURES) if _capped(self, j) and not self.used[j] <= 1.0
        )


@dataclass(frozen=True, eq=False)
class _Candidates:
    """What A candidate trades make of the book."""

    after: FloatArray
    admissible: BoolArray
    empty: BoolArray
    shrinks: BoolArray


class PortfolioRiskManager:
    """Sits above every trading decision: caps, breaker, VaR and events in one place.

    Args:
        limits: caps and breaker levels.
        sessions: the exchange calendar, reaching past the last horizon and event.
        history: factor moves that scenarios are drawn from; without it no tail measure may be
            capped.
        var: how VaR is computed.
        events: the event calendar; event_policy: what it does to the caps.
        cache_bytes: memory for the matrices of past instants.

    Raises:
        ConfigError: a tail measure is capped and there is no history.
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
        cache_bytes: int = 1 << 30,
    ) -> None:
        self.limits = limits
        self.sessions = sessions
        self.history = history
        self.var = var or VarConfig()
        self.monitor = GapRiskMonitor(events, event_policy or EventPolicy(), sessions)
        self._low, self._high = limits.bounds()
        self._account_low, self._account_high = limits.account_bounds()
        if history is None:
            for name in (*TAIL, *GAP):
                if getattr(limits.caps, name) is not None:
                    raise ConfigError(
                        f"caps.{name}: got {getattr(limits.caps, name)}; a tail cap needs a "
                        "factor history to compute the measure from (history=...)"
                    )
        self._cache_bytes = cache_bytes
        self._cache = MatrixCache(self._scenarios_at, cache_bytes)
        self.config_digest = digest(
            {
                "limits": limits.model_dump(mode="json"),
                "var": self.var.model_dump(mode="json"),
                "event_policy": self.monitor.policy.model_dump(mode="json"),
            }
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
            self._cache_bytes,
        )

    def _scenarios_at(self, now: int) -> ScenarioSet | None:
        if self.history is None:
            return None
        jumps = self.monitor.window(now).jumps
        return historical_scenarios(self.history, self.sessions, now, self.var, jumps)

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
            ValueError: the portfolio and the market are over different tables, or time went back.
            CalendarRangeError: `market.now` lies outside the session calendar.
        """
        if portfolio.table is not market.table:
            raise ValueError("portfolio, market: must be over the same InstrumentTable object")
        session = self.sessions.session_of(market.now)
        equity = _equity(portfolio, market)
        state = mark_equity(state, equity, session, external_flow)
        day_loss = _loss(equity, state.day_start_equity)
        drawdown = _loss(equity, state.high_water_mark)

        matrices = self._cache.matrices(market)
        scenarios = self._cache.scenarios(market.now)
        bounds, counts = self._blocks(scenarios)
        before, base_pnl = self._measures(portfolio, matrices, bounds, counts, scenarios)

        window = self.monitor.window(market.now)
        low, high = self._low * window.cap_multiplier, self._high * window.cap_multiplier
        used = utilisation(before, low, high)
        account = utilisation(np.array([day_loss, drawdown]), self._account_low, self._account_high)
        state = climb(
            state,
            self._rung(used, account, window, 1.0),
            self._rung(used, account, window, self.limits.release),
            self.limits,
        )
        return state, Assessment(
            portfolio, market, before, low, high, used, state.rung, window,
            equity, day_loss, drawdown, matrices, base_pnl, bounds, counts,
        )  # fmt: skip

    def _blocks(self, scenarios: ScenarioSet | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First scenario of each block and the size of each horizon's tail."""
        if scenarios is None:
            return np.zeros(len(HORIZONS) + 2, dtype=np.int64), np.ones(len(HORIZONS), np.int64)
        sizes = np.diff(scenarios.bounds)[: len(HORIZONS)]
        counts = [tail_count(int(size), self.var.tail_probability) for size in sizes]
        return scenarios.bounds, np.array(counts, dtype=np.int64)

    def _measures(
        self,
        portfolio: Portfolio,
        matrices: RiskMatrices,
        bounds: NDArray[np.int64],
        counts: NDArray[np.int64],
        scenarios: ScenarioSet | None,
    ) -> tuple[FloatArray, FloatArray]:
        before = np.empty(len(MEASURES))
        base_pnl = np.empty(scenarios.size if scenarios is not None else 0)
        quantity, rows = portfolio.quantity, matrices.rows
        book_sums(quantity, matrices.X, rows, before[: len(LINEAR)])
        book_sums(quantity, matrices.P, rows, base_pnl)
        worst = np.empty(int(counts.max()))
        p = self.var.tail_probability
        tails_of(base_pnl, bounds, counts, p, worst, len(LINEAR), before)
        if scenarios is None:
            before[len(LINEAR) :] = np.nan
        return before, base_pnl

    def _rung(
        self, used: FloatArray, account: FloatArray, window: EventWindow, level: float
    ) -> Rung:
        """The rung called for, every threshold scaled by `level`. NaN fails each comparison."""
        limits = self.limits
        capped = np.isfinite(self._low) | np.isfinite(self._high)
        exposure = used[capped]
        if not (account <= limits.extreme * level).all():
            return Rung.BLOCK_NEW if np.isnan(account).any() else Rung.FLATTEN
        known = exposure[~np.isnan(exposure)]
        if (known > limits.extreme * level).any() or (window.reduce and (known > level).any()):
            return Rung.REDUCE
        if window.block_new or not (exposure <= level).all() or not (account <= level).all():
            return Rung.BLOCK_NEW
        warn = limits.warn * level
        return Rung.WARN if (exposure >= warn).any() or (account >= warn).any() else Rung.NORMAL

    # -- decide ---------------------------------------------------------------------------------

    def decide(
        self, state: BreakerState, assessment: Assessment, proposal: Proposal
    ) -> tuple[BreakerState, Decision]:
        """Choose what is done: the request if it may pass, else the nearest row that may.

        Nearest: least cost (half spread) of the difference to the request, ties to the lowest
        row. Where a reduction is due, only rows that bring every broken measure back to its
        release level may pass; if none does, the row that comes closest, and a reason says so.
        """
        candidates = self._evaluate(assessment, proposal.trades)
        allowed = self._allowed(assessment, proposal, candidates)
        row, flaw = proposal.asked, ""
        if not allowed[row]:
            row, flaw = self._replacement(assessment, proposal, candidates, allowed)
        return state, self._explain(state, assessment, proposal, candidates, allowed, row, flaw)

    def mask(self, assessment: Assessment, proposal: Proposal) -> BoolArray:
        """(A,) rows that `decide` would do unchanged if they were asked for; never all False."""
        candidates = self._evaluate(assessment, proposal.trades)
        allowed = self._allowed(assessment, proposal, candidates)
        if not allowed.any():
            row, _ = self._replacement(assessment, proposal, candidates, allowed)
            allowed[row] = True
        return allowed

    def what_if(self, state: BreakerState, assessment: Assessment, proposal: Proposal) -> Decision:
        """The decision, with the new state thrown away."""
        return self.decide(state, assessment, proposal)[1]

    def _evaluate(self, a: Assessment, trades: FloatArray) -> _Candidates:
        if trades.shape[1] != len(a.table):
            raise ValueError(
                f"trades: got {trades.shape[1]} columns; allowed: {len(a.table)}, one per "
                "instrument of the market's table"
            )
        count = len(trades)
        change, after = np.empty((count, len(MEASURES))), np.empty((count, len(MEASURES)))
        empty, shrinks, verdict = (np.empty(count, dtype=np.bool_) for _ in range(3))
        m, table = a.matrices, a.table
        measure(
            m.X, m.P, m.rows, a.before, a.base_pnl, trades, a.bounds, a.counts,
            self.var.tail_probability, change, after,
        )  # fmt: skip
        shrinking(a.portfolio.quantity, table.kind, table.underlying_index, trades, empty, shrinks)
        admissible(a.before, change, after, a.low, a.high, empty, shrinks, len(LINEAR), verdict)
        return _Candidates(after, verdict, empty, shrinks)

    def _reduces(self, a: Assessment, candidates: _Candidates, before: FloatArray) -> BoolArray:
        """(A,) non-empty rows that lower risk from `before`; where it is Unknown, that shrink."""
        limits = self.limits
        lowers = lowers_risk(
            before, candidates.after, a.low, a.high, limits.warn, self.history is not None
        )
        capped = np.isfinite(a.low) | np.isfinite(a.high)
        capped[: len(LINEAR)] = True
        unknown = np.isnan(candidates.after[:, capped]).any(axis=1)
        unknown |= np.isnan(before[..., capped]).any(axis=-1)
        result: BoolArray = ~candidates.empty & np.where(unknown, candidates.shrinks, lowers)
        return result

    def _allowed(self, a: Assessment, proposal: Proposal, candidates: _Candidates) -> BoolArray:
        """(A,) rows that may be done as they are, at the rung that holds."""
        if a.rung == Rung.HALTED:
            return candidates.empty.copy()
        if a.rung <= Rung.WARN:
            return candidates.admissible & _unforced(proposal)
        passing = self._passing(a, proposal, candidates)
        if a.rung == Rung.BLOCK_NEW:
            return passing & _unforced(proposal)
        result: BoolArray = passing & (self._shortfall(a, proposal, candidates) <= 0.0)
        return result

    def _passing(self, a: Assessment, proposal: Proposal, candidates: _Candidates) -> BoolArray:
        """(A,) admissible rows that are empty or reduce; a forced part must do so by itself, and
        what follows it must reduce what it leaves."""
        passing = candidates.admissible & (
            candidates.empty | self._reduces(a, candidates, a.before)
        )
        if proposal.forced is None:
            return passing
        first = self._evaluate(a, proposal.forced)
        alone = (proposal.trades == proposal.forced).all(axis=1)
        passing &= first.empty | (first.admissible & self._reduces(a, first, a.before))
        passing &= first.empty | alone | self._reduces(a, candidates, first.after)
        return passing

    def _shortfall(self, a: Assessment, proposal: Proposal, candidates: _Candidates) -> FloatArray:
        """(A,) how far each row leaves the book from where the rung wants it; 0 = there."""
        if a.rung == Rung.FLATTEN:
            left = np.abs(a.portfolio.quantity + proposal.trades)
            notional = a.table.multiplier * a.market.spot[a.table.underlying_index]
            return np.array([_ordered_sum(row * notional) for row in left])
        used = utilisation(candidates.after, a.low, a.high)
        over = np.maximum(used - self.limits.release, 0.0)
        # An Unknown measure cannot be brought anywhere by a target; what is broken and known can.
        broken = a.used > 1.0
        return np.array([_ordered_sum(row[broken]) for row in over])

    def _replacement(
        self,
        a: Assessment,
        proposal: Proposal,
        candidates: _Candidates,
        allowed: BoolArray,
    ) -> tuple[int, str]:
        """(row, code of what is wrong with it, "" for nothing)."""
        distance = _distance(a.market, proposal)
        if allowed.any():
            return _first_least(distance, allowed), ""
        if a.reducing:
            passing = self._passing(a, proposal, candidates)
            if passing.any():
                shortfall = self._shortfall(a, proposal, candidates)
                best = shortfall <= np.min(shortfall[passing])
                return _first_least(distance, passing & best), "flatten_unresolved"
        used = utilisation(candidates.after, a.low, a.high)
        violation = np.array([_ordered_sum(np.maximum(row - 1.0, 0.0)) for row in used])
        violation[np.isnan(violation)] = np.inf
        best = violation <= np.min(violation)
        return _first_least(distance, best), "least_violating"

    # -- explain --------------------------------------------------------------------------------

    def _explain(
        self,
        state: BreakerState,
        a: Assessment,
        proposal: Proposal,
        candidates: _Candidates,
        allowed: BoolArray,
        row: int,
        flaw: str,
    ) -> Decision:
        asked = proposal.asked
        after = candidates.after[row]
        used_after = utilisation(after, a.low, a.high)
        if row == asked and not flaw:
            verdict = Verdict.ALLOW
        elif a.reducing:
            verdict = Verdict.REDUCE
        else:
            verdict = Verdict.BLOCK if candidates.empty[row] else Verdict.RESIZE
        reasons = [] if verdict is Verdict.ALLOW else self._reasons(a, candidates, asked)
        if flaw:
            reasons.append(Reason(flaw, "", REASONS[flaw]))
        active = tuple(
            name
            for j, name in enumerate(MEASURES)
            if _capped(a, j) and not candidates.empty[row] and _worsens(a, j, used_after[j])
        )
        return Decision(
            now=a.market.now,
            verdict=verdict,
            row=row,
            asked=asked,
            table=a.table,
            trades=proposal.trades[row],
            before=a.before,
            after=after,
            low=a.low,
            high=a.high,
            used_before=a.used,
            used_after=used_after,
            rung=a.rung,
            reasons=tuple(reasons),
            alerts=_alerts(a, self.limits.warn, flaw),
            active=active,
            passive=a.breached(),
            equity=a.equity,
            state_digest=state.digest,
            config_digest=self.config_digest,
        )

    def _reasons(self, a: Assessment, candidates: _Candidates, asked: int) -> list[Reason]:
        """Why the request did not pass: the rung's rule, then each cap that it would break."""
        reasons = []
        code = _RUNG_REASONS.get(a.rung)
        if code is not None:
            reasons.append(Reason(code, "", REASONS[code].format(rung=a.rung.name)))
        after = candidates.after[asked]
        used = utilisation(after, a.low, a.high)
        for j, name in enumerate(MEASURES):
            if candidates.empty[asked] or not _capped(a, j) or used[j] <= 1.0:
                continue
            if np.isnan(after[j]):
                words = REASONS["unknown_risk"].format(measure=name)
                reasons.append(Reason("unknown_risk", name, words))
            else:
                cap = a.low[j] if after[j] < 0.0 else a.high[j]
                words = REASONS["cap_exceeded"].format(
                    measure=name, asked=float(after[j]), cap=float(cap)
                )
                reasons.append(Reason("cap_exceeded", name, words))
        return reasons

    # -- reports --------------------------------------------------------------------------------

    def var_report(self, a: Assessment) -> VarReport:
        """VaR of the held book against its limits (before any event tightening)."""
        var = a.before[[INDEX[f"var_{h}d"] for h in HORIZONS]]
        es = a.before[[INDEX[f"es_{h}d"] for h in HORIZONS]]
        limit = -self._low[[INDEX[f"var_{h}d"] for h in HORIZONS]]
        return VarReport(var, es, limit, self.limits.warn, self.var.tail_probability, a.day_loss)

    def report(self, a: Assessment) -> dict[str, Any]:
        """The four systems' output: "greeks", "var", "events", and the rung. JSON-ready."""
        gap = INDEX["gap_loss"]
        gap_pnl = a.base_pnl[a.bounds[-2] :] if len(a.base_pnl) else np.zeros(0)
        return {
            "greeks": portfolio_greeks(a.portfolio, a.market).to_dict(),
            "var": self.var_report(a).to_dict(),
            "events": self.monitor.report(
                a.market.now,
                float(a.before[gap]),
                float(-a.low[gap]),
                self.limits.warn,
                self.limits.extreme,
                gap_pnl,
                self._delta_hedges(a),
            ),
            "rung": a.rung.name,
        }

    def _delta_hedges(self, a: Assessment) -> list[FloatArray]:
        """Per ticker: P&L under each jump of selling the ticker's whole delta in shares."""
        scenarios = self._cache.scenarios(a.market.now)
        if scenarios is None:
            return []
        hedges = []
        table = a.table
        for u, ticker in enumerate(table.underlyings):
            delta = np.empty(1)
            held = np.where(table.underlying_index == u, a.portfolio.quantity, 0.0)
            book_sums(held, a.matrices.X, a.matrices.rows, delta)
            if ticker in scenarios.underlyings:
                row = scenarios.underlyings.index(ticker)
                factor = scenarios.spot_factor[row, scenarios.bounds[-2] :]
                hedges.append(-delta[0] * a.market.spot[u] * (factor - 1.0))
        return hedges


_RUNG_REASONS = {
    Rung.BLOCK_NEW: "rung_block_new",
    Rung.REDUCE: "rung_reduce",
    Rung.FLATTEN: "rung_flatten",
    Rung.HALTED: "rung_halted",
}


def _rebuild(limits, sessions, history, var, events, policy, cache_bytes):  # type: ignore[no-untyped-def]
    return PortfolioRiskManager(
        limits,
        sessions,
        history=history,
        var=var,
        events=events,
        event_policy=policy,
        cache_bytes=cache_bytes,
    )


def _capped(a: Assessment, j: int) -> bool:
    return bool(np.isfinite(a.low[j]) or np.isfinite(a.high[j]))


def _equity(portfolio: Portfolio, market: Market) -> float:
    """Cash plus positions at mid; NaN where a held instrument is Unknown."""
    value = np.empty(1)
    marks = (market.table.multiplier * market.mid)[:, None]
    book_sums(portfolio.quantity, marks, np.arange(len(marks)), value)
    return portfolio.cash + float(value[0])


def _loss(equity: float, mark: float) -> float:
    """min(0, equity - mark), NaN kept."""
    change = equity - mark
    return change if not (change >= 0.0) else 0.0


def _unforced(proposal: Proposal) -> BoolArray:
    if proposal.forced is None:
        return np.ones(len(proposal.trades), dtype=bool)
    return np.asarray(~proposal.forced.any(axis=1))


def _distance(market: Market, proposal: Proposal) -> FloatArray:
    """(A,) what it would cost, in half spreads, to trade from the request to each row."""
    weight = market.table.multiplier * market.half_spread
    # An instrument without a known spread is dear, not free.
    weight[np.isnan(weight)] = 1e6
    difference = np.abs(proposal.trades - proposal.trades[proposal.asked])
    difference[np.isnan(difference)] = np.inf
    return np.array([_ordered_sum(row * weight) for row in difference])


def _ordered_sum(values: FloatArray) -> float:
    """Sum from left to right: np.sum adds in an order that depends on the CPU."""
    return float(np.cumsum(values)[-1]) if len(values) else 0.0


def _first_least(values: FloatArray, among: BoolArray) -> int:
    return int(np.argmin(np.where(among, values, np.inf))) if among.any() else 0


def _worsens(a: Assessment, j: int, used_after: float) -> bool:
    """Outside and further out than before; what was Unknown before and after is not judged."""
    if np.isnan(a.used[j]) and np.isnan(used_after):
        return False
    return not used_after <= 1.0 and not used_after <= a.used[j]


def _alerts(a: Assessment, warn: float, flaw: str) -> tuple[Alert, ...]:
    alerts = [
        Alert("critical" if not a.used[j] <= 1.0 else "warning", "cap_used", name)
        for j, name in enumerate(MEASURES)
        if _capped(a, j) and a.rung >= Rung.WARN and not a.used[j] < warn
    ]
    if a.rung >= Rung.BLOCK_NEW:
        alerts.append(Alert("critical", f"rung_{a.rung.name.lower()}", ""))
    if flaw:
        alerts.append(Alert("critical", flaw, ""))
    losses = zip(ACCOUNT, (a.day_loss, a.drawdown), strict=True)
    alerts += [Alert("critical", "unknown_risk", name) for name, loss in losses if np.isnan(loss)]
    return tuple(alerts)
