"""Links in every spelling, and the URLs that only look like an AceStream link."""

from __future__ import annotations

import base64
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rawstream import engine_client
from rawstream.acelink import (
    URL_LIMIT,
    Kind,
    Link,
    name_in,
    read_link,
    split_headers,
    unwrap,
)
from rawstream.errors import FormatError

ID = "0123456789abcdef0123456789abcdef01234567"
HASH = "89abcdef0123456789abcdef0123456789abcdef"
BASE32 = base64.b32encode(bytes.fromhex(HASH)).decode()
ENGINE = "http://127.0.0.1:6878"


def test_the_kinds_are_those_of_a_content_reference() -> None:
    assert get_args(Kind) == get_args(engine_client.Kind)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        # the engine reference's table in §6, row by row
        (ID, "unknown", ID),
        (f" '{ID.upper()}' ", "unknown", ID),
        (f"{ID} trailing words", "unknown", ID),
        (f"acestream://{ID}", "unknown", ID),
        (f"AceStream:{ID}", "unknown", ID),
        (f"acestream://{ID}/", "unknown", ID),
        (f"acestream://{ID}?a=b", "unknown", ID),
        (f"acestream://{ID}#a", "unknown", ID),
        (f"acestream:?content_id={ID}", "content_id", ID),
        (f"acestream://?infohash={HASH}", "infohash", HASH),
        (f"acestream:%3Finfohash={HASH}", "infohash", HASH),
        (f"acestream:infohash={HASH}", "infohash", HASH),
        ("acestream:?url=http%3A%2F%2Ft.example.org%2Fa&index=1", "url", "http://t.example.org/a"),
        (f"acestream:?magnet=magnet:?xt=urn:btih:{HASH}", "infohash", HASH),
        (f"infohash://{HASH}", "infohash", HASH),
        (f"infohash:{HASH.upper()}", "infohash", HASH),
        (f"magnet:?xt=urn:btih:{HASH}&dn=x", "infohash", HASH),
        (f"magnet:?dn=x&xt=urn:btih:{BASE32}", "infohash", HASH),
        (f"magnet:?xt=urn:btih:{BASE32.lower()}", "infohash", HASH),
        (f"magnet:?xt.1=urn:btmh:1220{'ab' * 32}&xt.2=urn:btih:{HASH}", "infohash", HASH),
        (f"magnet:?xt=urn:btmh:1220{'ab' * 32}", "magnet", f"magnet:?xt=urn:btmh:1220{'ab' * 32}"),
        ("http://t.example.org/a.acelive", "url", "http://t.example.org/a.acelive"),
        ("http://t.example.org/A.Torrent?k=1", "url", "http://t.example.org/A.Torrent?k=1"),
        (f"{ENGINE}/ace/getstream?id={ID}", "unknown", ID),
        (f"{ENGINE}/ace/getstream?infohash={HASH}&id={ID}", "unknown", ID),
        (f"{ENGINE}/ace/getstream?infohash={HASH}&content_id={ID}", "content_id", ID),
        (f"{ENGINE}/ace/getstream?pid=77&amp;infohash={HASH}&amp;.mp4", "infohash", HASH),
        (f"{ENGINE}/ace/getstream?infohash={BASE32}", "infohash", HASH),
        (f"{ENGINE}/ace/getstream?id=acestream://{ID}", "unknown", ID),
        (f"{ENGINE}/ace/getstream?pid={ID}", "unknown", ID),
        (f"{ENGINE}/ace/getstream?pid={HASH}&id={ID}", "unknown", ID),
        (f"{ENGINE}/ace/getstream?url=acestream://{ID}", "unknown", ID),
        (f"{ENGINE}/ace/getstream?url=http://t.example.org/x", "url", "http://t.example.org/x"),
        (f"{ENGINE}/ace/getstream?direct_url=http://h/x.ts", "direct", "http://h/x.ts"),
        (f"{ENGINE}/ACE/GetStream?ID={ID}", "unknown", ID),
        (f"http://ana:pw@h:1/sub/ace/getstream?id={ID}", "unknown", ID),
        (f"{ENGINE}/ace/manifest.m3u8?content_id={ID}", "content_id", ID),
        (f"{ENGINE}/ace/getstream/{ID}", "unknown", ID),
        (f"{ENGINE}/ace/getstream/One.ts?id={ID}", "unknown", ID),
        (f"{ENGINE}/ace/r/{HASH}/token", "infohash", HASH),
        (f"{ENGINE}/ace/m/{HASH}/token.m3u8", "infohash", HASH),
        (f"{ENGINE}/content/{HASH}/0.5", "infohash", HASH),
        (f"http://h:8000/pid/{ID}/stream.mp4", "content_id", ID),
        (f"http://h:8000/content_id/{ID}/a.ts", "content_id", ID),
        (f"http://h:8000/infohash/{HASH}/a.ts", "infohash", HASH),
        ("http://h/url/http%3A%2F%2Ft.example.org%2Fa/s.mp4", "url", "http://t.example.org/a"),
        ("http://h/torrent/https%253A%252F%252Fh%252Fa/s.mp4", "url", "https://h/a"),
        (f"http://h/p?stream_id={ID}", "unknown", ID),
        (f"http://h/p?acestream_id={ID}", "unknown", ID),
        (f"http://h/p?pid={ID}", "unknown", ID),
        (f"http://h/p?infohash={HASH}", "infohash", HASH),
        (f"http://h/p?u=infohash:{HASH}", "infohash", HASH),
        ("http://h/hls/manifest.m3u8?manifest_url=http%3A%2F%2Fh%2Fa.m3u8", "direct", "http://h/a.m3u8"),
        (f"plugin://program.plexus/?url=acestream://{ID}&mode=1&name=A", "unknown", ID),
        (f"plugin://script.module.horus?action=play&id={ID}", "unknown", ID),
        (f"plugin://script.module.horus/?action=play&infohash={HASH}", "infohash", HASH),
        ("plugin://plugin.video.x/?url=http%3A%2F%2Fh%2Fa.ts%7CUser-Agent%3Dx", "direct", "http://h/a.ts"),
        # ordinary sources, however like
        ("http://host/live.ts?id=77", "direct", "http://host/live.ts?id=77"),
        (f"http://host/x?id={ID}0", "direct", f"http://host/x?id={ID}0"),
        (f"http://host/{ID}.ts", "direct", f"http://host/{ID}.ts"),
        ("http://host/pid/77/a.ts", "direct", "http://host/pid/77/a.ts"),
        ("http://host/url/77/a.ts", "direct", "http://host/url/77/a.ts"),
        ("http://host/grace/getstream?id=1", "direct", "http://host/grace/getstream?id=1"),
        ("http://host/a.torrent/1.ts", "direct", "http://host/a.torrent/1.ts"),
        # what a request line can carry
        ("HTTP://Host/a b?c=d e#f", "direct", "http://Host/a%20b?c=d%20e"),
        ("http://host/%20é|x", "direct", "http://host/%20%C3%A9%7Cx"),
        ("http://bücher.example.org:8080/a", "direct", "http://xn--bcher-kva.example.org:8080/a"),
        ("http://ä:ö@bücher.example.org/", "direct", "http://%C3%A4:%C3%B6@xn--bcher-kva.example.org/"),
        ("http://[2001:db8::1]:80/a", "direct", "http://[2001:db8::1]:80/a"),
        ("http://host?a", "direct", "http://host?a"),
    ],
)  # fmt: skip
def test_a_link_is_read_by_its_spelling(text: str, kind: Kind, value: str) -> None:
    assert read_link(text) == Link(kind, value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "one.ts",
        "/ace/getstream",
        ID[:-1],
        f"{ID}0",
        "acestream://",
        "acestream://77",
        "acestream:?index=1",
        "acestream:?data=AAAA",
        "magnet:?dn=x",
        "magnet:?xt=urn:btih:77",
        f"nomagnet:?xt=urn:btih:{HASH}",
        f"{ENGINE}/ace/getstream",
        f"{ENGINE}/ace/getstream?id=77",
        f"{ENGINE}/ace/getstream?id={BASE32}",
        f"{ENGINE}/ace/getstream?content_id={HASH[:-1]}&id={ID}",
        f"{ENGINE}/ace/getstream?url=file:///etc/passwd",
        f"{ENGINE}/ace/getstream?url=t.example.org/a",
        f"{ENGINE}/ace/getstream?url=http://h/%0d%0aX-A:1",
        f"{ENGINE}/ace/getstream?magnet=x",
        f"{ENGINE}/ace/getstream?transport_file_data=AAAA",
        f"{ENGINE}/ace/getstream?" + "&".join(f"a{i}=1" for i in range(200)) + f"&id={ID}",
        "http://",
        "http:///a",
        "http://host:0/",
        "http://host:99999/",
        "http://[::1/",
        "http://a b/",
        "http://host/\x00",
        "http://\u2100/",
        "http://" + "ü" * 64 + ".example.org/",
        "http://host/" + "x" * URL_LIMIT,
        "plugin://",
        "plugin://plugin.video.x/?action=1",
        "file:///etc/passwd",
        "udp://@239.0.0.1:1234",
        "secret:hunter2",
    ],
)
def test_what_names_nothing_to_play_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(FormatError) as refusal:
        read_link(text)
    for word in ("hunter2", "secret", "passwd", "example", "77"):
        assert word not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("RTMP://h/x", "rtmp: can't be played"),
        ("acestream:?data=AAAA", "given by value"),
        (f"{ENGINE}/ace/getstream?pid=1", "names no content"),
        (f"{ENGINE}/ace/getstream?infohash=1", "infohash= takes"),
    ],
)
def test_a_refusal_says_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        read_link(text)


