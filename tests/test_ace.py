"""The AceStream dialect, against a hub that only writes down what it is asked."""

from __future__ import annotations

import base64
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshots import CONTENT_ID, INFOHASH, ShownHub, channel, film, get, hub_snapshot, viewer

from rawstream.ace import STREAM_HEADERS, AceEndpoints, content_of
from rawstream.connection import Exchange
from rawstream.engine_client import ContentRef
from rawstream.errors import ViewerError
from rawstream.hls_face import HlsEndpoints
from rawstream.http1 import Response
from rawstream.watchers import WatcherKey

HELD: Exchange = cast(Any, object())
MAGNET = f"magnet:?xt=urn:btih:{INFOHASH}&dn=A+name"


def endpoints(*channels: Any) -> tuple[AceEndpoints, ShownHub]:
    hub = ShownHub(channels)
    return AceEndpoints(cast(Any, hub), HlsEndpoints(cast(Any, hub))), hub


def answered(answer: Any) -> dict[str, Any]:
    assert isinstance(answer, Response)
    return cast(dict[str, Any], orjson.loads(answer.body))


# -- which content --


@pytest.mark.parametrize(
    ("query", "ref"),
    [
        ({"id": CONTENT_ID}, ContentRef("unknown", CONTENT_ID)),
        ({"content_id": CONTENT_ID.upper()}, ContentRef("content_id", CONTENT_ID)),
        ({"infohash": f" {INFOHASH} "}, ContentRef("infohash", INFOHASH)),
        ({"id": f"acestream://{CONTENT_ID}/"}, ContentRef("unknown", CONTENT_ID)),
        ({"infohash": f"infohash://{INFOHASH}"}, ContentRef("infohash", INFOHASH)),
        ({"magnet": MAGNET}, ContentRef("infohash", INFOHASH)),
        ({"magnet": MAGNET.replace(INFOHASH, INFOHASH.upper())}, ContentRef("infohash", INFOHASH)),
        (
            {"magnet": f"magnet:?xt=urn:btih:{base64.b32encode(bytes.fromhex(INFOHASH)).decode()}"},
            ContentRef("infohash", INFOHASH),
        ),
        (
            {"magnet": f"magnet:?xt.1=urn:ed2k:00&xt.2=urn:btih:{INFOHASH}"},
            ContentRef("infohash", INFOHASH),
        ),
        ({"url": "http://h/x.ACELIVE?a=b"}, ContentRef("url", "http://h/x.ACELIVE?a=b")),
        ({"url": "http://h/x.torrent"}, ContentRef("url", "http://h/x.torrent")),
        ({"url": "https://h:8443/live/1.ts#t"}, ContentRef("direct", "https://h:8443/live/1.ts")),
        (
            {"url": "http://[::1]:8000/é?q=ü"},
            ContentRef("direct", "http://[::1]:8000/%C3%A9?q=%C3%BC"),
        ),
        ({"url": "http://h/a%20b"}, ContentRef("direct", "http://h/a%20b")),
    ],
)
def test_a_query_names_a_content(query: dict[str, str], ref: ContentRef) -> None:
    assert content_of(query) == ref


def test_the_precedence_is_the_engines_and_an_empty_parameter_counts_as_absent() -> None:
    everything = {
        "magnet": MAGNET,
        "url": "http://h/x.ts",
        "infohash": INFOHASH,
        "content_id": CONTENT_ID,
    }
    assert content_of(everything).kind == "content_id"
    assert content_of({**everything, "content_id": ""}).kind == "infohash"
    assert content_of({**everything, "content_id": "", "infohash": " "}).kind == "direct"
    del everything["content_id"], everything["infohash"], everything["url"]
    assert content_of(everything) == ContentRef("infohash", INFOHASH)


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({}, "id="),
        ({"pid": CONTENT_ID, "format": "json"}, "id="),
        ({"id": "xyz"}, "id= takes 40"),
        ({"content_id": CONTENT_ID + "0"}, "content_id= takes 40"),
        ({"infohash": INFOHASH[:-1] + "g"}, "infohash= takes 40"),
        ({"infohash": INFOHASH[:-1] + "٣"}, "infohash= takes 40"),  # a digit, but not ASCII's
        ({"url": "file:///etc/passwd"}, "http://"),
        ({"url": "//host/x"}, "http://"),
        ({"url": "http://"}, "http://"),
        ({"url": "http://h:99999/"}, "http://"),
        ({"url": "http://h:0/"}, "http://"),
        ({"url": "http://[::1/"}, "http://"),
        ({"url": "http://bücher/"}, "http://"),
        ({"url": "http://h/ HTTP/1.1"}, "blanks"),
        ({"url": "http://h/\r\nX: y"}, "blanks"),
        ({"magnet": f"magnet:?dn={INFOHASH}"}, "btih"),
        ({"magnet": "magnet:?xt=urn:btih:short"}, "btih"),
        ({"magnet": f"xt=urn:btih:{INFOHASH}"}, "btih"),
    ],
)
def test_a_query_that_names_nothing_is_refused_with_a_sentence(
    query: dict[str, str], word: str
) -> None:
    with pytest.raises(ViewerError) as refused:
        content_of(query)
    assert refused.value.status == 400
    assert word in refused.value.reason


