"""What viewers notice while everything else goes wrong: guessed passwords, a large guide, a hung
engine.

200 viewers watch one channel. Meanwhile somebody guesses passwords 200 times a second, each time
for another name and from another address of 127.0.0.0/8 (so that no throttle spares the hashing);
a guide of 45 MB with 200,000 programmes is imported by the server's own refresh; and an engine that
accepts and never answers is asked for channels. The excess gap is how much longer a sampled viewer
waited between two pieces than the source did between sending them.

Rows: the same server without and with the storm.

Run: `python benchmarks/storm.py [--quick] [--floor-gap-ms 150]`. Exit status 1: a floor is missed,
2: can't measure.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import socket
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import harness
from stall import excess_gaps

from rawstream.epg import GuideChannel, LocalText, Programme, write_xmltv
from rawstream.passwords import Passwords
from rawstream.records import Account, Channel, ChannelSource, ListSource
from rawstream.store import Store

HOUR = 3600
GUIDE_CHANNELS = 600
TEXT = "A programme about this and that, told by people who were there, and by some who were not. "


class Run(NamedTuple):
    """Gaps in ms; what the storm did meanwhile."""

    gap: float
    gap_chunk: float
    disconnected: int
    refused: int
    throttled: int
    programmes: int
    child_memory: int


def write_guide(path: Path, programmes: int) -> None:
    now = int(time.time()) // HOUR * HOUR
    each = programmes // GUIDE_CHANNELS
    span = 7 * 24 * HOUR // each

    def all_of_them() -> object:
        for channel in range(GUIDE_CHANNELS):
            for number in range(each):
                start = now + number * span
                yield Programme(
                    f"c{channel}.example",
                    start,
                    start + span,
                    (LocalText(f"Programme {number}"),),
                    descriptions=(LocalText(TEXT),),
                )

    channels = [
        GuideChannel(f"c{number}.example", (LocalText(f"Channel {number}"),))
        for number in range(GUIDE_CHANNELS)
    ]
    with path.open("wb") as file:
        for piece in write_xmltv(channels, all_of_them()):  # type: ignore[arg-type]
            file.write(piece)


async def furnish(data: Path) -> None:
    store = await Store.open(data)
    passwords = Passwords()
    try:
        hashed = await passwords.hash("bench")
        await store.accounts.add(Account(0, "admin", hashed, admin=True))
        for number in range(GUIDE_CHANNELS):
            source = ChannelSource("content_id", f"{number:040x}")
            await store.lineup.add_channel(
                Channel(0, f"Channel {number}", number, sources=(source,))
            )
    finally:
        passwords.close()
        await store.close()


async def add_guide(data: Path, guide: Path) -> None:
    """As a command would, beside the running server, which then reads it at once."""
    store = await Store.open(data)
    try:
        await store.lineup.add_list(ListSource(0, "guide", str(guide), interval_seconds=86_400))
    finally:
        await store.close()


# -- the storm -------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def hung_engine() -> AsyncIterator[int]:
    """Accepts, reads, never says a word; its port."""

    async def listen(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            pass

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def guess(port: int, number: int) -> None:
    address = f"127.{1 + number % 200}.{number // 200 % 250}.{1 + number % 250}"
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.bind((address, 0))
        path = f"/player_api.php?username=guess{number}&password=wrong{number}"
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(20):
                await loop.sock_connect(sock, ("127.0.0.1", port))
                head = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
                await loop.sock_sendall(sock, head.encode())
                while await loop.sock_recv(sock, 65_536):
                    pass


async def ask_hung(port: int, number: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /ace/getstream?id={number:040x} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    with contextlib.suppress(OSError):
        await reader.read(1)
    writer.close()


async def storm(port: int, rate: int, seconds: float) -> None:
    """For so long; bounded in number by that."""
    tasks = {asyncio.create_task(ask_hung(port, 1000 + number)) for number in range(20)}
    began = time.monotonic()
    for number in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        task = asyncio.create_task(guess(port, number))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def main_of_storm(port: int, rate: int, seconds: float) -> None:
    """The storm is a process of its own, started as `storm.py --storm PORT RATE SECONDS`."""

    async def run() -> None:
        await storm(port, rate, seconds)

    asyncio.run(run())


# -- a run -----------------------------------------------------------------------------------------


def measure(stormy: bool, options: argparse.Namespace, folder: Path, guide: Path) -> Run:
    limit = options.warm_up + options.seconds + 120
    harness.wait_quiet(options.quiet_seconds)
    data = folder / f"data-{time.monotonic_ns()}"
    asyncio.run(furnish(data))
    hung = harness.Program(
        "hung",
        [sys.executable, __file__, "--hung-engine"],
        cpus=harness.cores().others,
        folder=folder,
    )
    source, source_port = harness.start_source(folder, bitrate=options.bitrate, seconds=limit)
    with hung, source:
        engine = f"http://127.0.0.1:{hung.port()}"
        command = [sys.executable, "-m", "rawstream", "serve", "--host", "127.0.0.1"]
        command += ["--port", "0", "--engine", engine, "--data", str(data)]
        program = harness.Program("rawstream", command, cpus=harness.cores().server, folder=folder)
        with program:
            port = program.logged_port(harness.RAWSTREAM_READY)
            url = f"http://127.0.0.1:{source_port}/channel.ts"
            path = f"{harness.STREAM_PATH}?url={quote(url, safe='')}"
            server = harness.Server(program, port, path)
            with harness.Load(
                server,
                folder,
                viewers=options.viewers,
                samples=options.samples,
                direct_port=source_port,
                seconds=limit,
            ) as load:
                begun_ns = load.wait_streaming()["now_ns"]
                time.sleep(options.warm_up)
                worst_child = 0
                if stormy:
                    asyncio.run(add_guide(data, guide))
                    command = [sys.executable, __file__, "--storm", str(port)]
                    command += [str(options.rate), str(options.seconds)]
                    blowing = harness.Program(
                        "storm", command, cpus=harness.cores().others, folder=folder
                    )
                    with blowing:
                        worst_child = watch(program.pid, options.seconds)
                else:
                    time.sleep(options.seconds)
                after = load.ask("snapshot")
                program.check()
            received = load.received()
            counted = metrics(port)
    viewers: dict[int, list[harness.Received]] = defaultdict(list)
    for piece in received:
        if piece.viewer != harness.DIRECT_VIEWER and piece.sent_ns >= begun_ns:
            viewers[piece.viewer].append(piece)
    if len(viewers) < options.samples:
        raise harness.BenchmarkError("a sampled viewer got nothing after its join")
    gaps = [excess_gaps(pieces) for pieces in viewers.values()]
    return Run(
        gap=max(gap for gap, _ in gaps),
        gap_chunk=max(gap for _, gap in gaps),
        disconnected=after["disconnected"],
        refused=counted.get("refused", 0),
        throttled=counted.get("throttled", 0),
        programmes=asyncio.run(programmes_in(data)),
        child_memory=worst_child,
    )


def watch(parent: int, seconds: float) -> int:
    """Wait; the most memory that a child of the server took meanwhile, in bytes."""
    worst = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        for child in children:
            with contextlib.suppress(OSError, StopIteration):
                worst = max(worst, harness.memory_bytes(int(child)))
        time.sleep(0.25)
    return worst


def metrics(port: int) -> dict[str, int]:
    """Logins that were refused and throttled."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        told = answer.read().decode()
    return {
        name: int(float(value))
        for name, value in re.findall(r"^rawstream_logins_(\w+)_total (\S+)$", told, re.M)
    }


