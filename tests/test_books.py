"""What is written down, and that a disk without room loses none of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from stage import until

from rawstream import books
from rawstream.books import Books
from rawstream.engine_client import ContentRef
from rawstream.errors import StateError
from rawstream.records import Account, Activity
from rawstream.store import Store

REF = ContentRef("content_id", "a" * 40)


class Counts:
    def __init__(self) -> None:
        self.bytes: dict[int, int] = {}

    def take_bytes(self) -> dict[int, int]:
        taken, self.bytes = self.bytes, {}
        return taken


class Desk:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.counts = Counts()
        self.books = Books(
            store,
            self.counts,
            name_of=lambda number: {"7": "One"}.get(number, ""),
            clock=lambda: 99.5,
        )


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    store = await Store.open(tmp_path)
    await store.accounts.add(Account(5, "ana", "x"))
    yield Desk(store)
    await store.close()


@asynccontextmanager
async def no_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    def full(*_: Any) -> Any:
        raise StateError("db", "database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(store.db, "write", full)
        yield


async def test_everything_is_written_once(desk: Desk) -> None:
    desk.counts.bytes = {5: 1000}
    desk.books.learnt(REF, "b" * 40)
    desk.books.note("play", account="ana", channel="7", address="10.0.0.1", text="VLC")
    desk.books.note("stop", channel="8")
    await desk.books.write()
    desk.counts.bytes = {5: 10}
    await desk.books.write()
    assert await desk.store.accounts.bytes_of() == {5: 1010}
    assert await desk.store.known_infohashes() == {("content_id", "a" * 40): "b" * 40}
    assert await desk.store.history() == [
        Activity(99, "stop", channel="8"),
        Activity(99, "play", "ana", "7 One", "10.0.0.1", "VLC"),
    ]


async def test_a_line_that_quotes_a_secret_is_told_and_kept_without_it(desk: Desk) -> None:
    told: list[Activity] = []
    desk.books.on_note = told.append
    desk.books.note("import", text="list: http://h/get.php?username=ana&password=hunter2 failed")
    await desk.books.write()
    assert told == await desk.store.history()
    assert "hunter2" not in told[0].text and told[0].text.endswith(" failed")


async def test_what_could_not_be_written_comes_with_the_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with no_room(desk.store, monkeypatch):
        for sent in (1000, 10):
            desk.counts.bytes = {5: sent}
            desk.books.learnt(REF, "b" * 40)
            desk.books.note("play", account="ana")
            with pytest.raises(StateError):
                await desk.books.write()
    await desk.books.write()
    assert await desk.store.accounts.bytes_of() == {5: 1010}
    assert len(await desk.store.known_infohashes()) == 1
    assert len(await desk.store.history()) == 2


async def test_bytes_of_an_account_that_is_gone_block_nothing(desk: Desk) -> None:
    await desk.store.accounts.delete(5)
    desk.counts.bytes = {5: 1}
    await desk.books.write()
    assert await desk.store.accounts.bytes_of() == {}


async def test_a_writing_that_is_cancelled_half_way_is_not_written_twice(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the end of the server, which writes once more itself."""
    written, go_on = asyncio.Event(), asyncio.Event()
    add_bytes = desk.store.accounts.add_bytes

    async def slow(counts: Mapping[int, int]) -> None:
        await add_bytes(counts)
        written.set()
        await go_on.wait()

    monkeypatch.setattr(desk.store.accounts, "add_bytes", slow)
    desk.counts.bytes = {5: 1000}
    writing = asyncio.create_task(desk.books.write())
    await written.wait()
    writing.cancel()
    last = asyncio.create_task(desk.books.write())
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await last
    assert await desk.store.accounts.bytes_of() == {5: 1000}


async def test_each_line_is_told_as_it_is_noted(desk: Desk) -> None:
    told: list[Activity] = []
    desk.books.on_note = told.append
    desk.books.note("play", account="ana", channel="7", address="10.0.0.1", text="VLC")
    assert told == [Activity(99, "play", "ana", "7 One", "10.0.0.1", "VLC")]
    assert await desk.store.history() == told


async def test_rounds_that_failed_are_counted_and_told_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(books, "_EVERY_SECONDS", 0.001)

    def said(text: str) -> int:
        return sum(text in record.getMessage() for record in caplog.records)

    def broken(*_: Any) -> Any:
        raise RuntimeError("a bug")

    async def after_two_more() -> None:
        before = desk.books.failures
        await until(lambda: desk.books.failures >= before + 2, "two rounds more have failed")

    watching = asyncio.create_task(desk.books.watch())
    try:
        desk.books.note("stop", channel="8")
        async with no_room(desk.store, monkeypatch):
            await after_two_more()
        assert said("disk is full") == 1
        await until(lambda: not desk.store._notes, "it is written once there is room")
        counted = desk.books.failures
        with monkeypatch.context() as patched:
            patched.setattr(desk.counts, "take_bytes", broken)
            await after_two_more()
        assert said("a round of the books failed") == 1
        desk.books.note("stop", channel="9")
        await until(lambda: not desk.store._notes, "a bug has not ended the writing")
        assert desk.books.failures >= counted + 2
        async with no_room(desk.store, monkeypatch):
            desk.books.note("stop", channel="8")
            await after_two_more()
        assert said("disk is full") == 2, "told again when it was well meanwhile"
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
