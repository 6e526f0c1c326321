"""Scenario P&L: full revaluation and the fast path against NumPy and scipy; VaR from a kept cube.

The peers are what a careful user writes with `scipy.special.ndtr`: a loop over scenarios, a loop
over instruments, and one broadcast; the best of the three counts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import ndtr

from riskenv import Instrument, InstrumentTable, Market
from riskenv.admissibility import measure
from riskenv.book_rows import Rows
from riskenv.measures import LINEAR
from riskenv.scenario_grid import american_pnl, fast_pnl_matrix
from riskenv.scenarios import AmericanTerms, ScenarioSet, american_full_pnl, pnl_matrix
from riskenv.tails import BookTails
from riskenv.var_calculator import historical_var, tail_count, tail_of

YEAR = 365 * 86_400 * 10**9
SPOT, RATE, YIELD = 100.0, 0.03, 0.01
TAIL = 0.01


def market_of(options: int) -> Market:
    """Options from a week to a year, strikes within 40 % of the spot, on one ticker."""
    rng = np.random.default_rng(1)
    chain = [
        Instrument(
            "A", "C" if k % 2 else "P", 60.0 + 80.0 * k / options,
            int(YEAR * rng.uniform(0.02, 1.0)), 100.0,
        )
        for k in range(options)
    ]  # fmt: skip
    n = options
    return Market(
        0, InstrumentTable.of(chain), np.array([SPOT]), RATE, np.array([YIELD]), np.zeros(n),
        np.full(n, 1e6), rng.uniform(0.1, 0.5, n),
    )  # fmt: skip


def scenarios_of(horizons: int, size: int = 500) -> ScenarioSet:
    rng = np.random.default_rng(2)
    days = np.array([1.0, 3.0, 5.0])[:horizons]
    wide = np.repeat(np.sqrt(days), size)
    # Student-t with 4 degrees of freedom, vols moving against the spot.
    move = 0.01 * wide * rng.standard_t(4, horizons * size)
    vols = np.exp(-3.0 * move + 0.03 * wide * rng.standard_normal(move.size))
    bounds = size * np.arange(horizons + 1)
    return ScenarioSet(("A",), move[None], np.exp(move)[None], vols[None], bounds, days / 365.0)


class Peer:
    """NumPy and scipy on the same market: what is the same in every cell is computed beforehand."""

    def __init__(self, market: Market, scenarios: ScenarioSet) -> None:
        table = market.table
        self.sign, self.strike, self.vol = table.kind.astype(float), table.strike, market.vol
        self.years, self.scale = table.expiry / YEAR, table.multiplier
        self.log_moneyness = np.log(SPOT / self.strike)
        self.s = scenarios
        self.out = np.empty((len(table), scenarios.size))
        self.base = self.price(
            self.log_moneyness, SPOT, self.strike, self.years, self.vol, self.sign
        )

    @staticmethod
    def price(log_moneyness, spot, strike, years, vol, sign):
        total = vol * np.sqrt(years)
        d1 = (log_moneyness + (RATE - YIELD) * years) / total + 0.5 * total
        up, down = ndtr(sign * d1), ndtr(sign * (d1 - total))
        forward, paid = spot * np.exp(-YIELD * years), strike * np.exp(-RATE * years)
        return sign * (forward * up - paid * down)

    def blocks(self):
        for b, elapsed in enumerate(self.s.years):
            a, z = self.s.bounds[b], self.s.bounds[b + 1]
            move, factor, vols = (
                x[0, a:z] for x in (self.s.log_return, self.s.spot_factor, self.s.vol_factor)
            )
            yield slice(a, z), elapsed, move, SPOT * factor, vols

    def a_scenario_at_a_time(self) -> np.ndarray:
        for block, elapsed, move, spot, vols in self.blocks():
            left = self.years - elapsed
            for k in range(move.size):
                price = self.price(
                    self.log_moneyness + move[k], spot[k], self.strike, left, self.vol * vols[k],
                    self.sign,
                )  # fmt: skip
                self.out[:, block.start + k] = self.scale * (price - self.base)
        return self.out

    def an_instrument_at_a_time(self) -> np.ndarray:
        for block, elapsed, move, spot, vols in self.blocks():
            for i in range(len(self.strike)):
                price = self.price(
                    self.log_moneyness[i] + move, spot, self.strike[i], self.years[i] - elapsed,
                    self.vol[i] * vols, self.sign[i],
                )  # fmt: skip
                self.out[i, block] = self.scale[i] * (price - self.base[i])
        return self.out

    def broadcast(self) -> np.ndarray:
        for block, elapsed, move, spot, vols in self.blocks():
            price = self.price(
                self.log_moneyness[:, None] + move, spot, self.strike[:, None],
                self.years[:, None] - elapsed, self.vol[:, None] * vols, self.sign[:, None],
            )  # fmt: skip
            self.out[:, block] = self.scale[:, None] * (price - self.base[:, None])
        return self.out

    def contestants(self) -> dict[str, Callable[[], np.ndarray]]:
        return {
            "NumPy by scenario": self.a_scenario_at_a_time,
            "NumPy by instrument": self.an_instrument_at_a_time,
            "NumPy broadcast": self.broadcast,
        }


def test_full_revaluation_takes_a_sixth_of_the_best_numpy(race, figure) -> None:
    market, scenarios = market_of(1000), scenarios_of(1)
    cells = len(market.table) * scenarios.size
    peers = Peer(market, scenarios).contestants()
    full, kept = pnl_matrix(market, scenarios), np.empty((len(market.table), scenarios.size))
    for peer in peers.values():
        assert np.abs(peer() - full).max() < 1e-9
    times = race(
        {
            # Like the peers, into memory that is there: a new matrix may cost 1,000 page faults.
            "full": (lambda: pnl_matrix(market, scenarios, out=kept), cells),
            "full, new matrix": (lambda: pnl_matrix(market, scenarios), cells),
            "fast, new matrix": (lambda: fast_pnl_matrix(market, scenarios), cells),
            **{name: (peer, cells) for name, peer in peers.items()},
        },
        40,
    )
    figure(
        f"Scenario P&L, {len(market.table):,} x {scenarios.size}, ns a cell: "
        + ", ".join(
            f"{name} {1e9 * times.median(name):.2f} (p99 {1e9 * times.p99(name):.2f})"
            for name in times.seconds
        )
    )
    ratio = min(1.0 / times.ratio("full", name) for name in peers)
    fast = min(1.0 / times.ratio("fast, new matrix", name) for name in peers)
    figure(
        f"... full revaluation is {ratio:.1f} times as fast as the best peer (target >= 6), the "
        f"fast path {fast:.1f} times; the cube has {full.nbytes / 2**20:.1f} MiB"
    )
    assert ratio >= 6.0


def test_the_fast_path_keeps_var_and_takes_400_microseconds(race, figure) -> None:
    market, scenarios = market_of(60), scenarios_of(3)
    fast, full = fast_pnl_matrix(market, scenarios), pnl_matrix(market, scenarios)
    single = full.astype(np.float32).astype(np.float64)
    rng = np.random.default_rng(3)
    misses, misses32 = [], []
    for _ in range(1000):
        held = rng.choice(60, rng.integers(2, 13), replace=False)
        lots = np.zeros(60)
        lots[held] = rng.integers(1, 21, held.size) * rng.choice([-1, 1], held.size)
        gross = float(np.abs(lots) @ market.table.multiplier) * SPOT
        for a, z in zip(scenarios.bounds[:-1], scenarios.bounds[1:], strict=True):
            there, _ = historical_var(lots @ full[:, a:z], TAIL)
            allowed = 0.01 * max(abs(there), 1e-4 * gross)
            for matrix, missed in ((fast.matrix, misses), (single, misses32)):
                missed.append(abs(historical_var(lots @ matrix[:, a:z], TAIL)[0] - there) / allowed)
    times = race(
        {
            "fast": (lambda: fast_pnl_matrix(market, scenarios), 1),
            "full": (lambda: pnl_matrix(market, scenarios), 1),
        },
        400,
    )
    figure(
        f"Fast path, 60 x 500 x 3: {1e6 * times.median('fast'):.0f} us "
        f"(p99 {1e6 * times.p99('fast'):.0f}, target <= 400), full revaluation "
        f"{1e6 * times.median('full'):.0f} (p99 {1e6 * times.p99('full'):.0f}), ratio "
        f"{times.ratio('fast', 'full'):.2f}; error / spot: bound "
        f"{fast.error_bound.max() / 100.0 / SPOT:.1e}, worst "
        f"{np.abs(fast.matrix - full).max() / 100.0 / SPOT:.1e}; {fast.fell_back.sum()} fell back"
    )
    figure(
        f"... VaR of 1,000 books: worst miss {max(misses):.4f} of the allowed 1 % of max(|VaR|, "
        f"1e-4 gross); full matrix kept in singles: {max(misses32):.5f}"
    )
    assert max(misses) <= 1.0
    assert not fast.fell_back.any()
    assert times.median("fast") <= 400e-6


def net_rows(n: int) -> Rows:
    """The linear measures of n instruments that are known, without scoped caps."""
    m, none = len(LINEAR), np.zeros(0, dtype=np.int64)
    return Rows(
        net=np.ones((n, m)), low=np.zeros((n, m)), high=np.zeros((n, m)),
        gross=np.zeros((n, 2, 0)), net_at=np.arange(m), gross_at=none, books=np.zeros((1, n)),
        net_book=np.zeros(m, dtype=np.int64), gross_book=none, loose=np.zeros(n, dtype=np.bool_),
        settled_low=np.zeros(m), settled_high=np.zeros(m), open_low=np.zeros(m),
        open_high=np.zeros(m), pending=np.zeros(0),
    )  # fmt: skip


def test_var_of_another_book_from_a_kept_cube_takes_20_microseconds(race, figure) -> None:
    """60 x 500; and a change of four legs to a book of 1,000 instruments."""
    one = scenarios_of(1)
    counts = np.array([tail_count(500, TAIL)] * 3)
    blocks, none = np.array([0, 500, 500, 500, 500]), np.empty(0)
    tails = BookTails(blocks, counts, TAIL, np.full(4, 500), none, none, True)
    contestants: dict[str, tuple[Callable[[], object], int]] = {}
    rng = np.random.default_rng(4)
    kept = pnl_matrix(market_of(60), one)
    lots = rng.integers(-9, 10, 60).astype(float)
    count = int(counts[0])

    def another_book() -> float:
        return historical_var(lots @ kept, TAIL)[0]

    contestants["NumPy product + historical_var, 60 x 500"] = (another_book, 1)
    kept32 = kept.astype(np.float32)
    lots32 = lots.astype(np.float32)
    worst = np.empty(count)
    contestants["the same, kept in singles"] = (
        lambda: tail_of((lots32 @ kept32).astype(np.float64), 0, 500, count, TAIL, worst),
        1,
    )
    for n, legs in ((60, 60), (1000, 4)):
        market = market_of(n)
        P = pnl_matrix(market, one)
        trade = np.zeros((1, n))
        trade[0, rng.choice(n, legs, replace=False)] = rng.integers(1, 9, legs)
        ends = (2, len(LINEAR) + 10)  # with VaR and ES of three horizons, the worst gap, stress
        arrays = (
            net_rows(n), P, np.arange(n), 0, np.zeros(ends), np.zeros(500),
            tails, np.ones(6, dtype=bool), trade, np.empty((1, *ends)),
            np.empty((1, *ends)),
        )  # fmt: skip
        contestants[f"measure, {legs} legs on {n:,}"] = (
            lambda arrays=arrays: measure(*arrays),
            1,
        )
        figure(f"Cube of {n:,} x 500 x 3: {3 * P.nbytes / 2**20:.2f} MiB, half that in singles")
    times = race(contestants, 2000)
    figure(
        "VaR from a kept cube, us: "
        + ", ".join(
            f"{name} {1e6 * times.median(name):.1f} (p99 {1e6 * times.p99(name):.1f})"
            for name in contestants
        )
        + " (target <= 20)"
    )
    # `measure` also adds up eleven exposures and takes two tails a horizon: printed, not bounded.
    assert times.median("NumPy product + historical_var, 60 x 500") <= 20e-6
    assert times.median("measure, 4 legs on 1,000") <= 20e-6


def test_an_american_option_costs_a_tenth_of_solving_in_every_scenario(race, figure) -> None:
    scenarios = scenarios_of(3)
    puts = {
        name: AmericanTerms(SPOT, 100.0, 0.3, 0.04, 0.03, 0.25, -1.0, cash, 1.0)
        for name, cash in (
            ("no dividends", 0.0),
            ("cash dividends", 0.3),
            ("cash, yield astride the rate", 0.8),
        )
    }
    worst = 0.0
    for strike in (70.0, 85.0, 100.0, 115.0, 140.0):
        for years in (0.02, 0.1, 0.5, 2.0):
            for sign in (-1.0, 1.0):
                terms = AmericanTerms(SPOT, strike, years, 0.04, 0.02, 0.3, sign, 0.0, 1.0)
                fast, bound, _ = american_pnl(terms, scenarios, 0)
                error = np.abs(fast - american_full_pnl(terms, scenarios, 0)).max()
                assert error <= bound + 1e-11
                worst = max(worst, error)
    times = race(
        {
            **{n: (lambda t=t: american_pnl(t, scenarios, 0), 1) for n, t in puts.items()},
            "full": (lambda: american_full_pnl(puts["no dividends"], scenarios, 0), 1),
        },
        30,
    )
    figure(
        "American option x 500 x 3, us: "
        + ", ".join(
            f"{name} {1e6 * times.median(name):.0f} (p99 {1e6 * times.p99(name):.0f})"
            for name in times.seconds
        )
        + f"; {1.0 / times.ratio('no dividends', 'full'):.1f} times as fast as solving in every "
        f"scenario (target >= 8); worst error {worst / SPOT:.1e} of spot (target 2e-5)"
    )
    assert worst <= 2e-5 * SPOT
    assert times.ratio("no dividends", "full") <= 1.0 / 8.0
