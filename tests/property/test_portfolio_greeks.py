"""For any book and any quotes: sums in one order, parts of a whole, bounds that hold the truth."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from riskenv import (
    Instrument,
    InstrumentTable,
    Market,
    Portfolio,
    QuoteRules,
    aggregate_greeks,
)
from riskenv.exposures import exposures
from riskenv.measures import LINEAR

from .worlds import DAY, FAST, NOW, YEAR, prices

# Ticker, spot, currency, exercise, on a future.
TICKERS = (
    ("A", 100.0, "USD", "european", False),
    ("B", 40.0, "EUR", "american", False),
    ("F", 4000.0, "USD", "european", True),
    ("G", 70.0, "EUR", "american", True),
)
RULES = QuoteRules(max_quote_age_seconds=60.0, unknown_vol_low=0.05, unknown_vol_high=2.0)
GARBAGE = (math.nan, math.inf, -math.inf, -1.0, 0.0, 1e300, -1e300, 1e-300)


def chain(rng: np.random.Generator, tickers=TICKERS) -> list[Instrument]:
    """An underlying and four options of each ticker."""
    legs = []
    for ticker, level, currency, exercise, on_future in tickers:
        common = {"currency": currency, "on_future": on_future}
        legs.append(Instrument(ticker, multiplier=float(rng.choice([1.0, 2.5])), **common))
        for days in (2, 60):
            for right in "CP":
                strike = level * float(rng.choice([0.8, 0.95, 1.0, 1.1]))
                terms = strike, NOW + days * DAY, float(rng.choice([10.0, 100.0]))
                legs.append(Instrument(ticker, right, *terms, exercise=exercise, **common))
    return legs


def market_of(table: InstrumentTable, rng: np.random.Generator) -> Market:
    """Sound quotes around textbook prices, on a book in dollars."""
    n, ticker = len(table), table.underlying_index
    level = {name: spot for name, spot, *_ in TICKERS}
    spot = np.array([level[t] * rng.uniform(0.97, 1.03) for t in table.underlyings])
    rate, income = float(rng.choice([0.0, 0.03, -0.01])), rng.uniform(-0.01, 0.04, len(spot))
    vol = rng.uniform(0.06, 1.9, n)
    cash = np.where((table.kind != 0) & ~table.on_future, rng.choice([0.0, 0.4], n), 0.0)
    years = (table.expiry - NOW) / YEAR
    strike = np.where(table.kind == 0, 1.0, table.strike)
    held = np.where(table.on_future, rate, income[ticker])
    mid = prices(spot[ticker] - cash, strike, years, rate, held, vol, table.kind)
    intrinsic = np.where(table.kind == 0, 0.0, table.kind * (spot[ticker] - strike))
    mid = np.maximum(mid, intrinsic)
    return Market(
        NOW, table, spot, rate, income, np.maximum(mid - 0.05, 0.0), mid + 0.5, vol, cash,
        beta=rng.uniform(-0.5, 2.0, len(spot)), beta_as_of=np.full(len(spot), NOW),
        index_spot=4000.0, quote_time=np.full(n, NOW), spot_time=np.full(len(spot), NOW),
        currency="USD", fx={"EUR": 1.1}, rules=RULES,
    )  # fmt: skip


def case(seed: int) -> tuple[np.random.Generator, list[Instrument], Portfolio, Market]:
    rng = np.random.default_rng(seed)
    legs = chain(rng)
    table = InstrumentTable.of(legs)
    held = rng.integers(-20, 21, len(table)) * rng.choice([0.0, 1.0], len(table))
    return rng, legs, Portfolio(table, held, 1e5), market_of(table, rng)


def everything(greeks) -> bytes:
    low, high = greeks.interval
    arrays = (greeks.total, greeks.net, greeks.gross, greeks.total_gross, low, high, greeks.X)
    return b"".join(array.tobytes() for array in (*arrays, greeks.code))


SEEDS = st.integers(0, 100_000)


def test_the_cases_are_known_and_hold_something() -> None:
    """Else the properties below would say nothing."""
    held, kinds = 0, set()
    for seed in range(20):
        _, _, book, market = case(seed)
        assert market.unknown == {}
        held += int((book.quantity != 0).sum())
        kinds |= {(i.is_option, i.exercise, i.on_future) for i in book.table.instruments}
    assert held > 100
    assert len(kinds) == 6


@FAST
@given(SEEDS, st.booleans())
def test_the_order_in_which_things_are_listed_changes_no_bit(seed: int, spoil: bool) -> None:
    rng, legs, book, market = case(seed)
    positions = {i: float(q) for i, q in zip(book.table.instruments, book.quantity, strict=True)}
    orders = [{legs[1]: 3.0, legs[2]: -3.0}, {legs[7]: 1.0}, {legs[0]: -40.0}]
    if spoil:
        market = replace(market, vol=np.where(np.arange(len(legs)) % 4 == 1, np.nan, market.vol))
    first = Portfolio.of(book.table, positions, 0.0, working=orders)
    expected = everything(aggregate_greeks(first, market))
    for _ in range(2):
        shuffled = [legs[i] for i in rng.permutation(len(legs))]
        table = InstrumentTable.of(shuffled)
        listed = {i: positions[i] for i in shuffled}
        legs_of = [dict(reversed(order.items())) for order in orders]
        other = Portfolio.of(table, listed, 0.0, working=legs_of)
        assert everything(aggregate_greeks(other, replace(market, table=table))) == expected


@FAST
@given(SEEDS)
def test_parts_add_up_and_gross_is_at_least_net(seed: int) -> None:
    rng, legs, book, market = case(seed)
    part = np.where(rng.random(len(legs)) < 0.5, book.quantity, 0.0)
    book = replace(book, strategies={"some": part, "short": np.minimum(book.quantity, 0.0)})
    greeks = aggregate_greeks(book, market)
    assert not np.isnan(greeks.total).any()
    assert (greeks.total_gross >= np.abs(greeks.total)).all()
    assert (greeks.gross >= np.abs(greeks.net)).all()
    slack = 1e-13 * (3.0 * greeks.total_gross + 1.0)
    np.testing.assert_array_less(np.abs(greeks.total - book.quantity @ greeks.X), slack)
    gross = np.abs(book.quantity) @ np.abs(greeks.X)
    np.testing.assert_array_less(np.abs(greeks.total_gross - gross), slack)
    for parts in (greeks.by_underlying(), greeks.by_expiry(), greeks.by_strategy()):
        left = greeks.total - np.sum(list(parts.values()), axis=0)
        np.testing.assert_array_less(np.abs(left), slack)


@FAST
@given(SEEDS, st.integers(2, 5))
def test_working_orders_add_their_own_ends_and_stay_whole(seed: int, count: int) -> None:
    rng, legs, book, market = case(seed)
    orders = rng.integers(-5, 6, (count, len(legs))) * rng.choice([0.0, 0.0, 1.0], (count, 1))
    greeks = aggregate_greeks(replace(book, working=orders), market)
    low, high = greeks.interval
    size = np.abs(book.quantity) @ np.abs(greeks.X) + np.abs(orders).sum(0) @ np.abs(greeks.X)
    sums = orders @ greeks.X
    slack = 1e-12 * (size + 1.0)
    wanted = greeks.total + np.minimum(sums, 0.0).sum(0), greeks.total + np.maximum(sums, 0).sum(0)
    np.testing.assert_array_less(np.abs(low - wanted[0]), slack)
    np.testing.assert_array_less(np.abs(high - wanted[1]), slack)
    for _ in range(5):  # any partial fill lies between
        filled = book.quantity + rng.random(count) @ orders
        after = filled @ greeks.X
        assert (low - slack <= after).all()
        assert (after <= high + slack).all()


# --- bounds hold the truth ------------------------------------------------------------------------


def spoiled(market: Market, at: int, kind: str, value: float) -> Market:
    """One quote, or what it hangs on, made garbage; the truth stays what it was."""
    table = market.table
    u = int(table.underlying_index[at])

    def put(name: str, row: int, number: float) -> Market:
        column = getattr(market, name).copy()
        column[row] = number
        return replace(market, **{name: column})

    if kind in ("rate", "dividend_yield", "dividends") and abs(value) <= 1.0:
        value = math.nan  # a strange rate is a rate: what hangs on it moves, and nobody can tell
    if kind == "below intrinsic":
        return put("ask", at, 0.5 * float(market.bid[at]))
    if kind == "crossed":
        return put("bid", at, float(market.ask[at]) * 1.01)
    if kind == "stale":
        return put("quote_time", at, NOW - 61 * 10**9)
    if kind == "spot stale":
        return put("spot_time", u, NOW + 61 * 10**9)
    if kind == "fx":
        return replace(market, fx={"EUR": value if not 0.0 < value < math.inf else math.nan})
    if kind in ("spot", "beta"):
        return put(kind, u, value)
    return put(kind, at, value)


KINDS = ("bid", "ask", "vol", "rate", "dividend_yield", "dividends", "spot", "below intrinsic",
         "crossed", "stale", "spot stale", "fx")  # fmt: skip


@FAST
@given(SEEDS, st.integers(0, 19), st.sampled_from(KINDS), st.sampled_from(GARBAGE))
def test_the_interval_holds_what_was_true_before_the_quote_was_spoiled(
    seed: int, at: int, kind: str, value: float
) -> None:
    _, _, book, market = case(seed)
    book = replace(book, quantity=np.where(np.arange(20) == at, 3.0, book.quantity))
    bad = spoiled(market, at, kind, value)
    touched = bad.unknown_code != 0
    truth = aggregate_greeks(book, market)
    greeks = aggregate_greeks(book, bad)
    got = greeks.to_dict()
    json.dumps(got, allow_nan=False)
    low, high = greeks.interval
    assert not np.isnan(low).any()
    assert not np.isnan(high).any()
    if touched.any():
        slack = 1e-11 * (truth.total_gross + 1.0)
        inside = (low - slack <= truth.total) & (truth.total <= high + slack)
        assert inside.all(), [LINEAR[j] for j in np.flatnonzero(~inside)]
    unknown = touched & (book.quantity != 0.0)
    names = {book.table.symbols[i] for i in np.flatnonzero(unknown)}
    assert set(got["unknown"]) == names
    if names:
        assert {got[name] for name in LINEAR} == {None}
        assert {got["gross"][name] for name in LINEAR} == {None}
    tickers = np.array(book.table.underlyings)[book.table.underlying_index]
    for ticker, row in greeks.by_underlying().items():
        sound = not unknown[tickers == ticker].any()
        assert np.isfinite(row).all() == sound, ticker
        if ticker != tickers[at] and not touched[tickers == ticker].any():
            assert row.tobytes() == truth.by_underlying()[ticker].tobytes()


@pytest.mark.parametrize("name", ["rate", "dividend_yield"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300, -1e300])
def test_a_yield_that_is_not_known_may_be_negative_and_delta_above_1(name, value) -> None:
    call = Instrument("A", "C", 50.0, NOW + 365 * DAY)
    table = InstrumentTable.of([call])
    book = Portfolio.of(table, {call: 1.0}, 0.0)
    quotes = {"bid": np.zeros(1), "ask": np.full(1, 99.0), "vol": np.full(1, 0.1)}
    sound = {"rate": 0.01, "dividend_yield": np.array([-0.05])}
    market = Market(NOW, table, np.array([100.0]), **sound, **quotes)
    truth = aggregate_greeks(book, market).total[0]
    assert truth > 1.05
    bad = replace(market, **{name: np.array([value])})
    low, high = aggregate_greeks(book, bad).interval
    assert low[0] <= truth <= high[0]


@FAST
@given(SEEDS, st.integers(0, 19), st.floats(0.05, 2.0), st.sampled_from([1.0, -1.0]))
@example(0, 17, 2.0, 1.0)  # the rho of an American option on a future is a difference
def test_every_volatility_of_the_range_is_inside_the_bounds(seed, at, vol, side) -> None:
    """The truth is any of them, not only the one that was quoted."""
    _, _, book, market = case(seed)
    book = replace(book, quantity=np.where(np.arange(20) == at, side, 0.0))
    column = market.vol.copy()
    column[at] = vol
    truth = aggregate_greeks(book, replace(market, vol=column)).total
    column[at] = np.nan
    low, high = aggregate_greeks(book, replace(market, vol=column)).interval
    slack = 1e-11 * (np.abs(truth) + 1.0)
    inside = (low - slack <= truth) & (truth <= high + slack)
    assert inside.all(), [(LINEAR[j], truth[j], low[j], high[j]) for j in np.flatnonzero(~inside)]


ANY = st.one_of(st.sampled_from((*GARBAGE, 1e308, -1e308, 5.0, 100.0)), st.floats())


@FAST
@given(SEEDS, st.data())
def test_whatever_comes_in_json_comes_out(seed: int, data: st.DataObject) -> None:
    """Also of holdings near the largest float; no warning either, as RuntimeWarnings are errors."""
    rng, legs, book, market = case(seed)
    n, u = len(legs), len(TICKERS)
    for name, size in (("spot", u), ("rate", n), ("dividend_yield", n), ("bid", n), ("ask", n),
                       ("vol", n), ("dividends", n), ("beta", u)):  # fmt: skip
        if data.draw(st.booleans(), label=name):
            column = getattr(market, name).copy()
            column[data.draw(st.integers(0, size - 1))] = data.draw(ANY)
            market = replace(market, **{name: column})
    market = replace(
        market,
        index_spot=data.draw(ANY),
        fx={"EUR": data.draw(ANY)},
        now=NOW + data.draw(st.sampled_from([0, 3 * DAY, 70 * DAY, -(10**18)])),
    )
    quantity = book.quantity * data.draw(st.sampled_from([1.0, 1e300, 1e-300]))
    working = rng.integers(-2, 3, (2, n)) * data.draw(st.sampled_from([0.0, 1.0, 1e306]))
    book = replace(book, quantity=quantity, working=working, strategies={"x": quantity})
    greeks = aggregate_greeks(book, market)
    low, high = greeks.interval
    assert not np.isnan(low).any()
    assert not np.isnan(high).any()
    assert (low <= high).all()
    out = json.loads(json.dumps(greeks.to_dict(), allow_nan=False))
    assert list(out)[:6] == ["delta", "gamma", "theta", "vega", "timestamp", "positions_count"]
    assert out["timestamp"].endswith("Z")
    for name in LINEAR:
        assert out[name] is None or math.isfinite(out[name])
    held, open_ = quantity != 0.0, working.any(axis=0)
    unknown = np.flatnonzero((greeks.code != 0) & (held | open_))
    assert set(out["unknown"]) == {book.table.symbols[i] for i in unknown}
    if held[unknown].any():
        assert out["delta"] is None


@FAST
@given(SEEDS)
def test_a_ticker_alone_has_the_bits_that_it_has_in_company(seed: int) -> None:
    """Also where its neighbours need the American kernel and it does not."""
    _, _, book, market = case(seed)
    whole = exposures(market)
    for u, ticker in enumerate(book.table.underlyings):
        rows = np.flatnonzero(book.table.underlying_index == u)
        table = InstrumentTable(tuple(book.table.instruments[i] for i in rows))
        alone = replace(
            market, table=table, currency="USD",
            **{k: getattr(market, k)[rows] for k in
               ("rate", "dividend_yield", "bid", "ask", "vol", "dividends", "quote_time")},
            **{k: getattr(market, k)[[u]] for k in ("spot", "beta", "beta_as_of", "spot_time")},
        )  # fmt: skip
        assert exposures(alone).X.tobytes() == whole.X[rows].tobytes(), ticker


@pytest.mark.parametrize("index_spot", [0.0, -1.0, math.nan, math.inf])
def test_an_index_without_a_level_bounds_nothing_and_warns_of_nothing(index_spot: float) -> None:
    _, _, book, market = case(1)
    book = replace(book, quantity=np.ones(20))
    blind = replace(market, index_spot=index_spot, vol=np.where(market.vol > 1.0, 11.0, market.vol))
    low, high = aggregate_greeks(book, blind).interval
    assert (low[-1], high[-1]) == (-np.inf, np.inf)
    assert np.isfinite(low[0])
