"""One channel's packets to all its viewers. The only file where speed is sacred.

Owns: the batch that waits to be sent, the walk over the viewers, who catches up and who jumps. Must
not know: HTTP, asyncio, engines, accounts. Time and scheduling are arguments.

The hot path is this list and nothing else; no await, task, log or copy is in it:

    upstream `data_received` -> `Mux.feed` -> `Mux._emit` -> `Sink.write`

One immutable chunk goes to every viewer whose place is at the head of the ring. A viewer whose
transport is paused is skipped; his place stays behind in the ring, and `Mux.resumed` lets him catch
up from there. What one viewer does is never felt by another: reading from upstream does not pause,
the walk does not wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from rawstream.config import Limits
from rawstream.mpegts import PACKET_SIZE, PacketCutter, PcrClock, RandomAccessPoint, TsScanner
from rawstream.ring import EntryPoint, Ring
from rawstream.viewer import Place, Sink, Viewer, ViewerSnapshot

_SOURCES_KNOWN = 64


class Intake(Protocol):
    """What turns a source's pieces into whole packets: a cutter, or a splice onto the old
    timeline.
    """

    @property
    def resyncs(self) -> int: ...
    @property
    def lost_bytes(self) -> int: ...
    @property
    def seamless(self) -> bool: ...
    def feed(self, data: bytes) -> bytes: ...


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
        self.on_points: Callable[[], None] | None = None  # told of each new entry point
        # -- intake --
        self._intake: Intake = PacketCutter()
        self._scanner = TsScanner()
        self._clock = PcrClock()
        self._has_clock = False  # a PCR has come
        self._arrival_seconds = 0.0  # media time of a stream without PCR: since its first packet
        self._arrival_from: float | None = None
        self._any_start = False
        # -- the batch --
        self.window_seconds = 0.0
        self._chunk_bytes = limits.chunk_bytes
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._flush_timer: Any = None
        self.ring = Ring(limits)
        # where in the ring each source began, and what it came through: the newest ones
        self.sources_from: deque[tuple[int, Intake]] = deque(maxlen=_SOURCES_KNOWN)
        # -- viewers --
        self._viewers: dict[Viewer, None] = {}
        self._head: dict[Sink, Viewer] = {}
        self._walk: list[Sink] | None = []  # `_head`'s sinks; None when it must be made anew
        self._catching: deque[Viewer] = deque()
        self._pumping = False
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
        size = len(chunk)
        clock = self._clock
        ring = self.ring
        if scan.last_pcr is not None or self._has_clock:
            self._has_clock = True
            sequence = ring.append(chunk, clock.seconds, clock.follow(scan, size))
        else:
            sequence = ring.append(chunk, self._arrival_seconds, self._arrival_seconds)
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
        points = scan.random_access or scan.pes_starts
        if points:
            self._note_entry_points(points, sequence)
        ring.evict()

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
        self.sources_from.append((self.ring.next, intake))
        self._scanner = TsScanner(want_pes_starts=self._any_start)
        self.epochs += 1

    def accept_any_start(self) -> None:
        """No random-access point came for long: let viewers in at any PES start (design §4.3)."""
        if not self._any_start:
            self._any_start = True
            self._scanner = TsScanner(want_pes_starts=True)

    # -- what is known of the stream ---------------------------------------------------------------

    def _note_entry_points(self, points: Sequence[RandomAccessPoint], sequence: int) -> None:
        first = not self.ring.entries
        if self.ring.note(points, sequence):
            self._start_waiting()
            if self.on_points is not None:
                self.on_points()
            if first and self.on_entry_point is not None:
                self.on_entry_point()

    def tell_time(self, now: float) -> None:
        """Called some times a second: a stream without PCR is timed by when its packets came."""
        if not self._has_clock and self.bytes_emitted:
            if self._arrival_from is None:
                self._arrival_from = now
            self._arrival_seconds = now - self._arrival_from

    @property
    def seconds(self) -> float:
        """Media time at the head: seconds since the first PCR, or since the first packet if there
        is none.
        """
        return self._clock.seconds if self._has_clock else self._arrival_seconds

    @property
    def joinable(self) -> bool:
        """Whether the ring holds a place where a decoder may start."""
        return bool(self.ring.entries)

    @property
    def scanner(self) -> TsScanner:
        """The reader of the newest source's tables."""
        return self._scanner

    @property
    def bitrate(self) -> float:
        """Bit/s of media time over the last seconds of it; 0 while unknown."""
        if self._has_clock:
            return self._clock.bitrate
        return self.ring.size * 8 / self.ring.seconds if self.ring.seconds > 1 else 0.0

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
        entry = self.ring.entry_near(self.seconds - self._limits.join_seconds)
        if entry is None:
            viewer.move(Place.WAITING)
        else:
            self._enter(viewer, entry)

    def _enter(self, viewer: Viewer, entry: EntryPoint) -> None:
        viewer.cursor = entry.sequence + 1
        self._write(viewer, self.ring.start(entry))
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
        ring = self.ring
        done = 0
        while not sink.paused:
            if viewer.cursor >= ring.next:
                viewer.move(Place.HEAD)
                viewer.head_mark = self.bytes_emitted
                self._head[sink] = viewer
                self._walk = None
                return done
            if done >= writes:
                return done
            if viewer.cursor < ring.first:
                self._jump(viewer)
                return done + 1
            data, viewer.cursor = ring.gather(viewer.cursor, self._chunk_bytes)
            self._write(viewer, data)
            done += 1
        viewer.acknowledged = -1
        viewer.move(Place.PAUSED)
        return done

    def _write(self, viewer: Viewer, data: bytes) -> None:
        viewer.sent += len(data)
        self.bytes_out += len(data)
        viewer.sink.write(data)

    # -- slow viewers ------------------------------------------------------------------------------

    def _jump(self, viewer: Viewer) -> None:
        """His place has left the ring: on to the newest entry point, marked as a discontinuity."""
        viewer.jumps += 1
        self.jumps += 1
        if self.ring.entries:
            self._enter_marked(viewer, self.ring.entries[-1])
        else:
            viewer.move(Place.WAITING)

    def _enter_marked(self, viewer: Viewer, entry: EntryPoint) -> None:
        viewer.cursor = entry.sequence + 1
        self._write(viewer, self.ring.marks(entry) + self.ring.start(entry))

    def _start_waiting(self) -> None:
        waiting = [viewer for viewer in self._viewers if viewer.place is Place.WAITING]
        for viewer in waiting:
            viewer.move(Place.BEHIND)
            if viewer.sent:
                self._enter_marked(viewer, self.ring.entries[-1])
                self._catch_up_soon(viewer)
            else:
                self._enter(viewer, self.ring.entries[-1])

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

    def snapshot(
        self, viewer: Viewer, now: float, bitrate: float, *, kernel: bool = True
    ) -> ViewerSnapshot:
        """What the operator sees of one viewer. Lag = ring distance + unsent + unacknowledged
        (design §4.4).
        """
        sent = viewer.sent
        distance = 0.0
        if viewer.place is Place.HEAD:
            sent += self.bytes_emitted - viewer.head_mark
        elif viewer.place in (Place.BEHIND, Place.PAUSED) and viewer.cursor < self.ring.next:
            distance = self.seconds - self.ring.begins(viewer.cursor)
        queue = viewer.sink.kernel_unsent() if kernel else None
        queued = viewer.sink.unsent() + (queue[0] if queue is not None else 0)
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


def batch_windows(loads: Sequence[tuple[int, float]], limits: Limits) -> list[float]:
    """Seconds a chunk of each channel may wait for company so that all writes of the process stay
    within the budget (design §4.1).

    `loads`: of each channel its viewers and the pieces per second that its source delivers. Those
    that ask for little send each piece at once; those that ask for most share what is left.
    """
    windows = [0.0] * len(loads)
    budget = float(limits.writes_per_second)
    order = sorted(range(len(loads)), key=lambda index: loads[index][0] * loads[index][1])
    for place, index in enumerate(order):
        viewers, pieces_per_second = loads[index]
        if viewers * pieces_per_second <= budget / (len(order) - place):
            budget -= viewers * pieces_per_second
            continue
        heavy = order[place:]
        window = sum(loads[index][0] for index in heavy) / budget
        for index in heavy:
            windows[index] = min(window, limits.batch_window_max_seconds)
        break
    return windows


assert Limits().chunk_bytes % PACKET_SIZE == 0
