"""Words for a choice: the decision with its reasons, alerts, and active and passive breaches."""

from __future__ import annotations

import numpy as np

from riskenv.assessment import Assessment
from riskenv.circuit_breaker import BreakerState, Rung
from riskenv.decision import REASONS, Alert, Decision, Reason, Verdict
from riskenv.measures import ACCOUNT, GREEKS, MEASURES, utilisation
from riskenv.projection import Proposal
from riskenv.selection import Candidates

_RUNG_REASONS = {
    Rung.BLOCK_NEW: "rung_block_new",
    Rung.REDUCE: "rung_reduce",
    Rung.FLATTEN: "rung_flatten",
    Rung.HALTED: "rung_halted",
}


def explain(
    a: Assessment,
    proposal: Proposal,
    candidates: Candidates,
    row: int,
    flaw: str,
    state: BreakerState,
    config_digest: str,
) -> Decision:
    """The decision to do `row`; `flaw` is the code of what is wrong with it, "" for nothing."""
    asked = proposal.asked
    after = candidates.after[row]
    used_after = utilisation(after, a.low, a.high)
    if row == asked and not flaw:
        verdict = Verdict.ALLOW
    elif a.reducing:
        verdict = Verdict.REDUCE
    else:
        verdict = Verdict.BLOCK if candidates.empty[row] else Verdict.RESIZE
    reasons = [] if verdict is Verdict.ALLOW else _reasons(a, candidates, asked)
    if flaw:
        reasons.append(Reason(flaw, "", REASONS[flaw]))
    # Outside and further out than before; what was Unknown before and after is not judged.
    worse = a.capped & ~(used_after <= 1.0) & ~(used_after <= a.used)
    worse &= ~(np.isnan(a.used) & np.isnan(used_after)) & ~candidates.empty[row]
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
        alerts=_alerts(a, flaw),
        active=tuple(MEASURES[j] for j in np.flatnonzero(worse)),
        passive=a.breached(),
        equity=a.equity,
        state=state,
        config_digest=config_digest,
    )


def _reasons(a: Assessment, candidates: Candidates, asked: int) -> list[Reason]:
    """Why the request did not pass: the rung's rule, then each cap that it would break."""
    reasons = []
    code = _RUNG_REASONS.get(a.rung)
    if code is not None:
        reasons.append(Reason(code, "", REASONS[code].format(rung=a.rung.name)))
    after = candidates.after[asked]
    used = utilisation(after, a.low, a.high)
    for j, name in enumerate(MEASURES):
        # An exposure must be known even where it has no cap.
        unknown = not np.isfinite(after[j]) and (a.capped[j] or j < len(GREEKS))
        if candidates.empty[asked] or not (unknown or (a.capped[j] and not used[j] <= 1.0)):
            continue
        if unknown:
            words = REASONS["unknown_risk"].format(measure=name)
            reasons.append(Reason("unknown_risk", name, words))
        else:
            cap = a.low[j] if after[j] < 0.0 else a.high[j]
            words = REASONS["cap_exceeded"].format(
                measure=name, asked=float(after[j]), cap=float(cap)
            )
            reasons.append(Reason("cap_exceeded", name, words))
    return reasons


def _alerts(a: Assessment, flaw: str) -> tuple[Alert, ...]:
    loud = a.capped & ~(a.used < a.limits.warn) if a.rung >= Rung.WARN else np.zeros(0, dtype=bool)
    alerts = [
        Alert("warning" if a.used[j] <= 1.0 else "critical", "cap_used", MEASURES[j])
        for j in np.flatnonzero(loud)
    ]
    if a.rung >= Rung.BLOCK_NEW:
        alerts.append(Alert("critical", f"rung_{a.rung.name.lower()}", ""))
    if flaw:
        alerts.append(Alert("critical", flaw, ""))
    losses = zip(ACCOUNT, (a.day_loss, a.drawdown), strict=True)
    alerts += [Alert("critical", "unknown_risk", name) for name, loss in losses if np.isnan(loss)]
    return tuple(alerts)
