"""Where we are, as whoever asks sees us; and who may say so."""

from __future__ import annotations

import ipaddress

import pytest

from rawstream.urls import Base, base_url, parse_public_url

PROXY = (ipaddress.ip_network("10.0.0.1/32"),)


def url(peer: str = "192.0.2.9", public: Base | None = None, **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return base_url(named, peer, trusted=PROXY, public=public, port=58055).url


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("tv.example.org:8080", "http://tv.example.org:8080"),
        ("tv.example.org", "http://tv.example.org"),
        ("[2001:db8::1]:8080", "http://[2001:db8::1]:8080"),
        ("192.0.2.1:80", "http://192.0.2.1"),
        ("", "http://127.0.0.1:58055"),
        ('x"><script>', "http://127.0.0.1:58055"),
        ("a@b", "http://127.0.0.1:58055"),
        ("a:99999", "http://a"),
        ("a:", "http://a"),
    ],
)
def test_the_host_header_says_it(host: str, expected: str) -> None:
    assert url(host=host) == expected


FORGED = {
    "x_forwarded_host": "evil.example",
    "x_forwarded_proto": "https",
    "x_forwarded_port": "1",
    "x_forwarded_prefix": "/evil",
    "forwarded": "host=evil.example;proto=https",
}


def test_a_stranger_moves_no_url() -> None:
    assert url(host="tv:8080", **FORGED) == "http://tv:8080"


def test_a_trusted_proxy_is_believed() -> None:
    assert (
        url(
            "10.0.0.1",
            host="backend:58055",
            x_forwarded_host="tv.example.org",
            x_forwarded_proto="https",
            x_forwarded_port="8443",
            x_forwarded_prefix="/tv/",
        )
        == "https://tv.example.org:8443/tv"
    )
    assert url("10.0.0.1", host="b", x_forwarded_proto="https", x_forwarded_host="a, b") == (
        "https://a"
    )
    forwarded = 'for=1.2.3.4;proto=https;host="tv.example.org:8443", for=10.0.0.1'
    assert url("10.0.0.1", host="b", forwarded=forwarded) == "https://tv.example.org:8443"
    assert url("::ffff:10.0.0.1", host="b", x_forwarded_proto="https") == "https://b"


@pytest.mark.parametrize("said", ["1" * 5000, "٣", "²", "0", "65536", "-1", "443x", ""])
def test_a_forwarded_port_that_is_none_counts_as_not_said(said: str) -> None:
    assert url("10.0.0.1", host="b", x_forwarded_port=said) == "http://b"


def test_a_port_that_came_with_the_host_beats_the_forwarded_one() -> None:
    assert url("10.0.0.1", host="b:81", x_forwarded_port="82") == "http://b:81"
    assert url("10.0.0.1", host="b:0", x_forwarded_port="82") == "http://b:82"
    forwarded = {"x_forwarded_host": "tv:83", "x_forwarded_port": "82"}
    assert url("10.0.0.1", host="b:81", **forwarded) == "http://tv:83"


@pytest.mark.parametrize("host", ["", "a@b", 'x"><script>'])
def test_a_host_that_is_none_takes_nothing_from_what_else_the_proxy_says(host: str) -> None:
    said = {"x_forwarded_proto": "https", "x_forwarded_prefix": "/tv"}
    assert url("10.0.0.1", host=host, **said) == "https://127.0.0.1:58055/tv"
    assert url("10.0.0.1", host="b", x_forwarded_host=host, **said) == "https://b/tv"


def test_what_a_proxy_says_wrongly_counts_as_not_said() -> None:
    assert url("10.0.0.1", host="b", x_forwarded_proto="gopher") == "http://b"
    assert url("10.0.0.1", host="b", x_forwarded_prefix='/"onload=') == "http://b"


def test_a_fixed_url_beats_all() -> None:
    public = parse_public_url("https://tv.example.org:8443/tv/")
    assert public == Base("https", "tv.example.org", 8443, "/tv")
    assert url(host="other", public=public) == "https://tv.example.org:8443/tv"


@pytest.mark.parametrize(
    "text", ["tv.example.org", "ftp://a", "http://", "http://a:x", "http://a?b"]
)
def test_what_is_no_public_url(text: str) -> None:
    assert parse_public_url(text) is None
