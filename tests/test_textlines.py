"""Lines out of bytes: packings, charsets, line ends, and how long a line may be."""

from __future__ import annotations

import gzip
import itertools
import lzma

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rawstream.errors import FormatError
from rawstream.textlines import Line, TextLines


def read(pieces: list[bytes], **settings: int | str) -> list[Line]:
    lines = TextLines(**settings)  # type: ignore[arg-type]
    found = [line for piece in pieces for line in lines.feed(piece)]
    return [*found, *lines.finish()]


def texts(data: bytes, **settings: int | str) -> list[str]:
    return [line.text for line in read([data], **settings)]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a", ["a"]),
        (b"a\nb\r\nc\rd", ["a", "b", "c", "d"]),
        (b"\n\r\n\r", ["", "", ""]),
        (b"a\r\r\nb\n", ["a", "", "b"]),
        (b" \ta\t \n", ["a"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb", ["a", "b"]),
        (b"\0a\0\0b\n\0\n", ["ab", ""]),
        ("a\x0b\x0c\x1c\x85\u2028b".encode(), ["a\x0b\x0c\x1c\x85\u2028b"]),
    ],
)
def test_lines_end_where_any_system_ends_them(data: bytes, lines: list[str]) -> None:
    assert texts(data) == lines
    assert [line.text for line in read([data[i : i + 1] for i in range(len(data))])] == lines


@given(
    st.lists(
        st.sampled_from([b"a", b"\r", b"\n", b"bcd", b"\0", b"\xe9", b"\xc3\xa9"]), max_size=30
    ),
    st.data(),
)
@settings(deadline=None)
def test_lines_are_the_same_however_the_bytes_are_split(
    parts: list[bytes], data: st.DataObject
) -> None:
    raw = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    pieces = [raw[a:b] for a, b in itertools.pairwise([0, *cuts, len(raw)])]
    assert read(pieces, line_limit_bytes=5) == read([raw], line_limit_bytes=5)


def test_a_line_tells_its_number_and_where_it_begins() -> None:
    assert read([b"ab\r\n", b"\r", b"\ncd\ne"]) == [
        Line(1, 0, "ab"),
        Line(2, 4, ""),
        Line(3, 6, "cd"),
        Line(4, 9, "e"),
    ]


def test_a_line_that_is_too_long_is_told_of_once_before_it_ends() -> None:
    lines = TextLines(line_limit_bytes=300)
    assert list(lines.feed(b"a\n" + b"b" * 300)) == [Line(1, 0, "a")]
    assert list(lines.feed(b"b")) == [Line(2, 2, "b" * 256, whole=False)]
    assert list(lines.feed(b"b" * 5000)) == []
    assert list(lines.feed(b"b\r")) == []
    assert list(lines.feed(b"\nc\n")) == [Line(3, 5306, "c")]
    assert list(lines.finish()) == []


@pytest.mark.parametrize("size", [1, 2, 300, 900])
def test_a_line_of_just_the_limit_is_whole(size: int) -> None:
    raw = b"b" * 301 + b"\n" + b"c" * 300 + b"\n" + b"d" * 300
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
    assert [line.whole for line in read(pieces, line_limit_bytes=300)] == [False, True, True]


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress], ids=["gzip", "xz"])
def test_packed_text_is_unpacked_and_a_cut_one_gives_no_half_line(pack: object) -> None:
    assert callable(pack)
    raw = b"one\ntwo\n" + bytes(range(65, 91)) * 4 + b"\nlast"
    packed = pack(raw)
    assert [line.text for line in read([packed])] == raw.decode().split("\n")
    lines = TextLines()
    found = list(lines.feed(packed[:-9]))
    found += lines.finish()
    assert lines.damage
    assert [line.text for line in found] == raw.decode().split("\n")[: len(found)]
    assert "last" not in [line.text for line in found]


def test_utf_16_inside_gzip_is_read() -> None:
    assert texts(gzip.compress("\ufeffeins\r\nñ\r\n".encode("utf-16-be"))) == ["eins", "ñ"]


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_known_with_and_without_its_mark(codec: str) -> None:
    assert texts("\ufeffa\nЖ\r\nb".encode(codec)) == ["a", "Ж", "b"]
    assert texts("#a\nЖ\r\nb".encode(codec)) == ["#a", "Ж", "b"]
    assert texts("#a\nb".encode(codec) + b"\x41") == (["#a", "b\ufffd"])


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("Señal 1 €".encode("cp1252"), "Señal 1 €"),
        (b"\x81\x8d", "\x81\x8d"),
        ("größe coração".encode("latin-1"), "größe coração"),
        ("Россия".encode("cp1251"), "Россия"),
        ("ñandú ".encode() + b"\xc3", "ñandú \ufffd"),
    ],
)
def test_what_is_not_utf_8_is_guessed_line_by_line(raw: bytes, text: str) -> None:
    assert texts(raw + b"\nplain\n\xc3\xb1\n") == [text, "plain", "ñ"]


def test_a_short_word_follows_the_cyrillic_before_it_and_a_western_one_does_not() -> None:
    raw = b"\n".join(
        [*(word.encode("cp1251") for word in ("Первый", "ДЖ 3")), "España".encode("cp1252")]
    )
    assert texts(raw) == ["Первый", "ДЖ 3", "España"]


@pytest.mark.parametrize("name", ["iso-8859-7", "ISO_8859-7", "greek"])
def test_the_sender_may_name_the_charset(name: str) -> None:
    assert texts("Ελλάδα".encode("iso-8859-7") + "\nñ".encode(), charset=name) == ["Ελλάδα", "ñ"]


@pytest.mark.parametrize(
    "name",
    ["", "utf-8", "utf-16", "nonsense", "hex", "idna", "unicode_escape", "ü", "x" * 99, "a\0b"],
)
def test_a_name_that_is_no_charset_is_not_believed(name: str) -> None:
    lines = TextLines(charset=name)
    assert lines.charset == ""
    assert [line.text for line in lines.feed("España\n".encode("latin-1"))] == ["España"]


def test_the_charset_may_change_between_two_lines() -> None:
    lines = TextLines()
    found = []
    for line in lines.feed(b"a\n" + "žluť\nkůň\n".encode("iso-8859-2")):
        found.append(line.text)
        lines.charset = "iso-8859-2"
    assert found == ["a", "žluť", "kůň"]


def test_a_text_over_the_limit_is_refused() -> None:
    with pytest.raises(FormatError, match="100"):
        read([gzip.compress(bytes(1000))], text_limit_bytes=100)
