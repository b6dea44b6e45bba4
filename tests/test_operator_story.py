"""An operator's first hour, in a browser over the real programs: from the one-time link to taking
an import back. In English at a desk, in Italian on a telephone; nothing outside is asked for.

RAWSTREAM_SCREENSHOTS names a directory to keep a picture of each step in, for people.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import av
import pytest
from aiohttp import ClientSession
from aiohttp import web as http
from browser import headless
from guides import HOUR, guide, show
from players import find_program, missing
from playwright.async_api import Locator, Page, Route, expect
from stage import PATIENCE_SECONDS, until
from test_dashboard import AXE, DESK, IMPORT_MS, PHONE, Operator, operator
from web import serving

from rawstream.simulator import bundled_contents

pytestmark = [pytest.mark.player, pytest.mark.timeout(300)]

PROJECT = Path(__file__).parents[1]
PICTURES = os.environ.get("RAWSTREAM_SCREENSHOTS", "")
BITRATE = 5_000_000
PASSWORD = "a horse that is correct"
FROZEN = "FrozenPlayer/1.0"


# -- the stage: an engine, a server, somebody's playlists ------------------------------------------


def padded(path: Path) -> Path:
    """The first bundled clip at `BITRATE`, null packets added as broadcasters do."""
    clip = bundled_contents()[0].clip
    with (
        av.open(str(clip)) as given,
        av.open(str(path), "w", format="mpegts", options={"muxrate": str(BITRATE)}) as out,
    ):
        streams = {one.index: out.add_stream_from_template(one) for one in given.streams}
        for packet in given.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    return path


class Program:
    """One of ours, as a process; what it says is kept."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""

    async def line(self, pattern: str) -> re.Match[str]:
        """The first line of what it prints that has this in it."""
        output = self.process.stdout
        assert output is not None
        async with asyncio.timeout(2 * PATIENCE_SECONDS):
            while not (found := re.search(pattern, self.said)):
                piece = await output.readline()
                assert piece, f"it ended: {self.said}"
                self.said += piece.decode()
        return found


@asynccontextmanager
async def program(folder: Path, *arguments: str) -> AsyncIterator[Program]:
    settings = {key: value for key, value in os.environ.items() if "RAWSTREAM" not in key}
    log = folder / f"{arguments[0]}.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "rawstream", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            cwd=folder,
            env={**settings, "PYTHONPATH": str(PROJECT)},
        )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    told = log.read_text()
    assert "Traceback" not in told and " ERROR " not in told, told


@dataclass
class Lists:
    """A web server with somebody's lists. One that is `held` comes by half until it is let go."""

    documents: dict[str, bytes] = field(default_factory=dict)
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    base: str = ""

    def hold(self, path: str) -> asyncio.Event:
        self.held[path] = asyncio.Event()
        return self.held[path]

    async def answer(self, request: http.Request) -> http.StreamResponse:
        document = self.documents.get(request.path)
        if document is None:
            return http.Response(status=404)
        answer = http.StreamResponse()
        answer.content_length = len(document)
        await answer.prepare(request)
        half = len(document) // 2
        await answer.write(document[:half])
        if request.path in self.held:
            await self.held[request.path].wait()
        await answer.write(document[half:])
        return answer


def playlist(*rows: tuple[str, str]) -> bytes:
    """Names and content ids."""
    entries = [
        f'#EXTINF:-1 group-title="Generale",{name}\nacestream://{content}' for name, content in rows
    ]
    return "\n".join(["#EXTM3U", *entries, ""]).encode()


def programmes() -> bytes:
    """A guide of two channels, for some hours around now."""
    now = int(time.time()) // HOUR * HOUR
    shown = [
        show(key, now + hour * HOUR, now + (hour + 1) * HOUR, title)
        for key, title in (("uno.it", "Telegiornale"), ("calcio.it", "La partita"))
        for hour in range(-1, 6)
    ]
    return guide(*shown, names=(("uno.it", "Canale Uno"), ("calcio.it", "Calcio Minuto")))


class Frozen:
    """A player with a small receive buffer that asks for a channel and reads nothing."""

    def __init__(self, port: int, path: str) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", port))
        head = f"GET {path} HTTP/1.1\r\nHost: tv\r\nUser-Agent: {FROZEN}\r\n\r\n"
        self.socket.sendall(head.encode())
        self.socket.setblocking(False)

    def close(self) -> None:
        self.socket.close()

    def has_ended(self) -> bool:
        """Whether nothing more comes; what is there is read."""
        try:
            while self.socket.recv(65_536):
                pass
        except BlockingIOError:
            return False
        except ConnectionResetError:
            pass
        return True


