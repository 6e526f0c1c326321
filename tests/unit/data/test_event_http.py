"""An endpoint in every mood: the answer is fresh, flagged stale, or plainly down."""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from riskenv.data import (
    EventProvider,
    HttpEvents,
    HttpEventsConfig,
    SourceDownError,
    gather_events,
)
from riskenv.data.event_cache import Answer, AnswerCache

from riskenv.config import ConfigError, load_config

D = datetime.date
WEEK = D(2025, 10, 20), D(2025, 10, 26)
NOW = 1_760_961_600 * 10**9  # 2025-10-20T12:00Z
GOOD = json.dumps({"rows": [{"d": "2025-10-24T08:30:00-04:00"}]}).encode()
OTHER = json.dumps({"rows": [{"d": "2025-10-23T08:30:00-04:00"}]}).encode()
HALF_READ = json.dumps({"rows": [{"d": "2025-10-24T08:30:00-04:00"}, {"d": "soon"}]}).encode()

Reply = Callable[[BaseHTTPRequestHandler], None]


def reply(status: int = 200, body: bytes = GOOD, **headers: str) -> Reply:
    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        sent = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for name, value in (sent | {k.replace("_", "-"): v for k, v in headers.items()}).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return send


def hang(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(1.0)


def drip(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    for _ in range(20):
        handler.wfile.write(b" ")
        time.sleep(0.1)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Half an answer, then silence."""
    reply(Content_Length="1000")(handler)


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    for _ in range(100_000):
        handler.wfile.write(b" " * 10_000)


@dataclass
class Endpoint:
    """A server on loopback that gives its replies in turn, the last one for ever."""

    replies: list[Reply] = field(default_factory=list)
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    state = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.seen.append((self.path, dict(self.headers)))
            answer = state.replies.pop(0) if len(state.replies) > 1 else state.replies[0]
            try:
                answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client has had enough, as it should

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}/calendar"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class Clock:
    """Time that passes only in `sleep`, and by hand."""

    now: int = NOW
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.pass_s(seconds)

    def pass_s(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)


def config(endpoint: Endpoint, **changes: Any) -> HttpEventsConfig:
    values = {
        "name": "feed",
        "url": endpoint.url,
        "mapping": {"records": "rows", "event_type": "cpi", "fields": {"date": "d"}},
        "covers": ["cpi"],
        "timeout_s": 0.3,
        "max_bytes": 100_000,
    }
    return load_config(HttpEventsConfig, values | changes)


def source(
    endpoint: Endpoint, clock: Clock, cache: Path | None = None, **changes: Any
) -> HttpEvents:
    made = config(endpoint, **changes)
    return HttpEvents(made, cache, clock=clock, sleep=clock.sleep, environ={"KEY": "s3cret"})


def test_a_good_answer_is_fresh_and_covers_the_days_asked(endpoint: Endpoint) -> None:
    endpoint.replies = [reply()]
    feed = source(endpoint, Clock())
    assert isinstance(feed, EventProvider)
    [event] = feed.events(*WEEK)
    assert (event.event_type, event.time) == ("cpi", 1_761_309_000 * 10**9)
    state = feed.state()
    assert (state.status, state.as_of, state.reason) == ("fresh", NOW, "")
    assert [(c.event_type, c.first, c.last) for c in state.coverage] == [("cpi", *WEEK)]


def test_nothing_is_claimed_beyond_the_horizon(endpoint: Endpoint) -> None:
    endpoint.replies = [reply()]
    calendar = gather_events([source(endpoint, Clock(), horizon_days=3)], *WEEK, needed=["cpi"])
    assert [(span.first, span.last) for span in calendar.unknown] == [(D(2025, 10, 24), WEEK[1])]


BROKEN = [
    (reply(body=b"{]"), 1, "not JSON"),
    (reply(body=b'{"rows": {}}'), 1, "got dict at 'rows'"),
    (reply(body=b"\xff\xfe"), 1, "not UTF-8"),
    (reply(404), 1, "answered 404"),
    (reply(302, Location="http://127.0.0.1:1/"), 1, "answered 302"),
    (reply(204, b""), 1, "answered 204"),
    (reply(Content_Type="text/html"), 1, "answered 'text/html'; allowed: application/json"),
    (reply(body=b" " * 100_001), 1, "answered more than 100000 bytes"),
    (endless, 1, "answered more than 100000 bytes"),
    (reply(500), 3, r"answered 500 \(try 3\)"),
    (reply(503), 3, "answered 503"),
    (reply(429), 3, "answered 429"),
    (hang_up, 3, "connection failed: RemoteProtocolError"),
    (hang, 3, "no answer within 0.3 s"),
]


@pytest.mark.parametrize(("broken", "tries", "reason"), BROKEN)
def test_a_broken_answer_is_down_after_as_many_tries_as_may_help(
    endpoint: Endpoint, broken: Reply, tries: int, reason: str
) -> None:
    endpoint.replies = [broken]
    clock = Clock()
    with pytest.raises(SourceDownError, match=reason) as caught:
        source(endpoint, clock).events(*WEEK)
    assert len(endpoint.seen) == tries
    state = caught.value.state
    assert (state.status, state.down_since, state.coverage) == ("down", clock.now, ())
    calendar = gather_events([source(endpoint, clock)], *WEEK, needed=["cpi"])
    assert [(span.first, span.last) for span in calendar.unknown] == [WEEK]
    assert "source feed down since 2025-10-20T" in calendar.unknown[0].reason


def test_a_body_that_drips_is_cut_off(endpoint: Endpoint) -> None:
    endpoint.replies = [drip]
    feed = HttpEvents(config(endpoint, attempts=1))
    started = time.monotonic()
    with pytest.raises(SourceDownError, match=r"no whole answer within 0\.3 s"):
        feed.events(*WEEK)
    assert time.monotonic() - started < 1.5


def test_nobody_listening_is_down() -> None:
    clock = Clock()
    feed = source(Endpoint(url="http://127.0.0.1:1/"), clock)
    with pytest.raises(SourceDownError, match="connection failed: ConnectError"):
        feed.events(*WEEK)


def test_tries_wait_longer_each_time(endpoint: Endpoint) -> None:
    endpoint.replies = [reply(500), reply(502), hang_up, reply()]
    clock = Clock()
    feed = source(endpoint, clock, attempts=4, backoff_s=1.0, backoff_max_s=3.0)
    assert len(feed.events(*WEEK)) == 1
    assert clock.slept == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("sent", ["7", "Mon, 20 Oct 2025 12:00:07 GMT"])
def test_a_server_that_asks_to_wait_is_given_the_time(endpoint: Endpoint, sent: str) -> None:
    endpoint.replies = [reply(429, Retry_After=sent), reply()]
    clock = Clock()
    assert len(source(endpoint, clock).events(*WEEK)) == 1
    assert clock.slept == [7.0]


def test_a_server_that_asks_for_too_long_is_left_alone_until_then(endpoint: Endpoint) -> None:
    endpoint.replies = [reply(429, Retry_After="600"), reply()]
    clock = Clock()
    feed = source(endpoint, clock)
    for _ in range(2):
        with pytest.raises(SourceDownError):
            feed.events(*WEEK)
    assert (len(endpoint.seen), clock.slept) == (1, [])
    assert "asked to wait 600 s more" in feed.state().reason
    clock.pass_s(600)
    assert len(feed.events(*WEEK)) == 1


@pytest.mark.parametrize("sent", ["9" * 400, "-5", "soon", ""])
def test_a_strange_retry_after_breaks_nothing(endpoint: Endpoint, sent: str) -> None:
    endpoint.replies = [reply(503, Retry_After=sent)]
    with pytest.raises(SourceDownError, match="answered 503"):
        source(endpoint, Clock()).events(*WEEK)


def test_requests_keep_their_distance(endpoint: Endpoint) -> None:
    endpoint.replies = [reply()]
    clock = Clock()
    feed = source(endpoint, clock, min_interval_s=5.0)
    for _ in range(3):
        feed.events(*WEEK)
        clock.pass_s(2.0)
    assert clock.slept == [3.0, 3.0]


# --- the cache ------------------------------------------------------------------------------------


def test_a_young_answer_is_used_without_asking(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.replies = [reply(), reply(body=OTHER)]
    clock = Clock()
    one = source(endpoint, clock, tmp_path, fresh_s=60.0)
    first = one.events(*WEEK)
    clock.pass_s(59)
    another = source(endpoint, clock, tmp_path, fresh_s=60.0)  # a new process, say
    assert another.events(*WEEK) == first
    assert (another.state().status, another.state().as_of) == ("fresh", NOW)
    assert len(endpoint.seen) == 1
    clock.pass_s(2)
    assert another.events(*WEEK) != first


def test_a_young_answer_for_fewer_days_is_not_enough(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.replies = [reply()]
    feed = source(endpoint, Clock(), tmp_path)
    feed.events(*WEEK)
    feed.events(WEEK[0], WEEK[1] + datetime.timedelta(days=1))
    assert len(endpoint.seen) == 2


@pytest.mark.parametrize("broken", [broken for broken, _, _ in BROKEN[:-1]])
def test_when_it_fails_the_last_good_answer_is_served_and_flagged(
    endpoint: Endpoint, tmp_path: Path, broken: Reply
) -> None:
    endpoint.replies = [reply(), broken]
    clock = Clock()
    feed = source(endpoint, clock, tmp_path, fresh_s=60.0, stale_s=3600.0)
    good = feed.events(*WEEK)
    clock.pass_s(1800)
    assert feed.events(*WEEK) == good
    state = feed.state()
    assert (state.status, state.as_of) == ("stale", NOW)
    assert state.down_since is not None
    assert state.reason
    assert state.coverage[0].covers("cpi", "", WEEK[1])
    clock.pass_s(1801)
    with pytest.raises(SourceDownError) as caught:
        feed.events(*WEEK)
    assert caught.value.state.down_since == state.down_since  # since the first failure
    assert caught.value.state.as_of == NOW


def test_a_stale_answer_covers_only_the_days_it_was_asked_for(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    endpoint.replies = [reply(), reply(500)]
    clock = Clock()
    feed = source(endpoint, clock, tmp_path, fresh_s=0.0)
    feed.events(*WEEK)
    clock.pass_s(60)
    later = D(2025, 10, 23), D(2025, 10, 29)
    calendar = gather_events([feed], *later, needed=["cpi"])
    assert len(calendar.events) == 1
    assert [(s.first, s.last) for s in calendar.unknown] == [(D(2025, 10, 27), later[1])]


def test_when_it_answers_again_it_is_fresh_again(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.replies = [reply(), reply(404), reply(body=OTHER)]
    clock = Clock()
    feed = source(endpoint, clock, tmp_path, fresh_s=0.0)
    states = []
    for _ in range(3):
        feed.events(*WEEK)
        states.append((feed.state().status, feed.state().down_since is None))
        clock.pass_s(60)
    assert states == [("fresh", True), ("stale", False), ("fresh", True)]


def test_records_that_cannot_be_read_leave_the_rest_but_no_claim(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    endpoint.replies = [reply(body=HALF_READ)]
    feed = source(endpoint, Clock(), tmp_path)
    assert len(feed.events(*WEEK)) == 1
    state = feed.state()
    assert (state.status, state.coverage) == ("partial", ())
    assert state.reason.startswith("1 records could not be read: record 2")
    assert list(tmp_path.iterdir()) == []  # half an answer is not worth keeping


DAMAGE: list[Callable[[str], str]] = [
    lambda text: text[: len(text) // 2],
    lambda text: text.replace("10-24", "10-22"),
    lambda text: "[]",
    lambda text: "",
    lambda text: '{"answer": 1}',
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_no_cache(
    endpoint: Endpoint, tmp_path: Path, damage: Callable[[str], str]
) -> None:
    endpoint.replies = [reply(), reply(500)]
    feed = source(endpoint, Clock(), tmp_path)
    feed.events(*WEEK)
    [path] = tmp_path.iterdir()
    path.write_text(damage(path.read_text("utf-8")), "utf-8")
    with pytest.raises(SourceDownError):
        feed.events(*WEEK)


def test_an_answer_from_the_future_is_not_young(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.replies = [reply(), reply(500)]
    clock = Clock()
    feed = source(endpoint, clock, tmp_path)
    feed.events(*WEEK)
    clock.pass_s(-7200)  # the clock was set back: nobody knows how old the answer is
    with pytest.raises(SourceDownError):
        feed.events(*WEEK)


def test_a_write_that_fails_leaves_the_old_cache_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = AnswerCache(tmp_path / "feed.json")
    old = Answer("old", NOW, *WEEK)
    cache.write(old)

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", full)
    cache.write(Answer("new", NOW + 1, *WEEK))
    assert cache.read() == old
    assert [path.name for path in tmp_path.iterdir()] == ["feed.json"]


def test_another_question_has_another_cache(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.replies = [reply()]
    source(endpoint, Clock(), tmp_path, params={"country": "US"}).events(*WEEK)
    source(endpoint, Clock(), tmp_path, params={"country": "DE"}).events(*WEEK)
    assert len(endpoint.seen) == len(list(tmp_path.iterdir())) == 2


# --- keys -----------------------------------------------------------------------------------------

SECRETS = {
    "params": {"from": "{first}", "to": "{last}", "token": "${KEY}"},
    "headers": {"X-Api-Key": "${KEY}"},
}


def test_dates_and_keys_are_put_into_the_request(endpoint: Endpoint) -> None:
    endpoint.replies = [reply()]
    source(endpoint, Clock(), **SECRETS).events(*WEEK)
    [(path, headers)] = endpoint.seen
    assert path == "/calendar?from=2025-10-20&to=2025-10-26&token=s3cret"
    assert headers["X-Api-Key"] == "s3cret"


@pytest.mark.parametrize("answer", [reply(), reply(401), hang_up])
def test_a_key_is_written_nowhere(
    endpoint: Endpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture, answer: Reply
) -> None:
    caplog.set_level(logging.INFO)
    endpoint.replies = [answer]
    feed = source(endpoint, Clock(), tmp_path, attempts=1, **SECRETS)
    with contextlib.suppress(SourceDownError):  # its words are those of the state
        feed.events(*WEEK)
    written = [path.name + path.read_text("utf-8") for path in tmp_path.iterdir()]
    assert len(endpoint.seen) == 1
    assert "s3cret" not in f"{caplog.text}{written}{feed.state()}{feed.config!r}"


def test_a_key_that_is_not_set_is_named(endpoint: Endpoint) -> None:
    endpoint.replies = [reply()]
    with pytest.raises(SourceDownError, match="environment variable OTHER is not set"):
        source(endpoint, Clock(), headers={"X-Api-Key": "${OTHER}"}).events(*WEEK)
    assert endpoint.seen == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "file:///etc/passwd"}, "url: got 'file:"),
        ({"name": "../feed"}, "name: got"),
        ({"timeout_s": 0.0}, "timeout_s: got 0.0"),
        ({"attempts": 0}, "attempts: got 0"),
        ({"mapping": {"fields": {}}}, "mapping.fields.date: is required"),
    ],
)
def test_a_configuration_that_means_nothing_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config(Endpoint(url="http://127.0.0.1/"), **changes)
