"""What players ask, and how they ask it: every spelling, every method, every failure."""

from __future__ import annotations

import asyncio
import base64
import gzip
import inspect
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from guides import HOUR, add_guide, guide, show
from test_accounts import FakePasswords

from rawstream.accounts import Accounts
from rawstream.catalogue import UNSORTED, Catalogue, LiveCatalogue
from rawstream.config import Config
from rawstream.errors import ViewerError
from rawstream.http1 import Request, Response
from rawstream.records import Account, Category, Channel, ChannelSource
from rawstream.store import Store
from rawstream.xtream import Login, XtreamEndpoints, parameters

LOGIN = "username=ana&password=pw"


class FakeExchange:
    gone = False

    def __init__(self) -> None:
        self.streamed: list[Any] = []

    def stream(self, headers: Any, content_type: str) -> None:
        self.streamed.append((dict(headers), content_type))


class FakeHub:
    def __init__(self) -> None:
        self.watched: list[tuple[str, str]] = []
        self.failure: ViewerError | None = None

    def watch_channel(self, channel: Channel, exchange: Any, **more: Any) -> None:
        if self.failure is not None:
            raise self.failure
        self.watched.append((channel.name, more["account"]))


class Door:
    def __init__(
        self,
        endpoints: XtreamEndpoints,
        hub: FakeHub,
        accounts: Accounts,
        store: Store,
        catalogue: LiveCatalogue,
    ) -> None:
        self.endpoints = endpoints
        self.catalogue = catalogue
        self.hub = hub
        self.accounts = accounts
        self.store = store
        self.passwords: Any = accounts._passwords
        self.exchange = FakeExchange()

    async def ask(
        self, handler: Callable[..., Any], target: str, method: str = "GET", **more: Any
    ) -> Response:
        headers = {"host": "tv:8080", **more.pop("headers", {})}
        request = Request(method, target, headers, peer=("10.0.0.9", 1), **more)
        try:
            found = handler(request, self.exchange)
            if inspect.isawaitable(found):
                found = await found
        except ViewerError as error:
            found = Response.of_error(error)
        return found if found is not None else Response(0)

    async def api(self, query: str, **more: Any) -> Any:
        answer = await self.ask(self.endpoints.player_api, f"/player_api.php?{query}", **more)
        assert answer.content_type == "application/json"
        return orjson.loads(answer.body)

    async def play(self, target: str, method: str = "GET") -> int:
        return (await self.ask(self.endpoints.live, target, method)).status


@pytest.fixture
async def door(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Door]:
    store = await Store.open(tmp_path)
    await store.accounts.add(Account(0, "ana", "pw", token="tok3n"))
    await store.accounts.add(Account(0, "old", "pw", expires_at=1))
    await store.accounts.add(Account(0, "sam", "pw", allowed_formats=("m3u8",)))
    news = await store.lineup.category_named("News")
    for name in ("One", "Two"):
        await store.lineup.add_channel(
            Channel(0, name, categories=(news.id,), sources=(ChannelSource("unknown", "a" * 40),))
        )
    config = Config(**getattr(request, "param", {}))
    passwords: Any = FakePasswords()
    accounts = Accounts(store.accounts, passwords, config)
    await accounts.reload()
    catalogue = LiveCatalogue(store)
    await catalogue.reload()
    hub: Any = FakeHub()
    endpoints = XtreamEndpoints(config, hub, accounts, catalogue, store)
    yield Door(endpoints, hub, accounts, store, catalogue)
    await store.close()


ACCOUNT_ACTIONS = ("", "get_account_info", "get_profile", "get_server_info", "nonsense")


