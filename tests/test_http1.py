"""Requests off the wire: what is understood, what is refused, however the bytes are split."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splits import SPLITS, at_random, byte_by_byte

from rawstream.config import Limits
from rawstream.errors import ChannelUnavailable, ViewerError
from rawstream.http1 import (
    METHODS,
    STATUS_LINES,
    Request,
    RequestParser,
    Response,
    SeenRequests,
    render_head,
)

CORPUS = Path(__file__).parent / "corpus" / "http"
VALID = sorted(CORPUS.glob("valid/*.http"))
REFUSED = sorted(CORPUS.glob("refused/*.http"))
RAW = [path.read_bytes() for path in (*VALID, *REFUSED)]
HOST = b"Host: a\r\n"


def read(pieces: list[bytes], limits: Limits | None = None) -> tuple[list[Request], int | None]:
    """Feed pieces; the requests that came out and the status of the refusal, if any. What was seen
    before, on this connection or another, is read as if it were new.
    """
    seen = SeenRequests()
    requests, refused = _read(pieces, limits or Limits(), None)
    for _ in range(2):
        again, refused_again = _read(pieces, limits or Limits(), seen)
        assert refused_again == refused
        assert [fields(one) for one in again] == [fields(one) for one in requests]
    return requests, refused


def _read(
    pieces: list[bytes], limits: Limits, seen: SeenRequests | None
) -> tuple[list[Request], int | None]:
    parser = RequestParser(limits, seen)
    requests: list[Request] = []
    for piece in pieces:
        parser.feed(piece)
        while (request := parser.next_request()) is not None:
            requests.append(request)
    failure = parser.failure
    if failure is not None and requests and not requests[-1].keep_alive:
        failure = None  # what follows the last request is nobody's request
    return requests, None if failure is None else failure.status


def fields(request: Request) -> dict[str, Any]:
    return {
        "method": request.method,
        "target": request.target,
        "body": request.body.decode("latin-1"),
        "segments": list(request.segments),
        "query": request.query,
        "headers": dict(request.headers),
        "keep_alive": request.keep_alive,
        "http_version": request.http_version,
    }


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_a_valid_request_is_read_as_expected(path: Path, split: Any) -> None:
    requests, refused = read(split(path.read_bytes()))
    assert refused is None
    expected = json.loads(path.with_suffix(".json").read_text())
    assert len(requests) == len(expected)
    for request, wanted in zip(requests, expected, strict=True):
        got = fields(request)
        headers = wanted.pop("headers", {})
        assert headers.items() <= got["headers"].items()
        assert {name: got[name] for name in wanted} == wanted


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_a_bad_request_is_refused_with_its_status(path: Path, split: Any) -> None:
    requests, refused = read(split(path.read_bytes()))
    assert not requests
    assert refused == int(path.stem.partition("-")[0])


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_a_good_request_before_a_bad_one_is_still_read(path: Path) -> None:
    good = b"GET /good HTTP/1.1\r\n" + HOST + b"\r\n"
    requests, refused = read([good + path.read_bytes()])
    assert [request.target for request in requests] == ["/good"]
    assert refused == int(path.stem.partition("-")[0])


def mutated() -> st.SearchStrategy[bytes]:
    """A corpus file with bytes changed, cut out or put in; the odd ones that parsers trip over
    often.
    """
    odd = st.sampled_from([b"\0", b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\xff", b"0", b","])
    change = st.tuples(st.integers(0, 400), st.integers(0, 4), odd | st.binary(max_size=4))

    def apply(raw: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
        for where, cut, put in changes:
            where %= len(raw) + 1
            raw = raw[:where] + put + raw[where + cut :]
        return raw

    files = st.sampled_from([raw for raw in RAW if len(raw) < 1000])
    return st.builds(apply, files, st.lists(change, max_size=4))


@settings(max_examples=500, deadline=None)
@given(raw=mutated(), seed=st.integers(0, 1000))
def test_mutated_requests_never_raise_and_read_alike_at_every_split(raw: bytes, seed: int) -> None:
    if not raw:
        return
    requests, refused = read([raw])
    for pieces in (byte_by_byte(raw), at_random(raw, seed)):
        again, refused_again = read(pieces)
        assert [fields_raw(r) for r in again] == [fields_raw(r) for r in requests]
        assert refused_again == refused
    assert refused in (None, 400, 413, 414, 417, 431, 501, 505)


def fields_raw(request: Request) -> tuple[Any, ...]:
    return (
        request.method,
        request.target,
        request.body,
        dict(request.headers),
        request.keep_alive,
        request.http_version,
    )


@settings(max_examples=300, deadline=None)
@given(raw=st.binary(max_size=300))
def test_arbitrary_bytes_never_raise(raw: bytes) -> None:
    read([raw])
    read([b"GET /x HTTP/1.1\r\n" + raw])
    read([b"POST /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + raw])


# -- limits --


def test_a_head_within_the_limit_is_read_and_one_above_is_refused() -> None:
    limits = Limits(request_head_bytes=1024)
    frame = b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"\r\n\r\n"
    for split in SPLITS:
        for size, wanted in ((1024, None), (1025, 431)):
            filler = b"b" * (size - len(frame))
            raw = frame.replace(b"A: ", b"A: " + filler)
            assert len(raw) == size
            assert read(split(raw), limits)[1] == wanted


def test_a_head_that_never_ends_is_refused_before_it_fills_memory() -> None:
    parser = RequestParser(Limits(request_head_bytes=1024))
    parser.feed(b"GET / HTTP/1.1\r\n")
    fed = 0
    while parser.failure is None:
        parser.feed(b"A: " + b"b" * 1000)
        fed += 1003
        assert fed < 32 * 1024
    assert parser.failure.status == 431


def test_a_target_that_never_ends_is_refused() -> None:
    _, refused = read([b"GET /" + b"a" * 300] * 2, Limits(request_target_bytes=256))
    assert refused == 414


def test_empty_lines_without_end_are_refused() -> None:
    assert read([b"\r\n" * 1000] * 40)[1] == 431


def test_a_body_at_the_limit_is_read_and_one_above_is_refused() -> None:
    limits = Limits(request_body_bytes=10)
    for size, wanted in ((10, None), (11, 413)):
        body = b"x" * size
        length = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n%b" % (size, body)
        chunked = (
            b"POST / HTTP/1.1\r\n"
            + HOST
            + b"Transfer-Encoding: chunked\r\n\r\n"
            + b"".join(b"1\r\nx\r\n" for _ in range(size))
            + b"0\r\n\r\n"
        )
        for raw in (length, chunked):
            for split in SPLITS:
                requests, refused = read(split(raw), limits)
                assert refused == wanted
                assert [request.body for request in requests] == ([] if wanted else [body])


def test_a_body_too_large_is_refused_at_its_head() -> None:
    _, refused = read(
        [b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 99\r\n\r\n"],
        Limits(request_body_bytes=10),
    )
    assert refused == 413


def test_chunk_extensions_without_end_are_refused() -> None:
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5;a="
    assert read([head, *[b"b" * 1000] * 40])[1] == 413


def test_trailers_without_end_are_refused() -> None:
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
    assert read([head, *[b"A: " + b"b" * 1000 + b"\r\n"] * 40])[1] == 413


def test_a_pipeline_is_read_only_so_far_ahead() -> None:
    parser = RequestParser(Limits(pipelined_requests=4))
    one = b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n"
    parser.feed(one * 5000)
    assert parser.full
    assert len(parser.requests) <= 4 + 8192 // len(one) + 1
    taken = 0
    while parser.next_request() is not None:
        taken += 1
    assert taken == 5000
    assert not parser.full


# -- a request's fields --


def test_a_request_shows_no_target() -> None:
    request = Request("GET", "/live/ana/s3cret/1.ts", {})
    assert "s3cret" not in repr(request)


def test_the_first_value_of_a_repeated_query_name_wins() -> None:
    request = Request("GET", "/?a=1&b=&a=2&&c", {})
    assert request.query == {"a": "1", "b": "", "c": ""}
    assert request.query_all == [("a", "1"), ("b", ""), ("a", "2"), ("c", "")]


def test_100_continue_is_due_only_while_the_body_is_awaited() -> None:
    parser = RequestParser(Limits())
    parser.feed(b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r")
    assert not parser.continue_due
    assert parser.phase == "head"
    parser.feed(b"\n")
    assert parser.continue_due
    assert parser.phase == "body"
    parser.feed(b"o")
    assert not parser.continue_due
    parser.feed(b"k")
    assert parser.phase == "idle"
    request = parser.next_request()
    assert request is not None and request.body == b"ok"


def test_an_http_1_0_client_is_never_told_to_continue() -> None:
    parser = RequestParser(Limits())
    parser.feed(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert not parser.continue_due


def test_a_bug_in_a_callback_is_not_taken_for_a_bad_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(self: RequestParser) -> None:
        raise KeyError("bug")

    monkeypatch.setattr(RequestParser, "on_message_complete", broken)
    with pytest.raises(httptools.HttpParserCallbackError):
        read([b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"])


# -- answers --


def test_a_head_is_written_in_order_with_the_constant_block() -> None:
    head = render_head(
        200,
        b"Server: s\r\n",
        content_type="a/b",
        content_length=3,
        headers=(("X", "y"),),
        connection="close",
    )
    assert head == (
        b"HTTP/1.1 200 OK\r\nServer: s\r\nContent-Type: a/b\r\nContent-Length: 3\r\n"
        b"X: y\r\nConnection: close\r\n\r\n"
    )


def test_a_status_without_a_name_is_written_with_an_empty_reason() -> None:
    assert render_head(299, b"").startswith(b"HTTP/1.1 299 \r\n")


@pytest.mark.parametrize(
    "header", [("X", "a\r\nb"), ("X", "a\0"), ("X Y", "a"), ("", "a"), ("é", "")]
)
def test_a_header_that_would_split_the_answer_is_a_bug(header: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="can't be sent"):
        render_head(200, b"", headers=[header])


def test_every_status_of_the_standard_has_its_line() -> None:
    assert STATUS_LINES[503] == b"HTTP/1.1 503 Service Unavailable\r\n"
    assert b"\r\n" in STATUS_LINES[431]


def test_a_refusal_becomes_an_answer_with_retry_after() -> None:
    response = Response.of_error(ChannelUnavailable("no peers", retry_after=5))
    assert (response.status, response.body) == (503, b"no peers\n")
    assert tuple(response.headers) == (("Retry-After", "5"),)
    assert Response.of_error(ViewerError(404, "nothing here")).headers == ()


def test_text_and_json_name_their_types() -> None:
    assert Response.text("é").body == "é".encode()
    assert Response.json(b"{}").content_type == "application/json"


def corpus_methods() -> Iterator[str]:
    for raw in RAW:
        yield raw.partition(b" ")[0].decode("latin-1")


def test_the_corpus_uses_methods_we_take_and_others() -> None:
    assert set(corpus_methods()) & METHODS
    assert set(corpus_methods()) - METHODS


def test_a_request_that_was_seen_is_not_shared() -> None:
    seen = SeenRequests()
    raw = b"GET /a?x=1 HTTP/1.1\r\nHost: h\r\n\r\n"
    parser = RequestParser(Limits(), seen)
    found = []
    for address in ("1", "2", "3"):
        parser.feed(raw)
        request = parser.next_request()
        assert request is not None
        assert request.peer == ("", 0)
        request.peer = (address, 1)
        found.append(request)
    assert [request.peer[0] for request in found] == ["1", "2", "3"]
    assert seen.get(raw) is not None


def test_what_is_more_than_a_head_is_not_remembered() -> None:
    seen = SeenRequests()
    parser = RequestParser(Limits(), seen)
    for head in (
        b"Content-Length: 0",
        b"Expect: 100-continue",
        b"Upgrade: h2c",
        b"X: " + b"x" * 3000,
    ):
        raw = b"GET / HTTP/1.1\r\nHost: h\r\n%b\r\n\r\n" % head
        parser.feed(raw)
        assert parser.next_request() is not None
        assert seen.get(raw) is None
    for number in range(5000):
        raw = b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number
        parser.feed(raw)
        assert parser.next_request() is not None
    assert seen.get(raw) is not None
    assert seen.get(b"GET /0 HTTP/1.1\r\nHost: h\r\n\r\n") is None, "bounded"
