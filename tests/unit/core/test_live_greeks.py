"""Greeks while quotes tick: the bits of a fresh aggregation; volatilities solved from quotes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vollib.black_scholes_merton import black_scholes_merton

from riskenv import (
    Instrument,
    InstrumentTable,
    LiveGreeks,
    Market,
    Portfolio,
    QuoteRules,
    Quotes,
    aggregate_greeks,
    with_implied_vols,
)
from riskenv.pricing import ImpliedVolatilityStatus, option_greeks
from riskenv.pricing.american import american_price
from riskenv.quote_vols import implied_vols

from ...property.worlds import DAY, FAST, HOUR, NOW, YEAR, prices

PM = NOW + 60 * DAY
SECOND = 10**9
RULES = QuoteRules(max_quote_age_seconds=3 * 3600.0)
RATE, VOLS = 0.03, (0.15, 0.3, 0.6)


def legs() -> list[Instrument]:
    """A: European options; B: American ones; F: both, on a future; Z: a share alone."""
    found = [Instrument("A"), Instrument("B"), Instrument("F", on_future=True), Instrument("Z")]
    for days in (2, 60):
        for right in "CP":
            end = NOW + days * DAY
            found.append(Instrument("A", right, 100.0, end, 100.0))
            found.append(Instrument("B", right, 38.0, end, 100.0, exercise="american"))
    terms = {"multiplier": 50.0, "on_future": True}
    on_future = [
        Instrument("F", "P", 1010.0, PM, exercise=exercise, **terms)
        for exercise in ("european", "american")
    ]
    return found + on_future


TABLE = InstrumentTable.of(legs())
N, U = len(TABLE), len(TABLE.underlyings)
LEVEL = np.array([100.0, 40.0, 1000.0, 7.0])
FIELDS = ("bid", "ask", "vol", "spot", "quote_time", "spot_time", "feed")


def fair(rng: np.random.Generator, u: int, spot: float, now: int) -> tuple[np.ndarray, ...]:
    """(bid, ask, vol) around textbook prices of ticker u's instruments."""
    rows = np.flatnonzero(TABLE.underlying_index == u)
    kind, strike = TABLE.kind[rows], np.where(TABLE.kind[rows] == 0, 1.0, TABLE.strike[rows])
    vol, years = rng.choice(VOLS, len(rows)), (TABLE.expiry[rows] - now) / YEAR
    carry = np.full(len(rows), RATE if TABLE.underlyings[u] == "F" else 0.0)
    mid = prices(np.full(len(rows), spot), strike, years, RATE, carry, vol, kind)
    mid = np.maximum(mid, np.where(kind == 0, 0.0, kind * (spot - strike) * 1.01)) + 0.02
    return np.maximum(mid - 0.05, 0.0), mid + 0.05, vol


def start(seed: int, feed: bool = False) -> Market:
    rng = np.random.default_rng(seed)
    columns = [fair(rng, u, LEVEL[u], NOW) for u in range(U)]
    bid, ask, vol = (np.concatenate(column) for column in zip(*columns, strict=True))
    vol[rng.random(N) < 0.5] = np.nan
    market = Market(
        NOW, TABLE, LEVEL.copy(), RATE, np.zeros(U), bid, ask, vol,
        dividends=np.where((TABLE.kind != 0) & ~TABLE.on_future, 0.2, 0.0),
        beta=np.ones(U), beta_as_of=np.full(U, NOW - 365 * DAY), index_spot=4000.0,
        quote_time=np.full(N, NOW), spot_time=np.full(U, NOW), rules=RULES,
    )  # fmt: skip
    return replace(market, feed=np.full((N, 5), np.nan)) if feed else market


def book(seed: int) -> Portfolio:
    rng = np.random.default_rng(seed)
    held = rng.integers(-9, 10, N) * rng.choice([0.0, 1.0], N)
    orders = rng.integers(-2, 3, (int(rng.integers(0, 3)), N))
    return Portfolio(TABLE, held, 1e4, {"x": np.maximum(held, 0.0)}, orders)


