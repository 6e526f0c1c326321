"""The study of events: causal, forced at the close before the news, placebo of as many dates."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from riskenv.data.calendars import exchange_sessions, session_dates
from riskenv.train.stock_history import (
    STUDY_YAML,
    StudyConfig,
    announcements,
    read_table,
    shuffled,
    stock_history,
)
from riskenv.train.study_events import WITH, WITHOUT, rows_of, run_arm, study, write_csv
from riskenv.train.study_quotes import Quotes

from riskenv.config import ConfigError, load_config
from riskenv.instruments import Instrument, InstrumentTable

TICKERS = ("AAA", "BBB")


@pytest.fixture(scope="module")
def config():
    shipped = load_config(StudyConfig, STUDY_YAML)
    return shipped.model_copy(
        update={
            "span": ("2013-01-02", "2013-12-31"),
            "history_start": "2010-01-04",
            "placebos": 1,
            "premium_sizes": (1.0,),
        }
    )


@pytest.fixture(scope="module")
def frames():
    """Lognormal prices of two stocks, with a jump at each of four announcements a year."""
    dates = session_dates(exchange_sessions("2010-01-04", "2013-12-31"))
    random, rows, news = np.random.default_rng(3), [], []
    for ticker, word in zip(TICKERS, ("pre", "post"), strict=True):
        moves = random.standard_t(5, len(dates)) * 0.012
        for row in range(40, len(dates) - 2, 63):
            news.append((ticker, dates[row], word))
            moves[row + (word == "post")] += random.choice([-0.08, 0.08])
        for date, close in zip(dates, 100.0 * np.exp(np.cumsum(moves)), strict=True):
            rows.append((ticker, date, close))
    return (
        pd.DataFrame(rows, columns=["ticker", "Date", "Close"]),
        pd.DataFrame(news, columns=["symbol", "date", "release_time"]),
    )


@pytest.fixture(scope="module")
def history(frames, config):
    return stock_history(*frames, config)


def trades_until(run, row):
    return [(t.row, t.instrument, t.contracts, t.forced) for t in run.trades if t.row <= row]


def last_close(history, event):
    return int(np.searchsorted(history.sessions.closes, event.time)) - 1


def test_the_shipped_configuration_has_three_sizes_of_premium():
    assert load_config(StudyConfig, STUDY_YAML).premium_sizes == (0.5, 1.0, 1.5)


def test_a_span_before_its_history_is_refused(config):
    with pytest.raises(ConfigError, match="increasing dates"):
        config.model_copy(update={"history_start": "2013-06-03"})


@pytest.mark.parametrize(("word", "sessions_on"), [("pre", 0), ("post", 1)])
def test_an_announcement_moves_the_session_it_says(word, sessions_on):
    sessions = exchange_sessions("2013-01-02", "2013-03-28")
    news = pd.DataFrame([("AAA", "2013-02-05", word)], columns=["symbol", "date", "release_time"])
    (event,) = announcements(news, sessions, 10, int(sessions.closes[-1]))
    moved = np.searchsorted(sessions.closes, event.time)
    day = np.searchsorted(session_dates(sessions), np.datetime64("2013-02-05"))
    assert moved == day + sessions_on
    assert event.known_at == sessions.closes[moved - 11]


def test_a_release_time_of_another_word_is_refused():
    sessions = exchange_sessions("2013-01-02", "2013-03-28")
    news = pd.DataFrame([("AAA", "2013-02-05", "noon")], columns=["symbol", "date", "release_time"])
    with pytest.raises(ValueError, match="'noon' of AAA; allowed: 'pre' or 'post'"):
        announcements(news, sessions, 10, int(sessions.closes[-1]))


def test_later_prices_and_dates_change_no_earlier_decision(frames, config, history):
    """The rest of the year is made up anew: what was decided before is the same."""
    prices, earnings = frames
    cut = pd.Timestamp("2013-07-01")
    row = int(np.searchsorted(session_dates(history.sessions), np.datetime64(cut, "D")))
    other = prices.copy()
    later = other["Date"] >= cut
    other.loc[later, "Close"] = other.loc[later, "Close"].to_numpy()[::-1]
    moved = earnings.copy()
    # Dates public by the cut stay; ten sessions are at most 16 days.
    far = moved["date"] >= cut + pd.Timedelta(days=16)
    moved.loc[far, "date"] = moved.loc[far, "date"] + pd.Timedelta(days=14)
    changed = stock_history(other, moved, config)
    assert not np.array_equal(changed.close, history.close)
    assert changed.news != history.news
    for name in ("vol", "long_run_vol", "jump"):
        before, after = getattr(history, name)[:row], getattr(changed, name)[:row]
        assert np.array_equal(before, after, equal_nan=True), name
    for arm, one, two in ((WITH, history.news, changed.news), (WITHOUT, (), ())):
        first = run_arm(history, config, arm, 1.0, one)
        second = run_arm(changed, config, arm, 1.0, two)
        assert trades_until(first, row - 1) == trades_until(second, row - 1)
        assert trades_until(first, row + 60) != trades_until(second, row + 60)


def test_forced_trades_happen_at_the_close_before_an_announcement_and_nowhere_else(history, config):
    run = run_arm(history, config, WITH, 1.0, history.news)
    expected = {
        (e.symbol, last_close(history, e))
        for e in history.news
        if history.first < last_close(history, e) <= history.last
    }
    assert len(expected) >= 7
    assert {(t.instrument.underlying, t.row) for t in run.forced} == expected
    assert all(t.contracts > 0.0 for t in run.forced)  # shorts are bought back


def test_a_quarter_is_left_over_the_announcement_and_the_rest_is_sold_again_after(history, config):
    run = run_arm(history, config, WITH, 1.0, history.news)
    held = {}
    for trade in run.trades:
        legs = held.setdefault(trade.row, [])
        legs.append(trade)
    for row, legs in held.items():
        for ticker in {t.instrument.underlying for t in legs if t.forced}:
            before = sum(
                t.contracts
                for t in run.trades
                if t.instrument.underlying == ticker
                and t.row < row
                and t.instrument.expiry > history.sessions.closes[row]
            )
            bought = sum(t.contracts for t in legs if t.instrument.underlying == ticker)
            assert -before * 0.75 <= bought <= -before * 0.75 + 4.0  # lots are rounded down
            assert not any(t.contracts < 0.0 for t in legs if t.instrument.underlying == ticker)


def test_without_events_nothing_is_forced(history, config):
    assert run_arm(history, config, WITHOUT, 1.0, ()).forced == ()


def test_the_placebo_keeps_the_number_of_events_of_each_stock_and_year(history, config):
    def counts(news):
        rows = [np.searchsorted(history.sessions.closes, e.time) for e in news]
        years = session_dates(history.sessions).astype("datetime64[Y]")
        named = zip(rows, news, strict=True)
        inside = [(e.symbol, years[r]) for r, e in named if history.first < r <= history.last]
        return {key: inside.count(key) for key in set(inside)}

    placebo = shuffled(history.news, history, config, 1)
    assert counts(placebo) == counts(history.news)
    assert {e.time for e in placebo} != {e.time for e in history.news}
    assert placebo == shuffled(history.news, history, config, 1)
    assert placebo != shuffled(history.news, history, config, 2)


def test_the_premium_is_there_before_the_news_and_gone_after(history, config):
    event = next(e for e in history.news if last_close(history, e) > history.first + 20)
    row = last_close(history, event)
    expiry = int(history.sessions.closes[row + 15])
    strike = float(history.close[row, TICKERS.index(event.symbol)])
    table = InstrumentTable.of([Instrument(event.symbol, "C", strike, expiry)])
    years = (expiry - history.sessions.closes[row]) / (365 * 86_400 * 10**9)
    plain, dear = (Quotes(history, config, size) for size in (0.0, 1.5))
    added = dear.market(row, table).vol[0] ** 2 - plain.market(row, table).vol[0] ** 2
    jump = history.jump[row, TICKERS.index(event.symbol)]
    assert added * years == pytest.approx(1.5 * jump)
    assert dear.market(row + 1, table).vol[0] == plain.market(row + 1, table).vol[0]


def test_the_equity_is_the_cash_of_all_trades_and_settlements(history, config):
    """Marked only by its fills: after an expiry with nothing new, cash and intrinsic explain it."""
    run = run_arm(history, config, WITHOUT, 1.0, ())
    cash = config.capital - sum(t.contracts * t.price + t.cost for t in run.trades)
    for trade in run.trades:
        leg = trade.instrument
        row = int(np.searchsorted(history.sessions.closes, leg.expiry))
        if row <= history.last:
            spot = history.close[row, TICKERS.index(leg.underlying)]
            sign = 1.0 if leg.right == "C" else -1.0
            cash += trade.contracts * max(sign * (spot - leg.strike), 0.0)
    open_legs = {
        t.instrument: t.contracts
        for t in run.trades
        if t.instrument.expiry > history.sessions.closes[history.last]
    }
    table = InstrumentTable.of(open_legs)
    market = Quotes(history, config, 1.0).market(history.last, table)
    worth = sum(
        lots * (market.bid[table.index[leg]] + market.ask[table.index[leg]]) / 2.0
        for leg, lots in open_legs.items()
    )
    assert run.equity[-1] == pytest.approx(cash + worth, abs=1e-6)


def test_the_table_has_every_arm_at_every_size_and_is_written(history, config, tmp_path):
    rows = study(history, config)
    assert [(r.arm, r.premium_size) for r in rows] == [
        ("without", 1.0), ("with", 1.0), ("placebo", 1.0),
    ]  # fmt: skip
    without, layered, _ = rows
    assert (without.forced_trades, without.es_cut) == (0.0, 0.0)
    assert layered.es_cut == layered.es_99 - without.es_99
    assert layered.premium_forgone == without.premium - layered.premium
    write_csv(rows, tmp_path / "study.csv")
    written = pd.read_csv(tmp_path / "study.csv")
    assert written["total_return"].tolist() == [row.total_return for row in rows]


def test_the_placebo_is_the_mean_of_its_calendars(history, config):
    base = run_arm(history, config, WITHOUT, 1.0, ())
    shifted = [replace(base, arm="placebo", equity=base.equity * k) for k in (1.0, 1.1)]
    row = rows_of([base, *shifted])[1]
    assert row.total_return == pytest.approx(1.05 * base.equity[-1] / config.capital - 1.0)


def test_a_file_without_a_column_is_refused(tmp_path):
    path = tmp_path / "prices.csv"
    path.write_text("ticker,Date\nAAA,2013-01-02\n")
    with pytest.raises(ValueError, match=r"lacks \['Close'\]"):
        read_table(path, ("ticker", "Date", "Close"))


@pytest.mark.slow
def test_two_real_stocks_lose_less_on_their_worst_day_with_the_layer(shared_data, config):
    prices = read_table(
        shared_data / "prices" / "stocks47_ohlcv_2000_2019.parquet", ("ticker", "Date", "Close")
    )
    earnings = read_table(
        shared_data / "events" / "earnings_us_2012-07_2019-08_pre_post.parquet",
        ("symbol", "date", "release_time"),
    )
    history = stock_history(prices, earnings, config, ("AAPL", "NFLX"))
    assert history.tickers == ("AAPL", "NFLX")
    without, layered, _ = study(history, config)
    assert layered.forced_trades >= 16.0  # two legs, two stocks, four quarters
    assert layered.worst_day > without.worst_day
