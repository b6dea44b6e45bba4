"""All benchmarks with the floors of the design, one after the other, and a verdict for each.

This is what `make bench` runs. Wants a quiet machine; takes about 45 minutes, with `--quick` a
third of that. Each program can be run alone and tells by `--help` what else it takes.

Run: `python benchmarks/all.py [--quick] [--only fanout,join]`. Exit status 1: a floor is missed or
something can't be measured.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
LIMIT_SECONDS = 3600.0

# Program: the floors that hold for it, and whether it knows --quick.
PROGRAMS: dict[str, tuple[list[str], bool]] = {
    "ts_scan": (["--floor", "2.0"], False),
    "fanout": (
        [
            *("--floor-epoll", "1.25", "--floor-aiohttp", "6", "--floor-starlette", "15"),
            *("--floor-memory", "8192"),
        ],
        True,
    ),
    "latency": (["--floor-p50-ms", "2", "--floor-p99-ms", "10"], True),
    "join": (["--floor-first-byte-ms", "20", "--floor-picture-ms", "150"], True),
    "import_list": (
        ["--floor-seconds", "3", "--floor-memory", "60", "--floor-gap-ms", "150"],
        True,
    ),
    "front_door": (["--floor-login", "0.4", "--floor-streams", "0.7"], True),
    "hls": (["--floor-watching", "0.4", "--floor-playlists", "0.25", "--floor-fetches", "1"], True),
    "storm": (["--floor-gap-ms", "150"], True),
    "dashboard": (
        ["--floor-core", "2", "--floor-paint-ms", "1000", "--floor-kb", "300"],
        True,
    ),
    "stall": (["--floor-gap-ms", "150", "--floor-lost", "0"], True),
}


def main() -> int:
    parser = argparse.ArgumentParser(description="All benchmarks with their floors.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--only", default="", help="names of programs: 'fanout,join'")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else list(PROGRAMS)
    unknown = set(wanted) - set(PROGRAMS)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    verdicts = []
    for name in wanted:
        floors, knows_quick = PROGRAMS[name]
        command = [sys.executable, str(HERE / f"{name}.py"), *floors]
        if options.quick and knows_quick:
            command.append("--quick")
        print(f"== {name} {' '.join(command[2:])}", flush=True)
        began = time.monotonic()
        try:
            status = subprocess.run(command, timeout=LIMIT_SECONDS, check=False).returncode
        except subprocess.TimeoutExpired:
            status = -1
        verdict = {0: "ok", 1: "floor missed", -1: "took too long"}.get(status, "can't measure")
        verdicts.append((name, verdict, time.monotonic() - began))
        print(flush=True)
    for name, verdict, seconds in verdicts:
        print(f"  {name:11} {verdict:15} {seconds:5.0f} s")
    return 0 if all(verdict == "ok" for _, verdict, _ in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
