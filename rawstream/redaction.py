"""Secrets taken out of text that people read: log lines, the log's tail, errors on a page.

Owns: what a secret looks like in a text (credentials in URLs and in the paths of panels, user
names, passwords and tokens by the name before them, Authorization, cookies, one-time links), and
the filter that every handler of the log has. Must not know: where a text comes from, who reads it.

It is the second line: whoever writes a log line leaves secrets out. Rather too much is taken out
than too little. Where something is left out there stands `***`; what was redacted stays as it is.
"""

from __future__ import annotations

import base64
import binascii
import logging
import re
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Final

LEFT_OUT: Final = "***"

_END: Final = r"\s\"'<>"  # what ends a URL in a text
_PIECE: Final = rf"[^/?#{_END}]+"
_NAMES: Final = (
    r"(?:user(?:name)?|passwords?|passwd|passphrase|pwd|tokens?|secrets?|api[-_]?key|access[-_]?key|private[-_]?key"
    r"|passkey|credentials?|signature|csrf|(?<![a-z])(?:pass|pw|auth|sid|session(?:[-_]?id)?))"
)
_QUOTED: Final = r"\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?"

_NAMED: Final = re.compile(
    rf"(?i)({_NAMES}[\"']?\s{{0,4}}(?:[=:]|%3[ad])\s{{0,4}})({_QUOTED}|[^&{_END}]+)"
)
# /setup#SECRET, and whatever else is a fragment that long
_FRAGMENT: Final = re.compile(r"#[\w~-]{20,}")
_SECRET_NAME: Final = re.compile(rf"(?i){_NAMES}(?![a-z])|authorization|cookie")
# to the end of the line: Digest and cookies have many parts
_HEADER: Final = re.compile(
    rf"(?i)((?:authorization|cookie2?)[\"']?\s{{0,4}}[:=]\s{{0,4}})({_QUOTED}|[^\r\n]+)"
)
_BEARER: Final = re.compile(r"(?i)\b(bearer\s{1,4})[\w.~+/=-]+")
_BASIC: Final = re.compile(r"(?i)\b(basic\s{1,4})([\w+/-]{4,}={0,2})")
# up to the last @, which a password may hold itself (RFC 3986 §3.2.1 forbids it, lists don't)
_USER: Final = re.compile(rf"//[^/?#{_END}]*@")
# the Xtream reference's paths with a login in them (§2, §6), of our own and of other panels
_PANEL: Final = re.compile(rf"(?i)/(live|movie|series|timeshift)/(?:{_PIECE}/)+({_PIECE})")
_LOGIN_PATH: Final = re.compile(rf"(?i)/(playlist|epg|player_api)/[^?#{_END}]+")
_HLS_PATH: Final = re.compile(rf"(?i)/(hlsr?|play)/[^?#{_END}]+")
# the same without a word before it: /USER/PASSWORD/123.ts, whatever stands before in a URL
_BARE_URL: Final = re.compile(rf"(://{_PIECE})/(?:{_PIECE}/){{2,}}(\d+(?:\.\w+)?)(?![\w/.-])")
_BARE_PATH: Final = re.compile(
    rf"(?<![\w/.:~*-])/{_PIECE}/(?!\*\*\*/){_PIECE}/(\d+(?:\.\w+)?)(?![\w/.-])"
)


def redacted(text: str) -> str:
    """The text without what looks like a secret. Doing it twice changes nothing more."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def redacted_value(value: Any, name: str = "") -> Any:
    """Anything that JSON can hold, every text in it redacted; all of it where its name says that it
    is a secret.
    """
    if name and _SECRET_NAME.search(name):
        return LEFT_OUT
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {redacted(str(key)): redacted_value(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redacted_value(inner) for inner in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return redacted(str(value))


def _quoted_like(found: re.Match[str]) -> str:
    """Name and mark, in the quotes that there were."""
    quote = found[2][0] if found[2][0] in "\"'" else ""
    return f"{found[1]}{quote}{LEFT_OUT}{quote}"


def _basic(found: re.Match[str]) -> str:
    """The words of a sentence are left alone: a login is base64 of NAME:PASSWORD (RFC 7617 §2)."""
    try:
        plain = base64.b64decode(found[2].rstrip("=") + "==", altchars=b"-_")
    except (ValueError, binascii.Error):
        return found[0]
    return found[1] + LEFT_OUT if b":" in plain else found[0]


_RULES: Final[tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]] = (
    (_HEADER, _quoted_like),
    (_BEARER, rf"\1{LEFT_OUT}"),
    (_BASIC, _basic),
    (_USER, f"//{LEFT_OUT}@"),
    (_FRAGMENT, f"#{LEFT_OUT}"),
    (_HLS_PATH, rf"/\1/{LEFT_OUT}"),
    (_LOGIN_PATH, rf"/\1/{LEFT_OUT}"),
    (_PANEL, rf"/\1/{LEFT_OUT}/\2"),
    (_BARE_URL, rf"\1/{LEFT_OUT}/\2"),
    (_BARE_PATH, rf"/{LEFT_OUT}/\1"),
    (_NAMED, _quoted_like),
)


class RedactingFilter(logging.Filter):
    """For a handler: each record's message and traceback, redacted, before it is written.

    It changes the record itself, so a handler that comes later gets it redacted as well.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except Exception:  # a mistake in a format is not to stop who logs; it is still to be seen
            message = f"{record.msg!r} with {record.args!r}"
        record.msg, record.args = redacted(message), None
        if record.exc_info and record.exc_text is None:
            kind, error, trace = record.exc_info
            record.exc_text = "".join(traceback.format_exception(kind, error, trace)).rstrip("\n")
        if record.exc_text:
            record.exc_text = redacted(record.exc_text)
        if record.stack_info:
            record.stack_info = redacted(record.stack_info)
        return True
