"""AceStream URLs by an account: what of its line-up plays, under which limits, and what doesn't."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from door import LOGIN, Door

from rawstream.ace import AceEndpoints
from rawstream.ace_accounts import AceAccountEndpoints
from rawstream.config import Config
from rawstream.hls_face import HlsEndpoints
from rawstream.http1 import Response
from rawstream.logins import Doorman
from rawstream.records import Account, Channel, ChannelSource

CONTENT, HASH, FILM = "b" * 40, "c" * 40, "d" * 40
URL = "http://panel.example/live/u/p/1.ts?a=b"


class Guests:
    """The endpoints over a door with more in its line-up."""

    def __init__(self, door: Door) -> None:
        self.door = door
        doorman = Doorman(Config(), door.accounts)
        hub: Any = door.hub
        ace = AceEndpoints(hub, HlsEndpoints(hub))
        self.ace = AceAccountEndpoints(doorman, door.catalogue, ace, door.live, door.vod)

    async def ask(self, handler: Callable[..., Any], query: str, method: str = "GET") -> Response:
        return await self.door.ask(handler, f"/ace/x?{query}", method)

    async def play(self, query: str, login: str = LOGIN, method: str = "GET") -> int:
        return (await self.ask(self.ace.getstream, f"{query}&{login}", method)).status


@pytest.fixture
async def guests(door: Door) -> Guests:
    lineup = door.store.lineup
    sport = await lineup.category_named("Sport")
    known = ChannelSource("content_id", CONTENT, infohash=HASH)
    direct = ChannelSource("direct", URL, (("User-Agent", "x"),))
    for channel in (
        Channel(0, "Known", categories=(sport.id,), sources=(known, direct)),
        Channel(0, "Double", categories=(sport.id,), sources=(known,)),
        Channel(0, "Film", kind="movie", sources=(ChannelSource("infohash", FILM),)),
    ):
        await lineup.add_channel(channel)
    news = await lineup.category_named("News")
    await door.store.accounts.add(Account(0, "eve", "pw", categories=frozenset((news.id,))))
    await door.accounts.reload()
    await door.catalogue.reload()
    return Guests(door)


@pytest.mark.parametrize(
    "query",
    [
        *(f"id={CONTENT}", f"content_id={CONTENT.upper()}", f"infohash={HASH}", f"id={HASH}"),
        *(f"magnet=magnet:?xt=urn:btih:{HASH}", f"url={quote(URL, safe='')}"),
    ],
)
async def test_what_the_line_up_has_plays_however_it_is_spelled(guests: Guests, query: str) -> None:
    assert await guests.play(query) == 0
    assert await guests.play(query, "token=tok3n") == 0
    assert guests.door.hub.watched == [("Known", "ana")] * 2


async def test_a_film_plays_as_one(guests: Guests) -> None:
    assert await guests.play(f"infohash={FILM}") == 0
    ((name, account, _hold),) = guests.door.hub.films.watched
    assert (name, account) == ("Film", "ana")
    answer = await guests.ask(guests.ace.manifest, f"infohash={FILM}&{LOGIN}")
    assert answer.status == 404


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (f"id={'f' * 40}", 404),
        ("url=http://192.168.1.1/admin", 404),
        (f"url={quote(URL, safe='')}x", 404),
        ("id=nonsense", 400),
        ("", 400),
    ],
)
async def test_nothing_else_plays(guests: Guests, query: str, status: int) -> None:
    assert await guests.play(query) == status
    assert guests.door.hub.watched == []


@pytest.mark.parametrize(
    ("login", "status"),
    [
        ("username=ana&password=wrong", 403),
        ("username=nobody&password=pw", 403),
        ("token=wrong", 403),
        ("username=old&password=pw", 403),  # expired
        ("username=sam&password=pw", 403),  # HLS alone
        ("username=eve&password=pw", 404),  # another category
    ],
)
async def test_an_accounts_limits_hold_here_too(guests: Guests, login: str, status: int) -> None:
    assert await guests.play(f"id={CONTENT}", login) == status
    assert guests.door.hub.watched == []


async def test_hls_is_for_whom_hls_is(guests: Guests) -> None:
    for login, status in (("username=sam&password=pw", 0), ("username=tom&password=pw", 403)):
        answer = await guests.ask(guests.ace.manifest, f"id={CONTENT}&{login}")
        assert answer.status == status
    assert guests.door.hub.watched == [("Known as HLS", "sam")]


async def test_head_starts_nothing(guests: Guests) -> None:
    assert await guests.play(f"id={CONTENT}", method="HEAD") == 0
    assert guests.door.exchange.streamed and guests.door.hub.watched == []


async def test_what_runs_is_told_of_his_own_line_up_only(guests: Guests) -> None:
    hub: Any = guests.door.hub
    hub.running, hub.find, hub.find_film = 3, lambda _ref: None, lambda _ref: None
    answer = await guests.ask(guests.ace.status, LOGIN)
    assert orjson.loads(answer.body) == {"streams": 3}
    answer = await guests.ask(guests.ace.status, f"id={CONTENT}&{LOGIN}")
    assert (answer.status, b"not found" in answer.body) == (404, True)  # it does not run
    answer = await guests.ask(guests.ace.status, f"id={'f' * 40}&{LOGIN}")
    assert (answer.status, b"line-up" in answer.body) == (404, True)
    for handler in (guests.ace.status, guests.ace.service):
        answer = await guests.ask(handler, "method=get_version&username=ana&password=wrong")
        assert answer.status == 403
    answer = await guests.ask(guests.ace.service, f"method=get_version&{LOGIN}")
    assert "version" in orjson.loads(answer.body)["result"]


async def test_the_line_up_as_it_is_now_counts(guests: Guests) -> None:
    door = guests.door
    assert await guests.play(f"id={CONTENT}") == 0
    for channel in await door.store.lineup.channels():
        if channel.name in ("Known", "Double"):
            await door.store.lineup.set_channel(replace(channel, enabled=False))
    await door.catalogue.reload()
    assert await guests.play(f"id={CONTENT}") == 404