@pytest.mark.parametrize("action", ACCOUNT_ACTIONS)
async def test_row_1_no_action_or_an_unknown_one_is_the_account(door: Door, action: str) -> None:
    found = await door.api(f"{LOGIN}&action={action}")
    assert found["user_info"]["auth"] == 1
    assert found["server_info"]["url"] == "tv"
    assert found["server_info"]["port"] == "8080"


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("get_live_categories", [{"category_id": "1", "category_name": "News", "parent_id": 0}]),
        ("201", [{"category_id": "1", "category_name": "News", "parent_id": 0}]),
        ("get_vod_categories", []),
        ("get_vod_streams", []),
        ("get_series_categories", []),
        ("get_series", []),
        ("get_vod_info", {"info": []}),
        ("get_series_info", {"seasons": [], "info": {"name": None}, "episodes": {}}),
        ("get_short_epg", {"epg_listings": []}),
        ("get_simple_data_table", {"epg_listings": []}),
        ("get_simple_date_table", {"epg_listings": []}),
    ],
)
async def test_rows_16_17_actions(door: Door, action: str, expected: Any) -> None:
    assert await door.api(f"{LOGIN}&action={action}&stream_id=x&vod_id=&series_id=9") == expected


@pytest.mark.parametrize("filter_text", ["", "0", "*", "all", "x"])
async def test_every_spelling_of_no_filter(door: Door, filter_text: str) -> None:
    query = f"{LOGIN}&action=get_live_streams&category_id={filter_text}"
    assert len(await door.api(query)) == 2


async def test_filters_and_pages(door: Door) -> None:
    query = f"{LOGIN}&action=get_live_streams"
    assert await door.api(f"{query}&category_id=77") == []
    page = await door.api(f"{query}&params[offset]=1&params[items_per_page]=1")
    assert [row["name"] for row in page] == ["Two"]


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff\xfe", b"action=x&action=y"])
async def test_row_18_a_post_is_answered_whatever_its_body(door: Door, body: bytes) -> None:
    assert (await door.api(LOGIN, method="POST", body=body))["user_info"]["auth"] == 1


async def test_row_18_the_form_may_hold_the_login(door: Door) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    found = await door.api("", method="POST", headers=headers, body=LOGIN.encode())
    assert found["user_info"]["auth"] == 1
    request = Request("POST", "/?a=1&c=&d=", headers, body=b"a=2&b=3&c=4")
    assert parameters(request) == {"a": "1", "b": "3", "c": "4", "d": ""}


async def test_row_21_failures(door: Door) -> None:
    found = await door.api("username=ana&password=no")
    assert (found["user_info"]["auth"], found["user_info"]["password"]) == (0, "no")
    wrong = "username=ana&password=no"
    for handler, query, status in (
        (door.endpoints.player_api, f"{wrong}&action=get_live_streams", 401),
        (door.endpoints.get_php, wrong, 403),
        (door.endpoints.xmltv_php, wrong, 403),
        (door.endpoints.get_php, "username=old&password=pw", 403),
    ):
        assert (await door.ask(handler, f"/?{query}")).status == status


async def test_a_login_that_must_wait_is_told_so_in_json(door: Door) -> None:
    door.passwords.failure = ViewerError(503, "too many logins at once", retry_after=2)
    answer = await door.ask(door.endpoints.player_api, f"/?{LOGIN}&action=get_live_streams")
    assert (answer.status, answer.content_type) == (503, "application/json")
    assert dict(answer.headers)["Retry-After"] == "2"
    info = orjson.loads(answer.body)["user_info"]
    assert (info["auth"], info["message"]) == (0, "too many logins at once")


async def test_what_a_login_by_token_is_told_of_itself_plays(door: Door) -> None:
    info = (await door.api("token=tok3n"))["user_info"]
    assert await door.play(f"/live/{info['username']}/{info['password']}/1.ts") == 0
    login = f"username={info['username']}&password={info['password']}"
    assert len(await door.api(f"{login}&action=get_live_streams")) == 2
    again = (await door.api("username=tok3n&password=tok3n"))["user_info"]
    assert await door.play(f"/live/{again['username']}/{again['password']}/1.ts") == 0
    assert door.passwords.checks == 0


