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


@dataclass(frozen=True, slots=True)
class Key:
    """AES-128 (§4.3.2.4): where the 16 bytes of the key are, and the IV."""

    url: str = field(repr=False)
    iv: bytes


@dataclass(frozen=True, slots=True)
class Segment:
    """`number`: its media sequence number. `byte_range`: offset and length. `discontinuity`: what
    comes has another clock, other PIDs or counters than what came before.
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
    try:
        found = m3u8.loads(text, uri=url)
    except Exception as error:  # the library raises whatever a bad line makes its code raise
        raise FormatError(_WHAT, f"a line can't be read ({type(error).__name__})") from None
    if found.is_variant:
        return _variants(found)
    segments = tuple(_segments(found))
    if not segments:
        raise FormatError(_WHAT, "it has no segments")
    longest = max(segment.seconds for segment in segments)
    target = min(float(found.target_duration or longest), _SECONDS_LIMIT)
    return MediaPlaylist(max(target, 0.5), segments, bool(found.is_endlist))


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


def best_variant(variants: Sequence[Variant]) -> Variant:
    """The one of the highest bandwidth that has pictures, and its sound with them.

    Raises FormatError when sound comes apart in all of them.
    """
    whole = [variant for variant in variants if not variant.separate_audio]
    if not whole:
        raise FormatError(
            _WHAT, "sound comes in a playlist of its own, and only one playlist is carried"
        )
    pictures = [variant for variant in whole if variant.video is not False]
    return max(pictures or whole, key=lambda variant: variant.bandwidth)


def _segments(found: Any) -> Iterable[Segment]:
    number = int(found.media_sequence or 0)
    offset = 0
    discontinuity = False
    for one in found.segments:
        if one.init_section is not None:
            raise FormatError(_WHAT, "fMP4 segments (EXT-X-MAP); only MPEG-TS is carried")
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
            seconds=min(max(float(one.duration or 0), 0.01), _SECONDS_LIMIT),
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
        iv = number.to_bytes(_KEY_BYTES, "big")  # §5.2
    return Key(found.absolute_uri, iv)


def refuse_other_containers(data: bytes) -> None:
    """Look at the beginning of a segment. Raises FormatError for what is surely no MPEG-TS."""
    if data[4:8] in (b"ftyp", b"styp", b"moof", b"sidx"):
        raise FormatError(_WHAT, "fMP4 segments; only MPEG-TS is carried")
    if data[:3] == b"ID3" or data[:2] in (b"\xff\xf1", b"\xff\xf9"):
        raise FormatError(_WHAT, "packed audio segments; only MPEG-TS is carried")
    if data[:6] == b"WEBVTT":
        raise FormatError(_WHAT, "subtitles; only MPEG-TS is carried")


class LiveEdge:
    """Where a reader of a live playlist is (§6.3.3, §6.3.4)."""

    def __init__(self) -> None:
        self._next: int | None = None

    def take(self, playlist: MediaPlaylist) -> list[Segment]:
        """The segments that have not been taken yet, in order; at first those near the end.

        What was missed, and an origin that counts anew, make a discontinuity. An older copy of the
        playlist, as a cache may have it, has nothing new.
        """
        segments = playlist.segments
        first, last = segments[0].number, segments[-1].number
        lost = False
        if self._next is None:
            wanted = _near_the_end(playlist)
        elif last < self._next - len(segments) - 1:
            wanted, lost = _near_the_end(playlist), True
        else:
            wanted = [segment for segment in segments if segment.number >= self._next]
            lost = first > self._next
        if wanted:
            self._next = last + 1
            wanted[0] = replace(wanted[0], discontinuity=lost or wanted[0].discontinuity)
        return wanted


def _near_the_end(playlist: MediaPlaylist) -> list[Segment]:
    seconds = 0.0
    wanted: list[Segment] = []
    for segment in reversed(playlist.segments):
        if wanted and seconds + segment.seconds > _EDGE_TARGETS * playlist.target_seconds + 0.5:
            break
        seconds += segment.seconds
        wanted.append(segment)
    wanted.reverse()
    wanted[0] = replace(wanted[0], discontinuity=False)  # there is nothing before it
    return wanted
