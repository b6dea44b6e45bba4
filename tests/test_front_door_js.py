"""The front door as JavaScript clients see it: the libraries of npm, in `clients-js`.

`make test` installs them where there is an npm. Without them these tests skip, and fail under
`CI=true`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from front_door import CHANNELS, front_door, run
from players import find_program, missing

from rawstream.simulator import film_contents

CLIENTS = Path(__file__).with_name("clients-js")
# no comma in a name of a list: naive readers part there (reference §6.2)
LISTED = sorted(name.replace(",", "") for name in CHANNELS)


async def javascript(name: str, url: str, password: str = "demo") -> tuple[int, str, str]:
    node = find_program("node")
    if not (CLIENTS / "node_modules" / ".package-lock.json").is_file():  # npm writes it at the end
        missing("what tests/clients-js/package.json names")
    return await run(node, str(CLIENTS / "clients.js"), name, url, "demo", password)


async def understood(name: str, url: str) -> Any:
    status, out, err = await javascript(name, url)
    assert (status, err) == (0, "")
    return json.loads(out)


async def test_the_library_of_ekto_reads_every_answer(tmp_path: Path) -> None:
    async with front_door(tmp_path) as (_worker, url):
        found = await understood("xtream", url)
    assert (found["profile"]["auth"], found["profile"]["status"]) == (1, "Active")
    assert f"http://{found['server']['url']}:{found['server']['port']}" == url
    assert [row["category_name"] for row in found["categories"]] == ["Pictures", "Sounds"]
    assert sorted(row["name"] for row in found["channels"]) == CHANNELS
    for row in found["channels"]:
        # the library makes this URL of the first of allowed_output_formats that it likes
        assert row["url"] == f"{url}/live/demo/demo/{row['stream_id']}.ts"
    assert found["films"] == found["series"] == []
    assert (found["noFilm"], found["noSeries"]) == ("Movie Not Found", "Show Not Found")
    for guide in ("shortGuide", "fullGuide"):
        assert found[guide]["epg_listings"]


async def test_the_library_of_ekto_lists_films_and_series(tmp_path: Path) -> None:
    async with front_door(tmp_path, films=film_contents()) as (_worker, url):
        found = await understood("xtream", url)
    (row,) = found["films"]
    assert (row["name"], row["url"]) == ("rawstream film", f"{url}/movie/demo/demo/5.ts")
    assert found["film"]["info"]["name"] == "rawstream film"
    assert found["film"]["url"] == row["url"]
    assert [one["name"] for one in found["series"]] == ["rawstream show"]
    parts = found["show"]["episodes"]["1"]
    assert [one["url"] for one in parts] == [f"{url}/series/demo/demo/{n}.ts" for n in (6, 7)]
    assert (found["noFilm"], found["noSeries"]) == ("Movie Not Found", "Show Not Found")


async def test_its_standardized_form_of_films_has_no_empty_date(tmp_path: Path) -> None:
    async with front_door(tmp_path, films=film_contents()) as (_worker, url):
        found = await understood("standardized", url)
    (film,), (row,) = found["films"], found["series"]
    assert (film["id"], row["id"]) == ("5", "1")
    assert time_of(film["createdAt"]) <= datetime.now(UTC)
    assert time_of(row["updatedAt"]) <= datetime.now(UTC)
    assert (found["film"]["duration"], found["film"]["durationFormatted"]) == (16, "00:00:16")
    assert film["releaseDate"] is None, "and not 1970"
    (season,) = found["show"]["seasons"]
    assert (season["number"], season["episodeCount"]) == (1, 2)
    assert time_of(season["releaseDate"])
    for number, episode in enumerate(season["episodes"], 1):
        assert (episode["number"], episode["duration"]) == (number, 16)
        assert time_of(episode["createdAt"])


async def test_its_standardized_form_has_no_empty_date_and_no_odd_number(tmp_path: Path) -> None:
    async with front_door(tmp_path) as (_worker, url):
        found = await understood("standardized", url)
    profile = found["profile"]
    assert (profile["id"], profile["isTrial"]) == ("demo", False)
    assert (profile["maxConnections"], profile["activeConnections"]) == (1, 0)
    now = datetime.now(UTC)
    # null would show 1970 (reference §4)
    assert time_of(profile["createdAt"]) <= now < time_of(profile["expiresAt"])
    assert abs((time_of(found["server"]["timeNow"]) - now).total_seconds()) < 3600
    groups = {row["id"] for row in found["categories"]}
    assert {row["parentId"] for row in found["categories"]} == {"0"}
    assert sorted(row["name"] for row in found["channels"]) == CHANNELS
    for row in found["channels"]:
        assert set(row["categoryIds"]) <= groups
        assert time_of(row["createdAt"]) <= now
        assert row["epgId"].endswith(".demo")
    assert len(found["shortGuide"]) == 2
    for row in found["shortGuide"]:
        assert time_of(row["start"])
        assert row["title"]
    assert len(found["fullGuide"]) > 2
    for row in found["fullGuide"]:
        assert time_of(row["start"]) < time_of(row["end"])
        assert row["title"]
        assert row["hasArchive"] is False


def time_of(text: str | None) -> datetime:
    assert text is not None, "what was no date to JavaScript"
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


@pytest.mark.parametrize("name", ["xtream", "standardized"])
async def test_the_library_of_ekto_is_told_of_a_wrong_password(tmp_path: Path, name: str) -> None:
    async with front_door(tmp_path) as (_worker, url):
        assert await javascript(name, url, "wrong") == (1, "", "Unauthorized\n")


@pytest.mark.parametrize("name", ["playlist", "playlist-parser"])
async def test_list_readers_find_channels_groups_and_the_guide(tmp_path: Path, name: str) -> None:
    async with front_door(tmp_path) as (_worker, url):
        found = await understood(name, url)
        status, _out, err = await javascript(name, url, "wrong")
    assert (status, err) == (1, "403 for /get.php\n")
    assert found["guides"] == [f"{url}/xmltv.php?username=demo&password=demo"] * 2
    assert sorted(row["name"] for row in found["channels"]) == LISTED
    assert {row["group"] for row in found["channels"]} == {"Pictures", "Sounds"}
    for row in found["channels"]:
        assert row["url"].startswith(f"{url}/live/demo/demo/")
        assert row["url"].endswith(".ts")
        assert row["id"].endswith(".demo")


@pytest.mark.parametrize("name", ["playlist", "playlist-parser"])
async def test_list_readers_find_films(tmp_path: Path, name: str) -> None:
    async with front_door(tmp_path, films=film_contents()) as (_worker, url):
        found = await understood(name, url)
    films = [row for row in found["channels"] if row["group"] == "Films"]
    assert [(row["name"], row["url"]) for row in films] == [
        ("rawstream film", f"{url}/movie/demo/demo/5.ts"),
        ("rawstream show S01E01", f"{url}/series/demo/demo/6.ts"),
        ("rawstream show S01E02", f"{url}/series/demo/demo/7.ts"),
    ]


@pytest.mark.parametrize("name", ["xmltv", "epg-parser"])
async def test_guide_readers_find_the_channels_of_the_list(tmp_path: Path, name: str) -> None:
    async with front_door(tmp_path) as (_worker, url):
        guide = await understood(name, url)
        listed = await understood("playlist", url)
    ids = [row["id"] for row in guide["channels"]]
    assert ids == [row["id"] for row in listed["channels"]]
    assert sorted(row["name"] for row in guide["channels"]) == CHANNELS
    assert {row["channel"] for row in guide["programmes"]} == set(ids)
    for row in guide["programmes"]:
        assert row["channel"] in ids
        assert time_of(row["start"]) < time_of(row["stop"])
        assert row["title"]
