"""A file on a web server: every answer judged, parts read at their reader's pace."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from film_origin import Origin, origin_of
from stage import until

from rawstream.byte_range import RangeSpec, Span, Unsatisfiable, parse_range
from rawstream.config import Limits, Timeouts
from rawstream.errors import UpstreamError, UpstreamTimeout
from rawstream.fetch_policy import FetchPolicy
from rawstream.film_web import Asked, FilmHead, Part, WebFile, known_headers, type_of
from rawstream.web_resource import WebResource

FILM = os.urandom(3_000_000)


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with origin_of(FILM) as found:
        yield found


def file_at(origin: Origin, **more: Any) -> WebFile:
    timeouts = Timeouts.for_tests(source_head_seconds=more.pop("seconds", 20.0))
    policy = FetchPolicy((), lambda: ())
    return WebFile(WebResource(origin.url, policy, timeouts, Limits(), **more))


def asked(header: str, if_range: str = "") -> Asked:
    return Asked(parse_range(header), if_range)


async def all_of(part: Part) -> bytes:
    found = b""
    while data := await part.read():
        found += data
    return found


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-", (0, 3_000_000)),
        ("bytes=5-9", (5, 10)),
        ("bytes=2999999-", (2_999_999, 3_000_000)),
        ("bytes=-7", (2_999_993, 3_000_000)),
        ("bytes=100-9999999", (100, 3_000_000)),
    ],
)
async def test_a_part_is_the_files_bytes(
    origin: Origin, header: str, span: tuple[int, int]
) -> None:
    part = await file_at(origin).open(asked(header))
    assert (part.span, part.partial) == (Span(*span), True)
    assert part.head == FilmHead(3_000_000, True, '"one"', "", "video/mp4")
    assert await all_of(part) == FILM[span[0] : span[1]]
    part.close()
    await until(lambda: origin.open == 0)


async def test_the_whole_is_asked_for_as_a_part_to_learn_whether_there_are_any(
    origin: Origin,
) -> None:
    part = await file_at(origin).open(Asked())
    assert (part.span, part.partial, part.head.seekable) == (Span(0, 3_000_000), False, True)
    assert origin.ranges_asked == ["bytes=0-"]
    assert await all_of(part) == FILM
    part.close()


async def test_a_server_without_ranges_gives_the_whole(origin: Origin) -> None:
    origin.ranges = False
    part = await file_at(origin).open(asked("bytes=100-200"))
    assert (part.span, part.partial, part.head.seekable) == (Span(0, 3_000_000), False, False)
    part.close()


async def test_a_film_without_a_length_ends_where_its_server_says(origin: Origin) -> None:
    origin.ranges = origin.length = False
    part = await file_at(origin).open(asked("bytes=0-"))
    assert (part.span, part.head.length, part.head.seekable) == (None, None, False)
    assert await all_of(part) == FILM
    part.close()


async def test_if_range_goes_along_and_a_changed_file_comes_whole(origin: Origin) -> None:
    file = file_at(origin)
    part = await file.open(asked("bytes=5-9", '"one"'))
    assert part.partial
    part.close()
    part = await file.open(asked("bytes=5-9", '"old"'))
    assert (part.partial, part.head.seekable, part.span) == (False, True, Span(0, 3_000_000))
    part.close()
    assert [head.get("if-range") for head in origin.heads] == ['"one"', '"old"']


async def test_what_is_not_there_says_how_long_the_file_is(origin: Origin) -> None:
    with pytest.raises(Unsatisfiable) as caught:
        await file_at(origin).open(asked("bytes=3000000-"))
    assert caught.value.length == 3_000_000


async def test_an_empty_file_is_a_film_of_no_bytes(origin: Origin) -> None:
    origin.film = b""
    part = await file_at(origin).open(Asked())
    assert (part.span, part.partial) == (Span(0, 0), False)
    assert await all_of(part) == b""
    with pytest.raises(Unsatisfiable):
        await file_at(origin).open(asked("bytes=0-"))


async def test_several_parts_are_one_where_the_length_is_known(origin: Origin) -> None:
    file = file_at(origin)
    (await file.open(asked("bytes=0-9,5-19"))).close()
    (await file.open(asked("bytes=0-9,5-19"))).close()
    assert origin.ranges_asked == ["bytes=0-", "bytes=0-19"]


async def test_look_asks_once_for_one_byte(origin: Origin) -> None:
    file = file_at(origin)
    for _ in range(2):
        assert await file.look() == FilmHead(3_000_000, True, '"one"', "", "video/mp4")
    assert origin.ranges_asked == ["bytes=0-0"]
    origin.film = b""
    assert await file_at(origin).look() == FilmHead(0, True)


@pytest.mark.parametrize(
    ("switches", "reason"),
    [
        ({"content_type": "text/html; charset=utf-8"}, "answers a page instead of a file"),
        ({"content_type": "application/vnd.apple.mpegurl"}, "an HLS playlist, not a file"),
        ({"film": b"\xef\xbb\xbf#EXTM3U\n"}, "an HLS playlist, not a file"),
        ({"extra": [("Content-Encoding", "gzip")]}, "answers in a coding that was not asked for"),
        ({"status": 404}, "answered 404"),
        ({"only_parts_of": 10}, "answers a part where all was asked for"),
        (
            {"ranges": False, "length": False, "film": (b"G" + bytes(187)) * 9},
            "it is live, not a film: add it as a channel",
        ),
        (
            {"ranges": False, "extra": [("Content-Range", "bytes 0-9/*")], "status": 206},
            "answers a part and does not say which",
        ),
        ({"extra": [("Content-Range", "bytes 1-9/10")], "status": 206}, "answers another part"),
        (
            {"extra": [("Content-Range", "bytes 0-9/10"), ("Content-Length", "9")], "status": 206},
            "answers a part of another size than it says",
        ),
    ],
)
async def test_what_is_no_film_says_why(
    origin: Origin, switches: dict[str, Any], reason: str
) -> None:
    for name, value in switches.items():
        setattr(origin, name, value)
    with pytest.raises(UpstreamError) as caught:
        await file_at(origin).open(Asked())
    assert caught.value.reason.startswith(reason)
    assert "s3cret" not in str(caught.value)
    await until(lambda: origin.open == 0, "the connection is left")


@pytest.mark.parametrize("etag", ["no quotes", '"a\x01"', '"a" "b"', '"' + "x" * 300 + '"'])
async def test_what_is_no_etag_is_not_passed_on(origin: Origin, etag: str) -> None:
    origin.etag = etag
    origin.extra = [("Last-Modified", "<script>")]
    part = await file_at(origin).open(Asked())
    assert (part.head.etag, part.head.last_modified) == ("", "")
    part.close()
    origin.etag, origin.extra = 'W/"a-1"', [("Last-Modified", "Thu, 26 Nov 2026 10:00:00 GMT")]
    part = await file_at(origin).open(Asked())
    assert part.head[2:4] == ('W/"a-1"', "Thu, 26 Nov 2026 10:00:00 GMT")
    part.close()


async def test_an_absurd_length_is_none(origin: Origin) -> None:
    origin.ranges = origin.length = False
    origin.extra = [("Content-Length", str(1 << 32))]
    part = await file_at(origin).open(Asked())
    assert part.head.length is None
    part.close()


async def test_a_body_cut_in_the_middle_is_a_failure_behind_its_bytes(origin: Origin) -> None:
    origin.cut_at = 1_000_000
    part = await file_at(origin).open(Asked())
    found = b""
    with pytest.raises(UpstreamError, match="cut off"):
        while True:
            found += await part.read()
    assert found == FILM[:1_000_000]
    part.close()


async def test_a_server_that_falls_silent_is_a_timeout(origin: Origin) -> None:
    origin.stalls_at = 1000
    part = await file_at(origin, seconds=0.3).open(Asked())
    found = b""
    with pytest.raises(UpstreamTimeout, match="silent"):
        while True:
            found += await part.read()
    assert found == FILM[:1000]
    part.close()
    origin.stalls_at = None


async def test_reading_waits_for_its_reader_and_silence_counts_while_he_waits(
    origin: Origin,
) -> None:
    origin.film = os.urandom(40_000_000)
    part = await file_at(origin, seconds=1.0).open(Asked())
    held = -1
    while held != origin.sent:  # until the server is held up
        held = origin.sent
        await asyncio.sleep(0.4)
    assert origin.sent < len(origin.film)
    assert await all_of(part) == origin.film
    part.close()


async def test_the_lists_headers_go_along(origin: Origin) -> None:
    file = file_at(origin, headers=(("User-Agent", "Box"), ("X-Key", "k")))
    (await file.open(Asked((RangeSpec(3, 4),)))).close()
    (head,) = origin.heads
    assert (head["user-agent"], head["x-key"], head["range"]) == ("Box", "k", "bytes=3-4")


def test_a_films_type_is_its_extensions_else_its_servers() -> None:
    head = FilmHead(1, True, content_type="video/x-odd")
    for extension, kind in (("mp4", "video/mp4"), ("MKV", "video/x-matroska"), ("", "video/x-odd")):
        assert type_of(head, extension) == kind
    for said in ("", "text/html", "video/a\r\nX: y", "video/"):
        assert type_of(head._replace(content_type=said), "odd") == "application/octet-stream"


def test_what_is_known_of_a_film_is_said() -> None:
    head = FilmHead(1, True, '"a"', "then")
    said = [("Accept-Ranges", "bytes"), ("ETag", '"a"'), ("Last-Modified", "then")]
    assert known_headers(head) == said
    assert known_headers(FilmHead(1, False)) == [("Accept-Ranges", "none")]
