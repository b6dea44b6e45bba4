"""Films that are watched: each viewer at his own place in a file, whichever source has it.

Owns: which of a film's sources is read, what is tried when one is lost in the middle, the memory of
what has just failed. Must not know: accounts, URLs, which files are open (`film_files`), how a part
is had of a web server or an engine.

A body is never short and whole at once: it has the length its head told, or its connection is
reset. And it is never of two files: who goes on with another connection, session or source must
show the same length and, again, the last bytes that were sent.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rawstream.byte_range import ContentRange, RangeSpec, Span, Unsatisfiable, parse_range
from rawstream.config import Limits, Timeouts
from rawstream.connection import Exchange, Sink
from rawstream.engine_client import ContentRef
from rawstream.engine_pool import EnginePool
from rawstream.errors import ChannelUnavailable, UpstreamError, ViewerError
from rawstream.fetch_policy import FetchPolicy
from rawstream.film_engine import Elsewhere, EngineFile
from rawstream.film_files import FilmFiles, Lingering, on_engine
from rawstream.film_viewer import TAIL_BYTES, Film, FilmViewer, FilmViewerSnapshot
from rawstream.film_web import (
    Asked,
    FilmFile,
    FilmHead,
    NotAFilm,
    Part,
    known_headers,
    type_of,
)
from rawstream.http1 import Headers, Response
from rawstream.records import ChannelSource
from rawstream.sources import ref_of
from rawstream.tally import Tally
from rawstream.viewer import Lease

logger = logging.getLogger(__name__)

_BACK_OFF: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
_REMEMBERED: Final = 5_000  # films' sources that played
_FAILURES_REMEMBERED: Final = 1000
_CONTENTS_REMEMBERED: Final = 1000
_CONTENT_KNOWN_SECONDS: Final = 3600.0  # what was a film is asked for as one
_NO_STORE: Final = ("Cache-Control", "no-store")
# pages may seek, and see where they are
_CORS: Final = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Expose-Headers", "Accept-Ranges, Content-Length, Content-Range, ETag"),
)


@dataclass(frozen=True, slots=True)
class FilmSnapshot:
    """One film that is open, from one source. `state`: opening, playing, recovering, lingering."""

    key: str
    name: str
    source: str
    engine: str | None
    infohash: str | None
    state: str
    length: int | None
    peers: int | None
    speed_down: int | None
    opens: int
    recoveries: int
    last_error: str | None
    viewers: tuple[FilmViewerSnapshot, ...]
    held: int


class Films:
    """All films of this process. `make_room`: asked when all engines are full. `on_air`: whether a
    channel has this content. `viewer_id`: numbers for viewers of all kinds.
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
        viewer_id: Iterator[int],
        tally: Tally | None = None,
    ) -> None:
        # -- collaborators --
        self._timeouts = timeouts
        self._limits = limits
        self._viewer_id = viewer_id
        self._joins = (tally if tally is not None else Tally()).joins["film"]
        # -- files --
        self._files = FilmFiles(pool, policy, timeouts, limits, make_room=make_room, on_air=on_air)
        # -- viewers --
        self._viewers: dict[FilmViewer, asyncio.Task[None]] = {}
        self.held = 0
        # -- what was learnt --
        self._good: OrderedDict[str, ContentRef] = OrderedDict()  # film -> the source that plays
        self._heads: OrderedDict[ContentRef, FilmHead] = OrderedDict()
        self._failed: dict[str, tuple[float, ViewerError]] = {}
        self._bad: dict[ContentRef, float] = {}  # source -> until when others go first
        self._contents: dict[ContentRef, tuple[float, Film]] = {}  # until when they count as one
        self._closing = False
        # -- counters --
        self.bytes_in = 0
        self.bytes_out = 0
        self.failures = 0

    # -- who asks ----------------------------------------------------------------------------------

    def watch(
        self,
        film: Film,
        exchange: Exchange,
        *,
        hold_seconds: float,
        account: str | None = None,
        lease: Lease | None = None,
    ) -> None:
        """Answer this exchange, sooner or later: the part of the film that it asks for, 416, or 503
        and why. A `lease` is told of the beginning and, unless this raises, of the end.

        Raises ViewerError at once for a film that has just failed, and when we are full.
        """
        if self._closing:
            raise ChannelUnavailable("the server is stopping", retry_after=5)
        if not film.ways:
            raise ChannelUnavailable("this film has no source")
        failed = self._failed.get(film.key)
        if failed is not None and failed[0] > time.monotonic():
            raise failed[1]
        if self.held >= self._limits.held_viewers:
            raise ChannelUnavailable("too many viewers are waiting for films", retry_after=5)
        viewer = FilmViewer(next(self._viewer_id), film, exchange, account, lease)
        self.held += 1
        task = asyncio.create_task(self._serve(viewer, hold_seconds), name=f"viewer of {film.key}")
        self._viewers[viewer] = task
        # also where he leaves before the task has begun
        task.add_done_callback(lambda _: self._left(viewer))

        def gone() -> None:
            task.cancel()

        exchange.on_gone = viewer.gone = gone

    async def head(self, film: Film) -> FilmHead | None:
        """What a HEAD is told: nobody is counted, no session opened. None for a length that nobody
        knows yet. Raises ChannelUnavailable.
        """
        if not film.ways:
            raise ChannelUnavailable("this film has no source")
        failure: UpstreamError | None = None
        for way in self._order(film):
            ref = ref_of(way)
            if on_engine(way):  # a content is for ever the same
                return self._heads.get(ref)
            try:
                async with asyncio.timeout(self._timeouts.hold_seconds):
                    return await self._files.on_web(way).look()
            except UpstreamError as error:
                failure = error
                self._note_bad(ref)
            except TimeoutError:
                self._note_bad(ref)
        raise ChannelUnavailable(failure.reason if failure is not None else "no source answers")

    # -- a viewer's life ---------------------------------------------------------------------------

    async def _serve(self, viewer: FilmViewer, hold_seconds: float) -> None:
        first = b""
        try:
            try:
                async with asyncio.timeout(hold_seconds):
                    first = await self._begin(viewer)
            except TimeoutError:
                reason = f"the film is still being opened{self._told(viewer)}"
                self._refuse(viewer, ChannelUnavailable(reason))
                return
            except Unsatisfiable as error:
                self._tell_length(viewer, error.length)
                return
            except UpstreamError as error:
                self._fail(viewer.film, error)
                self._refuse(viewer, self._failed_error(error))
                return
            await self._send(viewer, first)
        except asyncio.CancelledError:
            if self._closing:
                self._refuse(viewer, ChannelUnavailable("the server is stopping", retry_after=5))
            raise
        except Exception:
            logger.exception("film %s: a bug of ours", viewer.film.name or viewer.film.key)
            self._refuse(viewer, ViewerError(500, "internal error"))

    async def _begin(self, viewer: FilmViewer) -> bytes:
        """The first source that has it: its part, and its first bytes. Raises Unsatisfiable,
        UpstreamError.
        """
        headers = viewer.exchange.request.headers
        asked = Asked(parse_range(headers.get("range", "")), headers.get("if-range", "").strip())
        failure: UpstreamError | None = None
        for way in self._order(viewer.film):
            try:
                viewer.file = None
                part = viewer.part = await self._part(viewer, way, asked)
                first = await part.read()
            except UpstreamError as error:
                if viewer.part is not None:
                    viewer.part.close()
                    viewer.part = None
                self._note_bad(ref_of(way))
                failure = error
                continue
            self._note_good(viewer.film, ref_of(way), part.head)
            return first
        raise failure or UpstreamError("start", "film", "it has no source")

    async def _part(self, viewer: FilmViewer, way: ChannelSource, asked: Asked) -> Part:
        while True:
            file = viewer.file = await self._files.opened(way, viewer.film)
            try:
                return await file.open(asked)
            except Elsewhere:
                continue  # what it is open as has been noted

    async def _send(self, viewer: FilmViewer, data: bytes) -> None:
        """The head, then all that was asked for, at the viewer's pace."""
        part = viewer.part
        assert part is not None, "begun"
        self.held -= 1
        viewer.held = False
        now = time.monotonic()
        viewer.start(self._head_of(viewer, part), now)
        self._joins.note(now - viewer.joined_at)
        while data:
            self.bytes_in += len(data)
            self.bytes_out += len(data)
            viewer.write(data)
            if viewer.paused:
                assert viewer.part is not None, "open"
                viewer.part.hold()
                await viewer.writable()
            try:
                assert viewer.part is not None, "open"
                data = await viewer.part.read()
            except UpstreamError as error:
                try:
                    data = await self._resume(viewer, error)
                except (UpstreamError, Unsatisfiable) as last:
                    logger.warning(
                        "film %s: a viewer was cut off at byte %d: %s",
                        viewer.film.name or viewer.film.key,
                        viewer.position,
                        last,
                    )
                    viewer.abort()
                    return
        await viewer.writable()  # a pause at the very end is as long as any
        viewer.finish()

    def _head_of(self, viewer: FilmViewer, part: Part) -> Sink:
        head, span = part.head, part.span
        headers = _headers(head)
        kind = type_of(head, viewer.film.extension)
        if span is None:
            return viewer.exchange.stream(headers, kind, chunked=True)
        if part.partial:
            headers.append(("Content-Range", str(ContentRange(span, head.length))))
        return viewer.exchange.stream(
            headers, kind, status=206 if part.partial else 200, content_length=span.size
        )

    # -- a source is lost --------------------------------------------------------------------------

    async def _resume(self, viewer: FilmViewer, error: UpstreamError) -> bytes:
        """Go on behind the last byte that was written, from whatever has this very file. Raises
        UpstreamError, Unsatisfiable when nobody has in `recover_seconds`.
        """
        part, span = viewer.part, viewer.span
        assert part is not None, "lost"
        part.close()
        head = part.head
        if span is None or not head.seekable:
            raise error
        logger.info("film %s: %s", viewer.film.name or viewer.film.key, error)
        viewer.last_error, viewer.recovering = error.reason, True
        viewer.recoveries += 1
        deadline = time.monotonic() + self._timeouts.recover_seconds
        last: UpstreamError | Unsatisfiable = error
        for tried in range(1 << 30):
            for way in self._order(viewer.film):
                try:
                    data = await self._go_on(viewer, way, head)
                except (UpstreamError, Unsatisfiable) as failure:
                    last = failure
                else:
                    viewer.recovering = False
                    return data
                if time.monotonic() >= deadline:
                    raise last
            pause = _BACK_OFF[min(tried, len(_BACK_OFF) - 1)]
            await asyncio.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        raise last

    async def _go_on(self, viewer: FilmViewer, way: ChannelSource, head: FilmHead) -> bytes:
        """The bytes behind the last one, if this source has the same file."""
        assert viewer.span is not None, "of a known length"
        again = viewer.tail[-TAIL_BYTES:]
        wanted = Span(viewer.position - len(again), viewer.span.end)
        asked = Asked((RangeSpec(wanted.begin, wanted.end - 1),))
        part = viewer.part = await self._part(viewer, way, asked)
        try:
            same = part.head.length == head.length and part.span == wanted
            got = b""
            while same and len(got) <= len(again):
                data = await part.read()
                same = bool(data)
                got += data
            if not same or not got.startswith(again):
                raise UpstreamError("read", _label(viewer), "is another file than before")
        except BaseException:
            part.close()
            raise
        return got[len(again) :]

    # -- the end of a viewer -----------------------------------------------------------------------

    def _left(self, viewer: FilmViewer) -> None:
        self._viewers.pop(viewer, None)
        self.held -= viewer.held
        viewer.held = False
        if viewer.part is not None:
            viewer.part.close()
        viewer.end()

    def _refuse(self, viewer: FilmViewer, error: ViewerError) -> None:
        told = Response.of_error(error)
        viewer.answer(Response(told.status, told.body, told.content_type, (*told.headers, *_CORS)))

    def _tell_length(self, viewer: FilmViewer, length: int | None) -> None:
        """416 (RFC 9110 §15.5.17)."""
        told = (("Content-Range", str(ContentRange(None, length))),) if length is not None else ()
        headers: Headers = (*told, ("Accept-Ranges", "bytes"), _NO_STORE, *_CORS)
        viewer.answer(Response(416, b"the film has no such part\n", headers=headers))

    def _told(self, viewer: FilmViewer) -> str:
        file = viewer.file
        if isinstance(file, EngineFile) and file.stat.status is not None:
            return f"; the engine says {file.stat.status}, {file.stat.peers or 0} peers"
        return ""

    # -- what plays, what fails --------------------------------------------------------------------

    def _order(self, film: Film) -> Sequence[ChannelSource]:
        """Its sources: the one that played before first, so that all parts are of one file; those
        that have just failed last.
        """
        now, good = time.monotonic(), self._good.get(film.key)

        def rank(way: ChannelSource) -> tuple[bool, bool]:
            ref = ref_of(way)
            return self._bad.get(ref, 0.0) > now, ref != good

        return sorted(film.ways, key=rank) if len(film.ways) > 1 else film.ways

    def _note_good(self, film: Film, ref: ContentRef, head: FilmHead) -> None:
        self._bad.pop(ref, None)
        for memory, key, value in ((self._good, film.key, ref), (self._heads, ref, head)):
            _remember(memory, key, value)

    def _note_bad(self, ref: ContentRef) -> None:
        if len(self._bad) < _FAILURES_REMEMBERED:
            self._bad[ref] = time.monotonic() + self._timeouts.failure_memory_seconds

    def _fail(self, film: Film, error: UpstreamError) -> None:
        logger.warning("film %s failed: %s", film.name or film.key, error)
        self.failures += 1
        if len(self._failed) < _FAILURES_REMEMBERED:
            until = time.monotonic() + self._timeouts.failure_memory_seconds
            self._failed[film.key] = (until, self._failed_error(error))

    @staticmethod
    def _failed_error(error: UpstreamError) -> ViewerError:
        if isinstance(error, NotAFilm):
            return ViewerError(404, error.reason)
        return ChannelUnavailable(error.reason, retry_after=5)

    # -- contents and viewers ----------------------------------------------------------------------

    def of_content(self, ref: ContentRef) -> Film | None:
        """The film that this content turned out to be, if it was asked for lately, or that is open:
        a channel's session of it would end the film's.
        """
        found = self._contents.get(ref)
        if found is not None and found[0] > time.monotonic():
            return found[1]
        if self._files.has(ref):
            return Film(str(ref), "", (ChannelSource(ref.kind, ref.value),))
        return None

    def note_contents(self, refs: Iterable[ContentRef], film: Film) -> None:
        """What was taken for a channel, by all its names, turned out to be this film."""
        until = time.monotonic() + _CONTENT_KNOWN_SECONDS
        for ref in refs:
            if len(self._contents) < _CONTENTS_REMEMBERED:
                self._contents[ref] = (until, film)

    def find_viewer(self, viewer_id: int) -> tuple[FilmViewer, Film] | None:
        """One who gets bytes, and of what."""
        for viewer in self._viewers:
            if viewer.id == viewer_id and not viewer.held:
                return viewer, viewer.film
        return None

    def stop(self, key: str) -> bool:
        """End all viewers and engine sessions of a film. Whether there were any."""
        viewers = [viewer for viewer in self._viewers if viewer.film.key == key]
        files = [file for file, film in self._files.open.items() if film.key == key]
        for viewer in viewers:
            if viewer.held:
                told = ChannelUnavailable("this film was stopped by the operator", retry_after=5)
                self._refuse(viewer, told)
            viewer.cut()
        for file in files:
            file.stop()
        return bool(viewers or files)

    def lingering(self) -> list[Lingering]:
        """See `FilmFiles.lingering`."""
        return self._files.lingering()

    # -- once in a while, and the end --------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Some times a second: the end of each linger."""
        self._files.tick(now)

    def sweep(self, now: float) -> None:
        """Once a second: speeds; viewers who have taken nothing for `film_pause_seconds` are cut;
        what was remembered long enough is forgotten.
        """
        for viewer in list(self._viewers):
            viewer.measure(now)
            if viewer.paused_for(now) >= self._timeouts.film_pause_seconds:
                logger.info("viewer %s of a film paused too long: cut", viewer.address)
                viewer.cut()
        for key in [key for key, (until, _) in self._failed.items() if until <= now]:
            del self._failed[key]
        for ref in [ref for ref, until in self._bad.items() if until <= now]:
            del self._bad[ref]
        for ref in [ref for ref, (until, _) in self._contents.items() if until <= now]:
            del self._contents[ref]

    async def close(self) -> None:
        """End every viewer and every session; returns when these are stopped."""
        self._closing = True
        tasks = list(self._viewers.values())
        for viewer in list(self._viewers):
            viewer.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._files.close()

    # -- snapshots ---------------------------------------------------------------------------------

    @property
    def viewers(self) -> int:
        """How many get bytes."""
        return len(self._viewers) - self.held

    @property
    def running(self) -> int:
        """How many films are watched or linger."""
        watched = {viewer.film.key for viewer in self._viewers}
        return len(watched | {film.key for film in self._files.open.values()})

    def snapshot(self, now: float) -> tuple[FilmSnapshot, ...]:
        """Every film that is watched, by its source, and those that linger."""
        groups: dict[tuple[str, str], list[FilmViewer]] = {}
        files: dict[tuple[str, str], FilmFile | None] = {}
        for viewer in self._viewers:
            label = viewer.file.label if viewer.file is not None else ""
            place = viewer.film.key, label
            groups.setdefault(place, []).append(viewer)
            files[place] = viewer.file
        found = [
            _shown(viewers[0].film, files[place], viewers, now) for place, viewers in groups.items()
        ]
        shown = set(map(id, files.values()))
        rest = [(film, file) for file, film in self._files.open.items() if id(file) not in shown]
        return (*found, *(_shown(film, file, [], now) for film, file in rest))


