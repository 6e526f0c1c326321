"""How scenarios are priced is a setting, and a report says how far it may be from the full way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskenv import (
    Caps,
    Instrument,
    InstrumentTable,
    Market,
    Portfolio,
    PortfolioRiskManager,
    RiskLimits,
    VarConfig,
    load_config,
)
from riskenv.measures import INDEX, TAIL

from .worlds import DAY, FAST, FRESH, HISTORIES, NOW, SESSIONS, VAR

SETTINGS = ("full", "mixed", "fast")
LEGS = [
    Instrument("A"),
    *(
        Instrument("A", right, strike, NOW + days * DAY, 100.0, exercise=exercise)
        for right in "CP"
        for strike in (90.0, 100.0, 112.0)
        for days in (2, 40)
        for exercise in ("european", "american")
    ),
]
TABLE = InstrumentTable.of(LEGS)


def market_at(vol: float, dividends: float) -> Market:
    option = TABLE.kind != 0
    mid = np.where(option, np.maximum(TABLE.kind * (100.0 - TABLE.strike), 0.0) + 2.0, 100.0)
    return Market(
        NOW, TABLE, np.array([100.0]), 0.05, np.array([0.02]), 0.99 * mid, 1.01 * mid,
        np.where(option, vol, 0.0), dividends=np.where(option, dividends, 0.0),
    )  # fmt: skip


def report(revaluation: str, market: Market, quantity: np.ndarray):
    var = load_config(VarConfig, VAR.model_dump() | {"revaluation": revaluation})
    manager = PortfolioRiskManager(RiskLimits(caps=Caps()), SESSIONS, history=HISTORIES[0], var=var)
    a = manager.assess(FRESH, Portfolio(TABLE, quantity, 1e6), market)[1]
    return manager.var_report(a), a.before[[INDEX[name] for name in TAIL]]


@settings(FAST, max_examples=12)
@given(st.integers(0, 10_000), st.floats(0.1, 0.6), st.sampled_from([0.0, 0.8]), st.booleans())
def test_var_and_es_lie_within_the_error_that_is_reported(
    seed: int, vol: float, dividends: float, european: bool
) -> None:
    market = market_at(vol, dividends)
    quantity = np.random.default_rng(seed).integers(-20, 21, len(TABLE)).astype(float)
    quantity[TABLE.american if european else ~TABLE.american] = 0.0
    full, mixed, fast = (report(name, market, quantity) for name in SETTINGS)
    assert full[0].pnl_error == 0.0
    assert (mixed[0].pnl_error == 0.0) == european
    for told, tails in (mixed, fast):
        # Beside what is rounded where P&L is added up.
        assert (np.abs(tails - full[1]) <= told.pnl_error + 1e-9 * np.abs(full[1]) + 1e-6).all()
        notional = 100.0 * 100.0 * np.abs(quantity).sum()
        assert told.pnl_error <= 4e-5 * notional
    # European options with cash dividends are fully revalued all the same.
    assert (fast[0].to_dict()["pnl_error"] > 0.0) == (not european or dividends == 0.0)


def test_the_default_is_the_mixed_way_and_another_word_is_refused() -> None:
    assert VarConfig().revaluation == "mixed"
    with pytest.raises(ValueError, match="revaluation: got 'slow'"):
        load_config(VarConfig, {"revaluation": "slow"})


def test_an_unknown_position_has_an_unknown_error() -> None:
    market = market_at(0.3, 0.0)
    vol = market.vol.copy()
    vol[5] = np.nan
    quantity = np.zeros(len(TABLE))
    quantity[5] = 1.0
    told, _ = report("fast", replace(market, vol=vol), quantity)
    assert np.isnan(told.pnl_error)
    assert told.to_dict()["pnl_error"] is None
    assert report("fast", replace(market, vol=vol), 0.0 * quantity)[0].pnl_error == 0.0
    assert told.to_dict()["scenarios"] == [120, 120, 120]
