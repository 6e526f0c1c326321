"""From nothing to a decision: fresh processes, with machine code cached and without.

Each figure is of its own process, beside one that imports NumPy alone in the same round. No time
is asserted; that `riskenv warmup` leaves nothing to compile is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from riskenv import (
    Caps,
    FactorHistory,
    PortfolioRiskManager,
    RiskLimits,
    Sessions,
    VarConfig,
    save_bundle,
)

ROUNDS = 7
DAY = 86_400 * 10**9

TIMED = """
import time
began = time.perf_counter()
{work}
print(time.perf_counter() - began)
"""
NUMPY = TIMED.format(work="import numpy")
RISKENV = TIMED.format(work="import riskenv")

# A book on one ticker: the share, options of either exercise, one quote crossed.
BOOK = """
import sys
import numpy as np
from riskenv import Instrument, InstrumentTable, Market, Portfolio, RiskGate
DAY = 86_400 * 10**9
def a_book(crossed=False):
    share = Instrument("A")
    options = [
        Instrument("A", right, 100.0, 400 * DAY, 100.0, exercise=exercise)
        for right in "CP" for exercise in EXERCISES
    ]
    table = InstrumentTable.of([share, *options])
    option = table.kind != 0
    bid, ask = np.where(option, 8.0, 99.99), np.where(option, 8.2, 100.01)
    if crossed:
        bid[-1] = 9.0
    market = Market(
        150 * DAY + DAY // 2, table, np.array([100.0]), 0.02, np.array([0.01]), bid, ask,
        np.where(option, 0.25, np.nan),
    )
    return share, Portfolio(table, np.where(option, 1.0, 0.0), cash=1e5), market
"""
DECISION = TIMED.format(
    work='EXERCISES = ["european"]\n'
    + BOOK
    + """
share, book, market = a_book()
decision = RiskGate.load(sys.argv[1]).check(book, market, {share: 5.0})
assert decision.verdict.value == "ALLOW", decision.reasons
"""
)
# All that a live process asks for, in every form.
EVERYTHING = (
    'EXERCISES = ["european", "american"]\n'
    + BOOK
    + """
from dataclasses import replace
from riskenv import (
    Dividend, LiveGreeks, Quotes, aggregate_greeks, escrowed_value, implied_forward, implied_yield,
    with_implied_vols,
)
from riskenv.pricing import black_scholes_price, implied_volatility, option_greeks
for crossed in (False, True):
    share, book, market = a_book(crossed)
    gate = RiskGate.load(sys.argv[1])
    gate.check(book, market, {share: 5.0})      # allowed
    gate.check(book, market, {share: 5_000.0})  # resized, or blocked
    gate.check(book, market, {share: 5_000.0, market.table.instruments[1]: 30.0})  # a package
    gate.report(book, market)
    unsolved = with_implied_vols(replace(market, vol=np.full(len(market.table), np.nan)))
    live = LiveGreeks(book, unsolved)
    for vol in (market.vol, np.full(len(market.table), np.nan)):
        live.update(Quotes("A", 100.5, market.bid, market.ask, vol))
    live.advance(market.now + DAY)
    live.hold(book)
    live.greeks().to_dict()
    feed = np.full((len(market.table), 5), np.nan)
    aggregate_greeks(book, replace(market, feed=feed)).to_dict()
    cash = escrowed_value(market.table, market.now, 0.02, [Dividend("A", market.now + DAY, 1.0)])
    aggregate_greeks(book, replace(market, dividends=cash)).to_dict()
    aggregate_greeks(book, replace(market, rate=-0.01, dividend_yield=np.array([-0.03])))
implied_forward([100.0], [8.0], [8.2], [7.0], [7.2], 0.02, 0.5)
implied_yield(101.0, 100.0, 0.02, 0.5)
for exercise in ("european", "american"):
    option_greeks(100.0, 100.0, 0.5, 0.05, 0.02, 0.2, True, exercise)
black_scholes_price(100.0, 100.0, 0.5, 0.05, 0.02, 0.2, [True, False])
implied_volatility(8.0, 100.0, 100.0, 0.5, 0.05, 0.02, True)
"""
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layer with caps on Greeks, VaR and ES, and 500 days of history."""
    closes = DAY * np.arange(1, 1000)
    # The history ends before the book's day 150 begins.
    rng = np.random.default_rng(2)
    history = FactorHistory(
        ("A",), closes[:150], rng.normal(0.0, 0.01, (150, 1)), rng.normal(0.0, 0.02, (150, 1))
    )
    manager = PortfolioRiskManager(
        RiskLimits(caps=Caps(delta=500.0, vega=1e4, var_1d=1e6, es_1d=1e6)),
        Sessions(closes - DAY // 4, closes),
        history=history,
        var=VarConfig(window=140, min_scenarios=100),
    )
    path = tmp_path_factory.mktemp("startup") / "gate.zip"
    save_bundle(manager, path)
    return path


def run(program: str, *arguments: object, cache: Path | None = None) -> str:
    environment = dict(os.environ)
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = str(cache)
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_from_import_to_the_first_decision(bundle: Path, figure: Callable) -> None:
    programs = {"numpy": NUMPY, "riskenv": RISKENV, "decision": DECISION}
    for program in programs.values():
        run(program, bundle)  # compiled and in the page cache by now
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, program in programs.items():
            seconds[name].append(float(run(program, bundle)))
    median = {name: float(np.median(times)) for name, times in seconds.items()}
    worst = {name: max(times) for name, times in seconds.items()}
    ratio = {
        name: float(np.median(np.array(times) / np.array(seconds["numpy"])))
        for name, times in seconds.items()
    }
    for name, words, target in (
        ("riskenv", "import riskenv", 0.5),
        ("decision", "load a bundle and decide, imports included", 1.5),
    ):
        figure(
            f"Startup, warm cache, {words}: {median[name]:.3f} s (worst of {ROUNDS} "
            f"{worst[name]:.3f}; target <= {target}); {ratio[name]:.2f} times `import numpy` "
            f"({median['numpy']:.3f} s)"
        )
    assert min(seconds["decision"]) > 0.0


def machine_code(cache: Path) -> set[str]:
    return {path.name for path in cache.rglob("*.nbc")}


def test_after_warmup_nothing_is_compiled(bundle: Path, tmp_path: Path, figure: Callable) -> None:
    began = time.perf_counter()
    run(DECISION, bundle, cache=tmp_path / "first")
    first = time.perf_counter() - began

    cache = tmp_path / "warm"
    began = time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-m", "riskenv", "warmup"],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    warmup = time.perf_counter() - began
    assert result.returncode == 0, result.stderr
    before = machine_code(cache)
    run(EVERYTHING, bundle, cache=cache)
    after = machine_code(cache)
    figure(
        f"Startup, empty cache: first decision {first:.1f} s; `riskenv warmup` {warmup:.1f} s, "
        f"{len(before)} kernels"
    )
    assert len(before) > 20
    assert after == before, sorted(after - before)
