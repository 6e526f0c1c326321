"""A soak: random actions by the million against random markets, and a second opinion on each.

Every action is an assessment and a decision on a random proposal; the book follows the decision.
`riskenv.train.soak_oracle` then says, by its own arithmetic, whether a hard cap was breached or
something Unknown was entered. Memory does not grow with the number of actions.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from riskenv.train.soak_oracle import Oracle
from riskenv.train.soak_world import TOKEN, VAR, SoakWorld, Tick, books_of
from riskenv.train.task_pool import in_processes

from riskenv import BreakerState, Portfolio, Proposal, Rung, Verdict
from riskenv.circuit_breaker import halt, resume
from riskenv.projection import closing_trades

FloatArray = NDArray[np.float64]

ACTIONS_PER_WORLD = 240
_ACTIONS_PER_TICK = 12
_WORLDS_PER_TASK = 8
_KEPT = 20  # findings told in full; counts are always complete
# Bins of a hundredth of an e-fold from 1 us up to 3 s.
_BINS, _PER_E = 1500, 100.0


def _no_times() -> NDArray[np.int64]:
    return np.zeros(_BINS, dtype=np.int64)


@dataclass
class SoakTally:
    """What was seen so far; two are added with `add`.

    Attributes:
        actions, worlds: how many.
        breaches: active breaches of hard caps, entries in what is Unknown among them.
        failures: calls that raised, and decisions that no rule allows.
        not_judged: actions with a leg in what is Unknown, of which only that it shrinks is judged.
        trades: actions that changed the book; garbage: quotes that were garbage.
        verdicts, rungs: name -> actions.
        findings: the first breaches and failures in words, each with its world and action.
        assess_times, decide_times: histograms of microseconds, in logarithmic bins.

    Example:
        >>> tally = SoakTally()
        >>> for us in (10.0, 11.0, 12.0): tally.timed(tally.assess_times, us)
        >>> round(tally.quantile(tally.assess_times, 0.5))
        11
    """

    actions: int = 0
    worlds: int = 0
    breaches: int = 0
    failures: int = 0
    not_judged: int = 0
    trades: int = 0
    garbage: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    rungs: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    assess_times: NDArray[np.int64] = field(default_factory=_no_times)
    decide_times: NDArray[np.int64] = field(default_factory=_no_times)

    @property
    def passed(self) -> bool:
        """Something was done, and nothing was found."""
        return self.actions > 0 and not self.breaches and not self.failures

    def timed(self, histogram: NDArray[np.int64], microseconds: float) -> None:
        place = int(_PER_E * np.log(max(microseconds, 1.0)))
        histogram[min(place, _BINS - 1)] += 1

    @staticmethod
    def quantile(histogram: NDArray[np.int64], q: float) -> float:
        """Microseconds, to half a percent; NaN of nothing."""
        if not histogram.any():
            return float("nan")
        place = int(np.searchsorted(np.cumsum(histogram), q * histogram.sum()))
        return float(np.exp((place + 0.5) / _PER_E))

    def found(self, words: str) -> None:
        if len(self.findings) < _KEPT:
            self.findings.append(words)

    def add(self, other: SoakTally) -> None:
        for name in (
            "actions", "worlds", "breaches", "failures", "not_judged", "trades", "garbage",
            "verdicts", "rungs", "assess_times", "decide_times",
        ):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.findings = (self.findings + other.findings)[:_KEPT]


def soak(
    actions: int,
    seed: int = 1,
    jobs: int = 1,
    every: float = 30.0,
    told: Callable[[SoakTally, float], None] | None = None,
) -> SoakTally:
    """Run this many actions in worlds of `ACTIONS_PER_WORLD`.

    The worlds, and so every count, are the same for any number of jobs.

    Args:
        seed: of all worlds; jobs: processes.
        every: seconds between calls of `told`(what was seen so far, seconds since the start).

    Raises:
        ValueError: actions, jobs or every below 1 (0 for every).
    """
    for name, value, least in (("actions", actions, 1), ("jobs", jobs, 1), ("every", every, 0.0)):
        if not value >= least:
            raise ValueError(f"{name}: got {value}; allowed: {least} or more")
    tally, start = SoakTally(), time.monotonic()
    last = start
    for part in _parts(actions, seed, jobs):
        tally.add(part)
        if told is not None and time.monotonic() - last >= every:
            last = time.monotonic()
            told(tally, last - start)
    return tally


def _parts(actions: int, seed: int, jobs: int) -> Iterator[SoakTally]:
    """The tallies of a few worlds each, as they come."""
    worlds = -(-actions // ACTIONS_PER_WORLD)
    tasks = (
        (seed, first, min(first + _WORLDS_PER_TASK, worlds), actions)
        for first in range(0, worlds, _WORLDS_PER_TASK)
    )
    yield from in_processes(_task, tasks, jobs)


def _task(seed: int, first: int, stop: int, actions: int) -> SoakTally:
    tally = SoakTally()
    for number in range(first, stop):
        soak_world(
            seed, number, tally, min(ACTIONS_PER_WORLD, actions - number * ACTIONS_PER_WORLD)
        )
    return tally


def soak_world(
    seed: int,
    number: int,
    tally: SoakTally,
    actions: int = ACTIONS_PER_WORLD,
    manager_of: Callable[[SoakWorld], Any] = lambda world: world.manager,
) -> None:
    """Run one world and add what is seen to `tally`.

    Args:
        manager_of: what decides in the world; a test puts another one in its place.

    Example:
        >>> tally = SoakTally()
        >>> soak_world(1, 0, tally, actions=24)
        >>> tally.actions, tally.breaches, tally.failures
        (24, 0, 0)
    """
    tally.worlds += 1
    run = _Run(SoakWorld(seed, number), tally, manager_of)
    for step in range(actions):
        if step % _ACTIONS_PER_TICK == 0:
            run.next_tick()
        tally.actions += 1
        try:
            found = run.act()
        except Exception as error:  # whatever it is, it is counted, told, and fails the soak
            tally.failures += 1
            tally.found(f"world {number}, action {step}: {type(error).__name__}: {error}")
            return
        for words in found:
            tally.found(f"world {number}, action {step}: {words}")


class _Run:
    """One world under way: the book, the breaker's state, and the tick at hand."""

    def __init__(
        self, world: SoakWorld, tally: SoakTally, manager_of: Callable[[SoakWorld], Any]
    ) -> None:
        self.world, self.tally, self.rng = world, tally, world.rng
        self.manager = manager_of(world)
        self.state = BreakerState()
        parts = {tag: world.random_book() for tag in world.tags}
        rest = world.random_book()
        self.parts = parts
        self.quantity: FloatArray = np.sum([rest, *parts.values()], axis=0)
        self.cash = 1e6
        self.working: FloatArray | None = None
        self.flow = 0.0
        self.tick: Tick
        self.oracle: Oracle | None = None

    def next_tick(self) -> None:
        """The market moves on; orders, cash, halts and expiries with it."""
        world, rng = self.world, self.rng
        world.step()
        self.tick, self.oracle = world.tick(), None
        self.tally.garbage += self.tick.garbage
        self.flow = float(rng.normal(0.0, 5e4)) if rng.random() < 0.1 else 0.0
        self.cash += self.flow
        if rng.random() < 0.3:
            orders = [world.random_book() * (rng.random() < 0.8) for _ in range(rng.integers(3))]
            self.working = np.stack(orders) if orders else None
        over = (world.table.kind != 0) & (world.table.expiry <= world.now)
        if self.working is not None:
            self.working = np.where(over, 0.0, self.working)  # they lapse
        if rng.random() < 0.95:  # settled; else the position is still listed
            self.quantity = np.where(over, 0.0, self.quantity)
            self.parts = {tag: np.where(over, 0.0, q) for tag, q in self.parts.items()}
        if rng.random() < 0.02:
            self.state = halt(self.state, "soak")
        elif self.state.rung == Rung.HALTED and rng.random() < 0.4:
            self.state = resume(self.state, TOKEN, world.manager.limits, "soak", rebase=True)

    def act(self) -> list[str]:
        """One assessment and decision; what is wrong with it, in words."""
        tally, shown = self.tally, self.tick.shown
        book = Portfolio(self.world.table, self.quantity, self.cash, self.parts, self.working)
        start = time.perf_counter_ns()
        self.state, assessment = self.manager.assess(self.state, book, shown, self.flow)
        tally.timed(tally.assess_times, (time.perf_counter_ns() - start) * 1e-3)
        self.flow = 0.0
        proposal = self._proposal(book, assessment)
        start = time.perf_counter_ns()
        self.state, decision = self.manager.decide(self.state, assessment, proposal)
        tally.timed(tally.decide_times, (time.perf_counter_ns() - start) * 1e-3)
        tally.verdicts[decision.verdict.name] += 1
        tally.rungs[decision.rung.name] += 1
        return self._judged(book, assessment, proposal, decision)

    def _judged(self, book: Portfolio, assessment: Any, proposal: Proposal, d: Any) -> list[str]:
        tally, trade = self.tally, np.array(d.trades)
        refused = []
        if d.verdict is Verdict.ALLOW and not _same(trade, proposal.trades[proposal.asked]):
            refused.append("ALLOW of another trade than the one asked for")
        if d.active or any(r.code == "least_violating" for r in d.reasons):
            refused.append(f"reported as an active breach: {d.active}, {d.reasons}")
        tally.failures += len(refused)
        if not trade.any():
            return refused
        if d.rung == Rung.HALTED:
            refused.append(f"a trade while halted: {trade}")
            tally.failures += 1
        X = assessment.matrices.X[assessment.matrices.rows, 0]
        unseen = np.isnan(X)
        tally.not_judged += bool((trade[unseen] != 0.0).any())
        tally.trades += 1
        if self.oracle is None or not self._current(book):
            self.oracle = self._oracle(assessment, book, unseen)
        breaches = list(
            self.oracle.breaches(books_of(self.quantity, self.parts), trade, proposal.strategy)
        )
        tally.breaches += len(breaches)
        if np.isfinite(trade).all():
            self.quantity = self.quantity + trade
            if proposal.strategy:
                self.parts = {
                    **self.parts,
                    proposal.strategy: self.parts[proposal.strategy] + trade,
                }
            value = self.tick.clean.value
            self.cash -= float(np.nansum(np.where(trade != 0.0, trade * value, 0.0)))
        return refused + breaches

    def _current(self, book: Portfolio) -> bool:
        """Whether the oracle's caps are those of this book: shares of equity move with it."""
        return not any(cap.of_equity for cap in self.world.caps)

    def _oracle(self, assessment: Any, book: Portfolio, unseen: NDArray[np.bool_]) -> Oracle:
        world, tick = self.world, self.tick
        american = None
        if world.table.american.any():
            american = assessment.matrices.P[assessment.matrices.rows]
        with np.errstate(all="ignore"):
            return Oracle(
                tick.truth, world.caps, world.factor, self._equity(book), self.working,
                world.pnl_blocks(tick.truth, american), VAR.tail_probability,
                unseen,
            )  # fmt: skip

    def _equity(self, book: Portfolio) -> float:
        """Cash and positions at the mid that is shown; NaN where a held one has none."""
        shown, held = self.tick.shown, book.quantity != 0.0
        with np.errstate(all="ignore"):
            mid = 0.5 * (shown.bid + shown.ask)
            sound = (shown.bid >= 0.0) & (shown.ask > 0.0) & (shown.ask < np.inf)
            sound &= shown.bid <= shown.ask
        table = self.world.table
        future = table.on_future & (table.kind == 0)  # worth nothing, whatever its quote
        value = np.where(future, 0.0, table.multiplier * mid)
        sound = future | (sound & ((table.kind == 0) | (table.expiry > shown.now)))
        if not sound[held].all():
            return float("nan")
        return book.cash + float(book.quantity[held] @ value[held])

    # -- what is asked for ----------------------------------------------------------------------

    def _proposal(self, book: Portfolio, assessment: Any) -> Proposal:
        """A menu with a row that does nothing, a menu of reductions, or a free trade."""
        rng, n = self.rng, len(self.world.table)
        strategy = str(rng.choice(["", *self.world.tags])) if self.world.tags else ""
        kind = rng.random()
        if kind < 0.1:
            trade = self._trades(1)[0]
            asked: Proposal = self.world.manager.propose(
                assessment, np.clip(trade, -8.0, 8.0), strategy
            )
            return asked
        rows = self._trades(int(rng.integers(1, 16)))
        forced = None
        if kind < 0.35:
            closes = closing_trades(book.quantity, self.tick.shown)
            closes = closes[rng.integers(0, len(closes), len(rows))]
            forced = closes
            alone = rng.random((len(rows), 1)) < 0.7
            rows = closes + np.where(alone, 0.0, rows)
            if rng.random() < 0.2:
                forced = None
        elif kind < 0.38:
            bad = [np.nan, np.inf, -np.inf, 1e300, 1e15]
            rows[int(rng.integers(len(rows))), int(rng.integers(n))] = rng.choice(bad)
        place = int(rng.integers(len(rows) + 1))
        rows = np.insert(rows, place, 0.0, axis=0)
        if forced is not None:
            forced = np.insert(forced, place, 0.0, axis=0)
        return Proposal(rows, int(rng.integers(len(rows))), forced, strategy)

    def _trades(self, rows: int) -> FloatArray:
        """(rows, n) trades of one to four legs, from a lot to far beyond any cap."""
        rng, n = self.rng, len(self.world.table)
        size = (rows, n)
        legs = rng.random(size) < rng.choice([1.0, 2.0, 4.0], (rows, 1)) / n
        lots = rng.integers(-9, 10, size) * 10.0 ** rng.integers(-1, 2, (rows, 1))
        lots = np.where(rng.random((rows, 1)) < 0.1, lots, np.trunc(lots))
        lots = np.where(self.world.table.kind == 0, 20.0, 1.0) * lots
        return np.asarray(np.where(legs, lots, 0.0)) + 0.0


def _same(a: FloatArray, b: FloatArray) -> bool:
    return bool(((a == b) | (np.isnan(a) & np.isnan(b))).all())
