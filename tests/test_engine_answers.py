"""What engines say, read whatever its shape."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_engine import INFOHASH, granted, http, said

from rawstream.engine_answers import (
    Granted,
    Known,
    Stat,
    granted_of,
    json_object,
    known_of,
    path_of,
    stat_of,
    text_words,
    without_secrets,
    words_of,
)
from rawstream.http1_client import parse_url


def start(answer: bytes) -> Granted:
    """A start's answer with a session in it, as it came over the wire."""
    document = json_object(answer.split(b"\r\n\r\n", 1)[1])
    assert document is not None
    found = granted_of(document)
    assert found is not None
    return found


# -- starts --


@pytest.mark.parametrize(
    ("changes", "live", "encrypted"),
    [
        ({"is_live": -1}, True, False),
        ({"is_live": "0"}, False, False),
        ({"is_live": 0.0}, False, False),
        ({"is_live": False}, False, False),
        ({"is_live": None}, True, False),
        ({"is_live": "what"}, True, False),
        ({"is_encrypted": "1"}, True, True),
        ({"is_encrypted": True}, True, True),
        ({"is_encrypted": [1]}, True, False),
    ],
)
def test_flags_are_read_whatever_their_type(
    changes: dict[str, Any], live: bool, encrypted: bool
) -> None:
    found = start(granted(**changes))
    assert (found.is_live, found.is_encrypted) == (live, encrypted)


def test_a_start_lacks_what_the_engine_left_out() -> None:
    found = start(granted(stat_url=None, command_url=7, infohash="short", playback_session_id=3))
    assert (found.stat_path, found.command_path, found.infohash) == (None, None, None)
    assert found.playback_session_id is None
    assert start(said({"response": {}, "error": None})).playback_path is None


def test_a_response_that_is_a_string_is_opened() -> None:
    inner = json.loads(granted().split(b"\r\n\r\n")[1])["response"]
    found = start(said({"response": json.dumps(inner), "error": None}))
    assert found.playback_path == f"/ace/r/{INFOHASH}/t"


def test_json_as_python_writes_it_is_read_where_stricter_readers_give_up() -> None:
    body = granted().split(b"\r\n\r\n")[1][:-1] + b', "name": "\\ud83d", "availability": NaN}'
    assert start(http(body)).infohash == INFOHASH


@pytest.mark.parametrize("response", [None, "no JSON", [], 7])
def test_what_holds_no_session_is_none(response: Any) -> None:
    assert granted_of({"response": response}) is None


# -- URLs --


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://127.0.0.1:6878/ace/r/a/b", "/ace/r/a/b"),
        ("http://elsewhere.example:1/ace/r/a/b?x=1", "/ace/r/a/b?x=1"),
        ("https://elsewhere.example/a", "/a"),
        ("http://user:pw@elsewhere.example/a", "/a"),
        ("//elsewhere.example/a", "/a"),
        ("/a/b?c", "/a/b?c"),
        ("http://h//evil.example/a", "//evil.example/a"),
        ("http://h/@evil.example/a", "/@evil.example/a"),
        ("HTTP://H/a#fragment", "/a"),
        ("http://[::1]:6878/a", "/a"),
        ("a/b", None),
        ("", None),
        ("http://h", None),
        ("http://h?x", None),
        ("file:///etc/passwd", None),
        ("ftp://h/a", None),
        ("javascript:/a", None),
        ("unix:///run/x", None),
        ("http://h/a\r\nX: y", None),
        ("http://h/a b", None),
        ("http://h/a\tb", None),
        ("http://h\\@evil.example/a", None),
        ("\\\\evil.example\\a", None),
        ("http://h/\x00", None),
        ("http://h/ü", None),
        ("http://[::1/a", None),
        ("/" + "a" * 5000, None),
        (None, None),
        (7, None),
        (["/a"], None),
    ],
)
def test_of_a_url_in_an_answer_only_path_and_query_are_kept(url: object, path: str | None) -> None:
    assert path_of(url) == path


@given(st.text(alphabet=string.printable + "äé\u2028\\@:/?#[]", max_size=60), st.booleans())
def test_no_text_leads_off_the_engine(text: str, relative: bool) -> None:
    path = path_of(text, "http://127.0.0.1:6878/ace/r/a/b" if relative else "")
    if path is not None:
        target = parse_url("http://127.0.0.1:6878" + path, "t")
        assert (target.host, target.port, target.authorization) == ("127.0.0.1", 6878, "")
        assert target.target.startswith("/")
        assert not set(target.target) & set(" \r\n\t\\")


# -- stats --


def test_a_stat_is_read_whatever_the_types_of_its_numbers() -> None:
    full = {
        "status": "dl",
        "peers": "12",
        "speed_down": 410.0,
        "speed_up": "35.0",
        "downloaded": 31457280,
        "progress": True,
        "livepos": {"live_last": "1760000100", "is_live": "1"},
        "playback_session_id": "5e" * 20,
    }
    assert stat_of({"response": full, "error": None}) == Stat(
        "dl", 12, 410, 35, 31457280, 1, 1760000100, "5e" * 20
    )
    assert stat_of({"response": json.dumps(full)}) == stat_of({"response": full})


@pytest.mark.parametrize(
    "response",
    [{}, None, "ok", [], {"peers": "many", "livepos": [], "status": 1}, {"peers": "1e999"}],
)
def test_a_stat_that_says_nothing_is_no_error(response: Any) -> None:
    assert stat_of({"response": response, "error": None}) == Stat()


def test_early_stats_hold_what_there_is() -> None:
    assert stat_of({"response": {"status": "idle"}}) == Stat("idle")
    assert stat_of({"response": {"status": "prebuf", "progress": "7", "peers": 0}}) == Stat(
        "prebuf", 0, progress=7
    )


# -- look-ups --


def test_a_look_up_tells_the_infohash_and_a_name_that_anybody_may_have_written() -> None:
    name = "A\nname " + "x" * 200
    known = known_of({"result": {"infohash": INFOHASH.upper(), "name": name}})
    assert known == Known(INFOHASH, ("A name " + "x" * 200)[:80])
    assert known_of({"result": {"infohash": INFOHASH, "name": 7}}) == Known(INFOHASH, "")


@pytest.mark.parametrize("result", [None, "text", {}, {"infohash": "short"}, {"infohash": 7}])
def test_a_content_the_engine_does_not_know_is_none(result: Any) -> None:
    assert known_of({"result": result}) is None


# -- words --


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("no peers", "no peers"),
        ({"message": "no peers", "code": 7}, "no peers"),
        ({"code": 7}, "refused without a reason"),
        ("\x00", "refused without a reason"),
        (["no", "peers"], "['no', 'peers']"),
        (None, None),
        ("", None),
        ({}, None),
    ],
)
def test_a_refusal_is_told_in_the_engines_words(error: Any, words: str | None) -> None:
    assert words_of(error) == words


def test_a_page_is_told_without_its_tags() -> None:
    assert text_words(b"<html><b>500</b>\n Internal <i>error</i></html>") == "500 Internal error"


@pytest.mark.parametrize("text", [b"", b"[]", b"no JSON", b"{", b"\xff{}", b'"text"'])
def test_what_is_no_object_is_none(text: bytes) -> None:
    assert json_object(text) is None


def test_an_engines_words_that_quote_a_url_lose_its_secrets() -> None:
    words = without_secrets("can't read http://u:SECRET@h/x?token=SECRET\r\nfor you")
    assert words == "can't read http://h/… for you"
    assert without_secrets("what? a=b") == "what? a=b"
    assert len(without_secrets("x" * 5000)) == 300
