"""Does this machine have what the server needs? One verdict per question, each with a remedy.

Owns: the questions, their order, what counts as a failure. Must not know: how the answers are
shown, or how the server runs; it asks the machine and the engines the way the server will.
"""

from __future__ import annotations

import asyncio
import resource
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import orjson

from rawstream.config import Config
from rawstream.engine_client import ContentRef
from rawstream.engine_pool import EnginePool
from rawstream.errors import ConfigError, UpstreamError
from rawstream.http_client import request
from rawstream.journal import StopJournal
from rawstream.listener import bind_tcp
from rawstream.mpegts import PacketCutter, PcrClock, TsScanner
from rawstream.sources import EngineSource, spellings

# No machine with a clock set right can run this version before its year.
_EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)
_DESCRIPTORS_BESIDE_VIEWERS = 100  # engines, sources, listeners, the journal, the interpreter
_DESCRIPTORS_NEEDED = 4096  # a household never fills them; the usual limit of 1,024 is soon full
_PLAY_MEDIA_SECONDS = 3.0


class Verdict(NamedTuple):
    """One answer. `ok` None: not asked, and `found` says what it would take."""

    question: str
    ok: bool | None
    found: str
    remedy: str = ""


async def examine(config: Config, content: ContentRef | None) -> AsyncIterator[Verdict]:
    """Every verdict, as soon as it is known. `content`: what each engine is asked to play.

    Raises nothing for what it finds; a failure is a verdict.
    """
    yield check_clock(time.time())
    yield check_descriptors(config.limits.connections)
    yield await asyncio.to_thread(check_data, config.data)
    for port in dict.fromkeys((config.port, *config.extra_ports)):
        yield await check_port(config, port)
    if not config.engines:
        yield Verdict("engine", False, "none is configured", "name one: --engine http://HOST:6878")
    for url in config.engines:
        async for verdict in check_engine(config, url, content):
            yield verdict


def check_clock(now: float) -> Verdict:
    """`now`: Unix seconds."""
    shown = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if now < _EARLIEST.timestamp():
        return Verdict("clock", False, f"it shows {shown}", "set the clock, e.g. by starting NTP")
    return Verdict("clock", True, shown)


