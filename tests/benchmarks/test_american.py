"""American price and eight Greeks; QuantLib's fastest engine gives the price alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import QuantLib as ql  # noqa: N813

from riskenv.pricing import option_greeks
from riskenv.pricing.american import american_greeks, american_price

ROUNDS = 60
N = 500
MICRO = 1e6


def contracts(n: int = N) -> list[np.ndarray]:
    """Within 25 % of the money, a week to two years, rates and yields that make exercise likely."""
    rng = np.random.default_rng(12)
    rate = rng.uniform(0.005, 0.08, n)
    return [
        np.full(n, 100.0),
        rng.uniform(80.0, 125.0, n),
        rng.integers(7, 730, n) / 365.0,
        rate,
        rate - rng.uniform(0.0, 0.08, n),
        rng.uniform(0.1, 0.7, n),
        rng.random(n) < 0.5,
    ]


class QuantLib:
    """Options and engine are built beforehand; timed are quotes in, prices out."""

    def __init__(self, columns: list[np.ndarray], scheme: str) -> None:
        today = ql.Date(15, 6, 2026)
        ql.Settings.instance().evaluationDate = today
        clock = ql.Actual365Fixed()
        self.spot, self.rate, self.dividend, self.vol = (ql.SimpleQuote(0.1) for _ in range(4))

        def curve(quote: ql.SimpleQuote) -> ql.YieldTermStructureHandle:
            forward = ql.FlatForward(today, ql.QuoteHandle(quote), clock)
            return ql.YieldTermStructureHandle(forward)

        process = ql.BlackScholesMertonProcess(
            ql.QuoteHandle(self.spot), curve(self.dividend), curve(self.rate),
            ql.BlackVolTermStructureHandle(
                ql.BlackConstantVol(today, ql.NullCalendar(), ql.QuoteHandle(self.vol), clock)
            ),
        )  # fmt: skip
        engine = ql.QdFpAmericanEngine(process, getattr(ql.QdFpAmericanEngine, scheme)())
        self.rows = []
        for spot, strike, t, rate, carry, vol, call in zip(*columns, strict=True):
            kind = ql.Option.Call if call else ql.Option.Put
            exercise = ql.AmericanExercise(today, today + round(t * 365))
            option = ql.VanillaOption(ql.PlainVanillaPayoff(kind, float(strike)), exercise)
            option.setPricingEngine(engine)
            self.rows.append((option, *map(float, (spot, rate, rate - carry, vol))))

    def __call__(self) -> np.ndarray:
        prices = np.empty(len(self.rows))
        for i, (option, spot, rate, dividend, vol) in enumerate(self.rows):
            self.spot.setValue(spot)
            self.rate.setValue(rate)
            self.dividend.setValue(dividend)
            self.vol.setValue(vol)
            prices[i] = option.NPV()
        return prices


def test_price_and_greeks_take_at_most_twelve_microseconds_an_option(
    race: Callable, figure: Callable
) -> None:
    columns = contracts()
    fast, precise = QuantLib(columns, "fastScheme"), QuantLib(columns, "highPrecisionScheme")
    wanted = precise()
    peers = {
        "fast": (lambda: american_greeks(*columns), N),
        "accurate": (lambda: american_greeks(*columns, accurate=True), N),
        "QuantLib's fast QdFp, price alone": (fast, N),
    }
    ran = race(peers, ROUNDS)
    errors = {
        "fast": american_price(*columns) - wanted,
        "accurate": american_price(*columns, accurate=True) - wanted,
        "QuantLib's fast QdFp, price alone": fast() - wanted,
    }
    for name in peers:
        error = np.abs(errors[name]).max() / 100.0
        figure(
            f"American, {N} options, {name}: median {MICRO * ran.median(name):.2f} us, "
            f"p99 {MICRO * ran.p99(name):.2f} us an option; largest error {error:.1e} of spot"
        )
    ratio = ran.ratio("fast", "QuantLib's fast QdFp, price alone")
    figure(
        f"American, fast with eight Greeks / QuantLib's fast QdFp price alone: {ratio:.3f} "
        "(target <= 12 us / 44 us = 0.273)"
    )
    assert np.abs(errors["fast"]).max() <= 1e-4 * 100.0
    assert np.abs(errors["accurate"]).max() <= 1e-6 * 100.0
    # The target, 12 us, was set where QuantLib's fast scheme took 44.
    assert ratio <= 12.0 / 44.0


@pytest.mark.parametrize("n", [1, 10, 100, 10_000])
def test_figures_by_size(n: int, race: Callable, figure: Callable) -> None:
    columns = contracts(n)
    ran = race(
        {
            "american": (lambda: option_greeks(*columns, exercise="american"), n),
            "european": (lambda: option_greeks(*columns), n),
        },
        ROUNDS if n > 1000 else 400,
    )
    figure(
        f"American by option_greeks, n = {n}: median {MICRO * ran.median('american'):.2f} us, "
        f"p99 {MICRO * ran.p99('american'):.2f} us an option"
    )
    assert MICRO * ran.median("american") * n <= 150.0 + 25.0 * n
