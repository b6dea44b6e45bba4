"""What a player asks before it plays: the Xtream Codes API, channel lists, the guide.

Owns: which answer belongs to which question, what a failure looks like (Xtream reference §5.3).
Must not know: who somebody is (`logins`), how lists are made (`xtream_lists`), which keys an answer
has (`xtream_shapes`), how anything is played.
"""

from __future__ import annotations

import gzip
import re
import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final

import orjson

from rawstream import xtream_guide
from rawstream.accounts import Accounts, LoginRefused
from rawstream.catalogue import LiveCatalogue, View
from rawstream.config import Config
from rawstream.connection import Exchange
from rawstream.errors import ViewerError
from rawstream.guide import window
from rawstream.http1 import Headers, Request, Response, is_known
from rawstream.logins import Doorman, Login, login_of, parameters
from rawstream.records import Account
from rawstream.store import Store
from rawstream.xtream_films import NO_FILM, NO_SERIES
from rawstream.xtream_lists import Built, EnigmaMenu, Kind, Prefixes, XtreamLists
from rawstream.xtream_shapes import ACTIONS, NO_LISTINGS, account_object, refusal_object

Answer = Response | Awaitable[Response | None] | None

_JSON: Final = "application/json"
_XML: Final = "application/xml; charset=utf-8"
_M3U: Final = "audio/x-mpegurl; charset=utf-8"
_PRIVATE: Headers = (("Cache-Control", "no-store"),)
_OUTPUTS: Final = {"ts": "ts", "mpegts": "ts", "m3u8": "m3u8", "hls": "m3u8"}
_WHOLE: Final = re.compile(r"[0-9]{1,10}")
_CATEGORIES: Final[Mapping[str, Kind]] = {
    "get_live_categories": "live",
    "get_vod_categories": "movie",
    "get_series_categories": "series",
}
_STREAMS: Final[Mapping[str, Kind]] = {
    "get_live_streams": "live",
    "get_vod_streams": "movie",
    "get_series": "series",
}
_LISTS: Final = _CATEGORIES.keys() | _STREAMS.keys() | {"get_epg"}
_KEYS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(("live", "created_live", "radio_streams"), "live"),
    "movie": "movie",
    "series": "series",
}
_SHAPES: Final[Mapping[str, Mapping[str, Any]]] = {
    "get_vod_info": NO_FILM,
    "get_series_info": NO_SERIES,
    "get_short_epg": NO_LISTINGS,
    "get_simple_data_table": NO_LISTINGS,
    "get_epg_batch": {},
}


_MENU_KEYS: Final = ("type", "cat_id", "series_id", "season")


