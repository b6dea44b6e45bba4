"""One engine asked by hand-made answers: exact request lines, odd answers, addresses, health."""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from raw_engine import (
    CONTENT_ID,
    GONE,
    INFOHASH,
    MEDIA,
    STOPPED,
    RawEngine,
    granted,
    http,
    refusing,
    said,
)
from wire import Clock

from rawstream.config import Limits, Timeouts
from rawstream.engine_answers import Stat
from rawstream.engine_client import ContentRef, Engine, EngineState, is_refusal, shown_url
from rawstream.errors import EngineError, UpstreamError, UpstreamTimeout
from rawstream.http_client import Ending

SHORT = Timeouts.for_tests(
    engine_stop_seconds=0.3, engine_stat_seconds=0.3, engine_probe_seconds=0.3
)
CONTENT = ContentRef("content_id", CONTENT_ID)


def engine_at(
    url: str, *, timeouts: Timeouts = SHORT, clock: Any = None, limits: Limits | None = None
) -> Engine:
    extra = {"clock": clock} if clock is not None else {}
    return Engine(url, 4, timeouts=timeouts, limits=limits or Limits(), **extra)


@pytest.fixture
def refusing_url() -> Iterator[str]:
    with refusing() as url:
        yield url


class Bytes:
    def __init__(self) -> None:
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data


# -- the start's question --


@pytest.mark.parametrize(
    ("ref", "selector"),
    [
        (CONTENT, {"id": CONTENT_ID}),
        (ContentRef("unknown", CONTENT_ID), {"id": CONTENT_ID}),
        (ContentRef("infohash", INFOHASH), {"infohash": INFOHASH}),
        (
            ContentRef("url", "http://h/a b.acelive?x=1&y=2"),
            {"url": "http://h/a b.acelive?x=1&y=2"},
        ),
        (
            ContentRef("magnet", "magnet:?xt=urn:btih:" + INFOHASH),
            {"magnet": "magnet:?xt=urn:btih:" + INFOHASH},
        ),
    ],
)
async def test_a_start_asks_for_one_selector_in_json_with_a_player_of_its_own(
    ref: ContentRef, selector: dict[str, str]
) -> None:
    async with RawEngine() as raw:
        raw.answers["/ace/getstream"] = granted()
        engine = engine_at(raw.url)
        await engine.getstream(ref)
        await engine.getstream(ref)
        first, second = raw.asked("/ace/getstream")
        assert raw.requests[0].startswith("GET /ace/getstream?")
        pids = {first.pop("pid"), second.pop("pid")}
        assert len(pids) == 2
        assert all(re.fullmatch("[0-9a-f]{32}", pid) for pid in pids)
        assert first == {**selector, "format": "json"}
        head = raw.heads[0].lower()
        assert f"host: {raw.url.removeprefix('http://')}\r\n" in head
        assert "accept-encoding: identity\r\n" in head
        assert "range:" not in head


# -- the start's answer --


async def start_on(answer: bytes, **settings: Any) -> Any:
    async with RawEngine() as raw:
        raw.answers["/ace/getstream"] = answer
        return await engine_at(raw.url, **settings).getstream(CONTENT)


async def test_a_granted_start_is_read_whole() -> None:
    found = await start_on(granted(infohash=INFOHASH.upper()))
    assert found.playback_path == f"/ace/r/{INFOHASH}/t"
    assert found.stat_path == f"/ace/stat/{INFOHASH}/t"
    assert found.command_path == f"/ace/cmd/{INFOHASH}/t"
    assert (found.infohash, found.playback_session_id) == (INFOHASH, "5e" * 20)
    assert (found.is_live, found.is_encrypted) == (True, False)


