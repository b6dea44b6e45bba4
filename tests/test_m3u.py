"""Channel lists: a corpus of ugly ones however split, mutated ones, and our own read back."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rawstream.acelink import Link
from rawstream.errors import FormatError
from rawstream.extinf import VALUE_LIMIT
from rawstream.m3u import (
    GUIDES_LIMIT,
    PROOF_LIMIT_BYTES,
    WARNINGS_LIMIT,
    Ending,
    Entry,
    M3uReader,
    M3uWriter,
    NotAList,
)
from rawstream.textlines import LINE_LIMIT_BYTES

CORPUS = Path(__file__).parent / "corpus" / "m3u"
LISTS = sorted(CORPUS.glob("*.m3u"))
RAW = [path.read_bytes() for path in LISTS]
SMALL = [raw for raw in RAW if len(raw) < 3000]


def whole(raw: bytes) -> list[bytes]:
    return [raw]


def byte_by_byte(raw: bytes) -> list[bytes]:
    return [raw[i : i + 1] for i in range(len(raw))]


def at_random(raw: bytes, seed: int = 7) -> list[bytes]:
    chance = random.Random(seed)
    cuts = sorted(chance.randrange(len(raw) + 1) for _ in range(6))
    return [raw[a:b] for a, b in itertools.pairwise([0, *cuts, len(raw)])]


SPLITS = [whole, byte_by_byte, at_random]


def read(pieces: list[bytes], **settings: Any) -> tuple[list[Entry], Ending]:
    """Every entry, the one on an unended last line too."""
    reader = M3uReader(**settings)
    entries = [entry for piece in pieces for entry in reader.feed(piece)]
    ending = reader.finish()
    entries += [ending.last] if ending.last is not None else []
    assert ending.entries == len(entries)
    return entries, ending


def read_text(text: str, **settings: Any) -> tuple[list[Entry], Ending]:
    return read([text.encode()], **settings)


def one(text: str) -> Entry:
    [entry] = read_text(text)[0]
    return entry


def plain(value: Any) -> Any:
    """As JSON would give it back."""
    return json.loads(json.dumps(value))


# -- the corpus --


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(LISTS) >= 40
    assert {path.with_suffix(".json") for path in LISTS} == set(CORPUS.glob("*.json"))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_an_ugly_list_is_read_as_expected(path: Path, split: Any) -> None:
    expected = json.loads(path.with_suffix(".json").read_text())
    given = {key: expected[key] for key in ("base_url", "charset") if key in expected}
    pieces = split(path.read_bytes())
    if "refused" in expected:
        with pytest.raises(NotAList) as refusal:
            read(pieces, **given)
        assert refusal.value.found == expected["refused"]
        return
    entries, ending = read(pieces, **given)
    if "entries" in expected:
        seen = [
            {name: plain(getattr(entry, name)) for name in wanted}
            for entry, wanted in zip(entries, expected["entries"], strict=False)
        ]
        assert seen == expected["entries"]
        assert len(entries) == len(expected["entries"])
    assert [line for line, _ in ending.warnings] == expected.get("warnings", [])
    assert ending.warning_count == len(ending.warnings)
    assert ending.dropped == expected.get("dropped", 0)
    assert ending.truncated == expected.get("truncated", False)
    assert (ending.last is not None) == expected.get("last", False)
    assert list(ending.guide_urls) == expected.get("guide_urls", [])
    assert ending.title == expected.get("title", "")
    if "attributes" in expected:
        assert ending.attributes == expected["attributes"]


def test_expectations_name_fields_that_exist() -> None:
    known = {field.name for field in fields(Entry)}
    for path in LISTS:
        for wanted in json.loads(path.with_suffix(".json").read_text()).get("entries", []):
            assert wanted.keys() <= known, path.name


@pytest.mark.parametrize("raw", RAW, ids=[path.stem for path in LISTS])
def test_a_list_says_the_same_packed_or_with_other_line_ends(raw: bytes) -> None:
    def told(document: bytes) -> Any:
        try:
            entries, ending = read([document])
        except FormatError as error:
            return str(error)
        return entries, ending.dropped, [line for line, _ in ending.warnings]

    if raw[:2] != b"\x1f\x8b":
        assert told(gzip.compress(raw)) == told(raw)
    if b"\r" not in raw and b"\0" not in raw:
        assert told(raw.replace(b"\n", b"\r\n")) == told(raw)
        assert told(raw.replace(b"\n", b"\r")) == told(raw)


@given(st.sampled_from(SMALL), st.data())
@settings(max_examples=150, deadline=None)
def test_a_mutated_list_raises_nothing_else_and_is_the_same_however_split(
    raw: bytes, data: st.DataObject
) -> None:
    odd = (
        b'"',
        b"'",
        b",",
        b"=",
        b"\n",
        b"\r",
        b"|",
        b"&",
        b" ",
        b"\xff",
        b"\0",
        b"#EXTINF:",
        b"http://",
    )
    mutated = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(mutated)))
        put = data.draw(st.one_of(st.sampled_from(odd), st.binary(max_size=4)))
        mutated[at : at + data.draw(st.integers(0, 5))] = put
    document = bytes(mutated)
    told = []
    for pieces in ([document], at_random(document, data.draw(st.integers(0, 99)))):
        try:
            told.append(read(pieces))
        except FormatError as error:
            told.append(str(error))
    assert told[0] == told[1]


@given(st.text(st.sampled_from("abtvg-id=\"',;: \\#|&@/"), max_size=60))
@settings(max_examples=300, deadline=None)
@example('a="b"c"d"e,')
def test_any_text_behind_extinf_makes_one_entry_with_a_clean_name(text: str) -> None:
    entry = one(f"#EXTM3U\n#EXTINF:-1 {text}\nhttp://tv.example.org/x.ts\n")
    assert entry.link == Link("direct", "http://tv.example.org/x.ts")
    assert entry.name and entry.name == entry.name.strip()


# -- what is no list --


def test_junk_without_an_end_is_refused_while_it_runs() -> None:
    reader = M3uReader()
    with pytest.raises(NotAList) as refusal:
        for _ in range(PROOF_LIMIT_BYTES // 10 + 2):
            assert reader.feed(b"not a url\n") == []
    assert refusal.value.found == "text"
    with pytest.raises(NotAList):
        reader.feed(b"#EXTM3U\n")
    with pytest.raises(NotAList):
        reader.finish()


def test_a_page_on_one_endless_line_is_refused_as_a_page() -> None:
    with pytest.raises(NotAList) as refusal:
        M3uReader().feed(b"<!doctype html><script>" + b"x" * LINE_LIMIT_BYTES)
    assert refusal.value.found == "html"


def test_a_list_may_be_longer_than_the_proof_takes() -> None:
    entries, _ = read_text("http://tv.example.org/1.ts\n" + "nothing here\n" * 10_000)
    assert len(entries) == 1


def test_a_list_over_the_limit_is_refused_and_what_came_before_stands() -> None:
    reader = M3uReader(list_limit_bytes=1000)
    assert len(reader.feed(b"http://tv.example.org/1.ts\n")) == 1
    with pytest.raises(FormatError, match="1000"):
        reader.feed(b"http://tv.example.org/1.ts\n" * 100)
    with pytest.raises(FormatError, match="1000"):
        reader.finish()


def test_a_zip_archive_is_refused_by_its_name() -> None:
    with pytest.raises(FormatError, match="ZIP"):
        read([b"PK\x03\x04" + bytes(30)])


# -- bounds --


def test_a_line_over_the_limit_is_left_out_and_the_rest_read() -> None:
    logo = "x" * LINE_LIMIT_BYTES
    entries, ending = read_text(
        f'#EXTM3U\n#EXTINF:-1 tvg-logo="{logo}",A\nhttp://tv.example.org/a.ts\n'
        "#EXTINF:-1,B\nhttp://tv.example.org/b.ts\n"
    )
    assert [entry.name for entry in entries] == ["a", "B"]
    assert [warning.line for warning in ending.warnings] == [2]


def test_warnings_are_counted_and_only_the_first_are_kept() -> None:
    _, ending = read_text("#EXTM3U\n" + "rtmp://tv.example.org/x\n" * (WARNINGS_LIMIT + 50))
    assert ending.warning_count == ending.dropped == WARNINGS_LIMIT + 50
    assert len(ending.warnings) == WARNINGS_LIMIT


def test_warnings_hold_nothing_of_a_url() -> None:
    _, ending = read_text(
        "#EXTM3U\nrtmp://ana:s3cret@tv.example.org/x\ns3cret://x\n#EXTINF:-1,s3cret\n"
        "http://tv.example.org:s3cret/\n#EXTVLCOPT:s3cret\nhttp://h/1.ts|X-A=s3cret%0Ax\n"
    )
    assert ending.warning_count == 5
    assert "s3cret" not in repr(ending)


def test_an_entry_shows_no_url() -> None:
    entry = one("http://tv.example.org/live/ana/s3cret/1.ts|X-Key=s3cret\n")
    assert "s3cret" not in repr(entry)


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n"
        + "".join(f'#EXTM3U x-tvg-url="http://g.example.org/{i}"\n' for i in range(500)),
        "#EXTM3U\n" + "".join(f'#EXTM3U k{i}="v"\n' for i in range(500)),
        "#EXTINF:-1 " + " ".join(f'k{i}="v"' for i in range(500)) + ",A\nhttp://h/1.ts\n",
        "".join(f"#EXTVLCOPT:k{i}=v\n" for i in range(500)) + "#EXTINF:-1,A\nhttp://h/1.ts\n",
        "#EXTGRP:" + ";".join(map(str, range(500))) + "\n#EXTINF:-1,A\nhttp://h/1.ts\n",
        "#EXTINF:-1,A\nhttp://h/1.ts|" + "&".join(f"X-{i}=v" for i in range(500)) + "\n",
        "#EXTHTTP:"
        + json.dumps({f"X-{i}": "v" for i in range(500)})
        + "\n#EXTINF:-1,A\nhttp://h/1\n",
        f"#KODIPROP:a={'x' * (VALUE_LIMIT + 1)}\n#EXTINF:-1,A\nhttp://h/1\n",
    ],
    ids=["guides", "header", "attributes", "options", "groups", "suffix", "json", "long"],
)
def test_nothing_is_kept_without_a_bound(text: str) -> None:
    entries, ending = read_text(text)
    assert len(ending.guide_urls) <= GUIDES_LIMIT
    kept = [ending.attributes]
    for entry in entries:
        kept += [entry.attributes, entry.vlc_options, entry.kodi_properties]
        assert len(entry.groups) <= 16
        assert len(entry.headers) <= 64
    assert max(map(len, kept), default=0) <= 64
    assert all(len(value) <= VALUE_LIMIT for held in kept for value in held.values())


def test_lines_made_to_hurt_are_read_in_their_length() -> None:
    # work that grew with the square of this would outlast the suite's timeout
    begins = (
        *(
            "",
            "http://h/",
            "http://h/|",
            "name: ",
            "acestream:",
            "magnet:?xt=",
            "../",
            "plugin://p/?",
        ),
        *("#EXTM3U x-tvg-url=", '#EXTM3U url-tvg="', "#EXTVLCOPT:", "#KODIPROP:a=", "#EXTGRP:"),
        *("#EXTHTTP:", "#EXT-X-", "http://h/?url=plugin://p/?url="),
    )
    pieces = (
        "|",
        ",",
        " ",
        "a",
        "a=",
        "%",
        "acestream:",
        ":",
        "../",
        "&a=1",
        "\u2028",
        "&#1;",
        "|a",
        "[",
    )
    for begin in begins:
        for piece in pieces:
            line = begin + piece * ((LINE_LIMIT_BYTES - 100) // len(piece.encode()))
            reader = M3uReader(base_url="http://h/a/b")
            reader.feed(f"#EXTM3U\n#EXTINF:-1,A\n{line}\n".encode())
            assert reader.entries + reader.dropped + reader.warning_count <= 3


def test_json_that_is_nested_without_end_is_only_warned_of() -> None:
    _, ending = read_text("#EXTHTTP:" + "[" * 100_000 + "\n#EXTINF:-1,A\nhttp://h/1.ts\n")
    assert [warning.line for warning in ending.warnings] == [1]


def test_entries_come_out_as_soon_as_their_line_ends() -> None:
    reader = M3uReader()
    assert (
        reader.feed(b"#EXTM3U x-tvg-url='http://g.example.org/1'\n#EXTINF:-1,A\nhttp://h/1.ts")
        == []
    )
    assert reader.guide_urls == ["http://g.example.org/1"]
    [entry] = reader.feed(b"\n")
    assert (entry.name, entry.line) == ("A", 3)


# -- the writer --

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