class XtreamEndpoints:
    """The handlers. One per server."""

    def __init__(
        self,
        config: Config,
        doorman: Doorman,
        accounts: Accounts,
        catalogue: LiveCatalogue,
        store: Store,
    ) -> None:
        self._config = config
        self._doorman = doorman
        self._accounts = accounts
        self._catalogue = catalogue
        self._guide = store.guide
        self._lists = XtreamLists(store.db.path, limit_bytes=config.limits.built_lists_bytes)

    def close(self) -> None:
        """Lists that are being made are given up."""
        self._lists.close()

    def set_config(self, config: Config) -> None:
        """Answer by other settings from now on."""
        self._config = config

    def _view(self, account: Account, request: Request) -> View:
        return self._catalogue.current.visible(account, self._doorman.base(request).url)

    # -- player_api.php, panel_api.php --

    def player_api(self, request: Request, _exchange: Exchange) -> Answer:
        """`/player_api.php`: the account, or what `action` names."""
        return self._api(request, panel=False)

    def panel_api(self, request: Request, _exchange: Exchange) -> Answer:
        """`/panel_api.php`: the same, with the whole line-up where no action is named (§3.11)."""
        return self._api(request, panel=True)

    def _api(self, request: Request, *, panel: bool) -> Answer:
        """At once, for a pair that was found right lately and what is built already: players ask
        this again and again.
        """
        asked = parameters(request)
        action = ACTIONS.get(asked.get("action", ""), asked.get("action", ""))
        login = login_of(asked)
        account = None if login.token else self._accounts.verified(login.username, login.password)
        if account is None:
            return self._verify_api(request, asked, action, login, panel)
        return self._api_of(account, request, asked, action, login, panel)

    async def _verify_api(
        self, request: Request, asked: Mapping[str, str], action: str, login: Login, panel: bool
    ) -> Response | None:
        try:
            account = await self._doorman.account(login, request)
        except ViewerError as error:
            return self._not_let_in(error, login, known=action in _LISTS or action in _SHAPES)
        answer = self._api_of(account, request, asked, action, login, panel)
        return answer if answer is None or isinstance(answer, Response) else await answer

    def _api_of(
        self,
        account: Account,
        request: Request,
        asked: Mapping[str, str],
        action: str,
        login: Login,
        panel: bool,
    ) -> Answer:
        status = self._accounts.status_of(account)
        if action in _LISTS or action in _SHAPES:
            if status == "Active":
                return self._data(request, action, asked, account)
            return _json(_SHAPES.get(action, []))
        shown = account_object(
            account,
            username=login.username or account.username,
            password=login.password or login.token,
            status=status,
            active=self._accounts.active(account.id),
            base=self._doorman.base(request),
            now=time.time(),
        )
        if not panel or status != "Active":
            return _json(shown)
        return self._panel(shown, self._view(account, request))

    async def _panel(self, shown: Mapping[str, Any], view: View) -> Response:
        more = await self._lists.panel(self._catalogue.current, view)
        return Response(200, orjson.dumps(shown)[:-1] + b"," + more.body[1:], _JSON, _PRIVATE)

    def _not_let_in(self, error: ViewerError, login: Login, *, known: bool) -> Response:
        """`known`: a list or the like was asked for, not the account."""
        message, status, headers = error.reason, error.status, _PRIVATE
        if isinstance(error, LoginRefused):
            message = "Invalid username or password"
            status = 401 if known else self._config.login_failure_status
        if error.retry_after is not None:
            headers = (*_PRIVATE, ("Retry-After", str(error.retry_after)))
        body = orjson.dumps(refusal_object(login.username, login.password, message))
        return Response(status, body, _JSON, headers)

    def _data(
        self, request: Request, action: str, asked: Mapping[str, str], account: Account
    ) -> Answer:
        view = self._view(account, request)
        if action in _STREAMS:
            category = _category(asked)
            built = self._lists.streams_at_once(view, category, _STREAMS[action])
            if built is not None:
                return _paged(request, built, asked)
            return self._streams(request, view, category, asked, _STREAMS[action])
        if action in _CATEGORIES:
            return self._categories(request, view, _CATEGORIES[action])
        if action == "get_vod_info":
            return self._as_json(self._lists.film(view, _id(asked, "vod_id")))
        if action == "get_series_info":
            return self._as_json(self._lists.one_series(view, _id(asked, "series_id")))
        if action in xtream_guide.ACTIONS:
            return self._listings(action, asked, view)
        return _json(_SHAPES.get(action, []))

    async def _streams(
        self,
        request: Request,
        view: View,
        category: int | None,
        asked: Mapping[str, str],
        kind: Kind,
    ) -> Response:
        built = await self._lists.streams(self._catalogue.current, view, category, kind)
        return _paged(request, built, asked)

    async def _categories(self, request: Request, view: View, kind: Kind) -> Response:
        return _packed(request, await self._lists.categories(view, kind), _JSON)

    async def _as_json(self, made: Awaitable[bytes]) -> Response:
        return Response(200, await made, _JSON, _PRIVATE)

    async def _listings(self, action: str, asked: Mapping[str, str], view: View) -> Response:
        now = int(time.time())
        return _json(await xtream_guide.answer(action, asked, view, self._guide, now))

    # -- lists --

    async def get_php(self, request: Request, _exchange: Exchange) -> Response:
        """`/get.php`: the channel list (§6). Always whole, whatever `Range` says."""
        asked = parameters(request)
        login = login_of(asked)
        account = await self._doorman.watcher(login, request)
        plus = asked.get("type", "").lower() != "m3u"
        wanted = set(filter(None, asked.get("key", "").split(","))) or _KEYS
        base = self._doorman.base(request).url
        view = self._view(account, request)
        body = await self._lists.m3u(
            view,
            plus=plus,
            extension=_extension(asked.get("output", ""), account.allowed_formats),
            kinds=frozenset(_KEYS[key] for key in wanted if key in _KEYS),
            prefixes=Prefixes.of(base, login.path),
            guide_url=f"{base}/xmltv.php?{login.query}",
            kodi=self._config.kodi_properties,
        )
        name = re.sub(r"[^A-Za-z0-9._@-]", "_", account.username)
        disposition = f'attachment; filename="playlist_{name}{"_plus" if plus else ""}.m3u"'
        return Response(200, body, _M3U, (*_PRIVATE, ("Content-Disposition", disposition)))

    async def xmltv_php(self, request: Request, exchange: Exchange) -> Response | None:
        """`/xmltv.php`: the guide of the channels that this account sees (§8.1).

        `prev_days`, `next_days` (or `days`): how far it reaches; 1 back and 7 ahead.
        """
        asked = parameters(request)
        account = await self._doorman.watcher(login_of(asked), request)
        view = self._view(account, request)
        since, until = window(
            int(time.time()),
            _days(asked.get("prev_days"), 1),
            _days(asked.get("next_days") or asked.get("days"), 7),
        )
        if request.method == "HEAD" and not self._lists.has_xmltv(view, since, until):
            exchange.stream(_PRIVATE, _XML)  # Kodi asks so before each GET: nothing is built
            return None
        built = await self._lists.xmltv(view, since, until)
        if is_known(built.etag, request):
            return Response(304, headers=(("ETag", built.etag),))
        if asked.get("gzip") == "1":
            packed = built.packed or gzip.compress(built.body, mtime=0)  # else it is a small one
            disposition = ("Content-Disposition", 'attachment; filename="epg.xml.gz"')
            return Response(200, packed, "application/gzip", (*_PRIVATE, disposition))
        headers = (("Cache-Control", "private, no-cache"), ("ETag", built.etag))
        return _packed(request, built, _XML, headers)

    async def enigma2_php(self, request: Request, _exchange: Exchange) -> Response:
        """`/enigma2.php`: categories to descend into, channels to play (§3.12)."""
        asked = parameters(request)
        login = login_of(asked)
        account = await self._doorman.watcher(login, request)
        base, view = self._doorman.base(request).url, self._view(account, request)
        menu = EnigmaMenu(*(asked.get(key, "") for key in _MENU_KEYS))
        body = await self._lists.enigma2(
            view,
            menu,
            title=account.username,
            prefixes=Prefixes.of(base, login.path),
            menu_url=f"{base}/enigma2.php?{login.query}",
        )
        return Response(200, body, "text/xml; charset=utf-8", _PRIVATE)


