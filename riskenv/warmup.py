"""What a live process asks for, asked once of a small book: it fills the cache of compiled kernels.

A kernel is compiled at its first call, which takes up to some seconds; before a broker that is too
late. Every setting that leads to other kernels is hence used here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from riskenv.dividends import Dividend, escrowed_value, implied_forward, implied_yield
from riskenv.event_policy import EventPolicy, EventRule
from riskenv.events import Event
from riskenv.exposure_bounds import exposure_bounds
from riskenv.factor_history import FactorHistory
from riskenv.gap_scenarios import HistoryJumps
from riskenv.gate.risk_gate import RiskGate
from riskenv.instruments import Instrument, InstrumentTable
from riskenv.limits import Caps, CorrectionRule, RiskLimits, ScopeCaps
from riskenv.live_greeks import LiveGreeks, Quotes
from riskenv.market import Market
from riskenv.order_checks import Order
from riskenv.portfolio import Portfolio
from riskenv.portfolio_greeks import aggregate_greeks
from riskenv.portfolio_risk_manager import PortfolioRiskManager as Manager
from riskenv.pricing import black_scholes_price, implied_volatility, option_greeks
from riskenv.projection import Proposal
from riskenv.quote_vols import with_implied_vols
from riskenv.sessions import Sessions
from riskenv.stress import GridConfig, worst_stress
from riskenv.stress_scenarios import StressConfig
from riskenv.var_config import GarchParameters, VarConfig

DAY = 86_400 * 10**9
HELD_ON = 300  # sessions before it are history
CLOSES = DAY * np.arange(1, 450)
NOW = int(CLOSES[HELD_ON - 1]) + DAY * 13 // 24  # an hour after an open
SHARE = Instrument("A")

CAPS = Caps(
    delta=100.0, gross_delta=1e4, gamma=1e3, vega=1e4, margin=1e6, day_loss=5e4, gap_loss=5e4,
    **dict.fromkeys(("var_1d", "var_3d", "es_1d", "es_5d"), 5e3),
)  # fmt: skip
_GARCH = GarchParameters(mean=0.0, omega=1e-6, alpha=0.05, beta=0.9, first_variance=1e-4)
# Each way to draw scenarios, to move volatilities and to revalue.
SETTINGS = (
    VarConfig(
        window=200, min_scenarios=100, gap_weight=0.01, history_jumps=HistoryJumps(),
        stress=StressConfig(grid=GridConfig(), crises=True),
    ),
    VarConfig(
        window=200, min_scenarios=100, method="filtered_ewma", vol_shocks="sticky_moneyness",
        revaluation="fast", decay_half_life=100.0,
    ),
    VarConfig(
        window=200, min_scenarios=100, method="filtered_garch", garch={"A": _GARCH},
        revaluation="full",
    ),
    VarConfig(method="bootstrap", window=200, min_scenarios=100),
)  # fmt: skip


def warmup() -> None:
    """Compile the kernels of decisions, plans, Greeks and prices into the disk cache."""
    for settings in SETTINGS:
        for manager in (_manager(settings), _watched(settings)):
            for book, market in _books():
                _trade(RiskGate(manager), book, market)
                _trade(RiskGate(manager), replace(book, quantity=20.0 * book.quantity), market)
    for book, market in _books():
        _follow(book, market)
    _price()


def _manager(settings: VarConfig, limits: RiskLimits | None = None, **events: Any) -> Manager:
    days = np.arange(HELD_ON)
    moves = 0.01 * np.sin(7.0 * days)[:, None]
    moves[100] = -0.2
    history = FactorHistory(("A",), CLOSES[:HELD_ON], moves, -moves)
    sessions = Sessions(CLOSES - DAY // 2, CLOSES)
    return Manager(
        limits or RiskLimits(caps=CAPS), sessions, history=history, var=settings, **events
    )


def _watched(settings: VarConfig) -> Manager:
    """The same with caps on tickers, with events, and with requests scaled down."""
    limits = RiskLimits(
        caps=CAPS,
        by_underlying={"*": ScopeCaps(contracts=50.0, gamma=1e3)},
        correction=CorrectionRule(method="radial", hedges="underlyings"),
    )
    events = (
        Event("sizes", int(CLOSES[HELD_ON + 1]), NOW - DAY, "A"),
        Event("hedged", int(CLOSES[HELD_ON + 2]), NOW - DAY),
    )
    policy = EventPolicy(rules=(
        EventRule(event_type="sizes", sessions_before=3, reduce_to=0.5, steps=2),
        EventRule(event_type="hedged", sessions_before=5, hedge_gap=True, gap_log_return=0.1),
    ))  # fmt: skip
    return _manager(settings, limits, events=events, event_policy=policy)


def _books() -> Iterator[tuple[Portfolio, Market]]:
    """Books of options of either exercise, as they are, and with a quote that is Unknown and a
    working order."""
    expiry = int(CLOSES[-1])
    for exercise in ("european", "american"):
        options = [
            Instrument("A", right, strike, expiry, 100.0, exercise=exercise)
            for right in "CP" for strike in (95.0, 105.0)
        ]  # fmt: skip
        table = InstrumentTable.of([SHARE, *options])
        n = len(table)
        option = table.kind != 0
        bid, ask = np.where(option, 9.0, 99.99), np.where(option, 9.2, 100.01)
        market = Market(
            NOW, table, np.array([100.0]), 0.02, np.array([0.01]), bid, ask,
            np.where(option, 0.25, np.nan),
        )  # fmt: skip
        book = Portfolio(table, np.where(option, -2.0, 10.0), 1e5)
        yield book, market
        crossed = np.where(np.arange(n) == n - 1, bid - 1.0, ask)
        yield replace(book, working=np.eye(1, n)), replace(market, ask=crossed)


def _trade(gate: RiskGate, book: Portfolio, market: Market) -> None:
    """Ask for what passes, what is corrected and what is refused; then for a plan."""
    manager, table = gate.manager, market.table
    call = table.instruments[1]
    for trades in ({}, {SHARE: 1.0}, {SHARE: 5e3}, {SHARE: 900.0, call: 30.0}, {call: -90.0}):
        gate.check(book, market, trades)
    menu = Proposal(np.concatenate([np.zeros((1, len(table))), np.eye(len(table))]))
    state, assessment = manager.assess(gate.state, book, market)
    manager.mask(assessment, menu)
    for proposal in (menu, manager.propose(assessment, 50.0 * np.eye(1, len(table))[0])):
        manager.decide(state, assessment, proposal)
    gate.check_order(book, market, Order(SHARE, 1e3, limit_price=100.0))
    for shares in (None, {"delta": 0.3, "vega": 0.3}):
        gate.reduction_plan(book, market, shares)
    gate.report(book, market)


def _follow(book: Portfolio, market: Market) -> None:
    """Greeks of a book, tick by tick, with volatilities given, solved, and Greeks from a feed."""
    n = len(market.table)
    unsolved = replace(market, vol=np.full(n, np.nan))
    for quoted in (market, with_implied_vols(unsolved)):
        live = LiveGreeks(book, quoted)
        for vol in (market.vol, unsolved.vol):
            live.update(Quotes("A", 100.5, market.bid, market.ask, vol))
        live.advance(market.now + DAY)
        live.hold(book)
        live.greeks().to_dict()
    cash = escrowed_value(market.table, market.now, 0.02, [Dividend("A", market.now + DAY, 1.0)])
    # The last: American puts of which the tree is asked, q < r < 0.
    for other in (
        replace(market, feed=np.full((n, 5), np.nan)),
        replace(market, dividends=cash),
        replace(market, rate=-0.01, dividend_yield=np.array([-0.03])),
    ):
        aggregate_greeks(book, other).to_dict()
    exposure_bounds(market, np.ones(n, dtype=np.int64))


def _price() -> None:
    """The functions that take numbers."""
    implied_forward([100.0], [5.0], [6.0], [4.0], [5.0], 0.02, 0.5)
    implied_yield(101.0, 100.0, 0.02, 0.5)
    worst_stress(np.zeros(1), np.ones(1))
    for is_call in (True, [True, False]):
        black_scholes_price(100.0, 100.0, 0.5, 0.05, 0.02, 0.2, is_call)
        for exercise in ("european", "american"):
            option_greeks(100.0, 100.0, 0.5, 0.05, 0.02, 0.2, is_call, exercise)
        implied_volatility(8.0, 100.0, 100.0, 0.5, 0.05, 0.02, is_call)
