"""MPEG transport streams (ISO/IEC 13818-1): whole packets, entry points, the clock.

Owns: cutting any bytes into 188-byte packets, following PAT and PMT, finding the packets at which a
decoder may start, reading the PCR. Must not know: sockets, time of day, files, viewers. Counters
are `continuity`'s affair, changing a timeline is `restamp`'s.

Nothing here raises on bad bytes: what can't be read is passed over, as a decoder would. No class
looks at packets one by one: a strided slice takes one header byte of every packet,
`bytes.translate` and big integers turn them into masks, and Python code runs for the few packets
that start something. All results are the same however the packets were spread over the calls.

Clause numbers are those of ISO/IEC 13818-1:2019 unless another text is named.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from rawstream.pictures import PES_START_CODE, PROBED_CODECS, PictureProbe, pes_pts
from rawstream.psi import PAT_TABLE_ID, PMT_TABLE_ID, ProgramMap, TableReader, parse_pmt

PACKET_SIZE: Final = 188
SYNC_BYTE: Final = 0x47
PCR_HZ: Final = 27_000_000
PTS_HZ: Final = 90_000
PTS_WRAP: Final = 1 << 33
PCR_WRAP: Final = PTS_WRAP * 300
PAT_PID: Final = 0x0000
NULL_PID: Final = 0x1FFF

# One sync byte proves little: chance makes one of 256 bytes a 0x47. This many at 188 steps are
# believed.
RESYNC_PACKETS: Final = 4

# A gap above this in the PCR is a new clock, not time that has passed: 2.7.2 asks for a PCR every
# 0.1 s.
PCR_JUMP_TICKS: Final = 10 * PCR_HZ
BITRATE_WINDOW_TICKS: Final = 8 * PCR_HZ

# Every audio frame is an entry point; more than this many per second help nobody.
AUDIO_ENTRY_STEP: Final = PTS_HZ // 2

# -- tables for bytes.translate; their index is a header byte (2.4.3.2, 2.4.3.4) --
# transport_error_indicator clear and payload_unit_start_indicator set
UNIT_STARTS: Final = bytes(1 if value & 0xC0 == 0x40 else 0 for value in range(256))
# adaptation_field_control says there is an adaptation field: let its PCR and discontinuity flags
# through
_CLOCK_FLAGS: Final = bytes(0x90 if value & 0x20 else 0 for value in range(256))

_SYNC: Final = bytes([SYNC_BYTE])
_IN_STEP: Final = re.compile(b"(?s)G(?=" + b"".join([b".{187}G"] * (RESYNC_PACKETS - 1)) + b")")


class PacketCutter:
    """Turns pieces of any size into whole packets, each beginning with the sync byte.

    It begins in step: a source that starts with 0x47 is believed. On a wrong byte it lets go, and
    takes hold again where `RESYNC_PACKETS` sync bytes stand 188 bytes apart (2.4.3.2, and annex G.1
    on false sync bytes).
    """

    __slots__ = ("_carry", "_in_step", "lost_bytes", "resyncs")

    seamless: Final = False  # what comes through it continues nothing

    def __init__(self) -> None:
        self._carry = b""
        self._in_step = True
        self.lost_bytes = 0
        self.resyncs = 0

    def feed(self, data: bytes) -> bytes:
        """The whole packets that `data` completes, maybe none.

        An aligned piece of whole packets comes back as the same object. Less than one packet is
        kept for the next call, less than `RESYNC_PACKETS` packets while out of step.
        """
        carry = self._carry
        if self._in_step:
            size = len(carry) + len(data)
            count = size // PACKET_SIZE
            rest = size - count * PACKET_SIZE
            if not carry:
                whole = data if not rest else data[: size - rest]
            elif not count:
                whole = b""
            else:
                whole = b"".join((carry, memoryview(data)[: len(data) - rest]))
            if whole[::PACKET_SIZE].count(SYNC_BYTE) == count:
                if count:
                    self._carry = data[len(data) - rest :] if rest else b""
                else:
                    self._carry = carry + data
                if rest and self._carry[0] != SYNC_BYTE:
                    self._in_step = False
                    self._carry = self._search(self._carry)
                return whole
        return self._feed_damaged(carry + data)

    def reset(self) -> None:
        """Forget what is kept: a new source begins. The counters go on."""
        self._carry = b""
        self._in_step = True

    def _feed_damaged(self, data: bytes) -> bytes:
        """The same for bytes that hold a wrong sync byte, or follow one."""
        parts = []
        while True:
            if not self._in_step:
                data = self._search(data)
                if not self._in_step:
                    break
            syncs = data[::PACKET_SIZE]
            good = len(syncs) - len(syncs.lstrip(_SYNC))
            if good == len(syncs):
                end = len(data) - len(data) % PACKET_SIZE
                parts.append(data[:end])
                data = data[end:]
                break
            parts.append(data[: good * PACKET_SIZE])
            data = data[good * PACKET_SIZE :]
            self._in_step = False
        self._carry = data
        return b"".join(parts)

    def _search(self, data: bytes) -> bytes:
        """Drop what comes before the next sync.

        `_in_step` says whether it was found or only may begin here.
        """
        found = _IN_STEP.search(data)
        if found is not None:
            self._in_step = True
            self.resyncs += 1
            self.lost_bytes += found.start()
            return data[found.start() :]
        # Too near the end to be proved or refuted: the first offset that nothing speaks against.
        offset = data.find(_SYNC, max(0, len(data) - (RESYNC_PACKETS - 1) * PACKET_SIZE))
        while offset >= 0 and data[offset::PACKET_SIZE].strip(_SYNC):
            offset = data.find(_SYNC, offset + 1)
        if offset < 0:
            offset = len(data)
        self.lost_bytes += offset
        return data[offset:]


# -- the scanner -----------------------------------------------------------------------------------


class RandomAccessPoint(NamedTuple):
    """A packet from which a decoder may start.

    `offset`: where the packet begins, in bytes from the start of the scanned chunk. It is NEGATIVE
    when the PES packet began in an earlier chunk and only now showed what it holds. `tables`: the
    PAT and PMT packets as last seen before it, with their own counters, to be sent first. `pts`: 90
    kHz, None when it can't be read.
    """

    offset: int
    tables: bytes
    pts: int | None


_NONE_FOUND: Final[Sequence[RandomAccessPoint]] = ()


class Scan:
    """What one chunk held. PCRs (27 MHz) are those of the chosen programme."""

    __slots__ = (
        "first_pcr",
        "last_pcr",
        "pcr_discontinuity",
        "pes_starts",
        "program_changed",
        "random_access",
    )

    def __init__(self) -> None:
        self.random_access = _NONE_FOUND
        self.pes_starts = _NONE_FOUND
        self.first_pcr: int | None = None
        self.last_pcr: int | None = None
        self.pcr_discontinuity = False
        self.program_changed = False


@lru_cache(maxsize=1024)
def _discontinuity_mask(count: int) -> int:
    return int.from_bytes(b"\x80" * count, "little")


class TsScanner:
    """Follows one transport stream: its tables, its clock, the packets at which one may enter.

    A random access point is a PES start of the chosen programme's video with
    random_access_indicator set (2.4.3.5). Until a PID has shown that flag once, its pictures are
    looked into: H.264 IDR, recovery point SEI, I slice behind a sequence parameter set; HEVC IRAP
    and recovery point; MPEG-1/2 I picture behind a sequence header. Without video every PES start
    of the audio that has a PTS is one, at most two per second of PTS.
    """

    __slots__ = (
        "_audio_pts",
        "_codec",
        "_entry_pid",
        "_flags_seen",
        "_found",
        "_open",
        "_pat",
        "_probe",
        "_probe_cc",
        "_probe_offset",
        "_probe_tables",
        "_readers",
        "_starts",
        "_tables",
        "_want_pes_starts",
        "program",
        "programs",
    )

    def __init__(self, *, want_pes_starts: bool = False) -> None:
        self._want_pes_starts = want_pes_starts
        self.reset()

    def reset(self) -> None:
        """Forget everything: a new source begins."""
        self.program: ProgramMap | None = None
        self.programs: dict[int, ProgramMap] = {}
        # tables
        self._pat: dict[int, int] = {}
        self._readers = {PAT_PID: TableReader(PAT_TABLE_ID)}
        self._tables: bytes | None = None
        # PIDs of which every packet is of interest now: a section or a picture is not complete
        self._open: set[int] = set()
        # the stream at which one enters
        self._entry_pid = -1
        self._codec = ""
        self._flags_seen = False
        self._audio_pts: int | None = None
        self._probe: PictureProbe | None = None
        self._probe_offset = 0
        self._probe_tables = b""
        self._probe_cc = 0
        # results of the scan under way
        self._found: list[RandomAccessPoint] = []
        self._starts: list[RandomAccessPoint] = []

    @property
    def tables(self) -> bytes:
        """The packets of the current PAT and PMTs; of what has not come yet, nothing."""
        if self._tables is None:
            # programmes may share a PID, so their packets are asked for once
            pids = dict.fromkeys((PAT_PID, *self._pat.values()))
            self._tables = b"".join(
                packet for pid in pids for packet in self._readers[pid].packets()
            )
        return self._tables

    def scan(self, chunk: bytes) -> Scan:
        """Read the next whole packets of the stream.

        A last piece shorter than a packet is passed over.
        """
        count = len(chunk) // PACKET_SIZE
        if count * PACKET_SIZE != len(chunk):
            chunk = chunk[: count * PACKET_SIZE]
        result = Scan()
        marks = int.from_bytes(chunk[3::PACKET_SIZE].translate(_CLOCK_FLAGS), "little") & (
            int.from_bytes(chunk[5::PACKET_SIZE], "little")
        )
        high = chunk[1::PACKET_SIZE]
        starts = high.translate(UNIT_STARTS)
        low = b""
        program = self.program
        clocked = 0
        position = 0
        index = starts.find(1)
        while True:
            if self._open:
                low = low or chunk[2::PACKET_SIZE]
                limit = index if index >= 0 else count
                near = find_packet(high, low, self._open, position, limit)
                if near < limit:
                    current, position = near, near + 1
                elif index < 0:
                    break
                else:
                    current, position = index, index + 1
                    index = starts.find(1, position)
            elif index < 0:
                break
            else:
                current, position = index, index + 1
                index = starts.find(1, position)
            offset = current * PACKET_SIZE
            pid = (high[current] & 0x1F) << 8 | chunk[offset + 2]
            if pid in self._readers:
                self._read_table(chunk, offset, pid)
                if self.program is not program:
                    if marks:
                        self._read_clock(result, chunk, marks, clocked, current, program)
                    result.program_changed = True
                    program = self.program
                    clocked = current
            elif pid == self._entry_pid:
                if starts[current]:
                    self._enter(chunk, offset)
                else:
                    self._look_further(chunk, offset)
        if marks:
            self._read_clock(result, chunk, marks, clocked, count, program)
        if self._found:
            result.random_access = self._found
            self._found = []
        if self._starts:
            result.pes_starts = self._starts
            self._starts = []
        if self._probe is not None:
            self._probe_offset -= len(chunk)
        return result

    # -- clock --

    def _read_clock(
        self,
        result: Scan,
        chunk: bytes,
        marks: int,
        begin: int,
        end: int,
        program: ProgramMap | None,
    ) -> None:
        """Note the first and last PCR and any discontinuity in the packets `begin` to `end`.

        `marks`: a byte per packet, the first packet in the lowest: its PCR_flag and
        discontinuity_indicator.
        """
        if program is None or program.pcr_pid == NULL_PID:
            return
        pid = program.pcr_pid
        marks = (marks & (1 << 8 * end) - 1) >> 8 * begin << 8 * begin
        jumps = marks & _discontinuity_mask(len(chunk) // PACKET_SIZE)
        clocks = marks ^ jumps
        while jumps and not result.pcr_discontinuity:
            offset = (jumps.bit_length() - 1 >> 3) * PACKET_SIZE
            jumps ^= 1 << jumps.bit_length() - 1
            result.pcr_discontinuity = chunk[offset + 4] > 0 and _is_pid(chunk, offset, pid)
        while clocks and result.first_pcr is None:
            lowest = clocks & -clocks
            clocks ^= lowest
            offset = (lowest.bit_length() - 1 >> 3) * PACKET_SIZE
            if chunk[offset + 4] >= 7 and _is_pid(chunk, offset, pid):
                result.first_pcr = result.last_pcr = read_pcr(chunk, offset + 6)
        while clocks:
            highest = clocks.bit_length() - 1
            clocks ^= 1 << highest
            offset = (highest >> 3) * PACKET_SIZE
            if chunk[offset + 4] >= 7 and _is_pid(chunk, offset, pid):
                result.last_pcr = read_pcr(chunk, offset + 6)
                return

    # -- tables --

    def _read_table(self, chunk: bytes, offset: int, pid: int) -> None:
        reader = self._readers[pid]
        fresh = reader.read(chunk, offset, offset + PACKET_SIZE)
        self._tables = None
        if reader.walker.open:
            self._open.add(pid)
        else:
            self._open.discard(pid)
        if fresh:
            if pid == PAT_PID:
                self._follow_pat(reader.programs())
            else:
                for number, data in fresh:
                    if self._pat.get(number) == pid:
                        self.programs[number] = parse_pmt(data, pid)
                    else:
                        reader.sections.pop(number, None)
            self._choose_program()

    def _follow_pat(self, pat: dict[int, int] | None) -> None:
        """Adopt the PAT once all sections of its newest version are there (2.4.4.4)."""
        if pat is None:
            return
        moved = [number for number, pid in self._pat.items() if pat.get(number) != pid]
        for number in moved:
            self.programs.pop(number, None)
            self._readers[self._pat[number]].sections.pop(number, None)
        self._pat = pat
        pids = {PAT_PID, *pat.values()}
        for pid in self._readers.keys() - pids:
            del self._readers[pid]
            self._open.discard(pid)
        for pid in pids - self._readers.keys():
            self._readers[pid] = TableReader(PMT_TABLE_ID)

    def _choose_program(self) -> None:
        """Keep the chosen programme while it is as good as any, else take the PAT's first."""
        best: ProgramMap | None = None
        grade = 0
        current = self.program.program_number if self.program is not None else -1
        for number in self._pat:
            candidate = self.programs.get(number)
            entry = candidate.entry if candidate is not None else None
            if entry is None:
                continue
            value = 4 if entry.kind == "video" else 2
            value += number == current
            if value > grade:
                best, grade = candidate, value
        if best == self.program:
            return
        self.program = best
        entry = best.entry if best is not None else None
        pid, codec = (entry.pid, entry.codec) if entry is not None else (-1, "")
        audio_only = entry is not None and entry.kind == "audio"
        if (pid, "" if audio_only else codec) != (self._entry_pid, self._codec):
            self._open.discard(self._entry_pid)
            self._entry_pid = pid
            self._codec = "" if audio_only else codec
            self._flags_seen = False
            self._audio_pts = None
            self._probe = None

    # -- entry points --

    def _enter(self, chunk: bytes, offset: int) -> None:
        """A packet with payload_unit_start_indicator on the PID at which one enters."""
        if self._probe is not None:
            self._close_probe()
        control = chunk[offset + 3]
        start = offset + 4
        end = offset + PACKET_SIZE
        flagged = False
        if control & 0x20:
            length = chunk[start]
            start += 1 + length
            flagged = length > 0 and chunk[offset + 5] & 0x40 != 0
        if flagged and self._codec:
            self._flags_seen = True
        elif self._flags_seen and not self._want_pes_starts:
            return
        if not control & 0x10 or start >= end:
            return
        clear = not control & 0xC0
        if clear and chunk[start : min(start + 3, end)] != PES_START_CODE:
            return
        pts = pes_pts(chunk, start, end) if clear else None
        if self._want_pes_starts:
            self._starts.append(RandomAccessPoint(offset, self.tables, pts))
        if not self._codec:
            self._enter_audio(offset, pts)
        elif flagged:
            self._found.append(RandomAccessPoint(offset, self.tables, pts))
        elif clear and not self._flags_seen and self._codec in PROBED_CODECS:
            self._probe_offset = offset
            self._probe_tables = self.tables
            self._probe_cc = control & 0x0F
            self._judge(PictureProbe(self._codec), chunk[start:end])

    def _enter_audio(self, offset: int, pts: int | None) -> None:
        if pts is None:
            return
        if self._audio_pts is None or (pts - self._audio_pts) % PTS_WRAP >= AUDIO_ENTRY_STEP:
            self._audio_pts = pts
            self._found.append(RandomAccessPoint(offset, self.tables, pts))

    def _look_further(self, chunk: bytes, offset: int) -> None:
        """A packet that goes on with the PES packet being looked into."""
        probe = self._probe
        assert probe is not None, "the entry PID is open only while a picture is looked into"
        control = chunk[offset + 3]
        start = offset + 4
        if control & 0x20:
            start += 1 + chunk[start]
        end = offset + PACKET_SIZE
        cc = control & 0x0F
        if not control & 0x10 or start >= end or cc == self._probe_cc:
            return
        if control & 0xC0 or cc != (self._probe_cc + 1) & 0x0F:
            self._close_probe()  # a hole in the picture: nobody should start there
            return
        self._probe_cc = cc
        self._judge(probe, chunk[start:end])

    def _judge(self, probe: PictureProbe, payload: bytes) -> None:
        verdict = probe.feed(payload)
        if verdict is None:
            self._probe = probe
            self._open.add(self._entry_pid)
            return
        if verdict:
            self._found.append(RandomAccessPoint(self._probe_offset, self._probe_tables, probe.pts))
        self._close_probe()

    def _close_probe(self) -> None:
        self._probe = None
        self._open.discard(self._entry_pid)


