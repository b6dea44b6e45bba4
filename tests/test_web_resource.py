"""GET of what others have: each hop judged, connected to where it was judged, no secret told."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from certificates import self_signed
from raw_engine import RawEngine, http

from rawstream import http_client
from rawstream.config import Limits, Timeouts
from rawstream.errors import UpstreamError
from rawstream.fetch_policy import Allowed, FetchPolicy
from rawstream.web_resource import WebResource


class Everywhere(FetchPolicy):
    """Allows all, and says of hosts what a test wants."""

    def __init__(self, **hosts: Allowed) -> None:
        super().__init__((), lambda: ())
        self.hosts = {name.replace("_", "."): allowed for name, allowed in hosts.items()}
        self.asked: list[tuple[str, bool]] = []

    async def check(self, url: str, *, came_from_public: bool = False) -> Allowed:
        self.asked.append((url, came_from_public))
        for host, allowed in self.hosts.items():
            if host in url:
                return allowed
        return await super().check(url, came_from_public=came_from_public)


class Taken:
    def __init__(self) -> None:
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data


def resource(url: str, policy: FetchPolicy | None = None) -> WebResource:
    return WebResource(url, policy or Everywhere(), Timeouts.for_tests(), Limits())


async def whole(asked: WebResource) -> bytes:
    """Its body, to the end."""
    taken = Taken()
    await (await asked.open(taken)).ended
    return taken.data


async def failure(asked: WebResource) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await asked.open(Taken())
    return caught.value


async def test_a_lists_secrets_stay_with_their_origin() -> None:
    async with RawEngine() as raw, RawEngine() as other:
        raw.answers["/a"] = b"HTTP/1.1 302 F\r\nLocation: /b\r\n\r\n"
        raw.answers["/b"] = f"HTTP/1.1 302 F\r\nLocation: {other.url}/c\r\n\r\n".encode()
        other.answers["/c"] = http(b"G" * 188, length=False)
        headers = (("User-Agent", "Box/1.0"), ("Cookie", "s=1"), ("authorization", "Bearer t"))
        await whole(WebResource(raw.url + "/a", Everywhere(), Timeouts(), Limits(), headers))
        assert ["Cookie: s=1" in head for head in raw.heads] == [True, True]
        assert "User-Agent: Box/1.0" in other.heads[0]
        assert "Cookie" not in other.heads[0]
        assert "Bearer" not in other.heads[0]


async def test_redirects_are_judged_hop_by_hop_and_relative_ones_stay() -> None:
    async with RawEngine() as raw, RawEngine() as other:
        raw.answers["/a"] = f"HTTP/1.1 302 F\r\nLocation: {other.url}/b/c\r\n\r\n".encode()
        other.answers["/b/c"] = b"HTTP/1.1 301 F\r\nLocation: d?e\r\n\r\n"
        other.answers["/b/d"] = http(b"G" * 188, length=False)
        policy = Everywhere()
        await whole(resource(raw.url + "/a", policy))
        assert policy.asked == [
            (raw.url + "/a", False),
            (other.url + "/b/c", False),
            (other.url + "/b/d?e", False),
        ]


async def test_a_redirect_from_a_public_to_a_private_address_is_refused() -> None:
    async with RawEngine() as raw, RawEngine() as inside:
        raw.answers["/"] = f"HTTP/1.1 302 F\r\nLocation: {inside.url}/x\r\n\r\n".encode()
        policy = Everywhere(tv_example=Allowed(("127.0.0.1",), True))
        port = raw.url.rpartition(":")[2]
        asked = resource(f"http://tv.example:{port}/a", policy)
        error = await failure(asked)
        assert "from a public to a private" in error.reason
        assert inside.heads == []


async def test_once_public_always_public_along_a_chain_of_redirects() -> None:
    async with RawEngine() as raw:
        port = raw.url.rpartition(":")[2]
        raw.answers["/1"] = (
            f"HTTP/1.1 302 F\r\nLocation: http://lan.example:{port}/2\r\n\r\n".encode()
        )
        raw.answers["/2"] = f"HTTP/1.1 302 F\r\nLocation: {raw.url}/3\r\n\r\n".encode()
        policy = Everywhere(
            tv_example=Allowed(("127.0.0.1",), True), lan_example=Allowed(("127.0.0.1",), False)
        )
        asked = resource(f"http://tv.example:{port}/1", policy)
        await failure(asked)
        assert [public for _url, public in policy.asked] == [False, True, True]


async def test_redirects_without_end_are_given_up() -> None:
    async with RawEngine() as raw:
        raw.answers["/"] = b"HTTP/1.1 302 F\r\nLocation: /again\r\n\r\n"
        asked = resource(raw.url + "/a")
        assert "too many redirects" in (await failure(asked)).reason
        assert len(raw.heads) == 4


@pytest.mark.parametrize("target", ["file:///etc/passwd", "http://169.254.169.254/x", "http://[x"])
async def test_a_redirect_to_where_nobody_may_go_is_refused(target: str) -> None:
    async with RawEngine() as raw:
        raw.answers["/"] = f"HTTP/1.1 302 F\r\nLocation: {target}\r\n\r\n".encode()
        asked = resource(raw.url + "/a")
        await failure(asked)
        assert len(raw.heads) == 1


async def test_what_was_judged_is_connected_to_and_the_host_is_still_named() -> None:
    async with RawEngine() as raw:
        raw.answers["/"] = http(b"G" * 188, length=False)
        port = raw.url.rpartition(":")[2]
        policy = Everywhere(tv_example=Allowed(("127.0.0.1",), True))
        await whole(resource(f"http://tv.example:{port}/a", policy))
        assert f"Host: tv.example:{port}\r\n" in raw.heads[0]


async def test_the_next_address_is_tried_when_one_does_not_accept() -> None:
    async with RawEngine() as raw:
        raw.answers["/"] = http(b"G" * 188, length=False)
        port = raw.url.rpartition(":")[2]
        for addresses in (("127.0.0.9", "127.0.0.1"), ("::1", "127.0.0.1")):
            policy = Everywhere(tv_example=Allowed(addresses, True))
            await whole(resource(f"http://tv.example:{port}/a", policy))
        assert len(raw.heads) == 2
        raw.answers["/"] = http("", "404 N")
        policy = Everywhere(tv_example=Allowed(("127.0.0.1", "127.0.0.1"), True))
        await failure(resource(f"http://tv.example:{port}/a", policy))
        assert len(raw.heads) == 3, "an answer is an answer"


async def test_an_error_that_is_shown_has_none_of_the_origins_words() -> None:
    async with RawEngine() as raw:
        raw.answers["/"] = http("SECRET not found", "404 Not Found")
        asked = resource(f"{raw.url}/USER/SECRET/7.ts?token=SECRET")
        error = asked.shown(await failure(asked))
        assert (error.status, error.reason) == (404, "answered 404")
        for text in (asked.label, str(error)):
            assert "SECRET" not in text and "USER" not in text


# -- https --


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for tv.example and its key, made for this test."""
    return self_signed(tmp_path, "tv.example")


@asynccontextmanager
async def secure(
    certificate: tuple[Path, Path], on_name: Callable[[str | None], None]
) -> AsyncIterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.sni_callback = lambda _socket, name, _context: on_name(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http(b"G" * 188, length=False))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def test_https_names_and_checks_the_host_though_an_address_is_connected_to(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    monkeypatch.setattr(http_client, "_context", trusting)
    names: list[str | None] = []
    async with secure(certificate, names.append) as port:
        policy = Everywhere(
            tv_example=Allowed(("127.0.0.1",), True), other_example=Allowed(("127.0.0.1",), True)
        )
        asked = resource(f"https://tv.example:{port}/a", policy)
        assert await whole(asked) == b"G" * 188
        assert names == ["tv.example"]
        wrong = resource(f"https://other.example:{port}/a", policy)
        assert "tls" in (await failure(wrong)).reason


async def test_a_certificate_nobody_vouches_for_is_refused(certificate: tuple[Path, Path]) -> None:
    async with secure(certificate, lambda _name: None) as port:
        policy = Everywhere(tv_example=Allowed(("127.0.0.1",), True))
        asked = resource(f"https://tv.example:{port}/a", policy)
        assert "tls" in (await failure(asked)).reason
