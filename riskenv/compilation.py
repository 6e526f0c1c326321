"""How kernels are compiled: deterministic arithmetic, a disk cache that cannot serve stale code.

`fastmath` is off everywhere: `nnan` would make `not (nan <= cap)` False, which fails open, and
`contract` would give other bits on a CPU with fused multiply-add. With it off, loops over
elements still vectorise, and give the same bits at every vector width.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def source_digest() -> str:
    """sha256 over the risk layer's own sources, in a fixed order (first 16 hex digits).

    Numba's disk cache looks only at the file of the function it compiles: after an edit to a
    *called* file the caller would silently keep the old machine code. The digest is part of the
    cache folder's name, so any edit starts a new cache.
    """
    root = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for folder in (root, root / "pricing", root / "gate"):
        for path in sorted(folder.glob("*.py")):
            digest.update(f"{path.relative_to(root)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _prepare_cache() -> bool:
    """Point numba at a folder of this very source; False where no folder can be written."""
    chosen = os.environ.get("NUMBA_CACHE_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "riskenv"
    )
    digest = source_digest()
    # A child process inherits the variable with the digest already in it.
    base = Path(chosen).parent if Path(chosen).name == digest else Path(chosen)
    for candidate in (base, Path(tempfile.gettempdir()) / f"riskenv-{os.getuid()}"):
        folder = candidate / digest
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        os.environ["NUMBA_CACHE_DIR"] = str(folder)
        return True
    return False


_CACHE = _prepare_cache()

import numba  # noqa: E402  - only after NUMBA_CACHE_DIR is set

if _CACHE:
    # Covers a process that imported numba before riskenv.
    numba.config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel: IEEE arithmetic as written, division by zero gives inf, cached on disk."""
    compiled: Callable[..., Any] = numba.njit(error_model="numpy", cache=_CACHE)(function)
    return compiled


def inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a building block that is inlined into the kernels that call it."""
    compiled: Callable[..., Any] = numba.njit(error_model="numpy", inline="always")(function)
    return compiled


def warmup() -> None:
    """Compile the kernels of decisions, Greeks, volatilities and dividends into the disk cache."""
    import numpy as np

    from riskenv import (
        Caps,
        Dividend,
        FactorHistory,
        Instrument,
        InstrumentTable,
        Market,
        Portfolio,
        PortfolioRiskManager,
        RiskLimits,
        Sessions,
        VarConfig,
        escrowed_value,
        implied_forward,
        implied_yield,
    )
    from riskenv.exposure_bounds import exposure_bounds
    from riskenv.gate.risk_gate import RiskGate
    from riskenv.pricing import black_scholes_price, implied_volatility, option_greeks

    day = 86_400 * 10**9
    closes = day * np.arange(1, 200)
    history = FactorHistory(("A",), closes[:150], np.full((150, 1), 0.01), np.full((150, 1), -0.01))
    manager = PortfolioRiskManager(
        RiskLimits(caps=Caps(delta=1.0)),
        Sessions(closes - day // 4, closes),
        history=history,
        var=VarConfig(window=100, min_scenarios=100),
    )
    share, call = Instrument("A"), Instrument("A", "C", 100.0, int(closes[-1]))
    table = InstrumentTable.of([share, call])
    market = Market(
        int(closes[149]), table, np.array([100.0]), 0.0, np.zeros(1),
        np.array([99.0, 1.0]), np.array([101.0, 2.0]), np.array([0.0, 0.2]),
    )  # fmt: skip
    book = Portfolio.of(table, {call: 1.0}, cash=0.0)
    gate = RiskGate(manager)
    gate.check(book, market, {share: 5.0})
    gate.report(book, market)
    exposure_bounds(market, np.ones(2, dtype=np.int64))
    escrowed_value(table, 0, 0.02, [Dividend("A", day, 1.0)])
    implied_forward([100.0], [5.0], [6.0], [4.0], [5.0], 0.02, 0.5)
    implied_yield(101.0, 100.0, 0.02, 0.5)
    black_scholes_price(100.0, 100.0, 0.5, 0.05, 0.02, 0.2, True)
    # American ones with a boundary, and with two, which the tree prices: q < r < 0 for the put.
    for exercise, rate, carry in (
        ("european", 0.05, 0.02), ("american", 0.05, 0.02), ("american", -0.01, 0.02),
    ):  # fmt: skip
        option_greeks(100.0, 100.0, 0.5, rate, carry, 0.2, [True, False], exercise)
    implied_volatility([5.0, 6.0], 100.0, 100.0, 0.5, 0.05, 0.02, [True, False])
