"""The life of a viewer's connection: its states, its deadlines, its end, and the stream it may
become.

Owns: the transport of a socket, what may follow what, the `Exchange` a handler answers, the
`Sink` a mux writes to. Must not know: how requests are read (`protocol`), what a URL means, what
a stream carries.

    Connection         what every kind has in common
    StreamConnection   takes a socket over when an answer is a stream; it is the viewer's `Sink`
    SizedBody          the `Sink` of an answer whose length was told; its connection goes on
    Exchange           one request's answer; what a handler holds

A connection has no task and no timer of its own: it stores `deadline`, and the server's one sweep
per second asks `expire` of those that are late. One thousand paused viewers cost nothing between
sweeps.

    state      reads            waits for                    may become
    IDLE       requests         the next request             HEAD BODY ANSWERING DRAINING CLOSED
    HEAD       requests         the end of a head            IDLE BODY ANSWERING DRAINING CLOSED
    BODY       requests         the end of a body            IDLE ANSWERING DRAINING CLOSED
    ANSWERING  ahead, bounded   an answer          IDLE FLUSHING STREAMING SENDING DRAINING CLOSED
    FLUSHING   ahead, bounded   the peer to take the answer  IDLE DRAINING CLOSED
    STREAMING  and discards     the viewer to leave          DRAINING CLOSED
    SENDING    ahead, bounded   the body's whole length      IDLE FLUSHING DRAINING CLOSED
    DRAINING   and discards     the last bytes to go         CLOSED
"""

from __future__ import annotations

import asyncio
import fcntl
import math
import socket
import struct
import termios
from collections import Counter
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Protocol, cast

from rawstream.config import Limits, Timeouts
from rawstream.http1 import LAST_CHUNK, Headers, Request, Response, SeenRequests

# SO_LINGER: close() sends RST and frees what the kernel still holds
_RESET = struct.pack("ii", 1, 0)
_TCP_INFO_BYTES = 192
_BYTES_ACKED = struct.Struct("=Q")
_BYTES_ACKED_OFFSET = 120  # tcpi_bytes_acked in struct tcp_info, Linux >= 4.1


class State(Enum):
    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    ANSWERING = "answering"
    FLUSHING = "flushing"
    STREAMING = "streaming"
    SENDING = "sending"
    DRAINING = "draining"
    CLOSED = "closed"

    __hash__ = object.__hash__  # Enum's own is a call in Python, several times per request


_MOVES: dict[State, frozenset[State]] = {
    State.IDLE: frozenset({State.HEAD, State.BODY, State.ANSWERING, State.DRAINING, State.CLOSED}),
    State.HEAD: frozenset({State.IDLE, State.BODY, State.ANSWERING, State.DRAINING, State.CLOSED}),
    State.BODY: frozenset({State.IDLE, State.ANSWERING, State.DRAINING, State.CLOSED}),
    State.ANSWERING: frozenset(
        {
            *(State.IDLE, State.FLUSHING, State.STREAMING, State.SENDING),
            *(State.DRAINING, State.CLOSED),
        }
    ),
    State.SENDING: frozenset({State.IDLE, State.FLUSHING, State.DRAINING, State.CLOSED}),
    State.FLUSHING: frozenset({State.IDLE, State.DRAINING, State.CLOSED}),
    State.STREAMING: frozenset({State.DRAINING, State.CLOSED}),
    State.DRAINING: frozenset({State.CLOSED}),
    State.CLOSED: frozenset(),
}


class Sink(Protocol):
    """What a mux viewer holds: the writing end of one stream, and nothing of the connection
    behind it.
    """

    write: Callable[[bytes], None]  # the transport's own; after the end it discards
    paused: bool  # the transport has more than `write_high_bytes` unsent
    peer: tuple[str, int]
    user_agent: str

    def unsent(self) -> int:
        """Bytes accepted by `write` and not yet given to the kernel."""

    def kernel_unsent(self) -> tuple[int, int] | None:
        """(bytes in the kernel that the peer has not acknowledged, bytes it has acknowledged in
        all).

        None when the socket is no TCP socket or is gone. Two system calls: for the sweep.
        """

    def abort(self) -> None:
        """End at once: what is unsent is lost. Idempotent. `on_gone` follows in a later turn."""

    def finish(self) -> None:
        """End of stream: what is unsent goes out within `drain_seconds`. Idempotent; no
        `on_gone`.
        """


Handler = Callable[[Request, "Exchange"], "Response | Awaitable[Response | None] | None"]


