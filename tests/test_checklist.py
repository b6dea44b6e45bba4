"""What breaks a popular player if it is wrong: the checklist of the Xtream reference (§13), row by
row, against a running server. Most damaging first; each test is named after its row.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import re
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from front_door import CHANNELS, Heard, api, ask, front_door, login, run
from lxml import etree
from stage import PATIENCE_SECONDS, until
from wire import dial, receive, send

from rawstream.config import Timeouts
from rawstream.passwords import Passwords
from rawstream.records import Account, Channel, ChannelSource
from rawstream.simulator import bundled_contents, film_contents
from rawstream.store import Store

QUERY = "username=demo&password=demo"
LISTS = ("get_live_categories", "get_live_streams", "get_vod_categories", "get_vod_streams")
LISTS += ("get_series_categories", "get_series")
ACCOUNT_ACTIONS = ("", "get_account_info", "get_profile", "get_server_info", "whatever")
GUIDE_ACTIONS = ("get_short_epg", "get_simple_data_table", "get_simple_date_table")
NUMBER = re.compile(r"[0-9]+")
MOMENT = "%Y-%m-%d %H:%M:%S"
NULL_PID = 0x1FFF
INT32 = range(1, 2**31)


async def account(url: str) -> Any:
    return (await ask(login(url))).json


async def listed(url: str, query: str = QUERY) -> str:
    heard = await ask(f"{url}/get.php?{query}&type=m3u_plus&output=ts")
    assert heard.status == 200
    return heard.body.decode()


async def guide(url: str) -> etree._Element:
    return etree.fromstring((await ask(f"{url}/xmltv.php?{QUERY}")).body)


async def programmes(url: str) -> list[dict[str, Any]]:
    """What both guide actions say of every channel."""
    rows = []
    for stream in await api(url, "get_live_streams"):
        for action in ("get_short_epg", "get_simple_data_table"):
            found = await api(url, action, stream_id=stream["stream_id"])
            assert found["epg_listings"], f"{action} of {stream['name']}"
            rows += found["epg_listings"]
    return rows


class Watching:
    """A player's open connection to a channel."""

    def __init__(self, sock: socket.socket, head: bytes) -> None:
        self.socket = sock
        self.head = head

    @property
    def status(self) -> int:
        return int(self.head.split()[1])

    async def more(self, size: int) -> None:
        """Until so many more bytes have come."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while size > 0:
                piece = await asyncio.get_running_loop().sock_recv(self.socket, size)
                assert piece, "the stream has ended"
                size -= len(piece)

    async def over(self) -> None:
        """Until the server ends it."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await asyncio.get_running_loop().sock_recv(self.socket, 1 << 16):
                    pass
        except ConnectionResetError:
            pass

    def close(self) -> None:
        self.socket.close()


