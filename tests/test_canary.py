"""Canaries: random secrets used in a whole session, and then looked for everywhere.

Each canary is a password, a token or an address that holds one. `MAY_BE` says where each kind of
them may be found; anywhere else it is a leak, plain, percent-encoded, in hex or in base64.
"""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import os
import re
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

import orjson
import pytest
from aiohttp import web
from front_door import Heard, ask
from playwright.async_api import Browser, Page, Response, expect
from playwright.async_api import Error as PlaywrightError
from stage import PATIENCE_SECONDS, until
from test_dashboard import PAGES, Operator, browser, operator
from web import serving

from rawstream.config import Config, Limits, Timeouts
from rawstream.logs import JsonLines, TextLines
from rawstream.redaction import RedactingFilter
from rawstream.simulator import EngineSimulator, SimContent, bundled_contents, film_contents
from rawstream.workers import Worker

__all__ = ["browser"]
pytestmark = pytest.mark.timeout(240)

# -- what may be where -----------------------------------------------------------------------------

# kind of a secret -> the places where it may be found
MAY_BE: Final[Mapping[str, frozenset[str]]] = {
    # an account's password: in the answer that made it, and in what its own player is told; of it
    # the database has a hash
    "password": frozenset(("made", "own")),
    # what somebody typed who was refused: a wrong password, a password in the field for the name.
    # The API tells it back to his player, as panels do (Xtream reference §5)
    "typed": frozenset(("typist",)),
    # an account's token stands in for its password where that can't be shown: by it addresses can
    # be had later, so it is kept, until it is taken back
    "account token": frozenset(("made", "addresses", "own", "database")),
    # what operators show: shown once, of it the database has a hash
    "session": frozenset(("made",)),
    "bearer": frozenset(("made",)),
    "link": frozenset(),
    # of one piece of HLS: in the playlist of whose it is
    "signature": frozenset(("own",)),
    # a provider's address: it has to be asked again, and its operator edits it
    "list": frozenset(("list", "database")),
    "source": frozenset(("channel", "database", "upload")),
    # a picture's address is handed to every player, as its list says it
    "logo": frozenset(("channel", "own", "database", "upload")),
    # a webhook: in the configuration, which is a file of the operator's and not ours
    "hook": frozenset(),
    # an address that a viewer of the household plays: told back to who asks for its state by it
    "asked": frozenset(("typist",)),
    # what was refused as a setting or a source
    "refused": frozenset(),
}


def place_of(path: str) -> str:
    """What kind of place an operator's answer is."""
    path = path.partition("?")[0]
    if re.fullmatch(r"/api/v1/lists/\d+", path):
        return "list"  # where it is edited
    if re.fullmatch(r"/api/v1/channels(/\d+)?", path):
        return "channel"
    if re.fullmatch(r"/api/v1/accounts/\d+/urls", path):
        return "addresses"
    if path == "/api/v1/backup":
        return "database"
    if path in ("/api/channels", "/api/v1/guide/grid"):
        return "channel"  # with the pictures' addresses
    return path


class Canary(NamedTuple):
    """`core`: what is looked for, of letters and digits, so that no escaping hides it."""

    name: str
    kind: str
    core: str

    def forms(self) -> set[bytes]:
        plain = self.core.encode()
        found = {plain, plain.upper(), plain.hex().encode(), plain[::-1]}
        found.add("".join(f"%{byte:02x}" for byte in plain).encode())
        found.add("".join(f"%{byte:02X}" for byte in plain).encode())
        for before in range(3):  # base64 of a text that it stands in, wherever that begins
            coded = base64.b64encode(b"\0" * before + plain)
            whole = coded[(0, 2, 3)[before] :].rstrip(b"=")
            found.add(whole[: len(whole) - 1])
        return found


@dataclass
class Aviary:
    """All canaries, and what was found of the world: place, what exactly, its bytes."""

    canaries: list[Canary] = field(default_factory=list)
    seen: list[tuple[str, str, bytes]] = field(default_factory=list)

    def new(self, kind: str, name: str) -> str:
        """A random secret of this kind."""
        return self.known(kind, name, f"cn{secrets.token_hex(9)}")

    def known(self, kind: str, name: str, secret: str) -> str:
        """One that the server has made."""
        assert kind in MAY_BE
        assert len(secret) >= 12
        core = max(re.findall(r"[A-Za-z0-9]+", secret), key=len)
        self.canaries.append(Canary(name, kind, core))
        return secret

    def see(self, place: str, what: str, body: bytes | str) -> None:
        self.seen.append((place, what, body if isinstance(body, bytes) else body.encode()))

    def leaks(self) -> list[str]:
        found = []
        for canary in self.canaries:
            pattern = re.compile(b"|".join(re.escape(form) for form in sorted(canary.forms())))
            for place, what, body in self.seen:
                if place in MAY_BE[canary.kind]:
                    continue
                if (match := pattern.search(body)) is not None:
                    around = body[max(0, match.start() - 60) : match.end() + 20]
                    found.append(f"{canary.name} ({canary.kind}) in {place}: {what}: {around!r}")
        return found