@given(st.sampled_from(["id", "content_id", "infohash", "url", "magnet"]), st.text())
def test_any_text_is_a_content_or_a_refusal(parameter: str, text: str) -> None:
    try:
        ref = content_of({parameter: text})
    except ViewerError as refused:
        assert refused.status == 400
    else:
        assert ref.value.isascii() and ref.value.isprintable() and " " not in ref.value


# -- getstream --


def test_getstream_hands_the_viewer_to_the_hub_and_filters_every_other_parameter() -> None:
    ace, hub = endpoints()
    request = get(f"/ace/getstream?id={CONTENT_ID}&pid=1&sid=2&format=json&_idx=0&.mp4")
    ace.getstream(request, HELD)
    assert hub.watched == [(ContentRef("unknown", CONTENT_ID), HELD)]


def test_head_answers_at_once_with_the_streams_head_and_starts_nothing() -> None:
    ace, hub = endpoints()
    heads: list[Any] = []

    class Answered:
        def stream(self, headers: Any, content_type: str) -> None:
            heads.append((headers, content_type))

    request = get(f"/ace/getstream?infohash={INFOHASH}", method="HEAD")
    ace.getstream(request, cast(Any, Answered()))
    assert heads == [(STREAM_HEADERS, "video/mp2t")]
    assert hub.watched == []
    with pytest.raises(ViewerError):
        ace.getstream(get("/ace/getstream?id=nonsense", method="HEAD"), HELD)


def test_the_playlist_of_a_content_is_asked_for_by_address_and_user_agent() -> None:
    ace, hub = endpoints()
    request = get(f"/ace/manifest.m3u8?infohash={INFOHASH}&format=json", {"user-agent": "box"})
    ace.manifest(request, HELD)
    key = WatcherKey(0, 0, request.peer[0], "box")
    assert hub.watched == [(ContentRef("infohash", INFOHASH), HELD, key, "")]
    with pytest.raises(ViewerError):
        ace.manifest(get("/ace/manifest.m3u8"), HELD)


# -- status --


def test_status_without_a_content_counts_the_channels_that_run() -> None:
    ace, _ = endpoints(channel(), channel(state="starting"), channel(state="failed"))
    assert answered(ace.status(get("/ace/status"), HELD)) == {"streams": 2}


@pytest.mark.parametrize("query", [f"id={CONTENT_ID}", f"infohash={INFOHASH.upper()}"])
def test_status_of_a_content_has_pyacexys_keys_and_never_the_engines_address(query: str) -> None:
    ace, _ = endpoints(channel(viewers=(viewer(), viewer()), held=1))
    answer = ace.status(get(f"/ace/status?{query}"), HELD)
    document = answered(answer)
    assert document["clients"] == 3
    assert document["stream_id"] in (CONTENT_ID, INFOHASH)
    assert document["stat_url"] == f"/ace/status?infohash={INFOHASH}"
    assert (document["state"], document["waiting"], document["peers"]) == ("live", 1, 23)
    assert b"10.0.0.5" not in answer.body


def test_the_stat_url_of_a_direct_source_leads_back_to_the_same_channel() -> None:
    url = "http://h/x.ts?a=1&b=2"
    shown = channel(key="direct", infohash=None, content=(f"direct:{url}",))
    ace, _ = endpoints(shown)
    first = answered(ace.status(get("/ace/status?url=http%3A%2F%2Fh%2Fx.ts%3Fa%3D1%26b%3D2"), HELD))
    again = answered(ace.status(get(first["stat_url"]), HELD))
    assert again == first


@pytest.mark.parametrize("state", ["idle", "stopping", "failed"])
def test_status_of_a_content_that_does_not_run_is_404(state: str) -> None:
    ace, _ = endpoints(channel(state=state))
    assert ace.status(get(f"/ace/status?infohash={INFOHASH}"), HELD).status == 404
    other = ace.status(get(f"/ace/status?infohash={'99' * 20}"), HELD)
    assert other.status == 404
    assert answered(other) == {"error": "stream not found"}


def test_status_of_a_film_has_pyacexys_keys_too() -> None:
    ace, hub = endpoints()
    hub.shown = hub_snapshot(films=[film(held=1)])
    document = answered(ace.status(get(f"/ace/status?infohash={INFOHASH}"), HELD))
    assert (document["clients"], document["waiting"], document["state"]) == (2, 1, "playing")
    assert document["length"] == 2_500_000_000


# -- service --


def test_get_version_has_the_engines_shape_and_says_who_answers() -> None:
    ace, _ = endpoints()
    document = answered(ace.service(get("/webui/api/service?method=get_version"), HELD))
    assert document["error"] is None
    assert isinstance(document["result"]["code"], int)
    assert document["result"]["platform"] == "linux"
    assert "rawstream" in document["result"]["version"]


def test_an_unknown_method_is_answered_as_the_engine_does() -> None:
    ace, _ = endpoints()
    for target in ("/webui/api/service?method=shutdown", "/webui/api/service"):
        assert answered(ace.service(get(target), HELD)) == {
            "result": None,
            "error": "unknown method",
        }


def test_jsonp_wraps_the_answer_in_a_function_of_a_plain_name_only() -> None:
    ace, _ = endpoints()
    target = "/webui/api/service?method=get_version&format=jsonp&callback="
    answer = ace.service(get(target + "a.b_1"), HELD)
    assert answer.body.startswith(b"a.b_1({")
    assert answer.content_type == "application/javascript"
    with pytest.raises(ViewerError):
        ace.service(get(target + "alert(1)%2F%2F"), HELD)
