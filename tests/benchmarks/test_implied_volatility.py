"""Implied volatility against the yardstick of pricing, and against the scalar libraries.

The yardstick is what a careful user writes in NumPy and scipy: price and five Greeks at 10,000
options. Inverting a price may cost 2.5 times that.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

import numpy as np
import pytest
from lets_be_rational import implied_volatility_from_a_transformed_rational_guess as rational
from vollib.black_scholes_merton.implied_volatility import implied_volatility as vollib_implied

from riskenv.pricing import black_scholes_price, implied_volatility
from riskenv.pricing.option_greeks import contract_columns

from .yardstick import price_and_five_greeks

solver = importlib.import_module("riskenv.pricing.implied_volatility")
ROUNDS = 400


def contracts(n: int) -> list[np.ndarray]:
    """spot, strike, t, rate, carry, vol, is_call: a day to two years, strikes within 2.5 sigma."""
    rng = np.random.default_rng(11)
    spot = rng.uniform(50.0, 200.0, n)
    t, vol = rng.integers(1, 730, n) / 365.0, rng.uniform(0.05, 0.9, n)
    strike = spot * np.exp(rng.uniform(-2.5, 2.5, n) * vol * np.sqrt(t))
    rate, carry = rng.uniform(-0.01, 0.08, n), rng.uniform(-0.05, 0.08, n)
    return [spot, strike, t, rate, carry, vol, rng.random(n) < 0.5]


def extremes(n: int) -> list[np.ndarray]:
    """ln F/K to 8 and total volatility 0.02 to 6, out of the money; the same columns."""
    rng = np.random.default_rng(12)
    x = np.exp(rng.uniform(np.log(1e-6), np.log(8.0), n))
    total_vol = np.exp(rng.uniform(np.log(np.maximum(x / 30.0, 1e-6)), np.log(6.0)))
    strike, zero = np.full(n, 100.0), np.zeros(n)
    return [100.0 * np.exp(-x), strike, np.ones(n), zero, zero, total_vol, np.ones(n, dtype=bool)]


def quotes_of(columns: list[np.ndarray]) -> list[np.ndarray]:
    spot, strike, t, rate, carry, vol, is_call = columns
    price = black_scholes_price(spot, strike, t, rate, rate - carry, vol, is_call)
    return [price, spot, strike, t, rate, carry, is_call]


def kernel_on(quotes: list[np.ndarray]) -> Callable[[], object]:
    columns, _ = contract_columns(*quotes[:6], is_call=quotes[6])
    vol, status = np.empty(len(quotes[0])), np.empty(len(quotes[0]), dtype=np.int8)
    return lambda: solver._solve(*columns, solver._OWN_GUESS, solver._STEPS, vol, status)


def numpy_on(n: int) -> Callable[[], object]:
    *columns, is_call = contracts(n)
    return price_and_five_greeks(*columns, np.where(is_call, 1.0, -1.0))


def vollib_on(quotes: list[np.ndarray]) -> Callable[[], object]:
    rows = [
        (p, s, k, t, r, r - b, "c" if call else "p")
        for p, s, k, t, r, b, call in zip(*(c.tolist() for c in quotes), strict=True)
    ]
    return lambda: [vollib_implied(*row) for row in rows]


def rational_on(quotes: list[np.ndarray]) -> Callable[[], object]:
    price, spot, strike, t, rate, carry, is_call = quotes
    columns = [price * np.exp(rate * t), spot * np.exp(carry * t), strike, t]
    rows = list(zip(*(c.tolist() for c in [*columns, 2.0 * is_call - 1.0]), strict=True))
    return lambda: [rational(*row) for row in rows]


@pytest.mark.parametrize(("kind", "columns"), [("ordinary", contracts), ("extreme", extremes)])
def test_implied_volatility_costs_at_most_two_and_a_half_times_the_yardstick(
    race, figure, kind: str, columns: Callable[[int], list[np.ndarray]]
) -> None:
    n = 10_000
    quotes = quotes_of(columns(n))
    times = race(
        {
            "kernel": (kernel_on(quotes), n),
            "implied_volatility": (lambda: implied_volatility(*quotes), n),
            "NumPy": (numpy_on(n), n),
        },
        ROUNDS,
    )
    ratio = times.ratio("implied_volatility", "NumPy")
    figure(
        f"Implied volatility, {n:,} {kind} quotes: implied_volatility "
        f"{1e9 * times.median('implied_volatility'):.1f} ns a quote (p99 "
        f"{1e9 * times.p99('implied_volatility'):.1f}), its kernel "
        f"{1e9 * times.median('kernel'):.1f} (p99 {1e9 * times.p99('kernel'):.1f}), "
        f"NumPy + ndtr {1e9 * times.median('NumPy'):.1f} (p99 {1e9 * times.p99('NumPy'):.1f}); "
        f"ratio {ratio:.2f} (target <= 2.5)"
    )
    assert ratio <= 2.5


@pytest.mark.parametrize(
    ("peer", "peer_on"), [("vollib", vollib_on), ("lets_be_rational", rational_on)]
)
def test_the_solver_beats_the_scalar_libraries(race, figure, peer: str, peer_on) -> None:
    n, few = 10_000, 100
    inside = quotes_of(contracts(n))
    times = race(
        {
            "kernel": (kernel_on(inside), n),
            peer: (peer_on([column[:few] for column in inside]), few),
        },
        100,
    )
    ratio = 1.0 / times.ratio("kernel", peer)
    figure(
        f"Implied volatility by {peer}: {1e6 * times.median(peer):.1f} us a quote "
        f"(p99 {1e6 * times.p99(peer):.1f}); kernel {ratio:,.0f} times as fast"
    )
    assert ratio >= 100.0


def test_one_quote_costs_a_few_microseconds(race, figure) -> None:
    quotes = quotes_of(contracts(1))
    one = [column.item() for column in quotes]
    times = race(
        {
            "kernel": (kernel_on(quotes), 1),
            "implied_volatility": (lambda: implied_volatility(*one), 1),
            "lets_be_rational": (rational_on(quotes), 1),
        },
        5000,
    )
    figure(
        "Implied volatility, one quote: "
        + ", ".join(
            f"{name} {1e6 * times.median(name):.2f} us (p99 {1e6 * times.p99(name):.2f})"
            for name in times.seconds
        )
        + "; wanted for the compiled call <= 5 us"
    )
    assert times.median("kernel") <= 5e-6


def test_the_cost_a_quote_falls_with_the_number_and_stays_down(race, figure) -> None:
    sizes = (1, 10, 100, 1000, 10_000, 100_000)
    times = race({f"{n:,}": (kernel_on(quotes_of(contracts(n))), n) for n in sizes}, 200)
    figure(
        "Implied volatility kernel, ns a quote at n = "
        + ", ".join(f"{name}: {1e9 * times.median(name):.1f}" for name in times.seconds)
    )
    assert times.ratio("100,000", "10,000") <= 1.5
