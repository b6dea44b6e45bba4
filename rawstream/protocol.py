"""The HTTP server: requests in on a socket, answers out in order; the sockets of one process
together.

Owns: reading requests off a connection (`ServerConnection`), the set of all connections, the one
sweep per second, shedding, shutdown (`Server`). Must not know: what a URL means, what a stream
carries.

The names that a handler needs are all here: Request, Response, Exchange, Sink.
"""

from __future__ import annotations

import asyncio
import logging
import math
import resource
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from pathlib import Path
from typing import cast

from rawstream.config import Limits, Timeouts
from rawstream.connection import (
    Connection,
    Exchange,
    Handler,
    Host,
    Sink,
    SizedBody,
    State,
    StreamConnection,
)
from rawstream.errors import ViewerError
from rawstream.http1 import (
    CONTINUE,
    Headers,
    Request,
    RequestParser,
    Response,
    SeenRequests,
    render_head,
)
from rawstream.listener import Listener, bind_tcp, bind_unix

__all__ = [
    "Exchange",
    "Handler",
    "Request",
    "Response",
    "Server",
    "ServerConnection",
    "Sink",
]

log = logging.getLogger(__name__)

_SWEEP_SECONDS = 1.0
_REQUESTS_PER_TURN = 16  # answered in one turn of the loop, so that a pipeline starves nobody
# up to here head and body leave as one write; above, the body is not copied
_COPY_BYTES = 16 * 1024
_SHED_WAITING = 256  # connections that are read from only to be told 503
_SPARE_DESCRIPTORS = 64  # kept for engines, files and the shed: viewers never take the last ones
# TCP_USER_TIMEOUT beyond viewer_stall_seconds: the kernel must not end a live peer who pauses
_USER_TIMEOUT_MARGIN_SECONDS = 15.0

_READING = frozenset({State.IDLE, State.HEAD, State.BODY})
_PHASES = {"idle": State.IDLE, "head": State.HEAD, "body": State.BODY}


