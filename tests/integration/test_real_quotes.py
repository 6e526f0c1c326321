"""Whole books of real quotes: a year of SPY, chains of seven tickers, and a vendor full of garbage.

`pytest tests/integration/test_real_quotes.py -s` prints what is measured; `-m slow` adds the rest.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from riskenv.data import exchange_sessions

from riskenv import (
    BreakerState,
    Caps,
    FeedUnits,
    Instrument,
    InstrumentTable,
    LiveGreeks,
    Market,
    Portfolio,
    PortfolioGreeks,
    PortfolioRiskManager,
    Quotes,
    RiskGate,
    RiskLimits,
    Sessions,
    Verdict,
    aggregate_greeks,
    feed_greeks,
    instrument_from_occ,
    settlement_time,
    with_implied_vols,
)
from riskenv.exposures import exposures
from riskenv.feed import GREEKS, feed_vol
from riskenv.feed_agreement import FeedVerdict, judge_feed
from riskenv.measures import LINEAR
from riskenv.pricing import ImpliedVolatilityStatus
from riskenv.quote_quality import UNKNOWN_REASONS
from riskenv.quote_vols import implied_vols

MULTIPLIER = 100.0
DELTA, GAMMA, THETA, VEGA = (LINEAR.index(name) for name in ("delta", "gamma", "theta", "vega"))


@pytest.fixture(scope="module")
def sessions() -> Sessions:
    return exchange_sessions("2013-01-02", "2028-12-29")


def nanoseconds(stamp: object) -> int:
    return int(pd.Timestamp(stamp).as_unit("ns").value)


@dataclass(frozen=True)
class Chain:
    """Rows of a file as a table; `rows[i]` is where row i of the file lies in the table."""

    table: InstrumentTable
    rows: np.ndarray

    @classmethod
    def of(cls, contracts: list[Instrument], *others: Instrument) -> Chain:
        table = InstrumentTable.of([*others, *contracts])
        return cls(table, np.array([table.index[contract] for contract in contracts]))

    def column(self, values: object, other: float = math.nan) -> np.ndarray:
        out = np.full(len(self.table), other)
        out[self.rows] = np.asarray(values, dtype=np.float64)
        return out


def each_held(table: InstrumentTable, seed: int = 5) -> Portfolio:
    """A book of 1 to 10 of everything, long and short."""
    rng = np.random.default_rng(seed)
    lots = rng.integers(1, 11, len(table)) * rng.choice([-1.0, 1.0], len(table))
    return Portfolio(table, lots, cash=0.0)


def reasons(greeks: PortfolioGreeks) -> Counter[str]:
    return Counter(greeks.unknown.values())


def assert_sound(greeks: PortfolioGreeks) -> None:
    """What must hold of every book, however bad its quotes."""
    low, high = greeks.interval
    assert not np.isnan(low).any()
    assert not np.isnan(high).any()
    assert (low <= high).all()
    known = greeks.code == 0
    beta = LINEAR.index("beta_delta")
    others = [j for j in range(len(LINEAR)) if j != beta]
    assert np.isfinite(greeks.X[known][:, others]).all()
    assert np.isnan(greeks.X[~known]).all()
    # What is told of an Unknown total is an interval; a known total lies in its own.
    for j in others:
        total = greeks.total[j]
        assert math.isnan(total) == bool(greeks.unknown)
        assert math.isnan(total) or low[j] <= total <= high[j]
    held = np.flatnonzero(greeks.portfolio.quantity)
    without = [i for i in held if greeks.code[i]]
    assert sorted(greeks.unknown) == sorted(greeks.market.table.symbols[i] for i in without)
    assert set(greeks.unknown.values()) <= set(UNKNOWN_REASONS[1:])

    told = greeks.to_dict()
    json.dumps(told, allow_nan=False)
    assert (told["delta"] is None) == bool(without)


# --- a year of SPY, end of day --------------------------------------------------------------------

RATE = 0.0005


def spy_days(folder: Path, sessions: Sessions) -> Iterator[tuple[pd.DataFrame, Chain, Market]]:
    """Each day's 20 contracts at their quotes: American, of unknown volatility.

    Under the vendor's own convention, found in tests/reference/test_vendor_greeks.py: no
    dividends, 0.05 %, and whole days, which is what lies between two closes.
    """
    year = pd.read_parquet(folder / "options" / "spy_eod_2021.parquet")
    for day, rows in year.groupby("quotedate"):
        contracts = [
            instrument_from_occ(symbol, sessions, exercise="american")
            for symbol in rows["optionroot"]
        ]
        chain = Chain.of(contracts)
        market = Market(
            now=settlement_time(day.date(), sessions),
            table=chain.table,
            spot=rows["underlying_last"].to_numpy()[:1],
            rate=RATE,
            dividend_yield=np.zeros(1),
            bid=chain.column(rows["bid"]),
            ask=chain.column(rows["ask"]),
            vol=np.full(len(chain.table), np.nan),
        )
        yield rows, chain, market


def test_a_year_of_spy_books_has_the_vendors_volatilities_and_greeks(
    shared_data: Path, sessions: Sessions
) -> None:
    began = time.perf_counter()
    gaps, ratios, deltas, without, crossed = [], [], [], Counter(), 0
    for rows, chain, market in spy_days(shared_data, sessions):
        assert len(chain.table) == len(rows) == 20
        greeks = aggregate_greeks(each_held(chain.table), with_implied_vols(market))
        assert_sound(greeks)
        code = greeks.code[chain.rows]
        vendor_crossed = (rows["bid"] > rows["ask"]).to_numpy()
        told = np.array(UNKNOWN_REASONS)[code]
        assert (told[vendor_crossed] == "quote_crossed").all()
        crossed += int(vendor_crossed.sum())
        without += Counter(told[~vendor_crossed & (code != 0)].tolist())

        known = code == 0
        ours = greeks.X[chain.rows][known][:, [GAMMA, THETA, VEGA]] / MULTIPLIER
        theirs = rows[["gamma", "theta", "vega"]].to_numpy()[known]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios.append(np.where(theirs != 0.0, ours / theirs, np.nan))
        deltas.append(
            np.abs(greeks.X[chain.rows, DELTA] / MULTIPLIER - rows["delta"].to_numpy())[known]
        )
        gaps.append(
            100.0 * np.abs(greeks.market.vol[chain.rows] - rows["impliedvol"].to_numpy())[known]
        )
    gap, ratio = np.concatenate(gaps), np.nanmedian(np.concatenate(ratios), axis=0)
    delta = np.concatenate(deltas)
    print(
        f"\nSPY 2021: {len(gaps)} books, {len(gap)} options, {crossed} crossed, "
        f"others Unknown {dict(without)}; volatility, median distance "
        f"{np.median(gap):.3f} vol points, 90 % within {np.quantile(gap, 0.9):.2f}; delta "
        f"{np.median(delta):.4f}; median ratios of gamma, theta, vega {ratio.round(4)}; "
        f"{time.perf_counter() - began:.1f} s"
    )
    assert len(gaps) == 252
    assert crossed == 17
    # One put in 5,023 is quoted at what exercising it would give.
    assert sum(without.values()) <= 1
    assert np.median(gap) < 0.27
    assert np.median(delta) < 0.003
    np.testing.assert_allclose(ratio, 1.0, atol=5e-3)


def test_the_vendors_greeks_pass_as_a_feed_and_in_other_units_do_not(
    shared_data: Path, sessions: Sessions
) -> None:
    """With the vendor's volatilities, so that what may differ is the model."""
    used = {"as given": FeedUnits(), "theta a trading day": FeedUnits(theta_per="trading_day"),
            "vega per 1.00": FeedUnits(vega_per="unit")}  # fmt: skip
    agreed, options = Counter(), 0
    for rows, chain, market in spy_days(shared_data, sessions):
        market = replace(market, vol=chain.column(rows["impliedvol"]))
        quoted = (rows["bid"] <= rows["ask"]).to_numpy()
        options += int(quoted.sum())
        for name, units in used.items():
            given = feed_greeks(
                {greek: rows[greek].to_numpy() for greek in GREEKS if greek in rows},
                units, rows["underlying_last"].to_numpy(), MULTIPLIER,
                (rows["type"] == "call").to_numpy(),
            )  # fmt: skip
            feed = np.full((len(chain.table), 5), np.nan)
            feed[chain.rows] = given.for_market
            greeks = aggregate_greeks(each_held(chain.table), replace(market, feed=feed))
            assert_sound(greeks)
            known = greeks.code[chain.rows] == 0
            agreed[name] += int(known.sum())
            assert not known[~quoted].any()
            # What passed is what is used.
            np.testing.assert_array_equal(
                greeks.X[chain.rows, VEGA][known], MULTIPLIER * given.values[known, 3]
            )
            assert reasons(greeks).keys() <= {"quote_crossed", "feed_disagrees"}
    print(f"\nSPY 2021 as a feed: {options} quoted options, used {dict(agreed)}")
    assert agreed["as given"] >= 0.998 * options
    assert agreed["theta a trading day"] <= 0.03 * options
    # What is left has next to no vega in any unit.
    assert agreed["vega per 1.00"] <= 0.001 * options


