"""Looking through the line-up: filters, pages, and which guide each channel has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rawstream.guide_match import Match
from rawstream.records import Channel, ChannelSource, ListSource
from rawstream.store import Store
from rawstream.store_search import BY_HAND, Assigned, ChannelFilter

MATCH = Match("one.it", "name", 97, "One", "One", 2)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path)
    news = (await store.lineup.category_named("News")).id
    playlist = await store.lineup.add_list(ListSource(0, "playlist", "http://h/l"))
    for channel in (
        Channel(1, "Üno", 5, number="7", categories=(news,), playlist_id=playlist),
        Channel(2, "Two", 4, guide_id="two.it", stale_since=5, categories=(news,)),
        Channel(3, "Three", 3, enabled=False, sources=(ChannelSource("unknown", "a" * 40),)),
        Channel(4, "Film", 2, kind="movie"),
        Channel(5, "Gone", 1, retired_at=9),
        Channel(6, "Unguided", 0),
    ):
        await store.lineup.add_channel(channel)
    await store.guide.set_matches({1: MATCH, 2: MATCH})
    await store.guide.set_mapping(2, "other")
    await store.guide.set_mapping(6, "")
    yield store
    await store.close()


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (ChannelFilter(), [6, 4, 3, 2, 1]),
        (ChannelFilter(q=" üN"), [1]),
        (ChannelFilter(q="TWO.it"), [2]),
        (ChannelFilter(q="7"), [1]),
        (ChannelFilter(q="AAAA"), [3]),
        (ChannelFilter(q="%"), []),
        (ChannelFilter(category_id=1), [2, 1]),
        (ChannelFilter(category_id=0, kind="live"), [6, 3]),
        (ChannelFilter(kind="movie"), [4]),
        (ChannelFilter(state="enabled"), [6, 4, 2, 1]),
        (ChannelFilter(state="disabled"), [3]),
        (ChannelFilter(state="stale"), [2]),
        (ChannelFilter(state="retired"), [5]),
        (ChannelFilter(state="unmapped"), [3]),
        (ChannelFilter(playlist_id=1), [1]),
        (ChannelFilter(q="o", category_id=1, state="stale"), [2]),
    ],
)
async def test_what_fits_comes_in_the_order_of_the_line_up(
    store: Store, wanted: ChannelFilter, ids: list[int]
) -> None:
    found = await store.lineup.find(wanted, 0, 100)
    assert [one.id for one in found.channels] == ids
    assert found.total == len(ids)


async def test_a_page_is_a_part_with_its_parts_and_guides(store: Store) -> None:
    found = await store.lineup.find(ChannelFilter(), 2, 2)
    assert found.total == 5
    assert found.channels == [await store.lineup.channel(3), await store.lineup.channel(2)]
    assert found.guides == {2: Assigned("other", BY_HAND, 100, True)}
    one = await store.lineup.channel_with_guide(1)
    assert one is not None
    assert one[1] == Assigned("one.it", "name", 97, False, "One", "One", 2)
    assert await store.lineup.channel_with_guide(99) is None


async def test_who_has_no_guide_comes_first_then_the_least_sure(store: Store) -> None:
    found, total = await store.guide.find_mappings()
    assert [one.channel_id for one in found] == [3, 1, 2, 6]
    assert total == 4
    assert [one.guide and one.guide.guide_id for one in found] == [None, "one.it", "other", ""]
    for state, ids in (("unmapped", [3]), ("matched", [1]), ("manual", [2, 6])):
        found, total = await store.guide.find_mappings("", state)  # type: ignore[arg-type]
        assert ([one.channel_id for one in found], total) == (ids, len(ids))
    found, total = await store.guide.find_mappings("O", "all", 1, 1)
    assert ([one.channel_id for one in found], total) == ([2], 2)