# -- the world around ------------------------------------------------------------------------------

PNG: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
GUIDE: Final = """<tv><channel id="one"><display-name>One</display-name></channel>
<programme start="{start} +0000" stop="{stop} +0000" channel="one"><title>News</title></programme>
</tv>"""


class Provider:
    """A web server whose addresses hold secrets: lists, guides, pictures, streams, hooks."""

    def __init__(self, aviary: Aviary) -> None:
        self.base = ""
        self.hooked = 0
        self.logins = {
            kind: (aviary.new(kind, f"{kind}'s user"), aviary.new(kind, f"{kind}'s password"))
            for kind in ("list", "source", "asked", "hook", "logo", "refused")
        }
        self.clip = bundled_contents()[0].clip.read_bytes()

    def url(self, kind: str, path: str) -> str:
        """`path`: with {0} and {1} for user and password; in front of the host they stand too."""
        user, password = self.logins[kind]
        host = self.base.removeprefix("http://")
        return f"http://{user}:{password}@{host}{path.format(user, password)}"

    def list_text(self) -> str:
        logo = self.url("logo", "/logo/{0}.png?key={1}")
        lines = ["#EXTM3U"]
        for number, (name, path) in enumerate(SOURCES.items()):
            url = self.url("source", path) if path.startswith("/") else path
            lines += [
                f'#EXTINF:-1 tvg-id="one" tvg-logo="{logo}" group-title="G",{name}',
                f"#EXTVLCOPT:http-referrer={self.url('source', f'/ref/{number}')}",
                url,
            ]
        lines += ["#EXTINF:-1,Odd", f"rtmp://{self.url('source', '/x')[7:]}", "#EXTINF"]
        return "\n".join(lines)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path.startswith("/list"):
            return web.Response(text=self.list_text())
        if path.startswith("/guide"):
            day = [time.strftime("%Y%m%d%H%M%S", time.gmtime(time.time() + n)) for n in (-60, 3600)]
            return web.Response(text=GUIDE.format(start=day[0], stop=day[1]))
        if path.startswith("/logo"):
            return web.Response(body=PNG, content_type="image/png")
        if path.startswith("/hook"):
            self.hooked += 1
            return web.Response(status=500, text=str(request.url))
        if path.endswith(".m3u8"):
            body = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n"
            body += "".join(f"#EXTINF:2,\n{request.path_qs}.gone{n}\n" for n in range(3))
            return web.Response(text=body, content_type="application/vnd.apple.mpegurl")
        if path.startswith("/there"):
            answer = web.StreamResponse(headers={"Content-Type": "video/mp2t"})
            await answer.prepare(request)
            try:
                for _ in range(400):
                    await answer.write(self.clip)
                    await asyncio.sleep(0.2)
            except ConnectionError:
                pass
            return answer
        if path.startswith("/moved"):
            raise web.HTTPFound(self.url("source", "/gone/{0}/{1}"))
        return web.Response(status=403, text=f"no {request.url}")


# names of channels, and where they come from
SOURCES: Final = {
    "There": "/there/live/{0}/{1}/1.ts?token={1}",
    "Gone": "/gone/{0}/{1}/2.ts",
    "Token": "/gone/{1}",
    "Moved": "/moved/{0}/{1}/3.ts",
    "Playlist": "/hls/{1}/index.m3u8?key={1}",
    "Nowhere": "http://127.0.0.1:1/live/x/y/4.ts",
    "A film (2020)": "/movie/{0}/{1}/9.mp4",
}