# --- a vendor that cannot be trusted --------------------------------------------------------------

# Monthly SPX options of these files settle at the open; which day counts, the hour hardly does.
INDICES = ("spx", "spxw", "nqx")


@dataclass(frozen=True)
class VendorDay:
    """Everything that the vendor's file of one day says of one ticker."""

    name: str
    chain: Chain
    book: Portfolio
    market: Market
    invalid: np.ndarray  # rows of the table whose Greeks are garbage

    @property
    def greeks(self) -> PortfolioGreeks:
        return aggregate_greeks(self.book, self.market)


def vendor_days(folder: Path, sessions: Sessions) -> Iterator[VendorDay]:
    whole = pd.read_parquet(folder / "options" / "bad_vendor_iv_greeks.parquet")
    for (ticker, date), rows in whole.groupby(["underlying", "file_date"]):
        now = settlement_time(pd.Timestamp(date).date(), sessions)
        exercise = "european" if ticker in INDICES else "american"
        contracts = [
            Instrument(
                ticker, right, strike, settlement_time(pd.Timestamp(expiry).date(), sessions),
                MULTIPLIER, exercise=exercise,
            )
            for right, strike, expiry in zip(
                rows["right"], rows["strike"], rows["expiry"], strict=True
            )
        ]  # fmt: skip
        share = Instrument(ticker)
        chain = Chain.of(contracts, share)
        spot = rows["underlying_close"].to_numpy()[:1]
        close = chain.column(rows["close"])
        close[chain.table.index[share]] = spot[0]
        given = feed_greeks(
            {greek: rows[greek].to_numpy() for greek in GREEKS}, FeedUnits(),
            rows["underlying_close"].to_numpy(), MULTIPLIER, (rows["right"] == "C").to_numpy(),
        )  # fmt: skip
        vol, _ = feed_vol(rows["implied_volatility"].to_numpy(), FeedUnits())
        feed = np.full((len(chain.table), 5), np.nan)
        feed[chain.rows] = given.for_market
        market = Market(
            now, chain.table, spot, 0.053 if date >= "2023" else 0.001, np.zeros(1),
            close, close, chain.column(vol), feed=feed,
        )  # fmt: skip
        verdict = judge_feed(given, np.zeros_like(given.values), market.rules.feed_tolerance)
        invalid = np.zeros(len(chain.table), dtype=bool)
        invalid[chain.rows] = verdict == FeedVerdict.INVALID
        yield VendorDay(f"{ticker} {date}", chain, each_held(chain.table), market, invalid)


