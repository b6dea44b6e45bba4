"""CPU per gigabyte delivered, and memory per viewer, when one channel goes to many.

What is compared, round after round in turn, each server alone on a core with the same paced source:

- rawstream, one process;
- `epoll`: a bare C epoll loop that sends the same stream in 64 KiB chunks (the least it can cost);
- `aiohttp`: await the write to each, 8 KiB, and a row at 64 KiB;
- `starlette`: a queue per client, two hops, 1 KiB, and a row at 64 KiB.

The Python baselines get as many viewers as they can bear, since the measure is CPU per byte that
arrived. CPU is that of the server process alone, read over the same seconds as the bytes that its
viewers received.

Memory is read from rawstream and from epoll once per round: the growth of the process between one
viewer and all of them, after its ring is full, divided by the viewers.

Run: `python benchmarks/fanout.py [--quick] [--floor-epoll 1.25 --floor-aiohttp 6 --floor-starlette
15 --floor-memory 8192]`. Exit status 1: a floor is missed, 2: can't measure.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import harness

GIGABYTE = 1e9


class Row(NamedTuple):
    """A server in a configuration, and how many viewers it gets."""

    kind: str
    label: str
    viewers: int


class Run(NamedTuple):
    """One measurement of one server."""

    cpu_per_gb: float
    delivered_share: float  # of what real time asks for
    core_share: float
    stolen_share: float
    foreign_share: float  # cores that were busy with what is not of the benchmark
    lost_viewers: int


def measure(row: Row, options: argparse.Namespace, folder: Path, seconds: float) -> Run:
    """CPU per GB of one server, over `seconds` after all of its viewers have had bytes."""
    limit = options.warm_up + seconds + 90
    harness.wait_quiet(options.quiet_seconds)
    source, source_port = harness.start_source(folder, bitrate=options.bitrate, seconds=limit)
    with source:
        server = harness.start_server(row.kind, folder, source_port=source_port, seconds=limit)
        with (
            server.program,
            harness.Load(server, folder, viewers=row.viewers, seconds=limit) as load,
        ):
            load.wait_streaming()
            time.sleep(options.warm_up)
            before = load.ask("mark")
            programs = (server.program, load.program, source)
            started = [harness.cpu_seconds(program.pid) for program in programs]
            machine = harness.machine_seconds()
            time.sleep(seconds)
            after = load.ask("snapshot")
            ended = [harness.cpu_seconds(program.pid) for program in programs]
            used = [end - start for start, end in zip(started, ended, strict=True)]
            cpu = used[0]
            busy = harness.machine_seconds().busy - machine.busy
            stolen = harness.machine_seconds().stolen - machine.stolen
            server.program.check()
    elapsed = (after["now_ns"] - before["now_ns"]) / 1e9
    delivered: int = after["since"]["bytes"]
    if delivered == 0:
        raise harness.BenchmarkError(f"{row.label} delivered nothing")
    return Run(
        cpu_per_gb=cpu / (delivered / GIGABYTE),
        delivered_share=delivered / (row.viewers * options.bitrate * 1e6 / 8 * elapsed),
        core_share=cpu / elapsed,
        stolen_share=stolen / elapsed,
        foreign_share=max(0.0, busy - sum(used)) / elapsed,
        lost_viewers=after["disconnected"],
    )


def measure_memory(kind: str, options: argparse.Namespace, folder: Path) -> float:
    """Bytes of the process per viewer: its growth from one viewer to all, the ring being full
    before.
    """
    # A ring that still grows would be counted as the viewers' share: a small one is full soon, and
    # at a low bitrate its ups and downs are small as well.
    ring = {"RAWSTREAM_LIMITS__RING_BYTES": "192512", "RAWSTREAM_LIMITS__RING_SECONDS": "1"}
    settle = 8.0
    limit = settle * 3 + options.viewers / 500 + 60
    bitrate = options.memory_bitrate
    harness.wait_quiet(options.quiet_seconds)
    source, source_port = harness.start_source(folder, bitrate=bitrate, seconds=limit)
    with source:
        server = harness.start_server(
            kind, folder, source_port=source_port, seconds=limit, environment=ring
        )
        with server.program, harness.Load(server, folder, viewers=1, seconds=limit) as first:
            first.wait_streaming()
            time.sleep(settle)
            before = harness.memory_bytes(server.program.pid)
            with harness.Load(server, folder, viewers=options.viewers, seconds=limit) as load:
                load.wait_streaming()
                time.sleep(settle)
                after = harness.memory_bytes(server.program.pid)
                counters = load.ask("snapshot")
            if counters["disconnected"]:
                raise harness.BenchmarkError("viewers were lost while memory was measured")
    viewers: int = options.viewers
    return (after - before) / viewers


def main() -> int:
    parser = argparse.ArgumentParser(description="CPU per GB delivered and memory per viewer.")
    parser.add_argument("--viewers", type=int, default=1000)
    parser.add_argument("--aiohttp-viewers", type=int, default=500)
    parser.add_argument("--starlette-viewers", type=int, default=60)
    parser.add_argument("--warm-up", type=float, default=4.0)
    harness.add_common(parser, rounds=6, seconds=10.0)
    parser.add_argument("--quick", action="store_true", help="4 rounds of 6 seconds")
    parser.add_argument("--only", default="", help="of rawstream, epoll, aiohttp, starlette: 'a,b'")
    parser.add_argument("--memory-bitrate", type=float, default=1.0, help="Mbit/s meanwhile")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--floor-epoll", type=float, help="at most this times the CPU of C")
    parser.add_argument("--floor-aiohttp", type=float, help="at least this times less CPU")
    parser.add_argument("--floor-starlette", type=float, help="at least this times less CPU")
    parser.add_argument("--floor-memory", type=float, help="at most so many bytes per viewer")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = min(options.rounds, 4), min(options.seconds, 6.0)

    equal = harness.CHUNK_BYTES
    rows = [
        Row("rawstream", "rawstream", options.viewers),
        Row("epoll", "C epoll, 64 KiB", options.viewers),
        Row("aiohttp", "aiohttp await each, 8 KiB", options.aiohttp_viewers),
        Row(f"aiohttp:{equal}", "aiohttp await each, 64 KiB", options.aiohttp_viewers),
        Row("starlette", "Starlette two hops, 1 KiB", options.starlette_viewers),
        Row(f"starlette:{equal}", "Starlette two hops, 64 KiB", options.starlette_viewers),
    ]
    if options.only:
        wanted = options.only.split(",")
        rows = [row for row in rows if row.kind.partition(":")[0] in wanted]
    harness.print_head("fanout", "CPU per GB delivered, memory per viewer", options)

    runs: dict[str, list[Run]] = {row.kind: [] for row in rows}
    memory: dict[str, list[float]] = {
        row.kind: [] for row in rows if row.viewers == options.viewers
    }
    with harness.workspace() as folder:
        for number in range(options.rounds):
            # Forth and back, so that a drift of the machine favours nobody.
            for row in rows if number % 2 == 0 else reversed(rows):
                run = measure(row, options, folder, options.seconds)
                runs[row.kind].append(run)
                harness.progress(
                    f"round {number + 1}: {row.label}: {run.cpu_per_gb:.3f} s/GB, "
                    f"{run.core_share:.0%} of a core, {run.delivered_share:.0%} of real time"
                )
            if number < 3 and not options.no_memory:
                for kind in memory:
                    memory[kind].append(measure_memory(kind, options, folder))

    floors = harness.Floors()
    own = [run.cpu_per_gb for run in runs.get("rawstream", ())]
    table = []
    for row in rows:
        costs = [run.cpu_per_gb for run in runs[row.kind]]
        compared = harness.ratios(costs, own).text(2, "x") if own else "-"
        table.append(
            (
                row.label,
                str(row.viewers),
                harness.Spread.of(costs).text(3),
                compared,
                harness.Spread.of([run.core_share * 100 for run in runs[row.kind]]).text(0, " %"),
                f"{min(run.delivered_share for run in runs[row.kind]):.1%}",
                f"{max(run.stolen_share for run in runs[row.kind]):.1%}",
                harness.Spread.of([run.foreign_share * 100 for run in runs[row.kind]]).text(
                    0, " %"
                ),
                str(sum(run.lost_viewers for run in runs[row.kind])),
            )
        )
    harness.print_table(
        (
            "median (min to max)",
            "viewers",
            "CPU s per GB",
            "against rawstream",
            "of a core",
            "of real time",
            "stolen",
            "other work",
            "cut off",
        ),
        table,
    )
    if own and "epoll" in runs:
        ratio = harness.ratios(own, [run.cpu_per_gb for run in runs["epoll"]])
        print(f"\n  rawstream / C epoll: {ratio.text(3, 'x')}")
        floors.at_most("CPU against C epoll", ratio.median, options.floor_epoll, "x")
    for kind, floor in (("aiohttp", options.floor_aiohttp), ("starlette", options.floor_starlette)):
        if own and kind in runs:
            ratio = harness.ratios([run.cpu_per_gb for run in runs[kind]], own)
            floors.at_least(f"{kind} against rawstream", ratio.median, floor, "x")
    for kind, values in memory.items():
        if values:
            print(f"  memory per viewer, {kind}: {harness.Spread.of(values).text(0, ' B')}")
    if memory.get("rawstream"):
        middle = harness.Spread.of(memory["rawstream"]).median
        floors.at_most("memory per viewer", middle, options.floor_memory, " B")
    return floors.close()


if __name__ == "__main__":
    harness.run(main)
