"""Channel lists: a corpus of ugly ones however split, and mutated ones."""

from __future__ import annotations

import gzip
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from splits import SPLITS, at_random

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
    NotAList,
)
from rawstream.textlines import LINE_LIMIT_BYTES

CORPUS = Path(__file__).parent / "corpus" / "m3u"
LISTS = sorted(CORPUS.glob("*.m3u"))
RAW = [path.read_bytes() for path in LISTS]
SMALL = [raw for raw in RAW if len(raw) < 3000]


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
