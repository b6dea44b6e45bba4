"""An engine of hand-made bytes: it answers what a test wrote, and keeps what it was asked."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = bytes | Callable[[str], bytes | None]

INFOHASH = "a1" * 20
CONTENT_ID = "c1" * 20


def http(
    body: bytes | str,
    status: str = "200 OK",
    content_type: str = "application/json",
    length: bool = True,
) -> bytes:
    """A whole answer; without `length` it ends with the connection."""
    data = body if isinstance(body, bytes) else body.encode()
    framing = f"Content-Length: {len(data)}\r\n" if length else ""
    return f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n{framing}\r\n".encode() + data


def said(document: Any) -> bytes:
    return http(json.dumps(document))


def granted(**changes: Any) -> bytes:
    """A start's answer as the reference has it, with some fields changed or (None) left out."""
    base = "http://127.0.0.1:6878"
    response: dict[str, Any] = {
        "playback_url": f"{base}/ace/r/{INFOHASH}/t",
        "stat_url": f"{base}/ace/stat/{INFOHASH}/t",
        "command_url": f"{base}/ace/cmd/{INFOHASH}/t",
        "infohash": INFOHASH,
        "playback_session_id": "5e" * 20,
        "is_live": 1,
        "is_encrypted": 0,
        "client_session_id": -1,
        **changes,
    }
    response = {key: value for key, value in response.items() if value is not None}
    return said({"response": response, "error": None})


GONE = said({"response": None, "error": "unknown playback session id"})
STOPPED = said({"response": "ok", "error": None})
MEDIA = http(b"G" * 188, content_type="video/mp2t", length=False)


@contextmanager
def refusing() -> Iterator[str]:
    """The URL of a port that is held and never listens: whoever connects is refused."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


class RawEngine:
    """`answers`: by the beginning of the path, the longest that fits. An empty answer, or a
    callable's None, leaves the socket open and says nothing. After an answer the socket is closed,
    unless `keep_open` holds its path's beginning.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.keep_open: set[str] = set()
        self.heads: list[str] = []
        self.url = ""
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def requests(self) -> list[str]:
        """Request lines without the version."""
        return [head.split(" HTTP/")[0] for head in self.heads]

    @property
    def connected(self) -> int:
        return len(self._writers)

    def asked(self, path: str) -> list[dict[str, str]]:
        """The queries of requests to this path."""
        targets = [urlsplit(line.split(" ", 1)[1]) for line in self.requests]
        return [
            {name: values[-1] for name, values in parse_qs(target.query).items()}
            for target in targets
            if target.path == path
        ]

    async def __aenter__(self) -> RawEngine:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset what is connected."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.heads.append(head)
            path = head.split(" ")[1]
            fitting = [begin for begin in self.answers if path.startswith(begin)]
            answer: Answer | None = (
                self.answers[max(fitting, key=len)] if fitting else http("", "404 Not Found")
            )
            if callable(answer):
                answer = answer(path)
            if answer:
                writer.write(answer)
                await writer.drain()
            if not answer or any(path.startswith(begin) for begin in self.keep_open):
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self._writers.discard(writer)
            self._tasks.discard(task)