async def watch(url: str, stream: int, agent: str = "Box") -> Watching:
    sock = await dial(urlsplit(url).port or 0)
    path = f"/live/demo/demo/{stream}.ts"
    await send(sock, f"GET {path} HTTP/1.1\r\nHost: a\r\nUser-Agent: {agent}\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE_SECONDS):
        return Watching(sock, await receive(sock, b"\r\n\r\n"))


async def demo_account(worker: Any) -> int:
    found = await worker.store.accounts.by_name("demo")
    assert found is not None
    return int(found.id)


@pytest.mark.parametrize("action", ACCOUNT_ACTIONS)
async def test_row_01_any_unknown_action_is_the_whole_account(tmp_path: Path, action: str) -> None:
    async with front_door(tmp_path) as (_worker, url):
        found = await api(url, action)
    user, server = found["user_info"], found["server_info"]
    assert user["auth"] == 1
    assert type(user["auth"]) is int
    assert user["status"] == "Active"
    keys = "username password message auth status exp_date is_trial active_cons created_at"
    assert set(user) >= {*keys.split(), "max_connections", "allowed_output_formats"}
    keys = "url port https_port server_protocol rtmp_port timezone timestamp_now time_now process"
    assert set(server) >= set(keys.split())


async def test_row_02_credentials_come_back_as_they_were_typed(tmp_path: Path) -> None:
    async with front_door(tmp_path, case_sensitive_names=False) as (_worker, url):
        for name, password in (("demo", "demo"), ("DEMO", "demo"), ("demo", "Wr.ong@1")):
            heard = await ask(f"{url}/player_api.php?username={name}&password={password}")
            user = heard.json["user_info"]
            assert (user["username"], user["password"]) == (name, password)


async def test_row_03_the_server_is_where_the_client_found_it(tmp_path: Path) -> None:
    async with front_door(tmp_path) as (_worker, url):
        for host, name, port in (
            ("tv.example.org:8080", "tv.example.org", "8080"),
            ("tv.example.org", "tv.example.org", "80"),
            ("[2001:db8::1]:8080", "2001:db8::1", "8080"),
        ):
            server = (await ask(login(url), Host=host)).json["server_info"]
            assert server["url"].strip("[]") == name
            assert (server["port"], server["server_protocol"]) == (port, "http")
            assert all(type(server[key]) is str for key in ("https_port", "rtmp_port"))


async def test_row_04_every_form_of_a_stream_url_plays(tmp_path: Path) -> None:
    forms = ("/live/demo/demo/1.ts", "/live/demo/demo/1", "/demo/demo/1.ts", "/demo/demo/1")
    async with front_door(tmp_path) as (_worker, url):
        for form in forms:
            heard = await ask(f"{url}{form}", enough=20 * 188)
            assert (heard.status, heard.body[::188]) == (200, b"G" * 20), form


@pytest.mark.parametrize("asked", [{}, {"Range": "bytes=0-"}, {"Range": "bytes=1000-2000"}])
async def test_row_05_a_live_stream_has_no_length_and_no_ranges(
    tmp_path: Path, asked: dict[str, str]
) -> None:
    async with front_door(tmp_path) as (_worker, url):
        heard = await ask(f"{url}/live/demo/demo/1.ts", enough=188, **asked)
    assert (heard.status, heard.headers["content-type"]) == (200, "video/mp2t")
    assert not {"content-length", "content-range", "transfer-encoding"} & set(heard.headers)
    assert heard.headers.get("accept-ranges", "none") == "none"


async def test_row_06_a_head_starts_nothing_and_counts_nobody(tmp_path: Path) -> None:
    contents = bundled_contents()
    async with front_door(tmp_path, contents=contents) as (worker, url):
        for _ in range(5):
            heard = await ask(f"{url}/live/demo/demo/1.ts", "HEAD")
            assert (heard.status, heard.headers["content-type"]) == (200, "video/mp2t")
        assert worker.hub.snapshot().channels == ()
        assert contents[0].counters.opens == 0
        assert (await account(url))["user_info"]["active_cons"] == "0"
        for path in ("get.php", "xmltv.php", "player_api.php"):
            assert (await ask(f"{url}/{path}?{QUERY}", "HEAD")).status == 200


@pytest.mark.parametrize("policy", ["take over", "refuse"])
async def test_row_07_kodis_probes_and_the_overlap_of_its_zap_pass_at_a_limit_of_one(
    tmp_path: Path, policy: str
) -> None:
    """The measured sequence: HEAD, GET, HEAD, GET, GET, GET; then the next channel's before the
    first is left (§9.4).
    """
    async with front_door(tmp_path, limit_policy=policy) as (worker, url):
        demo = await demo_account(worker)
        former: list[Watching] = []
        for stream in (1, 2, 3):
            head = f"{url}/live/demo/demo/{stream}.ts"
            assert (await ask(head, "HEAD")).status == 200
            probes = [await watch(url, stream, "Kodi/20.1")]
            assert (await ask(head, "HEAD")).status == 200
            probes += [await watch(url, stream, "Kodi/20.1") for _ in range(3)]
            assert [probe.status for probe in probes] == [200] * 4
            for old in (*former, *probes[:-1]):
                old.close()
            former = probes[-1:]
            await former[0].more(100 * 188)
            assert worker.accounts.active(demo) <= 1
        former[0].close()


async def test_row_08_a_new_player_wins_over_the_old_one(tmp_path: Path) -> None:
    timeouts = Timeouts.for_tests(count_after_seconds=0.1, zap_overlap_seconds=0.2)
    async with front_door(tmp_path, timeouts=timeouts) as (worker, url):
        demo = await demo_account(worker)
        stale = await watch(url, 1, "the living room")
        await until(lambda: worker.accounts.active(demo) == 1, "the first player counts")
        fresh = await watch(url, 2, "the kitchen")
        assert (stale.status, fresh.status) == (200, 200)
        await stale.over()
        await fresh.more(100 * 188)
        assert worker.accounts.active(demo) == 1
        stale.close()
        fresh.close()


async def test_row_09_who_gives_up_at_8_s_is_told_in_time_and_finds_a_warm_channel(
    tmp_path: Path,
) -> None:
    assert Timeouts().hold_impatient_seconds < 8
    contents = bundled_contents()
    contents[0].fault("delay", where="playback", seconds=2.0, times=1)
    # far from each other, so that only the shorter one can end the wait in time
    timeouts = Timeouts.for_tests(hold_impatient_seconds=0.3, hold_seconds=600, linger_seconds=30)
    exoplayer = {"Accept-Encoding": "identity", "Icy-MetaData": "1", "User-Agent": "ExoPlayerLib/2"}
    async with front_door(tmp_path, contents=contents, timeouts=timeouts) as (_worker, url):
        stream = f"{url}/live/demo/demo/1.ts"
        first = await ask(stream, **exoplayer)
        assert (first.status, "retry-after" in first.headers) == (503, True)
        again = first
        async with asyncio.timeout(PATIENCE_SECONDS):
            while again.status == 503:  # as ExoPlayer does, with the pauses left out
                again = await ask(stream, enough=188, **exoplayer)
        assert again.status == 200
        assert contents[0].counters.opens == 1, "the retry met the same start"


async def test_row_10_numbers_and_text_of_a_stream(tmp_path: Path) -> None:
    async with front_door(tmp_path) as (_worker, url):
        rows = await api(url, "get_live_streams")
    assert len(rows) == 4
    for row in rows:
        for key in ("stream_id", "num", "tv_archive", "tv_archive_duration"):
            assert type(row[key]) is int, key
        assert row["stream_id"] in INT32
        for key in ("category_id", "added"):
            assert type(row[key]) is str, key
            assert NUMBER.fullmatch(row[key]), key
        assert all(type(category) is int for category in row["category_ids"])
    assert [row["num"] for row in rows] == [1, 2, 3, 4]


async def test_row_11_numbers_and_text_of_a_category(tmp_path: Path) -> None:
    async with front_door(tmp_path) as (_worker, url):
        rows = await api(url, "get_live_categories")
    assert [row["category_name"] for row in rows] == ["Pictures", "Sounds"]
    for row in rows:
        assert type(row["category_id"]) is str
        assert NUMBER.fullmatch(row["category_id"])
        assert type(row["parent_id"]) is int


async def test_row_12_guide_texts_are_base64_and_ids_int32(tmp_path: Path) -> None:
    async with front_door(tmp_path) as (_worker, url):
        for action in GUIDE_ACTIONS:
            for odd in ("0", "999999", "x", "", "1.5"):
                assert await api(url, action, stream_id=odd) == {"epg_listings": []}
        for row in await programmes(url):
            assert base64.b64decode(row["title"], validate=True).decode()
            base64.b64decode(row["description"], validate=True).decode()
            assert type(row["channel_id"]) is str
            for key in ("id", "epg_id"):
                assert type(row[key]) is str
                assert int(row[key]) in INT32


async def test_row_13_moments_of_the_guide_are_written_both_ways(tmp_path: Path) -> None:
    async with front_door(tmp_path) as (_worker, url):
        for row in await programmes(url):
            for moment, stamp in (("start", "start_timestamp"), ("end", "stop_timestamp")):
                assert type(row[stamp]) is str
                assert utc(row[moment]) == int(row[stamp])
            for key in ("now_playing", "has_archive"):
                assert type(row[key]) is int
                assert row[key] in (0, 1)


def utc(text: str) -> int:
    return int(datetime.strptime(text, MOMENT).replace(tzinfo=UTC).timestamp())


async def test_row_14_one_clock_and_it_is_utc(tmp_path: Path) -> None:
    async with front_door(tmp_path) as (_worker, url):
        before = int(time.time())
        server = (await account(url))["server_info"]
        after = time.time()
        assert server["timezone"] == "UTC"
        assert utc(server["time_now"]) == server["timestamp_now"]
        assert before <= server["timestamp_now"] <= after
        offsets = {
            programme.get(key, "")[14:]
            for programme in (await guide(url)).findall("programme")
            for key in ("start", "stop")
        }
        assert offsets == {" +0000"}


async def test_row_15_the_expiry_is_a_numeric_string_even_if_there_is_none(tmp_path: Path) -> None:
    until_when = int(time.time()) + 1000

    async def prepare(store: Store) -> None:
        await add_account(store, "ends", expires_at=until_when)

    async with front_door(tmp_path, prepare=prepare) as (_worker, url):
        unlimited = (await account(url))["user_info"]["exp_date"]
        found = await ask(f"{url}/player_api.php?username=ends&password=demo")
    assert time.time() + 365 * 86_400 < int(unlimited) < 2**31
    assert found.json["user_info"]["exp_date"] == str(until_when)


async def add_account(store: Store, name: str, **changes: Any) -> None:
    """An account whose password is demo."""
    passwords = Passwords()
    try:
        hashed = await passwords.hash("demo")
    finally:
        passwords.close()
    await store.accounts.add(Account(0, name, hashed, **changes))


@pytest.mark.parametrize("action", LISTS)
async def test_row_16_an_empty_list_is_a_list(tmp_path: Path, action: str) -> None:
    async def prepare(store: Store) -> None:
        await add_account(store, "nothing", categories=frozenset())
        await add_account(store, "over", expires_at=1)

    async with front_door(tmp_path, prepare=prepare) as (_worker, url):
        for name in ("nothing", "over"):
            target = f"{url}/player_api.php?username={name}&password=demo&action={action}"
            heard = await ask(target)
            assert (heard.status, heard.body) == (200, b"[]")
        assert (await ask(f"{login(url)}&action={action}&category_id=777")).status == 200
        assert await api(url, "get_live_streams", category_id=777) == []


async def test_row_17_an_unknown_series_is_an_object_with_its_three_keys(tmp_path: Path) -> None:
    async with front_door(tmp_path) as (_worker, url):
        for series in ("1", "0", "x", ""):
            found = await api(url, "get_series_info", series_id=series)
            assert found == {"seasons": [], "info": {"name": None}, "episodes": {}}


async def test_row_17_a_series_has_its_seasons_and_an_object_of_episodes(tmp_path: Path) -> None:
    async with front_door(tmp_path, films=film_contents()) as (_worker, url):
        (row,) = await api(url, "get_series")
        found = await api(url, "get_series_info", series_id=row["series_id"])
        movies = await api(url, "get_vod_streams")
        live = await api(url, "get_live_streams")
    assert row["name"] == found["info"]["name"] == "rawstream show"
    assert [season["season_number"] for season in found["seasons"]] == [1]
    assert isinstance(found["episodes"], dict)
    assert list(found["episodes"]) == ["1"]
    parts = found["episodes"]["1"]
    assert [part["episode_num"] for part in parts] == [1, 2]
    ids = [int(part["id"]) for part in parts]
    ids += [one["stream_id"] for one in (*movies, *live)]
    assert len(set(ids)) == len(ids) == 7, "one sequence of ids names all that plays"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b""),
        ("application/json", b"{}"),
        ("application/x-www-form-urlencoded", b"\xff\x00=%%%"),
        ("text/plain", b"what?"),
        ("multipart/form-data; boundary=x", b"--x--"),
    ],
)
async def test_row_18_a_post_is_as_good_as_a_get(tmp_path: Path, kind: str, body: bytes) -> None:
    async with front_door(tmp_path) as (_worker, url):
        asked = {"Content-Type": kind}
        heard = await ask(login(url), "POST", body=body, **asked)
        assert heard.json["user_info"]["auth"] == 1
        heard = await ask(f"{url}/get.php?{QUERY}", "POST", body=body, **asked)
        assert (heard.status, heard.body[:7]) == (200, b"#EXTM3U")
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        heard = await ask(f"{url}/player_api.php", "POST", body=QUERY.encode(), **form)
        assert heard.json["user_info"]["auth"] == 1
        heard = await ask(f"{url}/get.php", "POST", body=QUERY.encode(), **form)
        assert (heard.status, heard.body[:7]) == (200, b"#EXTM3U")


