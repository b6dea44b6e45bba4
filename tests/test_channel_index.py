"""One channel per content, by whatever it is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from rawstream.channel_index import _SPELLINGS, ChannelIndex, contents_of
from rawstream.channels import LiveChannel, Superseded
from rawstream.config import Limits, Timeouts
from rawstream.engine_client import ContentRef
from rawstream.engine_pool import EnginePool
from rawstream.journal import StopJournal
from rawstream.records import ChannelSource

ID, INFOHASH, OTHER = "1d" * 20, "1f" * 20, "2f" * 20
BY_ID, BY_INFOHASH = ContentRef("content_id", ID), ContentRef("infohash", INFOHASH)
WAYS = (ChannelSource("content_id", ID), ChannelSource("direct", "http://h/tv"))


class FakeChannel:
    def __init__(self, ref: ContentRef, ways: Sequence[ChannelSource] = ()) -> None:
        self.key = str(ref)
        self.refs = [ref]
        self.ways = ways
        self.ways_of = 0
        self.infohash: str | None = None
        self.running = True

    def add_ways(self, ways: Sequence[ChannelSource], ways_of: int = 0) -> None:
        self.ways, self.ways_of = ways, ways_of


def channel(ref: ContentRef = BY_ID, ways: Sequence[ChannelSource] = ()) -> LiveChannel:
    return cast(LiveChannel, cast(Any, FakeChannel(ref, ways)))


@pytest.fixture
def pool() -> EnginePool:
    return EnginePool(
        [], capacity=4, timeouts=Timeouts(), limits=Limits(), journal=StopJournal(None)
    )


@pytest.fixture
def index(pool: EnginePool) -> ChannelIndex:
    return ChannelIndex(pool)


def test_a_channel_is_found_by_all_that_it_is_called(index: ChannelIndex) -> None:
    one = channel()
    index.add(one)
    assert index.find(BY_ID) is one
    assert index.find(BY_INFOHASH) is None
    index.claim(one, INFOHASH)
    assert (one.infohash, one.key) == (INFOHASH, INFOHASH)
    for ref in (BY_INFOHASH, ContentRef("unknown", INFOHASH)):
        assert index.find(ref) is one
    assert contents_of(one) == {BY_ID, BY_INFOHASH}
    assert (list(index), len(index)) == ([one], 1)


def test_one_whose_infohash_is_known_is_that_content_from_the_start(
    pool: EnginePool, index: ChannelIndex
) -> None:
    pool.learn(BY_ID, INFOHASH)
    one = channel()
    index.add(one)
    assert index.find(BY_INFOHASH) is one


def test_what_a_content_turns_out_to_be_is_learnt_for_all_its_names(
    pool: EnginePool, index: ChannelIndex
) -> None:
    one = channel()
    index.add(one)
    unknown = ContentRef("unknown", ID)
    index.note_spelling(one, unknown)
    index.claim(one, INFOHASH)
    assert pool.known_infohash(BY_ID) == pool.known_infohash(unknown) == INFOHASH


def test_the_second_channel_of_a_content_is_told_of_the_first_which_gets_its_sources(
    index: ChannelIndex,
) -> None:
    first, second = channel(BY_INFOHASH), channel(BY_ID, WAYS)
    index.add(first)
    index.add(second)
    with pytest.raises(Superseded) as info:
        index.claim(second, INFOHASH)
    assert (info.value.other, info.value.fallback) == (first, False)
    assert first.ways == WAYS


def test_a_second_source_that_runs_already_gives_its_name_to_nobody(
    pool: EnginePool, index: ChannelIndex
) -> None:
    first, second = channel(BY_INFOHASH), channel(ContentRef("content_id", "3d" * 20), WAYS)
    index.add(first)
    index.add(second)
    with pytest.raises(Superseded) as info:
        index.claim(second, INFOHASH, (BY_ID,))
    assert info.value.fallback
    assert first.ways == ()
    assert pool.known_infohash(second.refs[0]) is None
    assert pool.known_infohash(BY_ID) == INFOHASH


def test_one_that_is_over_stands_in_nobodys_way(index: ChannelIndex) -> None:
    first, second = channel(BY_INFOHASH), channel()
    index.add(first)
    cast(Any, first).running = False
    index.add(second)
    index.claim(second, INFOHASH)
    index.remove(first)
    assert index.find(BY_INFOHASH) is second
    index.remove(second)
    assert index.find(BY_INFOHASH) is index.find(BY_ID) is None
    assert len(index) == 0


def test_one_that_goes_on_as_another_content_gives_the_former_up(index: ChannelIndex) -> None:
    one = channel()
    index.add(one)
    index.claim(one, INFOHASH)
    index.claim(one, OTHER, (ContentRef("infohash", OTHER),))
    assert index.find(BY_INFOHASH) is None
    assert index.find(ContentRef("infohash", OTHER)) is one


def test_so_many_spellings_of_a_content_are_remembered(index: ChannelIndex) -> None:
    one = channel()
    index.add(one)
    names = [ContentRef("url", f"http://h/{number}") for number in range(_SPELLINGS + 3)]
    for name in names:
        index.note_spelling(one, name)
        index.note_spelling(one, name)
    assert one.refs == [BY_ID, *names[: _SPELLINGS - 1]]
    assert index.find(names[-1]) is None
    index.remove(one)
    assert index.find(names[0]) is None


def test_a_channel_of_the_line_up_is_found_by_its_number_whatever_is_its_first_source(
    index: ChannelIndex,
) -> None:
    one, elsewhere = channel(), channel(BY_INFOHASH)
    index.add(one)
    index.add(elsewhere)
    index.add_ways(one, WAYS, 7)
    assert index.find(BY_INFOHASH, 7) is index.find(BY_ID) is one
    assert index.find(BY_INFOHASH) is index.find(BY_INFOHASH, 8) is elsewhere
    assert list(index.ids) == [7]
    index.add_ways(one, WAYS, 8)
    assert index.find(BY_INFOHASH, 8) is one and list(index.ids) == [8]
    index.remove(one)
    assert list(index.ids) == [] and index.find(BY_INFOHASH, 8) is elsewhere


def test_the_second_channel_of_a_content_leaves_its_number_to_the_first(
    index: ChannelIndex,
) -> None:
    first, second = channel(BY_INFOHASH), channel(BY_ID, WAYS)
    second.ways_of = 7
    index.add(first)
    index.add(second)
    with pytest.raises(Superseded):
        index.claim(second, INFOHASH)
    index.remove(second)
    assert index.find(BY_ID, 7) is first


def test_what_is_no_source_of_a_channel_any_more_is_not_its_name(index: ChannelIndex) -> None:
    one = channel()
    index.add(one)
    index.claim(one, INFOHASH)
    another = ContentRef("content_id", "3d" * 20)
    for same in ([another, BY_ID], [another, BY_INFOHASH], [ContentRef("unknown", INFOHASH)], []):
        index.rename(one, same)
        assert (one.refs, one.infohash) == ([BY_ID], INFOHASH)
    index.rename(one, [another])
    assert (one.refs, one.infohash, one.key) == ([another], None, str(another))
    assert index.find(another) is one
    assert index.find(BY_ID) is index.find(BY_INFOHASH) is None


def test_a_channel_that_goes_on_with_its_second_source_keeps_what_that_is(
    index: ChannelIndex,
) -> None:
    one, second = channel(BY_ID), ContentRef("infohash", OTHER)
    index.add(one)
    index.claim(one, INFOHASH)
    index.claim(one, OTHER, (second,))
    index.rename(one, [second])
    assert (one.refs, one.infohash, index.find(second)) == ([second], OTHER, one)
    assert index.find(BY_ID) is None
