"""The trust kernel alone: what tightening, events, listing order and units may change, and not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from riskenv import (
    BreakerState,
    Caps,
    Event,
    EventPolicy,
    EventRule,
    InstrumentTable,
    Market,
    Portfolio,
    PortfolioRiskManager,
    Proposal,
    RiskLimits,
    Rung,
)
from riskenv.admissibility import admissible
from riskenv.measures import LINEAR, MEASURES

from .worlds import DAY, FAST, HISTORIES, NOW, SESSIONS, TODAY, VAR, World, world

M = len(MEASURES)
BROAD = settings(FAST, max_examples=600)

# Few values, so that "exactly on the cap" and "exactly unchanged" are drawn often.
small = st.sampled_from([-3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
value = small | st.sampled_from([np.nan, np.inf, -np.inf])
cap = st.sampled_from([0.5, 1.0, 1.5, 2.0, np.inf])


def verdict(before, change, low, high, empty=False, shrinks=False, touches=False) -> bool:
    """Of points (M,), or of intervals (2, M)."""
    before, change = (
        np.stack([x, x]) if x.ndim == 1 else x
        for x in (np.array(before, float), np.array(change, float))
    )
    out = np.empty(1, dtype=np.bool_)
    with np.errstate(invalid="ignore"):
        after = before + change
    admissible(
        before, change[None], after[None], np.array(low), np.array(high),
        np.array([empty]), np.array([shrinks]), np.array([touches]), out,
    )  # fmt: skip
    return bool(out[0])


def vectors(element, quiet: float):
    """One number a measure, `quiet` for all but the first of the linear ones and of the tails."""

    def spread(pair):
        out = [quiet] * M
        out[0], out[len(LINEAR)] = pair
        return out

    return st.tuples(element, element).map(spread)


@BROAD
@given(vectors(value, 0.0), vectors(value, 0.0), vectors(cap, np.inf), vectors(cap, np.inf),
       vectors(cap, np.inf), vectors(cap, np.inf), st.booleans())  # fmt: skip
def test_tightening_a_cap_never_turns_a_denial_into_an_allowance(
    before, change, low, high, low2, high2, shrinks
) -> None:
    tight_low, tight_high = np.minimum(low, low2), np.minimum(high, high2)
    if not verdict(before, change, np.negative(low), high, shrinks=shrinks):
        assert not verdict(before, change, -tight_low, tight_high, shrinks=shrinks)


def by_the_rule(before, change, low, high, shrinks) -> bool:
    """The rule as a person would say it, measure by measure."""
    for j, (b, c, lo, hi) in enumerate(zip(before, change, low, high, strict=True)):
        x, capped = b + c, np.isfinite(lo) or np.isfinite(hi)
        if not capped:
            unsound = j < len(LINEAR) and np.isfinite(b) and not np.isfinite(x)
            if unsound and not shrinks:  # a trade of exposures that nothing bounds
                return False
            continue
        if np.isnan([c, x]).any():
            if not shrinks:
                return False
            continue
        inside = lo <= x <= hi
        outside_before = b < lo or b > hi
        other_side = (b > hi and x < lo) or (b < lo and x > hi)
        further = (b > hi and c > 0.0) or (b < lo and c < 0.0)
        if not inside and not (outside_before and not further and not other_side):
            return False
    return True


@BROAD
@given(vectors(value, 0.0), vectors(value, 0.0), vectors(cap, np.inf), vectors(cap, np.inf),
       st.booleans())  # fmt: skip
@example([2.0] * M, [0.0] * M, [1.0] * M, [1.0] * M, False)  # holding a broken book
@example([2.0] * M, [-4.0] * M, [1.0] * M, [1.0] * M, False)  # past the other side
def test_the_kernel_is_the_rule_as_it_is_said(before, change, low, high, shrinks) -> None:
    low = [-x for x in low]
    with np.errstate(invalid="ignore"):
        wanted = by_the_rule(before, change, low, high, shrinks)
    assert verdict(before, change, low, high, shrinks=shrinks) == wanted


@BROAD
@given(vectors(value, 0.0), vectors(value, 0.0), vectors(value, 0.0), vectors(value, 0.0),
       vectors(cap, np.inf), vectors(cap, np.inf), st.booleans())  # fmt: skip
def test_an_interval_passes_only_where_each_of_its_points_does(
    one, two, fall, rise, low, high, shrinks
) -> None:
    """Its ends bound where the measure may lie, before and after: no point in it is denied."""
    ends = np.array([np.minimum(one, two), np.maximum(one, two)])
    change = np.array([fall, rise])
    low = [-x for x in low]
    with np.errstate(invalid="ignore"):
        ordered = ((ends + change)[0] <= (ends + change)[1]).all()
    if ordered and verdict(ends, change, low, high, shrinks=shrinks):
        for end in range(2):
            inside_now = (ends[end] >= low) & (ends[end] <= high)
            x = ends[end] + change[end]
            with np.errstate(invalid="ignore"):
                fine = ~(x < low) & ~(x > high)
            capped = np.isfinite(low) | np.isfinite(high)
            known = ~np.isnan(change).any(axis=0) & ~np.isnan(ends + change).any(axis=0)
            # Where this very end was inside its cap, it still is.
            assert (fine | ~inside_now | ~capped | ~known).all()


def test_nothing_is_entered_that_has_no_price() -> None:
    nothing, none = [0.0] * M, [np.inf] * M
    assert verdict(nothing, nothing, np.negative(none), none)
    assert not verdict(nothing, nothing, np.negative(none), none, touches=True)


@FAST
@given(vectors(value, np.nan), vectors(cap, 0.5), vectors(cap, 0.5))
def test_the_empty_trade_is_always_admissible(before, low, high) -> None:
    assert verdict(before, [0.0] * M, [-x for x in low], high, empty=True)


EVENTS = [
    Event(kind, NOW + hours * DAY // 24, NOW - known * DAY, symbol)
    for kind in ("cpi", "fomc", "split")
    for hours in (0, 7, 24, 100)
    for known in (-0, 3)
    for symbol in ("", "A")
]
RULES = (
    EventRule(event_type="cpi", sessions_before=1, cap_multiplier=0.8, gap_log_return=0.1),
    EventRule(event_type="fomc", sessions_before=3, cap_multiplier=0.5, block_new=True),
)
CAPPED = RiskLimits(caps=Caps(delta=500.0, vega=300.0, es_1d=5000.0, gap_loss=9000.0, theta=200.0))


def manager_with(events) -> PortfolioRiskManager:
    return PortfolioRiskManager(
        CAPPED, SESSIONS, history=HISTORIES[0], var=VAR, events=events,
        event_policy=EventPolicy(rules=RULES),
    )  # fmt: skip


@FAST
@given(st.lists(st.sampled_from(EVENTS), max_size=4), st.sampled_from(EVENTS), st.integers(0, 500))
def test_adding_an_event_never_loosens_a_cap_nor_an_exposure_to_gaps(events, more, seed) -> None:
    w = replace(world(seed), manager=manager_with(events))
    _, without = w.assess()
    _, with_it = replace(w, manager=manager_with([*events, more])).assess()
    assert (with_it.high <= without.high).all()
    assert (with_it.low >= without.low).all()
    assert with_it.before[-1] <= without.before[-1]
    assert with_it.events.block_new >= without.events.block_new


@FAST
@given(st.integers(0, 10_000), st.randoms(use_true_random=False), st.integers(0, 3))
def test_the_order_in_which_things_are_listed_changes_no_bit(seed, random, asked) -> None:
    w = world(seed, limits=CAPPED)
    events = [EVENTS[0], EVENTS[1], EVENTS[3], replace(EVENTS[0], source="another list")]
    rng = np.random.default_rng(seed)
    trades = rng.integers(-20, 20, (4, len(w.table))).astype(float)
    decisions, reports = set(), set()
    for _ in range(3):
        random.shuffle(events)
        listed = list(w.table.instruments)
        random.shuffle(listed)
        table = InstrumentTable.of(listed)
        positions = {i: w.portfolio.quantity[w.table.index[i]] for i in listed}
        m = w.market
        market = Market(m.now, table, m.spot, m.rate, m.dividend_yield, m.bid, m.ask, m.vol)
        book = Portfolio.of(table, positions, w.portfolio.cash)
        manager = manager_with(events)
        state, a = manager.assess(w.state, book, market)
        decisions.add(manager.decide(state, a, Proposal(trades, asked))[1].to_bytes())
        reports.add(repr(manager.report(a)))
    assert len(decisions) == 1
    assert len(reports) == 1


def scaled(w: World, caps: Caps, factor: float) -> World:
    """Book, cash and absolute caps times `factor`."""
    caps = Caps(**{k: v * factor for k, v in caps.model_dump(exclude_none=True).items()})
    return replace(
        w.with_book(w.portfolio.quantity * factor, w.portfolio.cash * factor),
        manager=manager_with_caps(caps),
        state=replace(w.state, day_start_equity=w.state.day_start_equity * factor,
                      high_water_mark=w.state.high_water_mark * factor,
                      last_equity=w.state.last_equity * factor),
    )  # fmt: skip


def manager_with_caps(caps: Caps) -> PortfolioRiskManager:
    return PortfolioRiskManager(RiskLimits(caps=caps), SESSIONS, history=HISTORIES[0], var=VAR)


@FAST
@given(st.integers(0, 10_000), st.integers(-20, 20), st.sampled_from(list(Rung)[:5]),
       st.floats(0.2, 4.0), st.floats(-0.01, 0.01))  # fmt: skip
def test_scaling_book_trades_and_caps_by_a_power_of_two_changes_no_verdict(
    seed, power, rung, size, loss
) -> None:
    w = world(seed)
    _, a = w.assess()
    names = [name for j, name in enumerate(MEASURES) if (seed >> j) & 1 and a.before[j] != 0.0]
    caps = Caps(**{n: size * abs(float(a.before[MEASURES.index(n)])) for n in names}, day_loss=5e3)
    w = replace(w, state=BreakerState(rung, NOW, TODAY, *[a.equity * (1 + loss)] * 3))
    trades = np.random.default_rng(seed).integers(-20, 20, (5, len(w.table))).astype(float)
    trades[3] = -w.portfolio.quantity
    trades[4] = 0.0
    outcomes = set()
    for factor in (1.0, 2.0**power):
        copy = scaled(w, caps, factor)
        state, a = copy.assess()
        rows = Proposal(trades * factor)
        d = copy.manager.decide(state, a, rows)[1]
        mask = tuple(copy.manager.mask(a, rows).tolist())
        used = tuple(d.used_after.tolist())
        outcomes.add((d.verdict, d.row, d.rung, mask, repr(used), tuple(r.code for r in d.reasons)))
    assert len(outcomes) == 1
