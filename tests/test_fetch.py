"""Documents from a server of this test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from rawstream.errors import UpstreamError
from rawstream.fetch import Fetched, fetch
from rawstream.fetch_policy import FetchPolicy

SECRET = "pass-word-in-a-url"


@asynccontextmanager
async def served(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await answer(request)  # type: ignore[arg-type]

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def get(url: str, *, limit: int = 1 << 20, own_port: int = 0) -> Fetched:
    return await fetch(
        url,
        policy=FetchPolicy((), lambda: {own_port}),
        limit_bytes=limit,
        total_seconds=20,
        read_seconds=10,
    )


async def test_a_document_comes_with_what_its_sender_said() -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/moved":
            raise web.HTTPFound("/list")
        assert request.headers["User-Agent"].startswith("VLC/")
        headers = {"ETag": '"1"', "Content-Type": "text/plain; charset=latin-1"}
        return web.Response(body=b"#EXTM3U\n", headers=headers)

    async with served(answer) as url:
        found = await get(f"{url}/moved")
        assert (found.body, found.complete, found.etag) == (b"#EXTM3U\n", True, '"1"')
        assert (found.url, found.charset) == (f"{url}/list", "latin-1")


async def test_a_transfer_that_breaks_off_is_not_complete() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    async with served(answer) as url:
        found = await get(url)
        assert (found.body, found.complete) == (b"half", False)


@pytest.mark.parametrize("case", ["404", "too long", "loop", "scheme", "own port", "metadata"])
async def test_what_is_refused_says_nothing_of_the_url(case: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        if case == "404":
            raise web.HTTPNotFound
        if case == "loop":
            raise web.HTTPFound(f"/?{SECRET}")
        if case == "scheme":
            raise web.HTTPFound("file:///etc/passwd")
        if case == "metadata":
            raise web.HTTPFound("http://169.254.169.254/latest")
        return web.Response(body=b"x" * 2000)

    async with served(answer) as url:
        port = int(url.rpartition(":")[2]) if case == "own port" else 0
        with pytest.raises(UpstreamError) as caught:
            await get(f"{url}/?{SECRET}", limit=1000, own_port=port)
        assert SECRET not in str(caught.value)
