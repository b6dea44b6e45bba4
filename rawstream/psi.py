"""Program specific information (ISO/IEC 13818-1, 2.4.4): sections, PAT and PMT.

Owns: finding sections in the packets of one PID, their CRC, which of them are current, what a PMT
says. Must not know: which programme is chosen, how packets are found in a stream.

A packet is given as a chunk and the offsets of its first byte and of its end. Clause numbers are
those of ISO/IEC 13818-1:2019 unless another text is named. Bad bytes raise nothing: a decoder
passes over what it can't read.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

PAT_TABLE_ID: Final = 0x00
PMT_TABLE_ID: Final = 0x02
_RESERVED_PIDS: Final = frozenset((0x0000, 0x0001, 0x1FFF))

_REVERSED_BITS: Final = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))

Kind = Literal["video", "audio", "other"]

# stream_type (table 2-34 and the ATSC, SCTE and Blu-ray assignments in use); names are FFmpeg's.
_STREAM_TYPES: Final[Mapping[int, tuple[str, Kind]]] = {
    0x01: ("mpeg1video", "video"),
    0x02: ("mpeg2video", "video"),
    0x03: ("mp2", "audio"),
    0x04: ("mp2", "audio"),
    0x0F: ("aac", "audio"),
    0x10: ("mpeg4", "video"),
    0x11: ("aac_latm", "audio"),
    0x15: ("timed_id3", "other"),
    0x1B: ("h264", "video"),
    0x1C: ("aac", "audio"),
    0x24: ("hevc", "video"),
    0x33: ("vvc", "video"),
    0x42: ("cavs", "video"),
    0x81: ("ac3", "audio"),
    0x86: ("scte_35", "other"),
    0x87: ("eac3", "audio"),
    0xD1: ("dirac", "video"),
    0xD2: ("avs2", "video"),
    0xEA: ("vc1", "video"),
}

# descriptor_tag of a stream_type 0x06 (ETSI EN 300 468, table 12 and annexes D and G)
_PRIVATE_DESCRIPTORS: Final[Mapping[int, tuple[str, Kind]]] = {
    0x56: ("dvb_teletext", "other"),
    0x59: ("dvb_subtitle", "other"),
    0x6A: ("ac3", "audio"),
    0x7A: ("eac3", "audio"),
    0x7B: ("dts", "audio"),
    0x7C: ("aac", "audio"),
}

# format_identifier of a registration_descriptor (2.6.8), as the SMPTE registration authority lists
# them
_REGISTRATIONS: Final[Mapping[bytes, tuple[str, Kind]]] = {
    b"AC-3": ("ac3", "audio"),
    b"EAC3": ("eac3", "audio"),
    b"DTS1": ("dts", "audio"),
    b"DTS2": ("dts", "audio"),
    b"DTS3": ("dts", "audio"),
    b"Opus": ("opus", "audio"),
    b"BSSD": ("s302m", "audio"),
    b"HEVC": ("hevc", "video"),
    b"AV01": ("av1", "video"),
    b"VC-1": ("vc1", "video"),
    b"drac": ("dirac", "video"),
    b"KLVA": ("klv", "other"),
}


@dataclass(frozen=True, slots=True)
class ElementaryStream:
    """One entry of a PMT (2.4.4.9). `descriptors`: the bytes of its ES_info loop."""

    stream_type: int
    pid: int
    descriptors: bytes

    @property
    def codec(self) -> str:
        """FFmpeg's name for the coding, such as 'h264', 'hevc', 'aac'.

        'unknown' when nothing tells.
        """
        return self._coding()[0]

    @property
    def kind(self) -> Kind:
        return self._coding()[1]

    def _coding(self) -> tuple[str, Kind]:
        known = _STREAM_TYPES.get(self.stream_type)
        if known is not None:
            return known
        if self.stream_type == 0x06 or self.stream_type >= 0x80:
            for tag, body in _descriptors(self.descriptors):
                registered = _REGISTRATIONS.get(body[:4]) if tag == 0x05 else None
                found = registered or _PRIVATE_DESCRIPTORS.get(tag)
                if found is not None:
                    return found
        return ("unknown", "other")


@dataclass(frozen=True, slots=True)
class ProgramMap:
    """One TS_program_map_section (2.4.4.8). `pcr_pid` is 0x1FFF for a programme without a clock."""

    program_number: int
    pmt_pid: int
    version: int
    pcr_pid: int
    streams: tuple[ElementaryStream, ...]

    @property
    def entry(self) -> ElementaryStream | None:
        """The stream at whose access units one enters: the first video, else the first audio."""
        for kind in ("video", "audio"):
            for stream in self.streams:
                if stream.kind == kind:
                    return stream
        return None


def _descriptors(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 2 <= len(data):
        end = at + 2 + data[at + 1]
        yield data[at], data[at + 2 : end]
        at = end


def crc32_mpeg(data: bytes) -> int:
    """CRC_32 of annex A. Over a whole section, its own CRC included, it is 0.

    zlib computes the same polynomial with every byte's bits the other way round, and inverts at the
    end.
    """
    reflected = zlib.crc32(data.translate(_REVERSED_BITS)) ^ 0xFFFFFFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(_REVERSED_BITS), "big")


class Fragment(NamedTuple):
    """A run of one section's bytes in one packet.

    `start` and `end` are offsets in the chunk, `at` the place of `start` in its section, `total`
    the section's size, 0 while its first three bytes are not all there.
    """

    start: int
    end: int
    at: int
    total: int


class SectionWalker:
    """Finds the sections in the packets of one PID: pointer_field, runs of packets (2.4.4.1).

    `open` says that a section has begun and is not complete.
    """

    __slots__ = ("_at", "_cc", "_head", "open")

    def __init__(self) -> None:
        self._cc = -1
        self._at = 0
        self._head = b""
        self.open = False

    def walk(self, chunk: bytes | bytearray, packet: int, end: int) -> list[Fragment]:
        """The fragments in the packet from `packet` to `end`, in order; none in a repeat.

        A fragment with `at` 0 begins a section; whatever was incomplete before it is lost.
        """
        control = chunk[packet + 3]
        start = packet + 4
        if control & 0x20:
            start += 1 + chunk[packet + 4]
        if control & 0xD0 != 0x10 or start >= end:  # scrambled, or no payload
            return []
        cc = control & 0x0F
        repeated, follows = cc == self._cc, cc == (self._cc + 1) & 0x0F
        self._cc = cc
        fragments: list[Fragment] = []
        if not chunk[packet + 1] & 0x40:
            if repeated or not self.open:
                return []
            if not follows:
                self.open = False
                return []
            self._take(chunk, start, end, fragments)
            return fragments
        first = start + 1 + chunk[start]
        if self.open and follows and first <= end:
            self._take(chunk, start + 1, first, fragments)
        self.open = False
        # table_id 0xFF is stuffing up to the end of the packet
        while first < end and chunk[first] != 0xFF:
            self.open = True
            self._at = 0
            self._head = b""
            first = self._take(chunk, first, end, fragments)
        return fragments

    def _take(
        self, chunk: bytes | bytearray, start: int, end: int, fragments: list[Fragment]
    ) -> int:
        """Add what lies from `start` on to the open section; the offset behind it."""
        if len(self._head) < 3:
            self._head += bytes(chunk[start : min(end, start + 3 - len(self._head))])
        total = 0
        if len(self._head) == 3:
            total = 3 + ((self._head[1] & 0x0F) << 8 | self._head[2])
            end = min(end, start + total - self._at)
        fragments.append(Fragment(start, end, self._at, total))
        self._at += end - start
        self.open = self._at != total
        return end


class Section(NamedTuple):
    """A complete section and the packets it came in.

    `serial` orders the sections of a PID by arrival.
    """

    data: bytes
    packets: tuple[bytes, ...]
    serial: int


class TableReader:
    """The current sections of one PID that carries a PAT or PMTs.

    `sections` is keyed by section_number in a PAT, by program_number in PMTs: a PMT has one section
    (2.4.4.9).
    """

    __slots__ = (
        "_data",
        "_packets",
        "_serial",
        "_settled",
        "_settled_key",
        "_table_id",
        "sections",
        "walker",
    )

    def __init__(self, table_id: int) -> None:
        self._table_id = table_id
        self._data = bytearray()
        self._packets: list[bytes] = []
        self._serial = 0
        self._settled: Section | None = None
        self._settled_key = 0
        self.walker = SectionWalker()
        self.sections: dict[int, Section] = {}

    def read(self, chunk: bytes, start: int, end: int) -> list[tuple[int, bytes]]:
        """Take the packet from `start` to `end`.

        Keys and bytes of the sections that are new by it.
        """
        packet = chunk[start:end]
        if self._is_again(packet):
            return []
        fresh: list[tuple[int, bytes]] = []
        fragments = self.walker.walk(chunk, start, end)
        for begin, stop, at, total in fragments:
            if not at:
                self._data.clear()
                self._packets.clear()
            self._data += chunk[begin:stop]
            self._packets.append(packet)
            if total and at + stop - begin == total:
                self._complete(bytes(self._data), fresh)
                self._packets.clear()
        if not self.walker.open:
            self._packets.clear()
        if len(fragments) != 1 or (self._settled and len(self._settled.packets) != 1):
            self._settled = None
        return fresh

    def _is_again(self, packet: bytes) -> bool:
        """Take a packet that differs from the last one in its counter alone: the usual case.

        Only a packet that holds one whole section and no part of another is compared with.
        """
        section = self._settled
        if section is None or self.walker.open:
            return False
        (before,) = section.packets
        if packet[4:] != before[4:] or packet[1] != before[1] or (packet[3] ^ before[3]) & 0xF0:
            return False
        if self.sections.get(self._settled_key) is not section:
            return False
        self._serial += 1
        self._settled = Section(section.data, (packet,), self._serial)
        self.sections[self._settled_key] = self._settled
        return True

    def packets(self) -> list[bytes]:
        """Every packet that holds a current section, then those of the one still open, each once.

        With the open ones the counter runs on into what follows in the stream.
        """
        runs = [entry.packets for entry in sorted(self.sections.values(), key=lambda e: e.serial)]
        unique: dict[int, bytes] = {}
        for run in (*runs, tuple(self._packets)):
            for packet in run:
                unique.setdefault(id(packet), packet)
        return list(unique.values())

    def programs(self) -> dict[int, int] | None:
        """Of a PAT: program_number to PMT PID, in its order; None until all its sections are there.

        The network PID, program_number 0, is left out (2.4.4.4).
        """
        pat: dict[int, int] = {}
        last = max((section.data[7] for section in self.sections.values()), default=0)
        for number in range(last + 1):
            section = self.sections.get(number)
            if section is None:
                return None
            data = section.data
            for at in range(8, len(data) - 7, 4):
                program_number = data[at] << 8 | data[at + 1]
                pid = (data[at + 2] & 0x1F) << 8 | data[at + 3]
                if program_number and pid not in _RESERVED_PIDS:
                    pat[program_number] = pid
        return pat

    def _complete(self, data: bytes, fresh: list[tuple[int, bytes]]) -> None:
        # section_syntax_indicator and current_next_indicator: "not yet applicable" tables are none
        # of ours
        if data[0] != self._table_id or len(data) < 12 or not data[1] & 0x80 or not data[5] & 0x01:
            return
        if data[6] > data[7]:  # section_number above last_section_number
            return
        key = data[6] if self._table_id == PAT_TABLE_ID else data[3] << 8 | data[4]
        known = self.sections.get(key)
        if known is None or known.data != data:
            if crc32_mpeg(data):
                return
            fresh.append((key, data))
            if self._table_id == PAT_TABLE_ID:
                # a PAT of several sections is one version of all of them
                for number, other in list(self.sections.items()):
                    if other.data[5] != data[5] or other.data[7] != data[7]:
                        del self.sections[number]
        self._serial += 1
        section = Section(data, tuple(self._packets), self._serial)
        self.sections[key] = section
        self._settled, self._settled_key = section, key


def parse_pmt(data: bytes, pid: int) -> ProgramMap:
    """A PMT section whose CRC is right. Loops that overrun the section are cut at its end."""
    streams = []
    end = len(data) - 4
    at = 12 + ((data[10] & 0x0F) << 8 | data[11])
    while at + 5 <= end:
        size = (data[at + 3] & 0x0F) << 8 | data[at + 4]
        streams.append(
            ElementaryStream(
                stream_type=data[at],
                pid=(data[at + 1] & 0x1F) << 8 | data[at + 2],
                descriptors=data[at + 5 : min(end, at + 5 + size)],
            )
        )
        at += 5 + size
    return ProgramMap(
        program_number=data[3] << 8 | data[4],
        pmt_pid=pid,
        version=data[5] >> 1 & 0x1F,
        pcr_pid=(data[8] & 0x1F) << 8 | data[9],
        streams=tuple(streams),
    )