def head_headers(film: Film, head: FilmHead | None) -> tuple[Headers, str, int | None]:
    """What HEAD is told, as GET of the whole is: headers, Content-Type and length. `head` None:
    nothing is known yet, and nothing is said.
    """
    known = FilmHead(None, seekable=True) if head is None else head
    headers = _headers(known)
    if head is None:
        headers = [header for header in headers if header[0] != "Accept-Ranges"]
    return headers, type_of(known, film.extension), known.length


def _headers(head: FilmHead) -> list[tuple[str, str]]:
    return [_NO_STORE, ("X-Accel-Buffering", "no"), *_CORS, *known_headers(head)]


def _shown(
    film: Film, file: FilmFile | None, viewers: Sequence[FilmViewer], now: float
) -> FilmSnapshot:
    engine = file if isinstance(file, EngineFile) else None
    session = engine.session if engine is not None else None
    watching = [viewer.snapshot(now) for viewer in viewers]
    held = sum(viewer.state == "waiting" for viewer in watching)
    shown = tuple(viewer for viewer in watching if viewer.state != "waiting")
    recovering = any(viewer.state == "recovering" for viewer in shown)
    if engine is not None and engine.recovering:
        recovering = True
    if recovering:
        state = "recovering"
    elif shown:
        state = "playing"
    else:
        state = "opening" if held else "lingering"
    errors = [viewer.last_error for viewer in viewers if viewer.last_error is not None]
    recoveries = sum(viewer.recoveries for viewer in viewers)
    return FilmSnapshot(
        key=film.key,
        name=film.name,
        source=file.label if file is not None else "",
        engine=session.engine.url if session is not None else None,
        infohash=engine.infohash if engine is not None else None,
        state=state,
        length=file.head.length if file is not None and file.head is not None else None,
        peers=engine.stat.peers if engine is not None else None,
        speed_down=engine.stat.speed_down if engine is not None else None,
        opens=engine.opens if engine is not None else 0,
        recoveries=recoveries + (engine.recoveries if engine is not None else 0),
        last_error=(engine.last_error if engine is not None else None)
        or (errors[-1] if errors else None),
        viewers=shown,
        held=held,
    )


def _remember(memory: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    """As a dict does, forgetting the oldest above a bound."""
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)


def _label(viewer: FilmViewer) -> str:
    return viewer.file.label if viewer.file is not None else "film"
