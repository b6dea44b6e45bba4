"""Behind nginx, with TLS and under a path, as docs/reverse-proxy.md says: every URL leads back, and
HLS segments are fetched once.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import os
import pwd
import re
import shutil
import signal
import socket
import ssl
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from front_door import Heard, ask, front_door, run
from players import ORDINARY_USER, player_command
from stage import PATIENCE_SECONDS, quick_contents
from test_urls import FORGED
from web import serving

from rawstream.simulator import SimContent

pytestmark = [pytest.mark.player]

DOCUMENT = Path(__file__).parent.parent / "docs" / "reverse-proxy.md"
QUERY = "username=demo&password=demo"
MAIN = """
daemon off;
pid {folder}/nginx.pid;
worker_processes 1;
worker_rlimit_nofile 4096;
events {{ worker_connections 2048; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{server}
}}
"""


class Proxied(NamedTuple):
    """`outside`: our address as the world sees it. `tls`: trusts the certificate there."""

    outside: str
    tls: ssl.SSLContext

    async def ask(self, url: str, method: str = "GET", **more: Any) -> Any:
        return await ask(url, method, tls=self.tls, **more)


def documented() -> str:
    """The server block of the document."""
    found = re.search(r"```nginx\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def exchanged(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert old in text, f"{DOCUMENT.name} no longer says {old!r}"
        text = text.replace(old, new)
    return text


def write_certificate(folder: Path) -> None:
    """A certificate of 127.0.0.1 and its key, both made now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rawstream test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def make_config(folder: Path, inside: str, port: int, prefix: str) -> None:
    text = exchanged(
        documented(),
        ("8443 ssl", f"127.0.0.1:{port} ssl"),
        ("/etc/letsencrypt/live/tv.example.org/fullchain.pem", f"{folder}/certificate.pem"),
        ("/etc/letsencrypt/live/tv.example.org/privkey.pem", f"{folder}/key.pem"),
        ("http://127.0.0.1:58055", inside),
        ("/var/cache/nginx/rawstream", f"{folder}/cache"),
    )
    if not prefix:
        text = exchanged(text, ("location /tv/", "location /"))
        text = re.sub(r".*X-Forwarded-Prefix.*\n", "", text)
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, server=text))


