"""PES headers and first pictures: when is it shown, and may a decoder start at it.

Owns: the fields of a PES header (ISO/IEC 13818-1, 2.4.3.6), the start codes of H.264, HEVC and
MPEG-1/2 video that stand before a picture's first slice. Must not know: packets, PIDs, tables.

Clause numbers are those of ISO/IEC 13818-1:2019 unless another text is named. Bad bytes raise
nothing: what can't be read is no entry point and has no timestamp.
"""

from __future__ import annotations

from typing import Final

PES_START_CODE: Final = b"\0\0\1"
# What may stand between a PES header and its first slice before we give that picture up.
PROBE_LIMIT_BYTES: Final = 32 * 1024

# stream_id values whose PES packets have no header fields to read (2.4.3.7)
_BARE_STREAM_IDS: Final = frozenset((0xBC, 0xBE, 0xBF, 0xF0, 0xF1, 0xF2, 0xF8, 0xFF))


def read_timestamp(data: bytes | bytearray, at: int) -> int:
    """The 33 bits of a PTS or DTS field (2.4.3.7) of 5 bytes at `at`.

    Marker bits are not checked.
    """
    return (
        (data[at] >> 1 & 0x07) << 30
        | data[at + 1] << 22
        | data[at + 2] >> 1 << 15
        | data[at + 3] << 7
        | data[at + 4] >> 1
    )


def pes_fields(data: bytes | bytearray, start: int, end: int) -> tuple[int, int]:
    """Where PTS and DTS stand in the PES header at `start` of `data`.

    -1 for what is not there before `end`.
    """
    if end - start < 14 or data[start : start + 3] != PES_START_CODE:
        return -1, -1
    if data[start + 3] in _BARE_STREAM_IDS or data[start + 6] & 0xC0 != 0x80:
        return -1, -1
    flags = data[start + 7] & 0xC0
    size = data[start + 8]
    if flags & 0x80 == 0 or size < 5:
        return -1, -1
    both = flags == 0xC0 and size >= 10 and end - start >= 19
    return start + 9, start + 14 if both else -1


def pes_pts(data: bytes | bytearray, start: int, end: int) -> int | None:
    at = pes_fields(data, start, end)[0]
    return read_timestamp(data, at) if at >= 0 else None


def _holds_recovery_point(nal: bytes) -> bool:
    """Whether SEI payloads have a recovery point, 6 (ITU-T H.264 D.1.8, H.265 D.2.8)."""
    payloads = nal.replace(b"\0\0\3", b"\0\0")
    at = 0
    while at + 1 < len(payloads):
        numbers = []
        for _ in ("payloadType", "payloadSize"):
            number = 0
            while at < len(payloads) and payloads[at] == 0xFF:
                number += 255
                at += 1
            if at == len(payloads):
                return False
            numbers.append(number + payloads[at])
            at += 1
        if numbers[0] == 6:
            return True
        at += numbers[1]
    return False


class PictureProbe:
    """Looks into one PES packet for what its first picture is.

    Knows when the first slice has come.
    """

    __slots__ = ("_at", "_data", "_examine", "_headers", "_recovery")

    def __init__(self, codec: str) -> None:
        self._data = bytearray()
        self._at = -1
        self._headers = False
        self._recovery = False
        self._examine = {
            "h264": self._examine_h264,
            "hevc": self._examine_hevc,
            "mpeg1video": self._examine_mpeg,
            "mpeg2video": self._examine_mpeg,
        }[codec]

    @property
    def pts(self) -> int | None:
        return pes_pts(self._data, 0, len(self._data))

    def feed(self, payload: bytes) -> bool | None:
        """Whether the picture can be entered; None: not decided yet."""
        data = self._data
        data += payload
        if self._at < 0:
            if len(data) < 9:
                return None
            self._at = 9 + data[8]
        while True:
            at = data.find(PES_START_CODE, self._at)
            if at < 0:
                # the next start code may have begun in the last two bytes
                self._at = max(self._at, len(data) - 2)
                break
            self._at = at
            # every decision needs at most the two bytes behind the one that names the unit
            if at + 6 > len(data):
                break
            verdict = self._examine(at + 3)
            if verdict is not None:
                return verdict
            if self._at == at:
                break
        return False if len(data) > PROBE_LIMIT_BYTES else None

    def _skip(self, at: int) -> None:
        self._at = at + 1

    def _take_sei(self, at: int, header_bytes: int) -> None:
        """An SEI unit counts once it is whole; until then `_at` stays where it is."""
        end = self._data.find(PES_START_CODE, at + header_bytes)
        if end >= 0:
            if _holds_recovery_point(bytes(self._data[at + header_bytes : end])):
                self._recovery = True
            self._at = end

    def _examine_h264(self, at: int) -> bool | None:
        """ITU-T H.264 table 7-1.

        An I slice behind a sequence parameter set is how older encoders mark an entry.
        """
        kind = self._data[at] & 0x1F
        if kind == 5:
            return True
        if kind in (1, 2):
            # first_mb_in_slice 0 is the bit 1; then slice_type 2 is 011 and 7 is 0001000 (7.3.3,
            # table 7-6)
            bits = self._data[at + 1]
            intra = bits & 0xF0 == 0xB0 or bits == 0x88
            return self._recovery or (self._headers and intra)
        if kind == 6:
            self._take_sei(at, 1)
            return None
        if kind == 7:
            self._headers = True
        self._skip(at)
        return None

    def _examine_hevc(self, at: int) -> bool | None:
        """ITU-T H.265 table 7-1.

        16 to 21 are the pictures at which decoding may begin (IRAP), CRA among them.
        """
        kind = self._data[at] >> 1 & 0x3F
        base_layer = not self._data[at] & 0x01 and self._data[at + 1] < 0x08
        if kind < 32 and base_layer:
            return 16 <= kind <= 21 or self._recovery
        if kind == 39:
            self._take_sei(at, 2)
            return None
        self._skip(at)
        return None

    def _examine_mpeg(self, at: int) -> bool | None:
        """ISO/IEC 13818-2 table 6-1.

        A sequence header, then a picture with picture_coding_type 1.
        """
        kind = self._data[at]
        if kind == 0x00:
            return self._headers and self._data[at + 2] >> 3 & 0x07 == 1
        if kind == 0xB3:
            self._headers = True
        self._skip(at)
        return None


PROBED_CODECS: Final = frozenset(("h264", "hevc", "mpeg1video", "mpeg2video"))
