"""Imports: ids that stay whatever a list does, and nothing that vanishes by mistake."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rawstream.m3u import NotAList
from rawstream.playlist_import import ImportReport, import_playlist, read_list
from rawstream.records import ListSource
from rawstream.store import Store

DAY = 86_400


class Importer:
    def __init__(self, store: Store, source: ListSource) -> None:
        self.store = store
        self.source = source

    async def take(self, text: str, *, now: int = 1000, **switches: bool) -> ImportReport:
        entries, ending = read_list([text.encode()])
        return await import_playlist(self.store, self.source, entries, ending, now=now, **switches)

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
