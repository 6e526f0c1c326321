"""A decision, a mask and an assessment of a whole book, beside plain NumPy on the same question.

The peers are handed the matrices, as the layer has them cached for the tick, and say of each trade
whether every cap holds: no intervals, no rungs, no reasons, no replacement. Figures are printed,
and no time is asserted.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, cycle
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from riskenv import (
    BreakerState,
    Caps,
    FactorHistory,
    Instrument,
    InstrumentTable,
    Market,
    Portfolio,
    PortfolioRiskManager,
    Proposal,
    RiskLimits,
    Sessions,
    VarConfig,
    Verdict,
)
from riskenv.exposures import exposures
from riskenv.measures import LINEAR
from riskenv.nearest_trade import project
from riskenv.pricing import black_scholes_price

from .yardstick import price_and_five_greeks

FloatArray = NDArray[np.float64]

DAY = 86_400 * 10**9
YEAR = 365 * DAY
HISTORY, SCENARIOS, P = 520, 500, 0.01
CLOSES = (np.arange(HISTORY + 40) + 1) * DAY
SESSIONS = Sessions(CLOSES - DAY // 4, CLOSES)
NOW = int(CLOSES[HISTORY - 1])
TICKERS, RATE, YIELD = ("A", "B"), 0.03, 0.01
SPOT, BETA, INDEX = np.array([100.0, 250.0]), np.array([1.1, 0.9]), 4_000.0
LEGS = 4
TAILS = ("var_1d", "es_1d", "var_3d", "es_3d", "var_5d", "es_5d")
ROUNDS = 2_000


def listed(n: int) -> InstrumentTable:
    """The shares of two tickers, and options of a week to a year around the money."""
    rng = np.random.default_rng(5)
    legs = [Instrument(ticker) for ticker in TICKERS]
    for i in range(n - len(TICKERS)):
        strike = SPOT[i % 2] * (0.8 + 0.4 * (i + 0.5) / n)
        days = int(rng.choice([8, 30, 90, 180, 350]))
        legs.append(Instrument(TICKERS[i % 2], "CP"[i // 2 % 2], strike, NOW + days * DAY, 100.0))
    return InstrumentTable.of(legs)


def market_on(table: InstrumentTable, now: int = NOW, up: float = 1.0) -> Market:
    """Quotes a percent wide; `up` moves both spots."""
    ticker, spot = table.underlying_index, up * SPOT
    option = table.kind != 0
    years = np.where(option, (table.expiry - now) / YEAR, 1.0)
    vol = np.where(option, np.linspace(0.15, 0.45, len(table)), 0.0)
    price = black_scholes_price(
        spot[ticker], np.where(option, table.strike, 1.0), years, RATE, YIELD,
        np.where(option, vol, 0.2), table.kind > 0,
    )  # fmt: skip
    mid = np.where(option, price, spot[ticker])
    return Market(
        now, table, spot, RATE, np.full(2, YIELD), 0.995 * mid, 1.005 * mid + 1e-6, vol,
        beta=BETA, beta_as_of=np.full(2, NOW - 9 * DAY), index_spot=INDEX,
    )  # fmt: skip


def history() -> FactorHistory:
    rng = np.random.default_rng(6)
    moves = 0.012 * rng.standard_t(4, (HISTORY, 2))
    return FactorHistory(TICKERS, CLOSES[:HISTORY], moves, -2.0 * moves)


def book_on(table: InstrumentTable) -> Portfolio:
    lots = np.random.default_rng(7).integers(-6, 7, len(table)).astype(float)
    return Portfolio(table, np.where(table.kind == 0, 100.0, 1.0) * lots, 1e7)


def manager_of(names: tuple[str, ...], market: Market, book: Portfolio) -> PortfolioRiskManager:
    """Each named cap 1.4 times what the book uses, so that some trades pass and some do not."""
    tails = any(name in TAILS for name in names)
    past = {"history": history(), "var": VarConfig(window=SCENARIOS)} if tails else {}
    loose = PortfolioRiskManager(
        RiskLimits(caps=Caps(**dict.fromkeys(names, 1e12))), SESSIONS, **past
    )
    _, a = loose.assess(BreakerState(), book, market)
    used = dict(zip(a.names, np.abs(a.before).tolist(), strict=True))
    caps = Caps(**{name: 1.4 * used[name] for name in names})
    return PortfolioRiskManager(RiskLimits(caps=caps), SESSIONS, **past)


def trades_on(table: InstrumentTable, rows: int) -> FloatArray:
    """(rows, n) of one to four legs, some of them too large; the last is nothing."""
    rng, out = np.random.default_rng(8), np.zeros((rows, len(table)))
    for row in out[:-1]:
        legs = rng.choice(len(table), rng.integers(1, LEGS + 1), replace=False)
        row[legs] = rng.choice([-1.0, 1.0], len(legs)) * rng.integers(1, 25, len(legs))
    return out


class Peer:
    """Whether the book with a trade is inside every cap: dense products and partitions."""

    def __init__(self, a: Any) -> None:
        capped = np.isfinite(a.low) | np.isfinite(a.high)
        linear = np.flatnonzero(capped[: len(LINEAR)])
        self.quantity = a.portfolio.quantity
        self.X = a.matrices.X[a.matrices.rows][:, linear]
        self.low, self.high = a.low[linear], a.high[linear]
        self.P = a.matrices.P[a.matrices.rows]
        self.tails = []
        for name in TAILS:
            j = a.names.index(name)
            if capped[j]:
                self.tails.append((TAILS.index(name) // 2, name[:2] == "es", a.low[j]))
        self.wanted = sorted({h for h, _, _ in self.tails})

    def __call__(self, trades: FloatArray) -> NDArray[np.bool_]:
        after = self.quantity + trades
        values = after @ self.X
        inside = ((self.low <= values) & (values <= self.high)).all(axis=1)
        worst_count = round(P * SCENARIOS)
        for h in self.wanted:
            pnl = after @ self.P[:, h * SCENARIOS : (h + 1) * SCENARIOS]
            worst = np.partition(pnl, worst_count - 1, axis=1)[:, :worst_count]
            for horizon, shortfall, low in self.tails:
                if horizon == h:
                    inside &= (worst.mean(axis=1) if shortfall else worst[:, -1]) >= low
        return np.asarray(inside)


def one_at_a_time(manager: PortfolioRiskManager, state: Any, a: Any, trades: FloatArray) -> Any:
    """The rows in turn, each with the row that does nothing beside it."""
    hold = np.zeros(trades.shape[1])
    turns = cycle([Proposal(np.stack([row, hold])) for row in trades[:-1]])
    return lambda: manager.decide(state, a, next(turns))


def us(ran: Any, name: str) -> str:
    return f"{1e6 * ran.median(name):.0f} us (p99 {1e6 * ran.p99(name):.0f})"


CASES = {
    "all linear caps": (tuple(LINEAR), "30 us p50, 150 us p99"),
    "VaR and ES of one horizon": (("var_1d", "es_1d"), "100 us p50"),
    "linear caps, VaR and ES of 3 horizons": ((*LINEAR, *TAILS), ""),
}


@pytest.mark.parametrize("case", CASES)
def test_a_decision_on_four_legs_in_a_book_of_fifty(
    case: str, race: Callable, figure: Callable
) -> None:
    names, target = CASES[case]
    table = listed(50)
    market, book = market_on(table), book_on(table)
    manager = manager_of(names, market, book)
    state, a = manager.assess(BreakerState(), book, market)
    trades, peer = trades_on(table, 64), Peer(a)
    decided = [
        manager.decide(state, a, Proposal(trades, asked=row))[1].verdict is Verdict.ALLOW
        for row in range(len(trades))
    ]
    assert decided == peer(trades).tolist()
    assert 0 < sum(decided) < len(trades) - 1
    turn = cycle([row[None, :] for row in trades[:-1]])
    ran = race(
        {
            "decide": (one_at_a_time(manager, state, a, trades), 1),
            "allow": (one_at_a_time(manager, state, a, trades[decided]), 1),
            "NumPy": (lambda: peer(next(turn)), 1),
        },
        ROUNDS,
    )
    wanted = f" (target <= {target})" if target else ""
    figure(
        f"Decide, {case}: {us(ran, 'decide')}{wanted}, {100 * (1 - np.mean(decided)):.0f} % of it "
        f"refused with reasons; what is allowed {us(ran, 'allow')}; dense NumPy "
        f"{us(ran, 'NumPy')}, ratio "
        f"{ran.ratio('decide', 'NumPy'):.1f}"
    )


@pytest.mark.parametrize(
    ("names", "target"),
    [(("var_1d", "es_1d"), "150 us"), ((*LINEAR, *TAILS), "")],
    ids=["one horizon", "everything"],
)
def test_a_mask_over_sixty_four_actions(
    names: tuple[str, ...], target: str, race: Callable, figure: Callable
) -> None:
    table = listed(50)
    market, book = market_on(table), book_on(table)
    manager = manager_of(names, market, book)
    state, a = manager.assess(BreakerState(), book, market)
    trades, peer = trades_on(table, 64), Peer(a)
    proposal = Proposal(trades)
    mask = manager.mask(a, proposal)
    decided = [
        manager.decide(state, a, Proposal(trades, asked=row))[1].verdict is Verdict.ALLOW
        for row in range(len(trades))
    ]
    assert mask.tolist() == decided == peer(trades).tolist()
    assert 0 < sum(decided) < len(trades) - 1
    ran = race(
        {"mask": (lambda: manager.mask(a, proposal), 1), "NumPy": (lambda: peer(trades), 1)},
        ROUNDS // 2,
    )
    wanted = f" (target <= {target})" if target else ""
    figure(
        f"Mask of 64 actions, {len(names)} caps, {SCENARIOS} scenarios a horizon: "
        f"{us(ran, 'mask')}{wanted}; dense NumPy {us(ran, 'NumPy')}, ratio "
        f"{ran.ratio('mask', 'NumPy'):.2f}"
    )


@pytest.mark.parametrize("tails", [False, True], ids=["Greeks", "Greeks, VaR and ES"])
def test_an_assessment_of_sixty_instruments(tails: bool, race: Callable, figure: Callable) -> None:
    """On a tick whose matrices are cached; at a new price; and at a new instant."""
    table = listed(60)
    market, book = market_on(table), book_on(table)
    manager = manager_of((*LINEAR, *TAILS) if tails else tuple(LINEAR), market, book)
    a = manager.assess(BreakerState(), book, market)[1]
    assert np.allclose(a.before[: len(LINEAR)], book.quantity @ exposures(market).X)
    prices, instants = count(1), count(1)

    def at_a_new_price() -> object:
        moved = market_on(table, NOW, 1.0 + 1e-7 * next(prices))
        return manager.assess(BreakerState(), book, moved)

    def at_a_new_instant() -> object:
        moved = market_on(table, NOW + 1_000 * next(instants))
        return manager.assess(BreakerState(), book, moved)

    option = table.kind != 0
    columns = (
        market.spot[table.underlying_index], table.strike, (table.expiry - NOW) / YEAR,
        np.full(len(table), RATE), np.full(len(table), RATE - YIELD), market.vol,
    )  # fmt: skip
    ran = race(
        {
            "cached": (lambda: manager.assess(BreakerState(), book, market), 1),
            "price": (at_a_new_price, 1),
            "instant": (at_a_new_instant, 1),
            "Market": (lambda: market_on(table), 1),
            "NumPy": (
                price_and_five_greeks(
                    *(column[option] for column in columns), table.kind[option].astype(float)
                ),
                1,
            ),
        },
        600,
    )
    kind = "Greeks, VaR and ES" if tails else "Greeks"
    figure(
        f"Assess 60 instruments, {kind}: cached tick {us(ran, 'cached')}; new price "
        f"{us(ran, 'price')}, new instant {us(ran, 'instant')}, of which the quotes and the Market "
        f"{us(ran, 'Market')}; NumPy + ndtr, price and 5 Greeks alone {us(ran, 'NumPy')}; ratio "
        f"of the cached {ran.ratio('cached', 'NumPy'):.1f}"
    )


def test_a_projection_of_ten_dimensions_under_sixteen_caps(
    race: Callable, figure: Callable
) -> None:
    """The peer looks at the request and at its half-way, third-way, ... cuts: a radial clip."""
    rng = np.random.default_rng(3)
    dimensions, caps, cases = 10, 16, []
    while len(cases) < 40:
        high = rng.uniform(2.0, 6.0, caps)
        before, box = rng.uniform(-0.8, 0.8, caps) * high, np.full(dimensions, 5.0)
        asked, X = 2.0 * rng.normal(size=dimensions), rng.normal(size=(dimensions, caps))
        case = (asked, X, before, -high, high, rng.uniform(0.5, 2.0, dimensions), -box, box)
        if project(*case).status == "projected":
            cases.append(case)

    def clip(asked, X, before, low, high, weight, box_low, box_high):
        with np.errstate(divide="ignore"):
            move = asked @ X
            room = np.where(move > 0.0, (high - before) / move, (low - before) / move)
            box = np.where(asked > 0.0, box_high / asked, box_low / asked)
        return min(1.0, room.min(), box.min()) * asked

    def distance(case, trade) -> float:
        return float(case[5] @ (trade - case[0]) ** 2)

    for case in cases:
        clipped = clip(*case)
        after = case[2] + clipped @ case[1]
        assert (after <= case[4] + 1e-9).all()
        assert distance(case, project(*case).trade) <= distance(case, clipped) + 1e-9
    mine, peers = cycle(cases), cycle(cases)
    ran = race(
        {
            "project": (lambda: project(*next(mine)), 1),
            "clip": (lambda: clip(*next(peers)), 1),
        },
        ROUNDS,
    )
    gain = np.median([distance(c, clip(*c)) / distance(c, project(*c).trade) for c in cases])
    figure(
        f"Project {dimensions} dimensions under {caps} caps: {us(ran, 'project')} (target <= 100 "
        f"us); a radial clip in NumPy {us(ran, 'clip')}, ratio {ran.ratio('project', 'clip'):.1f}, "
        f"at {gain:.1f} times the squared distance"
    )
