"""Kodi on the front door: channels, groups, the guide, playing and zapping. `make test-slow`.

Needs Kodi with two add-ons and a virtual screen; scripts/install_kodi.sh names the packages.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from film_stage import film_channel, film_content, note_ranges, of_engine, path_of, show
from front_door import CHANNELS, ask, front_door
from kodi import kodi
from lxml import etree
from stage import until
from test_film_players import film_of

from rawstream.simulator import bundled_contents

pytestmark = [pytest.mark.slow, pytest.mark.player, pytest.mark.timeout(600)]

QUERY = "username=demo&password=demo"
LISTED = sorted(name.replace(",", "") for name in CHANNELS)
CODECS = {"one": "h264", "two": "hevc", "three": "mpeg2video", "four": "aac"}
_PLACE = ("time", "totaltime", "canseek", "speed", "percentage")
KINDS = ("currentvideostream", "currentaudiostream")
# what Kodi logs as an error and is about us: fonts, sound devices and desktops are not
_OF_US = re.compile(
    r" error <.*(curl|/live/|/movie/|pvr\.iptvsimple|InputStream|VideoPlayer|Demux)", re.I
)


def urls(base: str) -> tuple[str, str]:
    return f"{base}/get.php?{QUERY}&type=m3u_plus&output=ts", f"{base}/xmltv.php?{QUERY}"


def complaints(log: str) -> list[str]:
    return [line for line in log.splitlines() if _OF_US.search(line)]


async def test_kodi_shows_the_line_up_plays_it_and_zaps_at_one_connection(tmp_path: Path) -> None:
    async with (
        front_door(tmp_path) as (worker, url),
        kodi(*urls(url)) as player,
    ):
        account = await worker.store.accounts.by_name("demo")
        assert account is not None
        assert account.max_connections == 1
        groups = await player.call("PVR.GetChannelGroups", channeltype="tv")
        shown = {group["label"]: group["channelgroupid"] for group in groups["channelgroups"]}
        assert {"Pictures", "Sounds"} <= set(shown)
        for group, count in (("Pictures", 3), ("Sounds", 1)):
            found = await player.call("PVR.GetChannels", channelgroupid=shown[group])
            assert len(found["channels"]) == count
        found = await player.call(
            "PVR.GetChannels", channelgroupid="alltv", properties=["channelnumber"]
        )
        channels = sorted(found["channels"], key=lambda row: row["channelnumber"])
        assert sorted(row["label"] for row in channels) == LISTED
        assert [row["channelnumber"] for row in channels] == [1, 2, 3, 4]

        for number, row in enumerate([*channels, *reversed(channels[:-1])]):
            await player.call("Player.Open", item={"channelid": row["channelid"]})
            codec = CODECS[row["label"].split()[1]]
            # what it takes for a broadcast without pictures is another player of Kodi's
            which = 0 if codec == "aac" else 1
            await player.until(
                "Player.GetProperties", decodes(codec), playerid=which, properties=KINDS
            )
            await until(
                lambda row=row: watched_by_one(worker, row["label"]),
                f"zap {number}: one viewer, on {row['label']}",
            )
            before = sent(worker)
            await until(lambda before=before: sent(worker) > before + 20_000, "it goes on")
            assert worker.accounts.active(account.id) <= 1
        await player.call("Player.Stop", playerid=1)
        assert complaints(player.log) == []
        assert player.log.count("GetChannelStreamProperties - Live Stream URL") == 7


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
async def test_kodi_plays_a_film_seeks_in_it_and_resumes_it(tmp_path: Path, extension: str) -> None:
    path = film_of(tmp_path, extension)
    content = film_content(file=path)
    async with front_door(tmp_path / "data", contents=[*bundled_contents(), content]) as (
        worker,
        url,
    ):
        await show(worker, film_channel(of_engine(content), extension=extension))
        begins, size = note_ranges(worker), path.stat().st_size
        film = f"{url}{path_of(extension=extension)}"
        async with kodi(*urls(url)) as player:
            await player.call("Player.Open", item={"file": film})
            await player.until("Player.GetProperties", is_at(0, 30), playerid=1, properties=_PLACE)
            await player.call("Player.Seek", playerid=1, value={"percentage": 66})
            await player.until("Player.GetProperties", is_at(58, 75), playerid=1, properties=_PLACE)
            await player.call("Player.Stop", playerid=1)
            await until(lambda: not worker.hub.snapshot().viewers, "it has left")
            assert any(begin > size * 0.4 for begin in begins)
            begins.clear()
            resume = {"hours": 0, "minutes": 0, "seconds": 45, "milliseconds": 0}
            await player.call("Player.Open", item={"file": film}, options={"resume": resume})
            await player.until("Player.GetProperties", is_at(43, 60), playerid=1, properties=_PLACE)
            await player.call("Player.Stop", playerid=1)
            assert any(begin > size * 0.3 for begin in begins)
            assert complaints(player.log) == []
        assert worker.accounts.taken_over == 0


def is_at(first: int, last: int) -> Callable[[Any], bool]:
    """Whether Kodi plays between these seconds of something that it may seek in."""

    def check(answer: Any) -> bool:
        time = answer["time"]
        at = time["hours"] * 3600 + time["minutes"] * 60 + time["seconds"]
        return bool(answer["canseek"] and answer["speed"] == 1 and first <= at <= last)

    return check


def decodes(codec: str) -> Callable[[Any], bool]:
    """Whether Kodi plays a stream of this codec, by what it says of its player."""
    return lambda answer: any((answer[kind] or {}).get("codec") == codec for kind in KINDS)


def watched_by_one(worker: Any, name: str) -> bool:
    """A zap's former stream lives a little longer."""
    watched = [channel for channel in worker.hub.snapshot().channels if channel.viewers]
    return [channel.name.replace(",", "") for channel in watched] == [name] and [
        viewer.state for viewer in watched[0].viewers
    ] == ["playing"]