class ServerConnection(Connection):
    """One accepted socket while it carries requests and whole answers."""

    __slots__ = ("_advancing", "_body", "_eof", "_keep_alive", "_parser", "_reading_paused")

    def __init__(self, host: Host) -> None:
        super().__init__(host, State.HEAD)
        self._parser = RequestParser(host.limits, host.seen)
        self._advancing = False
        self._reading_paused = False
        self._eof = False  # the peer has closed its side and waits for an answer
        self._body: SizedBody | None = None  # of the answer that is being sent
        self._keep_alive = False  # after that

    # -- asyncio.Protocol --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer = peer[:2]
        limits = self._host.limits
        self._transport.set_write_buffer_limits(limits.write_high_bytes, limits.write_low_bytes)
        self.deadline = self._host.clock() + self._host.timeouts.request_head_seconds
        self._host.opened(self)

    def data_received(self, data: bytes) -> None:
        if self.state is State.DRAINING or self.state is State.CLOSED:
            return
        self._parser.feed(data)
        if self._parser.full and not self._reading_paused:
            assert self._transport is not None, "bytes come from a transport"
            self._reading_paused = True
            self._transport.pause_reading()
        self._advance()

    def eof_received(self) -> bool:
        """True keeps our side open. On hold it means that the viewer has left (design §5)."""
        on_hold = self.state is State.ANSWERING and self._task is None
        on_hold = on_hold or self.state is State.SENDING  # who closes his side has left
        if on_hold or (self.state in _READING and not self._parser.requests):
            if on_hold:
                self.abort()
            self._teardown()
            return False
        self._eof = True
        return self.state is not State.DRAINING

    def pause_writing(self) -> None:
        self.paused = True
        if self._body is not None:
            self._body.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._body is not None:
            self._body.paused = False
        if self.state is State.FLUSHING:
            self._rest()
            self._advance()
        elif self.state is State.SENDING:
            exchange = self._exchange
            if exchange is not None and exchange.on_resumed is not None:
                exchange.on_resumed()

    # -- requests --

    def _advance(self) -> None:
        """Answer what has been read, in order, and set the connection to rest when nothing is
        left.
        """
        if self._advancing:
            return
        self._advancing = True
        try:
            for _ in range(_REQUESTS_PER_TURN):
                if self.state not in _READING:
                    break
                request = self._parser.next_request()
                if request is None:
                    self._rest()
                    break
                self._begin(request)
            else:
                asyncio.get_running_loop().call_soon(self._advance)
        finally:
            self._advancing = False
        if self._reading_paused and not self._parser.full and self._transport is not None:
            self._reading_paused = False
            self._transport.resume_reading()

    def _rest(self) -> None:
        """Between requests: what the parser has tells what we wait for."""
        assert self._transport is not None, "a connection that is open has a transport"
        timeouts = self._host.timeouts
        if self._parser.failure is not None and not self._parser.requests:
            self._refuse(self._parser.failure)
            return
        if self._eof and not self._parser.requests:
            self._drain()
            return
        state = _PHASES[self._parser.phase]
        if state is not self.state:
            seconds = {
                State.IDLE: timeouts.keep_alive_seconds,
                State.HEAD: timeouts.request_head_seconds,
                State.BODY: timeouts.request_body_seconds,
            }[state]
            if self.state is State.ANSWERING or self.state is State.FLUSHING:
                self._move(State.IDLE)
            if state is not self.state:
                self._move(state)
            self.deadline = self._host.clock() + seconds
        if self._parser.continue_due:
            self._parser.continue_due = False
            self._transport.write(CONTINUE)

    def _begin(self, request: Request) -> None:
        request.peer = request.connected = self.peer
        self._host.requests += 1
        self._move(State.ANSWERING)
        self._exchange = exchange = Exchange(self, request)
        try:
            result = self._host.handler(request, exchange)
            if isinstance(result, Response):
                exchange.respond(result)
            elif result is not None:
                self._task = asyncio.get_running_loop().create_task(
                    _answer_later(exchange, result, self._host),
                    name=f"request of {self.peer[0]}:{self.peer[1]}",
                )
                self._host.own_task(self._task)
        except Exception as error:
            _answer_failure(exchange, error, self._host)

    def answer(self, response: Response) -> None:
        """For Exchange.respond: send the whole answer, then go on or close."""
        exchange, transport = self._exchange, self._transport
        assert exchange is not None and transport is not None, "an answer belongs to a request"
        request = exchange.request
        self._host.answers[request.route, response.status // 100] += 1
        keep_alive, connection = self._after(request)
        bodiless = response.status in (204, 304)
        head = render_head(
            response.status,
            self._host.constant_headers,
            content_type=response.content_type if response.length else "",
            content_length=None if bodiless else response.length,
            headers=response.headers,
            connection=connection,
        )
        self._exchange = self._task = None
        exchange.answered()
        self._taken_by = math.inf
        if bodiless or request.method == "HEAD":
            transport.write(head)
        elif response.parts:
            # what a peer does not take is shared with many and must not be kept for one
            self._taken_by = self._host.clock() + self._host.timeouts.hls_send_seconds
            transport.writelines([head + response.body, *response.parts])
        elif len(response.body) <= _COPY_BYTES:
            transport.write(head + response.body)
        else:
            transport.writelines([head, response.body])
        self._go_on(keep_alive=keep_alive)

    def _after(self, request: Request) -> tuple[bool, str]:
        """Whether the connection goes on after this request's answer, and what its head says."""
        if not request.keep_alive or self._host.closing:
            return False, "close"
        return True, "keep-alive" if request.http_version == "1.0" else ""

    def _go_on(self, *, keep_alive: bool) -> None:
        """All of an answer is written: to the next request, or to the end."""
        if not keep_alive:
            self._drain()
        elif self.paused:
            self._move(State.FLUSHING, self._host.timeouts.drain_seconds)
            self._unsent_at_deadline = math.inf
        else:
            self._move(State.IDLE, self._host.timeouts.keep_alive_seconds)
            self._advance()

    def send(self, status: int, headers: Headers, content_type: str, length: int) -> Sink:
        """For Exchange.stream with a length: send the head, then take exactly so many bytes."""
        exchange, transport = self._exchange, self._transport
        assert exchange is not None and transport is not None, "an answer belongs to a request"
        request = exchange.request
        self._host.answers[request.route, status // 100] += 1
        self._keep_alive, connection = self._after(request)
        head = render_head(
            status,
            self._host.constant_headers,
            content_type=content_type,
            content_length=length,
            headers=headers,
            connection=connection,
        )
        if request.method == "HEAD":
            self._exchange = self._task = None
            exchange.answered()
            transport.write(head)
            self._go_on(keep_alive=self._keep_alive)
            return StreamConnection.of_nobody()
        agent = request.headers.get("user-agent", "")
        self._body = body = SizedBody(
            self, length, transport.write, self._sent, peer=self.peer, user_agent=agent
        )
        body.paused = self.paused
        exchange.handed_to(self)
        self._move(State.SENDING)
        self._let_pause(0)  # a film is paused for as long as its viewer likes
        transport.write(head)
        if self._eof:
            self.abort()
        return body

    def _sent(self) -> None:
        """For the body: all of it is written."""
        exchange, self._exchange = self._exchange, None
        self._body = self._task = None
        if exchange is not None:
            exchange.answered()
        self._let_pause(self._host.timeouts.viewer_stall_seconds + _USER_TIMEOUT_MARGIN_SECONDS)
        self._go_on(keep_alive=self._keep_alive and not self._host.closing)

    def stream(self, headers: Headers, content_type: str, *, chunked: bool) -> Sink:
        """For Exchange.stream: send the head and hand the socket to a StreamConnection."""
        exchange, transport = self._exchange, self._transport
        assert exchange is not None and transport is not None, "an answer belongs to a request"
        request = exchange.request
        self._host.answers[request.route, 2] += 1
        chunked = chunked and request.http_version == "1.1"
        head = render_head(
            200,
            self._host.constant_headers,
            content_type=content_type,
            headers=(*headers, ("Transfer-Encoding", "chunked")) if chunked else headers,
            connection="close",
        )
        viewer = StreamConnection(
            self._host,
            transport,
            exchange,
            peer=self.peer,
            user_agent=request.headers.get("user-agent", ""),
            task=self._task,
            chunked=chunked,
        )
        exchange.handed_to(viewer)
        self._move(State.STREAMING)
        self._exchange = self._task = self._transport = None
        self._parser.close()
        self._host.replaced(self, viewer)
        self._move(State.CLOSED)
        transport.set_protocol(viewer)
        if self._reading_paused:
            transport.resume_reading()
        transport.write(head)
        if request.method == "HEAD":
            viewer.end_with_head()
        elif self._eof:
            viewer.abort()
        return viewer

    def hold(self) -> None:
        super().hold()
        if self._eof and self.state is State.ANSWERING:
            # A half-close is waited out while a task works, and means "gone" on hold.
            self.abort()
            self._teardown()

    def _refuse(self, error: ViewerError) -> None:
        """Answer bytes that are no request we take, and read no more of them."""
        assert self._transport is not None, "a connection that is open has a transport"
        self._host.bad_requests += 1
        response = Response.of_error(error)
        head = render_head(
            response.status,
            self._host.constant_headers,
            content_type=response.content_type,
            content_length=len(response.body),
            connection="close",
        )
        self._transport.write(head + response.body)
        self._drain(half_close=not self._eof)

    # -- endings --

    def expire(self) -> None:
        if self.state in (State.FLUSHING, State.DRAINING):
            self._give_up_or_wait()
            return
        self._host.timed_out += 1
        if self.state is State.IDLE or self._parser.phase == "idle":
            self._drain()
        else:
            self._refuse(ViewerError(408, f"the request's {self.state.value} did not come in time"))

    def shutdown(self) -> None:
        if self.state in _READING and self._parser.phase == "idle" and not self._parser.requests:
            self._drain()

    def _teardown(self) -> None:
        if self._body is not None:
            self._body.release()
            self._body = None
        super()._teardown()
        self._parser.close()


async def _answer_later(exchange: Exchange, result: Awaitable[Response | None], host: Host) -> None:
    """Body of a request's task; None means that the handler keeps the exchange."""
    try:
        response = await result
        if response is None:
            exchange.keep()
        else:
            exchange.respond(response)
    except Exception as error:
        _answer_failure(exchange, error, host)


def _answer_failure(exchange: Exchange, error: Exception, host: Host) -> None:
    """A handler raised: a ViewerError is its answer, anything else a bug of ours, told as 500."""
    if isinstance(error, ViewerError):
        exchange.fail(Response.of_error(error))
        return
    host.failed_requests += 1
    log.error("a request handler failed", exc_info=error)  # no target: it may hold a password
    exchange.fail(Response.text("internal error\n", 500))


class _Shed(asyncio.Protocol):
    """A connection above the limit: its first bytes are read, so that 503 is an answer, not a
    reset.
    """

    __slots__ = ("_server", "_transport", "deadline")

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self.deadline = math.inf

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.shed += 1
        if len(self._server.shedding) >= _SHED_WAITING or self._server.closing:
            self._refuse()
            return
        self.deadline = self._server.clock() + self._server.timeouts.request_head_seconds
        self._server.shed_opened(self)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - asyncio's signature
        self._refuse()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._transport = None
        self._server.shed_closed(self)

    def expire(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _refuse(self) -> None:
        if self._transport is not None:
            self._transport.write(self._server.shed_answer)
            self._transport.close()


class Server:
    """All listening sockets and connections of one process.

    `clock`: seconds, monotonic; deadlines are on it. Counters are plain integers, never reset:
    `accepted` and `shed` connections, `requests`, `bad_requests` (refused before a handler saw
    them), `failed_requests` (answered 500), `timed_out` connections, `answers` by the route of
    the request and the class of the status (2 for 200 to 299).
    """

    def __init__(
        self,
        handler: Handler,
        *,
        timeouts: Timeouts,
        limits: Limits,
        server_name: str = "rawstream",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # config
        self.handler = handler
        self.timeouts = timeouts
        self.limits = limits
        self.clock = clock
        self._server_header = f"Server: {server_name}\r\n"
        self.constant_headers = b""
        self.seen = SeenRequests()
        self.shed_answer = b""
        # what is open
        self.connections: set[Connection] = set()
        self.shedding: set[_Shed] = set()
        self._listeners: list[Listener] = []
        self._tasks: set[asyncio.Task[None]] = set()
        # life
        self.closing = False
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._forced = asyncio.Event()
        # counters
        self.accepted = 0
        self.shed = 0
        self.requests = 0
        self.bad_requests = 0
        self.failed_requests = 0
        self.timed_out = 0
        self.answers: Counter[tuple[str, int]] = Counter()

    # -- listening --

    async def listen(self, host: str, port: int) -> list[tuple[str, int]]:
        """Accept on a TCP address; returns the addresses bound. May be called several times.

        `host`: '' for every IPv4 and (where there is any) IPv6 address; a name is resolved.
        `port` 0 lets the system choose one, the same for both families.

        Raises ConfigError, naming `port` or `host`, with what is wrong and what to do.
        """
        sockets = await bind_tcp(host, port)
        for sock in sockets:
            await self.listen_socket(sock)
        return [sock.getsockname()[:2] for sock in sockets]

    async def listen_unix(self, path: Path) -> None:
        """Accept on a Unix socket, readable by our user only. Raises ConfigError."""
        await self.listen_socket(bind_unix(path), path=path)

    async def listen_socket(self, sock: socket.socket, *, path: Path | None = None) -> None:
        """Accept on a bound socket, which belongs to the server from here on. `path`: unlinked at
        the end.
        """
        stalled = self.timeouts.viewer_stall_seconds + _USER_TIMEOUT_MARGIN_SECONDS
        listener = Listener(
            sock,
            self._accept,
            backlog=self.limits.listen_backlog,
            not_sent_low_bytes=self.limits.not_sent_low_bytes,
            user_timeout_seconds=stalled,
            path=path,
        )
        await listener.start()
        self._listeners.append(listener)
        if self._sweeper is None:
            self._tick()

    def _accept(self) -> asyncio.Protocol:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        room = min(self.limits.connections, max(1, soft - _SPARE_DESCRIPTORS))
        if len(self.connections) >= room or self.closing:
            return _Shed(self)
        return ServerConnection(self)

    # -- what connections tell --

    def opened(self, connection: Connection) -> None:
        self.accepted += 1
        self.connections.add(connection)
        self._empty.clear()

    def replaced(self, old: Connection, new: Connection) -> None:
        self.connections.discard(old)
        self.connections.add(new)

    def closed(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self._note_empty()

    def shed_opened(self, connection: _Shed) -> None:
        self.shedding.add(connection)
        self._empty.clear()

    def shed_closed(self, connection: _Shed) -> None:
        self.shedding.discard(connection)
        self._note_empty()

    def _note_empty(self) -> None:
        if not self.connections and not self.shedding:
            self._empty.set()

    def own_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- time --

    def _tick(self) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._tick)
        date = f"Date: {formatdate(time.time(), usegmt=True)}\r\n"
        self.constant_headers = (self._server_header + date).encode("latin-1")
        self.shed_answer = render_head(
            503,
            self.constant_headers,
            content_length=0,
            headers=(("Retry-After", "1"),),
            connection="close",
        )
        for listener in self._listeners:
            self.shed += listener.guard(self.shed_answer)
        self.sweep(self.clock())

    def sweep(self, now: float) -> int:
        """End what is late at `now`; returns how many deadlines had passed."""
        late = [connection for connection in self.connections if connection.deadline <= now]
        for connection in late:
            connection.expire()
        for shed in [shed for shed in self.shedding if shed.deadline <= now]:
            shed.expire()
        return len(late)

    # -- the end --

    async def shutdown(self, grace_seconds: float) -> int:
        """End in four steps; returns how many connections had to be aborted.

        Stop listening; close the idle and let no answer keep its connection alive; wait for the
        others; abort the rest. Streams have no end of their own: whoever feeds them finishes them
        first, or they are aborted. `force` jumps to the last step.
        """
        self.closing = True
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for connection in list(self.connections):
            connection.shutdown()
        if self.connections and grace_seconds > 0 and not self._forced.is_set():
            waits = [
                asyncio.create_task(event.wait(), name="shutdown")
                for event in (self._empty, self._forced)
            ]
            await asyncio.wait(waits, timeout=grace_seconds, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        left = list(self.connections)
        for connection in left:
            connection.abort()
        for shed in list(self.shedding):
            shed.expire()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_seconds)
        if self.connections or self.shedding:
            # An aborted transport tells its end in one of the next turns, whatever the peer does.
            await self._empty.wait()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        return len(left)

    def force(self) -> None:
        """The operator's second signal: wait no longer."""
        self._forced.set()
