"""Every URL we answer, in one table, with who may ask; and who it is that asks.

Owns: the table, the order of the checks (known, allowed, method), the resolving of a peer through
trusted proxies, CORS. Must not know: what the answers say; each handler lives in the module of its
subject.

Who may:

- *anyone*: probes, without detail.
- *local*: `ace_networks`, loopback and private networks unless the operator says otherwise, and
  accounts. AceStream players know no passwords, so at home the address is all there is.
- *account*: anybody; the handler asks for a user and a password, or a token.
- *operator*: `operator_networks`, loopback unless the operator says otherwise, and admins who have
  logged in. Read-only pages.
- *admin*: an account that is one, by a session or a token (`operators`).
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from rawstream.ace import AceEndpoints
from rawstream.ace_accounts import AceAccountEndpoints
from rawstream.api import ApiEndpoints, unknown
from rawstream.config import Config, Network
from rawstream.connection import Exchange
from rawstream.errors import StateError, ViewerError
from rawstream.hls_face import HlsEndpoints
from rawstream.http1 import Request, Response
from rawstream.hub import ChannelHub
from rawstream.live import LiveEndpoints
from rawstream.logins import login_of
from rawstream.logos import LogoEndpoint
from rawstream.metrics import Counted, MetricsEndpoint, ServerCounters
from rawstream.operators import Operators
from rawstream.pages import PageEndpoints
from rawstream.predecessor_api import PredecessorEndpoints
from rawstream.rest import problem_of
from rawstream.status import StatusEndpoints
from rawstream.store_accounts import RESERVED
from rawstream.vod import VodEndpoints
from rawstream.xtream import XtreamEndpoints

logger = logging.getLogger(__name__)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
RouteHandler = Callable[[Request, Exchange], Response | Awaitable[Response | None] | None]

_READ = ("GET", "HEAD")
_SESSION = (*_READ, "POST", "DELETE")
_ASK = ("GET", "HEAD", "POST")  # Xtream reference §2.2
_STREAM_NAME = re.compile(r"[0-9]+(?:\.\w+)?")
_PREFLIGHT_SECONDS = "86400"
_CORS = ("Access-Control-Allow-Origin", "*")

# What a proxy leaves in a request. One of these from a peer that is not a trusted proxy means that
# the peer's address says nothing about who asks.
_PROXY_HEADERS = ("forwarded", "via", "x-real-ip")
_PROXY_HEADER_PREFIX = "x-forwarded-"

# RFC 7239 §4: pairs, their values tokens or quoted strings; elements part at commas, pairs at
# semicolons.
_FORWARDED_PAIR = re.compile(r'\s*([\w!#$%&\'*+.^`|~-]+)=("(?:[^"\\]|\\.)*"|[^\s;,"]*)\s*([;,]|$)')


class Access(Enum):
    """Who may ask for a URL; the value is the setting that opens it, None where nothing has to."""

    ANYONE = None
    ACCOUNT = "account"
    ADMIN = "admin"
    LOCAL = "ace_networks"
    OPERATOR = "operator_networks"


class Route(NamedTuple):
    """One row of the table. `cors`: pages of any origin may read the answer (player routes)."""

    path: str
    methods: tuple[str, ...]
    access: Access
    handler: RouteHandler
    description: str
    cors: bool = False
    by_account: RouteHandler | None = None  # for who is not local and shows an account


class PlayerEndpoints(NamedTuple):
    """All that players with an account ask of."""

    xtream: XtreamEndpoints
    live: LiveEndpoints
    hls: HlsEndpoints
    vod: VodEndpoints
    ace: AceAccountEndpoints | None = None


class OperatorEndpoints(NamedTuple):
    """All that operators ask of: who they are, their interface, their pages, old scripts' URLs."""

    operators: Operators
    api: ApiEndpoints
    pages: PageEndpoints | None = None
    predecessor: PredecessorEndpoints | None = None


