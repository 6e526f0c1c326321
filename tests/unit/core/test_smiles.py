"""Sticky moneyness: a contract's volatility slides along the smile of its expiry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from riskenv import (
    ConfigError,
    Instrument,
    InstrumentTable,
    Market,
    PortfolioRiskManager,
    VarConfig,
    load_config,
)
from riskenv.pricing import option_greeks
from riskenv.scenario_grid import fast_pnl_matrix
from riskenv.scenario_set import scenario_set
from riskenv.scenarios import pnl_matrix
from riskenv.smiles import smiles_of

from ...property.worlds import DAY, HISTORIES, NOW, SESSIONS, VAR, World, world

STICKY = load_config(VarConfig, {**VAR.model_dump(), "vol_shocks": "sticky_moneyness"})
STRIKES = (80.0, 90.0, 100.0, 110.0, 120.0)
SMILE = (0.40, 0.32, 0.25, 0.22, 0.21)


def chain(strikes=STRIKES, smile=SMILE, exercise="european", bid=None) -> Market:
    """Calls and puts of one expiry; the calls' volatility is that of the smile, the puts' a little
    higher."""
    options = [
        Instrument("A", right, k, NOW + 30 * DAY, exercise=exercise)
        for right in "CP" for k in strikes
    ]  # fmt: skip
    table = InstrumentTable.of([Instrument("A"), *options])
    vol = np.array([0.0, *smile, *(x + 0.01 for x in smile)])
    bid = np.full(len(table), 50.0) if bid is None else bid
    return Market(NOW, table, np.array([100.0]), 0.01, np.zeros(1), bid, bid + 1.0, vol)


def under(w: World, var: VarConfig) -> World:
    manager = PortfolioRiskManager(w.manager.limits, SESSIONS, history=w.manager.history, var=var)
    return replace(w, manager=manager)


def drawn(config: VarConfig = STICKY):
    return scenario_set(HISTORIES[0], SESSIONS, NOW, config)


def by_hand(market: Market, scenarios) -> np.ndarray:
    """Each option's price after the move, at the volatility interpolated there, less that now."""
    u = scenarios.underlyings.index("A")
    nodes = [v + 0.01 * (k < 100.0) for k, v in zip(STRIKES, SMILE, strict=True)]
    move, factor = scenarios.log_return[u], scenarios.vol_factor[u]
    out = np.empty((len(market.table), scenarios.size))
    out[0] = 100.0 * np.expm1(move)
    for i, option in enumerate(market.table.instruments[1:], start=1):
        at, x = np.log(option.strike / 100.0), np.log(np.array(STRIKES) / 100.0)
        slid = np.interp(at - move, x, nodes) / np.interp(at, x, nodes)
        years, call = 30.0 / 365.0, option.right == "C"
        now = option_greeks(100.0, option.strike, years, 0.01, 0.01, market.vol[i], call)
        then = option_greeks(
            100.0 * np.exp(move), option.strike, years - scenarios.years[0], 0.01, 0.01,
            market.vol[i] * factor * slid, call,
        )  # fmt: skip
        out[i] = then.price - now.price
    return out


def test_every_cell_is_the_revaluation_at_the_volatility_that_the_smile_has_there() -> None:
    market, scenarios = chain(), drawn()
    few = np.linspace(0, int(scenarios.bounds[1]) - 1, 9).astype(int)
    part = replace(
        scenarios, log_return=scenarios.log_return[:, few] * 4.0,
        spot_factor=np.exp(scenarios.log_return[:, few] * 4.0),
        vol_factor=scenarios.vol_factor[:, few], bounds=np.array([0, 9]),
        years=scenarios.years[:1],
    )  # fmt: skip
    found = pnl_matrix(market, part)
    np.testing.assert_allclose(found, by_hand(market, part), rtol=1e-9, atol=1e-9)
    assert np.abs(found - pnl_matrix(market, replace(part, sticky_moneyness=False))).max() > 0.1


@pytest.mark.parametrize("exercise", ["european", "american"])
def test_the_fast_path_keeps_its_bound(exercise: str) -> None:
    market, scenarios = chain(exercise=exercise), drawn()
    fast = fast_pnl_matrix(market, scenarios)
    missed = np.abs(fast.matrix - pnl_matrix(market, scenarios)).max(axis=1)
    assert (missed <= fast.error_bound + 2e-5 * 100.0 * (exercise == "american")).all()


def test_a_flat_smile_and_one_with_a_single_node_change_nothing() -> None:
    scenarios = drawn()
    flat = replace(scenarios, sticky_moneyness=False)
    for market in (chain(smile=(0.3,) * 5), chain(strikes=(90.0,), smile=(0.3,))):
        calls = replace(market, vol=np.where(market.table.kind == 0, 0.0, 0.3))
        np.testing.assert_allclose(
            pnl_matrix(calls, scenarios), pnl_matrix(calls, flat), rtol=1e-12, atol=1e-12
        )


def test_what_has_no_quote_is_no_node() -> None:
    bid = np.full(11, 50.0)
    bid[2] = np.nan  # the call of 90, which the put of 90 stands for
    assert smiles_of(chain(bid=bid)).vol.tolist() == smiles_of(chain()).vol.tolist()
    bid[7] = np.nan  # and that put
    smiles = smiles_of(chain(bid=bid))
    assert smiles.vol.tolist() == pytest.approx([0.41, 0.25, 0.22, 0.21])
    assert smiles.first[0] == smiles.last[0]  # a share lies on none


def test_a_row_is_served_again_only_with_the_smile_it_was_computed_with() -> None:
    w = under(world(0), STICKY)
    table = w.table
    option = int(np.flatnonzero(table.kind != 0)[0])
    same = (table.underlying_index == table.underlying_index[option]) & (
        table.expiry == table.expiry[option]
    )
    vol = w.market.vol.copy()
    vol[same & (np.arange(len(table)) != option)] *= 1.5
    changed = replace(w.market, vol=vol)
    before = w.manager._cache.matrices(w.market)
    was = before.P[before.rows[option]].copy()
    after = w.manager._cache.matrices(changed)
    now = after.P[after.rows[option]].copy()
    afresh = under(w, STICKY).manager._cache.matrices(changed)
    assert now.tobytes() == afresh.P[afresh.rows[option]].tobytes()
    assert same.sum() < 2 or now.tobytes() != was.tobytes()


def test_a_part_of_a_market_has_the_smile_of_what_is_in_it() -> None:
    """As the gate has it, which is handed the part alone."""
    w = under(world(0), STICKY)
    table = w.table
    rows = np.flatnonzero((np.arange(len(table)) % 3 > 0) | (table.kind == 0))
    part = w.market.part(rows)
    alone = replace(part)
    assert alone.whole is None
    assert part.whole is not None
    one = w.manager._cache.matrices(part)
    other = under(w, STICKY).manager._cache.matrices(alone)
    assert one.P[one.rows].tobytes() == other.P[other.rows].tobytes()


def test_another_word_is_refused() -> None:
    with pytest.raises(ConfigError, match="vol_shocks: got 'sticky_delta'"):
        load_config(VarConfig, {"vol_shocks": "sticky_delta"})
