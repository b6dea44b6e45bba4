"""Who may ask for what (design §2), walked route by route over a running server.

What is expected stands here, in the words of the design, and nothing of it is read from the routes'
own column. Every peer comes over a socket of his own; only the address that the server sees of him
is made up, since no machine has a stranger's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import argon2
import orjson
import pytest
from stage import PATIENCE_SECONDS, until

from rawstream.config import Config, Limits, Timeouts
from rawstream.operators import COOKIE
from rawstream.passwords import Passwords
from rawstream.protocol import ServerConnection
from rawstream.records import Account, Channel, ChannelSource
from rawstream.routes import Route, Router
from rawstream.simulator import EngineSimulator, bundled_contents
from rawstream.workers import Worker

# -- what is expected ------------------------------------------------------------------------------

# Design §2. The first row that a path fits counts; a path that fits none fails the walk, so a new
# route needs a line here.
WHO_MAY: Final = (
    # probes
    (r"/healthz|/readyz|/health|/api/health", "anyone"),
    # what a page needs before anybody has logged in
    (r"/login|/setup|/favicon\.svg|/static/.+", "anyone"),
    # pictures: players send no login with them
    (r"/logos/\{name\}", "anyone"),
    # players, Xtream
    (r"/(player_api|panel_api|get|xmltv|enigma2)\.php", "account"),
    (r"/xmltv\.php\.gz", "account"),
    (r"/(player_api|playlist|epg)/\{user\}/\{password\}(/\{\w+\})?", "account"),
    (r"/(live|movie|series)/(\{user\}/\{password\}|\{token\})/\{id\}", "account"),
    (r"/streaming/(live|clients_live|vod)\.php", "account"),
    (r"/\{user\}/\{password\}/\{id\}", "account"),
    (r"/hls/\{run\}/\{segment\}", "signed"),
    # later
    (r"/timeshift/.+|/streaming/timeshift\.php", "nobody"),
    # players and scripts, AceStream style
    (r"/ace/(getstream|manifest\.m3u8|status)|/webui/api/service", "local"),
    # curl, scripts
    (r"/status|/metrics|/api/aceproxy/stats", "loopback"),
    # operators
    (r"/api/v1/session", "session"),
    (r"/api/v1/.+|/api/openapi\.json|/api/channels|/api/aceproxy/streams", "admin"),
    (r"/", "admin"),
)


def who_may(path: str) -> str:
    for pattern, who in WHO_MAY:
        if re.fullmatch(pattern, path):
            return who
    raise AssertionError(f"{path}: say in WHO_MAY who may ask for it")


def may(who: str, method: str, standing: str, shown: str) -> bool:
    """Whether somebody of this standing (stranger, household, loopback), who shows this, gets past
    the door.
    """
    admin = shown in ("session", "token")
    match who:
        case "anyone" | "nobody":  # there is nothing behind that door, and anyone may hear so
            return True
        case "account":
            return shown == "account"
        case "signed":
            return shown == "account"  # in its URL
        case "local":
            return standing in ("household", "loopback") or shown == "account"
        case "loopback":
            return standing == "loopback" or admin
        case "session":
            return method in ("POST", "OPTIONS") or admin
        case _:
            assert who == "admin"
            return admin


# -- who asks --------------------------------------------------------------------------------------

STRANGER, HOUSEHOLD, LOOPBACK, PROXY = "203.0.113.9", "192.168.1.20", "127.0.0.1", "198.51.100.7"


class Peer(NamedTuple):
    """`address`: what the socket says. `standing`: what he is to be taken for."""

    name: str
    address: str
    standing: str
    headers: Mapping[str, str] = {}


def forwarded(address: str) -> dict[str, str]:
    return {"X-Forwarded-For": address}


PEERS: Final = (
    Peer("a stranger", STRANGER, "stranger"),
    Peer("a stranger, IPv6", "2001:db8::9", "stranger"),
    Peer("the household", HOUSEHOLD, "household"),
    Peer("the household, IPv6", "fd00::20", "household"),
    Peer("loopback", LOOPBACK, "loopback"),
    Peer("a stranger by the proxy", PROXY, "stranger", forwarded(STRANGER)),
    Peer("the household by the proxy", PROXY, "household", forwarded(HOUSEHOLD)),
    Peer("loopback by the proxy", PROXY, "loopback", {"Forwarded": f"for={LOOPBACK}"}),
    Peer("the proxy itself", PROXY, "stranger"),
    Peer("a proxy that is silent", PROXY, "stranger", {"Via": "1.1 proxy"}),
    Peer(
        "a stranger who forges, by the proxy",
        *(PROXY, "stranger", forwarded(f"{LOOPBACK}, {STRANGER}")),
    ),
    Peer(
        "a stranger who forges the other header, by the proxy",
        *(PROXY, "stranger", {"Forwarded": f"for={LOOPBACK}", **forwarded(STRANGER)}),
    ),
    Peer("a stranger who forges", STRANGER, "stranger", forwarded(LOOPBACK)),
    Peer("a stranger who forges newly", STRANGER, "stranger", {"Forwarded": "for=127.0.0.1"}),
    Peer("a stranger who forges X-Real-IP", STRANGER, "stranger", {"X-Real-IP": LOOPBACK}),
    Peer("the household forging", HOUSEHOLD, "stranger", forwarded(LOOPBACK)),
    Peer("an unnamed proxy at loopback", LOOPBACK, "stranger", {"Via": "1.1 127.0.0.1"}),
    Peer("the same, with a claim", LOOPBACK, "stranger", forwarded(LOOPBACK)),
)
# how an address is pretended: the server's side of each socket looks here
PRETENDED: Final = {f"127.0.1.{number}": peer.address for number, peer in enumerate(PEERS, 1)}
SHOWN: Final = ("nothing", "account", "session", "token")


class Answer(NamedTuple):
    """`headers`: lower-case names. `body`: b'' of what has no end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_in(self) -> bool:
        to_login = self.status == 302 and self.headers.get("location") == "login"
        return self.status not in (401, 403) and not to_login