@dataclass
class Shadow:
    """What the market is, kept as plain arrays: NaN volatilities stay NaN until they are asked."""

    portfolio: Portfolio
    now: int
    market: Market
    columns: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.columns = {name: getattr(self.market, name).copy() for name in FIELDS}

    def take(self, quotes: Quotes) -> None:
        u = TABLE.underlyings.index(quotes.underlying)
        rows = TABLE.underlying_index == u
        for name in ("bid", "ask", "vol"):
            self.columns[name][rows] = getattr(quotes, name)
        self.columns["quote_time"][rows] = quotes.time
        self.columns["spot"][u], self.columns["spot_time"][u] = quotes.spot, quotes.time
        if len(self.columns["feed"]):
            self.columns["feed"][rows] = np.nan if quotes.feed is None else quotes.feed

    def greeks(self):
        market = replace(self.market, now=self.now, **self.columns)
        return aggregate_greeks(self.portfolio, with_implied_vols(market))


def bits(greeks) -> bytes:
    arrays = (greeks.total, greeks.net, greeks.gross, greeks.X, greeks.code, *greeks.interval)
    return b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)


def tick(rng: np.random.Generator, now: int, feed: bool) -> Quotes:
    """New quotes of a ticker, some of them garbage, some volatilities to be solved for."""
    u = int(rng.integers(U))
    spot = float(LEVEL[u] * math.exp(0.05 * rng.normal()))
    bid, ask, vol = fair(rng, u, spot, now)
    vol[rng.random(len(vol)) < 0.5] = np.nan
    garbage = (math.nan, math.inf, -math.inf, -1.0, 0.0, 1e300)
    if rng.random() < 0.4:
        column = (bid, ask, vol)[int(rng.integers(3))]
        column[int(rng.integers(len(column)))] = rng.choice(garbage)
    if rng.random() < 0.1:
        spot = float(rng.choice(garbage))
    given = np.full((len(bid), 5), np.nan) if feed and rng.random() < 0.5 else None
    if given is not None:
        given[:, int(rng.integers(5))] = rng.choice([0.0, 0.5, math.inf])
    late = int(rng.choice([0, 0, 5 * HOUR, -HOUR]))
    return Quotes(TABLE.underlyings[u], spot, bid, ask, vol, now - late, given)


@settings(FAST, max_examples=60)
@given(st.integers(0, 100_000), st.lists(st.sampled_from("uuuuah"), min_size=1, max_size=8))
def test_any_sequence_ends_in_the_bits_of_a_fresh_aggregation(seed: int, steps: list[str]) -> None:
    rng = np.random.default_rng(seed)
    feed = bool(rng.random() < 0.3)
    market = start(seed, feed)
    live, shadow = LiveGreeks(book(seed), market), Shadow(book(seed), NOW, market)
    assert bits(live.greeks()) == bits(shadow.greeks())
    for count, step in enumerate(steps):
        if step == "u":
            quotes = tick(rng, shadow.now, feed)
            total = live.update(quotes)
            shadow.take(quotes)
        elif step == "a":
            shadow.now += int(rng.choice([0, 1, HOUR, 5 * HOUR, 3 * DAY]))
            total = live.advance(shadow.now, dividends=shadow.market.dividends)
        else:
            shadow.portfolio = book(seed + count)
            total = live.hold(shadow.portfolio)
        expected, got = shadow.greeks(), live.greeks()
        assert bits(got) == bits(expected)
        assert total.tobytes() == expected.total.tobytes()
        assert got.to_dict() == expected.to_dict()
        assert got.market.vol.tobytes() == expected.market.vol.tobytes()


def test_the_sequences_above_hold_numbers_and_gaps() -> None:
    """Else the equality of bits would be one of NaNs."""
    market = with_implied_vols(start(1))
    assert np.isnan(start(1).vol[TABLE.kind != 0]).any()
    assert np.isfinite(market.vol[TABLE.kind != 0]).all()
    assert market.unknown == {}
    assert np.isfinite(LiveGreeks(book(1), start(1)).greeks().total).all()


def quotes_of(market: Market, ticker: str, **changes) -> Quotes:
    u = TABLE.underlyings.index(ticker)
    rows = TABLE.underlying_index == u
    same = {name: getattr(market, name)[rows] for name in ("bid", "ask", "vol")}
    values = {"spot": float(market.spot[u]), "time": int(market.spot_time[u])} | same | changes
    return Quotes(ticker, **values)


