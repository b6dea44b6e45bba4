"""The database file: what is refused stays as it was, what is ours is copied whole."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage import PATIENCE_SECONDS

from rawstream import database
from rawstream.database import (
    FILE_NAME,
    Database,
    Work,
    backup,
    examine,
    locked,
    read_only,
    restore,
)
from rawstream.errors import ClashError, StateError
from rawstream.records import Channel, ChannelSource
from rawstream.store import Store


async def _made(path: Path, value: str = "one") -> None:
    db = await Database.open(path)
    async with db.write() as transaction:
        await transaction.execute("INSERT OR REPLACE INTO settings VALUES ('kept', ?)", (value,))
    await db.close()


def _kept(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT value FROM settings").fetchone()[0])


async def test_what_is_written_is_there_at_the_next_start(tmp_path: Path) -> None:
    await _made(tmp_path / "db")
    db = await Database.open(tmp_path / "db", create=False)
    assert (await db.read("SELECT value FROM settings"))[0]["value"] == "one"
    await db.close()


async def test_a_block_that_raises_leaves_nothing(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "db")
    with pytest.raises(ZeroDivisionError):
        async with db.write() as transaction:
            await transaction.execute("INSERT INTO settings VALUES ('a', 'b')")
            _ = 1 / 0
    async with db.write() as transaction:
        await transaction.execute("INSERT INTO settings VALUES ('c', 'd')")
    assert [row["name"] for row in await db.read("SELECT name FROM settings")] == ["c"]
    await db.close()


async def test_another_process_sees_what_kind_of_thing_changed(tmp_path: Path) -> None:
    ours, theirs = [await Database.open(tmp_path / "db") for _ in range(2)]
    before = await ours.data_version()
    async with theirs.write() as transaction:
        transaction.changed("lineup")
    assert await ours.data_version() != before
    assert await ours.kinds() == {"lineup": 1}
    await ours.close()
    await theirs.close()


async def test_two_writers_both_get_through(tmp_path: Path) -> None:
    both = [await Database.open(tmp_path / "db") for _ in range(2)]

    async def write(db: Database, name: str) -> None:
        for number in range(20):
            async with db.write() as transaction:
                await transaction.execute(
                    "INSERT INTO settings VALUES (?, '')", (f"{name}{number}",)
                )

    await asyncio.gather(write(both[0], "a"), write(both[1], "b"))
    assert (await both[0].read("SELECT count(*) FROM settings"))[0][0] == 40
    for db in both:
        await db.close()


@pytest.mark.parametrize("kind", ["garbage", "truncated", "foreign", "newer"])
async def test_a_file_that_cannot_be_used_is_refused_and_not_touched(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "db"
    await _made(path)
    if kind == "garbage":
        path.write_bytes(b"not a database at all, and long enough to have a header" * 40)
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:8192])
    else:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            pragma = "application_id = 1" if kind == "foreign" else "user_version = 99"
            connection.execute(f"PRAGMA {pragma}")
    before = path.read_bytes()
    with pytest.raises(StateError) as caught:
        await Database.open(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


async def test_a_missing_database_is_not_made_where_one_is_expected(tmp_path: Path) -> None:
    with pytest.raises(StateError):
        await Database.open(tmp_path / "none" / "db", create=False)
    assert not (tmp_path / "none").exists()


async def test_a_migration_keeps_a_copy_of_what_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "db"
    await _made(path)
    monkeypatch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, "CREATE TABLE more (x)"))
    monkeypatch.setattr(database, "VERSION", database.VERSION + 1)
    db = await Database.open(path)
    assert await db.read("SELECT * FROM more") == []
    await db.close()
    copy = path.with_name(f"db.before-v{database.VERSION}")
    assert examine(copy) == database.VERSION - 1
    assert _kept(copy) == "one"


def _of_version_2(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for script in database.MIGRATIONS[:2]:
            connection.executescript(script)
        connection.executescript(
            """
            INSERT INTO lists (kind, url, interval_seconds, etag) VALUES ('playlist', 'u', 60, 'e');
            INSERT INTO categories (name) VALUES ('News');
            INSERT INTO channels (id, name, playlist_id, identity, edited)
                VALUES (7, 'One', 1, 'i', 'name');
            INSERT INTO channel_sources VALUES (7, 0, 'direct', 'http://h/1.mkv', '', NULL, 1);
            INSERT INTO channel_categories VALUES (7, 0, 1);
            INSERT INTO guide_mappings VALUES (7, 'one.it');
            INSERT INTO accounts (username, password_hash, token, allowed_formats, created_at)
                VALUES ('ana', 'h', 'a', 'ts', 1), ('bob', 'h', 'b', 'm3u8', 1);
            PRAGMA user_version = 2;
            """
        )
        connection.execute(f"PRAGMA application_id = {database.APPLICATION_ID}")


async def test_films_come_to_a_database_of_version_2_which_keeps_all_it_has(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    _of_version_2(path)
    store = await Store.open(tmp_path)
    (channel,) = await store.lineup.channels()
    assert channel == Channel(
        7,
        "One",
        categories=(1,),
        sources=(ChannelSource("direct", "http://h/1.mkv", playlist_id=1),),
        playlist_id=1,
        identity="i",
        edited=frozenset({"name"}),
    )
    assert await store.lineup.series() == []
    assert await store.guide.mappings() == {7: "one.it"}
    (source,) = await store.lineup.lists()
    assert (source.url, source.etag) == ("u", ""), "read again: a channel may have been a film"
    formats = {one.username: one.allowed_formats for one in await store.accounts.accounts()}
    assert formats == {"ana": ("ts", "m3u8"), "bob": ("m3u8",)}
    await store.close()
    assert examine(path.with_name(f"{FILE_NAME}.before-v{database.VERSION}")) == 2


def test_a_look_at_an_older_database_sees_it_as_it_will_be(tmp_path: Path) -> None:
    path = tmp_path / "db"
    _of_version_2(path)
    before = path.read_bytes()
    with read_only(path) as connection:
        assert [tuple(row) for row in connection.execute("SELECT id, kind FROM channels")] == [
            (7, "live")
        ]
    assert path.read_bytes() == before
    assert examine(path) == 2


async def test_a_backup_of_a_database_in_use_is_whole(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "db")
    async with db.write() as transaction:
        await transaction.execute("INSERT INTO settings VALUES ('kept', 'in the log')")
    await asyncio.to_thread(backup, tmp_path / "db", tmp_path / "copy")
    assert _kept(tmp_path / "copy") == "in the log"
    with pytest.raises(StateError):
        backup(tmp_path / "db", tmp_path / "copy")
    await db.close()


async def test_a_backup_ends_however_busy_the_database_is(tmp_path: Path) -> None:
    path = tmp_path / "db"
    await _made(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("INSERT INTO settings VALUES ('large', zeroblob(16000000))")
        ended = threading.Event()

        def copy() -> None:
            backup(path, tmp_path / "copy")
            ended.set()

        copying = threading.Thread(target=copy)
        copying.start()
        until = time.monotonic() + PATIENCE_SECONDS
        while not ended.is_set() and time.monotonic() < until:
            writer.execute("INSERT OR REPLACE INTO settings VALUES ('kept', random())")
        assert ended.is_set()
        copying.join()
    examine(tmp_path / "copy")


async def test_a_backup_replaces_no_database_in_use(tmp_path: Path) -> None:
    await _made(tmp_path / "db")
    with pytest.raises(StateError, match="in use"):
        backup(tmp_path / "db", tmp_path / "db", force=True)
    other = await Database.open(tmp_path / "other")
    async with other.write() as transaction:
        await transaction.execute("INSERT INTO settings VALUES ('kept', 'theirs')")
    with pytest.raises(StateError, match="in use"):
        backup(tmp_path / "db", tmp_path / "other", force=True)
    await other.close()
    assert _kept(tmp_path / "other") == "theirs"


async def test_restore_keeps_what_it_replaces(tmp_path: Path) -> None:
    await _made(tmp_path / "db", "old")
    backup(tmp_path / "db", tmp_path / "copy")
    await _made(tmp_path / "db", "new")
    kept = restore(tmp_path / "copy", tmp_path / "db")
    assert kept is not None
    assert (_kept(tmp_path / "db"), _kept(kept)) == ("old", "new")


async def test_restore_refuses_while_a_server_runs_or_what_is_no_backup(tmp_path: Path) -> None:
    await _made(tmp_path / "db")
    backup(tmp_path / "db", tmp_path / "copy")
    with locked(tmp_path), pytest.raises(StateError, match="server runs"):
        restore(tmp_path / "copy", tmp_path / "db")
    (tmp_path / "no").write_text("no")
    with pytest.raises(StateError):
        restore(tmp_path / "no", tmp_path / "db")
    assert _kept(tmp_path / "db") == "one"


async def test_work_in_a_thread_is_whole_or_not_at_all(tmp_path: Path) -> None:
    def note(work: Work, name: str) -> str:
        work.connection.execute("INSERT INTO settings VALUES (?, 'x')", (name,))
        work.changed("settings")
        return name

    def fail(work: Work) -> None:
        note(work, "lost")
        raise ZeroDivisionError

    db = await Database.open(tmp_path / "db")
    assert await db.work(lambda work: note(work, "kept")) == "kept"
    with pytest.raises(ZeroDivisionError):
        await db.work(fail)
    with pytest.raises(ClashError):
        await db.work(lambda work: note(work, "kept"))
    with pytest.raises(ClashError):
        async with db.write() as transaction:
            await transaction.execute("INSERT INTO settings VALUES ('kept', 'b')")
    assert [row["name"] for row in await db.read("SELECT name FROM settings")] == ["kept"]
    assert await db.kinds() == {"settings": 1}
    await db.close()


async def test_who_is_cancelled_waits_for_the_work_that_has_begun(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(work: Work) -> None:
        work.connection.execute("INSERT INTO settings VALUES ('kept', 'x')")
        begun.set()
        assert go_on.wait(30)

    db = await Database.open(tmp_path / "db")
    task = asyncio.create_task(db.work(slow))
    await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    kept = await db.read("SELECT * FROM settings")
    await db.close()
    assert len(kept) == 1


def _read_only_kept(path: Path) -> list[str]:
    with read_only(path) as connection:
        return [row["value"] for row in connection.execute("SELECT value FROM settings")]


@contextlib.contextmanager
def _unwritable() -> Iterator[Path]:
    """A directory that this process can read but not write, also when it is root's."""
    root = os.geteuid() == 0
    directory = Path(tempfile.mkdtemp())
    try:
        yield directory
    finally:
        if root:
            os.seteuid(0)
        directory.chmod(0o700)
        shutil.rmtree(directory)


