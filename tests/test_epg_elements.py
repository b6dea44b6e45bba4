"""Elements out of bytes, by themselves: where documents are cut, and what is made of damage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawstream.epg_elements import ElementReader, Findings, ReadLimits
from rawstream.errors import FormatError

WHOLE = '<programme channel="a"><title>{}</title></programme>'


def elements(
    text: str, *, size: int = 0, batch_characters: int = 1
) -> tuple[list[tuple[str, str]], ElementReader, Findings]:
    """(tag, text) of what is read."""
    findings = Findings(100)
    reader = ElementReader(findings, ReadLimits(batch_characters=batch_characters))
    data, found = text.encode("utf-8", "surrogatepass"), []
    step = size or len(data) or 1
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
        while (some := reader.read()) is not None:
            found += [(str(one.tag), "".join(map(str, one.itertext()))) for one in some]
    found += [(str(one.tag), "".join(map(str, one.itertext()))) for one in reader.finish()]
    return found, reader, findings


def titles(text: str, **how: int) -> list[str]:
    return [title for _, title in elements(text, **how)[0]]


@given(st.lists(st.text("abc àж&<>;'\"", max_size=8), max_size=6), st.integers(1, 40))
def test_what_is_read_depends_neither_on_pieces_nor_on_batches(texts: list[str], size: int) -> None:
    text = f"<tv>{''.join(WHOLE.format(text) for text in texts)}</tv>"
    expected = elements(text, batch_characters=100_000)[0]
    assert elements(text, size=size)[0] == expected
    assert elements(text, size=size, batch_characters=30)[0] == expected


@given(st.text("<>/!-[]CDAT&;\"'= abprogmechnlitv?", max_size=60), st.integers(1, 9))
def test_no_text_upsets_the_reader_and_what_follows_is_found(text: str, size: int) -> None:
    document = f"<tv>{WHOLE.format('before')}{text}{WHOLE.format('after')}</tv>"
    found, _, findings = elements(document, size=size)
    assert found[0] == ("programme", "before")
    # a section or an element that the text begins may swallow what follows, but never silently
    swallowed = ("programme", "after") not in found
    assert (
        not swallowed or findings.counts or any(mark in text for mark in ("<!", "<?", "<p", "<c"))
    )


@given(st.binary(max_size=200), st.integers(1, 50))
def test_any_bytes_are_read_or_refused(data: bytes, size: int) -> None:
    reader = ElementReader(Findings(10), ReadLimits())
    try:
        for at in range(0, len(data), size):
            reader.feed(data[at : at + size])
            while (some := reader.read()) is not None:
                list(some)
        list(reader.finish())
    except FormatError as error:
        assert error.reason


def test_an_end_tag_in_a_comment_section_or_instruction_ends_nothing() -> None:
    for hidden in ("<!-- {} -->", "<?x {} ?>", "<![CDATA[{}]]>"):
        inner = hidden.format("</programme>")
        text = f"<tv>{WHOLE.format(f'a{inner}b')}{WHOLE.format('c')}</tv>"
        kept = "</programme>" if "CDATA" in hidden else ""
        assert titles(text) == [f"a{kept}b", "c"]


def test_a_comment_hides_elements_though_its_end_comes_in_a_later_piece() -> None:
    text = f"<tv>{WHOLE.format('a')}<!-- <?x y?> {WHOLE.format('b')} -->{WHOLE.format('c')}</tv>"
    for size in (0, 1, 30):
        assert titles(text, size=size) == ["a", "c"]


def test_a_comment_that_never_ends_hides_nothing() -> None:
    text = f"<tv>{WHOLE.format('a')}<!-- {WHOLE.format('b')}{WHOLE.format('c')}</tv>"
    found, reader, findings = elements(text)
    assert [title for _, title in found] == ["a", "b", "c"]
    assert reader.complete
    assert findings.counts == {"markup": 1}


def test_many_ends_in_comments_take_no_square_of_time() -> None:
    hidden = "<!--</programme>-->" * 30_000  # minutes, if each were looked at from the beginning
    assert titles(f"<tv>{hidden}{WHOLE.format('a')}</tv>", batch_characters=50_000) == ["a"]


def test_the_root_is_not_looked_for_in_comments() -> None:
    head = "<?xml version='1.0'?><!-- <tv> --><!DOCTYPE tv [<!ELEMENT tv (x)>]><!-- <tv"
    for size in (0, 1):
        assert titles(f"{head} --><TV a='b'>{WHOLE.format('a')}</TV>", size=size) == ["a"]


def test_an_element_within_another_means_that_one_was_not_closed() -> None:
    text = '<tv><programme channel="a"><title>a</title>' + WHOLE.format("b") + "</programme></tv>"
    found, _, findings = elements(text)
    assert [title for _, title in found] == ["a", "b"]
    assert findings.counts["markup"] == 1


def test_elements_in_a_wrapper_are_found() -> None:
    text = f'<tv><channels><channel id="x"/></channels><p>{WHOLE.format("a")}</p></tv>'
    assert [tag for tag, _ in elements(text)[0]] == ["channel", "programme"]


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("<tv></tv>", True),
        ("<tv/>", True),
        ("<tv></TV >\n\n", True),
        ("<tv>", False),
        (f"<tv>{WHOLE.format('a')}", False),
        ("<tv><!-- </tv> -->", False),
        ("<tv></tv><!-- made by", True),
    ],
)
def test_a_document_is_complete_when_its_end_was_seen(text: str, complete: bool) -> None:
    _, reader, findings = elements(text)
    assert reader.complete == complete
    assert ("truncated" in findings.counts) != complete


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("\ufeff \n", "empty"),
        ("<?xml version='1.0'?>", "ends before <tv>"),
        ("<rss><channel>", "<rss>, not <tv>"),
        ("<HTML><body>", "HTML"),
        ("<!doctype html><tv>", "HTML"),
        ("#EXTM3U", "playlist"),
        ("[]", "JSON"),
        ("404 page not found", "not XML"),
    ],
)
def test_what_is_no_guide_is_refused_by_its_name(text: str, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        elements(text)


def test_findings_are_all_counted_and_the_first_kept() -> None:
    findings = Findings(2)
    for number in range(3):
        findings.warn("time", f"time {number}")
        findings.note("size", "too much", "as here")
    findings.leave_out("channel", "no id")
    assert findings.warnings == ["time 0", "too much, as here"]
    assert findings.counts == {"time": 3, "size": 1, "channel": 1}
    assert findings.left_out == 1
