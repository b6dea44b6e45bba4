"""One SQLite file: opening it safely, migrating it, one writer, backup and restore.

Owns: pragmas, numbered migrations, transactions, the version counters that tell other processes
what has changed, and copies of the file. Must not know: what the tables mean; that is the stores'.

Writes go through one connection, a short transaction at a time; reads have a connection of their
own and never wait for a write (WAL). Both are aiosqlite's: SQL runs in its threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import aiosqlite

from rawstream.errors import ClashError, StateError

# at level debug it writes down every statement with its values: tokens, addresses with passwords
logging.getLogger("aiosqlite").setLevel(logging.WARNING)

FILE_NAME: Final = "rawstream.db"
LOCK_NAME: Final = "lock"
APPLICATION_ID: Final = 0x52535452  # "RSTR": a file without it is somebody else's
_BUSY_MILLISECONDS: Final = 5000
_PRAGMAS: Final = (
    f"busy_timeout = {_BUSY_MILLISECONDS}",
    "journal_mode = WAL",
    "foreign_keys = 1",
    "synchronous = NORMAL",
)
_COUNT: Final = (
    "INSERT INTO changes VALUES (?, 1) ON CONFLICT (kind) DO UPDATE SET version = version + 1"
)
_Result = TypeVar("_Result")

# One script per version; what has been released is never edited. `changes` counts per kind: a
# process that sees `PRAGMA data_version` move looks here what to read again (design §7).
MIGRATIONS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE changes (kind TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE categories (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        position INTEGER NOT NULL DEFAULT 0,
        adult INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE lists (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL CHECK (kind IN ('playlist', 'guide')),
        url TEXT NOT NULL,
        name TEXT NOT NULL DEFAULT '',
        enabled INTEGER NOT NULL DEFAULT 1,
        interval_seconds INTEGER NOT NULL,
        priority INTEGER NOT NULL DEFAULT 100,
        user_agent TEXT NOT NULL DEFAULT '',
        merge_names INTEGER NOT NULL DEFAULT 0,
        retire_days INTEGER NOT NULL DEFAULT 7,
        zoneless_offset INTEGER NOT NULL DEFAULT 0,
        shift_seconds INTEGER NOT NULL DEFAULT 0,
        etag TEXT NOT NULL DEFAULT '',
        last_modified TEXT NOT NULL DEFAULT '',
        refreshed_at INTEGER,
        succeeded_at INTEGER,
        last_error TEXT NOT NULL DEFAULT '',
        last_result TEXT NOT NULL DEFAULT '',
        undo TEXT NOT NULL DEFAULT '',
        UNIQUE (kind, url)
    );
    CREATE TABLE channels (
        id INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1 AND 2147483647),
        name TEXT NOT NULL,
        position INTEGER NOT NULL DEFAULT 0,
        number TEXT NOT NULL DEFAULT '',
        logo TEXT NOT NULL DEFAULT '',
        guide_id TEXT NOT NULL DEFAULT '',
        guide_name TEXT NOT NULL DEFAULT '',
        radio INTEGER NOT NULL DEFAULT 0,
        enabled INTEGER NOT NULL DEFAULT 1,
        adult INTEGER NOT NULL DEFAULT 0,
        added_at INTEGER NOT NULL DEFAULT 0,
        playlist_id INTEGER REFERENCES lists (id) ON DELETE SET NULL,
        identity TEXT NOT NULL DEFAULT '',
        stale_since INTEGER,
        retired_at INTEGER,
        edited TEXT NOT NULL DEFAULT ''
    );
    CREATE UNIQUE INDEX channels_by_identity ON channels (playlist_id, identity)
        WHERE identity <> '';
    CREATE TABLE channel_categories (
        channel_id INTEGER NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
        place INTEGER NOT NULL,
        category_id INTEGER NOT NULL REFERENCES categories (id) ON DELETE CASCADE,
        PRIMARY KEY (channel_id, place)
    ) WITHOUT ROWID;
    CREATE TABLE channel_sources (
        channel_id INTEGER NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
        place INTEGER NOT NULL,
        kind TEXT NOT NULL,
        value TEXT NOT NULL,
        headers TEXT NOT NULL DEFAULT '',
        infohash TEXT,
        playlist_id INTEGER REFERENCES lists (id) ON DELETE SET NULL,
        PRIMARY KEY (channel_id, place)
    ) WITHOUT ROWID;
    CREATE TABLE accounts (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        username TEXT NOT NULL UNIQUE,
        password_hash TEXT NOT NULL,
        token TEXT NOT NULL UNIQUE,
        enabled INTEGER NOT NULL DEFAULT 1,
        admin INTEGER NOT NULL DEFAULT 0,
        trial INTEGER NOT NULL DEFAULT 0,
        expires_at INTEGER,
        max_connections INTEGER NOT NULL DEFAULT 1,
        allowed_formats TEXT NOT NULL DEFAULT 'ts',
        categories TEXT,
        show_adult INTEGER NOT NULL DEFAULT 1,
        created_at INTEGER NOT NULL,
        notes TEXT NOT NULL DEFAULT '',
        bytes INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE activity (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        kind TEXT NOT NULL,
        account TEXT NOT NULL DEFAULT '',
        channel TEXT NOT NULL DEFAULT '',
        address TEXT NOT NULL DEFAULT '',
        text TEXT NOT NULL DEFAULT ''
    );
    CREATE TABLE infohashes (
        kind TEXT NOT NULL, value TEXT NOT NULL, infohash TEXT NOT NULL,
        PRIMARY KEY (kind, value)
    ) WITHOUT ROWID;
    """,
    # Guides. A document becomes a generation of its list, which is shown when all of it is there.
    """
    ALTER TABLE lists ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE accounts ADD COLUMN kicked_at INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE guide_channels (
        list_id INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
        generation INTEGER NOT NULL,
        id TEXT NOT NULL,
        names TEXT NOT NULL,
        icon TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (list_id, generation, id)
    ) WITHOUT ROWID;
    CREATE TABLE programmes (
        list_id INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
        generation INTEGER NOT NULL,
        channel TEXT NOT NULL,
        start INTEGER NOT NULL,
        stop INTEGER NOT NULL,
        body TEXT NOT NULL
    );
    CREATE UNIQUE INDEX programmes_by_start ON programmes (list_id, generation, channel, start);
    CREATE TABLE guide_mappings (
        channel_id INTEGER PRIMARY KEY REFERENCES channels (id) ON DELETE CASCADE,
        guide_id TEXT NOT NULL
    );
    CREATE TABLE guide_matches (
        channel_id INTEGER PRIMARY KEY REFERENCES channels (id) ON DELETE CASCADE,
        guide_id TEXT NOT NULL,
        rule TEXT NOT NULL,
        score INTEGER NOT NULL,
        ours TEXT NOT NULL,
        theirs TEXT NOT NULL,
        others INTEGER NOT NULL
    );
    """,
    # Films. Lists are read again as if they were new: what came as a channel may be a film. Who
    # might play what there was may play HLS as well.
    """
    CREATE TABLE series (
        id INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1 AND 2147483647),
        name TEXT NOT NULL,
        cover TEXT NOT NULL DEFAULT '',
        facts TEXT NOT NULL DEFAULT '',
        playlist_id INTEGER REFERENCES lists (id) ON DELETE SET NULL,
        identity TEXT NOT NULL DEFAULT ''
    );
    CREATE UNIQUE INDEX series_by_identity ON series (playlist_id, identity)
        WHERE identity <> '';
    ALTER TABLE channels ADD COLUMN kind TEXT NOT NULL DEFAULT 'live';
    ALTER TABLE channels ADD COLUMN extension TEXT NOT NULL DEFAULT '';
    ALTER TABLE channels ADD COLUMN facts TEXT NOT NULL DEFAULT '';
    ALTER TABLE channels ADD COLUMN series_id INTEGER REFERENCES series (id) ON DELETE SET NULL;
    ALTER TABLE channels ADD COLUMN season INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE channels ADD COLUMN episode INTEGER NOT NULL DEFAULT 0;
    UPDATE lists SET etag = '', last_modified = '' WHERE kind = 'playlist';
    UPDATE accounts SET allowed_formats = 'ts m3u8' WHERE allowed_formats = 'ts';
    """,
    # What operators show: of a session's or a token's secret only the digest.
    """
    CREATE TABLE credentials (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL CHECK (kind IN ('session', 'token', 'setup')),
        account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
        digest TEXT NOT NULL UNIQUE,
        mark TEXT NOT NULL DEFAULT '',
        name TEXT NOT NULL DEFAULT '',
        created_at INTEGER NOT NULL,
        expires_at INTEGER
    );
    """,
    # What categories were called before somebody renamed or merged them: lists still say so. What
    # was set of a series by hand.
    """
    CREATE TABLE category_names (
        name TEXT PRIMARY KEY,
        category_id INTEGER NOT NULL REFERENCES categories (id) ON DELETE CASCADE
    ) WITHOUT ROWID;
    ALTER TABLE series ADD COLUMN edited TEXT NOT NULL DEFAULT '';
    CREATE INDEX channel_categories_by_category ON channel_categories (category_id);
    """,
    # Lists whose last import was taken back: not read by themselves until somebody reads them.
    """
    ALTER TABLE lists ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
    """,
)
VERSION: Final = len(MIGRATIONS)


