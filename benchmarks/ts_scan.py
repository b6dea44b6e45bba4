"""How fast the transport stream scanner reads on one core, beside three baselines run in turn.

    python benchmarks/ts_scan.py [--floor 2.0] [--seconds 20] [--bitrate 5 --bitrate 8]

Subjects take turns, round after round, so that a busy neighbour hits all of them; a figure is the
median of the rounds with the least and the most. Time is the thread's CPU time. The baselines are a
loop over packets in Python that reads the same header fields and follows none of them up, a copy of
the chunk, and one `bytes.count` of the sync byte over all of it.

Exit status 1 when the scanner's median, in chunks of 65,424 bytes, is below `--floor` (GB/s) for
any bitrate.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from source import clip_path

import rawstream
from rawstream.mpegts import PACKET_SIZE, PacketCutter, TsScanner

CHUNK_BYTES = 348 * PACKET_SIZE
WHOLE_SCAN = f"scan, chunks of {CHUNK_BYTES:,} bytes"
NAIVE = "baseline: loop per packet"
COPY = "baseline: copy"
COUNT = "baseline: bytes.count"


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def without_entry_flags(data: bytes) -> bytes:
    """The same stream without random_access_indicator, so that pictures are looked into."""
    changed = bytearray(data)
    for at in range(0, len(data), PACKET_SIZE):
        if data[at + 3] & 0x20 and data[at + 4]:
            changed[at + 5] &= 0xBF
    return bytes(changed)


def scan(chunks: Iterable[bytes]) -> None:
    scanner = TsScanner()
    for chunk in chunks:
        scanner.scan(chunk)


def cut_and_scan(received: Iterable[bytes]) -> None:
    cutter = PacketCutter()
    scanner = TsScanner()
    for data in received:
        scanner.scan(cutter.feed(data))


def loop_per_packet(chunks: Iterable[bytes]) -> int:
    """Read what the scanner reads in every packet, and do nothing with it."""
    events = 0
    for chunk in chunks:
        for at in range(0, len(chunk), PACKET_SIZE):
            pid = (chunk[at + 1] & 0x1F) << 8 | chunk[at + 2]
            control = chunk[at + 3]
            if pid == 0 or chunk[at + 1] & 0x40:
                events += 1
            if control & 0x20 and chunk[at + 4] and chunk[at + 5] & 0xD0:
                events += 1
    return events


def copy(chunks: Iterable[bytes]) -> None:
    for chunk in chunks:
        bytearray(chunk)


def count(chunks: Iterable[bytes]) -> None:
    for chunk in chunks:
        chunk.count(b"\x47")


def subjects(data: bytes) -> dict[str, Callable[[], object]]:
    chunks = pieces(data, CHUNK_BYTES)
    return {
        WHOLE_SCAN: partial(scan, chunks),
        "scan, 16,356 bytes": partial(scan, pieces(data, 87 * PACKET_SIZE)),
        "scan, 1,316 bytes": partial(scan, pieces(data, 7 * PACKET_SIZE)),
        "scan, no flags: looks into pictures": partial(
            scan, pieces(without_entry_flags(data), CHUNK_BYTES)
        ),
        "cut and scan, whole packets": partial(cut_and_scan, chunks),
        "cut and scan, 65,536 bytes": partial(cut_and_scan, pieces(data, 65_536)),
        "cut and scan, 16,384 bytes": partial(cut_and_scan, pieces(data, 16_384)),
        NAIVE: partial(loop_per_packet, chunks),
        COPY: partial(copy, chunks),
        COUNT: partial(count, chunks),
    }


def measure(data: bytes, seconds: float) -> dict[str, list[float]]:
    """GB/s of every subject by round, for about `seconds` in all and three rounds at least."""
    runs = subjects(data)
    figures: dict[str, list[float]] = {name: [] for name in runs}
    end = time.monotonic() + seconds
    for work in runs.values():
        work()
    while time.monotonic() < end or len(figures[NAIVE]) < 3:
        for name, work in runs.items():
            started = time.thread_time()
            work()
            figures[name].append(len(data) / (time.thread_time() - started) / 1e9)
    return figures


def report(bitrate: float, data: bytes, figures: dict[str, list[float]]) -> float:
    """Print the table of one bitrate; the median that the floor is about."""
    medians = {name: statistics.median(values) for name, values in figures.items()}
    chunk_us = CHUNK_BYTES / medians[WHOLE_SCAN] / 1e3
    print(
        f"\nH.264 and AAC at {bitrate:g} Mbit/s, {len(data):,} bytes, {len(figures[NAIVE])} rounds;"
        f" a chunk is scanned in {chunk_us:.1f} us"
    )
    print(
        f"{'':38}{'median':>8} {'min':>8} {'max':>8}  GB/s"
        f" {'x loop':>8} {'x copy':>7} {'x count':>8}"
    )
    for name, values in figures.items():
        ratios = [medians[name] / medians[baseline] for baseline in (NAIVE, COPY, COUNT)]
        print(
            f"{name:38}{medians[name]:8.3f} {min(values):8.3f} {max(values):8.3f}       "
            f"{ratios[0]:8.1f} {ratios[1]:7.2f} {ratios[2]:8.2f}"
        )
    return medians[WHOLE_SCAN]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--floor", type=float, default=2.0, help="GB/s, exit status 1 below")
    parser.add_argument("--seconds", type=float, default=20.0, help="of measuring, in all")
    parser.add_argument(
        "--bitrate", type=float, action="append", help="Mbit/s; may be repeated (5 and 8)"
    )
    options = parser.parse_args()
    bitrates = options.bitrate or [5.0, 8.0]
    load = os.getloadavg()[0]
    print(
        f"rawstream {rawstream.__version__}, {platform.python_implementation()}"
        f" {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores,"
        f" load {load:.1f}"
    )
    slowest = float("inf")
    for bitrate in bitrates:
        data = clip_path(int(bitrate * 1_000_000)).read_bytes()
        data = data[: len(data) // CHUNK_BYTES * CHUNK_BYTES]
        figures = measure(data, options.seconds / len(bitrates))
        slowest = min(slowest, report(bitrate, data, figures))
    verdict = "reached" if slowest >= options.floor else "MISSED"
    print(f"\nfloor {options.floor:g} GB/s: {verdict} with {slowest:.2f}")
    return 0 if slowest >= options.floor else 1


if __name__ == "__main__":
    sys.exit(main())
