"""Lists and guides from where they are to what players see: changes, failures, and when again."""

from __future__ import annotations

import dataclasses
import gzip
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from guides import HOUR, guide, show
from web import Site, site

from rawstream.config import Config
from rawstream.errors import FormatError, StateError, UpstreamError
from rawstream.lineup import due_at, refresh, try_out
from rawstream.records import ListKind, ListSource
from rawstream.store import Store

PLAYLIST = b'#EXTM3U\n#EXTINF:-1 tvg-id="one.it",One\nhttp://h/1.ts\n'


class Lists:
    def __init__(self, store: Store, config: Config, web: Site) -> None:
        self.store = store
        self.config = config
        self.web = web

    async def add(self, kind: ListKind, url: str) -> ListSource:
        number = await self.store.lineup.add_list(ListSource(0, kind, url))
        return await self.get(number)

    async def get(self, number: int) -> ListSource:
        found = await self.store.lineup.list_source(number)
        assert found is not None
        return found

    async def names(self) -> list[str]:
        return [channel.name for channel in await self.store.lineup.channels()]


@pytest.fixture
async def lists(tmp_path: Path) -> AsyncIterator[Lists]:
    store = await Store.open(tmp_path)
    async with site() as web:
        yield Lists(store, Config(data=tmp_path), web)
    await store.close()


async def test_a_list_is_read_when_it_has_changed(lists: Lists) -> None:
    lists.web.documents["/l.m3u"] = PLAYLIST
    lists.web.etags["/l.m3u"] = '"1"'
    source = await lists.add("playlist", f"{lists.web.base}/l.m3u")
    report = await refresh(lists.store, source, lists.config)
    assert report is not None
    assert "1 added" in report.summary()
    source = await lists.get(source.id)
    assert (source.etag, source.last_error) == ('"1"', "")
    assert await refresh(lists.store, source, lists.config) is None
    assert lists.web.requests[-1][1]["if-none-match"] == '"1"'
    lists.web.etags["/l.m3u"] = '"2"'
    lists.web.documents["/l.m3u"] = PLAYLIST.replace(b",One", b",Uno")
    assert await refresh(lists.store, source, lists.config) is not None
    assert await lists.names() == ["Uno"]
    assert await refresh(lists.store, source, lists.config, force=True) is not None


async def test_a_file_is_read_when_it_has_changed(lists: Lists, tmp_path: Path) -> None:
    path = tmp_path / "list.m3u"
    path.write_bytes(PLAYLIST)
    source = await lists.add("playlist", str(path))
    assert await refresh(lists.store, source, lists.config) is not None
    source = await lists.get(source.id)
    assert await refresh(lists.store, source, lists.config) is None
    path.write_bytes(PLAYLIST + b"#EXTINF:-1,Two\nhttp://h/2.ts\n")
    assert await refresh(lists.store, source, lists.config) is not None
    assert await lists.names() == ["One", "Two"]


async def test_what_fails_is_noted_and_changes_nothing(lists: Lists, tmp_path: Path) -> None:
    lists.web.documents["/l.m3u"] = PLAYLIST
    source = await lists.add("playlist", f"{lists.web.base}/l.m3u")
    await refresh(lists.store, source, lists.config)
    good = await lists.get(source.id)
    lists.web.status = 500
    with pytest.raises(UpstreamError):
        await refresh(lists.store, good, lists.config)
    lists.web.status = 200
    lists.web.documents["/l.m3u"] = b"<html>Please log in</html>"
    with pytest.raises(FormatError):
        await refresh(lists.store, good, lists.config)
    failed = await lists.get(source.id)
    assert failed.last_error
    assert failed.last_result == good.last_result
    assert await lists.names() == ["One"]
    gone = await lists.add("guide", str(tmp_path / "none.xml"))
    with pytest.raises(StateError):
        await refresh(lists.store, gone, lists.config)
    assert "No such file" in (await lists.get(gone.id)).last_error


async def test_a_secret_in_an_address_is_in_no_error(lists: Lists) -> None:
    source = await lists.add("playlist", f"{lists.web.base}/l.m3u?password=canary")
    with pytest.raises(UpstreamError) as caught:
        await refresh(lists.store, source, lists.config)
    assert "canary" not in str(caught.value)
    assert "canary" not in (await lists.get(source.id)).last_error