class Peer(NamedTuple):
    """Who asks: None where nothing can be said; `behind` a proxy that we don't trust."""

    address: Address | None
    behind: bool = False

    @property
    def text(self) -> str:
        return _text_of(self.address) if self.address is not None else ""

    def inside(self, networks: Sequence[Network]) -> bool:
        """Whether this peer is known to be in one of them. Never, behind an untrusted proxy."""
        if self.address is None or self.behind:
            return False
        return any(self.address in network for network in networks)


_text_of = lru_cache(maxsize=8192)(str)


@lru_cache(maxsize=8192)
def parse_address(text: str) -> Address | None:
    """An address as proxies write it: with port, brackets, a zone, IPv4 mapped into IPv6."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def resolve_peer(address: str, headers: Mapping[str, str], trusted: Sequence[Network]) -> Peer:
    """Who really asks, given the transport's peer and what proxies wrote into the head.

    Only what a trusted proxy wrote counts, and it is read from the right: the nearest proxy
    appended last. A chain is followed as long as its members are trusted themselves. When
    `Forwarded` and `X-Forwarded-For` are both there and disagree, one of them came from the client
    through a proxy that sets only the other; then nothing can be said, as when a proxy says nothing
    at all.
    """
    peer = parse_address(address)
    for name in headers:
        if name in _PROXY_HEADERS or name.startswith(_PROXY_HEADER_PREFIX):
            break
    else:
        return Peer(peer)
    if peer is None or not any(peer in network for network in trusted):
        return Peer(peer, behind=True)
    chains = []
    if (text := headers.get("forwarded")) is not None:
        chains.append(_forwarded_for(text))
    if (text := headers.get("x-forwarded-for")) is not None:
        chains.append([parse_address(entry) for entry in text.split(",")])
    clients = {_first_untrusted(chain, trusted) for chain in chains}
    return Peer(clients.pop() if len(clients) == 1 else None)


def _forwarded_for(text: str) -> list[Address | None]:
    """The `for=` of each element of a Forwarded header; None where it hides or can't be read."""
    chain: list[Address | None] = []
    current: Address | None = None
    position = 0
    while position < len(text):
        pair = _FORWARDED_PAIR.match(text, position)
        if pair is None:
            return [None]
        if pair[1].lower() == "for":
            current = parse_address(pair[2])
        if pair[3] != ";":
            chain.append(current)
            current = None
        position = pair.end()
    return chain


def _first_untrusted(chain: Sequence[Address | None], trusted: Sequence[Network]) -> Address | None:
    client: Address | None = None
    for client in reversed(chain):
        if client is None or not any(client in network for network in trusted):
            break
    return client


def build_routes(
    hls: HlsEndpoints,
    ace: AceEndpoints,
    status: StatusEndpoints,
    metrics: MetricsEndpoint,
    players: PlayerEndpoints | None = None,
    logos: LogoEndpoint | None = None,
    api: ApiEndpoints | None = None,
    pages: PageEndpoints | None = None,
    predecessor: PredecessorEndpoints | None = None,
) -> tuple[Route, ...]:
    """The table. A reader who wants to know what rawstream answers starts here.

    `{…}` in a path stands for any one part of it. Without accounts there is nothing for players.
    """
    anyone, operator = Access.ANYONE, Access.OPERATOR
    pictures: tuple[Route, ...] = ()
    if logos is not None:
        text = "a channel's logo, if it is ours"
        pictures = (Route("/logos/{name}", _READ, anyone, logos.logo, text, True),)
    text = "a piece of a channel's HLS; who may is in its signed token"
    return (
        Route("/hls/{run}/{segment}", _READ, Access.ACCOUNT, hls.segment, text, True),
        *pictures,
        *_of_players(players),
        *_of_operators(api),
        *_of_old_scripts(predecessor),
        *_of_pages(pages),
        *_of_ace(ace, players.ace if players is not None else None),
        *_of_all(status, metrics, anyone, operator),
    )


