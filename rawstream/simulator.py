"""An AceStream engine look-alike for tests, benchmarks and the demo.

Owns: the engine's life: its port, what is wrong with it as a whole, which path is answered by whom,
the idle time of sessions, and control calls. It follows the list in §8.1 of the engine reference.
Must not know: rawstream's server, client, channels; it shares only the clips' packets with them.

    engine = EngineSimulator(bundled_contents(), speed=10)
    await engine.start()                      # engine.url is then http://127.0.0.1:<port>
    engine.content("rawstream one").fault("silent_stall", after_bytes=500_000, times=1)
    ...
    await engine.stop()

It runs in its caller's event loop and never blocks it. Clips are read when it is constructed. The
kinds of faults are listed in `simulator_contents`.

Control calls, which are not the engine's. All are GET and answer JSON; `content` is an id, an
infohash, a name or the beginning of one:

    /sim/fault?content=C&kind=K     set a fault; further fields: where, times, after_bytes,
                                    after_seconds, seconds, status, text, option, amount; without
                                    `content` it strikes the engine's services
    /sim/clear[?content=C][&kind=K]           take faults back
    /sim/set?content=C&name=N&value=V         a switch of a content, e.g. framing, preload_seconds
    /sim/engine?kind=K[&seconds=S]            ok, refuse, reset, hang, hang_ace, freeze, deny
    /sim/restart[?seconds=S]                  forget sessions, cut sockets, refuse for S seconds
    /sim/event?content=C&name=N[&reason=R]    queue an event for the long-poll
    /sim/counters[?content=C]                 counters
    /sim/sessions                             sessions that are open
    /sim/reset                                end sessions, clear faults, counters to zero

`refuse` closes the port, this one too: give `seconds`, or end it from Python.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import asdict
from typing import Any

from rawstream.simulator_contents import (
    FRAMINGS,
    LOAD_FAILED,
    MOD_DETECTED,
    PREMIUM,
    UNKNOWN_SESSION,
    Counters,
    Fault,
    Faults,
    SimContent,
    bundled_contents,
    dead_content,
    film_contents,
    vod_content,
)
from rawstream.simulator_http import JSON_TYPE, SimConnection, SimRequest
from rawstream.simulator_playback import Playback
from rawstream.simulator_services import Answer, EngineServices
from rawstream.simulator_sessions import Json, Session, Station

__all__ = [
    "LOAD_FAILED",
    "MOD_DETECTED",
    "PREMIUM",
    "UNKNOWN_SESSION",
    "Counters",
    "EngineSimulator",
    "Fault",
    "SimContent",
    "bundled_contents",
    "dead_content",
    "film_contents",
    "vod_content",
]

ENGINE_FAULTS = ("ok", "refuse", "reset", "hang", "hang_ace", "freeze", "deny")
SWEEP_SECONDS = 0.1


class EngineSimulator(Playback):
    """The engine. Switches that are unmeasured on real ones are arguments:

    `mode`: "supersede" (3.2.3: a new session of a content cuts the older) or "shared" (3.2.11: both
    go on). `identity_replaces`: another content asked for by the same player ends his former one.
    `honour_read_threads`: stop_prev_read_thread and allow_multiple_threads_reading have an effect.
    `latency`: scales the engine's own delays (28 s for an unknown infohash); 0 for none.
    `polls_keep_alive`: a stat poll counts as player activity unless skip_player_activity=1.
    `refusal`: every start is refused in these words, e.g. PREMIUM. `epoch`: loop time at which all
    timelines begin; two engines with one epoch serve the same bytes at the same time.

    Raises OSError for a clip that can't be read, FormatError for one that is no transport stream,
    ValueError for a switch that has no such value.
    """

    def __init__(
        self,
        contents: Iterable[SimContent],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        speed: float = 1.0,
        epoch: float | None = None,
        latency: float = 1.0,
        mode: str = "supersede",
        identity_replaces: bool = True,
        honour_read_threads: bool = False,
        polls_keep_alive: bool = True,
        idle_seconds: float = 60.0,
        event_poll_seconds: float = 15.0,
        head_supported: bool = False,
        reject_live_ranges: bool = False,
        hls_first_missing: bool = True,
        hang_on_stop: bool = False,
        search_needs_token: bool = False,
        refusal: str = "",
        version: str = "3.2.3",
        platform: str = "linux",
    ) -> None:
        super().__init__(
            contents,
            host=host,
            port=port,
            speed=speed,
            epoch=epoch,
            latency=latency,
            mode=mode,
            identity_replaces=identity_replaces,
            honour_read_threads=honour_read_threads,
            polls_keep_alive=polls_keep_alive,
            idle_seconds=idle_seconds,
            event_poll_seconds=event_poll_seconds,
            reject_live_ranges=reject_live_ranges,
            hls_first_missing=hls_first_missing,
            hang_on_stop=hang_on_stop,
            refusal=refusal,
        )
        self.head_supported = head_supported
        self.services = EngineServices(
            lambda: self.contents,
            version=version,
            platform=platform,
            search_needs_token=search_needs_token,
        )
        self._connections: set[SimConnection] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life --

    @property
    def url(self) -> str:
        """`http://host:port`, once started."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Listen; the timelines begin. Raises OSError when the port is taken."""
        self._loop = asyncio.get_running_loop()
        self.epoch = self._epoch()
        for station in self.stations.values():
            station.epoch = self.epoch
        await self._listen()
        self._spawn(self._sweep(), "simulator sweep")

    async def stop(self) -> None:
        """Cut everything and be gone. Open sessions stay in `open_sessions` to be looked at."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        answers = [each.task for each in self._connections if each.task is not None]
        await asyncio.gather(*answers, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    async def __aenter__(self) -> EngineSimulator:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _listen(self) -> None:
        assert self._loop is not None, "listening needs the loop"
        self._server = await self._loop.create_server(
            lambda: SimConnection(self._answer, self._connections), self.host, self.port
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self._now()
            for session in self.open_sessions:
                if session.status(now) == "dl" and not session.announced:
                    session.announced = True
                    session.post("live_changed", {"is_live": int(session.station.content.live)})
                if session.readers:
                    session.activity = now
                elif now - session.activity >= session.activity_timeout:
                    self._count(session.station, "leaked_sessions")
                    self._end(session, "idle")

    # -- faults of the engine as a whole --

    async def set_engine_fault(self, kind: str, seconds: float = 0.0) -> None:
        """One of ENGINE_FAULTS; healed after `seconds` (0: until told).

        refuse: the port is closed, what runs goes on. reset: RST on every request. hang: no request
        is answered. hang_ace: the same for playback only. freeze: as hang, and media stands still
        too. deny: 500 on all paths, as for an address outside the engine's networks.

        Raises ValueError for another kind.
        """
        if kind not in ENGINE_FAULTS:
            raise ValueError(f"no such engine fault: {kind!r}; one of {', '.join(ENGINE_FAULTS)}")
        if kind == "refuse" and self._server is not None:
            self._server.close()
            self._server = None
        elif kind != "refuse" and self._server is None:
            await self._listen()
        self.engine_fault = kind
        if seconds:
            self._spawn(self._heal(kind, seconds), "simulator heals")

    async def _heal(self, kind: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if self.engine_fault == kind:
            await self.set_engine_fault("ok")

    async def restart(self, seconds: float = 0.0) -> None:
        """The engine is killed: sockets reset, sessions forgotten, gone for `seconds`."""
        for session in self.open_sessions:
            self._end(session, "restart")
        self._ended.clear()
        for connection in list(self._connections):
            request = connection.request
            if request is None or request.segments[:1] != ("sim",):  # who asked for it is told so
                connection.reset()
        if seconds:
            await self.set_engine_fault("refuse", seconds)

    def reset(self) -> None:
        """As it was when it started, but for the timelines: no session, no fault, no count."""
        for session in self.open_sessions:
            self._end(session, "reset")
        self._ended.clear()
        self.faults.clear()
        self.counters.reset()
        for station in self.stations.values():
            station.content.faults.clear()
            station.content.counters.reset()
            station.ended_at = None

    def emit_event(self, content: SimContent, name: str, params: Json | None = None) -> None:
        """Queue an event for every session of a content, e.g. "download_stopped" (§4)."""
        for session in self.stations[content.infohash].sessions:
            session.post(name, params or {})

    # -- dispatch --

    async def _answer(self, connection: SimConnection, request: SimRequest) -> None:
        parts = request.segments
        first = parts[0] if parts else ""
        if first == "sim":
            await self._control(connection, request)
            return
        if self.engine_fault == "reset":
            connection.reset()
            return
        stuck = self.engine_fault in ("hang", "freeze")
        if stuck or (self.engine_fault == "hang_ace" and first in ("ace", "content", "hls")):
            await connection.closed.wait()
            return
        if self.engine_fault == "deny":
            connection.respond(500, b"Internal server error")
            return
        if request.method == "HEAD":
            self.counters.heads += 1
            if not self.head_supported:
                connection.respond(501, headers=[("Connection", "close")], head_only=True)
                connection.close()
                return
        handler = self._route(parts)
        if handler is None:
            connection.respond(404, b"Not Found")
            return
        await handler(connection, request)

    def _route(
        self, parts: tuple[str, ...]
    ) -> Callable[[SimConnection, SimRequest], Coroutine[Any, Any, None]] | None:
        if len(parts) < 2:
            return self._search if parts == ("search",) else None
        match parts[0], parts[1], len(parts):
            case "ace" | "hls", "getstream" | "manifest.m3u8", 2:
                return self._getstream
            case "ace", "r", 4:
                return self._playback
            case "content", _, 3:
                return self._content
            case "ace", "m", 4:
                return self._list
            case "ace", "c", 4:
                return self._segment
            case "ace", "stat", 4:
                return self._stat
            case "ace", "cmd", 4:
                return self._command
            case "ace", "event", 4:
                return self._event
            case "webui", "api", 3:
                return self._service
            case "server", "api", 2:
                return self._server_api
        return None

    # -- services (§5) --

    async def _service(self, connection: SimConnection, request: SimRequest) -> None:
        answer = self.services.webui(request.query, request.peer)
        await self._served(connection, request, answer, None, "api")

    async def _server_api(self, connection: SimConnection, request: SimRequest) -> None:
        answer = self.services.server(request.query, request.peer)
        station, where = None, "api"
        if request.query.get("method") == "get_media_files":
            content = self.services.find(request.query)
            station = self.stations[content.infohash] if content is not None else None
            where = "files" if station is not None else "api"
            self._count(station, "media_files_calls")
        await self._served(connection, request, answer, station, where)

    async def _search(self, connection: SimConnection, request: SimRequest) -> None:
        answer = self.services.search(request.query)
        await self._served(connection, request, answer, None, "api")

    async def _served(
        self,
        connection: SimConnection,
        request: SimRequest,
        answer: Answer,
        station: Station | None,
        where: str,
    ) -> None:
        await asyncio.sleep(answer.seconds * self.latency)
        if await self._spoilt(connection, request, station, where, answer.body):
            return
        callback = request.query.get("callback", "")
        if request.query.get("format") == "jsonp" and callback.isidentifier():
            text = f"{callback}({json.dumps(answer.body)});"
            connection.respond(200, text.encode(), "application/javascript")
        else:
            self._answers.json(connection, answer.body)

    # -- control calls, ours --

    async def _control(self, connection: SimConnection, request: SimRequest) -> None:
        try:
            body = await self._controlled(request.segments[1:], dict(request.query))
        except (ValueError, TypeError, KeyError) as error:
            connection.respond(400, json.dumps({"error": str(error)}).encode(), JSON_TYPE)
            return
        self._answers.json(connection, body)

    async def _controlled(self, parts: tuple[str, ...], query: dict[str, str]) -> Json:
        name = query.pop("content", "")
        content = self.content(name) if name else None
        match parts:
            case ("fault",):
                values = {key: _FAULT_FIELDS[key](value) for key, value in query.items()}
                fault = Fault(**values)
                (content.faults if content is not None else self.faults).add(fault)
                return {"fault": asdict(fault)}
            case ("clear",):
                spoilt = [content.faults] if content is not None else self._all_faults()
                for faults in spoilt:
                    faults.clear(query.get("kind", ""))
                return {"cleared": len(spoilt)}
            case ("set",):
                if content is None:
                    raise ValueError("which content?")
                return self._switch(content, query["name"], query["value"])
            case ("engine",):
                await self.set_engine_fault(query["kind"], float(query.get("seconds", "0")))
                return {"engine_fault": self.engine_fault}
            case ("restart",):
                self._spawn(self.restart(float(query.get("seconds", "0"))), "simulator restart")
                return {"restarting": True}
            case ("event",):
                if content is None:
                    raise ValueError("which content?")
                params = {key: value for key, value in query.items() if key != "name"}
                self.emit_event(content, query["name"], params)
                return {"sessions": len(self.stations[content.infohash].sessions)}
            case ("counters",):
                return asdict(content.counters if content is not None else self.counters)
            case ("sessions",):
                return {"sessions": [self._told(session) for session in self.open_sessions]}
            case ("reset",):
                self.reset()
                return {"reset": True}
        raise ValueError("no such control call")

    def _all_faults(self) -> list[Faults]:
        return [self.faults, *(content.faults for content in self.contents)]

    def _told(self, session: Session) -> Json:
        return {
            "infohash": session.station.content.infohash,
            "name": session.station.content.name,
            "identity": session.identity,
            "token": session.token,
            "playback_session_id": session.session_id,
            "readers": len(session.readers),
            "seconds": round(self._now() - session.started, 3),
        }

    def _switch(self, content: SimContent, name: str, value: str) -> Json:
        """Change a plain field of a content, after the type it has."""
        now = getattr(content, name, None)
        if not isinstance(now, bool | int | float | str) or name in (
            "content_id",
            "infohash",
            "live",
        ):
            raise ValueError(f"no such switch: {name!r}")
        made = value == "1" if isinstance(now, bool) else type(now)(value)
        if name == "framing" and made not in FRAMINGS:
            raise ValueError(f"no such framing: {value!r}; one of {', '.join(FRAMINGS)}")
        setattr(content, name, made)
        return {name: made}


_FAULT_FIELDS: dict[str, Callable[[str], Any]] = {
    "kind": str,
    "where": str,
    "times": int,
    "after_bytes": int,
    "after_seconds": float,
    "seconds": float,
    "status": int,
    "text": str,
    "option": str,
    "amount": int,
}
