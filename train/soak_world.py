"""Random small worlds for the soak: what is listed, what is capped, and a market that misbehaves.

A world is a pure function of (seed, number), so that any one of them can be run again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from riskenv.train.soak_oracle import (
    BUCKETS,
    DAY,
    GROSS,
    HORIZONS,
    NET,
    TAILS,
    YEAR,
    Oracle,
    SoakCap,
    Truth,
    option_values,
    pnl_of,
)

from riskenv import (
    Event,
    EventPolicy,
    EventRule,
    FactorHistory,
    Instrument,
    InstrumentTable,
    Market,
    PortfolioRiskManager,
    RiskLimits,
    Sessions,
    VarConfig,
)
from riskenv.exposures import exposures

FloatArray = NDArray[np.float64]

HOUR = DAY // 24
SECOND = HOUR // 3600
_DAYS = 260
_OPENS = np.arange(_DAYS, dtype=np.int64) * DAY + 14 * HOUR
SESSIONS = Sessions(_OPENS, _OPENS + 7 * HOUR)
KNOWN_DAYS = 140  # sessions of history when a world begins
START = int(SESSIONS.closes[KNOWN_DAYS - 1])
LAST_DAY = 12  # sessions that a world lasts at most
# No tail cap needs more than this, and it keeps a tick cheap.
VAR = VarConfig(window=100, min_scenarios=100, tail_probability=0.03)
TOKEN = "go on"
_MONEY = frozenset(
    ("dollar_delta", "dollar_gamma", "theta", "vega", "rho", "volga", "gross_dollar_delta",
     "notional", "margin", *TAILS)
)  # fmt: skip
_INDEX = 4000.0


@dataclass(frozen=True, eq=False)
class Tick:
    """One instant: what the layer is shown, what is so, and how many of its quotes are garbage."""

    shown: Market
    clean: Market
    truth: Truth
    garbage: int


class SoakWorld:
    """A random world: a manager, its caps as plain numbers, and a market that moves.

    Example:
        >>> world = SoakWorld(seed=1, number=0)
        >>> tick = world.tick()
        >>> len(tick.shown.table) == len(world.table) >= 3
        True
    """

    def __init__(self, seed: int, number: int) -> None:
        rng = self.rng = np.random.default_rng([seed, number])
        self.tickers = tuple("ABC"[: int(rng.integers(1, 4))])
        self.level = rng.uniform(20.0, 200.0, len(self.tickers)).round(2)
        future = rng.random(len(self.tickers)) < 0.2
        self.table = InstrumentTable.of(self._listed(future))
        n, u = len(self.table), len(self.tickers)
        self.tags = ("s1", "s2") if rng.random() < 0.4 else ()
        self.carry = np.where(future, 0.0, rng.choice([0.0, 0.02, -0.01], u))
        self.rate = float(rng.choice([0.0, 0.03, 0.06]))
        self.beta = rng.uniform(-0.5, 1.8, u)
        self.spot = self.level.copy()
        self.vol = np.where(self.table.kind == 0, 0.0, rng.uniform(0.1, 0.7, n))
        self.spread = float(rng.choice([0.0, 0.005, 0.03]))
        # Share of quotes that are garbage; what is Unknown and held makes an assessment dear.
        self.rough = float(rng.choice([0.0, 0.01, 0.1], p=[0.6, 0.3, 0.1]))
        self.wild = float(rng.choice([0.002, 0.02, 0.1]))  # daily jumps
        self.now, self.last = START, START + LAST_DAY * DAY
        self.timed = rng.random() < 0.3
        self.history = self._history() if rng.random() < 0.7 else None
        self.factor, self.jumps, events, policy = self._event()
        self.caps, limits = self._limits()
        self.manager = PortfolioRiskManager(
            limits,
            SESSIONS,
            history=self.history,
            var=VAR,
            events=events,
            event_policy=policy,
            cache_bytes=1 << 22,
        )

    def _listed(self, future: NDArray[np.bool_]) -> list[Instrument]:
        rng = self.rng
        listed = [Instrument(t, on_future=f) for t, f in zip(self.tickers, future, strict=True)]
        for _ in range(int(rng.integers(max(1, 3 - len(listed)), 16 - len(listed)))):
            u = int(rng.integers(len(self.tickers)))
            days = float(rng.choice([0.4, 2.0, 9.0, 45.0, 200.0]))
            listed.append(
                Instrument(
                    self.tickers[u], str(rng.choice(["C", "P"])),
                    float(np.round(self.level[u] * rng.choice([0.8, 0.9, 1.0, 1.05, 1.2]), 2)),
                    START + int(days * DAY), float(rng.choice([100.0, 50.0])),
                    exercise="american" if rng.random() < 0.06 else "european",
                    on_future=bool(future[u]),
                )
            )  # fmt: skip
        return listed

    def _history(self) -> FactorHistory:
        rng, shape = self.rng, (KNOWN_DAYS + LAST_DAY, len(self.tickers))
        moves = 0.012 * rng.standard_t(4, size=shape)
        vols = np.clip(-2.0 * moves + 0.03 * rng.normal(size=shape), -0.5, 0.5)
        return FactorHistory(self.tickers, SESSIONS.closes[: shape[0]], moves, vols)

    def _event(self) -> tuple[float, tuple[float, float], tuple[Event, ...], EventPolicy]:
        """Now and then one that holds from the world's first step to its last."""
        rng = self.rng
        if rng.random() < 0.7:
            return 1.0, (0.0, 0.0), (), EventPolicy()
        factor, jump = float(rng.choice([1.0, 0.8, 0.5])), float(rng.choice([0.0, 0.1]))
        rule = EventRule(
            event_type="cpi", sessions_before=20, cap_multiplier=factor, gap_log_return=jump,
            gap_log_vol_change=0.1 if jump else 0.0, reduce=bool(rng.random() < 0.3),
            block_new=bool(rng.random() < 0.2),
        )  # fmt: skip
        event = Event("cpi", START + (LAST_DAY + 2) * DAY, START - 30 * DAY)
        return factor, (jump, 0.1), (event,), EventPolicy(rules=(rule,))

    def _limits(self) -> tuple[list[SoakCap], RiskLimits]:
        """Caps from far too tight for a random book to loose, in a random subset of places."""
        rng, truth = self.rng, self.tick(garbage=False).truth
        everything = [
            SoakCap(measure, kind, scope, 1.0)
            for kind, scopes, measures in (
                ("", ("",), (*NET, *GROSS, *(TAILS if self.history else ()))),
                ("underlying", self.tickers, (*NET, *GROSS)),
                ("expiry", tuple(BUCKETS), (*NET, *GROSS)),
                ("strategy", self.tags, (*NET, *GROSS)),
            )
            for scope in scopes
            for measure in measures
        ]
        often = {"": rng.choice([0.1, 0.3]), "underlying": 0.05, "expiry": 0.03, "strategy": 0.1}
        chosen = [cap for cap in everything if rng.random() < often[cap.kind]]
        none = np.zeros(len(self.table), dtype=bool)
        P = self.pnl_blocks(truth, None)
        books = {tag: self.random_book() for tag in ("", *self.tags)}
        sizes = Oracle(truth, chosen, 1.0, 1.0, None, P, VAR.tail_probability, none)
        used = np.nan_to_num(np.abs(sizes.measures(books, P is not None)[0]))
        whole = np.nan_to_num(sizes.scale(books, books, P is not None))
        least = rng.choice([0.3, 1.0, 2.0], p=[0.2, 0.3, 0.5])
        amounts = least * rng.uniform(1.0, 4.0, len(chosen)) * used + 0.02 * whole + 1e-6
        caps, equity = [], 1e6
        for cap, amount in zip(chosen, amounts, strict=True):
            share = not cap.kind and cap.measure in _MONEY and rng.random() < 0.2
            caps.append(
                SoakCap(
                    cap.measure, cap.kind, cap.scope, float(amount / (equity if share else 1.0)),
                    share,
                )
            )  # fmt: skip
        told: dict[str, Any] = {
            "caps": {c.measure: c.amount for c in caps if not c.kind and not c.of_equity},
            "of_equity": {c.measure: c.amount for c in caps if c.of_equity},
            "operator_token_sha256": hashlib.sha256(TOKEN.encode()).hexdigest(),
            "dwell_sessions": int(rng.integers(0, 2)),
        }
        for kind in ("underlying", "expiry", "strategy"):
            # Where strategies are listed, all of them are.
            scopes: dict[str, dict[str, float]] = {
                tag: {} for tag in self.tags if kind == "strategy"
            }
            for cap in caps:
                if cap.kind == kind:
                    scopes.setdefault(cap.scope, {})[cap.measure] = cap.amount
            told[f"by_{kind}"] = scopes
        if rng.random() < 0.5:
            told["caps"] |= {"day_loss": 3e4, "drawdown": 1e5}
        if self.timed:
            told["quotes"] = {"max_quote_age_seconds": 60.0}
        return caps, RiskLimits(**told)

    def random_book(self) -> FloatArray:
        """(n,) signed lots in some of the instruments; shares by the hundred."""
        n = len(self.table)
        lots = self.rng.integers(-20, 21, n) * (self.rng.random(n) < 0.5)
        return np.where(self.table.kind == 0, 100.0, 1.0) * lots

    # -- the market -----------------------------------------------------------------------------

    def step(self) -> None:
        """Time passes; prices and volatilities move a little, or jump."""
        rng = self.rng
        days = rng.choice([1e-4, 0.004, 0.04, 1.0], p=[0.4, 0.3, 0.2, 0.1])
        if self.now + days * DAY >= self.last:
            days = 1e-6
        self.now += int(days * DAY)
        moves = 0.012 * np.sqrt(days) * rng.normal(size=len(self.spot))
        moves += (rng.random(len(self.spot)) < self.wild) * rng.normal(0.0, 0.15, len(self.spot))
        self.spot = np.clip(self.spot * np.exp(moves), 0.2 * self.level, 5.0 * self.level).round(4)
        shock = 0.01 * rng.normal() + (rng.random() < self.wild) * rng.normal(0.0, 0.4)
        self.vol = np.where(self.table.kind == 0, 0.0, np.clip(self.vol * np.exp(shock), 0.03, 3.0))

    def tick(self, garbage: bool = True) -> Tick:
        """What is quoted now, and what is so."""
        table, now = self.table, self.now
        n, u, ticker = len(table), len(self.tickers), table.underlying_index
        years = (table.expiry - now) / YEAR
        carry = np.where(table.on_future, self.rate, self.carry[ticker])
        mid = option_values(
            self.spot[ticker], np.where(table.kind == 0, 1.0, table.strike), years, self.rate,
            carry, self.vol, table.kind,
        )  # fmt: skip
        early = np.maximum(table.kind * (self.spot[ticker] - table.strike), 0.0)
        mid = np.where(table.american, np.maximum(mid, early), mid)
        quoted: dict[str, Any] = {
            "spot": self.spot.copy(),
            "rate": self.rate,
            "dividend_yield": self.carry,
            "bid": np.maximum(mid * (1.0 - self.spread), 0.0),
            "ask": mid * (1.0 + self.spread) + 1e-6,
            "vol": self.vol.copy(),
            "beta": self.beta.copy(),
            "beta_as_of": np.full(u, now - 20 * DAY),
            "quote_time": np.full(n, now - SECOND) if self.timed else None,
            "spot_time": np.full(u, now - SECOND) if self.timed else None,
            "index_spot": _INDEX,
        }
        clean = Market(now, table, **quoted)
        hidden, hidden_beta = years * (table.kind != 0) < 0.0, np.zeros(u, dtype=bool)
        spot, count = self.spot, 0
        if garbage and self.rough:
            spot, hidden, hidden_beta, count = self._spoil(quoted, hidden)
        shown = Market(now, table, **quoted) if count else clean
        truth = Truth(
            now, table, spot, self.vol, self.rate, self.carry, self.beta, _INDEX,
            self._american(clean, spot), 0.5 * (clean.bid + clean.ask), hidden, hidden_beta,
        )  # fmt: skip
        return Tick(shown, clean, truth, count)

    def _spoil(
        self, quoted: dict[str, Any], hidden: NDArray[np.bool_]
    ) -> tuple[FloatArray, NDArray[np.bool_], NDArray[np.bool_], int]:
        """Garbage into some quotes: (believable spot, what is hidden, hidden betas, how many)."""
        rng, table = self.rng, self.table
        u, ticker = len(self.tickers), table.underlying_index
        bad_spot, bad_beta = rng.random(u) < self.rough / 4, rng.random(u) < self.rough
        bad = rng.random(len(table)) < self.rough
        hidden, spot = hidden.copy(), self.spot.copy()
        for k in np.flatnonzero(bad_spot):
            if rng.random() < 0.3:  # believable: the layer can only take it as it comes
                spot[k] = quoted["spot"][k] = np.round(
                    spot[k] * rng.choice([0.5, 0.9, 1.1, 3.0]), 4
                )
            else:
                quoted["spot"][k] = rng.choice([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e200])
                hidden |= ticker == k
        for k in np.flatnonzero(bad_beta):
            if rng.random() < 0.5:
                quoted["beta"][k] = rng.choice([np.nan, np.inf])
            else:
                quoted["beta_as_of"][k] = self.now - 900 * DAY
        for i in np.flatnonzero(bad):
            option = bool(table.kind[i] != 0)
            kind = str(rng.choice(["bid", "ask", "crossed", "stale", "vol", "huge"]))
            if kind == "bid":
                quoted["bid"][i] = rng.choice([np.nan, np.inf, -np.inf, -0.5])
            elif kind == "ask":
                quoted["ask"][i] = rng.choice([np.nan, np.inf, -1.0, 0.0])
            elif kind == "crossed":
                quoted["bid"][i] = 1.1 * quoted["ask"][i] + 0.1
            elif kind == "stale" and self.timed:
                quoted["quote_time"][i] -= 2 * HOUR
            elif kind == "vol" and option:
                quoted["vol"][i] = rng.choice([np.nan, np.inf, -0.2, 0.0, 50.0])
            elif kind == "huge" and option and not bad_spot[ticker[i]]:
                quoted["bid"][i] = quoted["ask"][i] = 1e7
            else:
                continue
            hidden[i] = True
        bad_rate = rng.random() < 0.02 * self.rough
        if bad_rate:
            quoted["rate"] = float(rng.choice([np.nan, np.inf]))
            hidden |= True
        count = int(bad.sum() + bad_spot.sum() + bad_beta.sum()) + bad_rate
        return spot, hidden, bad_beta, count

    def _american(self, clean: Market, spot: FloatArray) -> FloatArray | None:
        """(n, 11) the layer's exposures of American options at the spot that is believed."""
        if not self.table.american.any():
            return None
        rows, n = np.flatnonzero(self.table.american), len(self.table)
        out = np.zeros((n, len(NET)))
        # No quote stands in the way: exposures come of the spot and the volatility alone.
        market = replace(clean, spot=spot, bid=np.zeros(n), ask=np.full(n, 1e9))
        out[rows] = exposures(market).X[rows]
        return out

    @cached_property
    def _sums(self) -> tuple[FloatArray, FloatArray]:
        """(D + 1, U) moves from the first day on, so that a window is a difference."""
        assert self.history is not None
        zero = np.zeros((1, len(self.tickers)))
        return (
            np.concatenate([zero, np.cumsum(self.history.log_return, axis=0)]),
            np.concatenate([zero, np.cumsum(self.history.log_vol_change, axis=0)]),
        )

    def pnl_blocks(self, truth: Truth, american: FloatArray | None) -> list[FloatArray] | None:
        """P&L of one contract, (n, S) for each horizon and for the jumps; None without history.

        Args:
            american: (n, all S) of which the rows of American options are taken.
        """
        if self.history is None:
            return None
        known = int((self.history.times <= truth.now).sum())
        moves, vols = [], []
        for h in HORIZONS:
            end = np.arange(known - VAR.window, known) + 1
            moves.append((self._sums[0][end] - self._sums[0][end - h]).T)
            vols.append((self._sums[1][end] - self._sums[1][end - h]).T)
        jump, vol = self.jumps
        signs = np.array([-1.0, 1.0]) if jump else np.zeros(0)
        moves.append(np.tile(jump * signs, (len(self.tickers), 1)))
        vols.append(np.tile(vol * np.abs(signs), (len(self.tickers), 1)))
        blocks = [
            pnl_of(truth, move, vol, h * DAY)
            for move, vol, h in zip(moves, vols, (*HORIZONS, 0), strict=True)
        ]
        if american is not None:
            rows, first = self.table.american, 0
            for block in blocks:
                block[rows] = american[rows, first : first + block.shape[1]]
                first += block.shape[1]
        return blocks


def books_of(quantity: FloatArray, strategies: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Tag -> positions, "" for all of them."""
    return {"": quantity, **strategies}
