"""The fast path is never further from full revaluation than it says, whatever the market does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from riskenv import Instrument, InstrumentTable, Market
from riskenv.pricing.numpy_reference import european_option_greeks
from riskenv.scenario_grid import ENGINE_ERROR, american_pnl, fast_pnl_matrix
from riskenv.scenarios import AmericanTerms, ScenarioSet, american_full_pnl, pnl_matrix
from riskenv.var_calculator import historical_var

from .worlds import FAST

YEAR = 365 * 86_400 * 10**9
DAYS = np.array([1.0, 3.0, 5.0, 0.0]) / 365.0
SEEDS = st.integers(0, 2**32 - 1)


def scenarios_of(rng: np.random.Generator, sizes: tuple[int, ...], calm: float) -> ScenarioSet:
    """Two tickers; moves of up to 60 % and volatilities from a third to three times, or `calm`
    times as wide; the last ticker's history lacks one day."""
    total = sum(sizes)
    move = calm * np.log(rng.choice([0.4, 0.7, 0.97, 1.03, 1.3, 1.6], (2, total)))
    move *= rng.uniform(0.0, 1.0, (2, total))
    vols = np.exp(calm * rng.uniform(-1.1, 1.1, (2, total)))
    move[1, 0] = np.nan
    bounds = np.cumsum([0, *sizes])
    return ScenarioSet(("A", "B"), move, np.exp(move), vols, bounds, DAYS)


def market_of(
    rng: np.random.Generator, exercise: str, options: int, future: bool = False
) -> Market:
    """Underlyings A and B, with history, and C, without; strikes from a fifth to five times the
    spot, expiries from a minute to three years, volatilities from 3 % to 300 %."""
    instruments = [Instrument(t, on_future=future and t == "A") for t in "ABC"]
    for _ in range(options):
        ticker = str(rng.choice(["A", "A", "B", "C"]))
        minutes = int(np.exp(rng.uniform(0.0, np.log(3 * 525_600))))
        instruments.append(
            Instrument(
                ticker, str(rng.choice(["C", "P"])), 100.0 * float(np.exp(rng.normal(0.0, 0.5))),
                minutes * 60 * 10**9, float(rng.choice([1.0, 50.0, 100.0])),
                exercise=exercise, on_future=future and ticker == "A",
            )
        )  # fmt: skip
    table = InstrumentTable.of(instruments)
    n = len(table)
    return Market(
        0, table, np.array([100.0, 95.0, 105.0]), rng.uniform(-0.01, 0.08),
        rng.uniform(0.0, 0.06, 3), np.full(n, 90.0), np.full(n, 1e6),
        np.exp(rng.uniform(np.log(0.03), np.log(3.0), n)),
        dividends=np.where(rng.random(n) < 0.2, rng.uniform(0.0, 5.0, n), 0.0),
    )  # fmt: skip


@settings(FAST)
@given(SEEDS, st.sampled_from([1.0, 0.3, 0.05]), st.booleans())
def test_the_bound_of_a_european_option_is_never_violated(seed, calm, future) -> None:
    rng = np.random.default_rng(seed)
    market = market_of(rng, "european", 40, future)
    scenarios = scenarios_of(rng, (90, 80, 70, 20), calm)
    fast, full = fast_pnl_matrix(market, scenarios), pnl_matrix(market, scenarios)
    assert np.array_equal(np.isnan(fast.matrix), np.isnan(full))
    known = ~np.isnan(full).all(axis=1)
    assert known.any()
    assert np.array_equal(np.isnan(fast.error_bound), ~known)
    error = np.nanmax(np.abs(fast.matrix - full)[known], axis=1)
    assert (error <= fast.error_bound[known]).all()
    spot = market.spot[market.table.underlying_index]
    allowed = 2e-6 * spot * market.table.multiplier
    assert (fast.error_bound <= allowed)[known].all()


def test_singles_serve_the_ordinary_and_doubles_what_they_cannot() -> None:
    """What falls back is known beforehand: cash dividends, and moves that treble the spot."""
    rng = np.random.default_rng(5)
    rows = [
        Instrument("A", right, strike, int(YEAR * years))
        for right in "CP"
        for strike in (50.0, 100.0, 200.0)
        for years in (1e-4, 0.02, 0.1, 1.0)
    ]
    table = InstrumentTable.of(rows)
    n = len(table)
    cash = np.where(np.arange(n) % 4 == 3, 1.0, 0.0)
    market = Market(
        0, table, np.array([100.0]), 0.03, np.array([0.01]), np.zeros(n), np.full(n, 1e6),
        np.full(n, 0.25), dividends=cash,
    )  # fmt: skip
    scenarios = scenarios_of(rng, (100, 100, 100, 10), 0.1)
    assert np.array_equal(fast_pnl_matrix(market, scenarios).fell_back, cash > 0.0)
    wild = np.full((1, 1), np.log(3.0))
    threefold = ScenarioSet(
        ("A",), wild, np.exp(wild), np.ones((1, 1)), np.array([0, 1]), np.array([1 / 365])
    )
    lasting = table.expiry > YEAR / 365
    assert np.array_equal(fast_pnl_matrix(market, threefold).fell_back, lasting)


