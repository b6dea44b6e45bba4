"""Times, languages and the document that is written."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from guide_corpus import CORPUS, read
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from rawstream.epg import (
    JOBS,
    NO_TITLE,
    Credit,
    EpisodeNumber,
    GuideChannel,
    LocalText,
    Programme,
    Rating,
    channel_element,
    format_time,
    parse_time,
    preferred,
    programme_element,
    write_xmltv,
)

EVENING = 1_795_289_400  # 2026-11-21 19:30:00
TITLES = (LocalText("Title"),)

# -- times --


@pytest.mark.parametrize(
    "text",
    [
        "20261121193000 +0000",
        "20261121203000 +0100",
        "20261121203000 +01:00",
        "20261121203000+1",
        "202611212030 CET",
        "20261121143000 EST",
        "202611211930",
        "2026-11-21T19:30Z",
        "2026-11-21 20:30:00.5 +0100",
        "1795289400",
        "1795289400123",
    ],
)
def test_a_time_is_known_in_every_spelling(text: str) -> None:
    time = parse_time(text)
    assert time is not None and time.seconds == EVENING


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026112119", EVENING - 1800),
        ("20261121", EVENING - 19 * 3600 - 1800),
        ("202611", EVENING - 20 * 86_400 - 19 * 3600 - 1800),
        ("2026", 1_767_225_600),
        ("20261121240000", EVENING + 4 * 3600 + 1800),
        ("20240229120000", 1_709_208_000),
    ],
)
def test_a_time_cut_short_is_the_beginning_of_what_it_names(text: str, seconds: int) -> None:
    time = parse_time(text)
    assert time is not None and time.seconds == seconds


@pytest.mark.parametrize(
    "text",
    (
        *("", "now", "20261321", "20260230", "20261121250000", "20261121196100", "00000000000000"),
        *("202611211930001", "20261121 ???", "+0100", "19600101000000", "29991231235959"),
    ),
)
def test_what_is_no_time_is_none(text: str) -> None:
    assert parse_time(text) is None


def test_a_time_without_a_zone_is_utc_or_what_the_caller_knows() -> None:
    assert parse_time("20261121193000") == (EVENING, "none")
    assert parse_time("20261121203000", 3600) == (EVENING, "none")
    assert parse_time("20261121193000 +0000", 3600) == (EVENING, "known")
    assert parse_time("20261121193000 XYZ") == (EVENING, "unknown")
    assert parse_time("20261121193000 IST") == (EVENING, "unknown")  # Indian, Irish or Israeli


@given(st.integers(315_532_800, 4_102_444_799))
def test_a_time_that_is_written_is_read_back(seconds: int) -> None:
    text = format_time(seconds)
    assert re.fullmatch(r"\d{14} \+0000", text)
    assert parse_time(text) == (seconds, "known")


@given(st.text(max_size=40))
def test_no_text_upsets_the_reader_of_times(text: str) -> None:
    parse_time(text)


# -- languages --


@pytest.mark.parametrize(
    ("languages", "text"),
    [
        (["it"], "ita"),
        (["en_GB"], "british"),
        (["en"], "british"),
        (["eng"], "british"),
        (["en-US", "it"], "british"),
        (["de", "it"], "ita"),
        (["ger"], "plain"),
        (["sv"], "plain"),
        ([], "plain"),
    ],
)
def test_the_text_of_the_preferred_language_is_chosen(languages: list[str], text: str) -> None:
    texts = (LocalText("ita", "ita"), LocalText("british", "en-GB"), LocalText("plain"))
    assert preferred(texts, languages) == text


def test_the_very_tag_beats_the_language_and_any_text_beats_none() -> None:
    texts = (LocalText("us", "en-US"), LocalText("gb", "en-GB"), LocalText("deutsch", "deu"))
    assert preferred(texts, ["en-GB"]) == "gb"
    assert preferred(texts, ["en"]) == "us"
    assert preferred(texts, ["de"]) == "deutsch"
    assert preferred(texts, ["fr"]) == "us"
    assert preferred((), ["fr"]) == ""


# -- writing --

words = st.text(
    st.characters(exclude_categories=["C", "Z"], exclude_characters="&<"), min_size=1, max_size=20
)
langs = st.sampled_from(["", "it", "en-GB"])
local_texts = st.lists(st.builds(LocalText, words, langs), max_size=3, unique=True).map(tuple)
programmes = st.builds(
    Programme,
    channel=words,
    start=st.just(0),
    stop=st.just(0),
    titles=st.lists(st.builds(LocalText, words, langs), min_size=1, max_size=3, unique=True).map(
        tuple
    ),
    sub_titles=local_texts,
    descriptions=local_texts,
    credits=st.lists(
        st.builds(
            Credit, st.sampled_from(JOBS).filter(lambda job: job != "actor"), words, st.just("")
        )
        | st.builds(Credit, st.just("actor"), words, words),
        max_size=4,
        unique=True,
    ).map(lambda people: tuple(sorted(people, key=lambda person: JOBS.index(person.job)))),
    date=st.sampled_from(["", "2013", "20130521"]),
    categories=local_texts,
    icons=st.lists(words, max_size=2, unique=True).map(tuple),
    episode_numbers=st.lists(
        st.builds(EpisodeNumber, st.sampled_from(["onscreen", "xmltv_ns"]), words),
        max_size=2,
        unique=True,
    ).map(tuple),
    previously_shown=st.booleans(),
    premiere=st.booleans(),
    new=st.booleans(),
    ratings=st.lists(st.builds(Rating, words, words), max_size=2, unique=True).map(tuple),
    star_ratings=st.lists(words, max_size=2, unique=True).map(tuple),
)
channels = st.builds(
    GuideChannel,
    id=words,
    names=st.lists(st.builds(LocalText, words, langs), min_size=1, max_size=3, unique=True).map(
        tuple
    ),
    icons=st.lists(words, max_size=2, unique=True).map(tuple),
    urls=st.lists(words, max_size=2, unique=True).map(tuple),
)


DTD = etree.DTD(str(CORPUS / "xmltv.dtd"))


def validate(document: bytes) -> etree._Element:
    root = etree.fromstring(document)
    DTD.assertValid(root)
    return root


@given(st.lists(channels, max_size=3, unique_by=lambda c: c.id), st.lists(programmes, max_size=4))
def test_what_is_written_is_valid_and_read_back_as_it_was(
    some_channels: list[GuideChannel], some_programmes: list[Programme]
) -> None:
    # a day apart, so that nothing has to be put in order
    starts = itertools.count(1_700_006_400, 86_400)
    apart = [
        replace(programme, start=start, stop=start + 3600)
        for programme, start in zip(some_programmes, starts, strict=False)
    ]
    document = b"".join(write_xmltv(some_channels, apart))
    validate(document)
    items, reader = read([document])
    assert [item for item in items if isinstance(item, GuideChannel)] == some_channels
    got = (item for item in items if isinstance(item, Programme))
    assert sorted(got, key=lambda item: item.start) == apart
    assert reader.report.complete
    assert set(reader.report.warning_counts) <= {"channel"}


@given(st.text(), st.text())
def test_any_text_makes_a_valid_document(text: str, other: str) -> None:
    programme = Programme(
        channel=text,
        start=EVENING,
        stop=EVENING + 60,
        titles=(LocalText(text, other),),
        credits=(Credit("actor", text, other), Credit("guest", other, text), Credit("odd", text)),
        icons=(other,),
        episode_numbers=(EpisodeNumber(text, other),),
        ratings=(Rating(other, text),),
        star_ratings=(text,),
    )
    channel = GuideChannel(text, (LocalText(other, text),), (text,), (other,))
    validate(b"".join(write_xmltv([channel], [programme], generator_info_name=text)))


def test_text_and_attributes_are_escaped_and_cleaned() -> None:
    channel = GuideChannel('a"b&c', (LocalText("<A> & \x00B\x1f ]]> \r"),), ("http://l/?a&b",))
    element = channel_element(channel)
    assert element == (
        '<channel id="a&quot;b&amp;c">\n'
        "<display-name>&lt;A&gt; &amp; B ]]&gt; &#13;</display-name>\n"
        '<icon src="http://l/?a&amp;b"/>\n'
        "</channel>\n"
    )


def test_a_programme_has_its_children_in_the_order_of_the_dtd() -> None:
    full = Programme(
        channel="a",
        start=EVENING,
        stop=EVENING + 3600,
        titles=(LocalText("T", "it"),),
        sub_titles=(LocalText("S"),),
        descriptions=(LocalText("D"),),
        credits=(Credit("guest", "G"), Credit("director", "R"), Credit("actor", "A", "as B")),
        date="2013",
        categories=(LocalText("C"),),
        icons=("http://i",),
        episode_numbers=(EpisodeNumber("xmltv_ns", "0.1."),),
        previously_shown=True,
        premiere=True,
        new=True,
        ratings=(Rating("MPAA", "PG"),),
        star_ratings=("3/5",),
    )
    text = programme_element(full)
    assert text.startswith(
        '<programme start="20261121193000 +0000" stop="20261121203000 +0000" channel="a">\n'
        '<title lang="it">T</title>\n'
    )
    assert [child.tag for child in etree.fromstring(text)] == [
        *("title", "sub-title", "desc", "credits", "date", "category", "icon", "episode-num"),
        *("previously-shown", "premiere", "new", "rating", "star-rating"),
    ]
    validate(b"".join(write_xmltv([], [full])))


def test_a_guide_without_anything_is_a_valid_document() -> None:
    document = b"".join(write_xmltv([], []))
    assert document.startswith(b"<")  # Kodi looks at the first byte
    assert len(validate(document)) == 0


def test_a_channel_without_a_name_shows_its_id_and_a_programme_without_title_says_so() -> None:
    nameless = GuideChannel("a.it")
    silent = Programme("a.it", EVENING, EVENING + 60, ())
    root = validate(b"".join(write_xmltv([nameless], [silent])))
    assert root.findtext("channel/display-name") == "a.it"
    assert root.findtext("programme/title") == NO_TITLE


def test_a_channel_id_is_written_once() -> None:
    twice = [GuideChannel("a", (LocalText("one"),)), GuideChannel("a", (LocalText("two"),))]
    root = validate(b"".join(write_xmltv(twice, [])))
    assert [name.text for name in root.iter("display-name")] == ["one"]


def test_programmes_are_asked_for_as_the_pieces_are() -> None:
    asked = 0

    def many() -> Iterator[Programme]:
        nonlocal asked
        for number in range(10_000):
            asked += 1
            yield Programme("a", EVENING + number * 60, EVENING + number * 60 + 60, TITLES)

    pieces = write_xmltv([], many())
    first = next(pieces)
    assert 0 < asked < 1000
    rest = list(pieces)
    assert asked == 10_000
    assert all(len(piece) < 80_000 for piece in (first, *rest))
    assert len(validate(first + b"".join(rest))) == 10_000
