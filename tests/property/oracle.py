"""What a book's measures are, in plain NumPy and SciPy, written from the definitions.

Shares no code with the layer: other formulas' arrangement, other summation, other normal
distribution. Agreement is to rounding, never to the bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from riskenv import FactorHistory, Market, Portfolio, VarConfig

from .worlds import DAY, YEAR, prices

MEASURES = (
    "delta", "dollar_delta", "gamma", "dollar_gamma", "theta", "vega",
    "rho", "vanna", "volga", "charm", "beta_delta",
    "var_1d", "es_1d", "var_3d", "es_3d", "var_5d", "es_5d", "gap_loss",
)  # fmt: skip

SUMS = MEASURES[:11]
SIZES = ("gross_delta", "gross_dollar_delta", "notional", "contracts", "margin")


def exposures(market: Market) -> NDArray[np.float64]:
    """(n, 11) of one contract; theta by the Black-Scholes equation, and charm by its derivative in
    spot, not by their closed forms."""
    table = market.table
    spot, q = market.spot[table.underlying_index], market.dividend_yield
    beta = market.beta[table.underlying_index]
    option = table.kind != 0
    strike, years = np.where(option, table.strike, 1.0), (table.expiry - market.now) / YEAR
    years, vol, r = np.where(option, years, 1.0), np.where(option, market.vol, 1.0), market.rate
    sd = vol * np.sqrt(years)
    d1 = (np.log(spot / strike) + (r - q + vol**2 / 2) * years) / sd
    delta = np.exp(-q * years) * table.kind * norm.cdf(table.kind * d1)
    gamma = np.exp(-q * years) * norm.pdf(d1) / (spot * sd)
    vega = spot * np.exp(-q * years) * norm.pdf(d1) * np.sqrt(years)
    value = prices(spot, strike, years, r, q, vol, table.kind)
    theta = r * value - (r - q) * spot * delta - vol**2 * spot**2 * gamma / 2
    rho = table.kind * strike * years * np.exp(-r * years) * norm.cdf(table.kind * (d1 - sd))
    vanna, volga = vega / spot * (1.0 - d1 / sd), vega * d1 * (d1 - sd) / vol
    speed = -gamma / spot * (d1 / sd + 1.0)
    charm = q * delta - (r - q + vol**2) * spot * gamma - vol**2 * spot**2 * speed / 2
    columns = [
        delta, delta * spot, gamma, gamma * spot**2 / 100, theta / 365, vega / 100, rho / 100,
        vanna / 100, volga / 100**2, charm / 365, delta * spot * beta / market.index_spot,
    ]  # fmt: skip
    out = np.column_stack([np.where(option, column, 0.0) for column in columns])
    out[~option, 0], out[~option, 1] = 1.0, spot[~option]
    out[~option, -1] = (spot * beta)[~option] / market.index_spot
    return out * table.multiplier[:, None]


def sizes(market: Market, X: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, n, 5) of one contract held long, then short; margins of Cboe Rule 10.3 and Reg T."""
    table = market.table
    spot, option = market.spot[table.underlying_index], table.kind != 0
    out_of_money = np.maximum(table.kind * (table.strike - spot), 0.0)
    least = 0.1 * np.where(table.kind > 0, spot, table.strike)
    short = (market.bid + market.ask) / 2.0 + np.maximum(0.2 * spot - out_of_money, least)
    margins = [np.where(option, x, 0.5 * spot) * table.multiplier for x in (0.0 * spot, short)]
    delta, dollars = np.abs(X[:, 0]), np.abs(X[:, 1])
    return np.stack(
        [np.stack([delta, dollars, table.multiplier * spot, option, m], axis=1) for m in margins]
    )


def scenario_pnl(
    market: Market, history: FactorHistory, var: VarConfig, jumps: list[tuple[str, float, float]]
) -> list[NDArray[np.float64]]:
    """P&L of one contract of each instrument, (n, S) for horizons 1, 3, 5 and for the jumps.

    A session every day, books at the close: h sessions are h days.
    """
    table = market.table
    known = int((history.times <= market.now).sum())
    blocks = []
    for horizon in (1, 3, 5):
        ends = range(max(horizon - 1, known - var.window), known)
        windows = [slice(end - horizon + 1, end + 1) for end in ends]
        moves = np.array([history.log_return[w].sum(axis=0) for w in windows]).T
        vols = np.array([history.log_vol_change[w].sum(axis=0) for w in windows]).T
        blocks.append(_pnl(market, history, moves, vols, horizon * DAY))
    shape = (len(history.underlyings), len(jumps))
    moves, vols = np.zeros(shape), np.zeros(shape)
    for j, (symbol, move, vol) in enumerate(jumps):
        for u, ticker in enumerate(history.underlyings):
            if symbol in ("", ticker):
                moves[u, j], vols[u, j] = move, vol
    blocks.append(_pnl(market, history, moves, vols, 0))
    assert all(block.shape[0] == len(table) for block in blocks)
    return blocks


def _pnl(market, history, moves, vols, elapsed):  # type: ignore[no-untyped-def]
    table = market.table
    column = [history.underlyings.index(table.underlyings[u]) for u in table.underlying_index]
    spot = market.spot[table.underlying_index][:, None]
    carry, rate = market.dividend_yield[:, None], market.rate[:, None]
    kind, strike = table.kind[:, None], np.where(table.kind == 0, 1.0, table.strike)[:, None]
    years = ((table.expiry - market.now) / YEAR)[:, None]
    vol = market.vol[:, None]
    base = prices(spot, strike, years, rate, carry, vol, kind)
    later = prices(
        spot * np.exp(moves[column]), strike, years - elapsed / YEAR,
        rate, carry, vol * np.exp(vols[column]), kind,
    )  # fmt: skip
    return (later - base) * table.multiplier[:, None]