def _of_players(players: PlayerEndpoints | None) -> tuple[Route, ...]:
    if players is None:
        return ()
    xtream, live, vod = players.xtream, players.live, players.vod
    film = "a film's file, or a part of it"
    account, stream, none = Access.ACCOUNT, "a channel's MPEG-TS, or its HLS (.m3u8)", "404"
    api, lists, guide = xtream.player_api, xtream.get_php, xtream.xmltv_php
    return (
        Route("/player_api.php", _ASK, account, api, "the Xtream Codes API", True),
        Route("/player_api/{user}/{password}", _ASK, account, api, "the same", True),
        Route("/player_api/{user}/{password}/{action}", _ASK, account, api, "the same", True),
        Route("/panel_api.php", _ASK, account, xtream.panel_api, "the same, older", True),
        Route("/get.php", _ASK, account, lists, "the channel list, M3U", True),
        Route("/playlist/{user}/{password}", _ASK, account, lists, "the same", True),
        Route("/playlist/{user}/{password}/{type}", _ASK, account, lists, "the same", True),
        Route("/xmltv.php", _ASK, account, guide, "the guide, XMLTV", True),
        Route("/xmltv.php.gz", _ASK, account, guide, "the same as a packed file", True),
        Route("/epg/{user}/{password}", _ASK, account, guide, "the guide, XMLTV", True),
        Route("/epg/{user}/{password}/{gz}", _ASK, account, guide, "the packed file", True),
        Route("/enigma2.php", _ASK, account, xtream.enigma2_php, "the line-up, Enigma2", True),
        Route("/live/{user}/{password}/{id}", _READ, account, live.live, stream, True),
        Route("/live/{token}/{id}", _READ, account, live.live, stream, True),
        Route("/streaming/live.php", _READ, account, live.live_by_query, stream, True),
        Route("/streaming/clients_live.php", _READ, account, live.live_by_query, stream, True),
        Route("/movie/{user}/{password}/{id}", _READ, account, vod.film, film, True),
        Route("/movie/{token}/{id}", _READ, account, vod.film, film, True),
        Route("/series/{user}/{password}/{id}", _READ, account, vod.film, film, True),
        Route("/series/{token}/{id}", _READ, account, vod.film, film, True),
        Route("/streaming/vod.php", _READ, account, vod.film_by_query, film, True),
        Route(
            "/timeshift/{user}/{password}/{duration}/{start}/{id}",
            *(_READ, account, live.nothing, none, True),
        ),
        Route("/streaming/timeshift.php", _READ, account, live.nothing, none, True),
        Route("/{user}/{password}/{id}", _READ, account, live.live, stream, True),
    )


def _of_operators(api: ApiEndpoints | None) -> tuple[Route, ...]:
    if api is None:
        return ()
    anyone, admin = Access.ANYONE, Access.ADMIN
    return (
        Route("/api/v1/session", _SESSION, anyone, api.session, "log in, out, who is"),
        Route("/api/openapi.json", _READ, admin, api.document, "this interface, OpenAPI 3.1"),
        *(
            Route(one.path, one.methods, admin, api.handler(one), "; ".join(one.summaries))
            for one in api.resources
        ),
    )


def _of_old_scripts(old: PredecessorEndpoints | None) -> tuple[Route, ...]:
    if old is None:
        return ()
    anyone, admin, text = Access.ANYONE, Access.ADMIN, "as unified-iptv-acestream told it"
    stats = f"how much is on air, {text}"
    return (
        Route("/api/channels", _READ, admin, old.channels, f"the line-up, {text}"),
        Route("/api/aceproxy/streams", _READ, admin, old.streams, f"what is on air, {text}"),
        Route("/api/aceproxy/stats", _READ, Access.OPERATOR, old.stats, stats),
        Route("/api/health", _READ, anyone, old.health, f"whether all is well, {text}"),
    )


