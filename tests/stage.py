"""The whole program against the simulator, in one loop: engines, a worker, players with real
sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from ts_clips import decode

from rawstream.channels import ChannelSnapshot
from rawstream.config import Config, Limits, Timeouts
from rawstream.continuity import ContinuityChecker
from rawstream.http_client import BodyStream, ClientResponse, Ending, open_stream, request
from rawstream.hub import HubSnapshot
from rawstream.mpegts import PACKET_SIZE
from rawstream.restamp import pes_timestamps
from rawstream.simulator import EngineSimulator, SimContent, bundled_contents
from rawstream.workers import Worker

PATIENCE_SECONDS = (
    30.0  # how long a condition may take on a noisy machine before it counts as never
)


async def until(condition: Callable[[], Any], what: str = "") -> None:
    """Wait for a condition; fails when it never comes true."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never came true: {what or condition}") from None


class Player:
    """A viewer that reads everything."""

    def __init__(self, port: int, query: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        self.port = port
        self.query = query
        self.headers = headers
        self.data = bytearray()
        self.stream: BodyStream | None = None

    def data_received(self, data: bytes) -> None:
        self.data += data

    async def open(self) -> Player:
        """Ask; raises UpstreamError with the status of a refusal. A query that begins with a slash
        is a whole path.
        """
        path = self.query if self.query.startswith("/") else f"/ace/getstream?{self.query}"
        self.stream = await open_stream(
            f"http://127.0.0.1:{self.port}{path}",
            self,
            headers=self.headers,
            connect_seconds=PATIENCE_SECONDS,
            head_seconds=2 * PATIENCE_SECONDS,
            limits=Limits(),
            redirect=None,
        )
        return self

    @property
    def packets(self) -> bytes:
        """What has come so far, in whole packets."""
        return bytes(self.data[: len(self.data) // PACKET_SIZE * PACKET_SIZE])

    @property
    def over(self) -> bool:
        assert self.stream is not None, "not opened"
        return self.stream.ended.done()

    @property
    def ending(self) -> Ending:
        assert self.stream is not None, "not opened"
        return self.stream.ended.result()[0]

    async def more(self, size: int) -> None:
        """Until so many more bytes have come."""
        wanted = len(self.data) + size
        await until(
            lambda: len(self.data) >= wanted or self.over, f"{size} more bytes for {self.query}"
        )
        assert len(self.data) >= wanted, f"the stream ended: {self.stream and self.stream.ended}"

    def leave(self) -> None:
        if self.stream is not None:
            self.stream.abort()

    def assert_starts_clean(self) -> None:
        """PAT, PMT, then a packet with random_access_indicator; whole packets in step."""
        packets = self.packets
        pids = [pid_of(packets, number) for number in range(3)]
        assert pids[0] == 0
        assert packets[PACKET_SIZE + 5] == 2, "table_id of a PMT"
        entry = 2 * PACKET_SIZE
        assert packets[entry + 3] & 0x20, "an adaptation field"
        assert packets[entry + 5] & 0x40, "random_access_indicator"

    def assert_plays(self) -> None:
        """No packet missing in any PID, and FFmpeg decodes it without a word."""
        packets = self.packets
        assert ContinuityChecker().feed(packets) == []
        decoded = decode(whole_units(packets))
        assert decoded.pictures or decoded.sounds
        assert decoded.complaints == []


def whole_units(packets: bytes) -> bytes:
    """Without the PES packet that each PID has begun and not ended when reading stopped."""
    begun = {stamp.pid: stamp.offset for stamp in pes_timestamps(packets)}
    return b"".join(
        packets[at : at + PACKET_SIZE]
        for at in range(0, len(packets), PACKET_SIZE)
        if at < begun.get(pid_of(packets, at // PACKET_SIZE), len(packets))
    )


def pid_of(packets: bytes, number: int) -> int:
    at = number * PACKET_SIZE
    return (packets[at + 1] & 0x1F) << 8 | packets[at + 2]


class Stage:
    """Engines and one worker. `play` opens a player and sees to it that it leaves at the end."""

    def __init__(
        self,
        engines: list[EngineSimulator],
        catalogues: list[list[SimContent]],
        worker: Worker,
    ) -> None:
        self.engines = engines
        self.catalogues = catalogues  # each engine's contents
        self.worker = worker
        self.players: list[Player] = []

    @property
    def engine(self) -> EngineSimulator:
        return self.engines[0]

    @property
    def port(self) -> int:
        return self.worker.addresses[0][1]

    @property
    def snapshot(self) -> HubSnapshot:
        return self.worker.hub.snapshot()

    def channel(self) -> ChannelSnapshot | None:
        """The one channel on air, if there is one."""
        channels = self.snapshot.channels
        assert len(channels) <= 1
        return channels[0] if channels else None

    def state(self) -> str | None:
        channel = self.channel()
        return channel.state if channel is not None else None

    def player(self, content: SimContent | str, **headers: str) -> Player:
        query = content if isinstance(content, str) else f"id={content.content_id}"
        player = Player(self.port, query, [(k.replace("_", "-"), v) for k, v in headers.items()])
        self.players.append(player)
        return player

    async def play(self, content: SimContent | str, **headers: str) -> Player:
        return await self.player(content, **headers).open()

    async def ask(self, path: str, **options: Any) -> ClientResponse:
        return await self._ask(f"http://127.0.0.1:{self.port}{path}", **options)

    async def ask_engine(self, path: str) -> ClientResponse:
        """As a stranger would who uses the same engine."""
        return await self._ask(self.engine.url + path)

    async def _ask(self, url: str, **options: Any) -> ClientResponse:
        return await request(
            url,
            connect_seconds=PATIENCE_SECONDS,
            total_seconds=PATIENCE_SECONDS,
            limits=Limits(),
            **options,
        )


@asynccontextmanager
async def stage(
    data: Path,
    contents: list[SimContent] | None = None,
    *,
    engines: int = 1,
    timeouts: Timeouts | None = None,
    limits: Limits | None = None,
    capacity: int = 4,
    host: str = "127.0.0.1",
    apart_seconds: float = 0.0,
    fetch_networks: Sequence[str] = (),
    **engine_switches: Any,
) -> AsyncIterator[Stage]:
    """A running program. Engines after the first have contents of their own with the same ids, and
    one timeline, or each its own: `apart_seconds` further on.
    """
    shown = contents if contents is not None else bundled_contents()
    epoch = asyncio.get_running_loop().time()
    async with AsyncExitStack() as stack:
        simulators: list[EngineSimulator] = []
        catalogues = []
        for number in range(engines):
            own = shown if number == 0 else [_copy(content) for content in shown]
            catalogues.append(own)
            simulator = EngineSimulator(
                own, latency=0.0, epoch=epoch - number * apart_seconds, **engine_switches
            )
            simulators.append(await stack.enter_async_context(simulator))
        config = Config(
            host=host,
            port=0,
            engines=tuple(simulator.url for simulator in simulators),
            engine_capacity=capacity,
            data=data,
            fetch_networks=fetch_networks,
            timeouts=timeouts or Timeouts.for_tests(),
            limits=limits or Limits(),
        )
        worker = Worker(config)
        await worker.start()
        made = Stage(simulators, catalogues, worker)
        try:
            yield made
        finally:
            for player in made.players:
                player.leave()
            await worker.stop()


def _copy(content: SimContent) -> SimContent:
    return SimContent(
        content.content_id,
        content.infohash,
        content.name,
        content.clip,
        speed=content.speed,
        preload_seconds=content.preload_seconds,
        burst_bytes=content.burst_bytes,
        burst_seconds=content.burst_seconds,
    )


def quick_contents(**switches: Any) -> list[SimContent]:
    """The bundled channels, some times faster than life, so that media time passes quickly."""
    contents = bundled_contents()
    for content in contents:
        content.speed = 12.0
        content.preload_seconds = 0.05
        for name, value in switches.items():
            setattr(content, name, value)
    return contents
