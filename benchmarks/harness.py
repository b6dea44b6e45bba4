"""What the benchmark programs share: processes, readings, spread, floors, and the report's head.

Owns: starting and ending the processes of a benchmark (each dies with the benchmark, whatever way
that goes), waiting for a condition and never for a time, CPU and memory readings from /proc, and
how numbers are printed. Must not know what a benchmark measures.

Linux only, as the programs in C are.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.metadata
import json
import os
import platform
import re
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import quote

HERE = Path(__file__).parent
BUILD = HERE / "build"
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))  # what is measured is this checkout, installed or not

READY_SECONDS = 30.0
END_SECONDS = 5.0
ASK_SECONDS = 60.0  # a load process that is busy answers late
CHUNK_BYTES = 65_424  # what rawstream writes at most at once: 348 packets
DIRECT_VIEWER = 0xFFFFFFFF
STREAM_PATH = "/ace/getstream"
RAWSTREAM_READY = r"answers at http://127\.0\.0\.1:(\d+)"
PRIORITY = -10  # of every process of a benchmark
QUIET_LOOK_SECONDS = 1.0
QUIET_CORES = 0.15  # less than that at work is quiet
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


class BenchmarkError(Exception):
    """A measurement that can't be made or can't be trusted; the text says why."""


# -- cores -----------------------------------------------------------------------------------------


class Cores(NamedTuple):
    """Who runs where: the server alone on one core, everybody else on the others (all share when
    there is one).
    """

    server: frozenset[int]
    others: frozenset[int]


_USABLE = sorted(os.sched_getaffinity(0))


def cores() -> Cores:
    if len(_USABLE) == 1:
        return Cores(frozenset(_USABLE), frozenset(_USABLE))
    return Cores(frozenset(_USABLE[:1]), frozenset(_USABLE[1:]))


def raise_priority() -> bool:
    """Go before the machine's other work, where we may, so that it disturbs less."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    except OSError:
        return False
    return True


# -- processes -------------------------------------------------------------------------------------


class Program:
    """A child process with its output in files or pipes. Ends with its `with` block, and with the
    benchmark.

    `cpus`: the cores it may use. `log`: a file for its standard error, shown when it fails.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        cpus: frozenset[int],
        folder: Path,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.{time.monotonic_ns()}.log"

        def before_exec() -> None:
            # A benchmark that is killed takes its children along.
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.sched_setaffinity(0, cpus)
            raise_priority()

        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
                preexec_fn=before_exec,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """SIGTERM, then SIGKILL; idempotent."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def check(self) -> None:
        """Raise BenchmarkError, with the end of its log, when it has ended."""
        if self.process.poll() is not None:
            tail = self.log.read_text(errors="replace").strip().splitlines()[-8:]
            raise BenchmarkError(
                f"{self.name} ended with status {self.process.returncode}: " + "\n".join(tail)
            )

    def line(self, seconds: float = READY_SECONDS) -> str:
        """The next line of its standard output. Raises BenchmarkError when none comes."""
        output = self.process.stdout
        assert output is not None, "opened with a pipe"
        # A line is one write of the child, so that a readable pipe holds a whole one.
        deadline = time.monotonic() + seconds
        while not _readable(output, 0.1):
            self.check()
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self.name} said nothing for {seconds:g} s")
        text = output.readline().decode().strip()
        if not text:
            self.process.wait(END_SECONDS)
            self.check()
        return text

    def tell(self, text: str) -> None:
        """Send a line to its standard input."""
        pipe = self.process.stdin
        assert pipe is not None, "opened with a pipe"
        try:
            pipe.write(text.encode() + b"\n")
            pipe.flush()
        except BrokenPipeError:
            self.check()
            raise

    def port(self) -> int:
        """The port it listens on, from the first line of its output: `ready 4711`."""
        found = re.fullmatch(r"ready (\d+)", self.line())
        if found is None:
            raise BenchmarkError(f"{self.name} does not say where it listens")
        return int(found[1])

    def logged_port(self, pattern: str) -> int:
        """The port it listens on, from its log: the first group of `pattern`."""
        deadline = time.monotonic() + READY_SECONDS
        while not (found := re.search(pattern, self.log.read_text(errors="replace"))):
            self.check()
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self.name} does not say where it listens")
            time.sleep(0.02)
        return int(found[1])