async def test_row_19_connections_are_counted_and_are_text(tmp_path: Path) -> None:
    timeouts = Timeouts.for_tests(count_after_seconds=0.1)
    async with front_door(tmp_path, timeouts=timeouts) as (worker, url):
        demo = await demo_account(worker)
        user = (await account(url))["user_info"]
        assert (user["active_cons"], user["max_connections"]) == ("0", "1")
        player = await watch(url, 1)
        await until(lambda: worker.accounts.active(demo) == 1, "the player counts")
        assert (await account(url))["user_info"]["active_cons"] == "1"
        player.close()
        await until(lambda: worker.accounts.active(demo) == 0, "the player is gone")
        assert (await account(url))["user_info"]["active_cons"] == "0"


@pytest.mark.parametrize("script", ["player_api.php", "panel_api.php"])
async def test_row_20_every_answer_of_the_api_is_json(tmp_path: Path, script: str) -> None:
    async with front_door(tmp_path) as (_worker, url):
        for action in (*ACCOUNT_ACTIONS, *LISTS, *GUIDE_ACTIONS, "get_vod_info"):
            for password in ("demo", "wrong"):
                target = f"{url}/{script}?username=demo&password={password}&action={action}"
                heard = await ask(target)
                assert heard.headers["content-type"] == "application/json"
                json.loads(heard.body)


