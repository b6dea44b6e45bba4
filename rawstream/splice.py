"""A new source on the old timeline: where it enters, what of it is dropped, how its clock is
shifted.

Owns: the cut between two sources of one channel, in packets and timestamps. Must not know: sockets,
the loop, the clock, which source it is and why the old one was left.

There are three ways in, the best that fits is taken:

1. The same bytes. A new session of the same broadcast replays what viewers have seen. Where its
   packets repeat the old one's last access unit byte for byte, it goes on right behind them: no
   byte is lost, repeated or added, whatever the place of the cut.
2. The same clock, other bytes. It enters at the first random-access point that was not shown.
3. Another clock. It enters at once, at a random-access point, shifted so that no PCR, PTS or DTS
   runs back.

In 2 and 3 the tables come first, with another version if they say something new, and each PID
begins with a PES packet or section that is new. Where its continuity_counter does not run on, a
packet without payload announces that (2.4.3.5). On the PCR PID the same mark also allows a new time
base; ours goes on, so a decoder that takes the next PCR afresh finds it where it expects it.

Clause numbers are those of ISO/IEC 13818-1:2019. Nothing here raises on bad bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import compress
from typing import Final, NamedTuple

from rawstream.continuity import continuity_counters, discontinuity_packet
from rawstream.mpegts import (
    NULL_PID,
    PACKET_SIZE,
    PAT_PID,
    PTS_HZ,
    PTS_WRAP,
    PacketCutter,
    RandomAccessPoint,
    TsScanner,
    find_packet,
)
from rawstream.psi import PAT_TABLE_ID, PMT_TABLE_ID, ProgramMap, TableReader
from rawstream.restamp import PesTimestamps, Restamper, pes_timestamps

# How far back the same broadcast may begin again.
_REPLAY_TICKS: Final = 120 * PTS_HZ
# A longer gap is closed by shifting, rather than shown to the players' clocks.
_AHEAD_TICKS: Final = 10 * PTS_HZ
# A timestamp that runs back further than pictures are reordered begins another timeline.
_REORDER_TICKS: Final = 10 * PTS_HZ
# One picture: the distance of the first new timestamp from the last old one.
_STEP_TICKS: Final = PTS_HZ // 25
# Former clocks of a channel that a new source may come back with.
_KNOWN_SHIFTS: Final = 4

_HELD_LIMIT_BYTES: Final = 24 * 1024 * 1024  # an entry point further back than this is given up
_PROBED_LIMIT_BYTES: Final = 1024 * 1024  # how far back a point may be reported
_END_LIMIT_BYTES: Final = 2 * 1024 * 1024  # a longer last access unit is not looked for
_NEAR_BYTES: Final = 1024 * 1024 // PACKET_SIZE * PACKET_SIZE  # where first and last things are
_GATE_LIMIT_BYTES: Final = 8 * 1024 * 1024  # then a PID whose time never came is let through
_MARK_LIMIT_BYTES: Final = 32 * 1024 * 1024  # then a PID that did not come is waited for no more

_NOT_DAMAGED: Final = bytes(value < 0x80 for value in range(256))
_PID_HIGH: Final = bytes(value & 0x1F for value in range(256))


def _after(a: int, b: int) -> int:
    """How far timestamp `a` lies after `b`, in ticks; negative if before, over the 33-bit wrap."""
    return (a - b + PTS_WRAP // 2) % PTS_WRAP - PTS_WRAP // 2


def _latest(timestamps: Iterable[int]) -> int | None:
    latest: int | None = None
    for value in timestamps:
        if latest is None or _after(value, latest) > 0:
            latest = value
    return latest


@dataclass(frozen=True, slots=True)
class Shown:
    """The end of the old timeline. Timestamps are PTS and PCR base, 90 kHz.

    `tables`: its PAT and PMT packets. `timestamps`: the newest of each PID. `last`: the newest of
    the entry stream's whole access units; the one under way at the cut may come again. `counters`:
    each PID's last continuity_counter. `end`: the packets from the entry stream's last PES start
    on.
    """

    program: ProgramMap | None = None
    tables: bytes = b""
    timestamps: Mapping[int, int] = field(default_factory=dict)
    last: int | None = None
    pcr: int | None = None
    counters: Mapping[int, int] = field(default_factory=dict)
    end: bytes = b""

    def pids(self) -> set[int]:
        """Those of its program, which another program may do without."""
        if self.program is None:
            return set()
        streams = {stream.pid for stream in self.program.streams}
        return {self.program.pmt_pid, self.program.pcr_pid, *streams}


def end_of(packets: bytes, program: ProgramMap | None) -> Shown:
    """Read the end of a timeline out of the last packets that viewers were sent (whole packets,
    some seconds). `program`: the one they know, for packets without tables.
    """
    scanner = TsScanner()
    pcr = scanner.scan(packets).last_pcr
    program = scanner.program or program
    entry = program.entry if program is not None else None
    if program is None or entry is None:
        return Shown(counters=_last_counters(packets))
    pids = {stream.pid for stream in program.streams}
    timestamps: dict[int, int] = {}
    last: int | None = None
    under_way: PesTimestamps | None = None
    for stamp in pes_timestamps(packets):
        if stamp.pid not in pids:
            continue
        newest = timestamps.get(stamp.pid)
        if stamp.pid == entry.pid:
            last = newest
            under_way = stamp
        if newest is None or not -_REORDER_TICKS <= _after(stamp.pts, newest) <= 0:
            timestamps[stamp.pid] = stamp.pts
    if under_way is not None and (last is None or abs(_after(under_way.pts, last)) > _AHEAD_TICKS):
        last = (under_way.pts - 1) % PTS_WRAP  # nothing before it belongs to its timeline
    end = packets[under_way.offset :] if under_way is not None else b""
    return Shown(
        program,
        scanner.tables,
        timestamps,
        last,
        pcr // 300 if pcr is not None else None,
        _last_counters(packets),
        end if len(end) <= _END_LIMIT_BYTES else b"",
    )


def _last_counters(packets: bytes) -> dict[int, int]:
    near = packets[-_NEAR_BYTES:]
    high = near[1::PACKET_SIZE]
    pids = zip(high.translate(_PID_HIGH), near[2::PACKET_SIZE], strict=True)
    counters = dict(
        compress(zip(pids, near[3::PACKET_SIZE], strict=True), high.translate(_NOT_DAMAGED))
    )
    return {upper << 8 | lower: control & 0x0F for (upper, lower), control in counters.items()}


def _sections(tables: bytes, pid: int, table_id: int) -> dict[int, bytes]:
    reader = TableReader(table_id)
    for offset in range(0, len(tables), PACKET_SIZE):
        if (tables[offset + 1] & 0x1F) << 8 | tables[offset + 2] == pid:
            reader.read(tables, offset, offset + PACKET_SIZE)
    return {key: section.data for key, section in sorted(reader.sections.items())}


def _version_delta(old: Iterable[bytes], new: Iterable[bytes]) -> int:
    """What makes a player read a table anew: it ignores one whose version it knows (2.4.4.5,
    2.4.4.9).
    """

    def read(sections: Iterable[bytes]) -> tuple[set[int], list[bytes]]:
        sections = list(sections)
        versions = {section[5] & 0x3E for section in sections}
        return versions, [section[:5] + section[6:-4] for section in sections]

    old_versions, old_contents = read(old)
    new_versions, new_contents = read(new)
    return int(old_versions == new_versions and old_contents != new_contents)


class Shift(NamedTuple):
    """What is done to all packets of a source: 90 kHz ticks added to its clock, versions raised."""

    offset: int = 0
    pat_version_delta: int = 0
    pmt_version_delta: int = 0

    def undone(self) -> Shift:
        return Shift(*(-value for value in self))

    def restamper(self, tables: bytes = b"") -> Restamper | None:
        """None where packets stay as they are. `tables`: what tells it the PMTs, if known."""
        if not any(self):
            return None
        restamper = Restamper()
        restamper.offset = self.offset % PTS_WRAP
        restamper.pat_version_delta = self.pat_version_delta
        restamper.pmt_version_delta = self.pmt_version_delta
        restamper.restamp(tables)
        return restamper


class _Stage(Enum):
    LOOKING = "looking for the entry"
    ENTERING = "letting the PIDs in, one by one"
    THROUGH = "all in"


class Splice:
    """An intake: the new source's pieces in, packets that continue the old timeline out.

    Nothing comes out until the place of entry is found; `on_spliced` is told when it is.
    `dropped_bytes` counts what was not let in. Once all PIDs are in, feeding costs what a
    `PacketCutter` costs, plus restamping if the clock is shifted.
    """

    def __init__(
        self,
        shown: Shown,
        *,
        after: Splice | None = None,
        any_start: bool = False,
        on_spliced: Callable[[], None] | None = None,
    ) -> None:
        """`after`: the splice of the source before, whose clock may come back. `any_start`: the
        channel shows no random-access points, so a PES start must do.
        """
        self._shown = shown
        self._on_spliced = on_spliced
        self._cutter = PacketCutter()
        self._stage = _Stage.LOOKING
        self._shift = Shift()
        self._restamper: Restamper | None = None
        # -- looking for the entry --
        self._scanner = TsScanner(want_pes_starts=any_start)
        self._known = after._clocks() if after is not None else (Shift(),)
        self._ends = [(shift, self._as_sent(shift)) for shift in self._known if shown.end]
        self._match: tuple[Shift, bytes] | None = None  # whose end seems to come again
        self._matched = bytearray()  # packets from where it begins
        self._held = bytearray()  # packets from the entry point on
        self._point: RandomAccessPoint | None = None  # where `_held` begins, if it does at one
        self._fitting: Shift | None = None  # with which `_point` is a good place
        self._waits = True  # for a replay to reach the last time shown
        self._looked_bytes = 0
        # -- letting the PIDs in --
        self._gates: set[int] = set()  # PIDs of the program that wait for a new enough PES
        self._entered: set[int] = {NULL_PID}
        self._expected: set[int] = set()
        self._entering_bytes = 0
        # -- what came of it --
        self.continued = False
        self.seamless = False  # it went on behind the old source's last byte
        self.dropped_bytes = 0

    @property
    def spliced(self) -> bool:
        return self._stage is not _Stage.LOOKING

    @property
    def resyncs(self) -> int:
        return self._cutter.resyncs

    @property
    def lost_bytes(self) -> int:
        return self._cutter.lost_bytes

    def feed(self, data: bytes) -> bytes:
        """Take a piece of the new source; returns whole packets to send on, often none at first."""
        packets = self._cutter.feed(data)
        if not packets:
            return packets
        if self._stage is _Stage.LOOKING:
            return self._look(packets)
        if self._restamper is not None:
            packets = self._restamper.restamp(packets)
        if self._stage is _Stage.ENTERING:
            packets = self._let_in(packets)
        return packets

    def wait_no_longer(self) -> None:
        """The replay has not reached the last time shown: from now on any entry point is good."""
        self._waits = False

    def _clocks(self) -> tuple[Shift, ...]:
        """How this source and those before it were shifted, the newest first."""
        if not self.spliced:
            return self._known
        others = [shift for shift in self._known if shift.offset != self._shift.offset]
        return (self._shift, *others)[:_KNOWN_SHIFTS]

    def _as_sent(self, shift: Shift) -> bytes:
        """The old end as a source that needs this shift would send it."""
        restamper = shift.undone().restamper(self._shown.tables)
        return restamper.restamp(self._shown.end) if restamper is not None else self._shown.end

    # -- looking for the entry ---------------------------------------------------------------------

    def _look(self, packets: bytes) -> bytes:
        self._looked_bytes += len(packets)
        self._find_point(packets)
        if self._find_end(packets):
            return self._go_on()
        if self._point is not None and self._match is None:
            if self._fitting is not None:
                return self._enter(self._point, self._fitting)
            if not self._waits:
                return self._enter(self._point, None)
        if self._point is None:
            if len(self._held) > 2 * _PROBED_LIMIT_BYTES:
                del self._held[: len(self._held) - _PROBED_LIMIT_BYTES]
        elif len(self._held) > _HELD_LIMIT_BYTES:
            self._held.clear()
            self._point = self._fitting = None
        return b""

    def _find_point(self, packets: bytes) -> None:
        """Hold the packets from the newest entry point on, or from the first that fits."""
        before = len(self._held)
        self._held += packets
        scan = self._scanner.scan(packets)
        for point in scan.random_access or scan.pes_starts:
            at = before + point.offset
            if at < 0 or self._fitting is not None:
                continue
            del self._held[:at]
            before -= at
            self._point = point
            self._fitting = self._fit(point)

    def _find_end(self, packets: bytes) -> bool:
        """Whether the packets so far repeat the old end. What follows it is left in `_matched`."""
        if self._match is None:
            for shift, end in self._ends:
                at = packets.find(end[:PACKET_SIZE])
                if at >= 0 and not at % PACKET_SIZE:
                    self._match = (shift, end)
                    self._matched += packets[at:]
                    break
            else:
                return False
        else:
            self._matched += packets
        shift, end = self._match
        if len(self._matched) < len(end):
            return False
        same = self._matched.startswith(end)
        if not same:
            self._match = None
            self._matched.clear()
        return same

    def _fit(self, point: RandomAccessPoint) -> Shift | None:
        """With which shift the new source may enter here; None: it is to be waited for."""
        last = self._shown.last
        if last is None or point.pts is None:
            return self._closing(point)
        replayed = False
        for shift in self._known:
            ahead = _after(point.pts + shift.offset, last)
            if 0 < ahead <= _AHEAD_TICKS:
                self.continued = True
                return Shift(shift.offset)
            replayed = replayed or -_REPLAY_TICKS <= ahead <= 0
        return None if replayed else self._closing(point)

    def _closing(self, point: RandomAccessPoint) -> Shift:
        """The shift that lets this point follow what was shown."""
        return Shift(self._offset(bytes(self._held[:_NEAR_BYTES]), point.tables))

    def _offset(self, packets: bytes, tables: bytes) -> int:
        """Ticks that put the entry stream's first DTS after every PTS shown, and the first PCR
        after the last.
        """
        shown = self._shown
        program = self._scanner.program
        entry = program.entry if program is not None else None
        if entry is None:
            return 0
        scanner = TsScanner()
        pcr = scanner.scan(tables + packets).first_pcr
        by_clock: int | None = None
        if pcr is not None and shown.pcr is not None and scanner.program == program:
            by_clock = (shown.pcr + _STEP_TICKS - pcr // 300) % PTS_WRAP
        first = next((stamp for stamp in pes_timestamps(packets) if stamp.pid == entry.pid), None)
        latest = self._latest_shown()
        if first is None or latest is None:
            return by_clock or 0
        decoded = first.pts if first.dts is None else first.dts
        by_picture = (latest + _STEP_TICKS - decoded) % PTS_WRAP
        # a clock further from the pictures than a decoder's buffer allows is not to be followed
        if by_clock is not None and 0 < _after(by_clock, by_picture) <= _AHEAD_TICKS:
            return by_clock
        return by_picture

    def _latest_shown(self) -> int | None:
        """The newest timestamp of pictures and sound; not of PIDs that had an older timeline."""
        shown = self._shown
        if shown.program is None or shown.program.entry is None:
            return None
        near = shown.timestamps.get(shown.program.entry.pid)
        return _latest(
            shown.timestamps[stream.pid]
            for stream in shown.program.streams
            if stream.kind != "other"
            and stream.pid in shown.timestamps
            and (near is None or abs(_after(shown.timestamps[stream.pid], near)) <= _AHEAD_TICKS)
        )

    # -- the entry ---------------------------------------------------------------------------------

    def _go_on(self) -> bytes:
        """Right behind the old end: every counter, table and timestamp runs on by itself."""
        assert self._match is not None, "the old end has come again"
        self._shift, end = self._match
        packets = bytes(self._matched[len(end) :])
        self.continued = self.seamless = True
        self.dropped_bytes = self._looked_bytes - len(packets)
        self._restamper = self._shift.restamper(self._scanner.tables)
        self._leave(_Stage.THROUGH)
        return self._restamper.restamp(packets) if self._restamper is not None else packets

    def _enter(self, point: RandomAccessPoint, shift: Shift | None) -> bytes:
        if shift is None:
            shift = self._closing(point)
        packets = bytes(self._held)
        self.dropped_bytes = self._looked_bytes - len(packets)
        self._shift = self._with_versions(shift, point.tables)
        self._restamper = self._shift.restamper()
        program = self._scanner.program
        if program is not None:
            pids = {stream.pid for stream in program.streams}
            self._expected = {PAT_PID, program.pmt_pid, program.pcr_pid, *pids}
            self._expected |= self._shown.counters.keys() - self._shown.pids()
            self._expected.discard(NULL_PID)
            # the entry stream begins where it should
            self._gates = pids - {program.entry.pid if program.entry is not None else NULL_PID}
        self._leave(_Stage.ENTERING)
        packets = point.tables + packets
        if self._restamper is not None:
            packets = self._restamper.restamp(packets)
        return self._let_in(packets)

    def _leave(self, stage: _Stage) -> None:
        self._stage = stage
        self._held.clear()
        self._matched.clear()
        self._match = None
        self._ends.clear()
        if self._on_spliced is not None:
            self._on_spliced()

    def _with_versions(self, shift: Shift, tables: bytes) -> Shift:
        old, new = self._shown.program, self._scanner.program
        if old is None or new is None:
            return shift
        maps = [
            _sections(packets, program.pmt_pid, PMT_TABLE_ID).get(program.program_number)
            for packets, program in ((self._shown.tables, old), (tables, new))
        ]
        pats = [
            _sections(packets, PAT_PID, PAT_TABLE_ID) for packets in (self._shown.tables, tables)
        ]
        return Shift(
            shift.offset,
            _version_delta(pats[0].values(), pats[1].values()),
            _version_delta(*([section] if section is not None else [] for section in maps)),
        )

    # -- letting the PIDs in -----------------------------------------------------------------------

    def _let_in(self, packets: bytes) -> bytes:
        """Look at each PID's packets until one may be its first."""
        awaited = continuity_counters(packets).keys() | self._expected
        awaited -= self._entered
        high = packets[1::PACKET_SIZE]
        low = packets[2::PACKET_SIZE]
        out: list[bytes] = []
        begin = 0
        index = -1
        while awaited:
            index = find_packet(high, low, awaited, index + 1, len(high))
            if index == len(high):
                break
            offset = index * PACKET_SIZE
            pid = (high[index] & 0x1F) << 8 | low[index]
            out.append(packets[begin:offset])
            if self._may_begin(packets, offset, pid):
                awaited.discard(pid)
                self._entered.add(pid)
                out.append(self._mark(pid, packets[offset + 3]))
                begin = offset
            else:
                self.dropped_bytes += PACKET_SIZE
                begin = offset + PACKET_SIZE
        self._entering_bytes += len(packets)
        if self._entering_bytes > _GATE_LIMIT_BYTES:
            self._gates.clear()
        if self._entering_bytes > _MARK_LIMIT_BYTES or self._expected <= self._entered:
            self._stage = _Stage.THROUGH
        if not out:
            return packets
        out.append(packets[begin:])
        return b"".join(out)

    def _may_begin(self, packets: bytes, offset: int, pid: int) -> bool:
        """Behind a jump of its counter a PID begins with a PES packet or a section (2.4.3.5), and
        what it shows is new.
        """
        control = packets[offset + 3]
        starts = bool(packets[offset + 1] & 0x40)
        if pid not in self._gates:
            counts = control & 0x10
            late = self._entering_bytes > _GATE_LIMIT_BYTES
            return starts or not counts or not self._mark(pid, control) or late
        if not control & 0x10 or not starts:
            return False
        last = self._last_shown(pid)
        stamp = next(pes_timestamps(packets[offset : offset + PACKET_SIZE]), None)
        if last is not None and stamp is not None and _after(stamp.pts, last) <= 0:
            return False
        self._gates.discard(pid)
        return True

    def _mark(self, pid: int, control: int) -> bytes:
        """What announces a jump of the counter, if it does not run on from the last one shown."""
        counter = control & 0x0F
        step = control >> 4 & 0x01
        last = self._shown.counters.get(pid)
        if last is not None and (last + step) & 0x0F == counter:
            return b""
        return discontinuity_packet(pid, counter + 1 - step)

    def _last_shown(self, pid: int) -> int | None:
        """The last time shown on this PID, or on those that carried the same kind before."""
        shown = self._shown
        program = self._scanner.program
        if shown.program is None or program is None:
            return None
        kind = next((stream.kind for stream in program.streams if stream.pid == pid), "other")
        before = {stream.pid: stream.kind for stream in shown.program.streams}
        if before.get(pid) == kind or kind == "other":
            return shown.timestamps.get(pid)
        return _latest(
            shown.timestamps[other]
            for other, same in before.items()
            if same == kind and other in shown.timestamps
        )
