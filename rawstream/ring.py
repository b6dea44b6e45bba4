"""The last minute of a channel: chunks in order, and the places in them where a decoder may start.

Owns: what is kept and what is dropped, the entry points, what a viewer needs who starts or jumps
there. Must not know: viewers, sockets, the clock; media time comes with each chunk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from rawstream.config import Limits
from rawstream.continuity import continuity_counters, discontinuity_packet
from rawstream.mpegts import RandomAccessPoint

_LOOK_BYTES = 1024 * 1024  # how far around an entry point a jump looks for each PID's counter


class Chunk:
    """Some whole packets, and the media time they begin and end at, seconds since the first PCR."""

    __slots__ = ("begins", "data", "seconds")

    def __init__(self, data: bytes, begins: float, seconds: float) -> None:
        self.data = data
        self.begins = begins
        self.seconds = seconds


class EntryPoint(NamedTuple):
    """A place in the ring where a decoder may start, with the tables it needs first.

    `sequence`: the chunk it lies in; `offset`: of its packet in that chunk; `seconds`: media time
    at the beginning of the chunk; `pts`: 90 kHz, None where it can't be read.
    """

    sequence: int
    offset: int
    seconds: float
    tables: bytes
    pts: int | None = None


class Ring:
    """Chunks by sequence number, from `first` to before `next`. `size` and `cap_bytes` in bytes."""

    __slots__ = (
        "_chunks",
        "_keep_bytes",
        "_keep_seconds",
        "_marked",
        "cap_bytes",
        "entries",
        "first",
        "next",
        "size",
    )

    def __init__(self, limits: Limits) -> None:
        self._keep_bytes = limits.ring_bytes
        self._keep_seconds = limits.ring_seconds
        self.cap_bytes = limits.ring_cap_bytes
        self._chunks: dict[int, Chunk] = {}
        self.first = 0
        self.next = 0
        self.size = 0
        self.entries: deque[EntryPoint] = deque()
        self._marked: tuple[tuple[int, int], bytes] = ((-1, -1), b"")

    def append(self, data: bytes, begins: float, seconds: float) -> int:
        """Take the next chunk, from and to this media time; returns its sequence number."""
        sequence = self.next
        self.next = sequence + 1
        self._chunks[sequence] = Chunk(data, begins, seconds)
        self.size += len(data)
        return sequence

    def note(self, points: Sequence[RandomAccessPoint], sequence: int) -> bool:
        """Remember where a decoder may start, as found in this chunk (or, with a negative offset,
        before it). Whether any of them is new.
        """
        known = len(self.entries)
        for point in points:
            at, offset = sequence, point.offset
            while offset < 0 and at > self.first:  # its PES began in an earlier chunk
                at -= 1
                offset += len(self._chunks[at].data)
            if offset < 0 or (self.entries and (at, offset) <= self.entries[-1][:2]):
                continue
            begins = self._chunks[at].begins
            self.entries.append(EntryPoint(at, offset, begins, point.tables, point.pts))
        return len(self.entries) > known

    def evict(self) -> None:
        """Drop the oldest chunks: beyond the wanted time and size, never beyond the newest entry
        point, save at the hard cap.
        """
        if self.size <= self._keep_bytes and self.size <= self.cap_bytes:
            return
        horizon = self._chunks[self.next - 1].seconds - self._keep_seconds
        keep = self.entries[-1].sequence if self.entries else self.next
        while self.first < self.next - 1:
            oldest = self._chunks[self.first]
            if self.size <= self.cap_bytes and (
                self.size <= self._keep_bytes or oldest.seconds >= horizon or self.first >= keep
            ):
                break
            self.size -= len(oldest.data)
            del self._chunks[self.first]
            self.first += 1
        while self.entries and self.entries[0].sequence < self.first:
            self.entries.popleft()

    # -- reading -----------------------------------------------------------------------------------

    def chunk(self, sequence: int) -> Chunk:
        """One that is kept: from `first` to before `next`."""
        return self._chunks[sequence]

    def begins(self, sequence: int) -> float:
        """Media time at the start of a chunk; of the oldest one for what has been dropped."""
        return self._chunks[max(sequence, self.first)].begins

    @property
    def seconds(self) -> float:
        """Media time from the oldest chunk to the newest."""
        if not self._chunks:
            return 0.0
        return self._chunks[self.next - 1].seconds - self._chunks[self.first].begins

    def entry_near(self, seconds: float) -> EntryPoint | None:
        """The entry point nearest to this media time."""
        best: EntryPoint | None = None
        for entry in reversed(self.entries):
            if best is None or abs(entry.seconds - seconds) <= abs(best.seconds - seconds):
                best = entry
            if entry.seconds <= seconds:
                break
        return best

    def start(self, entry: EntryPoint) -> bytes:
        """What a decoder needs that starts here, up to the end of the entry point's chunk."""
        return entry.tables + self._chunks[entry.sequence].data[entry.offset :]

    def gather(self, cursor: int, size: int) -> tuple[bytes, int]:
        """Chunks from `cursor` on as one piece of about `size` bytes, since small writes cost as
        much as big ones; and where the next piece begins.
        """
        chunk = self._chunks[cursor].data
        cursor += 1
        gathered = len(chunk)
        if gathered * 2 > size or cursor >= self.next:
            return chunk, cursor
        parts = [chunk]
        while cursor < self.next:
            following = self._chunks[cursor].data
            gathered += len(following)
            if gathered > size:
                break
            parts.append(following)
            cursor += 1
        return b"".join(parts), cursor

    def tail(self, seconds: float, limit_bytes: int) -> bytes:
        """The newest packets: about so much media, at most so many bytes."""
        parts: list[bytes] = []
        size = 0
        since = self._chunks[self.next - 1].seconds - seconds if self._chunks else 0.0
        for sequence in range(self.next - 1, self.first - 1, -1):
            chunk = self._chunks[sequence]
            if size + len(chunk.data) > limit_bytes or chunk.seconds < since:
                break
            parts.append(chunk.data)
            size += len(chunk.data)
        parts.reverse()
        return b"".join(parts)

    # -- jumping -----------------------------------------------------------------------------------

    def marks(self, entry: EntryPoint) -> bytes:
        """What announces a jump to this entry point, on each PID that goes on behind it.

        A PID's next counter is read ahead of the point; one that is rare (SDT, subtitles) may not
        have come yet, and then follows from the last one before it. Kept for the next viewer, since
        after a hiccup many jump to the same place.
        """
        known, marks = self._marked
        if known == entry[:2]:
            return marks
        before = continuity_counters(self._around(entry, -1), last=True)
        ahead = continuity_counters(entry.tables + self._around(entry, 1))
        next_counters = {pid: counter + 1 & 0x0F for pid, counter in before.items()} | ahead
        marks = b"".join(discontinuity_packet(*mark) for mark in next_counters.items())
        self._marked = (entry[:2], marks)
        return marks

    def _around(self, entry: EntryPoint, step: int) -> bytes:
        """The packets before (`step` -1) or from (1) an entry point on, a bounded number."""
        chunk = self._chunks[entry.sequence].data
        parts = [chunk[entry.offset :] if step > 0 else chunk[: entry.offset]]
        size = len(parts[0])
        sequence = entry.sequence + step
        while size < _LOOK_BYTES and self.first <= sequence < self.next:
            parts.append(self._chunks[sequence].data)
            size += len(parts[-1])
            sequence += step
        return b"".join(parts[::step])
