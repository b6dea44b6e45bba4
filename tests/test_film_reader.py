"""One reader of one session, and engines that answer as engines have been seen to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from raw_engine import GONE, INFOHASH, http, said
from stage import until
from theatre import FILM, REF, Theatre, opened, part_of

from rawstream.byte_range import Span, Unsatisfiable
from rawstream.errors import UpstreamError, UpstreamTimeout
from rawstream.film_reader import FilmReader, NoParts, Unwanted
from rawstream.http_client import BodyStream

LATE = "start timeout"


@pytest.fixture
async def theatre(tmp_path: Path) -> AsyncIterator[Theatre]:
    async with opened(tmp_path) as made:
        yield made


@pytest.fixture
async def reader(theatre: Theatre) -> AsyncIterator[FilmReader]:
    session = await theatre.pool.start(theatre.pool.engines[0], [REF])
    made = FilmReader(
        theatre.pool, session, theatre.timeouts, "a film", words="", is_read=lambda: True
    )
    yield made
    made.close()


async def part(reader: FilmReader, begin: int, end: int) -> bytes:
    """These bytes, whose answer tells the film's length."""
    pieces: list[bytes] = []
    assert await reader.read(Span(begin, end), pieces.append) == len(FILM)
    return b"".join(pieces)


async def test_a_session_is_proven_by_its_bytes_over_all_parts(reader: FilmReader) -> None:
    assert await part(reader, 5, 40_000) == FILM[5:40_000]
    assert not reader.session.proven
    assert await part(reader, 40_000, 80_000) == FILM[40_000:80_000]
    assert reader.session.proven


@pytest.mark.parametrize(
    "bad",
    [http(LATE, "500 No", "text/plain"), b"HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\n\r\n"],
    ids=["preload", "doubled"],
)
async def test_what_is_no_answer_is_asked_again(
    theatre: Theatre, reader: FilmReader, bad: bytes
) -> None:
    left = [bad, bad]
    theatre.answers(lambda head: left.pop() if left else part_of(head))
    assert await part(reader, 5, 10) == FILM[5:10]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 206 OK\r\nContent-Length: 0\r\n\r\n", "does not say which"),
        (b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-0/9\r\nContent-Length: 1\r\n\r\nx", "another"),
    ],
    ids=["unsaid", "other"],
)
async def test_an_answer_that_is_not_what_was_asked_for_is_refused(
    theatre: Theatre, reader: FilmReader, answer: bytes, words: str
) -> None:
    theatre.answers(lambda _: answer)
    pieces: list[bytes] = []
    with pytest.raises(UpstreamError, match=words):
        await reader.read(Span(5, 10), pieces.append)
    assert pieces == []


async def test_a_part_that_is_cut_off_can_be_gone_on_with(
    theatre: Theatre, reader: FilmReader
) -> None:
    theatre.answers(lambda head: part_of(head)[:-4])
    pieces: list[bytes] = []
    with pytest.raises(UpstreamError, match="cut off"):
        await reader.read(Span(10, 20), pieces.append)
    assert b"".join(pieces) == FILM[10:16]
    theatre.answers(part_of)
    assert await part(reader, 16, 20) == FILM[16:20]


async def test_an_answer_that_is_of_another_film_brings_no_byte(
    theatre: Theatre, reader: FilmReader
) -> None:
    pieces: list[bytes] = []
    theatre.answers(lambda head: part_of(head, FILM + b"more"))
    with pytest.raises(UpstreamError, match="another film"):
        await reader.read(Span(0, 10), pieces.append, length=len(FILM))
    assert pieces == []


async def test_an_engine_without_parts_is_told_by_its_answer(
    theatre: Theatre, reader: FilmReader
) -> None:
    theatre.answers(lambda _: http(FILM[:100], content_type="video/mp4"))
    with pytest.raises(NoParts) as info:
        await reader.read(Span(0, 10), lambda _: None)
    assert (info.value.length, reader.content_type) == (100, "video/mp4")


async def test_a_place_behind_the_end_tells_the_length(reader: FilmReader) -> None:
    with pytest.raises(Unsatisfiable) as info:
        await reader.read(Span(len(FILM), len(FILM) + 1), lambda _: None)
    assert info.value.length == len(FILM)


async def test_an_engine_that_brings_no_byte_is_left_with_its_words(
    theatre: Theatre, reader: FilmReader
) -> None:
    theatre.answers(lambda _: http(LATE, "500 No", "text/plain"))
    with pytest.raises(UpstreamTimeout, match=r"no byte within 1 s \(last answer: .*start timeout"):
        await reader.read(Span(0, 10), lambda _: None)
    assert LATE in reader.words


async def test_a_session_that_the_engine_no_longer_knows_is_lost(
    theatre: Theatre, reader: FilmReader
) -> None:
    theatre.answers(lambda _: None)
    reading = asyncio.create_task(reader.read(Span(0, 10), lambda _: None))
    await until(lambda: theatre.ranges, "it was asked")
    theatre.engine.answers["/ace/stat"] = GONE
    with pytest.raises(UpstreamError, match="unknown playback session"):
        await reading
    assert reader.lost


async def test_a_part_whose_reader_has_gone_is_let_go(theatre: Theatre, reader: FilmReader) -> None:
    theatre.answers(lambda _: None)
    unwanted = asyncio.Event()
    reading = asyncio.create_task(reader.read(Span(0, 10), lambda _: None, unwanted=unwanted))
    await until(lambda: theatre.ranges, "it was asked")
    unwanted.set()
    with pytest.raises(Unwanted):
        await reading
    await until(lambda: not theatre.engine.connected, "the connection's end")


async def test_a_closed_reader_asks_nothing_more(theatre: Theatre, reader: FilmReader) -> None:
    await until(lambda: reader.stat.peers == 3, "the engine's word")
    reader.close()
    theatre.engine.answers["/ace/stat"] = said({"response": {"peers": 4}, "error": None})
    asked = len(theatre.engine.asked(f"/ace/stat/{INFOHASH}/t"))
    await until(lambda: reader._poller.done(), "the end of its questions")
    assert len(theatre.engine.asked(f"/ace/stat/{INFOHASH}/t")) == asked
    assert reader.stat.peers == 3


class Taker:
    def __init__(self) -> None:
        self.stream: BodyStream | None = None
        self.got = bytearray()

    def data_received(self, data: bytes) -> None:
        self.got += data


async def test_a_film_in_one_piece_is_asked_for_once_more_while_it_loads(
    theatre: Theatre, reader: FilmReader
) -> None:
    left = [http(LATE, "500 No", "text/plain")]
    theatre.answers(lambda _: left.pop() if left else http(FILM, content_type="video/mp4"))
    taker = Taker()
    await reader.read_whole(taker, asyncio.Event())
    assert (bytes(taker.got), taker.stream) == (FILM, None)
    assert reader.session.proven
