"""CPU per gigabyte delivered, and memory per viewer, when one channel goes to many.

rawstream, one process, is compared with each baseline in turn:

- `epoll`: a bare C epoll loop that sends the same stream in 64 KiB chunks (the least it can cost);
- `aiohttp`: await the write to each, 8 KiB, and a row at 64 KiB;
- `starlette`: a queue per client, two hops, 1 KiB, and a row at 64 KiB.

A round starts rawstream and one baseline on the same core, each with its own paced source and its
own viewers, and lets them work in turns of a few seconds: while one works, the source of the other
is silent. So a machine whose speed drifts, as virtual ones do, drifts for both. A turn begins with
some seconds that are not measured, in which a server finds its pace; its CPU is that of the server
process alone, over the same seconds as the bytes that its viewers received. A round's ratio is that
of the sums over its turns. The Python baselines get as many viewers as they can bear, since the
measure is CPU per byte that arrived.

Memory is the growth of the process between one viewer and all of them, with a small ring that is
full before, divided by the viewers.

Run: `python benchmarks/fanout.py [--quick] [--floor-epoll 1.25 --floor-aiohttp 6 --floor-starlette
15 --floor-memory 8192]`. Exit status 1: a floor is missed, 2: can't measure.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path
from typing import NamedTuple

import harness
from source import PIECE_BYTES

GIGABYTE = 1e9
WARM_UP_SECONDS = 2.2  # of a turn: rawstream looks at its load once per second
TAIL_SECONDS = 0.2  # before the end of a turn, so that the reading is under full load
START_SECONDS = 40.0
LIMIT_SECONDS = 900.0  # of one round, at most


class Row(NamedTuple):
    """A server in a configuration, and how many viewers it gets."""

    kind: str
    label: str
    viewers: int


class Turn(NamedTuple):
    """What one server did in one or more turns; CPU in seconds, of whoever the name says."""

    server_cpu: float
    bytes: int
    wanted_bytes: float
    seconds: float
    other_cpu: float  # used by what is not of the benchmark
    stolen: float

    def plus(self, other: Turn) -> Turn:
        return Turn(
            self.server_cpu + other.server_cpu,
            self.bytes + other.bytes,
            self.wanted_bytes + other.wanted_bytes,
            self.seconds + other.seconds,
            self.other_cpu + other.other_cpu,
            self.stolen + other.stolen,
        )

    @property
    def cpu_per_gb(self) -> float:
        return self.server_cpu / (self.bytes / GIGABYTE)


class Side:
    """One server with its source and its viewers, idle between its turns."""

    def __init__(self, row: Row, options: argparse.Namespace, folder: Path) -> None:
        self.row = row
        self._stack = contextlib.ExitStack()
        # Silence between the turns is ours: the server is not to look for another source.
        patient = {
            "RAWSTREAM_TIMEOUTS__SILENCE_LOOK_SECONDS": str(LIMIT_SECONDS),
            "RAWSTREAM_TIMEOUTS__SILENCE_ACT_SECONDS": str(LIMIT_SECONDS),
        }
        self.piece_seconds = PIECE_BYTES * 8 / (options.bitrate * 1e6)
        self.turn_seconds: float = options.turn_seconds
        try:
            self.source, port = harness.start_source(
                folder, bitrate=options.bitrate, seconds=LIMIT_SECONDS, on_demand=True
            )
            self._stack.enter_context(self.source)
            self.server = harness.start_server(
                row.kind, folder, source_port=port, seconds=LIMIT_SECONDS, environment=patient
            )
            self._stack.enter_context(self.server.program)
            self.load = self._stack.enter_context(
                harness.Load(self.server, folder, viewers=row.viewers, seconds=LIMIT_SECONDS)
            )
            self._start()
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self.load.ask()["streaming"] < self.row.viewers:
            if time.monotonic() > deadline:
                self.load.wait_streaming(0)
            self._begin(1.0)
            self.source.line()

    def _begin(self, seconds: float) -> None:
        self.source.tell(str(round(seconds / self.piece_seconds)))

    def turn(self) -> Turn:
        """Let it work once, and wait for the end."""
        programs = (self.server.program, self.load.program, self.source)
        self._begin(WARM_UP_SECONDS + self.turn_seconds)
        time.sleep(WARM_UP_SECONDS)
        machine = harness.machine_seconds()
        before = [harness.cpu_seconds(program.pid) for program in programs]
        begun = self.load.ask("mark")
        time.sleep(self.turn_seconds - TAIL_SECONDS)
        after = [harness.cpu_seconds(program.pid) for program in programs]
        ended = self.load.ask()
        now = harness.machine_seconds()
        self.source.line()
        if ended["disconnected"]:
            raise harness.BenchmarkError(f"{self.row.label} cut viewers off")
        seconds = (ended["now_ns"] - begun["now_ns"]) / 1e9
        used = [end - start for start, end in zip(before, after, strict=True)]
        if ended["since"]["bytes"] == 0:
            raise harness.BenchmarkError(f"{self.row.label} delivered nothing in a turn")
        return Turn(
            server_cpu=used[0],
            bytes=ended["since"]["bytes"],
            wanted_bytes=seconds / self.piece_seconds * PIECE_BYTES * self.row.viewers,
            seconds=seconds,
            other_cpu=max(0.0, now.busy - machine.busy - sum(used)),
            stolen=now.stolen - machine.stolen,
        )


NOTHING = Turn(0.0, 0, 0.0, 0.0, 0.0, 0.0)


class Round(NamedTuple):
    """The sums over the turns of rawstream and of a baseline."""

    own: Turn
    baseline: Turn


def measure(
    own: Row, baseline: Row, options: argparse.Namespace, folder: Path, *, own_first: bool
) -> Round:
    """One round; `own_first`: rawstream is started before the other, which matters by a percent."""
    harness.wait_quiet(options.quiet_seconds)
    order = (own, baseline) if own_first else (baseline, own)
    sums = dict.fromkeys(order, NOTHING)
    with Side(order[0], options, folder) as first, Side(order[1], options, folder) as second:
        for number in range(options.turns):
            # Forth and back: what drifts favours nobody.
            for side in (first, second) if number % 2 == 0 else (second, first):
                sums[side.row] = sums[side.row].plus(side.turn())
    return Round(sums[own], sums[baseline])


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
    harness.add_common(parser, rounds=4, seconds=None)
    parser.add_argument("--turn-seconds", type=float, default=3.0, help="measured")
    parser.add_argument("--turns", type=int, default=6, help="of each server in a round")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 3 turns")
    parser.add_argument("--only", default="", help="of epoll, aiohttp, starlette: 'epoll,aiohttp'")
    parser.add_argument("--memory-bitrate", type=float, default=1.0, help="Mbit/s meanwhile")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--floor-epoll", type=float, help="at most this times the CPU of C")
    parser.add_argument("--floor-aiohttp", type=float, help="at least this times less CPU")
    parser.add_argument("--floor-starlette", type=float, help="at least this times less CPU")
    parser.add_argument("--floor-memory", type=float, help="at most so many bytes per viewer")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.turns = min(options.rounds, 2), min(options.turns, 3)

    equal = harness.CHUNK_BYTES
    own = Row("rawstream", "rawstream", options.viewers)
    baselines = [
        Row("epoll", "C epoll, 64 KiB", options.viewers),
        Row("aiohttp", "aiohttp await each, 8 KiB", options.aiohttp_viewers),
        Row(f"aiohttp:{equal}", "aiohttp await each, 64 KiB", options.aiohttp_viewers),
        Row("starlette", "Starlette two hops, 1 KiB", options.starlette_viewers),
        Row(f"starlette:{equal}", "Starlette two hops, 64 KiB", options.starlette_viewers),
    ]
    if options.only:
        wanted = options.only.split(",")
        baselines = [row for row in baselines if row.kind.partition(":")[0] in wanted]
    harness.print_head("fanout", "CPU per GB delivered, memory per viewer", options)

    runs: dict[Row, list[Round]] = {row: [] for row in baselines}
    memory: dict[str, list[float]] = {"rawstream": [], "epoll": []}
    with harness.workspace() as folder:
        for number in range(options.rounds):
            for row in baselines:
                if number % 2 == 1 and ":" in row.kind:
                    continue  # the rows at equal chunks are for information: every second round
                done = measure(own, row, options, folder, own_first=number % 2 == 1)
                runs[row].append(done)
                harness.progress(
                    f"round {number + 1}: {row.label}: {done.baseline.cpu_per_gb:.3f} s/GB, "
                    f"rawstream {done.own.cpu_per_gb:.3f} s/GB"
                )
            if number < 3 and not options.no_memory:
                for kind, sizes in memory.items():
                    sizes.append(measure_memory(kind, options, folder))

    harness.print_table(
        (
            "median (min to max)",
            "viewers",
            "CPU s per GB",
            "rawstream beside it",
            "its CPU / rawstream's",
            "of a core",
            "delivered",
            "other work",
            "stolen",
        ),
        [_line(row, values) for row, values in runs.items()],
    )
    print()
    floors = harness.Floors()
    for row, values in runs.items():
        own_costs = [one.own.cpu_per_gb for one in values]
        costs = [one.baseline.cpu_per_gb for one in values]
        if row.kind == "epoll":
            ratio = harness.ratios(own_costs, costs)
            print(f"  rawstream / C epoll: {ratio.text(3, 'x')}")
            floors.at_most("CPU against C epoll", ratio.median, options.floor_epoll, "x")
        floor = {"aiohttp": options.floor_aiohttp, "starlette": options.floor_starlette}
        ratio = harness.ratios(costs, own_costs)
        floors.at_least(f"{row.label} / rawstream", ratio.median, floor.get(row.kind), "x")
    for kind, sizes in memory.items():
        if sizes:
            print(f"  memory per viewer, {kind}: {harness.Spread.of(sizes).text(0, ' B')}")
    if memory["rawstream"]:
        middle = harness.Spread.of(memory["rawstream"]).median
        floors.at_most("memory per viewer", middle, options.floor_memory, " B")
    return floors.close()


def _line(row: Row, values: list[Round]) -> tuple[str, ...]:
    theirs = [one.baseline for one in values]
    both = theirs + [one.own for one in values]
    costs = [one.cpu_per_gb for one in theirs]
    beside = [one.own.cpu_per_gb for one in values]
    return (
        row.label,
        str(row.viewers),
        harness.Spread.of(costs).text(3),
        harness.Spread.of(beside).text(3),
        harness.ratios(costs, beside).text(2, "x"),
        harness.Spread.of([one.server_cpu / one.seconds * 100 for one in theirs]).text(0, " %"),
        f"{min(one.bytes / one.wanted_bytes for one in both):.1%}",
        f"{max(one.other_cpu / one.seconds for one in both):.0%}",
        f"{max(one.stolen / one.seconds for one in both):.1%}",
    )


if __name__ == "__main__":
    harness.run(main)