def _readable(pipe: IO[bytes], seconds: float) -> bool:
    import select

    return bool(select.select([pipe], [], [], seconds)[0])


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """A temporary folder; SIGTERM and SIGINT leave it (and every `with` inside) in order."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    old = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    folder = Path(tempfile.mkdtemp(prefix="rawstream-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for number, handler in old.items():
            signal.signal(number, handler)


def build(name: str) -> Path:
    """Compile benchmarks/`name`.c when it, or a header, is newer than the program. Raises
    BenchmarkError without a compiler.
    """
    code, program = HERE / f"{name}.c", BUILD / name
    changed = max(path.stat().st_mtime for path in (code, *HERE.glob("*.h")))
    if program.is_file() and program.stat().st_mtime > changed:
        return program
    BUILD.mkdir(exist_ok=True)
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise BenchmarkError("a C compiler (cc or gcc) is needed for the baseline and the load")
    done = subprocess.run(
        [compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        raise BenchmarkError(f"{code.name} does not compile:\n{done.stderr}")
    return program


# -- the parts of a run ----------------------------------------------------------------------------


def start_source(
    folder: Path, *, bitrate: float, seconds: float, on_demand: bool = False
) -> tuple[Program, int]:
    """The paced channel of source.py at `bitrate` Mbit/s. Returns it and its port."""
    command = [sys.executable, str(HERE / "source.py"), "--bitrate", str(bitrate)]
    command += ["--on-demand"] if on_demand else ["--seconds", str(seconds)]
    program = Program("source", command, cpus=cores().others, folder=folder)
    return program, program.port()


class Server(NamedTuple):
    """A server under test: its process, and where viewers get the channel."""

    program: Program
    port: int
    path: str


def start_server(
    kind: str,
    folder: Path,
    *,
    source_port: int,
    seconds: float,
    environment: dict[str, str] | None = None,
    data: Path | None = None,
) -> Server:
    """Start a server that serves the channel of `source_port`.

    `kind`: `rawstream`, `epoll[:chunk]`, `aiohttp[:chunk]`, `starlette[:chunk]`, the chunk in
    bytes. `environment`: settings of rawstream; the others don't look at it. `data`: its data
    directory, else one of its own.
    """
    name, _, size = kind.partition(":")
    source_url = f"http://127.0.0.1:{source_port}/channel.ts"
    path = STREAM_PATH
    if name == "rawstream":
        data = data or Path(tempfile.mkdtemp(prefix="data-", dir=folder))
        command = [sys.executable, "-m", "rawstream", "serve", "--host", "127.0.0.1", "--port", "0"]
        command += ["--engine", "http://127.0.0.1:1", "--data", str(data)]
        path = f"{STREAM_PATH}?url={quote(source_url, safe='')}"
    elif name == "epoll":
        chunk = size or str(CHUNK_BYTES)
        command = [
            str(build("baseline_epoll")),
            str(source_port),
            "/channel.ts",
            chunk,
            str(seconds),
        ]
    elif name == "aiohttp":
        command = [sys.executable, str(HERE / "baseline_aiohttp.py"), "--source", source_url]
        command += ["--chunk", size or "8192", "--seconds", str(seconds)]
        command += ["--whole"] if size else []
    elif name == "starlette":
        command = [sys.executable, str(HERE / "baseline_starlette.py"), "--source", source_url]
        command += [
            "--chunk",
            size or "1024",
            "--inner-chunk",
            size or "8192",
            "--seconds",
            str(seconds),
        ]
    else:
        raise BenchmarkError(f"no such server: {kind}")
    program = Program(name, command, cpus=cores().server, folder=folder, environment=environment)
    try:
        port = program.logged_port(RAWSTREAM_READY) if name == "rawstream" else program.port()
        return Server(program, port, path)
    except BaseException:
        program.end()
        raise


class Load:
    """The viewers of load.c, as one process. Counters are its JSON (see there)."""

    def __init__(
        self,
        server: Server,
        folder: Path,
        *,
        viewers: int,
        seconds: float,
        stalled: int = 0,
        slow: int = 0,
        slow_rate: int = 1,
        samples: int = 0,
        dump: bool = False,
        direct_port: int = 0,
        connect_rate: float = 500.0,
    ) -> None:
        self.stamps_path = folder / f"stamps.{time.monotonic_ns()}"
        self.dump_prefix = folder / f"dump.{time.monotonic_ns()}"
        command = [str(build("load")), "--port", str(server.port), "--path", server.path]
        command += ["--viewers", str(viewers), "--duration", str(seconds)]
        command += ["--stalled", str(stalled), "--slow", str(slow), "--slow-rate", str(slow_rate)]
        command += ["--samples", str(samples), "--connect-rate", str(connect_rate)]
        if samples:
            command += ["--stamps", str(self.stamps_path)]
        if dump:
            command += ["--dump", str(self.dump_prefix)]
        if direct_port:
            command += ["--direct-port", str(direct_port)]
        self.viewers = viewers
        self.program = Program("load", command, cpus=cores().others, folder=folder)

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.end()

    def ask(self, word: str = "snapshot") -> dict[str, Any]:
        """`snapshot`, `mark` or `quit`; returns the counters."""
        self.program.tell(word)
        counters: dict[str, Any] = json.loads(self.program.line(ASK_SECONDS))
        return counters

    def wait_streaming(self, seconds: float = READY_SECONDS) -> dict[str, Any]:
        """Until every healthy viewer has had bytes. Raises BenchmarkError when some get none."""
        deadline = time.monotonic() + seconds
        while True:
            counters = self.ask()
            if counters["streaming"] == self.viewers:
                return counters
            if counters["bad_answers"] or counters["failed_connects"]:
                raise BenchmarkError(f"viewers were refused: {counters['first_bad_answer']!r}")
            if time.monotonic() > deadline:
                missing = self.viewers - counters["streaming"]
                raise BenchmarkError(
                    f"{missing} of {self.viewers} viewers got nothing in {seconds:g} s"
                )
            time.sleep(0.1)

    def received(self) -> list[Received]:
        """All pieces that sampled viewers have received so far, in order of arrival."""
        data = self.stamps_path.read_bytes()
        whole = len(data) - len(data) % _RECORD.size
        return [Received(*values) for values in _RECORD.iter_unpack(data[:whole])]


_RECORD = struct.Struct("=I4xQQQ")


class Received(NamedTuple):
    """One piece at one sampled viewer; times are CLOCK_MONOTONIC nanoseconds."""

    viewer: int
    sequence: int
    sent_ns: int
    received_ns: int


def status(server: Server) -> dict[str, Any] | None:
    """What rawstream tells of itself at /status, or None when it does not answer."""
    url = f"http://127.0.0.1:{server.port}/status?format=json"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            told: dict[str, Any] = json.load(answer)
            return told
    except (OSError, ValueError, urllib.error.URLError):
        return None


# -- readings --------------------------------------------------------------------------------------


def cpu_seconds(pid: int) -> float:
    """CPU time that all threads of the process have used, user and system, network soft interrupts
    included where the kernel charges them to the process (it does unless CONFIG_IRQ_TIME_ACCOUNTING
    is set).
    """
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


class Machine(NamedTuple):
    """Seconds of all cores together since boot: at work, and taken away by the hypervisor."""

    busy: float
    stolen: float


def machine_seconds() -> Machine:
    fields = [int(text) for text in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    tick = os.sysconf("SC_CLK_TCK")
    user, nice, system, _, _, irq, soft, steal = fields[:8]
    return Machine((user + nice + system + irq + soft) / tick, steal / tick)


def wait_quiet(seconds: float) -> None:
    """Wait until the machine does little else, at most `seconds`; then measure all the same."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        before = machine_seconds()
        time.sleep(QUIET_LOOK_SECONDS)
        if machine_seconds().busy - before.busy < QUIET_CORES * QUIET_LOOK_SECONDS:
            return


