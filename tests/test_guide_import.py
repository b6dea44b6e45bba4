"""Guides taken in: what is kept, what stays when a document is bad, whose guide it becomes."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from guides import HOUR, NOON, add_guide, bare, guide, show

from rawstream.errors import FormatError
from rawstream.guide import listings
from rawstream.guide_import import import_guide, rematch, try_guide
from rawstream.records import Channel, ListSource
from rawstream.store import Store

DAY = 24 * HOUR


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path)
    await store.lineup.add_channel(Channel(0, "Rai 1 HD", guide_id="rai1.it"))
    await store.lineup.add_channel(Channel(0, "Canale 5"))
    yield store
    await store.close()


async def titles(store: Store, guide_id: str) -> list[str]:
    return [one.title for one in await listings(store.guide, guide_id, NOON - 9 * DAY, NOON + DAY)]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
async def test_a_guide_comes_in_and_finds_its_channels(store: Store, pack: type[bytes]) -> None:
    document = guide(
        show("rai1.it", NOON, NOON + HOUR, "News & more", "Of <the> day"),
        show("c5", NOON, NOON + HOUR, "Film"),
        names=[("rai1.it", "Rai Uno"), ("c5", "Canale 5 HD"), ("nobody", "Unheard")],
    )
    report = await add_guide(store, pack(document))
    assert (report.channels, report.kept, report.matched, report.line_up) == (3, 2, 2, 2)
    assert report.complete
    matched = await store.guide.matches()
    assert {key: (m.guide_id, m.rule) for key, m in matched.items()} == {
        1: ("rai1.it", "id"),
        2: ("c5", "normalised name"),
    }
    (listing,) = await listings(store.guide, "rai1.it", NOON, NOON + DAY)
    assert (listing.title, listing.description) == ("News & more", "Of <the> day")
    kept = await store.lineup.list_source(1)
    assert kept is not None
    assert kept.last_result == report.to_json()


async def test_only_days_that_anybody_looks_at_are_kept(store: Store) -> None:
    document = guide(
        *(show("rai1.it", NOON + n * DAY, NOON + n * DAY + HOUR, f"{n}") for n in range(-9, 40))
    )
    report = await add_guide(store, document)
    assert (report.programmes, report.kept) == (49, 24)


@pytest.mark.parametrize(
    "document", [b"", b"<html>error</html>", b"<tv></tv>", b"\x1f\x8b\x08", b"{}"]
)
async def test_what_is_no_guide_leaves_the_old_one(store: Store, document: bytes) -> None:
    await add_guide(store, guide(show("rai1.it", NOON, NOON + HOUR, "News")))
    with pytest.raises(FormatError):
        await add_guide(store, document)
    assert await titles(store, "rai1.it") == ["News"]


async def test_a_guide_that_was_cut_is_taken_only_if_it_has_as_much(store: Store) -> None:
    whole = guide(
        *(show("rai1.it", NOON + n * HOUR, NOON + (n + 1) * HOUR, f"{n}") for n in range(20))
    )
    await add_guide(store, whole)
    with pytest.raises(FormatError, match="cut short"):
        await add_guide(store, whole[: len(whole) // 2])
    assert len(await titles(store, "rai1.it")) == 20
    report = await add_guide(store, whole[:-30])
    assert not report.complete
    assert len(await titles(store, "rai1.it")) >= 19


async def test_a_first_guide_that_was_cut_is_better_than_none(store: Store) -> None:
    whole = guide(
        *(show("rai1.it", NOON + n * HOUR, NOON + n * HOUR + 60, f"{n}") for n in range(9))
    )
    report = await add_guide(store, whole[: len(whole) // 2])
    assert not report.complete
    assert await titles(store, "rai1.it")


async def test_several_guides_fill_each_others_gaps(store: Store) -> None:
    await add_guide(
        store,
        guide(
            show("rai1.it", NOON, NOON + HOUR, "ours"),
            show("rai1.it", NOON + 2 * HOUR, NOON + 3 * HOUR, "ours"),
        ),
        priority=1,
    )
    await add_guide(
        store,
        guide(*(show("rai1.it", NOON + n * HOUR, NOON + (n + 1) * HOUR, f"{n}") for n in range(4))),
        url="http://h/second.xml",
        priority=2,
    )
    assert await titles(store, "rai1.it") == ["ours", "1", "ours", "3"]


async def test_programmes_without_a_stop_out_of_order_and_twice(store: Store) -> None:
    document = (
        "<tv>"
        + bare("rai1.it", NOON, "first")
        + bare("rai1.it", NOON + 2 * HOUR, "third")
        + bare("rai1.it", NOON + HOUR, "second")
        + bare("rai1.it", NOON + 2 * HOUR, "third, corrected")
        + "</tv>"
    )
    await add_guide(store, document.encode())
    found = await listings(store.guide, "rai1.it", NOON, NOON + DAY)
    assert [one.title for one in found] == ["first", "second", "third, corrected"]
    assert [one.stop - NOON for one in found[:2]] == [HOUR, 2 * HOUR]


async def test_times_are_of_their_zone_or_of_the_lists(store: Store) -> None:
    number = await store.lineup.add_list(
        ListSource(0, "guide", "http://h/z", zoneless_offset=3600, shift_seconds=60)
    )
    source = await store.lineup.list_source(number)
    assert source is not None
    document = (
        "<tv>"
        + bare("rai1.it", NOON, "zoned", zone="-0330")
        + bare("rai1.it", NOON - 9 * HOUR, "bare", zone="")
        + "</tv>"
    )
    await import_guide(store, source, [document.encode()], now=NOON)
    found = await listings(store.guide, "rai1.it", NOON - DAY, NOON + DAY)
    assert [one.start - NOON for one in found] == [-10 * HOUR + 60, 3 * HOUR + HOUR // 2 + 60]


async def test_a_dry_run_says_the_same_and_keeps_nothing(store: Store) -> None:
    document = guide(show("c5", NOON, NOON + HOUR, "Film"), names=[("c5", "canale 5")])
    source = ListSource(0, "guide", "http://h/g")
    report = try_guide(await store.lineup.names(), source, [document], now=NOON)
    assert (report.kept, report.matched) == (1, 1)
    assert await store.guide.channels() == []
    assert await store.guide.guide_ids() == {}


async def test_matching_follows_the_line_up_and_leaves_mappings(store: Store) -> None:
    document = guide(
        show("c5", NOON, NOON + HOUR, "Film"),
        show("x", NOON, NOON + HOUR, "Other"),
        names=[("c5", "Canale 5"), ("x", "Xtra Uno")],
    )
    await add_guide(store, document)
    await store.guide.set_mapping(2, "x")
    added = await store.lineup.add_channel(Channel(0, "Xtra Uno FHD"))
    await rematch(store)
    assert await store.guide.guide_ids() == {2: "x", added: "x"}


async def test_a_channel_without_programmes_is_nobodys_guide(store: Store) -> None:
    document = guide(
        show("other", NOON, NOON + HOUR, "Film"), names=[("rai1.it", "Rai 1"), ("other", "Rai 1")]
    )
    await add_guide(store, document)
    assert (await store.guide.guide_ids())[1] == "other"


async def test_an_id_that_a_list_cannot_hold_is_written_as_it_can(store: Store) -> None:
    odd = 'o"ne\x85x'
    await store.lineup.add_channel(Channel(0, "Odd", guide_id=odd))
    await add_guide(
        store, guide(show(odd, NOON, NOON + HOUR, "Film"), names=[(odd, "Nobody's name")])
    )
    (channel,) = await store.guide.channels()
    assert channel.id == "o'ne x"
    assert (await store.guide.matches())[3].rule == "id"
    assert await titles(store, "o'ne x") == ["Film"]


async def test_an_import_that_was_overtaken_says_so(store: Store) -> None:
    number = await store.lineup.add_list(ListSource(0, "guide", "http://h/guide.xml"))
    source = await store.lineup.list_source(number)
    assert source is not None
    await store.guide.begin(number)
    document = guide(show("rai1.it", NOON, NOON + HOUR, "News"))

    def pieces() -> Iterator[bytes]:
        yield document
        with contextlib.closing(sqlite3.connect(store.db.path)) as other:
            other.execute("DELETE FROM guide_channels WHERE id = ''")  # as another `begin` does
            other.commit()

    with pytest.raises(FormatError, match="meanwhile"):
        await import_guide(store, source, pieces(), now=NOON)
    assert await titles(store, "rai1.it") == []
