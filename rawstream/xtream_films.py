"""Films and series as the Xtream Codes answers have them: which key has which JSON type.

Owns: names and types of movies, series and episodes (Xtream reference §3.4 to §3.7); what nobody
knows is empty and of the right type. Must not know: requests, who asks, where a film is. Pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any, Final

from rawstream.catalogue import ShownSeries
from rawstream.film_names import DEFAULT_EXTENSION, FilmName, read_name
from rawstream.records import Category, Channel, FilmFacts
from rawstream.xtream_shapes import categories_of, moment

NO_SERIES: Final[Mapping[str, Any]] = {"seasons": [], "info": {"name": None}, "episodes": {}}
NO_FILM: Final[Mapping[str, Any]] = {"info": []}
_NO_FACTS: Final = FilmFacts()


@lru_cache(maxsize=4096)
def _read(name: str) -> FilmName:
    return read_name(name)


def extension_of(film: Channel) -> str:
    """Players put it into the film's URL and demand one."""
    return film.extension or DEFAULT_EXTENSION


def movie_rows(movies: Iterable[Channel], categories: Iterable[Category]) -> list[dict[str, Any]]:
    """One row per movie (§3.4). `num` counts from 1 in the order of the line-up."""
    shown = categories_of(categories)
    rows = []
    for number, movie in enumerate(movies, 1):
        facts, name = movie.facts or _NO_FACTS, _read(movie.name)
        rows.append(
            {
                "num": number,
                "name": movie.name,
                "title": name.title,
                "year": _year(facts, name),
                "stream_type": "movie",
                "stream_id": movie.id,
                "stream_icon": movie.logo,
                "rating": facts.rating,
                "rating_5based": _of_five(facts),
                "added": str(movie.added_at),
                "plot": facts.plot,
                "cast": facts.cast,
                "director": facts.director,
                "genre": facts.genre,
                "release_date": _date(facts),
                "youtube_trailer": facts.trailer,
                "episode_run_time": facts.duration // 60,
                **_categories(shown(movie)),
                "container_extension": extension_of(movie),
                "custom_sid": "",
                "direct_source": "",
            }
        )
    return rows


def film_info(movie: Channel, categories: Iterable[Category]) -> dict[str, Any]:
    """`get_vod_info` (§3.5)."""
    facts, name = movie.facts or _NO_FACTS, _read(movie.name)
    return {
        "info": {
            "kinopoisk_url": "",
            "tmdb_id": facts.tmdb_id,
            "name": name.title,
            "o_name": name.title,
            "cover_big": movie.logo,
            "movie_image": movie.logo,
            "release_date": _date(facts),
            "releasedate": _date(facts),
            "episode_run_time": facts.duration // 60,
            "youtube_trailer": facts.trailer,
            "director": facts.director,
            "actors": facts.cast,
            "cast": facts.cast,
            "description": facts.plot,
            "plot": facts.plot,
            "age": "",
            "mpaa_rating": "",
            "rating_count_kinopoisk": 0,
            "country": "",
            "genre": facts.genre,
            "backdrop_path": _backdrops(facts),
            "duration_secs": facts.duration,
            "duration": clock(facts.duration),
            "bitrate": 0,
            "rating": facts.rating,
            "subtitles": [],
        },
        "movie_data": {
            "stream_id": movie.id,
            "name": movie.name,
            "title": name.title,
            "year": _year(facts, name),
            "added": str(movie.added_at),
            **_categories(categories_of(categories)(movie)),
            "container_extension": extension_of(movie),
            "custom_sid": "",
            "direct_source": "",
        },
    }


def series_rows(
    series: Iterable[ShownSeries], categories: Iterable[Category]
) -> list[dict[str, Any]]:
    """One row per series (§3.6)."""
    shown = categories_of(categories)
    rows = []
    for number, one in enumerate(series, 1):
        about = _about(one, shown(one))
        name, title, year = (about.pop(key) for key in ("name", "title", "year"))
        rows.append(
            {
                "num": number,
                "name": name,
                "title": title,
                "year": year,
                "stream_type": "series",
                "series_id": one.series.id,
                **about,
            }
        )
    return rows


