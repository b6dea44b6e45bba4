"""Films and series in their answers: names and types of every key, known or not."""

from __future__ import annotations

from typing import Any

import pytest

from rawstream.catalogue import Catalogue
from rawstream.records import Account, Category, Channel, FilmFacts, Series
from rawstream.xtream_films import (
    NO_FILM,
    NO_SERIES,
    clock,
    episode_name,
    extension_of,
    film_info,
    movie_rows,
    series_info,
    series_rows,
)

FACTS = FilmFacts(
    "Plot", "A, B", "C", "Drama", "2024-05-01", 6.4, 5700, "trailer", "http://b", 12
)  # fmt: skip
MOVIES = (
    Channel(
        5001,
        "Sample Film (2024)",
        logo="http://l",
        added_at=9,
        categories=(40,),
        kind="movie",
        extension="mkv",
        facts=FACTS,
    ),
    Channel(5002, "Bare", kind="movie"),
)
CATEGORIES = (Category(40, "Films"), Category(41, "Other"))
PARTS = tuple(
    Channel(
        number, name, added_at=number, kind="episode", series_id=700, season=season, episode=part
    )
    for number, name, season, part in (
        (8002, "Show S01E02", 1, 2),
        (8001, "Show S01E01 Pilot", 1, 1),
        (8003, "Finale", 10, 3),
    )
)


def shown(**changes: Any) -> Any:
    series = Series(700, "Sample Show (2025)", **changes)
    return Catalogue(1, PARTS, series=(series,)).visible(Account(1, "a", "h")).series[0]


def test_a_movie_has_every_key_and_its_type() -> None:
    found, bare = movie_rows(MOVIES, CATEGORIES)
    assert found == {
        "num": 1,
        "name": "Sample Film (2024)",
        "title": "Sample Film",
        "year": "2024",
        "stream_type": "movie",
        "stream_id": 5001,
        "stream_icon": "http://l",
        "rating": 6.4,
        "rating_5based": 3.2,
        "added": "9",
        "plot": "Plot",
        "cast": "A, B",
        "director": "C",
        "genre": "Drama",
        "release_date": "2024-05-01",
        "youtube_trailer": "trailer",
        "episode_run_time": 95,
        "category_id": "40",
        "category_ids": [40],
        "container_extension": "mkv",
        "custom_sid": "",
        "direct_source": "",
    }
    assert bare.keys() == found.keys()
    assert {name for name in found if bare[name] is None} == set()
    assert (bare["num"], bare["container_extension"], bare["rating"]) == (2, "mp4", 0)
    assert (bare["category_id"], bare["category_ids"]) == ("41", [41]), "the last stands in"


def test_one_movie_with_all_that_is_known() -> None:
    found = film_info(MOVIES[0], CATEGORIES)
    info, data = found["info"], found["movie_data"]
    assert (info["name"], info["o_name"], info["tmdb_id"]) == ("Sample Film", "Sample Film", 12)
    assert (info["duration_secs"], info["duration"]) == (5700, "01:35:00")
    assert info["episode_run_time"] == 95
    assert info["release_date"] == info["releasedate"] == "2024-05-01"
    assert info["backdrop_path"] == ["http://b"]
    assert info["cover_big"] == info["movie_image"] == "http://l"
    assert info["actors"] == info["cast"] == "A, B"
    assert info["description"] == info["plot"] == "Plot"
    assert (info["rating"], info["genre"], info["director"]) == (6.4, "Drama", "C")
    assert (data["stream_id"], data["year"], data["added"]) == (5001, "2024", "9")
    assert (data["category_id"], data["container_extension"]) == ("40", "mkv")


def test_what_nobody_knows_of_a_movie_is_empty_and_of_its_type() -> None:
    full, bare = (film_info(movie, ()) for movie in MOVIES)
    for part in ("info", "movie_data"):
        assert bare[part].keys() == full[part].keys()
        for name, value in full[part].items():
            other = bare[part][name]
            assert isinstance(other, float | int if isinstance(value, float) else type(value)), name
    assert bare["info"]["subtitles"] == bare["info"]["backdrop_path"] == []
    assert (bare["info"]["duration"], bare["info"]["bitrate"]) == ("00:00:00", 0)
    assert (bare["movie_data"]["category_id"], bare["movie_data"]["year"]) == ("0", "")


