"""The files behind films: each is opened once, by whatever it is called.

Owns: which files there are, on web servers and on engines, that no content has two sessions. Must
not know: viewers, which source is read (`films`), how a part is had.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from rawstream.config import Limits, Timeouts
from rawstream.engine_client import ContentRef
from rawstream.engine_pool import EnginePool
from rawstream.fetch_policy import FetchPolicy
from rawstream.film_engine import EngineFile
from rawstream.film_viewer import Film
from rawstream.film_web import FilmFile, NotAFilm, WebFile
from rawstream.records import ChannelSource
from rawstream.sources import ref_of, spellings
from rawstream.web_resource import WebResource

_WEB_REMEMBERED: Final = 5_000

Lingering = tuple[float, Callable[[], asyncio.Task[None]]]


class FilmFiles:
    """All of this process. `make_room`: asked when all engines are full. `on_air`: whether a
    channel has this content.
    """

    def __init__(
        self,
        pool: EnginePool,
        policy: FetchPolicy,
        timeouts: Timeouts,
        limits: Limits,
        *,
        make_room: Callable[[], Awaitable[bool]],
        on_air: Callable[[ContentRef], bool],
    ) -> None:
        # -- collaborators --
        self._pool = pool
        self._policy = policy
        self._timeouts = timeouts
        self._limits = limits
        self._make_room = make_room
        self._on_air = on_air
        # -- files --
        self.open: dict[EngineFile, Film] = {}  # with the film it was last opened for
        self._web: OrderedDict[ContentRef, WebFile] = OrderedDict()
        self._by_ref: dict[ContentRef, EngineFile] = {}
        self._by_infohash: dict[str, EngineFile] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def opened(self, way: ChannelSource, film: Film) -> FilmFile:
        """The file behind a source. Raises UpstreamError."""
        if way.kind == "hls":
            raise NotAFilm("source", "an HLS playlist, not a file")
        if not on_engine(way):
            return self.on_web(way)
        file = self._engine_file(way)
        if file is None:
            ref = ref_of(way)
            if way.infohash is None and self._pool.known_infohash(ref) is None:
                await self._pool.resolve(ref)
                file = self._engine_file(way)
            if file is None:
                file = self._made(way, ref)
        self.open[file] = film
        return file

    def on_web(self, way: ChannelSource) -> WebFile:
        """The file behind a source on a web server."""
        ref = ref_of(way)
        file = self._web.get(ref)
        if file is None:
            resource = WebResource(
                ref.value, self._policy, self._timeouts, self._limits, way.headers
            )
            file = self._web[ref] = WebFile(resource)
            if len(self._web) > _WEB_REMEMBERED:
                self._web.popitem(last=False)
        self._web.move_to_end(ref)
        return file

    def _engine_file(self, way: ChannelSource) -> EngineFile | None:
        ref = ref_of(way)
        infohash = way.infohash or self._pool.known_infohash(ref)
        file = self._by_infohash.get(infohash) if infohash is not None else None
        return file or self._by_ref.get(ref)

    def _made(self, way: ChannelSource, ref: ContentRef) -> EngineFile:
        if self._on_air(ref):
            raise NotAFilm(f"engine content {ref}", "it is on air as a channel, not a film")
        infohash = way.infohash or self._pool.known_infohash(ref)
        file = EngineFile(
            self._pool,
            spellings(ref, infohash),
            self._timeouts,
            make_room=self._make_room,
            claim=self._claim,
            on_over=self._over,
        )
        self._by_ref[ref] = file
        if infohash is not None:
            file.infohash = infohash
            self._by_infohash[infohash] = file
        return file

    def _claim(self, file: EngineFile) -> bool:
        if file.infohash is None:
            return True
        return self._by_infohash.setdefault(file.infohash, file) is file

    def _over(self, file: EngineFile, failure: str | None) -> None:  # noqa: ARG002 - its shape
        self.open.pop(file, None)
        for ref in [ref for ref, other in self._by_ref.items() if other is file]:
            del self._by_ref[ref]
        for infohash in [name for name, other in self._by_infohash.items() if other is file]:
            del self._by_infohash[infohash]
        ending = file.stop()
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    def has(self, ref: ContentRef) -> bool:
        """Whether an engine's session of this content is a film's."""
        infohash = self._pool.known_infohash(ref)
        return ref in self._by_ref or (infohash is not None and infohash in self._by_infohash)

    def lingering(self) -> list[Lingering]:
        """Engine files that nobody reads: since when, and how to end each."""
        return [
            (file.empty_since, file.stop)
            for file in self.open
            if file.lingers and file.empty_since is not None and file.session is not None
        ]

    def tick(self, now: float) -> None:
        """Some times a second: the end of each linger."""
        for file in list(self.open):
            file.tick(now)

    async def close(self) -> None:
        """End every session; returns when these are stopped."""
        for file in list(self.open):
            file.stop()
        if self._ending:
            await asyncio.wait(set(self._ending))


def on_engine(way: ChannelSource) -> bool:
    """Whether a source is an engine's content."""
    return way.kind not in ("direct", "hls")