def test_wrappers_are_peeled_so_often_and_no_further() -> None:
    text = f"acestream://{ID}"
    for _ in range(3):
        text = "plugin://p/?url=" + text.replace("%", "%25").replace("&", "%26").replace("=", "%3D")
    assert read_link(text) == Link("unknown", ID)
    for _ in range(30):
        text = "plugin://p/?url=" + text.replace("%", "%25").replace("&", "%26").replace("=", "%3D")
    with pytest.raises(FormatError):
        read_link(text)


PLAIN = st.text(st.sampled_from("abz09._~/:+,=@!$*-?&%#[] |é"), max_size=30)


@given(PLAIN)
@example("?")
@example("/?")
@example(":65536/")
@example(":0")
@example(":/a")
@example("/a?b?c")
@example("/A.ACELIVE")
@example("/ace/getstream")
def test_the_glance_at_a_plain_url_sees_what_the_long_look_does(rest: str) -> None:
    def told(text: str) -> Link | str:
        try:
            return read_link(text)
        except FormatError as error:
            return str(error)

    # the scheme in capitals is not plain any more
    assert told(f"http://host{rest}") == told(f"HTTP://host{rest}")


@given(
    st.one_of(
        st.text(max_size=80),
        st.text(st.sampled_from(f"{ID}acestream:/?=&%infohashurl"), max_size=80),
    )
)
@settings(max_examples=300)
@example("plugin://?url=plugin://")
@example("http://h/?a=%")
def test_any_text_is_read_or_refused_and_an_answer_can_be_sent(text: str) -> None:
    for prefix in ("", "http://h/", "acestream:", "magnet:?xt=", "plugin://p/?url="):
        name_in(prefix + text)
        split_headers(unwrap(prefix + text))
        try:
            link = read_link(prefix + text)
        except FormatError:
            continue
        assert link.value.isascii() and link.value.isprintable() and " " not in link.value
        assert read_link(link.value)[1] == link.value or link.kind in ("url", "direct", "magnet")


