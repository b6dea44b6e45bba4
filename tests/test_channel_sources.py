"""What becomes of a channel's sources: sessions on engines, streams of the web."""

from __future__ import annotations

from typing import cast

import pytest

from rawstream.channel_sources import ChannelSources
from rawstream.config import Limits, Timeouts
from rawstream.engine_client import ContentRef
from rawstream.engine_pool import EnginePool
from rawstream.fetch_policy import FetchPolicy
from rawstream.hls_source import WebSource
from rawstream.journal import StopJournal
from rawstream.records import ChannelSource
from rawstream.sources import EngineSource

ID, INFOHASH = "1d" * 20, "1f" * 20
REF, BY_INFOHASH = ContentRef("content_id", ID), ContentRef("infohash", INFOHASH)


@pytest.fixture
def pool() -> EnginePool:
    return EnginePool(
        [], capacity=4, timeouts=Timeouts(), limits=Limits(), journal=StopJournal(None)
    )


@pytest.fixture
def sources(pool: EnginePool) -> ChannelSources:
    return ChannelSources(pool, FetchPolicy([], lambda: [], ()), Timeouts(), Limits())


def test_a_content_by_itself_is_one_session_under_what_is_known_first(
    sources: ChannelSources,
) -> None:
    (source,) = sources.made(REF, INFOHASH, ())
    assert cast(EngineSource, source).refs[:2] == (BY_INFOHASH, REF)


def test_all_sources_of_a_channel_keep_their_order_and_have_their_own_infohash(
    pool: EnginePool, sources: ChannelSources
) -> None:
    other = ContentRef("content_id", "2d" * 20)
    pool.learn(other, "2f" * 20)
    ways = (ChannelSource(*other), ChannelSource("direct", "http://h/tv"), ChannelSource(*REF))
    first, second, third = sources.made(REF, INFOHASH, ways)
    assert cast(EngineSource, first).refs[0] == ContentRef("infohash", "2f" * 20)
    assert isinstance(second, WebSource)
    assert cast(EngineSource, third).refs[0] == BY_INFOHASH


@pytest.mark.parametrize(
    ("kind", "url", "playlist"),
    [
        ("direct", "http://h/tv", False),
        ("direct", "http://h/tv.M3U8?token=a", True),
        ("direct", "http://h/tv.m3u", True),
        ("direct", "http://h/tv?next=a.m3u8", False),
        ("hls", "http://h/tv", True),
    ],
)
def test_a_playlist_is_known_by_its_name_or_its_kind(
    sources: ChannelSources, kind: str, url: str, playlist: bool
) -> None:
    (source,) = sources.made(ContentRef("direct", url), None, (ChannelSource(kind, url),))
    assert isinstance(source, WebSource)
    assert source.playlist is playlist