@dataclass
class Caller:
    """One peer's connection, opened again when the server has closed it."""

    peer: Peer
    port: int
    source: str
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None

    async def ask(
        self, target: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> Answer:
        async with asyncio.timeout(PATIENCE_SECONDS):
            if self.writer is None:
                self.reader, self.writer = await asyncio.open_connection(
                    "127.0.0.1", self.port, local_addr=(self.source, 0)
                )
            assert self.reader is not None
            lines = {"Host": "tv.example", "Content-Length": "0", **self.peer.headers}
            if method in ("GET", "HEAD", "OPTIONS"):
                del lines["Content-Length"]
            lines |= headers or {}
            head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
            self.writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode())
            status, *found = (
                (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
            )
            pairs = (line.split(":", 1) for line in found if line)
            told = {name.lower(): value.strip() for name, value in pairs}
            number = int(status.split()[1])
            length = int(told.get("content-length", "-1"))
            body = b""
            if method != "HEAD" and length > 0:
                body = await self.reader.readexactly(length)
            if told.get("connection", "").lower() == "close" or (
                length < 0 and number not in (204, 304)
            ):
                self.close()
        return Answer(number, told, body)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.transport.abort()
            self.reader = self.writer = None


@dataclass
class House:
    """A running server, who calls at it, and what they may show."""

    worker: Worker
    content: str
    callers: dict[str, Caller] = field(default_factory=dict)
    account: dict[str, str] = field(default_factory=dict)  # of a player: user, password, token
    session: str = ""
    token: str = ""

    @property
    def table(self) -> tuple[Route, ...]:
        return cast(Router, self.worker.server.handler).table

    async def log_in(self) -> None:
        self.session = await self.worker.operators.log_in("boss", "admins", LOOPBACK)

    def target(self, path: str, shown: str) -> str:
        """A URL of this route. What it names besides is not there, or would change nothing."""
        given = {
            **{"user": "nobody", "password": "nothing", "token": "n0token"},
            **{"id": "999999", "key": "ab" * 20, "upload_id": "999999", "name": "999999.ts"},
            **{"folder": "vendor", "run": "r", "segment": "s.ts"},
            **{"action": "get_live_categories", "type": "m3u_plus", "gz": "gz", "stamp": "0"},
            **{"duration": "60", "start": "2026-01-01:10-00"},
        }
        if path == "/":
            return path
        if shown == "account":
            given |= self.account
        said = re.sub(r"\{(\w+)\}", lambda found: given[found[1]], path)
        query = {"/webui/api/service": "method=get_version"}.get(path, "")
        if shown == "account" and "{user}" not in path and "{token}" not in path:
            query += f"&username={given['user']}&password={given['password']}"
        return f"{said}?{query.strip('&')}" if query else said

    def headers(self, shown: str, path: str) -> dict[str, str]:
        match shown:
            case "session":
                return {"Cookie": f"{COOKIE}={self.session}"}
            case "token":
                return {"Authorization": f"Bearer {self.token}"}
            case "account" if not path.startswith("/hls/"):  # in every place that there is
                token = self.account["token"]
                return {"Authorization": f"Bearer {token}", "Cookie": f"{COOKIE}={token}"}
        return {}


@asynccontextmanager
async def house(data: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    whole = ServerConnection.connection_made

    def connection_made(self: ServerConnection, transport: asyncio.BaseTransport) -> None:
        whole(self, transport)
        self.peer = (PRETENDED.get(self.peer[0], self.peer[0]), self.peer[1])

    monkeypatch.setattr(ServerConnection, "connection_made", connection_made)
    content = bundled_contents()[0]
    async with EngineSimulator([content], latency=0.0) as engine:
        config = Config(
            host="127.0.0.1",
            port=0,
            engines=(engine.url,),
            data=data,
            trusted_proxies=(f"{PROXY}/32",),
            login_failure_status=401,
            timeouts=Timeouts.for_tests(),
            limits=Limits(login_failures=100_000),
        )
        worker = Worker(config)
        cheap = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        worker._passwords = Passwords(hasher=cheap)
        await worker.start()
        made = House(worker, content.content_id)
        try:
            await furnish(made)
            yield made
        finally:
            for caller in made.callers.values():
                caller.close()
            await worker.stop()


async def furnish(made: House) -> None:
    worker, passwords = made.worker, made.worker._passwords
    made.account = {"user": "ana", "password": "players", "token": "ana5t0ken"}
    for account in (
        Account(0, "ana", await passwords.hash("players"), token="ana5t0ken"),
        Account(0, "boss", await passwords.hash("admins"), admin=True),
    ):
        await worker.store.accounts.add(account)
    source = ChannelSource("content_id", made.content)
    await worker.store.lineup.add_channel(Channel(1, "One", sources=(source,)))
    await worker.accounts.reload()
    await worker.catalogue.look()
    await made.log_in()
    operator = worker.operators._good(made.session, "session")
    assert operator is not None
    _made, made.token = await worker.operators.add_token(operator, "script")
    for (source_address, _), peer in zip(PRETENDED.items(), PEERS, strict=True):
        made.callers[peer.name] = Caller(peer, worker.addresses[0][1], source_address)


def every(made: House) -> Iterator[tuple[Route, str]]:
    for route in made.table:
        for method in route.methods:
            yield route, method


# -- the walk --------------------------------------------------------------------------------------


@pytest.mark.timeout(240)
async def test_every_route_is_open_to_whom_the_design_names_and_to_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path, monkeypatch) as made:
        wrong: list[str] = []
        walked = set()
        for route, method in every(made):
            who = who_may(route.path)
            if who == "signed":
                continue  # needs what is on air: below
            walked.add(who)
            for peer in PEERS:
                caller = made.callers[peer.name]
                for shown in SHOWN:
                    target = made.target(route.path, shown)
                    answer = await caller.ask(target, method, made.headers(shown, route.path))
                    expected = may(who, method, peer.standing, shown)
                    if answer.is_in != expected or answer.status >= 500:
                        told = f"{answer.status}, {'in' if expected else 'out'} was expected"
                        wrong.append(f"{method} {target} {peer.name}, {shown}: {told}")
                    if not expected:
                        assert len(answer.body) < 400, "a refusal tells nothing"
                    if method == "DELETE" and route.path.endswith("/session"):
                        await made.log_in()
                        if shown == "token" and answer.is_in:
                            await furnish_token(made)
        assert wrong == [], f"{len(wrong)}:\n" + "\n".join(wrong[:40])
        assert walked == {who for _, who in WHO_MAY} - {"signed"}


async def furnish_token(made: House) -> None:
    """Another, when the one there was has logged itself out."""
    operator = made.worker.operators._good(made.session, "session")
    assert operator is not None
    _made, made.token = await made.worker.operators.add_token(operator, "script")


def test_a_route_that_nobody_thought_of_fails_the_walk() -> None:
    with pytest.raises(AssertionError, match="WHO_MAY"):
        who_may("/api/secrets")
    with pytest.raises(AssertionError, match="WHO_MAY"):
        who_may("/status/all")


def test_each_line_of_the_expectation_is_needed() -> None:
    """The first that fits counts: none may hide another."""
    patterns = [pattern for pattern, _who in WHO_MAY]
    assert len(patterns) == len(set(patterns))
    assert who_may("/api/v1/session") == "session"
    assert who_may("/api/v1/live/play/{name}") == "admin"
    assert who_may("/live/{user}/{password}/{id}") == "account"


async def test_what_is_behind_the_doors_that_anyone_may_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Probes without detail; the page to log in, not the dashboard."""
    async with house(tmp_path, monkeypatch) as made:
        stranger = made.callers["a stranger"]
        for path, body in (("/healthz", b"ok\n"), ("/health", b"ok\n"), ("/readyz", b"ready\n")):
            assert (await stranger.ask(path)).body == body
        account = made.headers("account", "/api/health")
        for headers in ({}, account):
            answer = await stranger.ask("/api/health", headers=headers)
            assert orjson.loads(answer.body).keys() == {"status"}
        detail = await stranger.ask("/api/health", headers=made.headers("token", ""))
        assert orjson.loads(detail.body).keys() > {"status"}
        assert (await stranger.ask("/")).headers["location"] == "login"
        login = (await stranger.ask("/login")).body
        assert b"door.js" in login and b"app.js" not in login


async def test_only_an_admin_logs_in_and_with_his_password_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path, monkeypatch) as made:
        caller = made.callers["a stranger"]

        async def log_in(**given: Any) -> int:
            body = orjson.dumps(given).decode()
            headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
            caller.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", caller.port)
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            target = "POST /api/v1/session HTTP/1.1\r\nHost: tv\r\n"
            writer.write(f"{target}{head}\r\n{body}".encode())
            line = await reader.readline()
            writer.transport.abort()
            return int(line.split()[1])

        assert await log_in(username="boss", password="admins") == 204
        assert await log_in(username="boss", password="wrong") == 403
        assert await log_in(username="ana", password="players") == 403
        assert await log_in(username="ana", password="ana5t0ken") == 403
        assert await log_in(username="ana5t0ken", password="ana5t0ken") == 403
        assert await log_in(link=made.session) == 403
        assert await log_in(link=made.token) == 403


async def test_one_credential_does_not_stand_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session's secret as a bearer token, a token as a cookie, the link of the first start."""
    async with house(tmp_path, monkeypatch) as made:
        caller, link = made.callers["loopback"], made.worker.first_link
        assert link is not None
        for headers in (
            {"Authorization": f"Bearer {made.session}"},
            {"Cookie": f"{COOKIE}={made.token}"},
            {"Authorization": f"Bearer {link}"},
            {"Cookie": f"{COOKIE}={link}"},
            {"Authorization": "Basic Ym9zczphZG1pbnM="},  # boss:admins
            {"Cookie": f"{COOKIE}="},
            {"Authorization": "Bearer"},
            {"Authorization": "Bearer wrong", "Cookie": f"{COOKIE}={made.session}"},
        ):
            answer = await caller.ask("/api/v1/accounts", headers=headers)
            assert answer.status == 401, headers


async def test_an_admin_who_is_none_any_more_is_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path, monkeypatch) as made:
        caller, worker = made.callers["loopback"], made.worker
        boss = await worker.store.accounts.by_name("boss")
        assert boss is not None
        changes: tuple[dict[str, Any], ...] = (
            {"enabled": False},
            {"expires_at": 1},
            {"admin": False},
        )
        for change in changes:
            for shown in ("session", "token"):
                answer = await caller.ask("/api/v1/live", headers=made.headers(shown, ""))
                assert answer.status == 200
            await worker.store.accounts.set(replace(boss, **change))
            await worker.accounts.reload()
            for shown in ("session", "token"):
                for path in ("/api/v1/live", "/api/channels"):
                    answer = await caller.ask(path, headers=made.headers(shown, ""))
                    assert answer.status == 401, (change, shown)
            await worker.store.accounts.set(boss)
            await worker.accounts.reload()