def series_info(one: ShownSeries, categories: Iterable[Category]) -> dict[str, Any]:
    """`get_series_info` (§3.7). Episodes come sorted by season. `air_date` is always a date, for
    .NET: when the first episode came where nothing better is known.
    """
    seasons = {
        season: list(episodes)
        for season, episodes in groupby(one.episodes, key=lambda episode: episode.season)
    }
    return {
        "seasons": [
            {
                "air_date": _date(one.series.facts or _NO_FACTS) or _day(episodes[0].added_at),
                "episode_count": len(episodes),
                "id": _season_id(one.series.id, season),
                "name": f"Season {season}",
                "overview": "",
                "season_number": season,
                "vote_average": 0,
                "cover": one.series.cover,
                "cover_big": one.series.cover,
            }
            for season, episodes in seasons.items()
        ],
        "info": _about(one, categories_of(categories)(one)),
        "episodes": {
            str(season): [_episode(episode) for episode in episodes]
            for season, episodes in seasons.items()
        },
    }


def episode_name(episode: Channel, series: str) -> str:
    """A name that says which episode of what it is, for lists that have nothing else to say it."""
    if _read(episode.name).season is not None:
        return episode.name
    return f"{series} S{episode.season:02}E{episode.episode:02} {episode.name}"


def clock(seconds: int) -> str:
    """`HH:MM:SS`."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _about(one: ShownSeries, own: Sequence[Category]) -> dict[str, Any]:
    """What both the list of series and a single one say. Numbers in text are never empty, and
    whole: Go reads them as such.
    """
    series = one.series
    facts, name = series.facts or _NO_FACTS, _read(series.name)
    return {
        "name": series.name,
        "title": name.title,
        "year": _year(facts, name),
        "cover": series.cover,
        "plot": facts.plot,
        "cast": facts.cast,
        "director": facts.director,
        "genre": facts.genre,
        "release_date": _date(facts),
        "releaseDate": _date(facts),
        "last_modified": str(one.added_at),
        "rating": str(round(facts.rating)),
        "rating_5based": _of_five(facts),
        "backdrop_path": _backdrops(facts),
        "youtube_trailer": facts.trailer,
        "episode_run_time": str(facts.duration // 60),
        **_categories(own),
    }


def _episode(episode: Channel) -> dict[str, Any]:
    facts, name = episode.facts or _NO_FACTS, _read(episode.name)
    title = episode.name if name.season is None else name.part
    return {
        "id": str(episode.id),
        "episode_num": episode.episode,
        "title": title or f"Episode {episode.episode}",
        "container_extension": extension_of(episode),
        "info": {
            "movie_image": episode.logo,
            "plot": facts.plot,
            "duration_secs": facts.duration,
            "duration": clock(facts.duration),
        },
        "subtitles": [],
        "custom_sid": "",
        "added": str(episode.added_at),
        "season": episode.season,
        "direct_source": "",
    }


def _categories(own: Sequence[Category]) -> dict[str, Any]:
    ids = [category.id for category in own] or [0]
    return {"category_id": str(ids[0]), "category_ids": ids}


def _year(facts: FilmFacts, name: FilmName) -> str:
    return name.year or facts.release_date[:4]


def _date(facts: FilmFacts) -> str:
    """A whole date or '': of a year its first day, since .NET fails over what is no date."""
    date = facts.release_date
    return f"{date}-01-01" if len(date) == 4 else date


def _day(seconds: int) -> str:
    return moment(seconds).partition(" ")[0]


def _of_five(facts: FilmFacts) -> float:
    return round(facts.rating / 2, 1)


def _backdrops(facts: FilmFacts) -> list[str]:
    return [facts.backdrop] if facts.backdrop else []


def _season_id(series_id: int, season: int) -> int:
    """Fits an int32, the same every time."""
    return zlib.crc32(f"{series_id}\0{season}".encode()) & 0x7FFFFFFF
