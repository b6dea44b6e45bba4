"""Which entries of a list are films, and what their names say.

Owns: the signs by which an entry is told to be a movie or an episode and no live channel (Xtream
reference §7), the spellings of seasons and episodes, years and qualities in names, what lists say
of a film. Must not know: which channels exist, how any of it is kept or shown. Pure.

A live channel that is taken for a film can't be watched as what it is, a film that is taken for a
channel only stands in the wrong place: what is doubtful is live. A file's ending in the URL, the
paths that panels give films, and an attribute that says so are enough by themselves; a name, a
length and a group are signs of which it takes two.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from rawstream.m3u import Entry
from rawstream.records import FilmFacts

DEFAULT_EXTENSION: Final = "mp4"  # where nothing says what the file is; players demand one
_FILM_SECONDS: Final = 300  # live channels have lengths too, of a few seconds

_FILES: Final = frozenset(
    (
        *("mp4", "mkv", "avi", "mov", "m4v", "wmv", "webm", "mpg", "mpeg", "divx", "vob", "ogm"),
        *("ogv", "3gp", "rmvb", "m2ts", "mts"),
    )
)
_LIVE_OR_FILE: Final = frozenset(("flv", "asf", "ts"))  # live is served under these as well
_PLAYLISTS: Final = frozenset(("m3u8", "m3u", "mpd", "ism", "pls"))
# behind /movie/ and /series/: user and password or a token, and a number
_PANEL_PATH: Final = re.compile(
    r"[^/?#]++/(?:[^/?#]++/)?[0-9]++(?:\.([A-Za-z0-9]{1,8}))?(?:[?#].*)?"
)
_NAMED_FILE: Final = re.compile(rf"\.({'|'.join(sorted(_FILES | {'flv'}))})\Z", re.IGNORECASE)
_LIVE_PATH: Final = re.compile(r"/live/", re.IGNORECASE)

_TYPE_KEYS: Final = ("tvg-type", "type", "media-type", "content-type", "stream-type", "tvg-media")
_FLAG_KEYS: Final = ("media", "vod", "is-vod")  # pvr.iptvsimple knows the first
_ASKED_KEYS: Final = frozenset((*_TYPE_KEYS, *_FLAG_KEYS))
_TOLD: Final[Mapping[str, Literal["live", "movie", "episode"]]] = {
    **dict.fromkeys(("live", "channel", "livetv", "tv", "radio"), "live"),
    **dict.fromkeys(("movie", "movies", "film", "films", "vod"), "movie"),
    **dict.fromkeys(
        ("series", "serie", "episode", "tvshow", "tvshows", "tv-show", "show"), "episode"
    ),
}
_GROUPS: Final = re.compile(
    r"(?<![a-z])(?:movies?|films?|filme|filmy|vod|peliculas?|series?|serien|seriale|tv ?shows?"
    r"|novelas?|anime|dizi(?:ler)?|cine|cinema|kino)(?![a-z])"
)

# -- names --
_ROUND_THE_CLOCK: Final = re.compile(r"\W*24\s*[/x-]\s*7(?!\d)", re.IGNORECASE)
_SEASON_WORD: Final = (
    r"(?:seasons?|temporadas?|saisons?|staffel|stagione|sezon|sezonul|seizoen|sæson|säsong|kausi)"
)
_EPISODE_WORD: Final = (
    r"(?:episodes?|épisodes?|episodio|episódio|capitulo|capítulo|chapter|folge|odcinek|bölüm"
    r"|aflevering|afsnit|avsnitt|ep|cap)"
)
_GAP: Final = r"[\s.,:;_\u2013\u2014-]*+"
_EPISODE: Final = (
    re.compile(rf"(?<![^\W_])[ST](\d{{1,2}}){_GAP}(?:EP?|X){_GAP}(\d{{1,4}})(?!\d)", re.IGNORECASE),
    re.compile(
        rf"(?<![^\W_]){_SEASON_WORD}{_GAP}(\d{{1,2}}){_GAP}{_EPISODE_WORD}{_GAP}(\d{{1,4}})(?!\d)",
        re.IGNORECASE,
    ),
)
_CROSSED: Final = re.compile(r"(?<![^\W_])(?<!\d\.)(\d{1,2})x(\d{2,3})(?![^\W_])", re.IGNORECASE)
_EPISODE_ALONE: Final = re.compile(
    rf"(?<![^\W_])(?:{_EPISODE_WORD}{_GAP}|E|#\s*)(\d{{1,4}})(?![^\W_])", re.IGNORECASE
)
# of a double episode
_FURTHER_EPISODES: Final = re.compile(
    r"(?:\s*+[-&+]?\s*+EP?\s*+\d{1,4}(?![^\W_E])|-\d{1,4}(?!\w))*+", re.IGNORECASE
)
_YEAR: Final = re.compile(r"[(\[]((?:19|20)\d{2})[)\]]")
_YEAR_BEHIND: Final = re.compile(r"(?<=\S)\s+[-\u2013\u2014]\s+((?:19|20)\d{2})\Z")
_YEAR_BARE: Final = re.compile(r"(?<=\w )((?:19|20)\d{2})\Z")
_TAG: Final = (
    r"(?:(?:2160|1440|1080|720|576|480)[pi]|[48]k|u?hd|fhd|full ?hd|sd|hdr(?:10)?\+?|dv|sdr|hevc"
    r"|avc|[xh][ .]?26[45]|10 ?bit|web(?:[ .-]?(?:dl|rip))?|blu-?ray|(?:bd|br|dvd|hd|cam|tv)-?rip"
    r"|remux|aac(?:[ .]?\d\.\d)?|e?ac3|ddp?(?:[ .]?\d\.\d)?|dts|atmos|multi(?:-?subs?)?|dual"
    r"|vost(?:fr)?|vose?|subbed|dubbed|repack|proper|extended|imax)"
)
_TAG_IN_BRACKETS: Final = re.compile(
    rf"[\[({{]\s*{_TAG}(?:[\s,/|+-]+{_TAG})*\s*[\])}}]", re.IGNORECASE
)
_TAG_BEHIND: Final = re.compile(rf"(?:\A|[\s,|/-]+){_TAG}(?:-\w+)?\Z", re.IGNORECASE)
_EDGES: Final = " \t-\u2013\u2014:|,.;_/"
_BLANKS: Final = re.compile(r"\s+")
_NO_LETTER: Final = re.compile(r"[\W_]+")
_CLOSING: Final = ")]} "
_BRACKETS_LEFT: Final = re.compile(r"[(\[{]\s*[)\]}]|[(\[{]\s*\Z")

# -- attributes --
_PLOT_KEYS: Final = ("plot", "tvg-plot", "tvg-desc", "description", "tvg-description", "desc")
_DATE_KEYS: Final = ("release-date", "releasedate", "release_date", "year", "tvg-year")
_SERIES_KEYS: Final = ("tvg-series", "series-name", "series-title", "series_name")
_SEASON_KEYS: Final = ("season-num", "season", "tvg-season", "season-number")
_EPISODE_KEYS: Final = ("episode-num", "episode", "tvg-episode", "episode-number")
_FACT_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "plot": _PLOT_KEYS,
    "cast": ("cast", "actors", "tvg-cast", "tvg-actors"),
    "director": ("director", "tvg-director"),
    "genre": ("genre", "tvg-genre"),
    "trailer": ("trailer", "youtube-trailer", "youtube_trailer", "tvg-trailer"),
    "backdrop": ("backdrop", "tvg-backdrop", "backdrop-path", "fanart"),
}
_RATING_KEYS: Final = ("rating", "tvg-rating", "imdb-rating")
_TMDB_KEYS: Final = ("tmdb", "tmdb-id", "tmdb_id", "tvg-tmdb")
_LENGTH_KEYS: Final = ("duration", "tvg-duration", "duration-secs")
_SAID_KEYS: Final = frozenset((*_DATE_KEYS, *_RATING_KEYS, *_TMDB_KEYS, *_LENGTH_KEYS)).union(
    *_FACT_KEYS.values()
)
_DATE: Final = re.compile(r"(?:19|20)\d{2}(?:-\d{2}-\d{2})?")
_CLOCK: Final = re.compile(r"(?:(\d{1,2}):)?(\d{1,3}):(\d{2})")
_NUMBER: Final = re.compile(r"(\d{1,4}(?:[.,]\d{1,4})?)(?:\s*/\s*10)?")
_LONGEST_SECONDS: Final = 100 * 3600


class Film(NamedTuple):
    """An entry that is a film. `extension`: what its file is, never ''. `series`: the name of an
    episode's series, with its year if it has one; `series_key`: equal for all spellings of it.
    """

    kind: Literal["movie", "episode"]
    extension: str
    series: str = ""
    series_key: str = ""
    season: int = 0
    episode: int = 0
    facts: FilmFacts | None = None


class FilmName(NamedTuple):
    """What a name says. `title`: of the film or of the series, never ''; `year` '' without one.
    `season` None without an episode. `part`: the title of the episode, '' without one. `sure`: its
    spelling can hardly mean anything else.
    """

    title: str
    year: str = ""
    season: int | None = None
    episode: int = 0
    part: str = ""
    sure: bool = False


def film_of(entry: Entry) -> Film | None:
    """What an entry is if it is a film, None for what is live."""
    told = _told(entry.attributes)
    if told == "live" or entry.radio:
        return None
    if entry.link.kind == "direct":
        panel, extension = _by_url(entry.link.value)
        if panel == "live" or (panel == "" and extension in _PLAYLISTS):
            return None
        sure = panel != "" or extension in _FILES
    else:
        panel, sure = "", False
        found = _NAMED_FILE.search(entry.name)
        extension = found[1].lower() if found is not None else ""
    if sure:
        pass
    elif extension == "ts":  # live, nearly always, whatever its list says
        if not told or not _is_named_or_long(entry):
            return None
    elif not told and not _looks_like_one(entry, extension):
        return None
    return _film(entry, told, panel, extension or DEFAULT_EXTENSION)


def extension_in(url: str) -> str:
    """The ending of the file at a URL, '' if that is no film's."""
    extension = _by_url(url)[1]
    return extension if extension in _FILES or extension in _LIVE_OR_FILE else ""