def sent(worker: Any) -> int:
    """To all who watch now, bytes."""
    channels = worker.hub.snapshot().channels
    return sum(viewer.bytes_sent for channel in channels for viewer in channel.viewers)


async def test_kodi_shows_what_is_on_now_and_next(tmp_path: Path) -> None:
    async with front_door(tmp_path) as (_worker, url):
        listed, guide = urls(url)
        document = etree.fromstring((await ask(guide)).body)
        async with kodi(listed, guide) as player:
            assert await check_now_and_next(player, document) == len(CHANNELS)
            assert complaints(player.log) == []


async def check_now_and_next(player: Any, document: etree._Element) -> int:
    """Kodi shows of each channel with programmes what the guide says; how many these are."""
    ids = {
        channel.findtext("display-name", "").replace(",", ""): channel.get("id")
        for channel in document.findall("channel")
    }
    found = await player.call("PVR.GetChannels", channelgroupid="alltv")
    checked = 0
    for row in found["channels"]:
        titles = programmes_of(document, ids[row["label"]])
        if not titles:
            continue
        said = await player.until(
            "PVR.GetChannelDetails",
            lambda answer: answer["channeldetails"].get("broadcastnow"),
            channelid=row["channelid"],
            properties=["broadcastnow", "broadcastnext"],
        )
        now = said["channeldetails"]["broadcastnow"]
        assert now["title"] == titles[kodi_time(now["starttime"])]
        assert kodi_time(now["starttime"]) <= time.time() + 60
        assert kodi_time(now["endtime"]) >= time.time() - 60
        following = said["channeldetails"].get("broadcastnext")
        if following:
            assert following["title"] == titles[kodi_time(following["starttime"])]
        broadcasts = await player.until(
            "PVR.GetBroadcasts",
            lambda answer: answer.get("broadcasts"),
            channelid=row["channelid"],
            properties=["title", "starttime"],
        )
        for broadcast in broadcasts["broadcasts"]:
            assert broadcast["title"] == titles[kodi_time(broadcast["starttime"])]
        checked += 1
    return checked


def programmes_of(document: etree._Element, channel: str | None) -> dict[float, str]:
    """Titles by start."""
    return {
        datetime.strptime(programme.get("start", ""), "%Y%m%d%H%M%S %z").timestamp(): (
            programme.findtext("title", "")
        )
        for programme in document.findall("programme")
        if programme.get("channel") == channel
    }


def kodi_time(text: str) -> float:
    """Kodi says UTC, without saying so."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_a_programme_of_a_guide_is_found_by_its_start() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    document = etree.fromstring(
        "<tv><channel id='a'><display-name>A</display-name></channel>"
        "<programme channel='a' start='20260101010000 +0100'><title>News</title></programme></tv>"
    )
    assert programmes_of(document, "a") == {start.timestamp(): "News"}
    assert programmes_of(document, "b") == {}
    assert kodi_time("2026-01-01 01:00:00") == (start + timedelta(hours=1)).timestamp()
