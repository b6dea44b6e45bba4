"""A short clip as an endless live broadcast: one timeline that any number of readers may look into.

Owns: how a position in bytes and a moment in seconds of media belong together, and what the bytes
at a position are. Both are pure functions of the clip, so that every session, and every engine that
was given the same clip and epoch, sees the same bytes and timestamps for the same moment.
Must not know: sockets, clocks, files, engines. Bytes in, values out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from itertools import pairwise

from rawstream.errors import FormatError
from rawstream.mpegts import (
    NULL_PID,
    PACKET_SIZE,
    PCR_HZ,
    PTS_HZ,
    SYNC_BYTE,
    TsScanner,
)
from rawstream.restamp import Restamper, pes_timestamps

SLICE_PACKETS = 128  # restamped at a time: short enough that the event loop does not feel it
CACHED_SLICES = 96  # 2.3 MB: several readers of one moment, or a list's worth of HLS segments
SEGMENT_SECONDS = 3.7  # the shortest HLS segment seen on a real engine (engine reference §2.5)
SERVICE_PIDS = frozenset((0x0000, 0x0010, 0x0011, 0x0012, 0x0014))  # PAT and DVB tables


class Broadcast:
    """An endless, seamless repetition of `clip`, addressed by byte position from its beginning.

    Loop n carries the clip's packets with n times its length added to PCR, PTS and DTS, and with
    continuity counters that run on (ISO/IEC 13818-1 §2.4.3.3), so a decoder sees one broadcast.

    `clip`: whole packets with PAT, PMT, PCR and at least two access units.
    `first_ticks`: 90 kHz ticks added to the whole timeline, e.g. to bring the 33-bit wrap near.

    Raises FormatError when the clip is no such transport stream.
    """

    __slots__ = (
        "_cache",
        "_clip",
        "_counts",
        "_first_counter",
        "_middles",
        "_offsets",
        "_times",
        "cuts",
        "duration_seconds",
        "duration_ticks",
        "entries",
        "first_ticks",
        "tables",
    )

    def __init__(self, clip: bytes, *, first_ticks: int = 0) -> None:
        if not clip or len(clip) % PACKET_SIZE:
            raise FormatError("clip", "not a whole number of 188-byte packets", len(clip))
        if any(byte != SYNC_BYTE for byte in clip[::PACKET_SIZE]):
            raise FormatError("clip", "a packet does not begin with 0x47")
        self._clip = clip
        self.first_ticks = first_ticks
        self._cache: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        clock = self._read_structure()
        self._read_counters()
        self._lay_timeline(clock)

    # -- the clip, read once --

    def _read_structure(self) -> list[tuple[int, int]]:
        """Find tables, entry points and the length. Returns (byte offset, PCR) of every PCR."""
        scanner = TsScanner()
        clock: list[tuple[int, int]] = []
        entries: list[int] = []
        for offset in range(0, len(self._clip), PACKET_SIZE):
            scan = scanner.scan(self._clip[offset : offset + PACKET_SIZE])
            if scan.first_pcr is not None:
                clock.append((offset, scan.first_pcr))
            entries.extend(offset + point.offset for point in scan.random_access)
        program = scanner.program
        if program is None:
            raise FormatError("clip", "no program map")
        if len(clock) < 2:
            raise FormatError("clip", "fewer than two PCRs of the program")
        self.tables = scanner.tables
        self.entries = entries or [0]
        following = [*self.entries[1:], len(self._clip)]
        self._middles = [
            begin + (end - begin) // PACKET_SIZE // 2 * PACKET_SIZE
            for begin, end in zip(self.entries, following, strict=True)
        ]
        kinds = {stream.kind: stream.pid for stream in reversed(program.streams)}
        pid = kinds.get("video", kinds.get("audio"))
        stamps = sorted(each.pts for each in pes_timestamps(self._clip) if each.pid == pid)
        if len(stamps) < 2:
            raise FormatError("clip", "fewer than two access units with a PTS")
        length = round((stamps[-1] - stamps[0]) * len(stamps) / (len(stamps) - 1))
        # A PCR that ran back at the edge would be worse than an early end of a strange clip.
        span = (clock[-1][1] - clock[0][1]) // (PCR_HZ // PTS_HZ) + 1
        self.duration_ticks = max(length, span)
        self.duration_seconds = self.duration_ticks / PTS_HZ
        service = SERVICE_PIDS | {program.pmt_pid}
        self.cuts = self._segment_cuts(clock, service)
        return clock

    def _segment_cuts(self, clock: list[tuple[int, int]], service: frozenset[int]) -> list[int]:
        """Byte offsets where HLS segments begin: entry points, with the tables just before them."""
        moments = [(pcr - clock[0][1]) / PCR_HZ for _, pcr in clock]
        offsets = [offset for offset, _ in clock]
        cuts = [0]
        begun = 0.0
        for entry in self.entries:
            moment = moments[max(0, bisect_right(offsets, entry) - 1)]
            if moment - begun < SEGMENT_SECONDS:
                continue
            if self.duration_seconds - moment < SEGMENT_SECONDS:
                break
            cut = entry
            while cut and _pid(self._clip, cut - PACKET_SIZE) in service:
                cut -= PACKET_SIZE
            cuts.append(cut)
            begun = moment
        return cuts

    def _read_counters(self) -> None:
        """Per PID: its first counter, and how many packets with payload stand before each slice."""
        first: dict[int, int] = {}
        count: dict[int, int] = {}
        self._counts: list[dict[int, int]] = []
        for offset in range(0, len(self._clip), PACKET_SIZE):
            if offset % (SLICE_PACKETS * PACKET_SIZE) == 0:
                self._counts.append(dict(count))
            pid = _pid(self._clip, offset)
            flags = self._clip[offset + 3]
            if pid == NULL_PID or not flags & 0x10:
                continue
            first.setdefault(pid, flags & 0x0F)
            count[pid] = count.get(pid, 0) + 1
        self._first_counter = first
        self._counts.append(count)

    def _lay_timeline(self, clock: list[tuple[int, int]]) -> None:
        first = clock[0][1]
        self._times = [0.0]
        self._offsets = [0]
        for offset, pcr in clock:
            self._times.append((pcr - first) / PCR_HZ)
            self._offsets.append(offset)
        self._times.append(self.duration_seconds)
        self._offsets.append(len(self._clip))
        if any(after < before for before, after in pairwise(self._times)):
            raise FormatError("clip", "the PCR runs backwards")

    # -- moments and positions --

    @property
    def clip_bytes(self) -> int:
        """Bytes in one loop."""
        return len(self._clip)

    @property
    def bitrate(self) -> float:
        """Mean bits per second of media."""
        return len(self._clip) * 8 / self.duration_seconds

    def position(self, seconds: float) -> int:
        """Up to which byte, at a packet's edge, the broadcast has come at `seconds`."""
        loop, rest = divmod(max(0.0, seconds), self.duration_seconds)
        at = min(bisect_right(self._times, rest), len(self._times) - 1)
        begin, end = self._times[at - 1], self._times[at]
        share = (rest - begin) / (end - begin) if end > begin else 0.0
        packets = (self._offsets[at] - self._offsets[at - 1]) // PACKET_SIZE
        offset = self._offsets[at - 1] + int(share * packets) * PACKET_SIZE
        return int(loop) * len(self._clip) + offset

    def seconds(self, position: int) -> float:
        """The moment at which the broadcast has come to `position`."""
        loop, offset = divmod(max(0, position), len(self._clip))
        at = min(bisect_right(self._offsets, offset), len(self._offsets) - 1)
        begin, end = self._offsets[at - 1], self._offsets[at]
        share = (offset - begin) / (end - begin) if end > begin else 0.0
        within = self._times[at - 1] + share * (self._times[at] - self._times[at - 1])
        return loop * self.duration_seconds + within

    def between_entries(self, position: int) -> int:
        """The last middle of a GOP up to `position`, at a packet's edge: none can start there.

        `position` itself where no such edge lies before it.
        """
        loop, offset = divmod(position, len(self._clip))
        base = loop * len(self._clip)
        before = [base + middle for middle in self._middles if middle <= offset]
        if not before and loop:
            before = [base - len(self._clip) + self._middles[-1]]
        return before[-1] if before else position

    # -- bytes --

    def read(self, position: int, size: int) -> bytes:
        """`size` bytes from `position` on; neither needs to lie at a packet's edge."""
        whole = SLICE_PACKETS * PACKET_SIZE
        parts: list[bytes] = []
        while size > 0:
            loop, offset = divmod(position, len(self._clip))
            number, skip = divmod(offset, whole)
            part = self._slice(loop, number)[skip : skip + size]
            parts.append(part)
            position += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _slice(self, loop: int, number: int) -> bytes:
        key = (loop, number)
        cached = self._cache.get(key)
        if cached is not None:
            self._cache.move_to_end(key)
            return cached
        begin = number * SLICE_PACKETS * PACKET_SIZE
        restamper = Restamper(keep_continuity=True)
        restamper.restamp(self._primer(loop, number))
        restamper.offset = (self.first_ticks + loop * self.duration_ticks) % (1 << 33)
        made = restamper.restamp(self._clip[begin : begin + SLICE_PACKETS * PACKET_SIZE])
        self._cache[key] = made
        if len(self._cache) > CACHED_SLICES:
            self._cache.popitem(last=False)
        return made

    def _primer(self, loop: int, number: int) -> bytes:
        """One packet per PID with the counter that stands before this slice, for the restamper."""
        total, before = self._counts[-1], self._counts[number]
        packets: list[bytes] = []
        for pid, first in self._first_counter.items():
            counter = (first + loop * total[pid] + before.get(pid, 0) - 1) & 0x0F
            head = bytes((SYNC_BYTE, pid >> 8, pid & 0xFF, 0x10 | counter))
            packets.append(head.ljust(PACKET_SIZE, b"\xff"))
        return b"".join(packets)

    # -- HLS segments --

    def segment_at(self, seconds: float) -> int:
        """The number of the segment on air at `seconds`, counted from the beginning."""
        loop, offset = divmod(self.position(seconds), len(self._clip))
        return loop * len(self.cuts) + bisect_right(self.cuts, offset) - 1

    def segment_bounds(self, number: int) -> tuple[int, int]:
        """First byte position of a segment, and the one behind its last."""
        loop, index = divmod(number, len(self.cuts))
        base = loop * len(self._clip)
        following = self.cuts[index + 1] if index + 1 < len(self.cuts) else len(self._clip)
        return base + self.cuts[index], base + following

    def segment_seconds(self, number: int) -> float:
        """How long a segment plays."""
        begin, end = self.segment_bounds(number)
        return self.seconds(end) - self.seconds(begin)

    def segment(self, number: int) -> bytes:
        """A segment's bytes; PAT and PMT stand in front, added when the clip has none there."""
        begin, end = self.segment_bounds(number)
        data = self.read(begin, end - begin)
        head = {
            _pid(data, offset) for offset in range(0, min(len(data), 8 * PACKET_SIZE), PACKET_SIZE)
        }
        return data if 0 in head else self.tables + data


def _pid(packets: bytes, offset: int) -> int:
    return (packets[offset + 1] & 0x1F) << 8 | packets[offset + 2]
