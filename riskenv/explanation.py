"""Words for a choice: the decision with its reasons, alerts, and active and passive breaches."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from riskenv.admissibility import outside_caps
from riskenv.assessment import Assessment
from riskenv.circuit_breaker import Rung
from riskenv.decision import Decision, Verdict
from riskenv.event_trades import still_due
from riskenv.measures import ACCOUNT
from riskenv.order_decision import Sending
from riskenv.projection import Proposal
from riskenv.quote_quality import UNKNOWN_REASONS
from riskenv.reasons import Alert, Reason
from riskenv.selection import Candidates, entering

_RUNG_REASONS = {
    Rung.BLOCK_NEW: "rung_block_new",
    Rung.REDUCE: "rung_reduce",
    Rung.FLATTEN: "rung_flatten",
    Rung.HALTED: "rung_halted",
}


_KEPT = "kept for its dwell time, or above the release level"


def explain(
    a: Assessment,
    proposal: Proposal,
    candidates: Candidates,
    sending: Sending,
    config_digest: str,
) -> Decision:
    """The decision to do the row of `sending`, with its reasons after those of the caps."""
    row, flaw, asked = sending.row, sending.flaw, proposal.asked
    if row == asked and not flaw:
        verdict = Verdict.ALLOW
    elif flaw == "least_violating" and not candidates.empty[row]:
        verdict = Verdict.VIOLATE
    elif a.reducing:
        verdict = Verdict.REDUCE
    else:
        verdict = Verdict.BLOCK if candidates.empty[row] else Verdict.RESIZE
    reasons = []
    met = a.met_by(proposal.trades[asked], proposal.strategy) if a.scopes else ()
    if verdict is not Verdict.ALLOW:
        reasons = _reasons(a, proposal, candidates, met)
    if flaw:
        reasons.append(Reason(flaw))
    loud = [flaw] if flaw else []
    loud += [reason.code for reason in sending.reasons if reason.code == "throttled"]
    return Decision(
        now=a.market.now,
        verdict=verdict,
        row=row,
        asked=asked,
        table=a.table,
        trades=proposal.trades[row],
        names=a.names,
        before_interval=a.interval,
        after_interval=candidates.interval[row],
        low=a.low,
        high=a.high,
        used_before=a.used,
        rung=max(a.rung, Rung.BLOCK_NEW) if met else a.rung,
        reasons=(*reasons, *sending.reasons),
        alerts=(*a.alerts, *(Alert("critical", code, "") for code in loud)),
        passive=a.breached,
        equity=a.equity,
        state=sending.state,
        config_digest=config_digest,
        order=sending.order,
    )


def _reasons(
    a: Assessment, proposal: Proposal, candidates: Candidates, met: tuple[str, ...]
) -> list[Reason]:
    """Why the request did not pass: the rule of the rung, and of those of the scopes that it
    touches, what an event asks for, then each cap that it would break."""
    reasons = []
    asked = proposal.asked
    trade = proposal.trades[asked]
    code = _RUNG_REASONS.get(a.rung)
    if code is not None:
        reasons.append(Reason.of(code, rung=a.rung.name, cause=_cause(a)))
    if a.rung < Rung.BLOCK_NEW:
        reasons += [_scope_reason(a, scope) for scope in met]
    reasons += _event_reasons(a, proposal)
    if candidates.empty[asked]:
        return reasons
    if candidates.touches[asked] and not candidates.shrinks[asked]:
        for symbol, why in _blocked_legs(a, trade):
            reasons.append(Reason.of("unknown_instrument", symbol, symbol=symbol, why=why))
    at, ends = np.empty(len(a.names), dtype=np.int64), np.empty((2, len(a.names)))
    caps, after = (a.low, a.high, at, ends), candidates.interval[asked]
    count = outside_caps(a.interval, after, *caps)
    if not count and not candidates.admissible[asked]:
        # Further out by less than the sums can show.
        count = outside_caps(np.full_like(a.interval, np.nan), after, *caps)
    for j, end, cap in zip(at[:count].tolist(), *ends[:, :count].tolist(), strict=True):
        if math.isnan(end):
            reasons.append(Reason("unknown_risk", a.names[j]))
        else:
            reasons.append(Reason("cap_exceeded", a.names[j], (("asked", end), ("cap", cap))))
    return reasons


def _event_reasons(a: Assessment, proposal: Proposal) -> list[Reason]:
    """What an event asks to be closed and the request leaves, and what it enters that an event
    blocks; by ticker."""
    reasons = []
    asked = proposal.trades[proposal.asked]
    names, of = a.table.underlyings, a.table.underlying_index
    if a.due:
        left = still_due(a.portfolio, a.least, asked[None])[0]
        for u in np.unique(of[left > 0.0]):
            contracts = float(np.cumsum(a.least[of == u])[-1])
            event = ", ".join(a.events.deadlines(names[u]))
            reasons.append(
                Reason.of("event_size", names[u], symbol=names[u], contracts=contracts, event=event)
            )
    if a.entries_blocked and entering(a, asked[None], proposal.strategy)[0]:
        for u in np.unique(of[a.entry_blocked & (asked != 0.0)]):
            why = ", ".join(a.events.blockers(names[u]))
            reasons.append(Reason.of("event_block", names[u], symbol=names[u], event=why))
    return reasons


def _scope_reason(a: Assessment, scope: str) -> Reason:
    """Why a scope lets only reductions pass: its measures outside their caps, or Unknown."""
    name = scope.split(":", 1)[1]
    causes = [measure for measure in a.breached if measure.endswith(f"[{name}]")]
    cause = ", ".join(causes) or _KEPT
    return Reason.of("rung_block_new", scope, rung=f"BLOCK_NEW in {name}", cause=cause)


def _cause(a: Assessment) -> str:
    """What calls for the rung: the measures outside their caps, or Unknown, and events."""
    losses = zip(ACCOUNT, (a.day_loss, a.drawdown), a.limits.account_caps(a.equity), strict=True)
    causes = [*a.breached, *(name for name, loss, cap in losses if not (-loss <= cap))]
    if a.events.market_blocked or a.events.reduce or a.due:
        causes.append("an event")
    return ", ".join(causes) or _KEPT


def _blocked_legs(a: Assessment, trade: NDArray[np.float64]) -> list[tuple[str, str]]:
    """(symbol, why) of the legs in what is Unknown or blocked, or that are not finite."""
    table, out = a.table, []
    unknown = np.isnan(a.matrices.X[a.matrices.rows, 0])
    for i in np.flatnonzero((trade != 0.0) & (a.blocked | ~np.isfinite(trade))).tolist():
        why = f"{trade[i]} contracts is no size"
        if unknown[i]:
            why = f"is Unknown ({_why_unknown(a, i)})"
        elif a.blocked[i]:
            beside = unknown & a.portfolio.exposed & (table.expiry == table.expiry[i])
            beside &= table.underlying_index == table.underlying_index[i]
            j = int(np.argmax(beside))
            why = f"expires with {table.symbols[j]}, which is Unknown ({_why_unknown(a, j)})"
        out.append((table.symbols[i], why))
    return out


def _why_unknown(a: Assessment, i: int) -> str:
    # A quote can be one while its Greeks cannot be computed, or those of a feed disagree.
    code = a.market.unknown_code[i]
    return UNKNOWN_REASONS[code].replace("_", " ") if code else "no Greeks that can be trusted"
