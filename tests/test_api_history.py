"""History and log as an operator looks through them."""

from __future__ import annotations

import logging

from operators import Desk

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
