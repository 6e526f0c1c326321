"""Scenarios: joint moves of spot and volatility, and each instrument's P&L under every one.

Historical simulation: the moves over the last `window` sessions that ended at or before `now`,
overlapping for horizons above one session, spot and vol of every underlying jointly dated, so
that their correlation is kept. Volatility moves are relative: each contract's own implied
volatility is multiplied by the change of its underlying's 30-day volatility. Time decays to the
same clock position `h` sessions on; a contract that expires by then is worth its intrinsic.
Prices are full revaluations; dividends and interest over the horizon are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from riskenv.compilation import jit
from riskenv.factor_history import FactorHistory
from riskenv.market import Market
from riskenv.measures import HORIZONS
from riskenv.portfolio_greeks import NS_PER_YEAR
from riskenv.pricing.black_scholes import price_given_log_moneyness
from riskenv.pricing.elementary import exp, log
from riskenv.sessions import CalendarRangeError, Sessions
from riskenv.var_calculator import VarConfig


@dataclass(frozen=True, slots=True)
class GapJump:
    """A jump of one ticker, or of all ("") at once: log spot move and log vol move, no decay."""

    symbol: str
    log_return: float
    log_vol_change: float


@dataclass(frozen=True, eq=False)
class ScenarioSet:
    """S scenarios for U underlyings, in blocks: one per horizon, then the gap jumps.

    Attributes:
        underlyings: the U tickers.
        log_return: (U, S) spot move; NaN where the history has none for a ticker.
        spot_factor: (U, S) exp(log_return).
        vol_factor: (U, S) factor on implied volatility.
        bounds: (B + 1,) first scenario of each block, then S.
        years: (B,) time that passes, in years.
    """

    underlyings: tuple[str, ...]
    log_return: NDArray[np.float64]
    spot_factor: NDArray[np.float64]
    vol_factor: NDArray[np.float64]
    bounds: NDArray[np.int64]
    years: NDArray[np.float64]

    @property
    def size(self) -> int:
        return int(self.bounds[-1])


@jit
def _sum_windows(moves, ends, sessions, out):  # type: ignore[no-untyped-def]
    """out[u, k] = sum of the `sessions` rows of moves[:, u] that end at ends[k], in order."""
    for k in range(ends.size):
        for u in range(moves.shape[1]):
            total = 0.0
            for row in range(ends[k] - sessions + 1, ends[k] + 1):
                total += moves[row, u]
            out[u, k] = total


@jit
def _exp_all(x, out):  # type: ignore[no-untyped-def]
    for u in range(x.shape[0]):
        for s in range(x.shape[1]):
            out[u, s] = exp(x[u, s])


@jit
def _option_block(  # type: ignore[no-untyped-def]
    spot, strike, years, rate, carry, vol, sign, base, scale, move, factor, vols, out
):
    """P&L of one option over one block of scenarios with the same time to expiry left."""
    if years <= 0.0:
        for s in range(out.size):
            out[s] = scale * (max(sign * (spot * factor[s] - strike), 0.0) - base)
        return
    drift = log(spot / strike) + (rate - carry) * years
    spot_discounted = spot * exp(-carry * years)
    strike_discounted = strike * exp(-rate * years)
    root_vol = vol * np.sqrt(years)
    for s in range(out.size):
        price = price_given_log_moneyness(
            drift + move[s],
            spot_discounted * factor[s],
            strike_discounted,
            root_vol * vols[s],
            sign,
        )
        out[s] = scale * (price - base)


@jit
def _pnl(  # type: ignore[no-untyped-def]
    kind,
    spot,
    strike,
    years,
    rate,
    carry,
    vol,
    multiplier,
    known,
    ticker,
    move,
    factor,
    vols,
    bounds,
    elapsed,
    out,
):
    for i in range(kind.size):
        if not known[i]:
            out[i, :] = np.nan
            continue
        u, m = ticker[i], multiplier[i]
        if kind[i] == 0:
            for s in range(out.shape[1]):
                out[i, s] = m * spot[i] * (factor[u, s] - 1.0)
            continue
        sign = float(kind[i])
        t = years[i]
        base = price_given_log_moneyness(
            log(spot[i] / strike[i]) + (rate - carry[i]) * t,
            spot[i] * exp(-carry[i] * t),
            strike[i] * exp(-rate * t),
            vol[i] * np.sqrt(t),
            sign,
        )
        for b in range(elapsed.size):
            a, z = bounds[b], bounds[b + 1]
            _option_block(
                spot[i], strike[i], t - elapsed[b], rate, carry[i], vol[i], sign, base, m,
                move[u, a:z], factor[u, a:z], vols[u, a:z], out[i, a:z],
            )  # fmt: skip


def historical_scenarios(
    history: FactorHistory,
    sessions: Sessions,
    now: int,
    config: VarConfig,
    jumps: Sequence[GapJump] = (),
) -> ScenarioSet:
    """The scenarios as of `now`: nothing dated after it is looked at.

    A horizon with fewer than `config.min_scenarios` usable windows, or one that ends beyond the
    calendar, gets an empty block, which makes its VaR Unknown. Windows that touch a NaN are
    skipped for every ticker, so that the joint dating holds.
    """
    known = int(np.searchsorted(history.times, now, side="right"))
    moves = np.concatenate([history.log_return[:known], history.log_vol_change[:known]], axis=1)
    usable_row = np.isfinite(moves).all(axis=1)
    tickers = len(history.underlyings)
    blocks: list[NDArray[np.float64]] = []
    years: list[float] = []
    for horizon in HORIZONS:
        elapsed = _elapsed_years(sessions, now, horizon)
        last = np.arange(max(horizon - 1, known - config.window), known, dtype=np.int64)
        usable = np.ones(len(last), dtype=bool)
        for back in range(horizon):
            usable &= usable_row[last - back]
        ends = last[usable]
        if elapsed is None or len(ends) < config.min_scenarios:
            ends = ends[:0]
        block = np.empty((2 * tickers, len(ends)))
        _sum_windows(moves, ends, horizon, block)
        blocks.append(block)
        years.append(elapsed or 0.0)
    blocks.append(_jump_block(history.underlyings, jumps))
    years.append(0.0)
    joined = np.concatenate(blocks, axis=1)
    log_return, log_vol = joined[:tickers].copy(), joined[tickers:].copy()
    spot_factor, vol_factor = np.empty_like(log_return), np.empty_like(log_vol)
    _exp_all(log_return, spot_factor)
    _exp_all(log_vol, vol_factor)
    bounds = np.cumsum([0, *(block.shape[1] for block in blocks)]).astype(np.int64)
    return ScenarioSet(
        history.underlyings, log_return, spot_factor, vol_factor, bounds, np.array(years)
    )


def _elapsed_years(sessions: Sessions, now: int, horizon: int) -> float | None:
    """Calendar time to the same clock position `horizon` sessions on; None beyond the calendar."""
    try:
        start, end = sessions.close_after(now, 0), sessions.close_after(now, horizon)
    except CalendarRangeError:
        return None
    return (end - start) / NS_PER_YEAR


def _jump_block(underlyings: tuple[str, ...], jumps: Sequence[GapJump]) -> NDArray[np.float64]:
    block = np.zeros((2 * len(underlyings), len(jumps)))
    for column, jump in enumerate(jumps):
        for u, ticker in enumerate(underlyings):
            if jump.symbol in ("", ticker):
                block[u, column] = jump.log_return
                block[len(underlyings) + u, column] = jump.log_vol_change
    return block


def pnl_matrix(market: Market, scenarios: ScenarioSet) -> NDArray[np.float64]:
    """(n, S) P&L of one contract of each instrument, by full revaluation, in currency.

    Rows of NaN: the instrument is Unknown, or its ticker has no factor history.
    """
    table = market.table
    columns = {ticker: u for u, ticker in enumerate(scenarios.underlyings)}
    covered = np.array([ticker in columns for ticker in table.underlyings])
    ticker = np.array([columns.get(t, 0) for t in table.underlyings], dtype=np.int64)
    out = np.empty((len(table), scenarios.size))
    _pnl(
        table.kind,
        market.spot[table.underlying_index],
        table.strike,
        (table.expiry - market.now) / NS_PER_YEAR,
        market.rate,
        market.dividend_yield[table.underlying_index],
        market.vol,
        table.multiplier,
        (market.unknown_code == 0) & covered[table.underlying_index],
        ticker[table.underlying_index],
        scenarios.log_return,
        scenarios.spot_factor,
        scenarios.vol_factor,
        scenarios.bounds,
        scenarios.years,
        out,
    )
    return out
