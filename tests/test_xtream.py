"""What players ask, and how they ask it: every spelling, every method, every failure."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import gzip
import re
import time
from typing import Any

import orjson
import pytest
from door import LOGIN, Door
from guides import HOUR, add_guide, guide, show

from rawstream.catalogue import UNSORTED, Catalogue
from rawstream.errors import ViewerError
from rawstream.list_entries import read_list
from rawstream.records import Category, Channel, FilmFacts, Series
from rawstream.xtream import Login

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


# -- films --

FILMS = (
    Channel(1, "One", categories=(1,)),
    Channel(
        20, "Film, a (2020)", categories=(2,), kind="movie", extension="mkv",
        logo="/logos/f.png", facts=FilmFacts("Plot", duration=90),
    ),
    Channel(21, "Late", categories=(3,), kind="movie"),
    Channel(30, "Show S01E01", categories=(2,), kind="episode", extension="ts", series_id=7,
            season=1, episode=1),
    Channel(31, "Pilot", categories=(2,), kind="episode", extension="mp4", series_id=7,
            season=2, episode=1),
)  # fmt: skip
SHELVES = [Category(1, "News"), Category(2, "Films"), Category(3, "Night", adult=True)]


def shelved(door: Door) -> None:
    door.catalogue.current = Catalogue(
        9, FILMS, SHELVES, series=[Series(7, "Show", "/logos/s.png")]
    )


@pytest.mark.parametrize("kind", ["vod", "series"])
async def test_categories_of_films_are_those_that_have_some(door: Door, kind: str) -> None:
    shelved(door)
    found = await door.api(f"{LOGIN}&action=get_{kind}_categories")
    names = ["Films", "Night"] if kind == "vod" else ["Films"]
    assert [row["category_name"] for row in found] == names


async def test_films_are_listed_filtered_and_paged_as_channels_are(door: Door) -> None:
    shelved(door)
    query = f"{LOGIN}&action=get_vod_streams"
    found = await door.api(query)
    assert [(row["num"], row["stream_id"]) for row in found] == [(1, 20), (2, 21)]
    assert found[0]["stream_icon"] == "http://tv:8080/logos/f.png"
    assert [row["stream_id"] for row in await door.api(f"{query}&category_id=3")] == [21]
    assert await door.api(f"{query}&category_id=77") == []
    assert await door.api(f"{query}&category_id=1") == [], "a category of channels"
    page = await door.api(f"{query}&params[offset]=1&params[items_per_page]=1")
    assert [row["stream_id"] for row in page] == [21]
    (series,) = await door.api(f"{LOGIN}&action=208&category_id=2")
    assert (series["series_id"], series["cover"]) == (7, "http://tv:8080/logos/s.png")
    streams = await door.api(f"{LOGIN}&action=get_live_streams")
    assert [row["stream_id"] for row in streams] == [1]


async def test_a_film_and_a_series_by_their_ids(door: Door) -> None:
    shelved(door)
    found = await door.api(f"{LOGIN}&action=get_vod_info&vod_id=20")
    assert (found["movie_data"]["stream_id"], found["info"]["plot"]) == (20, "Plot")
    assert found["movie_data"]["category_id"] == "2"
    for other in ("1", "30", "99", "x", ""):
        assert await door.api(f"{LOGIN}&action=209&vod_id={other}") == {"info": []}
    found = await door.api(f"{LOGIN}&action=get_series_info&series_id=7")
    assert {
        season: [one["id"] for one in parts] for season, parts in found["episodes"].items()
    } == {
        "1": ["30"],
        "2": ["31"],
    }
    for other in ("20", "8", "x", ""):
        found = await door.api(f"{LOGIN}&action=204&series_id={other}")
        assert found == {"seasons": [], "info": {"name": None}, "episodes": {}}


async def test_only_who_may_see_a_film_is_told_of_it(door: Door) -> None:
    shelved(door)
    (ana,) = [one for one in await door.store.accounts.accounts() if one.username == "ana"]
    await door.store.accounts.set(dataclasses.replace(ana, show_adult=False))
    await door.accounts.reload()
    assert [row["stream_id"] for row in await door.api(f"{LOGIN}&action=get_vod_streams")] == [20]
    assert await door.api(f"{LOGIN}&action=get_vod_info&vod_id=21") == {"info": []}


async def test_the_panel_has_movies_besides(door: Door) -> None:
    shelved(door)
    answer = await door.ask(door.endpoints.panel_api, f"/panel_api.php?{LOGIN}")
    found = orjson.loads(answer.body)
    rows = found["available_channels"]
    assert list(rows) == ["1", "20", "21"]
    film = rows["20"]
    assert (film["type_name"], film["stream_type"], film["live"]) == ("Movies", "movie", "0")
    assert (film["container_extension"], film["category_name"]) == ("mkv", "Films")
    assert rows["1"].keys() == film.keys()
    assert {kind: len(rows) for kind, rows in found["categories"].items()} == {
        "live": 1,
        "movie": 2,
        "series": 1,
    }


@pytest.mark.parametrize(
    ("key", "ids"),
    [
        ("", [1, 20, 21, 30, 31]),
        ("live", [1]),
        ("radio_streams", [1]),
        ("movie", [20, 21]),
        ("series", [30, 31]),
        ("movie,series", [20, 21, 30, 31]),
        ("nonsense", []),
    ],
)
async def test_a_list_has_the_kinds_that_were_asked_for(
    door: Door, key: str, ids: list[int]
) -> None:
    shelved(door)
    answer = await door.ask(door.endpoints.get_php, f"/get.php?{LOGIN}&key={key}")
    assert [int(one) for one in re.findall(rb"/ana/pw/([0-9]+)\.", answer.body)] == ids


async def test_films_in_a_list_are_films_to_who_reads_it(door: Door) -> None:
    shelved(door)
    answer = await door.ask(door.endpoints.get_php, f"/get.php?{LOGIN}")
    assert b"/movie/ana/pw/20.mkv\n" in answer.body
    assert b"/series/ana/pw/30.ts\n" in answer.body
    assert answer.body.count(b"#KODIPROP") == 1, "no film is announced as a transport stream"
    assert b"#EXTINF:90 " in answer.body
    entries, _ending = read_list([answer.body])
    films = [one.film for one in entries if one.film is not None]
    assert [one.kind for one in films] == ["movie", "movie", "episode", "episode"]
    assert [(one.series, one.season, one.episode) for one in films[2:]] == [
        ("Show", 1, 1),
        ("Show", 2, 1),
    ]
    assert [one.groups for one in entries] == [
        ("News",),
        ("Films",),
        ("Night",),
        ("Films",),
        ("Films",),
    ]
    plain = await door.ask(door.endpoints.get_php, f"/get.php?{LOGIN}&type=m3u")
    assert b"\n#EXTINF:-1,Show S02E01 Pilot\n" in plain.body


async def test_enigma2_descends_to_films_and_episodes(door: Door) -> None:
    shelved(door)

    async def below(more: str) -> list[str]:
        answer = await door.ask(door.endpoints.enigma2_php, f"/enigma2.php?{LOGIN}{more}")
        found = re.findall(rb"<(?:playlist|stream)_url><!\[CDATA\[([^\]]*)\]\]>", answer.body)
        return [one.decode().removeprefix(f"http://tv:8080/enigma2.php?{LOGIN}") for one in found]

    top = await below("")
    assert [one.partition("type=")[2] for one in top] == [
        "get_live_categories",
        "get_vod_categories",
        "get_series_categories",
    ]
    films, night = await below(top[1])
    assert await below(films) == ["http://tv:8080/movie/ana/pw/20.mkv"]
    assert await below(night) == ["http://tv:8080/movie/ana/pw/21.mp4"]
    assert len(await below("&type=get_vod_streams")) == 2
    (shows,) = await below(top[2])
    (show,) = await below(shows)
    first, second = await below(show)
    assert await below(first) == ["http://tv:8080/series/ana/pw/30.ts"]
    assert await below(second) == ["http://tv:8080/series/ana/pw/31.mp4"]
    for more in (
        "&type=get_vod_streams&cat_id=99",
        "&type=get_seasons&series_id=99",
        "&type=get_seasons&series_id=x",
        "&type=get_series_streams&series_id=7&season=9",
        "&type=get_series_streams&series_id=9&season=1",
        "&type=nonsense",
    ):
        assert await below(more) == []
    assert len(await below("&type=get_live_streams")) == 1
