"""Small random worlds for the risk layer's tests: a calendar, a history, a chain, quotes.

`World.of(seed)` is the same world every time. Quotes come from `prices`, which shares no code
with the layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray
from scipy.special import ndtr

from riskenv import (
    BreakerState,
    Caps,
    Event,
    EventPolicy,
    FactorHistory,
    Instrument,
    InstrumentTable,
    Market,
    Portfolio,
    PortfolioRiskManager,
    RiskLimits,
    Sessions,
    VarConfig,
)

_QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much]
FAST = settings(
    max_examples=120,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=_QUIET,
)
SLOW = settings(FAST, max_examples=10_000)

HOUR = 3_600 * 10**9
DAY = 24 * HOUR
YEAR = 365 * DAY
DAYS = 420  # sessions on the calendar, one every day of the week
HISTORY = 300  # of them with factor moves
TODAY = HISTORY - 1  # session of the books under test

SESSIONS = Sessions(
    np.arange(DAYS) * DAY + 14 * HOUR + HOUR // 2, np.arange(DAYS) * DAY + 21 * HOUR
)
FRESH = BreakerState()
NOW = int(SESSIONS.closes[TODAY])
# No tail cap needs more than this; a small window keeps the books of a property test cheap.
VAR = VarConfig(window=120, min_scenarios=100, tail_probability=0.03)


def prices(
    spot: NDArray[np.float64],
    strike: NDArray[np.float64],
    years: NDArray[np.float64] | float,
    rate: float,
    carry: NDArray[np.float64],
    vol: NDArray[np.float64],
    kind: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Black-Scholes-Merton, from the textbook; intrinsic at and after expiry; kind 0 = spot."""
    with np.errstate(all="ignore"):
        total = vol * np.sqrt(years)
        d1 = (np.log(spot / strike) + (rate - carry) * years) / total + total / 2
        value = kind * (
            spot * np.exp(-carry * years) * ndtr(kind * d1)
            - strike * np.exp(-rate * years) * ndtr(kind * (d1 - total))
        )
    value = np.where(np.asarray(years) > 0.0, value, np.maximum(kind * (spot - strike), 0.0))
    return np.where(kind == 0, spot, value)


def history(seed: int = 7, tickers: tuple[str, ...] = ("A", "B")) -> FactorHistory:
    rng = np.random.default_rng(seed)
    shape = (HISTORY, len(tickers))
    moves = 0.01 * rng.standard_t(4, size=shape)
    return FactorHistory(
        tickers, SESSIONS.closes[:HISTORY], moves, -2.0 * moves + 0.02 * rng.normal(size=shape)
    )


HISTORIES = [history(seed) for seed in (7, 8)]


def chain(seed: int) -> list[Instrument]:
    """Two tickers with shares, calls and puts; order shuffled."""
    rng = np.random.default_rng(seed)
    legs = [Instrument("A"), Instrument("B")]
    for ticker, level in (("A", 100.0), ("B", 40.0)):
        for days in (2, 20):
            for right in "CP":
                strike = level * float(rng.choice([0.9, 0.95, 1.0, 1.05, 1.1]))
                legs.append(Instrument(ticker, right, strike, NOW + days * DAY, 100.0))
    return [legs[i] for i in rng.permutation(len(legs))]


@dataclass(frozen=True)
class World:
    """A manager, a book and a market that belong together; `replace` changes one of them."""

    manager: PortfolioRiskManager
    portfolio: Portfolio
    market: Market
    state: BreakerState = FRESH

    @property
    def table(self) -> InstrumentTable:
        return self.market.table

    def assess(self, external_flow: float = 0.0):
        return self.manager.assess(self.state, self.portfolio, self.market, external_flow)

    def decide(self, proposal):
        state, assessment = self.assess()
        return self.manager.decide(state, assessment, proposal)[1]

    def with_market(self, **changes) -> World:
        return replace(self, market=replace(self.market, **changes))

    def with_book(self, quantity, cash: float | None = None) -> World:
        cash = self.portfolio.cash if cash is None else cash
        return replace(self, portfolio=Portfolio(self.table, np.asarray(quantity, float), cash))

    def with_limits(self, limits: RiskLimits) -> World:
        m = self.manager
        return replace(
            self,
            manager=PortfolioRiskManager(
                limits,
                m.sessions,
                history=m.history,
                var=m.var,
                events=m.monitor.events,
                event_policy=m.monitor.policy,
            ),
        )


def market_of(table: InstrumentTable, seed: int, now: int = NOW) -> Market:
    rng = np.random.default_rng(seed)
    u = len(table.underlyings)
    level = np.array([{"A": 100.0, "B": 40.0}[t] for t in table.underlyings])
    # Rounded, like real quotes: NumPy's exp and log change bits with the CPU.
    spot = np.round(level * np.exp(0.03 * rng.normal(size=u)), 4)
    carry = rng.choice([0.0, 0.02], size=u)
    rate = float(rng.choice([0.0, 0.03, 0.05]))
    vol = np.where(table.kind == 0, 0.0, rng.uniform(0.12, 0.5, len(table)))
    ticker = table.underlying_index
    years = (table.expiry - now) / YEAR
    strike = np.where(table.kind == 0, 1.0, table.strike)
    mid = np.round(prices(spot[ticker], strike, years, rate, carry[ticker], vol, table.kind), 4)
    half = np.maximum(0.005 * mid, 0.005)
    bid, ask = np.maximum(mid - half, 0.0), mid + half
    return Market(
        now, table, spot, rate, carry, bid, ask, vol,
        beta=np.linspace(1.25, 0.75, u), beta_as_of=np.full(u, now - 30 * DAY), index_spot=4000.0,
    )  # fmt: skip


def world(
    seed: int = 0,
    *,
    caps: Caps | None = None,
    limits: RiskLimits | None = None,
    events: tuple[Event, ...] = (),
    policy: EventPolicy | None = None,
    held: int | None = None,
    with_history: bool = True,
    var: VarConfig = VAR,
    cash: float = 1e6,
) -> World:
    """A world whose book holds `held` (default: some) of its instruments."""
    rng = np.random.default_rng(seed)
    table = InstrumentTable.of(chain(seed))
    n = len(table)
    quantity = np.zeros(n)
    for i in rng.choice(
        n, size=int(rng.integers(0, n + 1)) if held is None else held, replace=False
    ):
        quantity[i] = float(rng.integers(1, 30)) * rng.choice([-1.0, 1.0])
        quantity[i] *= 100.0 if table.kind[i] == 0 else 1.0
    manager = PortfolioRiskManager(
        limits or RiskLimits(caps=caps or Caps()),
        SESSIONS,
        history=HISTORIES[seed % 2] if with_history else None,
        var=var,
        events=events,
        event_policy=policy,
    )
    return World(manager, Portfolio(table, quantity, cash), market_of(table, seed))


def isclose(a: float, b: float, scale: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9 * scale)