@pytest.mark.parametrize(
    "path",
    ["/player_api/ana/pw", "/player_api/ana/pw/get_profile", "/player_api/ana/pw?token=no"],
)
async def test_the_path_may_hold_the_login(door: Door, path: str) -> None:
    answer = await door.ask(door.endpoints.player_api, path)
    assert orjson.loads(answer.body)["user_info"]["auth"] == 1
    answer = await door.ask(door.endpoints.player_api, "/player_api/ana/pw/get_live_streams")
    assert len(orjson.loads(answer.body)) == 2
    plain = await door.ask(door.endpoints.get_php, "/playlist/ana/pw/m3u")
    assert plain.body.startswith(b"#EXTM3U\n")
    full = await door.ask(door.endpoints.get_php, "/playlist/ana/pw")
    assert full.body.startswith(b"#EXTM3U url-tvg=")
    assert (await door.ask(door.endpoints.get_php, "/playlist/ana/no")).status == 403


async def test_an_expired_account_may_see_that_it_is(door: Door) -> None:
    old = "username=old&password=pw"
    assert (await door.api(old))["user_info"]["status"] == "Expired"
    assert await door.api(f"{old}&action=get_live_streams") == []
    assert await door.api(f"{old}&action=get_short_epg") == {"epg_listings": []}
    assert await door.play("/live/old/pw/1.ts") == 403


async def test_who_guesses_is_told_to_stop(door: Door) -> None:
    for _ in range(10):
        await door.api("username=ana&password=no")
    answer = await door.ask(door.endpoints.player_api, "/?username=ana&password=no")
    assert answer.status == 429
    assert dict(answer.headers)["Retry-After"]


SIX = (
    "/live/ana/pw/1.ts",
    "/live/ana/pw/1",
    "//live//ana/pw/1.ts/",
    "/ana/pw/1",
    "/ana/pw/1.ts",
    "/live/tok3n/1.ts",
    "/live/tok3n/1",
)


@pytest.mark.parametrize("target", SIX)
async def test_row_4_every_spelling_plays(door: Door, target: str) -> None:
    assert await door.play(target) == 0
    assert door.hub.watched == [("One", "ana")]


@pytest.mark.parametrize(
    "query", ["&stream=1", "&stream=1&extension=ts", "&stream=1.ts", "&stream=1&extension="]
)
@pytest.mark.parametrize("login", [LOGIN, "token=tok3n"])
async def test_a_query_plays_as_a_path_does(door: Door, query: str, login: str) -> None:
    target = f"/streaming/live.php?{login}{query}"
    assert (await door.ask(door.endpoints.live_by_query, target)).status == 0
    assert door.hub.watched == [("One", "ana")]
    for wrong, status in (("&stream=1&extension=m3u8", 404), ("&stream=", 404), ("", 404)):
        target = f"/streaming/live.php?{login}{wrong}"
        assert (await door.ask(door.endpoints.live_by_query, target)).status == status


@pytest.mark.parametrize("target", SIX)
async def test_row_6_head_is_answered_and_starts_nothing(door: Door, target: str) -> None:
    assert await door.play(target, "HEAD") == 0
    assert door.hub.watched == []
    ((headers, content_type),) = door.exchange.streamed
    assert (content_type, headers["Accept-Ranges"]) == ("video/mp2t", "none")


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/live/ana/no/1.ts", 403),
        ("/live/nobody/pw/1.ts", 403),
        ("/live/badtoken/1.ts", 403),
        ("/live/sam/pw/1.ts", 403),
        ("/live/sam/pw/1", 403),
        ("/live/ana/pw/99.ts", 404),
        ("/live/ana/pw/x.ts", 404),
        ("/live/ana/pw/1.m3u8", 404),
        ("/live/ana/pw/99999999999999.ts", 404),
    ],
)
async def test_rows_24_32_what_does_not_play(door: Door, target: str, status: int) -> None:
    assert await door.play(target) == status