def tail(
    pnl: NDArray[np.float64], p: float, weights: NDArray[np.float64] | None = None
) -> tuple[float, float]:
    """(VaR, ES) by weights, by default equal: walk from the worst until weight p is used up."""
    weights = np.full(len(pnl), 1.0 / len(pnl)) if weights is None else weights
    cumulative, var, left, mean = 0.0, None, p, 0.0
    for i in np.argsort(pnl):
        value, weight = pnl[i], weights[i]
        cumulative += weight
        mean += value * min(weight, max(left, 0.0))
        left -= weight
        if var is None and cumulative >= p - 1e-9:
            var = value
    assert var is not None
    return min(0.0, var), min(0.0, mean / p)


class Oracle:
    """Measures of any book at one market."""

    def __init__(
        self,
        market: Market,
        history: FactorHistory,
        var: VarConfig,
        jumps: list[tuple[str, float, float]] | None = None,
    ) -> None:
        self.market, self.X = market, exposures(market)
        self.sizes = sizes(market, self.X)
        self.blocks = scenario_pnl(market, history, var, jumps or [])
        self.var = var

    def measures(self, quantity: NDArray[np.float64]) -> dict[str, float]:
        values = [*(quantity @ self.X), *self.tails([quantity @ block for block in self.blocks])]
        return dict(zip(MEASURES, map(float, values), strict=True))

    def equity(self, book: Portfolio) -> float:
        price = (self.market.bid + self.market.ask) / 2.0
        return float(book.cash + book.quantity @ (price * self.market.table.multiplier))

    def scopes(self, book: Portfolio) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.float64]]]:
        """Of each ticker, bucket of expiries and strategy: its instruments, its positions."""
        table = self.market.table
        days = np.where(table.kind == 0, np.inf, (table.expiry - self.market.now) / DAY)
        members = {t: table.underlying_index == u for u, t in enumerate(table.underlyings)}
        members |= {"1-7d": days <= 7.0, "7-30d": (days > 7.0) & (days <= 30.0)}
        parts = {name: (member, book.quantity) for name, member in members.items()}
        every = np.ones(len(table), dtype=bool)
        return parts | {tag: (every, part) for tag, part in book.strategies.items()}

    def ends(
        self, book: Portfolio, trades: NDArray[np.float64] | float = 0.0, strategy: str = ""
    ) -> dict[str, tuple[float, float]]:
        """Lowest and highest of each measure, whole and by scope ("vega[A]"), with the trades done
        for a strategy and whatever part of each working order that is worst."""
        out: dict[str, tuple[float, float]] = {}
        everything = (np.ones(len(book.quantity), dtype=bool), book.quantity)
        for scope, (member, part) in {"": everything, **self.scopes(book)}.items():
            moves = scope not in book.strategies or scope == strategy
            held = np.where(member, part + (trades if moves else 0.0), 0.0)
            orders = np.where(member, book.orders, 0.0)
            fills, mark = orders @ self.X, f"[{scope}]" if scope else ""
            low = held @ self.X + np.minimum(fills, 0.0).sum(axis=0)
            high = held @ self.X + np.maximum(fills, 0.0).sum(axis=0)
            size = sum(
                np.maximum(side * lots, 0.0) @ weight
                for lots in (held, *orders)
                for side, weight in zip((1.0, -1.0), self.sizes, strict=True)
            )
            names = [f"{name}{mark}" for name in (*SUMS, *SIZES)]
            ranges = zip(np.append(low, size), np.append(high, size), strict=True)
            out |= dict(zip(names, ranges, strict=True))
        worst = [
            (book.quantity + trades) @ block + np.minimum(book.orders @ block, 0.0).sum(axis=0)
            for block in self.blocks
        ]
        return out | {n: (x, x) for n, x in zip(MEASURES[11:], self.tails(worst), strict=True)}

    def tails(self, pnl: list[NDArray[np.float64]]) -> list[float]:
        """VaR and ES of each horizon and the worst jump, of P&L in the scenarios of `blocks`.

        A window of history weighs half of one that ended so many sessions later; jumps share the
        gap weight, and the worse counts of VaR with and without them, and of ES.
        """
        out: list[float] = []
        share, p, jumps = self.var.gap_weight, self.var.tail_probability, pnl[3]
        for alone in pnl[:3]:
            age = np.arange(len(alone))[::-1]
            weights = 0.5 ** (age / (self.var.decay_half_life or np.inf))
            weights /= weights.sum()
            found = [tail(alone, p, weights)]
            if share and len(jumps):
                mixed = (1.0 - share) * weights, np.full(len(jumps), share / len(jumps))
                both = np.concatenate([alone, jumps])
                found.append(tail(both, p, np.concatenate(mixed)))
            out += np.min(found, axis=0).tolist()
        return [*out, min([0.0, *jumps])]

    def scale(self, *books: NDArray[np.float64]) -> dict[str, float]:
        """How large the terms are that were added up: what rounding is relative to."""
        gross = np.sum([np.abs(book) for book in books], axis=0)
        linear = gross @ np.abs(self.X)
        worst = [float((gross @ np.abs(b)).max(initial=0.0)) for b in self.blocks]
        tails = [w for w in worst[:3] for _ in range(2)]
        of = dict(zip(MEASURES, [*map(float, linear), *tails, worst[3]], strict=True))
        return of | dict(zip(SIZES, map(float, gross @ self.sizes.max(axis=0)), strict=True))
