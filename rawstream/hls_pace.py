"""What a segment's own bytes say of it, and when they go on.

Owns: how long a segment's media lasts by its clock, whether clock and counters run on from the
segment before, the pace. Must not know: playlists, fetching, viewers.

Playlists round durations, or lie: paced by them the lead is lost, or segments are, after minutes.
Some packagers count from 0 again in each segment, others announce a discontinuity at each: where
the clock runs on, only the counters' jumps are marked, so that nothing is cut.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from rawstream.continuity import continuity_counters, discontinuity_packet
from rawstream.mpegts import PACKET_SIZE, PCR_HZ, PCR_WRAP, PcrClock, TsScanner

_SLICE_BYTES: Final = 512 * PACKET_SIZE
# Between the last PCR of a segment and the first of the next; some overlap by a little.
_RUNS_ON_SECONDS: Final = 1.0
_SECONDS_LIMIT: Final = 120.0  # of a segment
_BELIEVED: Final = 4.0  # times more or less than the playlist says
_LEAST_SECONDS: Final = 0.01
_LEAD_SECONDS: Final = 4.0  # go on at once, at first and what is late: viewers join 2 s behind
_AT_ONCE_SHARE: Final = 0.8  # of a segment that is late, so that something is left to stretch


class Told(NamedTuple):
    """Of one segment. `seconds`: of media by its clock, 0 where none was seen; `runs_on`: whether
    clock and streams do, None where that can't be told. `marks`: packets to go before it, for
    counters that jump.
    """

    seconds: float
    runs_on: bool | None
    marks: bytes

    def lasts(self, said: float) -> float:
        """The seconds to pace it by, where the playlist says so many; 0: it says none."""
        if not 0.0 < self.seconds <= _SECONDS_LIMIT:
            return max(said, _LEAST_SECONDS)
        if said and not said / _BELIEVED <= self.seconds <= said * _BELIEVED:
            return said  # a clock that was cut within the segment
        return self.seconds


class SegmentReader:
    """Reads the segments of one stream in order; off the loop, as they may be large."""

    def __init__(self) -> None:
        self._scanner = TsScanner()
        self._last_pcr: int | None = None
        self._counters: dict[int, int] = {}

    def read(self, data: bytes) -> Told:
        """`data`: whole packets."""
        program, clock = self._scanner.program, PcrClock()
        last_pcr, first_pcr = self._last_pcr, None
        for at in range(0, len(data), _SLICE_BYTES):
            piece = data[at : at + _SLICE_BYTES]
            scan = self._scanner.scan(piece)
            clock.follow(scan, len(piece))
            if scan.last_pcr is not None:
                first_pcr = first_pcr if first_pcr is not None else scan.first_pcr
                self._last_pcr = scan.last_pcr
        seconds = clock.seconds
        runs_on: bool | None = None
        if first_pcr is not None and last_pcr is not None:
            step = ((first_pcr - last_pcr + PCR_WRAP // 2) % PCR_WRAP - PCR_WRAP // 2) / PCR_HZ
            runs_on = abs(step) <= _RUNS_ON_SECONDS and program == self._scanner.program
            seconds += step if runs_on else 0.0
        return Told(seconds, runs_on, self._marks(data))

    def _marks(self, data: bytes) -> bytes:
        firsts = continuity_counters(data)
        marks = [
            discontinuity_packet(pid, counter)
            for pid, counter in firsts.items()
            if pid in self._counters and (self._counters[pid] + 1) & 0x0F != counter
        ]
        self._counters.update(continuity_counters(data, last=True))
        return b"".join(marks)


class Pace:
    """When a segment's media goes on: in real time, some of it at once at first.

    What is late goes at once, to give viewers their lead again, and the rest is stretched up to
    when the next segment may be expected: else each one after it would be as late, in bursts with
    a silence between them.
    """

    def __init__(self) -> None:
        self._due: float | None = None
        self._owed = 0.0
        self._now = 0.0
        self._seconds = 0.0
        self._at_once = 0.0
        self._stretch = 1.0

    def begin(self, now: float, seconds: float, behind_seconds: float = 0.0) -> None:
        """A segment of so many seconds of media is there, and there is so much behind it."""
        if self._due is None:  # half of what there is stays here: it bridges what is late
            self._owed = min(_LEAD_SECONDS, (seconds + behind_seconds) / 2)
        due = now if self._due is None else self._due
        self._seconds = seconds
        self._stretch = 1.0
        if self._owed > 0:
            self._at_once = min(seconds, self._owed)
            self._owed -= self._at_once
            self._now = max(now, due)
            self._due = self._now + seconds - self._at_once
            return
        self._at_once = min(max(0.0, now - due), _LEAD_SECONDS, _AT_ONCE_SHARE * seconds)
        self._now = max(now, due)
        self._due = self._now + seconds
        self._stretch = seconds / (seconds - self._at_once)

    def at(self, share: float) -> float:
        """When the byte at `share` (0 to 1) of the segment is due, on the clock of `begin`."""
        media = share * self._seconds
        return self._now + max(0.0, media - self._at_once) * self._stretch
