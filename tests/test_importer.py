"""Refreshes in a child: its turn, its end, and what is said of it."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from stage import PATIENCE_SECONDS, until
from web import site

from rawstream.config import Config, Limits
from rawstream.importer import ListProgress, Outcome, Refresher, import_in_child, try_in_child
from rawstream.lineup import OnProgress
from rawstream.records import ListSource
from rawstream.store import Store

PLAYLIST = b"#EXTM3U\n#EXTINF:-1,One\nhttp://h/1.ts\n"


async def add(store: Store, url: str, **more: int) -> int:
    return await store.lineup.add_list(ListSource(0, "playlist", url, **more))


async def test_a_child_imports_a_list(store: Store, tmp_path: Path) -> None:
    async with site() as web:
        web.documents["/l.m3u"] = PLAYLIST
        number = await add(store, f"{web.base}/l.m3u")
        outcome = await import_in_child(Config(data=tmp_path), number)
    assert outcome.ok, outcome
    assert "1 added" in outcome.text
    assert [channel.name for channel in await store.lineup.channels()] == ["One"]


async def test_a_child_notes_what_failed(store: Store, tmp_path: Path) -> None:
    number = await add(store, str(tmp_path / "none.m3u"))
    outcome = await import_in_child(Config(data=tmp_path), number)
    assert (outcome.ok, outcome.noted) == (False, True)
    source = await store.lineup.list_source(number)
    assert source is not None
    assert source.last_error == outcome.text


async def test_a_list_that_needs_too_much_memory_fails_alone(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "large.m3u"
    with path.open("wb") as file:
        file.write(b"#EXTM3U\n")
        for number in range(300_000):
            file.write(b"#EXTINF:-1,Channel %d\nhttp://h/%d.ts\n" % (number, number))
    number = await add(store, str(path))
    config = Config(data=tmp_path, limits=Limits(import_bytes=128 * 1024 * 1024))
    outcome = await import_in_child(config, number)
    assert (outcome.ok, outcome.noted) == (False, False)
    assert "MemoryError" in outcome.text or "status -" in outcome.text, outcome
    assert await store.lineup.channels() == []


async def test_a_machine_that_starts_no_process_is_a_failure_like_others(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(asyncio, "create_subprocess_exec", full)
    outcome = await import_in_child(Config(data=tmp_path), 1)
    assert (outcome.ok, outcome.noted) == (False, False)
    assert "too many open files" in outcome.text


async def test_a_bug_in_one_turn_is_not_the_end_of_all(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    children = Children(store)
    refresher = Refresher(
        store, Config(data=tmp_path), run=children.run, clock=lambda: children.now
    )
    refresher.on_progress = lambda _progress: 1 // 0
    watching = asyncio.create_task(refresher.watch())
    try:
        number = await add(store, "http://h/a")
        refresher.wake()
        await until(lambda: "a turn of the lists failed" in caplog.text)
        refresher.on_progress = lambda _progress: None
        refresher.wake()
        await until(lambda: children.ran == [number], "the next turn")
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_a_child_ends_with_whoever_started_it(store: Store, tmp_path: Path) -> None:
    pipe = tmp_path / "never.m3u"
    os.mkfifo(pipe)
    number = await add(store, str(pipe))
    task = asyncio.create_task(import_in_child(Config(data=tmp_path), number))
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    await until(lambda: children.read_text().strip(), "a child")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until(lambda: not children.read_text().strip(), "no child")


class Children:
    """Children that are none: what each is to come to, in order."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.outcomes: list[Outcome] = []
        self.ran: list[int] = []
        self.forced: list[bool] = []
        self.now = 1_000_000.0

    async def run(
        self, _config: Config, list_id: int, force: bool, progress: OnProgress
    ) -> Outcome:
        self.ran.append(list_id)
        self.forced.append(force)
        progress("reading", 5, 10)
        outcome = self.outcomes.pop(0) if self.outcomes else Outcome(True, "fine")
        if outcome.noted:
            error = "" if outcome.ok else outcome.text
            await self.store.lineup.note_refresh(list_id, now=int(self.now), error=error)
        return outcome


