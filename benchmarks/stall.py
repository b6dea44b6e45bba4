"""What healthy viewers notice of viewers who never read.

A tenth of the viewers ask for the channel and never read a byte (small receive buffers, spread
evenly among the others), a few more read 1,000 bytes per second. Sampled healthy viewers are
checked for losses twice: by the numbers of the source's pieces, and by the continuity counters of
every packet. Their excess gap is how much longer a viewer waited between two pieces than the source
did between sending them; per chunk, pieces that arrive together count as one.

Rows: rawstream without any stalled viewer, rawstream with them, the C epoll loop with them, and the
aiohttp server that awaits each write, where one viewer who does not read stops everybody.

Run: `python benchmarks/stall.py [--quick] [--floor-gap-ms 150 --floor-lost 0]`. Exit status 1: a
floor is missed, 2: can't measure.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import harness

from rawstream.continuity import ContinuityChecker
from rawstream.mpegts import PacketCutter

TOGETHER_NS = 2_000_000  # pieces of one chunk arrive within that
READ_BYTES = 188 * 20_000
SLOW_RATE = 1000  # bytes per second, of a channel of 600,000


class Row(NamedTuple):
    kind: str
    label: str
    stalls: bool


ROWS = (
    Row("rawstream", "rawstream, nobody stalls", False),
    Row("rawstream", "rawstream", True),
    Row("epoll", "C epoll, 64 KiB", True),
    Row("aiohttp", "aiohttp await each, 8 KiB", True),
)


class Run(NamedTuple):
    """One measurement. Gaps in ms, growth in bytes per stalled viewer."""

    gap_piece: float
    gap_chunk: float
    lost_pieces: int
    counter_errors: int
    least_share: float
    disconnected: int
    stalled_gone: int
    growth: float


def excess_gaps(pieces: list[harness.Received]) -> tuple[float, float]:
    """The greatest excess gap of one viewer in ms, per piece and per chunk; pieces in order of
    arrival.
    """
    by_piece = by_chunk = 0.0
    chunk_end = pieces[0]
    for last, piece in itertools.pairwise(pieces):
        by_piece = max(by_piece, _excess(last, piece))
        if piece.received_ns - last.received_ns > TOGETHER_NS:  # `last` was the end of a chunk
            by_chunk = max(by_chunk, _excess(chunk_end, last))
            chunk_end = last
    return by_piece, max(by_chunk, _excess(chunk_end, pieces[-1]))


def _excess(earlier: harness.Received, later: harness.Received) -> float:
    """Milliseconds that `later` came after `earlier` beyond what the source took between them."""
    waited = later.received_ns - earlier.received_ns
    return (waited - (later.sent_ns - earlier.sent_ns)) / 1e6


def counter_errors(dump: Path) -> int:
    """Breaks of the continuity counters in what one viewer received (ISO 13818-1 2.4.3.3)."""
    cutter, checker = PacketCutter(), ContinuityChecker()
    errors = 0
    with dump.open("rb") as stream:
        while data := stream.read(READ_BYTES):
            errors += len(checker.feed(cutter.feed(data)))
    return errors


def measure(row: Row, options: argparse.Namespace, folder: Path) -> Run:
    never_read = round(options.viewers * options.share)
    stalled, slow = (never_read, options.slow) if row.stalls else (0, 0)
    limit = options.warm_up + options.seconds + 60
    settings = {"RAWSTREAM_TIMEOUTS__VIEWER_STALL_SECONDS": str(options.stall_seconds)}
    harness.wait_quiet(options.quiet_seconds)
    source, source_port = harness.start_source(folder, bitrate=options.bitrate, seconds=limit)
    with source:
        server = harness.start_server(
            row.kind, folder, source_port=source_port, seconds=limit, environment=settings
        )
        with server.program:
            empty = harness.memory_bytes(server.program.pid)
            with harness.Load(
                server,
                folder,
                viewers=options.viewers - never_read - options.slow,
                stalled=stalled,
                slow=slow,
                slow_rate=SLOW_RATE,
                samples=options.samples,
                dump=True,
                direct_port=source_port,
                seconds=limit,
            ) as load:
                begun_ns = load.wait_streaming()["now_ns"]
                time.sleep(options.warm_up)
                before = load.ask("mark")
                time.sleep(options.seconds)
                after = load.ask("snapshot")
                grown = harness.memory_bytes(server.program.pid) - empty
                server.program.check()
            received = load.received()
    # The burst of the join is older than the viewer; the last second may not have reached
    # everybody.
    until_ns = after["now_ns"] - 1_000_000_000
    viewers: dict[int, list[harness.Received]] = defaultdict(list)
    for piece in received:
        if piece.viewer != harness.DIRECT_VIEWER and piece.sent_ns >= begun_ns:
            viewers[piece.viewer].append(piece)
    if len(viewers) < options.samples:
        raise harness.BenchmarkError(f"{row.label}: a sampled viewer got nothing after its join")
    lost = 0
    for pieces in viewers.values():
        numbers = {piece.sequence for piece in pieces}
        lost += max(numbers) - min(numbers) + 1 - len(numbers)
        if pieces[-1].sent_ns < until_ns:
            # A silence that has not ended is a gap as well: as if the next piece came now.
            pieces.append(
                harness.Received(pieces[-1].viewer, -1, pieces[-1].sent_ns, after["now_ns"])
            )
    gaps = [excess_gaps(pieces) for pieces in viewers.values()]
    dumps = [load.dump_prefix.with_name(f"{load.dump_prefix.name}.{n}.ts") for n in viewers]
    errors = sum(counter_errors(dump) for dump in dumps)
    for dump in folder.glob("dump.*"):
        dump.unlink()
    elapsed = (after["now_ns"] - before["now_ns"]) / 1e9
    return Run(
        gap_piece=max(gap for gap, _ in gaps),
        gap_chunk=max(gap for _, gap in gaps),
        lost_pieces=lost,
        counter_errors=errors,
        least_share=after["since"]["min"] / (options.bitrate * 1e6 / 8 * elapsed),
        disconnected=after["disconnected"],
        stalled_gone=after["stalled_disconnected"],
        growth=grown,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Healthy viewers beside viewers who never read.")
    parser.add_argument("--viewers", type=int, default=200, help="all of them")
    parser.add_argument("--share", type=float, default=0.1, help="of them never read")
    parser.add_argument("--slow", type=int, default=4, help="of them read 1,000 bytes per second")
    parser.add_argument("--samples", type=int, default=5, help="healthy viewers who are looked at")
    parser.add_argument("--warm-up", type=float, default=4.0)
    parser.add_argument(
        "--stall-seconds",
        type=float,
        default=15.0,
        help="rawstream's viewer_stall_seconds, shortened so that the run sees the stalled end",
    )
    harness.add_common(parser, rounds=3, seconds=30.0)
    parser.add_argument("--quick", action="store_true", help="1 round of 20 seconds")
    parser.add_argument(
        "--floor-gap-ms", type=float, help="excess gap per piece, at most, worst round"
    )
    parser.add_argument("--floor-lost", type=float, help="pieces lost, at most, all rounds")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, min(options.seconds, 20.0)
    harness.print_head("stall", "healthy viewers beside viewers who never read", options)

    runs: dict[Row, list[Run]] = {row: [] for row in ROWS}
    with harness.workspace() as folder:
        for number in range(options.rounds):
            for row in ROWS:
                run = measure(row, options, folder)
                runs[row].append(run)
                harness.progress(
                    f"round {number + 1}: {row.label}: "
                    f"gap {run.gap_piece:.0f} ms, lost {run.lost_pieces}"
                )
    harness.print_table(
        (
            "median (min to max)",
            "excess gap, ms",
            "per chunk, ms",
            "pieces lost",
            "counter errors",
            "least of real time",
            "cut off",
            "stalled gone",
            "grown to, MB",
        ),
        [
            (
                row.label,
                harness.Spread.of([run.gap_piece for run in values]).text(1),
                harness.Spread.of([run.gap_chunk for run in values]).text(1),
                str(sum(run.lost_pieces for run in values)),
                str(sum(run.counter_errors for run in values)),
                f"{min(run.least_share for run in values):.1%}",
                str(sum(run.disconnected for run in values)),
                str(sum(run.stalled_gone for run in values)),
                f"{max(run.growth for run in values) / 1e6:.1f}",
            )
            for row, values in runs.items()
        ],
    )
    own, other = runs[ROWS[1]], runs[ROWS[3]]
    ratio = harness.ratios([run.gap_piece for run in other], [run.gap_piece for run in own])
    print(f"  aiohttp / rawstream: excess gap {ratio.text(0, 'x')}")
    floors = harness.Floors()
    floors.at_most("excess gap", max(run.gap_piece for run in own), options.floor_gap_ms, " ms")
    lost = sum(run.lost_pieces + run.counter_errors + run.disconnected for run in own)
    floors.at_most("pieces lost, counter errors, viewers cut off", lost, options.floor_lost)
    return floors.close()


if __name__ == "__main__":
    harness.run(main)
