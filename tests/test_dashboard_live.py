"""What is on air and where it comes from, in the dashboard: viewers and kicks, imports and undo."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect
from stage import Stage, stage, until
from test_dashboard import EVIL, IMPORT_MS, Operator, at, browser, first_password, operator
from web import site

from rawstream.records import Channel, ChannelSource
from rawstream.simulator import EngineSimulator, SimContent, bundled_contents

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


async def add(made: Stage, content: SimContent) -> int:
    source = ChannelSource("content_id", content.content_id)
    number = await made.worker.store.lineup.add_channel(Channel(0, content.name, sources=(source,)))
    await made.worker.catalogue.look()
    return number


async def test_a_channel_plays_in_the_page_and_counts_in_nobodys_limit(
    made: Stage, one: Operator
) -> None:
    content = made.catalogues[0][0]  # H.264 and AAC
    await add(made, content)
    await one.see("channels")
    await one.button("play.what", name=content.name).click()
    await one.page.wait_for_function(
        "() => document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > 50"
    )
    assert await one.page.evaluate("document.querySelector('video').videoWidth") > 0
    dialog = one.page.get_by_role("dialog")
    await expect(dialog).to_contain_text("h264")
    address = await one.field("play.elsewhere").input_value()
    assert re.fullmatch(rf"{at(made)}/live/[^/]+/\d+\.ts", address)
    boss = await made.worker.store.accounts.by_name("admin")
    assert boss is not None and made.worker.accounts.active(boss.id) == 0
    await one.assert_accessible()
    await one.page.keyboard.press("Escape")
    await until(lambda: made.worker.hub.snapshot().viewers == 0, "the page lets go")
    await one.assert_sound()


async def test_codecs_that_the_browser_has_not_are_named(made: Stage, one: Operator) -> None:
    content = made.catalogues[0][1]  # HEVC and AC-3
    await add(made, content)
    await one.see("channels")
    await one.button("play.what", name=content.name).click()
    dialog = one.page.get_by_role("dialog")
    await expect(dialog.locator(".badge.bad", has_text="ac3")).to_be_visible()
    await expect(one.field("play.elsewhere")).to_be_visible()
    await one.page.keyboard.press("Escape")


async def test_an_engine_is_checked_added_drained_and_removed(made: Stage, one: Operator) -> None:
    await one.see("engines")
    await expect(one.page.locator(".card")).to_have_count(1)
    async with EngineSimulator([]) as another:
        await one.button("engines.add").click()
        dialog = one.page.get_by_role("dialog")
        await one.field("engines.url").fill("http://127.0.0.1:9")
        await one.button("engines.check").click()
        await expect(dialog.locator(".trouble")).to_be_visible()
        await one.field("engines.url").fill(another.url)
        await one.button("engines.check").click()
        await expect(dialog.locator("p.good")).to_be_visible()
        await one.button("add").click()
        card = one.page.locator(".card").filter(has_text=another.url)
        await expect(card).to_be_visible()
        await card.get_by_role("button", name=one.says("engines.drain")).click()
        await expect(card).to_contain_text(one.says("engines.draining"))
        await one.assert_accessible()
        await one.button("delete.what", name=another.url).click()
        await one.button("delete").click()
        await expect(one.page.locator(".card")).to_have_count(1)
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
        await dialog.get_by_text("added (2)").click(timeout=IMPORT_MS)
        await expect(dialog.locator(".names")).to_contain_text(EVIL)
        assert await made.worker.store.lineup.channels() == []
        await one.assert_accessible()
        await one.button("lists.import").click()
        card = one.page.locator(".card")
        await expect(card).to_contain_text(one.says("lists.state.well"), timeout=IMPORT_MS)
        await card.locator("summary").first.click()
        await card.get_by_text("added (2)").click()
        await expect(card.locator(".names")).to_contain_text(EVIL)
        assert len(await made.worker.store.lineup.channels()) == 2
        await card.get_by_role("button", name=re.compile("^Undo")).click()
        await one.button("lists.undo").click()
        await expect(card.get_by_role("button", name=re.compile("^Undo"))).to_be_disabled()
        assert await made.worker.store.lineup.channels() == []
        await expect(card).to_contain_text(one.says("lists.state.held"))
        await expect(card).to_contain_text(one.says("lists.held"))
        await one.assert_accessible()
        await card.get_by_role("button", name=re.compile("^Edit")).click()
        again = dialog.get_by_label(one.says("lists.enabled"))
        await expect(again).not_to_be_checked()
        await again.check()
        await one.button("save").click()
        await expect(card).to_contain_text(one.says("lists.state.well"))
        await one.assert_sound()


async def test_a_file_is_sent_in_pieces_and_becomes_a_list(
    made: Stage, one: Operator, tmp_path: Path
) -> None:
    rows = "".join(f"#EXTINF:-1,Channel {n}\nhttp://h/{n}.ts\n" for n in range(2000))
    file = tmp_path / "mine.m3u"
    file.write_text(f"#EXTM3U\n{rows}")
    await one.see("lists")
    await one.button("lists.add").click()
    await one.page.get_by_text(one.says("lists.paste")).click()
    await one.page.locator("input[type=file]").set_input_files(file)
    await one.button("lists.preview").click()
    dialog = one.page.get_by_role("dialog")
    await expect(dialog.get_by_text("added (2,000)")).to_be_visible(timeout=IMPORT_MS)
    await one.button("lists.import").click()
    card = one.page.locator(".card")
    await expect(card).to_contain_text(one.says("lists.state.well"), timeout=IMPORT_MS)
    assert len(await made.worker.store.lineup.channels()) == 2000
    await one.assert_sound()


async def test_a_setting_is_changed_and_taken_back_and_a_token_shown_once(
    made: Stage, one: Operator
) -> None:
    await one.see("settings")
    field = one.page.get_by_label(one.says("setting.hls_target_seconds"), exact=True)
    await field.fill("99")
    await one.button("save").click()
    await expect(one.page.locator("small.problem")).to_be_visible()
    await one.assert_complains("422")
    await field.fill("6")
    await one.button("save").click()
    await one.button("settings.back").click()
    await expect(field).to_have_value("4")
    await one.button("tokens.new").click()
    await one.field("tokens.name").fill("script")
    await one.button("add").click()
    secret = await one.field("tokens.secret").input_value()
    await one.button("done").click()
    headers = {"Authorization": f"Bearer {secret}"}
    answer = await one.page.request.get(f"{one.base}/api/v1/accounts", headers=headers)
    assert answer.status == 200
    assert secret not in await one.page.content()
    await one.assert_accessible()
    await one.assert_sound()