def _lock_out(directory: Path) -> None:
    for path in directory.iterdir():
        path.chmod(0o444)
    directory.chmod(0o555)
    if os.geteuid() == 0:
        os.seteuid(65534)


async def test_a_look_writes_nothing_and_needs_no_right_to() -> None:
    with _unwritable() as directory:
        path = directory / "db"
        assert _read_only_kept(path) == []
        assert not path.exists()
        await _made(path)
        before = path.read_bytes()
        assert _read_only_kept(path) == ["one"]
        path.with_name("db-wal").unlink(missing_ok=True)
        path.with_name("db-shm").unlink(missing_ok=True)
        _lock_out(directory)
        assert _read_only_kept(path) == ["one"]
        assert path.read_bytes() == before


async def test_a_database_that_cannot_be_written_is_refused_and_no_thread_stays() -> None:
    with _unwritable() as directory:
        await _made(directory / "db")
        _lock_out(directory)
        threads = threading.active_count()
        with pytest.raises(StateError):
            await Database.open(directory / "db")
        assert threading.active_count() <= threads + 1, "but for the loop's own"


async def test_a_database_that_cannot_be_copied_is_kept_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _made(tmp_path / "db", "old")
    backup(tmp_path / "db", tmp_path / "copy")
    with contextlib.closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as killed:
        killed.execute("PRAGMA wal_autocheckpoint = 0")
        killed.execute("UPDATE settings SET value = 'new'")
        for name in ("db", "db-wal"):  # as they are when their server is killed
            shutil.copy(tmp_path / name, tmp_path / f"left-{name}")
    for name in ("db", "db-wal"):
        os.replace(tmp_path / f"left-{name}", tmp_path / name)
    copy = backup

    def no_room_for_it(source: Path, target: Path) -> None:
        if source == tmp_path / "db":
            raise StateError(str(target), "No space left on device")
        copy(source, target)

    monkeypatch.setattr(database, "backup", no_room_for_it)
    kept = restore(tmp_path / "copy", tmp_path / "db")
    assert kept is not None
    assert (_kept(tmp_path / "db"), _kept(kept)) == ("old", "new")


