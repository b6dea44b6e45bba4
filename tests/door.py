"""The endpoints that players with an account ask, over a store of their own and a hub that only
notes.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from account_stage import FakePasswords

from rawstream.accounts import Accounts
from rawstream.catalogue import LiveCatalogue
from rawstream.config import Config
from rawstream.errors import ViewerError
from rawstream.film_viewer import Film
from rawstream.film_web import FilmHead
from rawstream.hls_face import HlsEndpoints
from rawstream.http1 import Request, Response
from rawstream.live import LiveEndpoints
from rawstream.logins import Doorman
from rawstream.records import Account, Channel, ChannelSource
from rawstream.store import Store
from rawstream.vod import VodEndpoints
from rawstream.xtream import XtreamEndpoints

LOGIN = "username=ana&password=pw"


class FakeExchange:
    gone = False

    def __init__(self) -> None:
        self.streamed: list[Any] = []

    def stream(self, headers: Any, content_type: str, **more: Any) -> None:
        self.streamed.append((dict(headers), content_type, *more.values()))


class FakeFilms:
    """Notes who watches which film; `known`: the head of each."""

    def __init__(self) -> None:
        self.watched: list[tuple[str, str, float]] = []
        self.failure: ViewerError | None = None
        self.known: FilmHead | None = None

    def watch(self, film: Film, exchange: Any, **more: Any) -> None:
        if self.failure is not None:
            raise self.failure
        self.watched.append((film.name, more["account"], more["hold_seconds"]))

    async def head(self, film: Film) -> FilmHead | None:
        return self.known


class FakeHub:
    def __init__(self) -> None:
        self.films: Any = FakeFilms()
        self.watched: list[tuple[str, str]] = []
        self.failure: ViewerError | None = None

    def watches(self, ref: Any, key: Any) -> bool:
        return False

    def watch_playlist(self, ref: Any, exchange: Any, key: Any, **more: Any) -> None:
        if self.failure is not None:
            raise self.failure
        self.watched.append((f"{more['name']} as HLS", more["account"]))

    def watch_channel(self, channel: Channel, exchange: Any, **more: Any) -> None:
        if self.failure is not None:
            raise self.failure
        self.watched.append((channel.name, more["account"]))


class Door:
    def __init__(
        self,
        endpoints: XtreamEndpoints,
        live: LiveEndpoints,
        vod: VodEndpoints,
        hub: FakeHub,
        accounts: Accounts,
        store: Store,
        catalogue: LiveCatalogue,
    ) -> None:
        self.endpoints = endpoints
        self.live = live
        self.vod = vod
        self.catalogue = catalogue
        self.hub = hub
        self.accounts = accounts
        self.store = store
        self.passwords: Any = accounts._guard._passwords
        self.exchange = FakeExchange()

    async def ask(
        self, handler: Callable[..., Any], target: str, method: str = "GET", **more: Any
    ) -> Response:
        headers = {"host": "tv:8080", **more.pop("headers", {})}
        request = Request(method, target, headers, peer=("10.0.0.9", 1), **more)
        try:
            found = handler(request, self.exchange)
            if inspect.isawaitable(found):
                found = await found
        except ViewerError as error:
            found = Response.of_error(error)
        return found if found is not None else Response(0)

    async def api(self, query: str, **more: Any) -> Any:
        answer = await self.ask(self.endpoints.player_api, f"/player_api.php?{query}", **more)
        assert answer.content_type == "application/json"
        return orjson.loads(answer.body)

    async def play(self, target: str, method: str = "GET") -> int:
        return (await self.ask(self.live.live, target, method)).status


@pytest.fixture
async def door(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Door]:
    store = await Store.open(tmp_path)
    await store.accounts.add(Account(0, "ana", "pw", token="tok3n"))
    await store.accounts.add(Account(0, "old", "pw", expires_at=1))
    await store.accounts.add(Account(0, "sam", "pw", allowed_formats=("m3u8",)))
    await store.accounts.add(Account(0, "tom", "pw", allowed_formats=("ts",)))
    news = await store.lineup.category_named("News")
    for name in ("One", "Two"):
        await store.lineup.add_channel(
            Channel(0, name, categories=(news.id,), sources=(ChannelSource("unknown", "a" * 40),))
        )
    config = Config(**getattr(request, "param", {}))
    passwords: Any = FakePasswords()
    accounts = Accounts(store.accounts, passwords, config)
    await accounts.reload()
    catalogue = LiveCatalogue(store)
    await catalogue.reload()
    hub: Any = FakeHub()
    doorman = Doorman(config, accounts)
    endpoints = XtreamEndpoints(config, doorman, accounts, catalogue, store)
    hls = HlsEndpoints(hub, doorman, accounts)
    live = LiveEndpoints(doorman, hub, accounts, catalogue, hls)
    vod = VodEndpoints(doorman, hub.films, accounts, catalogue, config.timeouts)
    yield Door(endpoints, live, vod, hub, accounts, store, catalogue)
    await store.close()