async def test_row_21_a_wrong_password(tmp_path: Path) -> None:
    """Few enough tries that nobody is taken for a guesser."""
    async with front_door(tmp_path) as (_worker, url):
        heard = await ask(login(url, "wrong"))
        assert heard.status == 200
        user = heard.json["user_info"]
        assert user["auth"] == 0
        assert set(user) == set((await account(url))["user_info"])
        for action in ("get_live_streams", "get_live_categories", "get_short_epg"):
            assert (await ask(f"{login(url, 'wrong')}&action={action}")).status == 401
        for path in ("get.php?username=demo&password=wrong", "live/demo/wrong/1.ts"):
            heard = await ask(f"{url}/{path}")
            assert (heard.status, heard.headers["content-type"][:10]) == (403, "text/plain")
            assert b"<" not in heard.body
        assert (await ask(f"{url}/player_api.php")).json["user_info"]["auth"] == 0


async def test_row_22_names_and_attributes_of_the_list(tmp_path: Path) -> None:
    async def prepare(store: Store) -> None:
        category = await store.lineup.category_named('Sp"orts;more')
        await store.lineup.add_channel(
            Channel(
                0, 'The "best", of\r\nall', 9, guide_id='b"est', categories=(category.id,),
                sources=(ChannelSource("content_id", "a" * 40),),
            )
        )  # fmt: skip

    async with front_door(tmp_path, prepare=prepare) as (_worker, url):
        text = await listed(url)
        ids = {channel.get("id") for channel in (await guide(url)).findall("channel")}
    head, *lines = text.splitlines()
    guides = re.findall(r'(?:^| )(url-tvg|x-tvg-url)="([^"]*)"', head)
    assert [name for name, _url in guides] == ["url-tvg", "x-tvg-url"]
    assert {address for _name, address in guides} == {f"{url}/xmltv.php?{QUERY}"}
    entries = [line for line in lines if line.startswith("#EXTINF")]
    assert len(entries) == 5
    for entry in entries:
        attributes, _, name = entry.rpartition('",')
        assert name
        assert '"' not in name
        assert re.search(r' group-title="[^";]*$', attributes), "the group is last"
        assert attributes.count('"') % 2 == 1, "each quote has its other"
        assert re.findall(r'tvg-id="([^"]*)"', attributes)[0] in ids


