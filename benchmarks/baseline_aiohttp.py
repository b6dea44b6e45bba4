"""A baseline in the manner of the predecessor's inner server and its ancestors: aiohttp, "await the
write to each".

Owns: one reader of the source that takes a piece of `--chunk` bytes (8 KiB there) and awaits the
write to each client in turn, under a lock, with no deadline. Must not be clever: no buffer per
client, no care for packets, no burst. It runs on uvloop, which its models did not all do, so that
the loop is not what is compared.

Prints `ready PORT`; ends by itself after `--seconds` or with the source.
"""

from __future__ import annotations

import argparse
import asyncio

import aiohttp
import uvloop
from aiohttp import web


async def next_chunk(content: aiohttp.StreamReader, size: int, *, whole: bool) -> bytes:
    """What has come, at most `size` bytes; `whole`: all of them, waited for. Empty at the end."""
    return await (content.readexactly(size) if whole else content.read(size))


class Channel:
    """The clients of the one stream."""

    def __init__(self, chunk_bytes: int, *, whole: bool) -> None:
        self.chunk_bytes = chunk_bytes
        self.whole = whole
        self.clients: set[web.StreamResponse] = set()
        self.lock = asyncio.Lock()
        self.done = asyncio.Event()

    async def getstream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "video/mp2t"})
        await response.prepare(request)
        async with self.lock:
            self.clients.add(response)
        try:
            await self.done.wait()
        finally:
            self.clients.discard(response)
        return response

    async def relay(self, source_url: str) -> None:
        """Read the source and write each chunk to all; returns when the source ends."""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session,
                session.get(source_url) as answer,
            ):
                while True:
                    chunk = await next_chunk(answer.content, self.chunk_bytes, whole=self.whole)
                    if not chunk:
                        return
                    async with self.lock:
                        for client in list(self.clients):
                            try:
                                await client.write(chunk)
                            except (ConnectionError, RuntimeError):
                                self.clients.discard(client)
        except (asyncio.IncompleteReadError, aiohttp.ClientError):
            return
        finally:
            self.done.set()


async def serve(options: argparse.Namespace) -> None:
    channel = Channel(options.chunk, whole=options.whole)
    app = web.Application()
    app.router.add_get("/ace/getstream", channel.getstream)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    print("ready", runner.addresses[0][1], flush=True)
    try:
        await asyncio.wait_for(channel.relay(options.source), options.seconds)
    except TimeoutError:
        pass
    await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description="The aiohttp baseline: await the write to each.")
    parser.add_argument("--source", required=True, help="URL of the stream")
    parser.add_argument("--chunk", type=int, default=8192, help="bytes per write")
    parser.add_argument("--whole", action="store_true", help="wait until a chunk is full")
    parser.add_argument("--seconds", type=float, default=600.0)
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
