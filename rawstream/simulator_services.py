"""The engine's services beside playback: version, status, look-ups, search (engine reference §5).

Owns: what each method answers, from a catalogue. Queries in, JSON values and delays out.
Must not know: sockets, sessions, the clock.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from rawstream.simulator_contents import SimContent

Json = dict[str, Any]

LOCAL = frozenset(("127.0.0.1", "::1"))
MEDIA_FILES_SECONDS = 0.02
UNKNOWN_FILES_SECONDS = 4.7
SEARCH_SECONDS = 0.05
AVAILABLE = 2  # search results' `status`
WEBSOCKET_PORT = 43215
LARGEST_PAGE = 200


class Answer(NamedTuple):
    """What is answered, and the engine's own delay before it in seconds."""

    body: Json
    seconds: float = 0.0


class EngineServices:
    """`catalogue`: called for the contents at each look-up, so that it may change."""

    def __init__(
        self,
        catalogue: Callable[[], Iterable[SimContent]],
        *,
        version: str,
        platform: str,
        search_needs_token: bool,
    ) -> None:
        self._catalogue = catalogue
        self.version = version
        self.platform = platform
        self.search_needs_token = search_needs_token
        self.token = secrets.token_hex(32)

    def _version(self) -> Json:
        major, minor, patch = (
            int("".join(c for c in n if c.isdigit())) for n in self.version.split(".")
        )
        code = (major * 1000 + minor * 10) * 1000 + patch * 100
        return {"code": code, "platform": self.platform, "version": self.version}

    def webui(self, query: dict[str, str], peer: str) -> Answer:
        """`/webui/api/service` (§5.1)."""
        method = query.get("method", "")
        if method == "get_version":
            result = self._version()
            if not self.version.startswith("3.1."):
                result["websocket_port"] = WEBSOCKET_PORT
            if query.get("params") == "device-id":
                result["device_id"] = "00" * 20
            return Answer({"result": result, "error": None})
        if method == "get_api_access_token" and peer in LOCAL:
            return Answer({"result": {"token": self.token}, "error": None})
        if method in ("check_user_key", "check_product_user_keys"):
            return Answer({"result": "not_found", "error": None})
        return Answer({"result": None, "error": "unknown method"})

    def server(self, query: dict[str, str], peer: str) -> Answer:
        """`/server/api` (§5.2): results without `error`; errors as objects in api_version 3."""
        answer = self._server(query, peer)
        error = answer.body.get("error")
        if error and query.get("api_version") != "3":
            return Answer({"result": None, "error": error["message"]}, answer.seconds)
        return answer

    def _server(self, query: dict[str, str], peer: str) -> Answer:
        match query.get("method", ""):
            case "get_status":
                return Answer({"result": {"playlist_loaded": True, "version": self._version()}})
            case "get_network_connection_status":
                return Answer({"result": {"connected": True}})
            case "get_api_access_token" if peer in LOCAL:
                return Answer({"result": {"token": self.token}})
            case "get_api_access_token":
                return _denied()
            case "get_media_files":
                return self._media_files(query)
            case "get_content_id":
                content = self.find({"infohash": query.get("infohash", "")})
                if content is None or not content.content_id:
                    return Answer(_error("cannot get content id"), UNKNOWN_FILES_SECONDS)
                return Answer({"result": {"content_id": content.content_id}})
            case "analyze_content":
                return self._analyze(query)
            case "get_available_players":
                return Answer({"result": {"players": []}})
            case "search":
                if query.get("token") != self.token:
                    return _denied()
                return self._search(query)
            case "set_allow_intranet_access" | "set_allow_remote_access":
                if query.get("token") != self.token or peer not in LOCAL:
                    return _denied()
                return Answer({"result": "ok"})
        return Answer(_error("unknown method"))

    def search(self, query: dict[str, str]) -> Answer:
        """`/search` (§5.3)."""
        if self.search_needs_token and query.get("token") != self.token:
            return Answer({"result": None, "error": "access denied"})
        return self._search(query)

    def find(self, query: dict[str, str]) -> SimContent | None:
        """The content that a look-up names, by the engine's precedence of selectors."""
        content_id = query.get("content_id", query.get("id", ""))
        infohash = query.get("infohash", "")
        for content in self._catalogue():
            if content_id:
                cached = content.infohash_as_id and content.infohash == content_id
                if content.content_id == content_id or cached:
                    return content
            elif infohash:
                if content.infohash == infohash:
                    return content
            elif content.url and query.get("url") == content.url:
                return content
        return None

    def _media_files(self, query: dict[str, str]) -> Answer:
        content = self.find(query)
        if content is None:
            return Answer(_error("cannot get transport file"), UNKNOWN_FILES_SECONDS)
        names = content.files or (content.name,)
        files = [{"index": index, "filename": name} for index, name in enumerate(names)]
        result = {
            "files": files,
            "name": content.name,
            "infohash": content.infohash,
            "transport_type": "bt",
            "type": "live" if content.live else "vod",
            "transport_file_cache_key": None,
        }
        return Answer({"result": result}, MEDIA_FILES_SECONDS)

    def _analyze(self, query: dict[str, str]) -> Answer:
        given = query.get("query", "").strip()
        scheme, _, rest = given.partition("://")
        if not rest or scheme not in ("acestream", "infohash"):
            return Answer(_error("unknown protocol"))
        content = self.find({"content_id" if scheme == "acestream" else "infohash": rest.lower()})
        if content is None:
            return Answer(_error("cannot get transport file"), UNKNOWN_FILES_SECONDS)
        result = {
            "is_live": int(content.live),
            "item_url": None,
            "transport_type": "bt",
            "content_type": "transport_file",
            "title": content.name,
            "content_id": content.content_id or None,
            "infohash": content.infohash,
            "categories": list(content.categories),
        }
        return Answer({"result": result}, MEDIA_FILES_SECONDS)

    def _search(self, query: dict[str, str]) -> Answer:
        words = query.get("query", "").lower()
        category = query.get("category", "")
        found = [
            content
            for content in self._catalogue()
            if words in content.name.lower() and (not category or category in content.categories)
        ]
        size = min(LARGEST_PAGE, _number(query.get("page_size"), 10))
        begin = _number(query.get("page"), 0) * size
        results = [
            {"name": content.name, "icons": [], "items": [_search_item(content)]}
            for content in found[begin : begin + size]
        ]
        result = {"total": len(found), "time": SEARCH_SECONDS, "results": results}
        return Answer({"result": result}, SEARCH_SECONDS)


def _search_item(content: SimContent) -> Json:
    """Results carry the infohash, never the content id."""
    return {
        "infohash": content.infohash,
        "name": content.name,
        "status": AVAILABLE,
        "availability": 1.0,
        "availability_updated_at": 1_760_000_000,
        "languages": ["eng"],
        "countries": ["gb"],
        "categories": list(content.categories),
    }


def _number(value: str | None, otherwise: int) -> int:
    return int(value) if value is not None and value.isdecimal() else otherwise


def _error(message: str) -> Json:
    return {"error": {"message": message, "code": 0}}


def _denied() -> Answer:
    return Answer(_error("access denied"))
