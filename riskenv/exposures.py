"""X: what one contract of each instrument adds to each linear measure, in one compiled pass.

Money is in the book's currency; delta, gamma, vanna and charm are in share-equivalents. For share
price S, multiplier m, exchange rate f and the Greeks of one point (`riskenv.pricing`):

    delta         m delta                     rho           m f rho
    dollar_delta  m f delta S                 vanna         m vanna
    gamma         m gamma                     volga         m f volga
    dollar_gamma  m f gamma S^2 / 100         charm         m charm
    theta         m f theta                   beta_delta    dollar_delta beta / index level
    vega          m f vega

beta_delta is in units of the index: what many of them have the same dollar delta, at the
underlying's beta (the beta-weighted delta of trading platforms).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from riskenv.compilation import jit
from riskenv.instruments import NS_PER_YEAR
from riskenv.market import Market
from riskenv.measures import LINEAR
from riskenv.pricing.black_scholes import european_greeks
from riskenv.pricing.elementary import log
from riskenv.quote_quality import (
    AMERICAN,
    BETA,
    DIVIDENDS,
    EXPIRY,
    FEED_DISAGREES,
    FX,
    KIND,
    KNOWN,
    MULTIPLIER,
    NOT_COMPUTABLE,
    ON_FUTURE,
    RATE,
    SPOT,
    STRIKE,
    TICKER,
    VOL,
    YIELD,
    judge_quotes,
)

FloatArray = NDArray[np.float64]

# Rows of a block that stay in the processor's cache.
_BLOCK = 256


@jit
def pricing_columns(whole, real, columns, tickers, now, start, stop, out):  # type: ignore[no-untyped-def]
    """out (7, stop - start) = spot, strike, years, rate, carry, vol, sign as `option_greeks` wants
    them. What is no option gets the numbers of some option; nobody reads what comes of it.

    Cash dividends come off the spot of a European option (escrowed model; Haug 2007, section
    9.1). An American one may be exercised into the whole share, so there the yield takes as much
    off the forward instead.
    """
    for i in range(start, stop):
        k = i - start
        option = whole[KIND, i] != 0
        spot, years = tickers[SPOT, whole[TICKER, i]], (whole[EXPIRY, i] - now) / NS_PER_YEAR
        rate, cash = columns[RATE, i], columns[DIVIDENDS, i]
        carry = 0.0 if whole[ON_FUTURE, i] else rate - columns[YIELD, i]
        if cash > 0.0 and option:
            if whole[AMERICAN, i]:
                paid = log(1.0 - cash / spot) if cash < spot else np.nan
                carry += paid / years if years > 0.0 else 0.0
            else:
                spot -= cash
        out[0, k] = spot
        out[1, k] = real[STRIKE, i] if option else spot
        out[2, k] = years if option else 1.0
        out[3, k] = rate
        out[4, k] = carry
        out[5, k] = columns[VOL, i] if option else 1.0
        out[6, k] = -1.0 if whole[KIND, i] < 0 else 1.0


@jit
def _write_rows(  # type: ignore[no-untyped-def]
    whole, real, columns, tickers, feed, tolerance, now, index_spot, start, stop, g, X, code
):  # fmt: skip
    """X[i] and code[i] for start <= i < stop from the Greeks g (9, stop - start) of one point."""
    for i in range(start, stop):
        k, u = i - start, whole[TICKER, i]
        spot, fx, m = tickers[SPOT, u], tickers[FX, u], real[MULTIPLIER, i]
        delta, gamma, theta, vega = g[1, k], g[2, k], g[3, k], g[4, k]
        rho, vanna, volga, charm = g[5, k], g[6, k], g[7, k], g[8, k]
        if whole[KIND, i] == 0:
            delta = 1.0
            gamma = theta = vega = rho = vanna = volga = charm = 0.0
        else:
            if whole[ON_FUTURE, i] and not whole[AMERICAN, i]:
                # A future's price does not move with the rate: only the discounting does.
                rho = -0.01 * (whole[EXPIRY, i] - now) / NS_PER_YEAR * g[0, k]
            cash = columns[DIVIDENDS, i]
            if cash > 0.0 and not whole[AMERICAN, i]:
                # As time passes dividends owed are worth more, and what is left of spot less.
                owed = columns[RATE, i] * cash / 365.0
                theta -= delta * owed
                charm -= gamma * owed
            if feed.shape[0] > 0 and code[i] == KNOWN:
                given, level = feed[i], spot / 100.0
                computed = (delta, gamma, theta, vega, rho)
                scale = (1.0, 1.0 / level, level, level, level)  # feed_agreement.SPOT_POWER
                for j in range(5):
                    slack = tolerance[0, j] * scale[j] + tolerance[1, j] * abs(computed[j])
                    if given[j] == given[j] and not abs(given[j] - computed[j]) <= slack:
                        code[i] = FEED_DISAGREES
                delta = given[0] if given[0] == given[0] else delta
                gamma = given[1] if given[1] == given[1] else gamma
                theta = given[2] if given[2] == given[2] else theta
                vega = given[3] if given[3] == given[3] else vega
                rho = given[4] if given[4] == given[4] else rho
        dollars = m * delta * spot * fx
        X[i, 0] = m * delta
        X[i, 1] = dollars
        X[i, 2] = m * gamma
        X[i, 3] = m * gamma * spot * spot / 100.0 * fx
        X[i, 4] = m * theta * fx
        X[i, 5] = m * vega * fx
        X[i, 6] = m * rho * fx
        X[i, 7] = m * vanna
        X[i, 8] = m * volga * fx
        X[i, 9] = m * charm
        X[i, 10] = dollars * tickers[BETA, u] / index_spot
        if not (index_spot > 0.0 and index_spot < np.inf and abs(X[i, 10]) < np.inf):
            X[i, 10] = np.nan
        total = 0.0
        for j in range(10):
            total += abs(X[i, j])
        if code[i] == KNOWN and not total < np.inf:
            code[i] = NOT_COMPUTABLE
        if code[i] != KNOWN:
            X[i, :] = np.nan


@jit
def european_exposures(  # type: ignore[no-untyped-def]
    whole, real, columns, tickers, quote_time, spot_time, feed, tolerance,
    now, index_spot, ages, start, stop, X, code, quoted,
):  # fmt: skip
    """X[start:stop] and why a row is Unknown, of instruments of which none is American."""
    judge_quotes(
        whole, real, columns, tickers, quote_time, spot_time, now, ages, start, stop,
        code, quoted,
    )  # fmt: skip
    # Blocks of one size, so that the Greeks fill whole arrays: with a part of one, g[:, :n], the
    # compiler cannot know that rows are contiguous, and gives up vectorising. Beyond `stop` they
    # are of the block before, and nobody reads them.
    blocks = max(1, -(-(stop - start) // _BLOCK))
    size = max(1, -(-(stop - start) // blocks))
    scratch, g = np.empty((7, size)), np.empty((9, size))
    for a in range(start, stop, size):
        z = min(a + size, stop)
        pricing_columns(whole, real, columns, tickers, now, a, z, scratch)
        european_greeks(
            scratch[0], scratch[1], scratch[2], scratch[3], scratch[4], scratch[5], scratch[6], g
        )
        _write_rows(
            whole, real, columns, tickers, feed, tolerance, now, index_spot, a, z, g, X, code,
        )  # fmt: skip


class ExposureRows:
    """Where X and the reasons of a market's n instruments are written, and can be written again.

    Attributes:
        X: (n, 11) in the order of `riskenv.measures.LINEAR`; NaN in the row of what is Unknown.
        code: (n,) index into `riskenv.quote_quality.UNKNOWN_REASONS`.
        quoted: (n,) whether the quote by itself is one.
    """

    def __init__(self, n: int) -> None:
        self.X = np.empty((n, len(LINEAR)))
        self.code = np.empty(n, dtype=np.int64)
        self.quoted = np.empty(n, dtype=np.bool_)

    def write(self, market: Market, start: int, stop: int) -> None:
        """Compute the rows start to stop - 1 from the market's numbers."""
        table, rules = market.table, market.rules
        arrays = (table.whole, table.real, market.columns, market.tickers)
        if not table.american[start:stop].any():
            european_exposures(
                *arrays, market.quote_time, market.spot_time, market.feed, rules.tolerance,
                market.now, market.index_spot, rules.ages, start, stop,
                self.X, self.code, self.quoted,
            )  # fmt: skip
            return
        judge_quotes(
            *arrays, market.quote_time, market.spot_time, market.now, rules.ages,
            start, stop, self.code, self.quoted,
        )  # fmt: skip
        columns, g = np.empty((7, stop - start)), np.empty((9, stop - start))
        pricing_columns(*arrays, market.now, start, stop, columns)
        european_greeks(*columns, g)
        american = np.flatnonzero(table.american[start:stop] & (self.code[start:stop] == KNOWN))
        g[:, american] = _american(columns[:, american], table.on_future[start:stop][american])
        _write_rows(
            *arrays, market.feed, rules.tolerance, market.now, market.index_spot, start, stop,
            g, self.X, self.code,
        )  # fmt: skip


