"""What the dashboard costs: the server while a page is open, and a browser when it is first opened.

One server carries a channel with a thousand viewers at real time. Turns without a dashboard and
turns with one follow each other; with one means the event stream of the overview with the viewers
of that channel shown, which is the dearest view there is. A pair of turns is a number: the share of
a core that the server took with it, minus the share without it. The order within a pair changes
from pair to pair, so that what drifts favours nobody. The result is the median of all pairs; one
pair means little, since the thousand viewers cost some thirty times more than the page.

The first load is a headless Chromium with nothing in its cache, its CPU four times slower: what
comes over the wire, packed, headers too, and when something is painted for the first time.

Run: `python benchmarks/dashboard.py [--quick] [--floor-core 2 --floor-paint-ms 1000 --floor-kb
300]`. Exit status 1: a floor is missed, 2: can't measure.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import harness

PASSWORD = re.compile(r"account admin, password (\S+)")
SETTLE_SECONDS = 1.5  # of a turn: rawstream looks at its load once per second
SLOWER = 4  # a browser's CPU, by Chromium's own brake
LOOK_EVERY = 8  # pairs: then it waits for a quiet machine again
LIMIT_SECONDS = 1800.0
BROWSER_SWITCHES = (
    "--no-sandbox",  # containers seldom allow one; every page here is ours
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)


# -- an operator -----------------------------------------------------------------------------------


class Operator:
    """Somebody who is logged in; the first password is what the server printed."""

    def __init__(self, server: harness.Server) -> None:
        self.port = server.port
        found = PASSWORD.search(server.program.line())
        if found is None:
            raise harness.BenchmarkError("rawstream printed no first password")
        self.login = {"username": "admin", "password": found[1]}
        answer, _ = self._ask("POST", "/api/v1/session", self.login)
        self.cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]

    def _ask(
        self, method: str, path: str, body: dict[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=harness.READY_SECONDS)
        headers = {"Content-Type": "application/json"}
        if body is None:
            headers["Cookie"] = self.cookie
        link.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = link.getresponse()
        told = answer.read()
        link.close()
        if answer.status not in (200, 204):
            raise harness.BenchmarkError(f"{path} answered {answer.status}: {told[:200]!r}")
        return answer, told

    def channel(self) -> str:
        """The key of the one that is on air."""
        (one,) = json.loads(self._ask("GET", "/api/v1/live")[1])["channels"]
        key: str = one["key"]
        return key

    def listen(self, key: str) -> Listening:
        return Listening(self, key)


class Listening:
    """An event stream as the overview has it, the viewers of `key` shown. A thread reads it."""

    def __init__(self, operator: Operator, key: str) -> None:
        self.bytes = 0
        self.viewers = 0  # told of in the fullest event
        self._socket = socket.create_connection(
            ("127.0.0.1", operator.port), timeout=harness.READY_SECONDS
        )
        self._socket.sendall(
            f"GET /api/v1/events?viewers={key} HTTP/1.1\r\nHost: bench\r\n"
            f"Cookie: {operator.cookie}\r\n\r\n".encode()
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Listening:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join(harness.END_SECONDS)
        self._socket.close()

    def _read(self) -> None:
        # one event may come in several pieces, so that a count of a piece is at most too small
        with contextlib.suppress(OSError):
            while piece := self._socket.recv(1 << 20):
                self.bytes += len(piece)
                self.viewers = max(self.viewers, piece.count(b'"seconds_behind"'))


# -- what it costs the server ----------------------------------------------------------------------


class Turn(NamedTuple):
    """`core`: the share of a core that the server took. `bytes`: of events."""

    core: float
    delivered: float
    bytes_per_second: float


class Pair(NamedTuple):
    without: Turn
    beside: Turn

    @property
    def cost(self) -> float:
        return self.beside.core - self.without.core


def one_turn(
    server: harness.Server, load: harness.Load, options: argparse.Namespace, told: Listening | None
) -> Turn:
    time.sleep(SETTLE_SECONDS)
    heard = told.bytes if told is not None else 0
    begun = load.ask("mark")
    used, at = harness.cpu_seconds(server.program.pid), time.monotonic()
    time.sleep(options.turn_seconds)
    used, spent = (
        harness.cpu_seconds(server.program.pid) - used,
        time.monotonic() - at,
    )
    ended = load.ask()
    if ended["disconnected"]:
        raise harness.BenchmarkError("viewers were cut off")
    if told is not None and told.bytes == heard:
        raise harness.BenchmarkError("the event stream said nothing in a turn")
    seconds = (ended["now_ns"] - begun["now_ns"]) / 1e9
    wanted = options.bitrate * 1e6 / 8 * seconds * options.viewers
    heard = told.bytes - heard if told is not None else 0
    return Turn(used / spent, ended["since"]["bytes"] / wanted, heard / spent)


def measure_pairs(options: argparse.Namespace, folder: Path) -> list[Pair]:
    """All pairs of turns, over one server."""
    source, source_port = harness.start_source(
        folder, bitrate=options.bitrate, seconds=LIMIT_SECONDS
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(source)
        server = harness.start_server(
            "rawstream", folder, source_port=source_port, seconds=LIMIT_SECONDS
        )
        stack.enter_context(server.program)
        operator = Operator(server)
        load = stack.enter_context(
            harness.Load(server, folder, viewers=options.viewers, seconds=LIMIT_SECONDS)
        )
        load.wait_streaming(2 * harness.READY_SECONDS)
        key = operator.channel()
        pairs = []
        for number in range(options.rounds):
            if number % LOOK_EVERY == 0:
                harness.wait_quiet(options.quiet_seconds)
            pairs.append(_pair(server, load, operator, key, options, listen_first=number % 2 == 1))
            harness.progress(f"pair {number + 1}: {pairs[-1].cost * 100:+.2f} % of a core")
        return pairs


def _pair(
    server: harness.Server,
    load: harness.Load,
    operator: Operator,
    key: str,
    options: argparse.Namespace,
    *,
    listen_first: bool,
) -> Pair:
    turns: dict[bool, Turn] = {}
    for listens in (listen_first, not listen_first):
        if not listens:
            turns[False] = one_turn(server, load, options, None)
            continue
        with operator.listen(key) as told:
            turns[True] = one_turn(server, load, options, told)
            if not told.viewers:
                raise harness.BenchmarkError("the event stream told of no viewers")
    return Pair(turns[False], turns[True])


# -- a first load ----------------------------------------------------------------------------------


class FirstLoad(NamedTuple):
    """`paint_ms`: the first text or picture, since the address was given. `kb`: over the wire."""

    paint_ms: float
    kb: float
    files: int


_MEASURED = """() => {
  const all = ["navigation", "resource"].flatMap((kind) => performance.getEntriesByType(kind));
  return {
    paint_ms: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? null,
    kb: all.reduce((sum, one) => sum + one.transferSize, 0) / 1000,
    files: all.length,
  };
}"""


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A headless one, of the distribution. Raises BenchmarkError without it."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise harness.BenchmarkError(f"a first load needs playwright: {error}") from error
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise harness.BenchmarkError("a first load needs chromium; --no-browser leaves it out")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, headless=True, args=list(BROWSER_SWITCHES)
        )
        try:
            yield browser
        finally:
            browser.close()


def first_load(browser: Any, operator: Operator, path: str) -> FirstLoad:
    """One page, with an empty cache, until all that it asks for is there."""
    context = browser.new_context()
    try:
        base = f"http://127.0.0.1:{operator.port}"
        if path != "/login":
            context.request.post(f"{base}/api/v1/session", data=operator.login)
        page = context.new_page()
        brake = context.new_cdp_session(page)
        brake.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
        page.goto(f"{base}{path}")
        page.wait_for_selector("main h1")
        page.wait_for_function(
            "() => !document.querySelector('main [aria-busy=true]')"
            " && performance.getEntriesByName('first-contentful-paint').length"
        )
        if path != "/login":
            page.wait_for_selector(".chart canvas")
            page.wait_for_selector(".connection.on")
        return FirstLoad(**page.evaluate(_MEASURED))
    finally:
        context.close()


def measure_loads(
    options: argparse.Namespace, folder: Path, paths: tuple[str, ...]
) -> dict[str, list[FirstLoad]]:
    """By path, in turn; one round before them is not counted, in which the browser warms up."""
    found: dict[str, list[FirstLoad]] = {path: [] for path in paths}
    server = harness.start_server("rawstream", folder, source_port=1, seconds=LIMIT_SECONDS)
    with server.program, chromium() as browser:
        operator = Operator(server)
        harness.wait_quiet(options.quiet_seconds)
        for number in range(options.loads + 1):
            for path in paths:
                load = first_load(browser, operator, path)
                if number:
                    found[path].append(load)
    return found


# -- the report ------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description="What an open dashboard costs, and a first load.")
    parser.add_argument("--viewers", type=int, default=1000)
    harness.add_common(parser, rounds=24, seconds=None)
    parser.add_argument("--turn-seconds", type=float, default=6.0, help="measured")
    parser.add_argument("--loads", type=int, default=7, help="first loads of each page")
    parser.add_argument("--quick", action="store_true", help="10 pairs of 5 s, 3 loads")
    parser.add_argument("--no-browser", action="store_true", help="leave the first load out")
    parser.add_argument("--no-server", action="store_true", help="only the first load")
    parser.add_argument("--floor-core", type=float, help="at most so many percent of a core")
    parser.add_argument("--floor-paint-ms", type=float, help="the first paint, CPU 4 times slower")
    parser.add_argument("--floor-kb", type=float, help="at most so many kB over the wire")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.turn_seconds = min(options.rounds, 10), 5.0
        options.loads = min(options.loads, 3)
    harness.print_head("dashboard", "CPU of the server with a page open; a first load", options)

    floors = harness.Floors()
    with harness.workspace() as folder:
        if not options.no_server:
            report_pairs(measure_pairs(options, folder), options, floors)
        if not options.no_browser:
            loads = measure_loads(options, folder, ("/", "/login"))
            report_loads(loads, options, floors)
    return floors.close()


def report_pairs(pairs: list[Pair], options: argparse.Namespace, floors: harness.Floors) -> None:
    shares = [[turn.core * 100 for turn in side] for side in zip(*pairs, strict=True)]
    costs = harness.Spread.of([pair.cost * 100 for pair in pairs])
    told = harness.Spread.of([pair.beside.bytes_per_second / 1000 for pair in pairs])
    delivered = min(turn.delivered for pair in pairs for turn in pair)
    harness.print_table(
        ("median (min to max)", "of a core"),
        [
            (
                f"{options.viewers} viewers, no dashboard",
                harness.Spread.of(shares[0]).text(1, " %"),
            ),
            ("with one, its viewers shown", harness.Spread.of(shares[1]).text(1, " %")),
            ("the dashboard, pair by pair", costs.text(2, " %")),
        ],
    )
    print(f"\n  events: {told.text(1, ' kB/s')} · delivered at least {delivered:.1%}")
    floors.at_most("an open dashboard", costs.median, options.floor_core, " % of a core")


def report_loads(
    loads: dict[str, list[FirstLoad]], options: argparse.Namespace, floors: harness.Floors
) -> None:
    paints = {
        path: harness.Spread.of([one.paint_ms for one in all_]) for path, all_ in loads.items()
    }
    sizes = {path: harness.Spread.of([one.kb for one in all_]) for path, all_ in loads.items()}
    harness.print_table(
        (f"first load, CPU {SLOWER} times slower", "first paint", "over the wire", "files"),
        [
            (path, paints[path].text(0, " ms"), sizes[path].text(0, " kB"), str(all_[0].files))
            for path, all_ in loads.items()
        ],
    )
    floors.at_most("first paint", paints["/"].median, options.floor_paint_ms, " ms")
    floors.at_most("a first load", sizes["/"].maximum, options.floor_kb, " kB")


if __name__ == "__main__":
    harness.run(main)
