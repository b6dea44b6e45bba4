"""Imports that are whole or not at all, and their undo."""

from __future__ import annotations

import dataclasses
import json

import pytest

from rawstream.errors import StateError
from rawstream.records import Channel, ChannelSource, FilmFacts, ListSource
from rawstream.store import Store
from rawstream.store_import import LineupChanges, ListContents

SOURCES = (
    ChannelSource("content_id", "a" * 40),
    ChannelSource("direct", "http://h/x.ts", headers=(("User-Agent", "Box"),)),
)


async def test_an_import_is_undone_but_its_ids_are_not_lost(store: Store) -> None:
    number = await store.lineup.add_list(ListSource(0, "playlist", "http://h/l"))
    kept = await store.lineup.add_channel(Channel(0, "Old", sources=SOURCES, playlist_id=number))
    gone = await store.lineup.add_channel(Channel(0, "Gone", playlist_id=number))
    before = await store.lineup.channels()
    new = dataclasses.replace(before[0], name="New", sources=SOURCES[1:])
    changes = LineupChanges([Channel(0, "Added", identity="x")], [new], retired=[gone], at=99)
    added = await store.lineup.apply(number, lambda _there: changes)
    assert {channel.name for channel in await store.lineup.channels()} == {"New", "Added"}
    assert await store.lineup.undo_last(number)
    assert await store.lineup.channels() == before
    retired = [c.id for c in await store.lineup.channels(retired=True) if c.retired_at is not None]
    assert retired == added
    assert not await store.lineup.undo_last(number)
    assert kept in {channel.id for channel in before}


async def test_an_import_under_way_does_not_bring_back_what_is_taken_back(store: Store) -> None:
    number = await store.lineup.add_list(ListSource(0, "playlist", "http://h/l"))
    changes = LineupChanges([Channel(0, "Added", identity="x")])
    await store.lineup.apply(number, lambda _there: changes)
    assert await store.lineup.undo_last(number)
    with pytest.raises(StateError, match="taken back"):
        await store.lineup.apply(number, lambda _there: changes)
    assert await store.lineup.channels() == []


async def test_an_import_that_fails_halfway_changes_nothing(store: Store) -> None:
    number = await store.lineup.add_list(ListSource(0, "playlist", "http://h/l"))
    twin = Channel(0, "A", playlist_id=number, identity="same")
    with pytest.raises(StateError):
        await store.lineup.apply(number, lambda _there: LineupChanges([twin, twin]))
    assert await store.lineup.channels(retired=True) == []


async def _imported(store: Store, *channels: Channel) -> int:
    number = await store.lineup.add_list(ListSource(0, "playlist", "http://h/l"))
    made = [
        dataclasses.replace(channel, playlist_id=number, identity=f"i{place}")
        for place, channel in enumerate(channels)
    ]
    await store.lineup.apply(number, lambda _there: LineupChanges(made))
    return number


async def test_an_undo_keeps_what_was_set_by_hand_since(store: Store) -> None:
    number = await _imported(store, Channel(0, "Old", logo="http://old", sources=SOURCES))
    (old,) = await store.lineup.channels()
    new = dataclasses.replace(old, name="New", logo="http://new", guide_id="new", sources=())
    await store.lineup.apply(number, lambda _there: LineupChanges(changed=[new]))
    mine = dataclasses.replace(new, logo="http://mine", enabled=False, adult=True)
    await store.lineup.set_channel(mine, edited=["logo"])
    assert await store.lineup.undo_last(number)
    assert await store.lineup.channels() == [
        dataclasses.replace(
            old, logo="http://mine", enabled=False, adult=True, edited=frozenset({"logo"})
        )
    ]


async def test_a_film_becomes_one_under_its_id_and_an_undo_takes_that_back(store: Store) -> None:
    number = await _imported(store, Channel(0, "Film"), Channel(0, "Show S01E02"))
    before = await store.lineup.channels()

    def plan(there: ListContents) -> LineupChanges:
        series_id = there.series("show", "Show", "http://cover")
        assert there.series("show", "Show") == series_id
        film = {"kind": "movie", "extension": "mkv", "facts": FilmFacts("Plot")}
        part = {"kind": "episode", "series_id": series_id, "season": 1, "episode": 2}
        changed = [dataclasses.replace(one, **new) for one, new in zip(before, (film, part))]  # type: ignore[arg-type]  # noqa: B905
        return LineupChanges(changed=changed)

    await store.lineup.apply(number, plan)
    movie, episode = await store.lineup.channels()
    assert (movie.id, movie.kind, movie.facts) == (before[0].id, "movie", FilmFacts("Plot"))
    (series,) = await store.lineup.series()
    assert (episode.id, episode.series_id, series.cover) == (
        before[1].id,
        series.id,
        "http://cover",
    )
    assert await store.lineup.undo_last(number)
    assert await store.lineup.channels() == before


async def test_a_series_keeps_its_id_and_an_undo_brings_its_cover_back(store: Store) -> None:
    number = await _imported(store, Channel(0, "One"))
    for cover in ("http://old", "http://new", ""):
        await store.lineup.apply(
            number, lambda there, cover=cover: LineupChanges(at=there.series("i", "Show", cover))
        )
    (series,) = await store.lineup.series()
    assert (series.name, series.cover) == ("Show", "http://new")
    assert await store.lineup.undo_last(number)
    assert await store.lineup.series() == [dataclasses.replace(series, cover="http://old")]


