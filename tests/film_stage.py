"""Films for the whole program, on engines and on web servers, and viewers who read parts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from stage import PATIENCE_SECONDS, Stage

from rawstream.byte_range import parse_range
from rawstream.catalogue import Catalogue
from rawstream.config import Timeouts
from rawstream.protocol import Exchange, Request
from rawstream.records import Account, Category, Channel, ChannelSource
from rawstream.simulator import SimContent, vod_content
from rawstream.workers import Worker

TOKEN = "f1lmt0ken"
FILM_ID = 900


def film_content(repeats: int = 1, **switches: Any) -> SimContent:
    content = vod_content()
    content.repeats = repeats
    content.preload_seconds = 0.05
    for name, value in switches.items():
        setattr(content, name, value)
    return content


def bytes_of(content: SimContent) -> bytes:
    return content.clip.read_bytes() * content.repeats


def of_engine(content: SimContent) -> ChannelSource:
    return ChannelSource("content_id", content.content_id)


def of_web(url: str, *headers: tuple[str, str]) -> ChannelSource:
    return ChannelSource("direct", url, headers)


def film_channel(*sources: ChannelSource, id: int = FILM_ID, extension: str = "mp4") -> Channel:
    return Channel(
        id, f"Film {id}", categories=(9,), sources=sources, kind="movie", extension=extension
    )


async def show(worker: Worker, *films: Channel, max_connections: int = 1) -> None:
    """Put films on the line-up, and make an account that may watch: its token is `TOKEN`."""
    if await worker.store.accounts.by_name("viewer") is None:
        account = Account(0, "viewer", "x", token=TOKEN, max_connections=max_connections)
        await worker.store.accounts.add(account)
        await worker.accounts.reload()
        await worker.catalogue.look()  # so that nothing that is to be seen is left
    before = worker.catalogue.current
    shown = (*before.channels, *films)
    categories = (*before._categories, Category(9, "Films"))
    worker.catalogue.current = Catalogue("films", shown, categories)


def path_of(id: int = FILM_ID, extension: str = "mp4", kind: str = "movie") -> str:
    return f"/{kind}/{TOKEN}/{id}.{extension}"


def film_timeouts(**changes: float) -> Timeouts:
    return Timeouts.for_tests(**{"engine_stat_interval_seconds": 0.1, **changes})


class Answer(NamedTuple):
    """`headers`: lower-case names."""

    status: int
    headers: dict[str, str]


class Watcher:
    """A player's connection, which stays open from one request to the next."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def __aenter__(self) -> Watcher:
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self.port, limit=1 << 20
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    async def ask(
        self, path: str, range_: str = "", *, method: str = "GET", **headers: str
    ) -> Answer:
        """Ask and read the head of the answer."""
        lines = [f"{method} {path} HTTP/1.1", "Host: tv", "User-Agent: VLC/3.0"]
        if range_:
            lines.append(f"Range: {range_}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())
        async with asyncio.timeout(PATIENCE_SECONDS):
            first, *rest = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.partition(":") for line in rest if line)
        return Answer(
            int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}
        )

    async def read(self, size: int) -> bytes:
        async with asyncio.timeout(2 * PATIENCE_SECONDS):
            return await self.reader.readexactly(size)

    async def whole(self, path: str, range_: str = "", **headers: str) -> tuple[Answer, bytes]:
        """Ask, and read all of the answer."""
        answer = await self.ask(path, range_, **headers)
        return answer, await self.read(int(answer.headers["content-length"]))


async def get(made: Stage, path: str, range_: str = "", **headers: str) -> tuple[Answer, bytes]:
    """One request on a connection of its own."""
    async with Watcher(made.port) as watcher:
        return await watcher.whole(path, range_, **headers)


def note_ranges(worker: Worker) -> list[int]:
    """Where each GET from now on begins in its film."""
    begins: list[int] = []
    handler = worker.server.handler

    def noting(request: Request, exchange: Exchange) -> Any:
        if request.method == "GET":
            specs = parse_range(request.headers.get("range", ""))
            begins.append(specs[0].first or 0 if specs else 0)
        return handler(request, exchange)

    worker.server.handler = noting
    return begins


def states(made: Stage) -> Sequence[str]:
    return [film.state for film in made.snapshot.films]