def find_packet(high: bytes, low: bytes, pids: Collection[int], begin: int, end: int) -> int:
    """The index of the first packet between `begin` and `end` on one of `pids`; `end` if none is.

    `high`, `low`: the second and third header byte of every packet, in which the PID stands.
    """
    for pid in pids:
        at = low.find(pid & 0xFF, begin, end)
        while at >= 0:
            if high[at] & 0x9F == pid >> 8:
                end = at
                break
            at = low.find(pid & 0xFF, at + 1, end)
    return end


def _is_pid(chunk: bytes, offset: int, pid: int) -> bool:
    """Whether the packet at `offset` is of that PID and not marked as damaged."""
    return chunk[offset + 1] & 0x9F == pid >> 8 and chunk[offset + 2] == pid & 0xFF


def read_pcr(data: bytes | bytearray, at: int) -> int:
    """The 6 bytes of a PCR or OPCR at `at` as 27 MHz ticks (2.4.3.5)."""
    bits = int.from_bytes(data[at : at + 6], "big")
    return (bits >> 15) * 300 + (bits & 0x1FF)


class PcrClock:
    """Media time out of PCRs: seconds since the first, never going back, over the 26.5 h wrap.

    `bitrate`: bits per second of media, over about the last eight seconds of it; 0.0 until two PCRs
    have come.
    """

    __slots__ = ("_bits", "_last", "_pending", "_seconds_ticks", "_ticks")

    def __init__(self) -> None:
        self._last: int | None = None
        self._seconds_ticks = 0
        self._pending = 0
        self._bits = 0.0
        self._ticks = 0.0

    @property
    def seconds(self) -> float:
        return self._seconds_ticks / PCR_HZ

    @property
    def bitrate(self) -> float:
        return self._bits * PCR_HZ / self._ticks if self._ticks else 0.0

    def update(self, pcr: int, *, discontinuity: bool = False) -> float:
        """Take the next PCR; the seconds after it.

        A jump back or of more than 10 s counts as no time at all.
        """
        if self._last is not None:
            passed = (pcr - self._last) % PCR_WRAP
            if not discontinuity and passed <= PCR_JUMP_TICKS:
                self._seconds_ticks += passed
                self._bits += 8 * self._pending
                self._ticks += passed
                if self._ticks > 2 * BITRATE_WINDOW_TICKS:
                    self._bits /= 2
                    self._ticks /= 2
        self._last = pcr
        self._pending = 0
        return self.seconds

    def follow(self, scan: Scan, size: int) -> float:
        """Take what a scan saw in a chunk of `size` bytes; the seconds after it."""
        self._pending += size
        if scan.first_pcr is not None and scan.last_pcr is not None:
            self.update(scan.first_pcr, discontinuity=scan.pcr_discontinuity)
            self.update(scan.last_pcr)
        return self.seconds


def null_packet() -> bytes:
    """Stuffing: a packet of PID 0x1FFF that every decoder drops (2.4.3.3)."""
    return bytes([SYNC_BYTE, NULL_PID >> 8, NULL_PID & 0xFF, 0x10]).ljust(PACKET_SIZE, b"\xff")
