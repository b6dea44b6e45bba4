"""One AceStream engine: the questions we ask it, and what its answers say of its health.

Owns: request lines, `Engine`. Must not know: how an answer is read (`engine_answers`), which engine
gets which content and when a session ends (`engine_pool`), viewers, packets. Section signs are
those of the engine reference.

No host, port or scheme out of an engine's answer is ever connected to: what it names is asked of
the engine as configured (§2.1, §8.2 no. 16).
"""

from __future__ import annotations

import errno
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2s
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, unquote, urlencode, urlsplit

from rawstream.config import Limits, Timeouts
from rawstream.engine_answers import (
    UNKNOWN_SESSION,
    Granted,
    Known,
    Stat,
    granted_of,
    json_object,
    known_of,
    path_of,
    stat_of,
    text_words,
    without_secrets,
    words_of,
)
from rawstream.errors import EngineError, UpstreamError, UpstreamTimeout
from rawstream.http1_client import Headers
from rawstream.http_client import BodyStream, Receiver, open_stream, request

logger = logging.getLogger(__name__)

_DOWN_AFTER_MISSES = 2
_UP_AFTER_ANSWERS = 2
_BARREN_STARTS = 3

# A connection that failed for want of descriptors, memory or local ports says nothing of the peer.
_OUR_FAULTS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)

_FILE = re.compile(r"\d*|.*\.[A-Za-z0-9]{1,5}")  # a number, or a name with an ending
_WORD = re.compile(r"[^\W_]+")
_MIXED = re.compile(r"\d[^\W\d]|[^\W\d]\d")
_BTIH = re.compile(r"xt(?:\.\d+)?=(urn(?::|%3a)btih(?::|%3a)[0-9a-z]+)", re.IGNORECASE)
_MARK_KEY = os.urandom(16)

Kind = Literal["content_id", "infohash", "url", "magnet", "direct", "unknown"]


class ContentRef(NamedTuple):
    """What a viewer asks for. 40-hex values are lower case; `unknown` is one that may be a content
    id or an infohash (§6). Its text form holds no secret.
    """

    kind: Kind
    value: str

    def __str__(self) -> str:
        if self.kind in ("url", "direct"):
            return f"{self.kind}:{shown_url(self.value)}"
        if self.kind == "magnet":  # its trackers may hold a passkey
            topic = _BTIH.search(self.value)
            return f"magnet:?xt={topic[1]}" if topic else "magnet:"
        return f"{self.kind}:{self.value}"


