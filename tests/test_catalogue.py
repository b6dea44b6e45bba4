"""What each kind of account sees of the line-up, and that changes are seen."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import weakref
from collections.abc import Collection
from pathlib import Path

import pytest
from stage import until

from rawstream import catalogue as catalogue_module
from rawstream.catalogue import UNSORTED, Catalogue, Films, LiveCatalogue, View
from rawstream.records import Account, Category, Channel, Series
from rawstream.store import Store

NEWS, NIGHT = Category(1, "News"), Category(2, "Night", adult=True)
CHANNELS = (
    Channel(10, "One", categories=(1,)),
    Channel(11, "Late", categories=(2,)),
    Channel(12, "Both", categories=(1, 2)),
    Channel(13, "Bare"),
    Channel(14, "Off", categories=(1,), enabled=False),
)
ANYONE = Account(1, "ana", "")


def names(account: Account, *, adult_hidden: bool = False) -> tuple[list[str], list[str]]:
    view = Catalogue(1, CHANNELS, (NEWS, NIGHT), adult_hidden=adult_hidden).visible(account)
    assert Catalogue(1, CHANNELS).names == {10: "One", 11: "Late", 12: "Both", 13: "Bare"}
    assert set(view.by_id) == {channel.id for channel in view.channels}
    return [channel.name for channel in view.channels], [one.name for one in view.categories]


def test_everything_that_is_on_is_seen_and_everything_has_a_category() -> None:
    assert names(ANYONE) == (["One", "Late", "Both", "Bare"], ["News", "Night", UNSORTED.name])


def test_an_account_sees_its_categories_only() -> None:
    account = dataclasses.replace(ANYONE, categories=frozenset({1}))
    assert names(account) == (["One", "Both"], ["News"])
    assert names(dataclasses.replace(ANYONE, categories=frozenset())) == ([], [])


def test_what_is_for_adults_can_be_hidden_from_one_or_from_all() -> None:
    child = dataclasses.replace(ANYONE, show_adult=False)
    assert names(child) == (["One", "Bare"], ["News", UNSORTED.name])
    assert names(ANYONE, adult_hidden=True) == names(child)


def test_a_catalogue_that_is_replaced_goes_at_once_without_a_collection() -> None:
    channels = (*CHANNELS, Channel(15, "Ours", logo="/logos/a.png"), *FILMS)
    gc.disable()
    try:
        catalogue = Catalogue(1, channels, (NEWS, NIGHT), series=SERIES)
        for account in (ANYONE, dataclasses.replace(ANYONE, show_adult=False)):
            for base in ("", "http://tv"):
                assert catalogue.visible(account, base).series
        gone = weakref.ref(catalogue)
        del catalogue
        assert gone() is None
    finally:
        gc.enable()


FILMS = (
    Channel(20, "Film", categories=(3,), kind="movie"),
    Channel(21, "Late film", categories=(2,), kind="movie"),
    Channel(22, "Bare film", kind="movie", logo="/logos/film.png"),
    Channel(23, "Off film", categories=(3,), kind="movie", enabled=False),
    Channel(30, "S01E02", categories=(3,), kind="episode", series_id=7, season=1, episode=2),
    Channel(31, "S01E01", categories=(1,), kind="episode", series_id=7, season=1, episode=1),
    Channel(32, "Late part", categories=(2,), kind="episode", series_id=8, added_at=5),
    Channel(33, "Part of nothing", categories=(3,), kind="episode", series_id=9),
)
SERIES = (Series(7, "Show", "/logos/show.png"), Series(8, "Late show"), Series(10, "Empty"))


def shelves(account: Account, base: str = "") -> View:
    films = Category(3, "Films", position=-1)
    things = ((*CHANNELS, *FILMS), (films, NEWS, NIGHT))
    return Catalogue(1, *things, series=SERIES).visible(account, base)


def test_films_stand_apart_from_what_is_live() -> None:
    view = shelves(ANYONE)
    assert [one.id for one in view.channels] == sorted(view.by_id) == [10, 11, 12, 13]
    assert [one.name for one in view.categories] == ["News", "Night", UNSORTED.name]
    assert [one.id for one in view.movies] == [20, 21, 22]
    assert [one.name for one in view.movie_categories] == ["Films", "Night", UNSORTED.name]
    show, late = view.series
    assert (show.series.name, [one.id for one in show.episodes]) == ("Show", [31, 30])
    assert show.categories == (3, 1), "of its episodes, in the order of the line-up"
    assert (late.series.name, late.added_at) == ("Late show", 5)
    assert [one.name for one in view.series_categories] == ["Films", "News", "Night"]
    assert view.series_by_id == {7: show, 8: late}
    assert sorted(view.films) == [20, 21, 22, 30, 31, 32, 33], "one of no series plays too"
    assert view.films[20].name == "Film"
    assert len(view.films) == 7
    assert 10 not in view.films


def test_films_are_hidden_as_channels_are() -> None:
    child = shelves(dataclasses.replace(ANYONE, show_adult=False))
    assert [one.id for one in child.movies] == [20, 22]
    assert [one.series.name for one in child.series] == ["Show"]
    assert 21 not in child.films
    assert child.films.get(32) is None
    some = shelves(dataclasses.replace(ANYONE, categories=frozenset({1})))
    assert (some.movies, some.movie_categories) == ((), ())
    assert [one.id for one in some.series[0].episodes] == [31]
    assert [one.name for one in some.series_categories] == ["News"]
    assert list(some.films) == [31]


def test_pictures_of_films_that_are_ours_get_the_address_we_are_known_by() -> None:
    view = shelves(ANYONE, "http://tv")
    assert view.films[22].logo == view.movies[2].logo == "http://tv/logos/film.png"
    assert view.series[0].series.cover == "http://tv/logos/show.png"


def test_a_film_is_looked_up_without_sorting_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    view = shelves(ANYONE)
    monkeypatch.setattr(Films, "shelves", lambda _self: pytest.fail("all of them were sorted"))
    assert view.films[20].name == "Film"


def test_equal_accounts_share_a_view() -> None:
    catalogue = Catalogue(1, CHANNELS, (NEWS, NIGHT))
    assert catalogue.visible(ANYONE) is catalogue.visible(Account(2, "bob", "x"))


async def test_a_change_by_another_process_is_seen(tmp_path: Path) -> None:
    ours, theirs = [await Store.open(tmp_path) for _ in range(2)]
    told: list[Collection[str]] = []

    async def on_change(kinds: Collection[str]) -> None:
        told.append(kinds)

    live = LiveCatalogue(ours, on_change=on_change)
    await live.look()
    await theirs.lineup.add_channel(Channel(0, "New"))
    await theirs.accounts.add(ANYONE)
    await live.look()
    assert [channel.name for channel in live.current.channels] == ["New"]
    assert told == [{"lineup", "accounts"}]
    current = live.current
    await live.look()
    assert live.current is current
    await ours.close()
    await theirs.close()


def test_a_guide_id_that_no_list_can_hold_is_changed_for_every_list() -> None:
    odd = Channel(7, "Odd", guide_id='b"est\n')
    known = Channel(8, "Known", guide_id="theirs")
    view = Catalogue(1, (odd, known), guide_ids={8: "matched"}).visible(Account(1, "a", "h"))
    assert [channel.guide_id for channel in view.channels] == ["b'est", "matched"]


def test_logos_that_are_ours_get_the_address_we_are_known_by() -> None:
    channels = (
        Channel(10, "One", logo="/logos/one.png", categories=(1,)),
        Channel(11, "Two", logo="http://else/two.png", categories=(1,)),
    )
    catalogue = Catalogue(1, channels, (NEWS,))
    view = catalogue.visible(ANYONE, "http://tv/p")
    assert [one.logo for one in view.channels] == [
        "http://tv/p/logos/one.png",
        "http://else/two.png",
    ]
    assert view is catalogue.visible(ANYONE, "http://tv/p")
    assert view.key != catalogue.visible(ANYONE, "http://other").key
    for number in range(1000):
        catalogue.visible(ANYONE, f"http://host{number}")
    assert len(catalogue._addressed_views) < 100, "anybody can make up a Host"
    plain = Catalogue(1, channels[1:], (NEWS,))
    assert plain.visible(ANYONE, "http://a") is plain.visible(ANYONE, "http://b")


async def test_a_change_that_cannot_be_taken_in_does_not_end_the_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue_module, "LOOK_SECONDS", 0.01)
    store = await Store.open(tmp_path)
    failures = [ValueError("a row that nobody can read")]

    async def on_change(_kinds: Collection[str]) -> None:
        if failures:
            raise failures.pop()

    live = LiveCatalogue(store, on_change=on_change)
    watching = asyncio.create_task(live.watch())
    await store.lineup.add_channel(Channel(0, "First"))
    await until(lambda: not failures or watching.done())
    other = await Store.open(tmp_path)
    await other.lineup.add_channel(Channel(0, "Second"))
    await until(lambda: len(live.current.channels) == 2 or watching.done())
    assert [channel.name for channel in live.current.channels] == ["First", "Second"]
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await other.close()
    await store.close()


async def test_who_looks_sees_his_change_whoever_else_is_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await Store.open(tmp_path)
    catalogue = LiveCatalogue(store)
    read, reading, go_on = store.lineup.channels, asyncio.Event(), asyncio.Event()

    async def slowly() -> list[Channel]:
        found = await read()
        monkeypatch.setattr(store.lineup, "channels", read)
        reading.set()
        await go_on.wait()
        return found

    try:
        await store.lineup.add_channel(Channel(1, "One"))
        monkeypatch.setattr(store.lineup, "channels", slowly)
        other = asyncio.create_task(catalogue.look())
        await reading.wait()
        await store.lineup.set_channel(Channel(1, "Uno"))
        mine = asyncio.create_task(catalogue.look())
        for _ in range(100):  # as long as a reading that does not wait for the other would take
            await asyncio.sleep(0.002)
        go_on.set()
        await mine
        await other
        assert [one.name for one in catalogue.current.channels] == ["Uno"]
    finally:
        await store.close()