class Host(Protocol):
    """What a connection needs of the server that accepted it."""

    handler: Handler
    timeouts: Timeouts
    limits: Limits
    clock: Callable[[], float]
    constant_headers: bytes  # Server and Date, ready to send
    seen: SeenRequests
    closing: bool  # no answer keeps its connection alive any more
    requests: int
    bad_requests: int
    failed_requests: int
    timed_out: int
    answers: Counter[tuple[str, int]]  # by route and class of status

    def opened(self, connection: Connection) -> None: ...
    def replaced(self, old: Connection, new: Connection) -> None: ...
    def closed(self, connection: Connection) -> None: ...
    def own_task(self, task: asyncio.Task[None]) -> None: ...


class Exchange:
    """One request's answer.

    Answer with `respond`, or open a stream with `stream`, once. Both are no-ops when the viewer
    has gone. A handler that keeps the exchange and returns None puts the viewer on hold: nothing
    runs for him then.
    """

    __slots__ = ("_connection", "_request", "gone", "on_gone", "on_resumed")

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection: Connection | None = connection
        self._request: Request | None = request
        # Called once when the viewer leaves or is cut off before the answer or in the middle of a
        # stream; not after a finished answer. May be set at any time before.
        self.on_gone: Callable[[], None] | None = None
        # Called while streaming when the transport takes bytes again after a pause.
        self.on_resumed: Callable[[], None] | None = None
        self.gone = False

    @property
    def request(self) -> Request:
        """The request. Kept until it is answered or streamed to; copy what is needed later."""
        assert self._request is not None, "the request is dropped once it is answered"
        return self._request

    def respond(self, response: Response) -> None:
        """Answer. Raises RuntimeError when the exchange has been answered already (a bug of
        ours).
        """
        if not self.gone:
            self._waiting().answer(response)

    def stream(
        self,
        headers: Headers = (),
        content_type: str = "video/mp2t",
        *,
        chunked: bool = False,
        status: int = 200,
        content_length: int | None = None,
    ) -> Sink:
        """Send a head now and give the way in for what follows, until `finish` or `abort`.

        The body is raw until the connection closes; `chunked` frames it for an HTTP/1.1 viewer,
        which lets him tell an end from a cut. To HEAD the head is the whole answer: the sink
        discards, and `on_gone` follows soon. When the viewer has gone the sink discards too.

        `content_length`: the body has so many bytes, and the connection takes the next request
        after them. Who finishes it short resets the connection: never a body that looks whole. To
        HEAD the sink discards, and nothing follows.
        """
        if self.gone:
            return StreamConnection.of_nobody()
        if content_length is not None:
            return self._waiting().send(status, headers, content_type, content_length)
        return self._waiting().stream(headers, content_type, chunked=chunked)

    def fail(self, response: Response) -> None:
        """The handler failed: say so if no answer has begun, else cut the stream."""
        connection = self._connection
        if connection is None:
            return
        if connection.state is State.ANSWERING:
            connection.answer(response)
        else:
            connection.abort()

    @property
    def over(self) -> bool:
        """Nothing of the answer is left to come."""
        return self._connection is None

    def cut(self) -> None:
        """End the connection, however far the answer is; `on_gone` follows in a later turn."""
        if self._connection is not None:
            self._connection.abort()

    def keep(self) -> None:
        """For the server: the handler's coroutine has ended without an answer; one comes later."""
        if self._connection is not None:
            self._connection.hold()

    def _waiting(self) -> Connection:
        connection = self._connection
        if connection is None or connection.state is not State.ANSWERING:
            raise RuntimeError("this exchange has been answered")
        return connection

    def handed_to(self, connection: Connection) -> None:
        """For the connection: a stream has begun; the request is dropped."""
        self._connection, self._request = connection, None

    def answered(self) -> None:
        """For the connection: the answer is complete; nothing of it is left to be told."""
        self._connection = self._request = self.on_gone = self.on_resumed = None

    def lost(self) -> None:
        """For the connection: it has ended before the answer had."""
        on_gone = self.on_gone
        self.answered()
        self.gone = True
        if on_gone is not None:
            on_gone()


