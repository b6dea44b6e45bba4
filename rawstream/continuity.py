"""Continuity counters (ISO/IEC 13818-1, 2.4.3.3): each PID's, the mark that lets one jump, gaps.

Owns: counters. Must not know: what the packets carry, where they come from.

Like in `mpegts` nothing raises on bad bytes, and what is sent is not looked at packet by packet.
"""

from __future__ import annotations

from itertools import compress
from typing import Final, NamedTuple

from rawstream.mpegts import NULL_PID, PACKET_SIZE, SYNC_BYTE

# -- tables for bytes.translate; their index is a header byte (2.4.3.2) --
# the upper bits of the PID, and transport_error_indicator
_PID_HIGH: Final = bytes(value & 0x9F for value in range(256))
_HAS_PAYLOAD: Final = bytes(1 if value & 0x10 else 0 for value in range(256))


def continuity_counters(packets: bytes, *, last: bool = False) -> dict[int, int]:
    """The counter of each PID's first packet with payload, but for damaged ones and the null PID;
    with `last`, of its last one.

    `packets`: whole packets; a last piece shorter than a packet is passed over.
    """
    packets = packets[: len(packets) - len(packets) % PACKET_SIZE]
    # in a dictionary the later entry stays: for the first packets of all, go backwards
    step = 1 if last else -1
    control = packets[3::PACKET_SIZE][::step]
    high = packets[1::PACKET_SIZE].translate(_PID_HIGH)[::step]
    low = packets[2::PACKET_SIZE][::step]
    of_pids = zip(zip(high, low, strict=True), control, strict=True)
    counters = dict(compress(of_pids, control.translate(_HAS_PAYLOAD)))
    return {
        upper << 8 | lower: value & 0x0F
        for (upper, lower), value in counters.items()
        if not upper & 0x80 and (upper << 8 | lower) != NULL_PID
    }


def discontinuity_packet(pid: int, next_cc: int) -> bytes:
    """A packet without payload that announces a cut on `pid` before one with counter `next_cc`.

    It does not count (2.4.3.3), so it carries the counter before that; discontinuity_indicator lets
    both the counter and, on the PCR PID, the clock jump (2.4.3.5).
    """
    head = bytes([SYNC_BYTE, pid >> 8 & 0x1F, pid & 0xFF, 0x20 | next_cc - 1 & 0x0F, 183, 0x80])
    return head.ljust(PACKET_SIZE, b"\xff")


class ContinuityGap(NamedTuple):
    """A counter that does not follow. `offset`: bytes from the first packet ever fed."""

    pid: int
    offset: int
    expected: int
    got: int


class ContinuityChecker:
    """The judge of what we send: every hole in a PID's continuity_counter (2.4.3.3).

    Allowed: any counter after discontinuity_indicator, one exact repeat of a packet, packets
    without payload that keep the counter, the null PID. Damaged packets are passed over. A loop per
    packet: for tests and benchmarks.
    """

    __slots__ = ("_last", "_offset", "gaps")

    def __init__(self) -> None:
        self.gaps = 0
        self._offset = 0
        # PID -> counter, the last payload, whether it was already repeated
        self._last: dict[int, tuple[int, bytes, bool]] = {}

    def feed(self, chunk: bytes) -> list[ContinuityGap]:
        """Check the next whole packets; what is wrong in them."""
        gaps = []
        for offset in range(0, len(chunk) - PACKET_SIZE + 1, PACKET_SIZE):
            pid = (chunk[offset + 1] & 0x1F) << 8 | chunk[offset + 2]
            control = chunk[offset + 3]
            if pid == NULL_PID or chunk[offset + 1] & 0x80:
                continue
            cc = control & 0x0F
            length = chunk[offset + 4] if control & 0x20 else -1
            jump = length > 0 and chunk[offset + 5] & 0x80
            payload = chunk[offset + 5 + length : offset + PACKET_SIZE] if control & 0x10 else b""
            before = self._last.get(pid)
            repeated = False
            if before is not None and not jump:
                expected = (before[0] + 1 if control & 0x10 else before[0]) & 0x0F
                repeated = bool(
                    control & 0x10 and cc == before[0] and payload == before[1] and not before[2]
                )
                if cc != expected and not repeated:
                    gaps.append(ContinuityGap(pid, self._offset + offset, expected, cc))
            if control & 0x10 or before is None or cc != before[0]:
                self._last[pid] = (cc, payload, repeated)
        self._offset += len(chunk)
        self.gaps += len(gaps)
        return gaps
