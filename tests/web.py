"""A small web server for tests: documents by path, with what went wrong to order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class Site:
    """`documents`: bodies by path. `requests`: what was asked, with headers."""

    documents: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    status: int = 200
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    base: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.path, headers))
        if self.status != 200:
            return web.Response(status=self.status)
        body = self.documents.get(request.path)
        if body is None:
            return web.Response(status=404)
        etag = self.etags.get(request.path)
        given = {"ETag": etag} if etag else {}
        if etag and headers.get("if-none-match") == etag:
            return web.Response(status=304, headers=given)
        return web.Response(body=body, headers=given)


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    """A running one; `base` is its address."""
    made = Site()
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    listening = web.TCPSite(runner, "127.0.0.1", 0)
    await listening.start()
    made.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()
