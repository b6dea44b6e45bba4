"""Viewers that stop, trickle, pause and vanish: the others lose nothing, memory stays bounded."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from stage import Player, Stage, pid_of, quick_contents, stage, until, whole_units
from ts_clips import decode

from rawstream.config import Limits, Timeouts
from rawstream.continuity import ContinuityChecker
from rawstream.mpegts import PACKET_SIZE
from rawstream.simulator import SimContent
from rawstream.viewer import Place

# A ring of a second and kernel buffers of little: what takes a minute in life takes seconds here.
SMALL = Limits(
    ring_seconds=1,
    ring_bytes=400_000,
    ring_cap_bytes=800_000,
    write_high_bytes=16_384,
    write_low_bytes=4096,
    not_sent_low_bytes=16_384,
)
MUCH = 6_000_000


def fast_contents() -> list[SimContent]:
    """About 5 Mbit/s: the ring passes in two thirds of a second."""
    return quick_contents(speed=16.0)


class Laggard:
    """A viewer with a small receive buffer that reads only when told to."""

    def __init__(self, port: int, content: SimContent, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect((host, port))
        request = f"GET /ace/getstream?id={content.content_id} HTTP/1.1\r\nHost: x\r\n\r\n"
        self.socket.sendall(request.encode())
        self.socket.setblocking(False)
        self.data = bytearray()

    def read(self, size: int) -> int:
        """Read at most so many bytes; 0 when there are none, -1 at the end."""
        try:
            piece = self.socket.recv(size)
        except BlockingIOError:
            return 0
        except ConnectionResetError:
            return -1
        self.data += piece
        return len(piece) or -1

    @property
    def body(self) -> bytes:
        body = bytes(self.data).partition(b"\r\n\r\n")[2]
        return body[: len(body) // PACKET_SIZE * PACKET_SIZE]

    def close(self) -> None:
        self.socket.close()


def place_of(made: Stage, laggard_port: int) -> Place | None:
    for channel in made.worker.hub._channels:
        for viewer in channel.mux:
            if viewer.port == laggard_port:
                return viewer.place
    return None


@asynccontextmanager
async def beside_a_healthy_viewer(
    data: Path, stall_seconds: float
) -> AsyncIterator[tuple[Stage, SimContent, Player]]:
    """A channel with one viewer who reads; at the end he has lost nothing."""
    contents = fast_contents()
    timeouts = Timeouts.for_tests(viewer_stall_seconds=stall_seconds)
    async with stage(data, contents, timeouts=timeouts, limits=SMALL) as made:
        healthy = await made.play(contents[0])
        await healthy.more(100_000)
        yield made, contents[0], healthy
        assert not healthy.over
        assert ContinuityChecker().feed(healthy.packets) == []
        assert made.snapshot.channels[0].recoveries == 0


def bounded(made: Stage) -> None:
    channel = made.channel()
    assert channel is not None
    assert channel.ring_bytes <= SMALL.ring_cap_bytes + SMALL.chunk_bytes
    for live in made.worker.hub._channels:
        for viewer in live.mux:
            assert viewer.sink.unsent() <= SMALL.write_high_bytes + SMALL.chunk_bytes


async def test_a_viewer_who_never_reads_is_gone_and_the_others_lose_nothing(tmp_path: Path) -> None:
    async with beside_a_healthy_viewer(tmp_path, stall_seconds=1.0) as (made, content, healthy):
        laggard = Laggard(made.port, content)
        port = laggard.socket.getsockname()[1]
        await until(lambda: place_of(made, port) is Place.PAUSED, "he is paused")
        bounded(made)
        await until(lambda: made.snapshot.viewers == 1, "he is gone")
        channel = made.channel()
        assert channel is not None and channel.stalled_viewers == 1
        await healthy.more(500_000)
        laggard.close()


async def test_a_viewer_who_reads_a_byte_now_and_then_holds_up_nobody(tmp_path: Path) -> None:
    async with beside_a_healthy_viewer(tmp_path, stall_seconds=1.5) as (made, content, healthy):
        laggard = Laggard(made.port, content)
        port = laggard.socket.getsockname()[1]
        await until(lambda: place_of(made, port) is Place.PAUSED, "he is paused")

        def gone_after_another_byte() -> bool:
            laggard.read(1)
            return made.snapshot.viewers == 1

        await until(gone_after_another_byte, "he is gone")
        bounded(made)
        await healthy.more(500_000)
        laggard.close()


async def test_a_viewer_who_pauses_for_long_goes_on_with_a_clean_picture(tmp_path: Path) -> None:
    async with beside_a_healthy_viewer(tmp_path, stall_seconds=600) as (made, content, healthy):
        laggard = Laggard(made.port, content)
        port = laggard.socket.getsockname()[1]
        await until(lambda: place_of(made, port) is Place.PAUSED, "he is paused")
        await healthy.more(MUCH)  # several times the ring
        bounded(made)

        def catches_up() -> bool:
            while laggard.read(65_536) > 0:
                pass
            channel = made.channel()
            assert channel is not None
            return channel.jumps == 1 and place_of(made, port) is Place.HEAD

        await until(catches_up, "he is at the head again, after a jump")
        wanted = len(laggard.data) + 300_000

        def reads_on() -> bool:
            laggard.read(65_536)
            return len(laggard.data) >= wanted

        await until(reads_on, "he reads on")
        body = laggard.body
        assert ContinuityChecker().feed(body) == [], "the jump is marked on every PID"
        # on a busy machine he may fall behind again: each jump cuts the units before it
        marks = places_of_jumps(body)
        assert marks, "no jump is marked"
        for begin, end in pairwise([*marks, len(body)]):
            if end == len(body) and len(marks) > 1:
                break  # of any length, when reading stopped
            behind = decode(whole_units(body[begin:end]))
            assert len(behind.pictures) > 10
            assert [line for line in behind.complaints if "corrupt" not in line] == []
        await healthy.more(500_000)
        laggard.close()


def places_of_jumps(packets: bytes) -> list[int]:
    """Where the marks of each jump begin: packets without payload that announce a discontinuity on
    PID 0.
    """
    return [
        at
        for number, at in enumerate(range(0, len(packets), PACKET_SIZE))
        if pid_of(packets, number) == 0
        and packets[at + 3] & 0x30 == 0x20
        and packets[at + 5] & 0x80
    ]


# -- vanishing without a FIN: a network of its own whose link goes down ----------------------------

_VIEWER = """
import socket, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
s.sendall(b"GET /ace/getstream?id=" + sys.argv[3].encode() + b" HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
total = 0
while total < 200_000:
    total += len(s.recv(65536))
print("watching", flush=True)
while s.recv(65536):
    pass
"""


@contextmanager
def network_of_its_own() -> Iterator[tuple[str, str, str]]:
    """A namespace behind a veth pair: its name, our address, and our end of the link."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("a network namespace needs root and ip (iproute2)")
    name, link = f"rs{os.getpid() % 100_000}", f"rsv{os.getpid() % 100_000}"
    ours, theirs = "10.213.77.1", "10.213.77.2"

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    try:
        ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespace can be made here: {error.stderr.decode().strip()}")
    try:
        ip("link", "add", link, "type", "veth", "peer", "name", f"{link}p", "netns", name)
        ip("addr", "add", f"{ours}/30", "dev", link)
        ip("link", "set", link, "up")
        ip("-n", name, "addr", "add", f"{theirs}/30", "dev", f"{link}p")
        ip("-n", name, "link", "set", f"{link}p", "up")
        yield name, ours, link
    finally:
        subprocess.run(["ip", "link", "del", link], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


async def test_a_viewer_who_vanishes_without_a_fin_is_gone(tmp_path: Path) -> None:
    contents = fast_contents()
    timeouts = Timeouts.for_tests(viewer_stall_seconds=1.5)
    with network_of_its_own() as (namespace, ours, link):
        async with stage(
            tmp_path, contents, timeouts=timeouts, limits=SMALL, host="0.0.0.0"
        ) as made:
            healthy = await made.play(contents[0])
            await healthy.more(100_000)
            process = await asyncio.create_subprocess_exec(
                *("ip", "netns", "exec", namespace, sys.executable, "-c", _VIEWER),
                *(ours, str(made.port), contents[0].content_id),
                stdout=asyncio.subprocess.PIPE,
            )
            try:
                assert process.stdout is not None
                assert await process.stdout.readline() == b"watching\n"
                assert made.snapshot.viewers == 2
                down = await asyncio.create_subprocess_exec("ip", "link", "set", link, "down")
                assert await down.wait() == 0
                await until(lambda: made.snapshot.viewers == 1, "he is gone")
                bounded(made)
                await healthy.more(1_000_000)
                assert ContinuityChecker().feed(healthy.packets) == []
            finally:
                process.kill()
                await process.communicate()
