"""URLs to requests, response heads to values: strict in what we send, loose in what we take."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rawstream.errors import FormatError, UpstreamError
from rawstream.http1_client import parse_response_head, parse_url, render_request


@pytest.mark.parametrize(
    ("url", "address", "authority", "target"),
    [
        ("http://h", "http://h:80", "h", "/"),
        ("http://h:6878/ace/r?x=y", "http://h:6878", "h:6878", "/ace/r?x=y"),
        ("https://h/p", "https://h:443", "h", "/p"),
        ("http://h:443/", "http://h:443", "h:443", "/"),
        ("http://[::1]:8080/a", "http://[::1]:8080", "[::1]:8080", "/a"),
        ("http://h/a b/é?q=ü%20x#part", "http://h:80", "h", "/a%20b/%C3%A9?q=%C3%BC%20x"),
        ("http://bücher.example/", "http://xn--bcher-kva.example:80", "xn--bcher-kva.example", "/"),
        ("  http://h/a?b[]=1&c=%41  ", "http://h:80", "h", "/a?b[]=1&c=%41"),
        ("http://H.Example/", "http://h.example:80", "h.example", "/"),
        ("http://h?x", "http://h:80", "h", "/?x"),
    ],
)
def test_a_url_is_taken_apart(url: str, address: str, authority: str, target: str) -> None:
    parsed = parse_url(url, "open")
    assert (parsed.address, parsed.authority, parsed.target) == (address, authority, target)


@pytest.mark.parametrize(
    "url", ["", "h/p", "ftp://h/", "file:///etc/passwd", "http://", "http://h:x/", "http://[::1/"]
)
def test_what_is_no_url_of_ours_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        parse_url(url + "?secret", "open")
    assert "secret" not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(url=st.text(max_size=60) | st.text(max_size=40).map(lambda tail: "http://h/" + tail))
def test_any_text_is_a_url_or_an_upstream_error(url: str) -> None:
    try:
        target = parse_url(url, "open")
    except UpstreamError:
        return
    raw = render_request(target, "GET", (), b"")
    assert raw.count(b"\r\n\r\n") == 1
    assert raw.split(b"\r\n")[0].count(b" ") == 2


def test_user_and_password_become_a_header_and_leave_the_url() -> None:
    target = parse_url("http://ana:p%40ss@h:1/x", "open")
    raw = render_request(target, "GET", (), b"")
    assert b"Authorization: Basic YW5hOnBAc3M=\r\n" in raw
    assert b"Host: h:1\r\n" in raw
    assert "ana" not in target.address


def test_a_request_asks_for_plain_bytes_on_a_connection_of_its_own() -> None:
    raw = render_request(parse_url("http://h/x", "open"), "GET", (("X-A", "b"),), b"")
    assert raw == (
        b"GET /x HTTP/1.1\r\nHost: h\r\nUser-Agent: rawstream\r\nAccept: */*\r\n"
        b"Accept-Encoding: identity\r\nConnection: close\r\nX-A: b\r\n\r\n"
    )


def test_a_body_has_its_length_and_given_headers_win() -> None:
    raw = render_request(
        parse_url("http://u:p@h/x", "open"),
        "POST",
        (("user-agent", "me"), ("Authorization", "Bearer t")),
        b"hello",
    )
    assert raw.endswith(b"\r\n\r\nhello")
    assert b"Content-Length: 5\r\n" in raw
    assert raw.lower().count(b"user-agent:") == raw.lower().count(b"authorization:") == 1


@pytest.mark.parametrize("header", [("X", "a\r\nb"), ("X\n", "a"), ("X", "\0")])
def test_a_header_that_would_split_the_request_is_a_bug(header: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="can't be sent"):
        render_request(parse_url("http://h/", "open"), "GET", (header,), b"")


@pytest.mark.parametrize(
    ("head", "status", "reason"),
    [
        (b"HTTP/1.0 200 OK", 200, "OK"),
        (b"HTTP/1.1 200", 200, ""),
        (b"HTTP/1.1 200 ", 200, ""),
        (b"HTTP/1.1  404  Not  Found ", 404, "Not  Found"),
        (b"HTTP/1.1 302 Found\nLocation: /x", 302, "Found"),
    ],
)
def test_a_status_line_is_read_loosely(head: bytes, status: int, reason: str) -> None:
    parsed = parse_response_head(head)
    assert (parsed.status, parsed.reason) == (status, reason)


def test_names_are_lowered_spaces_cut_and_lines_without_a_name_read_over() -> None:
    parsed = parse_response_head(
        b"HTTP/1.1 200 OK\r\nCONTENT-TYPE : a/b\r\nx-a:1\r\nX-A: 2\r\nrubbish\r\n: x\r\nE:\r\n"
    )
    assert parsed.headers == {"content-type": "a/b", "x-a": "1, 2", "e": ""}


@pytest.mark.parametrize(
    ("fields", "chunked", "length"),
    [
        (b"", False, None),
        (b"Content-Length: 5\r\n", False, 5),
        (b"content-length: 5\r\nContent-Length: 5\r\n", False, 5),
        (b"Transfer-Encoding: Chunked\r\n", True, None),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", True, None),
        (b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n", False, 5),
    ],
)
def test_the_framing_is_told_by_the_head(fields: bytes, chunked: bool, length: int | None) -> None:
    parsed = parse_response_head(b"HTTP/1.1 200 OK\r\n" + fields)
    assert (parsed.chunked, parsed.content_length) == (chunked, length)


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (b"", "no status line"),
        (b"ICY 200 OK", "no status line"),
        (b"HTTP/2 200", "no status line"),
        (b"HTTP/1.1 2000 OK", "no status line"),
        (b"<html>", "no status line"),
        (b"HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\nA: b", "second status line"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\nHTTP/1.1 403 Forbidden", "second status line"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip", "unknown transfer coding"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6", "bad Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: +5", "bad Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length:", "bad Content-Length"),
    ],
)
def test_a_bad_head_is_a_format_error(head: bytes, problem: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_response_head(head)
    assert caught.value.reason == problem


@settings(max_examples=300, deadline=None)
@given(tail=st.binary(max_size=200))
def test_any_bytes_are_a_head_or_a_format_error(tail: bytes) -> None:
    for head in (tail, b"HTTP/1.1 200 " + tail, b"HTTP/1.1 200 OK\r\n" + tail):
        try:
            parse_response_head(head)
        except FormatError:
            pass
