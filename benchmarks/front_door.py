"""Logins and channel lists per second on one core, beside nginx that returns the very same bytes.

`login` is `/player_api.php` without an action, which every player asks first and again and again;
`streams` is `get_live_streams` of 10,000 channels, plain and packed. nginx (one worker, the same
core, keep-alive, no access log) has the bodies as files: it does none of the work and is about the
least that sending them can cost. Both are asked by wrk over the same number of connections.

Needs wrk and nginx (Debian: `wrk`, `nginx-light`).

Run: `python benchmarks/front_door.py [--quick] [--floor-login 0.4 --floor-streams 0.7]`. Exit
status 1: a floor is missed, 2: can't measure.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import socket
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import harness

from rawstream.list_entries import read_list
from rawstream.passwords import Passwords
from rawstream.playlist_import import import_playlist
from rawstream.records import Account, ListSource
from rawstream.store import Store

LOGIN = "username=bench&password=bench"


class Row(NamedTuple):
    """`name` is also the file that nginx has."""

    name: str
    query: str
    packed: bool


ROWS = (
    Row("login", LOGIN, False),
    Row("streams", f"{LOGIN}&action=get_live_streams", False),
    Row("streams-packed", f"{LOGIN}&action=get_live_streams", True),
)


async def furnish(data: Path, channels: int) -> None:
    """One account, and a line-up as an import would have made it."""
    store = await Store.open(data)
    passwords = Passwords()
    try:
        await store.accounts.add(Account(0, "bench", await passwords.hash("bench")))
        lines = ["#EXTM3U"]
        for number in range(channels):
            lines.append(
                f'#EXTINF:-1 tvg-id="channel{number}.example" tvg-logo="http://logos.example/'
                f'{number}.png" group-title="Group {number % 40}",Example channel {number} HD'
            )
            lines.append(f"acestream://{number:040x}")
        entries, ending = read_list(["\n".join(lines).encode()])
        list_id = await store.lineup.add_list(
            ListSource(0, "playlist", "bench", interval_seconds=0)
        )
        source = await store.lineup.list_source(list_id)
        assert source is not None, "just added"
        await import_playlist(store, source, entries, ending)
    finally:
        passwords.close()
        await store.close()


def rawstream(data: Path, folder: Path) -> tuple[harness.Program, int]:
    command = [sys.executable, "-m", "rawstream", "serve", "--host", "127.0.0.1", "--port", "0"]
    command += ["--engine", "http://127.0.0.1:1", "--data", str(data)]
    program = harness.Program("rawstream", command, cpus=harness.cores().server, folder=folder)
    return program, program.logged_port(harness.RAWSTREAM_READY)


def nginx(root: Path, folder: Path) -> tuple[harness.Program, int]:
    """It answers what `root` holds; a name that ends in -packed is gzip."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/usr/local/sbin")
    if program is None:
        raise harness.BenchmarkError("nginx is needed (Debian: nginx-light)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    user = "user root;" if os.getuid() == 0 else ""
    settings = folder / "nginx.conf"
    settings.write_text(
        f"""
        {user} daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr warn;
        events {{ worker_connections 1024; }}
        http {{
            access_log off; keepalive_requests 1000000000; sendfile on; tcp_nopush on;
            default_type application/json; open_file_cache max=100;
            client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2;
            fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
            server {{
                listen 127.0.0.1:{port}; root {root};
                add_header Cache-Control no-store; add_header Access-Control-Allow-Origin *;
                location ~ -packed$ {{
                    add_header Content-Encoding gzip; add_header Vary Accept-Encoding;
                    add_header Cache-Control no-store; add_header Access-Control-Allow-Origin *;
                }}
            }}
        }}
        """
    )
    command = [program, "-c", str(settings), "-e", "stderr"]
    running = harness.Program("nginx", command, cpus=harness.cores().server, folder=folder)
    deadline = time.monotonic() + harness.READY_SECONDS
    while True:
        running.check()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return running, port
        except OSError:
            if time.monotonic() > deadline:
                running.end()
                raise harness.BenchmarkError("nginx does not listen") from None
            time.sleep(0.05)


def get(url: str, packed: bool) -> bytes:
    headers = {"Accept-Encoding": "gzip"} if packed else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
        body: bytes = answer.read()
    return body


def requests_per_second(url: str, row: Row, options: argparse.Namespace, folder: Path) -> float:
    """What wrk counts. Raises BenchmarkError when an answer was no 200."""
    command = ["wrk", "-t1", f"-c{options.connections}", f"-d{options.seconds:g}s"]
    command += ["-H", f"Accept-Encoding: {'gzip' if row.packed else 'identity'}", url]
    program = harness.Program("wrk", command, cpus=harness.cores().others, folder=folder)
    with program:
        out, _ = program.process.communicate(timeout=options.seconds + 60)
    text = out.decode()
    found = re.search(r"Requests/sec:\s*([0-9.]+)", text)
    if found is None or "Non-2xx" in text or "Socket errors" in text:
        raise harness.BenchmarkError(f"wrk is not content with {row.name}:\n{text}")
    return float(found[1])


def check_same(bodies: Sequence[bytes], port: int) -> None:
    for row, body in zip(ROWS, bodies, strict=True):
        if get(f"http://127.0.0.1:{port}/{row.name}", row.packed) != body:
            raise harness.BenchmarkError(f"nginx does not return the same bytes for {row.name}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Requests per second, beside nginx.")
    parser.add_argument("--channels", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=32)
    harness.add_common(parser, rounds=5, seconds=5.0)
    parser.add_argument("--quick", action="store_true", help="3 rounds of 2 seconds")
    parser.add_argument("--floor-login", type=float, help="of nginx's logins per second, at least")
    parser.add_argument("--floor-streams", type=float, help="of nginx's lists per second, at least")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 3, 2.0
    if shutil.which("wrk") is None:
        raise harness.BenchmarkError("wrk is needed (Debian: wrk)")
    harness.print_head("front_door", "requests per second, beside nginx", options)
    rates: dict[tuple[str, str], list[float]] = {}
    with harness.workspace() as folder:
        data, root = folder / "data", folder / "root"
        root.mkdir()
        folder.chmod(0o755)
        asyncio.run(furnish(data, options.channels))
        server, port = rawstream(data, folder)
        with server:
            base = f"http://127.0.0.1:{port}/player_api.php?"
            bodies = [get(base + row.query, row.packed) for row in ROWS]
            for row, body in zip(ROWS, bodies, strict=True):
                (root / row.name).write_bytes(body)
            other, other_port = nginx(root, folder)
            with other:
                check_same(bodies, other_port)
                harness.wait_quiet(options.quiet_seconds)
                for number in range(options.rounds):
                    for row in ROWS:
                        for name, url in (
                            ("rawstream", base + row.query),
                            ("nginx", f"http://127.0.0.1:{other_port}/{row.name}"),
                        ):
                            rate = requests_per_second(url, row, options, folder)
                            rates.setdefault((row.name, name), []).append(rate)
                    harness.progress(f"round {number + 1} of {options.rounds}")
    ratio = {
        row.name: harness.ratios(rates[row.name, "rawstream"], rates[row.name, "nginx"])
        for row in ROWS
    }
    harness.print_table(
        ("median (min to max)", "bytes", "rawstream, 1/s", "nginx, 1/s", "ratio"),
        [
            (
                row.name,
                f"{len(body):,}",
                harness.Spread.of(rates[row.name, "rawstream"]).text(0),
                harness.Spread.of(rates[row.name, "nginx"]).text(0),
                ratio[row.name].text(2),
            )
            for row, body in zip(ROWS, bodies, strict=True)
        ],
    )
    floors = harness.Floors()
    floors.at_least("login", ratio["login"].median, options.floor_login, " x")
    floors.at_least("streams", ratio["streams"].median, options.floor_streams, " x")
    floors.at_least("streams-packed", ratio["streams-packed"].median, options.floor_streams, " x")
    return floors.close()


if __name__ == "__main__":
    harness.run(main)
