"""Charsets that are what they say or not, and markup that a strict parser refuses."""

# ruff: noqa: RUF001 - letters of other scripts are what these tests are about

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from rawstream.xml_text import (
    SAMPLE_BYTES,
    TextDecoder,
    charset,
    is_html,
    mended_markup,
    only_elements,
    sections,
    unescaped_again,
    without_html,
    without_invalid_characters,
)

ITALIAN = "La città più bella è così, perché però lunedì l'università. "
POLISH = "Wiadomości są też dostępne później, gdyż źródła są różne, żółć i gęś. "
CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy, zprávy a počasí večer. "
TURKISH = "Akşam haberleri ve yarın için hava durumu, güzel bir Türk filmi, değişik ve bağımsız. "
RUSSIAN = "Новости дня и погода на завтра, художественный фильм о войне и мире. "
GREEK = "Ειδήσεις και καιρός σήμερα το βράδυ με τους καλύτερους. "
CHINESE = "晚间新闻和明天的天气预报,关于战争与和平的故事片。"
JAPANESE = "夜のニュースと明日の天気、戦争と平和についての映画です。"


def decode(data: bytes, *, size: int = 0, given: str = "") -> tuple[str, TextDecoder]:
    decoder = TextDecoder(given)
    step = size or len(data) or 1
    text = "".join(decoder.feed(data[at : at + step]) for at in range(0, len(data), step))
    return text + decoder.finish(), decoder


def document(text: str, declared: str | None = "utf-8") -> str:
    encoding = f' encoding="{declared}"' if declared else ""
    lines = "".join(f"<desc>{text}</desc>\n" for _ in range(8))
    return f'<?xml version="1.0"{encoding}?>\n<tv>{lines}</tv>\n'


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        (ITALIAN, "utf-8"),
        (ITALIAN, "cp1252"),
        (POLISH, "iso8859-2"),
        (POLISH, "cp1250"),
        (TURKISH, "iso8859-9"),
        (RUSSIAN, "koi8-r"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "iso8859-5"),
        (CHINESE, "gb2312"),
        (CHINESE, "gb18030"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc-jp"),
        (JAPANESE, "iso-2022-jp"),
    ],
)
def test_a_charset_that_is_declared_and_true_is_read(text: str, codec: str) -> None:
    whole = document(text, codec)
    for size in (0, 1, 7):
        got, decoder = decode(whole.encode(codec), size=size)
        assert got == whole
        assert not decoder.mended


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("declared", ["utf-8", "utf-16", "iso-8859-1", None])
def test_a_mark_or_zero_bytes_beat_the_declaration(codec: str, declared: str | None) -> None:
    whole = document(ITALIAN + RUSSIAN, declared)
    for size in (0, 1, 3):
        assert decode(whole.encode(codec), size=size)[0] == whole


@pytest.mark.parametrize("declared", ["iso-8859-1", "windows-1251", "us-ascii", "gbk", "nonsense"])
def test_utf8_is_utf8_whatever_is_declared(declared: str) -> None:
    whole = document(ITALIAN + RUSSIAN + CHINESE, declared)
    got, decoder = decode(whole.encode())
    assert got == whole
    assert decoder.used == "utf-8"
    assert decoder.mended == (declared != "us-ascii")  # ASCII says less, and nothing wrong