@pytest.mark.parametrize(
    ("answer", "words", "status"),
    [
        (
            said({"response": None, "error": "failed to load content"}),
            "failed to load content",
            200,
        ),
        (
            said({"error": {"message": "cannot get transport file", "code": 0}}),
            "cannot get transport file",
            200,
        ),
        (said({"error": {"code": 7}}), "refused without a reason", 200),
        (
            said({"response": None, "error": "To continue, you need to activate premium"}),
            "activate premium",
            200,
        ),
        (said({"response": None, "error": "mod_detected"}), "mod_detected", 200),
        (http("mod_detected", content_type="text/plain"), "mod_detected", 200),
        (said({"response": None, "error": 17}), "17", 200),
        (said({"response": None, "error": None}), "without a session", None),
        (said({"response": "ok", "error": None}), "without a session", None),
        (said({"response": [1], "error": ""}), "without a session", None),
        (said([1, 2]), "[1, 2]", 200),
        (
            http("<html><head><title>Oh no</title></head><body><h1>It broke</h1></body>", "500 X"),
            "Oh no It broke",
            500,
        ),
        (http("", "500 Internal Server Error"), "answered 500 without JSON", 500),
        (http("", "200 OK"), "answered 200 without JSON", 200),
        (http("Internal server error", "500 X", "text/plain"), "--bind-all", 500),
        (http('{"response": {"playback_url": "http://x', length=True), '{"response"', 200),
        (http("{" * 100_000), "{{{", 200),
        (http(b"\xff\xfe\x00garbage"), "garbage", 200),
    ],
)
async def test_a_refusal_keeps_the_engines_words(
    answer: bytes, words: str, status: int | None
) -> None:
    with pytest.raises(EngineError) as caught:
        await start_on(answer)
    assert words in caught.value.reason
    assert caught.value.status == status
    assert caught.value.phase == "start"
    assert caught.value.reason.isprintable()
    assert len(caught.value.reason) <= 300


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
        + b'{"response": ',  # half a body, then the end
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        http(b'{"response": "' + b"x" * 5000 + b'"}'),  # over the limit below
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_whole_answer_is_an_upstream_error_and_the_engine_is_not_down(
    answer: bytes,
) -> None:
    async with RawEngine() as raw:
        raw.answers["/ace/getstream"] = answer
        engine = engine_at(raw.url, limits=Limits(response_body_bytes=2048))
        for _ in range(3):
            with pytest.raises(UpstreamError) as caught:
                await engine.getstream(CONTENT)
            assert not isinstance(caught.value, EngineError)
        assert engine.state is not EngineState.DOWN
        assert engine.aside, "an engine that can't start anything goes last"


async def test_a_start_that_never_answers_ends_by_its_own_time() -> None:
    async with RawEngine() as raw:
        raw.answers["/ace/getstream"] = b""
        with pytest.raises(UpstreamTimeout):
            await engine_at(
                raw.url, timeouts=Timeouts.for_tests(engine_start_seconds=0.2)
            ).getstream(CONTENT)


async def test_an_answer_of_any_framing_is_read() -> None:
    body = granted().split(b"\r\n\r\n")[1]
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    for answer in (
        http(body, length=False),
        b"HTTP/1.0 200\r\n\r\n" + body,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
        http(body) + b"trailing garbage",
        b"HTTP/1.1 200 OK\nContent-Length: %d\n\n%s" % (len(body), body),
    ):
        assert (await start_on(answer)).infohash == INFOHASH


# -- addresses in answers --


async def test_an_answer_that_names_another_host_leads_nowhere_else() -> None:
    async with RawEngine() as raw, RawEngine() as trap:
        urls = {
            "playback_url": f"{trap.url}/ace/r/x",
            "stat_url": f"https://u:p@{trap.url[7:]}/ace/stat/x",
            "command_url": f"//{trap.url[7:]}/ace/cmd/x",
        }
        raw.answers = {
            "/ace/getstream": granted(**urls),
            "/ace/r": MEDIA,
            "/ace/stat": GONE,
            "/ace/cmd": STOPPED,
        }
        engine = engine_at(raw.url)
        found = await engine.getstream(CONTENT)
        assert found.playback_path and found.stat_path and found.command_path
        await (await engine.open(found.playback_path, Bytes(), 5)).ended
        with pytest.raises(EngineError, match="unknown playback session id"):
            await engine.stat(found.stat_path, reading=True)
        assert await engine.stop(found.command_path)
        assert trap.heads == []
        assert raw.requests[1:] == ["GET /ace/r/x", "GET /ace/stat/x", "GET /ace/cmd/x?method=stop"]


# -- the reader --


