"""Lists that are built once."""

from __future__ import annotations

import gzip

import orjson
from lxml import etree

from rawstream.catalogue import Catalogue
from rawstream.m3u import M3uReader
from rawstream.records import Account, Category, Channel
from rawstream.xtream_lists import XtreamLists

CATALOGUE = Catalogue(
    1,
    [
        Channel(1, 'One "HD", the first', logo="http://l", guide_id="one.it", categories=(3,)),
        Channel(2, "Radio", radio=True),
        *(Channel(number, f"More {number}", categories=(3,)) for number in range(3, 40)),
    ],
    [Category(3, "News;Sport")],
)
VIEW = CATALOGUE.visible(Account(1, "ana", ""))


async def m3u(plus: bool = True, user: str = "ana") -> str:
    body = await XtreamLists().m3u(
        VIEW,
        plus=plus,
        extension=".ts",
        stream_prefix=f"http://h/live/{user}/pw/",
        guide_url=f"http://h/xmltv.php?username={user}",
    )
    return body.decode()


async def test_row_22_the_list_reads_back() -> None:
    text = await m3u()
    assert text.startswith("#EXTM3U ")
    reader = M3uReader()
    entries = reader.feed(text.encode())
    ending = reader.finish()
    assert (len(entries), ending.dropped, ending.warnings) == (39, 0, ())
    assert reader.guide_urls == ["http://h/xmltv.php?username=ana"]
    assert 'x-tvg-url="http' in text
    first, radio = entries[:2]
    assert first.url == "http://h/live/ana/pw/1.ts"
    assert (first.tvg_id, first.groups, first.name) == (
        "one.it",
        ("News Sport",),
        "One 'HD' the first",
    )
    assert radio.radio
    assert radio.groups == ("Other",)
    for line in text.splitlines():
        if line.startswith("#EXTINF"):
            assert line.rpartition('",')[0].rpartition(' group-title="')[1], "group-title is last"


async def test_a_plain_list_has_names_and_urls_only() -> None:
    lines = (await m3u(plus=False)).splitlines()
    assert lines[:3] == ["#EXTM3U", "#EXTINF:-1,One 'HD' the first", "http://h/live/ana/pw/1.ts"]


async def test_one_build_serves_everybody_and_mixes_nobody_up() -> None:
    lists = XtreamLists()

    async def of(user: str) -> bytes:
        return await lists.m3u(
            VIEW, plus=True, extension=".ts", stream_prefix=f"/{user}/", guide_url=user
        )

    assert b"ana" not in await of("bob")
    assert b"/ana/1.ts" in await of("ana")
    first = await lists.streams(CATALOGUE, VIEW, None)
    assert await lists.streams(CATALOGUE, VIEW, None) is first


async def test_streams_are_packed_and_filtered() -> None:
    lists = XtreamLists()
    everything = await lists.streams(CATALOGUE, VIEW, None)
    assert everything.packed is not None
    assert gzip.decompress(everything.packed) == everything.body
    assert len(orjson.loads(everything.body)) == 39
    assert len(orjson.loads((await lists.streams(CATALOGUE, VIEW, 3)).body)) == 38
    assert (await lists.streams(CATALOGUE, VIEW, 12345)).body == b"[]"


async def test_the_guide_is_a_valid_document() -> None:
    root = etree.fromstring((await XtreamLists().xmltv(VIEW)).body)
    assert [channel.get("id") for channel in root] == ["one.it"]
