"""XMLTV in: every ugly guide of the corpus, however it is cut, and what else a reader promises."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from guide_corpus import CASES, CORPUS, expectation, outcome, read

from rawstream.epg import GuideChannel, Programme
from rawstream.epg_elements import ReadLimits
from rawstream.epg_reader import XmltvReader
from rawstream.errors import FormatError

START = 1_795_219_200  # 2026-11-21 00:00:00


def programme(channel: str, number: int, inner: str = "<title>T</title>") -> str:
    hours, minutes = divmod(number * 30, 60)
    return (
        f'<programme start="20261121{hours:02}{minutes:02}00" channel="{channel}">{inner}'
        "</programme>\n"
    )


def checked(name: str, pieces: list[bytes], batch_characters: int) -> None:
    expected = expectation(name)
    options: dict[str, Any] = expected.pop("options", {})
    got = outcome(pieces, batch_characters=batch_characters, **options)
    assert got == expected


@pytest.mark.parametrize("name", CASES)
def test_a_guide_of_the_corpus_is_read_as_written_beside_it(name: str) -> None:
    checked(name, [(CORPUS / name).read_bytes()], 65_536)


@pytest.mark.parametrize("name", CASES)
def test_it_is_read_the_same_byte_by_byte_and_element_by_element(name: str) -> None:
    data = (CORPUS / name).read_bytes()
    checked(name, [data[at : at + 1] for at in range(len(data))], 1)


@pytest.mark.parametrize("name", CASES)
def test_it_is_read_the_same_at_random_splits(name: str) -> None:
    data = (CORPUS / name).read_bytes()
    chance = random.Random(name)
    for batch_characters in (1, 100, 1000):
        cuts = sorted(chance.choices(range(len(data) + 1), k=8))
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        checked(name, pieces, batch_characters)


@pytest.mark.parametrize("name", [name for name in CASES if name.endswith(".xml")])
def test_a_guide_cut_anywhere_gives_items_or_a_clear_refusal(name: str) -> None:
    data = (CORPUS / name).read_bytes()
    for end in range(0, len(data), 7):
        try:
            read([data[:end]])
        except FormatError as error:
            assert error.what == "guide"


def test_every_expectation_has_its_document_and_the_corpus_is_large_enough() -> None:
    documents = {name.split(".")[0] for name in CASES}
    assert {path.stem for path in CORPUS.glob("*.json")} == documents
    assert len(documents) == len(CASES) >= 15


def test_what_is_not_asked_for_comes_with_the_next_piece() -> None:
    text = "<tv>" + "".join(programme("a", number) for number in range(6))
    reader = XmltvReader(limits=ReadLimits(batch_characters=1))
    first = next(iter(reader.feed(text.encode())))
    reader.feed(b"")  # not looked at
    rest = [*reader.feed(b"</tv>"), *reader.finish()]
    starts = [item.start for item in (first, *rest) if isinstance(item, Programme)]
    assert starts == [START + number * 1800 for number in range(6)]


def test_feeding_without_asking_loses_nothing() -> None:
    text = ("<tv>" + "".join(programme("a", number) for number in range(40)) + "</tv>").encode()
    reader = XmltvReader(limits=ReadLimits(batch_characters=1))
    for at in range(len(text)):
        reader.feed(text[at : at + 1])
    assert len(reader.finish()) == 40
    assert reader.report.complete


def test_programmes_of_channels_nobody_wants_are_passed_over() -> None:
    text = "<tv>" + "".join(programme(name, 1) for name in "abc") + "</tv>"
    items, reader = read([text.encode()], wanted=lambda channel: channel == "b")
    assert [item.channel for item in items if isinstance(item, Programme)] == ["b"]
    assert reader.report.left_out == 0


def test_a_charset_that_the_caller_knows_beats_the_document() -> None:
    title = "Новости"
    data = b'<?xml version="1.0" encoding="utf-8"?><tv>' + programme(
        "a", 1, f"<title>{title}</title>"
    ).encode("koi8-r")
    items, _ = read([data], charset="koi8-r")
    assert isinstance(items[0], Programme)
    assert items[0].titles[0].text == title


def test_an_element_that_is_too_long_is_left_out_and_its_neighbours_are_kept() -> None:
    text = (
        "<tv>"
        + programme("a", 1)
        + programme("a", 2, f"<title>{'x' * 5000}</title>")
        + programme("a", 3)
        + "</tv>"
    )
    limits = ReadLimits(element_characters=1000, batch_characters=100)
    data = text.encode()
    for size in (1, 64, 999):
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        items, reader = read(pieces, limits=limits)
        starts = [item.start for item in items if isinstance(item, Programme)]
        assert starts == [START + 1800, START + 3 * 1800]
        assert (reader.report.left_out, reader.report.complete) == (1, True)
        assert reader.report.warning_counts["size"] == 1


def test_garbage_behind_the_end_is_dropped_and_the_end_not_forgotten() -> None:
    limits = ReadLimits(element_characters=1000, batch_characters=100)
    text = f"<tv>{programme('a', 1)}</tv>"
    garbage = [b" " * 500] * 20
    items, reader = read([text.encode(), *garbage], limits=limits)
    assert len(items) == 1
    assert reader.report.complete


def test_a_run_of_empty_elements_longer_than_one_may_be_is_read() -> None:
    channels = "".join(f'<channel id="c{number}"/>' for number in range(500))
    limits = ReadLimits(element_characters=1000, batch_characters=100)
    data = f"<tv>{channels}</tv>".encode()
    items, reader = read([data[at : at + 300] for at in range(0, len(data), 300)], limits=limits)
    assert [item.id for item in items if isinstance(item, GuideChannel)] == [
        f"c{number}" for number in range(500)
    ]
    assert reader.report.left_out == 0


def test_channels_above_the_limit_are_left_out_with_their_programmes() -> None:
    text = '<tv><channel id="a"/><channel id="b"/><channel id="c"/>' + "".join(
        programme(name, number) for name in "abc" for number in (1, 2)
    )
    items, reader = read([f"{text}</tv>".encode()], limits=ReadLimits(channels=2))
    assert {item.channel for item in items if isinstance(item, Programme)} == {"a", "b"}
    assert reader.report.left_out == 3
    assert reader.report.warning_counts["size"] == 1


def test_warnings_in_words_are_few_and_all_are_counted() -> None:
    wrong = '<programme start="x" channel="a"><title>T</title></programme>' * 500
    _, reader = read([f"<tv>{wrong}</tv>".encode()], limits=ReadLimits(warnings=10))
    assert len(reader.report.warnings) == 10
    assert reader.report.warning_counts == {"time": 500}
    assert reader.report.left_out == 500


def test_more_than_a_document_may_have_is_refused_when_it_comes() -> None:
    reader = XmltvReader(limits=ReadLimits(document_bytes=1000))
    with pytest.raises(FormatError, match="more than 1000 bytes"):
        list(reader.feed(b"<tv>" + b" " * 2000))


def test_a_document_that_never_begins_is_refused_before_its_end() -> None:
    reader = XmltvReader(limits=ReadLimits(head_characters=1000))
    with pytest.raises(FormatError, match="not XML"):
        list(reader.feed(b"lorem ipsum " * 1000))


def test_a_dtd_in_the_document_is_neither_read_nor_fetched(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("do not show")
    text = (
        f'<!DOCTYPE tv [<!ENTITY f SYSTEM "{secret.as_uri()}"> <!ENTITY g "grown">]>'
        f"<tv>{programme('a', 1, '<title>&f;|&g;</title>')}</tv>"
    )
    items, _ = read([text.encode()])
    assert isinstance(items[0], Programme)
    assert items[0].titles[0].text == "&f;|&g;"


def test_damage_to_one_element_leaves_the_thousand_around_it_alone() -> None:
    elements = [programme(f"c{number}", 1) for number in range(1000)]
    elements[500] = '<programme start="20261121000000" channel="c500"><title>T</programme>'
    items, reader = read([f"<tv>{''.join(elements)}</tv>".encode()])
    assert len(items) == 1000
    assert reader.report.warning_counts["markup"] == 1
    assert reader.report.left_out == 0


def test_memory_does_not_grow_with_the_number_of_programmes() -> None:
    # what a reader holds is one programme per channel, whatever has gone through it
    reader = XmltvReader(limits=ReadLimits(batch_characters=1000))
    list(reader.feed(b"<tv>"))
    seen = 0
    for number in range(3000):
        text = programme(f"c{number % 10}", number // 10 % 48).encode()
        seen += sum(1 for _ in reader.feed(text))
        assert reader._elements._text_characters < 2000
    assert len(reader.finish()) <= 30
    assert seen > 2900
