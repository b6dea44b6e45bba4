"""The table of URLs, walked with peers of every kind; and who a peer is, through proxies."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshots import INFOHASH, ShownHub, ShownServer, channel, get

from rawstream.config import Config
from rawstream.connection import Exchange
from rawstream.errors import ChannelUnavailable
from rawstream.http1 import Request, Response
from rawstream.routes import Access, PlayerEndpoints, Route, Router, parse_address, resolve_peer


class HeadOnly:
    """An exchange that a HEAD is answered through."""

    def stream(self, *_arguments: Any) -> None: ...


EXCHANGE: Exchange = cast(Any, HeadOnly())

LOOPBACK = "127.0.0.1"
HOUSEHOLD = "192.168.1.20"
STRANGER = "203.0.113.9"
PROXY = "10.9.9.9"


def router(hub: ShownHub | None = None, **settings: Any) -> Router:
    config = Config(trusted_proxies=(f"{PROXY}/32",), **settings)
    shown = hub or ShownHub((channel(),))
    return Router(config, cast(Any, shown), cast(Any, ShownServer()), started_at=0.0)


def ask(
    where: Router,
    target: str,
    *,
    peer: str = LOOPBACK,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
) -> Response | None:
    answer = where(get(target, headers, method=method, peer=(peer, 40000)), EXCHANGE)
    assert answer is None or isinstance(answer, Response)
    return answer


def status_of(*args: Any, **changes: Any) -> int:
    """The status of an answer; a viewer handed to the hub counts as 200."""
    answer = ask(*args, **changes)
    return 200 if answer is None else answer.status


TABLE = router().table
OPEN = {Access.ANYONE, Access.ACCOUNT}  # the account is the handler's affair
WORKING_TARGETS = {
    "/ace/getstream": f"/ace/getstream?infohash={INFOHASH}",
    "/ace/manifest.m3u8": f"/ace/manifest.m3u8?infohash={INFOHASH}",
    "/webui/api/service": "/webui/api/service?method=get_version",
}


def target_of(route: Route) -> str:
    return WORKING_TARGETS.get(route.path, route.path)


def good(route: Route) -> int:
    return 404 if route.path in ("/hls/{run}/{segment}", "/logos/{name}") else 200


# -- who may --


@pytest.mark.parametrize("route", TABLE, ids=lambda route: route.path)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("peer", "classes"),
    [
        (LOOPBACK, {*OPEN, Access.LOCAL, Access.OPERATOR}),
        ("::1", {*OPEN, Access.LOCAL, Access.OPERATOR}),
        ("::ffff:127.0.0.1", {*OPEN, Access.LOCAL, Access.OPERATOR}),
        (HOUSEHOLD, {*OPEN, Access.LOCAL}),
        ("::ffff:192.168.1.20", {*OPEN, Access.LOCAL}),
        ("fe80::1%eth0", {*OPEN, Access.LOCAL}),
        (STRANGER, OPEN),
        ("::ffff:203.0.113.9", OPEN),
        ("2001:db8::1", OPEN),
        ("", OPEN),  # a Unix socket, or nothing that can be read
    ],
)
def test_a_route_is_answered_to_its_class_of_peers_only(
    route: Route, method: str, peer: str, classes: set[Access]
) -> None:
    expected = good(route) if route.access in classes else 403
    assert status_of(router(), target_of(route), peer=peer, method=method) == expected


@pytest.mark.parametrize("route", TABLE, ids=lambda route: route.path)
@pytest.mark.parametrize(
    "header",
    ["forwarded", "via", "x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"],
)
def test_what_came_through_an_unknown_proxy_is_never_local_whatever_it_claims(
    route: Route, header: str
) -> None:
    expected = good(route) if route.access in OPEN else 403
    for claim in (LOOPBACK, f"for={LOOPBACK}"):
        assert status_of(router(), target_of(route), headers={header: claim}) == expected


def test_a_refusal_names_the_setting_that_would_open_it_and_not_what_is_in_it() -> None:
    answer = ask(router(), "/status", peer=HOUSEHOLD)
    assert answer is not None
    assert b"operator_networks" in answer.body and b"127." not in answer.body
    answer = ask(router(), "/ace/status", peer=STRANGER)
    assert answer is not None
    assert b"ace_networks" in answer.body and b"192.168" not in answer.body
    answer = ask(router(), "/status", headers={"x-forwarded-for": LOOPBACK})
    assert answer is not None
    assert b"trusted_proxies" in answer.body
    assert answer.body.count(b"\n") == 1


def test_the_settings_open_and_close_what_they_name() -> None:
    opened = router(operator_networks=("203.0.113.0/24",), ace_networks=("127.0.0.0/8",))
    assert status_of(opened, "/status", peer=STRANGER) == 200
    assert status_of(opened, "/status", peer=LOOPBACK) == 403
    assert status_of(opened, "/ace/status", peer=HOUSEHOLD) == 403


# -- methods, unknown paths, CORS --


@pytest.mark.parametrize("route", TABLE, ids=lambda route: route.path)
def test_other_methods_are_refused_with_what_is_allowed(route: Route) -> None:
    for method in ("POST", "DELETE", "PUT"):
        answer = ask(router(), target_of(route), method=method)
        assert answer is not None and answer.status == 405
        assert dict(answer.headers)["Allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("route", TABLE, ids=lambda route: route.path)
def test_pages_of_any_origin_may_read_player_routes_and_no_others(route: Route) -> None:
    plain = ask(router(), route.path + "?id=nonsense")
    preflight = ask(router(), route.path, method="OPTIONS")
    assert plain is not None and preflight is not None and preflight.status == 204
    for answer in (plain, preflight):
        names = [name for name, _ in answer.headers]
        assert names.count("Access-Control-Allow-Origin") == int(route.cors), names
    assert ("Access-Control-Allow-Methods" in dict(preflight.headers)) == route.cors
    assert route.cors == route.path.startswith(("/ace/", "/hls/", "/webui/", "/logos/"))


def test_a_preflight_from_a_stranger_is_refused_like_the_request_itself() -> None:
    assert status_of(router(), "/ace/getstream", peer=STRANGER, method="OPTIONS") == 403


@pytest.mark.parametrize("target", ["/", "/nothing", "/ace", "/ace/getstream/x", "/ace%2Fstatus"])
def test_an_unknown_path_is_404(target: str) -> None:
    assert status_of(router(), target) == 404


def test_a_trailing_slash_changes_nothing() -> None:
    assert status_of(router(), "/ace/status/") == 200


def test_a_refusal_of_the_hub_becomes_its_status_with_retry_after() -> None:
    class Refusing(ShownHub):
        def watch(self, *args: Any, **kwargs: Any) -> None:
            raise ChannelUnavailable("too many are waiting", retry_after=3)

    answer = ask(router(Refusing()), f"/ace/getstream?id={INFOHASH}")
    assert answer is not None
    assert (answer.status, answer.body) == (503, b"too many are waiting\n")
    assert dict(answer.headers)["Retry-After"] == "3"


# -- players' paths --


class Named:
    """Instead of the players' handlers: each says its own name."""

    def __getattr__(self, name: str) -> Any:
        if name == "nothing":
            return lambda _request, _exchange: Response(404, b"nothing")
        return lambda _request, _exchange: Response(200, name.encode())


