"""From what an env really held to what the auditor reads. Nothing here asks the risk layer.

Caps, event windows and scenarios are put together again from the configuration's numbers and the
market's arrays in plain loops, so that the audit is a second opinion on those too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from riskenv.train.auditor import GAP, AuditedContract, AuditedStep, HorizonShocks
from riskenv.train.demo_config import DemoConfig
from riskenv.train.options_env import OptionsTradingEnv

from riskenv.events import Event
from riskenv.gap_risk_monitor import EventRule
from riskenv.instruments import Instrument

_NS_PER_YEAR = 365 * 86_400 * 10**9
# Measures whose cap binds on the losing side only.
_ONE_SIDED = ("theta", "var_1d", "es_1d", "var_3d", "es_3d", "var_5d", "es_5d", "gap_loss")
_ACCOUNT = ("day_loss", "drawdown")
_IMPORTANCE = {"low": 0, "medium": 1, "high": 2}


class AuditTrail:
    """Writes `AuditedStep`s for one market and configuration.

    Args:
        env: any env over the market history in question.
        config: whose caps, event rules and VaR window apply.
        events: the calendar, of events of the whole market.

    Raises:
        ValueError: an event of one ticker or sector.
    """

    def __init__(self, env: OptionsTradingEnv, config: DemoConfig, events: Sequence[Event]) -> None:
        for event in events:
            if event.symbol or event.sector:
                raise ValueError(f"events: got {event}; allowed: events of the whole market")
        self._history = env.market
        self._config = config
        self._events = events
        self._closes = [int(close) for close in env.market.future_sessions.closes]
        self._row = {int(close): row for row, close in enumerate(env.market.sessions.closes)}
        self._spot = np.asarray(env.market.spot)
        moves = env.market.factor_history()
        # A day on which the source of the volatility changes is no move: NaN in the history.
        self._vol_moves = np.asarray(moves.log_vol_change)
        # Pure in the close, and episodes pass one many times: this many are kept.
        self._close = lru_cache(maxsize=1 << 13)(self._caps_and_shocks)
        self._vol = lru_cache(maxsize=1 << 17)(self._vol_of)

    def step(self, env: OptionsTradingEnv) -> AuditedStep:
        """The step just taken: the env's ledger, at the market of the decision.

        Prices and volatilities are read from the market history again, and not from the snapshot
        that the layer was given, so that a wrong snapshot is no common fault.
        """
        trade, history = env.last_trade, self._history
        day = self._row[trade.now]
        tickers = history.underlyings

        contracts = tuple(
            AuditedContract(
                underlying=i.underlying,
                right=i.right,
                strike=i.strike,
                years=(i.expiry - trade.now) / _NS_PER_YEAR,
                multiplier=i.multiplier,
                vol=self._vol(day, i) if i.is_option else 0.0,
                before=trade.before.get(i, 0.0),
                after=trade.after_trade.get(i, 0.0),
            )
            for i in dict.fromkeys([*trade.before, *trade.after_trade])
        )
        caps, shocks = self._close(trade.now)
        return AuditedStep(
            time=str(np.datetime64(trade.now, "ns").astype("datetime64[m]")),
            spot=dict(zip(tickers, map(float, self._spot[day]), strict=True)),
            rate=float(history.rate),
            dividend_yield=dict(zip(tickers, map(float, history.dividend_yield), strict=True)),
            contracts=contracts,
            caps=caps,
            shocks=shocks,
        )

    def _vol_of(self, day: int, i: Instrument) -> float:
        now = int(self._history.sessions.closes[day])
        years = np.array([(i.expiry - now) / _NS_PER_YEAR])
        underlying = self._history.underlyings.index(i.underlying)
        return float(self._history.implied_vol(day, underlying, np.array([i.strike]), years)[0])

    def _caps_and_shocks(
        self, now: int
    ) -> tuple[dict[str, tuple[float, float]], dict[int, HorizonShocks]]:
        """What is in force at a close, and the scenarios of each horizon."""
        active = self._rules_before(now)
        caps = self._caps([*active, *self._rules_after(now)])
        shocks = self._horizons(now)
        jumps = [rule for rule in active if rule.gap_log_return > 0.0]
        if jumps:
            shocks[GAP] = self._gap(jumps)
        else:
            caps.pop("gap_loss", None)
        return caps, shocks

    def _rules_before(self, now: int) -> list[EventRule]:
        """Rules of known events with fewer closes left before them than the rule asks for."""
        active: list[EventRule] = []
        for event in self._events:
            if not (event.known_at <= now <= event.time < now + 40 * 86_400 * 10**9):
                continue
            if event.withdrawn_at is not None and event.withdrawn_at <= now:
                continue
            for rule in self._rules_of(event):
                # What has to be traded by a close is due ahead of it.
                sized = rule.action == "flatten" or rule.reduce_to < 1.0
                lead = rule.lead_minutes * 60 * 10**9 if sized else 0
                left = sum(1 for close in self._closes if now < close - lead and close < event.time)
                if left < rule.sessions_before:
                    active.append(rule)
        return active

    def _rules_after(self, now: int) -> list[EventRule]:
        """Rules that tighten caps for some closes after an event that was not called off."""
        return [
            rule
            for event in self._events
            if event.time < now < event.time + 40 * 86_400 * 10**9 and event.withdrawn_at is None
            for rule in self._rules_of(event)
            if sum(1 for close in self._closes if event.time < close < now) < rule.sessions_after
        ]

    def _rules_of(self, event: Event) -> list[EventRule]:
        return [
            rule
            for rule in self._config.event_policy.rules
            if rule.event_type == event.event_type
            and _IMPORTANCE[event.importance] >= _IMPORTANCE[rule.importance]
        ]

    def _caps(self, rules: Sequence[EventRule] = ()) -> dict[str, tuple[float, float]]:
        caps = {}
        for name, cap in self._config.limits.caps.model_dump(exclude_none=True).items():
            if name not in _ACCOUNT:
                factors = [min(r.cap_multiplier, r.cap_multipliers.get(name, 1.0)) for r in rules]
                tight = cap * min(factors, default=1.0)
                caps[name] = (-tight, np.inf if name in _ONE_SIDED else float(tight))
        return caps

    def _horizons(self, now: int) -> dict[int, HorizonShocks]:
        """Moves over the last `window` sessions, from closes and volatilities."""
        day = self._row[now]
        return {
            days: self._moves(day, days)
            for days in (1, 3, 5)
            if any(name.endswith(f"_{days}d") for name in self._caps())
        }

    def _moves(self, day: int, days: int) -> HorizonShocks:
        log_spot = np.log(self._spot)
        returns, vols = [], []
        for end in range(day - self._config.var.window + 1, day + 1):
            moved = self._vol_moves[end - days + 1 : end + 1]
            if np.isfinite(moved).all():
                returns.append(log_spot[end] - log_spot[end - days])
                vols.append(moved.sum(axis=0))
        close = self._closes.index(int(self._history.sessions.closes[day]))
        return HorizonShocks(
            self._by_ticker(np.array(returns)),
            self._by_ticker(np.array(vols)),
            (self._closes[close + days] - self._closes[close]) / _NS_PER_YEAR,
        )

    def _gap(self, rules: Sequence[EventRule]) -> HorizonShocks:
        signed = [(sign, rule) for rule in rules for sign in (-1.0, 1.0)]
        jumps = np.array([[sign * rule.gap_log_return] for sign, rule in signed])
        vols = np.array([[rule.gap_log_vol_change] for _, rule in signed])
        width = len(self._history.underlyings)
        return HorizonShocks(
            self._by_ticker(np.repeat(jumps, width, axis=1)),
            self._by_ticker(np.repeat(vols, width, axis=1)),
            0.0,
        )

    def _by_ticker(self, columns: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {ticker: columns[:, u] for u, ticker in enumerate(self._history.underlyings)}