def _told(attributes: Mapping[str, str]) -> Literal["", "live", "movie", "episode"]:
    if attributes.keys().isdisjoint(_ASKED_KEYS):
        return ""
    for key in _TYPE_KEYS:
        told = _TOLD.get(attributes.get(key, "").strip().lower())
        if told is not None:
            return told
    flags = (attributes.get(key, "").strip().lower() for key in _FLAG_KEYS)
    return "movie" if any(flag in ("true", "1", "yes") for flag in flags) else ""


def _by_url(url: str) -> tuple[str, str]:
    """The word of a panel's path ('' for others), and the ending of the path."""
    parts = url.split("/", 4)
    word = parts[3].lower() if len(parts) > 4 else ""
    if word == "live":
        return "live", ""
    if word in ("movie", "series") and (found := _PANEL_PATH.fullmatch(parts[4])) is not None:
        return word, (found[1] or "").lower()
    path = url.partition("?")[0]
    _, dot, extension = path.rpartition("/")[2].rpartition(".")
    extension = extension.lower() if dot else ""
    if extension in _FILES and _LIVE_PATH.search(path):
        return "live", extension
    return "", extension


def _looks_like_one(entry: Entry, extension: str) -> bool:
    """Whether signs are enough where neither the URL nor an attribute says what it is."""
    grouped = bool(entry.groups) and _is_film_group(entry.groups)
    long = entry.duration >= _FILM_SECONDS
    direct = entry.link.kind == "direct"
    if direct and not (grouped or long or extension in _LIVE_OR_FILE):
        return False
    if _ROUND_THE_CLOCK.match(entry.name):
        return False
    if not direct and extension:
        return True
    name = read_name(entry.name)
    if name.season is not None and name.sure:
        return not direct or grouped or long
    named = name.season is not None or _YEAR.search(entry.name) is not None
    return grouped + long + named + (extension in _LIVE_OR_FILE) >= 2