def _extension(output: str, allowed: Sequence[str]) -> str:
    """Of the URLs in a list (§6.1): as asked for, if the account may."""
    wanted = _OUTPUTS.get(output.lower(), "ts")
    if wanted not in allowed:
        wanted = next((known for known in _OUTPUTS.values() if known in allowed), wanted)
    return f".{wanted}"


def _days(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and _WHOLE.fullmatch(text) else otherwise


def _id(asked: Mapping[str, str], name: str) -> int:
    """0, which nothing has, for what is no number."""
    text = asked.get(name, "").strip()
    return int(text) if _WHOLE.fullmatch(text) else 0


def _category(asked: Mapping[str, str]) -> int | None:
    """None for every spelling of "no filter"."""
    text = asked.get("category_id", "").strip()
    return int(text) or None if _WHOLE.fullmatch(text) else None


# -- answers --


def _json(value: Any) -> Response:
    return Response(200, orjson.dumps(value), _JSON, _PRIVATE)


def _packed(
    request: Request, built: Built, content_type: str, headers: Headers = _PRIVATE
) -> Response:
    """Packed, for whoever takes it so."""
    accepted: Sequence[str] = request.headers.get("accept-encoding", "").lower().split(",")
    takes = any(_takes_gzip(word) for word in accepted)
    if built.packed is not None and takes:
        packing = (("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"))
        return Response(200, built.packed, content_type, (*headers, *packing))
    return Response(200, built.body, content_type, (*headers, ("Vary", "Accept-Encoding")))


def _takes_gzip(word: str) -> bool:
    coding, _, weight = word.strip().partition(";")
    return coding.strip() in ("gzip", "*") and not re.fullmatch(r"\s*q=0(\.0*)?", weight)


def _paged(request: Request, built: Built, asked: Mapping[str, str]) -> Response:
    """Both panels page by these two (§3.3)."""
    offset, size = (asked.get(f"params[{name}]", "") for name in ("offset", "items_per_page"))
    if not _WHOLE.fullmatch(offset) and not _WHOLE.fullmatch(size):
        return _packed(request, built, _JSON)
    first = int(offset) if _WHOLE.fullmatch(offset) else 0
    last = first + int(size) if _WHOLE.fullmatch(size) and int(size) else None
    return Response(200, built.page(first, last), _JSON, _PRIVATE)
