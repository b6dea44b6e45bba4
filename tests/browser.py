"""A browser for the tests: hls.js in the headless Chromium of the distribution, and what it says.

Owns: starting Chromium as an ordinary user, cut off from all but this machine; the page that plays
one playlist with hls.js; and reading from it what a viewer would have seen. The page is served from
a port of its own, so that whatever it plays has to allow other origins (CORS).
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from aiohttp import web
from players import ORDINARY_USER, missing, player_command
from playwright.async_api import Browser, Page, Playwright, async_playwright
from playwright.async_api import TimeoutError as PlaywrightTimeout
from stage import PATIENCE_SECONDS
from web import serving

HLS_JS = Path(__file__).with_name("clients-js") / "node_modules/hls.js/dist/hls.min.js"
LOOK_SECONDS = 0.25  # between two looks at the page
CONNECTS = 3  # tried at most, and for how long all but the last time
CONNECT_MS = 10_000
START_SECONDS = 120.0  # of Chromium, on a machine that has much to do

SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # containers seldom allow one; every page here is ours
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    # a page that nobody looks at must not be slowed down
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    # nothing outside this machine is asked for anything
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
)

PAGE = """<!doctype html>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<video id="video" muted playsinline width="320" height="180"></video>
<script src="/hls.js"></script>
<script>
const video = document.getElementById("video");
const seen = {errors: [], waits: [], begun: null, levels: 0, loaded: [], breaks: [], ended: false};
const asked = new URLSearchParams(location.search);
const hls = new Hls();
hls.on(Hls.Events.ERROR, (_, data) => seen.errors.push({
  fatal: data.fatal, type: data.type, details: data.details, at: video.currentTime,
  code: data.response ? data.response.code : 0,
  reason: String(data.reason || (data.error && data.error.message) || ""),
}));
hls.on(Hls.Events.MANIFEST_PARSED, (_, data) => {
  seen.levels = data.levels.length;
  video.play().catch(error => seen.errors.push({
    fatal: true, type: "play", details: error.name, at: 0, code: 0, reason: error.message}));
});
hls.on(Hls.Events.FRAG_CHANGED, (_, data) => {
  seen.loaded.push(data.frag.sn);
  if (!seen.breaks.includes(data.frag.cc)) seen.breaks.push(data.frag.cc);
});
video.addEventListener("playing", () => { seen.begun ??= video.currentTime; });
video.addEventListener("waiting", () => {
  if (seen.begun !== null) seen.waits.push(video.currentTime);
});
video.addEventListener("ended", () => { seen.ended = true; });
window.report = () => {
  const quality = video.getVideoPlaybackQuality();
  const ahead = video.buffered.length
    ? video.buffered.end(video.buffered.length - 1) - video.currentTime : 0;
  return {
    ...seen, time: video.currentTime, decoded: quality.totalVideoFrames,
    dropped: quality.droppedVideoFrames, height: video.videoHeight, paused: video.paused,
    ahead, latency: hls.latency || 0,
  };
};
hls.loadSource(asked.get("url"));
hls.attachMedia(video);
</script>
"""


class PlayerError(NamedTuple):
    """One error that hls.js told. `at`: where the picture stood; `code`: the HTTP status, or 0."""

    fatal: bool
    type: str
    details: str
    at: float
    code: int
    reason: str


class Report(NamedTuple):
    """What the viewer has seen so far. Times are seconds of the `<video>`.

    `begun`: where playing began, None before; `waits`: where it stood still for want of data since
    then; `breaks`: discontinuity sequence numbers of what was shown; `ahead`: seconds buffered.
    """

    time: float
    begun: float | None
    decoded: int
    dropped: int
    height: int
    paused: bool
    ahead: float
    latency: float
    levels: int
    shown: list[int]
    breaks: list[int]
    waits: list[float]
    errors: list[PlayerError]

    @property
    def played(self) -> float:
        return self.time - self.begun if self.begun is not None else 0.0

    @property
    def stalls(self) -> list[PlayerError]:
        return [error for error in self.errors if "Stalled" in error.details]

    @property
    def fatal(self) -> list[PlayerError]:
        return [error for error in self.errors if error.fatal]


class Watch:
    """A page that plays."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.console: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.console.append(message.text))
        page.on("pageerror", lambda error: self.console.append(str(error)))

    async def report(self) -> Report:
        told: dict[str, Any] = await self.page.evaluate("report()")
        errors = [PlayerError(**error) for error in told["errors"]]
        named = {name: told[name] for name in Report._fields if name in told}
        return Report(**{**named, "shown": told["loaded"], "errors": errors})

    async def until(
        self, condition: Callable[[Report], bool], seconds: float = 2 * PATIENCE_SECONDS
    ) -> Report:
        """Wait for a condition; fails when it does not come true in so many seconds."""
        report = await self.report()
        try:
            async with asyncio.timeout(seconds):
                while not condition(report):
                    await asyncio.sleep(LOOK_SECONDS)
                    report = await self.report()
        except TimeoutError:
            raise AssertionError(f"never came true: {report}, {self.console}") from None
        return report

    async def until_played(self, seconds: float) -> Report:
        """Until so much has been played, or a fatal error; the caller looks at what was on the way.

        Twice the time is allowed, since a stall is to be told as one and not as a timeout.
        """
        return await self.until(
            lambda report: report.played >= seconds or bool(report.fatal),
            2 * (seconds + PATIENCE_SECONDS),
        )

    def strangers(self) -> set[str]:
        """Hosts beside this machine that were asked for anything."""
        urls = (urlsplit(url) for url in self.requests)
        return {url.netloc for url in urls if url.scheme not in ("data", "blob")} - {
            url.netloc for url in map(urlsplit, self.requests) if url.hostname == "127.0.0.1"
        }


