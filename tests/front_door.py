"""A whole furnished server for tests, and client programs that are run on it."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from stage import PATIENCE_SECONDS

from rawstream.config import Config, Timeouts
from rawstream.demo import furnish
from rawstream.simulator import EngineSimulator, SimContent, bundled_contents
from rawstream.store import Store
from rawstream.workers import Worker

CLIENTS = Path(__file__).with_name("xtream_clients.py")
CHANNELS = sorted(content.name for content in bundled_contents())


@asynccontextmanager
async def front_door(
    data: Path,
    *,
    contents: list[SimContent] | None = None,
    films: Sequence[SimContent] = (),
    prepare: Callable[[Store], Awaitable[object]] | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[Worker, str]]:
    """A furnished server with account demo/demo over a simulated engine; its base URL.

    `films`: those of the demo are `film_contents()`. `prepare`: what else is put into the store
    before it starts. `settings`: of `Config`, in place of those that suit tests.
    """
    shown = contents if contents is not None else bundled_contents()
    async with EngineSimulator([*shown, *films], latency=0.0) as engine:
        store = await Store.open(data)
        try:
            await furnish(store, shown, films, public=False)
            if prepare is not None:
                await prepare(store)
        finally:
            await store.close()
        config = Config(
            host="127.0.0.1",
            port=0,
            engines=(engine.url,),
            data=data,
            **{"timeouts": Timeouts.for_tests(), **settings},
        )
        worker = Worker(config)
        await worker.start()
        try:
            yield worker, f"http://127.0.0.1:{worker.addresses[0][1]}"
        finally:
            await worker.stop()


async def run(*command: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=env
    )
    out, err = await asyncio.wait_for(process.communicate(), 2 * PATIENCE_SECONDS)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def client(name: str, url: str, password: str, cache: Path) -> dict[str, Any]:
    status, out, err = await run(
        sys.executable, str(CLIENTS), name, url, "demo", password, str(cache)
    )
    assert status == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


class Heard(NamedTuple):
    """An answer. `headers`: lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    url: str,
    method: str = "GET",
    *,
    body: bytes = b"",
    enough: int | None = None,
    tls: ssl.SSLContext | None = None,
    **headers: str,
) -> Heard:
    """One request on a connection of its own. A body without a length is read to its end, or to
    `enough` bytes.

    `headers`: `_` in a name stands for `-`. Written out here, so that what the server is asked does
    not depend on the server's own client.
    """
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    lines = {"Host": parts.netloc, "Connection": "close"}
    if body:
        lines["Content-Length"] = str(len(body))
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection(
            parts.hostname, port, ssl=tls if parts.scheme == "https" else None
        )
        try:
            writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body)
            status, *found = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
            pairs = (line.split(":", 1) for line in found if line)
            answered = {name.lower(): value.strip() for name, value in pairs}
            length = int(answered.get("content-length", "-1"))
            if method == "HEAD":
                text = b""
            elif length >= 0:
                text = await reader.readexactly(length)
            elif enough is not None:
                text = await reader.readexactly(enough)
            else:
                text = await reader.read()
        finally:
            writer.transport.abort()
    return Heard(int(status.split()[1]), answered, text)


async def get(url: str) -> tuple[int, bytes]:
    heard = await ask(url)
    return heard.status, heard.body


def login(url: str, password: str = "demo") -> str:
    """The API's URL with the demo account; an action is put behind it with `&`."""
    return f"{url}/player_api.php?username=demo&password={password}"


async def api(url: str, action: str = "", **asked: object) -> Any:
    """What the API answers to the demo account."""
    more = "".join(f"&{name}={value}" for name, value in asked.items())
    heard = await ask(f"{login(url)}&action={action}{more}" if action else login(url))
    assert heard.status == 200, heard
    return heard.json