def shown_url(url: str) -> str:
    """A URL as operators may see it: no user, no query, of its path only the last part, and that
    only if it is a number or a file's name, or stands alone.

    Panels put passwords into the path (`/live/USER/PASSWORD/1.ts`, `/playlist/USER/PASSWORD`).
    Where something is left out a short mark stands for it, the same for the same URL while we run,
    so that two of them are told apart.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "?"
    bracketed = f"[{host}]" if ":" in host else host
    folder, _, name = parts.path.rpartition("/")
    left_out = (bool(folder) and not _FILE.fullmatch(name)) or _may_be_secret(name)
    shown = f"{parts.scheme}://{bracketed}{f':{port}' if port else ''}"
    shown += f"{'/…' if folder or left_out else ''}{'' if left_out else f'/{name}'}"
    if folder or left_out or parts.query or "@" in parts.netloc:
        mark = blake2s(url.encode("utf-8", "replace"), key=_MARK_KEY, digest_size=3).hexdigest()
        shown += f" ({mark})"
    return shown


def _may_be_secret(name: str) -> bool:
    """Whether a word in it is none of a language: letters and digits mixed, or very long."""
    words = _WORD.findall(unquote(name))
    return any(len(word) >= 24 or (len(word) >= 10 and _MIXED.search(word)) for word in words)


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
    barren: int = 0  # starts in a row that brought no byte
    aside: bool = False  # others go first


class Engine:
    """One engine as configured, and what its answers have taught us.

    Every question raises UpstreamTimeout when there is no answer in time, EngineError with the
    engine's own words for a refusal, UpstreamError for anything that is no answer. `clock` gives
    seconds that only grow.
    """

    __slots__ = (
        "_answers",
        "_aside_until",
        "_clock",
        "_limits",
        "_misses",
        "_timeouts",
        "barren",
        "capacity",
        "failures",
        "last_error",
        "sessions",
        "starting",
        "starts",
        "state",
        "url",
        "version",
    )

    def __init__(
        self,
        url: str,
        capacity: int,
        *,
        timeouts: Timeouts,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # -- config --
        self.url = url
        self.capacity = capacity
        self._timeouts = timeouts
        self._limits = limits
        self._clock = clock
        # -- load: counted by the pool --
        self.sessions = 0
        self.starting = 0
        # -- health: answers and bytes --
        self.state = EngineState.UNKNOWN
        self.version: str | None = None
        self.barren = 0  # starts in a row that brought no byte
        self.last_error: str | None = None
        self._misses = 0  # questions in a row that got no answer
        self._answers = 0  # answers in a row since it was down
        self._aside_until = 0.0
        # -- counters --
        self.starts = 0
        self.failures = 0

    @property
    def free(self) -> int:
        """How many more channels it may take."""
        return self.capacity - self.sessions - self.starting

    @property
    def usable(self) -> bool:
        return self.state in (EngineState.UP, EngineState.UNKNOWN)

    @property
    def aside(self) -> bool:
        """Whether others go first, since it answers and brings no bytes (§7.1: such engines
        exist).
        """
        return self._clock() < self._aside_until

    # -- health ------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Give it no new channels; those it has go on."""
        self.state = EngineState.DRAINING

    def undrain(self) -> None:
        if self.state is EngineState.DRAINING:
            self.state = EngineState.UNKNOWN
            self._misses = 0

    def answered(self) -> None:
        """It spoke. One that was down must do so twice in a row before it counts as up."""
        self._misses = 0
        self._answers += 1
        if self.state is EngineState.UNKNOWN or (
            self.state is EngineState.DOWN and self._answers >= _UP_AFTER_ANSWERS
        ):
            if self.state is EngineState.DOWN:
                logger.info("engine %s answers again", self.url)
            self.state = EngineState.UP

    def missed(self, reason: str, *, certain: bool = False) -> None:
        """No answer. `certain`: the connection was refused, so a second look is not needed."""
        self._misses += 1
        self._answers = 0
        self.last_error = reason
        if self.usable and (certain or self._misses >= _DOWN_AFTER_MISSES):
            logger.warning("engine %s is down: %s", self.url, reason)
            self.state = EngineState.DOWN

    def brought_bytes(self) -> None:
        """The one proof of health: media came."""
        self.barren = 0
        self._aside_until = 0.0
        self._answers = _UP_AFTER_ANSWERS
        self.answered()

    def brought_nothing(self) -> None:
        """A start was granted and no media came, or was refused for a reason that is not the
        content's.
        """
        self.barren += 1
        if self.barren >= _BARREN_STARTS:
            if not self.aside:
                logger.warning(
                    "engine %s: %d starts without a byte; others go first", self.url, self.barren
                )
            self._aside_until = self._clock() + self._timeouts.engine_aside_seconds

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
            barren=self.barren,
            aside=self.aside,
        )

    # -- questions ---------------------------------------------------------------------------------

    async def probe(self) -> str | None:
        """Whether it answers at all (`get_version`, §5.1). Returns its version, None if it did not
        answer as an engine does. Raises nothing.
        """
        path = "/webui/api/service?method=get_version"
        try:
            answer = await self.ask(
                path, total_seconds=self._timeouts.engine_probe_seconds, phase="probe"
            )
        except UpstreamError as error:
            self.last_error = error.reason
            return None
        result = answer.get("result")
        if isinstance(result, dict) and isinstance(result.get("version"), str):
            self.version = result["version"][:40]
        return self.version or "unknown"

    async def media_files(self, ref: ContentRef) -> Known | None:
        """What the engine knows of a content (`get_media_files`, §5.2), which opens no session.
        None when it does not know.
        """
        answer = await self.ask(
            "/server/api?" + _query(api_version=3, method="get_media_files", **_named(ref)),
            total_seconds=self._timeouts.engine_resolve_seconds,
            phase="resolve",
        )
        return known_of(answer)

    async def getstream(self, ref: ContentRef) -> Granted:
        """Start a session (§1).

        The player id is fresh each time: without one the engine takes our address for it, and all
        channels would share it; one that comes back may meet a dead session's left-overs (§1.5).
        """
        named = _named(ref)
        if "content_id" in named:
            named["id"] = named.pop("content_id")  # the name every version knows (§1.1)
        answer = await self.ask(
            "/ace/getstream?" + _query(**named, format="json", pid=uuid.uuid4().hex),
            total_seconds=self._timeouts.engine_start_seconds,
            phase="start",
        )
        found = granted_of(answer)
        if found is None:
            raise EngineError("start", self.url, "answered without a session")
        return found

    async def open(
        self,
        path: str,
        receiver: Receiver,
        head_seconds: float,
        headers: Headers = (),
        accepted: Collection[int] = (),
    ) -> BodyStream:
        """Open a reader. Redirects stay on the engine as configured. `accepted`: see `open_stream`.

        Raises UpstreamError; its `status` is 500 during preload (ask again, §2.3), 403 when the
        session was superseded (§1.5).
        """

        def rebase(current: str, location: str) -> str:
            path = path_of(location, current)
            if path is None:
                raise UpstreamError("open", self.url, "redirected to nowhere")
            return self.url + path

        try:
            return await open_stream(
                self.url + path,
                receiver,
                headers=headers,
                accepted=accepted,
                connect_seconds=self._timeouts.engine_connect_seconds,
                head_seconds=head_seconds,
                limits=self._limits,
                redirect=rebase,
                phase="open",
            )
        except UpstreamError as error:
            error.reason = without_secrets(error.reason)
            raise

    async def stat(self, path: str, *, reading: bool) -> Stat:
        """How a session does. `reading` False: not to be counted as a player's activity (§2.4).

        EngineError says `UNKNOWN_SESSION` when the session is gone.
        """
        answer = await self.ask(
            path if reading else _with(path, "skip_player_activity=1"),
            total_seconds=self._timeouts.engine_stat_seconds,
            phase="stat",
        )
        return stat_of(answer)

    async def stop(self, command_path: str) -> bool:
        """End a session (`method=stop`, §4). Returns whether the engine answered: a session it
        does not know any more is as good as stopped. Raises nothing.
        """
        try:
            await self.ask(
                _with(command_path, "method=stop"),
                total_seconds=self._timeouts.engine_stop_seconds,
                phase="stop",
            )
        except EngineError as error:
            if UNKNOWN_SESSION not in error.reason:
                logger.warning("engine %s refused a stop: %s", self.url, error.reason)
        except UpstreamError as error:
            logger.warning("engine %s took no stop: %s", self.url, error.reason)
            return False
        return True

    async def ask(self, path: str, *, total_seconds: float, phase: str) -> dict[str, Any]:
        """GET a JSON document; returned when its `error` is empty."""
        try:
            answer = await request(
                self.url + path,
                connect_seconds=self._timeouts.engine_connect_seconds,
                total_seconds=total_seconds,
                limits=self._limits,
                phase=phase,
            )
        except UpstreamError as error:
            self._note_failure(error, phase)
            raise
        document = json_object(answer.body)
        if document is None:
            words = text_words(answer.body) or f"answered {answer.status} without JSON"
            if answer.status >= 500 and words.lower() == "internal server error":
                # §1.4: what its filter says to every request from outside its networks
                words = "refuses our address (start it with --bind-all)"
            if phase == "probe":  # it is no engine, or none for us
                self.missed(words)
            else:
                self.answered()
            raise EngineError(phase, self.url, words, status=answer.status)
        self.answered()
        refusal = words_of(document.get("error"))
        if refusal is not None:
            raise EngineError(phase, self.url, refusal, status=answer.status)
        return document

    def _note_failure(self, error: UpstreamError, phase: str) -> None:
        if _is_ours(error):
            return
        if error.phase == "connect":
            self.missed(error.reason, certain=is_refusal(error))
        elif phase == "probe":
            self.missed(error.reason)
        elif phase == "start":  # it answers probes and starts nothing (§7.1)
            self.brought_nothing()


def is_refusal(error: UpstreamError) -> bool:
    """Whether there is nobody to connect to: an engine that died, and its sessions with it."""
    return (
        error.phase == "connect" and not isinstance(error, UpstreamTimeout) and not _is_ours(error)
    )


def _is_ours(error: UpstreamError) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in _OUR_FAULTS


# -- writing questions -----------------------------------------------------------------------------


def _named(ref: ContentRef) -> dict[str, str]:
    """The selector of a content (§1.1). A value of unknown kind is taken for a content id."""
    assert ref.kind != "direct", "not an engine's affair"
    return {"content_id" if ref.kind == "unknown" else ref.kind: ref.value}


def _query(**fields: str | int) -> str:
    return urlencode(fields, quote_via=quote)


def _with(path: str, field: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}{field}"
