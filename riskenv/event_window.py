"""What a calendar and a policy say at one instant: rules in force, what they touch, what nobody
knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from riskenv.event_policy import EventRule, NeededDate
from riskenv.event_values import ActiveRule, Caution, UndatedTicker, UnknownDays, words_of
from riskenv.events import Event
from riskenv.scenarios import GapJump


class _Scoped(NamedTuple):
    """A rule in force, and what it touches: a ticker, a sector, or ("", "") everything."""

    symbol: str
    sector: str
    rule: EventRule
    share_due: float = 1.0


@dataclass(frozen=True)
class EventWindow:
    """What the calendar says at one instant.

    Attributes:
        active: rules in force before their event, in order of the events.
        upcoming: known events within the policy's report window.
        calendar_unknown: the session calendar ends before an event's time can be counted: fail
            towards caution, entries are blocked.
        cooling: rules in force after their event: tightened caps and entry blocks.
        unknown: days that no source covers, near enough for a rule to hold.
        undated: tickers without a date that the policy needs.
        needs: each needed date with the tickers that have one.
        sectors: ticker -> sector. A ticker without one belongs to every sector.
        tickers: what was asked for; None = everything.
    """

    active: tuple[ActiveRule, ...] = ()
    upcoming: tuple[Event, ...] = ()
    calendar_unknown: bool = False
    cooling: tuple[ActiveRule, ...] = ()
    unknown: tuple[UnknownDays, ...] = ()
    undated: tuple[UndatedTicker, ...] = ()
    needs: tuple[tuple[NeededDate, frozenset[str]], ...] = ()
    sectors: Mapping[str, str] = field(default_factory=lambda: {}, repr=False)
    tickers: tuple[str, ...] | None = field(default=None, repr=False)

    @cached_property
    def calm(self) -> bool:
        """Whether no rule is in force, and nothing unknown is guarded against."""
        guarded = self.calendar_unknown or self.unknown or self.undated or self.needs
        return not (self.active or self.cooling or guarded)

    @cached_property
    def ex_dividends(self) -> tuple[Event, ...]:
        """Ex-dividend dates within the report window."""
        return tuple(event for event in self.upcoming if event.event_type == "ex_dividend")

    @cached_property
    def cap_multiplier(self) -> float:
        """Factor on every cap; `cap_multipliers` says more."""
        return min((rule.cap_multiplier for rule in self._rules), default=1.0)

    @cached_property
    def block_new(self) -> bool:
        """Whether entries are blocked in anything at all."""
        return bool(self.market_blocked or self._blocked_symbols or self._blocked_sectors)

    @cached_property
    def market_blocked(self) -> bool:
        """Whether entries are blocked in everything."""
        return (
            self.calendar_unknown
            or any(not days.symbol for days in self.unknown)
            or any(not s.symbol and not s.sector for s in self._blocking)
        )

    @cached_property
    def reduce(self) -> bool:
        """Whether a book outside the tightened caps is reduced at once."""
        return any(rule.reduce for rule in self._rules)

    def reduces(self, ticker: str) -> bool:
        """Whether an event that touches a ticker has what is outside its caps reduced at once.

        Example:
            >>> rule = EventRule(event_type="earnings", sessions_before=1, reduce=True)
            >>> window = EventWindow((ActiveRule(Event("earnings", 9, 0, symbol="AAPL"), rule, 0),))
            >>> window.reduce, window.reduces("AAPL"), window.reduces("MSFT")
            (True, True, False)
        """
        return self.reduce and any(rule.reduce for rule in self._rules_on(ticker))

    @cached_property
    def hedge_gap(self) -> bool:
        """Whether a gap loss outside its cap is to be hedged; `hedged` says in what."""
        return any(s.rule.hedges for s in self._ahead)

    def hedged(self, tickers: Sequence[str]) -> NDArray[np.bool_]:
        """(U,) tickers in which protection may be bought: what an event to be hedged touches.

        Example:
            >>> rule = EventRule(event_type="earnings", sessions_before=1, action="hedge_gap",
            ...                  gap_log_return=0.1)
            >>> event = Event("earnings", 9, 0, symbol="AAPL")
            >>> EventWindow((ActiveRule(event, rule, 0),)).hedged(["AAPL", "MSFT"]).tolist()
            [True, False]
        """
        rules = [s for s in self._ahead if s.rule.hedges]
        touched = [any(self._touches(s, ticker) for s in rules) for ticker in tickers]
        return np.array(touched, dtype=bool)

    @property
    def market_share(self) -> float:
        """Share of every size to be left by now, before an event of the whole market; 1 = all."""
        return self._shares[2]

    @cached_property
    def looking_back(self) -> tuple[tuple[str, str, EventRule], ...]:
        """(symbol, sector, rule) of each event ahead whose jumps are taken from past ones, once."""
        asking = {id(rule) for rule in self._rules if rule.gap_history_days > 0}
        found = {
            (s.symbol, s.sector, id(s.rule)): (s.symbol, s.sector, s.rule)
            for s in self._ahead
            if id(s.rule) in asking
        }
        return tuple(found.values())

    def touches(self, symbol: str, sector: str, ticker: str) -> bool:
        """Whether what happens to a symbol, a sector or, both "", the market touches a ticker.

        Example:
            >>> window = EventWindow(sectors={"AAPL": "technology"})
            >>> [window.touches("", "energy", ticker) for ticker in ("AAPL", "of no known sector")]
            [False, True]
        """
        if symbol:
            return symbol == ticker
        return not sector or self.sectors.get(ticker, sector) == sector

    @cached_property
    def sizing(self) -> bool:
        """Whether a size is due in anything at all."""
        return bool(self._sized)

    @cached_property
    def jumps(self) -> tuple[GapJump, ...]:
        """Up and down jump of every event still to come, each once.

        That of a sector moves all its tickers at once, and then each of them alone. Where nobody
        said which tickers there are, it moves the whole market.
        """
        sizes = {id(r): (r.gap_log_return, r.gap_log_vol_change) for r in self._rules}
        moves = dict.fromkeys(
            (symbols, *sizes[id(s.rule)])
            for s in self._ahead
            if sizes[id(s.rule)][0] > 0.0
            for symbols in (self._moved_by(s) if s.sector else ((s.symbol,) if s.symbol else (),))
        )
        return tuple(
            GapJump(symbols, sign * size, vol)
            for symbols, size, vol in moves
            for sign in (-1.0, 1.0)
        )

    def _moved_by(self, scoped: _Scoped) -> Iterator[tuple[str, ...]]:
        """What the jump of a sector moves."""
        known = sorted(self.sectors) if self.tickers is None else self.tickers
        members = tuple(ticker for ticker in known if self._touches(scoped, ticker))
        if self.tickers is None:
            yield ()
        elif members:
            yield members
        yield from ((ticker,) for ticker in members)

    def _touches(self, what: Event | _Scoped, ticker: str) -> bool:
        return self.touches(what.symbol, what.sector, ticker)

    def cap_multipliers(
        self, names: Sequence[str], scopes: Sequence[str] = ()
    ) -> NDArray[np.float64]:
        """Factors on the caps of measures: the smallest of all rules in force.

        Args:
            names: M measures, as in `riskenv.measures.MEASURES`.
            scopes: for each of the last measures the ticker that its cap is for, "" = the book; a
                ticker's own cap is tightened by what touches that ticker alone. () = all "".

        Returns:
            (M,), above 0, at most 1, read-only.

        Example:
            >>> rule = EventRule(event_type="cpi", sessions_before=1, cap_multiplier=0.8,
            ...                  cap_multipliers={"vega": 0.5})
            >>> window = EventWindow((ActiveRule(Event("cpi", 9, 0), rule, 0),))
            >>> window.cap_multipliers(("delta", "vega")).tolist()
            [0.8, 0.5]
        """
        key = (tuple(names), tuple(scopes))
        factors = self._factors.get(key)
        if factors is None:
            everywhere = [""] * (len(names) - len(scopes))
            factors = np.array(
                [
                    self._factor(name, ticker)
                    for name, ticker in zip(names, (*everywhere, *scopes), strict=True)
                ]
            )
            factors.flags.writeable = False
            self._factors[key] = factors
        return factors

    def _factor(self, measure: str, ticker: str) -> float:
        return min((rule.factor(measure) for rule in self._rules_on(ticker)), default=1.0)

    def _rules_on(self, ticker: str) -> Sequence[EventRule]:
        """Each rule in force that touches a ticker, or any at all, once."""
        if not ticker:
            return self._rules
        rules = self._rules_by_ticker.get(ticker)
        if rules is None:
            touching = (s.rule for s in self._in_force if self._touches(s, ticker))
            rules = tuple({id(rule): rule for rule in touching}.values())
            self._rules_by_ticker[ticker] = rules
        return rules

    def size_fraction(self, ticker: str) -> float:
        """Share of a ticker's size to be left by now; 1 = all of it, 0 = it is to be flat.

        Measured from the size before the first step: 0.75, then 0.5, of the same whole.
        """
        by_symbol, by_sector, everywhere = self._shares
        share = min(everywhere, by_symbol.get(ticker, 1.0))
        if by_sector:
            own = self.sectors.get(ticker)
            shares = by_sector.values() if own is None else [by_sector.get(own, 1.0)]
            share = min(share, *shares)
        return share

    def size_fractions(self, tickers: Sequence[str]) -> NDArray[np.float64]:
        """(U,) `size_fraction` of each ticker, read-only."""
        key = tuple(tickers)
        shares = self._shares_of.get(key)
        if shares is None:
            by_symbol, by_sector, everywhere = self._shares
            if by_sector:
                shares = np.array([self.size_fraction(ticker) for ticker in key])
            else:
                shares = np.minimum([by_symbol.get(ticker, 1.0) for ticker in key], everywhere)
            shares.flags.writeable = False
            self._shares_of[key] = shares
        return shares

    def blocked(self, tickers: Sequence[str]) -> NDArray[np.bool_]:
        """(U,) tickers whose entries are blocked, by their own events or by the whole market's.

        Read-only.

        Example:
            >>> rule = EventRule(event_type="earnings", sessions_before=1, block_new=True)
            >>> event = Event("earnings", 9, 0, symbol="AAPL")
            >>> EventWindow((ActiveRule(event, rule, 0),)).blocked(["AAPL", "MSFT"]).tolist()
            [True, False]
        """
        key = tuple(tickers)
        blocked = self._blocked_of.get(key)
        if blocked is None:
            if self.market_blocked:
                blocked = np.ones(len(key), dtype=bool)
            elif self._blocked_sectors or self.needs:
                blocked = np.array([self._blocks(ticker) for ticker in key], dtype=bool)
            else:
                names = self._blocked_symbols
                blocked = np.array([ticker in names for ticker in key], dtype=bool)
            blocked.flags.writeable = False
            self._blocked_of[key] = blocked
        return blocked

    def blockers(self, ticker: str) -> tuple[str, ...]:
        """What blocks the entries of a ticker, in words; () where nothing does.

        Example:
            >>> rule = EventRule(event_type="earnings", sessions_before=1, block_new=True)
            >>> event = Event("earnings", 86_400 * 10**9, 0, symbol="AAPL")
            >>> EventWindow((ActiveRule(event, rule, 0),)).blockers("AAPL")
            ('earnings of AAPL at 1970-01-02T00:00:00Z',)
        """
        return self._named(
            held.event
            for held in (*self.active, *self.cooling)
            if held.rule.blocks and self._touches(held.event, ticker)
        ) + tuple(c.words for c in self.cautions if c.symbol in ("", ticker))

    def deadlines(self, ticker: str) -> tuple[str, ...]:
        """The events before which the size of a ticker is due now, in words."""
        return self._named(
            held.event
            for held in self.active
            if held.share_due < 1.0 and self._touches(held.event, ticker)
        )

    @staticmethod
    def _named(events: Iterable[Event]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(words_of, events)))

    @cached_property
    def cautions(self) -> tuple[Caution, ...]:
        """What is not known, and so is guarded against."""
        found = []
        if self.calendar_unknown:
            words = "the session calendar ends before the time to an event can be counted"
            found.append(Caution("calendar_unknown", "", words))
        for days in self.unknown:
            words = f"{days.event_type} not known from {days.first} to {days.last}"
            words += f": {days.reason}" if days.reason else ""
            found.append(Caution("events_unknown", days.symbol, words))
        for undated in self.undated:
            need = undated.need
            words = f"no {need.event_type} date known within {need.within_days} days"
            found.append(Caution("date_unknown", undated.ticker, words))
        return tuple(found)

    # -- what the rules touch ------------------------------------------------------------------

    @cached_property
    def _ahead(self) -> tuple[_Scoped, ...]:
        """Rules for what may still happen."""
        known = [_Scoped(a.event.symbol, a.event.sector, a.rule, a.share_due) for a in self.active]
        return (*known, *(_Scoped(u.ticker, "", rule) for u in self.undated for rule in u.rules))

    @cached_property
    def _in_force(self) -> tuple[_Scoped, ...]:
        after = [_Scoped(a.event.symbol, a.event.sector, a.rule) for a in self.cooling]
        return (*self._ahead, *after)

    @cached_property
    def _rules(self) -> tuple[EventRule, ...]:
        """Each rule in force once: there are few, however many events they hold for."""
        return tuple({id(s.rule): s.rule for s in self._in_force}.values())

    @cached_property
    def _blocking(self) -> tuple[_Scoped, ...]:
        blocking = {id(rule) for rule in self._rules if rule.blocks}
        return tuple(s for s in self._in_force if id(s.rule) in blocking)

    @cached_property
    def _blocked_symbols(self) -> frozenset[str]:
        symbols = {s.symbol for s in self._blocking if s.symbol}
        symbols |= {days.symbol for days in self.unknown if days.symbol}
        return frozenset(symbols | {undated.ticker for undated in self.undated})

    @cached_property
    def _blocked_sectors(self) -> frozenset[str]:
        return frozenset(s.sector for s in self._blocking if s.sector)

    def _blocks(self, ticker: str) -> bool:
        if self.market_blocked or ticker in self._blocked_symbols:
            return True
        if self._blocked_sectors:
            sector = self.sectors.get(ticker)
            if sector is None or sector in self._blocked_sectors:
                return True
        return any(need.asks_for(ticker) and ticker not in dated for need, dated in self.needs)

    @cached_property
    def _sized(self) -> tuple[_Scoped, ...]:
        return tuple(s for s in self._ahead if s.share_due < 1.0)

    @cached_property
    def _shares(self) -> tuple[dict[str, float], dict[str, float], float]:
        """Smallest share due by ticker, by sector, and everywhere."""
        by_symbol: dict[str, float] = {}
        by_sector: dict[str, float] = {}
        everywhere = 1.0
        for s in self._sized:
            if s.symbol:
                by_symbol[s.symbol] = min(s.share_due, by_symbol.get(s.symbol, 1.0))
            elif s.sector:
                by_sector[s.sector] = min(s.share_due, by_sector.get(s.sector, 1.0))
            else:
                everywhere = min(everywhere, s.share_due)
        return by_symbol, by_sector, everywhere

    # Answers already given: the window itself never changes.
    @cached_property
    def _factors(
        self,
    ) -> dict[tuple[tuple[str, ...], tuple[str, ...]], NDArray[np.float64]]:
        return {}

    @cached_property
    def _rules_by_ticker(self) -> dict[str, tuple[EventRule, ...]]:
        return {}

    @cached_property
    def _blocked_of(self) -> dict[tuple[str, ...], NDArray[np.bool_]]:
        return {}

    @cached_property
    def _shares_of(self) -> dict[tuple[str, ...], NDArray[np.float64]]:
        return {}
