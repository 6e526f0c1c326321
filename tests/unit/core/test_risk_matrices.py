"""A cache changes speed and never a number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from riskenv import Caps, Instrument, InstrumentTable, Portfolio
from riskenv.exposures import exposures
from riskenv.risk_matrices import MatrixCache
from riskenv.scenario_set import scenario_set
from riskenv.scenarios import pnl_matrix

from ...property.worlds import DAY, HISTORIES, NOW, SESSIONS, VAR, chain, market_of, world


def scenarios_at(now, jumps=None):
    return scenario_set(HISTORIES[0], SESSIONS, now, VAR)


def same(matrices, market) -> bool:
    X, P = exposures(market).X, pnl_matrix(market, scenarios_at(market.now))
    return bool(
        np.array_equal(matrices.X[matrices.rows], X, equal_nan=True)
        and np.array_equal(matrices.P[matrices.rows], P, equal_nan=True)
    )


def visits(count: int, seed: int = 0):
    """Markets at few instants: changed volatilities, subsets of the chain, quotes gone."""
    rng = np.random.default_rng(seed)
    legs = chain(1) + [Instrument("A", "C", float(k), NOW + 9 * DAY, 100.0) for k in range(90, 99)]
    for _ in range(count):
        some = rng.choice(len(legs), size=int(rng.integers(1, len(legs) + 1)), replace=False)
        table = InstrumentTable.of(legs[i] for i in some)
        market = market_of(table, int(rng.integers(3)), NOW - int(rng.integers(3)) * DAY)
        if rng.random() < 0.3:
            bid = market.bid.copy()
            bid[rng.integers(len(bid))] = np.nan
            market = replace(market, bid=bid)
        yield market


@pytest.mark.parametrize("max_bytes", [0, 30_000, 200_000, 1 << 30])
def test_cached_matrices_equal_uncached_ones_and_earlier_ones_do_not_change(max_bytes) -> None:
    cache = MatrixCache(scenarios_at, max_bytes)
    handed_out = []
    for market in visits(60):
        if len(handed_out) % 7 == 0:
            cache.scenarios(market.now)  # as a report does, before any matrix is asked for
        handed_out.append((market, cache.matrices(market)))
    for market, matrices in handed_out:
        assert same(matrices, market)


def test_the_same_inputs_are_computed_once() -> None:
    cache, market = MatrixCache(scenarios_at), market_of(InstrumentTable.of(chain(0)), 0)
    first, again = cache.matrices(market), cache.matrices(replace(market))
    assert first.P is again.P
    assert (first.rows == again.rows).all()


@pytest.mark.parametrize(
    "change",
    [{"rate": 0.011}, {"vol": 1.01}, {"spot": 1.01}, {"dividend_yield": 0.007}, {"bid": np.nan}],
)
def test_any_input_that_changes_is_noticed(change) -> None:
    cache, market = MatrixCache(scenarios_at), market_of(InstrumentTable.of(chain(0)), 0)
    cache.matrices(market)
    ((name, value),) = change.items()
    old = getattr(market, name)
    if name in ("vol", "spot"):
        value = old * value
    elif name != "rate":
        value = np.full_like(old, value)
    assert same(cache.matrices(replace(market, **{name: value})), replace(market, **{name: value}))


def test_memory_is_bounded_while_quotes_keep_changing_at_few_instants() -> None:
    """A simulator visits the same calendar again and again, each time at other prices."""
    bound = 1_000_000
    cache, table = MatrixCache(scenarios_at, bound), InstrumentTable.of(chain(0))
    held = []
    for seed in range(300):
        cache.matrices(market_of(table, seed, NOW - (seed % 2) * DAY))
        held.append(sum(tick.nbytes for tick in cache._ticks.values()))
    assert max(held) <= bound
    assert held[-1] == cache._bytes


def test_instants_are_dropped_least_recently_used_first() -> None:
    table = InstrumentTable.of(chain(0))
    one = MatrixCache(scenarios_at)
    one.matrices(market_of(table, 0))
    cache = MatrixCache(scenarios_at, max_bytes=int(2.5 * one._bytes))
    for days in (0, 1, 0, 2):
        cache.matrices(market_of(table, 0, NOW - days * DAY))
    assert [now for now, *_ in cache._ticks] == [NOW, NOW - 2 * DAY]


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_decisions_do_not_depend_on_what_was_assessed_before(cache_bytes) -> None:
    w = world(3, caps=Caps(delta=300.0, es_1d=4000.0))
    lone = world(3, caps=Caps(delta=300.0, es_1d=4000.0))
    w.manager._cache = MatrixCache(w.manager._scenarios_at, cache_bytes)
    _, early = w.assess()
    taken = (early.before.copy(), early.matrices.P[early.matrices.rows].copy())
    for seed in range(12):
        other = replace(w, market=market_of(w.table, seed))
        other.assess()
    assert np.array_equal(early.before, taken[0], equal_nan=True)
    assert np.array_equal(early.matrices.P[early.matrices.rows], taken[1])
    assert w.assess()[1].before.tobytes() == lone.assess()[1].before.tobytes()


def test_arrays_that_a_caller_reuses_do_not_reach_into_a_market_or_a_book() -> None:
    w = world(2)
    vol, quantity = w.market.vol.copy(), w.portfolio.quantity.copy()
    market, book = replace(w.market, vol=vol), Portfolio(w.table, quantity, 0.0)
    before = replace(w, market=market, portfolio=book).assess()[1].before.copy()
    vol[:], quantity[:] = 9.0, 1e6
    after = replace(w, market=market, portfolio=book).assess()[1].before
    assert np.array_equal(after, before, equal_nan=True)
