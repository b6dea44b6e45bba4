"""The dashboard in a browser, as an operator uses it: over the whole server, in both languages."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from browser import headless
from players import missing
from playwright.async_api import Browser, Page, expect
from stage import PATIENCE_SECONDS, Stage, stage, until
from test_pages import dictionary
from web import serving

from rawstream.config import Config, Timeouts
from rawstream.workers import Worker

pytestmark = [pytest.mark.player, pytest.mark.timeout(240)]

AXE = Path(__file__).with_name("clients-js") / "node_modules/axe-core/axe.min.js"
EVIL = '<img src=x onerror="window.pwned=1">'
PAGES = (
    "overview",
    "channels",
    "guide",
    "lists",
    "accounts",
    "engines",
    "search",
    "settings",
    "log",
)
DESK, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
WATCH = """addEventListener("securitypolicyviolation", event =>
  (window.violations ??= []).push(event.violatedDirective));"""
IMPORT_MS = 4 * PATIENCE_SECONDS * 1000  # reading a list has the least priority there is
expect.set_options(timeout=PATIENCE_SECONDS * 1000)


class Operator:
    """A person before a browser: what he reads is in `language`."""

    def __init__(self, page: Page, base: str, language: str) -> None:
        self.page = page
        self.base = base
        self.words = dictionary(language)
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE_SECONDS * 1000)
        page.on("console", lambda message: self._heard(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def says(self, key: str, **values: Any) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: str(values[found[1]]), self.words[key])

    def button(self, key: str, **values: Any) -> Any:
        return self.page.get_by_role("button", name=self.says(key, **values), exact=True)

    def field(self, key: str) -> Any:
        return self.page.get_by_label(self.words[key], exact=True)

    async def assert_complains(self, *told: str) -> None:
        """The console tells of these refusals and of nothing else."""
        await until(lambda: len(self.complaints) >= len(told), f"the console tells of {told}")
        for word, complaint in zip(told, self.complaints, strict=True):
            assert word in complaint
        self.complaints.clear()

    async def log_in(self, username: str, password: str) -> None:
        await self.page.goto(f"{self.base}/")
        await self.field("login.username").fill(username)
        await self.field("login.password").fill(password)
        await self.button("login.enter").click()

    async def get_in(self, username: str, password: str) -> None:
        await self.log_in(username, password)
        await expect(self.page.locator("#main h1")).to_be_visible()

    async def see(self, name: str) -> None:
        await self.page.goto(f"{self.base}/#/{name}")
        await expect(self.page.locator("main h1")).to_have_text(self.words[f"nav.{name}"])
        await expect(self.page.locator("main [aria-busy=true]")).to_have_count(0)

    async def assert_sound(self) -> None:
        """Nothing was complained of, and nothing that came as text has run."""
        assert self.complaints == []
        assert await self.page.evaluate("[window.pwned, window.violations]") == [None, None]

    async def assert_fits(self) -> None:
        too_wide = await self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert too_wide <= 0, f"{self.page.url} is {too_wide} pixels too wide"

    async def assert_accessible(self) -> None:
        """By the rules of WCAG 2.2, levels A and AA, as far as a machine can tell."""
        await self.page.evaluate(
            """() => Promise.allSettled(document.getAnimations()
            .filter(one => one.effect.getComputedTiming().iterations !== Infinity)
            .map(one => one.finished))"""
        )
        await self.page.evaluate(AXE.read_text())
        found = await self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        told = [
            (one["id"], one["impact"], [node["html"] for node in one["nodes"][:3]])
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert told == [], self.page.url


@asynccontextmanager
async def operator(
    browser: Browser, base: str, language: str = "en", **how: Any
) -> AsyncIterator[Operator]:
    context = await browser.new_context(
        locale={"en": "en-GB", "it": "it-IT"}[language], **{"viewport": DESK, **how}
    )
    try:
        await context.add_init_script(WATCH)
        yield Operator(await context.new_page(), base, language)
    finally:
        await context.close()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with headless() as made:
        yield made


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage(tmp_path, []) as one:
        yield one


def at(made: Stage) -> str:
    return f"http://127.0.0.1:{made.port}"


def first_password(made: Stage) -> str:
    assert made.worker.first_password is not None
    return made.worker.first_password


async def test_who_has_a_password_gets_in_and_out(made: Stage, browser: Browser) -> None:
    async with operator(browser, at(made)) as one:
        await one.log_in("admin", "wrong")
        await expect(one.page.get_by_role("alert")).to_be_visible()
        await one.assert_complains("403")
        await one.get_in("admin", first_password(made))
        await expect(one.page.locator("main h1")).to_have_text(one.says("nav.overview"))
        await one.button("leave.who", name="admin").click()
        await expect(one.field("login.password")).to_be_visible()
        await one.page.goto(f"{one.base}/")
        assert one.page.url.endswith("/login")
        await one.assert_sound()


@pytest.mark.parametrize("language", ["en", "it"])
async def test_refusals_are_told_in_the_language_of_who_reads(
    made: Stage, browser: Browser, language: str
) -> None:
    async with operator(browser, at(made), language) as one:
        await one.log_in("admin", "wrong")
        await expect(one.page.get_by_role("alert")).to_have_text(one.says("code.login_refused"))
        await one.get_in("admin", first_password(made))
        await one.see("accounts")
        await one.button("accounts.new").click()
        await one.field("login.username").fill("admin")
        await one.button("save").click()
        dialog = one.page.get_by_role("dialog")
        taken = one.says("code.name_taken", name="admin")
        await expect(dialog.get_by_role("alert")).to_contain_text(taken)
        await one.field("login.username").fill("no spaces")
        await one.button("save").click()
        await expect(dialog.locator("small.problem")).to_have_text(one.says("code.name_shape"))
        await one.page.keyboard.press("Escape")
        await one.see("engines")
        await one.button("engines.add").click()
        await one.field("engines.url").fill("http://127.0.0.1:9")
        await one.button("engines.check").click()
        await expect(dialog.locator("p.trouble")).to_have_text(one.says("code.refused"))
        await one.button("add").click()
        trouble = one.page.locator(".card .trouble")
        await expect(trouble).to_contain_text(one.says("code.refused"))
        await one.see("settings")
        await one.page.get_by_label(one.says("setting.hls_target_seconds"), exact=True).fill("99")
        await one.button("save").click()
        told = one.page.locator("small.problem")
        await expect(told).to_have_text(
            re.compile(re.escape(one.says("code.too_large", most="\0")).replace("\0", r"\d+"))
        )
        one.complaints = [text for text in one.complaints if "the server responded" not in text]
        await one.assert_sound()


async def test_a_one_time_link_opens_the_first_steps_once(made: Stage, browser: Browser) -> None:
    link = f"/setup#{made.worker.first_link}"
    async with operator(browser, at(made)) as one:
        await one.page.goto(f"{one.base}{link}")
        await expect(one.page.locator("main h1")).to_have_text(one.says("nav.first"))
        assert str(made.worker.first_link) not in one.page.url
        await one.field("first.password.new").fill("correct horse")
        await one.field("first.password.again").fill("correct hors")
        await expect(one.button("save")).to_be_disabled()
        await one.field("first.password.again").fill("correct horse")
        await one.button("save").click()
        await expect(one.page.locator(".step.done")).to_have_count(1)
        await one.see("accounts")  # still logged in, though the password is another
        await expect(one.page.get_by_role("row")).to_have_count(2)
        await one.assert_sound()
    async with operator(browser, at(made)) as one:
        await one.page.goto(f"{one.base}{link}")
        await expect(one.page.get_by_role("alert")).to_be_visible()
        one.complaints.clear()
        await one.get_in("admin", "correct horse")
        await one.see("accounts")


@pytest.mark.parametrize("language", ["en", "it"])
async def test_an_account_is_made_changed_disabled_and_deleted(
    made: Stage, browser: Browser, language: str
) -> None:
    async with operator(browser, at(made), language) as one:
        await one.get_in("admin", first_password(made))
        await one.see("accounts")
        await one.button("accounts.new").click()
        await one.field("login.username").fill("live")  # a word of our own URLs
        await one.field("accounts.notes").fill(EVIL)
        await one.button("save").click()
        await expect(one.page.locator("small.problem")).to_be_visible()
        await one.assert_complains("422")
        await one.field("login.username").fill("ana")
        await one.button("save").click()
        await expect(one.page.get_by_role("dialog")).to_contain_text(one.says("accounts.once"))
        playlist = await one.field("accounts.playlist").input_value()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/get\.php\?username=ana&.+", playlist)
        await expect(one.page.locator("svg.qr path")).to_have_attribute("d", re.compile("^M2 2h1"))
        await one.assert_accessible()
        await one.button("done").click()
        row = one.page.get_by_role("row").filter(has_text="ana")
        await expect(row).to_contain_text(EVIL)
        await one.button("edit.what", name="ana").click()
        await one.field("accounts.connections").fill("3")
        await one.button("save").click()
        await expect(row).to_contain_text("0 / 3")
        await one.button("disable.what", name="ana").click()
        await expect(row).to_contain_text(one.says("accounts.status.Disabled"))
        await one.button("accounts.urls", name="ana").click()
        by_token = await one.field("accounts.playlist").input_value()
        assert "token=" in by_token
        await one.button("done").click()
        await one.button("delete.what", name="ana").click()
        await one.button("delete").click()
        await expect(row).to_have_count(0)
        await one.assert_sound()


@pytest.mark.parametrize("language", ["en", "it"])
async def test_what_operators_change_is_seen_in_the_history(
    made: Stage, browser: Browser, language: str
) -> None:
    async with operator(browser, at(made), language) as one:
        await one.get_in("admin", first_password(made))
        await one.see("log")
        await expect(one.page.get_by_role("heading", level=1)).to_be_visible()
        await one.page.evaluate(
            "fetch('api/v1/accounts/1', {method: 'PATCH', body: '{\"notes\": \"theirs\"}', "
            "headers: {'Content-Type': 'application/json'}})"
        )
        row = one.page.get_by_role("row").filter(has_text="accounts 1 admin")
        await expect(row).to_contain_text("change an account (notes)")  # told, not asked for
        await expect(row).to_contain_text(one.says("history.edit"))
        await one.field("log.kind").select_option("edit")
        await expect(one.page.locator("tbody tr")).to_have_count(1)
        await expect(row).to_be_visible()
        await one.assert_accessible()
        await one.assert_sound()


async def test_an_edit_of_what_has_changed_meanwhile_is_told(made: Stage, browser: Browser) -> None:
    async with operator(browser, at(made)) as one:
        await one.get_in("admin", first_password(made))
        await one.see("accounts")
        await one.button("edit.what", name="admin").click()
        await one.field("accounts.notes").fill("mine")
        await one.page.evaluate(
            "fetch('api/v1/accounts/1', {method: 'PATCH', body: '{\"notes\": \"theirs\"}', "
            "headers: {'Content-Type': 'application/json'}})"
        )
        await one.button("save").click()
        await expect(one.page.get_by_role("dialog").get_by_role("alert")).to_be_visible()
        await one.assert_complains("412")
        await one.assert_sound()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
async def test_every_page_fits_and_is_accessible(
    made: Stage, browser: Browser, theme: Any, size: Any
) -> None:
    if not AXE.is_file():
        missing("axe-core, which tests/clients-js/package.json names,")
    async with operator(browser, at(made), color_scheme=theme, viewport=size) as one:
        await one.page.goto(f"{one.base}/login")
        await expect(one.field("login.username")).to_be_visible()
        await one.assert_accessible()
        await one.get_in("admin", first_password(made))
        for name in PAGES:
            await one.see(name)
            await one.assert_fits()
            await one.assert_accessible()
        await one.assert_sound()


async def test_pages_are_reached_without_a_mouse(made: Stage, browser: Browser) -> None:
    async with operator(browser, at(made)) as one:
        await one.get_in("admin", first_password(made))
        await one.see("overview")
        link = one.page.get_by_role("link", name=one.says("nav.accounts"))
        for _ in range(12):
            await one.page.keyboard.press("Tab")
            if await link.evaluate("one => one === document.activeElement"):
                break
        await one.page.keyboard.press("Enter")
        await expect(one.page.locator("main h1")).to_have_text(one.says("nav.accounts"))
        await expect(one.page.locator("#main")).to_be_focused()
        await one.button("accounts.new").focus()
        await one.page.keyboard.press("Enter")
        await expect(one.page.get_by_role("dialog")).to_be_visible()
        await one.page.keyboard.press("Escape")
        await expect(one.page.get_by_role("dialog")).to_have_count(0)
        await expect(one.button("accounts.new")).to_be_focused()


async def test_the_dashboard_lives_below_a_prefix(tmp_path: Path, browser: Browser) -> None:
    config = Config.model_validate(
        {
            **{"host": "127.0.0.1", "port": 0, "engines": (), "data": tmp_path},
            **{"timeouts": Timeouts.for_tests(), "trusted_proxies": ("127.0.0.0/8",)},
        }
    )
    worker = Worker(config)
    await worker.start()
    async with ClientSession() as ask:

        async def forward(request: web.Request) -> web.Response:
            headers = {
                name: value
                for name, value in request.headers.items()
                if name.lower() not in ("connection", "accept-encoding")
            }
            headers["X-Forwarded-For"] = "127.0.0.1"
            headers["X-Forwarded-Prefix"] = "/tv"
            path = request.path_qs.removeprefix("/tv")
            assert path != request.path_qs, f"{path} is not below the prefix"
            async with ask.request(
                request.method,
                f"http://127.0.0.1:{worker.addresses[0][1]}{path}",
                headers=headers,
                data=await request.read(),
                allow_redirects=False,
            ) as answer:
                kept = [
                    (name, value)
                    for name, value in answer.headers.items()
                    if name.lower() in ("set-cookie", "location", "content-type", "etag")
                ]
                body = b"" if "event-stream" in str(kept) else await answer.read()
                return web.Response(status=answer.status, body=body, headers=dict(kept))

        try:
            async with serving(forward) as base, operator(browser, f"{base}/tv") as one:
                await one.get_in("admin", str(worker.first_password))
                await one.see("accounts")
                await expect(one.page.get_by_role("row")).to_have_count(2)
                assert one.page.url.endswith("/tv/#/accounts")
        finally:
            await worker.stop()


async def test_what_has_not_changed_is_not_sent_again(made: Stage, browser: Browser) -> None:
    async with operator(browser, at(made)) as one:
        login = {"username": "admin", "password": first_password(made)}
        await one.page.request.post(f"{one.base}/api/v1/session", data=login)
        await one.see("overview")
        moved = await one.page.evaluate(
            "performance.getEntriesByType('resource').concat(performance.getEntriesByType("
            "'navigation')).reduce((sum, one) => sum + one.transferSize, 0)"
        )
        assert 20_000 < moved < 300_000
        await one.page.reload()
        await one.see("overview")
        files = await one.page.evaluate(
            "performance.getEntriesByType('resource').filter(one => one.name.includes('/static/'))"
            ".map(one => one.transferSize)"
        )
        assert len(files) > 10 and sum(files) == 0


async def test_the_watch_over_pages_sees_what_it_watches_for(made: Stage, browser: Browser) -> None:
    if not AXE.is_file():
        missing("axe-core, which tests/clients-js/package.json names,")
    async with operator(browser, at(made)) as one:
        await one.page.goto(f"{one.base}/login")
        await expect(one.field("login.username")).to_be_visible()
        await one.page.evaluate("document.querySelector('main').append(new Image())")
        with pytest.raises(AssertionError, match="image-alt"):
            await one.assert_accessible()
        await one.page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), "
            "{textContent: 'window.pwned = 1'}))"
        )
        await one.page.wait_for_function("() => window.violations?.length")
        assert await one.page.evaluate("window.pwned") is None
        await until(lambda: any("Content Security Policy" in text for text in one.complaints))
        await one.page.evaluate("document.querySelector('main').style.width = '5000px'")
        with pytest.raises(AssertionError, match="too wide"):
            await one.assert_fits()
