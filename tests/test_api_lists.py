"""Lists as an operator brings, previews, changes and takes them back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from operators import Desk
from stage import Stage, stage, until
from test_api import ask
from test_api_live import log_in
from web import Site, site

from rawstream.api_lists import ListOperations
from rawstream.config import Config
from rawstream.importer import Refresher

PLAYLIST = (
    b"#EXTM3U\n"
    b'#EXTINF:-1 tvg-id="one" group-title="News",One\nhttp://192.0.2.1/one.ts\n'
    b"#EXTINF:-1,<img src=x onerror=alert(1)>\nacestream://" + b"a" * 40 + b"\n"
)


class Turns:
    """A refresher that only notes."""

    running: int | None = None

    def __init__(self) -> None:
        self.asked: list[int] = []

    def ask(self, number: int) -> None:
        self.asked.append(number)

    def wake(self) -> None: ...


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def lists(desk: Desk, turns: Turns, tmp_path: Path) -> Desk:
    refresher: Any = turns
    config = Config(data=tmp_path)
    return desk.open(ListOperations(desk.store, config, refresher).table())


async def test_a_list_is_kept_shown_without_its_secrets_changed_and_removed(
    lists: Desk, turns: Turns
) -> None:
    url = "https://me:pw@tv.example/get.php?username=me&password=pw"
    made = await lists.ask(
        "POST", "/lists", {"kind": "playlist", "url": url, "name": "Mine"}, status=201
    )
    assert made["shown_url"] == "https://tv.example/get.php?…"
    assert "pw" not in str(made)
    assert (made["interval_seconds"], turns.asked) == (6 * 3600, [made["id"]])
    assert "pw" not in str(await lists.ask("GET", "/lists"))
    path = f"/lists/{made['id']}"
    assert (await lists.ask("GET", path))["url"] == url
    changed = await lists.ask("PATCH", path, {"enabled": False, "interval_seconds": 0})
    assert (changed["enabled"], changed["interval_seconds"], changed["name"]) == (False, 0, "Mine")
    again = {"kind": "playlist", "url": url}
    await lists.ask("POST", "/lists", again, status=409)
    other = await lists.ask("POST", "/lists", {**again, "url": "http://x/y"}, status=201)
    await lists.ask("PATCH", f"/lists/{other['id']}", {"url": url}, status=409)
    assert (await lists.ask("GET", "/lists?kind=guide"))["total"] == 0
    await lists.ask("DELETE", path, status=204)
    await lists.ask("GET", path, status=404)


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "playlist"},
        {"kind": "playlist", "url": "http://x/y", "body": "#EXTM3U"},
        {"kind": "playlist", "url": "/etc/passwd"},
        {"kind": "playlist", "url": "file:///etc/passwd"},
        {"kind": "playlist", "url": "http://"},
        {"kind": "playlist", "url": "http://x/\r\ny"},
        {"kind": "films", "url": "http://x/y"},
        {"kind": "playlist", "url": "http://x/y", "interval_seconds": -1},
        {"kind": "playlist", "url": "http://x/y", "user_agent": "a\r\nb"},
    ],
)
async def test_what_is_no_list(lists: Desk, turns: Turns, body: dict[str, Any]) -> None:
    await lists.ask("POST", "/lists", body, status=422)
    assert turns.asked == []


async def test_a_refresh_takes_its_turn_and_a_guide_has_no_undo(lists: Desk, turns: Turns) -> None:
    made = await lists.ask("POST", "/lists", {"kind": "guide", "url": "http://x/g"}, status=201)
    path = f"/lists/{made['id']}"
    answer = await lists.answer("POST", f"{path}/refresh", {"force": True})
    assert (answer.status, turns.asked) == (202, [made["id"]] * 2)
    await lists.ask("POST", f"{path}/undo", status=409)


async def test_a_preview_writes_nothing(lists: Desk, tmp_path: Path) -> None:
    told = await lists.ask(
        "POST", "/lists/preview", {"kind": "playlist", "body": PLAYLIST.decode()}
    )
    assert (told["report"]["added"], told["report"]["entries"]) == (2, 2)
    assert told["diff"]["added"] == ["One", "<img src=x onerror=alert(1)>"]
    assert (await lists.ask("GET", "/lists"))["total"] == 0
    assert await lists.store.lineup.count() == 0
    assert list((tmp_path / "lists").iterdir()) == []
    await lists.ask("POST", "/lists/preview", {"kind": "playlist", "body": "<html>"}, status=422)
    assert list((tmp_path / "lists").iterdir()) == []


@pytest.fixture
async def origin() -> Any:
    async with site() as made:
        made.documents["/list.m3u"] = PLAYLIST
        yield made


async def told(made: Stage, cookie: str, path: str, method: str = "GET", body: Any = None) -> Any:
    answer = await ask(made, f"/api/v1{path}", method, body, cookie=cookie)
    assert answer.status < 300, answer.body
    return orjson.loads(answer.body) if answer.body else None


async def test_an_import_from_its_address_to_its_undo(tmp_path: Path, origin: Site) -> None:
    async with stage(tmp_path, []) as made:
        cookie = await log_in(made)
        progress: list[tuple[int, str]] = []
        tell = made.worker.refresher.on_progress
        made.worker.refresher.on_progress = lambda number, state, text: (
            progress.append((number, state)),
            tell(number, state, text),
        )[-1]
        place = {"kind": "playlist", "url": f"{origin.base}/list.m3u"}
        assert (await told(made, cookie, "/lists/preview", "POST", place))["report"]["added"] == 2
        number = (await told(made, cookie, "/lists", "POST", place))["id"]
        await until(lambda: (number, "done") in progress, "the import")
        shown = await told(made, cookie, f"/lists/{number}")
        assert shown["last_result"]["added"] == 2
        assert (await told(made, cookie, "/channels"))["total"] == 2
        origin.status = 500
        await told(made, cookie, f"/lists/{number}/refresh", "POST", {"force": True})
        await until(lambda: (number, "failed") in progress, "the failure")
        assert (await told(made, cookie, f"/lists/{number}"))["last_error"]
        assert (await told(made, cookie, f"/lists/{number}/undo", "POST")) == {"undone": True}
        assert (await told(made, cookie, f"/lists/{number}/undo", "POST")) == {"undone": False}
        assert (await told(made, cookie, "/channels?state=all"))["total"] == 0


def test_a_list_that_was_asked_for_is_not_asked_for_twice(tmp_path: Path) -> None:
    store: Any = None
    refresher = Refresher(store, Config(data=tmp_path))
    refresher.ask(5)
    refresher.ask(5)
    assert refresher._asked == {5}