@pytest.mark.parametrize("ticker", TABLE.underlyings)
def test_a_tick_changes_its_ticker_and_no_other(ticker: str) -> None:
    live = LiveGreeks(book(3), start(3))
    before = live.greeks()
    moved = 1.01 * LEVEL[TABLE.underlyings.index(ticker)]
    live.update(quotes_of(start(3), ticker, spot=moved, ask=np.full(len(rows_of(ticker)), 1e5)))
    after = live.greeks()
    for other in TABLE.underlyings:
        rows = rows_of(other)
        same = before.X[rows].tobytes() == after.X[rows].tobytes()
        assert same == (other != ticker)
        held = before.portfolio.quantity[rows].any()
        kept = before.by_underlying()[other].tobytes() == after.by_underlying()[other].tobytes()
        assert kept == (other != ticker or not held)
        for name in ("bid", "ask", "vol", "quote_time"):
            a, z = getattr(before.market, name)[rows], getattr(after.market, name)[rows]
            assert other == ticker or a.tobytes() == z.tobytes()


def rows_of(ticker: str) -> np.ndarray:
    return np.flatnonzero(TABLE.underlying_index == TABLE.underlyings.index(ticker))


def test_garbage_in_one_ticker_leaves_the_others_numbers_and_is_healed_by_the_next_tick() -> None:
    whole = Portfolio(TABLE, np.ones(N), 0.0)
    live = LiveGreeks(whole, start(4))
    before = live.greeks()
    total = live.update(quotes_of(start(4), "A", bid=np.full(5, math.nan)))
    assert np.isnan(total).all()
    bad = live.greeks()
    assert set(bad.unknown.values()) == {"quote_missing"}
    assert {s.split()[0] for s in bad.unknown} == {"A"}
    parts = bad.to_dict()["by_underlying"]
    for ticker, numbers in parts.items():
        assert all((number is None) == (ticker == "A") for number in numbers.values())
    low, high = bad.interval
    assert (low[:5] <= before.total[:5]).all()
    assert (before.total[:5] <= high[:5]).all()
    live.update(quotes_of(start(4), "A"))
    assert bits(live.greeks()) == bits(before)


REFUSED = [
    ({"underlying": "Q"}, ValueError, "underlying: got 'Q'"),
    ({"underlying": ""}, ValueError, "underlying: got ''"),
    ({"bid": np.ones(4)}, ValueError, "inhomogeneous|shape"),
    ({"bid": np.ones(4), "ask": np.ones(4), "vol": np.ones(4)}, ValueError, r"shape \(4,\)"),
    ({"bid": np.ones((1, 5)), "ask": np.ones((1, 5)), "vol": np.ones((1, 5))}, ValueError, "shape"),
    ({"bid": 1.0, "ask": 1.0, "vol": 1.0}, ValueError, r"shape \(\); allowed: \(5,\)"),
    ({"vol": ["x"] * 5}, ValueError, "could not convert"),
    ({"spot": None}, TypeError, "float"),
    ({"spot": "high"}, ValueError, "could not convert"),
    ({"spot": np.ones(2)}, TypeError, "scalar"),
    ({"time": 2**70}, OverflowError, "too large"),
    ({"feed": np.ones((5, 5))}, ValueError, r"feed: got shape \(5, 5\); allowed: None"),
]


@pytest.mark.parametrize(("changes", "error", "message"), REFUSED)
def test_what_is_refused_changes_nothing(changes, error, message) -> None:
    live = LiveGreeks(book(5), start(5))
    before = live.greeks()
    moved = {"spot": 120.0, "bid": np.ones(5), "ask": np.full(5, 2.0), "time": NOW + 1}
    good = quotes_of(start(5), "A", **moved)
    with pytest.raises(error, match=message):
        live.update(replace(good, **changes))
    after = live.greeks()
    assert bits(after) == bits(before)
    for name in FIELDS:
        assert getattr(after.market, name).tobytes() == getattr(before.market, name).tobytes()
    live.update(good)
    assert bits(live.greeks()) != bits(before)