@pytest.mark.parametrize("declared", ["utf-8", None, "x-unknown", "base64", "unicode_escape"])
@pytest.mark.parametrize(
    ("text", "codec"),
    [
        (ITALIAN, "cp1252"),
        ("España: ¿qué pasó, niño? ", "cp1252"),
        ("Größere Bühnen für Künstler, Straße. ", "cp1252"),
        ("Le cœur a ses raisons, être à Noël. ", "cp1252"),
        (POLISH, "cp1250"),
        (CZECH, "cp1250"),
        (TURKISH, "cp1254"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (GREEK, "cp1253"),
        (CHINESE, "gb18030"),
        (CHINESE.replace(",", "") + "戰爭與和平", "big5"),
        (JAPANESE, "shift_jis"),
    ],
)
def test_what_is_not_the_utf8_it_claims_to_be_is_guessed(
    text: str, codec: str, declared: str | None
) -> None:
    whole = document(text, declared)
    data = whole.encode(codec, "ignore")
    for size in (0, 1):
        got, decoder = decode(data, size=size)
        assert got == data.decode(codec)
        assert decoder.mended


def test_strays_in_utf8_are_read_as_western_or_as_declared() -> None:
    good = (ITALIAN + RUSSIAN).encode()
    got, decoder = decode(good + "è".encode("cp1252") + b" " + good)
    assert got == f"{ITALIAN}{RUSSIAN}è {ITALIAN}{RUSSIAN}"
    assert (decoder.used, decoder.mended) == ("utf-8", True)
    head = b'<?xml version="1.0" encoding="windows-1251"?>'
    got, _ = decode(head + good + "ж".encode("cp1251"))
    assert got.endswith("ж")


def test_strays_behind_the_sample_are_mended_too() -> None:
    good = ITALIAN.encode() * (SAMPLE_BYTES // len(ITALIAN) + 1)
    for size in (0, 1):
        got, decoder = decode(good + b"caff\xe8" + good, size=size)
        assert got == f"{good.decode()}caffè{good.decode()}"
        assert decoder.mended


def test_a_document_of_plain_ascii_comes_out_at_once() -> None:
    decoder = TextDecoder()
    head = "<?xml version='1.0' encoding='koi8-r'?>"
    assert decoder.feed(head.encode()) == head
    assert decoder.feed(b"<tv>") == "<tv>"
    assert (decoder.used, decoder.declared) == ("us-ascii", "koi8-r")


def test_the_callers_word_is_final() -> None:
    got, decoder = decode(RUSSIAN.encode("koi8-r"), given="KOI8-R")
    assert (got, decoder.used) == (RUSSIAN, "koi8-r")


@pytest.mark.parametrize("name", ["", "x", "base64", "idna", "utf-7", "unicode_escape", "a b\0"])
def test_what_is_no_charset_of_documents_is_none(name: str) -> None:
    assert charset(name) == ""


@given(st.binary(max_size=300), st.integers(1, 20), st.sampled_from(["utf-8", "big5", "cp1251"]))
def test_any_bytes_decode_and_the_same_however_they_are_cut(
    data: bytes, size: int, declared: str
) -> None:
    data = f'<?xml version="1.0" encoding="{declared}"?>'.encode() + data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(data, size=size)[0] == decode(data)[0]


# -- markup --


@pytest.mark.parametrize(
    ("ugly", "text"),
    [
        ("Tom & Jerry", "Tom & Jerry"),
        ("AT&T;", "AT&T;"),
        ("caf&eacute; &nbsp;&hearts;", "café \xa0♥"),
        ("&lt;b&gt; &amp; &#65;&#x42;", "<b> & AB"),
        ("&ltd; &unknown;", "&ltd; &unknown;"),
        ("a&#0;b&#x1F;c&#xFFFF;d&#99999999;e", "abcde"),
        ("a\x00b\x0bc\x1fd\ufffee\ud800f", "abcdef"),
        ("1 < 2 <3 <= 4 <", "1 < 2 <3 <= 4 <"),
        ("one<br>two<BR/>three<br />four</p>", "one\ntwo\nthree\nfour\n"),
        ('<b>bold</b> <a href="x">link</a> <img src=y>', "bold link "),
        ("]]> end", "]]> end"),
        ("&amp;eacute;", "&eacute;"),
        ("</>x</ y>", "</>x</ y>"),
    ],
)
def test_text_that_is_not_xml_says_the_same_afterwards(ugly: str, text: str) -> None:
    element = etree.fromstring(f"<t>{mended_markup(ugly)}</t>")
    assert (element.text or "") == text


def test_comments_and_instructions_go_and_sections_become_text() -> None:
    ugly = "a<!-- <b> & -->b<?php echo '<c>' ?><![CDATA[<d> & &amp; <!-- -->]]>e"
    assert only_elements(ugly) == "ab&lt;d&gt; &amp; &amp;amp; &lt;!-- --&gt;e"


def test_a_section_that_does_not_end_is_text_and_hides_no_other() -> None:
    assert only_elements("a<!-- b<?x?>c<![CDATA[<]]>d") == "a<!-- bc&lt;d"
    kinds = [(section.kind, section.stop) for section in sections("<!-- <!-- <?x?>")]
    assert kinds == [("<!--", -1), ("<?", 15)]


def test_many_sections_that_do_not_end_take_no_square_of_time() -> None:
    text = "<!--<![CDATA[<?x" * 40_000  # minutes, if each looked for its end by itself
    assert only_elements(text) == text


def test_markup_that_is_right_stays_as_it_is() -> None:
    good = '<title lang="it">A &amp; B &#232; &lt;</title>\n<new/><dd:x y="&quot;"/>'
    assert mended_markup(only_elements(good)) == good


@given(st.text())
def test_any_text_between_tags_becomes_well_formed_unless_it_has_tags(text: str) -> None:
    text = text.replace("<", "< ")
    etree.fromstring(f"<t>{mended_markup(only_elements(text))}</t>".encode())


def test_a_second_layer_of_escapes_comes_off_and_bare_ampersands_stay() -> None:
    assert (
        unescaped_again("Q&amp;A &quot;x&quot; &#39;y&#39; AT&T &copy")
        == "Q&A \"x\" 'y' AT&T &copy"
    )


def test_html_of_running_text_goes_and_what_looks_like_it_stays() -> None:
    assert without_html("a<br/>b <i class='x'>c</i> 1 < 2 <3 <title>") == "a\nb c 1 < 2 <3 <title>"


def test_a_web_page_is_known_by_its_beginning() -> None:
    assert is_html("<!DOCTYPE  HTML PUBLIC>") and is_html("<HTML lang='x'>")
    assert not is_html("<!DOCTYPE tv SYSTEM 'xmltv.dtd'>") and not is_html("<htmlish>")


def test_characters_that_xml_forbids_are_removed() -> None:
    assert without_invalid_characters("a\x00\x08\tb\n\x7f\x85\ufffe😀") == "a\tb\n\x7f\x85😀"