async def test_a_redirect_is_followed_by_its_head_on_the_engine_itself() -> None:
    async with RawEngine() as raw, RawEngine() as trap:
        endless = "HTTP/1.1 302 Found\r\nLocation: %s\r\n\r\nRedirect to somewhere"
        raw.answers = {
            "/ace/r/one": (endless % f"{trap.url}/content/two?k=1").encode(),
            "/content/two": (endless % "three").encode(),
            "/content/three": (endless % "/content/four").encode(),
            "/content/four": MEDIA,
        }
        raw.keep_open = {"/ace/r", "/content/two", "/content/three"}
        taken = Bytes()
        stream = await engine_at(raw.url).open("/ace/r/one", taken, 5)
        assert (await stream.ended)[0] is Ending.EOF
        assert taken.data == b"G" * 188
        assert trap.heads == []
        assert raw.requests == [
            "GET /ace/r/one",
            "GET /content/two?k=1",
            "GET /content/three",
            "GET /content/four",
        ]


async def test_more_than_three_redirects_are_refused() -> None:
    async with RawEngine() as raw:
        raw.answers["/"] = b"HTTP/1.1 302 Found\r\nLocation: /again\r\n\r\n"
        with pytest.raises(UpstreamError, match="too many redirects"):
            await engine_at(raw.url).open("/ace/r/x", Bytes(), 5)
        assert len(raw.heads) == 4


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "gopher://h/x", "http://[bad/x", "/a\\b"]
)
async def test_a_redirect_that_is_no_place_on_an_engine_is_refused(location: str) -> None:
    async with RawEngine() as raw:
        raw.answers["/"] = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode()
        with pytest.raises(UpstreamError, match="redirected to nowhere"):
            await engine_at(raw.url).open("/ace/r/x", Bytes(), 5)
        assert len(raw.heads) == 1


@pytest.mark.parametrize("status", [403, 500])
async def test_a_refused_reader_tells_its_status_and_the_engines_words(status: int) -> None:
    async with RawEngine() as raw:
        raw.answers["/"] = http("start timeout", f"{status} X", "text/plain", length=False)
        with pytest.raises(UpstreamError, match="start timeout") as caught:
            await engine_at(raw.url).open("/ace/r/x", Bytes(), 5)
        assert caught.value.status == status


# -- stat --


async def test_a_stat_is_read_as_the_engine_says_it() -> None:
    async with RawEngine() as raw:
        raw.answers["/ace/stat"] = said({"response": {"status": "dl", "peers": "12"}})
        assert await engine_at(raw.url).stat("/ace/stat/x", reading=True) == Stat("dl", 12)
        raw.answers["/ace/stat"] = said({"response": None, "error": None})
        assert await engine_at(raw.url).stat("/ace/stat/x", reading=True) == Stat()


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/ace/stat/x", "GET /ace/stat/x?skip_player_activity=1"),
        ("/ace/stat/x?a=1", "GET /ace/stat/x?a=1&skip_player_activity=1"),
    ],
)
async def test_a_look_without_a_reader_is_not_counted_as_activity(path: str, line: str) -> None:
    async with RawEngine() as raw:
        raw.answers["/ace/stat"] = said({"response": {}})
        await engine_at(raw.url).stat(path, reading=False)
        await engine_at(raw.url).stat(path, reading=True)
        assert raw.requests == [line, f"GET {path}"]


# -- resolve --


async def test_a_look_up_opens_no_session() -> None:
    async with RawEngine() as raw:
        raw.answers["/server/api"] = said({"result": {"infohash": INFOHASH.upper(), "name": "X"}})
        assert await engine_at(raw.url).media_files(CONTENT) == (INFOHASH, "X")
        assert raw.asked("/server/api") == [
            {"api_version": "3", "method": "get_media_files", "content_id": CONTENT_ID}
        ]


@pytest.mark.parametrize("result", [None, "x", {}, {"infohash": "no"}, {"infohash": 5}, []])
async def test_a_look_up_that_finds_nothing_is_no_error(result: Any) -> None:
    async with RawEngine() as raw:
        raw.answers["/server/api"] = said({"result": result})
        assert await engine_at(raw.url).media_files(CONTENT) is None


