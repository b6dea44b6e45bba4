"""Films told from channels, and what their names say: spellings out of lists, and what must stay
live whatever it looks like.
"""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rawstream.film_names import Film, FilmName, extension_in, film_of, read_name, series_key
from rawstream.m3u import Entry, M3uReader
from rawstream.records import FilmFacts

PANEL = "http://panel:8080"
ACE = "acestream://" + "a" * 40
LONG = FilmFacts(duration=5400)


def entry(line: str, url: str) -> Entry:
    reader = M3uReader()
    found = reader.feed(f"#EXTM3U\n#EXTINF:{line}\n{url}\n".encode())
    reader.finish()
    (one,) = found
    return one


def episode(series: str, season: int, number: int, extension: str = "mkv") -> Film:
    return Film("episode", extension, series, series_key(series), season, number)


@pytest.mark.parametrize(
    ("line", "url", "expected"),
    [
        # what panels write
        ("-1,Film", f"{PANEL}/movie/u/p/1.mp4", Film("movie", "mp4")),
        ("-1,Film", f"{PANEL}/movie/u/p/1", Film("movie", "mp4")),
        ("-1,Film", f"{PANEL}/movie/u/p/1.ts", Film("movie", "ts")),
        ("-1,Film", f"{PANEL}/movie/u/p/1.m3u8?x=1", Film("movie", "m3u8")),
        ("-1,Film", f"{PANEL}/movie/t0ken/1.avi", Film("movie", "avi")),
        ("-1,Show S01E02", f"{PANEL}/series/u/p/1.mkv", episode("Show", 1, 2)),
        ("-1,56 Dias S01E01", f"{PANEL}/movie/u/p/1.mkv", episode("56 Dias", 1, 1)),
        ("-1,Show S01 EP02", f"{PANEL}/series/u/p/1", episode("Show", 1, 2, "mp4")),
        ("-1,Show - Episode 5", f"{PANEL}/series/u/p/1.mkv", episode("Show", 1, 5)),
        ('-1 group-title="Show",Episode 7', f"{PANEL}/series/u/p/1.mkv", episode("Show", 1, 7)),
        ('-1 group-title="Show",S02E07', f"{PANEL}/series/u/p/1.mkv", episode("Show", 2, 7)),
        ("-1,Show", f"{PANEL}/series/u/p/1.mkv", episode("Show", 1, 0)),
        # files
        ("-1,Film", "https://cdn/films/a%20film.MKV?token=1", Film("movie", "mkv")),
        ("-1,Film", "https://cdn/movie/a-film.mp4", Film("movie", "mp4")),
        ("-1,Show 1x02", "https://cdn/b.avi", episode("Show", 1, 2, "avi")),
        ("5400,Film (1994)", "https://cdn/1.flv", Film("movie", "flv", facts=LONG)),
        # attributes
        ('-1 tvg-type="movie",Film', "https://cdn/play?id=1", Film("movie", "mp4")),
        ('-1 tvg-type="movie",Film (2020)', "https://cdn/1.ts", Film("movie", "ts")),
        ('-1 type="VOD",Film', ACE, Film("movie", "mp4")),
        ('-1 media="true",Film', ACE, Film("movie", "mp4")),
        (
            '-1 tvg-type="series" season-num="2" episode-num="3",Show',
            "https://cdn/play/1",
            episode("Show", 2, 3, "mp4"),
        ),
        ('-1 tvg-type="movie",Show S01E02', "https://cdn/play/1", episode("Show", 1, 2, "mp4")),
        (
            '-1 tvg-type="series" tvg-series="The Show",Pilot',
            "https://cdn/play/1",
            episode("The Show", 1, 0, "mp4"),
        ),
        # signs, of which it takes two
        ('5400 group-title="VOD",Film', "https://cdn/play/1", Film("movie", "mp4", facts=LONG)),
        ("5400,Film (1994)", "https://cdn/play/1", Film("movie", "mp4", facts=LONG)),
        ('-1 group-title="Séries",Show S1 E2', "https://cdn/play/1", episode("Show", 1, 2, "mp4")),
        # AceStream
        ("-1,Show S01E02 1080p", ACE, episode("Show", 1, 2, "mp4")),
        ("-1,Film.2020.1080p.mkv", ACE, Film("movie", "mkv")),
        ('-1 group-title="Films",Film (2020)', ACE, Film("movie", "mp4")),
        ('-1 group-title="Series",Show 1x02', ACE, episode("Show", 1, 2, "mp4")),
    ],
)  # fmt: skip
def test_these_are_films(line: str, url: str, expected: Film) -> None:
    assert film_of(entry(line, url)) == expected


