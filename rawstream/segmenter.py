"""Where a live stream is cut into HLS segments, and how long each of them is (RFC 8216 §3).

Owns: the target duration, the cuts, durations, discontinuities, the number of each segment. Must
not know: viewers, HTTP, playlists' text, where chunks come from.

A segment begins at a random-access point, with the tables a decoder needs first, and goes on up to
the next cut: its parts are the stream's own chunks, shared with the ring and with all watchers. The
segments of one source, tables aside, are the stream packet by packet.

Time is the stream's: a segment lasts from its first picture's PTS to the next segment's. The target
duration is the wanted one, or the longest distance of random-access points seen before the first
segment, and never changes. Where a later distance is longer, the cut is at a PES start, and that
segment needs the one before it.

A place for partial segments (low latency): the open segment's chunks are kept as they come.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from rawstream.mpegts import PTS_HZ, PTS_WRAP, TsScanner
from rawstream.psi import ProgramMap
from rawstream.restamp import PesTimestamps, pes_timestamps
from rawstream.ring import EntryPoint

_ROUNDED: Final = 0.499  # §4.3.3.1: a duration rounded to a whole number is at most the target
_SLACK_SECONDS: Final = 0.05  # a segment this much short of the target is long enough
_INTERVALS: Final = 8  # distances of random-access points that say when the next one is due
# How far PTS and clock of two random-access points may differ and be one timeline, beyond what a
# chunk lasts: a clock is read a chunk at a time.
_APART_SECONDS: Final = 1.5
_REORDER_SECONDS: Final = 1.0  # how far a picture may stand behind one that is shown later
_CLOCKLESS_SECONDS: Final = 30.0  # the same without a clock: only the PTS tells


@dataclass(frozen=True, slots=True)
class Segment:
    """`parts`: whole packets, tables first. `seconds`: how long it lasts. `begins`: on the ring's
    clock. `wall`: when its first picture was live, seconds since 1970. `discontinuity`: another
    timeline or other streams than in the one before. `independent`: it begins at a random-access
    point.
    """

    number: int
    parts: tuple[bytes, ...]
    size: int
    seconds: float
    begins: float
    wall: float
    discontinuity: bool
    independent: bool


class _Piece(NamedTuple):
    sequence: int
    data: bytes
    begins: float
    ends: float


@dataclass(frozen=True, slots=True)
class _Mark:
    """A place to cut. `time`: on the segments' own timeline. `seconds`: on the ring's."""

    sequence: int
    offset: int
    seconds: float
    time: float
    tables: bytes
    independent: bool = True


class Segmenter:
    """One stream's segments. `number`: of the first one. `wall`: the time of day, seconds since
    1970. `open_bytes`: what is not complete with so many, and can't be cut, is given up.
    """

    def __init__(
        self,
        target_seconds: float,
        *,
        longest_seconds: int,
        open_bytes: int = 1 << 40,
        number: int = 0,
        wall: Callable[[], float],
    ) -> None:
        self._wanted = target_seconds
        self._longest = longest_seconds  # the target duration is never above
        self._open_limit_bytes = open_bytes
        self._wall = wall
        self.target = 0  # EXT-X-TARGETDURATION, 0 until it is known
        self.independent = True  # every segment so far began at a random-access point
        self.number = number  # of the next segment
        # -- the open segment --
        self._pieces: deque[_Piece] = deque()
        self.open_bytes = 0  # of the pieces
        self._open: _Mark | None = None
        self._discontinuity = False  # of the open segment
        self._begun = False  # there was one before it
        self._program: ProgramMap | None = None
        self._cuts: list[_Mark] = []  # random-access points in it
        # -- the timeline --
        self._last: tuple[EntryPoint, float, float] | None = None  # point, its time, its chunk's
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)
        self._widest = 0.0  # distance of random-access points before the target was known
        self._ended = 0.0  # where the newest complete segment did
        self._wall_offset = 0.0  # from the timeline to the time of day
        self._done: list[Segment] = []

    def take(self) -> list[Segment]:
        """The segments that have become complete since the last call; none before the target is
        known.
        """
        if not self.target:
            return []
        done, self._done = self._done, []
        # a gap without a picture can't be cut, and no duration may say so (§4.3.3.1)
        most = self.target + _ROUNDED
        return [replace(one, seconds=most) if one.seconds > most else one for one in done]

    def forget_before(self, sequence: int) -> None:
        """While no segment is open: these chunks can't be in one any more."""
        if self._open is None:
            self._drop_before(sequence)

    # -- the stream --------------------------------------------------------------------------------

    def add(self, sequence: int, data: bytes, begins: float, ends: float) -> None:
        """The next chunk, from and to these seconds of the ring's clock."""
        self._pieces.append(_Piece(sequence, data, begins, ends))
        self.open_bytes += len(data)

    def point(
        self, entry: EntryPoint, *, independent: bool = True, source_from: int | None = None
    ) -> None:
        """A random-access point in the chunks so far, or with `independent` False a PES start that
        has to do for one. `source_from`: it is the first of another source, which began with this
        chunk.
        """
        if not independent and self._is_reordered(entry):
            return
        time, jumped = self._time_of(entry)
        if self._open is None:
            time = max(time, self._ended)
        self._last = (entry, time, self._lasts(entry.sequence))
        mark = _Mark(entry.sequence, entry.offset, entry.seconds, time, entry.tables, independent)
        if self._open is None:
            self._begin(mark)
        elif source_from is not None or jumped:
            # what a new source begins with (tables, marks of jumps) belongs to its first segment
            end = replace(mark, sequence=source_from, offset=0) if source_from is not None else mark
            seconds = self._measured(end) or max(0.0, time - self._open.time)
            end = replace(end, time=self._open.time + seconds)
            self._last = (entry, end.time, self._lasts(entry.sequence))
            self._end(end)
            self._begin(end)
        elif self._is_other_program(entry.tables):
            mark = replace(mark, time=max(time, self._open.time))
            self._end(mark)
            self._begin(mark)
        else:
            self._cuts.append(mark)
            self._note_interval()
            self._cut()

    def advance(self) -> None:
        """No point came for a while: cut what has become too long."""
        if self._open is not None and self.open_bytes > self._open_limit_bytes:
            self.lose()
        start = self._open
        if start is None or not self._pieces:
            return
        first, last = self._pieces[0], self._pieces[-1]
        # the start lies somewhere in its chunk
        passed = last.ends - start.seconds - (first.ends - first.begins) - _ROUNDED
        if not self.target:
            if passed <= self._longest:
                return
            self._set_target(self._longest)
        while self._open is not None and passed > self.target:
            at = self._last_cut() or self._forced_cut(None, self.target)
            if at is None or at.time <= self._open.time:
                return
            self._cut_at(at)
            passed = last.ends - self._open.seconds - _ROUNDED

    def lose(self) -> None:
        """Chunks are missing behind those so far: the next random-access point begins anew."""
        if self._open is not None and self._pieces:
            last = self._pieces[-1]
            end = _Mark(last.sequence + 1, 0, last.ends, 0.0, b"")
            seconds = self._measured(end) or max(0.0, last.ends - self._open.seconds)
            if seconds:
                self._end(replace(end, time=self._open.time + seconds))
        self.forget()

    def forget(self) -> None:
        """Keep nothing of what is not complete."""
        self._open = None
        self._pieces.clear()
        self.open_bytes = 0
        self._cuts.clear()

    # -- the timeline ------------------------------------------------------------------------------

    def _time_of(self, entry: EntryPoint) -> tuple[float, bool]:
        """When it is, on the segments' timeline, and whether another one begins with it."""
        if self._last is None:
            return 0.0, False
        before, time, lasted = self._last
        clock = max(0.0, entry.seconds - before.seconds)
        if entry.pts is None or before.pts is None:
            return time + clock, False
        ticks = (entry.pts - before.pts + PTS_WRAP // 2) % PTS_WRAP - PTS_WRAP // 2
        passed = ticks / PTS_HZ
        within = _APART_SECONDS + lasted + self._lasts(entry.sequence)
        if any(piece.ends > piece.begins for piece in self._pieces):
            likely = passed > 0 and abs(passed - clock) <= within
        else:
            likely = 0 < passed <= _CLOCKLESS_SECONDS
        return (time + passed, False) if likely else (time + clock, True)

    def _is_reordered(self, entry: EntryPoint) -> bool:
        """A picture that is shown before one that came before it: no place to cut."""
        if self._open is None or self._last is None:
            return False
        before = self._last[0].pts
        if entry.pts is None or before is None:
            return False
        back = (before - entry.pts) % PTS_WRAP / PTS_HZ
        return back <= _REORDER_SECONDS

    def _lasts(self, sequence: int) -> float:
        piece = self._piece(sequence)
        return piece.ends - piece.begins if piece is not None else 0.0

    def _piece(self, sequence: int) -> _Piece | None:
        if not self._pieces:
            return None
        at = sequence - self._pieces[0].sequence
        return self._pieces[at] if 0 <= at < len(self._pieces) else None

    def _is_other_program(self, tables: bytes) -> bool:
        """§4.3.2.3: number, type and identifiers of tracks."""
        start = self._open
        if start is None or tables == start.tables:
            return False
        return _tracks(_program_of(tables)) != _tracks(self._program)

    # -- cuts --------------------------------------------------------------------------------------

    def _set_target(self, widest: float) -> None:
        widest = min(max(self._wanted, widest), self._longest)
        self.target = max(1, math.floor(widest + 0.5))

    def _cut(self) -> None:
        """Cut at random-access points, as far as it is clear which."""
        while self._open is not None and self._cuts:
            if self.target and not self._is_long_enough(self._cuts[-1]):
                return  # nor is any before it
            start = self._open.time
            if not self.target:
                if self._cuts[-1].time - start < self._wanted - _SLACK_SECONDS:
                    return
                self._set_target(self._widest)
            cut = next((mark for mark in self._cuts if self._is_long_enough(mark)), None)
            if cut is None:
                return
            if cut.time - start > self.target + _ROUNDED:
                earlier = [mark for mark in self._cuts if mark.time < cut.time]
                forced = earlier[-1] if earlier else self._forced_cut(cut, self.target)
                if forced is not None and start < forced.time < cut.time:
                    cut = forced
            self._cut_at(cut)

    def _is_long_enough(self, mark: _Mark) -> bool:
        """Whether the segment may end here: it is as long as wanted, or would be too long at the
        next random-access point.
        """
        assert self._open is not None, "asked of an open segment"
        passed = mark.time - self._open.time
        if passed >= self._wanted - _SLACK_SECONDS:
            return True
        return bool(self._intervals) and passed + min(self._intervals) > self.target + _ROUNDED

    def _note_interval(self) -> None:
        newest = self._cuts[-1]
        before = self._cuts[-2] if len(self._cuts) > 1 else self._open
        if before is not None and newest.time > before.time:
            self._intervals.append(newest.time - before.time)
            if not self.target:
                self._widest = max(self._widest, newest.time - before.time)

    def _last_cut(self) -> _Mark | None:
        return self._cuts[-1] if self._cuts else None

    def _forced_cut(self, end: _Mark | None, most: float) -> _Mark | None:
        """The last PES start before `end`, of the stream at which one enters, within `most` seconds
        of the segment's beginning.
        """
        start = self._open
        assert start is not None, "an open segment is cut"
        best: tuple[PesTimestamps, float] | None = None
        for stamp, passed in self._pictures(end):
            if passed > most:
                break  # they are in order, up to where another timeline begins
            if passed > 0:
                best = (stamp, passed)
        if best is not None:
            stamp, passed = best
            sequence, offset = self._place(stamp.offset)
            piece = self._piece(sequence)
            seconds = piece.begins if piece is not None else start.seconds
            return _Mark(sequence, offset, seconds, start.time + passed, start.tables, False)
        for piece in self._pieces:  # nothing that says when it is: between two chunks
            passed = piece.begins - start.seconds
            if end is not None and piece.sequence > end.sequence:
                break
            if piece.sequence > start.sequence and passed >= most:
                time = start.time + passed
                return _Mark(piece.sequence, 0, piece.begins, time, start.tables, False)
        return None

    def _pictures(self, end: _Mark | None) -> list[tuple[PesTimestamps, float]]:
        """Of the open segment up to `end` each PES start of the entry stream, and how many seconds
        after the first one it is decoded.
        """
        entry = self._program.entry if self._program is not None else None
        if entry is None:
            return []
        found: list[tuple[PesTimestamps, float]] = []
        first: int | None = None
        for stamp in pes_timestamps(b"".join(self._sliced(end))):
            if stamp.pid != entry.pid:
                continue
            ticks = stamp.pts if stamp.dts is None else stamp.dts
            first = ticks if first is None else first
            found.append((stamp, ((ticks - first) % PTS_WRAP) / PTS_HZ))
        return found

    def _measured(self, end: _Mark) -> float:
        """How long the open segment is up to where its source was cut, by its own pictures: none is
        known behind the last one. 0 if they don't tell.
        """
        times = sorted(passed for _stamp, passed in self._pictures(end))
        if len(times) < 2 or times[-1] > 2 * self._longest:
            return 0.0
        return times[-1] * len(times) / (len(times) - 1)

    def _place(self, offset: int) -> tuple[int, int]:
        """Chunk and offset in it of an offset in the open segment's bytes."""
        assert self._open is not None, "an open segment has places"
        offset += self._open.offset
        for piece in self._pieces:
            if offset < len(piece.data):
                return piece.sequence, offset
            offset -= len(piece.data)
        return self._pieces[-1].sequence + 1, 0

    # -- segments ----------------------------------------------------------------------------------

    def _begin(self, mark: _Mark) -> None:
        """Open a segment at a place that is no cut: the first, or one of another timeline."""
        self._drop_before(mark.sequence)
        self._program = _program_of(mark.tables)
        self._discontinuity = self._begun
        self._begun = True
        self._open = mark
        self._cuts.clear()
        head = self._pieces[-1].ends if self._pieces else mark.seconds
        live = self._wall() - max(0.0, head - mark.seconds) - mark.time
        self._wall_offset = max(self._wall_offset, live)

    def _cut_at(self, mark: _Mark) -> None:
        assert self._open is not None, "an open segment is cut"
        self._close(mark, mark.time - self._open.time)
        self._open = mark
        self._discontinuity = False
        self._cuts = [cut for cut in self._cuts if cut.time > mark.time]
        self._drop_before(mark.sequence)

    def _end(self, end: _Mark) -> None:
        """Close the open segment where there is no cut, and cut it before where it is too long."""
        assert self._open is not None, "an open segment ends"
        most = self.target or self._longest
        if not self.target:
            self._widest = max(self._widest, min(end.time - self._open.time, most))
        while end.time - self._open.time > most + _ROUNDED:
            fitting = [cut for cut in self._cuts if cut.time - self._open.time <= most + _ROUNDED]
            at = fitting[-1] if fitting else self._forced_cut(end, most)
            if at is None or not self._open.time < at.time < end.time:
                break
            self._cut_at(at)
        self._close(end, end.time - self._open.time)

    def _close(self, end: _Mark, seconds: float) -> None:
        """The open segment is complete."""
        start = self._open
        assert start is not None, "an open segment is closed"
        parts = self._sliced(end)
        if not parts:
            return
        self.independent = self.independent and start.independent
        parts = [start.tables, *parts] if start.tables else parts
        segment = Segment(
            self.number,
            tuple(parts),
            sum(map(len, parts)),
            seconds,
            start.seconds,
            start.time + self._wall_offset,
            self._discontinuity,
            start.independent,
        )
        self.number += 1
        self._ended = end.time
        self._done.append(segment)

    def _sliced(self, end: _Mark | None) -> list[bytes]:
        """The bytes of the open segment up to `end`, or all of them."""
        start = self._open
        assert start is not None, "an open segment has bytes"
        parts = []
        for piece in self._pieces:
            if piece.sequence < start.sequence:
                continue
            if end is not None and piece.sequence > end.sequence:
                break
            last = end.offset if end and piece.sequence == end.sequence else len(piece.data)
            first = start.offset if piece.sequence == start.sequence else 0
            if first < last:
                whole = first == 0 and last == len(piece.data)
                parts.append(piece.data if whole else piece.data[first:last])
        return parts

    def _drop_before(self, sequence: int) -> None:
        while self._pieces and self._pieces[0].sequence < sequence:
            self.open_bytes -= len(self._pieces.popleft().data)


def _program_of(tables: bytes) -> ProgramMap | None:
    scanner = TsScanner()
    scanner.scan(tables)
    return scanner.program


def _tracks(program: ProgramMap | None) -> list[tuple[int, int]]:
    return [(one.pid, one.stream_type) for one in program.streams] if program is not None else []
