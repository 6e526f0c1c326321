"""From nothing to a decision: fresh processes, with machine code cached and without.

Each figure is of its own process, beside one that imports NumPy alone in the same round. No time
is asserted.
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

# A book on one ticker: the share, a call and a put.
DECISION = TIMED.format(
    work="""
import sys
import numpy as np
from riskenv import Instrument, InstrumentTable, Market, Portfolio, RiskGate
DAY = 86_400 * 10**9
share = Instrument("A")
options = [Instrument("A", right, 100.0, 400 * DAY, 100.0) for right in "CP"]
table = InstrumentTable.of([share, *options])
option = table.kind != 0
market = Market(
    150 * DAY + DAY // 2, table, np.array([100.0]), 0.02, np.array([0.01]),
    np.where(option, 8.0, 99.99), np.where(option, 8.2, 100.01), np.where(option, 0.25, np.nan),
)
book = Portfolio(table, np.where(option, 1.0, 0.0), cash=1e5)
decision = RiskGate.load(sys.argv[1]).check(book, market, {share: 5.0})
assert decision.verdict.value == "ALLOW", decision.reasons
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


def test_with_an_empty_cache(bundle: Path, tmp_path: Path, figure: Callable) -> None:
    began = time.perf_counter()
    run(DECISION, bundle, cache=tmp_path / "first")
    first = time.perf_counter() - began
    began = time.perf_counter()
    run("from riskenv.warmup import warmup; warmup()", cache=tmp_path / "warm")
    warmup = time.perf_counter() - began
    kernels = len(list((tmp_path / "warm").rglob("*.nbi")))
    figure(
        f"Startup, empty cache: first decision {first:.1f} s; `riskenv warmup` {warmup:.1f} s, "
        f"{kernels} kernels"
    )
    assert first > 0.0