@pytest.mark.parametrize(
    ("line", "url"),
    [
        ("-1,Channel", f"{PANEL}/live/u/p/1.ts"),
        ("-1,Show S01E02", f"{PANEL}/live/u/p/1.mp4"),
        ("-1,Channel", f"{PANEL}/u/p/1"),
        ("-1,Show S01E02", f"{PANEL}/u/p/1"),
        ("-1,Movie channel", "https://cdn/movie/master.m3u8"),
        ("-1,Movie channel", "https://cdn/live/movie/1.ts"),
        ("-1,Series channel", "https://cdn/series/hd/index.m3u8"),
        ("-1,Camera", "https://cam/live/stream.mp4"),
        ("-1,Channel", "http://host/hdl/channel.flv"),
        ('-1 group-title="Movies",Movie channel', f"{PANEL}/live/u/p/1.ts"),
        ('-1 group-title="Movies",Movie channel', "https://cdn/play/1"),
        ('-1 group-title="Movies",Movie channel', ACE),
        ('7200 group-title="Movies",Film (2020)', "https://cdn/1.m3u8"),
        ('-1 group-title="Series",Show S01E02', "https://cdn/1.ts"),
        ('-1 tvg-type="movie",Vegas @ Seattle', "https://cdn/1.m3u8"),
        ('-1 tvg-type="movie",Vegas @ Seattle', "https://cdn/1.ts"),
        ('-1 tvg-type="hls",Channel', "https://cdn/play/1"),
        ('-1 type="live",File S01E02', "https://cdn/1.mp4"),
        ('-1 radio="true",Song', "https://cdn/1.mp4"),
        ("10,Channel (2020)", "https://cdn/play/1"),
        ("5400,Channel", "https://cdn/play/1"),
        # names
        ("-1,Channel 1x2", ACE),
        ("-1,F1 4x4", ACE),
        ("-1,24/7 S01", ACE),
        ("-1,24/7 Friends S01E02", ACE),
        ('-1 group-title="Series",24/7 Friends 1x02', ACE),
        ("-1,Sky 4K 2160p", ACE),
        ("-1,Canal 16x09", ACE),
        ("-1,Best of (2019)", ACE),
        ("-1,Season 1", ACE),
        ("-1,S4C", ACE),
        ("-1,ESPN E3", ACE),
        ("-1,Formula 1 2024", ACE),
        ('-1 group-title="Cine",Cine Clasico HD', ACE),
    ],
)
def test_these_stay_live(line: str, url: str) -> None:
    assert film_of(entry(line, url)) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Show S01E02", FilmName("Show", "", 1, 2, "", True)),
        ("Show S01E02 Title", FilmName("Show", "", 1, 2, "Title", True)),
        ("Show - S01E02 - The Title", FilmName("Show", "", 1, 2, "The Title", True)),
        ("Show - s1 e2", FilmName("Show", "", 1, 2, "", True)),
        ("Show S01 EP 002", FilmName("Show", "", 1, 2, "", True)),
        ("Show.S01E02.1080p.WEB-DL.mkv", FilmName("Show", "", 1, 2, "", True)),
        ("Show_S01E02_Title", FilmName("Show", "", 1, 2, "Title", True)),
        ("Show S01.E02", FilmName("Show", "", 1, 2, "", True)),
        ("Show T2:E10", FilmName("Show", "", 2, 10, "", True)),
        ("Show S01E01-E02", FilmName("Show", "", 1, 1, "", True)),
        ("Show S01E01E02 Pilot", FilmName("Show", "", 1, 1, "Pilot", True)),
        ("Show S01E01-02", FilmName("Show", "", 1, 1, "", True)),
        ("Show S01E01 & E02 Pilot", FilmName("Show", "", 1, 1, "Pilot", True)),
        ("Show S01E01E02E03", FilmName("Show", "", 1, 1, "", True)),
        ("Show S01E01 24 Hours", FilmName("Show", "", 1, 1, "24 Hours", True)),
        ("Show S01E01 - 9 to 5", FilmName("Show", "", 1, 1, "9 to 5", True)),
        ("Show (2020) S01E02", FilmName("Show", "2020", 1, 2, "", True)),
        ("Show HD S01E02 [1080p]", FilmName("Show", "", 1, 2, "", True)),
        ("Show [S01E02]", FilmName("Show", "", 1, 2, "", True)),
        ("EN - Show S00E01", FilmName("EN - Show", "", 0, 1, "", True)),
        ("S01E02", FilmName("", "", 1, 2, "", True)),
        ("Show 1x02", FilmName("Show", "", 1, 2, "", False)),
        ("Show 1x02 - Title", FilmName("Show", "", 1, 2, "Title", False)),
        ("Show Season 1 Episode 2", FilmName("Show", "", 1, 2, "", True)),
        ("Show, Season 1, Episode 2: Title", FilmName("Show", "", 1, 2, "Title", True)),
        ("Show Temporada 1 Capítulo 2", FilmName("Show", "", 1, 2, "", True)),
        ("Show Staffel 1 Folge 2", FilmName("Show", "", 1, 2, "", True)),
        ("Show Saison 1 Épisode 2", FilmName("Show", "", 1, 2, "", True)),
        ("1923 S01E02", FilmName("1923", "", 1, 2, "", True)),
        ("Film (2024)", FilmName("Film", "2024")),
        ("Film [2024] [4K]", FilmName("Film", "2024")),
        ("Film - 2023", FilmName("Film", "2023")),
        ("Film (2024) 1080p", FilmName("Film", "2024")),
        ("The.Film.2020.1080p.BluRay.x264.mkv", FilmName("The Film", "2020")),
        ("Film 4K", FilmName("Film")),
        ("2012 (2009)", FilmName("2012", "2009")),
        ("1917", FilmName("1917")),
        ("Blade Runner 2049", FilmName("Blade Runner 2049")),
        ("4K", FilmName("4K")),
        ("Film (Director's cut) (1982)", FilmName("Film (Director's cut)", "1982")),
        ("", FilmName("")),
        ("Channel 1x2", FilmName("Channel 1x2")),
        ("F1 4x4", FilmName("F1 4x4")),
        ("Screen 1920x1080", FilmName("Screen 1920x1080")),
        ("24/7 Friends S01E02", FilmName("24/7 Friends S01E02")),
    ],
)
def test_what_a_name_says(name: str, expected: FilmName) -> None:
    assert read_name(name) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://cdn/a.b/Film.MKV?token=1.mp4", "mkv"),
        (f"{PANEL}/movie/u/p/1.mp4", "mp4"),
        ("https://cdn/film.ts", "ts"),
        ("https://cdn/film.php", ""),
        ("https://cdn/index.m3u8", ""),
        ("https://cdn/film", ""),
    ],
)
def test_the_ending_of_a_films_url(url: str, expected: str) -> None:
    assert extension_in(url) == expected


