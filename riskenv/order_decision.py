"""The order that a decision is sent as: put to the controls on order entry, after the caps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from riskenv.assessment import Assessment
from riskenv.circuit_breaker import BreakerState
from riskenv.correction import propose
from riskenv.exposures import pricing_columns
from riskenv.market import Market
from riskenv.order_checks import Order, check_order, throttled
from riskenv.pricing.option_greeks import black_scholes_price
from riskenv.projection import Proposal, radial
from riskenv.quote_quality import FX
from riskenv.reasons import Reason
from riskenv.selection import allowed_rows, evaluate, replacement

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sending:
    """What is done once the order was put to its controls.

    Attributes:
        state: with the order among those sent, if it is.
        row: of the proposal; flaw: the code of what is wrong with it, "" for nothing.
        order: that is sent, with the lots of the row; None = none is.
        reasons: why it is not sent, or not as it was asked for.

    Example:
        >>> Sending(BreakerState(), row=0, flaw="").order is None
        True
    """

    state: BreakerState
    row: int
    flaw: str
    order: Order | None = None
    reasons: tuple[Reason, ...] = ()


def send(
    state: BreakerState, assessment: Assessment, proposal: Proposal, row: int, flaw: str
) -> Sending:
    """Send the proposal's order with the lots of `row`, which the caps let pass, if it may be sent.

    The controls judge the order as it was asked for and, where the caps cut it, as it would be
    sent. What prices are held against is `fair_value`. An order that is denied is replaced as if
    every row that sends it were not there: by nothing, or by a reduction where one is due. So is
    the request of a strategy that is off, which is no order: prices and rates are known of orders
    alone, but what an operator has to re-enable trades in no way.

    Args:
        row, flaw: what was chosen, without a look at the order.

    Raises:
        ValueError: the order's instrument is not the one that the asked row trades, or the market
            is older than what was sent last.
    """
    order, trade = proposal.order, proposal.trades[row]
    if order is None:
        off = tuple(throttled(proposal.strategy, state.orders, "the request"))
        if not off or stays_off(proposal)[row]:
            return Sending(state, row, flaw)
        row, flaw = without_the_request(assessment, proposal)
        return Sending(state, row, flaw, reasons=off)
    market = assessment.market
    column = market.table.index.get(order.instrument)
    if column is None or not proposal.trades[proposal.asked, column]:
        raise ValueError(
            f"order: got {order.instrument.symbol}, which is not what the asked row trades"
        )
    if not trade.any():
        return Sending(state, row, flaw)
    if proposal.forced is not None and proposal.forced[row].any():
        return Sending(state, row, flaw, reasons=(Reason.of("order_replaced", order=order.name),))
    numbers = (
        market.now,
        fair_value(market, column),
        float(market.half_spread[column]),
        order.instrument.multiplier,
        float(market.tickers[FX, market.table.underlying_index[column]]),
        assessment.limits.orders,
        float(market.mid[column]),
    )
    # A fat finger is one whatever the caps leave of it: first as asked, then as it would be sent.
    reasons: tuple[Reason, ...] = ()
    if float(order.lots) != trade[column]:
        window, reasons = check_order(state.orders, order, *numbers)
        order = replace(order, lots=float(trade[column]))
    if not reasons:
        window, reasons = check_order(state.orders, order, *numbers)
    state = replace(state, orders=window)
    if not reasons:
        return Sending(state, row, flaw, order)
    row, flaw = without_the_request(assessment, proposal)
    return Sending(state, row, flaw, reasons=reasons)


def fair_value(market: Market, i: int) -> float:
    """What one contract of an instrument is worth, currency per point; NaN = Unknown.

    Of an option the model's price at the market's volatility of it, which is not the midpoint where
    the volatility comes from elsewhere than the quote. Where there is none, and of a share or a
    future, the midpoint: what is held without a known volatility can still be closed.

    Example:
        >>> from riskenv import Instrument, InstrumentTable
        >>> table = InstrumentTable.of([Instrument("A", "C", 100.0, 365 * 86_400 * 10**9)])
        >>> market = Market(0, table, np.array([100.0]), 0.05, np.zeros(1), np.array([8.0]),
        ...                 np.array([8.2]), np.array([0.2]))
        >>> round(fair_value(market, 0), 6), float(market.mid[0])
        (10.450584, 8.1)
    """
    table = market.table
    if table.kind[i] == 0 or market.unknown_code[i] != 0:
        return float(market.mid[i])
    one = np.empty((7, 1))
    pricing_columns(
        table.whole, table.real, market.columns, market.tickers, market.now, i, i + 1, one
    )
    spot, strike, years, rate, carry, vol, sign = one
    if table.american[i]:
        from riskenv.pricing.american import american_price  # machine code that few books need

        return float(american_price(spot, strike, years, rate, carry, vol, sign > 0.0)[0])
    return float(black_scholes_price(spot, strike, years, rate, rate - carry, vol, sign > 0.0)[0])


def stays_off(proposal: Proposal) -> NDArray[np.bool_]:
    """(A,) rows with nothing of the request in them: they are empty, or wholly a reduction."""
    rest = proposal.trades if proposal.forced is None else proposal.trades - proposal.forced
    return np.asarray(~rest.any(axis=1))


def without_the_request(a: Assessment, proposal: Proposal) -> tuple[int, str]:
    """(row, flaw) among the rows with nothing of the request in them; where there is none, of all
    rows the one that violates the caps least."""
    rows = np.flatnonzero(stays_off(proposal))
    if not rows.size:
        candidates = evaluate(a, proposal.trades, proposal.strategy)
        return replacement(a, proposal, candidates, np.zeros(len(proposal.trades), dtype=bool))
    trades, forced = proposal.trades[rows], proposal.forced
    asked = int(np.argmin(trades.any(axis=1)))  # nothing, where that is listed
    rest = Proposal(trades, asked, None if forced is None else forced[rows], proposal.strategy)
    candidates = evaluate(a, rest.trades, rest.strategy)
    allowed = allowed_rows(a, rest, candidates)
    if allowed[asked]:
        return int(rows[asked]), ""
    row, flaw = replacement(a, rest, candidates, allowed)
    return int(rows[row]), flaw


def proposal_for_order(a: Assessment, order: Order, *, reductions: bool = True) -> Proposal:
    """What a gate before a broker hands to `decide` for one order.

    Rows: the order; smaller ones where the caps want it; nothing; and, where the layer reduces the
    book, reductions by themselves, of which `riskenv.correction.propose` says more.

    Args:
        reductions: whether to list these.

    Raises:
        ValueError: the market has no quote of the order's instrument, or its lots are no number
            other than 0.

    Example:
        >>> from riskenv import Caps, Instrument, InstrumentTable, PortfolioRiskManager, RiskLimits
        >>> from riskenv import Market, Portfolio, Sessions
        >>> hour = 3_600_000_000_000
        >>> days = np.arange(10) * 24 * hour
        >>> sessions = Sessions(days + 14 * hour, days + 21 * hour)
        >>> manager = PortfolioRiskManager(RiskLimits(caps=Caps(delta=3)), sessions)
        >>> spy = Instrument("SPY")
        >>> table = InstrumentTable.of([spy])
        >>> market = Market(15 * hour, table, np.array([400.0]), 0.02, np.zeros(1),
        ...                 np.array([399.99]), np.array([400.01]), np.zeros(1))
        >>> _, a = manager.assess(BreakerState(), Portfolio.of(table, {spy: 2.0}, 1e5), market)
        >>> proposal_for_order(a, Order(spy, -2, 400.0)).trades.tolist()
        [[-2.0], [0.0]]
    """
    column = a.table.column(order.instrument, "order")
    trade = np.zeros(len(a.table))
    try:
        trade[column] = float(order.lots)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"order: got {order.lots!r} lots; allowed: a number") from None
    if trade[column] == 0.0:
        raise ValueError("order: got 0 lots; allowed: a number other than 0")
    a = a.for_strategy(order.strategy)
    if not a.reducing:
        rows = propose(a, trade, order.strategy).trades
        return Proposal(rows, strategy=order.strategy, order=order)
    rows = radial(trade)
    if not reductions:
        return Proposal(rows, strategy=order.strategy, order=order)
    return replace(beside_nothing(a, rows, order.strategy), order=order)


def beside_nothing(a: Assessment, rows: FloatArray, strategy: str) -> Proposal:
    """Rows, the first of them asked for, and all that may be done without any of them: nothing,
    and where the layer reduces the book, reductions by themselves."""
    alone = propose(a.for_strategy(strategy), np.zeros(len(a.table)), strategy)
    first = np.zeros_like(alone.trades) if alone.forced is None else alone.forced
    return Proposal(
        np.concatenate([rows, alone.trades]),
        forced=np.concatenate([np.zeros_like(rows), first]),
        strategy=strategy,
    )
