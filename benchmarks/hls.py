"""HLS watchers of one channel: requests per second of CPU, beside nginx that has the same files.

A thousand watchers reload the playlist once in a target duration and fetch its newest segment each
time, over connections that are kept (`load_hls.c`). rawstream packages the channel, knows each
watcher by his token and counts his leave; nginx (one process, no log) sends the very playlist and
segments as files from memory, by `sendfile`, and does nothing else: about the least that it can
cost. They work in turns of some seconds on the same core, forth and back, so that a machine whose
speed drifts drifts for both. Only the server's CPU counts. Rows:

- `watching`: playlists and segments, as players ask;
- `playlists`: playlists alone, as they ask behind a cache that has the segments.

Then the same watchers come through an nginx that keeps segments by their path, as
docs/reverse-proxy.md says: how often rawstream is asked for each.

Needs nginx (Debian: `nginx-light`) and a C compiler.

Run: `python benchmarks/hls.py [--quick] [--floor-watching 0.4 --floor-playlists 0.25
--floor-fetches 1]`. Exit status 1: a floor is missed, 2: can't measure.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import socket
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import harness

SHARED_MEMORY = Path("/dev/shm")
PLAYLIST = "live.m3u8"
MIRROR_SECONDS = 0.2
WARM_UP_SECONDS = 1.0
LIMIT_SECONDS = 3600.0
WINDOW = 3  # segments before a measurement begins
KEPT_SEGMENTS = 20  # in nginx's folder


class Row(NamedTuple):
    """`share`: how much of the watchers' period passes between two turns of one."""

    name: str
    share: float
    segments: bool


ROWS = (Row("watching", 1.0, True), Row("playlists", 0.25, False))