# Rate moves up and down by this for the rho of an American option on a future.
RATE_STEP = 1e-4


def _american(columns: FloatArray, on_future: NDArray[np.bool_]) -> FloatArray:
    """(9, k) Greeks of American options. On a future, rho moves the rate alone, and not the
    future with it as the kernel's does."""
    from riskenv.pricing.american_kernel import exercise_early

    def greeks_of(columns: FloatArray) -> FloatArray:
        rows: list[Any] = list(np.ascontiguousarray(columns))
        g = np.empty((9, columns.shape[1]))
        european_greeks(*rows, g)
        exercise_early(rows, False, g)
        return g

    g = greeks_of(columns)
    if on_future.any():
        up, down = columns[:, on_future], columns[:, on_future]
        up[3] += RATE_STEP
        down[3] -= RATE_STEP
        g[5, on_future] = 0.01 * (greeks_of(up)[0] - greeks_of(down)[0]) / (2.0 * RATE_STEP)
    return g


def exposures(market: Market) -> ExposureRows:
    """X of every instrument of a market, and why a row of it is Unknown.

    Example:
        >>> from riskenv import Instrument, InstrumentTable
        >>> table = InstrumentTable.of([Instrument("SPY")])
        >>> market = Market(0, table, np.array([400.0]), 0.02, np.array([0.01]),
        ...                 np.array([399.9]), np.array([400.1]), np.array([0.0]))
        >>> rows = exposures(market)
        >>> dict(zip(LINEAR, rows.X[0].tolist()))["dollar_delta"], int(rows.code[0])
        (400.0, 0)
    """
    rows = ExposureRows(len(market.table))
    rows.write(market, 0, len(market.table))
    return rows
