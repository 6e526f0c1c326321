"""Components add up to VaR and ES; what a trade adds is what a second assessment finds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskenv import Portfolio
from riskenv.measures import HORIZONS, INDEX
from riskenv.risk_contributions import incremental_risk, risk_contributions

from .worlds import FAST, world

SEEDS = st.integers(0, 10_000)
VAR = [INDEX[f"var_{h}d"] for h in HORIZONS]
ES = [INDEX[f"es_{h}d"] for h in HORIZONS]


def with_orders(w, seed):
    rng = np.random.default_rng(seed)
    orders = rng.integers(-4, 5, size=(3, len(w.table))).astype(float)
    orders[rng.random(orders.shape) < 0.7] = 0.0
    p = w.portfolio
    return replace(w, portfolio=Portfolio(p.table, p.quantity, p.cash, working=orders))


@FAST
@given(SEEDS, st.booleans())
def test_components_add_up_to_the_books_own_var_and_es(seed, orders):
    w = with_orders(world(seed), seed) if orders else world(seed)
    _, a = w.assess()
    found = risk_contributions(a)
    np.testing.assert_array_equal(found.var, a.before[VAR])
    np.testing.assert_array_equal(found.es, a.before[ES])
    for h in range(len(HORIZONS)):
        for components, by, value in (
            (found.component_var, found.by_underlying()[0], found.var),
            (found.component_es, found.by_underlying()[1], found.es),
        ):
            scale = max(np.abs(components[h]).sum(), 1e-9)
            assert abs(components[h].sum() - value[h]) <= 1e-12 * scale
            assert abs(by[h].sum() - value[h]) <= 1e-12 * scale
    if not orders:
        q = w.portfolio.quantity
        np.testing.assert_allclose(found.component_es, q * found.marginal_es, rtol=1e-12)
        np.testing.assert_allclose(found.component_var, q * found.marginal_var, rtol=1e-12)
        assert not found.component_es[:, q == 0.0].any()


@FAST
@given(SEEDS)
def test_a_component_is_the_derivative(seed):
    """The book scaled in one position by a little: the tail keeps its scenarios."""
    w = world(seed, held=5)
    _, a = w.assess()
    found = risk_contributions(a)
    i = int(np.flatnonzero(w.portfolio.quantity)[seed % 5])
    step = np.zeros(len(w.table))
    step[i] = 1e-7 * w.portfolio.quantity[i]
    change = incremental_risk(a, step)
    for measure in ("var", "es"):
        component = getattr(found, f"component_{measure}")
        scale = np.abs(component).sum(axis=1) + 1e-9
        np.testing.assert_array_less(
            np.abs(getattr(change, measure) / 1e-7 - component[:, i]), 1e-3 * scale + 1e-6
        )


@FAST
@given(SEEDS, SEEDS)
def test_what_a_trade_adds_is_what_a_second_assessment_finds(seed, other):
    w = world(seed)
    _, a = w.assess()
    trade = np.random.default_rng(other).integers(-5, 6, size=len(w.table)).astype(float)
    change = incremental_risk(a, trade)
    _, b = w.with_book(w.portfolio.quantity + trade).assess()
    scale = max(np.abs(a.base_pnl).max(), np.abs(b.base_pnl).max(), 1.0)
    for got, columns in ((change.var, VAR), (change.es, ES)):
        np.testing.assert_allclose(got, b.before[columns] - a.before[columns], atol=1e-11 * scale)
    np.testing.assert_allclose(change.var_after, b.before[VAR], atol=1e-11 * scale)


def test_an_order_counts_at_its_worst_and_in_the_instruments_it_trades():
    w = world(3, held=0)
    orders = np.zeros((1, len(w.table)))
    orders[0, [2, 5]] = [4.0, -3.0]
    w = replace(w, portfolio=Portfolio(w.table, w.portfolio.quantity, 1e6, working=orders))
    _, a = w.assess()
    found = risk_contributions(a)
    assert found.es[0] < 0.0
    assert np.flatnonzero(found.shown).tolist() == [2, 5]
    assert found.component_es[0, [2, 5]].sum() == pytest.approx(found.es[0], rel=1e-12)


def test_what_is_unknown_is_unknown_and_not_zero():
    w = world(4, held=3)
    i = next(i for i in np.flatnonzero(w.portfolio.quantity) if w.table.kind[i] != 0)
    vol = w.market.vol.copy()
    vol[i] = np.nan
    _, a = w.with_market(vol=vol).assess()
    found = risk_contributions(a).to_dict()["1d"]
    assert found["var"] is None
    assert found["positions"][w.table.symbols[i]]["component_es"] is None
    assert all(part["component_es"] is None for part in found["underlyings"].values())


def test_an_unknown_nobody_owns_taints_nothing():
    w = world(4, held=3)
    i = next(i for i in np.flatnonzero(w.portfolio.quantity == 0.0) if w.table.kind[i] != 0)
    vol = w.market.vol.copy()
    vol[i] = np.nan
    _, a = w.with_market(vol=vol).assess()
    found = risk_contributions(a)
    assert found.var[0] < 0.0
    assert np.isnan(found.marginal_es[0, i])
    assert found.component_es[0].sum() == pytest.approx(found.es[0], rel=1e-12)


def test_no_history_is_refused_and_so_is_a_wrong_trade():
    _, a = world(5, with_history=False).assess()
    with pytest.raises(ValueError, match="without scenarios"):
        risk_contributions(a)
    _, a = world(5).assess()
    for wrong in ([1.0], np.full(len(a.table), np.nan)):
        with pytest.raises(ValueError, match="finite numbers of contracts"):
            incremental_risk(a, wrong)