async def test_a_guide_finds_channels_whichever_comes_first(lists: Lists) -> None:
    now = int(time.time())
    lists.web.documents["/g.xml"] = guide(
        show("1", now, now + HOUR, "Film"), names=[("1", "One HD")]
    )
    lists.web.documents["/l.m3u"] = PLAYLIST
    told: list[tuple[str, int, int | None]] = []
    await refresh(
        lists.store,
        await lists.add("guide", f"{lists.web.base}/g.xml"),
        lists.config,
        progress=lambda *how_far: told.append(how_far),
    )
    size = len(lists.web.documents["/g.xml"])
    assert told == [("fetching", size, size), ("reading", size, size)]
    assert await lists.store.guide.guide_ids() == {}
    source = await lists.add("playlist", f"{lists.web.base}/l.m3u")
    await refresh(lists.store, source, lists.config)
    (channel,) = await lists.store.lineup.channels()
    assert await lists.store.guide.guide_ids() == {channel.id: "1"}


async def test_a_dry_run_writes_nothing_down(lists: Lists) -> None:
    lists.web.documents["/l.m3u"] = PLAYLIST
    tried = ListSource(0, "playlist", f"{lists.web.base}/l.m3u")
    report = await try_out(tried, lists.config)
    assert "1 added" in report.summary()
    lists.web.documents["/g.xml"] = guide(show("one.it", int(time.time()), 1 << 31, "Film"))
    tried = ListSource(0, "guide", f"{lists.web.base}/g.xml")
    assert "0 of 0 channels" in (await try_out(tried, lists.config)).summary()
    assert await lists.store.lineup.lists() == []
    assert await lists.names() == []


def test_when_a_list_is_due() -> None:
    source = ListSource(1, "playlist", "u", interval_seconds=3600)
    assert due_at(source, 0, 2000) == 0
    well = dataclasses.replace(source, refreshed_at=1000)
    assert due_at(well, 0, 2000) == 4600
    failed = dataclasses.replace(well, last_error="500")
    assert [due_at(failed, count, 2000) for count in (1, 2, 3, 9)] == [1060, 1120, 1240, 4600]
    assert due_at(dataclasses.replace(well, enabled=False), 0, 2000) is None
    assert due_at(dataclasses.replace(well, interval_seconds=0), 0, 2000) is None
    assert due_at(dataclasses.replace(well, held=True), 0, 2000) is None


def test_a_list_that_was_read_in_the_future_is_due() -> None:
    source = ListSource(1, "playlist", "u", interval_seconds=3600, refreshed_at=4_000_000_000)
    assert due_at(source, 0, 1_000_000_000) == 0


async def test_the_rest_of_a_list_that_was_cut_is_asked_for_again(lists: Lists) -> None:
    whole = b"".join(b"#EXTINF:-1,C%d\nhttp://h/%d.ts\n" % (n, n) for n in range(3000))
    packed = gzip.compress(b"#EXTM3U\n" + whole)
    lists.web.documents["/l.m3u"] = packed[: len(packed) // 2]
    lists.web.etags["/l.m3u"] = '"1"'
    source = await lists.add("playlist", f"{lists.web.base}/l.m3u")
    report = await refresh(lists.store, source, lists.config)
    assert report is not None
    assert not report.complete
    lists.web.documents["/l.m3u"] = packed
    assert await refresh(lists.store, await lists.get(source.id), lists.config) is not None
    assert len(await lists.names()) == 3000


async def test_what_is_missing_is_retired_though_the_list_stays_as_it_is(lists: Lists) -> None:
    lists.web.documents["/l.m3u"] = PLAYLIST + b"#EXTINF:-1,Two\nhttp://h/2.ts\n"
    source = await lists.add("playlist", f"{lists.web.base}/l.m3u")
    await refresh(lists.store, source, lists.config)
    lists.web.documents["/l.m3u"], lists.web.etags["/l.m3u"] = PLAYLIST, '"2"'
    await refresh(lists.store, await lists.get(source.id), lists.config)
    assert await lists.names() == ["One", "Two"]
    assert await refresh(lists.store, await lists.get(source.id), lists.config) is None
    async with lists.store.db.write() as transaction:
        await transaction.execute("UPDATE channels SET stale_since = 1 WHERE name = 'Two'")
    assert await refresh(lists.store, await lists.get(source.id), lists.config) is not None
    assert await lists.names() == ["One"]
    assert await refresh(lists.store, await lists.get(source.id), lists.config) is None
