"""One channel's packets to all its viewers. The only file where speed is sacred.

Owns: the ring of chunks, the entry points in it, each viewer's place, the batch that waits to be
sent. Must not know: HTTP, asyncio, engines, accounts. Time and scheduling are arguments.

The hot path is this list and nothing else; no await, task, log or copy is in it:

    upstream `data_received` -> `Mux.feed` -> `Mux._emit` -> `Sink.write`

One immutable chunk goes to every viewer whose place is at the head of the ring. A viewer whose
transport is paused is skipped; his place stays behind in the ring, and `Mux.resumed` lets him catch
up from there. What one viewer does is never felt by another: reading from upstream does not pause,
the walk does not wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, Protocol

from rawstream.config import Limits
from rawstream.mpegts import (
    PACKET_SIZE,
    PacketCutter,
    PcrClock,
    RandomAccessPoint,
    TsScanner,
    continuity_counters,
    discontinuity_packet,
)

_LOOK_BYTES = 1024 * 1024  # how far around an entry point a jump looks for each PID's counter


class Sink(Protocol):
    """Where a viewer's bytes go: one connection, seen from here."""

    write: Callable[[bytes], None]
    paused: bool

    def unsent(self) -> int: ...
    def kernel_unsent(self) -> tuple[int, int] | None: ...
    def abort(self) -> None: ...
    def finish(self) -> None: ...


class Intake(Protocol):
    """What turns a source's pieces into whole packets: a cutter, or a splice onto the old
    timeline.
    """

    @property
    def resyncs(self) -> int: ...
    @property
    def lost_bytes(self) -> int: ...
    def feed(self, data: bytes) -> bytes: ...


class Place(Enum):
    """Where a viewer stands in the ring."""

    HEAD = "playing"  # gets each chunk as it comes
    BEHIND = "catching up"  # reads the ring from `cursor`
    PAUSED = "paused"  # behind, and his transport takes nothing
    # his place has left the ring and no entry point is in it: the next one starts him
    WAITING = "waiting"
    GONE = "gone"


_MOVES: dict[Place, frozenset[Place]] = {
    Place.BEHIND: frozenset({Place.HEAD, Place.PAUSED, Place.WAITING, Place.GONE}),
    Place.HEAD: frozenset({Place.PAUSED, Place.GONE}),
    Place.PAUSED: frozenset({Place.BEHIND, Place.GONE}),
    Place.WAITING: frozenset({Place.BEHIND, Place.GONE}),
    Place.GONE: frozenset(),
}


class Chunk:
    """Some whole packets, and the media time they begin and end at, seconds since the first PCR."""

    __slots__ = ("begins", "data", "seconds")

    def __init__(self, data: bytes, begins: float, seconds: float) -> None:
        self.data = data
        self.begins = begins
        self.seconds = seconds


class EntryPoint(NamedTuple):
    """A place in the ring where a decoder may start, with the tables it needs first."""

    sequence: int
    offset: int
    seconds: float
    tables: bytes


@dataclass(frozen=True, slots=True)
class ViewerSnapshot:
    """One viewer as shown to the operator. Times in seconds, sizes in bytes."""

    id: int
    address: str
    port: int
    user_agent: str
    account: str | None
    state: str
    seconds: float
    seconds_behind: float
    bytes_sent: int
    queued_bytes: int
    jumps: int


class Viewer:
    """One player on this channel: his sink and his place."""

    __slots__ = (
        "account",
        "acknowledged",
        "acknowledged_at",
        "address",
        "cursor",
        "head_mark",
        "id",
        "joined_at",
        "jumps",
        "place",
        "port",
        "sent",
        "sink",
        "user_agent",
    )

    def __init__(
        self,
        id: int,
        sink: Sink,
        *,
        now: float,
        address: str = "",
        port: int = 0,
        user_agent: str = "",
        account: str | None = None,
    ) -> None:
        # -- who --
        self.id = id
        self.sink = sink
        self.address = address
        self.port = port
        self.user_agent = user_agent
        self.account = account
        self.joined_at = now
        # -- place --
        self.place = Place.BEHIND
        self.cursor = 0  # sequence of the next chunk to write; meaningless at the head
        # -- counters --
        self.sent = 0  # bytes, without those since `head_mark` while at the head
        self.head_mark = 0  # the mux's `bytes_emitted` when this viewer reached the head
        self.jumps = 0
        # -- stall watch, only while paused --
        self.acknowledged = -1
        self.acknowledged_at = now

    def move(self, place: Place) -> None:
        if place not in _MOVES[self.place]:
            raise AssertionError(f"viewer {self.id}: {self.place} -> {place}")
        self.place = place


