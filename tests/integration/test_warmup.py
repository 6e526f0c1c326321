"""After `riskenv warmup` a live process waits for no compiler."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

import riskenv
from riskenv import (
    Caps,
    FactorHistory,
    PortfolioRiskManager,
    RiskLimits,
    Sessions,
    VarConfig,
    save_bundle,
)

DAY = 86_400 * 10**9

# All that a live process asks for, on two tickers, with what a bundle holds.
EVERYTHING = """
import sys
from dataclasses import replace
import numpy as np
from riskenv import (
    Dividend, Instrument, InstrumentTable, LiveGreeks, Market, Order, Portfolio, Quotes, RiskGate,
    aggregate_greeks, escrowed_value, implied_forward, implied_yield, with_implied_vols,
)
from riskenv.pricing import black_scholes_price, implied_volatility, option_greeks
DAY = 86_400 * 10**9
def a_book(crossed):
    shares = [Instrument("A"), Instrument("B")]
    options = [
        Instrument(ticker, right, 100.0, 400 * DAY, 100.0, exercise=exercise)
        for ticker in "AB" for right in "CP" for exercise in ("european", "american")
    ]
    table = InstrumentTable.of([*shares, *options])
    option = table.kind != 0
    bid, ask = np.where(option, 8.0, 99.99), np.where(option, 8.2, 100.01)
    if crossed:
        bid[-1] = 9.0
    market = Market(
        150 * DAY + DAY // 2, table, np.full(2, 100.0), 0.02, np.full(2, 0.01), bid, ask,
        np.where(option, 0.25, np.nan),
    )
    calls = np.where(table.kind == 1, 1.0, 0.0)
    strategies = {"calls": calls}
    return shares[0], Portfolio(table, np.where(option, 1.0, 0.0), 1e5, strategies), market
for crossed in (False, True):
    share, book, market = a_book(crossed)
    gate = RiskGate.load(sys.argv[1])
    gate.check(book, market, {share: 5.0})      # allowed
    gate.check(book, market, {share: 5_000.0})  # resized, or blocked
    gate.check(book, market, {share: 5_000.0, market.table.instruments[1]: 30.0})  # a package
    gate.check_orders(book, market, [Order(share, 5.0, limit_price=100.0, strategy="calls")] * 2)
    gate.what_if(book, market, {share: -5.0}, strategy="calls")
    gate.reduction_plan(book, market, {"vega": 0.5}, strategy="calls")
    gate.report(book, market, recorded_pnl=np.linspace(-5.0, 5.0, 300))
    large = replace(book, quantity=400.0 * book.quantity, strategies={})
    print(gate.check(large, market, {}).verdict.value)
    gate.reduction_plan(large, market)
    unsolved = with_implied_vols(replace(market, vol=np.full(len(market.table), np.nan)))
    live = LiveGreeks(book, unsolved)
    own = market.table.underlying_index == 0
    for vol in (market.vol[own], np.full(own.sum(), np.nan)):
        live.update(Quotes("A", 100.5, market.bid[own], market.ask[own], vol))
    live.advance(market.now + DAY)
    live.hold(book)
    live.greeks().to_dict()
    feed = np.full((len(market.table), 5), np.nan)
    aggregate_greeks(book, replace(market, feed=feed)).to_dict()
    cash = escrowed_value(market.table, market.now, 0.02, [Dividend("A", market.now + DAY, 1.0)])
    aggregate_greeks(book, replace(market, dividends=cash)).to_dict()
    aggregate_greeks(book, replace(market, rate=-0.01, dividend_yield=np.full(2, -0.03)))
implied_forward([100.0], [8.0], [8.2], [7.0], [7.2], 0.02, 0.5)
implied_yield(101.0, 100.0, 0.02, 0.5)
for exercise in ("european", "american"):
    option_greeks(100.0, 100.0, 0.5, 0.05, 0.02, 0.2, True, exercise)
black_scholes_price(100.0, 100.0, 0.5, 0.05, 0.02, 0.2, [True, False])
implied_volatility(8.0, 100.0, 100.0, 0.5, 0.05, 0.02, True)
"""


def a_bundle(path: Path) -> Path:
    """A layer with caps on Greeks, VaR and ES, by ticker and strategy, and 150 days of history."""
    closes = DAY * np.arange(1, 1000)
    # The history ends before the book's day 150 begins.
    rng = np.random.default_rng(2)
    moves = rng.normal(0.0, 0.01, (150, 2))
    history = FactorHistory(("A", "B"), closes[:150], moves, -moves)
    limits = RiskLimits(
        caps=Caps(delta=500.0, vega=1e4, var_1d=1e6, es_1d=1e6),
        by_underlying={"*": {"delta": 400.0}},
        by_strategy={"calls": {"delta": 300.0}},
    )
    manager = PortfolioRiskManager(
        limits,
        Sessions(closes - DAY // 4, closes),
        history=history,
        var=VarConfig(window=140, min_scenarios=100),
    )
    save_bundle(manager, path)
    return path


def kernels_of_the_layer() -> set[str]:
    """module.function of each kernel of the core that is not inlined into others."""
    found = set()
    rooms = tuple(f"riskenv.{room}" for room in ("wrappers", "data", "train", "__main__"))
    for module in pkgutil.walk_packages(riskenv.__path__, "riskenv."):
        if module.name.startswith(rooms):
            continue
        for value in vars(import_module(module.name)).values():
            if isinstance(value, Dispatcher) and value.targetoptions.get("inline") != "always":
                kernel = value.py_func
                found.add(f"{kernel.__module__.rpartition('.')[2]}.{kernel.__name__}")
    return found


@pytest.mark.slow
def test_after_warmup_nothing_is_compiled(tmp_path: Path) -> None:
    bundle, cache = a_bundle(tmp_path / "gate.zip"), tmp_path / "cache"

    def run(*arguments: str) -> tuple[str, set[str]]:
        done = subprocess.run(
            [sys.executable, *arguments], env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout, {path.name for path in cache.rglob("*.nbc")}

    _, before = run("-m", "riskenv", "warmup")
    kernels = kernels_of_the_layer()
    assert len(kernels) > 50
    assert not kernels - {name.partition("-")[0] for name in before}

    verdicts, after = run("-c", EVERYTHING, str(bundle))
    assert verdicts.split() == ["REDUCE", "REDUCE"]
    assert after == before, sorted(after - before)
