"""A film on an engine: one session, however many watch, each at a place of his own.

Owns: the session from its start to the end of its linger, the turns in which blocks are read
through it, what is tried when it fails. Must not know: viewers, HTTP heads and how a block is asked
for (`film_reader`), which film of which account this is. Section signs are those of the engine
reference.

A session has one reader, and a second session of the content ends the first (§1.5). So everybody's
bytes come in bounded blocks, one after the other: who wants some stands in a queue, gets a block,
and stands at its end again. Nobody has more than one block ahead, and for whoever takes nothing
nothing is fetched.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeVar

from rawstream.byte_range import RangeSpec, Span, Unsatisfiable, span_of
from rawstream.config import Timeouts
from rawstream.engine_answers import UNKNOWN_SESSION, Stat
from rawstream.engine_client import ContentRef, Engine
from rawstream.engine_pool import EnginePool, EngineSession
from rawstream.errors import UpstreamError, UpstreamTimeout
from rawstream.film_reader import FilmReader, NoParts, Unwanted
from rawstream.film_web import Asked, FilmHead, NotAFilm
from rawstream.http_client import BodyStream
from rawstream.sources import FeedFailed, NoEngineLeft

logger = logging.getLogger(__name__)

BLOCK_BYTES: Final = 1024 * 1024
_BACK_OFF: Final = (1.0, 2.0, 4.0, 8.0)
_SLOT_LOOK_SECONDS: Final = 0.2

_LIVE: Final = "it is live, not a film: add it as a channel"

_T = TypeVar("_T")


class Elsewhere(UpstreamError):
    """This content turned out to be open already, as another file."""

    def __init__(self, label: str) -> None:
        super().__init__("open", label, "it is open under another name")


class EngineFile:
    """A content with an end, on whichever engine takes it.

    `refs`: its spellings, best first. `make_room` is asked when all engines are full, `claim(file)`
    once its infohash is known: False when another file has this content. `on_over(file, failure)`
    is called once, when nothing more can be had of this.
    """

    def __init__(
        self,
        pool: EnginePool,
        refs: Iterable[ContentRef],
        timeouts: Timeouts,
        *,
        make_room: Callable[[], Awaitable[bool]],
        claim: Callable[[EngineFile], bool],
        on_over: Callable[[EngineFile, str | None], None],
    ) -> None:
        self.refs = tuple(refs)
        self.label = f"engine content {self.refs[0]}"
        # -- collaborators --
        self._pool = pool
        self._timeouts = timeouts
        self._make_room = make_room
        self._claim = claim
        self._on_over = on_over
        # -- the session --
        self.infohash: str | None = None
        self._reader: FilmReader | None = None  # the last one, which may be closed
        self._leaving: set[asyncio.Task[Any]] = set()
        # -- what it brings --
        self.head: FilmHead | None = None
        self._learnt: asyncio.Future[FilmHead] = asyncio.get_running_loop().create_future()
        self._learnt.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._first_at = 0
        # -- who wants it --
        self.parts: set[EnginePart] = set()
        self._opening = 0
        self._queue: dict[EnginePart, None] = {}  # in turns
        self._wanted = asyncio.Event()
        self.empty_since: float | None = None
        # -- life --
        self.over = False
        self.recovering = False
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        # -- shown --
        self.opens = 0
        self.recoveries = 0
        self.last_error: str | None = None

    @property
    def reader(self) -> FilmReader | None:
        """Of the session there is now."""
        return None if self._reader is None or self._reader.closed else self._reader

    @property
    def session(self) -> EngineSession | None:
        return self.reader.session if self.reader is not None else None

    @property
    def stat(self) -> Stat:
        """What the engine last said, of a session that is over too."""
        return self._reader.stat if self._reader is not None else Stat()

    # -- who asks ----------------------------------------------------------------------------------

    async def open(self, asked: Asked) -> EnginePart:
        """A part of it, when it is known how long it is. May be cancelled: the start goes on."""
        self.empty_since = None
        self._opening += 1
        try:
            if self._task is None:
                self._first_at = _first_of(asked.specs)
                self._task = asyncio.create_task(self._run(), name=f"film {self.label}")
            head = await asyncio.shield(self._learnt)
            return self._part(head, asked)
        finally:
            self._opening -= 1
            self._note_emptiness()

    def _part(self, head: FilmHead, asked: Asked) -> EnginePart:
        if self.over:
            raise UpstreamError("read", self.label, self.last_error or "it was stopped")
        span: Span | None = None
        matches = not asked.if_range or asked.if_range == head.etag
        if head.seekable and head.length is not None and matches:
            span = span_of(asked.specs, head.length)
        elif not head.seekable and self.parts:
            reason = "the engine serves no parts of this film, and somebody watches it"
            raise UpstreamError("open", self.label, reason)
        part = EnginePart(self, head, span)
        self.parts.add(part)
        return part

    def want(self, part: EnginePart) -> None:
        """For a part: it takes more."""
        if part not in self._queue:
            self._queue[part] = None
            self._wanted.set()

    def unwant(self, part: EnginePart) -> None:
        """For a part: not for now."""
        self._queue.pop(part, None)

    def left(self, part: EnginePart) -> None:
        """For a part: its reader has gone."""
        self.unwant(part)
        self.parts.discard(part)
        self._note_emptiness()

    def _note_emptiness(self) -> None:
        if not self.parts and not self._opening and self.empty_since is None:
            self.empty_since = time.monotonic()

    @property
    def lingers(self) -> bool:
        """Whether nobody wants it, so that its engine's slot may be had."""
        return self.empty_since is not None and not self.over

    def tick(self, now: float) -> None:
        """Once in a while: the end of the linger."""
        if self.empty_since is not None and (
            now - self.empty_since >= self._timeouts.linger_seconds
        ):
            self.stop()

    # -- the end -----------------------------------------------------------------------------------

    def stop(self, failure: UpstreamError | None = None) -> asyncio.Task[None]:
        """End it: who still reads is told. The task is done when the session is stopped."""
        if self._ending is None:
            self.over = True
            error = failure or UpstreamError("read", self.label, "it was stopped")
            if failure is not None:
                self.last_error = failure.reason
            if not self._learnt.done():
                self._learnt.set_exception(error)
            for part in list(self.parts):
                part.fail(error)
            if self._task is not None and self._task is not asyncio.current_task():
                self._task.cancel()
            self._ending = asyncio.create_task(self._close(), name=f"end of film {self.label}")
            self._on_over(self, failure.reason if failure is not None else None)
        return self._ending

    async def _close(self) -> None:
        self._leave_session()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        self._leave_session()
        if self._leaving:
            await asyncio.wait(set(self._leaving))

    def _leave_session(self, *, failed: bool = False) -> None:
        """Stop it without waiting: a start of the same content waits for the stop by itself."""
        reader = self.reader
        if reader is not None:
            reader.close()
            session = reader.session
            if failed and not session.proven and not session.over:
                self._pool.brought_nothing(session)
            self._keep(self._pool.stop(session))

    def _keep(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    # -- the task ----------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            self.head = await self._climb(self._learn, first=True)
            self._learnt.set_result(self.head)
            while True:
                part = await self._next()
                if self.head.seekable:
                    await self._climb(part.fetch_block)
                else:
                    await part.fetch_all()
        except UpstreamError as error:
            logger.warning("film %s failed: %s", self.label, error)
            self.stop(error)
        except Exception:
            logger.exception("film %s: a bug of ours", self.label)
            self.stop(UpstreamError("read", self.label, "an internal error"))

    async def _next(self) -> EnginePart:
        """Who is first in the queue."""
        while not self._queue:
            self._wanted.clear()
            await self._wanted.wait()
        part = next(iter(self._queue))
        del self._queue[part]
        return part

    async def _learn(self, reader: FilmReader) -> FilmHead:
        """How long it is and whether parts are to be had, by one byte where the first reader wants
        to begin, so that the engine looks for that piece at once.
        """
        at = self._first_at
        etag = ""
        if self.infohash is not None:  # the content's own name: another file has another
            mark = hashlib.blake2s(f"film {self.infohash}".encode(), digest_size=10).hexdigest()
            etag = f'"{mark}"'
        try:
            length = await reader.read(Span(at, at + 1), lambda _: None)
        except NoParts as found:
            if reader.session.is_live and found.length is None:  # the engine did not know
                raise NotAFilm(self.label, _LIVE) from None
            return FilmHead(found.length, False, etag, content_type=reader.content_type)
        except Unsatisfiable as error:
            if error.length is None:
                raise UpstreamError("open", self.label, "does not say how long it is") from None
            length = error.length
        return FilmHead(length, True, etag, content_type=reader.content_type)

    async def _climb(
        self, work: Callable[[FilmReader], Awaitable[_T]], *, first: bool = False
    ) -> _T:
        """Do it, over as many sessions as it takes: the same session once more, a new one, the next
        engine; at the `first` start each engine once, later around again until `recover_seconds`
        are over. Raises UpstreamError.
        """
        deadline = time.monotonic() + self._timeouts.slot_wait_seconds if first else None
        avoid: list[Engine] = []
        pauses = iter(_BACK_OFF)
        last: UpstreamError | None = None
        superseded = tried_again = False
        until = 0.0
        while True:
            reader = self.reader
            try:
                if reader is None:
                    reader = await self._start(avoid, hurry=not first)
                found = await work(reader)
                self.recovering = False
                return found
            except (NotAFilm, Elsewhere):
                raise
            except NoEngineLeft as error:
                if error.full and await self._room(deadline):
                    continue
                last = last or error
                if first:
                    raise last from None
                until = until or time.monotonic() + self._timeouts.recover_seconds
                avoid.clear()
                await self._pause(next(pauses, _BACK_OFF[-1]), until, last)
            except UpstreamError as error:
                last = error
                self.last_error = error.reason
                if not first and not self.recovering:
                    self.recovering = True
                    self.recoveries += 1
                if not until:
                    until = time.monotonic() + self._timeouts.recover_seconds
                if time.monotonic() >= until:
                    raise
                alive = reader is not None and not reader.lost and error.status != 403
                slow = first and isinstance(error, UpstreamTimeout)  # and others may be faster
                if alive and not slow and not tried_again and error.phase != "connect":
                    tried_again = True  # the same URL once
                    continue
                taken = error.status == 403 or UNKNOWN_SESSION in error.reason
                if reader is not None:
                    self._leave_session(failed=not taken)
                if taken and not superseded:
                    superseded = True  # once: two who take it from each other never end
                    continue
                failed = error.engine if isinstance(error, FeedFailed) else None
                engine = reader.session.engine if reader is not None else failed
                if engine is not None:
                    avoid.append(engine)

    async def _pause(self, seconds: float, until: float, last: UpstreamError) -> None:
        left = until - time.monotonic()
        if left <= 0:
            raise last
        await asyncio.sleep(min(left, seconds * random.uniform(0.8, 1.2)))

    async def _room(self, deadline: float | None) -> bool:
        """A slot on a full engine; at a first start one that comes free soon will do."""
        if await self._make_room():
            return True
        if deadline is None or time.monotonic() >= deadline:
            return False
        await asyncio.sleep(_SLOT_LOOK_SECONDS)
        return True

    async def _start(self, avoid: list[Engine], *, hurry: bool) -> FilmReader:
        """A session of it. One that hangs gives way while another engine is free. Raises
        NoEngineLeft, NotAFilm, FeedFailed.
        """
        engine = self._pool.place(self.refs, avoid=avoid)
        if engine is None:
            if self._pool.full(avoid=avoid):
                raise NoEngineLeft("all engines have as many channels as they may", full=True)
            raise NoEngineLeft("no other engine to ask")
        most = self._timeouts.silence_act_seconds if hurry else self._timeouts.engine_yield_seconds
        starting = asyncio.create_task(
            self._pool.start(engine, self.refs), name=f"start of {self.label}"
        )
        try:
            await asyncio.wait({starting}, timeout=most)
            if not starting.done() and self._pool.spare_engine(avoid=[*avoid, engine]) is not None:
                raise UpstreamTimeout("start", engine.url, f"no session within {most:.1f} s")
            session = await starting
        except asyncio.CancelledError:
            if starting.done() and not starting.cancelled() and starting.exception() is None:
                self._keep(self._pool.stop(starting.result()))
            raise
        except UpstreamError as error:
            raise FeedFailed(error, engine) from error
        finally:
            if not starting.done():
                starting.cancel()  # its answer is still read, and its session then stopped
                await asyncio.gather(starting, return_exceptions=True)
        return await self._take(session)

    async def _take(self, session: EngineSession) -> FilmReader:
        """A session was granted: whether it is a film's, and ours."""
        self.opens += 1
        self.infohash = session.infohash or self.infohash
        if not session.may_be_film:
            self._keep(self._pool.stop(session))
            raise NotAFilm(self.label, _LIVE)
        if not self._claim(self):
            # the other one goes on; if this start has ended its session, it opens a new one
            await self._pool.forget(session)
            raise Elsewhere(self.label)
        self._reader = FilmReader(
            self._pool,
            session,
            self._timeouts,
            self.label,
            words=self._reader.words if self._reader is not None else "",
            is_read=lambda: bool(self.parts),
        )
        return self._reader


class EnginePart:
    """One reader's part of an engine's film."""

    def __init__(self, file: EngineFile, head: FilmHead, span: Span | None) -> None:
        self.head = head
        self.partial = span is not None
        self.span = span
        if span is None and head.length is not None:
            self.span = Span(0, head.length)
        self.stream: BodyStream | None = None  # where the film comes in one piece
        self._file = file
        self._fetched = self.span.begin if self.span is not None else 0
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._came = asyncio.Event()
        self._closed = asyncio.Event()
        self._complete = False  # all of one without a length
        self._error: UpstreamError | None = None

    # -- the file's side --

    async def fetch_block(self, reader: FilmReader) -> None:
        """The next block, or what of it is still missing. Raises UpstreamError."""
        assert self.span is not None, "only of a known length"
        if self._closed.is_set():
            return
        end = min(self.span.end, self._fetched + BLOCK_BYTES)
        try:
            await reader.read(
                Span(self._fetched, end),
                self.data_received,
                length=self.head.length,
                unwanted=self._closed,
            )
        except Unwanted:
            return
        except (Unsatisfiable, NoParts):
            reason = "answers no part of the film any more"
            raise UpstreamError("read", self._file.label, reason) from None

    async def fetch_all(self) -> None:
        """All of it, through a session that gives no parts. A failure is this reader's."""
        reader = self._file.reader
        if self._closed.is_set():
            return
        try:
            if reader is None:
                raise UpstreamError("read", self._file.label, UNKNOWN_SESSION)
            await reader.read_whole(self, self._closed)
            self._complete = True
            self._came.set()
        except UpstreamError as error:
            self.fail(error)
            raise

    def data_received(self, data: bytes) -> None:
        self._fetched += len(data)
        self._pieces.append(data)
        self._buffered += len(data)
        self._came.set()
        if self.stream is not None and self._buffered >= BLOCK_BYTES:
            self.stream.pause()

    def fail(self, error: UpstreamError) -> None:
        self._error = error
        self._came.set()

    # -- the reader's side --

    async def read(self) -> bytes:
        while True:
            if self._missing and self._buffered <= BLOCK_BYTES // 2:
                if self.stream is not None:
                    self.stream.resume()
                else:
                    self._file.want(self)
            if self._pieces:
                data = self._pieces.popleft()
                self._buffered -= len(data)
                return data
            if not self._missing:
                return b""
            if self._error is not None:
                raise self._error
            self._came.clear()
            await self._came.wait()

    @property
    def _missing(self) -> bool:
        if self.span is None:
            return not self._complete
        return self._fetched < self.span.end

    def hold(self) -> None:
        self._file.unwant(self)

    def close(self) -> None:
        if not self._closed.is_set():
            self._closed.set()
            self._pieces.clear()
            self._file.left(self)


def _first_of(specs: tuple[RangeSpec, ...]) -> int:
    """Where a reader wants to begin, as far as that is known without the length."""
    return (specs[0].first or 0) if specs else 0
