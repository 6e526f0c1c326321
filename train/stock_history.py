"""Stocks and their announcements of earnings, for the study of events, with causal volatilities.

The model of volatility and its surface are the demo's, without interest and dividends. Beside them
stands the jump variance: the mean squared move over the announcements that a stock has had. So that
a jump is paid for once, the model sees each past announcement's move cut to the calm days' one.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator
from riskenv.data.calendars import exchange_sessions, session_dates
from riskenv.data.event_times import AFTER_CLOSE_NS, SessionPlaces
from riskenv.data.garch import rolling_forecast
from riskenv.data.market_config import MarketConfig
from riskenv.data.volatility import SESSIONS_PER_YEAR, log_returns
from riskenv.train.demo_config import Span

from riskenv.config import Config
from riskenv.event_policy import EventPolicy
from riskenv.events import Event
from riskenv.sessions import Sessions

STUDY_YAML = Path(__file__).parent / "configs" / "study_events.yaml"

Floats = NDArray[np.float64]


def _iso(value: str) -> str:
    datetime.date.fromisoformat(value)
    return value


class StudyConfig(Config):
    """The study. Each key is explained in `configs/study_events.yaml`.

    Example:
        >>> from riskenv.config import load_config
        >>> load_config(StudyConfig, STUDY_YAML).premium_sizes
        (0.5, 1.0, 1.5)
    """

    span: Span
    history_start: Annotated[str, AfterValidator(_iso)]
    seed: int = Field(ge=0)
    placebos: int = Field(ge=1)
    min_sessions_before: int = Field(ge=252)
    min_events_a_year: float = Field(gt=0.0)
    capital: float = Field(gt=0.0)
    notional: float = Field(gt=0.0)
    target_days: int = Field(ge=7, le=90)
    width: float = Field(gt=0.0, le=3.0)
    premium_sizes: tuple[float, ...] = Field(min_length=1)
    min_moves: int = Field(ge=1)
    calm_window: int = Field(ge=20)
    min_half_spread_of_spot: float = Field(gt=0.0, lt=0.01)
    half_spread_of_price: float = Field(ge=0.0, lt=1.0)
    half_spread_vol_points: float = Field(ge=0.0)
    announced_sessions: int = Field(ge=1, le=20)
    event_policy: EventPolicy

    @model_validator(mode="after")
    def _in_order(self) -> StudyConfig:
        if not self.history_start < self.span[0] < self.span[1]:
            raise ValueError(
                f"history_start, span: got {self.history_start}, {list(self.span)}; allowed: "
                "increasing dates"
            )
        return self


@dataclass(frozen=True, eq=False)
class StockHistory:
    """What the study trades on: D closes of U stocks, and their announcements.

    Attributes:
        tickers: (U,), sorted.
        sessions: the exchange's, from the first close to a year past the last.
        first, last: rows of the first and last session that is traded.
        close: (D, U) prices; NaN before a stock's first.
        vol: (D, U) 30-day volatility per year without announcements, known at each close;
            long_run_vol: (D, U) the level it returns to; NaN where not known.
        jump: (D, U) mean squared log move over the announcements that are past at each close.
        news: announcements of the stocks, in order of time.
    """

    tickers: tuple[str, ...]
    sessions: Sessions
    first: int
    last: int
    close: Floats
    vol: Floats
    long_run_vol: Floats
    jump: Floats
    news: tuple[Event, ...]


# -- data ---------------------------------------------------------------------------------------


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Columns of a CSV or parquet file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a column is missing.
    """
    frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ValueError(f"{path}: lacks {missing}; got columns {list(frame.columns)}")
    return frame[list(columns)]


def stock_history(
    prices: pd.DataFrame,
    earnings: pd.DataFrame,
    config: StudyConfig,
    tickers: Sequence[str] | None = None,
) -> StockHistory:
    """Prices, volatilities and announcements of every stock that has enough of them.

    Args:
        prices: columns ticker, Date, Close (split-adjusted).
        earnings: columns symbol, date, release_time ("pre" or "post").
        tickers: take these alone; None = all.

    Raises:
        ValueError: no stock is left, or a release time is another word.
        FitError: a fit of the volatility model did not converge.
    """
    first_day, last_day = (pd.Timestamp(day) for day in config.span)
    beyond = last_day + pd.Timedelta(days=366)
    sessions = exchange_sessions(config.history_start, beyond.date())
    dates = session_dates(sessions)
    first = int(np.searchsorted(dates, np.datetime64(first_day, "D")))
    last = int(np.searchsorted(dates, np.datetime64(last_day, "D"), side="right")) - 1
    index = pd.DatetimeIndex(dates[: last + 1])
    frame = prices.assign(Date=pd.to_datetime(prices["Date"]))
    wide = frame.pivot_table(index="Date", columns="ticker", values="Close", aggfunc="last")
    wide = wide.reindex(index)
    news = announcements(earnings, sessions, config.announced_sessions, sessions.closes[last])
    years = (last - first + 1) / SESSIONS_PER_YEAR
    names = []
    for ticker in sorted(set(wide.columns) if tickers is None else set(tickers) & set(wide)):
        known = wide[ticker].iloc[max(first - config.min_sessions_before, 0) :]
        inside = [e for e in news if e.symbol == ticker and e.time > sessions.closes[first]]
        if known.notna().all() and len(inside) >= config.min_events_a_year * years:
            names.append(ticker)
    if not names:
        raise ValueError("prices, earnings: no stock has enough prices and announcements")
    close = wide[names].to_numpy(dtype=np.float64)
    news = tuple(e for e in news if e.symbol in names)
    return with_volatilities(
        StockHistory(tuple(names), sessions, first, last, close, close, close, close, news), config
    )


