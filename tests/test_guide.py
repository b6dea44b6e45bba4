"""What is on, and the document of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from guides import HOUR, NOON, add_guide, guide, show
from lxml import etree

from rawstream.epg import LocalText, Programme
from rawstream.guide import DAYS_LIMIT, document, listings, window
from rawstream.records import Channel
from rawstream.store import Store


def test_a_window_moves_by_the_hour_and_has_its_bounds() -> None:
    since, until = window(NOON + 59, 1, 7)
    assert (since, until) == (NOON - 24 * HOUR, NOON + 7 * 24 * HOUR + HOUR)
    assert window(NOON + HOUR - 1, 1, 7) == (since, until)
    assert window(NOON, 999, 999) == window(NOON, DAYS_LIMIT, DAYS_LIMIT)


async def test_a_listing_has_plain_text_in_the_languages_there_are(store: Store) -> None:
    two = Programme(
        "x",
        NOON,
        NOON + HOUR,
        (LocalText("Notizie", "it"), LocalText('"A" & b < c')),
        descriptions=(LocalText("two\nlines"),),
    )
    await add_guide(store, guide(two))
    (found,) = await listings(store.guide, "x", NOON, NOON + 1)
    assert (found.title, found.description, found.lang) == ('"A" & b < c', "two\nlines", "")
    assert await listings(store.guide, "", NOON, NOON + 1) == []
    assert await listings(store.guide, "x", NOON + HOUR, NOON + 2 * HOUR) == []


async def test_channels_that_share_a_guide_are_one_in_the_document(store: Store) -> None:
    await add_guide(
        store,
        guide(
            show("x<&>", NOON, NOON + HOUR, "Film & more"),
            show("x<&>", NOON + HOUR, NOON + 2 * HOUR, "later"),
            show("hidden", NOON, NOON + HOUR, "Not theirs"),
        ),
    )
    channels = [
        Channel(1, "One", guide_id="x<&>", logo="http://l"),
        Channel(2, "One HD", guide_id="x<&>"),
        Channel(3, "None"),
        Channel(4, "Without programmes", guide_id="else"),
    ]
    body = b"".join(document(store.db.path, channels, NOON, NOON + HOUR))
    assert body.startswith(b"<?xml")
    root = etree.fromstring(body)
    assert [one.get("id") for one in root.iter("channel")] == ["x<&>", "else"]
    assert [one.text for one in root[0].iter("display-name")] == ["One", "One HD"]
    (programme,) = root.iter("programme")
    assert programme.get("channel") == "x<&>"
    assert programme.findtext("title") == "Film & more"
    assert programme.get("start", "").endswith(" +0000")


async def test_of_a_long_guide_only_what_is_asked_for_is_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_guide(
        store,
        guide(*(show("x", NOON + at * HOUR, NOON + (at + 1) * HOUR, f"{at}") for at in range(50))),
    )
    whole = await listings(store.guide, "x", NOON, NOON + 50 * HOUR)
    assert [one.title for one in whole] == [str(at) for at in range(50)]
    parsed: list[str] = []

    def parse(text: str) -> Any:
        parsed.append(text)
        return etree.fromstring(text)

    monkeypatch.setattr("rawstream.guide.etree", SimpleNamespace(fromstring=parse))
    assert await listings(store.guide, "x", NOON, NOON + 50 * HOUR, limit=4) == whole[:4]
    assert len(parsed) == 4
