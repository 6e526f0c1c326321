"""European price and Greeks: the fused kernel against NumPy, QuantLib and vollib.

The yardstick is what a careful user writes in NumPy and scipy: price and five Greeks at 10,000
options. The kernel computes price and eight.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import QuantLib as ql  # noqa: N813
from vollib.black_scholes_merton import black_scholes_merton as vollib_price
from vollib.black_scholes_merton.greeks import analytical as vollib

from riskenv import Instrument, InstrumentTable, Market
from riskenv.pricing import option_greeks
from riskenv.pricing.black_scholes import european_greeks
from riskenv.pricing.option_greeks import contract_columns
from riskenv.scenarios import ScenarioSet, pnl_matrix

from .yardstick import price_and_five_greeks

ROUNDS = 400
YEAR = 365 * 86_400 * 10**9


def contracts(n: int) -> list[np.ndarray]:
    """spot, strike, t, rate, carry, vol, is_call: a day to two years, wings of 20 %."""
    rng = np.random.default_rng(11)
    spot = rng.uniform(50.0, 200.0, n)
    return [
        spot,
        spot * np.exp(rng.normal(0.0, 0.2, n)),
        rng.integers(1, 730, n) / 365.0,
        rng.uniform(-0.01, 0.08, n),
        rng.uniform(-0.05, 0.08, n),
        rng.uniform(0.05, 0.9, n),
        rng.random(n) < 0.5,
    ]


def kernel_on(n: int) -> Callable[[], object]:
    columns, _ = contract_columns(*contracts(n)[:6], is_call=contracts(n)[6])
    out = np.empty((9, n))
    return lambda: european_greeks(*columns, out)


def numpy_on(n: int) -> Callable[[], object]:
    *columns, is_call = contracts(n)
    return price_and_five_greeks(*columns, np.where(is_call, 1.0, -1.0))


def quantlib_on(n: int) -> Callable[[], object]:
    """Options and engine are built beforehand; timed are quotes in, price and five Greeks out."""
    today = ql.Date(15, 6, 2026)
    ql.Settings.instance().evaluationDate = today
    clock = ql.Actual365Fixed()
    spot, rate, dividend, vol = (ql.SimpleQuote(0.1) for _ in range(4))
    process = ql.BlackScholesMertonProcess(
        ql.QuoteHandle(spot),
        ql.YieldTermStructureHandle(ql.FlatForward(today, ql.QuoteHandle(dividend), clock)),
        ql.YieldTermStructureHandle(ql.FlatForward(today, ql.QuoteHandle(rate), clock)),
        ql.BlackVolTermStructureHandle(
            ql.BlackConstantVol(today, ql.NullCalendar(), ql.QuoteHandle(vol), clock)
        ),
    )
    engine = ql.AnalyticEuropeanEngine(process)
    rows = []
    for s, k, t, r, b, v, call in zip(*(c.tolist() for c in contracts(n)), strict=True):
        option = ql.EuropeanOption(
            ql.PlainVanillaPayoff(ql.Option.Call if call else ql.Option.Put, k),
            ql.EuropeanExercise(today + round(t * 365)),
        )
        option.setPricingEngine(engine)
        rows.append((option, s, r, r - b, v))

    def price_and_five_greeks() -> None:
        for option, s, r, q, v in rows:
            spot.setValue(s)
            rate.setValue(r)
            dividend.setValue(q)
            vol.setValue(v)
            option.NPV()
            option.delta()
            option.gamma()
            option.theta()
            option.vega()
            option.rho()

    return price_and_five_greeks


def vollib_on(n: int) -> Callable[[], object]:
    rows = [
        ("c" if call else "p", s, k, t, r, v, r - b)
        for s, k, t, r, b, v, call in zip(*(c.tolist() for c in contracts(n)), strict=True)
    ]
    functions = (
        vollib_price, vollib.delta, vollib.gamma, vollib.theta, vollib.vega, vollib.rho,
    )  # fmt: skip

    def price_and_five_greeks() -> None:
        for row in rows:
            for function in functions:
                function(*row)

    return price_and_five_greeks


def test_the_kernel_takes_a_third_of_the_yardstick(race, figure) -> None:
    n = 10_000
    times = race({"kernel": (kernel_on(n), n), "NumPy": (numpy_on(n), n)}, ROUNDS)
    ratio = times.ratio("kernel", "NumPy")
    figure(
        f"European, {n:,} options: kernel {1e9 * times.median('kernel'):.1f} ns an option "
        f"(p99 {1e9 * times.p99('kernel'):.1f}), NumPy + ndtr "
        f"{1e9 * times.median('NumPy'):.1f} (p99 {1e9 * times.p99('NumPy'):.1f}); "
        f"ratio {ratio:.3f} (target <= 0.35)"
    )
    assert ratio <= 0.35


@pytest.mark.parametrize(
    ("peer", "peer_on", "size", "target"),
    [("QuantLib analytic", quantlib_on, 200, 100.0), ("vollib", vollib_on, 100, 500.0)],
)
def test_the_kernel_beats_scalar_libraries(race, figure, peer, peer_on, size, target) -> None:
    n = 10_000
    times = race({"kernel": (kernel_on(n), n), peer: (peer_on(size), size)}, 100)
    ratio = 1.0 / times.ratio("kernel", peer)
    figure(
        f"European, price + 5 Greeks in {peer}: {1e6 * times.median(peer):.2f} us an option "
        f"(p99 {1e6 * times.p99(peer):.2f}); kernel {ratio:,.0f} times as fast "
        f"(target >= {target:.0f})"
    )
    assert ratio >= target


def test_one_option_costs_a_few_microseconds(race, figure) -> None:
    one = [column[:1].item() for column in contracts(1)]
    times = race(
        {
            "kernel": (kernel_on(1), 1),
            "option_greeks": (lambda: option_greeks(*one), 1),
            "NumPy": (numpy_on(1), 1),
        },
        5000,
    )
    figure(
        "European, one option: "
        + ", ".join(
            f"{name} {1e6 * times.median(name):.2f} us (p99 {1e6 * times.p99(name):.2f})"
            for name in times.seconds
        )
        + "; target for the compiled call <= 5 us"
    )
    assert times.median("kernel") <= 5e-6


def test_the_cost_an_option_falls_with_the_number_and_stays_down(race, figure) -> None:
    sizes = (1, 10, 100, 1000, 10_000, 100_000)
    times = race({f"{n:,}": (kernel_on(n), n) for n in sizes}, 200)
    figure(
        "European kernel, ns an option at n = "
        + ", ".join(f"{name}: {1e9 * times.median(name):.1f}" for name in times.seconds)
    )
    assert times.ratio("100,000", "10,000") <= 1.5


def test_a_scenario_cell_is_cheaper_than_an_option_in_the_yardstick(race, figure) -> None:
    """1,000 instruments x 500 scenarios, full revaluation."""
    n, scenarios = 1000, 500
    rng = np.random.default_rng(1)
    options = [
        Instrument("A", "C" if k % 2 else "P", 60.0 + 0.08 * k, round(YEAR * (0.02 + 0.001 * k)))
        for k in range(n - 1)
    ]
    table = InstrumentTable.of([Instrument("A"), *options])
    ones = np.ones(n)
    market = Market(
        0, table, np.array([100.0]), 0.03, np.array([0.01]), ones, 2.0 * ones, 0.25 * ones
    )
    move = rng.normal(0.0, 0.02, (1, scenarios))
    days = np.array([1.0, 3.0, 5.0, 0.0]) / 365.0
    blocks = np.array([0, 167, 334, 500, 500])
    vols = np.exp(rng.normal(0.0, 0.05, (1, scenarios)))
    cube = ScenarioSet(("A",), move, np.exp(move), vols, blocks, days)
    times = race(
        {
            "cell": (lambda: pnl_matrix(market, cube), n * scenarios),
            "NumPy": (numpy_on(10_000), 10_000),
        },
        100,
    )
    ratio = times.ratio("cell", "NumPy")
    figure(
        f"Scenarios, {n:,} x {scenarios}: {1e9 * times.median('cell'):.2f} ns a cell "
        f"(p99 {1e9 * times.p99('cell'):.2f}); ratio to the yardstick's option {ratio:.3f}"
    )
    assert ratio <= 0.35
