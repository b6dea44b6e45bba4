"""Documents from the web: lists and guides, to a bound, from nowhere they must not come from.

Owns: redirects, bounds on size and time, whether all of a document has come, whether it is new.
Must not know: what the document is, why it is wanted, how it is packed: readers unpack, and see
where something packed was cut. Streams are `http_client`'s.

Each hop is judged, and connected to one of the very addresses that were judged (`fetch_policy`): a
second look-up of the name might say something else.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Final
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from rawstream.engine_client import shown_url
from rawstream.errors import StateError, UpstreamError, UpstreamTimeout
from rawstream.fetch_policy import FetchPolicy

# providers refuse what looks like a script (Xtream reference §7)
USER_AGENT: Final = "VLC/3.0.21 LibVLC/3.0.21"
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_CODINGS: Final = frozenset(("", "identity", "gzip", "x-gzip"))  # what readers unpack
_CHUNK_BYTES: Final = 64 * 1024
_PIECE_BYTES: Final = 1024 * 1024  # written at once, by a thread


@dataclass(frozen=True, slots=True)
class Fetched:
    """`body`: as it was sent, so it may be packed; empty when it went `into` a file. `complete`:
    the transfer did not break off. `announced`: its sender said where it ends; without that a cut
    looks like an end. `url`: where it was found at last. `not_modified`: what the caller has is
    still what there is, and there is no body.
    """

    body: bytes = field(repr=False)
    complete: bool
    url: str = field(repr=False)
    charset: str = ""
    etag: str = field(default="", repr=False)
    last_modified: str = ""
    announced: bool = True
    not_modified: bool = False
    size_bytes: int = 0
    public: bool = False  # a public address led there: what it names must not be private


class _Judged(AbstractResolver):
    """Resolves every name to the addresses that were judged for it."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del family  # the judgement was of both
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


async def fetch(
    url: str,
    *,
    policy: FetchPolicy,
    limit_bytes: int,
    total_seconds: float,
    read_seconds: float,
    user_agent: str = "",
    headers: Mapping[str, str] | None = None,
    etag: str = "",
    last_modified: str = "",
    into: BinaryIO | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    byte_range: tuple[int, int] | None = None,
    came_from_public: bool = False,
    redirects: int = 5,
) -> Fetched:
    """A document of at most `limit_bytes`, counted as they are sent.

    `headers`: more of them, sent to the URL's own origin only. `etag`, `last_modified`: of the
    document the caller has. `into`: a file that takes the body, written to off the loop; after an
    error it holds a part. `progress` is called with the bytes so far and those announced.
    `byte_range`: offset and length of the part wanted, not with `into`. `came_from_public`: the URL
    was named by a document from a public address.

    Raises UpstreamTimeout, UpstreamError: not allowed, not there, no answer, too long; StateError
    where `into` can't be written. Nothing of the URL but what may be shown is in it.
    """
    label, public = shown_url(url), came_from_public
    asked = {"User-Agent": user_agent or USER_AGENT, "Accept-Encoding": "gzip"}
    if etag:
        asked["If-None-Match"] = etag
    if last_modified:
        asked["If-Modified-Since"] = last_modified
    if byte_range is not None:
        offset, length = byte_range
        asked["Range"] = f"bytes={offset}-{offset + length - 1}"
        asked["Accept-Encoding"] = "identity"  # of what is packed no part can be had
    hop = _Hop(label, limit_bytes, read_seconds, into, progress, byte_range)
    try:
        own = _origin(url)
        async with asyncio.timeout(total_seconds):
            for _hop in range(redirects + 1):
                allowed = await policy.check(url, came_from_public=public)
                public = public or allowed.public
                more = headers if headers and _origin(url) == own else {}
                found = await hop.ask(url, allowed.addresses, {**asked, **more})
                if isinstance(found, Fetched):
                    return replace(found, public=public)
                url = urljoin(url, found)
    except TimeoutError as error:
        raise UpstreamTimeout("read", label, "took too long") from error
    except (aiohttp.ClientError, ValueError, OSError) as error:
        raise UpstreamError("read", label, _words(error)) from None
    raise UpstreamError("open", label, "too many redirects")


