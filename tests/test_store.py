"""Settings, learnt infohashes, history."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from rawstream.records import Activity
from rawstream.store import Store


async def test_settings_and_the_secret_outlive_a_restart(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    await store.set_setting("a", "1")
    await store.set_setting("a", "2")
    secret = await store.secret()
    await store.close()
    again = await Store.open(tmp_path, create=False)
    assert await again.get_setting("a") == "2"
    assert await again.get_setting("b") is None
    assert await again.secret() == secret
    assert len(secret) == 32
    await again.close()


async def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    assert (tmp_path / "rawstream.db").stat().st_mode & 0o077 == 0
    await store.close()


async def test_infohashes_are_learnt(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    await store.learn_infohashes({("content_id", "a"): "1"})
    await store.learn_infohashes({("content_id", "a"): "2", ("unknown", "b"): "3"})
    assert await store.known_infohashes() == {("content_id", "a"): "2", ("unknown", "b"): "3"}
    await store.close()


async def test_history_is_bounded_and_the_newest_comes_first(tmp_path: Path) -> None:
    store = await Store.open(tmp_path, history_rows=3)
    for number in range(5):
        store.note(Activity(number, "play" if number % 2 else "stop"))
        await store.flush()
    assert [line.at for line in await store.history()] == [4, 3, 2]
    assert [line.at for line in await store.history(kind="play")] == [3]
    await store.close()


async def test_two_who_write_history_at_once_write_each_line_once(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    store.note(Activity(1, "play"))
    await asyncio.gather(store.flush(), store.flush())
    assert await store.history() == [Activity(1, "play")]
    await store.close()


async def test_history_is_looked_through_a_page_at_a_time(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    for number in range(5):
        store.note(Activity(number, "play", "ana", f"{number} Tele Ünï", "10.0.0.9"))
    store.note(Activity(9, "login", "bo", text="50% _ 'x'"))

    async def found(**asked: Any) -> tuple[list[int], int]:
        lines, total = await store.history_page(**asked)
        return [line.at for _id, line in lines], total

    assert await found(limit=2) == ([9, 4], 6)
    assert await found(kind="play", offset=4) == ([0], 5)
    assert await found(kind="play", offset=9) == ([], 5)
    assert await found(account="an") == ([], 0)
    assert await found(account="ana", q="3 TELE") == ([3], 1)
    assert await found(q="Ünï") == ([4, 3, 2, 1, 0], 5)
    assert await found(q="%") == ([9], 1)
    assert await found(q="_ '") == ([9], 1)
    await store.close()
