"""Engines at run time, over the whole server: added, drained, removed, kept over a restart."""

from __future__ import annotations

from pathlib import Path

import pytest
from live_show import SOME, show
from raw_engine import refusing
from stage import quick_contents, stage, until
from test_api import ask

from rawstream.config import Config, Timeouts
from rawstream.errors import UpstreamError
from rawstream.simulator import EngineSimulator, bundled_contents
from rawstream.workers import Worker


async def test_an_engine_is_checked_added_changed_and_removed(tmp_path: Path) -> None:
    async with (
        EngineSimulator(bundled_contents(), latency=0) as spare,
        show(tmp_path, quick_contents()) as desk,
    ):
        address = spare.url.removeprefix("http://")
        checked = await desk.ask("POST", "/engines/check", {"url": address})
        assert (checked["ok"], checked["url"]) == (True, spare.url)
        assert checked["version"]
        with refusing() as nobody:
            checked = await desk.ask("POST", "/engines/check", {"url": nobody})
            assert (checked["ok"], checked["version"]) == (False, None)
            assert checked["error"]
        for url in ("ftp://x", "http://u:p@x", "http://x/path", ""):
            await desk.ask("POST", "/engines/check", {"url": url}, status=422)
            await desk.ask("POST", "/engines", {"url": url}, status=422)
        made = await desk.ask("POST", "/engines", {"url": address, "capacity": 2}, status=201)
        assert (made["url"], made["capacity"], made["configured"]) == (spare.url, 2, False)
        await desk.ask("POST", "/engines", {"url": spare.url}, status=422)
        path = f"/engines/{made['id']}"
        pool = desk.hub.pool
        await until(lambda: pool.engines[1].state.value == "up", "it is probed")
        changed = await desk.ask("PATCH", path, {"capacity": 7})
        assert (changed["capacity"], changed["draining"]) == (7, False)
        changed = await desk.ask("PATCH", path, {"draining": True})
        assert (changed["capacity"], changed["draining"]) == (7, True)
        assert changed["state"] == "draining"
        shown = await ask(desk.made, f"/api/v1{path}", cookie=desk.cookie)
        match = {"cookie": desk.cookie, "if_match": shown.headers["etag"]}
        change = {"capacity": 8}
        answer = await ask(desk.made, f"/api/v1{path}", "PATCH", change, **match)
        assert (answer.status, answer.headers["etag"] != shown.headers["etag"]) == (200, True)
        for method in ("PATCH", "DELETE"):
            answer = await ask(desk.made, f"/api/v1{path}", method, change, **match)
            assert answer.status == 412
        listed = await desk.ask("GET", "/engines")
        assert [one["url"] for one in listed["items"]] == [desk.made.engine.url, spare.url]
        await desk.ask("DELETE", path, status=204)
        await desk.ask("DELETE", path, status=404)
        await desk.ask("PATCH", path, {"capacity": 1}, status=404)
        assert [engine.url for engine in pool.engines] == [desk.made.engine.url]
        # the same address is the same number again
        again = await desk.ask("POST", "/engines", {"url": address}, status=201)
        assert (again["id"], again["capacity"], again["draining"]) == (made["id"], 4, False)


def settings(data: Path, *engines: str) -> Config:
    return Config(
        host="127.0.0.1", port=0, engines=engines, data=data, timeouts=Timeouts.for_tests()
    )


async def test_what_was_changed_is_so_after_a_restart_beside_the_configured_ones(
    tmp_path: Path,
) -> None:
    one, two, three = (f"http://127.0.0.1:{port}" for port in (1, 2, 3))

    async def engines(worker: Worker) -> list[tuple[str, int, bool]]:
        return [(e.url, e.capacity, e.state.value == "draining") for e in worker.hub.pool.engines]

    worker = Worker(settings(tmp_path, one, two))
    await worker.start()
    try:
        await worker.roster.add(three, 9)
        numbers = {entry.url: entry.number for entry, _engine in worker.roster.all()}
        await worker.roster.change(numbers[one], draining=True)
        await worker.roster.remove(numbers[two])
        assert await engines(worker) == [(one, 4, True), (three, 9, False)]
    finally:
        await worker.stop()
    worker = Worker(settings(tmp_path, one, two))
    await worker.start()
    try:
        assert await engines(worker) == [(one, 4, True), (three, 9, False)]
        assert {entry.url: entry.number for entry, _engine in worker.roster.all()} == {
            one: numbers[one],
            three: numbers[three],
        }
        await worker.roster.add(two)
        assert (two, 4, False) in await engines(worker)
    finally:
        await worker.stop()
    worker = Worker(settings(tmp_path, "http://127.0.0.1:4"))
    await worker.start()
    try:  # what only the configuration named is gone with it
        assert {url for url, *_ in await engines(worker)} == {"http://127.0.0.1:4", two, three}
    finally:
        await worker.stop()