# -- stop --


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/ace/cmd/x", "GET /ace/cmd/x?method=stop"),
        ("/ace/cmd/x?k=1", "GET /ace/cmd/x?k=1&method=stop"),
    ],
)
@pytest.mark.parametrize(
    "answer", [STOPPED, GONE, said({"result": "ok"}), http("no", "500 X"), said({"error": "what?"})]
)
async def test_a_stop_that_was_answered_is_done(path: str, line: str, answer: bytes) -> None:
    async with RawEngine() as raw:
        raw.answers["/ace/cmd"] = answer
        assert await engine_at(raw.url).stop(path)
        assert raw.requests == [line]


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"nonsense\r\n\r\n"]
)
async def test_a_stop_that_is_not_answered_ends_in_time_and_raises_nothing(answer: bytes) -> None:
    async with RawEngine() as raw:
        raw.answers["/ace/cmd"] = answer
        assert not await engine_at(raw.url).stop("/ace/cmd/x")


async def test_a_stop_of_a_dead_engine_raises_nothing(refusing_url: str) -> None:
    engine = engine_at(refusing_url)
    assert not await engine.stop("/ace/cmd/x")
    assert engine.state is EngineState.DOWN


# -- probe and health --


async def test_a_probe_learns_the_version() -> None:
    async with RawEngine() as raw:
        raw.answers["/webui/api/service"] = said(
            {"result": {"version": "3.2.3", "code": 1}, "error": None}
        )
        engine = engine_at(raw.url)
        assert await engine.probe() == "3.2.3"
        assert (engine.version, engine.state) == ("3.2.3", EngineState.UP)
        assert raw.requests == ["GET /webui/api/service?method=get_version"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http("Internal server error", "500 X"), "--bind-all"),
        (http("<h1>A router's page</h1>", content_type="text/html"), "A router's page"),
        (b"", "no answer in time"),
        (b"nonsense\r\n\r\n", "HTTP|status line"),
    ],
)
async def test_two_probes_without_an_engines_answer_make_it_down(answer: bytes, words: str) -> None:
    async with RawEngine() as raw:
        raw.answers["/webui"] = answer
        engine = engine_at(raw.url)
        assert await engine.probe() is None
        assert engine.state is EngineState.UNKNOWN
        assert await engine.probe() is None
        assert engine.state is EngineState.DOWN
        assert re.search(words, engine.last_error or "")


async def test_a_refused_connection_is_proof_enough(refusing_url: str) -> None:
    engine = engine_at(refusing_url)
    with pytest.raises(UpstreamError) as caught:
        await engine.getstream(CONTENT)
    assert is_refusal(caught.value)
    assert engine.state is EngineState.DOWN


async def test_our_own_want_of_descriptors_is_not_the_engines_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def no_socket(*_: object, **__: object) -> None:
        try:
            raise OSError(errno.EMFILE, "too many open files")
        except OSError as error:
            raise UpstreamError("connect", "x", "too many open files") from error

    monkeypatch.setattr("rawstream.engine_client.request", no_socket)
    engine = engine_at("http://127.0.0.1:1")
    for _ in range(3):
        with pytest.raises(UpstreamError) as caught:
            await engine.getstream(CONTENT)
        assert not is_refusal(caught.value)
    assert (engine.state, engine.aside) == (EngineState.UNKNOWN, False)


def test_an_engine_that_was_down_must_answer_twice() -> None:
    engine = engine_at("http://127.0.0.1:1")
    engine.missed("gone", certain=True)
    engine.answered()
    assert engine.state is EngineState.DOWN
    engine.missed("gone again")
    engine.answered()
    assert engine.state is EngineState.DOWN
    engine.answered()
    assert engine.state is EngineState.UP
    engine.missed("once")
    assert engine.state is EngineState.UP
    engine.answered()
    engine.missed("once more, not in a row")
    assert engine.state is EngineState.UP


def test_bytes_are_proof_of_health_at_once() -> None:
    clock = Clock()
    engine = engine_at("http://127.0.0.1:1", clock=clock)
    engine.missed("gone", certain=True)
    for _ in range(3):
        engine.brought_nothing()
    assert engine.aside
    engine.brought_bytes()
    assert (engine.state, engine.aside, engine.barren) == (EngineState.UP, False, 0)


def test_an_engine_without_bytes_stands_aside_for_a_while_and_then_gets_one_try() -> None:
    clock = Clock()
    engine = engine_at("http://127.0.0.1:1", clock=clock)
    engine.brought_nothing()
    engine.brought_nothing()
    assert not engine.aside
    engine.brought_nothing()
    assert engine.aside
    clock.now += SHORT.engine_aside_seconds
    assert not engine.aside
    engine.brought_nothing()
    assert engine.aside


