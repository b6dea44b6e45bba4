"""The engine's playback: sessions and their tokens, the one-session rule, media, HLS, stat, stop.

Owns: what the `/ace` and `/content` paths answer, right or spoilt by the faults of a content.
Must not know: listening sockets, services, control calls. Section signs are those of the engine
reference.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from rawstream.broadcast import Broadcast
from rawstream.simulator_answers import Answers
from rawstream.simulator_contents import (
    LOAD_FAILED,
    UNKNOWN_SESSION,
    Counters,
    Faults,
    SimContent,
)
from rawstream.simulator_http import SimConnection, SimRequest
from rawstream.simulator_media import LiveReader, send_film
from rawstream.simulator_sessions import LOOK_SECONDS, Json, Session, Station

REFUSING = ("error", "status", "html_500", "empty_500")  # start faults that make no session
ENDED_TOKENS = 1000  # remembered, to tell "superseded" from "stopped" afterwards
HLS_WINDOW = 15  # segments in a list, 13 to 17 seen (§2.5)
HLS_TYPE = "application/vnd.apple.mpegurl"

# The engine's own delays in seconds, scaled by `latency` (§1.4, §2.3).
START_DELAY = 0.1
UNKNOWN_ID_DELAY = 4.5
UNKNOWN_INFOHASH_DELAY = 28.0


class Playback:
    """An engine's playback, without a socket of its own. For the switches see EngineSimulator."""

    def __init__(
        self,
        contents: Iterable[SimContent],
        *,
        host: str,
        port: int,
        speed: float,
        epoch: float | None,
        latency: float,
        mode: str,
        identity_replaces: bool,
        honour_read_threads: bool,
        polls_keep_alive: bool,
        idle_seconds: float,
        event_poll_seconds: float,
        reject_live_ranges: bool,
        hls_first_missing: bool,
        hang_on_stop: bool,
        refusal: str,
    ) -> None:
        if mode not in ("supersede", "shared"):
            raise ValueError(f"no such mode: {mode!r}; supersede or shared")
        # switches
        self.host = host
        self.port = port
        self.speed = speed
        self.epoch = epoch
        self.latency = latency
        self.mode = mode
        self.identity_replaces = identity_replaces
        self.honour_read_threads = honour_read_threads
        self.polls_keep_alive = polls_keep_alive
        self.idle_seconds = idle_seconds
        self.event_poll_seconds = event_poll_seconds
        self.reject_live_ranges = reject_live_ranges
        self.hls_first_missing = hls_first_missing
        self.hang_on_stop = hang_on_stop
        self.refusal = refusal
        self._answers = Answers(lambda: f"{self.host}:{self.port}")
        # what is going on
        self.engine_fault = "ok"
        self.faults = Faults()  # of the services, where="api"
        self.counters = Counters()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sessions: dict[tuple[str, str], Session] = {}  # by infohash and token
        self._keys: dict[str, Session] = {}  # by the last part of /content/…
        self._ended: OrderedDict[tuple[str, str], str] = OrderedDict()
        # what is on the air
        self.stations: dict[str, Station] = {}  # by infohash
        self._clips: dict[tuple[Path, int], tuple[bytes, Broadcast]] = {}
        for content in contents:
            self.add(content)

    # -- the catalogue --

    @property
    def contents(self) -> list[SimContent]:
        return [station.content for station in self.stations.values()]

    @property
    def open_sessions(self) -> list[Session]:
        return [session for station in self.stations.values() for session in station.sessions]

    def add(self, content: SimContent) -> SimContent:
        """Put a content on the air. Reads its clip: not for a loop that must not wait."""
        if content.infohash in self.stations:
            raise ValueError(f"two contents with infohash {content.infohash}")
        key = content.clip, content.first_ticks
        if key not in self._clips:
            clip = content.clip.read_bytes()
            self._clips[key] = clip, Broadcast(clip, first_ticks=content.first_ticks)
        station = Station(content, *self._clips[key], self.speed)
        if self._loop is not None:
            station.epoch = self._epoch()
        self.stations[content.infohash] = station
        return content

    def content(self, name: str) -> SimContent:
        """By content id, infohash, name, or the beginning of a name. Raises KeyError."""
        for content in self.contents:
            if name in (content.content_id, content.infohash, content.name) and name:
                return content
        for content in self.contents:
            if name and content.name.startswith(name):
                return content
        raise KeyError(name)

    def _epoch(self) -> float:
        assert self._loop is not None, "time begins with the loop"
        return self._loop.time() if self.epoch is None else self.epoch

    def _now(self) -> float:
        assert self._loop is not None, "the simulator has been started"
        return self._loop.time()

    def _count(self, station: Station | None, name: str, by: int = 1) -> None:
        for counters in (self.counters, *((station.content.counters,) if station else ())):
            setattr(counters, name, getattr(counters, name) + by)

    # -- spoilt answers --

    async def _spoilt(
        self,
        connection: SimConnection,
        request: SimRequest,
        station: Station | None,
        where: str,
        answer: Json | None = None,
        only: tuple[str, ...] = (),
    ) -> bool:
        """Let the faults at `where` strike. True: one of them has answered instead."""
        faults = station.content.faults if station else self.faults
        for fault in faults.at(where):
            if only and fault.kind not in only:
                continue
            if fault.kind == "foreign_redirect" and answer is not None:
                continue
            faults.strike(fault)
            self._count(station, "faults")
            if fault.seconds and fault.kind != "hang":
                await asyncio.sleep(fault.seconds)
            if fault.kind != "delay":
                await self._answers.spoil(connection, request, fault, answer)
                return True
        return False

    # -- start (§1) --

    def _resolve(self, query: dict[str, str]) -> tuple[Station | None, float]:
        """The content that is named, and how long an unknown one takes.

        Raises KeyError when none is named.
        """
        if given := query.get("content_id", query.get("id", "")):
            for station in self.stations.values():
                content = station.content
                if given == content.content_id or (
                    content.infohash_as_id and given == content.infohash
                ):
                    return station, 0.0
            return None, UNKNOWN_ID_DELAY
        if given := query.get("infohash", ""):
            return self.stations.get(given), UNKNOWN_INFOHASH_DELAY
        if given := query.get("url", ""):
            named = [s for s in self.stations.values() if s.content.url and s.content.url == given]
            return (named[0] if named else None), UNKNOWN_ID_DELAY
        if given := query.get("magnet", ""):
            topic = parse_qs(urlsplit(given).query).get("xt", [""])[0]
            infohash = topic.removeprefix("urn:btih:").lower()
            return self.stations.get(infohash), UNKNOWN_INFOHASH_DELAY
        raise KeyError("no selector")

    async def _getstream(self, connection: SimConnection, request: SimRequest) -> None:
        query = request.query
        hls = request.segments[-1] == "manifest.m3u8"
        try:
            station, unknown_delay = self._resolve(query)
        except KeyError:
            self.counters.getstream_calls += 1
            connection.respond(500, b"missing content identifier")
            return
        self._count(station, "getstream_calls")
        if self.refusal:
            self._answers.refuse(connection, request, self.refusal)
            return
        if station is None:
            await asyncio.sleep(unknown_delay * self.latency)
            self._answers.refuse(connection, request, LOAD_FAILED)
            return
        if hls and len(station.content.files) > 1 and "_idx" not in query:
            self._file_list(connection, request, station)
            return
        if await self._spoilt(connection, request, station, "start", only=REFUSING):
            return
        session = self._open(station, request, hls=hls)
        await asyncio.sleep(START_DELAY * self.latency)
        path = f"{session.station.content.infohash}/{session.token}"
        playback = f"/ace/m/{path}.m3u8" if hls else f"/ace/r/{path}"
        if query.get("format") != "json":
            # the engine loads the content before it redirects, for as long as that takes (§1.2)
            if not await self._loaded(session):
                connection.close()
            elif not await self._spoilt(connection, request, station, "start"):
                connection.redirect(self._answers.absolute(request, playback))
            return
        response: Json = {
            "playback_url": self._answers.absolute(request, playback),
            "stat_url": self._answers.absolute(request, f"/ace/stat/{path}"),
            "command_url": self._answers.absolute(request, f"/ace/cmd/{path}"),
            "infohash": station.content.infohash,
            "playback_session_id": session.session_id,
            "is_live": int(station.content.live),
            "is_encrypted": int(station.content.encrypted),
            "client_session_id": session.client_session_id,
        }
        if request.flag("use_api_events"):
            response["event_url"] = self._answers.absolute(request, f"/ace/event/{path}")
        answer = {"response": response, "error": None}
        if not await self._spoilt(connection, request, station, "start", answer):
            self._answers.json(connection, answer)

    def _open(self, station: Station, request: SimRequest, *, hls: bool) -> Session:
        """Make a session; those it does not go together with end (§1.5).

        This happens when the request comes, so a client that does not wait for the answer leaves a
        session that it can't stop.
        """
        now = self._now()
        pid = request.query.get("pid", request.query.get("sid", ""))
        player = pid or request.peer
        client_session_id = request.query.get("client_session_id", "-1")
        session = Session(
            station=station,
            identity=f"{'pid' if pid else 'ip'} {player}",
            token=hashlib.md5(player.encode(), usedforsecurity=False).hexdigest(),
            hls=hls,
            started=now,
            client_session_id=int(client_session_id) if client_session_id.isdecimal() else -1,
            stop_prev_read_thread=request.flag("stop_prev_read_thread"),
            allow_multiple_threads_reading=request.flag("allow_multiple_threads_reading"),
            activity=now,
            activity_timeout=self.idle_seconds,
            first_position=station.start_position(now),
        )
        if self.mode == "supersede":
            for older in list(station.sessions):
                self._count(station, "superseded")
                self._end(older, "superseded")
        if self.identity_replaces:
            for other in self.open_sessions:
                if other.identity == session.identity and other.station is not station:
                    self._count(other.station, "replaced")
                    self._end(other, "replaced")
        if station.content.faults.find("loop_window") is None:
            station.ended_at = None  # the broadcast goes on, or another one has begun
        self._count(station, "opens")
        station.sessions.append(session)
        name = station.content.infohash, session.token
        self._sessions[name] = session
        self._ended.pop(name, None)
        self._keys[session.key] = session
        return session

    def _end(self, session: Session, reason: str) -> None:
        """The one end of a session. A stop ends its media cleanly, all else cuts it (§2.4)."""
        if session.ended:
            return
        session.ended = reason
        station = session.station
        station.sessions.remove(session)
        self._keys.pop(session.key, None)
        name = station.content.infohash, session.token
        if self._sessions.get(name) is session:
            del self._sessions[name]
            self._ended[name] = reason
            if len(self._ended) > ENDED_TOKENS:
                self._ended.popitem(last=False)
        session.event_added.set()
        for reader in list(session.readers):
            if reason == "stopped":
                reader.end_body()
            else:
                reader.close()

    def _session(self, request: SimRequest) -> Session | None:
        token = request.segments[3].removesuffix(".m3u8")
        return self._sessions.get((request.segments[2], token))

    def _gone(self, connection: SimConnection, request: SimRequest) -> None:
        """Media of a session that is over: 403 superseded, 500 otherwise (§2.4)."""
        token = request.segments[3].removesuffix(".m3u8")
        if self._ended.get((request.segments[2], token)) in ("superseded", "replaced"):
            connection.respond(403, b"Forbidden")
        else:
            connection.respond(500, b"download not found")

    async def _loaded(self, session: Session) -> bool:
        """Wait until there is media; False when the session ends before."""
        while not session.ended:
            if session.status(self._now()) == "dl":
                return True
            await asyncio.sleep(LOOK_SECONDS)
        return False

    # -- media (§2) --

    async def _playback(self, connection: SimConnection, request: SimRequest) -> None:
        session = self._session(request)
        if session is None:
            self._gone(connection, request)
            return
        station = session.station
        self._count(station, "playback_calls")
        if await self._spoilt(connection, request, station, "playback"):
            return
        hop = int(request.query.get("hop", "0"))
        if station.content.redirects == 0:
            await self._media(connection, request, session)
        elif hop + 1 < station.content.redirects:
            connection.redirect(self._answers.absolute(request, f"{request.path}?hop={hop + 1}"))
        else:
            path = f"/content/{station.content.infohash}/{session.key}"
            connection.redirect(self._answers.absolute(request, path))

    async def _content(self, connection: SimConnection, request: SimRequest) -> None:
        session = self._keys.get(request.segments[2])
        if session is None or session.station.content.infohash != request.segments[1]:
            connection.respond(500, b"download not found")
            return
        await self._media(connection, request, session)

    async def _media(
        self, connection: SimConnection, request: SimRequest, session: Session
    ) -> None:
        station = session.station
        content = station.content
        self._count(station, "reader_opens")
        fields = [("Content-Type", content.content_type)] if content.content_type else []
        with self._reading(connection, session):
            if len(session.readers) > 1 and not self._may_share(connection, session):
                self._count(station, "doubled_readers")
                connection.doubled_head(fields)
                return
            if not await self._loaded(session):
                return
            if await self._spoilt(connection, request, station, "content"):
                return
            if not content.live:
                await send_film(connection, request, session, self._count, self._frozen)
                return
            if "range" in request.headers:
                self._count(station, "rejected_ranges")
                if self.reject_live_ranges:
                    connection.respond(416)
                    return
            if request.method == "HEAD":
                connection.respond(200, content_type=content.content_type, head_only=True)
                return
            chunked = content.framing == "chunked" and request.http_version == "1.1"
            if not chunked:
                fields.append(("Connection", "close"))
            connection.begin_body(200, fields, chunked=chunked)
            await LiveReader(connection, session, self._count, self._frozen).run()

    def _may_share(self, connection: SimConnection, session: Session) -> bool:
        if not self.honour_read_threads:
            return False
        if session.stop_prev_read_thread:
            for reader in session.readers - {connection}:
                reader.close()
            return True
        return session.allow_multiple_threads_reading

    @contextmanager
    def _reading(self, connection: SimConnection, session: Session) -> Iterator[None]:
        both = (self.counters, session.station.content.counters)
        for counters in both:
            counters.readers_now += 1
            counters.readers_max = max(counters.readers_max, counters.readers_now)
        session.readers.add(connection)
        try:
            yield
        finally:
            session.readers.discard(connection)
            session.activity = self._now()
            for counters in both:
                counters.readers_now -= 1

    def _frozen(self) -> bool:
        return self.engine_fault == "freeze"

    # -- HLS (§2.5) --

    async def _list(self, connection: SimConnection, request: SimRequest) -> None:
        session = self._session(request)
        if session is None:
            self._gone(connection, request)
            return
        station = session.station
        self._count(station, "list_calls")
        session.activity = self._now()
        if not await self._loaded(session):  # the first list waits for segments
            self._gone(connection, request)
            return
        if await self._spoilt(connection, request, station, "list"):
            return
        broadcast = station.broadcast
        if station.content.live:
            behind = broadcast.segment_at(station.released(self._now()))  # this one is not complete
            numbers = range(max(0, behind - HLS_WINDOW), behind)
        else:
            numbers = range(len(broadcast.cuts))
        if session.first_segment < 0:
            session.first_segment = numbers[0] if numbers else 0
        durations = [broadcast.segment_seconds(number) for number in numbers]
        lines = ["#EXTM3U", "#EXT-X-VERSION:3"]
        lines.append(f"#EXT-X-TARGETDURATION:{math.ceil(max(durations, default=4.0))}")
        lines.append(f"#EXT-X-MEDIA-SEQUENCE:{numbers[0] if numbers else 0}")
        for number, seconds in zip(numbers, durations, strict=True):
            address = f"/ace/c/{station.content.infohash}/{number}.ts"
            lines += [f"#EXTINF:{seconds:.3f},", self._answers.absolute(request, address)]
        if not station.content.live:
            lines.append("#EXT-X-ENDLIST")
        connection.respond(200, "\n".join([*lines, ""]).encode(), HLS_TYPE)

    async def _segment(self, connection: SimConnection, request: SimRequest) -> None:
        station = self.stations.get(request.segments[2])
        number = request.segments[3].removesuffix(".ts")
        sessions = station.sessions if station is not None else []
        if station is None or not sessions or not number.isdecimal():
            connection.respond(500, b"download not found")
            return
        self._count(station, "segment_calls")
        sessions[-1].activity = self._now()
        if await self._spoilt(connection, request, station, "segment"):
            return
        wanted, broadcast = int(number), station.broadcast
        missing = (
            self.hls_first_missing and station.content.live and wanted == sessions[-1].first_segment
        )
        newest = broadcast.segment_at(station.released(self._now())) - 1
        if missing or (station.content.live and not newest - 2 * HLS_WINDOW < wanted <= newest):
            connection.respond(500, b"download not found")
            return
        data = broadcast.segment(wanted % (1 << 32))
        self._count(station, "bytes_sent", len(data))
        connection.respond(200, data, station.content.content_type or "video/mp2t")

    def _file_list(self, connection: SimConnection, request: SimRequest, station: Station) -> None:
        """A multi-file transport without _idx: a plain M3U of its files."""
        lines = ["#EXTM3U"]
        for index, name in enumerate(station.content.files):
            address = f"/ace/manifest.m3u8?infohash={station.content.infohash}&_idx={index}"
            lines += [f"#EXTINF:-1,{name}", self._answers.absolute(request, address)]
        connection.respond(200, "\n".join([*lines, ""]).encode(), "audio/x-mpegurl")

    # -- stat, command, event (§3, §4) --

    async def _stat(self, connection: SimConnection, request: SimRequest) -> None:
        session = self._session(request)
        if session is None:
            self.counters.stat_polls += 1
            self._answers.json(connection, {"response": None, "error": UNKNOWN_SESSION})
            return
        station = session.station
        self._count(station, "stat_polls")
        if self.polls_keep_alive and not request.flag("skip_player_activity"):
            session.activity = self._now()
        newest = station.sessions[-1]  # in shared mode every token tells of the newest (§1.5)
        answer: Json = {"response": newest.stat(self._now(), time.time()), "error": None}
        if not await self._spoilt(connection, request, station, "stat", answer):
            self._answers.json(connection, answer)

    async def _command(self, connection: SimConnection, request: SimRequest) -> None:
        method = request.query.get("method", "")
        session = self._session(request)
        if method == "stop" and self.hang_on_stop:
            await connection.closed.wait()
            return
        if session is None:
            self.counters.unknown_stops += method == "stop"
            self._answers.json(connection, {"response": None, "error": UNKNOWN_SESSION})
            return
        station = session.station
        second = request.query.get("api_version") == "2"
        answer: Json = {"result": "ok"} if second else {"response": "ok", "error": None}
        session.activity = self._now()
        match method:
            case "stop":
                if await self._spoilt(connection, request, station, "stop", answer):
                    return
                if session.ended:
                    self._answers.json(connection, {"response": None, "error": UNKNOWN_SESSION})
                    return
                self._count(station, "stops")
                for each in list(station.sessions):  # a stop through any token ends them all (§1.5)
                    self._end(each, "stopped")
            case "set_player_activity_timeout":
                try:
                    session.activity_timeout = float(request.query.get("timeout", ""))
                except ValueError:
                    answer = {"response": None, "error": "bad timeout"}
            case "liveseek" | "set_stream":
                pass
            case _:
                answer = {"response": None, "error": "unknown method"}
        self._answers.json(connection, answer)

    async def _event(self, connection: SimConnection, request: SimRequest) -> None:
        """Long-poll: the next event, or nothing after event_poll_seconds."""
        session = self._session(request)
        if session is None:
            self._answers.json(connection, {"response": None, "error": UNKNOWN_SESSION})
            return
        self._count(session.station, "event_polls")
        if await self._spoilt(connection, request, session.station, "event"):
            return
        end = self._now() + self.event_poll_seconds
        while not session.events and not session.ended and self._now() < end:
            session.event_added.clear()
            try:
                await asyncio.wait_for(session.event_added.wait(), end - self._now())
            except TimeoutError:
                break
        if session.ended:
            self._answers.json(connection, {"response": None, "error": UNKNOWN_SESSION})
        else:
            event = session.events.popleft() if session.events else {}
            self._answers.json(connection, {"response": event, "error": None})