async def test_a_drained_engine_gets_nothing_new_and_its_channel_moves(tmp_path: Path) -> None:
    contents = quick_contents()
    async with show(tmp_path, contents, engines=2) as desk:
        viewer, channel = await desk.on_air(contents[0])
        (drained,) = [one for one in desk.hub.pool.engines if one.url == channel.engine]
        await desk.ask("PATCH", await desk.engine_path(channel.engine), {"draining": True})
        await desk.moved(channel, viewer)
        await until(lambda: drained.sessions == 0, "the drained one is rid of it")
        await viewer.more(SOME)
        assert not viewer.over
        viewer.assert_plays()
        starts = drained.starts
        for content in contents[1:3]:
            other = await desk.made.play(content)
            await other.more(SOME)
        assert drained.starts == starts
        assert len(desk.made.snapshot.channels) == 3


async def test_without_another_engine_a_channel_stays_to_its_end(tmp_path: Path) -> None:
    contents = quick_contents()
    async with show(tmp_path, contents) as desk:
        viewer, channel = await desk.on_air(contents[0])
        path = await desk.engine_path(channel.engine)
        await desk.ask("PATCH", path, {"draining": True})
        with pytest.raises(UpstreamError) as info:
            await desk.made.play(contents[1])
        assert info.value.status == 503
        desk.hub._drain.look(0.0)
        await viewer.more(SOME)
        assert contents[0].counters.getstream_calls == 1
        await desk.ask("PATCH", path, {"draining": False})
        await (await desk.made.play(contents[2])).more(SOME)
        viewer.leave()


async def test_a_channel_stays_where_the_other_engine_does_not_take_it(tmp_path: Path) -> None:
    contents = quick_contents()
    async with show(tmp_path, contents, engines=2) as desk:
        viewer, channel = await desk.on_air(contents[0])
        for catalogue, simulator in zip(desk.made.catalogues, desk.made.engines, strict=True):
            if simulator.url != channel.engine:
                catalogue[0].fault("error", text="failed to load content")
                refusing_content = catalogue[0]
        await desk.ask("PATCH", await desk.engine_path(channel.engine), {"draining": True})
        await until(lambda: desk.hub._drain._stay, "the other engine was asked")
        assert refusing_content.counters.getstream_calls >= 1
        await viewer.more(SOME)
        now = desk.made.channel()
        assert now is not None
        assert (now.state, now.engine, now.recoveries) == ("live", channel.engine, 0)


async def test_a_removed_engine_keeps_nothing(tmp_path: Path) -> None:
    contents = quick_contents()
    async with show(tmp_path, contents, engines=2) as desk:
        viewer, channel = await desk.on_air(contents[0])
        await desk.ask("DELETE", await desk.engine_path(channel.engine), status=204)
        await desk.moved(channel, viewer)
        pool = desk.hub.pool
        await until(
            lambda: pool.sessions_opened == pool.sessions_stopped + 1, "the first is stopped"
        )
        await viewer.more(SOME)
        assert not viewer.over


async def test_a_direct_source_may_never_lead_to_an_engine_that_was_added(tmp_path: Path) -> None:
    async with (
        EngineSimulator(bundled_contents(), latency=0) as spare,
        stage(tmp_path, []) as made,
    ):
        await made.worker.roster.add(spare.url)
        url = f"{spare.url}/webui/api/service?method=get_version"
        with pytest.raises(UpstreamError) as info:
            await made.worker.hub._policy.check(url)
        assert "engine" in info.value.reason
        for policy in made.worker._policies:  # nor a logo
            with pytest.raises(UpstreamError):
                await policy.check(url)
        assert made.worker._policies
        assert spare.url in made.worker.refresher._config.engines, "nor a list"
