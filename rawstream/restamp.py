"""Changes to a stream's timeline: timestamps, counters and table versions moved, in place.

Owns: what must change in packets so that a loop, or another source of the same channel, goes on
where the last one ended. Must not know: where packets come from, how much they are to be moved.

Clause numbers are those of ISO/IEC 13818-1:2019. Nothing here raises on bad bytes: what can't be
read stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final, NamedTuple

from rawstream.mpegts import (
    NULL_PID,
    PACKET_SIZE,
    PAT_PID,
    PCR_WRAP,
    PTS_WRAP,
    UNIT_STARTS,
    read_pcr,
)
from rawstream.pictures import pes_fields, read_timestamp
from rawstream.psi import PAT_TABLE_ID, PMT_TABLE_ID, SectionWalker, TableReader, crc32_mpeg

# -- tables for bytes.translate; their index is a header byte (2.4.3.2, 2.4.3.4) --
# an adaptation field lets its PCR_flag and OPCR_flag through
_CLOCK_FLAGS: Final = bytes(0x18 if value & 0x20 else 0 for value in range(256))
_DAMAGED: Final = bytes(0xFF if value & 0x80 else 0 for value in range(256))
# continuity_counter moved on by the index
_LATER: Final = tuple(
    bytes(value & 0xF0 | value + step & 0x0F for value in range(256)) for step in range(16)
)


@cache
def _equals(value: int, bits: int) -> bytes:
    """A table that maps bytes whose `bits` are `value` to 0xFF, others to 0."""
    return bytes(0xFF if byte & bits == value else 0 for byte in range(256))


def _pid_mask(high: bytes, low: bytes, pid: int) -> int:
    """A byte per packet, the first one lowest: 0xFF where it is of that PID and not damaged.

    `high`, `low`: the second and third header byte of every packet, in which the PID stands.
    """
    mask = int.from_bytes(high.translate(_equals(pid >> 8, 0x9F)), "little")
    return mask & int.from_bytes(low.translate(_equals(pid & 0xFF, 0xFF)), "little")


class PesTimestamps(NamedTuple):
    """A PES header with a PTS. `offset`: of its packet; `dts` is None where it equals the PTS."""

    offset: int
    pid: int
    pts: int
    dts: int | None


def _pes_starts(packets: bytes | bytearray) -> Iterator[tuple[int, int, int]]:
    """Offsets of the packets that begin a PES packet with a PTS, and of its PTS and DTS (or -1)."""
    starts = bytes(packets[1::PACKET_SIZE]).translate(UNIT_STARTS)
    index = starts.find(1)
    while index >= 0:
        offset = index * PACKET_SIZE
        end = offset + PACKET_SIZE
        control = packets[offset + 3]
        if control & 0xD0 == 0x10:  # payload, and not scrambled
            start = offset + 4
            if control & 0x20:
                start += 1 + packets[start]
            pts, dts = pes_fields(packets, start, end)
            if pts >= 0:
                yield offset, pts, dts
        index = starts.find(1, index + 1)


def pes_timestamps(packets: bytes) -> Iterator[PesTimestamps]:
    """The timestamps (90 kHz) in whole packets, in their order.

    Left out: damaged and scrambled packets, and PES headers that run over their first packet.
    """
    packets = packets[: len(packets) - len(packets) % PACKET_SIZE]
    for offset, pts, dts in _pes_starts(packets):
        yield PesTimestamps(
            offset,
            (packets[offset + 1] & 0x1F) << 8 | packets[offset + 2],
            read_timestamp(packets, pts),
            read_timestamp(packets, dts) if dts >= 0 else None,
        )


def _write_timestamp(data: bytearray, at: int, value: int) -> None:
    """Put 33 bits into the PTS or DTS field at `at`; its prefix and marker bits stay (2.4.3.7)."""
    data[at] = data[at] & 0xF1 | value >> 29 & 0x0E
    data[at + 1] = value >> 22 & 0xFF
    data[at + 2] = data[at + 2] & 0x01 | value >> 14 & 0xFE
    data[at + 3] = value >> 7 & 0xFF
    data[at + 4] = data[at + 4] & 0x01 | value << 1 & 0xFE


def _shift_pcr(data: bytearray, at: int, ticks: int) -> None:
    """Move the PCR or OPCR at `at`; its reserved bits stay (2.4.3.5)."""
    base, extension = divmod((read_pcr(data, at) + ticks) % PCR_WRAP, 300)
    reserved = data[at + 4] << 8 & 0x7E00
    data[at : at + 6] = (base << 15 | reserved | extension).to_bytes(6, "big")


class _TableVersions:
    """Raises the version_number of the PAT or PMTs in one PID's packets (2.4.4.5, 2.4.4.9)."""

    __slots__ = ("_change", "_is_table", "_table_id", "_walker")

    def __init__(self, table_id: int) -> None:
        self._table_id = table_id
        self._walker = SectionWalker()
        self._is_table = False
        self._change = bytes(4)

    def patch(self, data: bytearray, packet: int, delta: int) -> None:
        """Change the packet at `packet`.

        The CRC may stand packets later: it is linear, so what one changed byte makes of it is known
        from the byte's place alone, and a CRC that was wrong stays wrong.
        """
        for start, end, at, total in self._walker.walk(data, packet, packet + PACKET_SIZE):
            if not at:
                self._is_table = data[start] == self._table_id
                self._change = bytes(4)
            if not self._is_table or total < 12:
                continue
            first = start - at
            if start <= first + 5 < end:
                old = data[first + 5]
                new = old & 0xC1 | (old + (delta << 1)) & 0x3E
                data[first + 5] = new
                # the CRC of the difference, over the bytes from this one to the CRC
                difference = bytes([old ^ new]).ljust(total - 9, b"\0")
                change = crc32_mpeg(difference) ^ crc32_mpeg(bytes(total - 9))
                self._change = change.to_bytes(4, "big")
            for place, value in enumerate(self._change, first + total - 4):
                if start <= place < end:
                    data[place] ^= value


