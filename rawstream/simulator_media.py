"""Media bodies of the simulated engine: live at its pace with its faults, films by their length.

Owns: the burst, the pace, back-pressure with the jump that follows it, what each media fault does
to the bytes, and ranges of a film.
Must not know: how a reader got here; sessions are made and ended elsewhere.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from rawstream.mpegts import PACKET_SIZE
from rawstream.simulator_contents import Fault, Faults
from rawstream.simulator_http import SimConnection, SimRequest
from rawstream.simulator_sessions import LOOK_SECONDS, Session, Station

Count = Callable[[Station, str, int], None]

GARBAGE_BYTES = 1000
TRICKLE_BYTES = 100
TRICKLE_SECONDS = 0.1
LOOP_WINDOW_SECONDS = 5.0
ENDINGS = frozenset(("eof", "cut", "rst", "bad_chunk"))
FILM_FAULTS = frozenset(("silent_stall", "eof", "cut", "rst", "trickle"))


class LiveReader:
    """One reader of a live content, from its head to its end.

    `count`: adds to a counter of the content. `frozen`: whether the whole engine stands still.
    """

    __slots__ = (
        "_began",
        "_connection",
        "_count",
        "_frozen",
        "_looped",
        "_position",
        "_sent",
        "_session",
        "_station",
        "_struck",
    )

    def __init__(
        self, connection: SimConnection, session: Session, count: Count, frozen: Callable[[], bool]
    ) -> None:
        self._connection = connection
        self._session = session
        self._station = session.station
        self._count = count
        self._frozen = frozen
        self._began = asyncio.get_running_loop().time()
        self._position = self._station.start_position(self._began)
        self._sent = 0
        self._struck: list[Fault] = []  # a fault strikes a reader once
        self._looped: tuple[int, int] | None = None  # positions of the last window, again and again

    async def run(self) -> None:
        """Until the connection is gone or a fault ends the body."""
        loop = asyncio.get_running_loop()
        connection, station, content = self._connection, self._station, self._station.content
        self._session.frozen = None  # what a reader before this one suffered is over
        while connection.open:
            writable = await connection.drain(LOOK_SECONDS)
            now = loop.time()
            limit = content.piece_bytes
            for fault in content.faults.media():
                if fault in self._struck or now - self._began < fault.after_seconds:
                    continue
                if self._sent < fault.after_bytes:
                    limit = min(limit, fault.after_bytes - self._sent)
                    continue
                if await self._strike(fault, now):
                    return
            if not writable or not connection.open or self._frozen():
                await asyncio.sleep(LOOK_SECONDS if connection.open else 0)
                continue
            now = loop.time()
            self._stay_in_window(now)
            if self._position + limit > station.position(now):
                await asyncio.sleep(station.wait_for(self._position + limit, now))
                continue
            self._send(self._read(limit))
            await asyncio.sleep(0)  # a burst shares the loop with everybody else

    def _stay_in_window(self, now: float) -> None:
        """A reader that is too slow is thrown forward to the oldest byte there is (§2.4)."""
        oldest = self._station.oldest(now)
        if self._position >= oldest or self._sent == 0:
            return
        self._count(self._station, "overruns", 1)
        if self._station.content.aligned_jumps:
            self._send(self._read(-self._position % PACKET_SIZE))
            self._position = oldest
        else:
            self._position = oldest + PACKET_SIZE // 2

    def _read(self, size: int) -> bytes:
        if self._looped is None:
            data = self._station.broadcast.read(self._position, size)
        else:
            begin, end = self._looped
            data = b""
            while len(data) < size:
                at = begin + (self._position + len(data) - begin) % (end - begin)
                part = min(size - len(data), end - at)
                data += self._station.broadcast.read(at, part)
        self._position += size
        self._session.read_position = self._position
        return data

    def _send(self, data: bytes) -> None:
        if not data:
            return  # an empty chunk would end the body
        self._connection.body_piece(data)
        self._sent += len(data)
        self._count(self._station, "bytes_sent", len(data))

    async def _strike(self, fault: Fault, now: float) -> bool:
        """Let a media fault happen. True: the body has ended by it."""
        connection, station, faults = self._connection, self._station, self._station.content.faults
        self._struck.append(fault)
        self._count(station, "faults", 1)
        clears = faults.clears
        faults.strike(fault)
        match fault.kind:
            case "eof":
                connection.end_body()
            case "cut":
                connection.close()
            case "rst":
                connection.reset()
            case "bad_chunk":
                connection.bad_chunk()
            case "garbage":
                self._send(
                    (b"\xaa\x00\x55" * (fault.amount or GARBAGE_BYTES))[
                        : fault.amount or GARBAGE_BYTES
                    ]
                )
            case "skip":
                moment = station.broadcast.seconds(self._position) + fault.seconds
                self._position = station.broadcast.position(moment)
            case "loop_window":
                end = station.position(now)
                moment = station.broadcast.seconds(end) - (fault.seconds or LOOP_WINDOW_SECONDS)
                self._looped = station.broadcast.position(moment), end
                station.ended_at = station.media(now)
            case "silent_stall" | "trickle":
                await self._starve(fault, clears)
        return fault.kind in ENDINGS

    async def _starve(self, fault: Fault, clears: int) -> None:
        """No bytes, or hardly any, until the time is over or the faults are taken back."""
        loop = asyncio.get_running_loop()
        session, faults = self._session, self._station.content.faults
        end = loop.time() + fault.seconds if fault.seconds else float("inf")
        session.frozen = session.downloaded(loop.time())
        while self._connection.open and loop.time() < end and faults.clears == clears:
            if fault.kind == "trickle":
                self._send(self._read(fault.amount or TRICKLE_BYTES))
                await asyncio.sleep(TRICKLE_SECONDS)
            else:
                await asyncio.sleep(LOOK_SECONDS)
        session.frozen = None


async def send_film(
    connection: SimConnection,
    request: SimRequest,
    session: Session,
    count: Count,
    frozen: Callable[[], bool],
) -> None:
    """A film: its length, 206 for one range, 416 for one it can't give (RFC 9110 §14, §2.2)."""
    station = session.station
    film, content = station.film, station.content
    fields = [("Accept-Ranges", "bytes")] if content.ranges else []
    if content.content_type:
        fields.append(("Content-Type", content.content_type))
    begin, end, status = 0, len(film), 200
    if "range" in request.headers and content.ranges:
        bounds = byte_range(request.headers["range"], len(film))
        if bounds is None:
            count(station, "rejected_ranges", 1)
            connection.respond(416, headers=[("Content-Range", f"bytes */{len(film)}")])
            return
        begin, end = bounds
        status = 206
        fields.append(("Content-Range", f"bytes {begin}-{end - 1}/{len(film)}"))
    fields.append(("Content-Length", str(end - begin)))
    duration = station.broadcast.duration_seconds * content.repeats
    fields.append(("X-Content-Duration", f"{duration:.2f}"))
    connection.begin_body(status, fields, chunked=False)
    if request.method == "HEAD":
        return
    while begin < end and connection.open:
        writable = await connection.drain(LOOK_SECONDS)
        if not writable or frozen():
            await asyncio.sleep(LOOK_SECONDS)
            continue
        size = min(end - begin, content.piece_bytes)
        fault = _due(content.faults, begin)
        if fault is not None:
            count(station, "faults", 1)
            clears = content.faults.clears
            content.faults.strike(fault)
            if await _spoil_film(connection, session, fault, clears):
                return
            size = min(size, fault.amount or TRICKLE_BYTES) if fault.kind == "trickle" else size
        else:
            size = min(
                [
                    size,
                    *(
                        f.after_bytes - begin
                        for f in content.faults.media()
                        if f.after_bytes > begin
                    ),
                ]
            )
        connection.body_piece(film[begin : begin + size])
        count(station, "bytes_sent", size)
        begin += size
        await asyncio.sleep(0)


