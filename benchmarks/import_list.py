"""How long a long channel list takes to import, and what viewers notice of it.

A list of 40,000 entries is imported into an empty data directory by the command an operator runs,
then again with nothing new in it, then in another order. Seconds are the command's from start to
end; memory is its greatest resident size less that of the same command on a list of ten entries.
Beside it stands the work that nobody can leave out: the same rows put into the same tables by
SQLite alone, out of memory.

The last import goes into the directory of a server that streams to viewers meanwhile; their excess
gap is how much longer a viewer waited between two pieces than the source did between sending them.

Run: `python benchmarks/import_list.py [--quick] [--floor-seconds 3 --floor-memory 60
--floor-gap-ms 150]`. Exit status 1: a floor is missed, 2: can't measure.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import harness
from stall import excess_gaps

from rawstream.database import FILE_NAME, prepare

GROUPS = 200
FEW = 10  # entries of the list that shows what the command takes by itself
IMPORT_SECONDS = 120.0


class Run(NamedTuple):
    """One round. Seconds of the command, MB above a short list's, ms of excess gap."""

    bare: float
    first: float
    again: float
    shuffled: float
    first_memory: float
    again_memory: float
    shuffled_memory: float
    gap: float
    gap_before: float


class Import(NamedTuple):
    seconds: float
    resident: int


def write_list(path: Path, numbers: Sequence[int]) -> None:
    with path.open("w") as file:
        file.write("#EXTM3U\n")
        for n in numbers:
            file.write(
                f'#EXTINF:-1 tvg-id="channel{n}.example" tvg-name="Channel {n}"'
                f' tvg-logo="http://logos.example/{n}.png" group-title="Group {n % GROUPS}",'
                f"Channel {n} HD\nhttp://panel.example:8080/live/user/password/{n}.ts\n"
            )


def take(path: Path, data: Path, folder: Path) -> Import:
    """Run the command. Raises BenchmarkError when it fails."""
    command = [sys.executable, "-m", "rawstream", "import", "playlist", str(path)]
    began = time.monotonic()
    with harness.Program(
        "import", [*command, "--data", str(data)], cpus=harness.cores().others, folder=folder
    ) as program:
        # asked for here, since only wait4 tells the greatest size
        _pid, status, used = os.wait4(program.pid, 0)
        seconds = time.monotonic() - began
        program.process.returncode = os.waitstatus_to_exitcode(status)
        if program.process.returncode:
            program.check()
    return Import(seconds, used.ru_maxrss * 1024)


def bare_seconds(numbers: Sequence[int], folder: Path) -> float:
    """The same rows by SQLite alone."""
    path = Path(tempfile.mkdtemp(prefix="bare-", dir=folder)) / FILE_NAME
    prepare(path, create=True)
    channels = [
        (
            *(n + 1, f"Channel {n} HD", n, f"http://logos.example/{n}.png", f"channel{n}.example"),
            f"direct:http://panel.example:8080/live/user/password/{n}.ts\nchannel{n}.example"
            f"\tchannel {n} hd\nchannel {n} hd\tGroup {n % GROUPS}",
        )
        for n in numbers
    ]
    sources = [
        (n + 1, 0, "direct", f"http://panel.example:8080/live/user/password/{n}.ts")
        for n in numbers
    ]
    groups = [(n + 1, 0, n % GROUPS + 1) for n in numbers]
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = NORMAL")
        began = time.monotonic()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO categories (id, name) VALUES (?, ?)",
            [(n + 1, f"Group {n}") for n in range(GROUPS)],
        )
        connection.executemany(
            "INSERT INTO channels (id, name, position, logo, guide_id, identity)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            channels,
        )
        connection.executemany(
            "INSERT INTO channel_sources (channel_id, place, kind, value) VALUES (?, ?, ?, ?)",
            sources,
        )
        connection.executemany("INSERT INTO channel_categories VALUES (?, ?, ?)", groups)
        connection.execute("COMMIT")
        return time.monotonic() - began


def gaps(path: Path, options: argparse.Namespace, folder: Path) -> tuple[float, float]:
    """The greatest excess gap of a viewer while the list is imported into the directory of the
    server, and in as long a time before.
    """
    limit = 2 * options.warm_up + 2 * options.seconds + IMPORT_SECONDS
    source, source_port = harness.start_source(folder, bitrate=options.bitrate, seconds=limit)
    data = Path(tempfile.mkdtemp(prefix="served-", dir=folder))
    with source:
        server = harness.start_server(
            "rawstream",
            folder,
            source_port=source_port,
            seconds=limit,
            data=data,
        )
        with (
            server.program,
            harness.Load(
                server,
                folder,
                viewers=options.viewers,
                samples=options.samples,
                direct_port=source_port,
                seconds=limit,
            ) as load,
        ):
            load.wait_streaming()
            time.sleep(options.warm_up)
            begun_ns = load.ask("mark")["now_ns"]
            time.sleep(options.seconds)
            import_ns = load.ask("mark")["now_ns"]
            take(path, data, folder)
            time.sleep(options.seconds)  # the server reads what has changed
            end_ns = load.ask("snapshot")["now_ns"] - 1_000_000_000
            server.program.check()
        received = load.received()
    return _worst(received, import_ns, end_ns), _worst(received, begun_ns, import_ns)


