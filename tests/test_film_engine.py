"""One session for all: turns, blocks, sessions that die, contents that are something else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from raw_engine import INFOHASH, MEDIA, granted, http
from stage import until
from theatre import FILM, Theatre, asked, opened, part_of

from rawstream.byte_range import Span
from rawstream.errors import UpstreamError
from rawstream.film_engine import BLOCK_BYTES


@pytest.fixture
async def theatre(tmp_path: Path) -> AsyncIterator[Theatre]:
    async with opened(tmp_path) as made:
        yield made


async def all_of(part: Any) -> bytes:
    found = b""
    while data := await part.read():
        found += data
    part.close()
    return found


async def test_a_part_comes_in_blocks_through_the_path_that_was_learnt(theatre: Theatre) -> None:
    part = await theatre.file().open(asked("bytes=100-"))
    assert (part.span, part.partial) == (Span(100, len(FILM)), True)
    assert await all_of(part) == FILM[100:]
    begins = [100 + number * BLOCK_BYTES for number in range(4)]
    ends = [*(begin - 1 for begin in begins[1:]), len(FILM) - 1]
    assert set(theatre.ranges) == {
        "bytes=100-100",
        *(f"bytes={begin}-{end}" for begin, end in zip(begins, ends, strict=True)),
    }
    assert len(theatre.engine.asked(f"/ace/r/{INFOHASH}/t")) == 1


async def test_readers_take_turns_and_never_two_at_once(theatre: Theatre) -> None:
    at_once: list[int] = []

    def answer(head: str) -> bytes:
        at_once.append(theatre.engine.connected)
        return part_of(head)

    theatre.answers(answer)
    file = theatre.file()
    parts = [await file.open(asked(f"bytes={number}-")) for number in range(3)]
    found = await asyncio.gather(*map(all_of, parts))
    assert [FILM[number:] for number in range(3)] == found
    blocks = [text for text in theatre.ranges if text.partition("-")[2] != "0"]
    firsts = [int(text.removeprefix("bytes=").partition("-")[0]) % BLOCK_BYTES for text in blocks]
    assert firsts[:6] == [0, 1, 2, 0, 1, 2]


async def test_nobody_has_more_than_a_block_ahead(theatre: Theatre) -> None:
    part = await theatre.file().open(asked("bytes=0-"))
    await part.read()
    part.hold()
    asked_for = -1
    while asked_for != len(theatre.ranges):
        asked_for = len(theatre.ranges)
        await asyncio.sleep(0.2)
    assert asked_for <= 3  # what it begins with, one block, and one that was under way
    part.close()


@pytest.mark.parametrize(
    "bad",
    [
        http("start timeout", "500 No", "text/plain"),
        http("", "200 OK", length=False).replace(b"200 OK", b"206 OK"),
        b"HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-0/9\r\nContent-Length: 1\r\n\r\n",
    ],
    ids=["preload", "unsaid", "doubled", "other"],
)
async def test_what_is_no_answer_is_asked_again(theatre: Theatre, bad: bytes) -> None:
    left = [bad]
    theatre.answers(lambda head: left.pop() if left else part_of(head))
    part = await theatre.file().open(asked("bytes=5-9"))
    assert await all_of(part) == FILM[5:10]


async def test_another_film_behind_the_same_session_is_not_mixed_in(theatre: Theatre) -> None:
    file = theatre.file()
    part = await file.open(asked("bytes=0-"))
    other = FILM + b"more"
    theatre.answers(lambda head: part_of(head, other))
    with pytest.raises(UpstreamError, match="another"):
        await all_of(part)
    part.close()
    assert len(theatre.over) == 1


async def test_a_dead_session_is_opened_anew_and_its_words_are_kept(theatre: Theatre) -> None:
    part = await theatre.file().open(asked("bytes=0-"))
    left = [http("Forbidden", "403 Forbidden", "text/plain")] * 2
    theatre.answers(lambda head: left.pop() if left else part_of(head))
    assert await all_of(part) == FILM
    assert len(theatre.engine.asked("/ace/getstream")) == 2


async def test_an_engine_that_never_brings_a_byte_is_a_failure_with_its_reason(
    theatre: Theatre,
) -> None:
    theatre.answers(lambda _: None)
    with pytest.raises(UpstreamError, match=r"no byte within 1 s \(engine says dl, 3 peers\)"):
        await theatre.file().open(asked("bytes=0-"))
    assert theatre.over == [theatre.over[0]]
    await until(lambda: theatre.pool.sessions_stopped == 1)


async def test_what_the_engine_does_not_know_yet_is_told_by_its_answer(theatre: Theatre) -> None:
    theatre.engine.answers["/ace/getstream"] = granted(is_live=-1)
    assert await all_of(await theatre.file().open(asked("bytes=5-9"))) == FILM[5:10]
    theatre.answers(lambda _: MEDIA)
    with pytest.raises(UpstreamError, match="it is live"):
        await theatre.file().open(asked())
    assert len(theatre.over) == 1


async def test_what_is_live_is_no_film_and_is_stopped(theatre: Theatre) -> None:
    theatre.engine.answers["/ace/getstream"] = granted()
    with pytest.raises(UpstreamError, match="it is live"):
        await theatre.file().open(asked())
    await until(lambda: theatre.pool.sessions_stopped == 1)


async def test_a_content_that_is_open_under_another_name_is_left_to_it(theatre: Theatre) -> None:
    theatre.others.add(INFOHASH)
    with pytest.raises(UpstreamError, match="another name"):
        await theatre.file().open(asked())
    assert theatre.pool.sessions_stopped == 0


async def test_a_reader_who_gives_up_while_it_opens_leaves_the_start_to_the_next(
    theatre: Theatre,
) -> None:
    preload = http("start timeout", "500 No", "text/plain")
    theatre.answers(lambda _: preload)
    file = theatre.file()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await file.open(asked("bytes=0-0"))
    assert file.lingers
    theatre.answers(part_of)
    (await file.open(asked("bytes=0-0"))).close()
    assert len(theatre.engine.asked("/ace/getstream")) == 1


async def test_if_range_of_another_file_means_the_whole(theatre: Theatre) -> None:
    file = theatre.file()
    part = await file.open(asked("bytes=5-9"))
    assert part.partial
    for tag, partial in ((part.head.etag, True), ('"other"', False)):
        again = await file.open(asked("bytes=5-9", tag))
        assert again.partial is partial
        again.close()
    part.close()