def add_common(parser: argparse.ArgumentParser, *, rounds: int, seconds: float | None) -> None:
    """The options that every program has; `rounds` and `seconds` are its defaults."""
    parser.add_argument("--bitrate", type=float, default=5.0, help="Mbit/s of the channel")
    if seconds is not None:
        parser.add_argument(
            "--seconds", type=float, default=seconds, help="measured, per server and round"
        )
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument(
        "--quiet-seconds",
        type=float,
        default=20.0,
        help="how long a measurement waits for the machine to be quiet",
    )


def memory_bytes(pid: int) -> int:
    """Memory that would be free without the process: proportional set size (PSS), shared pages
    counted by share.
    """
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise BenchmarkError("no Pss in smaps_rollup")


# -- numbers ---------------------------------------------------------------------------------------


class Spread(NamedTuple):
    """The least, the middle and the greatest of several runs."""

    minimum: float
    median: float
    maximum: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if not values:
            raise BenchmarkError("nothing was measured")
        return cls(min(values), statistics.median(values), max(values))

    def text(self, digits: int = 3, unit: str = "") -> str:
        low, middle, high = (f"{value:.{digits}f}" for value in self)
        return f"{middle}{unit} ({low} to {high})"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie; nearest rank."""
    if not values:
        raise BenchmarkError("nothing was measured")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Round by round, so that what disturbs a round disturbs both sides."""
    return Spread.of([a / b for a, b in zip(numerators, denominators, strict=True)])