class Transaction:
    """One write transaction; `changed` names the kinds that others have to read again."""

    __slots__ = ("_connection", "_kinds")

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._kinds: set[str] = set()

    async def execute(self, sql: str, arguments: Sequence[Any] = ()) -> int:
        """Returns the id of the row inserted last."""
        async with self._connection.execute(sql, arguments) as cursor:
            return cursor.lastrowid or 0

    async def update(
        self,
        table: str,
        number: int,
        columns: Mapping[str, Any],
        before: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a row's columns. `before`: what they were when somebody read them; what is the same
        now is not written, so that what somebody else has changed meanwhile stays.
        """
        if before is not None:
            columns = {name: value for name, value in columns.items() if value != before[name]}
        if columns:
            names = ", ".join(f"{name} = ?" for name in columns)
            await self.execute(
                f"UPDATE {table} SET {names} WHERE id = ?", [*columns.values(), number]
            )

    async def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        await self._connection.executemany(sql, rows)

    async def fetchall(self, sql: str, arguments: Sequence[Any] = ()) -> list[sqlite3.Row]:
        return list(await self._connection.execute_fetchall(sql, arguments))

    def changed(self, kind: str) -> None:
        self._kinds.add(kind)

    async def count_changes(self) -> None:
        for kind in self._kinds:
            await self.execute(_COUNT, (kind,))


class Work:
    """A transaction that a thread has for itself: its connection, and `changed` as above."""

    __slots__ = ("connection", "kinds")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.kinds: set[str] = set()

    def changed(self, kind: str) -> None:
        self.kinds.add(kind)


class Database:
    """An open database. `open` is the only way to one."""

    def __init__(
        self, path: Path, writer: aiosqlite.Connection, reader: aiosqlite.Connection
    ) -> None:
        self.path = path
        self._writer = writer
        self._reader = reader
        self._writing = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path, *, create: bool = True) -> Database:
        """Open, and bring an older one up to date after a copy of it has been made.

        Raises StateError: it is damaged, newer, somebody else's, not there, or can't be written.
        Nothing is written to a file that is refused.
        """
        await asyncio.to_thread(prepare, path, create=create)
        writer = await _connect(path)
        try:
            reader = await _connect(path)
        except BaseException:
            await writer.close()
            raise
        await reader.execute("PRAGMA query_only = 1")
        return cls(path, writer, reader)

    async def close(self) -> None:
        await self._reader.close()
        await self._writer.close()

    async def read(self, sql: str, arguments: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query, as last committed. Raises StateError."""
        try:
            return list(await self._reader.execute_fetchall(sql, arguments))
        except sqlite3.DatabaseError as error:
            raise StateError(str(self.path), str(error)) from error

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """A transaction: committed at the end of the block, undone when it raises.

        Raises StateError for a full disk, a writer elsewhere that takes too long; ClashError for a
        constraint.
        """
        async with self._writing:
            transaction = Transaction(self._writer)
            try:
                # who is cancelled here has begun all the same: its thread does what it was told
                await self._writer.execute("BEGIN IMMEDIATE")
                yield transaction
                await transaction.count_changes()
                await self._writer.commit()
            except sqlite3.DatabaseError as error:
                await self._undo()
                raise _trouble(self.path, error) from error
            except BaseException:
                await self._undo()
                raise

    async def work(self, work: Callable[[Work], _Result]) -> _Result:
        """Run `work` as one transaction in a thread, on a connection of its own: for what reads,
        reckons and writes thousands of rows.

        Once begun it is done or undone as a whole; who is cancelled meanwhile waits for that.
        Raises StateError as `write` does, and what `work` raises.
        """
        async with self._writing:
            done = asyncio.ensure_future(asyncio.to_thread(_transact, self.path, work))
            try:
                return await asyncio.shield(done)
            except asyncio.CancelledError:
                await asyncio.gather(done, return_exceptions=True)
                raise

    async def look(self, look: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Ask in a thread, on a connection of its own, all of one moment: for what reads or reckons
        over thousands of rows. Raises StateError, and what `look` raises.
        """
        return await asyncio.to_thread(_look, self.path, look)

    async def _undo(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            await self._writer.rollback()

    async def data_version(self) -> int:
        """Changes whenever another connection, in whatever process, has committed."""
        return int((await self.read("PRAGMA data_version"))[0][0])

    async def kinds(self) -> Mapping[str, int]:
        """How often each kind of thing has changed."""
        return {row["kind"]: row["version"] for row in await self.read("SELECT * FROM changes")}


async def _connect(path: Path) -> aiosqlite.Connection:
    try:
        connection = await aiosqlite.connect(path, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            for pragma in _PRAGMAS:
                await connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            await connection.close()  # its thread would keep the process from ending
            raise
    except sqlite3.Error as error:
        raise StateError(str(path), str(error)) from error
    return connection


# -- what blocks: for a thread, or before the loop runs --------------------------------------------


def prepare(path: Path, *, create: bool) -> None:
    """Make a database or bring it up to date. Raises StateError and writes nothing when it can't
    be ours.
    """
    fresh = not path.exists() or path.stat().st_size == 0
    if fresh and not create:
        raise StateError(str(path), "there is no database here; is --data right?")
    version = VERSION if fresh else examine(path)
    if 0 < version < VERSION:
        backup(path, path.with_name(f"{path.name}.before-v{VERSION}"), force=True)
    if not fresh and version == VERSION:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if fresh:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # tokens are in it
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            # another process may have been here first
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            for script in MIGRATIONS[version:]:
                for statement in _statements(script):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        raise StateError(str(path), str(error)) from error


def _transact(path: Path, work: Callable[[Work], _Result]) -> _Result:
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("BEGIN IMMEDIATE")  # closing without COMMIT undoes it
            transaction = Work(connection)
            result = work(transaction)
            for kind in transaction.kinds:
                connection.execute(_COUNT, (kind,))
            connection.execute("COMMIT")
            return result
    except sqlite3.DatabaseError as error:
        raise _trouble(path, error) from error


def _trouble(path: Path, error: sqlite3.DatabaseError) -> StateError:
    kind = ClashError if isinstance(error, sqlite3.IntegrityError) else StateError
    return kind(str(path), str(error))


def _look(path: Path, look: Callable[[sqlite3.Connection], _Result]) -> _Result:
    try:
        with contextlib.closing(_looked_at(path)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
            connection.execute("BEGIN")
            return look(connection)
    except sqlite3.DatabaseError as error:
        raise StateError(str(path), str(error)) from error


@contextlib.contextmanager
def read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """The database for a look that must not write, as one transaction. Of one of an older version
    a copy, brought up to date; where there is none, an empty one.

    Raises StateError: it is damaged, newer, somebody else's.
    """
    there = path.exists() and path.stat().st_size > 0
    version = examine(path) if there else 0
    try:
        with contextlib.closing(
            _looked_at(path) if version == VERSION else _migrated_copy(path, version)
        ) as found:
            found.row_factory = sqlite3.Row
            found.execute("BEGIN")
            yield found
    except sqlite3.DatabaseError as error:
        raise StateError(str(path), str(error)) from error


def _migrated_copy(path: Path, version: int) -> sqlite3.Connection:
    """A database as it will be when it is opened, in a file that goes with the connection.
    `version` 0: nothing is there.
    """
    copy = sqlite3.connect("", isolation_level=None)
    try:
        if version:
            with contextlib.closing(_looked_at(path)) as old:
                old.backup(copy)
        for script in MIGRATIONS[version:]:
            copy.executescript(script)
    except BaseException:
        copy.close()
        raise
    return copy


def _looked_at(path: Path) -> sqlite3.Connection:
    """A connection that can't write, also where the directory can't be written.

    There SQLite may make no index of the write-ahead log; without a log it can do without.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master")
        return connection
    except sqlite3.OperationalError:
        connection.close()
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size > 0:
            raise
    return sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)


def _statements(script: str) -> list[str]:
    return [statement for statement in script.split(";") if statement.strip()]


def examine(path: Path) -> int:
    """The version of a database of ours. Raises StateError for anything else."""
    try:
        with contextlib.closing(_looked_at(path)) as connection:
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise StateError(str(path), f"not a database, or a damaged one: {error}") from error
    if application != APPLICATION_ID:
        raise StateError(str(path), "a database of another program")
    if sound != "ok":
        raise StateError(str(path), f"damaged: {' '.join(str(sound).split())[:200]}")
    if version > VERSION:
        raise StateError(
            str(path), f"made by a newer rawstream (version {version}, this one reads {VERSION})"
        )
    return int(version)


def backup(source: Path, target: Path, *, force: bool = False) -> None:
    """A consistent copy, also of a database in use; it appears under its name when complete.

    Raises StateError: no sound database at `source`, `target` exists and `force` is not given, it
    is the database itself or another one in use, no room.
    """
    examine(source)
    log = target.with_name(f"{target.name}-wal")
    if target.exists() and (target.samefile(source) or (log.exists() and log.stat().st_size)):
        raise StateError(str(target), "a database in use is not replaced; `restore` does that")
    if target.exists() and not force:
        raise StateError(str(target), "is there already; --force replaces it")
    part = target.with_name(f"{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_CREAT | os.O_RDWR | os.O_EXCL, 0o600))
        uri = f"{source.absolute().as_uri()}?mode=ro"
        with (
            contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as old,
            contextlib.closing(sqlite3.connect(part)) as new,
        ):
            # one moment of it: else SQLite begins again with each commit of somebody else's
            old.execute("BEGIN")
            old.execute("SELECT count(*) FROM sqlite_master").fetchall()
            old.backup(new, pages=1024)
            new.execute("PRAGMA journal_mode = DELETE")
        os.replace(part, target)
    except (sqlite3.Error, OSError) as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        reason = error.strerror if isinstance(error, OSError) else None
        raise StateError(str(target), reason or str(error)) from error


def restore(source: Path, path: Path) -> Path | None:
    """Put a backup in the place of a database; the replaced one is kept beside it and returned.

    Raises StateError: `source` is no sound database of ours, or a server runs on this directory.
    """
    examine(source)
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(path.parent))
            kept: Path | None = None
            part = path.with_name(f"{path.name}.restoring")
            part.unlink(missing_ok=True)
            backup(source, part)
            if path.exists():
                kept = path.with_name(f"{path.name}.replaced-{time.time_ns()}")
                try:
                    backup(path, kept)  # with what its write-ahead log still holds
                except StateError:  # damaged, which may be why a backup is restored; or no room
                    log = path.with_name(f"{path.name}-wal")
                    if log.exists():
                        os.replace(log, kept.with_name(f"{kept.name}-wal"))
                    os.replace(path, kept)
            for name in (f"{path.name}-wal", f"{path.name}-shm"):
                path.with_name(name).unlink(missing_ok=True)
            os.replace(part, path)
        except OSError as error:
            raise StateError(str(path), str(error)) from error
    return kept


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold a data directory for one server. Raises StateError when another one has it."""
    handle = os.open(directory / LOCK_NAME, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StateError(str(directory), "a server runs on this directory") from error
        yield
    finally:
        os.close(handle)