async def programmes_in(data: Path) -> int:
    store = await Store.open(data, create=False)
    try:
        lists = await store.lineup.lists("guide")
        return await store.guide.count(lists[0].id) if lists else 0
    finally:
        await store.close()


def main() -> int:
    if sys.argv[1:2] == ["--storm"]:
        main_of_storm(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
        return 0
    if sys.argv[1:2] == ["--hung-engine"]:

        async def serve() -> None:
            async with hung_engine() as port:
                print(f"ready {port}", flush=True)
                await asyncio.sleep(3600)

        asyncio.run(serve())
        return 0
    parser = argparse.ArgumentParser(description="Viewers in a storm.")
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--samples", type=int, default=5, help="viewers who are looked at")
    parser.add_argument("--rate", type=int, default=200, help="wrong logins per second")
    parser.add_argument("--programmes", type=int, default=200_000, help="of the guide")
    parser.add_argument("--warm-up", type=float, default=4.0)
    harness.add_common(parser, rounds=3, seconds=60.0)
    parser.add_argument("--quick", action="store_true", help="1 round of 40 seconds")
    parser.add_argument("--floor-gap-ms", type=float, help="excess gap, at most, worst round")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, min(options.seconds, 40.0)
    harness.print_head("storm", "viewers while everything else goes wrong", options)
    runs: dict[bool, list[Run]] = {False: [], True: []}
    with harness.workspace() as folder:
        guide = folder / "guide.xml"
        write_guide(guide, options.programmes)
        print(f"  the guide has {guide.stat().st_size / 1e6:.0f} MB", flush=True)
        for number in range(options.rounds):
            for stormy in runs:
                run = measure(stormy, options, folder, guide)
                runs[stormy].append(run)
                label = "storm" if stormy else "calm"
                harness.progress(f"round {number + 1}: {label}: gap {run.gap:.0f} ms")
    harness.print_table(
        (
            *("median (min to max)", "excess gap, ms", "per chunk, ms", "cut off"),
            *("logins refused", "programmes", "import, MB"),
        ),
        [
            (
                "in the storm" if stormy else "calm",
                harness.Spread.of([run.gap for run in values]).text(1),
                harness.Spread.of([run.gap_chunk for run in values]).text(1),
                str(sum(run.disconnected for run in values)),
                str(sum(run.refused + run.throttled for run in values)),
                str(min(run.programmes for run in values)),
                f"{max(run.child_memory for run in values) / 1e6:.0f}",
            )
            for stormy, values in runs.items()
        ],
    )
    if any(run.programmes == 0 for run in runs[True]):
        raise harness.BenchmarkError("the guide was not imported within the run")
    floors = harness.Floors()
    floors.at_most("excess gap", max(run.gap for run in runs[True]), options.floor_gap_ms, " ms")
    floors.at_most("cut off", sum(run.disconnected for run in runs[True]), 0)
    return floors.close()


if __name__ == "__main__":
    harness.run(main)
