"""What may be said of a channel by hand, and what no import touches then."""

from __future__ import annotations

from typing import Any

import pytest

from rawstream.errors import ConfigError
from rawstream.lineup_edit import (
    ChannelEdit,
    add_channel,
    change_channel,
    kept_sources,
    source_as,
    source_of,
)
from rawstream.records import Channel, ChannelSource
from rawstream.store import Store

HEX = "a" * 40


async def test_what_is_set_by_hand_is_known_as_such(store: Store) -> None:
    number = await add_channel(store, ChannelEdit(name=" One\n", guide_id='a"b'))
    channel = await store.lineup.channel(number)
    assert channel is not None
    assert (channel.name, channel.guide_id, channel.position) == ("One", "a'b", 0)
    await change_channel(store, channel, ChannelEdit(logo="/logos/x.png", enabled=False))
    changed = await store.lineup.channel(number)
    assert changed is not None and changed.edited == {"logo"} and not changed.enabled
    second = await store.lineup.channel(await add_channel(store, ChannelEdit(name="Two")))
    assert second is not None and second.position == 1


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, "name"),
        ({"name": "\n "}, "name"),
        ({"name": "x", "logo": "javascript:alert(1)"}, "logo"),
        ({"name": "x", "categories": (5,)}, "categories"),
        ({"name": "x", "kind": "episode"}, "series"),
        ({"name": "x", "kind": "episode", "series": " "}, "series"),
        ({"name": "x", "kind": "episode", "series_id": 5}, "series_id"),
        ({"name": "x", "kind": "movie", "season": 1}, "series"),
        ({"name": "x", "kind": "movie", "extension": "a/b"}, "extension"),
        ({"name": "x", "extension": "mkv"}, "kind"),
    ],
)
async def test_what_does_not_fit_is_told_by_its_field(
    store: Store, values: dict[str, Any], field: str
) -> None:
    with pytest.raises(ConfigError) as told:
        await add_channel(store, ChannelEdit(**values))
    assert told.value.field == field
    assert await store.lineup.channels() == []


async def test_an_episode_is_of_a_series_that_is_named_or_there(store: Store) -> None:
    first = await add_channel(
        store, ChannelEdit(name="A", kind="episode", series="Show", season=0, episode=3)
    )
    made = await store.lineup.channel(first)
    assert made is not None and made.series_id is not None
    edit = ChannelEdit(name="B", kind="episode", series_id=made.series_id)
    second = await store.lineup.channel(await add_channel(store, edit))
    assert second is not None and second.series_id == made.series_id


def test_a_source_is_a_link_in_any_spelling_or_says_what_it_is() -> None:
    assert source_of(f"acestream://{HEX}") == ChannelSource("unknown", HEX)
    assert source_of("http://h/x.ts|User-Agent=Box").headers == (("User-Agent", "Box"),)
    assert source_as("content_id", HEX.upper()) == ChannelSource("content_id", HEX)
    assert source_as("hls", "http://h/x").kind == "hls"
    assert source_as("magnet", f"magnet:?xt=urn:btmh:{HEX}").kind == "magnet"


@pytest.mark.parametrize(
    ("kind", "value", "headers"),
    [
        ("content_id", "http://h/x.ts", ()),
        ("direct", HEX, ()),
        ("direct", "file:///etc/passwd", ()),
        ("magnet", f"magnet:?xt=urn:btih:{HEX}", ()),
        ("direct", "http://h/x", (("A\r\nB", "x"),)),
        ("direct", "http://h/x", (("A", "x\r\nHost: y"),)),
    ],
)
def test_a_source_that_is_none(kind: Any, value: str, headers: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(ConfigError):
        source_as(kind, value, headers)


def test_sources_keep_what_is_known_of_them_and_come_once() -> None:
    old = ChannelSource("content_id", HEX, infohash="b" * 40, playlist_id=3)
    new = ChannelSource("direct", "http://h/x")
    again = ChannelSource("content_id", HEX)
    assert kept_sources([old], [new, again, new]) == (new, old)


def test_what_touches_the_guide() -> None:
    assert ChannelEdit(name="x").touches_guide and not ChannelEdit(logo="").touches_guide
    assert ChannelEdit(series="x").given == {"series_id"}
    assert Channel(1, "x").edited == frozenset()