class Mux:
    """The ring of one channel and the places of its viewers.

    `call_soon(callback)` runs it in the next turn of the loop; `call_later(seconds, callback)`
    returns a handle with `cancel()`. Both are given by the owner, so that this class owns no loop
    and tests own the time.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        call_soon: Callable[[Callable[[], None]], object],
        call_later: Callable[[float, Callable[[], None]], Any],
        on_entry_point: Callable[[], None] | None = None,
    ) -> None:
        self._limits = limits
        self._call_soon = call_soon
        self._call_later = call_later
        self.on_entry_point = on_entry_point  # told when the ring gets its first usable entry point
        # -- intake --
        self._intake: Intake = PacketCutter()
        self._scanner = TsScanner()
        self._clock = PcrClock()
        self._any_start = False
        # -- the batch --
        self.window_seconds = 0.0
        self._chunk_bytes = limits.chunk_bytes
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._flush_timer: Any = None
        # -- the ring --
        self._ring: dict[int, Chunk] = {}
        self._first = 0  # sequence of the oldest chunk
        self._next = 0  # sequence the next chunk will get
        self._entries: deque[EntryPoint] = deque()
        self.ring_bytes = 0
        self.ring_cap_bytes = limits.ring_cap_bytes
        # -- viewers --
        self._viewers: dict[Viewer, None] = {}
        self._head: dict[Sink, Viewer] = {}
        self._walk: list[Sink] | None = []  # `_head`'s sinks; None when it must be made anew
        self._catching: deque[Viewer] = deque()
        self._pumping = False
        self._marked: tuple[tuple[int, int], bytes] = ((-1, -1), b"")
        # -- counters --
        self.feeds = 0
        self.bytes_in = 0
        self.bytes_emitted = 0  # what a viewer at the head since the beginning would have got
        self.bytes_out = 0
        self.jumps = 0
        self.stalled = 0
        self.resyncs = 0
        self.lost_bytes = 0
        self.epochs = 1

    # -- from upstream: the hot path ---------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take a piece of the source, of any size and cut anywhere."""
        self.feeds += 1
        self.bytes_in += len(data)
        packets = self._intake.feed(data)
        size = len(packets)
        if not size:
            return
        if self.window_seconds == 0.0 and not self._pending and size <= self._chunk_bytes:
            self._emit(packets)
            return
        self._pending.append(packets)
        self._pending_bytes += size
        if self._pending_bytes >= self._chunk_bytes or self.window_seconds == 0.0:
            self._flush(whole=self.window_seconds == 0.0)
        if self._pending and self._flush_timer is None:
            self._flush_timer = self._call_later(self.window_seconds, self._flush_aged)

    def _emit(self, chunk: bytes) -> None:
        scan = self._scanner.scan(chunk)
        sequence = self._next
        self._next = sequence + 1
        size = len(chunk)
        clock = self._clock
        self._ring[sequence] = Chunk(chunk, clock.seconds, clock.follow(scan, size))
        self.ring_bytes += size
        self.bytes_emitted += size

        walk = self._walk
        if walk is None:
            walk = self._walk = list(self._head)
        behind: list[Sink] | None = None
        for sink in walk:
            if sink.paused:
                if behind is None:
                    behind = []
                behind.append(sink)
            else:
                sink.write(chunk)
        self.bytes_out += size * len(walk)

        if behind is not None:
            self._leave_behind(behind, sequence, size)
        if scan.random_access or scan.pes_starts:
            self._note_entry_points(scan.random_access or scan.pes_starts, sequence)
        if self.ring_bytes > self._limits.ring_bytes or self.ring_bytes > self.ring_cap_bytes:
            self._evict()

    # -- the batch ---------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what waits, whatever its age: the source ends or is left."""
        self._flush(whole=True)

    def _flush_aged(self) -> None:
        self._flush_timer = None
        self._flush(whole=True)

    def _flush(self, *, whole: bool) -> None:
        pending = self._pending
        if not pending:
            return
        packets = pending[0] if len(pending) == 1 else b"".join(pending)
        pending.clear()
        self._pending_bytes = 0
        step = self._chunk_bytes
        end = len(packets)
        start = 0
        while end - start >= step or (whole and start < end):
            stop = min(start + step, end)
            self._emit(packets if stop - start == end else packets[start:stop])
            start = stop
        if start < end:
            pending.append(packets[start:])
            self._pending_bytes = end - start
        elif self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None

    # -- a new source on the old timeline ----------------------------------------------------------

    def begin_epoch(self, intake: Intake) -> None:
        """From now on pieces come from another source, through `intake`. Media time goes on from
        where it stands.
        """
        self.flush()
        self.resyncs += self._intake.resyncs
        self.lost_bytes += self._intake.lost_bytes
        self._intake = intake
        self._scanner = TsScanner(want_pes_starts=self._any_start)
        self.epochs += 1

    def tail(self, seconds: float, limit_bytes: int) -> bytes:
        """The newest packets of the ring: about `seconds` of media, at most `limit_bytes`."""
        parts: list[bytes] = []
        size = 0
        since = self._clock.seconds - seconds
        for sequence in range(self._next - 1, self._first - 1, -1):
            chunk = self._ring[sequence]
            if size + len(chunk.data) > limit_bytes or chunk.seconds < since:
                break
            parts.append(chunk.data)
            size += len(chunk.data)
        parts.reverse()
        return b"".join(parts)

    def accept_any_start(self) -> None:
        """No random-access point came for long: let viewers in at any PES start (design §4.3)."""
        if not self._any_start:
            self._any_start = True
            self._scanner = TsScanner(want_pes_starts=True)

    # -- the ring ----------------------------------------------------------------------------------

    def _note_entry_points(self, points: Any, sequence: int) -> None:
        point: RandomAccessPoint
        had = bool(self._entries)
        for point in points:
            at, offset = sequence, point.offset
            while offset < 0 and at > self._first:  # its PES began in an earlier chunk
                at -= 1
                offset += len(self._ring[at].data)
            if offset < 0 or (self._entries and (at, offset) <= self._entries[-1][:2]):
                continue
            self._entries.append(EntryPoint(at, offset, self._ring[at].begins, point.tables))
        if self._entries:
            self._start_waiting()
            if not had and self.on_entry_point is not None:
                self.on_entry_point()

    def _evict(self) -> None:
        """Drop the oldest chunks: beyond the wanted time and size, never beyond the newest entry
        point, save at the hard cap.
        """
        ring = self._ring
        limits = self._limits
        horizon = self._clock.seconds - limits.ring_seconds
        keep = self._entries[-1].sequence if self._entries else self._next
        while self._first < self._next - 1:
            oldest = ring[self._first]
            if self.ring_bytes <= self.ring_cap_bytes and (
                self.ring_bytes <= limits.ring_bytes
                or oldest.seconds >= horizon
                or self._first >= keep
            ):
                break
            self.ring_bytes -= len(oldest.data)
            del ring[self._first]
            self._first += 1
        while self._entries and self._entries[0].sequence < self._first:
            self._entries.popleft()

    @property
    def seconds(self) -> float:
        """Media time at the head, seconds since the first PCR."""
        return self._clock.seconds

    @property
    def ring_seconds(self) -> float:
        """Media time from the oldest chunk to the newest."""
        return self._clock.seconds - self._ring[self._first].begins if self._ring else 0.0

    @property
    def joinable(self) -> bool:
        """Whether the ring holds a place where a decoder may start."""
        return bool(self._entries)

    @property
    def scanner(self) -> TsScanner:
        """The reader of the newest source's tables."""
        return self._scanner

    @property
    def bitrate(self) -> float:
        """Bit/s of media time over the last seconds of it; 0 while unknown."""
        return self._clock.bitrate

    @property
    def any_start(self) -> bool:
        return self._any_start

    @property
    def total_resyncs(self) -> int:
        """How often the packets of all sources so far were lost and found again."""
        return self.resyncs + self._intake.resyncs

    # -- viewers -----------------------------------------------------------------------------------

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    def __iter__(self) -> Iterator[Viewer]:
        return iter(list(self._viewers))

    def add(self, viewer: Viewer) -> None:
        """Let a viewer in at the entry point that lies about `join_seconds` behind the head, with
        its tables.
        """
        self._viewers[viewer] = None
        entry = self._entry_for_join()
        if entry is None:
            viewer.move(Place.WAITING)
            return
        self._enter(viewer, entry, b"")

    def _entry_for_join(self) -> EntryPoint | None:
        wanted = self._clock.seconds - self._limits.join_seconds
        best: EntryPoint | None = None
        for entry in reversed(self._entries):
            if best is None or abs(entry.seconds - wanted) <= abs(best.seconds - wanted):
                best = entry
            if entry.seconds <= wanted:
                break
        return best

    def _enter(self, viewer: Viewer, entry: EntryPoint, before: bytes) -> None:
        first = self._ring[entry.sequence].data
        head = before + entry.tables + first[entry.offset :]
        viewer.cursor = entry.sequence + 1
        self._write(viewer, head)
        self._catch_up_soon(viewer)

    def remove(self, viewer: Viewer) -> None:
        """Forget a viewer; his sink is not touched. A second call does nothing."""
        if viewer.place is Place.GONE:
            return
        if viewer.place is Place.HEAD:
            self._off_head(viewer)
        viewer.move(Place.GONE)
        self._viewers.pop(viewer, None)

    def _off_head(self, viewer: Viewer) -> None:
        del self._head[viewer.sink]
        self._walk = None
        viewer.sent += self.bytes_emitted - viewer.head_mark

    def _leave_behind(self, sinks: list[Sink], sequence: int, size: int) -> None:
        """These sinks were paused when the chunk was sent: it is the next one they need."""
        self.bytes_out -= size * len(sinks)
        for sink in sinks:
            viewer = self._head[sink]
            self._off_head(viewer)
            viewer.sent -= size
            viewer.cursor = sequence
            viewer.acknowledged = -1
            viewer.move(Place.PAUSED)
            if not sink.paused:  # resumed inside another's write: nobody will tell us again
                self.resumed(viewer)

    def resumed(self, viewer: Viewer) -> None:
        """The viewer's transport takes bytes again."""
        if viewer.place is Place.PAUSED:
            viewer.move(Place.BEHIND)
            self._catch_up_soon(viewer)

    # -- catching up: a bounded number of chunks per turn, for each viewer and for all of them -----

    def _catch_up_soon(self, viewer: Viewer) -> None:
        self._catching.append(viewer)
        if not self._pumping:
            self._pumping = True
            self._call_soon(self._pump)

    def _pump(self) -> None:
        per_viewer = self._limits.catch_up_chunks
        left = per_viewer * 8
        for _ in range(len(self._catching)):
            viewer = self._catching.popleft()
            if viewer.place is not Place.BEHIND:
                continue
            left -= self._catch_up(viewer, min(per_viewer, left))
            if viewer.place is Place.BEHIND:
                self._catching.append(viewer)
            if left <= 0:
                break
        self._pumping = bool(self._catching)
        if self._pumping:
            self._call_soon(self._pump)

    def _catch_up(self, viewer: Viewer, writes: int) -> int:
        """Write at most so many times; returns how often it did. Leaves the viewer behind, paused
        or at the head.
        """
        sink = viewer.sink
        done = 0
        while not sink.paused:
            if viewer.cursor >= self._next:
                viewer.move(Place.HEAD)
                viewer.head_mark = self.bytes_emitted
                self._head[sink] = viewer
                self._walk = None
                return done
            if done >= writes:
                return done
            if viewer.cursor < self._first:
                self._jump(viewer)
                return done + 1
            self._write(viewer, self._gather(viewer))
            done += 1
        viewer.acknowledged = -1
        viewer.move(Place.PAUSED)
        return done

    def _gather(self, viewer: Viewer) -> bytes:
        """The next chunks as one piece of about a chunk's size: small ones cost as much per write
        as big ones.
        """
        ring = self._ring
        chunk = ring[viewer.cursor].data
        viewer.cursor += 1
        size = len(chunk)
        if size * 2 > self._chunk_bytes or viewer.cursor >= self._next:
            return chunk
        parts = [chunk]
        while viewer.cursor < self._next:
            following = ring[viewer.cursor].data
            size += len(following)
            if size > self._chunk_bytes:
                break
            parts.append(following)
            viewer.cursor += 1
        return b"".join(parts)

    def _write(self, viewer: Viewer, data: bytes) -> None:
        viewer.sent += len(data)
        self.bytes_out += len(data)
        viewer.sink.write(data)

    # -- slow viewers ------------------------------------------------------------------------------

    def _jump(self, viewer: Viewer) -> None:
        """His place has left the ring: on to the newest entry point, marked as a discontinuity."""
        viewer.jumps += 1
        self.jumps += 1
        if not self._entries:
            viewer.move(Place.WAITING)
            return
        entry = self._entries[-1]
        self._enter_marked(viewer, entry)

    def _enter_marked(self, viewer: Viewer, entry: EntryPoint) -> None:
        first = self._ring[entry.sequence].data
        viewer.cursor = entry.sequence + 1
        self._write(viewer, self._marks(entry) + entry.tables + first[entry.offset :])

    def _marks(self, entry: EntryPoint) -> bytes:
        """What announces the jump on each PID that goes on behind the entry point.

        A PID's next counter is read ahead of the point; one that is rare (SDT, subtitles) may not
        have come yet, and then follows from the last one before it.
        """
        before = continuity_counters(self._around(entry, -1), last=True)
        ahead = continuity_counters(entry.tables + self._around(entry, 1))
        next_counters = {pid: counter + 1 & 0x0F for pid, counter in before.items()} | ahead
        marks = b"".join(discontinuity_packet(*mark) for mark in next_counters.items())
        self._marked = (entry[:2], marks)
        return marks

    def _around(self, entry: EntryPoint, step: int) -> bytes:
        """The packets before (`step` -1) or from (1) an entry point on, a bounded number."""
        chunk = self._ring[entry.sequence].data
        parts = [chunk[entry.offset :] if step > 0 else chunk[: entry.offset]]
        size = len(parts[0])
        sequence = entry.sequence + step
        while size < _LOOK_BYTES and self._first <= sequence < self._next:
            parts.append(self._ring[sequence].data)
            size += len(parts[-1])
            sequence += step
        return b"".join(parts[::step])

    def _start_waiting(self) -> None:
        waiting = [viewer for viewer in self._viewers if viewer.place is Place.WAITING]
        for viewer in waiting:
            viewer.move(Place.BEHIND)
            if viewer.sent:
                self._enter_marked(viewer, self._entries[-1])
                self._catch_up_soon(viewer)
            else:
                self._enter(viewer, self._entries[-1], b"")

    def sweep(self, now: float, stall_seconds: float) -> list[Viewer]:
        """Look at the paused viewers; returns those whose peer has acknowledged nothing for
        `stall_seconds`.

        Called about once a second. The caller aborts them.
        """
        stalled: list[Viewer] = []
        for viewer in self._viewers:
            if viewer.place is not Place.PAUSED:
                continue
            queue = viewer.sink.kernel_unsent()
            acknowledged = queue[1] if queue is not None else viewer.sent - viewer.sink.unsent()
            if acknowledged != viewer.acknowledged:
                viewer.acknowledged = acknowledged
                viewer.acknowledged_at = now
            elif now - viewer.acknowledged_at >= stall_seconds:
                stalled.append(viewer)
        self.stalled += len(stalled)
        return stalled

    def finish(self) -> None:
        """The channel ends: let every viewer's connection end after what he was already sent."""
        self.flush()
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        for viewer in list(self._viewers):
            self.remove(viewer)
            viewer.sink.finish()

    # -- snapshots ---------------------------------------------------------------------------------

    def snapshot(self, viewer: Viewer, now: float, bitrate: float) -> ViewerSnapshot:
        """What the operator sees of one viewer. Lag = ring distance + unsent + unacknowledged
        (design §4.4).
        """
        sent = viewer.sent
        distance = 0.0
        if viewer.place is Place.HEAD:
            sent += self.bytes_emitted - viewer.head_mark
        elif viewer.place in (Place.BEHIND, Place.PAUSED) and viewer.cursor < self._next:
            oldest = max(viewer.cursor, self._first)
            distance = self._clock.seconds - self._ring[oldest].begins
        kernel = viewer.sink.kernel_unsent()
        queued = viewer.sink.unsent() + (kernel[0] if kernel is not None else 0)
        behind = distance + (queued * 8 / bitrate if bitrate > 0 else 0.0)
        return ViewerSnapshot(
            id=viewer.id,
            address=viewer.address,
            port=viewer.port,
            user_agent=viewer.user_agent,
            account=viewer.account,
            state=viewer.place.value,
            seconds=now - viewer.joined_at,
            seconds_behind=behind,
            bytes_sent=sent,
            queued_bytes=queued,
            jumps=viewer.jumps,
        )


def batch_window(viewers: int, feeds_per_second: float, limits: Limits) -> float:
    """Seconds a chunk may wait for company so that all writes stay within the budget (design §4.1).

    `viewers`: all that share the process; `feeds_per_second`: pieces that their sources deliver. 0
    as long as sending each piece at once fits.
    """
    if viewers * feeds_per_second <= limits.writes_per_second:
        return 0.0
    return min(viewers / limits.writes_per_second, limits.batch_window_max_seconds)


assert Limits().chunk_bytes % PACKET_SIZE == 0
