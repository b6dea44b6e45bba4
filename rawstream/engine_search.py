"""The index of AceStream contents that an engine can search (engine reference §5.3), and what an
infohash is called as a content id (§5.2).

Owns: which engine is asked, the token that some builds want, how results are read. Must not know:
the line-up, who asks.

What is found is hearsay: names are anybody's, and "available" is the catalogue's word, which only
bytes can prove.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from rawstream.config import Timeouts
from rawstream.engine_client import Engine
from rawstream.errors import EngineError, UpstreamError

PAGE_SIZE_LIMIT: Final = 200  # §5.3
_DENIED: Final = "access denied"  # §5.2: the build wants a token
_TOKEN_PATHS: Final = (
    "/server/api?api_version=3&method=get_api_access_token",
    "/webui/api/service?method=get_api_access_token",
)
_HEX40: Final = re.compile(r"[0-9a-fA-F]{40}")
_TOKEN: Final = re.compile(r"[\w.~-]{1,200}")
_PICTURE: Final = re.compile(r"https?://[\x21-\x7e]{1,1000}")
_AVAILABLE: Final = 2
_NAME_LIMIT: Final = 200
_WORD_LIMIT: Final = 40
_WORDS: Final = 20
_HITS: Final = 2000  # of one page, whose groups have any number


class Hit(NamedTuple):
    """One content. `infohash`: lower case. `availability`: 0 to 1, `checked_at`: seconds since
    1970; None where nothing was said. `logo`: a URL or ''.
    """

    infohash: str
    name: str
    categories: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    available: bool = False
    availability: float | None = None
    checked_at: int | None = None
    logo: str = ""


class Found(NamedTuple):
    """One page. `total`: how many results there are on all pages, as the engine counts: a channel
    with several contents may be one.
    """

    hits: tuple[Hit, ...]
    total: int


class EngineSearch:
    """Searches on one engine after the other. `engines()`: those there are."""

    def __init__(self, engines: Callable[[], Sequence[Engine]], timeouts: Timeouts) -> None:
        self._engines = engines
        self._timeouts = timeouts
        self._tokens: dict[str, str] = {}  # by engine, of those that want one

    async def search(
        self, query: str, *, category: str = "", page: int = 0, page_size: int = 50
    ) -> Found:
        """A page of what the first engine that answers has found; an empty query finds all.

        Raises UpstreamError, the last engine's: there is none, or none answers.
        """
        asked: dict[str, str | int] = {"query": query, "page": page, "page_size": page_size}
        if category:
            asked["category"] = category
        failure = UpstreamError("search", "engines", "there is no engine to ask")
        for engine in self._order():
            try:
                return read_found(await self._asked(engine, asked))
            except UpstreamError as error:
                failure = error
        raise failure

    async def content_id(self, infohash: str) -> str | None:
        """The content id of an infohash, None if no engine knows one (§5.2)."""
        path = f"/server/api?api_version=3&method=get_content_id&infohash={infohash}"
        for engine in self._order():
            try:
                answer = await engine.ask(
                    path, total_seconds=self._timeouts.engine_resolve_seconds, phase="resolve"
                )
            except UpstreamError:
                continue
            result = answer.get("result")
            found = _hex40(result.get("content_id")) if isinstance(result, dict) else None
            if found is not None:
                return found
        return None

    def _order(self) -> list[Engine]:
        """Those that are likely to answer, and have least to do, first."""
        return sorted(
            self._engines(), key=lambda e: (not e.usable, e.aside, e.sessions + e.starting)
        )

    async def _asked(self, engine: Engine, asked: dict[str, str | int]) -> Any:
        """The answer; where it is denied, that to the question with a new token."""
        known = self._tokens.get(engine.url, "")
        try:
            return await self._ask(engine, asked, known)
        except EngineError as error:
            if _DENIED not in error.reason.lower():
                raise
            token = await self._token(engine)
            if not token:
                raise
            self._tokens[engine.url] = token
        return await self._ask(engine, asked, token)

    async def _ask(self, engine: Engine, asked: dict[str, str | int], token: str) -> Any:
        given = {**asked, "token": token} if token else asked
        answer = await engine.ask(
            "/search?" + urlencode(given, quote_via=quote, errors="replace"),
            total_seconds=self._timeouts.engine_search_seconds,
            phase="search",
        )
        return answer.get("result")

    async def _token(self, engine: Engine) -> str:
        """'' where it gives none away: to other machines it does not."""
        for path in _TOKEN_PATHS:
            try:
                answer = await engine.ask(
                    path, total_seconds=self._timeouts.engine_resolve_seconds, phase="search"
                )
            except UpstreamError:
                continue
            result = answer.get("result")
            token = result.get("token") if isinstance(result, dict) else None
            if isinstance(token, str) and _TOKEN.fullmatch(token):
                return token
        return ""


# -- reading what engines say --


def read_found(result: Any) -> Found:
    """A search's result; whatever in it is not as it should be is left out, each content is there
    once.
    """
    if not isinstance(result, dict):
        return Found((), 0)
    hits: dict[str, Hit] = {}
    for hit in _hits(result.get("results")):
        hits.setdefault(hit.infohash, hit)
        if len(hits) >= _HITS:
            break
    total = result.get("total")
    if not isinstance(total, int) or isinstance(total, bool) or not 0 <= total < 1 << 53:
        total = len(hits)
    return Found(tuple(hits.values()), total)


def _hits(results: Any) -> Iterator[Hit]:
    for group in results if isinstance(results, list) else ():
        if not isinstance(group, dict):
            continue
        items = group.get("items")
        # without grouping some builds give the contents themselves
        for item in items if isinstance(items, list) else (group,):
            infohash = _hex40(item.get("infohash")) if isinstance(item, dict) else None
            if infohash is None:
                continue
            yield Hit(
                infohash,
                _line(item.get("name"), _NAME_LIMIT) or _line(group.get("name"), _NAME_LIMIT),
                _words(item.get("categories")),
                _words(item.get("languages")),
                _words(item.get("countries")),
                item.get("status") == _AVAILABLE,
                _share(item.get("availability")),
                _moment(item.get("availability_updated_at")),
                _picture(item.get("icons")) or _picture(group.get("icons")),
            )


def _line(value: Any, limit: int) -> str:
    """One printable line."""
    if not isinstance(value, str):
        return ""
    text = "".join(c if c.isprintable() else " " for c in value[: 4 * limit])
    return " ".join(text.split())[:limit]


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(word for one in value[:_WORDS] if (word := _line(one, _WORD_LIMIT)))


def _share(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return min(1.0, max(0.0, float(value)))


def _moment(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return int(value) if 0 < value < 1 << 40 else None


def _picture(icons: Any) -> str:
    for icon in icons if isinstance(icons, list) else ():
        url = icon.get("url") if isinstance(icon, dict) else None
        if isinstance(url, str) and _PICTURE.fullmatch(url):
            return url
    return ""


def _hex40(value: Any) -> str | None:
    return value.lower() if isinstance(value, str) and _HEX40.fullmatch(value) else None