def _is_named_or_long(entry: Entry) -> bool:
    named = read_name(entry.name).season is not None or _YEAR.search(entry.name) is not None
    return named or entry.duration >= _FILM_SECONDS


@lru_cache(maxsize=1024)
def _is_film_group(groups: tuple[str, ...]) -> bool:
    return any(_GROUPS.search(_folded(group)) for group in groups)


def _film(entry: Entry, told: str, panel: str, extension: str) -> Film:
    attributes = entry.attributes
    facts = _facts(attributes, entry.duration)
    if told != "episode" and panel != "series" and _episode_in(_tidied(entry.name)) is None:
        return Film("movie", extension, facts=facts)
    name = read_name(entry.name)
    season = _whole(_first(attributes, _SEASON_KEYS))
    episode = _whole(_first(attributes, _EPISODE_KEYS))
    title, year = name.title, name.year
    if name.season is not None:
        season, episode = name.season, name.episode
    else:
        alone = _EPISODE_ALONE.search(entry.name)
        if alone is not None:
            title = _trimmed(_tidied(entry.name)[: alone.start()])
            episode = episode if episode is not None else int(alone[1])
        season = 1 if season is None else season
    series = _first(attributes, _SERIES_KEYS) or title
    if not series or _EPISODE_ALONE.fullmatch(series):
        # panels name some episodes by their number only, and their group by the series
        series, year = (entry.groups[0] if entry.groups else entry.name), ""
    shown, key = _series(series, year)
    return Film("episode", extension, shown, key, season or 0, episode or 0, facts)


@lru_cache(maxsize=4096)
def _series(name: str, year: str) -> tuple[str, str]:
    """As it is shown, and its key: kept once for all of its episodes."""
    shown = f"{name} ({year})" if year else name
    return shown, series_key(shown)


