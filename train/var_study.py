"""One-session VaR and ES of option books over real history, and the P&L that came.

At each close: scenarios from moves known then, every contract revalued in full in each, VaR and ES
of every book by three methods. At the next close: the same book revalued on that day's surface,
decay included. The book is refilled after that, so that P&L and forecast are of the same contracts.

Methods. "hs": the moves of the last sessions as they were, the very scenarios of the layer's own
VaR. "fhs": filtered historical simulation. "fhs_gaps": the same, with jumps of given probability
among the scenarios.

What a scenario says of a book differs from what its contracts do next day even where spot and
volatility move just so: a scenario multiplies every implied volatility of an index by one factor,
while the surface moves as its shape has it. The P&L of the day's own move under the scenario's
rule is kept as `factor_pnl`, so that a failure can be traced to the one or the other.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from riskenv.data.calendars import session_dates
from riskenv.data.market_history import MarketHistory
from riskenv.data.price_history import PriceHistory
from riskenv.train.var_books import Holding, holdings, values, vols
from riskenv.train.var_config import VarStudyConfig
from riskenv.train.var_market import study_market, until

from riskenv.factor_history import FactorHistory
from riskenv.filtered_history import VarianceFilter, filter_history
from riskenv.instruments import NS_PER_YEAR, Instrument, InstrumentTable
from riskenv.market import Market
from riskenv.scenario_set import scenario_set
from riskenv.scenarios import ScenarioSet, pnl_matrix
from riskenv.var_calculator import historical_var
from riskenv.weighted_tail import weighted_tail

FloatArray = NDArray[np.float64]

METHODS = ("hs", "fhs", "fhs_gaps")

# Decimals of a basis point that are kept. A long spread that expires worthless loses its premium
# and no more, in its worst scenarios as on the day itself: the last bits of two sums of the same
# numbers must not make an exception of it.
_DECIMALS = 6


@dataclass(frozen=True, eq=False)
class StudyDays:
    """Forecasts and P&L of B books over T sessions, in basis points of the index at the forecast,
    to a millionth of one.

    Attributes:
        underlyings, books: (B,) of each row: index and name of the book.
        dates: (T,) datetime64[D] at whose close the P&L came; forecasts were made a session before.
        pnl: (T, B) of the book that the forecast was of; NaN = Unknown.
        factor_pnl: (T, B) what the scenario rule makes of the day's own moves.
        var, es: (T, B, 3) by `METHODS`, <= 0; NaN = Unknown.
    """

    underlyings: tuple[str, ...]
    books: tuple[str, ...]
    dates: NDArray[np.datetime64]
    pnl: FloatArray
    factor_pnl: FloatArray
    var: FloatArray
    es: FloatArray


def run_study(
    prices: PriceHistory,
    config: VarStudyConfig,
    last: datetime.date,
    advance: Callable[[int, int], None] | None = None,
) -> StudyDays:
    """Forecast and realise every session from `config.first_forecast` to `last`.

    Args:
        prices: closes and VIX; what comes after `last` is cut off before anything is computed.
        last: last session whose P&L is looked at.
        advance: told (done, in all) now and then.

    Raises:
        ValueError: no session between the two dates, or what `study_market` refuses.
    """
    market = study_market(until(prices, last), config)
    days = range(market.first_tradable, len(market.sessions.closes) - 1)
    if not len(days):
        raise ValueError(
            f"last: got {last}; allowed: two sessions or more after {config.first_forecast}"
        )
    rows = [(u, book) for u in range(len(market.underlyings)) for book in config.books]
    held = [
        holdings(market, u, book, config.strike_step[market.underlyings[u]]) for u, book in rows
    ]
    history = market.factor_history()
    shape = (len(days), len(rows))
    pnl, factor_pnl = np.full((2, *shape), np.nan)
    tails = np.full((2, *shape, len(METHODS)), np.nan)
    for k, day in enumerate(days):
        books = [of_book[day] for of_book in held]
        scale = 1e4 / market.spot[day, [u for u, _ in rows]]
        moves = forecast_moves(market, history, day, config)
        instruments = _instruments(books)
        table = InstrumentTable.of(instruments)
        if len(table):
            P, sizes = _revalued(market, day, table, moves)
            came = values(market, day + 1, instruments) - values(market, day, instruments)
            step = np.stack([history.log_return[day + 1], history.log_vol_change[day + 1]])
            own = revalue(market, day, table, step[0][:, None], step[1][:, None])[:, 0]
            for b, book in enumerate(books):
                if book is None:
                    continue
                lots = np.array([book.contracts.get(i, 0.0) for i in instruments])
                mine = np.flatnonzero(lots)
                pnl[k, b] = lots[mine] @ came[mine] * scale[b]
                factor_pnl[k, b] = lots[mine] @ own[mine] * scale[b]
                tails[:, k, b] = _tails(lots[mine] @ P[mine] * scale[b], sizes, config)
        if advance is not None and (k % 50 == 0 or k == len(days) - 1):
            advance(k + 1, len(days))
    return StudyDays(
        underlyings=tuple(market.underlyings[u] for u, _ in rows),
        books=tuple(book.name for _, book in rows),
        dates=session_dates(market.sessions)[days.start + 1 :],
        pnl=pnl.round(_DECIMALS),
        factor_pnl=factor_pnl.round(_DECIMALS),
        var=tails[0].round(_DECIMALS),
        es=tails[1].round(_DECIMALS),
    )


@dataclass(frozen=True, eq=False)
class Moves:
    """(U, S) moves of spot and of volatility that a method draws from, equally likely."""

    log_return: FloatArray
    log_vol_change: FloatArray


def forecast_moves(
    market: MarketHistory, history: FactorHistory, day: int, config: VarStudyConfig
) -> dict[str, Moves]:
    """Scenarios of one session as of a close: "hs", "fhs" and the "gaps".

    Nothing dated after the close is looked at.
    """
    now, tickers = int(market.sessions.closes[day]), len(market.underlyings)
    plain = scenario_set(history, market.future_sessions, now, config.var.layer)
    one = slice(0, int(plain.bounds[1]))
    ewma = VarianceFilter.ewma(2 * tickers, config.filter.ewma_decay)
    filtered = filter_history(history, now, ewma, config.filter.warm_up)
    rows = filtered.windows(1, config.var.window)
    if len(rows) < config.var.min_scenarios:
        rows = rows[:0]
    scaled = filtered.moves(rows, config.filter.variance_path)
    jumps = np.array([[gap.log_return, gap.log_vol_change] for gap in config.gaps]).reshape(-1, 2)
    spread = np.ones((tickers, 1))
    return {
        "hs": Moves(plain.log_return[:, one], np.log(plain.vol_factor[:, one])),
        "fhs": Moves(scaled[:tickers], scaled[tickers:]),
        "gaps": Moves(spread * jumps[:, 0], spread * jumps[:, 1]),
    }


def revalue(
    market: MarketHistory,
    day: int,
    table: InstrumentTable,
    log_return: FloatArray,
    log_vol_change: FloatArray,
) -> FloatArray:
    """(n, S) P&L of one contract over one session from a close, by the layer's own revaluation.

    Args:
        table: European options on the market's indices.
        log_return, log_vol_change: (U, S) in the order of the market's underlyings.
    """
    now, following = (int(close) for close in market.sessions.closes[day : day + 2])
    rows = [market.underlyings.index(ticker) for ticker in table.underlyings]
    vol, n = vols(market, day, list(table.instruments)), len(table)
    quotes = Market(
        now=now,
        table=table,
        spot=market.spot[day, rows],
        rate=market.rate,
        dividend_yield=market.dividend_yield[rows],
        bid=np.zeros(n),
        ask=np.zeros(n),
        vol=vol,
    )
    scenarios = ScenarioSet(
        market.underlyings,
        log_return,
        np.exp(log_return),
        np.exp(log_vol_change),
        np.array([0, log_return.shape[1]], dtype=np.int64),
        np.array([(following - now) / NS_PER_YEAR]),
    )
    # What is known is the model's price, not a quote.
    return pnl_matrix(quotes, scenarios, known=np.isfinite(vol))


def _instruments(books: list[Holding | None]) -> list[Instrument]:
    """Of all books, in canonical order."""
    found = {i for book in books if book is not None for i in book.contracts}
    return list(InstrumentTable.of(found).instruments)


def _revalued(
    market: MarketHistory, day: int, table: InstrumentTable, moves: dict[str, Moves]
) -> tuple[FloatArray, dict[str, int]]:
    """(n, S) P&L with the scenarios of all methods side by side, and how many each has."""
    P = revalue(
        market,
        day,
        table,
        np.concatenate([part.log_return for part in moves.values()], axis=1),
        np.concatenate([part.log_vol_change for part in moves.values()], axis=1),
    )
    return P, {name: part.log_return.shape[1] for name, part in moves.items()}


def _tails(pnl: FloatArray, sizes: dict[str, int], config: VarStudyConfig) -> FloatArray:
    """(2, 3) VaR and ES by `METHODS`; NaN where a method has no scenarios."""
    p = config.var.tail_probability
    plain, filtered = sizes["hs"], sizes["fhs"]
    out = np.full((2, len(METHODS)), np.nan)
    out[:, 0] = historical_var(pnl[:plain], p) if plain else np.nan
    if filtered:
        out[:, 1] = historical_var(pnl[plain : plain + filtered], p)
        jumps = np.array([gap.probability for gap in config.gaps])
        usual = np.full(filtered, (1.0 - jumps.sum()) / filtered)
        out[:, 2] = weighted_tail(pnl[plain:], np.concatenate([usual, jumps]), p)
    return out
