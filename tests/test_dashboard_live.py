"""What is on air and where it comes from, in the dashboard: viewers and kicks, imports and undo."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from browser import downloads
from film_origin import origin_of
from playwright.async_api import Browser, expect
from stage import Player, Stage, stage, until
from test_dashboard import (
    DESK,
    EVIL,
    IMPORT_MS,
    PHONE,
    Operator,
    at,
    browser,
    first_password,
    operator,
)
from web import site

from rawstream.records import Account, Channel, ChannelSource, ListSource
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


async def test_each_of_many_viewers_is_found_and_kicked(made: Stage, one: Operator) -> None:
    content = made.catalogues[0][0]
    players = [await made.play(content, User_Agent=f"Box/{number}") for number in range(40)]
    await one.see("overview")
    channel = one.page.locator(".onair").filter(has_text=content.name)
    await channel.get_by_role("button", name=re.compile("^Viewers of")).click()
    told = channel.get_by_role("status")
    await expect(told).to_have_text(one.says("viewer.these", n=40, of=40))
    rows = channel.locator(".windowed [role=listitem]")
    assert 5 < await rows.count() < 36, "only what is seen is drawn"
    await one.field("viewer.order").select_option("seconds")
    await channel.locator(".windowed").evaluate("list => list.scrollTo(0, list.scrollHeight)")
    await expect(channel.get_by_text("Box/0", exact=True)).to_be_visible()
    await one.field("viewer.search").fill("box/17")
    await expect(rows).to_have_count(1)
    await one.assert_accessible()
    await one.assert_fits()
    await rows.get_by_role("button", name=one.says("viewer.kick")).click()
    dialog = one.page.get_by_role("dialog")
    await dialog.get_by_role("button", name=one.says("viewer.kick"), exact=True).click()
    await until(lambda: players[17].over, "the stream that was kicked ends")
    await expect(told).to_have_text(one.says("viewer.these", n=0, of=39))
    assert not players[16].over and not players[18].over
    await one.assert_sound()


async def test_a_chart_of_one_point_is_of_these_minutes(made: Stage, one: Operator) -> None:
    await one.see("overview")
    await one.page.wait_for_function("() => window.uPlot")
    spans = await one.page.evaluate(
        """async () => {
          const { Chart } = await import('./static/chart.js');
          const { html, render } = await import('./static/ui.js');
          const found = [], Kept = uPlot;
          window.uPlot = class extends Kept {
            constructor(...given) { super(...given); found.push(this); }
          };
          const now = Date.now() / 1000;
          for (const data of [[[], []], [[now], [1]], [[now - 3600, now], [1, 2]]]) {
            const box = document.body.appendChild(document.createElement('div'));
            render(html`<${Chart} title="x" series=${['y']} data=${data} show=${String} />`, box);
          }
          while (found.length < 3) await new Promise(requestAnimationFrame);
          await new Promise(done => setTimeout(done, 100));
          return found.map(one => [one.scales.x.min - now, one.scales.x.max - now]);
        }"""
    )
    for (begin, end), expected in zip(spans, (-600, -600, -3600), strict=True):
        assert abs(begin - expected) < 60 and abs(end) < 60
    await one.assert_sound()


async def test_who_watches_a_film_is_seen_and_kicked(
    made: Stage, one: Operator, tmp_path: Path
) -> None:
    async with origin_of(film(tmp_path, "film.mp4", "-c", "copy")) as web:
        web.stalls_at = 60_000
        source = ChannelSource("direct", web.url)
        named = Channel(0, "Film", kind="movie", extension="mp4", sources=(source,))
        number = await made.worker.store.lineup.add_channel(named)
        await made.worker.store.accounts.add(Account(0, "ana", "x", token="t0ken"))
        await made.worker.accounts.reload()
        await made.worker.catalogue.look()
        player = Player(made.port, f"/movie/t0ken/{number}.mp4")
        made.players.append(player)
        await player.open()
        await one.see("overview")
        row = one.page.locator(".onair").filter(has_text="Film")
        await row.get_by_role("button", name=re.compile("^Viewers of")).click()
        viewer = row.locator("tbody tr")
        await expect(viewer).to_contain_text("ana")
        await expect(viewer.locator("td").nth(3)).to_have_text(re.compile(r"^[\d.]+ %$"))
        await one.assert_accessible()
        await viewer.get_by_role("button", name=one.says("viewer.kick")).click()
        dialog = one.page.get_by_role("dialog")
        await dialog.get_by_role("button", name=one.says("viewer.kick"), exact=True).click()
        await until(lambda: player.over, "the stream that was kicked ends")
        await one.assert_sound()


async def test_what_a_channel_tried_is_told_also_to_who_comes_late(
    made: Stage, one: Operator
) -> None:
    content = made.catalogues[0][0]
    await made.play(content)
    (channel,) = made.worker.hub.snapshot().channels
    answer = await one.page.request.post(f"{one.base}/api/v1/live/{channel.key}/restart")
    assert answer.status == 204
    await until(lambda: len(made.worker.events._steps) == 3, "lost, tried, back")
    await one.see("overview")
    steps = one.page.locator("section > .steps > li")
    await expect(steps).to_have_count(3)
    await expect(steps.nth(0)).to_contain_text(one.says("rung.back"))
    await expect(steps.nth(2)).to_contain_text(one.says("rung.moved"))
    await expect(steps.nth(2)).to_contain_text(one.says("code.by_operator"))
    row = one.page.locator(".onair")
    await row.get_by_role("button", name=re.compile("^Viewers of")).click()
    await expect(row.locator(".steps li")).to_have_count(3)
    await one.assert_accessible()
    await made.engine.stop()  # a channel that has lost its source is known at a glance
    await expect(one.page.locator(".onair.bad > .trouble")).to_be_visible()
    await expect(row).to_contain_text(one.says("channel.state.recovering"))
    await one.assert_accessible()
    await one.assert_sound()


async def test_a_thousand_viewers_are_a_list_that_stays_short(made: Stage, one: Operator) -> None:
    channel = {
        **{"key": "k", "name": EVIL, "state": "live", "state_seconds": 5, "source": "s"},
        **{"bitrate": 4e6, "peers": 3, "held": 0, "viewer_count": 1000, "channel_ids": []},
        **{"last_error": None, "codecs": []},
    }
    viewers = [
        {
            **{"id": number, "address": "2001:db8::1", "port": number, "user_agent": EVIL},
            **{"account": f"ana{number}", "state": "playing", "seconds": number},
            **{"seconds_behind": number / 100, "bytes_sent": 1, "queued_bytes": 0, "jumps": 0},
        }
        for number in range(1000)
    ]
    totals = {
        **{"viewers": 1000, "held": 0, "channels": 1, "films": 0, "bits_in_per_second": 1},
        **{"bits_out_per_second": 1, "uptime_seconds": 5, "connections": 1000},
    }
    whole = {"full": True, "channels": [channel], "films": [], "gone": [], "totals": totals}
    news = {"full": False, "channels": [{"key": "k", "viewers": viewers}], "totals": None}
    told = "".join(
        f"id: r-1\nevent: live\ndata: {orjson.dumps(one).decode()}\n\n" for one in (whole, news)
    )
    await one.page.route(
        "**/api/v1/events?*",
        lambda route: route.fulfill(body=told, content_type="text/event-stream"),
    )
    await one.page.reload()
    await one.page.get_by_role("button", name=re.compile("^Viewers of")).click()
    rows = one.page.locator(".onair .windowed [role=listitem]")
    await expect(rows.first).to_contain_text("ana999")  # the furthest behind
    assert await rows.count() < 60
    await one.page.locator(".windowed").evaluate("list => list.scrollTo(0, list.scrollHeight)")
    await expect(one.page.get_by_text("ana0", exact=True)).to_be_visible()
    await one.field("viewer.search").fill("ana77")
    await expect(rows).to_have_count(11)
    for size in (DESK, PHONE):
        await one.page.set_viewport_size(size)
        await one.assert_fits()
        await one.assert_accessible()
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


PLAYS = "() => document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > 20"


async def assert_counts_nobody(made: Stage) -> None:
    boss = await made.worker.store.accounts.by_name("admin")
    assert boss is not None and boss.max_connections == 1
    assert made.worker.accounts.active(boss.id) == 0


async def test_where_streams_are_not_taken_hls_plays(made: Stage, one: Operator) -> None:
    content = made.catalogues[0][0]
    await add(made, content)
    await one.page.route(
        "**/vendor/mpegts.js",  # as a browser has it that reads no body piece by piece
        lambda route: route.fulfill(
            content_type="text/javascript",
            body="mpegts = {LoggingControl: {}, getFeatureList: () => ({mseLivePlayback: false})}",
        ),
    )
    asked: list[str] = []
    one.page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    await one.see("channels")
    await one.button("play.what", name=content.name).click()
    await one.page.wait_for_function(PLAYS)
    assert await one.page.evaluate("document.querySelector('video').currentTime") > 0
    assert "hls.light.js" in asked and any(name.startswith("1.m3u8") for name in asked)
    await assert_counts_nobody(made)
    await one.page.keyboard.press("Escape")
    await expect(one.page.locator("video")).to_have_count(0)
    await one.assert_sound()


def film(tmp_path: Path, name: str, *options: str) -> bytes:
    """Some seconds of the bundled clip in another container. `options`: of FFmpeg."""
    source = bundled_contents()[0].clip
    made = tmp_path / name
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", source, "-map", "0:v:0", "-map", "0:a:0?", *options, made],
        check=True,
    )
    return made.read_bytes()


@pytest.mark.parametrize(
    ("extension", "options"),
    [
        ("mp4", ["-c", "copy"]),  # its tables at its end
        ("mkv", ["-c", "copy"]),
        ("ts", ["-c", "copy"]),
    ],
)
async def test_a_film_plays_in_the_page_and_counts_in_nobodys_limit(
    made: Stage, one: Operator, tmp_path: Path, extension: str, options: list[str]
) -> None:
    async with origin_of(film(tmp_path, f"film.{extension}", *options)) as web:
        source = ChannelSource("direct", web.url)
        named = Channel(0, "Film", kind="movie", extension=extension, sources=(source,))
        number = await made.worker.store.lineup.add_channel(named)
        await made.worker.catalogue.look()
        await one.see("channels")
        await one.field("channels.kind").select_option("movie")
        await one.button("play.what", name="Film").click()
        await one.page.wait_for_function(PLAYS)
        dialog = one.page.get_by_role("dialog")
        await expect(dialog.locator(".badge", has_text="h264")).to_be_visible()
        await expect(dialog.locator(".badge", has_text="aac")).to_be_visible()
        await expect(dialog.locator(".badge.bad")).to_have_count(0)
        elsewhere = await one.field("play.elsewhere").input_value()
        assert re.fullmatch(rf"{at(made)}/movie/[^/]+/{number}\.{extension}", elsewhere)
        await assert_counts_nobody(made)
        await one.assert_accessible()
        await one.page.keyboard.press("Escape")
        await until(lambda: not made.snapshot.films, "the page lets go")
        await one.assert_sound()


@pytest.mark.parametrize("language", ["en", "it"])
async def test_the_codecs_of_a_film_that_does_not_play_are_named(
    made: Stage, browser: Browser, tmp_path: Path, language: str
) -> None:
    data = film(tmp_path, "film.avi", "-c:v", "mpeg4", "-vtag", "XVID", "-c:a", "mp2", "-t", "2")
    async with origin_of(data) as web, operator(browser, at(made), language) as one:
        source = ChannelSource("direct", web.url)
        for name, sources in (("Film", (source,)), ("Nowhere", ())):
            named = Channel(0, name, kind="movie", extension="avi", sources=sources)
            await made.worker.store.lineup.add_channel(named)
        await made.worker.catalogue.look()
        await one.get_in("admin", first_password(made))
        await one.see("channels")
        await one.field("channels.kind").select_option("movie")
        await one.button("play.what", name="Film").click()
        dialog = one.page.get_by_role("dialog")
        await expect(dialog.locator(".badge.bad", has_text="mpeg4")).to_be_visible()
        await expect(dialog.locator(".badge", has_text="mp2")).to_be_visible()
        told = one.says("play.missing", codecs="mpeg4")
        await expect(dialog.get_by_role("alert")).to_have_text(told)
        await expect(one.field("play.elsewhere")).to_have_value(re.compile(r"/movie/.+\.avi$"))
        await one.assert_accessible()
        await one.page.keyboard.press("Escape")
        await one.button("play.what", name="Nowhere").click()
        await expect(dialog.get_by_role("alert")).to_contain_text(
            one.says("code.channel_no_source")
        )
        assert all("409" in text for text in one.complaints)


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


@pytest.mark.parametrize("language", ["en", "it"])
async def test_a_list_says_in_ones_language_why_it_failed(
    made: Stage, browser: Browser, language: str
) -> None:
    lineup = made.worker.store.lineup
    async with site() as web, operator(browser, at(made), language) as one:
        web.documents["/l.m3u"] = b"#EXTM3U\n#EXTINF:-1,One\n#EXTINF:-1,Two\nhttp://h/2.ts\n"
        await one.get_in("admin", first_password(made))
        await one.see("lists")
        await one.button("lists.add").click()
        await one.field("lists.url").fill("nonsense")
        await one.button("lists.preview").click()
        dialog = one.page.get_by_role("dialog")
        await expect(dialog.get_by_role("alert")).to_contain_text(one.says("code.list_url"))
        await one.field("lists.url").fill(f"{web.base}/nothing.m3u")
        await one.button("lists.preview").click()
        told = one.says("code.answered", status="404")
        await expect(dialog.get_by_role("alert")).to_contain_text(told)
        assert all("422" in one.complaints.pop() for _ in range(2))
        await one.field("lists.url").fill(f"{web.base}/l.m3u")
        await one.button("lists.preview").click()
        await dialog.get_by_text(one.says("lists.warnings.one")).click()
        await expect(dialog.locator(".names").last).to_contain_text(one.says("code.m3u_no_url"))
        await one.page.keyboard.press("Escape")
        url = f"{web.base}/nothing.m3u"
        await lineup.add_list(ListSource(0, "playlist", url, name="Mine", interval_seconds=0))
        await one.page.reload()
        card = one.page.locator(".card")
        await expect(card).to_contain_text(one.says("lists.when.never.hand"))
        await card.get_by_role("button", name=one.says("lists.refresh")).click()
        await expect(card.locator(".trouble")).to_contain_text(told)
        told_when = one.says("lists.when.hand", at="\0").split("\0")[1]
        await expect(card).to_contain_text(told_when)
        await one.button("edit.what", name="Mine").click()
        await expect(one.field("lists.hours")).to_have_value("0")
        await one.button("save").click()
        await expect(one.page.get_by_role("dialog")).to_have_count(0)
        (kept,) = await lineup.lists()
        assert kept.interval_seconds == 0
        await one.assert_accessible()
        await one.assert_sound()


async def test_a_backup_is_a_database_that_opens(made: Stage, one: Operator) -> None:
    content = made.catalogues[0][0]
    await add(made, content)
    await one.see("settings")
    async with downloads(one.page) as folder:
        await one.page.get_by_role("button", name=one.says("backup.get")).click()
        await until(lambda: list(folder.glob("rawstream-*.db")), "all of it has come")
        (kept,) = folder.iterdir()
        with contextlib.closing(sqlite3.connect(kept)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert database.execute("SELECT name FROM channels").fetchall() == [(content.name,)]
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