OTHER_SPELLINGS: Final = (
    *("/status/", "//status", "/./status", "/x/../status", "/%73tatus", "/status%00"),
    *("/STATUS", "/status;x", "/status?format=json", "http://127.0.0.1/status", "/metrics/"),
    *("/api/v1/accounts/", "//api/v1/accounts", "/api//v1/accounts", "/api/v1/../v1/accounts"),
    *("/static/../api/openapi.json", "/api%2Fv1%2Faccounts", "/static/0/..%2F..%2Fstatus"),
    *("/logos/..%2Frawstream.db", "/static/%2e%2e/__init__.py", "/static/0/../../cli.py"),
    *("/logos/../rawstream.db", "/logos//etc/passwd", "/ace/status/", "/ace/../status"),
)


async def test_no_other_spelling_opens_a_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path, monkeypatch) as made:
        for target in OTHER_SPELLINGS:
            for name in ("a stranger", "a stranger who forges"):
                headers = {"Host": "127.0.0.1", "Origin": "http://127.0.0.1"}
                answer = await made.callers[name].ask(target, headers=headers)
                assert answer.status in (400, 401, 403, 404), (target, answer)


# -- pieces of HLS: who has a good URL -------------------------------------------------------------


async def test_a_piece_of_hls_is_his_who_has_its_signed_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path, monkeypatch) as made:
        stranger = made.callers["a stranger"]
        user, password = made.account["user"], made.account["password"]
        refused = await stranger.ask(f"/live/{user}/wrong/1.m3u8")
        assert refused.status == 403
        answer = await stranger.ask(f"/live/{user}/{password}/1.m3u8")
        assert answer.status == 200
        pieces = [line for line in answer.body.decode().splitlines() if line.startswith("/hls/")]
        assert pieces
        path, _, signature = pieces[-1].partition("?t=")
        for peer in PEERS:
            caller = made.callers[peer.name]
            for shown in ("nothing", "session", "token"):
                headers = made.headers(shown, path)
                for bad in ("", "?t=", f"?t={signature[:-2]}", f"?t={'A' * len(signature)}"):
                    assert (await caller.ask(path + bad, headers=headers)).status == 403
                other = path.replace("/hls/", "/hls/x", 1)
                assert (await caller.ask(f"{other}?t={signature}")).status == 404
        for method in ("GET", "HEAD"):
            assert (await stranger.ask(pieces[-1], method)).status == 200
        ana = cast(Account, await made.worker.store.accounts.by_name("ana"))
        await made.worker.store.accounts.set(replace(ana, enabled=False))
        await made.worker.accounts.reload()
        assert (await stranger.ask(pieces[-1])).status == 403


