"""What the Greeks of a whole book cost: from quotes to eleven measures, net and gross by ticker.

The yardstick is what a careful user writes in NumPy and scipy: price and five Greeks of as many
options, with nothing judged and nothing added up. Figures are printed, and no time is asserted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from typing import Any

import numpy as np
import pytest

from riskenv import (
    Instrument,
    InstrumentTable,
    LiveGreeks,
    Market,
    Portfolio,
    Quotes,
    aggregate_greeks,
    with_implied_vols,
)
from riskenv.exposure_bounds import exposure_bounds
from riskenv.exposures import exposures
from riskenv.instruments import NS_PER_YEAR
from riskenv.pricing import black_scholes_price

from .yardstick import price_and_five_greeks

RATE, DIVIDEND_YIELD, INDEX = 0.03, 0.01, 5_000.0
MICRO, NANO = 1e6, 1e9


def quotes(n: int, exercise: str = "european") -> dict[str, Any]:
    """Arguments of a Market: n options, up to 100 to a ticker, a week to two years, vol 10-60 %."""
    rng = np.random.default_rng(3)
    tickers = max(1, min(100, n // 10))
    share = np.sort(np.arange(n) % tickers)
    table = InstrumentTable.of(
        Instrument(
            f"T{u:02d}", "CP"[i % 2], 70.0 + 60.0 * (i + 0.5) / n,
            round(NS_PER_YEAR * rng.uniform(0.02, 2.0)), 100.0, exercise=exercise,
        )
        for i, u in zip(rng.permutation(n).tolist(), share.tolist(), strict=True)
    )  # fmt: skip
    assert len(table) == n
    spot = rng.uniform(90.0, 110.0, tickers)
    vol = rng.uniform(0.1, 0.6, n)
    price = black_scholes_price(
        spot[table.underlying_index], table.strike, table.expiry / NS_PER_YEAR, RATE,
        DIVIDEND_YIELD, vol, table.kind > 0,
    )  # fmt: skip
    if exercise == "american":
        intrinsic = table.kind * (spot[table.underlying_index] - table.strike)
        price = np.maximum(price, intrinsic + 0.5)
    return {
        "now": 0,
        "table": table,
        "spot": spot,
        "rate": RATE,
        "dividend_yield": np.full(tickers, DIVIDEND_YIELD),
        "bid": 0.99 * price,
        "ask": 1.01 * price,
        "vol": vol,
        "beta": rng.uniform(0.5, 1.5, tickers),
        "beta_as_of": np.zeros(tickers, dtype=np.int64),
        "index_spot": INDEX,
    }


def held(table: InstrumentTable) -> Portfolio:
    lots = np.random.default_rng(4).choice([-3.0, -2.0, -1.0, 1.0, 2.0], len(table))
    return Portfolio(table, lots, cash=0.0)


def numpy_on(market: Market) -> Callable[[], object]:
    """Price and five Greeks of every option of a market, the columns at hand."""
    table = market.table
    spot, strike = market.spot[table.underlying_index], table.strike
    t, vol = table.expiry / NS_PER_YEAR, market.vol
    rate, carry = market.columns[0], market.columns[0] - market.columns[1]
    sign = table.kind.astype(np.float64)
    return price_and_five_greeks(spot, strike, t, rate, carry, vol, sign)


# Positions -> the most that a whole book may take, in seconds.
TARGETS = {10: 15e-6, 100: None, 1_000: 150e-6, 10_000: None, 100_000: None}


@pytest.mark.parametrize("n", TARGETS)
def test_a_whole_book_beside_numpy(n: int, race: Callable, figure: Callable) -> None:
    given = quotes(n)
    market, book = Market(**given), held(given["table"])
    result = aggregate_greeks(book, market)
    assert not result.unknown
    assert np.isfinite(result.total).all()
    ran = race(
        {
            "book": (lambda: aggregate_greeks(book, market), n),
            "with Market": (lambda: aggregate_greeks(book, Market(**given)), n),
            "NumPy": (numpy_on(market), n),
        },
        max(40, min(2_000, 1_000_000 // n)),
    )
    target = TARGETS[n]
    wanted = "" if target is None else f"; target <= {MICRO * target:.0f} us"
    figure(
        f"Book of {n:,}: {MICRO * n * ran.median('book'):,.1f} us (p99 "
        f"{MICRO * n * ran.p99('book'):,.1f}), {NANO * ran.median('book'):.1f} ns an option; with "
        f"Market {MICRO * n * ran.median('with Market'):,.1f} us (p99 "
        f"{MICRO * n * ran.p99('with Market'):,.1f}); NumPy + ndtr, price and 5 Greeks alone "
        f"{MICRO * n * ran.median('NumPy'):,.1f} us; ratio {ran.ratio('book', 'NumPy'):.2f}, with "
        f"Market {ran.ratio('with Market', 'NumPy'):.2f}{wanted}"
    )


def test_the_cost_is_linear(race: Callable, figure: Callable) -> None:
    books = {}
    for n in (10_000, 100_000):
        given = quotes(n)
        market, book = Market(**given), held(given["table"])
        assert not aggregate_greeks(book, market).unknown
        books[f"{n:,}"] = (lambda book=book, market=market: aggregate_greeks(book, market), n)
    ran = race(books, 60)
    figure(
        "Book: an option among 100,000 costs "
        f"{ran.ratio('100,000', '10,000'):.2f} of one among 10,000 (target <= 1.5)"
    )


def ticks(market: Market, vol: np.ndarray) -> list[Quotes]:
    """One of each ticker, spot and quotes up a little."""
    table = market.table
    rows = [np.flatnonzero(table.underlying_index == u) for u in range(len(table.underlyings))]
    return [
        Quotes(
            ticker, 1.0001 * market.spot[u], 1.0001 * market.bid[mine], 1.0001 * market.ask[mine],
            vol[mine],
        )
        for u, (ticker, mine) in enumerate(zip(table.underlyings, rows, strict=True))
    ]  # fmt: skip


@pytest.mark.parametrize("solving", [False, True], ids=["vols given", "vols solved"])
@pytest.mark.parametrize("exercise", ["european", "american"])
def test_a_tick_of_one_ticker_beside_the_whole_book(
    solving: bool, exercise: str, race: Callable, figure: Callable
) -> None:
    """10,000 positions on 100 tickers; the tickers tick in turn."""
    n = 10_000
    given = quotes(n, exercise)
    if solving:
        given["vol"] = np.full(n, np.nan)
    market, book = Market(**given), held(given["table"])
    live, in_turn = LiveGreeks(book, market), cycle(ticks(market, given["vol"]))
    whole = aggregate_greeks(book, with_implied_vols(market))
    assert len(market.table.underlyings) == 100
    # Quotes at or near exercise, and some far in the money, imply no volatility.
    unknown = (0.1 if exercise == "american" else 0.01) if solving else 0.0
    assert len(whole.unknown) <= unknown * n

    def tick() -> None:
        live.update(next(in_turn))

    def full() -> None:
        aggregate_greeks(book, with_implied_vols(Market(**given)))

    ran = race(
        {
            "tick": (tick, 1),
            "full": (full, 1),
            "NumPy": (numpy_on(replace(market, vol=np.full(n, 0.3))), 1),
        },
        20 if exercise == "american" else 200,
    )
    how = "volatilities solved" if solving else "volatilities given"
    figure(
        f"Tick of 1 ticker in 100, {n:,} {exercise} positions, {how}: "
        f"{MICRO * ran.median('tick'):,.1f} us (p99 {MICRO * ran.p99('tick'):,.1f}); full with "
        f"Market {MICRO * ran.median('full'):,.0f} us; share {ran.ratio('tick', 'full'):.2%} "
        f"(target <= 5 %); NumPy + ndtr on the book {MICRO * ran.median('NumPy'):,.0f} us"
    )


@pytest.mark.parametrize("n", [10, 1_000])
def test_an_american_book(n: int, race: Callable, figure: Callable) -> None:
    books = {}
    for exercise in ("american", "european"):
        given = quotes(n, exercise)
        market, book = Market(**given), held(given["table"])
        assert not aggregate_greeks(book, market).unknown
        books[exercise] = (lambda book=book, market=market: aggregate_greeks(book, market), n)
    books["NumPy"] = (numpy_on(market), n)
    ran = race(books, 60)
    figure(
        f"American book of {n:,}: {MICRO * ran.median('american'):.2f} us an option (p99 "
        f"{MICRO * ran.p99('american'):.2f}); {ran.ratio('american', 'european'):.0f} times the "
        f"European book, {ran.ratio('american', 'NumPy'):.0f} times NumPy + ndtr"
    )


@pytest.mark.parametrize("exercise", ["european", "american"])
def test_bounds_of_what_is_unknown(exercise: str, race: Callable, figure: Callable) -> None:
    """1,000 positions, every tenth crossed."""
    n = 1_000
    given = quotes(n, exercise)
    given["bid"] = np.where(np.arange(n) % 10 == 0, 2.0 * given["ask"], given["bid"])
    market, book = Market(**given), held(given["table"])
    code = exposures(market).code
    assert np.count_nonzero(code) == n // 10
    low, high = aggregate_greeks(book, market).interval
    assert (low < high).all()
    ran = race(
        {
            "bounds": (lambda: exposure_bounds(market, code), n // 10),
            "Greeks": (lambda: aggregate_greeks(book, market), 1),
            "with interval": (lambda: aggregate_greeks(book, market).interval, 1),
            "NumPy": (numpy_on(market), n),
        },
        60,
    )
    figure(
        f"Bounds, {n:,} {exercise} positions, a tenth Unknown: {MICRO * ran.median('bounds'):.2f} "
        f"us an Unknown option (p99 {MICRO * ran.p99('bounds'):.2f}), "
        f"{ran.ratio('bounds', 'NumPy'):.0f} times NumPy + ndtr on one; the book "
        f"{MICRO * ran.median('Greeks'):,.0f} us, with its interval "
        f"{MICRO * ran.median('with interval'):,.0f} us"
    )