@asynccontextmanager
async def ffmpeg(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A player; its progress is on its output."""
    process = await asyncio.create_subprocess_exec(
        *(find_program("ffmpeg"), "-v", "quiet", "-nostdin", "-progress", "pipe:1"),
        *("-i", url, "-f", "null", "-"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def pictures(player: asyncio.subprocess.Process, wanted: int) -> None:
    """Until FFmpeg has decoded so many."""
    output = player.stdout
    assert output is not None
    async with asyncio.timeout(2 * PATIENCE_SECONDS):
        while line := await output.readline():
            name, _, value = line.partition(b"=")
            if name == b"frame" and int(value) >= wanted:
                return
    raise AssertionError("the player has ended")


# -- what the operator does ------------------------------------------------------------------------


def _seconds(text: str) -> float:
    """What a page says as `7,8 s`."""
    return float(text.removesuffix(" s").replace(",", "."))


class Story(Operator):
    """An operator who uses the menu as it is on his screen, and keeps pictures."""

    def __init__(self, page: Page, base: str, language: str, narrow: bool) -> None:
        super().__init__(page, base, language)
        self.language = language
        self.narrow = narrow
        self.strangers: list[str] = []
        self.pictures = 0

    async def keep_to_this_machine(self) -> None:
        """Nothing else is reached, and what asks for more is noted."""

        async def refuse(route: Route) -> None:
            self.strangers.append(route.request.url)
            await route.abort()

        outside = re.compile(r"^(?!http://127\.0\.0\.1[:/]|data:|blob:)")
        await self.page.context.route(outside, refuse)

    async def seen(self, name: str, whole: bool = True) -> None:
        """Nothing is wrong with what is on the screen; a picture, if somebody wants one."""
        await self.assert_fits()
        await self.assert_accessible()
        if PICTURES:
            self.pictures += 1
            path = Path(PICTURES) / f"{self.language}-{self.pictures:02}-{name}.png"
            await self.page.screenshot(path=path, full_page=whole)
        await self.assert_sound()
        assert self.strangers == []

    async def open_menu(self) -> None:
        menu = self.button("menu")
        if self.narrow and await menu.get_attribute("aria-expanded") == "false":
            await menu.click()

    async def go(self, name: str) -> None:
        await self.open_menu()
        await self.page.get_by_role("link", name=self.words[f"nav.{name}"], exact=True).click()
        await self.arrived(name)
        if self.narrow:
            await expect(self.button("menu")).to_have_attribute("aria-expanded", "false")

    async def arrived(self, name: str) -> None:
        await expect(self.page.locator("main h1")).to_have_text(self.words[f"nav.{name}"])
        await expect(self.page.locator("main [aria-busy=true]")).to_have_count(0)

    @property
    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog")

    def within(self, outer: Locator, key: str, **values: Any) -> Locator:
        return outer.get_by_role("button", name=self.says(key, **values), exact=True)

    async def told(self, where: Locator, key: str) -> None:
        """What is told once a list has been read."""
        await expect(where).to_contain_text(self.words[key], timeout=IMPORT_MS)

    # -- chapters --

    async def set_up(self, link: str, engine: str, first: str) -> None:
        await self.page.goto(link)
        await self.arrived("first")
        await self.seen("first")
        await self.field("first.password.new").fill(PASSWORD)
        await self.field("first.password.again").fill(PASSWORD)
        await self.button("save").click()
        await expect(self.page.locator(".step.done")).to_have_count(1)
        await self.field("engines.url").fill("http://127.0.0.1:1")
        await self.button("engines.check").click()
        await expect(self.page.locator(".step .trouble")).to_be_visible()
        await self.field("engines.url").fill(engine)
        await self.button("engines.check").click()
        await expect(self.page.locator(".step p.good")).to_be_visible()
        await self.seen("engine")
        await self.button("first.engine.use").click()
        await expect(self.page.locator(".step.done")).to_have_count(2)
        await self.button("lists.add").click()
        await self.field("lists.name").fill("Casa")
        await self.field("lists.url").fill(first)
        await self.button("lists.preview").click()
        await self.told(self.dialog.locator(".report"), "report.added")
        await self.button("lists.import").click()
        await expect(self.page.locator(".step.done")).to_have_count(3)
        await self.seen("all-steps")

    async def come_back(self) -> None:
        await self.open_menu()
        await self.button("leave.who", name="admin").click()
        await expect(self.field("login.password")).to_be_visible()
        await self.seen("login")
        await self.field("login.username").fill("admin")
        await self.field("login.password").fill(PASSWORD)
        await self.button("login.enter").click()
        await self.arrived("overview")
        await self.seen("nothing-on-air")

    async def import_second(self, lists: Lists) -> None:
        await self.go("lists")
        await self.button("lists.add").click()
        await self.field("lists.name").fill("Sport")
        await self.field("lists.url").fill(f"{lists.base}/second.m3u")
        await self.button("lists.preview").click()
        report = self.dialog.locator(".report")
        await self.told(report, "report.added")
        await report.locator("summary").first.click()
        await expect(report.locator(".names")).to_contain_text("Calcio in Diretta")
        await self.seen("diff", whole=False)
        go_on = lists.hold("/second.m3u")
        await self.button("lists.import").click()
        card = self.page.locator(".card").filter(has_text="Sport")
        progress = card.get_by_role("progressbar")
        await expect(progress).to_have_attribute("value", re.compile("."), timeout=IMPORT_MS)
        await self.seen("progress")
        go_on.set()
        await self.told(card, "lists.state.well")
        await expect(progress).to_have_count(0)
        await card.locator("summary").first.click()
        await expect(card.locator(".report")).to_contain_text(self.words["report.added"])
        await self.seen("imported")

    async def map_the_guide(self, lists: Lists) -> None:
        await self.button("lists.add").click()
        await self.field("lists.kind").select_option("guide")
        await self.field("lists.name").fill("Programmi")
        await self.field("lists.url").fill(f"{lists.base}/guide.xml")
        await self.button("lists.preview").click()
        await self.told(self.dialog.locator(".report"), "report.matched")
        await self.button("lists.import").click()
        card = self.page.locator(".card").filter(has_text="Programmi")
        await self.told(card, "lists.state.well")
        await self.go("guide")
        await expect(self.page.locator(".programme.now")).to_have_count(1)
        await self.page.get_by_role("tab", name=self.words["guide.mapping"]).click()
        rows = self.page.locator(".mapping")
        await expect(rows).to_have_count(4)
        await expect(rows.first).to_contain_text(self.words["guide.state.unmapped"])
        known = rows.filter(has_text="Canale Uno HD")
        await expect(known.locator(".badge")).to_have_text(re.compile(r"· \d+ %$"))
        await self.seen("unmapped-first")
        await self.button("guide.choose", name="Calcio in Diretta").click()
        offer = self.dialog.get_by_role("button", name=re.compile(r"Calcio Minuto.*· \d+ %"))
        await expect(offer).to_be_visible()
        await self.seen("candidates", whole=False)
        await offer.click()
        chosen = rows.filter(has_text="Calcio in Diretta")
        await expect(chosen.locator(".badge")).to_have_text(self.words["guide.manual"])
        await expect(chosen).to_contain_text("Calcio Minuto")
        await self.seen("mapped")
        await self.page.get_by_role("tab", name=self.words["guide.grid"]).click()
        await expect(self.page.locator(".programme.now")).to_have_count(2)
        await self.seen("grid")

    async def play_in_the_page(self) -> None:
        await self.go("channels")
        await expect(self.page.locator(".channel")).to_have_count(4)
        await self.seen("channels")
        await self.button("play.what", name="Canale Uno HD").click()
        frames = "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames"
        await self.page.wait_for_function(f"() => {frames} > 10")
        shown = await self.page.evaluate(frames)
        await self.page.wait_for_function(f"() => {frames} > {shown} + 50")
        await expect(self.dialog).to_contain_text("h264")
        await expect(self.field("play.elsewhere")).to_be_visible()
        await self.seen("playing", whole=False)
        await self.page.keyboard.press("Escape")
        await expect(self.dialog).to_have_count(0)

    async def kick_who_has_frozen(self, frozen: Frozen) -> None:
        await self.go("overview")
        channel = self.page.locator(".onair").filter(has_text="Canale Uno HD")
        await expect(channel).to_contain_text(self.words["channel.state.live"])
        await self.button("overview.show_viewers", name="Canale Uno HD").click()
        row = channel.locator("tbody tr").filter(has_text=FROZEN)
        await expect(row).to_contain_text("127.0.0.1")
        lag = await self.lag_above(row, 1)
        later = await self.lag_above(row, lag + 2)
        await self.lag_above(row, later + 2)
        await self.seen("frozen")
        await self.within(row, "viewer.kick").click()
        await expect(self.dialog).to_contain_text(self.says("viewer.kick.sure", who="127.0.0.1"))
        await self.within(self.dialog, "viewer.kick").click()
        await expect(row).to_have_count(0)
        await until(frozen.has_ended, "the socket of who was kicked ends")

    async def lag_above(self, row: Locator, seconds: float) -> float:
        """How far behind he is, once the page tells more than that."""
        cell = row.locator(f'[data-label="{self.words["viewer.lag"]}"]')
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (told := _seconds(await cell.inner_text())) <= seconds:
                await asyncio.sleep(0.1)
        return told

    async def make_an_account(self) -> str:
        """Returns the address of its playlist."""
        await self.go("accounts")
        await self.button("accounts.new").click()
        await self.field("login.username").fill("salotto")
        await self.field("accounts.notes").fill("il televisore")
        await self.seen("new-account", whole=False)
        await self.button("save").click()
        await expect(self.dialog).to_contain_text(self.words["accounts.once"])
        address = await self.field("accounts.playlist").input_value()
        await expect(self.field("accounts.server")).to_have_value(self.base)
        await expect(self.field("accounts.guide")).to_have_value(re.compile("/xmltv.php"))
        await expect(self.dialog.locator("svg.qr path")).to_have_attribute("d", re.compile("^M2 2"))
        await self.seen("addresses", whole=False)
        await self.button("done").click()
        await expect(self.dialog).to_have_count(0)
        return address

    async def disable_the_account(self, player: asyncio.subprocess.Process) -> None:
        row = self.page.get_by_role("row").filter(has_text="salotto")
        await self.go("overview")
        await self.go("accounts")
        await expect(row).to_contain_text("1 / 1")
        await self.seen("watching")
        await self.button("disable.what", name="salotto").click()
        await expect(row).to_contain_text(self.words["accounts.status.Disabled"])
        async with asyncio.timeout(PATIENCE_SECONDS):
            await player.communicate()
        await self.seen("disabled")

    async def undo_the_import(self) -> None:
        await self.go("lists")
        card = self.page.locator(".card").filter(has_text="Sport")
        undo = self.within(card, "lists.undo.what", name="Sport")
        await undo.click()
        await self.seen("undo", whole=False)
        await self.within(self.dialog, "lists.undo").click()
        await expect(undo).to_be_disabled()
        await self.go("channels")
        await expect(self.page.locator(".channel")).to_have_count(2)
        names = self.page.locator(".channel .what button")
        await expect(names).to_have_text(["Canale Uno HD", "Notizie"])
        await self.seen("undone")


async def first_stream(address: str) -> str:
    """The address of the first channel in an account's playlist."""
    async with ClientSession() as ask, ask.get(address) as answer:
        assert answer.status == 200
        rows = (await answer.text()).splitlines()
    return next(row for row in rows if row.startswith("http"))


async def assert_refused(address: str, stream: str) -> None:
    given = parse_qs(urlsplit(address).query)
    login = {name: given[name][0] for name in ("username", "password")}
    async with ClientSession() as ask:
        door = address.partition("/get.php")[0]
        async with ask.get(f"{door}/player_api.php", params=login) as answer:
            assert (await answer.json())["user_info"]["status"] == "Disabled"
        for url in (address, stream):
            async with ask.get(url) as answer:
                assert answer.status in (401, 403), url


@pytest.mark.parametrize(
    ("language", "screen"),
    [("en", {"viewport": DESK}), ("it", {"viewport": PHONE, "has_touch": True, "is_mobile": True})],
    ids=["english-desk", "italian-phone"],
)
async def test_from_the_one_time_link_to_taking_an_import_back(
    tmp_path: Path, language: str, screen: Any
) -> None:
    if not AXE.is_file():
        missing("axe-core, which tests/clients-js/package.json names,")
    clip = padded(tmp_path / "five.ts")
    lists = Lists()
    async with (
        program(
            tmp_path,
            *("simulate", "--port", "0", "--clip", str(clip)),
            *("--clip", str(bundled_contents()[0].clip)),
        ) as engine,
        program(
            tmp_path,
            *("serve", "--host", "127.0.0.1", "--port", "0", "--data", str(tmp_path / "data")),
        ) as server,
        serving(lists.answer) as lists.base,
        headless() as browser,
    ):
        at = (await engine.line(r"ready (\S+)"))[1]
        five, other = re.findall(r"id ([0-9a-f]{40}) ", engine.said)
        link = await server.line(r"(http://\S+)/setup#(\S+)")
        lists.documents = {
            "/first.m3u": playlist(("Canale Uno HD", five), ("Notizie", other)),
            "/second.m3u": playlist(("Calcio in Diretta", "a" * 40), ("Vela", "b" * 40)),
            "/guide.xml": programmes(),
        }
        async with operator(browser, link[1], language, **screen) as page:
            one = Story(page.page, link[1], language, narrow=screen["viewport"] is PHONE)
            await one.keep_to_this_machine()
            await one.set_up(link[0], at, f"{lists.base}/first.m3u")
            await one.come_back()
            await one.import_second(lists)
            await one.map_the_guide(lists)
            await one.play_in_the_page()
            with closing(
                Frozen(urlsplit(link[1]).port or 0, f"/ace/getstream?id={five}")
            ) as frozen:
                await one.kick_who_has_frozen(frozen)
            address = await one.make_an_account()
            stream = await first_stream(address)
            async with ffmpeg(stream) as player:
                await pictures(player, 25)
                await one.disable_the_account(player)
            await assert_refused(address, stream)
            await one.undo_the_import()