def _of_pages(pages: PageEndpoints | None) -> tuple[Route, ...]:
    if pages is None:
        return ()
    anyone, door, file = Access.ANYONE, "the page to log in", "a file of the pages"
    return (
        Route("/", _READ, anyone, pages.home, "the dashboard; who is not logged in, to /login"),
        Route("/login", _READ, anyone, pages.door, door),
        Route("/setup", _READ, anyone, pages.door, f"{door} with a one-time link"),
        Route("/favicon.svg", _READ, anyone, pages.icon, "the pages' icon"),
        Route("/static/{name}", _READ, anyone, pages.static, file),
        Route("/static/{stamp}/{name}", _READ, anyone, pages.static, f"{file}, to be kept"),
        Route("/static/{stamp}/{folder}/{name}", _READ, anyone, pages.static, "the same"),
    )


def _of_ace(ace: AceEndpoints, guests: AceAccountEndpoints | None) -> tuple[Route, ...]:
    local, by = Access.LOCAL, guests
    stream, playlist = "a content's MPEG-TS, endless", "a content's HLS playlist"
    running, version = "channels that run, or one of them", "get_version, as an engine"
    rows: tuple[tuple[str, RouteHandler, str, RouteHandler | None], ...] = (
        ("/ace/getstream", ace.getstream, stream, by.getstream if by else None),
        ("/ace/manifest.m3u8", ace.manifest, playlist, by.manifest if by else None),
        ("/ace/status", ace.status, running, by.status if by else None),
        ("/webui/api/service", ace.service, version, by.service if by else None),
    )
    return tuple(
        Route(path, _READ, local, handler, text, True, by_account)
        for path, handler, text, by_account in rows
    )


def _of_all(
    status: StatusEndpoints, metrics: MetricsEndpoint, anyone: Access, operator: Access
) -> tuple[Route, ...]:
    return (
        Route("/status", _READ, operator, status.status, "all there is to see, text or JSON"),
        Route("/metrics", _READ, operator, metrics.metrics, "the same for Prometheus"),
        Route("/healthz", _READ, anyone, status.healthz, "the process answers"),
        Route("/health", _READ, anyone, status.healthz, "the same"),
        Route("/readyz", _READ, anyone, status.readyz, "a viewer who came now could be served"),
    )