class Turn(NamedTuple):
    """What one server did in one or more turns."""

    cpu: float
    requests: int
    wanted: float
    bytes: int
    seconds: float

    def plus(self, other: Turn) -> Turn:
        return Turn(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def per_cpu_second(self) -> float:
        return self.requests / self.cpu


NOTHING = Turn(0.0, 0, 0.0, 0, 0.0)


class Watchers:
    """The watchers of load_hls.c at one server."""

    def __init__(
        self, port: int, path: str, row: Row, options: argparse.Namespace, folder: Path
    ) -> None:
        self.row = row
        self.watchers: int = options.watchers
        self.period: float = options.period * row.share
        command = [str(harness.build("load_hls")), "--port", str(port), "--path", path]
        command += ["--watchers", str(options.watchers), "--period", str(self.period)]
        command += [] if row.segments else ["--no-segments"]
        self.program = harness.Program(
            "load_hls", command, cpus=harness.cores().others, folder=folder
        )

    def __enter__(self) -> Watchers:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.end()

    def tell(self, word: str) -> dict[str, Any]:
        self.program.tell(word)
        counters: dict[str, Any] = json.loads(self.program.line(harness.ASK_SECONDS))
        if counters["bad_answers"]:
            raise harness.BenchmarkError(f"a bad answer: {counters['first_bad_answer']}")
        return counters

    def turn(self, server: harness.Program, seconds: float) -> Turn:
        """Let them watch, and wait until each has what he asked for."""
        self.tell("go")
        time.sleep(WARM_UP_SECONDS)
        cpu = harness.cpu_seconds(server.pid)
        begun = self.tell("mark")
        time.sleep(seconds)
        used = harness.cpu_seconds(server.pid) - cpu
        ended = self.tell("snapshot")
        self.tell("stop")
        requests = ended["playlists"] + ended["segments"]
        if not requests:
            raise harness.BenchmarkError(f"{server.name} answered nothing in a turn")
        passed = (ended["now_ns"] - begun["now_ns"]) / 1e9
        wanted = passed / self.period * self.watchers * (1 + self.row.segments)
        return Turn(used, requests, wanted, ended["bytes"], passed)


class Mirror(threading.Thread):
    """What rawstream serves, as files for nginx: segments first, then the playlist in one piece."""

    def __init__(self, base: str, path: str, root: Path) -> None:
        super().__init__(name="mirror", daemon=True)
        self.base = base
        self.url = base + path
        self.root = root
        self.over = threading.Event()
        self.kept: list[Path] = []

    def run(self) -> None:
        while not self.over.wait(MIRROR_SECONDS):
            with contextlib.suppress(urllib.error.URLError):  # 503: no segment yet
                self._copy()

    def _copy(self) -> None:
        body = _get(self.url)
        for uri in _segments(body):
            path = self.root / uri.partition("?")[0].lstrip("/")
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(_get(self.base + uri))
                self.kept.append(path)
        new = self.root / "new"
        new.write_bytes(body)
        new.replace(self.root / PLAYLIST)
        while len(self.kept) > KEPT_SEGMENTS:
            self.kept.pop(0).unlink()

    def wait_for(self, segments: int) -> None:
        deadline = time.monotonic() + LIMIT_SECONDS
        playlist = self.root / PLAYLIST
        while not playlist.exists() or len(_segments(playlist.read_bytes())) < segments:
            if not self.is_alive():
                raise harness.BenchmarkError("the mirror of rawstream's files broke")
            if time.monotonic() > deadline:
                raise harness.BenchmarkError("rawstream made no segments")
            time.sleep(MIRROR_SECONDS)


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        body: bytes = answer.read()
    return body


def _segments(playlist: bytes) -> list[str]:
    return [line for line in playlist.decode().splitlines() if line.startswith("/")]


HTTP = """
        daemon off; master_process off; pid {folder}/{name}.pid; error_log stderr warn;
        worker_rlimit_nofile 20000;
        events {{ worker_connections 8192; }}
        http {{
            keepalive_requests 1000000000; sendfile on; tcp_nopush on;
            types {{ application/vnd.apple.mpegurl m3u8; video/mp2t ts; }}
            client_body_temp_path {folder}/{name}1; proxy_temp_path {folder}/{name}2;
            fastcgi_temp_path {folder}/{name}3; uwsgi_temp_path {folder}/{name}4;
            scgi_temp_path {folder}/{name}5;
            {rest}
        }}
"""
FILES = """
            access_log off; open_file_cache max=100 inactive=60s; open_file_cache_valid 1s;
            server {{
                listen 127.0.0.1:{port}; root {root};
                add_header Access-Control-Allow-Origin *;
                location = /live.m3u8 {{
                    add_header Cache-Control no-store;
                    add_header Access-Control-Allow-Origin *;
                }}
                location /hls/ {{
                    add_header Cache-Control "public, max-age=40";
                    add_header Access-Control-Allow-Origin *;
                }}
            }}
"""
CACHE = """
            log_format fetches "$upstream_cache_status $uri";
            access_log off;
            proxy_cache_path {folder}/cache levels=1:2 keys_zone=hls:2m max_size=1g
                             inactive=2m use_temp_path=off;
            server {{
                listen 127.0.0.1:{port};
                proxy_http_version 1.1; proxy_set_header Connection "";
                location / {{ proxy_pass http://127.0.0.1:{behind}; }}
                location /hls/ {{
                    proxy_pass http://127.0.0.1:{behind};
                    access_log {folder}/fetches.log fetches;
                    proxy_cache hls; proxy_cache_key $host$uri;
                    proxy_cache_lock on; proxy_cache_lock_timeout 10s; proxy_cache_lock_age 10s;
                }}
            }}
"""


@contextlib.contextmanager
def nginx(
    name: str, rest: str, folder: Path, cpus: frozenset[int], **more: object
) -> Iterator[tuple[harness.Program, int]]:
    """An nginx of one process; it and its port."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/usr/local/sbin")
    if program is None:
        raise harness.BenchmarkError("nginx is needed (Debian: nginx-light)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    settings = folder / f"{name}.conf"
    rest = rest.format(port=port, folder=folder, **more)
    settings.write_text(HTTP.format(folder=folder, name=name, rest=rest))
    command = [program, "-c", str(settings), "-e", "stderr"]
    with harness.Program(name, command, cpus=cpus, folder=folder) as running:
        deadline = time.monotonic() + harness.READY_SECONDS
        while True:
            running.check()
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise harness.BenchmarkError("nginx does not listen") from None
                time.sleep(0.05)
        yield running, port


def check_same(base: str, other: str) -> None:
    """The newest segment that both have is the same."""
    uri = _segments(_get(f"{other}/{PLAYLIST}"))[-1]
    if _get(base + uri) != _get(other + uri):
        raise harness.BenchmarkError("nginx does not serve the same segment")


def measure(
    row: Row,
    own: tuple[harness.Program, int, str],
    other: tuple[harness.Program, int],
    options: argparse.Namespace,
    folder: Path,
) -> tuple[Turn, Turn]:
    """One round: the sums of both over their turns."""
    sums = [NOTHING, NOTHING]
    with (
        Watchers(own[1], own[2], row, options, folder) as first,
        Watchers(other[1], f"/{PLAYLIST}", row, options, folder) as second,
    ):
        sides = ((first, own[0]), (second, other[0]))
        for number in range(options.turns):
            for side in (0, 1) if number % 2 == 0 else (1, 0):
                watchers, server = sides[side]
                sums[side] = sums[side].plus(watchers.turn(server, options.seconds))
    return sums[0], sums[1]


def fetches(
    port: int, path: str, options: argparse.Namespace, folder: Path
) -> tuple[Counter[str], int]:
    """How often rawstream was asked for each segment while all watched through a cache, and how
    many segments they fetched together.
    """
    with (
        nginx("cache", CACHE, folder, harness.cores().others, behind=port) as (_program, outside),
        Watchers(outside, path, ROWS[0], options, folder) as watchers,
    ):
        watchers.tell("go")
        time.sleep(options.seconds * 2 + options.period)
        served = watchers.tell("stop")["segments"]
    asked: Counter[str] = Counter()
    for line in (folder / "fetches.log").read_text().splitlines():
        status, _, uri = line.partition(" ")
        asked[uri] += status not in ("HIT", "STALE", "UPDATING", "REVALIDATED")
    return asked, served


def main() -> int:
    parser = argparse.ArgumentParser(description="HLS requests per CPU second, beside nginx.")
    parser.add_argument("--watchers", type=int, default=1000)
    parser.add_argument("--period", type=float, default=4.0, help="seconds between two reloads")
    harness.add_common(parser, rounds=3, seconds=5.0)
    parser.add_argument("--turns", type=int, default=4, help="of each server in a round")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 2 turns")
    parser.add_argument("--floor-watching", type=float, help="of nginx's requests, at least")
    parser.add_argument("--floor-playlists", type=float, help="of nginx's requests, at least")
    parser.add_argument("--floor-fetches", type=float, help="of a segment by a cache, at most")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.turns = 2, 2
    harness.print_head("hls", "requests per CPU second, beside nginx", options)
    runs: dict[str, list[tuple[Turn, Turn]]] = {row.name: [] for row in ROWS}
    with harness.workspace() as folder, contextlib.ExitStack() as stack:
        shared = SHARED_MEMORY if SHARED_MEMORY.is_dir() else folder
        root = Path(tempfile.mkdtemp(prefix="rawstream-hls-", dir=shared))
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        root.chmod(0o755)
        source, source_port = harness.start_source(
            folder, bitrate=options.bitrate, seconds=LIMIT_SECONDS
        )
        stack.enter_context(source)
        server = harness.start_server(
            "rawstream", folder, source_port=source_port, seconds=LIMIT_SECONDS
        )
        stack.enter_context(server.program)
        path = server.path.replace(harness.STREAM_PATH, "/ace/manifest.m3u8", 1)
        base = f"http://127.0.0.1:{server.port}"
        mirror = Mirror(base, path, root)
        mirror.start()
        stack.callback(mirror.over.set)
        own_core = harness.cores().server
        other = stack.enter_context(nginx("nginx", FILES, folder, own_core, root=root))
        harness.progress("until the window is full")
        mirror.wait_for(WINDOW)
        check_same(base, f"http://127.0.0.1:{other[1]}")
        harness.wait_quiet(options.quiet_seconds)
        for number in range(options.rounds):
            for row in ROWS:
                own = (server.program, server.port, path)
                done = measure(row, own, other, options, folder)
                runs[row.name].append(done)
                harness.progress(
                    f"round {number + 1}: {row.name}: {done[0].per_cpu_second:.0f}, "
                    f"nginx {done[1].per_cpu_second:.0f}"
                )
        asked, served = fetches(server.port, path, options, folder)
        mirror.over.set()
        mirror.join()
    return tell(runs, asked, served, options)


def tell(
    runs: dict[str, list[tuple[Turn, Turn]]],
    asked: Counter[str],
    served: int,
    options: argparse.Namespace,
) -> int:
    ratio = {
        name: harness.ratios(
            [own.per_cpu_second for own, _ in turns], [other.per_cpu_second for _, other in turns]
        )
        for name, turns in runs.items()
    }
    harness.print_table(
        (
            *("median (min to max)", "requests wanted, 1/s", "rawstream, 1/CPU s"),
            *("nginx, 1/CPU s", "ratio", "of a core", "nginx", "answered"),
        ),
        [_line(name, turns, ratio[name]) for name, turns in runs.items()],
    )
    most = max(asked.values(), default=0)
    print(
        f"\n  {options.watchers} watchers through a cache: {served:,} segments sent, "
        f"{sum(asked.values())} fetched from rawstream, each at most {most} times"
    )
    floors = harness.Floors()
    floors.at_least("watching", ratio["watching"].median, options.floor_watching, " x")
    floors.at_least("playlists", ratio["playlists"].median, options.floor_playlists, " x")
    if len(asked) < WINDOW:
        raise harness.BenchmarkError(f"the cache saw {len(asked)} segments only")
    floors.at_most("fetches of a segment by a cache", most, options.floor_fetches)
    return floors.close()


def _line(name: str, turns: list[tuple[Turn, Turn]], ratio: harness.Spread) -> tuple[str, ...]:
    both = [turn for pair in turns for turn in pair]
    return (
        name,
        f"{turns[0][0].wanted / turns[0][0].seconds:.0f}",
        harness.Spread.of([own.per_cpu_second for own, _ in turns]).text(0),
        harness.Spread.of([other.per_cpu_second for _, other in turns]).text(0),
        ratio.text(2, " x"),
        harness.Spread.of([own.cpu / own.seconds * 100 for own, _ in turns]).text(0, " %"),
        harness.Spread.of([other.cpu / other.seconds * 100 for _, other in turns]).text(0, " %"),
        f"{min(turn.requests / turn.wanted for turn in both):.1%}",
    )


if __name__ == "__main__":
    harness.run(main)