def test_every_number_of_a_bad_vendor_is_used_or_unknown_with_its_reason(
    shared_data: Path, sessions: Sessions
) -> None:
    """As given: the vendor's volatilities, its Greeks as a feed, garbage as `for_market` has it."""
    counts: dict[str, Counter[str]] = {}
    days = 0
    for day in vendor_days(shared_data, sessions):
        greeks = day.greeks
        assert_sound(greeks)
        days += 1
        told = np.array(UNKNOWN_REASONS)[greeks.code]
        counts.setdefault(day.name.split()[0], Counter()).update(told.tolist())
        without_vol = np.isnan(day.market.vol) & (day.chain.table.kind != 0)
        assert (greeks.code[day.invalid | without_vol] != 0).all(), day.name
        if np.isnan(day.market.spot[0]):
            still_alive = told[day.chain.table.expiry > day.market.now]
            assert (still_alive == "spot_rate_or_yield_invalid").all()
        # The share itself is as good as its price, whatever becomes of its options.
        share = day.chain.table.index[Instrument(day.name.split()[0])]
        assert (greeks.code[share] == 0) == bool(day.market.spot[0] > 0.0)
    table = pd.DataFrame(counts).T.fillna(0).astype(int)
    print("\n" + table.to_string())
    assert days == 57
    assert int(table.to_numpy().sum()) == 59_318 + days
    assert table.loc["aapl", "known"] < 0.05 * table.loc["aapl"].sum()
    assert table["known"].sum() > 1_000