def _due(faults: Faults, at: int) -> Fault | None:
    """What strikes a reader who has come to this byte of a film."""
    return next((f for f in faults.media() if f.kind in FILM_FAULTS and f.after_bytes <= at), None)


async def _spoil_film(
    connection: SimConnection, session: Session, fault: Fault, clears: int
) -> bool:
    """Let a fault strike a film's reader. True: the body has ended by it."""
    loop = asyncio.get_running_loop()
    match fault.kind:
        case "eof":
            connection.end_body()
        case "cut":
            connection.close()
        case "rst":
            connection.reset()
        case "trickle":
            await asyncio.sleep(TRICKLE_SECONDS)
        case _:
            until = loop.time() + fault.seconds if fault.seconds else float("inf")
            await _starve_film(connection, session, until, clears)
    return fault.kind in ENDINGS


async def _starve_film(
    connection: SimConnection, session: Session, until: float, clears: int
) -> None:
    loop, faults = asyncio.get_running_loop(), session.station.content.faults
    session.frozen = session.downloaded(loop.time())
    while connection.open and loop.time() < until and faults.clears == clears:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_SECONDS)
    session.frozen = None


def byte_range(value: str, length: int) -> tuple[int, int] | None:
    """First and last-plus-one byte of a single range; None when it can't be satisfied."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", value.strip())
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return (max(0, length - int(last)), length) if int(last) else None
    begin, end = int(first), min(length, int(last) + 1 if last else length)
    return (begin, end) if begin < end else None