def announcements(
    earnings: pd.DataFrame, sessions: Sessions, announced: int, end: int
) -> tuple[Event, ...]:
    """Events up to `end` (ns UTC), in order of time; each is known `announced` closes before.

    Raises:
        ValueError: a release time other than "pre" and "post".
    """
    places, found = SessionPlaces(sessions), []
    dates = session_dates(sessions)
    rows = earnings.assign(date=pd.to_datetime(earnings["date"])).drop_duplicates(
        ["symbol", "date"]
    )
    start, stop = pd.Timestamp(dates[announced + 1]), pd.Timestamp(dates[-1])
    for symbol, day, word in rows[rows["date"].between(start, stop)].itertuples(index=False):
        if word not in ("pre", "post"):
            raise ValueError(f"release_time: got {word!r} of {symbol}; allowed: 'pre' or 'post'")
        date = day.date()
        time = places.open_ns(date) if word == "pre" else places.after_close_ns(date)
        found.append(_announcement(str(symbol), time, sessions, announced))
    return tuple(sorted((e for e in found if e.time <= end), key=lambda e: e.order))


def _announcement(symbol: str, time: int, sessions: Sessions, announced: int) -> Event:
    last_close = int(np.searchsorted(sessions.closes, time)) - 1
    return Event("earnings", time, int(sessions.closes[last_close - announced]), symbol)


def shuffled(news: Sequence[Event], history: StockHistory, config: StudyConfig, seed: int
             ) -> tuple[Event, ...]:  # fmt: skip
    """As many announcements of each stock in each year, on sessions drawn without replacement.

    Years are cut where the span begins and ends; what lies outside the span is left out.
    """
    random, sessions = np.random.default_rng(seed), history.sessions
    years = session_dates(sessions).astype("datetime64[Y]").astype(int)
    tradable = np.arange(history.first + 1, history.last + 1)
    groups: dict[tuple[str, int], list[bool]] = {}
    for event in news:
        row = int(np.searchsorted(sessions.closes, event.time))
        if history.first < row <= history.last:
            before_open = event.time <= sessions.opens[row] and not _after_close(event, sessions)
            groups.setdefault((event.symbol, int(years[row])), []).append(before_open)
    found = []
    for (symbol, year), openings in sorted(groups.items()):
        rows = random.choice(tradable[years[tradable] == year], len(openings), replace=False)
        for row, before_open in zip(rows, openings, strict=True):
            time = sessions.opens[row] if before_open else sessions.closes[row - 1] + AFTER_CLOSE_NS
            found.append(_announcement(symbol, int(time), sessions, config.announced_sessions))
    return tuple(sorted(found, key=lambda e: e.order))


def _after_close(event: Event, sessions: Sessions) -> bool:
    return bool((sessions.closes + AFTER_CLOSE_NS == event.time).any())


def with_volatilities(history: StockHistory, config: StudyConfig) -> StockHistory:
    """The history with its volatilities and jump variances computed, each from the past alone."""
    market, closes = MarketConfig(), history.sessions.closes
    returns = log_returns(history.close)
    moved = [
        sorted({int(np.searchsorted(closes, e.time)) for e in history.news if e.symbol == ticker})
        for ticker in history.tickers
    ]
    moved = [[row for row in rows if row <= history.last] for rows in moved]
    vol, jump = np.full(history.close.shape, np.nan), np.full(history.close.shape, np.nan)
    years = session_dates(history.sessions)[: history.last + 1].astype("datetime64[Y]").astype(int)
    januaries = np.flatnonzero(np.diff(years) > 0) + 1
    total, count = np.zeros(history.close.shape), np.zeros(history.close.shape)
    for u, rows in enumerate(moved):
        start = int(np.flatnonzero(np.isfinite(history.close[:, u]))[0])
        calm = returns[start:, u].copy()
        for row in rows:
            at = row - start
            if at > config.calm_window:
                usual = float(np.std(calm[at - config.calm_window : at]))
                calm[at] = np.sign(calm[at]) * min(abs(calm[at]), usual)
        refits = [history.first - start]
        refits += [int(row) - start for row in januaries if row > history.first]
        forecast = rolling_forecast(
            calm, refits, market.forecast_sessions, market.refit_blend_sessions
        )
        # Before the first refit the forecast rests on parameters fitted later: never shown.
        tail = forecast[refits[0] :]
        vol[history.first :, u] = np.sqrt(
            (1.0 + market.variance_premium) * SESSIONS_PER_YEAR * tail
        )
        for row in rows:
            total[row:, u] += returns[row, u] ** 2
            count[row:, u] += 1.0
    with np.errstate(invalid="ignore", divide="ignore"):
        pooled = total.sum(axis=1) / count.sum(axis=1)
        jump = np.where(count >= config.min_moves, total / count, pooled[:, None])
    variance = vol[history.first :] ** 2
    long_run = np.full_like(vol, np.nan)
    days = np.arange(1, len(variance) + 1)[:, None]
    long_run[history.first :] = np.sqrt(np.cumsum(variance, axis=0) / days)
    return replace(history, vol=vol, long_run_vol=long_run, jump=np.nan_to_num(jump))
