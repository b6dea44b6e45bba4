"""A real Kodi for the tests: headless, as an ordinary user, with a home of its own, driven over
JSON-RPC (reference §12.2).
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from players import ORDINARY_USER, find_program, missing, player_command

ADDONS = ("inputstream.ffmpegdirect", "pvr.iptvsimple")  # each needs the one before it
_ADDON_FOLDER = Path("/usr/share/kodi/addons")
_START_SECONDS = 120.0  # the first start makes its databases

_ASOUND = "pcm.!default { type null }\nctl.!default { type null }\n"
_ADVANCED = "<advancedsettings><jsonrpc><tcpport>{port}</tcpport></jsonrpc></advancedsettings>\n"
_SETTINGS = """<settings version="2">
    <setting id="m3uPathType">1</setting>
    <setting id="m3uUrl">{playlist}</setting>
    <setting id="m3uCache">false</setting>
    <setting id="epgPathType">1</setting>
    <setting id="epgUrl">{guide}</setting>
    <setting id="epgCache">false</setting>
</settings>
"""


class Refused(AssertionError):
    """Kodi's error for a call."""


class Kodi:
    """A running Kodi; `log` is what it has written so far."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, home: Path
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._heard = ""
        self._number = 0
        self._log = home / ".kodi" / "temp" / "kodi.log"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    async def call(self, method: str, **parameters: Any) -> Any:
        """Raises Refused."""
        self._number += 1
        asked = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": parameters}
        self._writer.write(json.dumps(asked).encode())
        async with asyncio.timeout(_START_SECONDS):
            while True:
                answer = await self._answer()
                if answer.get("id") == self._number:
                    break
        if "error" in answer:
            raise Refused(f"{method}: {answer['error']}")
        return answer["result"]

    async def _answer(self) -> Any:
        """The next JSON object; there is nothing between one and the next."""
        while True:
            try:
                found, end = json.JSONDecoder().raw_decode(self._heard.lstrip())
            except ValueError:
                piece = await self._reader.read(1 << 16)
                assert piece, f"Kodi has ended:\n{self.log[-2000:]}"
                self._heard += piece.decode()
            else:
                self._heard = self._heard.lstrip()[end:]
                return found

    async def until(
        self, method: str, is_so: Callable[[Any], Any], seconds: float = 60.0, **parameters: Any
    ) -> Any:
        """Ask until the answer is as wanted; the answer. A refusal is not yet it."""
        answer: Any = None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        answer = await self.call(method, **parameters)
                    except Refused as error:
                        answer = error
                    else:
                        if is_so(answer):
                            return answer
                    await asyncio.sleep(0.25)
        except TimeoutError:
            raise AssertionError(f"never came true of {method} {parameters}: {answer}") from None


def demand_kodi() -> None:
    """Skip without all of it; fail under CI=true."""
    for program in ("kodi", "xvfb-run"):
        find_program(program)
    for addon in ADDONS:
        if not (_ADDON_FOLDER / addon / "addon.xml").is_file():
            missing(f"the Kodi add-on {addon}")


@asynccontextmanager
async def kodi(playlist: str, guide: str) -> AsyncIterator[Kodi]:
    """Kodi with these two URLs in its IPTV client, whose channels it has read."""
    demand_kodi()
    home = Path(tempfile.mkdtemp(prefix="rawstream-kodi-"))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    _furnish(home, port, playlist, guide)
    arguments = (f"HOME={home}", f"XDG_RUNTIME_DIR={home}", "xvfb-run", "-a", "kodi")
    process = await asyncio.create_subprocess_exec(
        *player_command("env", *arguments, "--standalone"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        reader, writer = await _connection(port)
        try:
            found = Kodi(reader, writer, home)
            await found.until("JSONRPC.Ping", lambda answer: answer == "pong")
            for addon in ADDONS:
                await found.call("Addons.SetAddonEnabled", addonid=addon, enabled=True)
            await found.until(
                "PVR.GetProperties", lambda answer: answer["available"], properties=["available"]
            )
            yield found
            await found.call("Application.Quit")
            await asyncio.wait_for(process.wait(), 60)
        finally:
            writer.transport.abort()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        shutil.rmtree(home, ignore_errors=True)


def _furnish(home: Path, port: int, playlist: str, guide: str) -> None:
    data = home / ".kodi" / "userdata"
    settings = data / "addon_data" / "pvr.iptvsimple" / "settings.xml"
    settings.parent.mkdir(parents=True)
    settings.write_text(_SETTINGS.format(playlist=escape(playlist), guide=escape(guide)))
    (data / "advancedsettings.xml").write_text(_ADVANCED.format(port=port))
    (home / ".asoundrc").write_text(_ASOUND)  # without a sound device every play stumbles
    if os.geteuid() == 0:
        user = pwd.getpwnam(ORDINARY_USER)
        for path in (home, *home.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid)


async def _connection(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(_START_SECONDS):
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.25)
