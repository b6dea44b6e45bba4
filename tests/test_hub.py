"""What is on air: bounds, merged contents, sources that take over, leases."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from stage import Stage, quick_contents, stage, until

from rawstream.config import Limits, Timeouts
from rawstream.engine_client import ContentRef
from rawstream.errors import UpstreamError
from rawstream.records import Account, Channel, ChannelSource
from rawstream.simulator import SimContent
from rawstream.sources import spellings

ID, INFOHASH = "1d" * 20, "1f" * 20
SOME = 60_000


@pytest.mark.parametrize(
    ("ref", "infohash", "expected"),
    [
        (("unknown", ID), None, [("content_id", ID), ("infohash", ID)]),
        (("unknown", ID), INFOHASH, [("infohash", INFOHASH), ("content_id", ID), ("infohash", ID)]),
        (("unknown", INFOHASH), INFOHASH, [("infohash", INFOHASH)]),
        (("content_id", ID), None, [("content_id", ID), ("infohash", ID)]),
        (("infohash", INFOHASH), INFOHASH, [("infohash", INFOHASH)]),
        (("url", "http://h/a.acelive"), None, [("url", "http://h/a.acelive")]),
        (
            ("url", "http://h/a.acelive"),
            INFOHASH,
            [("infohash", INFOHASH), ("url", "http://h/a.acelive")],
        ),
    ],
)
def test_what_is_known_is_asked_first_and_the_other_kind_last(
    ref: tuple[str, str], infohash: str | None, expected: list[tuple[str, str]]
) -> None:
    assert spellings(ContentRef(*ref), infohash) == expected  # type: ignore[arg-type]


async def test_an_infohash_on_air_is_joined_when_given_as_an_id_without_asking_the_engine(
    tmp_path: Path,
) -> None:
    contents = quick_contents()
    content = contents[0]
    async with stage(tmp_path, contents) as made:
        first = await made.play(f"infohash={content.infohash}")
        await first.more(SOME)
        asked = made.engine.counters.media_files_calls
        second = await made.play(f"id={content.infohash.upper()}")
        await second.more(SOME)
        assert made.engine.counters.media_files_calls == asked
        channel = made.channel()
        assert channel is not None
        assert len(channel.viewers) == 2
        assert set(channel.content) == {
            f"infohash:{content.infohash}",
            f"unknown:{content.infohash}",
        }


async def test_no_more_channels_than_the_limit_are_opened(tmp_path: Path) -> None:
    contents = quick_contents()
    async with stage(tmp_path, contents, limits=Limits(channels=1)) as made:
        player = await made.play(contents[0])
        await player.more(SOME)
        with pytest.raises(UpstreamError) as info:
            await made.play(contents[1])
        assert info.value.status == 503
        assert "too many channels" in info.value.reason
        assert contents[1].counters.getstream_calls == 0


async def test_no_more_viewers_than_the_limit_are_held(tmp_path: Path) -> None:
    contents = quick_contents()
    contents[0].fault("delay", where="start", seconds=600)
    async with stage(tmp_path, contents, limits=Limits(held_viewers=2)) as made:
        held = [asyncio.create_task(made.play(contents[0])) for _ in range(2)]
        await until(lambda: made.snapshot.held == 2, "two on hold")
        with pytest.raises(UpstreamError) as info:
            await made.play(contents[0])
        assert info.value.status == 503
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        await until(lambda: made.snapshot.held == 0, "those who left are not held")


async def test_a_failed_content_may_be_asked_for_again_after_its_time(tmp_path: Path) -> None:
    contents = quick_contents()
    contents[0].fault("error", text="failed to load content", times=2)
    timeouts = Timeouts.for_tests(failure_memory_seconds=0.3)
    async with stage(tmp_path, contents, timeouts=timeouts) as made:
        with pytest.raises(UpstreamError) as info:
            await made.play(contents[0])
        assert "failed to load content" in info.value.reason
        contents[0].faults.clear()

        async def plays() -> bool:
            try:
                await (await made.play(contents[0])).more(SOME)
            except UpstreamError:
                return False
            return True

        async with asyncio.timeout(20):
            while not await plays():
                await asyncio.sleep(0.05)


async def test_the_rings_share_one_budget(tmp_path: Path) -> None:
    contents = quick_contents()
    limits = Limits(rings_budget_bytes=4_000_000)
    async with stage(tmp_path, contents, limits=limits) as made:
        players = [await made.play(content) for content in contents[:2]]
        await asyncio.gather(*(player.more(SOME) for player in players))
        caps = lambda: {c.mux.ring.cap_bytes for c in made.worker.hub._channels}  # noqa: E731
        await until(lambda: caps() == {2_000_000}, "an even share for each")


async def test_the_counts_of_channels_that_are_over_are_kept(tmp_path: Path) -> None:
    contents = quick_contents()
    async with stage(tmp_path, contents) as made:
        player = await made.play(contents[0])
        await player.more(SOME)
        player.leave()
        await until(lambda: made.channel() is None, "the end")
        assert made.snapshot.bytes_out >= SOME
        assert (made.snapshot.sessions_opened, made.snapshot.viewers) == (1, 0)
        await until(lambda: made.snapshot.sessions_stopped == 1, "the stop is counted")


async def test_a_channel_is_shown_under_the_name_in_its_transport_file(tmp_path: Path) -> None:
    contents = quick_contents()
    async with stage(tmp_path, contents) as made:
        by_infohash = await made.play(f"infohash={contents[0].infohash}")
        by_id = await made.play(f"id={contents[1].content_id}")
        await asyncio.gather(by_infohash.more(SOME), by_id.more(SOME))
        names = {content.name for content in contents[:2]}
        await until(lambda: {c.name for c in made.snapshot.channels} == names, "the names")
        assert contents[0].name.encode() in (await made.ask("/status")).body


async def test_a_bug_in_what_channels_share_stops_no_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage(tmp_path) as made:
        hub = made.worker.hub
        with monkeypatch.context() as broken:
            broken.setattr(hub, "_share", lambda: 1 // 0)
            await until(lambda: "a look at all channels failed" in caplog.text)
        hub._refusals.note_failed([ContentRef("content_id", ID)], "no peers", -1000.0)
        await until(lambda: not hub._refusals._contents, "the next look")


async def test_readiness_follows_the_engines(tmp_path: Path) -> None:
    async with stage(tmp_path, quick_contents()) as made:
        assert made.worker.hub.ready() == (True, "ready")
        await made.engine.set_engine_fault("refuse")
        await until(lambda: not made.worker.hub.ready()[0], "not ready without an engine")
        assert (await made.ask("/readyz")).status == 503
        assert (await made.ask("/healthz")).status == 200
        await made.engine.set_engine_fault("ok")
        await until(lambda: made.worker.hub.ready()[0], "ready again")


# -- channels of the line-up: several sources, leases --


async def of_the_line_up(made: Stage, *contents: SimContent) -> str:
    """A channel with these sources for an account without a limit; the path that plays it."""
    worker = made.worker
    sources = tuple(ChannelSource("content_id", content.content_id) for content in contents)
    channel = await worker.store.lineup.add_channel(Channel(0, "Line", sources=sources))
    if await worker.store.accounts.by_token("tok") is None:
        await worker.store.accounts.add(Account(0, "ana", "", token="tok", max_connections=0))
    await worker.catalogue.look()
    return f"/live/tok/{channel}.ts"


def leases(made: Stage) -> int:
    return sum(map(len, made.worker.accounts._leases.values()))


async def test_a_second_source_takes_over_at_the_start(tmp_path: Path) -> None:
    contents = quick_contents()
    contents[0].fault("error", text="failed to load content")
    async with stage(tmp_path, contents) as made:
        player = await made.play(await of_the_line_up(made, *contents[:2]))
        await player.more(SOME)
        player.assert_starts_clean()
        assert contents[1].counters.opens == 1


async def test_a_second_source_takes_over_in_the_middle_also_on_the_only_engine(
    tmp_path: Path,
) -> None:
    contents = quick_contents()
    first, second = contents[:2]
    first.fault("eof", after_bytes=700_000)
    async with stage(tmp_path, contents) as made:
        player = await made.play(await of_the_line_up(made, first, second))
        await player.more(SOME)
        first.fault("error", text="failed to load content")
        await until(lambda: second.counters.opens or player.over, "the second source is asked")
        assert not player.over
        await player.more(20 * SOME)


async def test_a_content_on_air_learns_of_a_channels_other_sources(tmp_path: Path) -> None:
    contents = quick_contents()
    first, second = contents[:2]
    async with stage(tmp_path, contents) as made:
        alone = await made.play(f"id={first.content_id}")
        await alone.more(SOME)
        player = await made.play(await of_the_line_up(made, first, second))
        await player.more(SOME)
        assert first.counters.opens == 1
        first.fault("eof", after_bytes=0)
        first.fault("error", text="failed to load content")
        await until(lambda: second.counters.opens or alone.over, "the second source is asked")
        for viewer in (alone, player):
            await viewer.more(20 * SOME)


async def test_a_failed_source_is_never_known_as_the_one_that_took_its_place(
    tmp_path: Path,
) -> None:
    contents = quick_contents()
    first, second = contents[:2]
    first.fault("error", text="failed to load content")
    first.fault("status", where="files", status=500)
    async with stage(tmp_path, contents) as made:
        hub = made.worker.hub
        other = await made.play(f"infohash={second.infohash}")
        await other.more(SOME)
        player = await made.play(await of_the_line_up(made, first, second))
        await player.more(SOME)
        assert len(made.snapshot.channels) == 1
        assert leases(made) == 1, "a hand-over keeps the lease"
        running = next(iter(hub._channels))
        opens = second.counters.opens
        assert running.supply.feed is not None
        await hub.pool.stop(running.supply.feed.session)  # type: ignore[attr-defined]
        await until(lambda: second.counters.opens > opens, "a new session of the other channel")
        await other.more(SOME)
        assert hub.pool.known_infohash(ContentRef("content_id", first.content_id)) is None


async def test_a_lease_ends_with_its_viewer_however_he_goes(tmp_path: Path) -> None:
    contents = quick_contents()
    contents[1].fault("delay", where="start", seconds=600)
    contents[2].fault("error", text="failed to load content")
    async with stage(tmp_path, contents) as made:
        plays = await of_the_line_up(made, contents[0])
        hangs = await of_the_line_up(made, contents[1])
        fails = await of_the_line_up(made, contents[2])
        player = await made.play(plays)
        await player.more(SOME)
        assert leases(made) == 1
        waiting = asyncio.create_task(made.play(hangs))
        await until(lambda: leases(made) == 2)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await until(lambda: leases(made) == 1, "one who left while he waited")
        for _ in range(2):  # refused after a wait, then at once
            with pytest.raises(UpstreamError):
                await made.play(fails)
        assert leases(made) == 1
        received = len(player.data)
        player.leave()
        await until(lambda: leases(made) == 0, "one who left")
        assert sum(made.worker.accounts.take_bytes().values()) >= received


async def test_while_the_bandwidth_is_used_up_no_viewer_is_let_in(tmp_path: Path) -> None:
    contents = quick_contents()
    content = contents[0]
    async with stage(tmp_path, contents, limits=Limits(bandwidth_bits_per_second=1000)) as made:
        path = await of_the_line_up(made, content)
        player = await made.play(path, user_agent="Box")
        await until(lambda: made.worker.hub.crowded)
        for refused in (made.player(f"id={content.content_id}"), made.player(path)):
            with pytest.raises(UpstreamError) as info:
                await refused.open()
            assert info.value.status == 503
        await player.more(SOME)
        player.leave()
        await until(lambda: not made.worker.hub.crowded)
        await (await made.play(f"id={content.content_id}")).more(SOME)


async def test_a_cut_ends_one_viewer_and_not_another(tmp_path: Path) -> None:
    contents = quick_contents()
    async with stage(tmp_path, contents) as made:
        path = await of_the_line_up(made, contents[0])
        one, other = await made.play(path), await made.play(path)
        await one.more(SOME)
        await other.more(SOME)
        lease = next(iter(next(iter(made.worker.accounts._leases.values()))))
        assert lease.cut is not None
        lease.cut()
        await until(lambda: one.over or other.over)
        assert leases(made) == 1
        await (other if one.over else one).more(SOME)