class Connection(asyncio.Protocol):
    """What both kinds have in common: the transport, the state, the end."""

    __slots__ = (
        "_exchange",
        "_host",
        "_taken_by",
        "_task",
        "_transport",
        "_unsent_at_deadline",
        "deadline",
        "paused",
        "peer",
        "state",
    )

    def __init__(self, host: Host, state: State) -> None:
        # config
        self._host = host
        # transport
        self._transport: asyncio.Transport | None = None
        self.peer: tuple[str, int] = ("", 0)
        self.paused = False
        self.state = state
        self.deadline = math.inf  # on the host's clock
        self._unsent_at_deadline = math.inf
        self._taken_by = math.inf  # when the peer must have taken an answer, however he does
        # request
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None

    def _move(self, state: State, seconds: float = math.inf) -> None:
        """The only door to another state. `seconds`: how long it may last."""
        if state not in _MOVES[self.state]:
            raise AssertionError(f"{self.state} can't become {state}")
        self.state = state
        self.deadline = self._host.clock() + seconds

    def pause_writing(self) -> None:
        # Runs inside transport.write, inside somebody's loop over viewers: nothing more may
        # happen here.
        self.paused = True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._teardown()

    def expire(self) -> None:
        """`deadline` has passed: what that means depends on the state."""
        raise NotImplementedError

    def shutdown(self) -> None:
        """The server ends: close if nothing is under way."""
        raise NotImplementedError

    def answer(self, response: Response) -> None:
        """Send a whole answer. Only while ANSWERING."""
        raise NotImplementedError

    def stream(self, headers: Headers, content_type: str, *, chunked: bool) -> Sink:
        """Begin a stream. Only while ANSWERING."""
        raise NotImplementedError

    def send(self, status: int, headers: Headers, content_type: str, length: int) -> Sink:
        """Begin a body of a known length. Only while ANSWERING."""
        raise NotImplementedError

    def hold(self) -> None:
        """The request's task has ended and the answer is still to come."""
        self._task = None

    def unsent(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def kernel_unsent(self) -> tuple[int, int] | None:
        sock = self._tcp_socket()
        if sock is None:
            return None
        try:
            queued = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")  # SIOCOUTQ, tcp(7)
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        except OSError:
            return None
        (acked,) = _BYTES_ACKED.unpack_from(info, _BYTES_ACKED_OFFSET)
        return struct.unpack("i", queued)[0], acked

    def abort(self) -> None:
        if self._transport is None:
            return
        sock = self._tcp_socket()
        if sock is not None:
            # Without it the kernel goes on holding, and resending, up to a whole send buffer per
            # viewer who has vanished.
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            except OSError:
                pass  # the peer was faster
        self._transport.abort()

    def _let_pause(self, user_timeout_seconds: float) -> None:
        """How long the kernel lets the peer keep its window closed; 0: as long as he answers the
        probes (tcp(7), TCP_USER_TIMEOUT).
        """
        sock = self._tcp_socket()
        if sock is not None:
            try:
                milliseconds = int(user_timeout_seconds * 1000)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
            except OSError:
                pass  # the peer was faster

    def _tcp_socket(self) -> socket.socket | None:
        if self._transport is None:
            return None
        sock = cast("socket.socket | None", self._transport.get_extra_info("socket"))
        if sock is None or sock.family == socket.AF_UNIX or sock.fileno() < 0:
            return None
        return sock

    def _drain(self, *, half_close: bool = False) -> None:
        """Nothing more will be written: close once what is written has gone, or at the deadline.

        `half_close`: bytes of the peer may be on their way; closing a socket with unread bytes
        resets it and may take our answer along (RFC 9112 §9.6), so read on, and let the peer
        close.
        """
        assert self._transport is not None, "a connection that is open has a transport"
        self._move(State.DRAINING, self._host.timeouts.drain_seconds)
        self._unsent_at_deadline = math.inf
        if half_close and self._transport.can_write_eof():
            self._transport.write_eof()
            self._transport.resume_reading()
        else:
            self._transport.close()

    def _give_up_or_wait(self) -> None:
        """A drain deadline: it is renewed while the peer takes bytes, however slowly."""
        kernel = self.kernel_unsent()
        unsent = self.unsent() + (kernel[0] if kernel is not None else 0)
        if 0 < unsent < self._unsent_at_deadline and self._host.clock() < self._taken_by:
            self._unsent_at_deadline = unsent
            self.deadline = self._host.clock() + self._host.timeouts.drain_seconds
        else:
            self._host.timed_out += 1
            self.abort()

    def _teardown(self) -> None:
        """The one end, whatever led to it; the second call does nothing."""
        if self.state is State.CLOSED:
            return
        self._move(State.CLOSED)
        self._transport = None
        self._host.closed(self)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lost()


class StreamConnection(Connection):
    """A viewer's socket from the head of a stream to its end; the `Sink` that the mux writes to.

    Nothing of the request is left: no parser, no headers. `write` is the transport's own method.
    """

    __slots__ = ("_chunked", "_discarded_bytes", "user_agent", "write")

    def __init__(
        self,
        host: Host,
        transport: asyncio.Transport,
        exchange: Exchange,
        *,
        peer: tuple[str, int],
        user_agent: str,
        task: asyncio.Task[None] | None,
        chunked: bool,
    ) -> None:
        super().__init__(host, State.STREAMING)
        self._transport = transport
        self._exchange = exchange
        self._task = task
        self._chunked = chunked
        self._discarded_bytes = 0
        self.peer = peer
        self.user_agent = user_agent
        self.write: Callable[[bytes], None] = self._write_chunk if chunked else transport.write

    @classmethod
    def of_nobody(cls) -> StreamConnection:
        """The sink of a viewer who has gone before the stream began: it discards."""
        sink = cls.__new__(cls)
        sink._transport = sink._exchange = sink._task = None
        sink._chunked, sink._discarded_bytes = False, 0
        sink.state, sink.deadline, sink.paused = State.CLOSED, math.inf, True
        sink.peer, sink.user_agent, sink.write = ("", 0), "", _discard
        return sink

    # -- asyncio.Protocol --

    def data_received(self, data: bytes) -> None:
        """A viewer has nothing more to say (design §2: no request behind a stream is answered)."""
        self._discarded_bytes += len(data)
        if self._discarded_bytes > self._host.limits.request_body_bytes:
            self.abort()

    def eof_received(self) -> bool:
        """A viewer who closes his side has left, even if he could still read."""
        self.abort()
        self._teardown()
        return False

    def resume_writing(self) -> None:
        self.paused = False
        exchange = self._exchange
        if exchange is not None and exchange.on_resumed is not None:
            exchange.on_resumed()

    # -- the viewer's end --

    def finish(self) -> None:
        if self.state is not State.STREAMING:
            return
        assert self._transport is not None, "a stream that is open has a transport"
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.answered()
        if self._chunked:
            self._transport.write(LAST_CHUNK)
        self._silence()
        self._drain()

    def abort(self) -> None:
        self._silence()
        super().abort()

    def end_with_head(self) -> None:
        """The answer to HEAD: `on_gone` comes with the close, so that whoever holds the sink lets
        go.
        """
        self._silence()
        self._drain()

    def expire(self) -> None:
        self._give_up_or_wait()

    def shutdown(self) -> None:
        """A stream has no end of its own: its owner finishes it, or the server's deadline aborts
        it.
        """

    def _silence(self) -> None:
        # Whoever still holds the sink may write to it: uvloop raises for a write after the end.
        self.write = _discard
        self.paused = True

    def _teardown(self) -> None:
        self._silence()
        super()._teardown()

    def _write_chunk(self, data: bytes) -> None:
        if data and self._transport is not None:  # an empty chunk would be the last one
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))


