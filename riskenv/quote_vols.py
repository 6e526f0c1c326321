"""Volatilities from quotes: what each option's midpoint implies, with a status where it does not.

European options by `riskenv.pricing.implied_volatility`, American ones by
`riskenv.pricing.american_implied_volatility`, at the spot, dividends and carry that exposures are
computed with: an option repriced at its implied volatility gives its midpoint.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from riskenv.exposures import pricing_columns
from riskenv.market import Market
from riskenv.pricing.implied_volatility import (
    ImpliedVolatility,
    ImpliedVolatilityStatus,
    implied_volatility,
)
from riskenv.quote_quality import ABOVE_MAXIMUM, BELOW_INTRINSIC, judge_quotes


def implied_vols(market: Market, start: int = 0, stop: int | None = None) -> ImpliedVolatility:
    """Of the instruments start to stop - 1: volatilities, NaN where there is none, and their
    `ImpliedVolatilityStatus`.

    A quote that is none (missing, crossed, stale, ...) is INVALID_INPUT, and so is an underlying,
    which has no volatility.
    """
    table, n = market.table, len(market.table)
    stop = n if stop is None else stop
    code, quoted = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.bool_)
    judge_quotes(
        table.whole, table.real, market.columns, market.tickers, market.quote_time,
        market.spot_time, market.now, market.rules.ages, start, stop, code, quoted,
    )  # fmt: skip
    columns = np.empty((7, stop - start))
    pricing_columns(
        table.whole, table.real, market.columns, market.tickers, market.now, start, stop, columns
    )
    part = slice(start, stop)
    option, american = table.kind[part] != 0, table.american[part]
    with np.errstate(invalid="ignore", over="ignore"):
        mid = np.where(quoted[part] & option, 0.5 * (market.bid[part] + market.ask[part]), np.nan)
    spot, strike, years, rate, carry, _, sign = columns
    vol, status = implied_volatility(mid, spot, strike, years, rate, carry, sign > 0.0)
    if american.any():
        from riskenv.pricing.american_implied_volatility import american_implied_volatility

        vol[american], status[american] = american_implied_volatility(
            mid[american], spot[american], strike[american], years[american], rate[american],
            carry[american], sign[american] > 0.0,
        )  # fmt: skip
    status[code[part] == BELOW_INTRINSIC] = ImpliedVolatilityStatus.BELOW_INTRINSIC
    status[code[part] == ABOVE_MAXIMUM] = ImpliedVolatilityStatus.ABOVE_MAXIMUM
    return ImpliedVolatility(vol, status)


def with_implied_vols(market: Market) -> Market:
    """The same market, its options without a volatility (NaN) given the one that they imply.

    What implies none keeps NaN, and so is Unknown.

    Example:
        >>> from riskenv import Instrument, InstrumentTable
        >>> call = Instrument("SPY", "C", 100.0, expiry=365 * 86_400 * 10**9 // 2, multiplier=100.0)
        >>> market = Market(0, InstrumentTable.of([call]), np.array([100.0]), 0.05, np.array([0.0]),
        ...                 np.array([6.8]), np.array([7.0]), np.array([np.nan]))
        >>> with_implied_vols(market).vol.round(4)
        array([0.2004])
    """
    wanting = np.isnan(market.vol) & (market.table.kind != 0)
    if not wanting.any():
        return market
    return replace(market, vol=np.where(wanting, implied_vols(market).vol, market.vol))
