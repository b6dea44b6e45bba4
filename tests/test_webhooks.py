"""Messages on their way: sent, tried again, dropped; and what is never said of an address."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web
from stage import until
from web import serving

from rawstream.fetch_policy import FetchPolicy
from rawstream.happenings import Happening
from rawstream.webhooks import Webhooks, message_of

OPEN = FetchPolicy((), tuple)
DOWN = Happening("channel_down", 1_700_000_000, channel="a" * 40, name="One", reason="no peers")
SECRET = "hooks-SECRET"


class Chat:
    """What is posted to. `statuses`: those of the next answers, then 204. `hold`: none comes."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.got: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str, str]] = []
        self.hold = asyncio.Event()
        self.hold.set()

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.path, request.content_type))
        await self.hold.wait()
        status = self.statuses.pop(0) if self.statuses else 204
        if status < 300:
            self.got.append(orjson.loads(await request.read()))
        headers = {"Location": "/elsewhere"} if 300 <= status < 400 else {}
        return web.Response(status=status, headers=headers)


@asynccontextmanager
async def hooked(
    chat: Chat,
    *more: str,
    policy: FetchPolicy = OPEN,
    queue: int = 100,
    seconds: float = 20.0,
    pauses_end: bool = True,
) -> AsyncIterator[tuple[Webhooks, list[float]]]:
    """Running webhooks to a chat and to other addresses; the pauses they made."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if not pauses_end:
            await asyncio.Event().wait()

    async with serving(chat.answer) as base:
        urls: Sequence[str] = (f"{base}/{SECRET}", *more)
        hooks = Webhooks(urls, policy, queue=queue, seconds=seconds, sleep=sleep)
        running = asyncio.create_task(hooks.run())
        try:
            yield hooks, slept
        finally:
            chat.hold.set()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_a_message_is_posted_as_json() -> None:
    chat = Chat()
    async with hooked(chat) as (hooks, _):
        hooks.say(DOWN)
        await until(lambda: hooks.results["sent"], "a message")
    assert chat.requests == [("POST", f"/{SECRET}", "application/json")]
    assert chat.got == [
        {
            "event": "channel_down",
            "at": 1_700_000_000,
            "channel": "a" * 40,
            "name": "One",
            "reason": "no peers",
            "text": "Channel One is down: no peers",
            "content": "Channel One is down: no peers",
        }
    ]


@pytest.mark.parametrize(
    ("statuses", "results", "tries"),
    [
        ([500, 503], {"sent": 1}, 3),
        ([429, 408], {"sent": 1}, 3),
        ([404], {"failed": 1}, 1),
        ([302] * 9, {"failed": 1}, 5),
        ([500] * 9, {"failed": 1}, 5),
    ],
)
async def test_what_time_may_heal_is_tried_again_after_growing_pauses(
    statuses: list[int], results: dict[str, int], tries: int
) -> None:
    chat = Chat()
    chat.statuses = statuses
    async with hooked(chat) as (hooks, slept):
        hooks.say(DOWN)
        await until(lambda: hooks.results.total(), "an end")
        assert hooks.results == results
        assert len(chat.requests) == tries and len(slept) == tries - 1
        assert slept == sorted(set(slept))
        assert {path for _, path, _ in chat.requests} == {f"/{SECRET}"}, "no redirect is followed"


async def test_one_address_that_hangs_keeps_nobody_waiting_and_is_sent_the_newest() -> None:
    stuck, chat = Chat(), Chat()
    stuck.hold.clear()
    async with serving(chat.answer) as base, hooked(stuck, f"{base}/x", queue=3) as (hooks, _):
        hooks.say(DOWN)
        await until(lambda: stuck.requests, "the first is on its way")
        for number in range(10):
            hooks.say(Happening("engine_up", number, engine="http://e:6878"))
            await until(lambda n=number: len(chat.got) == n + 2, "the other has it")
        assert hooks.results["dropped"] == 7
        stuck.hold.set()
        await until(lambda: len(stuck.got) == 4, "the rest")
    assert [one["at"] for one in stuck.got] == [1_700_000_000, 7, 8, 9]


async def test_at_the_end_what_waits_is_sent() -> None:
    chat = Chat()
    chat.hold.clear()
    async with hooked(chat) as (hooks, _):
        for number in range(3):
            hooks.say(Happening("engine_up", number, engine="http://e:6878"))
        await until(lambda: chat.requests, "the first is on its way")
        draining = asyncio.create_task(hooks.drain(30.0))
        await asyncio.sleep(0)
        chat.hold.set()
        await draining
        assert hooks.results == {"sent": 3}
    assert [one["at"] for one in chat.got] == [0, 1, 2]


async def test_at_the_end_nobody_pauses_and_each_message_is_tried_once_more() -> None:
    chat = Chat()
    chat.statuses = [500] * 9
    async with hooked(chat, pauses_end=False) as (hooks, slept):
        hooks.say(DOWN)
        hooks.say(DOWN)
        await until(lambda: slept, "a pause that would last")
        await hooks.drain(30.0)
        assert hooks.results == {"failed": 2}
    assert len(chat.requests) == 3, "the first twice, the second once"


async def test_what_is_not_sent_in_time_is_dropped_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chat = Chat()
    chat.hold.clear()
    async with hooked(chat) as (hooks, _):
        for _ in range(3):
            hooks.say(DOWN)
        await until(lambda: chat.requests, "the first is on its way")
        await hooks.drain(0.05)
        assert hooks.results == {"dropped": 3}
    assert "3 message(s) dropped" in caplog.text and SECRET not in caplog.text


async def test_an_address_that_does_not_answer_is_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chat = Chat()
    chat.hold.clear()
    async with hooked(chat, seconds=0.05) as (hooks, slept):
        hooks.say(DOWN)
        await until(lambda: hooks.results["failed"], "given up")
        assert len(slept) == 4
    assert "took too long" in caplog.text


async def test_of_an_address_only_its_host_is_said_and_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chat = Chat()
    chat.statuses = [404, 404]
    hidden = f"http://ana:{SECRET}@no-such-host.invalid/{SECRET}?token={SECRET}"
    with caplog.at_level(logging.DEBUG):
        async with hooked(chat, hidden) as (hooks, _):
            for _ in range(3):
                hooks.say(DOWN)
            await until(lambda: hooks.results.total() == 6, "all ends")
            assert hooks.results == {"failed": 5, "sent": 1}
    assert SECRET not in caplog.text
    said = [record.getMessage() for record in caplog.records if "webhook" in record.getMessage()]
    assert len([text for text in said if "no-such-host" in text]) == 1
    assert len([text for text in said if "does not take" in text]) == 2
    assert len([text for text in said if "takes messages again" in text]) == 1


async def test_where_lists_are_not_fetched_from_nothing_is_posted_to(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chat = Chat()
    policy = FetchPolicy((), lambda: range(1, 65_536))
    async with hooked(chat, policy=policy) as (hooks, _):
        hooks.say(DOWN)
        await until(lambda: hooks.results["failed"], "refused")
    assert chat.requests == []
    assert "our own port is not a source" in caplog.text


def test_without_an_address_nothing_is_kept() -> None:
    hooks = Webhooks((), OPEN, queue=1, seconds=1.0)
    hooks.say(DOWN)
    assert not hooks.results


def test_a_message_has_no_field_without_a_value() -> None:
    message = orjson.loads(message_of(Happening("engine_up", 5, engine="http://e:6878")))
    assert message.keys() == {"event", "at", "engine", "text", "content"}