async def test_row_23_there_is_no_catch_up_and_nothing_says_there_is(tmp_path: Path) -> None:
    async with front_door(tmp_path) as (_worker, url):
        text = await listed(url)
        assert not re.search("catchup|timeshift|tvg-rec", text)
        for row in await api(url, "get_live_streams"):
            assert (row["tv_archive"], row["tv_archive_duration"]) == (0, 0)
        assert {row["has_archive"] for row in await programmes(url)} == {0}
        for path in (
            "timeshift/demo/demo/60/2026-01-01:00-00/1.ts",
            "streaming/timeshift.php?username=demo&password=demo&stream=1&start=x&duration=60",
        ):
            assert (await ask(f"{url}/{path}")).status == 404


async def test_row_24_a_playlists_name_is_hls_with_absolute_paths_and_lengths(
    tmp_path: Path,
) -> None:
    async with front_door(tmp_path) as (worker, url):
        assert (await account(url))["user_info"]["allowed_output_formats"] == ["ts", "m3u8"]
        for output, extension in LIST_OUTPUTS.items():
            heard = await ask(f"{url}/get.php?{QUERY}&type=m3u_plus&output={output}")
            assert heard.body.count(f".{extension}\n".encode()) == 4
        for path in ("live/demo/demo/1.m3u8", "demo/demo/1.m3u8"):
            head = await ask(f"{url}/{path}", "HEAD")
            assert (head.status, head.headers["content-type"]) == (200, HLS_TYPE)
        assert worker.hub.snapshot().channels == ()
        heard = await ask(f"{url}/live/demo/demo/1.m3u8")
        assert (heard.status, heard.headers["content-type"]) == (200, HLS_TYPE)
        assert int(heard.headers["content-length"]) == len(heard.body)
        paths = [line for line in heard.body.decode().splitlines() if not line.startswith("#")]
        assert paths
        assert all(path.startswith("/hls/") for path in paths)
        segment = await ask(f"{url}{paths[0]}")
        assert (segment.status, segment.headers["content-type"]) == (200, "video/mp2t")
        assert int(segment.headers["content-length"]) == len(segment.body) > 188


