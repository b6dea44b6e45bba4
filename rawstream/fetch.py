"""Documents from the web: lists and guides, to a bound, from nowhere they must not come from.

Owns: redirects, bounds on size and time, whether all of a document has come. Must not know: what
the document is, why it is wanted. Streams are `http_client`'s.

Each hop is judged, and connected to one of the very addresses that were judged (`fetch_policy`): a
second look-up of the name might say something else.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from rawstream.engine_client import shown_url
from rawstream.errors import UpstreamError, UpstreamTimeout
from rawstream.fetch_policy import FetchPolicy

# providers refuse what looks like a script (Xtream reference §7)
USER_AGENT: Final = "VLC/3.0.21 LibVLC/3.0.21"
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_PIECE_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Fetched:
    """`complete`: the transfer came to its announced end. `url`: where it was found at last."""

    body: bytes = field(repr=False)
    complete: bool
    url: str = field(repr=False)
    charset: str = ""
    etag: str = field(default="", repr=False)
    last_modified: str = ""


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
    redirects: int = 5,
) -> Fetched:
    """A document of at most `limit_bytes`.

    Raises UpstreamTimeout, UpstreamError: not allowed, not there, no answer, too long. Nothing of
    the URL but what may be shown is in it.
    """
    label, public = shown_url(url), False
    try:
        async with asyncio.timeout(total_seconds):
            for _hop in range(redirects + 1):
                allowed = await policy.check(url, came_from_public=public)
                public = public or allowed.public
                found = await _hop_to(
                    url, label, allowed.addresses, limit_bytes, read_seconds, user_agent
                )
                if isinstance(found, Fetched):
                    return found
                url = urljoin(url, found)
    except TimeoutError as error:
        raise UpstreamTimeout("read", label, "took too long") from error
    except (aiohttp.ClientError, ValueError, OSError) as error:
        raise UpstreamError("read", label, type(error).__name__) from None
    raise UpstreamError("open", label, "too many redirects")


async def _hop_to(
    url: str,
    label: str,
    addresses: tuple[str, ...],
    limit_bytes: int,
    read_seconds: float,
    user_agent: str,
) -> Fetched | str:
    """One request: the document, or where it leads."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=read_seconds, sock_read=read_seconds)
    connector = aiohttp.TCPConnector(resolver=_Judged(addresses), use_dns_cache=False)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session,
        session.get(
            url, allow_redirects=False, headers={"User-Agent": user_agent or USER_AGENT}
        ) as answer,
    ):
        if answer.status in _REDIRECTS and "Location" in answer.headers:
            return answer.headers["Location"]
        if answer.status != 200:
            raise UpstreamError("head", label, f"answered {answer.status}", status=answer.status)
        pieces, size, complete = [], 0, True
        try:
            async for piece in answer.content.iter_chunked(_PIECE_BYTES):
                size += len(piece)
                if size > limit_bytes:
                    raise UpstreamError("read", label, f"longer than {limit_bytes} bytes")
                pieces.append(piece)
        except aiohttp.ClientPayloadError:
            complete = False  # what came is still good for what is new in it
        return Fetched(
            b"".join(pieces),
            complete,
            url,
            answer.charset or "",
            answer.headers.get("ETag", ""),
            answer.headers.get("Last-Modified", ""),
        )
