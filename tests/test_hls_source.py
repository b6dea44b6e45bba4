"""HLS of others as a source: segments in order, in clear, at their pace; failures with words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hls_origin import KEY, HlsOrigin, clip_at, encoded_live, hls_origin
from players import find_program
from stage import PATIENCE_SECONDS, stage, until

from rawstream.broadcast import Broadcast
from rawstream.config import Limits, Timeouts
from rawstream.fetch_policy import FetchPolicy
from rawstream.hls_source import HlsFeed, HlsSource, WebSource, _in_clear
from rawstream.http_client import Ending
from rawstream.records import Channel, ChannelSource
from rawstream.sources import FeedFailed
from rawstream.web_resource import WebResource

PATIENCE = (PATIENCE_SECONDS, PATIENCE_SECONDS)
TIMEOUTS = Timeouts.for_tests()


@pytest.fixture
async def origin() -> AsyncIterator[HlsOrigin]:
    async with hls_origin() as made:
        yield made


class Reader:
    def __init__(self, feed: HlsFeed) -> None:
        self.feed = feed
        self.data = bytearray()
        self.pieces: list[int] = []
        self.epochs: list[int] = []
        feed.on_epoch = lambda: self.epochs.append(len(self.data))

    def take(self, data: bytes) -> None:
        self.data += data
        self.pieces.append(len(data))

    async def has(self, size: int) -> None:
        await until(lambda: len(self.data) >= size or self.feed.ended.done(), f"{size} bytes")
        assert len(self.data) >= size, self.feed.ended


def resource(origin: HlsOrigin, path: str, headers: Sequence[tuple[str, str]] = ()) -> WebResource:
    return WebResource(origin.base + path, FetchPolicy((), lambda: ()), TIMEOUTS, Limits(), headers)


@asynccontextmanager
async def reading(
    origin: HlsOrigin, path: str = "/live.m3u8", *headers: tuple[str, str]
) -> AsyncIterator[Reader]:
    feed = HlsFeed(resource(origin, path, headers))
    reader = Reader(feed)
    try:
        await feed.open(reader.take, patience=PATIENCE)
        yield reader
    finally:
        await feed.close()


def from_segment(origin: HlsOrigin, number: int, count: int) -> bytes:
    return b"".join(origin.segment(one) for one in range(number, number + count))


def first_of(origin: HlsOrigin) -> int:
    return min(int(path.split("/")[-1].removesuffix(".ts")) for path in origin.asked("/segment/"))


@pytest.mark.parametrize("path", ["/live.m3u8", "/master.m3u8", "/moved.m3u8"])
async def test_segments_come_whole_in_order_and_untouched(origin: HlsOrigin, path: str) -> None:
    async with reading(origin, path) as reader:
        first = first_of(origin)
        expected = from_segment(origin, first, 5)
        await reader.has(len(expected))
        assert bytes(reader.data[: len(expected)]) == expected
        assert reader.epochs == []
        assert not origin.asked("/sound")
        assert all(size % 188 == 0 for size in reader.pieces)
        assert max(reader.pieces) < len(origin.segment(first)), "spread"
        assert len(origin.asked("/segment/")) == len(set(origin.asked("/segment/")))


@pytest.mark.parametrize("explicit_iv", [False, True])
async def test_what_is_encrypted_comes_in_clear_and_its_key_is_asked_for_once(
    origin: HlsOrigin, explicit_iv: bool
) -> None:
    origin.key_method, origin.explicit_iv = "AES-128", explicit_iv
    async with reading(origin) as reader:
        expected = from_segment(origin, first_of(origin), 3)
        await reader.has(len(expected))
        assert bytes(reader.data[: len(expected)]) == expected
        assert len(origin.asked("/key")) == 1


async def test_byte_ranges_of_one_file(origin: HlsOrigin) -> None:
    origin.by_range = True
    async with reading(origin) as reader:
        ranges = [head["range"] for path, head in origin.requests if path == "/whole.ts"]
        first = min(int(one.removeprefix("bytes=").split("-")[0]) // 10_000_000 for one in ranges)
        expected = from_segment(origin, first, 3)
        await reader.has(len(expected))
        assert bytes(reader.data[: len(expected)]) == expected


async def test_the_lists_headers_go_with_every_request(origin: HlsOrigin) -> None:
    origin.key_method = "AES-128"
    headers = (("user-agent", "Box/1.0"), ("Referer", "http://site/"))
    async with reading(origin, "/master.m3u8", *headers) as reader:
        await reader.has(1)
        assert {path.split("/")[1] for path, _ in origin.requests} == {
            *("master.m3u8", "live.m3u8", "key", "segment")
        }
        for path, head in origin.requests:
            assert (head["user-agent"], head["referer"]) == ("Box/1.0", "http://site/"), path


async def test_a_segment_that_is_missing_is_passed_over_and_told(origin: HlsOrigin) -> None:
    origin.missing = {origin.newest()}
    async with reading(origin) as reader:
        first, (missing,) = first_of(origin), origin.missing
        before = from_segment(origin, first, missing - first)
        after = from_segment(origin, missing + 1, 2)
        await reader.has(len(before + after))
        assert bytes(reader.data[: len(before + after)]) == before + after
        assert reader.epochs == [len(before)]


async def test_an_origin_that_has_no_segments_ends_it(origin: HlsOrigin) -> None:
    async with reading(origin) as reader:
        newest = origin.newest()
        origin.missing = set(range(newest - 5, newest + 100))
        ending, reason = await asyncio.wait_for(reader.feed.ended, PATIENCE_SECONDS)
        assert (ending, reason) == (Ending.CUT, "its segments can't be had: answered 404")


async def test_another_clock_is_told_where_it_begins(origin: HlsOrigin) -> None:
    origin.other = Broadcast(clip_at(2))
    origin.other_from = origin.newest() + 2
    async with reading(origin) as reader:
        await until(lambda: reader.epochs, "another epoch")
        first = first_of(origin)
        assert reader.epochs[0] == len(from_segment(origin, first, origin.other_from - first))
        await reader.has(reader.epochs[0] + 188)
        at = reader.epochs[0]
        assert bytes(reader.data[at : at + 188]) == origin.other.segment(0)[:188]


async def test_a_playlist_that_stops_ends_it(origin: HlsOrigin) -> None:
    async with reading(origin) as reader:
        origin.frozen_at = origin.newest()
        ending, reason = await asyncio.wait_for(reader.feed.ended, PATIENCE_SECONDS)
        assert (ending, reason) == (Ending.CUT, "the playlist does not change any more")


async def test_a_playlist_that_cannot_be_had_for_a_moment_is_forgiven(origin: HlsOrigin) -> None:
    async with reading(origin) as reader:
        origin.status = 503
        failed = len(origin.requests)
        await until(lambda: len(origin.requests) > failed, "a failed reload")
        origin.status = 200
        have = len(reader.data)
        await reader.has(have + 2 * len(origin.segment(origin.newest())))


async def test_a_playlist_that_ends_ends_after_its_last_segment(origin: HlsOrigin) -> None:
    async with reading(origin) as reader:
        origin.frozen_at = origin.newest()
        origin.foot = "#EXT-X-ENDLIST"
        ending, _ = await asyncio.wait_for(reader.feed.ended, PATIENCE_SECONDS)
        assert ending is Ending.EOF
        last = origin.segment(origin.frozen_at)
        assert bytes(reader.data[-len(last) :]) == last


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("foot", "#EXT-X-ENDLIST", "a film as HLS is not served"),
        ("head", '#EXT-X-MAP:URI="init.mp4"', "fMP4"),
        ("segment_body", b"\0\0\0\x18ftypiso5" + bytes(100), "fMP4"),
        ("segment_body", b"ID3\4" + bytes(100), "packed audio"),
        ("key_method", "SAMPLE-AES", "SAMPLE-AES"),
        ("segment_body", b"<html>Please log in</html>" * 9, "no MPEG transport stream"),
        ("segment_body", b"", "it is empty"),
        ("head", '#EXT-X-KEY:METHOD=AES-128,URI="key"', "can't be decrypted"),
        ("body", b"<html>Please log in</html>", "no playlist"),
        ("body", b"#EXTM3U\n" + b"#EXTINF:6,\na.ts\n" * 200_000, "longer than"),
        ("status", 403, "answered 403"),
    ],
)
async def test_what_cannot_be_played_is_said(
    origin: HlsOrigin, attribute: str, value: object, words: str
) -> None:
    setattr(origin, attribute, value)
    with pytest.raises(FeedFailed) as caught:
        async with reading(origin, "/live.m3u8?password=canary"):
            pass
    assert words in caught.value.reason
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "instead", [b"", b"\x47", b"<html>Log in</html>" * 99, b"\x1f\x8b\x08 torn"]
)
async def test_a_segment_that_is_none_is_passed_over_and_told(
    origin: HlsOrigin, instead: bytes
) -> None:
    broken = origin.newest()
    origin.segment_bodies[broken] = instead
    async with reading(origin) as reader:
        first = first_of(origin)
        before = from_segment(origin, first, broken - first)
        after = from_segment(origin, broken + 1, 2)
        await reader.has(len(before + after))
        assert bytes(reader.data[: len(before + after)]) == before + after
        assert reader.epochs == [len(before)]


async def test_packed_segments_are_unpacked(origin: HlsOrigin) -> None:
    origin.packed = True
    async with reading(origin) as reader:
        expected = from_segment(origin, first_of(origin), 2)
        await reader.has(len(expected))
        assert bytes(reader.data[: len(expected)]) == expected


def test_what_is_encrypted_may_begin_like_something_packed() -> None:
    """One in millions of segments does."""
    clear = b"\x47" + bytes(187)
    padded = clear + bytes((4,)) * 4
    decryptor = Cipher(algorithms.AES(KEY), modes.ECB()).decryptor()
    begins = b"\x1f\x8b\x08" + bytes(13)
    block = decryptor.update(begins)
    iv = bytes(a ^ b for a, b in zip(block, padded[:16], strict=True))  # that makes it begin so
    encryptor = Cipher(algorithms.AES(KEY), modes.CBC(iv)).encryptor()
    data = encryptor.update(padded) + encryptor.finalize()
    assert data.startswith(begins)
    assert _in_clear(data, KEY, iv, 10_000) == clear


async def test_a_key_that_changes_at_its_address_is_asked_for_again(origin: HlsOrigin) -> None:
    origin.key_method = "AES-128"
    async with reading(origin) as reader:
        origin.key = bytes(range(100, 116))
        await until(lambda: len(origin.asked("/key")) > 1, "the other key")
        have = len(reader.data)
        await reader.has(have + 2 * len(origin.segment(origin.newest())))


async def test_a_key_that_is_none_is_said(origin: HlsOrigin) -> None:
    origin.key_method, origin.key_body = "AES-128", bytes(15)
    with pytest.raises(FeedFailed, match="its key has 15 bytes instead of 16"):
        async with reading(origin):
            pass


async def test_a_dead_variant_gives_way_to_the_next_best(origin: HlsOrigin) -> None:
    origin.dead = "/live.m3u8"
    async with reading(origin, "/master.m3u8") as reader:
        await reader.has(1)
        assert origin.asked("/live") == ["/live.m3u8", "/live"]


async def test_another_feed_of_a_source_goes_on_behind_what_was_sent(origin: HlsOrigin) -> None:
    source = HlsSource(resource(origin, "/live.m3u8"))
    readers = []
    for _ in range(2):
        feed = await source.start(())
        reader = Reader(feed)
        readers.append(reader)
        await feed.open(reader.take, patience=PATIENCE)
        await reader.has(2 * len(origin.segment(origin.newest())))
        await feed.close()
    number, left = first_of(origin), len(readers[0].data)
    while (size := len(origin.segment(number))) <= left:
        number, left = number + 1, left - size
    assert bytes(readers[1].data[:size]) == origin.segment(number), "the first not wholly sent"


async def test_an_origin_that_is_slow_to_answer_keeps_up(origin: HlsOrigin) -> None:
    origin.delay_seconds = 1.4 * origin.seconds
    async with reading(origin) as reader:
        count = len(set(origin.asked("/segment/"))) + 12
        await until(lambda: len(set(origin.asked("/segment/"))) >= count or reader.epochs)
        assert reader.epochs == [], "no segment was missed"


async def test_a_closed_feed_asks_nothing_more(origin: HlsOrigin) -> None:
    async with reading(origin) as reader:
        await reader.has(1)
    assert reader.feed.ended.result()[0] is Ending.ABORTED
    asked = len(origin.requests)
    newest = origin.newest()
    await until(lambda: origin.newest() > newest + 2)
    assert len(origin.requests) == asked


async def test_nothing_outlives_a_closed_feed(origin: HlsOrigin) -> None:
    origin.delay_seconds = origin.seconds
    async with reading(origin) as reader:
        await reader.has(1)
        before = [task for task in asyncio.all_tasks() if reader.feed.label in task.get_name()]
        assert len(before) >= 3, "a reader, its loader, a segment"
        reader.feed.end_reading()
        await reader.feed.close()
        assert all(task.done() for task in before)


async def test_an_answer_says_that_it_is_a_playlist(origin: HlsOrigin) -> None:
    source = WebSource(resource(origin, "/live"))
    feed = await source.start(())
    data = bytearray()
    await feed.open(data.extend, patience=PATIENCE)
    await until(lambda: data)
    assert data.startswith(origin.segment(first_of(origin))[:188])
    assert source.playlist, "remembered for the next time"
    await feed.close()


# -- the whole program --


async def test_two_viewers_are_one_reader_of_an_hls_channel(tmp_path: Path) -> None:
    async with hls_origin() as origin, stage(tmp_path, []) as on:
        first = await on.play(f"url={origin.base}/live.m3u8")
        await first.more(500_000)
        second = await on.play(f"url={origin.base}/live.m3u8")
        for player in (first, second):
            await player.more(1_500_000)
            player.assert_starts_clean()
            player.assert_plays()
        segments = origin.asked("/segment/")
        assert len(segments) == len(set(segments)), "each segment is fetched once"


async def test_viewers_play_on_over_another_clock(tmp_path: Path) -> None:
    async with hls_origin() as origin, stage(tmp_path, []) as on:
        player = await on.play(f"url={origin.base}/live.m3u8")
        origin.other = Broadcast(clip_at(0), first_ticks=7_000_000)
        origin.other_from = origin.newest() + 3
        await until(
            lambda: f"/segment/{origin.other_from + 3}.ts" in origin.asked("/segment/"),
            "segments behind the discontinuity",
        )
        await player.more(1_000_000)
        assert not player.over
        player.assert_plays()
        assert on.channel() is not None
        assert on.snapshot.channels[0].recoveries == 0


async def test_counters_that_begin_anew_in_each_segment_are_nothing_to_complain_of(
    tmp_path: Path,
) -> None:
    async with hls_origin() as origin, stage(tmp_path, []) as on:
        origin.count_anew = True
        player = await on.play(f"url={origin.base}/live.m3u8")
        await player.more(1_500_000)
        player.assert_plays()
        assert on.worker.hub.snapshot().channels[0].recoveries == 0


async def test_one_address_asked_for_in_two_ways_is_two_streams(tmp_path: Path) -> None:
    async with hls_origin() as origin, stage(tmp_path, []) as on:
        url = f"{origin.base}/live.m3u8"
        for number, agent in enumerate(("BoxA", "BoxB"), 1):
            source = ChannelSource("hls", url, (("User-Agent", agent),))
            await on.worker.store.lineup.add_channel(
                Channel(number, f"Channel {number}", sources=(source,))
            )
        token = (await on.worker.store.accounts.accounts())[0].token
        await until(lambda: len(on.worker.catalogue.current.channels) == 2)
        for number in (1, 2):
            player = await on.play(f"/live/{token}/{number}.ts")
            await player.more(1000)
        agents = {head["user-agent"] for _path, head in origin.requests}
        assert agents == {"BoxA", "BoxB"}


@pytest.mark.player
async def test_ffmpeg_plays_ffmpegs_hls_through_us_without_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "hls"
    folder.mkdir()
    async with encoded_live(folder, 1) as url, stage(tmp_path / "data", []) as on:
        player = await asyncio.create_subprocess_exec(
            *(find_program("ffmpeg"), "-v", "error"),
            *("-i", f"http://127.0.0.1:{on.port}/ace/getstream?url={url}"),
            *("-t", "4", "-c", "copy", "-f", "null", "-"),
            stderr=asyncio.subprocess.PIPE,
        )
        _, err = await asyncio.wait_for(player.communicate(), 2 * PATIENCE_SECONDS)
        assert (player.returncode, err.decode()) == (0, "")
