"""A mask says exactly what `decide` would do unchanged; it is never empty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from riskenv import BreakerState, Proposal, Rung, Verdict

from .test_caps_hold import Case, cases, trade_rows
from .worlds import FAST, NOW, TODAY


@FAST
@given(
    cases(),
    st.integers(0, 10_000),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(list(Rung)),
    st.booleans(),
)
def test_a_mask_is_what_decide_would_do_unchanged(
    case: Case,
    seed: int,
    hold: bool,
    forced: bool,
    unknown: bool,
    twins: bool,
    rung: Rung,
    after: bool,
) -> None:
    """With and without a row that does nothing, forced parts, Unknown quotes and equal rows; at
    every rung, held by the breaker before the assessment or since."""
    w, rng = case.world, np.random.default_rng(seed)
    if unknown:
        bid = w.market.bid.copy()
        bid[rng.integers(len(bid))] = np.nan
        w = w.with_market(bid=bid)
    rows = trade_rows(rng, len(w.table), 7)
    rows[-2] = -w.portfolio.quantity
    rows[-3] = np.trunc(-0.5 * w.portfolio.quantity)
    if twins:
        rows[1] = rows[0]
    rows = rows if hold else rows[:-1]
    part = np.where(rng.random(rows.shape) < 0.5, rows, 0.0) if forced else None
    held = BreakerState(rung, NOW, TODAY, 1e6, 1e6, 1e6)
    state, a = replace(w, state=BreakerState() if after else held).assess()
    state = held if after else state
    assert max(state.rung, a.rung) >= rung
    unchanged, verdicts = [], []
    for asked in range(len(rows)):
        d = w.manager.decide(state, a, Proposal(rows, asked, part, case.strategy))[1]
        unchanged.append(d.row == asked)
        assert (d.trades == rows[d.row]).all()
        verdicts.append(d.verdict)
        instead = d.row
        if d.verdict is Verdict.ALLOW:
            assert d.row == asked
    for asked in (0, len(rows) - 1):
        mask = w.manager.mask(a, Proposal(rows, asked, part, case.strategy), state)
        assert mask.any()
        assert mask.tolist() == unchanged
        allowed = [verdict is Verdict.ALLOW for verdict in verdicts]
        if any(allowed):
            assert mask.tolist() == allowed
        else:
            assert np.flatnonzero(mask).tolist() == [instead]
    if state.rung is Rung.HALTED and hold:
        assert mask.tolist() == (~rows.any(axis=1)).tolist()
