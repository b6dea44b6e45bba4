"""What is on air and where it comes from, in the dashboard: viewers and kicks, imports and undo."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect
from stage import Stage, stage, until
from test_dashboard import EVIL, Operator, at, browser, first_password, operator
from web import site

from rawstream.simulator import bundled_contents

pytestmark = [pytest.mark.player, pytest.mark.timeout(240)]
__all__ = ["browser"]


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage(tmp_path, bundled_contents()) as one:
        yield one


@pytest.fixture
async def one(made: Stage, browser: Browser) -> AsyncIterator[Operator]:
    async with operator(browser, at(made)) as logged_in:
        await logged_in.get_in("admin", first_password(made))
        yield logged_in


async def test_a_viewer_is_seen_and_kicked(made: Stage, one: Operator) -> None:
    await one.see("overview")
    await expect(one.page.locator(".connection")).to_have_text(one.says("live.on"))
    await expect(one.page.get_by_text(one.says("overview.nothing"))).to_be_visible()
    content = made.catalogues[0][0]
    player = await made.play(content)
    channel = one.page.locator(".onair").filter(has_text=content.name)
    await expect(channel).to_contain_text(one.says("channel.state.live"))
    await channel.get_by_role("button", name=re.compile("^Viewers of")).click()
    viewers = channel.locator("tbody tr")
    await expect(viewers).to_have_count(1)
    await expect(viewers).to_contain_text("127.0.0.1")
    await one.assert_accessible()
    await viewers.get_by_role("button", name=one.says("viewer.kick")).click()
    dialog = one.page.get_by_role("dialog")
    await dialog.get_by_role("button", name=one.says("viewer.kick"), exact=True).click()
    await until(lambda: player.over, "the stream that was kicked ends")
    await expect(viewers).to_have_count(0)
    await one.assert_sound()


async def test_a_list_is_tried_imported_and_taken_back(made: Stage, one: Operator) -> None:
    async with site() as web:
        web.documents["/l.m3u"] = (
            f"#EXTM3U\n#EXTINF:-1,{EVIL}\nhttp://h/1.ts\n#EXTINF:-1,Two\nhttp://h/2.ts\n".encode()
        )
        await one.see("lists")
        await one.button("lists.add").click()
        await one.field("lists.url").fill(f"{web.base}/l.m3u")
        await one.button("lists.preview").click()
        dialog = one.page.get_by_role("dialog")
        await dialog.get_by_text("added (2)").click()
        await expect(dialog.locator(".names")).to_contain_text(EVIL)
        assert await made.worker.store.lineup.channels() == []
        await one.assert_accessible()
        await one.button("lists.import").click()
        card = one.page.locator(".card")
        await expect(card).to_contain_text("2 added")
        assert len(await made.worker.store.lineup.channels()) == 2
        await card.get_by_role("button", name=re.compile("^Undo")).click()
        await one.button("lists.undo").click()
        await expect(one.page.locator(".note", has_text=one.says("lists.undone"))).to_be_visible()
        assert await made.worker.store.lineup.channels() == []
        await one.assert_sound()