def test_the_interval_holds_whatever_the_unknown_turn_out_to_be(
    shared_data: Path, sessions: Sessions
) -> None:
    """At any volatility, and any spot where there was none, the book is where it was said to be.

    With quotes as wide as can be, all that is alive is known. Slack: rounding and, of American
    options, the accuracy of the kernel.
    """
    rng = np.random.default_rng(6)
    checked, widest, tightest = 0, 0.0, {}
    fullest: dict[str, VendorDay] = {}
    for day in vendor_days(shared_data, sessions):
        other = fullest.setdefault(day.name.split()[0], day)
        if len(day.chain.table) > len(other.chain.table):
            fullest[day.name.split()[0]] = day
    for ticker, day in fullest.items():
        table, greeks = day.chain.table, day.greeks
        n, quantity = len(table), day.book.quantity
        low, high = greeks.interval
        unknown = np.flatnonzero(greeks.code)
        checked += unknown.size
        for _ in range(5):
            spot = day.market.spot
            truth = exposures(
                replace(
                    day.market,
                    spot=np.where(spot > 0.0, spot, 2_000.0 * np.exp(rng.normal(0.0, 0.3))),
                    bid=np.zeros(n),
                    ask=np.full(n, 1e9),
                    vol=np.exp(rng.uniform(math.log(0.01), math.log(5.0), n)),
                    feed=np.empty((0, 5)),
                )
            )
            alive = unknown[truth.code[unknown] == 0]
            gone = np.setdiff1d(unknown, alive)
            assert {UNKNOWN_REASONS[code] for code in truth.code[gone]} <= {"expired"}
            known = np.flatnonzero(greeks.code == 0)
            total = quantity[known] @ greeks.X[known] + quantity[alive] @ truth.X[alive]
            size = np.abs(quantity[known]) @ np.abs(greeks.X[known])
            size += np.abs(quantity[alive]) @ np.abs(truth.X[alive])
            for j, name in enumerate(LINEAR[:-1]):
                outside = max(low[j] - total[j], total[j] - high[j]) / max(size[j], 1e-9)
                widest = max(widest, outside)
                assert outside <= 1e-6, (ticker, name)
        tightest[ticker] = [round(float(x), 1) for x in (low[DELTA], high[DELTA])]
    print(f"\nfurthest outside, relative: {widest:.1e}; delta between {tightest}")
    assert checked > 4_000