async def test_what_is_set_of_a_series_by_hand_no_import_and_no_undo_touches(store: Store) -> None:
    number = await _imported(store, Channel(0, "One"))

    async def brought(name: str, cover: str) -> None:
        await store.lineup.apply(
            number, lambda there: LineupChanges(at=there.series("i", name, cover))
        )

    await brought("Show", "http://a")
    (series,) = await store.lineup.series()
    mine = dataclasses.replace(series, name="Mine")
    await store.lineup.set_series(mine, edited=["name"])
    await brought("Other", "http://b")
    assert await store.lineup.series() == [dataclasses.replace(mine, cover="http://b")]
    await store.lineup.set_series(dataclasses.replace(mine, cover="http://c"), edited=["cover"])
    assert await store.lineup.undo_last(number)
    assert await store.lineup.series() == [dataclasses.replace(mine, cover="http://c")]


async def test_a_series_of_a_removed_list_is_the_next_lists(store: Store) -> None:
    number = await _imported(store, Channel(0, "One"))
    await store.lineup.apply(number, lambda there: LineupChanges(at=there.series("i", "Show")))
    (series,) = await store.lineup.series()
    await store.lineup.delete_list(number)
    first, second = [
        await store.lineup.add_list(ListSource(0, "playlist", f"http://h/{name}")) for name in "ab"
    ]
    for other in (first, second, first):
        await store.lineup.apply(other, lambda there: LineupChanges(at=there.series("i", "Show")))
    found = await store.lineup.series()
    assert [one.id for one in found] == [series.id, series.id + 1]


async def test_what_an_older_version_kept_for_an_undo_is_still_good(store: Store) -> None:
    number = await _imported(store, Channel(0, "Old"))
    (old,) = await store.lineup.channels()
    new = dataclasses.replace(old, name="New")
    await store.lineup.apply(number, lambda _there: LineupChanges(changed=[new]))
    async with store.db.write() as transaction:
        (row,) = await transaction.fetchall("SELECT undo FROM lists")
        undo = json.loads(row["undo"])
        del undo["series"]
        for name in ("kind", "extension", "facts", "series_id", "season", "episode"):
            del undo["changed"][0][name]
        await transaction.execute("UPDATE lists SET undo = ?", (json.dumps(undo),))
    assert await store.lineup.undo_last(number)
    assert await store.lineup.channels() == [old]


async def test_an_undo_bears_with_what_is_gone(store: Store) -> None:
    category = await store.lineup.category_named("News")
    number = await _imported(store, Channel(0, "One", categories=(category.id,)), Channel(0, "Two"))
    one, two = await store.lineup.channels()
    changed = [dataclasses.replace(one, name="Uno"), dataclasses.replace(two, name="Due")]
    await store.lineup.apply(number, lambda _there: LineupChanges(changed=changed))
    await store.lineup.delete_category(category.id)
    await store.lineup.delete_channel(two.id)
    assert await store.lineup.undo_last(number)
    assert await store.lineup.channels() == [dataclasses.replace(one, categories=())]


async def test_an_undo_brings_marks_and_places_back_but_not_a_place_set_by_hand(
    store: Store,
) -> None:
    number = await _imported(store, *(Channel(0, name, position=5) for name in "ABCDE"))
    before = await store.lineup.channels()
    a, b, c, d, e = (channel.id for channel in before)
    changes = LineupChanges(stale=[a], retired=[b], moved=[(c, 1), (d, 2), (e, 3)], at=77)
    await store.lineup.apply(number, lambda _there: changes)
    after = {channel.id: channel for channel in await store.lineup.channels(retired=True)}
    assert (after[a].stale_since, after[b].retired_at, after[c].position) == (77, 77, 1)
    await store.lineup.set_channel(dataclasses.replace(after[e], position=9), edited=["position"])
    assert await store.lineup.undo_last(number)
    found = {channel.id: channel for channel in await store.lineup.channels()}
    assert [found[channel.id] for channel in before[:4]] == before[:4]
    assert found[e].position == 9


async def test_channels_may_change_places_in_everything(store: Store) -> None:
    number = await _imported(store, Channel(0, "A"), Channel(0, "B"))
    a, b = await store.lineup.channels()
    swapped = [
        dataclasses.replace(a, name="B", identity=b.identity),
        dataclasses.replace(b, name="A", identity=a.identity),
    ]
    await store.lineup.apply(number, lambda _there: LineupChanges(changed=swapped))
    assert await store.lineup.channels() == swapped
    assert await store.lineup.undo_last(number)
    assert await store.lineup.channels() == [a, b]


async def test_ids_given_in_one_go_are_never_given_twice_either(store: Store) -> None:
    last = await store.lineup.add_channel(Channel(41, "By hand"))
    await store.lineup.delete_channel(last)
    await _imported(store, *(Channel(0, f"C{n}", sources=SOURCES) for n in range(2500)))
    found = await store.lineup.channels()
    assert [channel.id for channel in found] == list(range(42, 42 + 2500))
    assert all(channel.sources == SOURCES for channel in found)
    assert await store.lineup.add_channel(Channel(0, "Next")) == 42 + 2500


async def test_a_plan_sees_the_list_and_its_channels_only(store: Store) -> None:
    number = await _imported(store, Channel(0, "A", sources=SOURCES), Channel(0, "B"))
    await store.lineup.add_channel(Channel(0, "By hand", sources=SOURCES))
    expected = [c for c in await store.lineup.channels() if c.playlist_id == number]
    seen = []

    def look(there: ListContents) -> LineupChanges:
        assert there.source is not None
        seen.append((there.source.id, list(there.channels()), list(there.identities(own=True))))
        return LineupChanges()

    await store.lineup.apply(number, look)
    assert seen == [(number, expected, [(c.id, c.identity) for c in expected])]


async def test_a_list_that_is_gone_takes_no_import(store: Store) -> None:
    with pytest.raises(StateError, match="removed meanwhile"):
        await store.lineup.apply(7, lambda _there: LineupChanges([Channel(0, "A")]))
