"""Real players on the demo, as a new user meets them: each printed URL plays, without an error
line.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

import pytest
from players import player_command

from rawstream.simulator import SimContent, bundled_contents

pytestmark = [pytest.mark.player, pytest.mark.timeout(120)]

CONTENTS = bundled_contents()
# VLC says these wherever there is no desktop; they are about its remote controls.
_NO_DESKTOP = re.compile(r"dbus|interface error|libvlc error: interface")


class Demo:
    """`rawstream demo` in a process of its own, and what it printed until it was ready."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rawstream", "demo", "--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.printed: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed.append(line.strip())
            if line.startswith("ready http://"):
                break
        else:
            raise AssertionError(f"it ended before it was ready: {self.printed}")
        self.base = self.printed[-1].removeprefix("ready ")

    def url(self, content: SimContent) -> str:
        (url,) = (line for line in self.printed if line.endswith(content.content_id))
        return url

    def close(self) -> int:
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    demo = Demo()
    yield demo
    assert demo.close() == 0


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, stdin=subprocess.DEVNULL
    )


def of_each_content(test: object) -> object:
    # type: ignore[arg-type]
    return pytest.mark.parametrize("content", CONTENTS, ids=lambda c: c.name.split()[1])(test)


@of_each_content
def test_ffprobe_names_the_streams_without_an_error_line(demo: Demo, content: SimContent) -> None:
    result = run(
        *player_command("ffprobe", "-v", "error", "-show_entries", "stream=codec_name"),
        *("-of", "csv=p=0", demo.url(content)),
    )
    assert (result.returncode, result.stderr) == (0, "")
    named = {name.strip(",") for name in result.stdout.split()}
    expected = {"one": {"h264", "aac"}, "two": {"hevc", "ac3"}}
    expected |= {"three": {"mpeg2video", "mp2"}, "four": {"aac"}}
    assert named == expected[content.name.split()[1]]


@of_each_content
def test_ffmpeg_decodes_some_seconds_without_an_error_line(demo: Demo, content: SimContent) -> None:
    result = run(
        *player_command("ffmpeg", "-hide_banner", "-v", "error", "-nostdin", "-t", "3"),
        *("-i", demo.url(content), "-f", "null", "-"),
    )
    assert (result.returncode, result.stderr) == (0, "")


def mpv_command(*arguments: str) -> Sequence[str]:
    """mpv without a thread that reads ahead: at the end that would be stopped in the middle of a
    read, and mpv would remark on the packet that it has torn itself.
    """
    quiet = ("--no-config", "--vo=null", "--ao=null", "--demuxer-thread=no", "--cache=no")
    return player_command("mpv", *quiet, *arguments)


@of_each_content
def test_mpv_plays_some_seconds_without_a_warning(demo: Demo, content: SimContent) -> None:
    result = run(
        *mpv_command("--msg-level=all=warn", "--length=2", demo.url(content)),
    )
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def vlc(what: str) -> list[str]:
    """What VLC says while it plays some seconds of this, without the addresses of its objects."""
    result = run(
        *player_command("cvlc", "-vv", "--no-color", "--vout=dummy", "--aout=dummy"),
        *("--run-time=3", "--play-and-exit", what),
    )
    return [line.partition("] ")[2] for line in result.stderr.splitlines()]


def errors_of(lines: list[str]) -> set[str]:
    return {line for line in lines if " error: " in line and not _NO_DESKTOP.search(line)}


@of_each_content
def test_vlc_shows_a_picture_or_sounds_without_an_error(demo: Demo, content: SimContent) -> None:
    lines = vlc(demo.url(content))
    sign = "Received first picture" if content.name.split()[1] != "four" else "using audio decoder"
    assert any(sign in line for line in lines), sign
    errors = errors_of(lines)
    if errors:
        # with AC-3 it tries a digital output first, and complains of the dummy one: not of us
        with tempfile.NamedTemporaryFile(suffix=".ts") as file:
            os.chmod(file.name, 0o644)
            file.write(content.clip.read_bytes())
            file.flush()
            errors -= errors_of(vlc(file.name))
    assert errors == set()


def test_the_status_line_the_demo_prints_works_in_curl(demo: Demo) -> None:
    (line,) = (line for line in demo.printed if "curl " in line)
    result = run(*player_command("curl", "-sS"), line.partition("curl ")[2])
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("rawstream ")
    assert max(map(len, result.stdout.splitlines())) <= 100
    assert os.linesep in result.stdout


# -- the same as HLS --


def playlist(demo: Demo, content: SimContent) -> str:
    return demo.url(content).replace("/ace/getstream", "/ace/manifest.m3u8")


@of_each_content
def test_ffmpeg_decodes_hls_without_an_error_line(demo: Demo, content: SimContent) -> None:
    result = run(
        *player_command("ffmpeg", "-hide_banner", "-v", "error", "-nostdin", "-t", "6"),
        *("-i", playlist(demo, content), "-f", "null", "-"),
    )
    assert (result.returncode, result.stderr) == (0, "")


@of_each_content
def test_mpv_plays_hls_without_a_warning(demo: Demo, content: SimContent) -> None:
    result = run(
        *mpv_command("--msg-level=all=warn", "--length=2", playlist(demo, content)),
    )
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@of_each_content
def test_vlc_plays_hls(demo: Demo, content: SimContent) -> None:
    lines = vlc(playlist(demo, content))
    sign = "Received first picture" if content.name.split()[1] != "four" else "using audio decoder"
    assert any(sign in line for line in lines), sign
    if content.name.split()[1] != "two":  # of AC-3 it complains whatever brings it, as above
        assert errors_of(lines) == set()