async def test_a_channel_that_fails_gives_its_lease_back(door: Door) -> None:
    door.hub.failure = ViewerError(503, "no", retry_after=1)
    for _ in range(20):  # more than the sockets one player may have
        assert await door.play("/live/ana/pw/1.ts") == 503
    door.hub.failure = None
    assert await door.play("/live/ana/pw/1.ts") == 0


async def test_the_list_has_the_address_and_the_credentials_it_was_asked_with(door: Door) -> None:
    answer = await door.ask(door.endpoints.get_php, f"/get.php?{LOGIN}&type=m3u_plus&output=ts")
    text = answer.body.decode()
    assert "http://tv:8080/live/ana/pw/1.ts" in text
    assert 'url-tvg="http://tv:8080/xmltv.php?username=ana&password=pw"' in text
    assert 'filename="playlist_ana_plus.m3u"' in dict(answer.headers)["Content-Disposition"]
    token = (await door.ask(door.endpoints.get_php, "/get.php?token=tok3n")).body.decode()
    assert "http://tv:8080/live/tok3n/1.ts" in token
    assert "pw" not in token
    films = await door.ask(door.endpoints.get_php, f"/get.php?{LOGIN}&key=movie")
    assert films.body.count(b"\n") == 1


async def test_row_26_the_guide_is_cached_and_packed(door: Door) -> None:
    first = await door.ask(door.endpoints.xmltv_php, f"/xmltv.php?{LOGIN}")
    assert first.body.startswith(b"<?xml")
    tag = dict(first.headers)["ETag"]
    for said, status in (
        (tag, 304),
        (f"W/{tag}", 304),
        (f'"x", W/"y,z",{tag}', 304),
        ("*", 304),
        (tag.strip('"'), 200),
        (f'{tag[:-2]}"', 200),
        ('"x"', 200),
    ):
        again = await door.ask(
            door.endpoints.xmltv_php, f"/xmltv.php?{LOGIN}", headers={"if-none-match": said}
        )
        assert again.status == status, said


@pytest.mark.parametrize(
    "target", [f"/xmltv.php?{LOGIN}&gzip=1", f"/xmltv.php.gz?{LOGIN}", "/epg/ana/pw/gz"]
)
async def test_row_26_a_guide_is_a_packed_file_for_who_wants_one(door: Door, target: str) -> None:
    plain = await door.ask(door.endpoints.xmltv_php, "/epg/ana/pw")
    assert plain.body.startswith(b"<?xml")
    answer = await door.ask(door.endpoints.xmltv_php, target)
    assert (answer.status, answer.content_type) == (200, "application/gzip")
    assert gzip.decompress(answer.body) == plain.body


async def test_a_head_of_the_guide_builds_nothing(door: Door) -> None:
    answer = await door.ask(door.endpoints.xmltv_php, f"/xmltv.php?{LOGIN}", "HEAD")
    assert answer.status == 0, "answered as a stream without its length"
    ((_headers, content_type),) = door.exchange.streamed
    assert content_type.startswith("application/xml")
    await door.ask(door.endpoints.xmltv_php, f"/xmltv.php?{LOGIN}")
    known = await door.ask(door.endpoints.xmltv_php, f"/xmltv.php?{LOGIN}", "HEAD")
    assert (known.status, bool(known.body)) == (200, True)