async def post(url: str, body: bytes, *, policy: FetchPolicy, total_seconds: float) -> None:
    """Send a JSON document. No redirect is followed, and of the answer only the status counts.

    Raises UpstreamTimeout, UpstreamError: not allowed, no answer, one that is no success. Nothing
    of the URL but its host is in it: the rest of such an address is a secret.
    """
    label = host_of(url)
    headers = {"Content-Type": "application/json", "User-Agent": "rawstream"}
    try:
        async with asyncio.timeout(total_seconds):
            allowed = await policy.check(url)
            connector = aiohttp.TCPConnector(
                resolver=_Judged(allowed.addresses), use_dns_cache=False
            )
            async with (
                aiohttp.ClientSession(connector=connector, trust_env=False) as session,
                session.post(url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                status = answer.status
    except TimeoutError as error:
        raise UpstreamTimeout("read", label, "took too long") from error
    except (aiohttp.ClientError, ValueError, OSError) as error:
        raise UpstreamError("read", label, _words(error)) from None
    if not 200 <= status < 300:
        raise UpstreamError("head", label, f"answered {status}", status=status)


def host_of(url: str) -> str:
    """All of an address that may be shown where the rest is a secret."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return "?"


def _words(error: Exception) -> str:
    """What went wrong; of what the library says, only what can hold nothing of a URL."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        found = error.certificate_error
        words = getattr(found, "verify_message", "") or "it can't be verified"
        return f"its certificate is not accepted: {words}"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "no TLS connection can be made"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it hung up without an answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return type(error).__name__


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme.lower(), (parts.hostname or "").lower(), parts.port


class _Hop:
    """One request after the other, each to where the last one led."""

    def __init__(
        self,
        label: str,
        limit_bytes: int,
        read_seconds: float,
        into: BinaryIO | None,
        progress: Callable[[int, int | None], None] | None,
        byte_range: tuple[int, int] | None = None,
    ) -> None:
        self._byte_range = byte_range
        self._label = label
        self._limit_bytes = limit_bytes
        self._read_seconds = read_seconds
        self._into = into
        self._progress = progress
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._size = 0

    async def ask(
        self, url: str, addresses: tuple[str, ...], headers: Mapping[str, str]
    ) -> Fetched | str:
        """The document, or where it leads."""
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self._read_seconds, sock_read=self._read_seconds
        )
        connector = aiohttp.TCPConnector(resolver=_Judged(addresses), use_dns_cache=False)
        async with (
            aiohttp.ClientSession(
                connector=connector, timeout=timeout, trust_env=False, auto_decompress=False
            ) as session,
            session.get(url, allow_redirects=False, headers=headers) as answer,
        ):
            if answer.status in _REDIRECTS and "Location" in answer.headers:
                return answer.headers["Location"]
            conditional = "If-None-Match" in headers or "If-Modified-Since" in headers
            not_modified = answer.status == 304 and conditional
            part = answer.status == 206 and self._byte_range is not None
            if answer.status != 200 and not not_modified and not part:
                raise UpstreamError(
                    "head", self._label, f"answered {answer.status}", status=answer.status
                )
            complete = not_modified or await self._take(answer)
            body = b"".join(self._held)
            if self._byte_range is not None:
                offset, length = self._byte_range
                body = body[:length] if part else body[offset : offset + length]
                complete = complete and len(body) == length
            return Fetched(
                body,
                complete,
                url,
                answer.charset or "",
                answer.headers.get("ETag", ""),
                answer.headers.get("Last-Modified", ""),
                announced=not_modified or _announced(answer),
                not_modified=not_modified,
                size_bytes=self._size,
            )

    async def _take(self, answer: aiohttp.ClientResponse) -> bool:
        """The body; whether the transfer came to its end."""
        if answer.headers.get("Content-Encoding", "").strip().lower() not in _CODINGS:
            raise UpstreamError("read", self._label, "packed in a way that was not asked for")
        complete = True
        try:
            async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                self._size += len(chunk)
                if self._size > self._limit_bytes:
                    raise UpstreamError(
                        "read", self._label, f"longer than {self._limit_bytes} bytes"
                    )
                self._held.append(chunk)
                self._held_bytes += len(chunk)
                if self._into is not None and self._held_bytes >= _PIECE_BYTES:
                    await self._write(self._into)
                if self._progress is not None:
                    self._progress(self._size, answer.content_length)
        except (
            aiohttp.ClientPayloadError,
            aiohttp.ClientConnectionError,
            ConnectionError,
        ) as error:
            if isinstance(error, TimeoutError):
                raise
            complete = False  # what came is still good for what is new in it
        if self._into is not None:
            await self._write(self._into)
        return complete

    async def _write(self, into: BinaryIO) -> None:
        piece = b"".join(self._held)
        self._held.clear()
        self._held_bytes = 0
        try:
            await asyncio.to_thread(into.write, piece)
        except OSError as error:
            raise StateError("temporary file", error.strerror or "can't be written") from error


def _announced(answer: aiohttp.ClientResponse) -> bool:
    coding = answer.headers.get("Transfer-Encoding", "").lower()
    return "chunked" in coding or answer.content_length is not None
