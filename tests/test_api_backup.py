"""A copy of the database over HTTP: whole, good to be put back, and never in memory."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

from stage import PATIENCE_SECONDS, Stage, stage
from test_api import ask

from rawstream.config import Timeouts
from rawstream.database import restore
from rawstream.records import Activity
from rawstream.store import Store


async def cookie_of(made: Stage) -> str:
    login = {"username": "admin", "password": made.worker.first_password}
    answer = await ask(made, "/api/v1/session", "POST", login)
    return answer.headers["set-cookie"].partition(";")[0]


async def test_a_copy_can_be_put_back(tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    async with stage(tmp_path / "a", []) as made:
        assert (await ask(made, "/api/v1/backup")).status == 401
        cookie = await cookie_of(made)
        head = await ask(made, "/api/v1/backup", "HEAD", cookie=cookie)
        answer = await ask(made, "/api/v1/backup", cookie=cookie)
        for one in (head, answer):
            assert one.status == 200
            assert one.headers["content-type"] == "application/vnd.sqlite3"
            assert 'filename="rawstream-' in one.headers["content-disposition"]
        copy.write_bytes(answer.body)
        again = await ask(made, "/api/v1/backup", cookie=cookie)
        assert again.status == 200, "the first is over"
        left = [path.name for path in (tmp_path / "a").iterdir() if path.name.startswith("backup")]
        assert left == []
    (tmp_path / "b").mkdir()
    restore(copy, tmp_path / "b" / "rawstream.db")
    store = await Store.open(tmp_path / "b", create=False)
    assert await store.accounts.by_name("admin") is not None
    await store.close()


async def test_who_takes_nothing_of_it_is_let_go_and_the_next_has_his_turn(tmp_path: Path) -> None:
    timeouts = Timeouts.for_tests(viewer_stall_seconds=1.5)
    async with stage(tmp_path, [], timeouts=timeouts) as made:
        # more than the sockets hold
        for number in range(900):
            made.worker.store.note(Activity(number, "play", text="x" * 16_000))
        await made.worker.store.flush()
        cookie = await cookie_of(made)
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port, limit=1024)
        writer.write(f"GET /api/v1/backup HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n".encode())
        assert b"200" in await reader.readline()
        assert (await ask(made, "/api/v1/backup", cookie=cookie)).status == 409
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (found := await begun(made, cookie)) == 409:
                await asyncio.sleep(0.05)
        assert found == 200
        got = 0
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(1 << 16):
                got += len(piece)
        assert got < made.worker.store.db.path.stat().st_size, "his was cut"
        writer.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "rawstream.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def begun(made: Stage, cookie: str) -> int:
    """The status of a download that is left after its head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
    writer.write(f"GET /api/v1/backup HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n".encode())
    status = int((await reader.readline()).split()[1])
    writer.transport.abort()
    return status
