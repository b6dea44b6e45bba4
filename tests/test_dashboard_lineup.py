"""The line-up and the guide in the dashboard: long lists, edits in their rows, order, mapping."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from guides import HOUR, add_guide, guide, show
from playwright.async_api import Browser, Route, expect
from stage import Stage
from test_dashboard import DESK, EVIL, PHONE, Operator, at, browser, first_password, made, operator

from rawstream.list_entries import read_list
from rawstream.playlist_import import import_playlist
from rawstream.records import Channel, FilmFacts, ListSource

pytestmark = [pytest.mark.player, pytest.mark.timeout(240)]
__all__ = ["browser", "made"]


def playlist(names: list[str]) -> bytes:
    rows = ["#EXTM3U"]
    for number, name in enumerate(names):
        rows += [
            f'#EXTINF:-1 tvg-chno="{number + 1}" group-title="Group {number % 3}",{name}',
            f"acestream://{number:040x}",
        ]
    return "\n".join(rows).encode()


async def fill(made: Stage, names: list[str]) -> None:
    lineup = made.worker.store.lineup
    number = await lineup.add_list(ListSource(0, "playlist", "/nowhere.m3u", enabled=False))
    source = await lineup.list_source(number)
    assert source is not None
    await import_playlist(made.worker.store, source, *read_list([playlist(names)]))
    await made.worker.catalogue.look()


@pytest.fixture
async def one(made: Stage, browser: Browser) -> AsyncIterator[Operator]:
    async with operator(browser, at(made)) as logged_in:
        await logged_in.get_in("admin", first_password(made))
        yield logged_in


def rows(one: Operator) -> Any:
    return one.page.locator(".windowed [role=listitem]")


def names(one: Operator) -> Any:
    return one.page.locator(".channel .what button")


async def test_ten_thousand_channels_are_drawn_as_they_are_seen(made: Stage, one: Operator) -> None:
    await fill(made, [f"Channel {number}" for number in range(1, 10_001)])
    await one.see("channels")
    await expect(one.page.get_by_text("Channel 1", exact=True)).to_be_visible()
    await expect(one.page.locator(".count")).to_contain_text("10,000")
    assert await rows(one).count() < 60
    await one.page.locator(".windowed").evaluate("list => list.scrollTo(0, list.scrollHeight)")
    await expect(one.page.get_by_text("Channel 10000", exact=True)).to_be_visible()
    assert await rows(one).count() < 60
    # what a frame has to draw while somebody scrolls through it all
    drawn = await one.page.evaluate(
        """async () => {
          const list = document.querySelector('.windowed'), drawn = [];
          for (let at = 0; at < 60; at += 1) {
            list.scrollTop = at * 9000;
            await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
            drawn.push(list.querySelectorAll('.row').length);
          }
          return drawn;
        }"""
    )
    assert min(drawn) > 0 and max(drawn) < 60
    await one.page.get_by_role("searchbox").fill("nel 4711")
    await expect(one.page.locator(".count")).to_contain_text("1 channel")
    await expect(rows(one)).to_have_count(1)
    await one.assert_sound()


async def test_a_name_of_markup_is_only_a_name(made: Stage, one: Operator) -> None:
    await fill(made, [EVIL, "Rai Uno"])
    for page in ("channels", "guide", "overview"):
        await one.see(page)
    await one.see("guide")
    await one.page.get_by_role("tab", name=one.says("guide.mapping")).click()
    await expect(one.page.get_by_text(EVIL)).to_be_visible()
    await one.see("channels")
    await expect(one.page.get_by_text(EVIL)).to_be_visible()
    await one.button("edit.what", name=EVIL).click()
    await expect(one.field("channels.name")).to_have_value(EVIL)
    await one.assert_accessible()
    await one.assert_sound()


async def test_names_are_edited_in_their_rows(made: Stage, one: Operator) -> None:
    await fill(made, ["One", "Two"])
    await one.see("channels")
    sent = []
    one.page.on("request", lambda asked: asked.method == "PATCH" and sent.append(asked.post_data))
    await one.page.get_by_role("button", name=re.compile("^Name: Two")).click()
    await one.field("channels.name").fill("Due")
    await one.page.keyboard.press("Escape")
    await expect(one.page.get_by_role("button", name=re.compile("^Name: Two"))).to_be_focused()
    assert sent == []
    await one.page.keyboard.press("Enter")  # the focus is back where it was
    await one.field("channels.name").fill("Due")
    await one.page.keyboard.press("Enter")
    await expect(one.page.get_by_text("Due", exact=True)).to_be_visible()
    await one.page.get_by_role("button", name=re.compile("^Name: Due")).click()
    await one.field("channels.name").fill("Dos")
    await one.field("channels.search").click()  # who goes elsewhere means what he wrote
    await expect(one.page.get_by_text("Dos", exact=True)).to_be_visible()
    await expect(one.field("channels.search")).to_be_focused()
    assert sent == ['{"name":"Due"}', '{"name":"Dos"}']
    kept = await made.worker.store.lineup.channels()
    assert [channel.name for channel in kept] == ["One", "Dos"]
    assert "name" in kept[1].edited
    await one.assert_sound()


async def test_a_row_that_somebody_else_has_changed_is_shown_anew(
    made: Stage, one: Operator
) -> None:
    await fill(made, ["One", "Two"])
    await one.see("channels")
    await expect(rows(one)).to_have_count(2)
    (_, two) = await made.worker.store.lineup.channels()
    theirs = {"number": "77", "name": "Theirs"}
    answer = await one.page.request.patch(f"{one.base}/api/v1/channels/{two.id}", data=theirs)
    assert answer.ok
    await one.page.get_by_role("button", name=re.compile("^Name: Two")).click()
    await one.field("channels.name").fill("Mine")
    await one.page.keyboard.press("Enter")
    told = one.says("channels.changed_meanwhile", name="Two")
    await expect(one.page.locator(".note.bad")).to_have_text(told)
    await expect(one.page.get_by_text("Theirs", exact=True)).to_be_visible()
    (_, kept) = await made.worker.store.lineup.channels()
    assert (kept.name, kept.number) == ("Theirs", "77")
    await one.page.get_by_role("button", name=re.compile("^Name: Theirs")).click()
    await one.field("channels.name").fill("Ours")
    await one.page.keyboard.press("Enter")
    await expect(one.page.get_by_text("Ours", exact=True)).to_be_visible()
    await one.assert_sound()


async def test_an_edit_that_loses_the_race_by_a_moment_is_not_made(
    made: Stage, one: Operator
) -> None:
    await fill(made, ["One"])
    await one.see("channels")
    (there,) = await made.worker.store.lineup.channels()
    tags = []

    async def overtake(route: Route) -> None:
        if route.request.method != "PATCH":
            return await route.continue_()
        tags.append(route.request.headers.get("if-match"))
        await made.worker.store.lineup.set_channel(dataclasses.replace(there, name="Theirs"))
        return await route.continue_()

    await one.page.route(f"**/api/v1/channels/{there.id}", overtake)
    await one.page.get_by_role("button", name=re.compile("^Name: One")).click()
    await one.field("channels.name").fill("Mine")
    await one.page.keyboard.press("Enter")
    await expect(one.page.locator(".note.bad")).to_be_visible()
    await expect(one.page.get_by_text("Theirs", exact=True)).to_be_visible()
    assert len(tags) == 1 and tags[0]
    assert "412" in one.complaints.pop()
    await one.assert_sound()


async def test_channels_of_one_playlist_are_shown(made: Stage, one: Operator) -> None:
    await fill(made, ["One", "Two"])
    await made.worker.store.lineup.add_channel(Channel(0, "By hand"))
    (source,) = await made.worker.store.lineup.lists()
    await one.see("channels")
    await expect(rows(one)).to_have_count(3)
    await one.field("channels.playlist").select_option(str(source.id))
    await expect(rows(one)).to_have_count(2)
    await one.button("bulk.all").click()
    await one.field("bulk.what").select_option("disable")
    await one.button("bulk.go").click()
    await expect(one.page.locator(".row .badge", has_text="disabled")).to_have_count(2)
    kept = await made.worker.store.lineup.channels()
    assert {channel.name: channel.enabled for channel in kept} == {
        **{"One": False, "Two": False},
        "By hand": True,
    }
    await one.assert_sound()


@pytest.mark.parametrize("language", ["en", "it"])
async def test_a_series_is_found_named_and_given_a_cover(
    made: Stage, browser: Browser, language: str
) -> None:
    lineup = made.worker.store.lineup
    series = await lineup.series_named("Breaking Bad")
    facts = FilmFacts(plot=EVIL, genre="Drama", rating=9.5)
    await lineup.set_series(dataclasses.replace(series, facts=facts))
    other = await lineup.series_named("Another")
    strange = Channel(0, "Strange", kind="episode", extension="mp4", series_id=other.id)
    await lineup.add_channel(strange)
    for number in (2, 1):
        episode = Channel(0, f"Part {number}", kind="episode", extension="mp4", series_id=series.id)
        await lineup.add_channel(dataclasses.replace(episode, season=1, episode=number))
    await made.worker.catalogue.look()
    async with operator(browser, at(made), language) as one:
        await one.get_in("admin", first_password(made))
        await one.see("channels")
        await one.page.get_by_role("tab", name=one.says("series")).click()
        await expect(rows(one)).to_have_count(2)
        await one.field("series.search").fill("break")
        await expect(rows(one)).to_have_count(1)
        await expect(rows(one)).to_contain_text("Drama")
        await one.assert_accessible()
        await one.button("edit.what", name="Breaking Bad").click()
        dialog = one.page.get_by_role("dialog")
        await expect(dialog).to_contain_text(EVIL)
        await one.field("series.cover").fill("nonsense")
        await one.button("save").click()
        await expect(dialog.locator("small.problem")).to_have_text(one.says("code.logo_shape"))
        assert "422" in one.complaints.pop()
        await one.field("series.cover").fill("/logos/bad.png")
        await one.field("series.name").fill("Breaking Good")
        await one.assert_accessible()
        await one.button("save").click()
        await expect(dialog).to_have_count(0)
        await one.field("series.search").fill("")
        await expect(rows(one)).to_have_count(2)
        await one.button("series.episodes", name="Breaking Good").click()
        await expect(one.page.locator(".episodes .what")).to_have_text(["Part 1", "Part 2"])
        await one.assert_accessible()
        kept = await lineup.series_named("Breaking Good")
        assert (kept.id, kept.cover) == (series.id, "/logos/bad.png")
        one.complaints = [text for text in one.complaints if "404" not in text]  # no such file
        await one.assert_sound()


async def test_channels_are_put_in_order_by_pointer_and_by_keys(made: Stage, one: Operator) -> None:
    await fill(made, ["A", "B", "C", "D"])
    await one.see("channels")
    await expect(rows(one)).to_have_count(4)
    grip = one.page.locator(".grip")
    start, end = await grip.nth(0).bounding_box(), await rows(one).nth(2).bounding_box()
    assert start is not None and end is not None
    await one.page.mouse.move(start["x"] + 8, start["y"] + 10)
    await one.page.mouse.down()
    await one.page.mouse.move(start["x"] + 8, end["y"] + end["height"] + 2, steps=5)
    await expect(one.page.locator(".drop")).to_be_visible()
    await one.page.mouse.up()
    await expect(names(one)).to_have_text(["B", "C", "A", "D"])
    await expect(grip.nth(2)).to_be_focused()  # a key moves the same one on
    await one.page.keyboard.press("ArrowUp")
    await expect(names(one)).to_have_text(["B", "A", "C", "D"])
    await grip.nth(3).focus()
    await one.page.keyboard.press("ArrowUp")
    await expect(names(one)).to_have_text(["B", "A", "D", "C"])
    await expect(grip.nth(2)).to_be_focused()
    kept = await made.worker.store.lineup.channels()
    assert [channel.name for channel in kept] == ["B", "A", "D", "C"]
    await one.assert_sound()


async def test_a_channel_is_made_with_sources_changed_and_deleted(
    made: Stage, one: Operator
) -> None:
    await fill(made, ["One"])
    await one.see("channels")
    await one.button("channels.new").click()
    await one.field("channels.name").fill("Mine")
    await one.button("channels.source.add").click()
    await one.page.get_by_role("textbox", name="Source 1").fill("nonsense")
    await one.button("save").click()
    await expect(one.page.locator(".sources .problem")).to_be_visible()
    await one.assert_complains("422")
    await one.page.get_by_role("textbox", name="Source 1").fill("a" * 40)
    await one.button("save").click()
    await expect(rows(one)).to_have_count(2)
    await one.button("edit.what", name="Mine").click()
    await one.page.get_by_label(one.says("channels.enabled"), exact=True).uncheck()
    await one.button("save").click()
    await expect(rows(one).nth(1)).to_contain_text(one.says("channels.disabled"))
    await one.button("edit.what", name="Mine").click()
    await one.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await one.page.get_by_role("dialog").last.get_by_role("button", name="Delete").last.click()
    await expect(rows(one)).to_have_count(1)
    await one.assert_sound()


async def held(one: Operator, method: str, address: str) -> asyncio.Event:
    """Requests of that method wait, once they are on their way, until the event is set."""
    go_on = asyncio.Event()

    async def wait(route: Route) -> None:
        if route.request.method == method:
            await go_on.wait()
        await route.continue_()

    await one.page.route(re.compile(address), wait)
    return go_on


async def test_a_form_is_not_filled_in_before_it_is_read(made: Stage, one: Operator) -> None:
    await fill(made, ["One"])
    await one.see("channels")
    go_on = await held(one, "GET", r"/channels/\d+$")
    await one.button("edit.what", name="One").click()
    await expect(one.page.get_by_role("dialog").locator("p[aria-busy=true]")).to_have_count(1)
    await expect(one.field("channels.name")).to_have_count(0)
    go_on.set()
    await expect(one.field("channels.name")).to_have_value("One")
    await one.assert_sound()


async def test_an_edit_lands_in_its_own_row_though_that_has_moved(
    made: Stage, one: Operator
) -> None:
    await fill(made, ["A", "B"])
    await one.see("channels")
    go_on = await held(one, "PATCH", r"/channels/\d+$")
    await one.page.get_by_role("button", name=re.compile("^Name: A")).click()
    await one.field("channels.name").fill("X")
    async with one.page.expect_request(lambda asked: asked.method == "PATCH"):
        await one.page.keyboard.press("Enter")
    await one.page.locator(".grip").nth(1).focus()
    await one.page.keyboard.press("ArrowUp")
    await expect(names(one)).to_have_text(["B", "A"])
    go_on.set()
    await expect(names(one)).to_have_text(["B", "X"])
    await one.assert_sound()


async def test_many_are_changed_at_once(made: Stage, one: Operator) -> None:
    await fill(made, [f"C{number}" for number in range(6)])
    await one.see("channels")
    for name in ("C1", "C4"):
        await one.page.get_by_label(one.says("channels.pick", name=name), exact=True).check()
    await one.button("bulk.picked").click()
    await one.field("bulk.what").select_option("disable")
    await one.button("bulk.go").click()
    await expect(one.page.locator(".row .badge", has_text="disabled")).to_have_count(2)
    await one.button("bulk.all").click()
    await one.field("bulk.what").select_option("renumber")
    await one.field("bulk.start").fill("100")
    await one.button("bulk.go").click()
    await expect(one.page.locator(".inline.number").nth(5)).to_have_text("105")
    await one.assert_sound()


async def test_categories_are_made_named_ordered_and_merged(made: Stage, one: Operator) -> None:
    await fill(made, ["A", "B", "C"])
    await one.see("channels")
    await one.button("channels.categories").click()
    await one.field("categories.new").fill("Mine")
    await one.button("add").click()
    listed = one.page.locator(".categories input:not([type=checkbox])")
    await expect(listed).to_have_count(4)
    await one.button("up.what", name="Mine").click()
    await expect(listed.nth(2)).to_have_value("Mine")
    await one.button("categories.merge.what", name="Group 0").click()
    await one.field("categories.into").select_option(label="Mine")
    await one.button("categories.merge").click()
    await expect(listed).to_have_count(3)
    await listed.nth(0).fill("First")
    await listed.nth(0).press("Enter")
    await expect(one.button("delete.what", name="First")).to_be_visible()
    await one.assert_accessible()
    kept = await made.worker.store.lineup.categories()
    assert {category.name for category in kept} == {"First", "Mine", "Group 2"}
    await one.assert_sound()


async def test_a_guide_is_found_chosen_and_shown(made: Stage, one: Operator) -> None:
    await fill(made, ["Rai Uno", "Nobody knows"])
    now = int(time.time()) // HOUR * HOUR
    document = guide(
        show("rai1.it", now, now + 2 * HOUR, "Tom & Jerry <3"),
        show("other.it", now, now + 2 * HOUR, "Something"),
        names=(("rai1.it", "Rai Uno"), ("other.it", "Altro")),
    )
    await add_guide(made.worker.store, document, now=now)
    await made.worker.catalogue.look()
    await one.see("guide")
    await expect(one.page.locator(".programme")).to_have_count(1)
    await expect(one.page.locator(".programme")).to_contain_text("Tom & Jerry <3")
    await one.page.get_by_role("tab", name=one.says("guide.mapping")).click()
    first = rows(one).nth(0)  # what has none comes first
    await expect(first).to_contain_text("Nobody knows")
    await expect(first).to_contain_text(one.says("guide.state.unmapped"))
    await one.button("guide.choose", name="Nobody knows").click()
    await one.page.get_by_role("dialog").get_by_role("searchbox").fill("altro")
    await one.page.get_by_role("button", name="Altro").click()
    chosen = rows(one).filter(has_text="Nobody knows")
    await expect(chosen).to_contain_text(one.says("guide.manual"))
    await one.page.get_by_role("tab", name=one.says("guide.grid")).click()
    await expect(one.page.locator(".programme")).to_have_count(2)
    await one.assert_accessible()
    await one.assert_sound()


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
async def test_full_pages_fit_and_are_accessible(made: Stage, browser: Browser, size: Any) -> None:
    await fill(made, [f"{EVIL} a name that goes on and on {number}" for number in range(40)])
    async with operator(browser, at(made), "it", viewport=size) as one:
        await one.get_in("admin", first_password(made))
        for page in ("channels", "guide"):
            await one.see(page)
            await one.assert_fits()
            await one.assert_accessible()
        await one.page.get_by_role("tab").nth(1).click()
        await expect(rows(one).first).to_be_visible()
        await one.assert_fits()
        await one.assert_accessible()
        await one.assert_sound()