@pytest.mark.parametrize(
    ("target", "handler"),
    [
        ("/player_api.php?x=1", "player_api"),
        ("/player_api/u/p", "player_api"),
        ("/player_api/u/p/get_live_streams", "player_api"),
        ("/player_api/u/5", "player_api"),
        ("/playlist/u/p", "get_php"),
        ("/playlist/u/5", "get_php"),
        ("/playlist/u/p/m3u_plus", "get_php"),
        ("/epg/u/p", "xmltv_php"),
        ("/epg/u/p/gz", "xmltv_php"),
        ("/xmltv.php.gz?x=1", "xmltv_php"),
        ("/streaming/live.php?x=1", "live_by_query"),
        ("/streaming/clients_live.php?x=1", "live_by_query"),
        ("/live/u/p/5.ts", "live"),
        ("/live/token/5.ts", "live"),
        ("/u/p/5", "live"),
        ("/u/p/5.ts", "live"),
        ("/live/u/p/5.m3u8", "live"),
        ("/hls/run/5-x.ts?t=t", "segment"),
        ("/movie/u/p/5.mkv", "film"),
        ("/movie/token/5.mkv", "film"),
        ("/series/u/p/5.mkv", "film"),
        ("/series/token/5", "film"),
        ("/streaming/vod.php?x=1", "film_by_query"),
        ("/timeshift/u/p/60/2026-01-01:10-00/5.ts", "nothing"),
        ("/streaming/timeshift.php?x=1", "nothing"),
        ("/u/p/x", "no such page\n"),
        ("/u/p/5x", "no such page\n"),
        ("/u/p/5.", "no such page\n"),
        ("/u/p/5.t/s", "no such page\n"),
        ("/u/p/%D9%A3", "no such page\n"),
        ("/status/p/5", "no such page\n"),
        ("/timeshift/p/5", "no such page\n"),
    ],
)
def test_a_players_path_has_its_handler_and_may_be_read_by_any_page(
    target: str, handler: str
) -> None:
    config = Config()
    where = Router(
        config,
        cast(Any, ShownHub(())),
        cast(Any, ShownServer()),
        started_at=0.0,
        players=cast(Any, PlayerEndpoints(Named(), Named(), Named(), Named())),
    )
    answer = ask(where, target, peer=STRANGER)
    assert answer is not None
    assert answer.body.decode() == handler
    if answer.body != b"no such page\n":
        assert dict(answer.headers)["Access-Control-Allow-Origin"] == "*"


