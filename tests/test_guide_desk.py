"""One channel matched anew, and what somebody may choose from."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from guides import HOUR, NOON, add_guide, guide, show

from rawstream.guide_desk import Candidate, GuideDesk, Wanted
from rawstream.guide_import import rematch
from rawstream.records import Channel
from rawstream.store import Store

ONE = show("one.it", NOON, NOON + HOUR, "Film")
TWO = show("two", NOON, NOON + HOUR, "News")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path)
    await add_guide(store, guide(ONE, TWO, names=[("two", "Second")]))
    yield store
    await store.close()


async def test_a_channel_matched_alone_has_what_the_whole_line_up_gives_it(store: Store) -> None:
    desk = GuideDesk(store)
    channel = Channel(1, "ONE.IT")
    await store.lineup.add_channel(channel)
    for name in ("Second", "Nothing like it", "one.it", "One"):
        await store.lineup.set_channel(dataclasses.replace(channel, name=name))
        await desk.rematch(1)
        alone = await store.guide.matches()
        assert alone == await rematch(store), name
    assert alone[1].guide_id == "one.it"
    kinds = await store.db.kinds()
    await desk.rematch(1)
    assert await store.db.kinds() == kinds, "nothing has changed"
    await store.lineup.set_channel(dataclasses.replace(channel, kind="movie"))
    await desk.rematch(1)
    await desk.rematch(99)
    assert await store.guide.matches() == {}


async def test_a_new_guide_is_seen(store: Store) -> None:
    desk = GuideDesk(store)
    assert [one.id for one in await desk.channels()] == ["one.it", "two"]
    assert await desk.channels() is await desk.channels()
    await add_guide(store, guide(show("late", NOON, NOON + HOUR, "x")), url="http://h/2")
    assert [one.id for one in await desk.channels()] == ["one.it", "two", "late"]


async def test_candidates_have_names_to_be_known_by(store: Store) -> None:
    found = await GuideDesk(store).candidates([Wanted("", ["Sekond"]), Wanted("", ["zzz"])])
    assert found == [[Candidate("two", "Second", 83)], []]