# -- names --


def read_name(name: str) -> FilmName:
    """A film's name in any spelling that lists have. What says nothing else is a title."""
    text = _tidied(name)
    found = _episode_in(text)
    if found is None:
        title, year = _titled(text)
        return FilmName(title or name, year)
    title, year = _titled(text[: found.start()])
    further = _FURTHER_EPISODES.match(text, found.end())
    behind = text[further.end() if further is not None else found.end() :]
    part = _trimmed(_untagged(behind.lstrip(_CLOSING), to_the_last=True))
    return FilmName(title, year, int(found[1]), int(found[2]), part, found.re is not _CROSSED)


def series_key(name: str) -> str:
    """Equal for the spellings of one series."""
    return " ".join(_NO_LETTER.split(_folded(name))).strip() or name.casefold()


def _episode_in(text: str) -> re.Match[str] | None:
    """Where a name says which episode it is: season and number."""
    for look in (*_EPISODE, _CROSSED):
        found = look.search(text)
        if found is not None:
            return None if _ROUND_THE_CLOCK.match(text) else found
    return None


def _tidied(name: str) -> str:
    """Without a file's ending, blanks where file names have dots and underscores."""
    text = _NAMED_FILE.sub("", name.strip())
    if " " not in text and text.count(".") + text.count("_") > 1:
        text = text.replace(".", " ").replace("_", " ")
    return _BLANKS.sub(" ", text)


def _titled(text: str) -> tuple[str, str]:
    """A title without qualities, and its year."""
    text = _untagged(text)
    found = _YEAR.search(text)
    if found is not None and _trimmed(text[: found.start()]):
        before, behind = _trimmed(text[: found.start()]), _trimmed(text[found.end() :])
        return f"{before} {behind}".strip(), found[1]
    found = _YEAR_BEHIND.search(text)
    if found is not None:
        return _trimmed(text[: found.start()]), found[1]
    return _trimmed(text), ""


def _untagged(text: str, *, to_the_last: bool = False) -> str:
    """Without qualities. `to_the_last`: also where nothing else is left."""
    tagged = text = text.strip()
    text = _TAG_IN_BRACKETS.sub(" ", text).strip()
    while (found := _TAG_BEHIND.search(text)) is not None and (found.start() or to_the_last):
        text = text[: found.start()].rstrip()
    text = _BRACKETS_LEFT.sub("", text).strip()
    if text != tagged and (found := _YEAR_BARE.search(text)) is not None:
        # the year of a file's name stands between its title and its qualities
        text = f"{text[: found.start()]}({found[1]})"
    return text


def _trimmed(text: str) -> str:
    text = _BLANKS.sub(" ", text).strip(_EDGES)
    return _BRACKETS_LEFT.sub("", text).strip(_EDGES)


def _folded(text: str) -> str:
    """Lower case, without accents."""
    split = unicodedata.normalize("NFKD", text.casefold())
    return "".join(one for one in split if not unicodedata.combining(one))


# -- attributes --


def _facts(attributes: Mapping[str, str], duration: int) -> FilmFacts | None:
    """What a list says of a film, None where it says nothing."""
    if attributes.keys().isdisjoint(_SAID_KEYS):
        return FilmFacts(duration=duration) if _bounded(duration) else None
    texts = {name: _first(attributes, keys) for name, keys in _FACT_KEYS.items()}
    date = _DATE.match(_first(attributes, _DATE_KEYS))
    facts = FilmFacts(
        **texts,
        release_date=date[0] if date is not None else "",
        rating=_rating(_first(attributes, _RATING_KEYS)),
        duration=_seconds(_first(attributes, _LENGTH_KEYS)) or _bounded(duration),
        tmdb_id=_whole(_first(attributes, _TMDB_KEYS)) or 0,
    )
    return None if facts == _NO_FACTS else facts


_NO_FACTS: Final = FilmFacts()


def _first(attributes: Mapping[str, str], keys: tuple[str, ...]) -> str:
    for key in keys:
        if value := attributes.get(key, ""):
            return value.strip()
    return ""


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def _rating(text: str) -> float:
    found = _NUMBER.fullmatch(text)
    value = float(found[1].replace(",", ".")) if found is not None else 0.0
    return value if value <= 10 else 0.0


def _seconds(text: str) -> int:
    clock = _CLOCK.fullmatch(text)
    if clock is not None:
        return _bounded(int(clock[1] or 0) * 3600 + int(clock[2]) * 60 + int(clock[3]))
    return _bounded(_whole(text) or 0)


def _bounded(seconds: int) -> int:
    return seconds if 0 < seconds <= _LONGEST_SECONDS else 0
