"""Which quotes can be trusted: one compiled look at every number of a market."""

from __future__ import annotations

import numpy as np

from riskenv.compilation import jit
from riskenv.instruments import NS_PER_YEAR
from riskenv.pricing.black_scholes import LARGEST_EXPONENT, LARGEST_PRICE, SMALLEST_PRICE
from riskenv.pricing.elementary import exp_within_700
from riskenv.quote_rules import NO_LIMIT

# Rows of `Market.columns`, `Market.tickers`, `InstrumentTable.whole` and `.real`.
RATE, YIELD, DIVIDENDS, BID, ASK, VOL = range(6)
SPOT, BETA, FX = range(3)
KIND, EXPIRY, TICKER, AMERICAN, ON_FUTURE = range(5)
STRIKE, MULTIPLIER = range(2)

# A quote without a time.
NO_TIME = -(2**63)

# An implied volatility of 1,000 % a year is beyond any quote; above it a number is garbage.
MAX_VOL = 10.0

UNKNOWN_REASONS = (
    "known",
    "spot_rate_or_yield_invalid",
    "quote_missing",
    "quote_not_positive",
    "quote_crossed",
    "vol_invalid",
    "expired",
    "quote_below_intrinsic",
    "quote_stale",
    "spot_stale",
    "fx_invalid",
    "feed_disagrees",
    "not_computable",
    "quote_above_maximum",
)
(
    KNOWN,
    MARKET_INVALID,
    MISSING,
    NOT_POSITIVE,
    CROSSED,
    VOL_INVALID,
    EXPIRED,
    BELOW_INTRINSIC,
    STALE,
    SPOT_STALE,
    FX_INVALID,
    FEED_DISAGREES,
    NOT_COMPUTABLE,
    ABOVE_MAXIMUM,
) = range(len(UNKNOWN_REASONS))

# A quote this far outside what its option can be worth, relative to spot, is rounding.
_ROUNDING = 1e-9


@jit
def judge_quotes(  # type: ignore[no-untyped-def]
    whole, real, columns, tickers, quote_time, spot_time, now, ages, start, stop, code, quoted
):
    """code[i] = why instrument i is Unknown, 0 if it is not; quoted[i] = whether its quote, by
    itself, is one; for start <= i < stop.

    The reason told is the most basic one: what was written last. Every comparison is written so
    that a NaN fails it.
    """
    for i in range(start, stop):
        u = whole[TICKER, i]
        spot, bid, ask = tickers[SPOT, u], columns[BID, i], columns[ASK, i]
        rate, dividend_yield = columns[RATE, i], columns[YIELD, i]
        option = whole[KIND, i] != 0
        years = (whole[EXPIRY, i] - now) / NS_PER_YEAR if option else 0.0
        expired = option and not whole[EXPIRY, i] > now
        market = (
            spot >= SMALLEST_PRICE
            and spot <= LARGEST_PRICE
            and abs(rate * years) <= LARGEST_EXPONENT
            and abs(dividend_yield * years) <= LARGEST_EXPONENT
            and abs(rate) < np.inf
            and abs(dividend_yield) < np.inf
            and columns[DIVIDENDS, i] >= 0.0
            and columns[DIVIDENDS, i] < spot
        )
        why = KNOWN
        if not (bid == bid and ask == ask):
            why = MISSING
        elif not (bid >= 0.0 and ask > 0.0 and ask < np.inf):
            why = NOT_POSITIVE
        elif not bid <= ask:
            why = CROSSED
        elif not _timely(quote_time[i], now, ages):
            why = STALE
        elif option and market and not expired:
            paid = real[STRIKE, i] * exp_within_700(-rate * years)
            held = rate if whole[ON_FUTURE, i] else dividend_yield
            got = (spot - columns[DIVIDENDS, i]) * exp_within_700(-held * years)
            sign = float(whole[KIND, i])
            least = sign * (got - paid)
            most = got if sign > 0.0 else paid
            if whole[AMERICAN, i]:
                least = max(least, sign * (spot - real[STRIKE, i]))
                most = max(most, spot if sign > 0.0 else real[STRIKE, i])
            if not ask >= least - _ROUNDING * spot:
                why = BELOW_INTRINSIC
            elif not bid <= most + _ROUNDING * spot:
                why = ABOVE_MAXIMUM
        quoted[i] = why == KNOWN
        if why == KNOWN and option and not (columns[VOL, i] > 0.0 and columns[VOL, i] < MAX_VOL):
            why = VOL_INVALID
        if not market:
            why = MARKET_INVALID
        elif not _timely(spot_time[u], now, ages):
            why = SPOT_STALE
        if not (tickers[FX, u] > 0.0 and tickers[FX, u] < np.inf):
            why = FX_INVALID
        if expired:
            why = EXPIRED
            quoted[i] = False
        code[i] = why


@jit
def _timely(time, now, ages):  # type: ignore[no-untyped-def]
    """Whether a quote is no older than ages[0] and from no further ahead than ages[1]; without a
    time, whether age is not looked at."""
    if time == NO_TIME:
        return ages[0] == NO_LIMIT
    return (ages[0] == NO_LIMIT or now - time <= ages[0]) and time - now <= ages[1]


@jit
def timely_spots(spot_time, now, ages, out):  # type: ignore[no-untyped-def]
    """out[u] = whether the spot of ticker u is from a time that is trusted."""
    for u in range(spot_time.size):
        out[u] = _timely(spot_time[u], now, ages)
