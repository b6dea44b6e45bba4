"""One line with attributes: the form everybody means, the others, and their cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawstream.extinf import (
    ATTRIBUTES_LIMIT,
    NAME_LIMIT,
    VALUE_LIMIT,
    cleaned,
    read_extinf,
    split_attributes,
    writable,
    written,
    written_attributes,
)

KEYS = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
# Only the proper form can carry a backslash, or what looks like another attribute's beginning.
VALUES = st.text(st.characters(codec="utf-8", exclude_characters='"\\'), max_size=20).filter(
    lambda text: not text.rstrip().endswith("=")
)


@pytest.mark.parametrize(
    ("line", "attributes", "name"),
    [
        # commas
        ('-1 group-title="A, B",One, the first', {"group-title": "A, B"}, "One, the first"),
        ('-1 a="1", b="2",N', {"a": "1", "b": "2"}, "N"),
        ('-1,a="1" b="2",N', {"a": "1", "b": "2"}, "N"),
        ('-1 a="1" , N', {"a": "1"}, "N"),
        ('-1 a="1",', {"a": "1"}, ""),
        ("-1,,N", {}, ",N"),
        # quotes inside values
        ('-1 a="The "Best" TV" b="2",N', {"a": 'The "Best" TV', "b": "2"}, "N"),
        ('-1 a="A "B", C" tvg-id="d",N', {"a": 'A "B", C', "tvg-id": "d"}, "N"),
        ('-1 a="A, "B" tvg-id="d",N', {"a": 'A, "B', "tvg-id": "d"}, "N"),
        ('-1 a="A "B", C",N', {"a": 'A "B", C'}, "N"),
        ('-1 a="5" TV",The "Best", N', {"a": '5" TV'}, 'The "Best", N'),
        ('-1 a="1",Say "hi"', {"a": "1"}, 'Say "hi"'),
        (r'-1 a="say \"hi\"" b="2",N', {"a": 'say "hi"', "b": "2"}, "N"),
        ('-1 a="5" wide,N', {"a": "5"}, "N"),
        ('-1 a="5"Name', {"a": "5"}, "Name"),
        ('-1 a="x="y"" b="2",N', {"a": 'x="y"', "b": "2"}, "N"),
        # quotes that never close
        ('-1 a="1 b="2",N', {"a": "1", "b": "2"}, "N"),
        ('-1 a="1,N', {"a": "1"}, "N"),
        ('-1 a="1', {"a": "1"}, ""),
        ('-1 a=",N', {"a": ""}, "N"),
        # other quotes, none
        ("-1 a='it's' b='2',N", {"a": "it's", "b": "2"}, "N"),
        ("-1 a=1 b=two words c=3,N", {"a": "1", "b": "two words", "c": "3"}, "N"),
        ("-1 a= b=2,N", {"a": "", "b": "2"}, "N"),
        ('-1 a = "1"  B="2",N', {"a": "1", "b": "2"}, "N"),
        ('-1a="1"b="2"c="3",N', {"a": "1", "b": "2", "c": "3"}, "N"),
        ('-1 a="1";b="2";,N', {"a": "1", "b": "2"}, "N"),
        # words that are no attributes
        ('-1 live a="1",N', {"a": "1"}, "N"),
        ('-1 a="1" live,N', {"a": "1"}, "N"),
        ('-1 a="1" Name here', {"a": "1"}, "Name here"),
        ("-1 Name", {}, "Name"),
        ("", {}, ""),
        # the first that says something
        ('-1 a="" a="1" a="2",N', {"a": "1"}, "N"),
        ('-1,"N, M"', {}, "N, M"),
        ("-1,&amp;lt; &bogus; &#x41;&#66; &#1114112; AT&T", {}, "&lt; &bogus; AB   AT&T"),
    ],
)  # fmt: skip
def test_a_line_is_read_in_its_longest_sane_way(
    line: str, attributes: dict[str, str], name: str
) -> None:
    extinf = read_extinf(7, f"#EXTINF:{line}")
    assert (extinf.attributes, extinf.name) == (attributes, name)
    assert (extinf.line, extinf.left_out) == (7, 0)


@pytest.mark.parametrize(
    ("begin", "duration"),
    [(":-1", "-1"), (": -1", "-1"), (":0", "0"), (":9.5", "9.5"), (":", ""), (";5", "5"), ("", "")],
)
def test_the_duration_is_told_as_written(begin: str, duration: str) -> None:
    extinf = read_extinf(1, f'#ExtInf{begin} a="1",N')
    assert (extinf.duration, extinf.attributes, extinf.name) == (duration, {"a": "1"}, "N")


@given(st.dictionaries(KEYS, VALUES, max_size=5), VALUES)
def test_the_two_readings_of_a_proper_line_agree(attributes: dict[str, str], name: str) -> None:
    inside = "".join(f' {key}="{value}"' for key, value in attributes.items())
    proper = read_extinf(1, f"#EXTINF:-1{inside},{name}")
    assert proper.attributes == {key: cleaned(value) for key, value in attributes.items()}
    assert proper.name == cleaned(name)
    assert read_extinf(1, f"#EXTINF: -1{inside},{name}") == proper


@given(st.text(max_size=40), st.dictionaries(KEYS, st.text(max_size=20), max_size=4))
def test_what_can_be_written_is_read_back(name: str, attributes: dict[str, str]) -> None:
    line = f"#EXTINF:-1{written_attributes(attributes)},{written(writable(name))}"
    extinf = read_extinf(1, line)
    assert extinf.name == writable(name)
    assert extinf.attributes == {key: writable(value) for key, value in attributes.items()}


@given(st.text())
def test_what_was_made_writable_stays_as_it_is(text: str) -> None:
    assert writable(writable(text)) == writable(text) == cleaned(written(writable(text)))


def test_what_is_too_long_is_left_out_and_counted() -> None:
    many = " ".join(f'k{i}="v"' for i in range(ATTRIBUTES_LIMIT + 3))
    extinf = read_extinf(1, f"#EXTINF:-1 {many},{'n' * 300}")
    assert (len(extinf.attributes), extinf.left_out) == (ATTRIBUTES_LIMIT, 3)
    assert len(extinf.name) == NAME_LIMIT
    extinf = read_extinf(1, f'#EXTINF:-1 a="{"v" * (VALUE_LIMIT + 1)}" {"k" * 300}="v" b="2",N')
    assert (extinf.attributes, extinf.left_out, extinf.name) == ({"b": "2"}, 2, "N")


@pytest.mark.parametrize("begin", [":", ':-1 a="', ":-1 a=", ":-1,"])
def test_a_line_made_to_hurt_is_read_in_its_length(begin: str) -> None:
    # work that grew with the square of this would outlast the suite's timeout
    for piece in (
        *('"', " ", ",", "a=", 'a="', '",', 'a="b" ', 'a="b"x;', "a ", " a", '" a="', "='", '\\"'),
        *(
            "tvg-",
            '",tvg-id="',
            ";",
            ": ",
            '"a',
            "a",
            "&",
            "&amp",
            "1",
            "1.",
            "a.b",
            " = ",
            "' a='",
        ),
    ):
        read_extinf(1, f"#EXTINF{begin}{piece * (600_000 // len(piece))}")


def test_a_header_is_split_by_the_same_rules() -> None:
    pairs, rest = split_attributes(
        """ url-tvg='http://g/1,http://g/2' cache=500 x-tvg-url="http://g/3" more"""
    )
    assert pairs == [
        ("url-tvg", "http://g/1,http://g/2"),
        ("cache", "500"),
        ("x-tvg-url", "http://g/3"),
    ]
    assert rest == "more"