def test_headers_behind_a_url_are_taken_off_and_decoded() -> None:
    url, headers = split_headers(
        "http://h/a.ts|User-Agent=A%20b%2F1&Referer=http%3A%2F%2Fx%2F%3Fa=1&x"
    )
    assert url == "http://h/a.ts"
    assert headers == [("User-Agent", "A b/1"), ("Referer", "http://x/?a=1"), ("x", "")]


@pytest.mark.parametrize("url", ["http://h/a|b.ts", "http://h/a", "|", "http://h/a|=b"])
def test_a_pipe_without_a_header_is_part_of_the_url(url: str) -> None:
    assert split_headers(url) == (url, [])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("http://h/news/One%20HD.ts?x=1", "One HD"),
        ("http://h/live/u/p/1001", "1001"),
        ("http://h/a.b.example/", "a.b"),
        ("http://h/one.acestream", "one"),
        ("http://h/v1.tenletters", "v1.tenletters"),
        ("http://h/v1.0beta-longending", "v1.0beta-longending"),
        ("http://h/.ts", ".ts"),
        ("http://ana:pw@h:80/", "h"),
        ("http://h/a.ts|User-Agent=x/y.z", "a"),
        (f"plugin://p/?url=acestream://{ID}&name=Canal+Uno", "Canal Uno"),
        (f"plugin://p/?id={ID}&title=Uno", "Uno"),
        (f"magnet:?xt=urn:btih:{HASH}&dn=Due", "Due"),
        ("http://[bad", ""),
        (ID, ID),
    ],
)
def test_a_stream_without_a_name_gets_one_from_its_url(text: str, name: str) -> None:
    assert name_in(text) == name