def test_a_feed_of_another_shape_is_refused_where_there_is_one() -> None:
    live = LiveGreeks(book(5), start(5, feed=True))
    before = bits(live.greeks())
    for shape in ((5, 4), (4, 5), (5,)):
        with pytest.raises(ValueError, match=r"feed: got shape .* allowed: \(5, 5\)"):
            live.update(quotes_of(start(5), "A", spot=103.0, feed=np.zeros(shape)))
    assert bits(live.greeks()) == before


def test_time_does_not_go_back_nor_books_come_from_another_table() -> None:
    live = LiveGreeks(book(6), start(6))
    before = bits(live.greeks())
    with pytest.raises(ValueError, match=f"now: got {NOW - 1}; allowed: at or after {NOW}"):
        live.advance(NOW - 1)
    other = InstrumentTable.of(legs())
    stranger = Portfolio(other, np.zeros(N), 0.0)
    with pytest.raises(ValueError, match="same InstrumentTable object"):
        live.hold(stranger)
    with pytest.raises(ValueError, match="same InstrumentTable object"):
        LiveGreeks(stranger, start(6))
    assert bits(live.greeks()) == before


def test_what_was_handed_out_and_what_was_handed_in_stay_apart() -> None:
    market, rng = start(7), np.random.default_rng(7)
    arrays = {name: getattr(market, name).tobytes() for name in FIELDS}
    live = LiveGreeks(book(7), market)
    first, total = live.greeks(), live.hold(book(7))
    kept, quotes = (bits(first), total.tobytes(), first.to_dict()), tick(rng, NOW, feed=False)
    live.update(quotes)
    live.advance(NOW + HOUR, dividends=market.dividends)
    live.hold(book(8))
    after = bits(live.greeks())
    assert (bits(first), total.tobytes(), first.to_dict()) == kept
    assert {name: getattr(market, name).tobytes() for name in FIELDS} == arrays
    quotes.bid[:], quotes.vol[:] = 0.0, 9.0  # a client that reuses its buffers
    total[:] = 0.0
    first.X[:] = 0.0
    assert bits(live.greeks()) == after


def test_a_volatility_that_was_solved_follows_the_quotes_and_the_clock() -> None:
    call = Instrument("A", "C", 100.0, PM)
    table = InstrumentTable.of([call])
    market = Market(NOW, table, np.array([100.0]), 0.0, np.zeros(1), np.array([3.9]),
                    np.array([4.1]), np.array([np.nan]))  # fmt: skip
    live = LiveGreeks(Portfolio.of(table, {call: 1.0}, 0.0), market)

    def check(now: int, spot: float, mid: float) -> float:
        vol = float(live.greeks().market.vol[0])
        price = black_scholes_merton("c", spot, 100.0, (PM - now) / YEAR, 0.0, vol, 0.0)
        assert price == pytest.approx(mid, rel=1e-11)
        return vol

    quoted = check(NOW, 100.0, 4.0)
    live.update(Quotes("A", 101.0, [4.9], [5.1], [np.nan]))
    check(NOW, 101.0, 5.0)
    live.advance(NOW + 30 * DAY)  # the same price for half the time: a higher volatility
    assert check(NOW + 30 * DAY, 101.0, 5.0) > 1.3 * quoted
    live.update(Quotes("A", 101.0, [4.9], [5.1], [0.33]))
    live.advance(NOW + 40 * DAY)
    assert live.greeks().market.vol[0] == 0.33  # given, and so never solved for


def test_what_a_feed_said_of_the_last_quotes_is_not_used_of_these() -> None:
    """A feed's delta passes only within a band, but a stale one can lie in it."""
    call = Instrument("A", "C", 100.0, PM)
    table = InstrumentTable.of([call])
    market = Market(NOW, table, np.array([100.0]), 0.0, np.zeros(1), np.array([3.9]),
                    np.array([4.1]), np.array([0.25]))  # fmt: skip
    computed = {spot: float(option_greeks(spot, 100.0, 60 / 365, 0.0, 0.0, 0.25, True).delta)
                for spot in (100.0, 100.2)}  # fmt: skip
    fed = np.array([[computed[100.0] + 0.01, *[np.nan] * 4]])
    live = LiveGreeks(Portfolio.of(table, {call: 1.0}, 0.0), replace(market, feed=fed))
    assert live.greeks().total[0] == fed[0, 0]
    quotes = Quotes("A", 100.2, [3.9], [4.1], [0.25])
    assert live.update(quotes)[0] == pytest.approx(computed[100.2], rel=1e-12)
    fed[0, 0] = computed[100.2] - 0.01
    assert live.update(replace(quotes, feed=fed))[0] == fed[0, 0]