# -- what plays ------------------------------------------------------------------------------------


async def test_a_content_plays_for_the_household_and_for_no_stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path, monkeypatch) as made:
        target = f"/ace/getstream?id={made.content}"
        for peer in PEERS:
            answer = await made.callers[peer.name].ask(target, "HEAD")
            expected = 403 if peer.standing == "stranger" else 200
            assert answer.status == expected, peer.name
        answer = await made.callers["the household by the proxy"].ask(target)
        assert answer.status == 200
        shown = made.worker.hub.snapshot().channels
        assert [viewer.address for viewer in shown[0].viewers] == [HOUSEHOLD]
        await until(lambda: made.worker.hub.snapshot().viewers == 0, "he has left")


async def test_a_stranger_with_an_account_plays_what_his_line_up_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path, monkeypatch) as made:
        login = f"username={made.account['user']}&password={made.account['password']}"
        his, other = f"/ace/getstream?id={made.content}", f"/ace/getstream?id={'0' * 40}"
        for name in ("a stranger", "a stranger who forges", "the proxy itself"):
            caller = made.callers[name]
            for target, status in (
                *((his, 403), (f"{his}&username=ana&password=wrong", 403)),
                *((f"{his}&token=wrong", 403), (f"{his}&username=&password=", 403)),
                *((f"{other}&{login}", 404), (f"{his}&{login}", 200)),
                (f"{his}&token={made.account['token']}", 200),
            ):
                answer = await caller.ask(target, "HEAD")
                assert answer.status == status, (name, target)
        caller = made.callers["a stranger"]
        assert (await caller.ask(f"{his}&{login}")).status == 200
        (viewer,) = made.worker.hub.snapshot().channels[0].viewers
        assert (viewer.address, viewer.account) == (STRANGER, "ana")
        caller.close()
        await until(lambda: made.worker.hub.snapshot().viewers == 0, "he has left")