class Chromium:
    """A running one, and where its page is."""

    def __init__(self, browser: Browser, site: str) -> None:
        self.browser = browser
        self.site = site

    @asynccontextmanager
    async def watch(self, url: str) -> AsyncIterator[Watch]:
        """Play a playlist in a window of its own, with hls.js as it is out of the box."""
        context = await self.browser.new_context()
        try:
            watch = Watch(await context.new_page())
            await watch.page.goto(f"{self.site}/?url={quote(url, safe='')}")
            yield watch
        finally:
            await context.close()


async def _answer(request: web.Request) -> web.Response:
    if request.path == "/":
        return web.Response(text=PAGE, content_type="text/html")
    if request.path == "/hls.js":
        return web.Response(body=HLS_JS.read_bytes(), content_type="text/javascript")
    return web.Response(status=404)


async def _listening(process: asyncio.subprocess.Process) -> str:
    """The address of its debugging protocol, from what it says when it starts."""
    assert process.stderr is not None
    said: list[str] = []
    async with asyncio.timeout(START_SECONDS):
        while line := (await process.stderr.readline()).decode(errors="replace"):
            if found := re.search(r"DevTools listening on (ws://\S+)", line):
                return found[1]
            said.append(line)
    raise AssertionError(f"Chromium ended: {said}")


async def _connected(playwright: Playwright, address: str) -> Browser:
    """The browser there. Its first page may come in the midst of a hand-shake, which then waits for
    ever: a new one sees it from the beginning.
    """
    for _ in range(CONNECTS - 1):
        try:
            return await playwright.chromium.connect_over_cdp(address, timeout=CONNECT_MS)
        except PlaywrightTimeout:
            pass
    return await playwright.chromium.connect_over_cdp(address)


async def _drain(stream: asyncio.StreamReader) -> None:
    """It says much that is about the machine, and must not wait for a reader."""
    while await stream.read(65_536):
        pass


def owned_folder() -> Path:
    """A new folder that Chromium, an ordinary user, may write in."""
    folder = Path(tempfile.mkdtemp(prefix="rawstream-chromium-"))
    if os.geteuid() == 0:
        user = pwd.getpwnam(ORDINARY_USER)
        os.chown(folder, user.pw_uid, user.pw_gid)
    return folder


@asynccontextmanager
async def downloads(page: Page) -> AsyncIterator[Path]:
    """Where what this page downloads is put, under the name that the server gave it."""
    folder = owned_folder()
    try:
        browser = page.context.browser
        assert browser is not None, "it was connected to"
        told = await (await page.context.new_cdp_session(page)).send("Target.getTargetInfo")
        where = {
            "browserContextId": told["targetInfo"]["browserContextId"],
            **{"behavior": "allow", "downloadPath": str(folder)},
        }
        await (await browser.new_browser_cdp_session()).send("Browser.setDownloadBehavior", where)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def headless() -> AsyncIterator[Browser]:
    """Headless Chromium as an ordinary user; skips the test where it is missing."""
    command = player_command("chromium", *SWITCHES, "--remote-debugging-port=0")
    folder = owned_folder()
    process = await asyncio.create_subprocess_exec(
        *(*command, f"--user-data-dir={folder}"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # so that all of it can be ended
    )
    draining = None
    try:
        address = await _listening(process)
        assert process.stderr is not None
        draining = asyncio.create_task(_drain(process.stderr))
        async with async_playwright() as playwright:
            browser = await _connected(playwright, address)
            try:
                yield browser
            finally:
                session = await browser.new_browser_cdp_session()
                await session.send("Browser.close")
                await process.wait()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)  # it may be a child of what changed the user
            await process.wait()
        if draining is not None:
            await draining
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def chromium() -> AsyncIterator[Chromium]:
    """Headless Chromium and the page that plays; skips the test where it or hls.js is missing."""
    if not HLS_JS.is_file():
        missing("hls.js, which tests/clients-js/package.json names,")
    async with serving(_answer) as site, headless() as browser:
        yield Chromium(browser, site)
