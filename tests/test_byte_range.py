"""Range, If-Range and Content-Range by RFC 9110 §13.1.5 and §14, and that nothing else passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawstream.byte_range import (
    ContentRange,
    RangeSpec,
    Span,
    Unsatisfiable,
    holds,
    parse_content_range,
    parse_range,
    span_of,
)


@pytest.mark.parametrize(
    ("value", "span"),
    [
        ("bytes=0-", (0, 100)),
        ("bytes=0-0", (0, 1)),
        ("bytes=10-19", (10, 20)),
        ("bytes=10-1000", (10, 100)),
        ("bytes=99-", (99, 100)),
        ("bytes=-1", (99, 100)),
        ("bytes=-1000", (0, 100)),
        ("Bytes = 5-9", (5, 10)),
        (" bytes=5-9 ", (5, 10)),
        ("bytes=,5-9,", (5, 10)),
        # overlapping and touching ones are one, in any order; those that are nothing are left out
        ("bytes=10-19,20-29", (10, 30)),
        ("bytes=15-29,10-19", (10, 30)),
        ("bytes=10-19,200-", (10, 20)),
        ("bytes=90-,-20", (80, 100)),
    ],
)
def test_one_part_is_answered(value: str, span: tuple[int, int]) -> None:
    assert span_of(parse_range(value), 100) == Span(*span)


@pytest.mark.parametrize(
    "value",
    [
        *("", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-1", "bytes=1-2-3", "bytes=--1"),
        *("seconds=0-1", "bytes=0-1;2-3", "bytes=1 -2", "bytes=0x1-", "bytes=+1-", "bytes=1-2,x"),
        "bytes=" + ",".join(["0-0"] * 17),
        "bytes=99999999999999999999-",
        "bytes=\u0663-\u0665",
        # apart from each other: the whole file
        "bytes=0-1,10-19",
    ],
)
def test_what_is_not_understood_is_the_whole_file(value: str) -> None:
    assert span_of(parse_range(value), 100) is None


@pytest.mark.parametrize("value", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=100-,200-300"])
def test_what_is_not_in_the_file_is_refused(value: str) -> None:
    with pytest.raises(Unsatisfiable) as caught:
        span_of(parse_range(value), 100)
    assert caught.value.length == 100


def test_nothing_of_an_empty_file_can_be_had() -> None:
    for value in ("bytes=0-", "bytes=-5"):
        with pytest.raises(Unsatisfiable):
            span_of(parse_range(value), 0)


@given(st.text(max_size=60), st.integers(0, 1 << 70))
def test_any_text_is_a_part_the_whole_or_nothing(value: str, length: int) -> None:
    for text in (value, f"bytes={value}"):
        try:
            span = span_of(parse_range(text), length)
        except Unsatisfiable:
            continue
        assert span is None or 0 <= span.begin < span.end <= length


@given(st.integers(0, 1 << 60), st.integers(0, 1 << 60), st.integers(1, 1 << 60))
def test_a_part_is_what_slicing_says(first: int, more: int, length: int) -> None:
    spec = RangeSpec(first, first + more)
    assert parse_range(str(spec)) == (spec,)
    span = spec.within(length)
    wanted = range(length)[first : first + more + 1]
    assert (span is None and not wanted) or (
        span is not None and (span.begin, span.end) == (wanted.start, wanted.stop)
    )
    suffix = RangeSpec(None, more)
    assert parse_range(str(suffix)) == (suffix,)
    found = suffix.within(length)
    assert (0 if found is None else found.size) == min(more, length)


def test_if_range_wants_the_same_strong_tag_or_the_very_date() -> None:
    date = "Thu, 26 Nov 2026 10:00:00 GMT"
    assert holds("", "", "")
    assert holds('"a"', '"a"', "")
    assert holds(date, "", date)
    for value, etag, modified in (
        ('"a"', '"b"', ""),
        ('"a"', "", date),
        ('W/"a"', 'W/"a"', ""),  # weak ones never count (§8.8.3.2)
        ('"a"', 'W/"a"', ""),
        (date, "", ""),
        (date, '"a"', "Thu, 26 Nov 2026 10:00:01 GMT"),
    ):
        assert not holds(value, etag, modified)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("bytes 0-0/1", ContentRange(Span(0, 1), 1)),
        ("bytes 10-19/100", ContentRange(Span(10, 20), 100)),
        ("BYTES 10-19/*", ContentRange(Span(10, 20), None)),
        ("bytes */100", ContentRange(None, 100)),
        ("", None),
        ("bytes 10-19", None),
        ("bytes 19-10/100", None),
        ("bytes 10-100/100", None),
        ("items 0-0/1", None),
    ],
)
def test_a_content_range_is_read_or_says_nothing(value: str, found: ContentRange | None) -> None:
    assert parse_content_range(value) == found
    if found is not None:
        assert parse_content_range(str(found)) == found