# --- volatilities from quotes ---------------------------------------------------------------------


def option(right="C", strike=100.0, days=60, ticker="A", **terms) -> Instrument:
    return Instrument(ticker, right, strike, NOW + days * DAY, **terms)


def market_of(*instruments: Instrument, mid, half=0.0, **changes) -> Market:
    table = InstrumentTable.of(instruments)
    u, n = len(table.underlyings), len(table)
    values = {"spot": np.full(u, 100.0), "rate": 0.04, "dividend_yield": np.full(u, 0.01),
              "vol": np.full(n, np.nan)} | changes  # fmt: skip
    mid = np.full(n, mid, dtype=float)
    return Market(values.pop("now", NOW), table, bid=mid - half, ask=mid + half, **values)


@pytest.mark.parametrize("on_future", [False, True])
@pytest.mark.parametrize("right", ["C", "P"])
@pytest.mark.parametrize("strike", [80.0, 100.0, 115.0])
@pytest.mark.parametrize("cash", [0.0, 1.5])
def test_at_the_solved_volatility_a_european_option_is_worth_its_midpoint(
    cash, strike, right, on_future
) -> None:
    if cash and on_future:
        cash = 0.0
    one = option(right, strike, on_future=on_future)
    spot, held = 100.0 - cash, 0.04 if on_future else 0.01
    for vol in (0.08, 0.2, 0.7, 2.0):
        args = right.lower(), spot, strike, 60 / 365, 0.04
        mid = black_scholes_merton(*args, vol, held)
        market = with_implied_vols(
            market_of(one, mid=mid, half=mid / 8, dividends=np.full(1, cash))
        )
        solved = float(market.vol[0])
        if not market.unknown:
            assert black_scholes_merton(*args, solved, held) == pytest.approx(mid, rel=1e-11)
            ours = float(
                option_greeks(spot, strike, 60 / 365, 0.04, 0.04 - held, solved, right == "C").price
            )
            assert ours == pytest.approx(mid, rel=1e-12)
            assert solved == pytest.approx(vol, rel=1e-5)
        # Deep in the money at a low volatility a price holds next to none.
        assert not (market.unknown and vol > 0.1)


@pytest.mark.parametrize("on_future", [False, True])
@pytest.mark.parametrize("right", ["C", "P"])
@pytest.mark.parametrize("strike", [90.0, 100.0, 110.0])
@pytest.mark.parametrize("cash", [0.0, 1.5])
def test_at_the_solved_volatility_an_american_option_is_worth_its_midpoint(
    cash, strike, right, on_future
) -> None:
    if cash and on_future:
        cash = 0.0
    one = option(right, strike, exercise="american", on_future=on_future)
    carry = 0.0 if on_future else 0.03 + math.log(1.0 - cash / 100.0) / (60 / 365)
    args = 100.0, strike, 60 / 365, 0.04, carry
    for vol in (0.2, 0.7):
        mid = float(american_price(*args, vol, right == "C", accurate=True))
        market = with_implied_vols(
            market_of(one, mid=mid, half=mid / 8, dividends=np.full(1, cash))
        )
        assert not market.unknown
        solved = float(market.vol[0])
        again = float(american_price(*args, solved, right == "C", accurate=True))
        assert again == pytest.approx(mid, abs=1e-3)  # 1e-5 of spot is the engine's quick accuracy
        assert solved == pytest.approx(vol, rel=2e-3)