@settings(FAST, max_examples=30)
@given(SEEDS)
def test_what_falls_back_is_fully_revalued_to_the_bit(seed) -> None:
    rng = np.random.default_rng(seed)
    market = market_of(rng, "european", 20)
    scenarios = scenarios_of(rng, (30, 30, 30, 5), 0.3)
    fast, full = fast_pnl_matrix(market, scenarios, tolerance=1e-12), pnl_matrix(market, scenarios)
    assert np.array_equal(fast.matrix, full, equal_nan=True)
    assert fast.fell_back.any()
    assert (fast.error_bound[fast.fell_back] == 0.0).all()


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("nan")])
def test_a_tolerance_that_is_none_is_refused(tolerance) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=f"tolerance: got {tolerance!r}; allowed: a number above"):
        fast_pnl_matrix(
            market_of(rng, "european", 1), scenarios_of(rng, (9, 9, 9, 9), 1.0), None, tolerance
        )


def test_a_matrix_is_written_where_the_caller_says_and_nowhere_else() -> None:
    rng = np.random.default_rng(6)
    market = market_of(rng, "european", 5)
    scenarios = scenarios_of(rng, (9, 9, 9, 9), 0.3)
    kept = np.zeros((len(market.table), 36))
    assert pnl_matrix(market, scenarios, out=kept) is kept
    assert np.array_equal(kept, pnl_matrix(market, scenarios), equal_nan=True)
    for wrong in (kept[:, :9], kept.astype(np.float32), np.asfortranarray(kept)):
        with pytest.raises(ValueError, match="out: got shape"):
            pnl_matrix(market, scenarios, out=wrong)


@settings(FAST)
@given(SEEDS)
def test_the_error_in_var_is_within_the_sum_of_the_bounds(seed) -> None:
    rng = np.random.default_rng(seed)
    market = market_of(rng, "european", 30)
    scenarios = scenarios_of(rng, (120, 100, 100, 5), 0.3)
    fast, full = fast_pnl_matrix(market, scenarios), pnl_matrix(market, scenarios)
    known = ~np.isnan(full).any(axis=1)
    lots = np.where(known, rng.integers(-20, 21, len(known)), 0)
    allowed = float(np.abs(lots[known]) @ fast.error_bound[known])
    assert known.any()
    for a, z in zip(scenarios.bounds[:3], scenarios.bounds[1:4], strict=True):
        there = historical_var(lots[known] @ full[known, a:z])
        here = historical_var(lots[known] @ fast.matrix[known, a:z])
        assert np.abs(np.subtract(here, there)).max() <= allowed * (1.0 + 1e-9)


@settings(FAST, max_examples=20)
@given(SEEDS)
def test_singles_agree_with_the_textbook_formula_in_numpy(seed) -> None:
    """An oracle that shares no code: price per point, up a tenth, a day on."""
    rng = np.random.default_rng(seed)
    strike, vol = 100.0 * np.exp(rng.normal(0.0, 0.3)), rng.uniform(0.05, 1.0)
    option = Instrument("A", str(rng.choice(["C", "P"])), strike, int(YEAR * 0.3))
    market = Market(
        0, InstrumentTable.of([option]), np.array([100.0]), 0.03, np.array([0.01]),
        np.zeros(1), np.full(1, 1e6), np.array([vol]),
    )  # fmt: skip
    move = np.log(np.array([[0.9, 1.0, 1.1]]))
    scenarios = ScenarioSet(
        ("A",), move, np.exp(move), np.full((1, 3), 1.2), np.array([0, 3]), np.array([1 / 365])
    )

    def price(spot: np.ndarray, years: float, sigma: float) -> np.ndarray:
        is_call = option.right == "C"
        return european_option_greeks(spot, strike, years, 0.03, 0.02, sigma, is_call).price

    there = price(100.0 * np.exp(move[0]), 0.3 - 1 / 365, 1.2 * vol) - price(
        np.full(3, 100.0), 0.3, vol
    )
    assert np.abs(fast_pnl_matrix(market, scenarios).matrix[0] - there).max() <= 1e-4


def terms_of(rng: np.random.Generator) -> AmericanTerms:
    return AmericanTerms(
        spot=100.0,
        strike=100.0 * float(np.exp(rng.normal(0.0, 0.25))),
        years=float(np.exp(rng.uniform(np.log(2e-4), np.log(2.5)))),
        rate=float(rng.uniform(-0.02, 0.1)),
        carry=float(rng.uniform(-0.06, 0.1)),
        vol=float(np.exp(rng.uniform(np.log(0.08), np.log(1.0)))),
        sign=float(rng.choice([-1.0, 1.0])),
        cash=float(rng.choice([0.0, 0.0, 0.7, 4.0])),
        scale=float(rng.choice([1.0, 100.0])),
    )