async def test_the_guide_reaches_as_far_as_it_is_asked_to(door: Door) -> None:
    now = int(time.time())
    programmes = [
        show("one.it", now + n * 24 * HOUR, now + n * 24 * HOUR + HOUR, f"day {n}")
        for n in range(-2, 12)
    ]
    await add_guide(door.store, guide(*programmes), now=now)
    await door.store.guide.set_mapping(1, "one.it")
    await door.catalogue.reload()
    for query, days in (
        ("", (-1, 7)),
        ("&prev_days=0&next_days=1", (0, 1)),
        ("&days=3", (-1, 3)),
        ("&prev_days=x&next_days=99", (-1, 11)),
    ):
        answer = await door.ask(door.endpoints.xmltv_php, f"/xmltv.php?{LOGIN}{query}")
        found = re.findall(rb"day (-?[0-9]+)<", answer.body)
        assert (int(found[0]), int(found[-1])) == days, query
    streams = await door.api(f"{LOGIN}&action=get_live_streams")
    assert [row["epg_channel_id"] for row in streams] == ["one.it", None]
    rows = (await door.api(f"{LOGIN}&action=get_short_epg&stream_id=1"))["epg_listings"]
    assert base64.b64decode(rows[0]["title"]) == b"day 0"
    listed = await door.ask(door.endpoints.get_php, f"/get.php?{LOGIN}")
    assert b'tvg-id="one.it"' in listed.body


async def test_the_panel_has_the_whole_line_up(door: Door) -> None:
    answer = await door.ask(door.endpoints.panel_api, f"/panel_api.php?{LOGIN}")
    found = orjson.loads(answer.body)
    assert found["user_info"]["auth"] == 1
    assert [row["name"] for row in found["available_channels"].values()] == ["One", "Two"]
    assert found["categories"]["live"][0]["category_name"] == "News"


async def test_enigma2_descends_and_plays(door: Door) -> None:
    top = await door.ask(door.endpoints.enigma2_php, f"/enigma2.php?{LOGIN}")
    assert b"type=get_live_streams&cat_id=1" in top.body
    below = await door.ask(
        door.endpoints.enigma2_php, f"/enigma2.php?{LOGIN}&type=get_live_streams&cat_id=1"
    )
    assert below.body.count(b"<stream_url>") == 2


async def test_enigma2_finds_a_channel_in_each_of_its_categories(door: Door) -> None:
    categories = [Category(3, "News"), Category(4, "Sport")]
    door.catalogue.current = Catalogue(
        9,
        [Channel(1, "One", logo="http://l/1", categories=(3, 4)), Channel(2, "Two")],
        categories,
    )
    found = {}
    for category in (3, 4, UNSORTED.id, 99, 0):
        target = f"/enigma2.php?{LOGIN}&type=get_live_streams&cat_id={category}"
        body = (await door.ask(door.endpoints.enigma2_php, target)).body
        found[category] = [number for number in (1, 2) if b"/%d.ts]" % number in body]
        assert (b"<desc_image><![CDATA[http://l/1]]>" in body) == (1 in found[category])
    assert found == {3: [1], 4: [1], UNSORTED.id: [2], 99: [], 0: [1, 2]}
    door.catalogue.current = Catalogue(10, [Channel(1, "One", categories=(77,))])
    target = f"/enigma2.php?{LOGIN}&type=get_live_streams"
    body = (await door.ask(door.endpoints.enigma2_php, target)).body
    assert b"<category_id>0<" in body, "a category that is gone"


@pytest.mark.parametrize("door", [{"kodi_properties": False}], indirect=True)
async def test_lines_for_kodi_may_be_left_out(door: Door) -> None:
    answer = await door.ask(door.endpoints.get_php, f"/get.php?{LOGIN}")
    assert b"#KODIPROP" not in answer.body
    assert b"/live/ana/pw/1.ts" in answer.body


async def test_lists_are_packed_for_those_who_take_it(door: Door) -> None:
    big = Login("ana", "pw")
    assert (big.path, big.query) == ("ana/pw", LOGIN)
    answer = await door.ask(
        door.endpoints.player_api,
        f"/player_api.php?{LOGIN}&action=get_live_streams",
        headers={"accept-encoding": "gzip;q=0, br"},
    )
    assert "Content-Encoding" not in dict(answer.headers)
    assert orjson.loads(answer.body)


async def test_many_at_once_cost_one_check(door: Door) -> None:
    await asyncio.gather(*(door.api(LOGIN) for _ in range(20)))
    assert door.accounts.verified("ana", "pw") is not None
