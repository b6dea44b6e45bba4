"""What an AceStream engine says, as values: starts, stats, look-ups, refusals.

Owns: the engine's JSON. Must not know: how it is asked (`engine_client`). Section signs are those
of the engine reference.

Engines write strings for numbers, objects for strings, and leave anything out (§8.2): what can't be
read is None. Of each URL only the path and the query are kept (§2.1, §8.2 no. 16).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import orjson

UNKNOWN_SESSION = "unknown playback session id"  # §3: it is gone, whoever ended it
NOT_LOADED = "failed to load content"  # §1.4: also said of an infohash given as an id
FAILED_STATUSES = frozenset({"err", "error"})  # §3

_WORDS_LIMIT = 300
_NAME_LIMIT = 80
_INTEGER_LIMIT = 1 << 53  # above it a number is a fault, and JSON has no way to say it safely
_URL_LIMIT = 4096

_HEX40 = re.compile(r"[0-9a-fA-F]{40}")
_TAG = re.compile(r"<[^<>]*>")
_USER = re.compile(r"//[^/\s@]*@")
_PATH = re.compile(r"(\w://[^/\s\"'<>?]+)/[^\s\"'<>]+")
_QUERY = re.compile(r"\?[^\s\"'<>]*=[^\s\"'<>]*")
_UNSENDABLE = re.compile(r"[^\x21-\x7e]|\\")


class Known(NamedTuple):
    """A content as the engine knows it: its canonical infohash, and the name in its transport file,
    which anybody may have written.
    """

    infohash: str
    name: str


@dataclass(frozen=True, slots=True)
class Granted:
    """A start's answer (§1.3): paths on the engine, never addresses. `infohash`: lower case."""

    playback_path: str | None
    stat_path: str | None
    command_path: str | None
    infohash: str | None
    playback_session_id: str | None
    is_live: bool  # also where the engine does not know yet (-1)
    is_encrypted: bool
    may_be_film: bool = False  # it is one, or the engine does not know yet


@dataclass(frozen=True, slots=True)
class Stat:
    """A stat answer (§3). Speeds in KB/s, `downloaded` in bytes, `progress` in percent, `live_last`
    in unix seconds; None where the engine did not say.
    """

    status: str | None = None
    peers: int | None = None
    speed_down: int | None = None
    speed_up: int | None = None
    downloaded: int | None = None
    progress: int | None = None
    live_last: int | None = None
    playback_session_id: str | None = None
    error_message: str | None = None


def known_of(answer: dict[str, Any]) -> Known | None:
    """A look-up's answer (§5.2). None: the engine does not know the content."""
    result = answer.get("result")
    infohash = _hex40(result.get("infohash")) if isinstance(result, dict) else None
    if not isinstance(result, dict) or infohash is None:
        return None
    name = result.get("name")
    return Known(infohash, without_secrets(name)[:_NAME_LIMIT] if isinstance(name, str) else "")


def granted_of(answer: dict[str, Any]) -> Granted | None:
    """A start's answer. None: there is no session in it."""
    response = _response(answer)
    if response is None:
        return None
    return Granted(
        playback_path=path_of(response.get("playback_url")),
        stat_path=path_of(response.get("stat_url")),
        command_path=path_of(response.get("command_url")),
        infohash=_hex40(response.get("infohash")),
        playback_session_id=_text(response.get("playback_session_id")),
        is_live=_integer(response.get("is_live")) != 0,
        is_encrypted=_integer(response.get("is_encrypted")) == 1,
        may_be_film=_integer(response.get("is_live")) != 1,
    )


def stat_of(answer: dict[str, Any]) -> Stat:
    """A stat answer, which may say nothing."""
    response = _response(answer)
    if response is None:
        return Stat()
    livepos = response.get("livepos")
    return Stat(
        status=_text(response.get("status")),
        peers=_integer(response.get("peers")),
        speed_down=_integer(response.get("speed_down")),
        speed_up=_integer(response.get("speed_up")),
        downloaded=_integer(response.get("downloaded")),
        progress=_integer(response.get("progress")),
        live_last=_integer(livepos.get("live_last")) if isinstance(livepos, dict) else None,
        playback_session_id=_text(response.get("playback_session_id")),
        error_message=words_of(response.get("error_message")),
    )


def json_object(text: bytes | str) -> dict[str, Any] | None:
    """None for what is no JSON object."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        # Python's own dumps, which engines use, writes what orjson refuses: NaN, lone surrogates
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        if not text.lstrip().startswith("{"):
            return None
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def _response(answer: dict[str, Any]) -> dict[str, Any] | None:
    """The `response` object; some builds write it as a string that holds it."""
    response = answer.get("response")
    if isinstance(response, str):
        return json_object(response)
    return response if isinstance(response, dict) else None


def words_of(error: object) -> str | None:
    """The engine's words of a refusal: `error` is a string or an object with `message`; None when
    there is none.
    """
    if not error:
        return None
    if isinstance(error, dict):
        error = error.get("message") or "refused without a reason"
    return without_secrets(str(error)) or "refused without a reason"


def text_words(body: bytes) -> str:
    """The words of a body that is not JSON: a text, or a page without its tags."""
    return without_secrets(_TAG.sub(" ", body[:2000].decode("utf-8", "replace")))


def without_secrets(text: str) -> str:
    """One printable line of at most 300 characters. Engines quote what they were asked for, and
    users, paths and queries of URLs may be secrets.
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text[:4000]).split())
    return _QUERY.sub("?…", _PATH.sub(r"\1/…", _USER.sub("//", line)))[:_WORDS_LIMIT]


def _integer(value: object) -> int | None:
    if not isinstance(value, (int, float, str)):
        return None
    try:
        number = int(value) if isinstance(value, int) else int(float(value))
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < _INTEGER_LIMIT else None


def _text(value: object) -> str | None:
    return without_secrets(value)[:80] if isinstance(value, str) else None


def _hex40(value: object) -> str | None:
    return value.lower() if isinstance(value, str) and _HEX40.fullmatch(value) else None


def path_of(url: object, base: str = "") -> str | None:
    """Path and query of a URL out of an answer, all that is kept of it.

    None if it is no http URL, or holds what may not stand in a request line. `base`: what a
    relative reference starts from; without one the path must be absolute.
    """
    if not isinstance(url, str) or len(url) > _URL_LIMIT or _UNSENDABLE.search(url):
        return None
    try:
        parts = urlsplit(urljoin(base, url))
    except ValueError:
        return None
    if parts.scheme not in ("", "http", "https") or not parts.path.startswith("/"):
        return None
    return parts.path + (f"?{parts.query}" if parts.query else "")
