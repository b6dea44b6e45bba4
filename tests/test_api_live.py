"""What is on air, over the whole server: the picture, what is done about it, playing in a page."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from film_stage import bytes_of, film_content, of_engine
from live_show import SOME, TOKEN, Show, show
from stage import PATIENCE_SECONDS, Player, quick_contents, stage, until
from test_api import ask

from rawstream.config import Limits, Timeouts
from rawstream.errors import UpstreamError
from rawstream.happenings import Happening
from rawstream.http_client import request
from rawstream.records import Channel, ChannelSource, ListSource
from rawstream.simulator import SimContent

# -- the picture --


async def test_the_picture_shows_channels_viewers_engines_and_totals(tmp_path: Path) -> None:
    contents = quick_contents()
    async with show(tmp_path, contents) as desk:
        number = await desk.add_channel(contents[0], name="<img src=x onerror=alert(1)>")
        await desk.add_viewer()
        viewer = await desk.made.play(f"/live/{TOKEN}/{number}.ts", user_agent="box")
        await viewer.more(SOME)
        live = await desk.ask("GET", "/live")
        (channel,) = live["channels"]
        assert channel["name"] == "<img src=x onerror=alert(1)>"
        assert channel["state"] == "live"
        assert channel["channel_ids"] == [number]
        assert channel["viewer_count"] == 1
        assert [(v["account"], v["user_agent"]) for v in channel["viewers"]] == [("viewer", "box")]
        assert live["totals"]["viewers"] == 1
        assert live["totals"]["connections"] >= 1
        assert [engine["sessions"] for engine in live["engines"]] == [1]
        one = await desk.ask("GET", f"/live/{channel['key']}")
        assert (one["key"], len(one["viewers"])) == (channel["key"], 1)
        await desk.ask("GET", "/live/none", status=404)


async def test_the_last_hour_is_told_in_points(tmp_path: Path) -> None:
    async with show(tmp_path, []) as desk:
        desk.worker.stats.take()
        found = await desk.ask("GET", "/stats")
        assert found["interval_seconds"] == 10
        assert {"at", "bits_in_per_second", "viewers"} <= found["points"][-1].keys()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/live"),
        ("GET", "/events"),
        ("GET", "/stats"),
        ("GET", "/live/play/1.ts"),
        ("POST", "/live/x/stop"),
        ("POST", "/viewers/1/kick"),
        ("GET", "/engines"),
        ("POST", "/engines/check"),
    ],
)
async def test_nobody_but_an_admin_is_told_anything(tmp_path: Path, method: str, path: str) -> None:
    async with stage(tmp_path, []) as made:
        assert (await ask(made, f"/api/v1{path}", method)).status == 401


# -- stop, restart, next --


async def test_a_channel_that_is_stopped_leaves_nothing_behind_and_stays_away(
    tmp_path: Path,
) -> None:
    contents = quick_contents()
    async with show(tmp_path, contents) as desk:
        number = await desk.add_channel(contents[0])
        await desk.add_viewer()
        url = f"/live/{TOKEN}/{number}.ts"
        with_account = await desk.made.play(url)
        local = await desk.made.play(contents[0])
        for player in (with_account, local):
            await player.more(SOME)
        playlist = await desk.made.ask(f"/ace/manifest.m3u8?id={contents[0].content_id}")
        assert playlist.status == 200
        key = (await desk.ask("GET", "/live"))["channels"][0]["key"]
        await desk.ask("POST", f"/live/{key}/stop", status=204)
        await until(lambda: with_account.over and local.over, "both are let go")
        await until(lambda: desk.sessions == 0 and not desk.leases(), "no session, no lease")
        await until(lambda: contents[0].counters.stops == 1, "the engine was told")
        for again in (url, f"id={contents[0].content_id}", f"infohash={contents[0].infohash}"):
            with pytest.raises(UpstreamError) as info:
                await desk.made.play(again)
            assert (info.value.status, "operator" in info.value.reason) == (503, True)
        assert (await desk.ask("GET", "/live"))["channels"] == []
        assert not desk.leases()
        await desk.ask("POST", f"/live/{key}/stop", status=404)
        # the operator himself may see it again, and then everybody
        page = await desk.page(f"/live/play/{number}.ts").open()
        await page.more(SOME)
        await (await desk.made.play(url)).more(SOME)


async def test_a_restart_keeps_viewers_and_leaves_no_session_behind(tmp_path: Path) -> None:
    contents = quick_contents()
    async with show(tmp_path, contents) as desk:
        viewer = await desk.made.play(contents[0])
        await viewer.more(SOME)
        key = (await desk.ask("GET", "/live"))["channels"][0]["key"]
        await desk.ask("POST", f"/live/{key}/restart", status=204)
        await until(lambda: contents[0].counters.getstream_calls == 2, "a new session")
        await until(lambda: desk.made.state() == "live", "it is on air again")
        await viewer.more(10 * SOME)
        assert not viewer.over
        assert desk.sessions == 1
        viewer.assert_plays()
        # twice at once is once
        await asyncio.gather(
            *(desk.ask("POST", f"/live/{key}/restart", status=204) for _ in range(3))
        )
        await until(lambda: desk.made.state() == "live", "it is on air again")
        await viewer.more(SOME)
        viewer.leave()
        await until(lambda: desk.made.state() is None, "the linger is over")
        await until(lambda: desk.sessions == 0, "no session is left")
        counters = desk.hub.pool
        await until(lambda: counters.sessions_opened == counters.sessions_stopped, "all stopped")


async def test_a_channel_in_its_start_can_be_restarted_and_stopped(tmp_path: Path) -> None:
    contents = quick_contents()
    contents[0].fault("delay", where="start", seconds=600)
    async with show(tmp_path, contents) as desk:
        number = await desk.add_channel(contents[0])
        await desk.add_viewer()
        waiting = [
            asyncio.create_task(desk.made.play(f"/live/{TOKEN}/{number}.ts")),
            asyncio.create_task(desk.made.play(contents[0])),
        ]
        await until(lambda: desk.made.snapshot.held == 2, "two on hold")
        key = (await desk.ask("GET", "/live"))["channels"][0]["key"]
        await desk.ask("POST", f"/live/{key}/restart", status=204)
        assert desk.made.snapshot.held == 2
        await desk.ask("POST", f"/live/{key}/stop", status=204)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [getattr(one, "status", None) for one in results] == [503, 503]
        assert not desk.leases()


async def test_next_takes_the_next_source_of_a_channel(tmp_path: Path) -> None:
    contents = quick_contents()
    async with show(tmp_path, contents) as desk:
        number = await desk.add_channel(contents[0], contents[1])
        await desk.add_viewer()
        viewer = await desk.made.play(f"/live/{TOKEN}/{number}.ts")
        await viewer.more(SOME)
        key = (await desk.ask("GET", "/live"))["channels"][0]["key"]
        await desk.ask("POST", f"/live/{key}/next", status=204)
        await until(lambda: contents[1].counters.getstream_calls == 1, "the other source")
        await until(lambda: desk.made.state() == "live", "it is on air again")
        await viewer.more(SOME)
        channel = desk.made.channel()
        assert channel is not None
        assert (viewer.over, channel.viewer_count) == (False, 1)
        await until(lambda: desk.sessions == 1, "the first source's session is stopped")
        # and around again
        await desk.ask("POST", f"/live/{channel.key}/next", status=204)
        await until(lambda: contents[0].counters.getstream_calls == 2, "the first source")


@pytest.mark.parametrize("order", ["restart", "next", "drain"])
async def test_what_an_operator_orders_is_no_failover(tmp_path: Path, order: str) -> None:
    contents = quick_contents()
    async with show(tmp_path, contents, engines=2) as desk:
        told: list[Happening] = []
        steps: list[str] = []
        desk.worker.happenings._tell = told.append
        desk.hub.ladder_listeners.append(lambda step: steps.append(step.rung))
        viewer = await desk.made.play(contents[0])
        await viewer.more(SOME)
        channel = desk.made.channel()
        assert channel is not None
        if order == "drain":
            (engine,) = [
                e
                for e in (await desk.ask("GET", "/engines"))["items"]
                if e["url"] == channel.engine
            ]
            await desk.ask("PATCH", f"/engines/{engine['id']}", {"draining": True})
        else:
            await desk.ask("POST", f"/live/{channel.key}/{order}", status=204)
        await until(lambda: "back" in steps, "it goes on")
        await until(lambda: desk.made.state() == "live", "it is on air again")
        assert steps[0] == "moved" and "lost" not in steps
        assert not any(desk.hub.tally.steps.values()), "no rung of a ladder was climbed"
        assert told == []


# -- other sources while it is on air --


class Cast:
    """A channel of two sources, watched over the first; a third content is there."""

    def __init__(self, desk: Show, contents: list[SimContent], number: int) -> None:
        self.desk = desk
        self.contents = contents
        self.number = number
        self.steps: list[str] = []
        desk.hub.ladder_listeners.append(lambda step: self.steps.append(step.rung))

    async def watch(self) -> Player:
        viewer = await self.desk.made.play(f"/live/{TOKEN}/{self.number}.ts")
        await viewer.more(SOME)
        return viewer

    async def put(self, *numbers: int) -> None:
        sources = [
            {"kind": "content_id", "value": self.contents[number].content_id} for number in numbers
        ]
        path = f"/channels/{self.number}/sources"
        await self.desk.ask("PUT", path, {"sources": sources})

    @property
    def opened(self) -> list[int]:
        return [one.counters.getstream_calls for one in self.contents]

    async def goes_on(self) -> None:
        await until(lambda: "back" in self.steps, "it goes on")
        await until(lambda: self.desk.made.state() == "live", "it is on air again")
        self.steps.clear()


@asynccontextmanager
async def cast(data: Path, **channel: Any) -> AsyncIterator[Cast]:
    contents = quick_contents()[:3]
    async with show(data, contents) as desk:
        number = await desk.add_channel(*contents[:2], **channel)
        await desk.add_viewer()
        yield Cast(desk, contents, number)


async def test_other_sources_are_for_the_time_when_another_is_needed(tmp_path: Path) -> None:
    async with cast(tmp_path) as on:
        first = await on.watch()
        await on.put(2, 1, 0)
        second = await on.watch()
        assert on.opened == [1, 0, 0] and not on.steps, "what is on air stays, for all who come"
        channel = on.desk.made.channel()
        assert channel is not None and channel.viewer_count == 2
        await on.desk.ask("POST", f"/live/{channel.key}/next", status=204)
        await on.goes_on()
        assert on.opened == [1, 0, 1], "behind the last comes the best"
        for viewer in (first, second):
            await viewer.more(SOME)
            assert not viewer.over


async def test_what_is_stopped_stays_away_by_its_new_first_source_too(tmp_path: Path) -> None:
    async with cast(tmp_path) as on:
        viewer = await on.watch()
        await on.put(2, 0)
        channel = on.desk.made.channel()
        assert channel is not None
        await on.desk.ask("POST", f"/live/{channel.key}/stop", status=204)
        await until(lambda: viewer.over, "he is let go")
        with pytest.raises(UpstreamError) as info:
            await on.desk.made.play(viewer.query)
        assert (info.value.status, "operator" in info.value.reason) == (503, True)


async def test_a_source_that_is_removed_by_hand_is_left_at_once(tmp_path: Path) -> None:
    async with cast(tmp_path) as on:
        viewer = await on.watch()
        told: list[Happening] = []
        on.desk.worker.happenings._tell = told.append
        await on.put(2, 1)
        await until(lambda: on.opened == [1, 0, 1], "the best of the others")
        assert on.steps[0] == "moved"
        await on.goes_on()
        await viewer.more(SOME)
        assert not viewer.over and told == []
        await on.watch()
        assert len(on.desk.made.snapshot.channels) == 1
        other = await on.desk.made.play(on.contents[0])
        await other.more(SOME)
        assert len(on.desk.made.snapshot.channels) == 2, "what was removed is its own channel"
        assert on.opened == [2, 0, 1]


async def test_a_source_that_its_list_names_no_more_plays_on_until_it_fails(
    tmp_path: Path,
) -> None:
    async with cast(tmp_path, name="Listed") as on:
        store = on.desk.worker.store
        number = await store.lineup.add_list(ListSource(0, "playlist", "l", enabled=False))
        channel = await store.lineup.channel(on.number)
        assert channel is not None
        channel = dataclasses.replace(channel, playlist_id=number)
        await store.lineup.set_channel(channel)
        viewer = await on.watch()
        source = ChannelSource("content_id", on.contents[2].content_id)
        await store.lineup.set_channel(dataclasses.replace(channel, sources=(source,)))
        await on.desk.worker.catalogue.look()
        await on.watch()
        assert on.opened == [1, 0, 0] and not on.steps
        on.contents[0].fault("status", where="playback", status=403)  # nor is its URL good again
        on.contents[0].fault("cut", times=1)
        await until(lambda: on.opened[2] == 1, "the list's new source")
        await on.goes_on()
        await viewer.more(SOME)
        assert not viewer.over


async def test_a_channel_whose_last_source_is_removed_ends(tmp_path: Path) -> None:
    async with cast(tmp_path) as on:
        viewer = await on.watch()
        await on.put()
        await until(lambda: viewer.over, "he is let go")
        await until(lambda: not on.desk.sessions and not on.desk.leases(), "nothing is left")


async def test_a_watcher_of_hls_stays_the_same_when_the_first_source_is_another(
    tmp_path: Path,
) -> None:
    async with cast(tmp_path) as on:
        url, box = f"/live/{TOKEN}/{on.number}.m3u8", [("User-Agent", "box")]
        for _ in range(2):
            playlist = await on.desk.made.ask(url, headers=box)
        before = await on.desk.ask("GET", "/live")
        await on.put(1, 0)
        for _ in range(3):
            playlist = await on.desk.made.ask(url, headers=box)
            segment = playlist.body.decode().split("\n")[-2]
            assert (await on.desk.made.ask(segment, headers=box)).status == 200
        after = await on.desk.ask("GET", "/live")
        viewers = [
            [one["id"] for one in live["channels"][0]["viewers"]] for live in (before, after)
        ]
        assert viewers[0] == viewers[1] and len(viewers[0]) == 1
        assert (len(after["channels"]), on.opened) == (1, [1, 0, 0])
        assert on.desk.leases() == 1


async def test_next_takes_another_engine_where_there_is_one_source(tmp_path: Path) -> None:
    contents = quick_contents()
    async with show(tmp_path, contents, engines=2) as desk:
        viewer, channel = await desk.on_air(contents[0])
        await desk.ask("POST", f"/live/{channel.key}/next", status=204)
        await desk.moved(channel, viewer)


async def test_a_channel_that_nobody_watches_ends_instead(tmp_path: Path) -> None:
    contents = quick_contents()
    timeouts = Timeouts.for_tests(linger_seconds=600)
    async with show(tmp_path, contents, timeouts=timeouts) as desk:
        viewer = await desk.made.play(contents[0])
        await viewer.more(SOME)
        viewer.leave()
        await until(lambda: desk.made.state() == "lingering", "it lingers")
        key = (await desk.ask("GET", "/live"))["channels"][0]["key"]
        await desk.ask("POST", f"/live/{key}/restart", status=204)
        await until(lambda: desk.made.state() is None and not desk.sessions, "it is over")


# -- kick --


async def test_a_player_of_an_account_is_kicked_and_his_equal_is_not(tmp_path: Path) -> None:
    contents = quick_contents()
    async with show(tmp_path, contents) as desk:
        first = await desk.add_channel(contents[0])
        second = await desk.add_channel(contents[1], name="Two")
        await desk.add_viewer(max_connections=0)
        players = [
            await desk.made.play(f"/live/{TOKEN}/{number}.ts", user_agent="box")
            for number in (first, second)
        ]
        for player in players:
            await player.more(SOME)
        live = await desk.ask("GET", "/live")
        (channel,) = [one for one in live["channels"] if one["channel_ids"] == [first]]
        viewer = channel["viewers"][0]
        assert await desk.ask("POST", f"/viewers/{viewer['id']}/kick") == {"streams": 1}
        await until(lambda: players[0].over, "he is cut")
        await players[1].more(SOME)
        with pytest.raises(UpstreamError) as info:
            await desk.made.play(f"/live/{TOKEN}/{first}.ts", user_agent="box")
        assert info.value.status == 503
        await desk.ask("POST", f"/viewers/{viewer['id']}/kick", status=404)
        await until(lambda: desk.leases() == 1, "one lease is left")


async def test_a_player_without_an_account_is_kicked_and_stays_out(tmp_path: Path) -> None:
    contents = quick_contents()
    async with show(tmp_path, contents) as desk:
        box = await desk.made.play(contents[0], user_agent="box")
        other = await desk.made.play(contents[0], user_agent="other")
        for player in (box, other):
            await player.more(SOME)
        viewers = (await desk.ask("GET", "/live"))["channels"][0]["viewers"]
        (number,) = [one["id"] for one in viewers if one["user_agent"] == "box"]
        await desk.ask("POST", f"/viewers/{number}/kick")
        await until(lambda: box.over, "he is cut")
        for spelling in (f"id={contents[0].content_id}", f"infohash={contents[0].infohash}"):
            with pytest.raises(UpstreamError) as info:
                await desk.made.play(spelling, user_agent="box")
            assert info.value.status == 503
        await other.more(SOME)
        elsewhere = await desk.made.play(contents[1], user_agent="box")
        await elsewhere.more(SOME)


async def test_a_watcher_of_hls_is_kicked_with_his_segments(tmp_path: Path) -> None:
    contents = quick_contents()
    async with show(tmp_path, contents) as desk:
        number = await desk.add_channel(contents[0])
        await desk.add_viewer()
        urls = {"account": f"/live/{TOKEN}/{number}.m3u8"}
        urls["local"] = f"/ace/manifest.m3u8?id={contents[0].content_id}"
        for url in urls.values():
            headers = [("User-Agent", url[:5])]
            playlist = b""
            for _ in range(2):  # he counts with his second request
                playlist = (await desk.made.ask(url, headers=headers)).body
            segment = playlist.decode().split("\n")[-2]
            viewers = (await desk.ask("GET", "/live"))["channels"][0]["viewers"]
            (viewer,) = [one["id"] for one in viewers if one["user_agent"] == url[:5]]
            assert (await desk.ask("POST", f"/viewers/{viewer}/kick"))["streams"] == 1
            assert (await desk.made.ask(segment, headers=headers)).status == 403
            assert (await desk.made.ask(url, headers=headers)).status == 503
        assert not desk.leases()


# -- films --


async def test_a_film_is_shown_stopped_and_its_viewer_kicked(tmp_path: Path) -> None:
    film = film_content(repeats=40)
    async with show(tmp_path, [film]) as desk:
        values: dict[str, Any] = {"kind": "movie", "extension": "mp4"}
        number = await desk.worker.store.lineup.add_channel(
            Channel(0, "Film", sources=(of_engine(film),), **values)
        )
        await desk.worker.catalogue.look()
        await desk.add_viewer()
        url = f"/movie/{TOKEN}/{number}.mp4"
        held = Held(desk.made.port, url)
        desk.made.players.append(held)
        await held.open()
        live = await desk.ask("GET", "/live")
        (shown,) = live["films"]
        assert (shown["key"], len(shown["viewers"])) == (str(number), 1)
        assert (await desk.ask("GET", f"/live/{number}"))["name"] == "Film"
        await desk.ask("POST", f"/live/{number}/next", status=409)
        viewer = shown["viewers"][0]["id"]
        assert await desk.ask("POST", f"/viewers/{viewer}/kick") == {"streams": 1}
        held.read_on()
        await until(lambda: held.over, "he is cut")
        assert len(held.data) < len(bytes_of(film))
        with pytest.raises(UpstreamError) as info:
            await desk.made.play(url)
        assert info.value.status == 503
        await desk.ask("POST", f"/live/{number}/stop", status=204)
        await until(lambda: not desk.sessions and not desk.leases(), "nothing is left")
        page = Held(desk.made.port, f"/api/v1/live/play/{number}.mp4", [("Cookie", desk.cookie)])
        desk.made.players.append(page)
        await page.open()
        assert not desk.leases()
        await desk.ask("POST", f"/live/{number}/stop", status=204)
        page.read_on()
        await until(lambda: page.over and not desk.sessions, "he is let go")
        assert 0 < len(page.data) < len(bytes_of(film))


class Held(Player):
    """One who takes the beginning and then nothing, until he reads on."""

    reads = False

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.stream is not None and not self.reads:
            self.stream.pause()

    def read_on(self) -> None:
        self.reads = True
        assert self.stream is not None, "opened"
        self.stream.resume()


# -- in the page --


async def test_a_channel_without_a_source_is_not_played_and_no_fault_of_ours(
    tmp_path: Path,
) -> None:
    async with show(tmp_path, []) as desk:
        for kind, extension in (("live", "ts"), ("live", "m3u8"), ("movie", "mkv")):
            number = await desk.add_channel(kind=kind)
            told = await desk.ask("GET", f"/live/play/{number}.{extension}", status=409)
            assert told["detail"] == "this channel has no source"


async def test_an_admin_plays_any_channel_and_counts_nowhere(tmp_path: Path) -> None:
    contents = quick_contents()
    async with show(tmp_path, contents, limits=Limits(viewers=1)) as desk:
        number = await desk.add_channel(contents[0], enabled=False, adult=True)
        page = await desk.page(f"/live/play/{number}.ts").open()
        await page.more(SOME)
        page.assert_starts_clean()
        assert not desk.leases()
        url = f"/api/v1/live/play/{number}.m3u8"
        cookie = [("Cookie", desk.cookie)]
        playlist = await desk.made.ask(url, headers=cookie)
        assert playlist.status == 200
        segment = playlist.body.decode().split("\n")[-2]
        assert (await desk.made.ask(segment)).status == 200
        assert not desk.leases()
        for wrong, status in (("99.ts", 404), ("x", 404), (f"{number}.mkv", 422)):
            answer = await desk.made.ask(f"/api/v1/live/play/{wrong}", headers=cookie)
            assert answer.status == status
        head = await request(
            f"http://127.0.0.1:{desk.made.port}/api/v1/live/play/{number}.ts",
            method="HEAD",
            headers=cookie,
            connect_seconds=PATIENCE_SECONDS,
            total_seconds=PATIENCE_SECONDS,
            limits=Limits(),
        )
        assert (head.status, head.headers["content-type"]) == (200, "video/mp2t")


@pytest.mark.parametrize("end", ["logged out", "token removed", "token expired"])
async def test_what_an_operator_plays_ends_with_what_let_him_in(tmp_path: Path, end: str) -> None:
    contents, film = quick_contents(), film_content(repeats=40)
    async with show(tmp_path, [*contents, film]) as desk:
        number = await desk.add_channel(contents[0])
        values: dict[str, Any] = {"kind": "movie", "extension": "mp4"}
        movie = await desk.worker.store.lineup.add_channel(
            Channel(0, "Film", sources=(of_engine(film),), **values)
        )
        token = await desk.ask("POST", "/tokens", {"name": "script"}, status=201)
        shown = ("Authorization", f"Bearer {token['secret']}")
        if end == "logged out":
            shown = ("Cookie", desk.cookie)
        bystander = await desk.made.play(contents[0], user_agent="box")
        theirs = []
        for path in (f"live/play/{number}.ts", f"live/play/{movie}.mp4", "events"):
            held = Held(desk.made.port, f"/api/v1/{path}", [shown])
            held.reads = not path.endswith("mp4")
            desk.made.players.append(held)
            theirs.append(await held.open())
        url = f"/api/v1/live/play/{number}.m3u8"
        playlist = await desk.made.ask(url, headers=[shown])
        segment = playlist.body.decode().split("\n")[-2]
        assert (await desk.made.ask(segment)).status == 200
        match end:
            case "logged out":
                await desk.ask("DELETE", "/session", status=204)
            case "token removed":
                await desk.ask("DELETE", f"/tokens/{token['id']}", status=204)
            case _:
                async with desk.worker.store.db.write() as transaction:
                    transaction.changed("credentials")
                    await transaction.execute(
                        "UPDATE credentials SET expires_at = 1 WHERE id = ?", (token["id"],)
                    )
        theirs[1].read_on()
        await until(lambda: all(player.over for player in theirs), "all of it has ended")
        assert (await desk.made.ask(segment)).status == 403
        assert (await desk.made.ask(url, headers=[shown])).status == 401
        assert (await desk.made.ask(segment)).status == 403
        so_far = len(bystander.data)
        await until(lambda: len(bystander.data) > so_far + SOME, "nobody else is cut")