def test_a_series_has_numbers_in_text_that_are_never_empty() -> None:
    (bare,) = series_rows([shown()], CATEGORIES)
    assert (bare["num"], bare["series_id"], bare["stream_type"]) == (1, 700, "series")
    assert (bare["name"], bare["title"]) == ("Sample Show (2025)", "Sample Show")
    assert (bare["year"], bare["last_modified"]) == ("2025", "8003"), "when the newest part came"
    assert (bare["rating"], bare["episode_run_time"], bare["rating_5based"]) == ("0", "0", 0)
    assert (bare["backdrop_path"], bare["category_id"], bare["category_ids"]) == ([], "41", [41])
    (full,) = series_rows([shown(cover="http://c", facts=FACTS)], CATEGORIES)
    assert full.keys() == bare.keys()
    assert (full["rating"], full["rating_5based"], full["episode_run_time"]) == ("6", 3.2, "95")
    assert full["releaseDate"] == full["release_date"] == "2024-05-01"
    assert (full["cover"], full["backdrop_path"]) == ("http://c", ["http://b"])


def test_one_series_has_its_episodes_by_season_in_order() -> None:
    found = series_info(shown(cover="http://c"), CATEGORIES)
    assert [one["season_number"] for one in found["seasons"]] == [1, 10]
    first = found["seasons"][0]
    assert (first["name"], first["episode_count"], first["cover"]) == ("Season 1", 2, "http://c")
    assert (first["air_date"], first["vote_average"]) == ("1970-01-01", 0), "when its first came"
    assert len({one["id"] for one in found["seasons"]}) == 2
    assert all(0 <= one["id"] < 2**31 for one in found["seasons"])
    assert not {"num", "series_id"} & found["info"].keys()
    assert found["info"]["name"] == "Sample Show (2025)"
    assert list(found["episodes"]) == ["1", "10"]
    pilot, second = found["episodes"]["1"]
    assert (pilot["id"], pilot["title"], pilot["episode_num"]) == ("8001", "Pilot", 1)
    assert (second["id"], second["title"]) == ("8002", "Episode 2"), "its name says no more"
    assert found["episodes"]["10"][0]["title"] == "Finale"
    assert (second["season"], second["added"], second["container_extension"]) == (1, "8002", "mp4")
    assert second["info"]["duration"] == "00:00:00"
    assert second["subtitles"] == []


def test_what_is_not_there_has_the_shapes_that_clients_take_for_it() -> None:
    assert NO_SERIES == {"seasons": [], "info": {"name": None}, "episodes": {}}
    assert NO_FILM == {"info": []}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Show S01E02 Pilot", "Show S01E02 Pilot"), ("Pilot", "Series S01E02 Pilot")],
)
def test_the_name_of_an_episode_says_which_it_is(name: str, expected: str) -> None:
    episode = Channel(1, name, kind="episode", season=1, episode=2)
    assert episode_name(episode, "Series") == expected


def test_an_extension_is_never_empty() -> None:
    assert [extension_of(movie) for movie in MOVIES] == ["mkv", "mp4"]


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "00:00:00"), (3725, "01:02:05"), (360_000, "100:00:00")]
)
def test_a_length_as_a_clock(seconds: int, expected: str) -> None:
    assert clock(seconds) == expected


@pytest.mark.parametrize(
    ("said", "expected"), [("", ""), ("1994", "1994-01-01"), ("1994-05-06", "1994-05-06")]
)
def test_a_date_is_whole_or_empty_and_a_season_always_has_one(said: str, expected: str) -> None:
    facts = FilmFacts(release_date=said)
    movie = Channel(1, "Film", kind="movie", facts=facts)
    (row,) = movie_rows([movie], ())
    info = film_info(movie, ())["info"]
    assert row["release_date"] == info["release_date"] == info["releasedate"] == expected
    assert row["year"] == said[:4]
    (series,) = series_rows([shown(facts=facts)], ())
    assert series["releaseDate"] == expected
    season = series_info(shown(facts=facts), ())["seasons"][0]
    assert season["air_date"] == (expected or "1970-01-01")