LIST_OUTPUTS = {"m3u8": "m3u8", "hls": "m3u8", "ts": "ts", "mpegts": "ts", "rtmp": "ts", "": "ts"}
HLS_TYPE = "application/vnd.apple.mpegurl"


async def test_row_25_the_guide_is_in_the_order_that_readers_rely_on(tmp_path: Path) -> None:
    async with front_door(tmp_path) as (_worker, url):
        heard = await ask(f"{url}/xmltv.php?{QUERY}")
    assert heard.body.startswith(b"<?xml")
    assert heard.headers["content-type"].startswith("application/xml")
    document = etree.fromstring(heard.body)
    assert document.tag == "tv"
    tags = [element.tag for element in document]
    assert tags == ["channel"] * tags.count("channel") + ["programme"] * tags.count("programme")
    assert tags.count("channel") == 4
    assert tags.count("programme") > 4
    for programme in document.findall("programme"):
        for key in ("start", "stop"):
            assert re.fullmatch(r"[0-9]{14} \+0000", programme.get(key, ""))


async def test_row_26_the_guide_holds_the_users_channels_only_and_is_made_once(
    tmp_path: Path,
) -> None:
    async def prepare(store: Store) -> None:
        sounds = await store.lineup.category_named("Sounds")
        await add_account(store, "ears", categories=frozenset({sounds.id}))
        for number in range(50):  # more than fits one packet
            await store.lineup.add_channel(
                Channel(0, f"Extra {number}", 10 + number, guide_id=f"extra{number}.demo",
                        categories=(sounds.id,), sources=(ChannelSource("content_id", "a" * 40),))
            )  # fmt: skip

    async with front_door(tmp_path, prepare=prepare) as (_worker, url):
        mine = f"{url}/xmltv.php?username=ears&password=demo"
        text = await listed(url, "username=ears&password=demo")
        plain = await ask(mine)
        ids = {channel.get("id") for channel in etree.fromstring(plain.body).findall("channel")}
        assert len(ids) == 51
        assert ids == set(re.findall(r'tvg-id="([^"]*)"', text))
        assert len((await guide(url)).findall("channel")) == 54
        for asked in ({"Accept-Encoding": "deflate, gzip, br"}, {"Accept-Encoding": "gzip"}):
            packed = await ask(mine, **asked)
            assert packed.headers["content-encoding"] == "gzip"
            assert gzip.decompress(packed.body) == plain.body
        file = await ask(f"{mine}&gzip=1")
        assert "content-encoding" not in file.headers
        assert gzip.decompress(file.body) == plain.body
        known = {"If-None-Match": plain.headers["etag"]}
        assert (await ask(mine, **known)).status == 304


