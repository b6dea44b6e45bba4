"""Clients that cannot be run here, as the types they insist on: Jellyfin.Xtream (.NET), open-tv
(Rust), XStreamity (Enigma2), go.xtream-codes, iptvnator (TypeScript), xtream_code_client (Dart).

A model holds only what its client reads, and refuses what would make that client fail (Xtream
reference §4). The server's own answers go through all of them, byte for byte as they came.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from front_door import ask, front_door, login
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from rawstream.records import Channel
from rawstream.simulator import film_contents
from rawstream.store import Store


class Strict(BaseModel):
    """JSON's types as they are: no number for text, no text for a number. Other keys may be there:
    no client of these minds them.
    """

    model_config = ConfigDict(strict=True)


# -- how each language reads a value --

Int32 = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Unsigned8 = Annotated[int, Field(ge=0, le=255)]
Unsigned64 = Annotated[int, Field(ge=0, lt=2**64)]
Digits = Annotated[str, Field(pattern=r"^-?[0-9]+$")]  # Go's `,string`, Python's int()


def _decoded(text: str) -> str:
    return base64.b64decode(text, validate=True).decode()


def _moment(text: str) -> str:
    datetime.strptime(text, "%Y-%m-%d %H:%M:%S")
    return text


def _date(text: str) -> str:
    """Json.NET takes a date, but no year alone, and nothing for none only where null may be."""
    datetime.strptime(text, "%Y-%m-%d")
    return text


def _date_or_nothing(text: str) -> str:
    return _date(text) if text else text


def _newtonsoft_int(value: Any) -> Any:
    """Json.NET takes a number or its digits as text, nothing empty and nothing wider."""
    return int(value) if isinstance(value, str) else value


def _newtonsoft_bool(value: Any) -> Any:
    """Json.NET takes 0 and 1, but not "0"."""
    return bool(value) if isinstance(value, int) else value


Base64 = Annotated[str, AfterValidator(_decoded)]
Moment = Annotated[str, AfterValidator(_moment)]
NetInt = Annotated[Int32, BeforeValidator(_newtonsoft_int)]
NetBool = Annotated[bool, BeforeValidator(_newtonsoft_bool)]
NetDecimal = Annotated[float, BeforeValidator(float)]
NetDate = Annotated[str, AfterValidator(_date_or_nothing)]  # of a type that may be null
NetWholeDate = Annotated[str, AfterValidator(_date)]
NetUnixTime = Annotated[int, BeforeValidator(_newtonsoft_int)]
GoBool = Literal[0, 1, "0", "1", "true", "false"]
GoTime = Annotated[int, BeforeValidator(_newtonsoft_int)]  # digits, quoted or not; never ""


# -- Jellyfin.Xtream: Client/Models --


class JellyfinUser(Strict):
    username: str
    password: str
    auth: NetInt
    status: str
    exp_date: NetUnixTime | None
    is_trial: Literal["0", "1"]  # its converter casts to string
    active_cons: NetInt
    created_at: NetUnixTime
    max_connections: NetInt
    allowed_output_formats: list[str]


class JellyfinServer(Strict):
    url: str
    port: str
    rtmp_port: str
    timezone: str
    time_now: Moment


class JellyfinAccount(Strict):
    user_info: JellyfinUser
    server_info: JellyfinServer


class JellyfinCategory(Strict):
    category_id: NetInt
    category_name: str
    parent_id: NetInt


class JellyfinStream(Strict):
    num: NetInt
    name: str
    stream_type: str
    stream_id: NetInt
    stream_icon: str | None
    epg_channel_id: str | None
    added: str
    category_id: NetInt
    custom_sid: str | None
    tv_archive: Int32
    direct_source: str | None
    tv_archive_duration: NetInt


class JellyfinProgramme(Strict):
    id: NetInt
    epg_id: NetInt
    title: Base64
    lang: str | None
    start_timestamp: NetUnixTime
    stop_timestamp: NetUnixTime
    description: Base64
    channel_id: str
    now_playing: NetBool
    has_archive: NetBool


class JellyfinListings(Strict):
    epg_listings: list[JellyfinProgramme]


class JellyfinFilm(Strict):
    """Its class for streams; what is not there keeps its default."""

    num: NetInt
    name: str
    stream_type: str
    stream_id: NetInt
    stream_icon: str | None
    added: str
    category_id: NetInt
    container_extension: str
    custom_sid: str | None
    direct_source: str | None
    tv_archive: Int32 = 0
    tv_archive_duration: NetInt = 0


class JellyfinFilmInfo(Strict):
    movie_image: str | None
    genre: str | None
    plot: str | None
    director: str | None
    rating: NetDecimal | None
    releasedate: NetDate | None
    duration_secs: NetInt | None
    tmdb_id: NetInt | None
    bitrate: NetInt


class JellyfinFilmAnswer(Strict):
    info: JellyfinFilmInfo


class JellyfinSeriesHead(Strict):
    name: str | None
    rating: NetDecimal = 0.0
    rating_5based: NetDecimal = 0.0
    episode_run_time: NetInt = 0
    category_id: NetInt = 0
    last_modified: NetUnixTime | None = None
    backdrop_path: list[str] = []


class JellyfinSeriesRow(JellyfinSeriesHead):
    num: NetInt
    series_id: NetInt
    cover: str | None
    plot: str | None
    cast: str | None
    director: str | None
    genre: str | None
    youtube_trailer: str | None


class JellyfinSeason(Strict):
    air_date: NetWholeDate
    episode_count: NetInt
    id: NetInt
    name: str | None
    overview: str | None
    season_number: NetInt
    cover: str | None
    cover_big: str | None


class JellyfinEpisodeInfo(Strict):
    movie_image: str | None = ""
    plot: str | None = ""
    releasedate: NetWholeDate = ""
    rating: NetInt = 0
    duration_secs: NetInt = 0
    bitrate: NetInt = 0


class JellyfinEpisode(Strict):
    id: NetInt
    episode_num: NetInt
    title: str | None
    container_extension: str | None
    info: JellyfinEpisodeInfo | None
    custom_sid: str | None
    added: NetUnixTime | None
    season: NetInt
    direct_source: str | None


class JellyfinSeries(Strict):
    seasons: list[JellyfinSeason]
    info: JellyfinSeriesHead
    episodes: dict[Digits, list[JellyfinEpisode]]


# -- open-tv: src-tauri/src/xtream.rs --


class OpenTvStream(Strict):
    stream_id: Unsigned64
    name: str
    category_id: str | None
    stream_icon: str | None


class OpenTvCategory(Strict):
    category_id: str
    category_name: str


class OpenTvProgramme(Strict):
    title: Base64
    description: Base64
    start: Moment
    end: Moment
    start_timestamp: Digits
    stop_timestamp: Digits
    now_playing: Unsigned8
    has_archive: Unsigned8


class OpenTvListings(Strict):
    epg_listings: list[OpenTvProgramme]


class OpenTvFilm(OpenTvStream):
    container_extension: str | None


class OpenTvSeriesRow(Strict):
    series_id: Unsigned64
    name: str
    cover: str | None
    category_id: str | None


class OpenTvEpisode(Strict):
    id: str
    title: str
    container_extension: str
    episode_num: int
    season: int


class OpenTvSeries(Strict):
    seasons: list[dict[str, Any]]
    episodes: dict[str, list[OpenTvEpisode]]


# -- XStreamity: playlists.py, live.py; Python that indexes without asking --


class XstreamityUser(Strict):
    auth: int
    status: Literal["Active", "Banned", "Disabled", "Expired"]
    exp_date: Digits
    active_cons: Digits
    max_connections: Digits
    created_at: Digits
    is_trial: str
    allowed_output_formats: Annotated[list[str], Field(min_length=1)]


class XstreamityServer(Strict):
    time_now: Moment
    url: str
    port: str
    server_protocol: str


class XstreamityAccount(Strict):
    user_info: XstreamityUser
    server_info: XstreamityServer


class XstreamityStream(Strict):
    stream_id: int
    name: str
    stream_icon: str
    epg_channel_id: str | None
    added: Digits
    category_id: str
    custom_sid: str
    tv_archive: int
    direct_source: str


class XstreamityProgramme(Strict):
    title: Base64
    description: Base64
    start: Moment
    start_timestamp: Digits
    stop_timestamp: Digits


class XstreamityListings(Strict):
    epg_listings: list[XstreamityProgramme]


# -- go.xtream-codes: structs.go --


class GoUser(Strict):
    active_cons: Digits
    allowed_output_formats: list[str]
    auth: GoBool
    created_at: GoTime
    exp_date: GoTime | None
    is_trial: GoBool
    max_connections: Digits
    message: str
    status: str


class GoServer(Strict):
    https_port: Digits
    port: Digits
    process: bool
    rtmp_port: Digits
    server_protocol: str
    time_now: str
    timestamp_now: GoTime
    timezone: str
    url: str


class GoAccount(Strict):
    server_info: GoServer
    user_info: GoUser


class GoCategory(Strict):
    category_id: Digits
    category_name: str
    parent_id: int


class GoStream(Strict):
    added: GoTime
    category_id: Digits
    custom_sid: str | None
    direct_source: str | None
    epg_channel_id: str | None
    stream_icon: str | None
    stream_id: int
    name: str
    num: int
    tv_archive: int
    tv_archive_duration: GoTime | None
    stream_type: str


class GoProgramme(Strict):
    channel_id: str
    description: Base64
    end: str
    epg_id: Digits
    has_archive: GoBool
    id: Digits
    lang: str
    now_playing: GoBool
    start: str
    start_timestamp: GoTime
    stop_timestamp: GoTime
    title: Base64


class GoListings(Strict):
    epg_listings: list[GoProgramme]


class GoFilm(Strict):
    """`rating` is text to it, as classic panels send it; newer ones send a number (§3.4)."""

    added: GoTime
    category_id: Digits
    container_extension: str
    custom_sid: str | None
    direct_source: str | None
    stream_icon: str | None
    stream_id: int
    name: str
    num: int
    rating_5based: float
    stream_type: str


class GoSeriesInfo(Strict):
    name: str | None
    backdrop_path: list[str] | str | None = None
    cast: str | None = None
    category_id: Digits | None = None
    cover: str | None = None
    episode_run_time: str | None = None
    last_modified: GoTime | None = None
    rating: Digits | None = None
    rating_5based: float | None = None
    releaseDate: str | None = None  # noqa: N815 - the panels' spelling


class GoSeriesRow(GoSeriesInfo):
    num: int
    series_id: int
    stream_type: str | None


class GoEpisodeInfo(Strict):
    duration: str
    duration_secs: int
    movie_image: str
    plot: str
    rating: str = ""


class GoEpisode(Strict):
    added: str
    container_extension: str
    custom_sid: str
    direct_source: str
    episode_num: int
    id: str
    info: GoEpisodeInfo
    season: int
    title: str


class GoSeries(Strict):
    episodes: dict[str, list[GoEpisode]]
    info: GoSeriesInfo
    seasons: list[Any]


# -- iptvnator: libs/shared/interfaces --


class IptvnatorUser(Strict):
    username: str
    password: str
    auth: Literal[1]
    status: str
    exp_date: Digits
    active_cons: str
    max_connections: str
    allowed_output_formats: list[str]


class IptvnatorServer(Strict):
    url: str
    port: str
    server_protocol: Literal["http", "https"]
    timezone: str
    timestamp_now: int
    time_now: Moment


class IptvnatorAccount(Strict):
    user_info: IptvnatorUser
    server_info: IptvnatorServer


class IptvnatorCategory(Strict):
    category_id: str
    category_name: str
    parent_id: int


class IptvnatorStream(Strict):
    num: int
    name: str
    stream_type: str
    stream_id: int
    stream_icon: str
    epg_channel_id: str | None
    added: Digits
    category_id: str
    tv_archive: Literal[0, 1]
    tv_archive_duration: int


class IptvnatorProgramme(Strict):
    id: str
    title: Base64
    description: Base64
    start: Moment
    end: Moment
    channel_id: str
    start_timestamp: Digits
    stop_timestamp: Digits


class IptvnatorListings(Strict):
    epg_listings: list[IptvnatorProgramme]


class IptvnatorFilm(Strict):
    info: Annotated[list[Any], Field(max_length=0)] | dict[str, Any]


# -- xtream_code_client: lib/src/model; `as String?` and `as int` of Dart --


class DartUser(Strict):
    username: str | None
    password: str | None
    message: str | None
    auth: int | None
    status: str | None
    exp_date: str | None
    is_trial: str | None
    active_cons: str | None
    created_at: str | None
    max_connections: str | None
    allowed_output_formats: list[str]


class DartServer(Strict):
    url: str | None
    port: str | None
    https_port: str | None
    server_protocol: str | None
    rtmp_port: str | None
    timestamp_now: int
    time_now: str
    timezone: str | None


class DartAccount(Strict):
    user_info: DartUser
    server_info: DartServer


class DartStream(Strict):
    name: str | None
    stream_type: str | None
    stream_icon: str | None
    epg_channel_id: str | None
    direct_source: str | None
    category_ids: list[int]
    thumbnail: str | None


class DartProgramme(Strict):
    id: str
    epg_id: str
    title: str
    lang: str | None
    start: str
    end: str
    description: str
    channel_id: str  # version 1 has no question mark here
    start_timestamp: str
    stop_timestamp: str


class DartListings(Strict):
    epg_listings: list[DartProgramme]


class DartRow(DartProgramme):
    now_playing: int
    has_archive: int


class DartTable(Strict):
    epg_listings: list[DartRow]


class DartSeries(Strict):
    seasons: list[dict[str, Any]]
    info: dict[str, Any]
    episodes: dict[str, list[dict[str, Any]]] | None


# -- what reads panel_api.php: players of the time before player_api.php (§3.11) --


class PanelChannel(Strict):
    num: int
    name: str
    stream_type: str
    type_name: str
    stream_id: Digits
    stream_icon: str
    epg_channel_id: str | None
    added: Digits
    category_name: str
    category_id: Digits
    series_no: None
    live: Literal["0", "1"]
    container_extension: str | None
    custom_sid: str
    tv_archive: int
    direct_source: str
    tv_archive_duration: int


class PanelCategories(Strict):
    live: list[IptvnatorCategory]
    movie: list[IptvnatorCategory]
    series: list[IptvnatorCategory]


class Panel(GoAccount):
    categories: PanelCategories
    available_channels: dict[Digits, PanelChannel]


# action (panel: the other script) -> what its answer is to this client
MODELS: Mapping[str, Mapping[str, Any]] = {
    "Jellyfin.Xtream": {
        "": JellyfinAccount,
        "get_live_categories": list[JellyfinCategory],
        "get_live_streams": list[JellyfinStream],
        "get_vod_categories": list[JellyfinCategory],
        "get_vod_streams": list[JellyfinFilm],
        "get_vod_info": JellyfinFilmAnswer,
        "get_series_categories": list[JellyfinCategory],
        "get_series": list[JellyfinSeriesRow],
        "get_series_info": JellyfinSeries,
        "get_simple_data_table": JellyfinListings,
    },
    "open-tv": {
        "get_live_categories": list[OpenTvCategory],
        "get_live_streams": list[OpenTvStream],
        "get_vod_categories": list[OpenTvCategory],
        "get_vod_streams": list[OpenTvFilm],
        "get_series_categories": list[OpenTvCategory],
        "get_series": list[OpenTvSeriesRow],
        "get_series_info": OpenTvSeries,
        "get_short_epg": OpenTvListings,
        "get_simple_data_table": OpenTvListings,
    },
    "XStreamity": {
        "": XstreamityAccount,
        "get_live_categories": list[OpenTvCategory],
        "get_live_streams": list[XstreamityStream],
        "get_vod_categories": list[OpenTvCategory],
        "get_series_categories": list[OpenTvCategory],
        "get_short_epg": XstreamityListings,
        "get_simple_data_table": XstreamityListings,
    },
    "go.xtream-codes": {
        "": GoAccount,
        "get_live_categories": list[GoCategory],
        "get_live_streams": list[GoStream],
        "get_vod_categories": list[GoCategory],
        "get_vod_streams": list[GoFilm],
        "get_series_categories": list[GoCategory],
        "get_series": list[GoSeriesRow],
        "get_series_info": GoSeries,
        "get_short_epg": GoListings,
        "get_simple_data_table": GoListings,
    },
    "iptvnator": {
        "": IptvnatorAccount,
        "get_account_info": IptvnatorAccount,
        "get_profile": IptvnatorAccount,
        "get_live_categories": list[IptvnatorCategory],
        "get_live_streams": list[IptvnatorStream],
        "get_vod_categories": list[IptvnatorCategory],
        "get_vod_streams": list[dict[str, Any]],
        "get_series_categories": list[IptvnatorCategory],
        "get_series": list[dict[str, Any]],
        "get_vod_info": IptvnatorFilm,
        "get_short_epg": IptvnatorListings,
        "get_simple_data_table": IptvnatorListings,
        "get_simple_date_table": IptvnatorListings,
    },
    "xtream_code_client": {
        "": DartAccount,
        "get_live_categories": list[IptvnatorCategory],
        "get_live_streams": list[DartStream],
        "get_vod_streams": list[dict[str, Any]],
        "get_series": list[dict[str, Any]],
        "get_series_info": DartSeries,
        "get_short_epg": DartListings,
        "get_simple_data_table": DartTable,
    },
    "players of panel_api.php": {"panel": Panel},
}


async def _bare(store: Store) -> None:
    """Films of which nothing is known but their names."""
    series = await store.lineup.series_named("Bare")
    for number in (1, 2):
        await store.lineup.add_channel(Channel(0, f"Bare {number}", kind="movie"))
        await store.lineup.add_channel(
            Channel(0, "", kind="episode", series_id=series.id, season=number)
        )


@pytest.mark.parametrize("bare", [False, True], ids=["films", "bare films"])
@pytest.mark.parametrize("client", MODELS)
async def test_every_answer_is_what_the_client_insists_on(
    tmp_path: Path, client: str, bare: bool
) -> None:
    films = () if bare else film_contents()
    prepare = _bare if bare else None
    async with front_door(tmp_path, films=films, prepare=prepare) as (_worker, url):
        for action, model in MODELS[client].items():
            target = f"{login(url)}&action={action}&stream_id=1&vod_id=5&series_id=1"
            if action == "panel":
                target = login(url).replace("player_api", "panel_api")
            heard = await ask(target)
            assert heard.status == 200
            assert heard.headers["content-type"] == "application/json"  # XStreamity drops others
            try:
                found = TypeAdapter(model).validate_json(heard.body)
            except ValidationError as error:
                pytest.fail(f"{client} fails over {action or 'the account'}: {error}")
            if action.endswith(("_categories", "_streams")) or action == "get_series":
                assert found, "there was nothing to look at"
            if action == "get_series_info":
                assert found.episodes, "there was nothing to look at"
            if action in ("get_short_epg", "get_simple_data_table"):
                assert found.epg_listings, "there was nothing to look at"


async def test_iptvnator_finds_that_the_panels_clock_is_utc(tmp_path: Path) -> None:
    """It takes the panel's offset from the difference of these two."""
    async with front_door(tmp_path) as (_worker, url):
        server = (await ask(login(url))).json["server_info"]
    said = datetime.strptime(server["time_now"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert said.timestamp() == server["timestamp_now"]


# -- the models themselves: the reference's samples pass, what breaks a client does not --

PROGRAMME = {
    "id": "51",
    "epg_id": "7",
    "title": "TW9ybmluZyBOZXdz",
    "lang": "",
    "start": "2026-01-01 00:00:00",
    "end": "2026-01-01 01:00:00",
    "stop": "2026-01-01 01:00:00",
    "description": "",
    "channel_id": "one.example",
    "start_timestamp": "1767225600",
    "stop_timestamp": "1767229200",
    "now_playing": 1,
    "has_archive": 0,
}
USER = {
    "username": "ana",
    "password": "s3cret",
    "message": "",
    "auth": 1,
    "status": "Active",
    "exp_date": "1798761600",
    "is_trial": "0",
    "active_cons": "1",
    "created_at": "1735689600",
    "max_connections": "2",
    "allowed_output_formats": ["ts"],
}
STREAM = {
    "num": 1,
    "name": "Example One HD",
    "stream_type": "live",
    "stream_id": 1001,
    "stream_icon": "",
    "epg_channel_id": "one.example",
    "added": "1735689600",
    "category_id": "3",
    "category_ids": [3],
    "custom_sid": "",
    "tv_archive": 0,
    "direct_source": "",
    "tv_archive_duration": 0,
    "thumbnail": "",
}
SERVER = {
    "url": "tv.example.org",
    "port": "8080",
    "https_port": "8443",
    "server_protocol": "http",
    "rtmp_port": "0",
    "timezone": "UTC",
    "timestamp_now": 1767225600,
    "time_now": "2026-01-01 00:00:00",
    "process": True,
}
CATEGORY = {"category_id": "3", "category_name": "Sports", "parent_id": 0}
NO_SERIES = {"seasons": [], "info": {"name": None}, "episodes": {}}
FILM = {
    "num": 1,
    "name": "Sample Film (2024)",
    "title": "Sample Film",
    "year": "2024",
    "stream_type": "movie",
    "stream_id": 5001,
    "stream_icon": "",
    "rating": 6.4,
    "rating_5based": 3.2,
    "added": "1735689600",
    "plot": "",
    "cast": "",
    "director": "",
    "genre": "Drama",
    "release_date": "2024-05-01",
    "youtube_trailer": "",
    "episode_run_time": 95,
    "category_id": "40",
    "category_ids": [40],
    "container_extension": "mp4",
    "custom_sid": "",
    "direct_source": "",
}
SERIES = {
    "num": 1,
    "name": "Sample Show (2025)",
    "title": "Sample Show",
    "year": "2025",
    "stream_type": "series",
    "series_id": 700,
    "cover": "",
    "plot": "",
    "cast": "",
    "director": "",
    "genre": "Drama",
    "release_date": "2025-02-01",
    "releaseDate": "2025-02-01",
    "last_modified": "1740591320",
    "rating": "7",
    "rating_5based": 3.5,
    "backdrop_path": [],
    "youtube_trailer": "",
    "episode_run_time": "45",
    "category_id": "50",
    "category_ids": [50],
}
NO_KEY = object()


def answer(action: str, **changes: Any) -> bytes:
    """The reference's sample for an action, with some keys changed or (NO_KEY) left out."""

    def changed(sample: Mapping[str, Any]) -> dict[str, Any]:
        both = {**sample, **{key: value for key, value in changes.items() if key in sample}}
        return {key: value for key, value in both.items() if value is not NO_KEY}

    samples: dict[str, Any] = {
        "": {"user_info": changed(USER), "server_info": changed(SERVER)},
        "get_live_categories": [changed(CATEGORY)],
        "get_live_streams": [changed(STREAM)],
        "get_series_info": changed(NO_SERIES),
        "get_vod_streams": [changed(FILM)],
        "get_series": [changed(SERIES)],
        "get_short_epg": {"epg_listings": [changed(PROGRAMME)]},
        "get_simple_data_table": {"epg_listings": [changed(PROGRAMME)]},
    }
    return json.dumps(samples[action]).encode()


@pytest.mark.parametrize(
    ("client", "action"),
    [
        (client, action)
        for client, models in MODELS.items()
        for action in models
        if action in ("", "get_live_categories", "get_live_streams", "get_series_info")
        or action in ("get_short_epg", "get_simple_data_table", "get_vod_streams", "get_series")
    ],
)
def test_the_samples_of_the_reference_pass(client: str, action: str) -> None:
    assert TypeAdapter(MODELS[client][action]).validate_json(answer(action))


@pytest.mark.parametrize(
    ("client", "action", "changes"),
    [
        ("Jellyfin.Xtream", "get_live_streams", {"tv_archive": "0"}),
        ("Jellyfin.Xtream", "get_live_streams", {"tv_archive_duration": None}),
        ("Jellyfin.Xtream", "get_live_streams", {"category_id": ""}),
        ("Jellyfin.Xtream", "get_live_streams", {"stream_id": 2**31}),
        ("Jellyfin.Xtream", "get_simple_data_table", {"has_archive": "0"}),
        ("Jellyfin.Xtream", "get_simple_data_table", {"now_playing": "1"}),
        ("Jellyfin.Xtream", "get_simple_data_table", {"id": str(2**31)}),
        ("Jellyfin.Xtream", "get_simple_data_table", {"epg_id": "x"}),
        ("Jellyfin.Xtream", "get_simple_data_table", {"title": "Morning News"}),
        ("Jellyfin.Xtream", "get_simple_data_table", {"description": None}),
        ("Jellyfin.Xtream", "", {"created_at": None}),
        ("Jellyfin.Xtream", "", {"is_trial": 0}),
        ("Jellyfin.Xtream", "get_series_info", {"episodes": []}),
        ("Jellyfin.Xtream", "get_series_info", {"seasons": [{"air_date": ""}]}),
        ("Jellyfin.Xtream", "get_vod_streams", {"category_id": ""}),
        ("Jellyfin.Xtream", "get_series", {"rating": ""}),
        ("Jellyfin.Xtream", "get_series", {"episode_run_time": ""}),
        ("open-tv", "get_series", {"series_id": "700"}),
        ("go.xtream-codes", "get_vod_streams", {"added": ""}),
        ("go.xtream-codes", "get_series", {"rating": "6.4"}),
        ("open-tv", "get_live_streams", {"name": 7}),
        ("open-tv", "get_live_streams", {"stream_icon": 7}),
        ("open-tv", "get_live_categories", {"category_name": 7}),
        ("open-tv", "get_short_epg", {"description": None}),
        ("open-tv", "get_short_epg", {"title": "Morning News"}),
        ("open-tv", "get_short_epg", {"now_playing": NO_KEY}),
        ("open-tv", "get_simple_data_table", {"has_archive": "0"}),
        ("open-tv", "get_short_epg", {"end": "1767229200"}),
        ("open-tv", "get_short_epg", {"start_timestamp": 1767225600}),
        ("open-tv", "get_series_info", {"seasons": NO_KEY}),
        ("open-tv", "get_series_info", {"episodes": NO_KEY}),
        ("XStreamity", "", {"active_cons": NO_KEY}),
        ("XStreamity", "", {"max_connections": NO_KEY}),
        ("XStreamity", "", {"status": "Trial"}),
        ("XStreamity", "", {"time_now": "2026-01-01T00:00:00Z"}),
        ("XStreamity", "", {"allowed_output_formats": []}),
        ("XStreamity", "get_live_streams", {"custom_sid": None}),
        ("XStreamity", "get_short_epg", {"title": "Morning News"}),
        ("go.xtream-codes", "", {"port": 8080}),
        ("go.xtream-codes", "", {"https_port": 8443}),
        ("go.xtream-codes", "", {"rtmp_port": ""}),
        ("go.xtream-codes", "", {"active_cons": 1}),
        ("go.xtream-codes", "", {"max_connections": 2}),
        ("go.xtream-codes", "", {"created_at": ""}),
        ("go.xtream-codes", "get_live_categories", {"category_id": 3}),
        ("go.xtream-codes", "get_live_streams", {"category_id": 3}),
        ("go.xtream-codes", "get_live_streams", {"added": ""}),
        ("iptvnator", "", {"auth": 0}),
        ("iptvnator", "get_live_streams", {"stream_icon": None}),
        ("xtream_code_client", "", {"max_connections": 2}),
        ("xtream_code_client", "", {"exp_date": 1798761600}),
        ("xtream_code_client", "", {"timestamp_now": "1767225600"}),
        ("xtream_code_client", "get_short_epg", {"channel_id": None}),
        ("xtream_code_client", "get_simple_data_table", {"has_archive": "0"}),
    ],
)
def test_what_breaks_a_client_is_refused(client: str, action: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(MODELS[client][action]).validate_json(answer(action, **changes))
