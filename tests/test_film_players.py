"""Real players seek in films: through an engine, and through nginx as a web server of files."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from film_stage import (
    film_channel,
    film_content,
    film_timeouts,
    note_ranges,
    of_engine,
    of_web,
    path_of,
    show,
)
from front_door import run
from players import ORDINARY_USER, find_program, player_command
from stage import PATIENCE_SECONDS, Stage, stage
from test_players import errors_of
from test_reverse_proxy import MAIN, free_port

pytestmark = [pytest.mark.player, pytest.mark.timeout(300)]

SECONDS = 90
_LOG = "log_format ranges '$http_range'; access_log {folder}/ranges ranges;"
_SITE = "server {{ listen 127.0.0.1:{port}; location / {{ root {folder}/files; }} }}"


def film_of(folder: Path, extension: str) -> Path:
    """A minute and a half of pictures too noisy to be small (VLC reads 16 MB ahead and seeks in
    them by itself), with sound. An MP4 has its index at its end, so that a player has to seek
    before it can begin.
    """
    path = folder / f"film.{extension}"
    pictures = f"testsrc=size=320x180:rate=25:duration={SECONDS},noise=alls=40:allf=t"
    command = (
        *("-v", "error", "-f", "lavfi", "-i", pictures),
        *("-f", "lavfi", "-i", f"sine=frequency=440:duration={SECONDS}"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-b:v", "5M"),
        *("-c:a", "aac", "-pix_fmt", "yuv420p", str(path)),
    )
    subprocess.run([find_program("ffmpeg"), *command], check=True, stdin=subprocess.DEVNULL)
    return path


@pytest.fixture(scope="module")
def films() -> Iterator[dict[str, Path]]:
    with tempfile.TemporaryDirectory(prefix="rawstream-films-") as name:
        os.chmod(name, 0o755)
        yield {extension: film_of(Path(name), extension) for extension in ("mp4", "mkv")}


class Web(NamedTuple):
    """nginx with the films on it."""

    url: str
    folder: Path

    def ranges(self) -> list[str]:
        log = self.folder / "ranges"
        return log.read_text().split() if log.exists() else []


@asynccontextmanager
async def web_server(films: dict[str, Path]) -> AsyncIterator[Web]:
    folder, port = Path(tempfile.mkdtemp(prefix="rawstream-web-")), free_port()
    (folder / "files").mkdir()
    for path in films.values():
        shutil.copy(path, folder / "files")
    server = (_LOG + _SITE).format(folder=folder, port=port)
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, server=server))
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, ORDINARY_USER)
    arguments = ("-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "errors"))
    process = await asyncio.create_subprocess_exec(
        *player_command("nginx", *arguments), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield Web(f"http://127.0.0.1:{port}", folder)
    finally:
        process.terminate()
        await process.wait()
        shutil.rmtree(folder, ignore_errors=True)


class Cinema(NamedTuple):
    """A film on show. `begins`: where each request began in it."""

    stage: Stage
    size: int
    begins: list[int]

    def seeks_to(self, share: float) -> bool:
        """Whether it was asked for from about there on, and not read up to there."""
        near = [begin / self.size for begin in self.begins]
        return any(share <= place <= share + 0.35 for place in near)


@asynccontextmanager
async def cinema(
    data: Path, films: dict[str, Path], kind: str, extension: str
) -> AsyncIterator[tuple[Cinema, str]]:
    """A film from this kind of source; its URL."""
    content = film_content(file=films[extension])
    async with (
        web_server(films) as web,
        stage(data, [content], timeouts=film_timeouts()) as made,
    ):
        way = of_engine(content) if kind == "engine" else of_web(f"{web.url}/film.{extension}")
        await show(made.worker, film_channel(way, extension=extension))
        size = films[extension].stat().st_size
        cinema = Cinema(made, size, note_ranges(made.worker))
        yield cinema, f"http://127.0.0.1:{made.port}{path_of(extension=extension)}"
        # whatever it asked for, one reader at a time read it
        assert made.engine.counters.doubled_readers == 0
        assert made.engine.counters.opens == (kind == "engine")
        assert bool(web.ranges()) == (kind == "web")


def of_each_film(test: object) -> object:
    by_kind = pytest.mark.parametrize("kind", ["engine", "web"])
    return by_kind(pytest.mark.parametrize("extension", ["mp4", "mkv"])(test))  # type: ignore


@of_each_film
async def test_ffmpeg_seeks_to_the_very_frames(
    tmp_path: Path, films: dict[str, Path], kind: str, extension: str
) -> None:
    async with cinema(tmp_path, films, kind, extension) as (made, url):
        found = []
        for what in (url, str(films[extension])):
            status, out, errors = await run(
                *player_command("ffmpeg", "-v", "error", "-nostdin", "-ss", "60", "-i", what),
                *("-frames:v", "10", "-an", "-f", "framemd5", "-"),
            )
            assert (status, errors) == (0, "")
            found.append([line for line in out.splitlines() if not line.startswith("#")])
        assert len(found[0]) == 10
        assert found[0] == found[1]
        assert made.seeks_to(0.5)


@of_each_film
async def test_mpv_begins_in_the_middle(
    tmp_path: Path, films: dict[str, Path], kind: str, extension: str
) -> None:
    async with cinema(tmp_path, films, kind, extension) as (made, url):
        status, out, errors = await run(
            *player_command("mpv", "--no-config", "--vo=null", "--ao=null", "--cache=no"),
            *("--msg-level=all=warn,term-msg=info", "--start=50%", "--length=1"),
            "--term-playing-msg=seekable=${seekable} whole=${partially-seekable} at=${percent-pos}",
            url,
        )
        assert status == 0, errors
        (told,) = (line for line in out.splitlines() if line.startswith("seekable="))
        assert told.startswith("seekable=yes whole=no at=")
        assert told.endswith(("=49", "=50", "=51"))
        rest = [line for line in (out + errors).splitlines() if line != told and line.strip()]
        assert rest in ([], ["[mkv] Discarding potentially broken or useless index."])
        assert made.seeks_to(0.4)


@of_each_film
async def test_vlc_begins_in_the_middle(
    tmp_path: Path, films: dict[str, Path], kind: str, extension: str
) -> None:
    async with cinema(tmp_path, films, kind, extension) as (made, url):
        _, _, text = await run(
            *player_command("cvlc", "-vv", "--no-color", "--vout=dummy", "--aout=dummy"),
            *("--start-time=60", "--run-time=2", "--play-and-exit", url),
        )
        lines = [line.partition("] ")[2] for line in text.splitlines()]
        assert any("Received first picture" in line for line in lines)
        assert errors_of(lines) == set()
        assert made.seeks_to(0.4)
        assert made.stage.worker.accounts.taken_over == 0


async def test_curl_goes_on_where_it_stopped(tmp_path: Path, films: dict[str, Path]) -> None:
    async with cinema(tmp_path, films, "engine", "mkv") as (_, url):
        film = films["mkv"].read_bytes()
        part = films["mkv"].with_name("part.mkv")
        part.write_bytes(film[:1_234_567])
        os.chmod(part, 0o666)
        status, _, errors = await run(
            *player_command("curl", "-sS", "-f", "-C", "-", "-o", str(part), url)
        )
        assert (status, errors) == (0, "")
        assert part.read_bytes() == film
