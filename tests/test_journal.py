"""The stop journal: what a crash leaves, what a bad disk costs, and that the loop never waits."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from pathlib import Path

import orjson
import pytest

from rawstream import journal as journal_module
from rawstream.journal import FILE_NAME, LOCK_NAME, OpenSession, StopJournal

ENGINE = "http://127.0.0.1:6878"
ONE = OpenSession(ENGINE, "/ace/cmd/1", "a1" * 20)
TWO = OpenSession(ENGINE, "/ace/cmd/2?k=v", "")


async def loaded(directory: Path) -> StopJournal:
    journal = StopJournal(directory)
    await journal.load()
    return journal


async def orphans_of(directory: Path) -> tuple[OpenSession, ...]:
    journal = StopJournal(directory)
    try:
        return await journal.load()
    finally:
        await journal.close()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


async def test_what_was_opened_and_not_ended_is_found_by_the_next_life(tmp_path: Path) -> None:
    journal = await loaded(tmp_path)
    journal.opened(ONE)
    journal.opened(TWO)
    journal.ended(ONE)
    await journal.settled()  # and then it is killed
    assert await orphans_of(tmp_path) == (TWO,)


async def test_an_orphan_stays_one_until_its_end_is_told(tmp_path: Path) -> None:
    journal = await loaded(tmp_path)
    journal.opened(ONE)
    await journal.close()
    assert await orphans_of(tmp_path) == (ONE,)
    second = await loaded(tmp_path)
    assert second.sessions == (ONE,)
    second.ended(ONE)
    second.ended(ONE)
    await second.close()
    assert await orphans_of(tmp_path) == ()


async def test_a_killed_process_leaves_its_sessions_in_the_file(tmp_path: Path) -> None:
    program = (
        "import asyncio, pathlib, sys\n"
        "from rawstream.journal import StopJournal, OpenSession\n"
        "async def main():\n"
        "    journal = StopJournal(pathlib.Path(sys.argv[1]))\n"
        "    await journal.load()\n"
        f"    journal.opened(OpenSession({ENGINE!r}, '/ace/cmd/1', {'a1' * 20!r}))\n"
        "    await journal.settled()\n"
        "    print('written', flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"written\n"
    # while it lives its sessions are nobody's orphans, and the file is its own
    before = (tmp_path / FILE_NAME).read_bytes()
    other = StopJournal(tmp_path)
    assert await other.load() == ()
    other.opened(TWO)
    await other.close()
    assert (tmp_path / FILE_NAME).read_bytes() == before
    os.kill(child.pid, signal.SIGKILL)
    await child.wait()
    assert await orphans_of(tmp_path) == (ONE,)


async def test_a_torn_last_line_costs_only_itself(tmp_path: Path) -> None:
    journal = await loaded(tmp_path)
    journal.opened(ONE)
    journal.opened(TWO)
    await journal.close()
    file = tmp_path / FILE_NAME
    file.write_bytes(file.read_bytes()[:-9])
    second = await loaded(tmp_path)
    assert second.sessions == (ONE,)
    second.opened(TWO)
    await second.close()
    assert await orphans_of(tmp_path) == (ONE, TWO)


@pytest.mark.parametrize(
    "junk",
    [
        b"\x00\xff\n",
        b"[]\n",
        b"7\n",
        b"null\n",
        b"{}\n",
        b'{"event":"open"}\n',
        b'{"event":"open","engine":1,"command_path":"/x","infohash":null}\n',
        b"\n\n",
        b"{" * 1000 + b"\n",
    ],
)
async def test_lines_that_are_none_are_passed_over(tmp_path: Path, junk: bytes) -> None:
    line = orjson.dumps({"event": "open", **ONE._asdict()}) + b"\n"
    (tmp_path / FILE_NAME).write_bytes(junk + line + junk)
    assert await orphans_of(tmp_path) == (ONE,)


async def test_a_file_that_cannot_be_read_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).mkdir()
    journal = await loaded(tmp_path)
    assert journal.sessions == ()
    assert "can't be read" in warnings(caplog)[0]
    journal.opened(ONE)
    await journal.close()


async def test_a_file_of_absurd_size_is_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (tmp_path / FILE_NAME).open("wb") as file:
        file.truncate(1 << 40)  # sparse
    assert await orphans_of(tmp_path) == ()
    assert len(warnings(caplog)) == 1


async def test_a_full_disk_costs_one_warning_and_is_healed_by_the_next_write(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = await loaded(tmp_path)
    journal.opened(ONE)
    await journal.settled()
    file, new = tmp_path / FILE_NAME, tmp_path / "sessions.new"
    kept = file.read_bytes()
    file.unlink()
    for path in (file, new):
        path.symlink_to("/dev/full")
    for _ in range(3):
        journal.opened(TWO)
        await journal.settled()
        journal.ended(TWO)
        await journal.settled()
    assert journal.write_errors == 6
    assert len(warnings(caplog)) == 1
    assert journal.sessions == (ONE,)
    for path in (file, new):
        path.unlink()
    file.write_bytes(kept[:-5])  # what a disk that was full may hold
    journal.opened(TWO)
    await journal.close()
    assert await orphans_of(tmp_path) == (ONE, TWO)


async def test_a_missing_directory_costs_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = await loaded(tmp_path / "nowhere")
    journal.opened(ONE)
    journal.ended(ONE)
    await journal.close()
    assert len(warnings(caplog)) == 1


async def test_the_file_is_made_anew_before_it_grows_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_COMPACT_AFTER_LINES", 50)
    journal = await loaded(tmp_path)
    journal.opened(ONE)
    for _ in range(100):
        journal.opened(TWO)
        await journal.settled()
        journal.ended(TWO)
        await journal.settled()
        assert len((tmp_path / FILE_NAME).read_bytes().splitlines()) <= 51
    await journal.close()
    assert await orphans_of(tmp_path) == (ONE,)


async def test_nobody_waits_for_a_disk_that_hangs_and_what_waits_for_it_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_WAITING_LINES", 20)
    journal = await loaded(tmp_path)
    spinning = threading.Event()
    on_loop = threading.get_ident()
    threads: set[int] = set()
    append, replace = journal_module._append, journal_module._replace

    def slow_append(path: Path, data: bytes) -> None:
        threads.add(threading.get_ident())
        assert spinning.wait(30)
        append(path, data)

    def noted_replace(path: Path, data: bytes) -> None:
        threads.add(threading.get_ident())
        replace(path, data)

    monkeypatch.setattr(journal_module, "_append", slow_append)
    monkeypatch.setattr(journal_module, "_replace", noted_replace)
    sessions = [OpenSession(ENGINE, f"/ace/cmd/{number}", "") for number in range(100)]
    for session in sessions:
        journal.opened(session)
        await asyncio.sleep(0)
    assert len(journal._waiting) <= 20
    for session in sessions[:50]:
        journal.ended(session)
    spinning.set()
    await journal.close()
    assert on_loop not in threads
    assert len(threads) == 1
    assert await orphans_of(tmp_path) == tuple(sessions[50:])


async def test_a_session_opened_while_the_file_is_read_is_kept(tmp_path: Path) -> None:
    before = await loaded(tmp_path)
    before.opened(ONE)
    await before.close()
    journal = StopJournal(tmp_path)
    loading = asyncio.create_task(journal.load())
    await asyncio.sleep(0)
    journal.opened(TWO)
    assert await loading == (ONE,)
    await journal.close()
    assert await orphans_of(tmp_path) == (ONE, TWO)


async def test_without_a_directory_sessions_are_kept_in_memory() -> None:
    journal = StopJournal(None)
    assert await journal.load() == ()
    journal.opened(ONE)
    assert journal.sessions == (ONE,)
    journal.ended(ONE)
    assert journal.sessions == ()
    await journal.close()


async def test_only_we_may_read_the_file(tmp_path: Path) -> None:
    journal = await loaded(tmp_path)
    journal.opened(ONE)
    await journal.close()
    await journal.close()
    for name in (FILE_NAME, LOCK_NAME):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
