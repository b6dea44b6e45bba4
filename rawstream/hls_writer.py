"""Live media playlists as players read them (RFC 8216).

Owns: the tags, their order, how numbers and times are written. Must not know: what a segment is
made of, who asks. Clauses are those of RFC 8216.

A playlist is written once for all watchers; what differs between them (where we are, as they see
us, and their token) is joined in by `addressed`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

CONTENT_TYPE: Final = "application/vnd.apple.mpegurl"  # §4
# stand in a written playlist where something of the watcher belongs
_PREFIX: Final = b"\x01"
_TOKEN: Final = b"\x02"


class Line(NamedTuple):
    """A segment in a playlist. `path`: below our address. `wall`: seconds since 1970."""

    path: str
    seconds: float
    wall: float
    discontinuity: bool = False


def media_playlist(
    lines: Iterable[Line],
    *,
    target: int,
    sequence: int,
    discontinuity_sequence: int,
    independent: bool,
) -> bytes:
    """A playlist without an end. `sequence`: number of the first line (§4.3.3.2).

    `discontinuity_sequence`: how many discontinuities have left it (§4.3.3.3). `independent`: every
    segment can be decoded by itself (§4.3.5.1).
    """
    parts = ["#EXTM3U\n#EXT-X-VERSION:3\n"]  # §7: durations with a fraction
    if independent:
        parts.append("#EXT-X-INDEPENDENT-SEGMENTS\n")
    parts.append(
        f"#EXT-X-TARGETDURATION:{target}\n"
        f"#EXT-X-MEDIA-SEQUENCE:{sequence}\n"
        f"#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuity_sequence}\n"
    )
    for line in lines:
        if line.discontinuity:
            parts.append("#EXT-X-DISCONTINUITY\n")
        parts.append(
            f"#EXT-X-PROGRAM-DATE-TIME:{_moment(line.wall)}\n"
            f"#EXTINF:{line.seconds:.5f},\n"
            f"\x01{line.path}?t=\x02\n"
        )
    return "".join(parts).encode()


def addressed(playlist: bytes, prefix: str, token: str) -> bytes:
    """The playlist for one watcher. `prefix`: the path below which he finds us, '' or with a slash
    in front.
    """
    return playlist.replace(_PREFIX, prefix.encode()).replace(_TOKEN, token.encode())


def _moment(wall: float) -> str:
    """§4.3.2.6: ISO 8601 with a zone, to the millisecond."""
    text = datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
