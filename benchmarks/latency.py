"""What a server adds to the delay of a piece, with a hundred viewers on the channel.

The source stamps each piece (16,356 bytes) with the time at which it was handed to the kernel;
sampled viewers note when the last byte of it is there, and so does one viewer that is connected to
the source directly. The delay a server adds to a piece is the difference between the two. Some
viewers are sampled, spread over all; the load process reads them one after another, and that is
counted as the server's delay as well.

Baselines: the C epoll loop sending each piece as it comes, and the aiohttp server that awaits each
write (8 KiB).

Run: `python benchmarks/latency.py [--quick] [--floor-p50-ms 2 --floor-p99-ms 10]`. Exit status 1: a
floor is missed, 2: can't measure.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import harness
from source import PIECE_BYTES

KINDS = {
    "rawstream": "rawstream",
    f"epoll:{PIECE_BYTES}": "C epoll, each piece",
    "aiohttp": "aiohttp await each, 8 KiB",
}


class Run(NamedTuple):
    """Milliseconds of one measurement."""

    added_p50: float
    added_p99: float
    added_max: float
    direct_p50: float
    direct_p99: float
    pieces: int


def measure(kind: str, options: argparse.Namespace, folder: Path) -> Run:
    limit = options.warm_up + options.seconds + 60
    harness.wait_quiet(options.quiet_seconds)
    source, source_port = harness.start_source(folder, bitrate=options.bitrate, seconds=limit)
    with source:
        server = harness.start_server(kind, folder, source_port=source_port, seconds=limit)
        with (
            server.program,
            harness.Load(
                server,
                folder,
                viewers=options.viewers,
                samples=min(options.samples, options.viewers),
                direct_port=source_port,
                seconds=limit,
            ) as load,
        ):
            load.wait_streaming()
            time.sleep(options.warm_up)
            since_ns = load.ask("mark")["now_ns"]
            time.sleep(options.seconds)
            counters = load.ask("snapshot")
            server.program.check()
        received = load.received()
    if counters["disconnected"]:
        raise harness.BenchmarkError(f"{kind} lost {counters['disconnected']} viewers")
    # A second before the end is left out: what is under way then has not reached everybody.
    until_ns = counters["now_ns"] - 1_000_000_000
    measured = [piece for piece in received if since_ns <= piece.sent_ns < until_ns]
    direct = {p.sequence: p.received_ns for p in measured if p.viewer == harness.DIRECT_VIEWER}
    straight = [
        (p.received_ns - p.sent_ns) / 1e6 for p in measured if p.viewer == harness.DIRECT_VIEWER
    ]
    added = [
        (p.received_ns - direct[p.sequence]) / 1e6
        for p in measured
        if p.viewer != harness.DIRECT_VIEWER and p.sequence in direct
    ]
    expected = len(direct) * min(options.samples, options.viewers)
    if len(added) < expected:
        harness.progress(f"{kind}: {expected - len(added)} of {expected} pieces did not arrive")
    return Run(
        harness.percentile(added, 0.5),
        harness.percentile(added, 0.99),
        max(added),
        harness.percentile(straight, 0.5),
        harness.percentile(straight, 0.99),
        len(added),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="The delay a server adds to a piece.")
    parser.add_argument("--viewers", type=int, default=100)
    parser.add_argument("--samples", type=int, default=10, help="viewers whose bytes are looked at")
    parser.add_argument("--warm-up", type=float, default=5.0)
    harness.add_common(parser, rounds=5, seconds=15.0)
    parser.add_argument("--quick", action="store_true", help="3 rounds of 8 seconds")
    parser.add_argument("--floor-p50-ms", type=float, help="at most this added, median")
    parser.add_argument("--floor-p99-ms", type=float, help="at most this added, 99th percentile")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = min(options.rounds, 3), min(options.seconds, 8.0)
    harness.print_head("latency", "delay added to a piece of 16 KiB", options)

    runs: dict[str, list[Run]] = {kind: [] for kind in KINDS}
    with harness.workspace() as folder:
        for number in range(options.rounds):
            for kind, label in KINDS.items():
                run = measure(kind, options, folder)
                runs[kind].append(run)
                harness.progress(
                    f"round {number + 1}: {label}: p50 {run.added_p50:.2f} ms, "
                    f"p99 {run.added_p99:.2f} ms"
                )
    table = [
        (
            label,
            harness.Spread.of([run.added_p50 for run in runs[kind]]).text(2),
            harness.Spread.of([run.added_p99 for run in runs[kind]]).text(2),
            f"{max(run.added_max for run in runs[kind]):.1f}",
            harness.Spread.of([run.direct_p50 for run in runs[kind]]).text(2),
            harness.Spread.of([run.direct_p99 for run in runs[kind]]).text(2),
            str(sum(run.pieces for run in runs[kind])),
        )
        for kind, label in KINDS.items()
    ]
    harness.print_table(
        (
            "ms, median (min to max)",
            "added p50",
            "added p99",
            "added max",
            "direct p50",
            "direct p99",
            "pieces",
        ),
        table,
    )
    own = runs["rawstream"]
    for kind, label in KINDS.items():
        if kind != "rawstream":
            middle = harness.ratios([r.added_p50 for r in own], [r.added_p50 for r in runs[kind]])
            tail = harness.ratios([r.added_p99 for r in own], [r.added_p99 for r in runs[kind]])
            print(f"  rawstream / {label}: p50 {middle.text(2, 'x')}, p99 {tail.text(2, 'x')}")
    floors = harness.Floors()
    p50 = harness.Spread.of([run.added_p50 for run in own]).median
    p99 = harness.Spread.of([run.added_p99 for run in own]).median
    floors.at_most("added p50", p50, options.floor_p50_ms, " ms")
    floors.at_most("added p99", p99, options.floor_p99_ms, " ms")
    return floors.close()


if __name__ == "__main__":
    harness.run(main)
