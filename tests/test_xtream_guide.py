"""The EPG actions: their rows, for one channel and for several."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from guides import HOUR, NOON, add_guide, guide, show

from rawstream.catalogue import LiveCatalogue
from rawstream.records import Account, Channel
from rawstream.store import Store
from rawstream.xtream_guide import answer

NOW = NOON + HOUR // 2


class Guide:
    def __init__(self, store: Store, catalogue: LiveCatalogue) -> None:
        self.store = store
        self.view = catalogue.current.visible(Account(1, "ana", ""))

    async def ask(self, action: str, **asked: str) -> Any:
        return await answer(action, asked, self.view, self.store.guide, NOW)


@pytest.fixture
async def shown(tmp_path: Path) -> AsyncIterator[Guide]:
    store = await Store.open(tmp_path)
    for name in ("One", "Two"):
        await store.lineup.add_channel(Channel(0, name, guide_id=f"{name}.it"))
    await add_guide(
        store,
        guide(
            *(
                show("One.it", NOON + n * HOUR, NOON + (n + 1) * HOUR, f"Títle {n}", "Text")
                for n in range(-3, 9)
            )
        ),
    )
    catalogue = LiveCatalogue(store)
    await catalogue.reload()
    yield Guide(store, catalogue)
    await store.close()


def titles(rows: list[dict[str, str]]) -> list[str]:
    return [base64.b64decode(row["title"]).decode() for row in rows]


async def test_rows_12_13_a_short_guide_has_what_is_on_and_what_follows(shown: Guide) -> None:
    rows = (await shown.ask("get_short_epg", stream_id="1"))["epg_listings"]
    assert titles(rows) == ["Títle 0", "Títle 1", "Títle 2", "Títle 3"]
    first = rows[0]
    assert first == {
        "id": first["id"],
        "epg_id": "1",
        "title": base64.b64encode("Títle 0".encode()).decode(),
        "lang": "",
        "start": "2027-01-15 12:00:00",
        "end": "2027-01-15 13:00:00",
        "stop": "2027-01-15 13:00:00",
        "description": base64.b64encode(b"Text").decode(),
        "channel_id": "One.it",
        "start_timestamp": str(NOON),
        "stop_timestamp": str(NOON + HOUR),
        "now_playing": 1,
        "has_archive": 0,
    }
    assert 0 <= int(first["id"]) < 1 << 31
    assert [row["now_playing"] for row in rows] == [1, 0, 0, 0]


@pytest.mark.parametrize(("limit", "count"), [("2", 2), ("0", 4), ("x", 4), ("99", 9), ("-1", 4)])
async def test_the_limit_of_a_short_guide(shown: Guide, limit: str, count: int) -> None:
    rows = (await shown.ask("get_short_epg", stream_id="1", limit=limit))["epg_listings"]
    assert len(rows) == count


async def test_the_table_has_the_past_too(shown: Guide) -> None:
    rows = (await shown.ask("get_simple_data_table", stream_id="1"))["epg_listings"]
    assert titles(rows)[:2] == ["Títle -3", "Títle -2"]
    assert len(rows) == 12
    assert "stop" not in rows[0]
    assert [row["now_playing"] for row in rows].count(1) == 1


@pytest.mark.parametrize("stream", ["2", "77", "x", "", "99999999999999"])
async def test_a_channel_without_a_guide_has_none(shown: Guide, stream: str) -> None:
    for action in ("get_short_epg", "get_simple_data_table"):
        assert await shown.ask(action, stream_id=stream) == {"epg_listings": []}
    assert await shown.ask("get_epg", stream_id=stream) == []


async def test_several_channels_at_once_come_by_their_ids(shown: Guide) -> None:
    found = (await shown.ask("get_short_epg", stream_id="1,2,77", limit="1"))["epg_listings"]
    assert (set(found), len(found["1"]), found["2"]) == ({"1", "2"}, 1, [])
    one = (await shown.ask("get_simple_data_table", stream_id="1", multi=""))["epg_listings"]
    assert len(one["1"]) == 12
    assert set(await shown.ask("get_epg", stream_id="1,2")) == {"1", "2"}


async def test_get_epg_has_its_times_as_numbers(shown: Guide) -> None:
    rows = await shown.ask("get_epg", stream_id="1", from_now="1")
    assert (rows[0]["start"], rows[0]["end"]) == (NOON, NOON + HOUR)
    assert len(await shown.ask("get_epg", stream_id="1")) == 12


async def test_a_batch_is_of_one_day(shown: Guide) -> None:
    found = await shown.ask("get_epg_batch", stream_ids="1,2", date="2027-01-15")
    assert len(found["1"]["epg_listings"]) == 12
    assert found["2"] == {"epg_listings": []}
    empty = await shown.ask("get_epg_batch", stream_ids="1", date="2027-01-17")
    assert empty == {"1": {"epg_listings": []}}
    assert (await shown.ask("get_epg_batch", stream_ids="1", date="junk"))["1"]["epg_listings"]


async def test_ids_stay_over_an_import(shown: Guide) -> None:
    before = (await shown.ask("get_short_epg", stream_id="1"))["epg_listings"]
    await add_guide(shown.store, guide(show("One.it", NOON, NOON + HOUR, "Renamed")))
    after = (await shown.ask("get_short_epg", stream_id="1"))["epg_listings"]
    assert titles(after) == ["Renamed"]
    assert after[0]["id"] == before[0]["id"]