async def test_row_27_no_filler_comes_before_the_stream(tmp_path: Path) -> None:
    async with front_door(tmp_path) as (_worker, url):
        for stream in (1, 2, 3, 4):
            heard = await ask(f"{url}/live/demo/demo/{stream}.ts", enough=50 * 188)
            packets = [heard.body[at : at + 188] for at in range(0, 50 * 188, 188)]
            pids = [(packet[1] & 0x1F) << 8 | packet[2] for packet in packets]
            assert pids[0] == 0, "the PAT"
            assert NULL_PID not in pids
            assert packets[2][1] & 0x40, "the first thing of the stream is the start of a unit"


async def test_row_28_ids_stay_over_imports(tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "list.m3u"
    before = [("Alpha", "1" * 40), ("Beta", "2" * 40), ("Gamma", "3" * 40)]
    after = [("Gamma HD", "3" * 40), ("Delta", "4" * 40), ("Alpha", "1" * 40)]

    async def take(entries: list[tuple[str, str]]) -> None:
        lines = [f"#EXTINF:-1,{name}\nacestream://{content}\n" for name, content in entries]
        file.write_text("#EXTM3U\n" + "".join(lines))
        command = ("-m", "rawstream", "import", "playlist", str(file), "--data", str(data))
        status, _out, err = await run(sys.executable, *command)
        assert status == 0, err

    async with front_door(data) as (_worker, url):
        await take(before)
        first = await ids_once(url, "Beta")
        await take(after)
        second = await ids_once(url, "Delta")
    assert second["Alpha"] == first["Alpha"]
    assert second["Gamma HD"] == first["Gamma"]
    assert second["Delta"] not in first.values()
    for name in CHANNELS:
        assert second[name] == first[name]


async def ids_once(url: str, name: str) -> dict[str, int]:
    """Stream ids by name, as soon as a channel of that name is shown."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            rows = await api(url, "get_live_streams")
            found = {row["name"]: row["stream_id"] for row in rows}
            if name in found:
                return found
            await asyncio.sleep(0.05)


async def test_row_29_what_may_be_empty_is_text_all_the_same(tmp_path: Path) -> None:
    async def prepare(store: Store) -> None:
        late = await store.lineup.category_named("Late", adult=True)
        await store.lineup.add_channel(
            Channel(0, "After dark", 9, categories=(late.id,),
                    sources=(ChannelSource("content_id", "a" * 40),))
        )  # fmt: skip

    async with front_door(tmp_path, prepare=prepare) as (_worker, url):
        rows = await api(url, "get_live_streams")
    assert {row["name"]: row["is_adult"] for row in rows} == {
        **dict.fromkeys(CHANNELS, "0"),
        "After dark": "1",
    }
    for row in rows:
        assert (row["custom_sid"], row["direct_source"]) == ("", "")
        assert type(row["stream_icon"]) is str


async def test_row_30_ten_thousand_channels_are_no_matter(tmp_path: Path) -> None:
    """pyxtream leaves a login after four seconds; the deadline here is its."""
    many = 10_000

    async def prepare(store: Store) -> None:
        category = await store.lineup.category_named("Many")
        for number in range(many - 4):
            await store.lineup.add_channel(
                Channel(0, f"Channel {number}", 10 + number, categories=(category.id,),
                        sources=(ChannelSource("content_id", f"{number:040x}"),))
            )  # fmt: skip

    async with front_door(tmp_path, prepare=prepare) as (_worker, url):
        for _ in range(2):
            for action in ("", "get_live_categories", "get_live_streams"):
                async with asyncio.timeout(4):
                    found = await api(url, action)
            assert len(found) == many
        async with asyncio.timeout(4):
            assert (await listed(url)).count("#EXTINF") == many


@pytest.mark.parametrize("name", ["a:b", "a/b", "a b", "ä", "a?b", "a%b", "live", "movie", "hls"])
async def test_row_31_names_that_break_players_are_not_given(tmp_path: Path, name: str) -> None:
    command = ("-m", "rawstream", "user", "add", name, "--data", str(tmp_path))
    status, _out, err = await run(sys.executable, *command)
    assert status == 2
    assert len(err.splitlines()) == 1


async def test_row_31_names_that_are_safe_stand_in_urls_as_they_are(tmp_path: Path) -> None:
    name = "Ana.B_c-d@e"

    async def prepare(store: Store) -> None:
        await add_account(store, name)

    async with front_door(tmp_path, prepare=prepare) as (_worker, url):
        text = await listed(url, f"username={name}&password=demo")
        assert text.count(f"{url}/live/{name}/demo/") == 4
        assert f"{url}/xmltv.php?username={name}&password=demo" in text
        heard = await ask(f"{url}/live/{name}/demo/1.ts", enough=188)
        assert heard.status == 200


async def test_row_32_what_fails_for_now_is_503_and_what_is_not_there_404(tmp_path: Path) -> None:
    async def prepare(store: Store) -> None:
        await store.lineup.add_channel(
            Channel(0, "Off the air", 9, sources=(ChannelSource("content_id", "a" * 40),))
        )

    async with front_door(tmp_path, prepare=prepare) as (_worker, url):
        (gone,) = (
            row["stream_id"]
            for row in await api(url, "get_live_streams")
            if row["name"] == "Off the air"
        )
        heard: Heard = await ask(f"{url}/live/demo/demo/{gone}.ts")
        assert (heard.status, int(heard.headers["retry-after"]) > 0) == (503, True)
        for path in ("live/demo/demo/999999.ts", "live/demo/demo/x.ts", "movie/demo/demo/1.mp4"):
            assert (await ask(f"{url}/{path}")).status == 404