# -- pages of other sites --------------------------------------------------------------------------

FOREIGN: Final = (
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://tv.example.evil.example"},
    {"Origin": "http://tv.example:81"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://tv.example"},
    {"Sec-Fetch-Site": "same-site"},
)
OWN: Final = (
    {"Origin": "http://tv.example"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://tv.example"},
    {"Sec-Fetch-Site": "none"},
)


async def test_a_page_of_another_site_changes_nothing_with_an_admins_cookie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path, monkeypatch) as made:
        caller = made.callers["loopback"]
        changing = [
            (route.path, method)
            for route, method in every(made)
            if method not in ("GET", "HEAD") and who_may(route.path) in ("admin", "session")
        ]
        assert len(changing) >= 40
        for path, method in changing:
            target = made.target(path, "session")
            for said in FOREIGN:
                headers = {**made.headers("session", path), **said}
                answer = await caller.ask(target, method, headers)
                assert answer.status == 403, (method, path, said)
        for said in OWN:  # the same from a page of ours is heard
            headers = {**made.headers("session", ""), **said}
            assert (await caller.ask("/api/v1/accounts/999999", "DELETE", headers)).status == 404
        for said in FOREIGN:  # a token no page of another site knows
            headers = {**made.headers("token", ""), **said}
            assert (await caller.ask("/api/v1/accounts/999999", "DELETE", headers)).status == 404


async def test_no_page_of_another_site_reads_what_operators_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path, monkeypatch) as made:
        caller = made.callers["loopback"]
        for route in made.table:
            if who_may(route.path) not in ("admin", "session", "loopback"):
                continue
            target = made.target(route.path, "session")
            headers = {**made.headers("session", ""), "Origin": "http://evil.example"}
            for method in ("HEAD", "OPTIONS"):
                answer = await caller.ask(target, method, headers)
                assert not any(name.startswith("access-control") for name in answer.headers)
