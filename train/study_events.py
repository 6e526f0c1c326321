"""Does closing before earnings pay? Short strangles on single stocks, with and without the layer.

Three arms trade the same book, one strangle of about a month on each stock, held to expiry:
"without" knows no events, "with" has the layer reduce before each announcement, and "placebo" has
it reduce as often on other days, while the prices still jump on the true ones.

While an announcement lies between a close and an expiry, the variance to that expiry holds the
premium's size times the stock's jump variance; after it, none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from riskenv.data.calendars import monthly_expiries
from riskenv.data.volatility import SESSIONS_PER_YEAR
from riskenv.train.performance import expected_shortfall
from riskenv.train.stock_history import StockHistory, StudyConfig, shuffled
from riskenv.train.study_quotes import Quotes

from riskenv.assessment import Assessment
from riskenv.circuit_breaker import BreakerState
from riskenv.decision import Verdict
from riskenv.events import Event
from riskenv.instruments import NS_PER_DAY, NS_PER_YEAR, Instrument, InstrumentTable
from riskenv.limits import Caps, RiskLimits
from riskenv.market import Market
from riskenv.portfolio import Portfolio
from riskenv.portfolio_risk_manager import PortfolioRiskManager
from riskenv.projection import Proposal

WITHOUT, WITH, PLACEBO = "without", "with", "placebo"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trade:
    """One fill at a close: row of the session, signed contracts, per contract the price at mid and
    the half-spread paid; `forced` where the layer ordered it.

    Example:
        >>> put = Instrument("AAPL", "P", strike=90.0, expiry=1)
        >>> sold = Trade(0, put, -2.0, price=3.0, half_spread=0.1, spot=88.0, forced=False)
        >>> sold.cost, sold.premium    # of the 3.0, 2.0 is intrinsic
        (0.2, 2.0)
    """

    row: int
    instrument: Instrument
    contracts: float
    price: float
    half_spread: float
    spot: float
    forced: bool

    @property
    def cost(self) -> float:
        """Currency, >= 0."""
        return abs(self.contracts) * self.half_spread

    @property
    def premium(self) -> float:
        """Time value at mid that it brought in (> 0) or gave back, in currency."""
        sign = 1.0 if self.instrument.right == "C" else -1.0
        intrinsic = max(sign * (self.spot - self.instrument.strike), 0.0)
        return -self.contracts * (self.price - intrinsic)


@dataclass(frozen=True, eq=False)
class StudyRun:
    """One arm at one size of premium.

    Attributes:
        equity: (N,) cash and positions at mid after the trades of each close of the span.
        trades: in the order they were made.

    Example:
        >>> run = StudyRun("without", 1.0, 100.0, np.array([100.0, 98.0, 101.0]), ())
        >>> run.pnl.tolist(), run.premium
        ([-0.02, 0.03], 0.0)
    """

    arm: str
    size: float
    capital: float
    equity: Floats
    trades: tuple[Trade, ...]

    @cached_property
    def pnl(self) -> Floats:
        """(N - 1,) daily, as a share of the capital."""
        return np.diff(self.equity) / self.capital

    @property
    def years(self) -> float:
        return (len(self.equity) - 1) / SESSIONS_PER_YEAR

    @property
    def premium(self) -> float:
        """Time value sold less time value bought back, a year, as a share of the capital."""
        return math.fsum(t.premium for t in self.trades) / self.capital / self.years

    @property
    def forced(self) -> tuple[Trade, ...]:
        return tuple(t for t in self.trades if t.forced)


@dataclass(frozen=True)
class StudyRow:
    """Figures of an arm, as shares of the capital; of the placebo, means over its calendars.

    Attributes:
        premium_size: of the jump premium, in mean squared moves.
        total_return, worst_day, es_99: over the span; of a day; mean of the worst 1 % of days.
        forced_trades: fills that the layer ordered, each leg one; forced_cost: half-spreads paid
            for them.
        cost: half-spreads paid in all.
        premium: net time value sold, a year; premium_forgone: against the arm without the layer.
        es_cut: es_99 less that of the arm without the layer; > 0 is less risk.
        es_cut_per_premium: es_cut / premium_forgone; NaN where nothing was forgone.
    """

    arm: str
    premium_size: float
    total_return: float
    worst_day: float
    es_99: float
    forced_trades: float
    forced_cost: float
    cost: float
    premium: float
    premium_forgone: float
    es_cut: float
    es_cut_per_premium: float


def study(
    history: StockHistory,
    config: StudyConfig,
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[StudyRow, ...]:
    """Every arm at every size of premium."""
    calendars = [(WITHOUT, ()), (WITH, history.news)]
    seeds = range(config.seed, config.seed + config.placebos)
    calendars += [(PLACEBO, shuffled(history.news, history, config, seed)) for seed in seeds]
    jobs = [(size, arm, news) for size in config.premium_sizes for arm, news in calendars]
    runs = []
    for done, (size, arm, news) in enumerate(jobs):
        if progress is not None:
            progress(done, len(jobs), f"{arm}, premium {size:g}")
        runs.append(run_arm(history, config, arm, size, news))
    return rows_of(runs)


def rows_of(runs: Sequence[StudyRun]) -> tuple[StudyRow, ...]:
    """The table: the runs of an arm and size averaged, each against the run without the layer.

    Example:
        >>> equities = {"without": [100.0, 90.0, 104.0], "with": [100.0, 97.0, 102.0]}
        >>> rows = rows_of(
        ...     [StudyRun(arm, 1.0, 100.0, np.array(e), ()) for arm, e in equities.items()])
        >>> [(row.arm, round(row.worst_day, 3), round(row.es_cut, 3)) for row in rows]
        [('without', -0.1, 0.0), ('with', -0.03, 0.07)]
    """
    rows = []
    for size in dict.fromkeys(run.size for run in runs):
        some = [run for run in runs if run.size == size]
        base = next(run for run in some if run.arm == WITHOUT)
        arms = dict.fromkeys(run.arm for run in some)
        rows += [_row([run for run in some if run.arm == arm], base) for arm in arms]
    return tuple(rows)


def _row(runs: Sequence[StudyRun], base: StudyRun) -> StudyRow:
    def mean(figure: Callable[[StudyRun], float]) -> float:
        return math.fsum(figure(run) for run in runs) / len(runs)

    es = mean(lambda run: expected_shortfall(run.pnl))
    premium = mean(lambda run: run.premium)
    forgone, cut = base.premium - premium, es - expected_shortfall(base.pnl)
    return StudyRow(
        arm=runs[0].arm,
        premium_size=base.size,
        total_return=mean(lambda run: float(run.equity[-1]) / run.capital - 1.0),
        worst_day=mean(lambda run: float(run.pnl.min())),
        es_99=es,
        forced_trades=mean(lambda run: float(len(run.forced))),
        forced_cost=mean(lambda run: math.fsum(t.cost for t in run.forced) / run.capital),
        cost=mean(lambda run: math.fsum(t.cost for t in run.trades) / run.capital),
        premium=premium,
        premium_forgone=forgone,
        es_cut=cut,
        es_cut_per_premium=cut / forgone if forgone > 0.0 else math.nan,
    )


def write_csv(rows: Sequence[StudyRow], path: Path) -> None:
    """One line a row, columns as in `StudyRow`."""
    names = [field.name for field in fields(StudyRow)]
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame([[getattr(row, name) for name in names] for row in rows], columns=names)
    frame.to_csv(path, index=False)


# -- one run ------------------------------------------------------------------------------------


def run_arm(
    history: StockHistory, config: StudyConfig, arm: str, size: float, news: Sequence[Event]
) -> StudyRun:
    """Trade the span under the layer, which knows `news` and has no caps.

    Args:
        size: of the jump premium that the prices hold, at the history's own announcements.
    """
    manager = PortfolioRiskManager(
        RiskLimits(caps=Caps()),
        history.sessions,
        events=news,
        event_policy=config.event_policy,
    )
    book = _Book(history, config, manager, size)
    equity = [book.close(row) for row in range(history.first, history.last + 1)]
    return StudyRun(arm, size, config.capital, np.array(equity), tuple(book.trades))


class _Book:
    """Positions and cash from close to close, every trade put to the layer."""

    def __init__(
        self, history: StockHistory, config: StudyConfig, manager: PortfolioRiskManager, size: float
    ) -> None:
        self._history, self._config, self._manager = history, config, manager
        self._quotes = Quotes(history, config, size)
        self._expiries = monthly_expiries(history.sessions)
        self._state = BreakerState()
        self._held: dict[Instrument, float] = {}
        self._target = dict.fromkeys(history.tickers, 0.0)
        self._cash = config.capital
        self.trades: list[Trade] = []

    def close(self, row: int) -> float:
        """Settle, let the layer reduce, then sell what is missing; equity at mid."""
        self._settle(row)
        wanted = dict(self._wanted(row))
        table = InstrumentTable.of({*self._held, *wanted})
        market = self._quotes.market(row, table)
        assessment = self._assess(market)
        if assessment.due:
            due = 0.0 - np.sign(assessment.portfolio.quantity) * assessment.least
            self._decide(row, assessment, [np.zeros(len(table)), due])
            assessment = self._assess(market)
        if wanted:
            request = Portfolio.of(table, wanted, 0.0).quantity
            self._decide(row, assessment, [request, request * ~assessment.entry_blocked])
        mids = (market.bid + market.ask) / 2.0
        worth = (lots * mids[table.index[leg]] for leg, lots in self._held.items())
        return self._cash + math.fsum(worth)

    def _settle(self, row: int) -> None:
        now = int(self._history.sessions.closes[row])
        for leg in [leg for leg in self._held if leg.expiry <= now]:
            spot = self._history.close[row, self._history.tickers.index(leg.underlying)]
            sign = 1.0 if leg.right == "C" else -1.0
            self._cash += self._held.pop(leg) * max(sign * (spot - leg.strike), 0.0)

    def _wanted(self, row: int) -> Iterator[tuple[Instrument, float]]:
        """Legs of the strangles that bring stocks back to their size, set when last flat."""
        history, config = self._history, self._config
        now = int(history.sessions.closes[row])
        days = (self._expiries - now) / NS_PER_DAY
        expiry = int(self._expiries[np.argmin(np.abs(days - config.target_days))])
        years = (expiry - now) / NS_PER_YEAR
        short = dict.fromkeys(history.tickers, 0.0)
        for leg, lots in self._held.items():
            short[leg.underlying] -= lots / 2.0
        for u, ticker in enumerate(history.tickers):
            spot, vol = history.close[row, u], history.vol[row, u]
            if short[ticker] == 0.0:
                self._target[ticker] = float(max(round(config.notional / spot), 1))
            missing = self._target[ticker] - short[ticker]
            if missing < 1.0:
                continue
            width = config.width * vol * math.sqrt(years)
            for right, sign in (("C", 1.0), ("P", -1.0)):
                strike = float(spot * math.exp(sign * width))
                yield Instrument(ticker, right, strike, expiry), -missing

    def _assess(self, market: Market) -> Assessment:
        portfolio = Portfolio.of(market.table, self._held, self._cash)
        self._state, assessment = self._manager.assess(self._state, portfolio, market)
        return assessment

    def _decide(self, row: int, assessment: Assessment, offers: list[Floats]) -> None:
        """Do what the layer makes of the first offer: that, another of them, or nothing.

        The offers are few: all the plans that `propose` makes for a hundred contracts take long.
        """
        offers.append(np.zeros(len(assessment.table)))
        proposal = Proposal(np.stack(offers))
        self._state, decision = self._manager.decide(self._state, assessment, proposal)
        self._fill(row, assessment.market, decision.trades, decision.verdict is Verdict.REDUCE)

    def _fill(self, row: int, market: Market, trades: Floats, forced: bool) -> None:
        table = market.table
        for i in np.flatnonzero(trades):
            leg, lots = table.instruments[i], float(trades[i])
            price, half = (market.ask[i] + market.bid[i]) / 2.0, (market.ask[i] - market.bid[i]) / 2
            spot = float(market.spot[table.underlying_index[i]])
            fill = Trade(row, leg, lots, float(price), float(half), spot, forced)
            self.trades.append(fill)
            self._cash -= lots * fill.price + fill.cost
            left = self._held.get(leg, 0.0) + lots
            self._held[leg] = left
            if left == 0.0:
                del self._held[leg]
