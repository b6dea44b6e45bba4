"""HLS as others serve it (RFC 8216): what a playlist says, which variant to take, what is new.

Owns: the judgement of playlists, and where a reader of a live one is. Must not know: how documents
are fetched, when; what becomes of segments.

The lines are parsed by the m3u8 library; what they mean for a channel is decided here. Only
MPEG-TS segments are carried: fMP4, packed audio and SAMPLE-AES are refused with their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import m3u8

from rawstream.errors import FormatError

_WHAT: Final = "HLS playlist"
_EDGE_TARGETS: Final = 3  # §6.3.3: how far from the end a reader begins
_SECONDS_LIMIT: Final = 120.0  # of a segment, and of the target duration
_VIDEO: Final = re.compile(r"avc|hvc|hev|mp4v|vp0?9|av01|dvh", re.I)
_RANGE: Final = re.compile(r"([0-9]{1,15})(?:@([0-9]{1,15}))?")
_KEY_BYTES: Final = 16
_LINES: Final = 40_000  # of one playlist; its reading takes a second for some 50 000
_SYNC: Final = 0x47
_PACKET: Final = 188


class NotCarried(FormatError):
    """What is there is no MPEG-TS, and no later segment will be."""


@dataclass(frozen=True, slots=True)
class Key:
    """AES-128 (§4.3.2.4): where the 16 bytes of the key are, and the IV."""

    url: str = field(repr=False)
    iv: bytes


@dataclass(frozen=True, slots=True)
class Segment:
    """`number`: its media sequence number. `seconds`: 0 where none are said. `byte_range`: offset
    and length. `discontinuity`: what comes has another clock, other PIDs or counters than what came
    before.
    """

    number: int
    url: str = field(repr=False)
    seconds: float
    byte_range: tuple[int, int] | None = None
    key: Key | None = None
    discontinuity: bool = False
    gap: bool = False  # it is not there, and the playlist says so


@dataclass(frozen=True, slots=True)
class MediaPlaylist:
    """`ended`: no segment will be added."""

    target_seconds: float
    segments: tuple[Segment, ...]
    ended: bool


@dataclass(frozen=True, slots=True)
class Variant:
    """`separate_audio`: its sound is in a playlist of its own."""

    url: str = field(repr=False)
    bandwidth: int
    video: bool | None  # None: it is not said
    separate_audio: bool


def read_playlist(body: bytes, url: str) -> MediaPlaylist | tuple[Variant, ...]:
    """A playlist, or the variants of a master playlist, with their URLs made absolute by `url`.

    Raises FormatError: no playlist, or one of what is not carried.
    """
    text = body.decode("utf-8-sig", "replace")
    if not text.lstrip().startswith("#EXTM3U"):
        raise FormatError(_WHAT, "what is there is no playlist")
    if text.count("\n") > _LINES:
        raise FormatError(_WHAT, f"it has more than {_LINES} lines")
    try:
        return _read(text, url)
    except FormatError:
        raise
    except Exception as error:  # the library raises whatever a bad line makes its code raise
        raise FormatError(_WHAT, f"a line can't be read ({type(error).__name__})") from None


def _read(text: str, url: str) -> MediaPlaylist | tuple[Variant, ...]:
    found = m3u8.loads(text, uri=url)
    if found.is_variant:
        return _variants(found)
    segments = tuple(_segments(found))
    if not segments:
        raise FormatError(_WHAT, "it has no segments")
    longest = max(segment.seconds for segment in segments)
    target = _bounded(found.target_duration or longest, 0.5)
    return MediaPlaylist(target, segments, bool(found.is_endlist))


def _bounded(seconds: float | None, least: float) -> float:
    """A duration that can be waited for, whatever was written; what is no number is the least."""
    value = float(seconds or 0)
    return min(value, _SECONDS_LIMIT) if value > least else least


def _variants(found: Any) -> tuple[Variant, ...]:
    separate = {media.group_id for media in found.media if media.type == "AUDIO" and media.uri}
    variants = []
    for one in found.playlists:
        info = one.stream_info
        codecs = info.codecs
        video = None if not codecs else _VIDEO.search(codecs) is not None
        video = True if info.resolution else video
        variants.append(
            Variant(one.absolute_uri, info.bandwidth or 0, video, info.audio in separate)
        )
    if not variants:
        raise FormatError(_WHAT, "it has no variants")
    return tuple(variants)


def ranked_variants(variants: Sequence[Variant]) -> list[Variant]:
    """Those that have their sound with them, best first: pictures before none, then the bandwidth.

    Raises FormatError when sound comes apart in all of them.
    """
    whole = [variant for variant in variants if not variant.separate_audio]
    if not whole:
        raise FormatError(
            _WHAT, "sound comes in a playlist of its own, and only one playlist is carried"
        )
    return sorted(whole, key=lambda one: (one.video is not False, one.bandwidth), reverse=True)


def _segments(found: Any) -> Iterable[Segment]:
    number = int(found.media_sequence or 0)
    offset = 0
    discontinuity = False
    for one in found.segments:
        if one.init_section is not None:
            raise NotCarried(_WHAT, "fMP4 segments (EXT-X-MAP); only MPEG-TS is carried")
        byte_range = None
        if one.byterange:
            match = _RANGE.fullmatch(one.byterange.strip())
            if match is None:
                raise FormatError(_WHAT, "a byte range can't be read")
            # §4.3.2.2: without an offset it goes on behind the one before
            offset = int(match[2]) if match[2] is not None else offset
            byte_range = (offset, int(match[1]))
            offset += int(match[1])
        discontinuity = discontinuity or bool(one.discontinuity)
        gap = bool(one.gap_tag)
        yield Segment(
            number=number,
            url=one.absolute_uri,
            seconds=_bounded(one.duration, 0.0),
            byte_range=byte_range,
            key=_key(one.key, number),
            discontinuity=discontinuity,
            gap=gap,
        )
        if not gap:
            discontinuity = False
        number += 1


def _key(found: Any, number: int) -> Key | None:
    if found is None or found.method in (None, "", "NONE"):
        return None
    if found.method != "AES-128" or (found.keyformat or "identity").strip('"') != "identity":
        raise FormatError(
            _WHAT, f"it is encrypted by {str(found.method)[:20]}; only AES-128 is read"
        )
    if not found.uri:
        raise FormatError(_WHAT, "a key without a URI")
    if found.iv:
        try:
            iv = int(found.iv, 16).to_bytes(_KEY_BYTES, "big")
        except (ValueError, OverflowError):
            raise FormatError(_WHAT, "an IV can't be read") from None
    else:
        iv = (number % (1 << 8 * _KEY_BYTES)).to_bytes(_KEY_BYTES, "big")  # §5.2
    return Key(found.absolute_uri, iv)


def refuse_other_containers(data: bytes) -> None:
    """Look at the beginning of a segment. Raises NotCarried for what is surely no MPEG-TS."""
    if data[4:8] in (b"ftyp", b"styp", b"moof", b"sidx"):
        raise NotCarried(_WHAT, "fMP4 segments; only MPEG-TS is carried")
    if data[:3] == b"ID3" or data[:2] in (b"\xff\xf1", b"\xff\xf9"):
        raise NotCarried(_WHAT, "packed audio segments; only MPEG-TS is carried")
    if data[:6] == b"WEBVTT":
        raise NotCarried(_WHAT, "subtitles; only MPEG-TS is carried")


def whole_packets(data: bytes) -> bytes:
    """A segment from its first packet on, to the end of its last whole one: what is cut off would
    tear the next segment's first. Raises FormatError when there is none.
    """
    for at in range(min(_PACKET, len(data))):
        if data[at] == _SYNC and data[at + _PACKET : at + _PACKET + 1] in (b"\x47", b""):
            size = (len(data) - at) // _PACKET * _PACKET
            if size:
                return data[at : at + size]
    raise FormatError(_WHAT, "what comes is no MPEG transport stream")


class LiveEdge:
    """Where a reader of a live playlist is (§6.3.3, §6.3.4), and where the next one goes on."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._sent: int | None = None
        self._begins = True

    def begin(self) -> None:
        """Another reader takes over: it goes on behind what was sent."""
        self._next = self._sent
        self._begins = True

    def sent(self, segment: Segment) -> None:
        """All of it has gone to the viewers."""
        self._sent = segment.number + 1

    def take(self, playlist: MediaPlaylist) -> list[Segment]:
        """The segments that have not been taken yet, in order; at first those near the end.

        What was missed, and an origin that counts anew, make a discontinuity. An older copy of the
        playlist, as a cache may have it, has nothing new.
        """
        segments = playlist.segments
        first, last = segments[0].number, segments[-1].number
        begins, self._begins = self._begins, False
        lost = False
        if self._next is None or (begins and last < self._next - 1):
            wanted = _near_the_end(playlist)
        elif begins:  # what was missed for long is missed: it may have come from elsewhere
            wanted = [one for one in _near_the_end(playlist) if one.number >= self._next]
        elif last < self._next - len(segments) - 1 or first > self._next:
            wanted, lost = _near_the_end(playlist), True
        else:
            wanted = [segment for segment in segments if segment.number >= self._next]
        if wanted:
            self._next = last + 1
            wanted[0] = replace(wanted[0], discontinuity=lost or wanted[0].discontinuity)
        return wanted


def _near_the_end(playlist: MediaPlaylist) -> list[Segment]:
    seconds = 0.0
    wanted: list[Segment] = []
    for segment in reversed(playlist.segments):
        seconds += segment.seconds or playlist.target_seconds
        if wanted and seconds > _EDGE_TARGETS * playlist.target_seconds + 0.5:
            break
        wanted.append(segment)
    wanted.reverse()
    wanted[0] = replace(wanted[0], discontinuity=False)  # there is nothing before it
    return wanted
