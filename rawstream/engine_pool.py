"""All engines of this process: which one gets a content, and that each session is stopped or left
to its next owner.

Owns: what is known of contents' infohashes, placement, sessions from their start to their stop, the
probes. Must not know: an engine's JSON (`engine_answers`), viewers, channels, packets. Section
signs are those of the engine reference.

What one session of a content does to another one on the same engine (§1.5) is kept out of sight
here: a start waits for a stop in flight, takes over a start that was given up, and a stop is sent
only by the last owner.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Iterable
from typing import Any

from rawstream.config import Limits, Timeouts
from rawstream.engine_answers import NOT_LOADED, Granted, Stat
from rawstream.engine_client import ContentRef, Engine, EngineState
from rawstream.errors import EngineError, UpstreamError
from rawstream.http1_client import Headers
from rawstream.http_client import BodyStream, Receiver
from rawstream.journal import OpenSession, StopJournal

logger = logging.getLogger(__name__)

_REMEMBERED = 20_000  # contents, oldest forgotten first
_STOPS_AT_ONCE = 8  # of orphans
_STOP_TRIES = 3  # for a session whose engine answers and does not take its stop
_PROBE_JITTER = 0.15  # so that many engines are not all asked in the same moment

_Place = tuple[str, ContentRef]  # an engine's URL and a content there


class EngineSession:
    """A started session: paths on its engine, never addresses. Stopped once, by whoever owns it
    last.
    """

    __slots__ = (
        "engine",
        "entry",
        "infohash",
        "is_encrypted",
        "is_live",
        "may_be_film",
        "over",
        "places",
        "playback_path",
        "playback_session_id",
        "proven",
        "serial",
        "stat_path",
    )

    def __init__(
        self,
        engine: Engine,
        granted: Granted,
        playback_path: str,
        infohash: str | None,
        refs: Iterable[ContentRef],
        serial: int,
    ) -> None:
        self.engine = engine
        self.serial = serial  # a greater one was opened later
        self.playback_path = playback_path
        self.stat_path = granted.stat_path
        self.infohash = infohash
        self.playback_session_id = granted.playback_session_id
        self.is_live = granted.is_live
        self.may_be_film = granted.may_be_film
        self.is_encrypted = granted.is_encrypted
        self.places = _places(engine, refs, infohash)  # where another start would meet it
        self.proven = False  # it has brought bytes
        self.over = False
        self.entry: OpenSession | None = None  # how to stop it; None if the engine did not say
        if granted.command_path is not None:
            self.entry = OpenSession(engine.url, granted.command_path, infohash or "")


class EnginePool:
    """All engines of this process, and the sessions open on them."""

    def __init__(
        self,
        urls: Iterable[str],
        *,
        capacity: int,
        timeouts: Timeouts,
        limits: Limits,
        journal: StopJournal,
    ) -> None:
        # config
        self.engines = [Engine(url, capacity, timeouts=timeouts, limits=limits) for url in urls]
        self._timeouts = timeouts
        self._limits = limits
        self._journal = journal
        # engines at run time
        self._former: dict[str, Engine] = {}  # that may have sessions still
        self._looks: dict[Engine, asyncio.Task[None]] = {}  # their probes
        self._group: asyncio.TaskGroup | None = None  # of the probes, while they run
        # contents
        self._infohashes: dict[ContentRef, str] = {}
        # told of what was learnt, once
        self.on_learnt: Callable[[ContentRef, str], None] = lambda _ref, _infohash: None
        self._names: dict[str, str] = {}  # infohash -> what its transport file is called
        self._sticky: dict[str, Engine] = {}  # infohash -> the engine that last brought its bytes
        # sessions
        self._sessions: set[EngineSession] = set()
        self._abandoned: dict[asyncio.Task[EngineSession], frozenset[_Place]] = {}
        self._asking: dict[asyncio.Future[None], frozenset[_Place]] = {}  # getstream under way
        self._stopping: dict[_Place, asyncio.Task[None]] = {}
        self._orphans: dict[OpenSession, int] = {}  # to be stopped -> tries left
        self._orphan_turns = asyncio.Semaphore(_STOPS_AT_ONCE)
        self._tasks: set[asyncio.Task[Any]] = set()
        # counters
        self.sessions_opened = 0
        self.sessions_stopped = 0

    # -- engines that come and go ------------------------------------------------------------------

    def add(self, url: str, capacity: int) -> Engine:
        """One engine more, from now on. One of that address which was removed and has sessions
        still is that one again.
        """
        assert all(engine.url != url for engine in self.engines), "it is here"
        engine = self._former.pop(url, None)
        if engine is None:
            engine = Engine(url, capacity, timeouts=self._timeouts, limits=self._limits)
        engine.capacity = capacity
        engine.undrain()
        self.engines.append(engine)
        self._begin_looks()
        return engine

    def remove(self, engine: Engine) -> None:
        """It gets nothing any more and is not asked how it does. Sessions on it go on until whoever
        has them stops them.
        """
        engine.drain()
        self.engines.remove(engine)
        if engine.sessions or engine.starting:
            self._former[engine.url] = engine
        look = self._looks.pop(engine, None)
        if look is not None:
            look.cancel()
        for orphan in [one for one in self._orphans if one.engine == engine.url]:
            self._orphans[orphan] = 1  # nobody asks this engine again
            self._keep(asyncio.create_task(self._stop_orphan(engine, orphan), name="stop orphan"))

    # -- identity ----------------------------------------------------------------------------------

    def known_infohash(self, ref: ContentRef) -> str | None:
        """The canonical infohash, where it is known without asking."""
        return self._infohashes.get(ref) or (ref.value if ref.kind == "infohash" else None)

    def learn(self, ref: ContentRef, infohash: str) -> None:
        """What this was called turned out to be that content."""
        if self._infohashes.get(ref) != infohash:
            _remember(self._infohashes, ref, infohash)
            self.on_learnt(ref, infohash)

    async def resolve(self, ref: ContentRef) -> str | None:
        """Ask for the content's infohash without opening a session.

        Both kinds are asked at once for a value that may be either. None when nobody knows within
        `engine_resolve_seconds`.
        """
        known = self.known_infohash(ref)
        engine = min(
            self.engines,
            key=lambda e: (not e.usable, e.aside, e.sessions + e.starting),
            default=None,
        )
        if known is not None or engine is None:
            return known
        readings = [ref]
        if ref.kind == "unknown":
            readings = [ContentRef("content_id", ref.value), ContentRef("infohash", ref.value)]
        questions = [
            asyncio.create_task(engine.media_files(reading), name=f"resolve {reading}")
            for reading in readings
        ]
        try:
            for answer in asyncio.as_completed(questions):
                try:
                    known_there = await answer
                except UpstreamError:
                    continue
                if known_there is not None:
                    self.learn(ref, known_there.infohash)
                    _remember(self._names, known_there.infohash, known_there.name)
                    return known_there.infohash
        finally:
            for question in questions:
                question.cancel()
            await asyncio.gather(*questions, return_exceptions=True)
        return None

    async def name_of(self, infohash: str) -> str:
        """What the content's transport file is called; "" when no engine says so."""
        if infohash not in self._names:
            for engine in sorted(self.engines, key=lambda e: (not e.usable, e.aside)):
                try:
                    known = await engine.media_files(ContentRef("infohash", infohash))
                except UpstreamError:
                    continue
                if known is not None:
                    _remember(self._names, infohash, known.name)
                    break
        return self._names.get(infohash, "")

    # -- placement ---------------------------------------------------------------------------------

    def place(self, refs: Iterable[ContentRef], *, avoid: Iterable[Engine] = ()) -> Engine | None:
        """The engine for a content: one where a start of it is still under way though nobody waits
        for it, else the one that carried it last, else the healthiest and least loaded.

        Engines that look down are given out too, last, since only an answer proves anything.
        `avoid`: those that have just failed. None if there is none left with room.
        """
        refs = tuple(refs)
        shunned = set(map(id, avoid))
        engines = [
            e for e in self.engines if id(e) not in shunned and e.state is not EngineState.DRAINING
        ]
        for engine in engines:
            if self._abandoned_start(engine, refs) is not None:
                return engine
        candidates = [e for e in engines if e.free > 0]
        known = filter(None, map(self.known_infohash, refs))
        sticky = next(filter(None, map(self._sticky.get, known)), None)
        return min(
            candidates,
            key=lambda e: (not e.usable, e.aside, e is not sticky, e.sessions + e.starting),
            default=None,
        )

    def spare_engine(self, *, avoid: Iterable[Engine]) -> Engine | None:
        """An engine that is up, not aside, and has room; None if there is none but these."""
        shunned = set(map(id, avoid))
        for engine in self.engines:
            up = engine.state is EngineState.UP and not engine.aside
            if up and engine.free > 0 and id(engine) not in shunned:
                return engine
        return None

    def full(self, *, avoid: Iterable[Engine] = ()) -> bool:
        """Whether there are engines that could take a channel, and all lack is room."""
        shunned = set(map(id, avoid))
        able = [
            e for e in self.engines if id(e) not in shunned and e.state is not EngineState.DRAINING
        ]
        return bool(able) and all(e.free <= 0 for e in able)

    # -- a session's start -------------------------------------------------------------------------

    async def start(self, engine: Engine, refs: Iterable[ContentRef]) -> EngineSession:
        """Open a session for a content on this engine. `refs`: its spellings, tried in order while
        the engine says that it can't load them, but what worked before goes first.

        The engine's slot is taken at once. If the caller is cancelled the answer is still read
        (§1.5 no. 5), and the session stopped unless somebody has asked for the content again.
        Raises EngineError with the engine's words, UpstreamTimeout, UpstreamError.
        """
        refs = tuple(refs)
        assert refs, "a start needs a spelling of the content"
        task = self._abandoned_start(engine, refs)
        if task is not None:
            del self._abandoned[task]
        else:
            engine.starting += 1
            engine.starts += 1
            task = asyncio.create_task(self._start(engine, refs), name=f"start {refs[0]}")
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                self._abandoned[task] = _places(engine, refs)
                task.add_done_callback(self._end_abandoned)
            raise

    def _abandoned_start(
        self, engine: Engine, refs: tuple[ContentRef, ...]
    ) -> asyncio.Task[EngineSession] | None:
        places = _places(engine, refs)
        for task, there in self._abandoned.items():
            if places & there:
                return task
        return None

    def _end_abandoned(self, start: asyncio.Task[EngineSession]) -> None:
        if self._abandoned.pop(start, None) is None:
            return  # taken over
        if start.cancelled():
            logger.warning("%s was cut short: its session can't be stopped", start.get_name())
        elif start.exception() is None:
            self._stop_soon(start.result())

    async def _start(self, engine: Engine, refs: tuple[ContentRef, ...]) -> EngineSession:
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            await self._way_clear(_places(engine, refs))
            self._asking[answered] = _places(engine, refs)
            known = next(filter(None, map(self._infohashes.get, refs)), None)
            if known is not None:
                refs = tuple(dict.fromkeys((ContentRef("infohash", known), *refs)))
            for ref in refs[:-1]:
                try:
                    return self._opened(engine, ref, refs, await engine.getstream(ref))
                except EngineError as error:
                    if NOT_LOADED not in error.reason:
                        raise
            return self._opened(engine, refs[-1], refs, await engine.getstream(refs[-1]))
        except UpstreamError as error:
            engine.failures += 1
            engine.last_error = error.reason
            if isinstance(error, EngineError) and NOT_LOADED not in error.reason:
                engine.brought_nothing()  # a refusal of all contents (premium, our address)
            raise
        finally:
            engine.starting -= 1
            self._asking.pop(answered, None)
            answered.set_result(None)

    async def _way_clear(self, places: frozenset[_Place]) -> None:
        """Wait for stops in flight of this content: one that came after our start would end ours
        too (§1.5).
        """
        stops = {self._stopping[place] for place in places if place in self._stopping}
        if stops:
            await asyncio.wait(stops, timeout=self._timeouts.engine_stop_seconds)

    def _opened(
        self, engine: Engine, ref: ContentRef, refs: tuple[ContentRef, ...], granted: Granted
    ) -> EngineSession:
        """The answer is here: from now on somebody has to stop this session."""
        infohash = granted.infohash or self.known_infohash(ref)
        if granted.infohash is not None:
            for spelling in refs:
                if spelling.value == ref.value:
                    self.learn(spelling, granted.infohash)
        self.sessions_opened += 1
        session = EngineSession(
            engine, granted, granted.playback_path or "", infohash, refs, self.sessions_opened
        )
        self._sessions.add(session)
        engine.sessions += 1
        if session.entry is not None:
            self._journal.opened(session.entry)
        for orphan in [o for o in self._orphans if self._is_of(o, session)]:
            self._orphan_over(orphan)  # to stop it now would stop this one
        if granted.playback_path is None:
            self._stop_soon(session)
            raise EngineError("start", engine.url, "answered without a playback URL")
        return session

    # -- while it runs -----------------------------------------------------------------------------

    async def open(
        self,
        session: EngineSession,
        receiver: Receiver,
        head_seconds: float,
        headers: Headers = (),
        *,
        accepted: Collection[int] = (),
        path: str = "",
    ) -> BodyStream:
        """Open the session's one reader; see `Engine.open`. `path`: where a former one was led."""
        return await session.engine.open(
            path or session.playback_path, receiver, head_seconds, headers, accepted
        )

    async def stat(self, session: EngineSession, *, reading: bool) -> Stat:
        """See `Engine.stat`. A session without a stat URL tells nothing."""
        if session.stat_path is None:
            return Stat()
        return await session.engine.stat(session.stat_path, reading=reading)

    def brought_bytes(self, session: EngineSession) -> None:
        """The session has brought so much that it plays."""
        session.proven = True
        session.engine.brought_bytes()
        if session.infohash is not None:
            _remember(self._sticky, session.infohash, session.engine)

    def brought_nothing(self, session: EngineSession) -> None:
        """The session was granted and brought no media. That is the engine's fault only while
        nothing else on it plays.
        """
        if not any(other.proven and other.engine is session.engine for other in self._sessions):
            session.engine.brought_nothing()

    # -- a session's end ---------------------------------------------------------------------------

    async def stop(self, session: EngineSession) -> None:
        """End a session: `method=stop` if nobody else has this content on this engine, at most
        `engine_stop_seconds`. Never raises; a second call does nothing.
        """
        task = self._stop_soon(session)
        if task is not None:
            await asyncio.shield(task)

    async def forget(self, session: EngineSession) -> None:
        """Leave a session without a stop: another one of the same content goes on (§1.5 no. 3)."""
        if not session.over:
            self._leave(session)

    def _stop_soon(self, session: EngineSession) -> asyncio.Task[None] | None:
        if session.over:
            return None
        if any(session.places & other.places for other in self._sessions - {session}):
            self._leave(session)
            return None
        session.over = True
        self._sessions.discard(session)
        task = asyncio.create_task(self._stop(session), name=f"stop on {session.engine.url}")
        self._note_stopping(session.places, task)
        return task

    def _leave(self, session: EngineSession) -> None:
        """Without a stop. Whoever has the content still must be able to end it, and an engine may
        know the latest command URL only.
        """
        session.over = True
        self._sessions.discard(session)
        for other in self._sessions:
            if session.places & other.places and session.serial > other.serial:
                session.entry, other.entry = other.entry, session.entry
                session.serial, other.serial = other.serial, session.serial
                break
        self._release(session)

    def _release(self, session: EngineSession) -> None:
        session.engine.sessions -= 1
        if session.entry is not None:
            self._journal.ended(session.entry)

    def _note_stopping(self, places: frozenset[_Place], task: asyncio.Task[None]) -> None:
        """A start of this content waits for this stop."""
        self._keep(task)
        for place in places:
            self._stopping[place] = task

        def forget(done: asyncio.Task[None]) -> None:
            for place in places:
                if self._stopping.get(place) is done:
                    del self._stopping[place]

        task.add_done_callback(forget)

    async def _stop(self, session: EngineSession) -> None:
        """The slot is free when the engine has answered, not before.

        A start of the same content that has been asked for may have its session already, though its
        answer is still on the way: it is waited for, since this stop would end it too (§1.5).
        """
        while asking := {f for f, places in self._asking.items() if places & session.places}:
            await asyncio.wait(asking)
        if any(session.places & other.places for other in self._sessions):
            self._leave(session)
            return
        entry, engine = session.entry, session.engine
        answered = entry is not None and await engine.stop(entry.command_path)
        self.sessions_stopped += answered
        asked_again = engine.state is not EngineState.DOWN and engine in self.engines
        if answered or entry is None or not asked_again:
            self._release(session)
        else:  # it may still load: tried again when the engine is asked next
            engine.sessions -= 1
            self._orphans[entry] = _STOP_TRIES - 1

    # -- orphans -----------------------------------------------------------------------------------

    async def stop_orphans(self) -> int:
        """Stop what a former life left open; a start of the same content waits for it. Returns how
        many there were.
        """
        orphans = await self._journal.load()
        for orphan in orphans:
            engine = next((e for e in self.engines if e.url == orphan.engine), None)
            if engine is None:  # no longer ours to ask
                self._journal.ended(orphan)
                continue
            self._orphans[orphan] = _STOP_TRIES
            task = asyncio.create_task(self._stop_orphan(engine, orphan), name="stop orphan")
            self._note_stopping(_places(engine, (), orphan.infohash), task)
        return len(orphans)

    async def _stop_orphan(self, engine: Engine, orphan: OpenSession) -> None:
        async with self._orphan_turns:
            if orphan not in self._orphans:
                return
            if any(self._is_of(orphan, session) for session in self._sessions):
                self._orphan_over(orphan)
                return
            if await engine.stop(orphan.command_path):
                self.sessions_stopped += 1
                self._orphan_over(orphan)
            elif engine.state is EngineState.DOWN:  # its sessions died with it
                self._orphan_over(orphan)
            elif orphan in self._orphans:
                self._orphans[orphan] -= 1
                if not self._orphans[orphan]:
                    self._orphan_over(orphan)

    def _orphan_over(self, orphan: OpenSession) -> None:
        self._orphans.pop(orphan, None)
        self._journal.ended(orphan)

    def _is_of(self, orphan: OpenSession, session: EngineSession) -> bool:
        """Whether a stop of the orphan would end the session."""
        return orphan.engine == session.engine.url and orphan.infohash == session.infohash

    # -- probes, and the end -----------------------------------------------------------------------

    async def probe(self, engine: Engine) -> str | None:
        """See `Engine.probe`."""
        return await engine.probe()

    async def watch(self) -> None:
        """Probe every engine for ever, each at its own pace. Ends when cancelled."""
        try:
            async with asyncio.TaskGroup() as self._group:
                self._begin_looks()
                await asyncio.Event().wait()  # engines may come at any time
        finally:
            self._group = None
            self._looks.clear()

    def _begin_looks(self) -> None:
        if self._group is None:
            return
        for engine in self.engines:
            if engine not in self._looks:
                self._looks[engine] = self._group.create_task(
                    self._look_after(engine), name=f"probe {engine.url}"
                )

    async def _look_after(self, engine: Engine) -> None:
        timeouts = self._timeouts
        while True:
            try:
                if await engine.probe() is not None:
                    for orphan in [o for o in self._orphans if o.engine == engine.url]:
                        await self._stop_orphan(engine, orphan)
            except Exception:  # a bug of ours at one engine is not to end the probes of all
                logger.exception("engine %s: a look at it failed", engine.url)
            pause = timeouts.engine_probe_interval_seconds
            if engine.state is EngineState.DOWN:  # whoever waits for it wants to know soon
                pause = min(pause, timeouts.engine_probe_seconds)
            await asyncio.sleep(pause * random.uniform(1 - _PROBE_JITTER, 1 + _PROBE_JITTER))

    async def close(self) -> None:
        """Stop what is still open, wait for stops and abandoned starts in flight, each within its
        own time limit, then close the journal.
        """
        for session in list(self._sessions):
            self._stop_soon(session)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeouts.engine_stop_seconds * 2
        while pending := self._tasks | self._abandoned.keys():
            left = deadline - loop.time()
            if left <= 0:
                for task in pending:
                    task.cancel()
                await asyncio.gather(*pending, return_exceptions=True)
                break
            await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        await self._journal.close()

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _places(
    engine: Engine, refs: Iterable[ContentRef], infohash: str | None = None
) -> frozenset[_Place]:
    found = {(engine.url, ref) for ref in refs}
    if infohash:
        found.add((engine.url, ContentRef("infohash", infohash)))
    return frozenset(found)


def _remember(memory: dict[Any, Any], key: Any, value: Any) -> None:
    """As a dict does, forgetting the oldest above a bound."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > _REMEMBERED:
        del memory[next(iter(memory))]