OK, INVALID = ImpliedVolatilityStatus.OK, ImpliedVolatilityStatus.INVALID_INPUT
STATUSES = [
    # (bid, ask, what else, status, reason once solved)
    (3.0, 4.0, {}, OK, None),
    (0.0, 4.0, {}, OK, None),
    (math.nan, 4.0, {}, INVALID, "quote_missing"),
    (5.0, 4.0, {}, INVALID, "quote_crossed"),
    (-1.0, 4.0, {}, INVALID, "quote_not_positive"),
    (3.0, math.inf, {}, INVALID, "quote_not_positive"),
    (3.0, 4.0, {"rules": RULES}, INVALID, "quote_stale"),
    (3.0, 4.0, {"now": PM}, INVALID, "expired"),
    (3.0, 4.0, {"rate": math.nan}, INVALID, "spot_rate_or_yield_invalid"),
    (3.0, 4.0, {"spot": np.array([150.0])}, ImpliedVolatilityStatus.BELOW_INTRINSIC,
     "quote_below_intrinsic"),
    # The ask is above the intrinsic, the midpoint is not.
    (1.0, 52.0, {"spot": np.array([150.0])}, ImpliedVolatilityStatus.BELOW_INTRINSIC,
     "vol_invalid"),
    (150.0, 160.0, {}, ImpliedVolatilityStatus.ABOVE_MAXIMUM, "quote_above_maximum"),
]  # fmt: skip


@pytest.mark.parametrize("exercise", ["european", "american"])
@pytest.mark.parametrize(("bid", "ask", "changes", "status", "reason"), STATUSES)
def test_every_quote_has_a_status_and_no_volatility_is_guessed(
    bid, ask, changes, status, reason, exercise
) -> None:
    one = option(exercise=exercise)
    fresh = {"spot_time": np.array([NOW])}
    market = market_of(one, mid=1.0, **(fresh | changes))
    market = replace(market, bid=np.array([bid]), ask=np.array([ask]))
    found = implied_vols(market)
    assert ImpliedVolatilityStatus(int(found.status[0])) == status
    assert np.isnan(found.vol[0]) == (status != OK)
    solved = with_implied_vols(market)
    assert solved.unknown == ({one.symbol: reason} if reason else {})
    assert np.isnan(solved.vol[0]) == (status != OK)


def test_only_options_without_a_volatility_are_given_one() -> None:
    share, given_one, wanting = Instrument("A"), option(strike=95.0), option()
    market = market_of(share, given_one, wanting, mid=8.0, half=0.5)
    market = replace(market, vol=np.array([math.nan, 0.9, math.nan]))
    solved = with_implied_vols(market)
    assert np.isnan(solved.vol[0])
    assert solved.vol[1] == 0.9
    assert 0.1 < solved.vol[2] < 0.9
    assert with_implied_vols(solved) is solved
    assert np.isnan(market.vol[2])
    status = implied_vols(market).status.tolist()
    assert status == [INVALID, OK, OK]


@pytest.mark.parametrize(("first", "last"), [(0, 3), (2, 7), (5, 5), (0, 14)])
def test_part_of_a_table_is_solved_to_the_bits_of_the_whole(first: int, last: int) -> None:
    market = start(9)
    whole, part = implied_vols(market), implied_vols(market, first, last)
    assert part.vol.tobytes() == whole.vol[first:last].tobytes()
    assert part.status.tolist() == whole.status[first:last].tolist()


def test_time_passes_only_with_the_dividends_as_they_are_then() -> None:
    """A call over an ex-date: what was taken off the spot before is not after."""
    call = option()
    table = InstrumentTable.of([call])
    market = replace(market_of(call, mid=5.0), dividends=np.array([4.0]))
    live = LiveGreeks(Portfolio.of(table, {call: 1.0}, 0.0), replace(market, table=table))
    later = NOW + DAY
    with pytest.raises(ValueError, match="dividends: got none"):
        live.advance(later)
    with pytest.raises(ValueError, match="bid: not changed here"):
        live.advance(later, bid=market.bid)
    total = live.advance(later, dividends=np.zeros(1), index_spot=4400.0)
    whole = replace(market, table=table, now=later, dividends=np.zeros(1), index_spot=4400.0)
    assert (
        total.tobytes()
        == aggregate_greeks(live.greeks().portfolio, with_implied_vols(whole)).total.tobytes()
    )
