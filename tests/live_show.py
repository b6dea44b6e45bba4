"""The whole program with an admin who asks: what is on air, and what becomes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from stage import Player, Stage, stage, until
from test_api import ask

from rawstream.channels import ChannelSnapshot
from rawstream.records import Account, Channel, ChannelSource
from rawstream.simulator import SimContent

SOME = 60_000  # bytes of a stream: enough to tell that it flows
TOKEN = "v1ewert0ken"


class Show:
    """A running program, and an admin who asks."""

    def __init__(self, made: Stage, cookie: str) -> None:
        self.made = made
        self.worker = made.worker
        self.hub = made.worker.hub
        self.cookie = cookie

    async def ask(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = await ask(self.made, f"/api/v1{path}", method, body, cookie=self.cookie)
        assert answer.status == status, (answer.status, answer.body)
        return orjson.loads(answer.body) if answer.body else None

    async def add_channel(self, *contents: SimContent, **values: Any) -> int:
        sources = tuple(ChannelSource("content_id", one.content_id) for one in contents)
        channel = Channel(0, values.pop("name", "One"), sources=sources, **values)
        number = await self.worker.store.lineup.add_channel(channel)
        await self.worker.catalogue.look()
        return number

    async def add_viewer(self, **values: Any) -> None:
        account = Account(0, "viewer", "x", token=TOKEN, **values)
        await self.worker.store.accounts.add(account)
        await self.worker.accounts.reload()

    async def on_air(self, content: SimContent) -> tuple[Player, ChannelSnapshot]:
        """Somebody watches it, and nothing else is on air."""
        viewer = await self.made.play(content)
        await viewer.more(SOME)
        channel = self.made.channel()
        assert channel is not None
        return viewer, channel

    async def moved(self, channel: ChannelSnapshot, viewer: Player) -> None:
        """Wait until another engine carries it; its viewer notices nothing."""

        def elsewhere() -> bool:
            now = self.made.channel()
            return now is not None and now.state == "live" and now.engine != channel.engine

        await until(elsewhere, "it goes on from the other engine")
        await viewer.more(SOME)
        assert not viewer.over

    async def engine_path(self, url: str | None) -> str:
        """Of an engine, below the API's root."""
        engines = (await self.ask("GET", "/engines"))["items"]
        (number,) = [one["id"] for one in engines if one["url"] == url]
        return f"/engines/{number}"

    def page(self, path: str) -> Player:
        """A player in the admin's page."""
        return self.made.player(f"/api/v1{path}", cookie=self.cookie)

    @property
    def sessions(self) -> int:
        """Open on the engines, as we count them."""
        return sum(engine.sessions + engine.starting for engine in self.hub.pool.engines)

    def leases(self) -> int:
        return self.worker.accounts._streams


@asynccontextmanager
async def show(data: Path, contents: list[SimContent], **more: Any) -> AsyncIterator[Show]:
    async with stage(data, contents, **more) as made:
        login = {"username": "admin", "password": made.worker.first_password}
        answer = await ask(made, "/api/v1/session", "POST", login)
        yield Show(made, answer.headers["set-cookie"].partition(";")[0])
