"""Imports: ids that stay whatever a list does, and nothing that vanishes by mistake."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rawstream import list_entries
from rawstream.database import FILE_NAME
from rawstream.list_entries import read_list
from rawstream.m3u import NotAList
from rawstream.playlist_import import ImportReport, import_playlist, is_adult, try_playlist
from rawstream.records import Channel, ChannelSource, FilmFacts, ListSource
from rawstream.store import Store

DAY = 86_400


class Importer:
    def __init__(self, store: Store, source: ListSource) -> None:
        self.store = store
        self.source = source

    async def take(self, text: str, *, now: int = 1000, **switches: bool) -> ImportReport:
        entries, ending = read_list([text.encode()])
        return await import_playlist(self.store, self.source, entries, ending, now=now, **switches)

    async def only(self) -> Channel:
        (channel,) = await self.store.lineup.channels()
        return channel

    async def ids(self) -> dict[str, int]:
        return {channel.name: channel.id for channel in await self.store.lineup.channels()}


@pytest.fixture
async def importer(tmp_path: Path) -> AsyncIterator[Importer]:
    store = await Store.open(tmp_path)
    number = await store.lineup.add_list(ListSource(0, "playlist", "http://h/l.m3u"))
    source = await store.lineup.list_source(number)
    assert source is not None
    yield Importer(store, source)
    await store.close()


def ace(number: int) -> str:
    return f"acestream://{number:040x}"


def listed(*entries: tuple[str, str, str]) -> str:
    """(name, URL, attributes) as a list."""
    return "#EXTM3U\n" + "".join(
        f"#EXTINF:-1 {attributes},{name}\n{url}\n" for name, url, attributes in entries
    )


async def test_ten_shuffled_imports_keep_every_id(importer: Importer) -> None:
    entries = [(f"Channel {n % 30}", ace(n), f'group-title="G{n % 4}"') for n in range(60)]
    entries += [(f"Web {n % 5}", f"http://h/{n}.ts", 'tvg-id="same"') for n in range(20)]
    await importer.take(listed(*entries))
    sources = {
        channel.sources[0].value: channel.id for channel in await importer.store.lineup.channels()
    }
    assert len(sources) == 80
    for seed in range(10):
        random.Random(seed).shuffle(entries)
        report = await importer.take(listed(*entries))
        assert (report.added, report.stale) == (0, 0)
    after = await importer.store.lineup.channels()
    assert {channel.sources[0].value: channel.id for channel in after} == sources
    assert [channel.name for channel in after] == [name for name, _url, _more in entries]


async def test_a_rename_and_a_new_address_keep_the_id(importer: Importer) -> None:
    await importer.take(listed(("One", ace(1), 'tvg-id="one.it"'), ("Two", ace(2), "")))
    before = await importer.ids()
    report = await importer.take(listed(("Uno HD", ace(1), 'tvg-id="one.it"'), ("Two", ace(9), "")))
    assert (report.added, report.changed, report.stale) == (0, 2, 0)
    assert await importer.ids() == {"Uno HD": before["One"], "Two": before["Two"]}


async def test_several_ids_of_one_name_stay_several_channels(importer: Importer) -> None:
    await importer.take(listed(("DAZN", ace(1), ""), ("DAZN", ace(2), "")))
    assert len(await importer.store.lineup.channels()) == 2


async def test_or_become_one_channel_with_several_sources(importer: Importer) -> None:
    importer.source = dataclasses.replace(importer.source, merge_names=True)
    await importer.take(listed(("DAZN", ace(1), ""), ("dazn ", ace(2), "")))
    (channel,) = await importer.store.lineup.channels()
    assert [source.value[-1] for source in channel.sources] == ["1", "2"]


async def test_an_id_listed_twice_loses_nothing(importer: Importer) -> None:
    report = await importer.take(
        listed(("One", ace(1), ""), ("One again", ace(1), ""), ("Two", ace(2), ""))
    )
    assert (report.added, report.doubles) == (2, 1)


async def test_what_is_missing_goes_stale_then_retires_and_comes_back_as_itself(
    importer: Importer,
) -> None:
    both, one = listed(("A", ace(1), ""), ("B", ace(2), "")), listed(("A", ace(1), ""))
    await importer.take(both)
    before = await importer.ids()
    report = await importer.take(one, now=DAY)
    assert (report.stale, report.retired) == (1, 0)
    assert await importer.ids() == before, "a stale channel is still there"
    assert (await importer.take(one, now=7 * DAY)).retired == 0
    assert (await importer.take(one, now=8 * DAY)).retired == 1
    assert await importer.ids() == {"A": before["A"]}
    assert (await importer.take(both, now=9 * DAY)).returned == 1
    assert await importer.ids() == before


@pytest.mark.parametrize("text", ["", "#EXTM3U\n", "<html><body>error</body></html>", "{}"])
async def test_what_is_no_list_changes_nothing(importer: Importer, text: str) -> None:
    await importer.take(listed(("A", ace(1), "")))
    before = await importer.store.lineup.channels()
    try:
        await importer.take(text, now=99 * DAY)
    except NotAList:
        pass
    assert await importer.store.lineup.channels() == before


async def test_a_list_that_was_cut_adds_but_misses_nothing(importer: Importer) -> None:
    whole = listed(*((f"C{n}", ace(n), "") for n in range(9)))
    await importer.take(whole)
    before = await importer.ids()
    cut = listed(("New", ace(77), ""), ("C0", ace(0), "")) + "#EXTINF:-1,C1\nacestream://000"
    report = await importer.take(cut, now=99 * DAY, complete=False)
    assert (report.added, report.stale, report.retired, report.complete) == (1, 0, 0, False)
    assert before.items() <= (await importer.ids()).items()


async def test_what_the_operator_set_stays(importer: Importer) -> None:
    await importer.take(listed(("One", ace(1), 'group-title="G"')))
    (channel,) = await importer.store.lineup.channels()
    await importer.store.lineup.set_channel(
        dataclasses.replace(channel, name="Mine"), edited=["name"]
    )
    await importer.take(listed(("One", ace(1), 'group-title="Other"')))
    (after,) = await importer.store.lineup.channels()
    assert (after.name, after.categories != channel.categories) == ("Mine", True)


async def test_a_dry_run_says_the_same_and_does_nothing(importer: Importer) -> None:
    text = listed(("One", ace(1), 'group-title="G"'))
    said = await importer.take(text, dry_run=True)
    assert await importer.store.lineup.channels() == []
    assert await importer.store.lineup.categories() == []
    assert said == await importer.take(text)
    assert said.names["added"] == ["One"]


async def test_channels_of_another_list_and_by_hand_are_not_touched(importer: Importer) -> None:
    other = await importer.store.lineup.add_list(ListSource(0, "playlist", "http://h/other"))
    await importer.take(listed(("A", ace(1), "")))
    importer.source = dataclasses.replace(importer.source, id=other)
    report = await importer.take(listed(("B", ace(1), "")))
    assert (report.added, report.stale) == (1, 0)
    assert sorted(await importer.ids()) == ["A", "B"]


async def test_a_report_can_be_kept(importer: Importer) -> None:
    report = await importer.take("#EXTM3U\n#EXTINF:-1,Nowhere\n#EXTINF:-1,A\n" + ace(1) + "\n")
    kept = await importer.store.lineup.list_source(importer.source.id)
    assert kept is not None
    assert kept.last_result == report.to_json()
    assert (report.dropped, len(report.warnings)) == (1, 1)


# -- several entries that are one channel --


@pytest.fixture
def merging(importer: Importer) -> Importer:
    importer.source = dataclasses.replace(importer.source, merge_names=True)
    return importer


async def test_a_merged_channel_that_lost_its_first_source_is_the_same(merging: Importer) -> None:
    await merging.take(listed(("DAZN", ace(1), 'group-title="A"'), ("DAZN", ace(2), "")))
    before = await merging.only()
    # under another name, so that only the second source's address tells
    report = await merging.take(listed(("Dazn 1", ace(2), ""), ("Dazn 1", ace(3), "")))
    assert (report.added, report.changed, report.stale) == (0, 1, 0)
    assert (await merging.only()).id == before.id


async def test_any_entry_of_a_merged_channel_may_be_the_one_that_is_known(
    merging: Importer,
) -> None:
    await merging.take(listed(("DAZN", ace(1), 'tvg-id="d.it" group-title="A"')))
    before = await merging.only()
    entries = [("DAZN", ace(7), 'group-title="B"'), ("DAZN", ace(8), 'tvg-id="d.it"')]
    assert (await merging.take(listed(*entries))).added == 0
    assert (await merging.only()).id == before.id
    entries = [("DAZN", ace(5), ""), ("DAZN", ace(6), 'group-title="B"')]
    assert (await merging.take(listed(*entries))).added == 0
    assert (await merging.only()).id == before.id


async def test_channels_that_come_apart_again_keep_what_they_can(merging: Importer) -> None:
    entries = [("DAZN", ace(1), ""), ("DAZN", ace(2), "")]
    await merging.take(listed(*entries))
    before = await merging.only()
    merging.source = dataclasses.replace(merging.source, merge_names=False)
    report = await merging.take(listed(*reversed(entries)))
    assert (report.added, report.stale) == (1, 0)
    by_source = {c.sources[0].value: c.id for c in await merging.store.lineup.channels()}
    assert by_source[f"{1:040x}"] == before.id


# -- what is there meanwhile --


async def test_two_imports_at_once_make_no_channel_twice(importer: Importer) -> None:
    text = listed(*((f"C{n}", ace(n), "") for n in range(50)))
    reports = await asyncio.gather(*(importer.take(text) for _ in range(3)))
    assert sorted(report.added for report in reports) == [0, 0, 50]
    assert len(await importer.store.lineup.channels()) == 50


async def test_an_edit_while_an_import_waits_is_not_lost(importer: Importer) -> None:
    await importer.take(listed(("One", ace(1), "")))
    async with importer.store.db.write() as transaction:
        waiting = asyncio.create_task(importer.take(listed(("Uno", ace(1), 'tvg-id="one.it"'))))
        for _ in range(100):
            await asyncio.sleep(0)
        await transaction.execute("UPDATE channels SET name = 'Mine', edited = 'name'")
    await waiting
    channel = await importer.only()
    assert (channel.name, channel.guide_id, channel.edited) == ("Mine", "one.it", {"name"})


async def test_what_was_learnt_of_a_source_stays(importer: Importer) -> None:
    await importer.take(listed(("One", ace(1), ""), ("Two", ace(2), "")))
    async with importer.store.db.write() as transaction:
        await transaction.execute("UPDATE channel_sources SET infohash = ?", ("f" * 40,))
    assert (await importer.take(listed(("One", ace(1), ""), ("Two", ace(2), "")))).unchanged == 2
    await importer.take(listed(("Uno", ace(1), ""), ("Two", ace(3), "")))
    one, two = await importer.store.lineup.channels()
    assert (one.name, one.sources[0].infohash) == ("Uno", "f" * 40)
    assert two.sources[0].infohash is None, "it was another content's"


async def test_sources_made_by_hand_stay_where_they_are(importer: Importer) -> None:
    await importer.take(listed(("One", ace(1), "")))
    channel = await importer.only()
    first, last, later = (ChannelSource("direct", f"http://mine/{n}.ts") for n in range(3))
    sources = (first, *channel.sources, last, later)
    await importer.store.lineup.set_channel(dataclasses.replace(channel, sources=sources))
    await importer.take(listed(("Uno", ace(1), "")))
    assert (await importer.only()).sources == sources
    # whatever the list's own become
    await importer.take(listed(("Uno", ace(9), "")))
    assert [source.value[-5:] for source in (await importer.only()).sources] == [
        "/0.ts", "00009", "/1.ts", "/2.ts"
    ]  # fmt: skip


# -- the report --


async def test_a_channel_that_only_moved_is_not_changed(importer: Importer) -> None:
    entries = [(name, ace(number), "") for number, name in enumerate("ABC")]
    await importer.take(listed(*entries))
    report = await importer.take(listed(*reversed(entries)))
    assert (report.moved, report.changed, report.unchanged) == (2, 0, 1)
    assert report.names["moved"] == ["A", "C"]
    assert list(await importer.ids()) == ["C", "B", "A"]
    assert await importer.store.lineup.undo_last(importer.source.id)
    assert list(await importer.ids()) == ["A", "B", "C"]


async def test_an_import_without_changes_leaves_the_undo_before_it(importer: Importer) -> None:
    await importer.take(listed(("One", ace(1), "")))
    await importer.take(listed(("Uno", ace(1), 'group-title="New"')))
    kinds = await importer.store.db.kinds()
    assert (await importer.take(listed(("Uno", ace(1), 'group-title="New"')))).unchanged == 1
    assert await importer.store.db.kinds() == kinds, "nobody has to read the line-up again"
    assert await importer.store.lineup.undo_last(importer.source.id)
    assert (await importer.only()).name == "One"


async def test_a_group_whose_channels_are_sorted_by_hand_makes_no_category(
    importer: Importer,
) -> None:
    await importer.take(listed(("One", ace(1), "")))
    channel = await importer.only()
    await importer.store.lineup.set_channel(channel, edited=["categories"])
    await importer.take(listed(("One", ace(1), 'group-title="G"')))
    assert await importer.store.lineup.categories() == []


async def test_a_trial_of_a_file_says_what_the_import_then_says(
    importer: Importer, tmp_path: Path
) -> None:
    texts = [
        listed(*((f"C{n}", ace(n), f'group-title="G{n % 3}"') for n in range(40))),
        listed(*((f"D{n}", ace(n), f'group-title="G{n % 5}"') for n in range(50, 5, -1))),
        listed(("C2", ace(2), ""), ("New", ace(99), "")),
    ]
    for day, text in enumerate(texts):
        entries, ending = read_list([text.encode()])
        source = ListSource(0, "playlist", importer.source.url)
        said = await try_playlist(tmp_path / FILE_NAME, source, entries, ending, now=day * 9 * DAY)
        assert said == await importer.take(text, now=day * 9 * DAY)
        assert said.added
    empty = await try_playlist(tmp_path / "none.db", importer.source, entries, ending)
    assert (empty.added, (tmp_path / "none.db").exists()) == (2, False)


# -- films --

FILMS = listed(
    ("One", "http://h/live/u/p/1.ts", 'group-title="News"'),
    ("Film (2020)", "http://h/movie/u/p/2.mkv", 'group-title="Films" plot="A plot"'),
    ("Show S01E01", "http://h/series/u/p/3.mp4", 'group-title="Shows" tvg-logo="http://l/1.png"'),
    ("SHOW s01 e02", "http://h/series/u/p/4.mp4", 'group-title="Shows" tvg-logo="http://l/2.png"'),
)


async def test_films_of_a_list_are_films_and_the_summary_counts_them(importer: Importer) -> None:
    report = await importer.take(FILMS)
    assert (report.movies, report.episodes) == (1, 2)
    assert report.summary().startswith("4 entries, of them 1 film and 2 episodes: 4 added, ")
    one, film, first, second = await importer.store.lineup.channels()
    assert (one.kind, one.extension, one.facts, one.series_id) == ("live", "", None, None)
    assert (film.kind, film.extension, film.facts) == ("movie", "mkv", FilmFacts("A plot"))
    (series,) = await importer.store.lineup.series()
    assert (series.name, series.cover) == ("Show", "http://l/1.png"), "as its first entry has them"
    assert [(one.series_id, one.season, one.episode) for one in (first, second)] == [
        (series.id, 1, 1),
        (series.id, 1, 2),
    ]
    again = await importer.take(FILMS)
    assert (again.unchanged, again.changed) == (4, 0)
    live = await importer.take(listed(("One", "http://h/live/u/p/1.ts", "")))
    assert live.summary().startswith("1 entries: ")


async def test_what_came_as_a_channel_becomes_a_film_under_its_id(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(list_entries, "film_of", lambda _entry: None)  # a version before films
        await importer.take(FILMS)
    before = await importer.store.lineup.channels()
    assert {channel.kind for channel in before} == {"live"}
    report = await importer.take(FILMS)
    assert (report.added, report.changed, report.unchanged) == (0, 3, 1)
    after = await importer.store.lineup.channels()
    assert [channel.id for channel in after] == [channel.id for channel in before]
    assert [channel.kind for channel in after] == ["live", "movie", "episode", "episode"]
    assert await importer.store.lineup.undo_last(importer.source.id)
    assert await importer.store.lineup.channels() == before


async def test_a_kind_that_was_set_by_hand_stays(importer: Importer) -> None:
    lineup = importer.store.lineup
    await importer.take(FILMS)
    one, film, first, second = await lineup.channels()
    mine = Channel(0, "", kind="movie", extension="ts")
    wanted = [
        dataclasses.replace(one, kind=mine.kind, extension=mine.extension),
        dataclasses.replace(film, kind="live", extension="", facts=None),
        dataclasses.replace(first, season=7),
        dataclasses.replace(second, series_id=(await lineup.series_named("Mine")).id),
    ]
    for channel, name in zip(wanted, ("kind", "kind", "season", "series_id"), strict=True):
        await lineup.set_channel(channel, edited=[name])
    await importer.take(FILMS)
    found = await lineup.channels()
    assert [dataclasses.replace(one, edited=frozenset()) for one in found] == wanted


async def test_a_series_that_is_sorted_by_hand_is_not_made(importer: Importer) -> None:
    url = "http://h/play/1"
    await importer.take(listed(("Show S01E01", url, "")))
    channel = await importer.only()
    assert channel.kind == "live"
    await importer.store.lineup.set_channel(channel, edited=["kind"])
    await importer.take(listed(("Show S01E01", url, 'tvg-type="series"')))
    assert (await importer.only()).kind == "live"
    assert await importer.store.lineup.series() == []


async def test_a_series_keeps_its_id_through_shuffles_and_gets_the_newest_cover(
    importer: Importer,
) -> None:
    entries = [
        (f"Show {n % 3} S01E{n:02}", f"http://h/series/u/p/{n}.mkv", f'tvg-logo="http://l/{n % 3}"')
        for n in range(1, 13)
    ]
    await importer.take(listed(*entries))
    names = {series.id: series.name for series in await importer.store.lineup.series()}
    assert sorted(names.values()) == ["Show 0", "Show 1", "Show 2"]
    random.Random(3).shuffle(entries)
    moved = [(name, url, logo.replace("//l/", "//new/")) for name, url, logo in entries]
    await importer.take(listed(*moved, ("Show 4 S01E01", "http://h/series/u/p/99.mkv", "")))
    found = await importer.store.lineup.series()
    named: dict[int | None, str] = {**names, max(names) + 1: "Show 4"}
    assert {one.id: one.name for one in found} == named
    assert {one.cover for one in found} == {f"http://new/{n}" for n in range(3)} | {""}
    for channel in await importer.store.lineup.channels():
        assert channel.name.startswith(f"{named[channel.series_id]} S01E")


async def test_a_channel_and_a_film_of_one_name_are_not_merged(importer: Importer) -> None:
    importer.source = dataclasses.replace(importer.source, merge_names=True)
    await importer.take(
        listed(
            ("Titanic", ace(1), ""),
            ("Titanic", "http://h/movie/u/p/2.mkv", ""),
            ("Titanic", "http://h/movie/u/p/3.mkv", ""),
        )
    )
    found = await importer.store.lineup.channels()
    assert [(one.kind, len(one.sources)) for one in found] == [("live", 1), ("movie", 2)]


async def test_a_trial_says_what_becomes_of_films(importer: Importer, tmp_path: Path) -> None:
    entries, ending = read_list([FILMS.encode()])
    said = await try_playlist(tmp_path / FILE_NAME, importer.source, entries, ending, now=1000)
    assert await importer.store.lineup.series() == []
    assert said == await importer.take(FILMS)


# -- lists whose end nobody announced --


async def test_a_list_that_ended_with_its_connection_is_believed_if_it_looks_whole(
    importer: Importer,
) -> None:
    whole = listed(*((f"C{n}", ace(n), "") for n in range(20)))
    assert (await importer.take(whole, announced=False)).complete
    shorter = listed(*((f"C{n}", ace(n), "") for n in range(19)))
    report = await importer.take(shorter, announced=False)
    assert (report.complete, report.stale) == (True, 1)
    report = await importer.take(shorter.rstrip("\n"), announced=False)
    assert (report.complete, report.entries) == (False, 18), "its last line may be half a line"


async def test_a_list_that_became_much_shorter_is_believed_the_second_time(
    importer: Importer,
) -> None:
    await importer.take(listed(*((f"C{n}", ace(n), "") for n in range(20))), announced=False)
    half = listed(*((f"C{n}", ace(n), "") for n in range(10)))
    report = await importer.take(half, announced=False)
    assert (report.complete, report.stale) == (False, 0)
    report = await importer.take(half, announced=False)
    assert (report.complete, report.stale) == (True, 10)


async def test_two_cuts_at_different_places_are_not_believed(importer: Importer) -> None:
    def first(count: int) -> str:
        return listed(*((f"C{n}", ace(n), "") for n in range(count)))

    async def take(count: int) -> tuple[bool, int]:
        number = importer.source.id
        source = await importer.store.lineup.list_source(number)
        assert source is not None
        importer.source = source
        report = await importer.take(first(count), announced=False)
        return report.complete, report.stale

    assert await take(50) == (True, 0)
    assert await take(20) == (False, 0)
    assert await take(19) == (False, 0)
    assert await take(49) == (True, 1), "nearly all of what there was"


async def test_a_packed_list_that_was_cut_misses_nothing(importer: Importer) -> None:
    text = listed(*((f"C{n}", ace(n), "") for n in range(2000)))
    await importer.take(text)
    entries, ending = read_list([gzip.compress(text.encode())[:-2000]])
    report = await import_playlist(importer.store, importer.source, entries, ending)
    assert 0 < report.entries < 2000
    assert (report.complete, report.stale) == (False, 0)


# -- groups for adults --


@pytest.mark.parametrize(
    "name",
    [
        *(
            "XXX",
            "xxx | Movies",
            "18+",
            "+18",
            "IT 18+",
            "For Adults",
            "ADULT",
            "VOD_ADULTS",
            "Adulti",
        ),
        *("Adultos", "ADULTES", "Für Erwachsene", "Fu\u0308r Erwachsene", "Erotik", "Érotique"),
        *("Erotica", "Erótico", "XXX18", "[18+]", "Porno", "Erotic", "Erotici"),
    ],
)
def test_groups_for_adults_are_known(name: str) -> None:
    assert is_adult(name)


@pytest.mark.parametrize(
    "name",
    ["Sussex", "xxxl", "Super Bowl XXXV", "Adult Swim", "Adulthood", "118+", "2018", "Neurotic"],
)
def test_words_that_only_look_so_are_not(name: str) -> None:
    assert not is_adult(name)


async def test_what_a_removed_list_left_is_not_mixed_up_with_a_lists_own(
    importer: Importer,
) -> None:
    text = listed(("One", ace(1), "G"), ("Two", ace(2), ""))
    await importer.take(text)
    own = await importer.ids()
    number = await importer.store.lineup.add_list(ListSource(0, "playlist", "http://h/other"))
    other = await importer.store.lineup.list_source(number)
    assert other is not None
    await import_playlist(importer.store, other, *read_list([text.encode()]))
    await importer.store.lineup.delete_list(number)
    report = await importer.take(text)
    assert (report.added, report.stale, report.unchanged) == (0, 0, 2)
    mine = [one for one in await importer.store.lineup.channels() if one.playlist_id is not None]
    assert {one.name: one.id for one in mine} == own
