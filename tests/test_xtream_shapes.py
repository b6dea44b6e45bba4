"""The types that strict clients demand (Xtream reference §4 and §13, by row)."""

from __future__ import annotations

import base64
from xml.etree import ElementTree

import pytest

from rawstream.records import Account, Category, Channel
from rawstream.urls import Base
from rawstream.xtream_shapes import (
    account_object,
    categories_of,
    category_rows,
    enigma2,
    panel_channels,
    refusal_object,
    stream_rows,
)

BASE = Base("http", "tv.example.org", 8080)
ROWS = stream_rows(
    [Channel(7, "One", added_at=5, categories=(3, 4)), Channel(9, "Two", categories=(99,))],
    [Category(3, "News"), Category(4, "Sport")],
    lambda channel: channel.id == 9,
)


def info(**changes: object) -> dict[str, object]:
    account = Account(1, "ana", "", created_at=5, **changes)  # type: ignore[arg-type]
    made = account_object(
        account, username="ana", password="p", status="Active", active=1, base=BASE, now=1767225600
    )
    return made["user_info"] | made["server_info"]


def test_rows_1_2_15_19_the_account() -> None:
    found = info(max_connections=2)
    assert (found["auth"], found["status"]) == (1, "Active")
    assert (found["username"], found["password"]) == ("ana", "p")
    assert found["exp_date"] == "2147483647", "a numeric string, also for never"
    assert (found["active_cons"], found["max_connections"]) == ("1", "2")
    assert (found["is_trial"], found["created_at"]) == ("0", "5")
    assert found["allowed_output_formats"] == ["ts", "m3u8"]
    assert info(expires_at=99)["exp_date"] == "99"


def test_rows_3_14_the_server_in_utc() -> None:
    found = info()
    assert (found["url"], found["port"], found["server_protocol"]) == (
        "tv.example.org", "8080", "http",
    )  # fmt: skip
    assert all(isinstance(found[name], str) for name in ("https_port", "rtmp_port"))
    assert (found["timezone"], found["timestamp_now"]) == ("UTC", 1767225600)
    assert found["time_now"] == "2026-01-01 00:00:00"


def test_rows_10_29_the_streams() -> None:
    one, two = ROWS
    for row in ROWS:
        assert all(type(row[name]) is int for name in ("num", "stream_id", "tv_archive"))
        assert all(isinstance(row[name], str) and row[name] for name in ("category_id", "added"))
        assert row["custom_sid"] == row["stream_icon"] == row["direct_source"] == ""
    assert (one["num"], one["category_id"], one["category_ids"]) == (1, "3", [3, 4])
    assert (one["is_adult"], two["is_adult"]) == ("0", "1")
    assert one["epg_channel_id"] is None
    assert two["category_id"] == "4", "never a category that is not listed"


def test_row_11_the_categories() -> None:
    assert category_rows([Category(3, "News")]) == [
        {"category_id": "3", "category_name": "News", "parent_id": 0}
    ]


def test_a_channel_is_in_what_is_shown_of_its_categories_or_in_the_last() -> None:
    news, other = Category(3, "News"), Category(9, "Other")
    found = categories_of([news, other])
    assert found(Channel(1, "x", categories=(7, 9, 3))) == [other, news]
    assert found(Channel(1, "x", categories=(7,))) == found(Channel(1, "x")) == [other]
    assert categories_of([])(Channel(1, "x", categories=(7,))) == []


def test_row_21_a_failed_login_has_every_key() -> None:
    refused = refusal_object("typed", "word", "no")
    account = account_object(
        Account(1, "a", ""), username="", password="", status="", active=0, base=BASE, now=0
    )
    assert refused["user_info"].keys() == account["user_info"].keys()
    assert (refused["user_info"]["auth"], refused["user_info"]["username"]) == (0, "typed")
    assert refused["server_info"] == {}


def test_the_panels_rows_have_text_where_the_players_have_numbers() -> None:
    found = panel_channels(ROWS, [Category(3, "News"), Category(4, "Sport")])
    assert found.keys() == {"7", "9"}
    assert (found["7"]["stream_id"], found["7"]["live"]) == ("7", "1")
    assert found["7"]["category_name"] == "News"


@pytest.mark.parametrize("name", ["One", "]]> & <b>", "è"])
def test_what_enigma2_reads_is_xml_whatever_a_name_is(name: str) -> None:
    def encode(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    url = "http://h/?a=1&b=]]>"
    items = [(name, "", url, "3", "stream_url", url), (name, "", "", "3", "stream_url", url)]
    root = ElementTree.fromstring(enigma2(name, items, encode))
    assert root.findtext("playlist_name") == name
    assert root.findtext("channel/stream_url") == url
    assert [image.text for image in root.findall("channel/desc_image")] == [url]
    assert base64.b64decode(root.findtext("channel/title") or "").decode() == name