@settings(FAST)
@example(seed=215177, calm=1.0)  # two days to expiry, of volatilities from 24 % to 190 %
@example(seed=6337, calm=1.0)  # low volatilities, next to exercise
@example(seed=5067, calm=1.0)  # cash dividends, and a yield of 2 % to 28 %
@example(seed=4792, calm=1.0)
@example(seed=3457, calm=0.5)  # cash dividends, and a lowest yield next to the rate
@given(SEEDS, st.sampled_from([1.0, 0.5, 0.2]))
def test_the_bound_of_an_american_option_is_never_violated(seed, calm) -> None:
    rng = np.random.default_rng(seed)
    terms = terms_of(rng)
    scenarios = scenarios_of(rng, (60, 60, 60, 5), calm)
    fast, bound, _ = american_pnl(terms, scenarios, 0)
    error = np.abs(fast - american_full_pnl(terms, scenarios, 0)).max()
    assert error <= bound + 1e-13 * terms.scale * terms.spot
    assert bound <= ENGINE_ERROR * terms.scale * terms.spot


def test_few_american_options_fall_back_in_ordinary_markets() -> None:
    rng = np.random.default_rng(8)
    scenarios = scenarios_of(rng, (100, 100, 100, 5), 0.2)
    fallen = 0
    for k in range(60):
        terms = AmericanTerms(
            100.0, 80.0 + 40.0 * rng.random(), 0.02 + rng.random(), 0.04, 0.03,
            rng.uniform(0.12, 0.5), -1.0 if k % 2 else 1.0, 0.6 * (k % 3 == 0), 100.0,
        )  # fmt: skip
        fallen += american_pnl(terms, scenarios, 0)[2]
    assert fallen <= 3


@pytest.mark.parametrize(("sign", "strike", "carry"), [(-1.0, 150.0, 0.03), (1.0, 60.0, -0.03)])
def test_beyond_the_boundary_an_american_option_moves_with_the_share(sign, strike, carry) -> None:
    terms = AmericanTerms(100.0, strike, 0.1, 0.05, carry, 0.1, sign, 0.0, 1.0)
    move = np.linspace(-0.02, 0.02, 50)[None]
    scenarios = ScenarioSet(
        ("A",), move, np.exp(move), np.ones((1, 50)), np.array([0, 50]), np.array([1 / 365])
    )
    pnl, _, fell_back = american_pnl(terms, scenarios, 0)
    assert np.abs(pnl - sign * 100.0 * np.expm1(move[0])).max() < 1e-12
    assert not fell_back


def test_a_call_that_nobody_exercises_is_the_european_one() -> None:
    rng = np.random.default_rng(2)
    scenarios = scenarios_of(rng, (60, 60, 60, 30), 0.3)
    calls = [Instrument("A", "C", 100.0, YEAR // 4, exercise=e) for e in ("american", "european")]
    table = InstrumentTable.of(calls)
    market = Market(
        0, table, np.array([100.0]), 0.03, np.zeros(1), np.zeros(2), np.full(2, 99.0),
        np.full(2, 0.2),
    )  # fmt: skip
    rows = pnl_matrix(market, scenarios)
    assert np.abs(rows[0] - rows[1]).max() < 1e-11


def test_a_jump_of_another_ticker_is_worth_nothing() -> None:
    """Not nearly nothing: a gap loss of 1e-9 would be a gap loss."""
    table = InstrumentTable.of(
        [Instrument("A", "P", 100.0, YEAR // 4, exercise=e) for e in ("american", "european")]
    )
    market = Market(
        0, table, np.array([100.0]), 0.03, np.zeros(1), np.zeros(2), np.full(2, 99.0),
        np.full(2, 0.2),
    )  # fmt: skip
    still = np.zeros((1, 40))
    blocks = np.array([0, 30, 30, 30, 40])
    scenarios = ScenarioSet(("A",), still, np.exp(still), np.ones((1, 40)), blocks, DAYS)
    assert (pnl_matrix(market, scenarios)[:, 30:] == 0.0).all()


_DIGEST = """
import hashlib
import numpy as np
from tests.property.test_scenario_grid import market_of, scenarios_of
from riskenv.scenario_grid import fast_pnl_matrix
digest = hashlib.sha256()
for exercise in ("european", "american"):
    rng = np.random.default_rng(4)
    fast = fast_pnl_matrix(market_of(rng, exercise, 12), scenarios_of(rng, (40, 40, 40, 5), 0.3))
    digest.update(fast.matrix.tobytes() + fast.error_bound.tobytes())
print(digest.hexdigest())
"""


def _digest(**environment: str) -> str:
    root = Path(__file__).resolve().parents[2]
    program = f"import sys; sys.path.append({str(root)!r})\n{_DIGEST}"
    result = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize("cpu", [pytest.param("haswell", marks=pytest.mark.slow), "generic"])
def test_the_compilers_target_changes_no_bit(cpu: str) -> None:
    assert _digest(NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES="") == _digest()
