"""What quotes say of a jump to come: its size from the term structure of volatility, by event."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from riskenv.event_values import ActiveRule, Caution
from riskenv.event_window import EventWindow
from riskenv.gap_scenarios import implied_jump
from riskenv.instruments import NS_PER_YEAR
from riskenv.market import Market
from riskenv.portfolio_greeks import timestamp

# Strikes of which a volatility at the money is made lie within a tenth of the spot.
_NEAR = 0.1


def quoted_jump(market: Market, ticker: str, time: int) -> tuple[float, str]:
    """(the standard deviation of the log jump of a ticker at `time` (ns UTC), why there is none).

    `riskenv.implied_jump` of the first two expiries after the event whose volatility at the money
    is known: that of the two strikes around the spot, calls and puts averaged, straight between
    them. A second jump before the later of the expiries makes the answer too low.

    Returns:
        NaN and the words where there are no two expiries, or volatility does not fall with them.

    Example:
        >>> from riskenv import Instrument, InstrumentTable
        >>> day = 86_400 * 10**9
        >>> table = InstrumentTable.of(
        ...     Instrument("AAPL", "C", 100.0, days * day, 100.0) for days in (10, 40))
        >>> years = table.expiry / (365 * day)
        >>> vol = (0.04 + 0.08**2 / years) ** 0.5
        >>> spot, bid = np.array([100.0]), np.full(2, 4.9)
        >>> market = Market(0, table, spot, 0.0, np.zeros(1), bid, bid + 0.2, vol)
        >>> size, why = quoted_jump(market, "AAPL", 5 * day)
        >>> round(size, 12), why
        (0.08, '')
        >>> quoted_jump(market, "AAPL", 20 * day)[1]
        'volatility at the money is known at 1 of the 2 expiries asked for'
    """
    table = market.table
    if ticker not in table.underlyings:
        return np.nan, "it is not listed"
    u = table.underlyings.index(ticker)
    spot = float(market.spot[u])
    near = (table.underlying_index == u) & (table.kind != 0) & (table.expiry > time)
    near &= (market.unknown_code == 0) & (market.vol > 0.0) & (market.vol < np.inf)
    near &= np.abs(table.strike - spot) <= _NEAR * spot
    known: list[tuple[float, float]] = []
    for expiry in np.unique(table.expiry[near]).tolist():
        vol = _at_the_money(market, np.flatnonzero(near & (table.expiry == expiry)), spot)
        if vol is not None:
            known.append((vol, (expiry - market.now) / NS_PER_YEAR))
        if len(known) == 2:
            break
    if len(known) < 2:
        words = f"volatility at the money is known at {len(known)} of the 2 expiries asked for"
        return np.nan, words
    (vol_1, years_1), (vol_2, years_2) = known
    if not vol_1 > vol_2:
        return np.nan, f"volatility does not fall with expiry: {vol_1:.4g}, then {vol_2:.4g}"
    return implied_jump(vol_1, years_1, vol_2, years_2), ""


def _at_the_money(market: Market, rows: NDArray[np.int64], spot: float) -> float | None:
    """None where no strike lies at or on either side of the spot."""
    strike = market.table.strike[rows]
    below, above = strike[strike <= spot], strike[strike >= spot]
    if not (below.size and above.size):
        return None
    low, high = float(below.max()), float(above.min())
    of = {}
    for k in {low, high}:
        vols = market.vol[rows[strike == k]].tolist()
        of[k] = sum(vols) / len(vols)
    share = (spot - low) / (high - low) if high > low else 0.0
    return float(of[low] + share * (of[high] - of[low]))


def implied_moves(
    window: EventWindow, market: Market, tickers: tuple[str, ...]
) -> tuple[NDArray[np.float64], tuple[Caution, ...]]:
    """((2U, J) log spot and then log volatility moves, where quotes say nothing).

    For each rule in force that asks for them (`EventRule.gap_implied`), up and down: each ticker
    that the event touches moves by so many of its own implied jump, and by the rule's own where
    that is larger or there is none. Where no ticker has one there is no move: the rule's own jump
    counts already.

    Args:
        tickers: (U,) of the moves.
    """
    columns: list[NDArray[np.float64]] = []
    cautions: dict[Caution, None] = {}
    asking = [held for held in window.active if held.rule.gap_implied > 0.0]
    for held in asking:
        sizes = _sizes(window, market, held, tickers, cautions)
        if sizes is not None:
            vol = np.where(sizes > 0.0, held.rule.gap_log_vol_change, 0.0)
            columns += [np.concatenate([0.0 - sizes, vol]), np.concatenate([sizes, vol])]
    if not columns:
        return np.zeros((2 * len(tickers), 0)), tuple(cautions)
    return np.stack(columns, axis=1), tuple(cautions)


def _sizes(
    window: EventWindow,
    market: Market,
    held: ActiveRule,
    tickers: tuple[str, ...],
    cautions: dict[Caution, None],
) -> NDArray[np.float64] | None:
    """(U,) size of each ticker's move; None where no quote says more than the rule."""
    event, rule = held.event, held.rule
    sizes = np.zeros(len(tickers))
    told = False
    for u, ticker in enumerate(tickers):
        if not window.touches(event.symbol, event.sector, ticker):
            continue
        sizes[u] = rule.gap_log_return
        if ticker not in market.table.underlyings:
            continue  # nothing of it is held
        jump, why = quoted_jump(market, ticker, event.time)
        if why:
            words = f"no jump of {ticker} is implied for the {event.event_type} at "
            words += f"{timestamp(event.time)}: {why}; the jump of the rule counts alone"
            cautions[Caution("jump_not_implied", ticker, words)] = None
        else:
            sizes[u], told = max(rule.gap_implied * jump, rule.gap_log_return), True
    return sizes if told else None