async def test_a_look_does_not_pass_over_a_log_that_it_cannot_read() -> None:
    with _unwritable() as directory:
        path = directory / "db"
        db = await Database.open(path)
        async with db.write() as transaction:
            await transaction.execute("INSERT INTO settings VALUES ('kept', 'new')")
        log = path.with_name("db-wal").read_bytes()
        await db.close()
        path.with_name("db-wal").write_bytes(
            log
        )  # as after a crash, and restored without its index
        _lock_out(directory)
        with pytest.raises(StateError):
            _read_only_kept(path)


async def test_a_look_sees_what_a_running_server_wrote(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "db")
    async with db.write() as transaction:
        await transaction.execute("INSERT INTO settings VALUES ('kept', 'new')")
    assert _read_only_kept(tmp_path / "db") == ["new"]
    with read_only(tmp_path / "db") as connection, pytest.raises(sqlite3.OperationalError):
        connection.execute("DELETE FROM settings")
    await db.close()


async def test_who_leaves_while_waiting_for_his_turn_leaves_no_transaction_open(
    tmp_path: Path,
) -> None:
    path = tmp_path / "db"
    db = await Database.open(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        async def write() -> None:
            async with db.write() as transaction:
                await transaction.execute("INSERT INTO settings VALUES ('kept', 'no')")

        writing = asyncio.create_task(write())
        await asyncio.sleep(0.05)  # until its thread waits for the lock; if not, nothing is tested
        writing.cancel()
        await asyncio.sleep(0.05)
        other.execute("COMMIT")
    with pytest.raises(asyncio.CancelledError):
        await writing
    async with db.write() as transaction:
        await transaction.execute("INSERT INTO settings VALUES ('kept', 'yes')")
    await db.close()
    assert _kept(path) == "yes"


async def test_a_look_is_of_one_moment_and_writes_nothing(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / FILE_NAME)
    begun, written = threading.Event(), threading.Event()

    def count(connection: sqlite3.Connection) -> list[int]:
        select = "SELECT count(*) FROM settings"
        first = connection.execute(select).fetchone()[0]
        begun.set()
        assert written.wait(10)
        return [first, connection.execute(select).fetchone()[0]]

    try:
        looking = asyncio.ensure_future(db.look(count))
        await asyncio.to_thread(begun.wait, 10)
        async with db.write() as transaction:
            await transaction.execute("INSERT INTO settings VALUES ('a', 'b')")
        written.set()
        assert await looking == [0, 0]
        with pytest.raises(StateError):
            await db.look(lambda connection: connection.execute("DELETE FROM settings"))
    finally:
        await db.close()


async def test_the_library_writes_no_statement_into_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At level debug it would: with their values, tokens and addresses among them."""
    caplog.set_level(logging.DEBUG)
    db = await Database.open(tmp_path / "db")
    async with db.write() as transaction:
        await transaction.execute("SELECT ?", ("a-secret",))
    await db.close()
    assert "secret" not in caplog.text and "SELECT" not in caplog.text