async def test_lists_have_their_turn_when_they_are_due(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = await add(store, "http://h/a", interval_seconds=3600)
    never = await add(store, "http://h/b", interval_seconds=0)
    second = await add(store, "http://h/c", interval_seconds=7200)
    children = Children(store)
    refresher = Refresher(
        store, Config(data=tmp_path), run=children.run, clock=lambda: children.now
    )
    assert await refresher.turn() == 3600
    assert children.ran == [first, second]
    children.now += 3600
    children.outcomes = [Outcome(False, "refused"), Outcome(False, "killed", noted=False)]
    with caplog.at_level(logging.INFO):
        assert await refresher.turn() == 60
        children.now += 60
        assert await refresher.turn() == 120
    assert children.ran == [first, second, first, first]
    source = await store.lineup.list_source(first)
    assert source is not None
    assert source.last_error == "killed", "noted for a child that could not"
    assert never not in children.ran
    levels = [record.levelname for record in caplog.records if "not refreshed" in record.message]
    assert levels == ["WARNING", "INFO"], "said once aloud"


async def test_what_came_of_refreshes_is_counted_by_kind(store: Store, tmp_path: Path) -> None:
    first = await add(store, "http://h/a", interval_seconds=3600)
    await add(store, "http://h/b", interval_seconds=3600)
    children = Children(store)
    children.outcomes = [Outcome(False, "refused"), Outcome(True, "unchanged")]
    refresher = Refresher(
        store, Config(data=tmp_path), run=children.run, clock=lambda: children.now
    )
    await refresher.turn()
    assert refresher.results == {("playlist", "failed"): 1, ("playlist", "unchanged"): 1}
    assert refresher.failing == 1
    await store.lineup.delete_list(first)
    await refresher.turn()
    assert refresher.failing == 0, "a list that is gone fails no more"


async def test_a_new_list_is_read_at_once(store: Store, tmp_path: Path) -> None:
    children = Children(store)
    refresher = Refresher(
        store, Config(data=tmp_path), run=children.run, clock=lambda: children.now
    )
    watching = asyncio.create_task(refresher.watch())
    try:
        await asyncio.sleep(0)
        number = await add(store, "http://h/a")
        refresher.wake()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await until(lambda: children.ran == [number])
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_a_failure_that_nobody_could_note_is_not_tried_again_at_once(
    store: Store, tmp_path: Path
) -> None:
    number = await add(store, "http://h/a", interval_seconds=3600)
    now, ran = 1_000_000.0, []

    async def on_a_full_disk(_config: Config, list_id: int, *_more: Any) -> Outcome:
        ran.append(list_id)
        return Outcome(False, "no space left")

    refresher = Refresher(store, Config(data=tmp_path), run=on_a_full_disk, clock=lambda: now)
    assert [await refresher.turn() for _ in range(3)] == [60, 60, 60]
    assert ran == [number]
    source = await store.lineup.list_source(number)
    assert source is not None
    assert (source.last_error, refresher.error_of(source)) == ("", "no space left")
    later = replace(source, refreshed_at=int(now) + 1)
    assert refresher.error_of(later) == "", "somebody else could"


async def test_a_child_says_how_far_it_is_and_may_be_told_to_insist(
    store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "l.m3u"
    path.write_bytes(PLAYLIST)
    number = await add(store, str(path))
    told: list[tuple[str, int, int | None]] = []

    async def run(force: bool) -> str:
        def progress(*step: Any) -> None:
            told.append(step)

        return (await import_in_child(Config(data=tmp_path), number, force, progress)).text

    assert "1 added" in await run(False)
    assert told == [("reading", len(PLAYLIST), len(PLAYLIST))]
    assert await run(False) == "unchanged"
    assert "1 unchanged" in await run(True)


async def test_a_child_says_what_an_import_would_do(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "l.m3u"
    path.write_bytes(PLAYLIST)
    number = await add(store, str(path))
    await import_in_child(Config(data=tmp_path), number)
    source = await store.lineup.list_source(number)
    assert source is not None
    new = tmp_path / "new.m3u"
    new.write_bytes(PLAYLIST.replace(b",One", b",Two") + b"#EXTINF:-1,Three\nhttp://h/3.ts\n")
    outcome = await try_in_child(Config(data=tmp_path), source, str(new))
    report = orjson.loads(outcome.text)
    assert (report["changed"], report["names"]["added"]) == (1, ["Three"])
    assert [one.name for one in await store.lineup.channels()] == ["One"], "nothing was written"
    gone = await try_in_child(Config(data=tmp_path), source, str(tmp_path / "none"))
    assert (gone.ok, "No such file" in gone.text) == (False, True)


async def test_what_is_asked_for_comes_first_and_is_seen(store: Store, tmp_path: Path) -> None:
    due = await add(store, "http://h/a", interval_seconds=3600)
    asked = await add(store, "http://h/b", interval_seconds=0)
    children = Children(store)
    refresher = Refresher(
        store, Config(data=tmp_path), run=children.run, clock=lambda: children.now
    )
    seen: list[ListProgress] = []
    refresher.on_progress = seen.append
    refresher.ask(asked, force=True)
    refresher.ask(asked)
    refresher.ask(99)  # none there is
    assert refresher.progress_of(asked) == ListProgress(asked, "waiting")
    await refresher.turn()
    assert (children.ran, children.forced) == ([asked, due], [True, False])
    assert refresher.progress_of(asked) is None and refresher.progress_of(99) is None
    assert [one.step for one in seen if one.list_id == asked] == [
        *("waiting", "waiting", "fetching", "reading", "done")
    ]
    assert (seen[-1].text, seen[-1].list_id) == ("fine", due)
    children.outcomes = [Outcome(False, "refused")]
    refresher.ask(asked)
    await refresher.turn()
    assert seen[-1] == ListProgress(asked, "failed", text="refused")
