"""Listening: clear errors, both families, and quiet when descriptors run out."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from wire import HOST, dial, eventually, receive, send, split_answers

from rawstream import listener
from rawstream.errors import ConfigError
from rawstream.listener import Listener, bind_tcp, bind_unix


class Greeter(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        greeting = cast(asyncio.Transport, transport)
        greeting.write(b"hello")
        greeting.close()


def make_listener(sock: socket.socket, **options: Any) -> Listener:
    return Listener(
        sock, Greeter, backlog=16, not_sent_low_bytes=4096, user_timeout_seconds=9.0, **options
    )


# -- binding --


async def test_every_address_means_both_families_on_one_port() -> None:
    sockets = await bind_tcp("", 0)
    try:
        assert [sock.family for sock in sockets] == [socket.AF_INET, socket.AF_INET6]
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
    finally:
        for sock in sockets:
            sock.close()


@pytest.mark.parametrize("where", ["socket", "bind"])
async def test_a_machine_without_ipv6_listens_on_ipv4(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoIpv6(socket.socket):
        def __init__(self, family: int = -1, *args: Any, **options: Any) -> None:
            if where == "socket" and family == socket.AF_INET6:
                raise OSError(97, "Address family not supported by protocol")
            super().__init__(family, *args, **options)

        def bind(self, address: Any) -> None:
            if self.family == socket.AF_INET6:
                raise OSError(99, "Cannot assign requested address")
            super().bind(address)

    monkeypatch.setattr(listener.socket, "socket", NoIpv6)
    (sock,) = await bind_tcp("", 0)
    with sock:
        assert sock.family == socket.AF_INET


async def test_a_port_taken_for_one_family_is_taken() -> None:
    (taken,) = await bind_tcp("::1", 0)
    with taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"^port: port {port} is already in use") as caught:
            await bind_tcp("", port)
        assert caught.value.field == "port"


async def test_a_port_chosen_by_the_system_is_chosen_again_when_the_other_family_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusals = [3]

    class Unlucky(socket.socket):
        def bind(self, address: Any) -> None:
            if self.family == socket.AF_INET6 and refusals[0]:
                refusals[0] -= 1
                raise OSError(98, "Address already in use")
            super().bind(address)

    monkeypatch.setattr(listener.socket, "socket", Unlucky)
    sockets = await bind_tcp("", 0)
    assert len(sockets) == 2
    for sock in sockets:
        sock.close()


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        ("no-such-name.invalid", "'no-such-name.invalid' is no address or name known here"),
        ("203.0.113.9", "'203.0.113.9' is not an address of this machine"),
        ("a..b", "'a..b' is no address or name known here"),
    ],
)
async def test_a_host_that_is_not_ours_is_one_clear_line(host: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await bind_tcp(host, 0)
    assert str(caught.value) == f"host: {problem}"


async def test_a_port_that_is_not_allowed_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Forbidden(socket.socket):
        def bind(self, address: Any) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(listener.socket, "socket", Forbidden)
    with pytest.raises(ConfigError, match="port 80 is not allowed for this user"):
        await bind_tcp("127.0.0.1", 80)


async def test_any_other_refusal_is_told_in_the_systems_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Full(socket.socket):
        def bind(self, address: Any) -> None:
            raise OSError(105, "No buffer space available")

    monkeypatch.setattr(listener.socket, "socket", Full)
    with pytest.raises(ConfigError, match=r"port 81 on 127\.0\.0\.1: no buffer space available"):
        await bind_tcp("127.0.0.1", 81)


async def test_a_dead_unix_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "relay.sock"
    bind_unix(path).close()
    with bind_unix(path) as sock:
        sock.listen()
        with pytest.raises(ConfigError, match="already in use"):
            bind_unix(path)


async def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ConfigError, match="precious"):
        bind_unix(path)
    assert path.read_text() == "data"


async def test_a_unix_path_that_can_not_be_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        bind_unix(tmp_path / "missing" / "relay.sock")


# -- accepting --


async def test_a_listener_accepts_until_it_is_closed() -> None:
    (sock,) = await bind_tcp("127.0.0.1", 0)
    port = sock.getsockname()[1]
    greeting = make_listener(sock)
    await greeting.start()
    with await dial(port) as viewer:
        assert await receive(viewer) == b"hello"
    greeting.close()
    greeting.close()
    with pytest.raises(ConnectionRefusedError):
        await dial(port)


async def test_who_comes_while_descriptors_are_short_is_turned_away_with_an_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    free = [0]
    monkeypatch.setattr(listener, "_descriptors_free", lambda count: count <= free[0])
    (sock,) = await bind_tcp("127.0.0.1", 0)
    greeting = make_listener(sock)
    await greeting.start()
    try:
        assert greeting.guard(b"full") == 0
        assert not greeting.accepting
        with await dial(sock.getsockname()[1]) as viewer:
            assert greeting.guard(b"full") == 1
            assert await receive(viewer) == b"full"
        free[0] = 1
        greeting.guard(b"full")
        assert not greeting.accepting, "one descriptor is not worth beginning again"
        waiting = await dial(sock.getsockname()[1])
        with waiting:
            free[0] = 100
            await eventually(lambda: (greeting.guard(b"full"), greeting.accepting)[1])
            assert await receive(waiting) in (b"hello", b"full")
        with await dial(sock.getsockname()[1]) as viewer:
            assert await receive(viewer) == b"hello"
    finally:
        greeting.close()
    assert "out of file descriptors" in caplog.text


async def test_a_listener_closed_while_it_begins_again_stays_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listener, "_descriptors_free", lambda count: False)
    (sock,) = await bind_tcp("127.0.0.1", 0)
    greeting = make_listener(sock)
    await greeting.start()
    greeting.guard(b"")
    monkeypatch.setattr(listener, "_descriptors_free", lambda count: True)
    greeting.guard(b"")
    greeting.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not greeting.accepting


# -- a process that really has no descriptor left --

_PROGRAM = """
import asyncio, json, os, resource, sys, time
import uvloop
from rawstream.config import Limits, Timeouts
from rawstream.protocol import Response, Server