class Floors:
    """What must be reached; prints a verdict per floor and knows the exit status."""

    def __init__(self) -> None:
        self.missed: list[str] = []
        self.lines: list[str] = []

    def at_most(self, name: str, value: float, floor: float | None, unit: str = "") -> None:
        self._judge(name, value, floor, unit, "at most", value, floor)

    def at_least(self, name: str, value: float, floor: float | None, unit: str = "") -> None:
        self._judge(name, value, floor, unit, "at least", floor, value)

    def _judge(
        self,
        name: str,
        value: float,
        floor: float | None,
        unit: str,
        sense: str,
        less: float | None,
        more: float | None,
    ) -> None:
        if floor is None:
            return
        assert less is not None and more is not None, "both are given when the floor is"
        reached = less <= more
        verdict = "ok    " if reached else "MISSED"
        self.lines.append(f"  {verdict} {name}: {value:.3f}{unit}, {sense} {floor:g}{unit}")
        if not reached:
            self.missed.append(name)

    def close(self) -> int:
        """Print the verdicts; returns the exit status."""
        if self.lines:
            print("\nfloors")
            print("\n".join(self.lines))
        return 1 if self.missed else 0


# -- the report ------------------------------------------------------------------------------------


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package} absent"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def print_head(name: str, what: str, options: argparse.Namespace) -> None:
    """Program, versions, machine, load and parameters: what a number is worth nothing without."""
    packages = ("uvloop", "httptools", "aiohttp", "starlette", "uvicorn", "av")
    placed = cores()
    placing = "server and load share one core"
    if placed.server != placed.others:
        placing = f"server on core {_set(placed.server)}, load and source on {_set(placed.others)}"
    print(f"{name}: {what}")
    print(f"  rawstream {_commit()} · Python {platform.python_version()} · ", end="")
    print(" · ".join(_version(package) for package in packages))
    print(f"  {time.strftime('%Y-%m-%d')} · Linux {platform.release()} · {_processor()} · ", end="")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}")
    print(f"  {placing} · priority {os.getpriority(os.PRIO_PROCESS, 0)}")
    values = {k: v for k, v in sorted(vars(options).items()) if not k.startswith("floor")}
    print("  " + " · ".join(f"{k.replace('_', '-')} {v}" for k, v in values.items()), flush=True)


def _set(numbers: frozenset[int]) -> str:
    return ",".join(str(number) for number in sorted(numbers))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(line[column]) for line in (head, *rows)) for column in range(len(head))]
    print()
    for line in (head, *rows):
        cells = [line[0].ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True)]
        print("  " + "   ".join(cells))
    sys.stdout.flush()


def progress(text: str) -> None:
    """One line on standard error, so that a long run is not mute and the report stays clean."""
    print(f"    {text}", file=sys.stderr, flush=True)


def run(main: Callable[[], int]) -> None:
    """Run a benchmark's main, off the server's core; a measurement that can't be made is one line
    and exit status 2.
    """
    os.sched_setaffinity(0, cores().others)
    raise_priority()
    try:
        sys.exit(main())
    except BenchmarkError as error:
        print(f"can't measure: {error}", file=sys.stderr)
        sys.exit(2)
