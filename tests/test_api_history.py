"""History and log as an operator looks through them."""

from __future__ import annotations

import logging
from pathlib import Path

from live_show import show
from operators import Desk
from test_api import ask

from rawstream.api_history import HistoryOperations
from rawstream.log_tail import LogTail
from rawstream.records import Activity


async def test_history_by_kind_account_and_text(desk: Desk) -> None:
    desk.open(HistoryOperations(desk.store, LogTail()).table())
    desk.store.note(Activity(5, "play", "ana", "3 One", "10.0.0.9"))
    desk.store.note(Activity(6, "import", text="http://u:canary@h/l.m3u: 1 added"))
    found = await desk.ask("GET", "/history")
    assert [one["kind"] for one in found["items"]] == ["import", "play"]
    assert "canary" not in str(found)
    found = await desk.ask("GET", "/history?kind=play&account=ana&q=ONE")
    assert (found["total"], found["items"][0]["channel"]) == (1, "3 One")
    assert (await desk.ask("GET", "/history?account=bo"))["total"] == 0
    assert (await desk.ask("GET", "/history?limit=1&offset=1"))["items"][0]["at"] == 5
    await desk.ask("GET", "/history?limit=0", status=422)


async def test_a_disk_that_takes_nothing_hides_no_history(desk: Desk) -> None:
    desk.open(HistoryOperations(desk.store, LogTail()).table())
    desk.store.note(Activity(1, "kick", "ana", "", "", "one"))
    await desk.store.flush()
    desk.store.note(Activity(2, "kick", "ana", "", "", "two"))
    await desk.store.db._writer.execute("PRAGMA query_only = 1")
    told = await desk.ask("GET", "/history")
    assert [one["text"] for one in told["items"]] == ["one"]
    assert [one.text for one in await desk.store.history()] == ["one"]
    await desk.store.db._writer.execute("PRAGMA query_only = 0")
    assert len((await desk.ask("GET", "/history"))["items"]) == 2


async def test_who_edits_what_is_in_the_history_and_no_secret(tmp_path: Path) -> None:
    async with show(tmp_path, []) as desk:
        number = await desk.add_channel(name="La 1")
        await desk.ask("PATCH", f"/channels/{number}", {"number": "7", "name": "La 1"})
        await desk.ask("PUT", f"/channels/{number}/guide", {"guide_id": ""})
        await desk.ask("PUT", f"/channels/{number}/guide", {"guide_id": ""})
        await desk.ask("DELETE", f"/channels/{number}", status=204)
        made = await desk.ask("POST", "/tokens", {"name": "ci"}, status=201)
        token = {"authorization": f"Bearer {made['secret']}"}
        account = {"username": "ana", "password": "canary"}
        answer = await ask(desk.made, "/api/v1/accounts", "POST", account, **token)
        assert answer.status == 201
        place = {"kind": "guide", "url": "http://u:canary@127.0.0.1:9/canary", "enabled": False}
        await desk.ask("POST", "/lists", place, status=201)
        await desk.ask("PATCH", "/settings", {"public_url": "http://canary.example"})
        await desk.ask("POST", "/channels/bulk", {"ids": [1, 2], "delete": True})
        engine = (await desk.ask("GET", "/engines"))["items"][0]
        await desk.ask("PATCH", f"/engines/{engine['id']}", {"draining": True})
        found = await desk.ask("GET", "/history?kind=edit")
        told = [(one["channel"], one["text"]) for one in reversed(found["items"])]
        assert told == [
            (f"{number} La 1", f"channels {number} La 1 · change a channel (number)"),
            (f"{number} La 1", f"guide {number} La 1 · decide which guide it has (guide_id)"),
            (str(number), f"channels {number} La 1 · remove a channel"),
            ("", f"tokens {made['id']} ci · make a token for a script (name)"),
            ("", "accounts 2 ana · make an account (username, password, by the token ci)"),
            ("", "lists 1 · read a playlist or a guide from now on (kind, url, enabled)"),
            ("", "settings · change settings without a restart (public_url)"),
            ("", "channels · change many at once (0 changed, ids, delete)"),
            (
                "",
                f"engines 1 {engine['url']} · drain it, use it again, change its capacity"
                " (draining)",
            ),
        ]
        assert {(one["account"], one["address"]) for one in found["items"]} == {
            ("admin", "127.0.0.1")
        }
        rows = await desk.worker.store.history(kind="edit")
        assert "canary" not in str(rows), "nor in what is kept"


async def test_the_log_goes_on_where_one_left_off(desk: Desk) -> None:
    tail = LogTail()
    desk.open(HistoryOperations(desk.store, tail).table())
    for level, text in ((logging.INFO, "<b>one</b>"), (logging.ERROR, "two password=canary")):
        tail.handle(logging.LogRecord("a.b", level, "", 0, text, (), None))
    found = await desk.ask("GET", "/log")
    assert [one["text"] for one in found["lines"]] == ["<b>one</b>", "two password=***"]
    assert (found["last_id"], found["lines"][0]["logger"]) == (2, "a.b")
    assert (await desk.ask("GET", "/log?after=2"))["lines"] == []
    assert len((await desk.ask("GET", "/log?level=warning"))["lines"]) == 1
    await desk.ask("GET", "/log?level=loud", status=422)