async def main():
    server = Server(
        lambda request, exchange: Response.text("served"), timeouts=Timeouts(), limits=Limits()
    )
    ((_, port),) = await server.listen("127.0.0.1", 0)
    taken = []
    def command():
        verb = sys.stdin.buffer.raw.read(1).decode()
        if verb == "t":  # take every descriptor
            resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
            try:
                while True:
                    taken.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                pass
        elif verb == "u":  # and leave libuv no way to use its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (4, hard))
        elif verb == "f":
            resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
            while taken:
                os.close(taken.pop())
        elif verb == "":
            loop.stop()
            return
        print(json.dumps({"port": port, "cpu": time.process_time(), "at": time.monotonic(),
            "accepted": server.accepted, "shed": server.shed,
            "accepting": server._listeners[0].accepting}), flush=True)
    loop = asyncio.get_running_loop()
    os.set_blocking(0, False)
    loop.add_reader(0, command)
    await asyncio.Event().wait()

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
try:
    uvloop.run(main())
except RuntimeError:
    pass
"""


class Process:
    """The program above, asked one letter at a time."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    async def ask(self, verb: str) -> dict[str, Any]:
        def talk() -> dict[str, Any]:
            assert self.process.stdin is not None and self.process.stdout is not None
            self.process.stdin.write(verb.encode())
            self.process.stdin.flush()
            line = self.process.stdout.readline()
            assert line, "the program has ended"
            answer: dict[str, Any] = json.loads(line)
            return answer

        return await asyncio.to_thread(talk)

    async def until(self, accepting: bool) -> dict[str, Any]:
        async with asyncio.timeout(20):
            while (state := await self.ask("?"))["accepting"] is not accepting:
                await asyncio.sleep(0.05)
            return state


@pytest.fixture
def process() -> Iterator[Process]:
    package = str(Path(listener.__file__).parent.parent)
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": package},
    ) as child:
        try:
            yield Process(child)
        finally:
            child.kill()


@pytest.mark.parametrize("verbs", ["t", "tu"], ids=["EMFILE", "EMFILE and no reserve in libuv"])
async def test_without_descriptors_nothing_spins_and_service_comes_back(
    process: Process, verbs: str
) -> None:
    port = (await process.ask("?"))["port"]
    for verb in verbs:
        await process.ask(verb)
    waiting = [await dial(port) for _ in range(20)]
    before = await process.until(accepting=False)
    after = before
    while after["at"] - before["at"] < 1.5:  # a whole look of the guard lies in between
        await asyncio.sleep(0.1)
        after = await process.ask("?")
    assert after["cpu"] - before["cpu"] < 0.3 * (after["at"] - before["at"])
    assert after["accepted"] == 0
    await process.ask("f")
    await process.until(accepting=True)
    with await dial(port) as viewer:
        await send(viewer, b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        ((status, _, body),) = split_answers(await receive(viewer, b"served"))
        assert (status, body) == (200, b"served")
    for sock in waiting:
        sock.close()
