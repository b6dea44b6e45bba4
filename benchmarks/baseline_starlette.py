"""A baseline in the manner of the predecessor as its players meet it: two hops in one process.

Owns: an inner aiohttp server that reads the source in `--inner-chunk` bytes and has a queue per
client, and an outer Starlette application under uvicorn (uvloop, httptools) that for each viewer
opens a request of its own to the inner one and hands on what comes in pieces of `--chunk` bytes (1
KiB there) through a `StreamingResponse`. Must not be clever.

Prints `ready PORT`; ends by itself after `--seconds` or with the source.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import uvicorn
import uvloop
from aiohttp import web
from baseline_aiohttp import next_chunk
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

QUEUE_CHUNKS = 256  # a client that is further behind loses chunks


class InnerServer:
    """The multiplexer: one reader, a queue per client."""

    def __init__(self, chunk_bytes: int, *, whole: bool) -> None:
        self.chunk_bytes = chunk_bytes
        self.whole = whole
        self.queues: set[asyncio.Queue[bytes | None]] = set()

    async def getstream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "video/mp2t"})
        await response.prepare(request)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_CHUNKS)
        self.queues.add(queue)
        try:
            while (chunk := await queue.get()) is not None:
                await response.write(chunk)
        except ConnectionError:
            pass
        finally:
            self.queues.discard(queue)
        return response

    async def relay(self, source_url: str) -> None:
        """Read the source and put each chunk into every queue that has room; returns when the
        source ends.
        """
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session,
                session.get(source_url) as answer,
            ):
                while True:
                    chunk = await next_chunk(answer.content, self.chunk_bytes, whole=self.whole)
                    if not chunk:
                        return
                    for queue in self.queues:
                        if not queue.full():
                            queue.put_nowait(chunk)
        except (asyncio.IncompleteReadError, aiohttp.ClientError):
            return


def outer_application(
    inner_url: str, session: aiohttp.ClientSession, chunk_bytes: int
) -> Starlette:
    async def getstream(_: Request) -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            async with session.get(inner_url) as answer:
                async for piece in answer.content.iter_chunked(chunk_bytes):
                    yield piece

        return StreamingResponse(body(), media_type="video/mp2t")

    return Starlette(routes=[Route("/ace/getstream", getstream)])


async def serve(options: argparse.Namespace) -> None:
    inner = InnerServer(options.inner_chunk, whole=options.whole)
    app = web.Application()
    app.router.add_get("/ace/getstream", inner.getstream)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    inner_url = f"http://127.0.0.1:{runner.addresses[0][1]}/ace/getstream"
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    ) as session:
        config = uvicorn.Config(
            outer_application(inner_url, session, options.chunk),
            http="httptools",
            lifespan="off",
            access_log=False,
            log_level="error",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]), name="uvicorn")
        print("ready", listener.getsockname()[1], flush=True)
        try:
            await asyncio.wait_for(inner.relay(options.source), options.seconds)
        except TimeoutError:
            pass
        server.should_exit = True
        await serving
    await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description="The Starlette baseline: two hops, small pieces.")
    parser.add_argument("--source", required=True, help="URL of the stream")
    parser.add_argument("--chunk", type=int, default=1024, help="bytes per piece of the outer hop")
    parser.add_argument(
        "--inner-chunk", type=int, default=8192, help="bytes per piece of the inner hop"
    )
    parser.add_argument("--whole", action="store_true", help="wait until an inner piece is full")
    parser.add_argument("--seconds", type=float, default=600.0)
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