def check_descriptors(connections: int) -> Verdict:
    """Whether each viewer can have a file descriptor. `connections`: limits.connections."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # the server raises soft to hard
    limit = hard if hard != resource.RLIM_INFINITY else 1 << 30
    room = max(0, min(limit - _DESCRIPTORS_BESIDE_VIEWERS, connections))
    found = f"{limit} descriptors: room for {room} connections"
    if limit < _DESCRIPTORS_NEEDED:
        remedy = "raise the hard limit: LimitNOFILE=65536 (systemd), --ulimit nofile=65536 (Docker)"
        return Verdict("file limit", False, found, remedy)
    return Verdict("file limit", True, found)


def check_data(directory: Path) -> Verdict:
    """Whether the data directory can be written, without leaving anything behind."""
    missing = [p for p in (directory, *directory.parents) if not p.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.NamedTemporaryFile(dir=directory, prefix=".doctor-") as file:
                file.write(b"rawstream")
                file.flush()
        finally:
            for made in missing:
                made.rmdir()
    except OSError as error:
        remedy = "choose another by --data DIR, or give this user the right to write there"
        return Verdict("data directory", False, f"{directory}: {error.strerror}", remedy)
    return Verdict("data directory", True, f"{directory} can be written")


async def check_port(config: Config, port: int) -> Verdict:
    """Whether the server could listen, or does already."""
    try:
        for sock in await bind_tcp(config.host, port):
            sock.close()
    except ConfigError as error:
        if error.field == "port" and await _is_rawstream(config, port):
            return Verdict(f"port {port}", True, "in use by a rawstream that is running")
        return Verdict(f"port {port}", False, error.problem, "choose another by --port or --host")
    return Verdict(f"port {port}", True, "free")


async def _ask(config: Config, url: str) -> tuple[int, bytes, str]:
    """A small question to a rawstream. Returns status, body, Server header."""
    answer = await request(
        url,
        connect_seconds=config.timeouts.engine_connect_seconds,
        total_seconds=config.timeouts.engine_probe_seconds,
        limits=config.limits,
        phase="ask",
    )
    return answer.status, answer.body, answer.headers.get("server", "")


def _own_url(config: Config, port: int) -> str:
    host = config.host if config.host not in ("", "0.0.0.0", "::") else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _is_rawstream(config: Config, port: int) -> bool:
    try:
        status, _body, server = await _ask(config, _own_url(config, port) + "/healthz")
    except UpstreamError:
        return False
    return status == 200 and server.startswith("rawstream")


async def check_engine(
    config: Config, url: str, content: ContentRef | None
) -> AsyncIterator[Verdict]:
    """Whether the engine answers, and whether it plays `content`."""
    timeouts = config.timeouts
    journal = StopJournal(None)  # in memory: a session of ours is stopped before we end
    pool = EnginePool((url,), capacity=1, timeouts=timeouts, limits=config.limits, journal=journal)
    engine = pool.engines[0]
    try:
        version = await pool.probe(engine)
        question = f"engine {url}"
        if version is None:
            remedy = "start the engine, or name the right one by --engine http://HOST:6878"
            yield Verdict(question, False, engine.last_error or "does not answer", remedy)
            return
        yield Verdict(question, True, f"answers, version {version}")
        question = "  plays"
        if content is None:
            found = "not tried: answering is no proof of playing; --content ID tries it"
            yield Verdict(question, None, found)
        elif (on_air := await _on_air(config, content)) is not None:
            # a second session of a content would cut the first one's viewers (reference §1.5)
            yield Verdict(question, None, f"not tried: this content is on air here now ({on_air})")
        else:
            yield await _play(config, pool, content, question)
    finally:
        await pool.close()


async def _on_air(config: Config, content: ContentRef) -> str | None:
    """The state of this content in a rawstream that runs on our port; None when it does not."""
    key = "id" if content.kind == "unknown" else content.kind
    try:
        target = f"{_own_url(config, config.port)}/ace/status?{key}={content.value}"
        status, body, _server = await _ask(config, target)
        document = orjson.loads(body)
    except (UpstreamError, orjson.JSONDecodeError):
        return None
    return str(document.get("state")) if status == 200 and isinstance(document, dict) else None


class _Look:
    """Takes a stream's bytes and tells when it has seen some seconds of it."""

    def __init__(self) -> None:
        self.seen = asyncio.Event()
        self.bytes = 0
        self.clock = PcrClock()
        self.scanner = TsScanner()
        self._cutter = PacketCutter()

    def take(self, data: bytes) -> None:
        packets = self._cutter.feed(data)
        self.bytes += len(packets)
        scan = self.scanner.scan(packets)
        if scan.last_pcr is not None:
            self.clock.update(scan.last_pcr, discontinuity=scan.pcr_discontinuity)
        if self.clock.seconds >= _PLAY_MEDIA_SECONDS:
            self.seen.set()


async def _play(config: Config, pool: EnginePool, content: ContentRef, question: str) -> Verdict:
    """Open a session as the server would, watch it for a moment, stop it."""
    timeouts = config.timeouts
    begun = time.monotonic()
    look = _Look()
    try:
        refs = spellings(content, await pool.resolve(content))
        feed = await EngineSource(pool, refs, timeouts).start(())
        try:
            patience = (
                timeouts.engine_first_byte_seconds,
                timeouts.engine_first_byte_limit_seconds,
            )
            await feed.open(look.take, patience=patience)
            first = time.monotonic() - begun
            async with asyncio.timeout(timeouts.source_head_seconds):
                await look.seen.wait()
        finally:
            await feed.close()
    except UpstreamError as error:
        remedy = "try another content; if none plays, look into the engine's own log"
        return Verdict(question, False, f"{error.phase}: {error.reason}", remedy)
    except TimeoutError:
        remedy = "the source is too slow or no MPEG-TS; try another content"
        return Verdict(question, False, f"{look.bytes} bytes came, and no clear picture", remedy)
    program = look.scanner.program
    codecs = " + ".join(stream.codec for stream in program.streams) if program else "no program"
    return Verdict(question, True, f"first byte after {first:.1f} s, {codecs}")
