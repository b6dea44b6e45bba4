"""Playlists and guides as an operator brings them, tries them, takes them back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from operators import Desk
from stage import PATIENCE_SECONDS, stage, until
from test_api import ask
from web import Site, site

from rawstream.api_lists import ListOperations
from rawstream.config import Config, Limits
from rawstream.errors import StateError
from rawstream.importer import Outcome, Refresher
from rawstream.records import ListSource
from rawstream.uploads import Uploads

PLAYLIST = b"#EXTM3U\n#EXTINF:-1,One\nhttp://h/1.ts\n"
MORE = b"#EXTM3U\n#EXTINF:-1,One\nhttp://h/1.ts\n#EXTINF:-1,<b>Two\nhttp://h/2.ts\n#EXTINF:-1,x\n"
GUIDE = (
    '<?xml version="1.0"?><tv><channel id="one"><display-name>One</display-name></channel>'
    f'<programme channel="one" start="{time.strftime("%Y%m%d%H%M%S", time.gmtime())} +0000">'
    "<title>A</title></programme></tv>"
)


class Lists(Desk):
    """`turn` reads what is asked for, in a real child."""

    refresher: Refresher

    async def made(self, **body: Any) -> dict[str, Any]:
        found: dict[str, Any] = await self.ask(
            "POST", "/lists", {"kind": "playlist", **body}, status=201
        )
        return found

    async def one(self, number: int) -> dict[str, Any]:
        found = await self.ask("GET", "/lists")
        (view,) = (one for one in found["items"] if one["id"] == number)
        return view  # type: ignore[no-any-return]

    async def names(self) -> list[str]:
        return [one.name for one in await self.store.lineup.channels()]


@pytest.fixture
def lists(desk: Desk, tmp_path: Path) -> Lists:
    config = Config(data=tmp_path, limits=Limits(list_bytes=2000))
    desk.__class__ = Lists
    assert isinstance(desk, Lists)
    desk.refresher = Refresher(desk.store, config)
    desk.open(ListOperations(desk.store, desk.refresher, config).table())
    return desk


@pytest.fixture
async def web() -> AsyncIterator[Site]:
    async with site() as made:
        made.documents["/get.php"] = PLAYLIST
        yield made


async def test_a_list_from_its_making_to_its_end(lists: Lists, web: Site) -> None:
    url = f"{web.base}/get.php?username=ana&password=canary"
    made = await lists.made(url=url, name="Mine")
    number, path = made["id"], f"/lists/{made['id']}"
    assert (made["state"], made["interval_seconds"], made["uploaded"]) == ("waiting", 21600, False)
    await lists.refresher.turn()
    view = await lists.one(number)
    assert (view["state"], view["can_undo"], view["last_error"]) == ("well", True, "")
    assert "1 added" in view["summary"]
    assert view["next_at"] == view["refreshed_at"] + 21600
    assert "canary" not in str(view) and view["shown_url"].startswith(web.base)
    assert (await lists.ask("GET", path))["url"] == url
    result = await lists.ask("GET", f"{path}/result")
    assert result["report"]["playlist"]["names"]["added"] == ["One"]
    assert result["report"]["guide"] is None
    await lists.ask("DELETE", path, status=204)
    await lists.ask("GET", path, status=404)
    assert await lists.names() == ["One"], "its channels stay"


async def test_a_change_that_means_something_else_reads_it_again(lists: Lists, web: Site) -> None:
    made = await lists.made(url=f"{web.base}/get.php")
    await lists.refresher.turn()
    path = f"/lists/{made['id']}"
    tag = dict((await lists.answer("GET", path)).headers)["ETag"]
    body = {"name": "N", "interval_seconds": 3600, "enabled": True}
    changed = await lists.ask("PATCH", path, body, headers={"if-match": tag})
    assert (changed["name"], changed["interval_seconds"]) == ("N", 3600)
    assert (await lists.one(made["id"]))["state"] == "well", "no need to read it"
    await lists.ask("PATCH", path, {"name": "M"}, status=412, headers={"if-match": tag})
    web.documents["/other"] = MORE
    await lists.ask("PATCH", path, {"url": f"{web.base}/other"})
    assert (await lists.one(made["id"]))["state"] == "waiting"
    await lists.refresher.turn()
    assert await lists.names() == ["One", "<b>Two"]
    await lists.ask("PATCH", path, {"merge_names": True})
    assert (await lists.one(made["id"]))["state"] == "waiting"
    await lists.ask("PATCH", path, {"enabled": False})
    await lists.refresher.turn()
    assert (await lists.one(made["id"]))["state"] == "off"


async def test_what_fails_says_why_and_what_is_asked_for_is_read(lists: Lists, web: Site) -> None:
    web.status = 403
    made = await lists.made(url=f"{web.base}/get.php?password=canary", interval_seconds=0)
    await lists.refresher.turn()
    view = await lists.one(made["id"])
    assert (view["state"], view["next_at"], "403" in view["last_error"]) == ("failed", None, True)
    result = await lists.ask("GET", f"/lists/{made['id']}/result")
    assert "canary" not in str((view, result)) and result["report"] is None
    web.status, web.etags["/get.php"] = 200, '"1"'
    for force in (False, False, True):
        path = f"/lists/{made['id']}/refresh"
        asked = await lists.ask("POST", path, {"force": force}, status=202)
        assert asked["state"] == "waiting"
        assert asked["progress"] == {"step": "waiting", "done_bytes": 0, "all_bytes": None}
        await lists.refresher.turn()
    assert (await lists.one(made["id"]))["state"] == "well"
    asked_again = [headers.get("if-none-match") for _path, headers in web.requests]
    assert asked_again == [None, None, '"1"', None]
    await lists.ask("POST", "/lists/99/refresh", {}, status=404)


async def test_a_page_that_asks_for_another_preview_waits_for_no_former_one(lists: Lists) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n#EXTM3U\n")
        begun.set()
        with contextlib.suppress(ConnectionError):  # a child that is ended leaves it unread
            while await reader.read(1024):
                pass
        writer.close()
        ended.set()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        body = {"kind": "playlist", "url": url}
        former = asyncio.create_task(lists.answer("POST", "/lists/preview", body))
        await begun.wait()
        body = {"kind": "playlist", "text": PLAYLIST.decode()}
        assert (await lists.ask("POST", "/lists/preview", body))["playlist"]["entries"] == 1
        assert (await former).status == 409
        async with asyncio.timeout(PATIENCE_SECONDS):
            await ended.wait()


async def test_on_a_full_disk_a_list_says_why_and_no_half_document_stays(
    lists: Lists, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await lists.made(text=PLAYLIST.decode(), enabled=False)
    await lists.store.db._writer.execute("PRAGMA query_only = 1")

    async def child(*_order: Any) -> Outcome:
        return Outcome(False, "rawstream.db: database or disk is full")

    monkeypatch.setattr(lists.refresher, "_run", child)
    await lists.ask("POST", f"/lists/{made['id']}/refresh", {"force": True}, status=202)
    await lists.refresher.turn()
    found = await lists.one(made["id"])
    assert (found["state"], "disk is full" in found["last_error"]) == ("off", True)
    result = await lists.ask("GET", f"/lists/{made['id']}/result")
    assert "disk is full" in result["last_error"]

    def full(*_piece: Any) -> int:
        raise StateError("upload", "No space left on device")

    monkeypatch.setattr(Uploads, "add", full)
    await lists.ask("POST", "/lists/preview", {"kind": "playlist", "text": "#EXTM3U"}, status=503)
    assert len(list((tmp_path / "uploads").iterdir())) == 1


async def test_a_preview_shows_the_difference_and_writes_nothing(lists: Lists, web: Site) -> None:
    made = await lists.made(url=f"{web.base}/get.php")
    await lists.refresher.turn()
    text = MORE.decode()
    report = await lists.ask("POST", "/lists/preview", {"text": text, "list_id": made["id"]})
    playlist = report["playlist"]
    assert (playlist["added"], playlist["unchanged"]) == (1, 1)
    assert playlist["names"]["added"] == ["<b>Two"]
    assert (len(report["warnings"]), report["warning_count"]) == (1, 1)
    web.documents["/other"] = b"#EXTM3U\n#EXTINF:-1,Three\nhttp://h/3.ts\n"
    body = {"url": f"{web.base}/other", "list_id": made["id"]}
    playlist = (await lists.ask("POST", "/lists/preview", body))["playlist"]
    assert (playlist["names"]["added"], playlist["names"]["stale"]) == (["Three"], ["One"])
    same = await lists.ask("POST", "/lists/preview", {"list_id": made["id"]})
    assert same["playlist"]["unchanged"] == 1
    guide = await lists.ask("POST", "/lists/preview", {"kind": "guide", "text": GUIDE})
    assert (guide["guide"]["channels"], guide["guide"]["matched"]) == (1, 1)
    assert await lists.names() == ["One"]
    uploads = lists.store.db.path.parent / "uploads"
    assert list(uploads.iterdir()) == [], "what was tried does not stay"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, "say url"),
        ({"url": "http://127.0.0.1:1/l.m3u?password=canary"}, "connect"),
        ({"text": "<html>"}, "list"),
        ({"url": "/etc/passwd"}, "an address like"),
        ({"url": "file:///etc/passwd"}, "an address like"),
        ({"url": "http://h/a b"}, "an address like"),
        ({"url": "http://[h/"}, "an address like"),
        ({"upload_id": 5}, "no such upload"),
        ({"url": "http://h/", "text": "x"}, "already"),
        ({"text": "x", "user_agent": "a\r\nb"}, "pattern"),
    ],
)
async def test_what_can_not_be_tried(lists: Lists, body: dict[str, Any], problem: str) -> None:
    told = await lists.ask("POST", "/lists/preview", body, status=422)
    assert problem in told["detail"]
    assert "canary" not in str(told)


async def test_a_document_uploaded_in_pieces_becomes_a_list(lists: Lists) -> None:
    upload = await lists.ask("POST", "/lists/uploads", status=201)
    assert (upload["limit_bytes"], upload["piece_bytes"]) == (2000, 1024 * 1024)
    path = f"/lists/uploads/{upload['upload_id']}"
    raw = {"headers": {"content-type": "application/octet-stream"}}
    await lists.ask("PUT", path, MORE[:20], **raw)
    told = await lists.ask("PUT", f"{path}?offset=40", MORE[40:], status=422, **raw)
    assert (told["errors"][0]["field"], told["errors"][0]["problem"]) == (
        *("offset", "there are 20 bytes yet"),
    )
    answer = await lists.ask("PUT", f"{path}?offset=20", MORE[20:], **raw)
    assert answer["size_bytes"] == len(MORE)
    await lists.ask("PUT", f"{path}?offset=20", b"x" * 2000, status=422, **raw)
    await lists.ask("PUT", f"{path}?offset={len(MORE)}", b"", **raw)
    made = await lists.made(upload_id=upload["upload_id"], name="Sent")
    assert (made["shown_url"], made["uploaded"], made["interval_seconds"]) == ("uploaded", True, 0)
    await lists.refresher.turn()
    assert await lists.names() == ["One", "<b>Two"]
    await lists.ask("PUT", path, b"x", status=409, **raw)
    settings = await lists.ask("GET", f"/lists/{made['id']}")
    assert (settings["url"], settings["uploaded"]) == ("", True)
    uploads = lists.store.db.path.parent / "uploads"
    await lists.ask("PATCH", f"/lists/{made['id']}", {"text": PLAYLIST.decode()})
    assert len(list(uploads.iterdir())) == 1, "the former document goes"
    await lists.refresher.turn()
    assert "1 stale" in (await lists.one(made["id"]))["summary"]
    await lists.ask("DELETE", f"/lists/{made['id']}", status=204)
    assert list(uploads.iterdir()) == []
    await lists.ask("PUT", "/lists/uploads/7", b"x", status=404, **raw)


async def test_an_import_is_taken_back_once(lists: Lists) -> None:
    made = await lists.made(text=PLAYLIST.decode())
    await lists.refresher.turn()
    path = f"/lists/{made['id']}/undo"
    assert not (await lists.ask("POST", path))["can_undo"]
    assert await lists.names() == []
    await lists.ask("POST", path, status=409)
    guide = await lists.made(kind="guide", text=GUIDE)
    await lists.ask("POST", f"/lists/{guide['id']}/undo", status=409)


async def test_what_was_taken_back_comes_again_when_somebody_reads_it_and_not_before(
    lists: Lists, web: Site
) -> None:
    made = await lists.made(url=f"{web.base}/get.php")
    path = f"/lists/{made['id']}"
    await lists.refresher.turn()
    told = await lists.ask("POST", f"{path}/undo")
    assert (told["state"], told["held"], told["next_at"]) == ("held", True, None)
    async with lists.store.db.write() as transaction:  # as when its interval is over
        await transaction.execute("UPDATE lists SET refreshed_at = 1")
    await lists.refresher.turn()
    await lists.ask("PATCH", path, {"name": "Mine", "enabled": True})
    await lists.refresher.turn()
    assert await lists.names() == [], "neither its schedule nor another name brings it back"
    told = await lists.ask("POST", f"{path}/refresh", {}, status=202)
    assert (told["state"], told["held"]) == ("waiting", False)
    await lists.refresher.turn()
    assert await lists.names() == ["One"]
    view = await lists.one(made["id"])
    assert view["state"] == "well" and view["next_at"] is not None, "it is read by itself again"


@pytest.mark.parametrize("change", [{"held": False}, {"url": "/other"}])
async def test_a_change_lets_a_list_that_is_held_be_read(
    change: dict[str, Any], lists: Lists, web: Site
) -> None:
    web.documents["/other"] = MORE
    made = await lists.made(url=f"{web.base}/get.php")
    path = f"/lists/{made['id']}"
    await lists.refresher.turn()
    await lists.ask("POST", f"{path}/undo")
    if "url" in change:
        change = {"url": f"{web.base}{change['url']}"}
    assert not (await lists.ask("PATCH", path, change))["held"]
    async with lists.store.db.write() as transaction:
        await transaction.execute("UPDATE lists SET refreshed_at = 1")
    await lists.refresher.turn()
    assert (await lists.names())[:1] == ["One"]


async def test_a_list_that_is_being_read_is_neither_removed_nor_undone(lists: Lists) -> None:
    made = await lists.made(text=PLAYLIST.decode())
    lists.refresher.running = made["id"]
    await lists.ask("DELETE", f"/lists/{made['id']}", status=409)
    await lists.ask("POST", f"/lists/{made['id']}/undo", status=409)


async def test_lists_by_kind_and_name_and_no_address_twice(lists: Lists, web: Site) -> None:
    await lists.made(url=f"{web.base}/get.php", name="Alpha")
    await lists.made(kind="guide", url=f"{web.base}/get.php", name="Beta")
    assert (await lists.ask("GET", "/lists?kind=guide"))["items"][0]["name"] == "Beta"
    assert (await lists.ask("GET", "/lists?q=ALPH"))["total"] == 1
    body = {"kind": "playlist", "url": f" {web.base}/get.php "}
    await lists.ask("POST", "/lists", body, status=409)
    other = await lists.made(url=f"{web.base}/b", enabled=False)
    change = {"url": f"{web.base}/get.php"}
    await lists.ask("PATCH", f"/lists/{other['id']}", change, status=409)
    body = {"kind": "playlist", "url": "http://h/", "interval_seconds": 5}
    told = await lists.ask("POST", "/lists", body, status=422)
    assert told["errors"][0]["field"] == "interval_seconds"


async def test_a_file_that_the_command_line_named_is_shown_and_kept(
    lists: Lists, tmp_path: Path
) -> None:
    path = tmp_path / "mine.m3u"
    path.write_bytes(PLAYLIST)
    number = await lists.store.lineup.add_list(ListSource(0, "playlist", str(path)))
    assert (await lists.one(number))["shown_url"] == str(path)
    await lists.ask("PATCH", f"/lists/{number}", {"name": "x"})
    await lists.ask("DELETE", f"/lists/{number}", status=204)
    assert path.exists()


async def test_over_the_whole_server_a_list_is_read_at_once(tmp_path: Path) -> None:
    async with stage(tmp_path, []) as made:
        login = {"username": "admin", "password": made.worker.first_password}
        answer = await ask(made, "/api/v1/session", "POST", login)
        cookie = answer.headers["set-cookie"].partition(";")[0]
        steps: list[str] = []
        made.worker.refresher.on_progress = lambda progress: steps.append(progress.step)
        body = {"kind": "playlist", "text": PLAYLIST.decode()}
        answer = await ask(made, "/api/v1/lists", "POST", body, cookie=cookie)
        assert answer.status == 201, answer.body
        await until(lambda: "done" in steps or "failed" in steps, "read")
        assert steps == ["waiting", "fetching", "reading", "done"]
        async with asyncio.timeout(30):
            while True:
                answer = await ask(made, "/api/v1/channels", cookie=cookie)
                if orjson.loads(answer.body)["total"] == 1:
                    break
        answer = await ask(made, "/api/v1/history?kind=import", cookie=cookie)
        assert "1 added" in orjson.loads(answer.body)["items"][0]["text"]
