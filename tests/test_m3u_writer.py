"""Channel lists as we write them: what is written is read back."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_m3u import one, read_text

from rawstream.acelink import Link
from rawstream.m3u import Entry
from rawstream.m3u_writer import M3uWriter

TEXTS = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from("\"',;&#=| \n\r\t\\")), max_size=30
)
KEYS = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True).filter(
    lambda key: (
        key
        not in (
            "group-title",
            "user-agent",
            "http-user-agent",
            "referrer",
            "http-referrer",
            "http-referer",
        )
    )
)


def canonical(text: str, quote: str = "'") -> str:
    """What the format can carry of a text, said independently of the module."""
    breaking = {*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0xFEFF, *range(0xD800, 0xE000)}
    runs = itertools.groupby(text, lambda character: ord(character) in breaking)
    return "".join(" " if bad else "".join(run) for bad, run in runs).strip().replace('"', quote)


@given(
    name=TEXTS,
    attributes=st.dictionaries(KEYS, TEXTS, max_size=5),
    groups=st.lists(TEXTS, max_size=3),
    options=st.dictionaries(KEYS, TEXTS, max_size=2),
    newline=st.sampled_from(["\n", "\r\n"]),
)
@settings(max_examples=300, deadline=None)
@example(
    name="AT&amp;T", attributes={"a": "&quot;&#10;&amp;amp;"}, groups=[], options={}, newline="\n"
)
@example(
    name="x", attributes={"a": "foo bar=", "tvg-id": "\\"}, groups=["A;B"], options={}, newline="\n"
)
@example(name='"a", tvg-id="b"', attributes={}, groups=["'", ";"], options={}, newline="\n")
@example(name=",", attributes={"tvg-name": " , "}, groups=[], options={"k": '"q"'}, newline="\n")
def test_what_is_written_is_read_back(
    name: str,
    attributes: dict[str, str],
    groups: list[str],
    options: dict[str, str],
    newline: Any,
) -> None:
    writer = M3uWriter(newline=newline, name_commas=True)
    text = (
        writer.header(["http://g.example.org/1.xml"])
        + writer.head(name, attributes, groups=groups, vlc_options=options, kodi_properties=options)
        + writer.location("http://tv.example.org/1.ts?a=1&b=2")
    )
    entries, ending = read_text(text)
    [entry] = entries
    assert ending.warning_count == 0
    assert ending.guide_urls == ("http://g.example.org/1.xml",)
    wanted = [group for text in groups if (group := canonical(text).replace(";", " ").strip())]
    assert entry.groups == tuple(dict.fromkeys(wanted))
    attributes_wanted = {key: canonical(value) for key, value in attributes.items()}
    assert entry.attributes == attributes_wanted | (
        {"group-title": ";".join(wanted)} if wanted else {}
    )
    if canonical(name):
        assert (entry.name, entry.named) == (canonical(name)[:255].strip(), True)
    else:
        assert not entry.named
    for options_read in (entry.vlc_options, entry.kodi_properties):
        assert options_read == {key: unquoted(canonical(v, '"')) for key, v in options.items()}


def unquoted(text: str) -> str:
    """An option's value may stand in quotes, and is read without them."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def test_a_written_entry_reads_back_whole() -> None:
    writer = M3uWriter()
    text = writer.header() + writer.head(
        "Uno HD",
        {
            "tvg-chno": "5.1",
            "tvg-logo": "http://l.example.org/?a=1&b=2",
            "tvg-id": "uno.it",
            "tvg-name": "Uno",
        },
        groups=["News", "Italy"],
        kodi_properties={"mimetype": "video/mp2t"},
        vlc_options={"http-user-agent": "Player/1.0"},
    )
    entry = one(text + writer.location("http://tv.example.org/live/u/p/1.ts"))
    assert entry == Entry(
        name="Uno HD",
        link=Link("direct", "http://tv.example.org/live/u/p/1.ts"),
        url="http://tv.example.org/live/u/p/1.ts",
        attributes={
            "tvg-id": "uno.it",
            "tvg-name": "Uno",
            "tvg-logo": "http://l.example.org/?a=1&b=2",
            "tvg-chno": "5.1",
            "group-title": "News;Italy",
        },
        groups=("News", "Italy"),
        tvg_id="uno.it",
        tvg_name="Uno",
        tvg_logo="http://l.example.org/?a=1&b=2",
        number="5.1",
        headers=(("User-Agent", "Player/1.0"),),
        vlc_options={"http-user-agent": "Player/1.0"},
        kodi_properties={"mimetype": "video/mp2t"},
    )


def test_attributes_are_written_in_the_order_that_players_expect() -> None:
    head = M3uWriter().head(
        "One",
        {
            "group-title": "G",
            "radio": "true",
            "tvg-logo": "l",
            "tvg-chno": "1",
            "tvg-name": "n",
            "tvg-id": "",
        },
    )
    assert head == (
        '#EXTINF:-1 tvg-id="" tvg-name="n" tvg-logo="l" tvg-chno="1" radio="true"'
        ' group-title="G",One\n'
    )


def test_the_plain_form_has_neither_attributes_nor_options() -> None:
    writer = M3uWriter(plus=False, newline="\r\n")
    assert writer.header(["http://g.example.org/1.xml"], {"cache": "1"}) == "#EXTM3U\r\n"
    head = writer.head("One, two", {"tvg-id": "a"}, groups=["G"], kodi_properties={"mimetype": "x"})
    assert head == "#EXTINF:-1,One two\r\n"


def test_the_header_names_every_guide_under_both_names() -> None:
    header = M3uWriter().header(["http://g/1?a=1&b=2", "http://g/2"], {"tvg-shift": "1"})
    both = "http://g/1?a=1&b=2,http://g/2"
    assert header == f'#EXTM3U url-tvg="{both}" x-tvg-url="{both}" tvg-shift="1"\n'


def test_no_value_begins_a_line_of_its_own() -> None:
    writer = M3uWriter()
    evil = "x\n#EXTM3U\r\nhttp://evil.example.org/\u2028y\x85z"
    text = writer.header([evil]) + writer.head(
        evil, {"tvg-id": evil}, groups=[evil], vlc_options={"k": evil}, kodi_properties={"k": evil}
    )
    assert len((text + writer.location(evil)).splitlines()) == 5


def test_a_url_is_written_so_that_it_stays_one_word() -> None:
    line = M3uWriter().location("http://h/a b\t\r\nc\ud800\u00e9.ts")
    assert line == "http://h/a%20b%09%0D%0Ac%3F\u00e9.ts\n"


@pytest.mark.parametrize("key", ["", "a b", 'a"', "a=", "é", "a\n"])
def test_a_key_that_is_none_is_a_bug_of_the_caller(key: str) -> None:
    with pytest.raises(ValueError, match="name"):
        M3uWriter().head("One", {key: "x"})
    with pytest.raises(ValueError, match="name"):
        M3uWriter().head("One", kodi_properties={key: "x"})


def test_the_length_of_a_film_is_written_and_read_back() -> None:
    writer = M3uWriter()
    text = writer.header() + writer.head("Film", seconds=5400) + writer.location("http://h/1.mp4")
    assert "#EXTINF:5400,Film\n" in text
    assert [entry.duration for entry in read_text(text)[0]] == [5400]