def test_solved_volatilities_rescue_what_the_vendor_has_none_for(
    shared_data: Path, sessions: Sessions
) -> None:
    """From closes in place of the vendor's volatilities, and no feed: more is known, all sound."""
    known = Counter()
    for day in vendor_days(shared_data, sessions):
        if day.name.split()[0] not in ("spy", "nwsa", "twx", "nqx", "spxw"):
            continue
        blank = replace(day.market, vol=np.full(len(day.chain.table), np.nan))
        greeks = aggregate_greeks(
            day.book, with_implied_vols(replace(blank, feed=np.empty((0, 5))))
        )
        assert_sound(greeks)
        known["solved"] += int((greeks.code == 0).sum())
        known["as given"] += int((day.greeks.code == 0).sum())
    print(f"\nknown instruments: {dict(known)}")
    assert known["solved"] > known["as given"]


ENTRIES = 12  # of each day: half of them into what is Unknown


def test_no_entry_into_an_unknown_instrument_is_allowed(
    shared_data: Path, sessions: Sessions
) -> None:
    """A delta cap too wide to bind: what stands in the way is that nobody knows."""
    verdicts: dict[str, Counter[str]] = {"Unknown": Counter(), "known": Counter()}
    days_by_ticker = Counter()
    for day in vendor_days(shared_data, sessions):
        ticker = day.name.split()[0]
        days_by_ticker[ticker] += 1
        if days_by_ticker[ticker] > 3:
            continue
        table, market = day.chain.table, day.market
        manager = PortfolioRiskManager(RiskLimits(caps=Caps(delta=1e6)), sessions)
        flat = Portfolio(table, np.zeros(len(table)), cash=1e6)
        unknown = aggregate_greeks(flat, market).code != 0
        rng = np.random.default_rng(8)
        for kind, rows in (
            ("Unknown", np.flatnonzero(unknown)),
            ("known", np.flatnonzero(~unknown)),
        ):
            for row in rng.permutation(rows)[: ENTRIES // 2]:
                for lots in (1.0, -1.0):
                    trades = np.zeros(len(table))
                    trades[row] = lots
                    decision = RiskGate(manager, BreakerState()).check(flat, market, trades)
                    verdicts[kind][decision.verdict.value] += 1
                    if kind == "Unknown":
                        assert decision.verdict is not Verdict.ALLOW, (day.name, row)
                        assert decision.trades[row] == 0.0
                        assert decision.reasons
    print(f"\nentries: {verdicts}")
    assert verdicts["Unknown"].total() > 100
    # It is not that everything is refused.
    assert verdicts["known"]["ALLOW"] > 0.9 * verdicts["known"].total() > 0


# --- full chains ----------------------------------------------------------------------------------

BOND_RATE = 0.0365  # three-month bills in February 2026
YIELDS = {"SPY": 0.011, "QQQ": 0.005, "AAPL": 0.004}


def snapshot(folder: Path, number: int) -> pd.DataFrame:
    whole = pd.read_parquet(folder / "options" / "us7_chains_3_snapshots_2026-02.parquet")
    return whole[whole["snapshot"] == number]


def chain_market(rows: pd.DataFrame, sessions: Sessions) -> tuple[Chain, Market]:
    """Options and shares at their quotes; a share's is its last price, with no spread."""
    spot = rows.groupby("underlying")["underlyingPrice"].first()
    contracts = [
        instrument_from_occ(symbol, sessions, exercise="american")
        for symbol in rows["contractSymbol"]
    ]
    shares = [Instrument(ticker) for ticker in spot.index]
    chain = Chain.of(contracts, *shares)
    bid, ask = chain.column(rows["bid"]), chain.column(rows["ask"])
    for share in shares:
        bid[chain.table.index[share]] = ask[chain.table.index[share]] = spot[share.underlying]
    tickers = chain.table.underlyings
    market = Market(
        now=nanoseconds(rows["lastTradeDate"].max()),
        table=chain.table,
        spot=spot[list(tickers)].to_numpy(),
        rate=BOND_RATE,
        dividend_yield=np.array([YIELDS.get(ticker, 0.0) for ticker in tickers]),
        bid=bid,
        ask=ask,
        vol=np.full(len(chain.table), np.nan),
    )
    return chain, market


def statuses(market: Market) -> tuple[np.ndarray, str]:
    """Names of the options' statuses, and a line with each one's share and the time a quote."""
    implied_vols(market, 0, min(4, len(market.table)))  # compiled by now
    began = time.perf_counter()
    _, status = implied_vols(market)
    micro = 1e6 * (time.perf_counter() - began) / len(status)
    names = np.array([ImpliedVolatilityStatus(s).name for s in status])[market.table.kind != 0]
    shares = ", ".join(
        f"{name} {100.0 * (names == name).mean():.2f} %" for name in sorted(set(names))
    )
    return names, f"{len(names):,} quotes, {micro:.0f} us each: {shares}"


def assert_reprices(chain_market: Market) -> None:
    """X and volatility of a solved chain fit its quotes: delta between 0 and 1, gamma above 0."""
    greeks = aggregate_greeks(each_held(chain_market.table), with_implied_vols(chain_market))
    assert_sound(greeks)
    known = (greeks.code == 0) & (chain_market.table.kind != 0)
    delta = greeks.X[known, DELTA] / MULTIPLIER * chain_market.table.kind[known]
    assert (delta >= -1e-9).all()
    assert (delta <= 1.0 + 1e-6).all()
    assert (greeks.X[known, GAMMA] >= 0.0).all()
    assert (greeks.X[known, VEGA] >= -1e-9).all()


# Share of quotes with a volatility. NVDA's chain has 700 of strikes before its split of 2024.
SOLVED = {"NVDA": 0.80, "SPY": 0.93, "IBIT": 0.80}


@pytest.mark.parametrize("ticker", SOLVED)
def test_a_full_chain_is_solved_and_what_is_not_has_its_status(
    ticker: str, shared_data: Path, sessions: Sessions
) -> None:
    rows = snapshot(shared_data, 2)
    chain, market = chain_market(rows[rows["underlying"] == ticker], sessions)
    names, line = statuses(market)
    print(f"\n{ticker}, full chain of 2026-02-12: {line}")
    assert len(chain.rows) == len(names)
    assert (names == "OK").mean() >= SOLVED[ticker]
    assert not (names == "UNCONVERGED").any()
    assert_reprices(market)


@pytest.mark.slow
def test_every_chain_of_three_snapshots_is_solved(shared_data: Path, sessions: Sessions) -> None:
    whole = pd.concat([snapshot(shared_data, number) for number in (1, 2, 3)])
    print()
    for (ticker, number), rows in whole.groupby(["underlying", "snapshot"]):
        _, market = chain_market(rows, sessions)
        names, line = statuses(market)
        print(f"{ticker} snapshot {number}: {line}")
        assert (names == "OK").mean() > 0.7
        assert not (names == "UNCONVERGED").any()
        assert_reprices(market)


def spot_from_parity(rows: pd.DataFrame) -> float:
    """The file has no spot: strike plus call less put where they are closest, nearest expiry."""
    middle = (0.5 * (rows["bid_close"] + rows["ask_close"])).rename("mid")
    pairs = rows.assign(mid=middle).pivot(index=["expiry", "strike"], columns="right", values="mid")
    pairs = pairs.dropna()
    near = pairs.loc[pairs.index.get_level_values("expiry").min()]
    gap = near["C"] - near["P"]
    strike = gap.abs().idxmin()
    return float(strike + gap[strike])


def test_a_day_of_hourly_chains_is_solved(shared_data: Path, sessions: Sessions) -> None:
    """GOOG, NWSA and TWX: an hour of each day, the last one."""
    whole = pd.read_parquet(shared_data / "options" / "equity_options_hour_quotes.parquet")
    thousandths = (1000.0 * whole["strike"]).round().astype(int).astype(str).str.zfill(8)
    whole["occ"] = whole["underlying"] + whole["expiry"].str[2:] + whole["right"] + thousandths
    print()
    solved = Counter()
    for (ticker, _), day in whole.groupby(["underlying", whole["t"].str[:8]]):
        last = day["t"].max()
        rows = day[day["t"] == last]
        contracts = [instrument_from_occ(occ, sessions, exercise="american") for occ in rows["occ"]]
        chain = Chain.of(contracts)
        stamp = pd.to_datetime(last, format="%Y%m%d %H:%M").tz_localize("America/New_York")
        market = Market(
            # A bar is stamped with its beginning; the last one of a day ends at the close.
            now=min(
                nanoseconds(stamp + pd.Timedelta(hours=1)),
                settlement_time(stamp.date(), sessions),
            ),
            table=chain.table,
            spot=np.array([spot_from_parity(rows)]),
            rate=0.002,
            dividend_yield=np.array([{"TWX": 0.018}.get(ticker, 0.0)]),
            bid=chain.column(rows["bid_close"]),
            ask=chain.column(rows["ask_close"]),
            vol=np.full(len(chain.table), np.nan),
        )
        names, line = statuses(market)
        print(f"{ticker} {last}, spot {market.spot[0]:.2f}: {line}")
        solved += Counter({"OK": int((names == "OK").sum()), "all": len(names)})
        assert not (names == "UNCONVERGED").any()
        assert_reprices(market)
    assert solved["OK"] > 0.75 * solved["all"] > 0


# --- ticks ----------------------------------------------------------------------------------------

POSITIONS = 1_000


def test_ticks_of_seven_tickers_are_the_full_recompute_to_the_bit(
    shared_data: Path, sessions: Sessions
) -> None:
    """From one snapshot of the chains to the next, ticker by ticker; then time passes."""
    first, second = (snapshot(shared_data, number) for number in (2, 3))
    both = sorted(set(first["contractSymbol"]) & set(second["contractSymbol"]))
    some = both[:: len(both) // POSITIONS]
    _, market = chain_market(first[first["contractSymbol"].isin(some)], sessions)
    _, after = chain_market(second[second["contractSymbol"].isin(some)], sessions)
    table = market.table
    assert after.table.instruments == table.instruments
    assert len(table.underlyings) == 7
    book = each_held(table)
    live = LiveGreeks(book, market)

    def assert_same(market: Market, total: np.ndarray) -> None:
        full = aggregate_greeks(book, with_implied_vols(market))
        ours = live.greeks()
        assert total.tobytes() == full.total.tobytes()
        for name in ("X", "code", "net", "gross", "total"):
            assert getattr(ours, name).tobytes() == getattr(full, name).tobytes(), name
        assert_sound(ours)

    assert_same(market, live.greeks().total)
    micro, unsolved = {}, np.full(len(table), np.nan)
    bid, ask, spot = market.bid.copy(), market.ask.copy(), market.spot.copy()
    for u, ticker in enumerate(table.underlyings):
        mine = table.underlying_index == u
        bid[mine], ask[mine], spot[u] = after.bid[mine], after.ask[mine], after.spot[u]
        began = time.perf_counter()
        total = live.update(Quotes(ticker, spot[u], bid[mine], ask[mine], unsolved[mine]))
        micro[ticker] = round(1e6 * (time.perf_counter() - began) / mine.sum())
        market = replace(market, spot=spot, bid=bid, ask=ask)
        assert_same(market, total)
    assert_same(replace(market, now=after.now), live.advance(after.now))
    print(
        f"\n{len(table):,} positions on {len(table.underlyings)} tickers; us a quote by ticker, "
        f"volatilities solved: {micro}; Unknown {dict(reasons(live.greeks()))}"
    )
