"""The line-up in its tables: what comes back, and ids that stay."""

from __future__ import annotations

import dataclasses

import pytest

from rawstream.errors import ConfigError
from rawstream.records import Channel, ChannelSource, FilmFacts, ListSource
from rawstream.store import Store
from rawstream.store_lineup import read_names

SOURCES = (
    ChannelSource("content_id", "a" * 40),
    ChannelSource("direct", "http://h/x.ts", headers=(("User-Agent", "Box"),)),
)


async def test_a_channel_comes_back_as_it_was(store: Store) -> None:
    news, sport = [(await store.lineup.category_named(name)).id for name in ("News", "Sport")]
    made = Channel(
        0, "One", 3, "5.1", "http://l", "one.it", categories=(sport, news), sources=SOURCES,
        added_at=9, edited=frozenset({"name"}),
    )  # fmt: skip
    number = await store.lineup.add_channel(made)
    expected = dataclasses.replace(made, id=number)
    assert await store.lineup.channels() == [expected]
    assert await store.lineup.channel(number) == expected
    changed = dataclasses.replace(expected, name="Uno", sources=SOURCES[:1])
    await store.lineup.set_channel(changed, edited=["logo"])
    assert await store.lineup.channel(number) == dataclasses.replace(
        changed, edited=frozenset({"name", "logo"})
    )


async def test_who_changes_one_thing_leaves_what_another_has_changed(store: Store) -> None:
    news = (await store.lineup.category_named("News")).id
    number = await store.lineup.add_channel(Channel(0, "One", 3, added_at=9, sources=SOURCES))
    read = await store.lineup.channel(number)
    assert read is not None
    for change in (
        {"name": "Uno"},
        {"number": "7"},
        {"sources": SOURCES[:1]},
        {"categories": (news,)},
    ):
        changed = dataclasses.replace(read, **change)  # type: ignore[arg-type]
        await store.lineup.set_channel(changed, edited=change, before=read)
    assert await store.lineup.channel(number) == dataclasses.replace(
        read,
        name="Uno",
        number="7",
        sources=SOURCES[:1],
        categories=(news,),
        edited=frozenset({"name", "number", "sources", "categories"}),
    )
    listed = await store.lineup.add_list(ListSource(0, "playlist", "http://h/l"))
    source = await store.lineup.list_source(listed)
    assert source is not None
    await store.lineup.set_list(dataclasses.replace(source, enabled=False), before=source)
    await store.lineup.set_list(dataclasses.replace(source, name="Mine"), before=source)
    assert await store.lineup.list_source(listed) == dataclasses.replace(
        source, enabled=False, name="Mine"
    )


async def test_categories_and_series_are_changed_by_two_at_once(store: Store) -> None:
    news = await store.lineup.category_named("News")
    await store.lineup.set_category(dataclasses.replace(news, name="Notizie"), before=news)
    await store.lineup.set_category(dataclasses.replace(news, adult=True), before=news)
    changed = dataclasses.replace(news, name="Notizie", adult=True)
    assert await store.lineup.categories() == [changed]
    names = await store.db.read("SELECT name FROM category_names")
    assert [row["name"] for row in names] == ["News"], "lists still mean it"
    show = await store.lineup.series_named("Show")
    facts = FilmFacts("A plot")
    await store.lineup.set_series(dataclasses.replace(show, facts=facts), before=show)
    named = dataclasses.replace(show, name="The show")
    await store.lineup.set_series(named, edited=["name"], before=show)
    assert await store.lineup.series() == [dataclasses.replace(named, facts=facts)]


async def test_films_share_the_ids_of_channels_and_are_in_no_guide(store: Store) -> None:
    series = await store.lineup.series_named("Show")
    assert await store.lineup.series_named("Show") == series
    series = dataclasses.replace(series, cover="http://c", facts=FilmFacts("Plot"))
    await store.lineup.set_series(series)
    assert await store.lineup.series() == [series]
    made = [
        Channel(0, "One"),
        Channel(0, "Film", kind="movie", extension="mp4", facts=FilmFacts(duration=90)),
        Channel(0, "Part", kind="episode", series_id=series.id, season=1, episode=2),
    ]
    numbers = [await store.lineup.add_channel(one) for one in made]
    assert numbers == [1, 2, 3]
    found = await store.lineup.channels()
    assert [dataclasses.replace(one, id=0, added_at=0) for one in found] == made
    assert [one.name for one in await store.lineup.names()] == ["One"]
    assert [one.name for one in read_names(store.db.path)] == ["One"]
    assert await store.lineup.count() == 1


async def test_ids_are_kept_if_given_and_never_given_twice(store: Store) -> None:
    assert await store.lineup.add_channel(Channel(77, "One")) == 77
    with pytest.raises(ConfigError):
        await store.lineup.add_channel(Channel(77, "Two"))
    await store.lineup.delete_channel(77)
    assert await store.lineup.add_channel(Channel(0, "Three")) == 78


async def test_a_category_is_made_once_and_its_end_leaves_channels(store: Store) -> None:
    first = await store.lineup.category_named("News")
    assert await store.lineup.category_named("News") == first
    number = await store.lineup.add_channel(Channel(0, "One", categories=(first.id,)))
    await store.lineup.delete_category(first.id)
    found = await store.lineup.channel(number)
    assert found is not None
    assert found.categories == ()


async def test_a_list_is_kept_once_and_a_failure_keeps_what_a_success_brought(store: Store) -> None:
    source = ListSource(0, "playlist", "http://h/list.m3u", name="L")
    number = await store.lineup.add_list(source)
    assert await store.lineup.add_list(source) == number
    await store.lineup.note_refresh(number, now=10, result="{}", etag='"1"')
    await store.lineup.note_refresh(number, now=20, error="timed out")
    found = await store.lineup.list_source(number)
    assert found is not None
    assert (found.refreshed_at, found.succeeded_at) == (20, 10)
    assert (found.last_error, found.last_result, found.etag) == ("timed out", "{}", '"1"')
