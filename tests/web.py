"""A small web server for tests: documents by path, with what went wrong to order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
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


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    """A server that gives every request to `answer`; its address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    """A running one; `base` is its address."""
    made = Site()
    async with serving(made.answer) as made.base:
        yield made
