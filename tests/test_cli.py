"""The command line as an operator meets it: lines, exit statuses, and a demo that plays."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from rawstream import __version__
from rawstream.cli import main

PROJECT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody's settings, and the logging as it was before."""
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def status_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


@contextmanager
def taken_port() -> Iterator[str]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield str(other.getsockname()[1])


# -- mistakes --


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("serve", "--nonsense"), "No such option: --nonsense"),
        (("serve", "--port", "x"), "--port"),
        (("serve", "--port", "70000"), "--port: '70000' must be at most 65535"),
        (
            ("serve", "--engine", "ftp://x"),
            "--engine: 'ftp://x': an engine is reached over http://",
        ),
        (("serve", "--log-level", "loud"), "--log-level: one of"),
        (("serve", "--config", "absent.toml"), "absent.toml: No such file"),
        (("serve", "--config", "bad.toml"), "bad.toml: not valid TOML"),
        (("serve", "--data", "/proc/none", "--port", "0"), "data: '/proc/none' can't be used"),
        (("dance",), "dance"),
        (("demo", "--port", "-1"), "--port: '-1' must be from 0 to 65535"),
        (("doctor", "--content", "xyz"), "--content"),
        (("simulate", "--clip", "absent.ts"), "--clip: 'absent.ts': No such file"),
        (("simulate", "--clip", "bad.toml"), "--clip: 'bad.toml' is no MPEG-TS"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_status_two(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.toml").write_text("port = = 1\n" * 100)
    assert status_of(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert printed.err.startswith("rawstream: ")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    "command", [("serve", "--host", "127.0.0.1"), ("demo",), ("simulate",)], ids=lambda c: c[0]
)
def test_a_taken_port_is_one_line_and_status_two(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with taken_port() as port:
        assert status_of(*command, "--port", port) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert "in use" in printed.err
    assert printed.out == ""


def test_an_unreachable_engine_fails_the_doctor_in_one_line_with_a_remedy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with taken_port() as port, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        engine = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        arguments = ("--engine", engine, "--host", "127.0.0.1", "--port", port)
        assert status_of("doctor", *arguments) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("FAIL engine") and "refused" in line]
    assert [line for line in lines if line.startswith("FAIL port")]
    assert [line for line in lines if line.startswith("ok   clock")]
    assert len([line for line in lines if "->" in line]) == 2
    assert lines[-1] == "2 found wanting"


# -- asking --


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("--version") == 0
    assert capsys.readouterr().out == f"rawstream {__version__}\n"


def test_the_changelogs_newest_release_is_the_packages_version() -> None:
    titles = [
        line.removeprefix("## [").partition("]")[0]
        for line in (PROJECT / "CHANGELOG.md").read_text().splitlines()
        if line.startswith("## [")
    ]
    assert titles[0] == __version__


def test_the_installed_script_is_this_command_line() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"rawstream": "rawstream.cli:main"}


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("--help") == 0
    shown = capsys.readouterr().out
    for command in ("serve", "demo", "simulate", "doctor"):
        assert command in shown


# -- running --


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in a process of its own, with all it printed up to its `ready URL`; the URL."""
    command = [sys.executable, "-m", "rawstream", *arguments]
    env = {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1", **environment}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    )
    assert process.stdout is not None
    printed = ""
    try:
        for line in process.stdout:
            printed += line
            if line.startswith("ready ") or " answers at " in line:
                break
        else:
            pytest.fail(f"it ended: {printed}")
        yield process, printed
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Ask it to stop, as Ctrl+C does; its status and what else it printed."""
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate()
    return process.returncode, rest


def fetch(url: str) -> str:
    with urlopen(url, timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def test_the_demo_prints_urls_that_play_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with running("demo", "--port", "0", TMPDIR=str(tmp_path)) as (process, printed):
        lines = printed.splitlines()
        urls = [line.strip() for line in lines if line.startswith("  http://127.0.0.1:")]
        (listed,) = [url for url in urls if "/get.php?" in url]
        urls.remove(listed)
        entries = [line for line in fetch(listed).splitlines() if line.startswith("http:")]
        urls += [url for url in entries if "/live/" in url]
        assert [url.split("/")[3] for url in entries if url not in urls] == [
            *("movie", "series", "series")
        ]
        assert len(urls) == 8, "each channel under its AceStream id, and from the list"
        base = lines[-1].removeprefix("ready ")
        assert f"curl {base}/status" in printed
        for url in urls:
            with urlopen(url, timeout=30) as stream:
                packet = stream.read(188)
            assert packet[0] == 0x47
        assert "4 channels" in fetch(f"{base}/status")
        status, rest = end(process)
    assert status == 0
    assert "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []


def test_the_server_runs_without_its_engine_says_so_once_and_stops_on_a_signal(
    tmp_path: Path,
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        engine = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        arguments = ("serve", "--host", "127.0.0.1", "--port", "0", "--engine", engine)
        with running(*arguments, "--data", str(tmp_path / "data")) as (process, printed):
            base = printed.rpartition(" answers at ")[2].strip()
            assert fetch(f"{base}/healthz") == "ok\n"
            while engine not in (shown := fetch(f"{base}/status")) or " down " not in shown:
                assert process.poll() is None
            status, rest = end(process)
    assert status == 0
    everything = printed + rest
    assert everything.count(f"engine {engine} is down") == 1
    assert "Traceback" not in everything
    assert (tmp_path / "data").is_dir()


def test_the_simulator_runs_alone_with_clips_of_ones_own(tmp_path: Path) -> None:
    clip = tmp_path / "my clip.ts"
    clip.write_bytes((PROJECT / "rawstream" / "clips" / "four-aac.ts").read_bytes())
    with running("simulate", "--port", "0", "--clip", str(clip)) as (process, printed):
        base = printed.splitlines()[-1].removeprefix("ready ")
        assert "my clip" in printed
        assert "/sim/fault" in printed
        assert '"platform"' in fetch(f"{base}/webui/api/service?method=get_version")
        assert end(process)[0] == 0