def test_a_draining_engine_stays_so_whatever_it_answers() -> None:
    engine = engine_at("http://127.0.0.1:1")
    engine.drain()
    engine.answered()
    engine.missed("gone", certain=True)
    assert (engine.state, engine.usable) == (EngineState.DRAINING, False)
    engine.undrain()
    assert engine.usable


def test_a_snapshot_tells_the_load() -> None:
    engine = engine_at("http://127.0.0.1:1")
    engine.sessions, engine.starting, engine.starts, engine.failures = 2, 1, 9, 3
    shown = engine.snapshot()
    assert (shown.url, shown.state, shown.sessions, shown.starting) == (
        "http://127.0.0.1:1",
        "unknown",
        2,
        1,
    )
    assert (shown.capacity, shown.starts, shown.failures, engine.free) == (4, 9, 3, 1)


# -- secrets --

SECRET_URLS = [
    "http://h:81/live/USER/SECRET/1.ts",
    "http://h/a.ts?token=SECRET",
    "http://USER:SECRET@h/a.ts",
    "http://h/SECRET/a.ts?x=USER",
]


@pytest.mark.parametrize("url", SECRET_URLS)
def test_a_shown_url_tells_where_but_no_secret(url: str) -> None:
    for shown in (shown_url(url), str(ContentRef("direct", url)), str(ContentRef("url", url))):
        assert "SECRET" not in shown
        assert "USER" not in shown
        assert "http://h" in shown
        assert urlsplit(url).path.rpartition("/")[2] in shown


def test_two_urls_that_differ_in_their_secrets_only_are_told_apart() -> None:
    shown = {
        shown_url(url)
        for url in ("http://h/a/1.ts", "http://h/b/1.ts", "http://h/1.ts?a", "http://h/1.ts?b")
    }
    assert len(shown) == 4
    assert shown_url("http://h/a/1.ts") in shown
    assert shown_url("http://h:81/1.ts") == "http://h:81/1.ts"
    assert shown_url("http://[::1]:81/1.ts") == "http://[::1]:81/1.ts"


@pytest.mark.parametrize(
    "name",
    [
        *("playlist/USER/SECRET", "epg/USER/SECRET/gz", "get/SECRET", "list/SECRET/"),
        *("k3yISECRET7x", "k3yISECRET7x.m3u8", "a/k3yISECRET7x.m3u8", "list-k3yISECRET7x.m3u"),
        *("%6b3yISECRET7x.ts", "f" * 30 + "SECRET"),
    ],
)
def test_the_last_part_of_a_path_is_not_shown_where_it_may_be_a_secret(name: str) -> None:
    shown = shown_url(f"http://h/{name}")
    assert "SECRET" not in shown and "USER" not in shown
    assert shown.startswith("http://h/") and shown != shown_url(f"http://h/{name}x")


@pytest.mark.parametrize(
    "name", ["1.ts", "7", "get.php", "radio", "index.m3u8", "Big_Film_1080p.mkv", "rai1.m3u8"]
)
def test_the_last_part_of_a_path_is_shown_where_it_says_what_it_is(name: str) -> None:
    assert shown_url(f"http://h/{name}") == f"http://h/{name}"


@pytest.mark.parametrize("url", ["http://[bad/x", "http://h:99999999/x"])
def test_a_url_that_is_none_can_be_shown(url: str) -> None:
    assert shown_url(url) == "?"


def test_a_shown_magnet_link_has_no_trackers() -> None:
    link = f"magnet:?tr=http%3A%2F%2Ft%2FSECRET&xt=urn:btih:{INFOHASH}&dn=Name"
    assert str(ContentRef("magnet", link)) == f"magnet:?xt=urn:btih:{INFOHASH}"
    assert str(ContentRef("magnet", "magnet:?tr=SECRET")) == "magnet:"


async def test_many_questions_at_once_each_get_their_own_answer() -> None:
    async with RawEngine() as raw:
        raw.answers["/server/api"] = lambda path: said({"result": {"infohash": path[-40:]}})
        engine = engine_at(raw.url)
        ids = [f"{number:040x}" for number in range(20)]
        found = await asyncio.gather(
            *(engine.media_files(ContentRef("content_id", each)) for each in ids)
        )
        assert [known and known.infohash for known in found] == ids