class Restamper:
    """Moves a stream's timeline.

    `offset`: 90 kHz ticks added to every PTS and DTS, times 300 to PCR and OPCR, modulo their wrap.
    Setting it says that the next packet begins a new piece, as `splice` does.
    `pat_version_delta`, `pmt_version_delta`: added to the version_number of the PAT and of every
    PMT, so that players read them anew.
    PMTs are known from the PAT, so the tables of a piece have to pass before its other packets.

    With `keep_continuity` the counters of a piece go on where each PID's stood at the end of the
    piece before. Holes and repeats inside a piece stay what they are.
    """

    __slots__ = (
        "_keep_continuity",
        "_last",
        "_offset",
        "_pat",
        "_pat_versions",
        "_pmts",
        "_steps",
        "pat_version_delta",
        "pmt_version_delta",
    )

    def __init__(self, *, keep_continuity: bool = False) -> None:
        self.pat_version_delta = 0
        self.pmt_version_delta = 0
        self._offset = 0
        # tables
        self._pat = TableReader(PAT_TABLE_ID)
        self._pat_versions = _TableVersions(PAT_TABLE_ID)
        self._pmts: dict[int, _TableVersions] = {}
        # counters: of each PID the last one given out, and what this piece's ones are moved by
        self._keep_continuity = keep_continuity
        self._last: dict[int, int] = {}
        self._steps: dict[int, int] = {}

    @property
    def offset(self) -> int:
        return self._offset

    @offset.setter
    def offset(self, ticks: int) -> None:
        self._offset = ticks
        self.splice()

    def splice(self) -> None:
        """The next packets do not continue the last ones: a loop's start, or another source."""
        self._steps.clear()

    def restamp(self, chunk: bytes) -> bytes:
        """The same number of packets, moved; `chunk` itself when there is nothing to change.

        `chunk`: whole packets; a last piece shorter than a packet stays as it is. Not moved are
        timestamps in scrambled packets and in PES headers that run over their first packet.
        """
        raised = self.pat_version_delta or self.pmt_version_delta
        if not (self._offset % PTS_WRAP or raised or self._keep_continuity):
            return chunk
        rest = len(chunk) % PACKET_SIZE
        if rest:
            return self.restamp(chunk[:-rest]) + chunk[-rest:]
        data = bytearray(chunk)
        if self._offset % PTS_WRAP:
            self._shift_clocks(data)
            self._shift_timestamps(data)
        if raised:
            self._raise_versions(chunk, data)
        if self._keep_continuity and chunk:
            self._count_on(data)
        return bytes(data)

    def _shift_clocks(self, data: bytearray) -> None:
        ticks = self._offset * 300
        marks = int.from_bytes(data[3::PACKET_SIZE].translate(_CLOCK_FLAGS), "little")
        marks &= int.from_bytes(data[5::PACKET_SIZE], "little")
        while marks:
            index = (marks & -marks).bit_length() - 1 >> 3
            marks = marks >> 8 * (index + 1) << 8 * (index + 1)
            offset = index * PACKET_SIZE
            length = data[offset + 4]
            if data[offset + 1] & 0x80:
                continue
            both = data[offset + 5] & 0x18 == 0x18
            if length >= 7:
                _shift_pcr(data, offset + 6, ticks)
            if length >= 13 and both:
                _shift_pcr(data, offset + 12, ticks)

    def _shift_timestamps(self, data: bytearray) -> None:
        for _, pts, dts in _pes_starts(data):
            for at in (pts, dts):
                if at >= 0:
                    moved = (read_timestamp(data, at) + self._offset) % PTS_WRAP
                    _write_timestamp(data, at, moved)

    def _raise_versions(self, chunk: bytes, data: bytearray) -> None:
        high = chunk[1::PACKET_SIZE]
        low = chunk[2::PACKET_SIZE]
        tables = self._table_row(high, low)
        index = tables.find(0xFF)
        while index >= 0:
            offset = index * PACKET_SIZE
            pid = (high[index] & 0x1F) << 8 | low[index]
            if pid != PAT_PID:
                self._pmts[pid].patch(data, offset, self.pmt_version_delta)
            else:
                self._pat_versions.patch(data, offset, self.pat_version_delta)
                if self._pat.read(chunk, offset, offset + PACKET_SIZE):
                    self._pmts = {
                        pmt_pid: self._pmts.get(pmt_pid) or _TableVersions(PMT_TABLE_ID)
                        for pmt_pid in (self._pat.programs() or {}).values()
                    }
                    tables = self._table_row(high, low)
            index = tables.find(0xFF, index + 1)

    def _table_row(self, high: bytes, low: bytes) -> bytes:
        """A byte per packet: 0xFF where it belongs to the PAT or a PMT."""
        mask = 0
        for pid in (PAT_PID, *self._pmts):
            mask |= _pid_mask(high, low, pid)
        return mask.to_bytes(len(high), "little")

    def _count_on(self, data: bytearray) -> None:
        """Move the counters, PID by PID, by masks of a byte per packet."""
        count = len(data) // PACKET_SIZE
        high = bytes(data[1::PACKET_SIZE])
        low = bytes(data[2::PACKET_SIZE])
        control = bytes(data[3::PACKET_SIZE])
        left = int.from_bytes(b"\xff" * count, "little")
        mask = int.from_bytes(high.translate(_DAMAGED), "little")
        result = mask & int.from_bytes(control, "little")
        left ^= mask
        while left:
            first = (left & -left).bit_length() - 1 >> 3
            pid = (high[first] & 0x1F) << 8 | low[first]
            mask = _pid_mask(high, low, pid)
            left ^= mask
            step = self._steps.get(pid)
            if step is None:
                step = self._steps[pid] = self._step(pid, control[first])
            result |= mask & int.from_bytes(control.translate(_LATER[step]), "little")
            last = mask.bit_length() - 1 >> 3
            self._last[pid] = control[last] + step & 0x0F
        data[3::PACKET_SIZE] = result.to_bytes(count, "little")

    def _step(self, pid: int, control: int) -> int:
        """What moves a piece's first counter on a PID to where the last piece's ended."""
        last = self._last.get(pid)
        if last is None or pid == NULL_PID:
            return 0
        counts = control >> 4 & 0x01
        return last + counts - control & 0x0F
