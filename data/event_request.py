"""One question to an HTTP endpoint that answers in JSON: bounded in time, size, tries and rate."""

from __future__ import annotations

import datetime
import email.utils
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import httpx
from pydantic import Field
from riskenv.data.event_mapping import EventMapping

from riskenv.config import Config
from riskenv.instruments import NS_PER_SECOND

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_JSON_TYPES = re.compile(r"^(application|text)/([a-z0-9.+-]+\+)?json\s*(;|$)", re.IGNORECASE)
_LONGEST_WAIT_S = 86_400.0  # whatever a server asks for, it is asked again after a day
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


class HttpEventsConfig(Config):
    """An HTTP endpoint and how to treat it.

    Attributes:
        name: the source's name.
        url: http or https. "{first}" and "{last}" stand for the dates asked for, in ISO form, here
            and in `params`.
        params, headers: sent with the request. "${NAME}" stands for an environment variable, so
            that no key lies in a file; it is put in at the last moment and never written anywhere.
        mapping: what the answer means.
        covers: event types of which the endpoint lists every event for the days asked; others it
            may know, but their absence says nothing.
        covers_symbols: the underlyings for which `covers` holds; () = all.
        horizon_days: how far ahead it knows, in days; nothing is claimed beyond.
        timeout_s: for connecting, for each read, and for the body of the answer as a whole.
        attempts: tries per call.
        backoff_s, backoff_max_s: wait before the second try, doubled each time up to the maximum. A
            server that asks (Retry-After) for longer than the maximum is not asked before then.
        min_interval_s: least time between two requests.
        fresh_s: a cached answer younger than this is used without asking.
        stale_s: a cached answer younger than this is used, flagged, when the endpoint fails.
        max_bytes: largest answer read.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    url: str = Field(pattern=r"^https?://[^\s]+$")
    params: dict[str, str] = {}
    headers: dict[str, str] = {}
    mapping: EventMapping
    covers: tuple[str, ...] = ()
    covers_symbols: tuple[str, ...] = ()
    horizon_days: int = Field(default=30, ge=0, le=1000)
    timeout_s: float = Field(default=10.0, gt=0.0, le=120.0)
    attempts: int = Field(default=3, ge=1, le=10)
    backoff_s: float = Field(default=1.0, gt=0.0, le=60.0)
    backoff_max_s: float = Field(default=30.0, gt=0.0, le=600.0)
    min_interval_s: float = Field(default=1.0, ge=0.0, le=3600.0)
    fresh_s: float = Field(default=3600.0, ge=0.0)
    stale_s: float = Field(default=86400.0, ge=0.0)
    max_bytes: int = Field(default=5_000_000, ge=1, le=100_000_000)


class NoAnswerError(RuntimeError):
    """A try that failed; `wait_s` is what the server asked for, None if trying again is no use."""

    def __init__(self, reason: str, wait_s: float | None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Requester:
    """Asks one endpoint, and remembers when it may be asked again.

    Args:
        config: the endpoint.
        clock: ns UTC now. sleep: waits, in seconds. environ: where "${NAME}" is looked up.
    """

    def __init__(
        self,
        config: HttpEventsConfig,
        clock: Callable[[], int],
        sleep: Callable[[float], None],
        environ: Mapping[str, str],
    ) -> None:
        self.config = config
        self._clock = clock
        self._sleep = sleep
        self._environ = environ
        self._asked_at: int | None = None
        self._not_before: int | None = None

    def ask(self, first: datetime.date, last: datetime.date) -> str:
        """The text of an answer, after as many tries as are allowed.

        Raises:
            NoAnswerError: none.
        """
        config = self.config
        wait_s = config.backoff_s
        for attempt in range(1, config.attempts + 1):
            if self._not_before is not None and self._clock() < self._not_before:
                seconds = (self._not_before - self._clock()) / NS_PER_SECOND
                raise NoAnswerError(f"asked to wait {seconds:.0f} s more", None)
            self._keep_interval()
            try:
                return self._request(first, last)
            except NoAnswerError as error:
                asked_s = error.wait_s
                if asked_s is None or asked_s > config.backoff_max_s or attempt == config.attempts:
                    if asked_s:
                        self._not_before = self._clock() + round(asked_s * NS_PER_SECOND)
                    raise NoAnswerError(f"{error} (try {attempt})", None) from error
                self._sleep(max(asked_s, min(wait_s, config.backoff_max_s)))
                wait_s *= 2.0
        raise AssertionError("attempts >= 1")

    def _keep_interval(self) -> None:
        if self._asked_at is not None:
            gone = (self._clock() - self._asked_at) / NS_PER_SECOND
            if 0.0 <= gone < self.config.min_interval_s:
                self._sleep(self.config.min_interval_s - gone)
        self._asked_at = self._clock()

    def _request(self, first: datetime.date, last: datetime.date) -> str:
        """One try. Reasons name no URL, which may hold a key.

        Raises:
            NoAnswerError: whatever went wrong.
        """
        config = self.config
        url = self._fill(_dated(config.url, first, last))
        params = {k: self._fill(_dated(v, first, last)) for k, v in config.params.items()}
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        headers |= {key: self._fill(value) for key, value in config.headers.items()}
        try:
            with (
                _queries_unlogged(),
                httpx.Client(timeout=config.timeout_s) as client,
                client.stream("GET", url, params=params or None, headers=headers) as response,
            ):
                return self._read(response)
        except httpx.TimeoutException:
            raise NoAnswerError(f"no answer within {config.timeout_s:g} s", 0.0) from None
        except httpx.TransportError as error:
            raise NoAnswerError(f"connection failed: {type(error).__name__}", 0.0) from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, ValueError) as error:
            raise NoAnswerError(f"cannot be asked: {type(error).__name__}", None) from None

    def _read(self, response: httpx.Response) -> str:
        config = self.config
        status = response.status_code
        if status != 200:
            wait_s = self._retry_after(response) if status in _RETRIED else None
            raise NoAnswerError(f"answered {status}", wait_s)
        kind = response.headers.get("content-type", "")
        if not _JSON_TYPES.match(kind):
            raise NoAnswerError(f"answered {kind[:60]!r}; allowed: application/json", None)
        body = bytearray()
        started = self._clock()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > config.max_bytes:
                raise NoAnswerError(f"answered more than {config.max_bytes} bytes", None)
            # A read's time-out begins anew with every byte that drips in.
            if self._clock() - started > config.timeout_s * NS_PER_SECOND:
                raise NoAnswerError(f"no whole answer within {config.timeout_s:g} s", 0.0)
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError:
            raise NoAnswerError("answered bytes that are not UTF-8", None) from None

    def _retry_after(self, response: httpx.Response) -> float:
        """Seconds that the server asks to wait (RFC 9110, section 10.2.3); 0 where it does not."""
        sent = response.headers.get("retry-after", "").strip()
        if sent.isdecimal():
            return min(float(sent), _LONGEST_WAIT_S)
        try:
            until = email.utils.parsedate_to_datetime(sent)
        except ValueError:
            return 0.0
        if until.tzinfo is None:
            until = until.replace(tzinfo=datetime.UTC)
        wait_s = until.timestamp() - self._clock() / NS_PER_SECOND
        return min(max(0.0, wait_s), _LONGEST_WAIT_S)

    def _fill(self, text: str) -> str:
        """Puts in environment variables.

        Raises:
            NoAnswerError: one is not set; its name is said, never a value.
        """

        def look_up(found: re.Match[str]) -> str:
            value = self._environ.get(found[1], "")
            if not value:
                raise NoAnswerError(f"environment variable {found[1]} is not set", None)
            return value

        return _VARIABLE.sub(look_up, text)


def _dated(text: str, first: datetime.date, last: datetime.date) -> str:
    return text.replace("{first}", first.isoformat()).replace("{last}", last.isoformat())


class _WithoutQuery(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                "(url)" if isinstance(arg, httpx.URL) else arg for arg in record.args
            )
        return True


@contextmanager
def _queries_unlogged() -> Iterator[None]:
    """httpx logs each request's URL, and a query may hold a key."""
    logger, shortened = logging.getLogger("httpx"), _WithoutQuery()
    logger.addFilter(shortened)
    try:
        yield
    finally:
        logger.removeFilter(shortened)