class Router:
    """The `Handler` of a Server: finds the route, asks whether the peer may, calls the handler."""

    def __init__(
        self,
        config: Config,
        hub: ChannelHub,
        server: ServerCounters,
        *,
        started_at: float,
        players: PlayerEndpoints | None = None,
        operators: OperatorEndpoints | None = None,
        counted: Counted | None = None,
    ) -> None:
        """`started_at`: when the server began, on the clock of `time.monotonic`, seconds."""
        self._networks: Mapping[Access, Sequence[Network]] = {
            Access.LOCAL: config.ace_networks,
            Access.OPERATOR: config.operator_networks,
        }
        self._trusted = config.trusted_proxies
        hls = players.hls if players is not None else HlsEndpoints(hub)
        self.table = build_routes(
            hls,
            AceEndpoints(hub, hls),
            StatusEndpoints(hub, server, started_at=started_at),
            MetricsEndpoint(hub, server, started_at=started_at, counted=counted or Counted()),
            players,
            LogoEndpoint(config.data),
            operators.api if operators is not None else None,
            operators.pages if operators is not None else None,
            operators.predecessor if operators is not None else None,
        )
        self._operators = operators.operators if operators is not None else None
        self._by_segments: dict[tuple[str, ...], Route] = {}
        # by how many parts they have and the first of them, '' for any
        self._patterns: dict[tuple[int, str], list[tuple[tuple[str, ...], Route]]] = {}
        for route in self.table:
            parts = tuple(part for part in route.path.split("/") if part)
            if "{" in route.path:
                first = "" if parts[0].startswith("{") else parts[0]
                self._patterns.setdefault((len(parts), first), []).append((parts, route))
            else:
                self._by_segments[parts] = route

    def __call__(
        self, request: Request, exchange: Exchange
    ) -> Response | Awaitable[Response | None] | None:
        """Answer one request, or leave it to the handler to answer later (None)."""
        route = self._by_segments.get(request.segments) or self._by_pattern(request.segments)
        if route is None:
            return Response(404, b"no such page\n")
        request.route = route.path
        try:
            answer = self._answer(route, request, exchange)
        except ViewerError as error:
            answer = Response.of_error(error)
        if route.cors and isinstance(answer, Response) and _CORS not in answer.headers:
            answer = _with_cors(answer)
        elif route.cors and answer is not None and not isinstance(answer, Response):
            answer = _later_with_cors(answer)
        return answer

    def _is_operator(self, request: Request) -> bool:
        return self._operators is not None and self._operators.of(request) is not None

    def _by_pattern(self, segments: tuple[str, ...]) -> Route | None:
        first = segments[0] if segments else ""
        for parts, route in self._patterns.get((len(segments), first), ()):
            if all(
                part == said or part[0] == "{" for part, said in zip(parts, segments, strict=True)
            ):
                return route
        # the greedy one: a stream's name, and no word of ours
        if first in RESERVED or not _STREAM_NAME.fullmatch(segments[-1] if segments else ""):
            return None
        found = self._patterns.get((len(segments), ""))
        return found[0][1] if found else None

    def _answer(
        self, route: Route, request: Request, exchange: Exchange
    ) -> Response | Awaitable[Response | None] | None:
        peer = resolve_peer(request.peer[0], request.headers, self._trusted)
        networks = self._networks.get(route.access)
        handler = route.handler
        if networks is not None and not peer.inside(networks):
            if route.by_account is not None and any(login_of(request.query)):
                handler = route.by_account
            elif route.access is not Access.OPERATOR or not self._is_operator(request):
                return Response(403, f"{_refusal(route, peer)}\n".encode())
        elif route.access is Access.ADMIN:
            try:
                if not self._is_operator(request):
                    return unknown()
            except ViewerError as error:
                return problem_of(error)
        if request.method in route.methods:
            if peer.address is not None and peer.text != request.peer[0]:
                # from here on the viewer behind the proxy counts; his port is not known
                request.peer = (peer.text, 0)
            return handler(request, exchange)
        allow = ("Allow", ", ".join((*route.methods, "OPTIONS")))
        if request.method != "OPTIONS":
            return Response(405, b"method not allowed\n", headers=(allow,))
        preflight = (
            (
                ("Access-Control-Allow-Methods", ", ".join(route.methods)),
                ("Access-Control-Allow-Headers", "*"),
                ("Access-Control-Max-Age", _PREFLIGHT_SECONDS),
            )
            if route.cors
            else ()
        )
        return Response(204, headers=(allow, *preflight))


def _with_cors(answer: Response) -> Response:
    headers = (*answer.headers, _CORS)
    return Response(answer.status, answer.body, answer.content_type, headers)


async def _later_with_cors(answer: Awaitable[Response | None]) -> Response | None:
    """An answer that comes later, or its refusal, read by pages of any origin as well."""
    try:
        found = await answer
    except ViewerError as error:
        found = Response.of_error(error)
    except StateError as error:  # players ask again after 503, and give up after 500
        logger.error("a request can't be answered: %s", error)
        found = Response.of_error(ViewerError(503, "not to be had now", retry_after=5))
    return _with_cors(found) if found is not None and _CORS not in found.headers else found


def _refusal(route: Route, peer: Peer) -> str:
    """Why not, in a line that names the setting and tells a stranger nothing he doesn't know."""
    if peer.behind:
        return f"{route.path}: this request came through a proxy that is not in trusted_proxies"
    if peer.address is None:
        return f"{route.path}: the proxies in front do not say who asks; see trusted_proxies"
    text = f"{route.path}: {peer.address} is not in {route.access.value}"
    return text if route.by_account is None else f"{text}; with an account: username=, password="
