"""The services, values in and values out: methods, look-ups that agree with each other, search."""

from __future__ import annotations

from typing import Any

import pytest

from rawstream.simulator_contents import SimContent, bundled_contents
from rawstream.simulator_services import EngineServices

CONTENTS = bundled_contents()
ONE = CONTENTS[0]


def services(contents: list[SimContent] | None = None, **changes: Any) -> EngineServices:
    switches: dict[str, Any] = {
        "version": "3.2.3",
        "platform": "linux",
        "search_needs_token": False,
    }
    return EngineServices(lambda: contents or CONTENTS, **{**switches, **changes})


def server(method: str, **query: str) -> dict[str, Any]:
    return services().server({"method": method, "api_version": "3", **query}, "127.0.0.1").body


@pytest.mark.parametrize(
    ("version", "code", "socket"), [("3.1.70", 3017000, False), ("3.2.11", 3021100, True)]
)
def test_the_version_has_its_code_and_newer_ones_a_websocket(
    version: str, code: int, socket: bool
) -> None:
    body = services(version=version).webui({"method": "get_version"}, "10.0.0.1").body
    assert body["error"] is None
    assert body["result"]["code"] == code and body["result"]["version"] == version
    assert ("websocket_port" in body["result"]) is socket


def test_the_device_id_is_told_when_asked_for() -> None:
    body = services().webui({"method": "get_version", "params": "device-id"}, "::1").body
    assert len(body["result"]["device_id"]) == 40


def test_status_and_network_are_results_without_an_error_key() -> None:
    assert server("get_status") == {
        "result": {
            "playlist_loaded": True,
            "version": {"code": 3020300, "platform": "linux", "version": "3.2.3"},
        }
    }
    assert server("get_network_connection_status") == {"result": {"connected": True}}


def test_an_unknown_method_is_an_object_in_version_3_and_a_string_before() -> None:
    assert server("dance") == {"error": {"message": "unknown method", "code": 0}}
    old = services().server({"method": "dance"}, "127.0.0.1").body
    assert old == {"result": None, "error": "unknown method"}
    assert services().webui({"method": "dance"}, "::1").body["error"] == "unknown method"


def test_the_token_is_for_this_machine_only() -> None:
    assert len(server("get_api_access_token")["result"]["token"]) == 64
    far = services().server({"method": "get_api_access_token"}, "192.168.1.5").body
    assert far == {"result": None, "error": "access denied"}
    assert services().webui({"method": "get_api_access_token"}, "192.168.1.5").body["error"]


def test_media_files_content_id_and_analysis_tell_of_one_content() -> None:
    files = server("get_media_files", content_id=ONE.content_id)["result"]
    assert files["infohash"] == ONE.infohash and files["type"] == "live"
    assert files["files"] == [{"index": 0, "filename": ONE.name}]
    assert server("get_media_files", infohash=ONE.infohash)["result"] == files
    assert server("get_content_id", infohash=ONE.infohash) == {
        "result": {"content_id": ONE.content_id}
    }
    for query in (f"acestream://{ONE.content_id}", f"infohash://{ONE.infohash}"):
        told = server("analyze_content", query=query)["result"]
        assert (told["content_id"], told["infohash"]) == (ONE.content_id, ONE.infohash)
    junk = server("analyze_content", query="what is this")
    assert junk["error"]["message"] == "unknown protocol"


def test_an_infohash_given_as_id_is_known_only_when_cached() -> None:
    contents = bundled_contents()
    query = {"method": "get_media_files", "content_id": ONE.infohash, "api_version": "3"}
    answer = services(contents).server(query, "::1")
    assert answer.body["error"]["message"] == "cannot get transport file" and answer.seconds > 4
    contents[0].infohash_as_id = True
    assert services(contents).server(query, "::1").body["result"]["infohash"] == ONE.infohash


def test_a_content_without_an_id_has_none_to_tell() -> None:
    bare = SimContent("", "c" * 40, "bare", ONE.clip, url="http://lists.test/bare.acelive")
    query = {"method": "get_content_id", "infohash": "c" * 40, "api_version": "3"}
    assert "error" in services([bare]).server(query, "::1").body
    by_url = {"method": "get_media_files", "url": bare.url, "api_version": "3"}
    assert services([bare]).server(by_url, "::1").body["result"]["infohash"] == "c" * 40


def test_search_gives_infohashes_by_the_page() -> None:
    first = services().search({"query": "RawStream", "page_size": "3"}).body["result"]
    second = services().search({"query": "rawstream", "page_size": "3", "page": "1"}).body["result"]
    assert first["total"] == second["total"] == 4
    items = [each["items"][0] for each in first["results"] + second["results"]]
    assert [item["infohash"] for item in items] == [content.infohash for content in CONTENTS]
    assert not any(content.content_id in str(items) for content in CONTENTS)
    assert services().search({"category": "sport"}).body["result"]["total"] == 0
    assert len(services().search({"page_size": "999999"}).body["result"]["results"]) == 4


def test_search_behind_a_token_is_denied_without_it() -> None:
    guarded = services(search_needs_token=True)
    assert guarded.search({}).body == {"result": None, "error": "access denied"}
    assert guarded.search({"token": guarded.token}).body["result"]["total"] == 4
    query = {"method": "search", "api_version": "3"}
    assert guarded.server(query, "::1").body["error"]["message"] == "access denied"
    assert guarded.server({**query, "token": guarded.token}, "::1").body["result"]["total"] == 4
