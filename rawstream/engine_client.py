"""AceStream engines: a pool of them, and one session's start, watch and stop, after the engine
reference.

Owns: the engine's request lines and JSON, which engine gets a content, what is known of each
engine's health, and that every session opened is stopped or handed on. Must not know: viewers,
channels, packets.

No host, port or scheme out of an engine's answer is ever connected to: of each URL it names only
the path and the query are kept, and they are asked of the engine as configured (reference §2.1,
§8.2.16).
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import orjson

from rawstream.config import Limits, Timeouts
from rawstream.errors import EngineError, UpstreamError, UpstreamTimeout
from rawstream.http_client import BodyStream, Receiver, open_stream, request
from rawstream.journal import OpenSession, StopJournal

logger = logging.getLogger(__name__)

UNKNOWN_SESSION = (
    "unknown playback session id"  # reference §3: the session is gone, whoever ended it
)
NOT_LOADED = "failed to load content"  # reference §1.4: also said of an infohash given as an id
_RESOLVED_LIMIT = 20_000
_DOWN_AFTER_FAILURES = 2

Kind = Literal["content_id", "infohash", "url", "magnet", "direct", "unknown"]


class ContentRef(NamedTuple):
    """What a viewer asks for. 40-hex values are lower case; `unknown` is one that may be either
    kind (§6).
    """

    kind: Kind
    value: str

    def __str__(self) -> str:
        if self.kind in ("url", "direct"):
            parts = urlsplit(self.value)
            # a query may hold a secret
            return f"{self.kind}:{parts.scheme}://{parts.hostname}{parts.path}"
        return f"{self.kind}:{self.value}"


class EngineState(Enum):
    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """One engine as shown to the operator; counts of sessions and starts."""

    url: str
    state: str
    version: str | None
    sessions: int
    starting: int
    capacity: int
    starts: int
    failures: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Stat:
    """A stat answer (reference §3). Speeds in KB/s, `downloaded` in bytes; None where the engine
    did not say.
    """

    status: str | None = None
    peers: int | None = None
    speed_down: int | None = None
    speed_up: int | None = None
    downloaded: int | None = None
    progress: int | None = None
    live_last: int | None = None
    playback_session_id: str | None = None


class Engine:
    """One engine as configured, and what its answers have taught us."""

    __slots__ = (
        "barren",
        "capacity",
        "failures",
        "last_error",
        "misses",
        "sessions",
        "starting",
        "starts",
        "state",
        "url",
        "version",
    )

    def __init__(self, url: str, capacity: int) -> None:
        self.url = url
        self.capacity = capacity
        # -- load --
        self.sessions = 0
        self.starting = 0
        # -- health: answers and bytes --
        self.state = EngineState.UNKNOWN
        self.version: str | None = None
        self.misses = 0  # probes or starts in a row that got no answer
        self.barren = 0  # starts in a row that were granted and brought no byte
        self.last_error: str | None = None
        # -- counters --
        self.starts = 0
        self.failures = 0

    @property
    def free(self) -> int:
        return self.capacity - self.sessions - self.starting

    @property
    def usable(self) -> bool:
        return self.state in (EngineState.UP, EngineState.UNKNOWN)

    def answered(self) -> None:
        self.misses = 0
        if self.state is not EngineState.DRAINING:
            if self.state is EngineState.DOWN:
                logger.info("engine %s answers again", self.url)
            self.state = EngineState.UP

    def missed(self, reason: str, *, certain: bool = False) -> None:
        """No answer. `certain`: the connection was refused, so a second look is not needed."""
        self.misses += 1
        self.last_error = reason
        if self.state in (EngineState.DOWN, EngineState.DRAINING):
            return
        if certain or self.misses >= _DOWN_AFTER_FAILURES:
            logger.warning("engine %s is down: %s", self.url, reason)
            self.state = EngineState.DOWN

    def snapshot(self) -> EngineSnapshot:
        return EngineSnapshot(
            url=self.url,
            state=self.state.value,
            version=self.version,
            sessions=self.sessions,
            starting=self.starting,
            capacity=self.capacity,
            starts=self.starts,
            failures=self.failures,
            last_error=self.last_error,
        )


class EngineSession:
    """A started session: paths on its engine, never addresses. Stopped once, by whoever owns it
    last.
    """

    __slots__ = (
        "command_path",
        "engine",
        "infohash",
        "is_encrypted",
        "is_live",
        "over",
        "playback_path",
        "playback_session_id",
        "stat_path",
    )

    def __init__(
        self,
        engine: Engine,
        *,
        playback_path: str,
        stat_path: str | None,
        command_path: str | None,
        infohash: str | None,
        playback_session_id: str | None,
        is_live: bool,
        is_encrypted: bool,
    ) -> None:
        self.engine = engine
        self.playback_path = playback_path
        self.stat_path = stat_path
        self.command_path = command_path
        self.infohash = infohash
        self.playback_session_id = playback_session_id
        self.is_live = is_live
        self.is_encrypted = is_encrypted
        self.over = False

    @property
    def entry(self) -> OpenSession | None:
        if self.command_path is None:
            return None
        return OpenSession(self.engine.url, self.command_path, self.infohash or "")


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
        self.engines = [Engine(url, capacity) for url in urls]
        self._timeouts = timeouts
        self._limits = limits
        self._journal = journal
        self._resolved: dict[ContentRef, str] = {}
        self._sticky: dict[str, Engine] = {}  # infohash -> the engine that last brought its bytes
        self._stopping: dict[str, asyncio.Task[None]] = {}  # infohash -> a stop in flight
        self._abandoned: dict[
            ContentRef, asyncio.Task[Any]
        ] = {}  # starts nobody waits for any more
        self._tasks: set[asyncio.Task[Any]] = set()
        self.sessions_opened = 0
        self.sessions_stopped = 0

    # -- identity ----------------------------------------------------------------------------------

    def known_infohash(self, ref: ContentRef) -> str | None:
        """The canonical infohash, where it is known without asking."""
        if ref.kind == "infohash":
            return ref.value
        return self._resolved.get(ref)

    def learn(self, ref: ContentRef, infohash: str) -> None:
        if len(self._resolved) >= _RESOLVED_LIMIT:
            del self._resolved[next(iter(self._resolved))]
        self._resolved[ref] = infohash

    async def resolve(self, ref: ContentRef) -> str | None:
        """Ask for the content's infohash without opening a session (`get_media_files`, reference
        §5.2).

        Both kinds are asked at once for a value that may be either. None when nobody knows in time.
        """
        known = self.known_infohash(ref)
        if known is not None:
            return known
        keys = ("content_id", "infohash") if ref.kind == "unknown" else (ref.kind,)
        engine = self.choose(None)
        if engine is None:
            return None
        questions = [
            asyncio.create_task(self._media_files(engine, key, ref.value), name=f"resolve {ref}")
            for key in keys
        ]
        try:
            for answer in asyncio.as_completed(questions):
                infohash = await answer
                if infohash is not None:
                    self.learn(ref, infohash)
                    return infohash
        finally:
            for question in questions:
                question.cancel()
            await asyncio.gather(*questions, return_exceptions=True)
        return None

    async def _media_files(self, engine: Engine, key: str, value: str) -> str | None:
        query = urlencode(
            {"api_version": 3, "method": "get_media_files", key: value}, quote_via=quote
        )
        try:
            answer = await self._ask(
                engine,
                f"/server/api?{query}",
                total_seconds=self._timeouts.engine_resolve_seconds,
                phase="resolve",
            )
        except UpstreamError:
            return None
        result = answer.get("result")
        return _hex40(result.get("infohash")) if isinstance(result, dict) else None

    # -- placement ---------------------------------------------------------------------------------

    def choose(self, infohash: str | None, *, avoid: Iterable[Engine] = ()) -> Engine | None:
        """The engine for a content: the one that carried it last, else the healthiest and least
        loaded.

        Engines that look down are tried too, last, since only an answer proves anything. `avoid`
        are those that have just failed. None if there is none left (a full one is not given out:
        see `full`).
        """
        shunned = set(map(id, avoid))
        candidates = [
            engine
            for engine in self.engines
            if id(engine) not in shunned
            and engine.state is not EngineState.DRAINING
            and (infohash is None or engine.free > 0)
        ]
        if not candidates:
            return None
        sticky = self._sticky.get(infohash) if infohash is not None else None
        return min(
            candidates,
            key=lambda e: (not e.usable, e.barren >= 3, e is not sticky, e.sessions + e.starting),
        )

    @property
    def full(self) -> bool:
        """Whether every engine that could take a channel has all it may have."""
        return all(e.free <= 0 for e in self.engines if e.state is not EngineState.DRAINING)

    # -- a session's life --------------------------------------------------------------------------

    async def start(self, engine: Engine, refs: Iterable[ContentRef]) -> EngineSession:
        """Open a session for a content on this engine. `refs`: its spellings, tried in order while
        the engine says that it can't load them.

        If the caller is cancelled, the answer is still read and the session then stopped (reference
        §1.5.5). Raises EngineError with the engine's words, UpstreamTimeout, UpstreamError.
        """
        spellings = tuple(refs)
        task = asyncio.create_task(self._start(engine, spellings), name=f"start on {engine.url}")
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            end = asyncio.create_task(self._end_abandoned(task), name="end abandoned start")
            self._keep(end)
            for ref in spellings:
                self._abandoned[ref] = end
            end.add_done_callback(lambda done: self._forget_abandoned(spellings, done))
            raise

    async def _end_abandoned(self, start: asyncio.Task[EngineSession]) -> None:
        try:
            session = await start
        except UpstreamError:
            return
        await self.stop(session)

    def _forget_abandoned(self, refs: tuple[ContentRef, ...], done: asyncio.Task[None]) -> None:
        for ref in refs:
            if self._abandoned.get(ref) is done:
                del self._abandoned[ref]

    async def _start(self, engine: Engine, refs: tuple[ContentRef, ...]) -> EngineSession:
        engine.starting += 1
        engine.starts += 1
        try:
            ending: set[asyncio.Task[Any]] = {
                self._abandoned[ref] for ref in refs if ref in self._abandoned
            }
            for infohash in filter(None, map(self.known_infohash, refs)):
                if infohash in self._stopping:
                    ending.add(self._stopping[infohash])
            if ending:  # what ends a session of this content would end ours too (§1.5)
                await asyncio.wait(ending, timeout=self._timeouts.engine_stop_seconds)
            for number, ref in enumerate(refs, 1):
                try:
                    session = await self._getstream(engine, ref)
                except EngineError as error:
                    if number == len(refs) or NOT_LOADED not in error.reason:
                        raise
                    continue
                if session.infohash is not None:
                    self.learn(ref, session.infohash)
                if session.entry is not None:
                    await self._journal.opened(session.entry)
                engine.sessions += 1
                self.sessions_opened += 1
                return session
            raise AssertionError("a start needs at least one spelling of the content")
        except UpstreamError as error:
            engine.failures += 1
            engine.last_error = error.reason
            raise
        finally:
            engine.starting -= 1

    async def _getstream(self, engine: Engine, ref: ContentRef) -> EngineSession:
        key = (
            "id" if ref.kind in ("content_id", "unknown") else ref.kind
        )  # `id` works on every version (§1.1)
        # A fresh player id per start: without one the engine takes our address for it, and all
        # channels share it.
        query = urlencode(
            {key: ref.value, "format": "json", "pid": uuid.uuid4().hex}, quote_via=quote
        )
        answer = await self._ask(
            engine,
            f"/ace/getstream?{query}",
            total_seconds=self._timeouts.engine_start_seconds,
            phase="start",
        )
        response = answer.get("response")
        if isinstance(response, str):
            response = _json_object(response)
        if not isinstance(response, dict):
            raise EngineError("start", engine.url, "answered without a session")
        playback_path = _path_of(response.get("playback_url"))
        if playback_path is None:
            raise EngineError("start", engine.url, "answered without a playback URL")
        session_id = response.get("playback_session_id")
        return EngineSession(
            engine,
            playback_path=playback_path,
            stat_path=_path_of(response.get("stat_url")),
            command_path=_path_of(response.get("command_url")),
            infohash=_hex40(response.get("infohash")),
            playback_session_id=session_id if isinstance(session_id, str) else None,
            is_live=_integer(response.get("is_live")) != 0,
            is_encrypted=_integer(response.get("is_encrypted")) == 1,
        )

    async def open(
        self, session: EngineSession, receiver: Receiver, head_seconds: float
    ) -> BodyStream:
        """Open the session's one reader. Redirects stay on the engine as configured.

        Raises UpstreamError; its `status` is 500 during preload (ask again), 403 when the session
        was superseded.
        """
        engine = session.engine

        def rebase(_current: str, location: str) -> str:
            path = _path_of(location)
            if path is None:
                raise UpstreamError("open", engine.url, "redirected to nowhere")
            return engine.url + path

        return await open_stream(
            engine.url + session.playback_path,
            receiver,
            connect_seconds=self._timeouts.engine_connect_seconds,
            head_seconds=head_seconds,
            limits=self._limits,
            redirect=rebase,
            phase="open",
        )

    async def stat(self, session: EngineSession, *, reading: bool) -> Stat:
        """Ask how the session does. `reading` False tells the engine not to count it as a player's
        activity.

        Raises EngineError (`unknown playback session id` when the session is gone), UpstreamError.
        """
        if session.stat_path is None:
            return Stat()
        path = session.stat_path
        if not reading:
            path += ("&" if "?" in path else "?") + "skip_player_activity=1"
        answer = await self._ask(
            session.engine, path, total_seconds=self._timeouts.engine_stat_seconds, phase="stat"
        )
        response = answer.get("response")
        if isinstance(response, str):
            response = _json_object(response)
        if not isinstance(response, dict):
            return Stat()
        livepos = response.get("livepos")
        status = response.get("status")
        session_id = response.get("playback_session_id")
        return Stat(
            status=status if isinstance(status, str) else None,
            peers=_integer(response.get("peers")),
            speed_down=_integer(response.get("speed_down")),
            speed_up=_integer(response.get("speed_up")),
            downloaded=_integer(response.get("downloaded")),
            progress=_integer(response.get("progress")),
            live_last=_integer(livepos.get("live_last")) if isinstance(livepos, dict) else None,
            playback_session_id=session_id if isinstance(session_id, str) else None,
        )

    async def stop(self, session: EngineSession) -> None:
        """End a session: `method=stop`, at most `engine_stop_seconds`, never raises. A second call
        does nothing.
        """
        if session.over:
            return
        self._release(session)
        task = asyncio.create_task(self._stop(session), name=f"stop on {session.engine.url}")
        self._keep(task)
        if session.infohash is not None:
            self._note_stopping(session.infohash, task)
        await asyncio.shield(task)

    def _note_stopping(self, infohash: str, task: asyncio.Task[None]) -> None:
        """A start of this content waits for this stop."""
        self._stopping[infohash] = task

        def forget(done: asyncio.Task[None]) -> None:
            if self._stopping.get(infohash) is done:
                del self._stopping[infohash]

        task.add_done_callback(forget)

    async def _stop(self, session: EngineSession) -> None:
        entry = session.entry
        if entry is None:
            return
        if await self._send_stop(session.engine, entry.command_path):
            self.sessions_stopped += 1
        await self._journal.ended(entry)

    async def _send_stop(self, engine: Engine, command_path: str) -> bool:
        path = command_path + ("&" if "?" in command_path else "?") + "method=stop"
        try:
            await self._ask(
                engine, path, total_seconds=self._timeouts.engine_stop_seconds, phase="stop"
            )
        except EngineError as error:
            if UNKNOWN_SESSION not in error.reason:
                logger.warning("engine %s refused a stop: %s", engine.url, error.reason)
            return True
        except UpstreamError as error:
            logger.warning("engine %s took no stop: %s", engine.url, error.reason)
            return False
        return True

    async def forget(self, session: EngineSession) -> None:
        """Leave a session without a stop: another owner reads the same content on the same engine
        (§1.5.3).
        """
        if not session.over:
            self._release(session)
            if session.entry is not None:
                await self._journal.ended(session.entry)

    def _release(self, session: EngineSession) -> None:
        session.over = True
        session.engine.sessions -= 1

    def brought_bytes(self, session: EngineSession) -> None:
        session.engine.barren = 0
        session.engine.answered()
        if session.infohash is not None:
            if len(self._sticky) >= _RESOLVED_LIMIT:
                del self._sticky[next(iter(self._sticky))]
            self._sticky[session.infohash] = session.engine

    def brought_nothing(self, session: EngineSession) -> None:
        session.engine.barren += 1

    # -- after a crash, and at the end -------------------------------------------------------------

    async def stop_orphans(self) -> int:
        """Stop what a former life left open; a start of the same content waits for it. Returns how
        many there were.
        """
        orphans = await self._journal.load()
        by_url = {engine.url: engine for engine in self.engines}
        for orphan in orphans:
            engine = by_url.get(orphan.engine)
            if engine is None:  # no longer ours to ask
                await self._journal.ended(orphan)
                continue
            task = asyncio.create_task(self._stop_orphan(engine, orphan), name="stop orphan")
            self._keep(task)
            if orphan.infohash:
                self._note_stopping(orphan.infohash, task)
        return len(orphans)

    async def _stop_orphan(self, engine: Engine, orphan: OpenSession) -> None:
        if await self._send_stop(engine, orphan.command_path):
            self.sessions_stopped += 1
            await self._journal.ended(orphan)
        elif engine.state is EngineState.DOWN:  # its sessions died with it
            await self._journal.ended(orphan)

    async def probe(self, engine: Engine) -> str | None:
        """Whether the engine answers at all (`get_version`, §5.1). Returns its version, None if it
        did not answer.
        """
        try:
            answer = await self._ask(
                engine,
                "/webui/api/service?method=get_version",
                total_seconds=self._timeouts.engine_probe_seconds,
                phase="probe",
            )
        except EngineError as error:
            engine.last_error = error.reason
            return None
        except UpstreamError:
            return None
        result = answer.get("result")
        if isinstance(result, dict) and isinstance(result.get("version"), str):
            engine.version = result["version"][:40]
        return engine.version or "unknown"

    async def watch(self) -> None:
        """Probe every engine for ever, each at its own pace. Ends when cancelled."""
        interval = self._timeouts.engine_probe_interval_seconds

        async def look(engine: Engine) -> None:
            while True:
                await self.probe(engine)
                await asyncio.sleep(interval)

        await asyncio.gather(*(look(engine) for engine in self.engines))

    async def close(self) -> None:
        """Wait for stops and abandoned starts in flight, each within its own time limit, then close
        the journal.
        """
        if self._tasks:
            _, pending = await asyncio.wait(
                set(self._tasks), timeout=self._timeouts.engine_stop_seconds * 2
            )
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        await self._journal.close()

    # -- one question ------------------------------------------------------------------------------

    async def _ask(
        self, engine: Engine, path: str, *, total_seconds: float, phase: str
    ) -> dict[str, Any]:
        """GET a JSON document from an engine; returns it when its `error` is empty.

        Raises EngineError with the engine's words for a refusal, UpstreamError or UpstreamTimeout
        else.
        """
        try:
            answer = await request(
                engine.url + path,
                connect_seconds=self._timeouts.engine_connect_seconds,
                total_seconds=total_seconds,
                limits=self._limits,
                phase=phase,
            )
        except UpstreamTimeout as error:
            if phase == "probe" or error.phase == "connect":
                engine.missed(error.reason)
            elif phase == "start":  # it answers probes and starts nothing (§7.1): others go first
                engine.barren += 1
            raise
        except UpstreamError as error:
            engine.missed(error.reason, certain=error.phase == "connect")
            raise
        document = _json_object(answer.body)
        if document is None:
            text = " ".join(answer.body[:200].decode("utf-8", "replace").split())
            if answer.status >= 500 and text.lower() == "internal server error":
                # §1.4: the source filter's answer
                text = "refuses our address (start it with --bind-all)"
            engine.answered()
            raise EngineError(
                phase,
                engine.url,
                text or f"answered {answer.status} without JSON",
                status=answer.status,
            )
        engine.answered()
        words = _error_words(document.get("error"))
        if words is not None:
            raise EngineError(phase, engine.url, words, status=answer.status)
        return document

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


# -- reading what engines say: strings for numbers, objects for strings, anything missing (§8.2.5) -


def _json_object(text: bytes | str) -> dict[str, Any] | None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _error_words(error: object) -> str | None:
    """The engine's words of a refusal: `error` is a string or an object with `message`; None when
    there is none.
    """
    if not error:
        return None
    if isinstance(error, dict):
        error = error.get("message") or "refused without a reason"
    return " ".join(str(error).split())[:300]


def _integer(value: object) -> int | None:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (int, float, str)):
        try:
            return int(float(value))
        except (ValueError, OverflowError):
            return None
    return None


def _hex40(value: object) -> str | None:
    if isinstance(value, str) and len(value) == 40:
        lower = value.lower()
        if all(character in "0123456789abcdef" for character in lower):
            return lower
    return None


def _path_of(url: object) -> str | None:
    """Path and query of a URL out of an answer; None if it is none or holds what may not stand in a
    request line.
    """
    if not isinstance(url, str) or len(url) > 4096:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme not in ("", "http", "https") or not parts.path.startswith("/"):
        return None
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or any(character <= " " or character == "\x7f" for character in path):
        return None
    return path
