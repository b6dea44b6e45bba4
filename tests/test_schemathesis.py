"""The document walked by schemathesis over a running server: nothing that it does not say.

Whatever is asked, right or wrong, no answer is a 5xx, every status is documented, and media type,
headers and body are what the document says. What the server fetches is on loopback.

`RAWSTREAM_WALK_EXAMPLES` and `RAWSTREAM_WALK_SEED` are for longer walks by hand.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, from_schema
from schemathesis.engine.events import NonFatalError, ScenarioFinished
from stage import Stage, quick_contents, stage

from rawstream import http_client
from rawstream.config import LOOPBACK_NETWORKS
from rawstream.errors import UpstreamError
from rawstream.operators import Operator
from rawstream.records import Account, Channel, ChannelSource, ListSource
from rawstream.simulator import film_contents
from rawstream.store_credentials import Credential

EXAMPLES: Final = int(os.environ.get("RAWSTREAM_WALK_EXAMPLES", "10"))
SEED: Final = int(os.environ.get("RAWSTREAM_WALK_SEED", "0"))
CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "missing_required_header",
    "use_after_free",
    "ensure_resource_availability",
    "unsupported_method",
    "allow_header_conformance",
)
# TRACE and what nobody knows is 501 (RFC 9110 §9.1) for any path, before the document counts
METHODS: Final = ("GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS")
IDS: Final = (1, 2, 3)  # there is something under each of these, and a channel under the last one
FILM: Final = 3
PLAYED: Final = ("1.ts", "1.m3u8", "2.ts", f"{FILM}.mkv", "1.avi", "9.ts")
PATIENCE_SECONDS: Final = 60.0


class Ward:
    """Keeps a stage as each request is to find it, whatever the one before has done."""

    def __init__(self, made: Stage) -> None:
        self.made = made
        self.loop = asyncio.get_running_loop()
        self.secret = ""
        self.changed = True
        self.calls: Counter[str] = Counter()
        self.done: Counter[str] = Counter()

    # -- on the server's loop --

    async def furnish(self) -> None:
        await self._furnish_categories()
        await self._furnish_lineup()
        await self._furnish_operator()
        await self._furnish_engines()
        await self.made.worker.catalogue.look()

    async def _furnish_categories(self) -> None:
        store = self.made.worker.store
        there = {one.id for one in await store.lineup.categories()}
        shows = {one.id for one in await store.lineup.series()}
        if there.issuperset(IDS) and shows.issuperset(IDS):
            return
        async with store.db.write() as transaction:
            for number in IDS:
                for table, name in (("categories", f"Category {number}"), ("series", "Show")):
                    await transaction.execute(
                        f"INSERT OR IGNORE INTO {table} (id, name) VALUES (?, ?)", (number, name)
                    )
            transaction.changed("lineup")

    async def _furnish_lineup(self) -> None:
        lineup = self.made.worker.store.lineup
        for number, content in zip(IDS, (*self.made.catalogues[0][:2], FILM_CONTENT), strict=True):
            sources = (ChannelSource("content_id", content.content_id),)
            there = await lineup.channel(number)
            if there is None or there.kind != ("movie" if number == FILM else "live"):
                if there is not None:
                    await lineup.delete_channel(number)
                kind: Any = "movie" if number == FILM else "live"
                await lineup.add_channel(Channel(number, f"C{number}", kind=kind, sources=sources))
            elif there.sources != sources:
                await lineup.set_channel(dataclasses.replace(there, sources=sources))
        kinds = {one.kind for one in await lineup.lists()}
        for listed in ("playlist", "guide"):
            if listed not in kinds:
                await lineup.add_list(ListSource(0, listed, f"/no/{listed}", enabled=False))  # type: ignore[arg-type]

    async def _furnish_operator(self) -> None:
        worker = self.made.worker
        accounts = worker.store.accounts
        admin = await accounts.by_name("admin")
        right = dataclasses.replace(
            admin or Account(0, "admin", "x"), admin=True, enabled=True, expires_at=None
        )
        if admin is None:
            await accounts.add(right)
        elif admin != right:
            await accounts.set(right)
        if await accounts.by_name("user") is None:
            await accounts.add(Account(0, "user", "x"))
        await worker.accounts.reload()
        admin = await accounts.by_name("admin")
        assert admin is not None, "it is there now"
        if (admin.id, "walk") not in {
            (one.account_id, one.name) for one in worker.operators.tokens()
        }:
            operator = Operator(admin, Credential(0, "", "session", admin.id, 0))
            _made, self.secret = await worker.operators.add_token(operator, "walk")

    async def _furnish_engines(self) -> None:
        roster, ours = self.made.worker.roster, self.made.engine.url
        found = next((entry for entry, _engine in roster.all() if entry.url == ours), None)
        if found is None:
            found = await roster.add(ours)
        if found.draining or found.capacity is not None:
            await roster.change(found.number, draining=False, capacity=None)

    async def stop_what_is_endless(self) -> None:
        hub = self.made.worker.hub
        while True:
            await asyncio.sleep(0.02)
            for channel in hub.snapshot().channels:
                if any(viewer.bytes_sent for viewer in channel.viewers):
                    hub.stop(channel.key)

    # -- in the thread of schemathesis, which calls and waits --

    def before_call(self, case: Any) -> None:
        if self.changed:
            waiting = asyncio.run_coroutine_threadsafe(self.furnish(), self.loop)
            waiting.result(PATIENCE_SECONDS)
            self.changed = False
        case.headers["Authorization"] = f"Bearer {self.secret}"
        label = case.operation.label
        number = self.calls[label]
        self.calls[label] += 1
        if case.meta.phase.name.value == "stateful":
            return  # it goes on with what it has made
        for name, value in (case.path_parameters or {}).items():
            if type(value) is int and number % 5:  # else hardly any is there
                case.path_parameters[name] = IDS[number % len(IDS)]
            elif name == "name" and number % 2:
                case.path_parameters[name] = PLAYED[number // 2 % len(PLAYED)]

    def after_call(self, case: Any, response: Any) -> None:
        if response.status_code < 300:
            self.changed |= case.method != "GET"
            self.done[case.operation.label] += 1

    def walk(self) -> list[str]:
        """What is wrong."""
        asyncio.run_coroutine_threadsafe(self.furnish(), self.loop).result(PATIENCE_SECONDS)
        schema = schemathesis.openapi.from_url(
            f"http://127.0.0.1:{self.made.port}/api/openapi.json",
            headers={"Authorization": f"Bearer {self.secret}"},
            config=SchemathesisConfig.from_dict(SETTINGS),
        )
        found = []
        for event in from_schema(schema).execute():
            if isinstance(event, NonFatalError):
                found.append(f"{event.label}: {event.value!r}")
            elif isinstance(event, ScenarioFinished):
                found += _failures(event)
        return found


FILM_CONTENT: Final = film_contents()[0]
SETTINGS: Final[dict[str, Any]] = {
    "seed": SEED,
    "generation": {
        "mode": "all",
        "max-examples": EXAMPLES,
        "deterministic": "RAWSTREAM_WALK_SEED" not in os.environ,
        "database": "none",
        "no-shrink": True,
        "with-security-parameters": False,
    },
    "checks": {"enabled": False, **{name: {"enabled": True} for name in CHECKS}},
    "phases": {
        "coverage": {"unexpected-methods": list(METHODS)},
        "stateful": {"max-steps": 5},
    },
    "request-timeout": PATIENCE_SECONDS,
    "max-stream-events": 1,
    "continue-on-failure": True,
    "workers": 1,
}


def _failures(event: ScenarioFinished) -> Iterator[str]:
    for number, checks in event.recorder.checks.items():
        for check in checks:
            if check.status == Status.FAILURE and check.failure_info is not None:
                failure = check.failure_info.failure
                answer = event.recorder.interactions[number].response
                said = (answer.status_code, answer.content[:200]) if answer is not None else None
                yield (
                    f"{event.label}: {check.name}: {failure.title} {failure.message[:300]} {said}"
                    f"\n  {check.failure_info.code_sample}"
                )


@contextlib.asynccontextmanager
async def warded(ward: Ward) -> AsyncIterator[None]:
    """While this lasts schemathesis calls it, and no stream is endless."""

    def before_call(context: Any, case: Any, kwargs: Any) -> None:
        ward.before_call(case)

    def after_call(context: Any, case: Any, response: Any) -> None:
        ward.after_call(case, response)

    schemathesis.hook(before_call)
    schemathesis.hook(after_call)
    stopping = asyncio.create_task(ward.stop_what_is_endless())
    try:
        yield
    finally:
        stopping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await stopping
        schemathesis.hooks.unregister(before_call)
        schemathesis.hooks.unregister(after_call)


def is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nothing leaves this process for another machine. Addresses that the policy of fetching has
    let through all the same: engines are where an operator says, so they are only refused. A child
    that reads a list has the policy alone.
    """
    passed: list[str] = []
    connect, resolve = http_client._connect, socket.getaddrinfo

    async def connect_here(
        connection: Any, target: Any, seconds: float, unix: Any = None, connect_to: Any = None
    ) -> None:
        if not is_here(connect_to or target.host):
            if connect_to is not None:
                passed.append(connect_to)
            raise UpstreamError("connect", target.address, "outside is blocked")
        await connect(connection, target, seconds, unix, connect_to)

    def resolve_here(host: Any, *more: Any, **options: Any) -> Any:
        if not is_here(str(host)):
            raise socket.gaierror(socket.EAI_NONAME, "outside is blocked")
        return resolve(host, *more, **options)

    monkeypatch.setattr(http_client, "_connect", connect_here)
    monkeypatch.setattr(socket, "getaddrinfo", resolve_here)
    return passed


@pytest.mark.timeout(300 + 10 * EXAMPLES)
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
async def test_nothing_is_answered_that_the_document_does_not_say(
    tmp_path: Path, outside: list[str]
) -> None:
    contents = [*quick_contents(), *film_contents()]
    async with stage(tmp_path, contents, fetch_networks=LOOPBACK_NETWORKS) as made:
        ward = Ward(made)
        async with warded(ward):
            found = await asyncio.to_thread(ward.walk)
        assert not found, "\n".join(found)
        never = {label for label in ward.calls if not ward.done[label]}
        assert len(ward.calls) > 60
        assert never <= {"POST /api/v1/session"}, never  # nobody guesses the password
        assert not outside