class Session:
    """A running server, and whoever uses it."""

    def __init__(
        self, worker: Worker, provider: Provider, aviary: Aviary, content: SimContent
    ) -> None:
        self.worker = worker
        self.provider = provider
        self.aviary = aviary
        self.content = content
        self.base = f"http://127.0.0.1:{worker.addresses[0][1]}"
        self.cookie = ""
        self.passwords = {name: aviary.new("password", f"{name}'s password") for name in WHO}
        # one that has to be escaped everywhere
        self.passwords["odd"] += " é/%:@&'\""
        self.token = ""
        self._events: asyncio.Task[None] | None = None

    # -- an operator --

    async def rest(
        self, method: str, path: str, body: Any = None, place: str = "", **headers: str
    ) -> Heard:
        raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        if body is not None:
            headers.setdefault("Content_Type", "application/json")
        target = f"/api/v1{path}"
        heard = await ask(
            self.base + target, method, body=raw, **{"Cookie": self.cookie, **headers}
        )
        head = "\n".join(f"{name}: {value}" for name, value in heard.headers.items())
        where = place or place_of(target)
        self.aviary.see(where, f"{method} {target} -> {heard.status}", heard.body)
        self.aviary.see(where, f"{method} {target}, its head", head)
        assert heard.status < 500 or heard.status == 502, (method, path, heard)
        return heard

    async def set_up(self) -> None:
        """From the one-time link to accounts that play."""
        worker, new = self.worker, self.aviary.new
        assert worker.first_link is not None and worker.first_password is not None
        self.aviary.known("link", "one-time link", worker.first_link)
        self.aviary.known("password", "first password", worker.first_password)
        heard = await self.rest("POST", "/session", {"link": worker.first_link}, "made")
        self.cookie = heard.headers["set-cookie"].partition(";")[0]
        self.aviary.known("session", "session of the link", self.cookie.partition("=")[2])
        await self.rest("PATCH", "/accounts/1", {"password": self.passwords["admin"]})
        await self.log_in("admin", self.passwords["admin"])
        for name in WHO[1:]:
            account = {"username": name, "password": self.passwords[name], "max_connections": 9}
            assert (await self.rest("POST", "/accounts", account, "made")).status == 201
            found = await worker.store.accounts.by_name(name)
            assert found is not None
            self.aviary.known("account token", f"{name}'s token", found.token)
        made = (await self.rest("POST", "/accounts/2/reset", {"what": "password"}, "made")).json
        self.passwords["ana"] = self.aviary.known("password", "reset", made["password"])
        made = (await self.rest("POST", "/tokens", {"name": "script"}, "made")).json
        self.token = self.aviary.known("bearer", "bearer token", made["secret"])
        await self.rest("GET", "/accounts", Cookie="", Authorization=f"Bearer {self.token}")
        await self.rest("GET", "/accounts", Cookie="", Authorization=f"Basic {new('typed', 'b')}")

    async def log_in(self, name: str, password: str) -> None:
        given = {"username": name, "password": password}
        heard = await self.rest("POST", "/session", given, "made")
        assert heard.status == 204
        self.cookie = heard.headers["set-cookie"].partition(";")[0]
        self.aviary.known("session", "session", self.cookie.partition("=")[2])

    async def mistype(self) -> None:
        """What is typed, and refused."""
        new, rest = self.aviary.new, self.rest
        typed = new("typed", "wrong password"), new("typed", "password as name")
        await rest("POST", "/session", {"username": "ana", "password": typed[0]})
        await rest("POST", "/session", {"username": typed[1], "password": "x"})
        await rest("POST", "/session", {"username": "ana", "password": self.passwords["ana"]})
        await rest("POST", "/session", {"link": new("typed", "wrong link")})
        await rest("POST", "/session", {new("typed", "field"): 1})
        await rest("POST", "/session", f'{{"password": "{new("typed", "broken")}'.encode())
        long = new("typed", "long password") * 20
        await rest("POST", "/accounts", {"username": "leo", "password": long})
        await rest("POST", "/accounts", {"username": "leo", "password": [typed[0]]})
        await rest("PATCH", "/accounts/2", {"password": {"a": new("typed", "shape")}})
        await rest("PATCH", "/accounts/2", f'{{"password": {new("typed", "no JSON")}'.encode())
        await rest("GET", "/accounts", Cookie=f"rawstream_session={new('typed', 'cookie')}")

    async def refuse(self) -> None:
        """Settings and sources with a login in them that can't be taken."""
        url, rest = self.provider.url, self.rest
        engine = url("refused", "")
        await rest("POST", "/engines", {"url": engine})
        await rest("POST", "/engines/check", {"url": engine})
        await rest("POST", "/engines/check", {"url": f"{engine[:-3]}x{1}"})
        await rest("PATCH", "/settings", {"public_url": url("refused", "/?{1}")})
        await rest("PATCH", "/settings", {"log_level": url("refused", "")})
        for link in ("rtmp", "ftp", "http"):
            bad = url("refused", "/live/{0}/{1}/1.ts").replace("http", link)
            odd = bad.replace("127.0.0.1", "127.0.0.1:x")
            await rest("POST", "/channels", {"name": "Bad", "sources": [{"link": odd}]})
            await rest("PUT", "/channels/999/sources", {"sources": [{"link": bad}]})
            await rest("POST", "/lists", {"kind": "playlist", "url": odd})
            await rest("POST", "/lists/preview", {"kind": "playlist", "url": odd})
        await rest("POST", "/channels", {"name": "B", "sources": [{"kind": bad, "value": bad}]})

    async def import_lists(self) -> None:
        """One that can be read, one that can't, a guide, a text; others only stand there: each is
        read by a process of its own.
        """
        url, results = self.provider.url, self.worker.refresher.results
        for number, (kind, path) in enumerate(LISTS, 1):
            wanted = {"kind": kind, "url": url("list", path), "enabled": number <= READ}
            assert (await self.rest("POST", "/lists", wanted)).status == 201
            if number <= READ:
                await until(lambda number=number: results.total() >= number, "a list is read")
            await self.rest("POST", "/lists", wanted)  # there already
            await self.rest("PATCH", f"/lists/{number}", {"name": f"List {number}"})
        text = {"kind": "playlist", "text": self.provider.list_text()}
        assert (await self.rest("POST", "/lists", text)).status == 201
        await until(lambda: results.total() > READ, "the text is read")
        for number in range(1, len(LISTS) + 2):
            for part in ("", "/result"):
                await self.rest("GET", f"/lists/{number}{part}")
        await self.worker.catalogue.look()

    async def try_lists(self) -> None:
        """Without importing them."""
        for kind, path in LISTS[:2]:
            wanted = {"kind": kind, "url": self.provider.url("list", path)}
            await self.rest("POST", "/lists/preview", wanted)

    # -- players --

    async def player(
        self, target: str, own: bool = True, method: str = "GET", **more: Any
    ) -> Heard:
        """`own`: what is told here is the player's own."""
        heard = await ask(self.base + target, method, **more)
        head = "\n".join(f"{name}: {value}" for name, value in heard.headers.items())
        path, _, query = target.partition("?")
        place = "own" if own and heard.status == 200 else "a refusal"
        if not own and (path == "/player_api.php" or (path == "/ace/status" and "url=" in query)):
            place = "typist"
        self.aviary.see(place, f"{method} {path} -> {heard.status}", heard.body[:1_000_000])
        self.aviary.see(place, f"{method} {path}, its head", head)
        return heard

    async def play_by_xtream(self, name: str) -> None:
        user, password = quote(name), quote(self.passwords[name], safe="")
        login = f"username={user}&password={password}"
        for action in ACTIONS:
            await self.player(f"/player_api.php?{login}&action={action}&stream_id=1&series_id=1")
        form = f"{login}&action=get_live_streams".encode()
        kind = "application/x-www-form-urlencoded"
        await self.player("/player_api.php", True, "POST", body=form, Content_Type=kind)
        for page in ("get.php", "xmltv.php", "panel_api.php", "enigma2.php", "xmltv.php.gz"):
            await self.player(f"/{page}?{login}&type=m3u_plus")
            await self.player(f"/{page}?{login}&type=m3u_plus", True, "HEAD")
        for path in ("playlist", "epg", "player_api"):
            await self.player(f"/{path}/{user}/{password}")
        channels = self.worker.catalogue.current.channels
        for channel in channels:
            by_path = f"{user}/{password}/{channel.id}"
            if channel.kind != "live":
                await self.player(f"/movie/{by_path}.mp4")
                await self.player(f"/streaming/vod.php?{login}&stream={channel.id}")
                continue
            enough = 5000
            heard = await self.player(f"/live/{by_path}.ts", enough=enough)
            assert (heard.status == 200) == (channel.name in ("There", self.content.name)), heard
            if heard.status == 200:
                await self.play_hls(f"/{by_path}.m3u8")
        target = f"/ace/getstream?id={self.content.content_id}&{login}"
        for headers in ({}, {"Via": "1.1 somewhere"}):  # at home, and from nobody knows where
            heard = await self.player(target, enough=5000, **headers)
            assert heard.status == 200
            await self.player(target.replace("getstream", "status"), **headers)
        await self.player(f"/ace/getstream?id={'0' * 40}&{login}", Via="1.1 somewhere")
        for bad in ("nothing", "999999", "1.avi", "1/2", "%00", "1.ts?x=" + "y" * 9000):
            await self.player(f"/live/{user}/{password}/{bad}")
            await self.player(f"/{user}/{password}/{bad}")

    async def play_hls(self, target: str) -> None:
        heard = await self.player(target)
        assert heard.status == 200
        pieces = [line for line in heard.body.decode().splitlines() if line.startswith("/hls/")]
        assert pieces
        for piece in pieces:
            signature = piece.partition("?t=")[2]
            self.aviary.known("signature", "signature", signature)
            await self.player(piece)
        await self.player(f"{pieces[0]}x", own=False)

    async def guess(self) -> None:
        new = self.aviary.new
        for spelling in (
            "/player_api.php?username=ana&password={}",
            "/player_api.php?username={}&password=x&action=get_live_streams",
            "/get.php?username=ana&password={}&type=m3u",
            "/xmltv.php?token={}",
            "/live/ana/{}/1.ts",
            "/live/{}/1.ts",
            "/ana/{}/1",
            "/movie/ana/{}/9.mp4",
            "/playlist/ana/{}",
            "/nothing/at/all/{}",
            "/hls/1/2.ts?t={}",
            "/ace/getstream?id={}",
            "/ace/status?url={}",
            "/static/{}",
            "/logos/{}.png",
            "/api/v1/{}",
            "/status?format={}",
        ):
            heard = await self.player(spelling.format(new("typed", spelling)), own=False)
            assert heard.status in (200, 400, 401, 403, 404, 429)

    async def talk_nonsense(self) -> None:
        """Requests that are none, with a password in them."""
        password = quote(self.passwords["ana"])
        for nonsense in (
            f"GET /live/ana/{password}/1.ts HTTP/9.9\r\n\r\n",
            f"GET /live/ana/{password}/1.ts\r\n\r\n",
            f"GE\0T /live/ana/{password}/1.ts HTTP/1.1\r\n\r\n",
            f"GET /live/ana/{password}/1.ts HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
            f"Content-Length: {password}\r\n\r\n",
            f"GET /live/ana/{password}/1.ts HTTP/1.1\r\nHost: a\r\n{password}\r\n\r\n",
            f"GET /live/ana/{password}/1.ts HTTP/1.1\r\nHost: a\r\nX: {password * 3000}\r\n\r\n",
            f"GET /{password * 1000} HTTP/1.1\r\nHost: a\r\n\r\n",
            f"POST /player_api.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {password}\r\n\r\n",
            f"DELETE /live/ana/{password}/1.ts HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            f"GET http://ana:{password}@h/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            f"CONNECT ana:{password}@h:1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(nonsense.encode())
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    self.aviary.see("a refusal", nonsense[:20], await reader.read())
            except ConnectionError:
                pass
            writer.transport.abort()

    @property
    def port(self) -> int:
        return self.worker.addresses[0][1]

    async def play_at_home(self) -> None:
        """`/ace`, by addresses with a login."""
        for path in ("/there/{0}/{1}/1.ts?k={1}", "/gone/{0}/{1}", "/gone/{1}", "/hls/{1}.m3u8"):
            url = quote(self.provider.url("asked", path), safe="")
            await self.player(f"/ace/getstream?url={url}", own=False, enough=5000)
            await self.player(f"/ace/manifest.m3u8?url={url}", own=False)
            await self.player(f"/ace/status?url={url}", own=False)
            await self.look_at_once()
        odd = quote(self.provider.url("asked", "/x y"), safe="")
        await self.player(f"/ace/getstream?url={odd}", own=False)
        await self.player(f"/ace/getstream?id={self.content.content_id}", own=False, enough=5000)

    # -- what can be looked at --

    async def look_at_once(self) -> None:
        """What shows what is so at this moment."""
        for target, accept in (
            *(("/status", "*/*"), ("/status", "application/json"), ("/metrics", "text/plain")),
            *(("/metrics", "application/openmetrics-text"), ("/ace/status", "*/*")),
            *(("/api/health", "*/*"), ("/api/aceproxy/streams", "*/*"), ("/api/channels", "*/*")),
            *(("/api/aceproxy/stats", "*/*"), ("/api/v1/live", "*/*")),
        ):
            heard = await ask(self.base + target, Accept=accept, Cookie=self.cookie)
            assert heard.status == 200
            self.aviary.see(place_of(target), target, heard.body)

    async def look_at_all(self) -> None:
        await self.look_at_once()
        document = (await ask(f"{self.base}/api/openapi.json", Cookie=self.cookie)).json
        for path, operations in document["paths"].items():
            if "get" not in operations or path.endswith(("/events", "/{name}", "/session")):
                continue
            short = path.removeprefix("/api/v1")
            keys = [one["key"] for one in (await self.rest("GET", "/live")).json["channels"]]
            for number in range(1, 12):
                named = short.replace("{id}", str(number)).replace("{key}", quote([*keys, "-"][0]))
                query = "?limit=1000" if short in ("/channels", "/history", "/lists") else ""
                await self.rest("GET", f"{named}{query}")
                if "{" not in short:
                    break
        await self.rest("GET", "/log?lines=2000&level=debug")
        for ending in ("ts", "m3u8"):
            await self.rest("HEAD", f"/live/play/1.{ending}")

    def listen(self) -> None:
        self._events = asyncio.create_task(self._hear(), name="events")

    async def _hear(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            head = f"Host: a\r\nCookie: {self.cookie}\r\n"
            writer.write(f"GET /api/v1/events HTTP/1.1\r\n{head}\r\n".encode())
            while data := await reader.read(1 << 20):
                self.aviary.see("events", "the stream of events", data)
        finally:
            writer.transport.abort()

    async def hush(self) -> None:
        if self._events is not None:
            self._events.cancel()
            await asyncio.gather(self._events, return_exceptions=True)


LISTS: Final = (
    ("playlist", "/list/get.php?username={0}&password={1}&type=m3u_plus"),
    ("playlist", "/gone/{0}/{1}"),
    ("guide", "/guide/epg/{0}/{1}"),
    ("playlist", "/list/playlist/{0}/{1}"),
    ("playlist", "/gone/get.php?token={1}"),
    ("guide", "/gone/xmltv.php?username={0}&password={1}"),
)
READ: Final = 3  # of them, from the first
WHO: Final = ("admin", "ana", "odd")
ACTIONS: Final = (
    *("", "get_live_categories", "get_live_streams", "get_vod_categories", "get_vod_streams"),
    *("get_series", "get_series_info", "get_vod_info", "get_short_epg", "get_simple_data_table"),
)


class Logs:
    """All that is logged: as it is, as text and as JSON lines."""

    def __init__(self) -> None:
        self.streams: dict[str, io.StringIO] = {}
        self._handlers: list[logging.Handler] = []
        self._root = logging.getLogger()
        self._level = self._root.level
        for name, form in (("raw", logging.Formatter()), ("text", TextLines()), ("j", JsonLines())):
            handler = logging.StreamHandler(stream := io.StringIO())
            handler.setFormatter(form)
            if name != "raw":
                handler.addFilter(RedactingFilter())
            self.streams[name] = stream
            self._handlers.append(handler)

    def __enter__(self) -> Logs:
        self._root.setLevel(logging.DEBUG)
        for handler in self._handlers:
            self._root.addHandler(handler)
        return self

    def __exit__(self, *_: object) -> None:
        self._root.setLevel(self._level)
        for handler in self._handlers:
            self._root.removeHandler(handler)


@asynccontextmanager
async def session(data: Path) -> AsyncIterator[Session]:
    """A server with all that it talks to; at the end everything it left is looked at."""
    aviary = Aviary()
    provider = Provider(aviary)
    content = bundled_contents()[0]
    with Logs() as logs:
        async with (
            serving(provider.answer) as provider.base,
            EngineSimulator([content, *film_contents()], latency=0.0) as engine,
        ):
            hooks = ("/hook/{0}/{1}?key={1}", "/gone/{0}")
            config = Config(
                host="127.0.0.1",
                port=0,
                engines=(engine.url, "http://127.0.0.1:1"),
                data=data,
                webhooks=tuple(provider.url("hook", path) for path in hooks),
                log_level="debug",
                timeouts=Timeouts.for_tests(failure_memory_seconds=0.1),
                limits=Limits(login_failures=100_000),
            )
            worker = Worker(config)
            worker.log_tail.setLevel(logging.DEBUG)
            await worker.start()
            made = Session(worker, provider, aviary, content)
            try:
                yield made
                look_at_files(aviary, data)
            finally:
                await made.hush()
                await worker.stop()
        look_at_files(aviary, data)
        for name, stream in logs.streams.items():
            assert stream.getvalue()
            aviary.see("the log", name, stream.getvalue())


def look_at_files(aviary: Aviary, data: Path) -> None:
    for path in (path for path in data.rglob("*") if path.is_file()):
        name = str(path.relative_to(data))
        place = "database" if name.startswith("rawstream.db") else "a file"
        if name.startswith("uploads/"):  # a list that an operator has sent here
            place = "upload"
        aviary.see(place, name, path.read_bytes())


# -- the sessions ----------------------------------------------------------------------------------


async def test_no_secret_of_a_whole_session_is_where_it_should_not_be(tmp_path: Path) -> None:
    async with session(tmp_path) as made:
        await made.set_up()
        made.listen()
        link = {"link": made.content.content_id}
        await made.rest("POST", "/channels", {"name": made.content.name, "sources": [link]})
        await made.try_lists()
        await made.import_lists()
        await made.mistype()
        await made.refuse()
        await made.guess()
        await made.talk_nonsense()
        await made.look_at_all()
        for name in ("ana", "odd"):
            await made.play_by_xtream(name)
            await made.look_at_once()
        await made.play_at_home()
        await until(lambda: made.provider.hooked, "a webhook was told")
        await made.look_at_all()
        aviary = made.aviary
    leaks = aviary.leaks()
    assert leaks == [], f"{len(leaks)}:\n" + "\n".join(leaks[:60])
    assert hashes_in(aviary) >= len(WHO), "of passwords the database has hashes"


def hashes_in(aviary: Aviary) -> int:
    """How many there are in the database that was left."""
    whole = [body for place, what, body in aviary.seen if what == "rawstream.db"]
    return whole[-1].count(b"$argon2id$")


# what a page holds that is no network: its text and fields, and what the browser keeps for it
HELD: Final = """() => JSON.stringify([document.documentElement.outerHTML,
  [...document.querySelectorAll("input, textarea, select")].map(one => one.value),
  {...localStorage}, {...sessionStorage}, document.cookie, location.href, history.state,
  performance.getEntriesByType("resource").map(one => one.name)])"""


class Watch:
    """What a page is sent, and what it holds."""

    def __init__(self, aviary: Aviary, page: Page) -> None:
        self.aviary = aviary
        self.page = page
        self._reading: set[asyncio.Task[None]] = set()
        page.on("response", self._came)
        page.on("console", lambda message: aviary.see("the console", page.url, message.text))

    def _came(self, response: Response) -> None:
        self._reading.add(asyncio.create_task(self._read(response)))

    async def _read(self, response: Response) -> None:
        path = urlsplit(response.url).path
        if path.startswith("/static/") or path == "/api/v1/events":
            return
        self.aviary.see(place_of(path), f"{path} in the page", await response.body())

    async def look(self, place: str = "a page") -> None:
        while True:
            try:
                held = await self.page.evaluate(HELD)
                break
            except PlaywrightError as error:  # the page was just leaving for another
                if "navigation" not in str(error):
                    raise
        self.aviary.see(place, self.page.url, str(held))
        await asyncio.gather(*self._reading, return_exceptions=True)


async def look_through(one: Operator, watch: Watch) -> None:
    for name in PAGES:
        await one.see(name)
        await watch.look()
    await one.see("lists")
    for summary in await one.page.locator("summary").all():
        await summary.click()
    await watch.look()
    await one.see("accounts")
    await one.button("accounts.urls", name="ana").click()
    await expect(one.field("accounts.playlist")).to_be_visible()
    await watch.look("addresses")  # this dialog is where they are shown
    await one.button("done").click()
    await watch.look()


@pytest.mark.player
async def test_no_secret_is_in_a_page_nor_in_what_a_browser_keeps(
    tmp_path: Path, browser: Browser
) -> None:
    async with session(tmp_path) as made:
        aviary, new = made.aviary, made.aviary.new
        await made.set_up()
        await made.import_lists()
        await made.rest("POST", "/engines", {"url": "http://127.0.0.1:2"})
        await made.player(f"/live/ana/{made.passwords['ana']}/4.ts")
        content = made.content.content_id
        await made.player(f"/ace/getstream?id={content}", own=False, enough=5000)
        boss = await made.worker.store.accounts.by_name("admin")
        assert boss is not None
        link = aviary.known("link", "link in the page", await made.worker.operators.invite(boss))
        async with operator(browser, made.base) as one:
            watch = Watch(aviary, one.page)
            await one.log_in("admin", new("typed", "wrong password"))
            await expect(one.page.get_by_role("alert")).to_be_visible()
            await one.log_in(new("typed", "password as name"), "x")
            await expect(one.page.get_by_role("alert")).to_be_visible()
            await one.get_in("admin", made.passwords["admin"])
            await look_through(one, watch)
        async with operator(browser, made.base) as one:
            watch = Watch(aviary, one.page)
            await one.page.goto(f"{made.base}/setup#{link}")
            await expect(one.page.locator("main h1")).to_be_visible()
            await watch.look()
    leaks = aviary.leaks()
    assert leaks == [], f"{len(leaks)}:\n" + "\n".join(leaks[:60])


# -- what a process says ---------------------------------------------------------------------------


async def serve(data: Path, *arguments: str, **settings: str) -> asyncio.subprocess.Process:
    """`rawstream serve` as a process of its own."""
    command = ("-m", "rawstream", "serve", "--host", "127.0.0.1", "--port", "0")
    return await asyncio.create_subprocess_exec(
        *(sys.executable, *command, "--data", str(data), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {f"RAWSTREAM_{name}": value for name, value in settings.items()},
    )


@pytest.mark.parametrize("form", ["text", "json"])
async def test_a_process_says_its_first_secrets_on_its_terminal_and_none_in_its_log(
    tmp_path: Path, form: str
) -> None:
    aviary = Aviary()
    hook = f"http://127.0.0.1:1/{aviary.new('hook', 'hook')}"
    settings = {"LOG_LEVEL": "debug", "LOG_FORMAT": form, "WEBHOOKS": hook}
    process = await serve(tmp_path, "--engine", "http://127.0.0.1:1", **settings)
    try:
        assert process.stdout is not None and process.stderr is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            account = (await process.stdout.readline()).decode()
            link = (await process.stdout.readline()).decode()
        password = re.findall(r"password (\S+)", account)[0]
        base, secret = re.findall(r"(http://\S+)/setup#(\S+)", link)[0]
        aviary.known("password", "first password", password)
        aviary.known("link", "one-time link", secret)
        login = f"username=admin&password={password}"
        bad = f"username=admin&password={aviary.new('typed', 'wrong password')}"
        asked = f"http://ana:{aviary.new('asked', 'asked')}@127.0.0.1:1/x.ts"
        for target in (
            *(f"/player_api.php?{login}", f"/get.php?{login}", f"/player_api.php?{bad}"),
            *(f"/live/admin/{password}/1.ts", f"/setup?{secret}", f"/{password}/{secret}/1"),
            f"/ace/getstream?url={quote(asked, safe='')}",
        ):
            await ask(base + target)
        given = orjson.dumps({"link": secret})
        heard = await ask(f"{base}/api/v1/session", "POST", body=given)
        assert heard.status == 204
        cookie = heard.headers["set-cookie"].partition(";")[0].partition("=")[2]
        aviary.known("session", "session", cookie)
    finally:
        process.terminate()
        out, log = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    aviary.see("the terminal, later", "stdout", out)
    aviary.see("the log", form, log)
    assert b"answers at" in log and b"failed" in log
    assert aviary.leaks() == []


@pytest.mark.parametrize("name", ["ENGINES", "PUBLIC_URL", "WEBHOOKS"])
async def test_a_wrong_setting_is_told_without_the_login_in_it(tmp_path: Path, name: str) -> None:
    aviary = Aviary()
    user, password = aviary.new("refused", "user"), aviary.new("refused", "password")
    process = await serve(tmp_path, **{name: f"ftp://{user}:{password}@h/?key={password}"})
    out, log = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert process.returncode == 2 and name.encode() in log.upper()
    aviary.see("the log", "stderr", log)
    aviary.see("the terminal", "stdout", out)
    assert aviary.leaks() == []


# -- the net has no holes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelled",
    [
        lambda text: text,
        str.upper,
        lambda text: text.encode().hex(),
        lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
        lambda text: base64.b64encode(f"ana:{text}".encode()).decode(),
        lambda text: base64.urlsafe_b64encode(f"x{text}y".encode()).decode(),
        lambda text: base64.b64encode(f"xy{text}".encode()).decode(),
    ],
)
def test_a_canary_is_found_in_every_spelling(spelled: Callable[[str], str]) -> None:
    aviary = Aviary()
    secret = aviary.new("password", "one")
    aviary.see("made", "where it may be", spelled(secret))
    assert aviary.leaks() == []
    aviary.see("the log", "a line", f"before {spelled(secret)} after")
    assert len(aviary.leaks()) == 1