# -- who asks --

TRUSTED = (ipaddress.ip_network(f"{PROXY}/32"), ipaddress.ip_network("127.0.0.0/8"))


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        (STRANGER, {}, STRANGER),
        (PROXY, {"x-forwarded-for": STRANGER}, STRANGER),
        (PROXY, {"x-forwarded-for": f"{STRANGER}:8080"}, STRANGER),
        (PROXY, {"x-forwarded-for": "[2001:db8::1]:443"}, "2001:db8::1"),
        (PROXY, {"x-forwarded-for": "::ffff:203.0.113.9"}, STRANGER),
        # read from the right: what stands left of the first stranger is his own claim
        (PROXY, {"x-forwarded-for": f"{LOOPBACK}, {HOUSEHOLD}, {STRANGER}"}, STRANGER),
        (PROXY, {"x-forwarded-for": f"{LOOPBACK}, {STRANGER}, {PROXY}"}, STRANGER),
        # all trusted: the one at the far end asks himself
        (PROXY, {"x-forwarded-for": f"{LOOPBACK}, {PROXY}"}, LOOPBACK),
        (PROXY, {"x-forwarded-for": f"{STRANGER}, nonsense"}, None),
        (PROXY, {"x-forwarded-for": ""}, None),
        (PROXY, {"forwarded": f"for={STRANGER};proto=https;by={PROXY}"}, STRANGER),
        (PROXY, {"forwarded": f'for={LOOPBACK}, For="[2001:db8::1]:80"'}, "2001:db8::1"),
        (PROXY, {"forwarded": 'for="_hidden"'}, None),
        (PROXY, {"forwarded": "for=unknown"}, None),
        (PROXY, {"forwarded": f"for={LOOPBACK}, proto=http"}, None),
        (PROXY, {"forwarded": f'for="{STRANGER}'}, None),
        # a proxy that says nothing about who asks
        (PROXY, {"via": "1.1 proxy"}, None),
        (PROXY, {"x-forwarded-proto": "https"}, None),
        # one of the two came from the client, through a proxy that sets only the other
        (PROXY, {"forwarded": f"for={LOOPBACK}", "x-forwarded-for": STRANGER}, None),
        (PROXY, {"forwarded": f"for={STRANGER}", "x-forwarded-for": STRANGER}, STRANGER),
    ],
)
def test_a_peer_is_resolved_through_trusted_proxies(
    peer: str, headers: dict[str, str], address: str | None
) -> None:
    resolved = resolve_peer(peer, headers, TRUSTED)
    assert not resolved.behind
    assert resolved.address == (None if address is None else ipaddress.ip_address(address))


def test_a_peer_that_is_no_trusted_proxy_keeps_its_own_address_and_loses_its_standing() -> None:
    resolved = resolve_peer(HOUSEHOLD, {"x-forwarded-for": LOOPBACK}, TRUSTED)
    assert str(resolved.address) == HOUSEHOLD
    assert not resolved.inside([ipaddress.ip_network("0.0.0.0/0")])


@given(st.sampled_from(["forwarded", "x-forwarded-for"]), st.text(max_size=80))
def test_no_header_text_makes_a_client_of_ours_out_of_nothing(name: str, text: str) -> None:
    resolved = resolve_peer(PROXY, {name: text}, TRUSTED)
    if resolved.address is not None:
        assert str(resolved.address) in text or ":" in text


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_none(text: str) -> None:
    parse_address(text)


def test_a_viewer_behind_a_trusted_proxy_is_shown_with_his_own_address() -> None:
    seen: list[Request] = []

    class Noting(ShownHub):
        def watch(self, ref: Any, exchange: Any, **_more: Any) -> None:
            seen.append(exchange)

    request = get(
        f"/ace/getstream?infohash={INFOHASH}",
        {"x-forwarded-for": HOUSEHOLD},
        peer=(PROXY, 40000),
    )
    assert router(Noting())(request, cast(Any, request)) is None
    assert seen[0].peer == (HOUSEHOLD, 0)
