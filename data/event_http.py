"""Events from an HTTP endpoint: fresh, or from a cache and flagged, or plainly down."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from riskenv.data.event_cache import Answer, AnswerCache
from riskenv.data.event_mapping import ParsedEvents, PayloadError, parse_events
from riskenv.data.event_request import HttpEventsConfig, NoAnswerError, Requester
from riskenv.data.event_sources import Coverage, SourceDownError, SourceState
from riskenv.data.event_times import local_date

from riskenv.events import Event
from riskenv.instruments import NS_PER_SECOND


class HttpEvents:
    """An HTTP endpoint as a provider of events.

    Every call gives events, fresh or flagged stale, or raises `SourceDownError`: never silence. A
    fresh answer is cached on disk, whole or not at all; one that cannot be read is not. Where some
    records cannot be read the others are kept, and nothing counts as covered.

    Args:
        config: the endpoint.
        cache_dir: folder of the cached answers; None = no cache.
        exchange: whose sessions "before_open" and "after_close" mean.
        clock: ns UTC now. sleep: waits, in seconds. environ: where "${NAME}" is looked up.
    """

    def __init__(
        self,
        config: HttpEventsConfig,
        cache_dir: str | Path | None = None,
        exchange: str = "XNYS",
        clock: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], None] = time.sleep,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.config = config
        self.exchange = exchange
        self._cache: AnswerCache | None = None
        if cache_dir is not None:
            self._cache = AnswerCache(Path(cache_dir) / _cache_name(config))
        self._clock = clock
        self._requester = Requester(config, clock, sleep, environ)
        self._state = SourceState(config.name, "down", reason="not asked yet")
        self._down_since: int | None = None

    @property
    def name(self) -> str:
        """The source's name."""
        return self.config.name

    def state(self) -> SourceState:
        """What the last call of `events` was worth."""
        return self._state

    def events(self, first: datetime.date, last: datetime.date) -> tuple[Event, ...]:
        """Events from the first to the last New York day.

        Raises:
            SourceDownError: no answer, and no cached one that is young enough.
        """
        cached = None if self._cache is None else self._cache.read()
        if cached is not None and self._age_s(cached) <= self.config.fresh_s:
            whole = cached.first <= first and last <= cached.last
            parsed = self._parse(cached, first, last) if whole else None
            if parsed is not None and not parsed.problems:
                return self._accept(cached, parsed, first, last)
        try:
            text = self._requester.ask(first, last)
            parsed = parse_events(
                text, self.config.mapping, self.name, self.exchange, (first, last)
            )
        except (NoAnswerError, PayloadError) as error:
            return self._fall_back(cached, str(error), first, last)
        self._down_since = None
        answer = Answer(text, self._clock(), first, last)
        if self._cache is not None and not parsed.problems:
            self._cache.write(answer)
        return self._accept(answer, parsed, first, last)

    # --- what to make of an answer ----------------------------------------------------------------

    def _accept(
        self,
        answer: Answer,
        parsed: ParsedEvents,
        first: datetime.date,
        last: datetime.date,
        stale_reason: str = "",
    ) -> tuple[Event, ...]:
        horizon = local_date(answer.fetched_at) + datetime.timedelta(days=self.config.horizon_days)
        start, end = max(first, answer.first), min(last, answer.last, horizon)
        coverage = tuple(
            Coverage(event_type, start, end, self.config.covers_symbols)
            for event_type in self.config.covers
            if start <= end
        )
        reasons = [stale_reason] if stale_reason else []
        if parsed.problems:
            shown = "; ".join(parsed.problems[:5])
            reasons.append(f"{len(parsed.problems)} records could not be read: {shown}")
        self._state = SourceState(
            self.name,
            "partial" if parsed.problems else "stale" if stale_reason else "fresh",
            answer.fetched_at,
            () if parsed.problems else coverage,
            self._down_since,
            "; ".join(reasons),
        )
        return parsed.events

    def _fall_back(
        self, cached: Answer | None, reason: str, first: datetime.date, last: datetime.date
    ) -> tuple[Event, ...]:
        if self._down_since is None:
            self._down_since = self._clock()
        if cached is not None and self._age_s(cached) <= self.config.stale_s:
            parsed = self._parse(cached, first, last)
            if parsed is not None:
                return self._accept(cached, parsed, first, last, stale_reason=reason)
        self._state = SourceState(
            self.name,
            "down",
            None if cached is None else cached.fetched_at,
            (),
            self._down_since,
            reason,
        )
        raise SourceDownError(self._state)

    def _parse(
        self, cached: Answer, first: datetime.date, last: datetime.date
    ) -> ParsedEvents | None:
        """A cached answer's events; None where the mapping no longer fits it."""
        try:
            return parse_events(
                cached.text, self.config.mapping, self.name, self.exchange, (first, last)
            )
        except PayloadError:
            return None

    def _age_s(self, answer: Answer) -> float:
        """Seconds since an answer came; infinite for one from the future: the clock went back."""
        age = (self._clock() - answer.fetched_at) / NS_PER_SECOND
        return age if age >= 0.0 else float("inf")


def _cache_name(config: HttpEventsConfig) -> str:
    """One file an endpoint: another URL or query is another file, another mapping is not."""
    asked = json.dumps([config.url, config.params, config.headers], sort_keys=True)
    return f"{config.name}-{hashlib.sha256(asked.encode()).hexdigest()[:16]}.json"
