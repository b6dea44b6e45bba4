"""The text of XML documents whose writers cared little: charsets told and mended, markup repaired.

Owns: which charset bytes are really in, and what a piece of XML must look like before a strict
parser takes it. Must not know: what the elements mean, where the bytes come from.

Clauses are those of XML 1.0 (fifth edition).
"""

from __future__ import annotations

import codecs
import html
import re
from collections.abc import Iterator
from html.entities import html5
from typing import Final, NamedTuple

from charset_normalizer import from_bytes

# -- charsets --

# Enough text to tell languages apart, little enough to be read in milliseconds.
SAMPLE_BYTES: Final = 16 * 1024
# a declaration that does not end within this is none (2.8)
_DECLARATION_BYTES: Final = 256

_DECLARED: Final = re.compile(rb"""^\s*<\?xml[^>]*?\bencoding\s*=\s*["']\s*([A-Za-z0-9._:-]+)""")
_MARKS: Final = (  # 4.3.3 and appendix F
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WIDE: Final = ((b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
# what those who write these names mean by them (WHATWG Encoding, §4.2)
_MEANT: Final = {
    "ascii": "utf-8",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "gb2312": "gb18030",
}
# codecs of Python that are no charsets of documents, and UTF-16, which would have shown itself
_NOT_CHARSETS: Final = re.compile(
    r"utf-?(7|16|32)|unicode|raw|idna|punycode|undefined|mbcs|oem|charmap|palmos"
)
_ESCAPED: Final = re.compile(r"iso2022|hz")  # charsets that write every character in 7-bit bytes
_GUESSES: Final = (
    *("cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256"),
    *("gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"),
)
# The guess takes Western texts for Eastern ones too easily, for é is the same in both. What decides
# is a byte that is a letter of Polish or Czech, and in the West a sign that no word has inside...
_EASTERN: Final = re.compile(rb"[A-Za-z\xc0-\xff][\x9a\x9d-\x9f\xb3\xb9\xba\xbe\xbf][a-z]")
_TURKISH: Final = re.compile(rb"[a-z][\xf0\xfe][a-z]")  # ... or a letter of Icelandic alone
_UTF8_SEQUENCE: Final = re.compile(  # Unicode 15.0, table 3-7
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xef][\x80-\xbf]{2}"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf4][\x80-\xbf]{3}"
)
_SURE_OF_UTF8: Final = 0.5  # the share of good sequences above which the bad ones are strays


def charset(name: str) -> str:
    """The codec that reads what is declared as `name`; '' when there is none."""
    try:
        codec = codecs.lookup(name).name
        b"<".decode(codec)  # base64 and its like are codecs too, and refuse here
    except (LookupError, UnicodeError, ValueError):
        return ""
    return "" if _NOT_CHARSETS.search(codec) else _MEANT.get(codec, codec)


def _mend_with(codec: str) -> str:
    """The name of an error handler that reads as `codec` what is not UTF-8."""
    name = f"rawstream-{codec}"

    def mend(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeDecodeError), "it is used for decoding only"
        return error.object[error.start : error.end].decode(codec, "replace"), error.end

    codecs.register_error(name, mend)
    return name


def _utf8_sequences(data: bytes) -> tuple[int, int]:
    """How many characters beyond ASCII are good UTF-8, and how many bytes beyond ASCII are not."""
    rest, good = _UTF8_SEQUENCE.subn(b" ", data)
    return good, sum(byte > 127 for byte in rest)


def _guess(sample: bytes) -> str:
    # half a character at the end would rule its charset out; '<' is in no character of any of them
    whole = sample[: sample.rfind(b"<")] if b"<" in sample else sample
    best = from_bytes(whole, cp_isolation=list(_GUESSES)).best()
    if best is None or best.encoding not in _GUESSES:
        return "cp1252"
    if best.encoding == "cp1250" and not _EASTERN.search(whole):
        return "cp1254" if _TURKISH.search(whole) else "cp1252"
    return best.encoding


class TextDecoder:
    """Bytes of an XML document in, text out, whatever the declaration says.

    UTF-8 that is valid is taken for UTF-8; else the declared charset counts; else it is guessed
    from the first `SAMPLE_BYTES` that begin with a byte above 127. The answer does not depend on
    how the bytes were cut. Decoding never fails: what can't be read becomes U+FFFD.
    """

    def __init__(self, charset_given: str = "") -> None:
        """`charset_given`: by someone who knows better than the document; '' for nobody."""
        self.declared = ""
        self.used = "us-ascii"  # until a byte says otherwise
        self.mended = False  # the declaration was wrong, or bytes in the document are

        self._given = charset_given
        self._head = b""
        self._head_read = False
        self._sample: list[bytes] = []
        self._sample_bytes = 0
        self._codec: codecs.IncrementalDecoder | None = None
        self._mending_codec: codecs.IncrementalDecoder | None = None

    def feed(self, data: bytes) -> str:
        """The text that is sure by now."""
        if self._codec is not None:
            return self._decode(data)
        if self._head_read:
            return self._undecided(data)
        self._head += data
        ended = b"?>" in self._head or len(self._head) >= _DECLARATION_BYTES
        return self._read_head() if ended else ""

    def finish(self) -> str:
        """The rest; half a character at the end becomes U+FFFD."""
        text = "" if self._head_read else self._read_head()
        if self._codec is None and self._sample:
            text += self._decide()
        return text if self._codec is None else text + self._decode(b"", final=True)

    def _read_head(self) -> str:
        head, self._head, self._head_read = self._head, b"", True
        for mark, codec in _MARKS:
            if head.startswith(mark):
                head = head[len(mark) :]
                if codec != "utf-8":
                    return self._use(codec, head)
        for mark, codec in _WIDE:
            if head.startswith(mark):
                return self._use(codec, head)
        if found := _DECLARED.match(head):
            self.declared = found[1].decode("ascii").lower()
        codec = charset(self._given or self.declared)
        if codec and (self._given or _ESCAPED.match(codec)):
            return self._use(codec, head)
        return self._undecided(head)

    def _undecided(self, data: bytes) -> str:
        """ASCII reads the same in all charsets; the first other byte begins the sample."""
        plain = ""
        if not self._sample:
            if data.isascii():
                return data.decode("ascii")
            start = next(at for at, byte in enumerate(data) if byte > 127)
            plain, data = data[:start].decode("ascii"), data[start:]
        self._sample.append(data)
        self._sample_bytes += len(data)
        return plain + (self._decide() if self._sample_bytes >= SAMPLE_BYTES else "")

    def _decide(self) -> str:
        data = b"".join(self._sample)
        self._sample.clear()
        sample = data[:SAMPLE_BYTES]
        declared = charset(self.declared) or "utf-8"
        unknown = self.declared != "" and not charset(self.declared)
        good, bad = _utf8_sequences(sample)
        if good and good >= (good + bad) * _SURE_OF_UTF8:
            self.mended = unknown or declared != "utf-8"
            return self._use("utf-8", data, strays="cp1252" if declared == "utf-8" else declared)
        self.mended = unknown or declared == "utf-8"
        return self._use(_guess(sample) if declared == "utf-8" else declared, data)

    def _use(self, codec: str, data: bytes, *, strays: str = "") -> str:
        self.used = codec
        decoder = codecs.getincrementaldecoder(codec)
        self._codec = decoder("strict")
        self._mending_codec = decoder(_mend_with(strays) if strays else "replace")
        return self._decode(data)

    def _decode(self, data: bytes, *, final: bool = False) -> str:
        assert self._codec is not None and self._mending_codec is not None, "the charset is decided"
        before = self._codec.getstate()
        try:
            return self._codec.decode(data, final)
        except UnicodeError:
            self.mended = True
            self._mending_codec.setstate(before)
            text = self._mending_codec.decode(data, final)
            self._codec.setstate(self._mending_codec.getstate())
            return text


# -- markup --

_SECTION: Final = re.compile(r"<!--|<!\[CDATA\[|<\?(?=[A-Za-z])")
_SECTION_END: Final = {"<!--": "-->", "<![CDATA[": "]]>", "<?": "?>"}
_REFERENCE: Final = re.compile(  # and any ampersand that begins none; 4.6 has the predefined ones
    r"&(?!(?:amp|lt|gt|quot|apos);)(#[0-9]{1,8};|#[xX][0-9a-fA-F]{1,6};|\w{2,32};)?"
)
_NOT_CHARACTERS: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # 2.2
_NOT_MARKUP: Final = re.compile(r"<(?![A-Za-z_/])|<(?=/(?![A-Za-z_]))")
_SECOND_REFERENCE: Final = re.compile(
    r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
)
_HTML_PAGE: Final = re.compile(r"<html[\s>]|<!doctype\s+html", re.IGNORECASE)
_HTML_BREAK: Final = re.compile(
    r"</?(?:br|p|div|li|ul|ol|tr|h[1-6])(?:\s[^<>]*)?/?>", re.IGNORECASE
)
_HTML_INLINE: Final = re.compile(
    r"</?(?:a|b|i|u|s|em|font|img|q|small|span|strong|sub|sup)(?:\s[^<>]*)?/?>", re.IGNORECASE
)


def is_html(text: str) -> bool:
    """Whether `text` begins a web page: an error page or a login form instead of a document."""
    return _HTML_PAGE.search(text) is not None


def without_invalid_characters(text: str) -> str:
    """`text` with the characters removed that no XML document may hold (2.2)."""
    return _NOT_CHARACTERS.sub("", text)


def without_html(text: str) -> str:
    """`text` with HTML's line breaks as line breaks and its other tags of running text removed."""
    if "<" not in text:
        return text
    return _HTML_INLINE.sub("", _HTML_BREAK.sub("\n", text))


def unescaped_again(text: str) -> str:
    """`text` out of a document whose writer escaped twice; ampersands that name nothing stay."""
    return (
        _SECOND_REFERENCE.sub(lambda found: html.unescape(found[0]), text) if "&" in text else text
    )


class Section(NamedTuple):
    """A comment (2.5), processing instruction (2.6) or CDATA section (2.7): the place of it whole,
    and of what is in it. One that does not end has `stop` -1.
    """

    kind: str  # '<!--', '<?' or '<![CDATA['
    start: int
    inner: int
    inner_stop: int
    stop: int


def sections(text: str) -> Iterator[Section]:
    """The sections of a piece of XML, in order; what begins in one is none.

    One that does not end is passed over behind its beginning: its author may have meant none.
    """
    at = 0
    endless: set[str] = set()  # looking for their ends again would take a square of time
    while found := _SECTION.search(text, at):
        kind, at = found[0], found.end()
        end = -1 if kind in endless else text.find(_SECTION_END[kind], at)
        if end >= 0:
            at = end + len(_SECTION_END[kind])
            yield Section(kind, found.start(), found.end(), end, at)
        elif kind not in endless:
            endless.add(kind)
            yield Section(kind, found.start(), found.end(), -1, -1)


def only_elements(text: str) -> str:
    """A piece of XML content without comments and processing instructions, CDATA as plain text."""
    pieces = []
    at = 0
    for section in sections(text):
        if section.stop >= 0:
            pieces.append(text[at : section.start])
            if section.kind == "<![CDATA[":
                pieces.append(_escaped(text[section.inner : section.inner_stop]))
            at = section.stop
    pieces.append(text[at:])
    return "".join(pieces)


def mended_markup(text: str) -> str:
    """What `only_elements` returns, as a strict parser wants it; the same if nothing is wrong.

    Removed: characters and references that XML forbids, HTML tags. Written as characters: the
    references of HTML. Escaped: what looks like markup and is none.
    """
    text = without_invalid_characters(text)
    text = _REFERENCE.sub(_mended_reference, text)
    text = without_html(text)
    return _NOT_MARKUP.sub("&lt;", text).replace("]]>", "]]&gt;")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _mended_reference(found: re.Match[str]) -> str:
    name = found[1]
    if name is None:
        return "&amp;"
    if name[0] == "#":
        number = int(name[2:-1], 16) if name[1] in "xX" else int(name[1:-1])
        valid = number < 0x110000 and not _NOT_CHARACTERS.match(chr(number))
        return f"&#{number};" if valid else ""
    # a name nobody knows was declared in a DTD that isn't read: shown as written
    return _escaped(html5[name]) if name in html5 else f"&amp;{name}"
