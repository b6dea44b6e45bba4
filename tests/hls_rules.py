"""The rules of live HLS, as a reader of ours: what a media playlist says wrong, and where it says
so in the specification.

Owns: reading a media playlist strictly, comparing it with the ones before it, and what a transport
stream segment must begin with and go on from. Each complaint begins with its clause: of RFC 8216,
of Apple's HLS Authoring Specification ("Apple 8.11"), or "ours" for what rawstream promises beyond
them. Must not know rawstream: nothing of it is imported, so that it can't share its mistakes.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple
from urllib.parse import urlsplit

import av
import av.logging

PACKET = 188
CLOCK = 90_000  # PES time stamps, per second
WRAP = 1 << 33
DATE_TOLERANCE = timedelta(milliseconds=20)  # EXTINF and dates are both rounded to milliseconds
TIME_TOLERANCE_SECONDS = 0.05  # of EXTINF against the media: a picture at 25 per second is 0.04
LIVE_SEGMENTS = 6  # Apple 8.11
COPIES = 2  # of one packet
HOLD = 3  # target durations that a live playlist keeps (6.2.2)
MARGIN_SECONDS = 0.5  # what a reload may be late or early of itself

ONCE = {  # 4.3.3 and 4.3.5, and the version: one of each at most
    "#EXT-X-VERSION": "4.3.1.2",
    "#EXT-X-TARGETDURATION": "4.3.3",
    "#EXT-X-MEDIA-SEQUENCE": "4.3.3",
    "#EXT-X-DISCONTINUITY-SEQUENCE": "4.3.3",
    "#EXT-X-ENDLIST": "4.3.3",
    "#EXT-X-PLAYLIST-TYPE": "4.3.3",
    "#EXT-X-I-FRAMES-ONLY": "4.3.3",
    "#EXT-X-INDEPENDENT-SEGMENTS": "4.3.5",
    "#EXT-X-START": "4.3.5",
}
INTEGERS = {
    "#EXT-X-VERSION": "4.3.1.2",
    "#EXT-X-TARGETDURATION": "4.3.3.1",
    "#EXT-X-MEDIA-SEQUENCE": "4.3.3.2",
    "#EXT-X-DISCONTINUITY-SEQUENCE": "4.3.3.3",
}
BARE = {  # tags without a value
    "#EXTM3U": "4.3.1.1",
    "#EXT-X-DISCONTINUITY": "4.3.2.3",
    "#EXT-X-ENDLIST": "4.3.3.4",
    "#EXT-X-I-FRAMES-ONLY": "4.3.3.6",
    "#EXT-X-INDEPENDENT-SEGMENTS": "4.3.5.1",
}
OF_SEGMENT = frozenset(
    (
        *("#EXTINF", "#EXT-X-BYTERANGE", "#EXT-X-DISCONTINUITY", "#EXT-X-KEY", "#EXT-X-MAP"),
        *("#EXT-X-PROGRAM-DATE-TIME", "#EXT-X-DATERANGE"),
    )
)
OF_MASTER = frozenset(
    f"#EXT-X-{name}"
    for name in ("MEDIA", "STREAM-INF", "I-FRAME-STREAM-INF", "SESSION-DATA", "SESSION-KEY")
)
KNOWN = OF_SEGMENT | OF_MASTER | ONCE.keys() | {"#EXTM3U"}
SINCE = {  # the version that a tag needs (section 7)
    "#EXT-X-BYTERANGE": 4,
    "#EXT-X-I-FRAMES-ONLY": 4,
    "#EXT-X-MAP": 6,
}
FRACTION_SINCE = 3
EXTINF = re.compile(r"(\d+(?:\.\d+)?),(.*)")
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?")
# what RFC 3986 allows in a reference
URI = re.compile(r"(?:[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")


class Segment(NamedTuple):
    """`discontinuities`: its discontinuity sequence number. `tags`: all that stands before the URI,
    as it stands there.
    """

    number: int
    uri: str
    seconds: Decimal
    date: datetime | None
    discontinuity: bool
    discontinuities: int
    tags: tuple[str, ...]


@dataclass
class Playlist:
    """What could be read, and what is wrong with it."""

    complaints: list[str] = field(default_factory=list)
    version: int = 1
    target: int = 0
    sequence: int = 0
    discontinuities: int = 0
    independent: bool = False
    segments: list[Segment] = field(default_factory=list)

    @property
    def seconds(self) -> Decimal:
        return sum((segment.seconds for segment in self.segments), Decimal())

    @property
    def end(self) -> int:
        """The number that the next segment will have."""
        return self.sequence + len(self.segments)


# -- one playlist --


def read(body: bytes, *, ours: bool = True) -> Playlist:
    """Read a live media playlist. `ours`: hold it to what rawstream promises, too."""
    return _Reader(body, ours).playlist


class _Reader:
    def __init__(self, body: bytes, ours: bool) -> None:
        self.playlist = Playlist()
        self.ours = ours
        self.values: dict[str, str] = {}  # of tags that stand once
        self.pending: list[tuple[str, str]] = []  # tags of the next segment
        self.fraction = False
        lines = self._lines(body)
        if not lines or lines[0] != "#EXTM3U":
            self._wrong("4.3.1.1", "the first line is not #EXTM3U")
        for number, line in enumerate(lines):
            self._line(number, line)
        if self.pending:
            self._wrong("4.3.2", f"{self.pending[0][0]} stands before no segment")
        self._whole()

    def _wrong(self, clause: str, text: str) -> None:
        self.playlist.complaints.append(f"{clause}: {text}")

    def _lines(self, body: bytes) -> list[str]:
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            self._wrong("4.1", "not UTF-8")
            return []
        if text.startswith("\ufeff"):
            self._wrong("4.1", "a byte order mark")
        if re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f]", text):
            self._wrong("4.1", "a control character")
        if re.search(r"\r(?!\n)", text):
            self._wrong("4.1", "a CR that no LF follows")
        if not text.endswith("\n"):
            self._wrong("4.1", "the last line has no end")
        return text.replace("\r\n", "\n").removesuffix("\n").split("\n")

    def _line(self, number: int, line: str) -> None:
        if not line:
            return
        if line.startswith("#EXT"):
            self._tag(number, line)
        elif line.startswith("#"):
            if line[:4].upper() == "#EXT":
                self._wrong("4.1", f"tags are written in capitals: {line}")
        else:
            self._uri(line)

    def _tag(self, number: int, line: str) -> None:
        name, colon, value = line.partition(":")
        if name not in KNOWN:
            self._wrong("4.1", f"no tag of a media playlist: {line}")
            return
        # only the title of EXTINF may have blanks
        strict = name + value.partition(",")[0] if name == "#EXTINF" else line
        if re.search(r"\s", strict) or line != line.strip():
            self._wrong("4.1", f"white space in {line!r}")
        if (clause := BARE.get(name)) and colon:
            self._wrong(clause, f"{name} has no value")
        if name == "#EXTM3U":
            if number:
                self._wrong("4.3.1.1", "#EXTM3U again")
        elif name in OF_MASTER:
            self._wrong("4.3.4", f"{name} in a media playlist")
        elif name in OF_SEGMENT:
            self._of_segment(name, value, line)
        else:
            self._of_playlist(name, value)

    def _of_playlist(self, name: str, value: str) -> None:
        if name in self.values:
            self._wrong(ONCE[name], f"{name} twice")
        self.values[name] = value
        playlist = self.playlist
        if (clause := INTEGERS.get(name)) and not _is_integer(value):
            self._wrong(clause, f"{name} is no decimal integer: {value}")
            return
        late = bool(playlist.segments or self.pending)
        if name == "#EXT-X-VERSION":
            playlist.version = int(value)
        elif name == "#EXT-X-TARGETDURATION":
            playlist.target = int(value)
        elif name == "#EXT-X-MEDIA-SEQUENCE":
            if late:
                self._wrong("4.3.3.2", f"{name} behind the first segment")
            else:
                playlist.sequence = int(value)
        elif name == "#EXT-X-DISCONTINUITY-SEQUENCE":
            if late:
                self._wrong("4.3.3.3", f"{name} behind the first segment or discontinuity")
            else:
                playlist.discontinuities = int(value)
        elif name == "#EXT-X-INDEPENDENT-SEGMENTS":
            playlist.independent = True
        elif name == "#EXT-X-ENDLIST":
            self._wrong("4.3.3.4", "a live playlist that ends")
        elif name == "#EXT-X-PLAYLIST-TYPE":
            self._wrong("4.3.3.5", "a playlist of a type never loses a segment; this one slides")

    def _of_segment(self, name: str, value: str, line: str) -> None:
        if any(name == other for other, _ in self.pending):
            self._wrong("4.3.2", f"{name} twice before one segment")
        self.pending.append((name, line))
        if name == "#EXTINF":
            found = EXTINF.fullmatch(value)
            if found is None:
                self._wrong("4.3.2.1", f"not <duration>,[<title>]: {line}")
            elif "." in found[1]:
                self.fraction = True
        elif name == "#EXT-X-PROGRAM-DATE-TIME" and _date(value) is None:
            self._wrong("4.3.2.6", f"no date and time of ISO 8601: {line}")

    def _uri(self, line: str) -> None:
        playlist = self.playlist
        if re.search(r"\s", line):
            self._wrong("4.1", f"white space in a URI: {line!r}")
        elif not URI.fullmatch(line):
            self._wrong("4.1", f"not a URI of RFC 3986, or one with a fragment: {line}")
        tags = dict(self.pending)
        found = EXTINF.fullmatch(tags.get("#EXTINF", "").partition(":")[2])
        if "#EXTINF" not in tags:
            self._wrong("4.3.2.1", f"no EXTINF before {line}")
        broken = "#EXT-X-DISCONTINUITY" in tags
        before = playlist.segments[-1].discontinuities if playlist.segments else None
        date = tags.get("#EXT-X-PROGRAM-DATE-TIME", "").partition(":")[2]
        segment = Segment(
            playlist.end,
            line,
            Decimal(found[1]) if found else Decimal(),
            _date(date),
            broken,
            (playlist.discontinuities if before is None else before) + broken,
            tuple(text for _, text in self.pending),
        )
        playlist.segments.append(segment)
        self.pending.clear()

    # -- what concerns the whole --

    def _whole(self) -> None:
        playlist = self.playlist
        if "#EXT-X-TARGETDURATION" not in self.values:
            self._wrong("4.3.3.1", "no EXT-X-TARGETDURATION")
        for segment in playlist.segments:
            if segment.seconds.quantize(Decimal(1), ROUND_HALF_UP) > playlist.target:
                self._wrong(
                    "4.3.3.1, Apple 7.7",
                    f"{segment.seconds} s, rounded, are more than the target {playlist.target}",
                )
        self._versions()
        self._dates()
        if self.ours:
            self._promises()

    def _versions(self) -> None:
        needed = {name: SINCE[name] for name in self.values if name in SINCE}
        for segment in self.playlist.segments:
            for tag in segment.tags:
                name = tag.partition(":")[0]
                if name in SINCE:
                    needed[name] = SINCE[name]
        if self.fraction:
            needed["a fraction in EXTINF"] = FRACTION_SINCE
        for what, version in needed.items():
            if self.playlist.version < version:
                self._wrong("7", f"{what} needs version {version}, not {self.playlist.version}")

    def _dates(self) -> None:
        for one, other in self._neighbours():
            if one.date is None or other.date is None:
                continue
            expected = one.date + timedelta(seconds=float(one.seconds))
            if other.discontinuity:
                if other.date < one.date:
                    self._wrong("4.3.2.6", f"time goes back at {other.uri}")
            elif abs(other.date - expected) > DATE_TOLERANCE:
                off = (other.date - expected).total_seconds()
                self._wrong(
                    "4.3.2.6, 6.3.3", f"the date of {other.uri} is off the durations by {off:.3f} s"
                )

    def _neighbours(self) -> Iterator[tuple[Segment, Segment]]:
        segments = self.playlist.segments
        return itertools.pairwise(segments)

    def _promises(self) -> None:
        playlist = self.playlist
        if not playlist.segments:
            self._wrong("ours", "an empty playlist")
        for name in INTEGERS:
            if name not in self.values:
                self._wrong("ours", f"no {name}")
        seen: set[str] = set()
        for segment in playlist.segments:
            parts = urlsplit(segment.uri)
            if parts.scheme or parts.netloc or not parts.path.startswith("/"):
                self._wrong("ours", f"not an absolute path: {segment.uri}")
            if parts.path in seen:
                self._wrong("ours", f"the same segment twice: {segment.uri}")
            seen.add(parts.path)
            if segment.date is None:
                self._wrong("Apple 8.4, ours", f"no date at {segment.uri}")
            for tag in segment.tags:
                name, _, value = tag.partition(":")
                found = DATE.fullmatch(value) if name == "#EXT-X-PROGRAM-DATE-TIME" else None
                if found and not (found[1] and len(found[1]) == 4 and found[2]):
                    self._wrong("4.3.2.6", f"without milliseconds or a zone: {value}")


def _is_integer(value: str) -> bool:
    """A decimal-integer of 4.2."""
    return re.fullmatch(r"\d{1,20}", value) is not None and int(value) < 1 << 64


def _date(text: str) -> datetime | None:
    if not DATE.fullmatch(text):
        return None
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


# -- one playlist after another --


class Owed(NamedTuple):
    """A segment that has left the playlist and must still be there until `until` (6.2.2)."""

    segment: Segment
    until: float


class History:
    """The reloads of one playlist, by one watcher, in order. `complaints` begin with their clause.

    A reader that comes so seldom that all of the window has changed can compare little; `missed`
    counts the segments that it never saw.
    """

    def __init__(self, *, ours: bool = True) -> None:
        self.ours = ours
        self.complaints: list[str] = []
        self.last: Playlist | None = None
        self.reloads = 0
        self.missed = 0
        self.owed: list[Owed] = []
        self._longest = Decimal()
        self._changed_at: float | None = None  # when the last version was first seen
        self._seen_at: float | None = None  # when it was last seen

    def feed(self, body: bytes, at: float | None = None) -> Playlist:
        """One reload. `at`: when, in seconds of any clock; without it no pace is looked at."""
        playlist = read(body, ours=self.ours)
        found = list(playlist.complaints)
        before, self.last = self.last, playlist
        if before is not None:
            found += _moved(before, playlist, self.ours)
        self.complaints += (f"reload {self.reloads}: {text}" for text in found)
        if at is not None:
            self._pace(before, playlist, at)
        self._longest = max(self._longest, playlist.seconds)
        if before is not None:
            self.missed += max(0, playlist.sequence - before.end)
        self.reloads += 1
        return playlist

    def still_owed(self, at: float) -> list[str]:
        """URIs that have gone from the playlist and must still be served at that time (6.2.2)."""
        return [owed.segment.uri for owed in self.owed if at < owed.until]

    def _pace(self, before: Playlist | None, playlist: Playlist, at: float) -> None:
        """A new version comes after 0.5 to 1.5 target durations (6.2.2). Between two looks it may
        have come at any time, and only what is wrong in any case is said.
        """
        if before is None or playlist.end == before.end:
            late = 1.5 * playlist.target + MARGIN_SECONDS
            if self._changed_at is None:
                self._changed_at = at
            elif at - self._changed_at > late:
                text = f"nothing new for {at - self._changed_at:.1f} s"
                self.complaints.append(f"reload {self.reloads}: 6.2.2: {text}")
                self._changed_at = at
        else:
            if before is not None:
                # it may have gone right after the last look
                gone_at = at if self._seen_at is None else self._seen_at
                for segment in before.segments[: max(0, playlist.sequence - before.sequence)]:
                    seconds = float(segment.seconds + max(self._longest, before.seconds))
                    self.owed.append(Owed(segment, gone_at + seconds))
            self._changed_at = at
        self._seen_at = at


def _moved(before: Playlist, after: Playlist, ours: bool) -> Iterator[str]:
    """What is wrong in the step from one version to the next."""
    if after.target != before.target:
        yield f"6.2.1: the target changes from {before.target} to {after.target}"
    if after.version != before.version:
        yield f"6.2.1: the version changes from {before.version} to {after.version}"
    if after.independent and not before.independent:
        yield "6.2.1: EXT-X-INDEPENDENT-SEGMENTS appears"
    if after.sequence < before.sequence:
        yield f"6.2.2: the media sequence goes back from {before.sequence} to {after.sequence}"
        return
    if after.end < before.end:
        yield f"6.2.1: segments are lost at the end, {before.end - after.end} of them"
    known = {segment.number: segment for segment in before.segments}
    for segment in after.segments:
        old = known.get(segment.number)
        if old is None:
            continue
        if segment.uri != old.uri:
            yield f"6.2.1: segment {segment.number} changes from {old.uri} to {segment.uri}"
        if segment.tags != old.tags:
            yield f"6.2.1: the tags of segment {segment.number} change: {segment.tags}"
        if segment.discontinuities != old.discontinuities:
            yield (
                f"6.2.2: the discontinuity sequence number of segment {segment.number} changes "
                f"from {old.discontinuities} to {segment.discontinuities}"
            )
    numbers = {urlsplit(old.uri).path: old.number for old in before.segments}
    for segment in after.segments:
        number = numbers.get(urlsplit(segment.uri).path, segment.number)
        if number != segment.number and known.get(segment.number) is None:
            yield f"6.2.2: segment {number} comes again as {segment.number}"
    if after.discontinuities < before.discontinuities:
        yield "6.2.2: the discontinuity sequence goes back"
    if after.sequence > before.sequence:
        if after.seconds < HOLD * after.target:
            yield f"6.2.2: {after.seconds} s are less than {HOLD} target durations"
        if ours and len(after.segments) < LIVE_SEGMENTS:
            yield f"Apple 8.11: {len(after.segments)} segments in a live playlist"
    if ours and after.segments and before.segments:
        first, last = after.segments[0], before.segments[-1]
        if first.number == last.number + 1 and not first.discontinuity:
            yield from _date_step(last, first)


def _date_step(one: Segment, other: Segment) -> Iterator[str]:
    if one.date is not None and other.date is not None:
        expected = one.date + timedelta(seconds=float(one.seconds))
        if abs(other.date - expected) > DATE_TOLERANCE:
            yield f"4.3.2.6, 6.3.3: the date of {other.uri} is off the durations"


# -- segments --


@dataclass
class Media:
    """What a segment's bytes hold. `firsts`, `lasts`: of each PID with a payload the packet and how
    often it stands there; `begins`: the earliest time stamp of the first stream (pictures, where
    there are any), in 90 kHz.
    """

    complaints: list[str] = field(default_factory=list)
    firsts: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    lasts: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    begins: int | None = None
    ends: int | None = None
    streams: tuple[str, ...] = ()


def read_segment(data: bytes, *, independent: bool = True) -> Media:
    """Look at one transport stream segment. `independent`: its playlist says that it can be decoded
    without others.
    """
    media = Media()
    if not data or len(data) % PACKET or any(byte != 0x47 for byte in data[::PACKET]):
        media.complaints.append("3.2: not whole packets of a transport stream")
        return media
    media.complaints += _tables(data)
    media.complaints += _counters(data, media)
    media.complaints += _pictures(data, media, independent)
    return media


def check_seam(before: Media, seconds: Decimal, after: Media) -> list[str]:
    """What is wrong between a segment, `seconds` long by its EXTINF, and its successor that no
    EXT-X-DISCONTINUITY parts from it.
    """
    found = []
    for pid, (packet, times) in after.firsts.items():
        if pid in before.lasts:
            found += _step(pid, *before.lasts[pid], packet, times)
    if after.streams != before.streams:
        found.append(f"4.3.2.3: streams change from {before.streams} to {after.streams}")
    if before.begins is not None and after.begins is not None:
        step = ((after.begins - before.begins + WRAP // 2) % WRAP - WRAP // 2) / CLOCK
        if abs(step - float(seconds)) > TIME_TOLERANCE_SECONDS:
            found.append(f"3, 4.3.2.1: {seconds} s by EXTINF, {step:.3f} s by its time stamps")
    return found


def _pid(data: bytes, at: int) -> int:
    return (data[at + 1] & 0x1F) << 8 | data[at + 2]


def _payload(data: bytes, at: int) -> bytes:
    start = at + 4
    if data[at + 3] & 0x20:
        start += 1 + data[at + 4]
    return data[start : at + PACKET] if data[at + 3] & 0x10 else b""


def _tables(data: bytes) -> Iterator[str]:
    """3.2: PAT and PMT come first, and there is one program."""
    if _pid(data, 0) != 0 or not data[1] & 0x40:
        yield "3.2: the first packet is no PAT"
        return
    payload = _payload(data, 0)
    section = payload[1 + payload[0] :]
    length = (section[1] & 0x0F) << 8 | section[2]
    entries = section[8 : 3 + length - 4]
    programs = {
        int.from_bytes(entries[at : at + 2]): int.from_bytes(entries[at + 2 : at + 4]) & 0x1FFF
        for at in range(0, len(entries), 4)
    }
    programs.pop(0, None)  # the network's table
    if len(programs) != 1:
        yield f"3.2: {len(programs)} programs"
        return
    (table,) = programs.values()
    if len(data) < 2 * PACKET or _pid(data, PACKET) != table or not data[PACKET + 1] & 0x40:
        yield "3.2: the second packet is no PMT"


def _counters(data: bytes, media: Media) -> Iterator[str]:
    """3: continuity counters go on without interruption."""
    for at in range(0, len(data), PACKET):
        packet = data[at : at + PACKET]
        pid = _pid(packet, 0)
        if pid == 0x1FFF or not packet[3] & 0x10:
            continue
        last, times = media.lasts.get(pid, (b"", 0))
        if _is_copy(last, packet):
            times += 1
            if times > COPIES:
                yield f"3: a packet of PID {pid:#x} stands there {times} times"
        else:
            if last:
                yield from _step(pid, last, times, packet, 1)
            times = 1
        media.lasts[pid] = packet, times
        first, _ = media.firsts.setdefault(pid, (packet, times))
        if times > 1 and first is last:
            media.firsts[pid] = packet, times


def _is_copy(one: bytes, other: bytes) -> bool:
    return bool(one) and one[3] == other[3] and _payload(one, 0) == _payload(other, 0)


def _step(pid: int, last: bytes, times: int, packet: bytes, more: int) -> Iterator[str]:
    """From one packet of a PID to the next. It may be the same again, once (ISO 13818-1 2.4.3.3):
    so tables that stand before a segment may be those that the one before it ended with.
    """
    one, other = last[3] & 0x0F, packet[3] & 0x0F
    if _is_copy(last, packet):
        if times + more > COPIES:
            yield f"3: a packet of PID {pid:#x} stands there {times + more} times"
    elif other != (one + 1) & 0x0F:
        yield f"3: the continuity counter of PID {pid:#x} goes from {one} to {other}"


def _pictures(data: bytes, media: Media, independent: bool) -> Iterator[str]:
    level = av.logging.get_level()
    av.logging.set_level(av.logging.PANIC)
    try:
        with av.open(io.BytesIO(data), format="mpegts") as source:
            media.streams = tuple(
                f"{stream.id:#x} {stream.codec_context.name}"
                for stream in source.streams
                if stream.type in ("video", "audio")
            )
            if not media.streams:
                yield "3.2: neither pictures nor sounds"
                return
            main = next(iter(source.streams.video or source.streams.audio))
            stamps = []
            for packet in source.demux(main):
                if packet.pts is None:
                    continue
                if not stamps and independent and not packet.is_keyframe:
                    yield "4.3.5.1, Apple 7.4: pictures do not begin at a random-access point"
                stamps.append(packet.dts if packet.dts is not None else packet.pts)
            if stamps:
                media.begins, media.ends = stamps[0], stamps[-1]
            else:
                yield "3.2: nothing of the main stream"
    except av.error.FFmpegError as error:
        yield f"3.2: not a transport stream that FFmpeg reads: {error}"
    finally:
        av.logging.set_level(level)