def _worst(received: Sequence[harness.Received], begin_ns: int, end_ns: int) -> float:
    viewers: dict[int, list[harness.Received]] = defaultdict(list)
    for piece in received:
        if piece.viewer != harness.DIRECT_VIEWER and begin_ns <= piece.sent_ns < end_ns:
            viewers[piece.viewer].append(piece)
    if not viewers:
        raise harness.BenchmarkError("no sampled viewer got anything")
    return max(excess_gaps(pieces)[0] for pieces in viewers.values())


def measure(options: argparse.Namespace, folder: Path) -> Run:
    numbers = list(range(options.entries))
    path, few = folder / "list.m3u", folder / "few.m3u"
    data = Path(tempfile.mkdtemp(prefix="data-", dir=folder))
    write_list(few, numbers[:FEW])
    harness.wait_quiet(options.quiet_seconds)
    base = take(few, data / "few", folder).resident
    bare = bare_seconds(numbers, folder)
    write_list(path, numbers)
    first, again = (take(path, data / "many", folder) for _ in range(2))
    random.Random(1).shuffle(numbers)
    write_list(path, numbers)
    shuffled = take(path, data / "many", folder)
    gap, gap_before = gaps(path, options, folder)
    shutil.rmtree(data)
    megabytes = [(one.resident - base) / 1e6 for one in (first, again, shuffled)]
    return Run(bare, first.seconds, again.seconds, shuffled.seconds, *megabytes, gap, gap_before)


def main() -> int:
    parser = argparse.ArgumentParser(description="A long channel list into the line-up.")
    parser.add_argument("--entries", type=int, default=40_000)
    parser.add_argument("--viewers", type=int, default=100, help="of the server meanwhile")
    parser.add_argument("--samples", type=int, default=10, help="viewers who are looked at")
    parser.add_argument("--warm-up", type=float, default=4.0)
    harness.add_common(parser, rounds=3, seconds=6.0)
    parser.add_argument("--quick", action="store_true", help="1 round")
    parser.add_argument("--floor-seconds", type=float, help="at most, every kind of import")
    parser.add_argument("--floor-memory", type=float, help="MB above a short list's, at most")
    parser.add_argument("--floor-gap-ms", type=float, help="excess gap meanwhile, worst round")
    options = parser.parse_args()
    if options.quick:
        options.rounds = 1
    harness.print_head("import_list", "a long channel list into the line-up", options)

    runs: list[Run] = []
    with harness.workspace() as folder:
        for number in range(options.rounds):
            runs.append(run := measure(options, folder))
            harness.progress(
                f"round {number + 1}: first {run.first:.2f} s, again {run.again:.2f} s, "
                f"gap {run.gap:.0f} ms"
            )
    rows = []
    for label, name in (("first", "first"), ("nothing new", "again"), ("shuffled", "shuffled")):
        seconds = [getattr(run, name) for run in runs]
        memory = [getattr(run, f"{name}_memory") for run in runs]
        ratio = harness.ratios(seconds, [run.bare for run in runs])
        rows.append(
            (
                label,
                harness.Spread.of(seconds).text(2),
                ratio.text(1, "x"),
                harness.Spread.of(memory).text(0),
            )
        )
    rows.append(("SQLite alone", harness.Spread.of([run.bare for run in runs]).text(2), "", ""))
    harness.print_table(("median (min to max)", "seconds", "SQLite alone", "MB more"), rows)
    before = harness.Spread.of([run.gap_before for run in runs])
    meanwhile = harness.Spread.of([run.gap for run in runs])
    print(f"  excess gap: {meanwhile.text(1, ' ms')} meanwhile, {before.text(1, ' ms')} before")
    floors = harness.Floors()
    slowest = max(harness.Spread.of([r[place] for r in runs]).median for place in (1, 2, 3))
    floors.at_most("slowest import", slowest, options.floor_seconds, " s")
    memory = [max(run[4:7]) for run in runs]
    floors.at_most("memory", harness.Spread.of(memory).median, options.floor_memory, " MB")
    floors.at_most("excess gap", meanwhile.maximum, options.floor_gap_ms, " ms")
    return floors.close()


if __name__ == "__main__":
    harness.run(main)
