"""A new source on the old timeline: where it enters, what of it is dropped, how its clock is
shifted.

Owns: the cut between two sources of one channel, in packets and timestamps. Must not know: sockets,
the loop, the clock, which source it is and why the old one was left.

A new session of the same broadcast replays what viewers have seen, with the same timestamps: that
is dropped up to the last time shown, and its packets then go on untouched. Another stream has a
clock of its own: it enters at once at a random-access point, shifted so that no timestamp runs
back. In both cases the tables come first, and each PID begins with a packet that announces the jump
of its counter (2.4.3.5), so that a decoder takes it for what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rawstream.mpegts import (
    NULL_PID,
    PACKET_SIZE,
    PTS_HZ,
    PTS_WRAP,
    PacketCutter,
    RandomAccessPoint,
    TsScanner,
    discontinuity_packet,
)
from rawstream.psi import ProgramMap
from rawstream.restamp import PesTimestamps, Restamper, pes_timestamps

_REPLAY_TICKS = 120 * PTS_HZ  # how far back the same broadcast may begin again
_AHEAD_TICKS = (
    10 * PTS_HZ
)  # a longer gap is closed by shifting, rather than shown to the players' clocks
_STEP_TICKS = (
    PTS_HZ // 25
)  # one picture: the distance of the first new timestamp from the last old one
_HELD_LIMIT_BYTES = 24 * 1024 * 1024  # an entry point further back than this is given up
_GATE_LIMIT_BYTES = (
    4 * 1024 * 1024
)  # after so much, a PID that never fitted is let through as it is


def _after(a: int, b: int) -> int:
    """How far timestamp `a` lies after `b`, in ticks; negative if before, over the 33-bit wrap."""
    return (a - b + PTS_WRAP // 2) % PTS_WRAP - PTS_WRAP // 2


@dataclass(frozen=True, slots=True)
class Shown:
    """The end of the old timeline: the program viewers know, and the last timestamp of each PID (90
    kHz).
    """

    program: ProgramMap | None = None
    timestamps: dict[int, int] = field(default_factory=dict)

    @property
    def last(self) -> int | None:
        """The latest of them; of the video if there is any."""
        if self.program is None or not self.timestamps:
            return None
        entry = self.program.entry
        if entry is not None and entry.pid in self.timestamps:
            return self.timestamps[entry.pid]
        return next(iter(self.timestamps.values()))


def end_of(packets: bytes, program: ProgramMap | None) -> Shown:
    """Read the end of a timeline out of the last packets that viewers were sent (whole packets,
    some seconds).
    """
    if program is None:
        return Shown()
    pids = {stream.pid for stream in program.streams}
    last: dict[int, int] = {}
    for stamp in pes_timestamps(packets):
        if stamp.pid in pids and (stamp.pid not in last or _after(stamp.pts, last[stamp.pid]) > 0):
            last[stamp.pid] = stamp.pts
    return Shown(program, last)


def _stamp_at(packets: bytes, offset: int) -> PesTimestamps | None:
    """The timestamps of the PES that starts in this packet; None if none does or it has none."""
    return next(pes_timestamps(packets[offset : offset + PACKET_SIZE]), None)


class Splice:
    """An intake: the new source's pieces in, packets that continue the old timeline out.

    Nothing comes out until the place of entry is found; `on_spliced` is told when it is.
    `dropped_bytes` counts what was replayed. After the entry, feeding costs what a `PacketCutter`
    costs, plus restamping if the clock is shifted.
    """

    def __init__(
        self,
        shown: Shown,
        *,
        any_start: bool = False,
        on_spliced: Callable[[], None] | None = None,
    ) -> None:
        """`any_start`: the channel shows no random-access points, so a PES start must do."""
        self._shown = shown
        self._on_spliced = on_spliced
        self._cutter = PacketCutter()
        self._scanner = TsScanner(want_pes_starts=any_start)
        self._restamper: Restamper | None = None
        # -- looking for the entry --
        self._held = bytearray()  # packets from the newest entry point on
        self._point: RandomAccessPoint | None = None  # where `_held` begins, if it does at one
        self._must_continue = True  # while a replay is waited for
        # -- letting the PIDs in, one by one --
        self._gates: set[int] | None = None  # PIDs of the program that wait for a new enough PES
        self._seen: set[int] = set()  # PIDs whose jump has been announced
        self._gated_bytes = 0
        # -- what came of it --
        self.spliced = False
        self.continued = False
        self.dropped_bytes = 0

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
        if not self.spliced:
            packets = self._look(packets)
            if not packets:
                return b""
        if self._restamper is not None:
            packets = self._restamper.restamp(packets)
        if self._gates is not None:
            packets = self._pass_gates(packets)
        return packets

    def wait_no_longer(self) -> None:
        """The replay has not reached the last time shown: from now on any entry point is good."""
        self._must_continue = False

    # -- looking for the entry ---------------------------------------------------------------------

    def _look(self, packets: bytes) -> bytes:
        before = len(self._held)
        self._held += packets
        scan = self._scanner.scan(packets)
        for point in scan.random_access or scan.pes_starts:
            at = before + point.offset
            if at < 0:
                continue
            del self._held[:at]
            self.dropped_bytes += at
            before -= at
            self._point = point
            if self._fits(point):
                return self._enter(point)
        if self._point is not None and not self._must_continue:
            return self._enter(self._point)
        if len(self._held) > _HELD_LIMIT_BYTES:
            self.dropped_bytes += len(self._held)
            self._held.clear()
            self._point = None
        return b""

    def _fits(self, point: RandomAccessPoint) -> bool:
        """Whether the new source may enter here: it goes on where the old one ended, or has another
        clock.
        """
        last = self._shown.last
        if last is None or point.pts is None:
            return True
        ahead = _after(point.pts, last)
        if 0 < ahead <= _AHEAD_TICKS:
            self.continued = True
            return True
        return not -_REPLAY_TICKS <= ahead <= 0

    def _enter(self, point: RandomAccessPoint) -> bytes:
        self.spliced = True
        packets = bytes(self._held)
        self._held.clear()
        self._restamper = self._shift(packets)
        program = self._scanner.program
        self._gates = {stream.pid for stream in program.streams} if program is not None else set()
        if self._on_spliced is not None:
            self._on_spliced()
        return point.tables + packets

    def _shift(self, packets: bytes) -> Restamper | None:
        """The restamper for this source; None where its packets may stay as they are."""
        new = self._scanner.program
        old = self._shown.program
        restamper = Restamper()
        if not self.continued:
            restamper.offset = self._offset(packets)
        if new is not None and old is not None:
            changed = (new.pcr_pid, new.streams) != (old.pcr_pid, old.streams)
            if changed and new.version == old.version:
                # a player ignores a map whose version it knows (2.4.4.9)
                restamper.pmt_version_delta = 1
        if restamper.offset == 0 and restamper.pmt_version_delta == 0:
            return None
        return restamper

    def _offset(self, packets: bytes) -> int:
        """Ticks to add so that the first decoding time of each kind comes after all that was
        shown.
        """
        if not self._shown.timestamps or self._scanner.program is None:
            return 0
        latest = None
        for value in self._shown.timestamps.values():
            if latest is None or _after(value, latest) > 0:
                latest = value
        assert latest is not None, "there are timestamps"
        entry = self._scanner.program.entry
        for stamp in pes_timestamps(packets):
            if entry is not None and stamp.pid == entry.pid:
                first = stamp.pts if stamp.dts is None else stamp.dts
                return (latest + _STEP_TICKS - first) % PTS_WRAP
        return 0

    # -- letting the PIDs in -----------------------------------------------------------------------

    def _pass_gates(self, packets: bytes) -> bytes:
        """One packet at a time, until every PID of the program has shown a PES that is new."""
        gates = self._gates
        assert gates is not None, "gates are open"
        out: list[bytes] = []
        for offset in range(0, len(packets), PACKET_SIZE):
            pid = (packets[offset + 1] & 0x1F) << 8 | packets[offset + 2]
            if pid in gates:
                if not self._is_new(packets, offset, pid):
                    self.dropped_bytes += PACKET_SIZE
                    continue
                gates.discard(pid)
            if pid not in self._seen and pid != NULL_PID and packets[offset + 3] & 0x10:
                self._seen.add(pid)
                out.append(discontinuity_packet(pid, packets[offset + 3] & 0x0F))
            out.append(packets[offset : offset + PACKET_SIZE])
        self._gated_bytes += len(packets)
        if not gates or self._gated_bytes > _GATE_LIMIT_BYTES:
            self._gates = None
        return b"".join(out)

    def _is_new(self, packets: bytes, offset: int, pid: int) -> bool:
        if not packets[offset + 1] & 0x40:
            return False
        last = self._last_shown(pid)
        if last is None:
            return True
        stamp = _stamp_at(packets, offset)
        return stamp is None or _after(stamp.pts, last) > 0

    def _last_shown(self, pid: int) -> int | None:
        """The last time shown on this PID, or on the one that carried the same kind before."""
        shown = self._shown
        if pid in shown.timestamps:
            return shown.timestamps[pid]
        if shown.program is None or self._scanner.program is None:
            return None
        kinds = {s.pid: s.kind for s in self._scanner.program.streams}
        same = [
            shown.timestamps[s.pid]
            for s in shown.program.streams
            if s.kind == kinds.get(pid) and s.pid in shown.timestamps
        ]
        return same[0] if same else None