@asynccontextmanager
async def nginx(inside: str, prefix: str = "/tv") -> AsyncIterator[Proxied]:
    """nginx as an ordinary user in front of the server at `inside`."""
    folder = Path(tempfile.mkdtemp(prefix="rawstream-nginx-"))
    port = free_port()
    try:
        write_certificate(folder)
        make_config(folder, inside, port, prefix)
        if os.geteuid() == 0:
            user = pwd.getpwnam(ORDINARY_USER)
            for path in (folder, *folder.iterdir()):
                os.chown(path, user.pw_uid, user.pw_gid)
        process = await asyncio.create_subprocess_exec(
            *player_command("nginx", "-e", "stderr", "-p", str(folder)),
            *("-c", str(folder / "nginx.conf")),
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not await accepts(port):
                    assert process.returncode is None, (await process.stderr.read()).decode()
                    await asyncio.sleep(0.05)
            tls = ssl.create_default_context(cafile=str(folder / "certificate.pem"))
            yield Proxied(f"https://127.0.0.1:{port}{prefix}", tls)
        finally:
            if (pid := folder / "nginx.pid").exists():
                os.kill(int(pid.read_text()), signal.SIGTERM)  # runuser would remark on its own end
            complaints = (await process.stderr.read()).decode()
            await process.wait()
        assert complaints == ""
    finally:
        shutil.rmtree(folder)


async def accepts(port: int) -> bool:
    try:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize("prefix", ["/tv", ""], ids=["a path", "a name of its own"])
async def test_every_url_leads_back_through_the_proxy(tmp_path: Path, prefix: str) -> None:
    async with (
        front_door(tmp_path, trusted_proxies=("127.0.0.1",)) as (_worker, inside),
        nginx(inside, prefix) as proxy,
    ):
        base = proxy.outside
        listed = await proxy.ask(f"{base}/get.php?{QUERY}&type=m3u_plus&output=ts")
        assert listed.status == 200
        text = listed.body.decode()
        streams = re.findall(r"^https?://.*$", text, re.MULTILINE)
        assert len(streams) == 4
        for url in streams:
            assert url.startswith(f"{base}/live/demo/demo/")
            head = await proxy.ask(url, "HEAD")
            assert (head.status, head.headers["content-type"]) == (200, "video/mp2t")
            played = await proxy.ask(url, enough=100 * 188)
            assert (played.status, played.headers["content-type"]) == (200, "video/mp2t")
            assert not {"content-length", "transfer-encoding"} & set(played.headers)
            assert played.body[::188] == b"G" * 100
        guides = re.findall(r'(?:url-tvg|x-tvg-url)="([^"]*)"', text)
        assert guides == [f"{base}/xmltv.php?{QUERY}"] * len(guides)
        guide = await proxy.ask(guides[0])
        assert (guide.status, guide.body[:5]) == (200, b"<?xml")
        assert text.count('tvg-id="') == guide.body.count(b"<channel id=") == 4
        # a player makes its URLs of these four, and knows no prefix
        info = (await proxy.ask(f"{base}/player_api.php?{QUERY}")).json["server_info"]
        outside = urlsplit(base)
        assert (info["server_protocol"], info["url"]) == ("https", outside.hostname)
        assert info["port"] == info["https_port"] == str(outside.port)
        enigma = (await proxy.ask(f"{base}/enigma2.php?{QUERY}")).body.decode()
        for url in re.findall(r"<playlist_url><!\[CDATA\[(.*?)\]\]", enigma):
            assert url.startswith(f"{base}/enigma2.php?")
            assert (await proxy.ask(url)).status == 200


async def test_a_player_plays_through_the_proxy_without_an_error_line(tmp_path: Path) -> None:
    async with (
        front_door(tmp_path, trusted_proxies=("127.0.0.1",)) as (_worker, inside),
        nginx(inside) as proxy,
    ):
        status, out, err = await run(
            *player_command("ffmpeg", "-hide_banner", "-v", "error", "-nostdin", "-t", "2"),
            *("-i", f"{proxy.outside}/live/demo/demo/1.ts", "-f", "null", "-"),
        )
        assert (status, out, err) == (0, "", "")


async def test_a_viewer_behind_the_proxy_counts_by_his_own_address(tmp_path: Path) -> None:
    """And what he says of it himself does not get through."""
    async with (
        front_door(tmp_path, trusted_proxies=("127.0.0.1",)) as (_worker, inside),
        nginx(inside) as proxy,
    ):
        plain = await proxy.ask(f"{proxy.outside}/get.php?{QUERY}")
        forged = await proxy.ask(
            f"{proxy.outside}/get.php?{QUERY}",
            **FORGED,
            x_forwarded_for="203.0.113.7",
        )
        assert forged.body == plain.body
        # an operator is one by his address, and 127.0.0.1 is what nginx has seen
        stranger = {"x_forwarded_for": "203.0.113.7"}
        assert (await proxy.ask(f"{proxy.outside}/status", **stranger)).status == 200
        assert (await ask(f"{inside}/status", **stranger)).status == 403


@pytest.mark.parametrize(
    "path", ["get.php?{}&type=m3u_plus", "player_api.php?{}", "xmltv.php?{}", "enigma2.php?{}"]
)
async def test_whoever_is_no_trusted_proxy_moves_no_url(tmp_path: Path, path: str) -> None:
    async with front_door(tmp_path) as (_worker, url):
        asked = f"{url}/{path.format(QUERY)}"
        plain, forged = await ask(asked), await ask(asked, **FORGED)
        assert (plain.status, forged.status) == (200, 200)
        clock = re.compile(rb'"time(?:stamp)?_now":[^,}]*')
        assert clock.sub(b"", forged.body) == clock.sub(b"", plain.body)
        assert b"evil" not in forged.body
        assert plain.body.count(url.encode()) == forged.body.count(url.encode())


# -- HLS through the cache --

WATCHERS = 200
SHARED = 3  # segments that each of them asks for


@asynccontextmanager
async def counted(inside: str) -> AsyncIterator[tuple[str, Counter[str]]]:
    """What passes everything on to the server at `inside`; its address, and how often each path was
    asked for.
    """
    asked: Counter[str] = Counter()
    passed_on = ("accept-encoding", "if-none-match", "user-agent")

    async def answer(request: web.Request) -> web.Response:
        asked[request.path] += 1
        named = {name: request.headers[name] for name in passed_on if name in request.headers}
        forwarded = {k: v for k, v in request.headers.items() if k.startswith("X-Forwarded")}
        heard = await ask(inside + request.path_qs, **named, **forwarded)
        dropped = {"content-length", "connection", "date", "transfer-encoding"}
        headers = {name: text for name, text in heard.headers.items() if name not in dropped}
        return web.Response(status=heard.status, body=heard.body, headers=headers)

    async with serving(answer) as base:
        yield base, asked


@asynccontextmanager
async def cached(
    data: Path, contents: list[SimContent]
) -> AsyncIterator[tuple[Proxied, Counter[str]]]:
    """A server behind nginx, and what nginx asks it for."""
    async with (
        front_door(data, contents=contents, trusted_proxies=("127.0.0.1",)) as (_worker, inside),
        counted(inside) as (between, asked),
        nginx(between) as proxy,
    ):
        yield proxy, asked


def segments_of(playlist: Heard) -> list[str]:
    assert (playlist.status, playlist.headers["cache-control"]) == (200, "no-store")
    return [line for line in playlist.body.decode().splitlines() if line.startswith("/")]


async def window_of(proxy: Proxied, path: str, **headers: str) -> list[str]:
    """The segments' URLs, as soon as there are some."""
    base = proxy.outside.removesuffix("/tv")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            playlist = await proxy.ask(f"{proxy.outside}{path}", **headers)
            if playlist.status == 200 and len(segments_of(playlist)) >= SHARED:
                return [base + uri for uri in segments_of(playlist)]
            await asyncio.sleep(0.05)


async def test_many_watchers_cost_one_request_per_segment(tmp_path: Path) -> None:
    contents = quick_contents()
    path = f"/ace/manifest.m3u8?id={contents[0].content_id}"
    async with cached(tmp_path, contents) as (proxy, asked):

        async def watch(number: int) -> tuple[str, list[Heard]]:
            own = {"user_agent": f"watcher {number}", "accept_encoding": ("gzip", "br")[number % 2]}
            urls = (await window_of(proxy, path, **own))[-SHARED:]
            return urls[0].partition("?")[2], [await proxy.ask(url, **own) for url in urls]

        watched = await asyncio.gather(*(watch(number) for number in range(WATCHERS)))
    tokens = [token for token, _heard in watched]
    assert len(set(tokens)) == WATCHERS
    for _token, answers in watched:
        assert [heard.status for heard in answers] == [200] * SHARED
        for heard in answers:
            assert heard.headers["content-type"] == "video/mp2t"
            assert heard.headers["access-control-allow-origin"] == "*"
            assert heard.body[::188] == b"G" * (len(heard.body) // 188)
    segments = {name: count for name, count in asked.items() if name.startswith("/hls/")}
    assert len(segments) >= SHARED
    assert set(segments.values()) == {1}


async def test_a_wrong_token_is_refused_and_the_refusal_is_not_kept(tmp_path: Path) -> None:
    contents = quick_contents()
    path = "/live/demo/demo/1.m3u8"
    async with cached(tmp_path, contents) as (proxy, asked):
        url = (await window_of(proxy, path))[-1]
        bare, _, token = url.partition("?t=")
        wrong = token[:5] + ("A" if token[5] != "A" else "B") + token[6:]
        for bad in (f"{bare}?t={wrong}", f"{bare}?t=", bare, f"{bare}?t={wrong}"):
            assert (await proxy.ask(bad)).status == 403
        name = urlsplit(bare).path.removeprefix("/tv")
        assert asked[name] == 4
        good = await proxy.ask(url)
        assert (good.status, asked[name]) == (200, 5)
        # from here on nginx answers
        again = await proxy.ask(url, if_none_match=good.headers["etag"])
        assert (again.status, again.body) == (304, b"")
        assert asked[name] == 5
        gone = await proxy.ask(f"{bare[:-6]}xxx.ts?t={token}")
        assert gone.status == 404


async def test_a_player_plays_hls_through_the_cache_without_an_error_line(tmp_path: Path) -> None:
    async with (
        front_door(tmp_path, trusted_proxies=("127.0.0.1",)) as (_worker, inside),
        nginx(inside) as proxy,
    ):
        status, out, err = await run(
            *player_command("ffmpeg", "-hide_banner", "-v", "error", "-nostdin", "-t", "10"),
            *("-i", f"{proxy.outside}/live/demo/demo/1.m3u8", "-f", "null", "-"),
        )
        assert (status, out, err) == (0, "", "")