class SizedBody:
    """The `Sink` of a body whose length was told: exactly so many bytes go out, or a reset.

    `complete` is called once all are written and `finish` was.
    """

    __slots__ = ("_complete", "_connection", "left", "paused", "peer", "user_agent", "write")

    def __init__(
        self,
        connection: Connection,
        length: int,
        write: Callable[[bytes], None],
        complete: Callable[[], None],
        *,
        peer: tuple[str, int],
        user_agent: str,
    ) -> None:
        self._connection: Connection | None = connection
        self._complete = complete
        self.left = length
        self.paused = False  # kept by the connection
        self.peer = peer
        self.user_agent = user_agent

        def counted(data: bytes) -> None:
            if len(data) > self.left:
                raise ValueError("more than the length that was told")  # a bug of ours
            self.left -= len(data)
            write(data)

        self.write: Callable[[bytes], None] = counted

    def unsent(self) -> int:
        return self._connection.unsent() if self._connection is not None else 0

    def kernel_unsent(self) -> tuple[int, int] | None:
        return self._connection.kernel_unsent() if self._connection is not None else None

    def finish(self) -> None:
        if self._connection is None:
            return
        if self.left:
            self.abort()
        else:
            self.release()
            self._complete()

    def abort(self) -> None:
        connection = self._connection
        self.release()
        if connection is not None:
            connection.abort()

    def release(self) -> None:
        """For the connection: it has ended, or is another answer's; whoever holds this writes to
        nobody.
        """
        self._connection = None
        self.paused = True
        self.write = _discard


def _discard(data: bytes) -> None:
    """The `write` of a stream that has ended."""