@given(st.text(max_size=255))
@example("S1E" * 80)
@example("[" * 255)
@example("- " * 127)
@example("1080p " * 40)
@example("s\u0661e\u0662")
def test_any_text_is_a_name(name: str) -> None:
    found = read_name(name)
    assert found.season is None or found.season < 100
    assert found.title or found.season is not None or not name
    assert series_key(name) or not name


@pytest.mark.parametrize(
    "names",
    [
        ("Show", "SHOW", "show ", "Show."),
        ("Mr. Robot", "Mr Robot", "Mr.Robot", "mr_robot"),
        ("Élite", "Elite"),
        ("Show (2020)", "Show 2020", "show [2020]"),
        ("Сериал", "сериал"),
    ],
)
def test_spellings_of_one_series_have_one_key(names: tuple[str, ...]) -> None:
    assert len({series_key(name) for name in names}) == 1


def test_series_whose_names_differ_have_keys_of_their_own() -> None:
    names = ("Show", "Show 2", "Show (2020)", "EN - Show", "???", "!!!")
    assert len({series_key(name) for name in names}) == len(names)


def test_what_a_list_says_of_a_film() -> None:
    film = film_of(
        entry(
            '6000 tvg-desc="A plot" genre="Drama" year="1994" rating="7,5/10" cast="A, B"'
            ' director="C" trailer="abc" backdrop="http://b" tmdb-id="12" duration="1:35:00",Film',
            "https://cdn/1.mp4",
        )
    )
    assert film is not None
    assert film.facts == FilmFacts(
        "A plot", "A, B", "C", "Drama", "1994", 7.5, 5700, "abc", "http://b", 12
    )  # fmt: skip


@pytest.mark.parametrize(
    "line",
    ['-1 rating="N/A" year="soon" tmdb="x" duration="long"', '-1 rating="99" duration="99999999"'],
)
def test_what_is_no_fact_is_left_out(line: str) -> None:
    film = film_of(entry(f"{line},Film", "https://cdn/1.mp4"))
    assert film == Film("movie", "mp4")
